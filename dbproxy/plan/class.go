// SPDX-License-Identifier: Apache-2.0

package plan

// class is a set of expressions that hold the same values as the server sees
// them: all sealed for one rule, or none. Which of both may be found out only
// after they were read, as for the constant in
//
//	SELECT .. FROM (VALUES ('a')) v (e) JOIN users ON users.email = v.e
//
// so that constants are sealed when the whole statement has been read. A class
// that has met no protected column by then holds none.
type class struct {
	parent *class
	rule   *Rule
	// loc is where a column of the rule stands.
	loc int32
	// open says that some use of the values needs them as they are.
	open bool
	// merged says that a value of it is a constant or a stored one.
	merged bool
	use    Use
	consts []*constant
	casts  []*conversion
	needs  []requirement
}

// requirement is what a use of the values asks of their rule.
type requirement struct {
	need Use // Compare: equal values are equal bytes; Order: they sort alike
	what string
	loc  int32
}

func (c *class) root() *class {
	for c.parent != nil {
		if c.parent.parent != nil {
			c.parent = c.parent.parent
		}
		c = c.parent
	}
	return c
}

func (c *class) size() int { return len(c.consts) + len(c.casts) + len(c.needs) }

// of is the class of a value, nil if it is surely not a protected one.
func (v value) of() *class {
	if v.class == nil {
		return nil
	}
	return v.class.root()
}

// rule is the protected column whose stored value it is, as far as is known.
func (v value) sealed() *Rule {
	if c := v.of(); c != nil {
		return c.rule
	}
	return nil
}

// columnValue is a value of a column.
func columnValue(r *Rule, loc int32) value {
	if r == nil {
		return value{loc: loc}
	}
	return value{class: &class{rule: r, loc: loc}, typ: r.Type, loc: loc}
}

// plainly requires that a value is not a protected one.
func (a *analyzer) plainly(v value, what string) {
	c := v.of()
	switch {
	case c == nil:
	case c.rule != nil:
		a.refuseRule(c.rule, v.loc, what)
	default:
		c.open = true
	}
}

// require asks something of the rule of a value, should it have one.
func (a *analyzer) require(v value, need Use, what string) {
	c := v.of()
	if c == nil || c.open {
		return
	}
	r := requirement{need, what, v.loc}
	if c.rule != nil {
		if spelt(v) && need&Order != 0 {
			a.refuseRule(c.rule, v.loc, "sorts by its labels' order, not as text")
			return
		}
		a.check(c.rule, r)
		return
	}
	c.needs = append(c.needs, r)
}

func (a *analyzer) check(rule *Rule, r requirement) {
	if r.need&Order != 0 && !rule.Ordered || r.need&Compare != 0 && !rule.Equality {
		a.refuseRule(rule, r.loc, r.what)
	}
}

// bind makes a class one of values of a rule.
func (a *analyzer) bind(c *class, rule *Rule, loc int32) {
	if c.open {
		a.refuseRule(rule, loc, "cannot be compared or mixed with a value that is also used as plaintext")
		return
	}
	c.rule, c.loc = rule, loc
	for _, r := range c.needs {
		if r.loc < 0 {
			r.loc = loc
		}
		a.check(rule, r)
	}
	c.needs = nil
}

// union makes one class of two. The caller has seen to it that they agree.
func union(l, r *class) *class {
	if l == r {
		return l
	}
	if l.size() < r.size() {
		l, r = r, l
	}
	if l.rule == nil {
		l.rule, l.loc = r.rule, r.loc
	}
	l.open, l.merged, l.use = l.open || r.open, l.merged || r.merged, l.use|r.use
	l.consts, l.casts, l.needs = append(l.consts, r.consts...), append(l.casts, r.casts...), append(l.needs, r.needs...)
	r.parent, r.consts, r.casts, r.needs = l, nil, nil, nil
	return l
}

// compareValues analyzes a comparison of two values.
func (a *analyzer) compareValues(l, r value, need Use, what string) {
	a.require(l, need, what)
	a.require(r, need, what)
	lc, rc := l.of(), r.of()
	for _, c := range []*class{lc, rc} {
		if c != nil {
			c.use |= need
		}
	}
	if l.array != r.array {
		a.plainly(l, "cannot be compared with this expression")
		a.plainly(r, "cannot be compared with this expression")
		return
	}
	switch {
	case lc == nil:
		a.plainly(r, "cannot be compared with this expression")
	case rc == nil:
		a.plainly(l, "cannot be compared with this expression")
	case lc.rule != nil && rc.rule != nil && spelt(l) != spelt(r):
		a.plainly(l, "cannot be compared with text")
	case lc.rule != nil && rc.rule != nil:
		if !lc.rule.joins(rc.rule) {
			a.refuse(int(r.loc), "protected columns "+lc.rule.Name()+" and "+rc.rule.Name()+" cannot be compared with each other",
				"Both need the same domain, mode and type.")
		}
		if lc.rule != rc.rule {
			a.compared = append(a.compared, [2]*Rule{lc.rule, rc.rule})
		}
	case spelt(l) || spelt(r):
		a.plainly(l, "cannot be compared as text with a constant")
		a.plainly(r, "cannot be compared as text with a constant")
	case lc.rule != nil:
		a.bind(rc, lc.rule, l.loc)
	case rc.rule != nil:
		a.bind(lc, rc.rule, r.loc)
	default:
		union(lc, rc)
	}
}

// spelt says whether a value is the text of an enum's label.
func spelt(v value) bool {
	rule := v.sealed()
	return rule != nil && rule.Type.OID == Enum && textual(v.typ)
}

// mix analyzes an expression whose value is one of two.
func (a *analyzer) mix(l, r value) value {
	l, r = asArray(l, r), asArray(r, l)
	lc, rc := l.of(), r.of()
	if l.array != r.array || lc == nil || rc == nil {
		a.plainly(l, "cannot be mixed with this expression")
		a.plainly(r, "cannot be mixed with this expression")
		return value{loc: l.loc}
	}
	out := value{array: l.array, typ: commonType(l.typ, r.typ), collated: l.collated || r.collated, loc: l.loc}
	switch {
	case lc.rule != nil && rc.rule != nil:
		if !lc.rule.carries(rc.rule) {
			a.refuse(int(r.loc), "values of protected columns "+lc.rule.Name()+" and "+rc.rule.Name()+" cannot be mixed",
				"Both need the same domain, mode and type.")
			return value{loc: l.loc}
		}
		if lc.rule != rc.rule {
			a.moves(lc.rule, rc.rule)
		}
	case lc.rule != nil:
		a.bind(rc, lc.rule, l.loc)
	case rc.rule != nil:
		a.bind(lc, rc.rule, r.loc)
		out.loc = r.loc
	}
	out.class = union(lc, rc)
	out.class.merged = true
	return out
}

// moves notes that values go between columns, so that whose they are is not
// known by the column that they are read as.
func (a *analyzer) moves(rules ...*Rule) {
	for _, r := range rules {
		a.moved[r] = true
	}
}

// asArray makes a constant beside an array one.
func asArray(v, beside value) value {
	c := v.of()
	if beside.array && !v.array && c != nil && c.rule == nil && len(c.consts) == 1 && c.consts[0].oid == Unspecified {
		c.consts[0].array, v.array = true, true
	}
	return v
}

// asWhole makes a constant that is cast to an array one value, as of a column
// which holds arrays.
func asWhole(v value) value {
	c := v.of()
	if !v.array || c == nil || c.rule != nil || len(c.consts) != 1 || c.consts[0].whole == nil {
		return v
	}
	k := c.consts[0]
	k.array, k.oid, k.retype, v.array = false, ArrayOf(k.oid), k.whole, false
	return v
}

// store analyzes an assignment of a value to a column; rule is nil for one that
// is not protected.
func (a *analyzer) store(rule *Rule, v value, loc int) {
	if rule != nil {
		v = asWhole(v)
	}
	c := v.of()
	switch {
	case rule == nil:
		a.plainly(v, "cannot be copied into another column")
		return
	case c == nil || v.array:
		a.plainly(v, "cannot be copied into column "+rule.Name())
		a.refuse(loc, "protected column "+rule.Name()+" cannot be set to this expression",
			"It can be set to a literal, a parameter, NULL or a value of the same column or domain; the server cannot seal what it computes.")
		return
	case c.rule == nil:
		a.bind(c, rule, int32(loc))
	case !rule.carries(c.rule):
		a.refuseRule(c.rule, v.loc, "cannot be copied into column "+rule.Name())
	case c.rule != rule:
		a.moves(c.rule, rule)
	}
	c.use |= Store
}
