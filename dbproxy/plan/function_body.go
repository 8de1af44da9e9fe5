// SPDX-License-Identifier: Apache-2.0

package plan

import (
	pg "github.com/pganalyze/pg_query_go/v6"
)

// bodies refuses DO and CREATE FUNCTION that store literals in protected columns, as
// far as their bodies can be read: the guards would refuse the values, but not before
// the server has them in its log. Sequelize makes such a function for findOrCreate.
func (a *analyzer) bodies(n *pg.Node) {
	options := append(n.GetDoStmt().GetArgs(), n.GetCreateFunctionStmt().GetOptions()...)
	for _, o := range options {
		d := o.GetDefElem()
		if d.GetDefname() != "as" {
			continue
		}
		a.body(d.Arg.GetString_().GetSval(), d.Location)
		for _, part := range d.Arg.GetList().GetItems() {
			a.body(part.GetString_().GetSval(), d.Location)
		}
	}
}

// body looks at the INSERT and UPDATE statements in a body.
func (a *analyzer) body(text string, loc int32) {
	b := &analyzer{sql: text, cat: a.cat}
	if mentioned, err := b.scan(); err != nil || !mentioned {
		return
	}
	for i, t := range b.tokens {
		if t.Token != pg.Token_INSERT && t.Token != pg.Token_UPDATE {
			continue
		}
		tree, err := pg.Parse(text[t.Start:b.writeEnd(i)])
		if err != nil || len(tree.Stmts) != 1 {
			continue // the guard has to do
		}
		a.bodyInsert(tree.Stmts[0].Stmt.GetInsertStmt(), loc)
		a.bodyUpdate(tree.Stmts[0].Stmt.GetUpdateStmt(), loc)
	}
}

// writeEnd is where the statement that begins at a token ends, without RETURNING, which
// can have INTO in a body, and ON CONFLICT.
func (a *analyzer) writeEnd(i int) int {
	depth := 0
	for _, t := range a.tokens[i+1:] {
		switch t.Token {
		case pg.Token_ASCII_40: // (
			depth++
		case pg.Token_ASCII_41: // )
			depth--
		case pg.Token_ASCII_59, pg.Token_RETURNING, pg.Token_ON: // ;
			if depth == 0 {
				return int(t.Start)
			}
		}
		if depth < 0 {
			return int(t.Start)
		}
	}
	return len(a.sql)
}

func (a *analyzer) bodyInsert(s *pg.InsertStmt, loc int32) {
	rel := a.bodyRelation(s.GetRelation())
	sel := s.GetSelectStmt().GetSelectStmt()
	if rel == nil || sel == nil {
		return
	}
	rows := make([][]*pg.Node, 0, len(sel.ValuesLists)+1)
	for _, row := range sel.ValuesLists {
		rows = append(rows, row.GetList().GetItems())
	}
	targets := make([]*pg.Node, 0, len(sel.TargetList))
	for _, t := range sel.TargetList {
		targets = append(targets, t.GetResTarget().GetVal())
	}
	for _, row := range append(rows, targets) {
		for i, value := range row {
			switch {
			case i < len(s.Cols):
				a.bodyStores(rel.column(s.Cols[i].GetResTarget().GetName()), value, loc)
			case len(s.Cols) == 0 && i < len(rel.Columns):
				a.bodyStores(&rel.Columns[i], value, loc)
			}
		}
	}
}

func (a *analyzer) bodyUpdate(s *pg.UpdateStmt, loc int32) {
	if rel := a.bodyRelation(s.GetRelation()); rel != nil {
		for _, n := range s.TargetList {
			a.bodyStores(rel.column(n.GetResTarget().GetName()), n.GetResTarget().GetVal(), loc)
		}
	}
}

// bodyRelation is the protected table that a body names. The search_path may be another
// one when it runs, so that this one decides nothing else.
func (a *analyzer) bodyRelation(rv *pg.RangeVar) *Relation {
	if rv == nil {
		return nil
	}
	rel, res := a.resolve(rv)
	switch {
	case res == needPath:
		a.needs(NeedPath)
	case res == needCatalog && !a.opt.Fresh:
		a.needs(NeedCatalog)
	}
	return rel
}

func (a *analyzer) bodyStores(c *Column, value *pg.Node, loc int32) {
	for value.GetTypeCast() != nil {
		value = value.GetTypeCast().Arg
	}
	if k := value.GetAConst(); c == nil || c.Rule == nil || k == nil || k.Isnull {
		return
	}
	a.refuse(int(loc), "a function or DO block cannot store a literal in protected column "+c.Rule.Name(),
		"What is inside reaches the server as it is. Send the statement by itself; in place of Sequelize's findOrCreate use findCreateFind.")
}
