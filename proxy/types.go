// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"fmt"
	"strconv"
	"strings"
)

// Type is a PostgreSQL type that a protected column can have. Length, Precision
// and Scale are -1 where the type has none.
type Type struct {
	Name      string // as in pg_type.typname
	Length    int    // of varchar(n)
	Precision int    // of numeric(p,s)
	Scale     int
}

func typeNames() []string {
	return []string{"text", "varchar", "int4", "int8", "bytea", "bool", "date", "timestamptz", "uuid", "numeric", "jsonb"}
}

func typeAlias(name string) string {
	switch name {
	case "character varying":
		return "varchar"
	case "int", "integer":
		return "int4"
	case "bigint":
		return "int8"
	case "boolean":
		return "bool"
	case "timestamp with time zone":
		return "timestamptz"
	case "decimal":
		return "numeric"
	}
	return name
}

// ParseType understands the supported types by their names in SQL and in
// pg_type, with modifiers.
func ParseType(s string) (Type, error) {
	t := Type{Length: -1, Precision: -1, Scale: -1}
	text := strings.Join(strings.Fields(strings.ToLower(s)), " ")
	name, mods, hasMods := strings.Cut(text, "(")
	if hasMods {
		var rest string
		var closed bool
		if mods, rest, closed = strings.Cut(mods, ")"); !closed || strings.TrimSpace(rest) != "" {
			return t, fmt.Errorf("%q is not a type", s)
		}
	}
	t.Name = typeAlias(strings.TrimSpace(name))
	known := false
	for _, n := range typeNames() {
		known = known || n == t.Name
	}
	if t.Name == "" {
		return t, fmt.Errorf("missing")
	}
	if !known {
		return t, fmt.Errorf("unknown %q%s", s, didYouMean(t.Name, typeNames()...))
	}
	if hasMods {
		return t, t.parseModifiers(s, strings.Split(mods, ","))
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
	case t.Name == "varchar" && len(n) == 1 && n[0] >= 1 && n[0] <= 10485760:
		t.Length = n[0]
	case t.Name == "numeric" && len(n) == 1 && n[0] >= 1 && n[0] <= 1000:
		t.Precision, t.Scale = n[0], 0
	case t.Name == "numeric" && len(n) == 2 && n[0] >= 1 && n[0] <= 1000 && n[1] >= -1000 && n[1] <= 1000:
		t.Precision, t.Scale = n[0], n[1]
	default:
		return fmt.Errorf("%q has modifiers that %s does not have", s, t.Name)
	}
	return nil
}

// String is the type as in SQL.
func (t Type) String() string {
	switch {
	case t.Length >= 0:
		return fmt.Sprintf("%s(%d)", t.Name, t.Length)
	case t.Precision >= 0:
		return fmt.Sprintf("%s(%d,%d)", t.Name, t.Precision, t.Scale)
	}
	return t.Name
}

// bound is the type's name in bindings. Modifiers are left out, so that a column
// can be widened without sealing it anew, and varchar is text, with which it
// compares; the scale of a numeric changes its canonical form and stays.
func (t Type) bound() string {
	switch {
	case t.Name == "varchar":
		return "text"
	case t.Precision >= 0:
		return fmt.Sprintf("numeric(%d)", t.Scale)
	}
	return t.Name
}

// refusesEquality says why equal values of the type can have different bytes, or
// "" if they cannot.
func (t Type) refusesEquality() string {
	switch {
	case t.Name == "jsonb":
		return "jsonb values are equal by content and numbers in them keep their digits (1.0 = 1.00), so that one canonical form would change what is read back"
	case t.Name == "numeric" && t.Precision < 0:
		return "without a scale 1.0 and 1.00 are equal and yet read back differently; declare numeric(p,s)"
	}
	return ""
}
