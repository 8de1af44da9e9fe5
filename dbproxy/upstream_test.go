// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/sidekey/sidekey/dbproxy"
)

// ownCluster is a server that a test may stop.
func ownCluster(t *testing.T, settings ...string) *cluster {
	t.Helper()
	return ownClusterOf(t, serverDir, settings...)
}

// ownClusterOf is one of the programs in a directory, as serverDir is.
func ownClusterOf(t *testing.T, server string, settings ...string) *cluster {
	t.Helper()
	c, err := startCluster(server, sharedDir(t), settings...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.stop)
	return c
}

// sharedDir is a directory for servers that run as another user, to whom t.TempDir is
// closed.
func sharedDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "dbproxy")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

// standby makes a streaming standby of the cluster.
func (c *cluster) standby(t *testing.T) *cluster {
	t.Helper()
	return standbyOf(t, c.url("postgres", "postgres"))
}

// standbyOf makes one of the server that a URL leads to, and by that URL.
func standbyOf(t *testing.T, url string) *cluster {
	t.Helper()
	base := sharedDir(t)
	uid, gid, err := postgresUser()
	if err != nil {
		t.Fatal(err)
	}
	os.Chown(base, uid, gid)
	s := &cluster{server: serverDir, dir: filepath.Join(base, "data"), port: freePort()}
	backup := exec.Command(filepath.Join(clientBin, "pg_basebackup"), "-D", s.dir, "-c", "fast", "-X", "stream", "-d", url)
	if err := ofPostgres(backup); err != nil {
		t.Fatal(err)
	}
	if out, err := backup.CombinedOutput(); err != nil {
		t.Fatalf("pg_basebackup: %v: %s", err, out)
	}
	f, err := os.OpenFile(filepath.Join(s.dir, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	// With -R it would write options that an older server's libpq does not know.
	fmt.Fprintf(f, "port = %d\nunix_socket_directories = '%s'\nprimary_conninfo = '%s'\n", s.port, s.dir, url)
	f.Close()
	if err := os.WriteFile(filepath.Join(s.dir, "standby.signal"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.restart(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	return s
}

// address is that of the upstream before the servers.
func address(servers ...*cluster) string {
	var all []string
	for _, c := range servers {
		all = append(all, "127.0.0.1:"+strconv.Itoa(c.port))
	}
	return strings.Join(all, ",")
}

// adminOf writes an admin URL that names the servers.
func adminOf(t *testing.T, urlFile string, servers ...*cluster) {
	t.Helper()
	old, err := os.ReadFile(urlFile)
	if err != nil {
		t.Fatal(err)
	}
	database := old[strings.LastIndex(string(old), "/"):]
	if err := os.WriteFile(urlFile, []byte("postgres://postgres@"+address(servers...)+string(database)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// caughtUp waits until the standby has replayed what the primary has written.
func caughtUp(t *testing.T, primary, standby *cluster) {
	t.Helper()
	var lsn string
	conn := dial(t, primary.url("postgres", "postgres"), pgx.QueryExecModeExec)
	if err := conn.QueryRow(t.Context(), "SELECT pg_current_wal_lsn()::text").Scan(&lsn); err != nil {
		t.Fatal(err)
	}
	replica := dial(t, standby.url("postgres", "postgres"), pgx.QueryExecModeExec)
	waitFor(t, func() bool {
		var there bool
		return replica.QueryRow(t.Context(), "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", lsn).Scan(&there) == nil && there
	})
}

// portOf tells which server a session is on.
func portOf(t *testing.T, conn *pgx.Conn) (port int) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), "SELECT inet_server_port()").Scan(&port); err != nil {
		t.Fatal(err)
	}
	return port
}

func TestTargetSessionAttrs(t *testing.T) {
	primary := ownCluster(t)
	away := &cluster{port: freePort()}
	first := start(t, primary, users())
	exec1(t, first.connect(t, pgx.QueryExecModeExec), usersDDL)
	exec1(t, first.connect(t, pgx.QueryExecModeExec), "INSERT INTO users (email) VALUES ('on both')")
	standby := primary.standby(t)
	caughtUp(t, primary, standby)
	for _, c := range []struct {
		target  string
		servers []*cluster
		want    *cluster // nil: none
	}{
		{"", []*cluster{away, standby, primary}, standby},
		{dbproxy.TargetAny, []*cluster{primary, standby}, primary},
		{dbproxy.TargetReadWrite, []*cluster{standby, away, primary}, primary},
		{dbproxy.TargetPrimary, []*cluster{standby, primary}, primary},
		{dbproxy.TargetReadOnly, []*cluster{primary, standby}, standby},
		{dbproxy.TargetStandby, []*cluster{primary, standby}, standby},
		{dbproxy.TargetPreferStandby, []*cluster{primary, standby}, standby},
		{dbproxy.TargetPreferStandby, []*cluster{primary, away}, primary},
		{dbproxy.TargetStandby, []*cluster{primary, away}, nil},
		{dbproxy.TargetReadWrite, []*cluster{standby}, nil},
	} {
		f := first.replica(t, func(cfg *dbproxy.Config) {
			cfg.Upstream = dbproxy.UpstreamConfig{Address: address(c.servers...), TargetSessionAttrs: c.target}
		})
		conn, err := pgx.Connect(t.Context(), f.url())
		if c.want == nil {
			if state(err) != "57P03" {
				t.Errorf("%s of %s: got %v, want 57P03", c.target, address(c.servers...), err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s of %s: %v", c.target, address(c.servers...), err)
			continue
		}
		defer conn.Close(context.Background())
		if got := portOf(t, conn); got != c.want.port {
			t.Errorf("%s of %s: on port %d, want %d", c.target, address(c.servers...), got, c.want.port)
		}
		var email string
		if err := conn.QueryRow(t.Context(), "SELECT email FROM users").Scan(&email); err != nil || email != "on both" {
			t.Errorf("%s: got %q, %v", c.target, email, err)
		}
	}
}

// TestFailover: the primary dies, its standby is promoted. Sessions end with an
// error, new ones go on, with protected values as they were.
func TestFailover(t *testing.T) {
	primary := ownCluster(t)
	plain := start(t, primary, users())
	standby := primary.standby(t)
	adminOf(t, plain.urlFile, primary, standby)
	f := plain.replica(t, func(cfg *dbproxy.Config) {
		cfg.Upstream = dbproxy.UpstreamConfig{Address: address(primary, standby), TargetSessionAttrs: dbproxy.TargetReadWrite}
	})
	conn := f.connect(t, pgx.QueryExecModeCacheStatement)
	exec1(t, conn, usersDDL)
	exec1(t, conn, "INSERT INTO users (email, pin) VALUES ('canary-before', 1)")
	caughtUp(t, primary, standby)
	primary.stop()
	if _, err := conn.Exec(t.Context(), "SELECT email FROM users"); err == nil {
		t.Error("a session outlives its server")
	}
	// Nobody can write until the standby is promoted.
	if c, err := pgx.Connect(t.Context(), f.url()); state(err) != "57P03" {
		t.Errorf("without a primary: got %v, %v, want 57P03", c, err)
	}
	exec1(t, dial(t, standby.url("postgres", "postgres"), pgx.QueryExecModeExec), "SELECT pg_promote()")
	waitFor(t, func() bool {
		c, err := pgx.Connect(t.Context(), f.url())
		if err != nil {
			return false
		}
		conn = c
		return true
	})
	defer conn.Close(context.Background())
	var email string
	if err := conn.QueryRow(t.Context(), "SELECT email FROM users WHERE pin = 1").Scan(&email); err != nil || email != "canary-before" {
		t.Errorf("after the failover: got %q, %v", email, err)
	}
	exec1(t, conn, "INSERT INTO users (email, ssn, pin) VALUES ('canary-after', '1', 2)") // ssn has no key before
	var ssn string
	if err := conn.QueryRow(t.Context(), "SELECT ssn FROM users WHERE email = 'canary-after'").Scan(&ssn); err != nil || ssn != "1" {
		t.Errorf("after the failover: got %q, %v", ssn, err)
	}
	exec1(t, standby.direct(t, f.database), "CHECKPOINT")
	for _, canary := range []string{"canary-after", "canary-before"} {
		if files := standby.contains(t, canary); len(files) > 0 {
			t.Errorf("%s is in %v", canary, files)
		}
	}
}

// direct is a connection to the server itself.
func (c *cluster) direct(t testing.TB, database string) *pgx.Conn {
	t.Helper()
	return dial(t, c.url("postgres", database), pgx.QueryExecModeExec)
}

// TestCancelReachesItsHost: with two hosts the request goes to the one that the
// session is on, and from another replica of the proxy to both.
func TestCancelReachesItsHost(t *testing.T) {
	primary := ownCluster(t)
	plain := start(t, primary, users())
	standby := primary.standby(t)
	change := func(cfg *dbproxy.Config) {
		cfg.Upstream = dbproxy.UpstreamConfig{Address: address(primary, standby), TargetSessionAttrs: dbproxy.TargetStandby}
	}
	f, other := plain.replica(t, change), plain.replica(t, change)
	for _, through := range []*fixture{f, other} {
		conn := f.connect(t, pgx.QueryExecModeExec)
		cfg, err := pgx.ParseConfig(through.url())
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() {
			_, err := conn.Exec(context.Background(), "SELECT pg_sleep(60)")
			ended <- err
		}()
		raw := standby.direct(t, f.database)
		waitFor(t, func() bool {
			var n int
			err := raw.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(%' AND state = 'active'").Scan(&n)
			return err == nil && n == 1
		})
		cancelThrough(t, fmt.Sprintf("%s:%d", cfg.Host, cfg.Port), conn.PgConn().PID(), conn.PgConn().SecretKey())
		select {
		case err := <-ended:
			if state(err) != "57014" {
				t.Errorf("got %v, want 57014", err)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("the request to cancel is lost")
		}
	}
}

// tool runs one of PostgreSQL's programs.
func tool(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), filepath.Join(clientBin, name), args...).CombinedOutput()
	return string(out), err
}

// TestHostsOfConfig: settings that cannot work are named.
func TestHostsOfConfig(t *testing.T) {
	for _, c := range []struct {
		upstream dbproxy.UpstreamConfig
		want     string
	}{
		{dbproxy.UpstreamConfig{Address: "a:1,b"}, `postgres.upstream.address: "b" is not host:port or a path`},
		{dbproxy.UpstreamConfig{Address: "a:1,"}, `postgres.upstream.address: "" is not host:port or a path`},
		{dbproxy.UpstreamConfig{Address: "a:1, /run", TLS: dbproxy.TLSRequire}, "postgres.upstream.tls: a Unix socket has no TLS"},
		{dbproxy.UpstreamConfig{Address: "a:1,b:2", TargetSessionAttrs: "master"}, `postgres.upstream.target_session_attrs: "master" is not any, read-write, read-only, primary, standby or prefer-standby`},
		{dbproxy.UpstreamConfig{Address: "a:1, b:2,/run", TargetSessionAttrs: dbproxy.TargetReadWrite}, ""},
	} {
		cfg := dbproxy.Config{Listen: "127.0.0.1:1", Upstream: c.upstream}
		got := ""
		if err := cfg.Validate(); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%+v: got %q, want %q", c.upstream, got, c.want)
		}
	}
}

func cancelThrough(t *testing.T, addr string, pid uint32, secret []byte) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	b, err := (&pgproto3.CancelRequest{ProcessID: pid, SecretKey: secret}).Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(b); err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, conn) // until it has been passed on
}
