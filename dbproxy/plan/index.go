// SPDX-License-Identifier: Apache-2.0

package plan

import (
	pg "github.com/pganalyze/pg_query_go/v6"
)

// index checks CREATE INDEX: columns that compare as they are, by btree and
// hash. INCLUDE only stores values.
func (a *analyzer) index(s *pg.IndexStmt) {
	rel := a.relation(s.Relation)
	if rel == nil {
		return
	}
	sc := tableScope(rel)
	for i, n := range s.IndexParams {
		if a.searchIndex(s, i, rel) {
			continue
		}
		e := a.withoutPatternOps(n.GetIndexElem(), rel, int(s.Relation.Location))
		a.indexElem(e, rel, sc, "cannot be indexed")
		if c := rel.column(e.GetName()); c != nil && c.Rule != nil && s.AccessMethod != "btree" && s.AccessMethod != "hash" {
			a.refuse(int(s.Relation.Location), "protected column "+c.Rule.Name()+" can be indexed by btree and hash only", "Leave USING out.")
		}
	}
	a.condition(s.WhereClause, sc)
}

// patternOps are operator classes that ORMs index a column for LIKE with.
var patternOps = map[string]bool{"text_pattern_ops": true, "varchar_pattern_ops": true}

// withoutPatternOps takes such an operator class off a protected column: LIKE is
// not possible on it, and bytes compare as that class would compare them.
func (a *analyzer) withoutPatternOps(e *pg.IndexElem, rel *Relation, from int) *pg.IndexElem {
	c := rel.column(e.GetName())
	if c == nil || c.Rule == nil || len(e.Opclass) != 1 || !patternOps[e.Opclass[0].GetString_().GetSval()] || len(e.Opclassopts) > 0 {
		return e
	}
	for i := a.tokenAt(from); i >= 0 && i+1 < len(a.tokens); i++ {
		if next := a.tokens[i+1]; identifier(a.text(a.tokens[i])) == e.Name && patternOps[identifier(a.text(next))] {
			a.edits = append(a.edits, Edit{int(next.Start), int(next.End), ""})
			return &pg.IndexElem{Name: e.Name, Ordering: e.Ordering, NullsOrdering: e.NullsOrdering, Collation: e.Collation}
		}
	}
	return e
}

// statistics checks CREATE STATISTICS: it counts stored values.
func (a *analyzer) statistics(s *pg.CreateStatsStmt) {
	for _, n := range s.Relations {
		rv := n.GetRangeVar()
		if rv == nil {
			a.reach(n)
			continue
		}
		rel := a.relation(rv)
		if rel == nil {
			continue
		}
		for _, e := range s.Exprs {
			if el := e.GetStatsElem(); el != nil {
				a.open(el.Expr, tableScope(rel))
			}
		}
	}
}

// publication checks the row filters of CREATE and ALTER PUBLICATION. What is
// replicated stays sealed.
func (a *analyzer) publication(objects []*pg.Node) {
	for _, n := range objects {
		t := n.GetPublicationObjSpec().GetPubtable()
		if t == nil {
			continue
		}
		if rel, ok := a.changed(t.Relation, false); ok {
			a.condition(t.WhereClause, tableScope(rel))
		}
	}
}
