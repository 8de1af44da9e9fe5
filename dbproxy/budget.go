// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"fmt"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
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
	// stallTimeout is how long a large message, which has room that others may wait
	// for, may go without getting on; leastPace, in bytes a second, how fast it has to
	// be beyond that if they do.
	stallTimeout = time.Minute
	leastPace    = 1 << 20
)

// budget bounds what sessions hold together of messages that have to be held as a
// whole. There is one for what clients send and one for what servers send: who
// holds a client's message may have to wait until the session has read what the
// server sends, which waits for nobody but the client. So no session waits for
// itself, and sessions do not wait for each other in a circle.
//
// What finds room takes it, though others wait for more: a message that is promised
// and does not fit costs its sender nothing, and is not to be in the way of those
// that do. Who has had room for long without getting on loses it, with the session,
// once somebody else waits for it.
type budget struct {
	size  int64
	wait  time.Duration // how long one waits for room
	grace time.Duration // how long one may have it without getting on

	mu      sync.Mutex
	held    int64               // guarded by mu
	texts   int64               // guarded by mu; of that, for texts that are kept
	freed   chan struct{}       // guarded by mu; closed when room comes back; nil: nobody waits
	holders map[*share]struct{} // guarded by mu; those that can lose it
}

func newBudget(size int64) *budget {
	return &budget{size: size &^ (largeMessage - 1), wait: roomTimeout, grace: stallTimeout, holders: make(map[*share]struct{})}
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
	end  func()          // ends the session, for others to have the room; nil for texts
	held int64           // written under of.mu

	since   time.Time // guarded by of.mu; when it began to hold
	moved   int64     // guarded by of.mu; bytes that have come or gone since
	evicted bool      // guarded by of.mu; end was called
}

// resize has the share cover n bytes: it gives back what is too much at once, and
// waits for what is missing. If that does not come, it stays as it is.
func (sh *share) resize(n int) error {
	want := roomFor(n)
	switch {
	case want > sh.of.size:
		return tooLarge(n, int(sh.of.size))
	case want > sh.held:
		return sh.grow(want, n)
	case want < sh.held:
		sh.of.mu.Lock()
		defer sh.of.mu.Unlock()
		sh.set(want)
		sh.of.tell()
	}
	return nil
}

// grow waits for room.
func (sh *share) grow(want int64, n int) error {
	timeout := time.NewTimer(sh.of.wait)
	defer timeout.Stop()
	for {
		freed, due := sh.of.take(sh, want)
		if freed == nil {
			return nil
		}
		again := time.NewTimer(due)
		select {
		case <-freed:
		case <-again.C: // somebody is overdue
		case <-timeout.C:
			again.Stop()
			return noRoom(n)
		case <-sh.life.Done():
			again.Stop()
			return errSessionOver
		}
		again.Stop()
	}
}

// take gives the share the room, or else what is closed when some comes back, and
// when somebody will have held it for too long.
func (b *budget) take(sh *share, want int64) (freed <-chan struct{}, due time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	missing := b.held - sh.held + want - b.size
	if missing <= 0 {
		sh.set(want)
		return nil, 0
	}
	if b.freed == nil {
		b.freed = make(chan struct{})
	}
	return b.freed, b.evict(sh, missing)
}

// evict ends sessions that have held room for too long, as many as are needed for
// what is missing, and says when the next one will have. The caller holds mu.
func (b *budget) evict(besides *share, missing int64) time.Duration {
	for h := range b.holders {
		if h.evicted {
			missing -= h.held
		}
	}
	for missing > 0 {
		next, due := b.slowest(besides)
		if next == nil || due > 0 {
			return due
		}
		next.evicted = true
		missing -= next.held
		go next.end()
	}
	return b.wait
}

// slowest is who will be overdue first, and when that is. The caller holds mu.
func (b *budget) slowest(besides *share) (slowest *share, due time.Duration) {
	due = b.wait
	for h := range b.holders {
		if h == besides || h.evicted {
			continue
		}
		if left := time.Until(h.since.Add(b.grace + time.Duration(h.moved)*time.Second/leastPace)); slowest == nil || left < due {
			slowest, due = h, left
		}
	}
	return slowest, due
}

// set changes what the share has. The caller holds of.mu.
func (sh *share) set(n int64) {
	b := sh.of
	b.held += n - sh.held
	switch {
	case sh.end == nil:
		b.texts += n - sh.held
	case n == 0:
		delete(b.holders, sh)
	case sh.held == 0:
		sh.since, sh.moved = time.Now(), 0
		b.holders[sh] = struct{}{}
	}
	sh.held = n
}

// tell wakes who waits. The caller holds mu.
func (b *budget) tell() {
	if b.freed != nil {
		close(b.freed)
		b.freed = nil
	}
}

// moves notes that bytes have come or gone of what the share is for.
func (sh *share) moves(n int) {
	if sh.held == 0 {
		return
	}
	sh.of.mu.Lock()
	defer sh.of.mu.Unlock()
	sh.moved += int64(n)
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
	sh.of.mu.Lock()
	defer sh.of.mu.Unlock()
	n := sh.held
	sh.set(0)
	to.set(to.held + n)
}

// keeps says whether so much more room can be for texts that are kept: of what
// nobody gives back soon there is not to be so much that nothing else finds room.
func (b *budget) keeps(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.texts+n <= b.size/4*3
}

func noRoom(length int) *pgError {
	return &pgError{Code: codeOutOfMemory, Message: "out of memory for large messages in the encrypting proxy",
		Detail: fmt.Sprintf("It has %d bytes, and other large messages have left no room for it in %s.", length, roomTimeout),
		Hint:   "Try again."}
}

// noRoomToKeep is noRoom for what would stay.
func noRoomToKeep(length int64) *pgError {
	return &pgError{Code: codeOutOfMemory, Message: "out of memory for large statements in the encrypting proxy",
		Detail: fmt.Sprintf("It has %d MiB, and other large texts, of prepared statements and of queries that run, have left no room for it.", length/largeMessage),
		Hint:   "Close prepared statements, or try again."}
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

func (s *session) share(of *budget) *share {
	return &share{of: of, life: s.life, end: s.evict}
}

// evict ends a session that has held room for too long.
func (s *session) evict() {
	s.proxy.log.Warn("ending a session that holds room for large messages and does not get on", "database", s.db.name, "user", s.user)
	s.fatal(&pgError{Code: codeOutOfMemory, Message: "terminating connection: a large message did not get on, and others wait for its room in the encrypting proxy",
		Detail: fmt.Sprintf("It may take %s, and one second more for each MiB.", stallTimeout)})
}

// freeTexts gives back the room of texts when the session is over.
func (s *session) freeTexts() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.texts.free()
}
