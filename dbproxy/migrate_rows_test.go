// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"strings"
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

// A column that another KMS key is named for gets a data key under that one, also when
// nothing else of its rule changes.
func TestMigrateReencryptsUnderAnotherKey(t *testing.T) {
	for _, mode := range []string{proxy.ModeRandom, proxy.ModeEquality} {
		f := start(t, shared, []proxy.ColumnRule{column("people", "email", "text", mode)})
		app, direct := f.connect(t, pgx.QueryExecModeExec), f.direct(t)
		exec1(t, app, "CREATE TABLE people (id int PRIMARY KEY, email text NOT NULL)")
		exec1(t, app, "INSERT INTO people VALUES (1, 'first@example.com'), (2, 'second@example.com')")
		app.Close(t.Context())
		f.stop()
		_, other := f.kms.CreateKey(t, "alias/other")
		next := *f
		next.columns = []proxy.ColumnRule{column("people", "email", "text", mode)}
		next.columns[0].KeyID = "alias/other"
		next.mustMigrate(t, dbproxy.MigrateOptions{Table: "people", Action: dbproxy.Reencrypt, From: f.columns})
		got := textRows(t, direct, "SELECT DISTINCT key_arn FROM people JOIN sidekey.data_keys k ON encode(substr(email, 4, 4), 'hex') = lpad(to_hex(k.id), 8, '0')", f.database)
		if len(got) != 1 || got[0] != other {
			t.Errorf("mode %s: values are under KMS keys %q, want %s", mode, got, other)
		}
		conn := next.replica(t).connect(t, pgx.QueryExecModeExec)
		if got, err := names(t, conn, "SELECT email FROM people WHERE id = 2"); err != nil || got != "second@example.com" {
			t.Errorf("mode %s: got %q, %v", mode, got, err)
		}
		exec1(t, conn, "INSERT INTO people VALUES (3, 'third@example.com')")
		if got := textRows(t, direct, "SELECT DISTINCT key_arn FROM people JOIN sidekey.data_keys k ON encode(substr(email, 4, 4), 'hex') = lpad(to_hex(k.id), 8, '0')", f.database); len(got) != 1 || got[0] != other {
			t.Errorf("mode %s: with a new one values are under KMS keys %q, want %s", mode, got, other)
		}
		conn.Close(t.Context())
		// So does one that was in plaintext in between.
		next.mustMigrate(t, dbproxy.MigrateOptions{Table: "people", Action: dbproxy.Decrypt, IgnoreSidecars: true})
		f.migrateKilled(t, dbproxy.MigrateOptions{Table: "people", IgnoreSidecars: true}, nil)
		if got := textRows(t, direct, "SELECT DISTINCT key_arn = '"+f.keyARN+"' FROM people JOIN sidekey.data_keys k ON encode(substr(email, 4, 4), 'hex') = lpad(to_hex(k.id), 8, '0')", f.database); len(got) != 1 || got[0] != "true" {
			t.Errorf("mode %s: encrypted again, values are under the KMS key of the rule: %q", mode, got)
		}
		f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people", VerifyOnly: true})
	}
}

// Where a data key stays, no move to another KMS key is pretended.
func TestMigrateRefusesAnotherKey(t *testing.T) {
	f := start(t, shared, []proxy.ColumnRule{column("people", "email", "text", proxy.ModeEquality)})
	for name, c := range map[string]struct {
		domain string
		tenant bool
		want   string
	}{
		"domain":  {"mails", false, "its data key is also that of public.other.email"},
		"tenants": {"", true, "its tenants have data keys"},
	} {
		rule, other := column("people", "email", "text", proxy.ModeEquality), column("other", "email", "text", proxy.ModeEquality)
		rule.Domain, rule.PerTenant, other.Domain = c.domain, c.tenant, c.domain
		of := *f
		of.columns = []proxy.ColumnRule{rule, other}
		conn := of.replica(t).forTenant(t, "acme", pgx.QueryExecModeExec)
		exec1(t, conn, "DROP TABLE IF EXISTS people")
		exec1(t, conn, "CREATE TABLE people (id int PRIMARY KEY, email text)")
		exec1(t, conn, "INSERT INTO people VALUES (1, 'first@example.com')")
		conn.Close(t.Context())
		next := of
		rule.KeyID, other.KeyID = "alias/other", map[bool]string{true: "alias/other", false: "alias/test"}[c.domain != ""]
		next.columns = []proxy.ColumnRule{rule, other}
		o := dbproxy.MigrateOptions{Table: "people", Action: dbproxy.Reencrypt, From: of.columns, IgnoreSidecars: true}
		if c.tenant {
			o.Tenant = "'acme'"
		}
		if _, err := next.migrate(t, t.Context(), o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, c.want)
		}
		untouched(t, f.direct(t))
	}
}
