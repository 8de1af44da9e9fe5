// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// A rule checks one member of an input.
type rule struct {
	index    int
	name     string // lower camel case, as AWS names it in errors
	required bool
	limits   *constraint
	enum     *enum
	nested   []rule // of a structure, or of the elements of a list of structures
}

// rulesOf derives the rules of an input, or of a structure in one, from its type.
func rulesOf(t reflect.Type) []rule {
	known := constraints()
	required := requiredMembers(strings.TrimSuffix(t.Name(), "Input"))
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
		if structure := structureIn(f.Type); structure != nil {
			r.nested = rulesOf(structure)
		}
		if r.required || r.limits != nil || r.enum != nil || r.nested != nil {
			rules = append(rules, r)
		}
	}
	return rules
}

// structureIn is the structure that t is a pointer to or a list of, or nil.
func structureIn(t reflect.Type) reflect.Type {
	if k := t.Kind(); k != reflect.Slice && k != reflect.Pointer {
		return nil
	}
	if e := t.Elem(); e.Kind() == reflect.Struct && e != reflect.TypeFor[time.Time]() {
		return e
	}
	return nil
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

// maxViolations bounds an answer: a list of tags can have thousands.
const maxViolations = 100

func violationsOf(out []string, rules []rule, in reflect.Value, path string) []string {
	for i := range rules {
		r := &rules[i]
		v := in.Field(r.index)
		if absent(v) {
			if r.required {
				out = append(out, r.violation(path, "null", mustBeThere))
			}
			continue
		}
		if v.Kind() == reflect.Pointer {
			v = v.Elem()
		}
		for _, broken := range r.broken(v) {
			out = append(out, r.violation(path, r.shown(v), broken))
		}
		out = r.inside(out, v, path)
	}
	return out
}

const mustBeThere = "Member must not be null"

func (r *rule) violation(path, shown, broken string) string {
	if r.limits != nil && r.limits.hidden {
		shown = ""
	}
	if shown != "" {
		shown = " " + shown
	}
	return "Value" + shown + " at '" + path + r.name + "' failed to satisfy constraint: " + broken
}

// inside checks the structure, or the structures of the list, that v is.
func (r *rule) inside(out []string, v reflect.Value, path string) []string {
	switch {
	case r.nested == nil:
	case v.Kind() == reflect.Struct:
		return violationsOf(out, r.nested, v, path+r.name+".")
	default:
		for i := 0; i < v.Len() && len(out) < maxViolations; i++ {
			out = violationsOf(out, r.nested, v.Index(i), fmt.Sprintf("%s%s.%d.member.", path, r.name, i+1))
		}
	}
	return out
}

// broken lists the constraints that v does not satisfy.
func (r *rule) broken(v reflect.Value) []string {
	if r.enum != nil {
		return r.enum.broken(v)
	}
	if r.limits == nil {
		return nil
	}
	out := r.limits.broken(v)
	if each := r.limits.each; each != nil && slices.ContainsFunc(elements(v), each.brokenBy) {
		out = append(out, "Member must satisfy constraint: ["+strings.Join(each.demands(), ", ")+"]")
	}
	return out
}

func (c *constraint) broken(v reflect.Value) (out []string) {
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
	case n < c.min:
		out = append(out, atLeast(what, c.min))
	case n > c.max:
		out = append(out, atMost(what, c.max))
	}
	if c.pattern != nil && !c.pattern.match(v.String()) {
		out = append(out, "Member must satisfy regular expression pattern: "+c.pattern.shown)
	}
	return out
}

func atLeast(what string, n int) string {
	return fmt.Sprintf("Member must have %s greater than or equal to %d", what, n)
}

func atMost(what string, n int) string {
	return fmt.Sprintf("Member must have %s less than or equal to %d", what, n)
}

func (c *constraint) brokenBy(v reflect.Value) bool { return len(c.broken(v)) > 0 }

// demands are all constraints of a list's elements, in AWS's order: its errors
// do not say which one is broken.
func (c *constraint) demands() []string {
	all := []string{atMost("length", c.max), atLeast("length", c.min)}
	if c.pattern != nil {
		all = append(all, "Member must satisfy regular expression pattern: "+c.pattern.shown)
	}
	return all
}

func (e *enum) broken(v reflect.Value) []string {
	must := "Member must satisfy enum value set: [" + e.shown + "]"
	unknown := func(v reflect.Value) bool { return !slices.Contains(e.values, v.String()) }
	switch {
	case v.Kind() == reflect.Slice && slices.ContainsFunc(elements(v), unknown):
		return []string{"Member must satisfy constraint: [" + must + "]"}
	case v.Kind() == reflect.String && unknown(v):
		return []string{must}
	}
	return nil
}

func elements(list reflect.Value) []reflect.Value {
	all := make([]reflect.Value, list.Len())
	for i := range all {
		all[i] = list.Index(i)
	}
	return all
}

// maxShown bounds how much of a wrong value or name is repeated to its sender.
const maxShown = 1024

// shown is the value as it stands in the error, with quotes; a blob is not shown.
func (r *rule) shown(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Int32:
		return "'" + strconv.FormatInt(v.Int(), 10) + "'"
	case reflect.String:
		return "'" + bounded(v.String()) + "'"
	}
	if v.Type().Elem().Kind() == reflect.Uint8 {
		return ""
	}
	var items []string // as many as can be shown
	for i := 0; i < min(v.Len(), maxShown); i++ {
		items = append(items, v.Index(i).String())
	}
	return "'" + bounded("["+strings.Join(items, ", ")+"]") + "'"
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
