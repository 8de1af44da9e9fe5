// SPDX-License-Identifier: Apache-2.0

package sigv4

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// param is one decoded parameter of a query string.
type param struct{ name, value string }

// parseQuery decodes a raw query. Unlike [url.ParseQuery] it keeps the order,
// takes ";" as a character, and refuses what it cannot decode.
func parseQuery(raw string) ([]param, error) {
	if raw == "" {
		return nil, nil
	}
	var out []param
	for field := range strings.SplitSeq(raw, "&") {
		if field == "" {
			continue
		}
		name, value, _ := strings.Cut(field, "=")
		name, err := url.QueryUnescape(name)
		if err != nil {
			return nil, refuse(MalformedURI, "the query string cannot be decoded")
		}
		if value, err = url.QueryUnescape(value); err != nil {
			return nil, refuse(MalformedURI, "the query string cannot be decoded")
		}
		out = append(out, param{name, value})
	}
	return out, nil
}

// appendQuery appends all parameters encoded, sorted by encoded name and then
// value, without the signature itself.
func appendQuery(b []byte, query []param, presigned bool) []byte {
	if len(query) == 0 {
		return b
	}
	encoded := make([]param, 0, len(query))
	for _, p := range query {
		if presigned && p.name == "X-Amz-Signature" {
			continue
		}
		encoded = append(encoded, param{encode(p.name, false), encode(p.value, false)})
	}
	slices.SortFunc(encoded, func(a, b param) int {
		if c := strings.Compare(a.name, b.name); c != 0 {
			return c
		}
		return strings.Compare(a.value, b.value)
	})
	for i, p := range encoded {
		if i > 0 {
			b = append(b, '&')
		}
		b = append(b, p.name...)
		b = append(b, '=')
		b = append(b, p.value...)
	}
	return b
}

// canonicalPaths returns the n spellings of the path that may have been signed.
//
// S3 encodes once and normalises nothing: what is on the request line, or its
// bytes encoded afresh, which differ when the client (or a library below it)
// sent a character bare that it signed encoded. All other services encode the
// encoded path again, with or without dot segments removed before.
func canonicalPaths(r *http.Request, service string) (paths [2]string, n int) {
	raw := rawPath(r)
	if raw == "/" { // all that a JSON service has
		return [2]string{raw}, 1
	}
	if service == "s3" {
		paths[0] = raw
		decoded, err := unescape(raw)
		if err != nil {
			return paths, 1
		}
		paths[1] = encode(decoded, true)
	} else {
		paths[0], paths[1] = encode(raw, true), encode(removeDotSegments(raw), true)
	}
	if paths[0] == paths[1] {
		return paths, 1
	}
	return paths, 2
}

// rawPath is the path as it stands on the request line, provided that it is the
// path that handlers see decoded in r.URL.Path.
func rawPath(r *http.Request) string {
	if strings.HasPrefix(r.RequestURI, "/") {
		raw, _, _ := strings.Cut(r.RequestURI, "?")
		if decoded, err := unescape(raw); err == nil && decoded == r.URL.Path {
			return raw
		}
	}
	if raw := r.URL.EscapedPath(); raw != "" {
		return raw
	}
	return "/"
}

// removeDotSegments normalises a path by RFC 3986 and joins repeated slashes.
func removeDotSegments(path string) string {
	var out []string
	trailing := false
	for segment := range strings.SplitSeq(path, "/") {
		trailing = segment == "" || segment == "." || segment == ".."
		switch segment {
		case "", ".":
		case "..":
			if len(out) > 0 {
				out = out[:len(out)-1]
			}
		default:
			out = append(out, segment)
		}
	}
	clean := "/" + strings.Join(out, "/")
	if trailing && clean != "/" {
		clean += "/"
	}
	return clean
}

const hexDigits = "0123456789ABCDEF"

// encode is the UriEncode of the specification.
func encode(s string, keepSlash bool) string {
	var b strings.Builder
	b.Grow(len(s))
	for i := range len(s) {
		c := s[i]
		switch {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9',
			c == '-', c == '.', c == '_', c == '~', c == '/' && keepSlash:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		}
	}
	return b.String()
}

func appendHeaders(b []byte, r *http.Request, signed []string) []byte {
	for _, name := range signed {
		value, _ := headerValue(r, name)
		b = append(b, name...)
		b = append(b, ':')
		b = append(b, value...)
		b = append(b, '\n')
	}
	return b
}

// headerValue returns the canonical value of a header, also of those that
// net/http takes out of the header map.
func headerValue(r *http.Request, name string) (string, bool) {
	if name == "host" {
		return foldSpaces(r.Host), true
	}
	if values, ok := valuesOf(r.Header, name); len(values) == 1 {
		return foldSpaces(values[0]), true
	} else if ok {
		folded := make([]string, len(values))
		for i, v := range values {
			folded[i] = foldSpaces(v)
		}
		return strings.Join(folded, ","), true
	}
	switch name {
	case "content-length":
		if r.ContentLength >= 0 {
			return strconv.FormatInt(r.ContentLength, 10), true
		}
	case "transfer-encoding":
		if len(r.TransferEncoding) > 0 {
			return strings.Join(r.TransferEncoding, ","), true
		}
	case "expect":
		// HTTP/2 removes it; this is the only value that it lets through.
		return "100-continue", r.ProtoMajor >= 2
	case "trailer":
		if len(r.Trailer) > 0 {
			names := make([]string, 0, len(r.Trailer))
			for n := range r.Trailer {
				names = append(names, n)
			}
			slices.Sort(names)
			return strings.Join(names, ","), true
		}
	}
	return "", false
}

// valuesOf looks up a header by its lower-case name, without making its other form
// if that is as plain as those of AWS.
func valuesOf(h http.Header, name string) ([]string, bool) {
	var buf [64]byte
	key := buf[:0]
	for i := range len(name) {
		c := name[i]
		switch {
		case len(name) > len(buf) || c != '-' && (c < 'a' || c > 'z') && (c < '0' || c > '9'):
			values, ok := h[http.CanonicalHeaderKey(name)]
			return values, ok
		case 'a' <= c && c <= 'z' && (i == 0 || name[i-1] == '-'):
			c -= 'a' - 'A'
		}
		key = append(key, c)
	}
	values, ok := h[string(key)]
	return values, ok
}

// appendLower appends s as strings.ToLower makes it.
func appendLower(b []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		if c >= utf8.RuneSelf {
			return append(b[:len(b)-i], strings.ToLower(s)...)
		}
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		b = append(b, c)
	}
	return b
}

// foldSpaces trims and makes runs of spaces one. White space is that of HTTP:
// were a Unicode space trimmed, it could be added to x-amz-copy-source on the
// way and name another object.
func foldSpaces(s string) string {
	s = strings.Trim(s, " \t")
	if !strings.Contains(s, "  ") {
		return s
	}
	var b strings.Builder
	space := false
	for i := range len(s) {
		if s[i] == ' ' && space {
			continue
		}
		space = s[i] == ' '
		b.WriteByte(s[i])
	}
	return b.String()
}
