// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"testing"

	"github.com/sidekey/sidekey/proxy"
)

// conditionQueries have bools as conditions of their own, as Django and people
// write them.
var conditionQueries = []string{
	"CREATE TABLE flags (id int PRIMARY KEY, b bool, plain bool, o bool CHECK (o OR id < 100), CONSTRAINT decided CHECK (b IS NOT FALSE OR NOT o OR id > 0))",
	"CREATE UNIQUE INDEX flags_b ON flags (id) WHERE b AND NOT o",
	"INSERT INTO flags VALUES (1, true, true, true), (2, false, true, false), (3, NULL, NULL, NULL), (4, true, false, NULL), (5, false, false, true), (6, NULL, true, true)",
	"SELECT id FROM flags WHERE b ORDER BY id", "SELECT id FROM flags WHERE NOT b ORDER BY id", "SELECT id FROM flags WHERE flags.b AND plain OR (o) ORDER BY id", "SELECT id FROM flags WHERE NOT (public.flags.b OR o) ORDER BY id", `SELECT id FROM flags WHERE "b"AND"o"ORDER BY id`,
	"SELECT id FROM flags WHERE b IS TRUE ORDER BY id", "SELECT id FROM flags WHERE b IS NOT TRUE ORDER BY id", "SELECT id FROM flags WHERE b IS FALSE ORDER BY id", "SELECT id FROM flags WHERE b IS NOT FALSE ORDER BY id", "SELECT id FROM flags WHERE b IS UNKNOWN ORDER BY id", "SELECT id FROM flags WHERE b IS NOT UNKNOWN ORDER BY id", "SELECT id FROM flags WHERE (NOT b) IS TRUE ORDER BY id",
	"SELECT id, NOT b, b AND o, b OR o OR plain, b IS TRUE FROM flags ORDER BY id", "SELECT CASE WHEN b THEN 'yes' WHEN NOT b THEN 'no' ELSE '?' END FROM flags ORDER BY id", "SELECT count(*) FILTER (WHERE b), count(*) FILTER (WHERE NOT o) FROM flags", "SELECT b, count(*) FROM flags GROUP BY b HAVING b ORDER BY 2", "SELECT x.id, y.id FROM flags x JOIN flags y ON x.b AND y.o ORDER BY 1, 2", "SELECT x.id FROM flags x LEFT JOIN flags y ON NOT y.b ORDER BY 1",
	"SELECT id FROM (SELECT id, b AS c FROM flags) s WHERE c ORDER BY id", "WITH s AS (SELECT id, b AS c FROM flags) SELECT id FROM s WHERE NOT c ORDER BY id", "SELECT id FROM flags WHERE EXISTS (SELECT 1 FROM flags f WHERE f.b AND f.id = flags.id) ORDER BY id", "SELECT bool_or(plain) FROM flags WHERE b", "SELECT id FROM flags WHERE b = o ORDER BY id", "SELECT id FROM flags WHERE (b) = (true) ORDER BY id", "SELECT id FROM flags WHERE b <> NOT o ORDER BY id",
	"SELECT id FROM flags WHERE coalesce(b, false) ORDER BY id", "SELECT id FROM flags WHERE b::bool ORDER BY id", "SELECT id FROM flags WHERE b = (plain AND true) ORDER BY id", "SELECT id FROM flags ORDER BY b AND o, id",
	"CREATE VIEW on_flags AS SELECT id, b FROM flags WHERE b AND NOT o IS TRUE", "SELECT * FROM on_flags WHERE b ORDER BY id", "SELECT * FROM on_flags WHERE NOT b ORDER BY id",
	"UPDATE flags SET plain = NOT plain WHERE b RETURNING id, plain", "DELETE FROM flags WHERE NOT b AND o RETURNING id", "INSERT INTO flags (id, b) VALUES (1, false) ON CONFLICT (id) WHERE b AND NOT o DO UPDATE SET b = false WHERE flags.b RETURNING id, b", "INSERT INTO flags (id, b) VALUES (1, true) ON CONFLICT (id) DO UPDATE SET b = excluded.b WHERE NOT excluded.b OR flags.b IS FALSE RETURNING id, b",
	"MERGE INTO flags USING (VALUES (4, true)) v (id, p) ON flags.id = v.id AND flags.b WHEN MATCHED AND NOT flags.b THEN DELETE WHEN MATCHED AND flags.b THEN UPDATE SET plain = v.p", "INSERT INTO flags VALUES (101, true, true, false)",
	"PREPARE p (int) AS SELECT id FROM flags WHERE b AND id > $1 ORDER BY id", "EXECUTE p (1)", "DEALLOCATE p", "SELECT id FROM flags WHERE b AND", "SELECT id FROM flags WHERE b AND nothing", "SELECT * FROM flags ORDER BY id",
}

// TestConditions: a bool of mode equality or range can be a condition of its own.
func TestConditions(t *testing.T) {
	w, f := startTwins(t, []proxy.ColumnRule{column("flags", "b", "bool", "equality"), column("flags", "o", "bool", "equality")})
	for _, sql := range conditionQueries {
		before := w.refused
		if w.run(t, sql); w.refused > before {
			t.Log("refused: ", sql)
		}
	}
	// Columns of two domains, b <> NOT o, coalesce, a cast, and b = (plain AND true).
	if w.refused > 5 {
		t.Errorf("%d of %d refused: more than the reasons that are known", w.refused, len(conditionQueries))
	}
	if d := len(sealedColumns(t, f, "flags")); d != 2 {
		t.Errorf("%d columns are sealed, want 2", d)
	}
}
