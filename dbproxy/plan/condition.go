// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	pg "github.com/pganalyze/pg_query_go/v6"
)

const cannotDecide = "cannot be a condition of its own"

// condition analyzes an expression of which the server asks whether it is true. A
// protected bool by itself, as in WHERE active or NOT active, is compared with the
// sealed form of true.
func (a *analyzer) condition(n *pg.Node, sc *scope) {
	ref := n.GetColumnRef()
	if ref == nil {
		a.open(n, sc)
		return
	}
	v := a.column(ref, sc)
	rule := v.sealed()
	if rule == nil || rule.Type.OID != Bool || v.array || a.view {
		a.plainly(v, "cannot be used in this expression")
		return
	}
	a.require(v, Compare, cannotDecide)
	end, ok := a.columnEnd(ref)
	if !ok {
		a.plainly(v, cannotDecide)
		return
	}
	v.of().use |= Compare
	if slices.ContainsFunc(a.literals, func(l Literal) bool { return l.Start == end && l.End == end }) {
		return // seen twice
	}
	a.edits = append(a.edits, Edit{end, end, " ="})
	a.literals = append(a.literals, Literal{Start: end, End: end, Value: "true", OID: Bool, Rule: rule, Cast: true, Use: Compare})
}

// columnEnd gives the end of a column reference.
func (a *analyzer) columnEnd(ref *pg.ColumnRef) (end int, ok bool) {
	i := a.tokenAt(int(ref.Location))
	last := i + 2*(len(ref.Fields)-1)
	if i < 0 || last >= len(a.tokens) {
		return 0, false
	}
	for point := i + 1; point < last; point += 2 {
		if a.word(point) != "." {
			return 0, false
		}
	}
	return int(a.tokens[last].End), true
}

// logic analyzes AND, OR and NOT, and IS TRUE and the like.
func (a *analyzer) logic(n *pg.Node, sc *scope) {
	for _, arg := range n.GetBoolExpr().GetArgs() {
		a.condition(arg, sc)
	}
	a.condition(n.GetBooleanTest().GetArg(), sc)
}
