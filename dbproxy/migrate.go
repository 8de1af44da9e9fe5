// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/time/rate"

	"github.com/sidekey/sidekey/dbproxy/plan"
	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/proxy"
)

// MigrateAction is what a migration does with a column.
type MigrateAction string

// Actions of a migration.
const (
	// Encrypt turns the column of its declared type into one of sealed values.
	Encrypt MigrateAction = "encrypt"
	// Decrypt is the way back.
	Decrypt MigrateAction = "decrypt"
	// Rotate gives the column a new data key, under the KMS key of its rule.
	Rotate MigrateAction = "rotate"
	// Reencrypt brings the values that another rule sealed under the column's own.
	Reencrypt MigrateAction = "reencrypt"
)

// MigrateOptions say what a migration covers, and how it goes about it.
type MigrateOptions struct {
	// Action is what is done; "" means Encrypt.
	Action MigrateAction

	// Table is schema.table, or the name of one in public; Column is one column
	// of it, or "" for all that have rules.
	Table, Column string

	// From are the rules that the values were sealed by so far; only for Reencrypt.
	From []proxy.ColumnRule

	// Tenant names the column that holds the tenant of each row, or is an SQL
	// expression over the columns of the row. Columns with PerTenant need it.
	Tenant string

	// Rate bounds the rows that are taken up per second; 0 for no bound.
	Rate int

	// Batch is how many rows are changed in one transaction; 0 means 500.
	Batch int

	// DryRun looks and changes nothing.
	DryRun bool

	// VerifyOnly opens every value and changes nothing.
	VerifyOnly bool

	// NoVerify leaves out comparing all rows once more before the swap.
	NoVerify bool

	// NoSwap ends before the new values take the column's place.
	NoSwap bool

	// Abandon takes back a migration that has not reached its swap.
	Abandon bool

	// Rewrite has the server write the table anew at the end, so that its files
	// keep nothing of the old column. The table is locked for that time.
	Rewrite bool

	// DropIndexes drops the indexes that cannot be had on the new column.
	DropIndexes bool

	// AcceptTriggers goes on though functions of triggers get to the column.
	AcceptTriggers bool

	// AcceptOrder goes on though the column comes last in the order of columns, and did
	// not before.
	AcceptOrder bool

	// AcceptPublications goes on though publications have the table.
	AcceptPublications bool

	// IgnoreSidecars swaps although sidecars are connected that do not take part.
	IgnoreSidecars bool

	// Attempts bounds how often the swap is tried; 0 means 50.
	Attempts int

	// Output gets what is done, and the progress.
	Output io.Writer

	// Every is the time between lines of progress; 0 means 5 seconds.
	Every time.Duration
}

func (o *MigrateOptions) validate() error {
	switch {
	case o.Table == "":
		return errors.New("table: missing")
	case o.Rate < 0 || o.Batch < 0 || o.Batch > maxBatch || o.Attempts < 0:
		return fmt.Errorf("rate, batch and attempts cannot be negative, and a batch has at most %d rows", maxBatch)
	case o.DryRun && o.VerifyOnly:
		return errors.New("a dry run verifies nothing")
	case o.Abandon && (o.DryRun || o.VerifyOnly || o.NoSwap || o.Rewrite):
		return errors.New("what is abandoned is not gone on with")
	case o.NoSwap && o.Rewrite:
		return errors.New("the table is written anew only after the swap")
	}
	switch o.Action {
	case Encrypt, Decrypt, Rotate, Reencrypt:
	default:
		return fmt.Errorf("%q is no action", o.Action)
	}
	if (o.Action == Reencrypt) != (len(o.From) > 0) {
		return errors.New("re-encryption, and nothing else, needs the rules that hold so far")
	}
	return nil
}

const (
	defaultBatch    = 500
	firstBatch      = 16
	maxBatch        = 10000
	defaultAttempts = 50
	rateBurst       = maxBatch
)

// ErrInterrupted says that the run was asked to end before its end.
var ErrInterrupted = errors.New("interrupted; start it again to go on")

// Migrator moves the values of a column from one form to another while clients
// go on: through proxies and past them.
//
// The new values are made in a second column. A trigger empties it wherever the
// first changes, so that at any instant a row either has a second value that was
// made of its first, or none. When none is missing, one short transaction puts the
// second column in the place of the first. A run that was killed at any instant is
// gone on with by the next.
type Migrator struct {
	p     *Proxy
	o     MigrateOptions
	rules []*plan.Rule
	limit *rate.Limiter
	tally migrateTally
	// settle is how long proxies may seal with a key after there is a newer one.
	settle time.Duration
	// pause is the first wait before a swap is tried again.
	pause time.Duration
	// step, if not nil, is told of each step; for tests.
	step func(string)
}

// NewMigrator makes a migrator for the columns of a proxy's configuration.
func NewMigrator(cfg Config, columns []proxy.ColumnRule, o MigrateOptions, cipher *proxy.Cipher, al *audit.Log, log *slog.Logger) (*Migrator, error) {
	if o.Action == "" {
		o.Action = Encrypt
	}
	if err := o.validate(); err != nil {
		return nil, err
	}
	columns = slices.Clone(columns)
	for i := range columns {
		columns[i].Moving = "" // it takes no part in the agreement: it makes it
	}
	p, err := New(cfg, columns, cipher, al, log)
	if err != nil {
		return nil, err
	}
	p.identity = "migrate"
	m := &Migrator{p: p, o: o, limit: rate.NewLimiter(rate.Inf, rateBurst), settle: keyAge + 15*time.Second, pause: time.Second}
	if o.Rate > 0 {
		m.limit = rate.NewLimiter(rate.Limit(o.Rate), rateBurst)
		m.limit.ReserveN(time.Now(), rateBurst) // no burst at the start
	}
	if m.o.Batch == 0 {
		m.o.Batch = defaultBatch
	}
	if m.o.Attempts == 0 {
		m.o.Attempts = defaultAttempts
	}
	if m.o.Every == 0 {
		m.o.Every = 5 * time.Second
	}
	if m.o.Output == nil {
		m.o.Output = io.Discard
	}
	m.tally.out = m.o.Output
	table := (&proxy.ColumnRule{Table: o.Table}).QualifiedTable()
	for _, r := range p.rules {
		if r.Schema+"."+r.Table == table && (o.Column == "" || r.Column == o.Column) {
			m.rules = append(m.rules, r)
		}
	}
	if len(m.rules) == 0 {
		return nil, fmt.Errorf("no rule of the configuration is for %s", columnName(table, o.Column))
	}
	if o.Tenant != "" && o.Action != Reencrypt && !slices.ContainsFunc(m.rules, func(r *plan.Rule) bool { return r.TenantSetting != "" }) {
		return nil, fmt.Errorf("%s is not of tenants (per_tenant)", columnName(table, o.Column))
	}
	return m, nil
}

func columnName(table, column string) string {
	if column == "" {
		return "table " + table
	}
	return "column " + table + "." + column
}

// Run moves the columns one after the other. When ctx ends it finishes the batch in
// hand and returns ErrInterrupted. An error means that a column is not what it was
// to become, or that some value cannot be read.
func (m *Migrator) Run(ctx context.Context) (MigrateSummary, error) {
	m.tally.start = time.Now()
	d := m.p.database(m.p.admin.Database)
	defer d.close()
	watched, unwatch := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { m.tally.report(watched, m.o.Every); close(done) }()
	var err error
	for _, r := range m.rules {
		if err = m.column(ctx, d, r); err != nil {
			break
		}
	}
	unwatch()
	<-done
	m.tally.final()
	return m.tally.summary(), err
}

// column moves one column, on a connection of its own.
func (m *Migrator) column(ctx context.Context, d *database, r *plan.Rule) error {
	work := context.WithoutCancel(ctx) // what is in hand is finished
	conn, err := d.dialAdmin(work, "sidekey migrate")
	if err != nil {
		return err
	}
	defer conn.Close(work)
	c := &columnMove{m: m, db: d, conn: conn, run: ctx, rule: r}
	err = c.all(work)
	if err != nil {
		return fmt.Errorf("%s: %w", r.Name(), err)
	}
	return nil
}

// columnMove is the move of one column.
type columnMove struct {
	m    *Migrator
	db   *database
	conn *pgx.Conn
	run  context.Context // ends when the run is to end
	rule *plan.Rule
	t    *migrateTable
	// from opens the values there are, to seals the new ones; nil for plaintext.
	from, to *valueSide
	back     *declared  // how it is to be declared in plaintext; only for Decrypt
	tenant   *rowTenant // nil if values are of nobody in particular
	key      uint32     // the data key that values move to, if it is a new one
	ask      int        // how many rows the next batch reads
	// noMissing says that the definition of the column held no value.
	noMissing bool
	inPlace   bool // each value is replaced by one that the same column may hold
}

// all goes through the steps. Each finds out what is done already.
func (c *columnMove) all(ctx context.Context) error {
	if err := c.session(ctx); err != nil {
		return err
	}
	if err := c.inspect(ctx); err != nil {
		return err
	}
	if c.m.o.Abandon {
		return c.abandon(ctx)
	}
	if err := c.readTenant(ctx); err != nil {
		return err
	}
	if c.m.o.VerifyOnly {
		return c.verifyOnly(ctx)
	}
	finished, err := c.finished(ctx)
	if err != nil {
		return err
	}
	if finished {
		c.m.tally.printf("%s: is as it is to become.", c.rule.Name())
		for _, step := range []func(context.Context) error{c.settleNotNull, c.rewrite, c.verifyTenants} {
			if err := step(ctx); err != nil {
				return err
			}
		}
		return nil
	}
	if err := errors.Join(c.t.refuse(c), c.everyTenant(ctx), c.fits(ctx)); err != nil {
		return err
	}
	if c.m.o.DryRun {
		return c.describe(ctx)
	}
	if err := c.silence(ctx); err != nil {
		return err
	}
	if err := c.sides(ctx); err != nil {
		return err
	}
	steps := []func(context.Context) error{c.prepare, c.announce, c.fill, c.catchUp, c.validate, c.index, c.compare, c.swap, c.settleNotNull, c.rewrite, c.verifyTenants}
	switch {
	case c.inPlace:
		steps = []func(context.Context) error{c.rotate}
	case c.m.o.NoSwap:
		steps = steps[:len(steps)-4]
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
		if c.run.Err() != nil {
			return ErrInterrupted
		}
	}
	return nil
}

// inspect reads what there is. A run that changes it keeps others away first, and
// reads it again: one that it waited for may have swapped the columns.
func (c *columnMove) inspect(ctx context.Context) (err error) {
	if c.t, err = inspectTable(ctx, c.conn, c.rule); err != nil || c.m.o.DryRun || c.m.o.VerifyOnly {
		return err
	}
	oid := c.t.oid
	if err := c.alone(ctx); err != nil {
		return err
	}
	if err := c.settle(ctx, false); err != nil { // of a run that ended after its swap
		return err
	}
	if c.t, err = inspectTable(ctx, c.conn, c.rule); err == nil && c.t.oid != oid {
		err = errors.New("the table has been replaced by another meanwhile; start it again")
	}
	return err
}

// said tells tests of a step.
func (c *columnMove) said(step string) {
	if c.m.step != nil {
		c.m.step(step)
	}
}
