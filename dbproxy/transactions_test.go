// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// catalogReads counts how often the catalog was read between two remarks in the
// server's log. They are written by the server process itself, in order.
func catalogReads(t *testing.T, c *cluster, from, to string) (n int) {
	t.Helper()
	waitFor(t, func() bool {
		logs, err := filepath.Glob(filepath.Join(c.dir, "log", "*.log"))
		if err != nil {
			t.Fatal(err)
		}
		var all strings.Builder
		for _, path := range logs {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(b)
		}
		_, rest, begun := strings.Cut(all.String(), from)
		between, _, over := strings.Cut(rest, to)
		n = strings.Count(between, "WITH RECURSIVE prot AS")
		return begun && over
	})
	return n
}

// TestChainedTransactions: a client that is never outside of a transaction has the
// catalog read anew when tables have changed, and not in every transaction.
func TestChainedTransactions(t *testing.T) {
	for name, end := range map[string]string{"one text": "COMMIT; BEGIN", "chain": "COMMIT AND CHAIN", "rollback": "ROLLBACK AND CHAIN"} {
		t.Run(name, func(t *testing.T) {
			f := start(t, shared, users())
			exec1(t, f.connect(t, pgx.QueryExecModeSimpleProtocol), usersDDL)
			conn, other := f.connect(t, pgx.QueryExecModeSimpleProtocol), f.connect(t, pgx.QueryExecModeSimpleProtocol)
			exec1(t, other, "INSERT INTO users (email, pin) VALUES ('chained', 0)")
			exec1(t, conn, "BEGIN")
			exec1(t, conn, "CREATE VIEW chained AS SELECT email, pin FROM users")
			var email string
			if err := conn.QueryRow(t.Context(), "SELECT email FROM chained").Scan(&email); err != nil || email != "chained" {
				t.Errorf("within: %q, %v", email, err)
			}
			exec1(t, conn, end)
			err := other.QueryRow(t.Context(), "SELECT email FROM chained").Scan(&email)
			if committed := name != "rollback"; err == nil != committed || email != "chained" {
				t.Errorf("another session: %q, %v", email, err)
			}
			exec1(t, conn, "INSERT INTO users (email, pin) VALUES ('next', 1)")
			exec1(t, conn, end)
			marks := []string{f.database + " begins", f.database + " ends"}
			exec1(t, conn, "SELECT '"+marks[0]+"'")
			for i := range 10 {
				exec1(t, conn, fmt.Sprintf("UPDATE users SET pin = %d WHERE email = 'chained'", i))
				exec1(t, conn, end)
			}
			exec1(t, conn, "SELECT '"+marks[1]+"'")
			// Once it may have become too old meanwhile.
			if n := catalogReads(t, shared, marks[0], marks[1]); n > 1 {
				t.Errorf("the catalog was read %d times in 10 transactions", n)
			}
		})
	}
}

// TestFailedChain: a transaction that goes on after a text which would have ended it
// keeps what it has made.
func TestFailedChain(t *testing.T) {
	f := start(t, shared, users())
	conn := f.connect(t, pgx.QueryExecModeSimpleProtocol)
	exec1(t, conn, "BEGIN")
	exec1(t, conn, usersDDL)
	exec1(t, conn, "SAVEPOINT before")
	if _, err := conn.Exec(t.Context(), "SELECT 1/0; COMMIT; BEGIN"); state(err) != "22012" {
		t.Fatalf("got %v, want 22012", err)
	}
	exec1(t, conn, "ROLLBACK TO before")
	exec1(t, conn, "INSERT INTO users (email) VALUES ('chmarker')")
	var email string
	if err := conn.QueryRow(t.Context(), "SELECT email FROM users WHERE email = 'chmarker'").Scan(&email); err != nil || email != "chmarker" {
		t.Errorf("got %q, %v", email, err)
	}
	exec1(t, conn, "ROLLBACK; BEGIN")
	if _, err := conn.Exec(t.Context(), "SELECT email FROM users"); state(err) != "42P01" {
		t.Errorf("after the rollback: %v, want 42P01", err)
	}
	noCanary(t, f, "chmarker")
}

// TestPreparedTransaction: what a prepared transaction has made is seen by all
// sessions once it is committed, from whichever.
func TestPreparedTransaction(t *testing.T) {
	dir, err := os.MkdirTemp("", "prepared")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c, err := startCluster(serverDir, dir, "max_prepared_transactions = 2")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.stop)
	f := start(t, c, users())
	maker, other := f.connect(t, pgx.QueryExecModeSimpleProtocol), f.connect(t, pgx.QueryExecModeSimpleProtocol)
	exec1(t, maker, usersDDL)
	exec1(t, maker, "INSERT INTO users (email) VALUES ('prepared')")
	for name, committer := range map[string]*pgx.Conn{"itself": maker, "another": other} {
		exec1(t, maker, "BEGIN")
		exec1(t, maker, "CREATE VIEW by_"+name+" AS SELECT email FROM users")
		exec1(t, maker, "PREPARE TRANSACTION '"+f.database+"'")
		exec1(t, other, "SELECT email FROM users")
		exec1(t, committer, "COMMIT PREPARED '"+f.database+"'")
		for _, conn := range []*pgx.Conn{other, maker, f.connect(t, pgx.QueryExecModeSimpleProtocol)} {
			var email string
			if err := conn.QueryRow(t.Context(), "SELECT email FROM by_"+name).Scan(&email); err != nil || email != "prepared" {
				t.Errorf("committed by %s: %q, %v", name, email, err)
			}
		}
	}
}
