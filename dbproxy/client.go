// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/sidekey/sidekey/dbproxy/plan"
)

// refusedSQL and refusedStatement make the server fail where the proxy has
// refused, so that its state is what the client believes it to be. Neither
// holds anything of the client's.
const (
	refusedSQL       = "/* refused by the encrypting proxy */ sidekey"
	refusedStatement = "sidekey: refused by the encrypting proxy"
	codeSyntaxError  = "42601"
	codeNoStatement  = "26000"
)

// fromClient reads the client's messages until it leaves.
func (s *session) fromClient() error {
	defer s.copyRoom.free()
	for {
		if s.fromC.empty() {
			if err := s.up.flush(); err != nil {
				return err
			}
			s.fromC.body = nil // it may be idle for long
		}
		kind, length, err := s.fromC.next()
		if err != nil {
			return err
		}
		if kind == 'X' {
			s.giveBack()
			s.up.relay(kind, length, s.fromC)
			s.up.flush()
			return io.EOF
		}
		if err := s.clientMessage(kind, length); err != nil {
			return err
		}
	}
}

func (s *session) clientMessage(kind byte, length int) error {
	if kind == 'S' {
		if err := s.permitSync(); err != nil {
			return err
		}
		s.refused = false
	} else if s.skips(kind) {
		return s.skip(kind, length)
	}
	switch kind {
	case 'd', 'c', 'f':
		return s.clientCopy(kind, length)
	case 'S', 'H':
		// The server ignores them within COPY.
	default:
		s.dropCopyIn()
	}
	s.copying = false
	if (s.called || s.unsettled) && !s.batchOpen && s.answered() {
		s.called, s.unsettled = false, false // what was changed is reported
	}
	if err := permitLength(kind, length); err != nil {
		return err
	}
	if length > largeMessage {
		return s.clientLarge(kind, length)
	}
	return s.clientWhole(kind, length)
}

// skips says whether the server skips what comes until Sync: it has failed, or will
// where the proxy has refused. Then it gets nothing of it: values may be for a
// statement that was refused, and so not be sealed. Texts are, and so may come to it.
func (s *session) skips(kind byte) bool {
	if s.refused && kind != 'Q' && kind != 'F' {
		return true
	}
	return s.skipped()
}

// skip leaves out what the server would skip.
func (s *session) skip(kind byte, length int) error {
	s.dropCopyIn()
	s.copying = false
	if kind != 'd' && kind != 'c' && kind != 'f' {
		if err := permitLength(kind, length); err != nil {
			return err
		}
	}
	return s.fromC.skip(length)
}

// maxCopySyncs bounds the Sync messages within COPY, which the server does not answer.
const maxCopySyncs = 10000

// permitSync refuses a client that sends nothing else within COPY.
func (s *session) permitSync() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.copyIn && len(s.queue) > maxCopySyncs {
		return failf(codeProtocolViolation, "too many Sync messages within COPY")
	}
	return nil
}

// clientWhole handles what is read as a whole, or passes.
func (s *session) clientWhole(kind byte, length int) error {
	switch kind {
	case 'Q':
		return s.clientQuery(length)
	case 'P':
		return s.clientParse(length)
	case 'B':
		return s.clientBind(length)
	case 'D', 'C':
		return s.clientNamed(kind, length)
	case 'E':
		return s.clientExecute(length)
	case 'S':
		s.endBatch()
		s.push(s.owe(entry{kind: 'S'}))
	case 'F':
		return s.clientFunction(length)
	case 'H':
	default:
		return failf(codeProtocolViolation, "invalid frontend message type %d", kind)
	}
	return s.up.relay(kind, length, s.fromC)
}

// clientQuery plans a simple query.
func (s *session) clientQuery(length int) error {
	body, err := s.fromC.whole(length)
	if err != nil {
		return err
	}
	text, ok := cString(body)
	if !ok || len(text)+1 != len(body) {
		return failf(codeProtocolViolation, "invalid Query message")
	}
	st, err := s.prepare(string(text))
	if err != nil {
		return s.refuseQuery(err)
	}
	if err := s.datedResults(st); err != nil {
		return s.refuseQuery(err)
	}
	if err := s.keepsText(st); err != nil {
		return s.refuseQuery(err)
	}
	q, finishes := &query{statement: st}, s.finishes
	s.after(st.plan.Statements, noBatch)
	if st.touched() {
		for i := range st.plan.Statements {
			var op *operation
			if one := &st.plan.Statements[i]; one.Uses() {
				op = s.begin(st, i)
			}
			q.ops = append(q.ops, op)
		}
	}
	if st.plan.Raw() {
		s.push(&entry{kind: 'Q', query: q, finishes: finishes})
		return s.up.message('Q', body)
	}
	sql, err := s.rewrite(st, q.ops)
	if err != nil {
		s.abandon(q.ops, err)
		return s.refuseQuery(err)
	}
	s.push(&entry{kind: 'Q', query: q, finishes: finishes})
	return s.up.encode(&pgproto3.Query{String: sql})
}

// abandon closes the record of what is not sent after all.
func (s *session) abandon(ops []*operation, err error) {
	code := asPgError(err).Code
	for _, o := range ops {
		if o != nil {
			o.op.End(code)
		}
	}
}

// refuse sends what fails in the server in place of what the client sent; the
// client gets err as the answer.
func (s *session) refuse(err error, e *entry, failing encoder) error {
	if errors.Is(err, errSessionOver) {
		return err
	}
	var own *pgError
	var refusal *plan.Refusal
	if !errors.As(err, &own) && !errors.As(err, &refusal) {
		s.proxy.log.Warn("refusing a statement", "database", s.db.name, "user", s.user, "error", err)
	}
	e.refusal = asPgError(err)
	s.refused = e.kind != 'Q'
	s.push(e)
	return s.up.encode(failing)
}

// refuseQuery is refuse for what is answered as a simple query is.
func (s *session) refuseQuery(err error) error {
	return s.refuse(err, &entry{kind: 'Q', query: &query{statement: &statement{}}}, &pgproto3.Query{String: refusedSQL})
}

// clientParse plans a prepared statement.
func (s *session) clientParse(length int) error {
	body, err := s.fromC.whole(length)
	if err != nil {
		return err
	}
	var m pgproto3.Parse
	if err := m.Decode(body); err != nil {
		return failf(codeProtocolViolation, "invalid Parse message")
	}
	if m.Name != "" {
		if err := s.resolve(s.newStatements, m.Name); err != nil {
			return err
		}
	}
	st, err := s.prepare(m.Query)
	s.batchOpen = true
	if err == nil {
		err = st.declare(&m)
	}
	if err == nil {
		err = s.keepsText(st)
	}
	if err != nil {
		st = nil // what was refused has no text to keep
	}
	failing := &pgproto3.Parse{Name: m.Name, Query: refusedSQL}
	e := s.parsing(m.Name, st)
	if err != nil {
		return s.refuse(err, e, failing)
	}
	if st.plan.Raw() {
		s.push(e)
		err = s.up.message('P', body)
	} else {
		if m.Query, err = s.rewriteParse(st); err != nil {
			e.statement = nil
			return s.refuse(err, e, failing)
		}
		s.push(e)
		err = s.up.encode(&m)
	}
	if err != nil || len(st.outputs()) == 0 {
		return err
	}
	// The client need not ask what the columns are; the proxy must know.
	s.push(&entry{kind: 'D', target: 'S', statement: st, own: &question{}})
	return s.up.encode(&pgproto3.Describe{ObjectType: 'S', Name: m.Name})
}

// parsing is the entry of a Parse.
func (s *session) parsing(name string, st *statement) *entry {
	e := &entry{kind: 'P', name: name, statement: st}
	if s.exists(name) {
		// The server will fail; the statement stays what it is.
		e.kind = 'p' // not registered in newStatements
	}
	return e
}

// rewriteParse seals the literals of a prepared statement. A statement is
// prepared once and executed often; the use of the key is recorded here.
func (s *session) rewriteParse(st *statement) (string, error) {
	if len(st.plan.Literals) == 0 {
		return s.rewrite(st, nil)
	}
	o := s.begin(st, 0)
	sql, err := s.rewrite(st, []*operation{o})
	if err != nil {
		s.abandon([]*operation{o}, err)
		return "", err
	}
	if err := o.op.End(""); err != nil {
		return "", err
	}
	return sql, nil
}

// clientBind seals the parameters of a statement.
func (s *session) clientBind(length int) error {
	open := s.batchOpen
	portalName, name, ok := s.peekNames(length)
	if ok {
		if err := s.resolve(s.newStatements, name); err != nil {
			return err
		}
	}
	st, _ := s.statementNamed(name)
	if ok && st.bindsAsItIs() && s.masks == nil {
		s.batchOpen = true
		s.push(s.owe(entry{kind: 'B', name: portalName, portal: st.passed()}))
		return s.up.relay('B', length, s.fromC)
	}
	body, err := s.fromC.whole(length)
	if err != nil {
		return err
	}
	var m pgproto3.Bind
	if err := m.Decode(body); err != nil {
		return failf(codeProtocolViolation, "invalid Bind message")
	}
	if !ok {
		if err := s.resolve(s.newStatements, m.PreparedStatement); err != nil {
			return err
		}
		st, _ = s.statementNamed(m.PreparedStatement)
	}
	p := &portal{statement: st, formats: append([]int16(nil), m.ResultFormatCodes...)}
	e := &entry{kind: 'B', name: m.DestinationPortal, portal: p}
	s.batchOpen = open
	if st != nil && st.base != nil {
		var now *statement
		if now, err = s.renamed(st); err == nil {
			st, p.statement = now, now
		}
	} else {
		err = s.stillMeant(st)
	}
	if err == nil && st.touched() {
		if err = s.knowTenant(st.plan); err == nil {
			err = s.sameTenant(st)
		}
	}
	s.batchOpen = true
	if err == nil && !st.touched() {
		s.push(e)
		return s.up.message('B', body)
	}
	if err == nil {
		p.op = s.begin(st, 0)
		err = s.bind(p, &m)
	}
	if err != nil {
		s.abandon([]*operation{p.op}, err)
		p.op = nil
		return s.refuse(err, e, &pgproto3.Bind{DestinationPortal: m.DestinationPortal, PreparedStatement: refusedStatement})
	}
	if err := s.describePrepared(m.PreparedStatement, st); err != nil {
		return err
	}
	s.push(e)
	if err := s.up.encode(&m); err != nil || !st.usesNamed() {
		return err
	}
	return s.describePortal(m.DestinationPortal, p)
}

// peekNames reads the portal and statement names of a Bind without taking it
// off the buffer.
func (s *session) peekNames(length int) (portal, statement string, ok bool) {
	head, err := s.fromC.r.Peek(min(length, 256))
	if err != nil {
		return "", "", false
	}
	p, ok := cString(head)
	if !ok {
		return "", "", false
	}
	st, ok := cString(head[len(p)+1:])
	return string(p), string(st), ok
}

func cString(b []byte) ([]byte, bool) {
	i := bytes.IndexByte(b, 0)
	if i < 0 {
		return nil, false
	}
	return b[:i], true
}

// clientNamed passes Describe and Close on.
func (s *session) clientNamed(kind byte, length int) error {
	s.batchOpen = true
	body, err := s.fromC.whole(length)
	if err != nil {
		return err
	}
	if len(body) < 2 {
		return failf(codeProtocolViolation, "invalid message")
	}
	name, ok := cString(body[1:])
	if !ok {
		return failf(codeProtocolViolation, "invalid message")
	}
	e := s.owe(entry{kind: kind, target: body[0], name: string(name)})
	pending := s.newStatements
	if e.target == 'P' {
		pending = s.newPortals
	}
	if kind == 'D' {
		if err := s.resolve(pending, e.name); err != nil {
			return err
		}
	}
	if kind == 'D' && e.target == 'S' {
		e.statement, _ = s.statementNamed(e.name)
	} else if kind == 'D' {
		e.portal = s.portalNamed(e.name)
	}
	s.push(e)
	return s.up.message(kind, body)
}

func (s *session) clientExecute(length int) error {
	s.batchOpen = true
	body, err := s.fromC.whole(length)
	if err != nil {
		return err
	}
	name, ok := cString(body)
	if !ok {
		return failf(codeProtocolViolation, "invalid Execute message")
	}
	if err := s.resolve(s.newPortals, string(name)); err != nil {
		return err
	}
	p, err := s.executeCursor(string(name), s.portalNamed(string(name)))
	if err != nil {
		return s.refuse(err, &entry{kind: 'E'}, &pgproto3.Bind{PreparedStatement: refusedStatement})
	}
	if p != nil && p.statement != nil && p.statement.plan != nil {
		s.after(p.statement.plan.Statements, s.batch)
	}
	s.push(s.owe(entry{kind: 'E', portal: p, finishes: s.finishes}))
	return s.up.message('E', body)
}

// firstUserOID is the first that is not of PostgreSQL's own objects.
const firstUserOID = 16384

// clientFunction passes calls of PostgreSQL's own functions; what others do to
// protected columns cannot be seen.
func (s *session) clientFunction(length int) error {
	body, err := s.fromC.whole(length)
	if err != nil {
		return err
	}
	if len(body) < 4 {
		return failf(codeProtocolViolation, "invalid FunctionCall message")
	}
	if binary.BigEndian.Uint32(body) >= firstUserOID {
		refusal := &pgError{Code: codeNotSupported, Message: "function calls by message are not supported for functions that users made", Hint: "Use SELECT function()."}
		return s.refuseQuery(refusal)
	}
	if s.masks != nil {
		snap, err := s.snapshot()
		if err == nil && snap.cat.Plain(func(r *plan.Rule) bool { return s.maskOf(r) != nil }) {
			err = s.deniedPlain("function calls by message", "Protected columns are")
		}
		if err != nil {
			return s.refuseQuery(err)
		}
	}
	s.push(&entry{kind: 'F'})
	// It is not known what the function does: set_config is one.
	s.after([]plan.Statement{{Path: true, Tenant: true, Settings: true}}, noBatch)
	return s.up.message('F', body)
}

// after notes what statements that are being sent, in a batch or not, mean for later
// ones.
func (s *session) after(statements []plan.Statement, batch int) {
	for i := range statements {
		// What the transaction made may be taken back.
		s.dirty = s.dirty || statements[i].DDL || statements[i].Ends && s.private != nil
		s.hidden = s.hidden || statements[i].Hidden
		s.sent(&statements[i], batch)
		if !keepsCursors(&statements[i]) {
			s.unseen++
		}
		if statements[i].Path || statements[i].DDL {
			s.path = nil
		}
		s.tenant.after(&statements[i])
		s.changed = s.changed || statements[i].Settings
		s.unsettled = s.unsettled || statements[i].Settings || statements[i].Ends && s.changed
		s.everCalls = s.everCalls || statements[i].Calls
		s.called = s.called || statements[i].Calls || statements[i].Ends && s.everCalls
		if statements[i].Deallocates {
			s.deallocate(statements[i].Names)
		}
	}
}
