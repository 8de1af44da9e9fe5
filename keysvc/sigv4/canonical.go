// SPDX-License-Identifier: Apache-2.0

package sigv4

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// param is one decoded parameter of a query string.
type param struct{ name, value string }

// parseQuery decodes a raw query. Unlike [url.ParseQuery] it keeps the order,
// takes ";" as a character, and refuses what it cannot decode.
func parseQuery(raw string) ([]param, error) {
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

// canonicalQuery encodes all parameters, sorted by encoded name and then value,
// without the signature itself.
func canonicalQuery(query []param, presigned bool) string {
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
	var b strings.Builder
	for i, p := range encoded {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(p.name)
		b.WriteByte('=')
		b.WriteString(p.value)
	}
	return b.String()
}

// canonicalPaths returns the spellings of the path that may have been signed.
//
// S3 encodes once and normalises nothing: what is on the request line, or its
// bytes encoded afresh, which differ when the client (or a library below it)
// sent a character bare that it signed encoded. All other services encode the
// encoded path again, with or without dot segments removed before.
func canonicalPaths(r *http.Request, service string) []string {
	raw := rawPath(r)
	if service == "s3" {
		if decoded, err := unescape(raw); err == nil {
			if again := encode(decoded, true); again != raw {
				return []string{raw, again}
			}
		}
		return []string{raw}
	}
	paths := []string{encode(raw, true)}
	if clean := encode(removeDotSegments(raw), true); clean != paths[0] {
		paths = append(paths, clean)
	}
	return paths
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

func canonicalHeaders(r *http.Request, signed []string) string {
	var b strings.Builder
	for _, name := range signed {
		value, _ := headerValue(r, name)
		b.WriteString(name)
		b.WriteByte(':')
		b.WriteString(value)
		b.WriteByte('\n')
	}
	return b.String()
}

// headerValue returns the canonical value of a header, also of those that
// net/http takes out of the header map.
func headerValue(r *http.Request, name string) (string, bool) {
	if name == "host" {
		return foldSpaces(r.Host), true
	}
	if values, ok := r.Header[http.CanonicalHeaderKey(name)]; ok {
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
