// SPDX-License-Identifier: Apache-2.0

package envelope

import (
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
)

// Sizes of a sealed message, in bytes. FORMAT.md [O1]–[O6], which are those of
// Cobblestone-256 of c2sp.org/chunked-encryption.
const (
	// ChunkSize is the plaintext in every chunk but the last.
	ChunkSize = 16 << 10
	// SealedChunkSize is a full chunk with its tag.
	SealedChunkSize = ChunkSize + tagSize
	// PrefixSize is salt and commitment, which precede the first chunk.
	PrefixSize = saltSize + commitmentSize

	saltSize       = 24
	commitmentSize = 32
	nonceSize      = 12
	tagSize        = 16

	// maxChunks keeps the counter inside the low 38 bits of the nonce, so that
	// the upper 58 bits of the base nonce still tell messages apart: with a
	// 256-bit key that leaves 314 random bits per message. 2^38 full chunks
	// are 4 PiB, below the wear-out of AES in counter mode (2^48.5 blocks at
	// advantage 2^-32).
	maxChunks = 1 << 38

	messageInfo = "c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00"
)

// Message holds the keys of one sealed message. It seals at most one plaintext
// and may open any number of times; it is safe for concurrent opening.
type Message struct {
	aead      cipher.AEAD
	baseNonce [nonceSize]byte
	prefix    [PrefixSize]byte
}

// NewMessage derives the keys of a message ([O2]). The input key is 32
// uniformly random bytes; a salt is never used twice with one input key to seal.
func NewMessage(inputKey []byte, salt [24]byte, context []byte) (*Message, error) {
	info := make([]byte, 0, len(messageInfo)+saltSize+len(context))
	info = append(info, messageInfo...)
	info = append(info, salt[:]...)
	info = append(info, context...)
	okm, err := expand(inputKey, string(info), 32+nonceSize+commitmentSize)
	if err != nil {
		return nil, err
	}
	defer clear(okm)
	m := new(Message)
	if m.aead, err = newGCM(okm[:32]); err != nil {
		return nil, err
	}
	copy(m.baseNonce[:], okm[32:])
	copy(m.prefix[:], salt[:])
	copy(m.prefix[saltSize:], okm[32+nonceSize:])
	return m, nil
}

// OpenMessage derives the keys of the message that begins with prefix and
// refuses it unless the commitment is the derived one ([O3]).
func OpenMessage(inputKey, prefix, context []byte) (*Message, error) {
	if len(prefix) < PrefixSize {
		return nil, ErrOpen
	}
	m, err := NewMessage(inputKey, [24]byte(prefix), context)
	if err != nil {
		return nil, err
	}
	if !m.checkPrefix(prefix[:PrefixSize]) {
		return nil, ErrOpen
	}
	return m, nil
}

// Prefix is the salt and commitment that precede the chunks.
func (m *Message) Prefix() [PrefixSize]byte { return m.prefix }

func (m *Message) commitment() []byte { return m.prefix[saltSize:] }

func (m *Message) checkPrefix(prefix []byte) bool {
	return subtle.ConstantTimeCompare(m.prefix[:], prefix) == 1
}

// nonce writes the nonce of a chunk to dst: the base nonce XOR the chunk number,
// big endian ([O5]).
func (m *Message) nonce(dst *[nonceSize]byte, chunk uint64) {
	*dst = m.baseNonce
	low := binary.BigEndian.Uint64(dst[4:])
	binary.BigEndian.PutUint64(dst[4:], low^chunk)
}

// SealedSize is the length of the sealed form of plain bytes ([O6]).
func SealedSize(plain int64) int64 {
	return PrefixSize + plain + tagSize*(plain/ChunkSize+1)
}

// PlainSize is the length of the plaintext in a sealed message of that length.
// It fails for a length that no message has, which is what truncation at a
// chunk boundary leaves ([O6]).
func PlainSize(sealed int64) (int64, error) {
	body := sealed - PrefixSize
	if body < tagSize {
		return 0, malformed("a message of %d bytes", sealed)
	}
	full, rest := body/SealedChunkSize, body%SealedChunkSize
	if rest < tagSize || full >= maxChunks {
		return 0, malformed("a message of %d bytes", sealed)
	}
	return full*ChunkSize + rest - tagSize, nil
}

// SealedRange is the part of a sealed message of plainSize plaintext bytes that
// is needed to open n bytes from off: whole chunks, without the prefix. A range
// that reaches the end includes the final chunk even when that one is empty, so
// that the end itself is authenticated ([O7]). A range outside the plaintext is
// empty.
func SealedRange(off, n, plainSize int64) (sealedOff, sealedLen int64) {
	if off < 0 || n <= 0 || off >= plainSize {
		return PrefixSize, 0
	}
	n = min(n, plainSize-off)
	first, last := off/ChunkSize, (off+n-1)/ChunkSize
	end := PrefixSize + (last+1)*SealedChunkSize
	if off+n == plainSize || last == plainSize/ChunkSize {
		end = SealedSize(plainSize)
	}
	sealedOff = PrefixSize + first*SealedChunkSize
	return sealedOff, end - sealedOff
}
