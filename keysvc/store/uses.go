// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"fmt"
	"time"
)

// PutUses remembers the last uses of keys, unless later ones are known. They
// change no revision: nothing is decided by them.
func (s *Store) PutUses(ctx context.Context, uses []Use) error {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("recording last uses: %w", err)
	}
	defer tx.Rollback()
	for _, u := range uses {
		if _, err := s.exec(ctx, tx, `
			INSERT INTO uses (region, id, operation, request_id, at)
			SELECT region, id, CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS BIGINT) FROM keys WHERE region = ? AND id = ?
			ON CONFLICT (region, id) DO UPDATE SET operation = excluded.operation, request_id = excluded.request_id, at = excluded.at
			WHERE uses.at <= excluded.at`,
			u.Operation, u.RequestID, u.Time.UnixMilli(), u.Key.Region, u.Key.ID[:]); err != nil {
			return fmt.Errorf("recording last uses: %w", err)
		}
	}
	return tx.Commit()
}

// LastUse returns the last use of a key, or ErrNotFound if it was never used.
func (s *Store) LastUse(ctx context.Context, ref Ref) (*Use, error) {
	u := &Use{Key: ref}
	var at int64
	err := s.row(ctx, s.read, "SELECT operation, request_id, at FROM uses WHERE region = ? AND id = ?", ref.Region, ref.ID[:]).
		Scan(&u.Operation, &u.RequestID, &at)
	if err != nil {
		return nil, fmt.Errorf("reading the last use of key %s: %w", ref.ID, notFound(err))
	}
	u.Time = time.UnixMilli(at).UTC()
	return u, nil
}
