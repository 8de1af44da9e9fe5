// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/sidekey/sidekey/keysvc/store"
)

// TestErasedBytes: what was erased is in no file of the store. The write-ahead
// log of PostgreSQL is the server's.
func TestErasedBytes(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		s := d.open(t)
		marker, kept := bytes.Repeat([]byte("ErAsEd!"), 20), bytes.Repeat([]byte("kept..."), 20)
		for _, wrapped := range [][]byte{marker, kept} {
			k := add(t, s)
			_, err := s.Update(ctx, k.Ref, func(tx *store.Tx, k *store.Key) error {
				k.Version, k.Versions = 2, 2
				if bytes.Equal(wrapped, marker) {
					k.State, k.DeletionDate = store.PendingDeletion, time.Now().Add(-time.Hour)
				}
				return tx.AddMaterial(k.Ref, store.Material{Version: 2, Wrapped: wrapped, Created: time.Now()})
			})
			must(t, err)
		}
		if !d.holds(t, marker) || !d.holds(t, kept) {
			t.Fatal("the test does not see what is stored")
		}
		due, err := s.Due(ctx, time.Now(), 9)
		must(t, err)
		if len(due) != 1 {
			t.Fatalf("due: %v", due)
		}
		erased, err := s.Erase(ctx, due[0], time.Now())
		must(t, err)
		must(t, s.Checkpoint(ctx))
		if !erased || d.holds(t, marker) || !d.holds(t, kept) {
			t.Errorf("erased: %v; its bytes are there: %v; others are: %v", erased, d.holds(t, marker), d.holds(t, kept))
		}
	})
}
