// SPDX-License-Identifier: Apache-2.0

package datakey

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sidekey/sidekey/keysvc/locked"
)

// keyID identifies a data key by wrapped key and encryption context.
type keyID [sha256.Size]byte

// String is short enough for records and long enough to tell data keys apart.
func (id keyID) String() string { return hex.EncodeToString(id[:8]) }

func idOf(ref Ref) keyID {
	b := make([]byte, 0, 256)
	b = appendField(b, string(ref.Wrapped))
	b = appendContext(b, ref.Context)
	return sha256.Sum256(b)
}

func appendContext(b []byte, context map[string]string) []byte {
	for _, k := range slices.Sorted(maps.Keys(context)) {
		b = appendField(appendField(b, k), context[k])
	}
	return b
}

func appendField(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

// holder is a part of the cache that keeps an entry alive between uses.
type holder int

const (
	heldGrace holder = iota // by its loader, until everyone who waited has taken it
	heldIndex
	heldScope
	holders
)

// entry is one data key in memory: used by reference, and zeroed with the last.
type entry struct {
	id     keyID
	ref    Ref           // KeyARN is the key service's
	ages   time.Duration // when no use goes on, as time since the cache began
	retire time.Duration // when no use starts, a little earlier
	serial uint64

	lease    atomic.Int64 // end of the lease, as time since the cache began
	half     atomic.Int64 // a use past this renews
	uses     atomic.Uint64
	bytes    atomic.Uint64
	renewing atomic.Bool
	dead     atomic.Bool // no use may start
	refused  atomic.Bool // uses that have started stop, too

	mu     sync.Mutex
	refs   int            // guarded by mu
	held   [holders]bool  // guarded by mu; each is one of refs
	onEnd  []func()       // guarded by mu
	slot   *locked.Secret // wiped under mu, at refs 0 only
	secret []byte         // its bytes; written under mu, at refs 0 only
	expiry *time.Timer    // guarded by mu
	gone   func(*entry)   // called once the secret is zeroed
}

// acquire takes a reference, unless the entry is dead or gone.
func (e *entry) acquire() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.refs == 0 || e.dead.Load() {
		return false
	}
	e.refs++
	return true
}

// release gives a reference back.
func (e *entry) release() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.releaseLocked()
}

func (e *entry) releaseLocked() {
	e.refs--
	if e.refs > 0 {
		return
	}
	e.dead.Store(true)
	if e.expiry != nil {
		e.expiry.Stop()
	}
	e.slot.Wipe()
	e.secret = nil
	e.gone(e)
}

// hold takes a reference for a holder. It is idempotent.
func (e *entry) hold(h holder) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.refs == 0 || e.dead.Load() {
		return false
	}
	if !e.held[h] {
		e.held[h] = true
		e.refs++
	}
	return true
}

// drop gives a holder's reference back. It is idempotent.
func (e *entry) drop(h holder) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dropLocked(h)
}

func (e *entry) dropLocked(h holder) {
	if e.held[h] {
		e.held[h] = false
		e.releaseLocked()
	}
}

// pin takes a reference that lasts until the entry ends, and has f called then.
func (e *entry) pin(f func()) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.refs == 0 || e.dead.Load() {
		return false
	}
	e.refs++
	e.onEnd = append(e.onEnd, func() { f(); e.refs-- })
	return true
}

// refuse ends the entry and has uses that were acquired stop.
func (e *entry) refuse() {
	e.refused.Store(true)
	e.end()
}

// end lets no new use start and takes the entry from all who hold it. The
// secret is zeroed now, or when the last use that has started is over. What was
// derived from it may serve until its lease ends.
func (e *entry) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.refs == 0 {
		return
	}
	e.dead.Store(true)
	e.refs++ // so that the secret goes last
	for h := range holders {
		e.dropLocked(h)
	}
	e.endLocked()
	e.releaseLocked()
}

// endLocked tells those who pinned the entry. The caller holds mu.
func (e *entry) endLocked() {
	for _, f := range e.onEnd {
		f()
	}
	e.onEnd = nil
}

// same compares a renewed secret with the one held.
func (e *entry) same(secret []byte) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.secret != nil && subtle.ConstantTimeCompare(e.secret, secret) == 1
}

// status is what the bounds say about a use now.
type status int

const (
	fresh   status = iota // may be used
	ageing                // may be used; renew in the background
	expired               // the lease is over: renew first
	spent                 // age, uses or bytes are over: rotate or load anew
)

func (e *entry) status(now time.Duration, cfg *Config) status {
	switch {
	case e.dead.Load() || now >= e.retire || e.uses.Load() >= cfg.MaxUses || e.bytes.Load() >= cfg.MaxBytes:
		return spent
	case int64(now) >= e.lease.Load():
		return expired
	case int64(now) >= e.half.Load():
		return ageing
	}
	return fresh
}

// leased says that the lease, which never outlasts the age, has not ended.
func (e *entry) leased(now time.Duration) bool {
	return !e.refused.Load() && int64(now) < e.lease.Load()
}

// renewed starts a new lease, counted from before the key service was asked.
func (e *entry) renewed(asked time.Duration, cfg *Config) {
	e.half.Store(int64(asked + cfg.Lease/2))
	e.lease.Store(int64(min(asked+cfg.Lease, e.ages)))
}
