// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sidekey/sidekey/dbproxy"
	"github.com/sidekey/sidekey/proxy"
)

// by is the fixture with another administrative role, which may make the schema of
// the keys and owns table people.
func (f *fixture) by(t *testing.T, role string) *fixture {
	t.Helper()
	direct := f.direct(t)
	exec1(t, direct, "CREATE ROLE "+role+" LOGIN; GRANT CREATE ON DATABASE "+f.database+" TO "+role+"; GRANT CREATE ON SCHEMA public TO "+role+"; ALTER TABLE people OWNER TO "+role, pgx.QueryExecModeSimpleProtocol)
	t.Cleanup(func() {
		if _, err := direct.Exec(context.Background(), "DROP OWNED BY "+role+" CASCADE; DROP ROLE "+role, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Error(err)
		}
	})
	of := *f
	of.urlFile = filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(of.urlFile, []byte(f.cluster.url(role, f.database)), 0o600); err != nil {
		t.Fatal(err)
	}
	return &of
}

// untouched fails if a move has left anything of its own.
func untouched(t *testing.T, direct *pgx.Conn) {
	t.Helper()
	if left := textRows(t, direct, "SELECT attrelid::regclass::text || '.' || attname FROM pg_attribute WHERE attname LIKE '%\\_\\_sidekey' UNION ALL SELECT tgname FROM pg_trigger WHERE tgname LIKE '~sidekey%' UNION ALL SELECT relname FROM pg_class WHERE relname LIKE 'sidekey\\_%'", "database"); len(left) > 0 {
		t.Errorf("the move has left %q", left)
	}
}

// What would stop a move in the middle, or give its second column to somebody who
// does not know of it, is refused before anything is changed.
func TestMigrateRefusesEarly(t *testing.T) {
	const fn = "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS "
	const tg = "; CREATE TRIGGER t AFTER UPDATE ON people FOR EACH ROW EXECUTE FUNCTION f()"
	const plain = "CREATE TABLE people (id int PRIMARY KEY, email text, hits int NOT NULL DEFAULT 0); INSERT INTO people (id, email) SELECT i, 'movmark-' || i FROM generate_series(0, 9) i;"
	const parted = "CREATE TABLE people (id int NOT NULL, email text NOT NULL) PARTITION BY RANGE (id); CREATE UNIQUE INDEX pairs ON people (id, email); CREATE TABLE people_all PARTITION OF people DEFAULT;"
	for name, c := range map[string]struct{ sql, role, want string }{
		"row type":            {plain + "CREATE TABLE kept (p people, q people[])", "", "stored as a whole, with the values as they are, in public.kept.p, public.kept.q"},
		"domain of rows":      {plain + "CREATE DOMAIN person AS people; CREATE TABLE kept (p person)", "", "in public.kept.p"},
		"typed table":         {"CREATE TYPE person AS (id int, email text); CREATE TABLE people OF person", "", "typed table"},
		"update rule":         {plain + "CREATE RULE r AS ON UPDATE TO people DO INSTEAD NOTHING; ALTER TABLE people ENABLE ALWAYS RULE r", "", "its rules on UPDATE fire always, also for what the move does to rows: r"},
		"rule, no replica":    {plain + "CREATE RULE r AS ON UPDATE TO people DO INSTEAD NOTHING", "movrole_a", "triggers or rules of the table would fire"},
		"forced row security": {plain + "ALTER TABLE people ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY", "movrole_b", "BYPASSRLS"},
		"schema":              {plain + "CREATE SCHEMA s", "movrole_c", "it needs CREATE on schema public"},
		"publication":         {plain + "CREATE PUBLICATION p FOR TABLE people", "", "--accept-publications"},
		"all are published":   {parted + "CREATE PUBLICATION p FOR ALL TABLES", "", "publish it, and their subscribers would get the second column and sealed values: p;"},
		"no identity":         {"CREATE TABLE people (id int, email text); CREATE PUBLICATION p FOR TABLE people", "", "does not take without a replica identity"},
		"unvalidated":         {plain + "ALTER TABLE people ADD CONSTRAINT few CHECK (id < 5) NOT VALID", "", "break its constraint few, which is not valid"},
		"long values":         {plain + "INSERT INTO people VALUES (77, repeat('long ', 1000)); CREATE INDEX emails ON people (email)", "", "index emails cannot hold its longest value, of 5000 bytes, once that is sealed"},
		"identity of a part":  {parted + "ALTER TABLE people_all REPLICA IDENTITY USING INDEX people_all_id_email_idx", "", "people_all_id_email_idx is the replica identity"},
		"folded name":         {plain + fn + "'BEGIN PERFORM NEW.EMAIL; RETURN NEW; END'" + tg, "", "would see the second column and sealed values: t;"},
		"row into a table":    {plain + "CREATE TABLE history (LIKE people);" + fn + "'BEGIN INSERT INTO history SELECT OLD.*; RETURN NULL; END'" + tg, "", "would see the second column and sealed values: t;"},
		"row as JSON":         {plain + fn + "'BEGIN PERFORM to_jsonb( OLD ); RETURN NULL; END'" + tg, "", "would see the second column and sealed values: t;"},
		"row as a parameter":  {plain + fn + "'BEGIN EXECUTE ''INSERT INTO history SELECT ($1).*'' USING NEW; RETURN NULL; END'" + tg, "", "would see the second column and sealed values: t;"},
		"transition table":    {plain + fn + "'BEGIN PERFORM * FROM n; RETURN NULL; END'; CREATE TRIGGER t AFTER UPDATE ON people REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION f()", "", "would see the second column and sealed values: t;"},
		"name as an argument": {plain + "ALTER TABLE people ADD words tsvector; CREATE TRIGGER t BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION tsvector_update_trigger(words, 'pg_catalog.simple', email)", "", "would see the second column and sealed values: t;"},
		"like a guard":        {"CREATE TABLE people (id int PRIMARY KEY, email text, CONSTRAINT mine CHECK (encode(\"substring\"(email::bytea, 1, 1), 'hex') <> '00'))", "", "constraint mine on table public.people depends on it"},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, shared, movingColumn(proxy.ModeEquality))
			direct := f.direct(t)
			exec1(t, direct, c.sql, pgx.QueryExecModeSimpleProtocol)
			by := f
			if c.role != "" {
				by = f.by(t, c.role)
			}
			if name == "schema" {
				exec1(t, direct, "REVOKE CREATE ON SCHEMA public FROM "+c.role)
			}
			for _, dry := range []bool{true, false} {
				if dry && name == "rule, no replica" {
					continue
				}
				_, err := by.migrate(t, t.Context(), dbproxy.MigrateOptions{Table: "people", DryRun: dry})
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want an error with %q", err, c.want)
				}
			}
			untouched(t, direct)
		})
	}
}

// What only looks like a hindrance is none.
func TestMigrateGoesOn(t *testing.T) {
	f := start(t, shared, movingColumn(proxy.ModeEquality))
	direct := f.direct(t)
	exec1(t, direct, `CREATE TABLE people (id int PRIMARY KEY, email text, state text, at timestamptz);
INSERT INTO people SELECT i, 'movmark-' || i, 'new' FROM generate_series(0, 9) i;
ALTER TABLE people ADD CONSTRAINT few CHECK (id < 50) NOT VALID;
ALTER TABLE people ENABLE ROW LEVEL SECURITY;
CREATE RULE r AS ON UPDATE TO people DO INSTEAD NOTHING;
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN -- the new state, not the "email_address"
  IF NEW.state = ''new'' AND old.id <> new . id THEN new.at := now(); RETURN new ; END IF;
  RETURN NEW;
END';
CREATE TRIGGER t BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION f()`, pgx.QueryExecModeSimpleProtocol)
	if serverVersion(t) >= 15 { // since then they can name columns
		exec1(t, direct, "CREATE PUBLICATION p FOR TABLE people (id, state)")
	}
	by := f.by(t, "movrole_d")
	if serverVersion(t) >= 15 {
		exec1(t, direct, "GRANT SET ON PARAMETER session_replication_role TO movrole_d")
	} else {
		exec1(t, direct, "ALTER ROLE movrole_d SUPERUSER")
	}
	by.mustMigrate(t, dbproxy.MigrateOptions{Table: "people"})
	exec1(t, direct, "DROP RULE r ON people")
	by.mustMigrate(t, dbproxy.MigrateOptions{Table: "people", VerifyOnly: true})
	by.mustMigrate(t, dbproxy.MigrateOptions{Table: "people", Action: dbproxy.Decrypt})
	if got := textRows(t, direct, "SELECT count(*) FROM people WHERE email = 'movmark-' || id AND at IS NULL", f.database); got[0] != "10" {
		t.Errorf("%s rows are as they were, want 10", got[0])
	}
}

// What was set of the column and of its indexes is set of those that take their place,
// and comes back with the plaintext.
func TestMigrateKeepsSettings(t *testing.T) {
	const set = `CREATE TABLE people (id int, email text, org int, CONSTRAINT people_pk PRIMARY KEY (id) INCLUDE (email));
ALTER TABLE people ALTER email SET STATISTICS 321, ALTER email SET (n_distinct = -0.5), ALTER email SET STORAGE EXTERNAL, ALTER email SET COMPRESSION pglz;
CREATE INDEX covering ON people (org) INCLUDE (email) WITH (fillfactor = 70);
CREATE INDEX present ON people (org, id) WHERE org > 3 AND email IS NOT NULL;
COMMENT ON CONSTRAINT people_pk ON people IS 'one row each'; COMMENT ON INDEX covering IS 'for the list'; COMMENT ON COLUMN people.email IS 'an address';
GRANT SELECT (email), UPDATE (email) ON people TO PUBLIC;
INSERT INTO people SELECT i, CASE WHEN i % 4 > 0 THEN 'movmark-' || i END, i % 7 FROM generate_series(0, 99) i`
	const equality = "; CREATE UNIQUE INDEX one_each ON people (email DESC NULLS LAST, org) WHERE email IS NOT NULL AND org > 0; CREATE INDEX order_of_rows ON people (email, id); CLUSTER people USING order_of_rows; COMMENT ON INDEX one_each IS 'one'"
	for mode, sql := range map[string]string{"random": set, "equality": set + equality} {
		f := start(t, shared, movingColumn(mode))
		direct := f.direct(t)
		exec1(t, direct, sql, pgx.QueryExecModeSimpleProtocol)
		if mode == "random" {
			exec1(t, direct, "SET allow_in_place_tablespaces TO on")
			exec1(t, direct, "CREATE TABLESPACE movspace LOCATION ''")
			exec1(t, direct, "ALTER INDEX covering SET TABLESPACE movspace")
			t.Cleanup(func() {
				for _, sql := range []string{"DROP TABLE people", "DROP TABLESPACE movspace"} {
					if _, err := direct.Exec(context.Background(), sql); err != nil {
						t.Error(err)
					}
				}
			})
		}
		read := func() []string {
			return textRows(t, direct, `SELECT format('%s %s %s %s %s %s', attname, attstattarget, attoptions, attstorage, attcompression, attacl) || ' ' || col_description(attrelid, attnum) FROM pg_attribute WHERE attrelid = 'people'::regclass AND attname = 'email'
UNION ALL SELECT format('%s %s %s %s %s', pg_get_indexdef(indexrelid), obj_description(indexrelid, 'pg_class'), obj_description(k.oid, 'pg_constraint'), indisclustered, (SELECT spcname FROM pg_tablespace s JOIN pg_class c ON c.reltablespace = s.oid WHERE c.oid = indexrelid))
  FROM pg_index LEFT JOIN pg_constraint k ON conindid = indexrelid WHERE indrelid = 'people'::regclass ORDER BY 1`, f.database)
		}
		before := read()
		for _, action := range []dbproxy.MigrateAction{dbproxy.Encrypt, dbproxy.Rotate, dbproxy.Decrypt} {
			f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people", Action: action})
			if after := read(); !slices.Equal(after, before) {
				t.Errorf("mode %s, after %s: got\n%s\nwant\n%s", mode, action, strings.Join(after, "\n"), strings.Join(before, "\n"))
			}
		}
	}
}

// Names that have to be quoted, and the longest ones, are no hindrance.
func TestMigrateOddNames(t *testing.T) {
	long := strings.Repeat("ä", 31)
	const odd = `E-Mail "x" 'y' \z`
	columns := []proxy.ColumnRule{column(`My Schema.of " people`, odd, "text", proxy.ModeEquality), column(`My Schema.of " people`, long, "text", proxy.ModeEquality)}
	for i := range columns {
		columns[i].Moving = proxy.MovingPlaintext
	}
	f := start(t, shared, columns)
	direct := f.direct(t)
	table, column := pgx.Identifier{"My Schema", `of " people`}.Sanitize(), pgx.Identifier{odd}.Sanitize()
	exec1(t, direct, fmt.Sprintf(`CREATE SCHEMA "My Schema"; CREATE TABLE %[1]s (id int PRIMARY KEY, %[2]s text NOT NULL DEFAULT 'it''s \', %[3]s text NOT NULL UNIQUE);
CREATE UNIQUE INDEX "an ""index" ON %[1]s (%[2]s, id) WHERE %[2]s IS NOT NULL; COMMENT ON COLUMN %[1]s.%[2]s IS 'it''s'; GRANT UPDATE (%[2]s) ON %[1]s TO PUBLIC;
INSERT INTO %[1]s SELECT i, 'movmark-' || i, 'movmark-' || i FROM generate_series(0, 9) i`, table, column, long), pgx.QueryExecModeSimpleProtocol)
	read := func() []string {
		return textRows(t, direct, fmt.Sprintf(`SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = '%[1]s'::regclass
UNION ALL SELECT format('%%s %%s %%s %%s %%s %%s', attname, atttypid::regtype, attnotnull, attacl, col_description(attrelid, attnum), pg_get_expr(adbin, adrelid)) FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
  WHERE attrelid = '%[1]s'::regclass AND attnum > 0 AND NOT attisdropped
UNION ALL SELECT conname || pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = '%[1]s'::regclass UNION ALL SELECT id || %[2]s || %[3]s::text FROM %[1]s ORDER BY 1`, table, column, long), f.database)
	}
	before := read()
	for _, action := range []dbproxy.MigrateAction{dbproxy.Encrypt, dbproxy.Rotate, dbproxy.Decrypt} {
		f.migrateKilled(t, dbproxy.MigrateOptions{Table: `My Schema.of " people`, Action: action}, nil)
		if sealed := textRows(t, direct, fmt.Sprintf("SELECT count(*) FROM %s WHERE left(%s::text, 6) = '\\xf84b' AND left(%s::text, 6) = '\\xf84b'", table, column, long), f.database); sealed[0] != map[bool]string{true: "0", false: "10"}[action == dbproxy.Decrypt] {
			t.Errorf("after %s %s rows are sealed", action, sealed)
		}
	}
	if after := read(); !slices.Equal(after, before) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(after, "\n"), strings.Join(before, "\n"))
	}
}

// The server's log holds no value that a move has stored, not even in plaintext again.
func TestMigrateLogsNoValues(t *testing.T) {
	c := ownCluster(t, "log_statement = all", "log_min_duration_statement = 0", "log_parameter_max_length_on_error = -1")
	f := start(t, c, []proxy.ColumnRule{column("people", "email", "text", proxy.ModeRandom)})
	app := f.connect(t, pgx.QueryExecModeExec)
	exec1(t, app, "CREATE TABLE people (id int PRIMARY KEY, email text)")
	exec1(t, app, "INSERT INTO people VALUES (1, 'movmark-first'), (2, 'movmark-second')")
	app.Close(t.Context())
	f.stop()
	f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people", Action: dbproxy.Decrypt})
	logs := func(text string) (n int) {
		for _, file := range c.contains(t, text) {
			if strings.Contains(file, "log") && !strings.Contains(file, "pg_wal") {
				n++
			}
		}
		return n
	}
	if logs("SET sidekey.migrate TO on") == 0 {
		t.Error("the statements of the move are not found in the log")
	}
	if n := logs("movmark-"); n > 0 {
		t.Errorf("%d logs hold a value", n)
	}
}
