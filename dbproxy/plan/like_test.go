// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sidekey/sidekey/dbproxy/plan"
)

func searchRule(t testing.TB) *plan.Rule {
	t.Helper()
	text, err := plan.ParseType("text")
	if err != nil {
		t.Fatal(err)
	}
	return &plan.Rule{Schema: "public", Table: "people", Column: "name", Type: text, Binding: "public.people.name", Prefix: []byte{0x53, 4}, MinLen: 9,
		Search: &plan.Search{Prefix: 3, Suffix: 2, Min: 2, Max: 4}}
}

func searchCatalog(t testing.TB) *plan.Catalog {
	r := searchRule(t)
	city := *r
	city.Column, city.Binding, city.Search = "city", "public.people.city", nil
	return plan.NewCatalog([]*plan.Rule{r, &city}, []*plan.Relation{{Schema: "public", Name: "people", OID: 1, Protected: true,
		Columns: []plan.Column{{Name: "id", Attnum: 1}, {Name: "name", Attnum: 2, Rule: r}, {Name: "city", Attnum: 3, Rule: &city}, {Name: "note", Attnum: 4}}}})
}

func TestLikeRewrites(t *testing.T) {
	tokens := func(pattern string) string {
		return ` ARRAY['\x` + hex.EncodeToString([]byte("name:"+pattern)) + `']::pg_catalog.bytea[] `
	}
	found := func(operand, tokens string) string {
		return "(sidekey.search_tokens(" + operand + ") OPERATOR(pg_catalog.&&) " + tokens + ")"
	}
	for sql, want := range map[string]string{
		"SELECT id FROM people WHERE name LIKE 'a%'":                                                                      "SELECT id FROM people WHERE " + found("name", tokens("a%")),
		"SELECT id FROM people p WHERE p . name NOT LIKE 'a%' AND id = 1":                                                 "SELECT id FROM people p WHERE (NOT sidekey.search_tokens(p . name) OPERATOR(pg_catalog.&&) " + tokens("a%") + ") AND id = 1",
		"SELECT id FROM people WHERE name~~'a%'OR id=1":                                                                   "SELECT id FROM people WHERE " + found("name", tokens("a%")) + "OR id=1",
		"SELECT id FROM people WHERE ((name)::text) LIKE ((E'\\x61' || '%'))":                                             "SELECT id FROM people WHERE " + found("((name)::bytea)", tokens("a%")),
		"SELECT id FROM people WHERE CAST(name AS text) LIKE CAST('a' AS text)":                                           "SELECT id FROM people WHERE " + found("CAST(name AS bytea)", tokens("a")),
		"SELECT id FROM people WHERE (name LIKE 'a!%' ESCAPE '!') AND (id) = (1)":                                         "SELECT id FROM people WHERE (" + found("name", tokens("a!%")) + ") AND (id) = (1)",
		"SELECT id FROM people WHERE name LIKE NULL":                                                                      "SELECT id FROM people WHERE " + found("name", "NULL::pg_catalog.bytea[]"),
		"SELECT id FROM people WHERE name LIKE $1::text":                                                                  "SELECT id FROM people WHERE " + found("name", "$1"),
		"SELECT id FROM people WHERE name LIKE '%' || $1 || '%'":                                                          "SELECT id FROM people WHERE " + found("name", "$1"),
		"SELECT id FROM people WHERE name LIKE $1 OR name LIKE $1 || '%'":                                                 "SELECT id FROM people WHERE " + found("name", "$1") + " OR " + found("name", "$2"),
		"SELECT id FROM people WHERE note LIKE $1 OR name LIKE $1":                                                        "SELECT id FROM people WHERE note LIKE $1 OR " + found("name", "$2"),
		"UPDATE people SET name = $1 WHERE name LIKE $1":                                                                  "UPDATE people SET name = $1 WHERE " + found("name", "$2"),
		"PREPARE p (text, int) AS SELECT id FROM people WHERE name LIKE $1":                                               "PREPARE p (bytea[], int) AS SELECT id FROM people WHERE " + found("name", "$1"),
		"SELECT id FROM people WHERE name ILIKE 'a%'":                                                                     "SELECT id FROM people WHERE " + found("name", tokens("a%")),
		"SELECT id FROM people WHERE upper((name)::text) LIKE UPPER($1)":                                                  "SELECT id FROM people WHERE (sidekey.search_tokens(((name)::bytea)) OPERATOR(pg_catalog.&&) $1)",
		"SELECT id FROM people p WHERE NOT lower(p.name) = lower('A')":                                                    "SELECT id FROM people p WHERE NOT (sidekey.search_tokens((p.name)) OPERATOR(pg_catalog.&&) " + tokens("A") + ")",
		"SELECT starts_with(name, 'a') FROM people":                                                                       "SELECT " + found("name", tokens("a")) + ` AS "starts_with" FROM people`,
		"SELECT starts_with(name, 'a') AS x FROM people":                                                                  "SELECT " + found("name", tokens("a")) + " AS x FROM people",
		"SELECT id FROM people WHERE strpos(name, 'ab') > 0":                                                              "SELECT id FROM people WHERE " + found("name", tokens("ab")),
		"SELECT id FROM people WHERE strpos(name, $1) = 0":                                                                "SELECT id FROM people WHERE (NOT sidekey.search_tokens(name) OPERATOR(pg_catalog.&&) $1)",
		"SELECT id FROM people WHERE position('ab' IN name) > 0":                                                          "SELECT id FROM people WHERE (" + tokens("ab") + " OPERATOR(pg_catalog.&&) sidekey.search_tokens( name))",
		"SELECT id FROM people WHERE name LIKE ANY ($1)":                                                                  "SELECT id FROM people WHERE " + found("name", "$1 AND pg_catalog.cardinality($1) OPERATOR(pg_catalog.>) 0"),
		"SELECT id FROM people WHERE name NOT LIKE ALL ($1::text[]) OR id = 1":                                            "SELECT id FROM people WHERE (NOT (sidekey.search_tokens(name) OPERATOR(pg_catalog.&&) $1 AND pg_catalog.cardinality($1) OPERATOR(pg_catalog.>) 0)) OR id = 1",
		"SELECT id FROM people WHERE name LIKE ANY (ARRAY['a%', ($1)])":                                                   "SELECT id FROM people WHERE (sidekey.search_tokens(name) OPERATOR(pg_catalog.&&) " + tokens("a%") + " OR sidekey.search_tokens(name) OPERATOR(pg_catalog.&&) $1)",
		"SELECT id FROM people WHERE name NOT LIKE ANY (ARRAY['a%', NULL]::text[])":                                       "SELECT id FROM people WHERE (NOT sidekey.search_tokens(name) OPERATOR(pg_catalog.&&) " + tokens("a%") + " OR NOT sidekey.search_tokens(name) OPERATOR(pg_catalog.&&) NULL::pg_catalog.bytea[])",
		"SELECT id FROM people WHERE note LIKE 'a%'":                                                                      "SELECT id FROM people WHERE note LIKE 'a%'",
		"CREATE INDEX ON people USING gin (name)":                                                                         `CREATE INDEX ON people USING gin (sidekey.search_tokens("name"))`,
		"CREATE INDEX i ON public.people USING gin (note x, \"name\" gin_trgm_ops, (f(note, 1))) WITH (fastupdate = off)": `CREATE INDEX i ON public.people USING gin (note x, sidekey.search_tokens("name"), (f(note, 1))) WITH (fastupdate = off)`,
	} {
		p := plan.Make(sql, searchCatalog(t), plan.Options{Fresh: true})
		if p.Refusal != nil || p.Need != plan.NeedNothing {
			t.Errorf("%s: got refusal %v, need %v", sql, p.Refusal, p.Need)
			continue
		}
		if d := cmp.Diff(want, render(t, sql, p)); d != "" {
			t.Errorf("%s: %s", sql, d)
		}
		if searches := strings.Contains(want, "search_tokens"); p.Searches != searches {
			t.Errorf("%s: searches: %v, want %v", sql, p.Searches, searches)
		}
	}
}

func TestLikeRefusals(t *testing.T) {
	for _, sql := range []string{
		"SELECT 1 FROM people WHERE city LIKE 'a%'", "SELECT 1 FROM people WHERE city ILIKE 'a%'", "SELECT 1 FROM people WHERE name COLLATE \"C\" ILIKE 'a%'", "SELECT 1 FROM people WHERE lower(name) ILIKE 'a%'", "SELECT 1 FROM people WHERE lower(name) LIKE upper('a%')", "SELECT 1 FROM people WHERE name LIKE lower('a%')", "SELECT 1 FROM people WHERE lower(upper(name)) = 'a'", "SELECT 1 FROM people WHERE initcap(name) = 'A'",
		"SELECT 1 FROM people WHERE strpos(name, 'ab') > 1", "SELECT 1 FROM people WHERE strpos('ab', name) > 0", "SELECT 1 FROM people WHERE position(name IN 'ab') > 0", "SELECT 1 FROM people WHERE (strpos(name, 'ab')) > 0", "SELECT strpos(name, 'ab') FROM people", "SELECT 1 FROM people WHERE starts_with(note, name)", "SELECT 1 FROM people WHERE starts_with(name, note)",
		"SELECT 1 FROM people WHERE name LIKE ANY (ARRAY['a%', note])", "SELECT 1 FROM people WHERE name LIKE ANY (ARRAY[]::text[])", "SELECT 1 FROM people WHERE name LIKE ANY ('{ }')", "SELECT 1 FROM people WHERE name LIKE ANY (SELECT 'a%')", "SELECT 1 FROM people WHERE name LIKE ALL ($1)", "SELECT 1 FROM people WHERE name NOT LIKE ANY ($1)", "SELECT 1 FROM people WHERE name LIKE ANY (ARRAY['a%'] || $1)", "SELECT 1 FROM people WHERE lower(name) LIKE ANY ('{a%}')", "SELECT 1 FROM people WHERE name ^@ ANY ('{a}')", "SELECT 1 FROM people WHERE name LIKE ANY ($1::varchar(3)[])", "SELECT 1 FROM people WHERE coalesce(name, 'x') LIKE ANY (ARRAY['a%', 'b%'])", "SELECT 1 FROM people WHERE name ~ 'a'", "SELECT 1 FROM people WHERE name SIMILAR TO 'a'", "SELECT 1 FROM people WHERE name ~* 'a'", "SELECT 1 FROM people WHERE any_value(name) LIKE 'a'",
		"SELECT 1 FROM people WHERE name LIKE note", "SELECT 1 FROM people WHERE note LIKE name", "SELECT 1 FROM people WHERE name LIKE city",
		"SELECT 1 FROM people WHERE name LIKE $1 || $2", "SELECT 1 FROM people WHERE name LIKE $1::varchar(3)", "SELECT 1 FROM people WHERE name LIKE 1", "SELECT 1 FROM people WHERE name LIKE 'a'::char(3)", "SELECT 1 FROM people WHERE name LIKE 'a' ESCAPE 'ab'", "SELECT 1 FROM people WHERE name LIKE 'a' ESCAPE $1",
		"SELECT 1 FROM people WHERE name LIKE like_escape('a', 'b')", "SELECT 1 FROM people WHERE name || 'x' LIKE 'a'", "SELECT 1 FROM people WHERE array_agg(name) LIKE 'a'", "SELECT 1 FROM people GROUP BY id HAVING min(name) LIKE 'a'", "SELECT 1 FROM people WHERE name LIKE ALL ('{a}')",
		"CREATE VIEW v AS SELECT id FROM people WHERE name LIKE 'a%'", "ALTER TABLE people ADD CHECK (name LIKE 'a%')", "CREATE TABLE t (x int CHECK (EXISTS (SELECT FROM people WHERE name LIKE 'a%')))", "CREATE INDEX ON people (id) WHERE name LIKE 'a%'", "CREATE RULE r AS ON UPDATE TO people WHERE old.name LIKE 'a%' DO NOTHING",
		"CREATE INDEX ON people USING gin (city)", "CREATE INDEX ON people USING gin (name x_ops)", "CREATE INDEX ON people USING gin (name COLLATE \"C\")", "CREATE INDEX ON people USING gist (name gist_trgm_ops)", "CREATE INDEX ON people USING gin (lower(name))",
	} {
		p := plan.Make(sql, searchCatalog(t), plan.Options{Fresh: true})
		if p.Refusal == nil || p.Refusal.Code != "0A000" {
			t.Errorf("%s: got %v, want a refusal", sql, p.Refusal)
		}
	}
}

// Whatever stands for a pattern is nowhere in the text that the server gets.
func TestLikeLeavesNoPattern(t *testing.T) {
	operands := []string{"name", "(name)", "p.name::text", "coalesce(name, 'CANARY')", "((p.name)::varchar)", "CAST((name) AS text)", `name COLLATE "C"`}
	patterns := []string{"'CANARY%'", "('CANARY')", "'CANARY'::text", "text 'CANARY%'", "$$CANARY$$ || '%'", "('CANARY' || ('%'))::text", "U&'CANARY!0025' UESCAPE '!'", "'CANARY' ESCAPE 'x'", "$1", "('CANARY' || $1)", "CAST('CANARY' AS varchar)", "(E'CANARY\\n' -- CANARY\n)", "/* CANARY */ 'CANARY'"}
	contexts := []string{"SELECT {} FROM people p", "SELECT 1 FROM people p WHERE ({}) OR (({}) AND id = 1)", "DELETE FROM people p WHERE NOT {}", "SELECT (CASE WHEN {} THEN 1 END) FROM people p ORDER BY {}", "SELECT f(({}), (1)) FROM people p",
		"COPY (SELECT 1 FROM people p WHERE {}) TO STDOUT", "EXPLAIN SELECT 1 FROM people p WHERE {}", "PREPARE x AS SELECT 1 FROM people p WHERE {}", "DECLARE c CURSOR FOR SELECT 1 FROM people p JOIN people q ON (q.name) LIKE 'CANARY' AND {}"}
	forms := []string{"O LIKE P", "O NOT LIKE P", "O ~~ P", "O !~~ P", "O ^@ P", "O ILIKE P", "O NOT ILIKE P", "O !~~* P", "starts_with(O, P)", "strpos(O, P) > 0", "position(P IN O) = 0", "pg_catalog.strpos(O, P) >= 1",
		"upper(O) LIKE upper(P)", "lower(O) != P", "lower(O) = lower(P)", "O LIKE ANY (ARRAY[P])", "O NOT LIKE ALL (ARRAY[P]::text[])", "O ILIKE ANY (array [ P ])"}
	rewritten := 0
	for _, operand := range operands {
		for _, form := range forms {
			for _, pattern := range patterns {
				for _, context := range contexts {
					sql := strings.ReplaceAll(context, "{}", strings.NewReplacer("O", operand, "P", pattern).Replace(form))
					p := plan.Make(sql, searchCatalog(t), plan.Options{Fresh: true})
					if p.Refusal != nil {
						continue
					}
					rewritten++
					out := render(t, sql, p)
					if strings.Contains(out, "CANARY") || strings.Count(out, "search_tokens") != strings.Count(context, "{}")+strings.Count(context, "LIKE") {
						t.Errorf("%s: %s", sql, out)
					}
					if again := plan.Make(out, plan.NewCatalog(nil, nil), plan.Options{}); again.Refusal != nil {
						t.Errorf("%s: %s: %v", sql, out, again.Refusal)
					}
				}
			}
		}
	}
	if want := len(operands) * len(forms) * len(patterns) * len(contexts) / 2; rewritten < want {
		t.Errorf("%d were rewritten, want at least %d", rewritten, want)
	}
}

func TestPatterns(t *testing.T) {
	r := searchRule(t)
	for _, c := range []struct {
		match   plan.Match
		pattern string
		kind    plan.Part
		part    string
		code    string
	}{
		{plan.Match{Escape: `\`}, "", plan.Whole, "", ""},
		{plan.Match{Escape: `\`}, "%", plan.Prefix, "", ""},
		{plan.Match{Escape: `\`}, "%%%", plan.Prefix, "", ""},
		{plan.Match{Escape: `\`}, "abcdefg", plan.Whole, "abcdefg", ""},
		{plan.Match{Escape: `\`}, "abc%", plan.Prefix, "abc", ""},
		{plan.Match{Escape: `\`}, "日本語%%", plan.Prefix, "日本語", ""},
		{plan.Match{Escape: `\`}, "abcd%", 0, "", "0A000"},
		{plan.Match{Escape: `\`}, "%ab", plan.Suffix, "ab", ""},
		{plan.Match{Escape: `\`}, "%abc", 0, "", "0A000"},
		{plan.Match{Escape: `\`}, "%a%", 0, "", "0A000"},
		{plan.Match{Escape: `\`}, "%%ab%", plan.Substring, "ab", ""},
		{plan.Match{Escape: `\`}, "%abcde%", 0, "", "0A000"},
		{plan.Match{Escape: `\`}, "a%b", 0, "", "0A000"},
		{plan.Match{Escape: `\`}, "%a%b%", 0, "", "0A000"},
		{plan.Match{Escape: `\`}, "a_", 0, "", "0A000"},
		{plan.Match{Escape: `\`}, `\%\_%`, plan.Prefix, "%_", ""},
		{plan.Match{Escape: `\`}, `%\%`, plan.Suffix, "%", ""},
		{plan.Match{Escape: `\`}, `\a\\%`, plan.Prefix, `a\`, ""},
		{plan.Match{Escape: `\`}, `a\`, 0, "", "22025"},
		{plan.Match{}, `\%`, plan.Prefix, `\`, ""},
		{plan.Match{Escape: "%"}, "a%%", plan.Whole, "a%", ""},
		{plan.Match{Escape: "日"}, "a日%%", plan.Prefix, "a%", ""},
		{plan.Match{Escape: `\`, Before: "%", After: "%"}, "ab", plan.Substring, "ab", ""},
		{plan.Match{Escape: `\`, Before: "%", After: "%"}, "", plan.Prefix, "", ""},
		{plan.Match{Escape: `\`, After: "%"}, `a\`, plan.Whole, "a%", ""},
		{plan.Match{Form: plan.Begins}, "a%", plan.Prefix, "a%", ""},
		{plan.Match{Form: plan.Begins}, "", plan.Prefix, "", ""},
		{plan.Match{Form: plan.Begins}, "abcd", 0, "", "0A000"},
		{plan.Match{Form: plan.Contains}, "%_", plan.Substring, "%_", ""},
		{plan.Match{Form: plan.Contains}, "", plan.Prefix, "", ""},
		{plan.Match{Form: plan.Contains}, "a", 0, "", "0A000"},
		{plan.Match{Form: plan.Equals}, "a%long one", plan.Whole, "a%long one", ""},
		{plan.Match{Form: plan.Equals}, "", plan.Whole, "", ""},
	} {
		kind, part, refusal := c.match.Part(c.pattern, r)
		code := ""
		if refusal != nil {
			code = refusal.Code
		}
		if kind != c.kind || part != c.part || code != c.code {
			t.Errorf("%+v, %q: got %d of %q, %q; want %d of %q, %q", c.match, c.pattern, kind, part, code, c.kind, c.part, c.code)
		}
	}
}
