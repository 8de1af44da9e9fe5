// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/sidekey/sidekey/proxy"
)

func ranged() []proxy.ColumnRule {
	return []proxy.ColumnRule{column("people", "name", "text", "range"), column("people", "born", "date", "range"), column("people", "n", "int4", "range"),
		column("people", "price", "numeric(8,2)", "range"), column("people", "tag", "varchar(4)", "equality")}
}

// rangeQueries are answered as PostgreSQL itself answers them.
var rangeQueries = []string{
	"CREATE TABLE people (id int PRIMARY KEY, name text, born date, n int4, price numeric(8,2), tag varchar(4))",
	"INSERT INTO people VALUES (1, '{C}b', '1990-05-05', -7, 1.50, 'x'), (2, '{C}a', '2001-01-01', 0, -2.25, 'y'), (3, '{C}ab', NULL, 70000, 0, 'x'), (4, NULL, '0044-03-15 BC', NULL, NULL, NULL), (5, '{C}B', '1990-05-06', -70000, 99.99, 'y')",
	"CREATE INDEX ON people (born)",
	"SELECT id FROM people ORDER BY name, id", "SELECT id FROM people ORDER BY born DESC NULLS LAST", "SELECT id, n FROM people ORDER BY 2", "SELECT price AS p FROM people ORDER BY p DESC", `SELECT name FROM people ORDER BY name COLLATE "C" DESC, id`,
	"SELECT id FROM people WHERE born < '1990-05-06' ORDER BY id", "SELECT id FROM people WHERE n BETWEEN -10 AND 10 ORDER BY n", "SELECT id FROM people WHERE n NOT BETWEEN SYMMETRIC 10 AND -10 ORDER BY n", "SELECT id FROM people WHERE price >= 0.00 AND price < 50 ORDER BY price",
	"SELECT id FROM people WHERE (born, n) > ('1990-05-05', -8) ORDER BY id", "SELECT id FROM people WHERE name > '{C}a' AND name <= '{C}b' ORDER BY id", "SELECT id FROM people WHERE n > ALL (SELECT -8) ORDER BY id", "SELECT id FROM people WHERE n <= ANY ('{-70000,0}') ORDER BY id", "SELECT id FROM people WHERE born > (SELECT born FROM people WHERE id = 1) ORDER BY id",
	"SELECT min(name), max(name), min(born), max(n), min(price) FROM people", "SELECT tag, max(n) AS m, min(born) FROM people GROUP BY tag HAVING max(n) > -100 ORDER BY max(n)", "SELECT max(n) FILTER (WHERE n < 0), count(*) FROM people", "SELECT x.max, x.min FROM (SELECT max(name), min(name) FROM people) x", "SELECT max(n) FROM people WHERE false", "SELECT id FROM people WHERE n = (SELECT max(n) FROM people)", "SELECT coalesce(max(n), 0), max(coalesce(n, 5)) FROM people",
	"SELECT greatest(n, 5), least(name, '{C}aa'), greatest(born, '2000-01-01', NULL) FROM people ORDER BY id", "SELECT id, rank() OVER (ORDER BY n), lag(n) OVER (ORDER BY n), first_value(name) OVER (ORDER BY born NULLS FIRST) FROM people ORDER BY id", "SELECT DISTINCT ON (tag) tag, n FROM people WHERE tag = 'x'", "SELECT DISTINCT ON (n) n, id FROM people ORDER BY n, id", "SELECT DISTINCT n FROM people ORDER BY n",
	"SELECT array_agg(name ORDER BY name), array_agg(DISTINCT n) FROM people", "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY n), mode() WITHIN GROUP (ORDER BY price) FROM people", "SELECT n FROM people UNION SELECT 3 ORDER BY 1", "SELECT name FROM people WHERE id < 4 UNION ALL SELECT '{C}aaa' ORDER BY name", "WITH RECURSIVE r AS (SELECT min(n) AS n FROM people UNION ALL SELECT (SELECT min(p.n) FROM people p WHERE p.n > r.n) FROM r WHERE r.n IS NOT NULL) SELECT n FROM r ORDER BY n",
	"SELECT id FROM people ORDER BY CASE WHEN tag = 'x' THEN n ELSE 0 END, id", "SELECT a.id, b.id FROM people a JOIN people b ON a.n < b.n WHERE b.id = 2 ORDER BY 1", "SELECT id FROM people ORDER BY born OFFSET 1 FETCH FIRST 2 ROWS ONLY", "SELECT id FROM people ORDER BY n USING >", "SELECT id FROM people WHERE CASE WHEN n > 0 THEN true ELSE born < '1990-05-06' END ORDER BY id",
	"UPDATE people SET n = greatest(n, 1), name = least(name, '{C}az') WHERE n < 5 RETURNING id, n, name", "DELETE FROM people WHERE born <= '1990-05-05' RETURNING id", "SELECT * FROM people ORDER BY id",
}

// TestRange has values that sort.
func TestRange(t *testing.T) {
	w, f := startTwins(t, ranged())
	for _, sql := range rangeQueries {
		before := w.refused
		if w.run(t, sql); w.refused > before {
			t.Errorf("refused: %s", sql)
		}
	}
	noCanary(t, f, sealedMarker)
}

// TestMasksOfMoved: a role that a mask keeps from a column does not read its
// values as those of another column.
func TestMasksOfMoved(t *testing.T) {
	columns := users()
	columns[0].Masks = []proxy.Mask{{Roles: []string{"masked_reader"}, Show: proxy.ShowNull}}
	f := start(t, shared, columns)
	conn := f.connect(t, pgx.QueryExecModeSimpleProtocol)
	exec1(t, conn, usersDDL)
	exec1(t, conn, "CREATE TABLE leads (id int, email text)")
	exec1(t, conn, "INSERT INTO users (id, email) VALUES (1, 'hidden')")
	exec1(t, conn, "INSERT INTO leads VALUES (1, 'shown')")
	server := f.direct(t)
	exec1(t, server, "CREATE ROLE masked_reader LOGIN")
	t.Cleanup(func() {
		if _, err := server.Exec(context.Background(), "DROP OWNED BY masked_reader; DROP ROLE masked_reader", pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Error(err)
		}
	})
	exec1(t, server, "CREATE VIEW together AS SELECT email FROM leads UNION ALL SELECT email FROM users")
	exec1(t, conn, "GRANT ALL ON users, leads, together TO masked_reader")
	exec1(t, conn, "CREATE TABLE seen (x int)")
	exec1(t, conn, "SELECT id FROM users")
	masked := dial(t, fmt.Sprintf("postgres://masked_reader@%s/%s?sslmode=disable", f.addr, f.database), pgx.QueryExecModeSimpleProtocol)
	for _, sql := range []string{"SELECT email FROM leads UNION ALL SELECT email FROM users", "SELECT coalesce(l.email, u.email) FROM leads l, users u", "INSERT INTO leads SELECT id, email FROM users",
		"UPDATE leads SET email = users.email FROM users", "SELECT ARRAY[l.email, u.email] FROM leads l, users u", "SELECT * FROM together"} {
		if _, err := masked.Exec(t.Context(), sql); state(err) != "42501" {
			t.Errorf("%s: got %v, want 42501", sql, err)
		}
	}
	for sql, want := range map[string]string{"SELECT email FROM users": "NULL|", "SELECT array_agg(email) FROM users": "{NULL}|", "SELECT (SELECT email FROM users)": "NULL|", "SELECT array_agg(email) FROM leads": "{shown}|"} {
		got, err := ask(masked, sql)
		if err != nil || len(got.Rows) != 1 || got.Rows[0] != want {
			t.Errorf("%s: got %v, %v, want %s", sql, got.Rows, err, want)
		}
	}
}
