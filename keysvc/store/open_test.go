// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sidekey/sidekey/keysvc/store"
	"github.com/sidekey/sidekey/keysvc/store/storetest"
)

// secret stands for a password in these tests.
const secret = "s3cr3t"

// TestNoPasswordInErrors: a password in a URL is refused, and no error shows
// one, wherever it came from.
func TestNoPasswordInErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	must(t, os.WriteFile(file, []byte(secret+"\n"), 0o600))
	socket := url.QueryEscape(storetest.Shared(t).Data())
	for rawURL, want := range map[string]string{
		"postgres://u:" + secret + "@h/d":                            "belongs in a file",
		"postgresql://u:" + secret + "@h/d":                          "belongs in a file",
		"postgres://u:@h/d":                                          "belongs in a file",
		"postgres://u@h/d?password=" + secret:                        "belongs in a file",
		"postgres://u@h/d?sslpassword=" + secret:                     "belongs in a file",
		"postgres://u@h/d?pass%77ord=" + secret:                      "belongs in a file",
		"postgres://u:" + secret + "%zz@h/d":                         "not a URL",
		"postgres://u:" + secret + "@h:x/d":                          "not a URL",
		"postgres://u@h/d?sslmode=" + secret:                         "want postgres://",
		"postgres://u@h/d?connect_timeout=" + secret:                 "want postgres://",
		"host=h password=" + secret:                                  "unknown scheme",
		"postgres:u:" + secret + "@h":                                "",
		"mysql://u:" + secret + "@h/d":                               "unknown scheme",
		"sqlite://u:" + secret + "@h/d":                              "want sqlite:///absolute/path",
		"postgres://u@127.0.0.1:1/d?sslmode=disable":                 "connect",
		"postgres://u@no-such-host.invalid/d":                        "",
		"postgres://needs_password@/postgres?host=" + socket:         "password authentication failed",
		"postgres://no_such_role@/postgres?host=" + socket:           "",
		"postgres://needs_password@/no_such_database?host=" + socket: "",
	} {
		s, err := store.Open(ctx, rawURL, file)
		if err == nil {
			t.Errorf("%s: opened", rawURL)
			s.Close()
			continue
		}
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v, want %q", rawURL, err, want)
		}
		if check := store.CheckURL(rawURL); check != nil && strings.Contains(check.Error(), secret) {
			t.Errorf("CheckURL(%s): %v", rawURL, check)
		}
	}
}

// TestPasswordFile: the file is read for each connection.
func TestPasswordFile(t *testing.T) {
	c := storetest.Shared(t)
	rawURL := c.URL(t)
	u, err := url.Parse(rawURL)
	must(t, err)
	database := strings.TrimPrefix(u.Path, "/")
	must(t, c.Exec("postgres", "GRANT CREATE ON DATABASE "+database+" TO "+storetest.PasswordRole))
	t.Cleanup(func() {
		must(t, c.Exec("postgres", "REVOKE CREATE ON DATABASE "+database+" FROM "+storetest.PasswordRole,
			"ALTER ROLE "+storetest.PasswordRole+" PASSWORD '"+storetest.Password+"'"))
	})
	rawURL = storetest.As(rawURL, storetest.PasswordRole)
	file := filepath.Join(t.TempDir(), "password")
	if _, err := store.Open(ctx, rawURL, file); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("no file: %v", err)
	}
	if _, err := store.Open(ctx, rawURL, ""); err == nil {
		t.Error("opened without a password")
	}
	must(t, os.WriteFile(file, []byte(storetest.Password+"\n"), 0o600))
	s, err := store.Open(ctx, rawURL, file)
	must(t, err)
	defer s.Close()
	must(t, c.Exec("postgres", "ALTER ROLE "+storetest.PasswordRole+" PASSWORD 'the next'"))
	must(t, os.WriteFile(file, []byte("the next"), 0o600))
	must(t, c.Exec("postgres", "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = '"+storetest.PasswordRole+"'"))
	if err := s.Ping(ctx); err != nil {
		t.Errorf("after the password was changed: %v", err)
	}
}

// TestUnreachable: a host that does not answer is an error in time.
func TestUnreachable(t *testing.T) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if _, err := store.OpenTimeout(ctx, "postgres://u@192.0.2.1/d", "", time.Second); err == nil {
		t.Error("opened")
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
}

// TestStandby: a server that takes no changes tells of them late.
func TestStandby(t *testing.T) {
	c := storetest.Shared(t)
	d := newPostgres(t, c)
	d.open(t)
	name := ""
	d.get(t, &name, "SELECT current_database()")
	must(t, c.Exec("postgres", "ALTER DATABASE "+name+" SET default_transaction_read_only = on"))
	if s, err := store.Open(ctx, d.url, ""); err == nil {
		s.Close()
		t.Error("opened")
	}
}

// TestDefaults: what an administrator has set for the database changes nothing.
func TestDefaults(t *testing.T) {
	c := storetest.Shared(t)
	d := newPostgres(t, c)
	name := ""
	d.get(t, &name, "SELECT current_database()")
	for _, setting := range []string{
		"search_path = public", "synchronous_commit = off", "default_transaction_isolation = 'serializable'", "statement_timeout = '1h'",
		"default_transaction_deferrable = on", "TimeZone = 'Asia/Tokyo'", "bytea_output = 'escape'", "lc_messages = 'C'",
	} {
		must(t, c.Exec("postgres", "ALTER DATABASE "+name+" SET "+setting))
	}
	a, b := d.open(t), d.open(t)
	k := add(t, a)
	done := make(chan error)
	for _, s := range []*store.Store{a, b} {
		go func() {
			var err error
			for i := 0; i < 10 && err == nil; i++ {
				_, err = s.Update(ctx, k.Ref, func(_ *store.Tx, k *store.Key) error { k.Description += "x"; return nil })
			}
			done <- err
		}()
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	must(t, a.Ping(ctx))
	if got, err := a.Key(ctx, k.Ref); err != nil || len(got.Description) != len(k.Description)+20 {
		t.Errorf("%v, %v", got, err)
	}
	var tables int
	d.get(t, &tables, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
	if tables != 0 {
		t.Errorf("%d tables in schema public", tables)
	}
}

// TestRoleWithoutRights: a role that may not change the schema uses one that an
// administrator has made.
func TestRoleWithoutRights(t *testing.T) {
	c := storetest.Shared(t)
	d := newPostgres(t, c)
	d.open(t) // its role owns the tables
	const other = "uses_only"
	must(t, c.Exec("postgres", "CREATE ROLE "+other+" LOGIN"))
	for _, right := range []string{
		"GRANT USAGE ON SCHEMA sidekey_keysvc TO " + other,
		"GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA sidekey_keysvc TO " + other,
	} {
		d.exec(t, right)
	}
	t.Cleanup(func() {
		d.exec(t, "DROP OWNED BY "+other)
		must(t, c.Exec("postgres", "DROP ROLE "+other))
	})
	s, err := store.Open(ctx, storetest.As(d.url, other), "")
	must(t, err)
	defer s.Close()
	must(t, s.Unlock(ctx, macKey, region))
	k := add(t, s)
	must(t, s.Discard(ctx, k.Ref))
	must(t, s.Checkpoint(ctx))
	if d.holds(t, material(k).Wrapped) {
		t.Error("the bytes of the erased key are there")
	}
}

// TestPooler: through pgbouncer in transaction mode, which opens its own
// connections, the store works if the role has the settings, and does not open
// if it has not.
func TestPooler(t *testing.T) {
	c := storetest.Shared(t)
	d := newPostgres(t, c)
	d.open(t)
	name := ""
	d.get(t, &name, "SELECT current_database()")
	pooled := pooler(t, c, name)
	if s, err := store.Open(ctx, pooled, ""); err == nil || !strings.Contains(err.Error(), "a pooler in between") {
		if err == nil {
			s.Close()
		}
		t.Errorf("without settings: %v", err)
	}
	must(t, c.Exec("postgres", "ALTER ROLE "+storetest.Role+" IN DATABASE "+name+" SET search_path = sidekey_keysvc"))
	must(t, c.Exec("postgres", "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '"+name+"' AND pid <> pg_backend_pid()"))
	d.url = pooled
	race(d, t, func(s *store.Store, n int) {
		for i := range 10 {
			k := add(t, s)
			if err := s.CreateAlias(ctx, k.Ref, fmt.Sprintf("alias/%d-%d", n, i), time.Now()); err != nil {
				t.Error(err)
			}
			if err := s.CreateGrant(ctx, grant(k, "1")); err != nil {
				t.Error(err)
			}
			if got, err := s.Grants(ctx, k.Ref); err != nil || len(got) != 1 {
				t.Errorf("%v, %v", got, err)
			}
			if _, err := s.StoredMaterial(ctx, k.Ref, 1); err != nil {
				t.Error(err)
			}
			if err := s.Discard(ctx, k.Ref); err != nil {
				t.Error(err)
			}
		}
		if err := s.Checkpoint(ctx); err != nil {
			t.Error(err)
		}
	})
}

// pooler runs pgbouncer before a server and returns the URL of a database there.
func pooler(t *testing.T, c *storetest.Cluster, database string) string {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program = "/usr/sbin/pgbouncer"
	}
	dir, err := os.MkdirTemp("", "pgbouncer")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o777))
	file := filepath.Join(dir, "pgbouncer.ini")
	must(t, os.WriteFile(file, fmt.Appendf(nil, `[databases]
%[3]s = host=%[1]s user=%[4]s
[pgbouncer]
listen_addr =
unix_socket_dir = %[2]s
auth_type = any
pool_mode = transaction
default_pool_size = 3
ignore_startup_parameters = search_path,statement_timeout,idle_in_transaction_session_timeout,synchronous_commit
`, c.Data(), dir, database, storetest.Role), 0o644))
	args := []string{file}
	if os.Geteuid() == 0 {
		args = []string{"-u", "postgres", file}
	}
	cmd := exec.Command(program, args...)
	cmd.Dir = "/"
	must(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for range 200 {
		if _, err := os.Stat(filepath.Join(dir, ".s.PGSQL.6432")); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	return "postgres://" + storetest.Role + "@/" + database + "?sslmode=disable&default_query_exec_mode=exec&port=6432&host=" + url.QueryEscape(dir)
}
