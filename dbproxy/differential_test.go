// SPDX-License-Identifier: Apache-2.0

//go:build !race

package dbproxy_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/sidekey/sidekey/dbproxy"
	"github.com/sidekey/sidekey/proxy"
)

// sides are a server on which nothing is protected, and one behind the proxy
// which logs all it gets to know.
type sides struct {
	plain    *cluster
	f        *fixture
	database string // on plain
	ranged   bool   // the proxy knows mode range
	types    map[string]bool
	canaries *canaries
}

// TestDifferential has the same statements answered by PostgreSQL itself and
// through the proxy, where columns are protected, and compares all that a
// client is told. Afterwards none of the protected values may be in any file of
// the server.
func TestDifferential(t *testing.T) {
	s := startSides(t)
	t.Run("corpus", s.testCorpus)
	t.Run("random", s.testRandom)
	t.Run("wire", s.testWire)
	t.Run("canaries", s.testCanaries)
}

func startSides(t *testing.T) *sides {
	t.Helper()
	s := &sides{canaries: &canaries{uses: map[int]string{}}}
	s.plain = ownCluster(t)
	sealed := ownCluster(t, "log_statement = 'all'", "log_parameter_max_length = -1",
		"shared_preload_libraries = 'pg_stat_statements,auto_explain'", "pg_stat_statements.track_utility = on", "pg_stat_statements.track = all",
		"auto_explain.log_min_duration = 0", "auto_explain.log_verbose = on", "auto_explain.log_nested_statements = on")
	var columns []proxy.ColumnRule
	columns, s.ranged, s.types = differentialRules()
	s.f = start(t, sealed, columns)
	s.database = s.f.database
	admin := dial(t, s.plain.url("postgres", "postgres"), pgx.QueryExecModeExec)
	exec1(t, admin, "CREATE DATABASE "+s.database)
	return s
}

// ruled makes a column rule; one of a domain if there is one.
func ruled(table, name, typ, mode, domain string) proxy.ColumnRule {
	c := column(table, name, typ, mode)
	c.Domain = domain
	return c
}

// accepted says whether a rule is one that the configuration can have.
func accepted(c proxy.ColumnRule) bool {
	rules := proxy.Rules{Columns: []proxy.ColumnRule{c}}
	if rules.Validate() != nil {
		return false
	}
	// With rules that it understands, it asks for the URL next.
	_, err := dbproxy.New(dbproxy.Config{Listen: "127.0.0.1:0", Upstream: dbproxy.UpstreamConfig{Address: "127.0.0.1:1"}}, rules.Columns, nil, nil, nil)
	return err == nil || strings.Contains(err.Error(), "admin_url_file")
}

// differentialRules are the protected columns of testdata/differential. Where
// mode range is not known, equality stands in for it; types that are not known
// have no rules.
func differentialRules() (rules []proxy.ColumnRule, ranged bool, types map[string]bool) {
	const equality, random = "equality", "random"
	order := equality
	if ranged = accepted(column("ranged", "n", "int4", "range")); ranged {
		order = "range"
	}
	rules = []proxy.ColumnRule{
		ruled("users", "email", "text", equality, "mail"),
		ruled("users", "ssn", "varchar(11)", random, ""),
		ruled("users", "pin", "int4", equality, "pin"),
		ruled("users", "code", "varchar(4)", equality, ""),
		ruled("users", "price", "numeric(8,2)", equality, ""),
		ruled("users", "born", "date", equality, ""),
		ruled("users", "seen", "timestamptz", equality, ""),
		ruled("users", "uid", "uuid", equality, ""),
		ruled("users", "ok", "bool", equality, ""),
		ruled("users", "blob", "bytea", equality, ""),
		ruled("users", "big", "int8", equality, ""),
		ruled("users", "doc", "jsonb", random, ""),
		ruled("users", "secret", "text", random, ""),
		ruled("leads", "email", "text", equality, "mail"),
		ruled("leads", "pin", "int4", equality, "pin"),
		ruled("orders", "email", "text", equality, "mail"),
		ruled("orders", "total", "numeric(8,2)", equality, ""),
		ruled("orders", "secret", "text", random, ""),
		ruled("parts", "email", "text", equality, "mail"),
		ruled("Odd Name", "E mail", "text", equality, "mail"),
		ruled("s2.accounts", "email", "text", equality, "mail"),
		ruled("s3.accounts", "email", "text", equality, ""),
		ruled("newcomers", "email", "text", equality, "mail"),
		ruled("newcomers", "secret", "text", random, ""),
		ruled("ranged", "n", "int4", order, ""),
		ruled("ranged", "name", "text", order, ""),
		ruled("ranged", "day", "date", order, ""),
	}
	types = map[string]bool{}
	for i, s := range typeSamples {
		for _, mode := range typeModes {
			rule := column(typeTable(i, mode), "v", s.name, mode)
			if accepted(rule) {
				types[s.name+" "+mode] = true
				rules = append(rules, rule)
			}
		}
	}
	return rules, ranged, types
}

// passes are the ways in which every statement is run.
var passes = []string{"simple", "extended", "binary", "transaction"}

// outcome of one statement in one pass.
type outcome struct {
	state string // "same", "refused" or "differs"
	diff  string
	// quotes says that the server's DETAIL shows ciphertext.
	quotes bool
}

func (s *sides) testCorpus(t *testing.T) {
	paths, err := filepath.Glob("testdata/differential/*.sql")
	if err != nil || len(paths) < 2 {
		t.Fatalf("%d files, %v", len(paths), err)
	}
	schema := readCorpus(t, "testdata/differential/schema.sql")
	corpora := generatedCorpora(schema, s.types)
	for _, path := range paths {
		if filepath.Base(path) != "schema.sql" {
			c := readCorpus(t, path)
			c.setup, c.data = append(schema.setup[:len(schema.setup):len(schema.setup)], c.setup...), append(schema.data[:len(schema.data):len(schema.data)], c.data...)
			if c.tables == nil {
				c.tables = schema.tables
			}
			c.first = "users"
			corpora = append(corpora, c)
		}
	}
	pending := readPending(t)
	for _, c := range corpora {
		if only := os.Getenv("SIDEKEY_DIFFERENTIAL_FILE"); only != "" && only != c.name {
			pending.skip(c.name)
			continue
		}
		c.keys(t)
		t.Run(c.name, func(t *testing.T) { s.runCorpus(t, c, pending) })
	}
	pending.finish(t)
}

// runner runs one corpus in one pass.
type runner struct {
	*sides
	t       *testing.T
	c       *corpus
	pass    string
	pending *pending
	direct  *peer
	proxied *peer
}

func (s *sides) runCorpus(t *testing.T, c *corpus, pending *pending) {
	in := passes
	if c.generated {
		in = passes[:3]
	}
	for _, pass := range in {
		r := &runner{sides: s, t: t, c: c, pass: pass, pending: pending}
		r.connect()
		r.reset(true)
		for _, g := range c.groups {
			if !g.runsIn(pass) {
				continue
			}
			r.group(g)
			if t.Failed() && pending.failures > 60 {
				t.Fatal("too many failures")
			}
		}
	}
}

func (r *runner) connect() {
	if r.direct != nil {
		r.direct.conn.Close()
		r.proxied.conn.Close()
	}
	r.direct = newPeer(r.t, fmt.Sprintf("127.0.0.1:%d", r.plain.port), r.database)
	r.proxied = newPeer(r.t, r.f.addr, r.f.database)
}

// both runs a text that is no case on both sides.
func (r *runner) both(sql string) {
	r.t.Helper()
	for _, p := range []*peer{r.direct, r.proxied} {
		answer, err := p.simple(sql, nil)
		if err != nil {
			r.t.Fatalf("%s: %v", sql, err)
		}
		for _, reply := range answer {
			if reply.Kind == "ErrorResponse" {
				r.t.Fatalf("%s: %s", sql, reply)
			}
		}
	}
}

// reset makes tables and rows what they were.
func (r *runner) reset(tables bool) {
	r.t.Helper()
	if tables {
		for _, sql := range r.c.setup {
			r.both(sql)
		}
		// Outside of a transaction, so that the catalog is read for all that follow.
		r.both("SELECT 1 FROM " + r.c.first + " LIMIT 1")
	}
	for _, sql := range r.c.data {
		r.both(sql)
	}
}

func (r *runner) group(g *group) {
	writes := g.writes()
	wrapped := !g.autocommit && (r.pass == "binary" || r.pass == "transaction" || writes && (r.pass == "extended" || r.c.generated))
	if wrapped {
		r.both("BEGIN")
	}
	savepoint := r.pass == "transaction"
	alive, changed := true, false
	for i, st := range g.statements {
		if r.c.generated && !st.hasParams && r.pass == "extended" {
			continue // it is in the pass binary
		}
		if st.textOnly && (r.pass == "binary" || r.pass == "extended") || st.hasParams && (r.pass == "simple" || r.pass == "transaction") {
			continue
		}
		if savepoint && r.direct.status == 'T' {
			r.both("SAVEPOINT differential")
		}
		var o outcome
		if o, alive = r.statement(st); !alive {
			r.pending.note(r.t, r.c.name, r.pass, st, o)
			break
		}
		if o.state == "same" && writing.MatchString(st.sql) {
			o, alive = r.tables(o, st.sql)
		}
		r.pending.note(r.t, r.c.name, r.pass, st, o)
		if !alive {
			break
		}
		switch failed := r.direct.status == 'E'; {
		case failed && savepoint:
			r.both("ROLLBACK TO differential")
		case failed && wrapped && g.independent:
			r.both("ROLLBACK")
			r.both("BEGIN")
		}
		changed = true
		if o.state == "refused" && !st.refused && !g.independent {
			// What follows may need what was refused.
			for _, rest := range g.statements[i+1:] {
				r.pending.unseen(r.c.name, r.pass, rest)
			}
			break
		}
	}
	if !alive {
		r.connect()
		r.reset(true)
		return
	}
	if r.direct.status != 'I' || r.proxied.status != 'I' {
		r.both("ROLLBACK")
	}
	r.tidy(g, writes && !wrapped && changed)
}

// tidy undoes what a group has left.
func (r *runner) tidy(g *group, changed bool) {
	if g.session() {
		r.both("DISCARD ALL")
		r.both("SET TimeZone TO 'America/New_York'")
	}
	if changed {
		r.reset(g.session())
	}
}

// statement runs one statement on both sides. What the proxy refuses is not
// done on the other side: there another statement fails in its stead, so that
// both stay alike. alive is false if a connection was lost.
func (r *runner) statement(st *statementCase) (o outcome, alive bool) {
	sql := r.canaries.mark(st.sql, r.c.name+" "+r.pass+": "+st.sql)
	got, err := r.run(r.proxied, st, sql)
	if err != nil {
		return outcome{state: "differs", diff: fmt.Sprintf("through the proxy: %v, %v", got, err)}, false
	}
	other := *st
	if refusedReply(got) {
		other.hasParams, other.params = false, nil
		if want, err := r.run(r.direct, &other, "refused"); err != nil || r.direct.status != r.proxied.status {
			return outcome{state: "differs", diff: fmt.Sprintf("transaction status %c after a refusal, want %c: %v, %v", r.proxied.status, r.direct.status, want, err)}, false
		}
		return outcome{state: "refused"}, true
	}
	want, err := r.run(r.direct, st, sql)
	if err != nil {
		r.t.Fatalf("%s: %v", sql, err)
	}
	o.quotes = quotesSealed(got)
	o.state = "same"
	if o.diff = st.differs(want, got); o.diff != "" {
		o.state = "differs"
	}
	return o, r.direct.status == r.proxied.status
}

func (r *runner) run(p *peer, st *statementCase, sql string) ([]reply, error) {
	switch {
	case r.pass == "extended":
		return p.extended(sql, st.params, st.data)
	case r.pass == "binary":
		return p.binary(sql, st.params, st.data)
	}
	return p.simple(sql, st.data)
}

// tables compares what a write has left.
func (r *runner) tables(o outcome, after string) (_ outcome, alive bool) {
	sql := r.c.looking(after)
	if r.direct.status == 'E' || sql == "" {
		return o, true
	}
	got, err := r.proxied.simple(sql, nil)
	if err != nil {
		return outcome{state: "differs", diff: fmt.Sprintf("looking at the tables: %v", err)}, false
	}
	if refusedReply(got) {
		// Both sides are alike again once the transaction is over.
		r.direct.simple("refused", nil)
		return o, r.direct.status == r.proxied.status
	}
	want, err := r.direct.simple(sql, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	if diff := (comparison{}).differs(want, got); diff != "" {
		return outcome{state: "differs", diff: "the tables afterwards: " + diff}, true
	}
	return o, true
}
