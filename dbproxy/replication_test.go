// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/sidekey/sidekey/dbproxy"
	"github.com/sidekey/sidekey/proxy/datakey"
)

// startup is a startup message with names and values in their order.
func startup(version uint32, parameters ...string) []byte {
	body := binary.BigEndian.AppendUint32(nil, version)
	for _, p := range parameters {
		body = append(append(body, p...), 0)
	}
	body = append(body, 0)
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body)+4)), body...)
}

// opened sends a startup message and gives the connection and the error that
// answers it.
func opened(t *testing.T, addr string, message []byte) (*wire, *pgproto3.ErrorResponse) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := conn.Write(message); err != nil {
		t.Fatal(err)
	}
	w := &wire{t, conn, pgproto3.NewFrontend(conn, conn)}
	for {
		switch m, err := w.Receive(); m := m.(type) {
		case *pgproto3.ErrorResponse:
			return w, m
		case *pgproto3.ReadyForQuery:
			return w, nil
		case nil:
			t.Fatalf("neither ready nor an error: %v", err)
		}
	}
}

// TestReplicationRefused: whatever PostgreSQL takes for a replication connection is
// refused, and nothing else is.
func TestReplicationRefused(t *testing.T) {
	f := start(t, shared, users())
	for _, values := range [][]string{
		{"true"}, {"TRUE"}, {"t"}, {"Tr"}, {"on"}, {"ON"}, {"1"}, {"yes"}, {"y"}, {"database"},
		{"false"}, {"f"}, {"off"}, {"of"}, {"no"}, {"N"}, {"0"},
		{"Database"}, {"o"}, {""}, {" true"}, {"true "}, {"2"}, {"10"}, {"maybe"}, {"truee"}, {"true, false"},
		{"false", "true"}, {"true", "false"}, {"database", "false"}, {"database", "true"}, {"false", "database"}, {"true", "x"}, {"x", "false"},
	} {
		parameters := []string{"user", "postgres", "database", f.database}
		for _, v := range values {
			parameters = append(parameters, "replication", v)
		}
		message := startup(pgproto3.ProtocolVersion30, parameters...)
		w, direct := opened(t, address(f.cluster), message)
		_, got := opened(t, f.addr, message)
		if direct != nil {
			if got == nil || got.Code != direct.Code || got.Message != direct.Message || got.Hint != direct.Hint || got.Severity != direct.Severity {
				t.Errorf("replication=%q: got %+v, want %+v", values, got, direct)
			}
			continue
		}
		w.Send(&pgproto3.Query{String: "IDENTIFY_SYSTEM"})
		w.Flush()
		m, err := w.Receive()
		if err != nil {
			t.Fatal(err)
		}
		_, replicates := m.(*pgproto3.RowDescription)
		w.send(&pgproto3.Terminate{}).Flush()
		io.Copy(io.Discard, w.conn) // until another may take its place
		switch {
		case replicates && (got == nil || got.Code != "0A000" || got.Severity != "FATAL" || !strings.Contains(got.Hint, "postgres.replication")):
			t.Errorf("replication=%q: got %+v, want 0A000", values, got)
		case !replicates && got != nil:
			t.Errorf("replication=%q: got %+v for an ordinary session", values, got)
		}
	}
}

// replicated is a proxy that lets the replication connections of backup pass.
func replicated(t *testing.T) *fixture {
	t.Helper()
	c := ownCluster(t, "wal_level = logical", "log_statement = 'all'", "log_replication_commands = on")
	for _, sql := range []string{"CREATE ROLE app LOGIN SUPERUSER REPLICATION", "CREATE ROLE backup LOGIN SUPERUSER REPLICATION"} {
		exec1(t, c.direct(t, "postgres"), sql)
	}
	f := start(t, c, users(), func(cfg *dbproxy.Config, _ *datakey.Config) {
		cfg.Replication, cfg.RawRoles = dbproxy.ReplicationPass, []string{"backup"}
	})
	conn := f.connect(t, pgx.QueryExecModeExec)
	exec1(t, conn, usersDDL)
	exec1(t, conn, "INSERT INTO users (email, ssn, note) VALUES ('rpmark-1', 'rpmark-2', 'plain-1')")
	return f
}

func (f *fixture) as(user string) string {
	return fmt.Sprintf("host=127.0.0.1 port=%d user=%s dbname=%s sslmode=disable", f.port, user, f.database)
}

// sealedOnly looks through all files of a directory for what must and must not be
// there.
func sealedOnly(t *testing.T, what, dir, present string) {
	t.Helper()
	c := &cluster{dir: dir}
	if len(c.contains(t, present)) == 0 {
		t.Errorf("%s: %s is missing", what, present)
	}
	if files := c.contains(t, "rpmark"); len(files) > 0 {
		t.Errorf("%s: plaintext is in %v", what, files)
	}
}

// TestReplicationRoles: an SQL session cannot leave the proxy's rules behind by a
// word in its connection string.
func TestReplicationRoles(t *testing.T) {
	f := replicated(t)
	for _, kind := range []string{"true", "database"} {
		_, got := opened(t, f.addr, startup(pgproto3.ProtocolVersion30, "user", "app", "database", f.database, "replication", kind))
		if got == nil || got.Code != "28000" || got.Severity != "FATAL" || !strings.Contains(got.Hint, "postgres.raw_roles") {
			t.Errorf("replication=%s of a role that is not raw: got %+v, want 28000", kind, got)
		}
	}
	// A raw role gets what is stored, and stores no plaintext.
	url := f.as("backup") + " replication=database"
	out, err := psql(t, url, nil, "SELECT email, note FROM users;")
	if err != nil || !strings.HasPrefix(out, `\x`) || !strings.HasSuffix(out, "|plain-1\n") {
		t.Errorf("SELECT: %v: %s", err, out)
	}
	if out, err := psql(t, url, nil, "INSERT INTO users (email) VALUES ('plaintext');"); err == nil || !strings.Contains(out, "sidekey_sealed_email") {
		t.Errorf("INSERT: %v: %s", err, out)
	}
	if out, err := psql(t, f.as("backup")+" replication=true", nil, "SELECT email FROM users;"); err == nil || !strings.Contains(out, "cannot execute SQL commands in WAL sender for physical replication") {
		t.Errorf("SQL without a database: %v: %s", err, out)
	}
	if out, err := psql(t, f.as("backup")+" replication=true", nil, "IDENTIFY_SYSTEM;"); err != nil {
		t.Errorf("IDENTIFY_SYSTEM: %v: %s", err, out)
	}
	// Longer names than the server's are another's once it has cut them.
	for _, parameters := range [][]string{{"user", strings.Repeat("x", 64)}, {"user", "backup", "database", strings.Repeat("x", 64)}} {
		if _, got := opened(t, f.addr, startup(pgproto3.ProtocolVersion30, parameters...)); got == nil || got.Code != "28000" {
			t.Errorf("%s: got %+v, want 28000", parameters, got)
		}
	}
	for _, want := range []string{`"sidekey.replication":"logical"`, `"sidekey.replication":"physical"`} {
		if !slices.ContainsFunc(records(t, f), func(line string) bool {
			return strings.Contains(line, want) && strings.Contains(line, `"postgres.session"`) && strings.Contains(line, `"db.user":"backup"`)
		}) {
			t.Errorf("no record of a session has %s", want)
		}
	}
}

// records are the lines of the audit log.
func records(t *testing.T, f *fixture) (lines []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(f.auditDir, "*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no audit log: %v", err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, strings.Split(string(b), "\n")...)
	}
	return lines
}

// lsn is how far the server has written.
func (c *cluster) lsn(t *testing.T) (lsn string) {
	t.Helper()
	if err := c.direct(t, "postgres").QueryRow(t.Context(), "SELECT pg_current_wal_lsn()::text").Scan(&lsn); err != nil {
		t.Fatal(err)
	}
	return lsn
}

// TestReplicationPasses has PostgreSQL's own programs replicate through the proxy:
// what they get is ciphertext.
func TestReplicationPasses(t *testing.T) {
	f := replicated(t)
	conn := f.connect(t, pgx.QueryExecModeExec)

	// pg_recvlogical
	logical := filepath.Join(t.TempDir(), "changes")
	if out, err := tool(t, "pg_recvlogical", "-d", f.as("backup"), "--slot=s", "--create-slot", "-P", "test_decoding"); err != nil {
		t.Fatalf("pg_recvlogical --create-slot: %v: %s", err, out)
	}
	exec1(t, conn, "INSERT INTO users (email, ssn, note) VALUES ('rpmark-3', 'rpmark-4', 'plain-2')")
	end := f.cluster.lsn(t)
	exec1(t, conn, "UPDATE users SET note = 'behind' WHERE email = 'rpmark-3'")
	if out, err := tool(t, "pg_recvlogical", "-d", f.as("backup"), "--slot=s", "--start", "--no-loop", "--endpos="+end, "-f", logical); err != nil {
		t.Fatalf("pg_recvlogical: %v: %s", err, out)
	}
	sealedOnly(t, "pg_recvlogical", filepath.Dir(logical), "plain-2")
	if out, err := tool(t, "pg_recvlogical", "-d", f.as("backup"), "--slot=s", "--drop-slot"); err != nil {
		t.Errorf("pg_recvlogical --drop-slot: %v: %s", err, out)
	}

	// pg_receivewal
	wal := t.TempDir()
	if out, err := tool(t, "pg_receivewal", "-d", f.as("backup"), "--slot=w", "--create-slot"); err != nil {
		t.Fatalf("pg_receivewal --create-slot: %v: %s", err, out)
	}
	exec1(t, conn, "INSERT INTO users (email, ssn, note) VALUES ('rpmark-5', 'rpmark-6', 'plain-3')")
	end = f.cluster.lsn(t)
	exec1(t, conn, "UPDATE users SET note = 'behind' WHERE email = 'rpmark-3'")
	if out, err := tool(t, "pg_receivewal", "-d", f.as("backup"), "-D", wal, "--slot=w", "--no-loop", "--endpos="+end); err != nil {
		t.Fatalf("pg_receivewal: %v: %s", err, out)
	}
	sealedOnly(t, "pg_receivewal", wal, "plain-3")

	// pg_basebackup, and a server on it that streams through the proxy.
	standby := standbyOf(t, f.as("backup"))
	sealedOnly(t, "pg_basebackup", standby.dir, "plain-3")
	exec1(t, conn, "INSERT INTO users (email, ssn, note) VALUES ('rpmark-7', 'rpmark-8', 'plain-4')")
	caughtUp(t, f.cluster, standby)
	sealedOnly(t, "a standby", standby.dir, "plain-4")
	var email, ssn string
	there := dial(t, f.replica(t, func(cfg *dbproxy.Config) { cfg.Upstream.Address = address(standby) }).url(), pgx.QueryExecModeExec)
	if err := there.QueryRow(t.Context(), "SELECT email, ssn FROM users WHERE note = 'plain-4'").Scan(&email, &ssn); err != nil || email != "rpmark-7" || ssn != "rpmark-8" {
		t.Errorf("on the standby: got %q, %q, %v", email, ssn, err)
	}
	noCanary(t, f, "rpmark")
}

// TestSubscription: another server subscribes through the proxy, and stores what
// was stored.
func TestSubscription(t *testing.T) {
	f := replicated(t)
	exec1(t, f.connect(t, pgx.QueryExecModeExec), "CREATE PUBLICATION p FOR TABLE users")
	there := ownCluster(t).direct(t, "postgres")
	exec1(t, there, "CREATE TABLE users (id int PRIMARY KEY, email bytea, ssn bytea, pin bytea, note text)")
	exec1(t, there, "CREATE SUBSCRIPTION s CONNECTION '"+f.as("backup")+"' PUBLICATION p")
	exec1(t, f.connect(t, pgx.QueryExecModeExec), "INSERT INTO users (email, ssn, note) VALUES ('rpmark-9', 'rpmark-10', 'plain-5')")
	stored := "SELECT string_agg(encode(email, 'hex') || ' ' || encode(ssn, 'hex') || ' ' || note, ',' ORDER BY id) FROM users"
	var want, got string
	if err := f.direct(t).QueryRow(t.Context(), stored).Scan(&want); err != nil || !strings.Contains(want, "plain-5") {
		t.Fatalf("got %q, %v", want, err)
	}
	waitFor(t, func() bool {
		return there.QueryRow(t.Context(), "SELECT note FROM users WHERE note = 'plain-5'").Scan(new(string)) == nil
	})
	waitFor(t, func() bool { return there.QueryRow(t.Context(), stored).Scan(&got) == nil && got == want })
	exec1(t, there, "DROP SUBSCRIPTION s")
}

// TestReplicationOfConfig: pass without a role that it lets pass is a mistake.
func TestReplicationOfConfig(t *testing.T) {
	f := start(t, shared, users())
	cfg := dbproxy.Config{Listen: "127.0.0.1:0", Upstream: dbproxy.UpstreamConfig{Address: address(shared)}, AdminURLFile: f.urlFile, Replication: dbproxy.ReplicationPass}
	if _, err := dbproxy.New(cfg, users(), nil, f.audit, nil); err == nil || !strings.HasPrefix(err.Error(), "postgres.replication: pass needs raw_roles") {
		t.Errorf("got %v", err)
	}
	cfg.Replication = "yes"
	if err := cfg.Validate(); err == nil || err.Error() != `postgres.replication: "yes" is not refuse or pass` {
		t.Errorf("got %v", err)
	}
	// Without rules there is nothing to get around, unless the operator says so.
	plain := start(t, shared, nil)
	if _, got := opened(t, plain.addr, startup(pgproto3.ProtocolVersion30, "user", "postgres", "replication", "true")); got != nil {
		t.Errorf("without rules: %+v", got)
	}
	strict := start(t, shared, nil, func(cfg *dbproxy.Config, _ *datakey.Config) { cfg.Replication = dbproxy.ReplicationRefuse })
	if _, got := opened(t, strict.addr, startup(pgproto3.ProtocolVersion30, "user", "postgres", "replication", "true")); got == nil || got.Code != "0A000" {
		t.Errorf("refused without rules: got %+v, want 0A000", got)
	}
}
