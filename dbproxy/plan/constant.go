// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"strconv"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// constant is an expression that stands for one value known before execution:
// a literal or a parameter, perhaps with one cast.
type constant struct {
	null  bool
	param int // number, 0 for a literal
	text  string
	oid   uint32 // type that the text gives it
	as    *Type  // likewise, with a modifier
	start int
	end   int
	loc   int
	// retype is the edit that turns the cast into one to bytea.
	retype *Edit
	// why it cannot stand for a protected value, if it cannot.
	why string
}

// constant reads an expression as a constant.
func (a *analyzer) constant(n *pg.Node) (constant, bool) {
	if n == nil {
		return constant{}, false
	}
	switch x := n.Node.(type) {
	case *pg.Node_ParamRef:
		return constant{param: int(x.ParamRef.Number), loc: int(x.ParamRef.Location)}, true
	case *pg.Node_AConst:
		return a.literal(x.AConst), true
	case *pg.Node_TypeCast:
		return a.castConstant(x.TypeCast)
	}
	return constant{}, false
}

func (a *analyzer) literal(k *pg.A_Const) constant {
	c := constant{start: int(k.Location), loc: int(k.Location)}
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
		if _, err := strconv.ParseInt(c.text, 10, 64); err == nil {
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
	return c
}

// castConstant reads 'x'::type, CAST(.. AS type) and type 'x'.
func (a *analyzer) castConstant(cast *pg.TypeCast) (constant, bool) {
	if cast.Arg.GetTypeCast() != nil {
		return constant{}, false
	}
	c, ok := a.constant(cast.Arg)
	if !ok {
		return constant{}, false
	}
	t, known := typeOf(cast.TypeName)
	at := int(cast.TypeName.GetLocation())
	end, ranged := at, at >= 0
	if c.param == 0 && at < c.start {
		end = c.start
	} else if ranged {
		end, ranged = a.wholeTypeEnd(at)
	}
	switch {
	case !known || !ranged:
		c.why = "this cast is not understood for a protected column"
	case t.Typmod >= 0 && !rounds(t):
		c.why = "a cast with a length is not understood for a protected column"
	case c.oid != Unspecified && c.oid != t.OID && !c.null && !keepsText(c.oid, t.OID):
		c.why = "this cast of a number or boolean is not understood for a protected column"
	}
	if c.oid = t.OID; t.Typmod >= 0 {
		c.as = &t
	}
	text := "bytea"
	if end == c.start && c.param == 0 {
		text = "bytea "
	}
	c.retype = &Edit{at, end, text}
	return c, true
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

// seal has a constant replaced by its sealed value for the rule's column.
func (a *analyzer) seal(c constant, rule *Rule, use Use) {
	a.touch(rule)
	if c.why != "" && !c.null {
		a.refuse(c.loc, c.why+" ("+rule.Name()+")", "Write a plain literal or a parameter of type "+rule.Type.String()+".")
		return
	}
	if c.retype != nil {
		a.edits = append(a.edits, *c.retype)
	}
	switch {
	case c.null:
	case c.param > 0:
		a.param(c.param, Param{Rule: rule, OID: c.oid, As: c.as, Location: c.loc, Use: use})
	default:
		a.literals = append(a.literals, Literal{Start: c.start, End: c.end, Value: c.text, OID: c.oid, As: c.as, Rule: rule, Cast: c.retype == nil, Use: use})
	}
}

func sameType(a, b *Type) bool { return (a == nil) == (b == nil) && (a == nil || *a == *b) }

// param records that a parameter is to be sealed.
func (a *analyzer) param(n int, p Param) {
	a.touch(p.Rule)
	if n > 65535 {
		a.refuseCode(codeTooManyParams, p.Location, fmt.Sprintf("there is no parameter $%d", n), "", "")
		return
	}
	old, again := a.params[n]
	if !again {
		a.params[n] = p
		return
	}
	if old.Rule != p.Rule && !(p.Rule.Equality && p.Rule.carries(old.Rule)) || old.Array != p.Array {
		a.refuse(p.Location, fmt.Sprintf("parameter $%d is used for protected columns %s and %s", n, old.Rule.Name(), p.Rule.Name()),
			"Pass the value twice, as two parameters.")
		return
	}
	if old.OID == Unspecified {
		old.OID, old.As = p.OID, p.As
	} else if p.OID != Unspecified && (p.OID != old.OID || !sameType(p.As, old.As)) {
		a.refuse(p.Location, fmt.Sprintf("parameter $%d is cast to two types", n), "")
	}
	old.Use |= p.Use
	a.params[n] = old
}
