// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// Inner is the statement within PREPARE or DECLARE CURSOR.
type Inner struct {
	// Name is that of the prepared statement or cursor.
	Name string
	SQL  string
	// Cursor says that it is of DECLARE CURSOR; Binary and Hold are its options.
	Cursor, Binary, Hold bool
	// Declared are the types that PREPARE gives its parameters, in order;
	// Unspecified for one that is not known here.
	Declared []uint32
}

// Execute is EXECUTE of a prepared statement, perhaps within EXPLAIN or
// CREATE TABLE AS. What its arguments are for, only the session knows.
type Execute struct {
	Name      string
	Explained bool
	Created   bool // a table is made of the result
	args      []argument
}

type argument struct {
	constant
	known    bool // it is a constant
	list     bool // it is ARRAY[elements]
	elements []constant
	position int // in characters
}

// Fetch is FETCH or MOVE.
type Fetch struct {
	Name string
	Move bool
}

// Options of DECLARE CURSOR (parsenodes.h).
const (
	cursorBinary = 1 << 0
	cursorHold   = 1 << 5
)

// names notes which prepared statement or cursor a statement makes or uses.
func (a *analyzer) names(n *pg.Node) {
	switch x := n.Node.(type) {
	case *pg.Node_PrepareStmt:
		a.stmt.Path, a.stmt.Settings = a.calls()
		in := &Inner{Name: x.PrepareStmt.Name}
		for _, t := range x.PrepareStmt.Argtypes {
			in.Declared = append(in.Declared, declaredType(t.GetTypeName()))
		}
		a.inner(in, "as")
	case *pg.Node_DeclareCursorStmt:
		s := x.DeclareCursorStmt
		a.stmt.Path, a.stmt.Settings = a.calls()
		a.inner(&Inner{Name: s.Portalname, Cursor: true, Binary: s.Options&cursorBinary != 0, Hold: s.Options&cursorHold != 0}, "for")
	case *pg.Node_ExecuteStmt:
		a.execute(x.ExecuteStmt, Execute{})
	case *pg.Node_ExplainStmt:
		if s, created := executed(x.ExplainStmt.Query); s != nil {
			a.execute(s, Execute{Explained: true, Created: created})
		}
	case *pg.Node_CreateTableAsStmt:
		if s, _ := executed(n); s != nil {
			a.execute(s, Execute{Created: true})
		}
	case *pg.Node_FetchStmt:
		a.stmt.Path, a.stmt.Settings = true, true // what the cursor calls is not seen
		a.stmt.Fetch = &Fetch{x.FetchStmt.Portalname, x.FetchStmt.Ismove}
	case *pg.Node_ClosePortalStmt:
		a.stmt.Closes, a.stmt.ClosesAll = x.ClosePortalStmt.Portalname, x.ClosePortalStmt.Portalname == ""
	}
}

// executed is the EXECUTE within EXPLAIN or CREATE TABLE AS.
func executed(n *pg.Node) (s *pg.ExecuteStmt, created bool) {
	if as := n.GetCreateTableAsStmt(); as != nil {
		return as.Query.GetExecuteStmt(), true
	}
	return n.GetExecuteStmt(), false
}

// declaredType is the type that PREPARE gives a parameter; length and
// precision have no meaning there.
func declaredType(n *pg.TypeName) uint32 {
	if n == nil {
		return Unspecified
	}
	t, ok := typeOf(&pg.TypeName{Names: n.Names, Setof: n.Setof, PctType: n.PctType})
	switch {
	case !ok:
		return Unspecified
	case len(n.ArrayBounds) > 0:
		return ArrayOf(t.OID)
	}
	return t.OID
}

// inner finds the text of the statement behind the word that leads to it.
func (a *analyzer) inner(in *Inner, lead string) {
	// The first two tokens are the command and the name.
	i, depth := a.firstToken()+2, 0
	for ; i < len(a.tokens) && int(a.tokens[i].Start) < a.end; i++ {
		switch w := a.word(i); {
		case w == "(":
			depth++
		case w == ")":
			depth--
		case w == lead && depth == 0 && i+1 < len(a.tokens):
			in.SQL = a.sql[a.tokens[i+1].Start:a.end]
			a.stmt.Inner = in
			return
		}
	}
	a.refuse(-1, a.commandName()+" is not understood in this form", "")
}

// firstToken is the index of the statement's first token.
func (a *analyzer) firstToken() int {
	for i, t := range a.tokens {
		if int(t.Start) >= a.start {
			return i
		}
	}
	return len(a.tokens)
}

// prepare analyzes PREPARE. Its parameters are not those of the text: they are
// sealed in EXECUTE, or by the protocol.
func (a *analyzer) prepare(s *pg.PrepareStmt) {
	params, last := a.params, a.lastParam
	a.params, a.lastParam = nil, 0
	a.statement(s.Query)
	a.resolveConstants()
	a.result, a.stmt.Writes = nil, false
	for n, p := range a.params {
		if p.Source > 0 {
			a.refuse(p.Location, fmt.Sprintf("parameter $%d is used for protected column %s and for something else", p.Source, p.Rule.Name()),
				"Pass the value twice, as two parameters.")
		} else if n <= len(s.Argtypes) {
			a.retype(s.Argtypes[n-1].GetTypeName(), n, p)
		}
	}
	a.params, a.lastParam = params, last
}

// retype edits the type that PREPARE gives a parameter.
func (a *analyzer) retype(t *pg.TypeName, n int, p Param) {
	i := a.tokenAt(int(t.GetLocation()))
	if i < 0 || declaredType(t) == Unspecified {
		a.refuse(int(t.GetLocation()), fmt.Sprintf("the type of parameter $%d is not understood for protected column %s", n, p.Rule.Name()), "Give the parameter the column's type.")
		return
	}
	start, depth := int(a.tokens[i].Start), 0
	for ; i+1 < len(a.tokens); i++ {
		next := a.word(i + 1)
		if depth == 0 && (next == "," || next == ")") {
			break
		}
		if next == "(" {
			depth++
		} else if next == ")" {
			depth--
		}
	}
	text := "bytea"
	if p.Array || p.Match != nil {
		text = "bytea[]"
	}
	a.edits = append(a.edits, Edit{start, int(a.tokens[i].End), text})
}

// declare analyzes DECLARE CURSOR: the columns are those of FETCH.
func (a *analyzer) declare(s *pg.DeclareCursorStmt) {
	a.statement(s.Query)
	a.result = nil
}

// execute reads the arguments of EXECUTE.
func (a *analyzer) execute(s *pg.ExecuteStmt, x Execute) {
	a.stmt.Path = true
	x.Name = s.Name
	for _, n := range s.Params {
		arg := argument{position: a.position(location(n))}
		if arr := n.GetAArrayExpr(); arr != nil {
			arg.list, arg.known = true, true
			for _, item := range arr.Elements {
				c, ok := a.constant(item)
				arg.known = arg.known && ok && c.param == 0
				arg.elements = append(arg.elements, c)
			}
		} else {
			arg.constant, arg.known = a.constant(n)
			arg.known = arg.known && arg.param == 0
		}
		x.args = append(x.args, arg)
	}
	a.stmt.Execute = &x
}

// Private says whether the plan holds constants of the text that may turn out
// to be protected values.
func (p *Plan) Private() bool {
	for i := range p.Statements {
		if x := p.Statements[i].Execute; x != nil && len(x.args) > 0 {
			return true
		}
	}
	return false
}

// Bind gives what has to be changed in EXECUTE's arguments, for a prepared
// statement with this plan and parameters of these types.
func (x *Execute) Bind(inner *Plan, declared []uint32) ([]Literal, []Edit, *Refusal) {
	var literals []Literal
	var edits []Edit
	for n, p := range inner.Params {
		if p.Source > 0 {
			return nil, nil, &Refusal{Code: codeNotSupported, Message: fmt.Sprintf("parameter $%d of the prepared statement is used for protected column %s and for something else", p.Source, p.Rule.Name()),
				Hint: "Pass the value twice, as two parameters.", Detail: fmt.Sprintf("For the server it is also parameter $%d.", n)}
		}
	}
	if want := max(inner.NumParams, len(declared)); want != len(x.args) {
		// One too many would get to the server as it is.
		return nil, nil, &Refusal{Code: codeSyntax, Message: fmt.Sprintf("wrong number of parameters for prepared statement \"%s\"", x.Name),
			Detail: fmt.Sprintf("Expected %d parameters but got %d.", want, len(x.args))}
	}
	for n, p := range inner.Params {
		arg := &x.args[n-1]
		oid := p.OID
		if n <= len(declared) {
			oid = declared[n-1]
		}
		if !arg.known || arg.list && (!p.Array || p.Match != nil) {
			return nil, nil, arg.refusal(n, p.Rule, "it must be a literal")
		}
		constants := arg.elements
		if !arg.list {
			constants = []constant{arg.constant}
		}
		if p.Array {
			oid = ElementOf(oid)
		}
		untyped, mixed := arg.elementType(oid)
		if mixed {
			return nil, nil, arg.refusal(n, p.Rule, "its elements have different types")
		}
		for _, c := range constants {
			if why := c.unsealable(p.Rule); why != "" && !c.null {
				return nil, nil, arg.refusal(n, p.Rule, why)
			}
			array := p.Array && !arg.list
			if array && c.retype != nil && !c.null {
				return nil, nil, arg.refusal(n, p.Rule, "a cast of an array is not understood")
			}
			if p.Match != nil && c.retype != nil {
				return nil, nil, arg.refusal(n, p.Rule, "a cast of a pattern is not understood")
			}
			if c.retype != nil {
				edits = append(edits, *c.retype)
			}
			if c.null {
				continue
			}
			if c.oid == Unspecified {
				c.oid = untyped
			}
			as, ok := c.assigned(oid, p)
			if !ok {
				return nil, nil, arg.refusal(n, p.Rule, "its cast is not understood")
			}
			literals = append(literals, Literal{Start: c.start, End: c.end, Value: c.text, OID: c.oid, As: as, Rule: p.Rule, Cast: c.retype == nil, Array: array, Match: p.Match, Use: p.Use, Since: c.since})
		}
	}
	return literals, edits, nil
}

// elementType is what an argument without a type is read as: the parameter's, but text
// in ARRAY['a', 'b']. mixed says that it is not known, beside elements of other types.
func (arg *argument) elementType(oid uint32) (untyped uint32, mixed bool) {
	if !arg.list {
		return oid, false
	}
	var types []uint32
	for _, c := range arg.elements {
		if !c.null && !slices.Contains(types, c.oid) {
			types = append(types, c.oid)
		}
	}
	if len(types) < 2 {
		return Text, false
	}
	// Integers and numerics become each other without loss, before they are assigned.
	exact := func(t uint32) bool { return t == Int2 || t == Int4 || t == Int8 || t == Numeric }
	return oid, slices.ContainsFunc(types, func(t uint32) bool {
		return !exact(t) && (t != Unspecified || !slices.Contains(types, oid) || len(types) > 2)
	})
}

// assigned is what an argument of EXECUTE is made before it is the parameter's value:
// it is assigned to the parameter's type, and then cast as the prepared statement says.
func (c *constant) assigned(oid uint32, p Param) (as *Type, ok bool) {
	switch {
	case p.Match != nil, c.oid == oid && p.As == nil:
		return c.as, true
	case p.As != nil:
		return p.As, c.as == nil && p.As.OID == oid
	case oid == p.Rule.Type.OID:
		t := p.Rule.Type
		t.Typmod = -1
		return &t, c.as == nil
	}
	return &Type{OID: oid, Typmod: -1}, c.as == nil
}

func (arg *argument) refusal(n int, rule *Rule, why string) *Refusal {
	return &Refusal{Code: codeNotSupported, Message: fmt.Sprintf("parameter $%d is for protected column %s", n, rule.Name()), Detail: "This argument cannot be sealed: " + why + ".",
		Hint: "Write a plain literal of type " + rule.Type.String() + ", or use the protocol's Bind.", Position: arg.position}
}
