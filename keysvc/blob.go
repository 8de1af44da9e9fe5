// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"

	"github.com/google/uuid"
)

const (
	blobVersion = 1
	epochSize   = 16
	nonceSize   = 12
	tagSize     = 16

	boundSize  = 1 + 16 + 4 + epochSize // what the AAD repeats of the header
	headerSize = boundSize + nonceSize
	minBlob    = headerSize + 1 + tagSize
	maxBlob    = headerSize + 4096 + tagSize

	// blobLabel separates the AAD of blobs from that of any other use of the
	// same subkeys.
	blobLabel = "sidekey kms ciphertext blob"
)

// A blob is what Encrypt answers with. BLOB.md [B1]–[B8].
//
//	off  len  field
//	  0    1  version, 1
//	  1   16  key ID, the bytes of the UUID
//	 17    4  backing key version, big endian
//	 21   16  epoch
//	 37   12  nonce
//	 49    n  ciphertext, 1 to 4096 bytes
//	  …   16  tag
type blob struct {
	keyID   uuid.UUID
	version uint32 // of the backing key
	epoch   [epochSize]byte
	nonce   [nonceSize]byte
	sealed  []byte // ciphertext and tag
}

// errBlob covers everything that is wrong with the form of a blob.
var errBlob = errors.New("malformed ciphertext blob")

// parseBlob is strict: what it accepts is what append makes. The
// result shares memory with raw.
func parseBlob(raw []byte) (*blob, error) {
	if len(raw) < minBlob || len(raw) > maxBlob || raw[0] != blobVersion {
		return nil, errBlob
	}
	b := &blob{
		keyID:   uuid.UUID(raw[1:17]),
		version: binary.BigEndian.Uint32(raw[17:21]),
		epoch:   [epochSize]byte(raw[21:37]),
		nonce:   [nonceSize]byte(raw[37:49]),
		sealed:  raw[headerSize:],
	}
	if b.keyID == uuid.Nil || b.version == 0 {
		return nil, errBlob
	}
	return b, nil
}

// appendHeader appends the part of the header that the AAD repeats. The nonce
// is not in it: some HSMs choose it themselves, and GCM authenticates it.
func (b *blob) appendHeader(dst []byte) []byte {
	dst = append(dst, blobVersion)
	dst = append(dst, b.keyID[:]...)
	dst = binary.BigEndian.AppendUint32(dst, b.version)
	return append(dst, b.epoch[:]...)
}

// append appends the whole blob.
func (b *blob) append(dst []byte) []byte {
	dst = b.appendHeader(slices.Grow(dst, headerSize+len(b.sealed)))
	dst = append(dst, b.nonce[:]...)
	return append(dst, b.sealed...)
}

// aad is the additional data that binds a blob to its header and encryption
// context. BLOB.md [B5]. Every part has a length or a fixed size and pairs are
// sorted by key, so two different inputs never have the same encoding.
func (b *blob) aad(context map[string]string) []byte {
	size := 2 + len(blobLabel) + boundSize + 4
	for key, value := range context {
		size += 8 + len(key) + len(value)
	}
	dst := make([]byte, 0, size)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(blobLabel)))
	dst = append(dst, blobLabel...)
	dst = b.appendHeader(dst)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(context)))
	for _, key := range slices.Sorted(maps.Keys(context)) {
		dst = appendSized(dst, key)
		dst = appendSized(dst, context[key])
	}
	return dst
}

func appendSized(dst []byte, s string) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(s)))
	return append(dst, s...)
}
