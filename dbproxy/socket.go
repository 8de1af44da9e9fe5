// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"bufio"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"unsafe"
)

// bufferSize is that of the buffers which connections share. It bounds what one
// read takes and what is collected for one write.
const bufferSize = 64 << 10

type buffer [bufferSize]byte

// buffers lends buffers to connections on which something is under way. One
// that is idle holds none, so that thousands of idle clients cost little. They come
// back cleared of what was in them.
var buffers = sync.Pool{New: func() any { return new(buffer) }}

// giveBack returns a buffer of which the first used bytes have been written.
func giveBack(b *buffer, used int) {
	clear(b[:used])
	buffers.Put(b)
}

// rawConn gives the socket of a connection whose bytes are the socket's own;
// nil for TLS.
func rawConn(conn net.Conn) syscall.RawConn {
	if c, ok := conn.(syscall.Conn); ok {
		if raw, err := c.SyscallConn(); err == nil {
			return raw
		}
	}
	return nil
}

// systemCall reads or writes without telling Go's scheduler. The sockets do not
// block, so that a call is over in microseconds; of a call that it knows of the
// scheduler hands the processor to another thread, as often as not, which costs
// more than the call and was a third of the proxy's time.
func systemCall(call, fd uintptr, b []byte) (int, syscall.Errno) {
	if len(b) == 0 {
		return 0, 0
	}
	for {
		n, _, errno := syscall.RawSyscall(call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		switch errno {
		case 0:
			return int(n), 0
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}

// reader is a buffered reader that holds a buffer only while there is something
// in it: it waits without one.
type reader struct {
	conn       net.Conn
	raw        syscall.RawConn // nil: reads go through conn
	buf        *buffer         // nil while nothing is buffered
	start, end int             // of what is buffered
	used       int             // how much of buf has been written

	try   func(fd uintptr) bool
	n     int           // of the last try
	errno syscall.Errno // likewise
	// first waits for the first bytes where there is no socket: as many as the
	// header of a message has.
	first [5]byte
}

// newReader reads from conn, and first what has been read ahead of it.
func newReader(conn net.Conn, ahead *bufio.Reader) *reader {
	r := &reader{conn: conn, raw: rawConn(conn)}
	r.try = r.attempt
	if ahead == nil {
		return r
	}
	if held, _ := ahead.Peek(ahead.Buffered()); len(held) > 0 {
		r.buf = buffers.Get().(*buffer)
		r.end = copy(r.buf[:], held)
		r.used = r.end
	}
	return r
}

// Buffered is how many bytes can be had without a read.
func (r *reader) Buffered() int { return r.end - r.start }

// Peek gives the next n bytes, which stay; n is at most bufferSize. They are
// valid until the next call that reads from the connection.
func (r *reader) Peek(n int) ([]byte, error) {
	for r.Buffered() < n {
		if err := r.fill(); err != nil {
			return r.held(), err
		}
	}
	return r.held()[:n:n], nil
}

func (r *reader) held() []byte {
	if r.buf == nil {
		return nil
	}
	return r.buf[r.start:r.end]
}

// Discard skips the next n bytes.
func (r *reader) Discard(n int) (int, error) {
	for left := n; ; {
		skip := min(left, r.Buffered())
		r.start += skip
		if left -= skip; left == 0 {
			return n, nil
		}
		if err := r.fill(); err != nil {
			return n - left, err
		}
	}
}

// Read takes what is buffered, or else what one read gives.
func (r *reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if r.Buffered() == 0 {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.held())
	r.start += n
	return n, nil
}

// fill reads once, and waits if there is nothing yet.
func (r *reader) fill() error {
	switch {
	case r.start == r.end:
		r.release()
	case r.start > 0:
		r.end = copy(r.buf[:], r.buf[r.start:r.end])
		r.start = 0
	}
	if r.raw == nil {
		return r.fillSecured()
	}
	if err := r.raw.Read(r.try); err != nil {
		return err
	}
	switch {
	case r.errno != 0:
		return &net.OpError{Op: "read", Net: "socket", Err: os.NewSyscallError("read", r.errno)}
	case r.n == 0:
		return io.EOF
	}
	r.filled(r.n)
	return nil
}

func (r *reader) filled(n int) {
	r.end += n
	r.used = max(r.used, r.end)
}

func (r *reader) release() {
	if r.buf != nil {
		giveBack(r.buf, r.used)
	}
	r.buf, r.start, r.end, r.used = nil, 0, 0, 0
}

// attempt reads from the socket; false has the caller wait until it can be read.
func (r *reader) attempt(fd uintptr) bool {
	if r.buf == nil {
		r.buf = buffers.Get().(*buffer)
	}
	r.n, r.errno = systemCall(syscall.SYS_READ, fd, r.buf[r.end:])
	if r.errno != syscall.EAGAIN {
		return true
	}
	if r.end == 0 {
		r.release()
	}
	return false
}

// fillSecured reads what TLS has opened, and waits without a buffer.
func (r *reader) fillSecured() error {
	if r.buf == nil {
		n, err := r.conn.Read(r.first[:])
		if n == 0 {
			return orNoProgress(err)
		}
		r.buf = buffers.Get().(*buffer)
		r.filled(copy(r.buf[:], r.first[:n]))
		clear(r.first[:])
		return nil
	}
	n, err := r.conn.Read(r.buf[r.end:])
	if n == 0 {
		return orNoProgress(err)
	}
	r.filled(n)
	return nil
}

func orNoProgress(err error) error {
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}

// writer writes whole buffers.
type writer struct {
	conn  net.Conn
	raw   syscall.RawConn // nil: writes go through conn
	try   func(fd uintptr) bool
	left  []byte
	errno syscall.Errno
}

func newWriter(conn net.Conn) *writer {
	w := &writer{conn: conn, raw: rawConn(conn)}
	w.try = w.attempt
	return w
}

func (w *writer) write(b []byte) error {
	if w.raw == nil {
		_, err := w.conn.Write(b)
		return err
	}
	w.left, w.errno = b, 0
	err := w.raw.Write(w.try)
	w.left = nil
	if err == nil && w.errno != 0 {
		err = &net.OpError{Op: "write", Net: "socket", Err: os.NewSyscallError("write", w.errno)}
	}
	return err
}

// attempt writes to the socket; false has the caller wait until it takes more.
func (w *writer) attempt(fd uintptr) bool {
	for len(w.left) > 0 {
		var n int
		n, w.errno = systemCall(syscall.SYS_WRITE, fd, w.left)
		if w.errno != 0 {
			return w.errno != syscall.EAGAIN
		}
		w.left = w.left[n:]
	}
	return true
}
