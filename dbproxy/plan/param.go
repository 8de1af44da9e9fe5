// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"sort"
)

// spread has a parameter that is sealed in one place sealed wherever it can be,
// as in $1 IS NULL OR email = $1: it is not sent as plaintext beside.
func (a *analyzer) spread(uses map[int][]use) {
	var queue []int
	for n, places := range uses {
		for _, u := range places {
			if u.class.root().rule != nil {
				queue = append(queue, n)
				break
			}
		}
	}
	sort.Ints(queue)
	for len(queue) > 0 {
		n := queue[0]
		queue = queue[1:]
		var sealed use
		for _, u := range uses[n] {
			if u.class.root().rule != nil {
				sealed = u
				break
			}
		}
		for _, u := range uses[n] {
			root := u.class.root()
			if root.rule != nil || root.open {
				continue
			}
			if len(root.consts) == 1 && len(root.casts) == 0 && u.oid == Unspecified {
				u.array = sealed.array
			}
			a.bind(root, sealed.class.root().rule, int32(u.loc))
			for _, c := range root.consts {
				if c.param > 0 && c.param != n {
					queue = append(queue, c.param)
				}
			}
		}
	}
}

// use is one place where a parameter stands.
type use struct {
	*constant
	to *class
}

// serves says whether one sealed value can be what both places need.
func (u use) serves(o use) bool {
	if u.to.rule == nil || o.to.rule == nil {
		return u.to.rule == o.to.rule
	}
	same := u.to.rule == o.to.rule || u.to.rule.Equality && u.to.rule.carries(o.to.rule)
	return same && u.array == o.array && sameMatch(u.match, o.match)
}

// parameters decides what each parameter is. One that stands for values which
// are sealed differently becomes several.
func (a *analyzer) parameters(uses map[int][]use) {
	numbers := make([]int, 0, len(uses))
	for n := range uses {
		numbers = append(numbers, n)
		a.lastParam = max(a.lastParam, n)
	}
	sort.Ints(numbers)
	for _, n := range numbers {
		groups := [][]use{}
		for _, u := range uses[n] {
			u.to = u.class.root()
			i := 0
			for i < len(groups) && !groups[i][0].serves(u) {
				i++
			}
			if i == len(groups) {
				groups = append(groups, nil)
			}
			groups[i] = append(groups[i], u)
		}
		// The place that is not sealed keeps the number, so that the server
		// tells its type.
		sort.SliceStable(groups, func(i, j int) bool { return groups[i][0].to.rule == nil && groups[j][0].to.rule != nil })
		for i, g := range groups {
			a.parameter(n, i, g)
		}
	}
}

// parameter records one group of places, the i-th, of a parameter.
func (a *analyzer) parameter(n, i int, places []use) {
	first := places[0]
	if first.to.rule == nil {
		return
	}
	p := Param{Rule: first.to.rule, Array: first.array, Match: first.match, Location: first.loc, Operand: true}
	if n < 1 || n > maxParams {
		a.refuseCode(codeTooManyParams, first.loc, fmt.Sprintf("there is no parameter $%d", n), "", "")
		return
	}
	number := n
	if i > 0 {
		a.lastParam++
		number, p.Source = a.lastParam, n
	}
	for _, u := range places {
		if !a.sealable(u.constant, u.to) {
			continue
		}
		if u.retype != nil {
			a.edits = append(a.edits, *u.retype)
		}
		switch {
		case u.match != nil:
			a.edits = append(a.edits, Edit{u.start, u.end, u.match.parameter(number)})
		case i > 0:
			a.renumber(u.constant, number)
		}
		switch {
		case p.OID == Unspecified:
			p.OID, p.As = u.declared(), u.as
		case u.oid != Unspecified && (u.declared() != p.OID || !sameType(u.as, p.As)):
			a.refuse(u.loc, fmt.Sprintf("parameter $%d is cast to two types", n), "Pass the value twice, as two parameters.")
		}
		p.Use |= u.to.purpose()
		p.Operand = p.Operand && !u.to.merged && !u.listed && u.to.use&Store == 0
	}
	if a.params == nil {
		a.params = make(map[int]Param)
	}
	a.params[number] = p
}

// parameter is what stands in the place of a pattern. No pattern at all matches
// nothing, not even NULL.
func (m *Match) parameter(n int) string {
	if m.Any {
		return fmt.Sprintf("$%d AND pg_catalog.cardinality($%d) OPERATOR(pg_catalog.>) 0", n, n)
	}
	return fmt.Sprintf("$%d", n)
}

// declared is the type that the text gives a parameter.
func (c *constant) declared() uint32 {
	if c.enum != nil && !c.array {
		return Enum
	}
	if c.array && c.oid != Unspecified {
		return ArrayOf(c.oid)
	}
	return c.oid
}

// renumber gives one place of a parameter another number.
func (a *analyzer) renumber(c *constant, n int) {
	i := a.tokenAt(c.loc)
	if n > maxParams || i < 0 {
		a.refuse(c.loc, fmt.Sprintf("parameter $%d is used for protected column %s and for something else", c.param, c.class.root().rule.Name()),
			"Pass the value twice, as two parameters.")
		return
	}
	a.edits = append(a.edits, Edit{c.loc, int(a.tokens[i].End), fmt.Sprintf("$%d", n)})
}

// maxParams is the largest number of parameters of a statement.
const maxParams = 65535
