// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.opentelemetry.io/otel/attribute"

	"github.com/sidekey/sidekey/dbproxy/plan"
	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/proxy"
)

func (c *columnMove) triggerName() string { return fmt.Sprintf("%s%d", triggerPrefix, c.t.attnum) }
func (c *columnMove) functionName() string {
	return fmt.Sprintf("sidekey.move_%d_%d", c.t.oid, c.t.attnum)
}
func (c *columnMove) pendingIndex(l *migrateTable) string {
	return fmt.Sprintf("sidekey_pending_%d_%d", l.oid, c.t.attnum)
}

// shadowRule is the column's rule for the second column.
func (c *columnMove) shadowRule() *plan.Rule {
	r := *c.rule
	r.Column = c.t.shadow
	return &r
}

// shadowCheck is the name of the second column's guard. That by its name could be the
// one of the column itself, if the names are long.
func (c *columnMove) shadowCheck() string { return fmt.Sprintf("sidekey_moved_%d", c.t.attnum) }

// pending is true for rows whose value is still to be made.
func (c *columnMove) pending() string {
	column := quoteIdent(c.t.column)
	if c.inPlace {
		return fmt.Sprintf("%s IS NOT NULL AND substring(%s, 4, 4) <> '\\x%08x'::bytea", column, column, c.key)
	}
	return column + " IS NOT NULL AND " + quoteIdent(c.t.shadow) + " IS NULL"
}

// target is the column that is written.
func (c *columnMove) target() string {
	if c.inPlace {
		return quoteIdent(c.t.column)
	}
	return quoteIdent(c.t.shadow)
}

// triggerBody empties the second column wherever the first changes, or what the
// tenant of the row is taken from. Values are compared as bytes: equal ones of some
// types are not the same. Only the move sets the second column. While the swap has
// the lock, what would need another value fails for the moment.
const triggerBody = `BEGIN
  IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN
    IF pg_catalog.record_image_eq(ROW(%[5]s), ROW(%[6]s)) AND (pg_catalog.current_setting('sidekey.migrate', true) OPERATOR(pg_catalog.=) 'on' OR pg_catalog.record_image_eq(ROW(NEW.%[2]s), ROW(OLD.%[2]s))) THEN
      RETURN NEW;
    END IF;
  END IF;
  NEW.%[2]s := NULL;
  IF NEW.%[1]s IS NOT NULL AND NOT pg_catalog.pg_try_advisory_xact_lock_shared(%[3]d, %[4]d) THEN
    RAISE EXCEPTION 'could not serialize access: the column is being moved' USING ERRCODE = '40001', HINT = 'Try again.';
  END IF;
  RETURN NEW;
END`

// prepare makes the second column and what watches over it.
func (c *columnMove) prepare(ctx context.Context) error {
	v, err := c.readMove(ctx)
	if err != nil || v != nil && !v.finished && c.t.hasShadow {
		return err
	}
	typ := "bytea"
	if c.to == nil {
		if typ = c.back.typ; c.back.collation != nil {
			typ += " COLLATE " + *c.back.collation
		}
	}
	column, shadow := quoteIdent(c.t.column), quoteIdent(c.t.shadow)
	statements := []string{
		"SELECT pg_advisory_xact_lock(7306369418137281)", "CREATE SCHEMA IF NOT EXISTS sidekey", moveTable, partTable, declarationTable,
		"ALTER TABLE " + c.t.name + " ADD COLUMN " + shadow + " " + typ,
		"CREATE OR REPLACE FUNCTION " + c.functionName() + "() RETURNS trigger LANGUAGE plpgsql AS " +
			quoteLiteral(fmt.Sprintf(triggerBody, column, shadow, classWrites, int32(c.t.oid), c.watched("NEW"), c.watched("OLD"))),
		"CREATE TRIGGER " + quoteIdent(c.triggerName()) + " BEFORE INSERT OR UPDATE ON " + c.t.name + " FOR EACH ROW EXECUTE FUNCTION " + c.functionName() + "()",
		// Also what replication applies.
		"ALTER TABLE " + c.t.name + " ENABLE ALWAYS TRIGGER " + quoteIdent(c.triggerName()),
	}
	if c.to != nil {
		r := c.shadowRule()
		statements = append(statements, "ALTER TABLE "+c.t.name+" ADD CONSTRAINT "+quoteIdent(c.shadowCheck())+" CHECK ("+r.CheckSQL()+") NOT VALID")
	}
	err = c.inTurn(ctx, "making the second column", func(tx pgx.Tx) error {
		for _, sql := range statements {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return err
			}
		}
		if err := c.keepParts(ctx, tx); err != nil {
			return err
		}
		return c.begin(ctx, tx)
	})
	if err != nil {
		return fmt.Errorf("preparing the table: %w", err)
	}
	c.t.hasShadow = true
	c.m.tally.printf("%s: column %s is made; values go into it.", c.rule.Name(), c.t.shadow)
	c.said("prepared")
	return nil
}

// watched are the columns that a second value is made of, of a row.
func (c *columnMove) watched(row string) string {
	list := row + "." + quoteIdent(c.t.column)
	if c.tenant != nil {
		for _, name := range c.tenant.columns {
			list += ", " + row + "." + quoteIdent(name)
		}
	}
	return list
}

// begin notes that the move is under way.
func (c *columnMove) begin(ctx context.Context, tx pgx.Tx) error {
	var key *int32
	if c.key != 0 {
		id := int32(c.key)
		key = &id
	}
	_, err := tx.Exec(ctx, `INSERT INTO sidekey.moves (table_name, column_name, action, goal, data_key) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (table_name, column_name) DO UPDATE SET action = $3, goal = $4, data_key = $5, rows = 0, started = now(), finished = NULL`,
		c.tableName(), c.rule.Column, string(c.m.o.Action), c.goal(), key)
	return err
}

// window is how many pages of the table are looked at in one go.
const window = 32

// fill goes through the table once.
func (c *columnMove) fill(ctx context.Context) error {
	if err := c.adopt(ctx); err != nil {
		return err
	}
	parts, err := c.readPartStates(ctx, c.conn, c.t)
	if err != nil {
		return err
	}
	for _, l := range c.t.leaves() {
		if err := c.fillPart(ctx, l, parts[l.oid]); err != nil {
			return err
		}
	}
	c.said("filled")
	return nil
}

// fillPart goes through one table that holds rows, page by page.
func (c *columnMove) fillPart(ctx context.Context, l *migrateTable, p part) error {
	if p.filled {
		return nil
	}
	pages, err := c.pages(ctx, l)
	if err != nil {
		return err
	}
	for block := p.block; block < pages && c.run.Err() == nil; block += window {
		if err := c.pass(ctx, l, block); err != nil {
			return err
		}
		if _, err := c.conn.Exec(ctx, "UPDATE sidekey.move_parts SET next_block = $4 WHERE table_name = $1 AND column_name = $2 AND relation = $3", c.tableName(), c.rule.Column, l.oid, block+window); err != nil {
			return err
		}
		c.m.tally.pages(block+window, pages)
	}
	if c.run.Err() != nil {
		return nil
	}
	_, err = c.conn.Exec(ctx, "UPDATE sidekey.move_parts SET filled = true WHERE table_name = $1 AND column_name = $2 AND relation = $3", c.tableName(), c.rule.Column, l.oid)
	return err
}

func (c *columnMove) pages(ctx context.Context, l *migrateTable) (n int64, err error) {
	err = c.conn.QueryRow(ctx, "SELECT COALESCE(pg_relation_size($1::oid::regclass), 0) / current_setting('block_size')::int", l.oid).Scan(&n)
	return n, err
}

// pass takes up what is pending in a window of pages. What others have locked is
// left for later.
func (c *columnMove) pass(ctx context.Context, l *migrateTable, block int64) error {
	within := fmt.Sprintf("ctid >= '(%d,0)'::tid AND ctid < '(%d,0)'::tid AND ", block, block+window)
	for c.run.Err() == nil {
		more, err := c.batch(ctx, l, within)
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// maxBatchBytes is about how much of values is held at once, and goes into one
// statement.
const maxBatchBytes = 16 << 20

// batch changes some rows, in a transaction that holds them locked from reading
// their value to writing the other: so the two belong together. It waits for
// nobody while it holds locks. more says that it did not come to an end.
func (c *columnMove) batch(ctx context.Context, l *migrateTable, within string) (more bool, err error) {
	ctx, op := c.operation(ctx, audit.SpanMigrateColumn)
	n := 0
	err = c.inTransaction(ctx, func(tx pgx.Tx) error {
		var rows []storedRow
		var err error
		rows, more, err = c.readBatch(ctx, tx, "SELECT ctid::text, "+quoteIdent(c.t.column)+", "+c.tenantSQL()+" FROM ONLY "+l.name+" WHERE "+within+c.pending())
		if n = len(rows); err != nil || n == 0 {
			return err
		}
		if err := c.write(ctx, tx, l, rows); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "UPDATE sidekey.moves SET rows = rows + $3 WHERE table_name = $1 AND column_name = $2", c.tableName(), c.rule.Column, n); err != nil {
			return err
		}
		return op.Durable(ctx)
	})
	err = c.recorded(op, n, err)
	if err != nil {
		return false, err
	}
	c.m.tally.moved(n)
	c.m.limit.WaitN(c.run, n) // an error says that the run is to end
	return more, nil
}

func (c *columnMove) operation(ctx context.Context, span string) (context.Context, *audit.Op) {
	return c.m.p.audit.Begin(ctx, span, audit.Principal.String("migrate"), audit.DBSystem.String("postgresql"), audit.DBNamespace.String(c.db.name),
		audit.DBOperation.String(strings.ToUpper(string(c.m.o.Action))), audit.Columns.StringSlice([]string{c.rule.Name()}))
}

// recorded ends the record.
func (c *columnMove) recorded(op *audit.Op, n int, err error) error {
	attrs := []attribute.KeyValue{audit.Rows.Int64(int64(n))}
	if err == nil {
		return op.End("", attrs...)
	}
	failed := asPgError(err)
	return errors.Join(err, op.End(failed.Code, audit.Reason.String(failed.Message)))
}

// inBinary asks for rows with all values in binary; that of text is text.
func inBinary(ctx context.Context, conn *pgx.Conn, sql string) *pgconn.ResultReader {
	return conn.PgConn().ExecParams(ctx, sql, nil, nil, nil, []int16{formatBinary})
}

// storedRow is a value with where it is and whose.
type storedRow struct {
	id, tenant string
	value      []byte
}

// readBatch reads row identifiers, values and tenants in binary, and locks the rows.
// How many it asks for follows from how long the values are: it begins with few.
// Those that are too much for one batch are left for the next.
func (c *columnMove) readBatch(ctx context.Context, tx pgx.Tx, sql string) (batch []storedRow, more bool, err error) {
	if c.ask == 0 {
		c.ask = min(firstBatch, c.m.o.Batch)
	}
	rows := inBinary(ctx, tx.Conn(), fmt.Sprintf("%s LIMIT %d FOR NO KEY UPDATE SKIP LOCKED", sql, c.ask))
	n, bytesRead := 0, 0
	for ; rows.NextRow(); n++ {
		raw := rows.Values()
		if bytesRead += len(raw[1]); bytesRead <= maxBatchBytes || n == 0 {
			batch = append(batch, storedRow{id: string(raw[0]), value: bytes.Clone(raw[1]), tenant: string(raw[2])})
		}
	}
	more = n == c.ask
	switch {
	case bytesRead > maxBatchBytes:
		c.ask = max(1, len(batch)/2)
	case bytesRead < maxBatchBytes/4:
		c.ask = min(2*c.ask, c.m.o.Batch)
	}
	_, err = rows.Close()
	return batch, more || n > len(batch), err
}

// write makes the new values and stores them.
func (c *columnMove) write(ctx context.Context, tx pgx.Tx, l *migrateTable, rows []storedRow) error {
	made, err := c.convert(ctx, rows)
	if err != nil {
		return l.within(err)
	}
	ids := make([]string, len(rows))
	for i := range rows {
		ids[i] = rows[i].id
	}
	array, cast := "bytea[]", ""
	var values any = made
	if c.to == nil {
		array, cast, values = "text[]", "::"+c.back.typ, texts(made)
	}
	tag, err := tx.Exec(ctx, "UPDATE ONLY "+l.name+" SET "+c.target()+" = v.made"+cast+" FROM unnest($1::text[]::tid[], $2::"+array+") AS v (id, made) WHERE "+l.name+".ctid = v.id", ids, values)
	if err != nil {
		return err
	}
	if int(tag.RowsAffected()) != len(ids) {
		return fmt.Errorf("%d rows were changed where %d are locked", tag.RowsAffected(), len(ids))
	}
	return nil
}

func texts(values [][]byte) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = string(v)
	}
	return out
}

// convert makes the new values. Each is compared with the old one before it is used.
func (c *columnMove) convert(ctx context.Context, rows []storedRow) ([][]byte, error) {
	open, seal := c.leases(c.from), c.leases(c.to)
	defer open.release()
	defer seal.release()
	made := make([][]byte, len(rows))
	for i, row := range rows {
		plain, err := open.canonical(ctx, c.rule, row.value, row.tenant)
		if err == nil {
			made[i], err = seal.make(ctx, c.rule, plain, row.tenant)
		}
		if err != nil {
			return nil, fmt.Errorf("row %s: %w", row.id, reason(err))
		}
	}
	return made, nil
}

// reason is an error as the operator sees it: it holds no value.
func reason(err error) error {
	var own *pgError
	if errors.As(err, &own) {
		switch own.Code {
		case codeBadText, codeOutOfRange, codeBadDatetime, codeDatetimeOverflow: // their messages quote it
			return fmt.Errorf("its value is none of its type (SQLSTATE %s)", own.Code)
		}
		return fmt.Errorf("its value cannot be moved as it is (SQLSTATE %s): %w", own.Code, err)
	}
	return err
}

// leasedSide is a side of the move for one batch; lease is nil for plaintext.
type leasedSide struct {
	lease *proxy.ColumnLease
	rule  *plan.Rule
}

// canonical is the canonical form of a stored value. Plaintext must be what its
// canonical form is read back as.
func (l leasedSide) canonical(r *plan.Rule, stored []byte) ([]byte, error) {
	if l.lease != nil {
		form, err := l.lease.Open(nil, stored)
		if err != nil {
			return nil, err
		}
		return plainForm(l.rule, form)
	}
	plain, err := plainOf(r, stored)
	if err != nil {
		return nil, err
	}
	again, err := encodeValue(nil, r.Type, formatBinary, plain, time.UTC)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, stored) {
		return nil, errors.New("its value would be read back differently")
	}
	return plain, nil
}

// make is the stored form: sealed, and opened again, or text for the server to read.
func (l leasedSide) make(r *plan.Rule, plain []byte) ([]byte, error) {
	if l.lease == nil {
		return encodeValue(nil, r.Type, formatText, plain, time.UTC)
	}
	form, err := sealedForm(l.rule, plain)
	if err != nil {
		return nil, err
	}
	sealed, err := l.lease.Seal(nil, form)
	if err != nil {
		return nil, err
	}
	opened, err := l.lease.Open(nil, sealed)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(opened, form) {
		return nil, errors.New("the sealed value opens to another")
	}
	return sealed, nil
}
