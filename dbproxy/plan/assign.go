// SPDX-License-Identifier: Apache-2.0

package plan

import (
	pg "github.com/pganalyze/pg_query_go/v6"
)

// assign analyzes the value that a column gets. c is nil for a column that is
// not known; the server will say so.
func (a *analyzer) assign(c *Column, n *pg.Node, sc *scope) {
	if n.GetSetToDefault() != nil {
		return // a protected column has no default: NULL
	}
	if c != nil && c.Rule == nil && n.GetAConst() != nil {
		return
	}
	a.storeColumn(c, a.assigned(c, n, sc), location(n))
}

func (a *analyzer) storeColumn(c *Column, v value, loc int) {
	if c == nil {
		a.refuseIfFresh(CodeNoColumn, "a column of this statement does not exist in the protected table")
		a.store(nil, v, loc)
		return
	}
	if c.Rule != nil {
		a.touch(c.Rule)
		if c.Array {
			a.refuse(loc, "an array of values of protected column "+c.Rule.Name()+" cannot be set", "")
		}
	}
	a.store(c.Rule, v, loc)
}

// location finds where an expression stands: the first location in it.
func location(n *pg.Node) int {
	m := inner(n)
	if m == nil {
		return -1
	}
	if fd := m.Descriptor().Fields().ByName("location"); fd != nil {
		if l := int(m.Get(fd).Int()); l > 0 {
			return l
		}
	}
	best := -1
	eachNode(m, func(c *pg.Node) {
		if l := location(c); l >= 0 && (best < 0 || l < best) {
			best = l
		}
	})
	return best
}

// sets analyzes the assignments of UPDATE and of ON CONFLICT DO UPDATE.
func (a *analyzer) sets(list []*pg.Node, rel *Relation, sc *scope) {
	var row []value
	for _, n := range list {
		t := n.GetResTarget()
		if t == nil {
			a.open(n, sc)
			continue
		}
		c := rel.column(t.Name)
		if c == nil {
			a.lacksTarget(rel, t)
		}
		if c != nil && c.Rule != nil && len(t.Indirection) > 0 {
			a.refuse(int(t.Location), "a part of protected column "+c.Rule.Name()+" cannot be stored", "")
		}
		a.openAll(t.Indirection, sc)
		m := t.Val.GetMultiAssignRef()
		if m == nil {
			a.assign(c, t.Val, sc)
			continue
		}
		row = a.multiAssign(c, m, row, sc)
	}
}

// multiAssign analyzes one column of SET (a, b) = .., whose values, if it is
// not a list, are analyzed with the first.
func (a *analyzer) multiAssign(c *Column, m *pg.MultiAssignRef, row []value, sc *scope) []value {
	if list := m.Source.GetRowExpr(); list != nil && int(m.Ncolumns) == len(list.Args) && m.Colno >= 1 && int(m.Colno) <= len(list.Args) {
		a.assign(c, list.Args[m.Colno-1], sc)
		return nil
	}
	if m.Colno == 1 {
		row = a.rowSource(m.Source, int(m.Ncolumns), sc)
	}
	var v value
	if i := int(m.Colno) - 1; i >= 0 && i < len(row) {
		v = row[i]
	}
	a.storeColumn(c, v, location(m.Source))
	return row
}

// rowSource is what SET (a, b) = (SELECT ..) assigns.
func (a *analyzer) rowSource(n *pg.Node, columns int, sc *scope) []value {
	sel := n.GetSubLink().GetSubselect().GetSelectStmt()
	if sel == nil {
		a.open(n, sc)
		return nil
	}
	out := a.subquery(sel, sc)
	if out.open() || len(out.fields) != columns {
		a.settle(out, "cannot be assigned with columns that are not known")
		return nil
	}
	row := make([]value, 0, columns)
	for _, f := range out.fields {
		row = append(row, f.value)
	}
	return row
}
