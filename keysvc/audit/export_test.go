package audit_test

import (
	"context"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/keysvc/keysvctest"
)

// collector is a small OTLP receiver, over HTTP and gRPC.
type collector struct {
	coltracepb.UnimplementedTraceServiceServer

	changed chan struct{} // cap 1: something was received

	mu       sync.Mutex
	spans    map[string]*tracepb.Span // by span ID
	received int
	resource map[string]string
	reject   int // answer so many uploads with partial success
	refuse   int // answer so many uploads with 400
}

func newCollector() *collector {
	return &collector{spans: map[string]*tracepb.Span{}, changed: make(chan struct{}, 1)}
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	req := new(coltracepb.ExportTraceServiceRequest)
	if err != nil || proto.Unmarshal(body, req) != nil {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	refuse := c.refuse > 0
	c.refuse--
	c.mu.Unlock()
	if refuse {
		http.Error(w, "not now", http.StatusBadRequest)
		return
	}
	resp, err := c.Export(r.Context(), req)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	b, err := proto.Marshal(resp)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
	w.Write(b)
}

func (c *collector) Export(_ context.Context, req *coltracepb.ExportTraceServiceRequest) (*coltracepb.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer func() {
		select {
		case c.changed <- struct{}{}:
		default:
		}
	}()
	n := 0
	for _, rs := range req.ResourceSpans {
		c.resource = map[string]string{}
		for _, kv := range rs.Resource.Attributes {
			c.resource[kv.Key] = kv.Value.GetStringValue()
		}
		for _, ss := range rs.ScopeSpans {
			n += len(ss.Spans)
			for _, s := range ss.Spans {
				if c.reject <= 0 {
					c.spans[hex.EncodeToString(s.SpanId)] = s
				}
				c.received++
			}
		}
	}
	if c.reject > 0 {
		c.reject--
		return &coltracepb.ExportTraceServiceResponse{PartialSuccess: &coltracepb.ExportTracePartialSuccess{
			RejectedSpans: int64(n), ErrorMessage: "no"}}, nil
	}
	return new(coltracepb.ExportTraceServiceResponse), nil
}

// waitFor returns the spans once ok holds for them.
func (c *collector) waitFor(t *testing.T, ok func(map[string]*tracepb.Span) bool) map[string]*tracepb.Span {
	t.Helper()
	for {
		c.mu.Lock()
		if ok(c.spans) {
			defer c.mu.Unlock()
			return c.spans
		}
		c.mu.Unlock()
		select {
		case <-c.changed:
		case <-time.After(time.Minute):
			t.Fatal("the collector does not get the spans")
		}
	}
}

func (c *collector) waitCount(t *testing.T, n int) map[string]*tracepb.Span {
	t.Helper()
	return c.waitFor(t, func(m map[string]*tracepb.Span) bool { return len(m) >= n })
}

func operate(t *testing.T, l *audit.Log, n int) {
	t.Helper()
	for range n {
		ctx, op := l.Begin(t.Context(), audit.SpanKMS("Decrypt"), audit.Principal.String("app"))
		op.Child(ctx, audit.SpanHSMDecrypt, time.Now(), "", audit.Bytes.Int(32))
		if err := op.End(""); err != nil {
			t.Fatalf("End: %v", err)
		}
	}
}

func TestExport(t *testing.T) {
	c := newCollector()
	srv := httptest.NewServer(c)
	defer srv.Close()
	l := open(t, audit.Config{Dir: t.TempDir(), OTLP: audit.OTLPConfig{Endpoint: srv.URL}})
	ctx := audit.WithTraceparent(t.Context(), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00")
	ctx, op := l.Begin(ctx, audit.SpanKMS("Decrypt"), audit.Principal.String("app"), audit.Uses.Int(7))
	op.Child(ctx, audit.SpanHSMDecrypt, time.Now(), "CKR_FUNCTION_FAILED")
	if err := op.End("KMSInternalException", audit.Columns.StringSlice([]string{"a", "b"})); err != nil {
		t.Fatal(err)
	}
	c.waitCount(t, 2)
	closeLog(t, l)
	var decrypt, child *tracepb.Span
	for _, s := range c.spans {
		if s.Name == "kms.Decrypt" {
			decrypt = s
		} else {
			child = s
		}
	}
	if got, want := hex.EncodeToString(decrypt.TraceId), op.TraceID(); got != want {
		t.Errorf("trace = %s, want %s", got, want)
	}
	if got := hex.EncodeToString(decrypt.ParentSpanId); got != "00f067aa0ba902b7" {
		t.Errorf("parent = %s, want the caller's span", got)
	}
	if string(child.ParentSpanId) != string(decrypt.SpanId) {
		t.Error("the child's parent is not the operation")
	}
	if decrypt.Status.GetCode() != tracepb.Status_STATUS_CODE_ERROR || decrypt.Status.GetMessage() != "KMSInternalException" {
		t.Errorf("status = %v, want the error code", decrypt.Status)
	}
	got := map[string]string{}
	for _, kv := range decrypt.Attributes {
		got[kv.Key] = kv.Value.String()
	}
	for k, want := range map[string]string{"sidekey.principal": "app", "sidekey.outcome": "KMSInternalException"} {
		if got[k] == "" || !containsValue(decrypt, k, want) {
			t.Errorf("attribute %s = %s, want %s", k, got[k], want)
		}
	}
	if c.resource["service.name"] != audit.ServiceKeysvc || c.resource["service.version"] == "" {
		t.Errorf("resource = %v, want name and version", c.resource)
	}
	if c.received != 2 {
		t.Errorf("received %d spans, want each once", c.received)
	}
}

func containsValue(s *tracepb.Span, key, want string) bool {
	for _, kv := range s.Attributes {
		if kv.Key == key && kv.Value.GetStringValue() == want {
			return true
		}
	}
	return false
}

func TestExportGRPC(t *testing.T) {
	c := newCollector()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	coltracepb.RegisterTraceServiceServer(srv, c)
	go srv.Serve(ln)
	defer srv.Stop()
	l := open(t, audit.Config{Dir: t.TempDir(), OTLP: audit.OTLPConfig{Endpoint: "grpc://" + ln.Addr().String()}})
	operate(t, l, 3)
	c.waitCount(t, 6)
	c.mu.Lock()
	c.reject = 2
	c.mu.Unlock()
	operate(t, l, 1)
	waitRejected(t, l, 2)
}

func TestExportCatchesUp(t *testing.T) {
	// An address where nothing listens yet.
	addr, err := keysvctest.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	cfg := audit.Config{Dir: t.TempDir(), SegmentBytes: 4 << 10, OTLP: audit.OTLPConfig{Endpoint: "http://" + addr}}
	l := open(t, cfg)
	operate(t, l, 20)
	closeLog(t, l)
	l = open(t, cfg)
	operate(t, l, 20)

	c := newCollector()
	c.refuse = 2
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: c}
	go srv.Serve(ln)
	defer srv.Close()
	c.waitCount(t, 80)
	closeLog(t, l)

	before := c.received
	l = open(t, cfg)
	operate(t, l, 1)
	c.waitCount(t, 82)
	closeLog(t, l)
	if got := c.received - before; got != 2 {
		t.Errorf("after a clean stop %d spans are sent, want only the 2 new ones", got)
	}
}

func TestBadCursorStartsOver(t *testing.T) {
	c := newCollector()
	srv := httptest.NewServer(c)
	defer srv.Close()
	cfg := audit.Config{Dir: t.TempDir(), OTLP: audit.OTLPConfig{Endpoint: srv.URL}}
	l := open(t, cfg)
	operate(t, l, 2)
	closeLog(t, l)
	for _, bad := range []string{"", "{", `{"segment":1,"offset":0,"seq":1,"open":[{"segment":9,"offset":3}]}`} {
		write(t, filepath.Join(cfg.Dir, "otlp.cursor"), []byte(bad))
		c.mu.Lock()
		clear(c.spans)
		c.mu.Unlock()
		l := open(t, cfg)
		c.waitCount(t, 4)
		closeLog(t, l)
	}
}

func TestPartialSuccessIsCounted(t *testing.T) {
	c := newCollector()
	srv := httptest.NewServer(c)
	defer srv.Close()
	l := open(t, audit.Config{Dir: t.TempDir(), OTLP: audit.OTLPConfig{Endpoint: srv.URL}})
	c.mu.Lock()
	c.reject = 1
	c.mu.Unlock()
	operate(t, l, 1)
	c.waitCount(t, 2)
	if got := l.RejectedSpans(); got != 0 {
		t.Errorf("rejected = %d after a successful second attempt, want 0", got)
	}
	c.mu.Lock()
	c.reject = 2
	c.mu.Unlock()
	operate(t, l, 1)
	waitRejected(t, l, 2)
	operate(t, l, 1)
	c.waitCount(t, 4)
}

func waitRejected(t *testing.T, l *audit.Log, want uint64) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); l.RejectedSpans() != want; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("rejected = %d, want %d", l.RejectedSpans(), want)
		}
	}
}

func TestCursorIsPrivate(t *testing.T) {
	c := newCollector()
	srv := httptest.NewServer(c)
	defer srv.Close()
	dir := filepath.Join(t.TempDir(), "log")
	l := open(t, audit.Config{Dir: dir, OTLP: audit.OTLPConfig{Endpoint: srv.URL}})
	operate(t, l, 1)
	closeLog(t, l)
	for _, name := range []string{"", "otlp.cursor", "audit-00000000000000000001.jsonl"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("mode of %q = %v, want it private", name, info.Mode())
		}
	}
}
