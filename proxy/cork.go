// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"io"
	"net"
	"sync"
	"syscall"
)

// net/http's server writes what its handlers do in pieces of 4 KiB at first, so that
// an answer of one page and its header are two packets, each of which wakes the
// client. A handler that sends the last of an answer can have all of it written at
// once, when the server turns to the next request.

// corkLimit is what is held back at most.
const corkLimit = 16 << 10

type corkKey struct{}

// Cork holds back what is written to the connection of a request's context, up to some
// KiB, until the request ends. A handler calls it before the Write that completes the
// answer; what it writes after that is not needed by the client to go on.
func Cork(ctx context.Context) {
	if c, ok := ctx.Value(corkKey{}).(*corkConn); ok {
		c.mu.Lock()
		c.corked = true
		c.mu.Unlock()
	}
}

func withCork(ctx context.Context, conn net.Conn) context.Context {
	if c, ok := conn.(*corkConn); ok {
		return context.WithValue(ctx, corkKey{}, c)
	}
	return ctx
}

// corkListener makes TCP connections that can be corked.
type corkListener struct{ net.Listener }

func (l corkListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if tcp, ok := conn.(*net.TCPConn); ok && err == nil {
		return &corkConn{tcpConn: tcp}, nil
	}
	return conn, err
}

// tcpConn is embedded under a name that is not exported.
type tcpConn = *net.TCPConn

// corkConn is a TCP connection of an HTTP server. The server reads from it only when it
// has done with an answer, or to see the client leave before that.
type corkConn struct {
	tcpConn

	mu     sync.Mutex
	corked bool   // guarded by mu
	held   []byte // guarded by mu
}

func (c *corkConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.corked && len(c.held)+len(p) <= corkLimit {
		c.held = append(c.held, p...)
		return len(p), nil
	}
	if len(c.held) > 0 {
		return c.writeBehind(p)
	}
	c.corked = false
	return c.tcpConn.Write(p)
}

// writeBehind writes what is held and p with one call of the system. The caller holds
// mu.
func (c *corkConn) writeBehind(p []byte) (int, error) {
	c.corked = false
	held := len(c.held)
	both := net.Buffers{c.held, p}
	n, err := both.WriteTo(c.tcpConn)
	clear(c.held)
	c.held = c.held[:0]
	return max(int(n)-held, 0), err
}

// uncork writes what is held. The caller holds mu.
func (c *corkConn) uncork() error {
	c.corked = false
	if len(c.held) == 0 {
		return nil
	}
	_, err := c.tcpConn.Write(c.held)
	clear(c.held)
	c.held = c.held[:0]
	return err
}

func (c *corkConn) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.uncork()
}

func (c *corkConn) Read(p []byte) (int, error) {
	if err := c.flush(); err != nil {
		return 0, err
	}
	return c.tcpConn.Read(p)
}

// ReadFrom is how a tunnel copies.
func (c *corkConn) ReadFrom(r io.Reader) (int64, error) {
	if err := c.flush(); err != nil {
		return 0, err
	}
	return c.tcpConn.ReadFrom(r)
}

// WriteTo is how a tunnel copies.
func (c *corkConn) WriteTo(w io.Writer) (int64, error) {
	if err := c.flush(); err != nil {
		return 0, err
	}
	return c.tcpConn.WriteTo(w)
}

func (c *corkConn) CloseWrite() error {
	c.flush()
	return c.tcpConn.CloseWrite()
}

func (c *corkConn) Close() error {
	c.flush()
	return c.tcpConn.Close()
}

// SyscallConn is for who goes past this type.
func (c *corkConn) SyscallConn() (syscall.RawConn, error) {
	if err := c.flush(); err != nil {
		return nil, err
	}
	return c.tcpConn.SyscallConn()
}
