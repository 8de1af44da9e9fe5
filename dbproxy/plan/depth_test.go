// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"strings"
	"testing"

	"github.com/sidekey/sidekey/dbproxy/plan"
)

// TestDepth has texts that overflow the stack of the C parser, where nothing
// could be recovered, and long ones that are flat.
func TestDepth(t *testing.T) {
	const n = 60_000
	for name, sql := range map[string]string{
		"plus":   "SELECT 1" + strings.Repeat("+1", n),
		"not":    "SELECT " + strings.Repeat("NOT ", n) + " true",
		"minus":  "SELECT " + strings.Repeat("- ", n) + " 1",
		"paren":  "SELECT " + strings.Repeat("(", n) + "1" + strings.Repeat(")", n),
		"union":  "SELECT 1, 2" + strings.Repeat(" UNION SELECT 1, 2", n/4),
		"cast":   "SELECT 1" + strings.Repeat("::int", n),
		"join":   "SELECT 1 FROM a" + strings.Repeat(" JOIN b ON x AND y", n/4),
		"isnull": "SELECT 1" + strings.Repeat(" IS NULL", n),
		"case":   "SELECT " + strings.Repeat("CASE WHEN a AND ", n/4) + "1" + strings.Repeat(" THEN 1 END", n/4),
		"array":  "SELECT " + strings.Repeat("ARRAY[1,", n/4) + "1" + strings.Repeat("]", n/4),
		"labels": "SELECT 1" + strings.Repeat(" + (SELECT 2 end, 3)", n/4),
		"names":  "SELECT x" + strings.Repeat(".or + x", n/4),
		"mixed":  "SELECT " + strings.Repeat("(1"+strings.Repeat("+1", 100)+"+", 500) + "1" + strings.Repeat(")", 500),
	} {
		p := plan.Make(sql, testCatalog(t), plan.Options{Fresh: true})
		if p.Refusal == nil || p.Refusal.Code != "54001" {
			t.Errorf("%s: got %v, want 54001", name, p.Refusal)
		}
	}
	for name, sql := range map[string]string{
		"and":    "SELECT 1 FROM users WHERE id = 1" + strings.Repeat(" AND id = 1", 20_000),
		"or":     "SELECT 1 FROM users WHERE id = 1" + strings.Repeat(" OR (id = 1 AND id = 2)", 20_000),
		"values": "INSERT INTO t VALUES (1, 2)" + strings.Repeat(", (1, 2 + 3)", 20_000),
		"in":     "SELECT 1 FROM users WHERE id IN (1" + strings.Repeat(", 1", 50_000) + ")",
		"when":   "SELECT CASE" + strings.Repeat(" WHEN a = 1 THEN 2 + 3", 10_000) + " END",
		"many":   strings.Repeat("SELECT a + b + c;", 10_000),
		"concat": "SELECT 'a'" + strings.Repeat(" || 'b'", 1000),
	} {
		if p := plan.Make(sql, testCatalog(t), plan.Options{Fresh: true}); p.Refusal != nil {
			t.Errorf("%s: %v", name, p.Refusal)
		}
	}
}
