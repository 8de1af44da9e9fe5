// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
)

// TestRowTypes: a value of the row type of a protected table would be neither
// sealed nor opened.
func TestRowTypes(t *testing.T) {
	f := start(t, shared, attacked())
	conn := f.connect(t, pgx.QueryExecModeSimpleProtocol)
	exec1(t, conn, attackSetup[0])
	exec1(t, conn, "CREATE TABLE plain (id int)")
	for _, sql := range []string{
		"SELECT (jsonb_populate_record(NULL::users, '{\"email\":\"pxmarker\"}')).email", "SELECT * FROM json_populate_recordset(CAST(NULL AS public.users), '[]')",
		"INSERT INTO users SELECT (jsonb_populate_record(NULL::users, '{\"email\":\"pxmarker\"}')).*", "SELECT ('{\"(1,pxmarker)\"}'::users[])[1].email", "SELECT ROW(1, 'pxmarker')::users",
		"SELECT u FROM json_to_record('{}') AS r(u users)", "SELECT users '(1)'", "PREPARE p (int, users) AS SELECT $1", "CREATE TABLE rows (u users)", "CREATE TABLE rows (u public.users[])",
		"SELECT ('{\"(1,pxmarker)\"}'::_users)[1].email", "SELECT (json_populate_record((NULL::public._users)[1], '{\"email\":\"pxmarker\"}')).email", "CREATE TABLE rows (u _users)", "CREATE DOMAIN d AS _users",
		"CREATE TYPE many AS (u \"_users\")", "ALTER TABLE plain ADD u _users", "SELECT NULL::_users_1", `SELECT ('(1,pxmarker)'::U&"us\0065rs").email`, `CREATE TABLE rows (u U&"_us\0065rs")`,
		"CREATE TYPE both_of AS (u users)", "CREATE DOMAIN d AS users", "ALTER TABLE plain ADD u users", "CREATE VIEW v AS SELECT NULL::users AS u", "CREATE TABLE rows AS SELECT NULL::users AS u",
	} {
		if _, err := conn.Exec(t.Context(), sql); state(err) != "0A000" {
			t.Errorf("%s: got %v, want a refusal", sql, err)
		}
	}
	for _, sql := range []string{
		"SELECT id AS users FROM users", "SELECT id users FROM plain, users AS u", "CREATE FUNCTION named(u users) RETURNS text LANGUAGE sql AS 'SELECT (u).note'",
		"DROP FUNCTION named(users)", "ALTER TABLE plain ADD users int", "SELECT users::text FROM plain", "CREATE TABLE _users_of (_users int)", "SELECT _users FROM _users_of",
	} {
		if _, err := conn.Exec(t.Context(), sql); err != nil && state(err) != "42702" {
			t.Errorf("%s: %v", sql, err)
		}
	}
	noCanary(t, f, sealedMarker)
}
