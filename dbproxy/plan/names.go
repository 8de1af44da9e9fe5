// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// figureName is the name that PostgreSQL gives a column without AS
// (FigureColname of parse_target.c), and how sure it is of it.
func figureName(n *pg.Node) (name string, strength int) {
	switch x := n.GetNode().(type) {
	case *pg.Node_ColumnRef:
		if last := x.ColumnRef.Fields[len(x.ColumnRef.Fields)-1].GetString_(); last != nil {
			return last.Sval, 2
		}
	case *pg.Node_AIndirection:
		for i := len(x.AIndirection.Indirection) - 1; i >= 0; i-- {
			if s := x.AIndirection.Indirection[i].GetString_(); s != nil {
				return s.Sval, 2
			}
		}
		return figureName(x.AIndirection.Arg)
	case *pg.Node_FuncCall:
		return lastName(x.FuncCall.Funcname), 2
	case *pg.Node_AExpr:
		if x.AExpr.Kind == pg.A_Expr_Kind_AEXPR_NULLIF {
			return "nullif", 2
		}
	case *pg.Node_TypeCast:
		if name, strength = figureName(x.TypeCast.Arg); strength > 1 {
			return name, strength
		}
		return lastName(x.TypeCast.TypeName.GetNames()), 1
	case *pg.Node_CollateClause:
		return figureName(x.CollateClause.Arg)
	case *pg.Node_CaseExpr:
		if name, strength = figureName(x.CaseExpr.Defresult); strength > 1 {
			return name, strength
		}
		return "case", 1
	case *pg.Node_SubLink:
		return figureSubLink(x.SubLink)
	case *pg.Node_MinMaxExpr:
		if x.MinMaxExpr.Op == pg.MinMaxOp_IS_LEAST {
			return "least", 2
		}
		return "greatest", 2
	case *pg.Node_SqlvalueFunction:
		op := strings.TrimPrefix(x.SqlvalueFunction.Op.String(), "SVFOP_")
		return strings.TrimSuffix(strings.ToLower(op), "_n"), 2
	case *pg.Node_GroupingFunc:
		return "grouping", 2
	case *pg.Node_AArrayExpr:
		return "array", 2
	case *pg.Node_RowExpr:
		return "row", 2
	case *pg.Node_CoalesceExpr:
		return "coalesce", 2
	}
	return "?column?", 0
}

func figureSubLink(s *pg.SubLink) (name string, strength int) {
	switch s.SubLinkType {
	case pg.SubLinkType_EXISTS_SUBLINK:
		return "exists", 2
	case pg.SubLinkType_ARRAY_SUBLINK:
		return "array", 2
	case pg.SubLinkType_EXPR_SUBLINK:
		sel := s.Subselect.GetSelectStmt()
		for sel.GetLarg() != nil {
			sel = sel.Larg
		}
		if len(sel.GetValuesLists()) > 0 {
			return columnName(0), 2
		}
		if list := sel.GetTargetList(); len(list) > 0 {
			t := list[0].GetResTarget()
			if t.GetName() != "" {
				return t.Name, 2
			}
			name, _ = figureName(t.GetVal())
			return name, 2
		}
	}
	return "?column?", 0
}

func lastName(list []*pg.Node) string {
	if len(list) == 0 {
		return ""
	}
	return list[len(list)-1].GetString_().GetSval()
}

// operatorName is the name of an operator of pg_catalog, as far as is known.
func operatorName(list []*pg.Node) string {
	if len(list) == 2 && list[0].GetString_().GetSval() == "pg_catalog" {
		list = list[1:]
	}
	if len(list) != 1 {
		return ""
	}
	return list[0].GetString_().GetSval()
}

// functionName is the name of a function of pg_catalog, as far as is known.
func functionName(f *pg.FuncCall) string { return operatorName(f.Funcname) }

// unnamed is an item of a target list whose column has a name that depends on
// how a constant or cast in it is written.
type unnamed struct {
	target *pg.ResTarget
	name   string
	value  value
}

// nameColumns writes out the names of columns whose constants or casts are
// edited, since the server would name them after what it gets.
func (a *analyzer) nameColumns() {
	for _, u := range a.unnamed {
		if u.value.sealed() == nil || u.target.Val.GetCaseExpr() != nil {
			continue
		}
		end := a.targetEnd(int(u.target.Location))
		if end < 0 {
			a.refuse(int(u.target.Location), "this form of a column is not understood where protected values are mixed", "Name the column with AS.")
			continue
		}
		a.edits = append(a.edits, Edit{end, end, " AS " + quoteIdent(u.name)})
	}
	a.unnamed = nil
}

// targetEnd gives the end of the item of a target list that begins at an
// offset, -1 if it is not found.
func (a *analyzer) targetEnd(offset int) int {
	i := a.tokenAt(offset)
	if i < 0 {
		return -1
	}
	depth := 0
	for ; i < len(a.tokens); i++ {
		switch a.tokens[i].Token {
		case pg.Token_ASCII_40, pg.Token_ASCII_91: // ( [
			depth++
		case pg.Token_ASCII_41, pg.Token_ASCII_93: // ) ]
			depth--
		}
		if depth == 0 && a.endsTarget(i+1) {
			return int(a.tokens[i].End)
		}
	}
	return -1
}

// endsTarget says whether a token outside of parentheses ends an item of a
// target list.
func (a *analyzer) endsTarget(i int) bool {
	if i >= len(a.tokens) {
		return true
	}
	switch a.tokens[i].Token {
	case pg.Token_FROM:
		return a.tokens[i-1].Token != pg.Token_DISTINCT
	case pg.Token_ASCII_44, pg.Token_ASCII_41, pg.Token_ASCII_59, // , ) ;
		pg.Token_WHERE, pg.Token_GROUP_P, pg.Token_HAVING, pg.Token_WINDOW, pg.Token_UNION, pg.Token_INTERSECT, pg.Token_EXCEPT,
		pg.Token_ORDER, pg.Token_LIMIT, pg.Token_OFFSET, pg.Token_FETCH, pg.Token_FOR, pg.Token_INTO, pg.Token_ON, pg.Token_RETURNING:
		return true
	}
	return false
}
