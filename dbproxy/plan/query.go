// SPDX-License-Identifier: Apache-2.0

package plan

import (
	pg "github.com/pganalyze/pg_query_go/v6"
)

// query analyzes a SELECT, VALUES or set operation and gives its columns.
func (a *analyzer) query(s *pg.SelectStmt, parent *scope) *source {
	sc := &scope{parent: parent}
	a.with(s.WithClause, sc)
	if s.IntoClause != nil {
		a.into(s.IntoClause)
	}
	if s.Op != pg.SetOperation_SETOP_NONE && s.Op != pg.SetOperation_SET_OPERATION_UNDEFINED {
		return a.setOperation(s, sc)
	}
	if len(s.ValuesLists) > 0 {
		for _, row := range s.ValuesLists {
			a.openAll(row.GetList().GetItems(), sc)
		}
		a.tail(s, &source{open: true}, sc)
		return &source{open: true}
	}
	for _, f := range s.FromClause {
		a.from(f, sc)
	}
	out := a.targets(s.TargetList, sc)
	a.open(s.WhereClause, sc)
	a.grouping(s, out, sc)
	a.open(s.HavingClause, sc)
	for _, w := range s.WindowClause {
		a.window(w.GetWindowDef(), sc)
	}
	a.tail(s, out, sc)
	return out
}

// tail analyzes ORDER BY, LIMIT and OFFSET.
func (a *analyzer) tail(s *pg.SelectStmt, out *source, sc *scope) {
	for _, n := range s.SortClause {
		if v := a.outputOr(n.GetSortBy().GetNode(), out, sc, true); v.rule != nil {
			a.refuseValue(v, "cannot be ordered by")
		}
	}
	a.open(s.LimitCount, sc)
	a.open(s.LimitOffset, sc)
}

func (a *analyzer) setOperation(s *pg.SelectStmt, sc *scope) *source {
	for _, side := range []*pg.SelectStmt{s.Larg, s.Rarg} {
		a.refuseFields(a.query(side, sc), "cannot be used in UNION, INTERSECT or EXCEPT")
	}
	out := &source{open: true}
	a.tail(s, out, sc)
	return out
}

// into refuses SELECT INTO a configured table, and one that copies protected
// columns is refused where the statement ends.
func (a *analyzer) into(i *pg.IntoClause) {
	if a.cat.mentions(i.Rel.GetRelname()) {
		a.refuse(int(i.Rel.Location), "a table with protected columns cannot be made from a query", "CREATE TABLE it, then INSERT.")
	}
}

func (a *analyzer) with(w *pg.WithClause, sc *scope) {
	if w == nil {
		return
	}
	sc.ctes = make(map[string]*source)
	for _, n := range w.Ctes {
		cte := n.GetCommonTableExpr()
		if w.Recursive {
			// Inside, its own name has columns that are not known yet; they
			// come from a UNION, which protected columns cannot pass.
			sc.ctes[cte.Ctename] = &source{name: cte.Ctename, open: true}
		}
		out := a.subStatement(cte.Ctequery, sc)
		if cte.SearchClause != nil || cte.CycleClause != nil {
			a.refuseFields(out, "cannot be used with SEARCH or CYCLE")
		}
		sc.ctes[cte.Ctename] = out.aliased(&pg.Alias{Aliasname: cte.Ctename, Colnames: cte.Aliascolnames})
	}
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
	}
	a.reach(n)
	return &source{open: true}
}

// from adds one item of FROM to the scope.
func (a *analyzer) from(n *pg.Node, sc *scope) []*source {
	switch x := n.Node.(type) {
	case *pg.Node_RangeVar:
		return a.add(sc, a.table(x.RangeVar, sc))
	case *pg.Node_RangeSubselect:
		outer := sc.parent
		if x.RangeSubselect.Lateral {
			outer = sc
		}
		out := &source{open: true}
		if sel := x.RangeSubselect.Subquery.GetSelectStmt(); sel != nil {
			// WITH of this level is seen in a subquery, its FROM is not.
			out = a.query(sel, &scope{parent: outer, ctes: sc.ctes})
		} else {
			a.reach(x.RangeSubselect.Subquery)
		}
		return a.add(sc, out.aliased(x.RangeSubselect.Alias))
	case *pg.Node_JoinExpr:
		return a.join(x.JoinExpr, sc)
	case *pg.Node_RangeTableSample:
		added := a.from(x.RangeTableSample.Relation, sc)
		a.openAll(x.RangeTableSample.Args, sc)
		a.open(x.RangeTableSample.Repeatable, sc)
		return added
	case *pg.Node_RangeFunction:
		a.children(x.RangeFunction.ProtoReflect(), sc)
		return a.add(sc, &source{name: x.RangeFunction.GetAlias().GetAliasname(), open: true})
	}
	if m := inner(n); m != nil {
		a.children(m, sc)
	}
	return a.add(sc, &source{open: true})
}

func (a *analyzer) add(sc *scope, s *source) []*source {
	sc.sources = append(sc.sources, s)
	return []*source{s}
}

// table is a CTE or a relation.
func (a *analyzer) table(rv *pg.RangeVar, sc *scope) *source {
	if rv.Schemaname == "" {
		if cte := sc.cte(rv.Relname); cte != nil {
			return cte.aliased(rv.Alias)
		}
	}
	return a.relationSource(a.relation(rv), rv)
}

func (a *analyzer) join(j *pg.JoinExpr, sc *scope) []*source {
	left, right := a.from(j.Larg, sc), a.from(j.Rarg, sc)
	both := append(append([]*source(nil), left...), right...)
	if protectedSource(both) != nil && (j.Alias != nil || j.JoinUsingAlias != nil) {
		a.refuse(-1, "an alias of a join with protected columns is not supported", "Give the aliases to the tables.")
	}
	if s := protectedSource(both); s != nil && j.IsNatural {
		a.refuse(-1, "NATURAL JOIN with "+s.name+" is not supported: it has protected columns", "Write the condition with ON.")
	}
	for _, n := range j.UsingClause {
		a.using(n.GetString_().GetSval(), left, right, j.Jointype, sc)
	}
	// The condition sees the two sides only; names of other items that come
	// before are visible too where the join is LATERAL, so it sees them all.
	a.open(j.Quals, sc)
	return both
}

func protectedSource(sources []*source) *source {
	for _, s := range sources {
		if s.protected() {
			return s
		}
	}
	return nil
}

// using analyzes one column of USING (..).
func (a *analyzer) using(name string, left, right []*source, kind pg.JoinType, sc *scope) {
	find := func(sources []*source) value {
		for _, s := range sources {
			if f, ok := s.field(name); ok && f.rule != nil {
				a.touch(f.rule)
				f.loc = -1
				return f.value
			}
		}
		return value{}
	}
	l, r := find(left), find(right)
	a.compareValues(l, r)
	if l.rule == nil && r.rule == nil {
		return
	}
	sc.merged = true
	if kind == pg.JoinType_JOIN_FULL || kind == pg.JoinType_JOIN_RIGHT {
		if l.rule == nil {
			l = r
		}
		a.refuseValue(l, "cannot be merged by USING in an outer join")
	}
}

// targets analyzes a target list and gives its columns.
func (a *analyzer) targets(list []*pg.Node, sc *scope) *source {
	out := &source{}
	for _, n := range list {
		t := n.GetResTarget()
		if t == nil {
			a.open(n, sc)
			continue
		}
		if ref := t.Val.GetColumnRef(); ref != nil {
			a.targetColumn(t, ref, out, sc)
			continue
		}
		v := a.expr(t.Val, sc)
		if v.rule != nil {
			a.refuseValue(v, "cannot be selected through an expression")
		}
		out.fields = append(out.fields, field{name: t.Name})
	}
	return out
}

func (a *analyzer) targetColumn(t *pg.ResTarget, ref *pg.ColumnRef, out *source, sc *scope) {
	last := ref.Fields[len(ref.Fields)-1]
	if last.GetAStar() != nil {
		a.star(ref, out, sc)
		return
	}
	v := a.column(ref, sc)
	if v.rule != nil {
		a.touch(v.rule)
		if !v.plain {
			a.refuseValue(v, "cannot be selected through an expression")
		}
	}
	name := t.Name
	if name == "" {
		name = last.GetString_().GetSval()
	}
	out.fields = append(out.fields, field{name, v})
}

// star lists the columns that * or t.* stands for.
func (a *analyzer) star(ref *pg.ColumnRef, out *source, sc *scope) {
	sources := sc.sources
	if n := len(ref.Fields); n > 1 {
		schema := ""
		if n > 2 {
			schema = ref.Fields[n-3].GetString_().GetSval()
		}
		s := findSource(schema, ref.Fields[n-2].GetString_().GetSval(), sc)
		if s == nil {
			out.open = true
			return
		}
		sources = []*source{s}
	} else if sc.merged {
		a.refuse(int(ref.Location), "* is not supported where USING joins protected columns", "List the columns.")
	}
	for _, s := range sources {
		out.open = out.open || s.open
		for _, f := range s.fields {
			f.loc = ref.Location
			if f.rule != nil {
				a.touch(f.rule)
				if !f.plain {
					a.refuseValue(f.value, "cannot be selected through an expression")
				}
			}
			out.fields = append(out.fields, f)
		}
	}
}

// grouping analyzes DISTINCT and GROUP BY.
func (a *analyzer) grouping(s *pg.SelectStmt, out *source, sc *scope) {
	for _, n := range s.DistinctClause {
		if n.GetNode() == nil {
			// DISTINCT without ON.
			for _, f := range out.fields {
				a.equality(f.value, "cannot be used with DISTINCT")
			}
			continue
		}
		a.equality(a.outputOr(n, out, sc, true), "cannot be used with DISTINCT")
	}
	for _, n := range s.GroupClause {
		a.groupItem(n, out, sc)
	}
}

func (a *analyzer) groupItem(n *pg.Node, out *source, sc *scope) {
	if set := n.GetGroupingSet(); set != nil {
		for _, c := range set.Content {
			a.groupItem(c, out, sc)
		}
		return
	}
	if row := n.GetRowExpr(); row != nil {
		for _, c := range row.Args {
			a.groupItem(c, out, sc)
		}
		return
	}
	a.equality(a.outputOr(n, out, sc, false), "cannot be grouped by")
}

// outputOr analyzes an item of ORDER BY, GROUP BY or DISTINCT ON, which may be
// the number or the name of an output column. GROUP BY prefers input columns.
func (a *analyzer) outputOr(n *pg.Node, out *source, sc *scope, outputFirst bool) value {
	if k := n.GetAConst(); k != nil && k.GetIval() != nil {
		a.positional = true
		if i := int(k.GetIval().GetIval()); i >= 1 && !out.open && i <= len(out.fields) {
			v := out.fields[i-1].value
			v.loc = k.Location
			return v
		}
		// Behind * over a table whose columns are not listed, the number
		// cannot be followed.
		for _, f := range out.fields {
			if f.rule != nil && out.open {
				v := f.value
				v.loc = k.Location
				return v
			}
		}
		return value{}
	}
	ref := n.GetColumnRef()
	if ref == nil || len(ref.Fields) != 1 || ref.Fields[0].GetString_() == nil {
		return a.expr(n, sc)
	}
	name := ref.Fields[0].GetString_().GetSval()
	f, named := out.field(name)
	if named && f.rule != nil {
		f.loc = ref.Location
		if outputFirst {
			return f.value
		}
		if v := a.expr(n, sc); v.rule != nil {
			return v
		}
		return f.value
	}
	if named && outputFirst {
		return value{}
	}
	return a.expr(n, sc)
}
