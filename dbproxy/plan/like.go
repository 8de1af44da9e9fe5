// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// Search says of which parts the values of a column carry tokens, in characters;
// 0 is none. Each value also has one of the whole, and one that all have.
type Search struct {
	Prefix, Suffix, Min, Max int
}

// Match says how a constant is a pattern that values of a column are searched
// for: its stored form is the tokens of the parts of which a value that matches
// has one. Before and After are what the text puts around it.
type Match struct {
	Form          Form
	Escape        string // of a pattern of LIKE; "" for none
	Before, After string
	// Fold says that values are compared as this function gives them.
	Fold Fold
	// FoldPattern says that so is the pattern, as in ILIKE; otherwise it is
	// compared as it is, as in lower(col) LIKE 'abc'.
	FoldPattern bool
	// Any says that it is an array of patterns, of which one has to match.
	Any bool
}

// Form is what a pattern is.
type Form int

// Forms of patterns.
const (
	Like     Form = iota // a pattern of LIKE
	Equals               // the value
	Begins               // what the value begins with
	Contains             // what is in it
)

// Fold is a function that maps letters to one case.
type Fold int

// Folds.
const (
	NoFold Fold = iota
	Lower
	Upper
)

// Part is the kind of a part of a value.
type Part int

// Kinds of parts.
const (
	Whole Part = iota
	Prefix
	Suffix
	Substring
)

// searchFunction gives the tokens of a stored value.
const searchFunction = "sidekey.search_tokens"

// Part gives the part of a value that a pattern asks for. It refuses those which
// no token answers exactly.
func (m *Match) Part(pattern string, r *Rule) (kind Part, part string, refusal *Refusal) {
	kind, part, why := m.read(m.Before + pattern + m.After)
	if why == endsWithEscape {
		return 0, "", &Refusal{Code: codeEscape, Message: why}
	}
	n := utf8.RuneCountInString(part)
	s := r.Search
	switch {
	case why != "":
	case n == 0: // all values have the empty prefix, and one is the whole
	case kind == Prefix && n > s.Prefix:
		why = fmt.Sprintf("Its values can be searched for prefixes of at most %d characters; this one has %d.", s.Prefix, n)
	case kind == Suffix && n > s.Suffix:
		why = fmt.Sprintf("Its values can be searched for suffixes of at most %d characters; this one has %d.", s.Suffix, n)
	case kind == Substring && (n < s.Min || n > s.Max):
		why = fmt.Sprintf("Its values can be searched for substrings of %d to %d characters; this one has %d.", s.Min, s.Max, n)
	}
	if why != "" {
		return 0, "", &Refusal{Code: codeNotSupported, Message: "protected column " + r.Name() + " cannot be searched for this pattern", Detail: why, Hint: searchHint(r)}
	}
	return kind, part, nil
}

// read tells what part of a value is asked for.
func (m *Match) read(pattern string) (kind Part, part, why string) {
	switch {
	case m.Form == Equals:
		return Whole, pattern, ""
	case m.Form == Begins, m.Form == Contains && pattern == "":
		return Prefix, pattern, ""
	case m.Form == Contains:
		return Substring, pattern, ""
	}
	return readPattern(pattern, m.Escape)
}

const (
	endsWithEscape = "LIKE pattern must not end with escape character"
	codeEscape     = "22025"
)

// readPattern tells what part of a value a pattern of LIKE asks for.
func readPattern(pattern, escape string) (kind Part, part, why string) {
	var text strings.Builder
	leading, trailing := false, false
	for pattern != "" {
		_, size := utf8.DecodeRuneInString(pattern)
		char := pattern[:size]
		pattern = pattern[size:]
		switch {
		case char == escape:
			if pattern == "" {
				return 0, "", endsWithEscape
			}
			_, size = utf8.DecodeRuneInString(pattern)
			char, pattern = pattern[:size], pattern[size:]
		case char == "_":
			return 0, "", "The pattern has a _ that stands for any character."
		case char == "%":
			leading = leading || text.Len() == 0
			trailing = true
			continue
		}
		if trailing && text.Len() > 0 {
			return 0, "", "The pattern has a % between characters."
		}
		trailing = false
		text.WriteString(char)
	}
	switch {
	case text.Len() == 0 && leading:
		return Prefix, "", "" // anything
	case leading && trailing:
		return Substring, text.String(), ""
	case leading:
		return Suffix, text.String(), ""
	case trailing:
		return Prefix, text.String(), ""
	}
	return Whole, text.String(), ""
}

// searchHint says what patterns are answered.
func searchHint(r *Rule) string {
	s := r.Search
	forms := []string{"= 'abc'", "IN ('abc', ..)", "LIKE 'abc'"}
	if s.Prefix > 0 {
		forms = append(forms, fmt.Sprintf("LIKE 'abc%%' with at most %d characters", s.Prefix))
	}
	if s.Suffix > 0 {
		forms = append(forms, fmt.Sprintf("LIKE '%%abc' with at most %d", s.Suffix))
	}
	if s.Max > 0 {
		forms = append(forms, fmt.Sprintf("LIKE '%%abc%%' with %d to %d", s.Min, s.Max))
	}
	return "It can be searched by " + strings.Join(forms, ", ") + "."
}

// executedAtOnce says whether a statement's constants are not kept by the server
// beyond the session, as those of a constraint are, which would have to be found
// under data keys to come.
func executedAtOnce(command string) bool {
	return slices.Contains([]string{"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "EXPLAIN", "PREPARE", "DECLARECURSOR", "COPY", "CREATETABLEAS"}, command)
}

// pattern is the right side of LIKE.
type pattern struct {
	*constant
	match Match
	last  int // token
}

// search has the pattern's constant, which stands between two offsets, stand for
// tokens of the rule of v.
func (a *analyzer) search(v value, p *pattern, from, to int) {
	a.searching = true
	p.constant.start, p.constant.end = from, to
	k := a.constantValue(*p.constant)
	class := k.of()
	class.rule, class.loc, class.use = v.sealed(), v.loc, Compare
	p.constant = class.consts[0]
	p.constant.match = &p.match
}

// pattern reads a constant, perhaps with others around it, and ESCAPE.
func (a *analyzer) pattern(n *pg.Node) (*pattern, bool) {
	escape, last := `\`, -1
	if f := n.GetFuncCall(); f != nil && isEscape(f) {
		k := f.Args[1].GetAConst()
		if k.GetSval() == nil || utf8.RuneCountInString(k.GetSval().Sval) > 1 {
			return &pattern{}, false
		}
		c := a.literal(k)
		escape, last = c.text, a.tokenEnding(c.end)
		if n = f.Args[0]; c.why != "" || last < 0 {
			return &pattern{}, false
		}
	}
	p, ok := a.concatenation(n)
	p.match.Escape = escape
	p.last = max(p.last, last)
	return p, ok
}

// isEscape says whether a call is what ESCAPE is for the parser.
func isEscape(f *pg.FuncCall) bool {
	return len(f.Funcname) == 2 && f.Funcname[0].GetString_().GetSval() == "pg_catalog" && functionName(f) == "like_escape" && len(f.Args) == 2 && bareCall(f)
}

// concatenation reads a constant, or several of which at most one is a parameter.
func (a *analyzer) concatenation(n *pg.Node) (*pattern, bool) {
	if c, ok := a.constant(n); ok {
		return a.patternConstant(c)
	}
	e := n.GetAExpr()
	if e == nil || e.Kind != pg.A_Expr_Kind_AEXPR_OP || e.Lexpr == nil || operatorName(e.Name) != "||" || len(e.Name) != 1 {
		return &pattern{}, false
	}
	l, lok := a.concatenation(e.Lexpr)
	r, rok := a.concatenation(e.Rexpr)
	if !lok || !rok || l.param > 0 && r.param > 0 {
		return &pattern{}, false
	}
	out := l
	if r.param > 0 {
		out = r
		out.match.Before = l.text + r.match.Before
	} else if l.param > 0 {
		out.match.After += r.text
	} else {
		out.text += r.text
	}
	out.null = l.null || r.null
	out.last = r.last
	return out, !out.null || out.param == 0
}

func (a *analyzer) patternConstant(c constant) (*pattern, bool) {
	p := &pattern{constant: &c}
	text := c.oid == Unspecified || c.oid == Text || c.oid == Varchar
	if c.why != "" || c.array || c.as != nil || c.mod >= 0 || !text {
		return p, false
	}
	end := c.end
	switch {
	case c.param > 0:
		i := a.tokenAt(c.loc)
		if i < 0 {
			return p, false
		}
		end = int(a.tokens[i].End)
	case c.null && c.end == 0:
		i := a.tokenAt(c.start)
		if i < 0 {
			return p, false
		}
		end = int(a.tokens[i].End)
	}
	if c.retype != nil {
		end = max(end, c.retype.End)
	}
	c.retype, c.whole = nil, nil // all of it is replaced
	p.last = a.tokenEnding(end)
	return p, p.last >= 0
}

// tokenEnding gives the index of the token that ends at a byte offset, or -1.
func (a *analyzer) tokenEnding(end int) int {
	i, found := slices.BinarySearchFunc(a.tokens, end, func(t *pg.ScanToken, end int) int { return int(t.End) - end })
	if !found {
		return -1
	}
	return i
}

// balanced gives the last token of an expression that begins at one token and
// goes on at least to another: parentheses that are open there are closed.
func (a *analyzer) balanced(from, last int) int {
	depth := 0
	for i := from; i < len(a.tokens); i++ {
		switch a.word(i) {
		case "(":
			depth++
		case ")":
			depth--
		default:
			if i > last {
				return -1
			}
		}
		if depth < 0 {
			return -1
		}
		if i >= last && depth == 0 {
			return i
		}
	}
	return -1
}

// operandStart gives the offset at which the left operand of the operator at a
// token begins, -1 if it is of no known form.
func (a *analyzer) operandStart(n *pg.Node, operator int) int {
	i := a.tokenAt(a.leftmost(n))
	if i < 0 || operator <= i {
		return -1
	}
	for i > 0 && a.word(i-1) == "(" {
		if end := a.closing(i - 1); end < 0 || end >= operator {
			break
		}
		i--
	}
	return int(a.tokens[i].Start)
}

func (a *analyzer) leftmost(n *pg.Node) int {
	switch x := n.Node.(type) {
	case *pg.Node_ColumnRef:
		return int(x.ColumnRef.Location)
	case *pg.Node_CoalesceExpr:
		return int(x.CoalesceExpr.Location)
	case *pg.Node_FuncCall:
		if foldOf(n) != NoFold {
			return int(x.FuncCall.Location)
		}
	case *pg.Node_CollateClause:
		return a.leftmost(x.CollateClause.Arg)
	case *pg.Node_TypeCast:
		at, arg := int(x.TypeCast.Location), a.leftmost(x.TypeCast.Arg)
		if arg < 0 || a.word(a.tokenAt(at)) != "cast" {
			return arg
		}
		return at
	}
	return -1
}

// searchIndex has CREATE INDEX .. USING gin index the tokens of a column. It gives
// whether it is one that can be searched.
func (a *analyzer) searchIndex(s *pg.IndexStmt, n int, rel *Relation) bool {
	e := s.IndexParams[n].GetIndexElem()
	c := rel.column(e.GetName())
	if s.AccessMethod != "gin" || c == nil || c.Rule == nil || c.Rule.Search == nil {
		return false
	}
	class := lastName(e.Opclass)
	if len(e.Collation) > 0 || len(e.Opclassopts) > 0 || class != "" && class != "gin_trgm_ops" {
		return false
	}
	first, last := a.indexItem(int(s.Relation.Location), n)
	if first < 0 || identifier(a.text(a.tokens[first])) != e.Name {
		return false
	}
	a.touch(c.Rule)
	a.searching = true
	a.edits = append(a.edits, Edit{int(a.tokens[first].Start), int(a.tokens[last].End), searchFunction + "(" + quoteIdent(e.Name) + ")"})
	return true
}

// indexItem gives the first and last token of the n-th item behind USING.
func (a *analyzer) indexItem(from, n int) (first, last int) {
	i := a.tokenAt(from)
	for i >= 0 && i < len(a.tokens) && a.word(i) != "using" {
		i++
	}
	if i += 2; i < 2 || a.word(i) != "(" {
		return -1, -1
	}
	depth, item := 0, 0
	for first = i + 1; i < len(a.tokens); i++ {
		w := a.word(i)
		if w == "(" {
			depth++
		}
		if w == ")" {
			depth--
		}
		if depth > 1 || w != "," && depth > 0 {
			continue
		}
		if item == n {
			return first, i - 1
		}
		item, first = item+1, i+1
		if depth == 0 {
			break
		}
	}
	return -1, -1
}

// sealPattern has a pattern replaced by its tokens.
func (a *analyzer) sealPattern(c *constant, rule *Rule) {
	if c.null {
		a.edits = append(a.edits, Edit{c.start, c.end, "NULL::pg_catalog.bytea[]"})
		return
	}
	a.literals = append(a.literals, Literal{Start: c.start, End: c.end, Value: c.text, OID: c.oid, Rule: rule, Match: c.match, Use: Compare})
}

func sameMatch(l, r *Match) bool { return l == nil && r == nil || l != nil && r != nil && *l == *r }
