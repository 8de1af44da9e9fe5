// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/sidekey/sidekey/proxy"
)

// newerStatements are statements that a release of PostgreSQL has added, in
// order. Each is run on the server's version: before its release the server
// itself has to refuse it, and from then on it gives the rows, or the proxy
// refuses it with the SQLSTATE.
var newerStatements = []struct {
	since int
	sql   string
	want  string // rows, one a line, or a SQLSTATE
}{
	{15, "MERGE INTO users u USING leads l ON u.email = l.email WHEN MATCHED THEN UPDATE SET pin = 9 WHEN NOT MATCHED THEN INSERT (email) VALUES (l.email)", ""},
	{16, "SELECT any_value(email), any_value(pin) FROM users WHERE email = 'newmark-a'", "newmark-a|9"},
	{16, "SELECT email FROM (SELECT email FROM users) WHERE email = 'newmark-a'", "newmark-a"},
	{16, "SELECT system_user IS NULL, email FROM users WHERE email = 'newmark-a'", "t|newmark-a"},
	{16, "SELECT JSON_OBJECT('a': email) FROM users", "0A000"},
	{16, "SELECT JSON_ARRAYAGG(email) FROM users", "0A000"},
	{16, "SELECT email IS JSON FROM users", "0A000"},
	{16, "SELECT array_shuffle(array_agg(email)) FROM users", "0A000"},
	{17, "SELECT u.email, j.a FROM users u, JSON_TABLE('[1,2]'::jsonb, '$[*]' COLUMNS (a text PATH '$')) j WHERE u.email = 'newmark-a' ORDER BY j.a", "newmark-a|1\nnewmark-a|2"},
	{17, "SELECT j.* FROM users, JSON_TABLE(email::jsonb, '$' COLUMNS (a text PATH '$')) j", "0A000"},
	{17, "SELECT j.* FROM users u, JSON_TABLE('[1]'::jsonb, '$' PASSING u.email AS x COLUMNS (a text PATH '$')) j", "0A000"},
	{17, "SELECT JSON_SCALAR(email) FROM users", "0A000"},
	{17, "SELECT JSON_SERIALIZE(email) FROM users", "0A000"},
	{17, "SELECT JSON_VALUE('{}'::jsonb, '$' PASSING email AS x) FROM users", "0A000"},
	{17, "MERGE INTO users u USING leads l ON u.email = l.email WHEN MATCHED THEN UPDATE SET pin = 11 RETURNING merge_action(), u.email, l.email, u.pin", "UPDATE|newmark-a|newmark-a|11\nUPDATE|newmark-c|newmark-c|11"},
	{17, "MERGE INTO users u USING leads l ON u.email = l.email AND l.id = 1 WHEN MATCHED THEN UPDATE SET pin = 12, email = 'newmark-d' RETURNING *", "1|newmark-a|1|newmark-d||12|n"},
	{17, "MERGE INTO users u USING leads l ON u.id = l.id AND l.id = 1 WHEN MATCHED THEN UPDATE SET pin = 12 RETURNING u.*, l.*, *", "1|newmark-d||12|n|1|newmark-a|1|newmark-a|1|newmark-d||12|n"},
	{17, "MERGE INTO leads l USING users u ON u.id = l.id AND l.id = 1 WHEN MATCHED THEN UPDATE SET email = 'newmark-a' RETURNING *", "1|newmark-d||12|n|1|newmark-a"},
	{17, "MERGE INTO users u USING (leads l JOIN users v ON l.id = v.id) ON u.id = v.id AND l.id = 1 WHEN MATCHED THEN UPDATE SET pin = 12 RETURNING *", "1|newmark-a|1|newmark-d||12|n|1|newmark-d||12|n"},
	{17, "MERGE INTO users u USING leads l ON u.email = l.email AND l.id = 2 WHEN MATCHED THEN DELETE RETURNING u.email", "newmark-c"},
	{17, "WITH m AS (MERGE INTO users u USING leads l ON u.id = l.id AND l.id = 1 WHEN MATCHED THEN UPDATE SET email = l.email RETURNING u.email) SELECT * FROM m", "newmark-a"},
	{17, "WITH m (a, b, c, d) AS (MERGE INTO users u USING leads l ON u.id = l.id AND l.id = 1 WHEN MATCHED THEN DO NOTHING WHEN NOT MATCHED THEN INSERT (id, email) VALUES (60, 'newmark-i') RETURNING *) SELECT d FROM m WHERE d IS NOT NULL", "newmark-i"},
	{17, "MERGE INTO users u USING leads l ON u.email = l.email WHEN NOT MATCHED BY SOURCE AND u.pin = 3 THEN UPDATE SET ssn = '77' RETURNING u.ssn", "77"},
	{17, "COPY (MERGE INTO users u USING leads l ON u.email = l.email WHEN MATCHED THEN DO NOTHING RETURNING u.email) TO STDOUT", "0A000"},
	{17, "COPY users (email) FROM STDIN (ON_ERROR ignore)", "0A000"},
	{18, "UPDATE users SET email = 'newmark-e', pin = 5 WHERE email = 'newmark-a' RETURNING old.email, new.email, old.pin, new.pin, email, old.email = new.email", "newmark-a|newmark-e|12|5|newmark-e|f"},
	{18, "UPDATE users SET email = 'newmark-a' WHERE email = 'newmark-e' RETURNING new.*, old.*", "1|newmark-a||5|n|1|newmark-e||5|n"},
	{18, "INSERT INTO users (id, email) VALUES (50, 'newmark-f') RETURNING old.email, new.email", "|newmark-f"},
	{18, "INSERT INTO users (email, pin) VALUES ('newmark-f', 6) ON CONFLICT (email) DO UPDATE SET pin = excluded.pin, email = 'newmark-g' RETURNING old.email, new.email, new.pin", "newmark-f|newmark-g|6"},
	{18, "DELETE FROM users WHERE email = 'newmark-g' RETURNING old.email, new.email", "newmark-g|"},
	{18, "MERGE INTO users u USING leads l ON u.email = l.email AND l.id = 1 WHEN MATCHED THEN UPDATE SET email = 'newmark-h' RETURNING old.email, new.email, l.email", "newmark-a|newmark-h|newmark-a"},
	{18, "MERGE INTO users u USING leads l ON u.email = 'newmark-h' AND l.id = 1 WHEN MATCHED THEN UPDATE SET email = l.email RETURNING old.*, *", "1|newmark-h||5|n|1|newmark-a|1|newmark-a||5|n"},
	{18, "UPDATE users SET pin = 1 RETURNING lower(old.email)", "0A000"},
	{18, "UPDATE users SET pin = 1 RETURNING old", "0A000"},
	{18, "SELECT array_sort(array_agg(email)) FROM users", "0A000"},
	{18, "SELECT crc32(email::bytea) FROM users", "0A000"},
	{18, "SELECT reverse(email) FROM users", "0A000"},
	{18, "COPY users (email) FROM STDIN (ON_ERROR ignore, REJECT_LIMIT 3)", "0A000"},
	{18, "INSERT INTO users (email) VALUES ('newmark-x') RETURNING WITH (OLD AS o, NEW AS n) o.email, n.email", "0A000"},
	{18, "ALTER TABLE users ADD COLUMN low text GENERATED ALWAYS AS (lower(email)) VIRTUAL", "0A000"},
	{18, "ALTER TABLE users ADD CONSTRAINT e CHECK (email <> 'newmark-x') NOT ENFORCED", "0A000"},
	{18, "ALTER TABLE users ADD CONSTRAINT e NOT NULL email", "0A000"},
	{18, "CREATE TABLE b (id int, during tsrange, PRIMARY KEY (id, during WITHOUT OVERLAPS))", "0A000"},
	{18, "ALTER TABLE leads ADD FOREIGN KEY (id, PERIOD email) REFERENCES users (id, PERIOD email)", "0A000"},
}

func TestNewerStatements(t *testing.T) {
	f := start(t, shared, users())
	conn := f.connect(t, pgx.QueryExecModeExec)
	exec1(t, conn, usersDDL)
	exec1(t, conn, "CREATE TABLE leads (id int, email text)")
	exec1(t, conn, "INSERT INTO users (email, ssn, pin, note) VALUES ('newmark-a', NULL, 2, 'n'), ('newmark-b', '2', 3, 'm')")
	exec1(t, conn, "INSERT INTO leads VALUES (1, 'newmark-a'), (2, 'newmark-c')")
	version := serverVersion(t)
	for _, c := range newerStatements {
		got, err := answered(t, conn, c.sql)
		switch {
		case version < c.since && err == nil:
			t.Errorf("%s: PostgreSQL %d gives %q", c.sql, version, got)
		case version < c.since:
			continue
		case err != nil:
			got = sqlState(err)
		}
		if got != c.want {
			t.Errorf("%s:\ngot %q, %v\nwant %q", c.sql, got, err, c.want)
		}
	}
	noCanary(t, f, "newmark")
}

// TestNewerGrammar: what the proxy's grammar does not have is refused with the
// reason, and only a server that is newer than it is one.
func TestNewerGrammar(t *testing.T) {
	f := start(t, shared, users())
	conn := f.connect(t, pgx.QueryExecModeExec)
	exec1(t, conn, usersDDL)
	version := serverVersion(t)
	trace := "/*traceparent='" + traceparent + "'*/ "
	for sql, known := range map[string]bool{
		"UPDATE users SET email = 'newmark-y' RETURNING WITH (OLD AS o) o.email": true,
		"ALTER TABLE users ADD CHECK (id > 0) NOT ENFORCED":                      true,
		"ALTER TABLE other ADD CHECK (id > 0) NOT ENFORCED":                      true,
		"INSERT INTO users (email) VALUES ('newmark-y'":                          false,
		"SELECT FROM users WHERE":                                                false,
	} {
		want := "42601"
		if known && version > 17 {
			want = "0A000"
		}
		var positions []int32
		for _, lead := range []string{"", trace} {
			_, err := conn.Exec(t.Context(), lead+sql)
			var got *pgconn.PgError
			if !errors.As(err, &got) || got.Code != want || strings.Contains(got.Detail+got.Hint, "is newer") != (version > 17) {
				t.Errorf("%s%s: got %+v, want %s", lead, sql, got, want)
				continue
			}
			positions = append(positions, got.Position)
		}
		if len(positions) == 2 && (positions[0] < 1 || positions[1] != positions[0]+int32(len(trace))) {
			t.Errorf("%s: got positions %d", sql, positions)
		}
	}
	noCanary(t, f, "newmark")
}

// TestSystemUser: a column of that name, which before 16 is no reserved word, is not
// taken for what is known by it since.
func TestSystemUser(t *testing.T) {
	f := start(t, shared, []proxy.ColumnRule{column("users", "system_user", "text", "equality")})
	conn := f.connect(t, pgx.QueryExecModeSimpleProtocol)
	exec1(t, conn, `CREATE TABLE users (id int, "system_user" text)`)
	exec1(t, conn, `INSERT INTO users VALUES (1, 'newmark-a'), (2, 'newmark-b')`)
	for _, sql := range []string{
		"SELECT id FROM users WHERE system_user = 'newmark-a'", "SELECT system_user FROM users", "SELECT id FROM users WHERE 'newmark-a' IN (system_user)", "SELECT id FROM users ORDER BY system_user",
		"UPDATE users SET id = 3 WHERE coalesce(system_user, '') = 'newmark-a'", "SELECT id FROM users u WHERE EXISTS (SELECT WHERE system_user = 'newmark-a')", "CREATE VIEW v AS SELECT system_user FROM users",
	} {
		if got, err := answered(t, conn, sql); state(err) != "0A000" {
			t.Errorf("%s: got %q, %v, want a refusal", sql, got, err)
		}
	}
	for _, sql := range []string{`SELECT id FROM users WHERE "system_user" = 'newmark-a'`, "SELECT id FROM users u WHERE u.system_user = 'newmark-a'"} {
		if got, err := answered(t, conn, sql); err != nil || got != "1" {
			t.Errorf("%s: got %q, %v, want row 1", sql, got, err)
		}
	}
	noCanary(t, f, "newmark")
}

// TestNewerNumbers: numbers that PostgreSQL 16 has added are sealed from then on. Before,
// the server would read SELECT 1_000 as 1 with a name, or not at all.
func TestNewerNumbers(t *testing.T) {
	f := start(t, shared, users())
	conn := f.connect(t, pgx.QueryExecModeSimpleProtocol)
	exec1(t, conn, usersDDL)
	exec1(t, conn, "PREPARE p (int) AS UPDATE users SET pin = $1")
	exec1(t, conn, "INSERT INTO users (pin) VALUES (0)")
	for sql, want := range map[string]string{
		"INSERT INTO users (pin) SELECT 1_000": "1000", "INSERT INTO users (pin) VALUES (0x3E_8)": "1000", "UPDATE users SET pin = - 0b1_0": "-2", "INSERT INTO users (pin) SELECT CAST(0o17 AS int)": "15",
		"EXECUTE p (0x11)": "17", "INSERT INTO users (pin) VALUES (1_0.4)": "10", "INSERT INTO users (pin) SELECT 0xF_F": "255",
	} {
		if serverVersion(t) < 16 {
			want = "42601"
		}
		got, err := answered(t, conn, "BEGIN; "+sql+"; SELECT pin FROM users WHERE pin <> 0")
		if err != nil {
			got = state(err)
		}
		if got != want {
			t.Errorf("%s: got %q, %v, want %q", sql, got, err, want)
		}
		exec1(t, conn, "ROLLBACK")
	}
}

// answered gives the rows of a statement, one a line, in text.
func answered(t *testing.T, conn *pgx.Conn, sql string) (string, error) {
	t.Helper()
	results, err := conn.PgConn().Exec(t.Context(), sql).ReadAll()
	if err != nil {
		return "", err
	}
	var lines []string
	for _, r := range results {
		for _, row := range r.Rows {
			var cells []string
			for _, v := range row {
				cells = append(cells, string(v))
			}
			lines = append(lines, strings.Join(cells, "|"))
		}
	}
	return strings.Join(lines, "\n"), nil
}
