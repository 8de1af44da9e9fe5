// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// poolsSessions follows the address of an upstream that is a pooler.
const poolsSessions = "\n    pooler: session"

// PgBouncer before the sidecar and behind it: clients see what they see without.
func TestPgBouncer(t *testing.T) {
	people(t)
	upstream := hostOf(shared.env["UPSTREAM_DATABASE_URL"])
	sidecar := hostOf(shared.env["DATABASE_URL"])
	for name, reach := range map[string]func(t *testing.T) string{
		"before the sidecar, session":     func(t *testing.T) string { _, a := startBouncer(t, shared, sidecar, "session", 20); return a },
		"before the sidecar, transaction": func(t *testing.T) string { _, a := startBouncer(t, shared, sidecar, "transaction", 20); return a },
		"behind the sidecar, session": func(t *testing.T) string {
			_, pooled := startBouncer(t, shared, upstream, "session", 20)
			_, a := sidecarBefore(t, pooled+poolsSessions, "")
			return a
		},
	} {
		t.Run(name, func(t *testing.T) {
			address := reach(t)
			modes := []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec}
			if !strings.HasSuffix(name, "transaction") {
				// Named statements do not outlive a transaction there.
				modes = append(modes, pgx.QueryExecModeCacheStatement)
			}
			for _, mode := range modes {
				var clients sync.WaitGroup
				for client := range 8 {
					clients.Go(func() { pooledClient(t, address, mode, client) })
				}
				clients.Wait()
			}
			cancelPooled(t, address)
			stored := mustPsql(t, shared.env["UPSTREAM_DATABASE_URL"],
				"select count(*) > 0, count(*) filter (where position('pooled'::bytea in c_text || c_secret) > 0) from people where id between 600000 and 699999")
			if stored != "t|0" {
				t.Errorf("there are rows, and as many hold plaintext: %s", stored)
			}
			mustPsql(t, shared.env["DATABASE_URL"], "delete from people where id between 600000 and 699999")
		})
	}
}

func pooledURL(address string) string { return "postgres://app@" + address + "/app?sslmode=disable" }

// pooledClient writes, reads, fails and rolls back, on two connections one after the
// other.
func pooledClient(t *testing.T, address string, mode pgx.QueryExecMode, client int) {
	ctx := t.Context()
	for round := range 2 {
		conn := shared.connect(t, pooledURL(address), mode)
		id := 600000 + int(mode)*1000 + client*10 + round
		text := fmt.Sprintf("pooled %d", id)
		if _, err := conn.Exec(ctx, "insert into people (id, c_text, c_secret) values ($1, $2, $3)", id, text, "secret of "+text); err != nil {
			t.Errorf("INSERT: %v", err)
		}
		tx, err := conn.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var secret string
		if err := tx.QueryRow(ctx, "select c_secret from people where c_text = $1", text).Scan(&secret); err != nil || secret != "secret of "+text {
			t.Errorf("SELECT: %q, %v", secret, err)
		}
		if _, err := tx.Exec(ctx, "update people set c_secret = $2 where c_text = $1", text, "pooled, and lost"); err != nil {
			t.Errorf("UPDATE: %v", err)
		}
		if _, err := tx.Exec(ctx, "insert into people (id, c_text) values ($1, $2)", id, text); sqlState(err) != "23505" {
			t.Errorf("INSERT of the same key: got %v, want SQLSTATE 23505", err)
		}
		if err := tx.Rollback(ctx); err != nil {
			t.Errorf("ROLLBACK: %v", err)
		}
		rows, err := conn.Query(ctx, "select c_secret from people where c_text = any ($1)", []string{text, "nobody"})
		if err != nil {
			t.Fatal(err)
		}
		if all, err := pgx.CollectRows(rows, pgx.RowTo[string]); err != nil || len(all) != 1 || all[0] != "secret of "+text {
			t.Errorf("SELECT after ROLLBACK: %q, %v", all, err)
		}
		conn.Close(context.Background())
	}
}

// cancelPooled cancels a statement through everything that is between.
func cancelPooled(t *testing.T, address string) {
	t.Helper()
	conn := shared.connect(t, pooledURL(address), pgx.QueryExecModeSimpleProtocol)
	defer conn.Close(context.Background())
	ended := make(chan error, 1)
	go func() {
		_, err := conn.Exec(t.Context(), "select pg_sleep(60)")
		ended <- err
	}()
	for {
		if err := conn.PgConn().CancelRequest(t.Context()); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-ended:
			if sqlState(err) != "57014" {
				t.Errorf("canceled: got %v, want SQLSTATE 57014", err)
			}
			return
		case <-time.After(100 * time.Millisecond): // it may have come before the statement
		}
	}
}

// startBouncer runs PgBouncer before what listens on target, to which it makes no more
// than size connections, and gives its own address.
func startBouncer(t *testing.T, s *stack, target, pooling string, size int) (*process, string) {
	t.Helper()
	address := freeAddress(t)
	_, listen, _ := net.SplitHostPort(address)
	host, port, err := net.SplitHostPort(target)
	if err != nil {
		t.Fatal(err)
	}
	dir := stackDir(t)
	writeFileAt(t, filepath.Join(dir, "users"), fmt.Sprintf("\"app\" \"%s\"\n\"support\" \"%[1]s\"\n", s.secret(t, "app")))
	writeFileAt(t, filepath.Join(dir, "ini"), fmt.Sprintf("[databases]\napp = host=%s port=%s dbname=app\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %s\n"+
		"auth_type = scram-sha-256\nauth_file = %s/users\npool_mode = %s\nmax_client_conn = 6000\ndefault_pool_size = %d\nunix_socket_dir =\n",
		host, port, listen, dir, pooling, size))
	if out, err := exec.Command("chown", "-R", "postgres", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	bouncer, err := startProcess(filepath.Join(t.TempDir(), "bouncer.log"), nil, "/usr/sbin/pgbouncer", "-u", "postgres", filepath.Join(dir, "ini"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bouncer.stop(15) })
	if err := bouncer.waitForAddress(address); err != nil {
		t.Fatal(err)
	}
	return bouncer, address
}

// sidecarBefore runs a sidecar that does nothing but PostgreSQL, before an upstream, with
// more rules of columns, and replacements in its configuration.
func sidecarBefore(t *testing.T, upstream, rules string, pairs ...string) (*process, string) {
	t.Helper()
	address := freeAddress(t)
	config := readFile(t, shared.path("proxy.yaml"))
	for section := range strings.FieldsSeq("s3 forward") {
		config = regexp.MustCompile(`(?m)^`+section+`:\n(?:[ #].*\n)*`).ReplaceAllString(config, "")
	}
	config = replaceIn(t, config,
		"listen: "+hostOf(shared.env["DATABASE_URL"]), "listen: "+address,
		"address: "+hostOf(shared.env["UPSTREAM_DATABASE_URL"]), "address: "+upstream,
		shared.path("audit-proxy"), filepath.Join(t.TempDir(), "audit"),
		"  columns:\n", "  columns:\n"+rules)
	config = replaceIn(t, config, pairs...)
	// The binary without the race detector, which multiplies memory.
	sidecar, err := startProcess(filepath.Join(t.TempDir(), "proxy.log"), nil, plainBinary, "proxy", "--config", writeFile(t, config))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sidecar.stop(15) })
	if err := sidecar.waitForAddress(address); err != nil {
		t.Fatal(err)
	}
	return sidecar, address
}
