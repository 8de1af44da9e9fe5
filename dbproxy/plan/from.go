// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"strconv"

	pg "github.com/pganalyze/pg_query_go/v6"
)

func columnName(i int) string { return "column" + strconv.Itoa(i+1) }

// from adds one item of FROM to the scope and gives what it has added.
func (a *analyzer) from(n *pg.Node, sc *scope) []*source {
	switch x := n.Node.(type) {
	case *pg.Node_RangeVar:
		return add(sc, a.table(x.RangeVar, sc))
	case *pg.Node_RangeSubselect:
		return add(sc, a.fromQuery(x.RangeSubselect, sc))
	case *pg.Node_JoinExpr:
		return a.join(x.JoinExpr, sc)
	case *pg.Node_RangeTableSample:
		added := a.from(x.RangeTableSample.Relation, sc)
		a.openAll(x.RangeTableSample.Args, sc)
		a.open(x.RangeTableSample.Repeatable, sc)
		return added
	case *pg.Node_RangeFunction:
		return add(sc, a.fromFunction(x.RangeFunction, sc))
	case *pg.Node_RangeTableFunc:
		a.children(inner(n), sc)
		return add(sc, a.aliased(unlisted("xmltable"), x.RangeTableFunc.Alias))
	case *pg.Node_JsonTable:
		a.children(inner(n), sc)
		return add(sc, a.aliased(unlisted("json_table"), x.JsonTable.Alias))
	}
	if m := inner(n); m != nil {
		a.children(m, sc)
	}
	return add(sc, a.aliased(unlisted(""), nil))
}

func add(sc *scope, s *source) []*source {
	sc.sources = append(sc.sources, s)
	return []*source{s}
}

// table is a CTE or a relation.
func (a *analyzer) table(rv *pg.RangeVar, sc *scope) *source {
	if rv.Schemaname == "" {
		if cte := a.cte(rv.Relname, sc); cte != nil {
			return a.aliased(cte, rv.Alias)
		}
	}
	return a.relationSource(a.relation(rv), rv)
}

func (a *analyzer) fromQuery(r *pg.RangeSubselect, sc *scope) *source {
	outer := sc
	if !r.Lateral {
		// WITH of this level is seen in a subquery, its FROM is not.
		outer = &scope{parent: sc.parent, ctes: sc.ctes}
	}
	out := unlisted("")
	if sel := r.Subquery.GetSelectStmt(); sel != nil {
		out = a.subquery(sel, outer)
	} else {
		a.reach(r.Subquery)
	}
	return a.aliased(out, r.Alias)
}

// fromFunction is a function in FROM. Only unnest gives protected values.
func (a *analyzer) fromFunction(r *pg.RangeFunction, sc *scope) *source {
	out := &source{name: r.GetAlias().GetAliasname(), derived: true}
	for _, n := range r.Functions {
		items := n.GetList().GetItems()
		if len(items) == 0 {
			continue
		}
		f := items[0].GetFuncCall()
		if out.name == "" {
			out.name, _ = figureName(items[0])
		}
		if f == nil || functionName(f) != "unnest" || !bareCall(f) {
			if f != nil {
				if _, searches := a.searchCall(f); searches {
					items = f.Args // what it would be rewritten to cannot stand here
				}
			}
			a.openAll(items, sc)
			out.fields = append(out.fields, field{rest: true})
			continue
		}
		for _, arg := range f.Args {
			v := a.element(a.arrayOperand(arg, sc))
			out.fields = append(out.fields, field{name: "unnest", value: v})
		}
	}
	a.openAll(r.Coldeflist, sc)
	if len(out.fields) == 1 && !out.fields[0].rest && r.Alias != nil {
		// A column of its own takes the name of the alias.
		out.fields[0].name = r.Alias.Aliasname
	}
	if r.Ordinality {
		out.fields = append(out.fields, field{name: "ordinality"})
	}
	return a.aliased(out, r.Alias)
}

// join analyzes a join: what it adds are its two sides, whose columns are seen
// with their table's name, and the join, whose columns are seen without.
func (a *analyzer) join(j *pg.JoinExpr, sc *scope) []*source {
	before := len(sc.sources)
	left := a.from(j.Larg, sc)
	right := a.from(j.Rarg, sc)
	sides := append(append([]*source(nil), left...), right...)
	l, r := visible(left), visible(right)
	merged := a.mergeColumns(j, l, r)
	// The condition sees the two sides only.
	a.condition(j.Quals, &scope{parent: sc.parent, sources: sides, ctes: sc.ctes})
	whole := &source{derived: true, bare: true}
	whole.fields = append(whole.fields, merged...)
	whole.fields = append(whole.fields, without(l, merged)...)
	whole.fields = append(whole.fields, without(r, merged)...)
	sc.sources = sc.sources[:before:before]
	if j.Alias != nil {
		return add(sc, a.aliased(whole, j.Alias))
	}
	for i, s := range sides {
		hidden := *s
		hidden.bare = false
		sides[i] = &hidden
	}
	if j.JoinUsingAlias != nil {
		sides = append(sides, &source{name: j.JoinUsingAlias.Aliasname, fields: merged, qualifies: true, derived: true})
	}
	sides = append(sides, whole)
	sc.sources = append(sc.sources, sides...)
	return sides
}

// visible are the columns that are seen without the name of a table.
func visible(sources []*source) []field {
	var out []field
	for _, s := range sources {
		if s.bare {
			out = append(out, s.fields...)
		}
	}
	return out
}

func without(fields, merged []field) []field {
	if len(merged) == 0 {
		return fields
	}
	names := make(map[string]bool, len(merged))
	for _, m := range merged {
		names[m.name] = true
	}
	var out []field
	for _, f := range fields {
		if f.rest || !names[f.name] {
			out = append(out, f)
		}
	}
	return out
}

// mergeColumns analyzes USING and NATURAL and gives the columns that are one.
func (a *analyzer) mergeColumns(j *pg.JoinExpr, left, right []field) []field {
	l, r := &source{fields: left}, &source{fields: right}
	names := names(j.UsingClause)
	if j.IsNatural {
		if (l.open() || r.open()) && (l.protected() || r.protected()) {
			a.settle(l, "is in a NATURAL JOIN with a table whose columns are not known")
			a.settle(r, "is in a NATURAL JOIN with a table whose columns are not known")
		}
		for _, f := range left {
			if _, both := r.field(f.name); both && !f.rest {
				names = append(names, f.name)
			}
		}
	}
	merged := make([]field, 0, len(names))
	for _, name := range names {
		lf, ok := l.field(name)
		if !ok && !l.open() {
			a.lacks(CodeNoColumn, -1, name, `column "`+name+`" specified in USING clause does not exist in left table`)
		}
		rf, ok := r.field(name)
		if !ok && !r.open() {
			a.lacks(CodeNoColumn, -1, name, `column "`+name+`" specified in USING clause does not exist in right table`)
		}
		lv, rv := a.refer(lf, -1), a.refer(rf, -1)
		a.compareValues(lv, rv, Compare, "cannot be joined by")
		v := withoutOrigin(lv)
		switch j.Jointype {
		case pg.JoinType_JOIN_RIGHT:
			v = withoutOrigin(rv)
		case pg.JoinType_JOIN_FULL:
			v = a.mix(lv, rv)
		}
		if lv.typ != rv.typ {
			v.typ = commonType(lv.typ, rv.typ)
		}
		merged = append(merged, field{name: name, value: v})
	}
	return merged
}
