// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sidekey/sidekey/dbproxy"
	"github.com/sidekey/sidekey/proxy"
	"github.com/sidekey/sidekey/proxy/datakey"
)

// migrate runs a migration in the database of a fixture. No test has a client that goes
// by the order of columns, unless it says so.
func (f *fixture) migrate(t testing.TB, ctx context.Context, o dbproxy.MigrateOptions, change ...func(*dbproxy.Migrator)) (string, error) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	keys, err := datakey.NewCache(f.moves, f.kms.Client(), log)
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	var out bytes.Buffer
	o.AcceptOrder = !f.inOrder
	o.Output, o.Every = io.MultiWriter(&out, t.Output()), 5*time.Second
	cfg := dbproxy.Config{Listen: "127.0.0.1:0", Upstream: dbproxy.UpstreamConfig{Address: fmt.Sprintf("127.0.0.1:%d", f.cluster.port)}, AdminURLFile: f.urlFile}
	m, err := dbproxy.NewMigrator(cfg, f.columns, o, proxy.NewCipher(proxy.Rules{Columns: f.columns}, keys, f.audit), f.audit, log)
	if err != nil {
		t.Fatal(err)
	}
	m.Hasten(2*time.Second, 100*time.Millisecond)
	for _, ch := range change {
		ch(m)
	}
	_, err = m.Run(ctx)
	return out.String(), err
}

func (f *fixture) mustMigrate(t testing.TB, o dbproxy.MigrateOptions, change ...func(*dbproxy.Migrator)) string {
	t.Helper()
	out, err := f.migrate(t, t.Context(), o, change...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}

// journal is what writers have stored; each row has one writer.
type journal struct {
	mu   sync.Mutex
	rows map[int]*string // guarded by mu; nil is NULL
}

func (j *journal) set(id int, v *string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.rows[id] = v
}

func (j *journal) drop(id int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.rows, id)
}

func value(v *string) string {
	if v == nil {
		return "NULL"
	}
	return "'" + *v + "'"
}

// movers write to table people while it moves.
type movers struct {
	journal
	stop     chan struct{}
	value    func(seed uint64, n int) string // what is written
	notNull  bool                            // no NULL is written
	sealed   bool                            // the column is encrypted
	work     sync.WaitGroup
	writes   atomic.Int64
	searches atomic.Int64
	retried  atomic.Int64
}

// write changes rows id, id+step, … until stop; it ends too when done says that the
// error is one.
func (m *movers) write(t *testing.T, conn *pgx.Conn, first, step int, seed uint64, past bool, done func(*pgconn.PgError) bool) {
	m.work.Go(func() {
		rnd := rand.New(rand.NewPCG(seed, 1))
		for n := 0; ; n++ {
			select {
			case <-m.stop:
				return
			default:
			}
			if m.once(t, conn, first+step*rnd.IntN(60), m.value(seed, n), rnd.IntN(6), past, done) {
				return
			}
		}
	})
}

func (m *movers) once(t *testing.T, conn *pgx.Conn, id int, email string, kind int, past bool, done func(*pgconn.PgError) bool) bool {
	var err error
	if kind == 1 && m.notNull {
		kind = 2
	}
	switch kind {
	case 0:
		_, err = conn.Exec(context.Background(), "DELETE FROM people WHERE id = $1", id)
	case 1:
		_, err = conn.Exec(context.Background(), "INSERT INTO people (id, email) VALUES ($1, NULL) ON CONFLICT (id) DO UPDATE SET email = NULL", id)
	case 2:
		_, err = conn.Exec(context.Background(), "UPDATE people SET hits = hits + 1 WHERE id = $1", id)
	default:
		_, err = conn.Exec(context.Background(), "INSERT INTO people (id, email) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET email = EXCLUDED.email", id, email)
	}
	var failed *pgconn.PgError
	switch {
	case errors.As(err, &failed) && (past && failed.Code == "40001" || strings.Contains(failed.Message, "cached plan must not change")):
		m.retried.Add(1) // through a proxy only the driver's prepared statements fail, as after any ALTER TABLE
		return false
	case errors.As(err, &failed) && done(failed):
		return true
	case err != nil:
		t.Errorf("writing: %v", err)
		return true
	}
	m.writes.Add(1)
	switch kind {
	case 0:
		m.drop(id)
	case 1:
		m.set(id, nil)
	case 2:
	default:
		m.set(id, &email)
	}
	return false
}

// search looks for a row that is always there.
func (m *movers) search(t *testing.T, conn *pgx.Conn) {
	m.work.Go(func() {
		for {
			select {
			case <-m.stop:
				return
			default:
			}
			var id int
			var email string
			err := conn.QueryRow(context.Background(), "SELECT id, email FROM people WHERE email = 'constant@example.com'").Scan(&id, &email)
			if err != nil || id != -1 || email != "constant@example.com" {
				t.Errorf("a search got %d, %q, %v", id, email, err)
				return
			}
			m.searches.Add(1)
		}
	})
}

func (m *movers) halt() {
	close(m.stop)
	m.work.Wait()
}

// compare reads the table through the proxy.
func (m *movers) compare(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	m.compareSome(t, conn, 0, 1)
}

// compareSome reads the rows whose number leaves a remainder.
func (m *movers) compareSome(t *testing.T, conn *pgx.Conn, remainder, modulus int) {
	t.Helper()
	rows, err := conn.Query(t.Context(), fmt.Sprintf("SELECT id, email FROM people WHERE id >= 0 AND id %% %d = %d", modulus, remainder))
	if err != nil {
		t.Fatal(err)
	}
	got := map[int]*string{}
	var id int
	var email *string
	if _, err := pgx.ForEachRow(rows, []any{&id, &email}, func() error { got[id] = email; return nil }); err != nil {
		t.Fatal(err)
	}
	rowsWanted := 0
	for id, want := range m.rows {
		if id%modulus != remainder {
			continue
		}
		rowsWanted++
		if g, ok := got[id]; !ok || value(g) != value(want) {
			t.Errorf("row %d: got %s (%v), want %s", id, value(g), ok, value(want))
		}
	}
	if len(got) != rowsWanted {
		t.Errorf("got %d rows, want %d", len(got), rowsWanted)
	}
}

func movingColumn(mode string) []proxy.ColumnRule {
	c := column("people", "email", "text", mode)
	c.Moving = proxy.MovingPlaintext
	return []proxy.ColumnRule{c}
}

const plainPeople = `CREATE TABLE people (id int PRIMARY KEY, email text UNIQUE, hits int NOT NULL DEFAULT 0);
INSERT INTO people (id, email) VALUES (-1, 'constant@example.com');
INSERT INTO people (id, email) SELECT i, 'movmark-first-' || i || '@example.com' FROM generate_series(0, 5999) i`

func newMovers() *movers {
	m := &movers{journal: journal{rows: map[int]*string{}}, stop: make(chan struct{})}
	m.value = func(seed uint64, n int) string { return fmt.Sprintf("movmark-%d-%d@example.com", seed, n) }
	for i := range 6000 {
		email := fmt.Sprintf("movmark-first-%d@example.com", i)
		m.rows[i] = &email
	}
	return m
}

// A column is encrypted, given another data key and decrypted while clients write
// and search through two proxies and past them. Nothing is lost or mixed, and no
// search misses what is there.
func TestMigrateUnderWriters(t *testing.T) {
	f := start(t, shared, movingColumn(proxy.ModeEquality))
	direct := f.direct(t)
	exec1(t, direct, plainPeople, pgx.QueryExecModeSimpleProtocol)
	r := f.replica(t)
	never := func(*pgconn.PgError) bool { return false }
	// Past the proxies a column of sealed values takes no plaintext.
	refused := func(e *pgconn.PgError) bool { return e.Code == "42804" || e.Code == "23514" || e.Code == "42883" }
	m := newMovers()
	begin := func() {
		m.stop = make(chan struct{})
		m.write(t, f.connect(t, pgx.QueryExecModeExec), 0, 4, 1, false, never)
		m.write(t, r.connect(t, pgx.QueryExecModeCacheStatement), 1, 4, 2, false, never)
		m.write(t, f.connect(t, pgx.QueryExecModeSimpleProtocol), 2, 4, 3, false, never)
		m.search(t, f.connect(t, pgx.QueryExecModeExec))
		m.search(t, r.connect(t, pgx.QueryExecModeSimpleProtocol))
	}
	begin()
	m.write(t, f.direct(t), 3, 4, 4, true, refused)
	out := f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people", Batch: 50})
	t.Log(out)
	m.halt()
	app := f.connect(t, pgx.QueryExecModeExec)
	m.compare(t, app)
	var sealed, values int
	if err := direct.QueryRow(t.Context(), "SELECT count(email), count(*) FILTER (WHERE encode(substr(email, 1, 2), 'hex') = 'f84b') FROM people").Scan(&values, &sealed); err != nil || values != sealed || values == 0 {
		t.Errorf("%d of %d values are sealed, %v", sealed, values, err)
	}
	var unique, check int
	err := direct.QueryRow(t.Context(), `SELECT count(*) FILTER (WHERE contype = 'u' AND conname = 'people_email_key'), count(*) FILTER (WHERE contype = 'c' AND conname = 'sidekey_sealed_email' AND convalidated)
FROM pg_constraint WHERE conrelid = 'people'::regclass`).Scan(&unique, &check)
	if err != nil || unique != 1 || check != 1 {
		t.Errorf("%d unique and %d check constraints, %v; want one of each", unique, check, err)
	}
	f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people", VerifyOnly: true})

	var key uint32
	keyOf := func() (k uint32) {
		t.Helper()
		rows, err := direct.Query(t.Context(), "SELECT DISTINCT substr(email, 4, 4) FROM people WHERE email IS NOT NULL", pgx.QueryExecModeExec)
		if err != nil {
			t.Fatal(err)
		}
		ids, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
		if err != nil || len(ids) != 1 {
			t.Fatalf("data keys of values are %x, %v; want one", ids, err)
		}
		return uint32(ids[0][0])<<24 | uint32(ids[0][1])<<16 | uint32(ids[0][2])<<8 | uint32(ids[0][3])
	}
	key = keyOf()
	begin()
	f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people", Action: dbproxy.Rotate})
	m.halt()
	m.compare(t, app)
	if after := keyOf(); after == key {
		t.Errorf("values name data key %d still", key)
	}

	begin()
	f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people", Action: dbproxy.Decrypt})
	m.halt()
	m.compare(t, app)
	m.compare(t, f.direct(t))
	t.Logf("%d writes, %d tried again, %d searches", m.writes.Load(), m.retried.Load(), m.searches.Load())
	var left int
	err = direct.QueryRow(t.Context(), "SELECT count(*) FROM pg_class WHERE relname LIKE 'sidekey\\_%'").Scan(&left)
	if err != nil || left != 0 {
		t.Errorf("%d indexes are left behind, %v", left, err)
	}
}

// A run that is ended after any step is gone on with by the next.
func TestMigrateResumes(t *testing.T) {
	for _, step := range []string{"prepared", "filled", "caught up", "indexed", "alone"} {
		f := start(t, shared, movingColumn(proxy.ModeEquality))
		exec1(t, f.direct(t), plainPeople, pgx.QueryExecModeSimpleProtocol)
		m := newMovers()
		ctx, cancel := context.WithCancel(t.Context())
		_, err := f.migrate(t, ctx, dbproxy.MigrateOptions{Table: "people"}, func(m *dbproxy.Migrator) {
			m.Observe(func(s string) {
				if s == step {
					cancel()
				}
			})
		})
		cancel()
		if step != "alone" && !errors.Is(err, dbproxy.ErrInterrupted) {
			t.Errorf("ended after %q: got %v", step, err)
		}
		app := f.connect(t, pgx.QueryExecModeExec)
		exec1(t, app, "UPDATE people SET email = 'meanwhile@example.com' WHERE id = 7")
		changed := "meanwhile@example.com"
		m.set(7, &changed)
		m.compare(t, app)
		f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people"})
		m.compare(t, app)
		f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people", VerifyOnly: true})
	}
}

// A move that is taken back leaves the table as it was.
func TestMigrateAbandons(t *testing.T) {
	f := start(t, shared, movingColumn(proxy.ModeEquality))
	direct := f.direct(t)
	exec1(t, direct, plainPeople, pgx.QueryExecModeSimpleProtocol)
	f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people", NoSwap: true})
	if _, err := f.migrate(t, t.Context(), dbproxy.MigrateOptions{Table: "people", Action: dbproxy.Rotate}); err == nil || !strings.Contains(err.Error(), "--abandon") {
		t.Errorf("another action upon a move under way: %v", err)
	}
	f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people", Abandon: true})
	var columns, triggers int
	err := direct.QueryRow(t.Context(), "SELECT (SELECT count(*) FROM pg_attribute WHERE attrelid = 'people'::regclass AND attnum > 0 AND NOT attisdropped), (SELECT count(*) FROM pg_trigger WHERE tgrelid = 'people'::regclass)").Scan(&columns, &triggers)
	if err != nil || columns != 3 || triggers != 0 {
		t.Errorf("%d columns and %d triggers, %v; want 3 and none", columns, triggers, err)
	}
	newMovers().compare(t, f.connect(t, pgx.QueryExecModeExec))
}

// After a rewrite no file of the table, its indexes or the statistics holds plaintext.
func TestMigrateRewrites(t *testing.T) {
	c := ownCluster(t, "log_min_error_statement = panic")
	f := start(t, c, movingColumn(proxy.ModeEquality))
	direct := f.direct(t)
	exec1(t, direct, plainPeople+"; ALTER TABLE people DROP email, ADD email text DEFAULT 'movmark-first-kept'; INSERT INTO people SELECT i, 0, 'movmark-first-' || i || '@example.com' FROM generate_series(6000, 9000) i; CREATE UNIQUE INDEX ON people (email, id); ANALYZE people; CHECKPOINT", pgx.QueryExecModeSimpleProtocol)
	kept := func() (files []string) {
		// As it is in definitions, too.
		for _, file := range append(c.contains(t, "movmark-first-"), c.contains(t, strings.Trim(fmt.Sprint([]byte("movmark-first-")), "[]"))...) {
			if !strings.Contains(file, "/pg_wal/") && !strings.Contains(file, "/log/") {
				files = append(files, file)
			}
		}
		return files
	}
	if len(kept()) < 4 { // the table, its index, and both parts of its definition; statistics are compressed
		t.Fatalf("plaintext is found in %v only: the search finds nothing", kept())
	}
	f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people", Rewrite: true})
	if files := kept(); len(files) > 0 {
		t.Errorf("plaintext is left in %v", files)
	}
}

// What cannot be moved is refused with everything that stands against it, and
// nothing is changed.
func TestMigrateRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		mode, sql string
		want      []string
	}{
		"order":      {"equality", "", []string{"behind hits", "--accept-order"}},
		"view":       {"equality", "CREATE VIEW emails AS SELECT email FROM people", []string{"view", "emails"}},
		"default":    {"random", "ALTER TABLE people DROP CONSTRAINT people_email_key, ALTER email SET DEFAULT 'x'", []string{"mode random", "DROP DEFAULT"}},
		"computed":   {"equality", "ALTER TABLE people ALTER email SET DEFAULT current_user", []string{"compute", "DROP DEFAULT"}},
		"collation":  {"equality", "CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false); ALTER TABLE people ALTER email TYPE text COLLATE loose", []string{"collation", "mode random"}},
		"check":      {"equality", "ALTER TABLE people ADD CONSTRAINT at CHECK (email LIKE '%@%')", []string{"constraint at"}},
		"expression": {"equality", "CREATE INDEX lowered ON people (lower(email))", []string{"lowered", "expression"}},
		"condition":  {"equality", "CREATE INDEX partial ON people (id) WHERE email > 'm'", []string{"index partial"}},
		"unique":     {"random", "", []string{"people_email_key", "mode equality"}},
		"generated":  {"equality", "ALTER TABLE people ADD domain text GENERATED ALWAYS AS (email || '') STORED", []string{"depends on it"}},
		"foreign":    {"equality", "CREATE TABLE mails (to_whom text REFERENCES people (email))", []string{"foreign key"}},
		"policy":     {"equality", "CREATE POLICY own ON people USING (email = current_user)", []string{"policy own"}},
		"trigger": {"equality", "CREATE FUNCTION low() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.email := lower(NEW.email); RETURN NEW; END'; CREATE TRIGGER low BEFORE INSERT ON people FOR EACH ROW EXECUTE FUNCTION low()",
			[]string{"--accept-triggers", "low"}},
		"child": {"equality", "CREATE TABLE child () INHERITS (people)", []string{"inherits"}},
		"type":  {"equality", "ALTER TABLE people ALTER email TYPE varchar(99)", []string{"character varying(99)"}},
		"two":   {"equality", "CREATE VIEW a AS SELECT email FROM people; CREATE VIEW b AS SELECT email FROM people", []string{"view public.a depends", "view public.b depends"}},
		"key":   {"equality", "DROP TABLE people; CREATE TABLE people (id int, email text) PARTITION BY RANGE (id, email)", []string{"partition key"}},
		"key of a part": {"equality", "DROP TABLE people; CREATE TABLE people (id int, email text) PARTITION BY RANGE (id); CREATE TABLE part PARTITION OF people DEFAULT PARTITION BY LIST (lower(email))",
			[]string{"partition \"public\".\"part\": it is in the partition key"}},
		"partition": {"equality", "DROP TABLE people; CREATE TABLE whole (id int, email text) PARTITION BY RANGE (id); CREATE TABLE people PARTITION OF whole DEFAULT", []string{"it is a partition"}},
		"foreign partition": {"equality", "DROP TABLE people; CREATE TABLE people (id int, email text) PARTITION BY RANGE (id); CREATE FOREIGN DATA WRAPPER none; CREATE SERVER none FOREIGN DATA WRAPPER none; CREATE FOREIGN TABLE far PARTITION OF people DEFAULT SERVER none",
			[]string{"far\" is a foreign table"}},
		"view of a partition": {"equality", "DROP TABLE people; CREATE TABLE people (id int, email text) PARTITION BY RANGE (id); CREATE TABLE part PARTITION OF people DEFAULT; CREATE VIEW emails AS SELECT email FROM part",
			[]string{"partition \"public\".\"part\": view", "emails"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, shared, movingColumn(c.mode))
			direct := f.direct(t)
			exec1(t, direct, plainPeople+";"+c.sql, pgx.QueryExecModeSimpleProtocol)
			f.inOrder = name == "order"
			_, err := f.migrate(t, t.Context(), dbproxy.MigrateOptions{Table: "people"})
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want an error with %q", err, want)
				}
			}
			var columns int
			err = direct.QueryRow(t.Context(), "SELECT count(*) FROM pg_attribute WHERE attrelid = 'people'::regclass AND attname LIKE '%sidekey%'").Scan(&columns)
			if err != nil || columns != 0 {
				t.Errorf("the table was changed: %d columns, %v", columns, err)
			}
		})
	}
}

// Values of a random column are sealed anew where they are, while a proxy that does
// not know of the new key yet goes on.
func TestMigrateRotatesInPlace(t *testing.T) {
	f := start(t, shared, []proxy.ColumnRule{column("people", "email", "text", proxy.ModeRandom)})
	app, direct := f.connect(t, pgx.QueryExecModeExec), f.direct(t)
	exec1(t, app, "CREATE TABLE people (id int PRIMARY KEY, email text)")
	for i := range 300 {
		exec1(t, app, "INSERT INTO people VALUES ($1, $2)", i, fmt.Sprintf("%d@example.com", i))
	}
	f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people", Action: dbproxy.Rotate})
	var old, retired int
	err := direct.QueryRow(t.Context(), "SELECT (SELECT count(*) FROM people WHERE encode(substr(email, 4, 4), 'hex') <> '00000002'), (SELECT count(*) FROM sidekey.data_keys WHERE state = 'retired' AND id = 1)").Scan(&old, &retired)
	if err != nil || old != 0 || retired != 1 {
		t.Errorf("%d values of the old key, %d keys retired, %v", old, retired, err)
	}
	// This proxy still seals with the retired key, as if it had been late: nothing is lost.
	exec1(t, app, "INSERT INTO people VALUES (999, 'late@example.com')")
	for _, conn := range []*pgx.Conn{app, f.replica(t).connect(t, pgx.QueryExecModeExec)} {
		for id, want := range map[int]string{0: "0@example.com", 299: "299@example.com", 999: "late@example.com"} {
			var got string
			if err := conn.QueryRow(t.Context(), "SELECT email FROM people WHERE id = $1", id).Scan(&got); err != nil || got != want {
				t.Errorf("row %d: got %q, %v, want %q", id, got, err, want)
			}
		}
	}
}

// sqlName is the type of a rule in SQL.
func sqlName(typ string) string {
	name, isEnum := strings.CutPrefix(typ, "enum(")
	if !isEnum {
		return typ
	}
	name, _, _ = strings.Cut(name, ":")
	return name
}

// Values of every type come back as they were.
func TestMigrateTypes(t *testing.T) {
	types := map[string][]string{
		"text": {"''", "'ä€😀'", `'\x41'`}, "varchar(20)": {"'x'", "'  spaced '"}, "int4": {"-2147483648", "7"}, "int8": {"9223372036854775807", "0"},
		"bytea": {`'\x'`, `'\xf84b01'`}, "bool": {"true", "false"}, "date": {"'infinity'", "'0044-03-15 BC'"}, "int2": {"-32768"}, "float4": {"1.1", "'-0'"}, "float8": {"1e-300", "'NaN'", "'-Infinity'"}, "char(5)": {"'ab'"}, "time": {"'23:59:59.5'"},
		"timestamp(3)": {"'2024-02-29 23:59:59.999'"}, "interval": {"'1 mon -2 days 03:04:05.6'"}, "json": {`'{"b" : 1,  "a":2}'`}, "inet": {"'10.1.2.3/8'", "'::1'"},
		"cidr": {"'10.0.0.0/8'"}, "text[]": {`ARRAY['a,b', NULL, '"']`, "'{}'"}, "int4[]": {"'{1,NULL,3}'"}, "uuid": {"'6ecd8c99-4036-403d-bf84-cf8400f67836'"},
		"timestamptz": {"'2024-02-29 23:59:59.999999+05:30'", "'-infinity'"}, "numeric(12,2)": {"-1.5", "0", "9999999999.99"}, "numeric": {"1.500", "'NaN'", "1e30"},
		"jsonb": {`'{"b": 1.50, "a": [null, "ü\\n"]}'`, `'"x"'`}, "citext": {"'Abc'", "''"}, "enum(apart.mood: sad, 'so so', ok)": {"'so so'", "'sad'"},
	}
	var columns []proxy.ColumnRule
	create, names, most := "CREATE TABLE kinds (id int", []string{}, 0
	for typ, values := range types {
		name := fmt.Sprintf("c_%d", len(names))
		names, most = append(names, typ), max(most, len(values))
		create += fmt.Sprintf(", %s %s", name, sqlName(typ))
		c := column("kinds", name, typ, proxy.ModeRandom)
		columns = append(columns, c)
	}
	f := start(t, shared, columns)
	f.stop()
	direct := f.direct(t)
	exec1(t, direct, "CREATE EXTENSION citext; CREATE SCHEMA apart; CREATE TYPE apart.mood AS ENUM ('sad', 'so so', 'ok')", pgx.QueryExecModeSimpleProtocol)
	exec1(t, direct, create+")")
	for i := range most {
		row := fmt.Sprint(i)
		for _, typ := range names {
			if v := types[typ]; i < len(v) {
				row += ", (" + v[i] + ")::" + sqlName(typ)
			} else {
				row += ", NULL"
			}
		}
		exec1(t, direct, "INSERT INTO kinds VALUES ("+row+")")
	}
	// The move puts columns last one after the other, so that all together keep their order.
	read := func() (all string) {
		t.Helper()
		if err := direct.QueryRow(t.Context(), "SELECT string_agg(k::text, E'\\n' ORDER BY id) FROM kinds k", pgx.QueryExecModeExec).Scan(&all); err != nil {
			t.Fatal(err)
		}
		return all
	}
	before := read()
	f.mustMigrate(t, dbproxy.MigrateOptions{Table: "kinds"})
	f.mustMigrate(t, dbproxy.MigrateOptions{Table: "kinds", VerifyOnly: true})
	if read() == before {
		t.Error("nothing was encrypted")
	}
	f.mustMigrate(t, dbproxy.MigrateOptions{Table: "kinds", Action: dbproxy.Decrypt})
	if after := read(); after != before {
		t.Errorf("got\n%s\nwant\n%s", after, before)
	}
}

// Values are brought under another rule once no sidecar of the old one is connected.
func TestMigrateReencrypts(t *testing.T) {
	f := start(t, shared, []proxy.ColumnRule{column("people", "email", "text", proxy.ModeRandom)})
	app := f.connect(t, pgx.QueryExecModeExec)
	exec1(t, app, "CREATE TABLE people (id int PRIMARY KEY, email text NOT NULL)")
	for i := range 20 {
		exec1(t, app, "INSERT INTO people VALUES ($1, $2)", i, fmt.Sprintf("%d@example.com", i))
	}
	o := dbproxy.MigrateOptions{Table: "people", Action: dbproxy.Reencrypt, From: f.columns, Attempts: 1}
	next := *f
	next.columns = []proxy.ColumnRule{column("people", "email", "text", proxy.ModeEquality)}
	next.columns[0].Domain = "addresses"
	if _, err := next.migrate(t, t.Context(), o); err == nil || !strings.Contains(err.Error(), "have to be stopped") {
		t.Errorf("beside a sidecar of the old rule: %v", err)
	}
	app.Close(t.Context())
	f.stop()
	o.Attempts = 0
	next.mustMigrate(t, o)
	var id int
	err := next.replica(t).connect(t, pgx.QueryExecModeExec).QueryRow(t.Context(), "SELECT id FROM people WHERE email = '7@example.com'").Scan(&id)
	if err != nil || id != 7 {
		t.Errorf("a search by the new rule got %d, %v", id, err)
	}
}

// The column stays NOT NULL, since PostgreSQL 18 by a constraint with its name,
// inherited or not and valid or not.
func TestMigrateKeepsNotNull(t *testing.T) {
	version := serverVersion(t)
	for ddl, want := range map[string]string{
		"CREATE TABLE people (id int PRIMARY KEY, email text NOT NULL)":                                                                              "people_email_not_null NOT NULL email",
		"CREATE TABLE people (id int PRIMARY KEY, email text CONSTRAINT given NOT NULL UNIQUE)":                                                      "given NOT NULL email",
		"CREATE TABLE people (id int, email text PRIMARY KEY)":                                                                                       "people_email_not_null NOT NULL email",
		`CREATE TABLE people (id int PRIMARY KEY, email text); ALTER TABLE people ADD CONSTRAINT "has Email" NOT NULL email NO INHERIT`:              `"has Email" NOT NULL email NO INHERIT`,
		`CREATE TABLE people (id int PRIMARY KEY, email text); INSERT INTO people VALUES (0, NULL); ALTER TABLE people ADD NOT NULL email NOT VALID`: "people_email_not_null NOT NULL email NOT VALID",
	} {
		if version < 18 {
			if want = ""; strings.Contains(ddl, "ALTER") {
				continue // NOT NULL was no constraint
			}
		}
		f := start(t, shared, movingColumn(proxy.ModeEquality))
		direct := f.direct(t)
		exec1(t, direct, ddl, pgx.QueryExecModeSimpleProtocol)
		exec1(t, direct, "INSERT INTO people VALUES (1, 'a@example.com')", pgx.QueryExecModeSimpleProtocol)
		for _, action := range []dbproxy.MigrateAction{dbproxy.Encrypt, dbproxy.Decrypt} {
			f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people", Action: action})
			if _, err := direct.Exec(t.Context(), "INSERT INTO people VALUES (2, NULL)"); state(err) != "23502" {
				t.Errorf("%s: NULL after %v: got %v, want 23502", ddl, action, err)
			}
			var got string
			var notNull bool
			err := direct.QueryRow(t.Context(), `SELECT a.attnotnull, COALESCE(quote_ident(k.conname) || ' ' || pg_get_constraintdef(k.oid), '') FROM pg_attribute a
				LEFT JOIN pg_constraint k ON k.conrelid = a.attrelid AND k.contype = 'n' AND a.attnum = ANY (k.conkey) WHERE a.attrelid = 'people'::regclass AND a.attname = 'email'`).Scan(&notNull, &got)
			if err != nil || got != want || !notNull {
				t.Errorf("%s: after %v: got constraint %q, NOT NULL %v, %v; want %q, true", ddl, action, got, notNull, err, want)
			}
		}
		if got := textRows(t, direct, "SELECT id FROM people WHERE email = 'a@example.com'", f.database); len(got) != 1 || got[0] != "1" {
			t.Errorf("%s: got rows %q", ddl, got)
		}
	}
}

// The swap has nobody wait until all rows are read: the column takes no NULL from then
// on, and is NOT NULL at the end, also if the run is killed in between.
func TestMigrateSettlesNotNull(t *testing.T) {
	for name, ddl := range map[string]string{
		"table":      "CREATE TABLE people (id int PRIMARY KEY, email text NOT NULL)",
		"partitions": "CREATE TABLE people (id int PRIMARY KEY, email text NOT NULL) PARTITION BY RANGE (id); CREATE TABLE people_0 PARTITION OF people FOR VALUES FROM (0) TO (9); CREATE TABLE people_1 PARTITION OF people DEFAULT PARTITION BY HASH (id); CREATE TABLE people_2 PARTITION OF people_1 FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
		"partition":  "CREATE TABLE people (id int PRIMARY KEY, email text) PARTITION BY RANGE (id); CREATE TABLE people_0 PARTITION OF people DEFAULT; ALTER TABLE people_0 ALTER email SET NOT NULL",
		"key":        "CREATE TABLE people (id int, email text, PRIMARY KEY (id, email))",
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, shared, movingColumn(proxy.ModeEquality))
			direct := f.direct(t)
			exec1(t, direct, ddl+"; INSERT INTO people SELECT i, 'movmark-' || i FROM generate_series(0, 19) i", pgx.QueryExecModeSimpleProtocol)
			const declared = "SELECT attrelid::regclass || ' ' || attnotnull FROM pg_attribute WHERE attname = 'email' AND attrelid::regclass::text LIKE 'people%' AND attrelid IN (SELECT oid FROM pg_class WHERE relkind IN ('r', 'p')) ORDER BY 1"
			before := textRows(t, direct, declared, f.database)
			killed := func(action dbproxy.MigrateAction) {
				t.Helper()
				if _, err := f.migrate(t, t.Context(), dbproxy.MigrateOptions{Table: "people", Action: action}, func(m *dbproxy.Migrator) {
					m.Observe(func(step string) {
						if step != "swapped" {
							return
						}
						var n int
						if err := direct.QueryRow(context.Background(), "SELECT count(*) FROM pg_constraint WHERE conname = 'sidekey_not_null_email' AND NOT convalidated").Scan(&n); err != nil || n == 0 && name != "key" && serverVersion(t) < 18 {
							t.Errorf("%v: %d constraints wait to be validated, %v", action, n, err)
						}
						if _, err := direct.Exec(context.Background(), "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'sidekey migrate' AND datname = current_database()"); err != nil {
							t.Error(err)
						}
					})
				}); err == nil {
					t.Errorf("%v: was killed, and got no error", action)
				}
				if _, err := direct.Exec(t.Context(), "INSERT INTO people VALUES (7, NULL)"); state(err) != "23514" && state(err) != "23502" {
					t.Errorf("%v: NULL after the swap: got %v, want 23514 or 23502", action, err)
				}
			}
			settled := func() {
				t.Helper()
				if after := textRows(t, direct, declared, f.database); !slices.Equal(after, before) {
					t.Errorf("got %q, want %q", after, before)
				}
				if left := textRows(t, direct, "SELECT conname FROM pg_constraint WHERE conname LIKE 'sidekey_not_null%'", f.database); len(left) > 0 {
					t.Errorf("%q is left", left)
				}
			}
			killed(dbproxy.Encrypt)
			f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people"})
			settled()
			killed(dbproxy.Rotate)
			killed(dbproxy.Decrypt) // goes on with what was left
			f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people", Action: dbproxy.Decrypt})
			settled()
			if got := textRows(t, direct, "SELECT id FROM people WHERE email = 'movmark-' || id", f.database); len(got) != 20 {
				t.Errorf("%d values are as they were, want 20", len(got))
			}
		})
	}
}

// A server that is too old is said to be, and nothing is begun on it.
func TestMovesNeed14(t *testing.T) {
	f := start(t, shared, movingColumn(proxy.ModeEquality))
	exec1(t, f.direct(t), plainPeople, pgx.QueryExecModeSimpleProtocol)
	got, want := "", ""
	if serverVersion(t) < 14 {
		want = "public.people.email: columns are moved on PostgreSQL 14 or newer"
	}
	if _, err := f.migrate(t, t.Context(), dbproxy.MigrateOptions{Table: "people"}); err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if moved := len(sealedColumns(t, f, "people")) > 0; moved != (want == "") {
		t.Errorf("moved: %v", moved)
	}
}

// A sidecar that does not take part keeps the columns from being swapped under it.
func TestMigrateNeedsSidecars(t *testing.T) {
	f := start(t, shared, movingColumn(proxy.ModeEquality))
	exec1(t, f.direct(t), plainPeople, pgx.QueryExecModeSimpleProtocol)
	other := *f
	other.columns = []proxy.ColumnRule{column("people", "email", "text", proxy.ModeEquality)}
	conn := other.replica(t).connect(t, pgx.QueryExecModeExec)
	if _, err := conn.Exec(t.Context(), "SELECT id FROM people"); err == nil {
		t.Error("a proxy whose rule does not move takes a column of plaintext")
	}
	if _, err := f.migrate(t, t.Context(), dbproxy.MigrateOptions{Table: "people", Attempts: 1}); err == nil || !strings.Contains(err.Error(), "do not take part") {
		t.Errorf("beside a sidecar that does not take part: %v", err)
	}
	f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people", IgnoreSidecars: true})
}
