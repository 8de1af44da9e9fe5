// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// regrow is how long a session that the token refused to open is not asked for
// again.
const regrow = 5 * time.Second

// pool lends sessions. A permit is the right to have one session in use;
// sessions are opened when needed and closed after any error.
type pool struct {
	c       *conn
	permits chan struct{}

	mu      sync.Mutex
	idle    []*session // last used last
	lent    int
	retired bool
}

func newPool(c *conn, size int) *pool {
	p := &pool{c: c, permits: make(chan struct{}, size)}
	for range size {
		p.permits <- struct{}{}
	}
	return p
}

func (p *pool) acquire(ctx context.Context) (*poolLease, error) {
	select {
	case <-p.permits:
	default:
		select {
		case <-p.permits:
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for a session: %w", ctx.Err())
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lent++
	if n := len(p.idle); n > 0 {
		s := p.idle[n-1]
		p.idle = p.idle[:n-1]
		return &poolLease{p: p, s: s}, nil
	}
	return &poolLease{p: p, s: p.c.newSession()}, nil
}

// others reports whether a session that the token could not give now may come
// from another call of ours.
func (p *pool) others() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lent+len(p.idle) > 0
}

// yield makes room in a token that has no session left, by closing an idle one
// or by waiting a moment for one to become idle.
func (p *pool) yield(ctx context.Context) {
	p.mu.Lock()
	var s *session
	if len(p.idle) > 0 {
		s, p.idle = p.idle[0], p.idle[1:]
	}
	p.mu.Unlock()
	if s != nil {
		s.closeLate()
		return
	}
	select {
	case <-time.After(time.Millisecond):
	case <-ctx.Done():
	}
}

// retire closes the idle sessions; those in use are closed when they come back.
func (p *pool) retire() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.retired = nil, true
	p.mu.Unlock()
	for _, s := range idle {
		s.closeLate()
	}
}

type poolLease struct {
	p *pool
	s *session
}

func (l *poolLease) session() *session { return l.s }

func (l *poolLease) spoil(error) { l.s.close() }

// done keeps the session if it is still good. After CKR_SESSION_COUNT the
// permit is held back for a while if another call can make do without it.
func (l *poolLease) done(err error) {
	l.p.mu.Lock()
	l.p.lent--
	keep := l.s.opened && err == nil && !l.p.retired
	if keep {
		l.p.idle = append(l.p.idle, l.s)
	}
	l.p.mu.Unlock()
	if !keep {
		l.s.closeLate()
	}
	if kindOf(err) == kindExhausted && l.p.others() {
		time.AfterFunc(regrow, l.permit)
		return
	}
	l.permit()
}

// overrun lets the pool open another session while the abandoned one hangs.
func (l *poolLease) overrun() {
	l.p.mu.Lock()
	l.p.lent--
	l.p.mu.Unlock()
	l.permit()
}

func (l *poolLease) late() { l.s.closeLate() }

func (l *poolLease) permit() { l.p.permits <- struct{}{} }
