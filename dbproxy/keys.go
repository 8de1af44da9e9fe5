// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"fmt"
	"slices"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/jackc/pgx/v5"
	"github.com/sidekey/sidekey/dbproxy/plan"
	"github.com/sidekey/sidekey/proxy"
)

// keyTable holds the wrapped data keys of columns, in the database whose
// values they seal, so that a dump restores with its keys. The lock keeps
// replicas from making it at once.
const keyTable = `SELECT pg_catalog.pg_advisory_xact_lock(7306369418137281);
CREATE SCHEMA IF NOT EXISTS sidekey;
CREATE TABLE IF NOT EXISTS sidekey.data_keys (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  binding text NOT NULL,
  version integer NOT NULL DEFAULT 1,
  key_arn text NOT NULL,
  wrapped bytea NOT NULL,
  created timestamptz NOT NULL DEFAULT now(),
  UNIQUE (binding, version)
);
ALTER TABLE sidekey.data_keys ADD COLUMN IF NOT EXISTS state text NOT NULL DEFAULT ''`

// States of a data key. One in use has none; the newest of these seals.
const (
	keyNext    = "next"    // for a column that is being moved to it; seals nothing yet
	keyRetired = "retired" // no value names it any more
)

// keyAge is how long a proxy goes by the keys that it has read. It bounds how long
// values are sealed with a key after there is a newer one.
const keyAge = time.Minute

// heldColumn is a column's cipher with the keys as they were read.
type heldColumn struct {
	col  *proxy.Column
	keys []proxy.ColumnKey
	read time.Time
	// all says that retired keys are among them.
	all bool
}

// maxColumns bounds the columns whose keys are kept at once, one for each rule
// and tenant.
const maxColumns = 16384

// columnOf is a rule's column and the tenant whose values are meant.
type columnOf struct {
	index  int
	tenant string
}

func newColumns() *lru.Cache[columnOf, heldColumn] {
	c, err := lru.New[columnOf, heldColumn](maxColumns)
	if err != nil {
		panic(err) // the size is a constant
	}
	return c
}

// of leaves the tenant out of columns that have none.
func of(r *plan.Rule, tenant string) columnOf {
	if r.TenantSetting == "" {
		tenant = ""
	}
	return columnOf{r.Index, tenant}
}

// keyBinding is under what the data keys are kept. No tenant has a colon.
func keyBinding(r *plan.Rule, tenant string) string {
	if r.TenantSetting == "" {
		return r.Binding
	}
	return "tenant:" + tenant + ":" + r.Binding
}

// column gives the cipher of a protected column in this database, for a tenant
// if its values are of one. Its data key is made when it is first needed, once
// for all replicas.
func (d *database) column(ctx context.Context, r *plan.Rule, tenant string) (*proxy.Column, error) {
	held, _ := d.columns.Get(of(r, tenant))
	if held.col != nil && time.Since(held.read) < d.proxy.keyAge {
		return held.col, nil
	}
	return d.loadColumn(ctx, r, tenant, held)
}

// loadColumn reads the keys. While they are those that are held, so is the cipher.
func (d *database) loadColumn(ctx context.Context, r *plan.Rule, tenant string, held heldColumn) (*proxy.Column, error) {
	rule, err := d.proxy.columns[r.Index].ForTenant(tenant)
	if err != nil {
		return nil, failf(codeBadParameter, "%s", err)
	}
	name := keyBinding(r, tenant)
	var keys []proxy.ColumnKey
	read := time.Now()
	err = d.admin(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
		if keys, err = readKeys(ctx, conn, name, held.all); err != nil || len(keys) > 0 {
			return err
		}
		keys, err = d.makeKey(ctx, conn, rule, name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("data key of %s: %w", r.Name(), err)
	}
	col := held.col
	if col == nil || !slices.EqualFunc(keys, held.keys, sameKey) {
		if col, err = d.proxy.cipher.Column(rule, keys); err != nil {
			return nil, fmt.Errorf("data key of %s: %w", r.Name(), err)
		}
	}
	d.columns.Add(of(r, tenant), heldColumn{col: col, keys: keys, read: read, all: held.all})
	return col, nil
}

func sameKey(a, b proxy.ColumnKey) bool { return a.ID == b.ID && a.KeyARN == b.KeyARN }

// forget has the column's keys read anew, and those that are retired with them: a
// value names one that is not known.
func (d *database) forget(r *plan.Rule, tenant string) {
	d.columns.Add(of(r, tenant), heldColumn{all: true})
}

// forgetAll has the keys of all columns read anew.
func (d *database) forgetAll() { d.columns.Purge() }

// selectKeys orders them so that the last one seals. It also reads a table that
// was made before there were states.
const selectKeys = `SELECT id, key_arn, wrapped FROM sidekey.data_keys k, LATERAL (SELECT COALESCE(pg_catalog.to_jsonb(k)->>'state', '') AS state) s
  WHERE binding = $1 AND ($2 OR s.state <> 'retired') ORDER BY s.state = '', version`

// readKeys reads the data keys of a binding.
func readKeys(ctx context.Context, conn *pgx.Conn, binding string, retired bool) ([]proxy.ColumnKey, error) {
	var exists bool
	err := conn.QueryRow(ctx, "SELECT pg_catalog.to_regclass('sidekey.data_keys') IS NOT NULL").Scan(&exists)
	if err != nil || !exists {
		return nil, err
	}
	rows, err := conn.Query(ctx, selectKeys, binding, retired)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (k proxy.ColumnKey, err error) {
		var id int32
		err = row.Scan(&id, &k.KeyARN, &k.Wrapped)
		k.ID = uint32(id)
		return k, err
	})
}

func (d *database) makeKey(ctx context.Context, conn *pgx.Conn, rule proxy.ColumnRule, name string) ([]proxy.ColumnKey, error) {
	arn, wrapped, err := d.proxy.cipher.NewColumnKey(ctx, rule)
	if err != nil {
		return nil, err
	}
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		_, err := tx.Conn().PgConn().Exec(ctx, keyTable).ReadAll()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("making the table of data keys: %w", err)
	}
	_, err = conn.Exec(ctx, "INSERT INTO sidekey.data_keys (binding, key_arn, wrapped) VALUES ($1, $2, $3) ON CONFLICT (binding, version) DO NOTHING",
		name, arn, wrapped)
	if err != nil {
		return nil, fmt.Errorf("storing a data key: %w", err)
	}
	// Another replica may have been faster: its key is the one.
	return readKeys(ctx, conn, name, false)
}
