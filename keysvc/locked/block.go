// SPDX-License-Identifier: Apache-2.0

package locked

import (
	"errors"
	"fmt"
	"math/bits"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

const (
	minShift    = 5 // a data key has 32 bytes
	sizeClasses = 9 // 32 bytes to MaxSize
	blockSize   = 16 << 10
)

// class has the blocks for secrets of one size, a power of two.
type class struct {
	size   int
	blocks []*block
	open   []*block // those with room
}

// block is one mapping.
type block struct {
	mapping []byte // guard pages included
	free    []int  // offsets in mapping of zeroed slots
	live    int
}

// classFor is the class of the smallest slots that hold n bytes.
func (a *Arena) classFor(n int) *class {
	shift := max(bits.Len(uint(n-1)), minShift)
	c := &a.sizes[shift-minShift]
	c.size = 1 << shift
	return c
}

func (c *class) take(b *block) (at int) {
	at = b.free[len(b.free)-1]
	b.free = b.free[:len(b.free)-1]
	b.live++
	if len(b.free) == 0 {
		c.open = without(c.open, b)
	}
	return at
}

func (c *class) giveBack(b *block, at int) {
	clear(b.mapping[at : at+c.size])
	if len(b.free) == 0 {
		c.open = append(c.open, b)
	}
	b.free = append(b.free, at)
	b.live--
}

// blockWithRoom maps one more block if it must. The caller holds mu.
func (a *Arena) blockWithRoom(c *class) (*block, error) {
	if n := len(c.open); n > 0 {
		return c.open[n-1], nil
	}
	least := max(c.size, os.Getpagesize())
	size := least
	if len(c.blocks) > 0 {
		size = max(size, blockSize)
	}
	err := a.grow(c, size, true)
	if err != nil && a.reclaim() {
		err = a.grow(c, size, true)
	}
	if err != nil && size > least {
		err = a.grow(c, least, true)
	}
	if errors.Is(err, ErrNotLocked) && !a.strict {
		a.warn(err)
		err = a.grow(c, size, false)
	}
	if err != nil {
		return nil, err
	}
	return c.open[0], nil
}

// warn is called at the first refusal. Better swappable memory than no service.
func (a *Arena) warn(err error) {
	if !a.spoilt && a.log != nil {
		a.log.Warn("secrets are in memory that may be swapped or dumped", "error", err)
	}
	a.spoilt = true
}

// grow gives a class, of which no block has room, one more of size bytes.
func (a *Arena) grow(c *class, size int, protected bool) error {
	if a.mapped+size > maxMapped {
		return ErrFull
	}
	mapping, err := mapGuarded(size, protected)
	if err != nil {
		return err
	}
	b := &block{mapping: mapping}
	first := os.Getpagesize()
	for at := first + size - c.size; at >= first; at -= c.size {
		b.free = append(b.free, at)
	}
	a.mapped += size
	c.blocks, c.open = append(c.blocks, b), append(c.open, b)
	return nil
}

// mapGuarded maps size bytes between two pages that no one may touch.
func mapGuarded(size int, protected bool) ([]byte, error) {
	page := os.Getpagesize()
	m, err := unix.Mmap(-1, 0, size+2*page, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("mapping memory for secrets: %w", err)
	}
	inner := m[page : page+size]
	err = unix.Mprotect(inner, unix.PROT_READ|unix.PROT_WRITE)
	if err == nil {
		err = protect(inner)
		if err != nil && !protected {
			err = nil
		}
	}
	if err != nil {
		unix.Munmap(m)
		return nil, err
	}
	return m, nil
}

// protect keeps memory out of swap, dumps and children: all three, whatever
// becomes of one of them.
func protect(inner []byte) error {
	err := unix.Mlock(inner)
	for _, advice := range []int{unix.MADV_DONTDUMP, unix.MADV_DONTFORK} {
		if e := unix.Madvise(inner, advice); err == nil {
			err = e
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotLocked, err)
	}
	return nil
}

// reclaim unmaps blocks that hold no secret and reports whether there were any.
func (a *Arena) reclaim() (some bool) {
	for i := range a.sizes {
		c := &a.sizes[i]
		for _, b := range slices.Clone(c.open) {
			if b.live > 0 {
				continue
			}
			c.open, c.blocks = without(c.open, b), without(c.blocks, b)
			a.drop(b)
			some = true
		}
	}
	return some
}

// unmap is for an arena without secrets: every slot is zero already.
func (a *Arena) unmap() {
	for i := range a.sizes {
		for _, b := range a.sizes[i].blocks {
			a.drop(b)
		}
		a.sizes[i] = class{}
	}
}

func (a *Arena) drop(b *block) {
	a.mapped -= len(b.mapping) - 2*os.Getpagesize()
	unix.Munmap(b.mapping)
}

func without(blocks []*block, b *block) []*block {
	return slices.DeleteFunc(blocks, func(other *block) bool { return other == b })
}
