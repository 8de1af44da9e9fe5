// SPDX-License-Identifier: Apache-2.0

//go:build bench

package e2e

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	benchRows = 20_000
	copyRows  = 1_000_000
	batchRows = 100
)

// A way is one of those by which a workload reaches PostgreSQL.
type way struct {
	name, url string
	between   []*process
}

// postgresRows measures pgbench, inserts and COPY through the three ways.
func postgresRows(t *testing.T, s *stack, b *bench) {
	direct, sidecar := s.env["UPSTREAM_DATABASE_URL"], s.env["DATABASE_URL"]
	bouncer, pooled := startBouncer(t, s, hostOf(direct), "session", 20)
	bounced := "postgres://app@" + pooled + "/app"
	ways := []way{{"direct", direct, nil}, {"relay", bounced, []*process{bouncer}}, {"sidekey", sidecar, []*process{s.proxy, s.keysvc}}}
	s.mustRun(t, pgbench(t), "-i", "-q", "-s", "10", direct)
	fillAccounts(t, s, direct, "plain_accounts")
	fillAccounts(t, s, sidecar, "bench_accounts")
	for _, mode := range []string{"prepared", "simple"} {
		for _, workload := range []struct {
			name          string
			plain, sealed []string
		}{
			{"pgbench -S", []string{"-S"}, []string{"-S"}},
			{"pgbench tpcb-like", nil, nil},
			{"two encrypted columns", []string{"-f", byKey(t, "plain_accounts")}, []string{"-f", byKey(t, "bench_accounts")}},
		} {
			measurePgbench(t, s, b, ways, workload.name+", "+mode, mode, workload.plain, workload.sealed)
		}
	}
	for _, r := range wideRows(t, s, ways) {
		b.measure(t, r)
	}
}

func (s *stack) mustRun(t *testing.T, name string, args ...string) {
	t.Helper()
	if _, err := s.run(name, args...); err != nil {
		t.Fatal(err)
	}
}

// fillAccounts makes a table of accounts; the sidecar seals two of its columns if
// it is bench_accounts.
func fillAccounts(t *testing.T, s *stack, url, table string) {
	t.Helper()
	s.mustRun(t, "psql", "-X", "-q", url, "-c", "create table "+table+" (aid int primary key, abalance int4, filler text)")
	for from := 1; from <= benchRows; from += 1000 {
		values := make([]string, 1000)
		for i := range values {
			values[i] = fmt.Sprintf("(%d, %d, 'some text of account %d')", from+i, i*17, from+i)
		}
		s.mustRun(t, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", url, "-c", "insert into "+table+" values "+strings.Join(values, ", "))
	}
}

// byKey is a script of pgbench that reads two columns of a row.
func byKey(t *testing.T, table string) string {
	t.Helper()
	return writeFile(t, fmt.Sprintf("\\set aid random(1, %d)\nselect abalance, filler from %s where aid = :aid;\n", benchRows, table))
}

func measurePgbench(t *testing.T, s *stack, b *bench, ways []way, name, mode string, plain, sealed []string) {
	t.Helper()
	if !b.wanted(name) {
		return
	}
	r := row{name: name, clients: 8}
	figures := make([][]figure, len(ways))
	for _, w := range ways {
		r.variants = append(r.variants, variant{name: w.name})
	}
	for range b.rounds {
		for i, w := range ways {
			workload := plain
			if w.name == "sidekey" {
				workload = sealed
			}
			figures[i] = append(figures[i], runPgbench(t, s, pgbench(t), w.url, mode, b.each, w.between, workload))
		}
	}
	b.report(t, r, figures)
}

// wideRows are of tables with five columns, of which the sidecar seals three.
func wideRows(t *testing.T, s *stack, ways []way) []row {
	t.Helper()
	direct, sidecar := ways[0].url, ways[len(ways)-1].url
	const shape = " (id int, email text, ssn varchar(5), pin int, note text)"
	s.mustRun(t, "psql", "-X", "-q", direct, "-c", "create table plain_wide"+shape)
	s.mustRun(t, "psql", "-X", "-q", sidecar, "-c", "create table bench_wide"+shape)
	inserts := row{name: "insert 100 rows, 3 of 5 columns encrypted, prepared", clients: 8, bytes: wideBytes(batchRows)}
	in := row{name: "COPY FROM of 1,000,000 rows, likewise", clients: 1, bytes: wideBytes(copyRows)}
	out := row{name: "COPY TO of 1,000,000 rows, likewise", clients: 1, bytes: wideBytes(copyRows)}
	for _, w := range ways {
		table := "plain_wide"
		if w.name == "sidekey" {
			table = "bench_wide"
		}
		conns := make([]*pgx.Conn, inserts.clients)
		for i := range conns {
			conns[i] = s.connect(t, w.url, pgx.QueryExecModeCacheStatement)
		}
		conn := conns[0]
		statement := insertMany(table)
		inserts.variants = append(inserts.variants, variant{w.name, w.between, func(client int) error {
			_, err := conns[client].Exec(context.Background(), statement, wideValues(batchRows)...)
			return err
		}})
		in.variants = append(in.variants, variant{w.name, w.between, func(int) error {
			if _, err := conn.Exec(context.Background(), "truncate "+table); err != nil {
				return err
			}
			_, err := conn.PgConn().CopyFrom(context.Background(), &wideText{rows: copyRows}, "copy "+table+" from stdin")
			return err
		}})
		out.variants = append(out.variants, variant{w.name, w.between, func(int) error {
			tag, err := conn.PgConn().CopyTo(context.Background(), io.Discard, "copy "+table+" to stdout")
			if err == nil && tag.RowsAffected() != copyRows {
				err = fmt.Errorf("COPY TO gave %d rows", tag.RowsAffected())
			}
			return err
		}})
	}
	return []row{inserts, in, out}
}

// insertMany inserts rows by parameters.
func insertMany(table string) string {
	values := make([]string, batchRows)
	for i := range values {
		values[i] = fmt.Sprintf("($%d, $%d, $%d, $%d, $%d)", 5*i+1, 5*i+2, 5*i+3, 5*i+4, 5*i+5)
	}
	return "insert into " + table + " values " + strings.Join(values, ", ")
}

func wideValues(rows int) []any {
	values := make([]any, 0, 5*rows)
	for i := range rows {
		values = append(values, i, fmt.Sprintf("user-%d@example.com", i), fmt.Sprintf("%05d", i%100000), i, "some note of this row")
	}
	return values
}

func appendWide(b []byte, i int) []byte {
	return fmt.Appendf(b, "%d\tuser-%d@example.com\t%05d\t%d\tsome note of this row\n", i, i, i%100000, i)
}

// wideBytes is how long rows are in COPY's text format.
func wideBytes(rows int) (total int64) {
	var line []byte
	for i := range rows {
		line = appendWide(line[:0], i)
		total += int64(len(line))
	}
	return total
}

// wideText is rows in COPY's text format.
type wideText struct {
	rows, at int
	rest     []byte
}

func (w *wideText) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if len(w.rest) == 0 {
			if w.at == w.rows {
				break
			}
			w.rest = appendWide(w.rest[:0], w.at)
			w.at++
		}
		c := copy(p[n:], w.rest)
		n, w.rest = n+c, w.rest[c:]
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

var (
	pgbenchTPS      = regexp.MustCompile(`tps = ([0-9.]+)`)
	pgbenchCount    = regexp.MustCompile(`number of transactions actually processed: (\d+)`)
	pgbenchFailures = regexp.MustCompile(`number of failed transactions: (\d+)`)
)

func runPgbench(t *testing.T, s *stack, tool, url, mode string, each time.Duration, between []*process, workload []string) figure {
	t.Helper()
	logs := filepath.Join(t.TempDir(), "log")
	args := append([]string{"-n", "-c", "8", "-j", "2", "-M", mode, "-T", strconv.Itoa(int(each.Seconds())), "-l", "--log-prefix", logs}, workload...)
	before := cpuTime(between)
	out, err := s.run(tool, append(args, url)...)
	if err != nil {
		t.Fatal(err)
	}
	tps, count := pgbenchTPS.FindStringSubmatch(out), pgbenchCount.FindStringSubmatch(out)
	if tps == nil || count == nil {
		t.Fatalf("pgbench printed %s", out)
	}
	if failed := pgbenchFailures.FindStringSubmatch(out); failed != nil && failed[1] != "0" {
		t.Fatalf("pgbench: transactions failed: %s", out)
	}
	rate, _ := strconv.ParseFloat(tps[1], 64)
	n, _ := strconv.Atoi(count[1])
	return figure{rate: rate, p99: pgbenchP99(t, logs), cpu: (cpuTime(between) - before) / time.Duration(max(n, 1))}
}

// pgbenchP99 reads the latency of each transaction from pgbench's log files.
func pgbenchP99(t *testing.T, prefix string) time.Duration {
	t.Helper()
	paths, err := filepath.Glob(prefix + "*")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no log of pgbench: %v", err)
	}
	var latencies []float64
	for _, path := range paths {
		for _, line := range strings.Split(readFile(t, path), "\n") {
			if fields := strings.Fields(line); len(fields) > 2 {
				microseconds, _ := strconv.ParseFloat(fields[2], 64)
				latencies = append(latencies, microseconds)
			}
		}
	}
	return percentile(latencies, 0.99)
}
