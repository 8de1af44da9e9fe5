// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/sidekey/sidekey/dbproxy"
	"github.com/sidekey/sidekey/proxy/datakey"
)

func TestUnixSocketUpstream(t *testing.T) {
	path := filepath.Join(shared.dir, fmt.Sprintf(".s.PGSQL.%d", shared.port))
	f := start(t, shared, users(), func(cfg *dbproxy.Config, _ *datakey.Config) { cfg.Upstream.Address = path })
	conn := f.connect(t, pgx.QueryExecModeExec)
	exec1(t, conn, usersDDL)
	exec1(t, conn, "INSERT INTO users (email) VALUES ('by socket')")
	var email string
	if err := conn.QueryRow(t.Context(), "SELECT email FROM users").Scan(&email); err != nil || email != "by socket" {
		t.Errorf("got %q, %v", email, err)
	}
}

func TestServerAway(t *testing.T) {
	c := ownCluster(t)
	f := start(t, c, users())
	conn := f.connect(t, pgx.QueryExecModeExec)
	exec1(t, conn, usersDDL)
	exec1(t, conn, "INSERT INTO users (email) VALUES ('before')")
	c.stop()
	if _, err := conn.Exec(t.Context(), "SELECT 1"); err == nil {
		t.Error("a session outlived its server")
	}
	if _, err := pgx.Connect(t.Context(), f.url()); state(err) != "57P03" {
		t.Errorf("got %v, want 57P03", err)
	}
	var err error
	if c.cmd, err = asPostgres(c.server, "postgres", "-D", c.dir); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool {
		conn, err := pgx.Connect(t.Context(), f.url())
		if err != nil {
			return false
		}
		defer conn.Close(t.Context())
		var email string
		err = conn.QueryRow(t.Context(), "SELECT email FROM users").Scan(&email)
		return err == nil && email == "before"
	})
}

// TestOneKey has two replicas make the data key of a column at once.
func TestOneKey(t *testing.T) {
	a := start(t, shared, users())
	admin := a.direct(t)
	exec1(t, a.connect(t, pgx.QueryExecModeExec), usersDDL)
	for round := range 5 {
		exec1(t, admin, "DROP SCHEMA IF EXISTS sidekey CASCADE")
		exec1(t, admin, "TRUNCATE users")
		var replicas []*fixture
		for range 3 {
			replicas = append(replicas, a.replica(t))
		}
		var wg sync.WaitGroup
		for i, f := range replicas {
			conn := f.connect(t, pgx.QueryExecModeExec)
			wg.Go(func() {
				if _, err := conn.Exec(t.Context(), "INSERT INTO users (email, pin) VALUES ($1, 7)", fmt.Sprint("race-", i)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		var keys, rows int
		if err := admin.QueryRow(t.Context(), "SELECT count(*) FILTER (WHERE binding = 'domain:mail') FROM sidekey.data_keys").Scan(&keys); err != nil || keys != 1 {
			t.Errorf("round %d: %d keys, %v", round, keys, err)
		}
		for _, f := range replicas {
			conn := f.connect(t, pgx.QueryExecModeExec)
			if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM users WHERE pin = 7 AND email IN ('race-0', 'race-1', 'race-2')").Scan(&rows); err != nil || rows != 3 {
				t.Errorf("round %d: %d rows, %v", round, rows, err)
			}
		}
	}
}

// TestDrain: a transaction ends, idle sessions are told.
func TestDrain(t *testing.T) {
	for name, f := range map[string]*fixture{"rules": start(t, shared, users()), "no rules": start(t, shared, nil)} {
		idle, busy := rawClient(t, f), rawClient(t, f)
		busy.send(&pgproto3.Query{String: "BEGIN"}).want("C Z")
		busy.send(&pgproto3.Query{String: "SELECT 1"}).want("T23 D:1 C Z")
		f.stop()
		idle.want("E57P01")
		busy.send(&pgproto3.Query{String: "SELECT pg_sleep(0.5)"}).want("T2278 D: C Z")
		busy.send(&pgproto3.Query{String: "COMMIT"}).want("C Z")
		busy.want("E57P01")
		if conn, err := net.DialTimeout("tcp", f.addr, time.Second); err == nil {
			conn.Close()
			t.Errorf("%s: a client is accepted", name)
		}
	}
}

func TestManyHalfOpen(t *testing.T) {
	f := start(t, shared, users())
	for range 200 { // sessions that ended do not loosen the bound
		conn, err := pgx.Connect(t.Context(), f.url())
		if err != nil {
			t.Fatal(err)
		}
		conn.Close(t.Context())
	}
	for range 1002 {
		conn, err := net.Dial("tcp", f.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	refused := false
	waitFor(t, func() bool {
		_, err := pgx.Connect(context.Background(), f.url())
		refused = refused || state(err) == "53300"
		return refused
	})
}
