// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/sidekey/sidekey/dbproxy/plan"
	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/proxy"
	"golang.org/x/sync/semaphore"

	// Time zones by name must be known where the image has no zoneinfo.
	_ "time/tzdata"
)

const (
	dialTimeout  = 10 * time.Second
	drainTimeout = 30 * time.Second
)

// Proxy serves PostgreSQL clients.
type Proxy struct {
	cfg        Config
	columns    []proxy.ColumnRule
	rules      []*plan.Rule
	catalogSQL string
	cipher     *proxy.Cipher
	audit      *audit.Log
	log        *slog.Logger
	clientTLS  *tls.Config     // what clients get; nil: none
	hosts      []*host         // the servers, in the order in which they are tried
	admin      *pgx.ConnConfig // nil without rules
	moving     bool            // a rule's column may be moved while the proxy runs
	identity   string          // tells the connections of one proxy from those of others
	keyAge     time.Duration   // how long the list of a column's data keys holds

	planning sync.Mutex          // held while a large text is parsed
	parsing  *semaphore.Weighted // bytes of texts below that, but not small, that are parsed at a time
	starting atomic.Int32        // clients that are not authenticated yet
	on       processes

	clientMessages, serverMessages *budget
	cancelling                     cancels

	mu        sync.Mutex
	databases map[string]*database  // guarded by mu
	sessions  map[*session]struct{} // guarded by mu
	cancels   map[string]*session   // guarded by mu; by BackendKeyData
}

// New makes a proxy for columns with rules. It connects to nothing.
func New(cfg Config, columns []proxy.ColumnRule, cipher *proxy.Cipher, al *audit.Log, log *slog.Logger) (*Proxy, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	p := &Proxy{cfg: cfg, columns: columns, cipher: cipher, audit: al, log: log,
		moving: moving(columns), identity: rand.Text(), keyAge: keyAge,
		databases: make(map[string]*database), sessions: make(map[*session]struct{}), cancels: make(map[string]*session)}
	memory := cfg.messageMemory()
	p.cancelling = newCancels()
	p.parsing = semaphore.NewWeighted(parsedAtATime)
	p.clientMessages, p.serverMessages = newBudget(memory/2), newBudget(memory/2)
	var err error
	if p.rules, err = planRules(columns, cfg.tenantSetting()); err != nil {
		return nil, err
	}
	if err := p.checkMasks(); err != nil {
		return nil, err
	}
	if len(p.rules) > 0 {
		if cfg.Replication == ReplicationPass && len(cfg.RawRoles) == 0 {
			return nil, errors.New("postgres.replication: pass needs raw_roles, whose replication connections pass")
		}
		p.catalogSQL = catalogQuery(p.rules)
		if p.admin, err = adminConfig(cfg.AdminURLFile); err != nil {
			return nil, err
		}
	}
	if cfg.TLS.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(cfg.TLS.CertFile, cfg.TLS.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("postgres.tls: %w", err)
		}
		p.clientTLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{alpn}}
	}
	if target := cfg.Upstream.target(); target != TargetAny && p.admin == nil {
		return nil, errors.New("postgres.upstream.target_session_attrs: needs columns with rules and admin_url_file, whose role asks the servers")
	}
	p.hosts, err = newHosts(cfg.Upstream)
	return p, err
}

func adminConfig(file string) (*pgx.ConnConfig, error) {
	if file == "" {
		return nil, errors.New("postgres.admin_url_file: missing; columns with rules need it")
	}
	url, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("postgres.admin_url_file: %w", err)
	}
	cfg, err := pgx.ParseConfig(strings.TrimSpace(string(url)))
	if err != nil {
		return nil, fmt.Errorf("postgres.admin_url_file: %s does not hold a postgres:// URL", file)
	}
	return cfg, nil
}

// ErrAway says that the server cannot be reached now. Clients are told so until
// it can.
var ErrAway = errors.New("the database server cannot be reached")

// Check connects to the server and, if columns have rules, reads the catalog
// with the administrative role. It is for a start that must fail clearly where
// waiting does not help: else it fails with ErrAway.
func (p *Proxy) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if err := p.reach(ctx); err != nil {
		return fmt.Errorf("postgres.upstream: %w: %w", ErrAway, err)
	}
	if p.admin == nil {
		return nil
	}
	_, err := p.database(p.admin.Database).reload(ctx)
	var refused *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused) && refused.Code != codeCannotConnect, !errors.Is(err, errAway):
		return fmt.Errorf("postgres.admin_url_file: %w", err)
	}
	return fmt.Errorf("postgres.admin_url_file: %w: %w", ErrAway, err)
}

// Serve accepts clients until ctx ends, then lets transactions end for a while.
func (p *Proxy) Serve(ctx context.Context, ln net.Listener) error {
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	sessionCtx := context.WithoutCancel(ctx)
	var running sync.WaitGroup
	for {
		conn, err := ln.Accept()
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return err
			}
			// Out of descriptors, most likely: what runs will give some back.
			p.log.Error("accepting a client", "error", err)
			time.Sleep(50 * time.Millisecond)
			continue
		}
		running.Go(func() {
			defer p.survive(nil)
			p.serveConn(sessionCtx, conn)
		})
	}
	p.drain(&running)
	for _, d := range p.allDatabases() {
		d.close()
	}
	return nil
}

// survive ends what panicked, one session, and not the sidecar with all others. It
// is to be deferred. The stack holds no values.
func (p *Proxy) survive(s *session) {
	v := recover()
	if v == nil {
		return
	}
	what := fmt.Sprintf("%T", v)
	if err, ok := v.(runtime.Error); ok {
		what = err.Error()
	}
	p.log.Error("a session has panicked", "panic", what, "stack", string(debug.Stack()))
	if s != nil {
		s.fatal(failf(codeInternal, "the encrypting proxy has failed"))
	}
}

// drain ends idle sessions at once and the others when their transaction ends.
func (p *Proxy) drain(running *sync.WaitGroup) {
	done := make(chan struct{})
	go func() {
		running.Wait()
		close(done)
	}()
	deadline := time.After(drainTimeout)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for forced := false; ; {
		p.mu.Lock()
		for s := range p.sessions {
			if forced || s.idle() {
				s.fatal(failf(codeShutdown, "terminating connection: the encrypting proxy is shutting down"))
			}
		}
		p.mu.Unlock()
		select {
		case <-done:
			return
		case <-deadline:
			forced = true
		case <-tick.C:
		}
	}
}

func (p *Proxy) database(name string) *database {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.databases[name]
	if d == nil {
		d = &database{name: name, proxy: p, columns: newColumns()}
		d.ctx, d.cancel = context.WithCancel(context.Background())
		p.databases[name] = d
	}
	return d
}

func (p *Proxy) allDatabases() []*database {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []*database
	for _, d := range p.databases {
		all = append(all, d)
	}
	return all
}

// startTLS asks the server for TLS and must get it.
func startTLS(ctx context.Context, conn net.Conn, cfg *tls.Config) (net.Conn, error) {
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline)
		defer conn.SetDeadline(time.Time{})
	}
	if _, err := conn.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47}); err != nil {
		return nil, fmt.Errorf("asking the server for TLS: %w", err)
	}
	var answer [1]byte
	if _, err := conn.Read(answer[:]); err != nil {
		return nil, fmt.Errorf("asking the server for TLS: %w", err)
	}
	if answer[0] != 'S' {
		return nil, errors.New("the server does not offer TLS")
	}
	secure := tls.Client(conn, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS with the server: %w", err)
	}
	return secure, nil
}
