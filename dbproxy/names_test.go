// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
)

func simpleQuery(sql string) *pgproto3.Query { return &pgproto3.Query{String: sql} }

// extended is a statement by the extended protocol.
func extended(sql string, params ...string) []pgproto3.FrontendMessage {
	b := &pgproto3.Bind{}
	for _, p := range params {
		b.Parameters = append(b.Parameters, []byte(p))
	}
	return []pgproto3.FrontendMessage{&pgproto3.Parse{Query: sql}, b, &pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{}, &pgproto3.Sync{}}
}

// TestNamesAgainstPostgres has scripts of statements by name, whose answers
// have to be those of a plain table.
func TestNamesAgainstPostgres(t *testing.T) {
	_, plain, sealed := copyFixture(t)
	for _, conn := range []*pgx.Conn{plain, sealed} {
		exec1(t, conn, "INSERT INTO ct (id, email, ssn, pin, note) VALUES (1, 'a', '11', 7, 'n'), (2, NULL, '22', 8, 'm'), (3, 'c', '33', NULL, 'l')")
	}
	for _, script := range []string{
		"BEGIN; DECLARE c CURSOR FOR SELECT id, email FROM ct ORDER BY id; FETCH c; FETCH 1 FROM c; MOVE 1 IN c; FETCH PRIOR c; FETCH ALL IN c; CLOSE c; FETCH c",
		"ROLLBACK",
		"BEGIN", "DECLARE c SCROLL CURSOR FOR SELECT email, note, pin FROM ct ORDER BY id", "FETCH LAST c", "FETCH FIRST FROM c", "FETCH ABSOLUTE 2 c", "FETCH RELATIVE 1 c",
		"FETCH BACKWARD ALL IN c", "FETCH FORWARD 2 c", "FETCH 0 c", "FETCH BACKWARD 1 c", "MOVE FORWARD ALL IN c", "FETCH PRIOR c", "UPDATE ct SET email = 'changed' WHERE CURRENT OF c", "SELECT email, id FROM ct ORDER BY id", "COMMIT",
		"FETCH c",
		"BEGIN", "DECLARE c CURSOR FOR SELECT id, email FROM ct WHERE id = 1 FOR UPDATE", "FETCH c", "UPDATE ct SET ssn = 'upd', email = NULL WHERE CURRENT OF c RETURNING ssn, email", "ROLLBACK",
		"BEGIN", "DECLARE c CURSOR FOR SELECT id FROM ct WHERE email = 'a'", "FETCH c", "DELETE FROM ct WHERE CURRENT OF c RETURNING email", "ROLLBACK",
		"DECLARE h CURSOR WITH HOLD FOR SELECT email, ssn FROM ct ORDER BY id", "FETCH h", "SELECT 1", "FETCH 2 h", "CLOSE h", "FETCH h",
		"BEGIN", "DECLARE h CURSOR WITH HOLD FOR SELECT email FROM ct ORDER BY id", "ROLLBACK", "FETCH h",
		"BEGIN", "SAVEPOINT s", "DECLARE d CURSOR FOR SELECT email FROM ct ORDER BY id", "ROLLBACK TO s", "DECLARE d CURSOR FOR SELECT note, ssn FROM ct ORDER BY id", "FETCH 2 d", "CLOSE ALL", "FETCH d", "ROLLBACK",
		"BEGIN; DECLARE \"Odd \"\"n\" CURSOR FOR SELECT email FROM ct WHERE pin IN (7, 8) ORDER BY id; FETCH ALL IN \"Odd \"\"n\"; COMMIT",
		"BEGIN", "DECLARE b BINARY CURSOR FOR SELECT id, pin, email FROM ct ORDER BY id", "FETCH ALL b", "COMMIT",
		"BEGIN", "DECLARE c CURSOR FOR SELECT note FROM ct ORDER BY id", "FETCH c", "DECLARE c CURSOR FOR SELECT email FROM ct", "ROLLBACK",
		"PREPARE p (text, int) AS SELECT id, ssn, email FROM ct WHERE email = $1 OR id = $2", "EXECUTE p('a', 99)", "EXECUTE p (NULL, 1 + 1)", "EXECUTE p('x'::text, 3)", "EXECUTE p('a')", "EXECUTE p('a', 1, 2)", "PREPARE p AS SELECT 1",
		"EXPLAIN (COSTS OFF) EXECUTE p(NULL, 1)", "DEALLOCATE p", "EXECUTE p('a', 1)",
		"PREPARE i AS INSERT INTO ct (id, email, pin) VALUES ($1, $2, $3) RETURNING *", "EXECUTE i(4, 'd', 4)", "EXECUTE i(5, E'e\\n', NULL)", "EXECUTE i(6, NULL, -6)", "EXECUTE i(7, 'g', 'seven')",
		"PREPARE u (integer, varchar(5)) AS UPDATE ct SET ssn = $2, email = 'lit' WHERE pin = $1 RETURNING ssn, email, id", "EXECUTE u(4, '44')", "EXECUTE u(4, 'far too long')", "EXECUTE u(-6, NULL)",
		"PREPARE l AS SELECT id, email FROM ct WHERE email = ANY ($1) ORDER BY id", "EXECUTE l('{a,lit}')", "EXECUTE l(ARRAY['a', 'c'])", "EXECUTE l(NULL)",
		"PREPARE n (int) AS SELECT note FROM ct WHERE id = $1", "EXECUTE n(1)", "CREATE TABLE made AS EXECUTE n(1)", "SELECT * FROM made", "DROP TABLE made",
		"PREPARE m AS SELECT email FROM ct WHERE id = 1; EXECUTE m; DEALLOCATE m; PREPARE m AS SELECT note FROM ct WHERE id = 1; EXECUTE m",
		"PREPARE bad AS SELECT nosuch FROM ct", "PREPARE bad AS SELECT email FROM ct WHERE id = 'x' OR email = 'lit'", "EXECUTE bad",
		"DISCARD ALL", "EXECUTE i(9, 'x', 9)", "EXECUTE n(1)",
		"PREPARE d AS DELETE FROM ct WHERE email = $1 RETURNING id, email", "EXECUTE d('lit')", "DEALLOCATE ALL",
	} {
		want, wantErr := ask(plain, script)
		got, gotErr := ask(sealed, script)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", script, d)
		}
		if reported(wantErr) != reported(gotErr) {
			t.Errorf("%s: got %v, want %v", script, reported(gotErr), reported(wantErr))
		}
	}
}

// TestNames has names made by SQL used by the protocol, and the reverse.
func TestNames(t *testing.T) {
	f := start(t, shared, users())
	w := rawClient(t, f)
	sync := &pgproto3.Sync{}
	w.send(simpleQuery(usersDDL)).want("C Z")
	w.send(simpleQuery("INSERT INTO users (email, pin) VALUES ('nmmark-a', 1), ('nmmark-b', 2), ('nmmark-c', 3)")).want("C Z")

	// By the extended protocol, with parameters.
	w.send(simpleQuery("BEGIN")).want("C Z")
	w.send(extended("DECLARE c CURSOR FOR SELECT email, pin FROM users WHERE email <> $1 ORDER BY id", "nmmark-b")...).want("1 2 n C Z")
	w.send(extended("FETCH 1 FROM c")...).want("1 2 T25 D:nmmark-a,1 C Z")
	w.send(&pgproto3.Execute{Portal: "c", MaxRows: 1}, &pgproto3.Describe{ObjectType: 'P', Name: "c"}, sync).want("D:nmmark-c,3 s T25 Z")
	w.send(&pgproto3.Close{ObjectType: 'P', Name: "c"}, sync).want("3 Z")
	w.send(simpleQuery("FETCH c")).want("E34000 Z")
	w.send(simpleQuery("ROLLBACK")).want("C Z")

	// A statement that fetches, kept while the cursor behind the name changes.
	w.send(simpleQuery("BEGIN; DECLARE c CURSOR FOR SELECT email FROM users ORDER BY id")).want("C C Z")
	w.send(&pgproto3.Parse{Name: "f", Query: "FETCH c"}, &pgproto3.Bind{PreparedStatement: "f"}, &pgproto3.Execute{}, sync).want("1 2 D:nmmark-a C Z")
	w.send(simpleQuery("COMMIT; BEGIN; DECLARE c CURSOR FOR SELECT pin, email FROM users ORDER BY id")).want("C C C Z")
	w.send(&pgproto3.Bind{PreparedStatement: "f"}, &pgproto3.Execute{}, sync).want("2 D:1,nmmark-a C Z")
	w.send(simpleQuery("COMMIT; BEGIN; DECLARE c CURSOR FOR SELECT note, id FROM users ORDER BY id")).want("C C C Z")
	w.send(&pgproto3.Bind{PreparedStatement: "f"}, &pgproto3.Execute{}, sync).want("2 D:,1 C Z")

	// A portal of the protocol by SQL.
	w.send(&pgproto3.Parse{Query: "SELECT email, id FROM users WHERE pin = $1"}, &pgproto3.Bind{DestinationPortal: "prot", Parameters: [][]byte{[]byte("2")}}, sync).want("1 2 Z")
	w.send(simpleQuery("FETCH prot")).want("T25 D:nmmark-b,2 C Z")
	w.send(simpleQuery("CLOSE prot; COMMIT")).want("C C Z")

	// A statement of SQL by the protocol.
	w.send(simpleQuery("PREPARE sq (text) AS SELECT email, pin FROM users WHERE email = $1")).want("C Z")
	bind := &pgproto3.Bind{PreparedStatement: "sq", Parameters: [][]byte{[]byte("nmmark-b")}}
	w.send(bind, &pgproto3.Execute{}, sync).want("2 D:nmmark-b,2 C Z")
	w.send(&pgproto3.Describe{ObjectType: 'S', Name: "sq"}, bind, &pgproto3.Execute{}, sync).want("t[25] T25 2 D:nmmark-b,2 C Z")
	w.send(extended("EXECUTE sq('nmmark-c')")...).want("1 2 T25 D:nmmark-c,3 C Z")

	// Cursors that were made out of sight.
	w.send(simpleQuery("CREATE FUNCTION cur() RETURNS refcursor LANGUAGE plpgsql AS $$ DECLARE r refcursor := 'hidden'; BEGIN OPEN r FOR SELECT id, email, pin FROM users ORDER BY id; RETURN r; END $$")).want("C Z")
	w.send(simpleQuery("BEGIN; SELECT cur()")).want("C T1790 D:hidden C Z")
	w.send(simpleQuery("FETCH hidden")).want("T23 D:1,nmmark-a,1 C Z")
	w.send(extended("FETCH hidden")...).want("1 2 T23 D:2,nmmark-b,2 C Z")
	w.send(simpleQuery("ROLLBACK")).want("C Z")

	// In one batch, a name is used before it is known what it means.
	w.send(simpleQuery("BEGIN")).want("C Z")
	w.send(&pgproto3.Parse{Query: "DECLARE q CURSOR FOR SELECT email FROM users"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Parse{Query: "FETCH q"}, sync).want("1 2 C 1 Z")
	w.send(simpleQuery("ROLLBACK")).want("C Z")
	// Sent on without waiting, it is waited for.
	w.send(simpleQuery("PREPARE late AS INSERT INTO users (email) VALUES ($1)"), simpleQuery("EXECUTE late('nmmark-late')"), simpleQuery("PREPARE late AS SELECT 1"), simpleQuery("EXECUTE late('nmmark-later')")).want("C Z C Z E42P05 Z C Z")
	noCanary(t, f, "nmmark")
}

// TestExplain shows sealed values only.
func TestExplain(t *testing.T) {
	f := start(t, shared, users())
	conn := f.connect(t, pgx.QueryExecModeSimpleProtocol)
	exec1(t, conn, usersDDL)
	exec1(t, conn, "PREPARE p AS SELECT id FROM users WHERE email = $1")
	for _, sql := range []string{"EXPLAIN SELECT id FROM users WHERE email = 'exmark'", "EXPLAIN (ANALYZE, VERBOSE) INSERT INTO users (email) VALUES ('exmark')",
		"EXPLAIN (FORMAT json) UPDATE users SET ssn = 'exmark' WHERE pin = 1", "EXPLAIN ANALYZE DELETE FROM users WHERE email IN ('exmark', 'y')", "EXPLAIN (VERBOSE, FORMAT yaml) EXECUTE p('exmark')"} {
		a, err := ask(conn, sql)
		if err != nil {
			t.Errorf("%s: %v", sql, err)
		}
		if text := strings.Join(a.Rows, "\n"); strings.Contains(text, "exmark") || text == "" {
			t.Errorf("%s: got %s", sql, text)
		}
	}
	noCanary(t, f, "exmark")
}
