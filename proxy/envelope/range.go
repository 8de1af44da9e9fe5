// SPDX-License-Identifier: Apache-2.0

package envelope

import (
	"encoding/binary"
	"fmt"

	prf "github.com/tink-crypto/tink-go/v2/prf/subtle"
)

// Range is the mode whose values compare as bytes as their plaintexts do: an
// order-preserving prefix and then AES-SIV. It shows their order, and of any two
// how long the prefix is that they share.
const Range Mode = 0x03

// MaxRange is the most bytes that the plaintext of a stored range value has. A
// PostgreSQL btree takes index rows of at most 2704 bytes, with 8 of header and 4
// of length before the value, which has 19*140+25 = 2685. One that is compared
// with may have one byte more: what is longer than all that is stored compares
// with it as its first MaxRange+1 bytes do ([V9]).
const MaxRange = 140

// Order-preserving prefix, CLWW 2016 (Chenette, Lewi, Weis, Wu). FORMAT.md
// [V10]–[V12].
//
// The plaintext is read as bits: before each byte a 1, and a 0 at the end, so that
// what is a prefix of another comes before it. Bit b becomes the digit F + b,
// where F is a pseudorandom function of the bits before it. Two plaintexts have the
// same digits up to the first bit in which they differ, there the same F, and so
// digits that differ by one, in the order of the bits.
//
//	digit  uint16, F < 2^15: F + b carries nowhere, so that no two compare wrongly
//
// F + b is one of the 2^15 + 1 values that shows b by itself (0, if b is 0, and
// 2^15, if b is 1) with chance 2^-15: that is the price of digits of 2 bytes, and
// with digits of 1 byte it would be 2^-7.
const (
	digitSize = 2
	digitMask = 1<<15 - 1
	// A call of the PRF gives the seven digits of a tree of three bits.
	bitsPerByte = 9
	groupBits   = 3

	rangeGrowth = bitsPerByte*digitSize + 1 // per byte of plaintext, ciphertext too

	// MinRange is the length of a sealed empty value.
	MinRange = valueHeader + digitSize + tagSize
)

// rangeKey is the order-preserving function and AES-SIV under keys of their own.
type rangeKey struct {
	order *prf.AESCMACPRF
	siv   *sivKey
}

const orderKeySize = 32

func newRangeKey(dataKey []byte, bind Binding) (*rangeKey, error) {
	key, err := expand(dataKey, string(bind.append([]byte(labelRange))), sivKeySize+orderKeySize)
	if err != nil {
		return nil, err
	}
	siv, err := newSIV(key[:sivKeySize])
	if err != nil {
		return nil, err
	}
	order, err := prf.NewAESCMACPRF(key[sivKeySize:])
	if err != nil {
		return nil, fmt.Errorf("preparing AES-CMAC: %w", err)
	}
	return &rangeKey{order: order, siv: siv}, nil
}

// digits appends the order-preserving prefix of a plaintext.
func (r *rangeKey) digits(dst, plaintext []byte) ([]byte, error) {
	var input [1 + MaxRange + 2]byte
	for i := 0; i <= len(plaintext); i++ {
		bits, n := uint(0), 1 // the end
		if i < len(plaintext) {
			bits, n = 1<<8|uint(plaintext[i]), bitsPerByte
		}
		for done := 0; done < n; done += groupBits {
			in := append(input[:0], byte(done/groupBits))
			in = append(in, plaintext[:i]...)
			if done > 0 { // the bits of this byte that came before
				in = append(in, byte(bits)&^(0xff>>(done-1)))
			}
			tree, err := r.order.ComputePRF(in, tagSize)
			if err != nil {
				return nil, fmt.Errorf("ordering a range value: %w", err)
			}
			dst = appendGroup(dst, tree, bits>>max(0, n-done-groupBits), min(n, groupBits))
		}
	}
	return dst, nil
}

// appendGroup writes the digits of the low n bits, most significant first. The
// tree holds F of its nodes in the order of a heap: root, children of the root,
// their children.
func appendGroup(dst, tree []byte, bits uint, n int) []byte {
	node := 0
	for k := n - 1; k >= 0; k-- {
		b := int(bits>>k) & 1
		f := binary.BigEndian.Uint16(tree[digitSize*node:]) & digitMask
		dst = binary.BigEndian.AppendUint16(dst, f+uint16(b))
		node = 2*node + 1 + b
	}
	return dst
}

// rangeLength gives the length of the plaintext of a range value of n bytes.
func rangeLength(n int) (int, bool) {
	plain := (n - MinRange) / rangeGrowth
	return plain, n >= MinRange && (n-MinRange)%rangeGrowth == 0 && plain <= MaxRange+1
}

// digitsLength is the length of the order-preserving prefix.
func digitsLength(plain int) int { return (bitsPerByte*plain + 1) * digitSize }

func (r *rangeKey) seal(dst, plaintext, aad []byte) ([]byte, error) {
	if len(plaintext) > MaxRange+1 {
		return nil, fmt.Errorf("envelope: a range value of %d bytes, of which there may be %d", len(plaintext), MaxRange)
	}
	at := len(dst)
	dst, err := r.digits(dst, plaintext)
	if err != nil {
		return nil, err
	}
	return r.siv.seal(dst, plaintext, bound(aad, dst[at:]))
}

func (r *rangeKey) open(dst, body, aad []byte) ([]byte, error) {
	plain, ok := rangeLength(valueHeader + len(body))
	if !ok {
		return nil, ErrOpen
	}
	n := digitsLength(plain)
	return r.siv.open(dst, body[n:], bound(aad, body[:n]))
}

// bound is the associated data of a range value, which binds its prefix ([V8]).
func bound(aad, digits []byte) []byte {
	return append(append(make([]byte, 0, len(aad)+len(digits)), aad...), digits...)
}
