--- Joins, subqueries, set operations, CTEs and views.
-- cases
SELECT u.id, l.id FROM users u JOIN leads l ON l.email = u.email ORDER BY 1, 2;
SELECT u.id, l.id FROM users u INNER JOIN leads l ON u.pin = l.pin ORDER BY 1, 2;
SELECT u.email, l.email FROM users u LEFT JOIN leads l ON l.email = u.email ORDER BY u.id, l.id;
SELECT u.email, l.email FROM users u RIGHT JOIN leads l ON l.email = u.email ORDER BY u.id, l.id;
SELECT u.email, l.email FROM users u FULL JOIN leads l ON l.email = u.email ORDER BY u.id, l.id;
SELECT u.id, l.id FROM users u CROSS JOIN leads l WHERE u.email = l.email ORDER BY 1, 2;
SELECT u.id, l.id FROM users u, leads l WHERE u.email = l.email AND u.pin = l.pin ORDER BY 1, 2;
SELECT u.id, l.id FROM users u JOIN leads l ON l.email IS NOT DISTINCT FROM u.email ORDER BY 1, 2;
SELECT u.id, l.id FROM users u JOIN leads l ON l.email <> u.email ORDER BY 1, 2;
SELECT u.id, o.id FROM users u JOIN orders o ON o.email = u.email AND o.total = 9.99 ORDER BY 1, 2;
SELECT u.id, o.id FROM users u JOIN orders o USING (email) ORDER BY 1, 2;
SELECT email, u.id, o.id FROM users u JOIN orders o USING (email) ORDER BY 2, 3;
SELECT email, u.id, o.id FROM users u LEFT JOIN orders o USING (email) ORDER BY 2, 3;
SELECT email, u.id, l.id FROM users u RIGHT JOIN leads l USING (email) ORDER BY 2, 3;
SELECT email, u.id, l.id FROM users u FULL JOIN leads l USING (email) ORDER BY 2, 3;
SELECT email, pin, u.id FROM users u JOIN leads l USING (email, pin) ORDER BY 3;
SELECT * FROM leads l JOIN orders o USING (email) ORDER BY l.id, o.id;
SELECT * FROM leads l LEFT JOIN orders o USING (email) ORDER BY l.id, o.id;
SELECT * FROM leads NATURAL JOIN (SELECT email, total FROM orders) o ORDER BY id, total;
SELECT l.id FROM leads l NATURAL JOIN orders o;
SELECT j.email FROM (users u JOIN orders o USING (email)) AS j (email);
SELECT j.email FROM users u JOIN orders o USING (email) AS j ORDER BY u.id, o.id;
SELECT u.id, x.id FROM users u, LATERAL (SELECT l.id FROM leads l WHERE l.email = u.email) x ORDER BY 1, 2;
SELECT u.id, x.email FROM users u LEFT JOIN LATERAL (SELECT o.email FROM orders o WHERE o.email = u.email ORDER BY o.id LIMIT 1) x ON true ORDER BY 1;
SELECT u.id, x.e FROM users u, LATERAL (SELECT u.email AS e) x ORDER BY 1;
SELECT u.id, x.e FROM users u, LATERAL (VALUES (u.email)) x (e) ORDER BY 1;
SELECT a.id, b.id FROM users a JOIN users b ON a.pin = b.pin AND a.id < b.id ORDER BY 1, 2;
SELECT a.id, b.id FROM users a JOIN users b ON a.price = b.price AND a.id < b.id ORDER BY 1, 2;
SELECT a.id, b.id FROM users a JOIN users b ON a.born = b.born AND a.id <> b.id ORDER BY 1, 2;
SELECT u.id, p.id FROM users u JOIN parts p ON p.email = u.email ORDER BY 1, 2;
SELECT u.id, a.id FROM users u JOIN s2.accounts a ON a.email = u.email ORDER BY 1, 2;
SELECT u.id, o.id FROM users u JOIN "Odd Name" o ON o."E mail" = u.email ORDER BY 1, 2;
-- refused
SELECT u.id FROM users u JOIN s3.accounts a ON a.email = u.email ORDER BY 1;
-- refused
SELECT u.id FROM users u JOIN other o ON o.email = u.email ORDER BY 1;
-- refused
SELECT u.id FROM users u JOIN other o USING (email) ORDER BY 1;
-- refused
SELECT u.id FROM users u NATURAL JOIN other o;
-- refused
SELECT u.id FROM users u JOIN leads l ON l.email = u.secret ORDER BY 1;
-- refused
SELECT u.id FROM users u JOIN users v ON u.secret = v.secret ORDER BY 1;
-- refused
SELECT u.id FROM users u JOIN users v ON u.pin = v.big ORDER BY 1;
-- refused
SELECT u.id FROM users u JOIN users v ON u.email = v.code ORDER BY 1;
-- refused
SELECT u.id FROM users u JOIN leads l ON l.email < u.email ORDER BY 1;
-- refused
SELECT u.id FROM users u JOIN leads l ON l.email = u.email || '' ORDER BY 1;
SELECT u.id, o.v FROM users u JOIN other o ON o.id = u.id WHERE u.email = 'cnry-ann@x' AND o.email = 'plain-ann@x' ORDER BY 1;
SELECT u.id, o.email, u.email FROM users u JOIN other o USING (id) ORDER BY 1;
SELECT id, (SELECT count(*) FROM leads l WHERE l.email = u.email) FROM users u ORDER BY id;
SELECT id, (SELECT email FROM leads l WHERE l.email = u.email) FROM users u ORDER BY id;
SELECT id, (SELECT max(l.id) FROM leads l WHERE l.email = u.email) FROM users u ORDER BY id;
SELECT id FROM users u WHERE EXISTS (SELECT 1 FROM leads l WHERE l.email = u.email) ORDER BY id;
SELECT id FROM users u WHERE NOT EXISTS (SELECT FROM leads l WHERE l.email = u.email) ORDER BY id;
SELECT id FROM users WHERE email IN (SELECT email FROM leads) ORDER BY id;
SELECT id FROM users WHERE email NOT IN (SELECT email FROM leads WHERE email IS NOT NULL) ORDER BY id;
SELECT id FROM users WHERE email NOT IN (SELECT email FROM leads) ORDER BY id;
SELECT id FROM users WHERE email = ANY (SELECT email FROM leads) ORDER BY id;
SELECT id FROM users WHERE email <> ALL (SELECT email FROM leads WHERE email IS NOT NULL) ORDER BY id;
SELECT id FROM users WHERE email = (SELECT email FROM leads WHERE id = 10) ORDER BY id;
SELECT id FROM users WHERE (SELECT email FROM leads WHERE id = 10) = email ORDER BY id;
SELECT id FROM users WHERE (email, pin) IN (SELECT email, pin FROM leads) ORDER BY id;
SELECT id FROM users WHERE (email, pin) = (SELECT email, pin FROM leads WHERE id = 10) ORDER BY id;
SELECT id FROM users WHERE 'cnry-zoe@x' IN (SELECT email FROM leads) ORDER BY id;
SELECT id FROM users WHERE id IN (SELECT id FROM users WHERE email = 'cnry-ann@x') ORDER BY id;
SELECT id FROM other WHERE id IN (SELECT id FROM users WHERE email = 'cnry-ann@x') ORDER BY id;
-- refused
SELECT id FROM other WHERE email IN (SELECT email FROM users) ORDER BY id;
-- refused
SELECT id FROM users WHERE email IN (SELECT email FROM other) ORDER BY id;
-- refused
SELECT id FROM users WHERE email IN (SELECT note FROM leads) ORDER BY id;
-- refused
SELECT id FROM users WHERE email IN (SELECT secret FROM users) ORDER BY id;
SELECT ARRAY(SELECT email FROM users ORDER BY id);
SELECT id FROM users WHERE email = ANY (ARRAY(SELECT email FROM leads)) ORDER BY id;
SELECT e FROM (SELECT email AS e, id FROM users) s WHERE e = 'cnry-ann@x' ORDER BY id;
SELECT e, count(*) FROM (SELECT pin AS e FROM users UNION ALL SELECT pin FROM leads) s GROUP BY e;
SELECT s.* FROM (SELECT * FROM users) s WHERE s.pin = 731000001 ORDER BY s.id;
SELECT s.a FROM (SELECT email, id FROM users) s (a, b) ORDER BY b;
SELECT s2.e FROM (SELECT s1.e, s1.id FROM (SELECT email AS e, id FROM users) s1) s2 WHERE s2.e IS NOT NULL ORDER BY s2.id;
SELECT s.e, l.id FROM (SELECT email AS e FROM users) s JOIN leads l ON l.email = s.e ORDER BY l.id;
SELECT count(*) FROM (SELECT DISTINCT email FROM users) s;
SELECT e FROM (SELECT email AS e, id FROM users ORDER BY id LIMIT 2) s ORDER BY id;
SELECT e FROM (SELECT DISTINCT ON (id) id, email AS e FROM users ORDER BY id) s ORDER BY id;
SELECT email FROM users UNION SELECT email FROM leads;
SELECT email FROM users UNION ALL SELECT email FROM leads;
SELECT email FROM users INTERSECT SELECT email FROM leads;
SELECT email FROM users EXCEPT SELECT email FROM leads;
SELECT email FROM users EXCEPT ALL SELECT email FROM leads;
SELECT email FROM users INTERSECT ALL SELECT email FROM leads;
SELECT email, pin FROM users UNION SELECT email, pin FROM leads;
SELECT email AS mail, 'u' AS t FROM users UNION ALL SELECT email, 'l' FROM leads;
(SELECT email FROM users ORDER BY id LIMIT 1) UNION ALL (SELECT email FROM leads ORDER BY id LIMIT 1);
SELECT email FROM users UNION ALL SELECT 'cnry-lit{n}';
SELECT email FROM users UNION ALL SELECT NULL;
SELECT email FROM users UNION ALL VALUES ('cnry-val{n}');
SELECT secret FROM users UNION ALL SELECT secret FROM users;
SELECT email FROM (SELECT email FROM users UNION SELECT email FROM leads) x WHERE email = 'cnry-zoe@x';
SELECT x.email, o.id FROM (SELECT email FROM users UNION SELECT email FROM leads) x JOIN orders o ON o.email = x.email ORDER BY o.id;
SELECT id FROM users UNION SELECT id FROM leads ORDER BY id;
SELECT id FROM users WHERE email = 'cnry-ann@x' UNION ALL SELECT id FROM leads WHERE email = 'cnry-zoe@x' ORDER BY id;
-- refused
SELECT email FROM users UNION SELECT email FROM other;
-- refused
SELECT email FROM users UNION ALL SELECT note FROM users;
-- refused
SELECT email FROM users UNION ALL SELECT secret FROM users;
-- refused
SELECT email FROM users UNION ALL SELECT email FROM s3.accounts;
-- refused
SELECT secret FROM users UNION SELECT secret FROM users;
-- refused
SELECT pin FROM users UNION SELECT n FROM users;
-- refused
SELECT pin FROM users UNION ALL SELECT big FROM users;
-- refused
SELECT email FROM users UNION SELECT email FROM leads ORDER BY email;
WITH x AS (SELECT email AS e, id FROM users) SELECT e FROM x WHERE e = 'cnry-ann@x' ORDER BY id;
WITH x (e) AS (SELECT email FROM users) SELECT l.id FROM leads l JOIN x ON x.e = l.email ORDER BY 1;
WITH x AS MATERIALIZED (SELECT * FROM users) SELECT email FROM x WHERE pin = 731000001 ORDER BY id;
WITH x AS NOT MATERIALIZED (SELECT * FROM users) SELECT email FROM x WHERE pin = 731000001 ORDER BY id;
WITH x AS (SELECT email FROM users), y AS (SELECT email FROM x) SELECT count(*) FROM y WHERE email = 'cnry-ann@x';
WITH users AS (SELECT 1 AS id, 'shadow' AS email) SELECT email FROM users;
WITH users AS (SELECT id, note AS email FROM public.users) SELECT email FROM users WHERE email = 'n1';
WITH RECURSIVE t (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM t WHERE i < 3) SELECT t.i, u.email FROM t JOIN users u ON u.id = t.i ORDER BY 1;
WITH RECURSIVE t AS (SELECT id, email FROM users WHERE id = 1 UNION ALL SELECT u.id, u.email FROM users u JOIN t ON u.id = t.id + 1) SELECT id, email FROM t ORDER BY id;
WITH RECURSIVE t AS (SELECT id, pin FROM users WHERE email = 'cnry-ann@x' UNION SELECT u.id, u.pin FROM users u JOIN t ON u.pin = t.pin) SELECT id, pin FROM t ORDER BY id;
WITH x AS (INSERT INTO leads VALUES (50, 'cnry-cte{n}', 1, NULL) RETURNING id, email) SELECT * FROM x;
WITH x AS (UPDATE users SET email = 'cnry-up{n}' WHERE id = 3 RETURNING id, email) SELECT * FROM x;
WITH x AS (DELETE FROM orders WHERE email = 'cnry-bob@x' RETURNING email, id) SELECT * FROM x;
WITH x AS (DELETE FROM leads RETURNING *) SELECT id FROM users WHERE email IN (SELECT email FROM x) ORDER BY id;
WITH x AS (DELETE FROM leads RETURNING *) INSERT INTO orders SELECT id, NULL, NULL, NULL, 1 FROM x RETURNING id;
WITH x AS (SELECT email FROM users WHERE id = 1) UPDATE leads SET note = 'found' FROM x WHERE leads.email <> x.email;
WITH x AS (SELECT email FROM users WHERE id = 1) DELETE FROM orders USING x WHERE orders.email = x.email RETURNING orders.id;
WITH a AS (INSERT INTO leads VALUES (60, 'cnry-a{n}', NULL, NULL)), b AS (UPDATE leads SET pin = 731000077 WHERE id = 10) SELECT 1;
-- refused
WITH x AS (SELECT email FROM users) SELECT lower(email) FROM x;
-- refused
WITH x AS (SELECT email || '' AS e FROM users) SELECT e FROM x;
-- refused
WITH x AS (DELETE FROM leads RETURNING *) INSERT INTO other SELECT id, email, NULL, NULL FROM x;
-- group views
CREATE VIEW v_mail AS SELECT id, email, pin FROM users;
SELECT * FROM v_mail ORDER BY id;
SELECT email FROM v_mail WHERE email = 'cnry-ann@x';
SELECT v.id, l.id FROM v_mail v JOIN leads l ON l.email = v.email ORDER BY 1, 2;
UPDATE v_mail SET email = 'cnry-view{n}' WHERE id = 1;
INSERT INTO v_mail VALUES (77, 'cnry-view{n}', 5);
DELETE FROM v_mail WHERE email = 'cnry-bob@x';
SELECT * FROM v_mail ORDER BY id;
DROP VIEW v_mail;
-- end
-- group view-of-view
CREATE VIEW v1 AS SELECT id, email AS mail FROM users WHERE pin IS NOT NULL;
CREATE VIEW v2 AS SELECT mail AS m, id FROM v1;
SELECT m FROM v2 WHERE m = 'cnry-ann@x';
SELECT m FROM v2 ORDER BY id;
DROP VIEW v1 CASCADE;
-- end
-- group view-with-constant
CREATE VIEW v_ann AS SELECT id, note FROM users WHERE email = 'cnry-ann@x';
SELECT * FROM v_ann ORDER BY id;
-- end
-- group view-join
CREATE VIEW v_join AS SELECT u.id, u.email, o.total FROM users u JOIN orders o ON o.email = u.email;
SELECT * FROM v_join WHERE email = 'cnry-ann@x' AND total = 9.99;
-- end
-- group view-columns
CREATE VIEW v_plain AS SELECT id, note FROM users;
SELECT * FROM v_plain ORDER BY id;
-- end
-- group view-replaced
CREATE OR REPLACE VIEW v_r AS SELECT id, note AS x FROM users;
CREATE OR REPLACE VIEW v_r AS SELECT id, note AS x, email FROM users;
SELECT email FROM v_r ORDER BY id;
SELECT lower(email) FROM v_r ORDER BY id;
-- end
-- group matview
CREATE MATERIALIZED VIEW m_mail AS SELECT id, email FROM users;
SELECT * FROM m_mail ORDER BY id;
REFRESH MATERIALIZED VIEW m_mail;
-- end
-- group view-expression
-- refused
CREATE VIEW v_bad AS SELECT lower(email) FROM users;
-- end
-- refused
SELECT email FROM other o RIGHT JOIN users u USING (email) ORDER BY u.id;
-- refused
SELECT email FROM users u FULL JOIN other o USING (email) ORDER BY u.id;
-- refused
SELECT email FROM other o LEFT JOIN users u USING (email) ORDER BY o.id;
