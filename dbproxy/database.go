// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/sidekey/sidekey/dbproxy/plan"
)

const (
	// snapshotAge is how old a catalog snapshot may be before its use has it
	// read anew in the background.
	snapshotAge  = 15 * time.Second
	adminTimeout = 15 * time.Second
)

// errAway says that the server cannot be asked.
var errAway = errors.New("the database cannot be reached")

// snapshot is a catalog with the plans that were made against it.
type snapshot struct {
	cat   *plan.Catalog
	plans *planCache
	// shapes are plans that many texts share, by their shape.
	shapes *planCache
	rows   [][]string // as read, to see whether anything changed
}

// database is what all sessions on one database share.
type database struct {
	name    string
	proxy   *Proxy
	current atomic.Pointer[snapshot]
	loaded  atomic.Int64 // unix nanoseconds; 0: stale
	loading atomic.Bool  // a background load is on its way
	changes atomic.Int64 // how often the snapshot has become stale
	// system is what the server's own catalogs look like; read once.
	system atomic.Pointer[plan.System]
	// searchable says that sidekey.search_tokens is there.
	searchable atomic.Bool
	// folded is how it maps letters to one case; read once.
	folded atomic.Pointer[foldings]

	mu      sync.Mutex // serializes use of conn
	conn    *pgx.Conn  // guarded by mu
	columns *lru.Cache[columnOf, heldColumn]

	ctx     context.Context // of what runs until close
	cancel  context.CancelFunc
	leasing sync.Once
	gate    gate // for moving columns
}

// admin runs f on the administrative connection, which is made when needed.
func (d *database) admin(ctx context.Context, f func(context.Context, *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	d.mu.Lock()
	defer d.mu.Unlock()
	reused := d.conn != nil && !d.conn.IsClosed()
	if !reused {
		if err := d.connect(ctx); err != nil {
			return err
		}
	}
	err := f(ctx, d.conn)
	if err != nil && reused && ctx.Err() == nil && (d.conn.IsClosed() || isReadOnly(err)) {
		// The server ended the idle connection, or it is a standby and there may be
		// a primary by now: once more on a new one.
		d.conn.Close(ctx)
		if err := d.connect(ctx); err != nil {
			return err
		}
		err = f(ctx, d.conn)
	}
	return err
}

func isReadOnly(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == readOnlyServer
}

func (d *database) connect(ctx context.Context) error {
	conn, err := d.dialAdmin(ctx, proxyName+d.proxy.identity)
	if err != nil {
		return err
	}
	d.conn = conn
	if d.proxy.moving {
		d.leasing.Do(func() { go d.keepLease(d.ctx) })
	}
	return nil
}

func (d *database) close() {
	d.cancel()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		d.conn.Close(ctx)
	}
}

// load gives the shared snapshot, read if there is none that is not stale.
func (d *database) load(ctx context.Context) (*snapshot, error) {
	if s := d.current.Load(); s != nil && d.loaded.Load() != 0 {
		if time.Since(time.Unix(0, d.loaded.Load())) > snapshotAge && d.loading.CompareAndSwap(false, true) {
			go func() {
				defer d.loading.Store(false)
				defer d.proxy.survive(nil)
				if _, err := d.reload(context.WithoutCancel(ctx)); err != nil {
					d.proxy.log.Warn("reading the catalog", "database", d.name, "error", err)
				}
			}()
		}
		return s, nil
	}
	return d.reload(ctx)
}

// stale has the next load read the catalog.
func (d *database) stale() {
	d.changes.Add(1)
	d.loaded.Store(0)
}

// reload reads the catalog. An unchanged one keeps its plans. It is installed
// before another can be read, so that an older one never takes its place.
func (d *database) reload(ctx context.Context) (*snapshot, error) {
	var snap *snapshot
	changes := d.changes.Load()
	err := d.admin(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		results, err := conn.PgConn().Exec(ctx, d.proxy.catalogSQL).ReadAll()
		if err != nil {
			return err
		}
		rows := make([][]string, 0, len(results[0].Rows))
		for _, r := range results[0].Rows {
			row := make([]string, len(r))
			for i := range r {
				row[i] = string(r[i])
			}
			rows = append(rows, row)
		}
		d.readSystem(ctx, conn)
		snap = d.install(rows)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the catalog: %w", err)
	}
	if d.changes.Load() != changes {
		d.loaded.Store(0) // it may have been read before the change
	}
	return snap, nil
}

// install makes rows the current snapshot. The caller holds mu.
func (d *database) install(rows [][]string) *snapshot {
	old := d.current.Load()
	if old == nil || !sameRows(old.rows, rows) {
		old = d.newSnapshot(rows)
		d.current.Store(old)
	}
	d.loaded.Store(time.Now().UnixNano())
	return old
}

// newSnapshot makes a catalog with which clients see protected columns as they
// are declared.
func (d *database) newSnapshot(rows [][]string) *snapshot {
	s := d.proxy.newSnapshot(rows)
	s.cat = s.cat.WithSystem(d.system.Load())
	return s
}

// readSystem reads what the server's own catalogs look like. Should that fail,
// clients see them as they are.
func (d *database) readSystem(ctx context.Context, conn *pgx.Conn) {
	if d.system.Load() != nil {
		return
	}
	results, err := conn.PgConn().Exec(ctx, plan.SystemQuery()).ReadAll()
	if err != nil {
		d.proxy.log.Warn("reading the columns of the system catalogs", "database", d.name, "error", err)
		return
	}
	system := &plan.System{Columns: make(map[string][]string)}
	for _, row := range results[0].Rows {
		system.Columns[string(row[0])+"."+string(row[1])] = strings.Split(string(row[2]), "\n")
	}
	d.system.Store(system)
}

func sameRows(a, b [][]string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		for j := range a[i] {
			if a[i][j] != b[i][j] {
				return false
			}
		}
	}
	return true
}
