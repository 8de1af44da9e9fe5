# SPDX-License-Identifier: Apache-2.0
# asyncpg on a table whose columns the proxy protects. It asks the catalogs for
# types, prepares every statement and binds in binary.
import asyncio
import datetime
import decimal
import sys
import uuid

import asyncpg


async def main():
    c = await asyncpg.connect(sys.argv[1])
    await c.set_type_codec("jsonb", encoder=str, decoder=str, schema="pg_catalog")
    await c.execute("""CREATE TABLE apg_accounts (id serial PRIMARY KEY, email varchar(120) NOT NULL UNIQUE, ssn varchar(11), balance numeric(12,2),
        born date, joined timestamptz, settings jsonb, ref uuid, visits int NOT NULL DEFAULT 0)""")
    ref, joined = uuid.uuid4(), datetime.datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=datetime.timezone.utc)
    row = ("ada@apg", "078-05-1120", decimal.Decimal("12.50"), datetime.date(1815, 12, 10), joined, '{"a": 1}', ref)
    ada = await c.fetchval("INSERT INTO apg_accounts (email, ssn, balance, born, joined, settings, ref) VALUES ($1,$2,$3,$4,$5,$6,$7) RETURNING id", *row)
    got = await c.fetchrow("SELECT email, ssn, balance, born, joined, settings, ref, visits FROM apg_accounts WHERE email = $1", "ada@apg")
    assert tuple(got) == row + (0,), got
    await c.executemany("INSERT INTO apg_accounts (email, visits) VALUES ($1, $2)", [("bulk%d@apg" % i, i % 3) for i in range(100)])
    assert await c.fetchval("SELECT count(*) FROM apg_accounts WHERE email = ANY($1)", ["bulk1@apg", "bulk2@apg", "none"]) == 2
    statement = await c.prepare("SELECT email, balance FROM apg_accounts WHERE ref = $1 AND id = $2")
    assert [p.name for p in statement.get_parameters()] == ["uuid", "int4"]
    assert [a.type.name for a in statement.get_attributes()] == ["varchar", "numeric"]
    assert (await statement.fetchrow(ref, ada))["email"] == "ada@apg"
    assert await c.execute("UPDATE apg_accounts SET ssn = $1 WHERE email = $2", "7", "bulk7@apg") == "UPDATE 1"
    tr = c.transaction()
    await tr.start()
    assert await c.execute("DELETE FROM apg_accounts WHERE email = $1", "bulk7@apg") == "DELETE 1"
    await tr.rollback()
    assert await c.fetchval("SELECT ssn FROM apg_accounts WHERE email = $1", "bulk7@apg") == "7"
    for sql, kind in (("INSERT INTO apg_accounts (email) VALUES ('ada@apg')", asyncpg.UniqueViolationError),
                      ("SELECT email FROM apg_accounts ORDER BY email", asyncpg.FeatureNotSupportedError)):
        try:
            await c.fetch(sql)
            raise SystemExit("no error")
        except kind as e:
            assert e.sqlstate in ("23505", "0A000"), e
    await c.close()
    print("ok")


asyncio.run(main())
