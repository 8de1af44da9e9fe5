// SPDX-License-Identifier: Apache-2.0

package plan

import (
	pg "github.com/pganalyze/pg_query_go/v6"
)

// insert analyzes INSERT and gives the columns of RETURNING.
func (a *analyzer) insert(s *pg.InsertStmt, parent *scope) *source {
	sc := &scope{parent: parent}
	a.with(s.WithClause, sc)
	a.stmt.Writes = true
	rel := a.relation(s.Relation)
	if rel == nil {
		return a.insertElsewhere(s, sc)
	}
	columns := a.insertColumns(s, rel)
	if sel := s.SelectStmt.GetSelectStmt(); sel != nil {
		a.insertRows(sel, columns, rel, sc)
	}
	target := a.relationSource(rel, s.Relation)
	a.onConflict(s.OnConflictClause, rel, target, sc)
	return a.returning(s.ReturningList, target, sc)
}

// insertElsewhere analyzes an INSERT whose target is not protected: no
// protected value may get there.
func (a *analyzer) insertElsewhere(s *pg.InsertStmt, sc *scope) *source {
	if sel := s.SelectStmt.GetSelectStmt(); sel != nil {
		a.refuseFields(a.query(sel, sc), "cannot be copied into another table")
	}
	target := a.relationSource(nil, s.Relation)
	in := &scope{parent: sc, sources: []*source{target, {name: "excluded", open: true}}}
	if c := s.OnConflictClause; c != nil {
		a.children(c.ProtoReflect(), in)
	}
	return a.returning(s.ReturningList, target, sc)
}

// insertColumns gives the column of each value; a missing list is written out,
// so that the text means the same columns whatever happens to the table.
func (a *analyzer) insertColumns(s *pg.InsertStmt, rel *Relation) []*Column {
	var columns []*Column
	for _, n := range s.Cols {
		t := n.GetResTarget()
		c := rel.column(t.Name)
		if c == nil {
			a.needs(NeedCatalog)
		}
		if c != nil && c.Rule != nil {
			a.touch(c.Rule)
			if len(t.Indirection) > 0 {
				a.refuse(int(t.Location), "a part of protected column "+c.Rule.Name()+" cannot be stored", "")
			}
		}
		columns = append(columns, c)
	}
	if len(s.Cols) > 0 {
		return columns
	}
	for i := range rel.Columns {
		columns = append(columns, &rel.Columns[i])
	}
	sel := s.SelectStmt.GetSelectStmt()
	if sel == nil {
		return columns
	}
	if len(sel.ValuesLists) == 0 {
		return columns
	}
	n := len(sel.ValuesLists[0].GetList().GetItems())
	if n > len(columns) {
		a.needs(NeedCatalog)
		a.refuseIfFresh(codeSyntax, "INSERT has more expressions than target columns")
		return columns
	}
	a.listColumns(s, columns[:n])
	return columns[:n]
}

func (a *analyzer) refuseIfFresh(code, message string) {
	if a.opt.Fresh {
		a.refuseCode(code, -1, message, "", "")
	}
}

// listColumns writes the column list before VALUES.
func (a *analyzer) listColumns(s *pg.InsertStmt, columns []*Column) {
	i := a.tokenAt(int(s.Relation.Location))
	if i < 0 {
		a.refuse(-1, "this form of INSERT is not understood", "List the columns.")
		return
	}
	for a.word(i+1) == "." {
		i += 2
	}
	if a.word(i+1) == "as" {
		i += 2
	}
	list := ""
	for n, c := range columns {
		if n > 0 {
			list += ", "
		}
		list += quoteIdent(c.Name)
		if c.Rule != nil {
			a.touch(c.Rule)
		}
	}
	end := int(a.tokens[i].End)
	a.edits = append(a.edits, Edit{end, end, " (" + list + ")"})
}

// insertRows analyzes VALUES or the query of an INSERT into a protected table.
func (a *analyzer) insertRows(sel *pg.SelectStmt, columns []*Column, rel *Relation, sc *scope) {
	if len(sel.ValuesLists) == 0 {
		for _, c := range columns {
			if c != nil && c.Rule != nil {
				a.refuse(-1, "INSERT .. SELECT into protected column "+c.Rule.Name()+" is not supported",
					"Insert VALUES, or leave the protected columns out of the column list.")
			}
		}
		a.refuseFields(a.query(sel, sc), "cannot be copied into another column")
		return
	}
	if len(sel.SortClause) > 0 || sel.LimitCount != nil || sel.LimitOffset != nil {
		a.refuse(-1, "ORDER BY and LIMIT of VALUES for a table with protected columns are not supported", "")
	}
	in := &scope{parent: sc}
	a.with(sel.WithClause, in)
	for _, row := range sel.ValuesLists {
		for i, n := range row.GetList().GetItems() {
			if i >= len(columns) {
				a.refuseIfFresh(codeSyntax, "INSERT has more expressions than target columns")
				a.needs(NeedCatalog)
				break
			}
			a.assign(columns[i], n, in)
		}
	}
	a.tail(sel, &source{open: true}, in)
}

// assign analyzes the value that a column gets. c is nil for a column that is
// not known; the server will say so.
func (a *analyzer) assign(c *Column, n *pg.Node, sc *scope) {
	if n.GetSetToDefault() != nil {
		return // a protected column has no default: NULL
	}
	if c == nil || c.Rule == nil {
		if c == nil && a.opt.Fresh {
			a.refuseCode("42703", -1, "a column of this statement does not exist in the protected table", "", "")
		}
		if v := a.expr(n, sc); v.rule != nil {
			a.refuseValue(v, "cannot be copied into another column")
		}
		return
	}
	a.touch(c.Rule)
	if k, ok := a.constant(n); ok {
		a.seal(k, c.Rule, Store)
		return
	}
	v := a.expr(n, sc)
	switch {
	case v.rule != nil && v.plain && v.rule.carries(c.Rule):
	case v.rule != nil:
		a.refuseValue(v, "cannot be copied into column "+c.Rule.Name())
	default:
		a.refuse(location(n), "protected column "+c.Rule.Name()+" cannot be set to this expression",
			"It can be set to a literal, a parameter, NULL or its own value.")
	}
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

func (a *analyzer) onConflict(c *pg.OnConflictClause, rel *Relation, target *source, sc *scope) {
	if c == nil {
		return
	}
	in := &scope{parent: sc, sources: []*source{target}}
	if c.Infer != nil {
		for _, n := range c.Infer.IndexElems {
			a.indexElem(n.GetIndexElem(), rel, in, "cannot be the target of ON CONFLICT")
		}
		a.open(c.Infer.WhereClause, in)
	}
	excluded := *target
	excluded.name, excluded.schema = "excluded", ""
	in = &scope{parent: sc, sources: []*source{target, &excluded}}
	a.sets(c.TargetList, rel, in)
	a.open(c.WhereClause, in)
}

func (a *analyzer) indexElem(e *pg.IndexElem, rel *Relation, sc *scope, what string) {
	if e == nil {
		return
	}
	if e.Name == "" {
		a.open(e.Expr, sc)
		return
	}
	if c := rel.column(e.Name); c != nil && c.Rule != nil {
		a.touch(c.Rule)
		a.equality(value{rule: c.Rule, loc: -1}, what)
		if len(e.Collation) > 0 || len(e.Opclass) > 0 {
			a.refuse(-1, "protected column "+c.Rule.Name()+" has no other collation or operator class", "")
		}
	}
}

// sets analyzes the assignments of UPDATE and of ON CONFLICT DO UPDATE.
func (a *analyzer) sets(list []*pg.Node, rel *Relation, sc *scope) {
	for _, n := range list {
		t := n.GetResTarget()
		if t == nil {
			a.open(n, sc)
			continue
		}
		c := rel.column(t.Name)
		if c == nil {
			a.needs(NeedCatalog)
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
		a.multiAssign(c, m, sc)
	}
}

// multiAssign analyzes one column of SET (a, b) = (x, y).
func (a *analyzer) multiAssign(c *Column, m *pg.MultiAssignRef, sc *scope) {
	if row := m.Source.GetRowExpr(); row != nil && int(m.Ncolumns) == len(row.Args) && m.Colno >= 1 && int(m.Colno) <= len(row.Args) {
		a.assign(c, row.Args[m.Colno-1], sc)
		return
	}
	if c != nil && c.Rule != nil {
		a.touch(c.Rule)
		a.refuse(location(m.Source), "protected column "+c.Rule.Name()+" cannot be set from a subquery", "")
		return
	}
	if m.Colno == 1 || m.Source.GetSubLink() != nil {
		a.open(m.Source, sc)
	}
}

// update analyzes UPDATE and gives the columns of RETURNING.
func (a *analyzer) update(s *pg.UpdateStmt, parent *scope) *source {
	sc := &scope{parent: parent}
	a.with(s.WithClause, sc)
	a.stmt.Writes = true
	rel := a.relation(s.Relation)
	target := a.relationSource(rel, s.Relation)
	sc.sources = append(sc.sources, target)
	for _, f := range s.FromClause {
		a.from(f, sc)
	}
	if rel != nil {
		a.sets(s.TargetList, rel, sc)
	} else {
		for _, n := range s.TargetList {
			a.open(n, sc)
		}
	}
	a.open(s.WhereClause, sc)
	return a.targets(s.ReturningList, sc)
}

// delete analyzes DELETE and gives the columns of RETURNING.
func (a *analyzer) delete(s *pg.DeleteStmt, parent *scope) *source {
	sc := &scope{parent: parent}
	a.with(s.WithClause, sc)
	a.stmt.Writes = true
	sc.sources = append(sc.sources, a.relationSource(a.relation(s.Relation), s.Relation))
	for _, f := range s.UsingClause {
		a.from(f, sc)
	}
	a.open(s.WhereClause, sc)
	return a.targets(s.ReturningList, sc)
}

func (a *analyzer) returning(list []*pg.Node, target *source, sc *scope) *source {
	return a.targets(list, &scope{parent: sc, sources: []*source{target}})
}
