// SPDX-License-Identifier: Apache-2.0

//go:build !race

package dbproxy_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// corpus is a set of statements with the tables they need.
type corpus struct {
	name   string
	setup  []string // makes tables
	data   []string // fills them; run again when a case has changed them
	tables []string // are looked at after every write
	first  string   // one of them that has protected columns
	groups []*group
	// generated statements are many: they are run in fewer ways.
	generated bool
}

// group is statements that belong together: what one does, the next sees.
type group struct {
	name       string
	autocommit bool // not to be run within a transaction
	// independent statements are run although one before has failed.
	independent bool
	statements  []*statementCase
}

// statementCase is a statement and what is expected of it.
type statementCase struct {
	key     string
	sql     string
	refused bool
	comparison
	params    [][]byte
	hasParams bool
	data      []byte // of COPY FROM STDIN
	// textOnly has it run by the simple protocol only.
	textOnly bool
}

func (g *group) writes() bool {
	for _, s := range g.statements {
		if writing.MatchString(s.sql) {
			return true
		}
	}
	return false
}

// runsIn says whether the group is run in a pass. Within a transaction, it is
// one write and the savepoint before it that pass transaction adds.
func (g *group) runsIn(pass string) bool {
	if pass == "transaction" {
		return !g.autocommit && len(g.statements) == 1 && g.writes()
	}
	return !g.autocommit || pass != "binary"
}

// looking is the text that shows the tables which a statement names, or all.
func (c *corpus) looking(after string) string {
	var named, all strings.Builder
	for _, table := range c.tables {
		look := fmt.Sprintf("SELECT * FROM %s ORDER BY id; ", table)
		all.WriteString(look)
		if bare := table[strings.IndexByte(table, '.')+1:]; strings.Contains(after, bare) {
			named.WriteString(look)
		}
	}
	if named.Len() > 0 {
		return named.String()
	}
	return all.String()
}

// session says whether the group may leave something in the session.
func (g *group) session() bool {
	for _, s := range g.statements {
		if !onlyRows.MatchString(s.sql) || strings.Contains(s.sql, "set_config") {
			return true
		}
	}
	return false
}

var (
	writing  = regexp.MustCompile(`(?i)\b(insert|update|delete|merge|create|alter|drop|truncate|copy|do|call|execute|comment|grant|revoke|vacuum|analyze|reindex|cluster|refresh|nextval|setval|into|fire)\b`)
	onlyRows = regexp.MustCompile(`(?i)^\s*(/\*.*?\*/\s*)*\(?\s*(select|values|table|with|insert|update|delete|merge|explain|copy)\b`)
	ordering = regexp.MustCompile(`(?i)\border\s+by\b`)
)

// readCorpus reads a file of statements, each ending with a semicolon at the
// end of a line. Lines before a statement that begin with -- are directives:
//
//	-- setup, -- data, -- cases       what the statements that follow are for
//	-- tables a, b                    to be compared after every write
//	-- group name, -- end             statements that belong together
//	-- autocommit                     the group runs outside of transactions
//	-- refused                        the proxy refuses this one
//	-- unordered, -- norows           see comparison; the first is the default
//	                                  where a statement has no ORDER BY
//	-- ordered                        although it has none
//	-- params a | b | \N              its parameters
//	-- copy line\nline\n              what COPY FROM STDIN reads
//	-- simple                         not by the extended protocol
//	--- anything                      a comment
func readCorpus(t *testing.T, path string) *corpus {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r := corpusReader{c: &corpus{name: strings.TrimSuffix(filepath.Base(path), ".sql")}, section: "cases"}
	for i, line := range strings.Split(string(b), "\n") {
		if err := r.line(line); err != nil {
			t.Fatalf("%s:%d: %v", path, i+1, err)
		}
	}
	if len(r.text) > 0 || r.group != nil {
		t.Fatalf("%s: it ends within a statement or group", path)
	}
	return r.c
}

type corpusReader struct {
	c       *corpus
	section string
	group   *group
	next    statementCase
	ordered bool
	auto    bool
	text    []string
}

func (r *corpusReader) line(line string) error {
	if len(r.text) == 0 && (strings.TrimSpace(line) == "" || strings.HasPrefix(line, "---")) {
		return nil
	}
	if len(r.text) == 0 && strings.HasPrefix(line, "-- ") {
		word, rest, _ := strings.Cut(strings.TrimPrefix(line, "-- "), " ")
		return r.directive(word, rest)
	}
	r.text = append(r.text, line)
	if end := strings.TrimRight(line, " \t"); strings.HasSuffix(end, ";") {
		r.text[len(r.text)-1] = strings.TrimSuffix(end, ";")
		return r.statement(strings.Join(r.text, "\n"))
	}
	return nil
}

func (r *corpusReader) directive(word, rest string) error {
	switch word {
	case "setup", "data", "cases":
		r.section = word
	case "tables":
		for _, table := range strings.Split(rest, ",") {
			r.c.tables = append(r.c.tables, strings.TrimSpace(table))
		}
	case "group":
		r.group = &group{name: rest, autocommit: r.auto}
		r.auto = false
	case "autocommit":
		r.auto = true
	case "end":
		r.c.groups = append(r.c.groups, r.group)
		r.group = nil
	case "refused":
		r.next.refused = true
	case "unordered":
		r.next.unordered = true
	case "ordered":
		r.ordered = true
	case "norows":
		r.next.noRows = true
	case "simple":
		r.next.textOnly = true
	case "params":
		r.next.params, r.next.hasParams = paramList(rest), true
	case "copy":
		r.next.data = []byte(strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\\`, `\`).Replace(rest))
	default:
		return fmt.Errorf("unknown directive %q", word)
	}
	return nil
}

func paramList(list string) (params [][]byte) {
	for _, p := range strings.Split(list, "|") {
		if p = strings.TrimSpace(p); p == `\N` {
			params = append(params, nil)
		} else {
			params = append(params, []byte(p))
		}
	}
	return params
}

func (r *corpusReader) statement(sql string) error {
	r.text = nil
	switch r.section {
	case "setup":
		r.c.setup = append(r.c.setup, sql)
		return nil
	case "data":
		r.c.data = append(r.c.data, sql)
		return nil
	}
	s := r.next
	s.sql = sql
	s.unordered = s.unordered || !r.ordered && !ordering.MatchString(sql)
	r.next, r.ordered = statementCase{}, false
	g := r.group
	if g == nil {
		g = &group{autocommit: r.auto}
		r.auto = false
		r.c.groups = append(r.c.groups, g)
	}
	g.statements = append(g.statements, &s)
	return nil
}

// keys gives every statement its key, which is its text, led by the name of
// its group. The same text twice is an error, except within a group.
func (c *corpus) keys(t *testing.T) {
	t.Helper()
	seen := map[string]bool{}
	for _, g := range c.groups {
		count := map[string]int{}
		for _, s := range g.statements {
			s.key = strings.NewReplacer("\n", `\n`, "\t", `\t`).Replace(s.sql)
			if s.hasParams {
				s.key += " -- " + string(joinParams(s.params))
			}
			if g.name != "" {
				count[s.key]++
				if n := count[s.key]; n > 1 {
					s.key = fmt.Sprintf("%s -- again %d", s.key, n-1)
				}
				s.key = g.name + ": " + s.key
			}
			if seen[s.key] {
				t.Errorf("%s: %q is there twice", c.name, s.key)
			}
			seen[s.key] = true
		}
	}
}

func joinParams(params [][]byte) []byte {
	var out []byte
	for i, p := range params {
		if i > 0 {
			out = append(out, " | "...)
		}
		if p == nil {
			p = []byte(`\N`)
		}
		out = append(out, p...)
	}
	return out
}
