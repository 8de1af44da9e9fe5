// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// poolsSessions follows the address of an upstream that is a pooler.
const poolsSessions = "\n    pooler: session"

// A pooler is a way through a connection pooler and the sidecar.
type pooler struct {
	name string
	// start runs it before what listens on target, to which it makes no more than size
	// connections for a role, and gives its own address.
	start func(t *testing.T, target string, size int) string
	// behind says that it is between the sidecar and the server.
	behind bool
	// sessions says that a client keeps its connection until it leaves.
	sessions bool
	// base tells the rows of one way from another's.
	base int
}

var poolers = []pooler{
	{"PgBouncer of sessions before the sidecar", bouncerOf("session"), false, true, 100000},
	{"PgBouncer of transactions before the sidecar", bouncerOf("transaction"), false, false, 200000},
	{"PgBouncer of sessions behind the sidecar", bouncerOf("session"), true, true, 300000},
	{"pgpool-II before the sidecar", pgpoolOf("off"), false, true, 400000},
	{"pgpool-II with load balancing before the sidecar", pgpoolOf("on"), false, true, 500000},
	{"pgpool-II behind the sidecar", pgpoolOf("off"), true, true, 600000},
	{"pgpool-II with load balancing behind the sidecar", pgpoolOf("on"), true, true, 700000},
}

// reach gives the address that clients connect to, with more rules of columns in the
// sidecar.
func (way pooler) reach(t *testing.T, size int, rules string) string {
	t.Helper()
	upstream, sidecar := hostOf(shared.env["UPSTREAM_DATABASE_URL"]), hostOf(shared.env["DATABASE_URL"])
	if way.behind {
		_, address := sidecarBefore(t, way.start(t, upstream, size)+poolsSessions, rules)
		return address
	}
	if rules != "" {
		_, sidecar = sidecarBefore(t, upstream, rules)
	}
	return way.start(t, sidecar, size)
}

// modes are those in which clients can send statements: a named one does not outlive
// its transaction where that has a server of its own.
func (way pooler) modes() []pgx.QueryExecMode {
	modes := []pgx.QueryExecMode{pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol}
	if way.sessions {
		modes = append(modes, pgx.QueryExecModeCacheStatement)
	}
	return modes
}

func pooledURL(address string) string { return "postgres://app@" + address + "/app?sslmode=disable" }

func bouncerOf(pooling string) func(t *testing.T, target string, size int) string {
	return func(t *testing.T, target string, size int) string {
		t.Helper()
		_, address := startBouncer(t, shared, target, pooling, size)
		return address
	}
}

// startBouncer runs PgBouncer before what listens on target, to which it makes no more
// than size connections, and gives its own address.
func startBouncer(t *testing.T, s *stack, target, pooling string, size int) (*process, string) {
	t.Helper()
	address := freeAddress(t)
	_, listen, _ := net.SplitHostPort(address)
	host, port, err := net.SplitHostPort(target)
	if err != nil {
		t.Fatal(err)
	}
	dir := stackDir(t)
	writeFileAt(t, filepath.Join(dir, "users"), fmt.Sprintf("\"app\" \"%s\"\n\"support\" \"%[1]s\"\n", s.secret(t, "app")))
	writeFileAt(t, filepath.Join(dir, "ini"), fmt.Sprintf("[databases]\napp = host=%s port=%s dbname=app\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %s\n"+
		"auth_type = scram-sha-256\nauth_file = %s/users\npool_mode = %s\nmax_client_conn = 6000\ndefault_pool_size = %d\nunix_socket_dir =\n",
		host, port, listen, dir, pooling, size))
	if out, err := exec.Command("chown", "-R", "postgres", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	bouncer, err := startProcess(filepath.Join(t.TempDir(), "bouncer.log"), nil, "/usr/sbin/pgbouncer", "-u", "postgres", filepath.Join(dir, "ini"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bouncer.stop(15) })
	if err := bouncer.waitForAddress(address); err != nil {
		t.Fatal(err)
	}
	return bouncer, address
}

// sidecarBefore runs a sidecar that does nothing but PostgreSQL, before an upstream, with
// more rules of columns, and replacements in its configuration.
func sidecarBefore(t *testing.T, upstream, rules string, pairs ...string) (*process, string) {
	t.Helper()
	address := freeAddress(t)
	config := readFile(t, shared.path("proxy.yaml"))
	for section := range strings.FieldsSeq("s3 forward") {
		config = regexp.MustCompile(`(?m)^`+section+`:\n(?:[ #].*\n)*`).ReplaceAllString(config, "")
	}
	config = replaceIn(t, config,
		"listen: "+hostOf(shared.env["DATABASE_URL"]), "listen: "+address,
		"address: "+hostOf(shared.env["UPSTREAM_DATABASE_URL"]), "address: "+upstream,
		shared.path("audit-proxy"), filepath.Join(t.TempDir(), "audit"),
		"  columns:\n", "  columns:\n"+rules)
	config = replaceIn(t, config, pairs...)
	// The binary without the race detector, which multiplies memory.
	sidecar, err := startProcess(filepath.Join(t.TempDir(), "proxy.log"), nil, plainBinary, "proxy", "--config", writeFile(t, config))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sidecar.stop(15) })
	if err := sidecar.waitForAddress(address); err != nil {
		t.Fatal(err)
	}
	return sidecar, address
}
