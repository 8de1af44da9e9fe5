// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sidekey/sidekey/dbproxy"
	"github.com/sidekey/sidekey/proxy"
)

func tenantsColumn(mode string) []proxy.ColumnRule {
	columns := movingColumn(mode)
	columns[0].PerTenant = true
	return columns
}

// forTenant is a connection of a tenant.
func (f *fixture) forTenant(t testing.TB, tenant string, mode pgx.QueryExecMode) *pgx.Conn {
	t.Helper()
	return dial(t, f.url()+"&options=-c%20sidekey.tenant%3D"+tenant, mode)
}

// A column of tenants is encrypted and decrypted under writers of each of them, and
// by runs that are killed. The tenant of a row follows from its number.
func TestMigrateTenants(t *testing.T) {
	f := start(t, shared, tenantsColumn(proxy.ModeEquality))
	direct := f.direct(t)
	exec1(t, direct, strings.Replace(plainPeople, "email text UNIQUE", "email text", 1)+"; CREATE UNIQUE INDEX pairs ON people (id, email); CREATE INDEX emails ON people (email)", pgx.QueryExecModeSimpleProtocol)
	m := newMovers()
	never := func(*pgconn.PgError) bool { return false }
	r := f.replica(t)
	move := func(o dbproxy.MigrateOptions) {
		t.Helper()
		m.stop = make(chan struct{})
		for k := range 4 {
			m.write(t, []*fixture{f, r}[k%2].forTenant(t, fmt.Sprint("t", k), pgx.QueryExecModeExec), k, 4, uint64(k), false, never)
		}
		m.search(t, f.forTenant(t, "t-1", pgx.QueryExecModeExec))
		o.Table, o.Batch, o.Tenant = "people", 100, "'t' || id % 4"
		f.migrateKilled(t, o, nil)
		m.halt()
		for k := range 4 {
			m.compareSome(t, f.forTenant(t, fmt.Sprint("t", k), pgx.QueryExecModeExec), k, 4)
		}
	}
	move(dbproxy.MigrateOptions{})
	var sealed, values, mixed int
	err := direct.QueryRow(t.Context(), `SELECT count(email), count(*) FILTER (WHERE encode(substr(email, 1, 2), 'hex') = 'f84b'),
  count(*) FILTER (WHERE binding <> 'tenant:t' || p.id % 4 || ':column:public.people.email')
FROM people p LEFT JOIN sidekey.data_keys k ON encode(substr(email, 4, 4), 'hex') = lpad(to_hex(k.id), 8, '0')`).Scan(&values, &sealed, &mixed)
	if err != nil || sealed != values || mixed != 0 || values == 0 {
		t.Errorf("%d of %d values are sealed, %d under the key of another tenant, %v", sealed, values, mixed, err)
	}
	if out, err := f.migrate(t, t.Context(), dbproxy.MigrateOptions{Table: "people", VerifyOnly: true, Tenant: "'t' || (id + 1) % 4"}); err == nil || !strings.Contains(err.Error(), "cannot be opened for the tenant of their row") {
		t.Errorf("verified for other tenants: %v\n%s", err, out)
	}
	move(dbproxy.MigrateOptions{Action: dbproxy.Decrypt})
	m.compare(t, direct)
}

const orgPeople = `CREATE TABLE people (id int PRIMARY KEY, email text, org text, org_id int, upper_org text GENERATED ALWAYS AS (upper(org)) STORED);
INSERT INTO people SELECT i, 'movmark-' || i || '@example.com', (ARRAY['acme', 'bolt'])[1 + i % 2], i % 2 FROM generate_series(0, 999) i`

// What does not say whose each row is, once and for all, is refused, and so are rows
// without a tenant; nothing is changed.
func TestMigrateRefusesTenants(t *testing.T) {
	f := start(t, shared, tenantsColumn(proxy.ModeEquality))
	direct := f.direct(t)
	exec1(t, direct, orgPeople+"; CREATE TABLE other (org text); CREATE FUNCTION guess() RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN ''acme''; END'", pgx.QueryExecModeSimpleProtocol)
	for _, c := range []struct{ tenant, sql, want string }{
		{"", "", "--tenant has to name the column"},
		{"nobody", "", `column "nobody" does not exist`},
		{"email", "", `column "email" does not exist`},
		{"upper_org", "", `column "upper_org" does not exist`},
		{"public.guess()", "", "not immutable"},
		{"current_user", "", "not immutable"},
		{"now()", "", "not immutable"},
		{"(SELECT org FROM public.other)", "", "cannot use subquery"},
		{"other.org", "", `missing FROM-clause entry for table "other"`},
		{"org), (org_id", "", "more than one expression"},
		{"org) FROM people --", "", "syntax error"},
		{"org) FROM people WHERE (true", "", "more than one expression"},
		{"org); DROP TABLE people; SELECT (1", "", "more than one expression"},
		{"max(org)", "", "aggregate functions are not allowed"},
		{"org org", "", "syntax error"},
		{"$1", "", "there is no parameter $1"},
		{"org", "UPDATE people SET org = NULL WHERE id < 7; UPDATE people SET org = 'a/b' WHERE id = 8; UPDATE people SET org = '' WHERE id = 9; UPDATE people SET org = repeat('x', 129) WHERE id = 10; UPDATE people SET org = E'a\n' WHERE id = 11", "11 rows with a value"},
		{"org", "CREATE UNIQUE INDEX addresses ON people (email)", "index addresses is unique across tenants, which sealed values cannot be: have it include org"},
		{"org", "ALTER TABLE people ALTER email SET DEFAULT 'x'", "values are of one tenant each"},
	} {
		if c.sql != "" {
			exec1(t, direct, c.sql, pgx.QueryExecModeSimpleProtocol)
		}
		_, err := f.migrate(t, t.Context(), dbproxy.MigrateOptions{Table: "people", Tenant: c.tenant})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want an error with %q", c.tenant, err, c.want)
		}
	}
	var columns, keys int
	err := direct.QueryRow(t.Context(), "SELECT (SELECT count(*) FROM pg_attribute WHERE attrelid = 'people'::regclass AND attname LIKE '%sidekey%'), (SELECT count(*) FROM pg_class WHERE relname IN ('data_keys', 'sidekey_probe'))").Scan(&columns, &keys)
	if err != nil || columns != 0 || keys != 0 {
		t.Errorf("the table was changed: %d columns, %d tables, %v", columns, keys, err)
	}
	if _, err := f.migrate(t, t.Context(), dbproxy.MigrateOptions{Table: "people", Tenant: "org", Action: dbproxy.Rotate}); err == nil || !strings.Contains(err.Error(), "data key of its own") {
		t.Errorf("a rotation: %v", err)
	}
}

// A row that changes hands while the column moves is sealed for its new tenant. What
// a session of another tenant stores in it is reported, and not decrypted.
func TestMigrateRowsOfOthers(t *testing.T) {
	f := start(t, shared, tenantsColumn(proxy.ModeRandom))
	direct := f.direct(t)
	exec1(t, direct, orgPeople, pgx.QueryExecModeSimpleProtocol)
	acme, bolt := f.forTenant(t, "acme", pgx.QueryExecModeExec), f.forTenant(t, "bolt", pgx.QueryExecModeExec)
	o := dbproxy.MigrateOptions{Table: "people", Tenant: "org"}
	out, err := f.migrate(t, t.Context(), o, func(m *dbproxy.Migrator) {
		m.Observe(func(step string) {
			switch step {
			case "indexed":
				if _, err := direct.Exec(context.Background(), "UPDATE people SET org = 'bolt' WHERE id = 2"); err != nil {
					t.Error(err)
				}
			case "verifying":
				if _, err := acme.Exec(context.Background(), "UPDATE people SET email = 'strange' WHERE id = 5"); err != nil {
					t.Error(err)
				}
			}
		})
	})
	if err == nil || !strings.Contains(err.Error(), "the column is moved, but 1 values cannot be opened for the tenant of their row") {
		t.Errorf("a value of another tenant: %v\n%s", err, out)
	}
	mail := func(conn *pgx.Conn, id int) string {
		t.Helper()
		var got string
		if err := conn.QueryRow(t.Context(), "SELECT email FROM people WHERE id = $1", id).Scan(&got); err != nil {
			t.Errorf("row %d: %v", id, err)
		}
		return got
	}
	for id, conn := range map[int]*pgx.Conn{0: acme, 1: bolt, 2: bolt} {
		if got, want := mail(conn, id), fmt.Sprintf("movmark-%d@example.com", id); got != want {
			t.Errorf("row %d: got %q, want %q", id, got, want)
		}
	}
	var keys int
	exec1(t, direct, "UPDATE people SET org = 'new' WHERE id = 7")
	verify := o
	verify.VerifyOnly = true
	out, err = f.migrate(t, t.Context(), verify)
	if err == nil || !strings.Contains(err.Error(), "2 values") || strings.Count(out, "it is not sealed for the tenant of its row") != 2 {
		t.Errorf("verified: %v\n%s", err, out)
	}
	if err := direct.QueryRow(t.Context(), "SELECT count(*) FROM sidekey.data_keys").Scan(&keys); err != nil || keys != 2 {
		t.Errorf("%d data keys, %v; want those of two tenants", keys, err)
	}
	exec1(t, direct, "UPDATE people SET org = 'bolt' WHERE id = 7")
	back := o
	back.Action = dbproxy.Decrypt
	if _, err := f.migrate(t, t.Context(), back); err == nil || !strings.Contains(err.Error(), "not sealed for the tenant of its row") {
		t.Errorf("decrypting a value of another tenant: %v", err)
	}
	if _, err := f.migrate(t, t.Context(), dbproxy.MigrateOptions{Table: "people", Tenant: "'acme'", Action: dbproxy.Decrypt}); err == nil || !strings.Contains(err.Error(), "--abandon") {
		t.Errorf("going on for other tenants: %v", err)
	}
	exec1(t, bolt, "UPDATE people SET email = 'mended' WHERE id = 5")
	f.mustMigrate(t, back)
	if got := mail(direct, 5); got != "mended" {
		t.Errorf("row 5: got %q", got)
	}
	if got := mail(direct, 2); got != "movmark-2@example.com" {
		t.Errorf("row 2: got %q", got)
	}
}

// Each partition's rows are of their tenants, too.
func TestMigratePartitionsOfTenants(t *testing.T) {
	f := start(t, shared, tenantsColumn(proxy.ModeEquality))
	direct := f.direct(t)
	exec1(t, direct, partitionedPeople, pgx.QueryExecModeSimpleProtocol)
	o := dbproxy.MigrateOptions{Table: "people", Tenant: "abs(id) % 3"}
	f.mustMigrate(t, o)
	verify := o
	verify.VerifyOnly = true
	f.mustMigrate(t, verify)
	m := newMovers()
	for k := range 3 {
		m.compareSome(t, f.forTenant(t, fmt.Sprint(k), pgx.QueryExecModeExec), k, 3)
	}
	o.Action = dbproxy.Decrypt
	f.mustMigrate(t, o)
	m.compare(t, direct)
}

// A column that was of nobody in particular becomes one of tenants, and is so no more.
func TestMigrateReencryptsForTenants(t *testing.T) {
	f := start(t, shared, []proxy.ColumnRule{column("people", "email", "text", proxy.ModeEquality)})
	app := f.connect(t, pgx.QueryExecModeExec)
	exec1(t, app, "CREATE TABLE people (id int PRIMARY KEY, email text, org_id int)")
	for i := range 20 {
		exec1(t, app, "INSERT INTO people VALUES ($1, $2, $3)", i, fmt.Sprintf("%d@example.com", i), i%3)
	}
	app.Close(t.Context())
	f.stop()
	of := *f
	of.columns = []proxy.ColumnRule{column("people", "email", "text", proxy.ModeEquality)}
	of.columns[0].PerTenant = true
	of.mustMigrate(t, dbproxy.MigrateOptions{Table: "people", Action: dbproxy.Reencrypt, From: f.columns, Tenant: "org_id"})
	r := of.replica(t)
	for i := range 20 {
		conn := r.forTenant(t, fmt.Sprint(i%3), pgx.QueryExecModeExec)
		var id int
		if err := conn.QueryRow(t.Context(), "SELECT id FROM people WHERE email = $1", fmt.Sprintf("%d@example.com", i)).Scan(&id); err != nil || id != i {
			t.Errorf("row %d: got %d, %v", i, id, err)
		}
		conn.Close(t.Context())
	}
	f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people", Action: dbproxy.Reencrypt, From: of.columns, Tenant: "org_id", IgnoreSidecars: true})
	f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people", VerifyOnly: true})
	_, err := dbproxy.NewMigrator(dbproxy.Config{Listen: "127.0.0.1:0", Upstream: dbproxy.UpstreamConfig{Address: "127.0.0.1:1"}, AdminURLFile: f.urlFile}, f.columns, dbproxy.MigrateOptions{Table: "people", Tenant: "org_id"}, nil, nil, nil)
	if err == nil || !strings.Contains(err.Error(), "is not of tenants") {
		t.Errorf("tenants of a column that has none: %v", err)
	}
}
