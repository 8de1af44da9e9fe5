// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/sidekey/sidekey/proxy"
)

// samples are texts of every type in forms that PostgreSQL reads.
var samples = map[string][]string{
	"text":           {"", "plain", "zwölf ☃", "it's \\ \"q\"", "a,b"},
	"varchar(5)":     {"abc", "äöü☃ß", "abc      "},
	"char(4)":        {"", "ab", "ab  ", "äöü☃", "ab     ", "  a"},
	"char":           {"x", "x ", ""},
	"bpchar":         {"x ", "", " x  "},
	"citext":         {"", "Ab", "aB "},
	"int2":           {"0", "-32768", "32767", " 42 "},
	"int4":           {"0", "-2147483648", "2147483647", " 42 "},
	"int8":           {"0", "-9223372036854775808", "9223372036854775807"},
	"float4":         {"0", "-1.5", "1e10", "1e-10", "3.4028235e38", "1.4e-45", "NaN", "-Infinity", "inf", "0.1", "1e-4", "1e-5", "123456", "1234567", "999999", "0.00024414062", "8589934592", "16777217"},
	"float8":         {"0", "1.5e300", "-1e-300", "4.9e-324", "NaN", "infinity", "0.1", "1e14", "1e15", "123456789012345678", "1e23", "9007199254740993", "5.684341886080801e-14", " 1e5 ", "0x10", "0x1.8p3", "1.", ".5", "100", "1234.5678"},
	"bytea":          {`\x`, `\x00ff5b`, `abc\\\001`},
	"bool":           {"t", "false", "yes", "0"},
	"date":           {"2024-02-29", "infinity", "-infinity", "0044-03-15 BC", "epoch", "19991231", "4714-11-24 BC", "5874897-12-31"},
	"time":           {"00:00", "24:00:00", "23:59:60", "04:05:06.789012", "040506", "4:05 PM", "12:00 AM", "allballs", "2024-01-02 03:04:05", "04:05:06+02", "23:59:59.9999999"},
	"time(0)":        {"04:05:06.5", "23:59:59.9"},
	"timestamp":      {"2024-01-02 03:04:05.678901", "2024-07-02T03:04:05Z", "2024-07-02 03:04:05+05", "infinity", "-infinity", "2024-01-02", "0044-03-15 10:00:00 BC", "4714-11-24 00:00:00 BC", "294276-12-31 23:59:59.999999", "epoch"},
	"timestamp(3)":   {"2024-01-02 03:04:05.6785", "1999-12-31 23:59:59.9995", "1980-01-01 00:00:00.0005", "infinity"},
	"timestamptz":    {"2024-01-02 03:04:05.678901+00", "2024-07-02T03:04:05Z", "2024-07-02 03:04:05", "1883-01-01 12:00:00+00", "infinity", "2024-01-02", "2000-01-01 00:00:00-05:30", "0044-03-15 10:00:00+00 BC", "1999-12-31 23:59:59.9999995+00", "2024-07-02 03:04 Europe/Paris"},
	"timestamptz(0)": {"2024-01-02 03:04:05.5+00", "1990-01-02 03:04:05.5+00"},
	"interval": {"1 year 2 mons 3 days 04:05:06.789", "-1 day +02:03:04", "P1Y2M3DT4H5M6.5S", "PT-3S", "P2W", "1.5 years", "1.5 months", "1.5 weeks", "0.1 day", "1.5 hours", "2 decades 3 centuries ago", "@ 1 hour 2 minutes ago",
		"100:00:00", "-00:00:01", "1:30", "12:34.5", "5", "1.5", "1-2", "-1-2", "0", "1 mon -1 day", "-1 mon 1 day 1 hour", "3 microseconds", "1.0000005 seconds", "2 milliseconds", "178000000 years", "1d2h3m4s", "1 day 04:05", "-1.5 days", "1 millennium", ".5 s"},
	"uuid":           {"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "{A0EEBC999C0B4EF8BB6D6BB9BD380A11}"},
	"inet":           {"10.0.0.1", "10.0.0.1/8", "192.168.001.010/24", "::1", "2001:db8::1/64", "::ffff:1.2.3.4", "::1.2.3.4", "::", "0.0.0.0/0", "fe80::1:0:0:0:1", "1:0:0:2::/128"},
	"cidr":           {"10.0.0.0/8", "10", "192.168", "10.1.2", "128.1", "224", "240.0.0.0", "10.0.0.1", "::/0", "2001:db8::/32", "::1"},
	"numeric":        {"0", "-0.00", "1.50", "1e10", "1234567890123456789.00001", "NaN", "-Infinity", ".5", "1e-20", "10000", "-9999.9999", "0.00001234"},
	"numeric(10,2)":  {"1.005", "-1.005", "12345678.99", "0.004", "-0.001", "NaN", "1e3", "-12345678.99", "255", "-256", "65535.99"},
	"numeric(5,-2)":  {"12345", "150", "-50", "49", "0"},
	"json":           {`{"b":1,  "a":[1, 2.50,"x\n\u00e9"],"a":{},"b":null}`, `1e3`, `"s"`, ` [] `, `"\u0000 \ud800"`, `true`},
	"jsonb":          {`{"b":1,"a":[1, 2.50,"x\n\u00e9"],"aa":{},"b":null}`, `1e3`, `"s"`, `[]`, `{"k\u0001":"\u2028/"}`, `true`, `-0.0`},
	"int4[]":         {"{}", "{1,2,NULL}", "{{1,2},{3,4}}", "[0:1]={1,2}", "[-1:0][2:3]={{1,2},{3,4}}", " { 1 , 2 } "},
	"text[]":         {`{"a b",c,"",NULL,"NULL","q\"\\",  d e ,"{}"}`, `{a\,b}`, `{ä}`},
	"varchar(3)[]":   {`{abc,"ab "}`},
	"numeric(5,1)[]": {"{1.25,NULL,-3}"},
	"timestamptz[]":  {"{2024-01-02 03:04:05+00,infinity}"},
	"interval[]":     {"{1 day,04:05:06}"},
	"bool[]":         {"{t,f,NULL}"}, "bytea[]": {`{"\\x0102"}`}, "uuid[]": {"{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}"},
	"float8[]": {"{1.5,NaN}"}, "date[]": {"{2024-02-29}"}, "jsonb[]": {`{"{\"a\": 1}"}`}, "json[]": {`{"[1, 2]"}`}, "inet[]": {"{10.0.0.1,::1}"}, "char(3)[]": {"{a,bcd}"},
	"mood": {"sad", "so so", "ok"},
}

// samplesOn are the samples that the server's version knows.
func samplesOn(t *testing.T) map[string][]string {
	t.Helper()
	known, version := maps.Clone(samples), serverVersion(t)
	if version < 14 {
		known["numeric"] = slices.DeleteFunc(slices.Clone(samples["numeric"]), func(s string) bool { return strings.Contains(s, "Infinity") })
	}
	if version < 15 {
		delete(known, "numeric(5,-2)")
		// Its halves of microseconds are refused: see TestIntervalTexts.
		known["interval"] = slices.DeleteFunc(slices.Clone(samples["interval"]), func(s string) bool { return s == "1.0000005 seconds" })
	}
	if version >= 16 {
		known["int4"] = append(known["int4"][:len(known["int4"]):len(known["int4"])], "0x7fffffff", "-0b1_0", "0o17", "1_000", " +0X_f ", "00_9")
		known["numeric"] = append(known["numeric"][:len(known["numeric"]):len(known["numeric"])], "0x_ffff_ffff_ffff_ffff", "-0o17", "1_000.000_1", "1_0.5e1_0", "00_9")
	}
	return known
}

// rule is the type that a rule has for one of the samples.
func ruleType(typ string) string {
	if typ == "mood" {
		return "enum(mood: sad, 'so so', ok)"
	}
	return typ
}

// TestTypes compares what a client reads through the proxy with what PostgreSQL
// itself makes of the same input, in every format.
func TestTypes(t *testing.T) {
	var columns []proxy.ColumnRule
	var decl, plain string
	i := 0
	cols, known := map[string][]string{}, samplesOn(t)
	for typ := range known {
		for _, mode := range []string{"random", "equality", "range"} {
			rule := proxy.ColumnRule{Table: "types", Column: "c", Type: ruleType(typ), Mode: mode, KeyID: "k"}
			if err := (&proxy.Rules{Columns: []proxy.ColumnRule{rule}}).Validate(); err != nil {
				continue // the mode is refused for the type
			}
			name := fmt.Sprintf("c%d", i)
			i++
			columns = append(columns, column("types", name, ruleType(typ), mode))
			decl += ", " + name + " " + typ
			cols[typ] = append(cols[typ], name)
		}
		plain += ", p" + cols[typ][0] + " " + typ
	}
	f := start(t, shared, columns)
	conn := f.connect(t, pgx.QueryExecModeExec)
	exec1(t, conn, "SET TimeZone TO 'America/New_York'")
	exec1(t, conn, "CREATE EXTENSION citext")
	exec1(t, conn, "CREATE TYPE mood AS ENUM ('sad', 'so so', 'ok')")
	exec1(t, conn, "CREATE TABLE types (id serial"+decl+plain+")")
	for typ, texts := range known {
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
	simple := fmt.Sprintf("DELETE FROM types; INSERT INTO types (%s, %s) VALUES (%s, %s)", col, plain, literal, literal)
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
	if typ == "citext" || typ == "mood" { // text, since their OIDs are not known
		want.DataTypeOID, want.DataTypeSize = pgtype.TextOID, -1
	}
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

// newerNumbers are numbers that PostgreSQL 16 has added, and what looks alike.
var newerNumbers = []string{"0x1F", "-0X1f", "0o17", "0b11", "1_000", "0_1", "01_0", "0x_1F", "1__0", "_1", "1_", "0x", "0x_", "0x1_", "0b2", "0o8", "0xg", "0b1__0", "-_1", "1_ 0", "+ 1", "0x 1"}

// TestInvalidInput compares SQLSTATEs of invalid input with PostgreSQL's own.
func TestInvalidInput(t *testing.T) {
	bad := map[string][]string{
		"int2": {"32768", "x"}, "int4": append([]string{"abc", "", "2147483648", "1.5", "1 2", "--1", "0x80000000", "+0x1.8"}, newerNumbers...), "int8": {"9223372036854775808", "x"}, "bool": {"maybe", ""}, "uuid": {"a0eebc99", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1g"},
		"date": {"2024-02-30", "x", "2024-13-01", "5874898-01-01", "4714-11-23 BC", "0000-01-01"}, "timestamptz": {"2024-01-02 25:00:00+00", "x", "294277-01-01", "2024-01-02 00:00:00+17"}, "numeric(10,2)": {"123456789.00", "x", "", "1e", "Infinity"},
		"numeric": append([]string{"1..2", "1e200000", "Infinity", "-inf", "+NaN", "-nan", "+-1", "0x1.8", "1_.5", "1._5", "_1.5", "1e_1", "1_e1", "0x1e1", "0xe+1", "--nan"}, newerNumbers...), "jsonb": {"{", "{'a':1}", "", "[1,]", "1 2"}, "varchar(5)": {"abcdef"}, "bytea": {`\xabc`, `\9`},
		"char(3)": {"abcd"}, "float4": {"1e39", "1e-46", "x", "", "1 2", "1_0", "0x", "1e"}, "float8": {"1e400", "1e-400", "x", "", "nanx", "- 1"},
		"time": {"25:00", "24:00:01", "x", "12:60", "", "13:00 PM", "12"}, "timestamp(3)": {"2024-01-02 25:00:00", "x", "294277-01-01"},
		"interval": {"x", "", "1 foo", "1 day 1 day", "200000000 years", "1 2 days", "-", "10:61", "1-13", "P", "1:2:3:4", "9223372036854775807 hours", "3000000000 days", "3000000000 mons", "day", "1 hour 2:03"},
		"json":     {"{", "{'a':1}", "", "[1,]", "1 2", `"\u12"`, "nul"}, "inet": {"10.0.0", "10.0.0.256", "10.0.0.1/33", "::g", "", "10.0.0.1/", "10.0.0.1/x", "::1/129", "10.0.0.1 ", "1:2"},
		"cidr": {"10.0.0.1/8", "::1/64", "300", "", "10.0.0.0/-1"}, "mood": {"happy", "", "SAD", "sad "},
		"int4[]":       {"{1", "1", "{a}", "{{1},{2,3}}", "{1,}", "[1:3]={1,2}", "[2:1]={1}", "{1}x", "{,1}", "{{1},2}", "{1 2}", "{}}", "{{{{{{{1}}}}}}}", "{2147483648}", "{\"1\"2}", "", "{{}}", "{{},{}}", "[1:0]={}", "[1]={1}"},
		"varchar(3)[]": {"{abcd}"},
	}
	var columns []proxy.ColumnRule
	decl, name := "", map[string]string{}
	for typ := range bad {
		name[typ] = fmt.Sprintf("c%d", len(name))
		columns = append(columns, column("types", name[typ], ruleType(typ), "random"))
		decl += fmt.Sprintf(", %s %s, p%s %s", name[typ], typ, name[typ], typ)
	}
	f := start(t, shared, columns)
	conn := f.connect(t, pgx.QueryExecModeExec)
	exec1(t, conn, "CREATE TYPE mood AS ENUM ('sad', 'so so', 'ok')")
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

// TestStyles refuses to write values in styles that are not known, and only where
// some are written.
func TestStyles(t *testing.T) {
	f := start(t, shared, []proxy.ColumnRule{column("types", "i", "interval", "random"), column("types", "t", "timestamp[]", "random"), column("types", "n", "int4", "random")})
	conn := f.connect(t, pgx.QueryExecModeExec)
	exec1(t, conn, "CREATE TABLE types (i interval, t timestamp[], n integer)")
	exec1(t, conn, "INSERT INTO types VALUES ('1 day', '{2024-01-02 03:04:05}', 1)")
	for _, c := range []struct{ setting, refused, fine string }{
		{"SET IntervalStyle TO iso_8601", "SELECT i FROM types", "SELECT t, n FROM types"},
		{"SET IntervalStyle TO postgres", "", "SELECT i FROM types"},
		{"SET DateStyle TO 'SQL'", "SELECT t FROM types", "SELECT i, n FROM types"},
		{"SET DateStyle TO 'ISO, DMY'", "", "SELECT t FROM types"},
	} {
		exec1(t, conn, c.setting)
		if _, err := conn.Exec(t.Context(), c.refused); c.refused != "" && sqlState(err) != "0A000" {
			t.Errorf("%s: %s: got %v, want 0A000", c.setting, c.refused, err)
		}
		if _, err := conn.Exec(t.Context(), c.fine); err != nil {
			t.Errorf("%s: %s: %v", c.setting, c.fine, err)
		}
	}
	r := conn.PgConn().ExecParams(t.Context(), "SELECT i FROM types; ", nil, nil, nil, []int16{1}).Read()
	if want := append(make([]byte, 8), 0, 0, 0, 1, 0, 0, 0, 0); r.Err != nil || cmp.Diff(want, r.Rows[0][0]) != "" {
		t.Errorf("got %v, %v, want %x", r.Rows, r.Err, want)
	}
}
