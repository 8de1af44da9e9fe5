// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"encoding/base64"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// postPolicy is what the signer of a form allows. Source: "POST Policy" of the
// Amazon S3 API reference.
type postPolicy struct {
	expires    time.Time
	conditions []postCondition
	least      int64 // bytes of the file
	most       int64
}

// postCondition is one on a field of the form.
type postCondition struct {
	prefix bool   // starts-with rather than eq
	name   string // as the policy spells it
	value  string
}

// String is the condition as S3 names it in its errors.
func (c postCondition) String() string {
	operator := "eq"
	if c.prefix {
		operator = "starts-with"
	}
	return fmt.Sprintf(`["%s", "$%s", "%s"]`, operator, c.name, c.value)
}

func invalidPolicy(message string) *s3Error {
	return &s3Error{code: "InvalidPolicyDocument", status: http.StatusBadRequest, message: "Invalid Policy: " + message}
}

func againstPolicy(message string) *s3Error {
	return &s3Error{code: "AccessDenied", status: http.StatusForbidden, message: "Invalid according to Policy: " + message}
}

// parsePolicy reads the policy field of a form.
func parsePolicy(encoded string) (*postPolicy, error) {
	text, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, invalidPolicy("The policy is not base64.")
	}
	var document struct {
		Expiration *string           `json:"expiration"`
		Conditions *[]jsontext.Value `json:"conditions"`
	}
	if err := json.Unmarshal(unescapeDollar(text), &document, json.RejectUnknownMembers(true)); err != nil {
		return nil, invalidPolicy("Invalid JSON.")
	}
	switch {
	case document.Expiration == nil:
		return nil, invalidPolicy("Policy missing expiration.")
	case document.Conditions == nil:
		return nil, invalidPolicy("Policy missing conditions.")
	}
	p := &postPolicy{most: math.MaxInt64}
	if p.expires, err = time.Parse(time.RFC3339, *document.Expiration); err != nil {
		return nil, invalidPolicy("Invalid 'expiration' value: '" + *document.Expiration + "'")
	}
	for _, value := range *document.Conditions {
		if err := p.add(value); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// unescapeDollar makes JSON of S3's dialect, in which a dollar sign may be escaped.
func unescapeDollar(text []byte) []byte {
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+1 < len(text) {
			if i++; text[i] != '$' {
				out = append(out, '\\')
			}
		}
		out = append(out, text[i])
	}
	return out
}

func (p *postPolicy) add(value jsontext.Value) error {
	if value.Kind() == '{' {
		return p.addSimple(value)
	}
	var list []jsontext.Value
	if err := json.Unmarshal(value, &list); err != nil || len(list) != 3 {
		return invalidPolicy("Invalid Condition: a condition is an object or a list of three elements.")
	}
	operator, ok := stringOf(list[0])
	if !ok {
		return invalidPolicy("Invalid Condition: unknown operation.")
	}
	operator = strings.ToLower(operator)
	if operator == "content-length-range" {
		return p.addRange(list[1], list[2])
	}
	name, isName := stringOf(list[1])
	name, dollar := strings.CutPrefix(name, "$")
	operand, isString := stringOf(list[2])
	switch {
	case operator != "eq" && operator != "starts-with":
		return invalidPolicy("Invalid Condition: unknown operation '" + operator + "'.")
	case !isName || !dollar || name == "":
		return invalidPolicy("Invalid Condition: the name of a field must begin with '$'.")
	case !isString:
		return invalidPolicy("Invalid Condition: value must be a string.")
	}
	p.conditions = append(p.conditions, postCondition{prefix: operator == "starts-with", name: name, value: operand})
	return nil
}

// addSimple takes {"name": "value"}, which is a match of all of the value.
func (p *postPolicy) addSimple(value jsontext.Value) error {
	var members map[string]jsontext.Value
	if err := json.Unmarshal(value, &members); err != nil || len(members) != 1 {
		return invalidPolicy("Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.")
	}
	for name, member := range members {
		operand, ok := stringOf(member)
		if !ok {
			return invalidPolicy("Invalid Simple-Condition: value must be a string.")
		}
		p.conditions = append(p.conditions, postCondition{name: name, value: operand})
	}
	return nil
}

// addRange narrows the range that other conditions left.
func (p *postPolicy) addRange(least, most jsontext.Value) error {
	from, ok := numberOf(least)
	to, ok2 := numberOf(most)
	if !ok || !ok2 || from > to {
		return invalidPolicy("Invalid content-length-range: want two numbers of bytes.")
	}
	p.least, p.most = max(p.least, from), min(p.most, to)
	return nil
}

func stringOf(value jsontext.Value) (s string, ok bool) {
	return s, value.Kind() == '"' && json.Unmarshal(value, &s) == nil
}

// numberOf takes numbers in quotation marks too, as S3 does.
func numberOf(value jsontext.Value) (int64, bool) {
	text := string(value)
	if s, ok := stringOf(value); ok {
		text = s
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil && n >= 0
}

// check compares the fields of a form, by their names in lower case, with the
// policy. Every field must meet all conditions on it, and there must be one.
func (p *postPolicy) check(fields map[string]string, now time.Time) error {
	if !now.Before(p.expires) {
		return againstPolicy("Policy expired.")
	}
	covered := map[string]bool{}
	for _, c := range p.conditions {
		name := strings.ToLower(c.name)
		value, ok := fields[name]
		if !ok || !c.matches(name, value) {
			return againstPolicy("Policy Condition failed: " + c.String())
		}
		covered[name] = true
	}
	var extra []string
	for name := range fields {
		if !covered[name] && name != "x-amz-signature" && name != "policy" && !strings.HasPrefix(name, "x-ignore-") {
			extra = append(extra, name)
		}
	}
	if len(extra) > 0 {
		slices.Sort(extra)
		return againstPolicy("Extra input fields: " + strings.Join(extra, ", "))
	}
	return nil
}

func (c postCondition) matches(name, value string) bool {
	if !c.prefix {
		return value == c.value
	}
	if name != "content-type" {
		return strings.HasPrefix(value, c.value)
	}
	// A list of types begins with the prefix in each of them.
	for kind := range strings.SplitSeq(value, ",") {
		if !strings.HasPrefix(strings.TrimSpace(kind), c.value) {
			return false
		}
	}
	return true
}

// checkSize compares the length of the plaintext.
func (p *postPolicy) checkSize(size int64) error {
	proposed := [2]string{"ProposedSize", strconv.FormatInt(size, 10)}
	switch {
	case size < p.least:
		return &s3Error{
			code: "EntityTooSmall", status: http.StatusBadRequest,
			message: "Your proposed upload is smaller than the minimum allowed size",
			fields:  [][2]string{proposed, {"MinSizeAllowed", strconv.FormatInt(p.least, 10)}},
		}
	case size > p.most:
		return &s3Error{
			code: "EntityTooLarge", status: http.StatusBadRequest,
			message: "Your proposed upload exceeds the maximum allowed size",
			fields:  [][2]string{proposed, {"MaxSizeAllowed", strconv.FormatInt(p.most, 10)}},
		}
	}
	return nil
}
