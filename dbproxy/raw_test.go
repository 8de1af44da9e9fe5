// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/sidekey/sidekey/dbproxy"
	"github.com/sidekey/sidekey/proxy"
	"github.com/sidekey/sidekey/proxy/datakey"
)

// pgTool runs one of PostgreSQL's programs.
func pgTool(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(clientBin+"/"+name, args...)
	cmd.Env = append(os.Environ(), "PGSSLMODE=disable")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
	return string(out)
}

// restore puts what pg_dump wrote into a database. What it sets that the server is too
// old for is left out.
func restore(t *testing.T, file, url string) {
	t.Helper()
	const newer = "SET transaction_timeout = 0;\n"
	dump, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	archive, older := bytes.HasPrefix(dump, []byte("PGDMP")), serverVersion(t) == 16
	switch {
	case archive && older:
		out, err := tool(t, "pg_restore", "--dbname="+url, file)
		if err == nil || strings.Count(out, "error: ") != 1 || !strings.Contains(out, strings.TrimSpace(newer)) {
			t.Fatalf("pg_restore: %v: %s", err, out)
		}
	case archive:
		pgTool(t, "pg_restore", "--exit-on-error", "--dbname="+url, file)
	default:
		if older {
			if err := os.WriteFile(file, bytes.Replace(dump, []byte(newer), nil, 1), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		pgTool(t, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", file, url)
	}
}

// withRaw has a raw role, and a row.
func withRaw(t *testing.T) (f *fixture, admin, conn *pgx.Conn, url string) {
	t.Helper()
	f = start(t, shared, users(), func(cfg *dbproxy.Config, _ *datakey.Config) { cfg.RawRoles = []string{"raw"} })
	admin = f.direct(t)
	if _, err := admin.Exec(t.Context(), "CREATE ROLE raw SUPERUSER LOGIN"); err != nil && state(err) != "42710" {
		t.Fatal(err)
	}
	conn = f.connect(t, pgx.QueryExecModeExec)
	exec1(t, conn, usersDDL)
	exec1(t, conn, "INSERT INTO users (email, ssn, pin, note) VALUES ('raw@canary', '1', 2, 'n')")
	return f, admin, conn, strings.Replace(f.url(), "postgres@", "raw@", 1)
}

// TestRawRole: a raw role sees ciphertext, and the guards are in its way.
func TestRawRole(t *testing.T) {
	f, _, _, rawURL := withRaw(t)
	raw := dial(t, rawURL, pgx.QueryExecModeExec)
	var email []byte
	if err := raw.QueryRow(t.Context(), "SELECT email FROM users").Scan(&email); err != nil || !proxy.Sealed(email) {
		t.Errorf("a raw role gets %x, %v", email, err)
	}
	if _, err := raw.Exec(t.Context(), "INSERT INTO users (email) VALUES ('x')"); state(err) != "23514" {
		t.Errorf("a raw role stores plaintext: %v", err)
	}
	if got := textRows(t, raw, "SELECT atttypid FROM pg_attribute WHERE attrelid = 'users'::regclass AND attname = 'email'", f.database); got[0] != "17" {
		t.Errorf("a raw role sees type %s", got)
	}
}

// TestDumpOfCiphertext: a raw role dumps ciphertext and keys, which restore directly
// and through the proxy.
func TestDumpOfCiphertext(t *testing.T) {
	f, admin, conn, rawURL := withRaw(t)
	for _, format := range [][]string{{"--format=custom"}, {"--format=plain"}, {"--format=plain", "--inserts"}} {
		for _, direct := range []bool{true, false} {
			file := t.TempDir() + "/dump"
			pgTool(t, "pg_dump", append(format, "--file="+file, rawURL)...)
			dump, err := os.ReadFile(file)
			if err != nil || strings.Contains(string(dump), "raw@canary") || len(dump) < 2000 {
				t.Errorf("%v: dump of %d bytes, %v", format, len(dump), err)
			}
			exec1(t, conn, "DROP TABLE users")
			exec1(t, admin, "DROP SCHEMA sidekey CASCADE")
			to := rawURL
			if direct {
				to = f.cluster.url("postgres", f.database)
			}
			restore(t, file, to)
			// Another proxy, which has read no key yet.
			var email, ssn string
			other := f.replica(t).connect(t, pgx.QueryExecModeExec)
			if err := other.QueryRow(t.Context(), "SELECT email, ssn FROM users WHERE email = 'raw@canary'").Scan(&email, &ssn); err != nil || ssn != "1" {
				t.Errorf("%v, direct %v: got %q %q, %v", format, direct, email, ssn, err)
			}
		}
	}
}
