// SPDX-License-Identifier: Apache-2.0

// Package envelope is the bytes of sidekey: sealed objects with their headers,
// and sealed column values. FORMAT.md is the specification; the tags in the
// comments ([O1], [H3], [V2]) are its clauses. The package does no I/O of its
// own, knows no key service and holds no state beyond the keys it is given.
package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha512"
	"errors"
	"fmt"
)

// DataKeySize is the length in bytes of every data key ([K1]).
const DataKeySize = 32

// ErrOpen covers every failure after parsing: wrong key, wrong binding, changed,
// moved or missing bytes. Peers must not be able to tell them apart.
var ErrOpen = errors.New("envelope: cannot authenticate")

// ErrFormat is wrapped by every failure of a parser: these bytes were not
// written by this format, whatever the key.
var ErrFormat = errors.New("envelope: malformed")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrFormat}, args...)...)
}

// expand is HKDF-Expand of RFC 5869 with SHA-512. A data key is 32 uniformly
// random bytes, so that no extraction is needed ([K1]).
func expand(key []byte, info string, length int) ([]byte, error) {
	if len(key) != DataKeySize {
		return nil, fmt.Errorf("envelope: a key of %d bytes, want %d", len(key), DataKeySize)
	}
	out, err := hkdf.Expand(sha512.New, key, info, length)
	if err != nil {
		return nil, fmt.Errorf("deriving a key: %w", err)
	}
	return out, nil
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("preparing AES: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("preparing GCM: %w", err)
	}
	return aead, nil
}
