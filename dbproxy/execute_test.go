// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
)

// TestArgumentsOfExecute: an argument of EXECUTE is assigned to the parameter's type,
// whatever type it has itself, before it is compared or stored.
func TestArgumentsOfExecute(t *testing.T) {
	f, plain := start(t, shared, mixed()), start(t, shared, nil)
	w := &twins{proxied: f.connect(t, pgx.QueryExecModeSimpleProtocol), direct: plain.direct(t)}
	for _, sql := range mixedDDL {
		w.run(t, sql)
	}
	for _, c := range []struct {
		prepare string
		execute []string
	}{
		{"p AS SELECT id FROM mixed WHERE i = $1", []string{"5", "5.4", "4.5", "'5.4'", "5000000000", "5::int8", "5.4::numeric(4,1)", "true", "'5'::text", "NULL"}},
		{"p (int) AS SELECT id FROM mixed WHERE i < $1", []string{"5.4", "5.5", "5000000000", "5.4::float8"}},
		{"p (int) AS SELECT id FROM mixed WHERE b = $1", []string{"7.4", "5000000000"}},
		{"p (int8) AS SELECT id FROM mixed WHERE i = $1", []string{"5.4", "5000000000"}},
		{"p AS SELECT id FROM mixed WHERE n = $1::numeric(8,1)", []string{"1.25", "'1.25'", "1.2", "1"}},
		{"p AS SELECT id FROM mixed WHERE n = $1", []string{"1.25", "1.252", "'1.25'", "1.25::float8"}},
		{"p (float4) AS SELECT id FROM mixed WHERE f = $1", []string{"1.5", "1.5::float8", "'1.5'"}},
		{"p (date) AS SELECT id FROM mixed WHERE d >= $1", []string{"'2020-01-02 10:00'::timestamp", "'2020-01-02 10:00'", "timestamptz '2020-01-02 10:00Z'", "5"}},
		{"p (text) AS SELECT id FROM mixed WHERE e = $1", []string{"'e'::varchar", "'e '::char(4)", "5", "1.50", "true"}},
		{"p (varchar) AS SELECT id FROM mixed WHERE v = $1", []string{"'v'::text", "'v '::text"}},
		{"p (int[]) AS SELECT id FROM mixed WHERE i = ANY ($1)", []string{"ARRAY[5.4, 6]", "ARRAY[5, '6']", "ARRAY['5', '6']", "ARRAY[5000000000]", "ARRAY[5.4, '5.4']", "ARRAY[5, NULL]", "'{5,6}'", "'{5.4}'"}},
		{"p (text[]) AS SELECT id FROM mixed WHERE e = ANY ($1)", []string{"ARRAY['e', 'x']", "ARRAY['e'::varchar, 'x']", "'{e}'"}},
		{"p (float8[]) AS SELECT id FROM mixed WHERE f = ANY ($1)", []string{"ARRAY[1.5, 0.1::float4]", "ARRAY[1.5]"}},
		{"p (int) AS UPDATE mixed SET b = $1 RETURNING b", []string{"7.6", "5000000000", "'7'"}},
		{"p (timestamptz) AS UPDATE mixed SET ts = $1 RETURNING ts", []string{"'2020-01-01'::date", "'2020-01-01 12:00'::timestamp", "'2020-01-01 12:00'"}},
		{"p (text) AS UPDATE mixed SET e = $1 RETURNING e", []string{"5", "1.50", "true", "-5", "date '2020-01-01'"}},
		{"p (bpchar) AS UPDATE mixed SET v = $1 RETURNING v", []string{"'v   '::text", "'v'"}},
	} {
		exec1(t, w.proxied, "PREPARE "+c.prepare)
		exec1(t, w.direct, "PREPARE "+c.prepare)
		for _, argument := range c.execute {
			w.run(t, "EXECUTE p ("+argument+")")
		}
		w.run(t, "DEALLOCATE p")
	}
	if t.Logf("%d refused", w.refused); w.refused > 12 {
		t.Errorf("%d arguments are refused, which is more than the reasons that are known", w.refused)
	}
}
