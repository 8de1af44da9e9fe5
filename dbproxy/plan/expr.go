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
	case *pg.Node_GroupingFunc:
		for _, arg := range x.GroupingFunc.Args {
			a.expr(arg, sc)
		}
	case *pg.Node_CaseExpr:
		return a.caseExpr(x.CaseExpr, sc)
	case *pg.Node_CoalesceExpr:
		return a.mixAll(x.CoalesceExpr.Args, sc)
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

// mixAll analyzes expressions of which one is the value.
func (a *analyzer) mixAll(nodes []*pg.Node, sc *scope) value {
	var out value
	for i, n := range nodes {
		v := a.expr(n, sc)
		if i == 0 {
			out, out.plain = v, false
		} else {
			out = a.mix(out, v)
		}
	}
	return out
}

func (a *analyzer) caseExpr(c *pg.CaseExpr, sc *scope) value {
	var arg value
	if c.Arg != nil {
		arg = a.expr(c.Arg, sc)
	}
	results := make([]*pg.Node, 0, len(c.Args)+1)
	for _, n := range c.Args {
		when := n.GetCaseWhen()
		if c.Arg != nil {
			a.compareValues(arg, a.expr(when.GetExpr(), sc), Compare, "cannot be compared")
		} else {
			a.open(when.GetExpr(), sc)
		}
		results = append(results, when.GetResult())
	}
	if c.Defresult != nil {
		results = append(results, c.Defresult)
	}
	out := a.mixAll(results, sc)
	if c.Defresult == nil {
		out.typ.Typmod, out.plain = -1, false // NULL has none
	}
	return out
}

// minMax analyzes GREATEST and LEAST.
func (a *analyzer) minMax(m *pg.MinMaxExpr, sc *scope) value {
	out := a.mixAll(m.Args, sc)
	if out.array {
		a.plainly(out, "cannot be compared so")
	}
	a.require(out, Compare|Order, "cannot be compared by order")
	if c := out.of(); c != nil {
		c.use |= Compare | Order
	}
	return out
}

// array analyzes ARRAY[..].
func (a *analyzer) array(e *pg.A_ArrayExpr, sc *scope) value {
	out := a.mixAll(e.Elements, sc)
	if len(e.Elements) == 0 {
		return value{array: true, class: &class{}}
	}
	if out.array {
		a.plainly(out, "cannot be used in an array of arrays")
		return value{}
	}
	if out.class == nil {
		return value{}
	}
	out.array, out.plain = true, false
	return out
}

// element is an element of an array.
func (a *analyzer) element(v value) value {
	if !v.array {
		a.plainly(v, "cannot be used as an array")
		return value{}
	}
	v.array, v.plain = false, false
	return v
}

// arrayOperand analyzes an expression that has to be an array: a constant
// there is one.
func (a *analyzer) arrayOperand(n *pg.Node, sc *scope) value {
	if c, ok := a.constant(n); ok && (c.oid == Unspecified && !c.null || c.array) {
		c.array = true
		return a.constantValue(c)
	}
	return a.expr(n, sc)
}

// cast analyzes a cast of what is not a constant: one that changes nothing is
// taken off a protected value.
func (a *analyzer) cast(t *pg.TypeCast, sc *scope) value {
	typ, array, known := castType(t.TypeName)
	var v value
	if array {
		v = a.arrayOperand(t.Arg, sc)
	} else {
		v = a.expr(t.Arg, sc)
	}
	if v.class == nil {
		return value{loc: v.loc}
	}
	at := int(t.TypeName.GetLocation())
	end, ranged := a.typeEnd(at)
	c := &conversion{class: v.class, typ: typ, known: known && ranged && array == v.array, edit: Edit{at, end, "bytea"}, loc: int(v.loc)}
	a.convertLater(c, v)
	v.plain = false
	if !known {
		v.typ = Type{Unknown, -1}
	} else if !a.view || typ.OID != Bytea {
		v.typ = typ
	}
	return v
}

func (a *analyzer) convertLater(c *conversion, v value) {
	a.casts = append(a.casts, c)
	root := v.of()
	root.casts = append(root.casts, c)
}

// collate analyzes COLLATE.
func (a *analyzer) collate(k *pg.CollateClause, sc *scope) value {
	v := a.expr(k.Arg, sc)
	i := a.tokenAt(int(k.Location))
	if v.class == nil || i < 0 || v.array {
		a.plainly(v, "cannot have a collation here")
		return value{loc: v.loc}
	}
	last := i + 1
	for a.word(last+1) == "." {
		last += 2
	}
	c := &conversion{class: v.class, collation: lastName(k.Collname), loc: int(k.Location)}
	if last < len(a.tokens) {
		c.edit = Edit{int(k.Location), int(a.tokens[last].End), ""}
	}
	a.convertLater(c, v)
	v.plain = false
	return v
}
