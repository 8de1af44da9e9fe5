// SPDX-License-Identifier: Apache-2.0

package plan

import (
	pg "github.com/pganalyze/pg_query_go/v6"
)

// grouping analyzes DISTINCT and GROUP BY.
func (a *analyzer) grouping(s *pg.SelectStmt, out *source, sc *scope) {
	for _, n := range s.DistinctClause {
		if n.GetNode() == nil {
			// DISTINCT without ON.
			a.requireAll(out, "cannot be used with DISTINCT")
			continue
		}
		a.require(a.outputOr(n, out, sc, true), Compare, "cannot be used with DISTINCT")
	}
	for _, n := range s.GroupClause {
		a.groupItem(n, out, sc)
	}
}

// requireAll requires that values of all columns can be compared.
func (a *analyzer) requireAll(out *source, what string) {
	for _, f := range out.fields {
		a.require(f.value, Compare, what)
		if c := f.of(); c != nil {
			c.use |= Compare
		}
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
	a.require(a.outputOr(n, out, sc, false), Compare, "cannot be grouped by")
}

// outputOr analyzes an item of ORDER BY, GROUP BY or DISTINCT ON, which may be
// the number or the name of an output column. GROUP BY prefers input columns.
func (a *analyzer) outputOr(n *pg.Node, out *source, sc *scope, outputFirst bool) value {
	if k := n.GetAConst(); k != nil && k.GetIval() != nil {
		a.positional = true
		return a.outputNumber(int(k.GetIval().GetIval()), k.Location, out)
	}
	ref := n.GetColumnRef()
	if ref == nil || len(ref.Fields) != 1 || ref.Fields[0].GetString_() == nil {
		return a.expr(n, sc)
	}
	f, named := out.field(ref.Fields[0].GetString_().GetSval())
	outputFirst = outputFirst || named && !sc.sees(ref.Fields[0].GetString_().GetSval())
	if named && f.class != nil {
		f.loc = ref.Location
		if outputFirst {
			return f.value
		}
		if v := a.expr(n, sc); v.class != nil {
			return v
		}
		return f.value
	}
	if named && outputFirst {
		return value{}
	}
	return a.expr(n, sc)
}

// outputNumber is an output column by its number.
func (a *analyzer) outputNumber(number int, loc int32, out *source) value {
	for i, f := range out.fields {
		if f.rest {
			// Behind columns that are not listed, the number cannot be followed.
			a.settleAt(&source{fields: out.fields[i:]}, loc, "cannot be referred to by number, behind columns that are not known")
			return value{}
		}
		if i == number-1 {
			f.loc = loc
			return f.value
		}
	}
	return value{}
}

func (a *analyzer) settleAt(s *source, loc int32, what string) {
	for _, f := range s.fields {
		f.loc = loc
		a.plainly(f.value, what)
	}
}
