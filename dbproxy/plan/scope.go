// SPDX-License-Identifier: Apache-2.0

package plan

import (
	pg "github.com/pganalyze/pg_query_go/v6"
)

// value is what is known of an expression.
type value struct {
	// class says whether it is a protected value; nil: it surely is not.
	class *class
	// array says that it is an array of values of the class.
	array bool
	// typ is its type as the client sees it.
	typ Type
	// plain says that the server reports a column as its origin.
	plain bool
	// cast says that a cast or COLLATE of it is taken off, for which the server
	// would report no origin.
	cast bool
	// collated says that a COLLATE of it is taken off.
	collated bool
	// loc is where it stands.
	loc int32
}

// field is a named column of a source.
type field struct {
	name string
	value
	// rest says that it stands for any number of columns, which are not listed;
	// they are not protected.
	rest bool
}

// source is one item of FROM, or the columns of a query.
type source struct {
	schema, name string
	fields       []field
	// derived says that it is not a relation, so that all of its columns that
	// are protected are among the fields.
	derived bool
	// Whether its name can qualify a column, and whether a bare name finds its
	// columns.
	qualifies, bare bool
}

// open says that it has columns which are not listed.
func (s *source) open() bool {
	for i := range s.fields {
		if s.fields[i].rest {
			return true
		}
	}
	return false
}

// protected says whether a column may be a protected one.
func (s *source) protected() bool {
	for i := range s.fields {
		if s.fields[i].class != nil {
			return true
		}
	}
	return false
}

func (s *source) field(name string) (field, bool) {
	for i := range s.fields {
		if s.fields[i].name == name && !s.fields[i].rest {
			return s.fields[i], true
		}
	}
	return field{}, false
}

// unlisted is a source of columns that are not protected and not listed.
func unlisted(name string) *source {
	return &source{name: name, fields: []field{{rest: true}}}
}

// scope is the names that an expression sees, inner before outer.
type scope struct {
	sources []*source
	ctes    *ctes
	parent  *scope
}

// relationSource is a relation under its name or alias.
func (a *analyzer) relationSource(rel *Relation, rv *pg.RangeVar) *source {
	s := unlisted(rv.Relname)
	if rel != nil {
		s = relationFields(rel)
	}
	return a.aliased(s, rv.Alias)
}

func relationFields(rel *Relation) *source {
	s := &source{schema: rel.Schema, name: rel.Name}
	for _, c := range rel.Columns {
		f := field{name: c.Name, value: columnValue(c.Rule, -1)}
		f.plain = rel.OID != 0
		if c.Rule != nil {
			f.array = c.Array
			if c.Type.OID != 0 {
				f.typ = c.Type
			}
		}
		s.fields = append(s.fields, f)
	}
	if !rel.Protected {
		s.fields = []field{{rest: true}}
	}
	return s
}

// aliased gives the source under an alias, which hides its own name, visible by
// its name and by those of its columns.
func (a *analyzer) aliased(s *source, al *pg.Alias) *source {
	n := *s
	n.qualifies, n.bare = true, true
	if al == nil {
		return &n
	}
	n.schema, n.name = "", al.Aliasname
	n.fields = append([]field(nil), s.fields...)
	a.renameFields(&n, al.Colnames)
	return &n
}

// renameFields gives the first fields other names.
func (a *analyzer) renameFields(s *source, names []*pg.Node) {
	for i, c := range names {
		if i >= len(s.fields) {
			return
		}
		if s.fields[i].rest {
			// Whose names the others are cannot be known.
			rest := &source{name: s.name, fields: s.fields[i:]}
			a.settle(rest, "cannot be named by the column list of an alias, behind columns that are not known")
			s.fields = append(s.fields[:i:i], field{rest: true})
			return
		}
		s.fields[i].name = c.GetString_().GetSval()
	}
}

// settle requires that no field is protected.
func (a *analyzer) settle(s *source, what string) {
	for _, f := range s.fields {
		a.plainly(f.value, what)
	}
}
