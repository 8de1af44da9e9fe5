// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	pg "github.com/pganalyze/pg_query_go/v6"
)

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
		a.setsElsewhere(s.TargetList, sc)
	}
	a.condition(s.WhereClause, sc)
	return a.returning(s.ReturningList, target, sc)
}

// setsElsewhere analyzes the assignments to a table that is not protected.
func (a *analyzer) setsElsewhere(list []*pg.Node, sc *scope) {
	for _, n := range list {
		t := n.GetResTarget()
		a.openAll(t.GetIndirection(), sc)
		if m := t.GetVal().GetMultiAssignRef(); m != nil {
			if row := m.Source.GetRowExpr(); row != nil && m.Colno >= 1 && int(m.Colno) <= len(row.Args) {
				a.assign(&Column{}, row.Args[m.Colno-1], sc)
			} else if m.Colno == 1 {
				a.open(m.Source, sc)
			}
			continue
		}
		a.assign(&Column{}, t.GetVal(), sc)
	}
}

// delete analyzes DELETE and gives the columns of RETURNING.
func (a *analyzer) delete(s *pg.DeleteStmt, parent *scope) *source {
	sc := &scope{parent: parent}
	a.with(s.WithClause, sc)
	a.stmt.Writes = true
	target := a.relationSource(a.relation(s.Relation), s.Relation)
	sc.sources = append(sc.sources, target)
	for _, f := range s.UsingClause {
		a.from(f, sc)
	}
	a.condition(s.WhereClause, sc)
	return a.returning(s.ReturningList, target, sc)
}

// returning analyzes RETURNING, which since PostgreSQL 18 also has the target's
// rows as they were and as they are.
func (a *analyzer) returning(list []*pg.Node, target *source, sc *scope) *source {
	in := &scope{parent: sc.parent, ctes: sc.ctes, sources: sc.sources[:len(sc.sources):len(sc.sources)]}
	for _, name := range []string{"old", "new"} {
		row := *target
		row.schema, row.name, row.bare = "", name, false
		in.sources = append(in.sources, &row)
	}
	return a.targets(list, in)
}

// merge analyzes MERGE and gives the columns of RETURNING.
func (a *analyzer) merge(s *pg.MergeStmt, parent *scope) *source {
	sc := &scope{parent: parent}
	a.with(s.WithClause, sc)
	a.stmt.Writes = true
	rel := a.relation(s.Relation)
	target := a.relationSource(rel, s.Relation)
	// The source does not see the target.
	added := slices.Clone(a.from(s.SourceRelation, sc))
	sc.sources = append([]*source{target}, added...)
	a.condition(s.JoinCondition, sc)
	for _, n := range s.MergeWhenClauses {
		a.mergeWhen(n.GetMergeWhenClause(), rel, sc)
	}
	// RETURNING * has the columns of the source first.
	return a.returning(s.ReturningList, target, &scope{parent: sc.parent, ctes: sc.ctes, sources: append(added, target)})
}

// mergeWhen analyzes one WHEN clause.
func (a *analyzer) mergeWhen(w *pg.MergeWhenClause, rel *Relation, sc *scope) {
	a.condition(w.GetCondition(), sc)
	switch {
	case w.GetCommandType() == pg.CmdType_CMD_INSERT && rel != nil:
		columns := a.listedColumns(w.TargetList, rel)
		if len(columns) == 0 && len(w.Values) > 0 {
			a.refuse(location(w.Values[0]), "INSERT of MERGE without a column list is not supported for a table with protected columns", "List the columns.")
			return
		}
		for i, n := range w.Values {
			if i >= len(columns) {
				a.refuseIfFresh(codeSyntax, "INSERT has more expressions than target columns")
				a.needs(NeedCatalog)
				return
			}
			a.assign(columns[i], n, sc)
		}
	case w.GetCommandType() == pg.CmdType_CMD_UPDATE && rel != nil:
		a.sets(w.TargetList, rel, sc)
	default:
		a.setsElsewhere(w.GetTargetList(), sc)
		for _, n := range w.GetValues() {
			a.assign(&Column{}, n, sc)
		}
	}
}
