// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// Thousands of clients that have read a protected column and then stay idle cost the
// sidecar little. A server behind it spares a process for each.
func TestIdleClientsCostLittle(t *testing.T) {
	const clients, limit = 5000, 200 << 20
	people(t)
	mustPsql(t, shared.env["DATABASE_URL"], "INSERT INTO people (id, c_text, c_secret) VALUES (5000000, 'idle', 'a secret of theirs')")
	sidecar, address := sidecarBefore(t, startSparing(t, 20), "")
	config, err := pgconn.ParseConfig("postgres://app@" + address + "/app?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	config.Password = shared.secret(t, "app")
	open := make([]*pgconn.PgConn, clients)
	var group sync.WaitGroup
	for worker := range 20 {
		group.Go(func() {
			for i := worker; i < clients; i += 20 {
				conn, err := pgconn.ConnectConfig(t.Context(), config)
				if err != nil {
					t.Errorf("client %d: %v", i, err)
					return
				}
				open[i] = conn
				results, err := conn.Exec(t.Context(), "SELECT c_secret FROM people WHERE c_text = 'idle'").ReadAll()
				if err != nil || len(results) != 1 || len(results[0].Rows) != 1 || string(results[0].Rows[0][0]) != "a secret of theirs" {
					t.Errorf("client %d: got %v, %v", i, results, err)
					return
				}
			}
		})
	}
	group.Wait()
	t.Cleanup(func() {
		for _, conn := range open {
			if conn != nil {
				conn.Close(context.Background())
			}
		}
	})
	if t.Failed() {
		return
	}
	peak := sidecar.peakMemory(t)
	t.Logf("%d clients: peak %d MiB", clients, peak>>20)
	if peak > limit {
		t.Errorf("%d idle clients: the sidecar has used %d MiB, want at most %d", clients, peak>>20, limit>>20)
	}
}
