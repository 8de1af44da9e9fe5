// SPDX-License-Identifier: Apache-2.0

// Package store keeps the rows of the key service: keys, the wrapped versions
// of their material, aliases, grants and custom key stores, in an SQLite file
// or in a PostgreSQL database that replicas of the service share. What is
// stored is worthless without the HSM that wraps it, and losing it is losing
// every key. Each row carries a MAC whose key only the HSM opens: rows that
// were edited, or exchanged, are refused (mac.go).
//
// Every change is one transaction that is on disk before a method returns.
// Reads are served from memory for as long as the store's revision, which is
// read at most a second ago, has not moved. A database that does not answer is
// an error after a time, and used again when it does.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/singleflight"
)

// timeout bounds every read, every statement of a change and its wait for
// others, so that a database that hangs is an error and not a pile of requests.
// A change as a whole may take three times as long.
const timeout = 10 * time.Second

// Store is the open key store. It is safe for concurrent use.
type Store struct {
	dialect
	name  string // for errors: never a password
	write *sql.DB
	read  *sql.DB

	timeout time.Duration

	revision atomic.Int64 // newest revision seen
	seen     atomic.Int64 // when the revision was last read, ns since start
	start    time.Time
	looks    singleflight.Group // at the revision

	macKey []byte // set by Unlock

	keys      cache[Ref, *Key]
	groups    cache[uuid.UUID, []*Key]
	aliases   cache[aliasName, Ref]
	materials cache[materialName, *Material]
	keyStores cache[string, *KeyStore]
	grants    grantCache
}

// A dialect is what SQLite and PostgreSQL do differently.
type dialect interface {
	// rebind gives the parameters, written as ?, the form of the database.
	rebind(query string) string
	// prepareSchema makes the table of schema versions, keeps others from
	// changing the schema until the transaction ends, and names the migrations.
	prepareSchema(ctx context.Context, tx *sql.Tx) (dir string, err error)
	// begin starts a transaction that writes; no other one is under way at
	// the same time.
	begin(ctx context.Context, db *sql.DB) (*sql.Tx, error)
	// isolation is that of a transaction that writes.
	isolation() sql.IsolationLevel
	// checkpoint removes what deleted rows have left behind.
	checkpoint(ctx context.Context, db *sql.DB) error
	// snapshot are the options of a transaction that reads rows of one moment.
	snapshot() *sql.TxOptions
	// broken reports whether an error is that of a connection that has ended
	// before the statement.
	broken(err error) bool
}

// Open opens the store that rawURL names and brings its schema up to date:
//
//	sqlite:///absolute/path/keys.db
//	postgres://user@host:port/database?sslmode=verify-full&…
//
// The parameters of the second are those of libpq; passwordFile, if not "",
// holds its password and is read for each connection. The server must be a
// primary one. An SQLite file is created with mode 0600, and one that group or
// others can reach is refused.
func Open(ctx context.Context, rawURL, passwordFile string) (*Store, error) {
	return open(ctx, rawURL, passwordFile, timeout)
}

func open(ctx context.Context, rawURL, passwordFile string, timeout time.Duration) (*Store, error) {
	if err := CheckURL(rawURL); err != nil {
		return nil, err
	}
	s := &Store{start: time.Now(), timeout: timeout}
	s.resetCaches()
	u, _ := url.Parse(rawURL)
	var err error
	if u.Scheme == "sqlite" {
		err = s.openSQLite(u.Path)
	} else {
		err = s.openPostgres(rawURL, passwordFile)
	}
	if err != nil {
		return nil, err
	}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("opening key store %s: %w", s.name, err), s.Close())
	}
	return s, nil
}

// CheckURL reports whether Open would understand rawURL.
func CheckURL(rawURL string) error {
	u, err := url.Parse(rawURL)
	if err != nil {
		return errors.New("store: not a URL; want sqlite:///absolute/path or postgres://user@host/database")
	}
	switch u.Scheme {
	case "sqlite":
		return checkSQLite(u)
	case "postgres", "postgresql":
		return checkPostgres(u)
	}
	return fmt.Errorf("store: unknown scheme %q (known: sqlite, postgres)", u.Scheme)
}

func (s *Store) prepare(ctx context.Context) error {
	if err := s.migrate(ctx); err != nil {
		return err
	}
	return s.Ping(ctx)
}

// Close closes the store.
func (s *Store) Close() error {
	return errors.Join(s.read.Close(), s.write.Close())
}

// Ping reads the revision from the database.
func (s *Store) Ping(ctx context.Context) error {
	_, err := s.readRevision(ctx)
	return err
}

// Checkpoint removes what erased rows have left in the files of the store. It
// fails while somebody else reads them for long, a backup perhaps, and is to be
// tried again then. A process that died after an erasure has left it to the
// next one.
func (s *Store) Checkpoint(ctx context.Context) error { return s.checkpoint(ctx, s.write) }

// view reads from the database. If the connection is found to have ended, the
// idle ones may have too: all are replaced, and do is called again.
func (s *Store) view(ctx context.Context, do func(context.Context, querier) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err := do(ctx, s.read)
	if s.broken(err) && ctx.Err() == nil {
		dropIdle(s.read)
		err = do(ctx, s.read)
	}
	return err
}

// dropIdle closes the connections that nobody uses.
func dropIdle(db *sql.DB) {
	db.SetMaxIdleConns(0)
	db.SetMaxIdleConns(db.Stats().MaxOpenConnections)
}

// viewOnce reads rows of one moment with several statements.
func (s *Store) viewOnce(ctx context.Context, do func(context.Context, querier) error) error {
	return s.view(ctx, func(ctx context.Context, _ querier) error {
		tx, err := s.read.BeginTx(ctx, s.snapshot())
		if err != nil {
			return err
		}
		defer tx.Rollback()
		return do(ctx, tx)
	})
}

// querier is a database or a transaction.
type querier interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
	QueryRowContext(context.Context, string, ...any) *sql.Row
}

func (s *Store) exec(ctx context.Context, q querier, query string, args ...any) (sql.Result, error) {
	return q.ExecContext(ctx, s.rebind(query), args...)
}

func (s *Store) row(ctx context.Context, q querier, query string, args ...any) *sql.Row {
	return q.QueryRowContext(ctx, s.rebind(query), args...)
}

func (s *Store) rows(ctx context.Context, q querier, query string, args ...any) (*sql.Rows, error) {
	return q.QueryContext(ctx, s.rebind(query), args...)
}

func collect[T any](rows *sql.Rows, err error, scan func(*sql.Rows) (T, error)) ([]T, error) {
	if err != nil {
		return nil, err
	}
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

// oneRow makes ErrNotFound of a change that met no row.
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

// newRow makes ErrExists of an insertion that met a row that is there.
func newRow(res sql.Result, err error) error {
	if err = oneRow(res, err); err == ErrNotFound {
		return ErrExists
	}
	return err
}

func notFound(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	return err
}
