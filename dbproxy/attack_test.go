// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/sidekey/sidekey/proxy"
)

func attacked() []proxy.ColumnRule {
	shared := func(c proxy.ColumnRule) proxy.ColumnRule { c.Domain = "mail"; return c }
	return []proxy.ColumnRule{
		shared(column("users", "email", "text", "equality")),
		shared(column("leads", "email", "text", "equality")),
		column("users", "ssn", "varchar(11)", "random"),
		column("users", "pin", "int4", "equality"),
		column("users", "code", "varchar(4)", "equality"),
		column("users", "price", "numeric(8,2)", "equality"),
	}
}

var attackSetup = []string{
	"CREATE TABLE users (id int PRIMARY KEY, email text UNIQUE, ssn varchar(11), pin int, note text, code varchar(4), price numeric(8,2))",
	"CREATE TABLE leads (id int, email text)",
	"CREATE TABLE other (id int, email text, v text)",
	`INSERT INTO users VALUES (1, '{C}-a', '111', 10, 'n1', 'ab', 1.01), (2, '{C}-b', '222', 20, 'n2', 'cd', 2.00),
		(3, '{C}-c', NULL, 10, NULL, 'ab', NULL), (4, NULL, '444', NULL, 'n4', NULL, 1.01)`,
	"INSERT INTO leads VALUES (10, '{C}-b'), (11, '{C}-c'), (12, '{C}-z')",
	"INSERT INTO other VALUES (1, 'plain-a', 'v1'), (2, 'plain-b', 'v2')",
}

// attackQueries are answered as PostgreSQL itself answers them, or refused.
var attackQueries = []string{
	"SELECT * FROM users ORDER BY id",
	"TABLE leads",
	"SELECT id FROM users WHERE (email, pin) = ('{C}-a', 10)",
	"SELECT id FROM users WHERE ROW(email, pin) <> ROW('{C}-a', 10) ORDER BY 1",
	"SELECT id FROM users WHERE (email, pin) IN (('{C}-a', 10), ('{C}-b', 20)) ORDER BY 1",
	"SELECT id FROM users WHERE (email, pin) IN (SELECT '{C}-a', 10)",
	"SELECT id FROM users WHERE (email, pin) > ('{C}-a', 10)",
	"SELECT id FROM users WHERE (email, id) IS NOT DISTINCT FROM ('{C}-a', 1)",
	"SELECT id FROM users WHERE email IS DISTINCT FROM '{C}-a' ORDER BY id",
	"SELECT id FROM users WHERE email IS NOT DISTINCT FROM NULL ORDER BY id",
	"SELECT id FROM users WHERE NOT (email = '{C}-a' OR pin = 20) ORDER BY id",
	"SELECT id FROM users WHERE email NOT IN ('{C}-a', '{C}-b') ORDER BY id",
	"SELECT id FROM users WHERE email <> ALL (ARRAY['{C}-a', '{C}-b']) ORDER BY id",
	"SELECT id FROM users WHERE email = ANY ('{ {C}-a , \"{C}-b\", NULL}') ORDER BY id",
	"SELECT id FROM users WHERE email = SOME (ARRAY['{C}-a'::text])",
	"SELECT id FROM users WHERE email = ANY (ARRAY['{C}-a']::text[])",
	"SELECT id FROM users WHERE pin = ANY ('{10,20}') ORDER BY id",
	"SELECT id FROM users WHERE pin BETWEEN 5 AND 15",
	"SELECT id FROM users WHERE pin = 5 + 5",
	"SELECT id FROM users WHERE pin = 10.0",
	"SELECT id FROM users WHERE pin = 10.5",
	"SELECT id FROM users WHERE pin = '10' ORDER BY id",
	"SELECT id FROM users WHERE pin = 10::bigint ORDER BY id",
	"SELECT id FROM users WHERE code = 'ab' ORDER BY id",
	"SELECT id FROM users WHERE code = 'ab  ' ORDER BY id",
	"SELECT id FROM users WHERE code = 'ab   ' ORDER BY id",
	"SELECT id FROM users WHERE code = 'abcdefgh' ORDER BY id",
	"SELECT id FROM users WHERE code <> 'abcdefgh' ORDER BY id",
	"SELECT id FROM users WHERE code IN ('ab   ', 'cd') ORDER BY id",
	"SELECT id FROM users WHERE code = ANY ('{\"ab    \",cd}') ORDER BY id",
	"SELECT id FROM users WHERE price = 1.01 ORDER BY id",
	"SELECT id FROM users WHERE price = 1.010 ORDER BY id",
	"SELECT id FROM users WHERE price = 1.012 ORDER BY id",
	"SELECT id FROM users WHERE price = 1.009 ORDER BY id",
	"SELECT id FROM users WHERE price <> 1.012 ORDER BY id",
	"SELECT id FROM users WHERE price = '1.0149'",
	"SELECT id FROM users WHERE price = 2 ORDER BY id",
	"SELECT id FROM users WHERE price = 123456789.00 ORDER BY id",
	"SELECT id FROM users WHERE email LIKE '{C}-a'",
	"SELECT id FROM users WHERE email SIMILAR TO '{C}-a'",
	"SELECT id FROM users WHERE email ~ 'a'",
	"SELECT id FROM users WHERE email = '{C}-a' COLLATE \"C\"",
	"SELECT id FROM users WHERE email::text = '{C}-a'",
	"SELECT id FROM users WHERE CAST(email AS text) = '{C}-a'",
	"SELECT id FROM users WHERE text(email) = '{C}-a'",
	"SELECT id FROM users WHERE email OPERATOR(pg_catalog.=) '{C}-a'",
	"SELECT id FROM users WHERE email = (SELECT '{C}-a')",
	"SELECT id FROM users WHERE email = (SELECT email FROM leads WHERE id = 10)",
	"SELECT id FROM users u WHERE EXISTS (SELECT 1 FROM leads l WHERE l.email = u.email) ORDER BY id",
	"SELECT id FROM users WHERE email IN (SELECT email FROM leads) ORDER BY id",
	"SELECT id FROM users WHERE email NOT IN (SELECT email FROM leads) ORDER BY id",
	"SELECT id FROM users WHERE email IN (SELECT email FROM other)",
	"SELECT id FROM users WHERE email = ALL (SELECT email FROM leads WHERE id = 10)",
	"SELECT id FROM other WHERE email IN (SELECT email FROM users)",
	"SELECT id, (SELECT email FROM leads WHERE leads.email = users.email) FROM users",
	"SELECT id, ARRAY(SELECT email FROM leads) FROM users",
	"SELECT u FROM users u", "SELECT u.* FROM users u ORDER BY id", "SELECT (u).email FROM users u", "SELECT u.*::text FROM users u",
	"SELECT row_to_json(u) FROM users u", "SELECT to_jsonb(u.*) FROM users u", "SELECT u::text FROM users u", "SELECT count(u) FROM users u",
	"SELECT count(u.*) FROM users u", "SELECT users FROM users", "SELECT users::text FROM users", "SELECT hashtext(users::text) FROM users",
	"SELECT (users).ssn FROM users", "SELECT email(users) FROM users", "SELECT users.text FROM users", "SELECT row(email, id) FROM users", "SELECT (email, id) FROM users",
	"SELECT u IS NULL FROM users u", "SELECT u = u FROM users u", "SELECT u IN (SELECT u FROM users u) FROM users u",
	"SELECT jsonb_agg(u) FROM users u", "SELECT json_build_object('e', email) FROM users", "SELECT concat(email, 'x') FROM users", "SELECT format('%s', email) FROM users",
	"SELECT min(email) FROM users", "SELECT max(pin) FROM users", "SELECT sum(pin) FROM users", "SELECT array_agg(email) FROM users", "SELECT count(email), count(DISTINCT pin) FROM users",
	"SELECT count(DISTINCT ssn) FROM users", "SELECT string_agg(email, ',') FROM users", "SELECT length(email) FROM users", "SELECT pin + 1 FROM users", "SELECT -pin FROM users", "SELECT pin::text FROM users",
	"SELECT CASE WHEN email = '{C}-a' THEN 'yes' ELSE 'no' END FROM users ORDER BY id", "SELECT CASE email WHEN '{C}-a' THEN 1 END FROM users",
	"SELECT CASE WHEN id = 1 THEN email END FROM users", "SELECT coalesce(email, '{C}') FROM users", "SELECT nullif(email, '{C}-a') FROM users", "SELECT greatest(email, '{C}') FROM users",
	"SELECT email IS NULL, email = '{C}-a', email <> '{C}-b' FROM users ORDER BY id",
	"SELECT (SELECT email) FROM users", "SELECT e FROM (SELECT email e FROM users) x WHERE e = '{C}-b'", "SELECT e FROM (SELECT email FROM users) x(e) WHERE e = '{C}-b'",
	"SELECT b FROM users AS t(a, b) WHERE b = '{C}-b'", "SELECT email FROM users AS t(email, b) WHERE email = 1", "SELECT t.email FROM users AS t(email) WHERE t.email = 2",
	"SELECT id AS email, email AS id FROM users WHERE id = 1", "SELECT id AS email, email AS x FROM users WHERE id < 3 ORDER BY email", "SELECT note AS email FROM users GROUP BY email, note ORDER BY 1",
	"SELECT users.email FROM other AS users WHERE users.email = 'plain-a'", "SELECT email FROM other AS users WHERE email = 'plain-a'", "SELECT o.email FROM users AS other, other AS o WHERE o.email = 'plain-a' AND other.id = 1",
	"SELECT public.users.email FROM public.users WHERE public.users.pin = 20", "SELECT email FROM public.\"users\" WHERE \"email\" = '{C}-a'", "SELECT EMAIL FROM USERS WHERE Email = '{C}-a'",
	"SELECT U&\"em\\0061il\" FROM U&\"us\\0065rs\" WHERE U&\"em!0061il\" UESCAPE '!' = '{C}-a'", "SELECT email FROM ONLY users WHERE id = 1", "SELECT email FROM users * WHERE id = 1", "SELECT email FROM users TABLESAMPLE SYSTEM (100) WHERE id = 1",
	"SELECT l.email FROM users u, LATERAL (SELECT email FROM leads WHERE leads.email = u.email) l ORDER BY 1", "SELECT x.e FROM users u, LATERAL (SELECT u.email AS e) x WHERE u.id = 1", "SELECT x.e FROM users u CROSS JOIN LATERAL (VALUES (u.email)) x(e) WHERE u.id = 1",
	"SELECT users.id, leads.id FROM users JOIN leads USING (email) ORDER BY 1", "SELECT email FROM users JOIN leads USING (email) WHERE email = '{C}-b'", "SELECT email FROM users LEFT JOIN leads USING (email) ORDER BY users.id", "SELECT email FROM users RIGHT JOIN leads USING (email) ORDER BY leads.id",
	"SELECT email FROM users FULL JOIN leads USING (email) ORDER BY 1", "SELECT email FROM users NATURAL JOIN leads", "SELECT * FROM users JOIN leads USING (email)", "SELECT j.email FROM (users JOIN leads USING (email)) j", "SELECT j.email FROM users JOIN leads USING (email) AS j",
	"SELECT users.email FROM users JOIN other USING (email)", "SELECT o.email, u.email FROM other o LEFT JOIN users u ON o.id = u.id ORDER BY o.id", "SELECT u.email FROM users u JOIN other o ON u.email = o.email", "SELECT a.email FROM users a JOIN users b ON a.pin = b.pin AND a.id <> b.id ORDER BY a.id",
	"WITH a AS (SELECT email FROM users), b AS (SELECT email AS f FROM a WHERE email = '{C}-a') SELECT f FROM b", "WITH users AS (SELECT 1 AS id, 'x'::text AS email) SELECT email FROM users WHERE email = 'x'", "WITH users AS (SELECT email FROM users) SELECT * FROM users WHERE email = '{C}-a'",
	"WITH RECURSIVE r(e, n) AS (SELECT email, 1 FROM users WHERE id = 1 UNION ALL SELECT e, n + 1 FROM r WHERE n < 3) SELECT * FROM r", "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT r.n, u.email FROM r JOIN users u ON u.id = r.n ORDER BY 1",
	"WITH RECURSIVE a AS (SELECT * FROM users), users AS (SELECT 7 AS id, 'p' AS email) SELECT * FROM a", "WITH x AS MATERIALIZED (SELECT * FROM users) SELECT email, pin FROM x WHERE pin = 10 ORDER BY id", "WITH i AS (INSERT INTO users (id, email) VALUES (50, '{C}-cte') RETURNING email) SELECT email FROM i",
	"WITH d AS (DELETE FROM users WHERE email = '{C}-cte' RETURNING *) SELECT id, email FROM d", "WITH u AS (UPDATE users SET note = 'z' WHERE email = '{C}-a' RETURNING id, email) SELECT * FROM u WHERE email = '{C}-a'", "WITH x AS (SELECT email FROM users) INSERT INTO other SELECT 1, email FROM x", "WITH x AS (SELECT 60 i, '{C}-wi' e) INSERT INTO users (id, email) SELECT i, e FROM x",
	"SELECT email FROM users UNION ALL SELECT email FROM leads", "SELECT email FROM users INTERSECT SELECT email FROM leads", "SELECT email FROM users EXCEPT SELECT email FROM leads", "SELECT id FROM users WHERE email = '{C}-a' UNION SELECT id FROM leads WHERE email = '{C}-b' ORDER BY 1",
	"SELECT DISTINCT pin FROM users WHERE pin IS NOT NULL AND pin = 10", "SELECT DISTINCT ON (pin) pin, id FROM users WHERE pin = 10 ORDER BY pin, id", "SELECT DISTINCT ON (pin) id FROM users WHERE pin = 10", "SELECT DISTINCT ssn FROM users", "SELECT pin, count(*) FROM users GROUP BY ROLLUP (pin) HAVING pin = 10", "SELECT pin, email, count(*) FROM users GROUP BY GROUPING SETS ((pin), (email)) HAVING pin = 20", "SELECT pin, grouping(pin) FROM users GROUP BY CUBE (pin) HAVING pin = 20",
	"SELECT pin FROM users GROUP BY 1 HAVING count(*) > 1", "SELECT pin AS p FROM users GROUP BY p HAVING pin = 10", "SELECT ssn FROM users GROUP BY ssn", "SELECT email FROM users GROUP BY email HAVING min(email) > 'a'", "SELECT count(*) FILTER (WHERE email = '{C}-a') FROM users",
	"SELECT id, count(*) OVER (PARTITION BY pin) FROM users ORDER BY id", "SELECT id, rank() OVER (ORDER BY email) FROM users", "SELECT id, lag(email) OVER (ORDER BY id) FROM users", "SELECT id, first_value(email) OVER w FROM users WINDOW w AS (ORDER BY id)", "SELECT id, row_number() OVER w FROM users WINDOW w AS (PARTITION BY email ORDER BY id) ORDER BY id", "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY pin) FROM users",
	"SELECT id FROM users ORDER BY email", "SELECT id, email FROM users ORDER BY 2", "SELECT email AS e FROM users ORDER BY e", "SELECT id FROM users ORDER BY pin USING <", "SELECT id FROM users ORDER BY (email)", "SELECT id FROM users ORDER BY email IS NULL, id", "SELECT id FROM users ORDER BY email = '{C}-b' DESC NULLS LAST, id", "SELECT email FROM users ORDER BY id LIMIT 1 OFFSET 1", "SELECT email FROM users ORDER BY id FETCH FIRST 2 ROWS ONLY", "SELECT email FROM users WHERE id = 1 FOR UPDATE", "SELECT email FROM users ORDER BY id LIMIT (SELECT count(email) FROM users)",
	"VALUES ((SELECT email FROM users WHERE id = 1))", "SELECT * FROM (VALUES ('v')) v(email)", "SELECT id FROM users WHERE code = 'ab'::varchar", "UPDATE users SET code = 'abcd' WHERE id = 4", "SELECT id FROM users WHERE code = 'abcd '", "SELECT unnest(ARRAY[email]) FROM users", "SELECT ARRAY[email] FROM users", "SELECT generate_series(1, pin) FROM users", "SELECT * FROM users u, unnest(ARRAY[u.email]) e",
	"SELECT tableoid::regclass, email FROM users WHERE id = 1", "SELECT email FROM users WHERE ctid = '(0,1)'", "SELECT pg_column_size(email) > 0 FROM users", "SELECT pg_typeof(email) FROM users", "SELECT 1 FROM users WHERE users IS NOT NULL", "SELECT xmin FROM users WHERE email = '{C}-none'",
	"INSERT INTO users (id, email) VALUES (20, '{C}-' || 'x')", "INSERT INTO users (id, email) SELECT 20, '{C}-sel'", "INSERT INTO users (id, note) SELECT id + 100, v FROM other RETURNING id, note, email", "INSERT INTO users SELECT 21, '{C}-sel'", "INSERT INTO users TABLE other", "INSERT INTO users (id, email) (VALUES (22, '{C}-par'))", "INSERT INTO users (id, email) VALUES (23, '{C}-u1') UNION VALUES (24, '{C}-u2')",
	"INSERT INTO users (id, code) VALUES (40, 'zz'), (41, 'aa') ORDER BY 2 LIMIT 1", "SELECT id, code FROM users WHERE id IN (40, 41)", "INSERT INTO users (id, email) VALUES (25, (SELECT '{C}-sub'))", "INSERT INTO users (id, email) VALUES (26, CASE WHEN true THEN '{C}-case' END)", "INSERT INTO users AS u (id, email) VALUES (1, '{C}-k') ON CONFLICT (id) DO UPDATE SET email = excluded.email, note = u.note WHERE u.email = '{C}-a' RETURNING u.id, u.email",
	"INSERT INTO users (id, email) VALUES (1, '{C}-k2') ON CONFLICT (id) DO UPDATE SET (email, note) = ('{C}-k3', 'kk') WHERE users.email = '{C}-k' RETURNING *", "INSERT INTO users (id, email) VALUES (1, '{C}-k4') ON CONFLICT (id) DO UPDATE SET email = excluded.email || 'x'", "INSERT INTO users (id, email) VALUES (99, '{C}-k3') ON CONFLICT (email) WHERE email = '{C}-z' DO NOTHING", "INSERT INTO users (id, email) VALUES (99, '{C}-k3') ON CONFLICT ON CONSTRAINT users_email_key DO NOTHING RETURNING id", "INSERT INTO users (id, email) VALUES (99, '{C}-k3') ON CONFLICT DO NOTHING", "INSERT INTO users (id, email) VALUES (99, '{C}-k3') ON CONFLICT (lower(email)) DO NOTHING",
	"INSERT INTO users (id, email) VALUES (27, E'{C}-\\x41'), (28, $q${C}-$$dollar$q$), (29, U&'{C}-\\0041b'), (30, '{C}-'\n'cont') RETURNING email", "INSERT INTO users (id, email) VALUES (31, '{C}-''quote\\n') RETURNING email, lower(note)", "INSERT INTO users (id, email) VALUES (32, '{C}-cast'::text), (33, text '{C}-cast2'), (34, CAST('{C}-cast3' AS varchar)), (35, '{C}-cast4'::pg_catalog.text) RETURNING email", "INSERT INTO users (id, email) VALUES (36, '{C}-n'::name)", "INSERT INTO users (id, email) VALUES (36, ('{C}-paren')) RETURNING email", "INSERT INTO users (id, email) VALUES (37, /* c /* nested */ ' */ '{C}-com' -- x\n) RETURNING email",
	"INSERT INTO users (id, code) VALUES (38, 'toolong')", "INSERT INTO users (id, code) VALUES (39, 'abcd    ') RETURNING code || '|'", "INSERT INTO users (id, code) VALUES (39, 'abcd    ') RETURNING code", "INSERT INTO users (id, price) VALUES (42, 7.125), (43, -0.004), (44, '1e2') RETURNING price", "INSERT INTO users (id, price) VALUES (45, 12345678.9)", "INSERT INTO users (id, pin) VALUES (46, 1.5)", "INSERT INTO users (id, pin) VALUES (46, '-7'), (47, -8), (48, +9) RETURNING pin", "INSERT INTO users (id, pin) VALUES (49, true)", "INSERT INTO users DEFAULT VALUES", "INSERT INTO users (id) VALUES (51) RETURNING email",
	"UPDATE users SET (email, note) = ('{C}-row', 'r') WHERE id = 2 RETURNING email, note", "UPDATE users SET (email, note) = ROW('{C}-row2', 'r') WHERE id = 2 RETURNING email", "UPDATE users SET (email) = ROW('{C}-row3') WHERE id = 2 RETURNING email", "UPDATE users SET (email, note) = (SELECT '{C}-row4', 'r') WHERE id = 2", "UPDATE users SET email = leads.email FROM leads WHERE leads.id = 12 AND users.id = 2 RETURNING users.email, leads.email", "UPDATE users u SET email = DEFAULT, pin = NULL FROM other o WHERE o.id = u.id AND u.email = '{C}-z' RETURNING u.*", "UPDATE users SET pin = pin + 1", "UPDATE users SET note = email", "UPDATE users SET pin = pin WHERE id = 1 RETURNING pin", "UPDATE other SET v = users.email FROM users WHERE users.id = other.id", "UPDATE other SET email = '{P}' FROM users WHERE users.id = other.id AND users.email = '{C}-k3' RETURNING other.email, users.email",
	"DELETE FROM users USING leads WHERE leads.email = users.email AND leads.email = '{C}-c' RETURNING users.id, users.email", "DELETE FROM other USING users WHERE other.id = users.id AND users.pin = 10 RETURNING other.id, users.pin", "DELETE FROM users WHERE id IN (SELECT id FROM users WHERE email LIKE 'x%')", "SELECT id, email, ssn, pin, note, code, price FROM users ORDER BY id", "SELECT * FROM leads ORDER BY id", "SELECT * FROM other ORDER BY id",
}

type answer struct{ Fields, Rows []string }

// ask runs a text by the simple protocol and gives its last result.
func ask(conn *pgx.Conn, sql string) (a answer, err error) {
	results, err := conn.PgConn().Exec(context.Background(), sql).ReadAll()
	if err != nil || len(results) == 0 {
		return a, err
	}
	r := results[len(results)-1]
	for _, f := range r.FieldDescriptions {
		a.Fields = append(a.Fields, fmt.Sprintf("%s %d %d", f.Name, f.DataTypeOID, f.TypeModifier))
	}
	for _, row := range r.Rows {
		var b strings.Builder
		for _, v := range row {
			if v == nil {
				b.WriteString("NULL|")
			} else {
				b.WriteString(string(v) + "|")
			}
		}
		a.Rows = append(a.Rows, b.String())
	}
	return a, nil
}

// twins are a database behind the proxy and one without it, that get the same
// statements.
type twins struct {
	proxied, direct *pgx.Conn
	refused         int
}

// Values in statements that stand for protected ones begin with {C}; no trace
// of those that go through the proxy may be found in the server's files.
const plainMarker, sealedMarker = "ptmarker", "pxmarker"

func marked(sql, marker string) string {
	return strings.NewReplacer("{C}", marker, "{P}", "public").Replace(sql)
}

func refusal(err error) bool { return state(err) == "0A000" || state(err) == "42804" }

// run compares the answers to a statement: the same, or a refusal.
func (w *twins) run(t *testing.T, sql string) {
	t.Helper()
	if writes(sql) && w.refuses(t, sql) {
		w.refused++
		return
	}
	want, wantErr := ask(w.direct, marked(sql, plainMarker))
	got, err := ask(w.proxied, marked(sql, sealedMarker))
	if refusal(err) {
		w.refused++
		return
	}
	for i := range want.Rows {
		want.Rows[i] = strings.ReplaceAll(want.Rows[i], plainMarker, sealedMarker)
	}
	if state(err) != state(wantErr) {
		t.Errorf("%s:\n got error %v\nwant error %v", sql, err, wantErr)
	}
	if !strings.Contains(sql, "ORDER BY") { // which order is not said
		slices.Sort(want.Rows)
		slices.Sort(got.Rows)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s: %s", sql, d)
	}
}

// refuses says whether the proxy refuses a statement, without a trace: what is
// refused must not be done on the other side.
func (w *twins) refuses(t *testing.T, sql string) bool {
	t.Helper()
	exec1(t, w.proxied, "BEGIN")
	_, err := ask(w.proxied, marked(sql, sealedMarker))
	exec1(t, w.proxied, "ROLLBACK")
	if refusal(err) {
		t.Logf("refused: %s: %v", sql, err)
	}
	return refusal(err)
}

func startTwins(t *testing.T, columns []proxy.ColumnRule) (*twins, *fixture) {
	t.Helper()
	f, plain := start(t, shared, columns), start(t, shared, nil)
	return &twins{proxied: f.connect(t, pgx.QueryExecModeSimpleProtocol), direct: plain.direct(t)}, f
}

// TestAgainstPostgres compares with the same statements on the same tables
// without the proxy: the answer is the same or a refusal, and nothing that
// stands for a protected value gets into the server's files.
func TestAgainstPostgres(t *testing.T) {
	w, f := startTwins(t, attacked())
	for _, sql := range append(slices.Clone(attackSetup), attackQueries...) {
		w.run(t, sql)
	}
	t.Logf("%d of %d refused", w.refused, len(attackQueries))
	exec1(t, f.direct(t), "CHECKPOINT")
	if files := f.cluster.contains(t, sealedMarker); len(files) > 0 {
		t.Errorf("canaries are in %v", files)
	}
}

func writes(sql string) bool {
	return strings.Contains(sql, "INSERT") || strings.Contains(sql, "UPDATE ") || strings.Contains(sql, "DELETE") || strings.Contains(sql, "MERGE")
}
