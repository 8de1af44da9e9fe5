// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/sidekey/sidekey/proxy"
)

// ddlStep is a statement with its SQLSTATE, "" for success.
type ddlStep struct{ sql, code string }

func takes(t *testing.T, conn *pgx.Conn, steps []ddlStep) {
	t.Helper()
	for _, s := range steps {
		if _, err := conn.Exec(t.Context(), s.sql); state(err) != s.code {
			t.Errorf("%s: got %v, want %q", s.sql, err, s.code)
		}
	}
}

func selects(t *testing.T, conn *pgx.Conn, sql string, want ...string) {
	t.Helper()
	rows, _ := conn.Query(t.Context(), sql)
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Errorf("%s: %v", sql, err)
		return
	}
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s: %s", sql, d)
	}
}

// TestDDLOnTheServer has statements that the server itself must take as they
// were rewritten, and what they make keep its seal.
func TestDDLOnTheServer(t *testing.T) {
	copies := column("copies", "email", "text", "equality")
	copies.Domain = "mail"
	f := start(t, shared, append(users(), copies, column("parts", "secret", "text", "random")))
	for name, mode := range execModes {
		t.Run(name, func(t *testing.T) {
			conn := f.connect(t, mode)
			exec1(t, f.direct(t), "DROP TABLE IF EXISTS users, leads, copies, parts, admins, parts_2 CASCADE")
			takes(t, conn, []ddlStep{
				{"CREATE TABLE IF NOT EXISTS users (id serial PRIMARY KEY, email text NOT NULL DEFAULT 'ddl-default@x' UNIQUE CHECK (email <> 'ddl-never'), ssn varchar(11), pin integer, note text)", ""},
				{"CREATE TABLE IF NOT EXISTS users (id serial PRIMARY KEY, email text)", ""},
				{"INSERT INTO users (note) VALUES ('a')", ""},
				{"INSERT INTO users (email, note) VALUES (DEFAULT, 'b')", "23505"},
				{"INSERT INTO users (email) VALUES ('ddl-never')", "23514"},
				{"INSERT INTO users (email) VALUES ('b@x')", ""},
				{"ALTER TABLE users ALTER COLUMN email SET DEFAULT 'ddl-other@x'", ""},
				{"INSERT INTO users (note) VALUES ('c')", ""},
				{"ALTER TABLE users ALTER COLUMN email TYPE text USING email::text", ""},
				{"ALTER TABLE users ALTER COLUMN email DROP DEFAULT, ALTER COLUMN ssn SET DEFAULT NULL", ""},
				{"ALTER TABLE users DROP COLUMN pin", ""},
				{"ALTER TABLE users ADD COLUMN pin integer NOT NULL DEFAULT 77", ""},
				{"ALTER TABLE users ALTER COLUMN pin DROP DEFAULT", ""},
				{"ALTER TABLE users ADD CONSTRAINT pins CHECK (pin IN (77, 78) OR pin IS NULL)", ""},
				{"UPDATE users SET pin = 79", "23514"},
				{"UPDATE users SET pin = 78 WHERE pin = 77 AND email = 'b@x'", ""},
				{"CREATE UNIQUE INDEX CONCURRENTLY users_i ON users (email) INCLUDE (ssn) WHERE email <> 'ddl-none'", ""},
				{"CREATE INDEX ON users USING hash (pin)", ""},
				{"CREATE TABLE leads (id int, email text PRIMARY KEY REFERENCES users (email))", ""},
				{"CREATE TABLE copies (LIKE leads INCLUDING ALL, FOREIGN KEY (email) REFERENCES leads)", ""},
				{"INSERT INTO leads VALUES (1, 'b@x')", ""},
				{"INSERT INTO leads VALUES (1, 'ddl-nobody')", "23503"},
				{"INSERT INTO copies VALUES (2, 'b@x')", ""},
				{"INSERT INTO copies VALUES (2, 'ddl-default@x')", "23503"},
				{"CREATE VIEW uv AS SELECT id FROM users WHERE email = 'b@x'", ""},
				{"CREATE MATERIALIZED VIEW um AS SELECT count(*) FROM users WHERE email <> 'b@x'", ""},
				{"REFRESH MATERIALIZED VIEW um", ""},
				{"CREATE TABLE counted AS SELECT count(*) n FROM users WHERE email = 'b@x'", ""},
				{"DROP TABLE counted", ""},
				{"DROP MATERIALIZED VIEW um", ""},
				{"CREATE OR REPLACE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.note := ''touched''; RETURN NEW; END'", ""},
				{"CREATE TRIGGER t BEFORE UPDATE ON users FOR EACH ROW WHEN (NEW.email = 'b@x') EXECUTE FUNCTION touched()", ""},
				{"UPDATE users SET ssn = '5' WHERE email = 'b@x'", ""},
				{"CREATE STATISTICS users_s ON email, pin FROM users", ""},
				{"COMMENT ON COLUMN users.email IS 'c'", ""},
				{"TRUNCATE copies", ""},
			})
			selects(t, conn, "SELECT email FROM users", "b@x", "ddl-default@x", "ddl-other@x")
			selects(t, conn, "SELECT note FROM users WHERE pin = 78", "touched")
			selects(t, conn, "SELECT email FROM users WHERE pin = 77", "ddl-default@x", "ddl-other@x")
			noCanary(t, f, "ddl-")
		})
	}
}

// TestPartitionsAndChildren: what partitions and children hold is sealed, and
// read through the parent.
func TestPartitionsAndChildren(t *testing.T) {
	f := start(t, shared, users())
	conn := f.connect(t, pgx.QueryExecModeExec)
	takes(t, conn, []ddlStep{
		{"CREATE TABLE users (id int, email text, ssn varchar(11)) PARTITION BY RANGE (id)", ""},
		{"CREATE TABLE users_1 PARTITION OF users FOR VALUES FROM (0) TO (10)", ""},
		{"INSERT INTO users VALUES (1, 'pcmark-a', '1')", ""},
		{"CREATE TABLE users_2 (id int, email text, ssn varchar(11))", ""}, // plaintext: no rule names it
		{"ALTER TABLE users ATTACH PARTITION users_2 FOR VALUES FROM (10) TO (20)", "42804"},
		{"ALTER TABLE users DETACH PARTITION users_1", ""},
		{"ALTER TABLE users ATTACH PARTITION users_1 FOR VALUES FROM (0) TO (10)", ""},
		{"ALTER TABLE users_1 OWNER TO postgres", ""},
		{"CREATE TABLE leads (id int, email text)", ""},
		{"CREATE TABLE leads_child (extra int) INHERITS (leads)", ""},
		{"ALTER TABLE leads_child NO INHERIT leads", ""},
		{"ALTER TABLE leads_child INHERIT leads", ""},
	})
	selects(t, conn, "SELECT email FROM users", "pcmark-a")
	// Refused or sealed: what is said to a child is not seen by the server.
	for _, table := range []string{"users_1", "leads_child"} {
		conn.Exec(t.Context(), "INSERT INTO "+table+" (id, email) VALUES (2, 'pcmark-b')")
	}
	exec1(t, conn, "CREATE TABLE leads_late () INHERITS (leads)")
	conn.Exec(t.Context(), "INSERT INTO leads_late (id, email) VALUES (2, 'pcmark-c')")
	exec1(t, conn, "CREATE VIEW leads_view AS SELECT id, email FROM leads")
	conn.Exec(t.Context(), "INSERT INTO leads_view (id, email) VALUES (2, 'pcmark-d')")
	noCanary(t, f, "pcmark-")
}

// TestRename renames by rules that are bound to the old name.
func TestRename(t *testing.T) {
	f := start(t, shared, users())
	conn := f.connect(t, pgx.QueryExecModeExec)
	exec1(t, conn, usersDDL)
	exec1(t, conn, "CREATE SCHEMA crm")
	exec1(t, conn, "INSERT INTO users (email, ssn, pin) VALUES ('renmark-x', '12', 3)")
	takes(t, conn, []ddlStep{{"ALTER TABLE users RENAME TO people", "0A000"}, {"ALTER TABLE users RENAME ssn TO social", "0A000"}, {"ALTER TABLE users SET SCHEMA crm", "0A000"}})

	renamed := *f
	mail := column("crm.people", "email", "text", "equality")
	mail.Domain, mail.BoundAs = "mail", "public.users.email"
	social, pin := column("crm.people", "social", "varchar(20)", "random"), column("crm.people", "pin", "int4", "equality")
	social.BoundAs, pin.BoundAs = "public.users.ssn", "public.users.pin"
	middle := slices.Clone([]proxy.ColumnRule{mail, social, pin})
	for i := range middle {
		middle[i].Table = "public.people"
	}
	renamed.columns = middle
	if err := (&proxy.Rules{Columns: middle}).Validate(); err != nil {
		t.Fatal(err)
	}
	second := renamed.replica(t)
	conn = second.connect(t, pgx.QueryExecModeExec)
	takes(t, conn, []ddlStep{
		{"SELECT email FROM users", "0A000"},
		{"INSERT INTO users (email) VALUES ('renmark-early')", "0A000"},
		{"SELECT email FROM people", "42P01"},
		{"CREATE TEMP TABLE users (email text)", "0A000"},
		{"ALTER TABLE users RENAME TO people", ""},
		{"SELECT pin FROM people", "0A000"},
		{"INSERT INTO people (social) VALUES ('renmark-early')", "0A000"},
		{"ALTER TABLE people RENAME COLUMN note TO social", "0A000"},
		{"ALTER TABLE people RENAME COLUMN ssn TO social", ""},
		{"ALTER TABLE people ALTER COLUMN social TYPE varchar(20) USING social::varchar(20)", ""},
		{"ALTER TABLE people DROP CONSTRAINT sidekey_sealed_ssn", "0A000"},
		{"INSERT INTO people (email, social) VALUES ('renmark-second', 'longer than eleven')", ""},
	})
	selects(t, conn, "SELECT social FROM people WHERE email IN ('renmark-x', 'renmark-second')", "12", "longer than eleven")
	selects(t, conn, "SELECT email FROM people WHERE pin = 3", "renmark-x")
	if got := textRows(t, conn, "SELECT conname FROM pg_constraint WHERE conrelid = 'people'::regclass AND contype = 'c'", f.database); len(got) > 0 {
		t.Errorf("constraints %v are shown", got)
	}
	// The second rename: bound_as stays what it was.
	renamed.columns = []proxy.ColumnRule{mail, social, pin}
	conn = renamed.replica(t).connect(t, pgx.QueryExecModeExec)
	takes(t, conn, []ddlStep{{"ALTER TABLE people SET SCHEMA crm", ""}})
	conn = renamed.replica(t).connect(t, pgx.QueryExecModeExec)
	selects(t, conn, "SELECT social FROM crm.people WHERE email = 'renmark-x'", "12")
	selects(t, conn, "SELECT email FROM crm.people WHERE pin = 3", "renmark-x")
	noCanary(t, f, "renmark-")
}

// TestOthersSeeNewRelations: a view or child that one session makes is known to
// the others at once, and not only when the catalog is read again.
func TestOthersSeeNewRelations(t *testing.T) {
	f := start(t, shared, users())
	for name, mode := range execModes {
		t.Run(name, func(t *testing.T) {
			exec1(t, f.direct(t), "DROP TABLE IF EXISTS users, others CASCADE")
			maker, other := f.connect(t, mode), f.connect(t, mode)
			exec1(t, maker, usersDDL)
			exec1(t, maker, "INSERT INTO users (email) VALUES ('a')")
			exec1(t, other, "SELECT id FROM users")
			exec1(t, maker, "BEGIN")
			exec1(t, maker, "CREATE VIEW others AS SELECT email FROM users")
			exec1(t, maker, "COMMIT")
			// Opened or refused, but never as it is stored.
			var email string
			if err := other.QueryRow(t.Context(), "SELECT email FROM others").Scan(&email); email != "a" && state(err) != "0A000" {
				t.Errorf("got %q, %v", email, err)
			}
			exec1(t, maker, "DROP VIEW others")
			exec1(t, maker, "CREATE TABLE others () INHERITS (users)")
			other.Exec(t.Context(), "INSERT INTO others (id, email) VALUES (7, 'osmark')")
			noCanary(t, f, "osmark")
		})
	}
}

// TestPipelineOfNewRelations: what a pipeline has made can be used in it, and is
// protected.
func TestPipelineOfNewRelations(t *testing.T) {
	f := start(t, shared, users())
	w := rawClient(t, f)
	run := func(sql string) []pgproto3.FrontendMessage {
		return []pgproto3.FrontendMessage{&pgproto3.Parse{Query: sql}, &pgproto3.Bind{}, &pgproto3.Execute{}}
	}
	w.send(&pgproto3.Query{String: usersDDL}).want("C Z")
	w.send(&pgproto3.Query{String: "INSERT INTO users (email) VALUES ('a')"}).want("C Z")
	w.send(append(slices.Concat(run("CREATE VIEW plv AS SELECT email FROM users"), run("SELECT 1"), run(`SELECT * FROM "plv"`)), &pgproto3.Sync{})...).
		want("1 2 C 1 2 D:1 C 1 2 D:a C Z")
	w.send(append(slices.Concat(run("CREATE TABLE plc () INHERITS (users)"), run("INSERT INTO PLC (email) VALUES ('plmark')")), &pgproto3.Sync{})...).
		want("1 2 C 1 2 C Z")
	w.send(append(slices.Concat(run("BEGIN"), run("SET LOCAL search_path TO nowhere, public"), run("CREATE TABLE plt () INHERITS (users)"),
		run("INSERT INTO plt (email) VALUES ('plmark')"), run("ROLLBACK"), run("SELECT email FROM plc")), &pgproto3.Sync{})...).
		want("1 2 C 1 2 C 1 2 C 1 2 C 1 2 C 1 2 D:plmark C Z")
	w.send(append(slices.Concat(run("PREPARE plq (text) AS SELECT id FROM plc WHERE email = $1"), run("EXECUTE plq ('plmark')"),
		run("BEGIN"), run("DECLARE plcur CURSOR FOR SELECT email FROM plc"), run("FETCH 1 FROM plcur"), run("COMMIT")), &pgproto3.Sync{})...).
		want("1 2 C 1 2 D:2 C 1 2 C 1 2 C 1 2 D:plmark C 1 2 C Z")
	noCanary(t, f, "plmark")
}

// TestTablesThatLostTheirRules: a child that is one no longer still has sealed values,
// and is not used as a table like any other.
func TestTablesThatLostTheirRules(t *testing.T) {
	f := start(t, shared, users())
	conn := f.connect(t, pgx.QueryExecModeExec)
	exec1(t, conn, usersDDL)
	exec1(t, conn, "CREATE TABLE kid () INHERITS (users)")
	exec1(t, conn, "INSERT INTO kid (email) VALUES ('lostmark')")
	exec1(t, conn, "CREATE VIEW kids AS SELECT id FROM kid")
	exec1(t, f.direct(t), "ALTER TABLE kid NO INHERIT users")
	for _, c := range []*pgx.Conn{conn, f.connect(t, pgx.QueryExecModeExec)} {
		exec1(t, c, "CREATE INDEX ON users (note)") // after which the catalog is known anew
		for _, sql := range []string{"SELECT email FROM kid", "SELECT id FROM kid WHERE email = 'lostmark'", "TABLE kids", "UPDATE kid SET email = 'lostmark'", "COPY kid TO STDOUT"} {
			if _, err := c.Exec(t.Context(), sql); state(err) != "0A000" {
				t.Errorf("%s: got %v, want 0A000", sql, err)
			}
		}
	}
	exec1(t, conn, "DROP TABLE kid CASCADE")
	noCanary(t, f, "lostmark")
}

// TestViewsOfProcedures: what a procedure has made is known to the next statement, and
// to other sessions.
func TestViewsOfProcedures(t *testing.T) {
	f := start(t, shared, users())
	conn, other := f.connect(t, pgx.QueryExecModeExec), f.connect(t, pgx.QueryExecModeCacheStatement)
	exec1(t, conn, usersDDL)
	exec1(t, conn, "INSERT INTO users (email) VALUES ('procmark')")
	exec1(t, f.direct(t), "CREATE PROCEDURE show() LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'CREATE VIEW shown AS SELECT id, em' || 'ail FROM us' || 'ers'; END $$")
	exec1(t, other, "SELECT count(*) FROM users")
	exec1(t, conn, "CALL show()")
	for _, c := range []*pgx.Conn{conn, other} {
		var email string
		if err := c.QueryRow(t.Context(), "SELECT email FROM shown WHERE email = 'procmark'").Scan(&email); err != nil || email != "procmark" {
			t.Errorf("got %q, %v; want procmark", email, err)
		}
	}
	noCanary(t, f, "procmark")
}
