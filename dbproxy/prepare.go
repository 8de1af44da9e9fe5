// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/sidekey/sidekey/dbproxy/plan"
)

// Comments of sqlcommenter, which carry a trace, stand before or behind a text.
// They differ with every execution, and so are kept out of the plan. One before
// it is a comment, whatever it holds. One behind it has no line break: should
// it stand within a comment to the end of the line, then as a whole; should it
// stand within anything else, the text without it is not complete.
var (
	leadingTrace  = regexp.MustCompile(`^\s*/\*[^*]*traceparent='([0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})'[^*]*\*/`)
	trailingTrace = regexp.MustCompile(`/\*[^*\r\n]*traceparent='([0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})'[^*\r\n]*\*/[\s;]*$`)
)

// splitTrace cuts such a comment off.
func splitTrace(sql string) (lead, text, tail, trace string) {
	if !strings.Contains(sql, "traceparent='") {
		return "", sql, "", ""
	}
	if m := leadingTrace.FindStringSubmatchIndex(sql); m != nil {
		return sql[:m[1]], sql[m[1]:], "", sql[m[2]:m[3]]
	}
	if m := trailingTrace.FindStringSubmatchIndex(sql); m != nil {
		return "", sql[:m[0]], sql[m[0]:], sql[m[2]:m[3]]
	}
	return "", sql, "", ""
}

// prepare plans a text as the session stands.
func (s *session) prepare(sql string) (*statement, error) {
	lead, text, tail, trace := splitTrace(sql)
	st := &statement{sql: text, lead: lead, tail: tail, trace: strings.Clone(trace)}
	foreign := func(r rune) bool { return r >= 0x80 || r == '\\' }
	if s.unsettled && strings.IndexFunc(text, foreign) >= 0 {
		if err := s.settingsKnown(); err != nil {
			return nil, err
		}
	}
	set := s.current()
	if !set.utf8 && strings.IndexFunc(text, func(r rune) bool { return r >= 0x80 }) >= 0 {
		return nil, &pgError{Code: codeNotSupported, Message: "the encrypting proxy reads UTF8 only", Hint: "SET client_encoding TO 'UTF8'."}
	}
	if !set.conforming && strings.Contains(text, `\`) {
		return nil, &pgError{Code: codeNotSupported, Message: "the encrypting proxy cannot read backslashes while standard_conforming_strings is off",
			Hint: "SET standard_conforming_strings TO on."}
	}
	var err error
	if st.plan, err = s.plan(text); err != nil {
		return nil, err
	}
	if refusal := st.plan.Refusal; refusal != nil {
		shifted := *refusal.On(set.version)
		shifted.Position = st.outer(shifted.Position)
		return nil, &shifted
	}
	if st.plan.Missing != nil {
		if err := s.missing(st); err != nil {
			return nil, err
		}
	}
	st.snap, st.path = s.catalog.Load(), s.path
	if err := s.permitPlain(st); err != nil {
		return nil, err
	}
	if err := s.resolveNames(st); err != nil {
		return nil, st.shifted(err)
	}
	if st.touched() {
		if err := s.settingsKnown(); err != nil {
			return nil, err
		}
		if err := s.knowTenant(st.plan); err != nil {
			return nil, err
		}
		st.tenant = s.tenant.name
	}
	if err := s.datedLiterals(st); err != nil {
		return nil, err
	}
	if err := s.permit(st, s.current()); err != nil {
		return nil, err
	}
	return st, nil
}

// shifted is an error with its position in the text with the comment before it.
func (st *statement) shifted(err error) error {
	var refusal *plan.Refusal
	if !errors.As(err, &refusal) {
		return err
	}
	moved := *refusal
	moved.Position = st.outer(moved.Position)
	return &moved
}

// outer is a character position in the text with the comment before it.
func (st *statement) outer(position int) int {
	if position > 0 {
		position += utf8.RuneCountInString(st.lead)
	}
	return position
}

// settingsKnown waits until the server has reported the settings as they are.
func (s *session) settingsKnown() error {
	if !s.unsettled {
		return nil
	}
	if err := s.askSettings(); err != nil {
		return err
	}
	s.unsettled = false
	return nil
}

// askSettings waits until the server has reported the settings, and within a batch,
// at whose end it does so, asks for them.
func (s *session) askSettings() error {
	if err := s.settle(); err != nil || !s.batchOpen {
		return err
	}
	rows, err := s.ask(settingsQuery)
	if err == nil {
		s.learn(rows)
	}
	return err
}

// settingsQuery asks for the settings that values depend on.
const settingsQuery = "SELECT name, pg_catalog.current_setting(name) FROM pg_catalog.unnest(" +
	"'{TimeZone,DateStyle,IntervalStyle,standard_conforming_strings,client_encoding}'::pg_catalog.text[]) AS name"

// stillMeant says whether a prepared statement means what it meant when it was
// planned: the server looks names up again once tables or the search_path have
// changed.
func (s *session) stillMeant(st *statement) error {
	if !st.mentions() {
		return s.permitPlain(st)
	}
	if st.touched() {
		if err := s.settingsKnown(); err != nil {
			return err
		}
	}
	if s.batchOpen && !s.dirty && !st.plan.Ambiguous && !s.proxy.moving {
		return nil
	}
	if _, err := s.enter(); err != nil {
		return err
	}
	if err := s.sameKeys(st); err != nil {
		return err
	}
	snap, err := s.snapshot()
	if err != nil {
		return err
	}
	if !s.dirty && snap == st.snap && (!st.plan.Ambiguous || s.path != nil && st.path != nil && s.path.Key() == st.path.Key()) {
		return nil
	}
	p, err := s.plan(st.sql)
	if err != nil {
		return err
	}
	planned := st.plan
	if st.base != nil {
		planned = st.base
	}
	if p.Refusal != nil || !slices.Equal(p.Resolves, planned.Resolves) || !slices.EqualFunc(p.Statements, planned.Statements, sameOutputs) {
		return &pgError{Code: codeNotSupported, Message: "cached plan must not change result type",
			Detail: "The names in the prepared statement now mean other tables or columns than when it was prepared.", Hint: "Prepare it again."}
	}
	st.snap, st.path = s.catalog.Load(), s.path
	return nil
}

func sameOutputs(a, b plan.Statement) bool {
	return slices.Equal(a.Outputs, b.Outputs) && slices.Equal(a.Touched, b.Touched)
}

// permit refuses what a plan cannot know: settings and names of the session.
func (s *session) permit(st *statement, set settings) error {
	if err := s.permitValues(st); err != nil || !st.touched() {
		return err
	}
	switch {
	case !set.utf8:
		return &pgError{Code: codeNotSupported, Message: "protected columns need client_encoding UTF8", Hint: "SET client_encoding TO 'UTF8'."}
	case !set.conforming && len(st.plan.Literals)+len(st.plan.Edits) > 0:
		return &pgError{Code: codeNotSupported, Message: "protected columns need standard_conforming_strings", Hint: "SET standard_conforming_strings TO on."}
	}
	return permitDates(st, set)
}

// permitSettings refuses an execution under settings that do not fit.
func (s *session) permitSettings(st *statement, set settings) error {
	if !set.utf8 {
		return &pgError{Code: codeNotSupported, Message: "protected columns need client_encoding UTF8", Hint: "SET client_encoding TO 'UTF8'."}
	}
	return permitDates(st, set)
}

// permitDates refuses other styles than ISO where a date is written, and others
// than postgres where an interval is.
func permitDates(st *statement, set settings) error {
	if set.isoDates && set.plainIntervals {
		return nil
	}
	for i := range st.plan.Statements {
		rules := rulesOf(st.plan.Statements[i].Outputs)
		if c := st.plan.Statements[i].Copy; c != nil && !c.From {
			rules = c.Rules()
		}
		for _, r := range rules {
			if err := permitStyle(r, set); err != nil {
				return err
			}
		}
	}
	return nil
}

// permitStyle refuses a style in which the values of a column are not written.
func permitStyle(r *plan.Rule, set settings) error {
	t := r.Type
	if elem, ok := t.Element(); ok {
		t = elem
	}
	switch t.OID {
	case plan.Date, plan.Timestamp, plan.Timestamptz:
		if !set.isoDates {
			return &pgError{Code: codeNotSupported, Message: "protected dates are written in DateStyle ISO only", Hint: "SET DateStyle TO ISO."}
		}
	case plan.Interval:
		if !set.plainIntervals {
			return &pgError{Code: codeNotSupported, Message: "protected intervals are written in IntervalStyle postgres only", Hint: "SET IntervalStyle TO postgres."}
		}
	}
	return nil
}

// plan finds or makes the plan of a text. What the catalog or search_path is
// needed for is asked first.
func (s *session) plan(sql string) (*plan.Plan, error) {
	snap, err := s.snapshot()
	if err != nil {
		return nil, err
	}
	fresh := false
	for range 6 {
		p := s.makePlan(snap, sql, fresh)
		depends := p.Need != plan.NeedNothing || p.Refusal != nil || p.Mentions && !onlyTransaction(p)
		switch {
		case p.Need == plan.NeedPath:
			if s.path, err = s.askPath(); err != nil {
				return nil, err
			}
		case p.Need == plan.NeedCatalog || s.dirty && depends && !fresh, s.hidden && !fresh && usesTables(p):
			if snap, err = s.reload(); err != nil {
				return nil, err
			}
			fresh = true
		case p.Mentions && !onlyTransaction(p):
			entered, err := s.enter()
			if err != nil {
				return p, err
			}
			if !entered {
				return p, s.provideSearch(p)
			}
			if snap, err = s.snapshot(); err != nil {
				return nil, err
			}
		default:
			return p, s.provideSearch(p)
		}
	}
	return nil, &pgError{Code: codeNotSupported, Message: "the statement cannot be planned: the catalog changes"}
}

func onlyTransaction(p *plan.Plan) bool {
	return !slices.ContainsFunc(p.Statements, func(one plan.Statement) bool { return one.Command != "TRANSACTION" })
}

func usesTables(p *plan.Plan) bool {
	return slices.ContainsFunc(p.Statements, func(one plan.Statement) bool {
		return slices.Contains([]string{"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "COPY"}, one.Command)
	})
}

// makePlan finds or makes a plan: by the text, or by its shape, so that texts
// which differ in their constants are parsed once.
func (s *session) makePlan(snap *snapshot, sql string, fresh bool) *plan.Plan {
	path := ""
	if s.path != nil {
		path = s.path.Key()
	}
	shaped := false
	if len(sql) <= cachedText {
		s.shape, shaped = plan.Shape(s.shape[:0], sql)
	}
	if shaped {
		if p := snap.shapes.getBytes(path, s.shape); p != nil {
			return p
		}
	}
	if p := snap.plans.get(path, sql); p != nil {
		return p
	}
	defer s.proxy.turn(len(sql))()
	if len(sql) <= cachedText {
		sql = strings.Clone(sql) // or the cache would keep the text that it is a piece of
	}
	p := plan.Make(sql, snap.cat, plan.Options{Path: s.path, Fresh: fresh})
	if shaped && p.Shared {
		snap.shapes.put(path, string(s.shape), p)
	} else {
		snap.plans.put(path, sql, p)
	}
	return p
}

// parsedAtATime bounds the bytes of texts that are parsed at a time, of those of more
// than a buffer and up to largeMessage: a byte may be a token, whose trees take 250.
const parsedAtATime = 2 << 20

// turn waits until a text may be parsed, and gives what ends that: the trees take many
// times the text's length. Of large ones it is one at a time.
func (p *Proxy) turn(length int) (done func()) {
	switch {
	case length > largeMessage:
		p.planning.Lock()
		return p.planning.Unlock
	case length > bufferSize:
		p.parsing.Acquire(context.Background(), int64(length)) // none takes long
		return func() { p.parsing.Release(int64(length)) }
	}
	return func() {}
}

// snapshot is the catalog that the session sees.
func (s *session) snapshot() (*snapshot, error) {
	s.own = s.own && (s.within(s.ownBatch) || !s.idle())
	if s.private != nil {
		if !s.outlived() {
			return s.private, nil
		}
		s.private, s.dirty = nil, true
	}
	snap, err := s.db.load(s.ctx)
	if err == nil && s.catalog.Swap(snap) != snap {
		s.path = nil
	}
	return snap, err
}

// reload reads the catalog anew: within a transaction that may have changed it on
// the client's own connection, since only that sees what it has made.
func (s *session) reload() (*snapshot, error) {
	if err := s.settle(); err != nil {
		return nil, err
	}
	if !s.owns() {
		snap, err := s.db.reload(s.ctx)
		if err != nil {
			return nil, err
		}
		s.private, s.dirty, s.hidden = nil, false, false
		s.catalog.Store(snap)
		return snap, nil
	}
	rows, err := s.ask(s.proxy.catalogSQL)
	if err != nil {
		return nil, err
	}
	s.private, s.dirty, s.hidden = s.db.newSnapshot(rows), false, false
	s.privateSince, s.privateBatch = s.finishes, s.openBatch()
	s.catalog.Store(s.private)
	return s.private, nil
}

func (s *session) askPath() (*plan.Path, error) {
	if err := s.settle(); err != nil {
		return nil, err
	}
	rows, err := s.ask(pathQuery)
	if err != nil {
		return nil, err
	}
	return parsePath(rows), nil
}

// settle waits until the server has answered everything, so that the session's
// own question stands between the client's.
func (s *session) settle() error {
	if s.batchOpen {
		if err := s.up.encode(&pgproto3.Flush{}); err != nil {
			return err
		}
		s.await(true)
		defer s.await(false)
	}
	if err := s.up.flush(); err != nil {
		return err
	}
	for {
		s.mu.Lock()
		s.head()
		owed, status, copying, failing := len(s.queue), s.status, s.copyIn, s.fails()
		s.mu.Unlock()
		switch {
		case copying:
			return failf(codeProtocolViolation, "a statement was sent during COPY")
		case s.batchOpen && failing:
			return errSkipped
		case owed == 0:
			if status == 'E' && !s.batchOpen { // within a batch it may have ended since
				return errAborted
			}
			return nil
		}
		if _, open := <-s.settled; !open {
			return errSessionOver
		}
	}
}

var (
	errSessionOver = errors.New("the session is over")
	errAborted     = failf(codeInTransaction, "current transaction is aborted, commands ignored until end of transaction block")
)

// errSkipped says that the server skips the client's messages until Sync. The client
// does not see it: its message is skipped, too.
var errSkipped = failf(codeInTransaction, "the pipeline has failed")

// ownName is that of the statement and portal of the session's own questions.
const ownName = "sidekey"

// ask puts a query to the server on the client's connection, which is settled. It uses
// names of its own, so that the client's unnamed statement stays. Within a batch it
// fails with the batch: the client gets the server's error.
func (s *session) ask(sql string) ([][]string, error) {
	q := &question{done: make(chan struct{}), within: s.batchOpen}
	owed := []*entry{{kind: 'P', name: ownName, own: q}, {kind: 'B', name: ownName, own: q}, {kind: 'E', own: q},
		{kind: 'C', target: 'P', name: ownName, own: q}, {kind: 'C', target: 'S', name: ownName, own: q}}
	messages := []encoder{&pgproto3.Parse{Name: ownName, Query: sql}, &pgproto3.Bind{DestinationPortal: ownName, PreparedStatement: ownName},
		&pgproto3.Execute{Portal: ownName}, &pgproto3.Close{ObjectType: 'P', Name: ownName}, &pgproto3.Close{ObjectType: 'S', Name: ownName}}
	if q.within {
		s.asked, q.last = true, owed[len(owed)-1]
		messages = append(messages, &pgproto3.Flush{})
	} else {
		owed, messages = append(owed, &entry{kind: 'S', own: q}), append(messages, &pgproto3.Sync{})
	}
	err := s.put(q, owed, messages...)
	switch {
	case err != nil:
		return nil, err
	case q.err != nil:
		return nil, fmt.Errorf("asking for the catalog: %w", failf(q.err.Code, "%s", q.err.Message))
	}
	return q.rows, nil
}

// put sends the messages of a question and waits for the answer.
func (s *session) put(q *question, owed []*entry, messages ...encoder) error {
	for _, e := range owed {
		s.push(e)
	}
	for _, m := range messages {
		if err := s.up.encode(m); err != nil {
			return err
		}
	}
	if err := s.up.flush(); err != nil {
		return err
	}
	for {
		select {
		case <-q.done:
			return nil
		case _, open := <-s.settled:
			if !open {
				return errSessionOver
			}
			if q.within && s.skipped() {
				return errSkipped
			}
		}
	}
}

// await has fromClient woken at each answer, not only at those that end a batch.
func (s *session) await(each bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.awaited = each
}

// fails says that the server skips what comes, until a Sync that was not sent yet. The
// caller holds mu.
func (s *session) fails() bool { return s.failing && !s.syncs() }

// skipped is fails for who does not hold mu.
func (s *session) skipped() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fails()
}

// rewrite gives the text that the server gets.
func (s *session) rewrite(st *statement, ops []*operation) (string, error) {
	ctx := s.ctx
	for _, o := range ops {
		if o != nil {
			ctx = o.ctx
			break
		}
	}
	loc := s.current().locale()
	r, err := st.plan.Rewrite(st.sql, func(l plan.Literal) ([][]byte, error) {
		sealed, err := s.sealLiteral(ctx, l, loc)
		var own *pgError
		if errors.As(err, &own) && !own.late() {
			own.Position = st.outer(utf8.RuneCountInString(st.sql[:l.Start]) + 1)
		}
		return sealed, err
	})
	if err == nil {
		err = s.noteKeys(ctx, st)
	}
	if err != nil {
		return "", err
	}
	st.rewritten = r
	return st.lead + r.SQL + st.tail, nil
}

func (s *session) sealLiteral(ctx context.Context, l plan.Literal, loc locale) ([][]byte, error) {
	if l.Since > loc.version {
		return nil, &pgError{Code: codeSyntaxError, Message: "trailing junk after numeric literal", Detail: fmt.Sprintf("Such numbers are of PostgreSQL %d, and the server is of %d.", l.Since, loc.version)}
	}
	if l.Match != nil {
		return s.searchTokens(ctx, l.Match, l.Rule, l.OID, formatText, []byte(l.Value), loc)
	}
	values := [][]byte{[]byte(l.Value)}
	if l.Array {
		var err error
		if values, err = textArray(l.Value, loc); err != nil {
			return nil, err
		}
	}
	for i, v := range values {
		if v == nil {
			continue
		}
		var err error
		oid, format := l.OID, formatText
		if l.As != nil {
			if v, err = castTo(*l.As, oid, format, v, loc); err != nil {
				return nil, err
			}
			oid, format = l.As.OID, formatBinary
		}
		if values[i], err = s.sealValue(ctx, l.Use, l.Rule, oid, format, v, loc); err != nil {
			return nil, err
		}
	}
	return values, nil
}
