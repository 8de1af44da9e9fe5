// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/sidekey/sidekey/keysvc"
)

func health(t *testing.T, s *server) string {
	t.Helper()
	resp, err := http.Get(s.url + "/healthz")
	must(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp.Status[:3] + " " + string(body)
}

// brokenToken is an HSM that is gone.
type brokenToken struct{ keysvc.Token }

func (brokenToken) Check(context.Context) error { return errors.New("no token in slot 7") }

func (brokenToken) Random(context.Context, int) ([]byte, error) {
	return nil, errors.New("no token in slot 7")
}

func TestHealth(t *testing.T) {
	s := newServer(t)
	if got := health(t, s); got != "200 {\"checks\":{\"hsm\":\"ok\",\"store\":\"ok\",\"audit\":\"ok\"},\"status\":\"ok\"}\n" {
		t.Error(got)
	}
}

func TestStartWithoutHSM(t *testing.T) {
	s := newServer(t)
	_, err := keysvc.New(ctx, s.cfg, s.store, brokenToken{token}, nil, s.audit, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "no token in slot 7") {
		t.Errorf("New: %v", err)
	}
}

// lateToken is an HSM that breaks after the start.
type lateToken struct {
	keysvc.Token
	broken bool
}

func (l *lateToken) Check(ctx context.Context) error {
	if l.broken {
		return brokenToken{}.Check(ctx)
	}
	return l.Token.Check(ctx)
}

func (l *lateToken) Random(ctx context.Context, n int) ([]byte, error) {
	if l.broken {
		return brokenToken{}.Random(ctx, n)
	}
	return l.Token.Random(ctx, n)
}

func TestHSMFailure(t *testing.T) {
	dir := t.TempDir()
	hsm := &lateToken{Token: token}
	s := &server{t: t, dir: dir, token: hsm, cfg: config(t, dir)}
	s.start()
	hsm.broken = true
	id, _ := s.newKey()
	got := s.post("GenerateDataKey", `{"KeyId":"`+id+`","KeySpec":"AES_256"}`)
	if got.status != 500 || got.code() != "KMSInternalException" || strings.Contains(got.body, "slot") {
		t.Errorf("%+v", got)
	}
	if !strings.Contains(s.log.String(), got.header.Get("X-Amzn-Requestid")) || !strings.Contains(s.log.String(), "no token in slot 7") {
		t.Errorf("log:\n%s", s.log.String())
	}
	if got := health(t, s); !strings.HasPrefix(got, "503 ") || !strings.Contains(got, `"hsm":"failed"`) || strings.Contains(got, "slot") {
		t.Error(got)
	}
}

func TestPanicIsAnInternalError(t *testing.T) {
	s := newServer(t)
	s.token = panicToken{token}
	s.restart()
	got := s.post("GenerateRandom", `{"NumberOfBytes":8}`)
	if got.status != 500 || got.code() != "KMSInternalException" || !strings.Contains(s.log.String(), "panic") {
		t.Errorf("%+v\n%s", got, s.log.String())
	}
	if got := s.post("ListKeys", `{}`); got.status != 200 {
		t.Errorf("after the panic: %+v", got)
	}
}

// TestConnectionLimit holds all places with connections that send nothing: the
// next client waits and is served when one goes.
func TestConnectionLimit(t *testing.T) {
	dir := t.TempDir()
	s := &server{t: t, dir: dir, token: token, cfg: config(t, dir)}
	s.cfg.MaxConnections = 3
	s.start()
	u, err := url.Parse(s.url)
	must(t, err)
	var idle []net.Conn
	for range 3 {
		c, err := net.Dial("tcp", u.Host)
		must(t, err)
		defer c.Close()
		idle = append(idle, c)
	}
	waiting, err := net.Dial("tcp", u.Host)
	must(t, err)
	defer waiting.Close()
	_, err = io.WriteString(waiting, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	must(t, err)
	must(t, waiting.SetReadDeadline(time.Now().Add(300*time.Millisecond)))
	if n, err := waiting.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("served past the limit: %d, %v", n, err)
	}
	must(t, waiting.SetReadDeadline(time.Time{}))
	idle[0].Close()
	resp, err := http.ReadResponse(bufio.NewReader(waiting), nil)
	must(t, err)
	if resp.StatusCode != 200 {
		t.Errorf("status %d", resp.StatusCode)
	}
}

// TestLargeBodiesWaitTheirTurn holds the places of large bodies with senders
// that never finish; small requests go on and a large one is told to slow down.
func TestLargeBodiesWaitTheirTurn(t *testing.T) {
	s := newServer(t)
	u, err := url.Parse(s.url)
	must(t, err)
	for range 16 {
		c, err := net.Dial("tcp", u.Host)
		must(t, err)
		defer c.Close()
		_, err = io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-amz-json-1.1\r\n"+
			"X-Amz-Target: TrentService.ListKeys\r\nAuthorization: x\r\nContent-Length: 1000000\r\n\r\n"+strings.Repeat(" ", 200_000))
		must(t, err)
	}
	large := func() reply { return s.post("ListKeys", `{"Limit":1`+strings.Repeat(" ", 500_000)+`}`) }
	eventually(t, "throttling", func() bool { return large().code() == "ThrottlingException" })
	if got := s.post("ListKeys", `{}`); got.status != 200 {
		t.Errorf("a small request: %+v", got)
	}
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	s := &server{t: t, dir: dir, token: token, cfg: config(t, dir)}
	pool := certificate(t, dir)
	s.cfg.TLS = keysvc.TLSConfig{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	s.start()
	s.url = "https" + strings.TrimPrefix(s.url, "http")
	c := kms.New(s.admin().Options(), func(o *kms.Options) {
		o.BaseEndpoint = &s.url
		o.HTTPClient = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	})
	must2(t)(c.CreateKey(ctx, &kms.CreateKeyInput{}))
}

// certificate writes a new self-signed one for 127.0.0.1.
func certificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "cert.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return pool
}

// watchedToken remembers the buffers that it gave plaintext out in.
type watchedToken struct {
	hostToken
	mu      sync.Mutex
	buffers [][]byte
}

func (w *watchedToken) keep(b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buffers = append(w.buffers, b)
}

func (w *watchedToken) Random(ctx context.Context, n int) ([]byte, error) {
	b, err := w.hostToken.Random(ctx, n)
	w.keep(b)
	return b, err
}

func (w *watchedToken) Encrypt(ctx context.Context, wrapped []byte, epoch [16]byte, nonce [12]byte, plaintext, aad []byte) ([12]byte, []byte, error) {
	if len(aad) > 16 { // not the probe of a new key
		w.keep(plaintext)
	}
	return w.hostToken.Encrypt(ctx, wrapped, epoch, nonce, plaintext, aad)
}

func (w *watchedToken) Decrypt(ctx context.Context, wrapped []byte, epoch [16]byte, nonce [12]byte, ciphertext, aad []byte) ([]byte, bool, error) {
	plaintext, ok, err := w.hostToken.Decrypt(ctx, wrapped, epoch, nonce, ciphertext, aad)
	if len(aad) > 16 {
		w.keep(plaintext)
	}
	return plaintext, ok, err
}

func (w *watchedToken) zeroed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range w.buffers {
		if bytes.Count(b, []byte{0}) != len(b) {
			return false
		}
	}
	return true
}

func TestPlaintextIsZeroed(t *testing.T) {
	dir := t.TempDir()
	watched := &watchedToken{}
	s := &server{t: t, dir: dir, token: watched, cfg: config(t, dir)}
	s.start()
	id, _ := s.newKey()
	enc, err := s.admin().Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("to be forgotten")})
	must(t, err)
	must2(t)(s.admin().Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: enc.CiphertextBlob}))
	must2(t)(s.admin().GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: &id, KeySpec: "AES_256"}))
	must2(t)(s.admin().ReEncrypt(ctx, &kms.ReEncryptInput{CiphertextBlob: enc.CiphertextBlob, DestinationKeyId: &id}))
	eventually(t, "zeroing", watched.zeroed)
	// Three of the start, of the MAC key of the store, and six of the requests.
	if len(watched.buffers) != 9 {
		t.Errorf("%d buffers seen", len(watched.buffers))
	}
}
