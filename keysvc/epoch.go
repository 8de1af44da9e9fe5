// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"crypto/rand"
	"sync"
	"time"

	"github.com/google/uuid"
)

// An epoch selects the subkey that a backing key encrypts with: see BLOB.md
// "Derivation" [B4]. Each process draws 16 random bytes for each backing key it
// encrypts with, and draws anew after epochMessages messages or epochAge.
//
// Why GCM's random nonces stay safe far past 2^32 messages under one backing
// key: within an epoch there are at most q = 2^20 messages, so two share a
// 96-bit nonce with probability below q²/2^97 = 2^-57. N messages make
// E = N/2^20 full epochs, and epochs that end early have fewer messages and
// only lower the sum; the probability over all epochs is below E·2^-57. Two
// epochs share a subkey, and so count as one of twice the size, only if they
// agree in the 127 bits that the derivation uses: probability below E²/2^128,
// and even then a nonce must collide too. The bound of 2^-32 that NIST SP
// 800-38D asks of random nonces is reached at E = 2^25 epochs, N = 2^45
// messages, where a single key would have stopped at 2^32. The nonces are
// random, not counted, so that a restored snapshot of a machine that runs on
// in the same epoch does not repeat them.
const (
	epochMessages = 1 << 20
	epochAge      = time.Hour

	// maxEpochs bounds the memory of epochs in use; all are then drawn anew,
	// which is always safe.
	maxEpochs = 1 << 16
)

type epochKey struct {
	id      uuid.UUID
	version uint32
}

type epoch struct {
	salt [epochSize]byte
	left int
	born time.Time
}

type epochs struct {
	now func() time.Time

	mu  sync.Mutex // guards all
	all map[epochKey]*epoch
}

func newEpochs(now func() time.Time) *epochs {
	return &epochs{now: now, all: map[epochKey]*epoch{}}
}

// take returns the epoch for one more message under a backing key.
func (e *epochs) take(id uuid.UUID, version uint32) [epochSize]byte {
	key, now := epochKey{id, version}, e.now()
	e.mu.Lock()
	defer e.mu.Unlock()
	current := e.all[key]
	if current == nil || current.left == 0 || now.Sub(current.born) >= epochAge {
		if len(e.all) >= maxEpochs {
			clear(e.all)
		}
		current = &epoch{left: epochMessages, born: now}
		rand.Read(current.salt[:])
		e.all[key] = current
	}
	current.left--
	return current.salt
}

// forget drops the epochs of all versions of a key.
func (e *epochs) forget(id uuid.UUID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for key := range e.all {
		if key.id == id {
			delete(e.all, key)
		}
	}
}
