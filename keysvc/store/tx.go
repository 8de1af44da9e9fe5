// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
)

// Tx is one change of the store. Keys that it has given out are saved when it
// commits, if they were changed.
type Tx struct {
	s    *Store
	ctx  context.Context
	tx   *sql.Tx
	keys map[Ref]loadedKey
}

type loadedKey struct {
	key *Key
	doc []byte // as it was read
}

// change runs one write transaction; when it returns nil the change is on disk
// and no reader is given the state before it. A caller that goes away does not
// interrupt it: whether a change was made must not be left open. An error of
// do is returned as it is.
func (s *Store) change(ctx context.Context, what string, do func(*Tx) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	ctx = context.WithoutCancel(ctx)
	tx, err := s.begin(ctx, s.write)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer tx.Rollback()
	t := &Tx{s: s, ctx: ctx, tx: tx, keys: map[Ref]loadedKey{}}
	if err := do(t); err != nil {
		return err
	}
	if err := t.save(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	var revision int64
	seen := s.revision.Load()
	// The triggers have done this already, unless somebody has removed them;
	// then copies in memory would outlive a DisableKey.
	if err := s.row(ctx, tx, "UPDATE revision SET value = CASE WHEN value > ? THEN value ELSE ? END + 1 RETURNING value", seen, seen).Scan(&revision); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := tx.Commit(); err != nil {
		s.seen.Store(0) // read the revision before the next use of a copy
		return fmt.Errorf("%s: %w", what, err)
	}
	s.advance(revision)
	return nil
}

// save writes the keys that were changed.
func (t *Tx) save() error {
	for _, ref := range slices.SortedFunc(maps.Keys(t.keys), compareRefs) {
		k := t.keys[ref].key
		k.normalize()
		doc := document(k)
		if string(doc) == string(t.keys[ref].doc) {
			continue
		}
		mac, err := t.s.keyMAC(ref, doc)
		if err != nil {
			return err
		}
		if err := oneRow(t.s.exec(t.ctx, t.tx, "UPDATE keys SET due = ?, key_store = ?, doc = ?, mac = ? WHERE region = ? AND id = ?",
			k.dueColumn(), k.KeyStore, doc, mac, ref.Region, ref.ID[:])); err != nil {
			return err
		}
	}
	return nil
}

func compareRefs(a, b Ref) int {
	return slices.Compare(append([]byte(a.Region), a.ID[:]...), append([]byte(b.Region), b.ID[:]...))
}

// Update changes a key in one transaction with the reading of it. What do makes
// of the key is saved; its error is returned as it is, and nothing is changed.
func (s *Store) Update(ctx context.Context, ref Ref, do func(*Tx, *Key) error) (*Key, error) {
	var k *Key
	err := s.change(ctx, "changing key", func(t *Tx) (err error) {
		if k, err = t.Key(ref); err != nil {
			return err
		}
		return do(t, k)
	})
	if err != nil {
		return nil, err
	}
	return k, nil
}

// Key reads a key to change it.
func (t *Tx) Key(ref Ref) (*Key, error) {
	if have, ok := t.keys[ref]; ok {
		return have.key, nil
	}
	k, doc, err := t.s.loadKey(t.ctx, t.tx, ref)
	if err != nil {
		return nil, err
	}
	t.keys[ref] = loadedKey{k, doc}
	return k, nil
}

// Group reads all related keys of a multi-Region key, or the one key, to
// change them, sorted by region.
func (t *Tx) Group(id uuid.UUID) ([]*Key, error) {
	regions, err := t.s.regionsOf(t.ctx, t.tx, id)
	if err != nil {
		return nil, err
	}
	var keys []*Key
	for _, region := range regions {
		k, err := t.Key(Ref{region, id})
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// CreateKey adds a key with its material. It returns ErrExists for one that is
// there.
func (t *Tx) CreateKey(k Key, materials ...Material) error {
	k.normalize()
	k.Grants, k.Aliases = GrantSum{}, nil
	doc := document(k)
	mac, err := t.s.keyMAC(k.Ref, doc)
	if err != nil {
		return err
	}
	res, err := t.s.exec(t.ctx, t.tx, "INSERT INTO keys (region, id, due, key_store, doc, mac) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
		k.Region, k.ID[:], k.dueColumn(), k.KeyStore, doc, mac)
	if err := oneRow(res, err); errors.Is(err, ErrNotFound) {
		return ErrExists
	} else if err != nil {
		return err
	}
	for _, m := range materials {
		if err := t.AddMaterial(k.Ref, m); err != nil {
			return err
		}
	}
	return nil
}

// CreateKey adds a key with its material.
func (s *Store) CreateKey(ctx context.Context, k Key, materials ...Material) error {
	return s.change(ctx, "creating key", func(t *Tx) error {
		if err := t.CreateKey(k, materials...); err != nil {
			return fmt.Errorf("creating key: %w", err)
		}
		return nil
	})
}

// AddMaterial adds a version of a key's material.
func (t *Tx) AddMaterial(ref Ref, m Material) error {
	return t.s.insertMaterial(t.ctx, t.tx, ref, m)
}

// DropMaterial erases a version of a key's material. That it is not there is
// no error.
func (t *Tx) DropMaterial(ref Ref, version uint32) error {
	_, err := t.s.exec(t.ctx, t.tx, "DELETE FROM material WHERE region = ? AND id = ? AND version = ?", ref.Region, ref.ID[:], int64(version))
	return err
}

// CopyMaterial gives a key of another region the material of a related one.
func (t *Tx) CopyMaterial(from, to Ref) error {
	for version := uint32(0); ; {
		list, more, err := t.s.materialPage(t.ctx, t.tx, from, version, 500)
		if err != nil {
			return err
		}
		for _, m := range list {
			if err := t.AddMaterial(to, m); err != nil {
				return err
			}
			version = m.Version
		}
		if !more {
			return nil
		}
	}
}

// Erase removes a key whose deletion date has come, with all versions of its
// material, its aliases, grants and tags. It reports false for a key that is
// not, or no longer, due.
func (s *Store) Erase(ctx context.Context, ref Ref, now time.Time) (bool, error) {
	erased := false
	err := s.change(ctx, "erasing key", func(t *Tx) error {
		k, _, err := s.loadKey(t.ctx, t.tx, ref)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil || k.DeletionDate.IsZero() || k.DeletionDate.After(now) {
			return err
		}
		erased = true
		return t.deleteKey(ref)
	})
	return erased && err == nil, err
}

// Discard removes a key that was never acknowledged.
func (s *Store) Discard(ctx context.Context, ref Ref) error {
	return s.change(ctx, "discarding key", func(t *Tx) error { return t.deleteKey(ref) })
}

func (t *Tx) deleteKey(ref Ref) error {
	delete(t.keys, ref)
	_, err := t.s.exec(t.ctx, t.tx, "DELETE FROM keys WHERE region = ? AND id = ?", ref.Region, ref.ID[:])
	return err
}

// CreateAlias adds a name, with its "alias/" prefix, for an existing key.
func (s *Store) CreateAlias(ctx context.Context, ref Ref, name string, now time.Time) error {
	return s.change(ctx, "creating alias", func(t *Tx) error {
		var taken int
		if err := s.row(ctx, t.tx, "SELECT count(*) FROM aliases WHERE region = ? AND name = ?", ref.Region, name).Scan(&taken); err != nil {
			return err
		}
		if taken != 0 {
			return ErrAliasExists
		}
		k, err := t.Key(ref)
		if err != nil {
			return err
		}
		if err := k.addAlias(name); err != nil {
			return err
		}
		_, err = s.exec(ctx, t.tx, "INSERT INTO aliases (region, name, id, created, updated) VALUES (?, ?, ?, ?, ?)",
			ref.Region, name, ref.ID[:], now.UnixMilli(), now.UnixMilli())
		return err
	})
}

// UpdateAlias points a name that points to the key from to the key to instead.
func (s *Store) UpdateAlias(ctx context.Context, name string, from, to Ref, now time.Time) error {
	return s.change(ctx, "updating alias", func(t *Tx) error {
		old, err := t.aliased(name, from)
		if err != nil {
			return err
		}
		target, err := t.Key(to)
		if err != nil {
			return err
		}
		if to != from {
			old.dropAlias(name)
			if err := target.addAlias(name); err != nil {
				return err
			}
		}
		return oneRow(s.exec(ctx, t.tx, "UPDATE aliases SET id = ?, updated = ? WHERE region = ? AND name = ?",
			to.ID[:], now.UnixMilli(), from.Region, name))
	})
}

// DeleteAlias removes a name that points to a key; the key stays.
func (s *Store) DeleteAlias(ctx context.Context, ref Ref, name string) error {
	return s.change(ctx, "deleting alias", func(t *Tx) error {
		k, err := t.aliased(name, ref)
		if err != nil {
			return err
		}
		k.dropAlias(name)
		return oneRow(s.exec(ctx, t.tx, "DELETE FROM aliases WHERE region = ? AND name = ?", ref.Region, name))
	})
}

// aliased reads the key that a name points to and refuses if it is not the one
// that the caller has decided about: somebody else was faster.
func (t *Tx) aliased(name string, ref Ref) (*Key, error) {
	k, err := t.s.loadAlias(t.ctx, t.tx, ref.Region, name)
	if err != nil {
		return nil, err
	}
	if k.Ref != ref {
		return nil, errors.New("the alias points to another key by now")
	}
	return t.Key(ref)
}

func (k *Key) addAlias(name string) error {
	if len(k.Aliases) >= aliasesPerKey {
		return ErrAliasLimit
	}
	k.Aliases = append(slices.Clone(k.Aliases), name)
	slices.Sort(k.Aliases)
	return nil
}

func (k *Key) dropAlias(name string) {
	k.Aliases = slices.DeleteFunc(slices.Clone(k.Aliases), func(have string) bool { return have == name })
}

// CreateGrant adds a grant.
func (s *Store) CreateGrant(ctx context.Context, g Grant) error {
	_, err := s.EnsureGrant(ctx, g, nil)
	return err
}

// EnsureGrant returns a grant of the same key that is the same, as same (which
// may be nil) reports, or adds the given one and returns it.
func (s *Store) EnsureGrant(ctx context.Context, g Grant, same func(*Grant) bool) (*Grant, error) {
	found := &g
	err := s.change(ctx, "creating grant", func(t *Tx) error {
		if same != nil {
			have, err := s.loadGrants(ctx, t.tx, g.Key)
			if err != nil {
				return err
			}
			if i := slices.IndexFunc(have, same); i >= 0 {
				found = have[i]
				return nil
			}
		}
		k, err := t.Key(g.Key)
		if err != nil {
			return err
		}
		if k.Grants.Count >= grantsPerKey {
			return ErrGrantLimit
		}
		g.Created = moment(g.Created)
		doc := document(g)
		mac, err := s.grantMAC(g.Key, g.ID, doc)
		if err != nil {
			return err
		}
		k.Grants.add(mac, 1)
		_, err = s.exec(ctx, t.tx, "INSERT INTO grants (region, id, grant_id, retiring, doc, mac) VALUES (?, ?, ?, ?, ?, ?)",
			g.Key.Region, g.Key.ID[:], g.ID, g.Retiring, doc, mac)
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// DeleteGrant removes a grant of a key.
func (s *Store) DeleteGrant(ctx context.Context, ref Ref, id string) error {
	return s.change(ctx, "deleting grant", func(t *Tx) error {
		k, err := t.Key(ref)
		if err != nil {
			return err
		}
		var mac []byte
		if err := s.row(ctx, t.tx, "DELETE FROM grants WHERE region = ? AND id = ? AND grant_id = ? RETURNING mac",
			ref.Region, ref.ID[:], id).Scan(&mac); err != nil {
			return notFound(err)
		}
		k.Grants.add(mac, -1)
		return nil
	})
}
