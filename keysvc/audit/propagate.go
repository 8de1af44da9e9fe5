package audit

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/propagation"
)

// Extract puts the caller's span, from the W3C traceparent and tracestate
// headers, into ctx. A malformed or missing header leaves ctx as it is.
func Extract(ctx context.Context, h http.Header) context.Context {
	return propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(h))
}

// Inject writes the span of ctx into the W3C headers.
func Inject(ctx context.Context, h http.Header) {
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(h))
}

// WithTraceparent puts the span that a traceparent value names into ctx, for
// protocols without headers: SQL comments. A malformed value leaves ctx as it
// is.
func WithTraceparent(ctx context.Context, traceparent string) context.Context {
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": traceparent})
}
