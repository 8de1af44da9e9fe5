// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// TestDumpOfPlaintext: for a role that is not raw, pg_dump writes tables and
// rows as the application sees them. They restore without the proxy, and
// through another one, where they are sealed again under its keys.
func TestDumpOfPlaintext(t *testing.T) {
	f := start(t, shared, users())
	conn := f.connect(t, pgx.QueryExecModeExec)
	exec1(t, conn, usersDDL)
	exec1(t, conn, "CREATE TABLE leads (id int CHECK (id > 0), email text PRIMARY KEY REFERENCES users (email))")
	exec1(t, conn, "INSERT INTO users (email, ssn, pin, note) VALUES ('dump-a@x', E'tab\\there', 1, 'n'), ('dump-b@x', NULL, NULL, NULL), ('dump-\\é''c', '', -5, E'x\\ny')")
	exec1(t, conn, "INSERT INTO leads VALUES (1, 'dump-b@x')")
	const all = "SELECT id, email, ssn, pin, note FROM users ORDER BY id"
	want := textRows(t, conn, all, f.database)
	for name, options := range map[string][]string{"copy": nil, "inserts": {"--inserts"}, "columns": {"--column-inserts", "--rows-per-insert=2"}, "custom": {"--format=custom"}} {
		t.Run(name, func(t *testing.T) {
			file := t.TempDir() + "/dump"
			pgTool(t, "pg_dump", append(options, "--exclude-schema=sidekey", "--file="+file, f.url())...)
			if dump, err := os.ReadFile(file); err != nil || name != "custom" && !strings.Contains(string(dump), "dump-a@x") {
				t.Errorf("%v: %s", err, dump)
			}
			for _, to := range []*fixture{start(t, shared, nil), start(t, shared, users())} {
				restore(t, file, to.url())
				client := to.connect(t, pgx.QueryExecModeExec)
				if got := textRows(t, client, all, to.database); strings.Join(got, "\n") != strings.Join(want, "\n") {
					t.Errorf("got %q, want %q", got, want)
				}
				if got := textRows(t, client, "SELECT id FROM leads WHERE email = 'dump-b@x'", to.database); len(got) != 1 {
					t.Errorf("got %q", got)
				}
				if len(to.columns) > 0 && len(sealedColumns(t, to, "users")) != 3 {
					t.Error("the restored columns are not sealed")
				}
			}
		})
	}
}
