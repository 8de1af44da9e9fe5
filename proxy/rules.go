// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
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
	// char(n), citext, int2, int4, int8, float4, float8, numeric(p,s), bool, date,
	// time(p), timestamp(p), timestamptz(p), interval, uuid, bytea, json, jsonb,
	// inet, cidr, or the SQL name of one of these; with [] behind it an array of
	// them; or enum(name: label, 'another label'), with the labels in the order
	// of CREATE TYPE. Labels may be added; in mode range at the end only.
	Type string `yaml:"type"`

	// Mode says what can be asked of the column, and so what the database, its
	// backups and everyone who reads them learn of it.
	//
	// random, the default: nothing can be asked but IS NULL. It shows the length
	// of each value and which are NULL, and of equal values nothing.
	//
	// equality: =, <>, IN, joins, UNIQUE, GROUP BY, DISTINCT and indexes. It
	// shows, besides, which values are equal and how often each occurs; who knows
	// how often each ought to occur, knows which is which. On a bool that is
	// nearly all there is to know.
	//
	// range: also <, <=, >, >=, BETWEEN, ORDER BY, min and max. It shows, besides,
	// the order, and of any two values the first bit in which they differ. Who
	// knows about how values are distributed knows about what each is: of a column
	// with most of a year's dates, all of them. Text sorts by bytes, as under
	// collation C, and has at most 140 bytes, so that it fits into an index.
	Mode string `yaml:"mode"`

	// KeyID is the KMS key: an ID, ARN or alias/name.
	KeyID string `yaml:"key_id"`

	// Domain lets columns of mode equality or range that name the same one compare
	// and join with each other. They must have the same mode, type and key.
	Domain string `yaml:"domain"`

	// BoundAs is the schema.table.column that the column's values are bound to,
	// if the column, its table or its schema has been renamed since the first was
	// sealed. Empty means the column's name. It also lets the encrypting proxy
	// take the statement that renames it. Values of a domain are bound to that
	// and not to a name: there it is for the statement only.
	BoundAs string `yaml:"bound_as"`

	// Search lets the database find values of a text or varchar column of mode
	// random by a part of them, with LIKE. Left out: nothing can be searched. It
	// shows which values share which of those parts, and how often each occurs.
	// Values that were sealed under another Search have to be sealed anew.
	Search *Search `yaml:"search"`

	// PerTenant binds values to a tenant, which the client's session names in the
	// setting postgres.tenant_setting, and seals them under data keys of its own.
	// Values of another tenant do not open, nor compare as equal. The key ID may
	// hold {tenant}, as in alias/customers-{tenant}.
	PerTenant bool `yaml:"per_tenant"`

	// Masks say what roles get in place of values. The first that names a role
	// counts; a role that none names gets the value.
	Masks []Mask `yaml:"masks"`

	// Moving is for the time that `sidekey migrate pg` works on the column: the
	// sidecar then agrees with it on the moment when the column changes. plaintext:
	// the column comes from plaintext or goes back to it; while it has its declared
	// type in the database, its values pass as they are. sealed: it stays encrypted,
	// and gets another data key. Empty, the default: nothing moves, and a column
	// that is not encrypted is refused.
	Moving string `yaml:"moving"`

	tenant string // of ForTenant
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
	ModeRange    = "range"
)

// Validate reports the first rule that cannot work.
func (r *Rules) Validate() error {
	for i := range r.Objects {
		if err := r.Objects[i].validate(); err != nil {
			return fmt.Errorf("objects[%d].%w", i, err)
		}
	}
	seen, bound, domains := map[string]int{}, map[string]int{}, map[string]int{}
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
		if first, ok := bound[rule.boundName()]; ok && rule.Domain == "" {
			return fmt.Errorf("columns[%d].bound_as: the values of columns[%d] are bound to %s", i, first, rule.boundName())
		}
		if rule.Domain == "" {
			bound[rule.boundName()] = i
		}
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
	if ta.bound() != tb.bound() || ta.Labels != tb.Labels {
		return fmt.Errorf("type: %s does not compare with %s, the type of domain %q", tb, ta, b.Domain)
	}
	if a.PerTenant != b.PerTenant {
		return fmt.Errorf("per_tenant: differs from that of domain %q", b.Domain)
	}
	if a.mode() != b.mode() {
		return fmt.Errorf("mode: %s does not compare with %s, the mode of domain %q", b.mode(), a.mode(), b.Domain)
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
	if r.BoundAs != "" && (strings.Count(r.BoundAs, ".") != 2 || strings.Contains("."+r.BoundAs+".", "..")) {
		return fmt.Errorf("bound_as: %q is not schema.table.column", r.BoundAs)
	}
	switch r.mode() {
	case ModeRandom, ModeEquality, ModeRange:
	default:
		return fmt.Errorf("mode: unknown %q%s", r.Mode, didYouMean(r.Mode, ModeRandom, ModeEquality, ModeRange))
	}
	t, err := ParseType(r.Type)
	if err != nil {
		return fmt.Errorf("type: %w", err)
	}
	if r.Moving != "" && r.Moving != MovingPlaintext && r.Moving != MovingSealed {
		return fmt.Errorf("moving: unknown %q%s", r.Moving, didYouMean(r.Moving, MovingPlaintext, MovingSealed))
	}
	if err := errors.Join(r.validateTenant(), r.validateMasks()); err != nil {
		return err
	}
	if r.Domain != "" && r.mode() == ModeRandom {
		return fmt.Errorf("domain: only modes %s and %s compare columns; this one is %s", ModeEquality, ModeRange, r.mode())
	}
	if err := r.validateSearch(t); err != nil {
		return fmt.Errorf("search: %w", err)
	}
	if reason := t.refuses(r.mode()); reason != "" {
		return fmt.Errorf("mode: %s is refused for %s: %s", r.mode(), t, reason)
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

// BoundColumn is the table, with its schema, and the column that values are
// bound to.
func (r *ColumnRule) BoundColumn() (table, column string) {
	if i := strings.LastIndexByte(r.BoundAs, '.'); i > 0 {
		return r.BoundAs[:i], r.BoundAs[i+1:]
	}
	return r.QualifiedTable(), r.Column
}

func (r *ColumnRule) boundName() string {
	table, column := r.BoundColumn()
	return table + "." + column
}

// Warnings say what valid rules give away that an operator might not expect.
func (r *Rules) Warnings() []string {
	var warnings []string
	for i := range r.Columns {
		if other := r.maskedOtherwise(i); other >= 0 {
			warnings = append(warnings, fmt.Sprintf(
				"columns[%d].masks: differ from those of columns[%d] of the same domain: a role that gets the values of only one can find out the other's, by comparing both or by having a function copy them", i, other))
		}
		if r.Columns[i].Moving == MovingPlaintext {
			warnings = append(warnings, fmt.Sprintf("columns[%d].moving: while the column has its plaintext type in the database, its values are not encrypted", i))
		}
		if s := r.Columns[i].Search; s != nil && s.Substring.Min > 0 && s.Substring.Min < 3 {
			warnings = append(warnings, fmt.Sprintf("columns[%d].search.substring: there are so few parts of %d characters that how often each occurs tells the database what most of them are", i, s.Substring.Min))
		}
		mode := r.Columns[i].mode()
		t, err := ParseType(r.Columns[i].Type)
		if err == nil && t.few() && mode != ModeRandom {
			warnings = append(warnings, fmt.Sprintf(
				"columns[%d]: %s on a type of few values (%s) shows the database which rows share a value; the values and their counts are nearly all there is to know", i, mode, t))
		}
	}
	return warnings
}

// maskedOtherwise is the first column before the i-th that is of its domain and has
// other masks, -1 if there is none.
func (r *Rules) maskedOtherwise(i int) int {
	return slices.IndexFunc(r.Columns[:i], func(o ColumnRule) bool {
		return o.Domain != "" && o.Domain == r.Columns[i].Domain && !reflect.DeepEqual(o.Masks, r.Columns[i].Masks)
	})
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
