// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

var pooledOnce sync.Once

// pooled makes the tables through the sidecar, once.
func pooled(t *testing.T) {
	t.Helper()
	pooledOnce.Do(func() {
		app := shared.env["DATABASE_URL"]
		mustPsql(t, app, "create table pooled (id int primary key, email text, amount int4, note text)")
		mustPsql(t, app, "create table pooled_tenants (id int, email text)")
	})
}

// A pooler is a way through PgBouncer and the sidecar.
type pooler struct {
	name string
	// start gives the address that clients connect to. No more than size
	// connections lead out of PgBouncer.
	start func(t *testing.T, size int) string
	// sessions says that a client keeps its connection until it leaves.
	sessions bool
	// base tells the rows of one way from another's.
	base int
}

var poolers = []pooler{
	{"session in front", func(t *testing.T, size int) string {
		_, address := startBouncer(t, shared, hostOf(shared.env["DATABASE_URL"]), "session", size)
		return address
	}, true, 100000},
	{"transaction in front", func(t *testing.T, size int) string {
		_, address := startBouncer(t, shared, hostOf(shared.env["DATABASE_URL"]), "transaction", size)
		return address
	}, false, 200000},
	{"session behind", func(t *testing.T, size int) string {
		_, behind := startBouncer(t, shared, hostOf(shared.env["UPSTREAM_DATABASE_URL"]), "session", size)
		_, address := sidecarBefore(t, behind+poolsSessions, "")
		return address
	}, true, 300000},
}

// What clients do comes to the same through a pooler.
func TestPoolers(t *testing.T) {
	pooled(t)
	for _, way := range poolers {
		t.Run(way.name, func(t *testing.T) {
			url := pooledURL(way.start(t, 10))
			t.Run("clients", func(t *testing.T) { poolClients(t, way, url) })
			t.Run("errors", func(t *testing.T) { poolErrors(t, way, url) })
			t.Run("cancel", func(t *testing.T) { poolCancel(t, way, url) })
		})
	}
	// Nothing that these clients wrote is legible on the way around the sidecar.
	around := shared.env["UPSTREAM_DATABASE_URL"]
	want := fmt.Sprint(len(poolers)*poolClientCount*poolRounds, "|0")
	if got := mustPsql(t, around, "select count(*), count(*) filter (where position('mail'::bytea in email) > 0 or position('note'::bytea in note) > 0 or octet_length(amount) < 20) from pooled where id < 900000"); got != want {
		t.Errorf("rows and legible rows: %s, want %s", got, want)
	}
}

// poolConnect connects as the client of a pooler would: where a transaction has a
// server of its own, without named statements that outlive it.
func poolConnect(t *testing.T, way pooler, url string) *pgx.Conn {
	t.Helper()
	if way.sessions {
		return shared.connect(t, url, pgx.QueryExecModeCacheStatement)
	}
	return shared.connect(t, url, pgx.QueryExecModeExec)
}

const poolClientCount, poolRounds = 8, 10

// poolClients has several clients at once write, search and change rows of their own.
func poolClients(t *testing.T, way pooler, url string) {
	var group sync.WaitGroup
	for client := range poolClientCount {
		conn := poolConnect(t, way, url)
		group.Go(func() {
			for round := range poolRounds {
				if err := poolRound(t.Context(), conn, way, client, way.base+client*1000+round); err != nil {
					t.Errorf("client %d, round %d: %v", client, round, err)
					return
				}
			}
		})
	}
	group.Wait()
}

// poolRound is one row's life: parameters and constants, equality and range
// searches, a transaction that is taken back and one that stays.
func poolRound(ctx context.Context, conn *pgx.Conn, way pooler, client, id int) error {
	mail := fmt.Sprintf("mail-%d", id)
	if _, err := conn.Exec(ctx, "insert into pooled values ($1, $2, $3, $4)", id, mail, int32(id), "note"); err != nil {
		return fmt.Errorf("insert: %w", err)
	}
	tx, err := conn.Begin(ctx)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	if _, err := tx.Exec(ctx, "update pooled set note = 'taken back' where email = $1", mail); err != nil {
		return fmt.Errorf("update: %w", err)
	}
	if err := tx.Rollback(ctx); err != nil {
		return fmt.Errorf("rollback: %w", err)
	}
	if tx, err = conn.Begin(ctx); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	// A statement prepared in SQL lasts as long as the server is the client's.
	name := fmt.Sprintf("p%d", id)
	prepare := "prepare " + name + " (text, text) as update pooled set note = $2 where email = $1"
	if _, err := tx.Exec(ctx, prepare, pgx.QueryExecModeSimpleProtocol); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	execute := fmt.Sprintf("execute %s('%s', 'note of %d'); deallocate %s", name, mail, id, name)
	if _, err := tx.Exec(ctx, execute, pgx.QueryExecModeSimpleProtocol); err != nil {
		return fmt.Errorf("execute: %w", err)
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	var note string
	var amount int32
	if err := conn.QueryRow(ctx, "select note, amount from pooled where email = '"+mail+"'").Scan(&note, &amount); err != nil {
		return fmt.Errorf("search: %w", err)
	}
	if want := fmt.Sprintf("note of %d", id); note != want || int(amount) != id {
		return fmt.Errorf("got %q and %d, want %q and %d", note, amount, want, id)
	}
	first := way.base + client*1000
	var count int
	if err := conn.QueryRow(ctx, "select count(*) from pooled where amount between $1 and $2", int32(first), int32(first+999)).Scan(&count); err != nil {
		return fmt.Errorf("range search: %w", err)
	}
	if want := id - first + 1; count != want {
		return fmt.Errorf("the range holds %d rows, want %d", count, want)
	}
	return nil
}

// poolErrors has the server and the sidecar refuse statements; the connection goes on.
func poolErrors(t *testing.T, way pooler, url string) {
	conn := poolConnect(t, way, url)
	for _, refused := range []struct{ sql, code string }{
		{"select upper(email) from pooled", "0A000"},
		{"select id from pooled where note = 'x'", "0A000"},
		{"insert into pooled (id, email) values (" + fmt.Sprint(way.base) + ", 'twice')", "23505"},
		{"select nothing from pooled", "42703"},
	} {
		_, err := conn.Exec(t.Context(), refused.sql)
		if got := sqlState(err); got != refused.code {
			t.Errorf("%s: %v, want SQLSTATE %s", refused.sql, err, refused.code)
		}
		var mail string
		if err := conn.QueryRow(t.Context(), "select email from pooled where id = $1", way.base).Scan(&mail); err != nil || mail != fmt.Sprintf("mail-%d", way.base) {
			t.Errorf("after %s: %q, %v", refused.sql, mail, err)
		}
	}
}

func sqlState(err error) string {
	var failure *pgconn.PgError
	if errors.As(err, &failure) {
		return failure.Code
	}
	return ""
}

// poolCancel cancels a statement once the server runs it.
func poolCancel(t *testing.T, way pooler, url string) {
	conn := poolConnect(t, way, url)
	marker := fmt.Sprintf("pg_sleep(60 + 0 * %d)", way.base)
	ended := make(chan error, 1)
	go func() {
		_, err := conn.Exec(t.Context(), "select "+marker)
		ended <- err
	}()
	running := "select count(*) from pg_stat_activity where state = 'active' and pid <> pg_backend_pid() and query like '%" + marker + "%'"
	deadline := time.Now().Add(20 * time.Second)
	for mustPsql(t, shared.env["UPSTREAM_DATABASE_URL"], running) != "1" {
		if time.Now().After(deadline) {
			t.Fatal("the statement does not run")
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err := conn.PgConn().CancelRequest(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; sqlState(err) != "57014" {
		t.Errorf("a canceled statement: %v, want SQLSTATE 57014", err)
	}
}

// A client's tenant is not the next one's who gets the connection.
func TestPoolersForgetTenants(t *testing.T) {
	pooled(t)
	for _, way := range poolers {
		t.Run(way.name, func(t *testing.T) {
			url := pooledURL(way.start(t, 1))
			tenants := []string{"acme", "bolt"}
			for i, tenant := range tenants {
				conn := poolConnect(t, way, url)
				tx, err := conn.Begin(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				var set string
				if err := tx.QueryRow(t.Context(), "select set_config('sidekey.tenant', $1, $2)", tenant, !way.sessions).Scan(&set); err != nil {
					t.Fatal(err)
				}
				if _, err := tx.Exec(t.Context(), "insert into pooled_tenants values ($1, 'same@mail')", way.base+i); err != nil {
					t.Fatal(err)
				}
				var ids int
				if err := tx.QueryRow(t.Context(), "select sum(id) from pooled_tenants where email = $1 and id / 100000 = $2", "same@mail", way.base/100000).Scan(&ids); err != nil || ids != way.base+i {
					t.Errorf("%s finds %d, %v; want its own row %d", tenant, ids, err, way.base+i)
				}
				if err := tx.Commit(t.Context()); err != nil {
					t.Fatal(err)
				}
				if way.sessions {
					conn.Close(t.Context())
					conn = poolConnect(t, way, url)
				}
				if _, err := conn.Exec(t.Context(), "insert into pooled_tenants values (0, 'of nobody')"); sqlState(err) != "22023" {
					t.Errorf("after %s, without a tenant: %v, want SQLSTATE 22023", tenant, err)
				}
				conn.Close(t.Context())
			}
		})
	}
}
