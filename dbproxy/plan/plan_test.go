// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sidekey/sidekey/dbproxy/plan"
)

func testCatalog(t testing.TB) *plan.Catalog {
	t.Helper()
	rule := func(table, column, typ string, equality bool, binding string) *plan.Rule {
		parsed, err := plan.ParseType(typ)
		if err != nil {
			t.Fatal(err)
		}
		if binding == "" {
			binding = "public." + table + "." + column
		}
		return &plan.Rule{Schema: "public", Table: table, Column: column, Type: parsed, Equality: equality, Binding: binding, Prefix: []byte{0x53, 1}, MinLen: 9}
	}
	email := rule("users", "email", "text", true, "mail")
	ssn := rule("users", "ssn", "varchar(11)", false, "")
	pin := rule("users", "pin", "integer", true, "")
	lead := rule("leads", "email", "text", true, "mail")
	gone := rule("gone", "x", "text", true, "")
	twice := rule("twice", "x", "text", true, "")
	col := func(n int16, name string, r *plan.Rule) plan.Column {
		return plan.Column{Name: name, Attnum: n, Rule: r}
	}
	return plan.NewCatalog([]*plan.Rule{email, ssn, pin, lead, gone, twice}, []*plan.Relation{
		{Schema: "public", Name: "users", OID: 1000, Protected: true, Columns: []plan.Column{
			col(1, "id", nil), col(2, "email", email), col(3, "ssn", ssn), col(4, "pin", pin), col(5, "note", nil)}},
		{Schema: "public", Name: "leads", OID: 1001, Protected: true, Columns: []plan.Column{col(1, "id", nil), col(2, "email", lead)}},
		{Schema: "public", Name: "twice", OID: 1002, Protected: true, Columns: []plan.Column{col(1, "x", twice)}},
		{Schema: "other", Name: "twice", OID: 1003},
		{Schema: "public", Name: "user_mails", OID: 1005, Columns: []plan.Column{col(1, "n", nil), col(2, "mail", nil)}, Path: []string{"pg_catalog", "public"},
			Definition: "SELECT inner_mails.id AS n, inner_mails.email AS mail FROM inner_mails WHERE (inner_mails.email <> '\\x5301'::bytea)"},
		{Schema: "public", Name: "inner_mails", OID: 1006, Columns: []plan.Column{col(1, "id", nil), col(2, "email", nil)}, Path: []string{"pg_catalog", "public"},
			Definition: "SELECT users.id, users.email FROM users UNION ALL SELECT l.id, COALESCE(l.email, '\\x5301'::bytea) AS email FROM leads l"},
		{Schema: "public", Name: "bad_view", OID: 1007, Columns: []plan.Column{col(1, "x", nil)}, Path: []string{"public"}, Definition: "SELECT encode(users.email, 'hex'::text) AS x FROM users"},
		{Schema: "public", Name: "cast_view", OID: 1009, Columns: []plan.Column{col(1, "x", nil)}, Path: []string{"public"}, Definition: "SELECT (users.email)::text AS x FROM users"},
		{Schema: "public", Name: "row_view", OID: 1010, Columns: []plan.Column{col(1, "u", nil)}, Path: []string{"public"}, Definition: "SELECT u.*::users AS u FROM users u"},
		{Schema: "public", Name: "users_part", OID: 1008, Protected: true, Columns: []plan.Column{col(1, "id", nil), col(2, "email", email)}},
		{Schema: "public", Name: "user_view", OID: 1004, Refuse: "user_view reads a protected table", Hint: "h"},
	})
}

func render(t testing.TB, sql string, p *plan.Plan) string {
	t.Helper()
	out, err := p.Rewrite(sql, func(l plan.Literal) ([][]byte, error) {
		return [][]byte{[]byte(l.Rule.Column + ":" + l.Value)}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.SQL
}

func sealed(column, v string) string {
	return ` '\x` + hex.EncodeToString([]byte(column+":"+v)) + `'`
}

func TestRewrites(t *testing.T) {
	bytea := "::pg_catalog.bytea "
	e := func(v string) string { return sealed("email", v) + bytea }
	for sql, want := range map[string]string{
		"INSERT INTO users (id, email) VALUES (1, 'a@b')":                                                            "INSERT INTO users (id, email) VALUES (1, " + e("a@b") + ")",
		"INSERT INTO users VALUES (1, 'a', NULL, -5)":                                                                `INSERT INTO users ("id", "email", "ssn", "pin") VALUES (1, ` + e("a") + ", NULL, " + sealed("pin", "-5") + bytea + ")",
		"insert into public . users as u values (1,E'a\\nb')":                                                        `insert into public . users as u ("id", "email") values (1,` + e("a\nb") + ")",
		"INSERT INTO users (email) VALUES ($$x$$), ($1), ('y'::text), (DEFAULT)":                                     "INSERT INTO users (email) VALUES (" + e("x") + "), ($1), (" + sealed("email", "y") + "::bytea), (DEFAULT)",
		"INSERT INTO users (email) VALUES ($1::text)":                                                                "INSERT INTO users (email) VALUES ($1::bytea)",
		"INSERT INTO users (email) VALUES (CAST('q' AS character varying))":                                          "INSERT INTO users (email) VALUES (CAST(" + sealed("email", "q") + " AS bytea))",
		"INSERT INTO users (email) VALUES (text 'q')":                                                                "INSERT INTO users (email) VALUES (bytea " + sealed("email", "q") + ")",
		"INSERT INTO users (email) VALUES (U&'d\\0061t' )":                                                           "INSERT INTO users (email) VALUES (" + e("dat") + " )",
		"INSERT INTO users (email) VALUES (U&'d!0061t' UESCAPE '!')":                                                 "INSERT INTO users (email) VALUES (" + e("dat") + ")",
		"INSERT INTO users (email) VALUES ('a') ON CONFLICT (email) DO UPDATE SET email = EXCLUDED.email, ssn = '1'": "INSERT INTO users (email) VALUES (" + e("a") + ") ON CONFLICT (email) DO UPDATE SET email = EXCLUDED.email, ssn = " + sealed("ssn", "1") + bytea,
		"UPDATE users SET email = 'x', note = 'y' WHERE pin=-5 AND id = 3":                                           "UPDATE users SET email = " + e("x") + ", note = 'y' WHERE pin=" + sealed("pin", "-5") + bytea + " AND id = 3",
		"UPDATE users SET (email, note) = ('x', 'y')":                                                                "UPDATE users SET (email, note) = (" + e("x") + ", 'y')",
		"DELETE FROM users WHERE email IN ('a', 'b')":                                                                "DELETE FROM users WHERE email IN (" + e("a") + ", " + e("b") + ")",
		"SELECT u.email FROM users u JOIN leads l ON u.email = l.email":                                              "SELECT u.email FROM users u JOIN leads l ON u.email = l.email",
		"SELECT * FROM users WHERE 'a' = email AND ssn IS NULL":                                                      "SELECT * FROM users WHERE " + e("a") + " = email AND ssn IS NULL",
		"WITH i AS (INSERT INTO users (email) VALUES ('w') RETURNING id) SELECT * FROM i":                            "WITH i AS (INSERT INTO users (email) VALUES (" + e("w") + ") RETURNING id) SELECT * FROM i",
		"SELECT 1; INSERT INTO users (email) VALUES ('2')":                                                           "SELECT 1; INSERT INTO users (email) VALUES (" + e("2") + ")",
		"SELECT email, count(*) FROM users GROUP BY email":                                                           "SELECT email, count(*) FROM users GROUP BY email",
		"SELECT e FROM (SELECT email AS e FROM users) s WHERE e = 'a'":                                               "SELECT e FROM (SELECT email AS e FROM users) s WHERE e = " + e("a"),
		"SELECT id FROM users WHERE email = ANY(ARRAY['a'])":                                                         "SELECT id FROM users WHERE email = ANY(ARRAY[" + e("a") + "])",
		"SELECT id FROM leads WHERE email IN (SELECT email FROM users)":                                              "SELECT id FROM leads WHERE email IN (SELECT email FROM users)",
		"SELECT id FROM users WHERE email = ANY ('{a,b}')":                                                           "SELECT id FROM users WHERE email = ANY ( ARRAY['\\x" + hex.EncodeToString([]byte("email:{a,b}")) + "']::pg_catalog.bytea[] )",
		"SELECT id FROM users WHERE email = ANY ($1::text[])":                                                        "SELECT id FROM users WHERE email = ANY ($1::bytea[])",
		"SELECT 'users'": "SELECT 'users'",
		"EXPLAIN SELECT id FROM users WHERE email = 'a'":            "EXPLAIN SELECT id FROM users WHERE email = " + e("a"),
		"CREATE TABLE gone (x text NOT NULL, y int)":                `CREATE TABLE gone (x bytea CONSTRAINT "sidekey_sealed_x" CHECK (pg_catalog.encode(pg_catalog.substring("x", 1, 2), 'hex') OPERATOR(pg_catalog.=) '5301' AND pg_catalog.octet_length("x") OPERATOR(pg_catalog.>=) 9) NOT NULL, y int)`,
		"CREATE TABLE gone (x text); INSERT INTO gone VALUES ('v')": `CREATE TABLE gone (x bytea CONSTRAINT "sidekey_sealed_x" CHECK (pg_catalog.encode(pg_catalog.substring("x", 1, 2), 'hex') OPERATOR(pg_catalog.=) '5301' AND pg_catalog.octet_length("x") OPERATOR(pg_catalog.>=) 9)); INSERT INTO gone ("x") VALUES (` + sealed("x", "v") + bytea + ")",
		"CREATE INDEX ON users (email)":                             "CREATE INDEX ON users (email)",
		"TRUNCATE users":                                            "TRUNCATE users",
		"PREPARE p (int, character varying(5), text[], timestamp with time zone) AS SELECT id FROM users WHERE email = $2 AND email = ANY ($3) AND note = $4::text AND ssn IS NULL AND email <> 'x'": "PREPARE p (int, bytea, bytea[], timestamp with time zone) AS SELECT id FROM users WHERE email = $2 AND email = ANY ($3) AND note = $4::text AND ssn IS NULL AND email <> " + e("x"),
		"PREPARE p AS INSERT INTO users (email) VALUES ($1); DECLARE c CURSOR FOR SELECT email FROM users WHERE email = 'a'":                                                                         "PREPARE p AS INSERT INTO users (email) VALUES ($1); DECLARE c CURSOR FOR SELECT email FROM users WHERE email = " + e("a"),
		"COPY users FROM STDIN":                                      `COPY users ("id", "email", "ssn", "pin", "note") FROM STDIN`,
		"copy binary public . users to stdout":                       `copy binary public . users ("id", "email", "ssn", "pin", "note") to stdout`,
		"COPY users (note, email) FROM STDIN WHERE email <> 'a'":     "COPY users (note, email) FROM STDIN WHERE email <> " + e("a"),
		"COPY (SELECT email FROM users WHERE pin = 4) TO STDOUT CSV": "COPY (SELECT email FROM users WHERE pin = " + sealed("pin", "4") + bytea + ") TO STDOUT CSV",
		"UPDATE users SET email = 'a' WHERE CURRENT OF c":            "UPDATE users SET email = " + e("a") + " WHERE CURRENT OF c",
		"BEGIN; SAVEPOINT s; SELECT id FROM users WHERE email = 'a'": "BEGIN; SAVEPOINT s; SELECT id FROM users WHERE email = " + e("a"),
		"START TRANSACTION; TABLE users; COMMIT":                     "START TRANSACTION; TABLE users; COMMIT",
		"SELECT x FROM other.twice WHERE x > 'a'":                    "SELECT x FROM other.twice WHERE x > 'a'",
	} {
		p := plan.Make(sql, testCatalog(t), plan.Options{Path: &plan.Path{Create: "public", Search: []string{"pg_catalog", "public"}}, Fresh: true})
		if p.Refusal != nil || p.Need != plan.NeedNothing {
			t.Errorf("%s: got refusal %v, need %v", sql, p.Refusal, p.Need)
			continue
		}
		if d := cmp.Diff(want, render(t, sql, p)); d != "" {
			t.Errorf("%s: %s", sql, d)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, sql := range []string{

		"INSERT INTO other.t SELECT email FROM users",
		"INSERT INTO users (email) VALUES ('a' || 'b')",
		"INSERT INTO users (email) VALUES (lower('b'))",

		"INSERT INTO users (email) VALUES ('a') ON CONFLICT (email) DO UPDATE SET email = EXCLUDED.note",
		"INSERT INTO users (ssn) VALUES ('a') ON CONFLICT (ssn) DO NOTHING",
		"UPDATE users SET email = note", "UPDATE users SET note = email", "UPDATE users SET email = ssn",
		"SELECT email || 'x' FROM users", "SELECT lower(email) FROM users",
		"SELECT max(email) FROM users", "SELECT (email) || '' FROM users",
		"SELECT u FROM users u", "SELECT row_to_json(u) FROM users u", "SELECT (u).email FROM users u", "SELECT u.* IS NULL FROM users u",
		"SELECT email(u) FROM users u", "SELECT u.lower FROM users u", "SELECT ROW(u.*) FROM users u",
		"SELECT 1 FROM users WHERE email > 'a'", "SELECT 1 FROM users WHERE email LIKE 'a%'", "SELECT 1 FROM users WHERE ssn = 'a'",
		"SELECT 1 FROM users WHERE email BETWEEN 'a' AND 'b'", "SELECT 1 FROM users WHERE email = note",
		"SELECT 1 FROM users WHERE email = lower($1)", "SELECT 1 FROM users WHERE (email, note) > ('a', 'b')",
		"SELECT email FROM users ORDER BY email", "SELECT email FROM users ORDER BY 1", "SELECT email AS x FROM users ORDER BY x",
		"SELECT ssn FROM users GROUP BY ssn", "SELECT DISTINCT ssn FROM users", "SELECT DISTINCT * FROM users", "SELECT count(DISTINCT ssn) FROM users",
		"SELECT ssn AS s FROM users GROUP BY s", "SELECT * FROM users ORDER BY 2", "SELECT l.*, email FROM public.l, users ORDER BY 5",

		"SELECT * FROM users u JOIN leads l ON u.ssn = l.email",
		"SELECT * FROM users u JOIN l ON u.email = l.email", "SELECT * FROM users u JOIN l ON l.note = u.email",
		"SELECT id FROM t WHERE note IN (SELECT email FROM users)", "SELECT * FROM user_view",
		"SELECT min(id) OVER (ORDER BY email) FROM users", "SELECT * FROM (SELECT lower(email) e FROM users) s",
		"COPY users TO '/tmp/x'", "COPY users FROM PROGRAM 'x'", "COPY (SELECT lower(email) FROM users) TO STDOUT", "COPY users FROM STDIN WHERE email > 'a'",
		"COPY users TO STDOUT (ENCODING 'LATIN1')", "COPY users FROM STDIN (ON_ERROR ignore)", "COPY users FROM STDIN (UNHEARD of)", "COPY (SELECT x.*, email FROM users, unheard x) TO STDOUT",
		"COPY user_view TO STDOUT",
		"DECLARE c CURSOR FOR SELECT lower(email) FROM users", "PREPARE p AS SELECT email || 'x' FROM users", "PREPARE p (hstore) AS INSERT INTO users (email) VALUES ($1)",
		"PREPARE p AS INSERT INTO users (email, note) VALUES ($1, $1)",
		"CREATE TABLE c AS SELECT email FROM users", "SELECT email INTO c FROM users",
		"CREATE TABLE c (LIKE users)", "CREATE TABLE gone AS SELECT 1 x", "CREATE TABLE gone (x int)",
		"CREATE TABLE gone (x text COLLATE \"C\")", "CREATE TEMP TABLE users (email text)", "CREATE VIEW gone AS SELECT 1",
		"ALTER TABLE users RENAME TO x",
		"ALTER TABLE users RENAME COLUMN email TO e", "ALTER TABLE users RENAME note TO email", "ALTER TABLE x RENAME TO users",
		"ALTER TABLE users DROP CONSTRAINT sidekey_sealed_email", "ALTER TABLE users SET SCHEMA other", "ALTER TABLE users ADD CHECK (email > 'a')",
		"ALTER TABLE users ADD UNIQUE (ssn)", "CREATE INDEX ON users (ssn)", "CREATE INDEX ON users (lower(email))", "CREATE INDEX ON users USING gin (email)",
		"CREATE RULE r AS ON INSERT TO users DO NOTHING",
		"CREATE FUNCTION f() RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT email FROM users; END",
		"SELECT 1; COPY users FROM 'x'", "SET standard_conforming_strings = off", "SELECT FROM WHERE", "SELECT x FROM nowhere WHERE x = ",
		"SELECT \"email\" || 'a' FROM \"users\"", "SELECT U&\"\\0065mail\" || 'a' FROM U&\"\\0075sers\"", "SELECT EMAIL || 'a' FROM Public.USERS",
		"EXPLAIN SELECT lower(email) FROM users", "SELECT * FROM gone", "SELECT json_agg(email) FROM users",
		"SELECT (SELECT email FROM orders) FROM users",
		"UPDATE t SET note = u.email FROM users u",
		"SELECT * FROM t, LATERAL (SELECT lower(u.email) FROM users u) s", "SELECT * FROM users, LATERAL lower(email) x",
		"TABLE user_view",
		"SELECT email IS DISTINCT FROM note FROM users", "SELECT sum(pin) FROM users", "SELECT pin + 1 FROM users", "SELECT -pin FROM users",
	} {
		p := plan.Make(sql, testCatalog(t), plan.Options{Path: &plan.Path{Create: "public", Search: []string{"pg_catalog", "public"}}, Fresh: true})
		if p.Refusal == nil {
			p.Refusal = p.Missing
		}
		if p.Refusal == nil {
			t.Errorf("%s: got %q, want a refusal", sql, render(t, sql, p))
		} else if strings.Contains(p.Refusal.Message, "'") {
			t.Errorf("%s: message %q has a literal", sql, p.Refusal.Message)
		}
	}
}

func TestOutputs(t *testing.T) {
	for sql, want := range map[string][]string{
		"SELECT * FROM users":                                            {"email", "ssn", "pin"},
		"SELECT u.*, l.email AS x FROM users u, leads l":                 {"email", "ssn", "pin", "email"},
		"SELECT id FROM users":                                           nil,
		"WITH c (a, b) AS (SELECT id, email FROM users) SELECT b FROM c": {"email"},
		"INSERT INTO users (email) VALUES ('a') RETURNING *":             {"email", "ssn", "pin"},
		"DELETE FROM users WHERE id = 1 RETURNING ssn":                   {"ssn"},
		"TABLE users":                                       {"email", "ssn", "pin"},
		"SELECT DISTINCT email, pin FROM users":             {"email", "pin"},
		"SELECT e.v FROM (SELECT * FROM users) e (i, v, w)": {"email"},
	} {
		p := plan.Make(sql, testCatalog(t), plan.Options{Fresh: true})
		if p.Refusal != nil {
			t.Errorf("%s: %v", sql, p.Refusal)
			continue
		}
		var got []string
		for _, r := range p.Statements[0].Outputs {
			got = append(got, r.Rule.Column)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", sql, d)
		}
	}
}

func TestNeeds(t *testing.T) {
	cat := testCatalog(t)
	for sql, want := range map[string]plan.Need{
		"SELECT * FROM gone":          plan.NeedCatalog,
		"SELECT * FROM twice":         plan.NeedPath,
		"SELECT * FROM public.twice":  plan.NeedNothing,
		"CREATE TABLE gone (x text)":  plan.NeedPath,
		"SELECT newcol FROM users":    plan.NeedCatalog,
		"SELECT nothing FROM nowhere": plan.NeedNothing,
	} {
		if got := plan.Make(sql, cat, plan.Options{}).Need; got != want {
			t.Errorf("%s: got need %v, want %v", sql, got, want)
		}
	}
}

func TestPositions(t *testing.T) {
	sql := "SELECT 'é', lower(email) FROM users"
	p := plan.Make(sql, testCatalog(t), plan.Options{Fresh: true})
	if p.Refusal == nil || p.Refusal.Position != 19 {
		t.Errorf("got %+v, want position 19", p.Refusal)
	}
	for sql, want := range map[string]int{
		"INSERT INTO users (id, email) SELECT id, note FROM t":                  24,
		"INSERT INTO users SELECT id, note FROM t":                              13,
		"INSERT INTO t SELECT 'é', email FROM users":                            27,
		"UPDATE users SET email = lower('é')":                                   26,
		"SELECT 1 FROM users WHERE 'é' = note AND email LIKE 'x'":               42,
		"SELECT note FROM users UNION SELECT email FROM leads":                  37,
		"SELECT 1 FROM (SELECT 'a' AS e) x, users WHERE note = e AND email = e": 61,
		"SELECT email::name FROM users":                                         8,
		"INSERT INTO users (email) VALUES (E'a' || $1)":                         40,
	} {
		p := plan.Make(sql, testCatalog(t), plan.Options{Fresh: true})
		if p.Refusal == nil || p.Refusal.Position != want || p.Refusal.Code != "0A000" || p.Refusal.Hint == "" {
			t.Errorf("%s: got %+v, want position %d and a hint", sql, p.Refusal, want)
		}
	}
	sql = "UPDATE users SET email = 'é' WHERE id = nope()"
	p = plan.Make(sql, testCatalog(t), plan.Options{})
	r, err := p.Rewrite(sql, func(plan.Literal) ([][]byte, error) { return [][]byte{make([]byte, 40)}, nil })
	if err != nil {
		t.Fatal(err)
	}
	server := strings.Index(r.SQL, "nope()") + 1
	if got, want := r.Position(server, sql), 41; got != want {
		t.Errorf("got position %d, want %d", got, want)
	}
}
