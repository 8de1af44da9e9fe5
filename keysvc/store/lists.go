// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
)

// page cuts off what was read to see whether there is more.
func page[T any](list []T, limit int) ([]T, bool) {
	if len(list) > limit {
		return list[:limit], true
	}
	return list, false
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

// ListKeys returns up to limit IDs of keys of a region after the given one, in
// the order of their bytes, and whether there are more.
func (s *Store) ListKeys(ctx context.Context, region string, after uuid.UUID, limit int) (ids []uuid.UUID, more bool, err error) {
	err = s.view(ctx, func(ctx context.Context, q querier) error {
		rows, err := s.rows(ctx, q, "SELECT id FROM keys WHERE region = ? AND id > ? ORDER BY id LIMIT ?", region, after[:], limit+1)
		ids, err = collect(rows, err, func(rows *sql.Rows) (id uuid.UUID, err error) {
			err = scanID(rows, &id)
			return id, err
		})
		return err
	})
	if err != nil {
		return nil, false, fmt.Errorf("listing keys: %w", err)
	}
	ids, more = page(ids, limit)
	return ids, more, nil
}

// ListAliases returns up to limit aliases of a region after the given name, of
// one key or (uuid.Nil) of all, sorted by name, and whether there are more.
func (s *Store) ListAliases(ctx context.Context, region string, id uuid.UUID, after string, limit int) (list []Alias, more bool, err error) {
	query, args := "SELECT "+keyColumns+", aliases.name, aliases.created, aliases.updated FROM aliases"+
		" JOIN keys ON keys.region = aliases.region AND keys.id = aliases.id WHERE aliases.region = ? AND aliases.name > ?", []any{region, after}
	if id != uuid.Nil {
		query, args = query+" AND aliases.id = ?", append(args, id[:])
	}
	err = s.view(ctx, func(ctx context.Context, q querier) error {
		rows, err := s.rows(ctx, q, query+" ORDER BY aliases.name LIMIT ?", append(args, limit+1)...)
		list, err = collect(rows, err, s.scanAlias)
		return err
	})
	if err != nil {
		return nil, false, fmt.Errorf("listing aliases: %w", err)
	}
	list, more = page(list, limit)
	return list, more, nil
}

// scanAlias reads an alias that its key knows of.
func (s *Store) scanAlias(rows *sql.Rows) (a Alias, err error) {
	var created, updated int64
	l, err := s.scanKey(rows.Scan, &a.Name, &created, &updated)
	if err == nil && !slices.Contains(l.key.Aliases, a.Name) {
		err = ErrTampered
	}
	if err != nil {
		return a, err
	}
	a.Ref, a.Created, a.Updated = l.key.Ref, time.UnixMilli(created).UTC(), time.UnixMilli(updated).UTC()
	return a, nil
}

// Materials returns up to limit versions of a key's material after the given
// one, in their order and without the wrapped bytes, and whether there are more.
func (s *Store) Materials(ctx context.Context, ref Ref, after uint32, limit int) (list []Material, more bool, err error) {
	err = s.view(ctx, func(ctx context.Context, q querier) error {
		list, more, err = s.materialPage(ctx, q, ref, after, limit)
		return err
	})
	for i := range list {
		list[i].Wrapped = nil
	}
	return list, more, err
}

func (s *Store) materialPage(ctx context.Context, q querier, ref Ref, after uint32, limit int) ([]Material, bool, error) {
	rows, err := s.rows(ctx, q, "SELECT version, wrapped, doc, mac FROM material WHERE region = ? AND id = ? AND version > ? ORDER BY version LIMIT ?",
		ref.Region, ref.ID[:], int64(after), limit+1)
	list, err := collect(rows, err, func(rows *sql.Rows) (m Material, err error) {
		var doc, mac []byte
		if err := rows.Scan(&m.Version, &m.Wrapped, &doc, &mac); err != nil {
			return m, err
		}
		return m, s.checkMaterial(ref, &m, doc, mac)
	})
	if err != nil {
		return nil, false, fmt.Errorf("reading the material of key %s: %w", ref.ID, err)
	}
	list, more := page(list, limit)
	return list, more, nil
}

// Due returns up to limit keys with which something is to be done by itself:
// see [Key.Due]. Those that became due last come first, so that a key with
// which nothing can be done does not stand before all others.
func (s *Store) Due(ctx context.Context, now time.Time, limit int) (refs []Ref, err error) {
	err = s.view(ctx, func(ctx context.Context, q querier) error {
		rows, err := s.rows(ctx, q, "SELECT id, region FROM keys WHERE due <= ? ORDER BY due DESC LIMIT ?", now.UnixMilli(), limit)
		refs, err = collect(rows, err, func(rows *sql.Rows) (ref Ref, err error) {
			err = scanID(rows, &ref.ID, &ref.Region)
			return ref, err
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("finding keys that are due: %w", err)
	}
	return refs, nil
}
