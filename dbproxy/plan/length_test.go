// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"strings"
	"testing"

	"github.com/sidekey/sidekey/dbproxy/plan"
)

// TestTooLong: what would take too much memory to parse is refused before, whatever
// hides it; one long value is not.
func TestTooLong(t *testing.T) {
	const n = 1 << 20
	rows, words := strings.Repeat(",(1)", n), strings.Repeat("a, ", n)
	for name, c := range map[string]struct {
		sql  string
		want string
	}{
		"rows":                     {"INSERT INTO plain VALUES (1)" + rows, "54001"},
		"rows behind a string":     {"INSERT INTO plain VALUES ('it''s')" + rows, "54001"},
		"rows behind E''":          {`INSERT INTO plain VALUES (E'\'')` + rows + ", (E'\\'')", "54001"},
		"rows behind e''":          {`INSERT INTO plain VALUES (e'\'')` + rows + ", (e'\\'')", "54001"},
		"rows behind a name":       {`INSERT INTO "pl'ain" VALUES (1)` + rows + `, ('x')`, "54001"},
		"rows behind a comment":    {"INSERT INTO plain /* ' /* \" */ ' */ VALUES (1)" + rows + ", ('')", "54001"},
		"rows behind a line":       {"INSERT INTO plain -- don't\n VALUES (1)" + rows + ", ('')", "54001"},
		"rows behind $$":           {"INSERT INTO plain VALUES ($$'$$)" + rows + ", ($$'$$)", "54001"},
		"rows behind $a$":          {"INSERT INTO plain VALUES ($a$'$a$)" + rows + ", ($a$'$a$)", "54001"},
		"rows behind a parameter":  {"INSERT INTO plain VALUES ($1)" + rows, "54001"},
		"a string":                 {"INSERT INTO plain VALUES ('" + words + "')", ""},
		"a string with quotes":     {"INSERT INTO plain VALUES ('" + strings.Repeat("a''b ", n) + "')", ""},
		"a string behind comments": {"/* it's */ INSERT INTO plain -- don't\n VALUES ('" + words + "')", ""},
		"bytea":                    {`INSERT INTO plain VALUES ('\x` + strings.Repeat("00ff", n) + "')", ""},
		"a comment":                {"SELECT 1 /* " + words + " */", ""},
		"a string that has no end": {"SELECT '" + words, "42601"},
	} {
		p := plan.Make(c.sql, testCatalog(t), plan.Options{Fresh: true})
		got := ""
		if p.Refusal != nil {
			got = p.Refusal.Code
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}
