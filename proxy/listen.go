// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"
)

// TLSConfig is a server's certificate.
type TLSConfig struct {
	// CertFile holds the PEM certificate and its chain. Empty means no TLS.
	CertFile string `yaml:"cert_file"`

	// KeyFile holds the PEM private key of CertFile.
	KeyFile string `yaml:"key_file"`

	// ClientCAFile, when set, has clients show a certificate that chains to it.
	ClientCAFile string `yaml:"client_ca_file"`
}

// Validate reports settings that do not belong together.
func (c *TLSConfig) Validate() error {
	switch {
	case c.CertFile != "" && c.KeyFile == "":
		return errors.New("key_file: missing")
	case c.CertFile == "" && c.KeyFile != "":
		return errors.New("cert_file: missing")
	case c.CertFile == "" && c.ClientCAFile != "":
		return errors.New("client_ca_file: needs cert_file and key_file")
	}
	return nil
}

// Load reads the files. It returns nil when there is no certificate.
func (c *TLSConfig) Load() (*tls.Config, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.CertFile == "" {
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("cert_file %s, key_file %s: %w", c.CertFile, c.KeyFile, err)
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	if c.ClientCAFile == "" {
		return cfg, nil
	}
	pem, err := os.ReadFile(c.ClientCAFile)
	if err != nil {
		return nil, fmt.Errorf("client_ca_file: %w", err)
	}
	cfg.ClientCAs = x509.NewCertPool()
	if !cfg.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("client_ca_file: %s holds no PEM certificate", c.ClientCAFile)
	}
	cfg.ClientAuth = tls.RequireAndVerifyClientCert
	return cfg, nil
}

// Listen listens on a TCP address, with TLS when tlsCfg is not nil.
func Listen(addr string, tlsCfg *tls.Config) (net.Listener, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", addr, err)
	}
	if tlsCfg != nil {
		return tls.NewListener(ln, tlsCfg), nil
	}
	return ln, nil
}

const (
	maxHeaderBytes = 64 << 10 // S3 allows 8 KiB of headers and signing adds to it
	headerTimeout  = 15 * time.Second
	idleTimeout    = 2 * time.Minute
	drainTimeout   = 30 * time.Second
)

// ServeHTTP serves until ctx ends, then lets requests that have begun finish. A
// request as a whole has no time limit: a large object takes its time.
func ServeHTTP(ctx context.Context, ln net.Listener, handler http.Handler, log *slog.Logger) error {
	srv := &http.Server{
		Handler:           handler,
		MaxHeaderBytes:    maxHeaderBytes,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		ConnContext:       withCork,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(corkListener{ln}) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serving on %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if err := srv.Shutdown(drain); err != nil {
		srv.Close()
		return fmt.Errorf("draining %s: %w", ln.Addr(), err)
	}
	return nil
}
