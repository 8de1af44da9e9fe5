// SPDX-License-Identifier: Apache-2.0

package plan

import (
	pg "github.com/pganalyze/pg_query_go/v6"
)

// createView takes CREATE VIEW if its query is understood. Literals of protected
// columns in it are sealed.
func (a *analyzer) createView(s *pg.ViewStmt) {
	if a.shadows(s.View) || a.takesName(s.View, "a view") {
		return
	}
	sel := s.Query.GetSelectStmt()
	if sel == nil {
		a.reach(s.Query)
		return
	}
	// What is kept must not depend on what the rules say today.
	a.kept = true
	out := a.query(sel, nil)
	a.kept = false
	if temporary(s.View) {
		// Each session has its own under the name, and the catalog is that of all.
		for _, f := range out.fields {
			a.plainly(f.value, "cannot be shown by a temporary view")
		}
	}
	a.madeHere(s.View.Relname)
}

// takesName refuses what is not a table under the name of a configured one.
func (a *analyzer) takesName(rv *pg.RangeVar, what string) bool {
	rules, _ := a.rulesForNew(rv)
	if len(rules) > 0 {
		a.refuse(int(rv.Location), what+" cannot have the name of a table with protected columns: "+rules[0].Name(), "CREATE TABLE it.")
		return true
	}
	return false
}

// tableAs takes CREATE TABLE AS and CREATE MATERIALIZED VIEW if no protected
// column is copied: its values are bound to where they are, and the new table
// would have no guard.
func (a *analyzer) tableAs(s *pg.CreateTableAsStmt) {
	what := "CREATE TABLE AS"
	if s.Objtype == pg.ObjectType_OBJECT_MATVIEW {
		what = "a materialized view"
	}
	if a.shadows(s.Into.GetRel()) || a.takesName(s.Into.GetRel(), what) {
		return
	}
	sel := s.Query.GetSelectStmt()
	if sel == nil {
		a.reach(s.Query)
		return
	}
	a.kept = s.Objtype == pg.ObjectType_OBJECT_MATVIEW
	out := a.query(sel, nil)
	a.kept = false
	for _, f := range out.fields {
		a.plainly(f.value, "cannot be copied by "+what)
	}
	if s.Objtype == pg.ObjectType_OBJECT_MATVIEW {
		a.madeHere(s.Into.GetRel().GetRelname())
	}
}

// trigger takes CREATE TRIGGER: it sees what is stored, ciphertext, and what it
// stores the guard checks.
func (a *analyzer) trigger(s *pg.CreateTrigStmt) {
	rel, ok := a.changed(s.Relation, false)
	if !ok || s.WhenClause == nil {
		return
	}
	if rel.Refuse != "" {
		a.refuse(int(s.Relation.Location), rel.Refuse, rel.Hint)
		return
	}
	a.condition(s.WhenClause, &scope{sources: []*source{rowOf(rel, "new"), rowOf(rel, "old")}})
}

// policy checks the expressions of a row security policy.
func (a *analyzer) policy(table *pg.RangeVar, n *pg.Node) {
	rel := a.relation(table)
	if rel == nil {
		return
	}
	sc := tableScope(rel)
	switch x := n.Node.(type) {
	case *pg.Node_CreatePolicyStmt:
		a.condition(x.CreatePolicyStmt.Qual, sc)
		a.condition(x.CreatePolicyStmt.WithCheck, sc)
	case *pg.Node_AlterPolicyStmt:
		a.condition(x.AlterPolicyStmt.Qual, sc)
		a.condition(x.AlterPolicyStmt.WithCheck, sc)
	}
}
