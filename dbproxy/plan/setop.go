// SPDX-License-Identifier: Apache-2.0

package plan

import pg "github.com/pganalyze/pg_query_go/v6"

// setOperation analyzes UNION, INTERSECT and EXCEPT. Chains of them nest to
// the left.
func (a *analyzer) setOperation(s *pg.SelectStmt, sc *scope, self func(*source)) *source {
	left := a.query(s.Larg, sc)
	if self != nil {
		self(left)
	}
	right := a.query(s.Rarg, sc)
	out := a.mixColumns(left, right)
	if !s.All || s.Op != pg.SetOperation_SETOP_UNION {
		a.requireAll(out, "cannot be used in UNION, INTERSECT or EXCEPT, except for UNION ALL,")
	}
	return out
}

// mixColumns gives columns that hold values of both queries. Where one has
// columns that are not listed, columns are followed from the left and from the
// right as far as they are.
func (a *analyzer) mixColumns(l, r *source) *source {
	if l.open() == r.open() && !l.open() && len(l.fields) != len(r.fields) {
		a.settle(l, "cannot be used in a set operation with another number of columns")
		a.settle(r, "cannot be used in a set operation with another number of columns")
		return &source{}
	}
	if !l.open() && !r.open() {
		return &source{fields: a.mixFields(l.fields, r.fields)}
	}
	out := &source{}
	n := min(listed(l.fields, 0, 1), listed(r.fields, 0, 1))
	out.fields = append(out.fields, a.mixFields(l.fields[:n], r.fields[:n])...)
	lf, rf := l.fields[n:], r.fields[n:]
	n = min(listed(lf, len(lf)-1, -1), listed(rf, len(rf)-1, -1))
	lm, rm := len(lf)-n, len(rf)-n
	for _, s := range []*source{{fields: lf[:lm]}, {fields: rf[:rm]}} {
		a.settle(s, "cannot be used in a set operation beside columns that are not known")
	}
	out.fields = append(out.fields, field{rest: true})
	out.fields = append(out.fields, a.mixFields(lf[lm:], rf[rm:])...)
	return out
}

// listed counts the fields from one end that are listed.
func listed(fields []field, from, step int) (n int) {
	for i := from; i >= 0 && i < len(fields) && !fields[i].rest; i += step {
		n++
	}
	return n
}

func (a *analyzer) mixFields(l, r []field) []field {
	out := make([]field, 0, len(l))
	for i := range l {
		out = append(out, field{name: l[i].name, value: a.settled(a.oneType(a.mix(l[i].value, r[i].value)))})
	}
	return out
}
