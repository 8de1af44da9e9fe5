package audit

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/trace"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

const scopeName = "github.com/sidekey/sidekey/keysvc/audit"

// newClient returns a client that does not retry by itself: the exporter
// does, for ever.
func newClient(cfg OTLPConfig) (otlptrace.Client, error) {
	u, err := url.Parse(cfg.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("otlp.endpoint: %w", err)
	}
	headers, err := cfg.headers()
	if err != nil {
		return nil, err
	}
	if u.Scheme == "grpc" || u.Scheme == "grpcs" {
		opts := []otlptracegrpc.Option{
			otlptracegrpc.WithEndpoint(u.Host),
			otlptracegrpc.WithHeaders(headers),
			otlptracegrpc.WithTimeout(exportTimeout),
			otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{Enabled: false}),
		}
		if u.Scheme == "grpc" {
			opts = append(opts, otlptracegrpc.WithInsecure())
		}
		return otlptracegrpc.NewClient(opts...), nil
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	return otlptracehttp.NewClient(
		otlptracehttp.WithEndpointURL(u.String()),
		otlptracehttp.WithHeaders(headers),
		otlptracehttp.WithTimeout(exportTimeout),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: false}),
	), nil
}

func (c *OTLPConfig) headers() (map[string]string, error) {
	headers := make(map[string]string, len(c.HeaderFiles))
	for name, path := range c.HeaderFiles {
		value, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("otlp.header_files.%s: %w", name, err)
		}
		headers[name] = strings.TrimSpace(string(value))
	}
	return headers, nil
}

func (e *exporter) resource(spans []*tracepb.Span) []*tracepb.ResourceSpans {
	return []*tracepb.ResourceSpans{{
		Resource: &resourcepb.Resource{Attributes: []*commonpb.KeyValue{
			stringAttr("service.name", e.service),
			stringAttr("service.version", version()),
		}},
		ScopeSpans: []*tracepb.ScopeSpans{{
			Scope: &commonpb.InstrumentationScope{Name: scopeName},
			Spans: spans,
		}},
	}}
}

func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

// span maps a record to OTLP. An intent that gets here has no outcome and
// never will: its process has ended.
func (e *exporter) span(r *entry) *tracepb.Span {
	s := &tracepb.Span{
		TraceId:           unhex(r.TraceID),
		SpanId:            unhex(r.SpanID),
		ParentSpanId:      unhex(r.ParentSpanID),
		Name:              r.Name,
		Kind:              tracepb.Span_SPAN_KIND_SERVER,
		Flags:             uint32(trace.FlagsSampled),
		StartTimeUnixNano: nanos(r.Start),
		EndTimeUnixNano:   nanos(r.End),
		Attributes:        attrs(r.Attrs),
		Status:            &tracepb.Status{},
	}
	outcome := "ok"
	if r.Kind == kindSpan {
		s.Kind = tracepb.Span_SPAN_KIND_INTERNAL
	}
	if r.Kind == kindIntent {
		s.EndTimeUnixNano = s.StartTimeUnixNano
		outcome = "unknown"
		s.Status = &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR, Message: "outcome unknown"}
	}
	if r.Code != "" {
		outcome = r.Code
		s.Status = &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR, Message: r.Code}
	}
	if _, ok := r.Attrs[string(Outcome)]; !ok {
		s.Attributes = append(s.Attributes, stringAttr(string(Outcome), outcome))
	}
	return s
}

func nanos(t time.Time) uint64 { return uint64(t.UnixNano()) }

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) == 0 {
		return nil
	}
	return b
}

func attrs(m map[string]any) []*commonpb.KeyValue {
	list := make([]*commonpb.KeyValue, 0, len(m)+1)
	for _, k := range slices.Sorted(maps.Keys(m)) {
		list = append(list, &commonpb.KeyValue{Key: k, Value: anyValue(m[k])})
	}
	return list
}

func anyValue(v any) *commonpb.AnyValue {
	switch v := v.(type) {
	case bool:
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_BoolValue{BoolValue: v}}
	case json.Number:
		return number(v)
	case []any:
		list := &commonpb.ArrayValue{}
		for _, x := range v {
			list.Values = append(list.Values, anyValue(x))
		}
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_ArrayValue{ArrayValue: list}}
	}
	s, _ := v.(string)
	return &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: s}}
}

func number(n json.Number) *commonpb.AnyValue {
	if i, err := n.Int64(); err == nil && !strings.ContainsAny(n.String(), "eE.") {
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: i}}
	}
	f, _ := n.Float64()
	return &commonpb.AnyValue{Value: &commonpb.AnyValue_DoubleValue{DoubleValue: f}}
}

func stringAttr(k, v string) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: k, Value: anyValue(v)}
}
