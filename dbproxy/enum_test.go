// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/sidekey/sidekey/proxy"
)

// enumCasts are statements as ORMs write them for columns of an enum, with their
// parameter.
var enumCasts = []struct{ sql, arg string }{
	{`INSERT INTO moods (id, mood) VALUES (1, CAST($1::text AS "mood"))`, "ok"},
	{`INSERT INTO moods (id, mood) VALUES (2, $1::mood), (3, 'ok'::mood), (4, CAST('sad' AS public.mood)), (5, NULL::mood)`, "happy"},
	{`INSERT INTO s2.moods VALUES (1, $1::s2.mood), (2, 'ok'::s2.mood)`, "happy"},
	{`UPDATE moods SET mood = CAST(CAST($1 AS varchar) AS mood) WHERE id = 4`, "happy"},
	{`SELECT id, mood::text FROM moods WHERE mood = $1::text::mood ORDER BY id`, "happy"},
	{`SELECT id, mood::mood FROM moods WHERE mood IN (CAST($1::text AS "public"."mood"), 'sad'::mood) ORDER BY id`, "ok"},
	{`SELECT id, CAST(mood AS varchar) AS m FROM moods WHERE mood <> $1::mood ORDER BY id`, "ok"},
	{`SELECT coalesce(mood, $1::mood) FROM moods ORDER BY id`, "sad"},
	{`SELECT DISTINCT mood::text, $1::text FROM moods WHERE id < 3 AND mood = 'ok'`, "sad"},
	{`SELECT a.mood::text, b.id FROM moods a JOIN moods b ON a.mood::text = b.mood::text WHERE a.mood = $1 ORDER BY 2`, "happy"},
	{`SELECT m, count(*), min(id) FROM (SELECT id, mood::text AS m FROM moods WHERE mood <> $1) s GROUP BY m ORDER BY 3`, "sad"},
	{`SELECT id FROM s2.moods WHERE mood > $1::text::s2.mood ORDER BY mood`, "sad"},
}

// TestCastsOfEnums: what ORMs cast to an enum, and from it to text, is answered as
// by PostgreSQL.
func TestCastsOfEnums(t *testing.T) {
	f, twin := start(t, shared, userTypes()), start(t, shared, nil)
	for _, sql := range userTypesDDL {
		exec1(t, f.connect(t, pgx.QueryExecModeExec), sql)
		exec1(t, twin.direct(t), sql)
	}
	for name, mode := range execModes {
		got, want := f.connect(t, mode), twin.connect(t, mode)
		for _, c := range []*pgx.Conn{got, want} {
			exec1(t, c, "DELETE FROM moods")
			exec1(t, c, "DELETE FROM s2.moods")
		}
		for _, c := range enumCasts {
			answer, ok := answers(t, got, c.sql, c.arg)
			expected, _ := answers(t, want, c.sql, c.arg)
			if d := cmp.Diff(expected, answer); d != "" || !ok {
				t.Errorf("%s: %s: %s", name, c.sql, d)
			}
		}
	}
}

// TestRefusedCastsOfEnums: casts that the server would have to make are refused.
func TestRefusedCastsOfEnums(t *testing.T) {
	f := start(t, shared, userTypes())
	conn := f.connect(t, pgx.QueryExecModeExec)
	for _, sql := range append(userTypesDDL, "INSERT INTO moods (id, mood) VALUES (1, 'ok')", "CREATE TYPE other AS ENUM ('ok')") {
		exec1(t, conn, sql)
	}
	for _, sql := range []string{
		`SELECT id FROM moods ORDER BY mood::text`, `SELECT id FROM moods WHERE mood::text = $1`, `SELECT id FROM moods WHERE mood::text LIKE $1`,
		`SELECT mood::varchar(1), $1::text FROM moods`, `SELECT mood::text || $1 FROM moods`, `SELECT id FROM moods WHERE mood = $1::varchar(2)::mood`,
		`SELECT id FROM moods WHERE mood = $1::other::text::mood`, `SELECT mood::other, $1::text FROM moods`, `SELECT id FROM s2.moods ORDER BY mood::text, $1::text`,
		`CREATE VIEW texts AS SELECT mood::text FROM moods`, `SELECT m FROM (SELECT mood::text AS m FROM s2.moods) s WHERE m > $1`, `SELECT max(mood::text), $1::text FROM s2.moods`,
		`SELECT id FROM moods WHERE mood = $1::s2.mood::text::mood`, `SELECT mood::text, $1::text FROM moods UNION SELECT 'ok', '1'`,
		// PostgreSQL has no operator for an enum and text.
		`SELECT a.id FROM moods a JOIN moods b ON a.mood::text = b.mood AND a.mood <> $1`, `SELECT moods.id, $1::text FROM (SELECT mood::text AS mood FROM moods) s JOIN moods USING (mood)`,
		// The parameter that is not sealed would have to be declared as the enum's.
		`SELECT length($1::text) FROM moods WHERE mood = $1::mood`, `INSERT INTO moods (id, name) SELECT length($1::text), $1::citext`,
	} {
		got, ok := answers(t, conn, sql, "ok")
		if ok || len(got) != 1 || got[0] != "0A000" {
			t.Errorf("%s: answered %v, want 0A000", sql, got)
		}
	}
}

// answers are the rows of a statement, or its SQLSTATE.
func answers(t *testing.T, conn *pgx.Conn, sql string, args ...any) (rows []string, ok bool) {
	t.Helper()
	got, err := conn.Query(t.Context(), sql, args...)
	if err == nil {
		rows, err = pgx.CollectRows(got, func(r pgx.CollectableRow) (string, error) {
			values, err := r.Values()
			return fmt.Sprint(values), err
		})
		if err == nil {
			return append(rows, got.CommandTag().String()), true
		}
	}
	return []string{state(err)}, false
}

// TestQuotedEnums has enums whose names need quotes, as Sequelize and Prisma name them.
func TestQuotedEnums(t *testing.T) {
	rules := []proxy.ColumnRule{column("Users", "mood", `enum("enum_Users_mood": sad, ok, happy)`, "equality"), column("Users", "role", `enum("App"."Role": USER, ADMIN)`, "random")}
	f, twin := start(t, shared, rules), start(t, shared, nil)
	for name, mode := range execModes {
		got, want := f.connect(t, mode), twin.connect(t, mode)
		for _, c := range []struct{ sql, arg string }{
			{`DROP TABLE IF EXISTS "Users", plain`, ""}, {`DROP TYPE IF EXISTS "enum_Users_mood"`, ""}, {`DROP SCHEMA IF EXISTS "App" CASCADE`, ""}, {`CREATE SCHEMA "App"`, ""},
			{`CREATE TYPE "enum_Users_mood" AS ENUM ('sad', 'ok', 'happy')`, ""}, {`CREATE TYPE "App"."Role" AS ENUM ('USER', 'ADMIN')`, ""},
			{`CREATE TABLE "Users" (id serial PRIMARY KEY, mood "public"."enum_Users_mood" NOT NULL, role "App"."Role")`, ""}, {`CREATE TABLE plain (m "enum_Users_mood")`, ""},
			{`INSERT INTO "Users" (mood, role) VALUES ($1, 'USER'), ('ok'::"enum_Users_mood", CAST('ADMIN' AS "App"."Role")), ('sad', NULL) RETURNING id, mood, role`, "happy"},
			{`SELECT id, mood::text, role FROM "Users" WHERE mood <> CAST($1::text AS "public"."enum_Users_mood") ORDER BY id`, "ok"},
			{`INSERT INTO "Users" (mood) VALUES ($1)`, "merry"},
			{`SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = '"Users"'::regclass AND attnum > 0 ORDER BY attnum`, ""},
			{`SELECT column_name, data_type, udt_schema, udt_name FROM information_schema.columns WHERE table_name = 'Users' ORDER BY ordinal_position`, ""},
		} {
			args := []any{c.arg}
			if c.arg == "" {
				args = nil
			}
			expected, _ := answers(t, want, c.sql, args...)
			answer, _ := answers(t, got, c.sql, args...)
			if d := cmp.Diff(expected, answer); d != "" {
				t.Errorf("%s: %s: %s", name, c.sql, d)
			}
		}
	}
}
