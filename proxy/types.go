// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Type is a PostgreSQL type that a protected column can have. Length, Precision
// and Scale are -1 where the type has none. Types are equal if they are the same.
type Type struct {
	Name      string // as in pg_type.typname; of an array that of its elements
	Length    int    // of varchar(n) and char(n)
	Precision int    // of numeric(p,s); digits of the seconds of times
	Scale     int
	Array     bool
	Enum      string // SQL name of an enum, whose Name is enum
	Labels    string // of an enum in order, each with a zero byte behind it
}

func typeNames() []string {
	return []string{
		"text", "varchar", "char", "bpchar", "citext", "int2", "int4", "int8", "float4", "float8", "numeric", "bool",
		"date", "time", "timestamp", "timestamptz", "interval", "uuid", "bytea", "json", "jsonb", "inet", "cidr", "enum",
	}
}

func typeAlias(name string) string {
	switch name {
	case "character varying":
		return "varchar"
	case "character":
		return "char"
	case "smallint":
		return "int2"
	case "int", "integer":
		return "int4"
	case "bigint":
		return "int8"
	case "real":
		return "float4"
	case "double precision", "float":
		return "float8"
	case "boolean":
		return "bool"
	case "time without time zone":
		return "time"
	case "timestamp without time zone":
		return "timestamp"
	case "timestamp with time zone":
		return "timestamptz"
	case "decimal", "dec":
		return "numeric"
	}
	return name
}

// ParseType understands the supported types by their names in SQL and in
// pg_type, with modifiers; arrays with [] behind; and enums in the form
// enum(name: label, 'another label').
func ParseType(s string) (Type, error) {
	t := Type{Length: -1, Precision: -1, Scale: -1}
	text := strings.TrimSpace(s)
	if rest, ok := cutEnum(text); ok {
		return parseEnum(t, s, rest)
	}
	text = strings.Join(strings.Fields(strings.ToLower(text)), " ")
	for strings.HasSuffix(text, "[]") {
		text, t.Array = strings.TrimSpace(strings.TrimSuffix(text, "[]")), true
	}
	name, mods, hasMods := strings.Cut(text, "(")
	if hasMods {
		var rest string
		var closed bool
		if mods, rest, closed = strings.Cut(mods, ")"); !closed {
			return t, fmt.Errorf("%q is not a type", s)
		}
		name = strings.TrimSpace(name) + rest // timestamp(3) with time zone
	}
	t.Name = typeAlias(strings.TrimSpace(name))
	switch {
	case t.Name == "":
		return t, fmt.Errorf("missing")
	case t.Name == "enum":
		return t, fmt.Errorf("%q has no labels; write enum(name: label, label)", s)
	case !slices.Contains(typeNames(), t.Name):
		return t, fmt.Errorf("unknown %q%s", s, didYouMean(t.Name, typeNames()...))
	case t.Array && t.Name == "citext":
		return t, fmt.Errorf("arrays of citext are not supported")
	}
	if hasMods {
		if err := t.parseModifiers(s, strings.Split(mods, ",")); err != nil {
			return t, err
		}
	} else if t.Name == "char" {
		t.Length = 1
	}
	if t.Name == "char" {
		t.Name = "bpchar"
	}
	return t, nil
}

func (t *Type) parseModifiers(s string, mods []string) error {
	var n []int
	for _, m := range mods {
		v, err := strconv.Atoi(strings.TrimSpace(m))
		if err != nil {
			return fmt.Errorf("%q is not a type", s)
		}
		n = append(n, v)
	}
	switch {
	case (t.Name == "varchar" || t.Name == "char" || t.Name == "bpchar") && len(n) == 1 && n[0] >= 1 && n[0] <= 10485760:
		t.Length = n[0]
	case t.Name == "numeric" && len(n) == 1 && n[0] >= 1 && n[0] <= 1000:
		t.Precision, t.Scale = n[0], 0
	case t.Name == "numeric" && len(n) == 2 && n[0] >= 1 && n[0] <= 1000 && n[1] >= -1000 && n[1] <= 1000:
		t.Precision, t.Scale = n[0], n[1]
	case (t.Name == "time" || t.Name == "timestamp" || t.Name == "timestamptz") && len(n) == 1 && n[0] >= 0 && n[0] <= 6:
		t.Precision = n[0]
	default:
		return fmt.Errorf("%q has modifiers that %s does not have", s, t.Name)
	}
	return nil
}

// cutEnum gives what is between enum( and the last parenthesis.
func cutEnum(text string) (string, bool) {
	if len(text) < 5 || !strings.EqualFold(text[:4], "enum") {
		return "", false
	}
	rest, ok := strings.CutPrefix(strings.TrimSpace(text[4:]), "(")
	if !ok {
		return "", false
	}
	return strings.CutSuffix(rest, ")")
}

// maxLabel is NAMEDATALEN-1, the most bytes of a label.
const maxLabel = 63

func parseEnum(t Type, s, text string) (Type, error) {
	bad := fmt.Errorf("%q is not of the form enum(name: label, 'another label')", s)
	name, list, ok := cutTypeName(text)
	if t.Name, t.Enum = "enum", name; !ok {
		return t, bad
	}
	seen := map[string]bool{}
	for more := true; more; {
		var label string
		if label, list, more, ok = cutLabel(list); !ok || len(label) > maxLabel || strings.ContainsRune(label, 0) {
			return t, bad
		}
		if seen[label] {
			return t, fmt.Errorf("%q has the label %q twice", s, label)
		}
		seen[label] = true
		t.Labels += label + "\x00"
	}
	return t, nil
}

// cutTypeName takes the name of a type and the colon behind it off a text. The name
// may have a schema, and is one of SQL: what is not in quotes is in lower case.
func cutTypeName(text string) (name, rest string, ok bool) {
	for parts := 1; parts <= 2; parts++ {
		text = strings.TrimSpace(text)
		end := strings.IndexAny(text, ".:")
		if quoted := quotedName.FindString(text); quoted != "" {
			name, text = name+quoted, strings.TrimSpace(text[len(quoted):])
		} else if end > 0 && !strings.ContainsAny(strings.TrimSpace(text[:end]), "\"', \t\n()") {
			name, text = name+strings.ToLower(strings.TrimSpace(text[:end])), text[end:]
		} else {
			return "", "", false
		}
		if rest, ok = strings.CutPrefix(text, ":"); ok {
			return name, rest, true
		}
		if text, ok = strings.CutPrefix(text, "."); !ok {
			return "", "", false
		}
		name += "."
	}
	return "", "", false
}

// quotedName is an identifier in quotes.
var quotedName = regexp.MustCompile(`^"(?:[^"\x00]|"")+"`)

// cutLabel takes a label off a list; more says that another one follows.
func cutLabel(list string) (label, rest string, more, ok bool) {
	list = strings.TrimSpace(list)
	if !strings.HasPrefix(list, "'") {
		label, rest, more = strings.Cut(list, ",")
		label = strings.TrimSpace(label)
		return label, rest, more, label != "" && !strings.ContainsAny(label, "'()")
	}
	for list = list[1:]; ; {
		part, behind, found := strings.Cut(list, "'")
		label += part
		if !found {
			return "", "", false, false
		}
		if !strings.HasPrefix(behind, "'") {
			rest = strings.TrimSpace(behind)
			break
		}
		label, list = label+"'", behind[1:]
	}
	if rest == "" {
		return label, "", false, label != ""
	}
	rest, more = strings.CutPrefix(rest, ",")
	return label, rest, more, more && label != ""
}

// EnumLabels are the labels of an enum in order.
func (t Type) EnumLabels() []string {
	if t.Labels == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(t.Labels, "\x00"), "\x00")
}

// String is the type as in SQL; of enums as ParseType reads it.
func (t Type) String() string {
	array := ""
	if t.Array {
		array = "[]"
	}
	switch {
	case t.Name == "enum":
		labels := t.EnumLabels()
		for i, l := range labels {
			labels[i] = "'" + strings.ReplaceAll(l, "'", "''") + "'"
		}
		return "enum(" + t.Enum + ": " + strings.Join(labels, ", ") + ")"
	case t.Length >= 0:
		return fmt.Sprintf("%s(%d)%s", t.Name, t.Length, array)
	case t.Name == "numeric" && t.Precision >= 0:
		return fmt.Sprintf("%s(%d,%d)%s", t.Name, t.Precision, t.Scale, array)
	case t.Precision >= 0:
		return fmt.Sprintf("%s(%d)%s", t.Name, t.Precision, array)
	}
	return t.Name + array
}

// bound is the type's name in bindings. Modifiers are left out, so that a column
// can be widened without sealing it anew, and varchar is text, with which it
// compares; the scale of a numeric changes its canonical form and stays.
func (t Type) bound() string {
	array := ""
	if t.Array {
		array = "[]"
	}
	switch {
	case t.Name == "varchar":
		return "text" + array
	case t.Name == "numeric" && t.Precision >= 0:
		return fmt.Sprintf("numeric(%d)%s", t.Scale, array)
	case t.Name == "enum":
		return "enum " + strings.ReplaceAll(t.Enum, `"`, "")
	}
	return t.Name + array
}

// maxRangeDigits is the most digits of a numeric in mode range.
const maxRangeDigits = 300

// refuses says why the type cannot have a mode, or "" if it can. In modes equality
// and range equal values have equal bytes, so that nothing is left of how they
// were written.
func (t Type) refuses(mode string) string {
	if mode == ModeRandom {
		return ""
	}
	switch {
	case t.Array:
		return "ANY and the operators of arrays look at elements, which are not sealed one by one"
	case t.Name == "json":
		return "json values have no equality"
	case t.Name == "jsonb":
		return "jsonb values are equal by content and numbers in them keep their digits (1.0 = 1.00), so that one canonical form would change what is read back"
	case t.Name == "citext":
		return "values that differ in case are equal and yet read back as they were written"
	case t.Name == "interval":
		return "intervals are equal by their length (1 mon = 30 days) and yet read back as they were written"
	case t.Name == "bpchar" && t.Length < 0:
		return "trailing blanks do not count in comparisons and yet are read back; declare char(n)"
	case t.Name == "numeric" && t.Precision < 0:
		return "without a scale 1.0 and 1.00 are equal and yet read back differently; declare numeric(p,s)"
	case t.Name == "numeric" && mode == ModeRange && t.Precision-min(t.Scale, 0) > maxRangeDigits:
		return fmt.Sprintf("values of more than %d digits do not fit into an index", maxRangeDigits)
	}
	return ""
}

// few says that there are so few values of the type that to know which are equal,
// and how often, is nearly to know them.
func (t Type) few() bool {
	return t.Name == "bool" || t.Name == "enum" || t.Name == "bpchar" && t.Length == 1
}
