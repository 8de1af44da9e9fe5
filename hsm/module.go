// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/miekg/pkcs11"
)

// loaded is the one piece of package state. PKCS#11 has exactly one
// C_Initialize, one login state and one space of handles per process and
// module, however many users the module has in the process; so its users must
// find each other, and a process-wide register is the only place to meet.
var loaded = struct {
	sync.Mutex
	byPath map[string]*module // guarded by Mutex
}{byPath: map[string]*module{}}

// module is one shared library, loaded for the life of the process.
type module struct {
	path string
	p11  *pkcs11.Ctx
	gate gate
	hung atomic.Int64 // abandoned calls that are still in the module

	// All are guarded by loaded.Mutex.
	users  int
	tokens map[*Token]bool // of the users, those that are Tokens
	owned  bool            // our C_Initialize was the one that counted
}

// loadModule begins one use, of a Token or nil.
func loadModule(path string, t *Token) (*module, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, fmt.Errorf("%w: finding %s: %w", ErrModule, path, err)
	}
	loaded.Lock()
	defer loaded.Unlock()
	m := loaded.byPath[real]
	if m == nil {
		if st, err := os.Stat(real); err != nil || !st.Mode().IsRegular() {
			return nil, fmt.Errorf("%w: %s is not a file", ErrModule, path)
		}
		p11 := pkcs11.New(real)
		if p11 == nil {
			return nil, fmt.Errorf("%w: %s cannot be loaded as a PKCS#11 library (wrong architecture, missing dependency, or no C_GetFunctionList)", ErrModule, path)
		}
		m = &module{path: path, p11: p11, tokens: map[*Token]bool{}}
		loaded.byPath[real] = m
	}
	m.users++
	if t != nil {
		m.tokens[t] = true
	}
	return m, nil
}

// release ends one use. The library stays loaded: dlclose under a library with
// threads of its own crashes. The last user finalizes it if we initialized it
// and no abandoned call is still inside, be it of a user of before.
func (m *module) release(ctx context.Context, t *Token, hung bool) error {
	loaded.Lock()
	defer loaded.Unlock()
	m.users--
	delete(m.tokens, t)
	if m.users > 0 || !m.owned || hung || m.hung.Load() > 0 {
		return nil
	}
	return m.gate.exclusive(ctx, func() error {
		m.owned = false
		if err := m.p11.Finalize(); err != nil && !isCode(err, pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED) {
			return fmt.Errorf("finalizing %s: %w", m.path, err)
		}
		return nil
	})
}

// ensure initializes the module if it is not, and returns the epoch of handles.
func (m *module) ensure(ctx context.Context) (uint64, error) {
	epoch, err := m.gate.enter(ctx)
	if err != nil {
		return 0, err
	}
	_, err = m.p11.GetInfo()
	m.gate.leave()
	if !isCode(err, pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED) {
		return epoch, err
	}
	loaded.Lock()
	defer loaded.Unlock()
	err = m.gate.exclusive(ctx, m.initialize)
	if err != nil {
		return 0, err
	}
	return m.gate.current(), nil
}

// initialize is called with the gate closed and loaded locked.
func (m *module) initialize() error {
	switch err := m.p11.Initialize(); {
	case err == nil:
		m.owned = true
		m.gate.epoch++
		return nil
	case isCode(err, pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED):
		return nil
	default:
		return fmt.Errorf("%w: initializing %s: %w", ErrModule, m.path, err)
	}
}

// restart finalizes and initializes a module whose tokens are all away: SoftHSM,
// and client libraries of network HSMs, do not find a token again without it
// once they have seen it missing. What hangs is asked again once no call is inside
// that somebody waits for: a call that overran meanwhile has left the gate and is
// still in the module, and finalizing a module under a call crashes it.
func (m *module) restart(ctx context.Context) error {
	for _, t := range m.sharers() {
		if !t.away(ctx) {
			return nil
		}
	}
	loaded.Lock()
	defer loaded.Unlock()
	if m.users != len(m.tokens) || !m.owned {
		return nil
	}
	return m.gate.exclusive(ctx, func() error {
		if m.hung.Load() > 0 || m.inUse() {
			return nil
		}
		if err := m.p11.Finalize(); err != nil && !isCode(err, pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED) {
			return fmt.Errorf("%w: finalizing %s: %w", ErrModule, m.path, err)
		}
		return m.initialize()
	})
}

func (m *module) sharers() []*Token {
	loaded.Lock()
	defer loaded.Unlock()
	return slices.Collect(maps.Keys(m.tokens))
}

// inUse is called with loaded locked.
func (m *module) inUse() bool {
	for t := range m.tokens {
		if t.live() != nil {
			return true
		}
	}
	return false
}

// gate keeps calls into a module apart from its C_Initialize and C_Finalize.
// After C_Initialize a module counts handles from the start again, so an old
// handle may name a new session or key: a call says which epoch its handles
// are of, and is refused in another. Calls that were abandoned do not count as
// inside; they make no further call.
type gate struct {
	mu     sync.Mutex
	epoch  uint64        // guarded by mu, and by being exclusive
	inside int           // guarded by mu
	shut   chan struct{} // guarded by mu; not nil while exclusive; closed at its end
	empty  chan struct{} // guarded by mu; closed when the last call leaves a shut gate
}

// enter waits while the gate is shut and returns the present epoch.
func (g *gate) enter(ctx context.Context) (uint64, error) {
	for {
		g.mu.Lock()
		shut := g.shut
		if shut == nil {
			g.inside++
			epoch := g.epoch
			g.mu.Unlock()
			return epoch, nil
		}
		g.mu.Unlock()
		select {
		case <-shut:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// enterAt enters for a call with handles of the given epoch.
func (g *gate) enterAt(ctx context.Context, epoch uint64) error {
	now, err := g.enter(ctx)
	if err != nil {
		return err
	}
	if now != epoch {
		g.leave()
		return pkcs11.Error(pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED)
	}
	return nil
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if g.inside == 0 && g.empty != nil {
		close(g.empty)
		g.empty = nil
	}
}

func (g *gate) current() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.epoch
}

// exclusive shuts the gate, waits until the calls inside have left, runs f and
// opens the gate. Callers are serialized by loaded.Mutex.
func (g *gate) exclusive(ctx context.Context, f func() error) error {
	g.mu.Lock()
	shut := make(chan struct{})
	g.shut = shut
	empty := make(chan struct{})
	if g.inside == 0 {
		close(empty)
	} else {
		g.empty = empty
	}
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		g.shut, g.empty = nil, nil
		g.mu.Unlock()
		close(shut)
	}()
	select {
	case <-empty:
		return f()
	case <-ctx.Done():
		return fmt.Errorf("waiting for calls in the module to end: %w", ctx.Err())
	}
}
