// SPDX-License-Identifier: Apache-2.0

package plan

import (
	pg "github.com/pganalyze/pg_query_go/v6"
)

// target is the item of a target list that is being analyzed.
type target struct{ node *pg.ResTarget }

// call analyzes a function call. A few functions give one of the values that
// they get, or arrays of them, and so can be used on protected ones.
func (a *analyzer) call(f *pg.FuncCall, sc *scope) value {
	naming := a.naming
	a.naming = target{}
	if f.AggWithinGroup {
		return a.withinGroup(f, sc)
	}
	if s, ok := a.searchCall(f); ok {
		a.searchFor(&s, naming, sc)
		return value{}
	}
	var out value
	switch name := functionName(f); {
	case name == "system_user" && f.Funcformat == pg.CoercionForm_COERCE_SQL_SYNTAX:
		a.systemUser(f.Location, sc)
	case name == "count" && len(f.Args) == 1:
		v := a.anyArgument(f.Args[0], sc)
		if f.AggDistinct {
			a.require(v, Compare, "cannot be counted distinctly")
		}
	case f.FuncVariadic:
		a.openAll(f.Args, sc)
	case len(f.Args) == 1 && (name == "min" || name == "max"):
		out = a.extreme(f, naming, sc)
	case len(f.Args) == 1 && name == "array_agg":
		out = a.aggregate(f, sc)
	case len(f.Args) == 1 && name == "any_value", len(f.Args) == 1 && (name == "first_value" || name == "last_value"):
		out = withoutTypmod(a.expr(f.Args[0], sc))
	case len(f.Args) == 1 && name == "unnest":
		out = withoutTypmod(a.element(a.arrayOperand(f.Args[0], sc)))
	case len(f.Args) == 2 && name == "nth_value", (len(f.Args) == 1 || len(f.Args) == 2) && (name == "lag" || name == "lead"):
		out = withoutTypmod(a.expr(f.Args[0], sc))
		a.openAll(f.Args[1:], sc)
	case len(f.Args) == 3 && (name == "lag" || name == "lead"):
		v := a.expr(f.Args[0], sc)
		a.open(f.Args[1], sc)
		out = withoutTypmod(a.mix(v, a.expr(f.Args[2], sc)))
	case arrayShape[name] && len(f.Args) > 0:
		if v := a.expr(f.Args[0], sc); !v.array {
			a.plainly(v, "cannot be used as an array")
		}
		a.openAll(f.Args[1:], sc)
	default:
		a.openAll(f.Args, sc)
	}
	a.aggregateOrder(f, sc)
	return out
}

// systemUser refuses SYSTEM_USER beside a protected column of that name: the word is
// reserved since PostgreSQL 16, and before it is the column.
func (a *analyzer) systemUser(loc int32, sc *scope) {
	for ; sc != nil; sc = sc.parent {
		for _, s := range sc.sources {
			if f, ok := s.field("system_user"); ok && f.class != nil {
				a.refuse(int(loc), "SYSTEM_USER may be a protected column", "Write \"system_user\" for the column.")
			}
		}
	}
}

// arrayShape are functions that ask nothing of an array but its size.
var arrayShape = map[string]bool{"cardinality": true, "array_length": true, "array_lower": true, "array_upper": true, "array_ndims": true}

// anyArgument is an argument of which only NULL or not, or equality, is asked.
func (a *analyzer) anyArgument(n *pg.Node, sc *scope) value {
	v := a.expr(n, sc)
	if c := v.of(); c != nil {
		c.use |= Compare
	}
	return v
}

func withoutTypmod(v value) value {
	v.typ.Typmod, v.plain = -1, false
	return v
}

// bareCall says whether a call has nothing but arguments.
func bareCall(f *pg.FuncCall) bool {
	return len(f.AggOrder) == 0 && f.AggFilter == nil && f.Over == nil && !f.AggDistinct && !f.AggWithinGroup && !f.FuncVariadic
}

// aggregateOrder analyzes what stands behind the arguments of a call.
func (a *analyzer) aggregateOrder(f *pg.FuncCall, sc *scope) {
	for _, o := range f.AggOrder {
		a.ordered(o, sc)
	}
	a.condition(f.AggFilter, sc)
	if f.Over != nil {
		a.window(f.Over, sc)
	}
}

// aggregate analyzes array_agg.
func (a *analyzer) aggregate(f *pg.FuncCall, sc *scope) value {
	v := withoutTypmod(a.expr(f.Args[0], sc))
	if v.array || v.class == nil {
		a.plainly(v, "cannot be aggregated to an array of arrays")
		return value{}
	}
	if f.AggDistinct {
		a.require(v, Order, "cannot be aggregated distinctly: the array would be sorted otherwise")
	}
	v.array = true
	return v
}

// extreme analyzes min and max. PostgreSQL has none for bytea before release
// 18: an ordered-set aggregate that every release has gives the same value.
func (a *analyzer) extreme(f *pg.FuncCall, naming target, sc *scope) value {
	v := withoutTypmod(a.expr(f.Args[0], sc))
	if v.array {
		a.plainly(v, "cannot be ordered as arrays")
		return value{}
	}
	a.require(v, Order, "cannot be compared by order")
	c := v.of()
	if c == nil || c.rule == nil {
		// A constant that would be sealed later could not be rewritten here.
		a.plainly(v, "cannot be compared by order")
		return value{}
	}
	if f.Over != nil || f.AggDistinct || len(f.AggOrder) > 0 {
		a.refuseRule(c.rule, v.loc, "cannot be the argument of min or max with OVER, DISTINCT or ORDER BY")
		return v
	}
	a.rewriteExtreme(f, naming, c.rule)
	return v
}

// rewriteExtreme writes min(x) as percentile_disc(0) WITHIN GROUP (ORDER BY x).
func (a *analyzer) rewriteExtreme(f *pg.FuncCall, naming target, rule *Rule) {
	name := functionName(f)
	i := a.tokenAt(int(f.Location))
	if i >= 0 && a.word(i+1) == "." {
		i += 2
	}
	end := a.closing(i + 1)
	if i < 0 || end < 0 || a.word(i+2) == "all" {
		a.refuseRule(rule, f.Location, "cannot be the argument of this form of "+name)
		return
	}
	fraction := map[string]string{"min": "0", "max": "1"}[name]
	a.edits = append(a.edits, Edit{int(f.Location), int(a.tokens[i+1].End), "pg_catalog.percentile_disc(" + fraction + ") WITHIN GROUP (ORDER BY "})
	if naming.node == nil || naming.node.Name != "" {
		return
	}
	if naming.node.Val.GetFuncCall() == f {
		a.keepName(f, naming)
	} else if got, strength := figureName(naming.node.Val); strength == 2 && got == name {
		a.refuseRule(rule, f.Location, "cannot be the argument of "+name+" here without a name for the column")
	}
}

// keepName writes out the name that a column has of a call which is replaced.
func (a *analyzer) keepName(f *pg.FuncCall, naming target) {
	if naming.node == nil || naming.node.Name != "" || naming.node.Val.GetFuncCall() != f {
		return
	}
	end := a.targetEnd(int(naming.node.Location))
	if end < 0 {
		a.refuse(int(f.Location), "this form of a column is not understood", "Name the column with AS.")
		return
	}
	a.edits = append(a.edits, Edit{end, end, " AS " + quoteIdent(functionName(f))})
}

// closing gives the token that closes the parenthesis at token i, or -1.
func (a *analyzer) closing(i int) int {
	return a.matching(i, pg.Token_ASCII_40, pg.Token_ASCII_41) // ( )
}

// matching gives the token that closes what token i opens, or -1 if it opens nothing.
func (a *analyzer) matching(i int, opens, closes pg.Token) int {
	if i < 0 || i >= len(a.tokens) || a.tokens[i].Token != opens {
		return -1
	}
	for depth := 0; i < len(a.tokens); i++ {
		switch a.tokens[i].Token {
		case opens:
			depth++
		case closes:
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// frameRange is FRAMEOPTION_RANGE (parsenodes.h).
const frameRange = 0x2

func (a *analyzer) window(w *pg.WindowDef, sc *scope) {
	for _, p := range w.PartitionClause {
		a.require(a.expr(p, sc), Compare, "cannot partition a window")
	}
	computes := w.FrameOptions&frameRange != 0 && (w.StartOffset != nil || w.EndOffset != nil)
	for _, o := range w.OrderClause {
		if v := a.ordered(o, sc); computes {
			a.plainly(v, "cannot be the order of a RANGE with an offset, which the server would have to add to its values")
		}
	}
	a.open(w.StartOffset, sc)
	a.open(w.EndOffset, sc)
}
