package audit_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sidekey/sidekey/keysvc/audit"
)

func TestWriteTree(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	span := func(id, parent, service, name string, from, to time.Duration) audit.Span {
		return audit.Span{TraceID: trace, SpanID: id, ParentSpanID: parent, Service: service, Name: name, Start: at(from), End: at(to)}
	}
	get := span("b", "a", "sidekey-proxy", "s3.GetObject", 0, 3400*time.Microsecond)
	get.Attrs = map[string]any{"aws.s3.bucket": "b", "aws.s3.key": "a key"}
	dec := span("c", "b", "sidekey-keysvc", "kms.Decrypt", 1, 1200001)
	dec.Attrs = map[string]any{"sidekey.principal": "app", "sidekey.key.arn": "arn:x", "sidekey.uses": json.Number("3"),
		"sidekey.encryption_context.keys": []any{"k", "l"}}
	hsm := span("d", "c", "sidekey-keysvc", "hsm.decrypt", 2, 31002)
	hsm.Code = "CKR_DEVICE_ERROR"
	lost := span("e", "b", "sidekey-proxy", "datakey.use", 5, 0)
	lost.Unknown = true
	evil := span("f", "", "sidekey-proxy", "x\x1b[2J", 9, 10)
	var b strings.Builder
	if err := audit.WriteTree(&b, []audit.Span{get, dec, hsm, lost, evil}); err != nil {
		t.Fatal(err)
	}
	want := `trace 4bf92f3577b34da6a3ce929d0e0e4736
├─ span a (remote parent)
│  └─ [sidekey-proxy] s3.GetObject  3.4ms  ok  s3.bucket=b s3.key="a key"
│     ├─ [sidekey-keysvc] kms.Decrypt  1.2ms  ok  encryption_context.keys=k,l key=arn:x principal=app uses=3
│     │  └─ hsm.decrypt  31µs  CKR_DEVICE_ERROR
│     └─ datakey.use  outcome unknown
└─ [sidekey-proxy] "x\x1b[2J"  0s  ok
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
}

// Codes are the word of peers: a server that answers with a made-up one neither
// passes for success nor reaches the terminal.
func TestCodesDoNotDeceive(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for code, want := range map[string]string{
		"":                     "ok",
		"ok":                   `"ok"`,
		"ok  principal=eve":    `"ok  principal=eve"`,
		"\x1b]0;x\x07\u009b2J": `"\x1b]0;x\a\u009b2J"`,
		"42501":                "42501",
	} {
		var tree strings.Builder
		span := audit.Span{TraceID: "t", SpanID: "a", Service: "s", Name: "n", Code: code, Start: start, End: start}
		if err := audit.WriteTree(&tree, []audit.Span{span}); err != nil {
			t.Fatal(err)
		}
		if got := "trace t\n└─ [s] n  0s  " + want + "\n"; tree.String() != got {
			t.Errorf("tree %q, want %q", tree.String(), got)
		}
		summary := audit.Summary{TraceID: "t", Service: "s", Name: "n", Start: start, Spans: 1}
		if code != "" {
			summary.Codes = []string{code}
		}
		if got := "2026-01-02T03:04:05Z t [s] n  0s  1 spans  " + want; summary.String() != got {
			t.Errorf("line %q, want %q", summary.String(), got)
		}
	}
}

func TestTreeWithACircleEnds(t *testing.T) {
	var b strings.Builder
	spans := []audit.Span{{SpanID: "a", ParentSpanID: "b"}, {SpanID: "b", ParentSpanID: "a"}, {SpanID: "c", ParentSpanID: "c"}}
	if err := audit.WriteTree(&b, spans); err != nil {
		t.Fatal(err)
	}
}

// A log that holds a made-up parent hides no record of an honest one.
func TestCircleHidesNothing(t *testing.T) {
	var b strings.Builder
	spans := []audit.Span{
		{Service: "sidekey-proxy", SpanID: "p", ParentSpanID: "p", Name: "made up"},
		{Service: "sidekey-keysvc", SpanID: "k", ParentSpanID: "p", Name: "kms.Decrypt"},
	}
	if err := audit.WriteTree(&b, spans); err != nil {
		t.Fatal(err)
	}
	if strings.Count(b.String(), "kms.Decrypt") != 1 || strings.Count(b.String(), "made up") != 1 {
		t.Errorf("tree is not whole:\n%s", b.String())
	}
}

// Nor does one that gives its spans the identifiers of another's.
func TestLogsDoNotOverwriteEachOther(t *testing.T) {
	honest, forged := t.TempDir(), t.TempDir()
	l := open(t, audit.Config{Dir: honest})
	_, op := l.Begin(t.Context(), audit.SpanKMS("Decrypt"))
	if err := op.End(""); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(honest, "audit-*.jsonl"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	lines, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	other := strings.ReplaceAll(string(lines), "kms.Decrypt", "s3.GetObject")
	write(t, filepath.Join(forged, filepath.Base(files[0])), []byte(other))
	spans, err := audit.ReadTrace([]string{honest, forged}, op.TraceID())
	if err != nil || len(spans) != 2 {
		t.Errorf("ReadTrace = %+v, %v, want both spans", spans, err)
	}
}

func TestReadAndListOverServices(t *testing.T) {
	proxyDir, keysvcDir := t.TempDir(), t.TempDir()
	proxy, err := audit.Open(audit.Config{Dir: proxyDir}, audit.ServiceProxy, discard())
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	keysvc := open(t, audit.Config{Dir: keysvcDir, SegmentBytes: 1})
	dirs := []string{proxyDir, keysvcDir}
	var ids []string
	for range 3 {
		ctx, op := proxy.Begin(t.Context(), audit.SpanS3("GetObject"))
		_, inner := keysvc.Begin(ctx, audit.SpanKMS("Decrypt"))
		if err := inner.End("AccessDeniedException"); err != nil {
			t.Fatal(err)
		}
		if err := op.End("AccessDenied"); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, op.TraceID())
	}
	list, err := audit.List(dirs, 2)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 || list[0].TraceID != ids[2] || list[1].TraceID != ids[1] {
		t.Fatalf("List = %+v, want the traces %v backwards", list, ids[1:])
	}
	if diff := cmp.Diff([]string{"AccessDenied", "AccessDeniedException"}, list[0].Codes); diff != "" {
		t.Errorf("codes (-want +got):\n%s", diff)
	}
	if list[0].Name != "s3.GetObject" || list[0].Spans != 2 || list[0].Unknown != 0 {
		t.Errorf("summary = %+v, want s3.GetObject with 2 spans", list[0])
	}
	spans, err := audit.ReadTrace(dirs, strings.ToUpper(ids[0]))
	if err != nil || len(spans) != 2 || spans[1].ParentSpanID != spans[0].SpanID {
		t.Errorf("ReadTrace = %+v, %v, want s3.GetObject and under it kms.Decrypt", spans, err)
	}
}
