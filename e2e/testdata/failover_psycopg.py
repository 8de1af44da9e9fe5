# SPDX-License-Identifier: Apache-2.0
# Writes rows one after the other, each until it is acknowledged, until there is a file STOP.
import os, time
import psycopg

db, n = None, 0
while not os.path.exists(os.environ["STOP"]):
    try:
        if db is None or db.closed:
            db = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True, connect_timeout=10)
        db.execute("insert into written (client, n, body) values (3, %s, %s)", [n, os.environ["TEXT"]])
    except psycopg.errors.UniqueViolation:
        pass  # it had been committed without being acknowledged
    except psycopg.Error:
        if db is not None:
            db.close()
        time.sleep(0.05)
        continue
    n += 1
    print("acknowledged", flush=True)
