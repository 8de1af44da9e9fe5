// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"bytes"
	"fmt"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// createTable rewrites the configured columns of a CREATE TABLE.
func (a *analyzer) createTable(s *pg.CreateStmt) {
	if a.shadows(s.Relation) {
		return
	}
	rules, schema := a.rulesForNew(s.Relation)
	if len(rules) > 0 && s.OfTypename != nil {
		a.refuse(int(s.Relation.Location), "CREATE TABLE OF is not supported where columns are protected", "Declare the columns.")
	}
	rel := &Relation{Schema: schema, Name: s.Relation.Relname}
	child := a.inherited(s, rel, rules)
	for _, n := range s.TableElts {
		if cd := n.GetColumnDef(); cd != nil {
			a.addColumn(rel, cd, ruleFor(rules, cd.Colname))
		}
	}
	for _, n := range s.TableElts {
		if like := n.GetTableLikeClause(); like != nil {
			a.like(like, rel, rules)
		}
	}
	sc := tableScope(rel)
	for _, n := range s.TableElts {
		if cd := n.GetColumnDef(); cd != nil {
			a.columnDefinition(cd, rel, sc, ruleFor(rules, cd.Colname))
		}
		a.tableConstraint(n.GetConstraint(), rel, sc)
	}
	for _, n := range s.Constraints {
		a.tableConstraint(n.GetConstraint(), rel, sc)
	}
	a.partitionKey(s.Partspec, rel, sc)
	a.created(s, rel, child, len(rules) > 0)
}

// created has later statements of the text see the new table.
func (a *analyzer) created(s *pg.CreateStmt, rel *Relation, child, configured bool) {
	switch {
	case s.IfNotExists && a.exists(rel.Schema, rel.Name):
	case configured:
		a.cat = a.cat.with(rel)
	case child && !a.partition(s):
		a.madeHere(rel.Name)
	}
}

// madeHere notes a relation that holds or shows sealed values though no rule
// names it. Later statements of the text cannot use it; later texts have the
// catalog read first, which then knows it.
func (a *analyzer) madeHere(name string) {
	a.stmt.Hidden = true
	a.cat = a.cat.with(&Relation{Name: name, Refuse: "relation " + name + " has been made or changed by the same text, and depends on a table with protected columns",
		Hint: "Send the statement on its own."})
}

// shadows refuses temporary relations under the name of a protected one: they
// would be found before it.
func (a *analyzer) shadows(rv *pg.RangeVar) bool {
	if temporary(rv) && a.cat.lasting(rv.Relname) {
		a.refuse(int(rv.Location), "a temporary relation cannot have the name of a table with protected columns", "Choose another name.")
		return true
	}
	return false
}

// temporary says whether a relation is made as a temporary one. One that is made of
// such is so, too, which is not seen here.
func temporary(rv *pg.RangeVar) bool {
	return rv.GetRelpersistence() == "t" || isTemporary(rv.GetSchemaname())
}

func isTemporary(schema string) bool {
	return schema == "pg_temp" || strings.HasPrefix(schema, "pg_temp_")
}

func (a *analyzer) exists(schema, name string) bool {
	for _, r := range a.cat.byName[name] {
		if r.Schema == schema {
			return true
		}
	}
	return false
}

// rulesForNew gives the rules of a relation that is about to be made.
func (a *analyzer) rulesForNew(rv *pg.RangeVar) ([]*Rule, string) {
	bySchema := a.cat.rules[rv.Relname]
	if bySchema == nil {
		return nil, rv.Schemaname
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

// addColumn appends a column to a table that is being made or changed. One that
// it inherits is that already.
func (a *analyzer) addColumn(rel *Relation, cd *pg.ColumnDef, r *Rule) {
	if old := rel.column(cd.Colname); old != nil {
		if old.Rule != nil || r != nil {
			a.refuse(int(cd.Location), "column "+cd.Colname+" is inherited from a protected column and cannot be declared again", "Leave it out.")
		}
		return
	}
	rel.Columns = append(rel.Columns, Column{Name: cd.Colname, Attnum: int16(len(rel.Columns) + 1), Rule: r})
	rel.Protected = rel.Protected || r != nil
}

// columnDefinition rewrites or checks one column definition.
func (a *analyzer) columnDefinition(cd *pg.ColumnDef, rel *Relation, sc *scope, r *Rule) {
	if r != nil {
		a.protectColumn(cd, r, rel, sc)
		return
	}
	for _, n := range cd.Constraints {
		a.plainConstraint(n.GetConstraint(), cd.Colname, rel, sc)
	}
	a.open(cd.RawDefault, sc)
}

// inherited gives rel the columns of the tables it is a partition or child of,
// and says whether one of them is protected.
func (a *analyzer) inherited(s *pg.CreateStmt, rel *Relation, rules []*Rule) (child bool) {
	for _, n := range s.InhRelations {
		rv := n.GetRangeVar()
		parent, res := a.resolve(rv)
		switch {
		case res == needPath:
			a.needs(NeedPath)
		case res == needCatalog:
			a.needs(NeedCatalog)
			a.refuseIfFresh(CodeNoTable, `relation "`+rv.Relname+`" does not exist`)
		case res == unprotected || !parent.Protected && parent.Refuse == "":
			a.plainParent(rv, rules)
		case parent.Refuse != "" && len(rules) > 0:
			a.refuse(int(rv.Location), parent.Refuse, parent.Hint)
		default:
			child = true
			a.protectedParent(rv, parent, rel, rules)
		}
	}
	return child
}

// plainParent refuses to inherit a configured column that is not sealed.
func (a *analyzer) plainParent(rv *pg.RangeVar, rules []*Rule) {
	if len(rules) > 0 {
		a.refuse(int(rv.Location), "a table with protected columns cannot inherit from one without", "The columns it inherits would not be sealed. Declare them.")
	}
}

func (a *analyzer) protectedParent(rv *pg.RangeVar, parent, rel *Relation, rules []*Rule) {
	for _, c := range parent.Columns {
		r := ruleFor(rules, c.Name)
		switch {
		case r == nil && (c.Rule == nil || len(rules) == 0):
		case r == nil || c.Rule == nil || !r.carries(c.Rule):
			a.refuse(int(rv.Location), "the rules of "+rel.Name+" and of the table it inherits from differ for column "+c.Name,
				"A child needs no rules; with rules, its columns need the domain, mode and type of the parent's.")
		}
		if rel.column(c.Name) == nil {
			rel.Columns = append(rel.Columns, Column{Name: c.Name, Attnum: int16(len(rel.Columns) + 1), Rule: c.Rule, Default: c.Default})
			rel.Protected = rel.Protected || c.Rule != nil
		}
		if r != nil {
			a.stmt.Creates = append(a.stmt.Creates, r)
		}
	}
}

// Options of LIKE (parsenodes.h, TableLikeOption).
const (
	likeConstraints = 1 << 2
	likeDefaults    = 1 << 3
)

// like gives rel the columns of another table. Sealed ones come with their
// guard if constraints are included; rules for them must say the same.
func (a *analyzer) like(l *pg.TableLikeClause, rel *Relation, rules []*Rule) {
	loc := int(l.Relation.Location)
	from, res := a.resolve(l.Relation)
	switch {
	case res == needPath:
		a.needs(NeedPath)
	case res == needCatalog:
		a.needs(NeedCatalog)
		a.refuseIfFresh(CodeNoTable, `relation "`+l.Relation.Relname+`" does not exist`)
	case res == resolved && from.Refuse != "":
		a.refuse(loc, from.Refuse, from.Hint)
	case res == unprotected || !from.Protected:
		for _, r := range rules {
			if rel.column(r.Column) == nil {
				a.refuse(loc, "LIKE would make protected column "+r.Name()+" unsealed", "Declare the columns.")
			}
		}
	default:
		a.likeProtected(l, from, rel, rules)
	}
}

func (a *analyzer) likeProtected(l *pg.TableLikeClause, from, rel *Relation, rules []*Rule) {
	for _, c := range from.Columns {
		r := ruleFor(rules, c.Name)
		switch {
		case c.Rule == nil && r == nil:
		case c.Rule == nil || r == nil || !r.guardsLike(c.Rule):
			a.refuse(int(l.Relation.Location), "LIKE needs a rule of the same type and mode for each protected column: "+from.Name+"."+c.Name+" and "+rel.Name+"."+c.Name+" differ",
				"Add the rules of the new table, or declare its columns.")
		case l.Options&likeConstraints == 0:
			a.refuse(int(l.Relation.Location), "LIKE without constraints leaves protected column "+r.Name()+" without its guard", "Write LIKE .. INCLUDING CONSTRAINTS or INCLUDING ALL.")
		case c.Default && l.Options&likeDefaults != 0 && !r.carries(c.Rule):
			a.refuse(int(l.Relation.Location), "LIKE would copy the default of "+c.Rule.Name()+", which is bound to that column", "Write EXCLUDING DEFAULTS.")
		}
		rel.Columns = append(rel.Columns, Column{Name: c.Name, Attnum: int16(len(rel.Columns) + 1), Rule: r, Default: c.Default})
		rel.Protected = rel.Protected || r != nil
		if r != nil {
			a.stmt.Creates = append(a.stmt.Creates, r)
		}
	}
}

// guardsLike says whether the guard of o, with the column's name, is that of r.
func (r *Rule) guardsLike(o *Rule) bool {
	return r.Type == o.Type && r.Equality == o.Equality && r.Ordered == o.Ordered && bytes.Equal(r.Prefix, o.Prefix) && r.MinLen == o.MinLen
}

// partitionKey refuses protected columns: their ciphertexts do not fall into
// the ranges and lists that partitions are declared with.
func (a *analyzer) partitionKey(s *pg.PartitionSpec, rel *Relation, sc *scope) {
	for _, n := range s.GetPartParams() {
		p := n.GetPartitionElem()
		if c := rel.column(p.GetName()); c != nil && c.Rule != nil {
			a.refuse(int(p.Location), "protected column "+c.Rule.Name()+" cannot be a partition key", "Partition by another column.")
		}
		a.open(p.GetExpr(), sc)
	}
}

func tableScope(rel *Relation) *scope {
	return &scope{sources: []*source{rowOf(rel, rel.Name)}}
}

// rowOf is a row of the table under a name.
func rowOf(rel *Relation, name string) *source {
	s := relationFields(rel)
	s.name, s.qualifies, s.bare = name, true, true
	return s
}

// protectColumn makes a column definition one of sealed values.
func (a *analyzer) protectColumn(cd *pg.ColumnDef, r *Rule, rel *Relation, sc *scope) {
	a.stmt.Creates = append(a.stmt.Creates, r)
	if cd.CollClause != nil {
		a.refuse(int(cd.CollClause.Location), "protected column "+r.Name()+" cannot have a collation", "")
	}
	if at, end, ok := a.declaredType(cd.TypeName, r); ok {
		check := fmt.Sprintf("bytea CONSTRAINT %s CHECK (%s)", quoteIdent(r.CheckName()), r.CheckSQL())
		a.edits = append(a.edits, Edit{at, end, check})
	}
	for _, n := range cd.Constraints {
		a.protectedConstraint(n.GetConstraint(), r, rel, sc)
	}
}

// declaredType gives the range of a type name, which must be the rule's type.
func (a *analyzer) declaredType(n *pg.TypeName, r *Rule) (at, end int, ok bool) {
	declared, known := typeOf(n)
	at = int(n.GetLocation())
	end, ranged := a.wholeTypeEnd(at)
	if ranged && declares(n, r.Type) {
		return at, end, true
	}
	name := "another type"
	if known {
		name = declared.String()
	} else if ranged {
		name = a.sql[at:end] // as written: names of enums often differ in case only
	}
	a.refuseCode(codeTypeMismatch, at, "column "+r.Name()+" is not declared with the type of its rule",
		fmt.Sprintf("The rule says %s, the statement %s.", r.Type, name), "Change the rule or the statement. Lengths, and text for varchar, can change: the stored values do not depend on them.")
	return 0, 0, false
}
