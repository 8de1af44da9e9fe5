// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/sidekey/sidekey/dbproxy/plan"
)

// migrateTable is what the catalog says of a column and of what hangs on it.
type migrateTable struct {
	oid  uint32
	kind string // relkind: r, or p
	// partition says that it is one of a partitioned table.
	partition bool
	schema    string
	table     string // as it is
	name      string // quoted, with its schema
	column    string // as it is
	shadow    string // the name of the second column
	typ       plan.Type
	notNull   bool
	missing   bool // its definition holds the value of rows from before it
	// notNullAs is the NOT NULL constraint, name and definition, where it has one:
	// since PostgreSQL 18.
	notNullAs string
	comment   *string
	grants    []string // statements
	// settings are clauses of ALTER COLUMN for what was set of the column.
	settings []string
	checks   []string // definitions of the valid CHECK constraints on it
	indexes  []migrateIndex
	refusal  []string // what stands against changing its rows
	// dependents stand against another column in its place.
	dependents []string
	after      []string // the columns that it comes behind, and was before
	published  []string // publications that would publish the second column
	// triggers are those whose functions get to the column.
	triggers  []string
	hasShadow bool
	fires     bool // other triggers fire on UPDATE
	attnum    int16
	declared  declared
	// typeSchema and typeName are of the type, and labels those of an enum.
	typeSchema, typeName string
	labels               []string
	deterministic        bool            // its collation holds only the same values for equal
	parts                []*migrateTable // its partitions on all levels, those further down first
}

// migrateIndex is an index with the column in it.
type migrateIndex struct {
	oid                        uint32
	schema, name, method       string
	unique, primary            bool
	constraint                 *string
	deferrable, deferred       bool
	identity, clustered, valid bool
	nullsEqual                 bool
	definition                 string
	tablespace                 string // "" for that of the database
	comment, ofConstraint      *string
	// inherited says that it is part of an index of the partitioned table, and
	// partitioned that it has parts itself.
	inherited, partitioned bool
	constraintDefinition   *string
	columns                []string // of its key
	holds                  bool     // the column is one of its key, or is included
}

func quoteIdent(s string) string { return pgx.Identifier{s}.Sanitize() }

// shadowName is that of the second column.
func shadowName(column string) string {
	const suffix = "__sidekey"
	for len(column) > 63-len(suffix) {
		column = column[:len(column)-1]
	}
	return strings.ToValidUTF8(column, "") + suffix
}

// session has the server show values in one way, keeps the tool's changes from
// firing the triggers of others, and sees that nothing is hidden from it.
func (c *columnMove) session(ctx context.Context) error {
	for _, sql := range []string{
		"SET search_path TO pg_catalog", "SET client_encoding TO 'UTF8'", "SET statement_timeout TO 0", "SET idle_in_transaction_session_timeout TO '" + idlePatience + "'", "SET quote_all_identifiers TO off", "SET default_tablespace TO ''", "SET standard_conforming_strings TO on",
		"SET TimeZone TO 'UTC'", "SET DateStyle TO ISO", "SET IntervalStyle TO postgres", "SET bytea_output TO hex", "SET extra_float_digits TO 1", "SET row_security TO off",
		"SET default_transaction_isolation TO 'read committed'", "SET default_transaction_read_only TO off",
		"SET enable_hashjoin TO off", "SET enable_mergejoin TO off", "SET enable_seqscan TO off", "SET lock_timeout TO '2s'", "SET sidekey.migrate TO on",
	} {
		if _, err := c.conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	// These need a privilege, or are not of all versions. A lock that autovacuum has is
	// given up to one that waits for so long, and values are in no log.
	for _, sql := range []string{"SET deadlock_timeout TO '200ms'", "SET log_parameter_max_length TO 0", "SET log_parameter_max_length_on_error TO 0", "SET transaction_timeout TO 0", "SET idle_session_timeout TO 0",
		// The locks of a run whose machine is gone are not to stay for hours.
		"SET tcp_keepalives_idle TO 10", "SET tcp_keepalives_interval TO 5", "SET tcp_keepalives_count TO 3", "SET tcp_user_timeout TO '30s'", "SET client_connection_check_interval TO '5s'"} {
		var refused *pgconn.PgError
		if _, err := c.conn.Exec(ctx, sql); err != nil && !errors.As(err, &refused) {
			return err
		}
	}
	var version int
	var encoding string
	err := c.conn.QueryRow(ctx, "SELECT current_setting('server_version_num')::int, current_setting('server_encoding')").Scan(&version, &encoding)
	switch {
	case err != nil:
		return err
	case version < 140000:
		return errors.New("columns are moved on PostgreSQL 14 or newer")
	case encoding != "UTF8":
		return fmt.Errorf("the encoding of the database is %s, and must be UTF8", encoding)
	}
	return nil
}

const relationQuery = `SELECT c.oid, c.relkind::text, c.relpersistence::text, c.relispartition, c.relhassubclass OR EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid),
  pg_has_role(c.relowner, 'USAGE'), a.attnum, a.atttypid, a.atttypmod, a.attnotnull, a.atthasmissing, a.attidentity::text, a.attgenerated::text, col_description(c.oid, a.attnum),
  EXISTS (SELECT FROM pg_attribute s WHERE s.attrelid = c.oid AND s.attname = $4 AND NOT s.attisdropped),
  ARRAY(SELECT o.attname::text FROM pg_attribute o WHERE o.attrelid = c.oid AND NOT o.attisdropped AND o.attnum > a.attnum
    AND o.attnum < COALESCE((SELECT s.attnum FROM pg_attribute s WHERE s.attrelid = c.oid AND s.attname = $4 AND NOT s.attisdropped), 32767) ORDER BY o.attnum)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = $3 AND NOT a.attisdropped AND a.attnum > 0
WHERE n.nspname = $1 AND c.relname = $2`

// inspectTable reads what there is, of a partitioned table with its partitions.
func inspectTable(ctx context.Context, conn *pgx.Conn, r *plan.Rule) (*migrateTable, error) {
	t, err := inspectRelation(ctx, conn, r, false)
	if err == nil && t.kind == "p" {
		err = t.readParts(ctx, conn, r)
	}
	if err == nil {
		err = t.readPublications(ctx, conn)
	}
	return t, err
}

// inspectRelation reads what there is of a table, or of a partition of one.
func inspectRelation(ctx context.Context, conn *pgx.Conn, r *plan.Rule, ofParent bool) (*migrateTable, error) {
	t := &migrateTable{schema: r.Schema, table: r.Table, name: pgx.Identifier{r.Schema, r.Table}.Sanitize(), column: r.Column, shadow: shadowName(r.Column)}
	var persistence, identity, generated string
	var inherits, owner bool
	err := conn.QueryRow(ctx, relationQuery, r.Schema, r.Table, r.Column, t.shadow).Scan(&t.oid, &t.kind, &persistence, &t.partition, &inherits, &owner,
		&t.attnum, &t.typ.OID, &t.typ.Typmod, &t.notNull, &t.missing, &identity, &generated, &t.comment, &t.hasShadow, &t.after)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("the database has no such table or column")
	}
	if err != nil {
		return nil, err
	}
	against := func(holds bool, why string) {
		if holds {
			t.refusal = append(t.refusal, why)
		}
	}
	against(t.partition && !ofParent, "it is a partition, and moves with the others: the rule has to be of the partitioned table")
	against(t.kind != "r" && t.kind != "p", "it is not a table")
	against(inherits && t.kind == "r" && !t.partition, "it inherits, or is inherited from, and children are not watched as partitions are: make partitions of them, or move the rows into one table")
	against(!owner, "the role of admin_url_file is not an owner of the table")
	against(identity != "" || generated != "", "it is an identity or generated column")
	dependents := func(ctx context.Context, conn *pgx.Conn) error { return t.readDependents(ctx, conn, r) }
	for _, read := range []func(context.Context, *pgx.Conn) error{t.readDeclared, t.readChecks, t.readIndexes, dependents, t.readTriggers, t.readGrants, t.readSettings, t.readPartitioning, t.readHindrances} {
		if err := read(ctx, conn); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (t *migrateTable) readChecks(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = $1 AND contype = 'c' AND convalidated AND $2 = ANY (conkey)", t.oid, t.attnum)
	if err != nil {
		return err
	}
	t.checks, err = pgx.CollectRows(rows, pgx.RowTo[string])
	return err
}

const indexQuery = `SELECT x.indexrelid, n.nspname, i.relname, am.amname, x.indisunique, x.indisprimary, k.conname, COALESCE(k.condeferrable, false), COALESCE(k.condeferred, false),
  x.indisreplident, x.indisclustered, x.indisvalid, COALESCE((to_jsonb(x)->>'indnullsnotdistinct')::bool, false), pg_get_indexdef(x.indexrelid),
  i.relispartition, i.relkind = 'I', pg_get_constraintdef(k.oid),
  ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = x.indrelid AND a.attnum = ANY ((x.indkey::int2[])[0:x.indnkeyatts - 1])),
  $2 = ANY (x.indkey::int2[]), COALESCE((SELECT spcname::text FROM pg_tablespace p WHERE p.oid = i.reltablespace), ''), obj_description(x.indexrelid, 'pg_class'), obj_description(k.oid, 'pg_constraint')
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_namespace n ON n.oid = i.relnamespace JOIN pg_am am ON am.oid = i.relam
LEFT JOIN pg_constraint k ON k.conindid = x.indexrelid AND k.conrelid = x.indrelid AND k.contype IN ('p', 'u', 'x')
WHERE x.indrelid = $1 AND (EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = x.indexrelid
    AND d.refclassid = 'pg_class'::regclass AND d.refobjid = $1 AND d.refobjsubid = $2) OR $2 = ANY (x.indkey::int2[]))
  AND i.relname NOT LIKE 'sidekey\_pending\_%' ORDER BY x.indexrelid`

func (t *migrateTable) readIndexes(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, indexQuery, t.oid, t.attnum)
	if err != nil {
		return err
	}
	t.indexes, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (x migrateIndex, err error) {
		err = row.Scan(&x.oid, &x.schema, &x.name, &x.method, &x.unique, &x.primary, &x.constraint, &x.deferrable, &x.deferred,
			&x.identity, &x.clustered, &x.valid, &x.nullsEqual, &x.definition, &x.inherited, &x.partitioned, &x.constraintDefinition, &x.columns, &x.holds, &x.tablespace, &x.comment, &x.ofConstraint)
		return x, err
	})
	return err
}

// dependentQuery names everything that depends on the column and is neither one
// of its indexes nor a check that guards it.
const dependentQuery = `SELECT DISTINCT COALESCE(pg_describe_object('pg_class'::regclass, w.ev_class, 0), pg_describe_object(d.classid, d.objid, d.objsubid)),
  COALESCE(k.contype::text, ''), COALESCE(pg_get_constraintdef(k.oid), ''), COALESCE(quote_ident(k.conname), '')
FROM pg_depend d LEFT JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid
LEFT JOIN pg_constraint k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid
WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = $1 AND d.refobjsubid = $2 AND NOT (d.classid = 'pg_attrdef'::regclass AND
    EXISTS (SELECT FROM pg_attrdef f WHERE f.oid = d.objid AND f.adrelid = $1 AND f.adnum = $2))
  AND NOT (d.classid = 'pg_class'::regclass AND EXISTS (SELECT FROM pg_class i WHERE i.oid = d.objid AND i.relkind IN ('i', 'I')))
  AND COALESCE(k.contype::text, '') NOT IN ('p', 'u') ORDER BY 1`

func (t *migrateTable) readDependents(ctx context.Context, conn *pgx.Conn, r *plan.Rule) error {
	rows, err := conn.Query(ctx, dependentQuery, t.oid, t.attnum)
	if err != nil {
		return err
	}
	var what, kind, def, name string
	_, err = pgx.ForEachRow(rows, []any{&what, &kind, &def, &name}, func() error {
		switch {
		case kind == "n":
			t.notNullAs = name + " " + def
		case kind == "c" && (slices.ContainsFunc(r.CheckNames(), func(n string) bool { return quoteIdent(n) == quoteIdent(strings.Trim(name, `"`)) }) || r.Guards(def)):
		case kind == "f":
			t.dependents = append(t.dependents, what+" is a foreign key: drop it, and make it anew when both columns are of one domain")
		default:
			t.dependents = append(t.dependents, what+" depends on it: drop it")
		}
		return nil
	})
	return err
}

// triggerPrefix sorts behind the names of other triggers, so that ours sees a row
// as it is stored.
const triggerPrefix = "~sidekey_"

// triggerQuery says of each trigger what its function is given, and whether it sees
// the row behind ours.
const triggerQuery = `SELECT t.tgname::text, p.prosrc, replace(encode(t.tgargs, 'escape'), '\000', ' '), t.tgoldtable IS NOT NULL OR t.tgnewtable IS NOT NULL,
  t.tgtype & 2 > 0 AND t.tgtype & 1 > 0 AND t.tgname > $2 COLLATE "C", t.tgtype & 16 > 0 AND t.tgenabled IN ('O', 'A', 'R'), t.tgenabled IN ('A', 'R')
FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid WHERE t.tgrelid = $1 AND NOT t.tgisinternal AND t.tgname NOT LIKE '~sidekey\_%' ORDER BY 1`

func (t *migrateTable) readTriggers(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, triggerQuery, t.oid, triggerPrefix)
	if err != nil {
		return err
	}
	var name, body, args string
	var transition, behind, fires, always bool
	_, err = pgx.ForEachRow(rows, []any{&name, &body, &args, &transition, &behind, &fires, &always}, func() error {
		if seesColumn(t.column, body, args, transition) {
			t.triggers = append(t.triggers, name)
		}
		if behind {
			t.refusal = append(t.refusal, "trigger "+name+" would change rows behind the one that watches the column: rename it")
		}
		if fires && always {
			t.refusal = append(t.refusal, "trigger "+name+" fires always, also on what the move does to rows: disable it, or have it fire ENABLE TRIGGER only")
		}
		t.fires = t.fires || fires
		return nil
	})
	return err
}

// readGrants reads privileges on the column as statements.
func (t *migrateTable) readGrants(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, `SELECT g.privilege_type, CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END, g.is_grantable
FROM pg_attribute a, aclexplode(a.attacl) g LEFT JOIN pg_roles r ON r.oid = g.grantee WHERE a.attrelid = $1 AND a.attnum = $2`, t.oid, t.attnum)
	if err != nil {
		return err
	}
	var privilege, grantee string
	var grantable bool
	_, err = pgx.ForEachRow(rows, []any{&privilege, &grantee, &grantable}, func() error {
		sql := "GRANT " + privilege + " (" + quoteIdent(t.column) + ") ON " + t.name + " TO " + grantee
		if grantable {
			sql += " WITH GRANT OPTION"
		}
		t.grants = append(t.grants, sql)
		return nil
	})
	return err
}

// readSettings reads what was set of the column: how large a sample statistics take of
// it, what the planner is told, and how values are stored, where the new type has that.
func (t *migrateTable) readSettings(ctx context.Context, conn *pgx.Conn) error {
	return conn.QueryRow(ctx, `SELECT ARRAY(SELECT s FROM (VALUES
  (CASE WHEN a.attstattarget >= 0 THEN 'SET STATISTICS ' || a.attstattarget END),
  ('SET (' || array_to_string(a.attoptions, ', ') || ')'),
  (CASE WHEN y.typlen = -1 AND a.attstorage <> y.typstorage AND a.attstorage <> 'p' THEN 'SET STORAGE ' || CASE a.attstorage WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END END),
  (CASE a.attcompression WHEN 'p' THEN 'SET COMPRESSION pglz' WHEN 'l' THEN 'SET COMPRESSION lz4' END)) v (s) WHERE s IS NOT NULL)
FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid WHERE a.attrelid = $1 AND a.attnum = $2`, t.oid, t.attnum).Scan(&t.settings)
}

// guarded says that the column holds what the rule seals.
func (t *migrateTable) guarded(r *plan.Rule) bool {
	return t.typ.OID == plan.Bytea && slices.ContainsFunc(t.checks, r.Guards)
}

// refuse says everything that stands against the move, before anything is changed.
func (t *migrateTable) refuse(c *columnMove) error {
	problems := slices.Clone(t.refusal)
	for _, p := range t.all() {
		for _, why := range p.against(c) {
			if p != t {
				why = "partition " + p.name + ": " + why
			}
			problems = append(problems, why)
		}
	}
	if !c.inPlaceRotation() {
		problems = append(problems, t.againstReaders(c)...)
	}
	if len(problems) > 0 {
		return fmt.Errorf("it cannot be moved:\n  %s", strings.Join(problems, "\n  "))
	}
	return nil
}

// against says what stands against the move of one table or partition.
func (t *migrateTable) against(c *columnMove) (problems []string) {
	if !c.inPlaceRotation() {
		problems = slices.Clone(t.dependents)
	}
	return append(append(problems, t.againstDeclared(c)...), t.againstIndexes(c)...)
}

// againstReaders says who would get the second column, and then sealed values.
func (t *migrateTable) againstReaders(c *columnMove) (problems []string) {
	if len(t.triggers) > 0 && !c.m.o.AcceptTriggers {
		problems = append(problems, "the functions of these triggers name it, or take rows as a whole, and would see the second column and sealed values: "+strings.Join(t.triggers, ", ")+"; --accept-triggers if they do no harm")
	}
	if len(t.after) > 0 && !c.m.o.AcceptOrder {
		problems = append(problems, "it would come last in the order of columns, behind "+strings.Join(t.after, ", ")+", and INSERT and COPY without a list of columns would store its values in these, in plaintext; --accept-order if no client has such statements")
	}
	if len(t.published) > 0 && !c.m.o.AcceptPublications {
		problems = append(problems, "these publications publish it, and their subscribers would get the second column and sealed values: "+strings.Join(t.published, ", ")+"; --accept-publications if they can take both")
	}
	return problems
}

// againstIndexes says which indexes stand against the move.
func (t *migrateTable) againstIndexes(c *columnMove) (problems []string) {
	for _, x := range t.indexes {
		why := x.against(c.m.o.Action != Decrypt, c.rule.Equality, c.m.o.DropIndexes, t)
		if why == "" {
			why = c.againstTenants(&x)
		}
		if why != "" && (!x.inherited || x.identity) && !c.inPlaceRotation() {
			problems = append(problems, "index "+x.name+" "+why)
		}
	}
	return problems
}

// against says why the index stands against the move, "" if it does not.
func (x *migrateIndex) against(sealed, equality, drop bool, t *migrateTable) string {
	switch {
	case x.identity:
		return "is the replica identity: choose another"
	case x.nullsEqual:
		return "holds NULLs as equal, so that it cannot be built while values are missing: drop it, and make it anew afterwards"
	case !x.valid:
		return "is not valid: drop it"
	}
	_, err := x.moved(t, "x", t.shadow)
	switch {
	case err == nil && (!sealed || equality && (x.method == "btree" || x.method == "hash") || !slices.Contains(x.columns, t.column)):
		return ""
	case drop && !x.unique:
		return ""
	case err != nil:
		return err.Error()
	case x.unique:
		return "is unique, which needs mode equality: drop it"
	}
	return "cannot be had on sealed values in this mode: --drop-indexes drops it"
}

// kept says that the index is built for the second column.
func (x *migrateIndex) kept(sealed, equality bool, t *migrateTable) bool {
	return x.against(sealed, equality, false, t) == ""
}

// moved is the statement that builds the index for the new values, in a column that
// has one of two names. Of a partitioned table it takes up the indexes of partitions.
func (x *migrateIndex) moved(t *migrateTable, name, column string) (string, error) {
	tree, err := pg.Parse(x.definition)
	if err != nil || len(tree.Stmts) != 1 || tree.Stmts[0].Stmt.GetIndexStmt() == nil {
		return "", fmt.Errorf("cannot be read")
	}
	s := tree.Stmts[0].Stmt.GetIndexStmt()
	s.Idxname, s.Concurrent = name, !x.partitioned
	s.TableSpace = x.tablespace
	s.Relation.Inh = s.Relation.Inh || x.partitioned
	found := false
	for _, list := range [][]*pg.Node{s.IndexParams, s.IndexIncludingParams} {
		for _, n := range list {
			e := n.GetIndexElem()
			if e.GetName() == t.column {
				e.Name, e.Collation, e.Opclass, e.Opclassopts, found = column, nil, nil, nil, true
			}
		}
	}
	const none = "\x01" // no column's name
	found = renameNotNull(s.WhereClause, t.column, none) || found
	// What is left may not name the column: it would be an expression over it.
	if found && !namesColumn(tree, t.column) {
		renameNotNull(s.WhereClause, none, column)
		if sql, err := pg.Deparse(tree); err == nil {
			return sql, nil
		}
	}
	return "", fmt.Errorf("has an expression or a condition over the column: drop it")
}

// renameNotNull has a condition ask for another column where it asks whether one is
// not NULL: with values missing, such an index holds too few rows, and none too many.
func renameNotNull(n *pg.Node, from, to string) (found bool) {
	for _, arg := range n.GetBoolExpr().GetArgs() {
		found = n.GetBoolExpr().Boolop != pg.BoolExprType_NOT_EXPR && renameNotNull(arg, from, to) || found
	}
	test := n.GetNullTest()
	fields := test.GetArg().GetColumnRef().GetFields()
	if test.GetNulltesttype() == pg.NullTestType_IS_NOT_NULL && len(fields) == 1 && fields[0].GetString_().GetSval() == from {
		fields[0].GetString_().Sval = to
		return true
	}
	return found
}

// namesColumn says whether an expression of an index names the column.
func namesColumn(tree *pg.ParseResult, column string) bool {
	s := tree.Stmts[0].Stmt.GetIndexStmt()
	exprs := []*pg.Node{s.WhereClause}
	for _, n := range s.IndexParams {
		exprs = append(exprs, n.GetIndexElem().GetExpr())
	}
	for _, e := range exprs {
		bare := strings.NewReplacer(" ", "").Replace // the form of messages is not stable in its spaces
		if e != nil && strings.Contains(bare(e.String()), bare(fmt.Sprintf("sval:%q", column))) {
			return true
		}
	}
	return false
}
