// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"fmt"
	"testing"
)

// arrayLiterals are lists as psycopg2, Sequelize and people write them.
var arrayLiterals = map[string][]string{
	"s": {"ARRAY['a','b,1',NULL,'it''s \\ \"q\" {}']", "ARRAY['a','b']::text[]", "CAST(ARRAY['a'] AS text[])", "ARRAY[]::text[]", "ARRAY['']", "ARRAY['NULL', NULL]", "array [ 'a' , -- one\n E'b\\n' ]",
		"ARRAY['a'::text, 'b'::text]", "ARRAY[['a','b'],['c','d']]", "ARRAY[ARRAY['a'],ARRAY[NULL]]", "ARRAY['a'::varchar]::varchar[]", "ARRAY[1,2]", "ARRAY['a']::varchar(255)[]", "ARRAY[['a'],['b','c']]", "ARRAY[NULL]::text[]", "ARRAY[]"},
	"v": {"ARRAY['abc','d']::VARCHAR(3)[]", "ARRAY['abcdef']::VARCHAR(3)[]", "ARRAY['abcdef']", "ARRAY['abc']::text[]", "ARRAY['äöü€']::varchar(3)[]"},
	"n": {"ARRAY[1,-2,NULL]", "ARRAY[1,2]::integer[]", "ARRAY[1,2]::bigint[]", "ARRAY['1','2']::int[]", "ARRAY['1','2']", "ARRAY[3000000000]", "ARRAY[1.5]", "ARRAY['x']::int[]", "'{1,2}'", "ARRAY[1,2]::text[]"},
	"d": {"ARRAY['2020-01-02'::date, '2021-03-04'::date]", "ARRAY['2020-01-02'::date]::date[]", "ARRAY['2020-01-02']::date[]", "ARRAY['2020-13-02'::date]", "ARRAY['2020-01-02']", "ARRAY[date '2020-01-02']"},
	"u": {"ARRAY['00000000-0000-0000-0000-00000000000A'::uuid]", "ARRAY['00000000-0000-0000-0000-00000000000A'::uuid]::uuid[]"},
	"p": {"ARRAY[1.5, 2.25]", "ARRAY[1, 2]", "ARRAY[1.005]::numeric(8,2)[]", "ARRAY['1.005']::numeric[]", "ARRAY['NaN']::numeric[]"},
	"b": {"ARRAY[true,false,NULL]", "ARRAY['t','f']::bool[]", "ARRAY[true]::bool[]"},
	"x": {"ARRAY['\\x61'::bytea, '\\x0022'::bytea]", "ARRAY['\\x61']::bytea[]"},
	"j": {"ARRAY['{\"a\": [1, \"b\"]}', NULL]::jsonb[]", "ARRAY['{\"a\": 1}'::jsonb]"},
	"t": {"ARRAY['2020-01-02T03:04:05.678+02:00'::timestamptz]", "ARRAY['2020-01-02 03:04']::timestamptz[]"},
}

// TestArrayLiterals: a list of literals is one value of a column of arrays.
func TestArrayLiterals(t *testing.T) {
	types := map[string]string{"s": "text[]", "v": "varchar(3)[]", "n": "int4[]", "d": "date[]", "u": "uuid[]", "p": "numeric(8,2)[]", "b": "bool[]", "x": "bytea[]", "j": "jsonb[]", "t": "timestamptz[]"}
	columns := attacked()[:0]
	ddl := "CREATE TABLE arrs (id int PRIMARY KEY"
	for name, typ := range types {
		columns = append(columns, column("arrs", name, typ, "random"))
		ddl += fmt.Sprintf(", %s %s", name, typ)
	}
	w, _ := startTwins(t, columns)
	w.run(t, ddl+")")
	id := 0
	for name, literals := range arrayLiterals {
		for _, l := range literals {
			id++
			w.run(t, fmt.Sprintf("INSERT INTO arrs (id, %s) VALUES (%d, %s) RETURNING %s", name, id, l, name))
			w.run(t, fmt.Sprintf("INSERT INTO arrs (id, %s) VALUES (%d, NULL), (%d, %s) ON CONFLICT (id) DO UPDATE SET %s = %s", name, id, id+1000, l, name, l))
			w.run(t, fmt.Sprintf("UPDATE arrs SET (id, %s) = (%d, %s) WHERE id = %d RETURNING %s", name, id, l, id, name))
		}
	}
	// As Django's bulk_update writes them.
	for _, set := range []string{
		"s = CAST(CASE WHEN (arrs.id = 1) THEN ARRAY['a','b']::text[] WHEN (arrs.id = 2) THEN '{}'::text[] WHEN id = 3 THEN '{x,NULL}'::text[] ELSE NULL END AS text[])::text[]",
		"s = (CASE WHEN id = ANY (ARRAY[1, 2]) AND 'q' = ANY (ARRAY['q']) THEN ARRAY['q'] ELSE s END)", "s = coalesce(s, ARRAY['none'], ARRAY['z']::text[])", "s = CASE WHEN id < 3 THEN ARRAY['a', plain::text] ELSE s END", "s = coalesce(s::text[], '{z}')",
		"n = CASE id WHEN 1 THEN ARRAY[1,2]::bigint[] ELSE ARRAY[7]::bigint[] END", "v = CASE WHEN id > 5 THEN ARRAY['abc']::varchar(3)[] ELSE v END", "d = (CASE WHEN id > 5 THEN '{2020-01-01}'::date[] ELSE NULL::date[] END)::date[]",
	} {
		w.run(t, "UPDATE arrs SET "+set+" WHERE id < 8")
		w.run(t, "SELECT id, s, v, n, d FROM arrs ORDER BY id")
	}
	w.run(t, "SELECT * FROM arrs ORDER BY id")
	// ARRAY[], lists of unequal length and with a column, casts between kinds of types, and what the
	// server refuses too.
	if w.refused > 16 {
		t.Errorf("%d refused: more than the reasons that are known", w.refused)
	}
}
