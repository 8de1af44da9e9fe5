package audit_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"golang.org/x/sys/unix"

	"github.com/sidekey/sidekey/keysvc/audit"
)

// TestMain lets the test binary be the process that is killed or limited.
func TestMain(m *testing.M) {
	switch os.Getenv("SIDEKEY_AUDIT_CHILD") {
	case "operate":
		childOperate()
	case "limited":
		childLimited()
	}
	os.Exit(m.Run())
}

// childOperate runs operations for ever and prints the trace of each one that
// End acknowledged.
func childOperate() {
	l, err := audit.Open(audit.Config{
		Dir:          os.Getenv("SIDEKEY_AUDIT_DIR"),
		SegmentBytes: 256 << 10,
		OTLP:         audit.OTLPConfig{Endpoint: os.Getenv("SIDEKEY_AUDIT_OTLP")},
	}, audit.ServiceKeysvc, discard())
	if err != nil {
		fatal(err)
	}
	_, long := l.Begin(context.Background(), audit.SpanPostgresSession)
	if err := long.Durable(context.Background()); err != nil {
		fatal(err)
	}
	fmt.Println("open", long.TraceID())
	var mu sync.Mutex
	for range 8 {
		go func() {
			for {
				_, op := l.Begin(context.Background(), audit.SpanKMS("Decrypt"))
				if err := op.End(""); err != nil {
					fatal(err)
				}
				mu.Lock()
				fmt.Println("ended", op.TraceID())
				mu.Unlock()
			}
		}()
	}
	select {}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(3)
}

func TestSIGKILLLosesNothingAcknowledged(t *testing.T) {
	c := newCollector()
	srv := httptest.NewServer(c)
	defer srv.Close()
	dir := t.TempDir()
	var ended, left []string
	for round := range 3 {
		e, o := killed(t, dir, srv.URL, 200*(round+1))
		ended = append(ended, e...)
		left = append(left, o)
	}
	onRecord := map[string]bool{}
	l := open(t, audit.Config{Dir: dir, OTLP: audit.OTLPConfig{Endpoint: srv.URL}})
	list, err := audit.List([]string{dir}, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		onRecord[s.TraceID] = s.Unknown == 0
	}
	for _, id := range ended {
		if !onRecord[id] {
			t.Errorf("acknowledged operation %s is not on record", id)
		}
	}
	verify(t, dir)

	want := map[string]bool{}
	for _, id := range append(ended, left...) {
		want[id] = true
	}
	spans := c.waitFor(t, func(m map[string]*tracepb.Span) bool {
		got := map[string]bool{}
		for _, s := range m {
			got[fmt.Sprintf("%x", s.TraceId)] = true
		}
		for id := range want {
			if !got[id] {
				return false
			}
		}
		return true
	})
	for _, s := range spans {
		if s.Name == audit.SpanPostgresSession && s.Status.GetMessage() != "outcome unknown" {
			t.Errorf("status of an operation that a crash cut off = %v, want outcome unknown", s.Status)
		}
	}
	closeLog(t, l)
}

// killed runs a child until it has acknowledged n operations, kills it, and
// returns what it acknowledged and the trace of the operation it left open.
func killed(t *testing.T, dir, otlp string, n int) (ended []string, left string) {
	t.Helper()
	cmd := child(t, "operate", dir)
	cmd.Env = append(cmd.Env, "SIDEKEY_AUDIT_OTLP="+otlp)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		kind, id, ok := strings.Cut(lines.Text(), " ")
		switch {
		case !ok || len(id) != 32: // cut off by the kill
		case kind == "open":
			left = id
		default:
			ended = append(ended, id)
		}
		if len(ended) == n {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("child: %v, want it killed", err)
	}
	return ended, left
}

func child(t *testing.T, what, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "SIDEKEY_AUDIT_CHILD="+what, "SIDEKEY_AUDIT_DIR="+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

// childLimited fills a log up to a limit of file size, checks that operations
// fail, lifts the limit, and checks that they work.
func childLimited() {
	signal.Ignore(unix.SIGXFSZ)
	dir := os.Getenv("SIDEKEY_AUDIT_DIR")
	l, err := audit.Open(audit.Config{Dir: dir}, audit.ServiceKeysvc, discard())
	if err != nil {
		fatal(err)
	}
	ctx := context.Background()
	limit := func(n uint64) {
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: n, Max: unix.RLIM_INFINITY}); err != nil {
			fatal(err)
		}
	}
	good := 0
	limit(10_000)
	for ; ; good++ {
		_, op := l.Begin(ctx, "x")
		if err = op.End(""); err != nil {
			break
		}
	}
	if !errors.Is(err, audit.ErrUnavailable) || good == 0 || l.Healthy() == nil {
		fatal(fmt.Errorf("after %d operations on a full disk: %v, healthy %v", good, err, l.Healthy()))
	}
	if _, op := l.Begin(ctx, "x"); op.Durable(ctx) == nil {
		fatal(errors.New("Durable succeeds on a full disk"))
	}
	if _, _, err := audit.Verify(dir); err != nil {
		fatal(err)
	}
	_, over := l.Begin(ctx, "over the queue")
	for range 20_000 {
		over.Child(ctx, "y", time.Now(), "", audit.Reason.String(strings.Repeat("r", 1000)))
	}
	if err := over.Durable(ctx); !errors.Is(err, audit.ErrUnavailable) {
		fatal(fmt.Errorf("Durable with a full queue = %v", err))
	}
	limit(unix.RLIM_INFINITY)
	for l.Healthy() != nil {
		time.Sleep(time.Millisecond)
	}
	_, op := l.Begin(ctx, "x")
	if err := errors.Join(op.Durable(ctx), op.End("")); err != nil {
		fatal(err)
	}
	if err := over.End(""); !errors.Is(err, audit.ErrUnavailable) {
		fatal(fmt.Errorf("End of an operation that lost a record = %v", err))
	}
	if err := l.Close(); err != nil {
		fatal(err)
	}
	os.Exit(0)
}

func TestFileSizeLimit(t *testing.T) {
	dir := t.TempDir()
	if err := child(t, "limited", dir).Run(); err != nil {
		t.Fatalf("child: %v", err)
	}
	verify(t, dir)
	open(t, audit.Config{Dir: dir})
}

func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatalf("mounting a small file system (needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	filler := filepath.Join(dir, "filler")
	write(t, filler, make([]byte, 64<<10))
	l := open(t, audit.Config{Dir: filepath.Join(dir, "log"), SegmentBytes: 32 << 10})
	var ended []string
	var err error
	for err == nil {
		_, op := l.Begin(t.Context(), "x", audit.Reason.String(strings.Repeat("r", 500)))
		if err = op.End(""); err == nil {
			ended = append(ended, op.TraceID())
		}
	}
	if !errors.Is(err, audit.ErrUnavailable) {
		t.Fatalf("End on a full disk = %v, want ErrUnavailable", err)
	}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			_, op := l.Begin(t.Context(), "while full", audit.Reason.String(strings.Repeat("r", 1000)))
			if err := op.End(""); !errors.Is(err, audit.ErrUnavailable) {
				t.Errorf("End on a full disk = %v, want ErrUnavailable", err)
			}
		})
	}
	wg.Wait()
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	_, op := l.Begin(t.Context(), "after")
	for deadline := time.Now().Add(time.Minute); ; {
		if err = op.Durable(t.Context()); err == nil || time.Now().After(deadline) {
			break
		}
	}
	if err := errors.Join(err, op.End(""), l.Healthy()); err != nil {
		t.Fatalf("after space returned: %v", err)
	}
	ended = append(ended, op.TraceID())
	verify(t, filepath.Join(dir, "log"))
	for _, id := range ended {
		if spans, err := audit.ReadTrace([]string{filepath.Join(dir, "log")}, id); err != nil || len(spans) != 1 || spans[0].Unknown {
			t.Errorf("trace %s = %v, %v, want one whole span", id, spans, err)
		}
	}
	closeLog(t, l)
	open(t, audit.Config{Dir: filepath.Join(dir, "log")})
}
