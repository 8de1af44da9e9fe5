// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// flushSize is how much is collected before it is written in any case.
	flushSize = bufferSize / 2
	// maxMessage is the longest message that is read as a whole. Messages that
	// need no change are streamed and have no bound but the protocol's.
	maxMessage = 256 << 20
)

// frames reads messages: a type byte, then an int32 length that counts itself.
type frames struct {
	r *reader
	// body holds a message that does not fit a buffer.
	body []byte
	// room is for a large one; nil before the session, in which there are none.
	room *share
}

func newFrames(r *reader) *frames { return &frames{r: r} }

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

// hold makes room for a body that is to be read as a whole.
func (f *frames) hold(length int) error {
	if length <= largeMessage {
		return nil
	}
	if length > maxMessage || f.room == nil {
		return tooLarge(length, maxMessage)
	}
	return f.room.resize(length)
}

// drop forgets a large body, and gives its room back.
func (f *frames) drop() {
	f.body = trim(f.body)
	if f.room != nil {
		f.room.free()
	}
}

// whole reads a body of known length. It is valid until the next read. A large one
// is to be dropped once it is done with.
func (f *frames) whole(length int) ([]byte, error) {
	if err := f.hold(length); err != nil {
		return nil, err
	}
	if length <= bufferSize {
		f.body = nil // do not keep what a large message needed
		body, err := f.r.Peek(length)
		if err != nil {
			return nil, err
		}
		_, err = f.r.Discard(length)
		return body, err
	}
	if cap(f.body) >= length {
		f.body = f.body[:length]
		_, err := io.ReadFull(f.r, f.body)
		return f.body, err
	}
	// Grow with what really arrives, not with what the header claims.
	f.body = f.body[:0]
	for len(f.body) < length {
		n := min(length-len(f.body), max(bufferSize, len(f.body)))
		at := len(f.body)
		f.body = append(f.body, make([]byte, n)...)
		if err := f.fill(f.body[at:]); err != nil {
			return nil, err
		}
	}
	return f.body, nil
}

// fill reads as many bytes as b has.
func (f *frames) fill(b []byte) error {
	if f.room == nil || f.room.held == 0 {
		_, err := io.ReadFull(f.r, b)
		return err
	}
	defer f.r.conn.SetReadDeadline(time.Time{})
	for piece := range slices.Chunk(b, largeMessage) {
		f.r.conn.SetReadDeadline(time.Now().Add(stallTimeout))
		if _, err := io.ReadFull(f.r, piece); errors.Is(err, os.ErrDeadlineExceeded) {
			return failf(codeConnection, "a message of which nothing more came in %s", stallTimeout)
		} else if err != nil {
			return err
		}
		f.room.moves(len(piece))
	}
	return nil
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
	w      *writer
	before func() error // may be nil

	buf    []byte   // of the one goroutine that fills it; lent while it is not empty
	shares []*share // likewise; of room that what is written has

	mu     sync.Mutex
	closed bool        // guarded by mu; nothing may be written any more
	mid    atomic.Bool // what was written ends within a message
}

// room makes sure that so many bytes more fit the buffer, if one can hold them.
func (o *outbox) room(more int) error {
	if len(o.buf) > 0 && len(o.buf)+more > bufferSize {
		return o.flush()
	}
	return nil
}

// lend gives buf a buffer if it has none.
func (o *outbox) lend() {
	if o.buf == nil {
		o.buf = buffers.Get().(*buffer)[:0]
	}
}

// cut takes back what was collected from a place on, and leaves nothing of it.
func (o *outbox) cut(at int) {
	clear(o.buf[at:])
	o.buf = o.buf[:at]
}

// release gives the buffer back. One that has grown is left to the collector.
func (o *outbox) release() {
	if cap(o.buf) == bufferSize {
		giveBack((*buffer)(o.buf[:bufferSize]), len(o.buf))
	}
	o.buf = nil
}

func (o *outbox) flush() error {
	if len(o.buf) == 0 {
		o.release()
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
	err := o.write()
	o.release()
	return err
}

// write writes what was collected. The caller holds mu.
func (o *outbox) write() error {
	for piece := range slices.Chunk(o.buf, largeMessage) {
		if err := o.w.write(piece); err != nil {
			return err
		}
		for _, sh := range o.shares {
			sh.moves(len(piece))
		}
	}
	return nil
}

// full flushes if much has been collected.
func (o *outbox) full() error {
	if len(o.buf) >= flushSize {
		return o.flush()
	}
	return nil
}

// header appends the header of a message with a body of the given length.
func (o *outbox) header(kind byte, length int) {
	o.lend()
	o.buf = append(o.buf, kind)
	o.buf = binary.BigEndian.AppendUint32(o.buf, uint32(length+4))
}

// message appends a message as it was read.
func (o *outbox) message(kind byte, body []byte) error {
	if err := o.room(5 + len(body)); err != nil {
		return err
	}
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
		o.lend()
		chunk, err := from.r.Peek(min(length, max(1, from.r.Buffered()), bufferSize-len(o.buf)))
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
		o.w.conn.SetWriteDeadline(time.Now().Add(time.Second))
		o.w.conn.Write(b)
	}
}

// encoder is a message of pgproto3.
type encoder interface {
	Encode(dst []byte) ([]byte, error)
}

func (o *outbox) encode(m encoder) error {
	o.lend()
	buf, err := m.Encode(o.buf)
	if err != nil {
		return fmt.Errorf("encoding %T: %w", m, err)
	}
	o.buf = buf
	return o.full()
}
