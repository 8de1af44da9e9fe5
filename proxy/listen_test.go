// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sidekey/sidekey/proxy"
)

// newCertificate returns PEM files of a certificate for 127.0.0.1 that signs itself.
func newCertificate(t *testing.T) (cfg proxy.TLSConfig, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(cert))
	return proxy.TLSConfig{CertFile: writeFile(t, "cert.pem", cert),
		KeyFile: writeFile(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})))}, pool
}

func TestServeTLSAndDrain(t *testing.T) {
	cfg, pool := newCertificate(t)
	tlsConfig, err := cfg.Load()
	if err != nil {
		t.Fatal(err)
	}
	ln, err := proxy.Listen("127.0.0.1:0", tlsConfig)
	if err != nil {
		t.Fatal(err)
	}
	begun, finish := make(chan struct{}), make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-finish
		io.WriteString(w, "done")
	})
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- proxy.ServeHTTP(ctx, ln, handler, slog.New(slog.DiscardHandler)) }()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	got := make(chan string, 1)
	go func() {
		resp, err := client.Get("https://" + ln.Addr().String())
		if err != nil {
			got <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		got <- string(b)
	}()
	<-begun
	cancel() // the request that has begun still finishes
	close(finish)
	if s := <-got; s != "done" {
		t.Errorf("got %q", s)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		t.Error("still listening")
	}
}

func TestListenErrors(t *testing.T) {
	ln, err := proxy.Listen("127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if _, err := proxy.Listen(ln.Addr().String(), nil); err == nil || !strings.HasPrefix(err.Error(), "listening on "+ln.Addr().String()) {
		t.Errorf("got %v", err)
	}
}

func TestTLSConfig(t *testing.T) {
	good, _ := newCertificate(t)
	for want, cfg := range map[string]proxy.TLSConfig{
		"key_file: missing":                       {CertFile: "a"},
		"cert_file: missing":                      {KeyFile: "a"},
		"client_ca_file: needs cert_file":         {ClientCAFile: "a"},
		"cert_file /nowhere, key_file /nowhere: ": {CertFile: "/nowhere", KeyFile: "/nowhere"},
		"client_ca_file: open /nowhere":           {CertFile: good.CertFile, KeyFile: good.KeyFile, ClientCAFile: "/nowhere"},
	} {
		if _, err := cfg.Load(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if cfg, err := new(proxy.TLSConfig).Load(); cfg != nil || err != nil {
		t.Errorf("no TLS: %v, %v", cfg, err)
	}
}
