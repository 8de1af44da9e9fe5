// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"unicode/utf8"

	pg "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// analyzer collects the plan of one text. The first refusal stands; what is
// found after it does not matter, so that the walk need not stop.
type analyzer struct {
	sql    string
	cat    *Catalog
	opt    Options
	tokens []*pg.ScanToken

	stmt      *Statement
	start     int // of its text
	end       int
	touched   map[*Rule]bool
	moved     map[*Rule]bool // of the statement, see Statement.Moved
	compared  [][2]*Rule     // likewise, see Statement.Compared
	consts    []*constant    // of the statement
	casts     []*conversion  // likewise
	naming    target
	unnamed   []unnamed // of the statement
	result    *source   // the statement's result columns
	literals  []Literal
	edits     []Edit
	params    map[int]Param // sealed, by number
	lastParam int           // the highest number
	view      bool          // the text is a view's definition, as the server has it
	// reading, if not nil, is called before what is known of a relation is used.
	reading   func(*Relation)
	pathDirty bool // an earlier statement of the text may change the path
	reached   int  // the token up to which calls were looked for
	altered   bool // likewise, what tables and columns there are
	need      Need
	err       *Refusal
	resolves  []string
	ambiguous bool
	// positional says that a number names an output column.
	positional bool
	// kept says that the server keeps the statement's query, as in a view.
	kept bool
	// protects says that the statement names a table with protected columns, and
	// missing is a name in it that nothing has.
	protects  bool
	missing   *Refusal
	searching bool                                // search tokens are used
	called    *struct{ unknown, setsConfig bool } // of the whole text, once asked for
}

func (a *analyzer) refuse(loc int, message, hint string) {
	a.refuseCode(codeNotSupported, loc, message, "", hint)
}

func (a *analyzer) refuseCode(code string, loc int, message, detail, hint string) {
	if a.err == nil {
		a.err = &Refusal{Code: code, Message: message, Detail: detail, Hint: hint, Position: a.position(loc)}
	}
}

// position turns a byte offset into the protocol's character position.
func (a *analyzer) position(loc int) int {
	if loc < 0 || loc > len(a.sql) {
		return 0
	}
	return utf8.RuneCountInString(a.sql[:loc]) + 1
}

func (a *analyzer) needs(n Need) {
	if a.need != NeedCatalog {
		a.need = n
	}
}

func (a *analyzer) touch(r *Rule) { a.touched[r] = true }

// path is the search_path, nil if it is not known here.
func (a *analyzer) path() []string {
	if a.opt.Path == nil || a.pathDirty {
		return nil
	}
	return a.opt.Path.Search
}

// resolve finds what a name means and notes it.
func (a *analyzer) resolve(rv *pg.RangeVar) (*Relation, resolution) {
	rel, res := a.cat.resolve(rv.Schemaname, rv.Relname, a.path(), a.opt.Fresh)
	if rel != nil {
		if a.reading != nil {
			a.reading(rel)
		}
		a.stmt.Plain = append(a.stmt.Plain, rel.Plain...)
	}
	if rv.Schemaname != "" || !a.cat.concerns(rv.Relname) {
		return rel, res
	}
	schema := ""
	if rel != nil {
		schema = rel.Schema
	}
	a.resolves = append(a.resolves, schema)
	a.ambiguous = a.ambiguous || a.cat.ambiguous(rv.Relname)
	return rel, res
}

// relation finds the relation that a statement names: nil if no rule concerns
// it. One that must not be used is refused here.
func (a *analyzer) relation(rv *pg.RangeVar) *Relation {
	rel, res := a.resolve(rv)
	switch res {
	case needPath:
		a.needs(NeedPath)
		return nil
	case needCatalog:
		a.needs(NeedCatalog)
		if a.opt.Fresh {
			a.refuseCode(CodeNoTable, int(rv.Location), `relation "`+rv.Relname+`" does not exist`, "", "")
		}
		return nil
	case unprotected:
		return nil
	}
	if rel.Refuse != "" {
		a.refuse(int(rv.Location), rel.Refuse, rel.Hint)
		return nil
	}
	// What a view compares and mixes within itself, its other columns may tell.
	a.moves(rel.moved...)
	a.compared = append(a.compared, rel.compared...)
	if !rel.Protected {
		return nil
	}
	a.protects = true
	return rel
}

// open analyzes an expression that must not be a protected value.
func (a *analyzer) open(n *pg.Node, sc *scope) {
	if n.GetAConst() != nil {
		return
	}
	a.plainly(a.expr(n, sc), "cannot be used in this expression")
}

func (a *analyzer) openAll(nodes []*pg.Node, sc *scope) {
	for _, n := range nodes {
		a.open(n, sc)
	}
}

// refuseRule refuses what is done with a value of a protected column.
func (a *analyzer) refuseRule(r *Rule, loc int32, what string) {
	hint := "Only comparing it with =, <>, IN and IS NULL is possible, and selecting it as it is. Mode range also sorts and compares with <."
	switch {
	case r.Ordered:
		hint = "It can be compared and sorted, and selected as it is; the server cannot compute with it."
	case r.Search != nil:
		hint = searchHint(r)
	case !r.Equality:
		hint = "Its mode is random: only IS NULL can be asked of it, and it can be selected as it is. Mode equality also compares with = and IN."
	}
	a.refuse(int(loc), "protected column "+r.Name()+" "+what, hint)
}

// equality requires that values of a column can be compared.
func (a *analyzer) equality(v value, what string) { a.require(v, Compare, what) }

// children analyzes the expressions directly below a node that has no rules of
// its own: none of them may be a protected value.
func (a *analyzer) children(m protoreflect.Message, sc *scope) {
	eachNode(m, func(n *pg.Node) { a.open(n, sc) })
}

// eachNode calls f for the nearest nodes below a message.
func eachNode(m protoreflect.Message, f func(*pg.Node)) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.Message() == nil:
		case fd.IsList():
			for l, i := v.List(), 0; i < l.Len(); i++ {
				oneNode(l.Get(i).Message(), f)
			}
		default:
			oneNode(v.Message(), f)
		}
		return true
	})
}

func oneNode(m protoreflect.Message, f func(*pg.Node)) {
	switch x := m.Interface().(type) {
	case *pg.Node:
		f(x)
	case *pg.SelectStmt:
		f(&pg.Node{Node: &pg.Node_SelectStmt{SelectStmt: x}})
	case *pg.RangeVar:
		f(&pg.Node{Node: &pg.Node_RangeVar{RangeVar: x}})
	default:
		eachNode(m, f)
	}
}

// inner is the message that a node holds.
func inner(n *pg.Node) protoreflect.Message {
	m := n.ProtoReflect()
	fd := m.WhichOneof(m.Descriptor().Oneofs().Get(0))
	if fd == nil {
		return nil
	}
	return m.Get(fd).Message()
}
