package forward

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
)

// defaultS3Hosts are the S3 endpoints of the aws partition. What is missing
// here is refused, not passed by.
func defaultS3Hosts() []string {
	return []string{
		"s3.amazonaws.com",
		"*.s3.amazonaws.com",
		"s3.*.amazonaws.com",
		"*.s3.*.amazonaws.com",
		"s3.dualstack.*.amazonaws.com",
		"*.s3.dualstack.*.amazonaws.com",
	}
}

// normalize makes names that mean the same host equal.
func normalize(host string) string {
	return strings.TrimSuffix(strings.ToLower(host), ".")
}

// target is the host and port that a client asks for.
type target struct {
	host string // normalized; an IPv6 address has no brackets
	port string
}

func (t target) String() string { return net.JoinHostPort(t.host, t.port) }

// parseTarget splits host:port; the default port is for a missing one, and
// "" makes the port mandatory.
func parseTarget(s, defaultPort string) (target, bool) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		if defaultPort == "" {
			return target{}, false
		}
		host, port = strings.Trim(s, "[]"), defaultPort
	}
	t := target{normalize(host), port}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || !validHost(t.host) {
		return target{}, false
	}
	if addr, err := netip.ParseAddr(t.host); err == nil {
		t.host = addr.Unmap().String()
	}
	return t, true
}

func validHost(host string) bool {
	if host == "" || len(host) > 253 {
		return false
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, notInLabel) {
			return false
		}
	}
	return true
}

func notInLabel(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_')
}

// hostPattern is a name in labels. A leading "*" stands for one or more
// labels, any other star for characters of its label.
type hostPattern []string

func parsePattern(s string) (hostPattern, error) {
	labels := strings.Split(normalize(s), ".")
	for _, label := range labels {
		if label == "" || strings.ContainsFunc(strings.ReplaceAll(label, "*", ""), notInLabel) {
			return nil, fmt.Errorf("%q is not a host pattern", s)
		}
	}
	return labels, nil
}

func (p hostPattern) match(host string) bool {
	labels := strings.Split(host, ".")
	if p[0] == "*" {
		if len(labels) < len(p) {
			return false
		}
		return matchLabels(p[1:], labels[len(labels)-len(p)+1:])
	}
	return len(labels) == len(p) && matchLabels(p, labels)
}

func matchLabels(pattern, labels []string) bool {
	for i := range pattern {
		if ok, err := path.Match(pattern[i], labels[i]); err != nil || !ok {
			return false
		}
	}
	return true
}

// parent is the longest end of the pattern without a star: every host that
// matches is the parent or below it.
func (p hostPattern) parent() string {
	for i := len(p) - 1; i >= 0; i-- {
		if strings.Contains(p[i], "*") {
			return strings.Join(p[i+1:], ".")
		}
	}
	return strings.Join(p, ".")
}

func (p hostPattern) fixed() bool { return p.parent() == strings.Join(p, ".") }

type hostPatterns []hostPattern

func parseHosts(list []string) (hostPatterns, error) {
	if len(list) == 0 {
		list = defaultS3Hosts()
	}
	var patterns hostPatterns
	for _, s := range list {
		p, err := parsePattern(s)
		if err != nil {
			return nil, err
		}
		if _, err := netip.ParseAddr(normalize(s)); err == nil {
			return nil, fmt.Errorf("%q is an address; the CA certifies names only", s)
		}
		if !p.fixed() && !strings.Contains(p.parent(), ".") {
			return nil, fmt.Errorf("%q is too wide; at least the last two labels must be without a star", s)
		}
		patterns = append(patterns, p)
	}
	return patterns, nil
}

func (l hostPatterns) match(host string) bool {
	host = normalize(host)
	if !validHost(host) {
		return false
	}
	return slices.ContainsFunc(l, func(p hostPattern) bool { return p.match(host) })
}

// parents are the names that the CA is constrained to.
func (l hostPatterns) parents() []string {
	var names []string
	for _, p := range l {
		names = append(names, p.parent())
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// objectStore tells whether an AWS host may take or give S3 objects under a name
// that is not taken over: s3-us-west-2, s3-accelerate, s3-fips, access points,
// S3 Express, tables, other partitions. A tunnel to one would carry plaintext
// past the gateway.
func objectStore(host string) bool {
	if !slices.ContainsFunc([]string{"amazonaws.com", "amazonaws.com.cn", "api.aws", "api.amazonwebservices.com.cn"}, func(domain string) bool {
		return strings.HasSuffix(host, "."+domain)
	}) {
		return false
	}
	for label := range strings.SplitSeq(host, ".") {
		switch {
		case label == "s3", strings.HasPrefix(label, "s3-"), strings.HasPrefix(label, "s3express"),
			label == "s3tables", label == "s3vectors":
			return true
		}
	}
	return false
}

// allowed is one entry of the allow-list.
type allowed struct {
	host    hostPattern // nil if addr is valid
	addr    netip.Addr
	anyHost bool
	port    string // "*" for any
}

type allowList []allowed

func parseAllow(list []string) (allowList, error) {
	var l allowList
	for _, s := range list {
		a, err := parseAllowed(s)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", s, err)
		}
		l = append(l, a)
	}
	return l, nil
}

func parseAllowed(s string) (allowed, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return allowed{}, errors.New("is not host:port")
	}
	if n, err := strconv.ParseUint(port, 10, 16); port != "*" && (err != nil || n == 0) {
		return allowed{}, errors.New("the port is neither a number nor *")
	}
	a := allowed{port: port}
	if addr, err := netip.ParseAddr(host); err == nil {
		a.addr = addr.Unmap()
		return a, nil
	}
	a.anyHost = host == "*"
	a.host, err = parsePattern(host)
	return a, err
}

// match never lets a star stand for an S3 host: whoever allows *.amazonaws.com for
// other services has not decided that objects may leave as they are.
func (a allowed) match(t target) bool {
	if a.port != "*" && a.port != t.port {
		return false
	}
	if objectStore(t.host) && (a.host == nil || !a.host.fixed()) {
		return false
	}
	if a.addr.IsValid() || a.anyHost {
		return a.anyHost || a.addr.String() == t.host
	}
	if _, err := netip.ParseAddr(t.host); err == nil {
		return false // a pattern of names does not match an address
	}
	return a.host.match(t.host)
}

// local tells whether the entry names a local address outright.
func (a allowed) local() bool {
	return a.addr.IsValid() || len(a.host) == 1 && a.host[0] == "localhost"
}

func (l allowList) match(t target) bool {
	return slices.ContainsFunc(l, func(a allowed) bool { return a.match(t) })
}

// matchLocal tells whether t may be reached at a local address.
func (l allowList) matchLocal(t target) bool {
	return slices.ContainsFunc(l, func(a allowed) bool { return a.local() && a.match(t) })
}
