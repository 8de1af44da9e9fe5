// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"errors"
	"testing"

	"github.com/sidekey/sidekey/keysvc/store"
)

// TestUsesAreFoundUntilWritten: a use is known while it is being written, and
// after it could not be; one that came meanwhile is not forgotten with it.
func TestUsesAreFoundUntilWritten(t *testing.T) {
	var u uses
	one, other := store.Ref{Region: "one"}, store.Ref{Region: "other"}
	u.note(store.Use{Key: one, RequestID: "1"})
	u.note(store.Use{Key: other, RequestID: "2"})
	failed := errors.New("full")
	if err := u.flush(func([]store.Use) error { return failed }); err != failed {
		t.Errorf("flush returned %v, want %v", err, failed)
	}
	err := u.flush(func(list []store.Use) error {
		if use, ok := u.get(one); !ok || use.RequestID != "1" || len(list) != 2 {
			t.Errorf("while %d are written: %v %v, want request 1 of 2", len(list), use, ok)
		}
		u.note(store.Use{Key: other, RequestID: "3"})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if use, ok := u.get(one); ok {
		t.Errorf("%v is kept after it was written", use)
	}
	if use, _ := u.get(other); use.RequestID != "3" {
		t.Errorf("a use during the write is %v, want that of request 3", use)
	}
}
