// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sidekey/sidekey/dbproxy/plan"
)

var publicPath = plan.Options{Path: plan.NewPath("public", []string{"pg_catalog", "public"}), Fresh: true}

func guardOf(column string) string {
	return fmt.Sprintf(`CONSTRAINT "sidekey_sealed_%s" CHECK (pg_catalog.encode(pg_catalog.substring("%s", 1, 2), 'hex') OPERATOR(pg_catalog.=) '5301' AND pg_catalog.octet_length("%s") OPERATOR(pg_catalog.>=) 9)`, column, column, column)
}

// TestDDL has statements that are taken, and what the server gets.
func TestDDL(t *testing.T) {
	bytea := "::pg_catalog.bytea "
	e := func(v string) string { return sealed("email", v) + bytea }
	x := "x bytea " + guardOf("x")
	same := ""
	for _, c := range [][2]string{
		{"CREATE TABLE IF NOT EXISTS gone (x text)", "CREATE TABLE IF NOT EXISTS gone (" + x + ")"},
		{"CREATE UNLOGGED TABLE public.gone (x text PRIMARY KEY)", "CREATE UNLOGGED TABLE public.gone (" + x + " PRIMARY KEY)"},
		{"CREATE TABLE gone (x text DEFAULT 'a' NOT NULL)", "CREATE TABLE gone (" + x + " DEFAULT " + sealed("x", "a") + bytea + " NOT NULL)"},
		{"CREATE TABLE gone (x text DEFAULT 'a'::text)", "CREATE TABLE gone (" + x + " DEFAULT " + sealed("x", "a") + "::bytea)"},
		{"CREATE TABLE gone (x text DEFAULT NULL::character varying)", "CREATE TABLE gone (" + x + " DEFAULT NULL::bytea)"},
		{"CREATE TABLE gone (x text CHECK (x <> ''))", "CREATE TABLE gone (" + x + " CHECK (x <> " + sealed("x", "") + bytea + "))"},
		{"CREATE TABLE gone (x text, y int, CHECK (x IS NOT NULL OR y > 3))", "CREATE TABLE gone (" + x + ", y int, CHECK (x IS NOT NULL OR y > 3))"},
		{"CREATE TABLE gone (x text, y int, EXCLUDE USING gist (y WITH =))", "CREATE TABLE gone (" + x + ", y int, EXCLUDE USING gist (y WITH =))"},
		{"CREATE TABLE gone (x text, y int) PARTITION BY RANGE (y)", "CREATE TABLE gone (" + x + ", y int) PARTITION BY RANGE (y)"},
		{"CREATE TABLE gone (x text PRIMARY KEY, y text REFERENCES other)", "CREATE TABLE gone (" + x + " PRIMARY KEY, y text REFERENCES other)"},
		{"CREATE TABLE users_1 PARTITION OF users FOR VALUES IN (1)", same},
		{"CREATE TABLE users_1 PARTITION OF users (CHECK (email <> 'a')) DEFAULT", "CREATE TABLE users_1 PARTITION OF users (CHECK (email <> " + e("a") + ")) DEFAULT"},
		{"CREATE TABLE admins (level int) INHERITS (users)", same},
		{"CREATE TABLE p1 PARTITION OF users FOR VALUES IN (1); CREATE TABLE p2 PARTITION OF users FOR VALUES IN (2); ALTER TABLE p1 OWNER TO a", same},
		{"CREATE TABLE copies (LIKE leads INCLUDING ALL)", same},
		{"CREATE TABLE other_copy (LIKE other.t INCLUDING ALL)", same},
		{"CREATE TABLE counts AS SELECT count(*) FROM users WHERE email = 'a'", "CREATE TABLE counts AS SELECT count(*) FROM users WHERE email = " + e("a")},
		{"CREATE MATERIALIZED VIEW m AS SELECT id, note FROM users WHERE email IN ('a')", "CREATE MATERIALIZED VIEW m AS SELECT id, note FROM users WHERE email IN (" + e("a") + ")"},
		{"CREATE VIEW v AS SELECT id, email FROM users WHERE email <> 'a'", "CREATE VIEW v AS SELECT id, email FROM users WHERE email <> " + e("a")},
		{"CREATE OR REPLACE VIEW v (a) AS SELECT * FROM users", same},
		{"CREATE RECURSIVE VIEW v (a) AS SELECT id FROM users UNION ALL SELECT a FROM v", same},
		{"REFRESH MATERIALIZED VIEW user_view", same},
		{"ALTER TABLE users ADD COLUMN age int DEFAULT 3", same},
		{"ALTER TABLE users ADD UNIQUE (email), ADD CHECK (pin <> 5)", "ALTER TABLE users ADD UNIQUE (email), ADD CHECK (pin <> " + sealed("pin", "5") + bytea + ")"},
		{"ALTER TABLE users ADD CONSTRAINT u UNIQUE USING INDEX i", same},
		{"ALTER TABLE users DROP CONSTRAINT users_email_key", same},
		{"ALTER TABLE users ALTER COLUMN email TYPE text", "ALTER TABLE users ALTER COLUMN email TYPE bytea"},
		{"ALTER TABLE users ALTER ssn SET DATA TYPE varchar(11) USING ssn::varchar(11)", "ALTER TABLE users ALTER ssn SET DATA TYPE bytea USING ssn::bytea"},
		{"ALTER TABLE users ALTER COLUMN email SET DEFAULT 'a'", "ALTER TABLE users ALTER COLUMN email SET DEFAULT " + e("a")},
		{"ALTER TABLE users ALTER COLUMN email DROP DEFAULT, ALTER email DROP NOT NULL, ALTER ssn SET NOT NULL", same},
		{"ALTER TABLE users OWNER TO a, SET TABLESPACE s, SET (fillfactor = 50), DISABLE TRIGGER ALL, REPLICA IDENTITY FULL", same},
		{"ALTER TABLE user_view OWNER TO a", same},
		{"ALTER VIEW user_view RENAME TO v2", same},
		{"ALTER VIEW user_view SET SCHEMA other", same},
		{"ALTER TABLE users ATTACH PARTITION u2 FOR VALUES IN (2)", same},
		{"ALTER TABLE users ATTACH PARTITION leads FOR VALUES IN (1)", same},
		{"ALTER TABLE users DETACH PARTITION users_1", same},
		{"ALTER TABLE admins INHERIT users", same},
		{"ALTER TABLE admins NO INHERIT users", same},
		{"ALTER TABLE leads ADD FOREIGN KEY (email) REFERENCES users (email)", same},
		{"ALTER TABLE users ADD FOREIGN KEY (email) REFERENCES leads", same},
		{"ALTER TABLE moved.people RENAME TO people2", same},
		{"ALTER TABLE moved.persons SET SCHEMA public", same},
		{"ALTER TABLE public.people RENAME TO persons", same},
		{"ALTER TABLE persons RENAME COLUMN mail TO address", same},
		{"CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON users (email, note) INCLUDE (ssn) WHERE email <> 'a'",
			"CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON users (email, note) INCLUDE (ssn) WHERE email <> " + e("a")},
		{"CREATE INDEX ON users USING hash (pin)", same},
		{"CREATE INDEX i ON users (id, email varchar_pattern_ops DESC)", "CREATE INDEX i ON users (id, email  DESC)"},
		{`CREATE INDEX i ON users USING btree ("email" pg_catalog.text_ops ASC NULLS LAST, pin int4_ops)`, `CREATE INDEX i ON users USING btree ("email"  ASC NULLS LAST, pin )`},
		{"CREATE INDEX i ON users (email bytea_ops)", "CREATE INDEX i ON users (email bytea_ops)"},
		{"CREATE TRIGGER t BEFORE UPDATE OF email ON users FOR EACH ROW WHEN (OLD.email IS DISTINCT FROM NEW.email AND NEW.email <> 'a') EXECUTE FUNCTION f('x')",
			"CREATE TRIGGER t BEFORE UPDATE OF email ON users FOR EACH ROW WHEN (OLD.email IS DISTINCT FROM NEW.email AND NEW.email <> " + e("a") + ") EXECUTE FUNCTION f('x')"},
		{"CREATE TRIGGER t INSTEAD OF INSERT ON user_view FOR EACH ROW EXECUTE FUNCTION f()", same},
		{"CREATE STATISTICS s (ndistinct) ON email, note FROM users", same},
		{"CREATE PUBLICATION p FOR TABLE users (id, email) WHERE (email = 'a'), TABLE other.t", "CREATE PUBLICATION p FOR TABLE users (id, email) WHERE (email = " + e("a") + "), TABLE other.t"},
		{"CREATE POLICY p ON users USING (email = 'a')", "CREATE POLICY p ON users USING (email = " + e("a") + ")"},
		{"COMMENT ON COLUMN users.email IS 'c'", same},
		{"GRANT SELECT (email), UPDATE (ssn) ON users TO a", same},
		{"DROP TABLE users, leads", same},
		{"CREATE SEQUENCE s OWNED BY users.id", same},
	} {
		sql, want := c[0], c[1]
		if want == same {
			want = sql
		}
		p := plan.Make(sql, ddlCatalog(t), publicPath)
		if p.Refusal != nil || p.Need != plan.NeedNothing {
			t.Errorf("%s: got refusal %+v, need %v", sql, p.Refusal, p.Need)
			continue
		}
		if d := cmp.Diff(want, render(t, sql, p)); d != "" {
			t.Errorf("%s: %s", sql, d)
		}
	}
}

// ddlCatalog adds tables whose rules were given new names.
func ddlCatalog(t testing.TB) *plan.Catalog {
	t.Helper()
	mail := func(table, column string, was *plan.Name) *plan.Rule {
		return &plan.Rule{Schema: "public", Table: table, Column: column, Type: plan.Type{OID: plan.Text, Typmod: -1}, Equality: true,
			Binding: "mail", Prefix: []byte{0x53, 1}, MinLen: 9, Was: was}
	}
	email, lead, pin := mail("users", "email", nil), mail("leads", "email", nil), mail("users", "pin", nil)
	pin.Type.OID, pin.Binding = plan.Int4, "pin"
	ssn := &plan.Rule{Schema: "public", Table: "users", Column: "ssn", Type: plan.Type{OID: plan.Varchar, Typmod: 15}, Binding: "ssn", Prefix: []byte{0x53, 1}, MinLen: 9}
	gone, copied, apart := mail("gone", "x", nil), mail("copies", "email", nil), mail("copies2", "email", nil)
	gone.Binding, apart.Binding = "x", "apart"
	moved := mail("persons", "address", &plan.Name{Schema: "public", Table: "people", Column: "mail"})
	return plan.NewCatalog([]*plan.Rule{email, lead, pin, ssn, gone, copied, apart, moved}, []*plan.Relation{
		{Schema: "public", Name: "copies2", OID: 1007, Protected: true, Columns: []plan.Column{{Name: "email", Attnum: 1, Rule: apart}}},
		{Schema: "public", Name: "users", OID: 1000, Protected: true, PrimaryKey: []string{"id"}, Columns: []plan.Column{
			{Name: "id", Attnum: 1}, {Name: "email", Attnum: 2, Rule: email}, {Name: "ssn", Attnum: 3, Rule: ssn}, {Name: "pin", Attnum: 4, Rule: pin}, {Name: "note", Attnum: 5}}},
		{Schema: "public", Name: "leads", OID: 1001, Protected: true, PrimaryKey: []string{"email"}, Columns: []plan.Column{
			{Name: "id", Attnum: 1}, {Name: "email", Attnum: 2, Rule: lead}}},
		{Schema: "public", Name: "people", OID: 1005, Refuse: "renamed", Columns: []plan.Column{{Name: "mail", Attnum: 1}}},
		{Schema: "public", Name: "persons", OID: 1006, Refuse: "renamed", Columns: []plan.Column{{Name: "mail", Attnum: 1}}},
		{Schema: "public", Name: "user_view", OID: 1004, Refuse: "user_view reads a protected table", Hint: "h"},
	})
}

// TestDDLRefusals has statements that would take the seal off a column, or need
// what its mode cannot do; each says why.
func TestDDLRefusals(t *testing.T) {
	for _, c := range [][2]string{
		{"CREATE TABLE gone (x text DEFAULT now())", "cannot have this default"},
		{"CREATE TABLE gone (x text GENERATED ALWAYS AS ('a') STORED)", "cannot be generated"},
		{"CREATE TABLE gone (x text CHECK (length(x) > 3))", "public.gone.x cannot be used in this expression"},
		{"CREATE TABLE gone (x text, y text GENERATED ALWAYS AS (x) STORED)", "public.gone.x cannot be used in this expression"},
		{"CREATE TABLE gone (x text, EXCLUDE USING gist (x WITH =))", "public.gone.x cannot be in an exclusion constraint"},
		{"CREATE TABLE gone (x text) PARTITION BY HASH (x)", "public.gone.x cannot be a partition key"},
		{"CREATE TABLE gone () INHERITS (other)", "cannot inherit from one without"},
		{"CREATE TABLE gone PARTITION OF users DEFAULT", ""},
		{"CREATE TABLE gone (LIKE other)", "public.gone.x unsealed"},
		{"CREATE TABLE plain (LIKE users INCLUDING ALL)", "needs a rule of the same type and mode"},
		{"CREATE TABLE copies (LIKE leads)", "public.copies.email without its guard"},
		{"CREATE TABLE copies (LIKE leads INCLUDING DEFAULTS)", "without its guard"},
		{"CREATE TABLE admins (email text) INHERITS (users)", "cannot be declared again"},
		{"CREATE TABLE users_1 PARTITION OF users (email DEFAULT 'x') DEFAULT", "cannot be declared again"},
		{"CREATE TABLE gone (x text REFERENCES users)", "foreign key of protected column public.gone.x"},
		{"CREATE TABLE gone (x text REFERENCES leads)", "foreign key of protected column public.gone.x"},
		{"CREATE TABLE l (y text REFERENCES leads)", "foreign key of protected column public.leads.email"},
		{"ALTER TABLE users ALTER COLUMN ssn SET DEFAULT 'a'", "public.users.ssn cannot have a default in mode random"},
		{"ALTER TABLE users ALTER COLUMN email TYPE varchar(20)", "is not declared with the type of its rule"},
		{"ALTER TABLE users ALTER COLUMN email TYPE text USING lower(email)", "cannot be altered by this expression"},
		{"ALTER TABLE users ALTER COLUMN email TYPE text COLLATE \"C\"", "cannot have a collation"},
		{"ALTER TABLE users ALTER COLUMN note TYPE text USING email", "public.users.email cannot be"},
		{"ALTER TABLE users ADD COLUMN b text GENERATED ALWAYS AS (lower(email)) STORED", "public.users.email cannot be"},
		{"ALTER TABLE leads ATTACH PARTITION copies2 FOR VALUES IN (1)", "the rule of public.copies2.email and that of the same column of leads differ"},
		{"ALTER TABLE leads INHERIT persons", "differ"},
		{"ALTER TABLE users RENAME TO x", "public.users has protected columns"},
		{"ALTER TABLE users RENAME COLUMN email TO e", "protected column public.users.email cannot be renamed"},
		{"ALTER TABLE users RENAME note TO email", "no other column can take the name"},
		{"ALTER TABLE unknown RENAME TO users", "nor another take its name"},
		{"ALTER TABLE public.unknown RENAME TO users", "public.users has protected columns"},
		{"ALTER TABLE unknown RENAME TO persons", "nor another take its name"},
		{"ALTER TABLE pg_temp.unknown RENAME TO persons", "nor another take its name"},
		{"ALTER TABLE persons RENAME COLUMN other TO address", "no other column can take the name"},
		{"ALTER INDEX users RENAME TO x", "public.users has protected columns"},
		{"ALTER TABLE users SET SCHEMA other", "public.users has protected columns"},
		{"ALTER TABLE other.users SET SCHEMA public", "public.users has protected columns"},
		{"ALTER TABLE users RENAME CONSTRAINT sidekey_sealed_email TO c", "guards protected column public.users.email"},
		{"ALTER TABLE user_view ADD COLUMN a int", "user_view reads"},
		{"CREATE INDEX ON users USING brin (email)", "public.users.email can be indexed by btree and hash only"},
		{"CREATE INDEX ON users (email name_ops)", "no other collation or operator class"},
		{"CREATE INDEX ON users (ssn text_pattern_ops)", "public.users.ssn cannot be indexed"},
		{"CREATE INDEX ON users (pin text_ops)", "public.users.pin has no other collation or operator class"},
		{"CREATE INDEX ON users (id) WHERE ssn = 'a'", "public.users.ssn cannot be compared"},
		{"CREATE VIEW v AS SELECT lower(email) FROM users", "public.users.email cannot be"},
		{"CREATE VIEW gone AS SELECT 'a' AS x", "public.gone.x"},
		{"CREATE TEMP VIEW users AS SELECT 1", "temporary"},
		{"CREATE TEMP TABLE users AS SELECT 1", "temporary"},
		{"CREATE TABLE pg_temp.users (email text)", "temporary"},
		{"CREATE TABLE c AS SELECT email FROM users", "protected column public.users.email cannot be copied by CREATE TABLE AS"},
		{"CREATE MATERIALIZED VIEW m AS TABLE users", "cannot be copied by a materialized view"},
		{"CREATE TABLE gone AS SELECT 'a' AS x", "public.gone.x"},
		{"CREATE TRIGGER t BEFORE UPDATE ON users FOR EACH ROW WHEN (NEW.email > 'a') EXECUTE FUNCTION f()", "public.users.email cannot be"},
		{"CREATE TRIGGER t BEFORE UPDATE ON users FOR EACH ROW WHEN (OLD.ssn IS DISTINCT FROM NEW.ssn) EXECUTE FUNCTION f()", "public.users.ssn"},
		{"CREATE STATISTICS s ON (lower(email)), id FROM users", "public.users.email cannot be"},
		{"CREATE PUBLICATION p FOR TABLE users WHERE (email > 'a')", "public.users.email cannot be"},
		{"CREATE VIEW v AS SELECT email FROM users; SELECT * FROM v", "made or changed by the same text"},
		{"CREATE VIEW v AS SELECT email FROM users; CREATE TABLE t AS SELECT * FROM public.v", "made or changed by the same text"},
		{"ALTER VIEW user_view RENAME TO v; SELECT * FROM v", "made or changed by the same text"},
		{"ALTER TABLE users ATTACH PARTITION p DEFAULT; SELECT * FROM p", "made or changed by the same text"},
		{"ALTER TABLE c INHERIT users; INSERT INTO c (email) VALUES ('a')", "made or changed by the same text"},
		{"ALTER TABLE persons RENAME COLUMN mail TO address; SELECT address FROM persons", "made or changed by the same text"},
	} {
		sql, want := c[0], c[1]
		p := plan.Make(sql, ddlCatalog(t), publicPath)
		switch {
		case p.Refusal == nil:
			t.Errorf("%s: got %q, want a refusal", sql, render(t, sql, p))
		case want != "" && !strings.Contains(p.Refusal.Message, want):
			t.Errorf("%s: got %q, want %q", sql, p.Refusal.Message, want)
		case p.Refusal.Code != "0A000" && p.Refusal.Code != "42804":
			t.Errorf("%s: got %s", sql, p.Refusal.Code)
		}
	}
}

// TestIntrospection has queries of the server's catalogs, in which the catalogs
// become subqueries.
func TestIntrospection(t *testing.T) {
	system := &plan.System{Columns: map[string][]string{
		"pg_catalog.pg_attribute":    {"attrelid", "attname", "atttypid", "atttypmod"},
		"pg_catalog.pg_constraint":   {"oid", "conname", "conrelid", "contype"},
		"pg_catalog.pg_class":        {"oid", "relname", "relchecks"},
		"information_schema.columns": {"column_name", "data_type"},
	}}
	cat := ddlCatalog(t).WithSystem(system)
	for _, c := range []struct {
		sql   string
		times int // how many catalogs are replaced
		has   string
	}{
		{"SELECT a.attname FROM pg_attribute a", 1, "::pg_catalog.int2"},
		{"SELECT attname FROM pg_catalog.pg_attribute", 1, `) AS "pg_attribute"`},
		{"SELECT pg_catalog.pg_attribute.attname FROM pg_catalog.pg_attribute", 1, "SELECT pg_attribute.attname FROM (SELECT"},
		{`SELECT 1 FROM "pg_catalog"."pg_class" c JOIN pg_attribute AS a ON a.attrelid = c.oid`, 1, `"pg_catalog"."pg_class" c JOIN (SELECT`},
		{"SELECT c.relchecks FROM pg_class c LEFT JOIN pg_attribute a ON true", 2, ""},
		{"SELECT c.tableoid, conname FROM pg_constraint c", 1, `a."tableoid" FROM`},
		{"SELECT * FROM information_schema.columns WHERE table_name = 'x'", 1, "information_schema.columns a"},
		{"SELECT (SELECT count(*) FROM pg_attribute)", 1, ""},
		{"WITH x AS (SELECT * FROM pg_attribute) SELECT * FROM x", 1, ""},
		{"WITH pg_attribute AS (SELECT 1) SELECT * FROM pg_attribute", 0, ""},
		{"SELECT attname FROM ONLY pg_attribute", 0, ""},
		{"SELECT attname FROM pg_attribute FOR SHARE", 0, ""},
		{"SELECT attname FROM pg_attribute GROUP BY attrelid, attnum", 0, ""},
		{"SELECT attname FROM pg_attribute GROUP BY attrelid, attname", 1, ""},
		{"SELECT c.conname FROM pg_constraint c GROUP BY c.oid", 0, ""},
		{"SELECT column_name FROM other.columns", 0, ""},
		{"SELECT column_name FROM columns", 0, ""},
		{"CREATE VIEW v AS SELECT attname FROM pg_attribute", 0, ""},
		{"SELECT 'pg_attribute'::regclass", 0, ""},
	} {
		p := plan.Make(c.sql, cat, publicPath)
		if p.Refusal != nil || p.Need != plan.NeedNothing {
			t.Errorf("%s: got refusal %+v, need %v", c.sql, p.Refusal, p.Need)
			continue
		}
		got := render(t, c.sql, p)
		if n := strings.Count(got, "(VALUES ('public'"); n < c.times || n > c.times*2 || (c.times == 0) != (got == c.sql) {
			t.Errorf("%s: got %s", c.sql, got)
		}
		if c.has != "" && !strings.Contains(strings.ReplaceAll(got, "::pg_catalog.oid", "::pg_catalog.int2"), c.has) {
			t.Errorf("%s: got %s, want %s in it", c.sql, got, c.has)
		}
		if c.times > 0 && p.Shared {
			t.Errorf("%s: the plan is shared with other texts", c.sql)
		}
		if again := plan.Make(got, plan.NewCatalog(nil, nil), plan.Options{}); again.Refusal != nil {
			t.Errorf("%s became %s: %v", c.sql, got, again.Refusal)
		}
	}
	for path, want := range map[string]bool{"pg_temp_3,pg_catalog,public": true, "public,pg_catalog": false, "pg_catalog,information_schema,public": true} {
		opt := plan.Options{Path: plan.NewPath("public", strings.Split(path, ",")), Fresh: true}
		if got := !plan.Make("SELECT attname FROM pg_attribute", cat, opt).Raw(); got != want {
			t.Errorf("path %s: replaced %v, want %v", path, got, want)
		}
	}
	if p := plan.Make("SELECT attname FROM pg_attribute", ddlCatalog(t), publicPath); !p.Raw() {
		t.Error("without the columns of the catalogs a query was changed")
	}
}

func TestNamesInCatalogQueries(t *testing.T) {
	r := &plan.Rule{Schema: "public", Table: `o'b\k`, Column: "größe", Type: plan.Type{OID: plan.Text, Typmod: -1}, Binding: "b"}
	cat := plan.NewCatalog([]*plan.Rule{r}, nil).WithSystem(&plan.System{Columns: map[string][]string{"pg_catalog.pg_attribute": {"attname"}}})
	sql := "SELECT * FROM pg_attribute"
	got := render(t, sql, plan.Make(sql, cat, publicPath))
	if want := `('public'::pg_catalog.name, E'o''b\\k'::pg_catalog.name, E'gr\U000000F6\U000000DFe'::pg_catalog.name, 25::pg_catalog.oid, -1)`; !strings.Contains(got, want) {
		t.Errorf("got %s, want %s in it", got, want)
	}
	if strings.Contains(hex.EncodeToString([]byte(got)), "c3b6") {
		t.Error("the text is not ASCII")
	}
}
