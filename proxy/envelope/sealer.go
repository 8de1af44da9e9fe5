// SPDX-License-Identifier: Apache-2.0

package envelope

import (
	"errors"
	"io"
	"sync"
)

// batch is how many chunks WriteTo hands on in one Write. 8 chunks are 128 KiB:
// enough that the Write costs little, small enough that hundreds of streams fit
// in memory.
const batch = 8

var (
	chunkBuffers = sync.Pool{New: func() any { return new([SealedChunkSize]byte) }}
	batchBuffers = sync.Pool{New: func() any { return new([batch * SealedChunkSize]byte) }}
)

var errTooLong = errors.New("envelope: a message of more than 2^38 chunks")

// Sealer reads the sealed form of a plaintext. Buffers of SealedChunkSize and
// more are filled without a copy. It is for one goroutine.
type Sealer struct {
	m      *Message
	src    io.Reader
	peeker Peeker // src, if it is one
	chunk  uint64
	nonce  [nonceSize]byte
	err    error // what Read returns once out is empty
	out    []byte
	buf    *[SealedChunkSize]byte // behind out; nil while a caller's buffer served
}

// Seal returns the sealed form of src: prefix and chunks. io.EOF from src ends
// the message. With any other error of src the final chunk is never produced,
// so that what was read so far opens nowhere as a whole ([O8]).
func (m *Message) Seal(src io.Reader) *Sealer {
	s := &Sealer{m: m, src: src, peeker: peekerOf(src)}
	s.out = append(s.out, m.prefix[:]...)
	return s
}

// Read implements io.Reader.
func (s *Sealer) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(s.out) == 0 && s.err == nil {
		if len(p) >= SealedChunkSize {
			if n := s.fill(p); n > 0 {
				return n, nil
			}
			return 0, s.err
		}
		s.refill()
	}
	if len(s.out) == 0 {
		return 0, s.err
	}
	n := copy(p, s.out)
	s.out = s.out[n:]
	if len(s.out) == 0 {
		s.recycle()
	}
	return n, nil
}

// fill seals as many chunks into p as it has room for. What ends the stream after some
// is told by the next call.
func (s *Sealer) fill(p []byte) int {
	n := 0
	for len(p)-n >= SealedChunkSize && s.err == nil {
		m, _ := s.next(p[n : n+SealedChunkSize])
		n += m
	}
	return n
}

func (s *Sealer) refill() {
	if s.buf == nil {
		s.buf = chunkBuffers.Get().(*[SealedChunkSize]byte)
	}
	n, _ := s.next(s.buf[:])
	s.out = s.buf[:n]
	if n == 0 {
		s.recycle()
	}
}

func (s *Sealer) recycle() {
	s.out = nil
	if s.buf != nil {
		chunkBuffers.Put(s.buf)
		s.buf = nil
	}
}

// next seals one chunk into buf, which has SealedChunkSize bytes: the plaintext
// is read into it and sealed in place. After the final chunk, and after an
// error, it returns 0 and what ended the stream.
func (s *Sealer) next(buf []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	plain, err := s.plain(buf[:ChunkSize])
	if err == nil && s.chunk >= maxChunks {
		err = errTooLong
	}
	if err != nil {
		clear(buf[:ChunkSize]) // plaintext must not stay in a buffer meant for ciphertext
		s.err = err
		return 0, err
	}
	s.m.nonce(&s.nonce, s.chunk)
	s.chunk++
	if len(plain) < ChunkSize {
		s.err = io.EOF
	}
	sealed := s.m.aead.Seal(buf[:0], s.nonce[:], plain, nil)
	if s.peeker != nil {
		if _, err := s.peeker.Discard(len(plain)); err != nil {
			s.err = err
			return 0, err
		}
	}
	return len(sealed), nil
}

// plain is the next chunk of the plaintext: in buf, or where a Peeker has it. It is
// shorter than buf only at the end.
func (s *Sealer) plain(buf []byte) ([]byte, error) {
	if s.peeker != nil {
		p, err := s.peeker.Peek(len(buf))
		if err == io.EOF {
			err = nil
		} else if err == nil && len(p) < len(buf) {
			err = io.ErrNoProgress
		}
		return p, err
	}
	n, err := readFull(s.src, buf)
	if err == io.EOF {
		err = nil
	}
	return buf[:n], err
}

// WriteTo implements io.WriterTo.
func (s *Sealer) WriteTo(w io.Writer) (int64, error) {
	buf := batchBuffers.Get().(*[batch * SealedChunkSize]byte)
	defer batchBuffers.Put(buf)
	var total int64
	if len(s.out) > 0 {
		n, err := w.Write(s.out)
		total += int64(n)
		s.recycle()
		if err != nil {
			return total, err
		}
	}
	for s.err == nil {
		filled := s.fill(buf[:])
		if filled == 0 {
			break
		}
		n, err := w.Write(buf[:filled])
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
	if s.err != io.EOF {
		return total, s.err
	}
	return total, nil
}

// readFull fills p. It returns io.EOF only when src ended with io.EOF, with as
// many bytes as there were; io.ReadFull would turn that into
// io.ErrUnexpectedEOF, which a source also returns by itself when it was cut off.
func readFull(src io.Reader, p []byte) (int, error) {
	n, idle := 0, 0
	for n < len(p) {
		m, err := src.Read(p[n:])
		n += m
		if err != nil {
			if n == len(p) && err == io.EOF {
				return n, nil
			}
			return n, err
		}
		if m > 0 {
			idle = 0
		} else if idle++; idle > 100 {
			return n, io.ErrNoProgress
		}
	}
	return n, nil
}
