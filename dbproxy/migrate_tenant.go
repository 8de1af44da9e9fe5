// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/jackc/pgx/v5"
	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/sidekey/sidekey/dbproxy/plan"
	"github.com/sidekey/sidekey/proxy"
)

// rowTenant says whose the values of a row are.
type rowTenant struct {
	sql     string   // an expression over the row, as the server prints it
	columns []string // those of the table that are in it
}

// ofTenants says that values on one side of the move are those of tenants.
func (c *columnMove) ofTenants() (bool, error) {
	if c.rule.TenantSetting != "" || c.m.o.Action != Reencrypt {
		return c.rule.TenantSetting != "", nil
	}
	from, _, err := c.source()
	return err == nil && from.TenantSetting != "", err
}

// readTenant finds out whose the values of each row are. A session's tenant says
// nothing of the rows that are there.
func (c *columnMove) readTenant(ctx context.Context) error {
	needed, err := c.ofTenants()
	switch {
	case err != nil || !needed:
		return err
	case c.m.o.Action == Rotate && !c.m.o.VerifyOnly:
		return errors.New("each tenant has a data key of its own, and no run gives all of them new ones: re-encrypt the column, or update the values through the application")
	case c.m.o.Tenant == "":
		return errors.New("its values are of tenants: --tenant has to name the column that holds the tenant of each row, or give an expression over the row")
	}
	if err := oneExpression(c.m.o.Tenant); err != nil {
		return fmt.Errorf("the expression of --tenant: %w", err)
	}
	c.tenant, err = c.probeTenant(ctx)
	if err != nil {
		return fmt.Errorf("the expression of --tenant, which may use the table's columns but those with rules and generated ones, and functions that are immutable: %w", err)
	}
	return nil
}

// oneExpression refuses what would be more than an expression in a query.
func oneExpression(sql string) error {
	tree, err := pg.Parse("SELECT (" + sql + "\n)")
	if err != nil {
		return err
	}
	if len(tree.Stmts) != 1 {
		return errors.New("it is more than one expression")
	}
	s := tree.Stmts[0].Stmt.GetSelectStmt()
	if s == nil || len(s.TargetList) != 1 || s.FromClause != nil || s.WhereClause != nil || s.Larg != nil || s.GroupClause != nil || s.HavingClause != nil ||
		s.SortClause != nil || s.LimitCount != nil || s.LimitOffset != nil || s.IntoClause != nil || s.LockingClause != nil || s.WindowClause != nil || s.WithClause != nil {
		return errors.New("it is more than one expression")
	}
	return nil
}

// errProbed ends the transaction of a probe.
var errProbed = errors.New("probed")

// probeTenant has the server make a generated column of the expression, in a table
// that is never seen: it takes only what depends on the row alone, and always in the
// same way. A check says which columns are in it.
func (c *columnMove) probeTenant(ctx context.Context) (*rowTenant, error) {
	t := &rowTenant{}
	expr := "(" + c.m.o.Tenant + "\n)"
	err := pgx.BeginFunc(ctx, c.conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "CREATE TEMPORARY TABLE sidekey_probe (LIKE "+c.t.name+") ON COMMIT DROP"); err != nil {
			return err
		}
		others, err := c.notOfTenants(ctx, tx)
		if err != nil {
			return err
		}
		for _, name := range others {
			if _, err := tx.Exec(ctx, "ALTER TABLE pg_temp.sidekey_probe DROP COLUMN IF EXISTS "+quoteIdent(name)); err != nil {
				return err
			}
		}
		for _, sql := range []string{
			"ALTER TABLE pg_temp.sidekey_probe ADD COLUMN sidekey_tenant text GENERATED ALWAYS AS " + expr + " STORED",
			"ALTER TABLE pg_temp.sidekey_probe ADD CONSTRAINT sidekey_tenant CHECK (" + expr + " IS NOT NULL)",
		} {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return err
			}
		}
		err = tx.QueryRow(ctx, `SELECT pg_get_expr(f.adbin, f.adrelid), ARRAY(SELECT a.attname::text FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey)
  WHERE k.conrelid = f.adrelid AND k.conname = 'sidekey_tenant' ORDER BY 1)
FROM pg_attrdef f JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum WHERE f.adrelid = 'pg_temp.sidekey_probe'::regclass AND a.attname = 'sidekey_tenant'`).Scan(&t.sql, &t.columns)
		return errors.Join(err, errProbed)
	})
	if err == nil || !errors.Is(err, errProbed) || t.sql == "" {
		return nil, err
	}
	return t, nil
}

// notOfTenants are the columns that no tenant can be taken from: those with rules,
// which are sealed, if not now, and generated ones, which triggers do not see.
func (c *columnMove) notOfTenants(ctx context.Context, tx pgx.Tx) ([]string, error) {
	rows, err := tx.Query(ctx, "SELECT attname::text FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped AND attgenerated <> ''", c.t.oid)
	if err != nil {
		return nil, err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, r := range c.m.p.rules {
		if r.Schema == c.rule.Schema && r.Table == c.rule.Table {
			names = append(names, r.Column, shadowName(r.Column))
		}
	}
	return names, err
}

// tenantSQL gives the tenant of a row, nobody where values are of nobody.
func (c *columnMove) tenantSQL() string {
	if c.tenant == nil {
		return "''::text"
	}
	return "(" + c.tenant.sql + ")::text"
}

// tenantPattern is what proxy.ColumnRule.ForTenant takes for a tenant.
const tenantPattern = `^[A-Za-z0-9._@-]{1,128}$`

// everyTenant refuses to begin while values are of nobody.
func (c *columnMove) everyTenant(ctx context.Context) error {
	if c.tenant == nil {
		return nil
	}
	var n int64
	err := c.inTransaction(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL enable_seqscan TO on"); err != nil {
			return err
		}
		return tx.QueryRow(ctx, "SELECT count(*) FROM "+c.t.name+" WHERE "+quoteIdent(c.t.column)+" IS NOT NULL AND ("+c.tenantSQL()+` COLLATE "C" ~ '`+tenantPattern+"') IS NOT TRUE").Scan(&n)
	})
	if err == nil && n > 0 {
		err = fmt.Errorf("%d rows with a value have no tenant, or not one of 1 to 128 letters, digits and - _ . @, by the expression of --tenant: %s", n, c.tenant.sql)
	}
	return err
}

// againstTenants says why a unique index would hold less of sealed values than of
// plaintext, or more: those of two tenants are never equal.
func (c *columnMove) againstTenants(x *migrateIndex) string {
	if c.tenant == nil || !x.unique || !slices.Contains(x.columns, c.t.column) {
		return ""
	}
	for _, name := range c.tenant.columns {
		if !slices.Contains(x.columns, name) {
			return fmt.Sprintf("is unique across tenants, which sealed values cannot be: have it include %s, or drop it", strings.Join(c.tenant.columns, ", "))
		}
	}
	return ""
}

// valueSide is how values are sealed on one side of the move.
type valueSide struct {
	rule *plan.Rule
	cfg  proxy.ColumnRule
	col  *proxy.Column // nil if they are of tenants
	// makes says that a tenant without a data key gets one.
	makes   bool
	tenants *lru.Cache[string, *proxy.Column]
}

// tenantSide is a side whose values are of tenants.
func tenantSide(r *plan.Rule, cfg proxy.ColumnRule, makes bool) (*valueSide, error) {
	tenants, err := lru.New[string, *proxy.Column](maxColumns)
	return &valueSide{rule: r, cfg: cfg, makes: makes, tenants: tenants}, err
}

// errTenant says that a row has no tenant.
var errTenant = errors.New("its row has no tenant")

// ofRow says that an error is of the row: there is no key that could open its value.
func ofRow(err error) bool { return errors.Is(err, errTenant) || errors.Is(err, proxy.ErrColumnKey) }

// column is the cipher of a tenant's values.
func (s *valueSide) column(ctx context.Context, d *database, tenant string) (*proxy.Column, error) {
	if s.col != nil {
		return s.col, nil
	}
	if col, ok := s.tenants.Get(tenant); ok {
		return col, nil
	}
	cfg, err := s.cfg.ForTenant(tenant)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errTenant, err)
	}
	var col *proxy.Column
	if s.makes {
		col, err = d.column(ctx, s.rule, tenant)
	} else {
		col, err = s.existing(ctx, d, cfg, tenant)
	}
	if err == nil {
		s.tenants.Add(tenant, col)
	}
	return col, err
}

// existing makes no data key: what is only opened has one.
func (s *valueSide) existing(ctx context.Context, d *database, cfg proxy.ColumnRule, tenant string) (col *proxy.Column, err error) {
	err = d.admin(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		keys, err := readKeys(ctx, conn, keyBinding(s.rule, tenant), true)
		if err == nil && len(keys) == 0 {
			return proxy.ErrColumnKey
		}
		if err == nil {
			col, err = d.proxy.cipher.Column(cfg, keys)
		}
		return err
	})
	return col, err
}

// sideLeases are those of one side for the rows of one batch.
type sideLeases struct {
	db   *database
	side *valueSide // nil for plaintext
	held map[string]leasedSide
}

// maxLeases bounds how many tenants' keys are held at once.
const maxLeases = 64

func (c *columnMove) leases(side *valueSide) *sideLeases {
	return &sideLeases{db: c.db, side: side, held: map[string]leasedSide{}}
}

// of gives the lease for the values of a tenant.
func (l *sideLeases) of(ctx context.Context, tenant string) (leasedSide, error) {
	if l.side == nil {
		return leasedSide{}, nil
	}
	if l.side.col != nil {
		tenant = ""
	}
	if held, ok := l.held[tenant]; ok {
		return held, nil
	}
	if len(l.held) >= maxLeases {
		l.release()
	}
	col, err := l.side.column(ctx, l.db, tenant)
	if err != nil {
		return leasedSide{}, err
	}
	lease, err := col.Acquire(ctx)
	if err != nil {
		return leasedSide{}, err
	}
	l.held[tenant] = leasedSide{lease, l.side.rule}
	return l.held[tenant], nil
}

func (l *sideLeases) release() {
	for _, held := range l.held {
		held.lease.Release()
	}
	clear(l.held)
}

// use has f use the lease for the values of a tenant. One that ends meanwhile, since
// values are long or many, is had anew.
func (l *sideLeases) use(ctx context.Context, tenant string, f func(leasedSide) ([]byte, error)) (out []byte, err error) {
	for range 5 {
		held, err := l.of(ctx, tenant)
		if err != nil {
			return nil, err
		}
		out, err = f(held)
		if err == nil || !leaseOver(err) {
			return out, err
		}
		l.release()
	}
	return out, err
}

// canonical is the canonical form of a stored value.
func (l *sideLeases) canonical(ctx context.Context, r *plan.Rule, stored []byte, tenant string) ([]byte, error) {
	plain, err := l.use(ctx, tenant, func(held leasedSide) ([]byte, error) { return held.canonical(r, stored) })
	if l.side != nil && l.side.col == nil && errors.Is(err, proxy.ErrColumnKey) {
		err = fmt.Errorf("it is not sealed for the tenant of its row: %w", err)
	}
	return plain, err
}

// make is the stored form of a canonical value.
func (l *sideLeases) make(ctx context.Context, r *plan.Rule, plain []byte, tenant string) ([]byte, error) {
	return l.use(ctx, tenant, func(held leasedSide) ([]byte, error) { return held.make(r, plain) })
}

// verifyTenants opens every value under the tenant of its row: once the columns are
// swapped, sidecars seal for the tenant that the client's session names.
func (c *columnMove) verifyTenants(ctx context.Context) error {
	if c.tenant == nil || c.rule.TenantSetting == "" || c.m.o.Action == Decrypt || c.m.o.NoVerify {
		return nil
	}
	c.said("verifying")
	if err := c.verifyValues(ctx); err != nil {
		return fmt.Errorf("the column is moved, but %w", err)
	}
	return nil
}
