// Package audit keeps the record of every use of a key: a durable,
// append-only, hash-chained log of JSON lines, written before an answer leaves
// and replayed from disk to an OpenTelemetry collector.
//
// An operation has two records: an intent when it begins and an outcome when
// it ends. Completed sub-operations (one HSM call, one use of a data key) have
// one record, a span. Records are enqueued without waiting; [Op.Durable] and
// [Op.End] wait until everything the operation enqueued is on disk. Whoever
// gets an error from them must not answer with data.
//
// The traces that a collector shows are a view of this log and never the
// record itself: no sampling applies, and a collector that is away loses
// nothing.
//
// The package imports nothing else of sidekey. AUDIT.md lists the names of
// spans and attributes.
package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"
)

// ErrUnavailable is wrapped by every failure of Durable and End: the record
// is not known to be on disk, so nothing may be answered.
var ErrUnavailable = errors.New("audit log unavailable")

// Config says where the log lives and where its spans go.
type Config struct {
	// Dir is the directory of the log, created with mode 0700. One process
	// at a time may write to it; any number may read.
	Dir string `yaml:"dir"`

	// SegmentBytes is the size at which a new file of the log is begun.
	// Zero means 64 MiB.
	SegmentBytes int64 `yaml:"segment_bytes"`

	// OTLP is the collector that the spans of the log are sent to. Without
	// an endpoint nothing is sent; the log is complete all the same.
	OTLP OTLPConfig `yaml:"otlp"`
}

// OTLPConfig names an OpenTelemetry collector.
type OTLPConfig struct {
	// Endpoint is http://host:4318 or https://host for OTLP over HTTP
	// (the path defaults to /v1/traces), or grpc://host:4317 or
	// grpcs://host:4317 for gRPC. Empty means no export.
	Endpoint string `yaml:"endpoint"`

	// HeaderFiles are headers sent with every export, for example an API key:
	// each name with the file that holds its value, white space around which
	// is ignored.
	HeaderFiles map[string]string `yaml:"header_files"`
}

const defaultSegmentBytes = 64 << 20

// Validate reports the first setting that cannot work, by its yaml key.
func (c *Config) Validate() error {
	if c.Dir == "" {
		return errors.New("dir: missing")
	}
	if c.SegmentBytes < 0 {
		return fmt.Errorf("segment_bytes: %d is negative", c.SegmentBytes)
	}
	if err := c.OTLP.Validate(); err != nil {
		return fmt.Errorf("otlp.%w", err)
	}
	return nil
}

// Validate reports an endpoint that cannot be used.
func (c *OTLPConfig) Validate() error {
	if c.Endpoint == "" {
		return nil
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil {
		return errors.New("endpoint: not a URL")
	}
	switch u.Scheme {
	case "http", "https", "grpc", "grpcs":
	default:
		return fmt.Errorf("endpoint: scheme %q is none of http, https, grpc, grpcs", u.Scheme)
	}
	if u.Host == "" {
		return errors.New("endpoint: no host")
	}
	return nil
}

// Log is an open audit log. Its methods may be called concurrently.
type Log struct {
	service string // JSON string, quoted
	log     *slog.Logger
	files   *segments // of the writer goroutine
	chain   chain     // of the writer goroutine
	out     []byte    // of the writer goroutine: chained lines not yet on disk

	wake chan struct{} // cap 1: the writer has something to do
	quit chan struct{} // closed by Close
	done chan struct{} // closed when the writer has ended
	lazy *time.Timer   // writes intents that nobody waits for

	patience *time.Timer   // of the writer goroutine: ends the wait for company
	took     time.Duration // of the writer goroutine: the last write

	mu       sync.Mutex
	pending  []byte    // guarded by mu: encoded bodies, one per line
	spare    []byte    // guarded by mu: the other buffer
	retained int       // guarded by mu: bytes that are not pending any more and not on disk yet
	enqueued uint64    // guarded by mu: records ever enqueued
	durable  uint64    // guarded by mu: of these, records on disk
	filling  *commit   // guarded by mu: the commit that takes new records
	writing  *commit   // guarded by mu: the commit being written, or nil
	expected int       // guarded by mu: operations that are likely to wait for the next one
	lastErr  error     // guarded by mu: of the last write, nil if it worked
	tail     position  // guarded by mu: end of what is on disk
	closed   bool      // guarded by mu
	export   *exporter // nil without an endpoint
}

// Open opens or creates the log in cfg.Dir for the named service. A torn last
// line, left by a crash, is cut off; it was never acknowledged. Any other
// damage is an error that names file and line. A second process is refused.
func Open(cfg Config, service string, log *slog.Logger) (*Log, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	if cfg.SegmentBytes == 0 {
		cfg.SegmentBytes = defaultSegmentBytes
	}
	files, ch, torn, err := openSegments(cfg.Dir, cfg.SegmentBytes)
	if err != nil {
		return nil, fmt.Errorf("opening audit log: %w", err)
	}
	if torn > 0 {
		log.Warn("audit log: cut off a torn last line", "dir", cfg.Dir, "bytes", torn)
	}
	if files.kept != "" {
		log.Error("audit log: what was cut off had data behind zeros, as a crash may leave it, or a damaged disk; it is kept", "file", files.kept)
	}
	l := &Log{
		service: string(appendString(nil, service, maxName)),
		log:     log,
		files:   files,
		chain:   ch,
		wake:    make(chan struct{}, 1),
		quit:    make(chan struct{}),
		done:    make(chan struct{}),
		filling: newCommit(),
		tail:    files.tail(),

		patience: time.NewTimer(time.Hour),
	}
	l.patience.Stop()
	l.lazy = time.AfterFunc(time.Hour, l.kick)
	l.lazy.Stop()
	if cfg.OTLP.Endpoint != "" {
		l.export, err = newExporter(cfg, service, l, ch.next)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("opening audit log: %w", err), files.close())
		}
		l.export.start()
	}
	go l.write()
	return l, nil
}

// Close writes what is enqueued, stops the export after a short last attempt,
// and frees the directory. Operations that go on after it fail.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.mu.Unlock()
	close(l.quit)
	<-l.done
	l.lazy.Stop()
	if l.export != nil {
		l.export.stop()
	}
	l.mu.Lock()
	err := l.lastErr
	l.mu.Unlock()
	if cerr := l.files.close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("closing audit log: %w", err)
	}
	return nil
}

// Healthy returns why the log could not be written last time, or nil.
func (l *Log) Healthy() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return fmt.Errorf("%w: closed", ErrUnavailable)
	}
	return l.lastErr
}

// RejectedSpans counts the spans that the collector refused twice. They stay
// in the log.
func (l *Log) RejectedSpans() uint64 {
	if l.export == nil {
		return 0
	}
	return l.export.rejected.Load()
}

// Flush waits until every record enqueued before it is on disk.
func (l *Log) Flush(ctx context.Context) error {
	l.mu.Lock()
	ticket := l.enqueued
	l.mu.Unlock()
	return l.wait(ctx, ticket)
}

func unavailable(err error) error {
	if errors.Is(err, ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
