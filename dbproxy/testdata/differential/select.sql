--- SELECT in all its parts, by hand. What templates can say is generated.
-- cases
SELECT * FROM users ORDER BY id;
TABLE users ORDER BY id;
TABLE leads;
SELECT u.* FROM users AS u ORDER BY u.id;
SELECT users.*, users.email FROM users ORDER BY id;
SELECT public.users.email FROM public.users ORDER BY id;
SELECT email AS "E", pin AS "weird ""name""" FROM users ORDER BY id;
SELECT x.a, x.b FROM users AS x (a, b) ORDER BY a;
SELECT * FROM users AS x (k, mail) WHERE mail = 'cnry-ann@x' ORDER BY k;
SELECT DISTINCT pin FROM users;
SELECT DISTINCT ON (pin) pin, id FROM users ORDER BY id;
SELECT DISTINCT ON (id) id, email FROM users ORDER BY id;
SELECT DISTINCT email, pin, code FROM users;
SELECT ALL email FROM users ORDER BY id;
SELECT count(*), count(email), count(DISTINCT pin), count(secret) FROM users;
SELECT count(*) FILTER (WHERE email = 'cnry-ann@x') FROM users;
SELECT pin, count(*) FROM users GROUP BY pin;
SELECT pin, code, count(*) FROM users GROUP BY pin, code;
SELECT pin, count(*) FROM users GROUP BY 1;
SELECT pin AS p, count(*) FROM users GROUP BY p;
SELECT pin, count(*) FROM users GROUP BY pin HAVING count(*) > 1;
SELECT pin FROM users GROUP BY pin HAVING pin = 731000001;
SELECT pin, code, count(*) FROM users GROUP BY GROUPING SETS ((pin), (code), ());
SELECT pin, code, count(*) FROM users GROUP BY ROLLUP (pin, code);
SELECT pin, code, count(*) FROM users GROUP BY CUBE (pin, code);
SELECT pin, grouping(pin), count(*) FROM users GROUP BY ROLLUP (pin);
SELECT note, max(n) FROM users WHERE email IS NOT NULL GROUP BY note ORDER BY note NULLS FIRST;
SELECT id, row_number() OVER (PARTITION BY pin ORDER BY id) FROM users ORDER BY id;
SELECT id, email, count(*) OVER (PARTITION BY pin) FROM users ORDER BY id;
SELECT id, count(email) OVER () FROM users ORDER BY id;
SELECT id, sum(n) OVER w FROM users WINDOW w AS (PARTITION BY code ORDER BY id ROWS UNBOUNDED PRECEDING) ORDER BY id;
SELECT id, lag(email) OVER (ORDER BY id) FROM users ORDER BY id;
SELECT id, first_value(pin) OVER (PARTITION BY code ORDER BY id) FROM users ORDER BY id;
-- refused
SELECT id, rank() OVER (ORDER BY email) FROM users ORDER BY id;
-- refused
SELECT id FROM users ORDER BY email;
-- refused
SELECT email FROM users ORDER BY 1;
-- refused
SELECT email FROM users ORDER BY users.email DESC NULLS LAST;
SELECT id, email FROM users ORDER BY id DESC LIMIT 2 OFFSET 1;
SELECT id, email FROM users ORDER BY id FETCH FIRST 2 ROWS ONLY;
SELECT id, email FROM users ORDER BY n NULLS LAST, id FETCH FIRST 1 ROW WITH TIES;
SELECT id, email FROM users ORDER BY id LIMIT ALL;
-- params 2
SELECT id, email FROM users ORDER BY id LIMIT $1;
SELECT email FROM users WHERE id = 1 FOR UPDATE;
SELECT email FROM users WHERE email = 'cnry-ann@x' FOR SHARE OF users SKIP LOCKED;
SELECT email FROM users u WHERE id = 1 FOR NO KEY UPDATE OF u NOWAIT;
SELECT id FROM users WHERE email = 'cnry-ann@x' OR email = 'cnry-bob@x' AND pin = 731000002 ORDER BY id;
SELECT id FROM users WHERE NOT email = 'cnry-ann@x' ORDER BY id;
SELECT id FROM users WHERE (email = 'cnry-ann@x') IS TRUE ORDER BY id;
SELECT id FROM users WHERE (email = 'cnry-ann@x') IS NOT TRUE ORDER BY id;
SELECT id FROM users WHERE (email = 'cnry-ann@x') IS UNKNOWN ORDER BY id;
SELECT id, email = 'cnry-ann@x' AS same FROM users ORDER BY id;
SELECT id, email IS NULL, pin IS NOT NULL, secret IS NULL FROM users ORDER BY id;
SELECT id, email ISNULL, secret NOTNULL FROM users ORDER BY id;
SELECT id FROM users WHERE (email, pin) = ('cnry-ann@x', 731000001) ORDER BY id;
SELECT id FROM users WHERE (email, pin) <> ('cnry-ann@x', 731000001) ORDER BY id;
SELECT id FROM users WHERE (email, pin) IN (('cnry-ann@x', 731000001), ('cnry-bob@x', 731000002)) ORDER BY id;
SELECT id FROM users WHERE (email, id) IS NOT DISTINCT FROM ('cnry-ann@x', 1) ORDER BY id;
SELECT id FROM users WHERE ROW (email, n) = ROW ('cnry-ann@x', 10) ORDER BY id;
SELECT id FROM users WHERE (id, email) IS NULL ORDER BY id;
-- refused
SELECT id FROM users WHERE (email, pin) < ('cnry-ann@x', 731000001) ORDER BY id;
SELECT id FROM users WHERE email = 'cnry-nobody' ORDER BY id;
SELECT id FROM users WHERE 'cnry-ann@x' = email ORDER BY id;
SELECT id FROM users WHERE email <> 'cnry-ann@x' ORDER BY id;
SELECT id FROM users WHERE email != 'cnry-ann@x' ORDER BY id;
SELECT id FROM users WHERE email = NULL ORDER BY id;
SELECT id FROM users WHERE email IN (NULL, 'cnry-ann@x') ORDER BY id;
SELECT id FROM users WHERE email NOT IN ('cnry-ann@x', NULL) ORDER BY id;
SELECT id FROM users WHERE email = ANY ('{cnry-ann@x,"cnry-bob@x",NULL}') ORDER BY id;
SELECT id FROM users WHERE email <> ALL ('{cnry-ann@x,cnry-bob@x}') ORDER BY id;
SELECT id FROM users WHERE email = ANY ('{}') ORDER BY id;
SELECT id FROM users WHERE email = ANY (ARRAY['cnry-ann@x', 'cnry-bob@x']) ORDER BY id;
SELECT id FROM users WHERE email = ANY (ARRAY['cnry-ann@x'::text, NULL]) ORDER BY id;
SELECT id FROM users WHERE email = ANY (ARRAY['cnry-ann@x']::text[]) ORDER BY id;
SELECT id FROM users WHERE email = ANY ('{cnry-ann@x}'::text[]) ORDER BY id;
SELECT id FROM users WHERE email <> ALL ('{\NULL,cnry-ann@x}') ORDER BY id;
SELECT id FROM users WHERE email <> ALL ('{NULL,cnry-ann@x}') ORDER BY id;
SELECT id FROM users WHERE email = ANY ('{cnry-ann@x') ORDER BY id;
SELECT id FROM users WHERE email = ANY ('{{cnry-ann@x},{cnry-bob@x}}') ORDER BY id;
SELECT id FROM users WHERE email = ANY ('[2:3]={cnry-ann@x,cnry-bob@x}') ORDER BY id;
SELECT id FROM users WHERE email = ANY ('{cnry-ann@x,}') ORDER BY id;
SELECT id FROM users WHERE pin = ANY ('{731000001, 731000002}') ORDER BY id;
SELECT id FROM users WHERE pin = ANY ('{731000001,x}') ORDER BY id;
SELECT id FROM users WHERE pin = ANY (ARRAY[731000001, 731000002]) ORDER BY id;
SELECT id FROM users WHERE pin <> ALL (ARRAY[731000001]) ORDER BY id;
-- params {cnry-ann@x,cnry-bob@x}
SELECT id FROM users WHERE email = ANY ($1) ORDER BY id;
-- params {cnry-ann@x,NULL}
SELECT id FROM users WHERE email <> ALL ($1) ORDER BY id;
-- params {731000001,731000003}
SELECT id FROM users WHERE pin = ANY ($1) ORDER BY id;
-- params {731000001}
SELECT id FROM users WHERE pin = ANY ($1::int[]) ORDER BY id;
-- params {}
SELECT id FROM users WHERE pin = ANY ($1) ORDER BY id;
-- params \N
SELECT id FROM users WHERE pin = ANY ($1) ORDER BY id;
-- params {{731000001}}
SELECT id FROM users WHERE pin = ANY ($1) ORDER BY id;
-- params {2001-02-03}
SELECT id FROM users WHERE born = ANY ($1) ORDER BY id;
-- params {1.01,2}
SELECT id FROM users WHERE price = ANY ($1) ORDER BY id;
-- params {ca9a71e0-0000-4000-8000-000000000001}
SELECT id FROM users WHERE uid = ANY ($1) ORDER BY id;
-- params cnry-ann@x | 731000001
SELECT id, email FROM users WHERE email = $1 AND pin = $2 ORDER BY id;
-- params cnry-ann@x
SELECT id FROM users WHERE email = $1 OR email = $1 ORDER BY id;
-- params cnry-ann@x
SELECT u.id, l.id FROM users u, leads l WHERE u.email = $1 AND l.email <> $1 ORDER BY 1, 2;
-- params 1 | cnry-ann@x
SELECT id FROM users WHERE id = $1 AND email = $2 ORDER BY id;
-- params cnry-ann@x
SELECT id FROM users WHERE email = $1::text ORDER BY id;
-- params cnry-ann@x
SELECT id FROM users WHERE email = CAST($1 AS varchar) ORDER BY id;
-- params \N
SELECT id FROM users WHERE email = $1 ORDER BY id;
-- params \N
SELECT id FROM users WHERE email IS NOT DISTINCT FROM $1 ORDER BY id;
-- params cnry-ann@x
SELECT id, $1 FROM users WHERE email = $1 ORDER BY id;
-- params 5
SELECT id FROM users WHERE pin = $2 ORDER BY id;
-- params abc
SELECT id FROM users WHERE pin = $1 ORDER BY id;
-- params cnry-ann@x | extra
SELECT id FROM users WHERE email = $1 ORDER BY id;
SELECT id FROM users WHERE email = $1 ORDER BY id;
SELECT id FROM users WHERE email IN ('cnry-ann@x') AND id IN (SELECT id FROM users WHERE pin = 731000001) ORDER BY id;
SELECT nothing FROM users;
SELECT email FROM nowhere;
SELECT email, nothing FROM users u WHERE u.email = 'cnry-ann@x';
SELECT u.nothing FROM users u WHERE u.email = 'cnry-é' AND 1 = 1;
SELECT x.email FROM users u;
SELECT email FROM users u, leads l;
SELECT FROM users WHERE email = 'cnry-ann@x';
SELECT;
SELECT 1;
SELECT email FROM users WHERE;
SELECT email FROM users WHERE email = 'cnry-ann@x' AND note = 5;
SELECT email FROM users WHERE email = 'cnry-é' AND nofunction(1);
SELECT 1/0 FROM users WHERE email = 'cnry-ann@x';
SELECT email FROM users WHERE id = 1 AND 1/0 = 1;
SELECT 1 AS one UNION SELECT 2 ORDER BY 1;
VALUES (1, 'a'), (2, 'b');
SELECT * FROM (VALUES (1, 'plain'), (2, NULL)) v (a, b) ORDER BY a;
SELECT id FROM users JOIN (VALUES (1), (2)) v (a) ON v.a = users.id ORDER BY id;
SELECT users.id FROM users JOIN (VALUES ('cnry-ann@x'), ('cnry-bob@x')) v (e) ON v.e = users.email ORDER BY 1;
SELECT id FROM users WHERE email IN (VALUES ('cnry-ann@x'), ('cnry-zoe@x')) ORDER BY id;
SELECT id FROM users WHERE pin = 731000000 + 1 ORDER BY id;
-- refused
SELECT id FROM users WHERE pin = n ORDER BY id;
-- refused
SELECT id FROM users WHERE email = note ORDER BY id;
-- refused
SELECT id FROM users WHERE email = pin::text ORDER BY id;
-- refused
SELECT pin + 1 FROM users ORDER BY id;
-- refused
SELECT email || 'x' FROM users ORDER BY id;
-- refused
SELECT lower(email) FROM users ORDER BY id;
-- refused
SELECT length(email) FROM users ORDER BY id;
-- refused
SELECT sum(pin), avg(big) FROM users;
-- refused
SELECT string_agg(email, ',') FROM users;
-- refused
SELECT id FROM users WHERE email LIKE 'cnry%' ORDER BY id;
-- refused
SELECT id FROM users WHERE email ILIKE 'cnry-ann@x' ORDER BY id;
-- refused
SELECT id FROM users WHERE email SIMILAR TO 'cnry-ann@x' ORDER BY id;
-- refused
SELECT id FROM users WHERE email ~ 'ann' ORDER BY id;
-- refused
SELECT id FROM users WHERE email || 'x' = 'cnry-ann@xx' ORDER BY id;
-- refused
SELECT id FROM users WHERE doc ->> 'k' = 'cnry1' ORDER BY id;
-- refused
SELECT doc -> 'a' FROM users ORDER BY id;
-- refused
SELECT id FROM users WHERE doc @> '{"k": "cnry1"}' ORDER BY id;
-- refused
SELECT id FROM users WHERE doc = '[]' ORDER BY id;
-- refused
SELECT extract(year FROM born) FROM users ORDER BY id;
-- refused
SELECT born + 1 FROM users ORDER BY id;
-- refused
SELECT seen AT TIME ZONE 'UTC' FROM users ORDER BY id;
SELECT id FROM users WHERE ok ORDER BY id;
SELECT id FROM users WHERE NOT ok ORDER BY id;
SELECT id FROM users WHERE ok IS TRUE ORDER BY id;
SELECT id FROM users WHERE ok = true ORDER BY id;
SELECT id FROM users WHERE ok = 't' ORDER BY id;
SELECT id FROM users WHERE ok <> false ORDER BY id;
-- refused
SELECT id FROM users WHERE secret = 'cnry-secret1' ORDER BY id;
-- refused
SELECT id FROM users WHERE secret IN ('cnry-secret1') ORDER BY id;
-- refused
SELECT DISTINCT secret FROM users;
-- refused
SELECT count(DISTINCT secret) FROM users;
-- refused
SELECT secret FROM users GROUP BY secret;
-- refused
SELECT email::bytea FROM users ORDER BY id;
-- refused
SELECT ctid, email, encode(email, 'hex') FROM users ORDER BY id;
-- refused
SELECT pg_typeof(email) FROM users;
-- refused
SELECT pg_column_size(email) FROM users;
-- refused
SELECT hashtext(email) FROM users;
-- refused
SELECT md5(email) FROM users;
-- refused
SELECT row_to_json(u) FROM users u;
-- refused
SELECT to_jsonb(users) FROM users;
-- refused
SELECT u FROM users u;
-- refused
SELECT (u).email FROM users u;
-- refused
SELECT u.*::text FROM users u;
-- refused
SELECT json_agg(u) FROM users u;
-- refused
SELECT row(email, id) FROM users;
SELECT ARRAY[email] FROM users;
SELECT array_agg(email) FROM users;
SELECT email COLLATE "C" FROM users ORDER BY id;
-- refused
SELECT id FROM users WHERE email = 'cnry-ann@x' COLLATE "en-x-icu" ORDER BY id;
SELECT unnest(ARRAY[email]) FROM users;
-- refused
SELECT format('%s', email) FROM users;
-- refused
SELECT generate_series(1, pin) FROM users;
-- refused
SELECT greatest(pin, 1) FROM users;
-- refused
SELECT xmlelement(name e, email) FROM users;
-- refused
SELECT min(email) FROM users;
-- refused
SELECT mode() WITHIN GROUP (ORDER BY email) FROM users;
SELECT 'x' IS NULL FROM leads WHERE email = 'cnry-bob@x' AND false;
SELECT "email", "users"."pin" FROM "public"."users" WHERE "email" = 'cnry-ann@x';
SELECT EMAIL, Users.PIN FROM PUBLIC.USERS WHERE Email = 'cnry-ann@x';
SELECT "Email" FROM users;
SELECT email FROM "Users";
SELECT/**/email/* comment 'quote */FROM/* nested /* x */ */users/**/WHERE/**/email='cnry-ann@x'--trailing;
SELECT email
-- a comment within, with 'quotes and ; semicolons
FROM users
WHERE email = -- here
'cnry-ann@x';
SELECT id FROM users WHERE email = 'cnry-'
'ann@x';
SELECT id FROM users WHERE email = 'cnry-' 'ann@x';
SELECT id, email FROM users TABLESAMPLE SYSTEM (100) ORDER BY id;
SELECT id FROM ONLY users WHERE email = 'cnry-ann@x';
SELECT id FROM users * WHERE email = 'cnry-ann@x';
SELECT tableoid::regclass::text, email FROM users ORDER BY id;
SELECT xmin IS NULL, email FROM users ORDER BY id;
SELECT 'a'::text, email, NULL, 1.5 FROM users ORDER BY id;
SELECT email, email, pin, email FROM users ORDER BY id;
SELECT email "email", ssn ssn, (email) FROM users ORDER BY id;
SELECT ((email)) FROM users WHERE ((email)) = (('cnry-ann@x')) ORDER BY id;
SELECT id FROM users WHERE EXISTS (SELECT 1) AND email IS NOT NULL ORDER BY id;
SELECT current_schema(), email FROM users ORDER BY id;
SELECT now() IS NOT NULL, email FROM users ORDER BY id;
SELECT count(*) FROM users u1, users u2, users u3 WHERE u1.email = u2.email AND u2.email = u3.email;
SELECT 1 FROM users WHERE email = E'cnry-\u0061nn@x' LIMIT 1;
SELECT id, CASE WHEN email = 'cnry-ann@x' THEN 'yes' ELSE 'no' END FROM users ORDER BY id;
SELECT id, CASE WHEN email IS NULL THEN 0 WHEN pin = 731000001 THEN 1 ELSE 2 END FROM users ORDER BY id;
SELECT id, CASE WHEN id = 1 THEN email ELSE email END FROM users ORDER BY id;
SELECT id, CASE WHEN id = 1 THEN email END FROM users ORDER BY id;
SELECT id, CASE id WHEN 1 THEN email ELSE 'cnry-other' END FROM users ORDER BY id;
SELECT id, CASE email WHEN 'cnry-ann@x' THEN 1 ELSE 2 END FROM users ORDER BY id;
SELECT id, CASE WHEN id = 1 THEN email ELSE NULL END AS e FROM users ORDER BY id;
SELECT id, COALESCE(email, 'cnry-none') FROM users ORDER BY id;
SELECT id, COALESCE(email, NULL) FROM users ORDER BY id;
SELECT id, COALESCE(pin, 731000042) FROM users ORDER BY id;
-- params cnry-none
SELECT id, COALESCE(email, $1) FROM users ORDER BY id;
SELECT u.id, COALESCE(u.email, l.email) FROM users u LEFT JOIN leads l ON l.pin = u.pin ORDER BY u.id, l.id;
SELECT id FROM users WHERE COALESCE(email, 'cnry-none') = 'cnry-none' ORDER BY id;
SELECT id, NULLIF(email, 'cnry-ann@x') FROM users ORDER BY id;
-- refused
SELECT id, COALESCE(email, note) FROM users ORDER BY id;
-- refused
SELECT id, CASE WHEN id = 1 THEN email ELSE note END FROM users ORDER BY id;
-- refused
SELECT id, COALESCE(email, pin::text) FROM users ORDER BY id;
-- refused
SELECT id, COALESCE(email, secret) FROM users ORDER BY id;
