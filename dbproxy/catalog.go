// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sidekey/sidekey/dbproxy/plan"
	"github.com/sidekey/sidekey/proxy"
)

// planRules turns configured rules into those of package plan.
func planRules(columns []proxy.ColumnRule, tenantSetting string) ([]*plan.Rule, error) {
	rules := make([]*plan.Rule, 0, len(columns))
	for i, c := range columns {
		t, err := planType(c.Type)
		if err != nil {
			return nil, fmt.Errorf("columns[%d].type: %w", i, err)
		}
		schema, table, _ := strings.Cut(c.QualifiedTable(), ".")
		r := &plan.Rule{Schema: schema, Table: table, Column: c.Column, Type: t, Equality: c.Mode == proxy.ModeEquality || c.Mode == proxy.ModeRange,
			Ordered: c.Mode == proxy.ModeRange, Prefix: proxy.CheckPrefix(c), MinLen: proxy.MinSealed(c), Index: i, Search: planSearch(c.Search)}
		boundTable, boundColumn := c.BoundColumn()
		if r.Binding = "column:" + boundTable + "." + boundColumn; c.Domain != "" {
			r.Binding = "domain:" + c.Domain
		}
		if c.BoundAs != "" {
			schema, table, _ := strings.Cut(boundTable, ".")
			r.Was = &plan.Name{Schema: schema, Table: table, Column: boundColumn}
		}
		if c.PerTenant {
			r.TenantSetting = tenantSetting
		}
		if why := t.Comparable(); r.Equality && why != "" {
			return nil, fmt.Errorf("columns[%d].mode: %s is not possible: %s", i, c.Mode, why)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// planType turns the type of a rule into that of package plan.
func planType(name string) (plan.Type, error) {
	t, err := proxy.ParseType(name)
	if err != nil || t.Name != "enum" {
		return plan.ParseType(name)
	}
	return plan.EnumType(t.Enum, t.EnumLabels()), nil
}

func quoteLiteral(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// catalogQuery reads everything that plans need, as text: one row for each
// relation that has the name of a configured table or of one that depends on
// it, and for these one row for each column. On one of which no rule says anything,
// but that has a guard, as a partition that was detached, depends so, too. Temporary relations are those of all
// sessions, of which only what depends on a configured table counts. The definition of a view that another
// session has locked would have to be waited for: without it, the view is refused.
func catalogQuery(rules []*plan.Rule) string {
	var pairs, names []string
	for _, r := range rules {
		pairs = append(pairs, "("+quoteLiteral(r.Schema)+", "+quoteLiteral(r.Table)+")")
		names = append(names, quoteLiteral(r.Table))
		if r.Was != nil {
			pairs = append(pairs, "("+quoteLiteral(r.Was.Schema)+", "+quoteLiteral(r.Was.Table)+")")
			names = append(names, quoteLiteral(r.Was.Table))
		}
	}
	return `WITH RECURSIVE prot AS (
  SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE (n.nspname, c.relname) IN (` + strings.Join(pairs, ", ") + `) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
), up AS (
  SELECT oid FROM prot UNION SELECT i.inhparent FROM up JOIN pg_catalog.pg_inherits i ON i.inhrelid = up.oid
), down AS (
  SELECT oid, oid AS root FROM prot UNION SELECT i.inhrelid, down.root FROM down JOIN pg_catalog.pg_inherits i ON i.inhparent = down.oid
), orphans AS (
  SELECT conrelid AS oid FROM pg_catalog.pg_constraint WHERE conname LIKE 'sidekey\_sealed\_%' AND contype = 'c' AND conrelid <> 0
), deps AS (
  SELECT oid FROM (SELECT oid FROM up UNION SELECT oid FROM down UNION SELECT oid FROM orphans) x
  UNION
  SELECT r.ev_class FROM deps JOIN pg_catalog.pg_depend p ON p.refobjid = deps.oid
    AND p.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND p.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
  JOIN pg_catalog.pg_rewrite r ON r.oid = p.objid
), locked AS (
  SELECT relation FROM pg_catalog.pg_locks WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock' AND pid <> pg_catalog.pg_backend_pid()
), names AS (
  SELECT relname FROM pg_catalog.pg_class WHERE oid IN (SELECT oid FROM deps)
  UNION SELECT v FROM pg_catalog.unnest(ARRAY[` + strings.Join(names, ", ") + `]::pg_catalog.name[]) v
)
SELECT n.nspname, c.relname, c.oid::pg_catalog.text, c.relkind::pg_catalog.text,
  CASE WHEN c.oid IN (SELECT oid FROM prot) THEN 'p' WHEN c.oid IN (SELECT oid FROM up) THEN 'd'
    WHEN c.oid IN (SELECT oid FROM down) THEN 'c' WHEN c.oid IN (SELECT oid FROM orphans) THEN 'o' WHEN c.oid IN (SELECT oid FROM deps) THEN 'v' ELSE 'n' END,
  COALESCE(a.attname, ''), COALESCE(a.attnum, 0)::pg_catalog.text, COALESCE(a.atttypid, 0)::pg_catalog.text,
  CASE WHEN a.attgenerated <> '' THEN 'generated' ELSE COALESCE(a.atthasdef, false)::pg_catalog.text END,
  COALESCE((SELECT pg_catalog.string_agg(pg_catalog.pg_get_constraintdef(k.oid), pg_catalog.chr(10))
    FROM pg_catalog.pg_constraint k WHERE a.attnum = ANY (k.conkey) AND k.conrelid = c.oid AND k.contype = 'c' AND k.convalidated), ''),
  COALESCE((SELECT pg_catalog.array_position(k.conkey, a.attnum) FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'p'), 0)::pg_catalog.text,
  COALESCE((SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef d
    WHERE d.adrelid = c.oid AND d.adnum = a.attnum AND a.atttypid = 'pg_catalog.bytea'::pg_catalog.regtype), ''),
  COALESCE((SELECT pg_catalog.string_agg(rn.nspname || pg_catalog.chr(10) || r.relname, pg_catalog.chr(10) ORDER BY r.oid)
    FROM down JOIN pg_catalog.pg_class r ON r.oid = down.root JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace WHERE down.oid = c.oid), ''),
  COALESCE(CASE WHEN c.relkind IN ('v', 'm') AND a.attnum = 1 AND c.oid NOT IN (SELECT relation FROM locked) THEN pg_catalog.pg_get_viewdef(c.oid) END, ''),
  CASE WHEN c.relkind IN ('v', 'm') AND a.attnum = 1 THEN pg_catalog.array_to_string(pg_catalog.current_schemas(true), pg_catalog.chr(10)) ELSE '' END,
  COALESCE(a.atttypmod, -1)::pg_catalog.text,
  COALESCE((SELECT tn.nspname || pg_catalog.chr(10) || t.typname FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace
    WHERE t.oid = a.atttypid AND t.oid >= ` + strconv.Itoa(int(plan.FirstUser)) + `), '')
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND c.oid IN (SELECT oid FROM deps)
WHERE c.relname IN (SELECT relname FROM names) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND (n.nspname NOT LIKE 'pg\_temp\_%' OR c.oid IN (SELECT oid FROM deps)) AND n.nspname NOT LIKE 'pg\_toast%'
ORDER BY c.oid, a.attnum`
}

// pathQuery reads the session's search_path as the server resolves it.
const pathQuery = `SELECT pg_catalog.current_schema(), pg_catalog.array_to_string(pg_catalog.current_schemas(true), pg_catalog.chr(10))`

func parsePath(rows [][]string) *plan.Path {
	if len(rows) != 1 || len(rows[0]) != 2 {
		return plan.NewPath("", []string{})
	}
	return plan.NewPath(rows[0][0], strings.Split(rows[0][1], "\n"))
}

// catalogRow is a row of catalogQuery.
type catalogRow struct {
	schema, name, kind string
	// part is what the relation has to do with protected tables: p one of them,
	// c a partition or child of one, d a parent of one, v a view that reads
	// one, o a table with guards that no rule is for, n nothing.
	part string
	// column and what follows are of one column, "" if there is none.
	column      string
	typ, typmod string
	// userType is schema and name of a type that is not the server's own.
	userType    string
	hasDefault  bool
	generated   bool
	defaultExpr string // of a bytea column
	constraints []string
	inKey       int // place in the primary key, from 1
	// roots are schema and name of each table that the relation is a child of.
	roots            []string
	definition, path string
	oid              uint32
	attnum           int16
}

func readCatalogRow(row []string) (r catalogRow, ok bool) {
	if len(row) != 17 {
		return r, false
	}
	oid, _ := strconv.ParseUint(row[2], 10, 32)
	attnum, _ := strconv.ParseInt(row[6], 10, 16)
	inKey, _ := strconv.Atoi(row[10])
	return catalogRow{schema: row[0], name: row[1], oid: uint32(oid), kind: row[3], part: row[4], column: row[5], attnum: int16(attnum),
		typ: row[7], hasDefault: row[8] != "false", generated: row[8] == "generated", constraints: strings.Split(row[9], "\n"), inKey: inKey, defaultExpr: row[11],
		roots: strings.Split(row[12], "\n"), definition: row[13], path: row[14], typmod: row[15], userType: row[16]}, true
}

// newSnapshot makes a catalog of the rows of catalogQuery.
func (p *Proxy) newSnapshot(rows [][]string) *snapshot {
	var relations []*plan.Relation
	var last *plan.Relation
	for _, text := range rows {
		row, ok := readCatalogRow(text)
		if !ok {
			continue
		}
		if last == nil || last.OID != row.oid {
			last = newRelation(row)
			relations = append(relations, last)
		}
		if row.column != "" && row.part != "d" {
			p.addColumn(last, row)
		}
	}
	return &snapshot{cat: plan.NewCatalog(p.rules, relations), plans: newPlanCache(), shapes: newPlanCache(), rows: rows}
}

func newRelation(row catalogRow) *plan.Relation {
	rel := &plan.Relation{Schema: row.schema, Name: row.name, OID: row.oid}
	view := row.part == "v" && row.definition != ""
	switch {
	case view:
		rel.Definition, rel.Path = row.definition, strings.Split(row.path, "\n")
	case row.part == "v" || row.part == "d" || (row.part == "c" || row.part == "p") && len(row.roots) != 2:
		rel.Refuse = "relation " + row.schema + "." + row.name + " depends on a table with protected columns"
		rel.Hint = "Use the table itself."
	case row.part == "o":
		rel.Refuse = "relation " + row.schema + "." + row.name + " has sealed values, and no rule for them"
		rel.Hint = "Give it rules of its own, attach it again, or drop it."
	}
	return rel
}

func (p *Proxy) addColumn(rel *plan.Relation, row catalogRow) {
	col := plan.Column{Name: row.column, Attnum: row.attnum, Generated: row.generated}
	schema, table := row.schema, row.name
	if row.part == "c" && len(row.roots) == 2 {
		// A partition or child holds the values of its parent.
		schema, table = row.roots[0], row.roots[1]
	}
	for _, r := range p.rules {
		if row.part != "v" && r.Schema == schema && r.Table == table && r.Column == col.Name {
			col.Rule = r
		}
	}
	if r := p.secondColumn(schema, table, row); r != nil {
		rel.Plain = append(rel.Plain, r)
	}
	if col.Rule != nil && p.passes(col.Rule, row) {
		rel.Plain, col.Rule = append(rel.Plain, col.Rule), nil
	} else if col.Rule == nil {
		p.refuseRenamed(rel, schema, table, row)
	} else {
		rel.Protected = true
		col.Default = row.hasDefault
		if why := unguarded(col.Rule, row); why != "" {
			rel.Refuse = "column " + col.Rule.Name() + " has a rule but cannot hold sealed values: " + why
			rel.Hint = "Create the table or column through the encrypting proxy, and copy the values through it."
		}
	}
	rel.Columns = append(rel.Columns, col)
	if row.inKey > 0 {
		for len(rel.PrimaryKey) < row.inKey {
			rel.PrimaryKey = append(rel.PrimaryKey, "")
		}
		rel.PrimaryKey[row.inKey-1] = col.Name
	}
}

// refuseRenamed refuses a table with a column whose rule has a new name for it
// or for the table: it has not been renamed yet.
func (p *Proxy) refuseRenamed(rel *plan.Relation, schema, table string, row catalogRow) {
	for _, r := range p.rules {
		if r.Was == nil || r.Was.Column != row.column || row.typ != strconv.Itoa(int(plan.Bytea)) {
			continue
		}
		if r.Was.Schema == schema && r.Was.Table == table || r.Schema == schema && r.Table == table {
			old := *r
			old.Column = row.column
			if guarded(&old, row.constraints) {
				rel.Refuse = "column " + schema + "." + table + "." + row.column + " has not been renamed yet: its rule has the name " + r.Name()
				rel.Hint = "Rename it through the encrypting proxy."
			}
		}
	}
}

func guarded(r *plan.Rule, constraints []string) bool {
	return slices.ContainsFunc(constraints, r.Guards)
}

// sealedDefault says whether a default is what the proxy makes of a literal.
func sealedDefault(r *plan.Rule, expr string) bool {
	digits, isHex := strings.CutPrefix(expr, `'\x`)
	digits, isBytea := strings.CutSuffix(digits, `'::bytea`)
	value, err := hex.DecodeString(digits)
	return isHex && isBytea && err == nil && r.Equality && len(value) >= r.MinLen && bytes.HasPrefix(value, r.Prefix)
}

// passes says that the column is in plaintext for the time of its move.
func (p *Proxy) passes(r *plan.Rule, row catalogRow) bool {
	schema, name, _ := strings.Cut(row.userType, "\n")
	declared := row.typ == strconv.FormatUint(uint64(r.Type.OID), 10) && row.typmod == strconv.Itoa(int(r.Type.Typmod)) || r.Type.IsNamed(schema, name)
	return p.columns[r.Index].Moving == proxy.MovingPlaintext && (row.kind == "r" || row.kind == "p") && declared && !guarded(r, row.constraints)
}

// secondColumn is the rule of a column whose move back to plaintext goes on, if row
// is of the column that it makes: until the swap that holds the values too.
func (p *Proxy) secondColumn(schema, table string, row catalogRow) *plan.Rule {
	for _, r := range p.rules {
		sealed := row.typ == strconv.Itoa(int(plan.Bytea)) && (r.Type.OID != plan.Bytea || guarded(r, row.constraints))
		if row.part != "v" && r.Schema == schema && r.Table == table && row.column == shadowName(r.Column) && !sealed {
			return r
		}
	}
	return nil
}

// unguarded says what the column lacks.
func unguarded(r *plan.Rule, row catalogRow) string {
	if row.kind != "r" && row.kind != "p" {
		return "it is not one of a table"
	}
	if row.typ != strconv.Itoa(int(plan.Bytea)) {
		return "its type is not bytea"
	}
	if row.hasDefault && !sealedDefault(r, row.defaultExpr) {
		return "it has a default that is not sealed"
	}
	if guarded(r, row.constraints) {
		return ""
	}
	return "the constraint " + r.CheckName() + " is missing"
}
