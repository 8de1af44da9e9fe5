// SPDX-License-Identifier: Apache-2.0

package envelope

import (
	"encoding/binary"
	"fmt"
)

// Value layout. FORMAT.md [V1]–[V3].
//
//	off  len  field, big endian
//	  0    2  magic F8 4B
//	  2    1  suite: 01 random, 02 equality
//	  3    4  data key ID
//	  7   12  random: epoch salt      7  16  equality: SIV
//	 19   12  random: nonce          23   n  equality: ciphertext
//	 31    n  random: ciphertext
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
	}
	return 0
}

// ParseValue tells a sealed value from other bytes, and its mode and data key
// ID. Nothing is authenticated. It fails with ErrFormat.
func ParseValue(value []byte) (Mode, uint32, error) {
	if len(value) < valueHeader || value[0] != valueMagic0 || value[1] != valueMagic1 {
		return 0, 0, malformed("not a sealed value")
	}
	mode := Mode(value[2])
	if minimum := MinValue(mode); minimum == 0 || len(value) < minimum {
		return 0, 0, malformed("a sealed value of suite %d and %d bytes", value[2], len(value))
	}
	return mode, binary.BigEndian.Uint32(value[3:]), nil
}

// Codec seals and opens the values of one binding under one data key. It is
// safe for concurrent use. Its keys live on the Go heap until it is dropped.
type Codec struct {
	mode   Mode
	header [valueHeader]byte
	aad    []byte // header and binding ([V5])
	random *randomKeys
	siv    *sivKey
}

// NewCodec derives the keys of a binding. dataKey is not kept.
func NewCodec(mode Mode, dataKey []byte, id uint32, bind Binding) (*Codec, error) {
	if len(dataKey) != DataKeySize {
		return nil, fmt.Errorf("envelope: a data key of %d bytes, want %d", len(dataKey), DataKeySize)
	}
	if bind.Domain != "" && mode != Equality {
		return nil, fmt.Errorf("envelope: a domain is for equality values only")
	}
	c := &Codec{mode: mode}
	copy(c.header[:], ValuePrefix(mode))
	binary.BigEndian.PutUint32(c.header[3:], id)
	c.aad = bind.append(append([]byte(nil), c.header[:]...))
	var err error
	switch mode {
	case Random:
		c.random, err = newRandomKeys(dataKey, bind)
	case Equality:
		c.siv, err = newSIVKey(dataKey, bind)
	default:
		err = fmt.Errorf("envelope: no mode %d", mode)
	}
	return c, err
}

// Seal appends the sealed form of plaintext to dst.
func (c *Codec) Seal(dst, plaintext []byte) ([]byte, error) {
	dst = append(dst, c.header[:]...)
	if c.mode == Equality {
		return c.siv.seal(dst, plaintext, c.aad)
	}
	return c.random.seal(dst, plaintext, c.aad)
}

// Open appends the plaintext of value to dst. It fails with ErrFormat or, once
// the value has the right form, with ErrOpen.
func (c *Codec) Open(dst, value []byte) ([]byte, error) {
	if _, _, err := ParseValue(value); err != nil {
		return nil, err
	}
	if [valueHeader]byte(value) != c.header {
		return nil, ErrOpen
	}
	if c.mode == Equality {
		return c.siv.open(dst, value[valueHeader:], c.aad)
	}
	return c.random.open(dst, value[valueHeader:], c.aad)
}
