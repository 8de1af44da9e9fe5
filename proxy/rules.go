// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"fmt"
	"strings"
)

// Rules say what is encrypted, and how.
type Rules struct {
	// Objects are tried in order; the first that matches decides. An object that
	// none matches cannot be put.
	Objects []ObjectRule `yaml:"objects"`

	// Columns name the protected columns. Everything else passes untouched.
	Columns []ColumnRule `yaml:"columns"`
}

// ObjectRule encrypts the objects of a bucket.
type ObjectRule struct {
	// Bucket is a bucket's name, or "*" for every bucket.
	Bucket string `yaml:"bucket"`

	// Prefix limits the rule to object names that begin with it.
	Prefix string `yaml:"prefix"`

	// KeyID is the KMS key: an ID, ARN or alias/name.
	KeyID string `yaml:"key_id"`

	// EncryptionContext is added to {"aws:s3:arn": "arn:aws:s3:::<bucket>"}. It
	// is stored with each object, so that changing it leaves old ones readable.
	EncryptionContext map[string]string `yaml:"encryption_context"`

	// Foreign says what holds for objects that are not sealed, such as those from
	// before sidekey. refuse, the default: they cannot be read. pass: they can be
	// read, and not be copied. encrypt: they can be read, and a copy of one, also
	// onto itself, is sealed. With pass and encrypt a store, or who can write to
	// it, can put plaintext of its own in the place of an object. Listings then
	// look at objects one by one, once, to tell their sizes.
	Foreign string `yaml:"foreign"`
}

// Modes of objects that are not sealed.
const (
	ForeignRefuse  = "refuse"
	ForeignPass    = "pass"
	ForeignEncrypt = "encrypt"
)

// ForeignMode is Foreign, or its default.
func (r *ObjectRule) ForeignMode() string {
	if r.Foreign == "" {
		return ForeignRefuse
	}
	return r.Foreign
}

// ColumnRule encrypts one column.
type ColumnRule struct {
	// Table is schema.table; without a schema it is in public.
	Table string `yaml:"table"`

	// Column is the column's name.
	Column string `yaml:"column"`

	// Type is the column's type as the application sees it: text, varchar(n),
	// int4, int8, bytea, bool, date, timestamptz, uuid, numeric(p,s), jsonb, or
	// the SQL name of one of these.
	Type string `yaml:"type"`

	// Mode is random (default) or equality. Equality shows the database which
	// values are equal and how often each occurs; on a bool column that is
	// nearly all there is to know.
	Mode string `yaml:"mode"`

	// KeyID is the KMS key: an ID, ARN or alias/name.
	KeyID string `yaml:"key_id"`

	// Domain lets equality columns that name the same one compare and join with
	// each other. They must have the same type and key.
	Domain string `yaml:"domain"`

	// Moving is for the time that `sidekey migrate pg` works on the column: the
	// sidecar then agrees with it on the moment when the column changes. plaintext:
	// the column comes from plaintext or goes back to it; while it has its declared
	// type in the database, its values pass as they are. sealed: it stays encrypted,
	// and gets another data key. Empty, the default: nothing moves, and a column
	// that is not encrypted is refused.
	Moving string `yaml:"moving"`
}

// Values of ColumnRule.Moving.
const (
	MovingPlaintext = "plaintext"
	MovingSealed    = "sealed"
)

// Modes of columns.
const (
	ModeRandom   = "random"
	ModeEquality = "equality"
)

// Validate reports the first rule that cannot work.
func (r *Rules) Validate() error {
	for i := range r.Objects {
		if err := r.Objects[i].validate(); err != nil {
			return fmt.Errorf("objects[%d].%w", i, err)
		}
	}
	seen, domains := map[string]int{}, map[string]int{}
	for i := range r.Columns {
		rule := &r.Columns[i]
		if err := rule.validate(); err != nil {
			return fmt.Errorf("columns[%d].%w", i, err)
		}
		name := rule.QualifiedTable() + "." + rule.Column
		if first, ok := seen[name]; ok {
			return fmt.Errorf("columns[%d].column: %s has a rule already, columns[%d]", i, name, first)
		}
		seen[name] = i
		if rule.Domain == "" {
			continue
		}
		first, ok := domains[rule.Domain]
		if !ok {
			domains[rule.Domain] = i
		} else if err := sameDomain(&r.Columns[first], rule); err != nil {
			return fmt.Errorf("columns[%d].%w (columns[%d])", i, err, first)
		}
	}
	return nil
}

func sameDomain(a, b *ColumnRule) error {
	ta, _ := ParseType(a.Type)
	tb, _ := ParseType(b.Type)
	if ta.bound() != tb.bound() {
		return fmt.Errorf("type: %s does not compare with %s, the type of domain %q", tb, ta, b.Domain)
	}
	if a.KeyID != b.KeyID {
		return fmt.Errorf("key_id: differs from that of domain %q", b.Domain)
	}
	return nil
}

func (r *ObjectRule) validate() error {
	switch {
	case r.Bucket == "":
		return fmt.Errorf(`bucket: missing (use "*" for every bucket)`)
	case r.Bucket != "*" && strings.ContainsAny(r.Bucket, "*?/"):
		return fmt.Errorf(`bucket: %q is neither a bucket nor "*"`, r.Bucket)
	case r.KeyID == "":
		return fmt.Errorf("key_id: missing")
	case r.Foreign != "" && r.Foreign != ForeignRefuse && r.Foreign != ForeignPass && r.Foreign != ForeignEncrypt:
		return fmt.Errorf("foreign: unknown %q%s", r.Foreign, didYouMean(r.Foreign, ForeignRefuse, ForeignPass, ForeignEncrypt))
	}
	for k := range r.EncryptionContext {
		if k == "" || strings.HasPrefix(k, "aws:") {
			return fmt.Errorf("encryption_context: the name %q is reserved", k)
		}
	}
	return nil
}

func (r *ColumnRule) validate() error {
	switch {
	case r.Table == "" || strings.HasSuffix(r.Table, ".") || strings.HasPrefix(r.Table, ".") || strings.Count(r.Table, ".") > 1:
		return fmt.Errorf("table: %q is not schema.table", r.Table)
	case r.Column == "":
		return fmt.Errorf("column: missing")
	case r.KeyID == "":
		return fmt.Errorf("key_id: missing")
	}
	if r.Mode != "" && r.Mode != ModeRandom && r.Mode != ModeEquality {
		return fmt.Errorf("mode: unknown %q%s", r.Mode, didYouMean(r.Mode, ModeRandom, ModeEquality))
	}
	t, err := ParseType(r.Type)
	if err != nil {
		return fmt.Errorf("type: %w", err)
	}
	if r.Moving != "" && r.Moving != MovingPlaintext && r.Moving != MovingSealed {
		return fmt.Errorf("moving: unknown %q%s", r.Moving, didYouMean(r.Moving, MovingPlaintext, MovingSealed))
	}
	if r.Domain != "" && r.mode() != ModeEquality {
		return fmt.Errorf("domain: only mode %s compares columns; this one is %s", ModeEquality, r.mode())
	}
	if r.mode() == ModeEquality {
		if reason := t.refusesEquality(); reason != "" {
			return fmt.Errorf("mode: equality is refused for %s: %s", t, reason)
		}
	}
	return nil
}

func (r *ColumnRule) mode() string {
	if r.Mode == "" {
		return ModeRandom
	}
	return r.Mode
}

// QualifiedTable is Table with its schema.
func (r *ColumnRule) QualifiedTable() string {
	if strings.Contains(r.Table, ".") {
		return r.Table
	}
	return "public." + r.Table
}

// Warnings say what valid rules give away that an operator might not expect.
func (r *Rules) Warnings() []string {
	var warnings []string
	for i := range r.Columns {
		if r.Columns[i].Moving == MovingPlaintext {
			warnings = append(warnings, fmt.Sprintf("columns[%d].moving: while the column has its plaintext type in the database, its values are not encrypted", i))
		}
		t, err := ParseType(r.Columns[i].Type)
		if err == nil && t.Name == "bool" && r.Columns[i].mode() == ModeEquality {
			warnings = append(warnings, fmt.Sprintf(
				"columns[%d]: equality on a bool shows the database which rows share a value; two values and their counts are nearly all there is to know", i))
		}
	}
	return warnings
}

// matches says whether the rule covers an object.
func (r *ObjectRule) matches(bucket, key string) bool {
	return (r.Bucket == "*" || r.Bucket == bucket) && strings.HasPrefix(key, r.Prefix)
}

// ObjectRule returns the rule of an object, or ErrNoRule.
func (c *Cipher) ObjectRule(bucket, key string) (ObjectRule, error) {
	for i := range c.rules.Objects {
		if c.rules.Objects[i].matches(bucket, key) {
			return c.rules.Objects[i], nil
		}
	}
	return ObjectRule{}, fmt.Errorf("%s: %w", bucket, ErrNoRule)
}
