// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

const (
	postgresConns = 16
	// postgresTimeout bounds every statement and the wait for a lock, so that
	// a database that hangs is an error and not a pile of requests.
	postgresTimeout = 10 * time.Second
	// migrationLock is the advisory lock under which one replica at a time
	// changes the schema. Any number that nobody else uses will do.
	migrationLock = 0x73_69_64_65_6b_65_79 // "sidekey"
)

type postgres struct{}

// rebind numbers the parameters. No query has a question mark elsewhere.
func (postgres) rebind(query string) string {
	var b strings.Builder
	n := 0
	for {
		before, after, found := strings.Cut(query, "?")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		n++
		b.WriteString("$" + strconv.Itoa(n))
		query = after
	}
}

// begin takes the lock of the revision, which every change increases: changes
// come one after the other, as they do in SQLite.
func (postgres) begin(ctx context.Context, db *sql.DB) (*sql.Tx, error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	if _, err := tx.ExecContext(ctx, "SELECT value FROM revision FOR UPDATE"); err != nil {
		return nil, errors.Join(err, tx.Rollback())
	}
	return tx, nil
}

func (postgres) snapshot() *sql.TxOptions {
	return &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
}

// checkpoint rewrites the table of the material if rows of it were deleted
// since: VACUUM alone leaves their bytes in the pages. What the write-ahead
// log of the server and its backups hold is the server's.
func (postgres) checkpoint(ctx context.Context, db *sql.DB) error {
	var erased bool
	if err := db.QueryRowContext(ctx, "SELECT erased FROM revision").Scan(&erased); err != nil {
		return fmt.Errorf("looking for erased rows: %w", err)
	}
	if !erased {
		return nil
	}
	// The mark goes first: rows that are deleted in between set it again.
	if _, err := db.ExecContext(ctx, "UPDATE revision SET erased = false"); err != nil {
		return fmt.Errorf("looking for erased rows: %w", err)
	}
	if _, err := db.ExecContext(ctx, "VACUUM (FULL) material"); err != nil {
		_, marked := db.ExecContext(ctx, "UPDATE revision SET erased = true")
		return errors.Join(fmt.Errorf("removing erased rows: %w", err), marked)
	}
	return nil
}

func checkPostgres(u *url.URL) error {
	if _, set := u.User.Password(); set {
		return errors.New("store: the password of postgres:// belongs in a file of its own, not in the URL")
	}
	if u.Query().Has("password") || u.Query().Has("sslpassword") {
		return errors.New("store: the password of postgres:// belongs in a file of its own, not in the URL")
	}
	if _, err := pgx.ParseConfig(u.String()); err != nil {
		return errors.New("store: want postgres://user@host:port/database?sslmode=…")
	}
	return nil
}

func (s *Store) openPostgres(ctx context.Context, rawURL, passwordFile string) error {
	config, err := pgx.ParseConfig(rawURL)
	if err != nil {
		return errors.New("store: want postgres://user@host:port/database?sslmode=…")
	}
	if passwordFile != "" {
		raw, err := os.ReadFile(passwordFile)
		if err != nil {
			return fmt.Errorf("reading the password of the key store: %w", err)
		}
		config.Password = strings.TrimSpace(string(raw))
		clear(raw)
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "sidekey keysvc"
	}
	config.RuntimeParams["search_path"] = postgresSchema
	config.RuntimeParams["statement_timeout"] = strconv.FormatInt(postgresTimeout.Milliseconds(), 10)
	config.RuntimeParams["synchronous_commit"] = "on"
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = postgresTimeout
	}
	db := stdlib.OpenDB(*config)
	db.SetMaxOpenConns(postgresConns)
	db.SetMaxIdleConns(postgresConns)
	s.dialect, s.write, s.read = postgres{}, db, db
	s.name = fmt.Sprintf("postgres://%s:%d/%s", config.Host, config.Port, config.Database)
	return nil
}
