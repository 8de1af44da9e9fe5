// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// The server reads a whole table to make a column NOT NULL, and so nobody may use it
// for that long. The swap therefore only has new values checked, by a constraint that
// is not valid yet. It is validated beside all that clients do, and then the server
// takes its word for it. Since PostgreSQL 18 NOT NULL is such a constraint itself.

// notNullName is that of the constraint.
func (c *columnMove) notNullName() string {
	name := "sidekey_not_null_" + c.rule.Column
	if len(name) > 63 {
		name = fmt.Sprintf("sidekey_not_null_%x", sha256.Sum256([]byte(c.rule.Column)))[:63]
	}
	return name
}

// notNull are the statements of the swap for a table, perhaps a partition, whose
// column takes no NULL. A primary key cannot wait.
func (c *columnMove) notNull(whole, t *migrateTable) []string {
	alter, column := "ALTER TABLE "+t.name+" ", quoteIdent(t.column)
	inKey := slices.ContainsFunc(t.indexes, func(x migrateIndex) bool { return x.primary && slices.Contains(x.columns, t.column) })
	switch {
	case !t.notNull:
		return nil
	case t.notNullAs != "" && t.kind == "r" && !t.partition && !inKey:
		return []string{alter + "ADD CONSTRAINT " + strings.TrimSuffix(t.notNullAs, " NOT VALID") + " NOT VALID"}
	case t.notNullAs != "":
		return []string{alter + "ADD CONSTRAINT " + t.notNullAs}
	case inKey:
		return []string{alter + "ALTER COLUMN " + column + " SET NOT NULL"}
	case t != whole && whole.notNull:
		return nil // it has the constraint of the whole
	}
	return []string{alter + "ADD CONSTRAINT " + quoteIdent(c.notNullName()) + " CHECK (" + column + " IS NOT NULL) NOT VALID"}
}

// settleNotNull makes NOT NULL of what the swap has left.
func (c *columnMove) settleNotNull(ctx context.Context) error { return c.settle(ctx, true) }

// settle does so, of constraints that are NOT NULL already if validates.
func (c *columnMove) settle(ctx context.Context, validates bool) error {
	t, err := inspectTable(ctx, c.conn, c.rule)
	if err != nil {
		return err
	}
	// Validating the whole validates its partitions.
	all := t.all()
	slices.Reverse(all)
	for _, t := range all {
		if err := c.settleOne(ctx, t, validates); err != nil {
			return t.within(fmt.Errorf("making it NOT NULL: %w", err))
		}
	}
	return nil
}

func (c *columnMove) settleOne(ctx context.Context, t *migrateTable, validates bool) error {
	var waits bool
	var own *string
	err := c.conn.QueryRow(ctx, `SELECT COALESCE(bool_or(contype = 'c' AND conname = $3), false), max(quote_ident(conname)) FILTER (WHERE contype = 'n' AND NOT convalidated)
FROM pg_constraint WHERE conrelid = $1 AND contype IN ('c', 'n') AND $2 = ANY (conkey)`, t.oid, t.attnum, c.notNullName()).Scan(&waits, &own)
	if err != nil {
		return err
	}
	validate := func(name string) error {
		return c.inTransaction(ctx, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "ALTER TABLE "+t.name+" VALIDATE CONSTRAINT "+name)
			return err
		})
	}
	switch {
	case own != nil && validates:
		if err := validate(*own); !hasNull(err) { // else it was not valid before
			return err
		}
	case waits:
		if err := validate(quoteIdent(c.notNullName())); err != nil {
			return err
		}
		return c.inTurn(ctx, "making it NOT NULL", func(tx pgx.Tx) error {
			for _, sql := range []string{"ALTER COLUMN " + quoteIdent(t.column) + " SET NOT NULL", "DROP CONSTRAINT IF EXISTS " + quoteIdent(c.notNullName())} {
				if _, err := tx.Exec(ctx, "ALTER TABLE "+t.name+" "+sql); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return nil
}
