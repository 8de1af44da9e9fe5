--- What lasts beyond a statement: transactions, cursors, prepared statements,
--- the search_path, settings, tables that change.
-- cases
-- autocommit
-- group transaction
BEGIN;
INSERT INTO leads VALUES (80, 'cnry-tx{n}', 1, NULL);
SELECT email FROM leads WHERE id = 80;
ROLLBACK;
SELECT email FROM leads WHERE id = 80;
START TRANSACTION ISOLATION LEVEL REPEATABLE READ;
UPDATE leads SET email = 'cnry-tx{n}' WHERE id = 10;
COMMIT;
SELECT email FROM leads ORDER BY id;
COMMIT;
ROLLBACK;
BEGIN;
BEGIN;
END;
ABORT;
BEGIN READ ONLY;
UPDATE leads SET email = 'cnry-ro{n}';
SELECT email FROM leads ORDER BY id;
COMMIT AND CHAIN;
ROLLBACK;
-- end
-- autocommit
-- group savepoints
BEGIN;
INSERT INTO leads VALUES (80, 'cnry-sp{n}', 1, NULL);
SAVEPOINT a;
INSERT INTO leads VALUES (80, 'cnry-sp{n}', 1, NULL);
SELECT 1;
SELECT email FROM users;
ROLLBACK TO a;
SELECT email FROM leads WHERE id = 80;
SAVEPOINT b;
SELECT 1/0;
ROLLBACK TO SAVEPOINT b;
UPDATE leads SET email = 'cnry-sq{n}' WHERE id = 80;
RELEASE SAVEPOINT a;
RELEASE SAVEPOINT a;
ROLLBACK;
-- end
-- autocommit
-- group refusal in a transaction
BEGIN;
INSERT INTO leads VALUES (81, 'cnry-rt{n}', 1, NULL);
-- refused
SELECT lower(email) FROM leads;
SELECT email FROM leads;
SELECT 1;
COMMIT;
SELECT * FROM leads ORDER BY id;
-- end
-- autocommit
-- group refusal behind a savepoint
BEGIN;
SAVEPOINT a;
-- refused
SELECT lower(email) FROM leads;
ROLLBACK TO a;
SELECT email FROM leads ORDER BY id;
COMMIT;
-- end
-- autocommit
-- group multi statements
BEGIN; INSERT INTO leads VALUES (82, 'cnry-ms{n}', 1, NULL); COMMIT;
SELECT email FROM leads WHERE id = 82;
INSERT INTO leads VALUES (83, 'cnry-ms{n}', 1, NULL); SELECT 1/0;
SELECT email FROM leads WHERE id = 83;
INSERT INTO leads VALUES (84, 'cnry-ms{n}', 1, NULL); COMMIT; SELECT 1/0;
SELECT email FROM leads WHERE id = 84;
-- end
-- group cursor
DECLARE c CURSOR FOR SELECT id, email, pin FROM users ORDER BY id;
FETCH 1 FROM c;
FETCH NEXT FROM c;
FETCH FORWARD 2 FROM c;
MOVE 1 FROM c;
FETCH ALL FROM c;
CLOSE c;
FETCH c;
-- end
-- group cursor scroll
DECLARE "My Cursor" SCROLL CURSOR FOR SELECT email FROM users ORDER BY id;
FETCH LAST FROM "My Cursor";
FETCH PRIOR FROM "My Cursor";
FETCH ABSOLUTE 2 FROM "My Cursor";
FETCH RELATIVE -1 FROM "My Cursor";
FETCH BACKWARD ALL FROM "My Cursor";
FETCH FIRST "My Cursor";
MOVE LAST IN "My Cursor";
FETCH 0 FROM "My Cursor";
CLOSE ALL;
-- end
-- group cursor binary
DECLARE c BINARY CURSOR FOR SELECT pin, email FROM users ORDER BY id;
FETCH ALL FROM c;
-- end
-- group cursor where
DECLARE c CURSOR FOR SELECT id FROM users WHERE email = 'cnry-ann@x' ORDER BY id;
FETCH ALL FROM c;
-- end
-- group cursor for update
DECLARE c CURSOR FOR SELECT id, email FROM leads ORDER BY id FOR UPDATE;
FETCH 1 FROM c;
UPDATE leads SET email = 'cnry-cur{n}' WHERE CURRENT OF c;
FETCH 1 FROM c;
DELETE FROM leads WHERE CURRENT OF c;
SELECT id, email FROM leads ORDER BY id;
-- end
-- autocommit
-- group cursor with hold
BEGIN;
DECLARE h CURSOR WITH HOLD FOR SELECT email FROM users ORDER BY id;
FETCH 1 FROM h;
COMMIT;
FETCH 2 FROM h;
CLOSE h;
-- end
-- group cursor of plain table
DECLARE c CURSOR FOR SELECT id, email FROM other ORDER BY id;
FETCH 2 FROM c;
MOVE BACKWARD 1 FROM c;
FETCH ALL FROM c;
CLOSE c;
-- end
-- group prepare
PREPARE p (text) AS SELECT id, email FROM users WHERE email = $1 ORDER BY id;
EXECUTE p ('cnry-ann@x');
EXECUTE p ('cnry-nobody');
EXECUTE p (NULL);
EXECUTE p ('cnry-' || 'ann@x');
EXECUTE p (5);
EXECUTE p;
EXECUTE p ('a', 'b');
-- end
-- group prepare untyped
PREPARE p AS SELECT id FROM users WHERE pin = $1 AND email = $2 ORDER BY id;
EXECUTE p (731000001, 'cnry-ann@x');
EXECUTE p ('731000001', 'cnry-ann@x');
DEALLOCATE p;
EXECUTE p (731000001, 'cnry-ann@x');
-- end
-- group prepare write
PREPARE i (int, text) AS INSERT INTO leads (id, email) VALUES ($1, $2) RETURNING *;
EXECUTE i (90, 'cnry-prep{n}');
EXECUTE i (91, 'cnry-prep{n}');
EXECUTE i (90, 'cnry-prep{n}');
-- end
-- group prepare constant
PREPARE q AS SELECT id FROM users WHERE email = 'cnry-ann@x';
EXECUTE q;
EXPLAIN (COSTS OFF) EXECUTE missing;
DEALLOCATE ALL;
-- end
-- group prepare plain
PREPARE q (int) AS SELECT email FROM other WHERE id = $1;
EXECUTE q (1);
EXECUTE q (2);
DEALLOCATE PREPARE q;
-- end
-- group search_path
SET search_path TO s2, public;
SELECT * FROM users ORDER BY id;
SELECT * FROM accounts ORDER BY id;
SELECT * FROM public.users ORDER BY id;
INSERT INTO accounts VALUES (7, 'cnry-path{n}') RETURNING *;
INSERT INTO users VALUES (7, 'plain in s2') RETURNING *;
SET search_path TO s3;
SELECT * FROM accounts ORDER BY id;
INSERT INTO accounts VALUES (7, 'cnry-path{n}') RETURNING *;
SELECT * FROM users;
-- end
-- group search_path again
SET search_path = public;
SELECT * FROM accounts ORDER BY id;
SELECT email FROM users ORDER BY id;
SET search_path = "$user", public;
SELECT email FROM users ORDER BY id;
SET search_path TO DEFAULT;
SELECT email FROM accounts ORDER BY id;
SET search_path = '';
SELECT email FROM public.users ORDER BY id;
SELECT email FROM users ORDER BY id;
-- end
-- group search_path of set_config
SELECT set_config('search_path', 's2', false);
SELECT email FROM users ORDER BY id;
SELECT email FROM accounts ORDER BY id;
SELECT pg_catalog.set_config('search_path', 'public', false);
SELECT email FROM users ORDER BY id;
SELECT set_config('search' || '_path', 's2', true);
SELECT email FROM users ORDER BY id;
SELECT email FROM s2.users ORDER BY id;
-- end
-- autocommit
-- group search_path of a transaction
BEGIN;
SET LOCAL search_path TO s2;
SELECT email FROM users ORDER BY id;
SELECT email FROM accounts ORDER BY id;
COMMIT;
SELECT email FROM users ORDER BY id;
SELECT email FROM accounts ORDER BY id;
BEGIN;
SET search_path TO s2;
SELECT email FROM accounts ORDER BY id;
ROLLBACK;
SELECT email FROM accounts ORDER BY id;
BEGIN;
SAVEPOINT a;
SET search_path TO s3;
SELECT email FROM accounts ORDER BY id;
ROLLBACK TO a;
SELECT email FROM accounts ORDER BY id;
COMMIT;
RESET search_path;
RESET ALL;
SELECT email FROM accounts ORDER BY id;
-- end
-- group search_path of a function
CREATE FUNCTION f_path () RETURNS void LANGUAGE sql AS 'SELECT set_config(''search_path'', ''s2'', false)';
SELECT f_path();
SELECT email FROM users ORDER BY id;
SELECT email FROM accounts ORDER BY id;
-- end
-- group search_path of a block
DO $$ BEGIN EXECUTE 'SET search_path TO s3'; END $$;
SELECT email FROM accounts ORDER BY id;
-- end
-- group search_path within a text
SET search_path TO s2; SELECT email FROM public.users ORDER BY id;
SET search_path TO s3; SELECT 1;
SELECT email FROM accounts ORDER BY id;
-- end
-- group search_path pg_catalog
SET search_path TO pg_catalog, public;
SELECT email FROM users ORDER BY id;
SET search_path TO public, pg_catalog;
SELECT email FROM users ORDER BY id;
SHOW search_path;
-- end
-- group quoted schema
CREATE SCHEMA "S2";
CREATE TABLE "S2".users (id int, email text);
INSERT INTO "S2".users VALUES (1, 'plain');
SET search_path TO "S2";
SELECT email FROM users;
SET search_path TO S2;
SELECT email FROM users;
-- end
-- group temporary table
CREATE TEMP TABLE scratch (id int, email text);
INSERT INTO scratch VALUES (1, 'plain');
SELECT u.email, s.email FROM users u JOIN scratch s USING (id);
DROP TABLE scratch;
-- end
-- group temporary table that shadows
-- refused
CREATE TEMP TABLE users (id int, email text);
SELECT 1;
-- end
-- group shadow of a block
DO $$ BEGIN EXECUTE 'CREATE TEMP TABLE leads (id int, email text, pin int, note text)'; END $$;
SELECT email FROM public.leads ORDER BY id;
SELECT count(*) FROM leads;
-- end
-- group select into
SELECT id, note INTO TEMP made FROM users WHERE email = 'cnry-ann@x';
SELECT * FROM made;
-- refused
SELECT id, email INTO TEMP made2 FROM users;
-- end
-- group create table as
CREATE TABLE made AS SELECT id, note FROM users WHERE email = 'cnry-ann@x';
SELECT * FROM made;
-- refused
CREATE TABLE made2 AS SELECT id, email FROM users;
-- end
-- group newcomers
CREATE TABLE newcomers (id int PRIMARY KEY, email text NOT NULL UNIQUE, secret text);
INSERT INTO newcomers VALUES (1, 'cnry-new{n}', 'cnry-s{n}') RETURNING *;
SELECT email FROM newcomers WHERE email = 'cnry-ann@x';
INSERT INTO newcomers VALUES (2, NULL, NULL);
-- end
-- group newcomers with the wrong type
-- refused
CREATE TABLE newcomers (id int PRIMARY KEY, email varchar(10));
-- end
-- group newcomers with a default
CREATE TABLE newcomers (id int PRIMARY KEY, email text DEFAULT 'x');
-- end
-- group newcomers column by column
CREATE TABLE newcomers (id int PRIMARY KEY);
ALTER TABLE newcomers ADD COLUMN email text;
INSERT INTO newcomers VALUES (1, 'cnry-new{n}') RETURNING *;
ALTER TABLE newcomers ADD COLUMN secret text, ADD COLUMN extra int DEFAULT 7;
INSERT INTO newcomers VALUES (2, 'cnry-nex{n}', 'cnry-s{n}') RETURNING *;
SELECT * FROM newcomers ORDER BY id;
ALTER TABLE newcomers DROP COLUMN email;
SELECT * FROM newcomers ORDER BY id;
INSERT INTO newcomers VALUES (3, 'cnry-s{n}') RETURNING *;
DROP TABLE newcomers;
SELECT * FROM newcomers;
CREATE TABLE IF NOT EXISTS newcomers (email text, id int);
CREATE TABLE IF NOT EXISTS newcomers (email text, id int);
INSERT INTO newcomers VALUES ('cnry-new{n}', 1) RETURNING *;
-- end
-- autocommit
-- group newcomers rolled back
BEGIN;
CREATE TABLE newcomers (id int PRIMARY KEY, email text);
INSERT INTO newcomers VALUES (1, 'cnry-new{n}') RETURNING *;
ROLLBACK;
SELECT * FROM newcomers;
CREATE TABLE newcomers (email text, id int PRIMARY KEY);
INSERT INTO newcomers VALUES ('cnry-new{n}', 1) RETURNING *;
BEGIN;
ALTER TABLE newcomers ADD COLUMN extra text;
SELECT * FROM newcomers;
ROLLBACK;
SELECT * FROM newcomers;
DROP TABLE newcomers;
-- end
-- group alter
ALTER TABLE users ADD COLUMN extra int DEFAULT 1;
SELECT * FROM users ORDER BY id;
INSERT INTO users VALUES (30, 'cnry-al{n}') RETURNING *;
ALTER TABLE users RENAME COLUMN note TO remark;
SELECT email, remark FROM users ORDER BY id;
ALTER TABLE users DROP COLUMN remark;
TABLE users ORDER BY id;
ALTER TABLE users ALTER COLUMN n TYPE bigint;
SELECT n, email FROM users ORDER BY id;
ALTER TABLE users ALTER COLUMN n SET DEFAULT 5;
INSERT INTO users (id, email) VALUES (31, 'cnry-al{n}') RETURNING *;
ALTER TABLE users DROP COLUMN pin;
SELECT * FROM users ORDER BY id;
SELECT pin FROM users;
-- end
-- group alter guarded
-- refused
ALTER TABLE users DROP CONSTRAINT sidekey_sealed_email;
-- end
-- group alter renamed
-- refused
ALTER TABLE users RENAME COLUMN email TO mail;
-- end
-- group alter table renamed
-- refused
ALTER TABLE users RENAME TO people;
-- end
-- group alter table name taken
-- refused
ALTER TABLE other RENAME TO newcomers;
-- end
-- group alter type
-- refused
ALTER TABLE users ALTER COLUMN email TYPE varchar(50);
-- end
-- group alter default
ALTER TABLE users ALTER COLUMN email SET DEFAULT 'x';
-- end
-- group not null
ALTER TABLE leads ALTER COLUMN note SET NOT NULL;
ROLLBACK;
-- end
-- group not null protected
DELETE FROM leads WHERE email IS NULL;
ALTER TABLE leads ALTER COLUMN email SET NOT NULL;
INSERT INTO leads VALUES (95, NULL);
-- end
-- group index
CREATE INDEX ON users (pin);
CREATE UNIQUE INDEX leads_mail ON leads (email);
INSERT INTO leads VALUES (95, 'cnry-bob@x');
-- end
-- group index on random
-- refused
CREATE INDEX ON users (secret);
-- end
-- group index on expression
-- refused
CREATE INDEX ON users (lower(email));
-- end
-- group index partial
CREATE INDEX ON users (id) WHERE email IS NOT NULL;
CREATE UNIQUE INDEX ON users (pin, code) WHERE n > 100;
SELECT id FROM users WHERE email IS NOT NULL ORDER BY id;
-- end
-- group check
ALTER TABLE leads ADD CONSTRAINT c CHECK (id > 0);
ALTER TABLE leads ADD CONSTRAINT d CHECK (email <> 'cnry-zoe@x');
DELETE FROM leads WHERE email = 'cnry-zoe@x';
ALTER TABLE leads ADD CONSTRAINT d CHECK (email <> 'cnry-zoe@x');
INSERT INTO leads VALUES (99, 'cnry-zoe@x');
-- end
-- group foreign key
ALTER TABLE leads ADD FOREIGN KEY (email) REFERENCES users (email);
DELETE FROM leads WHERE id = 12;
ALTER TABLE leads ADD FOREIGN KEY (email) REFERENCES users (email) ON UPDATE CASCADE;
UPDATE users SET email = 'cnry-fk{n}' WHERE id = 3;
SELECT email FROM leads ORDER BY id;
DELETE FROM users WHERE id = 3;
-- end
-- group foreign key cascade
ALTER TABLE orders DROP CONSTRAINT orders_email_fkey;
ALTER TABLE orders ADD CONSTRAINT o_fk FOREIGN KEY (email) REFERENCES users (email) ON DELETE SET NULL ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED;
UPDATE users SET email = 'cnry-fk{n}' WHERE id = 1;
SELECT email FROM orders ORDER BY id;
DELETE FROM users WHERE id = 1;
SELECT email FROM orders ORDER BY id;
INSERT INTO orders (id, email) VALUES (300, 'cnry-fx{n}');
SET CONSTRAINTS ALL IMMEDIATE;
-- end
-- group functions
CREATE FUNCTION plain_write () RETURNS void LANGUAGE plpgsql AS $f$ BEGIN UPDATE users SET note = 'f'; END $f$;
SELECT plain_write();
SELECT note, email FROM users ORDER BY id;
-- end
-- group function that counts
CREATE FUNCTION how_many () RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM public.users WHERE email IS NOT NULL';
SELECT how_many();
SELECT how_many(), email FROM users ORDER BY id;
-- end
-- group trigger
CREATE FUNCTION stamp () RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN NEW.note := 'stamped'; RETURN NEW; END $f$;
CREATE TRIGGER stamps BEFORE INSERT OR UPDATE ON leads FOR EACH ROW EXECUTE FUNCTION stamp();
INSERT INTO leads VALUES (97, 'cnry-tr{n}') RETURNING *;
UPDATE leads SET email = 'cnry-ts{n}' WHERE id = 97 RETURNING *;
-- end
-- group comments and grants
COMMENT ON TABLE users IS 'people';
COMMENT ON COLUMN users.email IS 'mail';
GRANT SELECT ON users TO PUBLIC;
REVOKE ALL ON users FROM PUBLIC;
LOCK TABLE users IN SHARE MODE;
ANALYZE users;
-- end
-- autocommit
-- group vacuum
VACUUM users;
VACUUM (ANALYZE) leads;
REINDEX TABLE users;
CLUSTER users USING users_pkey;
-- end
-- group explain
-- norows
EXPLAIN SELECT * FROM users WHERE email = 'cnry-ann@x';
-- norows
EXPLAIN (ANALYZE, COSTS OFF, FORMAT JSON) SELECT * FROM users WHERE email = 'cnry-ann@x';
-- norows
EXPLAIN ANALYZE INSERT INTO leads VALUES (98, 'cnry-ex{n}');
SELECT * FROM leads ORDER BY id;
-- norows
EXPLAIN VERBOSE SELECT email FROM users u JOIN leads l USING (email);
-- norows
EXPLAIN (COSTS OFF) UPDATE users SET email = 'cnry-ex{n}';
-- refused
EXPLAIN SELECT lower(email) FROM users;
-- end
-- group settings
SET TimeZone TO 'UTC';
SELECT seen FROM users ORDER BY id;
SELECT id FROM users WHERE seen = '2024-01-02 03:04:05.5' ORDER BY id;
SET TIME ZONE 'Asia/Tokyo';
SELECT seen FROM users ORDER BY id;
SET TIME ZONE -3.5;
SELECT seen FROM users ORDER BY id;
SET TIME ZONE INTERVAL '+02:00' HOUR TO MINUTE;
SELECT seen FROM users ORDER BY id;
SET TimeZone TO '<X>+5';
SELECT seen FROM users ORDER BY id;
INSERT INTO users (id, seen) VALUES (40, '2020-01-01 00:00:00') RETURNING seen;
-- end
-- group date style
SET DateStyle TO 'SQL, DMY';
SELECT born FROM users ORDER BY id;
SELECT id FROM users WHERE born = '03/02/2001' ORDER BY id;
SET DateStyle TO 'ISO, DMY';
SELECT born FROM users ORDER BY id;
SELECT id FROM users WHERE born = '03/02/2001' ORDER BY id;
SET DateStyle TO 'Postgres';
SELECT born, seen FROM users ORDER BY id;
SET DateStyle TO 'German';
SELECT born FROM users ORDER BY id;
-- end
-- group bytea output
SET bytea_output TO 'escape';
SELECT blob FROM users ORDER BY id;
SELECT array_agg(blob ORDER BY id) FROM users;
-- unordered
COPY users (id, blob) TO STDOUT;
-- unordered
COPY users (id, blob) TO STDOUT (FORMAT csv);
SELECT id FROM users WHERE email = 'cnry-ann@x';
-- end
-- group client encoding
SET client_encoding TO 'LATIN1';
SELECT id FROM other ORDER BY id;
SELECT note FROM users WHERE id = 1;
SELECT email FROM users WHERE id = 1;
SET client_encoding TO 'UTF8';
SELECT email FROM users ORDER BY id;
-- end
-- group standard strings
-- refused
SET standard_conforming_strings TO off;
-- end
-- group standard strings on
SET standard_conforming_strings TO on;
SELECT id FROM users WHERE email = 'cnry-é☃''\"';
SHOW standard_conforming_strings;
-- end
-- group extra float digits
SET extra_float_digits TO 0;
SET intervalstyle TO 'iso_8601';
SET xmloption TO document;
SELECT email, 0.1::float8 FROM users ORDER BY id;
-- end
-- autocommit
-- group discard
SET search_path TO s2;
DISCARD ALL;
SELECT email FROM users ORDER BY id;
DISCARD PLANS;
DISCARD TEMP;
DISCARD SEQUENCES;
-- end
-- autocommit
-- group listen
LISTEN channel;
NOTIFY channel, 'payload';
UNLISTEN *;
SELECT pg_notify('channel', 'x') IS NULL;
-- end
-- group copy out
COPY users (id, email, pin) TO STDOUT;
COPY (SELECT id, email FROM users ORDER BY id) TO STDOUT WITH (FORMAT csv, HEADER);
COPY (SELECT id, note FROM users WHERE email = 'cnry-ann@x') TO STDOUT;
COPY leads TO STDOUT (DELIMITER ',', NULL 'nil');
COPY other TO STDOUT;
-- refused
COPY (SELECT lower(email) FROM users) TO STDOUT;
-- end
-- group copy in
-- simple
-- copy 60\tcnry-copy\t731000060\tnote\n61\t\N\t\N\t\N\n
COPY leads FROM STDIN;
-- simple
-- copy 62,cnry-copz\n63,\n
COPY leads (id, email) FROM STDIN (FORMAT csv);
-- simple
-- copy id,email\n64,"cnry-""q"""\n
COPY leads (id, email) FROM STDIN (FORMAT csv, HEADER true);
SELECT * FROM leads ORDER BY id;
-- end
-- group copy in with errors
-- simple
-- copy 60\tx\t1\tnote\textra\n
COPY leads FROM STDIN;
-- end
-- group copy in bad value
-- simple
-- copy 60\tx\tnotanumber\tnote\n
COPY leads FROM STDIN;
-- end
-- group copy plain
-- simple
-- copy 60\tplain\tv\t5\n61\t\N\t\N\t\N\n
COPY other FROM STDIN;
SELECT * FROM other ORDER BY id;
-- simple
-- copy 62\tplain\tv\n
COPY other FROM STDIN;
-- end
-- group inheritance
CREATE TABLE base (id int, v text);
CREATE TABLE derived (w text) INHERITS (base);
INSERT INTO derived VALUES (1, 'v', 'w');
SELECT * FROM base;
SELECT tableoid::regclass::text, * FROM base;
SELECT * FROM ONLY base;
-- end
-- group inheritance of protected
CREATE TABLE heirs (x int) INHERITS (leads);
-- end
-- group like
-- refused
CREATE TABLE twin (LIKE leads);
-- end
-- group partitions
CREATE TABLE parts_3 PARTITION OF parts FOR VALUES FROM (200) TO (300);
INSERT INTO parts VALUES (250, 'cnry-p3{n}', NULL) RETURNING *;
ALTER TABLE parts DETACH PARTITION parts_3;
SELECT * FROM parts ORDER BY id;
-- end
-- group policy
CREATE POLICY p ON leads USING (id > 10);
ALTER TABLE leads ENABLE ROW LEVEL SECURITY;
SELECT * FROM leads ORDER BY id;
-- end
-- group rule
-- refused
CREATE RULE r AS ON INSERT TO leads DO ALSO INSERT INTO other VALUES (NEW.id, NEW.email, NULL, NULL);
-- end
-- group publication
CREATE PUBLICATION everything FOR TABLE other;
DROP PUBLICATION everything;
-- end
-- group sequence
CREATE SEQUENCE seq;
SELECT nextval('seq'), email FROM users WHERE id = 1;
INSERT INTO leads (id, email) VALUES (nextval('seq') + 200, 'cnry-sq{n}') RETURNING *;
SELECT currval('seq');
-- end
-- group catalog
SELECT relname, relkind FROM pg_class WHERE relname IN ('users', 'leads') AND relnamespace = 'public'::regnamespace ORDER BY 1;
SELECT column_name FROM information_schema.columns WHERE table_name = 'users' AND table_schema = 'public' ORDER BY ordinal_position;
SELECT 'users'::regclass::text;
SELECT to_regclass('users')::text, to_regclass('nowhere');
-- end
-- group locks
SELECT pg_advisory_lock(1) IS NULL;
SELECT email FROM users WHERE id = 1 AND pg_advisory_unlock(1);
-- end
-- group quoted names
SELECT "E mail" FROM "Odd Name" ORDER BY id;
SELECT "Odd Name"."E mail", "Odd Name".* FROM "Odd Name" WHERE "Odd Name"."E mail" = 'cnry-odd' ORDER BY id;
SELECT o."E mail" AS "a ""b" FROM "public"."Odd Name" o ORDER BY id;
UPDATE "Odd Name" SET "E mail" = 'cnry-q{n}', "Plain; 'col" = ';' WHERE "E mail" = 'cnry-odd' RETURNING *;
DELETE FROM "Odd Name" WHERE "E mail" = 'cnry-ann@x';
SELECT E mail FROM "Odd Name";
SELECT U&"E mail" FROM U&"Odd Name" ORDER BY id;
SELECT U&"\0045 mail" FROM "Odd Name" WHERE U&"\0045 mail" = 'cnry-odd' ORDER BY id;
SELECT email FROM U&"\0075sers" WHERE email = 'cnry-ann@x' ORDER BY id;
-- end
-- group schemas of one name
SELECT a.email, b.email, c.email FROM s2.accounts a JOIN s3.accounts b USING (id) JOIN public.accounts c USING (id);
SELECT a.email FROM s2.accounts a JOIN public.users u ON u.email = a.email ORDER BY a.id;
SELECT * FROM s2.users JOIN public.users USING (id) ORDER BY id;
UPDATE s2.accounts SET email = u.email FROM public.users u WHERE u.id = accounts.id RETURNING accounts.*;
-- end
-- autocommit
-- group transaction in a text
BEGIN; SELECT email FROM users WHERE id = 1; COMMIT;
BEGIN; SELECT email FROM leads WHERE id = 10; COMMIT;
-- end
-- autocommit
-- group savepoint in a text
SELECT 1; SAVEPOINT a; SELECT email FROM users WHERE id = 1;
BEGIN; SAVEPOINT a; INSERT INTO leads VALUES (85, 'cnry-sv{n}', 1, NULL); ROLLBACK TO a; COMMIT;
SELECT id FROM leads ORDER BY id;
-- end
