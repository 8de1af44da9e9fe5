// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the "pgx" driver

	"github.com/sidekey/sidekey/keysvc/store"
	"github.com/sidekey/sidekey/keysvc/store/storetest"
)

const region = "eu-central-1"

var (
	ctx    = context.Background()
	macKey = bytes.Repeat([]byte{7}, store.MACKeySize)
)

func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// database is an empty one, for one test, that is looked at and changed
// beside the store.
type database struct {
	url  string
	path string // of the file; "" for PostgreSQL
	db   *sql.DB
}

func newSQLite(t testing.TB) *database {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys.db")
	d := &database{url: "sqlite://" + path, path: path}
	d.connect(t, "sqlite", "file:"+path+"?_pragma=busy_timeout(5000)")
	return d
}

func newPostgres(t testing.TB, c *storetest.Cluster) *database {
	t.Helper()
	d := &database{url: c.URL(t)}
	d.connect(t, "pgx", storetest.As(d.url, storetest.Admin)+"&search_path=sidekey_keysvc")
	return d
}

func (d *database) connect(t testing.TB, driver, dsn string) {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	must(t, err)
	t.Cleanup(func() { db.Close() })
	d.db = db
}

// each runs a test with a database of each kind.
func each(t *testing.T, test func(t *testing.T, d *database)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, newSQLite(t)) })
	t.Run("postgres", func(t *testing.T) { test(t, newPostgres(t, storetest.Shared(t))) })
}

func (d *database) postgres() bool { return d.path == "" }

// open opens the database as a store.
func (d *database) open(t testing.TB) *store.Store {
	t.Helper()
	s, err := store.Open(ctx, d.url, "")
	must(t, err)
	t.Cleanup(func() { s.Close() })
	must(t, s.Unlock(ctx, macKey, region))
	return s
}

// openTimeout is open of a store that gives up sooner.
func (d *database) openTimeout(t testing.TB, timeout time.Duration) *store.Store {
	t.Helper()
	s, err := store.OpenTimeout(ctx, d.url, "", timeout)
	must(t, err)
	t.Cleanup(func() { s.Close() })
	must(t, s.Unlock(ctx, macKey, region))
	return s
}

// bind gives the parameters, written as ?, the form of the database.
func (d *database) bind(query string) string {
	for n := 1; d.postgres() && strings.Contains(query, "?"); n++ {
		query = strings.Replace(query, "?", fmt.Sprintf("$%d", n), 1)
	}
	return query
}

// exec changes the database behind the store's back.
func (d *database) exec(t testing.TB, query string, args ...any) {
	t.Helper()
	if _, err := d.db.ExecContext(ctx, d.bind(query), args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// get reads one value.
func (d *database) get(t testing.TB, value any, query string, args ...any) {
	t.Helper()
	if err := d.db.QueryRowContext(ctx, d.bind(query), args...).Scan(value); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}
