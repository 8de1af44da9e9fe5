// SPDX-License-Identifier: Apache-2.0

//go:build bench

package e2e

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A variant is one way to the same server.
type variant struct {
	name      string
	processes []*process // those between client and server, whose CPU time counts
	operation func(client int) error
}

// A row is one workload, measured over all its variants in turn.
type row struct {
	name     string
	clients  int
	bytes    int64 // of payload in one operation, 0 if it does not matter
	variants []variant
}

// A figure is what one variant did in one round.
type figure struct {
	rate float64       // operations per second
	p99  time.Duration // of one operation
	cpu  time.Duration // per operation, of the processes between
}

// TestMeasure measures all rows and writes the results. Nothing is asserted of
// the times; an operation that fails fails the run.
func TestMeasure(t *testing.T) {
	shared.stop()
	s, err := startStack(plainBinary, stackDir(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.stop()
	b := &bench{rounds: setting("ROUNDS", 3), each: time.Duration(setting("SECONDS_EACH", 3)) * time.Second}
	b.header(t)
	for _, section := range []struct {
		name    string
		measure func()
	}{
		{"s3", func() { measureS3(t, s, b) }},
		{"postgres", func() { measurePostgres(t, s, b) }},
		{"kms", func() { measureKMS(t, s, b) }},
		{"envelope", func() {
			b.title("Sealing and opening", "Go benchmarks of proxy/envelope, one core.")
			b.golang(t, ".", 1, "../proxy/envelope")
		}},
	} {
		if only := os.Getenv("BENCH_SECTIONS"); only == "" || slices.Contains(strings.Split(only, ","), section.name) {
			section.measure()
		}
	}
	if path := os.Getenv("BENCH_RESULTS"); path != "" {
		if err := os.WriteFile(path, b.out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func measureS3(t *testing.T, s *stack, b *bench) {
	b.section("S3 through the sidecar", "direct is MinIO itself; relay is net/http/httputil.ReverseProxy. CPU is of the relay, or of the sidecar and the key service. The last two columns compare sidekey with the relay.")
	for _, r := range s3Rows(t, s) {
		b.measure(t, r)
	}
	b.print(t, "\nPeak memory of the sidecar so far: %d MiB.", s.proxy.peakMemory(t)>>20)
}

func measurePostgres(t *testing.T, s *stack, b *bench) {
	b.section("PostgreSQL through the sidecar", "direct is PostgreSQL itself; relay is PgBouncer in session mode. Workloads of pgbench have 8 clients.")
	postgresRows(t, s, b)
	b.title("Plans of statements", "Go benchmark of package dbproxy: the plan of a SELECT of two encrypted columns that is kept by its text, or by its shape if only constants differ, and one of a text that was never seen; the same of a statement that touches nothing protected.")
	b.golang(t, "^BenchmarkPlan$", 1, "../dbproxy")
}

func measureKMS(t *testing.T, s *stack, b *bench) {
	b.section("AWS KMS API", "16 connections, aws-sdk-go-v2 as client, on the same machine; CPU is of the key service, SigV4, policy and durable audit included, and SoftHSM where the key is used in it. The rate is against protection hsm. What limits every row is these two cores, which client and service share: the client takes more of them than the service does. RSA-2048 in SoftHSM is limited by SoftHSM.")
	for _, r := range kmsRows(t, s) {
		b.measure(t, r)
	}
	b.title("The HSM's own share", "Go benchmark of package hsm with SoftHSM: the calls of the rows above by 16 callers, without a service before them. The service's own cost is the difference.")
	b.golang(t, "Share", 2, "../hsm")
	b.title("The key service without client and HSM", "Go benchmark: 16 connections of raw requests signed beforehand to a process of its own; host has the same cipher in the process in SoftHSM's place. cpu-us/op is of the service's process.")
	b.golang(t, "Served", 2, "../keysvc")
	b.title("DescribeKey by number of keys", "Go benchmark of the service with 1,000 and 1,000,000 keys in an SQLite store, each request for another key. The larger store does not fit the copies in memory: what limits it is reading the row, its MAC and its document.")
	b.golang(t, "DescribeKey", 2, "../keysvc")
}

func setting(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return n
	}
	return otherwise
}

type bench struct {
	rounds int
	each   time.Duration
	out    bytes.Buffer
}

func (b *bench) print(t *testing.T, format string, args ...any) {
	t.Helper()
	line := fmt.Sprintf(format, args...)
	t.Log(line)
	fmt.Fprintln(&b.out, line)
}

func (b *bench) header(t *testing.T) {
	cpu := "unknown CPU"
	if match := regexp.MustCompile(`model name\s*: (.*)`).FindStringSubmatch(readFile(t, "/proc/cpuinfo")); match != nil {
		cpu = match[1]
	}
	kernel, _ := exec.Command("uname", "-r").Output()
	postgres, _ := exec.Command("psql", "--version").Output()
	fmt.Fprintf(&b.out, "# Results of `make bench`\n\n%s, %s with %d cores (a virtual machine), Linux %s, %s, %s.\n"+
		"Servers, relays, sidekey and clients share these cores, so a rate is what is left after all of them.\n"+
		"Each figure is the median of %d rounds of %s; the variants of a row take turns within each round.\n",
		time.Now().UTC().Format("2006-01-02"), cpu, runtime.NumCPU(), strings.TrimSpace(string(kernel)), runtime.Version(),
		strings.TrimSpace(string(postgres)), b.rounds, b.each)
}

func (b *bench) section(title, note string) {
	b.title(title, note)
	fmt.Fprintln(&b.out, "| workload | variant | ops/s | MiB/s | p99 ms | CPU µs/op | rate against direct | rate against relay | CPU against relay |\n|---|---|--:|--:|--:|--:|--:|--:|--:|")
}

func (b *bench) title(title, note string) {
	fmt.Fprintf(&b.out, "\n## %s\n\n%s\n\n", title, note)
}

// measure measures a row, unless BENCH_ROWS is a pattern that its name does not match.
func (b *bench) measure(t *testing.T, r row) {
	t.Helper()
	if !b.wanted(r.name) {
		return
	}
	figures := make([][]figure, len(r.variants))
	for range b.rounds {
		for i, v := range r.variants {
			f, err := runVariant(v, r.clients, b.each)
			if err != nil {
				t.Fatalf("%s, %s: %v", r.name, v.name, err)
			}
			figures[i] = append(figures[i], f)
		}
	}
	b.report(t, r, figures)
}

func (b *bench) wanted(name string) bool {
	return regexp.MustCompile(os.Getenv("BENCH_ROWS")).MatchString(name)
}

func (b *bench) report(t *testing.T, r row, figures [][]figure) {
	t.Helper()
	first := median(figures[0], func(f figure) float64 { return f.rate })
	relay := slices.IndexFunc(r.variants, func(v variant) bool { return v.name == "relay" })
	for i, v := range r.variants {
		rate := median(figures[i], func(f figure) float64 { return f.rate })
		p99 := median(figures[i], func(f figure) float64 { return float64(f.p99.Microseconds()) / 1000 })
		cpu := median(figures[i], func(f figure) float64 { return float64(f.cpu.Nanoseconds()) / 1000 })
		throughput, ratio := "", ""
		if r.bytes > 0 {
			throughput = fmt.Sprintf("%.1f", rate*float64(r.bytes)/(1<<20))
		}
		if len(r.variants) > 1 {
			ratio = fmt.Sprintf("%.2f", rate/first)
		}
		againstRelay, cpuAgainstRelay := "", ""
		if relay >= 0 && i > relay {
			againstRelay = fmt.Sprintf("%.2f", pairwise(figures[i], figures[relay], func(f figure) float64 { return f.rate }))
			cpuAgainstRelay = fmt.Sprintf("%.2f", pairwise(figures[i], figures[relay], func(f figure) float64 { return float64(f.cpu) }))
		}
		b.print(t, "| %s | %s | %.0f | %s | %.2f | %.0f | %s | %s | %s |", r.name, v.name, rate, throughput, p99, cpu, ratio, againstRelay, cpuAgainstRelay)
	}
}

// runVariant runs the operation in a loop on each client for about the time.
func runVariant(v variant, clients int, each time.Duration) (figure, error) {
	var operations atomic.Int64
	var failure atomic.Pointer[error]
	latencies := make([][]time.Duration, clients)
	before := cpuTime(v.processes)
	start := time.Now()
	var group sync.WaitGroup
	for client := range clients {
		group.Go(func() {
			for time.Since(start) < each && failure.Load() == nil {
				began := time.Now()
				if err := v.operation(client); err != nil {
					failure.Store(&err)
					return
				}
				latencies[client] = append(latencies[client], time.Since(began))
				operations.Add(1)
			}
		})
	}
	group.Wait()
	if err := failure.Load(); err != nil {
		return figure{}, *err
	}
	took, n := time.Since(start), operations.Load()
	all := slices.Concat(latencies...)
	slices.Sort(all)
	return figure{
		rate: float64(n) / took.Seconds(),
		p99:  all[len(all)*99/100],
		cpu:  (cpuTime(v.processes) - before) / time.Duration(n),
	}, nil
}

// cpuTime is the user and system time that the processes have used.
func cpuTime(processes []*process) time.Duration {
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every Linux
	var total time.Duration
	for _, p := range processes {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.command.Process.Pid))
		if err != nil {
			continue
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		user, _ := strconv.Atoi(fields[11])
		system, _ := strconv.Atoi(fields[12])
		total += time.Duration(user+system) * tick
	}
	return total
}

func median[T any](items []T, value func(T) float64) float64 {
	values := make([]float64, len(items))
	for i, item := range items {
		values[i] = value(item)
	}
	slices.SortFunc(values, cmp.Compare)
	return values[len(values)/2]
}

// pairwise is the median of the ratios of figures of the same round.
func pairwise(a, b []figure, value func(figure) float64) float64 {
	ratios := make([]float64, min(len(a), len(b)))
	for i := range ratios {
		ratios[i] = value(a[i]) / max(value(b[i]), 1e-9)
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}

// golang runs Go benchmarks of a package and takes their lines over.
func (b *bench) golang(t *testing.T, pattern string, cores int, pkg string) {
	t.Helper()
	fmt.Fprintln(&b.out, "```")
	output, err := exec.Command("go", "test", "-run", "^$", "-bench", pattern, "-benchmem", "-cpu", strconv.Itoa(cores), "-timeout", "30m", pkg).CombinedOutput()
	if err != nil {
		t.Fatalf("benchmarks of %s: %v\n%s", pkg, err, output)
	}
	for _, line := range strings.Split(string(output), "\n") {
		if strings.HasPrefix(line, "Benchmark") {
			b.print(t, "%s", line)
		}
	}
	fmt.Fprintln(&b.out, "```")
}

func percentile(microseconds []float64, share float64) time.Duration {
	if len(microseconds) == 0 {
		return 0
	}
	slices.Sort(microseconds)
	return time.Duration(microseconds[int(float64(len(microseconds)-1)*share)] * float64(time.Microsecond))
}
