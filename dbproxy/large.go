// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"cmp"
	"errors"
	"unsafe"

	"github.com/jackc/pgx/v5/pgproto3"
)

const (
	// maxSmall bounds messages that hold no more than a name, and maxLarge all
	// others, as in PostgreSQL (PQ_SMALL_MESSAGE_LIMIT, PQ_LARGE_MESSAGE_LIMIT).
	// Both count the length itself.
	maxSmall = 10000
	maxLarge = 1<<30 - 2
)

// permitLength ends the session for a message that the server would not read.
func permitLength(kind byte, length int) error {
	most := maxSmall
	switch kind {
	case 'Q', 'P', 'B', 'F':
		most = maxLarge
	}
	if length > most-4 {
		return failf(codeProtocolViolation, "invalid message length")
	}
	return nil
}

// clientLarge handles a message that there has to be room for. One for which there is
// none is refused, without being read into memory.
func (s *session) clientLarge(kind byte, length int) error {
	if kind == 'B' {
		passes, err := s.bindPasses(length)
		if err != nil {
			return err
		}
		if passes {
			return s.clientWhole(kind, length)
		}
	}
	if err := s.up.flush(); err != nil { // nothing else is to wait as well
		return err
	}
	defer s.fromC.drop()
	err := s.fromC.hold(length)
	var refusal *pgError
	if errors.As(err, &refusal) {
		s.proxy.log.Warn("refusing a large message", "database", s.db.name, "user", s.user, "code", refusal.Code, "bytes", length)
		return s.refuseLarge(kind, length, refusal)
	}
	if err != nil {
		return err
	}
	return s.clientWhole(kind, length)
}

func (s *session) refuseLarge(kind byte, length int, refusal *pgError) error {
	switch kind {
	case 'P':
		return s.refuseParse(length, refusal)
	case 'B':
		return s.refuseBind(length, refusal)
	}
	if err := s.fromC.skip(length); err != nil {
		return err
	}
	return s.refuseQuery(refusal)
}

func (s *session) refuseParse(length int, refusal *pgError) error {
	head, err := s.fromC.r.Peek(256)
	if err != nil {
		return err
	}
	first, ok := cString(head)
	if !ok {
		return refusal
	}
	name := string(first)
	if err := s.fromC.skip(length); err != nil {
		return err
	}
	if name != "" {
		if err := s.resolve(s.newStatements, name); err != nil {
			return err
		}
	}
	s.batchOpen = true
	return s.refuse(refusal, s.parsing(name, nil), &pgproto3.Parse{Name: name, Query: refusedSQL})
}

// bindPasses says whether the parameters are of a statement that needs none of them.
func (s *session) bindPasses(length int) (bool, error) {
	_, name, ok := s.peekNames(length)
	if !ok {
		return false, nil
	}
	if err := s.resolve(s.newStatements, name); err != nil {
		return false, err
	}
	st, _ := s.statementNamed(name)
	return st.bindsAsItIs(), nil
}

func (s *session) refuseBind(length int, refusal *pgError) error {
	portalName, name, ok := s.peekNames(length)
	if !ok {
		return refusal
	}
	st, _ := s.statementNamed(name)
	if err := s.fromC.skip(length); err != nil {
		return err
	}
	s.batchOpen = true
	return s.refuse(refusal, &entry{kind: 'B', name: portalName, portal: &portal{statement: st}},
		&pgproto3.Bind{DestinationPortal: portalName, PreparedStatement: refusedStatement})
}

// serverLarge makes room for a row, or ends the statement with it.
func (s *session) serverLarge(e *entry, length int) (refused bool, err error) {
	if err := s.down.flush(); err != nil { // nothing else is to wait as well
		return true, err
	}
	err = s.fromS.hold(length)
	var refusal *pgError
	if !errors.As(err, &refusal) {
		return false, err
	}
	if refusal.Code == codeTooLarge {
		refusal.Hint = "In binary format a row takes half as much."
	}
	if err := s.fromS.skip(length); err != nil {
		return true, err
	}
	if s.copyFrom != nil {
		return true, s.failCopyOut(e, refusal)
	}
	return true, s.failRow(e, refusal)
}

// keepsText refuses a text for which there is room only for a while.
func (s *session) keepsText(st *statement) error {
	if n := s.fromC.room.held; n > 0 && !st.bindsAsItIs() && !s.texts.of.keeps(n) {
		return noRoomToKeep(n)
	}
	return nil
}

// keepText has the room of a large text stay with it: it is kept until it is answered,
// and that of a prepared statement until it is closed. The caller holds mu.
func (s *session) keepText(e *entry) {
	st := e.statement
	if e.query != nil {
		st = e.query.statement
	}
	switch {
	case e.own != nil || st == nil || e.kind != 'Q' && e.kind != 'P' && e.kind != 'p':
	case st.bindsAsItIs() && st.rewritten == nil:
		st.lead, st.sql, st.tail = "", "", "" // nobody asks for them again
	default:
		s.fromC.room.move(&s.texts)
	}
}

// forgetTexts gives back the room of large texts that are not kept any more. The caller
// holds mu.
func (s *session) forgetTexts() {
	if s.texts.held == 0 {
		return
	}
	var kept int64
	seen := make(map[*byte]bool)
	for st := range s.keptStatements {
		// They are pieces of one string, which the shortest of them keeps.
		if text := unsafe.StringData(cmp.Or(st.lead, st.sql)); !seen[text] {
			seen[text] = true
			kept += roomFor(len(st.lead) + len(st.sql) + len(st.tail))
		}
	}
	for _, p := range s.portals {
		kept += roomFor(len(p.declared))
	}
	s.texts.resize(int(min(kept, s.texts.held)))
}

// keptStatements gives every statement that the session may still need, some more than
// once. The caller holds mu.
func (s *session) keptStatements(yield func(*statement) bool) {
	for _, st := range s.statements {
		if !st.each(yield) {
			return
		}
	}
	for _, p := range s.portals {
		if !p.statement.each(yield) {
			return
		}
	}
	for _, e := range s.queue {
		st := s.describedBy(e)
		if e.query != nil {
			st = e.query.statement
		}
		if !st.each(yield) {
			return
		}
	}
}

// each gives a statement and those that it makes or uses.
func (st *statement) each(yield func(*statement) bool) bool {
	if st == nil {
		return true
	}
	for _, list := range [][]*statement{{st}, st.inner, st.named} {
		for _, one := range list {
			if one != nil && !yield(one) {
				return false
			}
		}
	}
	return true
}
