// SPDX-License-Identifier: Apache-2.0

package plan

// oneType has the constants of a mixed value read as PostgreSQL does: as the type that
// all of them have in common (select_common_type of parse_coerce.c), which is not that
// of the column with which they are compared, as in
//
//	pin = ANY (ARRAY[1::bigint, '5000000000'])
func (a *analyzer) oneType(v value) value {
	c := v.of()
	if c == nil || a.view || v.typ.OID == Unspecified || c.rule != nil && (c.rule.Type.OID == v.typ.OID || textual(c.rule.Type)) {
		return v
	}
	for _, k := range c.consts {
		k.mixWith(v.typ.OID)
	}
	return v
}

// mixWith gives a constant the type that it has in common with others.
func (k *constant) mixWith(common uint32) {
	const why = "beside values of another type this one is not read as the type of the protected column"
	switch {
	case k.null || k.oid == common || k.why != "":
	case k.oid == Unspecified && k.param > 0:
		k.beside = append(k.beside, common)
	case k.oid == Unspecified && common == Unknown:
		k.why = why
	case k.oid == Unspecified:
		k.oid = common
	case common != Float4 && common != Float8:
		// It means the same in the other type.
	case k.param == 0 && k.retype == nil && keepsText(k.oid, common):
		k.oid = common
	default:
		k.why = why
	}
}

// besideOther says whether a parameter without a type stands beside values of another
// type than the column's, which it then has.
func (k *constant) besideOther(column Type) bool {
	if k.param == 0 || k.oid != Unspecified || k.listed {
		return false
	}
	for _, t := range k.beside {
		if t != column.OID && !(textual(column) && (t == Text || t == Varchar)) {
			return true
		}
	}
	return false
}
