// SPDX-License-Identifier: Apache-2.0

package memkey

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"fmt"

	kwp "github.com/tink-crypto/tink-go/v2/kwp/subtle"
)

// MAC is the HMAC of message with the hash of the spec, in full length.
func MAC(spec string, material, message []byte) ([]byte, error) {
	ks, err := specOf(spec, familyMAC)
	if err != nil {
		return nil, err
	}
	if err := ks.checkSecret(material); err != nil {
		return nil, err
	}
	h := hmac.New(ks.hash.New, material)
	h.Write(message)
	return h.Sum(nil), nil
}

// Seal encrypts under the subkey that the epoch selects of a SYMMETRIC_DEFAULT
// key (BLOB.md [B4], [B5]): ciphertext, then tag.
func Seal(material []byte, epoch [16]byte, nonce [12]byte, plaintext, aad []byte) (sealed []byte, err error) {
	gcm, err := subkeyOf(material, epoch)
	if err != nil {
		return nil, err
	}
	return gcm.Seal(nil, nonce[:], plaintext, aad), nil
}

// Open is the inverse of Seal. ok is false whatever is wrong.
func Open(material []byte, epoch [16]byte, nonce [12]byte, sealed, aad []byte) (plaintext []byte, ok bool) {
	gcm, err := subkeyOf(material, epoch)
	if err != nil {
		return nil, false
	}
	plaintext, err = gcm.Open(nil, nonce[:], sealed, aad)
	return plaintext, err == nil
}

// subkeyOf is [B4]: the key encrypts the epoch with its top bit cleared and set.
func subkeyOf(material []byte, epoch [16]byte) (cipher.AEAD, error) {
	if len(material) != 32 {
		return nil, ErrMaterial
	}
	block, err := aes.NewCipher(material)
	if err != nil {
		return nil, fmt.Errorf("deriving a subkey: %w", err)
	}
	var subkey [32]byte
	defer clear(subkey[:])
	epoch[0] &^= 0x80
	block.Encrypt(subkey[:16], epoch[:])
	epoch[0] |= 0x80
	block.Encrypt(subkey[16:], epoch[:])
	if block, err = aes.NewCipher(subkey[:]); err != nil {
		return nil, fmt.Errorf("deriving a subkey: %w", err)
	}
	return cipher.NewGCM(block)
}

// UnwrapAESKWP undoes AES key wrap with padding (RFC 5649) under a KEK of 16 or
// 32 bytes, for keys of more than 8 bytes. The error is ErrUnwrap, whatever is
// wrong.
func UnwrapAESKWP(kek, wrapped []byte) ([]byte, error) {
	w, err := kwp.NewKWP(kek)
	if err != nil {
		return nil, ErrUnwrap
	}
	key, err := w.Unwrap(wrapped)
	if err != nil {
		return nil, ErrUnwrap
	}
	return key, nil
}
