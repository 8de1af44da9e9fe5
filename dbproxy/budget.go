// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"fmt"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"golang.org/x/sync/semaphore"
)

const (
	// largeMessage is from where on what is held counts, and a text is one of few.
	largeMessage = 1 << 20
	// roomTimeout bounds the wait for room. It ends every wait of sessions for each
	// other that several rows of COPY, which grow as they come, may lead to.
	roomTimeout = 10 * time.Second
	// Bounds of what Config.MessageMemory is if it is not set: an eighth of the
	// memory there is, since a message takes three to five times its length.
	leastMessageMemory, mostMessageMemory = 16 << 20, 2 * maxMessage
)

// budget bounds what sessions hold together of messages that have to be held as a
// whole. There is one for what clients send and one for what servers send: who
// holds a client's message may have to wait until the session has read what the
// server sends, which waits for nobody but the client. So no session waits for
// itself, and sessions do not wait for each other in a circle.
type budget struct {
	room *semaphore.Weighted
	size int64
	wait time.Duration
	held atomic.Int64
}

func newBudget(size int64) *budget {
	size &^= largeMessage - 1
	return &budget{room: semaphore.NewWeighted(size), size: size, wait: roomTimeout}
}

// messageMemory is what is set, or follows from the memory of the process.
func (c *Config) messageMemory() int64 {
	if c.MessageMemory > 0 {
		return c.MessageMemory
	}
	return min(max(memoryLimit()/8, leastMessageMemory), mostMessageMemory)
}

// memoryLimit is the least of GOMEMLIMIT and the limit of the cgroup, or else the
// memory of the machine.
func memoryLimit() int64 {
	limit := debug.SetMemoryLimit(-1)
	if n, err := memlimit.ApplyFallback(memlimit.FromCgroup, memlimit.FromSystem)(); err == nil {
		limit = int64(min(uint64(limit), n))
	}
	return limit
}

// share is what one holder has of a budget. It is of one goroutine.
type share struct {
	of   *budget
	life context.Context // ends with the session
	held int64
}

// resize has the share cover n bytes: it gives back what is too much at once, and
// waits for what is missing. If that does not come, it stays as it is.
func (sh *share) resize(n int) error {
	want := roomFor(n)
	if want > sh.of.size {
		return tooLarge(n, int(sh.of.size))
	}
	if want > sh.held {
		if err := sh.of.acquire(sh.life, want-sh.held); err != nil {
			return noRoom(n)
		}
	} else if want < sh.held {
		sh.of.release(sh.held - want)
	}
	sh.held = want
	return nil
}

// roomFor is what so many bytes take of a budget.
func roomFor(n int) int64 {
	if n <= largeMessage {
		return 0
	}
	return int64(n+largeMessage-1) &^ (largeMessage - 1)
}

// free gives everything back.
func (sh *share) free() { sh.resize(0) }

// move makes what a share has that of another, which so covers more.
func (sh *share) move(to *share) {
	to.held += sh.held
	sh.held = 0
}

func (b *budget) acquire(life context.Context, n int64) error {
	if !b.room.TryAcquire(n) {
		ctx, cancel := context.WithTimeout(life, b.wait)
		defer cancel()
		if err := b.room.Acquire(ctx, n); err != nil {
			return err
		}
	}
	b.held.Add(n)
	return nil
}

func (b *budget) release(n int64) {
	b.held.Add(-n)
	b.room.Release(n)
}

func noRoom(length int) *pgError {
	return &pgError{Code: codeOutOfMemory, Message: "out of memory for large messages in the encrypting proxy",
		Detail: fmt.Sprintf("It has %d bytes, and other large messages have left no room for it in %s.", length, roomTimeout),
		Hint:   "Try again."}
}

func tooLarge(length, most int) *pgError {
	return &pgError{Code: codeTooLarge, Message: "message too large for the encrypting proxy",
		Detail: "It has " + strconv.Itoa(length) + " bytes. One that touches protected columns has at most " + strconv.Itoa(most) + "."}
}

// trim drops a buffer that has grown large.
func trim(b []byte) []byte {
	if cap(b) > largeMessage {
		return nil
	}
	return b
}

func (s *session) share(of *budget) *share { return &share{of: of, life: s.life} }

// freeTexts gives back the room of texts when the session is over.
func (s *session) freeTexts() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.texts.free()
}
