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
	switch x := n.Node.(type) {
	case *pg.Node_ColumnRef:
		v := a.column(x.ColumnRef, sc)
		if v.rule != nil {
			a.touch(v.rule)
		}
		return v
	case *pg.Node_ParamRef:
		a.plain[int(x.ParamRef.Number)] = int(x.ParamRef.Location)
	case *pg.Node_AConst:
	case *pg.Node_AExpr:
		a.operator(x.AExpr, sc)
	case *pg.Node_NullTest:
		a.expr(x.NullTest.Arg, sc)
	case *pg.Node_SubLink:
		return a.subLink(x.SubLink, sc)
	case *pg.Node_FuncCall:
		a.call(x.FuncCall, sc)
	case *pg.Node_SelectStmt:
		for _, v := range a.query(x.SelectStmt, sc).fields {
			if v.rule != nil {
				a.refuseValue(v.value, "cannot be used in this expression")
			}
		}
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

// operator analyzes a comparison or other operator.
func (a *analyzer) operator(e *pg.A_Expr, sc *scope) {
	name := ""
	if len(e.Name) == 1 {
		name = e.Name[0].GetString_().GetSval()
	}
	equal, unequal := name == "=", name == "<>"
	switch e.Kind {
	case pg.A_Expr_Kind_AEXPR_OP:
		if e.Lexpr != nil && (equal || unequal) {
			a.compare(e.Lexpr, e.Rexpr, sc)
			return
		}
	case pg.A_Expr_Kind_AEXPR_DISTINCT, pg.A_Expr_Kind_AEXPR_NOT_DISTINCT:
		a.compare(e.Lexpr, e.Rexpr, sc)
		return
	case pg.A_Expr_Kind_AEXPR_IN:
		a.compareList(e.Lexpr, e.Rexpr.GetList().GetItems(), sc)
		return
	case pg.A_Expr_Kind_AEXPR_OP_ANY, pg.A_Expr_Kind_AEXPR_OP_ALL:
		if equal || unequal {
			a.compareArray(e.Lexpr, e.Rexpr, sc)
			return
		}
	}
	a.open(e.Lexpr, sc)
	a.open(e.Rexpr, sc)
}

// compare analyzes l = r and the like.
func (a *analyzer) compare(l, r *pg.Node, sc *scope) {
	if lr, rr := l.GetRowExpr(), r.GetRowExpr(); lr != nil && rr != nil && len(lr.Args) == len(rr.Args) {
		for i := range lr.Args {
			a.compare(lr.Args[i], rr.Args[i], sc)
		}
		return
	}
	lc, lconst := a.constant(l)
	rc, rconst := a.constant(r)
	switch {
	case lconst && rconst:
		a.open(l, sc)
		a.open(r, sc)
	case rconst:
		a.compareConstant(a.expr(l, sc), rc, r, sc)
	case lconst:
		a.compareConstant(a.expr(r, sc), lc, l, sc)
	default:
		a.compareValues(a.expr(l, sc), a.expr(r, sc))
	}
}

func (a *analyzer) compareConstant(v value, c constant, n *pg.Node, sc *scope) {
	if v.rule == nil {
		a.open(n, sc)
		return
	}
	a.equality(v, "cannot be compared")
	a.seal(c, v.rule, Compare)
}

func (a *analyzer) compareValues(l, r value) {
	switch {
	case l.rule == nil && r.rule == nil:
	case l.rule == nil:
		a.refuseValue(r, "cannot be compared with this expression")
	case r.rule == nil:
		a.refuseValue(l, "cannot be compared with this expression")
	case !l.rule.joins(r.rule):
		a.refuse(int(r.loc), "protected columns "+l.rule.Name()+" and "+r.rule.Name()+" cannot be compared with each other",
			"Both need mode equality, the same domain and the same type.")
	}
}

// compareList analyzes l IN (items).
func (a *analyzer) compareList(l *pg.Node, items []*pg.Node, sc *scope) {
	if row := l.GetRowExpr(); row != nil {
		for _, item := range items {
			a.compare(l, item, sc)
		}
		return
	}
	v := a.expr(l, sc)
	for _, item := range items {
		if c, ok := a.constant(item); ok {
			a.compareConstant(v, c, item, sc)
		} else {
			a.compareValues(v, a.expr(item, sc))
		}
	}
}

// compareArray analyzes l = ANY (r), where r is an array parameter or ARRAY[..].
func (a *analyzer) compareArray(l, r *pg.Node, sc *scope) {
	v := a.expr(l, sc)
	if v.rule == nil {
		a.open(r, sc)
		return
	}
	a.equality(v, "cannot be compared")
	if p := r.GetParamRef(); p != nil {
		a.param(int(p.Number), Param{Rule: v.rule, Array: true, Location: int(p.Location), Use: Compare})
		return
	}
	if arr := r.GetAArrayExpr(); arr != nil {
		for _, item := range arr.Elements {
			c, ok := a.constant(item)
			if !ok {
				a.refuseValue(v, "cannot be compared with this expression")
				return
			}
			a.seal(c, v.rule, Compare)
		}
		return
	}
	if k := r.GetAConst(); k != nil && k.GetSval() != nil {
		if c := a.literal(k); c.why == "" {
			a.literals = append(a.literals, Literal{Start: c.start, End: c.end, Value: c.text, Rule: v.rule, Array: true, Use: Compare})
			return
		}
	}
	if cast := r.GetTypeCast(); cast != nil {
		if p := cast.Arg.GetParamRef(); p != nil && a.arrayCast(cast, p, v.rule) {
			return
		}
	}
	a.refuseValue(v, "cannot be compared with this array")
}

// arrayCast takes $1::text[] as an array parameter.
func (a *analyzer) arrayCast(cast *pg.TypeCast, p *pg.ParamRef, rule *Rule) bool {
	if len(cast.TypeName.ArrayBounds) != 1 {
		return false
	}
	elem := typeNameParts(cast.TypeName)
	t, ok := typeOf(elem)
	if !ok || t.Typmod >= 0 {
		return false
	}
	end, ok := a.typeEnd(int(cast.TypeName.Location))
	if !ok {
		return false
	}
	a.edits = append(a.edits, Edit{int(cast.TypeName.Location), end, "bytea"})
	a.param(int(p.Number), Param{Rule: rule, OID: ArrayOf(t.OID), Array: true, Location: int(p.Location), Use: Compare})
	return true
}

func typeNameParts(n *pg.TypeName) *pg.TypeName {
	return &pg.TypeName{Names: n.Names, Typmods: n.Typmods, Setof: n.Setof, PctType: n.PctType}
}

// subLink analyzes a subquery in an expression.
func (a *analyzer) subLink(s *pg.SubLink, sc *scope) value {
	sel := s.Subselect.GetSelectStmt()
	if sel == nil {
		a.open(s.Testexpr, sc)
		a.open(s.Subselect, sc)
		return value{}
	}
	out := a.query(sel, sc)
	switch s.SubLinkType {
	case pg.SubLinkType_EXISTS_SUBLINK:
		return value{}
	case pg.SubLinkType_EXPR_SUBLINK:
		if len(out.fields) == 1 {
			v := out.fields[0].value
			v.plain = false
			return v
		}
	case pg.SubLinkType_ANY_SUBLINK, pg.SubLinkType_ALL_SUBLINK:
		return a.subLinkTest(s, out, sc)
	}
	a.refuseFields(out, "cannot be used in this subquery")
	a.open(s.Testexpr, sc)
	return value{}
}

func (a *analyzer) subLinkTest(s *pg.SubLink, out *source, sc *scope) value {
	op := "="
	if len(s.OperName) == 1 {
		op = s.OperName[0].GetString_().GetSval()
	}
	if _, isConst := a.constant(s.Testexpr); isConst || s.Testexpr.GetRowExpr() != nil || (op != "=" && op != "<>") || len(out.fields) != 1 {
		a.refuseFields(out, "cannot be used in this subquery")
		a.open(s.Testexpr, sc)
		return value{}
	}
	a.compareValues(a.expr(s.Testexpr, sc), out.fields[0].value)
	return value{}
}

func (a *analyzer) refuseFields(out *source, what string) {
	for _, f := range out.fields {
		if f.rule != nil {
			a.refuseValue(f.value, what)
		}
	}
}

// call analyzes a function call: of protected values, only count is possible.
func (a *analyzer) call(f *pg.FuncCall, sc *scope) {
	if isCount(f) && len(f.Args) == 1 && len(f.AggOrder) == 0 {
		v := a.expr(f.Args[0], sc)
		if f.AggDistinct {
			a.equality(v, "cannot be counted distinctly")
		}
	} else {
		a.openAll(f.Args, sc)
	}
	for _, o := range f.AggOrder {
		a.open(o.GetSortBy().GetNode(), sc)
	}
	a.open(f.AggFilter, sc)
	if f.Over != nil {
		a.window(f.Over, sc)
	}
}

func isCount(f *pg.FuncCall) bool {
	n := len(f.Funcname)
	if n == 0 || f.Funcname[n-1].GetString_().GetSval() != "count" {
		return false
	}
	return n == 1 || n == 2 && f.Funcname[0].GetString_().GetSval() == "pg_catalog"
}

func (a *analyzer) window(w *pg.WindowDef, sc *scope) {
	for _, p := range w.PartitionClause {
		a.equality(a.expr(p, sc), "cannot partition a window")
	}
	for _, o := range w.OrderClause {
		a.open(o.GetSortBy().GetNode(), sc)
	}
	a.open(w.StartOffset, sc)
	a.open(w.EndOffset, sc)
}
