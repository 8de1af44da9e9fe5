// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"bytes"
	"maps"
	"strconv"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/sidekey/sidekey/dbproxy/plan"
	"github.com/sidekey/sidekey/keysvc/audit"
)

// fromServer reads the server's messages until the connection ends.
func (s *session) fromServer() error {
	defer s.rowRoom.free()
	defer s.fromS.drop()
	for {
		if s.fromS.empty() {
			if err := s.down.flush(); err != nil {
				return err
			}
			s.fromS.body = nil // it may be idle for long
			if cap(s.value) > bufferSize {
				s.value = nil
			}
		}
		kind, length, err := s.fromS.next()
		if err != nil {
			return err
		}
		if err := s.serverMessage(kind, length); err != nil {
			return err
		}
		if length > largeMessage {
			s.fromS.drop()
			s.value = trim(s.value)
		}
	}
}

func (s *session) serverMessage(kind byte, length int) error {
	switch kind {
	case 'D', 'd':
		return s.serverData(kind, length)
	case 'N', 'A':
		return s.down.relay(kind, length, s.fromS)
	}
	body, err := s.fromS.whole(length)
	if err != nil {
		return err
	}
	switch kind {
	case 'S':
		return s.serverParameter(body)
	case 'E':
		return s.serverError(body)
	case 'Z':
		return s.serverReady(body)
	}
	s.mu.Lock()
	e := s.head()
	s.mu.Unlock()
	if e == nil {
		return failf(codeProtocolViolation, "the server sent a message that nobody asked for")
	}
	return s.serverAnswer(e, kind, body)
}

// serverAnswer handles an answer to the oldest message.
func (s *session) serverAnswer(e *entry, kind byte, body []byte) error {
	if !answers(kind, e.kind) {
		return failf(codeProtocolViolation, "the server sent a message that nobody asked for")
	}
	switch kind {
	case '1', '2', '3':
		s.commit()
	case 't':
		return s.serverParameters(e, body)
	case 'T', 'n':
		return s.serverColumns(e, kind, body)
	case 'C', 'I', 's':
		return s.serverComplete(e, kind, body)
	case 'G', 'H', 'W':
		if err := s.serverCopy(e, kind, body); err != nil || s.swallow != nil {
			return err
		}
	case 'c':
		if err := s.endCopyOut(e); err != nil {
			return err
		}
	}
	return s.pass(e, kind, body)
}

// answers says whether a message of the server can answer one of the client.
func answers(kind, to byte) bool {
	switch kind {
	case '1':
		return to == 'P' || to == 'p'
	case '2':
		return to == 'B'
	case '3':
		return to == 'C'
	case 't', 'n':
		return to == 'D'
	case 'T':
		return to == 'D' || to == 'Q'
	case 'V':
		return to == 'F'
	case 's':
		return to == 'E'
	case 'C', 'I', 'G', 'H', 'W', 'c':
		return to == 'E' || to == 'Q'
	}
	return false // a request for a password, above all
}

// pass sends a message on, unless it answers the session's own question or
// rows of its statement have failed.
func (s *session) pass(e *entry, kind byte, body []byte) error {
	if e.own != nil || s.swallow != nil {
		return nil
	}
	return s.down.message(kind, body)
}

// commit makes what Parse, Bind or Close did the session's state.
func (s *session) commit() {
	s.mu.Lock()
	e := s.pop()
	var ended *operation
	switch {
	case e.own != nil:
		if e.own.last == e {
			close(e.own.done)
		}
	case e.kind == 'P', e.kind == 'p':
		s.statements[e.name] = e.statement
	case e.kind == 'B':
		if old := s.portals[e.name]; old != nil {
			ended = old.op
		}
		s.portals[e.name] = e.portal
	case e.kind == 'C' && e.target == 'S':
		delete(s.statements, e.name)
	case e.kind == 'C':
		if old := s.portals[e.name]; old != nil {
			ended = old.op
		}
		delete(s.portals, e.name)
	}
	s.mu.Unlock()
	s.end(ended, "")
}

// serverParameters rewrites ParameterDescription: the client sees the types of
// its own parameters.
func (s *session) serverParameters(e *entry, body []byte) error {
	st := e.statement
	if e.own != nil || st == nil || st.plan == nil || len(st.plan.Params) == 0 {
		return s.pass(e, 't', body)
	}
	var m pgproto3.ParameterDescription
	if err := m.Decode(body); err != nil {
		return err
	}
	m.ParameterOIDs = st.describeParams(m.ParameterOIDs)
	return s.down.encode(&m)
}

// serverColumns handles RowDescription and NoData.
func (s *session) serverColumns(e *entry, kind byte, body []byte) error {
	var columns []*plan.Output
	var failed *pgError
	var m pgproto3.RowDescription
	st := s.describedBy(e)
	if kind == 'T' {
		if err := m.Decode(body); err != nil {
			return err
		}
		columns, failed = s.columnsOf(e, &m)
	} else if one := s.expected(e); one != nil && len(one.Outputs) > 0 {
		failed = s.unexpected()
	}
	if e.kind == 'D' {
		s.mu.Lock()
		s.pop()
		s.mu.Unlock()
		if st != nil && e.target == 'S' {
			st.columns, st.bad = columns, failed
		} else if e.own != nil && e.portal != nil {
			e.portal.described, e.portal.columns, e.portal.bad = true, columns, failed
		}
		if e.own != nil {
			return nil
		}
	} else if e.query != nil {
		e.query.columns, e.query.formats = columns, formatsOf(&m)
	}
	if failed != nil {
		return s.fail(e, failed)
	}
	if columns == nil {
		return s.pass(e, kind, body)
	}
	for i, o := range columns {
		if o != nil {
			describe(&m.Fields[i], o)
		}
	}
	if s.swallow != nil {
		return nil
	}
	return s.down.encode(&m)
}

// shown is the object ID by which a client knows a type.
func shown(oid uint32) uint32 {
	if oid == plan.Unspecified { // an array of what has no object ID of its own
		return plan.ArrayOf(plan.Text)
	}
	known, _, _ := plan.Type{OID: oid}.Wire()
	return known
}

func (s *session) describedBy(e *entry) *statement {
	if e.portal != nil {
		return e.portal.statement
	}
	return e.statement
}

// unexpected has the catalog read anew: the tables are not what they were.
func (s *session) unexpected() *pgError {
	s.db.stale()
	return &pgError{Code: codeNotSupported, Message: "the result does not have the protected columns that were expected", Hint: "If a table has changed, try again."}
}

// serverData handles a row, or a part of COPY.
func (s *session) serverData(kind byte, length int) error {
	s.mu.Lock()
	e := s.head()
	s.mu.Unlock()
	if e == nil {
		return failf(codeProtocolViolation, "the server sent data that nobody asked for")
	}
	if kind == 'D' && e.own != nil {
		body, err := s.fromS.whole(length)
		if err != nil {
			return err
		}
		return e.own.row(body)
	}
	columns, op, formats, bad := s.rowsOf(e)
	if s.swallow == nil && bad != nil {
		if err := s.fail(e, bad); err != nil {
			return err
		}
	}
	if s.swallow != nil {
		return s.fromS.skip(length)
	}
	if length > largeMessage && (kind == 'd' && s.copyFrom != nil || kind == 'D' && columns != nil) {
		if refused, err := s.serverLarge(e, length); refused || err != nil {
			return err
		}
	}
	if kind == 'd' && s.copyFrom != nil {
		return s.openCopy(e, length)
	}
	if one := e.copied(); kind == 'd' && one != nil && one.Copy != nil {
		return failf(codeProtocolViolation, "the server sent data of a COPY that has not begun")
	}
	if kind == 'd' || columns == nil {
		return s.down.relay(kind, length, s.fromS)
	}
	body, err := s.fromS.whole(length)
	if err != nil {
		return err
	}
	start := len(s.down.buf)
	if err := s.openRow(columns, op, formats, body); err != nil {
		s.down.cut(start)
		return s.failRow(e, err)
	}
	s.tellsRows(op)
	return s.down.full()
}

// rowsOf says what the columns of the rows are that answer an entry.
func (s *session) rowsOf(e *entry) ([]*plan.Output, *operation, []int16, *pgError) {
	if e.query != nil {
		if one := s.expected(e); e.query.columns == nil && one != nil && len(one.Outputs) > 0 {
			return nil, e.query.operation(), nil, s.unexpected()
		}
		return e.query.columns, e.query.operation(), e.query.formats, nil
	}
	if p := e.portal; p != nil && p.described {
		return p.columns, p.op, p.formats, p.bad
	}
	if p := e.portal; p != nil && p.statement != nil {
		return p.statement.columns, p.op, p.formats, p.statement.bad
	}
	return nil, nil, nil, nil
}

// serverComplete handles the end of a statement's answer.
func (s *session) serverComplete(e *entry, kind byte, body []byte) error {
	var op *operation
	if e.query != nil {
		op = e.query.operation()
	} else if e.portal != nil && (kind != 's' || e.portal.cursor) {
		op = e.portal.op
	}
	if op != nil {
		s.end(op, "", audit.Rows.Int64(rowCount(body)))
	}
	s.finished(e)
	err := s.pass(e, kind, body)
	defer s.wake()
	s.tablesChanged = s.tablesChanged || changesTables(e)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.copyIn = false
	var closed []*operation
	defer func() {
		for _, o := range closed {
			s.end(o, "")
		}
	}()
	if e.query != nil {
		if kind == 'C' {
			closed = s.register(e.query.statement, e.query.at)
		}
		e.query.at++
		e.query.columns = nil
		return err
	}
	if e.portal != nil && kind == 'C' && e.own == nil {
		closed = s.register(e.portal.statement, 0)
	}
	copied := e.kind == 'E' && len(s.queue) > 1
	s.pop()
	if copied {
		s.dropCopy(true)
	}
	return err
}

// changesTables says whether the statement that an entry answers has changed
// tables that matter, or may have.
func changesTables(e *entry) bool {
	var st *statement
	var one *plan.Statement
	if e.query != nil {
		st, one = e.query.statement, e.query.current()
	} else if e.portal != nil {
		st, one = e.portal.statement, e.portal.statement.only()
	}
	return one != nil && (one.Hidden || one.DDL && st.mentions())
}

// rowCount reads the number at the end of a command tag.
func rowCount(body []byte) int64 {
	tag := bytes.TrimRight(body, "\x00")
	n, err := strconv.ParseInt(string(tag[bytes.LastIndexByte(tag, ' ')+1:]), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// serverCopy notes that COPY has begun.
func (s *session) serverCopy(e *entry, kind byte, body []byte) error {
	if kind == 'H' {
		if failed := s.startCopyOut(e, body); failed != nil {
			return s.fail(e, failed)
		}
		return nil
	}
	defer s.wake()
	s.mu.Lock()
	defer s.mu.Unlock()
	if one := e.copied(); one == nil || !one.CopyFrom || s.copyIn {
		// It would take data for one table as data for another.
		return failf(codeProtocolViolation, "the server asked for data of a COPY that there is not")
	}
	s.copyIn = true
	e.copies = true
	return nil
}

// dropCopy takes off the queue what the server has read within COPY FROM: it
// ignores Sync and Flush there. The caller holds mu.
func (s *session) dropCopy(done bool) {
	mark := -1
	for i, e := range s.queue {
		if e.kind == 'd' && !done || e.kind == 'c' {
			mark = i
			break
		}
		if e.kind != 'S' && e.kind != 'd' {
			return
		}
	}
	for ; mark >= 0; mark-- {
		s.pop()
	}
}

// serverError handles ErrorResponse.
func (s *session) serverError(body []byte) error {
	s.mu.Lock()
	e := s.head()
	copied := e != nil && e.kind == 'E' && e.copies
	s.copyIn = false
	s.mu.Unlock()
	if e == nil {
		return s.down.message('E', body) // the server ends the session
	}
	var m pgproto3.ErrorResponse
	if err := m.Decode(body); err != nil {
		return err
	}
	defer s.wake()
	s.copyFrom = nil
	s.rowRoom.free()
	if e.kind != 'Q' && e.kind != 'F' {
		s.skipping = true
		s.mu.Lock()
		s.failing = true
		s.mu.Unlock()
		if copied {
			s.mu.Lock()
			first := s.pop()
			s.dropCopy(false)
			s.queue = append([]*entry{first}, s.queue...)
			s.mu.Unlock()
		}
	}
	refusal := s.refusedCopyOf(e, &m)
	if refusal != nil {
		m.Code = refusal.Code
	}
	opened := s.openDetail(e, &m)
	s.endFailed(e, m.Code)
	if e.own != nil {
		e.own.err = &pgError{Code: m.Code, Message: m.Message, Detail: m.Detail, Hint: m.Hint, Position: int(m.Position)}
		if e.own.done != nil && !e.own.within {
			return nil
		}
	}
	if s.swallow != nil {
		return nil
	}
	if refusal != nil {
		return s.down.encode(refusal.response("ERROR"))
	}
	if e.refusal != nil && (m.Code == codeSyntaxError || m.Code == codeNoStatement) {
		return s.down.encode(e.refusal.response("ERROR"))
	}
	st := s.describedBy(e)
	if e.query != nil {
		st = e.query.statement
	}
	switch {
	case st != nil && st.rewritten != nil && m.Position > 0:
	case opened:
		return s.down.encode(&m)
	default:
		return s.down.message('E', body)
	}
	if lead := utf8.RuneCountInString(st.lead); int(m.Position) > lead {
		m.Position = int32(st.outer(st.rewritten.Position(int(m.Position)-lead, st.sql)))
	}
	return s.down.encode(&m)
}

// endFailed closes the records of what an error has ended.
func (s *session) endFailed(e *entry, code string) {
	if e.portal != nil {
		s.end(e.portal.op, code)
	}
	if e.query != nil {
		for ; e.query.at < len(e.query.ops); e.query.at++ {
			s.end(e.query.operation(), code)
		}
	}
}

// serverReady handles ReadyForQuery: everything up to the Sync or simple query
// that it answers is over.
func (s *session) serverReady(body []byte) error {
	if len(body) != 1 {
		return failf(codeProtocolViolation, "invalid ReadyForQuery message")
	}
	var over []*operation
	var e *entry
	s.mu.Lock()
	for {
		if e = s.head(); e == nil {
			s.mu.Unlock()
			return failf(codeProtocolViolation, "the server is ready though nobody asked")
		}
		s.pop()
		if e.portal != nil && e.portal.op != nil && e.kind == 'B' {
			over = append(over, e.portal.op)
		}
		if e.kind == 'S' || !s.skipping && (e.kind == 'Q' || e.kind == 'F') {
			break
		}
	}
	s.status, s.failing = body[0], false
	if s.learned {
		s.settings, s.learned = s.reported, false
	}
	if body[0] == 'I' {
		s.publish()
		for _, p := range s.portals {
			if p.op != nil {
				over = append(over, p.op)
			}
		}
		maps.DeleteFunc(s.portals, func(_ string, p *portal) bool { return !p.hold })
	} else if e.kind == 'Q' {
		delete(s.portals, "")
	}
	if e.kind == 'Q' {
		delete(s.statements, "")
	}
	s.forgetTexts()
	rests := s.rests()
	s.mu.Unlock()
	if rests {
		s.db.gate.leave()
	}
	s.skipping = false
	for _, op := range over {
		s.end(op, "")
	}
	return s.ready(e, body)
}

// ready tells the client, and fromClient.
func (s *session) ready(e *entry, body []byte) error {
	defer s.wake()
	if e.own != nil {
		close(e.own.done)
		return nil
	}
	if s.swallow != nil {
		// Only if nothing but the failed statement was done, and it is not part
		// of a transaction, does the client know where it stands.
		if s.swallowedMore || body[0] != 'I' {
			return failf(codeConnection, "the connection ends after a failed statement, whose transaction is not known to the client")
		}
		s.swallow = nil
	}
	return s.down.message('Z', body)
}

// wake has fromClient look at the queue again.
func (s *session) wake() {
	select {
	case s.settled <- struct{}{}:
	default:
	}
}

// serverParameter handles ParameterStatus.
func (s *session) serverParameter(body []byte) error {
	if name, ok := cString(body); ok {
		if value, ok := cString(body[len(name)+1:]); ok {
			s.setting(string(name), string(value))
		}
	}
	return s.down.message('S', body)
}

// row takes a row of the session's own question.
func (q *question) row(body []byte) error {
	var m pgproto3.DataRow
	if err := m.Decode(body); err != nil {
		return err
	}
	row := make([]string, len(m.Values))
	for i, v := range m.Values {
		row[i] = string(v)
	}
	q.rows = append(q.rows, row)
	return nil
}
