// SPDX-License-Identifier: Apache-2.0

package datakey

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/ristretto/v2"
	"golang.org/x/sync/singleflight"

	"github.com/sidekey/sidekey/keysvc/locked"
)

// graceTime is how long a data key that was just loaded stays for those who
// waited for it, whatever the index decides.
const graceTime = time.Second

// attempts bounds how often a use starts again because its data key ended
// between being found and being used.
const attempts = 4

// Cache keeps data keys for a bounded time. It is safe for concurrent use.
type Cache struct {
	cfg    Config
	source source
	log    *slog.Logger
	base   time.Time // monotonic; leases are durations since then
	arena  *locked.Arena
	index  *ristretto.Cache[uint64, *entry]
	loads  singleflight.Group
	serial atomic.Uint64 // of the last entry

	closing sync.RWMutex // held to read the index, which must not be read while it closes

	mu     sync.Mutex
	scopes map[string]*entry   // the data key each scope seals with; guarded by mu
	live   map[*entry]struct{} // not yet zeroed; guarded by mu
	closed bool                // guarded by mu
}

// NewCache returns a cache over a key service.
func NewCache(cfg Config, kms KMS, log *slog.Logger) (*Cache, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	c := &Cache{
		cfg:    cfg.withDefaults(),
		source: source{kms},
		log:    log,
		base:   time.Now(),
		arena:  locked.New(log),
		scopes: map[string]*entry{},
		live:   map[*entry]struct{}{},
	}
	index, err := ristretto.NewCache(&ristretto.Config[uint64, *entry]{
		NumCounters:        int64(10 * c.cfg.MaxKeys),
		MaxCost:            int64(c.cfg.MaxKeys),
		BufferItems:        64,
		IgnoreInternalCost: true,
		OnExit: func(e *entry) {
			if e != nil {
				e.drop(heldIndex)
			}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("making the index of data keys: %w", err)
	}
	c.index = index
	return c, nil
}

// Close zeroes every data key; one that is in use, when that use ends. Uses
// that start afterwards fail.
func (c *Cache) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	var all []*entry
	for e := range c.live {
		all = append(all, e)
	}
	c.mu.Unlock()
	for _, e := range all {
		e.refuse()
	}
	c.closing.Lock()
	c.index.Close()
	c.closing.Unlock()
	c.arena.Close()
	return nil
}

// Open has derive called with the secret of a wrapped data key, which is valid
// until derive returns. The use is not counted when derive fails. Errors are
// those of derive or an *Error.
func (c *Cache) Open(ctx context.Context, ref Ref, derive func(use Use, secret []byte) error) (Use, error) {
	e, state, err := c.opened(ctx, ref)
	if err != nil {
		return Use{}, err
	}
	return c.use(e, state, 0, derive)
}

// Seal has derive called with the current data key of a scope, to seal size
// bytes with it; -1 is an unknown number and counts as none.
func (c *Cache) Seal(ctx context.Context, scope Scope, size int64, derive func(use Use, secret []byte) error) (Use, error) {
	e, state, err := c.current(ctx, scope)
	if err != nil {
		return Use{}, err
	}
	return c.use(e, state, size, derive)
}

// Generate returns a new data key in its wrapped form. It stays in the cache.
func (c *Cache) Generate(ctx context.Context, scope Scope) (Ref, error) {
	e, err := c.generate(ctx, scope)
	if err != nil {
		return Ref{}, err
	}
	return e.ref, nil
}

// use consumes the caller's reference.
func (c *Cache) use(e *entry, state string, size int64, derive func(Use, []byte) error) (Use, error) {
	defer e.release()
	use := Use{ID: e.id.String(), KeyARN: e.ref.KeyARN, Wrapped: e.ref.Wrapped, State: state}
	if err := derive(use, e.secret); err != nil {
		return Use{}, err
	}
	e.uses.Add(1)
	if size > 0 {
		e.bytes.Add(uint64(size))
	}
	return use, nil
}

func (c *Cache) now() time.Duration { return time.Since(c.base) }

// opened returns an entry that may be used, with a reference for the caller.
func (c *Cache) opened(ctx context.Context, ref Ref) (*entry, string, error) {
	id := idOf(ref)
	state := Hit
	for range attempts {
		e := c.find(id)
		if e == nil {
			var err error
			if e, err = c.load(ctx, id, ref); err != nil {
				return nil, "", err
			}
			state = Miss
		}
		ok, renewed, err := c.ready(ctx, e)
		if err != nil {
			return nil, "", err
		}
		if renewed && state == Hit {
			state = Renew
		}
		if ok {
			return e, state, nil
		}
	}
	return nil, "", errTooShort
}

var errTooShort = &Error{Kind: Unavailable, Message: "data keys end faster than they can be used"}

// current is opened for the data key a scope seals with.
func (c *Cache) current(ctx context.Context, scope Scope) (*entry, string, error) {
	name := scope.name()
	state := Hit
	for range attempts {
		e := c.scoped(name)
		if e == nil {
			var err error
			if e, err = c.generate(ctx, scope); err != nil {
				return nil, "", err
			}
			state = Miss
			if !e.acquire() {
				continue
			}
		}
		ok, renewed, err := c.ready(ctx, e)
		if revokes(err) {
			continue // the data key is gone; a new one decides whether the key is
		}
		if err != nil {
			return nil, "", err
		}
		if renewed && state == Hit {
			state = Renew
		}
		if ok {
			return e, state, nil
		}
	}
	return nil, "", errTooShort
}

// ready checks an entry before a use. It keeps the caller's reference only when
// ok; renewed says that the key service had to be asked.
func (c *Cache) ready(ctx context.Context, e *entry) (ok, renewed bool, err error) {
	switch e.status(c.now(), &c.cfg) {
	case fresh:
		return true, false, nil
	case ageing:
		c.renewLater(ctx, e)
		return true, false, nil
	case expired:
		if err := c.renew(ctx, e); err != nil {
			e.release()
			return false, true, err
		}
		if s := e.status(c.now(), &c.cfg); s == fresh || s == ageing {
			return true, true, nil
		}
	case spent:
		e.end()
	}
	e.release()
	return false, false, nil
}

func indexKey(id keyID) uint64 { return binary.LittleEndian.Uint64(id[:]) }

func (c *Cache) find(id keyID) *entry {
	c.closing.RLock()
	e, ok := c.index.Get(indexKey(id))
	c.closing.RUnlock()
	if !ok || e == nil || e.id != id || !e.acquire() {
		return nil
	}
	return e
}

func (c *Cache) scoped(name string) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.scopes[name]
	if e == nil || !e.acquire() {
		return nil
	}
	return e
}

// load opens a data key by a call to the key service, one at a time per key.
func (c *Cache) load(ctx context.Context, id keyID, ref Ref) (*entry, error) {
	for range attempts {
		// The ARN is the caller's claim, so that a wrong one fails nobody else.
		v, err := c.flight(ctx, "open "+string(id[:])+ref.KeyARN, func(ctx context.Context) (any, error) {
			asked := c.now()
			plaintext, arn, err := c.source.decrypt(ctx, ref)
			if err != nil {
				return nil, err
			}
			ref.KeyARN = arn
			return c.admit(id, ref, plaintext, asked)
		})
		if err != nil {
			return nil, err
		}
		if e := v.(*entry); e.acquire() {
			return e, nil
		}
	}
	return nil, errTooShort
}

// generate makes a new data key the current one of a scope. The entry comes
// without a reference for the caller.
func (c *Cache) generate(ctx context.Context, scope Scope) (*entry, error) {
	name := scope.name()
	v, err := c.flight(ctx, "seal "+name, func(ctx context.Context) (any, error) {
		asked := c.now()
		plaintext, ref, err := c.source.generate(ctx, scope)
		if err != nil {
			return nil, err
		}
		e, err := c.admit(idOf(ref), ref, plaintext, asked)
		if err != nil {
			return nil, err
		}
		c.setScope(name, e)
		return e, nil
	})
	if err != nil {
		return nil, err
	}
	return v.(*entry), nil
}

// setScope makes e the data key of a scope. Scopes are bounded, since clients
// can name encryption contexts: one too many takes the place of any other.
func (c *Cache) setScope(name string, e *entry) {
	c.mu.Lock()
	old := c.scopes[name]
	if old == nil && len(c.scopes) >= c.cfg.MaxKeys {
		for other, victim := range c.scopes {
			delete(c.scopes, other)
			old = victim
			break
		}
	}
	if e.hold(heldScope) {
		c.scopes[name] = e
	}
	c.mu.Unlock()
	if old != nil {
		old.drop(heldScope)
	}
}

// admit puts a secret into the arena and an entry for it into the index.
func (c *Cache) admit(id keyID, ref Ref, plaintext []byte, asked time.Duration) (*entry, error) {
	slot, err := c.arena.Put(plaintext)
	if err != nil {
		return nil, arenaError(err)
	}
	e := &entry{id: id, ref: ref, ages: asked + c.cfg.MaxAge, slot: slot, secret: slot.Bytes(),
		retire: asked + c.cfg.MaxAge - min(c.cfg.Lease/2, c.cfg.MaxAge/4),
		gone:   c.forget, serial: c.serial.Add(1)}
	e.renewed(asked, &c.cfg)
	e.refs, e.held[heldGrace] = 1, true
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		e.gone = func(*entry) {}
		e.end()
		return nil, &Error{Kind: Internal, Message: "the cache is closed"}
	}
	c.live[e] = struct{}{}
	// Under mu, so that Close does not close the index in between.
	if e.hold(heldIndex) && !c.index.Set(indexKey(id), e, 1) {
		e.drop(heldIndex) // a dropped Set has no callback
	}
	c.mu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.refs > 0 {
		e.expiry = time.AfterFunc(c.cfg.MaxAge-(c.now()-asked), e.end)
		time.AfterFunc(graceTime, func() { e.drop(heldGrace) })
	}
	return e, nil
}

// forget is called under the entry's lock; it must not take that of another.
func (c *Cache) forget(e *entry) {
	go func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.live, e)
	}()
}

// renew asks the key service whether a data key may still be used. When it
// refuses, the data key ends at once; when it does not answer, the data key
// stays unusable until it does.
func (c *Cache) renew(ctx context.Context, e *entry) error {
	_, err := c.flight(ctx, "renew "+strconv.FormatUint(e.serial, 36), func(ctx context.Context) (any, error) {
		asked := c.now()
		plaintext, _, err := c.source.decrypt(ctx, e.ref)
		if err != nil {
			if revokes(err) {
				e.refuse()
			}
			return nil, err
		}
		same := e.same(plaintext)
		clear(plaintext)
		if !same && !e.dead.Load() {
			e.refuse()
			return nil, &Error{Kind: Corrupt, Message: "the key service now opens another data key"}
		}
		e.renewed(asked, &c.cfg)
		return nil, nil
	})
	return err
}

// renewLater renews in the background, once at a time. A failure that is not a
// refusal is tried again after an eighth of the lease, by the next use.
func (c *Cache) renewLater(ctx context.Context, e *entry) {
	if !e.renewing.CompareAndSwap(false, true) {
		return
	}
	go func() {
		defer e.renewing.Store(false)
		if err := c.renew(context.WithoutCancel(ctx), e); err != nil {
			e.half.Store(int64(c.now() + c.cfg.Lease/8))
			if c.log != nil {
				c.log.Warn("renewing a data key", "data_key", e.id.String(), "key", e.ref.KeyARN, "error", err)
			}
		}
	}()
}

// flight runs call once for all who ask for the same thing at the same time. It
// has its own deadline: one caller that goes away does not end it for others.
func (c *Cache) flight(ctx context.Context, what string, call func(context.Context) (any, error)) (any, error) {
	done := c.loads.DoChan(what, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
		defer cancel()
		return call(ctx)
	})
	select {
	case r := <-done:
		return r.Val, r.Err
	case <-ctx.Done():
		return nil, &Error{Kind: Unavailable, Message: "waiting for the key service: " + ctx.Err().Error(), cause: ctx.Err()}
	}
}

// name is the scope as a map key.
func (s Scope) name() string {
	b := appendField(nil, s.KeyID)
	b = appendField(b, s.Purpose)
	return string(appendContext(b, s.Context))
}
