// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"
	"strconv"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// CopyFormat is the format of COPY's data.
type CopyFormat int

// Formats of COPY.
const (
	CopyText CopyFormat = iota
	CopyCSV
	CopyBinary
)

// CopyHeader says what the first line of COPY's data is.
type CopyHeader int

// Headers of COPY.
const (
	NoHeader CopyHeader = iota
	Header
	HeaderMatch
)

// Copy is a COPY of protected columns over the client's connection.
type Copy struct {
	// From says that it is COPY FROM STDIN.
	From bool
	// Table is the name that PostgreSQL's messages give the table; empty for
	// the result of a query.
	Table   string
	Columns []CopyColumn

	Format           CopyFormat
	Delimiter        byte
	Quote, Escape    byte // of CSV
	Null             string
	Default          string // marker of a column's default, if HasDefault
	HasDefault       bool
	Header           CopyHeader
	ForceQuote       []string // columns of FORCE_QUOTE
	ForceQuoteAll    bool
	ForceNull        []string
	ForceNullAll     bool
	ForceNotNull     []string
	ForceNotNullAll  bool
	delimited, nulls bool
	// Invalid says that an option has a value which the server must refuse.
	Invalid bool
}

// CopyColumn is one column of the data.
type CopyColumn struct {
	Name string
	// Rule is nil for a column that is not protected: its bytes pass as they are.
	Rule *Rule
}

// Rules are those of the protected columns, in order.
func (c *Copy) Rules() []*Rule {
	var rules []*Rule
	for _, col := range c.Columns {
		if col.Rule != nil {
			rules = append(rules, col.Rule)
		}
	}
	return rules
}

// copy analyzes COPY.
func (a *analyzer) copy(s *pg.CopyStmt) {
	c := &Copy{From: s.IsFrom}
	switch {
	case s.Query != nil:
		a.copyQuery(c, s.Query)
	case s.Relation != nil:
		a.copyTable(c, s)
	}
	if len(a.touched) == 0 {
		return
	}
	if s.Filename != "" || s.IsProgram {
		a.refuse(-1, "COPY with a file or program of the server is not supported for protected columns",
			"Use COPY .. FROM STDIN or TO STDOUT, such as \\copy of psql.")
	}
	if len(c.Rules()) == 0 {
		return // they are in conditions only
	}
	a.copyOptions(c, s.Options)
	a.stmt.Copy = c
}

// copyTable analyzes COPY of a table. A missing column list is written out, so
// that the text means the same columns whatever happens to the table.
func (a *analyzer) copyTable(c *Copy, s *pg.CopyStmt) {
	rel := a.relation(s.Relation)
	a.stmt.Writes = s.IsFrom
	target := a.relationSource(rel, s.Relation)
	a.condition(s.WhereClause, &scope{sources: []*source{target}})
	if rel == nil {
		return
	}
	c.Table = rel.Name
	if len(s.Attlist) == 0 {
		a.copyAll(c, rel, s)
		return
	}
	for _, n := range s.Attlist {
		name := n.GetString_().GetSval()
		col := rel.column(name)
		if col == nil {
			a.needs(NeedCatalog)
			a.refuseIfFresh("42703", `column "`+name+`" of relation "`+rel.Name+`" does not exist`)
			return
		}
		a.copyColumn(c, col)
	}
}

func (a *analyzer) copyColumn(c *Copy, col *Column) {
	c.Columns = append(c.Columns, CopyColumn{col.Name, col.Rule})
	if col.Rule != nil {
		a.touch(col.Rule)
	}
}

// copyAll writes out the list of all columns that COPY copies.
func (a *analyzer) copyAll(c *Copy, rel *Relation, s *pg.CopyStmt) {
	i := a.tokenAt(int(s.Relation.Location))
	if i < 0 {
		a.refuse(-1, "this form of COPY is not understood", "List the columns.")
		return
	}
	for a.word(i+1) == "." {
		i += 2
	}
	var list []string
	for n := range rel.Columns {
		if rel.Columns[n].Generated {
			continue
		}
		list = append(list, quoteIdent(rel.Columns[n].Name))
		a.copyColumn(c, &rel.Columns[n])
	}
	end := int(a.tokens[i].End)
	a.edits = append(a.edits, Edit{end, end, " (" + strings.Join(list, ", ") + ")"})
}

// copyQuery analyzes COPY (query) TO. The values of its protected columns are
// found by their place, so that every place has to be known.
func (a *analyzer) copyQuery(c *Copy, n *pg.Node) {
	var out *source
	switch x := n.Node.(type) {
	case *pg.Node_SelectStmt:
		out = a.query(x.SelectStmt, nil)
		if x.SelectStmt.IntoClause != nil {
			a.settle(out, "cannot be copied into another table")
		}
	case *pg.Node_InsertStmt:
		out = a.insert(x.InsertStmt, nil)
	case *pg.Node_UpdateStmt:
		out = a.update(x.UpdateStmt, nil)
	case *pg.Node_DeleteStmt:
		out = a.delete(x.DeleteStmt, nil)
	default:
		a.reach(n)
		return
	}
	a.outputs(out)
	a.resolveConstants()
	a.finishOutputs()
	for _, f := range out.fields {
		c.Columns = append(c.Columns, CopyColumn{f.name, f.sealed()})
		if f.array && f.sealed() != nil {
			a.refuseRule(f.sealed(), f.loc, "cannot be copied in an array")
		}
	}
	a.stmt.Outputs = nil
	if len(c.Rules()) > 0 && (out.open() || expandsRow(n)) {
		a.refuse(-1, "COPY of a query with protected columns needs to know all its columns", "List the columns instead of *.")
	}
}

// expandsRow says whether a target of the query is (composite).*, which gives
// more columns than it has targets.
func expandsRow(n *pg.Node) bool {
	sel := n.GetSelectStmt()
	targets := sel.GetTargetList()
	for _, list := range [][]*pg.Node{n.GetInsertStmt().GetReturningList(), n.GetUpdateStmt().GetReturningList(), n.GetDeleteStmt().GetReturningList()} {
		targets = append(targets, list...)
	}
	return slices.ContainsFunc(targets, func(t *pg.Node) bool {
		parts := t.GetResTarget().GetVal().GetAIndirection().GetIndirection()
		return len(parts) > 0 && parts[len(parts)-1].GetAStar() != nil
	})
}

// copyOptions reads COPY's options, which the grammar gives one form whatever
// syntax they were written in.
func (a *analyzer) copyOptions(c *Copy, options []*pg.Node) {
	for _, n := range options {
		a.copyOption(c, n.GetDefElem())
	}
	csv := c.Format == CopyCSV
	if !c.delimited {
		if c.Delimiter = '\t'; csv {
			c.Delimiter = ','
		}
	}
	if !c.nulls && !csv {
		c.Null = `\N`
	}
	if c.Quote == 0 {
		c.Quote = '"'
	}
	if c.Escape == 0 {
		c.Escape = c.Quote
	}
}

func (a *analyzer) copyOption(c *Copy, d *pg.DefElem) {
	text, given := optionText(d.GetArg())
	one := func() byte {
		if len(text) != 1 {
			c.Invalid = true
			return 0
		}
		return text[0]
	}
	switch d.GetDefname() {
	case "format":
		c.format(text)
	case "delimiter":
		c.Delimiter, c.delimited = one(), true
	case "null":
		c.Null, c.nulls = text, true
		c.Invalid = c.Invalid || !given
	case "default":
		c.Default, c.HasDefault = text, true
	case "quote":
		c.Quote = one()
	case "escape":
		c.Escape = one()
	case "header":
		c.header(text, given)
	case "force_quote":
		c.ForceQuote, c.ForceQuoteAll = optionColumns(d.Arg)
	case "force_null":
		c.ForceNull, c.ForceNullAll = optionColumns(d.Arg)
	case "force_not_null":
		c.ForceNotNull, c.ForceNotNullAll = optionColumns(d.Arg)
	case "encoding":
		if name := strings.ReplaceAll(lowerASCII(text), "-", ""); name != "utf8" && name != "unicode" {
			a.refuse(int(d.Location), "COPY of protected columns needs ENCODING UTF8", "")
		}
	case "freeze", "log_verbosity":
	case "on_error":
		if lowerASCII(text) != "stop" {
			a.refuse(int(d.Location), "COPY of protected columns cannot pass over errors", "Use ON_ERROR stop.")
		}
	default:
		a.refuse(int(d.GetLocation()), `option "`+d.GetDefname()+`" of COPY is not supported for protected columns`, "")
	}
}

func (c *Copy) format(name string) {
	switch name {
	case "text":
		c.Format = CopyText
	case "csv":
		c.Format = CopyCSV
	case "binary":
		c.Format = CopyBinary
	default:
		c.Invalid = true
	}
}

func (c *Copy) header(text string, given bool) {
	switch lowerASCII(text) {
	case "true", "on", "1":
		c.Header = Header
	case "false", "off", "0":
		c.Header = NoHeader
	case "match":
		c.Header = HeaderMatch
	default:
		c.Header, c.Invalid = Header, c.Invalid || given
	}
}

// optionText is the value of an option as defGetString of the server reads it.
func optionText(n *pg.Node) (text string, given bool) {
	if n == nil || n.Node == nil {
		return "", false
	}
	switch x := n.Node.(type) {
	case *pg.Node_String_:
		return x.String_.Sval, true
	case *pg.Node_Boolean:
		return strconv.FormatBool(x.Boolean.Boolval), true
	case *pg.Node_Integer:
		return strconv.Itoa(int(x.Integer.Ival)), true
	case *pg.Node_Float:
		return x.Float.Fval, true
	case *pg.Node_TypeName:
		if names := x.TypeName.Names; len(names) > 0 {
			return names[len(names)-1].GetString_().GetSval(), true
		}
	}
	return "", true
}

// optionColumns is a list of columns, or * for all.
func optionColumns(n *pg.Node) (names []string, all bool) {
	if n.GetAStar() != nil {
		return nil, true
	}
	for _, item := range n.GetList().GetItems() {
		names = append(names, item.GetString_().GetSval())
	}
	return names, false
}
