// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/sidekey/sidekey/dbproxy"
	"github.com/sidekey/sidekey/proxy/datakey"
)

// Requests that may come before a startup message.
const (
	sslRequest    = "\x00\x00\x00\x08\x04\xd2\x16\x2f"
	gssencRequest = "\x00\x00\x00\x08\x04\xd2\x16\x30"
	cancelRequest = "\x00\x00\x00\x10\x04\xd2\x16\x2e\x7f\xff\xff\xff\x00\x00\x00\x00"
)

// trust is a client's TLS configuration for a certificate of certificate.
func trust(t *testing.T, ca string, protocols ...string) *tls.Config {
	t.Helper()
	pem, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: roots, ServerName: "localhost", NextProtos: protocols}
}

// conversation makes steps with a server, until it refuses one, and gives its
// answers: S and G ask for encryption, T begins TLS without asking, U is a startup
// message and C a request to cancel.
func conversation(t *testing.T, addr, steps string, secure *tls.Config) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { conn.Close() }()
	conn.SetDeadline(time.Now().Add(time.Minute))
	var said []string
	handshake := func() bool {
		inner := tls.Client(conn, secure)
		if err := inner.Handshake(); err != nil {
			said = append(said, "no-TLS")
			return false
		}
		conn = inner
		return true
	}
	for _, step := range steps {
		request := map[rune]string{'S': sslRequest, 'G': gssencRequest, 'C': cancelRequest,
			'U': string(startup(pgproto3.ProtocolVersion30, "user", "postgres", "database", "postgres"))}[step]
		if step == 'T' {
			if !handshake() {
				break
			}
			continue
		}
		io.WriteString(conn, request)
		answer := make([]byte, 1)
		if _, err := io.ReadFull(conn, answer); err != nil {
			said = append(said, "end")
			break
		}
		if answer[0] == 'E' || step == 'U' {
			said = append(said, code(t, answer[0], conn))
			break
		}
		said = append(said, string(answer))
		if answer[0] == 'S' && !handshake() {
			break
		}
	}
	return strings.Join(said, " ")
}

// code is "Z" once the server is ready, or E and the SQLSTATE of its error.
func code(t *testing.T, kind byte, conn net.Conn) string {
	t.Helper()
	r := io.MultiReader(strings.NewReader(string(kind)), conn)
	front := pgproto3.NewFrontend(bufio.NewReader(r), conn)
	for {
		switch m, err := front.Receive(); m := m.(type) {
		case *pgproto3.ErrorResponse:
			return "E" + m.Code
		case *pgproto3.ReadyForQuery:
			return "Z"
		case nil:
			t.Fatalf("neither ready nor an error: %v", err)
		}
	}
}

// withTLS is a server that offers TLS.
func withTLS(t *testing.T, settings ...string) (c *cluster, ca, cert, key string) {
	t.Helper()
	c = ownCluster(t, settings...)
	ca, cert, key = certificate(t, t.TempDir())
	uid, gid, err := postgresUser()
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{cert: "server.crt", key: "server.key"} {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		os.WriteFile(filepath.Join(c.dir, to), b, 0o600)
		os.Chown(filepath.Join(c.dir, to), uid, gid)
	}
	exec1(t, c.direct(t, "postgres"), "ALTER SYSTEM SET ssl = on")
	exec1(t, c.direct(t, "postgres"), "SELECT pg_reload_conf()")
	waitFor(t, func() bool {
		conn, err := pgx.Connect(t.Context(), strings.Replace(c.url("postgres", "postgres"), "prefer", "require", 1))
		return err == nil && conn.Close(t.Context()) == nil
	})
	return c, ca, cert, key
}

// TestNegotiation: each kind of encryption can be asked for once, in any order, and
// what is not in its place is refused as PostgreSQL refuses it.
func TestNegotiation(t *testing.T) {
	c, ca, cert, key := withTLS(t)
	offers := func(require bool) func(*dbproxy.Config, *datakey.Config) {
		return func(cfg *dbproxy.Config, _ *datakey.Config) {
			cfg.TLS = dbproxy.TLSConfig{CertFile: cert, KeyFile: key, Require: require}
		}
	}
	plain, offering, requiring := start(t, shared, users()), start(t, c, users(), offers(false)), start(t, c, users(), offers(true))
	for steps, want := range map[string][3]string{
		//          declines TLS     offers it      requires it
		"U":    {"Z", "Z", "E28000"},
		"C":    {"end", "end", "end"},
		"SU":   {"N Z", "S Z", "S Z"},
		"SC":   {"N end", "S end", "S end"},
		"GU":   {"N Z", "N Z", "N E28000"},
		"GC":   {"N end", "N end", "N end"},
		"SGU":  {"N N Z", "S E0A000", "S E0A000"},
		"GSU":  {"N N Z", "N S Z", "N S Z"},
		"GSC":  {"N N end", "N S end", "N S end"},
		"SSU":  {"N E0A000", "S E0A000", "S E0A000"},
		"GGU":  {"N E0A000", "N E0A000", "N E0A000"},
		"SGSU": {"N N E0A000", "S E0A000", "S E0A000"},
		"GSGU": {"N N E0A000", "N S E0A000", "N S E0A000"},
		"TU":   {"no-TLS", "Z", "Z"},
		"TC":   {"no-TLS", "end", "end"},
		"TSU":  {"no-TLS", "E0A000", "E0A000"},
		"TGU":  {"no-TLS", "E0A000", "E0A000"},
	} {
		for i, f := range []*fixture{plain, offering, requiring} {
			if got := conversation(t, f.addr, steps, trust(t, ca, "postgresql")); got != want[i] {
				t.Errorf("%s: got %s, want %s", steps, got, want[i])
			}
		}
		if strings.ContainsAny(steps, "GT") {
			continue // the server of this version answers otherwise
		}
		for i, server := range []*cluster{shared, c} {
			if got := conversation(t, address(server), steps, trust(t, ca, "postgresql")); got != want[i] {
				t.Errorf("%s: the server itself says %s, want %s", steps, got, want[i])
			}
		}
	}
}

// TestStuffedPlaintext: bytes behind a request for encryption were not encrypted, and
// could be somebody else's (CVE-2021-23214).
func TestStuffedPlaintext(t *testing.T) {
	c, _, cert, key := withTLS(t)
	offering := start(t, c, users(), func(cfg *dbproxy.Config, _ *datakey.Config) {
		cfg.TLS = dbproxy.TLSConfig{CertFile: cert, KeyFile: key}
	})
	plain := start(t, shared, users())
	login := string(startup(pgproto3.ProtocolVersion30, "user", "postgres", "database", "postgres"))
	for name, stuffed := range map[string]string{
		"a login behind SSLRequest":    sslRequest + login,
		"a byte behind SSLRequest":     sslRequest + "x",
		"a login behind GSSENCRequest": gssencRequest + login,
		"SSLRequest behind the other":  gssencRequest + sslRequest,
		"a cancel behind SSLRequest":   sslRequest + cancelRequest,
		"much behind SSLRequest":       sslRequest + strings.Repeat("x", 5000),
	} {
		for _, f := range []*fixture{plain, offering} {
			if got := beginning(t, f.addr, []byte(stuffed)); len(got) != 1 || !strings.HasPrefix(got[0], "E FATAL 08P01 received unencrypted data after ") {
				t.Errorf("%s: got %q", name, got)
			}
		}
	}
	// Behind the answer it is no TLS.
	conn, err := net.Dial("tcp", offering.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	answer := make([]byte, 1)
	io.WriteString(conn, sslRequest)
	if _, err := io.ReadFull(conn, answer); err != nil || answer[0] != 'S' {
		t.Fatalf("got %q, %v", answer, err)
	}
	io.WriteString(conn, login)
	if rest, _ := io.ReadAll(conn); len(rest) > 7 || len(rest) > 0 && rest[0] != 21 {
		t.Errorf("plaintext in place of a handshake: got %q, want a TLS alert at most", rest)
	}
	// The same of a server: what it says behind its answer is not believed.
	for name, said := range map[string]string{
		"plaintext behind S": "SR\x00\x00\x00\x08\x00\x00\x00\x00Z\x00\x00\x00\x05I",
		"no TLS":             "N", "an error": message('E', "SFATAL\x00C08P01\x00\x00"),
	} {
		f := start(t, shared, nil)
		f = f.replica(t, func(cfg *dbproxy.Config) {
			cfg.Upstream = dbproxy.UpstreamConfig{Address: saying(t, said), TLS: dbproxy.TLSRequire}
		})
		if _, got := opened(t, f.addr, []byte(login)); got == nil || got.Code != "57P03" {
			t.Errorf("%s of the server: got %+v, want 57P03", name, got)
		}
	}
}

// TestDirectTLS: without asking, a client has to name the protocol.
func TestDirectTLS(t *testing.T) {
	ca, cert, key := certificate(t, t.TempDir())
	f := start(t, shared, users(), func(cfg *dbproxy.Config, _ *datakey.Config) {
		cfg.TLS = dbproxy.TLSConfig{CertFile: cert, KeyFile: key, Require: true}
	})
	for _, c := range []struct {
		protocols    []string
		direct, asks string
	}{
		{[]string{"postgresql"}, "Z", "S Z"},
		{[]string{"h2", "postgresql"}, "Z", "S Z"},
		{nil, "end", "S Z"}, // as clients before PostgreSQL 17 ask
		{[]string{"h2"}, "no-TLS", "S no-TLS"},
	} {
		if got := conversation(t, f.addr, "TU", trust(t, ca, c.protocols...)); got != c.direct {
			t.Errorf("direct, %q: got %s, want %s", c.protocols, got, c.direct)
		}
		if got := conversation(t, f.addr, "SU", trust(t, ca, c.protocols...)); got != c.asks {
			t.Errorf("asking, %q: got %s, want %s", c.protocols, got, c.asks)
		}
	}
}

// TestOversizedStartup: no more is read than a startup message may have.
func TestOversizedStartup(t *testing.T) {
	f := start(t, shared, users())
	for _, n := range []uint32{0, 3, 4, 7, 10005, 1 << 30, 0x7fffffff, 0x80000000, 0xffffffff, 0x47455420} {
		if got := beginning(t, f.addr, append(binary.BigEndian.AppendUint32(nil, n), "\x00\x03\x00\x00"...)); len(got) != 1 || got[0] != "E FATAL 08P01 invalid length of startup packet" {
			t.Errorf("length %d: got %q", n, got)
		}
	}
	login := []string{"user", "postgres", "database", f.database, "application_name", ""}
	login[5] = strings.Repeat("x", 10004-len(startup(0, login...)))
	if got := beginning(t, f.addr, startup(pgproto3.ProtocolVersion30, login...)); got[0] != "R" {
		t.Errorf("the longest message: got %q", got)
	}
}

// TestCancelUnderTLS: a request to cancel in the clear, in TLS that was asked for and
// in TLS that was not.
func TestCancelUnderTLS(t *testing.T) {
	ca, cert, key := certificate(t, t.TempDir())
	f := start(t, shared, users(), func(cfg *dbproxy.Config, _ *datakey.Config) {
		cfg.TLS = dbproxy.TLSConfig{CertFile: cert, KeyFile: key, Require: true}
	})
	for _, steps := range []string{"", "S", "T"} {
		conn := dial(t, strings.Replace(f.url(), "disable", "require", 1), pgx.QueryExecModeExec)
		ended := make(chan error, 1)
		go func() {
			_, err := conn.Exec(context.Background(), "SELECT pg_sleep(60)")
			ended <- err
		}()
		asleep(t, f)
		to, err := net.Dial("tcp", f.addr)
		if err != nil {
			t.Fatal(err)
		}
		if steps == "S" {
			io.WriteString(to, sslRequest)
			io.ReadFull(to, make([]byte, 1))
		}
		if steps != "" {
			to = tls.Client(to, trust(t, ca, "postgresql"))
		}
		request, err := (&pgproto3.CancelRequest{ProcessID: conn.PgConn().PID(), SecretKey: conn.PgConn().SecretKey()}).Encode(nil)
		if err != nil {
			t.Fatal(err)
		}
		to.Write(request)
		if _, err := io.Copy(io.Discard, to); err != nil {
			t.Errorf("%q: the connection of the request ends with %v", steps, err)
		}
		to.Close()
		if err := <-ended; state(err) != "57014" {
			t.Errorf("%q: got %v, want 57014", steps, err)
		}
	}
}

// asleep waits until a session sleeps.
func asleep(t *testing.T, f *fixture) {
	t.Helper()
	conn := f.direct(t)
	waitFor(t, func() bool {
		var n int
		err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(%' AND state = 'active'").Scan(&n)
		return err == nil && n == 1
	})
	conn.Close(t.Context())
}
