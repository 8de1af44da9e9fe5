// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sidekey/sidekey/dbproxy/plan"
)

// Canonical forms, the plaintexts of values. Each value of a type that can be
// compared has exactly one, so that equal values have equal ciphertexts.
//
//	text varchar  UTF-8, as it is
//	bytea         the bytes
//	int4 int8     4 or 8 bytes, big endian, as in PostgreSQL's binary format
//	bool          one byte, 0 or 1
//	date          days since 2000-01-01, int32 big endian; ±infinity the extremes
//	timestamptz   µs since 2000-01-01 UTC, int64 big endian; likewise
//	uuid          16 bytes
//	numeric       decimal text: no leading zeros, as many decimals as the scale
//	jsonb         text as PostgreSQL prints jsonb

// Formats of the protocol.
const (
	formatText   int16 = 0
	formatBinary int16 = 1
)

// decodeValue turns a value that arrives for a protected column into its
// canonical form. oid is the type that the client declares or the text says;
// Unspecified means the column's.
func decodeValue(t plan.Type, oid uint32, format int16, data []byte, loc *time.Location) ([]byte, error) {
	if oid == plan.Unspecified || oid == plan.Unknown {
		if format == formatText && !textual(t.OID) {
			return parseText(t, string(data), loc)
		}
		oid = t.OID
	}
	if !assignable(oid, t.OID) {
		return nil, &pgError{Code: codeTypeMismatch,
			Message: "the protected column is of type " + t.String() + " but the value is of type " + plan.Type{OID: oid, Typmod: -1}.String(),
			Hint:    "Give the value the column's type."}
	}
	if format == formatBinary {
		text, err := binaryToText(oid, data)
		if err != nil || text == nil {
			if err != nil {
				return nil, err
			}
			return fromBinary(t, oid, data, loc)
		}
		return parseText(t, string(text), loc)
	}
	switch {
	case oid == plan.Timestamp && t.OID == plan.Timestamptz:
		return parseTimestamp(string(data), loc, true)
	case oid == plan.Date && t.OID == plan.Timestamptz:
		return parseTimestamp(string(data), loc, false)
	case oid == plan.Int2 || oid == plan.Int4 || oid == plan.Int8:
		// Range and form of the declared type first, as the server would.
		if _, err := parseInt(oid, string(data)); err != nil {
			return nil, err
		}
	}
	return parseText(t, string(data), loc)
}

// decodeFor is decodeValue for a use of the value. What is compared with is
// never rounded or cut to fit the column: it just equals no stored value.
func decodeFor(use plan.Use, t plan.Type, oid uint32, format int16, data []byte, loc *time.Location) ([]byte, error) {
	if t.Typmod < 0 || use&plan.Compare == 0 {
		return decodeValue(t, oid, format, data, loc)
	}
	exact, err := decodeValue(plan.Type{OID: t.OID, Typmod: -1}, oid, format, data, loc)
	if err != nil {
		return nil, err
	}
	if _, scale, ok := t.Precision(); ok {
		exact = numericExact(exact, scale)
	}
	if use == plan.Compare {
		return exact, nil
	}
	stored, err := decodeValue(t, oid, format, data, loc)
	if err == nil && !bytes.Equal(stored, exact) {
		return nil, &pgError{Code: codeNotSupported, Message: "a parameter is stored in and compared with a column of type " + t.String() + ", which does not hold it exactly",
			Hint: "Pass the value twice, as two parameters."}
	}
	return stored, err
}

func textual(oid uint32) bool {
	return oid == plan.Text || oid == plan.Varchar || oid == plan.BPChar
}

// assignable says which types may be stored in a column without changing what
// is read back.
func assignable(from, to uint32) bool {
	integer := from == plan.Int2 || from == plan.Int4 || from == plan.Int8
	switch to {
	case plan.Text, plan.Varchar:
		return from == plan.Text || from == plan.Varchar
	case plan.Int4, plan.Int8:
		return integer
	case plan.Numeric:
		return integer || from == plan.Numeric
	case plan.Timestamptz:
		return from == to || from == plan.Timestamp || from == plan.Date
	case plan.JSONB:
		return from == to || from == plan.JSON
	}
	return from == to
}

// binaryToText gives the text form of a binary value of a type whose text form
// is the way to the canonical one; nil if it is not.
func binaryToText(oid uint32, data []byte) ([]byte, error) {
	size := map[uint32]int{plan.Int2: 2, plan.Int4: 4, plan.Int8: 8}[oid]
	switch {
	case size > 0 && len(data) != size:
		return nil, badBinary(oid)
	case oid == plan.Int2:
		return strconv.AppendInt(nil, int64(int16(binary.BigEndian.Uint16(data))), 10), nil
	case oid == plan.Int4:
		return strconv.AppendInt(nil, int64(int32(binary.BigEndian.Uint32(data))), 10), nil
	case oid == plan.Int8:
		return strconv.AppendInt(nil, int64(binary.BigEndian.Uint64(data)), 10), nil
	case oid == plan.Numeric:
		return numericFromBinary(data)
	case oid == plan.JSONB:
		if len(data) == 0 || data[0] != 1 {
			return nil, badBinary(oid)
		}
		return append([]byte{}, data[1:]...), nil
	case oid == plan.JSON:
		return append([]byte{}, data...), nil
	}
	return nil, nil
}

func badBinary(oid uint32) *pgError {
	return failf(codeBadBinary, "incorrect binary data format for type %s", plan.Type{OID: oid, Typmod: -1})
}

// fromBinary takes values whose binary form is the canonical one.
func fromBinary(t plan.Type, oid uint32, data []byte, loc *time.Location) ([]byte, error) {
	switch oid {
	case plan.Text, plan.Varchar:
		return parseText(t, string(data), loc)
	case plan.Bytea:
		return append([]byte{}, data...), nil
	case plan.Bool:
		if len(data) != 1 {
			return nil, badBinary(oid)
		}
		if data[0] != 0 {
			return []byte{1}, nil
		}
		return []byte{0}, nil
	}
	size := map[uint32]int{plan.Date: 4, plan.Timestamptz: 8, plan.Timestamp: 8, plan.UUID: 16}[oid]
	if size == 0 || len(data) != size {
		return nil, badBinary(oid)
	}
	if oid != t.OID {
		return localToUTC(oid, data, loc)
	}
	if oid == plan.Date && !dateInRange(int32(binary.BigEndian.Uint32(data))) {
		return nil, failf(codeDatetimeOverflow, "date out of range")
	}
	if oid == plan.Timestamptz && !timestampInRange(int64(binary.BigEndian.Uint64(data))) {
		return nil, failf(codeDatetimeOverflow, "timestamp out of range")
	}
	return append([]byte{}, data...), nil
}

// parseText reads a value in the column type's text form.
func parseText(t plan.Type, s string, loc *time.Location) ([]byte, error) {
	switch t.OID {
	case plan.Text, plan.Varchar:
		return checkText(t, s)
	case plan.Int4, plan.Int8:
		n, err := parseInt(t.OID, s)
		if err != nil {
			return nil, err
		}
		if t.OID == plan.Int4 {
			return binary.BigEndian.AppendUint32(nil, uint32(n)), nil
		}
		return binary.BigEndian.AppendUint64(nil, uint64(n)), nil
	case plan.Bytea:
		return parseBytea(s)
	case plan.Bool:
		return parseBool(s)
	case plan.Date:
		return parseDate(s)
	case plan.Timestamptz:
		return parseTimestamp(s, loc, false)
	case plan.UUID:
		return parseUUID(s)
	case plan.Numeric:
		return parseNumeric(t, s)
	case plan.JSONB:
		return canonicalJSON(s)
	}
	return nil, failf(codeInternal, "no codec for type %s", t)
}

func checkText(t plan.Type, s string) ([]byte, error) {
	if !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
		return nil, failf(codeBadEncoding, `invalid byte sequence for encoding "UTF8"`)
	}
	n, limited := t.MaxChars()
	if !limited || utf8.RuneCountInString(s) <= n {
		return []byte(s), nil
	}
	// As PostgreSQL does, spaces past the end are cut without an error.
	cut := 0
	for range n {
		_, size := utf8.DecodeRuneInString(s[cut:])
		cut += size
	}
	if strings.Trim(s[cut:], " ") != "" {
		return nil, failf(codeTruncation, "value too long for type %s", t)
	}
	return []byte(s[:cut]), nil
}

func badSyntax(t plan.Type, s string) *pgError {
	code := codeBadText
	if t.OID == plan.Date || t.OID == plan.Timestamptz {
		code = codeBadDatetime
	}
	return failf(code, "invalid input syntax for type %s: %q", t, s)
}

func trimSpace(s string) string { return strings.Trim(s, " \t\n\v\f\r") }

// parseInt reads an integer: decimal, or hexadecimal, octal and binary with a
// prefix, and single underscores between digits, as PostgreSQL 16 does.
func parseInt(oid uint32, s string) (int64, error) {
	t := plan.Type{OID: oid, Typmod: -1}
	trimmed := trimSpace(s)
	digits := strings.TrimLeft(trimmed, "+-")
	if len(trimmed)-len(digits) > 1 || digits == "" || digits[0] == '_' {
		return 0, badSyntax(t, s)
	}
	base := 10
	if len(digits) > 1 && digits[0] == '0' && strings.ContainsRune("xXoObB", rune(digits[1])) {
		base = 0
	} else if strings.Contains(digits, "__") || strings.HasSuffix(digits, "_") {
		return 0, badSyntax(t, s)
	} else {
		trimmed = strings.ReplaceAll(trimmed, "_", "")
	}
	bits := map[uint32]int{plan.Int2: 16, plan.Int4: 32, plan.Int8: 64}[oid]
	n, err := strconv.ParseInt(trimmed, base, bits)
	if err == nil {
		return n, nil
	}
	if numErr, ok := err.(*strconv.NumError); ok && numErr.Err == strconv.ErrRange {
		return 0, failf(codeOutOfRange, "value %q is out of range for type %s", s, t)
	}
	return 0, badSyntax(t, s)
}

func parseBool(s string) ([]byte, error) {
	word := strings.ToLower(trimSpace(s))
	for _, w := range []struct {
		word string
		min  int
		v    byte
	}{{"true", 1, 1}, {"false", 1, 0}, {"yes", 1, 1}, {"no", 1, 0}, {"on", 2, 1}, {"off", 2, 0}, {"1", 1, 1}, {"0", 1, 0}} {
		if len(word) >= w.min && strings.HasPrefix(w.word, word) {
			return []byte{w.v}, nil
		}
	}
	return nil, badSyntax(plan.Type{OID: plan.Bool}, s)
}

func parseBytea(s string) ([]byte, error) {
	if strings.HasPrefix(s, `\x`) {
		out, err := hex.DecodeString(strings.Map(func(r rune) rune {
			if strings.ContainsRune(" \t\n\r", r) {
				return -1
			}
			return r
		}, s[2:]))
		if err != nil {
			return nil, failf(codeBadParameter, "invalid hexadecimal data")
		}
		return out, nil
	}
	return unescapeBytea([]byte(s))
}

// unescapeBytea reads the escape format: \\ and \ooo.
func unescapeBytea(s []byte) ([]byte, error) {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '\\':
			out = append(out, s[i])
		case i+1 < len(s) && s[i+1] == '\\':
			out = append(out, '\\')
			i++
		case i+3 < len(s) && s[i+1] >= '0' && s[i+1] <= '3' && octal(s[i+2]) && octal(s[i+3]):
			out = append(out, (s[i+1]-'0')<<6|(s[i+2]-'0')<<3|(s[i+3]-'0'))
			i += 3
		default:
			return nil, failf(codeBadText, "invalid input syntax for type bytea")
		}
	}
	return out, nil
}

func octal(c byte) bool { return c >= '0' && c <= '7' }

// storedBytea reads a stored value from a row in text format, whatever
// bytea_output is. The escape format never begins with \x.
func storedBytea(text []byte) ([]byte, error) {
	if bytes.HasPrefix(text, []byte(`\x`)) {
		return hex.DecodeString(string(text[2:]))
	}
	return unescapeBytea(text)
}

// parseUUID reads the forms PostgreSQL reads: braces, and hyphens after any
// group of four digits.
func parseUUID(s string) ([]byte, error) {
	bad := badSyntax(plan.Type{OID: plan.UUID}, s)
	digits := s
	if strings.HasPrefix(digits, "{") {
		if !strings.HasSuffix(digits, "}") {
			return nil, bad
		}
		digits = digits[1 : len(digits)-1]
	}
	out := make([]byte, 0, 36)
	for i := 0; i < len(digits); i++ {
		if digits[i] == '-' && len(out)%4 == 0 && len(out) > 0 && len(out) < 32 && digits[i-1] != '-' {
			continue
		}
		out = append(out, digits[i])
	}
	raw, err := hex.DecodeString(string(out))
	if err != nil || len(raw) != 16 {
		return nil, bad
	}
	return raw, nil
}

// encodeValue writes a canonical value in the format that the client asked for.
func encodeValue(dst []byte, t plan.Type, format int16, canonical []byte, loc *time.Location) ([]byte, error) {
	if !wellFormed(t, canonical) {
		return nil, failf(codeCorrupted, "a value of a protected column has not the form of its type")
	}
	if format == formatBinary {
		switch t.OID {
		case plan.Numeric:
			return numericToBinary(dst, string(canonical))
		case plan.JSONB:
			return append(append(dst, 1), canonical...), nil
		}
		return append(dst, canonical...), nil
	}
	switch t.OID {
	case plan.Int4:
		return strconv.AppendInt(dst, int64(int32(binary.BigEndian.Uint32(canonical))), 10), nil
	case plan.Int8:
		return strconv.AppendInt(dst, int64(binary.BigEndian.Uint64(canonical)), 10), nil
	case plan.Bytea:
		return hex.AppendEncode(append(dst, `\x`...), canonical), nil
	case plan.Bool:
		return append(dst, "ft"[canonical[0]&1]), nil
	case plan.Date:
		return appendDate(dst, int32(binary.BigEndian.Uint32(canonical))), nil
	case plan.Timestamptz:
		return appendTimestamp(dst, int64(binary.BigEndian.Uint64(canonical)), loc)
	case plan.UUID:
		h := hex.EncodeToString(canonical)
		return append(dst, h[:8]+"-"+h[8:12]+"-"+h[12:16]+"-"+h[16:20]+"-"+h[20:]...), nil
	}
	return append(dst, canonical...), nil
}

func wellFormed(t plan.Type, canonical []byte) bool {
	if n := t.Len(); n >= 0 {
		return len(canonical) == int(n)
	}
	return true
}
