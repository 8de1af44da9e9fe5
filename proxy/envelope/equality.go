// SPDX-License-Identifier: Apache-2.0

package envelope

import (
	"fmt"

	"github.com/tink-crypto/tink-go/v2/daead/subtle"
)

// sivKey is AES-SIV (RFC 5297) with a 64-byte key: two AES-256 keys, since a
// 128-bit CMAC key would be within reach of multi-key attacks. SIV needs no
// nonce; its bound is 2^48 blocks per key for an advantage of 2^-32, so a data
// key of an equality column serves about 2^46 short values.
type sivKey struct {
	aead *subtle.AESSIV
}

const sivKeySize = subtle.AESSIVKeySize

func newSIVKey(dataKey []byte, bind Binding) (*sivKey, error) {
	key, err := expand(dataKey, string(bind.append([]byte(labelEquality))), sivKeySize)
	if err != nil {
		return nil, err
	}
	return newSIV(key)
}

func newSIV(key []byte) (*sivKey, error) {
	aead, err := subtle.NewAESSIV(key)
	if err != nil {
		return nil, fmt.Errorf("preparing AES-SIV: %w", err)
	}
	return &sivKey{aead: aead}, nil
}

func (s *sivKey) seal(dst, plaintext, aad []byte) ([]byte, error) {
	sealed, err := s.aead.EncryptDeterministically(plaintext, aad)
	if err != nil {
		return nil, fmt.Errorf("sealing by AES-SIV: %w", err)
	}
	return append(dst, sealed...), nil
}

func (s *sivKey) open(dst, body, aad []byte) ([]byte, error) {
	plaintext, err := s.aead.DecryptDeterministically(body, aad)
	if err != nil {
		return nil, ErrOpen
	}
	return append(dst, plaintext...), nil
}
