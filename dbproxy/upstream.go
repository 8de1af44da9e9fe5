// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// Values of UpstreamConfig.TargetSessionAttrs, as libpq means them.
const (
	TargetAny           = "any"
	TargetReadWrite     = "read-write"
	TargetReadOnly      = "read-only"
	TargetPrimary       = "primary"
	TargetStandby       = "standby"
	TargetPreferStandby = "prefer-standby"
)

const (
	// stateAge is how long what a host has said of itself is believed before a
	// session is sent there, which finds out for certain.
	stateAge = 10 * time.Second
	// freshAge is the same where no host seems to fit: a failover may be under way.
	freshAge = time.Second
	// failedAge is how long a host that could not be reached is tried last.
	failedAge = 5 * time.Second
)

// host is one server of the upstream.
type host struct {
	network, address string
	tls              *tls.Config // nil: plain

	mu     sync.Mutex
	state  hostState // guarded by mu
	seen   time.Time // guarded by mu; when state was learned; zero: never
	failed time.Time // guarded by mu; when it could not be reached; zero: it could
	err    error     // guarded by mu; why
	tried  time.Time // guarded by mu; when it was last put before others although it had failed

	asking sync.Mutex // held by who asks what it is; before mu
}

// hostState is what target_session_attrs asks about.
type hostState struct{ standby, readOnly bool }

// fits says whether a server is what target asks for.
func (st hostState) fits(target string) bool {
	switch target {
	case TargetReadWrite:
		return !st.standby && !st.readOnly
	case TargetReadOnly:
		return st.standby || st.readOnly
	case TargetPrimary:
		return !st.standby
	case TargetStandby:
		return st.standby
	}
	return true
}

// hosts are the addresses of the upstream, in order.
func (c UpstreamConfig) hosts() []string {
	var out []string
	for a := range strings.SplitSeq(c.Address, ",") {
		out = append(out, strings.TrimSpace(a))
	}
	return out
}

func (c UpstreamConfig) target() string {
	if c.TargetSessionAttrs == "" {
		return TargetAny
	}
	return c.TargetSessionAttrs
}

// validate reports the first setting that cannot work.
func (c UpstreamConfig) validate() error {
	switch c.TLS {
	case "", TLSDisable, TLSRequire, TLSVerifyFull:
	default:
		return fmt.Errorf("postgres.upstream.tls: %q is not disable, require or verify-full", c.TLS)
	}
	switch c.target() {
	case TargetAny, TargetReadWrite, TargetReadOnly, TargetPrimary, TargetStandby, TargetPreferStandby:
	default:
		return fmt.Errorf("postgres.upstream.target_session_attrs: %q is not any, read-write, read-only, primary, standby or prefer-standby", c.TargetSessionAttrs)
	}
	if err := validatePooler(c.Pooler); err != nil {
		return err
	}
	for _, a := range c.hosts() {
		if strings.HasPrefix(a, "/") {
			if c.TLS != "" && c.TLS != TLSDisable {
				return errors.New("postgres.upstream.tls: a Unix socket has no TLS")
			}
		} else if _, _, err := net.SplitHostPort(a); err != nil {
			return fmt.Errorf("postgres.upstream.address: %q is not host:port or a path", a)
		}
	}
	return nil
}

// newHosts gives the servers of the upstream. With verify-full each has to show a
// certificate for its own name.
func newHosts(c UpstreamConfig) ([]*host, error) {
	base, err := upstreamTLS(c)
	if err != nil {
		return nil, err
	}
	var out []*host
	for _, a := range c.hosts() {
		h := &host{network: "tcp", address: a}
		if strings.HasPrefix(a, "/") {
			h.network = "unix"
		}
		if base != nil {
			h.tls = base.Clone()
			h.tls.ServerName, _, _ = net.SplitHostPort(a)
		}
		out = append(out, h)
	}
	return out, nil
}

// upstreamTLS is how any server is reached; nil: plain.
func upstreamTLS(c UpstreamConfig) (*tls.Config, error) {
	switch c.TLS {
	case TLSRequire:
		return &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}, nil
	case TLSVerifyFull:
		cfg := &tls.Config{MinVersion: tls.VersionTLS12}
		if c.CAFile == "" {
			return cfg, nil
		}
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("postgres.upstream.ca_file: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("postgres.upstream.ca_file: %s holds no certificate", c.CAFile)
		}
		return cfg, nil
	}
	return nil, nil
}

// dial connects to a host, with TLS if the configuration says so, and remembers
// whether that could be done.
func (h *host) dial(ctx context.Context) (net.Conn, error) {
	conn, err := h.connect(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reached(err)
	return conn, err
}

// reached notes whether the host could be reached. The caller holds mu.
func (h *host) reached(err error) {
	h.failed, h.err = time.Time{}, err
	if err != nil {
		h.failed = time.Now()
	}
}

func (h *host) connect(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	address := h.address
	if h.network == "unix" {
		if info, err := os.Stat(address); err == nil && info.IsDir() {
			address = filepath.Join(address, ".s.PGSQL.5432")
		}
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, h.network, address)
	if err != nil || h.tls == nil {
		return conn, err
	}
	secure, err := startTLS(ctx, conn, h.tls)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}

// ailing says that the host could not be reached a moment ago. After a while one
// client may try it again before others, while the rest goes on without it.
func (h *host) ailing() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failed.IsZero() {
		return false
	}
	if time.Since(h.failed) < failedAge || time.Since(h.tried) < failedAge+dialTimeout {
		return true
	}
	h.tried = time.Now()
	return false
}

// forget has the host asked anew what it is.
func (h *host) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen = time.Time{}
}

// learn gives what the host is, asked if the last answer is older than age. One
// asks for all who want to know; of a host that has failed the rest does not wait
// for the answer.
func (h *host) learn(ctx context.Context, admin *pgx.ConnConfig, age time.Duration) (hostState, error) {
	if st, known, err := h.known(age); known {
		return st, err
	}
	if !h.asking.TryLock() {
		if err := h.failure(); err != nil {
			return hostState{}, err
		}
		h.asking.Lock()
	}
	defer h.asking.Unlock()
	if st, known, err := h.known(age); known {
		return st, err
	}
	st, err := h.ask(ctx, admin)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reached(err)
	if h.seen = time.Now(); err != nil {
		h.seen = time.Time{}
	}
	h.state = st
	return st, err
}

// known is what was learned of the host, or that it could not be reached, not longer
// ago than age.
func (h *host) known(age time.Duration) (st hostState, known bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.failed.IsZero() && time.Since(h.failed) < min(age, failedAge) {
		return hostState{}, true, h.err
	}
	return h.state, !h.seen.IsZero() && time.Since(h.seen) < age, nil
}

// failure is why the host could not be reached, if it could not when last tried.
func (h *host) failure() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failed.IsZero() {
		return nil
	}
	return h.err
}

// ask connects with the administrative role and reads what the server reports of
// itself; one before PostgreSQL 14 has to be asked.
func (h *host) ask(ctx context.Context, admin *pgx.ConnConfig) (st hostState, err error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	cfg := admin.Config.Copy()
	cfg.Host, cfg.Port, cfg.Fallbacks, cfg.TLSConfig, cfg.ValidateConnect = "upstream", 5432, nil, nil, nil
	cfg.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"upstream"}, nil }
	cfg.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) { return h.connect(ctx) }
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return st, fmt.Errorf("asking %s what it is: %w", h.address, err)
	}
	defer conn.Close(ctx)
	standby, readOnly := conn.ParameterStatus("in_hot_standby"), conn.ParameterStatus("default_transaction_read_only")
	if standby == "" || readOnly == "" {
		results, err := conn.Exec(ctx, "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN 'on' ELSE 'off' END, pg_catalog.current_setting('default_transaction_read_only')").ReadAll()
		if err != nil {
			return st, fmt.Errorf("asking %s what it is: %w", h.address, err)
		}
		standby, readOnly = string(results[0].Rows[0][0]), string(results[0].Rows[0][1])
	}
	return hostState{standby: standby == "on", readOnly: readOnly == "on"}, nil
}

// order gives the hosts as they are to be tried: those that could not be reached a
// moment ago come last, so that not every client waits for them.
func (p *Proxy) order() []*host {
	var well, ailing []*host
	for _, h := range p.hosts {
		if h.ailing() {
			ailing = append(ailing, h)
		} else {
			well = append(well, h)
		}
	}
	return append(well, ailing...)
}

// attempt is one round over the hosts.
type attempt struct {
	target string
	age    time.Duration // how old what is known of a host may be
}

func (p *Proxy) attempts() []attempt {
	switch target := p.cfg.Upstream.target(); target {
	case TargetAny:
		return []attempt{{TargetAny, 0}}
	case TargetPreferStandby:
		return []attempt{{TargetStandby, stateAge}, {TargetStandby, freshAge}, {TargetAny, 0}}
	default:
		return []attempt{{target, stateAge}, {target, freshAge}}
	}
}

// link is a connection to a server that has got the startup message.
type link struct {
	host   *host
	conn   net.Conn
	frames *frames
}

// open sends the startup message to the first host that fits and accepts it. The
// client authenticates itself only once, so the host has to be the right one
// before: what it is, the administrative role has found out, and the session's own
// parameters confirm. A host that is starting up or shutting down says so instead
// of asking for a password; then the next one is tried, as libpq does.
func (p *Proxy) open(ctx context.Context, startup []byte) (*link, error) {
	var errs []error
	var turned *link // what the client gets if no host does
	for _, try := range p.attempts() {
		for _, h := range p.order() {
			if try.target != TargetAny {
				st, err := h.learn(ctx, p.admin, try.age)
				if err == nil && !st.fits(try.target) {
					err = fmt.Errorf("%s is not what target_session_attrs asks for", h.address)
				}
				if err != nil {
					errs = append(errs, err)
					continue
				}
			}
			l, err := h.begin(ctx, startup)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			if !l.turnedAway() {
				turned.close()
				return l, nil
			}
			turned.close()
			turned = l
		}
	}
	if turned != nil {
		return turned, nil
	}
	return nil, errors.Join(errs...)
}

func (l *link) close() {
	if l != nil {
		l.conn.Close()
	}
}

// begin sends the startup message.
func (h *host) begin(ctx context.Context, startup []byte) (*link, error) {
	conn, err := h.dial(ctx)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(startupTimeout))
	if _, err := conn.Write(packet(startup)); err != nil {
		conn.Close()
		return nil, err
	}
	l := &link{host: h, conn: conn, frames: newFrames(newReader(conn, nil))}
	if _, err := l.frames.r.Peek(5); err != nil {
		conn.Close()
		return nil, fmt.Errorf("%s closed the connection: %w", h.address, err)
	}
	return l, nil
}

// packet is a message without a type: an int32 length that counts itself, then the body.
func packet(body []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body)+4)), body...)
}

// turnedAway says that the server's answer is SQLSTATE 57P03: not now. It is left
// to be read. Before it the server may have negotiated the protocol's version.
func (l *link) turnedAway() bool {
	kind, end, ok := l.peek(0)
	at := 0
	if ok && kind == 'v' {
		at = end
		kind, end, ok = l.peek(at)
	}
	if !ok || kind != 'E' {
		return false
	}
	all, err := l.frames.r.Peek(end)
	var m pgproto3.ErrorResponse
	return err == nil && m.Decode(all[at+5:]) == nil && m.Code == codeCannotConnect
}

// peek gives the type and the end of the message that begins at an offset of what
// is still to be read.
func (l *link) peek(at int) (kind byte, end int, ok bool) {
	head, err := l.frames.r.Peek(at + 5)
	if err != nil {
		return 0, 0, false
	}
	length := int(binary.BigEndian.Uint32(head[at+1:]))
	if length < 4 || length > maxStartup {
		return 0, 0, false
	}
	return head[at], at + 1 + length, true
}

// report takes a ParameterStatus that says what the server is.
func (s *session) report(name, value string) {
	switch name {
	case "in_hot_standby":
		s.standby = value
	case "default_transaction_read_only":
		s.readOnly = value
	}
}

// confirm compares what the session's own parameters say with what was asked for.
func (s *session) confirm() error {
	target := s.proxy.cfg.Upstream.target()
	if target == TargetAny || target == TargetPreferStandby || s.standby == "" || s.readOnly == "" {
		return nil
	}
	if (hostState{standby: s.standby == "on", readOnly: s.readOnly == "on"}).fits(target) {
		return nil
	}
	s.host.forget()
	return &pgError{Code: codeCannotConnect, Message: "the database server is not what target_session_attrs of the encrypting proxy asks for",
		Detail: "It has changed since it was last asked, or the role has a setting of its own.", Hint: "Connect again."}
}

// reach connects to any host and ends the connection.
func (p *Proxy) reach(ctx context.Context) error {
	var errs []error
	for _, h := range p.order() {
		conn, err := h.dial(ctx)
		if err == nil {
			return conn.Close()
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// readOnlyServer is what a standby answers to writes.
const readOnlyServer = "25006"

// connectAdmin prefers, of several hosts, the primary: only there can data keys be
// made. Any other will do to read.
func connectAdmin(ctx context.Context, cfg *pgx.ConnConfig) (*pgx.Conn, error) {
	several := slices.ContainsFunc(cfg.Fallbacks, func(f *pgconn.FallbackConfig) bool { return f.Host != cfg.Host || f.Port != cfg.Port })
	if !several || cfg.ValidateConnect != nil {
		return pgx.ConnectConfig(ctx, cfg)
	}
	primary := cfg.Copy()
	primary.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary
	if conn, err := pgx.ConnectConfig(ctx, primary); err == nil {
		return conn, nil
	}
	return pgx.ConnectConfig(ctx, cfg)
}
