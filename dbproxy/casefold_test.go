// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
)

// icu is a locale that databases can have since PostgreSQL 15.
const icu = "LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LOCALE 'C.UTF-8'"

// recreate makes the fixture's database anew under another locale.
func recreate(t *testing.T, f *fixture, locale string) {
	t.Helper()
	conn := dial(t, f.cluster.url("postgres", "postgres"), pgx.QueryExecModeExec)
	exec1(t, conn, "DROP DATABASE "+f.database+" WITH (FORCE)")
	exec1(t, conn, "CREATE DATABASE "+f.database+" TEMPLATE template0 ENCODING 'UTF8' "+locale)
}

// TestCaseAgainstPostgres compares searches regardless of case with those of
// PostgreSQL under several locales, over letters whose cases are peculiar: what is
// answered is answered alike.
func TestCaseAgainstPostgres(t *testing.T) {
	letters := []string{"a", "A", "k", "K", "\u212a", "i", "I", "İ", "ı", "\u0307", "ß", "ẞ", "s", "S", "ſ", "σ", "ς", "Σ", "é", "É", "e\u0301", "ǆ", "ǅ", "Ǆ", "%", "_", "9", "日", "\U00010400", "\U00010428", "ŉ", "և"}
	for name, locale := range map[string]struct {
		since int
		sql   string
	}{
		"C": {0, "LOCALE 'C'"}, "C.UTF-8": {0, "LOCALE 'C.UTF-8'"}, "ICU": {15, icu},
		"builtin":         {17, "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C'"},
		"PG_UNICODE_FAST": {18, "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'PG_UNICODE_FAST' LOCALE 'C'"},
	} {
		if serverVersion(t) < locale.since {
			continue
		}
		t.Run(name, func(t *testing.T) {
			f, other := start(t, shared, searched()), start(t, shared, nil)
			recreate(t, f, locale.sql)
			recreate(t, other, locale.sql)
			proxied, plain := f.connect(t, pgx.QueryExecModeCacheStatement), other.direct(t)
			exec1(t, proxied, notesDDL)
			exec1(t, plain, notesDDL)
			r := rand.New(rand.NewPCG(3, 4))
			text := func(most int) (s string) {
				for range r.IntN(most + 1) {
					s += letters[r.IntN(len(letters))]
				}
				return s
			}
			var bodies []string
			for id := range 120 {
				body := text(6)
				bodies = append(bodies, body)
				args := []any{id, body}
				if id%30 == 0 {
					args[1] = nil
				}
				for _, conn := range []*pgx.Conn{proxied, plain} {
					exec1(t, conn, "INSERT INTO notes VALUES ($1, $2, '', '')", args...)
				}
			}
			answered, matched := 0, 0
			for i := range 400 {
				chars := []rune(bodies[r.IntN(len(bodies))])
				from := r.IntN(len(chars) + 1)
				part := escaped(string(chars[from:from+min(r.IntN(5), len(chars)-from)]), `\`)
				if i%3 == 0 {
					part = strings.ToUpper(part)
				}
				pattern := []string{part, part + "%", "%" + part, "%" + part + "%"}[r.IntN(4)]
				sql := []string{"body ILIKE $1", "body NOT ILIKE $1", "lower(body) LIKE lower($1)", "UPPER(body::text) LIKE UPPER($1)", "lower(body) LIKE $1", "upper(body) = upper($1)", "lower(body) <> $1", "body ILIKE ANY (ARRAY[$1, 'b%'])"}[i%8]
				sql = "SELECT id FROM notes WHERE " + sql + " ORDER BY id"
				want, err := ids(t, plain, sql, pattern)
				if err != nil {
					t.Fatal(err)
				}
				got, err := ids(t, proxied, sql, pattern)
				if refusal(err) {
					continue
				}
				if d := cmp.Diff(want, got); d != "" || err != nil {
					t.Errorf("%s, %q: %v %s", sql, pattern, err, d)
				}
				answered++
				if len(want) > 0 {
					matched++
				}
			}
			if answered < 150 || matched < 70 {
				t.Errorf("%d patterns were answered, %d with rows", answered, matched)
			}
			if _, err := ids(t, proxied, "SELECT id FROM notes WHERE body ILIKE $1", strings.Repeat("a", 40)); state(err) != "0A000" {
				t.Errorf("a pattern of very many variants: %v, want a refusal", err)
			}
		})
	}
}

// Where the case of a letter depends on others, nothing is answered regardless of it.
func TestCaseOfTurkish(t *testing.T) {
	for _, locale := range []string{"tr-TR", "tur"} {
		f := start(t, shared, searched())
		recreate(t, f, "LOCALE_PROVIDER icu ICU_LOCALE '"+locale+"' LOCALE 'C.UTF-8'")
		conn := f.connect(t, pgx.QueryExecModeCacheStatement)
		exec1(t, conn, notesDDL)
		exec1(t, conn, "INSERT INTO notes VALUES (1, 'ab', '', '')")
		if got, err := ids(t, conn, "SELECT id FROM notes WHERE body ILIKE $1", "AB"); state(err) != "0A000" {
			t.Errorf("%s: ILIKE: %v, %v, want a refusal", locale, got, err)
		}
		if got, err := ids(t, conn, "SELECT id FROM notes WHERE body LIKE $1", "ab"); err != nil || len(got) != 1 {
			t.Errorf("%s: LIKE: %v, %v", locale, got, err)
		}
	}
}

// TestCaseUnderCollation: a value under another collation than the database's own
// has other cases, also where it is one of several.
func TestCaseUnderCollation(t *testing.T) {
	f := start(t, shared, searched())
	locale := icu
	if serverVersion(t) < 15 {
		locale = "LOCALE 'C.UTF-8'"
	}
	recreate(t, f, locale)
	conn := f.connect(t, pgx.QueryExecModeCacheStatement)
	exec1(t, conn, notesDDL)
	exec1(t, conn, "INSERT INTO notes VALUES (1, 'É', '', ''), (2, 'é', '', '')")
	for _, sql := range []string{
		`SELECT id FROM notes WHERE body COLLATE "C" ILIKE 'é'`, `SELECT id FROM notes WHERE coalesce(body COLLATE "C", '') ILIKE 'é'`, `SELECT id FROM notes WHERE coalesce('x', body COLLATE "C") ILIKE 'é'`,
		`SELECT id FROM (SELECT id, body COLLATE "C" AS b FROM notes UNION ALL SELECT 3, NULL) s WHERE lower(b) LIKE 'é'`, `CREATE VIEW v AS SELECT id, body COLLATE "C" AS b FROM notes`, `CREATE VIEW v AS SELECT id, coalesce(body COLLATE "C", '') AS b FROM notes`,
	} {
		if _, err := conn.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); state(err) != "0A000" {
			t.Errorf("%s: got %v, want a refusal", sql, err)
		}
	}
	exec1(t, conn, `CREATE VIEW v AS SELECT id, body COLLATE "default" AS b, plain COLLATE "C" AS plain FROM notes`)
	for _, sql := range []string{"SELECT id FROM v WHERE b ILIKE 'é'", "SELECT id FROM notes WHERE coalesce(body, '') ILIKE 'é'"} {
		if got, err := ids(t, conn, sql); err != nil || len(got) != 2 {
			t.Errorf("%s: %v, %v; want both", sql, got, err)
		}
	}
}
