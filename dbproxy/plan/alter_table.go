// SPDX-License-Identifier: Apache-2.0

package plan

import (
	pg "github.com/pganalyze/pg_query_go/v6"
)

// changed finds the relation that a statement changes, also one whose values
// must not be used; ok is false if it cannot be told yet or does not exist.
func (a *analyzer) changed(rv *pg.RangeVar, missingOk bool) (rel *Relation, ok bool) {
	rel, res := a.resolve(rv)
	switch res {
	case needPath:
		a.needs(NeedPath)
		return nil, false
	case needCatalog:
		a.needs(NeedCatalog)
		if !missingOk {
			a.refuseIfFresh(CodeNoTable, `relation "`+rv.Relname+`" does not exist`)
		}
		return nil, false
	case unprotected:
		return &Relation{Schema: rv.Schemaname, Name: rv.Relname}, true
	}
	return rel, true
}

// alterTable checks every command of an ALTER TABLE.
func (a *analyzer) alterTable(s *pg.AlterTableStmt) {
	old, ok := a.changed(s.Relation, s.MissingOk)
	if !ok {
		return
	}
	if old.Refuse != "" && !withoutValues(s.Cmds) {
		a.refuse(int(s.Relation.Location), old.Refuse, old.Hint)
		return
	}
	rel := *old
	rel.Columns = append([]Column(nil), old.Columns...)
	rules := a.cat.rules[rel.Name][rel.Schema]
	for _, n := range s.Cmds {
		if c := n.GetAlterTableCmd(); c.GetSubtype() == pg.AlterTableType_AT_AddColumn && rel.column(c.Def.GetColumnDef().GetColname()) == nil {
			cd := c.Def.GetColumnDef()
			a.addColumn(&rel, cd, ruleFor(rules, cd.Colname))
		}
	}
	for _, n := range s.Cmds {
		a.alterCommand(n.GetAlterTableCmd(), &rel, rules, int(s.Relation.Location))
	}
	if len(rel.Columns) > len(old.Columns) && len(rules) > 0 {
		a.cat = a.cat.with(&rel)
	}
}

// withoutValues says whether no command has to know which columns are protected.
func withoutValues(cmds []*pg.Node) bool {
	for _, n := range cmds {
		switch t := n.GetAlterTableCmd().GetSubtype(); t {
		case pg.AlterTableType_AT_AttachPartition, pg.AlterTableType_AT_AddInherit, pg.AlterTableType_AT_DropInherit:
		default:
			if !harmlessChanges[t] {
				return false
			}
		}
	}
	return true
}

// harmlessChanges neither read nor make a value.
var harmlessChanges = map[pg.AlterTableType]bool{
	pg.AlterTableType_AT_DropColumn: true, pg.AlterTableType_AT_SetNotNull: true, pg.AlterTableType_AT_DropNotNull: true,
	pg.AlterTableType_AT_SetStatistics: true, pg.AlterTableType_AT_SetStorage: true, pg.AlterTableType_AT_SetCompression: true,
	pg.AlterTableType_AT_ValidateConstraint: true, pg.AlterTableType_AT_AlterConstraint: true, pg.AlterTableType_AT_ChangeOwner: true,
	pg.AlterTableType_AT_ClusterOn: true, pg.AlterTableType_AT_DropCluster: true, pg.AlterTableType_AT_SetTableSpace: true,
	pg.AlterTableType_AT_SetAccessMethod: true,
	pg.AlterTableType_AT_SetRelOptions:   true, pg.AlterTableType_AT_ResetRelOptions: true, pg.AlterTableType_AT_ReplicaIdentity: true,
	pg.AlterTableType_AT_EnableRowSecurity: true, pg.AlterTableType_AT_DisableRowSecurity: true,
	pg.AlterTableType_AT_ForceRowSecurity: true, pg.AlterTableType_AT_NoForceRowSecurity: true,
	pg.AlterTableType_AT_SetOptions: true, pg.AlterTableType_AT_ResetOptions: true,
	pg.AlterTableType_AT_SetLogged: true, pg.AlterTableType_AT_SetUnLogged: true,
	pg.AlterTableType_AT_DetachPartition: true, pg.AlterTableType_AT_DetachPartitionFinalize: true,
	// A trigger sees what is stored: ciphertext.
	pg.AlterTableType_AT_EnableTrig: true, pg.AlterTableType_AT_EnableAlwaysTrig: true, pg.AlterTableType_AT_EnableReplicaTrig: true,
	pg.AlterTableType_AT_DisableTrig: true, pg.AlterTableType_AT_EnableTrigAll: true, pg.AlterTableType_AT_DisableTrigAll: true,
	pg.AlterTableType_AT_EnableTrigUser: true, pg.AlterTableType_AT_DisableTrigUser: true,
}

func (a *analyzer) alterCommand(c *pg.AlterTableCmd, rel *Relation, rules []*Rule, loc int) {
	rule := ruleFor(rules, c.GetName())
	if col := rel.column(c.GetName()); rule == nil && col != nil {
		rule = col.Rule // of a parent
	}
	sc := tableScope(rel)
	switch c.GetSubtype() {
	case pg.AlterTableType_AT_AddColumn:
		cd := c.Def.GetColumnDef()
		a.columnDefinition(cd, rel, sc, ruleFor(rules, cd.GetColname()))
	case pg.AlterTableType_AT_AddConstraint:
		a.tableConstraint(c.Def.GetConstraint(), rel, sc)
	case pg.AlterTableType_AT_DropConstraint:
		a.guardKept(c.Name, rules, loc)
	case pg.AlterTableType_AT_ColumnDefault:
		switch {
		case c.Def == nil:
		case rule != nil:
			a.touch(rule)
			a.columnDefault(c.Def, rule, loc)
		default:
			a.open(c.Def, sc)
		}
	case pg.AlterTableType_AT_AlterColumnType:
		if rule != nil {
			a.columnType(c, rule, loc)
		} else {
			a.columnDefinition(c.Def.GetColumnDef(), rel, sc, nil)
		}
	case pg.AlterTableType_AT_AddIdentity, pg.AlterTableType_AT_SetIdentity, pg.AlterTableType_AT_DropIdentity,
		pg.AlterTableType_AT_SetExpression, pg.AlterTableType_AT_DropExpression:
		if rule != nil {
			a.refuse(loc, "protected column "+rule.Name()+" cannot be generated", "The server would store it as plaintext.")
		}
		a.open(c.Def, sc)
	case pg.AlterTableType_AT_AttachPartition:
		a.adopt(rel, c.Def.GetPartitionCmd().GetName())
	case pg.AlterTableType_AT_AddInherit:
		if parent, ok := a.changed(c.Def.GetRangeVar(), false); ok {
			a.adopt(parent, &pg.RangeVar{Schemaname: rel.Schema, Relname: rel.Name, Location: int32(loc)})
		}
	case pg.AlterTableType_AT_DropInherit:
	default:
		if (rel.Protected || len(rules) > 0) && !harmlessChanges[c.GetSubtype()] {
			a.refuse(loc, "this ALTER TABLE is not supported on a table with protected columns", "")
		}
	}
}

// guardKept refuses to drop or rename the constraint that guards a column.
func (a *analyzer) guardKept(constraint string, rules []*Rule, loc int) {
	for _, r := range rules {
		if r.isCheckName(constraint) {
			a.refuse(loc, "constraint "+constraint+" guards protected column "+r.Name(), "DROP COLUMN drops it, too.")
		}
	}
}

// columnType takes ALTER COLUMN TYPE for a column whose rule says the new type
// already: the stored values do not change.
func (a *analyzer) columnType(c *pg.AlterTableCmd, r *Rule, loc int) {
	a.touch(r)
	cd := c.Def.GetColumnDef()
	if cd.CollClause != nil {
		a.refuse(int(cd.CollClause.Location), "protected column "+r.Name()+" cannot have a collation", "")
	}
	at, end, ok := a.declaredType(cd.TypeName, r)
	if !ok {
		return
	}
	a.edits = append(a.edits, Edit{at, end, "bytea"})
	if cd.RawDefault == nil {
		return
	}
	// USING column::type, which changes nothing either.
	using := cd.RawDefault
	if cast := using.GetTypeCast(); cast != nil {
		at, end, ok := a.declaredType(cast.TypeName, r)
		if !ok {
			return
		}
		a.edits = append(a.edits, Edit{at, end, "bytea"})
		using = cast.Arg
	}
	if ref := using.GetColumnRef(); ref == nil || len(ref.Fields) != 1 || ref.Fields[0].GetString_().GetSval() != r.Column {
		a.refuse(loc, "protected column "+r.Name()+" cannot be altered by this expression", "Make a new column and move the values through the application.")
	}
}

// adopt checks ATTACH PARTITION and INHERIT. The server itself requires that
// the child has the parent's columns as bytea, and their guards.
func (a *analyzer) adopt(parent *Relation, child *pg.RangeVar) {
	rel, ok := a.changed(child, false)
	if !ok {
		return
	}
	if parent.Protected || parent.Refuse != "" {
		a.madeHere(child.Relname)
	}
	for _, r := range a.cat.rules[rel.Name][rel.Schema] {
		c := parent.column(r.Column)
		if c == nil || c.Rule == nil || !c.Rule.carries(r) {
			a.refuse(int(child.Location), "the rule of "+r.Name()+" and that of the same column of "+parent.Name+" differ",
				"Its values are bound to its name. Columns of one domain, mode and type can be joined so.")
		}
	}
	if parent.Refuse != "" && len(a.cat.rules[rel.Name][rel.Schema]) > 0 {
		a.refuse(int(child.Location), parent.Refuse, parent.Hint)
	}
}
