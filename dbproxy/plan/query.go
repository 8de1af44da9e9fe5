// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// query analyzes a SELECT, VALUES or set operation and gives its columns.
func (a *analyzer) query(s *pg.SelectStmt, parent *scope) *source {
	sc := &scope{parent: parent}
	a.with(s.WithClause, sc)
	return a.queryBody(s, sc, nil)
}

// queryBody is a query behind its WITH; self, if not nil, gets the columns of
// the first side of a set operation before the second is read.
func (a *analyzer) queryBody(s *pg.SelectStmt, sc *scope, self func(*source)) *source {
	if s.IntoClause != nil {
		a.into(s.IntoClause)
	}
	var out *source
	switch {
	case s.Op != pg.SetOperation_SETOP_NONE && s.Op != pg.SetOperation_SET_OPERATION_UNDEFINED:
		out = a.setOperation(s, sc, self)
	case len(s.ValuesLists) > 0:
		out = a.values(s.ValuesLists, sc)
	default:
		a.describe(s, sc)
		for _, f := range s.FromClause {
			a.from(f, sc)
		}
		out = a.targets(s.TargetList, sc)
		a.condition(s.WhereClause, sc)
		a.grouping(s, out, sc)
		a.condition(s.HavingClause, sc)
		for _, w := range s.WindowClause {
			a.window(w.GetWindowDef(), sc)
		}
	}
	a.tail(s, out, sc)
	out.derived = true
	return out
}

// subquery is a query whose columns others use: constants among them are of
// type text where nothing says otherwise.
func (a *analyzer) subquery(s *pg.SelectStmt, parent *scope) *source {
	out := a.query(s, parent)
	harden(out)
	return out
}

func harden(out *source) {
	for i := range out.fields {
		c := out.fields[i].of()
		if c == nil || c.rule != nil {
			continue
		}
		if f := &out.fields[i]; f.typ.OID == Unspecified && !f.array {
			f.typ = Type{OID: Text, Typmod: -1}
			c.beText()
		}
	}
}

// beText settles the type of constants that have none.
func (c *class) beText() {
	for _, k := range c.consts {
		if k.oid == Unspecified && !k.null {
			k.oid = Text
		}
	}
}

// values analyzes VALUES as a table: each of its columns holds the values of
// all rows.
func (a *analyzer) values(rows []*pg.Node, sc *scope) *source {
	out := &source{}
	for n, row := range rows {
		for i, item := range row.GetList().GetItems() {
			v := a.expr(item, sc)
			switch {
			case n == 0:
				out.fields = append(out.fields, field{name: columnName(i), value: withoutOrigin(v)})
			case i < len(out.fields):
				out.fields[i].value = a.mix(out.fields[i].value, v)
			default:
				a.plainly(v, "cannot stand in a longer row of VALUES")
			}
		}
	}
	for i := range out.fields {
		out.fields[i].value = a.settled(a.oneType(out.fields[i].value))
	}
	return out
}

func withoutOrigin(v value) value {
	v.plain = false
	return v
}

// tail analyzes ORDER BY, LIMIT and OFFSET.
func (a *analyzer) tail(s *pg.SelectStmt, out *source, sc *scope) {
	for _, n := range s.SortClause {
		a.sortBy(n.GetSortBy(), func(n *pg.Node) value { return a.outputOr(n, out, sc, true) })
	}
	a.open(s.LimitCount, sc)
	a.open(s.LimitOffset, sc)
}

// sortBy analyzes one item of an ORDER BY.
func (a *analyzer) sortBy(s *pg.SortBy, item func(*pg.Node) value) value {
	v := item(s.GetNode())
	if op := operatorName(s.GetUseOp()); len(s.GetUseOp()) > 0 && op != "<" && op != ">" || v.array {
		a.plainly(v, "cannot be ordered by this operator")
	}
	a.require(v, Order, "cannot be ordered by")
	return v
}

// into refuses SELECT INTO a configured table, and one that copies protected
// columns is refused where the statement ends.
func (a *analyzer) into(i *pg.IntoClause) {
	if a.cat.concerns(i.Rel.GetRelname()) {
		a.refuse(int(i.Rel.Location), "a table with protected columns cannot be made from a query", "CREATE TABLE it, then INSERT.")
	}
}

// targets analyzes a target list and gives its columns.
func (a *analyzer) targets(list []*pg.Node, sc *scope) *source {
	out := &source{}
	for _, n := range list {
		t := n.GetResTarget()
		if t == nil {
			a.open(n, sc)
			continue
		}
		if ref := t.Val.GetColumnRef(); ref != nil && ref.Fields[len(ref.Fields)-1].GetAStar() != nil {
			a.star(ref, out, sc)
			continue
		}
		a.naming = target{node: t}
		v := a.expr(t.Val, sc)
		a.naming = target{}
		name := t.Name
		if name == "" {
			strength := 0
			if name, strength = figureName(t.Val); strength < 2 {
				a.unnamed = append(a.unnamed, unnamed{t, name, v})
			}
		}
		out.fields = append(out.fields, field{name: name, value: v})
	}
	return out
}

// maxColumns is MaxTupleAttributeNumber: more columns a query cannot have.
const maxColumns = 1664

// star lists the columns that * or t.* stands for.
func (a *analyzer) star(ref *pg.ColumnRef, out *source, sc *scope) {
	var sources []*source
	if n := len(ref.Fields); n > 1 {
		schema := ""
		if n > 2 {
			schema = ref.Fields[n-3].GetString_().GetSval()
		}
		name := ref.Fields[n-2].GetString_().GetSval()
		s := findSource(schema, name, sc)
		if s == nil && schema == "" {
			a.lacksTable(name, ref.Location)
		}
		if s == nil {
			s = unlisted("")
		}
		sources = []*source{s}
	} else {
		for _, s := range sc.sources {
			if s.bare {
				sources = append(sources, s)
			}
		}
	}
	for _, s := range sources {
		if len(out.fields)+len(s.fields) > maxColumns {
			a.refuseCode(codeTooManyColumns, int(ref.Location), fmt.Sprintf("target lists can have at most %d entries", maxColumns), "", "")
			return
		}
		for _, f := range s.fields {
			f.value = a.refer(f, ref.Location)
			out.fields = append(out.fields, f)
		}
	}
}
