// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/sidekey/sidekey/dbproxy/plan"
)

// noStatement is PostgreSQL's own error.
func noStatement(name string) *pgError {
	return failf(codeNoStatement, "prepared statement \"%s\" does not exist", name)
}

// resolveNames completes the plan of a text that makes or uses prepared
// statements and cursors by SQL: what EXECUTE and FETCH give depends on what
// the session has under the name. A plan is shared, so that a copy is completed.
func (s *session) resolveNames(st *statement) error {
	if !slices.ContainsFunc(st.plan.Statements, usesNames) {
		return nil
	}
	if err := s.namesKnown(st); err != nil {
		return err
	}
	st.base = st.plan
	p := *st.base
	p.Statements = slices.Clone(p.Statements)
	p.Literals, p.Edits = slices.Clone(p.Literals), slices.Clone(p.Edits)
	st.plan = &p
	st.inner, st.named = make([]*statement, len(p.Statements)), make([]*statement, len(p.Statements))
	calls := false
	for i := range p.Statements {
		if err := s.resolveName(st, i); err != nil {
			return err
		}
		if calls {
			if r := p.Dated(i); r != nil {
				return plan.AfterCall(r)
			}
		}
		calls = calls || p.Statements[i].Calls
	}
	if !p.Touched() {
		return nil
	}
	p.Mentions = true
	if !s.dirty {
		return nil
	}
	// The text names no table, but its result is checked against the catalog.
	_, err := s.reload()
	return err
}

func usesNames(one plan.Statement) bool {
	return one.Inner != nil || one.Execute != nil || one.Fetch != nil || one.Closes != "" || one.ClosesAll
}

// namesKnown waits until it is known what the names mean that statements on
// their way to the server make.
func (s *session) namesKnown(st *statement) error {
	s.mu.Lock()
	pending := slices.ContainsFunc(st.plan.Statements, func(one plan.Statement) bool {
		return one.Execute != nil && s.newStatements[one.Execute.Name] != nil
	})
	pending = pending || slices.ContainsFunc(s.queue, func(e *entry) bool {
		st := s.describedBy(e)
		if e.query != nil {
			st = e.query.statement
		}
		return (e.kind == 'Q' || e.kind == 'E') && st != nil && slices.ContainsFunc(st.inner, func(in *statement) bool { return in != nil })
	})
	s.mu.Unlock()
	if !pending {
		return nil
	}
	return s.settle()
}

func (s *session) resolveName(st *statement, i int) error {
	one := &st.plan.Statements[i]
	switch {
	case one.Inner != nil:
		return s.prepareInner(st, i)
	case one.Execute != nil:
		if err := s.resolve(s.newStatements, one.Execute.Name); err != nil {
			return err
		}
		return s.resolveExecute(st, i)
	case one.Fetch != nil:
		if err := s.resolve(s.newPortals, one.Fetch.Name); err != nil {
			return err
		}
		return s.resolveFetch(st, i)
	}
	return nil
}

// prepareInner plans the statement within PREPARE or DECLARE CURSOR.
func (s *session) prepareInner(st *statement, i int) error {
	made := *st.plan.Statements[i].Inner
	in := &made
	in.SQL = strings.Clone(in.SQL) // or it would keep all of the text
	inner := &statement{sql: in.SQL, trace: st.trace, made: in, seen: s.unseen}
	var err error
	if inner.plan, err = s.plan(in.SQL); err != nil {
		return err
	}
	if refusal := inner.plan.Refusal; refusal != nil {
		shifted := *refusal
		shifted.Position = 0
		return &shifted
	}
	if missing := inner.plan.Missing; missing != nil {
		shifted := *missing
		shifted.Position = 0
		return &shifted
	}
	if err := s.knowTenant(inner.plan); err != nil {
		return err
	}
	if err := s.permitValues(inner); err != nil {
		return err
	}
	inner.snap, inner.path, inner.tenant = s.catalog.Load(), s.path, s.tenant.name
	if !in.Cursor {
		m := pgproto3.Parse{ParameterOIDs: slices.Clone(in.Declared)}
		if err := inner.declare(&m); err != nil {
			return err
		}
	}
	st.inner[i] = inner
	return nil
}

// makes finds what an earlier statement of the same text makes under a name.
func (st *statement) makes(name string, cursor bool, before int) *statement {
	for i := before - 1; i >= 0; i-- {
		if in := st.inner[i]; in != nil && in.made.Name == name && in.made.Cursor == cursor {
			return in
		}
	}
	return nil
}

// resolveExecute finds the prepared statement that EXECUTE means, and has its
// arguments sealed.
func (s *session) resolveExecute(st *statement, i int) error {
	one := &st.plan.Statements[i]
	target := st.makes(one.Execute.Name, false, i)
	if target == nil {
		var known bool
		if target, known = s.statementNamed(one.Execute.Name); !known || target == nil || target.plan == nil {
			if s.transaction() == 'E' {
				return errAborted
			}
			return noStatement(one.Execute.Name)
		}
		if err := s.stillMeant(target); err != nil {
			return err
		}
	}
	st.named[i] = target
	inner := target.only()
	if inner == nil {
		return nil
	}
	one.Path, one.Settings, one.Calls = one.Path || inner.Path, one.Settings || inner.Settings, one.Calls || inner.Calls
	if !inner.Uses() {
		return nil
	}
	if err := s.knowTenant(target.plan); err != nil {
		return err
	}
	if err := s.sameTenant(target); err != nil {
		return err
	}
	literals, edits, refusal := one.Execute.Bind(target.plan, target.declared)
	if refusal != nil {
		return refusal
	}
	st.plan.Literals, st.plan.Edits = append(st.plan.Literals, literals...), append(st.plan.Edits, edits...)
	if one.Execute.Created {
		return &pgError{Code: codeNotSupported, Message: "a table cannot be made of a prepared statement with protected columns", Hint: "CREATE TABLE it, then INSERT."}
	}
	s.take(st, one, inner, target)
	if one.Execute.Explained {
		one.Outputs = nil
	}
	return nil
}

// take has a statement that uses another by name touch what that one touches.
func (s *session) take(st *statement, one, inner *plan.Statement, target *statement) {
	one.Touched, one.Outputs, one.Columns, one.Unseen = inner.Touched, inner.Outputs, inner.Columns, inner.Unseen
	one.Moved, one.Compared = inner.Moved, inner.Compared
	one.Writes = one.Writes || inner.Writes
	if st.plan.Fingerprint == "" {
		st.plan.Fingerprint = target.plan.Fingerprint
	}
}

// resolveFetch finds the cursor or portal that FETCH means. One that is not
// known was made where it could not be seen, or is not there.
func (s *session) resolveFetch(st *statement, i int) error {
	one := &st.plan.Statements[i]
	if one.Fetch.Move {
		return nil
	}
	target := st.makes(one.Fetch.Name, true, i)
	if p := s.portalNamed(one.Fetch.Name); target == nil && p != nil {
		same, err := s.sameCursor(one.Fetch.Name, p)
		if err != nil {
			return err
		}
		if same {
			target = p.statement
		}
	}
	if target.only() == nil {
		one.Unseen = true
		return nil
	}
	inner := target.only()
	one.Path, one.Settings, one.Calls = inner.Path, inner.Settings, inner.Calls
	s.take(st, one, inner, target)
	return nil
}

// renamed is a statement with names as they are meant now: it is to be bound.
func (s *session) renamed(st *statement) (*statement, error) {
	now := &statement{sql: st.sql, lead: st.lead, tail: st.tail, trace: st.trace, plan: st.base, rewritten: st.rewritten, sealedWith: st.sealedWith, declared: st.declared, snap: st.snap, path: st.path}
	if err := s.resolveNames(now); err != nil {
		return nil, err
	}
	for i := range now.named {
		// The arguments were sealed for what the name meant.
		if now.named[i] != st.named[i] {
			return nil, &pgError{Code: codeNotSupported, Message: "cached plan must not change result type", Detail: "The name in EXECUTE now means another prepared statement.", Hint: "Prepare it again."}
		}
		if now.inner[i] != nil {
			now.inner[i] = st.inner[i]
		}
	}
	if now.mentions() {
		if err := s.stillMeant(now); err != nil {
			return nil, err
		}
	}
	return now, nil
}

// usesNamed says whether the statement's result is that of another.
func (st *statement) usesNamed() bool {
	one := st.only()
	return one != nil && (one.Execute != nil || one.Fetch != nil)
}

// describePortal has the server say what the columns of a portal are, before
// rows of it arrive. They are not those of the text: EXECUTE and FETCH give
// what a name means, a cursor of SQL was not described by the client.
func (s *session) describePortal(name string, p *portal) error {
	s.push(&entry{kind: 'D', target: 'P', portal: p, own: &question{}})
	return s.up.encode(&pgproto3.Describe{ObjectType: 'P', Name: name})
}

// describePrepared does so for a statement that SQL prepared.
func (s *session) describePrepared(name string, st *statement) error {
	if st == nil || st.made == nil || len(st.outputs()) == 0 {
		return nil
	}
	s.push(&entry{kind: 'D', target: 'S', statement: st, own: &question{}})
	return s.up.encode(&pgproto3.Describe{ObjectType: 'S', Name: name})
}

// executeCursor puts an Execute of a cursor that SQL declared on the record.
func (s *session) executeCursor(name string, p *portal) (*portal, error) {
	if p == nil || !p.cursor || !p.statement.touched() {
		return p, nil
	}
	if err := s.datedRows(p); err != nil {
		return nil, err
	}
	if err := s.permitSettings(p.statement, s.current()); err != nil {
		return nil, err
	}
	if same, err := s.sameCursor(name, p); err != nil || !same {
		return nil, err
	}
	run := &portal{statement: p.statement, formats: p.formats, cursor: true, op: s.begin(p.statement, 0)}
	return run, s.describePortal(name, run)
}

// register makes what a statement that is complete has made or closed under a name
// the session's state. The caller holds mu.
func (s *session) register(st *statement, i int) []*operation {
	if st == nil || st.plan == nil || i >= len(st.plan.Statements) {
		return nil
	}
	one := &st.plan.Statements[i]
	switch {
	case one.Inner != nil && i < len(st.inner) && st.inner[i] != nil:
		if !one.Inner.Cursor {
			s.statements[one.Inner.Name] = st.inner[i]
			return nil
		}
		p := &portal{statement: st.inner[i], cursor: true, hold: one.Inner.Hold, declared: st.sent(), seen: st.inner[i].seen}
		if one.Inner.Binary {
			p.formats = []int16{formatBinary}
		}
		s.portals[one.Inner.Name] = p
	case one.Closes != "":
		return s.closed(one.Closes)
	case one.ClosesAll:
		var over []*operation
		for name := range s.portals {
			over = append(over, s.closed(name)...)
		}
		return over
	}
	return nil
}

// closed forgets a portal, and gives the operation that ends with it. The
// caller holds mu.
func (s *session) closed(name string) []*operation {
	p := s.portals[name]
	delete(s.portals, name)
	if p == nil || p.op == nil {
		return nil
	}
	return []*operation{p.op}
}

// formatsOf are the formats in which the server says that columns come.
func formatsOf(m *pgproto3.RowDescription) []int16 {
	formats := make([]int16, len(m.Fields))
	for i := range m.Fields {
		formats[i] = m.Fields[i].Format
	}
	return formats
}
