// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/sidekey/sidekey/dbproxy/plan"
)

// traceComment is what sqlcommenter appends to a text. It differs with every
// execution, and so is kept out of the plan.
var traceComment = regexp.MustCompile(`/\*[^*]*traceparent='([0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})'[^*]*\*/[\s;]*$`)

// splitTrace cuts such a comment off.
func splitTrace(sql string) (text, comment, trace string) {
	if !strings.Contains(sql, "traceparent='") {
		return sql, "", ""
	}
	m := traceComment.FindStringSubmatchIndex(sql)
	if m == nil {
		return sql, "", ""
	}
	return sql[:m[0]], sql[m[0]:], sql[m[2]:m[3]]
}

// prepare plans a text as the session stands.
func (s *session) prepare(sql string) (*statement, error) {
	text, _, trace := splitTrace(sql)
	set := s.current()
	if !set.utf8 && strings.IndexFunc(text, func(r rune) bool { return r >= 0x80 }) >= 0 {
		return nil, &pgError{Code: codeNotSupported, Message: "the encrypting proxy reads UTF8 only", Hint: "SET client_encoding TO 'UTF8'."}
	}
	if !set.conforming && strings.Contains(text, `\`) {
		return nil, &pgError{Code: codeNotSupported, Message: "the encrypting proxy cannot read backslashes while standard_conforming_strings is off",
			Hint: "SET standard_conforming_strings TO on."}
	}
	p, err := s.plan(text)
	if err != nil {
		return nil, err
	}
	if p.Refusal != nil {
		return nil, p.Refusal
	}
	st := &statement{sql: sql, plan: p, trace: trace}
	return st, s.permit(st, set)
}

// permit refuses what a plan cannot know: settings and names of the session.
func (s *session) permit(st *statement, set settings) error {
	for i := range st.plan.Statements {
		if name := st.plan.Statements[i].Names; name != "" && !st.plan.Statements[i].Deallocates && s.protectedName(name) {
			return &pgError{Code: codeNotSupported, Message: "a statement or portal with protected columns cannot be used by SQL", Hint: "Use the protocol's Bind and Execute."}
		}
	}
	if !st.touched() {
		return nil
	}
	switch {
	case !set.utf8:
		return &pgError{Code: codeNotSupported, Message: "protected columns need client_encoding UTF8", Hint: "SET client_encoding TO 'UTF8'."}
	case !set.conforming && len(st.plan.Literals)+len(st.plan.Edits) > 0:
		return &pgError{Code: codeNotSupported, Message: "protected columns need standard_conforming_strings", Hint: "SET standard_conforming_strings TO on."}
	}
	return s.permitDates(st, set)
}

// permitDates refuses other date styles than ISO where a date is written.
func (s *session) permitDates(st *statement, set settings) error {
	if set.isoDates {
		return nil
	}
	for i := range st.plan.Statements {
		for _, r := range st.plan.Statements[i].Outputs {
			if r.Type.OID == plan.Date || r.Type.OID == plan.Timestamptz {
				return &pgError{Code: codeNotSupported, Message: "protected dates are written in DateStyle ISO only", Hint: "SET DateStyle TO ISO."}
			}
		}
	}
	return nil
}

func (s *session) protectedName(name string) bool {
	if st, _ := s.statementNamed(name); st.touched() {
		return true
	}
	p := s.portalNamed(name)
	return p != nil && p.statement.touched()
}

// plan finds or makes the plan of a text. What the catalog or search_path is
// needed for is asked first.
func (s *session) plan(sql string) (*plan.Plan, error) {
	snap, err := s.snapshot()
	if err != nil {
		return nil, err
	}
	fresh := false
	for range 4 {
		p := s.makePlan(snap, sql, fresh)
		depends := p.Need != plan.NeedNothing || p.Refusal != nil || p.Mentions
		switch {
		case p.Need == plan.NeedPath:
			if s.path, err = s.askPath(); err != nil {
				return nil, err
			}
		case p.Need == plan.NeedCatalog || s.dirty && depends && !fresh:
			if snap, err = s.reload(); err != nil {
				return nil, err
			}
			fresh = true
		default:
			return p, nil
		}
	}
	return nil, &pgError{Code: codeNotSupported, Message: "the statement cannot be planned: the catalog changes"}
}

func (s *session) makePlan(snap *snapshot, sql string, fresh bool) *plan.Plan {
	path := ""
	if s.path != nil {
		path = s.path.Create + "\n" + strings.Join(s.path.Search, "\n")
	}
	if p := snap.plans.get(path, sql); p != nil {
		return p
	}
	p := plan.Make(sql, snap.cat, plan.Options{Path: s.path, Fresh: fresh})
	snap.plans.put(path, sql, p)
	return p
}

// snapshot is the catalog that the session sees.
func (s *session) snapshot() (*snapshot, error) {
	if s.private != nil {
		if s.transaction() != 'I' {
			return s.private, nil
		}
		s.private, s.dirty = nil, true
	}
	snap, err := s.db.load(s.ctx)
	if err == nil {
		s.catalog.Store(snap)
	}
	return snap, err
}

// reload reads the catalog anew: within a transaction on the client's own
// connection, since only that sees what the transaction has made.
func (s *session) reload() (*snapshot, error) {
	if err := s.settle(); err != nil {
		return nil, err
	}
	if s.transaction() == 'I' {
		snap, err := s.db.reload(s.ctx)
		if err != nil {
			return nil, err
		}
		s.private, s.dirty = nil, false
		s.catalog.Store(snap)
		return snap, nil
	}
	rows, err := s.ask(s.proxy.catalogSQL)
	if err != nil {
		return nil, err
	}
	s.private, s.dirty = s.proxy.newSnapshot(rows), false
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
		return &pgError{Code: codeNotSupported, Message: "a statement on protected tables cannot be planned within a pipeline that changes tables or the search_path",
			Hint: "Send Sync first, or qualify table names."}
	}
	if err := s.up.flush(); err != nil {
		return err
	}
	for {
		s.mu.Lock()
		s.head()
		owed, status, copying := len(s.queue), s.status, s.copyIn
		s.mu.Unlock()
		if copying {
			return failf(codeProtocolViolation, "a statement was sent during COPY")
		}
		if owed == 0 {
			if status == 'E' {
				return failf(codeInTransaction, "current transaction is aborted, commands ignored until end of transaction block")
			}
			return nil
		}
		if _, open := <-s.settled; !open {
			return errSessionOver
		}
	}
}

var errSessionOver = errors.New("the session is over")

// ownName is that of the statement and portal of the session's own questions.
const ownName = "sidekey"

// ask puts a query to the server on the client's connection. It uses names of
// its own, so that the client's unnamed statement stays.
func (s *session) ask(sql string) ([][]string, error) {
	q := &question{done: make(chan struct{})}
	for _, e := range []*entry{{kind: 'P', name: ownName, own: q}, {kind: 'B', name: ownName, own: q}, {kind: 'E', own: q},
		{kind: 'C', target: 'P', name: ownName, own: q}, {kind: 'C', target: 'S', name: ownName, own: q}, {kind: 'S', own: q}} {
		s.push(e)
	}
	for _, m := range []encoder{&pgproto3.Parse{Name: ownName, Query: sql}, &pgproto3.Bind{DestinationPortal: ownName, PreparedStatement: ownName},
		&pgproto3.Execute{Portal: ownName}, &pgproto3.Close{ObjectType: 'P', Name: ownName},
		&pgproto3.Close{ObjectType: 'S', Name: ownName}, &pgproto3.Sync{}} {
		if err := s.up.encode(m); err != nil {
			return nil, err
		}
	}
	if err := s.up.flush(); err != nil {
		return nil, err
	}
	for {
		select {
		case <-q.done:
			if q.err != nil {
				return nil, fmt.Errorf("asking for the catalog: %w", q.err)
			}
			return q.rows, nil
		case _, open := <-s.settled:
			if !open {
				return nil, errSessionOver
			}
		}
	}
}

// rewrite gives the text that the server gets.
func (s *session) rewrite(st *statement, ops []*operation) (string, error) {
	text, comment, _ := splitTrace(st.sql)
	ctx := s.ctx
	for _, o := range ops {
		if o != nil {
			ctx = o.ctx
			break
		}
	}
	zone := s.current().zone
	r, err := st.plan.Rewrite(text, func(l plan.Literal) ([][]byte, error) {
		sealed, err := s.sealLiteral(ctx, l, zone)
		var own *pgError
		if errors.As(err, &own) {
			own.Position = utf8.RuneCountInString(text[:l.Start]) + 1
		}
		return sealed, err
	})
	if err != nil {
		return "", err
	}
	st.rewritten = r
	return r.SQL + comment, nil
}

func (s *session) sealLiteral(ctx context.Context, l plan.Literal, zone *time.Location) ([][]byte, error) {
	values := [][]byte{[]byte(l.Value)}
	if l.Array {
		var err error
		if values, err = textArray(l.Value); err != nil {
			return nil, err
		}
	}
	for i, v := range values {
		if v == nil {
			continue
		}
		plain, err := decodeValue(l.Rule.Type, l.OID, formatText, v, zone)
		if err != nil {
			return nil, err
		}
		if values[i], err = s.seal(ctx, l.Rule, plain); err != nil {
			return nil, err
		}
	}
	return values, nil
}
