// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/sidekey/sidekey/dbproxy/plan"
)

// declare sets the parameter types that the server is told, and keeps those
// that the client believes in.
func (st *statement) declare(m *pgproto3.Parse) error {
	st.declared = slices.Clone(m.ParameterOIDs)
	if added := st.addedParams(); len(added) > 0 && len(m.ParameterOIDs) >= added[0] {
		return failf(codeNotSupported, "the statement declares more parameters than it has")
	}
	for n := range st.plan.Params {
		for len(m.ParameterOIDs) < n {
			m.ParameterOIDs = append(m.ParameterOIDs, plan.Unspecified)
		}
		for len(st.declared) < n {
			st.declared = append(st.declared, plan.Unspecified)
		}
	}
	numbers := slices.Sorted(maps.Keys(st.plan.Params)) // added ones are the last
	for _, n := range numbers {
		p := st.plan.Params[n]
		if p.Source > 0 {
			st.declared[n-1] = st.declared[p.Source-1]
		}
		if err := declareParam(&st.declared[n-1], p); err != nil {
			return err
		}
		if _, sealed := st.plan.Params[p.Source]; p.Source > 0 && !sealed {
			// The server must not find another type for the plain one.
			if shown(st.declared[n-1]) != st.declared[n-1] {
				return &pgError{Code: codeNotSupported, Message: fmt.Sprintf("parameter $%d is used for protected column %s and for something else", p.Source, p.Rule.Name()),
					Detail: "The object ID of type " + p.Rule.Type.String() + " is not known, in which it would have to be declared.", Hint: "Pass the value twice, as two parameters."}
			}
			m.ParameterOIDs[p.Source-1], st.declared[p.Source-1] = st.declared[n-1], st.declared[n-1]
		}
		m.ParameterOIDs[n-1] = plan.Bytea
		if p.Array || p.Match != nil {
			m.ParameterOIDs[n-1] = plan.ByteaArray
		}
	}
	return nil
}

// declareParam settles the type of one parameter as the client sees it.
func declareParam(declared *uint32, p plan.Param) error {
	if *declared == plan.Unspecified || *declared == plan.Unknown {
		*declared = p.OID
	}
	column := p.Rule.Type.OID
	if column == plan.Enum && p.OID == plan.Unspecified && (*declared == shown(column) || p.Array && *declared == shown(plan.ArrayOf(column))) {
		*declared = plan.Unspecified // who describes a statement declares what was shown
	}
	element := *declared
	if p.Array {
		if element = plan.ElementOf(*declared); own(p.Rule.Type, *declared) {
			element = column
		}
	}
	if castFromText(p, *declared) {
		element = p.OID
	}
	if *declared == plan.Unspecified {
		*declared = operandType(p, column)
		column = *declared
		if element = column; p.Array {
			*declared = plan.ArrayOf(column)
		}
	}
	if p.Match != nil && element != plan.Text && element != plan.Varchar {
		return patternType(p.Rule, *declared)
	}
	if !fits(p.Use, p.Rule.Type, element) {
		return &pgError{Code: codeTypeMismatch,
			Message: "protected column " + p.Rule.Name() + " is of type " + p.Rule.Type.String() + " but the parameter is of type " + plan.Type{OID: *declared, Typmod: -1}.String(),
			Hint:    "Give the parameter the column's type."}
	}
	return keepsType(p, *declared, element)
}

// keepsType refuses a parameter of a type that would be that of a value which is read.
// The plan was made for values of the column's type.
func keepsType(p plan.Param, declared, element uint32) error {
	t := p.Rule.Type
	same := element == t.OID || own(t, declared)
	wider := integer(element) && integer(t.OID) && plan.Type{OID: element}.Len() < plan.Type{OID: t.OID}.Len()
	texts := textual(element) && textual(t.OID) && element != plan.BPChar && t.OID != plan.BPChar
	if same || wider || texts || p.Use&plan.Read == 0 && (p.Use&plan.Typed == 0 || plan.SameFamily(element, t.OID)) {
		return nil
	}
	return &pgError{Code: codeNotSupported,
		Message: "protected column " + p.Rule.Name() + " is of type " + t.String() + " and cannot be mixed with a parameter of type " + plan.Type{OID: declared, Typmod: -1}.String(),
		Hint:    "Give the parameter the column's type."}
}

// operandType is the type that the server finds for a parameter of which none is
// declared.
func operandType(p plan.Param, column uint32) uint32 {
	switch {
	case p.Operand && column == plan.Varchar:
		return plan.Text
	case p.Operand && column == plan.CIDR:
		return plan.Inet
	}
	return column
}

// fits says whether a value of a type can be used for a column.
func fits(use plan.Use, t plan.Type, oid uint32) bool {
	return own(t, oid) || (use&plan.Store == 0 || assignable(oid, t.OID)) && (use&^plan.Store == 0 || comparable(oid, t.OID))
}

// addedParams are the numbers, in order, of parameters that only the server
// knows: each stands for a value that the client passes once for several places.
func (st *statement) addedParams() []int {
	var added []int
	for n, p := range st.plan.Params {
		if p.Source > 0 {
			added = append(added, n)
		}
	}
	slices.Sort(added)
	return added
}

// describeParams turns the types that the server reports into those that the
// client knows.
func (st *statement) describeParams(oids []uint32) []uint32 {
	for n := range st.plan.Params {
		if n <= len(oids) {
			oids[n-1] = shown(st.declared[n-1])
		}
	}
	if added := st.addedParams(); len(added) > 0 && added[0] <= len(oids) {
		oids = oids[:added[0]-1]
	}
	return oids
}
