// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/sidekey/sidekey/keysvc/store"
)

func version(k store.Key, n uint32) store.Material {
	return store.Material{Version: n, Wrapped: fmt.Appendf(nil, "wrapped %d of %s", n, k.ID), Created: k.Created, Rotation: "ON_DEMAND"}
}

func TestMaterial(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		s := d.open(t)
		k := add(t, s)
		_, err := s.Update(ctx, k.Ref, func(tx *store.Tx, k *store.Key) error {
			k.Version, k.Versions = 3, 3
			return errors.Join(tx.AddMaterial(k.Ref, version(*k, 3)), tx.AddMaterial(k.Ref, version(*k, 2)))
		})
		must(t, err)
		if _, err := s.Update(ctx, k.Ref, func(tx *store.Tx, k *store.Key) error { return tx.AddMaterial(k.Ref, version(*k, 3)) }); !errors.Is(err, store.ErrExists) {
			t.Errorf("a version twice: %v", err)
		}
		got, err := s.Material(ctx, k.Ref, 3)
		must(t, err)
		want := version(k, 3)
		if diff := cmp.Diff(&want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		for range 2 { // that it is not there is no error
			_, err = s.Update(ctx, k.Ref, func(tx *store.Tx, k *store.Key) error { return tx.DropMaterial(k.Ref, 2) })
			must(t, err)
		}
		if _, err := s.Material(ctx, k.Ref, 2); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("dropped: %v", err)
		}
		list, more, err := s.Materials(ctx, k.Ref, 0, 9)
		must(t, err)
		if len(list) != 2 || more || list[0].Version != 1 || list[1].Version != 3 || list[1].Wrapped != nil || list[1].Rotation != "ON_DEMAND" {
			t.Errorf("list %v, %v", list, more)
		}
		refused := errors.New("no")
		if _, err := s.Update(ctx, k.Ref, func(tx *store.Tx, k *store.Key) error {
			return errors.Join(tx.AddMaterial(k.Ref, version(*k, 4)), tx.DropMaterial(k.Ref, 1), refused)
		}); !errors.Is(err, refused) {
			t.Errorf("got %v", err)
		}
		if _, err := s.Material(ctx, k.Ref, 4); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("added by a change that was refused: %v", err)
		}
		if _, err := s.Material(ctx, k.Ref, 1); err != nil {
			t.Errorf("dropped by a change that was refused: %v", err)
		}
	})
}

// TestManyVersions: the rows that are read for a use of a key do not grow with
// its versions.
func TestManyVersions(t *testing.T) {
	const versions = 1000
	each(t, func(t *testing.T, d *database) {
		s := d.open(t)
		k := add(t, s)
		var before, after int
		d.get(t, &before, "SELECT length(doc) FROM keys")
		_, err := s.Update(ctx, k.Ref, func(tx *store.Tx, k *store.Key) error {
			for n := uint32(2); n <= versions; n++ {
				if err := tx.AddMaterial(k.Ref, version(*k, n)); err != nil {
					return err
				}
			}
			k.Version, k.Versions = versions, versions
			return nil
		})
		must(t, err)
		d.get(t, &after, "SELECT length(doc) FROM keys")
		if after > before+8 {
			t.Errorf("the key's row grew from %d to %d bytes", before, after)
		}
		for _, n := range []uint32{1, 500, versions} {
			m, err := s.Material(ctx, k.Ref, n)
			must(t, err)
			if m.Version != n {
				t.Errorf("version %d, want %d", m.Version, n)
			}
		}
		copied := k
		copied.Region = "us-east-1"
		_, err = s.Update(ctx, k.Ref, func(tx *store.Tx, k *store.Key) error {
			copied.Version, copied.Versions = k.Version, k.Versions
			return errors.Join(tx.CreateKey(copied), tx.CopyMaterial(k.Ref, copied.Ref))
		})
		must(t, err)
		for _, ref := range []store.Ref{k.Ref, copied.Ref} {
			next, pages := uint32(1), 0
			for more := true; more; pages++ {
				var list []store.Material
				list, more, err = s.Materials(ctx, ref, next-1, 300)
				must(t, err)
				for _, m := range list {
					if m.Version != next {
						t.Fatalf("version %d, want %d", m.Version, next)
					}
					next++
				}
			}
			if next != versions+1 || pages != 4 {
				t.Errorf("%d pages to version %d", pages, next-1)
			}
		}
		m, err := s.Material(ctx, copied.Ref, 777)
		must(t, err)
		want := version(k, 777)
		if diff := cmp.Diff(&want, m); diff != "" {
			t.Errorf("copied (-want +got):\n%s", diff)
		}
	})
}

func TestGroup(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		s := d.open(t)
		k, single := add(t, s), add(t, s)
		regions := []string{"af-south-1", region, "us-east-1"}
		_, err := s.Update(ctx, k.Ref, func(tx *store.Tx, k *store.Key) error {
			k.PrimaryRegion = region
			for _, to := range []string{"us-east-1", "af-south-1"} {
				replica := *k
				replica.Region = to
				if err := errors.Join(tx.CreateKey(replica), tx.CopyMaterial(k.Ref, replica.Ref)); err != nil {
					return err
				}
			}
			return nil
		})
		must(t, err)
		check := func(want string) {
			t.Helper()
			group, err := s.Group(ctx, k.ID)
			must(t, err)
			if len(group) != len(regions) {
				t.Fatalf("%d keys", len(group))
			}
			for i, k := range group {
				if k.Region != regions[i] || k.PrimaryRegion != want || k.Primary() != (k.Region == want) {
					t.Errorf("key %d: %s, primary %s", i, k.Ref, k.PrimaryRegion)
				}
			}
		}
		check(region)
		_, err = s.Update(ctx, k.Ref, func(tx *store.Tx, k *store.Key) error {
			k.Description = "changed before the group was read"
			group, err := tx.Group(k.ID)
			for _, k := range group {
				k.PrimaryRegion = "us-east-1"
			}
			return err
		})
		must(t, err)
		check("us-east-1")
		if got, err := s.Key(ctx, k.Ref); err != nil || got.Description == k.Description || got.PrimaryRegion != "us-east-1" {
			t.Errorf("%v, %v", got, err)
		}
		if group, err := s.Group(ctx, single.ID); err != nil || len(group) != 1 || group[0].Ref != single.Ref {
			t.Errorf("group of one: %v, %v", group, err)
		}
		if group, err := s.Group(ctx, uuid.New()); err != nil || len(group) != 0 {
			t.Errorf("no group: %v, %v", group, err)
		}
	})
}
