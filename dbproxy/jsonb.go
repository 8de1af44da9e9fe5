// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"sort"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/sidekey/sidekey/dbproxy/plan"
)

// canonicalJSON writes a JSON text as PostgreSQL prints a jsonb: of equal keys
// the last, keys in order of length and then bytes, numbers without exponent.
func canonicalJSON(s string) ([]byte, error) {
	dec := jsontext.NewDecoder(strings.NewReader(s), jsontext.AllowDuplicateNames(true))
	out, err := appendJSON(nil, dec)
	if err != nil {
		return nil, jsonError(err)
	}
	if _, err := dec.ReadToken(); err == nil || err.Error() != "EOF" {
		return nil, jsonError(err)
	}
	return out, nil
}

// checkJSON gives a json as it is written.
func checkJSON(s string) ([]byte, error) {
	if !jsontext.Value(s).IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) {
		return nil, failf(codeBadText, "invalid input syntax for type json")
	}
	return checkText(plan.Type{OID: plan.JSON, Typmod: -1}, s)
}

func jsonError(err error) error {
	if own, ok := err.(*pgError); ok {
		return own
	}
	return failf(codeBadText, "invalid input syntax for type json")
}

func appendJSON(dst []byte, dec *jsontext.Decoder) ([]byte, error) {
	switch dec.PeekKind() {
	case '{':
		return appendObject(dst, dec)
	case '[':
		return appendArray(dst, dec)
	}
	tok, err := dec.ReadToken()
	if err != nil {
		return nil, err
	}
	switch tok.Kind() {
	case '"':
		return appendJSONString(dst, tok.String())
	case '0':
		n, err := jsonNumber(tok.String())
		return append(dst, n...), err
	}
	return append(dst, tok.String()...), nil
}

// jsonNumber is what numeric_out makes of the number.
func jsonNumber(s string) ([]byte, error) {
	negative, digits, scale, ok := splitDecimal(s)
	if !ok || len(digits)-scale > maxNumericDigits || scale > maxNumericScale {
		return nil, failf(codeOutOfRange, "value overflows numeric format")
	}
	return formatDecimal(negative, digits, scale), nil
}

func appendArray(dst []byte, dec *jsontext.Decoder) ([]byte, error) {
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	dst = append(dst, '[')
	var err error
	for first := true; dec.PeekKind() != ']'; first = false {
		if !first {
			dst = append(dst, ", "...)
		}
		if dst, err = appendJSON(dst, dec); err != nil {
			return nil, err
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	return append(dst, ']'), nil
}

func appendObject(dst []byte, dec *jsontext.Decoder) ([]byte, error) {
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	values := make(map[string][]byte)
	var keys []string
	for dec.PeekKind() != '}' {
		tok, err := dec.ReadToken()
		if err != nil {
			return nil, err
		}
		key := tok.String()
		value, err := appendJSON(nil, dec)
		if err != nil {
			return nil, err
		}
		if _, again := values[key]; !again {
			keys = append(keys, key)
		}
		values[key] = value
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	sort.Slice(keys, func(i, j int) bool {
		if len(keys[i]) != len(keys[j]) {
			return len(keys[i]) < len(keys[j])
		}
		return keys[i] < keys[j]
	})
	dst = append(dst, '{')
	var err error
	for i, k := range keys {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		if dst, err = appendJSONString(dst, k); err != nil {
			return nil, err
		}
		dst = append(append(dst, ": "...), values[k]...)
	}
	return append(dst, '}'), nil
}

// appendJSONString escapes as escape_json does: what must be, and no more.
func appendJSONString(dst []byte, s string) ([]byte, error) {
	if strings.IndexByte(s, 0) >= 0 {
		return nil, &pgError{Code: codeBadJSON, Message: "unsupported Unicode escape sequence", Detail: `\u0000 cannot be converted to text.`}
	}
	dst = append(dst, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\b':
			dst = append(dst, `\b`...)
		case c == '\f':
			dst = append(dst, `\f`...)
		case c == '\n':
			dst = append(dst, `\n`...)
		case c == '\r':
			dst = append(dst, `\r`...)
		case c == '\t':
			dst = append(dst, `\t`...)
		case c < ' ':
			dst = append(dst, `\u00`...)
			dst = append(dst, "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"'), nil
}
