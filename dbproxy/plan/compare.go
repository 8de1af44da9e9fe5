// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	pg "github.com/pganalyze/pg_query_go/v6"
)

const (
	cannotCompare = "cannot be compared"
	cannotOrder   = "cannot be compared by order"
)

// comparison says what an operator asks of the values that it compares; ok is
// false for another operator.
func comparison(name string) (need Use, what string, ok bool) {
	switch name {
	case "=", "<>":
		return Compare, cannotCompare, true
	case "<", "<=", ">", ">=":
		return Compare | Order, cannotOrder, true
	}
	return 0, "", false
}

// operator analyzes a comparison or other operator.
func (a *analyzer) operator(e *pg.A_Expr, sc *scope) value {
	if s, ok := a.searchOperator(e); ok {
		a.searchFor(&s, target{}, sc)
		return value{}
	}
	if s, ok := a.searchEqual(e, sc); ok {
		a.searchFor(&s, target{}, sc)
		return value{}
	}
	need, what, compares := comparison(operatorName(e.Name))
	switch e.Kind {
	case pg.A_Expr_Kind_AEXPR_OP:
		if e.Lexpr != nil && compares {
			a.compare(e.Lexpr, e.Rexpr, need, what, sc)
			return value{}
		}
	case pg.A_Expr_Kind_AEXPR_DISTINCT, pg.A_Expr_Kind_AEXPR_NOT_DISTINCT:
		a.compare(e.Lexpr, e.Rexpr, Compare, cannotCompare, sc)
		return value{}
	case pg.A_Expr_Kind_AEXPR_IN:
		before := len(a.consts)
		a.compareList(e.Lexpr, e.Rexpr.GetList().GetItems(), Compare, cannotCompare, sc)
		a.list(e, a.consts[before:])
		return value{}
	case pg.A_Expr_Kind_AEXPR_BETWEEN, pg.A_Expr_Kind_AEXPR_NOT_BETWEEN, pg.A_Expr_Kind_AEXPR_BETWEEN_SYM, pg.A_Expr_Kind_AEXPR_NOT_BETWEEN_SYM:
		a.compareList(e.Lexpr, e.Rexpr.GetList().GetItems(), Compare|Order, cannotOrder, sc)
		return value{}
	case pg.A_Expr_Kind_AEXPR_OP_ANY, pg.A_Expr_Kind_AEXPR_OP_ALL:
		if compares {
			l := a.expr(e.Lexpr, sc)
			a.compareValues(l, a.element(a.arrayOperand(e.Rexpr, sc)), need, what)
			return value{}
		}
	case pg.A_Expr_Kind_AEXPR_NULLIF:
		return a.nullIf(e, sc)
	}
	a.open(e.Lexpr, sc)
	a.open(e.Rexpr, sc)
	return value{}
}

// nullIf analyzes NULLIF, whose value has the type as which = compares the first.
func (a *analyzer) nullIf(e *pg.A_Expr, sc *scope) value {
	l := a.expr(e.Lexpr, sc)
	r := a.expr(e.Rexpr, sc)
	a.compareValues(l, r, Compare, cannotCompare)
	if c := r.of(); c != nil && l.of() != c {
		c.use |= Typed
	}
	l.plain = false
	if r.typ.OID == Unspecified {
		l = a.settled(l)
	}
	switch {
	case l.typ.OID == Varchar:
		l.typ = Type{OID: Text, Typmod: -1}
	case r.typ.OID != Unspecified && !SameFamily(l.typ.OID, r.typ.OID):
		if common := commonType(l.typ, r.typ); common.OID != l.typ.OID {
			l.typ = common
		}
	}
	return l
}

// SameFamily says whether values of two types are compared without one of them being
// converted to the type of the other.
func SameFamily(l, r uint32) bool {
	families := [][]uint32{{Int2, Int4, Int8}, {Float4, Float8}, {Date, Timestamp, Timestamptz}, {Text, Varchar, BPChar}, {Inet, CIDR}}
	return l == r || slices.ContainsFunc(families, func(f []uint32) bool { return slices.Contains(f, l) && slices.Contains(f, r) })
}

// compare analyzes l = r and the like, also of rows.
func (a *analyzer) compare(l, r *pg.Node, need Use, what string, sc *scope) {
	lr, rr := l.GetRowExpr(), r.GetRowExpr()
	if lr != nil && rr != nil && len(lr.Args) == len(rr.Args) {
		for i := range lr.Args {
			a.compare(lr.Args[i], rr.Args[i], need, what, sc)
		}
		return
	}
	if sub := r.GetSubLink(); lr != nil && sub.GetSubLinkType() == pg.SubLinkType_EXPR_SUBLINK && sub.GetSubselect().GetSelectStmt() != nil {
		a.compareRow(lr.Args, a.subquery(sub.Subselect.GetSelectStmt(), sc), need, what, sc)
		return
	}
	lv := a.expr(l, sc)
	a.compareValues(lv, a.expr(r, sc), need, what)
}

// compareRow analyzes a comparison of a row with those of a subquery.
func (a *analyzer) compareRow(left []*pg.Node, out *source, need Use, what string, sc *scope) {
	values := a.rowValues(left, sc)
	if need == 0 || len(out.fields) != len(values) || out.open() {
		a.settle(out, "cannot be used in this subquery")
		for _, v := range values {
			a.plainly(v, "cannot be compared with this subquery")
		}
		return
	}
	for i, v := range values {
		a.compareValues(v, out.fields[i].value, need, what)
	}
}

// compareList analyzes l IN (items) and l BETWEEN x AND y.
func (a *analyzer) compareList(l *pg.Node, items []*pg.Node, need Use, what string, sc *scope) {
	row := l.GetRowExpr()
	if row == nil {
		v := a.expr(l, sc)
		for _, item := range items {
			a.compareValues(v, a.expr(item, sc), need, what)
		}
		return
	}
	left := a.rowValues(row.Args, sc)
	for _, item := range items {
		right := item.GetRowExpr()
		if right == nil || len(right.Args) != len(left) {
			for _, v := range left {
				a.plainly(v, "cannot be compared with this expression")
			}
			a.open(item, sc)
			continue
		}
		for i, v := range a.rowValues(right.Args, sc) {
			a.compareValues(left[i], v, need, what)
		}
	}
}

// list notes which constants IN takes for an array (transformAExprIn of
// parse_expr.c).
func (a *analyzer) list(e *pg.A_Expr, consts []*constant) {
	items := 0
	var types []uint32
	for _, item := range e.Rexpr.GetList().GetItems() {
		c, ok := a.constant(item)
		if ok {
			items++
		}
		if c.oid != Unspecified && !slices.Contains(types, c.oid) {
			types = append(types, c.oid)
		}
	}
	for _, c := range consts {
		if c.listed = items > 1 && e.Lexpr.GetRowExpr() == nil; c.listed {
			c.beside = types
		}
	}
}

// listedType is the type that a constant of several of IN (..) is read as, beside a
// column: that which all of them have in common with it.
func (c *constant) listedType(column Type) (oid uint32, why string) {
	dates := []uint32{Date, Timestamp, Timestamptz}
	switch {
	case c.oid == Unspecified && slices.Contains(dates, column.OID) && slices.ContainsFunc(c.beside, func(t uint32) bool { return t != column.OID }):
		return 0, "beside constants of another type this one is not read as the type of the protected column"
	case c.oid == Unspecified:
		return c.besideNumbers(column), ""
	case column.OID == Float4 && !slices.Contains(c.beside, Float8) && slices.Contains([]uint32{Int2, Int4, Int8, Numeric}, c.oid):
		return column.OID, "" // all are converted to real
	case column.OID == BPChar && (c.oid == Text || c.oid == Varchar):
		return column.OID, "" // blanks at the end do not count
	}
	return c.oid, ""
}

// besideNumbers is the type of a constant of the list that has none, beside numbers
// which may be of a greater type than the column.
func (c *constant) besideNumbers(column Type) uint32 {
	common := Type{OID: column.OID, Typmod: -1}
	if r := ranks[column.OID]; r == 0 || r > ranks[Float8] {
		return column.OID
	}
	for _, oid := range c.beside {
		if common = commonType(common, Type{OID: oid, Typmod: -1}); common.OID == Unknown {
			return column.OID // an error for the server, too
		}
	}
	return common.OID
}

func (a *analyzer) rowValues(args []*pg.Node, sc *scope) []value {
	out := make([]value, 0, len(args))
	for _, n := range args {
		out = append(out, a.expr(n, sc))
	}
	return out
}

// subLink analyzes a subquery in an expression.
func (a *analyzer) subLink(s *pg.SubLink, sc *scope) value {
	sel := s.Subselect.GetSelectStmt()
	if sel == nil {
		a.open(s.Testexpr, sc)
		a.open(s.Subselect, sc)
		return value{}
	}
	out := a.subquery(sel, sc)
	single := len(out.fields) == 1 && !out.open()
	switch s.SubLinkType {
	case pg.SubLinkType_EXISTS_SUBLINK:
		return value{}
	case pg.SubLinkType_EXPR_SUBLINK:
		if single {
			v := a.refer(out.fields[0], out.fields[0].loc)
			v.plain = false
			return v
		}
	case pg.SubLinkType_ARRAY_SUBLINK:
		if single && !out.fields[0].array && out.fields[0].class != nil {
			v := a.refer(out.fields[0], out.fields[0].loc)
			v.array, v.plain = true, false
			return v
		}
	case pg.SubLinkType_ANY_SUBLINK, pg.SubLinkType_ALL_SUBLINK, pg.SubLinkType_ROWCOMPARE_SUBLINK:
		return a.subLinkTest(s, out, sc)
	}
	a.settle(out, "cannot be used in this subquery")
	a.open(s.Testexpr, sc)
	return value{}
}

// subLinkTest analyzes a comparison with the rows of a subquery.
func (a *analyzer) subLinkTest(s *pg.SubLink, out *source, sc *scope) value {
	need, what := Compare, cannotCompare
	if len(s.OperName) > 0 {
		need, what, _ = comparison(operatorName(s.OperName))
	}
	left := []*pg.Node{s.Testexpr}
	if row := s.Testexpr.GetRowExpr(); row != nil {
		left = row.Args
	}
	a.compareRow(left, out, need, what, sc)
	return value{}
}
