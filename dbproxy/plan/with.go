// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// ctes are the queries of one WITH.
type ctes struct {
	queries map[string]*cte
	scope   *scope
}

// cte is a query of WITH. In WITH RECURSIVE, which may refer to later ones, it
// is read when it is first named.
type cte struct {
	expr    *pg.CommonTableExpr
	out     *source // nil until it is known
	reading bool
	self    int // how often it names itself
}

// with analyzes WITH and makes its names known in the scope.
func (a *analyzer) with(w *pg.WithClause, sc *scope) {
	if w == nil {
		return
	}
	sc.ctes = &ctes{queries: make(map[string]*cte, len(w.Ctes)), scope: sc}
	list := make([]*cte, 0, len(w.Ctes))
	for _, n := range w.Ctes {
		c := &cte{expr: n.GetCommonTableExpr()}
		list = append(list, c)
		if w.Recursive {
			sc.ctes.queries[c.expr.Ctename] = c
		}
	}
	for _, c := range list {
		a.readCTE(c, sc.ctes.scope)
		sc.ctes.queries[c.expr.Ctename] = c
	}
}

// cte finds a query of WITH by its name, nil if there is none.
func (a *analyzer) cte(name string, sc *scope) *source {
	for ; sc != nil; sc = sc.parent {
		if sc.ctes == nil || sc.ctes.queries[name] == nil {
			continue
		}
		c := sc.ctes.queries[name]
		if c.out == nil && c.reading {
			a.refuse(int(c.expr.Location), "the recursive query "+name+" is not understood", "It has to be a UNION whose first side does not name it.")
			return unlisted(name)
		}
		if c.reading {
			c.self++
		}
		a.readCTE(c, sc.ctes.scope)
		return c.out
	}
	return nil
}

// readCTE analyzes a query of WITH, once.
func (a *analyzer) readCTE(c *cte, sc *scope) {
	if c.out != nil || c.reading {
		return
	}
	c.reading = true
	// It sees the WITH, not the FROM of the query that has it.
	in := &scope{parent: sc.parent, ctes: sc.ctes}
	var out *source
	if sel := c.expr.Ctequery.GetSelectStmt(); sel != nil {
		inner := &scope{parent: in}
		a.with(sel.WithClause, inner)
		var first *source
		out = a.queryBody(sel, inner, func(s *source) {
			harden(s)
			first = s
			c.out = a.cteColumns(c.expr, s)
		})
		harden(out)
		a.sameTypes(c, first, out)
	} else {
		out = a.subStatement(c.expr.Ctequery, in)
	}
	c.out = a.cteColumns(c.expr, out)
	c.reading = false
}

// sameTypes requires that a recursive query has the types of its first side.
func (a *analyzer) sameTypes(c *cte, first, out *source) {
	if first == nil || c.self == 0 {
		return
	}
	for i := range min(len(first.fields), len(out.fields)) {
		if f := out.fields[i]; f.sealed() != nil && f.typ != first.fields[i].typ {
			a.refuseCode(codeTypeMismatch, int(f.loc), fmt.Sprintf("recursive query %q column %d has type %s in non-recursive term but type %s overall",
				c.expr.Ctename, i+1, first.fields[i].typ, f.typ), "", "Cast the output of the non-recursive term to the correct type.")
		}
	}
}

// cteColumns are the columns under the names that WITH gives them, and those
// of SEARCH and CYCLE, which hold rows of the columns they name.
func (a *analyzer) cteColumns(e *pg.CommonTableExpr, out *source) *source {
	n := *out
	n.schema, n.name, n.derived = "", e.Ctename, true
	n.fields = append([]field(nil), out.fields...)
	a.renameFields(&n, e.Aliascolnames)
	search, cycle := e.SearchClause, e.CycleClause
	for _, name := range append(names(search.GetSearchColList()), names(cycle.GetCycleColList())...) {
		if f, ok := n.field(name); ok {
			a.plainly(f.value, "cannot be used with SEARCH or CYCLE")
		}
	}
	if search != nil {
		n.fields = append(n.fields, field{name: search.SearchSeqColumn})
	}
	if cycle != nil {
		n.fields = append(n.fields, field{name: cycle.CycleMarkColumn}, field{name: cycle.CyclePathColumn})
	}
	return &n
}

// subStatement analyzes a statement in WITH and gives the columns it returns.
func (a *analyzer) subStatement(n *pg.Node, sc *scope) *source {
	switch x := n.Node.(type) {
	case *pg.Node_SelectStmt:
		return a.query(x.SelectStmt, sc)
	case *pg.Node_InsertStmt:
		return a.insert(x.InsertStmt, sc)
	case *pg.Node_UpdateStmt:
		return a.update(x.UpdateStmt, sc)
	case *pg.Node_DeleteStmt:
		return a.delete(x.DeleteStmt, sc)
	case *pg.Node_MergeStmt:
		return a.merge(x.MergeStmt, sc)
	}
	a.reach(n)
	return unlisted("")
}
