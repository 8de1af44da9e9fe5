// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"
	"sort"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// A name that nothing in a statement has is an error, of which PostgreSQL logs the
// statement. What stands beside the name is not known to be a value of a protected
// column, as in
//
//	SELECT id FROM users WHERE emial = 'a@b'
//
// and so the statement must not get there with its constants.

// lacking are the commands of which all names are looked up in their own clauses.
var lacking = []string{"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "EXPLAIN", "DECLARECURSOR", "PREPARE", "COPY"}

// lacks notes that a name is none of a column or table that the statement has.
func (a *analyzer) lacks(code string, loc int, name, message string) {
	if a.missing != nil || a.altered && strings.Contains(lowerASCII(a.sql[:a.start]), lowerASCII(name)) {
		return // an earlier statement of the text may have made it
	}
	a.missing = &Refusal{Code: code, Message: message, Position: a.position(loc)}
}

func (a *analyzer) lacksTable(name string, loc int32) {
	a.lacks(CodeNoTable, int(loc), name, `missing FROM-clause entry for table "`+name+`"`)
}

func (a *analyzer) lacksColumn(name string, loc int32) {
	a.lacks(CodeNoColumn, int(loc), name, `column "`+name+`" does not exist`)
}

// lacksTarget refuses a column that is not one of the table that is written to.
func (a *analyzer) lacksTarget(rel *Relation, t *pg.ResTarget) {
	a.needs(NeedCatalog)
	if a.opt.Fresh {
		a.refuseCode(CodeNoColumn, int(t.Location), `column "`+t.Name+`" of relation "`+rel.Name+`" does not exist`, "", "")
	}
}

// lacksField notes or refuses t.name, which may also mean the function name(t).
func (a *analyzer) lacksField(table, name string, loc int) {
	message, hint := "column "+table+"."+name+" is not known", "A function cannot be applied to the row of a table with protected columns."
	if a.missing != nil || a.view || a.altered || !slices.Contains(lacking, a.stmt.Command) {
		a.refuse(loc, message, hint)
		return
	}
	a.missing = &Refusal{Code: codeNotSupported, Message: message, Hint: hint, Position: a.position(loc)}
}

// takeMissing has a name count that a statement with a protected table lacks.
func (a *analyzer) takeMissing(p *Plan) {
	if p.Missing == nil && a.protects && slices.Contains(lacking, a.stmt.Command) {
		p.Missing = a.missing
	}
	a.missing, a.protects = nil, false
}

// hasRow says whether a name can stand for the row of a table.
func (sc *scope) hasRow(name string) bool { return findSource("", name, sc) != nil }

// sees says whether a name may be that of a column of this level.
func (sc *scope) sees(name string) bool {
	return slices.ContainsFunc(sc.sources, func(s *source) bool {
		_, ok := s.field(name)
		return s.bare && (ok || s.open())
	})
}

// Blank is the text without its constants, sealed or not: what the server says of
// the names in it, it says of the text. It is not to be executed.
func (p *Plan) Blank(sql string) (*Rewritten, error) {
	res, err := pg.Scan(sql)
	if err != nil {
		return nil, err
	}
	blank := Plan{Literals: p.Literals, Edits: slices.Clone(p.Edits)}
	for i, t := range res.Tokens {
		text := ""
		switch t.Token {
		case pg.Token_SCONST, pg.Token_USCONST, pg.Token_BCONST, pg.Token_XCONST:
			text = "NULL"
			if i > 0 {
				text = blankOf(res.Tokens[i-1], sql)
			}
		case pg.Token_ICONST:
			text = "1"
		case pg.Token_FCONST:
			text = "1.0"
		}
		if at := int(t.Start); text != "" && !p.replaces(at) {
			blank.Edits = append(blank.Edits, Edit{at, int(t.End), text})
		}
	}
	sort.SliceStable(blank.Edits, func(i, j int) bool { return blank.Edits[i].Start < blank.Edits[j].Start })
	return blank.Rewrite(sql, func(Literal) ([][]byte, error) { return [][]byte{{}}, nil })
}

// blankOf stands for a string behind a token, which may end the name of its type.
func blankOf(before *pg.ScanToken, sql string) string {
	named := before.Token == pg.Token_IDENT || before.Token == pg.Token_ZONE || before.Token == pg.Token_ASCII_41 || // )
		before.KeywordKind == pg.KeywordKind_COL_NAME_KEYWORD
	switch name := lowerASCII(sql[before.Start:before.End]); {
	case !named:
		return "NULL"
	case strings.HasPrefix(name, "date") || strings.HasPrefix(name, "timestamp") || name == "zone":
		return "'epoch'"
	}
	return "'0'"
}

// replaces says whether what stands at an offset is replaced.
func (p *Plan) replaces(at int) bool {
	return slices.ContainsFunc(p.Edits, func(e Edit) bool { return e.Start <= at && at < e.End }) ||
		slices.ContainsFunc(p.Literals, func(l Literal) bool { return l.Start <= at && at < l.End })
}
