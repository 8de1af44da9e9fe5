// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// TestDumpOfTheSchema: for a role that is not raw, pg_dump writes the tables as
// the application declared them. They restore without the proxy, and through
// one, where they are protected again.
func TestDumpOfTheSchema(t *testing.T) {
	f := start(t, shared, users())
	conn := f.connect(t, pgx.QueryExecModeExec)
	exec1(t, conn, usersDDL)
	exec1(t, conn, "CREATE TABLE leads (id int CHECK (id > 0), email text PRIMARY KEY REFERENCES users (email))")
	exec1(t, conn, "CREATE INDEX by_pin ON users (pin) INCLUDE (ssn)")
	exec1(t, conn, "CREATE VIEW mails AS SELECT id, email FROM users")
	exec1(t, conn, "INSERT INTO users (email) VALUES ('x')")
	file := t.TempDir() + "/schema.sql"
	pgTool(t, "pg_dump", "--schema-only", "--exclude-schema=sidekey", "--file="+file, f.url())
	dump, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"    email text,\n", "    ssn character varying(11),\n", "    pin integer,\n", "CHECK ((id > 0))", "CREATE VIEW public.mails"} {
		if !strings.Contains(string(dump), want) {
			t.Errorf("no %q in %s", want, dump)
		}
	}
	for _, never := range []string{"bytea", "sidekey"} {
		if strings.Contains(string(dump), never) {
			t.Errorf("%s in %s", never, dump)
		}
	}
	for name, to := range map[string]*fixture{"plain": start(t, shared, nil), "protected": start(t, shared, users())} {
		restore(t, file, to.url())
		client := to.connect(t, pgx.QueryExecModeExec)
		exec1(t, client, "INSERT INTO users (email, ssn, pin) VALUES ('dumpmark@x', '1', 2)")
		exec1(t, client, "INSERT INTO leads VALUES (1, 'dumpmark@x')")
		want := map[string]string{"plain": "text", "protected": "bytea"}[name]
		if got := textRows(t, to.direct(t), "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'users'::regclass AND attname = 'email'", to.database); got[0] != want {
			t.Errorf("%s: got type %s, want %s", name, got[0], want)
		}
	}
}
