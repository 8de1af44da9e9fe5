// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"encoding/binary"
	"fmt"
	"math/big"
	"regexp"
	"strconv"
	"strings"

	"github.com/sidekey/sidekey/dbproxy/plan"
)

// Limits of an unconstrained numeric.
const (
	maxNumericDigits = 131072
	maxNumericScale  = 16383
)

// hugeExponent is a number that splitDecimal does not write out.
var hugeExponent = regexp.MustCompile(`^[+-]?(?:\d+\.?\d*|\.\d+)[eE][+-]?\d{6,}$`)

// prefixed is a number in hexadecimal, octal or binary.
var prefixed = regexp.MustCompile(`^[+-]?0[xXoObB]`)

// parseNumeric reads a numeric in text form as a server of a major version does, and
// gives its canonical text, with exactly as many decimals as the column's scale, or as
// were written.
func parseNumeric(t plan.Type, s string, version int) ([]byte, error) {
	text := trimSpace(s)
	precision, typeScale, constrained := t.Precision()
	if constrained && version < 15 && (typeScale < 0 || typeScale > precision) {
		return nil, failf(codeBadParameter, "NUMERIC scale %d must be between 0 and precision %d", typeScale, precision)
	}
	switch lower := strings.ToLower(text); {
	case lower == "nan":
		return []byte("NaN"), nil
	case version < 14: // which has no infinite ones
	case lower == "infinity", lower == "+infinity", lower == "inf", lower == "+inf":
		return infiniteNumeric(t, "Infinity", constrained)
	case lower == "-infinity", lower == "-inf":
		return infiniteNumeric(t, "-Infinity", constrained)
	}
	if version >= 16 && strings.ContainsAny(text, "_xXoObB") {
		text = plainNumber(text)
	}
	negative, digits, scale, ok := splitDecimal(text)
	if !ok {
		if hugeExponent.MatchString(text) {
			return nil, failf(codeOutOfRange, "value overflows numeric format")
		}
		return nil, badSyntax(plan.Type{OID: plan.Numeric, Typmod: -1}, s)
	}
	if len(digits)-scale > maxNumericDigits || scale > maxNumericScale {
		return nil, failf(codeOutOfRange, "value overflows numeric format")
	}
	if constrained {
		digits = rescale(digits, scale, typeScale)
		scale = typeScale
		if len(strings.TrimLeft(digits, "0")) > precision {
			return nil, tooWide(precision, typeScale)
		}
	}
	return formatDecimal(negative, digits, scale), nil
}

// plainNumber writes a number as PostgreSQL before 16 knows it, which has no single
// underscores between digits and only decimal integers. What is no number stays as it is.
func plainNumber(s string) string {
	if prefixed.MatchString(s) {
		if n, ok := new(big.Int).SetString(s, 0); ok && len(s) <= 4*maxNumericDigits {
			return n.String()
		}
		return s
	}
	out := make([]byte, 0, len(s))
	for i := range len(s) {
		if s[i] != '_' {
			out = append(out, s[i])
		} else if i == 0 || i+1 == len(s) || !digit(s[i-1]) || !digit(s[i+1]) {
			return s
		}
	}
	return string(out)
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

func infiniteNumeric(t plan.Type, name string, constrained bool) ([]byte, error) {
	if precision, scale, _ := t.Precision(); constrained {
		return nil, &pgError{Code: codeOutOfRange, Message: numericOverflow,
			Detail: fmt.Sprintf("A field with precision %d, scale %d cannot hold an infinite value.", precision, scale)}
	}
	return []byte(name), nil
}

const numericOverflow = "numeric field overflow"

// tooWide says which numbers a numeric(p,s) holds.
func tooWide(precision, scale int) *pgError {
	limit := "1"
	if precision != scale {
		limit = "10^" + strconv.Itoa(precision-scale)
	}
	return &pgError{Code: codeOutOfRange, Message: numericOverflow,
		Detail: fmt.Sprintf("A field with precision %d, scale %d must round to an absolute value less than %s.", precision, scale, limit)}
}

// splitDecimal gives sign, digits and how many of the digits are decimals
// (never negative).
func splitDecimal(s string) (negative bool, digits string, scale int, ok bool) {
	if s != "" && (s[0] == '-' || s[0] == '+') {
		negative = s[0] == '-'
		s = s[1:]
	}
	mantissa, exponent := s, 0
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		n, err := strconv.Atoi(s[i+1:])
		if err != nil || n > 2*maxNumericDigits || n < -2*maxNumericDigits {
			return false, "", 0, false
		}
		mantissa, exponent = s[:i], n
	}
	whole, decimals, _ := strings.Cut(mantissa, ".")
	digits = whole + decimals
	if digits == "" || strings.Trim(digits, "0123456789") != "" || len(digits) > 2*maxNumericDigits {
		return false, "", 0, false
	}
	scale = len(decimals) - exponent
	if scale < 0 {
		digits += strings.Repeat("0", -scale)
		scale = 0
	}
	return negative, digits, scale, true
}

// rescale rounds half away from zero to a number of decimals. A negative scale
// rounds whole digits; the result then ends in zeros that are not written.
func rescale(digits string, from, to int) string {
	if to >= from {
		return digits + strings.Repeat("0", to-from)
	}
	drop := from - to
	digits = strings.Repeat("0", max(0, drop+1-len(digits))) + digits
	kept, rest := digits[:len(digits)-drop], digits[len(digits)-drop:]
	if rest[0] < '5' {
		return kept
	}
	out := []byte(kept)
	for i := len(out) - 1; i >= 0; i-- {
		if out[i] < '9' {
			out[i]++
			return string(out)
		}
		out[i] = '0'
	}
	return "1" + string(out)
}

// formatDecimal writes the canonical form. Zero has no sign.
func formatDecimal(negative bool, digits string, scale int) []byte {
	if scale < 0 {
		digits += strings.Repeat("0", -scale)
		scale = 0
	}
	digits = strings.Repeat("0", max(0, scale+1-len(digits))) + digits
	whole, decimals := strings.TrimLeft(digits[:len(digits)-scale], "0"), digits[len(digits)-scale:]
	if whole == "" {
		whole = "0"
	}
	out := make([]byte, 0, len(whole)+scale+2)
	if negative && strings.Trim(digits, "0") != "" {
		out = append(out, '-')
	}
	out = append(out, whole...)
	if scale > 0 {
		out = append(append(out, '.'), decimals...)
	}
	return out
}

// Signs in the binary format: int16 ndigits, int16 weight, uint16 sign,
// uint16 dscale, ndigits × int16 of base 10000 (numeric_send in numeric.c).
const (
	numericPositive = 0x0000
	numericNegative = 0x4000
	numericNaN      = 0xC000
	numericPInf     = 0xD000
	numericNInf     = 0xF000
	infinityScale   = 32 // what numeric_send says of infinities
)

func numericFromBinary(data []byte) ([]byte, error) {
	if len(data) < 8 {
		return nil, badBinary(plan.Numeric)
	}
	n := int(binary.BigEndian.Uint16(data))
	weight := int(int16(binary.BigEndian.Uint16(data[2:])))
	sign, dscale := binary.BigEndian.Uint16(data[4:]), int(binary.BigEndian.Uint16(data[6:]))
	if len(data) != 8+2*n || dscale > maxNumericScale {
		return nil, badBinary(plan.Numeric)
	}
	switch sign {
	case numericNaN:
		return []byte("NaN"), nil
	case numericPInf:
		return []byte("Infinity"), nil
	case numericNInf:
		return []byte("-Infinity"), nil
	case numericPositive, numericNegative:
	default:
		return nil, badBinary(plan.Numeric)
	}
	group := func(i int) (int, bool) {
		if i < 0 || i >= n {
			return 0, true
		}
		g := int(binary.BigEndian.Uint16(data[8+2*i:]))
		return g, g < 10000
	}
	var digits strings.Builder
	write := func(i int) bool {
		g, ok := group(i)
		s := strconv.Itoa(g % 10000)
		digits.WriteString("0000"[len(s):] + s)
		return ok
	}
	ok := true
	for i := 0; i <= weight; i++ {
		ok = write(i) && ok
	}
	groups := (dscale + 3) / 4
	for i := weight + 1; i <= weight+groups; i++ {
		ok = write(i) && ok
	}
	if !ok {
		return nil, badBinary(plan.Numeric)
	}
	// What stands behind dscale is dropped, as numeric_recv does.
	text := digits.String()
	text = text[:len(text)-(groups*4-dscale)]
	return formatDecimal(sign == numericNegative, text, dscale), nil
}

func numericToBinary(dst []byte, s string) ([]byte, error) {
	head := func(n int, weight int, sign uint16, dscale int) {
		dst = binary.BigEndian.AppendUint16(dst, uint16(n))
		dst = binary.BigEndian.AppendUint16(dst, uint16(int16(weight)))
		dst = binary.BigEndian.AppendUint16(dst, sign)
		dst = binary.BigEndian.AppendUint16(dst, uint16(dscale))
	}
	switch s {
	case "NaN":
		head(0, 0, numericNaN, 0)
		return dst, nil
	case "Infinity":
		head(0, 0, numericPInf, infinityScale)
		return dst, nil
	case "-Infinity":
		head(0, 0, numericNInf, infinityScale)
		return dst, nil
	}
	negative, digits, scale, ok := splitDecimal(s)
	if !ok {
		return nil, errForm()
	}
	whole, decimals := digits[:len(digits)-scale], digits[len(digits)-scale:]
	whole = strings.Repeat("0", (4-len(whole)%4)%4) + whole
	decimals += strings.Repeat("0", (4-len(decimals)%4)%4)
	weight := len(whole)/4 - 1
	var groups []uint16
	for all := whole + decimals; all != ""; all = all[4:] {
		g, err := strconv.Atoi(all[:4])
		if err != nil {
			return nil, errForm()
		}
		groups = append(groups, uint16(g))
	}
	for len(groups) > 0 && groups[0] == 0 {
		groups, weight = groups[1:], weight-1
	}
	for len(groups) > 0 && groups[len(groups)-1] == 0 {
		groups = groups[:len(groups)-1]
	}
	if len(groups) == 0 {
		weight = 0
	}
	sign := uint16(numericPositive)
	if negative && len(groups) > 0 {
		sign = numericNegative
	}
	head(len(groups), weight, sign, scale)
	for _, g := range groups {
		dst = binary.BigEndian.AppendUint16(dst, g)
	}
	return dst, nil
}
