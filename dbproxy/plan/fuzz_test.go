// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/sidekey/sidekey/dbproxy/plan"
)

// grammar writes statements that take the bytes of an input as choices. Every
// literal that stands for a value of a protected column has "CANARY" in it, and
// every other one "plain".
type grammar struct {
	choices []byte
	depth   int
	n       int
}

func (g *grammar) pick(n int) int {
	if len(g.choices) == 0 || g.depth > 6 {
		return 0
	}
	c := int(g.choices[0]) % n
	g.choices = g.choices[1:]
	return c
}

// one writes one of the alternatives; the first must not nest.
func (g *grammar) one(alternatives ...func() string) string {
	g.depth++
	defer func() { g.depth-- }()
	return alternatives[g.pick(len(alternatives))]()
}

func (g *grammar) canary() string {
	g.n++
	text := fmt.Sprintf("CANARY%d", g.n)
	return []string{"'" + text + "'", "E'" + text + "\\n'", "$$" + text + "$$", "'" + text + "'::text", "CAST('" + text + "' AS varchar)", "text '" + text + "'",
		"U&'" + text + "\\0061'", "('" + text + "' COLLATE \"C\")", "'" + text + "'::varchar(20)", "'" + text + "'\n'x'"}[g.pick(10)]
}

// sealed is an expression that surely holds values of the column.
func (g *grammar) sealed() string {
	return g.one(
		func() string { return "users.email" },
		func() string { return "coalesce(" + g.sealed() + ", " + g.member() + ")" },
		func() string { return "coalesce(" + g.canary() + ", " + g.sealed() + ")" },
		func() string { return "nullif(" + g.sealed() + ", " + g.member() + ")" },
		func() string {
			return "CASE WHEN " + g.condition() + " THEN " + g.member() + " ELSE " + g.sealed() + " END"
		},
		func() string { return "(SELECT " + g.sealed() + " WHERE " + g.condition() + ")" },
		func() string { return "(SELECT email FROM leads WHERE leads.email = " + g.member() + " LIMIT 1)" },
		func() string {
			return "(SELECT e FROM (SELECT " + g.sealed() + " AS e UNION ALL SELECT " + g.member() + ") u LIMIT 1)"
		},
		func() string {
			return "(SELECT e FROM unnest(ARRAY[" + g.member() + ", " + g.sealed() + "]) e LIMIT 1)"
		},
		func() string { return g.sealed() + "::text" },
		func() string {
			return "lag(" + g.sealed() + ", 1, " + g.member() + ") OVER (PARTITION BY " + g.sealed() + ")"
		},
	)
}

// member is a constant or such an expression.
func (g *grammar) member() string { return g.one(g.canary, g.sealed) }

// plain is an expression that is not protected.
func (g *grammar) plain() string {
	return g.one(
		func() string { return "'plain'" },
		func() string { return "users.note" },
		func() string { return "lower('plain' || " + g.plain() + ")" },
		func() string { return "coalesce(users.note, 'plain')" },
		func() string { return "CASE WHEN " + g.condition() + " THEN 'plain' ELSE users.note END" },
		func() string { return "(SELECT 'plain' WHERE " + g.condition() + ")" },
		func() string { return "(SELECT p FROM (VALUES ('plain'), (" + g.plain() + ")) v (p) LIMIT 1)" },
	)
}

func (g *grammar) condition() string {
	return g.one(
		func() string { return "users.email = " + g.canary() },
		func() string { return g.member() + " <> " + g.sealed() },
		func() string { return g.sealed() + " IN (" + g.member() + ", " + g.member() + ")" },
		func() string { return g.sealed() + " IS NOT DISTINCT FROM " + g.member() },
		func() string { return g.sealed() + " = ANY (ARRAY[" + g.member() + ", " + g.member() + "])" },
		func() string { return g.sealed() + " = ANY ('{CANARY,\"CANARY 2\"}'::text[])" },
		func() string { return "(" + g.sealed() + ", users.note) = (" + g.member() + ", " + g.plain() + ")" },
		func() string {
			return "(" + g.plain() + ", " + g.sealed() + ") IN (SELECT " + g.plain() + ", " + g.member() + ")"
		},
		func() string { return "(" + g.condition() + " OR NOT " + g.condition() + ")" },
		func() string { return "EXISTS (SELECT 'plain' FROM leads WHERE leads.email = " + g.member() + ")" },
		func() string {
			return "users.email IN (SELECT e FROM (VALUES (" + g.member() + "), (" + g.canary() + ")) v (e))"
		},
		func() string { return g.plain() + " LIKE " + g.plain() },
	)
}

func (g *grammar) statement() string {
	return g.one(
		func() string {
			return "SELECT 'plain', " + g.sealed() + ", " + g.plain() + " FROM users WHERE " + g.condition()
		},
		func() string {
			return "INSERT INTO users (note, email) VALUES ('plain', " + g.canary() + "), ('plain', " + g.canary() + ") RETURNING " + g.sealed()
		},
		func() string {
			return "INSERT INTO users (note, email) SELECT " + g.plain() + ", " + g.member() + " FROM users WHERE " + g.condition()
		},
		func() string {
			return "INSERT INTO users (id, email) VALUES (1, " + g.canary() + ") ON CONFLICT (id) DO UPDATE SET email = coalesce(excluded.email, " + g.member() + "), note = " + g.plain()
		},
		func() string {
			return "UPDATE users SET email = " + g.member() + ", note = " + g.plain() + " WHERE " + g.condition()
		},
		func() string {
			return "UPDATE users SET (note, email) = (SELECT " + g.plain() + ", " + g.member() + ") WHERE " + g.condition()
		},
		func() string {
			return "DELETE FROM users USING (VALUES (" + g.canary() + ", 'plain')) v (e, p) WHERE v.e = users.email AND v.p = users.note AND " + g.condition()
		},
		func() string {
			return "SELECT " + g.plain() + ", " + g.sealed() + " FROM users UNION ALL SELECT 'plain', " + g.canary()
		},
		func() string {
			return "SELECT " + g.canary() + " EXCEPT (SELECT " + g.sealed() + " FROM users UNION SELECT " + g.canary() + ")"
		},
		func() string {
			return "WITH w AS (SELECT 'plain' AS p, " + g.canary() + " AS e) SELECT p, e FROM w JOIN users ON e = users.email WHERE " + g.condition()
		},
		func() string {
			return "WITH RECURSIVE r AS (SELECT 1 AS n, " + g.canary() + "::text AS e UNION ALL SELECT n + 1, " + g.sealed() + "::text FROM r JOIN users ON users.id = n) SELECT * FROM r WHERE e <> " + g.canary()
		},
		func() string {
			return "MERGE INTO users USING (VALUES (1, " + g.canary() + ", 'plain')) v (i, e, p) ON users.id = v.i AND " + g.condition() + " WHEN MATCHED THEN UPDATE SET note = p, email = e WHEN NOT MATCHED THEN INSERT (email, note) VALUES (" + g.canary() + ", 'plain')"
		},
		func() string {
			return "SELECT u.e FROM (SELECT users.* FROM users JOIN leads USING (email)) users, LATERAL (SELECT users.email AS e) u WHERE u.e = " + g.canary() + " AND " + g.condition()
		},
	)
}

func checkSealed(t *testing.T, choices []byte) {
	t.Helper()
	g := &grammar{choices: choices}
	sql := g.statement()
	p := planned(t, sql)
	if p.Refusal != nil || p.Need != plan.NeedNothing {
		t.Fatalf("%s: %+v, need %d", sql, p.Refusal, p.Need)
	}
	r, err := p.Rewrite(sql, func(l plan.Literal) ([][]byte, error) {
		if !strings.Contains(l.Value, "CANARY") {
			t.Fatalf("%s: %q is sealed", sql, l.Value)
		}
		return [][]byte{{0x53, 1}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(r.SQL, "CANARY") {
		t.Fatalf("%s became %s", sql, r.SQL)
	}
	if strings.Count(r.SQL, "plain") != strings.Count(sql, "plain") {
		t.Fatalf("%s became %s", sql, r.SQL)
	}
	if again := plan.Make(r.SQL, plan.NewCatalog(nil, nil), plan.Options{}); again.Refusal != nil {
		t.Fatalf("%s became %s: %v", sql, r.SQL, again.Refusal)
	}
}

// FuzzSealed: no literal that stands for a protected value stays in a text, and
// no other is sealed.
func FuzzSealed(f *testing.F) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 400 {
		seed := make([]byte, 40)
		for i := range seed {
			seed[i] = byte(random.UintN(256))
		}
		f.Add(seed)
	}
	f.Fuzz(checkSealed)
}

// FuzzMake: a plan is made of any text, and what it makes of it is as many
// statements.
func FuzzMake(f *testing.F) {
	cat := testCatalog(f).WithSystem(&plan.System{Columns: map[string][]string{"pg_catalog.pg_attribute": {"attname", "atttypid"}, "information_schema.columns": {"data_type"}}})
	for _, s := range []string{"SELECT * FROM users", "INSERT INTO users VALUES (1, 'a', '2'::varchar, -3)", "UPDATE users SET email = $1::text",
		"CREATE TABLE gone (x text)", "ALTER TABLE users ADD x int", "SELECT 1 FROM users WHERE email IN ('a', U&'b' UESCAPE '!')",
		"WITH a AS (DELETE FROM users RETURNING *) SELECT * FROM a", "SELECT * FROM users u JOIN leads l USING (id) WHERE u.email = ANY($1::text[])",
		"MERGE INTO users USING leads ON users.email = leads.email WHEN MATCHED THEN DELETE", "SELECT email COLLATE \"C\" FROM users UNION SELECT $1 EXCEPT SELECT 'x'",
		"WITH RECURSIVE r AS (SELECT 'a' AS e UNION SELECT email FROM r JOIN users ON true) SEARCH DEPTH FIRST BY e SET o SELECT * FROM r", "SELECT * FROM user_mails NATURAL JOIN users_part",
		"SELECT array_agg(email), coalesce(pin, - 5::int) FROM users, unnest(ARRAY['x']) WITH ORDINALITY GROUP BY ROLLUP (2) ORDER BY 1",
		"CREATE TABLE gone (x text DEFAULT 'a' CHECK (x <> ''), LIKE t, PRIMARY KEY (x)) PARTITION BY LIST (y)", "CREATE VIEW v AS SELECT email FROM users WHERE email = 'a'",
		"ALTER TABLE users ALTER email TYPE text USING email::text, ALTER pin SET DEFAULT 3", "CREATE INDEX ON users (email text_pattern_ops) WHERE pin = 3",
		"SELECT pg_catalog.pg_attribute.attname FROM pg_catalog.pg_attribute, information_schema.columns c GROUP BY 1",
		"CREATE TRIGGER t BEFORE UPDATE ON users FOR EACH ROW WHEN (NEW.email = 'a') EXECUTE FUNCTION f()"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		p := plan.Make(sql, cat, plan.Options{Fresh: true, Path: &plan.Path{Create: "public", Search: []string{"public"}}})
		if p.Refusal != nil || p.Need != plan.NeedNothing {
			return
		}
		r, err := p.Rewrite(sql, func(plan.Literal) ([][]byte, error) { return [][]byte{{0x53, 1}}, nil })
		if err != nil {
			t.Fatal(err)
		}
		again := plan.Make(r.SQL, plan.NewCatalog(nil, nil), plan.Options{})
		if again.Refusal != nil {
			t.Fatalf("%q became %q: %v", sql, r.SQL, again.Refusal)
		}
		if len(again.Statements) != len(p.Statements) {
			t.Fatalf("%q became %q: %d statements, want %d", sql, r.SQL, len(again.Statements), len(p.Statements))
		}
	})
}
