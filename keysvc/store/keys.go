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

// ErrNotFound is returned for a key, version or alias that is not there.
var ErrNotFound = errors.New("not found")

// State is a key's state, in the words of the AWS KMS API.
type State string

// The states a key can be in.
const (
	Enabled         State = "Enabled"
	Disabled        State = "Disabled"
	PendingDeletion State = "PendingDeletion"
)

// BackingKey is one version of a key's material, wrapped under the root KEK.
type BackingKey struct {
	Version uint32
	Wrapped []byte
	Created time.Time
}

// Key is one KMS key. Keys returned by a Store are shared: they must not be
// changed.
type Key struct {
	ID           uuid.UUID
	State        State
	Spec         string
	Usage        string
	Description  string
	Created      time.Time
	DeletionDate time.Time // zero unless State is PendingDeletion
	Tags         map[string]string

	// Backing is sorted by version; the last one encrypts.
	Backing []BackingKey
	// Aliases are the names that point to the key, sorted.
	Aliases []string
}

// Current returns the version of the material that encrypts.
func (k *Key) Current() BackingKey { return k.Backing[len(k.Backing)-1] }

// Version returns one version of the material.
func (k *Key) Version(version uint32) (BackingKey, bool) {
	for _, b := range k.Backing {
		if b.Version == version {
			return b, true
		}
	}
	return BackingKey{}, false
}

// CreateKey adds a key with the first version of its material.
func (s *Store) CreateKey(ctx context.Context, k Key, wrapped []byte) error {
	k.State, k.DeletionDate, k.Aliases = Enabled, time.Time{}, nil
	k.Backing = []BackingKey{{Version: 1, Wrapped: wrapped, Created: k.Created}}
	mac, err := s.mac(&k)
	if err != nil {
		return fmt.Errorf("creating key: %w", err)
	}
	return s.change(ctx, "creating key", func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx,
			"INSERT INTO keys (id, state, key_spec, key_usage, description, created, mac) VALUES (?, ?, ?, ?, ?, ?, ?)",
			k.ID[:], string(k.State), k.Spec, k.Usage, k.Description, k.Created.UnixMilli(), mac); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx,
			"INSERT INTO backing_keys (key_id, version, wrapped, created) VALUES (?, 1, ?, ?)",
			k.ID[:], wrapped, k.Created.UnixMilli()); err != nil {
			return err
		}
		for name, value := range k.Tags {
			if _, err := tx.ExecContext(ctx,
				"INSERT INTO tags (key_id, tag_key, tag_value) VALUES (?, ?, ?)", k.ID[:], name, value); err != nil {
				return err
			}
		}
		return nil
	})
}

// StoredBackingKey reads a version's wrapped bytes back from the file, past
// the copy in memory.
func (s *Store) StoredBackingKey(ctx context.Context, id uuid.UUID, version uint32) ([]byte, error) {
	var wrapped []byte
	err := s.read.QueryRowContext(ctx,
		"SELECT wrapped FROM backing_keys WHERE key_id = ? AND version = ?", id[:], version).Scan(&wrapped)
	if err != nil {
		return nil, fmt.Errorf("reading back version %d of key %s: %w", version, id, notFound(err))
	}
	return wrapped, nil
}

// Transition changes a key's State and DeletionDate as decide says, in one
// transaction with the reading of them. decide may refuse with an error, which
// is returned as it is.
func (s *Store) Transition(ctx context.Context, id uuid.UUID, decide func(*Key) error) (*Key, error) {
	var k *Key
	var refused error
	err := s.change(ctx, "changing key state", func(tx *sql.Tx) error {
		var err error
		if k, err = s.loadKey(ctx, tx, id); err != nil {
			return err
		}
		if refused = decide(k); refused != nil {
			return refused
		}
		var date any
		if !k.DeletionDate.IsZero() {
			date = k.DeletionDate.UnixMilli()
		}
		if _, err = tx.ExecContext(ctx, "UPDATE keys SET state = ?, deletion_date = ? WHERE id = ?", string(k.State), date, id[:]); err != nil {
			return err
		}
		return s.remac(ctx, tx, k)
	})
	if refused != nil {
		return nil, refused
	}
	return k, err
}

// ListKeys returns up to limit key IDs after the given one, in the order of
// their bytes, and whether there are more.
func (s *Store) ListKeys(ctx context.Context, after uuid.UUID, limit int) (ids []uuid.UUID, more bool, err error) {
	rows, err := s.read.QueryContext(ctx, "SELECT id FROM keys WHERE id > ? ORDER BY id LIMIT ?", after[:], limit+1)
	if err != nil {
		return nil, false, fmt.Errorf("listing keys: %w", err)
	}
	ids, err = collect(rows, func(rows *sql.Rows) (id uuid.UUID, err error) {
		err = scanID(rows, &id)
		return id, err
	})
	if err != nil {
		return nil, false, fmt.Errorf("listing keys: %w", err)
	}
	if len(ids) > limit {
		return ids[:limit], true, nil
	}
	return ids, false, nil
}

// Due returns the keys whose deletion date has come. One that cannot be read
// does not keep the others from being erased: the keys are good even if there
// is an error.
func (s *Store) Due(ctx context.Context, now time.Time) ([]*Key, error) {
	rows, err := s.read.QueryContext(ctx, "SELECT id FROM keys WHERE deletion_date <= ?", now.UnixMilli())
	if err != nil {
		return nil, fmt.Errorf("finding keys to erase: %w", err)
	}
	ids, err := collect(rows, func(rows *sql.Rows) (id uuid.UUID, err error) {
		err = scanID(rows, &id)
		return id, err
	})
	if err != nil {
		return nil, fmt.Errorf("finding keys to erase: %w", err)
	}
	var keys []*Key
	var unread error
	for _, id := range ids {
		k, err := s.Key(ctx, id)
		if err != nil {
			unread = errors.Join(unread, err)
			continue
		}
		keys = append(keys, k)
	}
	return keys, unread
}

// Erase removes a key whose deletion date has come, with all versions of its
// material, its aliases and its tags; SQLite overwrites the freed pages with
// zeros. It reports false for a key that is not, or no longer, due.
func (s *Store) Erase(ctx context.Context, id uuid.UUID, now time.Time) (bool, error) {
	erased := false
	err := s.change(ctx, "erasing key", func(tx *sql.Tx) error {
		k, err := s.loadKey(ctx, tx, id)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil || k.DeletionDate.IsZero() || k.DeletionDate.UnixMilli() > now.UnixMilli() {
			return err
		}
		erased = true
		return oneRow(tx.ExecContext(ctx, "DELETE FROM keys WHERE id = ?", id[:]))
	})
	return erased && err == nil, err
}

// Discard removes a key that was never acknowledged.
func (s *Store) Discard(ctx context.Context, id uuid.UUID) error {
	return s.change(ctx, "discarding key", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM keys WHERE id = ?", id[:])
		return err
	})
}

// change runs one write transaction; when it returns nil the change is on disk
// and no reader is given the state before it. A caller that goes away does not
// interrupt it: whether a change was made must not be left open.
func (s *Store) change(ctx context.Context, what string, do func(*sql.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	ctx = context.WithoutCancel(ctx)
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer tx.Rollback()
	if err := do(tx); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	var revision int64
	// The triggers have done this already, unless somebody has removed them;
	// then copies in memory would outlive a DisableKey.
	if err := tx.QueryRowContext(ctx, "UPDATE revision SET value = max(value, ?) + 1 RETURNING value", s.revision.Load()).Scan(&revision); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := tx.Commit(); err != nil {
		s.seen.Store(0) // read the revision before the next use of a copy
		return fmt.Errorf("%s: %w", what, err)
	}
	s.advance(revision)
	return nil
}

type querier interface {
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
	QueryRowContext(context.Context, string, ...any) *sql.Row
}

// loadKey reads all rows of a key, which are those of one moment because q is a
// transaction, and verifies their MAC.
func (s *Store) loadKey(ctx context.Context, q querier, id uuid.UUID) (*Key, error) {
	k := &Key{ID: id}
	var state string
	var created int64
	var deletion sql.NullInt64
	var mac []byte
	err := q.QueryRowContext(ctx,
		"SELECT state, key_spec, key_usage, description, created, deletion_date, mac FROM keys WHERE id = ?", id[:]).
		Scan(&state, &k.Spec, &k.Usage, &k.Description, &created, &deletion, &mac)
	if err != nil {
		return nil, fmt.Errorf("reading key %s: %w", id, notFound(err))
	}
	k.State, k.Created = State(state), time.UnixMilli(created)
	if deletion.Valid {
		k.DeletionDate = time.UnixMilli(deletion.Int64)
	}
	if err := loadParts(ctx, q, k); err != nil {
		return nil, fmt.Errorf("reading key %s: %w", id, err)
	}
	if err := s.verify(k, mac); err != nil {
		return nil, fmt.Errorf("reading key %s: %w", id, err)
	}
	if len(k.Backing) == 0 {
		return nil, fmt.Errorf("key %s has no backing key", id)
	}
	return k, nil
}

func loadParts(ctx context.Context, q querier, k *Key) error {
	rows, err := q.QueryContext(ctx, "SELECT version, wrapped, created FROM backing_keys WHERE key_id = ? ORDER BY version", k.ID[:])
	if err != nil {
		return err
	}
	k.Backing, err = collect(rows, func(rows *sql.Rows) (b BackingKey, err error) {
		var created int64
		err = rows.Scan(&b.Version, &b.Wrapped, &created)
		b.Created = time.UnixMilli(created)
		return b, err
	})
	if err != nil {
		return err
	}
	if rows, err = q.QueryContext(ctx, "SELECT name FROM aliases WHERE key_id = ? ORDER BY name", k.ID[:]); err != nil {
		return err
	}
	k.Aliases, err = collect(rows, func(rows *sql.Rows) (name string, err error) {
		err = rows.Scan(&name)
		return name, err
	})
	if err != nil {
		return err
	}
	if rows, err = q.QueryContext(ctx, "SELECT tag_key, tag_value FROM tags WHERE key_id = ?", k.ID[:]); err != nil {
		return err
	}
	k.Tags = map[string]string{}
	_, err = collect(rows, func(rows *sql.Rows) (name string, err error) {
		var value string
		err = rows.Scan(&name, &value)
		k.Tags[name] = value
		return name, err
	})
	return err
}

func collect[T any](rows *sql.Rows, scan func(*sql.Rows) (T, error)) ([]T, error) {
	defer rows.Close()
	var all []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

func scanID(rows *sql.Rows, id *uuid.UUID, more ...any) error {
	var raw []byte
	if err := rows.Scan(append([]any{&raw}, more...)...); err != nil {
		return err
	}
	var err error
	*id, err = uuid.FromBytes(raw)
	return err
}

func notFound(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	return err
}
