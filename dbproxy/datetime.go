// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"encoding/binary"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/sidekey/sidekey/dbproxy/plan"
)

// Dates and times are read in ISO form only, and written so; other DateStyles
// are refused for protected columns. Years are proleptic Gregorian, as in
// PostgreSQL; year 1 BC is 0.

const (
	unixToPostgres = 946684800 // seconds from 1970-01-01 to 2000-01-01
	minDate        = -2451545  // 4713-11-24 BC
	endDate        = 2145031949
	minTimestamp   = -211813488000000000
	endTimestamp   = 9223371331200000000
)

func dateInRange(d int32) bool {
	return d == math.MaxInt32 || d == math.MinInt32 || d >= minDate && d < endDate
}

func timestampInRange(us int64) bool {
	return us == math.MaxInt64 || us == math.MinInt64 || us >= minTimestamp && us < endTimestamp
}

// datetimePattern is the ISO form: date, time, zone, era.
var datetimePattern = regexp.MustCompile(`^(\d{4,7})-(\d{1,2})-(\d{1,2})` +
	`(?:[ Tt]+(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{0,20}))?)?)?` +
	`(?: *(Z|z|UTC|utc|GMT|gmt|[+-]\d{1,2}(?::?\d{2}(?::?\d{2})?)?|[A-Za-z]+(?:/[A-Za-z0-9_+-]+)+))?` +
	`( +(?:BC|bc|AD|ad))?$`)

// openSeconds are those with a point and no digits behind it, of which PostgreSQL
// before 15 makes nothing.
var openSeconds = regexp.MustCompile(`:\d+\.(?:\D|$)`)

type datetime struct {
	year, month, day, hour, min, sec, usec int
	zone                                   string
	hasTime                                bool
}

// parseDatetime reads the ISO form; infinity is +1 or -1 for the special values.
func parseDatetime(t plan.Type, s string) (d datetime, infinity int, err error) {
	text := trimSpace(s)
	switch strings.ToLower(text) {
	case "infinity", "+infinity":
		return d, 1, nil
	case "-infinity":
		return d, -1, nil
	case "epoch":
		return datetime{year: 1970, month: 1, day: 1, zone: "Z", hasTime: true}, 0, nil
	}
	if len(text) == 8 && strings.Trim(text, "0123456789") == "" {
		text = text[:4] + "-" + text[4:6] + "-" + text[6:]
	}
	m := datetimePattern.FindStringSubmatch(text)
	if m == nil || m[4] == "" && strings.HasPrefix(m[8], "-") {
		return d, 0, notISO(t, s, "Protected columns read dates and times in ISO form, such as 2006-01-02 15:04:05+00.")
	}
	n := func(i int) int { v, _ := strconv.Atoi(m[i]); return v }
	d = datetime{year: n(1), month: n(2), day: n(3), hour: n(4), min: n(5), sec: n(6), zone: m[8], hasTime: m[4] != ""}
	d.usec = int(math.RoundToEven(fraction(m[7]) * 1e6))
	if strings.EqualFold(strings.TrimSpace(m[9]), "BC") {
		if d.year == 0 {
			return d, 0, failf(codeDatetimeOverflow, "date/time field value out of range: %q", s)
		}
		d.year = 1 - d.year
	} else if d.year == 0 {
		return d, 0, failf(codeDatetimeOverflow, "date/time field value out of range: %q", s)
	}
	last := time.Date(d.year, time.Month(d.month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
	midnight := d.hour == 24 && d.min == 0 && d.sec == 0 && d.usec == 0
	if timeless := d.hour > 23 && !midnight || d.min > 59 || d.sec > 60; timeless || d.month < 1 || d.month > 12 || d.day < 1 || d.day > last {
		e := failf(codeDatetimeOverflow, "date/time field value out of range: %q", s)
		if !timeless && (d.month < 1 || d.month > 12 || d.day < 1 || d.day > 31) {
			e.Hint = `Perhaps you need a different "datestyle" setting.`
		}
		return d, 0, e
	}
	return d, 0, nil
}

// notISO refuses a text. The hint is for one that PostgreSQL may read.
func notISO(t plan.Type, s, hint string) *pgError {
	e := badSyntax(t, s)
	switch strings.ToLower(trimSpace(s)) {
	case "now", "today", "tomorrow", "yesterday":
		e.Hint = hint
	}
	if strings.ContainsAny(s, "0123456789") {
		e.Hint = hint
	}
	return e
}

func fraction(digits string) float64 {
	f, _ := strconv.ParseFloat("0."+digits+"0", 64)
	return f
}

// parseMoment reads a date, time or timestamp as the server does.
func parseMoment(t plan.Type, s string, loc locale) ([]byte, error) {
	if loc.version < 15 && openSeconds.MatchString(s) {
		return nil, badSyntax(t, s)
	}
	switch t.OID {
	case plan.Date:
		return parseDate(s)
	case plan.Time:
		return parseTime(t, s)
	}
	return parseTimestamp(t, s, loc.zone)
}

func parseDate(s string) ([]byte, error) {
	t := plan.Type{OID: plan.Date, Typmod: -1}
	d, infinity, err := parseDatetime(t, s)
	if err != nil {
		return nil, err
	}
	days := int64(math.MaxInt32)
	switch infinity {
	case -1:
		days = math.MinInt32
	case 0:
		days = (time.Date(d.year, time.Month(d.month), d.day, 0, 0, 0, 0, time.UTC).Unix() - unixToPostgres) / 86400
		if days < minDate || days >= endDate {
			return nil, failf(codeDatetimeOverflow, "date out of range: %q", s)
		}
	}
	return binary.BigEndian.AppendUint32(nil, uint32(int32(days))), nil
}

// parseTimestamp reads a timestamp, in which a zone is ignored, or a timestamptz.
func parseTimestamp(t plan.Type, s string, loc *time.Location) ([]byte, error) {
	d, infinity, err := parseDatetime(t, s)
	if err != nil {
		return nil, err
	}
	us := int64(math.MaxInt64)
	switch infinity {
	case -1:
		us = math.MinInt64
	case 0:
		zone := time.UTC
		if t.OID == plan.Timestamptz {
			zone = loc
			if d.zone != "" {
				if zone, err = parseZone(d.zone); err != nil {
					return nil, err
				}
			}
		}
		if zone == nil {
			return nil, errZone()
		}
		if us, err = micros(d.in(zone)); err != nil {
			return nil, err
		}
	}
	return roundSeconds(t, us)
}

// roundSeconds gives the canonical form of a time, timestamp or timestamptz with as
// many digits of the seconds as the type has, half away from zero.
func roundSeconds(t plan.Type, us int64) ([]byte, error) {
	infinite := t.OID != plan.Time && (us == math.MaxInt64 || us == math.MinInt64)
	if !infinite {
		if us = roundMicros(t, us); t.OID == plan.Time && (us < 0 || us > usPerDay) {
			return nil, failf(codeDatetimeOverflow, "time out of range")
		} else if t.OID != plan.Time && !timestampInRange(us) {
			return nil, failf(codeDatetimeOverflow, "timestamp out of range")
		}
	}
	return binary.BigEndian.AppendUint64(nil, uint64(us)), nil
}

func roundMicros(t plan.Type, us int64) int64 {
	digits, ok := t.SecondDigits()
	if !ok {
		return us
	}
	unit := int64(math.Pow10(6 - digits))
	if us < 0 {
		return -((-us + unit/2) / unit * unit)
	}
	return (us + unit/2) / unit * unit
}

// timePattern is a time of day, with a zone that is ignored.
var timePattern = regexp.MustCompile(`^[Tt]?(?:(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{0,20}))?)?|(\d{2})(\d{2})(\d{2})?)` +
	`(?: *([AaPp][Mm]))?(?: *(?:Z|z|UTC|utc|GMT|gmt|([+-])\d{1,2}(?::?\d{2}(?::?\d{2})?)?))?$`)

// parseTime reads a time of day.
func parseTime(t plan.Type, s string) ([]byte, error) {
	text := trimSpace(s)
	m := timePattern.FindStringSubmatch(text)
	if m == nil {
		if strings.EqualFold(text, "allballs") {
			return roundSeconds(t, 0)
		}
		d, infinity, err := parseDatetime(t, s)
		if err != nil || infinity != 0 || !d.hasTime {
			return nil, notISO(t, s, "Protected columns read times in ISO form, such as 15:04:05.")
		}
		return roundSeconds(t, d.ofDay())
	}
	if m[5] != "" && m[9] == "-" {
		return nil, badSyntax(t, s) // PostgreSQL takes it for a date
	}
	n := func(i int) int { v, _ := strconv.Atoi(m[i] + m[i+4]); return v }
	d := datetime{hour: n(1), min: n(2), sec: n(3), usec: int(math.RoundToEven(fraction(m[4]) * 1e6))}
	if m[8] != "" {
		if d.hour > 12 {
			return nil, failf(codeDatetimeOverflow, "date/time field value out of range: %q", s)
		}
		d.hour %= 12
		if strings.EqualFold(m[8], "PM") {
			d.hour += 12
		}
	}
	if d.min > 59 || d.sec > 60 || d.ofDay() > usPerDay {
		return nil, failf(codeDatetimeOverflow, "date/time field value out of range: %q", s)
	}
	return roundSeconds(t, d.ofDay())
}

// ofDay is the time of day in µs.
func (d datetime) ofDay() int64 {
	return int64(d.hour)*usPerHour + int64(d.min)*usPerMinute + int64(d.sec)*usPerSecond + int64(d.usec)
}

func (d datetime) in(loc *time.Location) time.Time {
	return inZone(time.Date(d.year, time.Month(d.month), d.day, d.hour, d.min, d.sec, 0, time.UTC), loc).Add(time.Duration(d.usec) * time.Microsecond)
}

func micros(at time.Time) (int64, error) {
	sec := at.Unix() - unixToPostgres
	if sec < minTimestamp/1000000 || sec >= endTimestamp/1000000 {
		return 0, failf(codeDatetimeOverflow, "timestamp out of range")
	}
	return sec*1000000 + int64(at.Nanosecond()/1000), nil
}

func errZone() *pgError {
	return &pgError{Code: codeNotSupported, Message: "the session's TimeZone is not known to the encrypting proxy", Hint: "SET TimeZone to a name such as UTC or Europe/Paris."}
}

// dayMicros is a date as a timestamp: its midnight.
func dayMicros(days int32) (int64, error) {
	switch {
	case days == math.MaxInt32:
		return math.MaxInt64, nil
	case days == math.MinInt32:
		return math.MinInt64, nil
	case int64(days) >= endTimestamp/usPerDay:
		return 0, failf(codeDatetimeOverflow, "date out of range for timestamp")
	}
	return int64(days) * usPerDay, nil
}

// dayOf is the date of a timestamp.
func dayOf(us int64) int32 {
	switch us {
	case math.MaxInt64:
		return math.MaxInt32
	case math.MinInt64:
		return math.MinInt32
	}
	return int32(floorDiv(us, usPerDay))
}

func floorDiv(a, b int64) int64 {
	if a%b < 0 {
		return a/b - 1
	}
	return a / b
}

// toUTC turns a timestamp in the session's zone into a timestamptz, and toLocal
// the reverse.
func toUTC(us int64, loc *time.Location) (int64, error) {
	if loc == nil {
		return 0, errZone()
	}
	if us == math.MaxInt64 || us == math.MinInt64 {
		return us, nil
	}
	local := fromMicros(us)
	return micros(inZone(local, loc))
}

func toLocal(us int64, loc *time.Location) (int64, error) {
	if loc == nil {
		return 0, errZone()
	}
	if us == math.MaxInt64 || us == math.MinInt64 {
		return us, nil
	}
	_, offset := fromMicros(us).In(loc).Zone()
	us += int64(offset) * usPerSecond
	if !timestampInRange(us) {
		return 0, failf(codeDatetimeOverflow, "timestamp out of range")
	}
	return us, nil
}

func fromMicros(us int64) time.Time {
	sec := us / 1000000
	frac := us % 1000000
	return time.Unix(sec+unixToPostgres, frac*1000).UTC()
}

// posixZone is how the server reports SET TIME ZONE 2: "<+02>-02".
var posixZone = regexp.MustCompile(`^<[+-]?[^>]*>([+-]?)(\d{1,2})(?::(\d{2}))?(?::(\d{2}))?$`)

// inZone is the time at which the clocks of a zone show what wall shows in UTC.
// Where they skip it when they are put forward, the zone that was before is meant;
// where they show it twice, the one after (DetermineTimeZoneOffset of datetime.c).
func inZone(wall time.Time, loc *time.Location) time.Time {
	t := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), wall.Nanosecond(), loc)
	start, end := t.ZoneBounds()
	for _, boundary := range []time.Time{start, end} {
		if boundary.IsZero() || t.Sub(boundary).Abs() > 24*time.Hour {
			continue
		}
		_, before := boundary.Add(-1).Zone()
		_, after := boundary.Zone()
		earlier, later := wall.Add(-time.Duration(before)*time.Second), wall.Add(-time.Duration(after)*time.Second)
		switch {
		case earlier.Before(boundary) == later.Before(boundary):
		case earlier.After(later):
			return earlier.In(loc)
		default:
			return later.In(loc)
		}
	}
	return t
}

// parseZone reads an offset or the name of a time zone.
func parseZone(name string) (*time.Location, error) {
	if strings.EqualFold(name, "z") || strings.EqualFold(name, "utc") || strings.EqualFold(name, "gmt") || strings.EqualFold(name, "etc/utc") {
		return time.UTC, nil
	}
	if m := posixZone.FindStringSubmatch(name); m != nil {
		// POSIX counts west of Greenwich as positive.
		sign := -1
		if m[1] == "-" {
			sign = 1
		}
		return time.FixedZone("", sign*seconds(m[2], m[3], m[4])), nil
	}
	if name != "" && (name[0] == '+' || name[0] == '-') {
		sign, digits := 1, strings.ReplaceAll(name[1:], ":", "")
		if name[0] == '-' {
			sign = -1
		}
		if len(digits)%2 == 1 {
			digits = "0" + digits
		}
		digits += "000000"[len(digits):]
		s := seconds(digits[:2], digits[2:4], digits[4:6])
		if s >= 16*3600 {
			return nil, failf("22009", "time zone displacement out of range: %q", name)
		}
		return time.FixedZone("", sign*s), nil
	}
	if name == "" || name == "Local" || strings.Contains(name, "..") {
		return nil, errZone()
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil, &pgError{Code: "22023", Message: fmt.Sprintf("time zone %q not recognized", name)}
	}
	return loc, nil
}

func seconds(h, m, s string) int {
	n := func(v string) int { i, _ := strconv.Atoi(v); return i }
	return n(h)*3600 + n(m)*60 + n(s)
}

func appendDate(dst []byte, days int32) []byte {
	switch days {
	case math.MaxInt32:
		return append(dst, "infinity"...)
	case math.MinInt32:
		return append(dst, "-infinity"...)
	}
	at := time.Unix(int64(days)*86400+unixToPostgres, 0).UTC()
	dst, bc := appendYMD(dst, at)
	return append(dst, bc...)
}

func appendYMD(dst []byte, at time.Time) ([]byte, string) {
	year, bc := at.Year(), ""
	if year <= 0 {
		year, bc = 1-year, " BC"
	}
	return fmt.Appendf(dst, "%04d-%02d-%02d", year, at.Month(), at.Day()), bc
}

// appendTime writes a time of day.
func appendTime(dst []byte, us int64) []byte {
	dst = appendPadded(dst, uint64(us/usPerHour), 2)
	dst = appendPadded(append(dst, ':'), uint64(us/usPerMinute%60), 2)
	dst = appendPadded(append(dst, ':'), uint64(us/usPerSecond%60), 2)
	return appendMicros(dst, int(us%usPerSecond))
}

// appendTimestamp writes a timestamp.
func appendTimestamp(dst []byte, us int64) []byte {
	if us == math.MaxInt64 || us == math.MinInt64 {
		return appendInfinity(dst, us)
	}
	dst, bc := appendLocal(dst, fromMicros(us))
	return append(dst, bc...)
}

func appendInfinity(dst []byte, us int64) []byte {
	if us < 0 {
		dst = append(dst, '-')
	}
	return append(dst, "infinity"...)
}

func appendLocal(dst []byte, at time.Time) ([]byte, string) {
	dst, bc := appendYMD(dst, at)
	dst = fmt.Appendf(dst, " %02d:%02d:%02d", at.Hour(), at.Minute(), at.Second())
	return appendMicros(dst, at.Nanosecond()/1000), bc
}

// appendTimestamptz writes a timestamptz in the session's zone.
func appendTimestamptz(dst []byte, us int64, loc *time.Location) ([]byte, error) {
	if us == math.MaxInt64 || us == math.MinInt64 {
		return appendInfinity(dst, us), nil
	}
	if loc == nil {
		return nil, errZone()
	}
	at := fromMicros(us).In(loc)
	dst, bc := appendLocal(dst, at)
	_, offset := at.Zone()
	sign := byte('+')
	if offset < 0 {
		sign, offset = '-', -offset
	}
	dst = fmt.Appendf(append(dst, sign), "%02d", offset/3600)
	if offset%3600 != 0 {
		dst = fmt.Appendf(dst, ":%02d", offset/60%60)
	}
	if offset%60 != 0 {
		dst = fmt.Appendf(dst, ":%02d", offset%60)
	}
	return append(dst, bc...), nil
}
