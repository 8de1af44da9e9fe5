// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/miekg/pkcs11"
)

// regrow is how long a session that the token refused to open is not asked for
// again.
const regrow = 5 * time.Second

// pool lends sessions. A permit is the right to have one session in use;
// sessions are opened when needed and closed after any error.
type pool struct {
	c       *conn
	permits chan struct{}
	gone    chan struct{} // closed when retired

	mu      sync.Mutex
	idle    []*session // last used last
	lent    int        // in use, or being closed
	wanted  bool       // the next to become idle is to be closed
	retired bool
}

func newPool(c *conn, size int) *pool {
	p := &pool{c: c, permits: make(chan struct{}, size), gone: make(chan struct{})}
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
		case <-p.gone:
			return nil, pkcs11.Error(pkcs11.CKR_SESSION_CLOSED)
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

// others reports whether calls use sessions, or could.
func (p *pool) others() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lent+len(p.idle) > 0
}

// makeRoom gives the token a session back: an idle one, or the next to become
// idle. Its caller is inside the gate.
func (p *pool) makeRoom() {
	p.mu.Lock()
	if len(p.idle) == 0 {
		p.wanted = p.lent > 0
		p.mu.Unlock()
		return
	}
	s := p.idle[0]
	p.idle = p.idle[1:]
	p.lent++ // until it is closed
	p.mu.Unlock()
	s.close()
	p.ended()
}

func (p *pool) ended() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lent--
}

// retire closes the idle sessions; those in use are closed when they come back.
func (p *pool) retire() {
	p.mu.Lock()
	idle := p.idle
	if p.idle = nil; !p.retired {
		p.retired = true
		close(p.gone)
	}
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

// done keeps the session if it is still good and not wanted elsewhere. After
// CKR_SESSION_COUNT, and with a session that is given up, the permit is held back
// for a while if another call can make do without it.
func (l *poolLease) done(err error) {
	kept, wanted := l.p.keep(l.s, err)
	if !kept {
		l.s.closeLate()
		l.p.ended()
	}
	if (wanted || kindOf(err) == kindExhausted) && l.p.others() {
		time.AfterFunc(regrow, l.permit)
		return
	}
	l.permit()
}

func (p *pool) keep(s *session, err error) (kept, wanted bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !s.opened || err != nil || p.retired {
		return false, false
	}
	if p.wanted {
		p.wanted = false
		return false, true
	}
	p.lent--
	p.idle = append(p.idle, s)
	return true, false
}

// overrun lets the pool open another session while the abandoned one hangs.
func (l *poolLease) overrun() {
	l.p.ended()
	l.permit()
}

func (l *poolLease) late() { l.s.closeLate() }

func (l *poolLease) permit() { l.p.permits <- struct{}{} }
