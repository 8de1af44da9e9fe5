// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
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

// errNothing ends a change that has nothing to change, without an error.
var errNothing = errors.New("nothing to change")

// change runs one write transaction; when it returns nil the change is on disk
// and no reader is given the state before it. A caller that goes away does not
// interrupt it: whether a change was made must not be left open. An error of
// do is returned as it is.
func (s *Store) change(ctx context.Context, what string, do func(*Tx) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*s.timeout)
	defer cancel()
	tx, err := s.begin(ctx, s.write)
	if s.broken(err) {
		dropIdle(s.write)
		tx, err = s.begin(ctx, s.write)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer tx.Rollback()
	t := &Tx{s: s, ctx: ctx, tx: tx, keys: map[Ref]loadedKey{}}
	if err := do(t); err == errNothing {
		return nil
	} else if err != nil {
		return err
	}
	if err := t.save(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	// The triggers have counted already, unless somebody has removed them; then
	// copies in memory would outlive a DisableKey. That the time is the least
	// value keeps a standby that has missed changes, and takes over, from giving
	// their numbers to others.
	var revision int64
	least := max(s.revision.Load(), time.Now().UnixMicro())
	if err := s.row(ctx, tx, "UPDATE revision SET value = CASE WHEN value > ? THEN value ELSE ? END + 1 RETURNING value", least, least).Scan(&revision); err != nil {
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
	return cmp.Or(strings.Compare(a.Region, b.Region), bytes.Compare(a.ID[:], b.ID[:]))
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
	loaded, err := t.s.loadGroup(t.ctx, t.tx, id)
	if err != nil {
		return nil, err
	}
	var keys []*Key
	for _, l := range loaded {
		if have, ok := t.keys[l.key.Ref]; ok {
			l = have
		}
		t.keys[l.key.Ref] = l
		keys = append(keys, l.key)
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
	if err := newRow(t.s.exec(t.ctx, t.tx, "INSERT INTO keys (region, id, due, key_store, doc, mac) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
		k.Region, k.ID[:], k.dueColumn(), k.KeyStore, doc, mac)); err != nil {
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

// AddMaterial adds a version of a key's material. It returns ErrExists for one
// that is there.
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
			return errNothing
		}
		if err != nil {
			return err
		}
		if k.DeletionDate.IsZero() || k.DeletionDate.After(now) {
			return errNothing
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
		var taken bool
		if err := s.row(t.ctx, t.tx, "SELECT EXISTS (SELECT 1 FROM aliases WHERE region = ? AND name = ?)", ref.Region, name).Scan(&taken); err != nil {
			return err
		}
		if taken {
			return ErrAliasExists
		}
		k, err := t.Key(ref)
		if err != nil {
			return err
		}
		if err := k.addAlias(name); err != nil {
			return err
		}
		_, err = s.exec(t.ctx, t.tx, "INSERT INTO aliases (region, name, id, created, updated) VALUES (?, ?, ?, ?, ?)",
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
		return oneRow(s.exec(t.ctx, t.tx, "UPDATE aliases SET id = ?, updated = ? WHERE region = ? AND name = ?",
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
		return oneRow(s.exec(t.ctx, t.tx, "DELETE FROM aliases WHERE region = ? AND name = ?", ref.Region, name))
	})
}

// aliased reads the key that a name points to and refuses if it is not the one
// that the caller has decided about: somebody else was faster.
func (t *Tx) aliased(name string, ref Ref) (*Key, error) {
	l, err := t.s.loadAlias(t.ctx, t.tx, ref.Region, name)
	if err != nil {
		return nil, err
	}
	if l.key.Ref != ref {
		return nil, errors.New("the alias points to another key by now")
	}
	return t.Key(ref)
}

func (k *Key) addAlias(name string) error {
	if slices.Contains(k.Aliases, name) {
		return ErrTampered // its row is gone, or was another's
	}
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
