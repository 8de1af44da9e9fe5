// SPDX-License-Identifier: Apache-2.0

package plan

import "strings"

// resolveConstants decides what a statement's constants are, once all of it was
// read.
func (a *analyzer) resolveConstants() {
	var uses map[int][]use
	for _, c := range a.consts {
		if c.param > 0 {
			if uses == nil {
				uses = make(map[int][]use)
			}
			uses[c.param] = append(uses[c.param], use{c, nil})
		}
	}
	a.spread(uses)
	for _, c := range a.consts {
		if root := c.class.root(); c.param == 0 && root.rule != nil {
			a.seal(c, root)
		}
	}
	for _, c := range a.casts {
		if root := c.class.root(); root.rule != nil {
			a.convert(c, root)
		}
	}
	a.parameters(uses)
	a.nameColumns()
	a.consts, a.casts = nil, nil
}

// purpose is what the values of a class are for.
func (c *class) purpose() Use {
	if c.use == 0 {
		return Compare
	}
	return c.use
}

// fixed says why a constant of a class cannot be sealed exactly.
func (c *class) fixed(k *constant) string {
	_, scale, ok := c.rule.Type.Precision()
	switch {
	case !c.merged || c.use&Store != 0 || k.null:
		return ""
	case c.rule.Type.OID == Float4 && k.oid != Unspecified && k.oid != Float4:
		return "a number of another type has not exactly a value of the protected column"
	case c.rule.Type.OID == BPChar:
		return "a constant is not padded as the values of the protected column are"
	case !ok:
		return ""
	}
	_, decimals, _ := strings.Cut(k.text, ".")
	if k.param > 0 || len(decimals) != scale || strings.ContainsAny(k.text, "eExXnNiI") {
		return "a number that stands for a value must have as many decimals as the protected column"
	}
	return ""
}

// seal has a constant replaced by its sealed value for the rule's column.
func (a *analyzer) seal(c *constant, to *class) {
	if !a.sealable(c, to) {
		return
	}
	if c.match != nil {
		a.sealPattern(c, to.rule)
		return
	}
	if c.retype != nil {
		a.edits = append(a.edits, *c.retype)
	}
	if c.null {
		return
	}
	oid := c.oid
	if c.listed {
		var why string
		if oid, why = c.listedType(to.rule.Type); why != "" {
			a.refuse(c.loc, why+" ("+to.rule.Name()+")", "Write all constants of the list with the type "+to.rule.Type.String()+".")
			return
		}
	}
	a.literals = append(a.literals, Literal{Start: c.start, End: c.end, Value: c.text, OID: oid, As: c.as, Rule: to.rule, Cast: c.retype == nil, Array: c.array, Use: to.purpose(), Since: c.since})
}

func (a *analyzer) sealable(c *constant, to *class) bool {
	a.touch(to.rule)
	if a.view {
		return false // as the server has it, all is sealed
	}
	why := c.unsealable(to.rule)
	if why == "" {
		why = to.fixed(c)
	}
	if why == "" && c.besideOther(to.rule.Type) {
		why = "beside values of another type a parameter without a type is not read as the type of the protected column"
	}
	if why != "" && (!c.null || c.retype != nil) {
		a.refuse(c.loc, why+" ("+to.rule.Name()+")", "Write a plain literal or a parameter of type "+to.rule.Type.String()+".")
		return false
	}
	return true
}
