// SPDX-License-Identifier: Apache-2.0

package plan

import (
	pg "github.com/pganalyze/pg_query_go/v6"
)

// plainConstraint checks a constraint in an unprotected column's definition.
func (a *analyzer) plainConstraint(c *pg.Constraint, column string, rel *Relation, sc *scope) {
	if c.GetContype() == pg.ConstrType_CONSTR_FOREIGN {
		a.foreignKey(c, []string{column}, rel)
		return
	}
	a.condition(c.GetRawExpr(), sc)
	if c.GetContype() == pg.ConstrType_CONSTR_PRIMARY {
		rel.PrimaryKey = []string{column}
	}
}

// protectedConstraint checks a constraint in a protected column's definition.
func (a *analyzer) protectedConstraint(c *pg.Constraint, r *Rule, rel *Relation, sc *scope) {
	loc := int(c.Location)
	switch c.Contype {
	case pg.ConstrType_CONSTR_NULL, pg.ConstrType_CONSTR_NOTNULL,
		pg.ConstrType_CONSTR_ATTR_DEFERRABLE, pg.ConstrType_CONSTR_ATTR_NOT_DEFERRABLE,
		pg.ConstrType_CONSTR_ATTR_DEFERRED, pg.ConstrType_CONSTR_ATTR_IMMEDIATE:
	case pg.ConstrType_CONSTR_PRIMARY, pg.ConstrType_CONSTR_UNIQUE:
		a.equality(columnValue(r, int32(loc)), "cannot be unique")
		if c.Contype == pg.ConstrType_CONSTR_PRIMARY {
			rel.PrimaryKey = []string{r.Column}
		}
	case pg.ConstrType_CONSTR_DEFAULT:
		a.columnDefault(c.RawExpr, r, loc)
	case pg.ConstrType_CONSTR_CHECK:
		a.condition(c.RawExpr, sc)
	case pg.ConstrType_CONSTR_FOREIGN:
		a.foreignKey(c, []string{r.Column}, rel)
	case pg.ConstrType_CONSTR_GENERATED, pg.ConstrType_CONSTR_IDENTITY:
		a.refuse(loc, "protected column "+r.Name()+" cannot be generated", "The server would store it as plaintext.")
	default:
		a.refuse(loc, "this constraint is not supported on protected column "+r.Name(), "")
	}
}

// columnDefault seals the default of a protected column. It is one ciphertext
// for all rows that have it, which is what mode equality shows anyway.
func (a *analyzer) columnDefault(n *pg.Node, r *Rule, loc int) {
	c, constant := a.constant(n)
	switch {
	case !constant || c.param > 0:
		a.refuse(loc, "protected column "+r.Name()+" cannot have this default", "The server would store it as plaintext. A literal can be a default in mode equality.")
	case !c.null && !r.Equality:
		a.refuseCode(codeNotSupported, loc, "protected column "+r.Name()+" cannot have a default in mode random",
			"All rows with the default would have the same ciphertext, which shows which rows they are.",
			"Add the column without a default, set the values by UPDATE through the encrypting proxy, then SET NOT NULL.")
	default:
		a.store(r, a.expr(n, &scope{}), loc)
	}
}

// tableConstraint checks a constraint of a table with protected columns, or
// one that refers to such a table.
func (a *analyzer) tableConstraint(c *pg.Constraint, rel *Relation, sc *scope) {
	if c == nil {
		return
	}
	switch c.Contype {
	case pg.ConstrType_CONSTR_PRIMARY, pg.ConstrType_CONSTR_UNIQUE:
		a.uniqueKeys(c, rel)
	case pg.ConstrType_CONSTR_FOREIGN:
		a.foreignKey(c, names(c.FkAttrs), rel)
	case pg.ConstrType_CONSTR_CHECK:
		a.condition(c.RawExpr, sc)
	case pg.ConstrType_CONSTR_EXCLUSION:
		a.exclusion(c, rel, sc)
	default:
		if rel.Protected {
			a.refuse(int(c.Location), "this constraint is not supported on a table with protected columns", "")
		}
	}
}

func (a *analyzer) uniqueKeys(c *pg.Constraint, rel *Relation) {
	keys := names(c.Keys)
	for _, k := range keys {
		if col := rel.column(k); col != nil && col.Rule != nil {
			a.equality(columnValue(col.Rule, c.Location), "cannot be unique")
		}
	}
	if c.Contype == pg.ConstrType_CONSTR_PRIMARY && len(keys) > 0 {
		rel.PrimaryKey = keys
	}
}

// exclusion checks EXCLUDE, which compares by any operator.
func (a *analyzer) exclusion(c *pg.Constraint, rel *Relation, sc *scope) {
	for _, n := range c.Exclusions {
		items := n.GetList().GetItems()
		if len(items) == 0 {
			continue
		}
		e := items[0].GetIndexElem()
		if col := rel.column(e.GetName()); col != nil && col.Rule != nil {
			a.refuse(int(c.Location), "protected column "+col.Rule.Name()+" cannot be in an exclusion constraint", "Mode equality can be UNIQUE.")
		}
		a.open(e.GetExpr(), sc)
	}
	a.condition(c.WhereClause, sc)
}

func names(list []*pg.Node) []string {
	out := make([]string, 0, len(list))
	for _, n := range list {
		out = append(out, n.GetString_().GetSval())
	}
	return out
}

// foreignKey requires that protected columns refer to joinable ones. Without a
// column list it refers to the primary key.
func (a *analyzer) foreignKey(c *pg.Constraint, columns []string, rel *Relation) {
	target := rel
	if c.Pktable.GetRelname() != rel.Name || c.Pktable.GetSchemaname() != "" && c.Pktable.GetSchemaname() != rel.Schema {
		target = a.relation(c.Pktable)
	}
	keys := names(c.PkAttrs)
	if len(keys) == 0 && target != nil {
		keys = target.PrimaryKey
	}
	for i, name := range columns {
		var from, to *Rule
		if col := rel.column(name); col != nil {
			from = col.Rule
		}
		if target != nil && i < len(keys) {
			if col := target.column(keys[i]); col != nil {
				to = col.Rule
			}
		}
		if from == nil && to == nil {
			continue
		}
		if from == nil || to == nil || !from.joins(to) {
			a.foreignKeyRefused(c, from, to)
		}
	}
}

func (a *analyzer) foreignKeyRefused(c *pg.Constraint, from, to *Rule) {
	r := from
	if r == nil {
		r = to
	}
	a.refuse(int(c.Location), "the foreign key of protected column "+r.Name()+" needs a protected column of the same domain on the other side",
		"Both need mode equality, the same domain and the same type.")
}
