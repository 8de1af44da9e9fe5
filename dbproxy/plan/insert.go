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
		a.insertRows(s, sel, columns, sc)
	}
	target := a.relationSource(rel, s.Relation)
	a.onConflict(s.OnConflictClause, rel, target, sc)
	return a.returning(s.ReturningList, target, &scope{parent: sc, sources: []*source{target}})
}

// insertElsewhere analyzes an INSERT whose target is not protected: no
// protected value may get there.
func (a *analyzer) insertElsewhere(s *pg.InsertStmt, sc *scope) *source {
	if sel := s.SelectStmt.GetSelectStmt(); sel != nil {
		a.settle(a.query(sel, sc), "cannot be copied into another table")
	}
	target := a.relationSource(nil, s.Relation)
	excluded := a.aliased(unlisted("excluded"), nil)
	in := &scope{parent: sc, sources: []*source{target, excluded}}
	if c := s.OnConflictClause; c != nil {
		a.children(c.ProtoReflect(), in)
	}
	return a.returning(s.ReturningList, target, &scope{parent: sc, sources: []*source{target}})
}

// insertColumns gives the columns that are listed, or all.
func (a *analyzer) insertColumns(s *pg.InsertStmt, rel *Relation) []*Column {
	if len(s.Cols) > 0 {
		return a.listedColumns(s.Cols, rel)
	}
	columns := make([]*Column, 0, len(rel.Columns))
	for i := range rel.Columns {
		columns = append(columns, &rel.Columns[i])
	}
	return columns
}

func (a *analyzer) listedColumns(list []*pg.Node, rel *Relation) []*Column {
	columns := make([]*Column, 0, len(list))
	for _, n := range list {
		t := n.GetResTarget()
		c := rel.column(t.Name)
		if c == nil {
			a.lacksTarget(rel, t)
		}
		if c != nil && c.Rule != nil {
			a.touch(c.Rule)
			if len(t.Indirection) > 0 {
				a.refuse(int(t.Location), "a part of protected column "+c.Rule.Name()+" cannot be stored", "")
			}
		}
		columns = append(columns, c)
	}
	return columns
}

func (a *analyzer) refuseIfFresh(code, message string) {
	if a.opt.Fresh {
		a.refuseCode(code, -1, message, "", "")
	}
}

// listColumns writes out a column list that is missing, so that the text means
// the same columns whatever happens to the table.
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
func (a *analyzer) insertRows(s *pg.InsertStmt, sel *pg.SelectStmt, columns []*Column, sc *scope) {
	if len(sel.ValuesLists) > 0 && len(sel.SortClause) == 0 && sel.LimitCount == nil && sel.LimitOffset == nil {
		a.insertValues(s, sel, columns, sc)
		return
	}
	out := a.query(sel, sc)
	if len(s.Cols) == 0 {
		columns = a.fitColumns(s, out, columns)
	}
	for i, f := range out.fields {
		if f.rest {
			a.insertRest(out.fields[i:], columns[min(i, len(columns)):])
			return
		}
		if i >= len(columns) {
			a.plainly(f.value, "has no target column")
			continue
		}
		a.storeColumn(columns[i], f.value, insertLocation(s, f, i))
	}
}

// insertLocation is where an error about the i-th value points to: the value,
// or the column that it is for.
func insertLocation(s *pg.InsertStmt, f field, i int) int {
	switch {
	case f.loc > 0:
		return int(f.loc)
	case i < len(s.Cols):
		return int(s.Cols[i].GetResTarget().GetLocation())
	}
	return int(s.Relation.Location)
}

// fitColumns gives the columns that a query fills where none are listed.
func (a *analyzer) fitColumns(s *pg.InsertStmt, out *source, columns []*Column) []*Column {
	if out.open() {
		return columns
	}
	n := len(out.fields)
	if n > len(columns) {
		a.needs(NeedCatalog)
		a.refuseIfFresh(codeSyntax, "INSERT has more expressions than target columns")
		return columns
	}
	a.listColumns(s, columns[:n])
	return columns[:n]
}

// insertRest refuses columns that are not known where any that is protected
// would be filled.
func (a *analyzer) insertRest(fields []field, columns []*Column) {
	a.settle(&source{fields: fields}, "cannot be copied into a column that is not known")
	for _, c := range columns {
		if c != nil && c.Rule != nil {
			a.refuse(-1, "protected column "+c.Rule.Name()+" cannot be filled from columns that are not known",
				"List the columns of INSERT and of its SELECT; values that are not sealed have to be read and inserted by the application.")
		}
	}
}

func (a *analyzer) insertValues(s *pg.InsertStmt, sel *pg.SelectStmt, columns []*Column, sc *scope) {
	in := &scope{parent: sc}
	a.with(sel.WithClause, in)
	if len(s.Cols) == 0 {
		n := len(sel.ValuesLists[0].GetList().GetItems())
		if n > len(columns) {
			a.needs(NeedCatalog)
			a.refuseIfFresh(codeSyntax, "INSERT has more expressions than target columns")
			return
		}
		columns = columns[:n]
		a.listColumns(s, columns)
	}
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
	a.tail(sel, unlisted(""), in)
}
