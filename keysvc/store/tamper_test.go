// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/sidekey/sidekey/keysvc/store"
)

// TestTampering: whoever can write to the database gets errors out of it, and
// never a row that this service has not written there.
func TestTampering(t *testing.T) {
	type read func(s *store.Store, own, other store.Key) error
	key := func(s *store.Store, own, _ store.Key) error { _, err := s.Key(ctx, own.Ref); return err }
	use := func(s *store.Store, own, _ store.Key) error { _, err := s.Material(ctx, own.Ref, 1); return err }
	grants := func(s *store.Store, own, _ store.Key) error { _, err := s.Grants(ctx, own.Ref); return err }
	keyStore := func(s *store.Store, _, _ store.Key) error { _, err := s.KeyStore(ctx, "cks-1"); return err }
	alias := func(s *store.Store, _, other store.Key) error {
		ref, err := s.Alias(ctx, region, "alias/own")
		if err == nil && ref == other.Ref {
			t.Error("the alias points to the other key")
		}
		return err
	}
	flip := func(table, column string) func(*testing.T, *database, store.Key, store.Key) {
		return func(t *testing.T, d *database, own, _ store.Key) {
			var value []byte
			d.get(t, &value, "SELECT "+column+" FROM "+table+" WHERE id = ?", own.ID[:])
			value = bytes.Clone(value)
			value[len(value)/2] ^= 1
			d.exec(t, "UPDATE "+table+" SET "+column+" = ? WHERE id = ?", value, own.ID[:])
		}
	}
	// script runs with the IDs of the own and the other key where it says so.
	script := func(query string, args ...func(own, other store.Key) any) func(*testing.T, *database, store.Key, store.Key) {
		return func(t *testing.T, d *database, own, other store.Key) {
			var values []any
			for _, arg := range args {
				values = append(values, arg(own, other))
			}
			d.exec(t, query, values...)
		}
	}
	own := func(own, _ store.Key) any { return own.ID[:] }
	other := func(_, other store.Key) any { return other.ID[:] }
	for name, tc := range map[string]struct {
		tamper func(*testing.T, *database, store.Key, store.Key)
		read   read
	}{
		"key document":        {flip("keys", "doc"), key},
		"key MAC":             {flip("keys", "mac"), key},
		"key of another":      {script("UPDATE keys SET doc = (SELECT doc FROM keys WHERE id = ?), mac = (SELECT mac FROM keys WHERE id = ?) WHERE id = ?", other, other, own), key},
		"wrapped material":    {flip("material", "wrapped"), use},
		"material document":   {flip("material", "doc"), use},
		"material MAC":        {flip("material", "mac"), use},
		"material of another": {script("UPDATE material SET wrapped = (SELECT wrapped FROM material WHERE id = ?), doc = (SELECT doc FROM material WHERE id = ?), mac = (SELECT mac FROM material WHERE id = ?) WHERE id = ?", other, other, other, own), use},
		"material deleted":    {script("DELETE FROM material WHERE id = ?", own), use},
		"material renumbered": {script("UPDATE material SET version = 2 WHERE id = ?", own), func(s *store.Store, own, _ store.Key) error { _, err := s.Material(ctx, own.Ref, 2); return err }},
		"alias moved":         {script("UPDATE aliases SET id = ? WHERE name = 'alias/own'", other), alias},
		"alias renamed":       {script("UPDATE aliases SET name = 'alias/own' WHERE name = 'alias/other'"), alias},
		"alias deleted":       {script("DELETE FROM aliases WHERE name = 'alias/own'"), alias},
		"grant document":      {flip("grants", "doc"), grants},
		"grant MAC":           {flip("grants", "mac"), grants},
		"grant deleted":       {script("DELETE FROM grants WHERE id = ?", own), grants},
		"grant of another":    {script("UPDATE grants SET id = ? WHERE id = ?", own, other), grants},
		"grant renamed":       {script("UPDATE grants SET grant_id = 'x' WHERE id = ?", own), grants},
		"key store document": {func(t *testing.T, d *database, _, _ store.Key) {
			d.exec(t, "UPDATE key_stores SET doc = ?", []byte("{}"))
		}, keyStore},
		"key store renamed":    {script("UPDATE key_stores SET id = 'cks-2'"), func(s *store.Store, _, _ store.Key) error { _, err := s.KeyStore(ctx, "cks-2"); return err }},
		"grants without a key": {flip("keys", "doc"), grants},
		"changed without a MAC": {flip("keys", "doc"), func(s *store.Store, own, _ store.Key) error {
			_, err := s.Update(ctx, own.Ref, func(*store.Tx, *store.Key) error { return nil })
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, d *database) {
				s := d.open(t)
				ownKey, otherKey := add(t, s), add(t, s)
				must(t, s.CreateKeyStore(ctx, store.KeyStore{ID: "cks-1", Name: "n", Created: time.Now()}, func([]*store.KeyStore) error { return nil }))
				if name != "alias renamed" {
					must(t, s.CreateAlias(ctx, ownKey.Ref, "alias/own", time.Now()))
				}
				must(t, s.CreateAlias(ctx, otherKey.Ref, "alias/other", time.Now()))
				must(t, s.CreateGrant(ctx, grant(ownKey, "1")))
				must(t, s.CreateGrant(ctx, grant(otherKey, "2")))
				must(t, s.Close())
				tc.tamper(t, d, ownKey, otherKey)
				err := tc.read(d.open(t), ownKey, otherKey)
				if !errors.Is(err, store.ErrTampered) && !errors.Is(err, store.ErrNotFound) {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

// TestGrantPutBack: a grant that was deleted does not come back with its row.
func TestGrantPutBack(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		s := d.open(t)
		k := add(t, s)
		must(t, s.CreateGrant(ctx, grant(k, "1")))
		must(t, s.CreateGrant(ctx, grant(k, "2")))
		d.exec(t, "CREATE TABLE kept AS SELECT * FROM grants")
		must(t, s.DeleteGrant(ctx, k.Ref, "1"))
		d.exec(t, "INSERT INTO grants SELECT * FROM kept WHERE grant_id = '1'")
		if _, err := d.open(t).Grants(ctx, k.Ref); !errors.Is(err, store.ErrTampered) {
			t.Errorf("one more: %v", err)
		}
		d.exec(t, "DELETE FROM grants WHERE grant_id = '2'")
		if _, err := d.open(t).Grants(ctx, k.Ref); !errors.Is(err, store.ErrTampered) {
			t.Errorf("in place of the other: %v", err)
		}
	})
}

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
