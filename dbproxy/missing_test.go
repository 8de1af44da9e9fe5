// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/sidekey/sidekey/dbproxy/plan"
)

// lacking are statements with a name that nothing in them has, or which are none:
// PostgreSQL logs them with its error.
var lacking = []string{
	"UPDATE users SET note = 'n' WHERE old.email = 'namark'",
	"SELECT id FROM users WHERE old.email = 'namark'", "DELETE FROM users WHERE u.email = 'namark'", "DELETE FROM users u WHERE users.email = 'namark'",
	"SELECT id FROM users WHERE emial = 'namark'", "SELECT id FROM users WHERE emial = 731000001", "SELECT id FROM users u WHERE u.emial = 'namark'",
	"SELECT id FROM users u, leads WHERE mail = 'namark' AND u.email = 'x'", "SELECT 'ä', id FROM users WHERE nothing_like_it = 'namark'",
	"INSERT INTO users (note) VALUES (email || 'namark')", "INSERT INTO users (id, note) VALUES (1, 'n') ON CONFLICT (id) DO UPDATE SET note = exclude.note || 'namark'",
	"INSERT INTO users (emial) VALUES ('namark')", "UPDATE users SET emial = 'namark'", "UPDATE users SET (note, emial) = ('n', 'namark')", "INSERT INTO users AS u (id) VALUES (1) RETURNING users.id, 'namark'",
	"SELECT id FROM users WHERE EXISTS (SELECT FROM leads l WHERE leads.email = 'namark')", "SELECT x.id FROM users WHERE email = 'x'", "SELECT x.*, 'namark' FROM users",
	"SELECT id FROM users u, (SELECT l.id FROM leads l WHERE u.emails = 'namark') x", "SELECT id FROM (SELECT id FROM users) u WHERE email = 'namark'",
	"WITH w AS (SELECT email AS e FROM users) SELECT e FROM w WHERE email = 'namark'", "WITH w AS (UPDATE users SET note = 'n' WHERE new.email = 'namark' RETURNING id) SELECT id FROM w",
	"SELECT count(*) FROM users u JOIN leads l ON u.id = l.id AND x.email = 'namark'", "SELECT id FROM users JOIN leads USING (emial) WHERE emial = 'namark'",
	"SELECT email FROM users UNION SELECT email FROM leads ORDER BY users.email = 'namark'", "SELECT count(*) FROM users GROUP BY emial = 'namark'", "SELECT email AS e FROM users WHERE e = 'namark'",
	"EXPLAIN SELECT id FROM users WHERE emial = 'namark'", "DECLARE c CURSOR FOR SELECT id FROM users WHERE emial = 'namark'", "PREPARE p AS SELECT id FROM users WHERE emial = 'namark'",
	"SELECT id FROM users WHERE email = 'namark' AND emial = interval '1 namark'", "SELECT id FROM users WHERE timestamp with time zone '2001-01-01' > now() AND varchar(6) 'namark' = emial AND date '2001-02-03' = current_date", "SELECT u.id FROM leads l, users u LEFT JOIN users v ON l.id = v.id WHERE text 'namark' = u.email",
	"SELECT id FROM users WHERE email == = 'namark'", "SELECT id FORM users WHERE email = 'namark'", "SELECT id FROM users WHERE email = 'namark", "SELECT 1; SELECT id FROM users WHERE old.email = 'namark'",
}

// lost is what a client is told of an error. The message of what is not known to a
// version of PostgreSQL is its own.
func lost(t *testing.T, conn *pgx.Conn, sql string) pgconn.PgError {
	t.Helper()
	_, err := conn.Exec(t.Context(), sql)
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		t.Fatalf("%s: got %v, want an error", sql, err)
	}
	return pgconn.PgError{Code: e.Code, Message: e.Message, Detail: e.Detail, Hint: e.Hint, Position: e.Position}
}

// TestNamesMissing checks that constants beside a name which nothing has do not get
// to the server, and that the error is PostgreSQL's.
func TestNamesMissing(t *testing.T) {
	f, plain := start(t, shared, users()), start(t, shared, nil)
	for _, conn := range []*pgx.Conn{f.connect(t, pgx.QueryExecModeExec), plain.direct(t)} {
		exec1(t, conn, usersDDL)
		exec1(t, conn, "CREATE TABLE leads (id int, email text)")
	}
	version := serverVersion(t)
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec} {
		conn, direct := f.connect(t, mode), dial(t, plain.cluster.url("postgres", plain.database), mode)
		for _, in := range []bool{false, true} {
			for _, sql := range lacking {
				if strings.Contains(sql, "== =") && version < 14 {
					continue // where == may stand behind what it is used on
				}
				if strings.HasPrefix(sql, "SELECT 1; ") && mode != pgx.QueryExecModeSimpleProtocol {
					continue
				}
				if in || strings.HasPrefix(sql, "DECLARE") {
					exec1(t, conn, "BEGIN")
					exec1(t, direct, "BEGIN")
				}
				want := lost(t, direct, strings.NewReplacer("namark", "other1", "731000001", "5").Replace(sql))
				if strings.HasPrefix(sql, "SELECT id FROM users WHERE email = 'namark") {
					want.Message = strings.ReplaceAll(want.Message, "other1", "namark")
				}
				if strings.HasPrefix(sql, "PREPARE") {
					want.Hint = "" // the proxy does not say what is alike
				}
				if version > plan.Grammar && strings.HasPrefix(want.Message, "syntax error") {
					want.Detail = fmt.Sprintf("The encrypting proxy reads statements by the grammar of PostgreSQL %d, and that of the server, of PostgreSQL %d, is newer.", plan.Grammar, version)
				}
				if got := lost(t, conn, sql); got != want {
					t.Errorf("%v, in a transaction %v: %s:\n got %+v\nwant %+v", mode, in, sql, got, want)
				}
				if status := conn.PgConn().TxStatus(); status != direct.PgConn().TxStatus() {
					t.Errorf("%s: transaction %c", sql, status)
				}
				exec1(t, conn, "ROLLBACK")
				exec1(t, direct, "ROLLBACK")
			}
		}
	}
	noCanary(t, f, "namark")
	noCanary(t, f, "731000001")
}

// TestNamesMissingInPipeline: the server is not asked there, the catalog is read.
func TestNamesMissingInPipeline(t *testing.T) {
	f := start(t, shared, users())
	exec1(t, f.connect(t, pgx.QueryExecModeExec), usersDDL)
	w := rawClient(t, f)
	for sql, want := range map[string]string{
		"SELECT id FROM users WHERE old.email = 'pipemark'": "42P01", "SELECT id FROM users, (SELECT 1) x (a) WHERE b.email = 'pipemark'": "42P01",
		"INSERT INTO users (note) VALUES (email || 'pipemark')": "42703", "SELECT id FROM users WHERE emial = 'pipemark'": "42703", "SELECT id FROM users u WHERE u.emial = 'pipemark'": "0A000",
	} {
		w.send(&pgproto3.Parse{Query: "SELECT 1"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Parse{Query: sql}, &pgproto3.Sync{}).want("1 2 D:1 C E" + want + " Z")
	}
	noCanary(t, f, "pipemark")
}

// TestNamesFound has names that the text gives in other ways than by its tables.
func TestNamesFound(t *testing.T) {
	f := start(t, shared, users())
	setup := f.connect(t, pgx.QueryExecModeExec)
	exec1(t, setup, usersDDL)
	exec1(t, setup, "CREATE TABLE other (id int, v text, note text)")
	exec1(t, setup, "CREATE FUNCTION label(other) RETURNS text LANGUAGE sql AS $$ SELECT $1.v || $1.note $$")
	exec1(t, setup, "INSERT INTO other VALUES (1, 'x', 'y')")
	version := serverVersion(t)
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeDescribeExec} {
		conn := f.connect(t, mode)
		exec1(t, conn, "DELETE FROM users")
		exec1(t, conn, "INSERT INTO users (id, email, note) VALUES (1, 'a@b', 'n')")
		for _, sql := range []string{
			"SELECT generate_series.generate_series FROM users, generate_series(1, 3) WHERE generate_series = 2", "SELECT g FROM users, generate_series(1, 3) g WHERE g = 2", "SELECT g.x FROM users, generate_series(1, 3) g (x) WHERE x = 2",
			"SELECT unnest FROM users, unnest(ARRAY[1, 2]) WHERE unnest.unnest = 1", "SELECT upper.upper FROM users, upper('x')", "SELECT a.x, b FROM users, ROWS FROM (generate_series(1, 1), unnest(ARRAY['q'])) a (x, b)",
			"SELECT xmltable.a FROM users, xmltable('/r' PASSING (xmlparse(DOCUMENT '<r>1</r>')) COLUMNS a int PATH '.')", "SELECT x.a FROM users, xmltable('/r' PASSING (xmlparse(DOCUMENT '<r>1</r>')) COLUMNS a int PATH '.') x WHERE a = 1",
			"SELECT o.v FROM users, other o WHERE o IS NOT NULL AND v = 'x' AND public.users.note = 'n'", "SELECT public.other.v FROM users, other WHERE public.other.v = 'x'", "SELECT o.label, label(o) FROM users u, other o WHERE o.label = 'xy'",
			"SELECT s FROM users, (SELECT 1 AS a) s WHERE s IS NOT NULL", "SELECT v FROM users, (VALUES (1)) v WHERE v IS NOT NULL",
			"SELECT note AS n, count(*) FROM users GROUP BY n", "SELECT 'k' || note AS n, count(*) FROM users GROUP BY n ORDER BY n", "SELECT email AS e FROM users GROUP BY e", "SELECT ctid, xmin, tableoid FROM users WHERE tableoid > 0",
			"SELECT j.x FROM (users u JOIN other o ON u.id = o.id) AS j (x) WHERE j.x = 1", "SELECT u.id, o.v FROM users u JOIN other o USING (id) WHERE id = 1 AND v = 'x'", "SELECT k.id FROM users u JOIN other o USING (id) AS k",
			"SELECT (SELECT v FROM other WHERE other.id = users.id AND note = 'y') FROM users", "SELECT l.q FROM users u, LATERAL (SELECT u.note || 'q' AS q) l WHERE q = 'nq'",
			"WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT count(r.n) FROM r, users", "SELECT rank() OVER w AS k FROM users WINDOW w AS (ORDER BY id) ORDER BY k",
			"INSERT INTO users AS t (id, note) VALUES (1, 'm') ON CONFLICT (id) DO UPDATE SET note = excluded.note || t.note RETURNING t.note, id", "UPDATE users SET note = o.v FROM other o WHERE o.note = 'y' RETURNING o.v, users.note, email",
			"MERGE INTO users USING other ON users.id = other.id WHEN MATCHED AND v = 'x' THEN UPDATE SET note = v WHEN NOT MATCHED THEN INSERT (id, note) VALUES (other.id, v)",
			"SELECT current_user, note FROM users WHERE current_date > '2000-01-01'", "SELECT (ROW(1, note)) FROM users", "SELECT u.note FROM ONLY users u TABLESAMPLE SYSTEM (100) WHERE u.note <> 'zz' FOR UPDATE OF u",
		} {
			var rows int
			older := version < 15 && strings.HasPrefix(sql, "MERGE") || version < 14 && strings.HasSuffix(sql, "USING (id) AS k")
			r, err := conn.Query(t.Context(), sql)
			for err == nil && r.Next() {
				rows++
			}
			if err = cmp.Or(err, r.Err()); older && state(err) == "42601" {
				continue
			}
			if older || err != nil || rows == 0 && r.CommandTag().RowsAffected() == 0 {
				t.Errorf("%s: %v, %d rows", sql, err, rows)
			}
		}
	}
}
