// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Rule is one configured column: what the application believes the column to
// be, and how it is protected.
type Rule struct {
	// Schema, Table and Column are the names as pg_catalog has them.
	Schema, Table, Column string
	// Type is the type the application declares and sees.
	Type Type
	// Equality says that equal values have equal ciphertexts.
	Equality bool
	// Ordered says that ciphertexts compare as bytes as the values do, which
	// also makes those of equal values equal: Equality is set, too.
	Ordered bool
	// Search is by which parts its values can be found, nil if by none.
	Search *Search
	// TenantSetting is the setting that names the tenant whose the values are;
	// "" if they are nobody's in particular.
	TenantSetting string
	// Binding names what the ciphertext is bound to: the column, or a domain
	// shared by several columns. Values move only between equal bindings.
	Binding string
	// Prefix is what every sealed value of the column begins with.
	Prefix []byte
	// MinLen is the length of the shortest sealed value.
	MinLen int
	// Index identifies the rule to the caller.
	Index int
	// Was is the name that the values are bound to, if the column has had
	// another one.
	Was *Name
}

// Name is that of a column.
type Name struct{ Schema, Table, Column string }

// Name is schema.table.column.
func (r *Rule) Name() string { return r.Schema + "." + r.Table + "." + r.Column }

// joins says whether values of both columns compare as their plaintexts do.
func (r *Rule) joins(o *Rule) bool {
	return r.Equality && o.Equality && r.Ordered == o.Ordered && r.Binding == o.Binding && r.TenantSetting == o.TenantSetting && sameBase(r.Type, o.Type)
}

// carries says whether a stored value of o may be stored in r as it is.
func (r *Rule) carries(o *Rule) bool {
	return r.Binding == o.Binding && r.Type == o.Type && r.Equality == o.Equality && r.Ordered == o.Ordered && r.TenantSetting == o.TenantSetting
}

func sameBase(a, b Type) bool {
	textual := func(t Type) bool { return t.OID == Text || t.OID == Varchar }
	if textual(a) && textual(b) {
		return true
	}
	_, sa, _ := a.Precision()
	_, sb, _ := b.Precision()
	return a.OID == b.OID && sa == sb && a.Enum == b.Enum && a.Labels == b.Labels
}

// CheckName is the name of the constraint that guards the column.
func (r *Rule) CheckName() string { return checkName(r.Column) }

func checkName(column string) string {
	name := "sidekey_sealed_" + column
	if len(name) > 63 {
		name = "sidekey_sealed_" + hex.EncodeToString([]byte(column))[:48]
	}
	return name
}

// CheckNames are the names that the guard can have: it keeps that of a column
// which has been renamed.
func (r *Rule) CheckNames() []string {
	if r.Was != nil && r.Was.Column != r.Column {
		return []string{r.CheckName(), checkName(r.Was.Column)}
	}
	return []string{r.CheckName()}
}

func (r *Rule) isCheckName(name string) bool { return slices.Contains(r.CheckNames(), name) }

// CheckSQL is the constraint's expression. It compares hexadecimal text, so
// that pg_get_constraintdef prints it alike under every bytea_output.
func (r *Rule) CheckSQL() string {
	c := quoteIdent(r.Column)
	return fmt.Sprintf("pg_catalog.encode(pg_catalog.substring(%s, 1, %d), 'hex') OPERATOR(pg_catalog.=) '%s' AND pg_catalog.octet_length(%s) OPERATOR(pg_catalog.>=) %d",
		c, len(r.Prefix), hex.EncodeToString(r.Prefix), c, r.MinLen)
}

// Guards says whether def, from pg_get_constraintdef, is the constraint that
// CheckSQL makes. PostgreSQL prints it with its own casts and parentheses, and
// quotes names only where it must.
func (r *Rule) Guards(def string) bool {
	bare := strings.NewReplacer(" ", "", `"`, "", "(", "", ")", "")
	c := bare.Replace(r.Column)
	want := fmt.Sprintf("CHECKencodesubstring%s,1,%d,'hex'::text='%s'::textANDoctet_length%s>=%d",
		c, len(r.Prefix), hex.EncodeToString(r.Prefix), c, r.MinLen)
	return bare.Replace(strings.ReplaceAll(def, "pg_catalog.", "")) == want
}

// Column is one column of a relation that a rule concerns.
type Column struct {
	Name   string
	Attnum int16
	// Rule is nil for a column that is not protected.
	Rule *Rule
	// Generated says that the server computes it, so that COPY leaves it out.
	Generated bool
	// Default says that a protected column has a sealed default.
	Default bool
	// Type, if not zero, is that of a view's column, which may differ from that
	// of the rule in its length. Array says that it holds arrays of values.
	Type  Type
	Array bool
}

// Relation is one relation of the database that a statement's names may mean.
type Relation struct {
	// Schema is "" if it is not known, for one made by an earlier statement of
	// the same text.
	Schema, Name string
	// OID is zero for a table made by an earlier statement of the same text;
	// Schema is empty if that is not known of it.
	OID     uint32
	Columns []Column
	// Refuse says why the relation may not be used at all: it is a view over
	// a protected table, a partition of one, or a configured column does not
	// carry its guard. Hint says what to do.
	Refuse, Hint string
	// Protected says that at least one column has a rule.
	Protected bool
	// Plain are the rules whose columns, of it or of what it reads, are in plaintext
	// for the time of their move.
	Plain []*Rule
	// PrimaryKey are the names of its columns.
	PrimaryKey []string
	// Definition is the query of a view, with names as they are found along
	// Path; which of its columns are protected follows from it.
	Definition string
	Path       []string
	moved      []*Rule    // as Statement.Moved, of a view
	compared   [][2]*Rule // as Statement.Compared, likewise
}

func (r *Relation) column(name string) *Column {
	for i := range r.Columns {
		if r.Columns[i].Name == name {
			return &r.Columns[i]
		}
	}
	return nil
}

// Catalog is what a plan is made against: every relation of one database that
// has the name of a protected one, in any schema. It does not change once made.
type Catalog struct {
	rules  map[string]map[string][]*Rule // table name → schema → its rules
	byName map[string][]*Relation
	byAttr map[Attr]*Rule
	// tenantSetting is that of the rules which have one.
	tenantSetting string
	system        *System
}

// Attr is what RowDescription says about the origin of a result column.
type Attr struct {
	Table  uint32
	Column int16
}

// NewCatalog makes a catalog of the rules and the relations that exist.
func NewCatalog(rules []*Rule, relations []*Relation) *Catalog {
	c := &Catalog{
		rules:  make(map[string]map[string][]*Rule),
		byName: make(map[string][]*Relation),
		byAttr: make(map[Attr]*Rule),
	}
	for _, r := range rules {
		if c.rules[r.Table] == nil {
			c.rules[r.Table] = make(map[string][]*Rule)
		}
		c.rules[r.Table][r.Schema] = append(c.rules[r.Table][r.Schema], r)
		if r.TenantSetting != "" {
			c.tenantSetting = r.TenantSetting
		}
	}
	for _, rel := range relations {
		c.byName[rel.Name] = append(c.byName[rel.Name], rel)
	}
	c.views()
	for _, rel := range relations {
		c.addColumns(rel)
	}
	return c
}

func (c *Catalog) addColumns(rel *Relation) {
	for _, col := range rel.Columns {
		if col.Rule != nil && rel.OID != 0 {
			c.byAttr[Attr{rel.OID, col.Attnum}] = col.Rule
		}
	}
}

// with gives a copy that has rel too, instead of a relation of the same name.
func (c *Catalog) with(rel *Relation) *Catalog {
	n := &Catalog{rules: c.rules, byAttr: c.byAttr, system: c.system, tenantSetting: c.tenantSetting, byName: make(map[string][]*Relation, len(c.byName)+1)}
	for name, rels := range c.byName {
		n.byName[name] = rels
	}
	kept := []*Relation{rel}
	for _, r := range c.byName[rel.Name] {
		if r.Schema != rel.Schema {
			kept = append(kept, r)
		}
	}
	n.byName[rel.Name] = kept
	return n
}

// Plain says whether a column whose rule f accepts is in plaintext for the time of
// its move.
func (c *Catalog) Plain(f func(*Rule) bool) bool {
	for _, rels := range c.byName {
		for _, rel := range rels {
			if slices.ContainsFunc(rel.Plain, f) {
				return true
			}
		}
	}
	return false
}

// Rule gives the rule of a result column by its origin, nil if it has none.
func (c *Catalog) Rule(a Attr) *Rule { return c.byAttr[a] }

// mentions says whether an identifier can name a relation that matters, or one
// of the system catalogs that describe such relations.
func (c *Catalog) mentions(name string) bool {
	return c.concerns(name) || c.describes(name) || c.elementOf(name) != ""
}

// elementOf gives the relation that matters of whose rows a type's name may be that
// of the array: an underscore before the name, which is cut to fit, and a number
// behind it if another type has that already (makeArrayTypeName of pg_type.c).
func (c *Catalog) elementOf(name string) string {
	element, array := strings.CutPrefix(name, "_")
	if !array {
		return ""
	}
	counted := strings.TrimRight(element, "0123456789")
	if counted == element || !strings.HasSuffix(counted, "_") {
		counted = ""
	}
	for ; array; element, array = strings.CutPrefix(element, "_") {
		if c.concerns(element) {
			return element
		}
	}
	if counted = strings.TrimSuffix(counted, "_"); counted != "" && c.concerns(counted) {
		return counted
	}
	if len(name) < nameLen-utf8.UTFMax {
		return ""
	}
	cut := func(long string) bool {
		return strings.HasPrefix(long, name[1:]) || counted != "" && strings.HasPrefix(long, counted)
	}
	for long := range c.rules {
		if cut(long) {
			return long
		}
	}
	for long := range c.byName {
		if cut(long) {
			return long
		}
	}
	return ""
}

// concerns says whether an identifier can name a relation that matters.
func (c *Catalog) concerns(name string) bool {
	return c.rules[name] != nil || c.byName[name] != nil
}

// lasting says whether such a relation is none of a session's own.
func (c *Catalog) lasting(name string) bool {
	return c.rules[name] != nil || slices.ContainsFunc(c.byName[name], func(r *Relation) bool { return !isTemporary(r.Schema) })
}

// resolution of a name.
type resolution int

const (
	unprotected resolution = iota // no rule can be reached by the name
	resolved                      // a relation was found
	needPath                      // the search_path decides, and is not known
	needCatalog                   // a configured table is not in the snapshot
)

// resolve finds what a relation name means. schema is "" for a bare name. A
// configured table that the snapshot lacks exists all the same, perhaps, unless
// the snapshot is fresh.
func (c *Catalog) resolve(schema, name string, path []string, fresh bool) (*Relation, resolution) {
	if !c.concerns(name) {
		return nil, unprotected
	}
	rels := c.byName[name]
	for _, r := range rels {
		if r.Schema == "" {
			return r, resolved // made by the text, wherever
		}
	}
	if schema != "" {
		return c.resolveIn(schema, name, rels)
	}
	if !anyMatters(rels) && len(c.rules[name]) == 0 {
		return nil, unprotected
	}
	if !c.ambiguous(name) {
		return rels[0], resolved
	}
	if len(rels) == 0 {
		return nil, needCatalog
	}
	if path == nil {
		return nil, needPath
	}
	for _, s := range path {
		for _, r := range rels {
			if r.Schema == s {
				return r, resolved
			}
		}
		if c.rules[name][s] != nil && !fresh {
			return nil, needCatalog
		}
	}
	return nil, needCatalog
}

// ambiguous says whether the search_path decides what a bare name means. If
// one relation has the name, it can only find this one or none; a configured
// table that does not exist yet in another schema is a second candidate.
func (c *Catalog) ambiguous(name string) bool {
	rels, rules := c.byName[name], c.rules[name]
	if !anyMatters(rels) && len(rules) == 0 {
		return false
	}
	configuredElsewhere := len(rels) == 1 && rules != nil && rules[rels[0].Schema] == nil
	return len(rels) != 1 || len(rules) > 1 || configuredElsewhere
}

// hasSchema says whether any rule is of one of the schemas.
func (c *Catalog) hasSchema(schemas ...string) bool {
	for _, bySchema := range c.rules {
		for _, s := range schemas {
			if bySchema[s] != nil {
				return true
			}
		}
	}
	return false
}

func (c *Catalog) resolveIn(schema, name string, rels []*Relation) (*Relation, resolution) {
	for _, r := range rels {
		if r.Schema == schema || r.Schema == "" || schema == "pg_temp" && isTemporary(r.Schema) {
			return r, resolved
		}
	}
	if c.rules[name][schema] != nil {
		return nil, needCatalog
	}
	return nil, unprotected
}

func anyMatters(rels []*Relation) bool {
	for _, r := range rels {
		if r.Protected || r.Refuse != "" || r.Definition != "" {
			return true
		}
	}
	return false
}
