package audit

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// Op is an operation that is on the record: a span that has begun. A nil *Op
// accepts every method and records nothing.
type Op struct {
	log    *Log
	name   string
	sc     trace.SpanContext
	parent trace.SpanID
	start  time.Time

	mu     sync.Mutex
	attrs  []attribute.KeyValue // guarded by mu
	ticket uint64               // guarded by mu: of the last record enqueued
	err    error                // guarded by mu: a record was not accepted
	ended  bool                 // guarded by mu
	result error                // guarded by mu: of End
}

type opKey struct{}

// Begin starts a span: it enqueues the intent record and does not wait for
// the disk. The parent is the span of ctx, also a remote one; without a
// parent a new trace begins. The caller's sampling decision is ignored:
// everything is recorded, and what follows is told so. The returned context
// carries the new span and the *Op.
func (l *Log) Begin(ctx context.Context, name string, attrs ...attribute.KeyValue) (context.Context, *Op) {
	parent := trace.SpanContextFromContext(ctx)
	sc := trace.SpanContextConfig{
		TraceID:    parent.TraceID(),
		SpanID:     newSpanID(),
		TraceFlags: parent.TraceFlags() | trace.FlagsSampled,
		TraceState: parent.TraceState(),
	}
	op := &Op{log: l, name: name, parent: parent.SpanID(), start: time.Now()}
	if !parent.IsValid() {
		sc.TraceID = newTraceID()
		op.parent = trace.SpanID{}
	}
	op.sc = trace.NewSpanContext(sc)
	op.attrs = append(make([]attribute.KeyValue, 0, len(attrs)+4), attrs...)
	op.ticket, op.err = l.append(&record{
		kind:    kindIntent,
		traceID: sc.TraceID,
		spanID:  sc.SpanID,
		parent:  op.parent,
		name:    name,
		start:   op.start,
		attrs:   op.attrs,
	}, op.start)
	ctx = trace.ContextWithSpanContext(ctx, op.sc)
	return context.WithValue(ctx, opKey{}, op), op
}

// FromContext returns the operation that ctx belongs to, or nil.
func FromContext(ctx context.Context) *Op {
	op, _ := ctx.Value(opKey{}).(*Op)
	return op
}

// TraceID returns the trace of the operation in hexadecimal, "" for nil.
func (o *Op) TraceID() string {
	if o == nil {
		return ""
	}
	return o.sc.TraceID().String()
}

// Set adds attributes to the outcome record. A key that is set again takes
// the later value.
func (o *Op) Set(attrs ...attribute.KeyValue) {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.set(attrs)
}

// set overwrites in place, so that an operation that sets a counter often
// does not grow. The caller holds mu.
func (o *Op) set(attrs []attribute.KeyValue) {
	for _, kv := range attrs {
		i := slices.IndexFunc(o.attrs, func(have attribute.KeyValue) bool { return have.Key == kv.Key })
		if i >= 0 {
			o.attrs[i] = kv
		} else if len(o.attrs) < maxAttrs {
			o.attrs = append(o.attrs, kv)
		}
	}
}

// Durable waits until the intent, and every Child so far, is on disk. It must
// be called before anything irreversible is done and before any plaintext
// leaves, if that happens before End.
func (o *Op) Durable(ctx context.Context) error {
	if o == nil {
		return nil
	}
	o.mu.Lock()
	ticket, err := o.ticket, o.err
	o.mu.Unlock()
	if err != nil {
		return err
	}
	return o.log.wait(ctx, ticket)
}

// End enqueues the outcome and waits until it, the intent and every Child are
// on disk. The code "" means success; any other is the error code of the
// caller's protocol. On an error the caller must not answer with data. A
// second End changes nothing and returns what the first one did.
//
// End waits also when the caller's client has gone away: the record is owed
// all the same. A disk that hangs ends the wait after some seconds.
func (o *Op) End(code string, attrs ...attribute.KeyValue) error {
	if o == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended {
		return o.result
	}
	o.ended = true
	o.set(attrs)
	end := time.Now()
	ticket, err := o.log.append(&record{
		kind:    kindOutcome,
		traceID: o.sc.TraceID(),
		spanID:  o.sc.SpanID(),
		parent:  o.parent,
		name:    o.name,
		start:   o.start,
		end:     o.start.Add(end.Sub(o.start)),
		code:    code,
		attrs:   o.attrs,
	}, end)
	if err == nil {
		err = o.log.wait(context.Background(), ticket)
	}
	if err == nil {
		err = o.err
	}
	o.result = err
	return err
}

// Child records a completed sub-span, from start until now, such as one call
// to the HSM. It does not wait; the next Durable or End of the operation does.
func (o *Op) Child(_ context.Context, name string, start time.Time, code string, attrs ...attribute.KeyValue) {
	if o == nil {
		return
	}
	now := time.Now()
	ticket, err := o.log.append(&record{
		kind:    kindSpan,
		traceID: o.sc.TraceID(),
		spanID:  newSpanID(),
		parent:  o.sc.SpanID(),
		name:    name,
		start:   start,
		end:     start.Add(now.Sub(start)),
		code:    code,
		attrs:   attrs,
	}, now)
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil && o.err == nil {
		o.err = err
	}
	o.ticket = max(o.ticket, ticket)
}

// Identifiers need only be unique; math/rand/v2's generator is seeded by the
// kernel.
func newTraceID() (id trace.TraceID) {
	for !id.IsValid() {
		binary.BigEndian.PutUint64(id[:8], rand.Uint64())
		binary.BigEndian.PutUint64(id[8:], rand.Uint64())
	}
	return id
}

func newSpanID() (id trace.SpanID) {
	for !id.IsValid() {
		binary.BigEndian.PutUint64(id[:], rand.Uint64())
	}
	return id
}
