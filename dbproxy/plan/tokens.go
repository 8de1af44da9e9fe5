// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"errors"
	"sort"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// nameLen is NAMEDATALEN-1: the server cuts longer identifiers.
const nameLen = 63

// scan reads the tokens and says whether any identifier could name a relation
// that matters. It looks at every identifier, whatever it stands for.
func (a *analyzer) scan() (mentioned bool, err error) {
	res, err := pg.Scan(a.sql)
	if err != nil {
		return false, err
	}
	a.tokens = make([]*pg.ScanToken, 0, len(res.Tokens))
	for _, t := range res.Tokens {
		switch t.Token {
		case pg.Token_C_COMMENT, pg.Token_SQL_COMMENT:
			continue
		case pg.Token_UIDENT:
			mentioned = true
		case pg.Token_IDENT:
			mentioned = mentioned || a.cat.mentions(identifier(a.text(t)))
		default:
			if t.KeywordKind != pg.KeywordKind_NO_KEYWORD {
				mentioned = mentioned || a.cat.mentions(identifier(a.text(t)))
			}
		}
		a.tokens = append(a.tokens, t)
	}
	if a.depth() > maxDepth {
		return false, errTooDeep
	}
	return mentioned, nil
}

// maxDepth bounds the depth of a text that is parsed. The parser's own stack
// bounds what nests to the right, at 10000; chains such as 1+1+1 nest to the
// left without bound, and from about 20000 on the C stack of 8 MiB overflows,
// which would end the process.
const maxDepth = 10000

var errTooDeep = errors.New("the statement nests too deeply")

// depth is at least the depth of the chains in the text. A chain cannot go on
// across what separates items of a list; joins, set operations and BETWEEN can.
// A word behind a point is a name, whatever it says; any other word that names
// an output column ends the expression before it.
func (a *analyzer) depth() int {
	levels := []nesting{{}}
	deepest, outer := 0, 0
	closeLevel := func() {
		levels = levels[:len(levels)-1]
		l := &levels[len(levels)-1]
		outer -= l.run + l.kept + 1
		l.run++
	}
	for i, t := range a.tokens {
		l := &levels[len(levels)-1]
		token := t.Token
		if i > 0 && a.tokens[i-1].Token == pg.Token_ASCII_46 { // .
			token = pg.Token_IDENT
		}
		switch token {
		case pg.Token_ASCII_40, pg.Token_ASCII_91, pg.Token_CASE: // ( [
			outer += l.run + l.kept + 1
			levels = append(levels, nesting{isCase: token == pg.Token_CASE})
		case pg.Token_ASCII_41, pg.Token_ASCII_93: // ) ]
			for len(levels) > 1 && levels[len(levels)-1].isCase {
				closeLevel()
			}
			if len(levels) > 1 {
				closeLevel()
			}
		case pg.Token_ASCII_44, pg.Token_AND, pg.Token_OR, pg.Token_WHEN, pg.Token_THEN: // ,
			l.run = 0
		case pg.Token_ASCII_59: // ;
			l.run, l.kept = 0, 0
		case pg.Token_JOIN, pg.Token_UNION, pg.Token_INTERSECT, pg.Token_EXCEPT, pg.Token_BETWEEN:
			l.kept++
		default:
			if l.run++; token == pg.Token_END_P && l.isCase {
				closeLevel()
			}
		}
		l = &levels[len(levels)-1]
		deepest = max(deepest, outer+l.run+l.kept)
	}
	return deepest
}

// nesting is what is open in a parenthesis or CASE: tokens since the last
// separator, and what separators do not end.
type nesting struct {
	run, kept int
	isCase    bool
}

// identifier is the name that an identifier token means.
func identifier(token string) string {
	if strings.HasPrefix(token, `"`) {
		token = strings.ReplaceAll(strings.TrimSuffix(token[1:], `"`), `""`, `"`)
	} else {
		token = lowerASCII(token)
	}
	if len(token) > nameLen {
		cut := nameLen
		for cut > 0 && token[cut]&0xC0 == 0x80 {
			cut--
		}
		token = token[:cut]
	}
	return token
}

func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

func (a *analyzer) text(t *pg.ScanToken) string { return a.sql[t.Start:t.End] }

// tokenAt gives the index of the token that starts at a byte offset, or -1.
func (a *analyzer) tokenAt(offset int) int {
	i := sort.Search(len(a.tokens), func(i int) bool { return int(a.tokens[i].Start) >= offset })
	if i < len(a.tokens) && int(a.tokens[i].Start) == offset {
		return i
	}
	return -1
}

func (a *analyzer) word(i int) string {
	if i < 0 || i >= len(a.tokens) {
		return ""
	}
	return lowerASCII(a.text(a.tokens[i]))
}

// constantEnd gives the end of the constant that starts at offset: one token,
// a sign and a number, or a Unicode string with its UESCAPE.
func (a *analyzer) constantEnd(offset int) (end int, ok bool) {
	i := a.tokenAt(offset)
	if i < 0 {
		return 0, false
	}
	switch a.tokens[i].Token {
	case pg.Token_ASCII_45: // -
		i++
		if i >= len(a.tokens) || !isNumber(a.tokens[i].Token) {
			return 0, false
		}
	case pg.Token_USCONST:
		if a.word(i+1) == "uescape" {
			i += 2
		}
	case pg.Token_SCONST, pg.Token_ICONST, pg.Token_FCONST, pg.Token_TRUE_P, pg.Token_FALSE_P, pg.Token_NULL_P:
	default:
		return 0, false
	}
	if i >= len(a.tokens) {
		return 0, false
	}
	return int(a.tokens[i].End), true
}

func isNumber(t pg.Token) bool { return t == pg.Token_ICONST || t == pg.Token_FCONST }

// typeEnd gives the end of the type name that starts at offset. It knows the
// spellings of the types in types.go only.
func (a *analyzer) typeEnd(offset int) (end int, ok bool) {
	i := a.tokenAt(offset)
	if i < 0 {
		return 0, false
	}
	if a.word(i) == "national" {
		i++
	}
	for a.word(i+1) == "." {
		i += 2
	}
	if w := a.word(i + 1); w == "varying" || w == "precision" {
		i++
	}
	if a.word(i+1) == "(" {
		for i++; i < len(a.tokens) && a.word(i) != ")"; i++ {
		}
	}
	if w := a.word(i + 1); (w == "with" || w == "without") && a.word(i+2) == "time" && a.word(i+3) == "zone" {
		i += 3
	}
	if i >= len(a.tokens) {
		return 0, false
	}
	return int(a.tokens[i].End), true
}

// wholeTypeEnd is typeEnd with the [3][] or ARRAY[3] of an array type.
func (a *analyzer) wholeTypeEnd(offset int) (end int, ok bool) {
	if end, ok = a.typeEnd(offset); !ok {
		return 0, false
	}
	i := sort.Search(len(a.tokens), func(i int) bool { return int(a.tokens[i].End) >= end })
	if a.word(i+1) == "array" {
		i++
	}
	for a.word(i+1) == "[" {
		for i++; i < len(a.tokens) && a.word(i) != "]"; i++ {
		}
	}
	if i >= len(a.tokens) {
		return 0, false
	}
	return int(a.tokens[i].End), true
}
