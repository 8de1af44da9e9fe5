// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/sidekey/sidekey/dbproxy"
	"github.com/sidekey/sidekey/proxy"
	"github.com/sidekey/sidekey/proxy/datakey"
)

func ofTenants() []proxy.ColumnRule {
	rules := []proxy.ColumnRule{column("users", "email", "text", "equality"), column("users", "ssn", "text", "random"), column("users", "pin", "int4", "equality")}
	for i := range rules[:2] {
		rules[i].PerTenant = true
	}
	return rules
}

const tenantsDDL = "CREATE TABLE users (id int, tenant text DEFAULT current_setting('app.tenant', true), email text, ssn text, pin int)"

func withTenants(cfg *dbproxy.Config, _ *datakey.Config) { cfg.TenantSetting = "App.Tenant" }

func names(t *testing.T, conn *pgx.Conn, sql string, args ...any) (string, error) {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql, args...)
	if err != nil {
		return "", err
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return strings.Join(got, " "), err
}

func TestTenants(t *testing.T) {
	for name, mode := range execModes {
		t.Run(name, func(t *testing.T) {
			f := start(t, shared, ofTenants(), withTenants)
			conn := f.connect(t, mode)
			exec1(t, conn, tenantsDDL)
			if _, err := conn.Exec(t.Context(), "INSERT INTO users (id, email) VALUES (1, 'nobody')"); state(err) != "22023" {
				t.Errorf("without a tenant: %v, want 22023", err)
			}
			for _, who := range []string{"acme", "bolt"} {
				exec1(t, conn, "SET app.tenant TO '"+who+"'")
				exec1(t, conn, "INSERT INTO users (id, email, ssn, pin) VALUES ($1, $2, $3, $4)", 1, "same@mail", who+"-ssn", 7)
			}
			// Only bolt's own value compares as equal, though both rows hold the
			// same address; pin has no tenant.
			for sql, want := range map[string]string{
				"SELECT ssn FROM users WHERE email = 'same@mail'":             "bolt-ssn",
				"SELECT count(DISTINCT email)::text FROM users":               "2",
				"SELECT count(DISTINCT pin)::text FROM users WHERE pin = 7":   "1",
				"SELECT ssn FROM users WHERE tenant = 'bolt' AND email <> ''": "bolt-ssn",
			} {
				if got, err := names(t, conn, sql); err != nil || got != want {
					t.Errorf("%s: %q, %v; want %q", sql, got, err, want)
				}
			}
			other := f.connect(t, mode)
			exec1(t, other, "SET app.tenant = bolt")
			if _, err := names(t, other, "SELECT ssn FROM users WHERE tenant = 'acme'"); state(err) != "XX001" {
				t.Errorf("acme's row for bolt: %v, want XX001", err)
			}
		})
	}
}

func TestTenantFollowsTheSession(t *testing.T) {
	f := start(t, shared, ofTenants(), withTenants)
	conn := f.connect(t, pgx.QueryExecModeCacheStatement)
	exec1(t, conn, tenantsDDL)
	seen := func() string {
		t.Helper()
		got, err := names(t, conn, "SELECT ssn FROM users WHERE email = $1", "me")
		if err != nil {
			return state(err)
		}
		return got
	}
	for _, who := range []string{"a", "b", "c"} {
		exec1(t, conn, "SELECT set_config('app.tenant', $1, false)", who)
		exec1(t, conn, "INSERT INTO users (id, email, ssn) VALUES (1, $1, $2)", "me", who)
	}
	exec1(t, conn, "CREATE FUNCTION become(who text) RETURNS void LANGUAGE sql AS $$ SELECT set_config('app.tenant', who, false) $$")
	for _, step := range []struct{ sql, want string }{
		{"SELECT become('a')", "a"},
		{"BEGIN", "a"},
		{"SET LOCAL app.tenant = b", "b"},
		{"SAVEPOINT s", "b"},
		{"SET LOCAL app.tenant = c", "c"},
		{"ROLLBACK TO s", "b"},
		{"COMMIT", "a"},
		{"BEGIN", "a"},
		{"SET app.tenant = c", "c"},
		{"ROLLBACK", "a"},
		{"DO $$ BEGIN PERFORM set_config('app.tenant', 'b', false); END $$", "b"},
		{"RESET app.tenant", "22023"},
		{"SET SESSION app.tenant TO 'a'", "a"},
		{"RESET ALL", "22023"},
		{`SET "app.tenant" TO 'x/y'`, "22023"},
	} {
		exec1(t, conn, step.sql)
		if got := seen(); got != step.want {
			t.Errorf("after %s: %q, want %q", step.sql, got, step.want)
		}
	}
	// Constants that were sealed for one tenant are not sent for another.
	exec1(t, conn, "SET app.tenant = a")
	if _, err := conn.Prepare(t.Context(), "p", "SELECT ssn FROM users WHERE email = 'me'"); err != nil {
		t.Fatal(err)
	}
	exec1(t, conn, "SET app.tenant = b")
	if got, err := names(t, conn, "p"); state(err) != "0A000" {
		t.Errorf("a statement prepared for another tenant: %q, %v; want 0A000", got, err)
	}
	if _, err := conn.PgConn().Exec(t.Context(), "SET app.tenant = c; SELECT ssn FROM users WHERE email = 'me'").ReadAll(); state(err) != "0A000" {
		t.Errorf("SET and use in one text: %v, want 0A000", err)
	}
	for _, sql := range []string{"ALTER TABLE users ALTER email SET DEFAULT 'me'", "ALTER TABLE users ADD CHECK (email <> 'me')", "CREATE VIEW v AS SELECT * FROM users WHERE email = 'me'",
		"CREATE INDEX ON users (id) WHERE email = 'me'", "CREATE TABLE more AS SELECT id FROM users WHERE email = 'me'"} {
		if _, err := conn.Exec(t.Context(), sql); state(err) != "0A000" {
			t.Errorf("%s: %v, want 0A000", sql, err)
		}
	}
	startup, err := pgx.Connect(t.Context(), f.url()+"&options=-c%20app.tenant%3Dc")
	if err != nil {
		t.Fatal(err)
	}
	defer startup.Close(context.Background())
	if got, err := names(t, startup, "SELECT ssn FROM users WHERE email = 'me'"); got != "c" {
		t.Errorf("tenant of the startup message: %q, %v; want c", got, err)
	}
}

func TestKeyOfTenant(t *testing.T) {
	rules := ofTenants()
	for i := range rules[:2] {
		rules[i].KeyID = "alias/tenant-{tenant}"
	}
	f := start(t, shared, rules, withTenants)
	_, arn := f.kms.CreateKey(t, "alias/tenant-a")
	f.kms.CreateKey(t, "alias/tenant-b")
	conn := f.connect(t, pgx.QueryExecModeCacheStatement)
	exec1(t, conn, tenantsDDL)
	exec1(t, conn, "SET app.tenant = a")
	exec1(t, conn, "INSERT INTO users (id, email) VALUES (1, 'x')")
	var got string
	err := f.direct(t).QueryRow(t.Context(), "SELECT DISTINCT key_arn FROM sidekey.data_keys WHERE binding LIKE 'tenant:a:%'").Scan(&got)
	if err != nil || got != arn {
		t.Errorf("key of tenant a: %q, %v; want %q", got, err, arn)
	}
	exec1(t, conn, "SET app.tenant = stranger")
	if _, err := conn.Exec(t.Context(), "INSERT INTO users (id, email) VALUES (2, 'x')"); err == nil {
		t.Error("a tenant without a key stored a value")
	}
}
