// SPDX-License-Identifier: Apache-2.0

// Package locked keeps secrets outside the Go heap: in anonymous mappings that
// are locked (not swapped), left out of core dumps and of child processes, and
// that lie between guard pages. A secret is zeroed when it is wiped.
//
// Locked memory is scarce: a container has commonly 64 KiB of RLIMIT_MEMLOCK.
// The arena therefore begins with a page for each size of secret that is in use,
// and when it is refused more it first gives back what stands empty.
package locked

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
)

// MaxSize is the longest secret, in bytes.
const MaxSize = 8 << 10

// maxMapped bounds what one arena maps, guard pages not counted.
const maxMapped = 16 << 20

// Errors of Put.
var (
	ErrClosed    = errors.New("the arena of secrets is closed")
	ErrFull      = fmt.Errorf("the arena of secrets holds %d MiB", maxMapped>>20)
	ErrSize      = fmt.Errorf("a secret has 1 to %d bytes", MaxSize)
	ErrNotLocked = errors.New("memory for secrets cannot be locked; raise RLIMIT_MEMLOCK")
)

// Arena is safe for concurrent use.
type Arena struct {
	log    *slog.Logger
	strict bool

	mu     sync.Mutex
	sizes  [sizeClasses]class // guarded by mu
	mapped int                // bytes; guarded by mu
	live   int                // secrets; guarded by mu
	closed bool               // guarded by mu
	spoilt bool               // some memory was refused its protection; guarded by mu
}

// New returns an arena that does what the system allows: where memory cannot be
// locked it warns once and goes on. log may be nil.
func New(log *slog.Logger) *Arena { return &Arena{log: log} }

// NewStrict returns an arena whose Put fails with ErrNotLocked rather than have
// a secret in memory that may be swapped or dumped.
func NewStrict() *Arena { return &Arena{strict: true} }

// Secret is bytes in an arena. Its methods may be called concurrently; that
// nobody reads the bytes any more when they are wiped is for the owner to see to.
type Secret struct {
	arena *Arena
	class *class
	block *block
	at    int    // offset in block.mapping
	bytes []byte // guarded by arena.mu; nil once wiped
}

// Put copies a secret into the arena. It clears the original, also when it fails.
func (a *Arena) Put(secret []byte) (*Secret, error) {
	defer clear(secret)
	if len(secret) == 0 || len(secret) > MaxSize {
		return nil, ErrSize
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, ErrClosed
	}
	c := a.classFor(len(secret))
	b, err := a.blockWithRoom(c)
	if err != nil {
		return nil, err
	}
	at := c.take(b)
	slot := b.mapping[at : at+len(secret) : at+len(secret)]
	copy(slot, secret)
	a.live++
	return &Secret{arena: a, class: c, block: b, at: at, bytes: slot}, nil
}

// Bytes is the secret itself, and no copy: it is valid until Wipe. It is nil
// afterwards.
func (s *Secret) Bytes() []byte {
	s.arena.mu.Lock()
	defer s.arena.mu.Unlock()
	return s.bytes
}

// Wipe zeroes the secret and gives its place back. It is idempotent.
func (s *Secret) Wipe() {
	a := s.arena
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.bytes == nil {
		return
	}
	s.class.giveBack(s.block, s.at)
	s.bytes = nil
	a.live--
	if a.closed && a.live == 0 {
		a.unmap()
	}
}

// Close lets no new secret in. The memory goes with the last secret in use.
func (a *Arena) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed && a.live == 0 {
		a.unmap()
	}
	a.closed = true
}

// Locked reports whether all secrets so far were in locked memory that is not
// dumped. If there was none yet, it tries.
func (a *Arena) Locked() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mapped == 0 && !a.closed {
		if _, err := a.blockWithRoom(a.classFor(1)); err != nil {
			return false
		}
	}
	return !a.spoilt
}
