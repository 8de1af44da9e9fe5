// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"

	"github.com/sidekey/sidekey/proxy/envelope"
)

// ErrCustomerKey is envelope.ErrCustomerKey: the object needs another customer key.
var ErrCustomerKey = envelope.ErrCustomerKey

// PartSealer seals one part of a multipart object, once.
type PartSealer struct {
	message *envelope.Message
	Salt    [24]byte
}

// Part prepares a part of the object, with a fresh salt: one that is sent again is
// sealed under other keys.
func (o *ObjectOpener) Part(number int) (*PartSealer, error) {
	if !o.Multipart() {
		return nil, errors.New("a part of an object that has none")
	}
	if o.object.Carried() {
		return nil, ErrOpen // no upload begins with the header of a copy
	}
	s := &PartSealer{}
	rand.Read(s.Salt[:])
	var err error
	s.message, err = o.object.Part(number, s.Salt)
	return s, err
}

// Reader is the sealed part. It is called once.
func (s *PartSealer) Reader(content io.Reader) io.Reader {
	if s.message == nil {
		return failedReader{}
	}
	r := s.message.Seal(content)
	s.message = nil
	return r
}

// PartSize is the stored length of a part of plain bytes.
func PartSize(plain int64) int64 { return envelope.SealedSize(plain) }

// SealTable is what is stored after the last part of an object.
func (o *ObjectOpener) SealTable(t *envelope.Table) ([]byte, error) {
	var salt [24]byte
	rand.Read(salt[:])
	return o.object.SealTable(t, salt)
}

// OpenTable takes the part table from the end of the stored object; see
// envelope.TableTail.
func (o *ObjectOpener) OpenTable(tail []byte, stored int64) (err error) {
	o.table, err = o.object.OpenTable(tail, stored)
	return err
}

// WithTable gives the opener the table of the very same object, which another
// opener had opened.
func (o *ObjectOpener) WithTable(t *envelope.Table) { o.table = t }

// Table is the part table, nil before it was opened.
func (o *ObjectOpener) Table() *envelope.Table { return o.table }

// SealPartRecord and OpenPartRecord are those of envelope.Object.
func (o *ObjectOpener) SealPartRecord(uploadID [32]byte, number int, r *envelope.PartRecord) (string, error) {
	return o.object.SealPartRecord(uploadID, number, r)
}

// OpenPartRecord opens what SealPartRecord returned.
func (o *ObjectOpener) OpenPartRecord(uploadID [32]byte, number int, text string) (*envelope.PartRecord, error) {
	return o.object.OpenPartRecord(uploadID, number, text)
}

// parts reads n bytes of content from off, from the piece of the stored object that
// Range names.
func (o *ObjectOpener) parts(body io.Reader, off, n int64) io.Reader {
	if o.table == nil {
		return failedReader{}
	}
	r := &partsReader{o: o, body: body, segments: o.table.Segments(off, n)}
	if len(r.segments) > 0 {
		r.at = r.segments[0].StoredOff
	}
	return r
}

// partsReader opens one segment after the other.
type partsReader struct {
	o        *ObjectOpener
	body     io.Reader
	at       int64 // position of body in the stored object
	segments []envelope.Segment
	current  io.Reader
}

func (r *partsReader) Read(p []byte) (int, error) {
	for {
		if r.current == nil {
			if len(r.segments) == 0 {
				return 0, io.EOF
			}
			if err := r.next(); err != nil {
				return 0, err
			}
		}
		n, err := r.current.Read(p)
		if err == io.EOF {
			r.current, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// next goes on to the next segment. What lies between two is the prefix of a part,
// for which the table stands.
func (r *partsReader) next() error {
	s := r.segments[0]
	r.segments = r.segments[1:]
	if _, err := io.CopyN(io.Discard, r.body, s.StoredOff-r.at); err != nil {
		return fmt.Errorf("reading the prefix of a part: %w", err)
	}
	r.at = s.StoredOff + s.StoredLen
	part := &r.o.table.Parts[s.Part]
	m, err := r.o.object.Part(part.Number, part.Salt)
	if err != nil {
		return err
	}
	r.current = m.OpenRange(io.LimitReader(r.body, s.StoredLen), s.Off, s.N, part.Size)
	return nil
}
