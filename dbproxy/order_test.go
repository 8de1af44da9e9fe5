// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"bytes"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/sidekey/sidekey/dbproxy"
	"github.com/sidekey/sidekey/dbproxy/plan"
	"github.com/sidekey/sidekey/proxy"
)

// ordered are values of every type that mode range knows, beside the samples.
var ordered = map[string][]string{
	"text":           {"a", "ab", "b", "a\x01", "aä", "é", "\u007f", strings.Repeat("x", 140), strings.Repeat("x", 139) + "y"},
	"varchar(5)":     {"a", "b", "a b"},
	"char(4)":        {"a", "a b", "b"},
	"int2":           {"-1", "1", "255", "256", "-256"},
	"int4":           {"-1", "1", "255", "256", "-257", "65536", "16777216"},
	"int8":           {"-1", "1", "4294967296", "-4294967296", "9007199254740993"},
	"float4":         {"1", "-1", "2.5", "-0.1", "0.1"},
	"float8":         {"1", "-1", "2.5", "-0.1", "0.1", "1e-310"},
	"numeric(10,2)":  {"0.01", "0.02", "-0.01", "2.55", "2.56", "-2.56", "99999999.99", "-99999999.99", "10", "10.50"},
	"numeric(5,-2)":  {"100", "-100", "9999900", "-9999900"},
	"numeric(38,10)": {"0", "0.0000000001", "-0.0000000001", "1234567890123456789012345678.0123456789", "-5"},
	"date":           {"2000-01-01", "1999-12-31", "1970-01-01", "2024-03-01"},
	"time":           {"12:00", "00:00:00.000001"},
	"timestamp":      {"2000-01-01", "1999-12-31 23:59:59.999999", "1970-01-01"},
	"timestamptz":    {"2000-01-01", "1999-12-31 23:59:59.999999", "1970-01-01"},
	"uuid":           {"00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"},
	"bytea":          {`\x00`, `\x0000`, `\x01`, `\xff`},
	"bool":           {},
	"inet":           {"10.0.0.0", "10.0.0.0/8", "10.0.0.0/9", "10.128.0.0/9", "10.0.0.0/7", "11.0.0.0/8", "10.0.0.1/9", "255.255.255.255", "ffff::/16", "::/1"},
	"cidr":           {"10.0.0.0/9", "10.128.0.0/9", "11.0.0.0/8", "0.0.0.0/0"},
	"mood":           {},
}

// orderedOn are the types of ordered that the server's version knows.
func orderedOn(t *testing.T) map[string][]string {
	t.Helper()
	known := maps.Clone(ordered)
	if serverVersion(t) < 15 {
		delete(known, "numeric(5,-2)")
	}
	return known
}

func orderedValues(typ string) []string {
	return append(append([]string{}, samples[typ]...), ordered[typ]...)
}

// TestRangeOrder stores pairs of sealed and plain values and has PostgreSQL compare
// each with each: the ciphertexts compare as the plaintexts.
func TestRangeOrder(t *testing.T) {
	var columns []proxy.ColumnRule
	decl, col, known := "", map[string]string{}, orderedOn(t)
	for typ := range known {
		col[typ] = fmt.Sprintf("c%d", len(col))
		columns = append(columns, column("types", col[typ], ruleType(typ), "range"))
		decl += fmt.Sprintf(", %s %s, p%s %s", col[typ], typ, col[typ], typ)
	}
	f := start(t, shared, columns)
	conn := f.connect(t, pgx.QueryExecModeExec)
	exec1(t, conn, "CREATE TYPE mood AS ENUM ('sad', 'so so', 'ok')")
	exec1(t, conn, "CREATE TABLE types (id serial"+decl+")")
	raw := f.direct(t)
	for typ := range known {
		c, n := col[typ], 0
		exec1(t, conn, "TRUNCATE types")
		for _, v := range orderedValues(typ) {
			exec1(t, conn, fmt.Sprintf("INSERT INTO types (%s, p%s) VALUES ('%s', '%s')", c, c, escape(v), escape(v)))
			n++
		}
		var wrong, all int
		err := raw.QueryRow(t.Context(), fmt.Sprintf(`SELECT count(*) FILTER (WHERE (a.%[1]s < b.%[1]s) IS DISTINCT FROM (a.p%[1]s < b.p%[1]s)
			OR (a.%[1]s = b.%[1]s) IS DISTINCT FROM (a.p%[1]s = b.p%[1]s)), count(*) FROM types a, types b`, c)).Scan(&wrong, &all)
		if err != nil || wrong != 0 || all != n*n || n < 2 {
			t.Errorf("%s: %d of %d pairs of %d values compare otherwise than their plaintexts, %v", typ, wrong, all, n, err)
		}
		// The longest values fit into an index.
		exec1(t, raw, fmt.Sprintf("CREATE INDEX ON types (%s)", c))
	}
}

// TestTooLongForRange refuses what would not fit into an index, and no more.
func TestTooLongForRange(t *testing.T) {
	f := start(t, shared, []proxy.ColumnRule{column("types", "c", "text", "range"), column("types", "f", "float8", "range"), column("types", "e", "float8", "equality")})
	conn := f.connect(t, pgx.QueryExecModeExec)
	exec1(t, conn, "CREATE TABLE types (c text UNIQUE, f double precision, e double precision)")
	exec1(t, conn, "INSERT INTO types (c) VALUES ($1)", strings.Repeat("x", proxy.MaxRange))
	for _, c := range []struct{ sql, code string }{
		{"INSERT INTO types (c) VALUES ('" + strings.Repeat("x", proxy.MaxRange+1) + "')", "22001"},
		{"INSERT INTO types (f) VALUES ('-0')", "0A000"},
		{"INSERT INTO types (e) VALUES (-0.0)", "<nil>"}, // a numeric, which has no negative zero
		{"INSERT INTO types (e) VALUES ('-0.0')", "0A000"},
		{"SELECT 1 FROM types WHERE e = '-0' OR f = '-0' OR c = '" + strings.Repeat("x", 100_000) + "'", "<nil>"},
	} {
		if _, err := conn.Exec(t.Context(), c.sql); sqlState(err) != c.code {
			t.Errorf("%.80s: got %v, want %s", c.sql, err, c.code)
		}
	}
	var n int
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM types WHERE c = $1", strings.Repeat("x", proxy.MaxRange)).Scan(&n); err != nil || n != 1 {
		t.Errorf("%d rows, %v", n, err)
	}
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM types WHERE e = '-0'").Scan(&n); err != nil || n != 1 {
		t.Errorf("%d rows with zero, %v", n, err)
	}
}

// constants are what columns are compared with: literals whose type the text gives.
var constants = []string{
	"10.5", "-10.5", "3000000000", "-3000000000", "32768", "-32769", "1e30", "-1e30", "0.0", "2.555", "2.56", "0.015", "-0.015", "100000000", "-100000000", "1e400",
	"0.1", "0", "1", "255", "256", "-256", "'NaN'::numeric", "'Infinity'::numeric", "'-Infinity'::numeric", "9223372036854775808", "9007199254740993",
	"'10.5'::float8", "'-0.5'::float8", "'NaN'::float8", "'Infinity'::float8", "'-Infinity'::float8", "'-0'::float8", "'1e300'::float8", "'2.55'::float8", "'0.1'::float8", "'0.1'::float4", "'1e-45'::float4", "'99999999.99'::float8", "'9223372036854775807'::float8", "'-1e19'::float8", "'12345678.99'::float8",
	"'10'::int2", "'2147483647'::int4", "'9223372036854775807'::int8", "'10.25'::numeric",
	"'a'::text", "'a '::text", "'a '::varchar", "'a '::bpchar", "'ab'::bpchar", "''::text",
	"'2000-01-01'::date", "'2000-01-01 12:00'::timestamp", "'1999-12-31 23:59:59.9999995'::timestamp", "'infinity'::date", "'-infinity'::timestamp", "'infinity'::timestamp", "'1999-12-31 12:00'::timestamp", "'2000-01-01 00:00:00+00'::timestamptz",
	"'10.0.0.0/8'::cidr", "'10.0.0.0/9'::inet", "'12:00'::time",
}

// TestConstants compares the places that constants get among the values of a column
// with what PostgreSQL says when it compares them.
func TestConstants(t *testing.T) {
	conn := dial(t, shared.url("postgres", "postgres"), pgx.QueryExecModeSimpleProtocol)
	exec1(t, conn, "SET TimeZone TO 'Europe/Paris'")
	paris, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		t.Fatal(err)
	}
	checked, version := 0, serverVersion(t)
	for typ := range orderedOn(t) {
		if typ == "mood" {
			continue
		}
		parsed, err := dbproxy.PlanType(typ)
		if err != nil {
			t.Fatal(err)
		}
		for _, isRange := range []bool{true, false} {
			r := &plan.Rule{Schema: "public", Table: "t", Column: "c", Type: parsed, Equality: true, Ordered: isRange}
			for _, k := range constants {
				checked += checkConstant(t, conn, r, typ, k, paris, version)
			}
			for _, k := range orderedValues(typ) { // of the column's own type, as what has no type is
				checked += checkConstant(t, conn, r, typ, "'"+escape(k)+"'", paris, version)
			}
		}
	}
	if checked < 10000 {
		t.Errorf("only %d comparisons", checked)
	}
}

// refused are constants that have no exact place, beside floats among numerics of
// more than 15 digits and times with a zone among those without.
var refused = map[string]bool{
	"int8 '9223372036854775807'::float8": true,
	"varchar(5) 'a '::bpchar":            true, // blanks at the end of the column's values would not count
	"varchar(5) 'ab'::bpchar":            true,
}

// checkConstant compares one constant with all values of a type.
func checkConstant(t *testing.T, conn *pgx.Conn, r *plan.Rule, typ, constant string, zone *time.Location, version int) int {
	t.Helper()
	var want []string
	var rows [][][]byte
	for _, v := range orderedValues(typ) {
		want = append(want, fmt.Sprintf("SELECT p < %[1]s, p = %[1]s FROM (SELECT '%[2]s'::%[3]s AS p) x", constant, escape(v), typ))
	}
	got, err := conn.PgConn().Exec(t.Context(), strings.Join(want, " UNION ALL ")).ReadAll()
	if err == nil {
		rows = got[0].Rows
	}
	text, oid := readConstant(t, constant)
	form, formErr := dbproxy.FormFor(plan.Compare|plan.Order, r, oid, 0, []byte(text), zone, version)
	switch {
	case err != nil && formErr == nil:
		if typ != "cidr" { // networks are read in their short form, too
			t.Errorf("%s with %s: got a place, want %v", typ, constant, err)
		}
		return 0
	case formErr != nil:
		if err == nil && !refused[typ+" "+constant] && !(typ == "numeric(38,10)" && strings.Contains(constant, "::float")) && !strings.HasSuffix(constant, "::timestamptz") {
			t.Errorf("%s with %s: got %v, want a place", typ, constant, formErr)
		}
		return 0
	}
	n := 0
	for i, v := range orderedValues(typ) {
		stored, err := dbproxy.FormFor(plan.Store, r, 0, 0, []byte(v), zone, version)
		if err != nil {
			t.Fatalf("%s %q: %v", typ, v, err)
		}
		if less := string(rows[i][0]) == "t"; r.Ordered && less != (bytes.Compare(stored, form) < 0) {
			t.Errorf("%s %q < %s: got %v, want %v", typ, v, constant, !less, less)
		}
		if equal := string(rows[i][1]) == "t"; equal != bytes.Equal(stored, form) {
			t.Errorf("%s %q = %s in mode range %v: got %v, want %v", typ, v, constant, r.Ordered, !equal, equal)
		}
		n++
	}
	return n
}

// readConstant gives what the text of a constant says, as the planner reads it.
func readConstant(t *testing.T, constant string) (text string, oid uint32) {
	t.Helper()
	text, cast, hasCast := constant, "", false
	if i := strings.LastIndex(constant, "'::"); i > 0 {
		text, cast, hasCast = constant[:i+1], constant[i+3:], true
	}
	if hasCast {
		typ, err := plan.ParseType(cast)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Trim(text, "'"), typ.OID
	}
	if inner, ok := strings.CutPrefix(text, "'"); ok {
		return strings.ReplaceAll(strings.TrimSuffix(inner, "'"), "''", "'"), plan.Unspecified
	}
	switch {
	case strings.ContainsAny(text, ".e") || len(text) > 18:
		return text, plan.Numeric
	case len(text) > 9:
		return text, plan.Int8
	}
	return text, plan.Int4
}

// FuzzOrder reads two values of a type and compares their forms with what the forms
// are read back as; what is stored reads back as it was.
func FuzzOrder(f *testing.F) {
	types := []string{"int2", "int8", "float4", "float8", "numeric(20,3)", "numeric(5,-2)", "inet", "cidr", "date", "timestamptz", "enum(a: x, y)", "char(3)"}
	for i, typ := range types {
		for _, s := range samples[typ] {
			f.Add(uint8(i), s)
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, s string) {
		parsed, err := dbproxy.PlanType(types[int(which)%len(types)])
		if err != nil {
			t.Fatal(err)
		}
		r := &plan.Rule{Type: parsed, Equality: true, Ordered: true}
		form, err := dbproxy.FormFor(plan.Store, r, 0, 0, []byte(s), time.UTC, plan.Grammar)
		if err != nil {
			return
		}
		canonical, err := dbproxy.PlainForm(r, form)
		if err != nil {
			t.Fatalf("%s %q: %x does not read back: %v", parsed, s, form, err)
		}
		out, err := dbproxy.EncodeValue(nil, parsed, 0, canonical, time.UTC)
		if err != nil {
			t.Fatalf("%s %q: %v", parsed, s, err)
		}
		again, err := dbproxy.FormFor(plan.Store, r, 0, 0, out, time.UTC, plan.Grammar)
		if err != nil || !bytes.Equal(again, form) {
			t.Fatalf("%s %q: got %x from %q, want %x; %v", parsed, s, again, out, form, err)
		}
		compared, err := dbproxy.FormFor(plan.Compare, r, 0, 0, out, time.UTC, plan.Grammar)
		if err != nil || !bytes.Equal(compared, form) {
			t.Fatalf("%s %q is compared as %x, want %x; %v", parsed, s, compared, form, err)
		}
	})
}
