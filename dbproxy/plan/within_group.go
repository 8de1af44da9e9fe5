// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// hypothetical are the aggregates that give the place which a row of constants
// would have among the rows.
var hypothetical = map[string]bool{"rank": true, "dense_rank": true, "percent_rank": true, "cume_dist": true}

// withinGroup analyzes an ordered-set aggregate. percentile_disc and mode give
// one of the values that they order, and a hypothetical one compares its
// arguments with them; what others do with them is not known.
func (a *analyzer) withinGroup(f *pg.FuncCall, sc *scope) value {
	out := value{}
	switch name := functionName(f); {
	case name == "percentile_disc" && len(f.Args) == 1 && len(f.AggOrder) == 1, name == "mode" && len(f.Args) == 0 && len(f.AggOrder) == 1:
		out = a.disc(f, sc)
	case hypothetical[name] && len(f.Args) == len(f.AggOrder) && !f.FuncVariadic:
		for i, arg := range f.Args {
			a.compareValues(a.ordered(f.AggOrder[i], sc), a.expr(arg, sc), Compare|Order, cannotOrder)
		}
	default:
		a.openAll(f.Args, sc)
		for _, o := range f.AggOrder {
			a.plainly(a.ordered(o, sc), "cannot be the argument of this aggregate")
		}
	}
	a.condition(f.AggFilter, sc)
	if f.Over != nil {
		a.window(f.Over, sc)
	}
	return out
}

// disc analyzes percentile_disc and mode. An array of fractions gives an array
// of values.
func (a *analyzer) disc(f *pg.FuncCall, sc *scope) value {
	many, known := false, true
	for _, arg := range f.Args {
		many, known = a.fractions(arg)
		a.open(arg, sc)
	}
	v := withoutTypmod(a.ordered(f.AggOrder[0], sc))
	if !known {
		a.plainly(v, "cannot be ordered for a fraction that may be an array, or is of no type")
		return value{}
	}
	if many && v.array {
		a.plainly(v, "cannot be used in an array of arrays")
		return value{}
	}
	v.array = v.array || many
	return v
}

// fractions says whether the fraction of percentile_disc is an array, and whether that
// is known.
func (a *analyzer) fractions(n *pg.Node) (many, known bool) {
	if c, ok := a.constant(n); ok {
		return c.array, c.oid != Unspecified
	}
	if n.GetAArrayExpr() != nil {
		return true, true
	}
	if cast := n.GetTypeCast(); cast != nil {
		_, many, known = castType(cast.TypeName)
		return many, known
	}
	e := n.GetAExpr()
	computed := e != nil && e.Kind == pg.A_Expr_Kind_AEXPR_OP && slices.Contains([]string{"+", "-", "*", "/"}, operatorName(e.Name))
	return false, computed
}

func (a *analyzer) ordered(n *pg.Node, sc *scope) value {
	return a.sortBy(n.GetSortBy(), func(n *pg.Node) value { return a.expr(n, sc) })
}
