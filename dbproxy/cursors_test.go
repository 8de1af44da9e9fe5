// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/sidekey/sidekey/proxy"
)

// TestCursorsOfTheSameName has cursors whose names mean others than those that were
// declared before, or whose tables have changed.
func TestCursorsOfTheSameName(t *testing.T) {
	columns := users()
	columns[0].Masks = []proxy.Mask{{Roles: []string{"postgres"}, Show: proxy.ShowValue}}
	columns[1].Masks = []proxy.Mask{{Roles: []string{"postgres"}, Show: proxy.ShowNull}}
	f := start(t, shared, columns)
	setup, direct := f.connect(t, pgx.QueryExecModeExec), f.direct(t)
	exec1(t, direct, `CREATE FUNCTION again(query text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
		IF EXISTS (SELECT FROM pg_cursors WHERE name = 'h') THEN EXECUTE 'CLOSE h'; END IF; EXECUTE 'DECLARE h CURSOR WITH HOLD FOR ' || query; END $$`)
	exec1(t, direct, "CREATE TABLE queries (q text)")
	exec1(t, direct, "CREATE FUNCTION react() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM again(NEW.q); RETURN NEW; END $$")
	exec1(t, direct, "CREATE TRIGGER t BEFORE INSERT ON queries FOR EACH ROW EXECUTE FUNCTION react()")
	reset := func() {
		exec1(t, setup, "DROP TABLE IF EXISTS users, leads")
		exec1(t, setup, usersDDL)
		exec1(t, setup, "CREATE TABLE leads (id int, email text)")
		exec1(t, setup, "INSERT INTO users (id, email, pin, note) VALUES (1, 'a@b', 5, 'n')")
		exec1(t, direct, "INSERT INTO leads SELECT 1, email FROM users") // of the same domain
	}
	const plainly, mixed = "DECLARE h CURSOR WITH HOLD FOR SELECT email FROM users", "DECLARE h CURSOR WITH HOLD FOR SELECT coalesce(email, 'none') FROM users"
	for i, c := range []struct {
		declare, between, want string
	}{
		{plainly, "SELECT 1", "a@b"}, {mixed, "SELECT 1", "a@b"}, {mixed, "UPDATE users SET note = 'm'", "a@b"}, {mixed, "SELECT md5('x'), now()", "a@b"}, {mixed, "SELECT pg_backend_pid()", "a@b"},
		// Another that gives what the table has.
		{plainly, "SELECT again('SELECT pin FROM users')", "0A000"}, {plainly, "SELECT again('SELECT note FROM users')", "0A000"}, {plainly, "SELECT again('SELECT email FROM leads')", "0A000"}, {plainly, "SELECT again('SELECT email FROM users')", "a@b"},
		{mixed, "SELECT again('SELECT pin FROM users')", "5"}, {mixed, "SELECT again('SELECT note FROM users')", "n"}, {mixed, "SELECT again('SELECT email FROM leads')", "NULL"}, {mixed, "INSERT INTO queries VALUES ('SELECT email FROM users')", "a@b"}, {mixed, "DO $$ BEGIN PERFORM again('SELECT 7'); END $$", "7"},
		// One whose values are not what a column is: they are not opened.
		{mixed, "SELECT again('SELECT coalesce(email, email) FROM leads')", "sealed"}, {mixed, "INSERT INTO queries VALUES ('SELECT coalesce(email, email) FROM leads')", "sealed"}, {plainly, "SELECT again('SELECT coalesce(email, email) FROM leads')", "0A000"},
		{mixed, "SELECT again('SELECT ''\\x0102''::bytea')", "\\x0102"},
		// Tables that have changed.
		{plainly, "ALTER TABLE users ADD COLUMN more int", "a@b"}, {mixed, "ALTER TABLE users DROP COLUMN note", "a@b"}, {plainly, "DROP TABLE users|" + usersDDL, "0A000"}, {mixed, "DROP TABLE users|" + usersDDL, "a@b"},
		{plainly, "DROP TABLE users|CREATE TABLE users (id int, note text, email text)", "0A000"}, {plainly, "ALTER TABLE users DROP COLUMN email; ALTER TABLE users ADD COLUMN email text", "0A000"},
		// It was never there, or is not any more.
		{"BEGIN; " + mixed + "; ROLLBACK", "SELECT 1", "34000"}, {"BEGIN; " + mixed + "; ROLLBACK", "SELECT again('SELECT pin FROM users')", "5"}, {"BEGIN; " + plainly + "; ROLLBACK", "SELECT again('SELECT pin FROM users')", "0A000"}, {mixed, "CLOSE h", "34000"}, {mixed, "DISCARD ALL", "34000"},
		{"SELECT 1", "SELECT again('SELECT pin FROM users')", "5"}, {mixed, "CLOSE h; " + plainly, "a@b"},
	} {
		for name, mode := range map[string]pgx.QueryExecMode{"simple": pgx.QueryExecModeSimpleProtocol, "extended": pgx.QueryExecModeDescribeExec} {
			t.Run(fmt.Sprint(name, i), func(t *testing.T) {
				reset()
				conn := f.connect(t, mode).PgConn()
				for _, sql := range append([]string{c.declare}, strings.Split(c.between, "|")...) {
					if _, err := conn.Exec(context.Background(), sql).ReadAll(); err != nil {
						t.Fatalf("%s: %v", sql, err)
					}
				}
				got := "NULL"
				for range 2 { // the second finds nothing
					r := &pgconn.Result{}
					if mode != pgx.QueryExecModeSimpleProtocol {
						r = conn.ExecParams(context.Background(), "FETCH h", nil, nil, nil, nil).Read()
					} else if results, err := conn.Exec(context.Background(), "FETCH h").ReadAll(); len(results) > 0 {
						r = results[0]
					} else {
						r.Err = err
					}
					if r.Err != nil {
						got = state(r.Err)
						break
					}
					if len(r.Rows) > 0 && r.Rows[0][0] != nil {
						got = string(r.Rows[0][0])
					}
				}
				if b := []byte(got); len(b) > 40 && b[0] == '\\' {
					got = "sealed"
				}
				if got == "08006" && mode != pgx.QueryExecModeSimpleProtocol {
					got = "0A000" // the client could not know where its transaction stands
				}
				if got != c.want {
					t.Errorf("%v: %s; %s: got %s, want %s", mode, c.declare, c.between, got, c.want)
				}
			})
		}
	}
}

// TestCursorsInPipelines: whether a cursor is still the one that was declared cannot be
// asked there.
func TestCursorsInPipelines(t *testing.T) {
	f := start(t, shared, users())
	exec1(t, f.connect(t, pgx.QueryExecModeExec), usersDDL)
	exec1(t, f.connect(t, pgx.QueryExecModeExec), "INSERT INTO users (email) VALUES ('a@b'), ('c@d')")
	w := rawClient(t, f)
	sync := &pgproto3.Sync{}
	w.send(&pgproto3.Query{String: "BEGIN; DECLARE h CURSOR FOR SELECT coalesce(email, 'none') FROM users ORDER BY id"}).want("C C Z")
	w.send(&pgproto3.Execute{Portal: "h", MaxRows: 1}, sync).want("D:a@b s Z")
	w.send(&pgproto3.Query{String: "DO 'BEGIN END'"}).want("C Z")
	w.send(&pgproto3.Execute{Portal: "h", MaxRows: 1}, sync).want("E0A000 Z")
	w.send(&pgproto3.Query{String: "ROLLBACK"}).want("C Z")
	w.send(&pgproto3.Query{String: "BEGIN; DECLARE h CURSOR FOR SELECT coalesce(email, 'none') FROM users ORDER BY id"}).want("C C Z")
	w.send(&pgproto3.Query{String: "DO 'BEGIN END'"}).want("C Z")
	w.send(&pgproto3.Query{String: "FETCH h"}).want("T25 D:a@b C Z")
	w.send(&pgproto3.Execute{Portal: "h", MaxRows: 1}, sync).want("D:c@d s Z")
}
