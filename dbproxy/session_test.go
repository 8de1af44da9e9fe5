// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/sidekey/sidekey/proxy"
)

const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// noCanary looks through all files of the server.
func noCanary(t *testing.T, f *fixture, canary string) {
	t.Helper()
	exec1(t, f.direct(t), "CHECKPOINT")
	if files := f.cluster.contains(t, canary); len(files) > 0 {
		t.Errorf("%s is in %v", canary, files)
	}
}

func TestTraceComments(t *testing.T) {
	f := start(t, shared, users())
	conn := f.connect(t, pgx.QueryExecModeSimpleProtocol)
	exec1(t, conn, usersDDL)
	comment := "/*traceparent='" + traceparent + "'*/"
	for _, c := range [][2]string{
		{comment + " INSERT INTO users (email) VALUES ('trmark-1')", ""},
		{" \n/* x\ntraceparent='" + traceparent + "',y='z'*/INSERT INTO users (email) VALUES ('trmark-2')", ""},
		{"INSERT INTO users (email) VALUES ('trmark-3') " + comment + " ; ", ""},
		// The statement is in the comment's place, or the comment is none.
		{"SELECT 1 -- /*traceparent='" + traceparent + "'\n; INSERT INTO users (email) VALUES ('trmark-4') --*/", ""},
		{"SELECT 1 -- /*traceparent='" + traceparent + "'\r; INSERT INTO users (email) VALUES ('trmark-5') --*/", ""},
		{"SELECT 1 /* " + comment, "42601"},
		{"INSERT INTO users (email) VALUES ('trmark-6" + comment, "42601"},
		{"INSERT INTO users (email) VALUES ('trmark-7 " + strings.ReplaceAll(comment, "'", "''") + "')", ""},
		{"INSERT INTO users (email) VALUES ($$trmark-8 " + comment + "$$)", ""},
		{"INSERT INTO users (email) VALUES ('trmark-9') -- " + comment, ""},
		{comment + "; " + comment + " INSERT INTO users (email) VALUES ('trmark-10')", ""},
		{"/*traceparent='" + traceparent + "' /* nested */ SELECT 1 */ INSERT INTO users (email) VALUES ('trmark-11')", ""},
		{comment + "SELECT lower(email) FROM users", "0A000"},
	} {
		_, err := conn.Exec(t.Context(), c[0])
		if got := state(err); got != c[1] {
			t.Errorf("%s: got %v, want %q", c[0], err, c[1])
		}
	}
	w := rawClient(t, f)
	position := func(sql string) int32 {
		w.Send(&pgproto3.Query{String: sql})
		w.Flush()
		position := int32(-1)
		for {
			switch m, err := w.Receive(); m := m.(type) {
			case *pgproto3.ErrorResponse:
				position = m.Position
			case *pgproto3.ReadyForQuery:
				return position
			case nil:
				t.Fatal(err)
			}
		}
	}
	for _, sql := range []string{"SELECT lower(email) FROM users", "SELECT id FROM users WHERE email = 'é' AND nothing = 1", "SELECT id FROM users WHERE email = 'é' AND pin = 'é'", "SELECT FROM FROM"} {
		if plain, led := position(sql), position(comment+sql); plain < 1 || led != plain+int32(len(comment)) {
			t.Errorf("%s: position %d, with a comment %d", sql, plain, led)
		}
	}
	noCanary(t, f, "trmark")
}

// TestExecuteHidden has statements that execute a prepared one by its name.
func TestExecuteHidden(t *testing.T) {
	f := start(t, shared, users())
	w := rawClient(t, f)
	w.send(&pgproto3.Query{String: usersDDL}).want("C Z")
	w.send(&pgproto3.Parse{Name: "s", Query: "INSERT INTO users (email) VALUES ($1)"}, &pgproto3.Parse{Name: "q", Query: "SELECT email FROM users WHERE email = $1"}, &pgproto3.Sync{}).want("1 1 Z")
	w.send(&pgproto3.Query{String: "EXECUTE s('exmark-1')"}).want("C Z")
	fraction := ""
	if serverVersion(t) >= 18 {
		fraction = ".00"
	}
	w.send(&pgproto3.Query{String: "EXPLAIN (ANALYZE, BUFFERS OFF, COSTS OFF, TIMING OFF, SUMMARY OFF) EXECUTE s('exmark-2')"}).
		want("T25 D:Insert+on+users+(actual+rows=0" + fraction + "+loops=1) D:++->++Result+(actual+rows=1" + fraction + "+loops=1) C Z")
	w.send(&pgproto3.Query{String: "EXECUTE q('exmark-2')"}).want("T25 D:exmark-2 C Z")
	for _, sql := range []string{
		"CREATE TABLE x1 AS EXECUTE q('exmark-3')", "EXECUTE s('exmark' || '-6')", "EXECUTE s(upper('exmark-7'))", "EXECUTE s('exmark-8'::char(3))",
		"EXPLAIN ANALYZE CREATE TABLE x2 AS EXECUTE q('exmark-4')", "CREATE TEMP TABLE x3 AS EXECUTE q('exmark-5') WITH NO DATA",
	} {
		w.send(&pgproto3.Query{String: sql}).want("E0A000 Z")
	}
	w.send(&pgproto3.Query{String: "EXECUTE s('exmark-9', 'exmark-10')"}).want("E42601 Z")
	w.send(&pgproto3.Query{String: "EXECUTE nosuch('exmark-11')"}).want("E26000 Z")
	// The name means another statement than when its arguments were sealed.
	w.send(&pgproto3.Parse{Name: "x", Query: "EXECUTE s('exmark-12')"}, &pgproto3.Bind{PreparedStatement: "x"}, &pgproto3.Execute{}, &pgproto3.Sync{}).want("1 2 C Z")
	w.send(&pgproto3.Query{String: "DEALLOCATE s; CREATE TABLE pl (v text); PREPARE s AS INSERT INTO pl VALUES ($1)"}).want("C C C Z")
	w.send(&pgproto3.Bind{PreparedStatement: "x"}, &pgproto3.Execute{}, &pgproto3.Sync{}).want("E0A000 Z")
	w.send(&pgproto3.Query{String: "EXECUTE s('plain'); DEALLOCATE ALL; PREPARE s AS INSERT INTO users (email) VALUES ($1); EXECUTE s('exmark-13')"}).want("C C C C Z")
	noCanary(t, f, "exmark")
}

// TestSearchPathOfPrepared: the server looks names up again when the path has
// changed, and so a value sealed for one table must not reach another.
func TestSearchPathOfPrepared(t *testing.T) {
	columns := []proxy.ColumnRule{column("t1.users", "email", "text", "equality"), column("t2.users", "email", "text", "equality")}
	f := start(t, shared, columns)
	for name, mode := range execModes {
		t.Run(name, func(t *testing.T) {
			conn := f.connect(t, mode)
			for _, sql := range []string{"DROP SCHEMA IF EXISTS t1, t2, t3 CASCADE", "CREATE SCHEMA t1", "CREATE SCHEMA t2", "CREATE SCHEMA t3",
				"CREATE TABLE t1.users (email text)", "CREATE TABLE t2.users (email text)", "CREATE TABLE t3.users (email text)"} {
				exec1(t, conn, sql)
			}
			for range 2 {
				for _, schema := range []string{"t3", "t1", "t2"} {
					exec1(t, conn, "SET search_path TO "+schema)
					value := "spmark-" + schema
					if schema == "t3" {
						value = "plain"
					}
					for try := 0; ; try++ {
						_, err := conn.Exec(t.Context(), "INSERT INTO users (email) VALUES ($1)", value)
						if err == nil {
							break
						}
						if state(err) != "0A000" || try > 0 {
							t.Fatalf("%s: %v", schema, err)
						}
					}
				}
			}
			for _, schema := range []string{"t1", "t2", "t3"} {
				rows, err := conn.Query(t.Context(), "SELECT email FROM "+schema+".users")
				if err != nil {
					t.Fatal(err)
				}
				got, err := pgx.CollectRows(rows, pgx.RowTo[string])
				if err != nil || len(got) != 2 || schema != "t3" && got[0] != "spmark-"+schema {
					t.Errorf("%s: got %q, %v", schema, got, err)
				}
			}
		})
	}
	w := rawClient(t, f)
	sync := &pgproto3.Sync{}
	w.send(&pgproto3.Query{String: "SET search_path TO t3"}).want("C Z")
	w.send(&pgproto3.Parse{Name: "lit", Query: "INSERT INTO users (email) VALUES ('split')"}, sync).want("1 Z")
	w.send(&pgproto3.Query{String: "SET search_path TO t1"}).want("C Z")
	w.send(&pgproto3.Bind{PreparedStatement: "lit"}, &pgproto3.Execute{}, sync).want("E0A000 Z")
	w.send(&pgproto3.Parse{Query: "SET search_path TO t2"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Bind{PreparedStatement: "lit"}, &pgproto3.Execute{}, sync).want("1 2 C E0A000 Z")
	noCanary(t, f, "spmark")
}

func TestSettingsOfPrepared(t *testing.T) {
	f := start(t, shared, append(users(), column("times", "at", "timestamptz", "equality")))
	w := rawClient(t, f)
	sync := &pgproto3.Sync{}
	w.send(&pgproto3.Query{String: usersDDL}).want("C Z")
	w.send(&pgproto3.Query{String: "CREATE TABLE times (at timestamptz)"}).want("C Z")
	w.send(&pgproto3.Query{String: "INSERT INTO users (email) VALUES ('é')"}).want("C Z")
	w.send(&pgproto3.Parse{Name: "q", Query: "SELECT email FROM users"}, sync).want("1 Z")
	w.send(&pgproto3.Query{String: "SET client_encoding TO 'LATIN1'"}).want("C Z")
	w.send(&pgproto3.Bind{PreparedStatement: "q"}, &pgproto3.Execute{}, sync).want("E0A000 Z")
	w.send(&pgproto3.Query{String: "SET client_encoding TO 'UTF8'"}).want("C Z")
	w.send(&pgproto3.Query{String: "SET client_encoding TO 'LATIN1'; SELECT email FROM users"}).want("E0A000 Z")
	w.send(&pgproto3.Query{String: "SET TimeZone TO 'Asia/Tokyo'; INSERT INTO times VALUES ('2020-01-01 00:00')"}).want("E0A000 Z")
	// Not waiting for an answer does not matter.
	w.send(&pgproto3.Query{String: "SET TimeZone TO 'Asia/Tokyo'"}, &pgproto3.Query{String: "INSERT INTO times VALUES ('2020-01-01 00:00')"}).want("C Z C Z")
	w.send(&pgproto3.Query{String: "BEGIN"}, &pgproto3.Query{String: "SET LOCAL TimeZone TO 'UTC'"}, &pgproto3.Query{String: "COMMIT"},
		&pgproto3.Query{String: "SELECT at FROM times"}).want("C Z C Z C Z T1184 D:2020-01-01+00:00:00+09 C Z")
	w.send(&pgproto3.Parse{Query: "SELECT set_config('standard_conforming_strings', 'off', false)"}, &pgproto3.Bind{}, &pgproto3.Execute{},
		&pgproto3.Parse{Query: `INSERT INTO users (email) VALUES ('a\', 'b')`}, sync).want("1 2 D:off C E0A000 Z")
	w.send(&pgproto3.Query{String: "SET standard_conforming_strings = off"}).want("E0A000 Z")
}

// TestHidden has what a text that is not seen has made.
func TestHidden(t *testing.T) {
	f := start(t, shared, users())
	conn := f.connect(t, pgx.QueryExecModeSimpleProtocol)
	exec1(t, conn, usersDDL)
	exec1(t, conn, "DO $$ BEGIN CREATE VIEW hv AS SELECT * FROM users; END $$")
	exec1(t, conn, "INSERT INTO hv (email) VALUES ('hdmark-1')")
	var email string
	if err := conn.QueryRow(t.Context(), "SELECT email FROM hv WHERE email = 'hdmark-1'").Scan(&email); err != nil || email != "hdmark-1" {
		t.Errorf("got %q, %v", email, err)
	}
	for _, sql := range []string{"ALTER SCHEMA public RENAME TO p2",
		"CREATE TABLE pg_temp.users (id int)", "CREATE TEMP TABLE users (id int)", "SELECT 1 AS id INTO TEMP users",
		"CREATE RULE r AS ON INSERT TO users DO ALSO NOTIFY x",
		"ALTER TABLE users DROP CONSTRAINT sidekey_sealed_email", "ALTER TABLE users RENAME CONSTRAINT sidekey_sealed_email TO x", "ALTER TABLE users ALTER email TYPE text USING 'x'",
		"ALTER TABLE users RENAME email TO mail", "ALTER TABLE users RENAME TO people", "ALTER TABLE users SET SCHEMA pg_temp", "ALTER TABLE users ADD g text GENERATED ALWAYS AS (encode(email, 'hex')) STORED",
		"CREATE TABLE c (LIKE users)", "CREATE TABLE c AS TABLE users", "CREATE MATERIALIZED VIEW c AS SELECT email FROM users",
		"CREATE INDEX ON users (lower(note)) WHERE email > 'x'", "CREATE INDEX ON users ((email || 'x'))",
		"CREATE FUNCTION ff() RETURNS SETOF text BEGIN ATOMIC SELECT email FROM users; END",
		"ALTER TABLE users ALTER email SET DEFAULT lower('x')", "ALTER TABLE users ADD CHECK (email <> 'hdmark-x' || 'y')", "CREATE POLICY p ON users USING (email > 'a')",
	} {
		if _, err := conn.Exec(t.Context(), sql); state(err) != "0A000" {
			t.Errorf("%s: got %v, want 0A000", sql, err)
		}
	}
	// A failed block does not keep the client from ending its transaction.
	exec1(t, conn, "BEGIN")
	if _, err := conn.Exec(t.Context(), "DO $$ BEGIN RAISE 'no'; END $$"); err == nil {
		t.Error("no error")
	}
	if _, err := conn.Exec(t.Context(), "SELECT email FROM users"); state(err) != "25P02" {
		t.Errorf("got %v, want 25P02", err)
	}
	exec1(t, conn, "ROLLBACK")
	noCanary(t, f, "hdmark")
}

// TestRolledBackTables: what a transaction made and took back is not there.
func TestRolledBackTables(t *testing.T) {
	f := start(t, shared, users())
	conn := f.connect(t, pgx.QueryExecModeSimpleProtocol)
	exec1(t, conn, usersDDL)
	exec1(t, conn, "CREATE SCHEMA s")
	exec1(t, conn, "SET search_path TO s, public")
	for _, end := range []string{"ROLLBACK TO a", "ROLLBACK"} {
		exec1(t, conn, "BEGIN")
		exec1(t, conn, "SAVEPOINT a")
		exec1(t, conn, "CREATE TABLE s.users (id serial, email text)")
		exec1(t, conn, "INSERT INTO users (email) VALUES ('plain')")
		exec1(t, conn, end)
		if _, err := conn.Exec(t.Context(), "INSERT INTO users (email) VALUES ('rbmark-"+end+"')"); err != nil {
			t.Errorf("after %s: %v", end, err)
		}
		if end != "ROLLBACK" {
			exec1(t, conn, "COMMIT")
		}
	}
	w := rawClient(t, f)
	query := func(sql string) *pgproto3.Query { return &pgproto3.Query{String: sql} }
	w.send(query("SET search_path TO s, public"), query("BEGIN"), query("CREATE TABLE s.users (email text)"), query("SELECT email FROM users"), query("ROLLBACK"), query("SELECT count(*) FROM users WHERE email = 'rbmark-x'")).
		want("C Z C Z C Z T25 C Z C Z T20 D:0 C Z")
	noCanary(t, f, "rbmark")
}

// TestNoRecordNoAnswer: without the audit log nothing is told.
func TestNoRecordNoAnswer(t *testing.T) {
	f := start(t, shared, users())
	w, x := rawClient(t, f), rawClient(t, f)
	w.send(&pgproto3.Query{String: usersDDL}).want("C Z")
	w.send(&pgproto3.Query{String: "INSERT INTO users (email) VALUES ('e')"}).want("C Z")
	x.send(&pgproto3.Parse{Name: "s", Query: "SELECT email FROM users"}, &pgproto3.Parse{Name: "i", Query: "INSERT INTO users (email) VALUES ($1)"}, &pgproto3.Sync{}).want("1 1 Z")
	f.audit.Close()
	w.send(&pgproto3.Query{String: "SELECT email FROM users"}).want("E58030")
	x.send(&pgproto3.Bind{PreparedStatement: "i", Parameters: [][]byte{[]byte("f")}}, &pgproto3.Execute{}, &pgproto3.Sync{}).want("E58030")
	var n int
	if err := f.direct(t).QueryRow(t.Context(), "SELECT count(*) FROM users").Scan(&n); err != nil || n != 1 {
		t.Errorf("got %d rows, %v; want that nothing is stored without a record", n, err)
	}
}
