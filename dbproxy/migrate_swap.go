// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// How long each step of a swap may wait for others. Clients of the sidecars wait
// for all of it, and so it stays below entryPatience.
const (
	leasePatience    = "5s" // of sidecars, which are longer than drainPatience
	writesPatience   = "1s" // of transactions that have written values past the sidecars
	pendingPatience  = 2 * time.Second
	snapshotPatience = 2 * time.Second
	stuckPatience    = "6s" // of the server with a run that does nothing, but keeps all waiting
)

// busyError says what a swap waited for in vain. It is tried again.
type busyError string

func (e busyError) Error() string { return string(e) }

// catchUp makes the values that were missed or have changed since, by an index
// that knows them, until hardly any is left.
func (c *columnMove) catchUp(ctx context.Context) error {
	if err := c.pendingIndexes(ctx); err != nil {
		return err
	}
	err := c.drainPending(ctx)
	c.said("caught up")
	return err
}

func (c *columnMove) pendingIndexes(ctx context.Context) error {
	for _, l := range c.t.leaves() {
		sql := "CREATE INDEX CONCURRENTLY " + quoteIdent(c.pendingIndex(l)) + " ON " + l.name + " ((1)) WHERE " + c.pending()
		if err := c.build(ctx, l, c.pendingIndex(l), sql); err != nil {
			return err
		}
	}
	return nil
}

// drainPending goes on until a batch comes to an end.
func (c *columnMove) drainPending(ctx context.Context) error {
	for _, l := range c.t.leaves() {
		for more := true; more && c.run.Err() == nil; {
			var err error
			if more, err = c.batch(ctx, l, ""); err != nil {
				return err
			}
		}
	}
	return nil
}

// build makes an index beside the writers, unless it is there. One that an
// interrupted run left half done is dropped first.
func (c *columnMove) build(ctx context.Context, l *migrateTable, name, sql string) error {
	schema := l.schema
	var valid bool
	err := c.conn.QueryRow(ctx, "SELECT x.indisvalid FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_namespace n ON n.oid = i.relnamespace WHERE x.indrelid = $1 AND n.nspname = $2 AND i.relname = $3",
		l.oid, schema, name).Scan(&valid)
	if err == nil && valid {
		return nil
	}
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	if err == nil {
		if err := c.lockWithin(ctx, "0", "DROP INDEX CONCURRENTLY "+pgx.Identifier{schema, name}.Sanitize()); err != nil {
			return err
		}
	}
	if err := c.lockWithin(ctx, "0", sql); err != nil {
		return fmt.Errorf("building an index: %w", err)
	}
	return nil
}

// validate has the server check all new values for their form.
func (c *columnMove) validate(ctx context.Context) error {
	if c.to == nil {
		return nil
	}
	return c.inTransaction(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "ALTER TABLE "+c.t.name+" VALIDATE CONSTRAINT "+quoteIdent(c.shadowCheck()))
		return err
	})
}

func (x *migrateIndex) newName() string { return fmt.Sprintf("sidekey_new_%d", x.oid) }

// keptIndexes are those that are built for the second column.
func (c *columnMove) keptIndexes(t *migrateTable) []migrateIndex {
	return slices.DeleteFunc(slices.Clone(t.indexes), func(x migrateIndex) bool { return !x.kept(c.to != nil, c.rule.Equality, t) })
}

// index builds the indexes that take the place of those with the column.
func (c *columnMove) index(ctx context.Context) error {
	err := c.newIndexes(ctx)
	c.said("indexed")
	return err
}

func (c *columnMove) newIndexes(ctx context.Context) error {
	for _, l := range c.t.leaves() {
		if err := c.dropStale(ctx, l); err != nil {
			return err
		}
		for _, x := range c.keptIndexes(l) {
			sql, err := x.moved(l, x.newName(), l.shadow)
			if err != nil {
				return err
			}
			if err := c.build(ctx, l, x.newName(), sql); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropStale drops new indexes of those that are gone: REINDEX makes others of them.
func (c *columnMove) dropStale(ctx context.Context, l *migrateTable) error {
	var wanted []string
	for _, x := range c.keptIndexes(l) {
		wanted = append(wanted, x.newName())
	}
	rows, err := c.conn.Query(ctx, `SELECT n.nspname::text, i.relname::text FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_namespace n ON n.oid = i.relnamespace
WHERE x.indrelid = $1 AND i.relname LIKE 'sidekey\_new\_%' AND i.relname <> ALL ($2)`, l.oid, wanted)
	if err != nil {
		return err
	}
	names, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (id pgx.Identifier, err error) {
		id = make(pgx.Identifier, 2)
		return id, row.Scan(&id[0], &id[1])
	})
	for _, id := range names {
		if err == nil {
			err = c.lockWithin(ctx, "0", "DROP INDEX CONCURRENTLY "+id.Sanitize())
		}
	}
	return err
}

// swap puts the second column in the place of the first, as soon as it can be done
// without anybody waiting long or getting a wrong answer.
func (c *columnMove) swap(ctx context.Context) error {
	for attempt := 1; c.run.Err() == nil; attempt++ {
		if err := c.refresh(ctx); err != nil {
			return err
		}
		if err := c.drainPending(ctx); err != nil {
			return err
		}
		err := c.trySwap(ctx)
		var busy busyError
		if err == nil {
			c.m.tally.printf("%s: the new values are in their place.", c.rule.Name())
			c.said("swapped")
			return nil
		}
		if !errors.As(err, &busy) && !contended(err) {
			return fmt.Errorf("swapping the columns: %w", err)
		}
		if attempt >= c.m.o.Attempts {
			return fmt.Errorf("the columns could not be swapped in %d attempts, the last of which waited for %w; start it again to go on", attempt, err)
		}
		c.m.tally.printf("%s: not swapped yet: %v", c.rule.Name(), err)
		c.said("busy")
		c.backOff(attempt - 1)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// trySwap has sidecars hold their clients, and writers past them fail for the
// moment, makes the last values, and swaps once no transaction is left that could
// read the table as it was before they were made.
func (c *columnMove) trySwap(ctx context.Context) (err error) {
	if err := c.sidecarsTakePart(ctx); err != nil {
		return err
	}
	if err := c.quiet(ctx, true); err != nil {
		return err
	}
	defer func() {
		// One that was not taken brings a warning.
		_, failed := c.conn.Exec(ctx, "SELECT pg_advisory_unlock($1), pg_advisory_unlock($2, $3)", leaseLock, classWrites, int32(c.t.oid))
		err = errors.Join(err, failed, c.endIdle(ctx, idlePatience))
	}()
	if err := c.takeLease(ctx); err != nil {
		return err
	}
	if err := c.lockWithin(ctx, writesPatience, "SELECT pg_advisory_lock($1, $2)", classWrites, int32(c.t.oid)); err != nil {
		return waited(err, "transactions that write to the column")
	}
	c.said("alone")
	if err := c.makeLast(ctx); err != nil {
		return err
	}
	if err := c.awaitOlder(ctx); err != nil {
		return err
	}
	err = pgx.BeginFunc(ctx, c.conn, func(tx pgx.Tx) error { return c.exchange(ctx, tx) })
	return waited(err, "transactions that use the table")
}

// takeLease has the lock of the sidecars alone: they hold their clients, and read the
// catalog anew when they have it again.
func (c *columnMove) takeLease(ctx context.Context) error {
	if err := c.endIdle(ctx, stuckPatience); err != nil {
		return err
	}
	asked := c.askForLease(ctx)
	err := c.lockWithin(ctx, leasePatience, "SELECT pg_advisory_lock($1)", leaseLock)
	return waited(errors.Join(err, asked()), "sidecars, whose clients have long transactions")
}

// announce has the sidecars know of the second column before it holds values that
// their masks keep from some of their clients.
func (c *columnMove) announce(ctx context.Context) error {
	if c.to != nil || len(c.config().Masks) == 0 {
		return nil
	}
	for attempt := 0; c.run.Err() == nil; attempt++ {
		err := c.sidecarsTakePart(ctx)
		if err == nil {
			err = c.takeLease(ctx)
			_, failed := c.conn.Exec(ctx, "SELECT pg_advisory_unlock($1)", leaseLock)
			err = errors.Join(err, failed, c.endIdle(ctx, idlePatience))
		}
		var busy busyError
		if err == nil || !errors.As(err, &busy) {
			return err
		}
		if attempt+1 >= c.m.o.Attempts {
			return fmt.Errorf("sidecars could not be told of the second column in %d attempts, the last of which waited for %w; start it again to go on", attempt+1, err)
		}
		c.m.tally.printf("%s: not begun yet: %v", c.rule.Name(), err)
		c.backOff(attempt)
	}
	return nil
}

// askForLease tells sidecars on the channel once the move waits for their lock: one
// that gave it up before would have it again at once. The result ends that.
func (c *columnMove) askForLease(ctx context.Context) func() error {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		done <- c.db.admin(ctx, func(_ context.Context, conn *pgx.Conn) error {
			for waits := false; !waits; time.Sleep(2 * time.Millisecond) {
				if ctx.Err() != nil {
					return nil // nobody had the lock
				}
				// Not under ctx, which would end the connection.
				err := conn.QueryRow(context.WithoutCancel(ctx), "SELECT EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND pid = $1 AND NOT granted)", c.conn.PgConn().PID()).Scan(&waits)
				if err != nil {
					return err
				}
			}
			_, err := conn.Exec(context.WithoutCancel(ctx), "SELECT pg_catalog.pg_notify($1, '')", leaseChannel)
			return err
		})
	}()
	return func() error {
		cancel()
		err := <-done
		if errors.Is(err, context.Canceled) {
			return nil // it had not begun
		}
		return err
	}
}

// lockWithin takes a lock of the session.
func (c *columnMove) lockWithin(ctx context.Context, patience, sql string, args ...any) error {
	if _, err := c.conn.Exec(ctx, "SET lock_timeout TO '"+patience+"'"); err != nil {
		return err
	}
	_, err := c.conn.Exec(ctx, sql, args...)
	if _, failed := c.conn.Exec(ctx, "SET lock_timeout TO '2s'"); err == nil {
		err = failed
	}
	return err
}

func waited(err error, what string) error {
	if err != nil && contended(err) {
		return busyError(what)
	}
	return err
}

// sidecarsTakePart refuses a swap that a sidecar would not know of: for a while it
// would search for what is not there any more.
func (c *columnMove) sidecarsTakePart(ctx context.Context) error {
	rows, err := c.conn.Query(ctx, `SELECT DISTINCT p.application_name, COALESCE(host(p.client_addr), 'the same machine') FROM pg_stat_activity p
WHERE p.datname = current_database() AND starts_with(p.application_name, $1) AND ($3 OR NOT EXISTS (SELECT FROM pg_stat_activity l
  WHERE l.datname = p.datname AND l.application_name = $2 || substr(p.application_name, length($1) + 1))) AND p.application_name <> $1 || 'migrate'`,
		proxyName, leaseName, c.bindingChanges())
	if err != nil {
		return err
	}
	hosts, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (host string, err error) {
		var name string
		err = row.Scan(&name, &host)
		return host, err
	})
	if err != nil || len(hosts) == 0 || c.m.o.IgnoreSidecars {
		return err
	}
	if c.bindingChanges() {
		return busyError("sidecars under the rule so far, which have to be stopped for the moment of the change: on " + strings.Join(hosts, ", "))
	}
	return busyError("sidecars that do not take part (moving: is not set in their rule of the column, or --ignore-sidecars if they have none): on " + strings.Join(hosts, ", "))
}

// bindingChanges says that a sidecar under the rule so far cannot read what comes.
func (c *columnMove) bindingChanges() bool { return c.m.o.Action == Reencrypt }

// makeLast makes the values that are still missing while nobody writes others.
func (c *columnMove) makeLast(ctx context.Context) error {
	for deadline := time.Now().Add(pendingPatience); ; {
		if err := c.drainPending(ctx); err != nil {
			return err
		}
		some, err := c.somePending(ctx, c.conn, c.t)
		if err != nil || !some {
			return err
		}
		if time.Now().After(deadline) || c.run.Err() != nil {
			return busyError("transactions that have rows of the table locked")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (c *columnMove) somePending(ctx context.Context, q interface {
	QueryRow(context.Context, string, ...any) pgx.Row
}, t *migrateTable) (some bool, err error) {
	for _, l := range t.leaves() {
		err = q.QueryRow(ctx, "SELECT EXISTS (SELECT FROM ONLY "+l.name+" WHERE "+c.pending()+")").Scan(&some)
		if err != nil || some {
			break
		}
	}
	return some, err
}

// olderQuery names the transactions that may read what was before now: all that
// have a snapshot, but for sidecars that wait for the lock. Of others' transactions
// only their being is shown without pg_read_all_stats.
const olderQuery = `SELECT COALESCE(array_agg(l.virtualtransaction), '{}') FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'virtualxid' AND l.mode = 'ExclusiveLock' AND l.granted AND a.datname = current_database() AND a.pid <> pg_backend_pid()
  AND COALESCE(a.backend_type, 'client backend') IN ('client backend', 'parallel worker') AND (a.backend_xmin IS NOT NULL OR a.state IS NULL) AND NOT starts_with(a.application_name, $1)`

// awaitOlder waits for transactions with an older snapshot. To them the new values
// would be missing once the columns are swapped.
func (c *columnMove) awaitOlder(ctx context.Context) error {
	var older []string
	if err := c.conn.QueryRow(ctx, olderQuery, leaseName).Scan(&older); err != nil {
		return err
	}
	return c.awaitEnd(ctx, older, snapshotPatience, "transactions that began before the last values were made")
}

// exchange is the transaction of the swap.
func (c *columnMove) exchange(ctx context.Context, tx pgx.Tx) error {
	if err := c.lockTable(ctx, tx); err != nil {
		return err
	}
	now, err := inspectTable(ctx, tx.Conn(), c.rule)
	if err != nil {
		return err
	}
	some, err := c.somePending(ctx, tx, now)
	if err != nil {
		return err
	}
	if some {
		return busyError("the last values")
	}
	if err := now.refuse(c); err != nil {
		return err
	}
	if err := c.unchanged(ctx, tx.Conn(), now); err != nil {
		return err
	}
	statements := c.exchangeStatements(now)
	for _, t := range now.all() {
		value, err := c.moveDefault(ctx, tx, t)
		if err != nil {
			return t.within(err)
		}
		if value != "" {
			statements = append(statements, "ALTER TABLE ONLY "+t.name+" ALTER COLUMN "+quoteIdent(t.column)+" SET DEFAULT "+value)
		}
	}
	for _, sql := range statements {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return err
		}
	}
	if err := c.forgetParts(ctx, tx); err != nil {
		return err
	}
	if err := c.keepDeclaration(ctx, tx, now.declared); err != nil {
		return err
	}
	if err := c.promote(ctx, tx); err != nil {
		return err
	}
	c.noMissing = !slices.ContainsFunc(now.all(), func(t *migrateTable) bool { return t.missing })
	_, err = tx.Exec(ctx, "UPDATE sidekey.moves SET finished = now() WHERE table_name = $1 AND column_name = $2", c.tableName(), c.rule.Column)
	return err
}

func (c *columnMove) exchangeStatements(whole *migrateTable) []string {
	alter, column := "ALTER TABLE "+whole.name+" ", quoteIdent(whole.column)
	out := []string{
		"DROP TRIGGER " + quoteIdent(c.triggerName()) + " ON " + whole.name,
		"DROP FUNCTION " + c.functionName() + "()",
		// Its indexes and constraints go with it.
		alter + "DROP COLUMN " + column,
		alter + "RENAME COLUMN " + quoteIdent(whole.shadow) + " TO " + column,
	}
	if c.to != nil {
		out = append(out, alter+"RENAME CONSTRAINT "+quoteIdent(c.shadowCheck())+" TO "+quoteIdent(c.rule.CheckName()))
	}
	// Those of partitions come first: those of the whole take them up.
	for _, t := range whole.all() {
		out = append(out, c.notNull(whole, t)...)
		for _, x := range c.keptIndexes(t) {
			out = append(out, x.takePlace(t)...)
		}
		out = append(out, t.grants...)
		out = append(out, c.settings(t)...)
		if t.comment != nil {
			out = append(out, "COMMENT ON COLUMN "+t.name+"."+column+" IS "+quoteLiteral(*t.comment))
		}
	}
	return out
}

// takePlace gives the new index the name and duties of the old one.
func (x *migrateIndex) takePlace(t *migrateTable) []string {
	alter, name := "ALTER TABLE "+t.name+" ", quoteIdent(x.name)
	switch {
	case x.partitioned && x.constraint != nil:
		return append([]string{alter + "ADD CONSTRAINT " + quoteIdent(*x.constraint) + " " + *x.constraintDefinition}, x.comments(t)...)
	case x.partitioned:
		sql, _ := x.moved(t, x.name, t.column) // it is kept, and so there is no error
		return append([]string{sql}, x.comments(t)...)
	}
	out := []string{"ALTER INDEX " + pgx.Identifier{x.schema, x.newName()}.Sanitize() + " RENAME TO " + name}
	if x.constraint != nil {
		kind := "UNIQUE"
		if x.primary {
			kind = "PRIMARY KEY"
		}
		sql := alter + "ADD CONSTRAINT " + quoteIdent(*x.constraint) + " " + kind + " USING INDEX " + name
		if x.deferrable {
			sql += " DEFERRABLE"
		}
		if x.deferred {
			sql += " INITIALLY DEFERRED"
		}
		out = append(out, sql)
	}
	if x.clustered {
		out = append(out, alter+"CLUSTER ON "+name)
	}
	return append(out, x.comments(t)...)
}

func (x *migrateIndex) comments(t *migrateTable) (out []string) {
	if x.comment != nil {
		out = append(out, "COMMENT ON INDEX "+pgx.Identifier{x.schema, x.name}.Sanitize()+" IS "+quoteLiteral(*x.comment))
	}
	if x.ofConstraint != nil {
		out = append(out, "COMMENT ON CONSTRAINT "+quoteIdent(*x.constraint)+" ON "+t.name+" IS "+quoteLiteral(*x.ofConstraint))
	}
	return out
}

// settings sets of the new column what was set of the old one. Types of a fixed length
// are stored in one way only.
func (c *columnMove) settings(t *migrateTable) (out []string) {
	for _, clause := range t.settings {
		if c.to == nil && c.rule.Type.Len() >= 0 && (strings.HasPrefix(clause, "SET STORAGE") || strings.HasPrefix(clause, "SET COMPRESSION")) {
			continue
		}
		out = append(out, "ALTER TABLE ONLY "+t.name+" ALTER COLUMN "+quoteIdent(t.column)+" "+clause)
	}
	return out
}

// rewrite has the server write the table anew, and says what remains elsewhere.
func (c *columnMove) rewrite(ctx context.Context) error {
	if !c.m.o.Rewrite {
		if c.m.o.Action == Encrypt {
			c.m.tally.printf("%s: plaintext remains in the table's files until it is written anew (--rewrite, or VACUUM FULL), and in the write-ahead log, replicas and backups of before.", c.rule.Name())
		}
		return c.lockWithin(ctx, "0", "ANALYZE "+c.t.name)
	}
	for _, l := range c.t.leaves() {
		if err := c.vacuum(ctx, l); err != nil {
			return fmt.Errorf("writing the table anew: %w", err)
		}
	}
	if err := c.lockWithin(ctx, "0", "ANALYZE "+c.t.name); err != nil {
		return err
	}
	for _, sql := range c.remains() {
		if err := c.lockWithin(ctx, lockPatience, sql); err != nil {
			c.m.tally.printf("%s: %s, which needs a superuser, was not done (%v): until it is run, statistics and files of the server may hold old values.", c.rule.Name(), sql, err)
		}
	}
	if c.m.o.Action == Encrypt {
		c.m.tally.printf("%s: the table is written anew. Plaintext remains in the write-ahead log, replicas and backups of before.", c.rule.Name())
	}
	return nil
}

// remains are the statements that rid the server's own tables of values: statistics
// keep samples of them, definitions of columns the default, and the value that rows
// from before the column have. The files of what was dropped go at a checkpoint.
func (c *columnMove) remains() []string {
	out := []string{"VACUUM FULL pg_catalog.pg_statistic", "VACUUM FULL pg_catalog.pg_attrdef"}
	if !c.noMissing {
		out = append(out, "VACUUM FULL pg_catalog.pg_attribute")
	}
	return append(out, "CHECKPOINT")
}

// vacuum has one table written anew, when nobody uses it.
func (c *columnMove) vacuum(ctx context.Context, l *migrateTable) error {
	for attempt := 0; ; attempt++ {
		err := c.quiet(ctx, false)
		if err == nil {
			err = c.lockWithin(ctx, lockPatience, "VACUUM (FULL) "+l.name)
		}
		var busy busyError
		if !contended(err) && !errors.As(err, &busy) {
			return err
		}
		if c.run.Err() != nil {
			return ErrInterrupted
		}
		c.backOff(attempt)
	}
}
