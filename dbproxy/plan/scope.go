// SPDX-License-Identifier: Apache-2.0

package plan

import pg "github.com/pganalyze/pg_query_go/v6"

// value is what is known of an expression.
type value struct {
	// rule is the protected column whose stored value it is; nil: none.
	rule *Rule
	// plain says that the server reports the column as the value's origin.
	plain bool
	// loc is where the column is named.
	loc int32
}

// field is a named column of a source.
type field struct {
	name string
	value
}

// source is one item of FROM.
type source struct {
	schema, name string
	fields       []field
	// open says that it has columns which are not listed; they are unprotected.
	open bool
}

func (s *source) protected() bool {
	for _, f := range s.fields {
		if f.rule != nil {
			return true
		}
	}
	return false
}

func (s *source) field(name string) (field, bool) {
	for _, f := range s.fields {
		if f.name == name {
			return f, true
		}
	}
	return field{}, false
}

// scope is the names that an expression sees, inner before outer.
type scope struct {
	sources []*source
	ctes    map[string]*source
	parent  *scope
	// merged says that USING made one column of two protected ones, so that *
	// does not list the sources' columns one after the other.
	merged bool
}

func (sc *scope) cte(name string) *source {
	for ; sc != nil; sc = sc.parent {
		if s := sc.ctes[name]; s != nil {
			return s
		}
	}
	return nil
}

// column resolves a column reference, which is not a star.
func (a *analyzer) column(ref *pg.ColumnRef, sc *scope) value {
	names := make([]string, 0, 3)
	for _, f := range ref.Fields {
		if f.GetAStar() != nil {
			// t.* as a value is the whole row.
			return a.wholeRow(names, ref.Location, sc)
		}
		names = append(names, f.GetString_().GetSval())
	}
	switch len(names) {
	case 0:
		return value{}
	case 1:
		return a.bareColumn(names[0], ref.Location, sc)
	}
	schema := ""
	if len(names) > 2 {
		schema = names[len(names)-3]
	}
	return a.qualifiedColumn(schema, names[len(names)-2], names[len(names)-1], ref.Location, sc)
}

func (a *analyzer) bareColumn(name string, loc int32, sc *scope) value {
	maybe, known, any := false, false, false
	for ; sc != nil; sc = sc.parent {
		found := false
		for _, s := range sc.sources {
			any = true
			if f, ok := s.field(name); ok {
				if f.rule != nil {
					if maybe {
						a.refuse(int(loc), "column "+name+" may be a protected column or one of an inner table", "Qualify the column with its table's name or alias.")
					}
					return value{f.rule, f.plain, loc}
				}
				found = true
			}
			maybe = maybe || s.open
		}
		if found {
			return value{}
		}
		for _, s := range sc.sources {
			if s.name == name && s.protected() {
				return a.rowRefused(s, loc)
			}
			known = known || s.protected()
		}
	}
	if any && known && !maybe && !systemColumn(name) {
		a.needs(NeedCatalog)
	}
	return value{}
}

func (a *analyzer) qualifiedColumn(schema, table, name string, loc int32, sc *scope) value {
	s := findSource(schema, table, sc)
	if s == nil {
		return value{}
	}
	f, ok := s.field(name)
	switch {
	case ok && f.rule != nil:
		return value{f.rule, f.plain, loc}
	case ok || !s.protected() || systemColumn(name):
		return value{}
	}
	// t.name also calls a function name(t).
	a.needs(NeedCatalog)
	if a.opt.Fresh && !s.open {
		a.refuse(int(loc), "column "+table+"."+name+" is not known", "A function cannot be applied to the row of a table with protected columns.")
	}
	return value{}
}

func (a *analyzer) wholeRow(names []string, loc int32, sc *scope) value {
	if len(names) == 0 {
		for s := sc; s != nil; s = s.parent {
			for _, src := range s.sources {
				if src.protected() {
					return a.rowRefused(src, loc)
				}
			}
		}
		return value{}
	}
	schema := ""
	if len(names) > 1 {
		schema = names[len(names)-2]
	}
	if s := findSource(schema, names[len(names)-1], sc); s != nil && s.protected() {
		return a.rowRefused(s, loc)
	}
	return value{}
}

func (a *analyzer) rowRefused(s *source, loc int32) value {
	a.refuse(int(loc), "the row of "+s.name+" cannot be used as one value: it has protected columns", "Name the columns.")
	return value{}
}

func findSource(schema, table string, sc *scope) *source {
	for ; sc != nil; sc = sc.parent {
		for _, s := range sc.sources {
			if s.name == table && (schema == "" || s.schema == schema) {
				return s
			}
		}
	}
	return nil
}

func systemColumn(name string) bool {
	switch name {
	case "ctid", "xmin", "xmax", "cmin", "cmax", "tableoid":
		return true
	}
	return false
}

// relationSource is a relation under its name or alias.
func (a *analyzer) relationSource(rel *Relation, rv *pg.RangeVar) *source {
	s := &source{name: rv.Relname}
	if rel == nil {
		s.open = true
	} else {
		s.schema = rel.Schema
		for _, c := range rel.Columns {
			s.fields = append(s.fields, field{c.Name, value{rule: c.Rule, plain: rel.OID != 0}})
		}
		s.open = !rel.Protected
	}
	return s.aliased(rv.Alias)
}

// aliased gives the source under an alias, which hides its own name.
func (s *source) aliased(al *pg.Alias) *source {
	if al == nil {
		return s
	}
	n := &source{name: al.Aliasname, open: s.open, fields: append([]field(nil), s.fields...)}
	for i, c := range al.Colnames {
		if i < len(n.fields) {
			n.fields[i].name = c.GetString_().GetSval()
		}
	}
	return n
}
