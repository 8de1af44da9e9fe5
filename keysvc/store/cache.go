// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/google/uuid"
)

const (
	// cacheLease bounds for how long copies in memory are used after the
	// revision was last read from the file. Changes made through this Store
	// are seen at once; this is the bound for changes made to the file by
	// another process.
	cacheLease = time.Second

	// cacheKeys bounds the number of copies; a full cache starts empty again.
	cacheKeys = 1 << 16
)

// A copy is right for as long as the store's revision is the one it was read
// at. The revision is read before the rows are, so that a copy is never newer
// in name than in content.
type cachedKey struct {
	revision int64
	key      *Key
}

type cachedAlias struct {
	revision int64
	key      uuid.UUID
}

// Key returns a key. The result is shared and must not be changed.
func (s *Store) Key(ctx context.Context, id uuid.UUID) (*Key, error) {
	revision, err := s.currentRevision(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.RLock()
	c, ok := s.keys[id]
	s.mu.RUnlock()
	if ok && c.revision == revision {
		return c.key, nil
	}
	k, err := s.loadKeyNow(ctx, id)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.keys) >= cacheKeys {
		clear(s.keys)
	}
	s.keys[id] = cachedKey{revision, k}
	return k, nil
}

func (s *Store) loadKeyNow(ctx context.Context, id uuid.UUID) (*Key, error) {
	tx, err := s.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("reading key %s: %w", id, err)
	}
	defer tx.Rollback()
	return s.loadKey(ctx, tx, id)
}

// Alias returns the ID of the key that a name points to.
func (s *Store) Alias(ctx context.Context, name string) (uuid.UUID, error) {
	revision, err := s.currentRevision(ctx)
	if err != nil {
		return uuid.Nil, err
	}
	s.mu.RLock()
	c, ok := s.aliases[name]
	s.mu.RUnlock()
	if ok && c.revision == revision {
		return c.key, nil
	}
	id, err := s.loadAliasNow(ctx, name)
	if err != nil {
		return uuid.Nil, fmt.Errorf("reading alias: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.aliases) >= cacheKeys {
		clear(s.aliases)
	}
	s.aliases[name] = cachedAlias{revision, id}
	return id, nil
}

func (s *Store) loadAliasNow(ctx context.Context, name string) (uuid.UUID, error) {
	tx, err := s.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return uuid.Nil, err
	}
	defer tx.Rollback()
	k, err := s.loadAlias(ctx, tx, name)
	if err != nil {
		return uuid.Nil, err
	}
	return k.ID, nil
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
