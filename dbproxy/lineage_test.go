// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"slices"
	"testing"
)

// lineageQueries are answered as PostgreSQL itself answers them.
var lineageQueries = []string{
	// Expressions that hold a value.
	"SELECT id, CASE WHEN id = 1 THEN email END FROM users ORDER BY id",
	"SELECT id, CASE WHEN id = 1 THEN email WHEN id = 2 THEN '{C}-case' ELSE NULL END AS e FROM users ORDER BY id",
	"SELECT CASE email WHEN '{C}-a' THEN 'first' WHEN '{C}-b' THEN 'second' ELSE note END FROM users ORDER BY id",
	"SELECT id, coalesce(email, '{C}-none') FROM users ORDER BY id",
	"SELECT id, coalesce(email, ssn) IS NULL FROM (SELECT id, email, email AS ssn FROM users) u ORDER BY id",
	"SELECT coalesce(email, NULL, '{C}-x'::text) FROM users ORDER BY id",
	"SELECT id FROM users WHERE coalesce(email, '{C}-none') = '{C}-none' ORDER BY id",
	"SELECT id, coalesce(ssn, 'none') FROM users ORDER BY id",
	"SELECT coalesce(code, '{C}-longer-than-four') FROM users ORDER BY id",
	"SELECT coalesce(pin, -1) FROM users ORDER BY id",
	"SELECT coalesce(price, 0.50) FROM users ORDER BY id",
	"SELECT nullif(email, '{C}-a') FROM users ORDER BY id", "SELECT nullif(code, 'ab'), nullif(price, 1.010) FROM users ORDER BY id",
	"SELECT (SELECT email FROM leads WHERE leads.email = users.email) FROM users ORDER BY id",
	"SELECT (SELECT u.email) AS x, (SELECT 1) FROM users u ORDER BY u.id",
	"SELECT email::text, email::varchar, CAST(code AS varchar(9)), pin::int4, price::numeric, price::numeric(8,2) FROM users ORDER BY id",
	`SELECT email COLLATE "C" FROM users WHERE email COLLATE "C" = '{C}-a'`,
	"SELECT id, lag(email) OVER (ORDER BY id), lead(email, 1, '{C}-end') OVER (ORDER BY id), first_value(pin) OVER w, nth_value(email, 2) OVER w FROM users WINDOW w AS (ORDER BY id) ORDER BY id",
	"SELECT array_agg(email ORDER BY id) FROM users", "SELECT array_agg(pin ORDER BY id), array_agg(price ORDER BY id) FROM users",
	"SELECT ARRAY(SELECT email FROM users ORDER BY id)", "SELECT ARRAY[email, '{C}-el, \"q\" \\ {x}', NULL, ''] FROM users WHERE id = 1", "SELECT ARRAY[note, 'x'] FROM users ORDER BY id",
	"SELECT unnest(ARRAY[email, '{C}-el']) FROM users WHERE id = 1 ORDER BY 1 IS NULL", "SELECT e FROM users u, unnest(ARRAY[u.email]) e ORDER BY u.id",
	"SELECT pin, coalesce(array_agg(email ORDER BY id) FILTER (WHERE id > 1), '{}') FROM users GROUP BY pin ORDER BY pin IS NULL, count(*)",
	"SELECT email, count(*) OVER (PARTITION BY email) FROM users ORDER BY id",
	"SELECT o.*, u.email, coalesce(u.email, '{C}-n') AS c FROM other o JOIN users u ON u.id = o.id ORDER BY o.id",
	"SELECT coalesce(u.email, '{C}-n') AS c, u.email, o.* FROM other o JOIN users u ON u.id = o.id ORDER BY o.id",
	"SELECT o.*, u.email, o.* FROM other o JOIN users u ON u.id = o.id ORDER BY o.id",
	"SELECT ARRAY(SELECT code FROM users ORDER BY id), (SELECT code FROM users WHERE id = 1), (SELECT array_agg(code ORDER BY id) FROM users)", "SELECT ARRAY[code], unnest(ARRAY[code]), coalesce(code, code), CASE WHEN true THEN code ELSE code END FROM users WHERE id = 1", "SELECT code FROM users UNION ALL SELECT code FROM users", "SELECT coalesce(code, 'abcdefgh')::varchar(9) FROM users ORDER BY id",
	"SELECT * FROM (VALUES (1)) v (n), LATERAL (VALUES ((SELECT code FROM users WHERE id = n)), (NULL)) w (c)", "SELECT lag(code) OVER (ORDER BY id), nullif(pin, 10), nullif(email, NULL) FROM users ORDER BY id", "SELECT (array_agg(id))[1], email FROM users GROUP BY email", "SELECT x.coalesce, x.case, x.nullif, x.email, x.array FROM (SELECT coalesce(email, '{C}-q'), CASE WHEN id = 1 THEN email END, nullif(email, '{C}-a'), email::text, ARRAY[email], id FROM users) x ORDER BY id",
	"SELECT x.lag, x.first_value, x.code FROM (SELECT lag(email) OVER (ORDER BY id), first_value(email) OVER (ORDER BY id), (SELECT code), id FROM users) x WHERE x.first_value = '{C}-a' ORDER BY id", "SELECT count(*), count(e) FROM (SELECT unnest(ARRAY[email, NULL]) AS e FROM users) x", "SELECT u.email FROM users u WHERE row(u.email, u.pin) = (SELECT l.email, 20 FROM leads l WHERE l.id = 10)",
	"SELECT (SELECT count(*) FROM users v WHERE v.email = u.email OR v.pin = u.pin) FROM users u ORDER BY id", "SELECT DISTINCT ON (email) email, id FROM users WHERE id = 1", "SELECT email FROM users WHERE email = '{C}-a' FETCH FIRST 1 ROW ONLY", "SELECT a.email, b.v FROM users a LEFT JOIN LATERAL (SELECT o.v FROM other o WHERE o.id = a.id AND a.email <> '{C}-b') b ON true ORDER BY a.id",
	"SELECT a.id FROM users a JOIN (leads b JOIN users c USING (email)) USING (email) ORDER BY 1", "SELECT * FROM other JOIN users USING (id) ORDER BY id", "SELECT * FROM users JOIN other USING (id) JOIN leads l ON l.email = users.email ORDER BY 1", "SELECT id, other.*, users.email FROM users LEFT JOIN other USING (id) ORDER BY id", "SELECT 1 FROM users, other WHERE users.email = '{C}-a' AND other.email = 'plain-a'",
	"SELECT price, price = 1.01, price IN (1.01, 2), price IS DISTINCT FROM 2.00 FROM users ORDER BY id", "SELECT id FROM users WHERE NOT email = ANY ('{\"{C}-a\"}') IS TRUE ORDER BY id", "SELECT 'plain' || note, email FROM users WHERE note IN (SELECT note FROM users WHERE email = '{C}-a')", "SELECT coalesce(max(id), 0) FROM users WHERE email IN ('{C}-a', NULL)", "SELECT sum(CASE WHEN email = '{C}-a' THEN 1 ELSE 0 END) FROM users",
	"SELECT 'plain', '{C}-z', '{C}-z'::text, CAST('{C}-z' AS varchar), ('{C}-z' COLLATE \"C\")::varchar UNION ALL SELECT note, email, email, email, email FROM users", "SELECT x.text, x.\"?column?\" FROM (SELECT '{C}-n'::text, '{C}-m' UNION ALL SELECT email, email FROM users) x", "INSERT INTO leads (id, email) SELECT 55, '{C}-named'::text RETURNING id",
	"SELECT CASE WHEN id = 1 THEN '{C}-v'::varchar ELSE email END, coalesce('{C}-v'::varchar, email), greatest(1, 2), ARRAY['{C}-v'::varchar, email] FROM users ORDER BY id",
	// Queries that put values together.
	"SELECT email FROM users UNION SELECT email FROM leads", "SELECT email FROM users UNION ALL SELECT '{C}-u' UNION ALL SELECT NULL",
	"SELECT '{C}-u' AS e UNION SELECT email FROM users", "SELECT id, email FROM users INTERSECT SELECT 2, '{C}-b'", "SELECT email FROM users EXCEPT ALL SELECT email FROM leads",
	"SELECT id, email, note FROM users UNION ALL SELECT id, email, 'lead' FROM leads ORDER BY id", "(SELECT email FROM users ORDER BY id LIMIT 1) UNION ALL (SELECT email FROM leads ORDER BY id LIMIT 1)",
	"VALUES ((SELECT email FROM users WHERE id = 1)), ('{C}-v')", "SELECT v.e FROM (VALUES ('{C}-a'), ('{C}-z'), (NULL)) v (e) JOIN users u ON u.email = v.e",
	"SELECT u.id FROM users u WHERE u.email IN (VALUES ('{C}-a'), ('{C}-c')) ORDER BY 1", "SELECT u.id FROM users u JOIN (SELECT 1 AS n, '{C}-b' AS e) x ON x.e = u.email",
	"WITH wanted (e) AS (VALUES ('{C}-a'), ('{C}-b')) SELECT id FROM users WHERE email IN (SELECT e FROM wanted) ORDER BY id",
	"WITH RECURSIVE r (e, n) AS (SELECT email, 1 FROM users WHERE id = 1 UNION ALL SELECT coalesce(e, '{C}-r'), n + 1 FROM r WHERE n < 3) SELECT * FROM r ORDER BY n",
	"WITH RECURSIVE r (e, n) AS (SELECT '{C}-s', 1 UNION ALL SELECT u.email, n + 1 FROM r JOIN users u ON u.id = n WHERE n < 3) SELECT e, n FROM r ORDER BY n",
	"WITH RECURSIVE b AS (SELECT * FROM a WHERE email = '{C}-a'), a AS (SELECT id, email FROM users) SELECT * FROM b",
	"SELECT id FROM users WHERE email = (SELECT '{C}-a')", "SELECT id FROM users WHERE (email, pin) = (SELECT '{C}-a', 10)", "SELECT id FROM users WHERE (email, pin) IN (SELECT '{C}-a', 10)",
	"SELECT id FROM users WHERE (SELECT '{C}-a') = email", "SELECT id FROM users WHERE email = ANY (SELECT '{C}-a' UNION SELECT '{C}-b') ORDER BY id",
	"SELECT id FROM users WHERE '{C}-a' = ANY (ARRAY[email, note])  OR false", "SELECT id FROM users WHERE email = ANY ((SELECT array_agg(email) FROM leads)::text[]) ORDER BY id",
	"SELECT id FROM users WHERE email = ANY ('{\"{C}-a\",x}'::text[])", "SELECT id FROM users WHERE email = ANY (CAST('{\"{C}-a\",x}' AS text[]))", "SELECT id FROM users WHERE email = ANY (ARRAY['{C}-a', '{C}-b']::varchar[]) ORDER BY id",
	"SELECT id FROM users WHERE email IN (SELECT unnest('{\"{C}-a\",\"{C}-c\"}'::text[])) ORDER BY id", "SELECT x.e, u.id FROM unnest(ARRAY['{C}-a', '{C}-q']) WITH ORDINALITY x (e, n) LEFT JOIN users u ON u.email = x.e ORDER BY x.n",
	"SELECT id FROM users WHERE email IS DISTINCT FROM '{C}-a' ORDER BY id", "SELECT id FROM users WHERE (email, id) IS NOT DISTINCT FROM ('{C}-a', 1)",
	// Joins.
	"SELECT * FROM users JOIN leads USING (email) ORDER BY users.id", "SELECT email, l.email, users.id FROM users LEFT JOIN leads l USING (email) ORDER BY users.id",
	"SELECT email FROM users RIGHT JOIN leads USING (email) ORDER BY leads.id", "SELECT email, users.id, leads.id FROM users FULL JOIN leads USING (email) ORDER BY users.id, leads.id",
	"SELECT j.* FROM (users JOIN leads USING (email)) j ORDER BY 2", "SELECT j.email FROM users JOIN leads USING (email) AS j ORDER BY users.id", "SELECT a.email, b.email FROM leads a NATURAL JOIN leads b ORDER BY a.id",
	"SELECT x.email FROM (SELECT * FROM users JOIN leads USING (email)) x WHERE x.email = '{C}-b'", "SELECT * FROM (users u CROSS JOIN leads l) AS j (a, b, c, d, e, f, g, h, i) WHERE b = '{C}-a' AND i = '{C}-b'",
	"SELECT u.id FROM users u WHERE EXISTS (SELECT FROM leads l WHERE l.email = u.email AND l.email <> '{C}-c') ORDER BY 1", "SELECT u.id, x.n FROM users u, LATERAL (SELECT count(*) AS n FROM leads WHERE leads.email = u.email) x ORDER BY 1",
	"SELECT email, pin, count(*), grouping(email) FROM users GROUP BY ROLLUP (email, pin)", "SELECT email, count(*) FROM users GROUP BY email HAVING email = '{C}-a' OR email IS NULL",
	"SELECT coalesce(email, '{C}-n'), count(*) FROM users GROUP BY coalesce(email, '{C}-n')", "SELECT count(DISTINCT coalesce(email, '{C}-n')), count(*) FILTER (WHERE email IN ('{C}-a', '{C}-b')) FROM users", "SELECT DISTINCT coalesce(pin, 0) FROM users",
	// Writes.
	"INSERT INTO users (id, email) SELECT 100, '{C}-s0' RETURNING id, email, coalesce(email, '{C}-n')", "INSERT INTO users (id, email, code) SELECT 101, '{C}-s1', 'xy' UNION ALL SELECT 102, '{C}-s2', NULL RETURNING email, code",
	"INSERT INTO users SELECT 103, '{C}-s3' RETURNING *", "INSERT INTO users (id, email) SELECT id + 200, '{C}-v' || '' FROM users WHERE false", "INSERT INTO users (id, email) SELECT n, e FROM (VALUES (104, '{C}-s4'), (105, NULL)) v (n, e) RETURNING id, email",
	"INSERT INTO leads SELECT id, email FROM users WHERE id = 100 RETURNING *", "INSERT INTO leads (id, email) SELECT id, email FROM leads WHERE id = 12 RETURNING id", "INSERT INTO users (id, email) VALUES (106, (SELECT email FROM leads WHERE id = 12)) RETURNING email",
	"INSERT INTO users (id, email) VALUES (107, CASE WHEN true THEN '{C}-c0' END), (108, coalesce(NULL, '{C}-c1')) RETURNING email", "INSERT INTO users (id, code) SELECT 109, 'abcd   ' RETURNING code", "INSERT INTO users (id, code) SELECT 110, 'too long'", "INSERT INTO users (id, price) SELECT 111, 1.005 RETURNING price",
	"INSERT INTO users (id, code) VALUES (112, 'toolong'::varchar(4)), (113, CAST('abcde' AS varchar(3))) RETURNING code", "INSERT INTO users (id, pin) VALUES (114, -5::int), (115, + 6), (116, 7::bigint) RETURNING pin", "INSERT INTO users (id, price) VALUES (117, 1.5::numeric(8,2)), (118, - 2::numeric) RETURNING price",
	"INSERT INTO users (id, email) VALUES (1, '{C}-k') ON CONFLICT (id) DO UPDATE SET email = coalesce(excluded.email, users.email), note = 'c' RETURNING email", "INSERT INTO users (id, email) VALUES (1, NULL) ON CONFLICT (id) DO UPDATE SET email = coalesce(excluded.email, users.email) RETURNING email", "INSERT INTO users (id, code) VALUES (1, 'zz') ON CONFLICT (id) DO UPDATE SET (code, note) = (SELECT excluded.code, 'row') RETURNING code, note",
	"UPDATE users SET (email, note) = (SELECT '{C}-row', 'r') WHERE id = 100 RETURNING email, note", "UPDATE users SET (note, email) = (SELECT 'm', l.email FROM leads l WHERE l.id = 10) WHERE id = 101 RETURNING email", "UPDATE users u SET email = l.email FROM leads l WHERE l.id = 12 AND u.id = 102 RETURNING u.email, l.email",
	"UPDATE users SET code = coalesce('zz', code), price = coalesce(NULL, price) WHERE id = 1 RETURNING code, price", "UPDATE users SET code = coalesce('too long', code) WHERE id = 1", "UPDATE users SET price = coalesce(1.555, price) WHERE id = 1 RETURNING price", "UPDATE users SET email = CASE WHEN id = 1 THEN '{C}-one' ELSE email END WHERE id < 3 RETURNING email",
	"UPDATE users SET email = x.e FROM (VALUES (1, '{C}-v1'), (2, '{C}-v2')) x (i, e) WHERE x.i = users.id RETURNING id, email", "DELETE FROM users USING (VALUES ('{C}-v2')) v (e) WHERE users.email = v.e RETURNING id, email",
	"MERGE INTO users u USING leads l ON u.email = l.email WHEN MATCHED AND l.email = '{C}-c' THEN UPDATE SET note = 'm', email = l.email WHEN MATCHED THEN DO NOTHING WHEN NOT MATCHED AND l.id > 1000 THEN DO NOTHING WHEN NOT MATCHED THEN INSERT (id, email, note) VALUES (l.id + 300, l.email, 'new')",
	"MERGE INTO users u USING (VALUES (1, '{C}-m1'), (900, '{C}-m2')) v (i, e) ON u.id = v.i WHEN MATCHED THEN UPDATE SET (email, note) = (v.e, 'mm') WHEN NOT MATCHED THEN INSERT (id, email, pin) VALUES (v.i, v.e, DEFAULT)", "MERGE INTO leads USING users ON leads.email = users.email AND users.email = '{C}-m1' WHEN MATCHED THEN DELETE",
	"WITH n (e) AS (VALUES ('{C}-w1')), i AS (INSERT INTO users (id, email) SELECT 950, e FROM n RETURNING id, email), d AS (DELETE FROM leads WHERE email = '{C}-b' RETURNING email) SELECT email FROM i UNION ALL SELECT email FROM d", "INSERT INTO users DEFAULT VALUES",
	// By name.
	"PREPARE le (text) AS SELECT coalesce(email, $1), count(*) FROM users GROUP BY coalesce(email, $1)", "EXECUTE le('{C}-n')", "PREPARE lf AS SELECT ARRAY(SELECT email FROM users WHERE email <> $1 OR $1 IS NULL ORDER BY id)", "EXECUTE lf('{C}-a')",
	"DECLARE lc CURSOR WITH HOLD FOR SELECT id, coalesce(email, '{C}-n'), ARRAY[pin, -1] FROM users ORDER BY id", "FETCH 3 FROM lc", "CLOSE lc",
	// Views.
	"SELECT * FROM joined ORDER BY id", "SELECT b, code, id FROM windowed WHERE b IN ('{C}-a', '{C}-m1') ORDER BY id", "SELECT j.email, w.b FROM joined j JOIN windowed w ON w.b = j.email ORDER BY j.id, w.id",
	"SELECT * FROM mails ORDER BY id", "SELECT email FROM mails WHERE email = '{C}-m1'", "SELECT m.email, u.id FROM mails m JOIN users u USING (email) ORDER BY u.id", "SELECT mail FROM known ORDER BY mail IS NULL, n", "INSERT INTO mails (id, email) VALUES (960, '{C}-view') RETURNING *", "INSERT INTO mails VALUES (961, '{C}-view1')",
	"UPDATE mails SET email = '{C}-view2' WHERE email = '{C}-view' RETURNING email", "DELETE FROM mails WHERE email = '{C}-view2'", "SELECT array_length(all_mails, 1) FROM grouped", "SELECT mail FROM stored ORDER BY n", "REFRESH MATERIALIZED VIEW stored", "SELECT mail FROM stored ORDER BY n", "SELECT coalesce(x.mail, '{C}-none') FROM stored x ORDER BY n", "SELECT id FROM users WHERE email IN (SELECT mail FROM known) ORDER BY id",
	"SELECT id, email, ssn, pin, note, code, price FROM users ORDER BY id", "SELECT * FROM leads ORDER BY id",
}

var lineageViews = []string{
	"CREATE VIEW mails AS SELECT id, email FROM users",
	"CREATE VIEW known (mail, n) AS SELECT email, id FROM mails UNION ALL SELECT email, id FROM leads",
	"CREATE VIEW grouped AS SELECT pin, array_agg(email) AS all_mails FROM users GROUP BY pin",
	"CREATE VIEW joined AS SELECT * FROM users JOIN leads l (lid, email) USING (email) WHERE l.lid > 0",
	"CREATE VIEW windowed AS WITH w (a, b) AS (SELECT id, first_value(email) OVER (PARTITION BY pin ORDER BY id) FROM users) SELECT u.id, w.b, u.code FROM w, LATERAL (SELECT * FROM users WHERE users.id = w.a) u",
	"CREATE VIEW computed AS SELECT id, length(email) FROM users",
	"CREATE MATERIALIZED VIEW stored AS SELECT coalesce(a.email, b.email) AS mail, a.id AS n FROM users a LEFT JOIN leads b ON b.id = a.id",
}

// TestLineage has statements through which values of protected columns go
// other ways than by a column's name.
func TestLineage(t *testing.T) {
	w, f := startTwins(t, attacked())
	for _, sql := range attackSetup {
		w.run(t, sql)
	}
	server := f.direct(t)
	for _, sql := range lineageViews {
		exec1(t, server, sql)
		exec1(t, w.direct, sql)
	}
	exec1(t, w.proxied, "CREATE TABLE seen (x int)") // the catalog is read anew
	for _, sql := range lineageQueries {
		before := w.refused
		w.run(t, sql)
		if w.refused > before && !slices.Contains(lineageRefused, sql) {
			t.Errorf("refused: %s", sql)
		}
	}
	exec1(t, server, "CHECKPOINT")
	if files := f.cluster.contains(t, sealedMarker); len(files) > 0 {
		t.Errorf("canaries are in %v", files)
	}
}

// lineageRefused are those that are refused all the same.
var lineageRefused = []string{
	"SELECT id FROM users WHERE '{C}-a' = ANY (ARRAY[email, note])  OR false",
	"INSERT INTO users (id, email) SELECT id + 200, '{C}-v' || '' FROM users WHERE false",
}
