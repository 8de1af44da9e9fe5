// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/sidekey/sidekey/dbproxy"
	"github.com/sidekey/sidekey/proxy/datakey"
)

// bouncer runs PgBouncer before the cluster and gives its address.
func bouncer(t *testing.T, c *cluster, pooling string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "dbproxy")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	os.Chmod(dir, 0o755)
	port := freePort()
	ini := fmt.Sprintf("[databases]\n* = host=127.0.0.1 port=%d\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\nunix_socket_dir =\n"+
		"auth_type = trust\nauth_file = %s/users\npool_mode = %s\nignore_startup_parameters = extra_float_digits\n", c.port, port, dir, pooling)
	for name, text := range map[string]string{"users": "\"postgres\" \"\"\n", "ini": ini} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("/usr/sbin/pgbouncer", "-q", "-u", "postgres", filepath.Join(dir, "ini"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	address := "127.0.0.1:" + strconv.Itoa(port)
	waitFor(t, func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return address
}

// behind has the proxy reach its server through a pooler.
func behind(address, pooler string) func(*dbproxy.Config, *datakey.Config) {
	return func(cfg *dbproxy.Config, _ *datakey.Config) {
		cfg.Upstream.Address, cfg.Upstream.Pooler, cfg.TenantSetting = address, pooler, "app.tenant"
	}
}

// A pooler behind the proxy is refused unless the configuration vouches for it.
func TestPoolerIsRefused(t *testing.T) {
	for _, pooling := range []string{"session", "transaction", "statement"} {
		f := start(t, shared, users(), behind(bouncer(t, shared, pooling), ""))
		conn, err := pgx.Connect(t.Context(), f.url())
		if state(err) != "0A000" || !strings.Contains(err.Error(), "connection pooler") {
			t.Errorf("PgBouncer in %s mode: %v, want SQLSTATE 0A000", pooling, err)
		}
		if err == nil {
			conn.Close(context.Background())
		}
	}
}

// One that pools sessions gives them server connections of others, one after the
// other, as if they were new.
func TestPoolerOfSessions(t *testing.T) {
	f := start(t, shared, ofTenants(), behind(bouncer(t, shared, "session"), dbproxy.PoolerSession))
	exec1(t, f.connect(t, pgx.QueryExecModeExec), tenantsDDL)
	used := make(map[uint32]bool)
	for range 20 {
		conn, err := pgx.Connect(t.Context(), f.url())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), "INSERT INTO users (id, email) VALUES (1, 'nobody')"); state(err) != "22023" {
			t.Errorf("without a tenant: %v, want 22023", err)
		}
		exec1(t, conn, "SET app.tenant TO acme")
		exec1(t, conn, "INSERT INTO users (id, email, ssn) VALUES ($1, $2, $3)", 1, "same@mail", "secret")
		if got, err := names(t, conn, "SELECT DISTINCT email FROM users WHERE email = $1", "same@mail"); err != nil || got != "same@mail" {
			t.Errorf("SELECT: %q, %v", got, err)
		}
		var pid uint32
		if err := conn.QueryRow(t.Context(), "SELECT pg_backend_pid()").Scan(&pid); err != nil {
			t.Fatal(err)
		}
		used[pid] = true
		conn.Close(context.Background())
	}
	if len(used) > 10 {
		t.Errorf("20 sessions were on %d server processes: nothing is pooled", len(used))
	}
}

// A pooler that was vouched for and shares server connections is found out, before the
// second session can send anything; and the first ends.
func TestPoolerOfTransactionsIsFoundOut(t *testing.T) {
	f := start(t, shared, users(), behind(bouncer(t, shared, "transaction"), dbproxy.PoolerSession))
	first, err := pgx.Connect(t.Context(), f.url())
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close(context.Background())
	second, err := pgx.Connect(t.Context(), f.url())
	if state(err) != "0A000" || !strings.Contains(err.Error(), "shares server connections") {
		t.Errorf("the second session: %v, want SQLSTATE 0A000", err)
	}
	if err == nil {
		second.Close(context.Background())
	}
	if _, err := first.Exec(t.Context(), "SELECT 1"); err == nil {
		t.Error("the first session goes on")
	}
}

// A session that is alone is found out when it asks for its tenant on another process.
func TestPoolerOfTransactionsMovesASession(t *testing.T) {
	pooled := bouncer(t, shared, "transaction")
	f := start(t, shared, ofTenants(), behind(pooled, dbproxy.PoolerSession))
	session := f.connect(t, pgx.QueryExecModeExec)
	exec1(t, session, tenantsDDL)
	around, err := pgx.Connect(t.Context(), "postgres://postgres@"+pooled+"/"+f.database+"?sslmode=disable&default_query_exec_mode=exec")
	if err != nil {
		t.Fatal(err)
	}
	defer around.Close(context.Background())
	exec1(t, around, "BEGIN") // has the only process
	if _, err := session.Exec(t.Context(), "INSERT INTO users (id, email) VALUES (1, 'moved')"); state(err) != "0A000" || !strings.Contains(err.Error(), "shares server connections") {
		t.Errorf("on another process: %v, want SQLSTATE 0A000", err)
	}
	if !session.IsClosed() {
		t.Error("the session goes on")
	}
}

// The administrative role's connections hold locks, and are as bound to their process.
func TestPoolerBeforeTheAdministrativeRole(t *testing.T) {
	f := start(t, shared, users())
	pooled := bouncer(t, shared, "session")
	url := "postgres://postgres@" + pooled + "/" + f.database + "?sslmode=disable"
	if err := os.WriteFile(f.urlFile, []byte(url), 0o600); err != nil {
		t.Fatal(err)
	}
	for pooler, want := range map[string]string{"": "postgres.upstream.pooler", dbproxy.PoolerSession: ""} {
		r := f.replica(t, func(cfg *dbproxy.Config) { cfg.Upstream.Pooler = pooler })
		err := r.proxy.Check(t.Context())
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("pooler %q: %v, want %q", pooler, err, want)
		}
		if conn, err := pgx.Connect(t.Context(), r.url()); (err == nil) != (want == "") || err != nil && state(err) != "0A000" && state(err) != "57P03" {
			t.Errorf("pooler %q: a session: %v", pooler, err)
		} else if err == nil {
			exec1(t, conn, usersDDL)
			exec1(t, conn, "INSERT INTO users (email) VALUES ('kept under a key that was made through the pooler')")
			conn.Close(context.Background())
		}
	}
	if _, err := dbproxy.New(dbproxy.Config{Listen: "127.0.0.1:0", Upstream: dbproxy.UpstreamConfig{Address: "127.0.0.1:1", Pooler: "transaction"}}, nil, nil, nil, nil); err == nil {
		t.Error("pooler: transaction is taken")
	}
}
