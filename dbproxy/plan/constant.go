// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// constant is an expression that stands for one value known before execution:
// a literal or a parameter, perhaps with one cast.
type constant struct {
	null  bool
	param int // number, 0 for a literal
	text  string
	oid   uint32 // type that the text gives it
	mod   int32  // and its modifier, -1 if none
	as    *Type  // what to round to first
	start int
	end   int
	loc   int
	// listed says that it is one of several of IN (..): without a type it has
	// that of the column, not that which the column's operators take.
	listed bool
	beside []uint32 // the types that constants of the list have, or values that it is mixed with
	// array says that it is an array of values.
	array bool
	// retype is the edit that turns the cast into one to bytea.
	retype *Edit
	// whole is that edit where an array is one value of a column.
	whole *Edit
	// since is the release that added its form, 0 if all have it.
	since int
	// why it cannot stand for a protected value, if it cannot.
	why string
	// enum is the type that it is cast to, if that is no built-in one: then why
	// says so, but not to a column of that enum.
	enum *pg.TypeName
	// match, if not nil, says that it is a pattern that values are searched for.
	match *Match
	// class tells whether it stands for one.
	class *class
}

// constant reads an expression as a constant.
func (a *analyzer) constant(n *pg.Node) (constant, bool) {
	if n == nil {
		return constant{}, false
	}
	switch x := n.Node.(type) {
	case *pg.Node_ParamRef:
		return constant{param: int(x.ParamRef.Number), mod: -1, loc: int(x.ParamRef.Location)}, true
	case *pg.Node_AConst:
		return a.literal(x.AConst), true
	case *pg.Node_TypeCast:
		return a.castConstant(x.TypeCast)
	case *pg.Node_AExpr:
		return a.signedConstant(x.AExpr)
	}
	return constant{}, false
}

func (a *analyzer) literal(k *pg.A_Const) constant {
	c := constant{start: int(k.Location), mod: -1, loc: int(k.Location)}
	if k.Isnull {
		c.null = true
		return c
	}
	switch v := k.Val.(type) {
	case *pg.A_Const_Sval:
		c.text = v.Sval.Sval
	case *pg.A_Const_Ival:
		c.text, c.oid = strconv.Itoa(int(v.Ival.Ival)), Int4
	case *pg.A_Const_Fval:
		c.text, c.oid = v.Fval.Fval, Numeric
		if _, err := strconv.ParseInt(c.text, 0, 64); err == nil {
			c.oid = Int8
		}
	case *pg.A_Const_Boolval:
		c.text, c.oid = strconv.FormatBool(v.Boolval.Boolval), Bool
	default:
		c.why = "a bit string cannot be stored in a protected column"
	}
	end, ok := a.constantEnd(c.start)
	if !ok && c.why == "" {
		c.why = "this form of a constant is not understood for a protected column"
	}
	c.end = end
	if ok && (c.oid == Int4 || c.oid == Int8 || c.oid == Numeric) {
		c.since = a.numberSince(end)
	}
	return c
}

// numberSince is the release that added the form of the number that ends at an offset.
func (a *analyzer) numberSince(end int) int {
	i := sort.Search(len(a.tokens), func(i int) bool { return int(a.tokens[i].End) >= end })
	if strings.ContainsAny(a.text(a.tokens[i]), "_xXoObB") {
		return 16
	}
	return 0
}

// signedConstant reads +5 and -5::bigint, where the sign is an operator.
func (a *analyzer) signedConstant(e *pg.A_Expr) (constant, bool) {
	sign := operatorName(e.Name)
	if e.Kind != pg.A_Expr_Kind_AEXPR_OP || e.Lexpr != nil || sign != "+" && sign != "-" {
		return constant{}, false
	}
	c, ok := a.constant(e.Rexpr)
	number := c.oid == Int4 || c.oid == Int8 || c.oid == Numeric
	if !ok || c.param > 0 || c.null || c.why != "" || !number || strings.ContainsAny(c.text, "+-'") || a.tokenAt(int(e.Location)) < 0 {
		return constant{}, false
	}
	if i := a.tokenAt(int(e.Location)); i+1 >= len(a.tokens) || int(a.tokens[i+1].Start) != c.start || !isNumber(a.tokens[i+1].Token) {
		return constant{}, false
	}
	if sign == "-" {
		c.text = "-" + c.text
	}
	c.start, c.loc = int(e.Location), int(e.Location)
	return c, true
}

// castConstant reads 'x'::type, CAST(.. AS type) and type 'x'.
func (a *analyzer) castConstant(cast *pg.TypeCast) (constant, bool) {
	if cast.Arg.GetTypeCast() != nil {
		return a.recastConstant(cast)
	}
	c, ok := a.constant(cast.Arg)
	if !ok {
		return constant{}, false
	}
	t, array, known := castType(cast.TypeName)
	at := int(cast.TypeName.GetLocation())
	end, ranged := at, at >= 0
	if c.param == 0 && at < c.start {
		end = c.start
	} else if ranged {
		end, ranged = a.wholeTypeEnd(at)
		c.whole = &Edit{at, end, "bytea"}
		if array {
			end, ranged = a.typeEnd(at)
		}
	}
	if !known || !ranged {
		if c.why == "" && ranged && !array && (c.oid == Unspecified || c.null) {
			c.enum = cast.TypeName
		}
		c.why = "this cast is not understood for a protected column"
	}
	text := "bytea"
	if array {
		// The brackets stay.
		c.array = true
		if t.Typmod >= 0 || c.oid != Unspecified && !c.null {
			c.why = "this cast is not understood for a protected column"
		}
	} else {
		c.apply(t)
	}
	c.oid, c.mod = t.OID, t.Typmod
	if end == c.start && c.param == 0 {
		text = "bytea "
	}
	c.retype = &Edit{at, end, text}
	return c, true
}

// recastConstant reads CAST($1::text AS mood), as some clients write the values of
// an enum. Other casts of casts are none of a constant.
func (a *analyzer) recastConstant(cast *pg.TypeCast) (constant, bool) {
	if _, array, known := castType(cast.TypeName); known || array {
		return constant{}, false
	}
	c, ok := a.constant(cast.Arg)
	at := int(cast.TypeName.GetLocation())
	if end, ranged := a.typeEnd(at); ok && ranged && c.why == "" && !c.array && c.retype != nil && textual(Type{OID: c.oid}) && c.mod < 0 && at > c.retype.End && c.retype.Start > c.start {
		between := a.sql[c.retype.End:at]
		c.enum, c.oid, c.whole = cast.TypeName, Unspecified, nil
		c.why = "this cast is not understood for a protected column"
		c.retype = &Edit{c.retype.Start, end, "bytea" + between + "bytea"}
		return c, true
	}
	return constant{}, false
}

// unsealable says why the constant cannot stand for a value of the rule's column.
func (c *constant) unsealable(r *Rule) string {
	if c.enum != nil && r.Type.OID == Enum && declares(c.enum, r.Type) {
		return ""
	}
	return c.why
}

// rounds says that a cast to the type does what storing in it does.
func rounds(t Type) bool {
	_, digits := t.SecondDigits()
	return digits || t.OID == Numeric
}

// keepsText says that a cast of a literal number means the same digits in the
// other type.
func keepsText(from, to uint32) bool {
	switch to {
	case Numeric, Float4, Float8:
		return from == Int4 || from == Int8 || from == Numeric
	case Int2, Int4, Int8:
		return from == Int4 || from == Int8
	}
	return false
}

// apply gives the constant the effect that a cast has on it.
func (c *constant) apply(t Type) {
	number := c.oid == Int4 && textual(t) && t.Typmod < 0
	switch {
	case c.null || c.why != "":
	case c.oid != Unspecified && c.oid != t.OID && !keepsText(c.oid, t.OID) && !number:
		c.why = "this cast of a number or boolean is not understood for a protected column"
	case t.Typmod < 0:
	case rounds(t):
		c.as = &t
	case c.param == 0 && t.OID == Varchar:
		n, _ := t.MaxChars()
		if utf8.RuneCountInString(c.text) > n {
			c.text = string([]rune(c.text)[:n])
		}
	default:
		c.why = "a cast with a length is not understood for a protected column"
	}
}

func sameType(a, b *Type) bool { return (a == nil) == (b == nil) && (a == nil || *a == *b) }

// leaf is a constant with its class, made in one piece.
type leaf struct {
	constant constant
	class    class
	self     [1]*constant
}

// constantValue is the value that a constant has, whose class tells later
// whether it is sealed.
func (a *analyzer) constantValue(c constant) value {
	l := &leaf{constant: c}
	l.constant.class, l.self[0] = &l.class, &l.constant
	l.class.consts = l.self[:]
	a.consts = append(a.consts, &l.constant)
	t := Type{OID: c.oid, Typmod: c.mod}
	if a.view {
		t.OID = Unspecified // it may be a sealed value
	}
	return value{class: &l.class, array: c.array, typ: t, loc: int32(c.loc)}
}
