// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"slices"
	"strings"

	"github.com/sidekey/sidekey/dbproxy/plan"
)

// What a cursor gives is known from its DECLARE. But a function may close a cursor and
// declare another under its name, and so may one that a trigger calls. A column that
// is one of a table as it is, the server names with every FETCH. For a value of an
// expression, the cursor has to be the one that was seen.

// keepsCursors says whether a statement surely declares and closes no cursor but as it
// says.
func keepsCursors(one *plan.Statement) bool {
	switch one.Command {
	case "SELECT", "FETCH", "DECLARECURSOR":
		return !one.Path && !one.Writes // and so calls no function that is not known
	case "TRANSACTION":
		return !one.Ends
	}
	return one.Command == "VARIABLESHOW" || one.Command == "VARIABLESET"
}

// sameCursor says whether a cursor is the one that was seen to be declared, as far as
// what it gives depends on it.
func (s *session) sameCursor(name string, p *portal) (bool, error) {
	one := p.statement.only()
	if !p.cursor || one == nil || !slices.ContainsFunc(one.Outputs, func(o plan.Output) bool { return !o.Origin }) {
		return true, nil
	}
	if p.seen == s.unseen {
		return !p.other, nil
	}
	if s.batchOpen {
		return false, &pgError{Code: codeNotSupported, Message: `cursor "` + name + `" cannot be used in a pipeline, behind statements that may have declared another`,
			Detail: "It gives expressions with protected columns.", Hint: "Send Sync first, and use FETCH."}
	}
	if err := s.settle(); err != nil {
		return false, err
	}
	rows, err := s.ask("SELECT statement, creation_time FROM pg_catalog.pg_cursors WHERE name OPERATOR(pg_catalog.=) '" + strings.ReplaceAll(name, "'", "''") + "'")
	if err != nil {
		return false, err
	}
	p.seen, p.other = s.unseen, true
	if len(rows) == 1 && rows[0][0] == p.declared && (p.created == "" || p.created == rows[0][1]) {
		p.created, p.other = rows[0][1], false
	}
	return !p.other, nil
}

// sent is the text that the server got.
func (st *statement) sent() string {
	if st.rewritten == nil {
		return st.lead + st.sql + st.tail
	}
	return st.lead + st.rewritten.SQL + st.tail
}

// fetched says whether the columns of FETCH that a table has as they are have the rules
// that its cursor had them with.
func fetched(one *plan.Statement, cat *plan.Catalog, columns []*plan.Output, origin func(int) plan.Attr) bool {
	if one.Fetch == nil {
		return true
	}
	for i, o := range columns {
		if o != nil && o.Origin && cat.Rule(origin(i)) != o.Rule {
			return false
		}
	}
	return true
}
