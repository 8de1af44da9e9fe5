// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sidekey/sidekey/dbproxy/plan"
	"github.com/sidekey/sidekey/proxy"
)

// planRules turns configured rules into those of package plan.
func planRules(columns []proxy.ColumnRule) ([]*plan.Rule, error) {
	rules := make([]*plan.Rule, 0, len(columns))
	for i, c := range columns {
		t, err := plan.ParseType(c.Type)
		if err != nil {
			return nil, fmt.Errorf("columns[%d].type: %w", i, err)
		}
		schema, table, _ := strings.Cut(c.QualifiedTable(), ".")
		r := &plan.Rule{Schema: schema, Table: table, Column: c.Column, Type: t, Equality: c.Mode == proxy.ModeEquality,
			Prefix: proxy.CheckPrefix(c), MinLen: proxy.MinSealed(c), Index: i}
		if r.Binding = "column:" + r.Name(); c.Domain != "" {
			r.Binding = "domain:" + c.Domain
		}
		if why := t.Comparable(); r.Equality && why != "" {
			return nil, fmt.Errorf("columns[%d].mode: equality is not possible: %s", i, why)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

func quoteLiteral(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// catalogQuery reads everything that plans need, as text: one row for each
// relation that has the name of a configured table or of one that depends on
// it, and for configured tables one row for each column.
func catalogQuery(rules []*plan.Rule) string {
	var pairs, names []string
	for _, r := range rules {
		pairs = append(pairs, "("+quoteLiteral(r.Schema)+", "+quoteLiteral(r.Table)+")")
		names = append(names, quoteLiteral(r.Table))
	}
	return `WITH RECURSIVE prot AS (
  SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE (n.nspname, c.relname) IN (` + strings.Join(pairs, ", ") + `) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
), up AS (
  SELECT oid FROM prot UNION SELECT i.inhparent FROM up JOIN pg_catalog.pg_inherits i ON i.inhrelid = up.oid
), down AS (
  SELECT oid FROM prot UNION SELECT i.inhrelid FROM down JOIN pg_catalog.pg_inherits i ON i.inhparent = down.oid
), deps AS (
  SELECT oid FROM (SELECT oid FROM up UNION SELECT oid FROM down) x
  UNION
  SELECT r.ev_class FROM deps JOIN pg_catalog.pg_depend p ON p.refobjid = deps.oid
    AND p.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND p.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
  JOIN pg_catalog.pg_rewrite r ON r.oid = p.objid
), names AS (
  SELECT relname FROM pg_catalog.pg_class WHERE oid IN (SELECT oid FROM deps)
  UNION SELECT v FROM pg_catalog.unnest(ARRAY[` + strings.Join(names, ", ") + `]::pg_catalog.name[]) v
)
SELECT n.nspname, c.relname, c.oid::pg_catalog.text, c.relkind::pg_catalog.text,
  CASE WHEN c.oid IN (SELECT oid FROM prot) THEN 'p' WHEN c.oid IN (SELECT oid FROM deps) THEN 'd' ELSE 'n' END,
  COALESCE(a.attname, ''), COALESCE(a.attnum, 0)::pg_catalog.text, COALESCE(a.atttypid, 0)::pg_catalog.text,
  COALESCE(a.atthasdef, false)::pg_catalog.text,
  COALESCE((SELECT pg_catalog.string_agg(pg_catalog.pg_get_constraintdef(k.oid), pg_catalog.chr(10))
    FROM pg_catalog.pg_constraint k WHERE a.attnum = ANY (k.conkey) AND k.conrelid = c.oid AND k.contype = 'c' AND k.convalidated), ''),
  COALESCE(a.atttypmod, -1)::pg_catalog.text
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND c.oid IN (SELECT oid FROM prot)
WHERE c.relname IN (SELECT relname FROM names) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND n.nspname NOT LIKE 'pg\_temp\_%' AND n.nspname NOT LIKE 'pg\_toast%'
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

// newSnapshot makes a catalog of the rows of catalogQuery.
func (p *Proxy) newSnapshot(rows [][]string) *snapshot {
	var relations []*plan.Relation
	var last *plan.Relation
	for _, row := range rows {
		if len(row) != 11 {
			continue
		}
		oid, _ := strconv.ParseUint(row[2], 10, 32)
		if last == nil || last.OID != uint32(oid) {
			last = &plan.Relation{Schema: row[0], Name: row[1], OID: uint32(oid)}
			relations = append(relations, last)
			if row[4] == "d" {
				last.Refuse = "relation " + row[0] + "." + row[1] + " depends on a table with protected columns"
				last.Hint = "Use the table itself."
			}
		}
		if row[4] == "p" && row[5] != "" {
			p.addColumn(last, row)
		}
	}
	return &snapshot{cat: plan.NewCatalog(p.rules, relations), plans: newPlanCache(), shapes: newPlanCache(), rows: rows}
}

func (p *Proxy) addColumn(rel *plan.Relation, row []string) {
	attnum, _ := strconv.ParseInt(row[6], 10, 16)
	col := plan.Column{Name: row[5], Attnum: int16(attnum)}
	for _, r := range p.rules {
		if r.Schema == rel.Schema && r.Table == rel.Name && r.Column == col.Name {
			col.Rule = r
		}
	}
	if col.Rule != nil && p.passes(col.Rule, row) {
		col.Rule = nil
	}
	if col.Rule != nil {
		rel.Protected = true
		if why := unguarded(col.Rule, row); why != "" {
			rel.Refuse = "column " + col.Rule.Name() + " has a rule but cannot hold sealed values: " + why
			rel.Hint = "Create the table or column through the encrypting proxy, and copy the values through it."
		}
	}
	rel.Columns = append(rel.Columns, col)
}

// passes says that the column is in plaintext for the time of its move.
func (p *Proxy) passes(r *plan.Rule, row []string) bool {
	return p.columns[r.Index].Moving == proxy.MovingPlaintext && (row[3] == "r" || row[3] == "p") &&
		row[7] == strconv.FormatUint(uint64(r.Type.OID), 10) && row[10] == strconv.Itoa(int(r.Type.Typmod)) && !guarded(r, row)
}

// unguarded says what the column lacks.
func unguarded(r *plan.Rule, row []string) string {
	if row[3] != "r" && row[3] != "p" {
		return "it is not one of a table"
	}
	if row[7] != strconv.Itoa(int(plan.Bytea)) {
		return "its type is not bytea"
	}
	if row[8] != "false" {
		return "it has a default"
	}
	if !guarded(r, row) {
		return "the constraint " + r.CheckName() + " is missing"
	}
	return ""
}

func guarded(r *plan.Rule, row []string) bool {
	return slices.ContainsFunc(strings.Split(row[9], "\n"), r.Guards)
}
