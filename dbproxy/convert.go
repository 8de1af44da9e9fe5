// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"encoding/binary"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/sidekey/sidekey/dbproxy/plan"
)

// convert makes a canonical value of one type into one of a column's type, as
// PostgreSQL's assignment casts do. The pair is one that assignable knows.
func convert(t, from plan.Type, value []byte, loc locale) ([]byte, error) {
	switch {
	case textual(t.OID):
		return convertToText(t, from, value, loc.zone)
	case number(t.OID):
		return convertNumber(t, from.OID, value, loc.version)
	}
	switch t.OID {
	case plan.Date, plan.Time, plan.Timestamp, plan.Timestamptz, plan.Interval:
		return convertTime(t, from.OID, value, loc.zone)
	case plan.CIDR:
		return toNetwork(value)
	case plan.Inet:
		p, ok := prefixOf(value)
		if !ok {
			return nil, errForm()
		}
		return inetBytes(p, false), nil
	}
	return parseText(t, string(value), loc) // json and jsonb
}

// convertToText stores the text form of any type.
func convertToText(t, from plan.Type, value []byte, loc *time.Location) ([]byte, error) {
	switch from.OID {
	case plan.Bool:
		return checkText(t, strconv.FormatBool(value[0] != 0))
	case plan.BPChar:
		return checkText(t, strings.TrimRight(string(value), " "))
	}
	text, err := encodeValue(nil, from, formatText, value, loc)
	if err != nil {
		return nil, err
	}
	return checkText(t, string(text))
}

func convertNumber(t plan.Type, from uint32, value []byte, version int) ([]byte, error) {
	switch {
	case integer(t.OID):
		n, err := toInteger(t.OID, from, value)
		if err != nil {
			return nil, err
		}
		return intBytes(t.OID, n), nil
	case t.OID == plan.Numeric:
		text := string(toDecimal(from, value))
		if version < 14 && strings.HasSuffix(text, "Infinity") {
			return nil, failf(codeNotSupported, "cannot convert infinity to numeric")
		}
		return parseNumeric(t, text, version)
	}
	v, err := toFloat(t.OID, from, value)
	if err != nil {
		return nil, err
	}
	return floatBytes(t.OID, v), nil
}

// toInteger rounds a numeric half away from zero and a float half to even.
func toInteger(to, from uint32, value []byte) (int64, error) {
	outside := failf(codeOutOfRange, "%s out of range", plan.Type{OID: to, Typmod: -1})
	var n int64
	switch {
	case integer(from):
		n = intOf(value)
	case from == plan.Numeric:
		rounded, err := parseNumeric(plan.Type{OID: plan.Numeric, Typmod: 1000<<16 + 4}, string(value), plan.Grammar)
		if strings.Contains("NaN Infinity -Infinity", string(value)) {
			return 0, failf(codeNotSupported, "cannot convert %s to %s", strings.ToLower(string(value)), plan.Type{OID: to, Typmod: -1})
		}
		if err == nil {
			n, err = strconv.ParseInt(string(rounded), 10, 64)
		}
		if err != nil {
			return 0, outside
		}
	default:
		v := math.RoundToEven(floatOf(value))
		if !(v >= math.MinInt64 && v < math.MaxInt64) {
			return 0, outside
		}
		n = int64(v)
	}
	if intOf(intBytes(to, n)) != n {
		return 0, outside
	}
	return n, nil
}

// toDecimal writes a number as a numeric: floats with as many digits as they
// surely have.
func toDecimal(from uint32, value []byte) []byte {
	switch from {
	case plan.Numeric:
		return value
	case plan.Float4, plan.Float8:
		v := floatOf(value)
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return appendFloat(nil, v, 64)
		}
		digits := 15
		if from == plan.Float4 {
			digits = 6
		}
		return strconv.AppendFloat(nil, v, 'g', digits, 64)
	}
	return strconv.AppendInt(nil, intOf(value), 10)
}

func toFloat(to, from uint32, value []byte) (float64, error) {
	switch {
	case from == plan.Numeric:
		return parseFloat(to, string(value))
	case integer(from) && to == plan.Float4:
		return float64(float32(intOf(value))), nil
	case integer(from):
		return float64(intOf(value)), nil
	}
	v := floatOf(value)
	if to == plan.Float8 {
		return v, nil
	}
	switch narrow := float64(float32(v)); {
	case math.IsInf(narrow, 0) && !math.IsInf(v, 0):
		return 0, failf(codeOutOfRange, "value out of range: overflow")
	case narrow == 0 && v != 0:
		return 0, failf(codeOutOfRange, "value out of range: underflow")
	default:
		return narrow, nil
	}
}

// convertTime goes by way of a timestamp without a zone.
func convertTime(t plan.Type, from uint32, value []byte, loc *time.Location) ([]byte, error) {
	us, err := localMicros(from, value, loc)
	if err != nil {
		return nil, err
	}
	infinite := us == math.MaxInt64 || us == math.MinInt64
	switch t.OID {
	case plan.Date:
		return binary.BigEndian.AppendUint32(nil, uint32(dayOf(us))), nil
	case plan.Interval:
		return interval{us: us}.bytes(), nil
	case plan.Time:
		if infinite {
			return nil, failf(codeDatetimeOverflow, "timestamp out of range")
		}
		return roundSeconds(t, us-floorDiv(us, usPerDay)*usPerDay)
	case plan.Timestamptz:
		if us, err = toUTC(us, loc); err != nil {
			return nil, err
		}
	}
	return roundSeconds(t, us)
}

// localMicros is a date or time in µs, as a timestamp without a zone.
func localMicros(from uint32, value []byte, loc *time.Location) (int64, error) {
	switch from {
	case plan.Date:
		return dayMicros(int32(binary.BigEndian.Uint32(value)))
	case plan.Timestamptz:
		return toLocal(intOf(value), loc)
	case plan.Interval:
		return intervalOf(value).us, nil
	}
	return intOf(value), nil
}
