// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"sort"
	"strconv"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// System is what the server's own catalogs look like: for each that describes
// columns, under schema.name, its columns in order.
type System struct{ Columns map[string][]string }

// WithSystem gives a catalog with which queries of the server's catalogs see
// protected columns as they are declared. nil: as they are stored.
func (c *Catalog) WithSystem(s *System) *Catalog {
	n := *c
	n.system = s
	return &n
}

// SystemQuery reads the columns of the catalogs that describe columns: schema,
// name and the columns' names, separated by line breaks.
func SystemQuery() string {
	var list []string
	for name := range descriptions {
		schema, table, _ := strings.Cut(name, ".")
		list = append(list, "("+nameLiteral(schema)+", "+nameLiteral(table)+")")
	}
	sort.Strings(list)
	return `SELECT n.nspname, c.relname, pg_catalog.string_agg(a.attname, pg_catalog.chr(10) ORDER BY a.attnum)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE (n.nspname, c.relname) IN (` + strings.Join(list, ", ") + `) GROUP BY 1, 2`
}

// description is how one catalog describes protected columns as declared.
type description struct {
	// key is the primary key. Where a query groups by it, the other columns can
	// be selected too, which they could not from a subquery.
	key []string
	// only, if set, is the column without which it need not be replaced.
	only string
	// defaults says that it need not be replaced unless a protected column has a
	// default.
	defaults bool
	// columns replaces columns by expressions over the catalog a and what join
	// brings along.
	columns map[string]string
	join    string
	where   string
}

// Parts of the SQL below: the list of protected columns, and what makes a
// CHECK constraint one of their guards.
const (
	declaredAs  = "(VALUES %[1]s) v(s, r, c, t, m)"
	guardedBy   = "(VALUES %[2]s) g(s, r, k)"
	ofRelation  = "n.oid = r.relnamespace AND n.nspname = v.s AND r.relname = v.r"
	bytea       = "17::pg_catalog.oid"
	informative = "information_schema."
)

// descriptions are the catalogs that are replaced.
var descriptions = map[string]description{
	"pg_catalog.pg_attribute": {
		key: []string{"attrelid", "attnum"},
		columns: map[string]string{
			"atttypid":     "COALESCE(d.oid, a.atttypid)",
			"atttypmod":    "CASE WHEN d.oid IS NULL THEN a.atttypmod ELSE d.m END",
			"attlen":       "COALESCE(d.typlen, a.attlen)",
			"attbyval":     "COALESCE(d.typbyval, a.attbyval)",
			"attalign":     "COALESCE(d.typalign, a.attalign)",
			"attstorage":   "COALESCE(d.typstorage, a.attstorage)",
			"attndims":     "CASE WHEN d.typelem <> 0 AND d.typlen = -1 THEN GREATEST(a.attndims, 1::pg_catalog.int2) ELSE a.attndims END",
			"attcollation": "COALESCE(d.typcollation, a.attcollation)",
			"atthasdef":    "(a.atthasdef AND d.oid IS NULL)",
		},
		// The list is made once, of the tables that exist and of their indexes, and
		// then joined: OFFSET 0 keeps it out of the query's own order of joins.
		join: " LEFT JOIN (SELECT i.o, v.c, v.m, t.oid, t.typlen, t.typbyval, t.typalign, t.typstorage, t.typcollation, t.typelem FROM " + declaredAs +
			" JOIN pg_catalog.pg_type t ON t.oid = v.t JOIN pg_catalog.pg_namespace n ON n.nspname = v.s" +
			" JOIN pg_catalog.pg_class r ON r.relnamespace = n.oid AND r.relname = v.r" +
			" CROSS JOIN LATERAL (SELECT r.oid UNION ALL SELECT x.indexrelid FROM pg_catalog.pg_index x WHERE x.indrelid = r.oid) i(o) OFFSET 0) d" +
			" ON d.o = a.attrelid AND d.c = a.attname AND a.atttypid = " + bytea,
	},
	"pg_catalog.pg_attrdef": {
		key: []string{"oid"}, defaults: true,
		where: " WHERE NOT EXISTS (SELECT 1 FROM " + declaredAs + ", pg_catalog.pg_attribute b, pg_catalog.pg_class r, pg_catalog.pg_namespace n" +
			" WHERE b.attrelid = a.adrelid AND b.attnum = a.adnum AND b.atttypid = " + bytea + " AND b.attname = v.c AND r.oid = a.adrelid AND " + ofRelation + ")",
	},
	"pg_catalog.pg_constraint": {
		key: []string{"oid"},
		where: " WHERE a.contype <> 'c' OR NOT EXISTS (SELECT 1 FROM " + guardedBy + ", pg_catalog.pg_class r, pg_catalog.pg_namespace n" +
			" WHERE a.conname = g.k AND r.oid = a.conrelid AND r.relname = g.r AND n.oid = r.relnamespace AND n.nspname = g.s)",
	},
	"pg_catalog.pg_class": {
		key: []string{"oid"}, only: "relchecks",
		columns: map[string]string{
			"relchecks": "(a.relchecks - CASE WHEN a.relchecks = 0 THEN 0 ELSE (SELECT pg_catalog.count(*) FROM " + guardedBy + ", pg_catalog.pg_constraint k, pg_catalog.pg_namespace n" +
				" WHERE k.conrelid = a.oid AND k.contype = 'c' AND k.conname = g.k AND a.relname = g.r AND n.oid = a.relnamespace AND n.nspname = g.s) END)::pg_catalog.int2",
		},
	},
	"information_schema.columns": {
		columns: map[string]string{
			"data_type": "COALESCE(CASE WHEN d.typelem <> 0 AND d.typlen = -1 THEN 'ARRAY' WHEN d.nspname = 'pg_catalog' THEN pg_catalog.format_type(d.oid, NULL)" +
				" WHEN d.oid IS NOT NULL THEN 'USER-DEFINED' END::" + informative + "character_data, a.data_type)",
			"udt_schema":               "COALESCE(d.nspname::" + informative + "sql_identifier, a.udt_schema)",
			"udt_name":                 "COALESCE(d.typname::" + informative + "sql_identifier, a.udt_name)",
			"character_maximum_length": "COALESCE(" + informative + "_pg_char_max_length(d.oid, d.m)::" + informative + "cardinal_number, a.character_maximum_length)",
			"character_octet_length":   "COALESCE(" + informative + "_pg_char_octet_length(d.oid, d.m)::" + informative + "cardinal_number, a.character_octet_length)",
			"numeric_precision":        "COALESCE(" + informative + "_pg_numeric_precision(d.oid, d.m)::" + informative + "cardinal_number, a.numeric_precision)",
			"numeric_precision_radix":  "COALESCE(" + informative + "_pg_numeric_precision_radix(d.oid, d.m)::" + informative + "cardinal_number, a.numeric_precision_radix)",
			"numeric_scale":            "COALESCE(" + informative + "_pg_numeric_scale(d.oid, d.m)::" + informative + "cardinal_number, a.numeric_scale)",
			"datetime_precision":       "COALESCE(" + informative + "_pg_datetime_precision(d.oid, d.m)::" + informative + "cardinal_number, a.datetime_precision)",
			"column_default":           "CASE WHEN d.oid IS NULL THEN a.column_default END",
		},
		join: " LEFT JOIN (SELECT v.s, v.r, v.c, v.m, t.oid, t.typname, t.typelem, t.typlen, n.nspname FROM " + declaredAs +
			" JOIN pg_catalog.pg_type t ON t.oid = v.t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace OFFSET 0) d" +
			" ON a.udt_schema = 'pg_catalog' AND a.udt_name = 'bytea' AND d.c = a.column_name AND d.r = a.table_name AND d.s = a.table_schema",
	},
	"information_schema.table_constraints": {
		where: " WHERE a.constraint_type <> 'CHECK' OR NOT EXISTS (SELECT 1 FROM " + guardedBy + " WHERE a.constraint_name = g.k AND a.table_name = g.r AND a.table_schema = g.s)",
	},
	"information_schema.constraint_column_usage": {
		where: " WHERE NOT EXISTS (SELECT 1 FROM " + guardedBy + " WHERE a.constraint_name = g.k AND a.table_name = g.r AND a.table_schema = g.s)",
	},
	"information_schema.check_constraints": {
		where: " WHERE NOT EXISTS (SELECT 1 FROM " + guardedBy + " WHERE a.constraint_name = g.k AND a.constraint_schema = g.s)",
	},
}

// describedNames are the names in descriptions without their schema.
var describedNames = func() map[string]string {
	schemas := make(map[string]string)
	for name := range descriptions {
		schema, table, _ := strings.Cut(name, ".")
		schemas[table] = schema
	}
	return schemas
}()

// describes says whether an identifier names a catalog that is replaced.
func (c *Catalog) describes(name string) bool { return c.system != nil && describedNames[name] != "" }

// describe has a SELECT read the server's catalogs so that protected columns
// are of their declared types and their guards are not there.
func (a *analyzer) describe(s *pg.SelectStmt, sc *scope) {
	if a.cat.system == nil || a.kept || len(s.LockingClause) > 0 {
		return
	}
	grouped := groupedNames(s)
	for _, n := range s.FromClause {
		a.describeItem(n, grouped, sc)
	}
}

func (a *analyzer) describeItem(n *pg.Node, grouped map[string]bool, sc *scope) {
	if j := n.GetJoinExpr(); j != nil {
		a.describeItem(j.Larg, grouped, sc)
		a.describeItem(j.Rarg, grouped, sc)
		return
	}
	rv := n.GetRangeVar()
	if rv == nil || !a.cat.describes(rv.Relname) || !rv.Inh || rv.Schemaname == "" && a.cte(rv.Relname, sc) != nil {
		return
	}
	name := a.systemName(rv)
	d, known := descriptions[name]
	columns := a.cat.system.Columns[name]
	if !known || len(columns) == 0 || d.only != "" && !a.says(d.only) || d.defaults && !a.cat.hasDefaults() || groupedBy(d.key, grouped) {
		return
	}
	if strings.HasPrefix(name, "pg_catalog.") {
		columns = a.systemColumns(columns)
	}
	a.replaceRelation(rv, a.cat.described(name, d, columns))
}

// hasDefaults says whether a protected column has a default, which is not shown:
// it is ciphertext.
func (c *Catalog) hasDefaults() bool {
	for _, rels := range c.byName {
		for _, rel := range rels {
			for i := range rel.Columns {
				if rel.Columns[i].Default {
					return true
				}
			}
		}
	}
	return false
}

// systemName is the full name of a catalog, "" if a bare name may mean something
// else: pg_catalog comes first unless the search_path says otherwise.
func (a *analyzer) systemName(rv *pg.RangeVar) string {
	if rv.Schemaname != "" {
		return rv.Schemaname + "." + rv.Relname
	}
	schema, path := describedNames[rv.Relname], a.path()
	if path == nil && schema == "pg_catalog" {
		return schema + "." + rv.Relname
	}
	for _, s := range path {
		if s == schema {
			return schema + "." + rv.Relname
		}
		if s != "pg_catalog" && !isTemporary(s) {
			break
		}
	}
	return ""
}

// says whether a word stands anywhere in the text.
func (a *analyzer) says(word string) bool {
	for i := range a.tokens {
		if identifier(a.text(a.tokens[i])) == word {
			return true
		}
	}
	return false
}

// systemColumns adds the system columns that the text names: a subquery does
// not have them by itself.
func (a *analyzer) systemColumns(columns []string) []string {
	out := append([]string(nil), columns...)
	for _, name := range []string{"tableoid", "ctid", "xmin", "xmax", "cmin", "cmax"} {
		if a.says(name) {
			out = append(out, name)
		}
	}
	return out
}

// replaceRelation puts a subquery in the place of a relation's name.
func (a *analyzer) replaceRelation(rv *pg.RangeVar, query string) {
	i := a.tokenAt(int(rv.Location))
	if i < 0 {
		return
	}
	start := int(a.tokens[i].Start)
	for a.word(i+1) == "." {
		i += 2
	}
	if i >= len(a.tokens) || a.word(i+1) == "*" {
		return
	}
	if rv.Alias == nil {
		query += " AS " + quoteIdent(rv.Relname)
		a.unqualify(rv)
	}
	a.edits = append(a.edits, Edit{start, int(a.tokens[i].End), query})
	a.positional = true
}

// unqualify takes the schema off columns of a relation that has become a
// subquery: schema.relation.column is relation.column.
func (a *analyzer) unqualify(rv *pg.RangeVar) {
	if rv.Schemaname == "" {
		return
	}
	for i := 0; i+4 < len(a.tokens); i++ {
		if a.word(i+1) == "." && a.word(i+3) == "." && (i == 0 || a.word(i-1) != ".") &&
			identifier(a.text(a.tokens[i])) == rv.Schemaname && identifier(a.text(a.tokens[i+2])) == rv.Relname {
			a.edits = append(a.edits, Edit{int(a.tokens[i].Start), int(a.tokens[i+2].Start), ""})
		}
	}
}

// groupedNames are the columns that a SELECT groups by, by their last name.
func groupedNames(s *pg.SelectStmt) map[string]bool {
	names := make(map[string]bool)
	for _, n := range s.GroupClause {
		if k := n.GetAConst().GetIval(); k != nil {
			if i := int(k.GetIval()); i >= 1 && i <= len(s.TargetList) {
				n = s.TargetList[i-1].GetResTarget().GetVal()
			}
		}
		if f := n.GetColumnRef().GetFields(); len(f) > 0 {
			names[f[len(f)-1].GetString_().GetSval()] = true
		}
	}
	return names
}

func groupedBy(key []string, grouped map[string]bool) bool {
	for _, k := range key {
		if !grouped[k] {
			return false
		}
	}
	return len(key) > 0
}

// described is the subquery that describes protected columns as declared.
func (c *Catalog) described(name string, d description, columns []string) string {
	list := make([]string, 0, len(columns))
	for _, column := range columns {
		if expr := d.columns[column]; expr != "" {
			list = append(list, expr+" AS "+quoteIdent(column))
		} else {
			list = append(list, "a."+quoteIdent(column))
		}
	}
	declared, guards := c.declarations()
	sql := "(SELECT " + strings.Join(list, ", ") + " FROM " + name + " a" + d.join + d.where + ")"
	return strings.NewReplacer("%[1]s", declared, "%[2]s", guards).Replace(sql)
}

// declarations lists the protected columns with their types, and the guards,
// as rows of VALUES.
func (c *Catalog) declarations() (declared, guards string) {
	seen := make(map[string]bool)
	var columns, checks []string
	add := func(schema, table, column string, r *Rule, t Type) {
		names := fmt.Sprintf("(%s::pg_catalog.name, %s::pg_catalog.name, ", nameLiteral(schema), nameLiteral(table))
		row := names + nameLiteral(column) + "::pg_catalog.name, " + t.lookup(schema) + ", " +
			strconv.Itoa(int(t.Typmod)) + ")"
		if seen[row] {
			return
		}
		seen[row] = true
		columns = append(columns, row)
		for _, check := range r.CheckNames() {
			checks = append(checks, names+nameLiteral(check)+"::pg_catalog.name)")
		}
	}
	for _, bySchema := range c.rules {
		for _, rules := range bySchema {
			for _, r := range rules {
				add(r.Schema, r.Table, r.Column, r, r.Type)
			}
		}
	}
	for _, rels := range c.byName {
		for _, rel := range rels {
			for _, col := range rel.Columns {
				if col.Rule == nil || col.Array {
					continue
				}
				t := col.Rule.Type
				if col.Type.OID != 0 {
					t = col.Type
				}
				add(rel.Schema, rel.Name, col.Name, col.Rule, t)
			}
		}
	}
	sort.Strings(columns)
	sort.Strings(checks)
	return strings.Join(columns, ", "), strings.Join(checks, ", ")
}

// lookup is the SQL that gives the object ID of the type. An enum and citext are
// looked for by name, in the table's schema first; where the database has none,
// they are text, as Wire has it.
func (t Type) lookup(schema string) string {
	name, kind := "citext", "b"
	var named []string
	switch t.OID {
	case Enum:
		n, err := parseTypeName(t.Enum)
		if err != nil {
			return "25::pg_catalog.oid"
		}
		named, kind = names(n.Names), "e"
		name = named[len(named)-1]
	case Citext:
	default:
		return strconv.FormatUint(uint64(t.OID), 10) + "::pg_catalog.oid"
	}
	where := "y.typname = " + nameLiteral(name) + " AND y.typtype = '" + kind + "'"
	if len(named) > 1 {
		where += " AND z.nspname = " + nameLiteral(named[len(named)-2])
	}
	return "COALESCE((SELECT y.oid FROM pg_catalog.pg_type y JOIN pg_catalog.pg_namespace z ON z.oid = y.typnamespace WHERE " + where +
		" ORDER BY z.nspname = " + nameLiteral(schema) + " DESC, pg_catalog.pg_type_is_visible(y.oid) DESC, y.oid LIMIT 1), 25::pg_catalog.oid)"
}

// nameLiteral is a string that means the same under every setting of
// standard_conforming_strings and client_encoding.
func nameLiteral(s string) string {
	plain := true
	for i := 0; i < len(s); i++ {
		plain = plain && s[i] != '\\' && s[i] < 0x80
	}
	s = strings.ReplaceAll(s, "'", "''")
	if plain {
		return "'" + s + "'"
	}
	var b strings.Builder
	b.WriteString("E'")
	for _, r := range s {
		switch {
		case r == '\\':
			b.WriteString(`\\`)
		case r < 0x80:
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\U%08X`, r)
		}
	}
	return b.String() + "'"
}
