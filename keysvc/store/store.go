// SPDX-License-Identifier: Apache-2.0

// Package store keeps the rows of the key service: keys, the wrapped versions
// of their material, aliases and tags, in one SQLite file. What is stored is
// worthless without the HSM that wraps it, and losing it is losing every key.
// Each key's rows carry a MAC whose key only the HSM opens: rows that were
// edited, or swapped between keys, are refused (mac.go).
//
// All writes go through one connection and are on disk (WAL, synchronous=FULL)
// before a method returns. Reads are served from an in-memory copy for as long
// as the store's revision has not moved.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	_ "modernc.org/sqlite" // the "sqlite" driver
)

// readers is the number of connections that read beside the one that writes.
const readers = 4

// Store is the open key store. It is safe for concurrent use.
type Store struct {
	path  string
	write *sql.DB // one connection
	read  *sql.DB

	revision atomic.Int64 // newest revision seen
	seen     atomic.Int64 // when the revision was last read, ns since start
	start    time.Time

	macKey []byte // set by Unlock

	mu      sync.RWMutex // guards keys and aliases
	keys    map[uuid.UUID]cachedKey
	aliases map[string]cachedAlias
}

// Open opens the store that rawURL names and brings its schema up to date. The
// only scheme is sqlite:///absolute/path; the file is created with mode 0600,
// and one that group or others can reach is refused.
func Open(ctx context.Context, rawURL string) (*Store, error) {
	path, err := sqlitePath(rawURL)
	if err != nil {
		return nil, err
	}
	if err := privateFile(path); err != nil {
		return nil, err
	}
	s := &Store{path: path, start: time.Now(), keys: map[uuid.UUID]cachedKey{}, aliases: map[string]cachedAlias{}}
	if s.write, err = open(path, 1, "immediate"); err != nil {
		return nil, err
	}
	if s.read, err = open(path, readers, "deferred"); err != nil {
		return nil, errors.Join(err, s.write.Close())
	}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("opening key store %s: %w", path, err), s.Close())
	}
	return s, nil
}

func (s *Store) prepare(ctx context.Context) error {
	if err := migrate(ctx, s.write); err != nil {
		return err
	}
	// A process that died between an erasure and its checkpoint has left the
	// erased rows in the write-ahead log.
	if err := s.Checkpoint(ctx); err != nil {
		return err
	}
	return s.Ping(ctx)
}

// Close closes the store's file.
func (s *Store) Close() error {
	return errors.Join(s.read.Close(), s.write.Close())
}

// Ping reads the revision from disk.
func (s *Store) Ping(ctx context.Context) error {
	_, err := s.readRevision(ctx)
	return err
}

// Checkpoint moves the write-ahead log into the file and empties it, so that
// rows erased before do not linger in the log.
func (s *Store) Checkpoint(ctx context.Context) error {
	var busy, log, moved int
	if err := s.write.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &log, &moved); err != nil {
		return fmt.Errorf("emptying the write-ahead log: %w", err)
	}
	if busy != 0 {
		return errors.New("emptying the write-ahead log: a reader holds it")
	}
	return nil
}

func sqlitePath(rawURL string) (string, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "", errors.New("store: not a URL; want sqlite:///absolute/path")
	}
	if u.Scheme != "sqlite" {
		return "", fmt.Errorf("store: unknown scheme %q (known: sqlite)", u.Scheme)
	}
	if u.Host != "" || !filepath.IsAbs(u.Path) || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return "", fmt.Errorf("store: %s: want sqlite:///absolute/path", u.Redacted())
	}
	return filepath.Clean(u.Path), nil
}

// CheckURL reports whether Open would understand rawURL.
func CheckURL(rawURL string) error {
	_, err := sqlitePath(rawURL)
	return err
}

// privateFile creates the file if it is missing and refuses one that others
// than its owner can reach. SQLite gives its -wal and -shm files the same mode.
func privateFile(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err == nil {
		return f.Close()
	}
	if !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("creating key store: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("opening key store: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("key store %s is not a regular file", path)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("key store %s has mode %04o: others can reach it; chmod 600", path, info.Mode().Perm())
	}
	return nil
}

func open(path string, conns int, txlock string) (*sql.DB, error) {
	q := url.Values{"_txlock": {txlock}, "_pragma": {
		"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)",
		"foreign_keys(1)", "secure_delete(1)",
	}}
	dsn := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("opening key store %s: %w", path, err)
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}
