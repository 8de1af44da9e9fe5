// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
)

// migrations are applied in the order of their names, each once; an applied
// one is never edited.
//
//go:embed migrations/sqlite/*.sql migrations/postgres/*.sql
var migrations embed.FS

// postgresSchema keeps the tables apart from others of the database.
const postgresSchema = "sidekey_keysvc"

// migrate applies the migrations the database has not seen. One written by a
// newer version is refused: going back is done from a backup.
func (s *Store) migrate(ctx context.Context) error {
	conn, err := s.write.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	dir := "migrations/sqlite"
	if _, ok := s.dialect.(postgres); ok {
		dir = "migrations/postgres"
		// The lock is the session's, and waits for other replicas that migrate.
		if _, err := conn.ExecContext(ctx, "SELECT pg_advisory_lock($1)", int64(migrationLock)); err != nil {
			return fmt.Errorf("locking the schema: %w", err)
		}
		defer conn.ExecContext(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1)", int64(migrationLock))
		if err := makeSchema(ctx, conn); err != nil {
			return err
		}
	}
	names, err := fs.Glob(migrations, dir+"/*.sql")
	if err != nil {
		return err
	}
	return applyAll(ctx, conn, names)
}

// makeSchema makes the schema if it is missing: whoever may not make one can
// be given one that is there.
func makeSchema(ctx context.Context, conn *sql.Conn) error {
	var there bool
	err := conn.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)", postgresSchema).Scan(&there)
	if err == nil && !there {
		_, err = conn.ExecContext(ctx, "CREATE SCHEMA "+postgresSchema)
	}
	if err != nil {
		return fmt.Errorf("making the schema: %w", err)
	}
	return nil
}

func applyAll(ctx context.Context, conn *sql.Conn, names []string) error {
	if _, err := conn.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)"); err != nil {
		return fmt.Errorf("reading the schema version: %w", err)
	}
	var have int
	if err := conn.QueryRowContext(ctx, "SELECT coalesce(max(version), 0) FROM schema_version").Scan(&have); err != nil {
		return fmt.Errorf("reading the schema version: %w", err)
	}
	if have > len(names) {
		return fmt.Errorf("schema version %d is newer than this program's %d", have, len(names))
	}
	for i, name := range names[have:] {
		if err := apply(ctx, conn, name, have+i+1); err != nil {
			return fmt.Errorf("applying %s: %w", name, err)
		}
	}
	return nil
}

func apply(ctx context.Context, conn *sql.Conn, name string, version int) error {
	script, err := migrations.ReadFile(name)
	if err != nil {
		return err
	}
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, string(script)); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("INSERT INTO schema_version (version) VALUES (%d)", version)); err != nil {
		return err
	}
	return tx.Commit()
}
