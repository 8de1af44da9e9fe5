// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/sidekey/sidekey/keysvc/store"
)

// version2 is a file as the program wrote it when its schema had version 2,
// with the key of the tests for its MACs.
func version2(t *testing.T) *database {
	t.Helper()
	d := newSQLite(t)
	script, err := os.ReadFile("testdata/version2.sql")
	must(t, err)
	d.exec(t, string(script))
	must(t, os.Chmod(d.path, 0o600))
	return d
}

func carried(state store.State, n byte) *store.Key {
	at := time.UnixMilli(1_700_000_000_123).UTC()
	k := &store.Key{
		Ref: store.Ref{Region: region, ID: uuid.UUID(bytes.Repeat([]byte{n}, 16))}, State: state, Spec: "SYMMETRIC_DEFAULT", Usage: "ENCRYPT_DECRYPT",
		Origin: "AWS_KMS", Protection: "hsm", Description: "key " + string(state), Created: at, Version: 1, Versions: 1,
		Tags: map[string]string{"state": string(state), "empty": ""}, Aliases: []string{"alias/" + string(state)},
	}
	if state == store.PendingDeletion {
		k.DeletionDate = at.Add(24 * time.Hour)
	}
	if state == store.Enabled {
		k.Aliases = append(k.Aliases, "alias/another")
	}
	return k
}

// TestCarryOver: the keys of an earlier version's file are there as they were,
// also after a start that ended before it had the key of the MACs.
func TestCarryOver(t *testing.T) {
	d := version2(t)
	half, err := store.Open(ctx, d.url, "")
	must(t, err)
	must(t, half.Close())
	for range 2 { // the second start finds nothing more to carry over
		s := d.open(t)
		for i, state := range []store.State{store.Enabled, store.Disabled, store.PendingDeletion} {
			want := carried(state, byte(i+1))
			got, err := s.Key(ctx, want.Ref)
			must(t, err)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			m, err := s.Material(ctx, want.Ref, 1)
			must(t, err)
			if string(m.Wrapped) != "wrapped key "+string(state) || !m.Created.Equal(want.Created) {
				t.Errorf("material %+v", m)
			}
			if ref, err := s.Alias(ctx, region, "alias/"+string(state)); err != nil || ref != want.Ref {
				t.Errorf("alias: %v, %v", ref, err)
			}
		}
		wrapped, sealed, err := s.SealedMACKey(ctx)
		if err != nil || string(wrapped) != "wrapped MAC key" || string(sealed) != "sealed MAC key" {
			t.Errorf("MAC key %q, %q, %v", wrapped, sealed, err)
		}
		if due, err := s.Due(ctx, time.Now(), 9); err != nil || len(due) != 1 {
			t.Errorf("due: %v, %v", due, err)
		}
		must(t, s.Close())
	}
	var left int
	d.get(t, &left, "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'old_%'")
	if left != 0 {
		t.Errorf("%d old tables are left", left)
	}
}

// TestCarryOverTampered: a key that was changed in the old file ends it, and
// nothing is changed.
func TestCarryOverTampered(t *testing.T) {
	for name, script := range map[string]string{
		"state":    "UPDATE keys SET state = 'Enabled' WHERE state = 'Disabled'",
		"material": "UPDATE backing_keys SET wrapped = x'00' WHERE key_id = (SELECT id FROM keys WHERE state = 'Disabled')",
		"tag":      "DELETE FROM tags WHERE tag_key = 'empty'",
		"alias":    "UPDATE aliases SET key_id = (SELECT id FROM keys WHERE state = 'Disabled') WHERE name = 'alias/another'",
	} {
		t.Run(name, func(t *testing.T) {
			d := version2(t)
			d.exec(t, script)
			s, err := store.Open(context.Background(), d.url, "")
			must(t, err)
			defer s.Close()
			if err := s.Unlock(ctx, macKey, region); !errors.Is(err, store.ErrTampered) {
				t.Errorf("Unlock: %v", err)
			}
			var old, carried int
			d.get(t, &old, "SELECT count(*) FROM old_keys")
			d.get(t, &carried, "SELECT count(*) FROM keys")
			if old != 3 || carried != 0 {
				t.Errorf("%d old keys, %d carried over", old, carried)
			}
		})
	}
}
