// SPDX-License-Identifier: Apache-2.0

package envelope

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"sort"
)

const (
	// MaxParts is S3's limit on the parts of an upload.
	MaxParts = 10_000
	// MinPart is S3's limit on the plaintext of every part but the last, in bytes.
	MinPart = 5 << 20

	// The stored length of a multipart object is that of one message of its
	// plaintext, and these ([M3]). A part costs its own prefix and up to 16 bytes
	// for an additional chunk, 72 in all, and at most 84.1 in the table: 160 leaves
	// room. The first 256 hold what the table has besides: 87 bytes, prefix and tag
	// of its message (72), and the locator.
	multipartFixed   = 256
	multipartPerPart = 160

	tableVersion  = 1
	locatorMagic  = "SKT1"
	locatorSize   = 8
	maxTableEntry = 84
	maxTableFixed = 87
)

// maxPartsOf is how many parts an object of plain bytes can have at most, since
// all but the last have MinPart.
func maxPartsOf(plain int64) int64 { return min(MaxParts, plain/MinPart+1) }

// MultipartSize is the stored length of a multipart object of plain bytes. It does
// not depend on how these are parted, so that a listing tells the plaintext's
// length ([M3]).
func MultipartSize(plain int64) int64 {
	return SealedSize(plain) + multipartFixed + multipartPerPart*maxPartsOf(plain)
}

// MultipartPlainSize is the length of the plaintext of a stored multipart object.
// It fails with ErrFormat for a length that none has.
func MultipartPlainSize(stored int64) (int64, error) {
	if stored < MultipartSize(0) || stored > math.MaxInt64/2 {
		return 0, malformed("a multipart object of %d bytes", stored)
	}
	// MultipartSize grows strictly with the plaintext, and exceeds it.
	plain := int64(sort.Search(int(stored), func(p int) bool { return MultipartSize(int64(p)) >= stored }))
	if MultipartSize(plain) != stored {
		return 0, malformed("a multipart object of %d bytes", stored)
	}
	return plain, nil
}

// TableTail is how many bytes at the end of a stored multipart object hold its part
// table for certain.
func TableTail(stored int64) int64 {
	plain, err := MultipartPlainSize(stored)
	if err != nil {
		return 0
	}
	return min(stored, maxTable(plain)+locatorSize)
}

// maxTable bounds the sealed table of an object of plain bytes ([M4]).
func maxTable(plain int64) int64 {
	return SealedSize(maxTableFixed + maxTableEntry*maxPartsOf(plain))
}

// Table says what a multipart object consists of. FORMAT.md [M2].
type Table struct {
	UploadID  [32]byte // SHA-256 of the store's upload ID
	Algorithm string   // of the checksums: a name of [H9], "" for none
	Composite bool     // Checksum is one of the parts' checksums
	Checksum  []byte   // of the whole content, empty if there is none
	MD5       []byte   // of the parts' MD5s, empty if they were not computed
	Parts     []TablePart
}

// TablePart is one part, in order.
type TablePart struct {
	Number   int // 1 to MaxParts
	Size     int64
	Salt     [24]byte
	Checksum []byte // of the part's plaintext, empty if there is none
	MD5      []byte // empty if it was not computed
}

// Size is the length of the whole plaintext.
func (t *Table) Size() int64 {
	size := int64(0)
	for i := range t.Parts {
		size += t.Parts[i].Size
	}
	return size
}

// StoredParts is the length of the stored parts, up to where padding and table
// begin.
func (t *Table) StoredParts() int64 {
	size := int64(0)
	for i := range t.Parts {
		size += SealedSize(t.Parts[i].Size)
	}
	return size
}

// append writes the table:
//
//	version 1 | upload ID 32 | algorithm 1 | composite 1 | lp1(checksum) | lp1(MD5)
//	| number of parts 2 | parts: number 2 | size 8 | salt 24 | lp1(checksum) | lp1(MD5)
func (t *Table) append(b []byte) []byte {
	b = append(b, tableVersion)
	b = append(b, t.UploadID[:]...)
	b = append(b, algorithmCode(t.Algorithm), boolByte(t.Composite))
	b = appendTiny(appendTiny(b, t.Checksum), t.MD5)
	b = binary.BigEndian.AppendUint16(b, uint16(len(t.Parts)))
	for i := range t.Parts {
		p := &t.Parts[i]
		b = binary.BigEndian.AppendUint16(b, uint16(p.Number))
		b = binary.BigEndian.AppendUint64(b, uint64(p.Size))
		b = append(b, p.Salt[:]...)
		b = appendTiny(appendTiny(b, p.Checksum), p.MD5)
	}
	return b
}

func boolByte(v bool) byte {
	if v {
		return 1
	}
	return 0
}

func appendTiny(b, field []byte) []byte { return append(append(b, byte(len(field))), field...) }

// algorithmCode is the code of a checksum's name in [H9], 0 for none.
func algorithmCode(name string) byte {
	for code, known := range checksumNames() {
		if known == name && code <= lastAlgorithm {
			return byte(code)
		}
	}
	return 0
}

const lastAlgorithm = 5 // codes 1 to 5 are the algorithms of S3

// parseTable accepts exactly what append writes, of parts that an upload can have.
func parseTable(b []byte) (*Table, error) {
	f := fields{rest: b}
	t := &Table{}
	fixed := f.take(1 + 32 + 2)
	t.Checksum, t.MD5 = f.bytes(1), f.bytes(1)
	count := f.take(2)
	if f.bad || fixed[0] != tableVersion || fixed[33] > lastAlgorithm || fixed[34] > 1 {
		return nil, malformed("a part table")
	}
	copy(t.UploadID[:], fixed[1:])
	t.Algorithm, t.Composite = checksumNames()[fixed[33]], fixed[34] == 1
	n := int(binary.BigEndian.Uint16(count))
	if n < 1 || n > MaxParts {
		return nil, malformed("a part table of %d parts", n)
	}
	t.Parts = make([]TablePart, n)
	for i := range t.Parts {
		if err := t.Parts[i].parse(&f); err != nil {
			return nil, err
		}
		if i > 0 && t.Parts[i].Number <= t.Parts[i-1].Number {
			return nil, malformed("a part table out of order")
		}
	}
	if len(f.rest) > 0 {
		return nil, malformed("a part table with more after it")
	}
	return t, nil
}

// maxPartSize is S3's limit on a part, in bytes of plaintext.
const maxPartSize = 5 << 30

func (p *TablePart) parse(f *fields) error {
	fixed := f.take(2 + 8 + 24)
	p.Checksum, p.MD5 = f.bytes(1), f.bytes(1)
	if f.bad {
		return malformed("a part table that ends early")
	}
	size := binary.BigEndian.Uint64(fixed[2:])
	p.Number, p.Size = int(binary.BigEndian.Uint16(fixed)), int64(size)
	copy(p.Salt[:], fixed[10:])
	if p.Number < 1 || p.Number > MaxParts || size > maxPartSize {
		return malformed("a part table with an impossible part")
	}
	return nil
}

// SealTable returns what follows the last part of an object: padding up to the
// length that the object has to have, the sealed table, and its locator ([M1]–[M4]).
func (o *Object) SealTable(t *Table, salt [24]byte) ([]byte, error) {
	m, err := o.message(o.inputKey, tablePart, salt)
	if err != nil {
		return nil, err
	}
	plain := t.append(nil)
	if _, err := parseTable(plain); err != nil {
		return nil, fmt.Errorf("envelope: a part table that cannot be read back: %w", err)
	}
	sealed := SealedSize(int64(len(plain)))
	padding := MultipartSize(t.Size()) - t.StoredParts() - sealed - locatorSize
	if padding < 0 || sealed > maxTable(t.Size()) {
		return nil, fmt.Errorf("envelope: a part table of %d parts in an object of %d bytes has no room", len(t.Parts), t.Size())
	}
	out := bytes.NewBuffer(make([]byte, padding, padding+sealed+locatorSize))
	if _, err := m.Seal(bytes.NewReader(plain)).WriteTo(out); err != nil {
		return nil, fmt.Errorf("sealing a part table: %w", err)
	}
	out.WriteString(locatorMagic)
	return binary.BigEndian.AppendUint32(out.Bytes(), uint32(sealed)), nil
}

// OpenTable opens the part table of a stored multipart object of that length. The
// tail is the end of the stored object, of TableTail bytes. It fails with ErrOpen.
func (o *Object) OpenTable(tail []byte, stored int64) (*Table, error) {
	end := len(tail) - locatorSize
	if end < 0 || string(tail[end:end+4]) != locatorMagic {
		return nil, ErrOpen
	}
	n := int64(binary.BigEndian.Uint32(tail[end+4:]))
	if n > int64(end) || n < PrefixSize {
		return nil, ErrOpen
	}
	sealed := tail[int64(end)-n : end]
	m, err := o.message(o.inputKey, tablePart, [24]byte(sealed))
	if err != nil {
		return nil, err
	}
	plain, err := io.ReadAll(m.Open(bytes.NewReader(sealed)))
	if err != nil {
		return nil, ErrOpen
	}
	t, err := parseTable(plain)
	if err != nil || MultipartSize(t.Size()) != stored || n > maxTable(t.Size()) || t.StoredParts()+n+locatorSize > stored {
		return nil, ErrOpen
	}
	return t, nil
}

// Segment is what is needed of one part to open a range that touches it. Stored
// positions count from the start of the object.
type Segment struct {
	Part      int // index into Table.Parts
	Off, N    int64
	StoredOff int64
	StoredLen int64
}

// Segments are the pieces of the stored object for n plaintext bytes from off, in
// order ([M5]).
func (t *Table) Segments(off, n int64) []Segment {
	var segments []Segment
	plain, stored := int64(0), int64(0)
	for i := range t.Parts {
		size := t.Parts[i].Size
		from, to := max(off, plain), min(off+n, plain+size)
		if from < to {
			o, l := SealedRange(from-plain, to-from, size)
			segments = append(segments, Segment{Part: i, Off: from - plain, N: to - from, StoredOff: stored + o, StoredLen: l})
		}
		plain, stored = plain+size, stored+SealedSize(size)
	}
	return segments
}
