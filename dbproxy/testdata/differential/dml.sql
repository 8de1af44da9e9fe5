--- INSERT, UPDATE, DELETE, MERGE, constraints.
-- cases
INSERT INTO users (id, email) VALUES (20, 'cnry-i{n}');
INSERT INTO users (id, email) VALUES (20, 'cnry-i{n}') RETURNING *;
INSERT INTO users (id, email) VALUES (20, 'cnry-i{n}') RETURNING email, id, pin;
INSERT INTO users AS u (id, email) VALUES (20, 'cnry-i{n}') RETURNING u.email AS mail;
INSERT INTO users VALUES (20, 'cnry-i{n}');
INSERT INTO users VALUES (20, 'cnry-i{n}', 'cnry', 731000020, 'x', 5, '2020-01-01', '2020-01-01 00:00:00+00', 'ca9a71e0-0000-4000-8000-000000000020', false, '\xff', 7, '{"cnry":1}', 's', 'n', 1);
INSERT INTO users VALUES (20, 'cnry-i{n}'), (21, 'cnry-j{n}'), (22, NULL);
INSERT INTO users (email, id) VALUES ('cnry-i{n}', 20), (DEFAULT, 21);
INSERT INTO users (id, email, pin) VALUES (20, NULL, NULL) RETURNING email, pin;
INSERT INTO users (id) VALUES (20) RETURNING *;
INSERT INTO users DEFAULT VALUES;
INSERT INTO leads DEFAULT VALUES;
INSERT INTO users (id, email, n) VALUES (20, 'cnry-i{n}', 1 + 2) RETURNING n;
INSERT INTO users (id, email, note) VALUES (20, 'cnry-i{n}', (SELECT note FROM users WHERE email = 'cnry-ann@x')) RETURNING note;
INSERT INTO users (id, email) VALUES (1, 'cnry-i{n}');
INSERT INTO users (id, email) VALUES (20, 'cnry-ann@x');
INSERT INTO users (id, email) VALUES (20, 'cnry-d{n}'), (21, 'cnry-d{n}');
INSERT INTO users (id, email) VALUES (NULL, 'cnry-i{n}');
INSERT INTO users (id, email) VALUES (20, 'cnry-i{n}') ON CONFLICT DO NOTHING;
INSERT INTO users (id, email) VALUES (1, 'cnry-i{n}') ON CONFLICT DO NOTHING;
INSERT INTO users (id, email) VALUES (20, 'cnry-ann@x') ON CONFLICT (email) DO NOTHING;
INSERT INTO users (id, email) VALUES (20, 'cnry-ann@x') ON CONFLICT (email) DO UPDATE SET note = 'again' RETURNING id, email, note;
INSERT INTO users (id, email) VALUES (20, 'cnry-ann@x') ON CONFLICT (email) DO UPDATE SET pin = 731000055 RETURNING id, pin;
INSERT INTO users (id, email, pin) VALUES (20, 'cnry-ann@x', 731000056) ON CONFLICT (email) DO UPDATE SET pin = EXCLUDED.pin RETURNING id, pin;
INSERT INTO users (id, email, pin) VALUES (1, 'cnry-ex{n}', 731000056) ON CONFLICT (id) DO UPDATE SET email = EXCLUDED.email, pin = excluded.pin RETURNING *;
INSERT INTO users (id, email, pin) VALUES (1, 'cnry-ex{n}', 731000056) ON CONFLICT (id) DO UPDATE SET (email, pin) = (EXCLUDED.email, EXCLUDED.pin) RETURNING email, pin;
INSERT INTO users (id, email, secret) VALUES (1, 'cnry-ex{n}', 'cnry-x') ON CONFLICT (id) DO UPDATE SET secret = EXCLUDED.secret RETURNING secret;
INSERT INTO users (id, email) VALUES (1, 'cnry-ex{n}') ON CONFLICT (id) DO UPDATE SET email = 'cnry-set{n}' WHERE users.email = 'cnry-ann@x' RETURNING email;
INSERT INTO users (id, email) VALUES (1, 'cnry-ex{n}') ON CONFLICT (id) DO UPDATE SET email = EXCLUDED.email WHERE users.email <> EXCLUDED.email RETURNING email;
INSERT INTO users (id, email) VALUES (1, 'cnry-ex{n}') ON CONFLICT (id) DO UPDATE SET email = users.email RETURNING email;
INSERT INTO users (id, email) VALUES (1, 'cnry-ex{n}') ON CONFLICT ON CONSTRAINT users_pkey DO UPDATE SET email = EXCLUDED.email RETURNING email;
INSERT INTO users (id, email) VALUES (1, 'cnry-ex{n}') ON CONFLICT (id) DO UPDATE SET email = DEFAULT RETURNING email;
INSERT INTO users AS u (id, email, n) VALUES (1, 'cnry-ex{n}', 1) ON CONFLICT (id) DO UPDATE SET n = u.n + EXCLUDED.n RETURNING u.n;
INSERT INTO users (id, email) VALUES (1, 'cnry-ex{n}') ON CONFLICT (id) DO UPDATE SET email = COALESCE(EXCLUDED.email, users.email) RETURNING email;
-- refused
INSERT INTO users (id, email, ssn) VALUES (1, 'cnry-ex{n}', 'x') ON CONFLICT (id) DO UPDATE SET ssn = EXCLUDED.email;
-- refused
INSERT INTO users (id, email) VALUES (1, 'cnry-ex{n}') ON CONFLICT (id) DO UPDATE SET note = EXCLUDED.email;
-- refused
INSERT INTO users (id, email) VALUES (1, 'cnry-ex{n}') ON CONFLICT (id) DO UPDATE SET email = 'p' || EXCLUDED.email;
-- refused
INSERT INTO users (id, email) VALUES (20, lower('CNRY'));
-- refused
INSERT INTO users (id, email) VALUES (20, 'a' || 'b');
-- refused
INSERT INTO users (id, email) VALUES (20, current_user);
-- refused
INSERT INTO users (id, pin) VALUES (20, 1 + nextval('nosequence'));
-- refused
INSERT INTO users (id, born) VALUES (20, now());
-- refused
INSERT INTO users (id, email) VALUES (20, (SELECT note FROM other LIMIT 1));
INSERT INTO users (id, email) VALUES (20, (SELECT email FROM leads WHERE id = 12)) RETURNING email;
INSERT INTO users (id, email) SELECT id + 100, email FROM leads WHERE email = 'cnry-zoe@x' RETURNING id, email;
INSERT INTO leads (id, email, pin) SELECT id + 100, email, pin FROM users RETURNING *;
INSERT INTO leads SELECT id + 100, email, pin, note FROM users;
INSERT INTO leads SELECT id + 100, 'cnry-lit{n}', 731000001, note FROM users RETURNING email;
INSERT INTO leads (id, note) SELECT id + 100, note FROM users WHERE email = 'cnry-ann@x' RETURNING id;
INSERT INTO leads (id, email) SELECT 200, 'cnry-sel{n}' RETURNING email;
INSERT INTO leads (id, email) SELECT 200, NULL RETURNING email;
INSERT INTO leads (id, email) SELECT DISTINCT ON (email) id + 200, email FROM users ORDER BY email;
INSERT INTO leads (id, email) (SELECT id + 200, email FROM users) UNION ALL (SELECT id + 300, email FROM orders);
INSERT INTO leads (id, email) WITH x AS (SELECT id, email FROM users) SELECT id + 200, email FROM x;
INSERT INTO leads (id, email) TABLE v_none;
INSERT INTO orders SELECT id + 500, email, price, secret, 1 FROM users;
INSERT INTO orders (id, secret) SELECT id + 500, secret FROM orders RETURNING secret;
INSERT INTO other (id, v) SELECT id + 50, note FROM users WHERE pin = 731000001 RETURNING id;
-- refused
INSERT INTO other (id, email) SELECT id + 50, email FROM users;
-- refused
INSERT INTO other (id, pin) VALUES (50, (SELECT pin FROM users WHERE id = 1));
-- refused
INSERT INTO users (id, email) SELECT id + 50, email FROM other;
-- refused
INSERT INTO users (id, email) SELECT id + 50, secret FROM users;
-- refused
INSERT INTO users (id, secret) SELECT id + 50, email FROM users;
-- refused
INSERT INTO orders (id, secret) SELECT id + 50, secret FROM users;
-- refused
INSERT INTO leads (id, email) SELECT id + 50, email || '' FROM users;
-- refused
INSERT INTO s3.accounts (id, email) SELECT id + 50, email FROM users;
INSERT INTO s2.accounts (id, email) SELECT id + 50, email FROM users RETURNING email;
INSERT INTO s2.accounts VALUES (9, 'cnry-acc{n}') RETURNING *;
INSERT INTO s3.accounts VALUES (9, 'cnry-acc{n}') RETURNING *;
INSERT INTO public.accounts VALUES (9, 'plain') RETURNING *;
INSERT INTO accounts VALUES (9, 'plain') RETURNING *;
INSERT INTO s2.users VALUES (9, 'plain') RETURNING *;
INSERT INTO "Odd Name" ("E mail", id) VALUES ('cnry-odd{n}', 9) RETURNING *;
INSERT INTO "Odd Name" VALUES (9, 'cnry-odd{n}', 'x') RETURNING "E mail", "Plain; 'col";
INSERT INTO "public"."Odd Name" AS "o "" n" VALUES (9, 'cnry-odd{n}') RETURNING "o "" n"."E mail";
INSERT INTO parts VALUES (9, 'cnry-part{n}') RETURNING *;
INSERT INTO parts VALUES (150, 'cnry-part{n}'), (99, NULL);
INSERT INTO parts VALUES (999, 'cnry-part{n}');
INSERT INTO parts_1 VALUES (9, 'cnry-part{n}');
SELECT * FROM parts_1;
SELECT * FROM parts ORDER BY id;
SELECT id FROM parts WHERE email = 'cnry-ann@x' ORDER BY id;
UPDATE parts SET email = 'cnry-pu{n}' WHERE id = 1 RETURNING *;
UPDATE parts SET id = 160 WHERE email = 'cnry-bob@x' RETURNING *;
DELETE FROM parts WHERE email = 'cnry-ann@x' RETURNING id;
INSERT INTO users (id, ssn) VALUES (20, 'cnry-012345678');
INSERT INTO users (id, ssn) VALUES (20, 'cnry       ') RETURNING ssn;
INSERT INTO users (id, ssn) VALUES (20, 'cnry                 ') RETURNING ssn;
INSERT INTO users (id, code) VALUES (20, 'abcde');
INSERT INTO users (id, code) VALUES (20, 'abcde'::varchar(4)) RETURNING code;
INSERT INTO users (id, pin) VALUES (20, 731000001000);
INSERT INTO users (id, pin) VALUES (20, 'notanumber');
INSERT INTO users (id, pin) VALUES (20, 1.5) RETURNING pin;
INSERT INTO users (id, pin) VALUES (20, 2.5) RETURNING pin;
INSERT INTO users (id, pin) VALUES (20, '1.5') RETURNING pin;
INSERT INTO users (id, pin) VALUES (20, -731000001) RETURNING pin;
INSERT INTO users (id, pin) VALUES (20, - 731000001) RETURNING pin;
INSERT INTO users (id, pin) VALUES (20, +731000001) RETURNING pin;
INSERT INTO users (id, pin) VALUES (20, -2147483648) RETURNING pin;
INSERT INTO users (id, pin) VALUES (20, 1e3) RETURNING pin;
INSERT INTO users (id, pin) VALUES (20, true);
INSERT INTO users (id, big) VALUES (20, 9223372036854775807) RETURNING big;
INSERT INTO users (id, big) VALUES (20, -9223372036854775808) RETURNING big;
INSERT INTO users (id, big) VALUES (20, 9223372036854775808) RETURNING big;
INSERT INTO users (id, price) VALUES (20, 1.005) RETURNING price;
INSERT INTO users (id, price) VALUES (20, 999999.994) RETURNING price;
INSERT INTO users (id, price) VALUES (20, 999999.995) RETURNING price;
INSERT INTO users (id, price) VALUES (20, 'NaN') RETURNING price;
INSERT INTO users (id, price) VALUES (20, 'Infinity') RETURNING price;
INSERT INTO users (id, price) VALUES (20, '1e-3') RETURNING price;
INSERT INTO users (id, price) VALUES (20, 5) RETURNING price;
INSERT INTO users (id, price) VALUES (20, -0.0) RETURNING price;
INSERT INTO users (id, ok) VALUES (20, 'yes'), (21, 'off'), (22, '1'), (23, true), (24, FALSE) RETURNING ok;
INSERT INTO users (id, ok) VALUES (20, 1);
INSERT INTO users (id, ok) VALUES (20, 'maybe');
INSERT INTO users (id, born) VALUES (20, '2020-02-30');
INSERT INTO users (id, born) VALUES (20, 'January 8, 1999') RETURNING born;
INSERT INTO users (id, born) VALUES (20, '1/8/1999') RETURNING born;
INSERT INTO users (id, born) VALUES (20, 'today') RETURNING born = current_date;
INSERT INTO users (id, born) VALUES (20, '2020-01-01 23:59:59') RETURNING born;
INSERT INTO users (id, born) VALUES (20, DATE '2020-01-01') RETURNING born;
INSERT INTO users (id, born) VALUES (20, '-infinity') RETURNING born;
INSERT INTO users (id, born) VALUES (20, '0044-03-15 BC') RETURNING born;
INSERT INTO users (id, seen) VALUES (20, '2020-01-01 12:00:00') RETURNING seen;
INSERT INTO users (id, seen) VALUES (20, '2020-07-01 12:00:00 Europe/Paris') RETURNING seen;
INSERT INTO users (id, seen) VALUES (20, TIMESTAMPTZ '2020-01-01 12:00:00+05') RETURNING seen;
INSERT INTO users (id, seen) VALUES (20, '2020-01-01 12:00:00'::timestamp) RETURNING seen;
INSERT INTO users (id, seen) VALUES (20, '2020-01-01'::date) RETURNING seen;
INSERT INTO users (id, seen) VALUES (20, '2020-03-08 02:30:00') RETURNING seen;
INSERT INTO users (id, seen) VALUES (20, '2020-11-01 01:30:00') RETURNING seen;
INSERT INTO users (id, uid) VALUES (20, 'CA9A71E0-0000-4000-8000-0000000000AA') RETURNING uid;
INSERT INTO users (id, uid) VALUES (20, '{ca9a71e0000040008000-0000000000aa}') RETURNING uid;
INSERT INTO users (id, uid) VALUES (20, 'not-a-uuid');
INSERT INTO users (id, blob) VALUES (20, '\xCAFE'), (21, 'abc\\\001'), (22, ''), (23, E'\\xff') RETURNING blob;
INSERT INTO users (id, blob) VALUES (20, '\xabc');
INSERT INTO users (id, doc) VALUES (20, '{"b": 1, "a": 2, "b": 3}') RETURNING doc;
INSERT INTO users (id, doc) VALUES (20, '{bad');
INSERT INTO users (id, doc) VALUES (20, '{"n": 1.0e2}'::jsonb) RETURNING doc;
INSERT INTO users (id, doc) VALUES (20, '{"b":  1,   "a": 2}'::json) RETURNING doc;
INSERT INTO users (id, nothing) VALUES (20, 'x');
INSERT INTO users (id, email, email) VALUES (20, 'cnry-x{n}', 'cnry-y{n}');
INSERT INTO users (id, email) VALUES (20);
INSERT INTO users (id) VALUES (20, 'cnry-x{n}');
INSERT INTO users VALUES (20, 'cnry-x{n}'), (21);
INSERT INTO users VALUES (1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17);
INSERT INTO nowhere VALUES (1, 'x');
INSERT INTO users (id, email) OVERRIDING SYSTEM VALUE VALUES (20, 'cnry-x{n}') RETURNING email;
INSERT INTO users (id, email) VALUES (20, E'cnry-\x41\102\u00e9\'\\n\n') RETURNING email;
INSERT INTO users (id, email) VALUES (20, U&'cnry-\00e9\+01F600') RETURNING email;
INSERT INTO users (id, email) VALUES (20, U&'cnry-!00e9' UESCAPE '!') RETURNING email;
INSERT INTO users (id, email) VALUES (20, $$cnry-'dollar'$$) RETURNING email;
INSERT INTO users (id, email) VALUES (20, $q$cnry-$$q$$$q$) RETURNING email;
INSERT INTO users (id, email) VALUES (20, 'cnry-it''s') RETURNING email;
INSERT INTO users (id, email) VALUES (20, 'cnry-back\slash\\') RETURNING email;
INSERT INTO users (id, email) VALUES (20, 'cnry-a'
'b') RETURNING email;
INSERT INTO users (id, email) VALUES (20, N'cnry-national') RETURNING email;
INSERT INTO users (id, email) VALUES (20, B'1010') RETURNING email;
INSERT INTO users (id, email) VALUES (20, X'1F') RETURNING email;
INSERT INTO users (id, email) VALUES (20, 42) RETURNING email;
INSERT INTO users (id, email) VALUES (20, true) RETURNING email;
INSERT INTO users (id, email) VALUES (20, '42'::int);
INSERT INTO users (id, email) VALUES (20, 'cnry-c'::varchar(5)) RETURNING email;
INSERT INTO users (id, email) VALUES (20, 'cnry-c  '::char(8)) RETURNING email;
INSERT INTO users (id, email) VALUES (20, 'cnry-c'::name) RETURNING email;
INSERT INTO users (id, email) VALUES (20, CAST('cnry-c' AS text)) RETURNING email;
INSERT INTO users (id, email) VALUES (20, text 'cnry-c') RETURNING email;
INSERT INTO users (id, email) VALUES (20, ('cnry-c')) RETURNING email;
INSERT INTO users (id, email) VALUES (20, ('cnry-c'::text)::text) RETURNING email;
INSERT INTO users (id, email) VALUES (20, 'cnry-c' COLLATE "C") RETURNING email;
INSERT INTO users (id, email) VALUES (20, NULL::text) RETURNING email;
INSERT INTO users (id, pin) VALUES (20, '731000001'::int) RETURNING pin;
INSERT INTO users (id, pin) VALUES (20, '731000001'::int8) RETURNING pin;
INSERT INTO users (id, pin) VALUES (20, 731000001::text::int) RETURNING pin;
INSERT INTO users (id, pin) VALUES (20, 731000001::smallint) RETURNING pin;
INSERT INTO users (id, pin) VALUES (20, ' 731000001 ') RETURNING pin;
INSERT INTO users (id, email) VALUES (20, '') RETURNING email, email = '';
-- params 20 | cnry-p{n}
INSERT INTO users (id, email) VALUES ($1, $2) RETURNING *;
-- params 20 | cnry-ps | 731000020 | c | 1.005 | 2020-01-01 | 2020-01-01 12:00:00 | ca9a71e0-0000-4000-8000-0000000000aa | t | \x00ff | 7310000000020 | {"cnry": [1]} | cnry-s
INSERT INTO users (id, ssn, pin, code, price, born, seen, uid, ok, blob, big, doc, secret) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) RETURNING *;
-- params 20 | \N | \N
INSERT INTO users (id, email, pin) VALUES ($1, $2, $3) RETURNING email, pin;
-- params 20 | abc
INSERT INTO users (id, pin) VALUES ($1, $2);
-- params 20 | 99999999999
INSERT INTO users (id, pin) VALUES ($1, $2);
-- params 20 | both
INSERT INTO users (id, email, note) VALUES ($1, $2, $2);
-- params 20 | cnry-p | n
INSERT INTO users (id, email, note) VALUES ($1, $2, $3) RETURNING email, note;
-- params 1 | cnry-ex{n} | 731000001
INSERT INTO users (id, email) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET email = EXCLUDED.email, pin = $3 RETURNING email, pin;
-- params 20 | cnry-toolong-for-it
INSERT INTO users (id, ssn) VALUES ($1, $2);
-- params 20 | cnry-cc
INSERT INTO users (id, code) VALUES ($1, $2::varchar(4)) RETURNING code;
-- params cnry-up{n} | 1
UPDATE users SET email = $1 WHERE id = $2 RETURNING email;
-- params cnry-up{n} | cnry-ann@x
UPDATE users SET email = $1 WHERE email = $2 RETURNING id, email;
-- params cnry-ann@x
UPDATE users SET email = $1 WHERE email = $1 RETURNING id, email;
-- params cnry-bob@x
DELETE FROM leads WHERE email = $1 RETURNING *;
UPDATE users SET email = 'cnry-up{n}' WHERE id = 1;
UPDATE users SET email = 'cnry-up{n}' WHERE email = 'cnry-ann@x' RETURNING *;
UPDATE users SET email = NULL, pin = NULL, secret = NULL RETURNING id;
UPDATE users SET email = DEFAULT WHERE id = 1 RETURNING email;
UPDATE users SET pin = pin RETURNING pin;
UPDATE users SET pin = users.pin, secret = secret RETURNING pin, secret;
UPDATE users AS u SET pin = u.pin WHERE u.email = 'cnry-ann@x' RETURNING u.pin;
UPDATE ONLY users SET n = n + 1 WHERE pin = 731000001 RETURNING n, email;
UPDATE users SET (email, pin) = ('cnry-up{n}', 731000066) WHERE id = 1 RETURNING email, pin;
UPDATE users SET (email, pin) = ROW ('cnry-up{n}', 731000066) WHERE id = 1 RETURNING email, pin;
UPDATE users SET (n, note) = (SELECT 1, 'x') WHERE email = 'cnry-ann@x' RETURNING n;
UPDATE users SET (email, pin) = (SELECT email, pin FROM leads WHERE id = 12) WHERE id = 1 RETURNING email, pin;
UPDATE users SET email = (SELECT email FROM leads WHERE id = 12) WHERE id = 1 RETURNING email;
UPDATE users SET email = l.email FROM leads l WHERE l.id = 12 AND users.id = 1 RETURNING users.email, l.email;
UPDATE leads SET email = u.email FROM users u WHERE u.pin = leads.pin RETURNING leads.id, leads.pin;
UPDATE users SET n = l.id FROM leads l WHERE l.email = users.email RETURNING users.id, users.n, l.email;
UPDATE other SET v = 'hit' FROM users u WHERE u.id = other.id AND u.email = 'cnry-ann@x' RETURNING other.id, u.email;
UPDATE users SET email = 'cnry-bob@x' WHERE id = 1;
UPDATE users SET email = CASE WHEN id = 1 THEN 'cnry-c{n}' ELSE email END RETURNING id, email;
UPDATE users SET email = COALESCE(email, 'cnry-c{n}') RETURNING id, email;
UPDATE users SET pin = CASE WHEN pin = 731000001 THEN 731000088 END RETURNING id, pin;
-- refused
UPDATE users SET email = note;
-- refused
UPDATE users SET note = email;
-- refused
UPDATE users SET ssn = secret;
-- refused
UPDATE users SET email = secret;
-- refused
UPDATE users SET secret = email;
-- refused
UPDATE users SET pin = pin + 1;
-- refused
UPDATE users SET email = lower('CNRY') WHERE id = 1;
-- refused
UPDATE other SET email = u.email FROM users u WHERE u.id = other.id;
-- refused
UPDATE users SET email = o.email FROM other o WHERE o.id = users.id;
-- refused
UPDATE users SET (email, pin) = (SELECT email, pin FROM other WHERE id = 1) WHERE id = 1;
-- refused
UPDATE users SET doc['a'] = '1' WHERE id = 1;
UPDATE users SET nothing = 'x' WHERE email = 'cnry-ann@x';
UPDATE users SET email = 'cnry-up{n}', email = 'cnry-uq{n}' WHERE id = 1;
UPDATE users SET id = 2 WHERE email = 'cnry-ann@x';
UPDATE users SET email = 'cnry-up{n}' WHERE id = 1 AND 1/0 = 1;
UPDATE users SET code = 'abcdef' WHERE id = 1;
UPDATE orders SET qty = 0 WHERE email = 'cnry-ann@x';
UPDATE orders SET total = 1.999 WHERE email = 'cnry-ann@x' RETURNING total;
DELETE FROM users WHERE email = 'cnry-cyd@x' RETURNING *;
DELETE FROM users WHERE email IS NULL RETURNING id;
DELETE FROM users WHERE email = 'cnry-ann@x';
DELETE FROM leads WHERE email IN ('cnry-bob@x', 'cnry-cyd@x') RETURNING id, email;
DELETE FROM leads l USING users u WHERE u.email = l.email RETURNING l.id, u.email;
DELETE FROM leads USING users WHERE users.pin = leads.pin AND users.email = 'cnry-ann@x' RETURNING leads.*;
DELETE FROM leads WHERE email = (SELECT email FROM users WHERE id = 2) RETURNING id;
DELETE FROM leads WHERE EXISTS (SELECT FROM users WHERE users.email = leads.email) RETURNING id;
DELETE FROM other WHERE id IN (SELECT id FROM users WHERE pin = 731000001) RETURNING id;
DELETE FROM orders WHERE ctid = ANY (ARRAY(SELECT ctid FROM orders WHERE email = 'cnry-ann@x'));
-- refused
DELETE FROM leads WHERE email LIKE 'cnry%';
-- refused
DELETE FROM leads USING other WHERE other.email = leads.email;
-- refused
DELETE FROM other USING users WHERE users.email = other.email;
-- refused
DELETE FROM leads RETURNING lower(email);
INSERT INTO orders VALUES (200, 'cnry-ann@x', 1, 'cnry-fk{n}', 1) RETURNING *;
INSERT INTO orders VALUES (200, 'cnry-fk{n}', 1, 's', 1);
INSERT INTO orders (id, email) VALUES (200, NULL) RETURNING email, qty;
INSERT INTO orders (id, email, qty) VALUES (200, 'cnry-ann@x', 0);
INSERT INTO orders (id, email, qty) VALUES (200, 'cnry-ann@x', NULL);
UPDATE users SET email = 'cnry-fk{n}' WHERE id = 1;
TRUNCATE users;
TRUNCATE users CASCADE;
TRUNCATE leads RESTART IDENTITY;
MERGE INTO leads l USING (VALUES (10)) v (i) ON l.id = v.i WHEN MATCHED THEN UPDATE SET email = 'cnry-m{n}';
MERGE INTO leads l USING users u ON l.email = u.email WHEN MATCHED THEN UPDATE SET pin = u.pin WHEN NOT MATCHED THEN INSERT (id, email, pin) VALUES (u.id + 300, u.email, u.pin);
MERGE INTO leads l USING (VALUES (99)) v (i) ON l.id = v.i WHEN NOT MATCHED THEN INSERT VALUES (99, 'cnry-m{n}', 731000099, 'merged');
MERGE INTO leads l USING users u ON l.email = u.email WHEN MATCHED AND u.pin = 731000002 THEN DELETE WHEN MATCHED THEN DO NOTHING;
MERGE INTO leads USING users u ON leads.email = u.email AND u.email = 'cnry-bob@x' WHEN MATCHED THEN UPDATE SET note = 'm';
MERGE INTO other o USING users u ON o.id = u.id WHEN MATCHED AND u.email = 'cnry-ann@x' THEN UPDATE SET v = 'merged';
-- params cnry-m{n}
MERGE INTO leads l USING (VALUES (10)) v (i) ON l.id = v.i WHEN MATCHED THEN UPDATE SET email = $1;
-- refused
MERGE INTO other o USING users u ON o.id = u.id WHEN MATCHED THEN UPDATE SET email = u.email;
-- refused
MERGE INTO leads l USING other o ON l.id = o.id WHEN NOT MATCHED THEN INSERT VALUES (o.id, o.email, NULL, NULL);
-- refused
MERGE INTO leads l USING other o ON l.email = o.email WHEN MATCHED THEN DELETE;
-- refused
MERGE INTO leads l USING users u ON l.email = u.email WHEN MATCHED THEN UPDATE SET note = u.email;
SELECT 1; INSERT INTO leads VALUES (70, 'cnry-multi{n}', 1, NULL); SELECT email FROM leads WHERE id = 70;
INSERT INTO leads VALUES (70, 'cnry-multi{n}', 1, NULL); INSERT INTO leads VALUES (70, 'cnry-multj{n}', 1, NULL);
SELECT email FROM users WHERE id = 1; SELECT pin FROM users WHERE id = 2; SELECT id FROM leads WHERE email = 'cnry-bob@x';
SELECT 1; SELECT lower('A'); SELECT nothing; SELECT 2;
-- refused
SELECT 1; SELECT lower(email) FROM users; SELECT 2;
;
SELECT email FROM users WHERE id = 1;;
DO $$ BEGIN UPDATE users SET note = 'do' WHERE id = 1; END $$;
DO $$ BEGIN RAISE NOTICE 'a notice %', 1; RAISE WARNING 'careful' USING HINT = 'a hint', DETAIL = 'a detail'; END $$;
DO $$ BEGIN RAISE EXCEPTION 'own' USING ERRCODE = 'P0042', COLUMN = 'c', TABLE = 't'; END $$;
DO $$ BEGIN PERFORM 1/0; END $$;
