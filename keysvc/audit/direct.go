// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// block is what direct writes begin and end at: a multiple of the sector of any disk.
const block = 4 << 10

// direct writes over the zeros of a segment past the page cache. Its write is on disk
// when it returns; a write and a sync take twice the processor's time, and longer.
// A block that is full but for its end is written again with what comes behind: a disk
// that tears it could as well have torn the page.
type direct struct {
	f   *os.File
	buf []byte // aligned; begins with what is in the block that end is in
	end int64  // offset in the segment
}

// openDirect gives nil where the file system has no direct writes.
func openDirect(path string) *direct {
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_DIRECT|unix.O_DSYNC, 0)
	if err != nil {
		return nil
	}
	// Memory that is mapped begins at a page.
	buf, err := unix.Mmap(-1, 0, allocation+block, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		_ = f.Close() // nothing was written
		return nil
	}
	return &direct{f: f, buf: buf, end: -1}
}

func (d *direct) close() error {
	if d == nil {
		return nil
	}
	return errors.Join(d.f.Close(), unix.Munmap(d.buf))
}

// write puts lines at offset size of the segment f, in which zeros reach to allocated.
// It reports false, and has written nothing, if they do not fit in there or the file
// system has no such writes.
func (d *direct) write(f *os.File, lines []byte, size, allocated int64) (written bool, err error) {
	start := size &^ (block - 1)
	head := int(size - start)
	length := (head + len(lines) + block - 1) &^ (block - 1)
	if d == nil || length > len(d.buf) || start+int64(length) > allocated {
		return false, nil
	}
	if d.end != size {
		if _, err := f.ReadAt(d.buf[:head], start); err != nil {
			return false, err
		}
		d.end = size
	}
	end := head + copy(d.buf[head:], lines)
	clear(d.buf[end:length])
	if _, err := d.f.WriteAt(d.buf[:length], start); err != nil {
		d.end = -1
		return !errors.Is(err, unix.EINVAL), err
	}
	last := end &^ (block - 1)
	copy(d.buf, d.buf[last:end])
	d.end = start + int64(end)
	return true, nil
}
