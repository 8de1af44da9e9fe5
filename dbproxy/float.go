// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"encoding/binary"
	"errors"
	"math"
	"math/big"
	"strconv"
	"strings"

	"github.com/sidekey/sidekey/dbproxy/plan"
)

func floatBits(oid uint32) int {
	if oid == plan.Float4 {
		return 32
	}
	return 64
}

// floatBytes is the canonical form of a float4 or float8: IEEE 754, big endian.
func floatBytes(oid uint32, v float64) []byte {
	if oid == plan.Float4 {
		return binary.BigEndian.AppendUint32(nil, math.Float32bits(float32(v)))
	}
	return binary.BigEndian.AppendUint64(nil, math.Float64bits(v))
}

// notANumber is PostgreSQL's: [math.NaN] has another bit set.
var notANumber = math.Float64frombits(0x7FF8 << 48)

func floatOf(canonical []byte) float64 {
	if len(canonical) == 4 {
		return float64(math.Float32frombits(binary.BigEndian.Uint32(canonical)))
	}
	return math.Float64frombits(binary.BigEndian.Uint64(canonical))
}

// parseFloat reads what strtod and strtof read: decimal and hexadecimal numbers.
// One that is too great, or too small to differ from zero, is out of range.
func parseFloat(oid uint32, s string) (float64, error) {
	t := plan.Type{OID: oid, Typmod: -1}
	text := strings.ToLower(trimSpace(s))
	if strings.TrimLeft(text, "+-") == "nan" && len(text) <= 4 {
		return notANumber, nil
	}
	mantissa, exponent := text, "e"
	if strings.Contains(text, "0x") {
		if exponent = "p"; !strings.Contains(text, exponent) {
			text += "p0"
		}
	}
	mantissa, _, _ = strings.Cut(strings.Replace(mantissa, "0x", "", 1), exponent)
	v, err := strconv.ParseFloat(text, floatBits(oid))
	switch {
	case strings.Contains(text, "_"), err != nil && !errors.Is(err, strconv.ErrRange):
		return 0, badSyntax(t, s)
	case err != nil, v == 0 && strings.ContainsAny(mantissa, "123456789abcdef"):
		return 0, failf(codeOutOfRange, "%q is out of range for type %s", s, t)
	}
	return v, nil
}

// appendFloat writes the shortest digits that read back as the same value, as
// PostgreSQL does while extra_float_digits is at least 1, its default.
func appendFloat(dst []byte, v float64, bits int) []byte {
	switch {
	case math.IsNaN(v):
		return append(dst, "NaN"...)
	case math.IsInf(v, 0):
		if v < 0 {
			dst = append(dst, '-')
		}
		return append(dst, "Infinity"...)
	}
	digits := shortestDigits(v, bits)
	mantissa, exp, _ := strings.Cut(digits, "e")
	e, _ := strconv.Atoi(exp)
	if precision := map[int]int{32: 6, 64: 15}[bits]; e < -4 || e >= precision {
		return append(dst, digits...)
	}
	decimals := max(len(strings.Trim(strings.Replace(mantissa, ".", "", 1), "-"))-1-e, 0)
	return strconv.AppendFloat(dst, v, 'f', decimals, bits)
}

// shortestDigits is v with the fewest digits that read back as v, however a
// reader rounds what lies in the middle of two values: strconv trusts it to round
// to even, and PostgreSQL does not. Of equally near digits it takes the even ones.
func shortestDigits(v float64, bits int) string {
	shortest := strconv.FormatFloat(v, 'e', -1, bits)
	mantissa, _, _ := strings.Cut(shortest, "e")
	n := len(strings.Trim(strings.Replace(mantissa, ".", "", 1), "-"))
	for ; ; n++ {
		digits := strconv.FormatFloat(v, 'e', n-1, bits)
		if back, err := strconv.ParseFloat(digits, bits); err != nil || back != v {
			digits = shortest
		}
		if !inTheMiddle(v, digits, n, bits) {
			return digits
		}
	}
}

// inTheMiddle says whether n digits, which read back as v, lie in the exact middle
// between v and a value next to it.
func inTheMiddle(v float64, digits string, n, bits int) bool {
	mantissa, exp, _ := strings.Cut(digits, "e")
	e, _ := strconv.Atoi(exp)
	k := e - (n - 1)
	// The middle has one bit more than a value, the last one set. So it is
	// D * 10^k with D * 5^k of at least so many bits.
	d, _ := strconv.ParseFloat(strings.Trim(strings.Replace(mantissa, ".", "", 1), "-"), 64)
	if size := map[int]float64{32: 1 << 24, 64: 1 << 53}[bits]; k > 23 || d*math.Pow(5, float64(max(k, 0))) < size*0.999 {
		return false
	}
	decimal, _, err := big.ParseFloat(digits, 10, 400, big.ToNearestEven)
	if err != nil {
		return false
	}
	for _, toward := range []float64{math.Inf(1), math.Inf(-1)} {
		next := math.Nextafter(v, toward)
		if bits == 32 {
			next = float64(math.Nextafter32(float32(v), float32(toward)))
		}
		if math.IsInf(next, 0) {
			continue
		}
		middle := new(big.Float).SetPrec(400).Add(big.NewFloat(v), big.NewFloat(next))
		if middle.Quo(middle, big.NewFloat(2)).Cmp(decimal) == 0 {
			return true
		}
	}
	return false
}
