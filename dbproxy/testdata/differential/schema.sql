--- The tables of all corpora. Protected are the columns that differentialRules
--- in differential_test.go names.
-- setup
DROP SCHEMA IF EXISTS public, s2, s3, "S2" CASCADE;
CREATE SCHEMA public;
CREATE SCHEMA s2;
CREATE SCHEMA s3;
CREATE TABLE users (id int PRIMARY KEY, email text UNIQUE, ssn varchar(11), pin int4, code varchar(4), price numeric(8,2), born date, seen timestamptz, uid uuid, ok bool, blob bytea, big int8, doc jsonb, secret text, note text, n int);
CREATE TABLE leads (id int PRIMARY KEY, email text, pin int4, note text);
CREATE TABLE orders (id int PRIMARY KEY, email text REFERENCES users (email), total numeric(8,2), secret text, qty int NOT NULL DEFAULT 1 CHECK (qty > 0));
CREATE TABLE other (id int PRIMARY KEY, email text, v text, pin int4);
CREATE TABLE parts (id int NOT NULL, email text, note text) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (100) TO (200);
CREATE TABLE "Odd Name" (id int PRIMARY KEY, "E mail" text, "Plain; 'col" text);
CREATE TABLE s2.accounts (id int PRIMARY KEY, email text, note text);
CREATE TABLE s3.accounts (id int PRIMARY KEY, email text, note text);
CREATE TABLE public.accounts (id int PRIMARY KEY, email text, note text);
CREATE TABLE s2.users (id int PRIMARY KEY, email text, note text);
CREATE TABLE ranged (id int PRIMARY KEY, n int4, name text, day date, note text);
-- data
DELETE FROM orders; DELETE FROM users; DELETE FROM leads; DELETE FROM other; DELETE FROM parts; DELETE FROM "Odd Name"; DELETE FROM s2.accounts; DELETE FROM s3.accounts; DELETE FROM public.accounts; DELETE FROM s2.users; DELETE FROM ranged;
INSERT INTO users VALUES
  (1, 'cnry-ann@x', 'cnry-s1', 731000001, 'ab', 1.01, '2001-02-03', '2024-01-02 03:04:05.5+00', 'ca9a71e0-0000-4000-8000-000000000001', true, '\x636e727901', 7310000000001, '{"k": "cnry1", "a": [1, 2.50]}', 'cnry-secret1', 'n1', 10),
  (2, 'cnry-bob@x', 'cnry-s2', 731000002, 'cd', 2.00, '2002-02-03', '2024-02-02 03:04:05+00', 'ca9a71e0-0000-4000-8000-000000000002', false, '\x636e727902', 7310000000002, '[]', 'cnry-secret2', 'n2', 20),
  (3, 'cnry-cyd@x', NULL, 731000001, 'ab', NULL, '2001-02-03', NULL, 'ca9a71e0-0000-4000-8000-000000000003', true, '\x', 7310000000001, NULL, NULL, NULL, 10),
  (4, NULL, 'cnry-s4', NULL, NULL, 1.01, NULL, '2024-01-02 03:04:05.5+00', NULL, NULL, NULL, NULL, '"cnry4"', 'cnry-secret1', 'n4', NULL),
  (5, 'cnry-é☃''\"', '', 731000003, '', -0.01, 'infinity', '-infinity', 'ca9a71e0-0000-4000-8000-000000000005', false, '\x00636e7279ff', -7310000000003, 'null', '', '', -5);
INSERT INTO leads VALUES (10, 'cnry-bob@x', 731000002, 'l10'), (11, 'cnry-cyd@x', 731000009, 'l11'), (12, 'cnry-zoe@x', 731000001, 'l12'), (13, NULL, NULL, NULL);
INSERT INTO orders VALUES (100, 'cnry-ann@x', 9.99, 'cnry-o1', 1), (101, 'cnry-ann@x', 19.99, 'cnry-o2', 2), (102, 'cnry-bob@x', 9.99, NULL, 3), (103, NULL, NULL, 'cnry-o4', 4);
INSERT INTO other VALUES (1, 'plain-ann@x', 'v1', 1), (2, 'plain-bob@x', 'v2', 2), (3, NULL, NULL, NULL);
INSERT INTO parts VALUES (1, 'cnry-ann@x', 'p1'), (2, 'cnry-bob@x', 'p2'), (150, 'cnry-ann@x', 'p150');
INSERT INTO "Odd Name" VALUES (1, 'cnry-ann@x', 'o1'), (2, 'cnry-odd', 'o2');
INSERT INTO s2.accounts VALUES (1, 'cnry-ann@x', 'a1'), (2, 'cnry-s2acc', 'a2');
INSERT INTO s3.accounts VALUES (1, 'cnry-ann@x', 'b1'), (2, 'cnry-s3acc', 'b2');
INSERT INTO public.accounts VALUES (1, 'plain account', 'c1');
INSERT INTO s2.users VALUES (1, 'plain user of s2', 's2n1');
INSERT INTO ranged VALUES (1, 731000001, 'cnry-a', '2001-01-01', 'r1'), (2, 731000002, 'cnry-b', '2002-01-01', 'r2'), (3, -731000003, 'cnry-ab', '1999-12-31', 'r3'), (4, NULL, NULL, NULL, 'r4'), (5, 731000002, 'cnry-Z', '2001-01-01', 'r5');
-- tables users, leads, orders, other, parts, "Odd Name", s2.accounts, s3.accounts, public.accounts, s2.users, ranged
