// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"fmt"
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
	s.keys.reset()
	s.groups.reset()
	s.aliases.reset()
	s.materials.reset()
	s.keyStores.reset()
	s.grants.reset()
}

func (c *cache[K, V]) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rows = map[K]cached[V]{}
}

// get returns the copy of a row, or loads it with one statement.
func (c *cache[K, V]) get(ctx context.Context, s *Store, name K, load func(context.Context, querier) (V, error)) (value V, err error) {
	revision, err := s.currentRevision(ctx)
	if err != nil {
		return value, err
	}
	c.mu.RLock()
	have, ok := c.rows[name]
	c.mu.RUnlock()
	if ok && have.revision == revision {
		return have.value, nil
	}
	err = s.view(ctx, func(ctx context.Context, q querier) (err error) {
		value, err = load(ctx, q)
		return err
	})
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
	return s.keys.get(ctx, s, ref, func(ctx context.Context, q querier) (*Key, error) {
		k, _, err := s.loadKey(ctx, q, ref)
		return k, err
	})
}

// Group returns the related keys of a multi-Region key, or the one key, as they
// were at one moment, sorted by region. The result is shared and must not be
// changed.
func (s *Store) Group(ctx context.Context, id uuid.UUID) ([]*Key, error) {
	return s.groups.get(ctx, s, id, func(ctx context.Context, q querier) ([]*Key, error) {
		loaded, err := s.loadGroup(ctx, q, id)
		keys := make([]*Key, 0, len(loaded))
		for _, l := range loaded {
			keys = append(keys, l.key)
		}
		return keys, err
	})
}

// Alias returns the key that a name points to.
func (s *Store) Alias(ctx context.Context, region, name string) (Ref, error) {
	return s.aliases.get(ctx, s, aliasName{region, name}, func(ctx context.Context, q querier) (Ref, error) {
		k, err := s.loadAlias(ctx, q, region, name)
		if err != nil {
			return Ref{}, fmt.Errorf("reading alias: %w", err)
		}
		return k.key.Ref, nil
	})
}

// Material returns a version of a key's material. The result is shared and
// must not be changed.
func (s *Store) Material(ctx context.Context, ref Ref, version uint32) (*Material, error) {
	return s.materials.get(ctx, s, materialName{ref, version}, func(ctx context.Context, q querier) (*Material, error) {
		return s.loadMaterial(ctx, q, ref, version)
	})
}

// StoredMaterial reads a version back from the database, past the copy in
// memory.
func (s *Store) StoredMaterial(ctx context.Context, ref Ref, version uint32) (m *Material, err error) {
	err = s.view(ctx, func(ctx context.Context, q querier) (err error) {
		m, err = s.loadMaterial(ctx, q, ref, version)
		return err
	})
	return m, err
}

// Revision returns the number that every change of the store increases.
func (s *Store) Revision(ctx context.Context) (int64, error) {
	return s.readRevision(ctx)
}

// currentRevision returns the newest revision known, read at most cacheLease
// before the call. Those who find it older look together.
func (s *Store) currentRevision(ctx context.Context) (int64, error) {
	called := s.now()
	for {
		if seen := s.seen.Load(); seen != 0 && called-seen < int64(cacheLease) {
			return s.revision.Load(), nil
		}
		look := s.looks.DoChan("", func() (any, error) { return s.readRevision(context.WithoutCancel(ctx)) })
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("reading the store's revision: %w", ctx.Err())
		case done := <-look:
			if done.Err != nil {
				return 0, done.Err
			}
		}
	}
}

// now is the time since the store was opened, and never 0.
func (s *Store) now() int64 { return max(int64(time.Since(s.start)), 1) }

func (s *Store) readRevision(ctx context.Context) (int64, error) {
	known, before := s.revision.Load(), s.now()
	var revision int64
	err := s.view(ctx, func(ctx context.Context, q querier) error {
		return s.row(ctx, q, "SELECT value FROM revision").Scan(&revision)
	})
	if err != nil {
		return 0, fmt.Errorf("reading the store's revision: %w", err)
	}
	// What was committed before is gone: a standby that had not seen it took
	// over, or a backup was restored. Copies may hold what never was.
	if revision < known && s.revision.CompareAndSwap(known, revision) {
		s.resetCaches()
	}
	s.advance(revision)
	s.seen.Store(before)
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
