// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/sidekey/sidekey/proxy"
)

// TestShapes has every shape in which other proxies were seen to store
// plaintext or to answer wrongly: each is right or refused.
func TestShapes(t *testing.T) {
	f := start(t, shared, users())
	conn := f.connect(t, pgx.QueryExecModeSimpleProtocol)
	exec1(t, conn, usersDDL)
	exec1(t, conn, "CREATE TABLE other (id int, email text)")
	exec1(t, conn, "INSERT INTO users (email, ssn, pin) VALUES ('base@x', '1', 1)")
	version := serverVersion(t)
	for _, c := range [][2]string{ // and its SQLSTATE, or "" for success
		{"INSERT INTO users (id, email) VALUES (1, 'canary-conflict') ON CONFLICT (id) DO UPDATE SET email = 'canary-set0'", ""},
		{"INSERT INTO users (email) VALUES ('canary-set') ON CONFLICT (email) DO UPDATE SET ssn = 'canary-ssn', note = 'x'", ""},
		{"INSERT INTO users (email) SELECT 'canary-select'", ""},
		{"SELECT 1; INSERT INTO users (email) VALUES ('canary-second')", ""},
		{"COPY users (email) FROM '/tmp/x'", "0A000"},
		{"COPY users TO PROGRAM 'cat'", "0A000"},
		{"COPY (SELECT lower(email) FROM users) TO STDOUT", "0A000"},
		{"WITH i AS (INSERT INTO users (email) VALUES ('canary-cte') RETURNING id) SELECT * FROM i", ""},
		{"MERGE INTO users u USING (VALUES (1)) v(i) ON u.id = v.i WHEN MATCHED THEN UPDATE SET email = 'canary-merge'", ""},
		{"SELECT * FROM users WHERE email LIKE 'b%'", "0A000"},
		{"SELECT * FROM users WHERE email > 'a'", "0A000"},
		{"SELECT email FROM users ORDER BY email", "0A000"},
		{"CREATE VIEW uv AS SELECT lower(email) FROM users", "0A000"},
		{"SELECT email FROM (SELECT email FROM users) s WHERE email = 'none'", ""},
		{"SELECT email FROM users UNION SELECT 'x'", ""},
		{"SELECT email::varchar FROM users", ""},
		{"SELECT coalesce(email, 'x') FROM users", ""},
		{"DECLARE c CURSOR WITH HOLD FOR SELECT lower(email) FROM users", "0A000"},
		{"PREPARE p(text) AS SELECT * FROM users WHERE email > $1", "0A000"},
		{"DECLARE c CURSOR WITH HOLD FOR SELECT email FROM users WHERE email <> 'canary-declare'", ""},
		{"PREPARE p(text) AS SELECT * FROM users WHERE email = $1 AND email <> 'canary-prepare'", ""},
		{"EXECUTE p('canary-execute')", ""},
		{"INSERT INTO other SELECT id, email FROM users", "0A000"},
		{"UPDATE other SET email = users.email FROM users", "0A000"},
		{"UPDATE users SET ssn = 'canary-upd' WHERE id = 1", ""},
		{"SELECT 'p' || email FROM users", "0A000"},
		{"SELECT nothing FROM users", "42703"},
		{"SELECT FROM users WHERE", "42601"},
		{"SELECT email FROM missing.users", "42P01"},
		{"INSERT INTO users (email) VALUES ('canary-dup'), ('canary-dup')", "23505"},
		{"TRUNCATE nowhere", "42P01"},
		{"SELECT set_config('standard_conforming_strings', 'on', false)", ""},
		{"EXPLAIN ANALYZE SELECT email FROM users WHERE email = 'canary-explain'", ""},
		{"CREATE INDEX ON users (email)", ""},
		{"ANALYZE users", ""},
		{"ALTER TABLE users ADD COLUMN extra int", ""},
		{"INSERT INTO users (email, extra) VALUES ('canary-extra', 1)", ""},
	} {
		sql, want := c[0], c[1]
		if strings.HasPrefix(sql, "MERGE ") && version < 15 {
			want = "42601" // which the server says
		}
		_, err := conn.Exec(t.Context(), sql)
		if got := state(err); got != want {
			t.Errorf("%s: got %v, want %q", sql, err, want)
		}
	}
	// A function body cannot be seen: the server itself refuses the plaintext.
	if _, err := conn.Exec(t.Context(), "DO $$ BEGIN EXECUTE 'INSERT INTO users (email) VALUES (''do-' || 'block'')'; END $$"); state(err) != "23514" {
		t.Errorf("DO block: got %v, want a failed check", err)
	}
	raw := f.direct(t)
	rows, _ := raw.Query(t.Context(), "SELECT v FROM users, LATERAL (VALUES (email), (ssn), (pin)) x(v) WHERE v IS NOT NULL")
	values, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil || len(values) == 0 {
		t.Fatalf("%d values, %v", len(values), err)
	}
	for _, v := range values {
		if !proxy.Sealed(v) {
			t.Errorf("%x is not sealed", v)
		}
	}
	exec1(t, raw, "CHECKPOINT")
	if files := f.cluster.contains(t, "canary-"); len(files) > 0 {
		t.Errorf("canaries are in %v", files)
	}
}

func state(err error) string {
	if err == nil {
		return ""
	}
	return sqlState(err)
}

func TestTransactionalDDL(t *testing.T) {
	for name, mode := range execModes {
		t.Run(name, func(t *testing.T) {
			f := start(t, shared, users())
			conn := f.connect(t, mode)
			for range 2 {
				exec1(t, conn, "BEGIN")
				exec1(t, conn, usersDDL)
				exec1(t, conn, "INSERT INTO users (email) VALUES ($1)", "in@transaction")
				var email string
				if err := conn.QueryRow(t.Context(), "SELECT email FROM users").Scan(&email); err != nil || email != "in@transaction" {
					t.Fatalf("got %q, %v", email, err)
				}
				exec1(t, conn, "ROLLBACK")
			}
			if _, err := conn.Exec(t.Context(), "SELECT email FROM users"); state(err) != "42P01" {
				t.Errorf("after rollback: got %v", err)
			}
			exec1(t, conn, "CREATE SCHEMA s")
			exec1(t, conn, "SET search_path TO s")
			exec1(t, conn, "CREATE TABLE users (email text)")
			exec1(t, conn, "INSERT INTO users VALUES ('plain')")
			exec1(t, conn, "SET search_path TO public, s")
			exec1(t, conn, "INSERT INTO users VALUES ('also plain')")
			exec1(t, conn, "DELETE FROM users WHERE email LIKE 'also%'")
			exec1(t, conn, usersDDL)
			exec1(t, conn, "INSERT INTO users (email) VALUES ('sealed')")
			var s, p string
			if err := conn.QueryRow(t.Context(), "SELECT a.email, b.email FROM s.users a, users b").Scan(&s, &p); err != nil || s != "plain" || p != "sealed" {
				t.Errorf("got %q %q, %v", s, p, err)
			}
		})
	}
}

func TestErrorsKeepTransactionState(t *testing.T) {
	f := start(t, shared, users())
	for name, mode := range execModes {
		t.Run(name, func(t *testing.T) {
			conn := f.connect(t, mode)
			exec1(t, conn, "DROP TABLE IF EXISTS users")
			exec1(t, conn, usersDDL)
			exec1(t, conn, "BEGIN")
			if _, err := conn.Exec(t.Context(), "SELECT lower(email) FROM users"); state(err) != "0A000" {
				t.Errorf("got %v, want 0A000", err)
			}
			if s := conn.PgConn().TxStatus(); s != 'E' {
				t.Errorf("got transaction status %c, want E", s)
			}
			if _, err := conn.Exec(t.Context(), "SELECT 1"); state(err) != "25P02" {
				t.Errorf("got %v, want 25P02", err)
			}
			exec1(t, conn, "ROLLBACK")
			if _, err := conn.Exec(t.Context(), "INSERT INTO users (pin) VALUES ($1::int)", "x"); err == nil {
				t.Error("an invalid integer was stored")
			}
			exec1(t, conn, "INSERT INTO users (pin) VALUES (1)")
		})
	}
}

func TestBatch(t *testing.T) {
	f := start(t, shared, users())
	for name, mode := range execModes {
		t.Run(name, func(t *testing.T) {
			conn := f.connect(t, mode)
			exec1(t, conn, "DROP TABLE IF EXISTS users")
			exec1(t, conn, usersDDL)
			var b pgx.Batch
			for i := range 200 {
				b.Queue("INSERT INTO users (email, pin) VALUES ($1, $2)", strings.Repeat("e", i), int32(i))
			}
			b.Queue("SELECT count(DISTINCT email) FROM users").QueryRow(func(row pgx.Row) error {
				var n int
				if err := row.Scan(&n); err != nil || n != 200 {
					t.Errorf("got %d, %v", n, err)
				}
				return nil
			})
			if err := conn.SendBatch(t.Context(), &b).Close(); err != nil {
				t.Fatal(err)
			}
			var bad pgx.Batch
			bad.Queue("INSERT INTO users (email) VALUES ($1)", "before")
			bad.Queue("INSERT INTO users (email) VALUES ($1)", "e")
			bad.Queue("INSERT INTO users (email) VALUES ($1)", "after")
			if err := conn.SendBatch(t.Context(), &bad).Close(); state(err) != "23505" {
				t.Errorf("got %v, want 23505", err)
			}
			var refused pgx.Batch
			refused.Queue("INSERT INTO users (email) VALUES ($1)", "before")
			refused.Queue("SELECT lower(email) FROM users")
			refused.Queue("INSERT INTO users (email) VALUES ($1)", "after")
			if err := conn.SendBatch(t.Context(), &refused).Close(); state(err) != "0A000" {
				t.Errorf("got %v, want 0A000", err)
			}
			var n int
			if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM users").Scan(&n); err != nil || n != 200 {
				t.Errorf("got %d rows, %v", n, err)
			}
		})
	}
}

func TestSwappedCells(t *testing.T) {
	f := start(t, shared, users())
	conn := f.connect(t, pgx.QueryExecModeCacheStatement)
	exec1(t, conn, usersDDL)
	exec1(t, conn, "INSERT INTO users (email, ssn, pin) VALUES ('a', 'b', 1)")
	raw := f.direct(t)
	exec1(t, raw, "ALTER TABLE users DROP CONSTRAINT sidekey_sealed_ssn")
	exec1(t, raw, "UPDATE users SET ssn = email")
	exec1(t, raw, "ALTER TABLE users ADD CONSTRAINT sidekey_sealed_ssn CHECK (ssn IS NULL) NOT VALID")
	var out string
	err := conn.QueryRow(t.Context(), "SELECT ssn FROM users").Scan(&out)
	if state(err) != "XX001" || out != "" {
		t.Errorf("got %q, %v; want XX001", out, err)
	}
	if conn.IsClosed() {
		t.Error("the connection did not stay in sync")
	} else if err := conn.QueryRow(t.Context(), "SELECT email FROM users").Scan(&out); err != nil || out != "a" {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestUnguardedTableIsRefused(t *testing.T) {
	f := start(t, shared, users())
	exec1(t, f.direct(t), "CREATE TABLE users (id int, email text)")
	conn := f.connect(t, pgx.QueryExecModeExec)
	for _, sql := range []string{"INSERT INTO users VALUES (1, 'x')", "SELECT id FROM users", "SELECT email FROM users"} {
		if _, err := conn.Exec(t.Context(), sql); state(err) != "0A000" {
			t.Errorf("%s: got %v, want 0A000", sql, err)
		}
	}
}

func TestViewsAndPartitions(t *testing.T) {
	f := start(t, shared, users())
	conn := f.connect(t, pgx.QueryExecModeExec)
	exec1(t, conn, "CREATE TABLE users (id int, email text, pin int) PARTITION BY RANGE (id)")
	exec1(t, conn, "CREATE TABLE users_1 PARTITION OF users FOR VALUES FROM (0) TO (100)")
	exec1(t, conn, "INSERT INTO users VALUES (1, 'p', 2)")
	var email string
	if err := conn.QueryRow(t.Context(), "SELECT email FROM users WHERE email = 'p'").Scan(&email); err != nil || email != "p" {
		t.Errorf("got %q, %v", email, err)
	}
	exec1(t, f.direct(t), "CREATE VIEW uv AS SELECT email FROM users; CREATE VIEW uvv AS SELECT * FROM uv")
	exec1(t, conn, "CREATE TABLE unrelated (x int)")
	other := f.connect(t, pgx.QueryExecModeExec)
	exec1(t, other, "DROP TABLE IF EXISTS users_none")
	// A partition holds the values of the table, whatever way they take.
	exec1(t, conn, "CREATE TABLE users_2 PARTITION OF users FOR VALUES FROM (100) TO (200)")
	exec1(t, conn, "INSERT INTO users_2 VALUES (100, 'ptcanary-1', 2)")
	simple := f.connect(t, pgx.QueryExecModeSimpleProtocol)
	exec1(t, simple, "CREATE TABLE users_3 PARTITION OF users FOR VALUES FROM (200) TO (300); INSERT INTO users_3 VALUES (200, 'ptcanary-2', 2); INSERT INTO public.users_3 VALUES (201, 'ptcanary-3', 2)")
	// Defaults of mode equality are sealed, as constants are everywhere.
	exec1(t, conn, "ALTER TABLE users_1 ALTER email SET DEFAULT 'ptcanary'")
	exec1(t, conn, "ALTER VIEW uv ALTER email SET DEFAULT 'ptcanary'")
	noCanary(t, f, "ptcanary")
	exec1(t, conn, "INSERT INTO users_1 VALUES (2, 'direct', 3)")
	for _, sql := range []string{"SELECT email FROM users_1 WHERE email = 'direct'", "SELECT email FROM public.users WHERE email = 'direct'",
		"SELECT email FROM uv WHERE email = 'direct'", "SELECT v.email FROM uvv v JOIN users_1 u ON u.email = v.email WHERE u.pin = 3"} {
		if err := conn.QueryRow(t.Context(), sql).Scan(&email); err != nil || email != "direct" {
			t.Errorf("%s: got %q, %v", sql, email, err)
		}
	}
}

// TestLockedView: a view that is being altered keeps nobody from the tables.
func TestLockedView(t *testing.T) {
	f := start(t, shared, users())
	conn, server := f.connect(t, pgx.QueryExecModeExec), f.direct(t)
	exec1(t, conn, usersDDL)
	exec1(t, conn, "INSERT INTO users (email) VALUES ('locked')")
	exec1(t, server, "CREATE VIEW lv AS SELECT email FROM users")
	exec1(t, server, "BEGIN")
	exec1(t, server, "ALTER VIEW lv SET (security_barrier = true)")
	exec1(t, conn, "CREATE TABLE seen (x int)") // the catalog is read anew
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var email string
	if err := conn.QueryRow(ctx, "SELECT email FROM users").Scan(&email); err != nil || email != "locked" {
		t.Errorf("got %q, %v", email, err)
	}
	if _, err := conn.Exec(ctx, "SELECT email FROM lv"); state(err) != "0A000" {
		t.Errorf("locked view: got %v, want 0A000", err)
	}
	exec1(t, server, "COMMIT")
	exec1(t, conn, "DROP TABLE seen")
	exec1(t, conn, "SELECT email FROM users")
	if err := conn.QueryRow(ctx, "SELECT email FROM lv").Scan(&email); err != nil || email != "locked" {
		t.Errorf("got %q, %v", email, err)
	}
}

func TestCancel(t *testing.T) {
	f := start(t, shared, users())
	conn := f.connect(t, pgx.QueryExecModeExec)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		raw := f.direct(t)
		for {
			var n int
			if raw.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(%' AND state = 'active'").Scan(&n) != nil || n > 0 {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		conn.PgConn().CancelRequest(context.WithoutCancel(ctx))
	}()
	_, err := conn.Exec(t.Context(), "SELECT pg_sleep(60)")
	cancel()
	if state(err) != "57014" {
		t.Errorf("got %v, want 57014", err)
	}
	exec1(t, conn, "SELECT 1")
}

func TestCopyOfOtherTables(t *testing.T) {
	f := start(t, shared, users())
	conn := f.connect(t, pgx.QueryExecModeExec)
	exec1(t, conn, "CREATE TABLE plain (a int, b text)")
	rows := make([][]any, 5000)
	for i := range rows {
		rows[i] = []any{i, strings.Repeat("x", i%300)}
	}
	n, err := conn.CopyFrom(t.Context(), pgx.Identifier{"plain"}, []string{"a", "b"}, pgx.CopyFromRows(rows))
	if err != nil || n != 5000 {
		t.Fatalf("got %d, %v", n, err)
	}
	var out strings.Builder
	if _, err := conn.PgConn().CopyTo(t.Context(), &out, "COPY plain TO STDOUT"); err != nil || strings.Count(out.String(), "\n") != 5000 {
		t.Errorf("got %d lines, %v", strings.Count(out.String(), "\n"), err)
	}
	_, err = conn.PgConn().CopyFrom(t.Context(), strings.NewReader("bad\n"), "COPY plain FROM STDIN")
	if state(err) == "" {
		t.Error("bad COPY data was taken")
	}
	exec1(t, conn, "SELECT 1")
	var big string
	if err := conn.QueryRow(t.Context(), "SELECT repeat('y', 50000000)").Scan(&big); err != nil || len(big) != 50000000 {
		t.Errorf("got %d bytes, %v", len(big), err)
	}
}

func TestJoinsAndGroups(t *testing.T) {
	f := start(t, shared, users())
	conn := f.connect(t, pgx.QueryExecModeCacheStatement)
	exec1(t, conn, usersDDL)
	exec1(t, conn, "CREATE TABLE leads (id int, email text)")
	exec1(t, conn, "INSERT INTO users (email, pin) VALUES ('a', 1), ('b', 1), ('c', 2)")
	exec1(t, conn, "INSERT INTO leads VALUES (10, 'b'), (11, 'c'), (12, 'd')")
	rows, _ := conn.Query(t.Context(), "SELECT l.email FROM users u JOIN leads l ON l.email = u.email ORDER BY l.id")
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if d := cmp.Diff([]string{"b", "c"}, got); d != "" || err != nil {
		t.Error(d, err)
	}
	rows, _ = conn.Query(t.Context(), "SELECT pin, count(*) FROM users GROUP BY pin ORDER BY 2 DESC")
	pins, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) ([2]int, error) { var v [2]int; return v, r.Scan(&v[0], &v[1]) })
	if d := cmp.Diff([][2]int{{1, 2}, {2, 1}}, pins); d != "" || err != nil {
		t.Error(d, err)
	}
	rows, _ = conn.Query(t.Context(), "WITH x AS (SELECT email AS e FROM users) SELECT e FROM x WHERE e IN (SELECT email FROM leads) AND e <> $1", "b")
	got, err = pgx.CollectRows(rows, pgx.RowTo[string])
	if d := cmp.Diff([]string{"c"}, got); d != "" || err != nil {
		t.Error(d, err)
	}
}
