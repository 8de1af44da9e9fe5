// SPDX-License-Identifier: Apache-2.0

package plan

import (
	pg "github.com/pganalyze/pg_query_go/v6"
)

// views finds out what the columns of views are, from their definitions. A view
// may read others, in any order.
func (c *Catalog) views() {
	byOID := make(map[*Relation]bool)
	for _, rels := range c.byName {
		for _, rel := range rels {
			c.readView(rel, byOID)
		}
	}
}

func (c *Catalog) readView(rel *Relation, seen map[*Relation]bool) {
	if rel.Definition == "" || seen[rel] {
		return
	}
	seen[rel] = true
	a := &analyzer{sql: rel.Definition, cat: c, view: true, stmt: &Statement{}, touched: make(map[*Rule]bool), moved: make(map[*Rule]bool),
		opt: Options{Path: NewPath("", rel.Path), Fresh: true}}
	a.reading = func(r *Relation) { c.readView(r, seen) }
	if why := a.readDefinition(rel); why != "" {
		rel.Protected = false
		rel.Refuse = "view " + rel.Schema + "." + rel.Name + " is not understood: " + why
		rel.Hint = "Use the tables that it reads."
	}
}

// readDefinition sets the rules of a view's columns, or says what is in the way.
func (a *analyzer) readDefinition(rel *Relation) string {
	if _, err := a.scan(); err != nil {
		return "its definition is too deep"
	}
	tree, err := pg.Parse(a.sql)
	if err != nil || len(tree.Stmts) != 1 || tree.Stmts[0].Stmt.GetSelectStmt() == nil {
		return "its definition cannot be read"
	}
	a.outputs(a.query(tree.Stmts[0].Stmt.GetSelectStmt(), nil))
	a.resolveConstants()
	a.finishOutputs()
	rel.Plain = a.stmt.Plain
	switch {
	case a.err != nil:
		return a.err.Message
	case a.need != NeedNothing:
		return "what it reads is not known"
	case a.stmt.Columns != len(rel.Columns):
		return "its columns are not known"
	}
	rel.moved, rel.compared = sortedRules(a.moved), a.compared
	for _, o := range a.stmt.Outputs {
		col := &rel.Columns[o.Left]
		col.Rule, col.Type, col.Array = o.Rule, o.Type, o.Array
		rel.Protected = true
	}
	if rel.Protected && isTemporary(rel.Schema) {
		return "it is a temporary one, of which each session has its own"
	}
	return ""
}
