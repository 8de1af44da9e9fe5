// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sidekey/sidekey/dbproxy/plan"
)

// TestSizes has texts that are long in every direction: each constant is
// sealed, and none takes more than its share of work.
func TestSizes(t *testing.T) {
	many := func(n int, format, separator string) string {
		items := make([]string, n)
		for i := range items {
			items[i] = strings.ReplaceAll(format, "#", fmt.Sprint(i))
		}
		return strings.Join(items, separator)
	}
	for name, c := range map[string]struct {
		sql  string
		want int // literals
	}{
		"rows":       {"INSERT INTO users (id, email, pin) VALUES " + many(10_000, "(#, 'mail-#', #)", ", "), 20_000},
		"rows apart": {"INSERT INTO users (email) SELECT e FROM (VALUES " + many(10_000, "('mail-#')", ", ") + ") v (e)", 10_000},
		"in":         {"SELECT 1 FROM users WHERE email IN (" + many(10_000, "'mail-#'", ", ") + ")", 10_000},
		"array":      {"SELECT 1 FROM users WHERE email = ANY (ARRAY[" + many(10_000, "'mail-#'", ", ") + "])", 10_000},
		"or":         {"SELECT 1 FROM users WHERE " + many(10_000, "email = 'mail-#'", " OR "), 10_000},
		"union":      {"SELECT email FROM users" + many(900, "", " UNION ALL SELECT 'mail'"), 899},
		"subqueries": {strings.Repeat("SELECT * FROM (", 100) + "SELECT email, 'x' AS e FROM users" + strings.Repeat(") s WHERE email = 'mail'", 100), 100},
		"ctes":       {"WITH c0 AS (SELECT email, 'mail' AS e FROM users), " + many(500, "d# AS (SELECT * FROM c0 WHERE email = e)", ", ") + " SELECT 1 FROM d1", 1},
		"casts":      {"SELECT 1 FROM users WHERE email = 'mail'" + strings.Repeat("::text", 1000), 1},
		"coalesce":   {"SELECT " + strings.Repeat("coalesce('mail', ", 500) + "email" + strings.Repeat(")", 500) + " FROM users", 500},
		"columns":    {"SELECT " + many(1600, "email AS e#", ", ") + " FROM users WHERE email = 'mail'", 1},
		"case":       {"SELECT CASE" + many(2000, " WHEN email = 'a#' THEN 'b#'", "") + " ELSE email END FROM users", 4000},
		"sets":       {"UPDATE users SET (email, pin, ssn) = (SELECT 'a', 5, s FROM (" + many(500, "SELECT 'x'", " UNION ALL ") + ") v (s))", 502},
	} {
		p := planned(t, c.sql)
		if p.Refusal != nil || len(p.Literals) != c.want {
			t.Errorf("%s: %+v, %d literals, want %d", name, p.Refusal, len(p.Literals), c.want)
		}
	}
	params := planned(t, "SELECT 1 FROM users WHERE "+many(5000, "$2# = $1#", " AND ")+" AND email = $11")
	if params.Refusal != nil || len(params.Params) == 0 {
		t.Errorf("parameters: %+v, %d", params.Refusal, len(params.Params))
	}
	// The columns of each are twice those of the one before.
	doubled := "WITH c0 AS (SELECT email, 'a' AS e FROM users), " + many(40, "c@# AS (SELECT a.*, b.* FROM c# a, c# b)", ", ") + " SELECT 1 FROM c1"
	for i := range 40 {
		doubled = strings.Replace(doubled, fmt.Sprintf("c@%d ", i), fmt.Sprintf("c%d ", i+1), 1)
	}
	if p := planned(t, doubled); p.Refusal == nil || p.Refusal.Code != "54011" {
		t.Errorf("doubled columns: got %+v, want 54011", p.Refusal)
	}
	if p := plan.Make("SELECT 1 FROM users WHERE pin = "+strings.Repeat("- ", 4000)+"1", testCatalog(t), plan.Options{Fresh: true}); p.Refusal == nil || p.Refusal.Code != "0A000" {
		t.Errorf("signs: got %+v, want 0A000", p.Refusal)
	}
}
