// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sidekey/sidekey/keysvc/audit"
)

// compare reads all rows and opens both values of each, right before the swap: the
// first is gone after it.
func (c *columnMove) compare(ctx context.Context) error {
	if c.m.o.NoVerify {
		return nil
	}
	both := quoteIdent(c.t.column) + ", " + quoteIdent(c.t.shadow) + ", " + c.tenantSQL()
	return c.each(ctx, both, quoteIdent(c.t.shadow)+" IS NOT NULL", func(ctx context.Context, rows *pgconn.ResultReader) (int, error) {
		open, seal := c.leases(c.from), c.leases(c.to)
		defer open.release()
		defer seal.release()
		n := 0
		for ; rows.NextRow(); n++ {
			raw := rows.Values()
			if raw[1] == nil {
				return n, fmt.Errorf("row %s: has a second value and no first", raw[0])
			}
			first, err := open.canonical(ctx, c.rule, raw[1], string(raw[3]))
			if err != nil {
				return n, fmt.Errorf("row %s: %w", raw[0], reason(err))
			}
			second, err := seal.canonical(ctx, c.rule, raw[2], string(raw[3]))
			if err != nil {
				return n, fmt.Errorf("row %s: its second value: %w", raw[0], reason(err))
			}
			if !bytes.Equal(first, second) {
				return n, fmt.Errorf("row %s: its second value is not its first: something else writes to column %s; --abandon and begin anew", raw[0], c.t.shadow)
			}
		}
		c.m.tally.add(func(s *MigrateSummary) { s.Compared += int64(n) })
		return n, nil
	})
}

// each hands rows to f, a window of pages at a time.
func (c *columnMove) each(ctx context.Context, columns, where string, f func(context.Context, *pgconn.ResultReader) (int, error)) error {
	for _, l := range c.t.leaves() {
		if err := c.eachOf(ctx, l, columns, where, f); err != nil {
			return err
		}
	}
	return nil
}

func (c *columnMove) eachOf(ctx context.Context, l *migrateTable, columns, where string, f func(context.Context, *pgconn.ResultReader) (int, error)) error {
	pages, err := c.pages(ctx, l)
	if err != nil {
		return err
	}
	for block := int64(0); block < pages && c.run.Err() == nil; block += window {
		ctx, op := c.operation(ctx, audit.SpanVerifyColumn)
		rows := inBinary(ctx, c.conn, fmt.Sprintf("SELECT ctid::text, %s FROM ONLY %s WHERE ctid >= '(%d,0)'::tid AND ctid < '(%d,0)'::tid AND %s", columns, l.name, block, block+window, where))
		n, err := f(ctx, rows)
		if _, failed := rows.Close(); failed != nil {
			n, err = 0, failed
		}
		if err = c.recorded(op, n, err); err != nil {
			return l.within(err)
		}
		c.m.tally.pages(block+window, pages)
		c.m.limit.WaitN(c.run, min(n, rateBurst)) // an error says that the run is to end
	}
	return nil
}

// verifyOnly opens every value.
func (c *columnMove) verifyOnly(ctx context.Context) error {
	if !c.t.guarded(c.rule) {
		return errors.New("it does not hold what its rule seals")
	}
	return c.verifyValues(ctx)
}

func (c *columnMove) verifyValues(ctx context.Context) error {
	side, err := c.ownSide(ctx, false)
	if err != nil {
		return err
	}
	failed := 0
	column := quoteIdent(c.t.column)
	err = c.each(ctx, column+", "+c.tenantSQL(), column+" IS NOT NULL", func(ctx context.Context, rows *pgconn.ResultReader) (n int, err error) {
		open := c.leases(side)
		defer open.release()
		for ; rows.NextRow(); n++ {
			raw := rows.Values()
			if _, err := open.of(ctx, string(raw[2])); err != nil && !ofRow(err) {
				return n, err
			}
			plain, err := open.canonical(ctx, c.rule, raw[1], string(raw[2]))
			if leaseOver(err) {
				return n, err // says nothing of the value
			}
			if err == nil {
				_, err = encodeValue(nil, c.rule.Type, formatBinary, plain, time.UTC)
			}
			if err != nil {
				failed++
				c.m.tally.printf("failed: %s, row %s: %v", c.rule.Name(), raw[0], err)
			}
		}
		c.m.tally.add(func(s *MigrateSummary) { s.Verified += int64(n) })
		return n, nil
	})
	switch {
	case err != nil:
		return err
	case c.run.Err() != nil:
		return ErrInterrupted
	case failed > 0 && c.tenant != nil:
		return fmt.Errorf("%d values cannot be opened for the tenant of their row", failed)
	case failed > 0:
		return fmt.Errorf("%d values cannot be opened", failed)
	}
	return nil
}

// describe says what a run would do.
func (c *columnMove) describe(ctx context.Context) error {
	var rows, values int64
	if _, err := c.conn.Exec(ctx, "SET enable_seqscan TO on"); err != nil {
		return err
	}
	if err := c.conn.QueryRow(ctx, "SELECT count(*), count("+quoteIdent(c.t.column)+") FROM "+c.t.name).Scan(&rows, &values); err != nil {
		return err
	}
	c.m.tally.printf("%s: %d rows, %d values to %s.", c.rule.Name(), rows, values, c.m.o.Action)
	if !c.inPlaceRotation() {
		if len(c.t.after) > 0 {
			c.m.tally.printf("%s: the column will come last in the order of columns.", c.rule.Name())
		}
		for _, x := range c.ownIndexes() {
			verb := "dropped"
			if x.kept(c.m.o.Action != Decrypt, c.rule.Equality, c.t) {
				verb = "built anew"
			}
			c.m.tally.printf("%s: index %s is %s.", c.rule.Name(), x.name, verb)
		}
	}
	return fmt.Errorf("%d values are not moved", values)
}
