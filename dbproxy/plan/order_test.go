// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sidekey/sidekey/dbproxy/plan"
)

// orderedCatalog has a table whose columns born and name sort, of which mail
// only compares and note is random.
func orderedCatalog(t testing.TB) *plan.Catalog {
	t.Helper()
	rule := func(column, typ string, mode int) *plan.Rule {
		parsed, err := plan.ParseType(typ)
		if err != nil {
			t.Fatal(err)
		}
		return &plan.Rule{Schema: "public", Table: "people", Column: column, Type: parsed, Equality: mode > 0, Ordered: mode > 1,
			Binding: "column:" + column, Prefix: []byte{0x53, 1}, MinLen: 9}
	}
	born, name, mail, note := rule("born", "date", 2), rule("name", "text", 2), rule("mail", "text", 1), rule("note", "text", 0)
	return plan.NewCatalog([]*plan.Rule{born, name, mail, note}, []*plan.Relation{{Schema: "public", Name: "people", OID: 7, Protected: true, Columns: []plan.Column{
		{Name: "id", Attnum: 1}, {Name: "born", Attnum: 2, Rule: born}, {Name: "name", Attnum: 3, Rule: name}, {Name: "mail", Attnum: 4, Rule: mail}, {Name: "note", Attnum: 5, Rule: note}}}})
}

func TestOrdered(t *testing.T) {
	bytea := "::pg_catalog.bytea "
	b := func(v string) string { return sealed("born", v) + bytea }
	n := func(v string) string { return sealed("name", v) + bytea }
	for sql, want := range map[string]string{
		"SELECT id FROM people WHERE born < '2000-01-01'":                                     "SELECT id FROM people WHERE born < " + b("2000-01-01"),
		"SELECT id FROM people WHERE '2000-01-01' >= born":                                    "SELECT id FROM people WHERE " + b("2000-01-01") + " >= born",
		"SELECT id FROM people WHERE born BETWEEN date '1999-01-01' AND $1":                   "SELECT id FROM people WHERE born BETWEEN bytea " + sealed("born", "1999-01-01") + " AND $1",
		"SELECT id FROM people WHERE name NOT BETWEEN SYMMETRIC 'b' AND 'a'":                  "SELECT id FROM people WHERE name NOT BETWEEN SYMMETRIC " + n("b") + " AND " + n("a"),
		"SELECT id FROM people WHERE (born, name) > ('2000-01-01', 'x')":                      "SELECT id FROM people WHERE (born, name) > (" + b("2000-01-01") + ", " + n("x") + ")",
		"SELECT id FROM people WHERE name > ALL (ARRAY['x'])":                                 "SELECT id FROM people WHERE name > ALL (ARRAY[" + n("x") + "])",
		"SELECT id FROM people WHERE name < (SELECT 'm')":                                     "SELECT id FROM people WHERE name < (SELECT " + n("m") + ` AS "?column?")`,
		"SELECT id FROM people ORDER BY born DESC NULLS LAST, name":                           "SELECT id FROM people ORDER BY born DESC NULLS LAST, name",
		`SELECT name FROM people ORDER BY name COLLATE "C", 1`:                                `SELECT name FROM people ORDER BY name , 1`,
		"SELECT rank() OVER (ORDER BY born) FROM people":                                      "SELECT rank() OVER (ORDER BY born) FROM people",
		"SELECT DISTINCT ON (born) born, id FROM people ORDER BY born, id":                    "SELECT DISTINCT ON (born) born, id FROM people ORDER BY born, id",
		"SELECT name FROM people UNION SELECT 'x' ORDER BY 1":                                 "SELECT name FROM people UNION SELECT " + n("x") + ` AS "?column?" ORDER BY 1`,
		"SELECT greatest(name, 'x'), least(born, $1) FROM people":                             "SELECT greatest(name, " + n("x") + "), least(born, $1) FROM people",
		"SELECT min(born), max(name) AS m FROM people":                                        `SELECT pg_catalog.percentile_disc(0) WITHIN GROUP (ORDER BY born) AS "min", pg_catalog.percentile_disc(1) WITHIN GROUP (ORDER BY name) AS m FROM people`,
		"SELECT ((min(born))), 1 FROM people":                                                 `SELECT ((pg_catalog.percentile_disc(0) WITHIN GROUP (ORDER BY born))) AS "min", 1 FROM people`,
		"SELECT max(coalesce(name, 'x')) FILTER (WHERE name > 'a')+1 FROM people":             "",
		"SELECT pg_catalog.max(coalesce(name, 'x')) FILTER (WHERE name > 'a'), 1 FROM people": "SELECT pg_catalog.percentile_disc(1) WITHIN GROUP (ORDER BY coalesce(name, " + n("x") + ")) FILTER (WHERE name > " + n("a") + `) AS "max", 1 FROM people`,
		"SELECT id FROM people GROUP BY id HAVING min(name) > 'a'":                            "SELECT id FROM people GROUP BY id HAVING pg_catalog.percentile_disc(0) WITHIN GROUP (ORDER BY name) > " + n("a"),
		"SELECT (SELECT max(born) FROM people)":                                               `SELECT (SELECT pg_catalog.percentile_disc(1) WITHIN GROUP (ORDER BY born) AS "max" FROM people)`,
		"SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY born) FROM people":                "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY born) FROM people",
		"SELECT array_agg(DISTINCT name ORDER BY name) FROM people":                           "SELECT array_agg(DISTINCT name ORDER BY name) FROM people",
		"SELECT id FROM people WHERE mail <= 'a'":                                             "",
		"SELECT id FROM people ORDER BY mail":                                                 "",
		"SELECT id FROM people ORDER BY note":                                                 "",
		"SELECT min(mail) FROM people":                                                        "",
		"SELECT min(born) OVER () FROM people":                                                "",
		"SELECT max(DISTINCT born) FROM people":                                               "",
		"SELECT max(ALL born) FROM people":                                                    "",
		"SELECT min(born)::date FROM people":                                                  "",
		"SELECT greatest(born, name) FROM people":                                             "",
		"SELECT array_agg(DISTINCT mail) FROM people":                                         "",
		"SELECT id FROM people WHERE (mail, name) < ('a', 'b')":                               "",
		"SELECT id FROM people WHERE mail > ANY (SELECT mail FROM people)":                    "",
		"SELECT id FROM people ORDER BY name USING ~<~":                                       "",
		`SELECT id FROM people ORDER BY name COLLATE "de_DE"`:                                 "",
		"SELECT e FROM (SELECT 'x' AS e UNION ALL SELECT mail FROM people) s ORDER BY e":      "",
	} {
		p := plan.Make(sql, orderedCatalog(t), plan.Options{Fresh: true})
		if p.Refusal != nil {
			if want != "" || p.Refusal.Code != "0A000" {
				t.Errorf("%s: %+v", sql, p.Refusal)
			}
			continue
		}
		if d := cmp.Diff(want, render(t, sql, p)); d != "" {
			t.Errorf("%s: %s", sql, d)
		}
	}
}

// TestUses: only what is compared by order says so.
func TestUses(t *testing.T) {
	for sql, want := range map[string]plan.Use{
		"SELECT 1 FROM people WHERE name = 'x'":                               plan.Compare,
		"SELECT 1 FROM people WHERE name > 'x'":                               plan.Compare | plan.Order,
		"SELECT greatest(name, 'x') FROM people":                              plan.Compare | plan.Order | plan.Read,
		"SELECT coalesce(name, 'x') FROM people":                              plan.Compare | plan.Read,
		"SELECT nullif(name, 'x') FROM people":                                plan.Compare | plan.Typed,
		"INSERT INTO people (name) VALUES ('x')":                              plan.Store,
		"INSERT INTO people (name) SELECT 'x'":                                plan.Store,
		"UPDATE people SET name = coalesce(name, 'x')":                        plan.Store,
		"UPDATE people SET name = e FROM (VALUES ('x')) v (e)":                plan.Store,
		"UPDATE people SET name = e FROM (VALUES ('x')) v (e) WHERE name = e": plan.Store | plan.Compare,
		"UPDATE people SET name = e FROM (VALUES ('x')) v (e) RETURNING e":    plan.Store | plan.Compare | plan.Read,
	} {
		p := plan.Make(sql, orderedCatalog(t), plan.Options{Fresh: true})
		if p.Refusal != nil || len(p.Literals) != 1 {
			t.Errorf("%s: %v, %d literals", sql, p.Refusal, len(p.Literals))
		} else if got := p.Literals[0].Use; got != want {
			t.Errorf("%s: got use %d, want %d", sql, got, want)
		}
	}
}
