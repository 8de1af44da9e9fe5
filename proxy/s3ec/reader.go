// SPDX-License-Identifier: Apache-2.0

package s3ec

import (
	"bytes"
	"context"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
)

// Open returns the plaintext [offset, offset+length), which must lie within
// Size. The source is asked for the chunks that hold it, and not at all if the
// plaintext is in memory or length is zero. Reading fails with ErrOpen when a
// chunk is not what was authenticated, before any of its plaintext.
func (v *Verified) Open(ctx context.Context, source Source, offset, length int64) (io.ReadCloser, error) {
	size := v.opener.size
	if offset < 0 || length < 0 || offset > size || length > size-offset {
		return nil, fmt.Errorf("s3ec: range of %d bytes from %d of %d", length, offset, size)
	}
	if size <= MaxWhole {
		return io.NopCloser(bytes.NewReader(v.whole[offset : offset+length])), nil
	}
	if length == 0 {
		return io.NopCloser(bytes.NewReader(nil)), nil
	}
	first, last := offset/chunkSize, (offset+length-1)/chunkSize
	start, end := first*chunkSize, min((last+1)*chunkSize, size)
	sealed, err := source(ctx, start, end-start)
	if err != nil {
		return nil, fmt.Errorf("s3ec: opening the object: %w", err)
	}
	return &reader{
		verified: v, sealed: sealed, stream: v.opener.stream(first), buffer: make([]byte, chunkSize),
		chunk: first, skip: offset - start, left: length,
	}, nil
}

// reader is the second pass over part of a long object.
type reader struct {
	verified *Verified
	sealed   io.ReadCloser
	stream   cipher.Stream
	buffer   []byte
	ready    []byte // plaintext to return, of buffer
	chunk    int64  // the next to read
	skip     int64  // plaintext of it before the range
	left     int64  // plaintext of the range after ready
	err      error
}

func (r *reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(r.ready) == 0 && r.err == nil {
		r.err = r.fill()
	}
	if len(r.ready) == 0 {
		return 0, r.err
	}
	n := copy(p, r.ready)
	r.ready = r.ready[n:]
	return n, nil
}

// fill opens the next chunk.
func (r *reader) fill() error {
	if r.left == 0 {
		return io.EOF
	}
	chunk := r.buffer[:min(chunkSize, r.verified.opener.size-r.chunk*chunkSize)]
	if err := readAll(r.sealed, chunk, false); err != nil {
		return err
	}
	sum := sha256.Sum256(chunk)
	if subtle.ConstantTimeCompare(sum[:], r.verified.sums[r.chunk][:]) != 1 {
		return ErrOpen
	}
	r.stream.XORKeyStream(chunk, chunk)
	r.ready = chunk[r.skip:min(r.skip+r.left, int64(len(chunk)))]
	r.left -= int64(len(r.ready))
	r.chunk, r.skip = r.chunk+1, 0
	return nil
}

// Close closes the source's reader and clears the plaintext that was not read.
func (r *reader) Close() error {
	clear(r.buffer)
	r.ready, r.left, r.err = nil, 0, io.ErrClosedPipe
	return r.sealed.Close()
}
