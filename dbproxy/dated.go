// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/sidekey/sidekey/dbproxy/plan"
)

// A function that is not known may change TimeZone, DateStyle or IntervalStyle. The
// server reports it when it is ready for the next query, and so nothing that depends on
// them is read or written before, unless they are asked for.

// answered says that the server owes nothing.
func (s *session) answered() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue) == 0
}

// afterCalls waits for what functions have changed. r is a rule whose values depend on
// it, or nil.
func (s *session) afterCalls(r *plan.Rule) error {
	if r == nil || !s.called {
		return nil
	}
	if err := s.askSettings(); err != nil {
		return err
	}
	s.called = false
	return nil
}

func (s *session) datedLiterals(st *statement) error {
	return s.afterCalls(plan.DatedLiteral(st.plan.Literals))
}

// datedResults is of a simple query, whose rows come as text.
func (s *session) datedResults(st *statement) error {
	if !s.called {
		return nil
	}
	for i := range st.plan.Statements {
		if err := s.afterCalls(st.plan.Statements[i].DatedOutput()); err != nil {
			return err
		}
	}
	return nil
}

// datedBind is of parameters and rows in text.
func (s *session) datedBind(p *portal, m *pgproto3.Bind) error {
	if !s.called {
		return nil
	}
	for n, param := range p.statement.plan.Params {
		if param.Source > 0 {
			n = param.Source
		}
		text := formatOf(m.ParameterFormatCodes, n-1) == formatText
		if !param.Rule.Dated() || !text && p.statement.declared[n-1] == param.Rule.Type.OID {
			continue
		}
		if err := s.afterCalls(param.Rule); err != nil {
			return err
		}
	}
	return s.datedRows(p)
}

// datedRows is of rows in text.
func (s *session) datedRows(p *portal) error {
	one := p.statement.only()
	if !s.called || one == nil || one.DatedOutput() == nil {
		return nil
	}
	for i, o := range one.Outputs {
		at := i // if its place is not known
		if o.Left >= 0 {
			at = o.Left
		}
		if o.Rule.Dated() && formatOf(p.formats, at) == formatText {
			return s.afterCalls(o.Rule)
		}
	}
	if one.Copy != nil {
		return s.afterCalls(one.DatedOutput())
	}
	return nil
}
