// SPDX-License-Identifier: Apache-2.0

package plan

import (
	pg "github.com/pganalyze/pg_query_go/v6"
)

func (a *analyzer) onConflict(c *pg.OnConflictClause, rel *Relation, target *source, sc *scope) {
	if c == nil {
		return
	}
	in := &scope{parent: sc, sources: []*source{target}}
	if c.Infer != nil {
		for _, n := range c.Infer.IndexElems {
			a.indexElem(n.GetIndexElem(), rel, in, "cannot be the target of ON CONFLICT")
		}
		a.condition(c.Infer.WhereClause, in)
	}
	excluded := *target
	excluded.name, excluded.schema, excluded.bare = "excluded", "", false
	in = &scope{parent: sc, sources: []*source{target, &excluded}}
	a.sets(c.TargetList, rel, in)
	a.condition(c.WhereClause, in)
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
		a.equality(columnValue(c.Rule, -1), what)
		if len(e.Collation) > 0 || len(e.Opclass) > 0 {
			a.refuse(-1, "protected column "+c.Rule.Name()+" has no other collation or operator class", "")
		}
	}
}
