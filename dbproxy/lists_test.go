// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/sidekey/sidekey/proxy"
)

// TestTypesOfLists: all constants of IN have one type, which differs from that of
// one constant after =. What cannot be answered so is refused.
func TestTypesOfLists(t *testing.T) {
	f := start(t, shared, []proxy.ColumnRule{column("lists", "f4", "float4", "equality"), column("lists", "ch", "char(4)", "equality"), column("lists", "d", "date", "equality"), column("lists", "i4", "int4", "equality")})
	conn := f.connect(t, pgx.QueryExecModeSimpleProtocol)
	direct := f.direct(t)
	const shape = " (id int, f4 float4, ch char(4), d date, i4 int)"
	const rows = " VALUES (1, 0.1, 'a', '2024-01-01', 5), (2, 16777216, 'b', '2024-02-02', 6), (3, NULL, NULL, NULL, NULL)"
	for table, c := range map[string]*pgx.Conn{"lists": conn, "plain_lists": direct} {
		exec1(t, c, "CREATE TABLE "+table+shape)
		exec1(t, c, "INSERT INTO "+table+rows)
	}
	ids := func(c *pgx.Conn, table, where string) string {
		t.Helper()
		rows, _ := c.Query(t.Context(), "SELECT id FROM "+table+" WHERE "+where+" ORDER BY id") // CollectRows has its error
		got, err := pgx.CollectRows(rows, pgx.RowTo[int])
		var refused *pgconn.PgError
		if errors.As(err, &refused) {
			return refused.Code
		}
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(got)
	}
	for where, refused := range map[string]bool{
		"f4 = 0.1":                                                false,
		"f4 IN (0.1, 0.2)":                                        false,
		"f4 NOT IN (0.1, 0.2)":                                    false,
		"f4 IN (0.1, 0.2::float8)":                                false,
		"f4 IN (16777217, 5)":                                     false,
		"f4 IN ('0.1', 0.2::float8)":                              false,
		"i4 IN ('5000000000', 6::int8)":                           false,
		"i4 IN ('5.5', 5.0)":                                      false,
		"i4 NOT IN ('5.5', 6.5)":                                  false,
		"i4 IN ('5', 6)":                                          false,
		"i4 IN ('5.5', 6)":                                        false,
		"f4 = 16777217":                                           false,
		"ch IN ('a '::text, 'b')":                                 false,
		"d IN ('2024-01-01', '2024-03-03')":                       false,
		"d IN ('2024-01-01 10:00', '2024-02-02'::timestamp)":      true,
		"d IN ('2024-01-01'::date, '2024-02-02'::date)":           false,
		"coalesce(f4, 0.1) = '0.1'::real":                         true,
		"coalesce(f4, '0.1'::real) = '0.1'::real":                 false,
		"f4 = ANY (ARRAY['0.1'::real, 0.2::real])":                false,
		"d IN ('2024-01-01'::timestamp, '2024-02-02'::timestamp)": false,
	} {
		got, want := ids(conn, "lists", where), ids(direct, "plain_lists", where)
		if refused {
			want = "0A000"
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", where, got, want)
		}
	}
}

// TestFunctionsThatSetUnseen: the tenant is asked for after whatever may have changed
// it, however it is written.
func TestFunctionsThatSetUnseen(t *testing.T) {
	rule := column("users", "email", "text", "equality")
	rule.PerTenant = true
	f := start(t, shared, []proxy.ColumnRule{rule})
	conn := f.connect(t, pgx.QueryExecModeSimpleProtocol)
	exec1(t, conn, "CREATE TABLE users (id int, email text)")
	exec1(t, conn, "CREATE SCHEMA app")
	for _, name := range []string{"app.begin", "app.version", "app.count"} {
		exec1(t, conn, "CREATE FUNCTION "+name+"(text) RETURNS text LANGUAGE sql AS $$ SELECT set_config('sidekey.tenant', $1, false) $$")
	}
	for i, call := range []string{
		"SELECT set_config('sidekey.tenant', '%s', false)", `SELECT U&"set_config"('sidekey.tenant', '%s', false)`,
		"COPY (SELECT set_config('sidekey.tenant', '%s', false)) TO STDOUT", "SELECT app.begin('%s')", "SELECT app.version('%s')", "SELECT app.count('%s')",
	} {
		for _, tenant := range []string{"one", "two"} {
			if _, err := conn.PgConn().Exec(t.Context(), fmt.Sprintf(call, tenant)).ReadAll(); err != nil {
				t.Fatal(err)
			}
			exec1(t, conn, fmt.Sprintf("INSERT INTO users VALUES (%d, 'of %s')", i, tenant))
			rows, err := conn.Query(t.Context(), fmt.Sprintf("SELECT email FROM users WHERE id = %d AND email = 'of %s'", i, tenant))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := pgx.CollectRows(rows, pgx.RowTo[string]); err != nil || len(got) != 1 {
				t.Errorf("%s: tenant %s reads %q, %v", call, tenant, got, err)
			}
		}
		// Each tenant's row is under its own keys: together nobody reads them.
		exec1(t, conn, "SELECT set_config('sidekey.tenant', 'one', false)")
		if _, err := conn.PgConn().Exec(t.Context(), fmt.Sprintf("SELECT email FROM users WHERE id = %d", i)).ReadAll(); err == nil {
			t.Errorf("%s: a tenant reads the rows of both", call)
		}
	}
}
