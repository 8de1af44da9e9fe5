// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

// Limits of a connection. A client that does not keep them is cut off, so that
// the memory that slow clients hold is bounded by their number.
const (
	maxHeader     = 16 << 10
	headerTimeout = 10 * time.Second
	readTimeout   = 30 * time.Second
	writeTimeout  = 60 * time.Second
	idleTimeout   = 2 * time.Minute
)

// Serve answers on ln until ctx ends, then lets running requests finish for up
// to the drain timeout. It serves TLS if the configuration names a certificate.
func (s *Service) Serve(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{
		Handler:           s.Handler(),
		MaxHeaderBytes:    maxHeader,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		Protocols:         new(http.Protocols),
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	// AWS KMS clients speak HTTP/1.1; HTTP/2 would multiply what one
	// connection can hold.
	srv.Protocols.SetHTTP1(true)
	ln = netutil.LimitListener(ln, s.cfg.MaxConnections)
	if s.cfg.TLS.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(s.cfg.TLS.CertFile, s.cfg.TLS.KeyFile)
		if err != nil {
			return fmt.Errorf("keysvc.tls: %w", err)
		}
		ln = tls.NewListener(ln, &tls.Config{
			Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		})
	}
	drained := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() { drained <- s.drain(srv) })
	err := srv.Serve(ln)
	if !stop() && errors.Is(err, http.ErrServerClosed) {
		return <-drained
	}
	return fmt.Errorf("serving the key service: %w", err)
}

func (s *Service) drain(srv *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.DrainTimeout)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		srv.Close()
		return fmt.Errorf("draining the key service: %w", err)
	}
	return nil
}
