// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// TestMigratePg encrypts a column beside the running sidecar and its clients, and
// decrypts it again. The command is killed again and again, at any instant: nothing
// is lost, no search misses a row, and the next run goes on.
func TestMigratePg(t *testing.T) {
	// Not a canary: the values are plaintext in the database before.
	around, text := shared.env["UPSTREAM_DATABASE_URL"], fmt.Sprintf("moved-%d", rand.Int64())
	mustPsql(t, around, "create table moved (id int primary key, c_text text unique)")
	mustPsql(t, around, "insert into moved select i, '"+text+"-' || i from generate_series(0, 9999) i")
	t.Cleanup(func() { psql(t, around, "drop table moved") })
	m := &columnMigration{rows: map[int]string{}, text: text, log: filepath.Join(t.TempDir(), "log")}
	for i := range 10000 {
		m.rows[i] = fmt.Sprintf("%s-%d", text, i)
	}
	for _, way := range []string{"", "--decrypt"} {
		ctx, stop := context.WithCancel(t.Context())
		var clients sync.WaitGroup
		clients.Go(func() { m.write(ctx, t) })
		clients.Go(func() { m.search(ctx, t) })
		for range 6 {
			p := m.start(t, way, "--rate", "8000", "--batch", "100")
			select {
			case <-p.exited:
			case <-time.After(time.Duration(100+rand.IntN(900)) * time.Millisecond):
			}
			p.stop(syscall.SIGKILL)
		}
		if err := m.command(way, "--attempts", "200"); err != nil {
			t.Errorf("the last run: %v", err)
		}
		stop()
		clients.Wait()
		m.mustHaveAll(t)
		sealed := mustPsql(t, around, "select count(*) from moved where left(c_text::text, 6) = '\\xf84b'")
		if want := map[string]string{"": "10000", "--decrypt": "0"}[way]; sealed != want {
			t.Errorf("%s: %s values are sealed, want %s", way, sealed, want)
		}
		if way == "" {
			if err := m.command("--verify-only"); err != nil {
				t.Error(err)
			}
			if err := m.command("--dry-run"); err != nil {
				t.Errorf("a dry run over a column that is encrypted: %v", err)
			}
		}
	}
	if err := m.command("--dry-run"); err == nil || !strings.Contains(err.Error(), "values are not moved") {
		t.Errorf("a dry run over plaintext: %v", err)
	}
	if strings.Contains(readFile(t, m.log), text) {
		t.Error("the log holds a value")
	}
	m.terminate(t)
	if _, err := shared.run(plainBinary, "audit", "verify", "--dir", shared.path("audit-proxy")+"-migrate"); err != nil {
		t.Error(err)
	}
	if strings.Contains(readFile(t, m.log), text) {
		t.Error("the log holds a value")
	}
}

type columnMigration struct {
	text, log string

	mu   sync.Mutex
	rows map[int]string // guarded by mu
}

func (m *columnMigration) args(more ...string) []string {
	args := []string{"migrate", "pg", "--config", shared.path("proxy.yaml"), "--table", "moved"}
	for _, a := range more {
		if a != "" {
			args = append(args, a)
		}
	}
	return args
}

func (m *columnMigration) command(more ...string) error {
	_, err := shared.run(raceBinary, m.args(more...)...)
	return err
}

func (m *columnMigration) start(t *testing.T, more ...string) *process {
	t.Helper()
	p, err := startProcess(m.log, nil, plainBinary, m.args(more...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.stop(syscall.SIGKILL) })
	return p
}

func (m *columnMigration) connect(t *testing.T) *pgx.Conn {
	cfg, err := pgx.ParseConfig(shared.env["DATABASE_URL"] + "?sslmode=disable&passfile=" + shared.env["PGPASSFILE"])
	if err != nil {
		t.Error(err)
		return nil
	}
	// A statement that is prepared would have to be prepared again after the change.
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	conn, err := pgx.ConnectConfig(context.Background(), cfg)
	if err != nil {
		t.Error(err)
	}
	return conn
}

// write changes rows through the sidecar.
func (m *columnMigration) write(ctx context.Context, t *testing.T) {
	conn := m.connect(t)
	if conn == nil {
		return
	}
	defer conn.Close(context.Background())
	for n := 0; ctx.Err() == nil; n++ {
		id, value := 1+rand.IntN(9999), fmt.Sprintf("%s-written-%d-%d", m.text, n, rand.Int64())
		if _, err := conn.Exec(context.Background(), "update moved set c_text = $2 where id = $1", id, value); err != nil {
			t.Errorf("writing: %v", err)
			return
		}
		m.mu.Lock()
		m.rows[id] = value
		m.mu.Unlock()
	}
}

// search looks for a row that nobody changes.
func (m *columnMigration) search(ctx context.Context, t *testing.T) {
	conn := m.connect(t)
	if conn == nil {
		return
	}
	defer conn.Close(context.Background())
	for ctx.Err() == nil {
		var id int
		if err := conn.QueryRow(context.Background(), "select id from moved where c_text = $1", m.text+"-0").Scan(&id); err != nil || id != 0 {
			t.Errorf("a search found %d, %v", id, err)
			return
		}
	}
}

func (m *columnMigration) mustHaveAll(t *testing.T) {
	t.Helper()
	conn := m.connect(t)
	if conn == nil {
		return
	}
	defer conn.Close(context.Background())
	rows, err := conn.Query(t.Context(), "select id, c_text from moved")
	if err != nil {
		t.Fatal(err)
	}
	var id, n, wrong int
	var value string
	_, err = pgx.ForEachRow(rows, []any{&id, &value}, func() error {
		if n++; value != m.rows[id] {
			wrong++
		}
		return nil
	})
	if err != nil || n != len(m.rows) || wrong > 0 {
		t.Errorf("%d rows, %d with another value than was written, %v; want %d", n, wrong, err, len(m.rows))
	}
}

// terminate asks a run to end: it finishes the batch in hand. What it made is taken
// back.
func (m *columnMigration) terminate(t *testing.T) {
	t.Helper()
	m.log = filepath.Join(t.TempDir(), "log")
	p := m.start(t, "--rate", "500", "--batch", "50")
	if err := p.waitForLog("values go into it", time.Minute); err != nil {
		t.Fatal(err)
	}
	p.stop(syscall.SIGTERM)
	if text := readFile(t, m.log); p.command.ProcessState.ExitCode() != 1 || !strings.Contains(text, "interrupted; start it again to go on") {
		t.Errorf("status %d\n%s", p.command.ProcessState.ExitCode(), text)
	}
	if err := m.command("--abandon"); err != nil {
		t.Error(err)
	}
	m.mustHaveAll(t)
}
