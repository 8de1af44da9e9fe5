// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"cmp"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A constraint is what the AWS API model says of a member wherever it occurs.
type constraint struct {
	min, max int // of a number's value, or of a length
	pattern  *regexp.Regexp
	written  string // the pattern as AWS writes it, if that is not Go's
	secret   bool   // the value is not repeated in the error
}

// constraints are those of the AWS KMS API Reference, by member name.
func constraints() map[string]constraint {
	keyID := constraint{min: 1, max: 2048}
	return map[string]constraint{
		"KeyId":               keyID,
		"TargetKeyId":         keyID,
		"SourceKeyId":         keyID,
		"DestinationKeyId":    keyID,
		"AliasName":           {min: 1, max: 256, pattern: regexp.MustCompile(`^[a-zA-Z0-9:/_-]+$`)},
		"CiphertextBlob":      {min: 1, max: 6144, secret: true},
		"CustomKeyStoreId":    {min: 1, max: 64},
		"Description":         {min: 0, max: 8192},
		"GrantTokens":         {min: 0, max: 10},
		"Limit":               {min: 1, max: 1000},
		"Marker":              {min: 1, max: 1024},
		"NumberOfBytes":       {min: 1, max: 1024},
		"PendingWindowInDays": {min: 7, max: 30},
		"Plaintext":           {min: 1, max: 4096, secret: true},
		"Policy":              {min: 1, max: 131072, pattern: regexp.MustCompile(`^[\t\n\r\x20-\x{FF}]+$`), written: `[\u0009\u000A\u000D\u0020-\u00FF]+`},
		"PolicyName":          {min: 1, max: 128, pattern: regexp.MustCompile(`^[\w]+$`), written: `[\w]+`},
		"TagKey":              {min: 1, max: 128},
		"TagValue":            {min: 0, max: 256},
		"XksKeyId":            {min: 1, max: 128},
	}
}

// A rule checks one member of an input.
type rule struct {
	index    int
	name     string // lower camel case, as AWS names it in errors
	required bool
	limits   *constraint
	enum     []string
	nested   []rule // of the elements of a list of structures
}

// rulesOf derives the rules of an input from its type.
func rulesOf(t reflect.Type, required []string) []rule {
	known := constraints()
	var rules []rule
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() || f.Anonymous {
			continue
		}
		r := rule{index: i, name: lowerCamel(f.Name), required: slices.Contains(required, f.Name), enum: enumOf(f.Type)}
		if c, ok := known[f.Name]; ok {
			r.limits = &c
		}
		if f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct {
			r.nested = rulesOf(f.Type.Elem(), []string{"TagKey", "TagValue"})
		}
		if r.required || r.limits != nil || r.enum != nil || r.nested != nil {
			rules = append(rules, r)
		}
	}
	return rules
}

// enumOf asks the SDK's type, or that of a list's elements, for its values.
func enumOf(t reflect.Type) []string {
	if t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	values, ok := t.MethodByName("Values")
	if t.Kind() != reflect.String || !ok {
		return nil
	}
	list := values.Func.Call([]reflect.Value{reflect.Zero(t)})[0]
	names := make([]string, list.Len())
	for i := range names {
		names[i] = list.Index(i).String()
	}
	return names
}

// validate checks an input and reports all violations in one error.
func validate(rules []rule, in reflect.Value) error {
	violations := violationsOf(nil, rules, in, "")
	if len(violations) == 0 {
		return nil
	}
	plural := "s"
	if len(violations) == 1 {
		plural = ""
	}
	return validationError("%d validation error%s detected: %s", len(violations), plural, strings.Join(violations, "; "))
}

func violationsOf(out []string, rules []rule, in reflect.Value, path string) []string {
	for i := range rules {
		r := &rules[i]
		v := in.Field(r.index)
		if absent(v) {
			if r.required {
				out = append(out, fmt.Sprintf("Value null at '%s' failed to satisfy constraint: Member must not be null", path+r.name))
			}
			continue
		}
		if v.Kind() == reflect.Pointer {
			v = v.Elem()
		}
		if broken := r.broken(v); broken != "" {
			out = append(out, r.shown(v)+" at '"+path+r.name+"' failed to satisfy constraint: "+broken)
		}
		for j := 0; r.nested != nil && j < v.Len(); j++ {
			out = violationsOf(out, r.nested, v.Index(j), fmt.Sprintf("%s%s.%d.member.", path, r.name, j+1))
		}
	}
	return out
}

// broken names the constraint that v does not satisfy.
func (r *rule) broken(v reflect.Value) string {
	if r.enum != nil {
		return brokenEnum(r.enum, v)
	}
	if r.limits == nil {
		return ""
	}
	what, n := "length", 0
	switch v.Kind() {
	case reflect.Int32:
		what, n = "value", int(v.Int())
	case reflect.String:
		n = utf8.RuneCountInString(v.String())
	default:
		n = v.Len()
	}
	switch {
	case n < r.limits.min:
		return fmt.Sprintf("Member must have %s greater than or equal to %d", what, r.limits.min)
	case n > r.limits.max:
		return fmt.Sprintf("Member must have %s less than or equal to %d", what, r.limits.max)
	case r.limits.pattern != nil && !r.limits.pattern.MatchString(v.String()):
		return "Member must satisfy regular expression pattern: " + cmp.Or(r.limits.written, r.limits.pattern.String())
	}
	return ""
}

func brokenEnum(enum []string, v reflect.Value) string {
	must := "Member must satisfy enum value set: [" + strings.Join(enum, ", ") + "]"
	if v.Kind() == reflect.String {
		if slices.Contains(enum, v.String()) {
			return ""
		}
		return must
	}
	for i := range v.Len() {
		if !slices.Contains(enum, v.Index(i).String()) {
			return "Member must satisfy constraint: [" + must + "]"
		}
	}
	return ""
}

// maxShown bounds how much of a wrong value or name is repeated to its sender.
const maxShown = 1024

// shown is the value as it stands in the error, "Value '1025'".
func (r *rule) shown(v reflect.Value) string {
	if r.limits != nil && r.limits.secret {
		return "Value"
	}
	var s string
	switch v.Kind() {
	case reflect.Int32:
		s = strconv.FormatInt(v.Int(), 10)
	case reflect.String:
		s = v.String()
	default: // a list of strings
		items := make([]string, v.Len())
		for i := range items {
			items[i] = v.Index(i).String()
		}
		s = "[" + strings.Join(items, ", ") + "]"
	}
	return "Value '" + bounded(s) + "'"
}

func bounded(s string) string {
	if len(s) > maxShown {
		s = strings.ToValidUTF8(s[:maxShown], "") + "..."
	}
	return s
}

func lowerCamel(name string) string {
	r, size := utf8.DecodeRuneInString(name)
	return string(unicode.ToLower(r)) + name[size:]
}
