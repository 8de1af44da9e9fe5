// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sidekey/sidekey/dbproxy"
	"github.com/sidekey/sidekey/proxy"
)

// partitionedPeople has partitions on two levels, one of them with its columns in
// another order and indexes, privileges and comments of its own.
const partitionedPeople = `CREATE TABLE people (id int PRIMARY KEY, email text NOT NULL, hits int NOT NULL DEFAULT 0, CONSTRAINT people_key UNIQUE (id, email)) PARTITION BY RANGE (id);
CREATE INDEX people_emails ON people (email);
CREATE TABLE people_low PARTITION OF people FOR VALUES FROM (MINVALUE) TO (2000);
CREATE TABLE people_mid PARTITION OF people FOR VALUES FROM (2000) TO (4000) PARTITION BY HASH (id);
CREATE TABLE people_mid_0 PARTITION OF people_mid FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE people_mid_1 PARTITION OF people_mid FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE people_high (gone int, hits int NOT NULL DEFAULT 0, email text NOT NULL, id int NOT NULL);
ALTER TABLE people_high DROP COLUMN gone;
ALTER TABLE people ATTACH PARTITION people_high FOR VALUES FROM (4000) TO (6000);
CREATE INDEX of_its_own ON people_high USING hash (email);
COMMENT ON COLUMN people_high.email IS 'where to write';
GRANT SELECT (email) ON people_high TO PUBLIC;
INSERT INTO people (id, email) VALUES (-1, 'constant@example.com');
INSERT INTO people (id, email) SELECT i, 'movmark-first-' || i || '@example.com' FROM generate_series(0, 5999) i`

// shape is what the catalog says of the tables that begin with people.
func shape(t *testing.T, conn *pgx.Conn) (s string) {
	t.Helper()
	err := conn.QueryRow(t.Context(), `SELECT string_agg(line, E'\n' ORDER BY line) FROM (
SELECT format('%s %s %s %s %s', pg_get_indexdef(indexrelid), indisvalid, inhparent::regclass, conname, pg_get_constraintdef(k.oid)) AS line FROM pg_index LEFT JOIN pg_inherits ON inhrelid = indexrelid LEFT JOIN pg_constraint k ON conindid = indexrelid
  WHERE indrelid::regclass::text LIKE 'people%'
UNION ALL SELECT format('%s.%s %s %s %s %s', attrelid::regclass, attname, format_type(atttypid, atttypmod), attnotnull, attacl, col_description(attrelid, attnum)) FROM pg_attribute WHERE attrelid::regclass::text ~ '^people(_low|_mid|_mid_.|_high)?$' AND attnum > 0 AND NOT attisdropped
UNION ALL SELECT tgrelid::regclass || ' ' || tgname FROM pg_trigger WHERE NOT tgisinternal) x`).Scan(&s)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A partitioned table is encrypted and decrypted as one, under writers, while
// partitions are made, attached, detached and attached again.
func TestMigratePartitions(t *testing.T) {
	f := start(t, shared, movingColumn(proxy.ModeEquality))
	direct := f.direct(t)
	exec1(t, direct, partitionedPeople, pgx.QueryExecModeSimpleProtocol)
	before := shape(t, direct)
	m := newMovers()
	m.notNull = true
	never := func(*pgconn.PgError) bool { return false }
	r := f.replica(t)
	set := func(id int, v string) { m.set(id, &v) }
	partitions := 0
	change := func(step string) {
		from := 10000 * (partitions + 1)
		partitions++
		name := fmt.Sprintf("people_%d", from)
		exec1(t, direct, fmt.Sprintf("CREATE TABLE %s PARTITION OF people FOR VALUES FROM (%d) TO (%d)", name, from, from+1000))
		if step == "alone" {
			return // values that nobody has sealed would have to wait
		}
		exec1(t, f.connect(t, pgx.QueryExecModeExec), "INSERT INTO people (id, email) VALUES ($1, $2)", from, name)
		set(from, name)
		// One that comes with rows, whose second values are not made of the first.
		exec1(t, direct, fmt.Sprintf(`CREATE TABLE %[1]s_more (LIKE people INCLUDING ALL);
INSERT INTO %[1]s_more SELECT (p).* FROM (SELECT p FROM people p WHERE id = 4000) x;
UPDATE %[1]s_more SET id = %[2]d, email = %[3]s;
ALTER TABLE people ATTACH PARTITION %[1]s_more FOR VALUES FROM (%[2]d) TO (%[4]d)`, name, from+1000, map[bool]string{true: "(SELECT email FROM people WHERE id = 4001)", false: "'attached'"}[m.sealed], from+2000), pgx.QueryExecModeSimpleProtocol)
		set(from+1000, "attached")
		if m.sealed {
			set(from+1000, *m.rows[4001])
		}
		// One that changes while it is none, too.
		exec1(t, direct, fmt.Sprintf(`BEGIN; ALTER TABLE people DETACH PARTITION people_high;
UPDATE people_high SET email = (SELECT email FROM people_high WHERE id = 4001) WHERE id = %d;
ALTER TABLE people ATTACH PARTITION people_high FOR VALUES FROM (4000) TO (6000); COMMIT`, 4001+partitions), pgx.QueryExecModeSimpleProtocol)
		set(4001+partitions, *m.rows[4001])
		exec1(t, direct, "CREATE TABLE bare (id int NOT NULL, email text NOT NULL, hits int NOT NULL)")
		if _, err := direct.Exec(t.Context(), "ALTER TABLE people ATTACH PARTITION bare FOR VALUES FROM (900000) TO (900001)"); state(err) != "42804" {
			t.Errorf("attaching a table of plaintext, %s: got %v, want 42804", step, err)
		}
		exec1(t, direct, "DROP TABLE bare")
	}
	move := func(o dbproxy.MigrateOptions) {
		t.Helper()
		m.stop = make(chan struct{})
		m.write(t, f.connect(t, pgx.QueryExecModeExec), 0, 67, 1, false, never)
		m.write(t, r.connect(t, pgx.QueryExecModeSimpleProtocol), 1, 67, 2, false, never)
		m.search(t, f.connect(t, pgx.QueryExecModeExec))
		o.Table, o.Batch = "people", 200
		f.migrateKilled(t, o, change)
		m.halt()
		m.compare(t, f.connect(t, pgx.QueryExecModeExec))
	}
	move(dbproxy.MigrateOptions{})
	m.sealed = true
	var sealed, guards, tables int
	err := direct.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM people WHERE encode(substr(email, 1, 2), 'hex') = 'f84b'),
  (SELECT count(*) FROM pg_constraint WHERE conname = 'sidekey_sealed_email' AND convalidated), (SELECT count(*) FROM pg_class WHERE relname LIKE 'people%' AND relkind IN ('r', 'p'))`).Scan(&sealed, &guards, &tables)
	if err != nil || sealed != len(m.rows)+1 || guards != tables {
		t.Errorf("%d values of %d sealed, %d guards on %d tables, %v", sealed, len(m.rows)+1, guards, tables, err)
	}
	f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people", VerifyOnly: true})
	f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people", Action: dbproxy.Rotate})
	m.compare(t, f.connect(t, pgx.QueryExecModeExec))
	move(dbproxy.MigrateOptions{Action: dbproxy.Decrypt})
	m.compare(t, direct)
	if t.Failed() {
		return
	}
	for n := range partitions {
		exec1(t, direct, fmt.Sprintf("DROP TABLE IF EXISTS people_%[1]d, people_%[1]d_more", 10000*(n+1)))
	}
	if after := shape(t, direct); after != before {
		t.Errorf("the tables were\n%s\nand are\n%s", before, after)
	}
}

// Values of a partitioned table in mode random get another key where they are, and a
// move that is taken back leaves all partitions as they were.
func TestMigratePartitionsInPlace(t *testing.T) {
	f := start(t, shared, movingColumn(proxy.ModeRandom))
	direct := f.direct(t)
	exec1(t, direct, partitionedPeople+"; ALTER TABLE people DROP CONSTRAINT people_key; DROP INDEX people_emails, of_its_own", pgx.QueryExecModeSimpleProtocol)
	before := shape(t, direct)
	f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people", NoSwap: true})
	exec1(t, direct, "ALTER TABLE people DETACH PARTITION people_low")
	out := f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people", Abandon: true})
	if !strings.Contains(out, "detached during the move") || !strings.Contains(out, "people_low") {
		t.Errorf("nothing is said of the detached partition:\n%s", out)
	}
	exec1(t, direct, "ALTER TABLE people_low DROP COLUMN email__sidekey; ALTER TABLE people ATTACH PARTITION people_low FOR VALUES FROM (MINVALUE) TO (2000)", pgx.QueryExecModeSimpleProtocol)
	if after := shape(t, direct); after != before {
		t.Errorf("the tables were\n%s\nand are\n%s", before, after)
	}
	f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people"})
	f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people", Action: dbproxy.Rotate})
	var old int
	if err := direct.QueryRow(t.Context(), "SELECT count(*) FROM people WHERE encode(substr(email, 4, 4), 'hex') <> '00000002'").Scan(&old); err != nil || old != 0 {
		t.Errorf("%d values of the old key, %v", old, err)
	}
	newMovers().compare(t, f.connect(t, pgx.QueryExecModeExec))
}
