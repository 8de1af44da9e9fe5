// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
)

// modesRules are those of a table with a column of every mode.
const modesRules = `    - {table: pooled_modes, column: secret, type: text, mode: random, per_tenant: true, key_id: alias/dev}
    - {table: pooled_modes, column: mail, type: text, mode: equality, per_tenant: true, key_id: alias/dev}
    - {table: pooled_modes, column: age, type: int4, mode: range, key_id: alias/dev}
    - {table: pooled_modes, column: note, type: text, mode: random, search: {substring: {min: 3, max: 8}}, key_id: alias/dev}
    - {table: pooled_modes, column: card, type: text, mode: random, masks: [{roles: [support], show: last4}], key_id: alias/dev}
`

// makeModes makes the table, and the role support, which may read it.
func makeModes(t *testing.T) {
	t.Helper()
	admin := strings.TrimSpace(readFile(t, shared.path("postgres-admin.url")))
	mustPsql(t, admin, "create role support login password '"+shared.secret(t, "app")+"'")
	t.Cleanup(func() { mustPsql(t, admin, "drop table if exists pooled_modes; drop role support") })
	_, address := sidecarBefore(t, hostOf(shared.env["UPSTREAM_DATABASE_URL"]), modesRules)
	conn := shared.connect(t, pooledURL(address), pgx.QueryExecModeSimpleProtocol)
	for _, sql := range []string{
		"create table pooled_modes (id bigint generated always as identity, tenant text, secret text, mail text, age int4, note text, card text)",
		"grant select on pooled_modes to support",
	} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
}

// mustBeSealed looks at the rows around the sidecar, and deletes them.
func mustBeSealed(t *testing.T) {
	t.Helper()
	got := mustPsql(t, shared.env["UPSTREAM_DATABASE_URL"],
		"select count(*) > 0, count(*) filter (where position('plain'::bytea in secret || mail || note || card) > 0 or length(age) < 16) from pooled_modes")
	if got != "t|0" {
		t.Errorf("there are rows, and as many hold plaintext: %s", got)
	}
	mustPsql(t, shared.env["UPSTREAM_DATABASE_URL"], "delete from pooled_modes")
}

// The tenant of one pooled client is never that of the next.
func TestPoolersAndTenants(t *testing.T) {
	makeModes(t)
	for _, way := range poolers {
		t.Run(way.name, func(t *testing.T) {
			if way.sessions {
				sessionsOfTenants(t, way, way.reach(t, 1, modesRules))
			} else {
				transactionsOfTenants(t, way, way.reach(t, 3, modesRules))
			}
		})
	}
	_, sidecar := sidecarBefore(t, hostOf(shared.env["UPSTREAM_DATABASE_URL"]), modesRules)
	t.Run("named statements where transactions are pooled", func(t *testing.T) {
		_, address := startBouncer(t, shared, sidecar, "transaction", 2)
		namedStatements(t, address)
	})
	t.Run("a reset after each transaction", func(t *testing.T) {
		_, address := startBouncer(t, shared, sidecar, "transaction\nserver_reset_query_always = 1", 1)
		conn := shared.connect(t, pooledURL(address), pgx.QueryExecModeExec)
		if _, err := conn.Exec(t.Context(), "set sidekey.tenant to 'acme'"); err != nil {
			t.Fatal(err)
		}
		mustNeedTenant(t, conn)
	})
}

func mustNeedTenant(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), "insert into pooled_modes (mail) values ($1)", "plain"); sqlState(err) != "22023" {
		t.Errorf("without a tenant: got %v, want SQLSTATE 22023", err)
	}
}

// sessionsOfTenants has sessions of changing tenants one after the other, on one server
// process.
func sessionsOfTenants(t *testing.T, way pooler, address string) {
	t.Helper()
	used := make(map[uint32]bool)
	for round := range 4 {
		for i, mode := range way.modes() {
			who := fmt.Sprintf("tenant%d", (round+i)%2)
			conn := shared.connect(t, pooledURL(address), mode)
			mustNeedTenant(t, conn)
			if _, err := conn.Exec(t.Context(), "set sidekey.tenant to '"+who+"'"); err != nil {
				t.Error(err)
			}
			everyMode(t, conn, who, round)
			var pid uint32
			if err := conn.QueryRow(t.Context(), "select pg_backend_pid()").Scan(&pid); err != nil {
				t.Error(err)
			}
			used[pid] = true
			conn.Close(context.Background())
		}
	}
	if len(used) != 1 {
		t.Errorf("the sessions were on %d server processes, want 1", len(used))
	}
	masked(t, address)
	mustBeSealed(t)
}

// transactionsOfTenants has tenants use the same server processes at the same time.
func transactionsOfTenants(t *testing.T, way pooler, address string) {
	t.Helper()
	var clients sync.WaitGroup
	modes := way.modes()
	for client := range 8 {
		conn := shared.connect(t, pooledURL(address), modes[client%len(modes)])
		clients.Go(func() {
			for round := range 6 {
				who := fmt.Sprintf("tenant%d", client)
				err := pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
					_, err := tx.Exec(t.Context(), "set local sidekey.tenant to '"+who+"'")
					if err == nil {
						everyMode(t, conn, who, round)
					}
					return err
				})
				if err != nil {
					t.Error(err)
				}
				mustNeedTenant(t, conn)
			}
		})
	}
	clients.Wait()
	masked(t, address)
	mustBeSealed(t)
}

// namedStatements uses them where the pooler does not keep them: they may be missing, or
// be there already, but what is answered is right.
func namedStatements(t *testing.T, address string) {
	t.Helper()
	var clients sync.WaitGroup
	var right atomic.Int32
	for client := range 4 {
		conn := shared.connect(t, pooledURL(address), pgx.QueryExecModeCacheStatement)
		clients.Go(func() {
			for n := range 10 {
				who := fmt.Sprintf("client%d-%d", client, n)
				var got string
				_, err := conn.Exec(t.Context(), "insert into pooled_modes (tenant, card) values ($1, $2)", who, "plain card of "+who)
				if err == nil {
					err = conn.QueryRow(t.Context(), "select card from pooled_modes where tenant = $1", who).Scan(&got)
				}
				switch state := sqlState(err); {
				case err == nil && got == "plain card of "+who:
					right.Add(1)
				case err == nil || state != "26000" && state != "42P05":
					t.Errorf("got %q, %v; want the card, SQLSTATE 26000 or 42P05", got, err)
				}
			}
		})
	}
	clients.Wait()
	if right.Load() == 0 {
		t.Error("nothing was answered")
	}
	mustPsql(t, shared.env["UPSTREAM_DATABASE_URL"], "delete from pooled_modes")
}

// everyMode writes a row and finds it by columns of every mode.
func everyMode(t *testing.T, conn *pgx.Conn, who string, n int) {
	t.Helper()
	ctx := t.Context()
	if _, err := conn.Exec(ctx, "insert into pooled_modes (tenant, secret, mail, age, note, card) values ($1, $2, $3, $4, $5, $6)",
		who, "plain secret of "+who, "plain@mail", 1000+n, "a plain note of "+who, "plain 1234"); err != nil {
		t.Errorf("INSERT: %v", err)
		return
	}
	for where, args := range map[string][]any{
		"mail = $1":                             {"plain@mail"},
		"tenant = $1 and age between $2 and $3": {who, 1000, 1999},
		"tenant = $1 and note like '%plain%'":   {who},
	} {
		rows, err := conn.Query(ctx, "select distinct mail, min(age), max(tenant) from pooled_modes where "+where+" group by mail", args...)
		if err != nil {
			t.Errorf("%s: %v", where, err)
			continue
		}
		got, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
			var mail, tenant string
			var age int32
			err := row.Scan(&mail, &age, &tenant)
			return fmt.Sprint(mail, " ", age >= 1000, " ", tenant), err
		})
		if want := "plain@mail true " + who; err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("%s: got %q, %v; want %q", where, got, err, want)
		}
	}
	var secret, card string
	if err := conn.QueryRow(ctx, "select secret, card from pooled_modes where mail = $1 order by age desc limit 1", "plain@mail").Scan(&secret, &card); err != nil || secret != "plain secret of "+who || card != "plain 1234" {
		t.Errorf("got %q, %q, %v", secret, card, err)
	}
}

// masked reads as a role with a mask, on connections that are pooled with others'.
func masked(t *testing.T, address string) {
	t.Helper()
	for range 2 {
		conn := shared.connect(t, strings.Replace(pooledURL(address), "app@", "support@", 1), pgx.QueryExecModeExec)
		var card string
		if err := conn.QueryRow(t.Context(), "select card from pooled_modes limit 1").Scan(&card); err != nil || card != "****1234" {
			t.Errorf("support sees %q, %v; want the last four characters", card, err)
		}
		conn.Close(context.Background())
	}
}
