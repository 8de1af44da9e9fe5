package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"

	"github.com/sidekey/sidekey/keysvc/audit"
)

func discard() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func open(t testing.TB, cfg audit.Config) *audit.Log {
	t.Helper()
	l, err := audit.Open(cfg, audit.ServiceKeysvc, discard())
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func closeLog(t *testing.T, l *audit.Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

func verify(t *testing.T, dir string) uint64 {
	t.Helper()
	n, _, err := audit.Verify(dir)
	if err != nil {
		t.Fatalf("Verify: %v", err)
	}
	return n
}

func TestOperationIsOnRecord(t *testing.T) {
	dir := t.TempDir()
	l := open(t, audit.Config{Dir: dir})
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
	ctx := audit.Extract(t.Context(), http.Header{"Traceparent": {parent}})
	ctx, op := l.Begin(ctx, audit.SpanKMS("Decrypt"), audit.Principal.String("app"))
	if audit.FromContext(ctx) != op {
		t.Error("FromContext does not return the operation")
	}
	if err := op.Durable(ctx); err != nil {
		t.Fatalf("Durable: %v", err)
	}
	spans, err := audit.ReadTrace([]string{dir}, "4bf92f3577b34da6a3ce929d0e0e4736")
	if err != nil || len(spans) != 1 || !spans[0].Unknown {
		t.Fatalf("ReadTrace before End = %+v, %v, want one span without an outcome", spans, err)
	}
	op.Child(ctx, audit.SpanHSMDecrypt, time.Now(), "", audit.Bytes.Int(32))
	op.Set(audit.KeyARN.String("arn:aws:kms:eu-west-1:1:key/a"), audit.Uses.Int(1))
	op.Set(audit.Uses.Int(2))
	if err := op.End("", audit.RequestID.String("r")); err != nil {
		t.Fatalf("End: %v", err)
	}
	if err := op.End("Again"); err != nil {
		t.Fatalf("second End: %v", err)
	}
	spans, err = audit.ReadTrace([]string{dir}, "4bf92f3577b34da6a3ce929d0e0e4736")
	if err != nil || len(spans) != 2 {
		t.Fatalf("ReadTrace = %d spans, %v, want 2", len(spans), err)
	}
	if got, want := spans[0].ParentSpanID, "00f067aa0ba902b7"; got != want {
		t.Errorf("parent = %s, want %s", got, want)
	}
	if got, want := spans[1].ParentSpanID, spans[0].SpanID; got != want {
		t.Errorf("child's parent = %s, want %s", got, want)
	}
	if spans[0].Unknown || spans[0].Code != "" || spans[0].Service != audit.ServiceKeysvc {
		t.Errorf("span = %+v, want a success of %s", spans[0], audit.ServiceKeysvc)
	}
	if got := spans[0].Attrs["sidekey.uses"]; got == nil || got.(interface{ String() string }).String() != "2" {
		t.Errorf("uses = %v, want the later value 2", got)
	}
	if got := verify(t, dir); got != 3 {
		t.Errorf("Verify counts %d records, want 3", got)
	}
}

func TestSampledFlagIsIgnored(t *testing.T) {
	l := open(t, audit.Config{Dir: t.TempDir()})
	for _, parent := range []string{"", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", "00-zz"} {
		ctx, op := l.Begin(audit.WithTraceparent(t.Context(), parent), "x")
		h := http.Header{}
		audit.Inject(ctx, h)
		got := h.Get("Traceparent")
		if !strings.HasSuffix(got, "-01") || !strings.HasPrefix(got, "00-"+op.TraceID()) {
			t.Errorf("traceparent after %q = %q, want it sampled and of trace %s", parent, got, op.TraceID())
		}
		if err := op.End(""); err != nil {
			t.Error(err)
		}
	}
}

func TestNilOpIsHarmless(t *testing.T) {
	op := audit.FromContext(context.Background())
	op.Set(audit.Uses.Int(1))
	op.Child(t.Context(), "x", time.Now(), "")
	if err := errors.Join(op.Durable(t.Context()), op.End("")); err != nil {
		t.Errorf("nil *Op: %v", err)
	}
	if op.TraceID() != "" {
		t.Errorf("TraceID = %q, want none", op.TraceID())
	}
}

func TestSecondWriterIsRefused(t *testing.T) {
	cfg := audit.Config{Dir: t.TempDir()}
	l := open(t, cfg)
	if _, err := audit.Open(cfg, "other", discard()); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Fatalf("second Open: %v, want a refusal", err)
	}
	closeLog(t, l)
	open(t, cfg)
}

func TestClosedLogFails(t *testing.T) {
	l := open(t, audit.Config{Dir: t.TempDir()})
	_, before := l.Begin(t.Context(), "before")
	closeLog(t, l)
	if err := before.Durable(t.Context()); err != nil {
		t.Errorf("Durable of an intent from before Close: %v", err)
	}
	_, after := l.Begin(t.Context(), "after")
	for _, err := range []error{after.Durable(t.Context()), after.End(""), before.End(""), l.Healthy()} {
		if !errors.Is(err, audit.ErrUnavailable) {
			t.Errorf("after Close: %v, want ErrUnavailable", err)
		}
	}
}

func TestGroupCommit(t *testing.T) {
	dir := t.TempDir()
	l := open(t, audit.Config{Dir: dir, SegmentBytes: 64 << 10})
	const workers, each = 32, 25
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range each {
				ctx, op := l.Begin(t.Context(), audit.SpanKMS("Encrypt"))
				var inner sync.WaitGroup
				for range 3 {
					inner.Go(func() { op.Child(ctx, audit.SpanHSMEncrypt, time.Now(), "") })
				}
				inner.Wait()
				if err := op.End(""); err != nil {
					t.Errorf("End: %v", err)
				}
			}
		})
	}
	wg.Go(func() {
		for range 20 { // a reader beside the writers
			if _, err := audit.List([]string{dir}, 5); err != nil {
				t.Errorf("List: %v", err)
			}
		}
	})
	wg.Wait()
	if got, want := verify(t, dir), uint64(workers*each*5); got != want {
		t.Errorf("records = %d, want %d", got, want)
	}
	closeLog(t, l)
	open(t, audit.Config{Dir: dir})
	segments, _ := filepath.Glob(filepath.Join(dir, "audit-*.jsonl"))
	if len(segments) < 5 {
		t.Errorf("segments = %d, want several", len(segments))
	}
}

// TestCompanyMayStayAway has ever fewer operations wait than the commit before
// had: nobody may wait for those that do not come again.
func TestCompanyMayStayAway(t *testing.T) {
	dir := t.TempDir()
	l := open(t, audit.Config{Dir: dir})
	records := uint64(0)
	for _, company := range []int{32, 5, 1, 1, 8, 0, 1} {
		var wg sync.WaitGroup
		for range company {
			wg.Go(func() {
				_, op := l.Begin(t.Context(), audit.SpanKMS("Decrypt"))
				if err := op.End(""); err != nil {
					t.Errorf("End: %v", err)
				}
			})
		}
		wg.Wait()
		records += uint64(2 * company)
		if got := verify(t, dir); got != records {
			t.Errorf("records after %d more operations = %d, want %d", company, got, records)
		}
	}
}

func TestChainContinuesOverReopen(t *testing.T) {
	dir := t.TempDir()
	for range 4 {
		l := open(t, audit.Config{Dir: dir, SegmentBytes: 1})
		for range 3 {
			_, op := l.Begin(t.Context(), "x")
			if err := op.End("Bad"); err != nil {
				t.Fatal(err)
			}
		}
		closeLog(t, l)
	}
	if got := verify(t, dir); got != 24 {
		t.Errorf("records = %d, want 24", got)
	}
}

// Whatever the lengths of records, and however often the log is opened again, each is
// there as it was, behind the one before it.
func TestRecordsOfAnyLength(t *testing.T) {
	dir, seed := t.TempDir(), rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	ctx := audit.Extract(t.Context(), http.Header{"Traceparent": {"00-" + trace + "-00f067aa0ba902b7-01"}})
	var want []map[string]any
	for range 8 {
		l := open(t, audit.Config{Dir: dir, SegmentBytes: 1 << 20})
		for range 60 {
			attrs := map[string]any{"number": fmt.Sprint(len(want))}
			for i := range random.IntN(8) * random.IntN(8) {
				attrs[fmt.Sprint("a", i)] = strings.Repeat("x", random.IntN(1000))
			}
			_, op := l.Begin(ctx, "x")
			for key, value := range attrs {
				op.Set(attribute.String(key, value.(string)))
			}
			if err := op.End(""); err != nil {
				t.Fatal(err)
			}
			want = append(want, attrs)
		}
		verify(t, dir)
		closeLog(t, l)
	}
	spans, err := audit.ReadTrace([]string{dir}, trace)
	if err != nil {
		t.Fatal(err)
	}
	var got []map[string]any
	for _, span := range spans {
		got = append(got, span.Attrs)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("seed %d: attributes (-want +got):\n%s", seed, diff)
	}
}

func TestTornLastLineIsCut(t *testing.T) {
	for name, tail := range map[string]string{
		"half a line": `{"seq":3,"prev":"abc`,
		"nothing":     "",
		"zeros":       strings.Repeat("\x00", 700),
		"both":        `{"seq":3,"prev":"abc` + strings.Repeat("\x00", 2<<20),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l := open(t, audit.Config{Dir: dir})
			_, op := l.Begin(t.Context(), "x")
			if err := op.End(""); err != nil {
				t.Fatal(err)
			}
			closeLog(t, l)
			path := onlySegment(t, dir)
			whole := read(t, path)
			write(t, path, append(whole, tail...))
			if n := verify(t, dir); n != 2 {
				t.Errorf("a reader counts %d records, want 2", n)
			}
			l = open(t, audit.Config{Dir: dir})
			if got := read(t, path); !bytes.Equal(got, whole) {
				t.Errorf("after recovery the segment has %d bytes, want %d", len(got), len(whole))
			}
			_, op = l.Begin(t.Context(), "y")
			if err := op.End(""); err != nil {
				t.Fatal(err)
			}
			if n := verify(t, dir); n != 4 {
				t.Errorf("records = %d, want 4", n)
			}
		})
	}
}

// What a crash left of pages that were written out of order was never acknowledged.
func TestDataBehindZerosIsCut(t *testing.T) {
	dir := t.TempDir()
	l := open(t, audit.Config{Dir: dir})
	operate(t, l, 2)
	closeLog(t, l)
	path := onlySegment(t, dir)
	whole := read(t, path)
	write(t, path, append(append(whole, make([]byte, 4096)...), "half a line\n"...))
	if _, _, err := audit.Verify(dir); err == nil || !strings.Contains(err.Error(), "behind zeros") {
		t.Errorf("Verify = %v, want an error about data behind zeros", err)
	}
	open(t, audit.Config{Dir: dir})
	if got := read(t, path); !bytes.Equal(got, whole) {
		t.Errorf("after recovery the segment has %d bytes, want %d", len(got), len(whole))
	}
	kept, err := filepath.Glob(filepath.Join(dir, "torn-*"))
	if err != nil || len(kept) != 1 || !bytes.HasSuffix(read(t, kept[0]), []byte("half a line\n")) {
		t.Errorf("kept: %v, %v", kept, err)
	}
}

// More behind zeros than a write can hold is damage, and nothing is cut off.
func TestMuchBehindZerosIsRefused(t *testing.T) {
	dir := t.TempDir()
	l := open(t, audit.Config{Dir: dir})
	operate(t, l, 2)
	closeLog(t, l)
	path := onlySegment(t, dir)
	damaged := append(append(read(t, path), make([]byte, 33<<20)...), "a record\n"...)
	write(t, path, damaged)
	if _, err := audit.Open(audit.Config{Dir: dir}, "x", discard()); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("Open = %v, want an error that names %s", err, path)
	}
	if got := len(read(t, path)); got != len(damaged) {
		t.Errorf("the segment has %d bytes, had %d", got, len(damaged))
	}
}

// A zero that somebody puts into a record must not hide it and those behind it.
func TestZeroHidesNothing(t *testing.T) {
	dir := t.TempDir()
	l := open(t, audit.Config{Dir: dir})
	operate(t, l, 3)
	path := onlySegment(t, dir)
	good := read(t, path)
	closeLog(t, l)
	for name, at := range map[string]int{"first byte of a line": bytes.IndexByte(good, '\n') + 1, "within a line": bytes.IndexByte(good, '\n') + 100} {
		damaged := bytes.Clone(good)
		damaged[at] = 0
		write(t, path, damaged)
		if _, _, err := audit.Verify(dir); err == nil {
			t.Errorf("%s: Verify finds nothing", name)
		}
	}
}

// The segment that is written to ends in zeros; one that is finished does not.
func TestZerosAreAheadOnlyOfAWriter(t *testing.T) {
	dir := t.TempDir()
	l := open(t, audit.Config{Dir: dir, SegmentBytes: 3000})
	operate(t, l, 10)
	segments, err := filepath.Glob(filepath.Join(dir, "audit-*.jsonl"))
	if err != nil || len(segments) < 3 {
		t.Fatalf("segments = %v, %v", segments, err)
	}
	for i, path := range segments {
		b := read(t, path)
		if zeros := bytes.IndexByte(b, 0) >= 0; zeros && i < len(segments)-1 {
			t.Errorf("%s is finished, and holds zeros", path)
		}
	}
	verify(t, dir)
	closeLog(t, l)
	if b := read(t, segments[len(segments)-1]); bytes.IndexByte(b, 0) >= 0 {
		t.Error("a log that was closed ends in zeros")
	}
	one := t.TempDir()
	l = open(t, audit.Config{Dir: one})
	operate(t, l, 1)
	if b := read(t, onlySegment(t, one)); b[len(b)-1] != 0 {
		t.Error("nothing is written ahead")
	}
	verify(t, one)
}

func TestDamageIsRefused(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"changed byte":  func(b []byte) []byte { return bytes.Replace(b, []byte(`"name":"b"`), []byte(`"name":"c"`), 1) },
		"line removed":  func(b []byte) []byte { i := bytes.IndexByte(b, '\n'); return b[i+1:] },
		"line repeated": func(b []byte) []byte { i := bytes.IndexByte(b, '\n'); return append(b[:i+1:i+1], b...) },
		"garbage line":  func(b []byte) []byte { return append(b, "{}\n"...) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l := open(t, audit.Config{Dir: dir})
			for range 3 {
				_, op := l.Begin(t.Context(), "b")
				if err := op.End(""); err != nil {
					t.Fatal(err)
				}
			}
			closeLog(t, l)
			path := onlySegment(t, dir)
			write(t, path, damage(read(t, path)))
			_, err := audit.Open(audit.Config{Dir: dir}, "x", discard())
			if err == nil || !strings.Contains(err.Error(), path+":") {
				t.Errorf("Open = %v, want an error that names %s and a line", err, path)
			}
			if _, _, err := audit.Verify(dir); err == nil {
				t.Error("Verify finds nothing")
			}
		})
	}
}

func TestMissingSegmentIsRefused(t *testing.T) {
	dir := t.TempDir()
	l := open(t, audit.Config{Dir: dir, SegmentBytes: 1})
	for range 3 {
		_, op := l.Begin(t.Context(), "b")
		if err := op.End(""); err != nil {
			t.Fatal(err)
		}
	}
	closeLog(t, l)
	segments, err := filepath.Glob(filepath.Join(dir, "audit-*.jsonl"))
	if err != nil || len(segments) < 3 {
		t.Fatalf("segments = %v, %v", segments, err)
	}
	if err := os.Remove(segments[len(segments)-2]); err != nil {
		t.Fatal(err)
	}
	if _, err := audit.Open(audit.Config{Dir: dir}, "x", discard()); err == nil {
		t.Error("Open accepts a log with a segment missing")
	}
}

func TestAnyBytesBecomeJSON(t *testing.T) {
	dir := t.TempDir()
	l := open(t, audit.Config{Dir: dir})
	ugly := "\x00\xff\"\\\n\x7f\u2028é\xc3" + strings.Repeat("é", 2000)
	attrs := []attribute.KeyValue{
		attribute.String(ugly, ugly), audit.S3Key.String(ugly),
		audit.Columns.StringSlice([]string{"a", ugly, "b"}),
		attribute.Float64("f", 2), attribute.Bool("ok", true), attribute.Int64Slice("n", []int64{1, 2}),
	}
	_, op := l.Begin(t.Context(), ugly, attrs...)
	if err := op.End(ugly); err != nil {
		t.Fatal(err)
	}
	spans, err := audit.ReadTrace([]string{dir}, op.TraceID())
	if err != nil || len(spans) != 1 {
		t.Fatalf("ReadTrace = %v, %v", spans, err)
	}
	got, _ := spans[0].Attrs["aws.s3.key"].(string)
	if want := "\x00\ufffd\"\\\n\x7f\u2028é\ufffd"; !strings.HasPrefix(got, want) {
		t.Errorf("value = %q, want prefix %q", got[:20], want)
	}
	if len(got) > 1100 {
		t.Errorf("value has %d bytes, want it cut to about 1024", len(got))
	}
	closeLog(t, l)
	open(t, audit.Config{Dir: dir})
}

func TestRandomBytesBecomeJSON(t *testing.T) {
	dir := t.TempDir()
	l := open(t, audit.Config{Dir: dir})
	ctx, op := l.Begin(t.Context(), "x")
	for range 2000 {
		b := make([]byte, rand.N(1500))
		for i := range b {
			b[i] = byte(rand.N(256))
		}
		op.Child(ctx, string(b[:min(5, len(b))]), time.Now(), "", audit.Reason.String(string(b)), attribute.Bool(string(b[:min(9, len(b))]), true))
	}
	if err := op.End(""); err != nil {
		t.Fatal(err)
	}
	if spans, err := audit.ReadTrace([]string{dir}, op.TraceID()); err != nil || len(spans) != 2001 {
		t.Fatalf("ReadTrace = %d spans, %v, want 2001", len(spans), err)
	}
}

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		cfg  audit.Config
		want string
	}{
		{audit.Config{}, "dir: missing"},
		{audit.Config{Dir: "d", SegmentBytes: -1}, "segment_bytes: -1 is negative"},
		{audit.Config{Dir: "d", OTLP: audit.OTLPConfig{Endpoint: "ftp://x"}}, `otlp.endpoint: scheme "ftp" is none of http, https, grpc, grpcs`},
		{audit.Config{Dir: "d", OTLP: audit.OTLPConfig{Endpoint: "http:///x"}}, "otlp.endpoint: no host"},
	} {
		err := tt.cfg.Validate()
		if err == nil || err.Error() != tt.want {
			t.Errorf("Validate(%+v) = %v, want %s", tt.cfg, err, tt.want)
		}
	}
	ok := audit.Config{Dir: "d", OTLP: audit.OTLPConfig{Endpoint: "grpc://127.0.0.1:4317"}}
	if err := ok.Validate(); err != nil {
		t.Errorf("Validate: %v", err)
	}
}

func TestNamesAreDocumented(t *testing.T) {
	if diff := cmp.Diff(namesInSource(t), namesInTable(t)); diff != "" {
		t.Errorf("names.go and AUDIT.md differ (-code +table):\n%s", diff)
	}
}

func onlySegment(t *testing.T, dir string) string {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(dir, "audit-*.jsonl"))
	if err != nil || len(segments) != 1 {
		t.Fatalf("segments = %v, %v, want one", segments, err)
	}
	return segments[0]
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
