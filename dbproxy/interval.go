// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"encoding/binary"
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/sidekey/sidekey/dbproxy/plan"
)

const (
	usPerSecond = 1000000
	usPerMinute = 60 * usPerSecond
	usPerHour   = 60 * usPerMinute
	usPerDay    = 24 * usPerHour
)

// interval is what PostgreSQL keeps of one: the three parts are not converted
// into each other. Its canonical form is that of interval_send:
//
//	µs 8 | days 4 | months 4
type interval struct {
	us           int64
	days, months int32
}

func (v interval) bytes() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(v.us))
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, uint32(v.days)), uint32(v.months))
}

func intervalOf(canonical []byte) interval {
	be := binary.BigEndian
	return interval{int64(be.Uint64(canonical)), int32(be.Uint32(canonical[8:])), int32(be.Uint32(canonical[12:]))}
}

// infinite says that the value is one of those that since PostgreSQL 17 stand for
// infinity, and were intervals like others before.
func (v interval) infinite() bool {
	return v == interval{math.MaxInt64, math.MaxInt32, math.MaxInt32} || v == interval{math.MinInt64, math.MinInt32, math.MinInt32}
}

func errInfinite() *pgError {
	return &pgError{Code: codeNotSupported, Message: "an infinite interval is not supported for a protected column"}
}

// intervalUnit is a unit in µs, days or months, one of which is not zero.
type intervalUnit struct {
	name         string
	us           int64
	days, months int64
}

// unitOf gives a unit by its name, of which ten letters count.
func unitOf(word string) (intervalUnit, bool) {
	word = word[:min(len(word), 10)]
	for _, u := range []struct {
		names string
		intervalUnit
	}{
		{" us usec usecs usecond useconds microsecon ", intervalUnit{name: "us", us: 1}},
		{" ms msec msecs msecond mseconds millisecon ", intervalUnit{name: "ms", us: 1000}},
		{" s sec secs second seconds ", intervalUnit{name: "s", us: usPerSecond}},
		{" m min mins minute minutes ", intervalUnit{name: "m", us: usPerMinute}},
		{" h hr hrs hour hours ", intervalUnit{name: "h", us: usPerHour}},
		{" d day days ", intervalUnit{name: "d", days: 1}},
		{" w week weeks ", intervalUnit{name: "w", days: 7}},
		{" mon mons month months ", intervalUnit{name: "mon", months: 1}},
		{" y yr yrs year years ", intervalUnit{name: "y", months: 12}},
		{" dec decs decade decades ", intervalUnit{name: "dec", months: 120}},
		{" c cent century centuries ", intervalUnit{name: "c", months: 1200}},
		{" mil mils millennia millennium ", intervalUnit{name: "mil", months: 12000}},
	} {
		if strings.Contains(u.names, " "+word+" ") {
			return u.intervalUnit, true
		}
	}
	return intervalUnit{}, false
}

// intervalSum adds up the parts of an interval and remembers overflow.
type intervalSum struct {
	us, days, months int64
	mons             int64 // those of the months that are not of whole years
	overflow         bool
	// version is the server's. PostgreSQL before 15 rounds halves of µs otherwise, and
	// has sums of 32 bits: differs says that the interval may be another one to it.
	version int
	differs bool
	counted int64 // bounds those sums, of which µs are one
}

func (n *intervalSum) old() bool { return n.version < 15 }

// count takes note of a number that is added.
func (n *intervalSum) count(whole int64, part float64, u intervalUnit) {
	if !n.old() {
		return
	}
	n.overflow = n.overflow || whole > math.MaxInt32 || whole < -math.MaxInt32
	if n.counted += max(whole, -whole); part != 0 || u.name == "ms" {
		n.counted += usPerSecond // which a fraction or milliseconds add at most
	}
	n.differs = n.differs || n.counted > math.MaxInt32
}

func (n *intervalSum) add(to *int64, value, scale int64) {
	if scale != 0 && (value > math.MaxInt64/scale || value < math.MinInt64/scale) {
		n.overflow = true
		return
	}
	value *= scale
	if sum := *to + value; (sum > *to) == (value > 0) {
		*to = sum
	} else {
		n.overflow = true
	}
}

// fraction adds a part of a unit of scale µs, rounded half away from zero.
func (n *intervalSum) fraction(part float64, scale int64) {
	part *= float64(scale)
	us := int64(part)
	rest := part - float64(us)
	n.differs = n.differs || n.old() && math.Abs(math.Abs(rest)-0.5) < 0.001
	switch {
	case rest > 0.5:
		us++
	case rest < -0.5:
		us--
	}
	n.add(&n.us, us, 1)
}

// unit adds a number of units; what is left of a month goes to days and what is
// left of a day to µs (datetime.c, DecodeInterval).
func (n *intervalSum) unit(whole int64, part float64, u intervalUnit) {
	n.count(whole, part, u)
	dayPart := func(days float64) {
		d := int64(days)
		n.add(&n.days, d, 1)
		n.fraction(days-float64(d), usPerDay)
	}
	switch {
	case u.us > 0:
		n.add(&n.us, whole, u.us)
		n.fraction(part, u.us)
	case u.name == "d":
		n.add(&n.days, whole, 1)
		n.fraction(part, usPerDay)
	case u.days > 0:
		n.add(&n.days, whole, u.days)
		dayPart(part * float64(u.days))
	case u.name == "mon":
		n.add(&n.mons, whole, 1)
		n.overflow = n.overflow || !fits32(whole) || !fits32(n.mons)
		n.add(&n.months, whole, 1)
		dayPart(part * 30)
	default:
		n.add(&n.months, whole, u.months)
		n.yearPart(part, u)
	}
}

// yearPart adds what is left of a year or more, rounded to months. PostgreSQL before
// 15 cuts the sum off instead.
func (n *intervalSum) yearPart(part float64, u intervalUnit) {
	months := int64(math.RoundToEven(part * float64(u.months)))
	if n.old() {
		months = int64(float64(n.mons)+part*12*float64(u.months/12)) - n.mons
	}
	n.mons += months
	n.add(&n.months, months, 1)
}

func fits32(v int64) bool { return v >= math.MinInt32 && v <= math.MaxInt32 }

func (n *intervalSum) value(s string) ([]byte, error) {
	if !n.overflow && fits32(n.days) && !fits32(n.months) {
		return nil, failf(codeDatetimeOverflow, "interval out of range")
	}
	if n.overflow || !fits32(n.days) {
		return nil, failf("22015", "interval field value out of range: %q", s)
	}
	if n.differs {
		return nil, &pgError{Code: codeNotSupported, Message: "the interval for a protected column is one that PostgreSQL before 15 may read in a way of its own",
			Hint: "Give not more than six digits of a fraction of seconds, and smaller numbers."}
	}
	v := interval{n.us, int32(n.days), int32(n.months)}
	if n.version >= 17 && v.infinite() {
		return nil, failf(codeDatetimeOverflow, "interval out of range")
	}
	return v.bytes(), nil
}

var (
	intervalField = regexp.MustCompile(`^\s*(?:([+-]?\d+)-(\d+)(?:$|\s)|([+-]?)(\d+):(\d+)(?::(\d+))?(\.\d*)?|([+-]?)(\d*)(\.\d*)?\s*([a-z]*))`)
	infinity      = regexp.MustCompile(`^(?i:[+-]?infinity)$`)
	isoInterval   = regexp.MustCompile(`^(-?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)([YMWDHS])`)
)

// parseInterval reads quantities with units, hh:mm:ss, years-months and ISO 8601
// with designators, as a server of a major version does.
func parseInterval(s string, version int) ([]byte, error) {
	bad := badSyntax(plan.Type{OID: plan.Interval, Typmod: -1}, s)
	bad.Code = codeBadDatetime
	text := trimSpace(s)
	n := &intervalSum{version: version}
	if strings.HasPrefix(text, "P") {
		return n.iso(s, text[1:], bad)
	}
	if version >= 17 && infinity.MatchString(text) {
		return nil, errInfinite()
	}
	text = trimSpace(strings.ReplaceAll(strings.ToLower(text), "@", " "))
	rest, ago := strings.CutSuffix(text, "ago")
	if ago = ago && (rest == "" || strings.HasSuffix(rest, " ") || strings.HasSuffix(rest, "\t")); ago {
		text = rest
	}
	var fields [][]string
	for rest := trimSpace(text); rest != ""; {
		m := intervalField.FindStringSubmatch(rest)
		if m == nil || trimSpace(m[0]) == "" {
			return nil, bad
		}
		fields = append(fields, m)
		rest = trimSpace(rest[len(m[0]):])
	}
	unit := "s"
	if ago {
		unit = "ago" // PostgreSQL, too, wants a unit before it
	}
	if ok, err := n.fields(fields, unit); err != nil || !ok {
		if err == nil {
			err = bad
		}
		return nil, err
	}
	if ago {
		n.overflow = n.overflow || !fits32(n.days)
		n.us, n.days, n.months = -n.us, -n.days, -n.months
	}
	return n.value(s)
}

// fields adds matches of intervalField from the last to the first, as PostgreSQL
// does: a number without a unit has that of the field behind it, which is days if
// that is a time, and the last one has the unit given. It is not ok if a unit comes
// twice.
func (n *intervalSum) fields(fields [][]string, unit string) (ok bool, err error) {
	seen := map[string]bool{}
	for i := len(fields) - 1; i >= 0; i-- {
		var names []string
		if names, unit, err = n.field(fields[i], unit); err != nil {
			return false, err
		}
		for _, name := range names {
			if seen[name] {
				return false, nil
			}
			seen[name] = true
		}
		if len(names) == 0 {
			return false, nil
		}
	}
	return len(fields) > 0, nil
}

// field adds one match of intervalField and says which units it was of, none if it
// is not understood, and what a number before it counts.
func (n *intervalSum) field(m []string, unit string) (names []string, before string, err error) {
	whole := func(s string) int64 {
		v, err := strconv.ParseInt(s, 10, 64)
		n.overflow = n.overflow || err != nil
		return v
	}
	if n.old() && (m[7] == "." || m[10] == ".") {
		return nil, "", nil // a point without digits behind it
	}
	sign := int64(1)
	if m[3] == "-" || m[8] == "-" {
		sign = -1
	}
	switch {
	case m[1] != "":
		names, err = n.yearsMonths(m, whole)
		return names, "mon", err
	case m[4] != "":
		names, err = n.clock(m, sign, whole)
		return names, "d", err
	case m[9] == "" && len(m[10]) < 2:
		return nil, "", nil
	}
	if m[11] != "" {
		unit = m[11]
	}
	u, ok := unitOf(unit)
	if !ok {
		return nil, "", nil
	}
	count, part := int64(0), fraction(strings.TrimPrefix(m[10], "."))
	if m[9] != "" {
		count = whole(m[9])
	}
	n.unit(sign*count, float64(sign)*part, u)
	if u.name == "s" && part != 0 {
		return secondUnits(), unit, nil
	}
	return []string{u.name}, unit, nil
}

// yearsMonths adds what SQL writes as 1-2.
func (n *intervalSum) yearsMonths(m []string, whole func(string) int64) ([]string, error) {
	years, months := whole(m[1]), whole(m[2])
	if months >= 12 {
		return nil, failf("22015", "interval field value out of range")
	}
	if strings.HasPrefix(m[1], "-") {
		months = -months
	}
	n.count(years, 0, intervalUnit{})
	n.count(months, 0, intervalUnit{})
	n.add(&n.mons, years, 12)
	n.add(&n.mons, months, 1)
	n.add(&n.months, years, 12)
	n.add(&n.months, months, 1)
	return []string{"mon"}, nil // as PostgreSQL counts it
}

// clock adds hh:mm, hh:mm:ss or mm:ss.fraction. As in PostgreSQL it takes the place
// of what fractions of larger units behind it have left.
func (n *intervalSum) clock(m []string, sign int64, whole func(string) int64) ([]string, error) {
	h, min, sec := whole(m[4]), whole(m[5]), int64(0)
	switch {
	case m[6] != "":
		sec = whole(m[6])
	case m[7] != "":
		h, min, sec = 0, h, min
	}
	if min > 59 || sec > 60 {
		if m[3] != "" {
			return nil, nil
		}
		return nil, failf("22015", "interval field value out of range")
	}
	n.us = 0
	n.count(h, 0, intervalUnit{})
	n.add(&n.us, sign*h, usPerHour)
	n.add(&n.us, sign*(min*60+sec), usPerSecond)
	n.add(&n.us, sign*int64(math.RoundToEven(fraction(strings.TrimPrefix(m[7], "."))*usPerSecond)), 1)
	return append(secondUnits(), "h", "m"), nil
}

// secondUnits are those that a fraction of a second stands for.
func secondUnits() []string { return []string{"s", "ms", "us"} }

// iso reads ISO 8601 behind its P.
func (n *intervalSum) iso(s, text string, bad *pgError) ([]byte, error) {
	date, clock, hasClock := strings.Cut(text, "T")
	units := map[string]string{"Y": "y", "M": "mon", "W": "w", "D": "d"}
	fields := 0
	for rest := date; ; {
		if rest == "" && hasClock {
			rest, hasClock, units = clock, false, map[string]string{"H": "h", "M": "m", "S": "s"}
		}
		if rest == "" {
			break
		}
		m := isoInterval.FindStringSubmatch(rest)
		if m == nil || units[m[2]] == "" {
			return nil, &pgError{Code: bad.Code, Message: bad.Message, Hint: "Protected columns read ISO 8601 intervals with designators, such as P1Y2M3DT4H5M6S."}
		}
		rest = rest[len(m[0]):]
		fields++
		v, err := strconv.ParseFloat(m[1], 64)
		if err != nil || math.Abs(v) >= 1<<62 {
			n.overflow, v = true, 0
		}
		count := int64(v)
		part := v - float64(count)
		u, _ := unitOf(units[m[2]])
		n.unit(count, part, u)
	}
	if fields == 0 {
		return nil, bad
	}
	return n.value(s)
}

// appendInterval writes IntervalStyle postgres.
func appendInterval(dst []byte, v interval) []byte {
	start := len(dst)
	negative := false
	part := func(n int64, unit string) {
		if n == 0 {
			return
		}
		if len(dst) > start {
			dst = append(dst, ' ')
		}
		if negative && n > 0 {
			dst = append(dst, '+')
		}
		dst = append(append(strconv.AppendInt(dst, n, 10), ' '), unit...)
		if n != 1 {
			dst = append(dst, 's')
		}
		negative = n < 0
	}
	part(int64(v.months/12), "year")
	part(int64(v.months%12), "mon")
	part(int64(v.days), "day")
	if v.us == 0 && len(dst) > start {
		return dst
	}
	if len(dst) > start {
		dst = append(dst, ' ')
	}
	us := uint64(v.us)
	if v.us < 0 {
		us = -us
		dst = append(dst, '-')
	} else if negative {
		dst = append(dst, '+')
	}
	dst = appendPadded(dst, us/usPerHour, 2)
	dst = appendPadded(append(dst, ':'), us/usPerMinute%60, 2)
	dst = appendPadded(append(dst, ':'), us/usPerSecond%60, 2)
	return appendMicros(dst, int(us%usPerSecond))
}

// appendPadded writes a number with at least so many digits.
func appendPadded(dst []byte, n uint64, digits int) []byte {
	s := strconv.FormatUint(n, 10)
	for range digits - len(s) {
		dst = append(dst, '0')
	}
	return append(dst, s...)
}

// appendMicros writes a fraction of a second without trailing zeros.
func appendMicros(dst []byte, us int) []byte {
	if us == 0 {
		return dst
	}
	dst = appendPadded(append(dst, '.'), uint64(us), 6)
	for dst[len(dst)-1] == '0' {
		dst = dst[:len(dst)-1]
	}
	return dst
}
