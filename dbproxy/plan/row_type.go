// SPDX-License-Identifier: Apache-2.0

package plan

import (
	pg "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// rowTypes refuses the row type of a table with protected columns as the type
// of a value or column: what is in such a row would be neither sealed nor
// guarded, and shown as bytea. In the signature of a function it may stand; the
// function's rows are refused, or are ciphertext.
func (a *analyzer) rowTypes(n *pg.Node) {
	switch n.Node.(type) {
	case *pg.Node_CreateFunctionStmt, *pg.Node_AlterFunctionStmt, *pg.Node_DefineStmt, *pg.Node_CreateCastStmt, *pg.Node_CreateTransformStmt,
		*pg.Node_DropStmt, *pg.Node_CommentStmt, *pg.Node_GrantStmt, *pg.Node_AlterOwnerStmt, *pg.Node_RenameStmt, *pg.Node_AlterObjectDependsStmt:
		return
	}
	if a.typed() {
		a.rowTypesIn(n.ProtoReflect())
	}
}

// typed says whether a name that matters stands where a type can: it spares most
// statements the walk.
func (a *analyzer) typed() bool {
	for i, t := range a.tokens {
		if int(t.Start) < a.start || int(t.Start) >= a.end {
			continue
		}
		name := identifier(a.text(t))
		if t.Token != pg.Token_UIDENT && !a.cat.concerns(name) && a.cat.elementOf(name) == "" {
			continue
		}
		before := i - 1
		if a.word(before) == "." {
			before -= 2
		}
		if i+1 < len(a.tokens) && a.tokens[i+1].Token == pg.Token_SCONST { // type 'value'
			return true
		}
		if before < 0 {
			continue
		}
		switch token := a.tokens[before].Token; token {
		case pg.Token_TYPECAST, pg.Token_AS, pg.Token_IDENT, pg.Token_ASCII_40, pg.Token_ASCII_44, pg.Token_SETOF, pg.Token_TYPE_P: // ( ,
			return true
		default:
			if k := a.tokens[before].KeywordKind; k == pg.KeywordKind_UNRESERVED_KEYWORD || k == pg.KeywordKind_COL_NAME_KEYWORD {
				return true // it may be the name of a column
			}
		}
	}
	return false
}

func (a *analyzer) rowTypesIn(m protoreflect.Message) {
	if t, ok := m.Interface().(*pg.TypeName); ok {
		a.rowType(t)
		return
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.Message() == nil:
		case fd.IsList():
			for l, i := v.List(), 0; i < l.Len(); i++ {
				a.rowTypesIn(l.Get(i).Message())
			}
		default:
			a.rowTypesIn(v.Message())
		}
		return true
	})
}

func (a *analyzer) rowType(t *pg.TypeName) {
	path := names(t.Names)
	if len(path) == 0 || len(path) > 2 || t.PctType {
		return
	}
	rv := &pg.RangeVar{Relname: path[len(path)-1], Location: t.Location}
	if element := a.cat.elementOf(rv.Relname); element != "" && !a.cat.concerns(rv.Relname) {
		rv.Relname = element
	}
	if len(path) == 2 {
		rv.Schemaname = path[0]
	}
	if a.reaches(rv) {
		a.refuse(int(t.Location), "the row type of "+rv.Relname+" cannot be used: the table has protected columns", "Name the columns and their types.")
	}
}
