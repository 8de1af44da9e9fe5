// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"
)

// usesAtOnce bounds the uses that one transaction writes.
const usesAtOnce = 500

// PutUses remembers the last uses of keys, unless later ones are known. They
// change no revision: nothing is decided by them. Keys that are gone are left
// out.
func (s *Store) PutUses(ctx context.Context, uses []Use) error {
	// Two replicas that take the rows in the same order do not wait for each
	// other in a circle.
	uses = slices.SortedFunc(slices.Values(uses), func(a, b Use) int { return compareRefs(a.Key, b.Key) })
	for some := range slices.Chunk(uses, usesAtOnce) {
		if err := s.putUses(ctx, some); err != nil {
			return fmt.Errorf("recording last uses: %w", err)
		}
	}
	return nil
}

func (s *Store) putUses(ctx context.Context, uses []Use) error {
	ctx, cancel := context.WithTimeout(ctx, 3*s.timeout)
	defer cancel()
	tx, err := s.write.BeginTx(ctx, &sql.TxOptions{Isolation: s.isolation()})
	if err != nil {
		return err
	}
	defer tx.Rollback()
	for _, u := range uses {
		if _, err := s.exec(ctx, tx, `
			INSERT INTO uses (region, id, operation, request_id, at)
			SELECT region, id, CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS BIGINT) FROM keys WHERE region = ? AND id = ?
			ON CONFLICT (region, id) DO UPDATE SET operation = excluded.operation, request_id = excluded.request_id, at = excluded.at
			WHERE uses.at <= excluded.at`,
			u.Operation, u.RequestID, u.Time.UnixMilli(), u.Key.Region, u.Key.ID[:]); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// LastUse returns the last use of a key, or ErrNotFound if it was never used.
func (s *Store) LastUse(ctx context.Context, ref Ref) (*Use, error) {
	u := &Use{Key: ref}
	var at int64
	err := s.view(ctx, func(ctx context.Context, q querier) error {
		return s.row(ctx, q, "SELECT operation, request_id, at FROM uses WHERE region = ? AND id = ?", ref.Region, ref.ID[:]).
			Scan(&u.Operation, &u.RequestID, &at)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the last use of key %s: %w", ref.ID, notFound(err))
	}
	u.Time = time.UnixMilli(at).UTC()
	return u, nil
}
