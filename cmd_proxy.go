// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/sidekey/sidekey/dbproxy"
	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/proxy"
	"github.com/sidekey/sidekey/proxy/datakey"
	"github.com/sidekey/sidekey/proxy/forward"
	"github.com/sidekey/sidekey/s3gateway"
)

// ProxyConfig is the whole configuration file of `sidekey proxy`, the sidecar.
// Of s3, postgres and forward, those that are there are served.
type ProxyConfig struct {
	// KMS is the key service: sidekey's own or AWS KMS.
	KMS proxy.KMSConfig `yaml:"kms"`
	// Cache bounds the use of cached data keys.
	Cache datakey.Config `yaml:"cache"`
	// Audit is the log of every gateway operation and use of a data key.
	Audit audit.Config `yaml:"audit"`
	// Rules say which objects and columns are protected, and by which key.
	Rules proxy.Rules `yaml:"rules"`
	// S3 is the S3 gateway.
	S3 *s3gateway.Config `yaml:"s3"`
	// Postgres is the PostgreSQL proxy.
	Postgres *dbproxy.Config `yaml:"postgres"`
	// Forward is the HTTPS proxy that takes over S3's own host names. It needs s3.
	Forward *forward.Config `yaml:"forward"`
}

// Validate names the settings that are missing or wrong.
func (c *ProxyConfig) Validate() error {
	problems := []error{
		validateGroup("kms", &c.KMS), validateGroup("cache", &c.Cache),
		validateGroup("audit", &c.Audit), validateGroup("rules", &c.Rules),
	}
	if c.S3 == nil && c.Postgres == nil {
		problems = append(problems, errors.New("s3, postgres: both missing; at least one gateway must be configured"))
	}
	if c.Forward != nil && c.S3 == nil {
		problems = append(problems, errors.New("forward: needs s3, which answers for the hosts that are taken over"))
	}
	if c.S3 != nil {
		problems = append(problems, validateGroup("s3", c.S3))
	}
	if c.Postgres != nil {
		problems = append(problems, validateGroup("postgres", c.Postgres))
		if len(c.Rules.Columns) == 0 {
			problems = append(problems, errors.New("rules.columns: missing; without rules postgres would protect nothing"))
		}
	}
	if c.Forward != nil {
		problems = append(problems, validateGroup("forward", c.Forward))
	}
	return errors.Join(append(problems, c.checkListeners())...)
}

// checkListeners refuses to take plaintext from other hosts.
func (c *ProxyConfig) checkListeners() error {
	var problems []error
	check := func(key, address string, encrypted bool) {
		host, _, err := net.SplitHostPort(address)
		ip := net.ParseIP(host)
		if err != nil || encrypted || host == "localhost" || ip != nil && ip.IsLoopback() {
			return
		}
		problems = append(problems, fmt.Errorf("%s.listen: %s is reachable from other hosts and has no TLS: plaintext would cross the network", key, address))
	}
	if c.S3 != nil {
		check("s3", c.S3.Listen, c.S3.TLS.CertFile != "")
	}
	if c.Postgres != nil {
		check("postgres", c.Postgres.Listen, c.Postgres.TLS.CertFile != "")
	}
	if c.Forward != nil {
		check("forward", c.Forward.Listen, false)
	}
	return errors.Join(problems...)
}

func proxyCommand() *cobra.Command {
	var path string
	command := &cobra.Command{
		Use:   "proxy",
		Short: "Run the sidecar: S3 gateway, PostgreSQL proxy, forward proxy",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var cfg ProxyConfig
			if err := loadConfig(path, &cfg); err != nil {
				return err
			}
			return runProxy(cmd.Context(), &cfg, newLogger(), nil)
		},
	}
	command.Flags().StringVarP(&path, "config", "c", "/etc/sidekey/proxy.yaml", "configuration file")
	return command
}

// openCipher opens what the sidecar encrypts with, and the audit log that takes its
// uses. close ends both.
func openCipher(cfg *ProxyConfig, auditLog audit.Config, log *slog.Logger) (cipher *proxy.Cipher, records *audit.Log, close func(), err error) {
	if records, err = audit.Open(auditLog, audit.ServiceProxy, log); err != nil {
		return nil, nil, nil, fmt.Errorf("opening the audit log %s: %w", auditLog.Dir, err)
	}
	client, err := proxy.NewKMS(cfg.KMS)
	if err != nil {
		records.Close()
		return nil, nil, nil, err
	}
	cache, err := datakey.NewCache(cfg.Cache, client, log)
	if err != nil {
		records.Close()
		return nil, nil, nil, fmt.Errorf("making the data key cache: %w", err)
	}
	return proxy.NewCipher(cfg.Rules, cache, records), records, func() { cache.Close(); records.Close() }, nil
}

// runProxy serves until ctx ends, then drains. ready, if not nil, is called
// once every gateway listens.
func runProxy(ctx context.Context, cfg *ProxyConfig, log *slog.Logger, ready func()) error {
	for _, warning := range cfg.Rules.Warnings() {
		log.Warn("rules", "warning", warning)
	}
	cipher, records, closeCipher, err := openCipher(cfg, cfg.Audit, log)
	if err != nil {
		return err
	}
	defer closeCipher()
	held := make([]byte, ballast)
	defer runtime.KeepAlive(held)
	if os.Getenv("GOGC") == "" {
		// Beyond the ballast memory is dearer than time: thousands of idle sessions
		// have stacks that count as well.
		debug.SetGCPercent(60)
	}

	servers, ctx := errgroup.WithContext(ctx)
	if cfg.Postgres != nil {
		if err := startPostgres(ctx, servers, cfg, cipher, records, log); err != nil {
			return err
		}
	}
	if cfg.S3 != nil {
		if err := startS3(ctx, servers, cfg, cipher, records, log); err != nil {
			return err
		}
	}
	if ready != nil {
		ready()
	}
	return servers.Wait()
}

// drainTimeout bounds how long taken-over connections may take to end.
const drainTimeout = 30 * time.Second

// startS3 starts the S3 gateway and, if configured, the forward proxy before it.
func startS3(ctx context.Context, servers *errgroup.Group, cfg *ProxyConfig, cipher *proxy.Cipher, records *audit.Log, log *slog.Logger) error {
	gateway, err := s3gateway.New(*cfg.S3, cipher, records, log)
	if err != nil {
		return err
	}
	certificate, err := cfg.S3.TLS.Load()
	if err != nil {
		return fmt.Errorf("s3.tls.%w", err)
	}
	listener, err := proxy.Listen(cfg.S3.Listen, certificate)
	if err != nil {
		return fmt.Errorf("s3.listen: %w", err)
	}
	log.Info("serving S3", "address", listener.Addr().String())
	servers.Go(func() error { return proxy.ServeHTTP(ctx, listener, gateway, log) })
	if cfg.Forward == nil {
		return nil
	}
	dispatcher, err := forward.New(*cfg.Forward, gateway, records, log)
	if err != nil {
		return err
	}
	plain, err := proxy.Listen(cfg.Forward.Listen, nil)
	if err != nil {
		return fmt.Errorf("forward.listen: %w", err)
	}
	log.Info("serving the forward proxy", "address", plain.Addr().String())
	servers.Go(func() error {
		err := proxy.ServeHTTP(ctx, plain, dispatcher, log)
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
		defer cancel()
		return errors.Join(err, dispatcher.Shutdown(drain))
	})
	return nil
}

func startPostgres(ctx context.Context, servers *errgroup.Group, cfg *ProxyConfig, cipher *proxy.Cipher, records *audit.Log, log *slog.Logger) error {
	database, err := dbproxy.New(*cfg.Postgres, cfg.Rules.Columns, cipher, records, log)
	if err != nil {
		return err
	}
	if err := database.Check(ctx); errors.Is(err, dbproxy.ErrAway) {
		log.Warn("PostgreSQL is away: its clients are told so until it is back", "error", err)
	} else if err != nil {
		return err
	}
	listener, err := proxy.Listen(cfg.Postgres.Listen, nil)
	if err != nil {
		return fmt.Errorf("postgres.listen: %w", err)
	}
	log.Info("serving PostgreSQL", "address", listener.Addr().String())
	servers.Go(func() error { return database.Serve(ctx, listener) })
	return nil
}
