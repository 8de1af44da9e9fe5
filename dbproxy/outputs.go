// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/sidekey/sidekey/dbproxy/plan"
)

// columnsOf finds the protected columns of a result: by their place, and where
// the plan does not know it, by their origin. A column whose origin is a
// protected one and which is not expected is an error; nil if there is none.
func (s *session) columnsOf(e *entry, m *pgproto3.RowDescription) ([]*plan.Output, *pgError) {
	if e.own != nil && e.statement == nil && e.portal == nil {
		return nil, nil
	}
	cat := s.catalog.Load()
	if cat == nil {
		return nil, nil
	}
	one := s.expected(e)
	if one != nil && one.Unseen {
		return s.unseenColumns(cat.cat, m)
	}
	if one == nil || len(one.Outputs) == 0 {
		if originated(cat.cat, m.Fields) {
			return nil, s.unexpected()
		}
		return nil, nil
	}
	columns := make([]*plan.Output, len(m.Fields))
	// Another session may have added columns; those of the plan are found by
	// their origin then.
	counted := one.Columns < 0 || one.Columns == len(m.Fields)
	if !placeOutputs(cat.cat, one.Outputs, m.Fields, columns, counted) ||
		!fetched(one, cat.cat, columns, func(i int) plan.Attr { return originOf(&m.Fields[i]) }) || s.masksDiffer(cat.cat, columns, m.Fields) {
		return nil, s.unexpected()
	}
	return columns, nil
}

// masksDiffer says whether the origin of a column has a mask that the column expected
// in its place has not: they may share a domain, and the name of a statement or cursor
// may not mean any more what it meant.
func (s *session) masksDiffer(cat *plan.Catalog, columns []*plan.Output, fields []pgproto3.FieldDescription) bool {
	if s.masks == nil {
		return false
	}
	for i, o := range columns {
		if o == nil {
			continue
		}
		origin := cat.Rule(originOf(&fields[i]))
		if origin == nil || origin == o.Rule || s.maskOf(origin) == nil {
			continue
		}
		if expected := s.maskOf(o.Rule); expected == nil || expected.show != s.maskOf(origin).show {
			return true
		}
	}
	return false
}

// unseenColumns are those of a result whose statement is not known: the
// protected ones are those of its origins.
func (s *session) unseenColumns(cat *plan.Catalog, m *pgproto3.RowDescription) ([]*plan.Output, *pgError) {
	var columns []*plan.Output
	for i := range m.Fields {
		f := &m.Fields[i]
		r := cat.Rule(originOf(f))
		if r == nil {
			continue
		}
		if f.DataTypeOID != plan.Bytea {
			return nil, s.unexpected()
		}
		if err := permitStyle(r, s.current()); err != nil {
			return nil, asPgError(err)
		}
		if columns == nil {
			columns = make([]*plan.Output, len(m.Fields))
		}
		columns[i] = &plan.Output{Rule: r, Type: r.Type, Left: i, Right: -1, Origin: true}
	}
	return columns, nil
}

// rulesOf are the rules of outputs.
func rulesOf(outputs []plan.Output) []*plan.Rule {
	rules := make([]*plan.Rule, 0, len(outputs))
	for i := range outputs {
		rules = append(rules, outputs[i].Rule)
	}
	return rules
}

func originOf(f *pgproto3.FieldDescription) plan.Attr {
	return plan.Attr{Table: f.TableOID, Column: int16(f.TableAttributeNumber)}
}

func originated(cat *plan.Catalog, fields []pgproto3.FieldDescription) bool {
	for i := range fields {
		if cat.Rule(originOf(&fields[i])) != nil {
			return true
		}
	}
	return false
}

// placeOutputs finds the column of each output, and says whether all are as expected.
// If the columns are not as many as the plan says, only their origin counts.
func placeOutputs(cat *plan.Catalog, outputs []plan.Output, fields []pgproto3.FieldDescription, columns []*plan.Output, counted bool) bool {
	at := -1
	for n := range outputs {
		o := &outputs[n]
		switch {
		case o.Left >= 0 && counted:
			at = o.Left
		case o.Right >= 0 && counted:
			at = len(fields) - 1 - o.Right
		default:
			// Outputs are in order, so it is the next of its origin.
			for at++; at < len(fields) && cat.Rule(originOf(&fields[at])) == nil; {
				at++
			}
		}
		if at < 0 || at >= len(fields) || columns[at] != nil || !isOutput(cat, o, &fields[at]) {
			return false
		}
		columns[at] = o
	}
	for i := range fields {
		if columns[i] == nil && cat.Rule(originOf(&fields[i])) != nil {
			return false
		}
	}
	return true
}

// isOutput says whether a result column can be what the plan expects there.
func isOutput(cat *plan.Catalog, o *plan.Output, f *pgproto3.FieldDescription) bool {
	stored := plan.Bytea
	if o.Array {
		stored = plan.ByteaArray
	}
	origin := cat.Rule(originOf(f))
	if f.DataTypeOID != stored || origin == nil {
		return f.DataTypeOID == stored && !o.Origin
	}
	return origin.Binding == o.Rule.Binding
}

// describe gives a column the type that the client knows.
func describe(f *pgproto3.FieldDescription, o *plan.Output) {
	if o.Cast {
		f.TableOID, f.TableAttributeNumber = 0, 0
	}
	f.DataTypeOID, f.TypeModifier, f.DataTypeSize = o.Type.Wire()
	if o.Array {
		f.DataTypeOID, f.DataTypeSize = plan.ArrayOf(o.Type.OID), -1
	}
}

// expected is the plan of the statement that is being answered, nil if there is
// none.
func (s *session) expected(e *entry) *plan.Statement {
	if e.query != nil {
		return e.query.current()
	}
	return s.describedBy(e).only()
}
