// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// createTable rewrites the configured columns of a CREATE TABLE.
func (a *analyzer) createTable(s *pg.CreateStmt) {
	name := s.Relation.Relname
	if (s.Relation.Relpersistence == "t" || s.Relation.Schemaname == "pg_temp") && a.cat.mentions(name) {
		a.refuse(int(s.Relation.Location), "a temporary table cannot have the name of a table with protected columns", "")
		return
	}
	rules, schema := a.rulesForNew(s.Relation)
	columns := make([]Column, 0, len(s.TableElts))
	declared := 0
	for _, n := range s.TableElts {
		cd := n.GetColumnDef()
		if cd == nil {
			continue
		}
		c := Column{Name: cd.Colname, Attnum: int16(len(columns) + 1), Rule: ruleFor(rules, cd.Colname)}
		if c.Rule != nil {
			declared++
			a.protectColumn(cd, c.Rule)
		}
		columns = append(columns, c)
	}
	rel := &Relation{Schema: schema, Name: name, Columns: columns, Protected: declared > 0}
	a.tableParts(s, rel, len(rules) > 0, declared < len(rules))
	if len(rules) > 0 && !(s.IfNotExists && a.exists(schema, name)) {
		a.cat = a.cat.with(rel)
	}
	a.partition(s)
}

func (a *analyzer) exists(schema, name string) bool {
	for _, r := range a.cat.byName[name] {
		if r.Schema == schema {
			return true
		}
	}
	return false
}

// rulesForNew gives the rules of a table that is about to be made.
func (a *analyzer) rulesForNew(rv *pg.RangeVar) ([]*Rule, string) {
	bySchema := a.cat.rules[rv.Relname]
	if bySchema == nil {
		return nil, ""
	}
	if rv.Schemaname != "" {
		return bySchema[rv.Schemaname], rv.Schemaname
	}
	if a.opt.Path == nil || a.pathDirty {
		a.needs(NeedPath)
		return nil, ""
	}
	return bySchema[a.opt.Path.Create], a.opt.Path.Create
}

func ruleFor(rules []*Rule, column string) *Rule {
	for _, r := range rules {
		if r.Column == column {
			return r
		}
	}
	return nil
}

// tableParts checks what is not a column definition.
func (a *analyzer) tableParts(s *pg.CreateStmt, rel *Relation, configured, missing bool) {
	loc := int(s.Relation.Location)
	for _, n := range s.TableElts {
		if like := n.GetTableLikeClause(); like != nil {
			if a.reaches(like.Relation) || missing && configured {
				a.refuse(loc, "LIKE is not supported where columns are protected", "Declare the columns.")
			}
		}
	}
	partition := s.Partbound != nil && len(s.TableElts) == 0 && !configured
	for _, n := range s.InhRelations {
		if rv := n.GetRangeVar(); configured || a.reaches(rv) && !partition {
			a.refuse(loc, "INHERITS is not supported where columns are protected", "")
		}
	}
	if configured && (s.OfTypename != nil) {
		a.refuse(loc, "CREATE TABLE OF is not supported where columns are protected", "")
	}
	sc := tableScope(rel)
	for _, n := range s.TableElts {
		if cd := n.GetColumnDef(); cd != nil && (rel.column(cd.Colname) == nil || rel.column(cd.Colname).Rule == nil) {
			a.plainColumn(cd, rel, sc)
		}
		if c := n.GetConstraint(); c != nil {
			a.tableConstraint(c, rel, sc)
		}
	}
	for _, n := range s.Constraints {
		a.tableConstraint(n.GetConstraint(), rel, sc)
	}
	for _, n := range s.GetPartspec().GetPartParams() {
		p := n.GetPartitionElem()
		if c := rel.column(p.GetName()); c != nil && c.Rule != nil {
			a.refuse(loc, "protected column "+c.Rule.Name()+" cannot be a partition key", "")
		}
		a.open(p.GetExpr(), sc)
	}
}

func tableScope(rel *Relation) *scope {
	s := relationFields(rel)
	s.qualifies, s.bare = true, true
	return &scope{sources: []*source{s}}
}

// plainColumn checks the constraints of an unprotected column.
func (a *analyzer) plainColumn(cd *pg.ColumnDef, rel *Relation, sc *scope) {
	for _, n := range cd.Constraints {
		c := n.GetConstraint()
		if c.GetContype() == pg.ConstrType_CONSTR_FOREIGN {
			a.foreignKey(c, []string{cd.Colname}, rel)
			continue
		}
		a.open(c.GetRawExpr(), sc)
	}
	a.open(cd.RawDefault, sc)
}

// protectColumn makes a column definition one of sealed values.
func (a *analyzer) protectColumn(cd *pg.ColumnDef, r *Rule) {
	a.stmt.Creates = append(a.stmt.Creates, r)
	declared, known := typeOf(cd.TypeName)
	at := int(cd.TypeName.GetLocation())
	end, ranged := a.wholeTypeEnd(at)
	switch {
	case !ranged || !declares(cd.TypeName, r.Type):
		name := "another type"
		if known {
			name = declared.String()
		}
		a.refuseCode(codeTypeMismatch, at, "column "+r.Name()+" is not declared with the type of its rule",
			fmt.Sprintf("The rule says %s, the statement %s.", r.Type, name), "")
		return
	case cd.CollClause != nil:
		a.refuse(int(cd.CollClause.Location), "protected column "+r.Name()+" cannot have a collation", "")
	case cd.RawDefault != nil || cd.Generated != "" || cd.Identity != "":
		a.refuse(at, "protected column "+r.Name()+" cannot have a default", "")
	}
	for _, n := range cd.Constraints {
		a.protectedConstraint(n.GetConstraint(), r)
	}
	check := fmt.Sprintf("bytea CONSTRAINT %s CHECK (%s)", quoteIdent(r.CheckName()), r.CheckSQL())
	a.edits = append(a.edits, Edit{at, end, check})
}

// protectedConstraint checks a constraint in a protected column's definition.
func (a *analyzer) protectedConstraint(c *pg.Constraint, r *Rule) {
	loc := int(c.Location)
	switch c.Contype {
	case pg.ConstrType_CONSTR_NULL, pg.ConstrType_CONSTR_NOTNULL,
		pg.ConstrType_CONSTR_ATTR_DEFERRABLE, pg.ConstrType_CONSTR_ATTR_NOT_DEFERRABLE,
		pg.ConstrType_CONSTR_ATTR_DEFERRED, pg.ConstrType_CONSTR_ATTR_IMMEDIATE:
	case pg.ConstrType_CONSTR_PRIMARY, pg.ConstrType_CONSTR_UNIQUE:
		a.equality(columnValue(r, int32(loc)), "cannot be unique")
	case pg.ConstrType_CONSTR_DEFAULT:
		if !c.RawExpr.GetAConst().GetIsnull() {
			a.refuse(loc, "protected column "+r.Name()+" cannot have a default", "The server would store it as plaintext.")
		}
	case pg.ConstrType_CONSTR_FOREIGN:
		a.foreignKey(c, []string{r.Column}, &Relation{Columns: []Column{{Name: r.Column, Rule: r}}})
	default:
		a.refuse(loc, "this constraint is not supported on protected column "+r.Name(), "")
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
		for _, k := range names(c.Keys) {
			if col := rel.column(k); col != nil && col.Rule != nil {
				a.equality(columnValue(col.Rule, c.Location), "cannot be unique")
			}
		}
	case pg.ConstrType_CONSTR_FOREIGN:
		a.foreignKey(c, names(c.FkAttrs), rel)
	case pg.ConstrType_CONSTR_CHECK:
		a.open(c.RawExpr, sc)
	default:
		if rel.Protected {
			a.refuse(int(c.Location), "this constraint is not supported on a table with protected columns", "")
		}
	}
}

func names(list []*pg.Node) []string {
	out := make([]string, 0, len(list))
	for _, n := range list {
		out = append(out, n.GetString_().GetSval())
	}
	return out
}

// foreignKey requires that protected columns refer to joinable ones.
func (a *analyzer) foreignKey(c *pg.Constraint, columns []string, rel *Relation) {
	target := rel
	if c.Pktable.GetRelname() != rel.Name || c.Pktable.GetSchemaname() != "" {
		target = a.relation(c.Pktable)
	}
	keys := names(c.PkAttrs)
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
			a.refuse(int(c.Location), "a foreign key needs protected columns of one domain on both sides, named",
				"Both need mode equality, the same domain and the same type.")
		}
	}
}

// alterTable checks every command of an ALTER TABLE.
func (a *analyzer) alterTable(s *pg.AlterTableStmt) {
	rel, res := a.resolve(s.Relation)
	switch {
	case res == needPath:
		a.needs(NeedPath)
		return
	case res == needCatalog:
		a.needs(NeedCatalog)
		if !s.MissingOk {
			a.refuseIfFresh(codeNoTable, `relation "`+s.Relation.Relname+`" does not exist`)
		}
		return
	case res == resolved && rel.Refuse != "":
		a.refuse(int(s.Relation.Location), rel.Refuse, rel.Hint)
		return
	case res == unprotected:
		rel = &Relation{Name: s.Relation.Relname}
	}
	rules := a.cat.rules[rel.Name][rel.Schema]
	for _, n := range s.Cmds {
		a.alterCommand(n.GetAlterTableCmd(), rel, rules, int(s.Relation.Location))
	}
}

// storageOnly are commands that have to do with no value.
var storageOnly = map[pg.AlterTableType]bool{
	pg.AlterTableType_AT_SetStatistics: true, pg.AlterTableType_AT_SetStorage: true, pg.AlterTableType_AT_SetCompression: true,
	pg.AlterTableType_AT_ChangeOwner: true, pg.AlterTableType_AT_ClusterOn: true, pg.AlterTableType_AT_DropCluster: true,
	pg.AlterTableType_AT_SetTableSpace: true, pg.AlterTableType_AT_SetRelOptions: true, pg.AlterTableType_AT_ResetRelOptions: true,
	pg.AlterTableType_AT_ReplicaIdentity: true, pg.AlterTableType_AT_EnableRowSecurity: true, pg.AlterTableType_AT_DisableRowSecurity: true,
	pg.AlterTableType_AT_ForceRowSecurity: true, pg.AlterTableType_AT_NoForceRowSecurity: true, pg.AlterTableType_AT_SetOptions: true,
	pg.AlterTableType_AT_ResetOptions: true, pg.AlterTableType_AT_SetLogged: true, pg.AlterTableType_AT_SetUnLogged: true,
	pg.AlterTableType_AT_DetachPartition: true, pg.AlterTableType_AT_DetachPartitionFinalize: true,
}

func (a *analyzer) alterCommand(c *pg.AlterTableCmd, rel *Relation, rules []*Rule, loc int) {
	rule := ruleFor(rules, c.GetName())
	sc := tableScope(rel)
	if rel.Protected && len(rules) == 0 && !storageOnly[c.GetSubtype()] {
		a.refuse(loc, "this ALTER TABLE is not supported on a view or partition with protected columns", "Alter the table that has the rules.")
		return
	}
	switch c.GetSubtype() {
	case pg.AlterTableType_AT_AddColumn:
		cd := c.Def.GetColumnDef()
		if r := ruleFor(rules, cd.GetColname()); r != nil {
			a.protectColumn(cd, r)
		} else {
			a.plainColumn(cd, rel, sc)
		}
	case pg.AlterTableType_AT_AddConstraint:
		a.tableConstraint(c.Def.GetConstraint(), rel, sc)
	case pg.AlterTableType_AT_DropConstraint:
		for _, r := range rules {
			if c.Name == r.CheckName() {
				a.refuse(loc, "constraint "+c.Name+" guards protected column "+r.Name(), "")
			}
		}
	case pg.AlterTableType_AT_ColumnDefault, pg.AlterTableType_AT_AlterColumnType, pg.AlterTableType_AT_AddIdentity,
		pg.AlterTableType_AT_SetIdentity, pg.AlterTableType_AT_DropIdentity, pg.AlterTableType_AT_SetExpression, pg.AlterTableType_AT_DropExpression:
		if rule != nil && !(c.Subtype == pg.AlterTableType_AT_ColumnDefault && c.Def == nil) {
			a.refuse(loc, "protected column "+rule.Name()+" cannot be altered so", "Make a new column and move the values through the application.")
			return
		}
		if cd := c.Def.GetColumnDef(); cd != nil {
			a.plainColumn(cd, rel, sc)
		} else {
			a.open(c.Def, sc)
		}
	case pg.AlterTableType_AT_DropColumn, pg.AlterTableType_AT_SetNotNull, pg.AlterTableType_AT_DropNotNull,
		pg.AlterTableType_AT_SetStatistics, pg.AlterTableType_AT_SetStorage, pg.AlterTableType_AT_SetCompression,
		pg.AlterTableType_AT_ValidateConstraint, pg.AlterTableType_AT_AlterConstraint, pg.AlterTableType_AT_ChangeOwner,
		pg.AlterTableType_AT_ClusterOn, pg.AlterTableType_AT_DropCluster, pg.AlterTableType_AT_SetTableSpace,
		pg.AlterTableType_AT_SetRelOptions, pg.AlterTableType_AT_ResetRelOptions, pg.AlterTableType_AT_ReplicaIdentity,
		pg.AlterTableType_AT_EnableRowSecurity, pg.AlterTableType_AT_DisableRowSecurity,
		pg.AlterTableType_AT_ForceRowSecurity, pg.AlterTableType_AT_NoForceRowSecurity,
		pg.AlterTableType_AT_SetOptions, pg.AlterTableType_AT_ResetOptions, pg.AlterTableType_AT_SetLogged, pg.AlterTableType_AT_SetUnLogged,
		pg.AlterTableType_AT_DetachPartition, pg.AlterTableType_AT_DetachPartitionFinalize:
	case pg.AlterTableType_AT_AttachPartition:
		if rel.Protected || a.reachesPartition(c) {
			a.refuse(loc, "ATTACH PARTITION is not supported where columns are protected", "CREATE TABLE .. PARTITION OF makes a partition.")
		}
	case pg.AlterTableType_AT_AddInherit, pg.AlterTableType_AT_DropInherit:
		if len(rules) > 0 || a.reaches(c.Def.GetRangeVar()) {
			a.refuse(loc, "INHERIT is not supported where columns are protected", "")
		}
	default:
		if len(rules) > 0 {
			a.refuse(loc, "this ALTER TABLE is not supported on a table with protected columns", "")
		}
	}
}

func (a *analyzer) reachesPartition(c *pg.AlterTableCmd) bool {
	rv := c.Def.GetPartitionCmd().GetName()
	return rv != nil && a.reaches(rv)
}

// index checks CREATE INDEX: plain columns in equality mode only.
func (a *analyzer) index(s *pg.IndexStmt) {
	rel := a.relation(s.Relation)
	if rel == nil {
		return
	}
	sc := tableScope(rel)
	for _, n := range s.IndexParams {
		e := n.GetIndexElem()
		a.indexElem(e, rel, sc, "cannot be indexed")
		if c := rel.column(e.GetName()); c != nil && c.Rule != nil && s.AccessMethod != "btree" && s.AccessMethod != "hash" {
			a.refuse(int(s.Relation.Location), "protected column "+c.Rule.Name()+" can be indexed by btree and hash only", "")
		}
	}
	a.open(s.WhereClause, sc)
}

// rename refuses names that would take a table or column from under its rule,
// or put another one there.
func (a *analyzer) rename(s *pg.RenameStmt) {
	if s.Relation == nil {
		return
	}
	loc := int(s.Relation.Location)
	switch s.RenameType {
	case pg.ObjectType_OBJECT_TABLE, pg.ObjectType_OBJECT_VIEW, pg.ObjectType_OBJECT_MATVIEW, pg.ObjectType_OBJECT_FOREIGN_TABLE:
		if a.reaches(s.Relation) || a.cat.rules[s.Newname] != nil {
			a.refuse(loc, "a table with protected columns cannot be renamed, nor another take its name", "Its values are bound to its name.")
		}
	case pg.ObjectType_OBJECT_COLUMN:
		rel, res := a.resolve(s.Relation)
		if res == needPath {
			a.needs(NeedPath)
		}
		if res != resolved {
			return
		}
		rules := a.cat.rules[rel.Name][rel.Schema]
		if ruleFor(rules, s.Subname) != nil || ruleFor(rules, s.Newname) != nil {
			a.refuse(loc, "a protected column cannot be renamed, nor another take its name", "Its values are bound to its name.")
		}
	case pg.ObjectType_OBJECT_TABCONSTRAINT:
		for _, bySchema := range a.cat.rules[s.Relation.Relname] {
			for _, r := range bySchema {
				if s.Subname == r.CheckName() {
					a.refuse(loc, "constraint "+s.Subname+" guards protected column "+r.Name(), "")
				}
			}
		}
	}
}

func (a *analyzer) moveSchema(s *pg.AlterObjectSchemaStmt) {
	if s.Relation == nil {
		return
	}
	if a.reaches(s.Relation) || a.cat.rules[s.Relation.Relname][s.Newschema] != nil {
		a.refuse(int(s.Relation.Location), "a table with protected columns cannot change its schema, nor another take its name", "")
	}
}

// policy checks the expressions of a row security policy.
func (a *analyzer) policy(table *pg.RangeVar, n *pg.Node) {
	rel := a.relation(table)
	if rel == nil {
		return
	}
	sc := tableScope(rel)
	switch x := n.Node.(type) {
	case *pg.Node_CreatePolicyStmt:
		a.open(x.CreatePolicyStmt.Qual, sc)
		a.open(x.CreatePolicyStmt.WithCheck, sc)
	case *pg.Node_AlterPolicyStmt:
		a.open(x.AlterPolicyStmt.Qual, sc)
		a.open(x.AlterPolicyStmt.WithCheck, sc)
	}
}
