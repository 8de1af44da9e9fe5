// SPDX-License-Identifier: Apache-2.0

package dbproxy

import "github.com/sidekey/sidekey/dbproxy/plan"

// A client that sends "COMMIT; BEGIN" in one text, or COMMIT AND CHAIN, is never
// seen outside of a transaction. So statements that finish transactions are
// counted as they are sent, and the answer to one tells up to which number they
// are done: what an earlier transaction has made, all sessions see since then.

// finishing gives the number of the statement that an entry's answer completes,
// if it is one that finishes a transaction.
func (e *entry) finishing() (number int64, ok bool) {
	if e.query == nil {
		if e.portal == nil {
			return 0, false
		}
		one := e.portal.statement.only()
		return e.finishes, one != nil && one.Finishes
	}
	one := e.query.current()
	if one == nil || !one.Finishes {
		return 0, false
	}
	number = e.finishes
	for i := range e.query.statement.plan.Statements[:e.query.at+1] {
		if e.query.statement.plan.Statements[i].Finishes {
			number++
		}
	}
	return number, true
}

// finished notes that a transaction has come to its end: other sessions are to see
// what it has changed.
func (s *session) finished(e *entry) {
	number, ok := e.finishing()
	if !ok {
		return
	}
	s.publish()
	s.done.Store(number)
}

// publish has other sessions see what a transaction that has ended has changed.
func (s *session) publish() {
	if s.tablesChanged {
		s.db.stale()
		s.tablesChanged = false
	}
}

// sent notes that a statement is being sent.
func (s *session) sent(one *plan.Statement) {
	if one.Finishes {
		s.finishes++
	}
	if one.DDL || one.Hidden {
		s.own, s.ownSince = true, s.finishes
	}
}

// owns says whether the transaction that is open may have changed the catalog.
func (s *session) owns() bool {
	s.own = s.own && s.transaction() != 'I' && s.done.Load() <= s.ownSince
	return s.own
}

// outlived says whether the transaction is over whose catalog the session has.
func (s *session) outlived() bool {
	return s.transaction() == 'I' || s.done.Load() > s.privateSince
}
