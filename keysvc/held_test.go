// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"bytes"
	"testing"

	"github.com/google/uuid"

	"github.com/sidekey/sidekey/keysvc"
)

// TestMemoryMakesRoom: more key material than locked memory holds goes through
// it, and each use sees its own.
func TestMemoryMakesRoom(t *testing.T) {
	use := keysvc.Hold()
	loaded := 0
	for i := range 10_000 {
		want := bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 1200)
		err := use(uuid.New(), func() ([]byte, error) { loaded++; return bytes.Clone(want), nil }, func(got []byte) error {
			if !bytes.Equal(got, want) {
				t.Errorf("use %d sees other material", i)
			}
			return nil
		})
		must(t, err)
	}
	if loaded < 10_000 {
		t.Errorf("loaded %d times", loaded)
	}
	id := uuid.New()
	loads := 0
	for range 3 {
		must(t, use(id, func() ([]byte, error) { loads++; return []byte("material"), nil }, func([]byte) error { return nil }))
	}
	if loads != 1 {
		t.Errorf("material was loaded %d times for three uses", loads)
	}
}
