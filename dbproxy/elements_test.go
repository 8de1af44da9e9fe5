// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
)

// TestTypesOfElements: the elements of ARRAY[..] and the like have one type, as which
// those without one are read. It is not that of the column.
func TestTypesOfElements(t *testing.T) {
	f, plain := start(t, shared, mixed()), start(t, shared, nil)
	w := &twins{proxied: f.connect(t, pgx.QueryExecModeSimpleProtocol), direct: plain.direct(t)}
	for _, sql := range mixedDDL {
		w.run(t, sql)
	}
	for _, c := range []struct {
		where   string
		answers bool // or it may be refused
	}{
		{"e = ANY (ARRAY['e'::varchar, 'y'])", true}, {"e = ANY (ARRAY['e'::varchar(3), 'elongated'])", true}, {"v = ANY (ARRAY['x'::text, 'v', 'longer than five'])", true}, {"v = ANY (ARRAY['x'::varchar, 'v'])", true},
		{"i = ANY (ARRAY[1::int8, '5'])", true}, {"i = ANY (ARRAY['5', 1::int8])", true}, {"i = ANY (ARRAY[1::int8, '5000000000'])", true}, {"i < ANY (ARRAY[1::int8, '5000000000'])", true}, {"i > ANY (ARRAY[1.5, '4.5'])", true},
		{"i = ANY (ARRAY[1, '5000000000'])", true}, {"s = ANY (ARRAY[1, '70000', '3'])", true}, {"b = ANY (ARRAY[1, '5000000000'])", true}, {"b = ANY (ARRAY[1::int2, '70000'])", true}, {"i = ANY (ARRAY['5', '6'])", false}, // no operator for integer and text
		{"i = ANY (ARRAY['5', 6.5, 7])", true}, {"i = ANY (ARRAY[1::int8, 'x'])", true}, {"i = ANY (ARRAY[true, '5'])", false}, {"n = ANY (ARRAY[1, '1.25'])", false}, {"n = ANY (ARRAY[1.1, '1.25'])", false}, {"n = ANY (ARRAY[1.1, '1.250'])", false},
		{"f = ANY (ARRAY['0.1'::real, 1.5])", true}, {"f = ANY (ARRAY['0.1'::real, '1.5'])", true}, {"f = ANY (ARRAY[0.1, '1.5'])", false}, {"f = ANY (ARRAY[0.1::float8, '1.5'])", false}, {"b = ANY (ARRAY[7::float8, 9007199254740993])", false},
		{"d = ANY (ARRAY['2020-01-02'::timestamp, '2020-01-02 10:00'])", true}, {"d < ANY (ARRAY['2020-01-01'::timestamp, '2020-01-02 10:00'])", true}, {"d = ANY (ARRAY['2020-01-02'::date, '2020-01-03'])", true}, {"d = ANY (ARRAY['2020-01-03'::date, '2020-01-02 10:00'])", true},
		{"ts = ANY (ARRAY['2020-01-02 03:04:05Z'::timestamptz, '2020-01-03'])", true}, {"ip = ANY (ARRAY['10.0.0.1'::inet, '10.0.0.2'])", true}, {"ip = ANY (ARRAY['10.0.0.1/32'::cidr, '10.0.0.0/8'])", true}, {"ip = ANY (ARRAY['10.0.0.1/32'::cidr, '10.0.0.1/8'])", true},
		{"i = coalesce(NULL, 1::int8, '5')", true}, {"i = coalesce('5', 1::int8)", true}, {"i < coalesce('5000000000', 1::int8)", true}, {"i = CASE WHEN id = 1 THEN '5' ELSE 6::int8 END", true}, {"i <= greatest('5000000000', 6::int8)", true}, {"coalesce(i, 6::int8, '5000000000') = 5", true},
		{"i IN (SELECT x FROM (VALUES (1::int8), ('5')) k (x))", true}, {"i < ANY (SELECT x FROM (VALUES (1::int8), ('5000000000')) k (x))", true}, {"i IN (SELECT 1::int8 UNION SELECT '5')", true}, {"i < ANY (SELECT '5000000000' UNION SELECT 1::int8)", true}, {"i = ANY (ARRAY[1, '5']::int4[])", true},
		{"f = ANY (SELECT x FROM (VALUES ('0.1'::real), (1.5)) k (x))", true}, {"f = ANY (SELECT x FROM (VALUES ('0.1'::real), (0.2::numeric)) k (x))", false},
	} {
		before := w.refused
		w.run(t, "SELECT id FROM mixed WHERE "+c.where+" ORDER BY id")
		if c.answers && w.refused > before {
			t.Errorf("%s is refused", c.where)
		}
	}
	exec1(t, w.proxied, "UPDATE mixed SET f = '0.2' WHERE id = 1")
	exec1(t, w.direct, "UPDATE mixed SET f = '0.2' WHERE id = 1")
	w.run(t, "SELECT id FROM mixed WHERE f = ANY (ARRAY['0.1'::real, 0.2])")
	w.run(t, "SELECT id FROM mixed WHERE f = ANY (ARRAY['0.1'::float8, 0.2])")
	// A parameter has the type of the others, too.
	for sql, want := range map[string]string{
		"SELECT id FROM mixed WHERE i = ANY (ARRAY[1::int8, $1])": "0A000", "SELECT id FROM mixed WHERE i = ANY (ARRAY[1, $1])": "", "SELECT id FROM mixed WHERE e = ANY (ARRAY['x'::varchar, $1])": "", "SELECT id FROM mixed WHERE i = coalesce($1, 1::int8)": "0A000",
		"SELECT id FROM mixed WHERE i = ANY (ARRAY[1::int8, $1::int4])": "",
	} {
		if _, _, err := bound(t, w.proxied, sql, 0, "5"); state(err) != want {
			t.Errorf("%s: got %v, want %q", sql, err, want)
		}
	}
}
