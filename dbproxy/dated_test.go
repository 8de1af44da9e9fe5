// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
)

// movesZone has columns that depend on settings, and functions that change these.
var movesZone = []string{
	"CREATE FUNCTION move() RETURNS int LANGUAGE sql AS $$ SELECT length(set_config('TimeZone', 'Asia/Tokyo', false)) $$",
	"CREATE FUNCTION style() RETURNS int LANGUAGE sql AS $$ SELECT length(set_config('DateStyle', 'German', false)) $$",
	"CREATE FUNCTION hold_on() RETURNS int LANGUAGE sql AS $$ SELECT length(set_config('TimeZone', 'Asia/Tokyo', true)) $$",
	"CREATE SCHEMA app", "CREATE FUNCTION app.count() RETURNS int LANGUAGE sql AS $$ SELECT move() $$",
}

// afterCalls are texts with the answers to them.
var afterCalls = map[string]string{
	"SELECT move(); INSERT INTO times (at) VALUES ('2020-01-01 00:00')": "E0A000 Z", "SELECT app.count(); INSERT INTO times (at) VALUES ('2020-01-01 00:00')": "E0A000 Z", "WITH m (x) AS (SELECT move()) SELECT x FROM m; SELECT at FROM times": "E0A000 Z",
	"SELECT move(); SELECT count(*) FROM times WHERE at = '2020-01-01'": "E0A000 Z", "SELECT move(); INSERT INTO times (at) VALUES ('2020-01-01'::date)": "E0A000 Z", "SELECT move(); SELECT at FROM times": "E0A000 Z", "SELECT style(); SELECT day FROM times": "E0A000 Z",
	"INSERT INTO users (note) VALUES (move()::text); SELECT at FROM times": "E0A000 Z", "SELECT move(); COPY times (at) TO STDOUT": "E0A000 Z", "SELECT move(); COPY times (at) FROM STDIN": "E0A000 Z", "SELECT move(); INSERT INTO times (len) VALUES ('-1 day 1:00')": "E0A000 Z",
	"PREPARE p AS SELECT move(); EXECUTE p; INSERT INTO times (at) VALUES ('2020-01-01')": "E0A000 Z", "PREPARE q AS SELECT at FROM times; SELECT move(); EXECUTE q": "E0A000 Z", "EXPLAIN ANALYZE SELECT move(); INSERT INTO times (at) VALUES ('2020-01-01')": "E0A000 Z",
	// What does not depend on them.
	"SELECT move(); INSERT INTO times (at) VALUES ('2020-01-01 00:00:00+02'), ('2020-01-01 00:00:00Z'), (NULL)": "T23 D:10 C C Z", "SELECT move(); INSERT INTO times (day, len) VALUES ('2020-01-01', '1 day')": "T23 D:10 C C Z",
	"SELECT move(); SELECT email FROM users WHERE id = 1": "T23 D:10 C T25 D:a@b C Z", "SELECT move(); UPDATE users SET email = 'a@b' WHERE id = 1": "T23 D:10 C C Z", "SELECT at FROM times; SELECT move()": "T1184 C T23 D:10 C Z",
	// What ordinary texts call, or seem to.
	"INSERT INTO times (id, at) VALUES (1, '2020-01-01'); INSERT INTO times (id, at) VALUES (2, '2020-01-02')": "C C Z", "INSERT INTO public.times (at) VALUES ('2020-01-01'); SELECT at FROM times": "C T1184 D:2020-01-01+00:00:00+00 C Z",
	"WITH w (x) AS (SELECT 1) SELECT x FROM w; SELECT at FROM times": "T23 D:1 C T1184 C Z", "SELECT x FROM (VALUES (1)) AS v (x); SELECT at FROM times": "T23 D:1 C T1184 C Z", "SELECT id FROM users WHERE id IN (1); SELECT at FROM times": "T23 D:1 C T1184 C Z",
	"BEGIN; SELECT pg_advisory_xact_lock(1) IS NULL; INSERT INTO times (at) VALUES ('2020-01-01'); COMMIT": "C T16 D:f C C C Z", "PREPARE p (int) AS SELECT $1; EXECUTE p (1); SELECT at FROM times": "C T23 D:1 C T1184 C Z",
	"SELECT coalesce(lower('A'), replace('a', 'b', 'c')); SELECT at FROM times": "T25 D:a C T1184 C Z", "SELECT pg_catalog.length('a'); SELECT at FROM times": "T23 D:1 C T1184 C Z", "PREPARE p AS SELECT move(); SELECT at FROM times": "C T1184 C Z",
}

// run is the messages of a statement without parameters.
func run(sql string) []pgproto3.FrontendMessage {
	return []pgproto3.FrontendMessage{&pgproto3.Parse{Query: sql}, &pgproto3.Bind{}, &pgproto3.Execute{}}
}

// TestSettingsOfFunctions has functions that change TimeZone and the like before values
// that depend on them, in one text, in one pipeline, and without waiting for an answer.
func TestSettingsOfFunctions(t *testing.T) {
	f := start(t, shared, append(users(), column("times", "at", "timestamptz", "equality"), column("times", "day", "date", "equality"), column("times", "len", "interval", "random")))
	setup := f.connect(t, pgx.QueryExecModeExec)
	exec1(t, setup, usersDDL)
	exec1(t, setup, "INSERT INTO users (email) VALUES ('a@b')")
	exec1(t, setup, "CREATE TABLE times (id int, at timestamptz, day date, len interval)")
	for _, sql := range movesZone {
		exec1(t, f.direct(t), sql)
	}
	fresh := func(t *testing.T) *wire {
		exec1(t, setup, "TRUNCATE times")
		w := rawClient(t, f)
		w.send(&pgproto3.Query{String: "SET TimeZone TO 'UTC'"}).want("C Z")
		return w
	}
	for sql, want := range afterCalls {
		t.Run(sql, func(t *testing.T) { fresh(t).send(&pgproto3.Query{String: sql}).want(want) })
	}
	const insert = "INSERT INTO times (at) VALUES ('2020-01-01 00:00')"
	query := func(sql string) pgproto3.FrontendMessage { return &pgproto3.Query{String: sql} }
	sync, execute := []pgproto3.FrontendMessage{&pgproto3.Sync{}}, &pgproto3.Execute{}
	prepared, read := []pgproto3.FrontendMessage{&pgproto3.Parse{Name: "i", Query: "INSERT INTO times (at) VALUES ($1)"}}, []pgproto3.FrontendMessage{&pgproto3.Parse{Name: "r", Query: "SELECT at FROM times"}}
	text := []pgproto3.FrontendMessage{&pgproto3.Bind{PreparedStatement: "i", Parameters: [][]byte{[]byte("2020-01-01 00:00")}}, execute}
	binary := []pgproto3.FrontendMessage{&pgproto3.Bind{PreparedStatement: "i", Parameters: [][]byte{make([]byte, 8)}, ParameterFormatCodes: []int16{1}}, execute}
	rows, binaryRows := []pgproto3.FrontendMessage{&pgproto3.Bind{PreparedStatement: "r"}, execute}, []pgproto3.FrontendMessage{&pgproto3.Bind{PreparedStatement: "r", ResultFormatCodes: []int16{1}}, execute}
	for name, c := range map[string]struct {
		send []pgproto3.FrontendMessage
		want string
	}{
		"a literal":                   {slices.Concat(run("SELECT move()"), run(insert), run("SELECT at FROM times"), sync), "1 2 D:10 C 1 2 C 1 2 D:2020-01-01+00:00:00+09 C Z"},
		"a literal after a known one": {slices.Concat(run("SELECT upper('x')"), run(insert), sync), "1 2 D:X C 1 2 C Z"},
		"a parameter":                 {slices.Concat(prepared, run("SELECT move()"), text, read, rows, sync), "1 1 2 D:10 C 2 C 1 2 D:2020-01-01+00:00:00+09 C Z"},
		"a binary parameter":          {slices.Concat(prepared, run("SELECT move()"), binary, sync), "1 1 2 D:10 C 2 C Z"},
		"rows":                        {slices.Concat(read, run("SELECT move()"), rows, sync), "1 1 2 D:10 C 2 C Z"},
		"binary rows":                 {slices.Concat(read, run("SELECT move()"), binaryRows, sync), "1 1 2 D:10 C 2 C Z"},
		"what a failure takes back": {slices.Concat(run("SELECT move()"), run(insert), run("SELECT 1/0"), sync, run(insert), run("SELECT at FROM times"), sync, []pgproto3.FrontendMessage{query("SELECT at FROM times")}),
			"1 2 D:10 C 1 2 C 1 E22012 Z 1 2 C 1 2 D:2020-01-01+00:00:00+00 C Z T1184 D:2020-01-01+00:00:00+00 C Z"},
		"SET that a failure takes back": {slices.Concat(run("SET TimeZone TO 'Asia/Tokyo'"), run(insert), run("SELECT 1/0"), sync, run(insert), run("SELECT at FROM times"), sync),
			"1 2 C 1 2 C 1 E22012 Z 1 2 C 1 2 D:2020-01-01+00:00:00+00 C Z"},
		"a literal behind Sync": {slices.Concat(run("SELECT move()"), sync, run(insert), sync), "1 2 D:10 C Z 1 2 C Z"},
		"queries":               {[]pgproto3.FrontendMessage{query("SELECT move()"), query(insert), query("SELECT at FROM times")}, "T23 D:10 C Z C Z T1184 D:2020-01-01+00:00:00+09 C Z"},
		"what COMMIT takes back": {[]pgproto3.FrontendMessage{query("BEGIN"), query("SELECT hold_on()"), query(insert), query("COMMIT"), query("SELECT at FROM times")},
			"C Z T23 D:10 C Z C Z C Z T1184 D:2019-12-31+15:00:00+00 C Z"},
	} {
		t.Run(name, func(t *testing.T) { fresh(t).send(c.send...).want(c.want) })
	}
	// A client that waits for its answers notices nothing.
	w := fresh(t)
	for range 2 {
		w.send(slices.Concat(run("SELECT move()"), sync)...).want("1 2 D:10 C Z")
		w.send(slices.Concat(run("SELECT 1"), run(insert), sync)...).want("1 2 D:1 C 1 2 C Z")
	}
	w.send(query("SELECT DISTINCT at FROM times")).want("T1184 D:2020-01-01+00:00:00+09 C Z")
}
