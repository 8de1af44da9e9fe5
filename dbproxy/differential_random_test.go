// SPDX-License-Identifier: Apache-2.0

//go:build !race

package dbproxy_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// randomStatements are run by default; SIDEKEY_RANDOM_COUNT and
// SIDEKEY_RANDOM_SEED set another number and where to begin.
const randomStatements = 2000

func fromEnvironment(t *testing.T, name string, otherwise int) int {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// testRandom has both sides answer random statements. Each has a seed of its
// own, with which it can be run alone.
func (s *sides) testRandom(t *testing.T) {
	schema := readCorpus(t, "testdata/differential/schema.sql")
	schema.name, schema.first, schema.tables = "random", "users", []string{"users", "leads", "orders", "other", "ranged"}
	seed, count := fromEnvironment(t, "SIDEKEY_RANDOM_SEED", 1), fromEnvironment(t, "SIDEKEY_RANDOM_COUNT", randomStatements)
	r := &runner{sides: s, t: t, c: schema}
	r.connect()
	r.reset(true)
	counts := map[string]int{}
	for i := seed; i < seed+count; i++ {
		g := &generator{Rand: rand.New(rand.NewPCG(uint64(i), 7310)), ranged: s.ranged}
		r.pass = passes[g.IntN(3)]
		q := g.statement()
		o := r.random(q)
		counts[o.state]++
		if o.state == "differs" {
			q = r.shrink(q)
			t.Errorf("SIDEKEY_RANDOM_SEED=%d SIDEKEY_RANDOM_COUNT=1, %s:\n%s\n%s", i, r.pass, q, r.random(q).diff)
			if counts["differs"] > 10 {
				t.Fatal("too many differences")
			}
		}
	}
	t.Logf("%d random statements: %v", count, counts)
	if count >= randomStatements && (counts["same"] < count/3 || counts["refused"] == 0) {
		t.Errorf("the statements are of little use: %v", counts)
	}
}

// random runs one statement in a transaction that is taken back.
func (r *runner) random(q *query) outcome {
	r.both("BEGIN")
	sql := q.String()
	st := &statementCase{sql: sql, comparison: comparison{unordered: !slices.ContainsFunc(q.tails, orders)}}
	o, alive := r.statement(st)
	if alive && o.state == "same" && writing.MatchString(sql) {
		o, alive = r.tables(o, sql)
	}
	if !alive {
		r.connect()
		r.reset(true)
		return o
	}
	r.both("ROLLBACK")
	return o
}

// shrink leaves parts out for as long as the answers differ.
func (r *runner) shrink(q *query) *query {
	for again := true; again; {
		again = false
		for _, smaller := range q.smaller() {
			if r.random(smaller).state == "differs" {
				q, again = smaller, true
				break
			}
		}
	}
	return q
}

// query is a statement in parts: head, targets, middle, condition, tail.
type query struct {
	head    string
	targets []string
	middle  string
	where   *condition
	tails   []string
}

func (q *query) String() string {
	var b strings.Builder
	b.WriteString(q.head)
	b.WriteString(strings.Join(q.targets, ", "))
	b.WriteString(q.middle)
	if q.where != nil {
		b.WriteString(" WHERE " + q.where.String())
	}
	for _, tail := range q.tails {
		b.WriteString(tail)
	}
	return b.String()
}

func orders(tail string) bool { return strings.HasPrefix(tail, " ORDER BY ") }

// smaller gives statements that lack one part.
func (q *query) smaller() (out []*query) {
	for i := range q.targets {
		if len(q.targets) > 1 && strings.HasPrefix(q.head, "SELECT") {
			c := *q
			c.targets = slices.Delete(slices.Clone(q.targets), i, i+1)
			out = append(out, &c)
		}
	}
	for i := range q.tails {
		c := *q
		if c.tails = slices.Delete(slices.Clone(q.tails), i, i+1); orders(q.tails[i]) {
			c.tails = slices.Clone(q.tails[:i]) // no LIMIT without an order
		}
		out = append(out, &c)
	}
	if q.where != nil {
		for _, w := range append(q.where.kids, nil) {
			c := *q
			c.where = w
			out = append(out, &c)
		}
	}
	return out
}

// condition is a tree of AND, OR and NOT over comparisons.
type condition struct {
	op   string
	text string // of a leaf
	kids []*condition
}

func (c *condition) String() string {
	switch c.op {
	case "":
		return c.text
	case "NOT":
		return "NOT (" + c.kids[0].String() + ")"
	}
	return "(" + c.kids[0].String() + " " + c.op + " " + c.kids[1].String() + ")"
}

// randomColumn is a column as the generator knows it.
type randomColumn struct {
	name, kind, mode string
	domain           string // values compare within it
}

var randomTables = map[string][]randomColumn{
	"users": {{"id", "int", "", "id"}, {"email", "text", "equality", "mail"}, {"ssn", "text", "random", ""}, {"pin", "int", "equality", "pin"}, {"code", "code", "equality", "code"},
		{"price", "numeric", "equality", "price"}, {"born", "date", "equality", "born"}, {"uid", "uuid", "equality", "uid"}, {"ok", "bool", "equality", "ok"},
		{"secret", "text", "random", ""}, {"note", "text", "", "plain text"}, {"n", "int", "", "id"}},
	"leads":  {{"id", "int", "", "id"}, {"email", "text", "equality", "mail"}, {"pin", "int", "equality", "pin"}, {"note", "text", "", "plain text"}},
	"orders": {{"id", "int", "", "id"}, {"email", "text", "equality", "mail"}, {"total", "numeric", "equality", "total"}, {"secret", "text", "random", ""}, {"qty", "int", "", "id"}},
	"other":  {{"id", "int", "", "id"}, {"email", "text", "", "plain text"}, {"v", "text", "", "plain text"}, {"pin", "int", "", "id"}},
	"ranged": {{"id", "int", "", "id"}, {"n", "int", "range", "ranged n"}, {"name", "text", "range", "ranged name"}, {"day", "date", "range", "ranged day"}, {"note", "text", "", "plain text"}},
}

var randomNames = []string{"users", "leads", "orders", "other", "ranged"}

// randomConstants of a kind, for protected columns and for others.
var randomConstants = map[string][]string{
	"text":       {"'cnry-ann@x'", "'cnry-bob@x'", "'cnry-cyd@x'", "'cnry-s1'", "'cnry-q''uote'", "''", "'cnry-none'", "E'cnry-\\u0061nn@x'", "$$cnry-zoe@x$$"},
	"int":        {"731000001", "731000002", "731000003", "-731000003", "'731000001'", "0"},
	"numeric":    {"1.01", "2.00", "9.99", "-0.01", "'19.99'", "0.00"},
	"date":       {"'2001-02-03'", "DATE '2002-02-03'", "'infinity'", "'2001-01-01'::date", "'1999-12-31'"},
	"uuid":       {"'ca9a71e0-0000-4000-8000-000000000001'", "'ca9a71e0-0000-4000-8000-000000000002'::uuid"},
	"bool":       {"true", "false", "'t'"},
	"code":       {"'ab'", "'cd'", "''", "'zz'"},
	"plain text": {"'n1'", "'n2'", "'plain-ann@x'", "'l10'", "''"},
	"id":         {"1", "2", "3", "10", "100", "20", "-5"},
}

// generator makes statements.
type generator struct {
	*rand.Rand
	ranged bool
	ctes   string
}

// source is one item of FROM.
type randomSource struct {
	alias   string
	columns []randomColumn
}

func pick[T any](g *generator, list []T) T { return list[g.IntN(len(list))] }

// chance is true n times in a hundred.
func (g *generator) chance(n int) bool { return g.IntN(100) < n }

func (g *generator) constant(c randomColumn) string {
	if g.chance(5) {
		return "NULL"
	}
	if c.mode == "" {
		return pick(g, randomConstants[c.domain])
	}
	return pick(g, randomConstants[c.kind])
}

func (g *generator) statement() *query {
	switch n := g.IntN(100); {
	case n < 65:
		return g.query()
	case n < 78:
		return g.insert()
	case n < 92:
		return g.update()
	}
	return g.delete()
}

// sources are one to three tables with aliases, and the text that joins them.
func (g *generator) sources() ([]randomSource, string) {
	first, text := g.source(0)
	sources := []randomSource{first}
	for i := 1; i < 3 && g.chance(35); i++ {
		next, item := g.source(i)
		kind := pick(g, []string{" JOIN ", " LEFT JOIN ", " RIGHT JOIN ", " FULL JOIN ", " CROSS JOIN ", ", "})
		text += kind + item
		on := g.pair(sources, next)
		sources = append(sources, next)
		if kind == " CROSS JOIN " || kind == ", " {
			continue
		}
		text += " ON " + on
	}
	return sources, text
}

// source is a table, or a subquery of one.
func (g *generator) source(i int) (randomSource, string) {
	table := pick(g, randomNames)
	s := randomSource{alias: fmt.Sprintf("t%d", i), columns: randomTables[table]}
	if !g.chance(20) {
		return s, table + " " + s.alias
	}
	var names []string
	kept := s.columns[:1:1]
	for _, c := range s.columns[1:] {
		if g.chance(60) {
			kept = append(kept, c)
		}
	}
	s.columns = kept
	for _, c := range kept {
		names = append(names, c.name)
	}
	where := ""
	if inner := (randomSource{alias: table, columns: kept}); g.chance(50) {
		where = " WHERE " + g.leaf([]randomSource{inner})
	}
	text := "SELECT " + strings.Join(names, ", ") + " FROM " + table + where
	if g.chance(30) && g.ctes == "" {
		g.ctes = "WITH c AS " + pick(g, []string{"", "MATERIALIZED ", "NOT MATERIALIZED "}) + "(" + text + ") "
		return s, "c " + s.alias
	}
	return s, "(" + text + ") " + s.alias
}

// pair compares a column of next with one of the same domain, if there is one.
func (g *generator) pair(sources []randomSource, next randomSource) string {
	var pairs []string
	for _, s := range sources {
		for _, a := range s.columns {
			for _, b := range next.columns {
				if a.domain == b.domain && a.domain != "" && a.kind == b.kind && (a.mode == "") == (b.mode == "") {
					pairs = append(pairs, s.alias+"."+a.name+" = "+next.alias+"."+b.name)
				}
			}
		}
	}
	if len(pairs) == 0 || g.chance(3) {
		return g.column(sources).text + " = " + g.column([]randomSource{next}).text
	}
	return pick(g, pairs)
}

type columnUse struct {
	randomColumn
	text string
}

func (g *generator) column(sources []randomSource) columnUse {
	s := pick(g, sources)
	c := pick(g, s.columns)
	return columnUse{c, s.alias + "." + c.name}
}

// sortable is a column that can be ordered.
func (g *generator) sortable(c columnUse) bool {
	return c.mode == "" || c.mode == "range" && g.ranged
}

func (g *generator) condition(sources []randomSource, depth int) *condition {
	switch n := g.IntN(10); {
	case depth > 0 && n < 3:
		return &condition{op: pick(g, []string{"AND", "OR"}), kids: []*condition{g.condition(sources, depth-1), g.condition(sources, depth-1)}}
	case depth > 0 && n < 4:
		return &condition{op: "NOT", kids: []*condition{g.condition(sources, depth-1)}}
	}
	return &condition{text: g.leaf(sources)}
}

// leaf is one comparison.
func (g *generator) leaf(sources []randomSource) string {
	c := g.column(sources)
	if c.mode == "random" && !g.chance(10) {
		return c.text + pick(g, []string{" IS NULL", " IS NOT NULL"})
	}
	constants := func(n int) string {
		var list []string
		for range n {
			list = append(list, g.constant(c.randomColumn))
		}
		return strings.Join(list, ", ")
	}
	switch g.IntN(12) {
	case 0:
		return c.text + " IS NULL"
	case 1:
		return c.text + " <> " + constants(1)
	case 2:
		return c.text + " IN (" + constants(1+g.IntN(3)) + ")"
	case 3:
		return c.text + " NOT IN (" + constants(1+g.IntN(3)) + ")"
	case 4:
		return c.text + " IS " + pick(g, []string{"", "NOT "}) + "DISTINCT FROM " + constants(1)
	case 5:
		return g.subquery(c)
	case 6:
		d := g.column(sources)
		return "(" + c.text + ", " + d.text + ") = (" + constants(1) + ", " + g.constant(d.randomColumn) + ")"
	case 7:
		if g.sortable(c) {
			return c.text + pick(g, []string{" < ", " <= ", " > ", " >= "}) + constants(1)
		}
	case 8:
		if g.sortable(c) || g.chance(5) {
			return c.text + pick(g, []string{"", " NOT"}) + " BETWEEN " + constants(1) + " AND " + constants(1)
		}
	case 9:
		return constants(1) + " = " + c.text
	}
	return c.text + " = " + constants(1)
}

// subquery compares a column with what another table has.
func (g *generator) subquery(c columnUse) string {
	table := pick(g, randomNames)
	for _, d := range randomTables[table] {
		if d.domain == c.domain && d.kind == c.kind && (d.mode == "") == (c.mode == "") {
			switch g.IntN(4) {
			case 0:
				return c.text + " IN (SELECT s." + d.name + " FROM " + table + " s)"
			case 1:
				return c.text + " NOT IN (SELECT s." + d.name + " FROM " + table + " s WHERE s." + d.name + " IS NOT NULL)"
			case 2:
				return "EXISTS (SELECT 1 FROM " + table + " s WHERE s." + d.name + " = " + c.text + ")"
			}
			return c.text + " = (SELECT s." + d.name + " FROM " + table + " s ORDER BY s.id LIMIT 1)"
		}
	}
	return c.text + " = " + g.constant(c.randomColumn)
}

// query is a SELECT.
func (g *generator) query() *query {
	sources, from := g.sources()
	q := &query{head: "SELECT ", middle: " FROM " + from}
	if g.chance(70) {
		q.where = g.condition(sources, 2)
	}
	switch n := g.IntN(100); {
	case n < 20:
		g.grouped(q, sources)
	case n < 30:
		q.head = "SELECT DISTINCT "
		q.targets = []string{g.column(sources).text, g.column(sources).text}
	default:
		g.plainTargets(q, sources)
	}
	q.head = g.ctes + q.head
	if g.chance(6) && len(q.tails) == 0 {
		q.tails = append(q.tails, pick(g, []string{" UNION ", " UNION ALL ", " EXCEPT ", " INTERSECT "})+q.String())
	}
	return q
}

func (g *generator) plainTargets(q *query, sources []randomSource) {
	for range 1 + g.IntN(4) {
		q.targets = append(q.targets, g.target(sources))
	}
	if g.chance(60) {
		var keys []string
		for _, s := range sources {
			keys = append(keys, s.alias+".id")
		}
		if c := g.column(sources); g.sortable(c) && g.chance(30) {
			keys = append([]string{c.text + pick(g, []string{"", " DESC", " NULLS FIRST"})}, keys...)
		}
		q.tails = append(q.tails, " ORDER BY "+strings.Join(keys, ", "))
		if g.chance(30) {
			q.tails = append(q.tails, fmt.Sprintf(" LIMIT %d", g.IntN(5)))
		}
	}
}

// target is a column or an expression.
func (g *generator) target(sources []randomSource) string {
	c := g.column(sources)
	switch g.IntN(14) {
	case 0:
		return pick(g, sources).alias + ".*"
	case 1:
		return c.text + " AS \"A b\""
	case 2:
		return c.text + " IS NULL"
	case 3:
		return "CASE WHEN " + g.leaf(sources) + " THEN " + c.text + " END"
	case 4:
		other := g.constant(c.randomColumn)
		for other == "NULL" { // is folded away, and with it the length of a varchar
			other = g.constant(c.randomColumn)
		}
		return "COALESCE(" + c.text + ", " + other + ")"
	case 5:
		return "CASE WHEN " + g.leaf(sources) + " THEN 1 ELSE 0 END"
	case 6:
		return "(SELECT count(*) FROM leads s WHERE s.id = " + pick(g, sources).alias + ".id)"
	case 7:
		if c.mode == "" && c.kind == "int" {
			return c.text + " + 1"
		}
	case 8:
		return "count(*) OVER (PARTITION BY " + c.text + ")"
	}
	return c.text
}

func (g *generator) grouped(q *query, sources []randomSource) {
	var keys []string
	for range 1 + g.IntN(2) {
		keys = append(keys, g.column(sources).text)
	}
	q.targets = append(slices.Clone(keys), "count(*)")
	if c := g.column(sources); g.chance(50) {
		q.targets = append(q.targets, "count("+pick(g, []string{"", "DISTINCT "})+c.text+")")
	}
	by := strings.Join(keys, ", ")
	q.tails = append(q.tails, " GROUP BY "+pick(g, []string{by, by, by, "ROLLUP (" + by + ")", "CUBE (" + by + ")", "GROUPING SETS ((" + by + "), ())"}))
	if g.chance(30) {
		q.tails = append(q.tails, " HAVING count(*) > "+strconv.Itoa(g.IntN(3)))
	}
}

// target table of a write, with all its columns but id.
func (g *generator) table() (string, []randomColumn) {
	table := pick(g, randomNames)
	return table, randomTables[table]
}

func (g *generator) insert() *query {
	table, columns := g.table()
	names := []string{"id"}
	chosen := []randomColumn{}
	for _, c := range columns[1:] {
		if g.chance(50) {
			names, chosen = append(names, c.name), append(chosen, c)
		}
	}
	var rows []string
	for i := range 1 + g.IntN(3) {
		row := []string{strconv.Itoa(pick(g, []int{1, 10, 100, 500, 600, 700}) + i)}
		for _, c := range chosen {
			if g.chance(4) {
				row = append(row, "DEFAULT")
			} else {
				row = append(row, g.constant(c))
			}
		}
		rows = append(rows, "("+strings.Join(row, ", ")+")")
	}
	q := &query{head: "INSERT INTO " + table + " AS t (" + strings.Join(names, ", ") + ") VALUES ", targets: rows}
	switch g.IntN(4) {
	case 0:
		q.tails = append(q.tails, " ON CONFLICT DO NOTHING")
	case 1:
		if len(chosen) > 0 {
			c, d := pick(g, chosen), pick(g, chosen)
			q.tails = append(q.tails, " ON CONFLICT (id) DO UPDATE SET "+c.name+" = EXCLUDED."+c.name)
			if d.name != c.name {
				q.tails = append(q.tails, ", "+d.name+" = "+g.constant(d))
			}
		}
	}
	return g.returning(q, columns)
}

func (g *generator) returning(q *query, columns []randomColumn) *query {
	switch g.IntN(3) {
	case 0:
		q.tails = append(q.tails, " RETURNING *")
	case 1:
		q.tails = append(q.tails, " RETURNING t.id, t."+pick(g, columns).name)
	}
	return q
}

func (g *generator) update() *query {
	table, columns := g.table()
	target := randomSource{alias: "t", columns: columns}
	q := &query{head: "UPDATE " + table + " t SET "}
	seen := map[string]bool{}
	for range 1 + g.IntN(3) {
		c := columns[1+g.IntN(len(columns)-1)]
		if seen[c.name] {
			continue
		}
		seen[c.name] = true
		value := g.constant(c)
		switch g.IntN(8) {
		case 0:
			value = "DEFAULT"
		case 1:
			value = "t." + c.name
		case 2:
			value = "CASE WHEN " + g.leaf([]randomSource{target}) + " THEN " + value + " ELSE t." + c.name + " END"
		}
		q.targets = append(q.targets, c.name+" = "+value)
	}
	sources := []randomSource{target}
	if g.chance(25) {
		next, item := g.source(1)
		q.middle, q.head = " FROM "+item, g.ctes+q.head
		sources = append(sources, next)
		// The key makes the row that is joined the only one.
		q.where = &condition{op: "AND", kids: []*condition{{text: "t.id = t1.id"}, g.condition(sources, 1)}}
	} else if g.chance(80) {
		q.where = g.condition(sources, 2)
	}
	return g.returning(q, columns)
}

func (g *generator) delete() *query {
	table, columns := g.table()
	sources := []randomSource{{alias: "t", columns: columns}}
	q := &query{head: "DELETE FROM " + table + " t"}
	if g.chance(25) {
		next, item := g.source(1)
		on := g.pair(sources, next)
		q.middle, q.head = " USING "+item, g.ctes+q.head
		sources = append(sources, next)
		q.where = &condition{op: "AND", kids: []*condition{{text: on}, g.condition(sources, 1)}}
		return q
	}
	q.where = g.condition(sources, 2)
	return g.returning(q, columns)
}
