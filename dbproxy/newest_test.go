// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/sidekey/sidekey/dbproxy"
	"github.com/sidekey/sidekey/proxy/datakey"
)

// newest is the directory of PostgreSQL 18, which speaks protocol 3.2.
var newest = sync.OnceValues(func() (string, error) {
	cmd := exec.Command("../e2e/postgres/fetch.sh", "18")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
})

func newestDir(t *testing.T) string {
	t.Helper()
	dir, err := newest()
	if err != nil {
		t.Fatalf("fetching PostgreSQL 18: %v", err)
	}
	return dir
}

// newestCluster is a server of PostgreSQL 18.
func newestCluster(t *testing.T) *cluster {
	t.Helper()
	return ownClusterOf(t, newestDir(t))
}

// psql18 is Debian's psql with the libpq of PostgreSQL 18.
func psql18(t *testing.T, conninfo, script string, env ...string) (string, error) {
	t.Helper()
	return psql(t, conninfo, append(env, "LD_LIBRARY_PATH="+filepath.Join(newestDir(t), "lib")), script)
}

// TestProtocol32 has clients and servers of both versions of the protocol, and
// requests to cancel with the keys of both.
func TestProtocol32(t *testing.T) {
	for version, c := range map[int]*cluster{serverVersion(t): shared, 18: newestCluster(t)} {
		long := version >= 18
		f := start(t, c, users())
		exec1(t, f.connect(t, pgx.QueryExecModeExec), usersDDL)
		for asked, key := range map[string]int{"3.0": 4, "3.2": map[bool]int{false: 4, true: 32}[long]} {
			conn := dial(t, f.url()+"&max_protocol_version="+asked, pgx.QueryExecModeExec)
			if got := len(conn.PgConn().SecretKey()); got != key {
				t.Errorf("PostgreSQL %d, client %s: a key of %d bytes, want %d", version, asked, got, key)
			}
			exec1(t, conn, "INSERT INTO users (email) VALUES ($1)", asked)
			var email string
			if err := conn.QueryRow(t.Context(), "SELECT email FROM users WHERE email = $1", asked).Scan(&email); err != nil || email != asked {
				t.Errorf("PostgreSQL %d, client %s: got %q, %v", version, asked, email, err)
			}
			ended := make(chan error, 1)
			go func() {
				_, err := conn.Exec(context.Background(), "SELECT pg_sleep(60)")
				ended <- err
			}()
			asleep(t, f)
			if err := conn.PgConn().CancelRequest(t.Context()); err != nil {
				t.Errorf("PostgreSQL %d, client %s: %v", version, asked, err)
			}
			if err := <-ended; state(err) != "57014" {
				t.Errorf("PostgreSQL %d, client %s: got %v, want 57014", version, asked, err)
			}

			cmd := exec.Command("psql", "-X", f.as("postgres")+" max_protocol_version="+asked, "-c", "SELECT pg_sleep(60)")
			cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+filepath.Join(newestDir(t), "lib"))
			var out strings.Builder
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			asleep(t, f)
			cmd.Process.Signal(syscall.SIGINT)
			if err := cmd.Wait(); err == nil || !strings.Contains(out.String(), "canceling statement due to user request") {
				t.Errorf("PostgreSQL %d, psql %s: %v: %s", version, asked, err, out.String())
			}
		}
		out, err := psql18(t, f.as("postgres")+" min_protocol_version=3.2 max_protocol_version=latest", "SELECT 'in';")
		if long && (err != nil || out != "in\n") || !long && (err == nil || !strings.Contains(out, "3.0")) {
			t.Errorf("PostgreSQL %d, psql that insists on 3.2: %v: %s", version, err, out)
		}
	}
}

// TestNewestClients: what libpq of PostgreSQL 18 can ask for of a connection.
func TestNewestClients(t *testing.T) {
	c, ca, cert, key := withPasswords(t)
	for upstream, allowed := range map[string]string{dbproxy.TLSDisable: "scram-sha-256", dbproxy.TLSRequire: "password"} {
		f := start(t, c, users(), func(cfg *dbproxy.Config, _ *datakey.Config) {
			cfg.TLS = dbproxy.TLSConfig{CertFile: cert, KeyFile: key, Require: true}
			cfg.Upstream.TLS = upstream
		})
		conninfo := fmt.Sprintf("host=localhost hostaddr=127.0.0.1 port=%d user=scramuser dbname=%s sslmode=verify-full sslrootcert=%s", f.port, f.database, ca)
		for _, options := range []string{"sslnegotiation=postgres", "sslnegotiation=direct", "sslnegotiation=direct max_protocol_version=3.2"} {
			if out, err := psql18(t, conninfo+" "+options, "SELECT 'in';", "PGPASSWORD=pw-scram"); err != nil || out != "in\n" {
				t.Errorf("upstream %s, %s: %v: %s", upstream, options, err, out)
			}
		}
		for _, method := range []string{"scram-sha-256", "password"} {
			out, err := psql18(t, conninfo+" require_auth="+method, "SELECT 'in';", "PGPASSWORD=pw-scram")
			if method == allowed && err != nil || method != allowed && (err == nil || !strings.Contains(out, "authentication method requirement")) {
				t.Errorf("upstream %s, require_auth=%s: %v: %s", upstream, method, err, out)
			}
		}
	}
}
