// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"slices"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/sidekey/sidekey/dbproxy/plan"
)

// missing is the error for a name that nothing in a text has. Where the server can be
// asked, it gives the error, for a text without constants: it has hints, and knows
// best. Should it know the name after all, there is no error.
func (s *session) missing(st *statement) error {
	own := *st.plan.Missing
	own.Position = st.outer(own.Position)
	if s.batchOpen || !analyzed(st.plan) {
		return &own
	}
	blank, err := st.plan.Blank(st.sql)
	if err != nil {
		return &own
	}
	if err := s.settle(); err != nil {
		return err
	}
	failed, err := s.tryParse(st.lead + blank.SQL + st.tail)
	switch {
	case err != nil:
		return err
	case failed == nil && own.Code == codeNotSupported:
		return &own
	case failed == nil:
		return nil
	case !slices.Contains([]string{plan.CodeNoTable, plan.CodeNoColumn, codeAmbiguous}, failed.Code):
		return &own // it tells of what stands there for the constants
	}
	if failed.Position > 0 {
		at := len([]rune(st.lead))
		failed.Position = st.outer(blank.Position(failed.Position-at, st.sql))
	}
	return failed
}

// analyzed says whether the server looks names up when it parses a text.
func analyzed(p *plan.Plan) bool {
	return len(p.Statements) == 1 && slices.Contains([]string{"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "EXPLAIN", "DECLARECURSOR"}, p.Statements[0].Command)
}

// tryParse has the server parse a text that is not executed, on the client's
// connection, and gives the error if it has one.
func (s *session) tryParse(sql string) (*pgError, error) {
	q := &question{done: make(chan struct{})}
	err := s.put(q, []*entry{{kind: 'P', name: ownName, own: q}, {kind: 'C', target: 'S', name: ownName, own: q}, {kind: 'S', own: q}},
		&pgproto3.Parse{Name: ownName, Query: sql}, &pgproto3.Close{ObjectType: 'S', Name: ownName}, &pgproto3.Sync{})
	return q.err, err
}
