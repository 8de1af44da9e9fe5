package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

const (
	exportBatch   = 512                    // spans per upload
	exportBytes   = 2 << 20                // of log per upload; collectors take 4 MiB
	exportGather  = 100 * time.Millisecond // lets spans come together
	exportTimeout = 10 * time.Second       // per upload
	exportGoodbye = 3 * time.Second        // for what is left at Close
	cursorEvery   = time.Second            // at most so often is the cursor saved
	backoffMin    = 100 * time.Millisecond
	backoffMax    = 30 * time.Second
)

// exporter replays the log from disk to a collector. It is one goroutine; it
// reads only what is durable and never blocks the log. A crash makes it send
// the spans since the last saved cursor again, with the same identifiers.
type exporter struct {
	dir      string
	service  string
	log      *slog.Logger
	source   *Log
	client   otlptrace.Client
	restart  uint64 // first record of this process; open intents before it have no outcome
	rejected atomic.Uint64

	wake   chan struct{}
	done   chan struct{}
	quit   chan struct{}      // closed by stop: finish what is under way
	cancel context.CancelFunc // breaks off what is under way

	// Of the goroutine:
	at      position
	seq     uint64 // of the record at at
	open    map[string]openIntent
	unsent  []*tracepb.Span // read, and not at the collector yet
	swept   bool            // intents before restart are dealt with
	saved   time.Time
	unsaved bool
}

// openIntent is an intent whose outcome has not been read yet.
type openIntent struct {
	at    position
	entry *entry
}

func newExporter(cfg Config, service string, source *Log, restart uint64) (*exporter, error) {
	client, err := newClient(cfg.OTLP)
	if err != nil {
		return nil, err
	}
	// Start does not connect; what it reports is configuration.
	if err := client.Start(context.Background()); err != nil {
		return nil, fmt.Errorf("otlp.endpoint: %w", err)
	}
	return &exporter{
		dir: cfg.Dir, service: service, log: source.log, source: source, client: client,
		restart: restart, wake: make(chan struct{}, 1), done: make(chan struct{}), quit: make(chan struct{}),
	}, nil
}

func (e *exporter) start() {
	ctx, cancel := context.WithCancel(context.Background())
	e.cancel = cancel
	go e.run(ctx)
}

func (e *exporter) stop() {
	close(e.quit)
	limit := time.AfterFunc(exportGoodbye, e.cancel)
	<-e.done
	limit.Stop()
	e.cancel()
}

func (e *exporter) stopping() bool {
	select {
	case <-e.quit:
		return true
	default:
		return false
	}
}

func (e *exporter) kick() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

func (e *exporter) run(ctx context.Context) {
	defer close(e.done)
	e.load()
	for !e.stopping() {
		if e.drain(ctx) {
			e.pause()
		}
	}
	e.goodbye(ctx)
}

// goodbye makes one last attempt for what is left.
func (e *exporter) goodbye(ctx context.Context) {
	for more := true; more; {
		if len(e.unsent) > 0 && e.upload(ctx, e.resource(e.unsent)) != nil {
			break
		}
		var err error
		if e.unsent, more, err = e.next(); err != nil {
			break
		}
		more = more || len(e.unsent) > 0
		e.unsaved = true
	}
	if len(e.unsent) == 0 {
		e.save()
	}
	if err := e.client.Stop(ctx); err != nil {
		e.log.Debug("audit export did not stop cleanly", "err", err)
	}
}

// load takes up the saved cursor; one that cannot be used starts the replay
// from the beginning, which sends spans twice but loses none.
func (e *exporter) load() {
	c, err := loadCursor(e.dir)
	if err == nil {
		err = c.there(e.dir)
	}
	if err == nil {
		e.open, err = e.loadOpen(c)
	}
	if err != nil {
		e.log.Warn("audit export starts from the beginning", "err", err)
		c, e.open = cursor{Seq: 1}, map[string]openIntent{}
	}
	e.at, e.seq = c.position, c.Seq
}

func (e *exporter) loadOpen(c cursor) (map[string]openIntent, error) {
	open := map[string]openIntent{}
	for _, at := range c.Open {
		found := errors.New("no record there")
		err := e.readFrom(at, func(line []byte, _ int64) error {
			entry, err := decodeLine(line)
			if err != nil {
				return err
			}
			open[entry.SpanID] = openIntent{at, entry}
			found = nil
			return errStop
		})
		if err = errors.Join(err, found); err != nil {
			return nil, fmt.Errorf("reading intent at %d:%d: %w", at.Segment, at.Offset, err)
		}
	}
	return open, nil
}

// pause waits for new records; it saves the cursor if that is due.
func (e *exporter) pause() {
	var save <-chan time.Time
	if e.unsaved {
		save = time.After(time.Until(e.saved.Add(cursorEvery)))
	}
	select {
	case <-e.wake:
		e.sleep(exportGather)
	case <-save:
		e.save()
	case <-e.quit:
	}
}

func (e *exporter) save() {
	if !e.unsaved {
		return
	}
	c := cursor{position: e.at, Seq: e.seq}
	for _, o := range e.open {
		c.Open = append(c.Open, o.at)
	}
	e.saved = time.Now()
	if err := c.save(e.dir); err != nil {
		e.log.Warn("audit export", "err", err)
		return
	}
	e.unsaved = false
}

// drain sends what there is. It reports false if it was stopped.
func (e *exporter) drain(ctx context.Context) bool {
	for {
		before := e.at
		spans, more, err := e.next()
		e.unsent = spans
		if len(spans) > 0 && !e.send(ctx, spans) {
			return false
		}
		e.unsent = nil
		if err != nil {
			e.log.Error("audit export cannot read the log", "err", err)
			return e.sleep(backoffMax)
		}
		if e.at != before || len(spans) > 0 {
			e.unsaved = true
		}
		if time.Since(e.saved) >= cursorEvery {
			e.save()
		}
		if !more || e.stopping() {
			return true
		}
	}
}

var errStop = errors.New("stop")

// next reads on, at most one batch, and moves the cursor in memory.
func (e *exporter) next() (spans []*tracepb.Span, more bool, err error) {
	e.source.mu.Lock()
	tail := e.source.tail
	e.source.mu.Unlock()
	if e.at.Segment == 0 {
		if err := e.nextSegment(); err != nil || e.at.Segment == 0 {
			return nil, false, err
		}
	}
	if e.at.Segment > tail.Segment {
		return nil, false, nil
	}
	if e.seq >= e.restart {
		spans = e.sweep(spans)
	}
	size := 0
	err = e.readFrom(e.at, func(line []byte, end int64) error {
		if size += len(line); len(spans) >= exportBatch || size > exportBytes {
			more = true
			return errStop
		}
		if e.at.Segment == tail.Segment && end > tail.Offset {
			return errStop
		}
		entry, err := decodeLine(line)
		if err != nil {
			return err
		}
		if entry.Seq >= e.restart {
			spans = e.sweep(spans)
		}
		spans = e.take(spans, entry)
		e.at.Offset, e.seq = end, entry.Seq+1
		return nil
	})
	if err != nil || more || e.at.Segment >= tail.Segment {
		if err == nil && e.seq >= e.restart {
			spans = e.sweep(spans)
		}
		return spans, more, err
	}
	return spans, true, e.nextSegment()
}

func (e *exporter) take(spans []*tracepb.Span, entry *entry) []*tracepb.Span {
	switch entry.Kind {
	case kindIntent:
		e.open[entry.SpanID] = openIntent{e.at, entry}
		return spans
	case kindOutcome:
		delete(e.open, entry.SpanID)
	}
	return append(spans, e.span(entry))
}

// sweep gives up on intents of processes that have ended.
func (e *exporter) sweep(spans []*tracepb.Span) []*tracepb.Span {
	if e.swept {
		return spans
	}
	e.swept = true
	for id, o := range e.open {
		if o.entry.Seq < e.restart {
			spans = append(spans, e.span(o.entry))
			delete(e.open, id)
		}
	}
	return spans
}

// nextSegment moves to the start of the segment after the current one, if
// there is one.
func (e *exporter) nextSegment() error {
	list, err := listSegments(e.dir)
	if err != nil {
		return err
	}
	i, found := slices.BinarySearch(list, e.at.Segment)
	if found {
		i++
	}
	if i < len(list) {
		e.at = position{Segment: list[i]}
	}
	return nil
}

func (e *exporter) readFrom(at position, fn func(line []byte, end int64) error) error {
	f, err := os.Open(segmentPath(e.dir, at.Segment))
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Seek(at.Offset, io.SeekStart); err != nil {
		return err
	}
	_, err = eachLine(f, func(line []byte, end int64) error { return fn(line, at.Offset+end) })
	if errors.Is(err, errStop) {
		return nil
	}
	return err
}

// send uploads until the collector has the spans. It reports false if it was
// stopped first; the saved cursor is then before them.
func (e *exporter) send(ctx context.Context, spans []*tracepb.Span) bool {
	req := e.resource(spans)
	delay := backoffMin
	partial := false
	for attempt := 1; ; attempt++ {
		err := e.upload(ctx, req)
		if err == nil {
			if attempt > 1 {
				e.log.Info("audit export works again", "attempts", attempt)
			}
			return true
		}
		if n, ok := rejectedSpans(err); ok {
			if partial || n == 0 {
				e.rejected.Add(n)
				e.log.Error("audit export: the collector refuses spans; they stay in the log", "spans", n, "err", err)
				return true
			}
			partial = true
			e.log.Warn("audit export: the collector refuses spans, sending again", "spans", n, "err", err)
			continue
		}
		e.log.Warn("audit export failed, will be tried again", "err", err, "attempt", attempt, "in", delay)
		if !e.sleep(delay/2 + rand.N(delay/2+1)) {
			return false
		}
		delay = min(2*delay, backoffMax)
	}
}

func (e *exporter) upload(ctx context.Context, req []*tracepb.ResourceSpans) error {
	ctx, cancel := context.WithTimeout(ctx, exportTimeout)
	defer cancel()
	return e.client.UploadTraces(ctx, req)
}

// partialSuccess is how both OTLP clients word it; their type is internal.
var partialSuccess = regexp.MustCompile(`^OTLP partial success: [^\n]*\((\d+) spans rejected\)$`)

func rejectedSpans(err error) (n uint64, ok bool) {
	m := partialSuccess.FindStringSubmatch(err.Error())
	if m == nil {
		return 0, false
	}
	n, perr := strconv.ParseUint(m[1], 10, 64)
	return n, perr == nil
}

// sleep reports false if it was cut short by stop.
func (e *exporter) sleep(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-e.quit:
		return false
	}
}
