// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/sidekey/sidekey/dbproxy"
)

// grammar writes random texts that are nearly those of a type.
type grammar struct{ *rand.Rand }

// any gives one of some pieces, in which # stands for a digit.
func (g grammar) any(pieces ...string) string {
	b := []byte(pieces[g.IntN(len(pieces))])
	for i := range b {
		if b[i] == '#' {
			b[i] = byte('0' + g.IntN(10))
		}
	}
	return string(b)
}

func (g grammar) some(most int, pieces ...string) (out string) {
	for range g.IntN(most + 1) {
		out += g.any(pieces...)
	}
	return out
}

func (g grammar) number() string {
	return g.any("0", "1", "12", "-3", "+4", "#.#", "-#.25", ".5", "0.0000015", "9####", "1e3", "59", "60", "24")
}

func (g grammar) clock() string {
	return g.any("1#:##", "2#:##", "#:##", "1#:##:##", "2#:##:##") + g.any("", "", ".5", ".995", ".1234565", ".")
}

func (g grammar) date() string {
	return g.any("20##", "1###", "0###") + g.any("-0#", "-1#", "-06") + g.any("-0#", "-1#", "-2#", "-30", "-31")
}

func (g grammar) interval() string {
	if g.IntN(4) == 0 {
		return "P" + g.any("", g.number()+"Y") + g.any("", g.number()+"M") + g.any("", g.number()+"W", g.number()+"D") + g.any("", "T"+g.number()+"H", "T"+g.number()+"M"+g.number()+"S")
	}
	out := ""
	for range 1 + g.IntN(3) {
		out += g.any("", "", " ", "@ ") + g.any(g.any("", "-", "+")+g.clock(), g.any("1-2", "-2-1#"), g.number()+g.any(" ", "")+
			g.any("year", "years", "mon", "mons", "day", "d", "h", "hours", "min", "m", "s", "sec", "ms", "us", "weeks", "w", "decade", "c", "y", "microseconds", "mil", "", "fortnight")) + " "
	}
	return out + g.any("", "", "", "ago")
}

// text writes one for a type.
func (g grammar) text(typ string) string {
	switch typ {
	case "interval":
		return g.interval()
	case "time", "time(1)":
		return g.any(g.clock(), g.clock(), "1#####", "T0#####", "1###") + g.any("", "", " AM", " PM", "pm", "+02", "Z", " UTC", "-05:30", " x")
	case "date":
		return g.date() + g.any("", "", " BC", " 10:00", "T10:00Z", "x")
	case "timestamp", "timestamp(2)", "timestamptz":
		return g.date() + g.any(" ", "T", "") + g.any("", g.clock(), g.clock()) + g.any("", "", "Z", "+02", "-05:30", " Europe/Paris", " BC", "  AD", " America/New_York")
	case "inet", "cidr":
		return g.any("1#.#.#.2#", "#.#", "1##", "#.0.0.0", "::1", "1::", "::", "1#:#::#a##", "::##.2.3.#", "::ffff:0:1.2.3.4", "0:0:0:1:0:0:0:0", "1:0:0:0:1:0:0:1", "::ffff:102:304", "01::1", "1:2:3:4:5:6:7::") + g.any("", "", "/#", "/##", "/1##", "/08", "/")
	case "int4[]":
		return g.any("", "", "[0:1]=", "[2]=") + "{" + g.some(5, "{", "}", "#", "#", ",", ",", "NULL", " ", "\"3\"", "-4", "\\5", "{1,2}", "{1,2}") + g.any("}", "}", "} ", "")
	case "text[]":
		return "{" + g.some(7, "{", "}", "a", " b ", ",", ",", "NULL", " ", "\"c,d\"", "\\\\", "\\ ", "é", "\"\"", "\"a\\\"b\"", "\t") + "}"
	case "float4", "float8", "numeric(10,2)", "numeric":
		return g.number() + g.any("", "", "e5", "e-5", "e20", "E+30", "e1##", "p1", "x", "0", ".", "1########", " ")
	case "char(3)", "varchar(3)":
		return g.some(5, "a", " ", "é", " ", "\t")
	case "json", "jsonb":
		return g.some(7, "{", "}", "[", "]", "#", "\"a\"", ":", ",", "null", "1e5", "-0", "01", " ", "\"\\ud800\"", "\"\\x\"", "{\"a\":1,\"a\":2}", "[1,2]", "1.", "\n", "\"\\u0000\"", "\"\\ud83d\\ude00\"")
	case "bytea":
		return g.any("", "\\x") + g.some(5, "a", "\\\\", "\\001", "ff", "0", " ", "é", "\\", "\\400")
	case "uuid":
		return g.any("", "{") + strings.Repeat(g.any("a0eebc99", "a0ee-bc99", "a0eebc9"), 4) + g.any("", "}", "-")
	}
	return g.any("t", "tr", "TRUE", "of", "o", "y", "ye", " no ", "n", "on", "1", "10", "") // bool
}

// TestRandomInput compares what is read from random texts with what PostgreSQL
// reads. Everything that is read at all is read alike; times and intervals that
// PostgreSQL knows in other forms than ISO may be refused.
func TestRandomInput(t *testing.T) {
	conn := dial(t, shared.url("postgres", "postgres"), pgx.QueryExecModeSimpleProtocol)
	exec1(t, conn, "SET TimeZone TO 'Europe/Paris'")
	paris, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		t.Fatal(err)
	}
	g, version := grammar{rand.New(rand.NewPCG(1, 2))}, serverVersion(t)
	more := map[string]bool{"interval": true, "time": true, "time(1)": true, "date": true, "timestamp": true, "timestamp(2)": true, "timestamptz": true}
	for _, typ := range []string{"interval", "time", "time(1)", "date", "timestamp", "timestamp(2)", "timestamptz", "inet", "cidr", "int4[]", "text[]", "float4", "float8",
		"numeric(10,2)", "numeric", "char(3)", "varchar(3)", "json", "jsonb", "bytea", "uuid", "bool"} {
		parsed, err := dbproxy.PlanType(typ)
		if err != nil {
			t.Fatal(err)
		}
		texts := make([]string, 300)
		for i := range texts {
			texts[i] = g.text(typ)
		}
		read := 0
		for i, want := range stored(t, conn, typ, texts) {
			value, err := dbproxy.DecodeValue(parsed, 0, 0, []byte(texts[i]), paris, version)
			if err != nil {
				if want != nil && !more[typ] {
					t.Errorf("%s %q: got %v, want %q", typ, texts[i], err, *want)
				}
				continue
			}
			read++
			got, err := dbproxy.EncodeValue(nil, parsed, 0, value, paris)
			if err != nil || want == nil || string(got) != *want {
				t.Errorf("%s %q: got %q, %v; want %v", typ, texts[i], got, err, want)
			}
		}
		if read < 10 {
			t.Errorf("%s: only %d texts are read", typ, read)
		}
	}
}

// stored is what a column of a type holds of each text, nil of what it refuses.
func stored(t *testing.T, conn *pgx.Conn, typ string, texts []string) (out []*string) {
	t.Helper()
	exec1(t, conn, "CREATE TEMP TABLE x (c "+typ+")")
	exec1(t, conn, `CREATE FUNCTION pg_temp.stored(v text) RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN
		EXECUTE 'DELETE FROM x; INSERT INTO x VALUES (' || quote_literal(v) || ')'; RETURN QUERY SELECT format('%s', c) FROM x;
		EXCEPTION WHEN others THEN RETURN NEXT NULL; END $$`)
	list := make([]string, len(texts))
	for i, s := range texts {
		list[i] = fmt.Sprintf("(%d, '%s')", i, escape(s))
	}
	rows, err := conn.Query(t.Context(), "SELECT pg_temp.stored(v) FROM (VALUES "+strings.Join(list, ", ")+") x(i, v) ORDER BY i")
	if err != nil {
		t.Fatal(err)
	}
	if out, err = pgx.CollectRows(rows, pgx.RowTo[*string]); err != nil || len(out) != len(texts) {
		t.Fatalf("%s: %d of %d texts, %v", typ, len(out), len(texts), err)
	}
	exec1(t, conn, "DROP FUNCTION pg_temp.stored; DROP TABLE x")
	return out
}

// TestFloats prints floats as PostgreSQL does, among them those whose shortest
// digits lie in the middle of two.
func TestFloats(t *testing.T) {
	conn := dial(t, shared.url("postgres", "postgres"), pgx.QueryExecModeSimpleProtocol)
	g := rand.New(rand.NewPCG(3, 4))
	for typ, random := range map[string]func(i int) string{
		"float8": func(i int) string {
			if i < 2100 {
				return fmt.Sprintf("power(2::float8, %d)", min(i-1074, 1023))
			} else if i < 3000 {
				return fmt.Sprintf("'%d.%de%d'::float8", 1+g.IntN(9), g.IntN(10), 15+g.IntN(15))
			}
			return fmt.Sprintf("'%de%d'::float8", g.Uint64()>>1, g.IntN(590)-310)
		},
		"float4": func(i int) string {
			return fmt.Sprintf("(%d * power(2::float8, %d))::float4", g.Uint32()>>8, g.IntN(200)-120)
		},
	} {
		parsed, err := dbproxy.PlanType(typ)
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		for i := range 6000 {
			list = append(list, "("+random(i)+")")
		}
		results, err := conn.PgConn().Exec(t.Context(), "SELECT c, encode("+typ+"send(c), 'hex') FROM (VALUES "+strings.Join(list, ", ")+") v(c)").ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range results[0].Rows {
			var bits []byte
			if _, err := fmt.Sscanf(string(row[1]), "%x", &bits); err != nil {
				t.Fatal(err)
			}
			if got, err := dbproxy.EncodeValue(nil, parsed, 0, bits, nil); err != nil || string(got) != string(row[0]) {
				t.Errorf("%s %s: got %s, %v; want %s", typ, row[1], got, err, row[0])
			}
		}
	}
}
