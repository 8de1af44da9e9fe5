// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// The primary is killed while clients write, its standby is promoted, and the clients go
// on: with synchronous replication nothing that was acknowledged is lost, and keys made
// before and after the failover work.
func TestFailover(t *testing.T) {
	const rules = `    - {table: written, column: body, type: text, mode: equality, key_id: alias/dev}
    - {table: written, column: later, type: text, mode: random, key_id: alias/dev}
`
	primary := newServer(t)
	primary.start(t)
	primary.mustExec(t, "create role app login password '"+shared.secret(t, "app")+"'")
	primary.mustExec(t, "create database app owner app")
	standby := primary.standby(t)
	primary.mustExec(t, "alter system set synchronous_standby_names to '*'")
	primary.mustExec(t, "select pg_reload_conf()")
	mustSoon(t, "the standby is not synchronous", func() bool {
		return mustPsql(t, primary.url("postgres"), "select sync_state from pg_stat_replication") == "sync"
	})
	admin := writeFile(t, strings.Replace(primary.url("app"), primary.address, primary.address+","+standby.address, 1))
	_, address := sidecarBefore(t, primary.address+","+standby.address+"\n    target_session_attrs: read-write", rules,
		shared.path("postgres-admin.url"), admin)
	url := pooledURL(address)
	mustPsql(t, url, "create table written (client int, n int, body text, later text, primary key (client, n))")

	text := fmt.Sprintf("written-%d", time.Now().UnixNano())
	writers := []*writer{{client: 0}, {client: 1}, {client: 2}}
	run, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, w := range writers {
		running.Go(func() { w.write(run, t, url, text) })
	}
	python := startPsycopgWriter(t, url, text)
	progress := func() {
		t.Helper()
		reached := make([]int64, len(writers))
		for i, w := range writers {
			reached[i] = w.acknowledged.Load() + 20
		}
		before := python.acknowledged(t)
		mustSoon(t, "the clients do not get on", func() bool {
			for i, w := range writers {
				if w.acknowledged.Load() < reached[i] {
					return false
				}
			}
			return python.acknowledged(t) > before+20
		})
	}
	progress()
	primary.process.stop(syscall.SIGKILL)
	if conn, err := shared.tryConnect(t, url, pgx.QueryExecModeExec); sqlState(err) != "57P03" {
		t.Errorf("without a primary: got %v, %v; want SQLSTATE 57P03", conn, err)
	}
	standby.mustExec(t, "select pg_promote()")
	progress()
	stop()
	running.Wait()
	python.end(t)

	acknowledged := map[int]int64{3: python.acknowledged(t)}
	for _, w := range writers {
		acknowledged[w.client] = w.acknowledged.Load()
	}
	for client, count := range acknowledged {
		got := mustPsql(t, url, fmt.Sprintf("select count(*) from written where client = %d and n < %d and body = '%s'", client, count, text))
		if got != fmt.Sprint(count) {
			t.Errorf("client %d: %s rows are there, %d were acknowledged", client, got, count)
		}
	}
	mustPsql(t, url, "update written set later = 'made "+text+"' where client = 0 and n = 0") // its key is made only now
	if got := mustPsql(t, url, "select body, later from written where client = 0 and n = 0"); got != text+"|made "+text {
		t.Errorf("the first row: %s", got)
	}
	standby.mustExec(t, "checkpoint")
	out, err := exec.Command("grep", "-rlF", text, standby.dir).CombinedOutput()
	var found *exec.ExitError
	if !errors.As(err, &found) || found.ExitCode() != 1 { // 1: nothing found
		t.Errorf("looking for plaintext: %v, %s", err, out)
	}
}

// mustSoon waits until something is done.
func mustSoon(t *testing.T, failure string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(failure)
		}
	}
}

// writer writes rows one after the other, each until it is acknowledged.
type writer struct {
	client       int
	acknowledged atomic.Int64 // rows, from 0 on
}

func (w *writer) write(ctx context.Context, t *testing.T, url, text string) {
	var conn *pgx.Conn
	var err error
	for ctx.Err() == nil {
		if conn == nil || conn.IsClosed() {
			if conn, err = shared.tryConnect(t, url, pgx.QueryExecModeCacheStatement); err != nil {
				time.Sleep(50 * time.Millisecond)
				continue
			}
		}
		_, err := conn.Exec(t.Context(), "insert into written (client, n, body) values ($1, $2, $3)", w.client, w.acknowledged.Load(), text)
		// The one before may have been committed without being acknowledged.
		if err == nil || sqlState(err) == "23505" {
			w.acknowledged.Add(1)
		} else {
			conn.Close(t.Context())
		}
	}
	if conn != nil {
		conn.Close(t.Context())
	}
}

// psycopgWriter does the same in Python.
type psycopgWriter struct {
	*process
	stopFile string
}

func startPsycopgWriter(t *testing.T, url, text string) *psycopgWriter {
	t.Helper()
	dir := t.TempDir()
	w := &psycopgWriter{stopFile: filepath.Join(dir, "stop")}
	env := []string{"DATABASE_URL=" + url, "PGPASSWORD=" + shared.secret(t, "app"), "TEXT=" + text, "STOP=" + w.stopFile}
	var err error
	if w.process, err = startProcess(filepath.Join(dir, "log"), env, "/usr/bin/python3", "testdata/failover_psycopg.py"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.stop(syscall.SIGKILL) })
	return w
}

// acknowledged counts the lines that it has printed.
func (w *psycopgWriter) acknowledged(t *testing.T) (count int64) {
	t.Helper()
	for lines := bufio.NewScanner(strings.NewReader(readFile(t, w.logPath))); lines.Scan(); count++ {
		if lines.Text() != "acknowledged" {
			t.Fatalf("the client says %s", readFile(t, w.logPath))
		}
	}
	return count
}

func (w *psycopgWriter) end(t *testing.T) {
	t.Helper()
	writeFileAt(t, w.stopFile, "")
	<-w.exited
	if w.err != nil {
		t.Errorf("the client: %v: %s", w.err, readFile(t, w.logPath))
	}
}

// server is a PostgreSQL server of a test's own, whose superuser has the password of
// the shared one's.
type server struct {
	dir, address string
	process      *process
}

// newServer makes a cluster.
func newServer(t *testing.T) *server {
	t.Helper()
	dir := stackDir(t)
	s := &server{dir: filepath.Join(dir, "data"), address: freeAddress(t)}
	password := filepath.Join(dir, "password")
	writeFileAt(t, password, shared.secret(t, "postgres-admin"))
	if out, err := exec.Command("chown", "-R", "postgres", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	serverCommand(t, "initdb", "-D", s.dir, "-U", "sidekey_admin", "--pwfile", password, "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "-N")
	return s
}

// serverCommand runs a server program as the user that it accepts.
func serverCommand(t *testing.T, name string, args ...string) {
	t.Helper()
	command := serverArgs(t, name, args...)
	if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
}

// serverArgs is the command line: setpriv becomes the program, so that a signal meets it.
func serverArgs(t *testing.T, name string, args ...string) []string {
	t.Helper()
	command := append([]string{filepath.Join(filepath.Dir(pgbench(t)), name)}, args...)
	if os.Geteuid() == 0 {
		command = append([]string{"/usr/bin/setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"}, command...)
	}
	return command
}

func (s *server) url(database string) string {
	password, _ := os.ReadFile(shared.path("postgres-admin.secret"))
	return "postgres://sidekey_admin:" + strings.TrimSpace(string(password)) + "@" + s.address + "/" + database + "?sslmode=disable"
}

func (s *server) start(t *testing.T, settings ...string) {
	t.Helper()
	host, port, _ := strings.Cut(s.address, ":")
	args := []string{"-D", s.dir, "-h", host, "-p", port, "-k", ""}
	for _, setting := range settings {
		args = append(args, "-c", setting)
	}
	command := serverArgs(t, "postgres", args...)
	var err error
	if s.process, err = startProcess(filepath.Join(t.TempDir(), "postgres.log"), nil, command[0], command[1:]...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.process.stop(syscall.SIGQUIT) })
	if err := s.process.waitUntil(time.Minute, "does not answer", func() bool {
		_, err := psql(t, s.url("postgres"), "select 1")
		return err == nil
	}); err != nil {
		t.Fatal(err)
	}
}

func (s *server) mustExec(t *testing.T, sql string) {
	t.Helper()
	mustPsql(t, s.url("postgres"), sql)
}

// standby starts a streaming standby.
func (s *server) standby(t *testing.T) *server {
	t.Helper()
	dir := stackDir(t)
	if out, err := exec.Command("chown", "postgres", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b := &server{dir: filepath.Join(dir, "data"), address: freeAddress(t)}
	serverCommand(t, "pg_basebackup", "-D", b.dir, "-R", "-c", "fast", "-X", "stream", "-N", "-d", s.url("postgres"))
	b.start(t)
	return b
}
