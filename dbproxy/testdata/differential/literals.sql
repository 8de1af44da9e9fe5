--- Forms of constants that templates cannot say.
-- cases
SELECT id FROM users WHERE email = E'cnry\055ann@x' ORDER BY id;
SELECT id FROM users WHERE email = E'cnry-ann\x40x' ORDER BY id;
SELECT id FROM users WHERE email = e'cnry-ann@x' ORDER BY id;
SELECT id FROM users WHERE email = U&'cnry-\0061nn@x' ORDER BY id;
SELECT id FROM users WHERE email = U&'cnry-\+000061nn@x' ORDER BY id;
SELECT id FROM users WHERE email = u&'cnry-#0061nn@x' UESCAPE '#' ORDER BY id;
SELECT id FROM users WHERE email = U&'cnry-\D83D\DE00' ORDER BY id;
SELECT id FROM users WHERE email = U&'cnry-\D83D' ORDER BY id;
SELECT id FROM users WHERE email = E'cnry-\uD83D\uDE00' ORDER BY id;
SELECT id FROM users WHERE email = E'cnry-\u00e9☃''\\"' ORDER BY id;
SELECT id FROM users WHERE email = 'cnry-é☃''\"' ORDER BY id;
SELECT id FROM users WHERE email = $$cnry-é☃'\"$$ ORDER BY id;
SELECT id FROM users WHERE email = $tag$cnry-ann@x$tag$ ORDER BY id;
SELECT id FROM users WHERE email = $é$cnry-ann@x$é$ ORDER BY id;
SELECT id FROM users WHERE email = E'cnry-\xff' ORDER BY id;
SELECT id FROM users WHERE email = E'cnry-\000' ORDER BY id;
SELECT id FROM users WHERE email = E'cnry-ann'
	'@x' ORDER BY id;
SELECT id FROM users WHERE email = 'leading-'   -- with a comment
  'cnry{n}' ORDER BY id;
SELECT id FROM users WHERE email = E'leading-' -- with a comment
  -- and another
  'cnry{n}' ORDER BY id;
SELECT id FROM users WHERE email = 'cnry-' /* no */ 'ann@x' ORDER BY id;
SELECT id FROM users WHERE email = 'cnry-ann@x'::text::varchar::text ORDER BY id;
SELECT id FROM users WHERE email = 'cnry-ann@x'::varchar(4) ORDER BY id;
SELECT id FROM users WHERE email = 'cnry-ann@x'::char(10) ORDER BY id;
SELECT id FROM users WHERE email = 'cnry-ann@x'::pg_catalog.text ORDER BY id;
SELECT id FROM users WHERE email = 'cnry-ann@x'::"text" ORDER BY id;
SELECT id FROM users WHERE email = pg_catalog.varchar 'cnry-ann@x' ORDER BY id;
SELECT id FROM users WHERE email = CAST('cnry-ann@x' AS character varying(30)) ORDER BY id;
SELECT id FROM users WHERE email = 'cnry-ann@x'::character varying ORDER BY id;
SELECT id FROM users WHERE email = ('cnry-ann@x'::text) ORDER BY id;
SELECT id FROM users WHERE email = text('cnry-ann@x') ORDER BY id;
SELECT id FROM users WHERE email = 'cnry-ann@x'::bytea ORDER BY id;
SELECT id FROM users WHERE email = '\x6162'::bytea ORDER BY id;
SELECT id FROM users WHERE email = 'cnry-ann@x'::unknown ORDER BY id;
SELECT id FROM users WHERE email = 'cnry-ann@x'::nosuchtype ORDER BY id;
SELECT id FROM users WHERE email = 5 ORDER BY id;
SELECT id FROM users WHERE email = true ORDER BY id;
SELECT id FROM users WHERE email = '2001-01-01'::date ORDER BY id;
SELECT id FROM users WHERE email = current_user ORDER BY id;
SELECT id FROM users WHERE email = '{a}'::text[] ORDER BY id;
SELECT id FROM users WHERE pin = 731000001.0 ORDER BY id;
SELECT id FROM users WHERE pin = 731000001.5 ORDER BY id;
SELECT id FROM users WHERE pin = 7.31000001e8 ORDER BY id;
SELECT id FROM users WHERE pin = '731000001'::int2 ORDER BY id;
SELECT id FROM users WHERE pin = 731000001::int8 ORDER BY id;
SELECT id FROM users WHERE pin = 731000001::numeric ORDER BY id;
SELECT id FROM users WHERE pin = 731000001::float8 ORDER BY id;
SELECT id FROM users WHERE pin = 7310000010000 ORDER BY id;
SELECT id FROM users WHERE pin <> 7310000010000 ORDER BY id;
SELECT id FROM users WHERE pin = 99999999999999999999 ORDER BY id;
SELECT id FROM users WHERE pin = '7310000010000' ORDER BY id;
SELECT id FROM users WHERE pin = '' ORDER BY id;
SELECT id FROM users WHERE pin = 'x' ORDER BY id;
SELECT id FROM users WHERE pin = (731000001) ORDER BY id;
SELECT id FROM users WHERE pin = -(-731000001) ORDER BY id;
SELECT id FROM users WHERE pin = +731000001 ORDER BY id;
SELECT id FROM users WHERE pin = - -731000001 ORDER BY id;
SELECT id FROM users WHERE pin =-731000001 ORDER BY id;
SELECT id FROM users WHERE pin=731000001 ORDER BY id;
SELECT id FROM users WHERE pin = 0x2B ORDER BY id;
SELECT id FROM users WHERE pin = 1_000 ORDER BY id;
SELECT id FROM users WHERE big = -7310000000003 ORDER BY id;
SELECT id FROM users WHERE big = - 7310000000003 ORDER BY id;
SELECT id FROM users WHERE big = '-7310000000003' ORDER BY id;
SELECT id FROM users WHERE big = 5::int2 ORDER BY id;
SELECT id FROM users WHERE price = 1.01 ORDER BY id;
SELECT id FROM users WHERE price = 1.0100 ORDER BY id;
SELECT id FROM users WHERE price = 1.014 ORDER BY id;
SELECT id FROM users WHERE price <> 1.014 ORDER BY id;
SELECT id FROM users WHERE price = '1.01' ORDER BY id;
SELECT id FROM users WHERE price = '1.014' ORDER BY id;
SELECT id FROM users WHERE price = 101e-2 ORDER BY id;
SELECT id FROM users WHERE price = 2 ORDER BY id;
SELECT id FROM users WHERE price = -0.01 ORDER BY id;
SELECT id FROM users WHERE price = 1.01::numeric(3,1) ORDER BY id;
SELECT id FROM users WHERE price = 1.01::float8 ORDER BY id;
SELECT id FROM users WHERE price = 12345678901234567890 ORDER BY id;
SELECT id FROM users WHERE price = 'NaN' ORDER BY id;
SELECT id FROM users WHERE price = 'Infinity' ORDER BY id;
SELECT id FROM users WHERE born = '2001-02-03' ORDER BY id;
SELECT id FROM users WHERE born = DATE '2001-02-03' ORDER BY id;
SELECT id FROM users WHERE born = '2001-02-03'::date ORDER BY id;
SELECT id FROM users WHERE born = '20010203' ORDER BY id;
SELECT id FROM users WHERE born = 'Feb 3 2001' ORDER BY id;
SELECT id FROM users WHERE born = '3 Feb 2001' ORDER BY id;
SELECT id FROM users WHERE born = '2001-02-03 00:00:00'::timestamp ORDER BY id;
SELECT id FROM users WHERE born = '2001-02-03 00:00:01'::timestamp ORDER BY id;
SELECT id FROM users WHERE born = '2001-02-03 00:00:00'::timestamptz ORDER BY id;
SELECT id FROM users WHERE born = 'infinity' ORDER BY id;
SELECT id FROM users WHERE born = 'tomorrow' ORDER BY id;
SELECT id FROM users WHERE born = current_date ORDER BY id;
SELECT id FROM users WHERE born = '2001-02-30' ORDER BY id;
SELECT id FROM users WHERE seen = '2024-01-02 03:04:05.5+00' ORDER BY id;
SELECT id FROM users WHERE seen = '2024-01-01 22:04:05.5' ORDER BY id;
SELECT id FROM users WHERE seen = '2024-01-02T03:04:05.5Z' ORDER BY id;
SELECT id FROM users WHERE seen = TIMESTAMP WITH TIME ZONE '2024-01-02 03:04:05.5+00' ORDER BY id;
SELECT id FROM users WHERE seen = '2024-01-02 03:04:05.5+00'::timestamptz(0) ORDER BY id;
SELECT id FROM users WHERE seen = '2024-01-01 22:04:05.5'::timestamp ORDER BY id;
SELECT id FROM users WHERE seen = '-infinity' ORDER BY id;
SELECT id FROM users WHERE seen = 'epoch' ORDER BY id;
SELECT id FROM users WHERE seen = now() ORDER BY id;
SELECT id FROM users WHERE uid = 'ca9a71e0-0000-4000-8000-000000000001' ORDER BY id;
SELECT id FROM users WHERE uid = 'CA9A71E0000040008000000000000001' ORDER BY id;
SELECT id FROM users WHERE uid = UUID 'ca9a71e0-0000-4000-8000-000000000001' ORDER BY id;
SELECT id FROM users WHERE uid = 'zz' ORDER BY id;
SELECT id FROM users WHERE uid = gen_random_uuid() ORDER BY id;
SELECT id FROM users WHERE blob = '\x636e727901' ORDER BY id;
SELECT id FROM users WHERE blob = 'cnry\001' ORDER BY id;
SELECT id FROM users WHERE blob = E'\\x636e727901' ORDER BY id;
SELECT id FROM users WHERE blob = BYTEA '\x636E727901' ORDER BY id;
SELECT id FROM users WHERE blob = '' ORDER BY id;
SELECT id FROM users WHERE blob = '\x' ORDER BY id;
SELECT id FROM users WHERE blob = decode('636e727901', 'hex') ORDER BY id;
SELECT id FROM users WHERE code = 'ab' ORDER BY id;
SELECT id FROM users WHERE code = 'ab  ' ORDER BY id;
SELECT id FROM users WHERE code = 'ab                 ' ORDER BY id;
SELECT id FROM users WHERE code = 'ab'::char(4) ORDER BY id;
SELECT id FROM users WHERE code = 'abcdefg' ORDER BY id;
SELECT id FROM users WHERE code = 'abcdefg'::varchar(2) ORDER BY id;
SELECT id FROM users WHERE code <> 'abcdefg' ORDER BY id;
SELECT id FROM users WHERE code = '' ORDER BY id;
SELECT id FROM users WHERE ok = 'yes' ORDER BY id;
SELECT id FROM users WHERE ok = 'perhaps' ORDER BY id;
SELECT id FROM users WHERE ok = true::bool ORDER BY id;
SELECT id FROM users WHERE ok = 1::bool ORDER BY id;
SELECT id FROM users WHERE ok = (1 = 1) ORDER BY id;
-- params 731000001.0
SELECT id FROM users WHERE pin = $1::numeric ORDER BY id;
-- params 731000001
SELECT id FROM users WHERE pin = $1::int8 ORDER BY id;
-- params 731000001
SELECT id FROM users WHERE pin = $1::int ORDER BY id;
-- params 731000001
SELECT id FROM users WHERE pin = CAST($1 AS text)::int ORDER BY id;
-- params ab
SELECT id FROM users WHERE code = $1 ORDER BY id;
-- params abcdefgh
SELECT id FROM users WHERE code = $1 ORDER BY id;
-- params 1.014
SELECT id FROM users WHERE price = $1 ORDER BY id;
-- params 1.0100
SELECT id FROM users WHERE price = $1 ORDER BY id;
-- params 2001-02-03
SELECT id FROM users WHERE born = $1 ORDER BY id;
-- params 2024-01-01 22:04:05.5
SELECT id FROM users WHERE seen = $1 ORDER BY id;
-- params 2024-01-01 22:04:05.5
SELECT id FROM users WHERE seen = $1::timestamp ORDER BY id;
-- params ca9a71e0-0000-4000-8000-000000000001
SELECT id FROM users WHERE uid = $1 ORDER BY id;
-- params \x636e727901
SELECT id FROM users WHERE blob = $1 ORDER BY id;
-- params true
SELECT id FROM users WHERE ok = $1 ORDER BY id;
