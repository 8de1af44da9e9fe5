// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/sidekey/sidekey/proxy"
)

// described are the rules of a table with a column of each type.
func described() []proxy.ColumnRule {
	var rules []proxy.ColumnRule
	for _, typ := range describedTypes {
		rules = append(rules, column("kinds", "c_"+strings.Fields(strings.NewReplacer("(", "_", ")", "", ",", "_").Replace(typ))[0], typ, "random"))
	}
	return rules
}

var describedTypes = []string{"text", "varchar(20)", "varchar", "int4", "int8", "bytea", "bool", "date", "timestamptz", "uuid", "numeric(12,2)", "numeric", "jsonb"}

func kindsDDL() string {
	sql := "CREATE TABLE kinds (id bigserial PRIMARY KEY"
	for _, r := range described() {
		sql += ", " + r.Column + " " + r.Type
	}
	return sql + ", plain text DEFAULT 'p')"
}

// introspections are queries of clients that describe tables. %s is the table.
var introspections = map[string]string{
	"psql": `SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod),
  (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid, true) FROM pg_catalog.pg_attrdef d WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.atthasdef),
  a.attnotnull, (SELECT c.collname FROM pg_catalog.pg_collation c, pg_catalog.pg_type t WHERE c.oid = a.attcollation AND t.oid = a.atttypid AND a.attcollation <> t.typcollation) AS attcollation
FROM pg_catalog.pg_attribute a WHERE a.attrelid = '%s'::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`,
	"jdbc": `SELECT * FROM (SELECT n.nspname,c.relname,a.attname,a.atttypid,a.attnotnull OR (t.typtype = 'd' AND t.typnotnull) AS attnotnull,a.atttypmod,a.attlen,t.typtypmod,
row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum) AS attnum, nullif(a.attidentity, '') as attidentity, nullif(a.attgenerated, '') as attgenerated,
pg_catalog.pg_get_expr(def.adbin, def.adrelid) AS adsrc,dsc.description,t.typbasetype,t.typtype
FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON (c.relnamespace = n.oid) JOIN pg_catalog.pg_attribute a ON (a.attrelid=c.oid)
JOIN pg_catalog.pg_type t ON (a.atttypid = t.oid) LEFT JOIN pg_catalog.pg_attrdef def ON (a.attrelid=def.adrelid AND a.attnum = def.adnum)
LEFT JOIN pg_catalog.pg_description dsc ON (c.oid=dsc.objoid AND a.attnum = dsc.objsubid) LEFT JOIN pg_catalog.pg_class dc ON (dc.oid=dsc.classoid AND dc.relname='pg_class')
LEFT JOIN pg_catalog.pg_namespace dn ON (dc.relnamespace=dn.oid AND dn.nspname='pg_catalog')
WHERE c.relkind in ('r','p','v','f','m') and a.attnum > 0 AND NOT a.attisdropped AND c.relname LIKE '%s') c WHERE true ORDER BY nspname,c.relname,attnum`,
	"rails": `SELECT a.attname, format_type(a.atttypid, a.atttypmod), pg_get_expr(d.adbin, d.adrelid), a.attnotnull, a.atttypid, a.atttypmod,
c.collname, col_description(a.attrelid, a.attnum) AS comment FROM pg_attribute a LEFT JOIN pg_attrdef d ON a.attrelid = d.adrelid AND a.attnum = d.adnum
LEFT JOIN pg_type t ON a.atttypid = t.oid LEFT JOIN pg_collation c ON a.attcollation = c.oid AND a.attcollation <> t.typcollation
WHERE a.attrelid = '"%s"'::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`,
	"prisma": `SELECT info.column_name, format_type(att.atttypid, att.atttypmod) as formatted_type, info.numeric_precision, info.numeric_scale, info.numeric_precision_radix,
info.datetime_precision, info.data_type, info.udt_name as full_data_type, info.column_default, info.is_nullable, info.is_identity, info.character_maximum_length
FROM information_schema.columns info JOIN pg_attribute att ON att.attname = info.column_name
JOIN (SELECT pg_class.oid, relname, pg_namespace.nspname as namespace FROM pg_class JOIN pg_namespace on pg_namespace.oid = pg_class.relnamespace) as oid
ON oid.oid = att.attrelid AND relname = info.table_name AND namespace = info.table_schema WHERE table_name = '%s' ORDER BY table_name, ordinal_position`,
	"sequelize": `SELECT pk.constraint_type as "Constraint", c.column_name as "Field", c.column_default as "Default", c.is_nullable as "Null",
(CASE WHEN c.udt_name = 'hstore' THEN c.udt_name ELSE c.data_type END) || (CASE WHEN c.character_maximum_length IS NOT NULL THEN '(' || c.character_maximum_length || ')' ELSE '' END) as "Type",
(SELECT array_agg(e.enumlabel) FROM pg_catalog.pg_type t JOIN pg_catalog.pg_enum e ON t.oid=e.enumtypid WHERE t.typname=c.udt_name) AS "special",
(SELECT pgd.description FROM pg_catalog.pg_statio_all_tables AS st INNER JOIN pg_catalog.pg_description pgd on (pgd.objoid=st.relid) WHERE c.ordinal_position=pgd.objsubid AND c.table_name=st.relname) AS "Comment"
FROM information_schema.columns c LEFT JOIN (SELECT tc.table_schema, tc.table_name, cu.column_name, tc.constraint_type
FROM information_schema.TABLE_CONSTRAINTS tc JOIN information_schema.KEY_COLUMN_USAGE cu ON tc.table_schema=cu.table_schema and tc.table_name=cu.table_name
and tc.constraint_name=cu.constraint_name and tc.constraint_type='PRIMARY KEY') pk ON pk.table_schema=c.table_schema AND pk.table_name=c.table_name AND pk.column_name=c.column_name
WHERE c.table_name = '%s' ORDER BY c.ordinal_position`,
	"columns":            `SELECT * FROM information_schema.columns WHERE table_name = '%s' ORDER BY ordinal_position`,
	"attributes":         `SELECT attname, atttypid, atttypmod, attlen, attbyval, attalign, attstorage, attcollation, atthasdef, attndims FROM pg_catalog.pg_attribute WHERE attrelid = '%s'::regclass AND attnum > 0 ORDER BY attnum`,
	"qualified":          `SELECT pg_catalog.pg_attribute.attname, pg_catalog.format_type(pg_catalog.pg_attribute.atttypid, pg_catalog.pg_attribute.atttypmod) FROM pg_catalog.pg_class LEFT OUTER JOIN pg_catalog.pg_attribute ON pg_catalog.pg_class.oid = pg_catalog.pg_attribute.attrelid AND pg_catalog.pg_attribute.attnum > 0 AND NOT pg_catalog.pg_attribute.attisdropped WHERE pg_catalog.pg_class.relname = '%s' ORDER BY pg_catalog.pg_attribute.attnum`,
	"checks":             `SELECT r.conname, pg_catalog.pg_get_constraintdef(r.oid, true) FROM pg_catalog.pg_constraint r WHERE r.conrelid = '%s'::regclass ORDER BY 1`,
	"check count":        `SELECT relname, relchecks, relhasindex FROM pg_class WHERE relname = '%s'`,
	"table constraints":  `SELECT constraint_type, count(*) FROM information_schema.table_constraints WHERE table_name = '%s' GROUP BY 1 ORDER BY 1`,
	"constraint columns": `SELECT table_name, column_name FROM information_schema.constraint_column_usage WHERE table_name = '%s' ORDER BY 2`,
	"check constraints":  `SELECT count(*) FROM information_schema.check_constraints WHERE check_clause LIKE '%%octet_length%%' AND '%s' <> ''`,
	"grouped":            `SELECT c.relname, a.attname, count(*) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid WHERE c.relname = '%s' AND a.attnum > 0 GROUP BY c.oid, a.attrelid, a.attnum ORDER BY a.attnum`,
	"system columns":     `SELECT a.tableoid::regclass, a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a WHERE attrelid = '%s'::regclass AND attnum > 0 ORDER BY attnum`,
	"index":              `SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), pg_get_indexdef(a.attrelid, a.attnum, true) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_index i ON i.indexrelid = c.oid WHERE i.indrelid = '%s'::regclass ORDER BY 1, a.attnum`,
	"distinct":           `SELECT DISTINCT ON (a.attname) a.attname, t.typname FROM pg_attribute a, pg_type t WHERE a.atttypid = t.oid AND attrelid = '%s'::regclass AND attnum > 0 ORDER BY a.attname`,
}

// TestIntrospection has every query answered as of a table that is not protected.
func TestIntrospection(t *testing.T) {
	f := start(t, shared, described())
	conn := f.connect(t, pgx.QueryExecModeSimpleProtocol)
	exec1(t, conn, kindsDDL())
	exec1(t, conn, "CREATE INDEX kinds_plain ON kinds (plain) INCLUDE (c_varchar_20, c_int4)")
	// The same table, as it would be without the proxy, in a database of its own.
	twin := start(t, shared, nil)
	plain := twin.connect(t, pgx.QueryExecModeSimpleProtocol)
	exec1(t, plain, kindsDDL())
	exec1(t, plain, "CREATE INDEX kinds_plain ON kinds (plain) INCLUDE (c_varchar_20, c_int4)")
	version := serverVersion(t)
	for name, sql := range introspections {
		if name == "grouped" && version < 14 {
			continue // catalogs had no primary keys to group by
		}
		for mode, execMode := range execModes {
			t.Run(name+"/"+mode, func(t *testing.T) {
				sql := fmt.Sprintf(sql, "kinds")
				got := textRows(t, f.connect(t, execMode), sql, f.database)
				want := textRows(t, plain, sql, twin.database)
				if len(want) == 0 {
					t.Fatal("no rows to compare with")
				}
				if d := cmp.Diff(want, got); d != "" {
					t.Error(d)
				}
			})
		}
	}
}

// textRows are the rows of a query, as text, without the database's name.
func textRows(t *testing.T, conn *pgx.Conn, sql, database string) (out []string) {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	defer rows.Close()
	for rows.Next() {
		values, err := rows.Values()
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		out = append(out, strings.ReplaceAll(fmt.Sprint(values...), database, "database"))
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return out
}

// TestIntrospectionOfLaterTables: a prepared query sees a table that is made
// after it.
func TestIntrospectionOfLaterTables(t *testing.T) {
	f := start(t, shared, users())
	conn := f.connect(t, pgx.QueryExecModeCacheStatement)
	sql := "SELECT format_type(a.atttypid, a.atttypmod) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE c.relname = $1 AND a.attname = 'email'"
	var typ string
	if err := conn.QueryRow(t.Context(), sql, "users").Scan(&typ); err != pgx.ErrNoRows {
		t.Fatalf("got %q, %v", typ, err)
	}
	exec1(t, f.connect(t, pgx.QueryExecModeExec), usersDDL)
	if err := conn.QueryRow(t.Context(), sql, "users").Scan(&typ); err != nil || typ != "text" {
		t.Errorf("got %q, %v", typ, err)
	}
	// One that holds plaintext is shown as it is.
	exec1(t, f.direct(t), "CREATE TABLE leads (id int, email varchar(7))")
	if err := conn.QueryRow(t.Context(), sql, "leads").Scan(&typ); err != nil || typ != "character varying(7)" {
		t.Errorf("got %q, %v", typ, err)
	}
}

// TestIntrospectionWithoutPrivileges: a role that may do nothing sees the types
// of what it may see, and no error.
func TestIntrospectionWithoutPrivileges(t *testing.T) {
	f := start(t, shared, users())
	exec1(t, f.connect(t, pgx.QueryExecModeExec), usersDDL)
	admin := f.direct(t)
	role := "nobody_" + f.database
	exec1(t, admin, "CREATE ROLE "+role+" LOGIN")
	t.Cleanup(func() { admin.Exec(t.Context(), "DROP ROLE "+role) })
	conn := dial(t, strings.Replace(f.url(), "postgres@", role+"@", 1), pgx.QueryExecModeExec)
	got := textRows(t, conn, "SELECT attname, atttypid FROM pg_attribute WHERE attrelid = 'users'::regclass AND attnum IN (2, 3)", f.database)
	if d := cmp.Diff([]string{"email25", "ssn1043"}, got); d != "" {
		t.Error(d)
	}
	if got := textRows(t, conn, "SELECT column_name FROM information_schema.columns WHERE table_name = 'users'", f.database); len(got) > 0 {
		t.Errorf("without privileges: %v", got)
	}
}

// TestDefaultsAreNotShown: that of a protected column is ciphertext.
func TestDefaultsAreNotShown(t *testing.T) {
	f := start(t, shared, users())
	conn := f.connect(t, pgx.QueryExecModeExec)
	exec1(t, conn, "CREATE TABLE users (id int DEFAULT 3, email text DEFAULT 'a', note text DEFAULT 'n')")
	for sql, want := range map[string][]string{
		"SELECT adnum FROM pg_attrdef WHERE adrelid = 'users'::regclass ORDER BY 1":                                         {"1", "3"},
		"SELECT attname FROM pg_attribute WHERE attrelid = 'users'::regclass AND atthasdef ORDER BY 1":                      {"id", "note"},
		"SELECT column_default FROM information_schema.columns WHERE table_name = 'users' AND column_default IS NOT NULL":   {"3", "'n'::text"},
		"SELECT d.adnum FROM pg_attrdef d JOIN pg_class c ON c.oid = d.adrelid WHERE c.relname = 'users' GROUP BY d.adnum ": {"1", "3"},
	} {
		if d := cmp.Diff(want, textRows(t, conn, sql, f.database)); d != "" {
			t.Errorf("%s: %s", sql, d)
		}
	}
}

func TestPsqlDescribes(t *testing.T) {
	f := start(t, shared, users())
	exec1(t, f.connect(t, pgx.QueryExecModeExec), usersDDL)
	exec1(t, f.connect(t, pgx.QueryExecModeExec), "CREATE VIEW mails AS SELECT id, email FROM users")
	for _, command := range []string{`\d users`, `\d+ users`, `\d`, `\dt+`, `\d users_email_key`, `\di`, `\dp users`, `\dv`, `\d+ mails`, `\det`, `\dT`, `\df`} {
		out, err := psql(t, f.url(), nil, command+"\n")
		if err != nil {
			t.Errorf("%s: %v %s", command, err, out)
		}
		if command == `\d users_email_key` && !strings.Contains(out, "email|text|") {
			t.Errorf("%s: %s", command, out)
		}
		if strings.HasSuffix(command, " users") && strings.HasPrefix(command, `\d`) && command != `\dp users` {
			if !strings.Contains(out, "email|text") || !strings.Contains(out, "ssn|character varying(11)") || !strings.Contains(out, "pin|integer") || strings.Contains(out, "sidekey_sealed") {
				t.Errorf("%s: %s", command, out)
			}
		}
	}
}
