// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// TestEqualityOfSearched: a column that can be searched can be asked for whole values
// as well, as ORMs do by default.
func TestEqualityOfSearched(t *testing.T) {
	f, proxied, plain := searchSides(t)
	r := rand.New(rand.NewPCG(3, 4))
	var tags []string
	for id := range 200 {
		tags = append(tags, word(r, 3))
		args := []any{id, word(r, 9), tags[id], word(r, 3)}
		if id%20 == 0 {
			args[2] = nil
		}
		for _, conn := range []*pgx.Conn{proxied, plain} {
			exec1(t, conn, "INSERT INTO notes VALUES ($1, $2, $3, $4)", args...)
		}
	}
	literal := func(s string) string { return "E'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'" }
	for range 60 {
		a, b := tags[r.IntN(200)], word(r, 3)
		for _, where := range []string{
			"tag = {A}", "tag <> {A}", "tag != {A}", "NOT notes.tag = {A}::text", "tag IN ({A})", "tag IN ({A}, {B}, 'none')", "(tag) NOT IN ({A}, {B})", "public.notes.tag NOT IN ({A}, NULL)", "tag IN ({A}, ({B})) AND id > 10 OR tag = {B}",
			"tag = ANY (ARRAY[{A}, {B}])", "tag = ANY ($3)", "tag <> ALL ($3::text[])", "tag <> ALL (ARRAY[{A}, {B}]::text[])", "tag = $1", "tag IN ($1, $2)", "tag NOT IN ($1::varchar, {B})", "tag = {A} || {B}", "tag = NULL", "plain = $1 OR tag = $1", "id IN (SELECT id FROM notes WHERE tag = {A})",
			"EXISTS (SELECT 1 FROM notes n WHERE n.tag = {A} AND n.id = notes.id + 1)", "CASE WHEN tag = {A} THEN true ELSE tag IN ({B}) END",
		} {
			sql := "SELECT id FROM notes WHERE " + strings.NewReplacer("{A}", literal(a), "{B}", literal(b)).Replace(where) + " ORDER BY id"
			var args []any
			for n, arg := range map[string]any{"$1": a, "$2": b, "$3": []string{a, b}} {
				if strings.Contains(sql, n) {
					args = append(args, arg)
				}
			}
			if len(args) > 1 {
				args = []any{a, b}
			}
			sql = strings.ReplaceAll(sql, "$3", "$1")
			want, err := ids(t, plain, sql, args...)
			if err != nil {
				t.Fatalf("%s: %v", sql, err)
			}
			got, err := ids(t, proxied, sql, args...)
			if err != nil {
				t.Errorf("%s: %v", sql, err)
			} else if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s: %s", sql, d)
			}
		}
	}
	if _, err := ids(t, proxied, "SELECT id FROM notes WHERE tag = 'eqmarker' OR tag IN ('eqmarker', $1) OR tag = ANY ($2)", "eqmarker", []string{"eqmarker"}); err != nil {
		t.Error(err)
	}
	noCanary(t, f, "eqmarker")
	for _, sql := range []string{"SELECT id FROM notes WHERE tag = plain", "SELECT n.id FROM notes n JOIN notes m ON n.tag = m.tag", "SELECT id FROM notes WHERE tag IN (plain, 'a')", "SELECT id FROM notes WHERE tag < 'a'", "SELECT id FROM notes WHERE tag = ANY (SELECT 'a')",
		"SELECT id FROM notes WHERE (tag, id) IN (('a', 1))", "SELECT id FROM notes WHERE tag IS DISTINCT FROM 'a'", "SELECT id FROM notes WHERE tag = 1", "SELECT id FROM notes WHERE tag IN (1, 2)", "SELECT id FROM notes WHERE tag = 'a'::char(3)", "SELECT id FROM notes WHERE tag COLLATE \"C\" = 'a'",
		"SELECT id FROM notes WHERE tag = pg_catalog.like_escape('a', 'b')", "ALTER TABLE notes ADD CHECK (tag = 'a')", "CREATE VIEW v AS SELECT id FROM notes WHERE tag IN ('a')", "CREATE INDEX ON notes (id) WHERE tag = 'a'", "SELECT id FROM notes WHERE tag OPERATOR(pg_catalog.=) 'a'"} {
		var refused *pgconn.PgError
		if _, err := ids(t, proxied, sql); !errors.As(err, &refused) || refused.Code != "0A000" && refused.Code != "42804" {
			t.Errorf("%s: got %v, want a refusal", sql, err)
		}
	}
}
