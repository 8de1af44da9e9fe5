// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/sidekey/sidekey/proxy"
)

func TestMasks(t *testing.T) {
	masked := func(name, typ, mode string, masks ...proxy.Mask) proxy.ColumnRule {
		c := column("users", name, typ, mode)
		c.Masks = append([]proxy.Mask{{Roles: []string{"postgres"}, Show: proxy.ShowValue}}, masks...)
		return c
	}
	analyst := []string{"analyst"}
	f := start(t, shared, []proxy.ColumnRule{
		masked("email", "text", "equality", proxy.Mask{Roles: analyst, Show: proxy.ShowFixed, Text: "hidden"}),
		masked("card", "varchar(19)", "random", proxy.Mask{Roles: analyst, Show: proxy.ShowLast4}),
		masked("pin", "int4", "equality", proxy.Mask{Roles: []string{"*"}, Show: proxy.ShowNull}),
		masked("ssn", "text", "random", proxy.Mask{Roles: analyst, Show: proxy.ShowRefuse}),
	})
	owner := f.connect(t, pgx.QueryExecModeCacheStatement)
	exec1(t, owner, "CREATE TABLE users (id int, email text, card varchar(19), pin int, ssn text)")
	exec1(t, owner, "INSERT INTO users VALUES (1, 'a@b', '4000123412341234', 5, 's'), (2, 'a@b', '12', 6, NULL)")
	exec1(t, owner, "DROP ROLE IF EXISTS analyst")
	exec1(t, owner, "CREATE ROLE analyst LOGIN")
	direct := f.direct(t)
	t.Cleanup(func() {
		if _, err := direct.Exec(context.Background(), "DROP OWNED BY analyst; DROP ROLE analyst", pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Error(err)
		}
	})
	exec1(t, owner, "GRANT SELECT ON users TO analyst")
	for name, mode := range execModes {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, fmt.Sprintf("postgres://analyst@%s/%s?sslmode=disable", f.addr, f.database), mode)
			for sql, want := range map[string]string{
				"SELECT concat_ws('|', id) FROM users ORDER BY id":                                  "1 2",
				"SELECT email FROM users":                                                           "hidden hidden",
				"SELECT card FROM users ORDER BY id":                                                "****1234 ****",
				"SELECT count(*)::text FROM users GROUP BY email":                                   "2",
				"SELECT id::text FROM users WHERE ssn IS NULL":                                      "2",
				"SELECT u.card FROM users u JOIN users v ON u.email = v.email AND u.id = 1 LIMIT 1": "****1234",
			} {
				if got, err := names(t, conn, sql); err != nil || got != want {
					t.Errorf("%s: %q, %v; want %q", sql, got, err, want)
				}
			}
			for _, sql := range []string{
				"SELECT ssn FROM users", "SELECT * FROM users", "SELECT id FROM users WHERE email = 'a@b'",
				"SELECT id FROM users WHERE pin IN (1, 2, 3, 4, 5)", "UPDATE users SET card = '1'",
				"PREPARE guess (text) AS SELECT id FROM users WHERE email = $1", "DECLARE c CURSOR FOR SELECT id FROM users WHERE email = 'a@b'",
			} {
				if _, err := conn.Exec(t.Context(), sql); state(err) != "42501" {
					t.Errorf("%s: %v, want 42501", sql, err)
				}
			}
			if _, err := conn.Exec(t.Context(), "SELECT id FROM users WHERE email = $1", "a@b"); state(err) != "42501" {
				t.Errorf("a parameter: %v, want 42501", err)
			}
			for format, want := range map[string]string{"text": "1\thidden\t****1234\t\\N\n2\thidden\t****\t\\N\n", "csv": "1,hidden,****1234,\n2,hidden,****,\n"} {
				var got strings.Builder
				_, err := conn.PgConn().CopyTo(t.Context(), &got, "COPY (SELECT id, email, card, pin FROM users ORDER BY id) TO STDOUT (FORMAT "+format+")")
				if err != nil || got.String() != want {
					t.Errorf("COPY in format %s: %q, %v; want %q", format, got.String(), err, want)
				}
			}
			if _, err := conn.PgConn().CopyTo(t.Context(), io.Discard, "COPY users TO STDOUT"); state(err) != "42501" {
				t.Errorf("COPY of a refused column: %v, want 42501", err)
			}
			var got []byte
			rows, err := conn.Query(t.Context(), "SELECT pin, email FROM users", pgx.QueryResultFormats{1, 1})
			for err == nil && rows.Next() {
				got = append(append(got, rows.RawValues()[0]...), rows.RawValues()[1]...)
			}
			if err != nil || rows.Err() != nil || string(got) != "hiddenhidden" {
				t.Errorf("binary rows: %q, %v, %v", got, err, rows.Err())
			}
			// The role that logged in counts, not the one it takes on.
			super := f.connect(t, mode)
			exec1(t, super, "SET ROLE analyst")
			if got, err := names(t, super, "SELECT email FROM users"); err != nil || got != "a@b a@b" {
				t.Errorf("SET ROLE: %q, %v", got, err)
			}
		})
	}
}
