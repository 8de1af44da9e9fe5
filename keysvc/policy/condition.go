// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/base64"
	"fmt"
	"maps"
	"math/big"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Condition is one test of a statement: a condition key against values, of
// which one suffices (none may match, for a negated operator).
type Condition struct {
	Operator string // without its prefix and suffix, such as StringEquals
	Set      Set
	IfExists bool // holds if the request has no such key
	Key      string
	Values   []string
}

// Set says how a key with several values is compared.
type Set int

// A key that has several values is to have one value unless the operator says
// ForAllValues: or ForAnyValue:.
const (
	OneValue Set = iota
	ForAllValues
	ForAnyValue
)

// An operator compares a value of the request with one of the policy.
type operator struct {
	valid   func(value string) bool // what the policy may say
	match   func(want, have string) bool
	negated bool
}

// operators are all condition operators of the policy language, but Null.
func operators() map[string]operator {
	all := map[string]operator{
		"StringEquals":              {anyString, equal, false},
		"StringNotEquals":           {anyString, equal, true},
		"StringEqualsIgnoreCase":    {anyString, strings.EqualFold, false},
		"StringNotEqualsIgnoreCase": {anyString, strings.EqualFold, true},
		"StringLike":                {anyString, match, false},
		"StringNotLike":             {anyString, match, true},
		"Bool":                      {isBool, strings.EqualFold, false},
		"BinaryEquals":              {isBase64, equal, false},
		"IpAddress":                 {isAddress, inNetwork, false},
		"NotIpAddress":              {isAddress, inNetwork, true},
		"ArnEquals":                 {isARN, matchARN, false},
		"ArnNotEquals":              {isARN, matchARN, true},
		"ArnLike":                   {isARN, matchARN, false},
		"ArnNotLike":                {isARN, matchARN, true},
	}
	for name, ok := range map[string]func(order int) bool{
		"Equals": func(o int) bool { return o == 0 }, "NotEquals": func(o int) bool { return o == 0 },
		"LessThan": func(o int) bool { return o < 0 }, "LessThanEquals": func(o int) bool { return o <= 0 },
		"GreaterThan": func(o int) bool { return o > 0 }, "GreaterThanEquals": func(o int) bool { return o >= 0 },
	} {
		negated := name == "NotEquals"
		all["Numeric"+name] = operator{isNumber, ordered(numberOf, (*big.Rat).Cmp, ok), negated}
		all["Date"+name] = operator{isDate, ordered(dateOf, time.Time.Compare, ok), negated}
	}
	return all
}

var known = operators()

const (
	null     = "Null"
	ifExists = "IfExists"
)

// keyForm is that of a condition key, such as kms:EncryptionContext:a b.
var keyForm = regexp.MustCompile(`^[A-Za-z0-9-]+:.+$`)

// values are strings, or booleans and numbers that are taken as strings.
type values []string

func (v *values) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() != '[' {
		return v.next(dec)
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() != ']' {
		if err := v.next(dec); err != nil {
			return err
		}
	}
	_, err := dec.ReadToken()
	return err
}

func (v *values) next(dec *jsontext.Decoder) error {
	switch dec.PeekKind() {
	case '"':
		var s string
		if err := json.UnmarshalDecode(dec, &s); err != nil {
			return err
		}
		*v = append(*v, s)
	case 't', 'f', '0':
		raw, err := dec.ReadValue()
		if err != nil {
			return err
		}
		*v = append(*v, string(raw))
	default:
		return errSyntax
	}
	return nil
}

// conditionsOf checks the conditions of a statement, and sorts them.
func conditionsOf(raw map[string]map[string]values) ([]Condition, error) {
	var all []Condition
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		c, err := parseOperator(name)
		if err != nil {
			return nil, err
		}
		if len(raw[name]) == 0 {
			return nil, Malformed(fmt.Sprintf("Policy contains a statement with an empty condition: %s.", name))
		}
		for _, key := range slices.Sorted(maps.Keys(raw[name])) {
			c.Key, c.Values = key, raw[name][key]
			if !keyForm.MatchString(key) {
				return nil, Malformed(fmt.Sprintf("Policy contains a statement with an invalid condition key: %s.", key))
			}
			if err := c.check(); err != nil {
				return nil, err
			}
			all = append(all, c)
		}
	}
	return all, nil
}

func parseOperator(name string) (Condition, error) {
	c := Condition{Operator: name}
	if rest, ok := strings.CutPrefix(name, "ForAllValues:"); ok {
		c.Operator, c.Set = rest, ForAllValues
	} else if rest, ok := strings.CutPrefix(name, "ForAnyValue:"); ok {
		c.Operator, c.Set = rest, ForAnyValue
	}
	c.Operator, c.IfExists = strings.CutSuffix(c.Operator, ifExists)
	_, ok := known[c.Operator]
	if !ok && (c.Operator != null || c.IfExists || c.Set != OneValue) {
		return c, Malformed(fmt.Sprintf("Policy contains a statement with an invalid condition operator: %s.", name))
	}
	return c, nil
}

// check looks at the values. A variable stands for a string: only operators on
// strings and ARNs take one.
func (c *Condition) check() error {
	valid := isBool // of Null
	if c.Operator != null {
		valid = known[c.Operator].valid
	}
	for _, value := range c.Values {
		if !valid(value) {
			return Malformed(fmt.Sprintf("Policy contains a statement with an invalid value of condition key %s for operator %s.", c.Key, c.Operator))
		}
	}
	return nil
}

// holds evaluates a condition by AWS's rules. have are the values that the
// request has for the key; nil if it has no such key.
func (c *Condition) holds(have []string) bool {
	if c.Operator == null {
		return slices.ContainsFunc(c.Values, func(v string) bool { return strings.EqualFold(v, strconv.FormatBool(have == nil)) })
	}
	op := known[c.Operator]
	satisfied := func(value string) bool {
		return op.negated != slices.ContainsFunc(c.Values, func(want string) bool { return op.match(want, value) })
	}
	switch {
	case c.Set == ForAllValues:
		return !slices.ContainsFunc(have, func(v string) bool { return !satisfied(v) })
	case have == nil && c.IfExists:
		return true
	case c.Set == ForAnyValue:
		return slices.ContainsFunc(have, satisfied)
	case have == nil:
		return op.negated
	}
	return len(have) == 1 && satisfied(have[0])
}

func equal(want, have string) bool { return want == have }

func anyString(string) bool { return true }

func isBool(s string) bool { return strings.EqualFold(s, "true") || strings.EqualFold(s, "false") }

func isBase64(s string) bool {
	_, err := base64.StdEncoding.Strict().DecodeString(s)
	return err == nil
}

func isARN(s string) bool {
	return s == "*" || strings.Contains(s, "${") || len(strings.SplitN(s, ":", 6)) == 6
}

// matchARN compares the six parts of two ARNs each for itself, so that a
// wildcard does not go beyond its part.
func matchARN(want, have string) bool {
	if want == "*" {
		return true
	}
	w, h := strings.SplitN(want, ":", 6), strings.SplitN(have, ":", 6)
	if len(w) != 6 || len(h) != 6 {
		return false
	}
	for i := range w {
		if !match(w[i], h[i]) {
			return false
		}
	}
	return true
}

// networkOf takes an address for a network of one.
func networkOf(s string) (netip.Prefix, error) {
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		return p.Masked(), err
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	return a.Prefix(a.BitLen())
}

func isAddress(s string) bool {
	_, err := networkOf(s)
	return err == nil
}

func inNetwork(want, have string) bool {
	network, err := networkOf(want)
	address, err2 := netip.ParseAddr(have)
	return err == nil && err2 == nil && network.Contains(address.Unmap())
}

// maxNumber bounds the digits of a number: big.Rat would compute 1e999999999.
const maxNumber = 32

func numberOf(s string) (*big.Rat, bool) {
	if f, err := strconv.ParseFloat(s, 64); err != nil || len(s) > maxNumber || f > 1e30 || f < -1e30 || f != 0 && f < 1e-30 && f > -1e-30 {
		return nil, false
	}
	return new(big.Rat).SetString(s)
}

func isNumber(s string) bool {
	_, ok := numberOf(s)
	return ok
}

// dateOf reads a date of ISO 8601 or seconds since 1970.
func dateOf(s string) (time.Time, bool) {
	for _, form := range []string{time.RFC3339Nano, "2006-01-02T15:04Z07:00", "2006-01-02"} {
		if t, err := time.Parse(form, s); err == nil {
			return t, true
		}
	}
	if seconds, err := strconv.ParseInt(s, 10, 64); err == nil && seconds > -1<<40 && seconds < 1<<40 {
		return time.Unix(seconds, 0), true
	}
	return time.Time{}, false
}

func isDate(s string) bool {
	_, ok := dateOf(s)
	return ok
}

// ordered makes a comparison of what parse reads: have stands before want if
// the order is negative.
func ordered[T any](parse func(string) (T, bool), compare func(a, b T) int, ok func(order int) bool) func(want, have string) bool {
	return func(want, have string) bool {
		w, fine := parse(want)
		h, fine2 := parse(have)
		return fine && fine2 && ok(compare(h, w))
	}
}
