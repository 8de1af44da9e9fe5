// SPDX-License-Identifier: Apache-2.0

//go:build !race

package dbproxy_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

const pendingFile = "testdata/differential/pending.txt"

// pending are the statements of which something else is known than what the
// corpus expects: one line each, of tab-separated
//
//	refused or differs, the passes or *, the corpus, the statement
//
// A statement that does as its line says is not an error, and one that no
// longer does is one: then its line has to go.
type pending struct {
	want     map[string]string // pass, corpus and key to state
	seen     map[string]bool
	skipped  map[string]bool
	counts   map[string]int
	quoting  int
	failures int
	result   []entryOfPending // what the file ought to hold
}

type entryOfPending struct{ state, pass, corpus, key string }

func readPending(t *testing.T) *pending {
	t.Helper()
	p := &pending{want: map[string]string{}, seen: map[string]bool{}, skipped: map[string]bool{}, counts: map[string]int{}}
	b, err := os.ReadFile(pendingFile)
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(string(b), "\n") {
		if updatePending() || line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.SplitN(line, "\t", 4)
		if len(f) != 4 || f[0] != "refused" && f[0] != "differs" {
			t.Fatalf("%s:%d: not a line of pending statements", pendingFile, i+1)
		}
		in := passes
		if f[1] != "*" {
			in = strings.Split(f[1], ",")
		}
		for _, pass := range in {
			p.want[pass+"\t"+f[2]+"\t"+f[3]] = f[0]
		}
	}
	return p
}

// skip has a corpus that is not run.
func (p *pending) skip(corpus string) { p.skipped[corpus] = true }

// unseen has a statement that cannot be judged before one that it follows on is
// answered.
func (p *pending) unseen(corpus, pass string, st *statementCase) {
	p.seen[pass+"\t"+corpus+"\t"+st.key] = true
	p.counts["unseen"]++
}

// note judges an outcome.
func (p *pending) note(t *testing.T, corpus, pass string, st *statementCase, o outcome) {
	t.Helper()
	id := pass + "\t" + corpus + "\t" + st.key
	expected := "same"
	if st.refused {
		expected = "refused"
	}
	if o.state != expected && o.state != "same" {
		p.result = append(p.result, entryOfPending{o.state, pass, corpus, st.key})
	}
	p.counts[o.state]++
	if o.quotes {
		p.quoting++
	}
	known, listed := p.want[id]
	p.seen[id] = true
	switch {
	case listed && known == o.state:
		p.counts["pending "+o.state]++
	case listed:
		p.fail(t, o, "%s, %s: %s\nis listed as %s in %s, and now: %s %s", corpus, pass, st.key, known, pendingFile, o.state, o.diff)
	case o.state != expected:
		p.fail(t, o, "%s, %s: %s\ngot %s, want %s %s", corpus, pass, st.key, o.state, expected, o.diff)
	}
}

func (p *pending) fail(t *testing.T, o outcome, format string, args ...any) {
	t.Helper()
	if updatePending() && o.state != "same" {
		t.Logf(format, args...)
		return
	}
	p.failures++
	t.Errorf(format, args...)
}

// updatePending has the file written anew as things are.
func updatePending() bool { return os.Getenv("SIDEKEY_DIFFERENTIAL_UPDATE") != "" }

func (p *pending) finish(t *testing.T) {
	t.Helper()
	there := map[string]bool{} // in any pass
	for id := range p.seen {
		_, statement, _ := strings.Cut(id, "\t")
		there[statement] = true
	}
	for id := range p.want {
		_, statement, _ := strings.Cut(id, "\t")
		if corpus, _, _ := strings.Cut(statement, "\t"); !there[statement] && !p.skipped[corpus] && p.failures == 0 && !updatePending() {
			t.Errorf("%s lists a statement that no corpus has: %q", pendingFile, id)
		}
	}
	t.Logf("runs of statements: %d same, %d refused, %d different; pending of them: %d refused, %d different; not run behind one of them: %d; DETAIL shows ciphertext in %d",
		p.counts["same"], p.counts["refused"], p.counts["differs"], p.counts["pending refused"], p.counts["pending differs"], p.counts["unseen"], p.quoting)
	if updatePending() && len(p.skipped) == 0 {
		p.write(t)
	}
}

const pendingHead = `# Statements that are not yet answered as the corpus says: state, passes, corpus, statement.
# SIDEKEY_DIFFERENTIAL_UPDATE=1 go test ./dbproxy -run TestDifferential/corpus writes this file anew;
# a line that is new in it, and every line of state differs, has to be looked at.
#
# Known reasons for the state differs:
#   - dates and times are read in ISO form only; the error says so
#   - numbers are read as PostgreSQL 16 and later do (0x10, 1_000)
#   - a constant that is too long or wide fails at Parse; PostgreSQL finds that at Execute
#   - errors in json and in arrays have neither the CONTEXT nor all of the DETAIL
#   - errors in names and numbers of columns are found by the proxy, in its own words
#   - a NaN has one form only, whatever its bits were
#   - of COALESCE(column, NULL), PostgreSQL describes a portal with the column's typmod, and a
#     statement without
#   - a comment between the parts of a string constant, and an invalid byte in one, are errors
#     of syntax to the parser
`

func (p *pending) write(t *testing.T) {
	t.Helper()
	type line struct{ state, corpus, key string }
	var order []line
	in := map[line][]string{}
	ran := map[string]int{}
	for id := range p.seen {
		_, rest, _ := strings.Cut(id, "\t")
		ran[rest]++
	}
	for _, e := range p.result {
		l := line{e.state, e.corpus, e.key}
		if in[l] == nil {
			order = append(order, l)
		}
		in[l] = append(in[l], e.pass)
	}
	var b strings.Builder
	b.WriteString(pendingHead)
	slices.SortStableFunc(order, func(a, b line) int { return strings.Compare(a.state+a.corpus, b.state+b.corpus) })
	for _, l := range order {
		passes := strings.Join(in[l], ",")
		if len(in[l]) == ran[l.corpus+"\t"+l.key] {
			passes = "*"
		}
		fmt.Fprintf(&b, "%s\t%s\t%s\t%s\n", l.state, passes, l.corpus, l.key)
	}
	if err := os.WriteFile(pendingFile, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
