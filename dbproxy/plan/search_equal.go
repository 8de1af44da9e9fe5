// SPDX-License-Identifier: Apache-2.0

package plan

import pg "github.com/pganalyze/pg_query_go/v6"

// searchEqual takes name = 'abc', IN and = ANY, and what denies them, for searches
// for whole values where the column is one whose values carry tokens.
func (a *analyzer) searchEqual(e *pg.A_Expr, sc *scope) (search, bool) {
	name, ref := operatorName(e.Name), e.Lexpr.GetColumnRef()
	if ref == nil || len(e.Name) != 1 || name != "=" && name != "<>" {
		return search{}, false
	}
	s := search{column: e.Lexpr, pattern: e.Rexpr, not: name == "<>", operator: a.tokenAt(int(e.Location)), words: 1, match: Match{Form: Equals}}
	known := a.word(s.operator) == name || s.not && a.word(s.operator) == "!="
	switch e.Kind {
	case pg.A_Expr_Kind_AEXPR_OP:
		_, known = a.concatenation(e.Rexpr)
	case pg.A_Expr_Kind_AEXPR_OP_ANY, pg.A_Expr_Kind_AEXPR_OP_ALL:
		s.list, s.all = true, e.Kind == pg.A_Expr_Kind_AEXPR_OP_ALL
	case pg.A_Expr_Kind_AEXPR_IN:
		s.in, s.all = true, s.not
		if s.not {
			s.words = 2
		}
		known = a.word(s.operator+s.words-1) == "in"
	default:
		return search{}, false
	}
	if !known || s.operator < 0 {
		return search{}, false
	}
	missing := a.missing
	rule := a.column(ref, sc).sealed()
	if rule != nil && rule.Search != nil {
		return s, true
	}
	a.missing = missing // it is looked up again
	return search{}, false
}

// searchIn rewrites col IN (..) and col NOT IN (..).
func (a *analyzer) searchIn(s *search, v value) {
	open := s.operator + s.words
	end, start := a.closing(open), a.operandStart(s.column, s.operator)
	if a.word(open) != "(" || end < 0 || start < 0 {
		a.searchForm(v)
		return
	}
	a.searchEach(s, v, s.pattern.GetList().GetItems(), start, open, end)
}
