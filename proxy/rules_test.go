// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/sidekey/sidekey/proxy"
)

func TestRulesValidate(t *testing.T) {
	object := func(r proxy.ObjectRule) proxy.Rules { return proxy.Rules{Objects: []proxy.ObjectRule{r}} }
	column := func(change func(*proxy.ColumnRule)) proxy.Rules {
		r := proxy.ColumnRule{Table: "users", Column: "email", Type: "text", KeyID: "k"}
		change(&r)
		return proxy.Rules{Columns: []proxy.ColumnRule{r}}
	}
	domain := func(b proxy.ColumnRule) proxy.Rules {
		a := proxy.ColumnRule{Table: "users", Column: "email", Type: "text", Mode: "equality", KeyID: "k", Domain: "mail"}
		return proxy.Rules{Columns: []proxy.ColumnRule{a, b}}
	}
	for want, rules := range map[string]proxy.Rules{
		"objects[0].bucket: missing":                                       object(proxy.ObjectRule{KeyID: "k"}),
		`objects[0].bucket: "a*" is neither`:                               object(proxy.ObjectRule{Bucket: "a*", KeyID: "k"}),
		"objects[0].key_id: missing":                                       object(proxy.ObjectRule{Bucket: "a"}),
		`objects[0].encryption_context: the name "aws:s3:arn"`:             object(proxy.ObjectRule{Bucket: "a", KeyID: "k", EncryptionContext: map[string]string{"aws:s3:arn": "x"}}),
		`columns[0].table: "" is not schema.table`:                         column(func(r *proxy.ColumnRule) { r.Table = "" }),
		`columns[0].table: "a.b.c" is not`:                                 column(func(r *proxy.ColumnRule) { r.Table = "a.b.c" }),
		"columns[0].column: missing":                                       column(func(r *proxy.ColumnRule) { r.Column = "" }),
		"columns[0].key_id: missing":                                       column(func(r *proxy.ColumnRule) { r.KeyID = "" }),
		`columns[0].mode: unknown "equalty" (did you mean "equality"?)`:    column(func(r *proxy.ColumnRule) { r.Mode = "equalty" }),
		`columns[0].mode: unknown "xyz" (known: [random equality range])`:  column(func(r *proxy.ColumnRule) { r.Mode = "xyz" }),
		`columns[0].type: unknown "txt" (did you mean "text"?)`:            column(func(r *proxy.ColumnRule) { r.Type = "txt" }),
		"columns[0].type: missing":                                         column(func(r *proxy.ColumnRule) { r.Type = "" }),
		`columns[0].type: "int4(3)" has modifiers`:                         column(func(r *proxy.ColumnRule) { r.Type = "int4(3)" }),
		`columns[0].type: "varchar(x)" is not a type`:                      column(func(r *proxy.ColumnRule) { r.Type = "varchar(x)" }),
		"columns[0].mode: equality is refused for jsonb: ":                 column(func(r *proxy.ColumnRule) { r.Type, r.Mode = "jsonb", "equality" }),
		"columns[0].mode: equality is refused for numeric: ":               column(func(r *proxy.ColumnRule) { r.Type, r.Mode = "numeric", "equality" }),
		"columns[0].mode: range is refused for numeric(301,2): ":           column(func(r *proxy.ColumnRule) { r.Type, r.Mode = "numeric(301,2)", "range" }),
		"columns[0].mode: equality is refused for interval: ":              column(func(r *proxy.ColumnRule) { r.Type, r.Mode = "interval", "equality" }),
		"columns[0].mode: equality is refused for citext: ":                column(func(r *proxy.ColumnRule) { r.Type, r.Mode = "citext", "equality" }),
		"columns[0].mode: range is refused for json: ":                     column(func(r *proxy.ColumnRule) { r.Type, r.Mode = "json", "range" }),
		"columns[0].mode: equality is refused for bpchar: ":                column(func(r *proxy.ColumnRule) { r.Type, r.Mode = "bpchar", "equality" }),
		"columns[0].mode: range is refused for int4[]: ":                   column(func(r *proxy.ColumnRule) { r.Type, r.Mode = "int[]", "range" }),
		`columns[0].type: "enum" has no labels`:                            column(func(r *proxy.ColumnRule) { r.Type = "enum" }),
		`columns[0].type: "enum(m: a, b, a)" has the label "a" twice`:      column(func(r *proxy.ColumnRule) { r.Type = "enum(m: a, b, a)" }),
		"columns[0].domain: only modes equality and range compare columns": column(func(r *proxy.ColumnRule) { r.Domain = "d" }),
		"columns[1].type: enum(m: 'b', 'a') does not compare with": {Columns: []proxy.ColumnRule{
			{Table: "t", Column: "c", Type: "enum(m: a, b)", Mode: "range", KeyID: "k", Domain: "d"}, {Table: "t", Column: "d", Type: "enum(m: b, a)", Mode: "range", KeyID: "k", Domain: "d"}}},
		"columns[1].mode: range does not compare with equality":                domain(proxy.ColumnRule{Table: "t", Column: "c", Type: "text", Mode: "range", KeyID: "k", Domain: "mail"}),
		"columns[1].column: public.users.email has a rule already, columns[0]": domain(proxy.ColumnRule{Table: "public.users", Column: "email", Type: "text", KeyID: "k"}),
		"columns[1].type: int4 does not compare with text":                     domain(proxy.ColumnRule{Table: "t", Column: "c", Type: "int4", Mode: "equality", KeyID: "k", Domain: "mail"}),
		`columns[0].bound_as: "users.email" is not schema.table.column`:        column(func(r *proxy.ColumnRule) { r.BoundAs = "users.email" }),
		`columns[0].bound_as: "a..c" is not schema.table.column`:               column(func(r *proxy.ColumnRule) { r.BoundAs = "a..c" }),
		"columns[1].bound_as: the values of columns[0] are bound to public.users.email": {Columns: []proxy.ColumnRule{
			{Table: "users", Column: "email", Type: "text", KeyID: "k"}, {Table: "people", Column: "mail", Type: "text", KeyID: "k", BoundAs: "public.users.email"}}},
		"columns[1].key_id: differs": domain(proxy.ColumnRule{Table: "t", Column: "c", Type: "text", Mode: "equality", KeyID: "l", Domain: "mail"}),
	} {
		err := rules.Validate()
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestRulesAccepted(t *testing.T) {
	for _, typ := range []string{
		"text", "varchar", "varchar(10)", "character varying(10)", "int4", "integer", "int", "int8", "bigint", "bytea",
		"bool", "boolean", "date", "timestamptz", "timestamp with time zone", "UUID", "numeric(10,2)", "numeric( 10 )", "decimal(5,0)",
		"smallint", "real", "double precision", "char", "char(3)", "character(2)", "time", "time(3) without time zone", "timestamp(0)",
		"timestamp (3) with time zone", "inet", "cidr", "enum(public.mood: sad, 'so so', ok)",
	} {
		for _, mode := range []string{"equality", "range"} {
			r := proxy.Rules{Columns: []proxy.ColumnRule{{Table: "t", Column: "c", Type: typ, Mode: mode, KeyID: "k"}}}
			if err := r.Validate(); err != nil {
				t.Errorf("%s in mode %s: %v", typ, mode, err)
			}
		}
	}
	for _, typ := range []string{"json", "jsonb", "numeric", "interval", "citext", "bpchar", "int[]", "varchar(3)[]", "numeric(5,2)[][]"} {
		r := proxy.Rules{Columns: []proxy.ColumnRule{{Table: "t", Column: "c", Type: typ, KeyID: "k"}}}
		if err := r.Validate(); err != nil {
			t.Errorf("%s: %v", typ, err)
		}
	}
	if err := new(proxy.Rules).Validate(); err != nil {
		t.Errorf("no rules: %v", err)
	}
}

func TestWarnings(t *testing.T) {
	r := proxy.Rules{Columns: []proxy.ColumnRule{
		{Table: "t", Column: "a", Type: "boolean", Mode: "equality", KeyID: "k"},
		{Table: "t", Column: "b", Type: "boolean", KeyID: "k"},
		{Table: "t", Column: "c", Type: "text", Mode: "equality", KeyID: "k"},
		{Table: "t", Column: "d", Type: "enum(mood: sad, ok)", Mode: "range", KeyID: "k"},
		{Table: "t", Column: "e", Type: "char", Mode: "equality", KeyID: "k"},
	}}
	w := r.Warnings()
	want := []string{"columns[0]: equality on a type of few values (bool)", "columns[3]: range on a type of few values (enum", "columns[4]: equality on a type of few values (bpchar(1))"}
	if len(w) != len(want) {
		t.Fatalf("got %q, want %q", w, want)
	}
	for i := range want {
		if !strings.HasPrefix(w[i], want[i]) {
			t.Errorf("got %q, want %q", w[i], want[i])
		}
	}
}

func TestParseType(t *testing.T) {
	for in, want := range map[string]string{
		"Character Varying ( 20 )": "varchar(20)", "numeric(5,2)": "numeric(5,2)", "numeric(5)": "numeric(5,0)",
		"numeric(2,-3)": "numeric(2,-3)", "numeric": "numeric", "TIMESTAMP  WITH TIME ZONE": "timestamptz",
		"char": "bpchar(1)", "INT[][]": "int4[]", "double  precision": "float8", "timestamp(3) without time zone": "timestamp(3)",
		"time (0)": "time(0)", "varchar(3)[]": "varchar(3)[]", "Enum(Mood: Sad,ok , 'it''s, (so)')": "enum(mood: 'Sad', 'ok', 'it''s, (so)')",
		`enum( "enum_Users: ""x""" : a)`: `enum("enum_Users: ""x""": 'a')`, `enum(App."Mood":a:b)`: `enum(app."Mood": 'a:b')`, `enum("A.b".c: a)`: `enum("A.b".c: 'a')`,
	} {
		got, err := proxy.ParseType(in)
		if err != nil || got.String() != want {
			t.Errorf("%q is %v, %v; want %s", in, got, err, want)
		}
	}
	for _, in := range []string{"text(3)", "varchar(0)", "numeric(0)", "numeric(1,2,3)", "varchar(3", "varchar(3) x", "citext[]", "time(7)", "interval(3)",
		"timetz", "enum(mood)", "enum(: a)", "enum(mood: )", "enum(mood: a b', c)", "enum(mood: 'a)", "enum(mood: 'a' b)", `enum("": a)`, `enum("a: b)`, `enum("a" b: c)`, "enum(a.b.c: d)", "enum(a.: b)", "enum(.a: b)", "int4[", "text[] x"} {
		if got, err := proxy.ParseType(in); err == nil {
			t.Errorf("%q is %v", in, got)
		}
	}
}

func TestFirstObjectRuleWins(t *testing.T) {
	rules := proxy.Rules{Objects: []proxy.ObjectRule{
		{Bucket: "b", Prefix: "x/", KeyID: "one"}, {Bucket: "b", KeyID: "two"}, {Bucket: "*", Prefix: "y", KeyID: "three"},
	}}
	c := proxy.NewCipher(rules, nil, nil)
	for object, want := range map[[2]string]string{
		{"b", "x/1"}: "one", {"b", "y"}: "two", {"c", "yes"}: "three", {"c", "x/1"}: "",
	} {
		got, err := c.ObjectRule(object[0], object[1])
		if got.KeyID != want || (want == "") != errors.Is(err, proxy.ErrNoRule) {
			t.Errorf("%v: %q, %v; want %q", object, got.KeyID, err, want)
		}
	}
}

// What parses is written in a form that parses to the same type.
func FuzzParseType(f *testing.F) {
	for _, s := range []string{"text", "varchar(10)", "numeric(5,-2)", "timestamp with time zone", "numeric(5", "int4()", "char", "int[]", "timestamp(3) with time zone",
		"enum(mood: sad, 'it''s')", "Enum(a.b:x)", `enum("A b"."c""d:": x)`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := proxy.ParseType(s)
		if err != nil {
			return
		}
		again, err := proxy.ParseType(got.String())
		if err != nil || again != got {
			t.Fatalf("%q is %+v, written %q, which is %+v, %v", s, got, got, again, err)
		}
	})
}
