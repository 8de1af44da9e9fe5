// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"context"
	"errors"
	"fmt"

	"github.com/sidekey/sidekey/keysvc/store"
)

// macKeyAAD separates the store's sealed MAC key from ciphertext blobs, whose
// AAD begins otherwise: no answer of the API can stand in for it.
const macKeyAAD = "sidekey key store MAC key"

// macKeyEpoch is fixed because the backing key encrypts one message only.
var macKeyEpoch [epochSize]byte

// unlockStore gives the store the key of its MACs, which the HSM alone can
// open. The first start makes it.
func unlockStore(ctx context.Context, st *store.Store, tok Token) error {
	wrapped, sealed, err := st.SealedMACKey(ctx)
	if errors.Is(err, store.ErrNotFound) {
		if err := makeMACKey(ctx, st, tok); err != nil {
			return err
		}
		wrapped, sealed, err = st.SealedMACKey(ctx)
	}
	if err != nil {
		return err
	}
	if len(sealed) != nonceSize+store.MACKeySize+tagSize {
		return errors.New("the MAC key of the key store is damaged")
	}
	key, ok, err := tok.Decrypt(ctx, wrapped, macKeyEpoch, [nonceSize]byte(sealed), sealed[nonceSize:], []byte(macKeyAAD))
	defer clear(key)
	tok.Forget(wrapped)
	if err != nil {
		return fmt.Errorf("opening the MAC key of the key store: %w", err)
	}
	if !ok {
		return errors.New("the MAC key of the key store was changed")
	}
	st.Unlock(key)
	return nil
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
	nonce, sealed, err := tok.Encrypt(ctx, wrapped, macKeyEpoch, [nonceSize]byte{}, key, []byte(macKeyAAD))
	if err != nil {
		return fmt.Errorf("making the MAC key of the key store: %w", err)
	}
	return st.CreateMACKey(ctx, wrapped, append(nonce[:], sealed...))
}
