// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sidekey/sidekey/dbproxy/plan"
)

// Canonical forms. Each value of a type that can be compared has exactly one, so
// that equal values have equal ciphertexts. They are the plaintexts of modes random
// and equality; those of mode range are made from them (order.go).
//
//	text varchar citext  UTF-8, as it is
//	bpchar        likewise; of char(n) without trailing blanks
//	enum          the label
//	bytea         the bytes
//	int2 int4 int8       2, 4 or 8 bytes, big endian, as in PostgreSQL's binary format
//	float4 float8 IEEE 754, big endian
//	bool          one byte, 0 or 1
//	date          days since 2000-01-01, int32 big endian; ±infinity the extremes
//	time          µs since midnight, int64 big endian
//	timestamp     µs since 2000-01-01, int64 big endian; ±infinity the extremes
//	timestamptz   likewise, in UTC
//	interval      µs, days, months (interval.go)
//	uuid          16 bytes
//	inet cidr     family, bits, address (inet.go)
//	numeric       decimal text: no leading zeros, as many decimals as the scale
//	json          text, as it is
//	jsonb         text as PostgreSQL prints jsonb
//	arrays        as in PostgreSQL's binary format, of canonical forms (array.go)

// Formats of the protocol.
const (
	formatText   int16 = 0
	formatBinary int16 = 1
	// formatEscape is formatText under bytea_output escape. It is not one of the
	// protocol's.
	formatEscape int16 = 2
)

// decodeValue turns a value that is to be stored in a protected column into its
// canonical form, rounded or cut as PostgreSQL's assignment does. oid is the type
// that the client declares or the text says; Unspecified means the column's.
func decodeValue(t plan.Type, oid uint32, format int16, data []byte, loc locale) ([]byte, error) {
	if plan.ElementOf(t.OID) != 0 {
		return decodeArray(t, oid, format, data, loc)
	}
	if oid == plan.Unspecified || oid == plan.Unknown || own(t, oid) {
		oid = t.OID
	}
	if !assignable(oid, t.OID) {
		return nil, mismatch(t, oid)
	}
	if oid != t.OID {
		from := plan.Type{OID: oid, Typmod: -1}
		value, err := decodeValue(from, oid, format, data, loc)
		if err != nil {
			return nil, err
		}
		return convert(t, from, value, loc)
	}
	if format == formatText {
		return parseText(t, string(data), loc)
	}
	return parseBinary(t, data, loc)
}

// own says that an object ID is that of the column's own type, which is another
// one in each database and so not known: a client may have looked it up.
func own(t plan.Type, oid uint32) bool {
	return (t.OID == plan.Enum || t.OID == plan.Citext) && oid >= plan.FirstUser && oid < plan.Citext
}

func mismatch(t plan.Type, oid uint32) *pgError {
	return &pgError{Code: codeTypeMismatch,
		Message: "the protected column is of type " + t.String() + " but the value is of type " + plan.Type{OID: oid, Typmod: -1}.String(),
		Hint:    "Give the value the column's type."}
}

func textual(oid uint32) bool {
	return oid == plan.Text || oid == plan.Varchar || oid == plan.BPChar || oid == plan.Citext
}

func number(oid uint32) bool {
	return integer(oid) || oid == plan.Numeric || oid == plan.Float4 || oid == plan.Float8
}

func integer(oid uint32) bool { return oid == plan.Int2 || oid == plan.Int4 || oid == plan.Int8 }

// assignable says which types PostgreSQL stores in a column of another type
// without an explicit cast (pg_cast, contexts a and i).
func assignable(from, to uint32) bool {
	switch {
	case from == to:
		return from != plan.Unspecified
	case plan.ElementOf(to) != 0:
		return plan.ElementOf(from) != 0 && assignable(plan.ElementOf(from), plan.ElementOf(to))
	case textual(to):
		return from != plan.Enum && plan.ArrayOf(from)+plan.ElementOf(from) != 0 || from == plan.Citext
	case number(to):
		return number(from)
	}
	switch to {
	case plan.Timestamptz:
		return from == plan.Timestamp || from == plan.Date
	case plan.Timestamp:
		return from == plan.Timestamptz || from == plan.Date
	case plan.Date:
		return from == plan.Timestamptz || from == plan.Timestamp
	case plan.Time:
		return from == plan.Timestamptz || from == plan.Timestamp || from == plan.Interval
	case plan.Interval:
		return from == plan.Time
	case plan.Inet:
		return from == plan.CIDR
	case plan.CIDR:
		return from == plan.Inet
	case plan.JSONB:
		return from == plan.JSON
	case plan.JSON:
		return from == plan.JSONB
	}
	return false
}

func badBinary(oid uint32) *pgError {
	return failf(codeBadBinary, "incorrect binary data format for type %s", plan.Type{OID: oid, Typmod: -1})
}

// errForm says that what was opened is not a value of the column's type.
func errForm() *pgError {
	return failf(codeCorrupted, "a value of a protected column has not the form of its type")
}

// parseBinary reads a value in the column type's binary format.
func parseBinary(t plan.Type, data []byte, loc locale) ([]byte, error) {
	if n := t.Len(); n >= 0 && len(data) != int(n) {
		return nil, badBinary(t.OID)
	}
	switch t.OID {
	case plan.Text, plan.Varchar, plan.BPChar, plan.Citext, plan.Enum, plan.JSON:
		return parseText(t, string(data), loc)
	case plan.JSONB:
		if len(data) == 0 || data[0] != 1 {
			return nil, badBinary(t.OID)
		}
		return parseText(t, string(data[1:]), loc)
	case plan.Numeric:
		text, err := numericFromBinary(data)
		if err != nil {
			return nil, err
		}
		if loc.version < 14 && strings.HasSuffix(string(text), "Infinity") {
			return nil, failf(codeBadBinary, "invalid sign in external \"numeric\" value")
		}
		return parseNumeric(t, string(text), loc.version)
	case plan.Bool:
		if data[0] != 0 {
			return []byte{1}, nil
		}
		return []byte{0}, nil
	case plan.Inet, plan.CIDR:
		p, ok := prefixOf(data)
		if !ok || t.OID == plan.CIDR && p.Masked() != p {
			return nil, badBinary(t.OID)
		}
		return inetBytes(p, t.OID == plan.CIDR), nil
	case plan.Date:
		if !dateInRange(int32(binary.BigEndian.Uint32(data))) {
			return nil, failf(codeDatetimeOverflow, "date out of range")
		}
	case plan.Time, plan.Timestamp, plan.Timestamptz:
		return roundSeconds(t, int64(binary.BigEndian.Uint64(data)))
	case plan.Interval:
		if loc.version >= 17 && intervalOf(data).infinite() {
			return nil, errInfinite()
		}
	}
	return append([]byte{}, data...), nil
}

// parseText reads a value in the column type's text form.
func parseText(t plan.Type, s string, loc locale) ([]byte, error) {
	switch t.OID {
	case plan.Text, plan.Varchar, plan.BPChar, plan.Citext:
		return checkText(t, s)
	case plan.Enum:
		return parseLabel(t, s)
	case plan.Int2, plan.Int4, plan.Int8:
		n, err := parseInt(t.OID, s, loc.version)
		if err != nil {
			return nil, err
		}
		return intBytes(t.OID, n), nil
	case plan.Float4, plan.Float8:
		v, err := parseFloat(t.OID, s)
		if err != nil {
			return nil, err
		}
		return floatBytes(t.OID, v), nil
	case plan.Bytea:
		return parseBytea(s)
	case plan.Bool:
		return parseBool(s)
	case plan.Date, plan.Time, plan.Timestamp, plan.Timestamptz:
		return parseMoment(t, s, loc)
	case plan.Interval:
		return parseInterval(s, loc.version)
	case plan.UUID:
		return parseUUID(s)
	case plan.Inet, plan.CIDR:
		return parseInet(t.OID, s)
	case plan.Numeric:
		return parseNumeric(t, s, loc.version)
	case plan.JSON:
		return checkJSON(s)
	case plan.JSONB:
		return canonicalJSON(s)
	}
	return nil, failf(codeInternal, "no codec for type %s", t)
}

// parseLabel reads a label of an enum.
func parseLabel(t plan.Type, s string) ([]byte, error) {
	if slices.Contains(t.EnumLabels(), s) && s != "" {
		return []byte(s), nil
	}
	return nil, failf(codeBadText, "invalid input value for enum %s: %q", t, s)
}

func checkText(t plan.Type, s string) ([]byte, error) {
	if !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
		return nil, failf(codeBadEncoding, `invalid byte sequence for encoding "UTF8"`)
	}
	n, limited := t.MaxChars()
	if t.OID == plan.BPChar && limited {
		s = strings.TrimRight(s, " ")
	}
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
	switch t.OID {
	case plan.Date, plan.Time, plan.Timestamp, plan.Timestamptz, plan.Interval:
		code = codeBadDatetime
	}
	if t.OID == plan.Enum {
		return failf(code, "invalid input value for enum %s: %q", t, s)
	}
	return failf(code, "invalid input syntax for type %s: %q", plan.Type{OID: t.OID, Typmod: -1, Enum: t.Enum}, s)
}

func trimSpace(s string) string { return strings.Trim(s, " \t\n\v\f\r") }

// parseInt reads an integer: decimal, and as PostgreSQL 16 does also hexadecimal, octal
// and binary with a prefix, and single underscores between digits.
func parseInt(oid uint32, s string, version int) (int64, error) {
	t := plan.Type{OID: oid, Typmod: -1}
	trimmed := trimSpace(s)
	digits := strings.TrimLeft(trimmed, "+-")
	if len(trimmed)-len(digits) > 1 || digits == "" || digits[0] == '_' || version < 16 && strings.Trim(digits, "0123456789") != "" {
		return 0, badSyntax(t, s)
	}
	base := 10
	if prefixed.MatchString(digits) {
		base = 0
	} else if strings.Contains(digits, "__") || strings.HasSuffix(digits, "_") {
		return 0, badSyntax(t, s)
	} else {
		trimmed = strings.ReplaceAll(trimmed, "_", "")
	}
	n, err := strconv.ParseInt(trimmed, base, 8*int(t.Len()))
	if err == nil {
		return n, nil
	}
	if numErr, ok := err.(*strconv.NumError); ok && numErr.Err == strconv.ErrRange {
		return 0, failf(codeOutOfRange, "value %q is out of range for type %s", s, t)
	}
	return 0, badSyntax(t, s)
}

// intBytes is the canonical form of an int2, int4 or int8.
func intBytes(oid uint32, n int64) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(n))
	return b[8-plan.Type{OID: oid}.Len():]
}

func intOf(canonical []byte) int64 {
	n := int64(0)
	for i, c := range canonical {
		if n = n<<8 | int64(c); i == 0 {
			n = int64(int8(c))
		}
	}
	return n
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
	if digits, ok := strings.CutPrefix(s, `\x`); ok {
		return parseHex(digits)
	}
	return unescapeBytea([]byte(s))
}

// parseHex reads pairs of digits, between which there may be white space.
func parseHex(s string) ([]byte, error) {
	var out []byte
	for s = strings.TrimLeft(s, " \t\n\r"); s != ""; s = strings.TrimLeft(s[2:], " \t\n\r") {
		pair, err := hex.DecodeString(s[:min(len(s), 2)])
		var bad hex.InvalidByteError
		switch {
		case errors.As(err, &bad):
			digit, _ := utf8.DecodeRuneInString(s[strings.IndexByte(s, byte(bad)):])
			return nil, failf(codeBadParameter, `invalid hexadecimal digit: "%c"`, digit)
		case err != nil:
			return nil, failf(codeBadParameter, "invalid hexadecimal data: odd number of digits")
		}
		out = append(out, pair...)
	}
	return out, nil
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

// textFormat is the form in which the client expects values beside a stored one:
// the server does not report bytea_output, but has written this one under it.
func textFormat(stored []byte) int16 {
	if bytes.HasPrefix(stored, []byte(`\x`)) {
		return formatText
	}
	return formatEscape
}

// appendEscaped writes the escape format.
func appendEscaped(dst, value []byte) []byte {
	for _, c := range value {
		switch {
		case c == '\\':
			dst = append(dst, `\\`...)
		case c < 0x20 || c > 0x7e:
			dst = append(dst, '\\', '0'+c>>6, '0'+c>>3&7, '0'+c&7)
		default:
			dst = append(dst, c)
		}
	}
	return dst
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
	if plan.ElementOf(t.OID) != 0 {
		return encodeArray(dst, t, format, canonical, loc)
	}
	if n := t.Len(); n >= 0 && len(canonical) != int(n) {
		return nil, errForm()
	}
	if format == formatBinary {
		return encodeBinary(dst, t, canonical)
	}
	switch t.OID {
	case plan.Int2, plan.Int4, plan.Int8:
		return strconv.AppendInt(dst, intOf(canonical), 10), nil
	case plan.Float4, plan.Float8:
		return appendFloat(dst, floatOf(canonical), floatBits(t.OID)), nil
	case plan.BPChar:
		return appendPaddedText(dst, t, canonical), nil
	case plan.Bytea:
		if format == formatEscape {
			return appendEscaped(dst, canonical), nil
		}
		return hex.AppendEncode(append(dst, `\x`...), canonical), nil
	case plan.Bool:
		return append(dst, "ft"[canonical[0]&1]), nil
	case plan.Date:
		return appendDate(dst, int32(binary.BigEndian.Uint32(canonical))), nil
	case plan.Time:
		return appendTime(dst, intOf(canonical)), nil
	case plan.Timestamp:
		return appendTimestamp(dst, intOf(canonical)), nil
	case plan.Timestamptz:
		return appendTimestamptz(dst, intOf(canonical), loc)
	case plan.Interval:
		return appendInterval(dst, intervalOf(canonical)), nil
	case plan.UUID:
		h := hex.EncodeToString(canonical)
		return append(dst, h[:8]+"-"+h[8:12]+"-"+h[12:16]+"-"+h[16:20]+"-"+h[20:]...), nil
	case plan.Inet, plan.CIDR:
		return appendInet(dst, t.OID, canonical)
	}
	return append(dst, canonical...), nil
}

func encodeBinary(dst []byte, t plan.Type, canonical []byte) ([]byte, error) {
	switch t.OID {
	case plan.BPChar:
		return appendPaddedText(dst, t, canonical), nil
	case plan.Numeric:
		return numericToBinary(dst, string(canonical))
	case plan.JSONB:
		return append(append(dst, 1), canonical...), nil
	}
	return append(dst, canonical...), nil
}

// appendPaddedText writes a char(n) with its trailing blanks.
func appendPaddedText(dst []byte, t plan.Type, canonical []byte) []byte {
	dst = append(dst, canonical...)
	if n, ok := t.MaxChars(); ok {
		for range n - utf8.RuneCount(canonical) {
			dst = append(dst, ' ')
		}
	}
	return dst
}
