// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/sidekey/sidekey/dbproxy"
	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/keysvc/keysvctest"
	"github.com/sidekey/sidekey/proxy"
	"github.com/sidekey/sidekey/proxy/datakey"
)

// TestStartBeforeTheServer starts a proxy before its server: clients are told, and are
// served once the server is there.
func TestStartBeforeTheServer(t *testing.T) {
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	dir, err := os.MkdirTemp("", "dbproxyaway")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c, err := startCluster(serverDir, dir)
	if err != nil {
		t.Fatal(err)
	}
	c.stop()
	kms := keysvctest.Start(t, token)
	kms.CreateKey(t, "alias/test")
	keys, err := datakey.NewCache(datakey.Config{}, kms.Client(), log)
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	al, err := audit.Open(audit.Config{Dir: t.TempDir()}, audit.ServiceProxy, log)
	if err != nil {
		t.Fatal(err)
	}
	defer al.Close()
	file := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(file, []byte(c.url("postgres", "postgres")), 0o600); err != nil {
		t.Fatal(err)
	}
	rules := proxy.Rules{Columns: users()}
	p, err := dbproxy.New(dbproxy.Config{Listen: "127.0.0.1:0", AdminURLFile: file, Upstream: dbproxy.UpstreamConfig{Address: fmt.Sprintf("127.0.0.1:%d", c.port)}},
		rules.Columns, proxy.NewCipher(rules, keys, al), al, log)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Check(t.Context()); !errors.Is(err, dbproxy.ErrAway) {
		t.Fatalf("Check: %v, want ErrAway", err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Serve(ctx, ln) }()
	defer func() { stop(); <-done }()
	url := fmt.Sprintf("postgres://postgres@%s/postgres?sslmode=disable", ln.Addr())
	if _, err := pgx.Connect(t.Context(), url); state(err) != "57P03" {
		t.Errorf("while the server is away: %v, want 57P03", err)
	}
	if err := c.restart(); err != nil {
		t.Fatal(err)
	}
	defer c.stop()
	conn := dial(t, url, pgx.QueryExecModeCacheStatement)
	exec1(t, conn, usersDDL)
	exec1(t, conn, "INSERT INTO users (email) VALUES ($1)", "a")
	// A database or role that is not there is no matter of waiting.
	if err := os.WriteFile(file, []byte(c.url("nobody", "postgres")), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err = dbproxy.New(dbproxy.Config{Listen: "127.0.0.1:0", AdminURLFile: file, Upstream: dbproxy.UpstreamConfig{Address: fmt.Sprintf("127.0.0.1:%d", c.port)}},
		rules.Columns, proxy.NewCipher(rules, keys, al), al, log)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Check(t.Context()); err == nil || errors.Is(err, dbproxy.ErrAway) {
		t.Errorf("Check with a role that is not there: %v", err)
	}
}
