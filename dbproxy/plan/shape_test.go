// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	pg "github.com/pganalyze/pg_query_go/v6"
	"github.com/sidekey/sidekey/dbproxy/plan"
)

func TestShape(t *testing.T) {
	for sql, want := range map[string]string{
		"SELECT v FROM p WHERE id = 17":                 "SELECT v FROM p WHERE id = 0",
		"SELECT 'it''s', \"a'b\", $1, x1, -5, 1.5, .25": "SELECT '', \"a'b\", $1, x1, -0, 1.5, .25",
		"SELECT a[1:2] FROM t -7":                       "SELECT a[0:2] FROM t -0",
		"SELECT 1":                                      "SELECT 0",
		"SELECT id":                                     "",
		"SELECT E'a\\'', users":                         "",
		"SELECT e'x'":                                   "", "SELECT 'a\\'": "", "SELECT U&'x'": "", "SELECT U&\"x\", 1": "", "SELECT $$a$$, 1": "", "SELECT $a$'$a$, 1": "",
		"SELECT 1 -- '": "", "SELECT 1 /* ' */": "", "SELECT 'é'": "", "SELECT 'open": "", "SELECT \"open, 1": "", "SELECT N'x'": "", "SELECT B'1'": "", "SELECT 1'x'": "", "SELECT 'a'b": "", "SELECT 1, a$b$'c'": "",
	} {
		if got, ok := plan.Shape(nil, sql); string(got) != want && ok || ok != (want != "") {
			t.Errorf("%s: got %q %v, want %q", sql, got, ok, want)
		}
	}
	for sql, want := range map[string]bool{
		"SELECT id, email FROM users WHERE id = 3": true, "SELECT 1": true, "SELECT x FROM t ORDER BY 1": true,
		"SELECT id, email FROM users ORDER BY 1": false, "SELECT id, email FROM users WHERE email = '1'": false,
		"SET search_path = 'x'": false, "SELECT set_config('app.x', '1', true)": false, "SELECT email FROM users GROUP BY 1": false, "INSERT INTO users VALUES (1)": false,
	} {
		if got := plan.Make(sql, testCatalog(t), plan.Options{Fresh: true}).Shared; got != want {
			t.Errorf("%s: shared %v, want %v", sql, got, want)
		}
	}
}

// FuzzShape compares with PostgreSQL's lexer: a text and its shape have the
// same tokens, but for what constants say.
func FuzzShape(f *testing.F) {
	for _, sql := range []string{"SELECT 'a''b' || 1.5e-7 FROM \"x\"\"y\" WHERE z = -17 AND $1 = ANY('{}')", "a$b$1", "1..2", "x::int4(3)", "'a'\n'b'", "''''", "1_0 0x1 'a' \"b\"'c'", "SELECT@-1", "U&'x'", "b'1'", "nn'x'", ":1", "1:2::x", "$1a", "1'2'"} {
		f.Add(sql)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		shape, ok := plan.Shape(nil, sql)
		if !ok {
			return
		}
		was, err := pg.Scan(sql)
		if err != nil {
			return
		}
		is, err := pg.Scan(string(shape))
		if err != nil {
			t.Fatalf("%q: its shape %q is not read: %v", sql, shape, err)
		}
		tokens := func(s string, r *pg.ScanResult) (out []string) {
			for _, tok := range r.Tokens {
				switch tok.Token {
				case pg.Token_ICONST, pg.Token_FCONST:
					out = append(out, "number")
				case pg.Token_SCONST:
					out = append(out, "string")
				default:
					out = append(out, s[tok.Start:tok.End])
				}
			}
			return out
		}
		if d := cmp.Diff(tokens(sql, was), tokens(string(shape), is)); d != "" {
			t.Errorf("%q, shape %q: %s", sql, shape, d)
		}
	})
}
