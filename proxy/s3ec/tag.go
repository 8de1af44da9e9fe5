// SPDX-License-Identifier: Apache-2.0

package s3ec

import (
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
)

const blockSize = 16

// tagger checks the tag of a GCM message of any length in bounded memory. The
// standard library only opens messages whole, and offers no GHASH. But its GCM
// of additional data alone is GHASH, in constant time and with the processor's
// instructions, and GHASH is linear, so that pieces can be joined with XOR:
// nothing is multiplied here.
//
// Write E for the mask of the nonce, H for the hash key, · and ^ in GCM's field.
// For additional data of m whole blocks X1 … Xm and no plaintext, the library
// returns, with K the block of the lengths,
//
//	tag(X) = X1·H^(m+1) ^ X2·H^m ^ … ^ Xm·H^2 ^ K·H ^ E
//
// and for m blocks of zeros K·H ^ E. So
//
//	sum(X) = tag(X) ^ tag(zeros) = X1·H^(m+1) ^ X2·H^m ^ … ^ Xm·H^2
//
// Let Y be the running GHASH of a message. tagger keeps Z = Y·H. After m more
// blocks C, Y' = Y·H^m ^ C1·H^m ^ … ^ Cm·H, and Z' = Z·H^m ^ sum(C): the weight
// H^m is that of the second block, so that
//
//	Z' = sum(C1, C2^Z, C3, …)                                        (write)
//
// For the last m blocks, padded with zeros, then the block of lengths L,
//
//	tag = Z·H^m ^ sum(C) ^ L·H ^ E
//
// which is compared after both sides are multiplied by H^2, a bijection as H is
// not zero but with the chance of guessing it:
//
//	sum(C1, C2^Z, …, Cm, L, 0) = sum(tag ^ E)                        (valid)
//
// with the weights H^(m+2) for Z and H^3 for L; if m is 0 or 1, the second block
// is the one of zeros or L. The masks cancel inside sum, and no value of it
// leaves this type: that all come from one nonce tells nobody anything.
type tagger struct {
	aead  cipher.AEAD
	nonce []byte
	chunk [blockSize]byte // tag of zeros as long as a chunk
	z     [blockSize]byte
	zeros []byte

	additional, written uint64 // bytes
}

// newTagger begins a message with its additional data of at most one block.
// write then takes chunks of one size, of whole blocks and at least two.
func newTagger(aead cipher.AEAD, nonce []byte, additional string, chunkSize int) *tagger {
	t := &tagger{aead: aead, nonce: nonce, zeros: make([]byte, chunkSize+2*blockSize), additional: uint64(len(additional))}
	t.chunk = t.tag(t.zeros[:chunkSize])
	if additional != "" {
		var block [blockSize]byte
		copy(block[:], additional)
		t.z = t.sum(block[:]) // Y·H with Y = block·H
	}
	return t
}

func (t *tagger) tag(data []byte) (tag [blockSize]byte) {
	t.aead.Seal(tag[:0], t.nonce, nil, data)
	return tag
}

func (t *tagger) sum(blocks []byte) [blockSize]byte {
	return xor(t.tag(blocks), t.tag(t.zeros[:len(blocks)]))
}

// write takes the next chunk of ciphertext, one that is not the last. It changes
// the chunk while it runs and leaves it as it was.
func (t *tagger) write(chunk []byte) {
	second := chunk[blockSize : 2*blockSize]
	z := t.z
	subtle.XORBytes(second, second, z[:])
	t.z = xor(t.tag(chunk), t.chunk)
	subtle.XORBytes(second, second, z[:])
	t.written += uint64(len(chunk))
}

// valid takes the rest of the ciphertext, at most a chunk, and says whether the
// message has this tag. Nothing can be written after it.
func (t *tagger) valid(rest, tag []byte) bool {
	padded := (len(rest) + blockSize - 1) / blockSize * blockSize
	blocks := make([]byte, padded+2*blockSize)
	copy(blocks, rest)
	lengths := blocks[padded : padded+blockSize]
	binary.BigEndian.PutUint64(lengths, 8*t.additional)
	binary.BigEndian.PutUint64(lengths[8:], 8*(t.written+uint64(len(rest))))
	second := blocks[blockSize : 2*blockSize]
	subtle.XORBytes(second, second, t.z[:])
	got := t.sum(blocks)

	want := xor([blockSize]byte(tag), t.tag(nil)) // t.tag(nil) is E
	want = t.sum(want[:])
	return subtle.ConstantTimeCompare(got[:], want[:]) == 1
}

func xor(a, b [blockSize]byte) [blockSize]byte {
	subtle.XORBytes(a[:], a[:], b[:])
	return a
}
