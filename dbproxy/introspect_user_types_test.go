// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/sidekey/sidekey/proxy"
)

const moodRule = "enum(mood: sad, ok, happy)"

// userTypes are rules of types that have another object ID in each database.
func userTypes() []proxy.ColumnRule {
	return []proxy.ColumnRule{
		column("moods", "mood", moodRule, "equality"),
		column("moods", "name", "citext", "random"),
		column("moods", "tags", "text[]", "random"),
		column("s2.moods", "mood", moodRule, "range"),
	}
}

var userTypesDDL = []string{
	"CREATE EXTENSION citext",
	"CREATE SCHEMA s2",
	"CREATE TYPE s2.mood AS ENUM ('sad', 'ok', 'happy')",
	"CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')",
	"CREATE TABLE moods (id int PRIMARY KEY, mood mood, name citext, tags text[])",
	"CREATE TABLE s2.moods (id int PRIMARY KEY, mood s2.mood)",
}

// TestIntrospectionOfUserTypes: enums and citext are found by name, an enum in the
// table's own schema first, and arrays are what information_schema calls them.
func TestIntrospectionOfUserTypes(t *testing.T) {
	f, twin := start(t, shared, userTypes()), start(t, shared, nil)
	for _, sql := range userTypesDDL {
		exec1(t, f.connect(t, pgx.QueryExecModeExec), sql)
		exec1(t, twin.connect(t, pgx.QueryExecModeExec), sql)
	}
	queries := map[string]string{
		"schemas": "SELECT c.relnamespace::regnamespace, a.attname, t.typname, t.typnamespace::regnamespace, t.typtype FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid" +
			" JOIN pg_type t ON t.oid = a.atttypid WHERE c.relname = '%s' AND a.attnum > 0 ORDER BY 1, a.attnum",
		"without a search_path": "SELECT attname, pg_catalog.format_type(atttypid, atttypmod), pg_catalog.set_config('search_path', '', false) FROM pg_catalog.pg_attribute" +
			" WHERE attrelid = 'public.%s'::pg_catalog.regclass AND attnum > 0 ORDER BY attnum",
		"data types": "SELECT table_schema, column_name, data_type, udt_schema, udt_name FROM information_schema.columns WHERE table_name = '%s' ORDER BY 1, ordinal_position",
	}
	for _, name := range []string{"psql", "prisma", "sequelize", "qualified", "checks", "distinct"} {
		queries[name] = introspections[name]
	}
	for name, sql := range queries {
		sql := fmt.Sprintf(sql, "moods")
		got := textRows(t, f.connect(t, pgx.QueryExecModeExec), sql, f.database)
		want := textRows(t, twin.connect(t, pgx.QueryExecModeExec), sql, twin.database)
		if d := cmp.Diff(want, got); d != "" || len(want) == 0 {
			t.Errorf("%s: %d rows, %s", name, len(want), d)
		}
	}
}

// TestIntrospectionOfAbsentEnum: where the database has no such type, it is text,
// as clients are told of results.
func TestIntrospectionOfAbsentEnum(t *testing.T) {
	f := start(t, shared, []proxy.ColumnRule{column("moods", "mood", moodRule, "equality")})
	exec1(t, f.connect(t, pgx.QueryExecModeExec), "CREATE TABLE moods (id int, mood mood)")
	for _, sql := range []string{
		"SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'moods'::regclass AND attnum = 2",
		"SELECT data_type FROM information_schema.columns WHERE table_name = 'moods' AND column_name = 'mood'",
	} {
		if d := cmp.Diff([]string{"text"}, textRows(t, f.connect(t, pgx.QueryExecModeExec), sql, f.database)); d != "" {
			t.Errorf("%s: %s", sql, d)
		}
	}
}

// TestDumpOfUserTypes: a dump declares enums and citext, and restores with its rows
// into a plain database and through a proxy.
func TestDumpOfUserTypes(t *testing.T) {
	f := start(t, shared, userTypes())
	conn := f.connect(t, pgx.QueryExecModeExec)
	for _, sql := range userTypesDDL {
		exec1(t, conn, sql)
	}
	exec1(t, conn, "INSERT INTO moods VALUES (1, 'happy', 'Ann', '{a,b}')")
	file := t.TempDir() + "/dump.sql"
	pgTool(t, "pg_dump", "--exclude-schema=sidekey", "--file="+file, f.url())
	dump, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"    mood public.mood,\n", "    name public.citext,\n", "    tags text[]\n", "    mood s2.mood\n"} {
		if !strings.Contains(string(dump), want) {
			t.Errorf("no %q in %s", want, dump)
		}
	}
	for name, to := range map[string]*fixture{"plain": start(t, shared, nil), "protected": start(t, shared, userTypes())} {
		restore(t, file, to.url())
		got := textRows(t, to.connect(t, pgx.QueryExecModeSimpleProtocol), "SELECT mood, name, tags FROM moods", to.database)
		if d := cmp.Diff([]string{"happyAnn[a b]"}, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}
