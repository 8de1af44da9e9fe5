// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"math/big"
	"strings"
	"time"

	"github.com/sidekey/sidekey/dbproxy/plan"
	"github.com/sidekey/sidekey/proxy"
)

// A constant that a column is compared with need not be a value of the column's
// type: an integer column may be compared with 10.5 or with 3000000000. PostgreSQL
// then compares across types. Here the constant gets a place among the values of
// the column: that of a value, or right above one, or below them all. In mode range
// all comparisons with that place are right; in mode equality it equals no value.

// place is where a constant stands among the canonical values of a type.
type place struct {
	value []byte // canonical; nil below all
	above bool   // right above value, and below the next one
}

// sealValue seals a value that arrives for a protected column, for its use. oid is
// the type that the client declares or the text says; Unspecified means the
// column's.
func (s *session) sealValue(ctx context.Context, use plan.Use, r *plan.Rule, oid uint32, format int16, data []byte, loc locale) ([]byte, error) {
	form, err := formFor(use, r, oid, format, data, loc)
	if err != nil {
		return nil, err
	}
	return s.sealForm(ctx, r, form)
}

// formFor gives the plaintext of the ciphertext that stands for a value.
func formFor(use plan.Use, r *plan.Rule, oid uint32, format int16, data []byte, loc locale) ([]byte, error) {
	var compared []byte
	if use&(plan.Compare|plan.Order) != 0 {
		p, err := placeOf(r.Type, oid, format, data, loc)
		if err != nil {
			return nil, err
		}
		if use&plan.Read != 0 && !p.readable(r.Type, oid, format, data, loc) {
			return nil, &pgError{Code: codeNotSupported, Message: "a value that is mixed with those of protected column " + r.Name() + " is not one of type " + r.Type.String(),
				Hint: "The server cannot give the result another type."}
		}
		if compared, err = p.form(r); err != nil || use&plan.Store == 0 {
			return compared, err
		}
	}
	value, err := decodeValue(r.Type, oid, format, data, loc)
	if err != nil {
		return nil, err
	}
	stored, err := sealedForm(r, value)
	if err == nil && compared != nil && !bytes.Equal(stored, compared) {
		return nil, &pgError{Code: codeNotSupported, Message: "a parameter is stored in and compared with a column of type " + r.Type.String() + ", which does not hold it exactly",
			Hint: "Pass the value twice, as two parameters."}
	}
	return stored, err
}

// readable says whether what is sealed for the place is the constant when it is opened.
func (p place) readable(t plan.Type, oid uint32, format int16, data []byte, loc locale) bool {
	if t.OID == plan.Numeric {
		exact, err := decodeValue(plan.Type{OID: plan.Numeric, Typmod: -1}, oid, format, data, loc)
		return err == nil && bytes.Equal(exact, p.value)
	}
	return p.value != nil && !p.above
}

// form gives the plaintext of a constant's ciphertext. It is never nil.
func (p place) form(r *plan.Rule) ([]byte, error) {
	t := r.Type
	switch {
	case p.value == nil:
		// Shorter than every value; in mode equality it must equal none.
		if r.Ordered || t.Len() > 0 || t.OID == plan.Numeric {
			return []byte{}, nil
		}
		return nil, errForm()
	case (t.OID == plan.Float4 || t.OID == plan.Float8) && floatOf(p.value) == 0:
		p.value = floatBytes(t.OID, 0)
	}
	if !r.Ordered {
		form, err := sealedForm(r, p.value)
		if p.above {
			form = append(bytes.Clone(form), orderedZero)
		}
		return nonNil(form), err
	}
	form, err := orderedPlace(t, p.value)
	if err != nil {
		return nil, err
	}
	if p.above {
		form = append(bytes.Clone(form), orderedZero)
	}
	// What is longer than all that is stored compares as its beginning does.
	return nonNil(form[:min(len(form), proxy.MaxRange+1)]), nil
}

// orderedPlace is orderedForm, also for numerics that the column does not hold.
func orderedPlace(t plan.Type, value []byte) ([]byte, error) {
	if (t.OID == plan.Float4 || t.OID == plan.Float8) && math.IsNaN(floatOf(value)) {
		value = floatBytes(t.OID, notANumber)
	}
	return orderedForm(t, value)
}

// placeOf reads a constant as PostgreSQL does when it compares a column with it.
func placeOf(t plan.Type, oid uint32, format int16, data []byte, loc locale) (place, error) {
	untyped := oid == plan.Unspecified || oid == plan.Unknown
	if untyped || own(t, oid) {
		oid = t.OID
	}
	if !comparable(oid, t.OID) {
		return place{}, mismatch(t, oid)
	}
	if t.OID == plan.CIDR && untyped && format == formatText {
		// The operators are those of inet, and so is what has no type.
		if value, err := parseInet(plan.Inet, string(data)); err == nil {
			return place{value: asNetwork(value)}, nil
		}
	}
	// A constant is of no length or precision.
	from := plan.Type{OID: oid, Typmod: -1, Enum: t.Enum, Labels: t.Labels}
	value, err := decodeValue(from, oid, format, data, loc)
	if err != nil {
		return place{}, err
	}
	switch {
	case integer(t.OID):
		return placeOfInteger(t, oid, value)
	case t.OID == plan.Numeric:
		return placeOfNumeric(t, oid, value)
	case t.OID == plan.Float4 || t.OID == plan.Float8:
		return placeOfFloat(t, oid, value)
	case textual(t.OID):
		// char compares without trailing blanks, also with varchar, and gives none
		// to a text.
		if oid == plan.BPChar || t.OID == plan.BPChar && oid == plan.Varchar {
			value = bytes.TrimRight(value, " ")
		}
		return place{value: nonNil(value)}, nil
	case t.OID == plan.Inet && oid != t.OID:
		value, err = convert(t, from, value, loc)
		return place{value: value}, err
	case t.OID == plan.CIDR:
		return place{value: asNetwork(value)}, nil
	case oid != t.OID:
		return placeOfTime(t, oid, value, loc.zone)
	}
	return place{value: nonNil(value)}, nil
}

// comparable says for which types there is an operator that compares a constant
// of type from with a column, whose result the values alone decide.
func comparable(from, to uint32) bool {
	switch {
	case from == to:
		return true
	case to == plan.Text:
		return from == plan.Varchar || from == plan.BPChar
	case to == plan.Varchar:
		return from == plan.Text // and not char, under which blanks at the column's end do not count
	case to == plan.BPChar:
		return from == plan.Text || from == plan.Varchar
	case number(to):
		return number(from)
	}
	switch to {
	case plan.Timestamptz:
		return from == plan.Timestamp || from == plan.Date
	case plan.Timestamp:
		return from == plan.Date
	case plan.Date:
		return from == plan.Timestamp
	case plan.Inet, plan.CIDR:
		return from == plan.CIDR || from == plan.Inet
	}
	return false
}

// placeOfInteger finds the greatest integer that is not greater.
func placeOfInteger(t plan.Type, from uint32, value []byte) (place, error) {
	low, high := integerRange(t.OID)
	below, above := place{}, place{value: intBytes(t.OID, high), above: true}
	var floor *big.Int
	exact := true
	switch {
	case integer(from):
		floor = big.NewInt(intOf(value))
	case from == plan.Numeric:
		switch s := string(value); s {
		case "-Infinity":
			return below, nil
		case "NaN", "Infinity":
			return above, nil
		default:
			floor, exact = floorDecimal(s, 0)
		}
	default:
		v := floatOf(value)
		if t.OID == plan.Int8 && math.Abs(v) >= 1<<53 && math.Abs(v) <= 1<<63 {
			return place{}, notExact(t, from)
		}
		switch {
		case math.IsInf(v, -1):
			return below, nil
		case math.IsInf(v, 1) || math.IsNaN(v):
			return above, nil
		}
		floor, _ = big.NewFloat(math.Floor(v)).Int(nil)
		exact = math.Floor(v) == v
	}
	switch {
	case floor.Cmp(big.NewInt(low)) < 0:
		return below, nil
	case floor.Cmp(big.NewInt(high)) > 0:
		return above, nil
	}
	return place{value: intBytes(t.OID, floor.Int64()), above: !exact}, nil
}

func integerRange(oid uint32) (low, high int64) {
	bits := 8 * uint(plan.Type{OID: oid}.Len())
	return math.MinInt64 >> (64 - bits), math.MaxInt64 >> (64 - bits)
}

// notExact refuses a float that is compared with values that PostgreSQL rounds to
// floats first, so that several of them could equal it.
func notExact(t plan.Type, from uint32) *pgError {
	return &pgError{Code: codeNotSupported,
		Message: "a value of type " + plan.Type{OID: from, Typmod: -1}.String() + " cannot be compared exactly with a protected column of type " + t.String(),
		Hint:    "Cast the value to the column's type."}
}

// floorDecimal gives the greatest integer n with n / 10^scale not above s, and
// whether that is s. It has more than any column's digits if s has.
func floorDecimal(s string, scale int) (n *big.Int, exact bool) {
	negative, digits, decimals, _ := splitDecimal(s)
	if decimals <= scale {
		return unscaled(negative, digits+strings.Repeat("0", scale-decimals)), true
	}
	drop := decimals - scale
	digits = strings.Repeat("0", max(0, drop-len(digits))) + digits
	n = unscaled(negative, digits[:len(digits)-drop])
	exact = strings.Trim(digits[len(digits)-drop:], "0") == ""
	if negative && !exact {
		n.Sub(n, big.NewInt(1))
	}
	return n, exact
}

// placeOfNumeric finds the greatest value of the column's scale that is not greater.
func placeOfNumeric(t plan.Type, from uint32, value []byte) (place, error) {
	precision, scale, ok := t.Precision()
	if !ok {
		return place{}, errForm()
	}
	if from == plan.Float4 || from == plan.Float8 {
		return placeAmongFloats(t, from, value, precision, max(scale, 0))
	}
	s := string(toDecimal(from, value))
	limit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(precision-min(scale, 0))), nil)
	top := place{value: formatUnscaled(limit, max(scale, 0))}
	switch s {
	case "NaN":
		return place{value: []byte("NaN")}, nil
	case "Infinity":
		return top, nil
	case "-Infinity":
		return place{}, nil
	}
	n, exact := floorDecimal(s, max(scale, 0))
	switch {
	case n.Cmp(limit) >= 0:
		return top, nil
	case n.CmpAbs(limit) >= 0:
		return place{}, nil
	}
	return place{value: formatUnscaled(n, max(scale, 0)), above: !exact}, nil
}

// formatUnscaled writes n / 10^scale.
func formatUnscaled(n *big.Int, scale int) []byte {
	return formatDecimal(n.Sign() < 0, new(big.Int).Abs(n).String(), scale)
}

// placeAmongFloats compares as PostgreSQL does with a float: the column's values
// become floats, which is exact enough to tell them apart up to 15 digits.
func placeAmongFloats(t plan.Type, from uint32, value []byte, precision, scale int) (place, error) {
	v := floatOf(value)
	if math.IsInf(v, 0) || math.IsNaN(v) {
		return placeOfNumeric(t, plan.Numeric, toDecimal(from, value))
	}
	if precision > 15 {
		return place{}, notExact(t, from)
	}
	exactly := new(big.Rat).SetFloat64(v)
	n, _ := floorDecimal(exactly.FloatString(scale+1), scale)
	// The value of the column that becomes v may be on either side of it.
	for i := int64(1); i >= -1; i-- {
		near := formatUnscaled(new(big.Int).Add(n, big.NewInt(i)), scale)
		f, err := parseFloat(plan.Float8, string(near))
		if err != nil {
			return place{}, err
		}
		if f <= v {
			p, err := placeOfNumeric(t, plan.Numeric, near)
			p.above = p.above || f < v && p.value != nil
			return p, err
		}
	}
	return place{}, notExact(t, from)
}

// placeOfFloat finds the greatest float of the column's size that is not greater:
// PostgreSQL compares what is not of the column's type as float8.
func placeOfFloat(t plan.Type, from uint32, value []byte) (place, error) {
	if from == t.OID {
		return place{value: value}, nil
	}
	v, err := toFloat(plan.Float8, from, value)
	if err != nil {
		return place{}, err
	}
	if t.OID == plan.Float8 {
		return place{value: floatBytes(t.OID, v)}, nil
	}
	narrow := float32(v)
	if float64(narrow) > v {
		narrow = math.Nextafter32(narrow, float32(math.Inf(-1)))
	}
	return place{value: floatBytes(t.OID, float64(narrow)), above: float64(narrow) < v}, nil
}

// placeOfTime compares dates and timestamps.
func placeOfTime(t plan.Type, from uint32, value []byte, loc *time.Location) (place, error) {
	us, err := localMicros(from, value, loc)
	if err != nil {
		return place{}, err
	}
	switch t.OID {
	case plan.Date:
		day := dayOf(us)
		return place{value: binary.BigEndian.AppendUint32(nil, uint32(day)), above: day != math.MaxInt32 && day != math.MinInt32 && us%usPerDay != 0}, nil
	case plan.Timestamptz:
		if us, err = toUTC(us, loc); err != nil {
			return place{}, err
		}
	}
	return place{value: binary.BigEndian.AppendUint64(nil, uint64(us))}, nil
}
