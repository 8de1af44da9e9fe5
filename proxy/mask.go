// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"fmt"
	"slices"
)

// Mask says what some database roles get in place of a column's values. A role
// that gets anything but the value cannot store values or compare with them
// either, since it could guess them so.
type Mask struct {
	// Roles are the names that clients log in with; "*" is every name.
	Roles []string `yaml:"roles"`

	// Show is value, the column's value; null; fixed, the value in Text; last4,
	// asterisks and the last four characters, for text; or refuse, which is
	// SQLSTATE 42501 for the statement.
	Show string `yaml:"show"`

	// Text is what fixed shows, in the text form of the column's type.
	Text string `yaml:"text"`
}

// Values of Mask.Show.
const (
	ShowValue  = "value"
	ShowNull   = "null"
	ShowFixed  = "fixed"
	ShowLast4  = "last4"
	ShowRefuse = "refuse"
)

// MaskFor is the first of the rule's masks that names the role, nil if the role
// gets the value.
func (r *ColumnRule) MaskFor(role string) *Mask {
	for i := range r.Masks {
		m := &r.Masks[i]
		if slices.Contains(m.Roles, role) || slices.Contains(m.Roles, "*") {
			if m.Show == ShowValue {
				return nil
			}
			return m
		}
	}
	return nil
}

func (r *ColumnRule) validateMasks() error {
	for i := range r.Masks {
		if err := r.Masks[i].validate(r.Type); err != nil {
			return fmt.Errorf("masks[%d].%w", i, err)
		}
	}
	return nil
}

func (m *Mask) validate(columnType string) error {
	if len(m.Roles) == 0 {
		return fmt.Errorf(`roles: missing ("*" is every role)`)
	}
	known := []string{ShowValue, ShowNull, ShowFixed, ShowLast4, ShowRefuse}
	if !slices.Contains(known, m.Show) {
		return fmt.Errorf("show: unknown %q%s", m.Show, didYouMean(m.Show, known...))
	}
	if m.Text != "" && m.Show != ShowFixed {
		return fmt.Errorf("text: only show: fixed has it")
	}
	t, err := ParseType(columnType)
	if err == nil && m.Show == ShowLast4 && (t.Array || !textual(t.Name)) {
		return fmt.Errorf("show: last4 is for text, not for %s", t)
	}
	return nil
}

// textual says whether values of the type are characters.
func textual(name string) bool {
	return slices.Contains([]string{"text", "varchar", "bpchar", "char", "citext"}, name)
}

// Masked is the canonical form of text of which only the last four characters
// are shown; fewer than eight show none.
func Masked(text []byte) []byte {
	runes := []rune(string(text))
	if len(runes) < 8 {
		return []byte("****")
	}
	return append([]byte("****"), string(runes[len(runes)-4:])...)
}
