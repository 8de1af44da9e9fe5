// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/sidekey/sidekey/proxy"
)

// A column that moves changes between one statement and the next: from its
// plaintext type to bytea, or from one data key to another. A statement that was
// planned before and reaches the server after it would be answered wrongly. So
// each proxy with such a column holds an advisory lock, shared, for as long as
// statements planned by what it knows can be on their way. Migrator asks for it
// on the channel, and has it alone for the change; statements wait meanwhile.
const (
	leaseLock    int64 = 7306369418137282
	leaseChannel       = "sidekey_move"
	// leaseName and proxyName begin the application_name of the connection that
	// holds the lock, and of the one that reads the catalog; the proxy's
	// identity follows in both.
	leaseName = "sidekey lease "
	proxyName = "sidekey proxy "

	// drainPatience is how long transactions on the tables may go on when the
	// lock is asked for; entryPatience how long a statement waits for its return.
	drainPatience = 4 * time.Second
	entryPatience = 15 * time.Second

	codeSerialization = "40001"
)

// gate counts the sessions that may use plans of moving columns.
type gate struct {
	mu      sync.Mutex
	open    bool          // guarded by mu; the lock is held and the catalog was read since
	closing bool          // guarded by mu; the lock is asked for
	users   int           // guarded by mu
	changed chan struct{} // guarded by mu; closed at the next change; nil: none waits
}

// tell wakes all who wait. The caller holds mu.
func (g *gate) tell() {
	if g.changed != nil {
		close(g.changed)
		g.changed = nil
	}
}

// next is closed at the next change. The caller holds mu.
func (g *gate) next() <-chan struct{} {
	if g.changed == nil {
		g.changed = make(chan struct{})
	}
	return g.changed
}

func (g *gate) set(open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open, g.closing = open, false
	g.tell()
}

// enter waits until the gate is open. What enters must leave.
func (g *gate) enter(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, entryPatience)
	defer cancel()
	for {
		g.mu.Lock()
		if g.open && !g.closing {
			g.users++
			g.mu.Unlock()
			return nil
		}
		changed := g.next()
		g.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return &pgError{Code: codeSerialization, Message: "could not serialize access: a protected column is being moved", Hint: "Try again."}
		}
	}
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.users--; g.users == 0 {
		g.tell()
	}
}

// drain lets nobody in and says whether all have left in time. If not, the gate
// is open again.
func (g *gate) drain(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, drainPatience)
	defer cancel()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closing = true
	for g.users > 0 {
		changed := g.next()
		g.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		g.mu.Lock()
		if ctx.Err() != nil && g.users > 0 {
			g.closing = false
			g.tell()
			return false
		}
	}
	g.open = false
	return true
}

// moving says that a rule's column may be moved while the proxy runs.
func moving(columns []proxy.ColumnRule) bool {
	for _, c := range columns {
		if c.Moving != "" {
			return true
		}
	}
	return false
}

// keepLease holds the lock, on a connection of its own, until ctx ends.
func (d *database) keepLease(ctx context.Context) {
	for ctx.Err() == nil {
		err := d.lease(ctx)
		d.gate.set(false)
		if ctx.Err() == nil {
			d.proxy.log.Warn("holding the lock of moving columns", "database", d.name, "error", err)
			time.Sleep(200 * time.Millisecond)
		}
	}
}

func (d *database) lease(ctx context.Context) error {
	conn, err := d.dialAdmin(ctx, leaseName+d.proxy.identity)
	if err != nil {
		return err
	}
	defer func() {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		conn.Close(bounded)
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+leaseChannel); err != nil {
		return err
	}
	for {
		// Whoever changes a column has the lock alone: this waits for the end of it.
		if _, err := conn.Exec(ctx, "SELECT pg_catalog.pg_advisory_lock_shared($1)", leaseLock); err != nil {
			return err
		}
		d.forgetAll()
		if _, err := d.reload(ctx); err != nil {
			return err
		}
		d.gate.set(true)
		for drained := false; !drained; {
			if _, err := conn.WaitForNotification(ctx); err != nil {
				return err
			}
			drained = d.gate.drain(ctx)
		}
		if _, err := conn.Exec(ctx, "SELECT pg_catalog.pg_advisory_unlock_shared($1)", leaseLock); err != nil {
			return err
		}
	}
}

// dialAdmin makes a connection of the administrative role.
func (d *database) dialAdmin(ctx context.Context, application string) (*pgx.Conn, error) {
	cfg := d.proxy.admin.Copy()
	if d.name != "" {
		cfg.Database = d.name
	}
	cfg.RuntimeParams["application_name"] = application
	conn, err := connectAdmin(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connecting to database %q with admin_url_file: %w: %w", cfg.Database, errAway, err)
	}
	if err := d.proxy.cfg.Upstream.permitPooled(ctx, conn); err != nil {
		conn.Close(ctx)
		return nil, fmt.Errorf("connecting to database %q with admin_url_file: %w", cfg.Database, err)
	}
	return conn, nil
}

// enter has the session use what is known of moving columns, until its
// transaction ends. entered says that it did not before, so that what it knows may
// be out of date.
func (s *session) enter() (entered bool, err error) {
	if !s.proxy.moving {
		return false, nil
	}
	s.mu.Lock()
	using := s.using
	s.entering = using
	s.mu.Unlock()
	if using {
		return false, nil
	}
	if err := s.up.flush(); err != nil {
		return false, err
	}
	if err := s.db.gate.enter(s.ctx); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.using, s.entering = true, true
	return true, nil
}

// rests says that nothing of the session is on its way, so that it is to leave
// the gate. The caller holds mu.
func (s *session) rests() bool {
	if !s.using || s.entering || s.status != 'I' || s.head() != nil {
		return false
	}
	s.using = false
	return true
}

// leaveGate leaves the gate when the session ends.
func (s *session) leaveGate() {
	s.mu.Lock()
	using := s.using
	s.using = false
	s.mu.Unlock()
	if using {
		s.db.gate.leave()
	}
}
