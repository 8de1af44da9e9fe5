// SPDX-License-Identifier: Apache-2.0

package datakey

import (
	"context"
	"sync/atomic"
)

// Pin keeps what was derived from one data key, for uses that come too often to
// derive it each time. It is safe for concurrent use. The value is dropped when
// the data key ends, and given out only while the data key may be used.
type Pin[T any] struct {
	cache  *Cache
	ref    Ref
	derive func(secret []byte) (*T, error)
	held   atomic.Pointer[pinned[T]]
}

type pinned[T any] struct {
	e     *entry
	use   Use
	value *T
}

// NewPin returns a pin of a wrapped data key. Nothing is opened before Acquire.
func NewPin[T any](c *Cache, ref Ref, derive func(secret []byte) (*T, error)) *Pin[T] {
	return &Pin[T]{cache: c, ref: ref, derive: derive}
}

// Pinned is a derived value and the right to use it for a moment.
type Pinned[T any] struct {
	Value *T
	Use   Use
	e     *entry
	cache *Cache
}

// Valid says that the use that was acquired may go on: the data key was not
// refused and its lease has not ended. It costs a look at the clock.
func (p Pinned[T]) Valid() bool { return p.e.leased(p.cache.now()) }

// Acquire counts one use of the data key and returns the derived value.
func (p *Pin[T]) Acquire(ctx context.Context) (Pinned[T], error) {
	for range attempts {
		h := p.held.Load()
		if h == nil {
			return p.load(ctx)
		}
		state := Hit
		switch h.e.status(p.cache.now(), &p.cache.cfg) {
		case ageing:
			p.cache.renewLater(ctx, h.e)
		case expired:
			state = Renew
			if err := p.cache.renew(ctx, h.e); err != nil {
				return Pinned[T]{}, err
			}
		case spent:
			h.e.end() // clears held
			p.held.CompareAndSwap(h, nil)
			continue
		}
		h.e.uses.Add(1)
		got := p.pinned(h)
		got.Use.State = state
		if state == Renew && !got.Valid() {
			continue
		}
		return got, nil
	}
	return Pinned[T]{}, errTooShort
}

func (p *Pin[T]) pinned(h *pinned[T]) Pinned[T] {
	return Pinned[T]{Value: h.value, Use: h.use, e: h.e, cache: p.cache}
}

// load opens the data key and pins it.
func (p *Pin[T]) load(ctx context.Context) (Pinned[T], error) {
	for range attempts {
		e, state, err := p.cache.opened(ctx, p.ref)
		if err != nil {
			return Pinned[T]{}, err
		}
		h := &pinned[T]{e: e}
		_, err = p.cache.use(e, state, 0, func(use Use, secret []byte) error {
			value, err := p.derive(secret)
			if err != nil {
				return err
			}
			h.value, h.use = value, use
			p.held.Store(h)
			if !e.pin(func() { p.held.CompareAndSwap(h, nil) }) {
				p.held.CompareAndSwap(h, nil)
			}
			return nil
		})
		if err != nil {
			return Pinned[T]{}, err
		}
		if got := p.pinned(h); got.Valid() {
			return got, nil
		}
	}
	return Pinned[T]{}, errTooShort
}
