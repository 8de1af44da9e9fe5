package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"syscall"

	"github.com/sidekey/sidekey/keysvc/audit"
)

// dialPlain connects to an allowed host. The address is checked after the
// name is resolved, so no DNS answer leads to a local address.
func (p *Proxy) dialPlain(ctx context.Context, network, addr string) (net.Conn, error) {
	t, ok := parseTarget(addr, "")
	if !ok || !p.allow.match(t) || p.s3Target(t) {
		return nil, fmt.Errorf("connecting to %s: not allowed", addr)
	}
	d := net.Dialer{Timeout: dialTimeout}
	if !p.allow.matchLocal(t) {
		d.Control = refuseLocal
	}
	return d.DialContext(ctx, network, t.String())
}

// errUnreachable tells goproxy's error hook that no tunnel was opened.
var errUnreachable = errors.New("host cannot be reached")

// dialTunnel is dialPlain for a CONNECT, whose span ends with the tunnel.
func (p *Proxy) dialTunnel(req *http.Request, network, addr string) (net.Conn, error) {
	op := audit.FromContext(req.Context())
	c, err := p.dialPlain(req.Context(), network, addr)
	if err != nil {
		p.log.Warn("forward proxy cannot connect", "to", addr, "err", err)
		p.end(op, "Unreachable")
		return nil, fmt.Errorf("%w: %w", errUnreachable, err)
	}
	// The network is "tcp", so it is TCP.
	t := &tunnelConn{TCPConn: c.(*net.TCPConn), all: &p.tunnels, done: p.endOnce(op)}
	p.tunnels.add(t)
	return t, nil
}

// tunnelConn is the far side of a tunnel. It keeps the half-close of TCP,
// which goproxy uses.
type tunnelConn struct {
	*net.TCPConn
	all  *tunnels
	done func()
}

func (c *tunnelConn) Close() error {
	err := c.TCPConn.Close()
	c.done()
	c.all.remove(c)
	return err
}

// tunnels are the open ones.
type tunnels struct {
	mu     sync.Mutex
	open   map[*tunnelConn]bool // guarded by mu
	closed bool                 // guarded by mu
}

func (l *tunnels) add(c *tunnelConn) {
	l.mu.Lock()
	closed := l.closed
	if !closed {
		if l.open == nil {
			l.open = map[*tunnelConn]bool{}
		}
		l.open[c] = true
	}
	l.mu.Unlock()
	if closed {
		c.Close()
	}
}

func (l *tunnels) remove(c *tunnelConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, c)
}

// close ends all tunnels, also those that are being opened.
func (l *tunnels) close() {
	l.mu.Lock()
	l.closed = true
	open := slices.Collect(maps.Keys(l.open))
	l.mu.Unlock()
	for _, c := range open {
		c.Close()
	}
}

// refuseLocal is a net.Dialer.Control.
func refuseLocal(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("refusing %s: %w", address, err)
	}
	if local(ap.Addr()) {
		return fmt.Errorf("refusing %s: a local address must be in forward.allow itself", ap.Addr())
	}
	return nil
}

// metadata are the addresses of cloud metadata services that are not
// link-local: AWS over IPv6, Alibaba Cloud, Oracle Cloud.
func metadata(a netip.Addr) bool {
	switch a.String() {
	case "fd00:ec2::254", "100.100.100.200", "192.0.0.192":
		return true
	}
	return false
}

// nat64 is the prefix in which IPv6 addresses carry IPv4 ones (RFC 6052).
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

func local(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if nat64.Contains(a) {
		b := a.As16()
		a = netip.AddrFrom4([4]byte(b[12:]))
	}
	return a.IsLoopback() || a.IsUnspecified() || a.IsLinkLocalUnicast() || a.IsMulticast() || metadata(a) ||
		a.Is4() && a.As4()[0] == 0
}

func writeRefusal(w io.Writer, status int, body string) {
	// The connection is closed after it; a client that has gone is no news.
	_, _ = fmt.Fprintf(w, "HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s",
		status, http.StatusText(status), len(body), body)
}
