// SPDX-License-Identifier: Apache-2.0

package s3ec

import (
	"crypto/aes"
	"crypto/cipher"
)

// ValidTag checks a tag in pieces of chunkSize.
func ValidTag(key, nonce []byte, additional string, ciphertext, tag []byte, chunkSize int) (bool, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return false, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return false, err
	}
	t := newTagger(aead, nonce, additional, chunkSize)
	for len(ciphertext) > chunkSize {
		t.write(ciphertext[:chunkSize])
		ciphertext = ciphertext[chunkSize:]
	}
	return t.valid(ciphertext, tag), nil
}

// DecodeHeader is decodeHeader.
func DecodeHeader(value string) (string, error) { return decodeHeader(value) }
