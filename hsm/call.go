// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// lease is a session lent for one call. The one who waits for the call ends
// the lease with done or overrun; the goroutine of the call itself calls spoil
// after an error and late when it ends after an overrun.
type lease interface {
	session() *session
	spoil(err error) // in the call's goroutine, within the deadline
	done(err error)
	overrun()
	late()
}

const (
	callRunning int32 = iota
	callEnded
	callOverrun
)

// run makes one call: f, in a worker, with the leased session, until ctx
// ends. f must only use memory that stays its own if the caller has gone; drop
// gets the result that nobody waits for any more. after runs exactly once,
// when f has really ended or will never start.
func run[T any](ctx context.Context, c *conn, l lease, f func(*session) (T, error), drop func(T), after func()) (T, error) {
	var zero T
	err := c.enter(ctx)
	if err != nil {
		l.done(nil)
		after()
		return zero, err
	}
	k, err := c.t.work.hire()
	if err != nil {
		c.mod.gate.leave()
		l.done(nil)
		after()
		return zero, err
	}
	var v T // and err: the job's until it has given its token
	var state atomic.Int32
	k.jobs <- func() {
		v, err = withSession(l.session(), f)
		after()
		if err != nil {
			l.spoil(err)
		}
		if state.CompareAndSwap(callRunning, callEnded) {
			k.done <- struct{}{}
			return
		}
		if err == nil {
			drop(v)
		}
		l.late()
		c.t.hangs(-1)
		c.t.work.dismiss(k)
	}
	select {
	case <-k.done:
	case <-ctx.Done():
		if state.CompareAndSwap(callRunning, callOverrun) {
			l.session().abandoned.Store(true)
			c.t.hangs(1)
			l.overrun()
			c.mod.gate.leave()
			return zero, fmt.Errorf("%w: %w", errAbandoned, ctx.Err())
		}
		<-k.done
	}
	c.mod.gate.leave()
	l.done(err)
	c.t.work.dismiss(k) // the last: Close waits for the sessions to be closed
	return v, err
}

func withSession[T any](s *session, f func(*session) (T, error)) (T, error) {
	if err := s.open(0); err != nil {
		var zero T
		return zero, err
	}
	return f(s)
}

// attempt is one try of an operation on a conn. It must not keep anything of
// the conn.
type attempt[T any] func(ctx context.Context, c *conn) (T, error)

// do runs an operation under the deadline, and once more if the first failure
// was the token's and has been repaired. Each session of the pool may turn out
// to be unusable by itself.
func do[T any](ctx context.Context, t *Token, f attempt[T]) (T, error) {
	return doWithin(ctx, t, t.timeout, f)
}

// doWithin is do under another deadline.
func doWithin[T any](ctx context.Context, t *Token, limit time.Duration, f attempt[T]) (T, error) {
	if end, ok := ctx.Deadline(); !ok || time.Until(end) > limit {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	var zero T
	if err := t.work.begin(); err != nil {
		return zero, err
	}
	defer t.work.finished()
	repaired, replaced := 0, 0
	for {
		c, err := t.current(ctx)
		if err != nil {
			return zero, err
		}
		closed := c.closed.Load()
		v, err := f(ctx, c)
		if err == nil {
			return v, nil
		}
		switch t.judge(ctx, c, closed, err) {
		case verdictFail:
			return zero, err
		case verdictRepaired:
			repaired++
		case verdictReplaced:
			replaced++
		case verdictWait:
			if late := pause(ctx); late != nil {
				return zero, fmt.Errorf("%w: %w", late, err)
			}
		}
		if repaired > 1 || replaced > t.sessions {
			return zero, err
		}
	}
}

type verdict int

const (
	verdictFail     verdict = iota
	verdictRepaired         // the conn is dropped, or there is room: try again
	verdictReplaced         // the session is closed: try with another
	verdictWait             // not tried yet: a session of ours is coming free
)

// judge decides what a failure means, and drops the conn if it is dead. closed
// is how many sessions had been closed before the attempt.
func (t *Token) judge(ctx context.Context, c *conn, closed int64, err error) verdict {
	switch kindOf(err) {
	case kindLost:
		t.lost(c, err)
		return verdictRepaired
	case kindSession:
		return verdictReplaced
	case kindExhausted:
		if c.closed.Load() != closed || c.mayClose() || t.live() != c {
			return verdictWait
		}
	case kindFull:
		c.objects.halve(ctx)
		return verdictRepaired
	case kindAmbiguous:
		if kindOf(c.canary(ctx)) == kindLost {
			t.lost(c, err)
			return verdictRepaired
		}
	}
	return verdictFail
}

// pause is between two attempts to open a session.
func pause(ctx context.Context) error {
	select {
	case <-time.After(time.Millisecond):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
