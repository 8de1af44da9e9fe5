// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// pgbench makes its tables through the sidecar, with columns that are protected, and runs
// its own workloads in every mode: no transaction fails, and the balances add up.
func TestPgbench(t *testing.T) {
	const rules = `    - {table: pgbench_accounts, column: filler, type: char(84), mode: random, key_id: alias/dev}
    - {table: pgbench_accounts, column: bid, type: int4, mode: equality, key_id: alias/dev}
    - {table: pgbench_history, column: delta, type: int4, mode: random, key_id: alias/dev}
    - {table: pgbench_history, column: tid, type: int4, mode: equality, key_id: alias/dev}
`
	_, address := sidecarBefore(t, hostOf(shared.env["UPSTREAM_DATABASE_URL"]), rules)
	url := "postgres://app@" + address + "/app"
	tool := pgbench(t)
	bench := func(args ...string) string {
		t.Helper()
		out, err := shared.run(tool, append(args, url)...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	bench("-i", "-q", "-s", "1")
	processed := 0
	for _, args := range []string{
		"-M simple -S", "-M extended -S", "-M prepared -S", "-M simple -b tpcb-like", "-M extended -b tpcb-like", "-M prepared -b tpcb-like",
		"-M prepared -b simple-update", "-M simple -C -b tpcb-like",
	} {
		transactions := 50
		if strings.Contains(args, "-C") {
			transactions = 5
		}
		out := bench(append(strings.Fields(args), "-n", "-c", "8", "-j", "2", "-t", fmt.Sprint(transactions))...)
		want := fmt.Sprintf("number of transactions actually processed: %d/%[1]d", 8*transactions)
		if !strings.Contains(out, want) || !strings.Contains(out, "number of failed transactions: 0 ") {
			t.Errorf("pgbench %s: %s", args, out)
		}
		if !strings.Contains(args, "-S") {
			processed += 8 * transactions
		}
	}
	got := mustPsql(t, url, "select count(*), count(distinct tid) > 1 from pgbench_history")
	if want := fmt.Sprintf("%d|t", processed); got != want {
		t.Errorf("pgbench_history: got %s, want %s", got, want)
	}
	// The sum of deltas can only be made by a client: the server has ciphertext.
	sum := 0
	for _, delta := range strings.Fields(mustPsql(t, url, "select delta from pgbench_history")) {
		var n int
		if _, err := fmt.Sscan(delta, &n); err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	if got := mustPsql(t, url, "select sum(abalance) from pgbench_accounts"); got != fmt.Sprint(sum) {
		t.Errorf("the balances of accounts add up to %s, the history to %d", got, sum)
	}
	if got := mustPsql(t, url, "select count(*) from pgbench_accounts where bid = 1"); got != "100000" {
		t.Errorf("accounts of branch 1: got %s, want 100000", got)
	}
	raw := mustPsql(t, shared.env["UPSTREAM_DATABASE_URL"], "select distinct pg_typeof(delta), pg_typeof(tid) from pgbench_history")
	if raw != "bytea|bytea" {
		t.Errorf("stored in pgbench_history: %s", raw)
	}
}

// pgbench is found beside the server programs.
func pgbench(t *testing.T) string {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/pgbench")
	if len(found) == 0 {
		t.Fatal("no pgbench; deploy/setup.sh installs it")
	}
	return found[len(found)-1]
}
