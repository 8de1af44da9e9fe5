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

// What clients do comes to the same through a pooler.
func TestPoolers(t *testing.T) {
	mustPsql(t, shared.env["DATABASE_URL"], "create table pooled (id int primary key, email text, amount int4, note text)")
	for _, way := range poolers {
		t.Run(way.name, func(t *testing.T) {
			url := pooledURL(way.reach(t, 10, ""))
			t.Run("clients", func(t *testing.T) { poolClients(t, way, url) })
			t.Run("errors", func(t *testing.T) { poolErrors(t, way, url) })
			t.Run("cancel", func(t *testing.T) { poolCancel(t, way, url) })
		})
	}
	// Nothing that these clients wrote is legible on the way around the sidecar.
	around := shared.env["UPSTREAM_DATABASE_URL"]
	want := fmt.Sprint(len(poolers)*poolClientCount*poolRounds, "|0")
	if got := mustPsql(t, around, "select count(*), count(*) filter (where position('mail'::bytea in email) > 0 or position('note'::bytea in note) > 0 or octet_length(amount) < 20) from pooled"); got != want {
		t.Errorf("rows and legible rows: %s, want %s", got, want)
	}
}

const poolClientCount, poolRounds = 8, 10

// poolClients has several clients at once write, search and change rows of their own.
func poolClients(t *testing.T, way pooler, url string) {
	var group sync.WaitGroup
	for client := range poolClientCount {
		modes := way.modes()
		conn := shared.connect(t, url, modes[client%len(modes)])
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
	if err := conn.QueryRow(ctx, "select note, amount from pooled where email = any ($1)", []string{mail, "nobody"}).Scan(&note, &amount); err != nil {
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
	conn := shared.connect(t, url, pgx.QueryExecModeExec)
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
	conn := shared.connect(t, url, pgx.QueryExecModeExec)
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
