// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/sidekey/sidekey/proxy"
)

// TestConversions stores constants of every type in protected and plain columns of
// every type: what is stored and what is refused is the same.
func TestConversions(t *testing.T) {
	types := []string{"text", "varchar(5)", "char(4)", "citext", "int2", "int4", "int8", "float4", "float8", "numeric(10,2)", "numeric", "bool", "date", "time", "timestamp", "timestamp(0)", "timestamptz", "interval", "uuid", "bytea", "json", "jsonb", "inet", "cidr", "mood", "int8[]", "text[]"}
	more := []string{"true", "false", "'t'::bool", `'\x01ff'::bytea`, "'1 day 02:03:04'::interval", `'{"a": 1}'::json`, `'{"a": 1}'::jsonb`, "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid", "'10.1.2.3/8'::inet", "'10.0.0.0/8'::cidr",
		"2.5", "3.5", "-2.5", "'2.5'::float8", "'3.5'::float8", "'2147483647.5'::float8", "'1e-50'::float8", "'{1,2}'::int[]", "'{1,2}'::smallint[]", "'{a,NULL}'::varchar[]", "'12:34:56.789'::time", "'2024-07-02 03:04:05.678+00'::timestamptz", "'0.1'::float4", "'1.005'::numeric",
		"'abcdef'::text", "'abcde  '::text", "'12:34:56.789'::time(0)", "'2024-07-02 03:04:05.678'::timestamp(1)", "'1.25'::numeric(5,1)", "10::smallint", "1.5::real"}
	var columns []proxy.ColumnRule
	decl := ""
	for i, typ := range types {
		columns = append(columns, column("types", fmt.Sprintf("c%d", i), ruleType(typ), "random"))
		decl += fmt.Sprintf(", c%d %s, p%d %s", i, typ, i, typ)
	}
	f := start(t, shared, columns)
	conn := f.connect(t, pgx.QueryExecModeSimpleProtocol)
	exec1(t, conn, "SET TimeZone TO 'Europe/Paris'")
	exec1(t, conn, "CREATE EXTENSION citext")
	exec1(t, conn, "CREATE TYPE mood AS ENUM ('sad', 'so so', 'ok')")
	exec1(t, conn, "CREATE TABLE types (id serial"+decl+")")
	for i, typ := range types {
		for _, k := range append(more, constants...) {
			got := storeAndRead(t, conn, fmt.Sprintf("c%d", i), k)
			want := storeAndRead(t, conn, fmt.Sprintf("p%d", i), k)
			if got == "42804" && want == "22P02" && strings.HasSuffix(k, "Infinity'::numeric") {
				continue // neither a numeric before 14 nor of the column's type
			}
			if typ == "time" && got == "22008" && want == `""` {
				continue // of an infinite timestamp PostgreSQL stores NULL
			}
			if got != want {
				t.Errorf("%s into %s: got %s, want %s", k, typ, got, want)
			}
		}
	}
}

// storeAndRead gives what is read back, or the SQLSTATE.
func storeAndRead(t *testing.T, conn *pgx.Conn, col, constant string) string {
	t.Helper()
	sql := fmt.Sprintf("INSERT INTO types (%s) VALUES (%s); SELECT %s FROM types ORDER BY id DESC LIMIT 1", col, constant, col)
	results, err := conn.PgConn().Exec(t.Context(), sql).ReadAll()
	if err != nil {
		return sqlState(err)
	}
	return fmt.Sprintf("%q", results[1].Rows[0][0])
}

// TestDeclaredParameters binds parameters of declared types in both formats.
func TestDeclaredParameters(t *testing.T) {
	f := start(t, shared, []proxy.ColumnRule{
		column("types", "i", "int4", "equality"), column("types", "n", "numeric(10,2)", "equality"), column("types", "d", "date", "equality"), column("types", "c", "char(3)", "equality"),
		column("types", "m", "enum(mood: sad, ok)", "equality"), column("types", "a", "int8[]", "random"), column("types", "r", "int8", "range")})
	conn := f.connect(t, pgx.QueryExecModeExec)
	exec1(t, conn, "CREATE TYPE mood AS ENUM ('sad', 'ok')")
	exec1(t, conn, "CREATE TABLE types (i integer, n numeric(10,2), d date, c char(3), m mood, a int8[], r bigint)")
	exec1(t, conn, "INSERT INTO types VALUES (5, 1.50, '2000-01-01', 'ab', 'ok', '{1}', -7)")
	var mood uint32
	if err := f.direct(t).QueryRow(t.Context(), "SELECT 'mood'::regtype::oid").Scan(&mood); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		where string
		oid   uint32
		value any
		want  string // how many rows, or the SQLSTATE
	}{
		{"i = $1", pgtype.NumericOID, "5.0", "1"}, {"i = $1", pgtype.NumericOID, "5.5", "0"}, {"i = $1", pgtype.Int8OID, int64(3000000000), "0"}, {"i = $1", pgtype.Float8OID, 5.0, "1"},
		{"i <> $1", pgtype.Int8OID, int64(3000000000), "1"}, {"i = $1", pgtype.TextOID, "5", "42804"}, {"i = $1", 0, "5.5", "22P02"}, {"i = ANY ($1)", pgtype.Int8ArrayOID, []int64{3000000000, 5}, "1"},
		{"n = $1", pgtype.Float8OID, 1.5, "1"}, {"n = $1", pgtype.NumericOID, "1.505", "0"}, {"n = $1::numeric(10,1)", 0, "1.5", "1"}, {"n = $1::numeric(10,1)", 0, "1.46", "1"}, {"n = $1", pgtype.Int4OID, int32(1), "0"},
		{"d = $1", pgtype.TimestampOID, "2000-01-01 00:00:00", "1"}, {"d = $1", pgtype.TimestampOID, "2000-01-01 00:00:01", "0"}, {"d = $1", pgtype.TimestamptzOID, "2000-01-01 00:00:00+00", "42804"},
		{"c = $1", pgtype.TextOID, "ab", "1"}, {"c = $1", pgtype.TextOID, "ab ", "0"}, {"c = $1", pgtype.VarcharOID, "ab ", "1"}, {"c = $1", 0, "ab   ", "1"},
		{"m = $1", 0, "ok", "1"}, {"m = $1", mood, "ok", "1"}, {"m = $1", mood, "happy", "22P02"}, {"m = $1", pgtype.TextOID, "ok", "1"}, {"m = $1", pgtype.VarcharOID, "ok", "42804"}, {"m = ANY ($1)", 0, "{ok,sad}", "1"},
		{"r = $1", pgtype.Int2OID, int16(-7), "1"}, {"r = $1", pgtype.NumericOID, "-7.00", "1"}, {"r = $1", pgtype.NumericOID, "1e30", "0"},
	} {
		for format := range int16(2) {
			value, ok := encodeAs(t, c.oid, format, c.value)
			if !ok {
				continue
			}
			r := conn.PgConn().ExecParams(t.Context(), "SELECT 1 FROM types WHERE "+c.where, [][]byte{value}, []uint32{c.oid}, []int16{format}, nil).Read()
			got := fmt.Sprint(len(r.Rows))
			if r.Err != nil {
				got = sqlState(r.Err)
			}
			if got != c.want {
				t.Errorf("%s with %v of type %d in format %d: got %s, want %s: %v", c.where, c.value, c.oid, format, got, c.want, r.Err)
			}
		}
	}
}

// encodeAs writes a value for a parameter; not ok where the format is not that of
// the value.
func encodeAs(t *testing.T, oid uint32, format int16, value any) ([]byte, bool) {
	t.Helper()
	if s, text := value.(string); text {
		if format == 0 {
			return []byte(s), true
		}
		var n pgtype.Numeric
		if oid != pgtype.NumericOID || n.Scan(s) != nil {
			return []byte(s), oid == pgtype.TextOID || oid == pgtype.VarcharOID
		}
		value = n
	}
	out, err := pgtype.NewMap().Encode(oid, format, value, nil)
	if err != nil {
		t.Fatalf("%v as %d in format %d: %v", value, oid, format, err)
	}
	return out, true
}
