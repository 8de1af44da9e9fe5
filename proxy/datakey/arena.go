// SPDX-License-Identifier: Apache-2.0

package datakey

import (
	"fmt"
	"log/slog"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// blockSlots is how many secrets one mapping holds: 16 KiB, so that a container
// with the common 64 KiB of RLIMIT_MEMLOCK can lock several.
const (
	blockSlots = 512
	maxSlots   = 64 * blockSlots
)

// arena keeps secrets outside the Go heap: in anonymous mappings that are locked
// (not swapped), left out of core dumps and of children, between guard pages.
type arena struct {
	log *slog.Logger

	mu     sync.Mutex
	blocks [][]byte // whole mappings, guards included; guarded by mu
	free   [][]byte // zeroed slots; guarded by mu
	live   int      // slots handed out; guarded by mu
	closed bool     // guarded by mu
	warned bool     // guarded by mu
}

// put copies a secret of Size bytes into a slot and clears the original.
func (a *arena) put(secret []byte) ([]byte, error) {
	defer clear(secret)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, &Error{Kind: Internal, Message: "the cache is closed"}
	}
	if len(a.free) == 0 {
		if err := a.grow(); err != nil {
			return nil, err
		}
	}
	slot := a.free[len(a.free)-1]
	a.free = a.free[:len(a.free)-1]
	copy(slot, secret)
	a.live++
	return slot, nil
}

// wipe zeroes a slot and takes it back.
func (a *arena) wipe(slot []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(slot)
	a.free = append(a.free, slot)
	a.live--
	if a.closed && a.live == 0 {
		a.unmap()
	}
}

// close lets no new secret in. The mappings go with the last secret in use.
func (a *arena) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed && a.live == 0 {
		a.unmap()
	}
	a.closed = true
}

// grow maps one more block. The caller holds mu.
func (a *arena) grow() error {
	if len(a.blocks)*blockSlots >= maxSlots {
		return &Error{Kind: Internal, Message: fmt.Sprintf("%d data keys are in use at once", maxSlots)}
	}
	page := os.Getpagesize()
	size := (blockSlots*Size + page - 1) / page * page
	m, err := unix.Mmap(-1, 0, size+2*page, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return &Error{Kind: Internal, Message: "mapping memory for data keys: " + err.Error(), cause: err}
	}
	inner := m[page : page+size]
	if err := unix.Mprotect(inner, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		unix.Munmap(m)
		return &Error{Kind: Internal, Message: "protecting memory for data keys: " + err.Error(), cause: err}
	}
	a.protect(inner)
	a.blocks = append(a.blocks, m)
	for i := 0; i < blockSlots; i++ {
		a.free = append(a.free, inner[i*Size:(i+1)*Size:(i+1)*Size])
	}
	return nil
}

// protect does what the system allows: a data key in swappable memory is still
// better than no service, so that a refusal is logged once and not fatal.
func (a *arena) protect(inner []byte) {
	err := unix.Mlock(inner)
	for _, advice := range []int{unix.MADV_DONTDUMP, unix.MADV_DONTFORK} {
		if e := unix.Madvise(inner, advice); err == nil {
			err = e
		}
	}
	if err != nil && !a.warned && a.log != nil {
		a.warned = true
		a.log.Warn("data keys are in memory that may be swapped or dumped; raise RLIMIT_MEMLOCK", "error", err)
	}
}

func (a *arena) unmap() {
	for _, m := range a.blocks {
		unix.Munmap(m) // every slot is zero already
	}
	a.blocks, a.free = nil, nil
}
