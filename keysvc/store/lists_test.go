// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/sidekey/sidekey/keysvc/store"
)

func TestCreateKeyTwice(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		s := d.open(t)
		k := add(t, s)
		if err := s.CreateKey(ctx, k, material(k)); !errors.Is(err, store.ErrExists) {
			t.Errorf("twice: %v", err)
		}
		k.Region, k.Description = "us-east-1", "elsewhere"
		must(t, s.CreateKey(ctx, k))
		if got, err := s.Key(ctx, k.Ref); err != nil || got.Description != "elsewhere" {
			t.Errorf("%v, %v", got, err)
		}
	})
}

// TestOrder: lists are in the order of bytes, whatever the database's own is,
// and pages neither miss nor repeat.
func TestOrder(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		s := d.open(t)
		var ids []uuid.UUID
		for range 7 {
			ids = append(ids, add(t, s).ID)
		}
		far := store.Key{Ref: store.Ref{Region: "us-east-1", ID: uuid.New()}}
		must(t, s.CreateKey(ctx, far))
		slices.SortFunc(ids, func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
		var got []uuid.UUID
		for after, more := uuid.Nil, true; more; after = got[len(got)-1] {
			var list []uuid.UUID
			var err error
			list, more, err = s.ListKeys(ctx, region, after, 3)
			must(t, err)
			got = append(got, list...)
		}
		if diff := cmp.Diff(ids, got); diff != "" {
			t.Errorf("keys (-want +got):\n%s", diff)
		}
		names := []string{"alias/a", "alias/B", "alias/b", "alias/C", "alias/_", "alias/-", "alias/a/b", "alias/a-b", "alias/a_b"}
		for i, name := range names {
			must(t, s.CreateAlias(ctx, store.Ref{Region: region, ID: ids[i%2]}, name, time.UnixMilli(int64(i))))
		}
		must(t, s.CreateAlias(ctx, far.Ref, "alias/a", time.Now()))
		for _, id := range []uuid.UUID{uuid.Nil, ids[0]} {
			var want, got []string
			for i, name := range names {
				if id == uuid.Nil || i%2 == 0 {
					want = append(want, name)
				}
			}
			slices.SortFunc(want, strings.Compare)
			for after, more := "", true; more; after = got[len(got)-1] {
				var list []store.Alias
				var err error
				list, more, err = s.ListAliases(ctx, region, id, after, 2)
				must(t, err)
				for _, a := range list {
					got = append(got, a.Name)
					i := slices.Index(names, a.Name)
					if a.Ref != (store.Ref{Region: region, ID: ids[i%2]}) || !a.Created.Equal(time.UnixMilli(int64(i))) || a.Updated != a.Created {
						t.Errorf("alias %+v", a)
					}
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("aliases (-want +got):\n%s", diff)
			}
		}
	})
}

// TestDue: what is to be done with keys by itself, the latest first.
func TestDue(t *testing.T) {
	now := time.Now().Truncate(time.Millisecond)
	ago := func(hours int) time.Time { return now.Add(-time.Duration(hours) * time.Hour) }
	due := map[string]func(*store.Key){
		"1 rotation": func(k *store.Key) { k.Rotation = store.Rotation{Enabled: true, Period: 365, Next: ago(1)} },
		"2 deletion": func(k *store.Key) { k.State, k.DeletionDate = store.PendingDeletion, ago(2) },
		"3 expiry":   func(k *store.Key) { k.Imports = []store.Import{{Version: 1, Present: true, ValidTo: ago(3)}} },
		"4 several": func(k *store.Key) {
			k.Imports = []store.Import{{Present: true, ValidTo: ago(1)}, {Present: true, ValidTo: ago(4)}}
		},
		"5 primary":   func(k *store.Key) { k.PrimaryRegion, k.Rotation = region, store.Rotation{Enabled: true, Next: ago(5)} },
		"6 waits":     func(k *store.Key) { k.State, k.Created = store.PendingReplicaDeletion, ago(6) },
		"no date":     func(*store.Key) {},
		"no later":    func(k *store.Key) { k.State, k.DeletionDate = store.PendingDeletion, now.Add(time.Hour) },
		"no rotation": func(k *store.Key) { k.Rotation = store.Rotation{Next: ago(1)} },
		"no disabled": func(k *store.Key) { k.State, k.Rotation = store.Disabled, store.Rotation{Enabled: true, Next: ago(1)} },
		"no replica": func(k *store.Key) {
			k.PrimaryRegion, k.Rotation = "us-east-1", store.Rotation{Enabled: true, Next: ago(1)}
		},
		"no material left": func(k *store.Key) { k.Imports = []store.Import{{Version: 1, ValidTo: ago(1)}} },
	}
	each(t, func(t *testing.T, d *database) {
		s := d.open(t)
		names := map[store.Ref]string{}
		var want []string
		for name, change := range due {
			k := add(t, s)
			_, err := s.Update(ctx, k.Ref, func(_ *store.Tx, k *store.Key) error { change(k); return nil })
			must(t, err)
			if names[k.Ref] = name; !strings.HasPrefix(name, "no") {
				want = append(want, name)
			}
		}
		slices.Sort(want)
		check := func(limit int, want []string) {
			t.Helper()
			refs, err := s.Due(ctx, now, limit)
			must(t, err)
			var got []string
			for _, ref := range refs {
				got = append(got, names[ref])
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
		check(99, want)
		check(2, want[:2])
		for ref, name := range names {
			if name != "1 rotation" {
				continue
			}
			_, err := s.Update(ctx, ref, func(_ *store.Tx, k *store.Key) error {
				k.Rotation.Next = now.Add(time.Hour)
				return nil
			})
			must(t, err)
		}
		check(99, want[1:])
	})
}

func TestDiscard(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		s := d.open(t)
		k := add(t, s)
		must(t, s.CreateGrant(ctx, grant(k, "a")))
		must(t, s.PutUses(ctx, []store.Use{{Key: k.Ref, Time: time.Now()}}))
		for range 2 {
			must(t, s.Discard(ctx, k.Ref))
		}
		for _, table := range []string{"keys", "material", "aliases", "grants", "uses"} {
			var rows int
			d.get(t, &rows, "SELECT count(*) FROM "+table)
			if rows != 0 {
				t.Errorf("%d rows in %s", rows, table)
			}
		}
		if _, err := s.Material(ctx, k.Ref, 1); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("material: %v", err)
		}
		if _, err := s.Grants(ctx, k.Ref); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("grants: %v", err)
		}
	})
}

func TestKeyStores(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		s := d.open(t)
		no := errors.New("no")
		yes := func([]*store.KeyStore) error { return nil }
		made := store.KeyStore{ID: "cks-b", Name: "n", Password: []byte{1}, State: "DISCONNECTED", Created: time.UnixMilli(1).UTC()}
		must(t, s.CreateKeyStore(ctx, made, yes))
		if err := s.CreateKeyStore(ctx, made, yes); !errors.Is(err, store.ErrExists) {
			t.Errorf("twice: %v", err)
		}
		other := made
		other.ID = "cks-B"
		if err := s.CreateKeyStore(ctx, other, func(have []*store.KeyStore) error {
			if len(have) != 1 || have[0].Name != "n" {
				t.Errorf("check is given %v", have)
			}
			return no
		}); err != no {
			t.Errorf("refused: %v", err)
		}
		must(t, s.CreateKeyStore(ctx, other, yes))
		list, err := s.KeyStores(ctx)
		must(t, err)
		if diff := cmp.Diff([]*store.KeyStore{&other, &made}, list); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if _, err := s.KeyStore(ctx, "cks-c"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("no key store: %v", err)
		}
		if _, err := s.UpdateKeyStore(ctx, "cks-b", func(_ *store.Tx, ks *store.KeyStore) error { ks.State = "FAILED"; return no }); err != no {
			t.Errorf("refused: %v", err)
		}
		_, err = s.UpdateKeyStore(ctx, "cks-b", func(_ *store.Tx, ks *store.KeyStore) error { ks.State = "CONNECTED"; return nil })
		must(t, err)
		if got, err := s.KeyStore(ctx, "cks-b"); err != nil || got.State != "CONNECTED" {
			t.Errorf("%v, %v", got, err)
		}
		k := store.Key{Ref: store.Ref{Region: region, ID: uuid.New()}, KeyStore: "cks-b"}
		must(t, s.CreateKey(ctx, k))
		ok := func(*store.KeyStore) error { return nil }
		if err := s.DeleteKeyStore(ctx, "cks-b", ok); !errors.Is(err, store.ErrInUse) {
			t.Errorf("in use: %v", err)
		}
		must(t, s.Discard(ctx, k.Ref))
		if err := s.DeleteKeyStore(ctx, "cks-b", func(*store.KeyStore) error { return no }); err != no {
			t.Errorf("refused: %v", err)
		}
		must(t, s.DeleteKeyStore(ctx, "cks-b", ok))
		if err := s.DeleteKeyStore(ctx, "cks-b", ok); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("deleted twice: %v", err)
		}
	})
}

func TestUses(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		s := d.open(t)
		k, never := add(t, s), add(t, s)
		at := time.UnixMilli(1_700_000_000_000).UTC()
		use := func(operation string, at time.Time) store.Use {
			return store.Use{Key: k.Ref, Operation: operation, RequestID: operation + "1", Time: at}
		}
		gone := use("Encrypt", at)
		gone.Key.ID = uuid.New()
		before, err := s.Revision(ctx)
		must(t, err)
		must(t, s.PutUses(ctx, nil))
		must(t, s.PutUses(ctx, []store.Use{gone, use("Decrypt", at)}))
		must(t, s.PutUses(ctx, []store.Use{use("Encrypt", at.Add(-time.Second))}))
		want := use("Decrypt", at)
		got, err := s.LastUse(ctx, k.Ref)
		must(t, err)
		if diff := cmp.Diff(&want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		var many []store.Use // in more than one transaction
		for i := range 1200 {
			many = append(many, use(fmt.Sprint(i), at.Add(time.Duration(i)*time.Second)))
		}
		must(t, s.PutUses(ctx, many))
		if got, err := s.LastUse(ctx, k.Ref); err != nil || got.Operation != "1199" {
			t.Errorf("%v, %v", got, err)
		}
		if _, err := s.LastUse(ctx, never.Ref); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("never used: %v", err)
		}
		if after, err := s.Revision(ctx); err != nil || after != before {
			t.Errorf("revision %d after %d, %v", after, before, err)
		}
	})
}
