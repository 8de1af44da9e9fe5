// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/sidekey/sidekey/proxy"
)

// TestPartsWithoutTypes: what CASE, COALESCE, NULLIF, VALUES and UNION are put together
// of is text if nothing says otherwise, not of the type that it is compared with.
func TestPartsWithoutTypes(t *testing.T) {
	columns := []proxy.ColumnRule{column("untyped", "c", "char(5)", "equality"), column("untyped", "i", "int4", "equality"), column("untyped", "e", "text", "equality"), column("untyped", "d", "date", "equality")}
	f, plain := start(t, shared, columns), start(t, shared, nil)
	w := &twins{proxied: f.connect(t, pgx.QueryExecModeSimpleProtocol), direct: plain.direct(t)}
	for _, sql := range []string{"CREATE TABLE untyped (id int PRIMARY KEY, c char(5), i int, e text, d date)", "INSERT INTO untyped VALUES (1, 'ab', 10, 'x', '2020-01-01'), (2, 'cd', 20, 'y', '2020-01-02')"} {
		w.run(t, sql)
	}
	for sql, answered := range map[string]bool{
		"SELECT id FROM untyped WHERE c = CASE WHEN id = 1 THEN 'ab  ' END": true, "SELECT id FROM untyped WHERE c = CASE WHEN id = 1 THEN 'ab' END": true, "SELECT id FROM untyped WHERE c = nullif('ab  ', 'x')": true,
		"SELECT CASE 'ab  ' WHEN c THEN 1 END FROM untyped": true, "SELECT CASE c WHEN 'ab  ' THEN 1 END FROM untyped": true, "SELECT id FROM untyped WHERE c = (VALUES ('ab  '))": true, "SELECT id FROM untyped WHERE c = coalesce('ab ', 'x')": false,
		"SELECT id FROM untyped WHERE i = coalesce('10', '20')": false, "SELECT id FROM untyped WHERE i = CASE WHEN id = 1 THEN '10' ELSE '20' END": false, "SELECT i FROM untyped UNION (VALUES ('10'))": false,
		"SELECT i FROM untyped UNION (SELECT '10' UNION SELECT '11')": false, "SELECT '10' UNION ALL SELECT '7' UNION ALL SELECT i FROM untyped": false, "SELECT id FROM untyped WHERE i = greatest('10', '20')": false, "SELECT CASE '10' WHEN i THEN 1 END FROM untyped": false,
		"INSERT INTO untyped (id, i) SELECT 9, '10' UNION ALL SELECT 10, '7'": false, "INSERT INTO untyped (id, i) VALUES (9, coalesce('10', '5'))": false, "INSERT INTO untyped (id, i) VALUES (9, '10'), (10, '11') ORDER BY 1": false,
		// A cast gives its type to the parts.
		"SELECT id FROM untyped WHERE i = (CASE WHEN id = 1 THEN '10' ELSE '20' END)::int ORDER BY id": true, "UPDATE untyped SET i = CAST(coalesce('10', '20') AS integer) WHERE id = 1 RETURNING i": true,
		"UPDATE untyped SET d = (CASE WHEN id = 1 THEN '2020-01-01' WHEN id = 2 THEN '2020-01-02' ELSE NULL END)::date RETURNING d": true,
		"UPDATE untyped SET e = CASE WHEN id = 1 THEN 'x' WHEN id = 2 THEN 'y' END RETURNING e":                                     true, "SELECT id FROM untyped WHERE e = coalesce('x', 'y')": true, "SELECT 'x' UNION SELECT 'y' UNION SELECT e FROM untyped": true,
		"UPDATE untyped SET i = CASE WHEN id = 1 THEN '10' ELSE i END RETURNING i": true, "SELECT i FROM untyped UNION SELECT '10'": true,
	} {
		before := w.refused
		if w.run(t, sql); answered && w.refused > before {
			t.Errorf("%s is refused", sql)
		}
	}
}
