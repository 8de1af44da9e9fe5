// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/sidekey/sidekey/dbproxy"
	"github.com/sidekey/sidekey/hsm"
	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/keysvc/keysvctest"
	"github.com/sidekey/sidekey/proxy"
	"github.com/sidekey/sidekey/proxy/datakey"
)

// pgBin has Debian's programs, of PostgreSQL 15: the server's unless serverDir is set.
const pgBin = "/usr/lib/postgresql/15/bin"

// clientBin has the client programs: Debian's, and for servers that those refuse,
// being newer, what e2e/postgres/fetch.sh has.
var clientBin = pgBin

// serverDir has the bin, lib and share of the server that the tests run on, as
// e2e/postgres/fetch.sh prints it. Empty is Debian's.
var serverDir = os.Getenv("SIDEKEY_POSTGRES")

// serverVersion is the major version of that server.
func serverVersion(t testing.TB) int {
	t.Helper()
	n, err := shared.version(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// version is the server's major version.
func (c *cluster) version(ctx context.Context) (int, error) {
	conn, err := pgx.Connect(ctx, c.url("postgres", "postgres"))
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.Background())
	var number string
	if err := conn.QueryRow(ctx, "SHOW server_version_num").Scan(&number); err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(number)
	return n / 10000, err
}

// cluster is a PostgreSQL server of the tests' own.
type cluster struct {
	server string // directory of its programs; "" for Debian's
	dir    string
	port   int
	cmd    *exec.Cmd
}

var shared *cluster

// token is that of all key services of the package.
var token *hsm.Token

func TestMain(m *testing.M) { os.Exit(keysvctest.Main(onCluster{m}, &token)) }

// onCluster runs tests while the shared cluster runs.
type onCluster struct{ tests *testing.M }

func (o onCluster) Run() int {
	dir, err := os.MkdirTemp("", "dbproxy")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	shared, err = startCluster(serverDir, dir, "log_statement = 'all'", "log_parameter_max_length = -1", "max_connections = 500")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer shared.stop()
	if clientBin, err = clientsOf(shared); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return o.tests.Run()
}

// clientsOf is the directory of client programs that a server can be used with.
func clientsOf(c *cluster) (string, error) {
	version, err := c.version(context.Background())
	if err != nil || version <= 15 {
		return pgBin, err
	}
	cmd := exec.Command("../e2e/postgres/fetch.sh", "programs")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("fetching client programs: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "bin"), nil
}

func postgresUser() (uid, gid int, err error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		return 0, 0, err
	}
	uid, _ = strconv.Atoi(u.Uid)
	gid, _ = strconv.Atoi(u.Gid)
	return uid, gid, nil
}

// asPostgres is a program of a server, to be run as the server's user.
func asPostgres(server, name string, args ...string) (*exec.Cmd, error) {
	cmd := exec.Command(filepath.Join(pgBin, name), args...)
	if server != "" {
		cmd = exec.Command(filepath.Join(server, "bin", name), args...)
		cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+filepath.Join(server, "lib"))
	}
	return cmd, ofPostgres(cmd)
}

// ofPostgres has a program run as the server's user.
func ofPostgres(cmd *exec.Cmd) error {
	uid, gid, err := postgresUser()
	if err != nil {
		return err
	}
	cmd.Dir = "/"
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, Pdeathsig: syscall.SIGKILL}
	}
	return nil
}

func freePort() int {
	address, err := keysvctest.FreeAddress()
	if err != nil {
		panic(err)
	}
	return int(netip.MustParseAddrPort(address).Port())
}

func startCluster(server, dir string, settings ...string) (*cluster, error) {
	uid, gid, err := postgresUser()
	if err != nil {
		return nil, err
	}
	os.Chmod(dir, 0o711)
	c := &cluster{server: server, dir: filepath.Join(dir, "data"), port: freePort()}
	if err := os.Mkdir(c.dir, 0o700); err != nil {
		return nil, err
	}
	os.Chown(c.dir, uid, gid)
	init, err := asPostgres(server, "initdb", "-D", c.dir, "-U", "postgres", "-E", "UTF8", "--locale=C", "-A", "trust", "-N")
	if err != nil {
		return nil, err
	}
	if out, err := init.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	conf := append([]string{"listen_addresses = '127.0.0.1'", "port = " + strconv.Itoa(c.port), "unix_socket_directories = '" + c.dir + "'",
		"fsync = off", "logging_collector = on", "log_directory = 'log'", "max_wal_size = '64MB'", "min_wal_size = '32MB'", "log_min_error_statement = debug5"}, settings...)
	f, err := os.OpenFile(filepath.Join(c.dir, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(f, strings.Join(conf, "\n"))
	f.Close()
	return c, c.restart()
}

// restart starts a server that does not run.
func (c *cluster) restart() (err error) {
	if c.cmd, err = asPostgres(c.server, "postgres", "-D", c.dir); err != nil {
		return err
	}
	if err := c.cmd.Start(); err != nil {
		return err
	}
	for range 300 {
		conn, err := pgx.Connect(context.Background(), c.url("postgres", "postgres"))
		if err == nil {
			return conn.Close(context.Background())
		}
		time.Sleep(50 * time.Millisecond)
	}
	c.stop()
	return fmt.Errorf("the server does not start")
}

func (c *cluster) stop() {
	c.cmd.Process.Signal(syscall.SIGQUIT)
	c.cmd.Wait()
}

func (c *cluster) url(user, database string) string {
	return fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s?sslmode=prefer", user, c.port, database)
}

// contains says which files of the data directory hold a canary.
func (c *cluster) contains(t *testing.T, canary string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(c.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil // files come and go
		}
		b, err := os.ReadFile(path)
		if err == nil && bytes.Contains(b, []byte(canary)) {
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// fixture is a proxy before a database of its own.
type fixture struct {
	cluster  *cluster
	database string
	proxy    *dbproxy.Proxy
	addr     string
	port     int
	kms      *keysvctest.Server
	keyARN   string // of alias/test
	auditDir string
	audit    *audit.Log
	columns  []proxy.ColumnRule
	urlFile  string
	stop     context.CancelFunc
	moves    datakey.Config // of the migrations
	inOrder  bool           // of columns, which no migration may change
}

func column(table, name, typ, mode string) proxy.ColumnRule {
	return proxy.ColumnRule{Table: table, Column: name, Type: typ, Mode: mode, KeyID: "alias/test"}
}

// start serves a new database of the cluster.
func start(t testing.TB, c *cluster, columns []proxy.ColumnRule, change ...func(*dbproxy.Config, *datakey.Config)) *fixture {
	t.Helper()
	ctx := t.Context()
	f := &fixture{cluster: c, database: fmt.Sprintf("d%d", time.Now().UnixNano()), kms: keysvctest.Start(t, token), auditDir: t.TempDir()}
	_, f.keyARN = f.kms.CreateKey(t, "alias/test")
	admin, err := pgx.Connect(ctx, c.url("postgres", "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(ctx)
	if _, err := admin.Exec(ctx, "CREATE DATABASE "+f.database); err != nil {
		t.Fatal(err)
	}
	urlFile := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(urlFile, []byte(c.url("postgres", f.database)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	f.audit, err = audit.Open(audit.Config{Dir: f.auditDir}, audit.ServiceProxy, log)
	if err != nil {
		t.Fatal(err)
	}
	upstream := fmt.Sprintf("127.0.0.1:%d", c.port)
	cfg := dbproxy.Config{Listen: "127.0.0.1:0", Upstream: dbproxy.UpstreamConfig{Address: upstream}, AdminURLFile: urlFile}
	keyCfg := datakey.Config{}
	for _, ch := range change {
		ch(&cfg, &keyCfg)
	}
	keys, err := datakey.NewCache(keyCfg, f.kms.Client(), log)
	if err != nil {
		t.Fatal(err)
	}
	rules := proxy.Rules{Columns: columns}
	if err := rules.Validate(); err != nil {
		t.Fatal(err)
	}
	p, err := dbproxy.New(cfg, columns, proxy.NewCipher(rules, keys, f.audit), f.audit, log)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Check(ctx); err != nil {
		t.Fatal(err)
	}
	f.proxy = p
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.addr, f.port = ln.Addr().String(), ln.Addr().(*net.TCPAddr).Port
	serveCtx, stop := context.WithCancel(context.Background())
	f.stop, f.columns, f.urlFile = stop, columns, urlFile
	done := make(chan error, 1)
	go func() { done <- p.Serve(serveCtx, ln) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		keys.Close()
		f.audit.Close()
		f.leaves(t, cfg.Upstream.Address == upstream) // a pooler may keep some
	})
	return f
}

// leaves waits until the server has no process of the database any more: the clients
// and the proxy are gone, and none of their connections may be left. Then it has
// nothing more of the database, either, that later tests would have to look through.
func (f *fixture) leaves(t testing.TB, all bool) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	admin, err := pgx.Connect(ctx, f.cluster.url("postgres", "postgres"))
	if err != nil {
		return // the test has stopped the server
	}
	defer admin.Close(context.Background())
	for left := "?"; all && left != ""; time.Sleep(10 * time.Millisecond) {
		err := admin.QueryRow(ctx, "SELECT coalesce(string_agg(pid || ' ' || coalesce(state, '') || ' ' || coalesce(wait_event, '') || ' ' || left(query, 60), '; '), '') FROM pg_stat_activity WHERE datname = $1 AND backend_type = 'client backend'", f.database).Scan(&left)
		if err != nil {
			t.Errorf("connections are left at the server: %s (%v)", left, err)
			break
		}
	}
	if _, err := admin.Exec(context.Background(), "DROP DATABASE IF EXISTS "+f.database+" WITH (FORCE)"); err != nil && !t.Failed() {
		t.Errorf("dropping the database: %v", err)
	}
	logs, _ := filepath.Glob(filepath.Join(f.cluster.dir, "log", "*"))
	for _, name := range logs {
		os.Truncate(name, 0)
	}
}

// replica is another proxy before the same database, under the same keys.
func (f *fixture) replica(t testing.TB, change ...func(*dbproxy.Config)) *fixture {
	t.Helper()
	r := *f
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	keys, err := datakey.NewCache(datakey.Config{}, f.kms.Client(), log)
	if err != nil {
		t.Fatal(err)
	}
	cfg := dbproxy.Config{Listen: "127.0.0.1:0", Upstream: dbproxy.UpstreamConfig{Address: fmt.Sprintf("127.0.0.1:%d", f.cluster.port)}, AdminURLFile: f.urlFile}
	for _, ch := range change {
		ch(&cfg)
	}
	p, err := dbproxy.New(cfg, f.columns, proxy.NewCipher(proxy.Rules{Columns: f.columns}, keys, f.audit), f.audit, log)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.proxy, r.addr = p, ln.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Serve(ctx, ln) }()
	t.Cleanup(func() {
		stop()
		<-done
		keys.Close()
	})
	return &r
}

func (f *fixture) url() string {
	return fmt.Sprintf("postgres://postgres@%s/%s?sslmode=disable", f.addr, f.database)
}

// connect is a pgx connection through the proxy.
func (f *fixture) connect(t testing.TB, mode pgx.QueryExecMode) *pgx.Conn {
	t.Helper()
	return dial(t, f.url(), mode)
}

// direct is a connection past the proxy.
func (f *fixture) direct(t testing.TB) *pgx.Conn {
	t.Helper()
	return dial(t, f.cluster.url("postgres", f.database), pgx.QueryExecModeCacheStatement)
}

func dial(t testing.TB, url string, mode pgx.QueryExecMode) *pgx.Conn {
	t.Helper()
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	cfg.DefaultQueryExecMode = mode
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func exec1(t testing.TB, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}
