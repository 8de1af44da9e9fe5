// SPDX-License-Identifier: Apache-2.0

package plan

import (
	pg "github.com/pganalyze/pg_query_go/v6"
)

// expr analyzes an expression and says whether it is a protected value.
func (a *analyzer) expr(n *pg.Node, sc *scope) value {
	if n == nil || n.Node == nil {
		return value{}
	}
	if c, ok := a.constant(n); ok {
		return a.constantValue(c)
	}
	switch x := n.Node.(type) {
	case *pg.Node_ColumnRef:
		return a.column(x.ColumnRef, sc)
	case *pg.Node_AExpr:
		return a.operator(x.AExpr, sc)
	case *pg.Node_TypeCast:
		return a.cast(x.TypeCast, sc)
	case *pg.Node_CollateClause:
		return a.collate(x.CollateClause, sc)
	case *pg.Node_NullTest:
		a.anyValue(x.NullTest.Arg, sc)
	case *pg.Node_BoolExpr, *pg.Node_BooleanTest:
		a.logic(n, sc)
	case *pg.Node_GroupingFunc:
		for _, arg := range x.GroupingFunc.Args {
			a.expr(arg, sc)
		}
	case *pg.Node_CaseExpr:
		return a.settled(a.caseExpr(x.CaseExpr, nil, sc))
	case *pg.Node_CoalesceExpr:
		return a.settled(a.mixAll(x.CoalesceExpr.Args, nil, sc))
	case *pg.Node_MinMaxExpr:
		return a.minMax(x.MinMaxExpr, sc)
	case *pg.Node_AArrayExpr:
		return a.array(x.AArrayExpr, sc)
	case *pg.Node_SubLink:
		return a.subLink(x.SubLink, sc)
	case *pg.Node_FuncCall:
		return a.call(x.FuncCall, sc)
	case *pg.Node_SelectStmt:
		a.settle(a.query(x.SelectStmt, sc), "cannot be used in this expression")
	case *pg.Node_RangeVar:
		if a.relation(x.RangeVar) != nil {
			a.refuse(int(x.RangeVar.Location), "a table with protected columns cannot be used here", "")
		}
	case *pg.Node_List:
		a.openAll(x.List.Items, sc)
	default:
		if m := inner(n); m != nil {
			a.children(m, sc)
		}
	}
	return value{}
}

// anyValue analyzes an expression of which only NULL or not is asked.
func (a *analyzer) anyValue(n *pg.Node, sc *scope) {
	if row := n.GetRowExpr(); row != nil {
		for _, arg := range row.Args {
			a.expr(arg, sc)
		}
		return
	}
	a.expr(n, sc)
}

// mixAll analyzes expressions of which one is the value; element is that of exprFor.
func (a *analyzer) mixAll(nodes []*pg.Node, element *Type, sc *scope) value {
	var out value
	for i, n := range nodes {
		v := a.exprFor(element, n, sc)
		if i == 0 {
			out, out.plain = v, false
		} else {
			out = a.mix(out, v)
		}
	}
	return a.oneType(out)
}

func (a *analyzer) caseExpr(c *pg.CaseExpr, element *Type, sc *scope) value {
	var arg value
	if c.Arg != nil {
		arg = a.settled(a.expr(c.Arg, sc))
	}
	results := make([]*pg.Node, 0, len(c.Args)+1)
	if c.Defresult != nil {
		results = append(results, c.Defresult) // its type counts first
	}
	for _, n := range c.Args {
		when := n.GetCaseWhen()
		if c.Arg != nil {
			a.compareValues(arg, a.expr(when.GetExpr(), sc), Compare, "cannot be compared")
		} else {
			a.condition(when.GetExpr(), sc)
		}
		results = append(results, when.GetResult())
	}
	out := a.mixAll(results, element, sc)
	if c.Defresult == nil {
		out.typ.Typmod, out.plain = -1, false // NULL has none
	}
	return out
}

// minMax analyzes GREATEST and LEAST.
func (a *analyzer) minMax(m *pg.MinMaxExpr, sc *scope) value {
	out := a.settled(a.mixAll(m.Args, nil, sc))
	if out.array {
		a.plainly(out, "cannot be compared so")
	}
	a.require(out, Compare|Order, "cannot be compared by order")
	if c := out.of(); c != nil {
		c.use |= Compare | Order
	}
	return out
}
