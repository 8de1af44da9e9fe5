// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/sidekey/sidekey/dbproxy"
	"github.com/sidekey/sidekey/proxy"
)

// TestMasksWhileMoving: a role that a mask keeps from a column does not get its
// values while they are in plaintext, and gets the mask as soon as they are sealed.
func TestMasksWhileMoving(t *testing.T) {
	columns := movingColumn(proxy.ModeEquality)
	columns[0].Masks = []proxy.Mask{{Roles: []string{"moving_analyst"}, Show: proxy.ShowFixed, Text: "hidden"}}
	f := start(t, shared, columns)
	direct := f.direct(t)
	for _, sql := range []string{
		"CREATE TABLE people (id int PRIMARY KEY, email text)", "INSERT INTO people VALUES (1, 'first@example.com')", "CREATE TABLE other (id int)", "INSERT INTO other VALUES (7)",
		"CREATE ROLE moving_analyst LOGIN", "GRANT ALL ON people, other TO moving_analyst", "CREATE SCHEMA apart CREATE TABLE people (id int, email text)", "GRANT ALL ON SCHEMA apart TO moving_analyst",
		"INSERT INTO apart.people VALUES (5, 'apart')", "CREATE FUNCTION shown() RETURNS text LANGUAGE sql AS 'SELECT email FROM people'", "GRANT ALL ON apart.people TO moving_analyst",
	} {
		exec1(t, direct, sql)
	}
	t.Cleanup(func() {
		if _, err := direct.Exec(context.Background(), "DROP OWNED BY moving_analyst; DROP ROLE moving_analyst", pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Error(err)
		}
	})
	for name, mode := range execModes {
		conn := dial(t, fmt.Sprintf("postgres://moving_analyst@%s/%s?sslmode=disable", f.addr, f.database), mode)
		owner := f.connect(t, mode)
		inPlaintext := func(when string) {
			t.Helper()
			for _, sql := range []string{
				"SELECT email FROM people", "SELECT id FROM people", "SELECT lower(p.email) FROM other, public.people p", "TABLE people", "SELECT to_jsonb(p) FROM people p", "WITH x AS (SELECT * FROM people) SELECT * FROM x",
				"SELECT (SELECT email FROM people)", "UPDATE people SET id = 2 WHERE email = 'first@example.com'", "DELETE FROM people USING other", "INSERT INTO other SELECT length(email) FROM people", "EXPLAIN ANALYZE SELECT * FROM people",
				"PREPARE q AS SELECT email FROM people", "DECLARE c CURSOR WITH HOLD FOR SELECT email FROM people", "COPY people TO STDOUT", "COPY (SELECT email FROM people) TO STDOUT", "CREATE TEMP TABLE t AS SELECT email FROM people",
				"SELECT most_common_vals FROM pg_stats WHERE attname = 'email'", `TABLE pg_catalog."pg_statistic"`, "SELECT query_to_xml('SELECT email FROM people', true, false, '')", "SELECT pg_catalog.table_to_xml('people', true, false, '')",
				"SELECT * FROM ts_stat('SELECT to_tsvector(email) FROM people')", "CREATE FUNCTION pg_temp.show() RETURNS SETOF text LANGUAGE sql AS 'SELECT email FROM people'", "SELECT shown()", "EXECUTE shown", "EXPLAIN ANALYZE SELECT shown()", "SELECT 1; SELECT shown()",
				"COPY (SELECT shown()) TO STDOUT", "CREATE VIEW pg_temp.v AS SELECT shown()", "UPDATE other SET id = id WHERE shown() = ''", "DECLARE c CURSOR WITH HOLD FOR SELECT shown()", "PREPARE q AS SELECT shown()", "VALUES (shown())",
				"DO $$BEGIN PERFORM email FROM people; END$$", "SELECT email FROM seen", "SELECT s.email FROM seen_again s", "SELECT 1; SELECT email FROM people",
			} {
				if _, err := conn.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); state(err) != "42501" {
					t.Errorf("%s, %s: %s: got %v, want 42501", name, when, sql, err)
				}
			}
			if _, err := conn.Exec(t.Context(), "SELECT email FROM people WHERE id = $1", 1); state(err) != "42501" {
				t.Errorf("%s, %s: with a parameter: got %v, want 42501", name, when, err)
			}
			for sql, want := range map[string]string{"SELECT email FROM apart.people": "apart", "SELECT id::text FROM other": "7", "SELECT lower(max(email)) || count(*) FROM apart.people": "apart1"} {
				if got, err := names(t, conn, sql); err != nil || got != want {
					t.Errorf("%s, %s: %s: %q, %v, want %q", name, when, sql, got, err, want)
				}
			}
			if got, err := names(t, owner, "SELECT email FROM people"); err != nil || got != "first@example.com" {
				t.Errorf("%s, %s: a role without a mask: %q, %v", name, when, got, err)
			}
		}
		exec1(t, owner, "CREATE VIEW seen AS SELECT email FROM people")
		exec1(t, owner, "CREATE VIEW seen_again AS SELECT * FROM seen")
		exec1(t, owner, "GRANT ALL ON seen, seen_again TO moving_analyst")
		inPlaintext("before")
		exec1(t, owner, "DROP VIEW seen, seen_again")
		f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people"})
		fresh := dial(t, fmt.Sprintf("postgres://moving_analyst@%s/%s?sslmode=disable", f.addr, f.database), mode)
		for _, c := range []*pgx.Conn{conn, fresh} {
			if got, err := names(t, c, "SELECT email FROM people"); err != nil || got != "hidden" {
				t.Errorf("%s, sealed: %q, %v, want the mask", name, got, err)
			}
			if _, err := c.Exec(t.Context(), "SELECT id FROM people WHERE email = 'first@example.com'"); state(err) != "42501" {
				t.Errorf("%s, sealed: a comparison: got %v, want 42501", name, err)
			}
		}
		f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people", Action: dbproxy.Decrypt})
		owner = f.connect(t, mode)
		exec1(t, owner, "CREATE VIEW seen AS SELECT email FROM people")
		exec1(t, owner, "CREATE VIEW seen_again AS SELECT * FROM seen")
		exec1(t, owner, "GRANT ALL ON seen, seen_again TO moving_analyst")
		inPlaintext("after")
		exec1(t, owner, "DROP VIEW seen, seen_again")
	}
}

// TestMasksWhileDecrypted: the second column of a move back to plaintext is kept from
// roles with a mask as the values are, by proxies that run meanwhile, too.
func TestMasksWhileDecrypted(t *testing.T) {
	columns := []proxy.ColumnRule{column("people", "email", "text", proxy.ModeEquality)}
	columns[0].Moving, columns[0].Masks = proxy.MovingSealed, []proxy.Mask{{Roles: []string{"decrypted_analyst"}, Show: proxy.ShowFixed, Text: "hidden"}}
	f := start(t, shared, columns)
	direct, owner := f.direct(t), f.connect(t, pgx.QueryExecModeExec)
	exec1(t, owner, "CREATE TABLE people (id int PRIMARY KEY, email text)")
	exec1(t, owner, "INSERT INTO people VALUES (1, 'first@example.com')")
	exec1(t, direct, "CREATE ROLE decrypted_analyst LOGIN; GRANT ALL ON people TO decrypted_analyst", pgx.QueryExecModeSimpleProtocol)
	t.Cleanup(func() {
		if _, err := direct.Exec(context.Background(), "DROP OWNED BY decrypted_analyst; DROP ROLE decrypted_analyst", pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Error(err)
		}
	})
	masked := dial(t, fmt.Sprintf("postgres://decrypted_analyst@%s/%s?sslmode=disable", f.addr, f.database), pgx.QueryExecModeExec)
	if got, err := names(t, masked, "SELECT email FROM people"); err != nil || got != "hidden" {
		t.Fatalf("before: %q, %v, want the mask", got, err)
	}
	refused := func(when string) {
		t.Helper()
		for _, sql := range []string{"SELECT query_to_xml('SELECT email__sidekey FROM people', true, false, '')", "SELECT email__sidekey FROM people", "SELECT p.* FROM people p", "DELETE FROM people WHERE email__sidekey = 'first@example.com'", "COPY people TO STDOUT", "DO $$BEGIN END$$"} {
			if _, err := masked.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); state(err) != "42501" {
				t.Errorf("%s: %s: got %v, want 42501", when, sql, err)
			}
		}
	}
	f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people", Action: dbproxy.Decrypt, NoSwap: true}, func(m *dbproxy.Migrator) {
		m.Observe(func(step string) {
			if step != "prepared" { // there is nothing in it yet
				refused(step)
			}
		})
	})
	if got := textRows(t, direct, "SELECT email__sidekey FROM people", f.database); len(got) != 1 || got[0] != "first@example.com" {
		t.Fatalf("the second column holds %q", got)
	}
	if got, err := names(t, owner, "SELECT email FROM people"); err != nil || got != "first@example.com" {
		t.Errorf("a role without a mask: %q, %v", got, err)
	}
	f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people", Action: dbproxy.Decrypt, Abandon: true})
	f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people", Action: dbproxy.Rotate, NoSwap: true})
	masked = dial(t, fmt.Sprintf("postgres://decrypted_analyst@%s/%s?sslmode=disable", f.replica(t).addr, f.database), pgx.QueryExecModeExec)
	if got, err := names(t, masked, "SELECT email FROM people"); err != nil || got != "hidden" {
		t.Errorf("while it gets another key: %q, %v, want the mask", got, err)
	}
}
