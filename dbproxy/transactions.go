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

// Messages up to Sync are a transaction of their own, unless one is open: within it
// the server does not say that one is. Who has no such batch open has number noBatch.
const noBatch = -1

// openBatch is the number of the batch of messages that is open.
func (s *session) openBatch() int {
	if s.batchOpen {
		return s.batch
	}
	return noBatch
}

// within says whether a batch is still open.
func (s *session) within(batch int) bool { return batch != noBatch && batch == s.openBatch() }

// sent notes that a statement is being sent.
func (s *session) sent(one *plan.Statement, batch int) {
	if one.Finishes {
		s.finishes++
	}
	if one.DDL || one.Hidden {
		s.own, s.ownSince, s.ownBatch = true, s.finishes, batch
	}
}

// owns says whether the transaction that is open may have changed the catalog.
func (s *session) owns() bool {
	s.own = s.own && (s.within(s.ownBatch) || s.transaction() != 'I') && s.done.Load() <= s.ownSince
	return s.own
}

// outlived says whether the transaction is over whose catalog the session has.
func (s *session) outlived() bool {
	return !s.within(s.privateBatch) && s.transaction() == 'I' || s.done.Load() > s.privateSince
}

// endBatch is called at Sync: what was asked within the batch may have been taken back
// with it.
func (s *session) endBatch() {
	if s.asked {
		s.path, s.tenant.known, s.unsettled = nil, false, true
	}
	s.batchOpen, s.asked = false, false
}
