// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/sidekey/sidekey/keysvc/store"
)

// macKeyAAD separates the store's sealed MAC key from ciphertext blobs, whose
// AAD begins otherwise: no answer of the API can stand in for it.
const macKeyAAD = "sidekey key store MAC key"

// onceEpoch is the epoch of backing keys that encrypt one message only.
var onceEpoch [epochSize]byte

// storeKeys are derived from the key of the store's MACs.
type storeKeys struct {
	check  []byte // of the IDs of imported material, which recognize it
	tokens []byte // of the MACs of grant and import tokens
}

// unlockStore gives the store the key of its MACs, which the HSM alone can
// open. The first start makes it.
func unlockStore(ctx context.Context, st *store.Store, tok Token, region string) (*storeKeys, error) {
	wrapped, sealed, err := st.SealedMACKey(ctx)
	if errors.Is(err, store.ErrNotFound) {
		if err := makeMACKey(ctx, st, tok); err != nil {
			return nil, err
		}
		wrapped, sealed, err = st.SealedMACKey(ctx)
	}
	if err != nil {
		return nil, err
	}
	if len(sealed) != nonceSize+store.MACKeySize+tagSize {
		return nil, errors.New("the MAC key of the key store is damaged")
	}
	key, ok, err := tok.Decrypt(ctx, wrapped, onceEpoch, [nonceSize]byte(sealed), sealed[nonceSize:], []byte(macKeyAAD))
	defer clear(key)
	tok.Forget(wrapped)
	if err != nil {
		return nil, fmt.Errorf("opening the MAC key of the key store: %w", err)
	}
	if !ok {
		return nil, errors.New("the MAC key of the key store was changed")
	}
	if err := st.Unlock(ctx, key, region); err != nil {
		return nil, err
	}
	return &storeKeys{check: derive(key, "sidekey imported material"), tokens: derive(key, "sidekey tokens")}, nil
}

func derive(key []byte, label string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(label))
	return h.Sum(nil)
}

func makeMACKey(ctx context.Context, st *store.Store, tok Token) error {
	wrapped, err := tok.GenerateKey(ctx)
	if err != nil {
		return fmt.Errorf("making the MAC key of the key store: %w", err)
	}
	key, err := tok.Random(ctx, store.MACKeySize)
	if err != nil {
		return fmt.Errorf("making the MAC key of the key store: %w", err)
	}
	defer clear(key)
	if len(key) != store.MACKeySize {
		return fmt.Errorf("making the MAC key of the key store: got %d random bytes", len(key))
	}
	nonce, sealed, err := tok.Encrypt(ctx, wrapped, onceEpoch, [nonceSize]byte{}, key, []byte(macKeyAAD))
	if err != nil {
		return fmt.Errorf("making the MAC key of the key store: %w", err)
	}
	return st.CreateMACKey(ctx, wrapped, append(nonce[:], sealed...))
}

// sealOnce encrypts a secret under a new backing key of the token:
//
//	off  len  field
//	  0    2  w, length of the wrapped backing key, big endian
//	  2    w  wrapped backing key
//	2+w   12  nonce
//	  …    n  ciphertext
//	  …   16  tag
//
// The backing key encrypts nothing else. The label and what follows it say
// what the secret is for.
func sealOnce(ctx context.Context, tok Token, aad, secret []byte) ([]byte, error) {
	wrapped, err := tok.GenerateKey(ctx)
	if err != nil {
		return nil, fmt.Errorf("making a key to seal with: %w", err)
	}
	defer tok.Forget(wrapped)
	nonce, sealed, err := tok.Encrypt(ctx, wrapped, onceEpoch, [nonceSize]byte{}, secret, aad)
	if err != nil {
		return nil, fmt.Errorf("sealing a secret: %w", err)
	}
	out := binary.BigEndian.AppendUint16(nil, uint16(len(wrapped)))
	out = append(append(out, wrapped...), nonce[:]...)
	return append(out, sealed...), nil
}

var errSealed = errors.New("a sealed secret is damaged, or is not what it should be")

// openOnce reverses sealOnce. The caller clears the secret.
func openOnce(ctx context.Context, tok Token, aad, sealed []byte) ([]byte, error) {
	if len(sealed) < 2 {
		return nil, errSealed
	}
	w := int(binary.BigEndian.Uint16(sealed))
	if len(sealed) < 2+w+nonceSize+tagSize {
		return nil, errSealed
	}
	wrapped, rest := sealed[2:2+w], sealed[2+w:]
	defer tok.Forget(wrapped)
	secret, ok, err := tok.Decrypt(ctx, wrapped, onceEpoch, [nonceSize]byte(rest), rest[nonceSize:], aad)
	if err != nil {
		return nil, fmt.Errorf("opening a sealed secret: %w", err)
	}
	if !ok {
		return nil, errSealed
	}
	return secret, nil
}
