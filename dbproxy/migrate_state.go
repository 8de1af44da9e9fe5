// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sidekey/sidekey/dbproxy/plan"
	"github.com/sidekey/sidekey/proxy"
)

// moveTable keeps what is under way, so that a run goes on where another ended.
const moveTable = `CREATE TABLE IF NOT EXISTS sidekey.moves (
  table_name text NOT NULL,
  column_name text NOT NULL,
  action text NOT NULL,
  goal text NOT NULL,
  rows bigint NOT NULL DEFAULT 0,
  data_key integer,
  started timestamptz NOT NULL DEFAULT pg_catalog.now(),
  finished timestamptz,
  PRIMARY KEY (table_name, column_name)
)`

// move is a row of it.
type move struct {
	action, goal string
	key          *int32
	finished     bool
}

func (c *columnMove) tableName() string { return c.rule.Schema + "." + c.rule.Table }

// goal names what the values become, so that a run does not go on with the work of
// one that had another rule.
func (c *columnMove) goal() string {
	cfg := c.config()
	goal := fmt.Sprintf("%s %s %s", hex.EncodeToString(c.rule.Prefix), keyBinding(c.rule, ""), cfg.KeyID)
	if c.tenant != nil {
		goal += " tenant " + c.tenant.sql
	}
	return goal
}

func (c *columnMove) config() proxy.ColumnRule { return c.m.p.columns[c.rule.Index] }

// readMove reads what is under way; nil if nothing is or was.
func (c *columnMove) readMove(ctx context.Context) (*move, error) {
	var exists bool
	if err := c.conn.QueryRow(ctx, "SELECT to_regclass('sidekey.moves') IS NOT NULL").Scan(&exists); err != nil || !exists {
		return nil, err
	}
	var v move
	err := c.conn.QueryRow(ctx, "SELECT action, goal, data_key, finished IS NOT NULL FROM sidekey.moves WHERE table_name = $1 AND column_name = $2",
		c.tableName(), c.rule.Column).Scan(&v.action, &v.goal, &v.key, &v.finished)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return &v, err
}

// finished says that there is nothing to do. What another run has begun, and what
// the column is, must fit what is to be done.
func (c *columnMove) finished(ctx context.Context) (bool, error) {
	v, err := c.readMove(ctx)
	if err != nil {
		return false, err
	}
	open := v != nil && !v.finished
	if open && (v.action != string(c.m.o.Action) || v.goal != c.goal()) {
		return false, fmt.Errorf("another move of it (%s) has been begun: go on with that one, under the rules and the tenants it was begun with, or take it back with --abandon", v.action)
	}
	if !open && slices.ContainsFunc(c.t.all(), func(t *migrateTable) bool { return t.hasShadow }) {
		return false, fmt.Errorf("the table has a column %s that is not of a move under way", c.t.shadow)
	}
	guarded := c.t.guarded(c.rule)
	switch c.m.o.Action {
	case Encrypt:
		if guarded && !open {
			return true, nil
		}
		if !c.t.is(c.rule) || guarded {
			return false, fmt.Errorf("it is of type %s in the database, and %s by its rule", c.t.declared.typ, c.rule.Type)
		}
	case Decrypt:
		if c.t.is(c.rule) && !guarded && !open {
			return true, nil
		}
		if !guarded {
			return false, errors.New("it does not hold what its rule seals")
		}
	case Rotate:
		if !guarded {
			return false, errors.New("it does not hold what its rule seals")
		}
	case Reencrypt:
		if v != nil && v.finished && v.action == string(Reencrypt) && v.goal == c.goal() && guarded {
			return true, nil
		}
		from, _, err := c.source()
		if err != nil {
			return false, err
		}
		if !c.t.guarded(from) {
			return false, errors.New("it does not hold what the rule so far seals")
		}
	}
	return false, nil
}

// source is the rule that holds so far, when another is to.
func (c *columnMove) source() (*plan.Rule, proxy.ColumnRule, error) {
	rules, err := planRules(c.m.o.From, c.m.p.cfg.tenantSetting())
	if err != nil {
		return nil, proxy.ColumnRule{}, fmt.Errorf("the rules so far: %w", err)
	}
	for _, r := range rules {
		if r.Name() == c.rule.Name() {
			if r.Type != c.rule.Type {
				return nil, proxy.ColumnRule{}, fmt.Errorf("its type was %s and is to be %s: a move keeps the type", r.Type, c.rule.Type)
			}
			return r, c.m.o.From[r.Index], nil
		}
	}
	return nil, proxy.ColumnRule{}, errors.New("none of the rules so far is for it")
}

// classes of advisory locks; the other number is the table's OID.
const (
	classAlone  = 0x736b6501 // held by the run
	classWrites = 0x736b6502 // shared by transactions that write values; the swap takes it alone
)

// alonePatience is how long another run may take to end: the server may not have
// noticed yet that the last one has.
const alonePatience = 5 * time.Second

// alone keeps other runs from the table. It does not wait in a statement: a swap
// would wait for the end of that.
func (c *columnMove) alone(ctx context.Context) error {
	for deadline := time.Now().Add(alonePatience); ; time.Sleep(50 * time.Millisecond) {
		var got bool
		if err := c.conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1, $2)", classAlone, int32(c.t.oid)).Scan(&got); err != nil || got {
			return err
		}
		c.said("waiting")
		if time.Now().After(deadline) || c.run.Err() != nil {
			return errors.New("another run is at work on the table")
		}
	}
}

// silence keeps triggers of others from firing for what the move does to rows.
func (c *columnMove) silence(ctx context.Context) error {
	// As a replica would, the server fires no triggers for what the move does to rows.
	if _, err := c.conn.Exec(ctx, "SET session_replication_role TO replica"); err != nil && c.t.fires {
		return errors.New("triggers or rules of the table would fire for what the move does to rows, and the role of admin_url_file may not turn that off: it must be superuser, or be granted SET ON PARAMETER session_replication_role")
	}
	return nil
}

// sides makes the ciphers.
func (c *columnMove) sides(ctx context.Context) (err error) {
	c.inPlace = c.inPlaceRotation()
	switch c.m.o.Action {
	case Encrypt:
		c.to, err = c.sealingSide(ctx)
		return err
	case Decrypt:
		if c.from, err = c.ownSide(ctx, false); err == nil {
			c.back, err = c.plainDeclared(ctx)
		}
		return err
	case Rotate:
		return c.rotationSides(ctx)
	}
	rule, cfg, err := c.source()
	if err != nil {
		return err
	}
	if c.to, err = c.sealingSide(ctx); err != nil {
		return err
	}
	if rule.TenantSetting != "" {
		c.from, err = tenantSide(rule, cfg, false)
		return err
	}
	keys, err := readKeys(ctx, c.conn, rule.Binding, true)
	if err != nil {
		return err
	}
	before, err := c.m.p.cipher.Column(cfg, keys)
	if err != nil {
		return err
	}
	c.from = &valueSide{rule: rule, cfg: cfg, col: before}
	return nil
}

// ownSide is that of the column's rule. makes says that values are sealed.
func (c *columnMove) ownSide(ctx context.Context, makes bool) (*valueSide, error) {
	if c.rule.TenantSetting != "" {
		return tenantSide(c.rule, c.config(), makes)
	}
	col, err := c.db.column(ctx, c.rule, "")
	return &valueSide{rule: c.rule, cfg: c.config(), col: col}, err
}

// inTransaction runs f, again while others hold locks that it needs.
func (c *columnMove) inTransaction(ctx context.Context, f func(pgx.Tx) error) error {
	for {
		err := pgx.BeginFunc(ctx, c.conn, f)
		if err == nil || !contended(err) || c.run.Err() != nil {
			return err
		}
		sleep(c.run, c.m.pause/2)
	}
}

// contended says that the server gave up for others' sake.
func contended(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && (e.Code == "55P03" || e.Code == "40P01" || e.Code == "40001")
}

// abandon takes back what was made, if the swap has not been.
func (c *columnMove) abandon(ctx context.Context) error {
	v, err := c.readMove(ctx)
	if err != nil {
		return err
	}
	if v == nil || v.finished {
		return errors.New("no move of it is under way")
	}
	if v.action == string(Rotate) && !c.t.hasShadow {
		return errors.New("a rotation in place is not taken back: rotate again")
	}
	err = c.inTurn(ctx, "taking the move back", func(tx pgx.Tx) error {
		for _, sql := range []string{
			"DROP TRIGGER IF EXISTS " + quoteIdent(c.triggerName()) + " ON " + c.t.name,
			"DROP FUNCTION IF EXISTS " + c.functionName() + "()",
			"ALTER TABLE " + c.t.name + " DROP COLUMN IF EXISTS " + quoteIdent(c.t.shadow),
		} {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return err
			}
		}
		if v.key != nil {
			if _, err := tx.Exec(ctx, "DELETE FROM sidekey.data_keys WHERE id = $1 AND state = $2", *v.key, keyNext); err != nil {
				return err
			}
		}
		if err := c.forgetParts(ctx, tx); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "DELETE FROM sidekey.moves WHERE table_name = $1 AND column_name = $2", c.tableName(), c.rule.Column)
		return err
	})
	if err == nil {
		c.m.tally.printf("%s: the move is taken back; the column is as it was.", c.rule.Name())
	}
	return err
}
