package forward

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/elazarl/goproxy"
	"go.opentelemetry.io/otel/attribute"

	"github.com/sidekey/sidekey/keysvc/audit"
)

type attrKV = attribute.KeyValue

// takeOver confirms the CONNECT to an S3 host and gives the connection to our
// own server.
func (p *Proxy) takeOver(req *http.Request, client net.Conn, _ *goproxy.ProxyCtx) {
	t, _ := parseTarget(req.URL.Host, "")
	conn := &takenConn{Conn: client, host: t.host, done: p.endOnce(audit.FromContext(req.Context()))}
	if _, err := io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		p.log.Debug("forward proxy: client went away", "err", err)
		conn.Close()
		return
	}
	p.taken.give(conn)
}

// endOnce returns a function that ends the span at its first call.
func (p *Proxy) endOnce(op *audit.Op) func() {
	return sync.OnceFunc(func() { p.end(op, "") })
}

// takenConn is a client's connection to the host it asked for. Its span ends
// when it is closed.
type takenConn struct {
	net.Conn
	host string
	done func()
}

func (c *takenConn) Close() error {
	err := c.Conn.Close()
	c.done()
	return err
}

func (p *Proxy) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"http/1.1"},
		GetCertificate: p.certificate,
	}
}

// certificate follows the name that the client verifies: SNI, or without it
// the host of the CONNECT.
func (p *Proxy) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	host := normalize(hello.ServerName)
	if host == "" {
		if c, ok := hello.Conn.(*takenConn); ok {
			host = c.host
		}
	}
	if !p.rules.s3.match(host) {
		return nil, fmt.Errorf("%q is not an S3 host", host)
	}
	return p.ca.leaf(host)
}

// serveTaken keeps requests for other hosts, which may hide in a connection
// to an S3 host, away from the S3 handler. Host goes to it unchanged.
func (p *Proxy) serveTaken(w http.ResponseWriter, r *http.Request) {
	if !p.s3Host(r.Host) {
		http.Error(w, "sidekey: the Host of the request is not an S3 host", http.StatusMisdirectedRequest)
		return
	}
	p.s3.ServeHTTP(w, r)
}

func (p *Proxy) s3Host(hostport string) bool {
	t, ok := parseTarget(hostport, "443")
	return ok && p.s3Target(t)
}

// servePlainS3 turns the absolute form of a proxy request into the origin form
// that the client signed. The raw path stays as it came.
func (p *Proxy) servePlainS3(w http.ResponseWriter, r *http.Request) {
	uri, ok := originForm(r.RequestURI)
	if !ok {
		http.Error(w, "sidekey: malformed request target", http.StatusBadRequest)
		return
	}
	r2 := r.Clone(r.Context())
	r2.RequestURI = uri
	r2.URL.Scheme, r2.URL.Host, r2.URL.User = "", "", nil
	for _, h := range []string{"Proxy-Connection", "Proxy-Authorization", "Proxy-Authenticate"} {
		r2.Header.Del(h)
	}
	p.s3.ServeHTTP(w, r2)
}

// originForm cuts scheme and authority off an absolute-form request target.
func originForm(uri string) (string, bool) {
	_, rest, ok := strings.Cut(uri, "://")
	if !ok {
		return "", false
	}
	i := strings.IndexAny(rest, "/?")
	switch {
	case i < 0:
		return "/", true
	case rest[i] == '?':
		return "/" + rest[i:], true
	}
	return rest[i:], true
}

// connListener hands taken-over connections to an http.Server.
type connListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newConnListener() *connListener {
	return &connListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *connListener) give(c net.Conn) {
	select {
	case l.conns <- c:
	case <-l.closed:
		c.Close()
	}
}

func (l *connListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *connListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *connListener) Addr() net.Addr { return listenerAddr{} }

type listenerAddr struct{}

func (listenerAddr) Network() string { return "connect" }
func (listenerAddr) String() string  { return "forward" }
