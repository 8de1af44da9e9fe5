// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/sidekey/sidekey/dbproxy"
	"github.com/sidekey/sidekey/proxy/datakey"
)

// withPasswords is a server that offers TLS and asks two roles for passwords.
func withPasswords(t *testing.T) (c *cluster, ca, cert, key string) {
	t.Helper()
	c, ca, cert, key = withTLS(t)
	admin := c.direct(t, "postgres")
	for _, sql := range []string{"SET password_encryption = 'md5'", "CREATE ROLE md5user LOGIN SUPERUSER PASSWORD 'pw-md5'",
		"SET password_encryption = 'scram-sha-256'", "CREATE ROLE scramuser LOGIN SUPERUSER PASSWORD 'pw-scram'"} {
		exec1(t, admin, sql)
	}
	hba := "host all postgres 127.0.0.1/32 trust\nhost all md5user 127.0.0.1/32 md5\nhost all scramuser 127.0.0.1/32 scram-sha-256\n"
	os.WriteFile(filepath.Join(c.dir, "pg_hba.conf"), []byte(hba), 0o600)
	exec1(t, admin, "SELECT pg_reload_conf()")
	waitFor(t, func() bool {
		conn, err := pgx.Connect(context.Background(), strings.Replace(c.url("scramuser", "postgres"), "prefer", "require", 1))
		if err == nil {
			conn.Close(context.Background())
		}
		return err != nil // it asks for the password
	})
	return c, ca, cert, key
}

// TestChannelBinding: what libpq makes of a proxy that ends TLS. A client that
// insists on channel binding never gets through.
func TestChannelBinding(t *testing.T) {
	c, ca, cert, key := withPasswords(t)
	for upstream, wants := range map[string]map[string]string{ // by sslmode, the error with channel_binding=require
		dbproxy.TLSDisable: {"disable": "channel binding required, but SSL not in use", "verify-full": "server did not offer an authentication method that supports channel binding"},
		dbproxy.TLSRequire: {"disable": "channel binding required", "verify-full": "channel binding required but not supported by server's authentication request"},
	} {
		f := start(t, c, users(), func(cfg *dbproxy.Config, _ *datakey.Config) {
			cfg.TLS = dbproxy.TLSConfig{CertFile: cert, KeyFile: key}
			cfg.Upstream.TLS = upstream
		})
		for mode, want := range wants {
			for _, binding := range []string{"disable", "prefer", "require"} {
				url := fmt.Sprintf("host=localhost hostaddr=127.0.0.1 port=%d user=scramuser dbname=%s sslmode=%s sslrootcert=%s channel_binding=%s", f.port, f.database, mode, ca, binding)
				out, err := psql(t, url, []string{"PGPASSWORD=pw-scram"}, "SELECT 'in';")
				switch {
				case binding == "require" && (err == nil || !strings.Contains(out, want)):
					t.Errorf("upstream %s, sslmode=%s, channel_binding=require: %v: %s", upstream, mode, err, out)
				case binding != "require" && (err != nil || out != "in\n"):
					t.Errorf("upstream %s, sslmode=%s, channel_binding=%s: %v: %s", upstream, mode, binding, err, out)
				}
			}
		}
	}
}

// between is someone who ends TLS with a certificate of his own and passes
// everything on to the server; without its offer of channel binding if it is to be
// stripped.
func between(t *testing.T, c *cluster, cert, key string, strip bool) (addr string) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return accepting(t, func(conn net.Conn) {
		up, err := net.Dial("tcp", address(c))
		if err != nil {
			return
		}
		defer up.Close()
		answer := make([]byte, 1)
		io.WriteString(up, sslRequest)
		io.ReadFull(up, answer)
		io.CopyN(io.Discard, conn, int64(len(sslRequest)))
		conn.Write(answer)
		client, server := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{pair}}), tls.Client(up, &tls.Config{InsecureSkipVerify: true})
		go io.Copy(server, client)
		if strip {
			var m pgproto3.AuthenticationSASL
			head := make([]byte, 5)
			if _, err := io.ReadFull(server, head); err != nil {
				return
			}
			body := make([]byte, binary.BigEndian.Uint32(head[1:])-4)
			if _, err := io.ReadFull(server, body); err != nil || m.Decode(body) != nil {
				return
			}
			m.AuthMechanisms = []string{"SCRAM-SHA-256"}
			b, _ := m.Encode(nil)
			client.Write(b)
		}
		io.Copy(client, server)
	})
}

// TestUpstreamChannelBinding: with TLS on both sides the proxy binds its own
// exchange to the server's certificate, so that nobody between can pass it on.
func TestUpstreamChannelBinding(t *testing.T) {
	c, ca, cert, key := withPasswords(t)
	_, otherCert, otherKey := certificate(t, t.TempDir())
	for name, s := range map[string]struct {
		cert, key string
		strip     bool
		want      string
	}{
		"with the server's certificate": {cert, key, false, ""},
		"with another":                  {otherCert, otherKey, false, "SCRAM channel binding check failed"},
		"with another, stripping":       {otherCert, otherKey, true, "this server does support channel binding"},
	} {
		f := start(t, c, nil, func(cfg *dbproxy.Config, _ *datakey.Config) {
			cfg.TLS = dbproxy.TLSConfig{CertFile: cert, KeyFile: key}
			cfg.Upstream = dbproxy.UpstreamConfig{Address: between(t, c, s.cert, s.key, s.strip), TLS: dbproxy.TLSRequire}
		})
		url := fmt.Sprintf("host=127.0.0.1 port=%d user=scramuser dbname=%s sslmode=verify-full sslrootcert=%s", f.port, f.database, ca)
		out, err := psql(t, url, []string{"PGPASSWORD=pw-scram"}, "SELECT 'in';")
		if s.want == "" && (err != nil || out != "in\n") || s.want != "" && (err == nil || !strings.Contains(out, s.want)) {
			t.Errorf("%s: %v: %s; want %q", name, err, out, s.want)
		}
	}
}

// TestLongPassword: who has not been authenticated yet cannot have much passed on.
func TestLongPassword(t *testing.T) {
	c, ca, cert, key := withPasswords(t)
	for _, upstream := range []string{dbproxy.TLSDisable, dbproxy.TLSRequire} {
		f := start(t, c, users(), func(cfg *dbproxy.Config, _ *datakey.Config) {
			cfg.TLS, cfg.Upstream.TLS = dbproxy.TLSConfig{CertFile: cert, KeyFile: key}, upstream
		})
		for _, message := range []string{message('p', strings.Repeat("x", 65536)), "p\x7f\xff\xff\xff", "p\x00\x00\x00\x03", message('Q', "SELECT 1\x00")} {
			conn, err := tls.Dial("tcp", f.addr, trust(t, ca, "postgresql"))
			if err != nil {
				t.Fatal(err)
			}
			conn.SetDeadline(time.Now().Add(time.Minute))
			conn.Write(startup(pgproto3.ProtocolVersion30, "user", "scramuser", "database", "postgres"))
			front := pgproto3.NewFrontend(conn, conn)
			if _, err := front.Receive(); err != nil {
				t.Fatal(err)
			}
			io.WriteString(conn, message)
			m, err := front.Receive()
			if e, ok := m.(*pgproto3.ErrorResponse); !ok || e.Code != "08P01" || e.Severity != "FATAL" {
				t.Errorf("upstream %s, %q…: got %+v, %v; want 08P01", upstream, message[:5], m, err)
			}
			conn.Close()
		}
	}
}

// TestPasswordAskedAgain: a server that asks for a password within a session does
// not reach the client.
func TestPasswordAskedAgain(t *testing.T) {
	var hostileNow atomic.Bool
	addr := hostile(t, shared, func(m pgproto3.BackendMessage) []pgproto3.BackendMessage {
		if _, ok := m.(*pgproto3.RowDescription); ok && hostileNow.Load() {
			return []pgproto3.BackendMessage{&pgproto3.AuthenticationCleartextPassword{}, m}
		}
		return []pgproto3.BackendMessage{m}
	})
	f := start(t, shared, users(), func(cfg *dbproxy.Config, _ *datakey.Config) { cfg.Upstream.Address = addr })
	w := rawClient(t, f)
	hostileNow.Store(true)
	w.Send(&pgproto3.Query{String: "SELECT 1"})
	w.Flush()
	m, err := w.Receive()
	if e, ok := m.(*pgproto3.ErrorResponse); !ok || e.Code != "08P01" {
		t.Errorf("got %+v, %v; want 08P01", m, err)
	}
}
