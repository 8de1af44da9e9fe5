// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

const createPeople = `create table if not exists people (
	id bigint primary key, name text,
	c_text text, c_secret text, c_varchar varchar(80), c_int4 int4, c_int8 int8, c_bytea bytea, c_bool bool,
	c_date date, c_time timestamptz, c_uuid uuid, c_numeric numeric(12,2), c_json jsonb)`

var peopleOnce sync.Once

// people makes the table through the sidecar, once.
func people(t *testing.T) {
	t.Helper()
	peopleOnce.Do(func() {
		if out, err := shared.run("psql", "-X", "-v", "ON_ERROR_STOP=1", shared.env["DATABASE_URL"], "-c", createPeople); err != nil {
			t.Fatal(out, err)
		}
	})
}

func psql(t *testing.T, url, sql string) (string, error) {
	t.Helper()
	out, err := shared.run("psql", "-X", "-q", "-tA", "-v", "ON_ERROR_STOP=1", url, "-c", sql)
	return strings.TrimSpace(out), err
}

func mustPsql(t *testing.T, url, sql string) string {
	t.Helper()
	out, err := psql(t, url, sql)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestPsql(t *testing.T) {
	people(t)
	text := canary(t, shared)
	app, around := shared.env["DATABASE_URL"], shared.env["UPSTREAM_DATABASE_URL"]
	mustPsql(t, app, "insert into people (id, name, c_text, c_secret, c_numeric, c_json) values (1, 'ada', '"+text+"', '"+text+"', 12.5, '{\"k\": \""+text+"\"}')")
	if got := mustPsql(t, app, "select p.c_secret as s, p.c_numeric from people p where p.c_text = '"+text+"'"); got != text+"|12.50" {
		t.Errorf("got %q", got)
	}
	for _, column := range []string{"c_text", "c_secret", "c_numeric", "c_json"} {
		raw := mustPsql(t, around, "select "+column+" from people where id = 1")
		if !strings.HasPrefix(raw, `\x`) || len(raw) < 60 {
			t.Errorf("around the sidecar %s is %q, want ciphertext", column, raw)
		}
	}
	for _, refused := range []string{
		"select upper(c_text) from people",
		"select id from people where c_secret = 'x'",
		"select id from people order by c_text",
		"insert into people (id, c_text) values (2, '" + text + "'), (3, 'x') order by 2 limit 1",
		"copy people (id, c_text) to '/tmp/people'",
		"insert into people (id, c_text) select 2, name from people",
		"set timezone to 'Asia/Tokyo'; insert into people (id, c_time) values (2, '2020-01-01 00:00')",
	} {
		if out, err := psql(t, app, refused); err == nil || !strings.Contains(err.Error(), "ERROR") {
			t.Errorf("%s: got %q, %v; want a refusal", refused, out, err)
		}
	}
	mustPsql(t, app, "insert into people (id, c_text) select 2, '"+text+"'; prepare hidden (int, text) as insert into people (id, c_text) values ($1, $2); execute hidden(3, '"+text+"')")
	if got := mustPsql(t, app, "copy (select id, c_text from people where id in (2, 3) order by id) to stdout"); got != "2\t"+text+"\n3\t"+text {
		t.Errorf("COPY: got %q", got)
	}
	const trace = "/*traceparent='00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'*/"
	if got := mustPsql(t, app, trace+" select c_secret from people where id = 1 and c_text = '"+text+"' "); got != text {
		t.Errorf("behind a trace comment: got %q", got)
	}
	// What the sidecar cannot see into, the server itself refuses.
	if _, err := psql(t, around, "update people set c_text = 'plaintext' where id = 1"); err == nil {
		t.Error("PostgreSQL took a plaintext in a protected column")
	}
}

func TestPsycopg(t *testing.T) {
	people(t)
	text := canary(t, shared)
	if out, err := shared.runEnv([]string{"CANARY=" + text}, "/usr/bin/python3", "testdata/postgres_psycopg.py"); err != nil {
		t.Error(out, err)
	}
}

func TestPgxInEveryMode(t *testing.T) {
	people(t)
	for i, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe,
		pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
		t.Run(mode.String(), func(t *testing.T) { testPgx(t, mode, int64(100+i)) })
	}
}

func testPgx(t *testing.T, mode pgx.QueryExecMode, id int64) {
	ctx := context.Background()
	text := canary(t, shared)
	conn := shared.connect(t, shared.env["DATABASE_URL"], mode)
	day := time.Date(1999, 12, 31, 0, 0, 0, 0, time.UTC)
	instant := time.Date(2024, 2, 29, 12, 30, 1, 5000, time.UTC)
	unique := uuid.New()
	if _, err := conn.Exec(ctx, `insert into people (id, c_text, c_secret, c_int4, c_int8, c_bytea, c_bool, c_date, c_time, c_uuid)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		id, text, text, int32(-5), int64(1)<<60, []byte(text), true, day, instant, unique.String()); err != nil {
		t.Fatal(err)
	}
	var gotText, gotSecret, gotUUID string
	var got4 int32
	var got8 int64
	var gotBytes []byte
	var gotBool bool
	var gotDay, gotInstant time.Time
	err := conn.QueryRow(ctx, `select c_text, c_secret, c_int4, c_int8, c_bytea, c_bool, c_date, c_time, c_uuid from people where c_uuid = $1`, unique.String()).
		Scan(&gotText, &gotSecret, &got4, &got8, &gotBytes, &gotBool, &gotDay, &gotInstant, &gotUUID)
	if err != nil {
		t.Fatal(err)
	}
	if gotText != text || gotSecret != text || got4 != -5 || got8 != 1<<60 || string(gotBytes) != text || !gotBool ||
		!gotDay.Equal(day) || !gotInstant.Equal(instant) || gotUUID != unique.String() {
		t.Errorf("got %v %v %v %v %q %v %v %v %v", gotText, gotSecret, got4, got8, gotBytes, gotBool, gotDay, gotInstant, gotUUID)
	}
	if _, err := conn.Exec(ctx, "delete from people where id = $1", id); err != nil {
		t.Error(err)
	}
}

// Cells are bound to their column.
func TestSwappedCellsAreRefused(t *testing.T) {
	people(t)
	text := canary(t, shared)
	app, around := shared.env["DATABASE_URL"], shared.env["UPSTREAM_DATABASE_URL"]
	mustPsql(t, app, "insert into people (id, c_text, c_secret) values (201, '"+text+"', '"+text+"-1'), (202, 'other', 'other')")
	mustPsql(t, around, "update people set c_varchar = (select c_text from people where id = 201) where id = 202")
	if out, err := psql(t, app, "select c_varchar from people where id = 202"); err == nil {
		t.Errorf("a cell of another column was read: %q", out)
	} else if strings.Contains(err.Error(), text) {
		t.Errorf("the error tells the value: %v", err)
	}
	mustPsql(t, around, "update people set c_secret = set_byte(c_secret, length(c_secret) - 1, (get_byte(c_secret, length(c_secret) - 1) + 1) % 256) where id = 201")
	if out, err := psql(t, app, "select c_secret from people where id = 201"); err == nil {
		t.Errorf("an altered cell was read: %q", out)
	}
	log, err := os.ReadFile(shared.path("proxy.log"))
	if err == nil && strings.Contains(string(log), text) {
		t.Error("the log holds the value")
	}
}
