// SPDX-License-Identifier: Apache-2.0

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
	"time"

	driver "modernc.org/sqlite" // and the "sqlite" driver
)

// sqliteReaders is the number of connections that read beside the one that writes.
const sqliteReaders = 4

type sqlite struct{}

func (sqlite) rebind(query string) string { return query }

func (sqlite) begin(ctx context.Context, db *sql.DB) (*sql.Tx, error) { return db.BeginTx(ctx, nil) }

func (sqlite) isolation() sql.IsolationLevel { return sql.LevelDefault }

func (sqlite) prepareSchema(ctx context.Context, tx *sql.Tx) (dir string, err error) {
	_, err = tx.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)")
	return "migrations/sqlite", err
}

func (sqlite) broken(error) bool { return false }

func (sqlite) snapshot() *sql.TxOptions { return &sql.TxOptions{ReadOnly: true} }

// checkpoint moves the write-ahead log into the file and empties it. The freed
// pages of the file itself are overwritten by secure_delete.
func (sqlite) checkpoint(ctx context.Context, db *sql.DB) error {
	var busy, log, moved int
	if err := db.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &log, &moved); err != nil {
		return fmt.Errorf("emptying the write-ahead log: %w", err)
	}
	if busy != 0 {
		return errors.New("emptying the write-ahead log: a reader holds it")
	}
	return nil
}

func checkSQLite(u *url.URL) error {
	if u.Host != "" || !filepath.IsAbs(u.Path) || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return fmt.Errorf("store: %s: want sqlite:///absolute/path", u.Redacted())
	}
	return nil
}

func (s *Store) openSQLite(path string) (err error) {
	path = filepath.Clean(path)
	if err := privateFile(path); err != nil {
		return err
	}
	s.dialect, s.name = sqlite{}, path
	if s.write, err = sqliteConns(path, 1, "immediate"); err != nil {
		return err
	}
	if s.read, err = sqliteConns(path, sqliteReaders, "deferred"); err != nil {
		return errors.Join(err, s.write.Close())
	}
	return nil
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

func sqliteConns(path string, conns int, txlock string) (*sql.DB, error) {
	q := url.Values{"_txlock": {txlock}, "_pragma": {
		"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)",
		"foreign_keys(1)", "secure_delete(1)", "cache_size(-32768)", // KiB
	}}
	dsn := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("opening key store %s: %w", path, err)
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	if err := settle(db); err != nil {
		return nil, errors.Join(fmt.Errorf("opening key store %s: %w", path, err), db.Close())
	}
	return db, nil
}

// settle makes the first connection, which brings a new file into WAL mode. If
// several processes do that at once, SQLite refuses some at once with
// SQLITE_BUSY, whatever busy_timeout says.
func settle(db *sql.DB) error {
	const codeBusy, codeMask = 5, 0xff
	for deadline := time.Now().Add(timeout); ; time.Sleep(10 * time.Millisecond) {
		err := db.Ping()
		var refused *driver.Error
		if !errors.As(err, &refused) || refused.Code()&codeMask != codeBusy || time.Now().After(deadline) {
			return err
		}
	}
}
