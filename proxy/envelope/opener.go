// SPDX-License-Identifier: Apache-2.0

package envelope

import (
	"fmt"
	"io"
)

// Opener reads the plaintext of a sealed message, or of a range of one. Every
// byte it returns was authenticated. Buffers of SealedChunkSize and more are
// filled without a copy. It is for one goroutine.
type Opener struct {
	m    *Message
	body io.Reader

	chunk  uint64
	prefix bool  // the prefix is still to be read and checked
	skip   int   // plaintext to drop at the start of the first chunk
	left   int64 // plaintext still to return; -1 = up to the final chunk
	size   int64 // plaintext of the whole message; -1 = found out at the end
	toEnd  bool  // the range reaches the end, and so must the body

	nonce [nonceSize]byte
	err   error
	out   []byte
	buf   *[SealedChunkSize]byte

	// sealed holds chunks that were read ahead of the one to open: one read of many
	// chunks costs less than a read of each.
	sealed  *[batch * SealedChunkSize]byte
	from    int // first byte of sealed not used yet
	to      int // end of what was read
	bodyErr error
}

// Open returns the plaintext of a whole sealed message, prefix included.
func (m *Message) Open(body io.Reader) *Opener {
	return &Opener{m: m, body: body, prefix: true, left: -1, size: -1}
}

// OpenRange returns n plaintext bytes from off of a message of plainSize
// plaintext bytes. The body is what SealedRange names. plainSize is the
// caller's claim; it is authenticated when the range reaches the end ([O7]).
func (m *Message) OpenRange(body io.Reader, off, n, plainSize int64) *Opener {
	o := &Opener{m: m, body: body, size: plainSize}
	if off < 0 || n <= 0 || off >= plainSize {
		o.err = io.EOF
		return o
	}
	o.left = min(n, plainSize-off)
	o.toEnd = off+o.left == plainSize
	o.chunk = uint64(off / ChunkSize)
	o.skip = int(off % ChunkSize)
	return o
}

// Read implements io.Reader.
func (o *Opener) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(o.out) == 0 && o.err == nil {
		if len(p) >= SealedChunkSize && o.skip == 0 && (o.left < 0 || o.left >= ChunkSize) {
			n, _ := o.next(p[:SealedChunkSize])
			if n > 0 {
				return n, nil
			}
			continue
		}
		o.refill()
	}
	if len(o.out) == 0 {
		o.recycle()
		return 0, o.err
	}
	n := copy(p, o.out)
	o.out = o.out[n:]
	if len(o.out) == 0 {
		o.recycle()
	}
	return n, nil
}

func (o *Opener) refill() {
	if o.buf == nil {
		o.buf = chunkBuffers.Get().(*[SealedChunkSize]byte)
	}
	skip := o.skip
	n, err := o.next(o.buf[:])
	if err != nil {
		return
	}
	o.out = o.buf[skip : skip+n]
}

func (o *Opener) recycle() {
	o.out = nil
	if o.buf != nil {
		clear(o.buf[:]) // it held plaintext of this message
		chunkBuffers.Put(o.buf)
		o.buf = nil
	}
}

// next opens one chunk into buf, which has SealedChunkSize bytes, and returns
// how many of its bytes (from the old o.skip on) belong to the answer.
func (o *Opener) next(buf []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	defer o.settle()
	n, err := o.openChunk(buf)
	if err != nil {
		o.err = err
		return 0, err
	}
	n -= o.skip
	o.skip = 0
	if o.left >= 0 {
		n = int(min(int64(n), o.left))
		o.left -= int64(n)
		o.endRange()
	}
	return n, nil
}

// endRange ends a range once all of it was returned and, if it reaches the end
// of the message, the final chunk was seen.
func (o *Opener) endRange() {
	if o.left > 0 || o.err != nil {
		return
	}
	if !o.toEnd {
		o.err = io.EOF
		return
	}
	// The range ended on the last full chunk: the final one is empty.
	var last [tagSize + 1]byte
	if _, err := o.openChunk(last[:]); err != nil {
		o.err = err
	}
}

// openChunk opens the next chunk into buf and returns its length. The
// final chunk sets o.err to io.EOF.
func (o *Opener) openChunk(buf []byte) (int, error) {
	if o.prefix {
		if err := o.readPrefix(); err != nil {
			return 0, err
		}
	}
	want, final := o.expected(len(buf))
	sealed, err := o.take(want)
	n := len(sealed)
	if err != nil && err != io.EOF {
		return 0, fmt.Errorf("reading sealed chunk %d: %w", o.chunk, err)
	}
	short := n < SealedChunkSize
	if n < tagSize || o.chunk >= maxChunks || (o.size >= 0 && n != want) {
		return 0, ErrOpen
	}
	o.m.nonce(&o.nonce, o.chunk)
	plain, err := o.m.aead.Open(buf[:0], o.nonce[:], sealed, nil)
	if err != nil {
		return 0, ErrOpen
	}
	o.chunk++
	if final || (o.size < 0 && short) {
		o.err = io.EOF
	}
	return len(plain), nil
}

// expected is the length of the next sealed chunk and whether it is the final
// one, where the size of the message is known; else a full chunk.
func (o *Opener) expected(room int) (int, bool) {
	if o.size < 0 {
		return room, false
	}
	if int64(o.chunk) < o.size/ChunkSize {
		return SealedChunkSize, false
	}
	return int(o.size%ChunkSize) + tagSize, true
}

// take returns the next n sealed bytes, or fewer and what ended the body. They are
// valid until the next call.
func (o *Opener) take(n int) ([]byte, error) {
	if o.sealed == nil {
		o.sealed = batchBuffers.Get().(*[batch * SealedChunkSize]byte)
	}
	for idle := 0; o.to-o.from < n && o.bodyErr == nil; {
		if o.from > 0 && len(o.sealed)-o.from < n {
			o.to, o.from = copy(o.sealed[:], o.sealed[o.from:o.to]), 0
		}
		var m int
		m, o.bodyErr = o.body.Read(o.sealed[o.to:])
		o.to += m
		if m > 0 {
			idle = 0
		} else if idle++; idle > 100 && o.bodyErr == nil {
			o.bodyErr = io.ErrNoProgress
		}
	}
	b := o.sealed[o.from:min(o.from+n, o.to)]
	o.from += len(b)
	if o.from == o.to {
		o.from, o.to = 0, 0
	}
	if len(b) == n {
		return b, nil
	}
	return b, o.bodyErr
}

// settle gives the buffer of what was read ahead back once nothing more is opened. It
// held no plaintext.
func (o *Opener) settle() {
	if o.err != nil && o.sealed != nil {
		batchBuffers.Put(o.sealed)
		o.sealed, o.from, o.to = nil, 0, 0
	}
}

func (o *Opener) readPrefix() error {
	o.prefix = false
	prefix, err := o.take(PrefixSize)
	if err != nil && err != io.EOF {
		return fmt.Errorf("reading the message prefix: %w", err)
	}
	if len(prefix) < PrefixSize || !o.m.checkPrefix(prefix) {
		return ErrOpen
	}
	return nil
}

// WriteTo implements io.WriterTo.
func (o *Opener) WriteTo(w io.Writer) (int64, error) {
	buf := batchBuffers.Get().(*[batch * SealedChunkSize]byte)
	used := 0
	defer func() {
		clear(buf[:used])
		batchBuffers.Put(buf)
	}()
	var total int64
	for {
		filled := 0
		var err error
		for err == nil && len(buf)-filled >= SealedChunkSize {
			var n int
			n, err = o.Read(buf[filled:])
			filled += n
		}
		used = max(used, min(filled+SealedChunkSize, len(buf)))
		var werr error
		if filled > 0 {
			var n int
			n, werr = w.Write(buf[:filled])
			total += int64(n)
		}
		switch {
		case werr != nil:
			return total, werr
		case err == io.EOF:
			return total, nil
		case err != nil:
			return total, err
		}
	}
}
