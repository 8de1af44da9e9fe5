// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"strings"
	"testing"

	"github.com/sidekey/sidekey/dbproxy/plan"
)

func parseType(t *testing.T, name string) plan.Type {
	t.Helper()
	if name == "mood" {
		return plan.EnumType("public.mood", []string{"sad", "ok"})
	}
	parsed, err := plan.ParseType(name)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// makeFor plans a text on the table t with the protected column c of a type.
func makeFor(typ plan.Type, sql string) *plan.Plan {
	r := &plan.Rule{Schema: "public", Table: "t", Column: "c", Type: typ, Equality: true, Binding: "b", Prefix: []byte{0x53, 1}, MinLen: 9}
	n := &plan.Rule{Schema: "public", Table: "n", Column: "c", Type: typ, Equality: true, Binding: "b", Prefix: []byte{0x53, 1}, MinLen: 9}
	cat := plan.NewCatalog([]*plan.Rule{r, n}, []*plan.Relation{{Schema: "public", Name: "t", OID: 1, Protected: true, Columns: []plan.Column{{Name: "c", Attnum: 1, Rule: r}}}})
	return plan.Make(sql, cat, plan.Options{Path: plan.NewPath("public", []string{"pg_catalog", "public"}), Fresh: true})
}

// TestDeclaredTypes declares columns in every spelling of their rules' types.
func TestDeclaredTypes(t *testing.T) {
	for _, c := range []struct {
		rule        string
		same, other []string
	}{
		{"int2", []string{"smallint", "INT2", "pg_catalog.int2"}, []string{"int", "smallint[]"}},
		{"float4", []string{"real", "float4", "float(24)"}, []string{"float", "double precision"}},
		{"float8", []string{"double precision", "float", "float8", "float(25)"}, []string{"real"}},
		{"char(3)", []string{"character(3)", "CHAR(3)", "bpchar(3)", "national character(3)", "nchar(3)"}, []string{"char", "char(4)", "bpchar", "varchar(3)"}},
		{"char", []string{"char", "character", "char(1)"}, []string{`"char"`, "bpchar"}},
		{"varchar(3)", []string{"character varying(3)", "char varying (3)", "varchar(3)"}, []string{"varchar", "varchar(3)[]"}},
		{"time", []string{"time", "time without time zone"}, []string{"time(3)", "timetz", "time with time zone"}},
		{"timestamp(3)", []string{"timestamp(3)", "timestamp (3) without time zone"}, []string{"timestamp", "timestamp(3) with time zone"}},
		{"timestamptz", []string{"timestamptz", "timestamp with time zone"}, []string{"timestamp"}},
		{"interval", []string{"interval"}, []string{"interval day to second", "interval(3)"}},
		{"numeric(5,2)", []string{"decimal(5,2)", "dec(5,2)", "numeric( 5 , 2 )"}, []string{"numeric(5)", "numeric"}},
		{"int4[]", []string{"int[]", "integer [3]", "int4[][]", "integer ARRAY", "integer ARRAY[4]"}, []string{"int", "bigint[]"}},
		{"varchar(3)[]", []string{"varchar(3)[]", "character varying(3) []"}, []string{"varchar[]", "varchar(3)"}},
		{"timestamptz[]", []string{"timestamp with time zone[]"}, []string{"timestamptz"}},
		{"citext", []string{"citext", "public.citext"}, []string{"text", "pg_catalog.citext"}},
		{"mood", []string{"mood", "public.mood", "MOOD", `"mood"`}, []string{"other.mood", "mood[]", "text", "moods"}},
		{"json", []string{"json"}, []string{"jsonb"}}, {"inet", []string{"inet"}, []string{"cidr"}},
	} {
		typ := parseType(t, c.rule)
		for _, spelling := range c.same {
			sql := "CREATE TABLE n (id int, c " + spelling + " NOT NULL, d int)"
			p := makeFor(typ, sql)
			if p.Refusal != nil {
				t.Errorf("%s: got %v", sql, p.Refusal)
				continue
			}
			out, err := p.Rewrite(sql, nil)
			if err != nil || !strings.HasPrefix(out.SQL, "CREATE TABLE n (id int, c bytea CONSTRAINT") || !strings.HasSuffix(out.SQL, ") NOT NULL, d int)") {
				t.Errorf("%s: got %v, %v", sql, out, err)
			}
		}
		for _, spelling := range c.other {
			sql := "CREATE TABLE n (c " + spelling + ")"
			if p := makeFor(typ, sql); p.Refusal == nil || p.Refusal.Code != "42804" {
				t.Errorf("%s for %s: got %v, want 42804", sql, c.rule, p.Refusal)
			}
		}
	}
}

// TestCasts says which type a cast gives to a constant, and which casts are not
// understood.
func TestCasts(t *testing.T) {
	for sql, want := range map[string]plan.Type{
		"INSERT INTO t VALUES ('1'::numeric(5, 2))":               {OID: plan.Numeric, Typmod: 5<<16 + 2 + 4},
		"INSERT INTO t VALUES (CAST('1' AS timestamp(3)))":        {OID: plan.Timestamp, Typmod: 3},
		"INSERT INTO t VALUES (time(0) '1:00')":                   {OID: plan.Time, Typmod: 0},
		"INSERT INTO t VALUES ('1'::double precision)":            {OID: plan.Float8, Typmod: -1},
		"INSERT INTO t VALUES (1::bigint)":                        {OID: plan.Int8, Typmod: -1},
		"INSERT INTO t VALUES (1.5::real)":                        {OID: plan.Float4, Typmod: -1},
		"INSERT INTO t VALUES (interval '1 day')":                 {OID: plan.Interval, Typmod: -1},
		"INSERT INTO t VALUES ('{1}'::int[])":                     {OID: 1007, Typmod: -1},
		"INSERT INTO t VALUES ('1'::timestamp with time zone [])": {OID: 1185, Typmod: -1},
	} {
		column := parseType(t, "text")
		if _, array := want.Element(); array {
			column = want // else it would be text of an array
		}
		p := makeFor(column, sql)
		if p.Refusal != nil || len(p.Literals) != 1 {
			t.Errorf("%s: got %v, %d literals", sql, p.Refusal, len(p.Literals))
			continue
		}
		got := plan.Type{OID: p.Literals[0].OID, Typmod: -1}
		if p.Literals[0].As != nil {
			got = *p.Literals[0].As
		}
		if got != want {
			t.Errorf("%s: got %+v, want %+v", sql, got, want)
		}
		out, err := p.Rewrite(sql, func(plan.Literal) ([][]byte, error) { return [][]byte{{1}}, nil })
		if err != nil || strings.ContainsAny(out.SQL, "[]0") && !strings.Contains(out.SQL, "x01") || strings.Contains(out.SQL, "]") {
			t.Errorf("%s: got %v, %v", sql, out, err)
		}
	}
	for _, sql := range []string{
		"INSERT INTO t VALUES (1.5::int)", "INSERT INTO t VALUES ('a'::char(2))", "INSERT INTO t VALUES (1::boolean)",
		"INSERT INTO t VALUES ('1'::interval day)", "INSERT INTO t VALUES ('a'::other.type)", "UPDATE t SET c = $1::numeric(5,2) WHERE c = $1::numeric(5,1)",
	} {
		if p := makeFor(parseType(t, "text"), sql); p.Refusal == nil || p.Refusal.Code != "0A000" {
			t.Errorf("%s: got %v, want 0A000", sql, p.Refusal)
		}
	}
}

// TestTypeNames prints types as PostgreSQL's messages do.
func TestTypeNames(t *testing.T) {
	for name, want := range map[string]string{
		"varchar(3)": "character varying(3)", "char(3)": "character(3)", "timestamp(3)": "timestamp(3) without time zone", "timestamptz(0)": "timestamp(0) with time zone",
		"time": "time without time zone", "numeric(5,-2)": "numeric(5,-2)", "int[]": "integer[]", "varchar(3)[]": "character varying(3)[]", "float": "double precision", "mood": "public.mood",
	} {
		if got := parseType(t, name).String(); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}
