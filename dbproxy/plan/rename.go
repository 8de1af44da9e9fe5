// SPDX-License-Identifier: Apache-2.0

package plan

import (
	pg "github.com/pganalyze/pg_query_go/v6"
)

// renameHint says how a protected table or column is renamed.
const renameHint = "Its values are bound to its name. Give the rule the new name and bound_as with the old one, start the encrypting proxy anew, then rename through it."

// rename refuses names that would take a table or column from under its rule,
// or put another one there. One is allowed where the rules have the new name
// already and are bound to the old one.
func (a *analyzer) rename(s *pg.RenameStmt) {
	if s.Relation == nil {
		return
	}
	switch s.RenameType {
	case pg.ObjectType_OBJECT_TABLE, pg.ObjectType_OBJECT_VIEW, pg.ObjectType_OBJECT_MATVIEW, pg.ObjectType_OBJECT_FOREIGN_TABLE,
		pg.ObjectType_OBJECT_INDEX, pg.ObjectType_OBJECT_SEQUENCE:
		a.renameRelation(s)
	case pg.ObjectType_OBJECT_COLUMN:
		a.renameColumn(s)
	case pg.ObjectType_OBJECT_TABCONSTRAINT:
		for _, rules := range a.cat.rules[s.Relation.Relname] {
			a.guardKept(s.Subname, rules, int(s.Relation.Location))
		}
	}
}

func (a *analyzer) renameRelation(s *pg.RenameStmt) {
	if s.RenameType == pg.ObjectType_OBJECT_INDEX || s.RenameType == pg.ObjectType_OBJECT_SEQUENCE {
		// ALTER INDEX and ALTER SEQUENCE .. RENAME take tables, too.
		if !a.cat.concerns(s.Relation.Relname) && a.cat.rules[s.Newname] == nil {
			return
		}
	}
	rel, ok := a.changed(s.Relation, s.MissingOk)
	if !ok {
		return
	}
	a.moveRelation(rel, rel.Schema, s.Newname, int(s.Relation.Location), "renamed, nor another take its name")
}

func (a *analyzer) moveSchema(s *pg.AlterObjectSchemaStmt) {
	if s.Relation == nil {
		return
	}
	rel, ok := a.changed(s.Relation, s.MissingOk)
	if !ok {
		return
	}
	a.moveRelation(rel, s.Newschema, rel.Name, int(s.Relation.Location), "moved to another schema, nor another take its name")
}

// moveRelation checks that a relation may get a new name.
func (a *analyzer) moveRelation(rel *Relation, schema, name string, loc int, what string) {
	if rules := a.cat.rules[rel.Name][rel.Schema]; len(rules) > 0 {
		a.refuse(loc, "table "+rel.Schema+"."+rel.Name+" has protected columns and cannot be "+what, renameHint)
		return
	}
	if rules := a.cat.rules[name]; len(rules) > 0 && (rel.Schema == "" || isTemporary(rel.Schema)) {
		// It is not in the catalog, and may be temporary: then it would be found
		// before the one with rules.
		a.refuse(loc, "a table with protected columns cannot be "+what, "Qualify the table's name with its schema. "+renameHint)
		return
	}
	for _, r := range a.cat.rules[name][schema] {
		// What has not been sealed for the rule does not open under it, and what
		// has no guard is not read at all.
		if r.Was == nil {
			a.refuse(loc, "table "+schema+"."+name+" has protected columns: it cannot be "+what, renameHint)
			return
		}
	}
	if a.cat.rules[name] != nil || rel.Refuse != "" || rel.Protected {
		a.madeHere(name)
	}
}

func (a *analyzer) renameColumn(s *pg.RenameStmt) {
	rel, ok := a.changed(s.Relation, s.MissingOk)
	if !ok {
		return
	}
	loc := int(s.Relation.Location)
	rules := a.cat.rules[rel.Name][rel.Schema]
	if r := ruleFor(rules, s.Subname); r != nil {
		a.refuse(loc, "protected column "+r.Name()+" cannot be renamed", renameHint)
		return
	}
	r := ruleFor(rules, s.Newname)
	switch {
	case r == nil && rel.Refuse == "":
	case r == nil && len(rules) > 0:
		a.refuse(loc, rel.Refuse, rel.Hint)
	case r == nil:
	case r.Was == nil || r.Was.Column != s.Subname:
		a.refuse(loc, "no other column can take the name of protected column "+r.Name(), renameHint)
	default:
		a.madeHere(rel.Name)
	}
}
