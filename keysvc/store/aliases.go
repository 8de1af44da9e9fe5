// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
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
		if err := keyExists(ctx, tx, id); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO aliases (name, key_id, created, updated) VALUES (?, ?, ?, ?)",
			name, id[:], now.UnixMilli(), now.UnixMilli())
		return err
	})
}

// UpdateAlias points an existing name to another key.
func (s *Store) UpdateAlias(ctx context.Context, name string, id uuid.UUID, now time.Time) error {
	return s.change(ctx, "updating alias", func(tx *sql.Tx) error {
		var count int
		if err := tx.QueryRowContext(ctx,
			"SELECT count(*) FROM aliases WHERE key_id = ? AND name <> ?", id[:], name).Scan(&count); err != nil {
			return err
		}
		if count >= aliasesPerKey {
			return ErrAliasLimit
		}
		if err := keyExists(ctx, tx, id); err != nil {
			return err
		}
		return oneRow(tx.ExecContext(ctx, "UPDATE aliases SET key_id = ?, updated = ? WHERE name = ?", id[:], now.UnixMilli(), name))
	})
}

// DeleteAlias removes a name; its key stays.
func (s *Store) DeleteAlias(ctx context.Context, name string) error {
	return s.change(ctx, "deleting alias", func(tx *sql.Tx) error {
		return oneRow(tx.ExecContext(ctx, "DELETE FROM aliases WHERE name = ?", name))
	})
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

func keyExists(ctx context.Context, tx *sql.Tx, id uuid.UUID) error {
	var one int
	return notFound(tx.QueryRowContext(ctx, "SELECT 1 FROM keys WHERE id = ?", id[:]).Scan(&one))
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
