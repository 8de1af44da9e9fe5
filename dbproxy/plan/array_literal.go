// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"strings"
	"unicode/utf8"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// assigned analyzes the value that a column gets. ARRAY['a', 'b']::text[], as some
// clients write a list, is one value of a column that holds arrays.
func (a *analyzer) assigned(c *Column, n *pg.Node, sc *scope) value {
	if c != nil && c.Rule != nil && !c.Array {
		if element, ok := c.Rule.Type.Element(); ok {
			return a.exprFor(&element, n, sc)
		}
	}
	return a.expr(n, sc)
}

// exprFor is expr of what a column of arrays of a type gets, nil for another column:
// also the branches of a CASE or COALESCE, and what is cast, are whole arrays.
func (a *analyzer) exprFor(element *Type, n *pg.Node, sc *scope) value {
	if element == nil {
		return a.expr(n, sc)
	}
	if k, ok := a.arrayConstant(n, *element); ok {
		return a.constantValue(k)
	}
	if k, ok := a.constant(n); ok {
		return asWhole(a.constantValue(k))
	}
	switch x := n.GetNode().(type) {
	case *pg.Node_CaseExpr:
		return a.caseExpr(x.CaseExpr, element, sc)
	case *pg.Node_CoalesceExpr:
		return a.mixAll(x.CoalesceExpr.Args, element, sc)
	case *pg.Node_TypeCast:
		if _, array, _ := castType(x.TypeCast.TypeName); array {
			return a.castArray(x.TypeCast, element, sc)
		}
	}
	return a.expr(n, sc)
}

// castArray is cast of a whole array.
func (a *analyzer) castArray(t *pg.TypeCast, element *Type, sc *scope) value {
	typ, _, known := castType(t.TypeName)
	typ.OID = ArrayOf(typ.OID)
	v := a.exprFor(element, t.Arg, sc)
	if v.class == nil || v.array {
		a.plainly(v, "cannot be cast here")
		return value{loc: v.loc}
	}
	at := int(t.TypeName.GetLocation())
	end, ranged := a.wholeTypeEnd(at)
	a.convertLater(&conversion{class: v.class, typ: typ, known: known && ranged, kept: a.kept, edit: Edit{at, end, "bytea"}, loc: int(v.loc)}, v)
	v.plain, v.cast, v.typ = false, true, typ
	return v
}

// arrayConstant reads ARRAY[..] of literals, perhaps with a cast, as one constant
// for a column of arrays of a type. What it does not read is none.
func (a *analyzer) arrayConstant(n *pg.Node, column Type) (constant, bool) {
	cast := n.GetTypeCast()
	if cast == nil {
		return a.arrayLiteral(n.GetAArrayExpr(), Type{Typmod: -1})
	}
	to, array, known := castType(cast.TypeName)
	at := int(cast.TypeName.GetLocation())
	end, ranged := a.wholeTypeEnd(at)
	if !known || !array || !ranged || to.Typmod >= 0 && to != column && !textual(to) {
		return constant{}, false
	}
	k, ok := a.arrayLiteral(cast.Arg.GetAArrayExpr(), to)
	k.retype = &Edit{at, end, "bytea"}
	return k, ok
}

// arrayLiteral reads ARRAY[..], which is cast to an array of a type if that has an
// OID. Without one, elements of which none has a type are text.
func (a *analyzer) arrayLiteral(e *pg.A_ArrayExpr, to Type) (constant, bool) {
	open := a.tokenAt(int(e.GetLocation()))
	if a.word(open) == "array" {
		open++
	}
	end := a.matching(open, pg.Token_ASCII_91, pg.Token_ASCII_93) // [ ]
	if e == nil || end < 0 || len(e.Elements) == 0 && to.OID == Unspecified {
		return constant{}, false
	}
	l := listText{to: to}
	if !a.appendArray(&l, e) {
		return constant{}, false
	}
	oid := to.OID
	switch {
	case oid == Unspecified && l.oid == Unspecified:
		oid = Text
	case oid == Unspecified:
		oid = l.oid
	}
	start := int(e.Location)
	return constant{text: l.text.String(), oid: ArrayOf(oid), mod: -1, start: start, end: int(a.tokens[end].End), loc: start}, true
}

// listText is the text form of an array as it is written out.
type listText struct {
	text strings.Builder
	to   Type   // what elements are cast to, if it has an OID
	oid  uint32 // the type of the elements that have one
	bare bool   // there is an element without one
}

func (a *analyzer) appendArray(l *listText, e *pg.A_ArrayExpr) bool {
	l.text.WriteByte('{')
	for i, n := range e.Elements {
		if i > 0 {
			l.text.WriteByte(',')
		}
		inner, first := n.GetAArrayExpr(), e.Elements[0].GetAArrayExpr()
		if len(inner.GetElements()) != len(first.GetElements()) {
			return false // the server says what is wrong
		}
		if inner != nil {
			if !a.appendArray(l, inner) {
				return false
			}
			continue
		}
		if k, ok := a.constant(n); !ok || !l.appendElement(&k) {
			return false
		}
	}
	l.text.WriteByte('}')
	return true
}

// appendElement writes a literal if its type agrees with that of the others.
func (l *listText) appendElement(k *constant) bool {
	if k.param > 0 || k.why != "" || k.array || k.as != nil || k.mod >= 0 {
		return false
	}
	if k.null {
		l.text.WriteString("NULL")
		return true
	}
	typed := k.oid != Unspecified
	if typed && l.to.OID != Unspecified && k.oid != l.to.OID && !keepsText(k.oid, l.to.OID) {
		return false
	}
	if typed && l.oid != Unspecified && l.oid != k.oid || typed && l.bare || !typed && l.oid != Unspecified {
		return false
	}
	l.bare = !typed
	l.oid = k.oid
	text := k.text
	if limit, cuts := l.to.MaxChars(); cuts && utf8.RuneCountInString(text) > limit {
		text = string([]rune(text)[:limit])
	}
	l.text.WriteByte('"')
	l.text.WriteString(strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text))
	l.text.WriteByte('"')
	return true
}
