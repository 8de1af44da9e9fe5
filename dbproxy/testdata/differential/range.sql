--- Columns of mode range: they compare and sort.
-- cases
SELECT id, n FROM ranged ORDER BY n, id;
SELECT id, n FROM ranged ORDER BY n DESC, id;
SELECT id, n FROM ranged ORDER BY n NULLS FIRST, id;
SELECT id, n FROM ranged ORDER BY 2 DESC NULLS LAST, 1;
SELECT id, name FROM ranged ORDER BY name, id;
SELECT id, day FROM ranged ORDER BY day DESC, id;
SELECT n AS k, id FROM ranged ORDER BY k, id;
SELECT id FROM ranged ORDER BY day, n, name;
SELECT id FROM ranged WHERE n < 731000002 ORDER BY id;
SELECT id FROM ranged WHERE n <= 731000002 ORDER BY id;
SELECT id FROM ranged WHERE n > 731000001 ORDER BY id;
SELECT id FROM ranged WHERE n >= 731000001 ORDER BY id;
SELECT id FROM ranged WHERE 731000001 < n ORDER BY id;
SELECT id FROM ranged WHERE n = 731000002 ORDER BY id;
SELECT id FROM ranged WHERE n <> 731000002 ORDER BY id;
SELECT id FROM ranged WHERE n BETWEEN 731000001 AND 731000002 ORDER BY id;
SELECT id FROM ranged WHERE n NOT BETWEEN 731000001 AND 731000001 ORDER BY id;
SELECT id FROM ranged WHERE n BETWEEN SYMMETRIC 731000002 AND 731000001 ORDER BY id;
SELECT id FROM ranged WHERE n < 731000001.5 ORDER BY id;
SELECT id FROM ranged WHERE n > -731000003 ORDER BY id;
SELECT id FROM ranged WHERE n > -99999999999 ORDER BY id;
SELECT id FROM ranged WHERE n < 99999999999 ORDER BY id;
SELECT id FROM ranged WHERE n IN (731000001, -731000003) ORDER BY id;
SELECT id FROM ranged WHERE n > ANY ('{731000001}') ORDER BY id;
SELECT id FROM ranged WHERE n >= ALL ('{731000001,731000002}') ORDER BY id;
SELECT id FROM ranged WHERE name < 'cnry-b' ORDER BY id;
SELECT id FROM ranged WHERE name >= 'cnry-a' AND name < 'cnry-b' ORDER BY id;
SELECT id FROM ranged WHERE name > 'cnry-' ORDER BY id;
SELECT id FROM ranged WHERE name > '' ORDER BY id;
SELECT id FROM ranged WHERE name BETWEEN 'cnry-a' AND 'cnry-az' ORDER BY id;
SELECT id FROM ranged WHERE day < '2001-01-01' ORDER BY id;
SELECT id FROM ranged WHERE day >= DATE '2001-01-01' ORDER BY id;
SELECT id FROM ranged WHERE day BETWEEN '1999-01-01' AND 'infinity' ORDER BY id;
SELECT id FROM ranged WHERE (n, id) > (731000001, 1) ORDER BY id;
-- params 731000002
SELECT id FROM ranged WHERE n < $1 ORDER BY id;
-- params 731000001 | 731000002
SELECT id FROM ranged WHERE n BETWEEN $1 AND $2 ORDER BY id;
-- params cnry-b
SELECT id FROM ranged WHERE name >= $1 ORDER BY name, id;
-- params 2001-01-01
SELECT id, day FROM ranged WHERE day <= $1 ORDER BY day DESC, id LIMIT 2;
SELECT min(n), max(n) FROM ranged;
SELECT min(name), max(day) FROM ranged;
SELECT day, max(n) FROM ranged GROUP BY day;
SELECT n, count(*) FROM ranged GROUP BY n ORDER BY n;
SELECT DISTINCT n FROM ranged ORDER BY n;
SELECT DISTINCT ON (n) n, id FROM ranged ORDER BY n, id;
SELECT id, rank() OVER (ORDER BY n) FROM ranged ORDER BY id;
SELECT id, row_number() OVER (PARTITION BY day ORDER BY n) FROM ranged ORDER BY id;
SELECT a.id, b.id FROM ranged a JOIN ranged b ON a.n < b.n ORDER BY 1, 2;
SELECT n FROM ranged ORDER BY n LIMIT 2;
SELECT n FROM ranged ORDER BY n OFFSET 3;
SELECT n FROM ranged ORDER BY n DESC NULLS LAST FETCH FIRST 1 ROW WITH TIES;
SELECT s.n FROM (SELECT n FROM ranged ORDER BY n LIMIT 2) s ORDER BY n;
UPDATE ranged SET note = 'hit' WHERE n > 731000001 RETURNING id, n;
DELETE FROM ranged WHERE day < '2001-01-01' RETURNING id, day;
INSERT INTO ranged VALUES (9, 731000009, 'cnry-r{n}', '2020-01-01', 'r9') RETURNING *;
SELECT greatest(n, 731000001) FROM ranged ORDER BY id;
-- refused
SELECT sum(n) FROM ranged;
-- refused
SELECT n + 1 FROM ranged ORDER BY id;
-- refused
SELECT id FROM ranged WHERE name LIKE 'cnry-a%' ORDER BY id;
-- refused
SELECT id FROM ranged WHERE name < note ORDER BY id;
-- refused
SELECT id FROM ranged WHERE n < id ORDER BY id;
-- refused
SELECT name FROM ranged ORDER BY name COLLATE "en-x-icu";
-- group range-index
CREATE INDEX ON ranged (n DESC NULLS LAST, id);
SET LOCAL enable_seqscan = off;
SELECT id FROM ranged WHERE n >= 731000001 ORDER BY n, id;
-- end
