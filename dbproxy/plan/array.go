// SPDX-License-Identifier: Apache-2.0

package plan

import (
	pg "github.com/pganalyze/pg_query_go/v6"
)

// array analyzes ARRAY[..]. Without a cast, elements of which none has a type
// are text (transformArrayExpr of parse_expr.c).
func (a *analyzer) array(e *pg.A_ArrayExpr, sc *scope) value {
	out := a.untypedArray(e, sc)
	if c := out.of(); c != nil && c.rule == nil && out.typ.OID == Unspecified && !a.view && len(e.Elements) > 0 {
		out.typ = Type{OID: Text, Typmod: -1}
		c.beText()
	}
	return out
}

func (a *analyzer) untypedArray(e *pg.A_ArrayExpr, sc *scope) value {
	out := a.mixAll(e.Elements, nil, sc)
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

// castOperand is likewise one that is cast to an array, which gives ARRAY[..]
// its type.
func (a *analyzer) castOperand(n *pg.Node, sc *scope) value {
	if e := n.GetAArrayExpr(); e != nil {
		return a.untypedArray(e, sc)
	}
	return a.arrayOperand(n, sc)
}
