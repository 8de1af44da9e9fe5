// SPDX-License-Identifier: Apache-2.0

// Package storetest runs PostgreSQL for tests: a server of the test process's
// own, and a database for each test.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// Role owns the databases of URL. It is no superuser and needs no password.
	Role = "sidekey"
	// Admin is the superuser.
	Admin = "postgres"
	// PasswordRole may do nothing but log in, with Password.
	PasswordRole = "needs_password"
	Password     = "correct horse"
)

// Cluster is a PostgreSQL server that is reached by a Unix socket alone.
type Cluster struct {
	dir   string
	ended chan error // of the running server
	quit  func()
}

// shared is the server of all tests of the process.
var shared struct {
	running atomic.Bool // Main is
	mu      sync.Mutex
	cluster *Cluster // guarded by mu; nil before its first use
	err     error    // guarded by mu; why it did not start
}

// Main runs the tests of a package, which may use URL, and returns what
// TestMain passes to os.Exit:
//
//	func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }
//
// The server starts with the first test that asks for it. A test process that
// is killed leaves a directory sidekey-storetest* behind, which may be removed.
func Main(m interface{ Run() int }) int {
	shared.running.Store(true)
	code := m.Run()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.cluster != nil {
		if err := shared.cluster.remove(); err != nil {
			fmt.Fprintln(os.Stderr, "storetest:", err)
			return 1
		}
	}
	return code
}

// URL is that of a new, empty database of the shared server. The database is
// there for as long as the test runs.
func URL(t testing.TB) string {
	t.Helper()
	return Shared(t).URL(t)
}

// Shared is the server of all tests of the process. They leave it running.
func Shared(t testing.TB) *Cluster {
	t.Helper()
	if !shared.running.Load() {
		t.Fatal("storetest: the package's TestMain does not call storetest.Main")
	}
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.cluster == nil && shared.err == nil {
		shared.cluster, shared.err = newCluster()
	}
	if shared.err != nil {
		t.Fatalf("storetest: %v", shared.err)
	}
	return shared.cluster
}

// New is a server of one test, which may stop it.
func New(t testing.TB, settings ...string) *Cluster {
	t.Helper()
	c, err := newCluster(settings...)
	if err != nil {
		t.Fatalf("storetest: %v", err)
	}
	t.Cleanup(func() {
		if err := c.remove(); err != nil {
			t.Errorf("storetest: %v", err)
		}
	})
	return c
}

func newCluster(settings ...string) (_ *Cluster, err error) {
	dir, err := os.MkdirTemp("", "sidekey-storetest")
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.remove())
		}
	}()
	if err := c.init(settings); err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	return c, c.Exec("postgres",
		"CREATE ROLE "+Role+" LOGIN", "CREATE ROLE "+PasswordRole+" LOGIN PASSWORD '"+Password+"'")
}

// init makes the data directory.
func (c *Cluster) init(settings []string) error {
	if err := os.Chmod(c.dir, 0o711); err != nil {
		return err
	}
	if err := os.Mkdir(c.Data(), 0o700); err != nil {
		return err
	}
	if err := giveAway(c.Data()); err != nil {
		return err
	}
	cmd, err := asPostgres("initdb", "-D", c.Data(), "-U", Admin, "-E", "UTF8", "--locale=C.UTF-8",
		"--locale-provider=icu", "--icu-locale=en-US", "-A", "trust", "-N") // a collation that is not that of bytes
	if err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	settings = append([]string{
		"listen_addresses = ''", "unix_socket_directories = '" + c.Data() + "'",
		"fsync = off", "max_connections = 200", "log_min_messages = panic",
	}, settings...)
	return errors.Join(
		appendTo(filepath.Join(c.Data(), "postgresql.conf"), settings...),
		os.WriteFile(filepath.Join(c.Data(), "pg_hba.conf"), []byte("local all "+PasswordRole+" scram-sha-256\nlocal all all trust\n"), 0o600))
}

// Start starts the server after Stop.
func (c *Cluster) Start() error {
	cmd, err := asPostgres("postgres", "-D", c.Data())
	if err != nil {
		return err
	}
	cmd.Stderr = os.Stderr
	started := make(chan error)
	c.ended = make(chan error, 1)
	go func() {
		// The kernel takes the thread that starts the server for its parent.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			c.ended <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	c.quit = sync.OnceFunc(func() { cmd.Process.Signal(syscall.SIGQUIT) })
	return c.ready()
}

func (c *Cluster) ready() (err error) {
	for range 600 {
		if err = c.Exec("postgres", "SELECT"); err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("the server does not start: %w", err)
}

// Stop ends the server at once, as a crash does.
func (c *Cluster) Stop() {
	if c.quit != nil {
		c.quit()
		<-c.ended
		c.quit = nil
	}
}

func (c *Cluster) remove() error {
	c.Stop()
	return os.RemoveAll(c.dir)
}

// Data is the data directory. The socket is in it.
func (c *Cluster) Data() string { return filepath.Join(c.dir, "data") }

// databases counts those of all servers.
var databases atomic.Int64

// URL is that of a new, empty database. The database is there for as long as
// the test runs, if the server is.
func (c *Cluster) URL(t testing.TB) string {
	t.Helper()
	name := "d" + strconv.FormatInt(databases.Add(1), 10)
	if err := c.Exec("postgres", "CREATE DATABASE "+name+" OWNER "+Role); err != nil {
		t.Fatalf("storetest: %v", err)
	}
	t.Cleanup(func() {
		if c.quit == nil {
			return
		}
		if err := c.Exec("postgres", "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("storetest: %v", err)
		}
	})
	return c.url(Role, name)
}

func (c *Cluster) url(role, database string) string {
	return "postgres://" + role + "@/" + database + "?sslmode=disable&host=" + url.QueryEscape(c.Data())
}

// As is the same URL for another role.
func As(rawURL, role string) string {
	return strings.Replace(rawURL, "://"+Role+"@", "://"+role+"@", 1)
}

// Exec runs statements as the superuser, each in a transaction of its own.
func (c *Cluster) Exec(database string, statements ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.url(Admin, database))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

func appendTo(path string, lines ...string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, strings.Join(lines, "\n"))
	return errors.Join(err, f.Close())
}

// asPostgres is a command of the newest PostgreSQL installed. PostgreSQL
// refuses to run as root, so root runs it as user postgres.
func asPostgres(name string, args ...string) (*exec.Cmd, error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(filepath.Join(bin, name), args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT}
	if os.Geteuid() == 0 {
		uid, gid, err := account()
		if err != nil {
			return nil, err
		}
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	return cmd, nil
}

// giveAway hands a directory to the user that PostgreSQL runs as.
func giveAway(dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	uid, gid, err := account()
	if err != nil {
		return err
	}
	return os.Chown(dir, uid, gid)
}

func account() (uid, gid int, err error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		return 0, 0, fmt.Errorf("PostgreSQL does not run as root: %w", err)
	}
	uid, err = strconv.Atoi(u.Uid)
	if err != nil {
		return 0, 0, err
	}
	gid, err = strconv.Atoi(u.Gid)
	return uid, gid, err
}

// programs finds the directory of PostgreSQL's programs.
func programs() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", errors.Join(errors.New("no initdb found: install the package postgresql"), err)
	}
	newest := slices.MaxFunc(found, func(a, b string) int { return major(a) - major(b) })
	return filepath.Dir(newest), nil
}

func major(initdb string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(initdb))))
	return n
}
