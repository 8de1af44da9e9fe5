// SPDX-License-Identifier: Apache-2.0

package s3ec

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
)

// ErrOpen covers every failure to authenticate: wrong data key, wrong
// commitment, changed, missing or additional bytes. Peers must not be able to
// tell them apart.
var ErrOpen = errors.New("s3ec: cannot authenticate")

// MaxSize is the longest plaintext of one GCM message: 2^32-2 blocks, as the
// counter is of 32 bits and two of its values are not for plaintext (NIST SP
// 800-38D, 5.2.1.1).
const MaxSize = (1<<32 - 2) * blockSize

// Size is the length of the plaintext of an object of sealedSize bytes, from its
// Content-Length or Content-Range. It needs no data key and is what HEAD says.
// An object that is too short or too long, or whose metadata declares another
// length, is refused with an error that wraps ErrRefused.
func (e *Envelope) Size(sealedSize int64) (int64, error) {
	size := sealedSize - tagSize
	switch {
	case size < 0:
		return 0, refuse("an object of %d bytes, shorter than its tag", sealedSize)
	case size > MaxSize:
		return 0, refuse("an object of %d bytes, longer than a GCM message", sealedSize)
	case e.declared >= 0 && e.declared != size:
		return 0, refuse("%s says %d, the object holds %d", keyLength, e.declared, size)
	}
	return size, nil
}

// Opener opens one object. It holds the key of its content, and may be used by
// several goroutines.
type Opener struct {
	block      cipher.Block
	aead       cipher.AEAD
	nonce      []byte
	additional string
	size       int64
}

// NewOpener checks the sizes and, in V3, that the content is committed to the
// data key, of which it keeps no copy. sealedSize is the length of the sealed
// object. An error wraps ErrRefused or is ErrOpen.
func NewOpener(dataKey []byte, e *Envelope, sealedSize int64) (*Opener, error) {
	if e.WrappedKey == nil {
		return nil, refuse("an envelope that lacks its instruction file")
	}
	size, err := e.Size(sealedSize)
	if err != nil {
		return nil, err
	}
	if len(dataKey) != DataKeySize {
		return nil, ErrOpen
	}
	if !e.committed {
		return newOpener(dataKey, e.nonce, "", size)
	}
	key, err := contentKey(dataKey, e)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return newOpener(key, []byte(nonceOfSuite), suite, size)
}

func newOpener(key, nonce []byte, additional string, size int64) (*Opener, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("s3ec: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("s3ec: %w", err)
	}
	return &Opener{block: block, aead: aead, nonce: nonce, additional: additional, size: size}, nil
}

// Size is the length of the plaintext.
func (o *Opener) Size() int64 { return o.size }

// stream decrypts from the first block of a chunk on. GCM's counter is 1 for
// the tag and 2 for the first block of plaintext; MaxSize keeps it from
// overflowing its 32 bits, up to which it is that of CTR.
func (o *Opener) stream(chunk int64) cipher.Stream {
	counter := uint32(2 + chunk*(chunkSize/blockSize))
	iv := append(make([]byte, 0, blockSize), o.nonce...)
	iv = append(iv, byte(counter>>24), byte(counter>>16), byte(counter>>8), byte(counter))
	return cipher.NewCTR(o.block, iv)
}
