package audit

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// WriteTree prints the spans of one trace as a tree:
//
//	trace 4bf92f3577b34da6a3ce929d0e0e4736
//	└─ span 00f067aa0ba902b7 (remote parent)
//	   └─ [sidekey-proxy] s3.GetObject  3.4ms  ok  bucket=b key=k
//	      └─ [sidekey-keysvc] kms.Decrypt  1.2ms  ok  principal=app
//	         └─ hsm.decrypt  31µs  ok
//
// A parent that the logs do not hold, such as the application's own span, is
// shown as a remote parent.
func WriteTree(w io.Writer, spans []Span) error {
	t := tree{w: bufio.NewWriter(w), children: map[string][]Span{}}
	known := map[string]bool{}
	for _, s := range spans {
		known[s.SpanID] = true
	}
	var roots []string // parents that are not in the logs; "" for none
	var traceID string
	for _, s := range spans {
		traceID = cmp.Or(traceID, s.TraceID)
		if !known[s.ParentSpanID] && !slices.Contains(roots, s.ParentSpanID) {
			roots = append(roots, s.ParentSpanID)
		}
		t.children[s.ParentSpanID] = append(t.children[s.ParentSpanID], s)
	}
	fmt.Fprintf(t.w, "trace %s\n", printable(traceID))
	for i, root := range roots {
		t.writeRoot(root, i == len(roots)-1)
	}
	for _, s := range spans { // what no root leads to must not go unseen
		if _, left := t.children[s.ParentSpanID]; left {
			fmt.Fprintf(t.w, "└─ span %s (parents in a circle)\n", printable(s.ParentSpanID))
			t.writeChildren(s.ParentSpanID, "   ", "", true)
		}
	}
	if err := t.w.Flush(); err != nil {
		return fmt.Errorf("writing trace: %w", err)
	}
	return nil
}

type tree struct {
	w        *bufio.Writer // keeps the first error
	children map[string][]Span
}

func (t *tree) writeRoot(id string, last bool) {
	if id == "" {
		t.writeChildren("", "", "", last)
		return
	}
	branch, indent := branches(last)
	fmt.Fprintf(t.w, "%sspan %s (remote parent)\n", branch, printable(id))
	t.writeChildren(id, indent, "", true)
}

// writeChildren takes the children from the map, so that parents that form a
// circle end.
func (t *tree) writeChildren(id, indent, service string, last bool) {
	list := t.children[id]
	delete(t.children, id)
	for i, s := range list {
		branch, deeper := branches(last && i == len(list)-1)
		fmt.Fprintf(t.w, "%s%s%s\n", indent, branch, describe(s, service))
		t.writeChildren(s.SpanID, indent+deeper, s.Service, true)
	}
}

func branches(last bool) (branch, indent string) {
	if last {
		return "└─ ", "   "
	}
	return "├─ ", "│  "
}

// describe names the service where it changes.
func describe(s Span, service string) string {
	var b strings.Builder
	if s.Service != service {
		fmt.Fprintf(&b, "[%s] ", printable(s.Service))
	}
	b.WriteString(printable(s.Name))
	switch {
	case s.Unknown:
		b.WriteString("  outcome unknown")
	default:
		fmt.Fprintf(&b, "  %s  %s", round(s.End.Sub(s.Start)), outcome(s.Code))
	}
	for i, k := range slices.Sorted(maps.Keys(s.Attrs)) {
		if i == 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, " %s=%s", printable(shortKey(k)), value(s.Attrs[k]))
	}
	return b.String()
}

// outcome keeps a code, which may be a peer's word, from posing as success or as
// attributes.
func outcome(code string) string {
	switch code {
	case "":
		return "ok"
	case "ok":
		return `"ok"`
	}
	return value(code)
}

// String is the line of a list. What comes from peers is quoted where it would
// reach the terminal as anything but text.
//
//	2026-01-02T03:04:05Z 4bf92f3577b34da6a3ce929d0e0e4736 [sidekey-proxy] s3.GetObject  3.4ms  2 spans  AccessDenied
func (s Summary) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s [%s] %s  %s  %d spans ", s.Start.UTC().Format(time.RFC3339), printable(s.TraceID),
		printable(s.Service), printable(s.Name), round(s.Duration), s.Spans)
	for _, code := range s.Codes {
		b.WriteString(" " + outcome(code))
	}
	if s.Unknown > 0 {
		fmt.Fprintf(&b, " %d without outcome", s.Unknown)
	}
	if len(s.Codes) == 0 && s.Unknown == 0 {
		b.WriteString(" ok")
	}
	return b.String()
}

func shortKey(k string) string {
	if k == string(KeyARN) {
		return "key"
	}
	k = strings.TrimPrefix(k, "sidekey.")
	return strings.TrimPrefix(k, "aws.")
}

func value(v any) string {
	switch v := v.(type) {
	case string:
		if v == "" || strings.ContainsAny(v, " =\"") {
			return fmt.Sprintf("%q", v)
		}
		return printable(v)
	case []any:
		list := make([]string, len(v))
		for i := range v {
			list[i] = value(v[i])
		}
		return strings.Join(list, ",")
	case json.Number:
		return v.String()
	}
	return printable(fmt.Sprint(v))
}

// printable keeps what a caller put into a name away from the terminal.
func printable(s string) string {
	q := fmt.Sprintf("%q", s)
	if q[1:len(q)-1] == s {
		return s
	}
	return q
}

func round(d time.Duration) time.Duration {
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond)
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(100 * time.Nanosecond)
}
