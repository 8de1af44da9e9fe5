// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/sidekey/sidekey/keysvc/store"
)

func grant(k store.Key, id string) store.Grant {
	return store.Grant{ID: id, Key: k.Ref, Name: "n" + id, Grantee: "arn:grantee", Retiring: "arn:retiring", Issuer: "arn:issuer",
		Operations: []string{"Decrypt", "Encrypt"}, Constraint: map[string]string{"a": "b"}, Subset: true, Created: time.UnixMilli(1_700_000_000_123).UTC()}
}

func grantIDs(grants []*store.Grant) []string {
	var ids []string
	for _, g := range grants {
		ids = append(ids, g.ID)
	}
	return ids
}

func TestGrants(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		s := d.open(t)
		k, other := add(t, s), add(t, s)
		if err := s.CreateGrant(ctx, grant(store.Key{Ref: store.Ref{Region: region, ID: uuid.New()}}, "x")); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("no key: %v", err)
		}
		// The order is that of bytes: a database's own may be another.
		for _, id := range []string{"b", "a", "B", "c"} {
			must(t, s.CreateGrant(ctx, grant(k, id)))
		}
		must(t, s.CreateGrant(ctx, grant(other, "a")))
		if err := s.CreateGrant(ctx, grant(k, "a")); !errors.Is(err, store.ErrExists) {
			t.Errorf("twice: %v", err)
		}
		want := []string{"B", "a", "b", "c"}
		for _, from := range []*store.Store{s, d.open(t)} {
			got, err := from.Grants(ctx, k.Ref)
			must(t, err)
			if diff := gocmp.Diff(want, grantIDs(got)); diff != "" {
				t.Errorf("grants (-want +got):\n%s", diff)
			}
			first := grant(k, "B")
			if diff := gocmp.Diff(&first, got[0]); diff != "" {
				t.Errorf("grant (-want +got):\n%s", diff)
			}
		}
		same := func(g *store.Grant) bool { return g.Name == "na" }
		before, err := s.Revision(ctx)
		must(t, err)
		if got, err := s.EnsureGrant(ctx, grant(k, "d"), same); err != nil || got.ID != "a" {
			t.Errorf("the same grant: %v, %v", got, err)
		}
		if after, err := s.Revision(ctx); err != nil || after != before {
			t.Errorf("revision %d after %d, %v: nothing was changed", after, before, err)
		}
		must(t, s.DeleteGrant(ctx, k.Ref, "a"))
		if err := s.DeleteGrant(ctx, k.Ref, "a"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("deleted twice: %v", err)
		}
		if got, err := s.EnsureGrant(ctx, grant(k, "d"), same); err != nil || got.ID != "d" {
			t.Errorf("a new grant: %v, %v", got, err)
		}
		for _, id := range []string{"B", "b", "c", "d"} {
			must(t, s.DeleteGrant(ctx, k.Ref, id))
		}
		if got, err := s.Grants(ctx, k.Ref); err != nil || len(got) != 0 {
			t.Errorf("grants %v, %v", got, err)
		}
		if got, err := s.Grants(ctx, other.Ref); err != nil || len(got) != 1 {
			t.Errorf("grants of the other key %v, %v", got, err)
		}
	})
}

// TestGrantsOfTwoStores: each sees what the other does, whatever it has in
// memory.
func TestGrantsOfTwoStores(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		a, b := d.open(t), d.open(t)
		k := add(t, a)
		for i := range 6 {
			one, two := a, b
			if i%2 == 1 {
				one, two = b, a
			}
			must(t, one.CreateGrant(ctx, grant(k, fmt.Sprint(i))))
			if i > 1 {
				must(t, two.DeleteGrant(ctx, k.Ref, fmt.Sprint(i-1)))
			}
		}
		for _, s := range []*store.Store{a, b} {
			must(t, s.Ping(ctx))
			if got, err := s.Grants(ctx, k.Ref); err != nil || !slices.Equal(grantIDs(got), []string{"0", "5"}) {
				t.Errorf("%v, %v", grantIDs(got), err)
			}
		}
	})
}

func TestRetirableGrants(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		s := d.open(t)
		keys := []store.Key{add(t, s), add(t, s)}
		want := []string{}
		for i := range 7 {
			g := grant(keys[i%2], fmt.Sprintf("%c", "aBcDeFg"[i]))
			must(t, s.CreateGrant(ctx, g))
			want = append(want, g.ID)
		}
		not := grant(keys[0], "h")
		not.Retiring = "arn:retiring2"
		must(t, s.CreateGrant(ctx, not))
		slices.SortFunc(want, cmp.Compare[string])
		var got []string
		for after := ""; ; {
			list, more, err := s.RetirableGrants(ctx, region, "arn:retiring", after, 3)
			must(t, err)
			got = append(got, grantIDs(list)...)
			if !more {
				break
			}
			if len(list) != 3 {
				t.Fatalf("page of %d", len(list))
			}
			after = list[2].ID
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if list, _, err := s.RetirableGrants(ctx, "us-east-1", "arn:retiring", "", 9); err != nil || len(list) != 0 {
			t.Errorf("another region: %v, %v", list, err)
		}
	})
}
