// SPDX-License-Identifier: Apache-2.0

package envelope_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"slices"
)

// The other direction of standalone_test.go: it seals what a sealer of the
// package would not, authentic headers, tables and footers of other forms.

// entriesOf decrypts the entries of a header.
func (h aloneHeader) entriesOf(dataKey []byte) []byte {
	keys := expand(dataKey, 64, "sidekey/v1/header\x00", h.objectID, h.salt)
	entries := make([]byte, len(h.checksums))
	cipher.NewCTR(aesBlock(keys[:32]), make([]byte, aes.BlockSize)).XORKeyStream(entries, h.checksums)
	return entries
}

// seal is the header's value with these entries and a tag for its place.
func (h aloneHeader) seal(o aloneObject, entries []byte) string {
	keys := expand(o.dataKey, 64, "sidekey/v1/header\x00", h.objectID, h.salt)
	encrypted := make([]byte, len(entries))
	cipher.NewCTR(aesBlock(keys[:32]), make([]byte, aes.BlockSize)).XORKeyStream(encrypted, entries)
	suite := h.suite
	if h.customer {
		suite |= 0x80
	}
	b := slices.Concat([]byte("SK\x01"), []byte{suite}, h.objectID, h.salt, []byte{byte(len(h.keyRef))}, h.keyRef,
		lp2(h.wrapped), lp2(h.encContext), lp2(encrypted))
	mac := hmac.New(sha256.New, keys[32:])
	mac.Write(b)
	if h.suite == 1 {
		input := expand(o.dataKey, 32, "sidekey/v1/object\x00", h.objectID)
		mac.Write(aloneMessageKeys(input, h.objectID, h.context(0))[44:])
	}
	mac.Write(lp4(o.bucket))
	mac.Write(lp4(o.name))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(b))
}

func lp2(b []byte) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...) }

// sealAlone seals a message.
func sealAlone(input, context, salt, plain []byte) []byte {
	keys := aloneMessageKeys(input, salt, context)
	message := slices.Concat(salt, keys[44:])
	for k := uint64(0); ; k++ {
		n := min(len(plain), 16384)
		message = aloneGCM(keys[:32]).Seal(message, chunkNonce(keys[32:44], k), plain[:n], nil)
		if plain = plain[n:]; n < 16384 {
			return message
		}
	}
}

// endWith ends a multipart object of p bytes, of which the parts are stored, with
// this table.
func (k aloneKeys) endWith(stored, table, salt []byte, p uint64) []byte {
	message := sealAlone(k.input, k.context(1<<32-1), salt, table)
	padding := int(sealedLength(p)+256+160*min(10000, p/5242880+1)) - len(stored) - len(message) - 8
	tail := append(make([]byte, max(0, padding)), message...)
	tail = binary.BigEndian.AppendUint32(append(tail, "SKT1"...), uint32(len(message)))
	return append(slices.Clone(stored), tail...)
}
