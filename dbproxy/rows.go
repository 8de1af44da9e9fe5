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
func (s *session) openRow(columns []*plan.Rule, op *operation, formats []int16, body []byte) error {
	bad := failf(codeProtocolViolation, "invalid DataRow message")
	if len(body) < 2 || int(binary.BigEndian.Uint16(body)) != len(columns) {
		return bad
	}
	zone := s.current().zone
	start := len(s.down.buf)
	s.down.header('D', 0)
	s.down.buf = append(s.down.buf, body[:2]...)
	rest := body[2:]
	for i, r := range columns {
		if len(rest) < 4 {
			return bad
		}
		n := int(int32(binary.BigEndian.Uint32(rest)))
		if n > len(rest)-4 {
			return bad
		}
		if r == nil || n < 0 {
			s.down.buf = append(s.down.buf, rest[:4+max(n, 0)]...)
		} else if err := s.openValue(r, op, formatOf(formats, i), rest[4:4+n], zone); err != nil {
			return err
		}
		rest = rest[4+max(n, 0):]
	}
	binary.BigEndian.PutUint32(s.down.buf[start+1:], uint32(len(s.down.buf)-start-1))
	return nil
}

func formatOf(formats []int16, i int) int16 {
	switch {
	case len(formats) == 1:
		return formats[0]
	case i < len(formats):
		return formats[i]
	}
	return formatText
}

// openValue appends one opened value with its length.
func (s *session) openValue(r *plan.Rule, op *operation, format int16, stored []byte, zone *time.Location) error {
	if format == formatText {
		var err error
		if stored, err = storedBytea(stored); err != nil {
			return proxy.ErrFormat
		}
	}
	var null bool
	var err error
	if s.value, null, err = s.reveal(r, op, stored); err != nil {
		return err
	}
	at := len(s.down.buf)
	if null {
		s.down.buf = append(s.down.buf, 0xff, 0xff, 0xff, 0xff)
		return nil
	}
	s.down.buf = append(s.down.buf, 0, 0, 0, 0)
	if s.down.buf, err = encodeInto(s.down.buf, r.Type, format, s.value, zone); err != nil {
		return err
	}
	clear(s.value)
	binary.BigEndian.PutUint32(s.down.buf[at:], uint32(len(s.down.buf)-at-4))
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
