// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"strconv"

	"github.com/jackc/pgx/v5/pgproto3"
)

const (
	// maxSmall bounds messages that hold no more than a name, and maxLarge all
	// others, as in PostgreSQL (PQ_SMALL_MESSAGE_LIMIT, PQ_LARGE_MESSAGE_LIMIT).
	// Both count the length itself.
	maxSmall = 10000
	maxLarge = 1<<30 - 2
	// largeMessage is from where on a text is one of few.
	largeMessage = 1 << 20
)

// longest is the longest body of a message of the client that is read as a whole.
func longest(kind byte) int {
	switch kind {
	case 'Q', 'P', 'B', 'F':
		return maxMessage
	}
	return maxSmall - 4
}

// clientTooLarge refuses what is longer, without reading it into memory. What the
// server would not read ends the session, as there.
func (s *session) clientTooLarge(kind byte, length int) error {
	if longest(kind) < maxMessage || length > maxLarge-4 {
		return failf(codeProtocolViolation, "invalid message length")
	}
	switch kind {
	case 'P':
		return s.parseTooLarge(length)
	case 'B':
		return s.bindTooLarge(length)
	}
	if err := s.fromC.skip(length); err != nil {
		return err
	}
	return s.refuseQuery(tooLarge(length))
}

func (s *session) parseTooLarge(length int) error {
	head, err := s.fromC.r.Peek(256)
	if err != nil {
		return err
	}
	first, ok := cString(head)
	if !ok {
		return tooLarge(length)
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
	return s.refuse(tooLarge(length), s.parsing(name, nil), &pgproto3.Parse{Name: name, Query: refusedSQL})
}

// bindTooLarge lets the parameters of a statement pass that needs none of them.
func (s *session) bindTooLarge(length int) error {
	portalName, name, ok := s.peekNames(length)
	if !ok {
		return tooLarge(length)
	}
	if err := s.resolve(s.newStatements, name); err != nil {
		return err
	}
	st, _ := s.statementNamed(name)
	if st.bindsAsItIs() {
		return s.clientBind(length)
	}
	if err := s.fromC.skip(length); err != nil {
		return err
	}
	s.batchOpen = true
	return s.refuse(tooLarge(length), &entry{kind: 'B', name: portalName, portal: &portal{statement: st}},
		&pgproto3.Bind{DestinationPortal: portalName, PreparedStatement: refusedStatement})
}

// rowTooLarge ends a statement with a row that cannot be opened.
func (s *session) rowTooLarge(e *entry, length int) error {
	if err := s.fromS.skip(length); err != nil {
		return err
	}
	refusal := tooLarge(length)
	refusal.Hint = "In binary format a row takes half as much."
	return s.failRow(e, refusal)
}

func tooLarge(length int) *pgError {
	return &pgError{Code: codeTooLarge, Message: "message too large for the encrypting proxy",
		Detail: "It has " + strconv.Itoa(length) + " bytes. One that touches protected columns has at most " + strconv.Itoa(maxMessage) + "."}
}
