// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/sidekey/sidekey/dbproxy/plan"
)

// A partitioned table moves as one: its second column, the trigger and the guard are
// inherited by all partitions, also by those that are made meanwhile, and one
// transaction swaps the columns of all. The rows are gone through partition by
// partition.

// partTable keeps which tables hold rows of a move, how far each has been gone
// through, and by which trigger it is watched. One that is detached and attached
// again has another trigger, and may have changed unwatched.
const partTable = `CREATE TABLE IF NOT EXISTS sidekey.move_parts (
  table_name text NOT NULL,
  column_name text NOT NULL,
  relation oid NOT NULL,
  watch oid NOT NULL,
  next_block bigint NOT NULL DEFAULT 0,
  filled boolean NOT NULL DEFAULT false,
  PRIMARY KEY (table_name, column_name, relation)
)`

// part is a row of it.
type part struct {
	relation, watch uint32 // watch is 0 if no trigger watches the table
	known           bool
	block           int64
	filled          bool
}

const partQuery = `SELECT r, COALESCE(g.oid, 0), p.relation IS NOT NULL, COALESCE(p.next_block, 0), COALESCE(p.filled, false)
FROM unnest($1::oid[]) r LEFT JOIN pg_trigger g ON g.tgrelid = r AND g.tgname = $2 AND g.tgenabled = 'A'
LEFT JOIN sidekey.move_parts p ON p.table_name = $3 AND p.column_name = $4 AND p.relation = r AND p.watch = g.oid ORDER BY 1`

// leaves are the tables that hold the rows.
func (t *migrateTable) leaves() []*migrateTable {
	if t.kind != "p" {
		return []*migrateTable{t}
	}
	leaves := slices.DeleteFunc(slices.Clone(t.parts), func(p *migrateTable) bool { return p.kind == "p" })
	slices.SortFunc(leaves, func(a, b *migrateTable) int { return int(int64(a.oid) - int64(b.oid)) })
	return leaves
}

// all are the table and its partitions, those further down first.
func (t *migrateTable) all() []*migrateTable { return append(slices.Clone(t.parts), t) }

// readParts reads the partitions.
func (t *migrateTable) readParts(ctx context.Context, conn *pgx.Conn, r *plan.Rule) error {
	rows, err := conn.Query(ctx, `SELECT n.nspname, c.relname, c.relkind IN ('r', 'p'), EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = p.relid AND i.inhdetachpending)
FROM pg_partition_tree($1::oid::regclass) p JOIN pg_class c ON c.oid = p.relid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE p.level > 0 ORDER BY p.level DESC, p.relid`, t.oid)
	if err != nil {
		return err
	}
	var names []pgx.Identifier
	var schema, name string
	var local, leaving bool
	_, err = pgx.ForEachRow(rows, []any{&schema, &name, &local, &leaving}, func() error {
		id := pgx.Identifier{schema, name}
		switch {
		case !local:
			t.refusal = append(t.refusal, "partition "+id.Sanitize()+" is a foreign table: detach it")
		case leaving:
			t.refusal = append(t.refusal, "partition "+id.Sanitize()+" is being detached: ALTER TABLE .. DETACH PARTITION .. FINALIZE")
		default:
			names = append(names, id)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range names {
		of := *r
		of.Schema, of.Table = id[0], id[1]
		p, err := inspectRelation(ctx, conn, &of, true)
		if err != nil {
			return fmt.Errorf("partition %s: %w", id.Sanitize(), err)
		}
		for _, why := range p.refusal {
			t.refusal = append(t.refusal, "partition "+p.name+": "+why)
		}
		t.fires = t.fires || p.fires
		for _, name := range p.triggers {
			if !slices.Contains(t.triggers, name) {
				t.triggers = append(t.triggers, name)
			}
		}
		t.parts = append(t.parts, p)
	}
	return nil
}

// readPartitioning refuses keys of partitions: the server has to compute with them.
func (t *migrateTable) readPartitioning(ctx context.Context, conn *pgx.Conn) error {
	var key bool
	// Columns of the key depend on their table, by themselves and in expressions.
	err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = $1 AND d.objsubid = $2
  AND d.refclassid = 'pg_class'::regclass AND d.refobjid = $1 AND d.refobjsubid = 0 AND d.deptype = 'i')`, t.oid, t.attnum).Scan(&key)
	if key {
		t.refusal = append(t.refusal, "it is in the partition key, by which the server chooses the partition of a row: no sealed value can be")
	}
	return err
}

// readPartStates reads what is kept of the tables that hold the rows.
func (c *columnMove) readPartStates(ctx context.Context, conn *pgx.Conn, t *migrateTable) (map[uint32]part, error) {
	var oids []uint32
	for _, l := range t.leaves() {
		oids = append(oids, l.oid)
	}
	rows, err := conn.Query(ctx, partQuery, oids, c.triggerName(), c.tableName(), c.rule.Column)
	if err != nil {
		return nil, err
	}
	parts := map[uint32]part{}
	var p part
	_, err = pgx.ForEachRow(rows, []any{&p.relation, &p.watch, &p.known, &p.block, &p.filled}, func() error {
		parts[p.relation] = p
		return nil
	})
	return parts, err
}

// keepParts notes the tables that hold the rows when the second column is made.
func (c *columnMove) keepParts(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, "DELETE FROM sidekey.move_parts WHERE table_name = $1 AND column_name = $2", c.tableName(), c.rule.Column); err != nil {
		return err
	}
	parts, err := c.readPartStates(ctx, tx.Conn(), c.t)
	if err != nil {
		return err
	}
	for _, l := range c.t.leaves() {
		if err := c.keepPart(ctx, tx, l, parts[l.oid].watch); err != nil {
			return err
		}
	}
	return nil
}

func (c *columnMove) keepPart(ctx context.Context, tx pgx.Tx, l *migrateTable, watch uint32) error {
	if watch == 0 {
		return fmt.Errorf("the trigger on %s that watches the column is gone or does not always fire: --abandon and begin anew", l.name)
	}
	_, err := tx.Exec(ctx, `INSERT INTO sidekey.move_parts (table_name, column_name, relation, watch) VALUES ($1, $2, $3, $4)
ON CONFLICT (table_name, column_name, relation) DO UPDATE SET watch = $4, next_block = 0, filled = false`, c.tableName(), c.rule.Column, l.oid, watch)
	return err
}

// adopt takes up tables that are watched only since the last look. Second values
// that they have were not made by this move, or before changes that it did not see.
func (c *columnMove) adopt(ctx context.Context) error {
	if _, err := c.conn.Exec(ctx, partTable); err != nil {
		return err
	}
	parts, err := c.readPartStates(ctx, c.conn, c.t)
	if err != nil {
		return err
	}
	for _, l := range c.t.leaves() {
		if parts[l.oid].known {
			continue
		}
		err := c.inTransaction(ctx, func(tx pgx.Tx) error {
			shadow := quoteIdent(c.t.shadow)
			if _, err := tx.Exec(ctx, "UPDATE ONLY "+l.name+" SET "+shadow+" = NULL WHERE "+shadow+" IS NOT NULL"); err != nil {
				return err
			}
			return c.keepPart(ctx, tx, l, parts[l.oid].watch)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// refresh takes up partitions that were made or attached meanwhile, and indexes.
func (c *columnMove) refresh(ctx context.Context) (err error) {
	if c.t, err = inspectTable(ctx, c.conn, c.rule); err != nil {
		return err
	}
	if err := c.adopt(ctx); err != nil {
		return err
	}
	if err := c.pendingIndexes(ctx); err != nil {
		return err
	}
	return c.newIndexes(ctx)
}

// unchanged says that nothing was attached, and no index made, since the tables were
// taken up.
func (c *columnMove) unchanged(ctx context.Context, conn *pgx.Conn, now *migrateTable) error {
	parts, err := c.readPartStates(ctx, conn, now)
	if err != nil {
		return err
	}
	for _, l := range now.leaves() {
		if !parts[l.oid].known {
			return busyError("the trigger on table " + l.name + ", which is new")
		}
	}
	index := func(a, b migrateIndex) bool { return a.oid == b.oid }
	table := func(a, b *migrateTable) bool { return a.oid == b.oid && slices.EqualFunc(a.indexes, b.indexes, index) }
	if !slices.EqualFunc(now.all(), c.t.all(), table) {
		return busyError("partitions and indexes, which have just changed")
	}
	return nil
}

// detached names the tables that were partitions when the move began.
func (c *columnMove) detached(ctx context.Context, tx pgx.Tx) ([]string, error) {
	rows, err := tx.Query(ctx, `SELECT p.relation::regclass::text FROM sidekey.move_parts p JOIN pg_class k ON k.oid = p.relation
WHERE p.table_name = $1 AND p.column_name = $2 AND p.relation <> $3 AND NOT EXISTS (SELECT FROM pg_partition_tree($3::oid::regclass) t WHERE t.relid = p.relation)`, c.tableName(), c.rule.Column, c.t.oid)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// forgetParts ends what is kept of them, and tells of those that are left behind.
func (c *columnMove) forgetParts(ctx context.Context, tx pgx.Tx) error {
	var exists bool
	if err := tx.QueryRow(ctx, "SELECT to_regclass('sidekey.move_parts') IS NOT NULL").Scan(&exists); err != nil || !exists {
		return err
	}
	left, err := c.detached(ctx, tx)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		c.m.tally.printf("%s: detached during the move, and so as they were, with a column %s besides: %s.", c.rule.Name(), c.t.shadow, strings.Join(left, ", "))
	}
	_, err = tx.Exec(ctx, "DELETE FROM sidekey.move_parts WHERE table_name = $1 AND column_name = $2", c.tableName(), c.rule.Column)
	return err
}

// within says in which partition an error was met.
func (t *migrateTable) within(err error) error {
	if err == nil || !t.partition {
		return err
	}
	return fmt.Errorf("partition %s: %w", t.name, err)
}

// ownIndexes are those of the table, and those that partitions have besides.
func (c *columnMove) ownIndexes() (own []migrateIndex) {
	for _, t := range c.t.all() {
		for _, x := range t.indexes {
			if !x.inherited {
				own = append(own, x)
			}
		}
	}
	return own
}
