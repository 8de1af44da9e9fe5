// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
)

const (
	// cacheLease bounds for how long copies in memory are used after the
	// revision was last read from the database. Changes made through this Store
	// are seen at once; this is the bound for changes made by another process.
	cacheLease = time.Second

	// cacheRows bounds the number of copies of each kind; a full cache starts
	// empty again.
	cacheRows = 1 << 16
)

// A cache holds copies of rows. A copy is right for as long as the store's
// revision is the one it was read at. The revision is read before the rows
// are, so that a copy is never newer in name than in content.
type cache[K comparable, V any] struct {
	mu   sync.RWMutex
	rows map[K]cached[V] // guarded by mu
}

type cached[V any] struct {
	revision int64
	value    V
}

type aliasName struct{ region, name string }

type materialName struct {
	Ref
	version uint32
}

func (s *Store) resetCaches() {
	s.keys.rows = map[Ref]cached[*Key]{}
	s.aliases.rows = map[aliasName]cached[Ref]{}
	s.materials.rows = map[materialName]cached[*Material]{}
	s.grants.rows = map[Ref]cached[[]*Grant]{}
	s.keyStores.rows = map[string]cached[*KeyStore]{}
}

// get returns the copy of a row, or loads it.
func (c *cache[K, V]) get(ctx context.Context, s *Store, name K, load func() (V, error)) (V, error) {
	revision, err := s.currentRevision(ctx)
	if err != nil {
		return *new(V), err
	}
	c.mu.RLock()
	have, ok := c.rows[name]
	c.mu.RUnlock()
	if ok && have.revision == revision {
		return have.value, nil
	}
	value, err := load()
	if err != nil {
		return value, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.rows) >= cacheRows {
		clear(c.rows)
	}
	c.rows[name] = cached[V]{revision, value}
	return value, nil
}

// Key returns a key. The result is shared and must not be changed.
func (s *Store) Key(ctx context.Context, ref Ref) (*Key, error) {
	return s.keys.get(ctx, s, ref, func() (*Key, error) {
		k, _, err := s.loadKey(ctx, s.read, ref)
		return k, err
	})
}

// inSnapshot reads several rows as they were at one moment. One row needs no
// such thing.
func inSnapshot[V any](ctx context.Context, s *Store, load func(*sql.Tx) (V, error)) (V, error) {
	tx, err := s.read.BeginTx(ctx, s.snapshot())
	if err != nil {
		return *new(V), err
	}
	defer tx.Rollback()
	return load(tx)
}

// Group returns the related keys of a multi-Region key, or the one key, sorted
// by region.
func (s *Store) Group(ctx context.Context, id uuid.UUID) ([]*Key, error) {
	regions, err := s.regionsOf(ctx, s.read, id)
	if err != nil {
		return nil, fmt.Errorf("reading key %s: %w", id, err)
	}
	keys := make([]*Key, 0, len(regions))
	for _, region := range regions {
		k, err := s.Key(ctx, Ref{region, id})
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

func (s *Store) regionsOf(ctx context.Context, q querier, id uuid.UUID) ([]string, error) {
	rows, err := s.rows(ctx, q, "SELECT region FROM keys WHERE id = ? ORDER BY region", id[:])
	return collect(rows, err, func(rows *sql.Rows) (region string, err error) {
		err = rows.Scan(&region)
		return region, err
	})
}

// Alias returns the key that a name points to.
func (s *Store) Alias(ctx context.Context, region, name string) (Ref, error) {
	return s.aliases.get(ctx, s, aliasName{region, name}, func() (Ref, error) {
		k, err := inSnapshot(ctx, s, func(tx *sql.Tx) (*Key, error) { return s.loadAlias(ctx, tx, region, name) })
		if err != nil {
			return Ref{}, fmt.Errorf("reading alias: %w", err)
		}
		return k.Ref, nil
	})
}

// loadAlias reads the key that a name points to. The row of the alias counts
// only because the key's document names it.
func (s *Store) loadAlias(ctx context.Context, q querier, region, name string) (*Key, error) {
	var raw []byte
	if err := s.row(ctx, q, "SELECT id FROM aliases WHERE region = ? AND name = ?", region, name).Scan(&raw); err != nil {
		return nil, notFound(err)
	}
	id, err := uuid.FromBytes(raw)
	if err != nil {
		return nil, err
	}
	k, _, err := s.loadKey(ctx, q, Ref{region, id})
	if err != nil {
		return nil, err
	}
	if !slices.Contains(k.Aliases, name) {
		return nil, ErrTampered
	}
	return k, nil
}

// Material returns a version of a key's material. The result is shared and
// must not be changed.
func (s *Store) Material(ctx context.Context, ref Ref, version uint32) (*Material, error) {
	return s.materials.get(ctx, s, materialName{ref, version}, func() (*Material, error) {
		return s.loadMaterial(ctx, s.read, ref, version)
	})
}

// StoredMaterial reads a version back from the database, past the copy in
// memory.
func (s *Store) StoredMaterial(ctx context.Context, ref Ref, version uint32) (*Material, error) {
	return s.loadMaterial(ctx, s.read, ref, version)
}

// Grants returns the grants of a key, sorted by ID. The result is shared and
// must not be changed.
func (s *Store) Grants(ctx context.Context, ref Ref) ([]*Grant, error) {
	return s.grants.get(ctx, s, ref, func() ([]*Grant, error) {
		return inSnapshot(ctx, s, func(tx *sql.Tx) ([]*Grant, error) { return s.loadGrants(ctx, tx, ref) })
	})
}

// Revision returns the number that every change of the store increases.
func (s *Store) Revision(ctx context.Context) (int64, error) {
	return s.readRevision(ctx)
}

// currentRevision returns the newest revision known, read at most cacheLease ago.
func (s *Store) currentRevision(ctx context.Context) (int64, error) {
	if seen := s.seen.Load(); seen != 0 && int64(time.Since(s.start))-seen < int64(cacheLease) {
		return s.revision.Load(), nil
	}
	return s.readRevision(ctx)
}

func (s *Store) readRevision(ctx context.Context) (int64, error) {
	before := int64(time.Since(s.start))
	var revision int64
	if err := s.read.QueryRowContext(ctx, "SELECT value FROM revision").Scan(&revision); err != nil {
		return 0, fmt.Errorf("reading the store's revision: %w", err)
	}
	s.advance(revision)
	s.seen.Store(max(before, 1))
	return s.revision.Load(), nil
}

// advance never goes back: a slow reader must not undo a writer's revision.
func (s *Store) advance(revision int64) {
	for {
		old := s.revision.Load()
		if revision <= old || s.revision.CompareAndSwap(old, revision) {
			return
		}
	}
}
