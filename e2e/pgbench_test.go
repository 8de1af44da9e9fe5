// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"
)

const fillerScript = `\set aid random(1, 100000)
select filler from pgbench_accounts where aid = :aid;
update pgbench_accounts set filler = 'a canary of pgbench' where aid = :aid;
`

// pgbench makes its tables, which have a protected column, and works on them in every
// protocol that it speaks. Its books balance, and the server has only ciphertext.
func TestPgbench(t *testing.T) {
	around := shared.env["UPSTREAM_DATABASE_URL"]
	_, address := idleSidecar(t, hostOf(around))
	url := "postgres://app@" + address + "/app?sslmode=disable"
	env := []string{"PGPASSWORD=" + shared.secret(t, "app")}
	if out, err := shared.runEnv(env, "/usr/bin/pgbench", "-i", "-q", url); err != nil {
		t.Fatal(out, err)
	}
	script := writeFile(t, fillerScript)
	const clients = 8
	transactions := 0
	run := func(name string, perClient int, args ...string) {
		t.Run(name, func(t *testing.T) {
			args := append(args, "-n", "-c", fmt.Sprint(clients), "-j", "2", "-t", fmt.Sprint(perClient), url)
			out, err := shared.runEnv(env, "/usr/bin/pgbench", args...)
			if err != nil {
				t.Fatal(out, err)
			}
			all := clients * perClient
			for _, want := range []string{fmt.Sprintf("actually processed: %d/%d", all, all), "failed transactions: 0 "} {
				if !strings.Contains(out, want) {
					t.Errorf("want %q in:\n%s", want, out)
				}
			}
		})
	}
	for _, mode := range []string{"simple", "extended", "prepared"} {
		run("select-only "+mode, 100, "-M", mode, "-S")
		run("tpcb-like "+mode, 25, "-M", mode)
		run("filler "+mode, 50, "-M", mode, "-f", script)
		run("connecting "+mode, 5, "-M", mode, "-C")
		transactions += clients * (25 + 5)
	}
	sums := strings.Split(mustPsql(t, around, `select sum(abalance) from pgbench_accounts union all select sum(bbalance) from pgbench_branches
		union all select sum(tbalance) from pgbench_tellers union all select sum(delta) from pgbench_history`), "\n")
	if len(sums) != 4 || sums[0] != sums[1] || sums[0] != sums[2] || sums[0] != sums[3] {
		t.Errorf("sums of accounts, branches, tellers and history: %q, want all the same", sums)
	}
	if got := mustPsql(t, around, "select count(*) from pgbench_history"); got != fmt.Sprint(transactions) {
		t.Errorf("the history has %s rows, want %d", got, transactions)
	}
	if got := mustPsql(t, around, "select count(*), count(*) filter (where octet_length(filler) < 40 or position('canary' in encode(filler, 'escape')) > 0) from pgbench_accounts"); got != "100000|0" {
		t.Errorf("accounts and legible accounts: %s, want 100000|0", got)
	}
	// What was written is what is read.
	held := map[string]int{}
	for filler := range strings.SplitSeq(mustPsql(t, url+"&password="+shared.secret(t, "app"), "select '<' || aid || '>' as aid, filler from pgbench_accounts"), "\n") {
		_, value, _ := strings.Cut(filler, "|")
		held[strings.TrimRight(value, " ")]++
	}
	if held["a canary of pgbench"] == 0 || held["a canary of pgbench"]+held[""] != 100000 {
		t.Errorf("accounts with the new filler %d, with none %d, want 100000 in all and some of the new", held["a canary of pgbench"], held[""])
	}
}
