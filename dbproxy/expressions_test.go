// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"
)

var expressionTables = []string{"CREATE TABLE users (id int PRIMARY KEY, email text UNIQUE, ssn varchar(11), pin int4, note text)", "CREATE TABLE leads (id int, email text)"}

// TestExpressions has values that go through expressions, by every way in which
// a client may send and read them.
func TestExpressions(t *testing.T) {
	f := start(t, shared, users())
	for name, mode := range execModes {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			conn := f.connect(t, mode)
			exec1(t, conn, "DROP TABLE IF EXISTS users, leads")
			for _, sql := range expressionTables {
				exec1(t, conn, sql)
			}
			// Rows from arrays.
			exec1(t, conn, "INSERT INTO users (id, email, pin) SELECT * FROM unnest($1::int[], $2::text[], $3::int4[])",
				[]int32{1, 2, 3}, []*string{ptr("exmark-a"), ptr("exmark-b"), nil}, []int32{10, 20, 10})
			exec1(t, conn, "INSERT INTO leads SELECT $1::int, $2", 7, "exmark-b")
			exec1(t, conn, "INSERT INTO leads SELECT id + 10, email FROM users WHERE email = $1", "exmark-a")
			// One parameter for several places.
			exec1(t, conn, "UPDATE users SET email = $1, ssn = $1, note = $1::text WHERE id = $2", "b-as-note", 2)
			var n int
			err := conn.QueryRow(ctx, "SELECT count(*) FROM users WHERE email = $1 AND ($1 IS NULL OR note = $1) AND id = $2", "b-as-note", 2).Scan(&n)
			if err != nil || n != 1 {
				t.Errorf("got %d, %v", n, err)
			}
			exec1(t, conn, "UPDATE users SET email = $1, ssn = NULL, note = NULL WHERE id = 2", "exmark-b")
			if err := conn.QueryRow(ctx, "SELECT count(*) FROM users WHERE $1::text IS NULL OR email = $1", nil).Scan(&n); err != nil || n != 3 {
				t.Errorf("got %d, %v", n, err)
			}
			// Expressions and arrays.
			var emails, more []*string
			var pins []int32
			var first, other string
			err = conn.QueryRow(ctx, "SELECT array_agg(email ORDER BY id), ARRAY(SELECT email FROM leads WHERE email <> $1 ORDER BY id), array_agg(pin ORDER BY id), (SELECT email FROM leads WHERE id = 7), coalesce(max(note), $2) FROM users", "none", "text").
				Scan(&emails, &more, &pins, &first, &other)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff([]*string{ptr("exmark-a"), ptr("exmark-b"), nil}, emails); d != "" || first != "exmark-b" || other != "text" {
				t.Errorf("%s %q %q", d, first, other)
			}
			if d := cmp.Diff([]*string{ptr("exmark-b"), ptr("exmark-a")}, more); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff([]int32{10, 20, 10}, pins); d != "" {
				t.Error(d)
			}
			rows, _ := conn.Query(ctx, "SELECT coalesce(email, $1) AS e, CASE WHEN pin = $2 THEN pin ELSE -1 END, id FROM users UNION ALL SELECT $3, $4, 100 ORDER BY 3", "exmark-none", 10, "exmark-u", 5)
			type row struct {
				E string
				P int32
				N int
			}
			got, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff([]row{{"exmark-a", 10, 1}, {"exmark-b", -1, 2}, {"exmark-none", 10, 3}, {"exmark-u", 5, 100}}, got); d != "" {
				t.Error(d)
			}
			newRows := "MERGE INTO users u USING (VALUES ($1::int, $2), (2, 'exmark-lit')) v (i, e) ON u.id = v.i WHEN MATCHED THEN UPDATE SET email = v.e WHEN NOT MATCHED THEN INSERT (id, email) VALUES (v.i, v.e)"
			if serverVersion(t) < 15 { // which have no MERGE
				newRows = "WITH v (i, e) AS (VALUES ($1::int, $2)), m AS (UPDATE users SET email = 'exmark-lit' WHERE id = 2) INSERT INTO users (id, email) SELECT i, e FROM v"
			}
			exec1(t, conn, newRows, 9, "exmark-new")
			rows, _ = conn.Query(ctx, "SELECT email FROM users WHERE email = ANY ($1) AND email IN ($2, $3) ORDER BY id", []string{"exmark-new", "exmark-lit"}, "exmark-lit", "exmark-new")
			list, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if d := cmp.Diff([]string{"exmark-lit", "exmark-new"}, list); d != "" || err != nil {
				t.Error(d, err)
			}
		})
	}
	noCanary(t, f, "exmark")
}

// TestAddedParameters: that a parameter is several for the server is nothing
// that the client sees.
func TestAddedParameters(t *testing.T) {
	f := start(t, shared, users())
	w := rawClient(t, f)
	w.send(&pgproto3.Query{String: usersDDL}).want("C Z")
	w.send(&pgproto3.Query{String: "INSERT INTO users (email, note) VALUES ('both', 'both')"}).want("C Z")
	sync, sql := &pgproto3.Sync{}, "SELECT note FROM users WHERE note = $1 AND email = $1"
	w.send(&pgproto3.Parse{Name: "a", Query: sql}, &pgproto3.Describe{ObjectType: 'S', Name: "a"}, sync).want("1 t[25] T25 Z")
	w.send(&pgproto3.Parse{Name: "b", Query: sql, ParameterOIDs: []uint32{1043}}, &pgproto3.Describe{ObjectType: 'S', Name: "b"}, sync).want("1 t[1043] T25 Z")
	w.send(&pgproto3.Bind{PreparedStatement: "a", Parameters: [][]byte{[]byte("both")}}, &pgproto3.Execute{}, sync).want("2 D:both C Z")
	w.send(&pgproto3.Bind{PreparedStatement: "b", ParameterFormatCodes: []int16{1}, Parameters: [][]byte{[]byte("both")}}, &pgproto3.Execute{}, sync).want("2 D:both C Z")
	w.send(&pgproto3.Bind{PreparedStatement: "a", Parameters: [][]byte{nil}}, &pgproto3.Execute{}, sync).want("2 C Z")
	for _, params := range [][][]byte{nil, {[]byte("both"), []byte("both")}} {
		w.send(&pgproto3.Bind{PreparedStatement: "a", Parameters: params}, &pgproto3.Execute{}, sync).want("E08P01 Z")
	}
	w.send(&pgproto3.Parse{Query: sql, ParameterOIDs: []uint32{25, 25}}, sync).want("E0A000 Z")
	w.send(&pgproto3.Parse{Query: sql, ParameterOIDs: []uint32{23}}, sync).want("E42804 Z")
}

// TestArraysOfTypes has arrays of every type, in both formats.
func TestArraysOfTypes(t *testing.T) {
	columns := users()[:0]
	types := map[string]any{"text": "a,\"b\\ {c} NULL", "varchar(30)": "null", "int4": int32(-5), "int8": int64(1 << 40), "bool": true, "bytea": []byte{0, 'x'},
		"date": time.Date(2020, 2, 3, 0, 0, 0, 0, time.UTC), "timestamptz": time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC), "uuid": pgtype.UUID{Bytes: [16]byte{1}, Valid: true}}
	for typ := range types {
		columns = append(columns, column("arrays", columnOf(typ), typ, "random"))
	}
	f := start(t, shared, columns)
	ddl := "CREATE TABLE arrays (id int"
	for typ := range types {
		ddl += ", " + columnOf(typ) + " " + typ
	}
	exec1(t, f.connect(t, pgx.QueryExecModeExec), ddl+")")
	for name, mode := range execModes {
		conn := f.connect(t, mode)
		for typ, v := range types {
			exec1(t, conn, "DELETE FROM arrays")
			exec1(t, conn, "INSERT INTO arrays (id, "+columnOf(typ)+") VALUES (1, $1), (2, NULL)", v)
			sql := "SELECT array_agg(" + columnOf(typ) + " ORDER BY id), array_agg(" + columnOf(typ) + ") FILTER (WHERE false), ARRAY(SELECT " + columnOf(typ) + " FROM arrays WHERE false) FROM arrays"
			rows, err := conn.Query(t.Context(), sql)
			if err != nil {
				t.Fatal(err)
			}
			if !rows.Next() {
				t.Fatalf("%s %s: %v", name, typ, rows.Err())
			}
			values, err := rows.Values()
			rows.Close()
			if err != nil {
				t.Errorf("%s %s: %v", name, typ, err)
				continue
			}
			list, _ := values[0].([]any)
			if u, ok := v.(pgtype.UUID); ok {
				v = u.Bytes
			}
			if len(list) != 2 || list[1] != nil || cmp.Diff(v, inUTC(list[0])) != "" {
				t.Errorf("%s %s: got %v, want %v and NULL", name, typ, values[0], v)
			}
			if empty, ok := values[2].([]any); values[1] != nil || !ok || len(empty) != 0 {
				t.Errorf("%s %s: got %v and %v, want NULL and an empty array", name, typ, values[1], values[2])
			}
		}
	}
}

func inUTC(v any) any {
	if at, ok := v.(time.Time); ok {
		return at.UTC()
	}
	return v
}

func columnOf(typ string) string { return "c_" + strings.Map(letters, typ) }

func letters(r rune) rune {
	if r == '(' || r == ')' {
		return -1
	}
	return r
}

func ptr(s string) *string { return &s }
