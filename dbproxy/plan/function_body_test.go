// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"strings"
	"testing"

	"github.com/sidekey/sidekey/dbproxy/plan"
)

// TestBodies: literals for protected columns are found in the bodies of functions,
// whatever is around them; other bodies pass.
func TestBodies(t *testing.T) {
	functions := []string{"DO $$ BEGIN {}; END $$", "DO LANGUAGE plpgsql 'BEGIN {}; END'", "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $f$ BEGIN IF true THEN {}; END IF; EXCEPTION WHEN unique_violation THEN NULL; END $f$", "CREATE OR REPLACE FUNCTION pg_temp.f(OUT response users, OUT e text) RETURNS RECORD AS $f$ BEGIN {} RETURNING * INTO response; END $f$ LANGUAGE plpgsql; SELECT 1", "CREATE PROCEDURE p() LANGUAGE sql AS $$ SELECT 1; {} $$"}
	for body, refused := range map[string]bool{
		"INSERT INTO users (id, email) VALUES (1, $q$a$q$)": true, "INSERT INTO public.users VALUES (1, $q$a$q$::text)": true, `INSERT INTO "users" (ssn, id) VALUES (NULL, 1), (CAST($q$1$q$ AS text), 2)`: true, "INSERT INTO users (email, id) SELECT $q$a$q$, id FROM l": true, "UPDATE users SET note = 1, pin = 5 WHERE id = 1": true, "WITH x AS (INSERT INTO users (pin) VALUES (1)) SELECT 1": true,
		"INSERT INTO users (id, email) VALUES (1, x)": false, "INSERT INTO users (id, note) VALUES (1, $q$a$q$)": false, "INSERT INTO users (id, email) VALUES (1, NULL)": false, "UPDATE users SET note = $q$a$q$ WHERE id = 1": false, "UPDATE users SET email = NEW.email": false, "INSERT INTO l (email) VALUES ($q$a$q$)": false, "INSERT INTO users VALUES (": false, "SELECT 1 FROM users": false,
	} {
		for _, f := range functions {
			text := strings.ReplaceAll(f, "{}", body)
			if strings.Contains(f, "AS $f$ BEGIN {} RETURNING") && !strings.HasPrefix(body, "INSERT") {
				continue
			}
			p := plan.Make(text, testCatalog(t), plan.Options{Fresh: true, Path: &plan.Path{Search: []string{"public"}}})
			if got := p.Refusal != nil && strings.Contains(p.Refusal.Message, "cannot store a literal"); got != refused {
				t.Errorf("%s: refused: %v (%v), want %v", text, got, p.Refusal, refused)
			}
		}
	}
	// What nests too deeply to be parsed is left to the guard.
	deep := "DO $$ INSERT INTO users (email) VALUES (" + strings.Repeat("(", 100_000) + "'a'" + strings.Repeat(")", 100_000) + ") $$"
	if p := plan.Make(deep, testCatalog(t), plan.Options{Fresh: true}); p.Refusal != nil {
		t.Errorf("got %v", p.Refusal)
	}
}
