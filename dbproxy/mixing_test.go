// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/sidekey/sidekey/proxy"
)

// bound runs a statement with one parameter of a declared type, and gives types and
// text of the result.
func bound(t *testing.T, conn *pgx.Conn, sql string, oid uint32, value string) (fields []uint32, rows []string, err error) {
	t.Helper()
	r := conn.PgConn().ExecParams(context.Background(), sql, [][]byte{[]byte(value)}, []uint32{oid}, nil, nil).Read()
	for _, f := range r.FieldDescriptions {
		fields = append(fields, f.DataTypeOID)
	}
	for _, row := range r.Rows {
		rows = append(rows, fmt.Sprintf("%q", row))
	}
	return fields, rows, r.Err
}

func mixed() []proxy.ColumnRule {
	return []proxy.ColumnRule{column("mixed", "s", "int2", "equality"), column("mixed", "i", "int4", "range"), column("mixed", "b", "int8", "equality"), column("mixed", "f", "float4", "equality"),
		column("mixed", "g", "float8", "random"), column("mixed", "n", "numeric(8,2)", "equality"), column("mixed", "d", "date", "range"), column("mixed", "ts", "timestamptz", "equality"),
		column("mixed", "e", "text", "equality"), column("mixed", "v", "varchar(5)", "equality"), column("mixed", "ip", "inet", "equality")}
}

// mixedDDL has a row of values and one of NULLs.
var mixedDDL = []string{"CREATE TABLE mixed (id int PRIMARY KEY, s int2, i int4, b int8, f float4, g float8, n numeric(8,2), d date, ts timestamptz, e text, v varchar(5), ip inet)",
	"INSERT INTO mixed VALUES (1, 3, 5, 7, 1.5, 2.5, 1.25, '2020-01-02', '2020-01-02 03:04:05Z', 'e', 'v', '10.0.0.1')", "INSERT INTO mixed (id) VALUES (2)"}

// TestMixedParameters has parameters of every type beside columns of every type, where
// the type of the parameter decides that of the result: it is PostgreSQL's, or refused.
func TestMixedParameters(t *testing.T) {
	f, plain := start(t, shared, mixed()), start(t, shared, nil)
	conn, direct := f.connect(t, pgx.QueryExecModeExec), plain.direct(t)
	for _, sql := range mixedDDL {
		exec1(t, conn, sql)
		exec1(t, direct, sql)
	}
	params := []struct {
		oid    uint32
		values []string
	}{
		{0, []string{"5", "70000", "5000000000", "x", "2020-01-02"}}, {pgtype.Int2OID, []string{"5"}}, {pgtype.Int4OID, []string{"5", "70000", "16777217"}}, {pgtype.Int8OID, []string{"5", "5000000000", "9007199254740993"}},
		{pgtype.NumericOID, []string{"5", "1.25", "1.255", "123456789.00", "1e30"}}, {pgtype.Float4OID, []string{"1.5", "1e30"}}, {pgtype.Float8OID, []string{"1.5", "0.1", "1e300"}},
		{pgtype.DateOID, []string{"2020-01-02"}}, {pgtype.TimestampOID, []string{"2020-01-02 00:00:00", "2020-01-02 03:04:05"}}, {pgtype.TimestamptzOID, []string{"2020-01-02 03:04:05Z"}},
		{pgtype.TextOID, []string{"v", "longer"}}, {pgtype.VarcharOID, []string{"v", "longer"}}, {pgtype.InetOID, []string{"10.0.0.1"}}, {pgtype.CIDROID, []string{"10.0.0.0/8"}},
	}
	answered, refused, version := 0, 0, serverVersion(t)
	for _, col := range []string{"s", "i", "b", "f", "g", "n", "d", "ts", "e", "v", "ip"} {
		for _, form := range []string{"SELECT coalesce(%s, $1) FROM mixed ORDER BY id", "SELECT CASE WHEN id = 1 THEN %s ELSE $1 END FROM mixed ORDER BY id", "SELECT nullif(%s, $1) FROM mixed ORDER BY id", "SELECT greatest(%s, $1) FROM mixed ORDER BY id",
			"SELECT %s FROM mixed UNION ALL SELECT $1", "SELECT ARRAY[%s, $1] FROM mixed ORDER BY id", "SELECT lag(%s, 1, $1) OVER (ORDER BY id) FROM mixed", "SELECT id FROM mixed WHERE coalesce(%s, $1) = %[1]s", "SELECT x FROM (SELECT coalesce(%s, $1) AS x FROM mixed) m WHERE x IS NOT NULL"} {
			for _, p := range params {
				for _, v := range p.values {
					sql := fmt.Sprintf(form, col)
					fields, rows, err := bound(t, conn, sql, p.oid, v)
					if refusal(err) {
						refused++
						continue
					}
					answered++
					wantFields, wantRows, wantErr := bound(t, direct, sql, p.oid, v)
					if version < 14 && strings.Contains(form, "lag(") && err == nil && state(wantErr) == "42883" {
						continue // the proxy knows what is given in its place by its own type, as PostgreSQL since 14
					}
					if state(err) != state(wantErr) && !(state(err) == "22007" && state(wantErr) == "22008") { // neither is a date
						t.Errorf("%s, $1 of type %d is %s: got %v, want %v", sql, p.oid, v, err, wantErr)
						continue
					}
					// A text may be told as a varchar and the other way round.
					for i := range min(len(fields), len(wantFields)) {
						if texts := []uint32{pgtype.TextOID, pgtype.VarcharOID}; fields[i] != wantFields[i] && (fields[i] != texts[0] && fields[i] != texts[1] || wantFields[i] != texts[0] && wantFields[i] != texts[1]) {
							t.Errorf("%s, $1 of type %d: got columns of type %v, want %v", sql, p.oid, fields, wantFields)
						}
					}
					if d := cmp.Diff(wantRows, rows); d != "" {
						t.Errorf("%s, $1 of type %d is %s: %s", sql, p.oid, v, d)
					}
				}
			}
		}
	}
	t.Logf("%d answered, %d refused", answered, refused)
	if answered < 600 {
		t.Errorf("got %d answers: too much is refused", answered)
	}
	// What drivers send that know the column.
	for sql, p := range map[string]any{"SELECT coalesce(i, $1) FROM mixed WHERE id = 2": int32(9), "SELECT coalesce(e, $1) FROM mixed WHERE id = 2": "x", "SELECT coalesce(b, $1) FROM mixed WHERE id = 2": int32(9)} {
		var got any
		if err := conn.QueryRow(t.Context(), sql, p).Scan(&got); err != nil || fmt.Sprint(got) != fmt.Sprint(p) {
			t.Errorf("%s: got %v, %v", sql, got, err)
		}
	}
	if _, _, err := bound(t, conn, "SELECT coalesce(i, $1) FROM mixed", pgtype.Int8OID, "5000000000"); state(err) != "0A000" {
		t.Errorf("an int8 that no int4 is: got %v", err)
	}
}

// TestMixedConstants likewise has constants of the text.
func TestMixedConstants(t *testing.T) {
	f, plain := start(t, shared, mixed()), start(t, shared, nil)
	w := &twins{proxied: f.connect(t, pgx.QueryExecModeSimpleProtocol), direct: plain.direct(t)}
	for _, sql := range mixedDDL {
		w.run(t, sql)
	}
	tried := 0
	for _, col := range []string{"s", "i", "b", "f", "g", "n", "d", "ts", "e", "v", "ip"} {
		for _, k := range []string{"5", "70000", "5000000000", "9007199254740993", "1.25", "123456789.00", "'5'", "5::int2", "5::int8", "1.5::float8", "16777217", "date '2020-01-02'", "timestamp '2020-01-02 00:00:01'", "'v'::varchar", "'longer'::text", "inet '10.0.0.1'"} {
			for _, form := range []string{"SELECT coalesce(%s, %s) FROM mixed ORDER BY id", "SELECT nullif(%s, %s) FROM mixed ORDER BY id", "SELECT greatest(%s, %s) FROM mixed ORDER BY id", "SELECT ARRAY[%s, %s] FROM mixed ORDER BY id"} {
				w.run(t, fmt.Sprintf(form, col, k))
				tried++
			}
		}
	}
	t.Logf("%d of %d refused", w.refused, tried)
	if w.refused > tried*85/100 {
		t.Error("too much is refused")
	}
}
