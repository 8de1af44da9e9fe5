// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// search is an expression that asks which values match a pattern, in one of the
// forms that tokens answer.
type search struct {
	column, pattern *pg.Node
	match           Match
	not             bool
	// list says that the pattern is an array, of which one, or with all every one,
	// has to match.
	list, all bool
	// in says that the pattern is the list of IN.
	in bool
	// operator is the first token of the operator and words how many it has; -1 if
	// it is a call.
	operator, words int
	// call is the call, and rest the token that its comparison with 0 ends with.
	call *pg.FuncCall
	rest int
}

// likeOperators are the operators that LIKE and ILIKE stand for, and ^@.
var likeOperators = map[string]search{
	"~~":   {},
	"!~~":  {not: true},
	"~~*":  {match: Match{Fold: Lower, FoldPattern: true}},
	"!~~*": {not: true, match: Match{Fold: Lower, FoldPattern: true}},
	"^@":   {match: Match{Form: Begins}},
}

// searchOperator says whether an operator searches for a pattern.
func (a *analyzer) searchOperator(e *pg.A_Expr) (search, bool) {
	if e.Lexpr == nil || e.Rexpr == nil {
		return search{}, false
	}
	name := operatorName(e.Name)
	s, like := likeOperators[name]
	s.column, s.pattern, s.operator = e.Lexpr, e.Rexpr, a.tokenAt(int(e.Location))
	switch e.Kind {
	case pg.A_Expr_Kind_AEXPR_LIKE, pg.A_Expr_Kind_AEXPR_ILIKE:
		s.words = a.likeWords(s.operator)
	case pg.A_Expr_Kind_AEXPR_OP_ANY, pg.A_Expr_Kind_AEXPR_OP_ALL:
		s.list, s.all = true, e.Kind == pg.A_Expr_Kind_AEXPR_OP_ALL
		if s.words = a.likeWords(s.operator); a.word(s.operator) == name {
			s.words = 1
		}
	case pg.A_Expr_Kind_AEXPR_OP:
		if position, ok := a.searchPosition(e, name); ok {
			return position, true
		}
		if s.words = 1; name == "=" || name == "<>" {
			like, s.not, s.match.Form = foldOf(e.Lexpr) != NoFold, name == "<>", Equals
		}
		like = like && (a.word(s.operator) == name || name == "<>" && a.word(s.operator) == "!=")
	default:
		return search{}, false
	}
	like = like && s.words > 0 && !(s.list && s.match.Form == Begins)
	return s, like && a.foldsBoth(&s)
}

// likeWords counts the words of LIKE, NOT LIKE, ILIKE or NOT ILIKE.
func (a *analyzer) likeWords(i int) int {
	n := 1
	if a.word(i) == "not" {
		n, i = 2, i+1
	}
	if w := a.word(i); i < 0 || w != "like" && w != "ilike" {
		return 0
	}
	return n
}

// foldOf says which fold a call is.
func foldOf(n *pg.Node) Fold {
	f := n.GetFuncCall()
	if f == nil || len(f.Args) != 1 || !bareCall(f) {
		return NoFold
	}
	switch functionName(f) {
	case "lower":
		return Lower
	case "upper":
		return Upper
	}
	return NoFold
}

// foldsBoth takes lower(col) LIKE lower(pattern) for a search, and lower(col)
// LIKE pattern. ILIKE folds by itself.
func (a *analyzer) foldsBoth(s *search) bool {
	escaped := s.pattern.GetFuncCall()
	inner := s.pattern
	if escaped != nil && isEscape(escaped) && caseless(escaped.Args[1]) {
		inner = escaped.Args[0]
	}
	column, pattern := foldOf(s.column), foldOf(inner)
	switch {
	case column == NoFold && pattern == NoFold:
		return true
	case column == NoFold, s.match.Fold != NoFold, s.match.Form == Begins, s.list, pattern != NoFold && pattern != column:
		return false
	}
	s.match.Fold, s.match.FoldPattern = column, pattern == column
	if s.match.FoldPattern {
		folded := inner.GetFuncCall().Args[0]
		if inner == s.pattern {
			s.pattern = folded
		} else {
			s.pattern = &pg.Node{Node: &pg.Node_FuncCall{FuncCall: &pg.FuncCall{Funcname: escaped.Funcname, Args: []*pg.Node{folded, escaped.Args[1]}, Funcformat: escaped.Funcformat, Location: escaped.Location}}}
		}
	}
	return true
}

// caseless says whether lower and upper leave an escape character as it is.
func caseless(n *pg.Node) bool {
	c := n.GetAConst().GetSval().GetSval()
	return strings.ToLower(c) == c && strings.ToUpper(c) == c
}

// searchCall says whether a call searches for a pattern: starts_with.
func (a *analyzer) searchCall(f *pg.FuncCall) (search, bool) {
	if functionName(f) != "starts_with" || len(f.Args) != 2 || !bareCall(f) || foldOf(f.Args[0]) != NoFold {
		return search{}, false
	}
	return search{column: f.Args[0], pattern: f.Args[1], match: Match{Form: Begins}, operator: -1, call: f, rest: -1}, true
}

// searchPosition takes strpos(col, 'x') > 0 and position('x' IN col) > 0 for a
// search, and = 0 for what is not found.
func (a *analyzer) searchPosition(e *pg.A_Expr, name string) (search, bool) {
	f, k := e.Lexpr.GetFuncCall(), e.Rexpr.GetAConst()
	if f == nil || k.GetIval() == nil || len(f.Args) != 2 || !bareCall(f) || foldOf(f.Args[0]) != NoFold {
		return search{}, false
	}
	if called := functionName(f); called != "strpos" && called != "position" {
		return search{}, false
	}
	n := k.GetIval().GetIval()
	found := (name == ">" || name == "<>") && n == 0 || name == ">=" && n == 1
	if missing := name == "=" && n == 0 || name == "<" && n == 1; !found && !missing {
		return search{}, false
	}
	return search{column: f.Args[0], pattern: f.Args[1], not: !found, match: Match{Form: Contains}, operator: -1, call: f, rest: a.tokenAt(int(k.Location))}, true
}

// searchFor analyzes a search.
func (a *analyzer) searchFor(s *search, naming target, sc *scope) {
	column := s.column
	if foldOf(column) != NoFold {
		column = column.GetFuncCall().Args[0]
	}
	v := a.expr(column, sc)
	rule := v.sealed()
	if rule == nil || rule.Search == nil || v.array || a.view || a.kept || !executedAtOnce(a.stmt.Command) {
		a.plainly(v, "cannot be used in this expression")
		a.open(s.pattern, sc)
		return
	}
	if s.match.Fold != NoFold && v.collated {
		a.refuseRule(rule, v.loc, "cannot be searched regardless of case under another collation than the database's own")
		return
	}
	switch {
	case s.call != nil:
		a.searchByCall(s, v, naming)
	case s.in:
		a.searchIn(s, v)
	case s.list:
		a.searchList(s, v)
	default:
		a.searchByOperator(s, v)
	}
}

// A search becomes (tokens of the column && tokens of the pattern).
const (
	tokensOf = searchFunction + "("
	overlaps = " OPERATOR(pg_catalog.&&) "
	found    = ")" + overlaps
)

func (s *search) opening() string {
	if s.not {
		return "(NOT "
	}
	return "("
}

func (a *analyzer) patternRefused(v value) {
	rule := v.sealed()
	a.refuseCode(codeNotSupported, int(v.loc), "protected column "+rule.Name()+" cannot be searched for this pattern",
		"The pattern is neither a literal nor a parameter, nor some of these put together by ||.", searchHint(rule))
}

func (a *analyzer) searchForm(v value) {
	rule := v.sealed()
	a.refuseCode(codeNotSupported, int(v.loc), "protected column "+rule.Name()+" cannot be searched in this form", "", "Write the column alone on the left.")
}

// readSearched reads a pattern of a search.
func (a *analyzer) readSearched(s *search, n *pg.Node) (*pattern, bool) {
	p, ok := a.pattern(n)
	match := s.match
	match.Before, match.After = p.match.Before, p.match.After
	if match.Form == Like {
		match.Escape = p.match.Escape
	}
	p.match = match
	return p, ok
}

// searchByOperator rewrites col LIKE 'pattern' and the like.
func (a *analyzer) searchByOperator(s *search, v value) {
	at := s.operator
	p, ok := a.readSearched(s, s.pattern)
	start, end := a.operandStart(s.column, at), a.balanced(at+s.words, p.last)
	switch {
	case !ok || end < 0:
		a.patternRefused(v)
		return
	case start < 0:
		a.searchForm(v)
		return
	}
	from, to := int(a.tokens[at+s.words].Start), int(a.tokens[end].End)
	a.search(v, p, from, to)
	a.edits = append(a.edits, Edit{start, start, s.opening() + tokensOf})
	if f := s.column.GetFuncCall(); f != nil && !a.unfold(f) {
		a.searchForm(v)
	}
	a.edits = append(a.edits, Edit{int(a.tokens[at-1].End), from, found}, Edit{to, to, ")"})
}

// unfold takes lower or upper off the column: its parentheses stay.
func (a *analyzer) unfold(f *pg.FuncCall) bool {
	open, _, end := a.argumentTokens(f)
	if open < 0 || end < 0 {
		return false
	}
	a.edits = append(a.edits, Edit{int(f.Location), int(a.tokens[open].Start), ""})
	return true
}

// argumentTokens gives the parentheses of a call and what separates its first
// two arguments: a comma, or IN.
func (a *analyzer) argumentTokens(f *pg.FuncCall) (open, separator, end int) {
	open = a.tokenAt(int(f.Location))
	for open >= 0 && a.word(open+1) == "." {
		open += 2
	}
	if open++; open == 0 || a.word(open) != "(" {
		return -1, -1, -1
	}
	end, separator = a.closing(open), -1
	for i, depth := open, 0; i < end; i++ {
		switch w := a.word(i); w {
		case "(", "[":
			depth++
		case ")", "]":
			depth--
		case ",", "in":
			if depth == 1 && separator < 0 {
				separator = i
			}
		}
	}
	return open, separator, end
}

// searchByCall rewrites starts_with(col, 'x'), strpos(col, 'x') > 0 and
// position('x' IN col) > 0.
func (a *analyzer) searchByCall(s *search, v value, naming target) {
	p, ok := a.readSearched(s, s.pattern)
	open, separator, end := a.argumentTokens(s.call)
	if !ok {
		a.patternRefused(v)
		return
	}
	last := end
	if s.rest >= 0 {
		last = s.rest
	}
	if open < 0 || separator < 0 || end < 0 || s.rest >= 0 && s.rest != end+2 {
		a.searchForm(v)
		return
	}
	start, to := int(s.call.Location), int(a.tokens[last].End)
	first, behind := int(a.tokens[open].End), int(a.tokens[end].Start)
	left, right := int(a.tokens[separator].Start), int(a.tokens[separator].End)
	if a.word(separator) == "in" {
		// The pattern is first.
		a.search(v, p, first, left)
		a.edits = append(a.edits, Edit{start, first, s.opening()}, Edit{left, right, overlaps + tokensOf}, Edit{behind, to, "))"})
		return
	}
	a.search(v, p, right, behind)
	a.edits = append(a.edits, Edit{start, first, s.opening() + tokensOf}, Edit{left, right, found}, Edit{behind, to, ")"})
	if s.rest < 0 {
		a.keepName(s.call, naming)
	}
}

// searchList rewrites col LIKE ANY and LIKE ALL of an array.
func (a *analyzer) searchList(s *search, v value) {
	at := s.operator
	open := at + s.words + 1 // behind ANY
	end, start := a.closing(open), a.operandStart(s.column, at)
	if end < 0 || start < 0 {
		a.searchForm(v)
		return
	}
	list := s.pattern
	if t, array, known := castType(list.GetTypeCast().GetTypeName()); list.GetTypeCast() != nil && known && array && textual(t) && t.Typmod < 0 {
		list = list.GetTypeCast().Arg
	}
	if e := list.GetAArrayExpr(); e != nil {
		a.searchEach(s, v, e.Elements, start, open, end)
		return
	}
	c, ok := a.constant(s.pattern)
	text := c.oid == Unspecified || c.oid == Text || c.oid == Varchar
	// That one of an array does not match is that not all do.
	if !ok || c.why != "" || c.null || !text || c.mod >= 0 || c.as != nil || c.oid != Unspecified && !c.array || s.all != s.not ||
		c.param == 0 && strings.Trim(c.text, "{}, \t\n\v\f\r") == "" { // of no pattern at all, NULL is no answer
		a.patternRefused(v)
		return
	}
	c.array, c.retype, c.whole = true, nil, nil
	p := &pattern{constant: &c, match: s.match}
	p.match.Any = true
	if p.match.Form == Like {
		p.match.Escape = `\`
	}
	from, to := int(a.tokens[open].End), int(a.tokens[end].Start)
	a.search(v, p, from, to)
	opening, closing := s.opening()+tokensOf, ")"
	if s.not {
		opening, closing = s.opening()+"("+tokensOf, "))"
	}
	a.edits = append(a.edits, Edit{start, start, opening}, Edit{int(a.tokens[at-1].End), from, found}, Edit{to, int(a.tokens[end].End), closing})
}

// searchEach rewrites a search for the elements of ARRAY[..] or IN (..), which stand
// between the tokens open and end, one by one.
func (a *analyzer) searchEach(s *search, v value, elements []*pg.Node, start, open, end int) {
	ref := s.column.GetColumnRef()
	if ref == nil || len(elements) == 0 {
		a.searchForm(v)
		return
	}
	column := a.sql[start:int(a.tokens[s.operator-1].End)]
	test := tokensOf + column + found
	if s.not {
		test = "NOT " + test
	}
	opening, at := "("+test, start
	for _, n := range elements {
		p, ok := a.readSearched(s, n)
		if !ok {
			a.patternRefused(v)
			return
		}
		first := a.tokenAt(location(n))
		for first > open+1 && a.word(first-1) == "(" {
			first--
		}
		last := -1
		if first >= 0 {
			last = a.balanced(first, p.last)
		}
		if last < 0 {
			a.patternRefused(v)
			return
		}
		from, to := int(a.tokens[first].Start), int(a.tokens[last].End)
		a.search(v, p, from, to)
		a.edits = append(a.edits, Edit{at, from, opening})
		at = to
		if opening = " OR " + test; s.all {
			opening = " AND " + test
		}
	}
	a.edits = append(a.edits, Edit{at, int(a.tokens[end].End), ")"})
}
