// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"strings"
	"testing"

	"github.com/sidekey/sidekey/dbproxy/plan"
)

// TestNewerSyntax: what PostgreSQL 18 has added to the grammar is refused as not
// supported where the server knows it, whatever table it is about. What no release
// knows is an error of syntax, and so is everything on a server of the grammar's
// release.
func TestNewerSyntax(t *testing.T) {
	for sql, want := range map[string]string{
		"INSERT INTO users (email) VALUES ('x') RETURNING WITH (OLD AS o, NEW AS n) o.email, n.email": "RETURNING WITH is not supported",
		"UPDATE users SET pin = 1 RETURNING WITH (OLD AS o) o.pin":                                    "RETURNING WITH is not supported",
		"CREATE TABLE users (email text, low text GENERATED ALWAYS AS (lower(email)) VIRTUAL)":        "a virtual generated column is not supported",
		"CREATE TABLE users (email text, low text GENERATED ALWAYS AS (lower(email)))":                "a virtual generated column is not supported",
		"CREATE TABLE users (low text GENERATED ALWAYS AS (lower(email)), email text)":                "a virtual generated column is not supported",
		"ALTER TABLE users ADD COLUMN low text GENERATED ALWAYS AS ((email))":                         "a virtual generated column is not supported",
		"CREATE TABLE users (low text GENERATED ALWAYS AS (lower(email)) CHECK (low <> ''))":          "a virtual generated column is not supported",
		"CREATE TABLE b (id int, during tsrange, PRIMARY KEY (id, during WITHOUT OVERLAPS))":          "WITHOUT OVERLAPS is not supported",
		"CREATE TABLE b (id int, during tsrange, UNIQUE (id, during WITHOUT OVERLAPS))":               "WITHOUT OVERLAPS is not supported",
		"ALTER TABLE b ADD FOREIGN KEY (id, PERIOD during) REFERENCES c (id, PERIOD during)":          "PERIOD of a foreign key is not supported",
		"ALTER TABLE users ADD CONSTRAINT e CHECK (email <> 'x') NOT ENFORCED":                        "ENFORCED is not supported",
		"ALTER TABLE users ADD CONSTRAINT e CHECK (email <> 'x') ENFORCED":                            "ENFORCED is not supported",
		"ALTER TABLE users ALTER CONSTRAINT e NOT ENFORCED":                                           "ENFORCED is not supported",
		"ALTER TABLE users ADD CONSTRAINT nn NOT NULL email NOT VALID":                                "a NOT NULL constraint of the table is not supported",
		"ALTER TABLE users ADD NOT NULL email":                                                        "a NOT NULL constraint of the table is not supported",
		"CREATE TABLE users (email text, CONSTRAINT nn NOT NULL email)":                               "a NOT NULL constraint of the table is not supported",
		"CREATE TABLE users (email text NOT NULL NO INHERIT)":                                         "NO INHERIT of a constraint is not supported",
		"ALTER TABLE users ALTER CONSTRAINT nn INHERIT":                                               "INHERIT of a constraint is not supported",
		"VACUUM ONLY users": "VACUUM ONLY is not supported",
		"ALTER TABLE users ALTER CONSTRAINT nn NO INHERIT":                                        "NO INHERIT of a constraint is not supported",
		"CREATE TABLE users (NOT NULL email, email text)":                                         "a NOT NULL constraint of the table is not supported",
		"SELECT 'ä😀'; INSERT INTO users (email) VALUES ('ä😀') RETURNING WITH (OLD AS o) o.email":  "RETURNING WITH is not supported",
		"ALTER DEFAULT PRIVILEGES GRANT SELECT ON LARGE OBJECTS TO public":                        "ALTER DEFAULT PRIVILEGES .. ON LARGE OBJECTS is not supported",
		"SELECT 1 FROM users NOT NULL":                                                            "",
		"SELECT 'ä😀ä😀ä😀ä😀' FROM users NOT; INSERT INTO users (email) VALUES ('x') RETURNING WITH": "",
		"SELECT 1 FROM users \"virtual\" \"enforced\"":                                            "",
		"SELECT 1 FROM users NOT":                                                                 "",
		"ANALYZE ONLY users":                                                                      "ANALYZE ONLY is not supported",
		"SELECT FROM WHERE":                                                                       "",
		"SELECT NOT NULL FROM":                                                                    "",
		"INSERT INTO users (email) VALUES ('x') RETURNING":                                        "",
		"SELECT (lower('x')":                                                                      "",
		"CREATE TABLE t (a int":                                                                   "",
		")":                                                                                       "",
		"":                                                                                        "none",
		"CREATE TABLE users (email text NOT NULL, low int GENERATED ALWAYS AS IDENTITY, n int GENERATED ALWAYS AS (1) STORED)": "none",
	} {
		p := plan.Make(sql, testCatalog(t), publicPath)
		if want == "none" {
			if p.Refusal != nil {
				t.Errorf("%q: got %v, want no refusal", sql, p.Refusal)
			}
			continue
		}
		if p.Refusal == nil {
			t.Errorf("%q is not refused", sql)
			continue
		}
		unplaced := strings.HasSuffix(p.Refusal.Message, "NO INHERIT")
		if got := p.Refusal.On(plan.Grammar); got.Code != "42601" || got.Detail+got.Hint != "" || got.Position < 1 && !unplaced {
			t.Errorf("%q on a server that is not newer: got %+v, want an error of syntax alone", sql, got)
		}
		got := p.Refusal.On(plan.Grammar + 1)
		newer := strings.Contains(got.Detail+got.Hint, "the server, of PostgreSQL 18, is newer")
		switch {
		case !newer || got.Position != p.Refusal.Position:
			t.Errorf("%q: got %+v", sql, got)
		case want == "" && (got.Code != "42601" || got.Message != p.Refusal.Message):
			t.Errorf("%q: got %+v, want an error of syntax", sql, got)
		case want != "" && (got.Code != "0A000" || got.Message != want || got.Detail != p.Refusal.Message):
			t.Errorf("%q: got %+v, want 0A000 %s", sql, got, want)
		}
	}
}
