// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import "testing"

// kindQueries have types whose constants look otherwise than their values.
var kindQueries = []string{
	"CREATE TABLE kinds (id int PRIMARY KEY, c char(4), t time, ts timestamp(0), tz timestamptz, f float8, iv interval, ip inet, b bool, d date, l int8, s int2, tags text[], j jsonb, x bytea)",
	"INSERT INTO kinds VALUES (1, 'ab', '10:11:12.5', '2020-01-02 03:04:05.6', '2020-01-02 03:04:05+02', 1.5, '1 mon 2 days', '10.0.0.1/8', true, '2020-01-02', 5, 6, '{a,\"b c\",NULL}', '{\"a\": 1}', '\\x00ff'), (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
	"SELECT * FROM kinds ORDER BY id", "SELECT coalesce(c, 'x') FROM kinds ORDER BY id", "SELECT coalesce(c, c), c::char(4), CASE WHEN id > 0 THEN c END FROM kinds ORDER BY id", "SELECT c FROM kinds UNION ALL SELECT 'zz'", "SELECT id FROM kinds WHERE c = 'ab'", "SELECT id FROM kinds WHERE c = 'ab  '", "SELECT nullif(c, 'ab') FROM kinds ORDER BY id",
	"SELECT coalesce(t, '01:02:03.123456'), coalesce(ts, '2000-01-01 00:00:00.7'), coalesce(tz, '2000-01-01 00:00:00+00') FROM kinds ORDER BY id", "SELECT coalesce(ts, '2000-01-01 00:00:00.7'::timestamp) FROM kinds ORDER BY id", "SELECT coalesce(ts, '2000-01-01'::date) FROM kinds ORDER BY id", "SELECT coalesce(tz, '2000-01-01'::date) FROM kinds ORDER BY id", "SELECT coalesce(f, 2), coalesce(f, '1e5'), coalesce(f, 0.1) FROM kinds ORDER BY id",
	"SELECT coalesce(iv, '3 days') FROM kinds ORDER BY id", "SELECT coalesce(ip, '1.2.3.4') FROM kinds ORDER BY id", "SELECT coalesce(b, false), coalesce(b, 'no'), b IS NULL FROM kinds ORDER BY id", "SELECT coalesce(d, '2021-02-03'), coalesce(d, date '2021-02-03') FROM kinds ORDER BY id", "SELECT coalesce(l, 7), coalesce(l, '8'), coalesce(s, '9') FROM kinds ORDER BY id", "SELECT coalesce(s, 9) FROM kinds ORDER BY id", "SELECT coalesce(l, 7::smallint) FROM kinds ORDER BY id",
	"SELECT coalesce(tags, '{z}'), coalesce(tags, ARRAY['z']) FROM kinds ORDER BY id", "SELECT coalesce(tags, '{z}'::text[]) FROM kinds ORDER BY id", "SELECT coalesce(tags, '{z}') FROM kinds ORDER BY id", "SELECT tags::text[] FROM kinds ORDER BY id", "SELECT array_agg(tags) FROM kinds", "SELECT unnest(tags) FROM kinds", "SELECT id FROM kinds WHERE 'a' = ANY (tags)", "SELECT coalesce(j, '{\"b\": 2}') FROM kinds ORDER BY id", "SELECT j->'a' FROM kinds", "SELECT coalesce(x, '\\xab'), coalesce(x, 'abc') FROM kinds ORDER BY id",
	"SELECT array_agg(c ORDER BY id), array_agg(t ORDER BY id), array_agg(ts ORDER BY id), array_agg(tz ORDER BY id), array_agg(f ORDER BY id), array_agg(iv ORDER BY id), array_agg(ip ORDER BY id), array_agg(b ORDER BY id), array_agg(d ORDER BY id), array_agg(l ORDER BY id), array_agg(s ORDER BY id), array_agg(j ORDER BY id), array_agg(x ORDER BY id) FROM kinds",
	"SELECT f FROM kinds UNION ALL SELECT 3", "SELECT l FROM kinds UNION ALL SELECT 3", "SELECT s FROM kinds UNION ALL SELECT 3", "SELECT d FROM kinds UNION ALL SELECT '2020-05-05'", "SELECT ts FROM kinds UNION ALL SELECT d FROM kinds", "SELECT id FROM kinds WHERE ts = '2020-01-02 03:04:06'", "SELECT id FROM kinds WHERE ts = '2020-01-02 03:04:05.6'", "SELECT id FROM kinds WHERE l IN (SELECT 5)", "SELECT id FROM kinds WHERE l = (SELECT '5'::int)", "SELECT id FROM kinds WHERE (l, s) = (5, 6)", "SELECT id FROM kinds WHERE t = time '10:11:12.5' AND b", "SELECT id FROM kinds WHERE b = true AND NOT (b = false)",
	"UPDATE kinds SET tags = '{q,r}'::text[] WHERE id = 2 RETURNING tags", "UPDATE kinds SET tags = ARRAY['q'] WHERE id = 2", "UPDATE kinds SET ts = coalesce(ts, '2001-01-01 10:00:00.6'), c = coalesce(c, 'new'), f = coalesce(f, 7) WHERE id = 2 RETURNING ts, c, f", "INSERT INTO kinds (id, c, ts, tags) SELECT 3, 'toolong', '2020-01-01', NULL", "INSERT INTO kinds (id, c, ts, tags) SELECT 3, 'ok   ', '2020-01-01 00:00:00.5', '{a}' RETURNING c, ts, tags", "SELECT * FROM kinds ORDER BY id",
}

// TestKinds has values of every kind of type that go through expressions.
func TestKinds(t *testing.T) {
	columns := attacked()[:0]
	for name, typ := range map[string]string{"c": "char(4)", "t": "time", "ts": "timestamp(0)", "tz": "timestamptz", "f": "float8", "ip": "inet", "b": "bool", "d": "date", "l": "int8", "s": "int2"} {
		columns = append(columns, column("kinds", name, typ, "equality"))
	}
	for name, typ := range map[string]string{"iv": "interval", "tags": "text[]", "j": "jsonb", "x": "bytea"} {
		columns = append(columns, column("kinds", name, typ, "random"))
	}
	w, _ := startTwins(t, columns)
	for _, sql := range kindQueries {
		w.run(t, sql)
	}
	if w.refused > 14 {
		t.Errorf("%d of %d refused: more than the reasons that are known", w.refused, len(kindQueries))
	}
}
