package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// maxQueue bounds the bytes that wait for the disk. A record beyond it
	// is refused, and with it the operation.
	maxQueue = 16 << 20
	// keepBuffer is the capacity above which a buffer is not kept.
	keepBuffer = 1 << 20
	// lazyDelay is how long an intent stays in memory when nobody waits.
	lazyDelay = 20 * time.Millisecond
	// stallLimit is how long a write may take before those who wait for it
	// are told that the log is unavailable.
	stallLimit = 10 * time.Second
	// failPause spaces attempts on a disk that refuses, retryDelay is for
	// attempts that nobody asks for.
	failPause  = 50 * time.Millisecond
	retryDelay = time.Second
	// maxGather bounds how long a commit waits for company.
	maxGather = 2 * time.Millisecond
)

// commit is one write to disk, on which any number of operations wait.
type commit struct {
	done     chan struct{}
	err      error // set before done is closed
	finished bool  // guarded by Log.mu
	waiters  int   // guarded by Log.mu: operations that have begun to wait
	upto     uint64
}

func newCommit() *commit { return &commit{done: make(chan struct{})} }

// finish ends the wait. The caller holds Log.mu.
func (c *commit) finish(err error) {
	if c.finished {
		return
	}
	c.finished = true
	c.err = err
	close(c.done)
}

// scratch holds buffers in which callers encode outside of the lock.
var scratch = sync.Pool{New: func() any { b := make([]byte, 0, 2048); return &b }}

// append encodes and enqueues a record. It never waits for the disk. The
// ticket is the number of records enqueued up to this one.
func (l *Log) append(r *record, now time.Time) (ticket uint64, err error) {
	buf := scratch.Get().(*[]byte)
	*buf = r.appendBody((*buf)[:0], l.service, now)
	ticket, err = l.enqueue(*buf)
	scratch.Put(buf)
	return ticket, err
}

func (l *Log) enqueue(body []byte) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0, fmt.Errorf("%w: closed", ErrUnavailable)
	}
	if l.retained+len(l.pending)+len(body) > maxQueue {
		if l.lastErr != nil {
			return 0, l.lastErr
		}
		return 0, fmt.Errorf("%w: queue is full", ErrUnavailable)
	}
	if len(l.pending) == 0 {
		l.lazy.Reset(lazyDelay)
	}
	l.pending = append(l.pending, body...)
	l.enqueued++
	return l.enqueued, nil
}

// wait returns when the record with the ticket is on disk, or when the write
// that held it has failed.
func (l *Log) wait(ctx context.Context, ticket uint64) error {
	l.mu.Lock()
	if ticket <= l.durable {
		l.mu.Unlock()
		return nil
	}
	if l.closed {
		l.mu.Unlock()
		return l.waitClosed(ticket)
	}
	c := l.join(ticket)
	l.mu.Unlock()
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
	}
}

// join returns the commit that holds the ticket. The writer is woken by the first
// that waits and by the last that it expects. The caller holds mu.
func (l *Log) join(ticket uint64) *commit {
	if l.writing != nil && ticket <= l.writing.upto {
		l.writing.waiters++
		return l.writing
	}
	c := l.filling
	c.waiters++
	if c.waiters == 1 || c.waiters == l.expected {
		l.kick()
	}
	return c
}

// waitClosed waits for the writer's last write.
func (l *Log) waitClosed(ticket uint64) error {
	<-l.done
	l.mu.Lock()
	defer l.mu.Unlock()
	if ticket <= l.durable {
		return nil
	}
	return fmt.Errorf("%w: closed", ErrUnavailable)
}

func (l *Log) kick() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// write is the writer goroutine.
func (l *Log) write() {
	defer close(l.done)
	for {
		select {
		case <-l.wake:
			l.gather()
		case <-l.quit:
			l.flush()
			return
		}
		if l.flush() == nil {
			continue
		}
		time.AfterFunc(retryDelay, l.kick)
		select {
		case <-time.After(failPause):
		case <-l.quit:
			l.flush()
			return
		}
	}
}

// gather waits until all operations wait that did so for the last commit or when
// it ended, but not for long: a sync costs the same for one as for many, and those
// just answered are likely to come again. One alone is not kept waiting.
func (l *Log) gather() {
	if l.complete() {
		return
	}
	l.patience.Reset(l.window())
	defer l.patience.Stop()
	for {
		select {
		case <-l.wake:
			if l.complete() {
				return
			}
		case <-l.patience.C:
			return
		case <-l.quit:
			return
		}
	}
}

// complete reports whether nobody else is expected to join the next commit.
func (l *Log) complete() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.filling.waiters
	return n == 0 || n >= l.expected || l.lastErr != nil
}

// window is how long to wait for company. Each operation that is expected is worth
// a part of what a sync of its own would take.
func (l *Log) window() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return min(l.took*time.Duration(l.expected)/4, maxGather)
}

// flush writes everything that is enqueued with one fdatasync. What a write
// refuses stays in l.out, already chained, and goes before all else next time.
func (l *Log) flush() error {
	l.mu.Lock()
	c := l.filling
	bodies := l.pending
	if len(bodies) == 0 && l.retained == 0 {
		l.mu.Unlock()
		return nil
	}
	l.pending, l.spare = l.spare[:0], nil
	l.retained += len(bodies)
	l.filling = newCommit()
	l.writing = c
	c.upto = l.enqueued
	l.mu.Unlock()

	first := l.chain.next - l.chain.held
	l.chainLines(bodies)
	watchdog := l.watch(c)
	began := time.Now()
	err := l.files.append(l.out, first)
	l.took = time.Since(began)
	watchdog.Stop()
	if err != nil {
		err = unavailable(err)
	}
	l.finish(c, bodies, err)
	return err
}

// chainLines gives each body its sequence number and the hash of the line
// before it.
func (l *Log) chainLines(bodies []byte) {
	for len(bodies) > 0 {
		n := bytes.IndexByte(bodies, '\n') + 1
		l.out = l.chain.appendLine(l.out, bodies[:n])
		bodies = bodies[n:]
	}
}

func (l *Log) finish(c *commit, bodies []byte, err error) {
	l.mu.Lock()
	failed := l.lastErr != nil
	l.lastErr = err
	l.writing = nil
	l.expected = c.waiters + l.filling.waiters
	if err == nil {
		l.durable = c.upto
		l.retained = 0
		l.out = reuse(l.out)
		l.chain.held = 0
		l.tail = l.files.tail()
	} else {
		l.retained = len(l.out)
	}
	l.spare = reuse(bodies)
	c.finish(err)
	l.mu.Unlock()

	switch {
	case err != nil && !failed:
		l.log.Error("audit log cannot be written: refusing answers", "err", err)
	case err == nil && failed:
		l.log.Info("audit log can be written again")
	}
	if err == nil && l.export != nil {
		l.export.kick()
	}
}

func reuse(b []byte) []byte {
	if cap(b) > keepBuffer {
		return nil
	}
	return b[:0]
}

var errStalled = errors.New("the disk does not answer")

// watch fails the waiters of c, and of the commit after it, while a write
// hangs. The records themselves may still reach the disk.
func (l *Log) watch(c *commit) *time.Timer {
	var t *time.Timer
	armed := make(chan struct{})
	t = time.AfterFunc(stallLimit, func() {
		<-armed
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.writing != c {
			return
		}
		l.lastErr = unavailable(errStalled)
		c.finish(l.lastErr)
		l.filling.finish(l.lastErr)
		l.filling = newCommit()
		t.Reset(stallLimit)
	})
	close(armed)
	return t
}
