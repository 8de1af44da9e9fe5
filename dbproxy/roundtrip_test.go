// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/sidekey/sidekey/proxy"
)

var execModes = map[string]pgx.QueryExecMode{
	"cache_statement": pgx.QueryExecModeCacheStatement, "cache_describe": pgx.QueryExecModeCacheDescribe,
	"describe_exec": pgx.QueryExecModeDescribeExec, "exec": pgx.QueryExecModeExec, "simple": pgx.QueryExecModeSimpleProtocol,
}

func users() []proxy.ColumnRule {
	mail := column("users", "email", "text", "equality")
	mail.Domain = "mail"
	lead := column("leads", "email", "text", "equality")
	lead.Domain = "mail"
	return []proxy.ColumnRule{mail, lead, column("users", "ssn", "varchar(11)", "random"), column("users", "pin", "int4", "equality")}
}

const usersDDL = "CREATE TABLE users (id serial PRIMARY KEY, email text UNIQUE, ssn varchar(11), pin integer, note text)"

func TestInsertSelect(t *testing.T) {
	f := start(t, shared, users())
	for name, mode := range execModes {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			conn := f.connect(t, mode)
			exec1(t, conn, "DROP TABLE IF EXISTS users")
			exec1(t, conn, usersDDL)
			exec1(t, conn, "INSERT INTO users (email, ssn, pin, note) VALUES ($1, $2, $3, $4)", "a@canary-one.example", "123-45-6789", int32(-77), "n")
			exec1(t, conn, "INSERT INTO users VALUES (DEFAULT, 'b@canary-two.example', NULL, 5)")
			var email, note string
			var ssn *string
			var pin int32
			err := conn.QueryRow(ctx, "SELECT email, ssn, pin, note FROM users WHERE email = $1", "a@canary-one.example").Scan(&email, &ssn, &pin, &note)
			if err != nil {
				t.Fatal(err)
			}
			if email != "a@canary-one.example" || *ssn != "123-45-6789" || pin != -77 || note != "n" {
				t.Errorf("got %q %q %d %q", email, *ssn, pin, note)
			}
			err = conn.QueryRow(ctx, "SELECT u.email, u.ssn, u.* FROM users u WHERE pin IN ($1, 99) AND ssn IS NULL", 5).Scan(&email, &ssn, new(int), &email, &ssn, &pin, new(*string))
			if err != nil {
				t.Fatal(err)
			}
			if email != "b@canary-two.example" || ssn != nil || pin != 5 {
				t.Errorf("got %q %v %d", email, ssn, pin)
			}
			rows, err := conn.Query(ctx, "SELECT email FROM users WHERE email = ANY($1) ORDER BY id", []string{"b@canary-two.example", "x", "a@canary-one.example"})
			if err != nil {
				t.Fatal(err)
			}
			got, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff([]string{"a@canary-one.example", "b@canary-two.example"}, got); d != "" {
				t.Error(d)
			}
		})
	}
	raw := f.direct(t)
	var bytes []byte
	if err := raw.QueryRow(t.Context(), "SELECT email FROM users LIMIT 1").Scan(&bytes); err != nil {
		t.Fatal(err)
	}
	if !proxy.Sealed(bytes) {
		t.Errorf("got %x, want a sealed value", bytes)
	}
	exec1(t, raw, "CHECKPOINT")
	for _, canary := range []string{"canary-one", "canary-two", "123-45-6789"} {
		if files := f.cluster.contains(t, canary); len(files) > 0 {
			t.Errorf("%s is in %v", canary, files)
		}
	}
}

func sqlState(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return fmt.Sprint(err)
}
