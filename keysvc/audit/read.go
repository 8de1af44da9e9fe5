package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// Span is one span as the logs tell it.
type Span struct {
	Service      string
	TraceID      string // 32 hexadecimal digits
	SpanID       string // 16 hexadecimal digits
	ParentSpanID string // "" for a root
	Name         string
	Start        time.Time
	End          time.Time      // zero while the outcome is unknown
	Code         string         // "" is success
	Unknown      bool           // there is an intent and no outcome
	Attrs        map[string]any // string, bool, json.Number or []any
}

// Summary is one trace in a list.
type Summary struct {
	TraceID  string
	Name     string // of the first span
	Service  string // of the first span
	Start    time.Time
	Duration time.Duration
	Spans    int
	Codes    []string // error codes, each once, in order of appearance
	Unknown  int      // spans without an outcome
}

// entry is a line of the log as it is read.
type entry struct {
	Seq          uint64         `json:"seq"`
	Time         time.Time      `json:"time"`
	Kind         string         `json:"kind"`
	Service      string         `json:"service"`
	TraceID      string         `json:"trace_id"`
	SpanID       string         `json:"span_id"`
	ParentSpanID string         `json:"parent_span_id"`
	Name         string         `json:"name"`
	Start        time.Time      `json:"start"`
	End          time.Time      `json:"end"`
	Code         string         `json:"code"`
	Attrs        map[string]any `json:"attrs"`
}

func decodeLine(line []byte) (*entry, error) {
	e := new(entry)
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	if err := d.Decode(e); err != nil {
		return nil, fmt.Errorf("decoding audit record: %w", err)
	}
	return e, nil
}

func (e *entry) span() Span {
	return Span{
		Service: e.Service, TraceID: e.TraceID, SpanID: e.SpanID, ParentSpanID: e.ParentSpanID,
		Name: e.Name, Start: e.Start, End: e.End, Code: e.Code, Attrs: e.Attrs,
		Unknown: e.Kind == kindIntent,
	}
}

// ReadTrace returns the spans of one trace from the logs in dirs, by start.
// The logs may be written to meanwhile. It does not verify the chain.
func ReadTrace(dirs []string, traceID string) ([]Span, error) {
	traceID = strings.ToLower(traceID)
	spans := spanSet{}
	for _, dir := range dirs {
		list, err := listSegments(dir)
		if err != nil {
			return nil, err
		}
		for _, first := range list {
			if err := readSegment(dir, first, []byte(traceID), func(e *entry) {
				if e.TraceID == traceID {
					spans.add(dir, e)
				}
			}); err != nil {
				return nil, err
			}
		}
	}
	return spans.sorted(), nil
}

// spanSet merges intents with their outcomes. Both are in one log, so that no log
// can take the place of another's records.
type spanSet map[spanKey]Span

type spanKey struct{ dir, span string }

func (s spanSet) add(dir string, e *entry) {
	key := spanKey{dir, e.SpanID}
	if _, ok := s[key]; ok && e.Kind == kindIntent {
		return
	}
	s[key] = e.span()
}

func (s spanSet) sorted() []Span {
	list := make([]Span, 0, len(s))
	for _, span := range s {
		list = append(list, span)
	}
	slices.SortFunc(list, func(a, b Span) int {
		if c := a.Start.Compare(b.Start); c != 0 {
			return c
		}
		return strings.Compare(a.SpanID, b.SpanID)
	})
	return list
}

// readSegment decodes the complete lines that hold the needle.
func readSegment(dir string, first uint64, needle []byte, fn func(*entry)) error {
	path := segmentPath(dir, first)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading audit log: %w", err)
	}
	defer f.Close()
	n := 0
	_, err = eachLine(f, func(line []byte, _ int64) error {
		n++
		if !bytes.Contains(line, needle) {
			return nil
		}
		e, err := decodeLine(line)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", path, n, err)
		}
		fn(e)
		return nil
	})
	return err
}

// List returns the n latest traces of the logs in dirs, newest first. It
// reads backwards by segment, and one segment further than it must, so that
// traces over a border are whole.
func List(dirs []string, n int) ([]Summary, error) {
	traces := map[string]spanSet{}
	for _, dir := range dirs {
		if err := listDir(dir, n, traces); err != nil {
			return nil, err
		}
	}
	list := make([]Summary, 0, len(traces))
	for id, spans := range traces {
		list = append(list, summarize(id, spans.sorted()))
	}
	slices.SortFunc(list, func(a, b Summary) int {
		if c := b.Start.Compare(a.Start); c != 0 {
			return c
		}
		return strings.Compare(a.TraceID, b.TraceID)
	})
	return list[:min(max(n, 0), len(list))], nil
}

func listDir(dir string, n int, traces map[string]spanSet) error {
	list, err := listSegments(dir)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	further := 1
	for _, first := range slices.Backward(list) {
		if len(seen) >= n {
			if further == 0 {
				return nil
			}
			further--
		}
		if err := readSegment(dir, first, nil, func(e *entry) {
			seen[e.TraceID] = true
			if traces[e.TraceID] == nil {
				traces[e.TraceID] = spanSet{}
			}
			traces[e.TraceID].add(dir, e)
		}); err != nil {
			return err
		}
	}
	return nil
}

func summarize(id string, spans []Span) Summary {
	s := Summary{
		TraceID: id, Name: spans[0].Name, Service: spans[0].Service,
		Start: spans[0].Start, Spans: len(spans),
	}
	for _, span := range spans {
		if span.Unknown {
			s.Unknown++
		}
		if span.Code != "" && !slices.Contains(s.Codes, span.Code) {
			s.Codes = append(s.Codes, span.Code)
		}
		s.Duration = max(s.Duration, span.End.Sub(s.Start))
	}
	return s
}
