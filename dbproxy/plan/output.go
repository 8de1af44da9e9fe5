// SPDX-License-Identifier: Apache-2.0

package plan

// Output is a protected column of a statement's result.
type Output struct {
	Rule *Rule
	// Type is what the client is told; of an array, that of its elements.
	Type Type
	// Array says that it is an array of sealed values.
	Array bool
	// Left and Right count the columns before and behind it, -1 if that is not
	// known. One of both is known, or Origin is set.
	Left, Right int
	// Origin says that it is a column as it is, which the server reports.
	Origin bool
	// Cast says that it was an expression, though the server reports an origin.
	Cast bool
}

// outputs takes the columns of a statement's result.
func (a *analyzer) outputs(out *source) {
	for _, f := range out.fields {
		if c := f.of(); c != nil {
			c.use |= Compare | Read // a value that is read is not rounded or cut
		}
	}
	a.result = out
}

// finishOutputs notes the protected columns of the result, once it is known
// which these are.
func (a *analyzer) finishOutputs() {
	a.stmt.Columns = -1
	if a.result == nil {
		return
	}
	fields := a.result.fields
	a.result = nil
	left, right := listed(fields, 0, 1), listed(fields, len(fields)-1, -1)
	if left == len(fields) {
		a.stmt.Columns = left
	}
	for i, f := range fields {
		rule := f.sealed()
		if rule == nil {
			continue
		}
		o := Output{Rule: rule, Type: f.typ, Array: f.array, Left: i, Right: len(fields) - 1 - i, Origin: f.plain, Cast: f.cast}
		if i >= left {
			o.Left = -1
		}
		if o.Right >= right {
			o.Right = -1
		}
		a.checkOutput(&o, f)
		a.stmt.Outputs = append(a.stmt.Outputs, o)
	}
}

func (a *analyzer) checkOutput(o *Output, f field) {
	switch {
	case o.Type.OID == Unspecified || a.view && o.Type.OID == Bytea:
		o.Type = o.Rule.Type
		o.Type.Typmod = -1
	case o.Type.OID != o.Rule.Type.OID && !(textual(o.Type) && (textual(o.Rule.Type) || o.Rule.Type.OID == Enum && f.cast)):
		a.refuseRule(o.Rule, f.loc, "cannot be mixed with values of another type")
	}
	if o.Left < 0 && o.Right < 0 && !f.plain {
		a.refuseRule(o.Rule, f.loc, "cannot be selected through an expression between columns that are not known")
	}
	if o.Array && ArrayOf(o.Type.OID) == 0 {
		a.refuseRule(o.Rule, f.loc, "cannot be selected in an array: its type has none here")
	}
}
