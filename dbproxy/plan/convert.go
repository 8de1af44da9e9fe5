// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"unicode/utf8"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// conversion is a cast or COLLATE on an expression that may be a protected
// value: it has to change nothing, and is edited out.
type conversion struct {
	class *class
	// typ is what is cast to; OID Unspecified for COLLATE.
	typ Type
	// collation, if it is COLLATE.
	collation string
	name      *pg.TypeName // of the type, if it is not known, and the edit is: perhaps an enum
	edit      Edit
	known     bool
	// kept says that the server keeps the query, without what is edited out.
	kept bool
	loc  int
}

// convert has a cast or COLLATE taken off a protected value.
func (a *analyzer) convert(c *conversion, to *class) {
	rule := to.rule
	if a.view && c.typ.OID == Bytea {
		return
	}
	if a.view {
		// As the server has it, the cast is one of the sealed value.
		a.refuse(-1, "protected column "+rule.Name()+" is cast", "")
		return
	}
	if c.collation != "" {
		if !textual(rule.Type) || c.collation != "C" && c.collation != "POSIX" && c.collation != "default" && c.collation != "ucs_basic" {
			a.refuse(c.loc, "protected column "+rule.Name()+" cannot have this collation", `Its values compare and sort by bytes, as under COLLATE "C".`)
			return
		}
		if c.kept && rule.Search != nil && c.collation != "default" {
			a.refuseRule(rule, int32(c.loc), "cannot have a collation in a view: searches regardless of case would go by the database's own")
			return
		}
	} else if !c.spells(to) && (!c.known || !keeps(rule.Type, c.typ) || !to.fit(c.typ)) {
		a.refuse(c.loc, "protected column "+rule.Name()+" cannot be cast to this type", "The server cannot change a sealed value; cast it in the application.")
		return
	}
	a.edits = append(a.edits, c.edit)
}

// spells says whether a cast gives an enum its own type, or text to a client that
// gets text anyway: nothing is compared or sorted as text.
func (c *conversion) spells(to *class) bool {
	if to.rule.Type.OID != Enum || c.collation != "" {
		return false
	}
	if c.name != nil {
		return declares(c.name, to.rule.Type)
	}
	return c.known && textual(c.typ) && c.typ.Typmod < 0 && to.use&^(Compare|Read) == 0 && len(to.consts) == 0 && !c.kept
}

// asText makes an enum that is cast to text a value of its own, of which the other
// uses of the column ask nothing.
func (a *analyzer) asText(v value, typ Type) value {
	if c := v.of(); c.rule != nil && c.rule.Type.OID == Enum && textual(typ) && !a.view {
		v.class = &class{rule: c.rule, loc: c.loc, merged: c.merged}
	}
	return v
}

// keeps says whether a cast changes no value of a column.
func keeps(from, to Type) bool {
	if textual(from) && textual(to) {
		n, limited := to.MaxChars()
		m, also := from.MaxChars()
		return !limited || also && m <= n
	}
	return from.OID == to.OID && (to.Typmod < 0 || to.Typmod == from.Typmod)
}

// fit says whether a cast with a length or precision changes no constant of the
// class, which may be longer than values of the column.
func (c *class) fit(t Type) bool {
	n, limited := t.MaxChars()
	for _, k := range c.consts {
		short := limited && k.param == 0 && utf8.RuneCountInString(k.text) <= n
		if t.Typmod >= 0 && !k.null && !short {
			return false
		}
	}
	return true
}

// castType is typeOf, and the element type of an array of one dimension.
func castType(n *pg.TypeName) (t Type, array, known bool) {
	if len(n.GetArrayBounds()) == 1 {
		t, known = typeOf(&pg.TypeName{Names: n.Names, Typmods: n.Typmods, Setof: n.Setof, PctType: n.PctType})
		return t, true, known
	}
	t, known = typeOf(n)
	return t, false, known
}

func textual(t Type) bool { return t.OID == Text || t.OID == Varchar }

// ranks are types in the order in which they turn into each other by
// themselves.
var ranks = map[uint32]int{Int2: 1, Int4: 2, Int8: 3, Numeric: 4, Float4: 5, Float8: 6, Date: 11, Timestamp: 12, Timestamptz: 13}

// commonType is the type of an expression that has values of both types, of
// which l comes first (select_common_type of parse_coerce.c); the OID is
// Unknown if that is not known.
func commonType(l, r Type) Type {
	switch {
	case l == r:
		return l
	case l.OID == Unspecified, l.OID == r.OID:
		return Type{OID: r.OID, Typmod: -1}
	case r.OID == Unspecified, textual(l) && textual(r):
		return Type{OID: l.OID, Typmod: -1}
	}
	lr, rr := ranks[l.OID], ranks[r.OID]
	switch {
	case lr == 0 || rr == 0 || lr/10 != rr/10:
		return Type{OID: Unknown, Typmod: -1}
	case lr < rr:
		return Type{OID: r.OID, Typmod: -1}
	}
	return Type{OID: l.OID, Typmod: -1}
}

// cast analyzes a cast of what is not a constant: one that changes nothing is
// taken off a protected value.
func (a *analyzer) cast(t *pg.TypeCast, sc *scope) value {
	typ, array, known := castType(t.TypeName)
	var v value
	if array {
		v = a.castOperand(t.Arg, sc)
	} else {
		v = a.unsettled(t.Arg, sc)
	}
	if v.class == nil {
		return value{loc: v.loc}
	}
	at := int(t.TypeName.GetLocation())
	end, ranged := a.typeEnd(at)
	v = a.asText(v, typ)
	c := &conversion{class: v.class, typ: typ, known: known && ranged && array == v.array, kept: a.kept, edit: Edit{at, end, "bytea"}, loc: int(v.loc)}
	if !known && ranged && !array && !v.array {
		c.name = t.TypeName
	}
	a.convertLater(c, v)
	v.plain, v.cast = false, v.cast || !a.view && typ != v.typ
	if rule := v.sealed(); c.name != nil && rule != nil && declares(c.name, rule.Type) {
		v.typ = rule.Type
	} else if !known {
		v.typ = Type{OID: Unknown, Typmod: -1}
	} else if !a.view || typ.OID != Bytea {
		v.typ = typ
	}
	return v
}

func (a *analyzer) convertLater(c *conversion, v value) {
	a.casts = append(a.casts, c)
	root := v.of()
	root.casts = append(root.casts, c)
}

// collate analyzes COLLATE.
func (a *analyzer) collate(k *pg.CollateClause, sc *scope) value {
	v := a.expr(k.Arg, sc)
	i := a.tokenAt(int(k.Location))
	if v.class == nil || i < 0 || v.array {
		a.plainly(v, "cannot have a collation here")
		return value{loc: v.loc}
	}
	last := i + 1
	for a.word(last+1) == "." {
		last += 2
	}
	c := &conversion{class: v.class, collation: lastName(k.Collname), kept: a.kept, loc: int(k.Location)}
	if last < len(a.tokens) {
		c.edit = Edit{int(k.Location), int(a.tokens[last].End), ""}
	}
	a.convertLater(c, v)
	v.plain, v.cast, v.collated = false, true, true
	return v
}
