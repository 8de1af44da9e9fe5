// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/sidekey/sidekey/dbproxy"
	"github.com/sidekey/sidekey/proxy"
)

const notesDDL = "CREATE TABLE notes (id int PRIMARY KEY, body text, tag varchar(20), plain text)"

func searched() []proxy.ColumnRule {
	body, tag := column("notes", "body", "text", ""), column("notes", "tag", "varchar(20)", "random")
	body.Search = &proxy.Search{Prefix: 6, Suffix: 3, Substring: proxy.Substring{Min: 2, Max: 4}}
	tag.Search = &proxy.Search{Prefix: 12}
	return []proxy.ColumnRule{body, tag}
}

// searchSides are a table that can be searched, and the same one without a proxy.
func searchSides(t *testing.T) (f *fixture, proxied, plain *pgx.Conn) {
	t.Helper()
	f = start(t, shared, searched())
	proxied, plain = f.connect(t, pgx.QueryExecModeCacheStatement), start(t, shared, nil).direct(t)
	exec1(t, proxied, notesDDL)
	exec1(t, plain, notesDDL)
	return f, proxied, plain
}

func ids(t *testing.T, conn *pgx.Conn, sql string, args ...any) ([]int, error) {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int])
}

// word is a text of a few characters that mean something to LIKE, or nothing.
func word(r *rand.Rand, most int) string {
	letters := []string{"a", "b", "A", "ü", "日", "%", "_", `\`, " ", "'", "é"}
	var b strings.Builder
	for range r.IntN(most + 1) {
		b.WriteString(letters[min(r.IntN(len(letters)), r.IntN(len(letters)))])
	}
	return b.String()
}

// escaped is a pattern of LIKE for a text itself.
func escaped(text, escape string) string {
	return strings.NewReplacer(escape, escape+escape, "%", escape+"%", "_", escape+"_").Replace(text)
}

// TestSearchAgainstPostgres compares LIKE with that of PostgreSQL, over values and
// patterns of all kinds: what the column has tokens for is answered, and alike.
func TestSearchAgainstPostgres(t *testing.T) {
	_, proxied, plain := searchSides(t)
	exec1(t, proxied, "CREATE INDEX ON notes USING gin (body)")
	r := rand.New(rand.NewPCG(1, 2))
	var bodies []string
	for id := range 400 {
		body := word(r, 9)
		bodies = append(bodies, body)
		args := []any{id, body, word(r, 5), body}
		if id%40 == 0 {
			args[1] = nil
		}
		for _, conn := range []*pgx.Conn{proxied, plain} {
			exec1(t, conn, "INSERT INTO notes VALUES ($1, $2, $3, $4)", args...)
		}
	}
	answered := map[string]int{}
	for i := range 600 {
		text := bodies[r.IntN(len(bodies))]
		chars := []rune(text)
		from := r.IntN(len(chars) + 1)
		to := from + r.IntN(len(chars)-from+1)
		kind, pattern, must := "whole", escaped(text, `\`), true
		switch i % 6 {
		case 1:
			kind, pattern, must = "prefix", escaped(string(chars[:to]), `\`)+"%", to <= 6
		case 2:
			kind, pattern, must = "suffix", "%"+escaped(string(chars[from:]), `\`), len(chars)-from <= 3
		case 3:
			kind, pattern = "substring", "%"+escaped(string(chars[from:to]), `\`)+"%"
			must = to-from >= 2 && to-from <= 4 || to == from
		case 4:
			kind, pattern, must = "any", word(r, 5), false
		case 5:
			kind, pattern, must = "none", escaped(word(r, 4), `\`)+"%%", true
		}
		for _, sql := range []string{"SELECT id FROM notes WHERE body LIKE $1 ORDER BY id", "SELECT id FROM notes n WHERE n.body NOT LIKE $1 ORDER BY id",
			"SELECT id FROM notes WHERE (body)::text LIKE ('' || $1::text) ORDER BY id", "SELECT id FROM notes WHERE body LIKE {} ORDER BY id"} {
			args := []any{pattern}
			if strings.Contains(sql, "{}") {
				sql, args = strings.ReplaceAll(sql, "{}", "'"+strings.ReplaceAll(pattern, "'", "''")+"'"), []any{pgx.QueryExecModeSimpleProtocol}
			}
			want, wantErr := ids(t, plain, sql, args...)
			got, err := ids(t, proxied, sql, args...)
			switch {
			case refusal(err) && !must, state(err) == "22025" && strings.HasSuffix(pattern, `\`):
				continue
			case state(err) != state(wantErr):
				t.Fatalf("%s, %q: %v, want %v", sql, pattern, err, wantErr)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s, %q: %s", sql, pattern, d)
			}
			answered[kind]++
		}
	}
	for _, kind := range []string{"whole", "prefix", "suffix", "substring", "any", "none"} {
		if answered[kind] < 40 {
			t.Errorf("%d patterns of kind %s were answered", answered[kind], kind)
		}
	}
}

// searchForms are answered as by PostgreSQL itself.
var searchForms = []string{
	"CREATE TABLE notes (id int PRIMARY KEY, body text, tag varchar(20), plain text)",
	"INSERT INTO notes VALUES (1, '{C}', '{C}', 'x'), (2, '', '', ''), (3, NULL, NULL, NULL), (4, 'ab{C}', '{C}x', 'y'), (5, 'aB', 'a%c', 'a')",
	`CREATE INDEX notes_tag ON notes USING gin (tag gin_trgm_ops)`,
	"SELECT id, tag LIKE '{C}%' FROM notes ORDER BY id", "SELECT id FROM notes WHERE NOT tag LIKE '{C}' ORDER BY id", "SELECT id FROM notes WHERE tag ~~ '{C}%' OR plain ~~ 'y%' ORDER BY id",
	"SELECT id FROM notes WHERE tag !~~ '{C}%' ORDER BY id", "SELECT id FROM notes WHERE tag ^@ '{C}' ORDER BY id", "SELECT id FROM notes WHERE tag ^@ 'a%' ORDER BY id", "SELECT id FROM notes WHERE tag ^@ '' ORDER BY id",
	"SELECT id FROM notes WHERE tag LIKE '%' ORDER BY id", "SELECT id FROM notes WHERE tag LIKE '%%' ORDER BY id", "SELECT id FROM notes WHERE tag LIKE '' ORDER BY id", "SELECT id, tag LIKE NULL, tag NOT LIKE NULL::text FROM notes ORDER BY id",
	`SELECT id FROM notes WHERE tag LIKE 'a\%c' ORDER BY id`, `SELECT id FROM notes WHERE tag LIKE 'a!%%' ESCAPE '!' ORDER BY id`, `SELECT id FROM notes WHERE tag LIKE 'a\' ESCAPE '' ORDER BY id`, `SELECT id FROM notes WHERE tag LIKE 'a\%c' ESCAPE '\' ORDER BY id`, `SELECT id FROM notes WHERE tag LIKE ('a%%c') ESCAPE ('%') ORDER BY id`,
	"SELECT id FROM notes WHERE (((tag))::text) LIKE ((('{C}' || '%'))) ORDER BY id", "SELECT id FROM notes WHERE CAST(tag AS text) LIKE CAST('{C}%' AS text) ORDER BY id", `SELECT id FROM notes WHERE tag COLLATE "C" LIKE text '{C}%' AND id < 9 ORDER BY id`,
	"SELECT id FROM notes WHERE coalesce(tag, '{C}z') LIKE '{C}%' ORDER BY id", "SELECT count(*) FILTER (WHERE tag LIKE '{C}%') FROM notes", "SELECT CASE WHEN tag LIKE '{C}%' THEN 1 ELSE 2 END FROM notes ORDER BY id", "SELECT id FROM notes ORDER BY tag LIKE '{C}%', id",
	"SELECT a.id, b.id FROM notes a JOIN notes b ON a.tag LIKE '{C}%' AND b.tag NOT LIKE '{C}%' ORDER BY 1, 2", "SELECT id FROM notes WHERE true = tag LIKE '{C}%' AND tag LIKE '{C}x%' = false ORDER BY id", "SELECT id FROM notes WHERE tag LIKE '{C}%' IS NOT TRUE ORDER BY id",
	"SELECT id FROM (SELECT id, tag AS t FROM notes) s WHERE s.t LIKE '{C}x%'", "WITH w AS (SELECT tag FROM notes WHERE tag LIKE '{C}%') SELECT count(*), max(length('x')) FROM w", "SELECT 1 WHERE EXISTS (SELECT FROM notes WHERE tag/* c */LIKE/* d */'{C}%' )",
	"SELECT id FROM notes WHERE tag LIKE '{C}%'\nAND body LIKE '%mark%' AND body NOT LIKE 'ab%' ORDER BY id", "SELECT id FROM notes WHERE body LIKE '%ker' AND body ~~ 'a%'", "SELECT id FROM notes WHERE body LIKE 'ab'", "SELECT id FROM notes WHERE body LIKE 'aB%'",
	"SELECT tag LIKE '{C}%', count(*) FROM notes GROUP BY tag LIKE '{C}%' ORDER BY 1", "SELECT tag LIKE '{C}%' AS x, count(*) FROM notes GROUP BY x ORDER BY 1", "SELECT DISTINCT tag LIKE '{C}%' FROM notes ORDER BY 1", "SELECT DISTINCT ON (tag LIKE '{C}%') id FROM notes ORDER BY tag LIKE '{C}%', id",
	"SELECT id, row_number() OVER (PARTITION BY tag LIKE '{C}%' ORDER BY id) FROM notes ORDER BY id", "SELECT plain FROM notes GROUP BY plain HAVING bool_or(tag LIKE '{C}%') ORDER BY 1", "SELECT x.id FROM notes n, LATERAL (SELECT n.id WHERE n.tag LIKE '{C}%') x ORDER BY 1", "WITH RECURSIVE r AS (SELECT id FROM notes WHERE tag LIKE '{C}x%' UNION SELECT n.id FROM notes n, r WHERE n.tag LIKE '{C}%') SELECT id FROM r ORDER BY id",
	"SELECT id FROM notes WHERE tag LIKE '{C}%' UNION ALL SELECT id FROM notes WHERE NOT (tag LIKE '{C}%') ORDER BY 1", "SELECT (tag LIKE '{C}%')::text, tag LIKE '{C}%' AND true AS \"x\" FROM notes ORDER BY id", "SELECT id FROM notes WHERE (tag LIKE '{C}%', id) = (true, 4)", "SELECT id FROM notes WHERE tag LIKE U&'{C}!0025' UESCAPE '!' ORDER BY id", "SELECT id FROM notes WHERE tag LIKE E'{C}\\x25' AND id > 0 ORDER BY id", "SELECT id FROM notes WHERE tag LIKE '{C}'\n'%' ORDER BY id",
	"INSERT INTO notes VALUES (1, 'n', 'n', 'n') ON CONFLICT (id) DO UPDATE SET plain = 'z' WHERE notes.tag LIKE '{C}%' RETURNING id, tag LIKE '{C}%'", "MERGE INTO notes n USING (SELECT 1 AS id) s ON n.id = s.id AND n.tag LIKE '{C}%' WHEN MATCHED AND n.tag LIKE '{C}' THEN UPDATE SET plain = 'merged' WHEN NOT MATCHED THEN DO NOTHING", "UPDATE notes n SET plain = CASE WHEN n.tag LIKE '{C}%' THEN 'yes' ELSE 'no' END FROM (SELECT 1 AS one) o WHERE n.body LIKE '%mark%' RETURNING id, plain",
	"EXPLAIN (COSTS off) SELECT 1", "CREATE TABLE found AS SELECT id FROM notes WHERE tag LIKE '{C}%'", "SELECT * FROM found ORDER BY id", "BEGIN", "DECLARE c CURSOR FOR SELECT id, tag FROM notes WHERE tag LIKE '{C}%' ORDER BY id", "FETCH ALL c", "COMMIT",
	"UPDATE notes SET tag = 'new{C}', plain = 'u' WHERE tag LIKE '{C}x%' RETURNING id", "SELECT id FROM notes WHERE tag LIKE 'new%'", "SELECT id FROM notes WHERE tag LIKE '{C}x%'", "DELETE FROM notes WHERE tag LIKE 'a\\%%' RETURNING id", "SELECT * FROM notes ORDER BY id",
	"SELECT id FROM notes WHERE tag ILIKE '{C}%' ORDER BY id", "SELECT id FROM notes WHERE tag NOT ILIKE 'A!%c' ESCAPE '!' ORDER BY id", "SELECT id FROM notes WHERE lower(tag) LIKE lower('{C}%') ORDER BY id", "SELECT id FROM notes WHERE lower(tag) LIKE lower('A!%c%') ESCAPE '!' ORDER BY id", "SELECT id FROM notes WHERE UPPER(tag::text) LIKE UPPER('a%') ORDER BY id", "SELECT id FROM notes WHERE upper(tag) = 'A%C' ORDER BY id", "SELECT id FROM notes WHERE lower(tag) = 'A%C' ORDER BY id", "SELECT id FROM notes WHERE lower((tag)) <> lower('A%C') ORDER BY id",
	"SELECT id, starts_with(tag, '{C}') FROM notes ORDER BY id", "SELECT ((starts_with(tag, '{C}'))), id FROM notes ORDER BY id", "SELECT (starts_with(tag, '{C}')) INTO seen FROM notes", "SELECT count(starts_with) FROM seen", "UPDATE notes SET plain = plain RETURNING (starts_with(tag, 'none'))", "SELECT starts_with(tag, '{C}') s, starts_with(plain, 'x'), count(*) FROM notes GROUP BY 1, 2 ORDER BY 1, 2", "SELECT id FROM notes WHERE NOT starts_with(tag, ('{C}')) ORDER BY id", "SELECT id FROM notes WHERE strpos(body, 'mark') > 0 AND strpos(body, 'zz') = 0 ORDER BY id", "SELECT id FROM notes WHERE position('mark' IN body) <> 0 ORDER BY id", "SELECT id FROM notes WHERE NOT position('' IN body) >= 1 ORDER BY id", "SELECT id, strpos(body, 'ab') < 1 FROM notes ORDER BY id",
	"SELECT id FROM notes WHERE tag LIKE ANY (ARRAY['{C}%', 'a%', NULL]) ORDER BY id", "SELECT id, tag LIKE ANY (ARRAY['{C}', NULL]), tag LIKE ALL (ARRAY['{C}%', NULL]), tag NOT LIKE ALL (ARRAY['{C}', 'a%']::text[]) FROM notes ORDER BY id", "SELECT id FROM notes WHERE NOT tag LIKE ANY ('{ {C}% , \"a\\\\%c\" }') ORDER BY id", "SELECT id FROM notes n WHERE n.tag NOT LIKE ALL ('{{C}%,a%}'::text[]) AND id > 0 ORDER BY id", "SELECT id FROM notes WHERE tag ILIKE SOME ('{A%}') ORDER BY id", "SELECT id FROM notes WHERE tag ~~ ANY (ARRAY['a%'])", "SELECT id FROM notes WHERE tag NOT LIKE ANY (ARRAY['a%', '{C}%']) ORDER BY id",
	"PREPARE any_of AS SELECT id FROM notes WHERE tag LIKE ANY ($1) ORDER BY id", "EXECUTE any_of ('{a%,{C}}')", "EXECUTE any_of ('{}')", "EXECUTE any_of (NULL)", "PREPARE none_of (varchar[]) AS SELECT id FROM notes WHERE tag NOT LIKE ALL ($1) ORDER BY id", "EXECUTE none_of ('{a%,{C}}')", "EXECUTE none_of ('{}')",
	"PREPARE p AS SELECT id FROM notes WHERE tag LIKE $1", "EXECUTE p ('new%')", "EXECUTE p ('')", "EXECUTE p (NULL)", "PREPARE q (text) AS SELECT id FROM notes WHERE tag LIKE $1 || '%'", "EXECUTE q ('{C}')",
}

func TestSearchForms(t *testing.T) {
	f, plain := start(t, shared, searched()), start(t, shared, nil)
	exec1(t, plain.direct(t), "CREATE EXTENSION pg_trgm")
	w := &twins{proxied: f.connect(t, pgx.QueryExecModeSimpleProtocol), direct: plain.direct(t)}
	for _, sql := range searchForms {
		before := w.refused
		if w.run(t, sql); w.refused > before {
			_, err := ask(w.proxied, marked(sql, sealedMarker))
			t.Errorf("refused: %s: %v", sql, err)
		}
	}
	noCanary(t, f, sealedMarker)
}

// Statements that no token answers exactly, and uses of patterns that the server
// would keep, are refused.
func TestSearchRefusals(t *testing.T) {
	f, conn, _ := searchSides(t)
	exec1(t, conn, "INSERT INTO notes VALUES (1, 'pxmarkerpxmarker', 'pxmarkerpx', 'x')")
	for _, sql := range []string{
		"SELECT id FROM notes WHERE tag LIKE 'pxmarkerpxmarker%'", "SELECT id FROM notes WHERE tag LIKE '%px'", "SELECT id FROM notes WHERE tag LIKE '%pxmarker%'", "SELECT id FROM notes WHERE tag LIKE 'p_marker'",
		"SELECT id FROM notes WHERE tag LIKE 'px%er'", "SELECT id FROM notes WHERE plain ILIKE tag", "SELECT id FROM notes WHERE tag SIMILAR TO 'pxmarker%'", "SELECT id FROM notes WHERE tag ~ '^pxmarker'", "SELECT id FROM notes WHERE tag LIKE plain", "SELECT id FROM notes WHERE plain LIKE tag",
		"SELECT id FROM notes WHERE 'pxmarker' LIKE tag", "SELECT id FROM notes WHERE tag LIKE 'pxmarker%' || plain", "SELECT id FROM notes WHERE tag LIKE lower('pxmarker%')", "SELECT id FROM notes WHERE strpos(lower(body), 'pxma') > 0", "SELECT id FROM notes WHERE starts_with(upper(tag), 'pxmarker')", "SELECT s FROM notes, starts_with(tag, 'pxmarker') s", "SELECT id FROM notes WHERE tag LIKE ALL ('{pxmarker%}')", "SELECT id FROM notes WHERE tag LIKE ANY ('{pxmarker%,NULL}')", "SELECT id FROM notes WHERE tag LIKE ANY ('{}')", "SELECT id FROM notes WHERE tag LIKE ANY ('{{pxmarker%},{b}}')", "SELECT id FROM notes WHERE strpos(tag, 'pxmarker') > 0", "SELECT id FROM notes WHERE strpos(body, 'pxma') > 1", "SELECT id FROM notes WHERE tag ~* 'pxmarker'", "SELECT id FROM notes WHERE tag ILIKE ALL ('{pxmarker%}')", "SELECT id FROM notes WHERE tag ILIKE 'pxmarkerpxma'",
		"SELECT id FROM notes WHERE tag > 'pxmarker'",
		"SELECT id FROM notes WHERE tag::varchar(3) LIKE 'pxmarker%'", "SELECT id FROM notes WHERE (SELECT tag) LIKE 'pxmarker%'", "SELECT id FROM notes WHERE tag OPERATOR(pg_catalog.~~) 'pxmarker%'", "SELECT id FROM notes WHERE body LIKE '%p%'", "SELECT id FROM notes WHERE body LIKE '%pxmar%'", "SELECT id FROM notes WHERE body LIKE '%rker'",
		"CREATE VIEW v AS SELECT id FROM notes WHERE tag LIKE 'pxmarker%'", "CREATE MATERIALIZED VIEW v AS SELECT id FROM notes WHERE tag LIKE 'pxmarker%'", "ALTER TABLE notes ADD CHECK (tag LIKE 'pxmarker%')", "CREATE INDEX ON notes (id) WHERE tag LIKE 'pxmarker%'", "CREATE INDEX ON notes (tag)", "CREATE INDEX ON notes USING gist (tag)", "CREATE POLICY p ON notes USING (tag LIKE 'pxmarker%')",
		"SELECT sidekey.search_tokens(tag) FROM notes",
	} {
		if _, err := conn.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); state(err) != "0A000" {
			t.Errorf("%s: got %v, want a refusal", sql, err)
		}
	}
	for _, pattern := range []string{"pxmarkerpxmarker%", "%px", "p_marker"} {
		if _, err := ids(t, conn, "SELECT id FROM notes WHERE tag LIKE $1", pattern); state(err) != "0A000" {
			t.Errorf("%q at Bind: got %v, want a refusal", pattern, err)
		}
	}
	if got, err := ids(t, conn, "UPDATE notes SET tag = $1 WHERE tag = ANY (NULL) OR tag LIKE $1 RETURNING id", "pxmarkerpx"); state(err) != "0A000" {
		t.Errorf("= in mode random: %v, %v", got, err)
	}
	if got, err := ids(t, conn, "UPDATE notes SET tag = $1, body = $1 WHERE tag LIKE $1 AND body LIKE $2 || '%' RETURNING id", "pxmarkerpx", "pxmark"); err != nil || len(got) != 1 {
		t.Errorf("a parameter that is stored and searched: %v, %v", got, err)
	}
	if _, err := ids(t, conn, "SELECT id FROM notes WHERE tag LIKE $1", `pxmarker\`); state(err) != "22025" {
		t.Errorf("a pattern that ends with its escape: %v", err)
	}
	if got, err := ids(t, conn, "SELECT id FROM notes WHERE tag LIKE $1 AND ($2::text IS NULL OR plain LIKE $2) AND tag NOT LIKE $3", "pxmarker%", "x", nil); err != nil || len(got) != 0 {
		t.Errorf("NOT LIKE NULL: %v, %v", got, err)
	}
	for want, patterns := range map[int][]string{0: {}, 1: {"none%", "pxmarker%"}} {
		if got, err := ids(t, conn, "SELECT id FROM notes WHERE tag LIKE ANY ($1) AND body ILIKE ANY ($2)", patterns, []string{"PX%"}); err != nil || len(got) != want {
			t.Errorf("an array of %d patterns: %v, %v", len(patterns), got, err)
		}
	}
	if got, err := ids(t, conn, "SELECT id FROM notes WHERE starts_with(tag, $1) AND strpos(body, $2) > 0 AND lower(body) = upper(lower($3))", "px", "mar", "x"); state(err) != "0A000" {
		t.Errorf("another function around the parameter: %v, %v", got, err)
	}
	if got, err := ids(t, conn, "SELECT id FROM notes WHERE starts_with(tag, $1) AND strpos(body, $2) > 0 AND body ILIKE $3", "px", "mar", "%MARK%"); err != nil || len(got) != 1 {
		t.Errorf("parameters of functions: %v, %v", got, err)
	}
	if got, err := ids(t, conn, "SELECT id FROM notes WHERE tag LIKE $1 OR plain LIKE $1", "x%"); err != nil || len(got) != 1 {
		t.Errorf("one parameter for both: %v, %v", got, err)
	}
	noCanary(t, f, sealedMarker)
}

// An index on the tokens answers searches and stays right under all writes, by any
// role; a replica finds what another proxy has stored.
func TestSearchIndex(t *testing.T) {
	f, conn, _ := searchSides(t)
	exec1(t, conn, "CREATE INDEX by_body ON notes USING gin (body gin_trgm_ops, tag)")
	server := f.direct(t)
	exec1(t, server, "CREATE ROLE searcher LOGIN")
	t.Cleanup(func() {
		if _, err := server.Exec(context.Background(), "DROP OWNED BY searcher; DROP ROLE searcher", pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Error(err)
		}
	})
	exec1(t, server, "GRANT ALL ON notes TO searcher")
	other := dial(t, strings.Replace(f.replica(t).url(), "postgres@", "searcher@", 1), pgx.QueryExecModeCacheStatement)
	rows := make([][]any, 0, 300)
	for i := range 300 {
		rows = append(rows, []any{i, fmt.Sprintf("pxmarker %03d", i), fmt.Sprintf("t%d", i%7), nil})
	}
	if _, err := other.CopyFrom(t.Context(), pgx.Identifier{"notes"}, []string{"id", "body", "tag", "plain"}, pgx.CopyFromRows(rows)); err != nil {
		t.Fatal(err)
	}
	exec1(t, other, "UPDATE notes SET body = 'pxmarker of another' WHERE id = 7")
	exec1(t, other, "UPDATE notes SET body = $1 WHERE body LIKE '% 008%'", "pxmarker no more")
	exec1(t, conn, "DELETE FROM notes WHERE body LIKE $1", "%009")
	for _, c := range []*pgx.Conn{conn, other} {
		exec1(t, c, "SET enable_seqscan = off")
		for pattern, want := range map[string][]int{"% 007%": nil, "% of%": {7}, "%008%": nil, "%more%": nil, "% mor%": nil, "%no m%": {8}, "%009": nil, "%010": {10}, "%r 29%": {290, 291, 292, 293, 294, 295, 296, 297, 298, 299}} {
			if pattern == "%more%" || pattern == "% mor%" {
				want = []int{8}
			}
			got, err := ids(t, c, "SELECT id FROM notes WHERE body LIKE $1 ORDER BY id", pattern)
			if d := cmp.Diff(want, got); err != nil || d != "" && len(want)+len(got) > 0 {
				t.Errorf("%q: %v, %s", pattern, err, d)
			}
		}
		for _, sql := range []string{"EXPLAIN SELECT id FROM notes WHERE body LIKE '%r 29%'", "EXPLAIN SELECT id FROM notes WHERE tag ^@ 't3'"} {
			rows, _ := c.Query(t.Context(), sql)
			lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if text := strings.Join(lines, "\n"); err != nil || !strings.Contains(text, "Index Scan on by_body") {
				t.Errorf("%s: %v\n%s", sql, err, text)
			}
		}
	}
	noCanary(t, f, sealedMarker)
}

// A table whose values were sealed for another search is not used: what they have
// no tokens of would not be found.
func TestSearchRuleChanges(t *testing.T) {
	f, conn, _ := searchSides(t)
	exec1(t, conn, "INSERT INTO notes (id, body) VALUES (1, 'pxmarker')")
	changed := searched()
	changed[0].Search.Prefix = 9
	f.columns = changed
	_, err := f.replica(t).connectAndAsk(t, "SELECT id FROM notes WHERE body LIKE 'pxmarker%'")
	if state(err) != "0A000" || !strings.Contains(err.Error(), "cannot hold sealed values") {
		t.Errorf("got %v, want a refusal", err)
	}
}

func (f *fixture) connectAndAsk(t *testing.T, sql string) ([]int, error) {
	t.Helper()
	return ids(t, f.connect(t, pgx.QueryExecModeSimpleProtocol), sql)
}

// A column that moves is searched alike before and after: from plaintext, to
// another data key, and back.
func TestSearchWhileMoving(t *testing.T) {
	columns := movingColumn(proxy.ModeRandom)
	columns[0].Search = &proxy.Search{Prefix: 9, Substring: proxy.Substring{Min: 3, Max: 3}}
	f := start(t, shared, columns)
	direct, app, prepared := f.direct(t), f.connect(t, pgx.QueryExecModeExec), f.connect(t, pgx.QueryExecModeCacheStatement)
	exec1(t, direct, "CREATE TABLE people (id int PRIMARY KEY, email text)")
	exec1(t, direct, "INSERT INTO people SELECT i, 'first' || i || '@example.com' FROM generate_series(0, 299) i")
	compare := func(when string) {
		t.Helper()
		for sql, want := range map[string]int{"email LIKE 'first12%'": 11, "email LIKE '%29@%'": 3, "email NOT LIKE 'first1%'": 189, "email LIKE 'first7@example.com'": 1} {
			for _, conn := range []*pgx.Conn{app, prepared} {
				var got int
				err := conn.QueryRow(t.Context(), "SELECT count(*) FROM people WHERE "+sql).Scan(&got)
				if err != nil && conn == prepared { // its plan was of the column as it was
					err = conn.QueryRow(t.Context(), "SELECT count(*) FROM people WHERE "+sql).Scan(&got)
				}
				if err != nil || got != want {
					t.Errorf("%s: %s: %d, %v, want %d", when, sql, got, err, want)
				}
			}
		}
	}
	compare("in plaintext")
	for _, action := range []dbproxy.MigrateOptions{{Table: "people"}, {Table: "people", Action: dbproxy.Rotate}, {Table: "people", Action: dbproxy.Decrypt}} {
		f.mustMigrate(t, action)
		compare(fmt.Sprint("after ", action.Action))
	}
}

// A constant that was sealed with a data key which is no longer in use is not
// compared with values under another.
func TestPreparedConstantsWhileMoving(t *testing.T) {
	f := start(t, shared, movingColumn(proxy.ModeEquality))
	exec1(t, f.direct(t), "CREATE TABLE people (id int PRIMARY KEY, email text)")
	exec1(t, f.direct(t), "INSERT INTO people VALUES (1, 'first@example.com')")
	f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people"})
	conn := f.connect(t, pgx.QueryExecModeSimpleProtocol)
	exec1(t, conn, "PREPARE by_sql AS SELECT count(*) FROM people WHERE email = 'first@example.com'")
	if _, err := conn.Prepare(t.Context(), "by_protocol", "SELECT count(*) FROM people WHERE email = 'first@example.com'"); err != nil {
		t.Fatal(err)
	}
	counts := map[string]func() error{
		"EXECUTE": func() error {
			var n int
			err := conn.QueryRow(t.Context(), "EXECUTE by_sql").Scan(&n)
			if err == nil && n != 1 {
				err = fmt.Errorf("found %d", n)
			}
			return err
		},
		"Bind": func() error {
			r := conn.PgConn().ExecPrepared(t.Context(), "by_protocol", nil, nil, nil).Read()
			if r.Err == nil && string(r.Rows[0][0]) != "1" {
				return fmt.Errorf("found %s", r.Rows[0][0])
			}
			return r.Err
		},
	}
	for name, count := range counts {
		if err := count(); err != nil {
			t.Errorf("%s before: %v", name, err)
		}
	}
	f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people", Action: dbproxy.Rotate})
	for name, count := range counts {
		if err := count(); state(err) != "0A000" {
			t.Errorf("%s after another key: %v, want a refusal", name, err)
		}
	}
}

// A role that a mask keeps from a column does not search it, and tenants do not
// find each other's values.
func TestSearchMasksAndTenants(t *testing.T) {
	columns := searched()
	columns[0].Masks = []proxy.Mask{{Roles: []string{"*"}, Show: proxy.ShowNull}}
	columns[1].PerTenant = true
	f := start(t, shared, columns)
	conn := f.connect(t, pgx.QueryExecModeSimpleProtocol)
	exec1(t, conn, notesDDL)
	for _, sql := range []string{"SELECT id FROM notes WHERE body LIKE 'pxmar%'", "SELECT id FROM notes WHERE body NOT LIKE '%'"} {
		if _, err := ids(t, conn, sql); state(err) != "42501" {
			t.Errorf("%s: got %v, want 42501", sql, err)
		}
	}
	for i, tenant := range []string{"acme", "umbrella"} {
		exec1(t, conn, "SET sidekey.tenant TO '"+tenant+"'")
		exec1(t, conn, fmt.Sprintf("INSERT INTO notes (id, tag) VALUES (%d, 'pxmarker')", i))
		if got, err := ids(t, conn, "SELECT id FROM notes WHERE tag LIKE 'pxmark%'"); err != nil || len(got) != 1 || got[0] != i {
			t.Errorf("%s finds %v, %v", tenant, got, err)
		}
	}
	noCanary(t, f, sealedMarker)
}
