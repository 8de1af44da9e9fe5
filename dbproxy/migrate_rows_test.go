// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sidekey/sidekey/dbproxy"
	"github.com/sidekey/sidekey/proxy"
	"github.com/sidekey/sidekey/proxy/datakey"
)

// Long values go through in batches of bounded size, and the lease of a data key that
// ends before a window of them does is had anew.
func TestMigrateLongValues(t *testing.T) {
	f := start(t, shared, movingColumn(proxy.ModeRandom))
	f.moves = datakey.Config{Lease: 60 * time.Millisecond}
	direct := f.direct(t)
	exec1(t, direct, `CREATE TABLE people (id int PRIMARY KEY, email text);
INSERT INTO people SELECT i, repeat(md5(i::text) || ' and more of it ', CASE WHEN i % 3 = 0 THEN 1 ELSE 32768 END) FROM generate_series(0, 36) i`, pgx.QueryExecModeSimpleProtocol)
	sum := "SELECT md5(string_agg(email, ',' ORDER BY id)) FROM people"
	before := textRows(t, direct, sum, f.database)
	largest := func(when string) {
		t.Helper()
		var n int64
		err := direct.QueryRow(t.Context(), "SELECT max(n) FROM (SELECT sum(octet_length(email)) n FROM people GROUP BY xmin::text) x", pgx.QueryExecModeExec).Scan(&n)
		if err != nil || n > 20<<20 {
			t.Errorf("%s a transaction has written %d bytes, %v; want at most 20 MB", when, n, err)
		}
	}
	f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people"})
	largest("encrypting,")
	f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people", VerifyOnly: true})
	f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people", Action: dbproxy.Rotate})
	largest("rotating,")
	f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people", Action: dbproxy.Decrypt})
	largest("decrypting,")
	if after := textRows(t, direct, sum, f.database); after[0] != before[0] {
		t.Errorf("got values of digest %s, want %s", after[0], before[0])
	}
}
