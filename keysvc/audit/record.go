package audit

import (
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// Kinds of records.
const (
	kindIntent  = "intent"
	kindOutcome = "outcome"
	kindSpan    = "span"
)

// Bounds on what callers hand in, in bytes before escaping. Together they
// keep a line below maxLine.
const (
	maxName  = 256
	maxKey   = 128
	maxValue = 1 << 10
	maxAttrs = 64
)

// record is what a caller enqueues. The writer puts seq and prev before it:
//
//	{"seq":7,"prev":"<base64 SHA-256 of line 6>","time":…,"kind":…,…}
type record struct {
	kind    string
	traceID trace.TraceID
	spanID  trace.SpanID
	parent  trace.SpanID
	name    string
	start   time.Time
	end     time.Time // zero in an intent
	code    string
	attrs   []attribute.KeyValue
}

// appendBody appends the record from "time" on, up to and with the closing
// brace, and a line feed.
func (r *record) appendBody(b []byte, service string, now time.Time) []byte {
	b = append(b, `"time":"`...)
	b = now.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","kind":"`...)
	b = append(b, r.kind...)
	b = append(b, `","service":`...)
	b = append(b, service...)
	b = append(b, `,"trace_id":"`...)
	b = appendHex(b, r.traceID[:])
	b = append(b, `","span_id":"`...)
	b = appendHex(b, r.spanID[:])
	if r.parent.IsValid() {
		b = append(b, `","parent_span_id":"`...)
		b = appendHex(b, r.parent[:])
	}
	b = append(b, `","name":`...)
	b = appendString(b, r.name, maxName)
	b = append(b, `,"start":"`...)
	b = r.start.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, '"')
	if r.kind != kindIntent {
		b = append(b, `,"end":"`...)
		b = r.end.UTC().AppendFormat(b, time.RFC3339Nano)
		b = append(b, `","code":`...)
		b = appendString(b, r.code, maxName)
	}
	b = append(b, `,"attrs":{`...)
	b = appendAttrs(b, r.attrs)
	return append(b, "}}\n"...)
}

// appendAttrs writes each key once, with the value that was set last.
func appendAttrs(b []byte, attrs []attribute.KeyValue) []byte {
	if len(attrs) > maxAttrs {
		attrs = attrs[len(attrs)-maxAttrs:]
	}
	first := true
	for i, kv := range attrs {
		if kv.Key == "" || slices.ContainsFunc(attrs[i+1:], func(o attribute.KeyValue) bool { return o.Key == kv.Key }) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = appendString(b, string(kv.Key), maxKey)
		b = append(b, ':')
		b = appendValue(b, kv.Value)
	}
	return b
}

func appendValue(b []byte, v attribute.Value) []byte {
	switch v.Type() {
	case attribute.STRING:
		return appendString(b, v.AsString(), maxValue)
	case attribute.INT64:
		return strconv.AppendInt(b, v.AsInt64(), 10)
	case attribute.BOOL:
		return strconv.AppendBool(b, v.AsBool())
	case attribute.FLOAT64:
		return appendFloat(b, v.AsFloat64())
	case attribute.STRINGSLICE:
		return appendStrings(b, v.AsStringSlice())
	default:
		return appendString(b, v.String(), maxValue)
	}
}

// appendFloat writes a number that stays a float when it is read, or a string
// where JSON has no number.
func appendFloat(b []byte, f float64) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return appendString(b, strconv.FormatFloat(f, 'g', -1, 64), maxValue)
	}
	return strconv.AppendFloat(b, f, 'e', -1, 64)
}

// appendStrings bounds the strings by their sum.
func appendStrings(b []byte, list []string) []byte {
	b = append(b, '[')
	left := maxValue
	for i, s := range list {
		if left <= 0 {
			break
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, s, left)
		left -= len(s) + 1
	}
	return append(b, ']')
}

func appendHex(b, src []byte) []byte {
	const digits = "0123456789abcdef"
	for _, c := range src {
		b = append(b, digits[c>>4], digits[c&15])
	}
	return b
}

// appendString appends s as a JSON string, cut to at most limit bytes at the
// border of a character. Bytes that are not UTF-8 become U+FFFD.
func appendString(b []byte, s string, limit int) []byte {
	s = cut(s, limit)
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= 0x20 && c != '"' && c != '\\' && c != 0x7f {
				i++
				continue
			}
			b = append(b, s[from:i]...)
			b = appendEscape(b, c)
			i++
			from = i
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			b = append(b, s[from:i]...)
			b = append(b, `\ufffd`...)
			i++
			from = i
			continue
		}
		i += n
	}
	b = append(b, s[from:]...)
	return append(b, '"')
}

func appendEscape(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\n':
		return append(b, '\\', 'n')
	case '\t':
		return append(b, '\\', 't')
	}
	b = append(b, `\u00`...)
	return appendHex(b, []byte{c})
}

func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for back := 0; back < utf8.UTFMax && back < limit; back++ {
		if utf8.RuneStart(s[limit-back]) {
			return s[:limit-back]
		}
	}
	return s[:limit]
}
