// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
)

// Errors of alias changes that a caller answers differently.
var (
	ErrAliasExists = errors.New("alias exists")
	ErrAliasLimit  = errors.New("too many aliases")
)

// aliasesPerKey is AWS's quota of aliases that point to one key.
const aliasesPerKey = 50

// Alias is a name that points to a key.
type Alias struct {
	Name    string
	KeyID   uuid.UUID
	Created time.Time
	Updated time.Time
}

// CreateAlias adds a name, with its "alias/" prefix, for an existing key.
func (s *Store) CreateAlias(ctx context.Context, name string, id uuid.UUID, now time.Time) error {
	return s.change(ctx, "creating alias", func(tx *sql.Tx) error {
		var taken, count int
		if err := tx.QueryRowContext(ctx,
			"SELECT (SELECT count(*) FROM aliases WHERE name = ?), (SELECT count(*) FROM aliases WHERE key_id = ?)",
			name, id[:]).Scan(&taken, &count); err != nil {
			return err
		}
		if taken != 0 {
			return ErrAliasExists
		}
		if count >= aliasesPerKey {
			return ErrAliasLimit
		}
		k, err := s.loadKey(ctx, tx, id)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO aliases (name, key_id, created, updated) VALUES (?, ?, ?, ?)",
			name, id[:], now.UnixMilli(), now.UnixMilli()); err != nil {
			return err
		}
		return s.addAlias(ctx, tx, k, name)
	})
}

// UpdateAlias points a name that points to the key from to the key to instead.
func (s *Store) UpdateAlias(ctx context.Context, name string, from, to uuid.UUID, now time.Time) error {
	return s.change(ctx, "updating alias", func(tx *sql.Tx) error {
		old, err := s.aliasOf(ctx, tx, name, from)
		if err != nil {
			return err
		}
		target := old
		if to != from {
			if target, err = s.loadKey(ctx, tx, to); err != nil {
				return err
			}
			if len(target.Aliases) >= aliasesPerKey {
				return ErrAliasLimit
			}
			if err := s.dropAlias(ctx, tx, old, name); err != nil {
				return err
			}
			if err := s.addAlias(ctx, tx, target, name); err != nil {
				return err
			}
		}
		return oneRow(tx.ExecContext(ctx, "UPDATE aliases SET key_id = ?, updated = ? WHERE name = ?", to[:], now.UnixMilli(), name))
	})
}

// DeleteAlias removes a name that points to the key id; the key stays.
func (s *Store) DeleteAlias(ctx context.Context, name string, id uuid.UUID) error {
	return s.change(ctx, "deleting alias", func(tx *sql.Tx) error {
		k, err := s.aliasOf(ctx, tx, name, id)
		if err != nil {
			return err
		}
		if err := s.dropAlias(ctx, tx, k, name); err != nil {
			return err
		}
		return oneRow(tx.ExecContext(ctx, "DELETE FROM aliases WHERE name = ?", name))
	})
}

// loadAlias reads the key that a name points to. The row of the alias counts
// only because the key's MAC covers the name.
func (s *Store) loadAlias(ctx context.Context, q querier, name string) (*Key, error) {
	var raw []byte
	if err := q.QueryRowContext(ctx, "SELECT key_id FROM aliases WHERE name = ?", name).Scan(&raw); err != nil {
		return nil, notFound(err)
	}
	id, err := uuid.FromBytes(raw)
	if err != nil {
		return nil, err
	}
	k, err := s.loadKey(ctx, q, id)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(k.Aliases, name) {
		return nil, ErrTampered
	}
	return k, nil
}

// aliasOf reads the key that a name points to and refuses if it is not the one
// that the caller has decided about: somebody else was faster.
func (s *Store) aliasOf(ctx context.Context, tx *sql.Tx, name string, id uuid.UUID) (*Key, error) {
	k, err := s.loadAlias(ctx, tx, name)
	if err != nil {
		return nil, err
	}
	if k.ID != id {
		return nil, errors.New("the alias points to another key by now")
	}
	return k, nil
}

func (s *Store) addAlias(ctx context.Context, tx *sql.Tx, k *Key, name string) error {
	k.Aliases = append(k.Aliases, name)
	slices.Sort(k.Aliases)
	return s.remac(ctx, tx, k)
}

func (s *Store) dropAlias(ctx context.Context, tx *sql.Tx, k *Key, name string) error {
	k.Aliases = slices.DeleteFunc(k.Aliases, func(have string) bool { return have == name })
	return s.remac(ctx, tx, k)
}

// ListAliases returns up to limit aliases after the given name, of one key or
// (uuid.Nil) of all, sorted by name, and whether there are more.
func (s *Store) ListAliases(ctx context.Context, id uuid.UUID, after string, limit int) (list []Alias, more bool, err error) {
	query := "SELECT key_id, name, created, updated FROM aliases WHERE name > ?1 ORDER BY name LIMIT ?2"
	if id != uuid.Nil {
		query = "SELECT key_id, name, created, updated FROM aliases WHERE key_id = ?3 AND name > ?1 ORDER BY name LIMIT ?2"
	}
	args := []any{after, limit + 1, id[:]}
	if id == uuid.Nil {
		args = args[:2]
	}
	rows, err := s.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, false, fmt.Errorf("listing aliases: %w", err)
	}
	list, err = collect(rows, func(rows *sql.Rows) (a Alias, err error) {
		var created, updated int64
		err = scanID(rows, &a.KeyID, &a.Name, &created, &updated)
		a.Created, a.Updated = time.UnixMilli(created), time.UnixMilli(updated)
		return a, err
	})
	if err != nil {
		return nil, false, fmt.Errorf("listing aliases: %w", err)
	}
	if len(list) > limit {
		return list[:limit], true, nil
	}
	return list, false, nil
}

func oneRow(res sql.Result, err error) error {
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	return err
}
