// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/sidekey/sidekey/proxy"
)

// detail is the DETAIL of the error that a statement ends with.
func detail(t *testing.T, conn *pgx.Conn, sql string) string {
	t.Helper()
	_, err := conn.Exec(t.Context(), sql)
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		t.Fatalf("%s: %v, want an error of the server", sql, err)
	}
	return e.Code + " " + e.Detail
}

// TestDetails checks what is told of values that violate a constraint: no
// ciphertext, and values only to a role that may see them, of a column that the
// statement is on record as using.
func TestDetails(t *testing.T) {
	email, pin := column("users", "email", "text", "equality"), column("users", "pin", "int4", "equality")
	email.Masks = []proxy.Mask{{Roles: []string{"postgres"}, Show: proxy.ShowValue}}
	for _, c := range []*proxy.ColumnRule{&email, &pin} {
		c.Masks = append(c.Masks, proxy.Mask{Roles: []string{"clerk"}, Show: proxy.ShowNull})
	}
	pin.Masks = append(pin.Masks, proxy.Mask{Roles: []string{"postgres"}, Show: proxy.ShowValue})
	f := start(t, shared, []proxy.ColumnRule{email, pin})
	owner := f.connect(t, pgx.QueryExecModeCacheStatement)
	exec1(t, owner, "CREATE TABLE users (id int, email text UNIQUE, pin int, note text NOT NULL, UNIQUE (pin, id), UNIQUE (pin, note))")
	exec1(t, owner, `INSERT INTO users VALUES (1, 'a@b', 5, 'n'), (2, 'c, d', 6, 'x, y'), (3, 'e@f', 5, 'o')`)
	exec1(t, owner, "DROP ROLE IF EXISTS clerk")
	exec1(t, owner, "CREATE ROLE clerk LOGIN")
	direct := f.direct(t)
	t.Cleanup(func() {
		if _, err := direct.Exec(context.Background(), "DROP OWNED BY clerk; DROP ROLE clerk", pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Error(err)
		}
	})
	exec1(t, owner, "GRANT SELECT, UPDATE ON users TO clerk")
	// A function can make an error look like one of the server's in all but where it
	// comes from: it must not have ciphertext opened.
	exec1(t, owner, `CREATE FUNCTION quote_email() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
		RAISE unique_violation USING SCHEMA = 'public', TABLE = 'users', DETAIL = 'Key (email)=(' || (SELECT email::text FROM users WHERE id = 1) || ') already exists.'; END $$`)
	for name, mode := range execModes {
		t.Run(name, func(t *testing.T) {
			conn := f.connect(t, mode)
			if got := detail(t, conn, "INSERT INTO users (email, id, note) VALUES ('y', quote_email(), 'n')"); got != "23505 Key (email)=((encrypted)) already exists." {
				t.Errorf("an error that a function raised: %q", got)
			}
			clerk := dial(t, fmt.Sprintf("postgres://clerk@%s/%s?sslmode=disable", f.addr, f.database), mode)
			for _, c := range []struct {
				conn      *pgx.Conn
				sql, want string
			}{
				{conn, "INSERT INTO users VALUES (9, 'a@b', 9, 'n')", "23505 Key (email)=(a@b) already exists."},
				{conn, "INSERT INTO users VALUES (1, 'z', 5, 'n')", "23505 Key (pin, id)=(5, 1) already exists."},
				{conn, "INSERT INTO users VALUES (9, 'c, d', 9, 'n')", "23505 Key (email)=(c, d) already exists."},
				{conn, "INSERT INTO users VALUES (9, 'z', 6, 'x, y')", "23505 Key (pin, note)=((encrypted), x, y) already exists."},
				{conn, "INSERT INTO users VALUES (9, 'z', 6, NULL)", "23502 Failing row contains (9, (encrypted), (encrypted), null)."},
				{conn, "UPDATE users SET id = 1 WHERE id = 3", "23505 Key (pin, id)=((encrypted), 1) already exists."},
				{clerk, "UPDATE users SET id = 1 WHERE id = 3 AND pin IS NOT NULL", "23505 Key (pin, id)=((encrypted), 1) already exists."},
			} {
				if got := detail(t, c.conn, c.sql); got != c.want {
					t.Errorf("%s: got %q, want %q", c.sql, got, c.want)
				}
			}
		})
	}
}

// TestDetailsOfReferences has keys that another table still refers to: the error names
// that one.
func TestDetailsOfReferences(t *testing.T) {
	columns := users()
	columns[0].Masks = []proxy.Mask{{Roles: []string{"postgres"}, Show: proxy.ShowValue}, {Roles: []string{"teller"}, Show: proxy.ShowNull}}
	columns[1].Masks = columns[0].Masks
	f := start(t, shared, columns)
	owner, direct := f.connect(t, pgx.QueryExecModeExec), f.direct(t)
	exec1(t, owner, usersDDL)
	exec1(t, owner, "CREATE TABLE leads (id int, email text CONSTRAINT lead REFERENCES users (email))")
	exec1(t, owner, "INSERT INTO users (id, email) VALUES (1, 'a@b'), (2, 'c, d'), (3, 'e@f')")
	exec1(t, owner, "INSERT INTO leads VALUES (1, 'a@b'), (2, 'c, d')")
	// A table of the same name and a key of its own, in which somebody has put a value.
	exec1(t, direct, "CREATE SCHEMA mine CREATE TABLE users (email bytea PRIMARY KEY) CREATE TABLE mails (email bytea REFERENCES users)")
	exec1(t, direct, "INSERT INTO mine.users SELECT email FROM public.users WHERE id = 3")
	exec1(t, direct, "INSERT INTO mine.mails SELECT email FROM mine.users")
	exec1(t, direct, `CREATE FUNCTION quote_key() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		RAISE foreign_key_violation USING SCHEMA = 'public', TABLE = 'leads', MESSAGE = 'update or delete on table "users" violates foreign key constraint "lead" on table "leads"',
		DETAIL = 'Key (email)=(' || (SELECT email::text FROM users WHERE id = 3) || ') is still referenced from table "leads".'; END $$`)
	exec1(t, direct, "CREATE TABLE raising (id int)")
	exec1(t, direct, "CREATE TRIGGER t BEFORE INSERT ON raising FOR EACH ROW EXECUTE FUNCTION quote_key()")
	exec1(t, direct, "DROP ROLE IF EXISTS teller")
	exec1(t, direct, "CREATE ROLE teller LOGIN")
	t.Cleanup(func() {
		if _, err := direct.Exec(context.Background(), "DROP OWNED BY teller; DROP ROLE teller", pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Error(err)
		}
	})
	exec1(t, direct, "GRANT SELECT, UPDATE, DELETE ON users TO teller")
	for name, mode := range execModes {
		t.Run(name, func(t *testing.T) {
			conn := f.connect(t, mode)
			teller := dial(t, fmt.Sprintf("postgres://teller@%s/%s?sslmode=disable", f.addr, f.database), mode)
			for _, c := range []struct {
				conn      *pgx.Conn
				sql, want string
			}{
				{conn, "DELETE FROM users WHERE email = 'a@b'", `23503 Key (email)=(a@b) is still referenced from table "leads".`},
				{conn, "UPDATE users SET email = 'other' WHERE id = 2", `23503 Key (email)=(c, d) is still referenced from table "leads".`},
				{conn, "UPDATE leads SET email = 'missing' WHERE id = 2", `23503 Key (email)=(missing) is not present in table "users".`},
				{conn, "DELETE FROM users WHERE id = 1", `23503 Key (email)=((encrypted)) is still referenced from table "leads".`},
				{teller, "DELETE FROM users WHERE id = 1 AND email IS NOT NULL", `23503 Key (email)=((encrypted)) is still referenced from table "leads".`},
				{conn, "WITH d AS (DELETE FROM mine.users RETURNING 1) SELECT u.email FROM users u, d", `23503 Key (email)=((encrypted)) is still referenced from table "mails".`},
				{conn, "WITH d AS (INSERT INTO raising VALUES (1) RETURNING 1) SELECT u.email FROM users u, d", `23503 Key (email)=((encrypted)) is still referenced from table "leads".`},
			} {
				if got := detail(t, c.conn, c.sql); got != c.want {
					t.Errorf("%s: got %q, want %q", c.sql, got, c.want)
				}
			}
		})
	}
}
