// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sidekey/sidekey/dbproxy"
	"github.com/sidekey/sidekey/proxy"
)

// A run that waited for another finds what that one has made of the column, and does
// not seal what is sealed. Values of type bytea would take it.
func TestMigrateTwice(t *testing.T) {
	rule := column("people", "email", "bytea", proxy.ModeEquality)
	rule.Moving = proxy.MovingPlaintext
	f := start(t, shared, []proxy.ColumnRule{rule})
	direct := f.direct(t)
	exec1(t, direct, "CREATE TABLE people (id int PRIMARY KEY, email bytea)")
	exec1(t, direct, "INSERT INTO people SELECT i, convert_to('value ' || i, 'UTF8') FROM generate_series(1, 50) i")
	second, waits := make(chan string, 1), make(chan bool, 1000)
	begun := false
	f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people"}, func(m *dbproxy.Migrator) {
		m.Observe(func(step string) {
			if step != "indexed" || begun {
				return
			}
			begun = true
			go func() {
				out, err := f.migrate(t, context.Background(), dbproxy.MigrateOptions{Table: "people"}, func(m *dbproxy.Migrator) {
					m.Observe(func(step string) { waits <- step == "waiting" })
				})
				second <- fmt.Sprint(err, out)
			}()
			if !<-waits {
				t.Error("the second run did not wait")
			}
		})
	})
	if got := <-second; !strings.Contains(got, "<nil>") || !strings.Contains(got, "is as it is to become") {
		t.Errorf("the second run: %s", got)
	}
	app := f.connect(t, pgx.QueryExecModeExec)
	for i := 1; i <= 50; i += 7 {
		var got []byte
		if err := app.QueryRow(t.Context(), "SELECT email FROM people WHERE id = $1", i).Scan(&got); err != nil || string(got) != fmt.Sprint("value ", i) {
			t.Errorf("row %d: got %q, %v", i, got, err)
		}
	}
}

// While transactions that use the table go on for long, a move waits for them, and
// nobody for the move: neither for a lock of the table nor for that of the sidecars.
func TestMigrateHoldsUpNobody(t *testing.T) {
	f := start(t, shared, movingColumn(proxy.ModeEquality))
	direct, other := f.direct(t), f.direct(t)
	exec1(t, direct, plainPeople, pgx.QueryExecModeSimpleProtocol)
	for _, step := range []string{"", "indexed"} {
		for _, isolation := range []string{"BEGIN; SELECT FROM people LIMIT 1", "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT"} {
			if step == "" && !strings.Contains(isolation, "people") {
				continue // the table is not used
			}
			hold := func() { exec1(t, other, isolation, pgx.QueryExecModeSimpleProtocol) }
			busy := 0
			change := func(m *dbproxy.Migrator) {
				m.Observe(func(s string) {
					if s == step {
						hold()
					}
					if s != "busy" {
						return
					}
					if busy++; busy == 3 {
						exec1(t, other, "COMMIT")
					}
				})
			}
			if step == "" {
				hold()
			}
			done, watched := make(chan bool), make(chan int)
			const waiters = `SELECT count(*) FROM pg_locks WHERE (SELECT xact_start FROM pg_stat_activity WHERE pid = $1) IS NOT NULL AND (locktype = 'advisory' AND mode = 'ExclusiveLock' AND objsubid = 1
  OR locktype = 'relation' AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND mode = 'AccessExclusiveLock' AND relation = 'people'::regclass AND NOT granted)`
			go func() {
				seen := 0
				for {
					select {
					case <-done:
						watched <- seen
						return
					default:
					}
					var n int
					err := direct.QueryRow(context.Background(), waiters, int32(other.PgConn().PID())).Scan(&n)
					if err != nil {
						t.Error(err)
					}
					seen += n
				}
			}()
			f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people"}, change)
			close(done)
			if seen := <-watched; seen > 0 || busy < 3 {
				t.Errorf("beside %q at %q: somebody was seen to wait for the move %d times; it was busy %d times", isolation, step, seen, busy)
			}
			f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people", Action: dbproxy.Decrypt})
		}
	}
}

// Indexes that are made or rebuilt while a move goes on are taken up, and none of those
// that it made is left behind. A trigger that does not watch any more ends the move.
func TestMigrateTakesUpIndexes(t *testing.T) {
	f := start(t, shared, movingColumn(proxy.ModeEquality))
	direct := f.direct(t)
	exec1(t, direct, plainPeople, pgx.QueryExecModeSimpleProtocol)
	exec1(t, direct, "CREATE INDEX hashed ON people USING hash (email)")
	first := true
	f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people"}, func(m *dbproxy.Migrator) {
		m.Observe(func(step string) {
			if step != "indexed" || !first {
				return
			}
			first = false
			exec1(t, direct, "REINDEX TABLE CONCURRENTLY people")
			exec1(t, direct, "ALTER TABLE people ADD added int")
			exec1(t, direct, "CREATE INDEX late ON people (hits, email)")
			exec1(t, direct, "DROP INDEX hashed")
		})
	})
	want := []string{"CREATE INDEX late ON public.people USING btree (hits, email) true", "CREATE UNIQUE INDEX people_email_key ON public.people USING btree (email) true", "CREATE UNIQUE INDEX people_pkey ON public.people USING btree (id) true"}
	if got := textRows(t, direct, "SELECT pg_get_indexdef(indexrelid) || ' ' || indisvalid FROM pg_index WHERE indrelid = 'people'::regclass ORDER BY 1", f.database); !slices.Equal(got, want) {
		t.Errorf("got indexes %q, want %q", got, want)
	}
	_, err := f.migrate(t, t.Context(), dbproxy.MigrateOptions{Table: "people", Action: dbproxy.Decrypt}, func(m *dbproxy.Migrator) {
		m.Observe(func(step string) {
			if step == "indexed" {
				exec1(t, direct, "ALTER TABLE people DISABLE TRIGGER USER; ALTER TABLE people ENABLE TRIGGER USER", pgx.QueryExecModeSimpleProtocol)
			}
		})
	})
	if err == nil || !strings.Contains(err.Error(), "is gone or does not always fire: --abandon and begin anew") {
		t.Errorf("with a trigger that did not fire for some time: %v", err)
	}
	f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people", Action: dbproxy.Decrypt, Abandon: true})
	newMovers().compare(t, f.connect(t, pgx.QueryExecModeExec))
}

// A run that gets stuck while all wait for it loses its locks to the server, before the
// sidecars give up; the next goes on.
func TestMigrateStuck(t *testing.T) {
	f := start(t, shared, movingColumn(proxy.ModeEquality))
	exec1(t, f.direct(t), plainPeople, pgx.QueryExecModeSimpleProtocol)
	app := f.connect(t, pgx.QueryExecModeExec)
	stuck := false
	_, err := f.migrate(t, t.Context(), dbproxy.MigrateOptions{Table: "people"}, func(m *dbproxy.Migrator) {
		m.Observe(func(step string) {
			if step != "alone" || stuck {
				return
			}
			stuck = true
			if _, err := app.Exec(context.Background(), "UPDATE people SET email = 'meanwhile' WHERE id = 7"); err != nil {
				t.Errorf("while the run is stuck: %v", err)
			}
		})
	})
	if err == nil || !stuck {
		t.Errorf("the run that was stuck (%v) went on", stuck)
	}
	f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people"})
	m := newMovers()
	meanwhile := "meanwhile"
	m.set(7, &meanwhile)
	m.compare(t, app)
}

// A rotation in place waits for transactions that have stored values of the old key:
// it says that none is left.
func TestMigrateRotatesUncommitted(t *testing.T) {
	f := start(t, shared, []proxy.ColumnRule{column("people", "email", "text", proxy.ModeRandom)})
	app, direct := f.connect(t, pgx.QueryExecModeExec), f.direct(t)
	exec1(t, app, "CREATE TABLE people (id int PRIMARY KEY, email text)")
	exec1(t, app, "INSERT INTO people VALUES (1, 'first@example.com')")
	exec1(t, app, "BEGIN")
	exec1(t, app, "INSERT INTO people VALUES (2, 'second@example.com')")
	busy := 0
	f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people", Action: dbproxy.Rotate}, func(m *dbproxy.Migrator) {
		m.Observe(func(step string) {
			if step != "busy" {
				return
			}
			if busy++; busy == 2 {
				exec1(t, app, "COMMIT")
			}
		})
	})
	if got := textRows(t, direct, "SELECT id FROM people WHERE encode(substr(email, 4, 4), 'hex') <> '00000002'", f.database); len(got) > 0 || busy < 2 {
		t.Errorf("rows %q are under the old key; it waited %d times", got, busy)
	}
	for id, want := range map[int]string{1: "first@example.com", 2: "second@example.com"} {
		if got, err := names(t, app, "SELECT email FROM people WHERE id = $1", id); err != nil || got != want {
			t.Errorf("row %d: got %q, %v, want %q", id, got, err, want)
		}
	}
}

// Whatever changes rows, keys, partitions and values at once while the column moves,
// through sidecars and past them, is in the table when it has moved.
func TestMigrateEveryWrite(t *testing.T) {
	f := start(t, shared, movingColumn(proxy.ModeEquality))
	direct, app := f.direct(t), f.connect(t, pgx.QueryExecModeExec)
	exec1(t, direct, `CREATE TABLE people (id int PRIMARY KEY, email text, hits int NOT NULL DEFAULT 0) PARTITION BY RANGE (id);
CREATE TABLE low PARTITION OF people FOR VALUES FROM (0) TO (1000); CREATE TABLE high PARTITION OF people FOR VALUES FROM (1000) TO (100000);
CREATE TABLE wiped PARTITION OF people FOR VALUES FROM (100000) TO (200000);
INSERT INTO people SELECT i, 'movmark-' || i FROM generate_series(0, 999) i; INSERT INTO wiped SELECT i, 'wiped' FROM generate_series(100000, 100500) i`, pgx.QueryExecModeSimpleProtocol)
	want := map[int]string{}
	for i := range 1000 {
		want[i] = fmt.Sprint("movmark-", i)
	}
	next, sealed := 0, false
	write := func(conn *pgx.Conn, how string) {
		at := next
		next += 20
		do := func(sql string, args ...any) {
			t.Helper()
			if _, err := conn.Exec(context.Background(), sql, args...); err != nil {
				t.Errorf("%s: %s: %v", how, sql, err)
			}
		}
		mail := func(k int) string { return fmt.Sprintf("%s-%d", how, at+k) }
		do("UPDATE people SET email = $1 WHERE id = $2", mail(0), at)
		want[at] = mail(0)
		do("UPDATE people SET id = id + 5000 WHERE id = $1", at+1) // into another partition
		want[at+5001] = want[at+1]
		delete(want, at+1)
		do("UPDATE people SET id = id + 5000, email = $1 WHERE id = $2", mail(2), at+2)
		want[at+5002] = mail(2)
		delete(want, at+2)
		do("DELETE FROM people WHERE id = $1", at+3)
		delete(want, at+3)
		do("INSERT INTO people (id, email) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET email = EXCLUDED.email", at+4, mail(4))
		want[at+4] = mail(4)
		do("INSERT INTO people (id, email) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING", at+5, mail(5))
		if serverVersion(t) >= 15 {
			do("MERGE INTO people p USING (SELECT 1) x ON p.id = "+fmt.Sprint(at+6)+" WHEN MATCHED THEN UPDATE SET email = '"+mail(6)+"' WHEN NOT MATCHED THEN INSERT (id) VALUES (-1)", pgx.QueryExecModeSimpleProtocol)
			want[at+6] = mail(6)
		}
		do("UPDATE people p SET email = q.email FROM people q WHERE p.id = $1 AND q.id = $2", at+7, at+8)
		want[at+7] = want[at+8]
		do("BEGIN")
		do("UPDATE people SET email = $1 WHERE id = $2", mail(9), at+9)
		do("SAVEPOINT s")
		do("UPDATE people SET email = $1 WHERE id = $2", mail(99), at+9)
		do("ROLLBACK TO s")
		do("COMMIT")
		want[at+9] = mail(9)
		do("UPDATE people SET email = NULL WHERE id = $1", at+10)
		do("UPDATE people SET email = $1 WHERE id = $2 AND email IS NULL", mail(10), at+10)
		want[at+10] = mail(10)
		if _, err := conn.PgConn().CopyFrom(context.Background(), strings.NewReader(fmt.Sprintf("%d\t%s\n%d\t\\N\n", 9000+at, mail(11), 9001+at)), "COPY people (id, email) FROM STDIN"); err != nil {
			t.Errorf("%s: COPY: %v", how, err)
		}
		want[9000+at], want[9001+at] = mail(11), ""
	}
	change := func(step string) {
		if step != "alone" {
			write(app, "app")
		}
		if step != "alone" && !sealed {
			write(direct, "direct")
		}
		if step == "caught up" {
			exec1(t, direct, "TRUNCATE wiped")
			exec1(t, direct, "INSERT INTO wiped SELECT * FROM wiped")
		}
	}
	for _, action := range []dbproxy.MigrateAction{dbproxy.Encrypt, dbproxy.Rotate, dbproxy.Decrypt} {
		next = map[dbproxy.MigrateAction]int{dbproxy.Encrypt: 0, dbproxy.Rotate: 300, dbproxy.Decrypt: 600}[action]
		f.migrateKilled(t, dbproxy.MigrateOptions{Table: "people", Action: action, Batch: 100}, change)
		sealed = action != dbproxy.Decrypt
		got := map[int]string{}
		rows, err := app.Query(t.Context(), "SELECT id, email FROM people")
		if err != nil {
			t.Fatal(err)
		}
		var id int
		var email *string
		if _, err := pgx.ForEachRow(rows, []any{&id, &email}, func() error {
			got[id] = ""
			if email != nil {
				got[id] = *email
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(got, want) {
			for id, v := range want {
				if g, ok := got[id]; !ok || g != v {
					t.Errorf("after %s: row %d: got %q (%v), want %q", action, id, g, ok, v)
				}
			}
			t.Errorf("after %s: %d rows, want %d", action, len(got), len(want))
		}
	}
}
