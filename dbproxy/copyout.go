// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"time"

	"github.com/sidekey/sidekey/dbproxy/plan"
	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/proxy"
)

// copyOut is a COPY TO of protected columns that is on its way to the client.
type copyOut struct {
	codec  copyCodec
	op     *operation
	zone   *time.Location
	leases *columnLeases
	stored []byte
}

// startCopyOut begins a COPY TO, if it is of protected columns.
//
//	CopyOutResponse: int8 format, int16 columns, int16 format of each
func (s *session) startCopyOut(e *entry, body []byte) *pgError {
	s.copyFrom = nil
	one := e.copied()
	if one == nil || one.Copy == nil {
		return nil
	}
	if len(body) < 3 || int(binary.BigEndian.Uint16(body[1:])) != len(one.Copy.Columns) || one.Copy.Invalid {
		return s.unexpected()
	}
	c := &copyOut{op: e.operation(), zone: s.current().zone, leases: s.newLeases(e.operation())}
	c.codec = copyCodec{opt: one.Copy, lines: copyLines{opt: one.Copy, raw: true}}
	c.codec.change = func(dst []byte, r *plan.Rule, value []byte) ([]byte, error) { return s.openField(c, dst, r, value) }
	s.copyFrom = c
	return nil
}

// openField appends the opened form of a value in COPY's data.
func (s *session) openField(c *copyOut, dst []byte, r *plan.Rule, value []byte) ([]byte, error) {
	format := formatBinary
	var err error
	if c.codec.opt.Format != plan.CopyBinary {
		format = textFormat(value)
		if c.stored, err = appendBytea(c.stored[:0], value); err != nil {
			return dst, proxy.ErrFormat
		}
		value = c.stored
	}
	var null bool
	s.value, null, err = s.masked(r, func() ([]byte, error) { return c.leases.open(s.value[:0], r, value) })
	if err != nil {
		return dst, err
	}
	if null {
		return dst, errNull
	}
	dst, err = encodeInto(dst, r.Type, format, s.value, c.zone)
	clear(s.value)
	return dst, err
}

// appendBytea is storedBytea into a buffer that is there.
func appendBytea(dst, text []byte) ([]byte, error) {
	if bytes.HasPrefix(text, []byte(`\x`)) {
		return hex.AppendDecode(dst, text[2:])
	}
	return storedBytea(text)
}

// openCopy passes a CopyData message on with its values opened. The message
// that the client gets holds the rows that this one completes.
func (s *session) openCopy(e *entry, length int) error {
	body, err := s.fromS.whole(length)
	if err != nil {
		return err
	}
	c := s.copyFrom
	c.codec.feed(body)
	at := len(s.down.buf)
	s.down.header('d', 0)
	for more := true; more; {
		if s.down.buf, more, err = c.codec.next(s.down.buf, false); err != nil {
			s.down.cut(at)
			return s.failCopyOut(e, err)
		}
	}
	c.stored = trim(c.stored)
	s.down.closeFrame(at)
	s.tellsRows(c.op)
	if s.fromS.empty() {
		c.leases.release()
	}
	if err := s.down.full(); err != nil {
		return err
	}
	if err := holdRow(&s.rowRoom, &c.codec); err != nil {
		return s.failCopyOut(e, err)
	}
	return nil
}

// tellsRows notes that rows of an operation are about to be told: should they
// leave before the statement is over, then not before its intent is on the
// record.
func (s *session) tellsRows(op *operation) {
	if op != nil && !op.rows {
		op.rows = true
		s.unended = append(s.unended, op)
	}
}

// endCopyOut checks that nothing of the data is left over.
func (s *session) endCopyOut(e *entry) error {
	c := s.copyFrom
	s.copyFrom = nil
	s.rowRoom.free()
	if c == nil || s.swallow != nil || c.codec.held() == 0 {
		return nil
	}
	return s.failCopyOut(e, failf(codeProtocolViolation, "the server's COPY data ends within a row"))
}

func (s *session) failCopyOut(e *entry, err error) error {
	if s.copyFrom != nil {
		s.copyFrom.codec.forget()
	}
	s.rowRoom.free()
	failed := asPgError(err)
	if failed.Code == codeBadCopy {
		failed = failf(codeProtocolViolation, "the server's COPY data is not understood: %s", failed.Message)
	}
	s.proxy.log.Warn("opening data of COPY", "database", s.db.name, "user", s.user, "code", failed.Code, "error", err)
	s.end(e.operation(), failed.Code, audit.Reason.String(failed.Message))
	return s.fail(e, failed)
}
