// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/sidekey/sidekey/dbproxy/plan"
)

// Codecs for tests.
var (
	EncodeValue = encodeValue
	PlainForm   = plainForm
	PlanType    = planType
)

// DecodeValue reads a value as in a session with a server of a major version.
func DecodeValue(t plan.Type, oid uint32, format int16, data []byte, zone *time.Location, version int) ([]byte, error) {
	return decodeValue(t, oid, format, data, locale{zone, version})
}

// FormFor likewise makes the plaintext of a ciphertext.
func FormFor(use plan.Use, r *plan.Rule, oid uint32, format int16, data []byte, zone *time.Location, version int) ([]byte, error) {
	return formFor(use, r, oid, format, data, locale{zone, version})
}

// CopyThrough gives what COPY's data becomes that arrives in pieces, with every
// protected value replaced by what change appends.
func CopyThrough(opt *plan.Copy, pieces [][]byte, change func(dst []byte, r *plan.Rule, value []byte) ([]byte, error)) (out []byte, message string) {
	c := copyCodec{opt: opt, lines: copyLines{opt: opt, raw: !opt.From}, change: change}
	step := func(eof bool) (done bool) {
		for more := true; more; {
			var err error
			if out, more, err = c.next(out, eof); err != nil {
				e := asPgError(err)
				message = e.Code + " " + e.Message + " " + e.Where
				return true
			}
		}
		return false
	}
	for _, p := range pieces {
		c.feed(p)
		if step(false) {
			return out, message
		}
	}
	step(true)
	return out, message
}

// Observe has f told of the steps of a migration.
func (m *Migrator) Observe(f func(string)) { m.step = f }

// Hasten shortens the waits of a migration.
func (m *Migrator) Hasten(settle, pause time.Duration) { m.settle, m.pause = settle, pause }

// Preparing gives what plans texts in a session that has no connection: with
// its search_path known, it needs none.
func Preparing(ctx context.Context, p *Proxy, database string) (func(sql string) error, error) {
	s := &session{proxy: p, db: p.database(database), ctx: ctx, status: 'I'}
	s.settings = settings{isoDates: true, plainIntervals: true, conforming: true, utf8: true}
	snap, err := s.db.load(ctx)
	if err != nil {
		return nil, err
	}
	s.catalog.Store(snap)
	s.path = plan.NewPath("public", []string{"pg_catalog", "public"})
	return func(sql string) error {
		_, err := s.prepare(sql)
		return err
	}, nil
}

// MessagesHeld is how much of large messages all sessions hold: of what clients sent,
// and of what servers did.
func (p *Proxy) MessagesHeld() (clients, servers int64) {
	held := func(b *budget) int64 {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.held
	}
	return held(p.clientMessages), held(p.serverMessages)
}

// Waiting is how many budgets somebody waits for.
func (p *Proxy) Waiting() (n int) {
	for _, b := range []*budget{p.clientMessages, p.serverMessages} {
		b.mu.Lock()
		if b.freed != nil {
			n++
		}
		b.mu.Unlock()
	}
	return n
}

// Grace is how long sessions may have such room that others wait for, without getting on.
func (p *Proxy) Grace(d time.Duration) { p.clientMessages.grace, p.serverMessages.grace = d, d }

// Patience is how long sessions wait for room for a large message.
func (p *Proxy) Patience(d time.Duration) { p.clientMessages.wait, p.serverMessages.wait = d, d }

// Clients is how many clients there are: those that log in, those that have, and
// those with keys for requests to cancel.
func (p *Proxy) Clients() (starting, sessions, keys int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return int(p.starting.Load()), len(p.sessions), len(p.cancels)
}

// buffersMade counts the buffers that nobody has forgotten yet.
var buffersMade = func() *atomic.Int64 {
	n := new(atomic.Int64)
	buffers.New = func() any {
		n.Add(1)
		b := new(buffer)
		runtime.AddCleanup(b, func(n *atomic.Int64) { n.Add(-1) }, n)
		return b
	}
	return n
}()

// BuffersInUse is how many buffers connections hold. Those of which nobody holds a
// pointer go away.
func BuffersInUse() int64 {
	for range 3 { // the pool keeps them for two collections
		runtime.GC()
	}
	return buffersMade.Load()
}
