// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/sidekey/sidekey/dbproxy"
	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/proxy/datakey"
)

func psql(t *testing.T, url string, env []string, script string) (string, error) {
	t.Helper()
	cmd := exec.Command("psql", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", url)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin = strings.NewReader(script)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestPsql(t *testing.T) {
	f := start(t, shared, users())
	out, err := psql(t, f.url(), nil, `BEGIN;
`+usersDDL+`;
INSERT INTO users (email, ssn, pin) VALUES ('p@sql', '99', 3) RETURNING email, ssn, pin;
COMMIT;
\d users
SELECT email, ssn FROM users WHERE email = 'p@sql';
SELECT ssn FROM users \gset got_
\echo :got_ssn
SELECT * FROM users WHERE pin = $1 \bind 3 \g
`)
	if strings.Contains(out, "invalid command \\bind") {
		out, err = psql(t, f.url(), nil, "SELECT email, ssn, pin FROM users;")
	}
	if err != nil || !strings.Contains(out, "p@sql|99") {
		t.Errorf("%v: %s", err, out)
	}
	out, err = psql(t, f.url(), nil, "SELECT lower(email) FROM users;")
	if err == nil || !strings.Contains(out, "LINE 1: SELECT lower(email)") || !strings.Contains(out, "HINT:") {
		t.Errorf("%v: %s", err, out)
	}
	out, err = psql(t, f.url(), nil, "INSERT INTO users (email, pin) VALUES ('é', nosuch);")
	if err == nil || !strings.Contains(out, "cannot be set to this expression") {
		t.Errorf("%v: %s", err, out)
	}
	// The server's own position is mapped back past the sealed literal.
	out, err = psql(t, f.url(), nil, "UPDATE users SET email = 'é' WHERE nosuch(1);")
	if err == nil || !strings.Contains(out, "LINE 1: UPDATE users SET email = 'é' WHERE nosuch(1);\n                                           ^") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestPython(t *testing.T) {
	f := start(t, shared, users())
	dsn := fmt.Sprintf("host=127.0.0.1 port=%d user=postgres dbname=%s", f.port, f.database)
	for name, script := range map[string]string{
		"psycopg": `
import psycopg, sys, datetime, uuid
with psycopg.connect(sys.argv[1]) as c:
    c.execute("DROP TABLE IF EXISTS users")
    c.execute("` + usersDDL + `")
    for i in range(8):
        c.execute("INSERT INTO users (email, ssn, pin) VALUES (%s, %s, %s)", ("p3@%d" % i, "s%d" % i, 1000 + i))
    c.commit()
    for binary in (False, True):
        cur = c.cursor(binary=binary)
        for i in range(8):
            cur.execute("SELECT email, ssn, pin FROM users WHERE email = %s AND pin = %s", ("p3@%d" % i, 1000 + i))
            assert cur.fetchone() == ("p3@%d" % i, "s%d" % i, 1000 + i)
        cur.execute("SELECT count(*) FROM users WHERE pin = ANY(%s)", ([1001, 1002, 5],))
        assert cur.fetchone() == (2,)
    cur = c.cursor()
    cur.executemany("INSERT INTO users (email) VALUES (%s)", [("many%d" % i,) for i in range(50)])
    with c.pipeline():
        a = c.execute("SELECT email FROM users WHERE email = %s", ("many7",))
        b = c.execute("SELECT pin FROM users WHERE email = %s", ("p3@1",))
    assert a.fetchone() == ("many7",) and b.fetchone() == (1001,)
    c.commit()
    try:
        c.execute("SELECT email || 'x' FROM users")
        assert False
    except psycopg.errors.FeatureNotSupported as e:
        assert e.diag.statement_position == "8", e.diag.statement_position
    c.rollback()
    assert c.execute("SELECT 1").fetchone() == (1,)
print("ok")
`,
		"psycopg2": `
import psycopg2, sys
c = psycopg2.connect(sys.argv[1])
cur = c.cursor()
cur.execute("DROP TABLE IF EXISTS users")
cur.execute("` + usersDDL + `")
cur.execute("INSERT INTO users (email, ssn, pin) VALUES (%s, %s, %s) RETURNING email", ("it's \\ p2", None, 7))
assert cur.fetchone() == ("it's \\ p2",)
cur.execute("SELECT email, ssn, pin FROM users WHERE email = %s AND pin IN %s", ("it's \\ p2", (7, 8)))
assert cur.fetchone() == ("it's \\ p2", None, 7)
c.commit()
try:
    cur.execute("SELECT max(email) FROM users"); assert False
except psycopg2.errors.FeatureNotSupported:
    c.rollback()
cur.execute("SELECT 1")
print("ok")
`} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("/usr/bin/python3", "-c", script, dsn)
			if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "ok") {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

func TestDatabaseSQL(t *testing.T) {
	f := start(t, shared, users())
	db, err := sql.Open("pgx", f.url())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ctx := t.Context()
	if _, err := db.ExecContext(ctx, usersDDL); err != nil {
		t.Fatal(err)
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	stmt, err := tx.PrepareContext(ctx, "INSERT INTO users (email, pin) VALUES ($1, $2) RETURNING email")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		var email string
		if err := stmt.QueryRowContext(ctx, fmt.Sprint("e", i), i).Scan(&email); err != nil || email != fmt.Sprint("e", i) {
			t.Fatalf("got %q, %v", email, err)
		}
	}
	stmt.Close()
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := db.QueryRowContext(ctx, "SELECT pin FROM users WHERE email = $1", "e7").Scan(&n); err != nil || n != 7 {
		t.Errorf("got %d, %v", n, err)
	}
}

func TestKeyDisabled(t *testing.T) {
	f := start(t, shared, users(), func(_ *dbproxy.Config, k *datakey.Config) {
		k.Lease, k.MaxAge = 500*time.Millisecond, 10*time.Second
	})
	conn := f.connect(t, pgx.QueryExecModeCacheStatement)
	exec1(t, conn, usersDDL)
	exec1(t, conn, "INSERT INTO users (email) VALUES ($1)", "x")
	f.kms.Disable(t, f.keyARN)
	waitFor(t, func() bool {
		_, err := conn.Exec(t.Context(), "INSERT INTO users (email) VALUES ($1)", fmt.Sprint(time.Now().UnixNano()))
		return state(err) == "42501"
	})
	var email string
	if err := conn.QueryRow(t.Context(), "SELECT email FROM users").Scan(&email); state(err) != "42501" || email != "" {
		t.Errorf("got %q, %v; want 42501", email, err)
	}
	exec1(t, conn, "SELECT id FROM users")
	f.kms.Enable(t, f.keyARN)
	waitFor(t, func() bool {
		return conn.QueryRow(t.Context(), "SELECT email FROM users WHERE email = 'x'").Scan(&email) == nil
	})
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for range 1000 {
		if done() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("it did not come to pass")
}

func TestAudit(t *testing.T) {
	f := start(t, shared, users())
	conn := f.connect(t, pgx.QueryExecModeCacheStatement)
	exec1(t, conn, usersDDL)
	exec1(t, conn, "INSERT INTO users (email) VALUES ($1)", "audited-canary")
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	var email string
	err := conn.QueryRow(t.Context(), "SELECT email FROM users /*traceparent='00-"+trace+"-00f067aa0ba902b7-01'*/").Scan(&email)
	if err != nil {
		t.Fatal(err)
	}
	spans, err := audit.ReadTrace([]string{f.auditDir}, trace)
	if err != nil {
		t.Fatal(err)
	}
	var tree strings.Builder
	audit.WriteTree(&tree, spans)
	for _, want := range []string{"postgres.query", "public.users.email", "datakey.use"} {
		if !strings.Contains(tree.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, tree.String())
		}
	}
	if strings.Contains(tree.String(), "audited-canary") {
		t.Error("a value is in the audit log")
	}
	f.audit.Close()
	if err := conn.QueryRow(t.Context(), "SELECT email FROM users").Scan(&email); state(err) != "58030" {
		t.Errorf("got %v, want 58030", err)
	}
}

// certificate makes a CA and a server's certificate for 127.0.0.1 and localhost.
func certificate(t *testing.T, dir string) (ca, cert, key string) {
	t.Helper()
	caKey, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	caCert := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	caDER, err := x509.CreateCertificate(rand.Reader, caCert, caCert, &caKey.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	leafKey, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, caCert, &leafKey.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, _ := x509.MarshalPKCS8PrivateKey(leafKey)
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("ca.pem", "CERTIFICATE", caDER), write("cert.pem", "CERTIFICATE", leafDER), write("key.pem", "PRIVATE KEY", keyDER)
}

func TestTLSAndPasswords(t *testing.T) {
	c, ca, cert, key := withPasswords(t)
	for _, upstream := range []string{dbproxy.TLSDisable, dbproxy.TLSRequire, dbproxy.TLSVerifyFull} {
		f := start(t, c, users(), func(cfg *dbproxy.Config, _ *datakey.Config) {
			cfg.TLS = dbproxy.TLSConfig{CertFile: cert, KeyFile: key}
			cfg.Upstream.TLS, cfg.Upstream.CAFile = upstream, ca
		})
		for user, password := range map[string]string{"postgres": "", "md5user": "pw-md5", "scramuser": "pw-scram"} {
			for _, mode := range []string{"disable", "require", "verify-full"} {
				url := fmt.Sprintf("host=127.0.0.1 port=%d user=%s dbname=%s sslmode=%s sslrootcert=%s", f.port, user, f.database, mode, ca)
				script := "DROP TABLE IF EXISTS users; " + usersDDL + ";\nINSERT INTO users (email) VALUES ('tls') RETURNING email;"
				out, err := psql(t, url, []string{"PGPASSWORD=" + password}, script)
				if err != nil || !strings.Contains(out, "tls") {
					t.Errorf("upstream %s, %s, sslmode=%s: %v: %s", upstream, user, mode, err, out)
				}
				if password != "" {
					if out, err := psql(t, url, []string{"PGPASSWORD=wrong"}, "SELECT 1;"); err == nil || !strings.Contains(out, "password authentication failed") {
						t.Errorf("upstream %s, %s with a wrong password: %v: %s", upstream, user, err, out)
					}
				}
			}
		}
	}
	f := start(t, c, users(), func(cfg *dbproxy.Config, _ *datakey.Config) {
		cfg.TLS = dbproxy.TLSConfig{CertFile: cert, KeyFile: key, Require: true}
	})
	if out, err := psql(t, f.url(), nil, "SELECT 1;"); err == nil || !strings.Contains(out, "requires TLS") {
		t.Errorf("plain client: %v: %s", err, out)
	}
	if out, err := psql(t, f.url()+"&replication=database", []string{"PGSSLMODE=require"}, "SELECT 1;"); err == nil {
		t.Errorf("replication: %s", out)
	}
}
