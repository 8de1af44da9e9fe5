// SPDX-License-Identifier: Apache-2.0

package plan

import (
	pg "github.com/pganalyze/pg_query_go/v6"
)

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

// refer is the value of a field where an expression names it.
func (a *analyzer) refer(f field, loc int32) value {
	v := f.value
	v.loc = loc
	if r := v.sealed(); r != nil {
		a.touch(r)
		if v.of().consts == nil && v.of().casts == nil && !v.array {
			// Each place has a class of its own.
			v.class = &class{rule: r, loc: loc, merged: v.of().merged}
		}
	}
	return v
}

func (a *analyzer) bareColumn(name string, loc int32, sc *scope) value {
	maybe, known := false, false
	row := sc.hasRow(name)
	for ; sc != nil; sc = sc.parent {
		found := false
		for _, s := range sc.sources {
			if !s.bare {
				continue
			}
			if f, ok := s.field(name); ok {
				if f.class != nil {
					if maybe {
						a.refuse(int(loc), "column "+name+" may be a protected column or one of an inner table", "Qualify the column with its table's name or alias.")
					}
					return a.refer(f, loc)
				}
				found = true
			}
			maybe = maybe || s.open()
		}
		if found {
			return value{}
		}
		for _, s := range sc.sources {
			if s.qualifies && s.name == name && s.protected() {
				return a.rowRefused(s, loc)
			}
			known = known || s.protected()
		}
	}
	if maybe || row || systemColumn(name) {
		return value{}
	}
	if known {
		a.needs(NeedCatalog)
	}
	a.lacksColumn(name, loc)
	return value{}
}

func (a *analyzer) qualifiedColumn(schema, table, name string, loc int32, sc *scope) value {
	s := findSource(schema, table, sc)
	if s == nil {
		if other := findSource("", table, sc); other == nil || other.schema != "" {
			a.lacksTable(table, loc)
		}
		return value{}
	}
	f, ok := s.field(name)
	switch {
	case ok:
		return a.refer(f, loc)
	case !s.protected() || systemColumn(name):
		return value{}
	}
	// t.name also calls a function name(t).
	a.needs(NeedCatalog)
	if a.opt.Fresh && !s.open() {
		a.lacksField(table, name, int(loc))
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
	switch s := findSource(schema, names[len(names)-1], sc); {
	case s == nil && schema == "":
		a.lacksTable(names[len(names)-1], loc)
	case s != nil && s.protected():
		return a.rowRefused(s, loc)
	}
	return value{}
}

// rowRefused refuses a row as one value, unless nothing in it is protected in
// the end.
func (a *analyzer) rowRefused(s *source, loc int32) value {
	for _, f := range s.fields {
		if c := f.of(); c != nil && c.rule == nil {
			c.open = true
		} else if c != nil {
			a.refuse(int(loc), "the row of "+s.name+" cannot be used as one value: it has protected columns", "Name the columns.")
		}
	}
	return value{}
}

func findSource(schema, table string, sc *scope) *source {
	for ; sc != nil; sc = sc.parent {
		for _, s := range sc.sources {
			if s.qualifies && s.name == table && (schema == "" || s.schema == schema) {
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
