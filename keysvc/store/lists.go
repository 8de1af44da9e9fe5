// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
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
func (s *Store) ListKeys(ctx context.Context, region string, after uuid.UUID, limit int) ([]uuid.UUID, bool, error) {
	rows, err := s.rows(ctx, s.read, "SELECT id FROM keys WHERE region = ? AND id > ? ORDER BY id LIMIT ?", region, after[:], limit+1)
	ids, err := collect(rows, err, func(rows *sql.Rows) (id uuid.UUID, err error) {
		err = scanID(rows, &id)
		return id, err
	})
	if err != nil {
		return nil, false, fmt.Errorf("listing keys: %w", err)
	}
	ids, more := page(ids, limit)
	return ids, more, nil
}

// ListAliases returns up to limit aliases of a region after the given name, of
// one key or (uuid.Nil) of all, sorted by name, and whether there are more.
func (s *Store) ListAliases(ctx context.Context, region string, id uuid.UUID, after string, limit int) ([]Alias, bool, error) {
	query, args := "SELECT id, name, created, updated FROM aliases WHERE region = ? AND name > ? ORDER BY name LIMIT ?", []any{region, after, limit + 1}
	if id != uuid.Nil {
		query, args = "SELECT id, name, created, updated FROM aliases WHERE region = ? AND id = ? AND name > ? ORDER BY name LIMIT ?", []any{region, id[:], after, limit + 1}
	}
	rows, err := s.rows(ctx, s.read, query, args...)
	list, err := collect(rows, err, func(rows *sql.Rows) (a Alias, err error) {
		var created, updated int64
		err = scanID(rows, &a.ID, &a.Name, &created, &updated)
		a.Region, a.Created, a.Updated = region, time.UnixMilli(created).UTC(), time.UnixMilli(updated).UTC()
		return a, err
	})
	if err != nil {
		return nil, false, fmt.Errorf("listing aliases: %w", err)
	}
	list, more := page(list, limit)
	return list, more, nil
}

// Materials returns up to limit versions of a key's material after the given
// one, in their order and without the wrapped bytes, and whether there are more.
func (s *Store) Materials(ctx context.Context, ref Ref, after uint32, limit int) ([]Material, bool, error) {
	list, more, err := s.materialPage(ctx, s.read, ref, after, limit)
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

// RetirableGrants returns up to limit grants of a region that a principal may
// retire, after the given ID, sorted by ID, and whether there are more.
func (s *Store) RetirableGrants(ctx context.Context, region, principal, after string, limit int) ([]*Grant, bool, error) {
	rows, err := s.rows(ctx, s.read, "SELECT id, grant_id, doc, mac FROM grants WHERE region = ? AND retiring = ? AND grant_id > ? ORDER BY grant_id LIMIT ?",
		region, principal, after, limit+1)
	list, err := collect(rows, err, func(rows *sql.Rows) (*Grant, error) {
		ref := Ref{Region: region}
		var id string
		var doc, mac []byte
		if err := scanID(rows, &ref.ID, &id, &doc, &mac); err != nil {
			return nil, err
		}
		if err := s.checkRow(mac, "grants", []byte(region), ref.ID[:], []byte(id), doc); err != nil {
			return nil, err
		}
		g := &Grant{}
		return g, json.Unmarshal(doc, g)
	})
	if err != nil {
		return nil, false, fmt.Errorf("listing grants: %w", err)
	}
	list, more := page(list, limit)
	return list, more, nil
}

// Due returns up to limit keys with which something is to be done by itself:
// see [Key.Due]. Those that became due last come first, so that a key with
// which nothing can be done does not stand before all others.
func (s *Store) Due(ctx context.Context, now time.Time, limit int) ([]Ref, error) {
	rows, err := s.rows(ctx, s.read, "SELECT id, region FROM keys WHERE due <= ? ORDER BY due DESC LIMIT ?", now.UnixMilli(), limit)
	refs, err := collect(rows, err, func(rows *sql.Rows) (ref Ref, err error) {
		err = scanID(rows, &ref.ID, &ref.Region)
		return ref, err
	})
	if err != nil {
		return nil, fmt.Errorf("finding keys that are due: %w", err)
	}
	return refs, nil
}
