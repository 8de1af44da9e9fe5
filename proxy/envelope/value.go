// SPDX-License-Identifier: Apache-2.0

package envelope

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Value layout. FORMAT.md [V1]–[V3]; of suite 04, with search tokens, [V13].
//
//	off  len  field, big endian
//	  0    2  magic F8 4B
//	  2    1  suite: 01 random, 02 equality, 03 range
//	  3    4  data key ID
//	  7   12  random: epoch salt      7  16  equality: SIV         7  18n+2  range: digits
//	 19   12  random: nonce          23   n  equality: ciphertext      16   range: SIV
//	 31    n  random: ciphertext                                        n   range: ciphertext
//	end   16  random: tag
const (
	valueMagic0 = 0xF8 // never a byte of UTF-8, so that no text begins like a value
	valueMagic1 = 0x4B

	valueHeader = 2 + 1 + 4
	epochSize   = 12

	// MinRandom and MinEquality are the lengths of a sealed empty value, the
	// least of each mode.
	MinRandom   = valueHeader + epochSize + nonceSize + tagSize
	MinEquality = valueHeader + tagSize
)

// ValuePrefix is what every value of the mode begins with ([V1], [V2]).
func ValuePrefix(mode Mode) []byte { return []byte{valueMagic0, valueMagic1, byte(mode)} }

// MinValue is the length of the shortest value of the mode, 0 if there is no
// such mode.
func MinValue(mode Mode) int {
	switch mode {
	case Random:
		return MinRandom
	case Equality:
		return MinEquality
	case Range:
		return MinRange
	case Searchable:
		return MinSearchable
	}
	return 0
}

// PlainLength is the length of the plaintext of a value of the mode and of that
// length. It is not ok if there is none. That of a Searchable value depends on its
// tokens: see ValueLength.
func PlainLength(mode Mode, length int) (n int, ok bool) {
	switch mode {
	case Range:
		return rangeLength(length)
	case Searchable:
		return 0, false
	}
	n = length - MinValue(mode)
	return n, MinValue(mode) > 0 && n >= 0
}

// ValueLength is the length of the plaintext of a value. It is not ok if there is
// none.
func ValueLength(value []byte) (n int, ok bool) {
	if len(value) < valueHeader {
		return 0, false
	}
	if mode := Mode(value[2]); mode != Searchable {
		return PlainLength(mode, len(value))
	}
	tokens, ok := searchLength(value)
	return len(value) - tokens - (MinSearchable - countSize - TokenSize), ok
}

// ParseValue tells a sealed value from other bytes, and its mode and data key
// ID. Nothing is authenticated. It fails with ErrFormat.
func ParseValue(value []byte) (Mode, uint32, error) {
	if len(value) < valueHeader || value[0] != valueMagic0 || value[1] != valueMagic1 {
		return 0, 0, malformed("not a sealed value")
	}
	mode := Mode(value[2])
	if _, ok := ValueLength(value); !ok {
		return 0, 0, malformed("a sealed value of suite %d and %d bytes", value[2], len(value))
	}
	if mode == Searchable {
		return mode, binary.BigEndian.Uint32(value[3+searchSpec:]), nil
	}
	return mode, binary.BigEndian.Uint32(value[3:]), nil
}

// Codec seals and opens the values of one binding under one data key. It is
// safe for concurrent use. Its keys live on the Go heap until it is dropped.
type Codec struct {
	mode   Mode
	header []byte
	aad    []byte // header and binding ([V5])
	random *randomKeys
	siv    *sivKey
	ranges *rangeKey
	search *searchKey
}

// NewCodec derives the keys of a binding. dataKey is not kept.
func NewCodec(mode Mode, dataKey []byte, id uint32, bind Binding) (*Codec, error) {
	if len(dataKey) != DataKeySize {
		return nil, fmt.Errorf("envelope: a data key of %d bytes, want %d", len(dataKey), DataKeySize)
	}
	if bind.Domain != "" && mode == Random {
		return nil, fmt.Errorf("envelope: random values have no domain")
	}
	c := &Codec{mode: mode, header: binary.BigEndian.AppendUint32(ValuePrefix(mode), id)}
	c.aad = bind.append(bytes.Clone(c.header))
	var err error
	switch mode {
	case Random:
		c.random, err = newRandomKeys(dataKey, bind)
	case Equality:
		c.siv, err = newSIVKey(dataKey, bind)
	case Range:
		c.ranges, err = newRangeKey(dataKey, bind)
	default:
		err = fmt.Errorf("envelope: no mode %d", mode)
	}
	return c, err
}

// Seal appends the sealed form of plaintext to dst.
func (c *Codec) Seal(dst, plaintext []byte) ([]byte, error) {
	dst = append(dst, c.header...)
	switch c.mode {
	case Equality:
		return c.siv.seal(dst, plaintext, c.aad)
	case Range:
		return c.ranges.seal(dst, plaintext, c.aad)
	case Searchable:
		return c.search.seal(dst, plaintext, c.aad)
	}
	return c.random.seal(dst, plaintext, c.aad)
}

// Open appends the plaintext of value to dst. It fails with ErrFormat or, once
// the value has the right form, with ErrOpen.
func (c *Codec) Open(dst, value []byte) ([]byte, error) {
	if _, _, err := ParseValue(value); err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(value, c.header) {
		return nil, ErrOpen
	}
	switch c.mode {
	case Equality:
		return c.siv.open(dst, value[valueHeader:], c.aad)
	case Range:
		return c.ranges.open(dst, value[valueHeader:], c.aad)
	case Searchable:
		return c.search.open(dst, value, c.aad)
	}
	return c.random.open(dst, value[valueHeader:], c.aad)
}
