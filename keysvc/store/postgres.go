// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

const (
	// Changes wait for each other, and must not take all connections from
	// those who read meanwhile.
	postgresReaders = 16
	postgresWriters = 4
	// postgresConnLife has connections move to where the name of the database
	// points by now.
	postgresConnLife = 30 * time.Minute

	// postgresSchema keeps the tables apart from others of the database.
	postgresSchema = "sidekey_keysvc"
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
// come one after the other, as they do in SQLite. At a stricter level of
// isolation, which may be the database's default, those that had to wait would
// fail.
func (p postgres) begin(ctx context.Context, db *sql.DB) (*sql.Tx, error) {
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: p.isolation()})
	if err != nil {
		return nil, err
	}
	if _, err := tx.ExecContext(ctx, "SELECT value FROM revision FOR UPDATE"); err != nil {
		return nil, errors.Join(err, tx.Rollback())
	}
	return tx, nil
}

func (postgres) isolation() sql.IsolationLevel { return sql.LevelReadCommitted }

func (postgres) snapshot() *sql.TxOptions {
	return &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
}

// prepareSchema makes what is missing and nothing else: whoever may not make a
// schema or a table can be given one that is there. The lock is the
// transaction's; it waits for other replicas that migrate.
func (postgres) prepareSchema(ctx context.Context, tx *sql.Tx) (dir string, err error) {
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("SET LOCAL statement_timeout = %d", migrationTimeout.Milliseconds())); err != nil {
		return "", err
	}
	if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock($1)", int64(migrationLock)); err != nil {
		return "", err
	}
	for _, part := range []struct{ there, statement string }{
		{"to_regnamespace($1)", "CREATE SCHEMA " + postgresSchema},
		{"to_regclass($1 || '.schema_version')", "CREATE TABLE " + postgresSchema + ".schema_version (version integer NOT NULL)"},
	} {
		var there bool
		if err := tx.QueryRowContext(ctx, "SELECT "+part.there+" IS NOT NULL", postgresSchema).Scan(&there); err != nil {
			return "", err
		}
		if there {
			continue
		}
		if _, err := tx.ExecContext(ctx, part.statement); err != nil {
			return "", err
		}
	}
	return "migrations/postgres", nil
}

// checkpoint writes those parts of the material's table anew that rows were
// deleted from: VACUUM leaves their bytes in the pages, and VACUUM FULL too
// while somebody else's transaction might still look at them. What the
// write-ahead log of the server, its backups and the blocks of removed files
// hold is the server's.
func (p postgres) checkpoint(ctx context.Context, db *sql.DB) error {
	rows, err := db.QueryContext(ctx, "SELECT part FROM erased ORDER BY part")
	parts, err := collect(rows, err, func(rows *sql.Rows) (part string, err error) {
		err = rows.Scan(&part)
		return part, err
	})
	for _, part := range parts {
		if err := p.rewrite(ctx, db, part); err != nil {
			return fmt.Errorf("removing erased rows: %w", err)
		}
	}
	if err != nil {
		return fmt.Errorf("looking for erased rows: %w", err)
	}
	return nil
}

// rewrite copies the rows of a part of the material's table into a new file.
// All who want to read the part wait behind the lock, so if somebody who takes
// long, a dump of the database perhaps, holds it, this is given up at once and
// left for later.
func (p postgres) rewrite(ctx context.Context, db *sql.DB, part string) error {
	ctx, cancel := context.WithTimeout(ctx, migrationTimeout)
	defer cancel()
	tx, err := p.begin(ctx, db)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	table := pgx.Identifier{postgresSchema, part}.Sanitize()
	for _, statement := range []string{
		"SET LOCAL lock_timeout = '200ms'",
		fmt.Sprintf("SET LOCAL statement_timeout = %d", migrationTimeout.Milliseconds()),
		"LOCK TABLE " + table + " IN ACCESS EXCLUSIVE MODE",
		"CREATE TEMPORARY TABLE kept ON COMMIT DROP AS TABLE " + table,
		"TRUNCATE " + table,
		"INSERT INTO " + table + " SELECT * FROM pg_temp.kept",
	} {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM erased WHERE part = $1", part); err != nil {
		return err
	}
	return tx.Commit()
}

// broken reports whether an error is that of a connection that has ended
// before the statement: another connection may be good.
func (postgres) broken(err error) bool {
	var refused *pgconn.ConnectError
	var answer *pgconn.PgError
	var network net.Error
	switch {
	case err == nil || errors.As(err, &refused):
		return false
	case errors.As(err, &answer):
		// 57P: the server shuts down, or an administrator has ended the
		// connection. 25006: the server is no primary one any more.
		return strings.HasPrefix(answer.Code, "57P") || answer.Code == "25006"
	case errors.As(err, &network):
		return !network.Timeout()
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, driver.ErrBadConn) || pgconn.SafeToRetry(err)
}

func checkPostgres(u *url.URL) error {
	_, set := u.User.Password()
	if set || u.Query().Has("password") || u.Query().Has("sslpassword") {
		return errors.New("store: the password of postgres:// belongs in a file of its own, not in the URL")
	}
	if _, err := pgx.ParseConfig(u.String()); err != nil {
		return errBadPostgres // pgx's own error may show the URL
	}
	return nil
}

var errBadPostgres = errors.New("store: want postgres://user@host:port/database?sslmode=…")

func (s *Store) openPostgres(rawURL, passwordFile string) error {
	config, err := pgx.ParseConfig(rawURL)
	if err != nil {
		return errBadPostgres
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "sidekey keysvc"
	}
	config.RuntimeParams["search_path"] = postgresSchema
	config.RuntimeParams["synchronous_commit"] = "on"
	// A process that stops in a change must not stop the others.
	for _, limit := range []string{"statement_timeout", "idle_in_transaction_session_timeout"} {
		config.RuntimeParams[limit] = strconv.FormatInt(s.timeout.Milliseconds(), 10)
	}
	if config.ConnectTimeout == 0 || config.ConnectTimeout > s.timeout {
		config.ConnectTimeout = s.timeout
	}
	// A standby tells of changes late: keys that were disabled would be used.
	config.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	options := []stdlib.OptionOpenDB{
		stdlib.OptionBeforeConnect(func(_ context.Context, c *pgx.ConnConfig) error { return readPassword(c, passwordFile) }),
		stdlib.OptionAfterConnect(checkSession),
	}
	pool := func(conns int) *sql.DB {
		db := stdlib.OpenDB(*config, options...)
		db.SetMaxOpenConns(conns)
		db.SetMaxIdleConns(conns)
		db.SetConnMaxLifetime(postgresConnLife)
		return db
	}
	s.dialect, s.write, s.read = postgres{}, pool(postgresWriters), pool(postgresReaders)
	s.name = fmt.Sprintf("postgres://%s/%s", net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port))), config.Database)
	return nil
}

// readPassword reads the file for each connection: passwords are changed while
// the service runs.
func readPassword(c *pgx.ConnConfig, file string) error {
	if file == "" {
		return nil
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading the password of the key store: %w", err)
	}
	c.Password = strings.TrimRight(string(raw), "\r\n")
	clear(raw)
	return nil
}

// checkSession refuses a connection that does not have the settings it was to
// be opened with: a pooler in between may leave them out.
func checkSession(ctx context.Context, conn *pgx.Conn) error {
	var path, commit string
	err := conn.QueryRow(ctx, "SELECT current_setting('search_path'), current_setting('synchronous_commit')", pgx.QueryExecModeSimpleProtocol).
		Scan(&path, &commit)
	if err != nil {
		return err
	}
	if path != postgresSchema || commit == "off" || commit == "local" {
		return fmt.Errorf("the connection has search_path %q and synchronous_commit %s: a pooler in between leaves settings out; give them to the role (ALTER ROLE … SET search_path = %s)",
			path, commit, postgresSchema)
	}
	return nil
}
