// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/sidekey/sidekey/dbproxy/plan"
)

// refusedCopy is what the server is told when data of COPY FROM is refused. Its
// error names it, and the client gets the refusal instead.
const refusedCopy = "refused by the encrypting proxy"

const codeQueryCanceled = "57014"

// copyIn is a COPY FROM whose data is on its way to the server.
type copyIn struct {
	// codec has no options if the COPY is not of protected columns.
	codec  copyCodec
	entry  *entry
	loc    locale
	leases *columnLeases // nil if there is nothing to be sealed
	stored []byte
	failed bool // the server does not read it, or was told to end it
}

// clientCopy handles CopyData, CopyDone and CopyFail.
func (s *session) clientCopy(kind byte, length int) error {
	if !s.copying && s.copyTo == nil {
		if err := s.startCopy(kind); err != nil {
			return err
		}
	}
	s.copying = kind == 'd'
	c := s.copyTo
	if kind != 'd' {
		s.copyTo = nil
	}
	switch {
	case c == nil || c.codec.opt == nil && !c.failed:
		return s.relayCopy(kind, length)
	case c.failed:
		return s.fromC.skip(length)
	case kind == 'd':
		return s.sealCopy(c, length)
	case kind == 'c':
		if err := s.sealRows(c, true); err != nil {
			return err
		}
		if c.failed {
			return s.fromC.skip(length)
		}
	}
	c.release()
	s.copyRoom.free()
	return s.relayCopy(kind, length)
}

// relayCopy passes on what needs no change.
func (s *session) relayCopy(kind byte, length int) error {
	if kind != 'd' {
		s.push(&entry{kind: 'c'})
	}
	return s.up.relay(kind, length, s.fromC)
}

// dropCopyIn forgets data that the server does not read any more.
func (s *session) dropCopyIn() {
	if s.copyTo != nil {
		s.copyTo.release()
		s.copyTo = nil
		s.copyRoom.free()
	}
}

// holdRow makes room for the row that is not complete, and keeps nothing of those
// before it.
func holdRow(room *share, c *copyCodec) error {
	c.shrink()
	n := c.held()
	if n > maxMessage || roomFor(n) > room.of.size {
		return failf(codeTooLarge, "a row of COPY is longer than the encrypting proxy can change")
	}
	return room.resize(n)
}

// startCopy finds out whose data arrives. That is the server's to say, and it
// is asked only if it may be a COPY of protected columns.
func (s *session) startCopy(kind byte) error {
	if !s.readsCopy() {
		s.copyTo = &copyIn{failed: true}
		return nil
	}
	if !s.sealsCopy() {
		if kind == 'd' {
			s.push(&entry{kind: 'd'})
		}
		return nil
	}
	// A COPY that is still to begin is answered at the latest to Flush.
	if err := s.up.encode(&pgproto3.Flush{}); err != nil {
		return err
	}
	if err := s.up.flush(); err != nil {
		return err
	}
	c, err := s.awaitCopy()
	if err != nil {
		return err
	}
	s.copyTo = c
	if !c.failed && kind == 'd' {
		s.push(&entry{kind: 'd'})
	}
	if c.codec.opt != nil && c.codec.opt.Invalid {
		return s.failCopy(c, failf(codeNotSupported, "the options of this COPY are not understood for protected columns"))
	}
	return nil
}

// copied is the statement of an entry that copies. The caller holds mu or is
// fromServer.
func (e *entry) copied() *plan.Statement {
	switch {
	case e.query != nil:
		return e.query.current()
	case e.portal != nil:
		return e.portal.statement.only()
	}
	return nil
}

// operation is the execution that an entry's answer belongs to. The caller
// holds mu or is fromServer.
func (e *entry) operation() *operation {
	switch {
	case e.query != nil:
		return e.query.operation()
	case e.portal != nil:
		return e.portal.op
	}
	return nil
}

// readsCopy says whether the server may be about to read data of any COPY. If not, it
// gets none: the data may be for one that was refused.
func (s *session) readsCopy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.copyIn || slices.ContainsFunc(s.queue, func(e *entry) bool {
		st := s.describedBy(e)
		if e.query != nil {
			st = e.query.statement
		}
		if st == nil || st.plan == nil {
			return e.refusal == nil && (e.kind == 'Q' || e.kind == 'E') // it is not known what it is
		}
		return slices.ContainsFunc(st.plan.Statements, func(one plan.Statement) bool { return one.CopyFrom })
	})
}

// sealsCopy says whether the server may be about to read data of a COPY of
// protected columns.
func (s *session) sealsCopy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.queue {
		st := s.describedBy(e)
		if e.query != nil {
			st = e.query.statement
		}
		if st == nil || st.plan == nil {
			continue
		}
		for i := range st.plan.Statements {
			if c := st.plan.Statements[i].Copy; c != nil && c.From {
				return true
			}
		}
	}
	return false
}

// awaitCopy waits until the server reads COPY's data, or is known not to: then
// it ignores what comes.
func (s *session) awaitCopy() (*copyIn, error) {
	for {
		s.mu.Lock()
		e := s.head()
		switch {
		case e == nil || s.fails():
			s.mu.Unlock()
			return &copyIn{failed: true}, nil
		case s.copyIn && e.copiesBefore() == s.copiesEnded():
			c := s.newCopyIn(e)
			s.mu.Unlock()
			return c, nil
		case s.copyIn && e.copiesBefore() > s.copiesEnded():
			s.mu.Unlock()
			return nil, failf(codeProtocolViolation, "the server completed a COPY whose data did not end")
		}
		s.mu.Unlock()
		if _, open := <-s.settled; !open {
			return nil, errSessionOver
		}
	}
}

// copiesBefore counts the COPY FROM before the one that is being answered: the
// data of as many must have been sent. So it is the order of the client's text
// that says whose data comes, and not the server alone. The caller holds mu.
func (e *entry) copiesBefore() int {
	if e.query == nil || e.query.statement.plan == nil {
		return 0
	}
	n := 0
	statements := e.query.statement.plan.Statements
	for i := range statements[:min(e.query.at, len(statements))] {
		if statements[i].CopyFrom {
			n++
		}
	}
	return n
}

// copiesEnded counts the ends of data that were sent for the oldest entry. The
// caller holds mu.
func (s *session) copiesEnded() int {
	n := 0
	for _, e := range s.queue[1:] {
		switch e.kind {
		case 'c':
			n++
		case 'd', 'S':
		default:
			return n
		}
	}
	return n
}

// syncs says whether a Sync is to be answered. The caller holds mu.
func (s *session) syncs() bool {
	return slices.ContainsFunc(s.queue, func(e *entry) bool { return e.kind == 'S' })
}

// newCopyIn is called with mu held.
func (s *session) newCopyIn(e *entry) *copyIn {
	c := &copyIn{entry: e, loc: s.settings.locale()}
	one := e.copied()
	if one == nil || !one.CopyFrom {
		c.failed = true
		return c
	}
	if one.Copy == nil {
		return c
	}
	c.leases = s.newLeases(e.operation())
	c.codec = copyCodec{opt: one.Copy, version: s.settings.version, lines: copyLines{opt: one.Copy, alone: s.settings.version >= 18}}
	c.codec.change = func(dst []byte, r *plan.Rule, value []byte) ([]byte, error) { return s.sealField(c, dst, r, value) }
	return c
}

// sealCopy seals the values in the body of a CopyData message.
func (s *session) sealCopy(c *copyIn, length int) error {
	for length > 0 {
		chunk, err := s.fromC.r.Peek(min(length, max(1, s.fromC.r.Buffered())))
		if err != nil {
			return err
		}
		c.codec.feed(chunk)
		s.copyRoom.moves(len(chunk))
		length -= len(chunk)
		if _, err := s.fromC.r.Discard(len(chunk)); err != nil {
			return err
		}
		if err := s.sealRows(c, false); err != nil {
			return err
		}
		if c.failed {
			return s.fromC.skip(length)
		}
	}
	if s.fromC.empty() {
		c.release()
	}
	return nil
}

// sealRows sends the rows that are complete. eof says that the last one is.
func (s *session) sealRows(c *copyIn, eof bool) error {
	for more := true; more; {
		at := len(s.up.buf)
		s.up.header('d', 0)
		var failed error
		for more && failed == nil && len(s.up.buf)-at < flushSize {
			s.up.buf, more, failed = c.codec.next(s.up.buf, eof)
		}
		c.stored = trim(c.stored)
		s.up.closeFrame(at)
		if err := s.up.full(); err != nil {
			return err
		}
		if failed == nil {
			failed = holdRow(&s.copyRoom, &c.codec) // which has had its room until it was sent
		}
		if failed != nil {
			return s.failCopy(c, failed)
		}
	}
	return nil
}

// closeFrame sets the length of the message that begins at a place, or takes it
// back if it is empty.
func (o *outbox) closeFrame(at int) {
	if len(o.buf) == at+5 {
		o.buf = o.buf[:at]
		return
	}
	binary.BigEndian.PutUint32(o.buf[at+1:], uint32(len(o.buf)-at-1))
}

// failCopy has the COPY fail in the server, and what comes of its data ignored.
func (s *session) failCopy(c *copyIn, err error) error {
	c.release()
	c.failed = true
	c.codec.forget()
	s.copyRoom.free()
	refusal := asPgError(err)
	if !badInput(refusal.Code) && refusal.Code != codeTooLarge {
		s.proxy.log.Warn("refusing data of COPY", "database", s.db.name, "user", s.user, "code", refusal.Code, "error", err)
	}
	s.mu.Lock()
	c.entry.copyRefusal, c.entry.copyMissing = refusal, c.codec.missing
	s.mu.Unlock()
	s.push(&entry{kind: 'c'})
	return s.up.encode(&pgproto3.CopyFail{Message: refusedCopy})
}

// refusedCopyOf is the refusal that an error of the server stands for.
func (s *session) refusedCopyOf(e *entry, m *pgproto3.ErrorResponse) *pgError {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.copyRefusal == nil {
		return nil
	}
	failed := m.Code == codeQueryCanceled && strings.HasSuffix(m.Message, refusedCopy)
	missing := e.copyMissing != "" && m.Code == codeBadCopy && m.Message == "missing data for column \""+e.copyMissing+"\""
	if failed || missing {
		return e.copyRefusal
	}
	return nil
}

// sealField appends the sealed form of a value in COPY's data.
func (s *session) sealField(c *copyIn, dst []byte, r *plan.Rule, value []byte) ([]byte, error) {
	format := formatText
	if c.codec.opt.Format == plan.CopyBinary {
		format = formatBinary
	}
	plain, err := copiedValue(r.Type, format, value, c.loc)
	if err != nil {
		return dst, err
	}
	if format == formatBinary {
		return c.leases.seal(dst, r, plain)
	}
	if c.stored, err = c.leases.seal(c.stored[:0], r, plain); err != nil {
		return dst, err
	}
	return hex.AppendEncode(append(dst, `\x`...), c.stored), nil
}

// copiedValue is decodeValue, without a copy where the value is its own
// canonical form.
func copiedValue(t plan.Type, format int16, value []byte, loc locale) ([]byte, error) {
	if _, limited := t.MaxChars(); !limited && (t.OID == plan.Text || t.OID == plan.Varchar) && plainText(value) {
		return value, nil
	}
	return decodeValue(t, plan.Unspecified, format, value, loc)
}

// contextOf is the context of an execution.
func (s *session) contextOf(op *operation) context.Context {
	if op != nil {
		return op.ctx
	}
	return s.ctx
}

// release gives the leases back: no key is held while the client is waited for.
func (c *copyIn) release() {
	if c.leases != nil {
		c.leases.release()
	}
}

// majorVersion is the number before the first point of server_version.
func majorVersion(version string) int {
	n := 0
	for _, c := range version {
		if c < '0' || c > '9' || n > 1000 {
			break
		}
		n = 10*n + int(c-'0')
	}
	return n
}
