// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// index checks CREATE INDEX: columns that compare as they are, by btree and
// hash. INCLUDE only stores values.
func (a *analyzer) index(s *pg.IndexStmt) {
	rel := a.relation(s.Relation)
	if rel == nil {
		return
	}
	sc := tableScope(rel)
	for i, n := range s.IndexParams {
		if a.searchIndex(s, i, rel) {
			continue
		}
		e := a.withoutClass(n.GetIndexElem(), rel, int(s.Relation.Location))
		a.indexElem(e, rel, sc, "cannot be indexed")
		if c := rel.column(e.GetName()); c != nil && c.Rule != nil && s.AccessMethod != "btree" && s.AccessMethod != "hash" {
			a.refuse(int(s.Relation.Location), "protected column "+c.Rule.Name()+" can be indexed by btree and hash only", "Leave USING out.")
		}
	}
	a.condition(s.WhereClause, sc)
}

// operatorClasses are the operator classes, of those that the server has for a type,
// that a protected column of it can be indexed by: bytes compare as they do. They are
// the default ones, which schema dumps of ORMs name, and those that ORMs index a column
// for LIKE with.
var operatorClasses = map[uint32][]string{
	Text: {"text_ops", "varchar_ops", "text_pattern_ops", "varchar_pattern_ops"}, Varchar: {"text_ops", "varchar_ops", "text_pattern_ops", "varchar_pattern_ops"},
	BPChar: {"bpchar_ops"}, UUID: {"uuid_ops"}, Inet: {"inet_ops"}, CIDR: {"inet_ops", "cidr_ops"}, Bool: {"bool_ops"}, Int2: {"int2_ops"}, Int4: {"int4_ops"}, Int8: {"int8_ops"}, Enum: {"enum_ops"},
	Float4: {"float4_ops"}, Float8: {"float8_ops"}, Numeric: {"numeric_ops"}, Date: {"date_ops"}, Time: {"time_ops"}, Timestamp: {"timestamp_ops"}, Timestamptz: {"timestamptz_ops"},
}

// withoutClass takes such an operator class off a protected column. bytea_ops, as the
// catalogs name the class of an index that there is, may stay.
func (a *analyzer) withoutClass(e *pg.IndexElem, rel *Relation, from int) *pg.IndexElem {
	c, class := rel.column(e.GetName()), lastName(e.GetOpclass())
	if c == nil || c.Rule == nil || len(e.Opclass) == 0 || len(e.Opclass) > 2 || len(e.Opclassopts) > 0 {
		return e
	}
	if len(e.Opclass) == 2 && e.Opclass[0].GetString_().GetSval() != "pg_catalog" || class != "bytea_ops" && !slices.Contains(operatorClasses[c.Rule.Type.OID], class) {
		return e
	}
	plain := &pg.IndexElem{Name: e.Name, Ordering: e.Ordering, NullsOrdering: e.NullsOrdering, Collation: e.Collation}
	if class == "bytea_ops" {
		return plain
	}
	for i := a.tokenAt(from); i >= 0 && i+1 < len(a.tokens); i++ {
		last := i + 2*len(e.Opclass) - 1
		if identifier(a.text(a.tokens[i])) == e.Name && last < len(a.tokens) && identifier(a.text(a.tokens[last])) == class {
			a.edits = append(a.edits, Edit{int(a.tokens[i+1].Start), int(a.tokens[last].End), ""})
			return plain
		}
	}
	return e
}

// statistics checks CREATE STATISTICS: it counts stored values.
func (a *analyzer) statistics(s *pg.CreateStatsStmt) {
	for _, n := range s.Relations {
		rv := n.GetRangeVar()
		if rv == nil {
			a.reach(n)
			continue
		}
		rel := a.relation(rv)
		if rel == nil {
			continue
		}
		for _, e := range s.Exprs {
			if el := e.GetStatsElem(); el != nil {
				a.open(el.Expr, tableScope(rel))
			}
		}
	}
}

// publication checks the row filters of CREATE and ALTER PUBLICATION. What is
// replicated stays sealed.
func (a *analyzer) publication(objects []*pg.Node) {
	for _, n := range objects {
		t := n.GetPublicationObjSpec().GetPubtable()
		if t == nil {
			continue
		}
		if rel, ok := a.changed(t.Relation, false); ok {
			a.condition(t.WhereClause, tableScope(rel))
		}
	}
}
