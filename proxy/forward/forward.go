// Package forward is the HTTP proxy that unmodified AWS SDKs are pointed at
// with HTTPS_PROXY. A CONNECT to an S3 host is taken over: TLS ends here, with
// a certificate from a CA that lives in this process only, and the requests go
// to the S3 handler. Every other host is tunnelled if the configuration allows
// it by name, and refused otherwise.
//
// goproxy parses and dispatches CONNECT and plain requests. Its own
// interception, and the CA that comes with it, are never used: taken-over
// connections are served by net/http, which answers Expect: 100-continue.
package forward

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/elazarl/goproxy"

	"github.com/sidekey/sidekey/keysvc/audit"
)

// Config says what the forward proxy takes over and what it lets through.
type Config struct {
	// Listen is the address of the proxy port, such as 127.0.0.1:3128.
	// Empty means no forward proxy.
	Listen string `yaml:"listen"`

	// CAFile is where the certificate of the proxy's CA is written at each
	// start, PEM, mode 0644, followed by the roots of the system, so that
	// clients can use it as AWS_CA_BUNDLE. The CA's key never leaves memory.
	CAFile string `yaml:"ca_file"`

	// S3Hosts are the patterns of the hosts that are taken over. A leading
	// "*" stands for one or more labels, any other "*" is within one label.
	// Empty means the endpoints of AWS S3: s3.amazonaws.com,
	// s3.REGION.amazonaws.com, s3.dualstack.REGION.amazonaws.com, and the
	// virtual-hosted names of buckets under them.
	S3Hosts []string `yaml:"s3_hosts"`

	// Allow are the host:port patterns of all other hosts that may be
	// reached through the proxy; the port may be "*". Empty refuses all.
	// S3 hosts that S3Hosts does not name are let through only by their own
	// name in full: a star does not stand for them.
	// Loopback, link-local (cloud metadata) and multicast addresses are
	// refused even if a pattern or a DNS name leads to them, unless the
	// entry is the address itself, or localhost.
	Allow []string `yaml:"allow"`
}

const (
	headerTimeout = 30 * time.Second
	idleTimeout   = 5 * time.Minute
	dialTimeout   = 30 * time.Second
	// maxHeader holds S3's 8 KiB of headers and a presigned URL, amply.
	maxHeader = 64 << 10
)

// Validate reports the first setting that cannot work, by its yaml key.
func (c *Config) Validate() error {
	if c.Listen == "" {
		return nil
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	_, err := c.compile()
	return err
}

// rules is the compiled Config.
type rules struct {
	s3    hostPatterns
	allow allowList
}

func (c *Config) compile() (rules, error) {
	if c.CAFile == "" {
		return rules{}, errors.New("ca_file: missing")
	}
	s3, err := parseHosts(c.S3Hosts)
	if err != nil {
		return rules{}, fmt.Errorf("s3_hosts: %w", err)
	}
	allow, err := parseAllow(c.Allow)
	if err != nil {
		return rules{}, fmt.Errorf("allow: %w", err)
	}
	return rules{s3, allow}, nil
}

// Proxy is the handler of the proxy port.
type Proxy struct {
	rules
	ca    *authority
	s3    http.Handler
	audit *audit.Log
	log   *slog.Logger

	dispatch *goproxy.ProxyHttpServer
	inner    *http.Server // of taken-over connections
	taken    *connListener
	tunnels  tunnels
}

// New makes the CA, writes cfg.CAFile and starts the server of taken-over
// connections, whose requests go to s3.
func New(cfg Config, s3 http.Handler, al *audit.Log, log *slog.Logger) (*Proxy, error) {
	r, err := cfg.compile()
	if err != nil {
		return nil, fmt.Errorf("forward: %w", err)
	}
	ca, err := newAuthority(r.s3.parents(), time.Now)
	if err != nil {
		return nil, fmt.Errorf("making the forward proxy's CA: %w", err)
	}
	if err := ca.writeBundle(cfg.CAFile); err != nil {
		return nil, fmt.Errorf("writing ca_file: %w", err)
	}
	p := &Proxy{rules: r, ca: ca, s3: s3, audit: al, log: log}
	p.taken = newConnListener()
	p.inner = &http.Server{
		Handler:           http.HandlerFunc(p.serveTaken),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	p.dispatch = p.newDispatcher()
	go func() {
		if err := p.inner.Serve(tls.NewListener(p.taken, p.tlsConfig())); !errors.Is(err, http.ErrServerClosed) {
			log.Error("forward proxy stopped serving S3", "err", err)
		}
	}()
	return p, nil
}

// Shutdown lets the requests on taken-over connections end, then closes the
// tunnels, of which nobody can tell whether they are idle. Their outcomes are
// on record when it returns; the audit log must be closed after it.
func (p *Proxy) Shutdown(ctx context.Context) error {
	err := p.inner.Shutdown(ctx)
	p.tunnels.close()
	return err
}

// Close ends every connection at once.
func (p *Proxy) Close() error {
	err := p.inner.Close()
	p.tunnels.close()
	return err
}

// newDispatcher sets every default of goproxy that could reach out by itself:
// the transport, and the dialer, which would follow HTTPS_PROXY.
func (p *Proxy) newDispatcher() *goproxy.ProxyHttpServer {
	d := goproxy.NewProxyHttpServer()
	d.Logger = logPrinter{p.log}
	d.Tr = &http.Transport{
		DialContext:         p.dialPlain,
		IdleConnTimeout:     idleTimeout,
		DisableCompression:  true,
		MaxIdleConnsPerHost: 16,
	}
	d.KeepAcceptEncoding = true
	d.ConnectDial = nil
	d.ConnectDialWithReq = p.dialTunnel
	d.ConnectionErrHandler = func(w io.Writer, _ *goproxy.ProxyCtx, err error) {
		// Any other error comes from within a tunnel, where an HTTP answer
		// has no place.
		if errors.Is(err, errUnreachable) {
			writeRefusal(w, http.StatusBadGateway, unreachableText)
		}
	}
	d.NonproxyHandler = http.HandlerFunc(notAProxyRequest)
	d.OnRequest().HandleConnectFunc(p.connect)
	d.OnResponse().DoFunc(func(resp *http.Response, ctx *goproxy.ProxyCtx) *http.Response {
		op := audit.FromContext(ctx.Req.Context())
		if resp == nil {
			p.log.Warn("forward proxy cannot connect", "to", ctx.Req.URL.Host, "err", ctx.Error)
			p.end(op, "Unreachable")
			return goproxy.NewResponse(ctx.Req, "text/plain", http.StatusBadGateway, unreachableText)
		}
		op.Set(audit.HTTPStatus.Int(resp.StatusCode))
		return resp
	})
	return d
}

const unreachableText = "sidekey: the host cannot be reached\n"

func notAProxyRequest(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "sidekey: this is the forward proxy; set HTTPS_PROXY to it. S3 itself is served at s3.listen.", http.StatusBadRequest)
}

// ServeHTTP takes CONNECT and, in absolute form, plain requests.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodConnect:
		p.serveConnect(w, r)
	case !r.URL.IsAbs():
		notAProxyRequest(w, r)
	case !strings.EqualFold(r.URL.Scheme, "http"):
		http.Error(w, "sidekey: "+r.URL.Scheme+" is not proxied in clear; use CONNECT", http.StatusBadRequest)
	case p.rules.s3.match(r.URL.Hostname()):
		p.servePlainS3(w, r)
	default:
		p.servePlain(w, r)
	}
}

// serveConnect puts the CONNECT on record before anything is opened. The span
// ends with the connection.
func (p *Proxy) serveConnect(w http.ResponseWriter, r *http.Request) {
	target, ok := parseTarget(r.URL.Host, "")
	if !ok {
		http.Error(w, "sidekey: CONNECT needs host:port", http.StatusBadRequest)
		return
	}
	r, op := p.begin(r, target)
	if !p.s3Target(target) && !p.allow.match(target) {
		p.end(op, "Refused", audit.Reason.String("not in forward.allow"))
		refuse(w, target)
		return
	}
	if err := op.Durable(r.Context()); err != nil {
		p.unavailable(w, op, err)
		return
	}
	r.URL.Host = target.String()
	p.dispatch.ServeHTTP(w, r)
}

func (p *Proxy) s3Target(t target) bool { return p.rules.s3.match(t.host) }

func (p *Proxy) begin(r *http.Request, t target) (*http.Request, *audit.Op) {
	ctx, op := p.audit.Begin(audit.Extract(r.Context(), r.Header), audit.SpanForwardConnect,
		audit.ServerAddress.String(t.String()),
		audit.ClientAddress.String(r.RemoteAddr),
		audit.HTTPMethod.String(r.Method))
	return r.WithContext(ctx), op
}

// end is for spans whose answer carries nothing: an outcome that cannot be
// written is logged, and the intent without one tells the rest.
func (p *Proxy) end(op *audit.Op, code string, attrs ...attrKV) {
	if err := op.End(code, attrs...); err != nil {
		p.log.Error("forward proxy: outcome is not on record", "err", err)
	}
}

func (p *Proxy) unavailable(w http.ResponseWriter, op *audit.Op, err error) {
	p.log.Error("forward proxy refuses: audit log", "err", err)
	p.end(op, "AuditUnavailable")
	http.Error(w, "sidekey: the audit log cannot be written", http.StatusServiceUnavailable)
}

func refuse(w http.ResponseWriter, t target) {
	http.Error(w, fmt.Sprintf("sidekey: %s is not an S3 host and not allowed; to let it pass, add %q to forward.allow", t, t), http.StatusForbidden)
}

// connect is goproxy's question what to do with a CONNECT. It always answers:
// goproxy's default is to tunnel.
func (p *Proxy) connect(host string, ctx *goproxy.ProxyCtx) (*goproxy.ConnectAction, string) {
	t, ok := parseTarget(host, "")
	switch {
	case ok && p.s3Target(t):
		return &goproxy.ConnectAction{Action: goproxy.ConnectHijack, Hijack: p.takeOver}, host
	case ok && p.allow.match(t):
		return &goproxy.ConnectAction{Action: goproxy.ConnectAccept}, host
	}
	return &goproxy.ConnectAction{Action: goproxy.ConnectReject}, host
}

// servePlain forwards a request in clear to an allowed host.
func (p *Proxy) servePlain(w http.ResponseWriter, r *http.Request) {
	t, ok := parseTarget(r.URL.Host, "80")
	if !ok {
		http.Error(w, "sidekey: the request names no host", http.StatusBadRequest)
		return
	}
	r, op := p.begin(r, t)
	if !p.allow.match(t) {
		p.end(op, "Refused", audit.Reason.String("not in forward.allow"))
		refuse(w, t)
		return
	}
	if err := op.Durable(r.Context()); err != nil {
		p.unavailable(w, op, err)
		return
	}
	p.dispatch.ServeHTTP(w, r)
	p.end(op, "")
}

type logPrinter struct{ log *slog.Logger }

func (l logPrinter) Printf(format string, v ...any) {
	l.log.Debug(strings.TrimSpace(fmt.Sprintf(format, v...)))
}
