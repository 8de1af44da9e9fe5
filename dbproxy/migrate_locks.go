// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Whoever comes behind a lock of the whole table that is waited for waits with it. So
// such a lock is asked for only when nobody is known to stand against it for long, for
// a moment, and less and less often.
const (
	// lockPatience is longer than deadlock_timeout is by default, after which the
	// server ends an autovacuum that stands in the way.
	lockPatience = "1500ms"
	// quietPatience is how long transactions may have gone on already.
	quietPatience = 2 * time.Second
	// idlePatience is how long the server keeps rows locked for a run that does nothing.
	idlePatience = "60s"
	// maxPause is the longest time between two attempts.
	maxPause = 15 * time.Second
)

// backOff waits before the next attempt.
func (c *columnMove) backOff(attempt int) {
	sleep(c.run, min(c.m.pause<<min(attempt, 4), maxPause))
}

// inTurn runs f in a transaction that has the table locked, as soon as it can.
func (c *columnMove) inTurn(ctx context.Context, what string, f func(pgx.Tx) error) error {
	for attempt := 0; ; attempt++ {
		err := c.quiet(ctx, false)
		if err == nil {
			err = waited(pgx.BeginFunc(ctx, c.conn, func(tx pgx.Tx) error {
				if err := c.lockTable(ctx, tx); err != nil {
					return err
				}
				return f(tx)
			}), "transactions that use the table")
		}
		var busy busyError
		if !errors.As(err, &busy) {
			return err
		}
		if c.run.Err() != nil {
			return ErrInterrupted
		}
		if attempt == 0 {
			c.m.tally.printf("%s: %s waits for %v.", c.rule.Name(), what, err)
		}
		c.said("busy")
		c.backOff(attempt)
	}
}

// lockTable has the table, with all partitions, for the transaction. The time is for
// all of them together, not for each.
func (c *columnMove) lockTable(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, "SET LOCAL statement_timeout TO '"+lockPatience+"'"); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, "LOCK TABLE "+c.t.name+" IN ACCESS EXCLUSIVE MODE")
	if canceled(err) {
		return busyError("transactions that use the table")
	}
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "SET LOCAL statement_timeout TO 0")
	return err
}

// canceled says that the server ended a statement that took too long.
func canceled(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == "57014"
}

// endIdle has the server end the session of a run that does nothing for so long, in a
// transaction, or at all if it keeps the sidecars waiting: its machine may be gone.
func (c *columnMove) endIdle(ctx context.Context, patience string) error {
	outside := patience
	if patience == idlePatience {
		outside = "0" // as between batches that are held back
	}
	_, err := c.conn.Exec(ctx, "SELECT set_config('idle_in_transaction_session_timeout', $1, false), set_config('idle_session_timeout', $2, false)", patience, outside)
	return err
}

// hasNull says that a column holds NULLs that it was to be without.
func hasNull(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == "23502"
}

// holderQuery names the transactions that have some of the tables locked. One of
// autovacuum gives way.
const holderQuery = `SELECT COALESCE(array_agg(DISTINCT l.virtualtransaction), '{}') FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'relation' AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND l.relation = ANY ($1) AND l.granted
  AND l.pid IS DISTINCT FROM pg_backend_pid() AND NOT (l.mode = 'ShareUpdateExclusiveLock' AND COALESCE(a.backend_type, 'autovacuum worker') = 'autovacuum worker')`

// quiet waits a while for the transactions that use the table and, before a swap,
// those that could read it as it was. It holds up nobody.
func (c *columnMove) quiet(ctx context.Context, swap bool) error {
	using, err := c.using(ctx)
	if err != nil {
		return err
	}
	var older []string
	if swap {
		if err := c.conn.QueryRow(ctx, olderQuery, leaseName).Scan(&older); err != nil {
			return err
		}
	}
	return c.awaitEnd(ctx, append(using, older...), quietPatience, "transactions that have used the table, or gone on, for long")
}

// using names the transactions that have the table locked, or some of its partitions.
func (c *columnMove) using(ctx context.Context) (transactions []string, err error) {
	var oids []uint32
	for _, t := range c.t.all() {
		oids = append(oids, t.oid)
	}
	err = c.conn.QueryRow(ctx, holderQuery, oids).Scan(&transactions)
	return transactions, err
}

// awaitEnd waits for the end of transactions, also of those that are prepared.
func (c *columnMove) awaitEnd(ctx context.Context, transactions []string, patience time.Duration, what string) error {
	for deadline := time.Now().Add(patience); len(transactions) > 0 && c.run.Err() == nil; time.Sleep(5 * time.Millisecond) {
		err := c.conn.QueryRow(ctx, "SELECT COALESCE(array_agg(DISTINCT virtualtransaction), '{}') FROM pg_locks WHERE granted AND virtualtransaction = ANY ($1)", transactions).Scan(&transactions)
		if err != nil {
			return err
		}
		if len(transactions) > 0 && time.Now().After(deadline) {
			return busyError(what)
		}
	}
	return nil
}
