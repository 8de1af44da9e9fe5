// SPDX-License-Identifier: Apache-2.0

//go:build !sidecar

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"sort"
	"strconv"
	"syscall"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// startPostgres makes a database cluster below Dir in postgres, once, and runs
// it. PostgreSQL refuses to run as root, so root runs it as user postgres.
func (s *devStack) startPostgres(ctx context.Context, group *errgroup.Group) error {
	bin, err := postgresBin()
	if err != nil {
		return err
	}
	attributes, chown, err := postgresUser()
	if err != nil {
		return err
	}
	home := s.path("postgres")
	if _, err := os.Stat(home); errors.Is(err, os.ErrNotExist) {
		if err := s.initCluster(bin, home, attributes, chown); err != nil {
			return err
		}
	}
	host, port, err := net.SplitHostPort(s.UpstreamPostgres)
	if err != nil {
		return err
	}
	command := exec.Command(filepath.Join(bin, "postgres"), "-D", filepath.Join(home, "data"),
		"-h", host, "-p", port, "-k", home, "-c", "log_statement=all")
	command.Dir = home
	command.SysProcAttr = attributes()
	if err := s.startProcess(ctx, group, command, "postgres.log"); err != nil {
		return err
	}
	return s.createDatabase(ctx)
}

// initCluster makes the cluster with SCRAM for everybody.
func (s *devStack) initCluster(bin, home string, attributes func() *syscall.SysProcAttr, chown func(string) error) error {
	if err := errors.Join(s.makeSecret("postgres-admin.secret"), os.Mkdir(home, 0o700)); err != nil {
		return err
	}
	password, err := os.ReadFile(s.path("postgres-admin.secret"))
	if err != nil {
		return err
	}
	passwordFile := filepath.Join(home, "password")
	defer os.Remove(passwordFile)
	if err := os.WriteFile(passwordFile, password, 0o600); err != nil {
		return err
	}
	if err := errors.Join(chown(home), chown(passwordFile)); err != nil {
		return err
	}
	command := exec.Command(filepath.Join(bin, "initdb"), "-D", filepath.Join(home, "data"),
		"-U", "sidekey_admin", "--pwfile", passwordFile, "-A", "scram-sha-256", "-E", "UTF8", "--locale=C")
	command.Dir = home
	command.SysProcAttr = attributes()
	output, err := command.CombinedOutput()
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("initdb: %w: the user postgres must be able to reach %s", err, home)
	}
	if err != nil {
		return fmt.Errorf("initdb: %w: %s", err, output)
	}
	return nil
}

// createDatabase makes the role and database app, once, and writes the admin's
// URL for the sidecar.
func (s *devStack) createDatabase(ctx context.Context) error {
	password, err := s.secret("postgres-admin.secret")
	if err != nil {
		return err
	}
	url := func(database string) string {
		return fmt.Sprintf("postgres://sidekey_admin:%s@%s/%s?sslmode=disable", password, s.UpstreamPostgres, database)
	}
	if err := os.WriteFile(s.path("postgres-admin.url"), []byte(url("app")), 0o600); err != nil {
		return err
	}
	var conn *pgx.Conn
	if err := waitFor(ctx, "PostgreSQL", func() error {
		conn, err = pgx.Connect(ctx, url("postgres"))
		return err
	}); err != nil {
		return err
	}
	defer conn.Close(ctx)
	var exists bool
	if err := conn.QueryRow(ctx, "select exists (select from pg_roles where rolname = 'app')").Scan(&exists); err != nil || exists {
		return err
	}
	app, err := s.secret("app.secret")
	if err != nil {
		return err
	}
	// The secret is hex, so that it needs no quoting.
	// log_statement=all must not put the password into the log.
	for _, statement := range []string{"set log_statement = 'none'", "create role app login password '" + app + "'", "create database app owner app"} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("creating the role and database app: %w", err)
		}
	}
	return nil
}

// postgresBin finds the server programs of the newest PostgreSQL installed.
func postgresBin() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return "", errors.New("no initdb found; install the package postgresql (deploy/setup.sh does)")
	}
	sort.Slice(found, func(i, j int) bool { return postgresMajor(found[i]) > postgresMajor(found[j]) })
	return filepath.Dir(found[0]), nil
}

func postgresMajor(initdb string) int {
	major, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(initdb))))
	return major
}

// postgresUser says as whom to run PostgreSQL: attributes for the processes,
// and how to hand a file to that user.
func postgresUser() (attributes func() *syscall.SysProcAttr, chown func(path string) error, err error) {
	if os.Geteuid() != 0 {
		return func() *syscall.SysProcAttr { return nil }, func(string) error { return nil }, nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		return nil, nil, fmt.Errorf("PostgreSQL does not run as root: %w", err)
	}
	uid, err := strconv.Atoi(account.Uid)
	if err != nil {
		return nil, nil, err
	}
	gid, err := strconv.Atoi(account.Gid)
	if err != nil {
		return nil, nil, err
	}
	attributes = func() *syscall.SysProcAttr {
		return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	return attributes, func(path string) error { return os.Chown(path, uid, gid) }, nil
}
