// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/sidekey/sidekey/dbproxy/plan"
)

// TestCastOfTextParameter has parameters that are declared as text and cast to
// the column's type, as JDBC sends ?::jsonb.
func TestCastOfTextParameter(t *testing.T) {
	f := start(t, shared, described())
	w := rawClient(t, f)
	w.send(&pgproto3.Query{String: kindsDDL()}).want("C Z")
	for _, c := range []struct {
		typ, column string
		value       string
		want        string
	}{
		{"jsonb", "c_jsonb", `{"b":1}`, `{"b": 1}`},
		{"int4", "c_int4", "1234", "1234"}, // as many bytes as an int4 has
		{"int8", "c_int4", "5678", "5678"},
		{"uuid", "c_uuid", "0b8f9f0e-8f0f-4a50-9a51-7e6d3a2c1b00", "0b8f9f0e-8f0f-4a50-9a51-7e6d3a2c1b00"},
		{"date", "c_date", "2024-02-29", "2024-02-29"},
		{"numeric", "c_numeric", "1.50", "1.50"},
	} {
		for _, format := range []int16{0, 1} {
			w.send(&pgproto3.Parse{Query: "INSERT INTO kinds (" + c.column + ", plain) VALUES ($1::" + c.typ + ", 'cast') RETURNING " + c.column, ParameterOIDs: []uint32{plan.Varchar}},
				&pgproto3.Bind{Parameters: [][]byte{[]byte(c.value)}, ParameterFormatCodes: []int16{format}}, &pgproto3.Execute{}, &pgproto3.Sync{}).want("1 2 D:" + strings.ReplaceAll(c.want, " ", "+") + " C Z")
		}
	}
	w.send(&pgproto3.Parse{Query: "INSERT INTO kinds (c_int4) VALUES ($1::int4)", ParameterOIDs: []uint32{plan.Text}},
		&pgproto3.Bind{Parameters: [][]byte{[]byte("x")}}, &pgproto3.Execute{}, &pgproto3.Sync{}).want("1 E22P02 Z")
	w.send(&pgproto3.Parse{Query: "INSERT INTO kinds (c_int4) VALUES ($1)", ParameterOIDs: []uint32{plan.Text}}, &pgproto3.Sync{}).want("E42804 Z")
	got := textRows(t, f.connect(t, pgx.QueryExecModeExec), "SELECT c_int4 FROM kinds WHERE c_int4 IS NOT NULL ORDER BY id", f.database)
	if d := cmp.Diff([]string{"1234", "1234", "5678", "5678"}, got); d != "" {
		t.Error(d)
	}
}

// TestCastOfTextParameterToEnum has the types that the database makes: JDBC sends
// ?::mood with a parameter of type varchar.
func TestCastOfTextParameterToEnum(t *testing.T) {
	f := start(t, shared, userTypes())
	conn := f.connect(t, pgx.QueryExecModeExec)
	for _, sql := range userTypesDDL {
		exec1(t, conn, sql)
	}
	w := rawClient(t, f)
	ask := func(sql string, declared uint32, format int16, value, want string) {
		t.Helper()
		w.send(&pgproto3.Parse{Query: sql, ParameterOIDs: []uint32{declared}},
			&pgproto3.Bind{Parameters: [][]byte{[]byte(value)}, ParameterFormatCodes: []int16{format}}, &pgproto3.Execute{}, &pgproto3.Sync{}).want(want)
	}
	for _, declared := range []uint32{plan.Varchar, plan.Text} {
		for _, format := range []int16{0, 1} {
			ask("INSERT INTO moods (id, mood) VALUES (1, $1::mood) RETURNING mood", declared, format, "ok", "1 2 D:ok C Z")
			ask("UPDATE moods SET mood = CAST($1 AS public.mood) RETURNING mood", declared, format, "sad", "1 2 D:sad C Z")
			ask("DELETE FROM moods WHERE mood IN ($1::mood, 'ok') RETURNING id", declared, format, "sad", "1 2 D:1 C Z")
			ask("SELECT id FROM moods WHERE mood <> $1::mood", declared, format, "nothing", "1 E22P02 Z")
		}
	}
	ask("INSERT INTO moods (id, mood) VALUES (1, $1)", plan.Varchar, 0, "ok", "E42804 Z")
	ask("INSERT INTO moods (id, mood) VALUES (1, $1::mood)", plan.Int4, 0, "1", "E42804 Z")
}
