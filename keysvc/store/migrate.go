// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"time"
)

// migrations are applied in the order of their names, each once; an applied
// one is never edited.
//
//go:embed migrations/sqlite/*.sql migrations/postgres/*.sql
var migrations embed.FS

// migrationTimeout bounds what changes the schema, with the wait for another
// process that does.
const migrationTimeout = 10 * time.Minute

// migrate applies the migrations the database has not seen, all in one
// transaction: of several processes that start at once one does it, and one
// that is killed has done nothing. A schema written by a newer version is
// refused: going back is done from a backup.
func (s *Store) migrate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, migrationTimeout)
	defer cancel()
	tx, err := s.write.BeginTx(ctx, &sql.TxOptions{Isolation: s.isolation()})
	if err != nil {
		return err
	}
	defer tx.Rollback()
	dir, err := s.prepareSchema(ctx, tx)
	if err != nil {
		return fmt.Errorf("preparing the schema: %w", err)
	}
	names, err := fs.Glob(migrations, dir+"/*.sql")
	if err != nil {
		return err
	}
	if err := applyAll(ctx, tx, names); err != nil {
		return err
	}
	return tx.Commit()
}

func applyAll(ctx context.Context, tx *sql.Tx, names []string) error {
	var have int
	if err := tx.QueryRowContext(ctx, "SELECT coalesce(max(version), 0) FROM schema_version").Scan(&have); err != nil {
		return fmt.Errorf("reading the schema version: %w", err)
	}
	if have > len(names) {
		return fmt.Errorf("schema version %d is newer than this program's %d", have, len(names))
	}
	for i, name := range names[have:] {
		script, err := migrations.ReadFile(name)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, string(script)); err != nil {
			return fmt.Errorf("applying %s: %w", name, err)
		}
		if _, err := tx.ExecContext(ctx, fmt.Sprintf("INSERT INTO schema_version (version) VALUES (%d)", have+i+1)); err != nil {
			return fmt.Errorf("applying %s: %w", name, err)
		}
	}
	return nil
}
