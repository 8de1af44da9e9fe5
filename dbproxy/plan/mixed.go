// SPDX-License-Identifier: Apache-2.0

package plan

import (
	pg "github.com/pganalyze/pg_query_go/v6"
)

// oneType has the constants of a mixed value read as PostgreSQL does: as the type that
// all of them have in common (select_common_type of parse_coerce.c), which is not that
// of the column with which they are compared, as in
//
//	pin = ANY (ARRAY[1::bigint, '5000000000'])
func (a *analyzer) oneType(v value) value {
	c := v.of()
	if c == nil || a.view || v.typ.OID == Unspecified || c.rule != nil && (c.rule.Type.OID == v.typ.OID || textual(c.rule.Type)) {
		return v
	}
	for _, k := range c.consts {
		k.mixWith(v.typ.OID)
	}
	return v
}

// settled gives the value of an expression that is put together of others type text
// if none of these has a type, as in
//
//	code = CASE WHEN id = 1 THEN 'ab ' END
//
// where 'ab ' is compared as a text, also with a column of type char.
func (a *analyzer) settled(v value) value {
	if c := v.of(); c != nil && c.rule == nil && v.typ.OID == Unspecified && !v.array && !a.view {
		v.typ = Type{OID: Text, Typmod: -1}
		c.beText()
	}
	return v
}

// unsettled analyzes what is cast, whose parts are given the type of the cast: their
// text is read as that anyway.
func (a *analyzer) unsettled(n *pg.Node, sc *scope) value {
	switch x := n.GetNode().(type) {
	case *pg.Node_CaseExpr:
		return a.caseExpr(x.CaseExpr, nil, sc)
	case *pg.Node_CoalesceExpr:
		return a.mixAll(x.CoalesceExpr.Args, nil, sc)
	}
	return a.expr(n, sc)
}

// mixWith gives a constant the type that it has in common with others.
func (k *constant) mixWith(common uint32) {
	const why = "beside values of another type this one is not read as the type of the protected column"
	switch {
	case k.null || k.oid == common || k.why != "":
	case k.oid == Unspecified && k.param > 0:
		k.beside = append(k.beside, common)
	case k.oid == Unspecified && common == Unknown:
		k.why = why
	case k.oid == Unspecified:
		k.oid = common
	case common != Float4 && common != Float8:
		// It means the same in the other type.
	case k.param == 0 && k.retype == nil && keepsText(k.oid, common):
		k.oid = common
	default:
		k.why = why
	}
}

// besideOther says whether a parameter without a type stands beside values of another
// type than the column's, which it then has.
func (k *constant) besideOther(column Type) bool {
	if k.param == 0 || k.oid != Unspecified || k.listed {
		return false
	}
	for _, t := range k.beside {
		if t != column.OID && !(textual(column) && (t == Text || t == Varchar)) {
			return true
		}
	}
	return false
}
