# SPDX-License-Identifier: Apache-2.0
# An application that uses psycopg 3, in its text and binary formats.
import datetime, decimal, os, uuid
import psycopg

canary = os.environ["CANARY"]
row = dict(c_text=canary, c_secret=canary + "-secret", c_varchar=canary[:20], c_int4=-77123, c_int8=2**53 + 1,
           c_bytea=canary.encode(), c_bool=True, c_date=datetime.date(1969, 7, 20),
           c_time=datetime.datetime(2001, 9, 9, 1, 46, 40, 123456, tzinfo=datetime.timezone.utc),
           c_uuid=uuid.UUID(bytes=os.urandom(16)), c_numeric=decimal.Decimal("-1234.50"))
columns = ", ".join(row)
with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as db:
    id = int.from_bytes(os.urandom(3), "big") + 10_000_000
    db.execute("insert into people (id, %s) values (%%s, %s)" % (columns, ", ".join(["%s"] * len(row))), [id, *row.values()])
    for binary in (False, True):
        cursor = db.cursor(binary=binary)
        cursor.execute("select %s from people where id = %%s" % columns, [id])
        got = cursor.fetchone()
        assert list(got) == list(row.values()), (binary, got)
        for name in ("c_text", "c_varchar", "c_int4", "c_bytea", "c_date", "c_uuid"):
            cursor.execute("select id from people where %s = %%s and id = %%s" % name, [row[name], id])
            assert cursor.fetchone() == (id,), (binary, name)
        cursor.execute("select id, c_secret from people where c_text in (%s, %s)", ["nobody", canary])
        assert cursor.fetchone() == (id, canary + "-secret")
    for prepare in (True, True, False):
        got = db.execute("select c_int8 from people where id = %s", [id], prepare=prepare).fetchone()
        assert got == (2**53 + 1,), got
    db.execute("update people set c_secret = null, c_int4 = %s where id = %s", [5, id])
    assert db.execute("select c_secret, c_int4 from people where id = %s", [id]).fetchone() == (None, 5)
    with db.pipeline():
        db.execute("select set_config('app.tenant', %s, false)", ["one"])
        cursors = [db.execute("select c_text, c_numeric from people where id = %s", [id]) for _ in range(5)]
    assert [c.fetchone() for c in cursors] == [(canary, decimal.Decimal("-1234.50"))] * 5
    try:
        db.execute("select id from people where c_secret = %s", [canary])
        raise SystemExit("equality on a random column was answered")
    except psycopg.errors.FeatureNotSupported:
        pass
    assert db.execute("delete from people where id = %s returning c_text", [id]).fetchone() == (canary,)
