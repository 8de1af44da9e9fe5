// SPDX-License-Identifier: Apache-2.0

package envelope

import (
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// PartRecord is what an upload keeps of a part until it is completed, in the name
// of an object of the store. FORMAT.md [U2].
type PartRecord struct {
	Size     int64
	Salt     [24]byte
	ETag     [16]byte // first bytes of the SHA-256 of the store's ETag of the part
	Held     []byte   // name of the object that holds the part, 16 bytes; empty if it is with the store's upload
	Checksum []byte
	MD5      []byte
}

// PartETag is the ETag, without quotation marks, by which a client that was given no
// MD5 names a sealed part. FORMAT.md [U4].
//
// Of 2^32 parts of one upload two share it with a chance below 2^-64.
func PartETag(salt [24]byte) string { return hex.EncodeToString(salt[:16]) }

// UploadMark is what an upload ID for clients has of the header of the upload.
// FORMAT.md [U5].
func UploadMark(header string) string {
	sum := sha256.Sum256([]byte(header))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// records is the cipher of the part records of one upload.
func (o *Object) records(uploadID [32]byte) (cipher.AEAD, error) {
	key, err := expand(o.inputKey, labelRecord+string(uploadID[:]), 32)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return newGCM(key)
}

// SealPartRecord returns the record of a part as text that fits into a path
// segment: at most 200 characters of base64url.
//
// An upload has 10,000 parts, and 2^32 records, of parts sent again and again,
// stay below a chance of 2^-32 that two share a random nonce.
func (o *Object) SealPartRecord(uploadID [32]byte, number int, r *PartRecord) (string, error) {
	aead, err := o.records(uploadID)
	if err != nil {
		return "", err
	}
	b := r.append(nil)
	nonce := make([]byte, nonceSize, nonceSize+len(b)+tagSize)
	rand.Read(nonce)
	sealed := aead.Seal(nonce, nonce, b, binary.BigEndian.AppendUint32(nil, uint32(number)))
	text := base64.RawURLEncoding.EncodeToString(sealed)
	if len(text) > maxRecord {
		return "", fmt.Errorf("envelope: a part record of %d characters", len(text))
	}
	return text, nil
}

const maxRecord = 200

// OpenPartRecord opens the record of a part. It fails with ErrOpen.
func (o *Object) OpenPartRecord(uploadID [32]byte, number int, text string) (*PartRecord, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(text) > maxRecord || base64.RawURLEncoding.EncodedLen(len(b)) != len(text) || len(b) < nonceSize {
		return nil, ErrOpen
	}
	aead, err := o.records(uploadID)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, b[:nonceSize], b[nonceSize:], binary.BigEndian.AppendUint32(nil, uint32(number)))
	if err != nil {
		return nil, ErrOpen
	}
	r, err := parseRecord(plain)
	if err != nil {
		return nil, ErrOpen
	}
	return r, nil
}

// append writes the plaintext of a record:
//
//	size 8 | salt 24 | ETag 16 | lp1(held) | lp1(checksum) | lp1(MD5)
func (r *PartRecord) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(r.Size))
	b = append(append(b, r.Salt[:]...), r.ETag[:]...)
	return appendTiny(appendTiny(appendTiny(b, r.Held), r.Checksum), r.MD5)
}

// parseRecord accepts exactly what append writes.
func parseRecord(plain []byte) (*PartRecord, error) {
	f := fields{rest: plain}
	fixed := f.take(8 + 24 + 16)
	r := &PartRecord{Held: f.bytes(1), Checksum: f.bytes(1), MD5: f.bytes(1)}
	if f.bad || len(f.rest) > 0 {
		return nil, malformed("a part record")
	}
	r.Size = int64(binary.BigEndian.Uint64(fixed))
	copy(r.Salt[:], fixed[8:])
	copy(r.ETag[:], fixed[32:])
	return r, nil
}
