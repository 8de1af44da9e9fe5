// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	firstBackoff = 50 * time.Millisecond
	lastBackoff  = 5 * time.Second
	// restartAfter is how many attempts fail before the module is initialized
	// anew for each further one.
	restartAfter = 2
)

// supervisor holds the present conn and makes the next one. There is one
// attempt at a time; all calls wait for it, and between failed attempts calls
// fail at once.
type supervisor struct {
	mu       sync.Mutex
	conn     *conn       // nil if lost
	old      *conn       // lost, to be retired by the next attempt
	attempt  *connecting // nil if none is under way
	failures int         // attempts that failed since the last conn
	resume   time.Time   // no attempt before
	lastErr  error       // of the last attempt
	fatal    error       // ErrPIN or errClosed: no attempt ever again
	where    string      // the token, for Describe
}

type connecting struct {
	done chan struct{}
	err  error // fixed once done is closed
}

func (t *Token) live() *conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.conn
}

func (t *Token) describeToken() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.where
}

// current returns the conn, and waits for one to be made if it is lost.
func (t *Token) current(ctx context.Context) (*conn, error) {
	for {
		c, a, err := t.currentOrAttempt()
		if c != nil || err != nil {
			return c, err
		}
		select {
		case <-a.done:
			if a.err != nil {
				return nil, a.err
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the token: %w", ctx.Err())
		}
	}
}

func (t *Token) currentOrAttempt() (*conn, *connecting, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.fatal != nil:
		return nil, nil, t.fatal
	case t.conn != nil:
		return t.conn, nil, nil
	case t.attempt != nil:
		return nil, t.attempt, nil
	case time.Now().Before(t.resume):
		return nil, nil, fmt.Errorf("the token is away: %w", t.lastErr)
	}
	t.attempt = &connecting{done: make(chan struct{})}
	a, old, failures := t.attempt, t.old, t.failures
	t.old = nil
	t.work.start(func() { t.reconnect(a, old, failures) })
	return nil, a, nil
}

// lost drops c, if it is still the present conn.
func (t *Token) lost(c *conn, why error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn != c {
		return
	}
	t.log.Warn("token lost", "token", c.info.Label, "error", why)
	t.conn, t.old = nil, c
}

// reconnect is one attempt. It is not bound by the context of a call: all calls
// wait for it.
func (t *Token) reconnect(a *connecting, old *conn, failures int) {
	ctx, cancel := context.WithTimeout(context.Background(), t.timeout)
	defer cancel()
	if old != nil {
		old.retire()
	}
	var err error
	if failures >= restartAfter && t.mod.hung.Load() == 0 {
		err = t.mod.restart(ctx)
	}
	var c *conn
	if err == nil {
		c, err = t.connect(ctx)
	}
	if err == nil {
		if err = t.prove(ctx, c); err != nil {
			c.retire()
		}
	}
	if !t.settle(a, c, err) && err == nil {
		c.retire()
	}
}

// prove probes a new token, or proves that a known one is the same.
func (t *Token) prove(ctx context.Context, c *conn) error {
	if t.opened {
		return c.canary(ctx)
	}
	if err := c.enter(ctx); err != nil {
		return err
	}
	form, err := c.probe()
	t.mod.gate.leave()
	if err != nil {
		return err
	}
	t.form = form
	if err := c.learn(ctx); err != nil {
		return err
	}
	t.opened = true
	return nil
}

// settle ends an attempt and reports whether c is in use.
func (t *Token) settle(a *connecting, c *conn, err error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer close(a.done)
	t.attempt, a.err, t.lastErr = nil, err, err
	switch {
	case t.fatal != nil: // closed meanwhile
		a.err = t.fatal
	case err == nil:
		if t.failures > 0 || t.where != "" {
			t.log.Info("token back", "token", c.info.Label, "failed_attempts", t.failures)
		}
		t.where = fmt.Sprintf("%s %s token %q (serial %s)", c.info.ManufacturerID, c.info.Model, c.info.Label, c.info.SerialNumber)
		t.conn, t.failures = c, 0
	case errors.Is(err, ErrPIN):
		t.fatal = err
		if t.opened {
			t.log.Error("token refuses the PIN; it is not tried again", "error", err)
		}
	case !t.opened: // Open returns it
	default:
		t.resume = time.Now().Add(backoff(t.failures))
		t.failures++
		t.log.Warn("token not reached", "failed_attempts", t.failures, "error", err)
	}
	return t.conn == c
}

func backoff(failures int) time.Duration {
	return min(firstBackoff<<min(failures, 10), lastBackoff)
}

// stop makes every further call fail and retires the conn. It reports whether
// it was the first to do so.
func (t *Token) stop() (first bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	first = !errors.Is(t.fatal, errClosed)
	for _, c := range []*conn{t.conn, t.old} {
		if c != nil {
			t.work.start(c.retire)
		}
	}
	t.conn, t.old, t.fatal = nil, nil, errClosed
	return first
}
