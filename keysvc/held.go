// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/sidekey/sidekey/keysvc/locked"
	"github.com/sidekey/sidekey/keysvc/store"
)

const (
	// heldAge bounds for how long opened key material stays in memory.
	heldAge = 5 * time.Minute
	// maxHeld bounds how much of it there is.
	maxHeld = 8192
)

// held is the opened material of keys with protection memory: in locked
// memory, for a bounded time, and gone when the key may not be used any more.
type held struct {
	arena *locked.Arena

	mu  sync.Mutex
	all map[heldName]*heldKey // guarded by mu
}

type heldName struct {
	store.Ref
	version uint32
}

// A heldKey is wiped when it was dropped and nobody uses it any more.
type heldKey struct {
	secret *locked.Secret
	born   time.Time
	users  int  // guarded by held.mu
	gone   bool // guarded by held.mu
}

func newHeld() *held {
	return &held{arena: locked.NewStrict(), all: map[heldName]*heldKey{}}
}

// use calls do with the material, which it loads if it is not there. load's
// result is cleared.
func (h *held) use(name heldName, load func() ([]byte, error), do func(material []byte) error) error {
	k := h.find(name)
	if k == nil {
		secret, err := h.put(load)
		if err != nil {
			return err
		}
		k = h.add(name, secret)
	}
	defer h.release(k)
	return do(k.secret.Bytes())
}

// put brings material into locked memory. If there is no room it drops all
// that nobody uses and tries once more.
func (h *held) put(load func() ([]byte, error)) (*locked.Secret, error) {
	for full := false; ; full = true {
		material, err := load()
		if err != nil {
			return nil, err
		}
		secret, err := h.arena.Put(material)
		if err == nil || full {
			return secret, err
		}
		h.forget(uuid.Nil)
	}
}

func (h *held) find(name heldName) *heldKey {
	h.mu.Lock()
	defer h.mu.Unlock()
	k := h.all[name]
	if k == nil || time.Since(k.born) >= heldAge {
		return nil
	}
	k.users++
	return k
}

func (h *held) add(name heldName, secret *locked.Secret) *heldKey {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drop(name)
	for other := range h.all {
		if len(h.all) < maxHeld {
			break
		}
		h.drop(other)
	}
	k := &heldKey{secret: secret, born: time.Now(), users: 1}
	h.all[name] = k
	return k
}

func (h *held) release(k *heldKey) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if k.users--; k.users == 0 && k.gone {
		k.secret.Wipe()
	}
}

// drop takes a key out. The caller holds mu.
func (h *held) drop(name heldName) {
	k := h.all[name]
	if k == nil {
		return
	}
	delete(h.all, name)
	if k.gone = true; k.users == 0 {
		k.secret.Wipe()
	}
}

// forget drops all versions of a key, or of all keys if id is uuid.Nil.
func (h *held) forget(id uuid.UUID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name := range h.all {
		if name.ID == id || id == uuid.Nil {
			h.drop(name)
		}
	}
}

// refs are the keys of which there is material.
func (h *held) refs() []store.Ref {
	h.mu.Lock()
	defer h.mu.Unlock()
	refs := make([]store.Ref, 0, len(h.all))
	for name := range h.all {
		refs = append(refs, name.Ref)
	}
	return refs
}

// expire drops what is too old.
func (h *held) expire() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, k := range h.all {
		if time.Since(k.born) >= heldAge {
			h.drop(name)
		}
	}
}

// close drops everything and lets nothing in.
func (h *held) close() {
	h.forget(uuid.Nil)
	h.arena.Close()
}
