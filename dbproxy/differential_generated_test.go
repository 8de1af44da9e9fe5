// SPDX-License-Identifier: Apache-2.0

//go:build !race

package dbproxy_test

import (
	"fmt"
	"strings"
)

// sampleColumn is a column of users with constants for templates: the first two
// are there, the third is not.
type sampleColumn struct {
	name, typ, mode string
	texts           [3]string
}

var sampleColumns = []sampleColumn{
	{"email", "text", "equality", [3]string{"cnry-ann@x", "cnry-bob@x", "cnry-nobody"}},
	{"ssn", "varchar(11)", "random", [3]string{"cnry-s1", "cnry-s2", "cnry-s9"}},
	{"pin", "int4", "equality", [3]string{"731000001", "731000002", "731000999"}},
	{"code", "varchar(4)", "equality", [3]string{"ab", "cd", "zz"}},
	{"price", "numeric(8,2)", "equality", [3]string{"1.01", "2.00", "7.77"}},
	{"born", "date", "equality", [3]string{"2001-02-03", "2002-02-03", "1970-01-01"}},
	{"seen", "timestamptz", "equality", [3]string{"2024-01-02 03:04:05.5+00", "2024-02-02 03:04:05+00", "1999-01-01 00:00:00+00"}},
	{"uid", "uuid", "equality", [3]string{"ca9a71e0-0000-4000-8000-000000000001", "ca9a71e0-0000-4000-8000-000000000002", "ca9a71e0-0000-4000-8000-999999999999"}},
	{"ok", "bool", "equality", [3]string{"true", "false", "f"}},
	{"blob", "bytea", "equality", [3]string{`\x636e727901`, `\x636e727902`, `\x636e727999`}},
	{"big", "int8", "equality", [3]string{"7310000000001", "7310000000002", "7310000000999"}},
	{"doc", "jsonb", "random", [3]string{"[]", `{"a": [1, 2.50], "k": "cnry1"}`, `{"z": 0}`}},
	{"secret", "text", "random", [3]string{"cnry-secret1", "cnry-secret2", "cnry-none"}},
	{"note", "text", "plain", [3]string{"n1", "n2", "n9"}},
	{"n", "int4", "plain", [3]string{"10", "20", "99"}},
}

// template is a statement of a column {c} with constants {v}, {w} and {x}, and
// what is expected of it in modes equality and random. Columns that are not
// protected are always answered alike.
type template struct {
	sql              string
	equality, random string
}

const (
	same = "same"
	no   = "refused"
)

var templates = []template{
	// Selecting.
	{"SELECT {c} FROM users ORDER BY id", same, same},
	{"SELECT id, {c} AS x, {c} FROM users ORDER BY id", same, same},
	{"SELECT u.{c} FROM users u WHERE id = 1", same, same},
	{"SELECT {c} FROM users WHERE {c} IS NULL ORDER BY id", same, same},
	{"SELECT {c} FROM users WHERE {c} IS NOT NULL ORDER BY id", same, same},
	{"SELECT id, {c} IS NULL FROM users ORDER BY id", same, same},
	{"SELECT count({c}) FROM users", same, same},
	{"SELECT count(DISTINCT {c}) FROM users", same, no},
	{"SELECT DISTINCT {c} FROM users", same, no},
	{"SELECT DISTINCT ON ({c}) {c} FROM users", same, no},
	{"SELECT {c}, count(*) FROM users GROUP BY {c}", same, no},
	{"SELECT {c}, count(*) FROM users GROUP BY {c} HAVING count(*) > 1", same, no},
	{"SELECT {c}, count(*) FROM users GROUP BY {c} HAVING {c} = {v}", same, no},
	{"SELECT {c}, note, count(*) FROM users GROUP BY ROLLUP ({c}, note)", same, no},
	{"SELECT {c}, n, count(*) FROM users GROUP BY CUBE ({c}, n)", same, no},
	{"SELECT {c} FROM users GROUP BY GROUPING SETS (({c}), ())", same, no},
	{"SELECT id, count(*) OVER (PARTITION BY {c}) FROM users ORDER BY id", same, no},
	{"SELECT id, row_number() OVER (PARTITION BY {c} ORDER BY id) FROM users ORDER BY id", same, no},
	{"SELECT id, rank() OVER (ORDER BY {c}) FROM users ORDER BY id", no, no},
	{"SELECT id FROM users ORDER BY {c}, id", no, no},
	{"SELECT id FROM users ORDER BY {c} DESC NULLS LAST, id", no, no},
	{"SELECT {c} FROM users ORDER BY 1", no, no},
	{"SELECT max({c}::text) FROM users", no, no},
	{"SELECT {c}::text FROM users ORDER BY id", no, no},
	{"SELECT CAST({c} AS varchar) FROM users ORDER BY id", no, no},
	{"SELECT quote_nullable({c}) FROM users ORDER BY id", no, no},
	{"SELECT concat({c}, '') FROM users ORDER BY id", no, no},
	{"SELECT array_agg({c} ORDER BY id) FROM users", same, same},
	{"SELECT json_build_object('k', {c}) FROM users ORDER BY id", no, no},
	{"SELECT ROW ({c}) FROM users ORDER BY id", no, no},
	{"SELECT ARRAY[{c}] FROM users ORDER BY id", same, same},
	{"SELECT pg_typeof({c}) FROM users ORDER BY id", no, no},
	// Comparing.
	{"SELECT id FROM users WHERE {c} = {v} ORDER BY id", same, no},
	{"SELECT id FROM users WHERE {v} = {c} ORDER BY id", same, no},
	{"SELECT id FROM users WHERE {c} = {x} ORDER BY id", same, no},
	{"SELECT id FROM users WHERE {c} <> {v} ORDER BY id", same, no},
	{"SELECT id FROM users WHERE {c} != {x} ORDER BY id", same, no},
	{"SELECT id FROM users WHERE NOT {c} = {v} ORDER BY id", same, no},
	{"SELECT id FROM users WHERE {c} IN ({v}) ORDER BY id", same, no},
	{"SELECT id FROM users WHERE {c} IN ({v}, {w}, {x}) ORDER BY id", same, no},
	{"SELECT id FROM users WHERE {c} NOT IN ({v}, {x}) ORDER BY id", same, no},
	{"SELECT id FROM users WHERE {c} NOT IN ({v}, NULL) ORDER BY id", same, no},
	{"SELECT id FROM users WHERE {c} = ANY (ARRAY[{v}, {w}]) ORDER BY id", same, no},
	{"SELECT id FROM users WHERE {c} = ANY ('{}') ORDER BY id", same, no},
	{"SELECT id FROM users WHERE {c} IS DISTINCT FROM {v} ORDER BY id", same, no},
	{"SELECT id FROM users WHERE {c} IS NOT DISTINCT FROM {v} ORDER BY id", same, no},
	{"SELECT id FROM users WHERE {c} IS NOT DISTINCT FROM NULL ORDER BY id", same, no},
	{"SELECT id FROM users WHERE ({c}, id) = ({v}, 1) ORDER BY id", same, no},
	{"SELECT id FROM users WHERE ({c}, id) IN (({v}, 1), ({w}, 2)) ORDER BY id", same, no},
	{"SELECT id, {c} = {v} FROM users ORDER BY id", same, no},
	{"SELECT id FROM users WHERE ({c} = {v}) IS NOT TRUE ORDER BY id", same, no},
	{"SELECT id FROM users WHERE CASE WHEN {c} = {v} THEN true ELSE false END ORDER BY id", same, no},
	{"SELECT id FROM users WHERE {c} = {v} AND note = 'n1' OR {c} = {w} ORDER BY id", same, no},
	{"SELECT count(*) FILTER (WHERE {c} = {v}) FROM users", same, no},
	{"SELECT id FROM users WHERE {c} < {w} ORDER BY id", no, no},
	{"SELECT id FROM users WHERE {c} <= {w} ORDER BY id", no, no},
	{"SELECT id FROM users WHERE {c} > {v} ORDER BY id", no, no},
	{"SELECT id FROM users WHERE {c} >= {v} ORDER BY id", no, no},
	{"SELECT id FROM users WHERE {c} BETWEEN {v} AND {w} ORDER BY id", no, no},
	{"SELECT id FROM users WHERE {c} NOT BETWEEN {v} AND {w} ORDER BY id", no, no},
	{"SELECT id FROM users WHERE {c} < ANY (ARRAY[{v}]) ORDER BY id", no, no},
	{"SELECT id FROM users WHERE ({c}, id) < ({w}, 2) ORDER BY id", no, no},
	{"SELECT a.id, b.id FROM users a JOIN users b ON a.{c} = b.{c} ORDER BY 1, 2", same, no},
	{"SELECT a.id, b.id FROM users a LEFT JOIN users b USING ({c}) WHERE b.id IS NULL OR b.id > 1 ORDER BY 1, 2", same, no},
	{"SELECT id FROM users u WHERE EXISTS (SELECT 1 FROM users v WHERE v.{c} = u.{c} AND v.id <> u.id) ORDER BY id", same, no},
	{"SELECT id FROM users WHERE {c} IN (SELECT {c} FROM users WHERE id < 3) ORDER BY id", same, no},
	{"SELECT id FROM users WHERE {c} = (SELECT {c} FROM users WHERE id = 1) ORDER BY id", same, no},
	{"SELECT id FROM users WHERE id IN (SELECT id FROM users WHERE {c} = {v}) ORDER BY id", same, no},
	// Passing on.
	{"SELECT (SELECT {c} FROM users v WHERE v.id = u.id) FROM users u ORDER BY id", same, same},
	{"SELECT s.x FROM (SELECT {c} AS x, id FROM users) s ORDER BY s.id", same, same},
	{"SELECT s.x FROM (SELECT {c} AS x, id FROM users) s WHERE s.x = {v} ORDER BY s.id", same, no},
	{"WITH s AS (SELECT {c}, id FROM users) SELECT {c} FROM s ORDER BY id", same, same},
	{"WITH s (x, id) AS MATERIALIZED (SELECT {c}, id FROM users) SELECT x FROM s WHERE x = {v} ORDER BY id", same, no},
	{"SELECT x.v FROM users u, LATERAL (SELECT u.{c} AS v) x ORDER BY u.id", same, same},
	{"SELECT {c} FROM users UNION ALL SELECT {c} FROM users", same, same},
	{"SELECT {c} FROM users UNION SELECT {c} FROM users", same, no},
	{"SELECT {c} FROM users INTERSECT SELECT {c} FROM users WHERE id < 3", same, no},
	{"SELECT {c} FROM users EXCEPT SELECT {c} FROM users WHERE id < 3", same, no},
	{"SELECT {c} FROM users WHERE id = 1 UNION ALL SELECT {x}", same, same},
	{"SELECT COALESCE({c}, {x}) FROM users ORDER BY id", same, same},
	{"SELECT COALESCE({c}, NULL) FROM users ORDER BY id", same, same},
	{"SELECT CASE WHEN id < 3 THEN {c} END FROM users ORDER BY id", same, same},
	{"SELECT CASE WHEN id < 3 THEN {c} ELSE {x} END FROM users ORDER BY id", same, same},
	{"SELECT NULLIF({c}, {v}) FROM users ORDER BY id", same, no},
	{"SELECT GREATEST({c}, {v}) FROM users ORDER BY id", no, no},
	{"SELECT lag({c}) OVER (ORDER BY id) FROM users ORDER BY id", same, same},
	// Storing.
	{"INSERT INTO users (id, {c}) VALUES (20, {x})", same, same},
	{"INSERT INTO users (id, {c}) VALUES (20, {x}), (21, NULL), (22, DEFAULT) RETURNING id, {c}", same, same},
	{"INSERT INTO users (id, {c}) VALUES (1, {x}) ON CONFLICT (id) DO UPDATE SET {c} = EXCLUDED.{c} RETURNING {c}", same, same},
	{"INSERT INTO users (id, {c}) VALUES (1, {x}) ON CONFLICT (id) DO UPDATE SET {c} = {x} RETURNING *", same, same},
	{"INSERT INTO users (id, {c}) VALUES (1, {x}) ON CONFLICT DO NOTHING", same, same},
	{"INSERT INTO users (id, {c}) SELECT 20, {x} RETURNING {c}", same, same},
	{"INSERT INTO users (id, {c}) SELECT id + 50, {c} FROM users WHERE id > 3 AND id < 5", same, same},
	{"UPDATE users SET {c} = {x} WHERE id = 1 RETURNING {c}", same, same},
	{"UPDATE users SET {c} = {x} WHERE {c} = {v} RETURNING id", same, no},
	{"UPDATE users SET {c} = NULL RETURNING id, {c}", same, same},
	{"UPDATE users SET {c} = DEFAULT WHERE id = 2 RETURNING {c}", same, same},
	{"UPDATE users SET {c} = {c} RETURNING {c}", same, same},
	{"UPDATE users SET note = 'hit' WHERE {c} IN ({v}, {w}) RETURNING id, note", same, no},
	{"UPDATE users SET ({c}, n) = ({x}, 3) WHERE id = 2 RETURNING {c}", same, same},
	{"UPDATE users SET {c} = CASE WHEN id = 1 THEN {x} ELSE {c} END RETURNING id, {c}", same, same},
	{"DELETE FROM orders WHERE id IN (SELECT 100 FROM users WHERE {c} = {v}) RETURNING id", same, no},
	{"WITH x AS (UPDATE users SET {c} = {x} WHERE id = 1 RETURNING id, {c}) SELECT {c} FROM x", same, same},
	{"MERGE INTO users u USING (VALUES (1)) s (i) ON u.id = s.i WHEN MATCHED THEN UPDATE SET {c} = {x}", same, same},
	{"SELECT {c} FROM users WHERE id = 1; SELECT id FROM users WHERE id = 2", same, same},
}

// paramTemplates have a parameter $1 for {v}, or its value and another.
var paramTemplates = []template{
	{"SELECT id FROM users WHERE {c} = $1 ORDER BY id", same, no},
	{"SELECT id, {c} FROM users WHERE {c} <> $1 ORDER BY id", same, no},
	{"SELECT id FROM users WHERE {c} IN ($1, $2) ORDER BY id", same, no},
	{"SELECT id FROM users WHERE {c} IS NOT DISTINCT FROM $1 ORDER BY id", same, no},
	{"SELECT id FROM users WHERE {c} = $1::{t} ORDER BY id", same, no},
	{"SELECT id FROM users WHERE {c} < $1 ORDER BY id", no, no},
	{"INSERT INTO users (id, {c}) VALUES (20, $1) RETURNING {c}", same, same},
	{"INSERT INTO users (id, {c}) VALUES (20, $1), (21, NULL) RETURNING {c}", same, same},
	{"INSERT INTO users (id, {c}) SELECT 20, $1 RETURNING {c}", same, same},
	{"UPDATE users SET {c} = $1 WHERE id = 3 RETURNING {c}", same, same},
	{"UPDATE users SET {c} = $1 WHERE {c} = $2 RETURNING {c}", same, no},
	{"SELECT COALESCE({c}, $1) FROM users ORDER BY id", same, same},
}

func (c sampleColumn) textual() bool { return c.typ == "text" || strings.HasPrefix(c.typ, "varchar") }

// expected of a template for a column.
func (t template) expected(c sampleColumn) string {
	switch {
	case c.textual() && (strings.HasPrefix(t.sql, "SELECT {c}::text ") || strings.HasPrefix(t.sql, "SELECT CAST({c} AS varchar) ")):
		return same // a cast that changes nothing
	case !c.textual() && c.mode == "equality" && strings.Contains(t.sql, "= ANY (ARRAY[{v}, {w}])"):
		return no // PostgreSQL has no operator for it either
	}
	switch c.mode {
	case "equality":
		return t.equality
	case "random":
		return t.random
	}
	return same
}

func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// fill puts a column and its constants into a text.
func fill(sql string, c sampleColumn) string {
	bare := strings.NewReplacer("{c}", c.name, "{v}", quoted(c.texts[0]), "{w}", quoted(c.texts[1]), "{x}", quoted(c.texts[2]), "{t}", c.typ)
	return bare.Replace(sql)
}

// oneGroup is a statement on its own.
func oneGroup(sql, expected string, params ...string) *group {
	s := &statementCase{sql: sql, refused: expected == no, hasParams: len(params) > 0}
	s.unordered = !ordering.MatchString(sql)
	for _, p := range params {
		s.params = append(s.params, []byte(p))
	}
	return &group{statements: []*statementCase{s}}
}

// generatedCorpora are templates over columns, forms of constants, and types.
func generatedCorpora(schema *corpus, types map[string]bool) []*corpus {
	return []*corpus{templateCorpus(schema), formCorpus(schema), typeCorpus(types)}
}

// once adds a statement unless it is there: some forms of a constant are the
// same for some types.
func (c *corpus) once(seen map[string]bool, sql, expected string) {
	if !seen[sql] {
		seen[sql] = true
		c.groups = append(c.groups, oneGroup(sql, expected))
	}
}

func templateCorpus(schema *corpus) *corpus {
	c := &corpus{name: "templates", generated: true, first: "users", setup: schema.setup, data: schema.data, tables: []string{"users", "orders"}}
	for _, col := range sampleColumns {
		for _, t := range templates {
			c.groups = append(c.groups, oneGroup(fill(t.sql, col), t.expected(col)))
		}
		for _, t := range paramTemplates {
			params := []string{col.texts[0], col.texts[1]}
			if strings.HasPrefix(t.sql, "INSERT") || strings.HasPrefix(t.sql, "UPDATE") {
				params[0] = col.texts[2]
			}
			if !strings.Contains(t.sql, "$2") {
				params = params[:1]
			}
			c.groups = append(c.groups, oneGroup(fill(t.sql, col), t.expected(col), params...))
		}
	}
	return c
}

// constantForms write a constant {v}, whose text is {raw}, {e} with escapes, of
// type {t}.
var constantForms = []string{
	"{v}", "E'{e}'", "e'{e}'", "$${raw}$$", "$x${raw}$x$", "U&'{e}'", "{v}::{t}", "CAST({v} AS {t})", "({v})", "(({v}))::{t}", "{v}::text", "{v}::{t}::{t}", "NULL::{t}", "{t} {v}",
}

var formPlaces = []template{
	{"SELECT id FROM users WHERE {c} = {form} ORDER BY id", same, no},
	{"SELECT id FROM users WHERE {form} <> {c} ORDER BY id", same, no},
	{"SELECT id FROM users WHERE {c} IN ({form}, {w}) ORDER BY id", same, no},
	{"INSERT INTO users (id, {c}) VALUES (20, {form}) RETURNING {c}", same, same},
	{"UPDATE users SET {c} = {form} WHERE id = 4 RETURNING {c}", same, same},
}

func formCorpus(schema *corpus) *corpus {
	c := &corpus{name: "forms", generated: true, first: "users", setup: schema.setup, data: schema.data, tables: []string{"users"}}
	seen := map[string]bool{}
	for _, col := range sampleColumns {
		for _, form := range constantForms {
			for _, t := range formPlaces {
				text := col.texts[0]
				if t.random == same {
					text = col.texts[2]
				}
				constant := strings.NewReplacer("{v}", quoted(text), "{raw}", text, "{e}", strings.NewReplacer(`\`, `\\`, "'", "''").Replace(text), "{t}", col.typ).Replace(form)
				expected := t.expected(col)
				if form == "{v}::text" && !col.textual() && (col.mode == "equality" || col.mode == "random") {
					expected = no // PostgreSQL casts no text by itself
				}
				c.once(seen, fill(strings.ReplaceAll(t.sql, "{form}", constant), col), expected)
			}
		}
	}
	return c
}

// typeSample is a type with texts of some of its values.
type typeSample struct {
	name  string
	texts []string
}

// typeModes are modes in which every type is tried; those that the proxy does
// not know, or not for the type, are left out.
var typeModes = []string{"random", "equality", "range"}

var typeSamples = []typeSample{
	{"text", []string{"", "cnry", "zwölf ☃ cnry", "cnry 'q' \\ \"x\"", "cnry,{}\t\n"}},
	{"varchar(5)", []string{"cnry", "äöü☃ß", "ab   ", "abcdef", "abc       "}},
	{"varchar", []string{"", "cnry-long-one", "ab   "}},
	{"int2", []string{"0", "-32768", "32767", " 42 ", "40000", "1.5", "x"}},
	{"int4", []string{"0", "-2147483648", "2147483647", " 731000001 ", "2147483648", "0x10", "1e3", ""}},
	{"int8", []string{"0", "-9223372036854775808", "9223372036854775807", "9223372036854775808", "--1"}},
	{"float4", []string{"0", "-0", "1.5", "1e10", "NaN", "-Infinity", "3.4028235e38", "1e-45", "0.1", "x", "1e39"}},
	{"float8", []string{"0", "-0", "1.5", "1e300", "NaN", "Infinity", "0.1", "731000001.25", "1e-320", "1e309", ""}},
	{"bytea", []string{`\x`, `\x00ff5b`, `cnry\\\001`, `\xabc`, `\9`}},
	{"bool", []string{"t", "false", "yes", "0", "on", "maybe", " true "}},
	{"date", []string{"2024-02-29", "infinity", "-infinity", "0044-03-15 BC", "epoch", "19991231", "Jan 5 2020", "2023-02-29", "5874897-12-31", "x"}},
	{"time", []string{"00:00:00", "23:59:59.999999", "24:00:00", "12:30 PM", "25:00:00", "040506.789"}},
	{"timestamp", []string{"2024-01-02 03:04:05.678901", "infinity", "2024-01-02", "0044-03-15 10:00:00 BC", "1999-12-31 23:59:59.9999995", "2024-13-01 00:00:00", "2024-07-02 03:04:05+05"}},
	{"timestamptz", []string{"2024-01-02 03:04:05.678901+00", "2024-07-02T03:04:05Z", "2024-07-02 03:04:05", "1883-01-01 12:00:00+00", "infinity", "2000-01-01 00:00:00-05:30", "0044-03-15 10:00:00+00 BC", "2024-07-02 03:04 Europe/Paris", "2024-03-10 02:30:00", "x"}},
	{"interval", []string{"1 day", "-1 year 2 mons", "PT36H", "1:02:03.5", "@ 1 minute ago", "1 month -30 days", "x"}},
	{"uuid", []string{"ca9a71e0-9c0b-4ef8-bb6d-6bb9bd380a11", "{CA9A71E09C0B4EF8BB6D6BB9BD380A11}", "ca9a71e0", ""}},
	{"numeric", []string{"0", "-0.00", "1.50", "1e10", "1234567890123456789.00001", "NaN", "-Infinity", ".5", "1e-20", "-9999.9999", "1..2"}},
	{"numeric(10,2)", []string{"1.005", "-1.005", "12345678.99", "0.004", "-0.001", "NaN", "1e3", "123456789.00", "Infinity"}},
	{"numeric(5)", []string{"1.5", "2.5", "-1.5", "99999.4", "99999.5"}},
	{"json", []string{`{"b":1, "a":[1, 2.50,"cnry"],  "b":null}`, "[]", "{bad"}},
	{"jsonb", []string{`{"b":1,"a":[1, 2.50,"cnry\n\u00e9"],"aa":{},"b":null}`, `1e3`, `"s"`, `[]`, `true`, `-0.0`, "{", `{'a':1}`}},
	{"inet", []string{"192.168.1.5/24", "10.0.0.1", "::1", "fe80::1/64", "300.1.1.1"}},
	{"cidr", []string{"192.168.0.0/24", "10/8", "::/0", "192.168.1.5/24"}},
	{"macaddr", []string{"08:00:2b:01:02:03", "08002b-010203", "zz"}},
	{"char(5)", []string{"cnry", "ab", "abcdef", ""}},
	{"text[]", []string{"{}", "{cnry,NULL,\"a b\"}", "{{a},{b}}", "{bad"}},
	{"int4[]", []string{"{}", "{1,NULL,731000001}", "{{1,2},{3,4}}", "{x}"}},
}

func typeTable(i int, mode string) string { return fmt.Sprintf("types_%d_%s", i, mode) }

// typeCorpus stores every sample in a column of its type, finds it and reads it
// back.
func typeCorpus(types map[string]bool) *corpus {
	c := &corpus{name: "types", generated: true, first: typeTable(0, "random"), setup: []string{"DROP SCHEMA IF EXISTS public CASCADE", "CREATE SCHEMA public"}}
	for i, s := range typeSamples {
		for _, mode := range typeModes {
			if !types[s.name+" "+mode] {
				continue
			}
			table := typeTable(i, mode)
			c.setup = append(c.setup, fmt.Sprintf("CREATE TABLE %s (id serial PRIMARY KEY, v %s)", table, s.name))
			for k, text := range s.texts {
				c.groups = append(c.groups, typeGroup(fmt.Sprintf("%s %s %d", s.name, mode, k), table, s, mode, text))
			}
		}
	}
	return c
}

// typeGroup has one sample of a type in every place.
func typeGroup(name, table string, s typeSample, mode, text string) *group {
	g := &group{name: name, independent: true}
	add := func(sql string, expected string, params ...string) {
		g.statements = append(g.statements, oneGroup(sql, expected, params...).statements...)
	}
	literal := quoted(text)
	equal, order, stored := no, no, same
	if text == "-0" && mode != "random" && strings.HasPrefix(s.name, "float") {
		stored = no // it equals 0, and is another value
	}
	if mode != "random" {
		equal = same
	}
	if mode == "range" {
		order = same
	}
	add("DELETE FROM "+table, same)
	add(fmt.Sprintf("INSERT INTO %s (id, v) VALUES (1, %s) RETURNING v", table, literal), stored)
	add(fmt.Sprintf("INSERT INTO %s (id, v) VALUES (2, $1) RETURNING v", table), stored, text)
	add(fmt.Sprintf("INSERT INTO %s (id, v) VALUES (3, %s::%s) RETURNING v", table, literal, s.name), stored)
	add(fmt.Sprintf("UPDATE %s SET v = %s RETURNING id, v", table, literal), stored)
	add(fmt.Sprintf("SELECT id, v FROM %s WHERE v = %s ORDER BY id", table, literal), equal)
	add(fmt.Sprintf("SELECT id, v FROM %s WHERE v = $1 ORDER BY id", table), equal, text)
	add(fmt.Sprintf("SELECT id FROM %s WHERE v <> %s ORDER BY id", table, literal), equal)
	add(fmt.Sprintf("SELECT id FROM %s WHERE v IN (%s, %s) ORDER BY id", table, literal, quoted(s.texts[0])), equal)
	add(fmt.Sprintf("SELECT id FROM %s WHERE v < %s ORDER BY id", table, literal), order)
	add(fmt.Sprintf("SELECT id FROM %s WHERE v >= %s ORDER BY v, id", table, quoted(s.texts[0])), order)
	add(fmt.Sprintf("SELECT v FROM %s ORDER BY id", table), same)
	return g
}
