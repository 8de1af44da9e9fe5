// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

// lookaheadSize is how much of a client's content is read at once. It is sealed from
// there: sealing copies it anyway.
const lookaheadSize = 128 << 10

var lookaheads = sync.Pool{New: func() any { return new([lookaheadSize]byte) }}

// lookahead is content that can be looked at where it lies; an envelope.Peeker. It is
// used by one goroutine at a time.
type lookahead struct {
	src    io.Reader
	buf    *[lookaheadSize]byte
	rd, wr int
	used   int   // of buf: how much of it has held content
	err    error // of src, once all that it returned was read
}

func newLookahead(src io.Reader) *lookahead {
	return &lookahead{src: src, buf: lookaheads.Get().(*[lookaheadSize]byte)}
}

// close gives the buffer back, without the content.
func (l *lookahead) close() {
	if l.buf != nil {
		clear(l.buf[:l.used])
		lookaheads.Put(l.buf)
		l.buf, l.rd, l.wr, l.err = nil, 0, 0, io.ErrClosedPipe
	}
}

func (l *lookahead) CanPeek() bool { return true }

// Peek returns the next n bytes; fewer with what ended the content.
func (l *lookahead) Peek(n int) ([]byte, error) {
	if n > lookaheadSize {
		return nil, errors.New("looking too far ahead")
	}
	for idle := 0; l.wr-l.rd < n && l.err == nil; idle++ {
		if l.rd > 0 {
			l.wr, l.rd = copy(l.buf[:], l.buf[l.rd:l.wr]), 0
		}
		var m int
		m, l.err = l.src.Read(l.buf[l.wr:])
		l.wr += m
		l.used = max(l.used, l.wr)
		if m > 0 {
			idle = 0
		} else if idle > 100 {
			l.err = io.ErrNoProgress
		}
	}
	if l.wr-l.rd < n {
		return l.slice(l.wr - l.rd), l.err
	}
	return l.slice(n), nil
}

func (l *lookahead) slice(n int) []byte {
	if n == 0 {
		return nil
	}
	return l.buf[l.rd : l.rd+n]
}

// Discard skips what Peek has returned.
func (l *lookahead) Discard(n int) (int, error) {
	n = min(n, l.wr-l.rd)
	l.rd += n
	return n, nil
}

// Read implements io.Reader.
func (l *lookahead) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	have, err := l.Peek(1)
	if len(have) == 0 {
		return 0, err
	}
	n := copy(p, l.buf[l.rd:l.wr])
	l.rd += n
	return n, nil
}

// shipment is content on its way to the store, sealed. A transport closes it when it
// is done, or while it still reads, and may then read on: the buffer goes to nobody else
// before that read has ended.
type shipment struct {
	sealed  io.Reader
	content *lookahead

	mu     sync.Mutex // guards sealed and content
	closed atomic.Bool
}

// Read implements io.Reader.
func (s *shipment) Read(p []byte) (int, error) {
	n, err := s.read(p)
	if s.closed.Load() {
		s.release()
	}
	return n, err
}

func (s *shipment) read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() {
		return 0, io.ErrClosedPipe
	}
	return s.sealed.Read(p)
}

// close does not wait for a read, which may wait for a client.
func (s *shipment) close() {
	s.closed.Store(true)
	s.release()
}

// release gives the buffer back, unless there is a read, which then does it.
func (s *shipment) release() {
	if s.mu.TryLock() {
		s.content.close()
		s.mu.Unlock()
	}
}
