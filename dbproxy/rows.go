// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/sidekey/sidekey/dbproxy/plan"
	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/proxy"
)

// openRow appends a DataRow with its protected values opened.
//
//	DataRow: int16 columns, then for each an int32 length (-1: NULL) and bytes
func (s *session) openRow(columns []*plan.Output, op *operation, formats []int16, body []byte) error {
	if len(body) < 2 || int(binary.BigEndian.Uint16(body)) != len(columns) {
		return errDataRow()
	}
	zone := s.current().zone
	start := len(s.down.buf)
	s.down.header('D', 0)
	s.down.buf = append(s.down.buf, body[:2]...)
	rest := body[2:]
	for i, o := range columns {
		if len(rest) < 4 {
			return errDataRow()
		}
		n := int(int32(binary.BigEndian.Uint32(rest)))
		if n > len(rest)-4 {
			return errDataRow()
		}
		if o == nil || n < 0 {
			s.down.buf = append(s.down.buf, rest[:4+max(n, 0)]...)
		} else if err := s.openOutput(o, op, formatOf(formats, i), rest[4:4+n], zone); err != nil {
			return err
		}
		rest = rest[4+max(n, 0):]
	}
	binary.BigEndian.PutUint32(s.down.buf[start+1:], uint32(len(s.down.buf)-start-1))
	return nil
}

func errDataRow() error { return failf(codeProtocolViolation, "invalid DataRow message") }

func formatOf(formats []int16, i int) int16 {
	switch {
	case len(formats) == 1:
		return formats[0]
	case i < len(formats):
		return formats[i]
	}
	return formatText
}

// openOutput appends one opened value, or array of them, with its length; -1 is
// NULL.
func (s *session) openOutput(o *plan.Output, op *operation, format int16, stored []byte, zone *time.Location) error {
	at := len(s.down.buf)
	s.down.buf = append(s.down.buf, 0xff, 0xff, 0xff, 0xff)
	var null bool
	var err error
	if o.Array {
		err = s.openArray(o, op, format, stored, zone)
	} else {
		null, err = s.openValue(o, op, format, stored, zone)
	}
	if err == nil && !null {
		binary.BigEndian.PutUint32(s.down.buf[at:], uint32(len(s.down.buf)-at-4))
	}
	return err
}

// openValue appends one opened value; null says that the client gets NULL.
func (s *session) openValue(o *plan.Output, op *operation, format int16, stored []byte, zone *time.Location) (null bool, err error) {
	if format == formatText {
		format = textFormat(stored)
		if stored, err = storedBytea(stored); err != nil {
			return false, proxy.ErrFormat
		}
	}
	if s.value, null, err = s.reveal(o.Rule, op, stored); err != nil || null {
		return null, err
	}
	t := o.Type
	if t.OID == o.Rule.Type.OID {
		t = o.Rule.Type // the client may be told no length, the value has one
	}
	s.down.buf, err = encodeInto(s.down.buf, t, format, s.value, zone)
	clear(s.value)
	return false, err
}

// openArray appends an array of opened values, which has one dimension or none.
func (s *session) openArray(o *plan.Output, op *operation, format int16, stored []byte, zone *time.Location) error {
	elements, err := arrayElements(format, stored, locale{zone: zone})
	if err != nil {
		return proxy.ErrFormat
	}
	out := array{elem: o.Type.OID}
	if len(elements) > 0 {
		out.dims = []dimension{{size: int32(len(elements)), lower: 1}}
	}
	at := len(s.down.buf)
	for _, e := range elements {
		null := e == nil
		if !null {
			if null, err = s.openValue(o, op, format, e, zone); err != nil {
				return err
			}
		}
		var opened []byte
		if !null {
			opened = append([]byte{}, s.down.buf[at:]...)
		}
		clear(s.down.buf[at:])
		s.down.buf = s.down.buf[:at]
		out.elements = append(out.elements, opened)
	}
	if format == formatBinary {
		s.down.buf = out.append(s.down.buf)
	} else {
		s.down.buf = out.appendText(s.down.buf)
	}
	for _, e := range out.elements {
		clear(e)
	}
	return nil
}

// encodeInto keeps dst when the value cannot be encoded.
func encodeInto(dst []byte, t plan.Type, format int16, value []byte, zone *time.Location) ([]byte, error) {
	out, err := encodeValue(dst, t, format, value, zone)
	if err != nil {
		return dst, err
	}
	return out, nil
}

// open gives the canonical form of a stored value. A value that names a data
// key which is not known has the keys read anew, once.
func (s *session) open(r *plan.Rule, op *operation, stored []byte) ([]byte, error) {
	ctx, tenant := s.ctx, ""
	if op != nil {
		ctx, tenant = op.ctx, op.tenant
	}
	for again := false; ; again = true {
		col, err := s.db.column(ctx, r, tenant)
		if err != nil {
			return nil, err
		}
		lease, err := col.Acquire(ctx)
		if err != nil {
			return nil, err
		}
		plain, err := lease.Open(s.value[:0], stored)
		lease.Release()
		if err == nil {
			return plainForm(r, plain)
		}
		if again || !errors.Is(err, proxy.ErrColumnKey) {
			return plain, err
		}
		s.db.forget(r, tenant)
	}
}

// failRow ends a statement whose rows cannot be told.
func (s *session) failRow(e *entry, err error) error {
	failed := asPgError(err)
	s.proxy.log.Warn("opening a row", "database", s.db.name, "user", s.user, "code", failed.Code, "error", err)
	_, op, _, _ := s.rowsOf(e)
	s.end(op, failed.Code, audit.Reason.String(failed.Message))
	return s.fail(e, failed)
}

// fail tells the client that the statement failed, though for the server it did
// not. Nothing passes until ReadyForQuery, and then only if client and server
// agree on what was done.
func (s *session) fail(e *entry, failed *pgError) error {
	if s.swallow != nil {
		return nil
	}
	s.swallow, s.swallowedMore = e, s.workBehind(e)
	return s.down.encode(failed.response("ERROR"))
}

// workBehind says whether more than the failed statement was sent to the server
// before the next Sync.
func (s *session) workBehind(e *entry) bool {
	if e.query != nil {
		return e.query.at+1 < len(e.query.statement.plan.Statements)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, other := range s.queue {
		if other.kind == 'S' {
			return false
		}
		if other.kind == 'E' && other != e {
			return true
		}
	}
	// The Sync is still to come: what comes before it cannot be known.
	return true
}
