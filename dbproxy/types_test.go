// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/sidekey/sidekey/proxy"
)

// samples are texts of every type in forms that PostgreSQL reads.
var samples = map[string][]string{
	"text":          {"", "plain", "zwölf ☃", "it's \\ \"q\"", "a,b"},
	"varchar(5)":    {"abc", "äöü☃ß", "abc      "},
	"int4":          {"0", "-2147483648", "2147483647", " 42 "},
	"int8":          {"0", "-9223372036854775808", "9223372036854775807"},
	"bytea":         {`\x`, `\x00ff5b`, `abc\\\001`},
	"bool":          {"t", "false", "yes", "0"},
	"date":          {"2024-02-29", "infinity", "-infinity", "0044-03-15 BC", "epoch", "19991231"},
	"timestamptz":   {"2024-01-02 03:04:05.678901+00", "2024-07-02T03:04:05Z", "2024-07-02 03:04:05", "1883-01-01 12:00:00+00", "infinity", "2024-01-02", "2000-01-01 00:00:00-05:30", "0044-03-15 10:00:00+00 BC", "1999-12-31 23:59:59.9999995+00", "2024-07-02 03:04 Europe/Paris"},
	"uuid":          {"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "{A0EEBC999C0B4EF8BB6D6BB9BD380A11}"},
	"numeric":       {"0", "-0.00", "1.50", "1e10", "1234567890123456789.00001", "NaN", "-Infinity", ".5", "1e-20", "10000", "-9999.9999", "0.00001234"},
	"numeric(10,2)": {"1.005", "-1.005", "12345678.99", "0.004", "-0.001", "NaN", "1e3"},
	"jsonb":         {`{"b":1,"a":[1, 2.50,"x\n\u00e9"],"aa":{},"b":null}`, `1e3`, `"s"`, `[]`, `{"k\u0001":"\u2028/"}`, `true`, `-0.0`},
}

// TestTypes compares what a client reads through the proxy with what PostgreSQL
// itself makes of the same input, in every format.
func TestTypes(t *testing.T) {
	var columns []proxy.ColumnRule
	var decl, plain string
	i := 0
	cols := map[string][]string{}
	for typ := range samples {
		for _, mode := range []string{"random", "equality"} {
			if mode == "equality" && (typ == "jsonb" || typ == "numeric") {
				continue
			}
			name := fmt.Sprintf("c%d", i)
			i++
			columns = append(columns, column("types", name, typ, mode))
			decl += ", " + name + " " + typ
			cols[typ] = append(cols[typ], name)
		}
		plain += ", p" + cols[typ][0] + " " + typ
	}
	f := start(t, shared, columns)
	conn := f.connect(t, pgx.QueryExecModeExec)
	exec1(t, conn, "SET TimeZone TO 'America/New_York'")
	exec1(t, conn, "CREATE TABLE types (id serial"+decl+plain+")")
	for typ, texts := range samples {
		for _, col := range cols[typ] {
			for _, text := range append(texts, "\x00null") {
				var arg any = text
				if text == "\x00null" {
					arg = nil
				}
				checkType(t, conn, typ, col, "p"+cols[typ][0], arg)
			}
		}
	}
}

func checkType(t *testing.T, conn *pgx.Conn, typ, col, plain string, arg any) {
	t.Helper()
	ctx := t.Context()
	pg := conn.PgConn()
	literal := "NULL"
	var param []byte
	if arg != nil {
		param = []byte(arg.(string))
		literal = "'" + escape(arg.(string)) + "'"
	}
	simple := fmt.Sprintf("TRUNCATE types; INSERT INTO types (%s, %s) VALUES (%s, %s)", col, plain, literal, literal)
	if _, err := pg.Exec(ctx, simple).ReadAll(); err != nil {
		t.Errorf("%s %q: %v", typ, arg, err)
		return
	}
	insert := fmt.Sprintf("INSERT INTO types (%s, %s) VALUES ($1, $2)", col, plain)
	if r := pg.ExecParams(ctx, insert, [][]byte{param, param}, nil, nil, nil).Read(); r.Err != nil {
		t.Errorf("%s %q as parameter: %v", typ, arg, r.Err)
		return
	}
	// What comes back in binary goes in again in binary.
	sel := fmt.Sprintf("SELECT %s, %s FROM types ORDER BY id", col, plain)
	back := pg.ExecParams(ctx, sel, nil, nil, nil, []int16{1}).Read()
	if back.Err != nil {
		t.Errorf("%s %q in binary: %v", typ, arg, back.Err)
		return
	}
	if r := pg.ExecParams(ctx, insert, back.Rows[0], nil, []int16{1, 1}, nil).Read(); r.Err != nil {
		t.Errorf("%s %q as binary parameter: %v", typ, arg, r.Err)
		return
	}
	for format := range int16(2) {
		r := pg.ExecParams(ctx, sel, nil, nil, nil, []int16{format}).Read()
		if r.Err != nil || len(r.Rows) != 3 {
			t.Errorf("%s %q: %v, %d rows", typ, arg, r.Err, len(r.Rows))
			return
		}
		for i, row := range r.Rows {
			if d := cmp.Diff(row[1], row[0]); d != "" {
				t.Errorf("%s %q row %d format %d: %s", typ, arg, i, format, d)
			}
		}
		checkField(t, typ, r.FieldDescriptions)
	}
}

func checkField(t *testing.T, typ string, f []pgconn.FieldDescription) {
	t.Helper()
	got, want := f[0], f[1]
	if got.DataTypeOID != want.DataTypeOID || got.DataTypeSize != want.DataTypeSize || got.TypeModifier != want.TypeModifier || got.Format != want.Format {
		t.Errorf("%s: got %+v, want %+v", typ, got, want)
	}
}

func escape(s string) string {
	out := ""
	for _, r := range s {
		if r == '\'' {
			out += "'"
		}
		out += string(r)
	}
	return out
}

// TestInvalidInput compares SQLSTATEs of invalid input with PostgreSQL's own.
func TestInvalidInput(t *testing.T) {
	bad := map[string][]string{
		"int4": {"abc", "", "2147483648", "1.5", "1 2", "--1"}, "int8": {"9223372036854775808", "x"}, "bool": {"maybe", ""}, "uuid": {"a0eebc99", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1g"},
		"date": {"2024-02-30", "x", "2024-13-01"}, "timestamptz": {"2024-01-02 25:00:00+00", "x"}, "numeric(10,2)": {"123456789.00", "x", "", "1e", "Infinity"},
		"numeric": {"1..2", "1e200000"}, "jsonb": {"{", "{'a':1}", "", "[1,]", "1 2"}, "varchar(5)": {"abcdef"}, "bytea": {`\xabc`, `\9`},
	}
	var columns []proxy.ColumnRule
	decl, name := "", map[string]string{}
	for typ := range bad {
		name[typ] = fmt.Sprintf("c%d", len(name))
		columns = append(columns, column("types", name[typ], typ, "random"))
		decl += fmt.Sprintf(", %s %s, p%s %s", name[typ], typ, name[typ], typ)
	}
	f := start(t, shared, columns)
	conn := f.connect(t, pgx.QueryExecModeExec)
	exec1(t, conn, "CREATE TABLE types (id serial"+decl+")")
	for typ, texts := range bad {
		for _, text := range texts {
			for _, format := range []string{"INSERT INTO types (%s) VALUES ('%s')"} {
				_, got := conn.PgConn().Exec(t.Context(), fmt.Sprintf(format, name[typ], escape(text))).ReadAll()
				_, want := conn.PgConn().Exec(t.Context(), fmt.Sprintf(format, "p"+name[typ], escape(text))).ReadAll()
				if sqlState(got) != sqlState(want) {
					t.Errorf("%s %q: got %v, want %v", typ, text, got, want)
				}
				r := conn.PgConn().ExecParams(t.Context(), fmt.Sprintf("INSERT INTO types (%s) VALUES ($1)", name[typ]), [][]byte{[]byte(text)}, nil, nil, nil).Read()
				if sqlState(r.Err) != sqlState(want) {
					t.Errorf("%s %q as parameter: got %v, want %v", typ, text, r.Err, want)
				}
			}
		}
	}
}
