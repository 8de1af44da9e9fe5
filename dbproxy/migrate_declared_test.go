// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sidekey/sidekey/dbproxy"
	"github.com/sidekey/sidekey/proxy"
)

// migrateKilled has the server end the session of a run at each of its steps in
// turn, which it sees as it sees a run that is killed, and then runs it to its end. before, if not nil, is called
// before it is killed.
func (f *fixture) migrateKilled(t *testing.T, o dbproxy.MigrateOptions, before func(step string)) {
	t.Helper()
	direct := f.direct(t)
	for _, step := range []string{"prepared", "filled", "caught up", "indexed", "alone"} {
		_, err := f.migrate(t, t.Context(), o, func(m *dbproxy.Migrator) {
			m.Observe(func(s string) {
				if s != step {
					return
				}
				if before != nil {
					before(s)
				}
				if _, err := direct.Exec(context.Background(), "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'sidekey migrate' AND datname = current_database()"); err != nil {
					t.Error(err)
				}
			})
		})
		if err == nil {
			t.Errorf("killed after %q: got no error", step)
		}
	}
	f.mustMigrate(t, o)
}

// declaration is what the catalog says of column email.
func declaration(t *testing.T, conn *pgx.Conn) (d string) {
	t.Helper()
	err := conn.QueryRow(t.Context(), `SELECT format('%s %s %s %s', format_type(atttypid, atttypmod), attcollation::regcollation, attnotnull, pg_get_expr(adbin, adrelid))
FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attrelid = 'people'::regclass AND attname = 'email'`).Scan(&d)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Columns of types that each database has of its own are encrypted and decrypted
// under writers, and end as they were declared.
func TestMigrateUserTypes(t *testing.T) {
	labels := []string{"sad", "so so", "ok", "happy"}
	label := func(seed uint64, n int) string { return labels[(int(seed)+n)%len(labels)] }
	mail := func(seed uint64, n int) string { return fmt.Sprintf("Movmark-%d-%d@Example.com", seed, n) }
	for name, c := range map[string]struct {
		typ, mode, ddl string
		value          func(uint64, int) string
		dflt           string // what a row without a value gets, "" for NULL
	}{
		"enum in equality": {"enum(mood: sad, 'so so', ok, happy)", "equality", "email mood DEFAULT 'ok'", label, "ok"},
		"enum in range":    {"enum(other.mood: sad, 'so so', ok, happy)", "range", "email other.mood DEFAULT 'so so'", label, "so so"},
		"enum in random":   {"enum(public.mood: sad, 'so so', ok, happy)", "random", "email mood", label, ""},
		"citext":           {"citext", "random", `email other.citext COLLATE "C"`, mail, ""},
		"text":             {"text", "equality", `email text COLLATE "C" DEFAULT 'none'`, mail, "none"},
	} {
		t.Run(name, func(t *testing.T) {
			rule := column("people", "email", c.typ, c.mode)
			rule.Moving = proxy.MovingPlaintext
			f := start(t, shared, []proxy.ColumnRule{rule})
			direct := f.direct(t)
			exec1(t, direct, `CREATE SCHEMA other; CREATE EXTENSION citext SCHEMA other; CREATE TYPE mood AS ENUM ('sad', 'so so', 'ok', 'happy'); CREATE TYPE other.mood AS ENUM ('sad', 'so so', 'ok', 'happy');
CREATE TABLE people (id int PRIMARY KEY, `+c.ddl+`, hits int NOT NULL DEFAULT 0)`, pgx.QueryExecModeSimpleProtocol)
			before := declaration(t, direct)
			m := newMovers()
			m.value = c.value
			for i := range 6000 {
				v := c.value(0, i)
				m.rows[i] = &v
			}
			if strings.HasPrefix(c.typ, "enum") {
				exec1(t, direct, "INSERT INTO people SELECT i, (enum_range(NULL::"+sqlName(c.typ)+"))[1 + i % 4] FROM generate_series(0, 5999) i")
			} else {
				exec1(t, direct, "INSERT INTO people SELECT i, 'Movmark-0-' || i || '@Example.com' FROM generate_series(0, 5999) i")
			}
			never := func(*pgconn.PgError) bool { return false }
			r := f.replica(t)
			move := func(o dbproxy.MigrateOptions) {
				t.Helper()
				m.stop = make(chan struct{})
				m.write(t, f.connect(t, pgx.QueryExecModeExec), 0, 2, 1, false, never)
				m.write(t, r.connect(t, pgx.QueryExecModeSimpleProtocol), 1, 2, 2, false, never)
				f.migrateKilled(t, o, nil)
				m.halt()
				app := f.connect(t, pgx.QueryExecModeExec)
				m.compare(t, app)
				exec1(t, app, "INSERT INTO people (id) VALUES (-7)")
				var got *string
				if err := app.QueryRow(t.Context(), "DELETE FROM people WHERE id = -7 RETURNING email").Scan(&got); err != nil || (got == nil) != (c.dflt == "") || got != nil && *got != c.dflt {
					t.Errorf("a row without a value got %s, %v, want %q", value(got), err, c.dflt)
				}
			}
			move(dbproxy.MigrateOptions{Table: "people", Batch: 100})
			var sealed bool
			if err := direct.QueryRow(t.Context(), "SELECT bool_and(encode(substr(email::text::bytea, 1, 2), 'hex') = 'f84b') FROM people", pgx.QueryExecModeExec).Scan(&sealed); err != nil || !sealed {
				t.Errorf("not all values are sealed, %v", err)
			}
			if kept := textRows(t, direct, "SELECT d::text FROM sidekey.declarations d WHERE strpos(d::text, '"+c.dflt+"') > 0 AND '"+c.dflt+"' <> ''", f.database); len(kept) > 0 {
				t.Errorf("the default is kept in plaintext: %q", kept)
			}
			move(dbproxy.MigrateOptions{Table: "people", Action: dbproxy.Decrypt, Batch: 100})
			m.compare(t, direct)
			if after := declaration(t, direct); after != before {
				t.Errorf("declared as %s, was %s", after, before)
			}
		})
	}
}

// A move is refused while the labels of the database and of the rule differ, or if
// it is not known which type is meant.
func TestMigrateRefusesLabels(t *testing.T) {
	rule := column("people", "email", "enum(mood: sad, ok)", proxy.ModeEquality)
	rule.Moving = proxy.MovingPlaintext
	f := start(t, shared, []proxy.ColumnRule{rule})
	direct := f.direct(t)
	exec1(t, direct, "CREATE TYPE mood AS ENUM ('sad', 'ok', 'new'); CREATE TABLE people (id int PRIMARY KEY, email mood); INSERT INTO people VALUES (1, 'ok')", pgx.QueryExecModeSimpleProtocol)
	refused := func(o dbproxy.MigrateOptions, want string) {
		t.Helper()
		if out, err := f.migrate(t, t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q\n%s", err, want, out)
		}
	}
	refused(dbproxy.MigrateOptions{Table: "people"}, "it cannot be moved:\n  its type has the labels [\"sad\" \"ok\" \"new\"]")
	exec1(t, direct, "ALTER TABLE people ALTER email TYPE text; DROP TYPE mood; CREATE TYPE mood AS ENUM ('sad', 'ok'); ALTER TABLE people ALTER email TYPE mood USING email::mood", pgx.QueryExecModeSimpleProtocol)
	exec1(t, direct, "CREATE TYPE moods AS ENUM ('sad', 'ok'); ALTER TABLE people ALTER email TYPE moods USING email::text::moods", pgx.QueryExecModeSimpleProtocol)
	refused(dbproxy.MigrateOptions{Table: "people"}, "it is of type public.moods in the database, and mood by its rule")
	exec1(t, direct, "ALTER TABLE people ALTER email TYPE mood USING email::text::mood; DROP TYPE moods", pgx.QueryExecModeSimpleProtocol)
	f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people"})
	o := dbproxy.MigrateOptions{Table: "people", Action: dbproxy.Decrypt}
	exec1(t, direct, "DROP TYPE mood")
	refused(o, "no type mood")
	exec1(t, direct, "CREATE TYPE mood AS ENUM ('ok', 'sad')")
	refused(o, "the same order")
	exec1(t, direct, "DROP TYPE mood; CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE SCHEMA other; CREATE TYPE other.mood AS ENUM ('sad', 'ok'); DELETE FROM sidekey.declarations", pgx.QueryExecModeSimpleProtocol)
	refused(o, "several types mood: name the schema")
}
