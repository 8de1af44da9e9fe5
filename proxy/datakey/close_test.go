// SPDX-License-Identifier: Apache-2.0

package datakey_test

import (
	"sync"
	"testing"
	"time"

	"github.com/sidekey/sidekey/proxy/datakey"
)

// Uses that go on while the cache closes fail or succeed; they do not bring the
// process down.
func TestCloseUnderUse(t *testing.T) {
	k := newService(t)
	refs := k.wrapped(4)
	for range 5 {
		c := newCache(t, datakey.Config{}, k)
		for _, ref := range refs {
			if _, err := c.Open(t.Context(), ref, nothing); err != nil {
				t.Fatal(err)
			}
		}
		var wg, warm sync.WaitGroup
		warm.Add(8)
		for range 8 {
			wg.Go(func() {
				for i := range 100_000 {
					if i == 500 {
						warm.Done()
					}
					if _, err := c.Open(t.Context(), refs[i%len(refs)], nothing); err != nil {
						return
					}
				}
			})
		}
		warm.Wait()
		c.Close()
		wg.Wait()
	}
}

// Callers that name the wrong key ARN for a wrapped key do not fail those who ask
// for the same key rightly at that moment.
func TestWrongARNFailsItsCallerOnly(t *testing.T) {
	k := newService(t)
	c := newCache(t, datakey.Config{}, k)
	defer c.Close()
	k.Slow(50 * time.Millisecond)
	right := k.wrapped(1)[0]
	wrong := right
	wrong.KeyARN = k.other
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := c.Open(t.Context(), wrong, nothing); err == nil {
				t.Error("opened under the wrong key")
			}
		})
	}
	for range 4 {
		wg.Go(func() {
			if _, err := c.Open(t.Context(), right, nothing); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
