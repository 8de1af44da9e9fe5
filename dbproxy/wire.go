// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	bufferSize = 32 << 10
	// maxMessage is the longest message that is read as a whole. Messages that
	// need no change are streamed and have no bound but the protocol's.
	maxMessage = 256 << 20
)

// frames reads messages: a type byte, then an int32 length that counts itself.
type frames struct {
	r *bufio.Reader
	// body is the last message that was read as a whole; valid until the next.
	body []byte
}

func newFrames(conn net.Conn) *frames { return &frames{r: bufio.NewReaderSize(conn, bufferSize)} }

// next reads the header and gives the type and the length of the body.
func (f *frames) next() (kind byte, length int, err error) {
	head, err := f.r.Peek(5)
	if err != nil {
		if err == io.EOF && len(head) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return 0, 0, err
	}
	kind, length = head[0], int(int32(binary.BigEndian.Uint32(head[1:])))-4
	if length < 0 {
		return 0, 0, failf(codeProtocolViolation, "invalid message length")
	}
	_, err = f.r.Discard(5)
	return kind, length, err
}

// whole reads a body of known length.
func (f *frames) whole(length int) ([]byte, error) {
	if length > maxMessage {
		return nil, failf(codeTooLarge, "message of %d bytes is longer than the encrypting proxy can change", length)
	}
	if cap(f.body) > 1<<20 && length < 1<<16 {
		f.body = nil // do not keep what one large message needed
	}
	if cap(f.body) >= length {
		f.body = f.body[:length]
		_, err := io.ReadFull(f.r, f.body)
		return f.body, err
	}
	// Grow with what really arrives, not with what the header claims.
	f.body = f.body[:0]
	for len(f.body) < length {
		n := min(length-len(f.body), max(1<<16, len(f.body)))
		at := len(f.body)
		f.body = append(f.body, make([]byte, n)...)
		if _, err := io.ReadFull(f.r, f.body[at:]); err != nil {
			return nil, err
		}
	}
	return f.body, nil
}

// skip reads a body that nobody wants.
func (f *frames) skip(length int) error {
	for length > 0 {
		n, err := f.r.Discard(min(length, bufferSize))
		if err != nil {
			return err
		}
		length -= n
	}
	return nil
}

// empty says that reading more would have to wait.
func (f *frames) empty() bool { return f.r.Buffered() == 0 }

// outbox collects what is to be written. before runs before anything is
// written: what it waits for is on the record when the bytes leave.
type outbox struct {
	conn   net.Conn
	before func() error

	buf []byte // of the one goroutine that fills it

	mu     sync.Mutex
	closed bool        // guarded by mu; nothing may be written any more
	mid    atomic.Bool // what was written ends within a message
}

func (o *outbox) flush() error {
	if len(o.buf) == 0 {
		return nil
	}
	if o.before != nil {
		if err := o.before(); err != nil {
			return err
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return net.ErrClosed
	}
	_, err := o.conn.Write(o.buf)
	if cap(o.buf) > 1<<20 {
		o.buf = nil
	}
	o.buf = o.buf[:0]
	return err
}

// full flushes if much has been collected.
func (o *outbox) full() error {
	if len(o.buf) >= bufferSize {
		return o.flush()
	}
	return nil
}

// header appends the header of a message with a body of the given length.
func (o *outbox) header(kind byte, length int) {
	o.buf = append(o.buf, kind)
	o.buf = binary.BigEndian.AppendUint32(o.buf, uint32(length+4))
}

// message appends a message as it was read.
func (o *outbox) message(kind byte, body []byte) error {
	o.header(kind, len(body))
	o.buf = append(o.buf, body...)
	return o.full()
}

// relay passes a body through without holding it.
func (o *outbox) relay(kind byte, length int, from *frames) error {
	o.header(kind, length)
	o.mid.Store(length > 0)
	for length > 0 {
		if err := o.full(); err != nil {
			return err
		}
		chunk, err := from.r.Peek(min(length, max(1, from.r.Buffered())))
		if err != nil {
			return err
		}
		o.buf = append(o.buf, chunk...)
		length -= len(chunk)
		if _, err := from.r.Discard(len(chunk)); err != nil {
			return err
		}
	}
	err := o.full()
	o.mid.Store(false)
	return err
}

// last writes a final message, if what was written so far ends with a whole
// one, and nothing after it.
func (o *outbox) last(m encoder) {
	if !o.mu.TryLock() {
		return // a write is stuck on a client that does not read
	}
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	o.closed = true
	if b, err := m.Encode(nil); err == nil && !o.mid.Load() {
		o.conn.SetWriteDeadline(time.Now().Add(time.Second))
		o.conn.Write(b)
	}
}

// encoder is a message of pgproto3.
type encoder interface {
	Encode(dst []byte) ([]byte, error)
}

func (o *outbox) encode(m encoder) error {
	buf, err := m.Encode(o.buf)
	if err != nil {
		return fmt.Errorf("encoding %T: %w", m, err)
	}
	o.buf = buf
	return o.full()
}
