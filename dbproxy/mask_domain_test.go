// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/sidekey/sidekey/proxy"
)

// TestMaskOfDomain: values that a role does not get are not found out by those of
// another column of the domain, which it reads and writes.
func TestMaskOfDomain(t *testing.T) {
	of := func(table string, masks ...proxy.Mask) proxy.ColumnRule {
		c := column(table, "email", "text", "equality")
		c.Domain, c.Masks = "mail", masks
		return c
	}
	hidden := proxy.Mask{Roles: []string{"domain_analyst"}, Show: proxy.ShowFixed, Text: "hidden"}
	f := start(t, shared, []proxy.ColumnRule{of("staff", hidden), of("leavers", hidden), of("leads"), of("clients")})
	owner := f.connect(t, pgx.QueryExecModeCacheStatement)
	for _, table := range []string{"staff", "leavers", "leads", "clients"} {
		exec1(t, owner, "CREATE TABLE "+table+" (id int, email text)")
		exec1(t, owner, "INSERT INTO "+table+" VALUES (1, 'a@b')")
	}
	exec1(t, owner, "CREATE VIEW both_of AS SELECT l.email FROM staff s JOIN leads l ON s.email = l.email")
	exec1(t, owner, "CREATE VIEW ids_of AS SELECT s.id FROM staff s JOIN leads l ON s.email = l.email")
	exec1(t, owner, "CREATE VIEW number_of AS SELECT count(*) FROM (SELECT email FROM staff UNION SELECT email FROM leads) x")
	exec1(t, owner, "CREATE ROLE domain_analyst LOGIN")
	exec1(t, owner, "GRANT ALL ON staff, leavers, leads, clients, both_of, ids_of, number_of TO domain_analyst")
	direct := f.direct(t)
	t.Cleanup(func() {
		if _, err := direct.Exec(context.Background(), "DROP OWNED BY domain_analyst; DROP ROLE domain_analyst", pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Error(err)
		}
	})
	for name, mode := range execModes {
		conn := dial(t, fmt.Sprintf("postgres://domain_analyst@%s/%s?sslmode=disable", f.addr, f.database), mode)
		for _, sql := range []string{
			"SELECT l.email FROM staff s JOIN leads l ON s.email = l.email", "SELECT email FROM leads JOIN staff USING (email)", "SELECT id FROM leads NATURAL JOIN staff",
			"SELECT id FROM staff WHERE email IN (SELECT email FROM leads)", "SELECT id FROM leads WHERE email = ANY (SELECT email FROM staff)", "SELECT id, email <> (SELECT email FROM leads) FROM staff",
			"SELECT id FROM staff s WHERE EXISTS (SELECT FROM leads l WHERE (l.email, l.id) = (s.email, s.id))", "DELETE FROM leads USING staff WHERE staff.email = leads.email", "SELECT email FROM both_of",
			"SELECT id FROM ids_of", "SELECT count FROM number_of", "SELECT 1 FROM ids_of i JOIN clients USING (id)",
			"PREPARE guess AS SELECT id FROM staff WHERE email = (SELECT email FROM leads)",
		} {
			if _, err := conn.Exec(t.Context(), sql); state(err) != "42501" {
				t.Errorf("%s: %s: got %v, want 42501", name, sql, err)
			}
		}
		for sql, want := range map[string]string{
			"SELECT s.email FROM staff s JOIN leavers USING (email)": "hidden", "SELECT s.email FROM staff s JOIN staff USING (email)": "hidden", "SELECT l.email FROM leads l JOIN clients USING (email)": "a@b",
		} {
			if got, err := names(t, conn, sql); err != nil || got != want {
				t.Errorf("%s: %s: %q, %v; want %q", name, sql, got, err, want)
			}
		}
		if got, err := names(t, owner, "SELECT id::text FROM ids_of"); err != nil || got != "1" {
			t.Errorf("a role without masks: %q, %v", got, err)
		}
		if got, err := names(t, owner, "SELECT email FROM both_of"); err != nil || got != "a@b" {
			t.Errorf("a role without masks: %q, %v", got, err)
		}
	}
}
