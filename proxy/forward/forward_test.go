package forward_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/elazarl/goproxy"
	"github.com/google/go-cmp/cmp"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/proxy/forward"
)

func discard() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// seen is a request as the S3 handler got it.
type seen struct {
	Method, Host, URI string
	Body              string
	TLS               bool
}

// stub stands in for the S3 gateway, whose behaviour is no matter here.
type stub struct {
	mu   sync.Mutex
	seen []seen
}

func (s *stub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.seen = append(s.seen, seen{r.Method, r.Host, r.RequestURI, string(body), r.TLS != nil})
	s.mu.Unlock()
	w.Header().Set("ETag", `"0123456789abcdef0123456789abcdef"`)
	if r.Method == http.MethodGet {
		io.WriteString(w, "from the stub")
	}
}

func (s *stub) last(t *testing.T) seen {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.seen) == 0 {
		t.Fatal("the S3 handler got no request")
	}
	return s.seen[len(s.seen)-1]
}

type env struct {
	stub   *stub
	proxy  *forward.Proxy
	log    *audit.Log
	dir    string // of the audit log
	caFile string
	url    *url.URL
	addr   string
}

func start(t *testing.T, cfg forward.Config) *env {
	t.Helper()
	e := &env{stub: &stub{}, dir: t.TempDir(), caFile: filepath.Join(t.TempDir(), "ca.pem")}
	var err error
	if e.log, err = audit.Open(audit.Config{Dir: e.dir}, audit.ServiceProxy, discard()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.log.Close() })
	cfg.CAFile = e.caFile
	if e.proxy, err = forward.New(cfg, e.stub, e.log, discard()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.proxy.Close() })
	srv := httptest.NewServer(e.proxy)
	t.Cleanup(srv.Close)
	e.addr = srv.Listener.Addr().String()
	if e.url, err = url.Parse(srv.URL); err != nil {
		t.Fatal(err)
	}
	return e
}

// client goes through the proxy and trusts only the bundle.
func (e *env) client(t *testing.T) *http.Client {
	t.Helper()
	pool := x509.NewCertPool()
	b, err := os.ReadFile(e.caFile)
	if err != nil {
		t.Fatal(err)
	}
	if !pool.AppendCertsFromPEM(b) {
		t.Fatal("no certificate in ca_file")
	}
	tr := &http.Transport{
		Proxy:                 http.ProxyURL(e.url),
		TLSClientConfig:       &tls.Config{RootCAs: pool},
		ExpectContinueTimeout: time.Hour,
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// connect sends a CONNECT and returns the answer and the connection.
func (e *env) connect(t *testing.T, host string) (status int, body string) {
	t.Helper()
	c, err := net.Dial("tcp", e.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", host, host)
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: http.MethodConnect})
	if err != nil {
		t.Fatalf("answer to CONNECT %s: %v", host, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		resp.Body = io.NopCloser(io.LimitReader(resp.Body, max(resp.ContentLength, 0)))
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		body = string(b)
	}
	return resp.StatusCode, body
}

func TestS3HostIsTakenOver(t *testing.T) {
	e := start(t, forward.Config{})
	for _, host := range []string{"s3.amazonaws.com", "bucket.s3.eu-west-1.amazonaws.com", "dotted.bucket.s3.amazonaws.com", "b.s3.dualstack.eu-west-1.amazonaws.com"} {
		resp, err := e.client(t).Get("https://" + host + "/a%2Fb//c?x=1&y=%20")
		if err != nil {
			t.Fatalf("%s: %v", host, err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(body) != "from the stub" {
			t.Errorf("%s: body %q, %v", host, body, err)
		}
		want := seen{Method: "GET", Host: host, URI: "/a%2Fb//c?x=1&y=%20", TLS: true}
		if diff := cmp.Diff(want, e.stub.last(t)); diff != "" {
			t.Errorf("request (-want +got):\n%s", diff)
		}
	}
}

func TestExpectContinueIsAnswered(t *testing.T) {
	e := start(t, forward.Config{})
	got100 := false
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got100Continue: func() { got100 = true }})
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, "https://b.s3.amazonaws.com/k", strings.NewReader("the body"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Expect", "100-continue")
	resp, err := e.client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if !got100 {
		t.Error("the client got no 100 Continue")
	}
	if got := e.stub.last(t).Body; got != "the body" {
		t.Errorf("body = %q", got)
	}
}

func TestOtherHostInsideTakenConnection(t *testing.T) {
	e := start(t, forward.Config{})
	req, err := http.NewRequest(http.MethodGet, "https://b.s3.amazonaws.com/k", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "iam.amazonaws.com"
	resp, err := e.client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("status = %d, want 421", resp.StatusCode)
	}
	if len(e.stub.seen) != 0 {
		t.Errorf("the S3 handler got %v", e.stub.seen)
	}
}

func bundle(t *testing.T, path string) []*x509.Certificate {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var certs []*x509.Certificate
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			return certs
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		certs = append(certs, c)
	}
}

func TestCAIsConstrained(t *testing.T) {
	e := start(t, forward.Config{S3Hosts: []string{"s3.amazonaws.com", "*.storage.example.net"}})
	ca := bundle(t, e.caFile)[0]
	if !ca.PermittedDNSDomainsCritical || !ca.IsCA || !ca.MaxPathLenZero {
		t.Errorf("CA: critical %v, CA %v, path length 0 %v, want all", ca.PermittedDNSDomainsCritical, ca.IsCA, ca.MaxPathLenZero)
	}
	want := []string{"s3.amazonaws.com", "storage.example.net"}
	if diff := cmp.Diff(want, ca.PermittedDNSDomains); diff != "" {
		t.Errorf("permitted (-want +got):\n%s", diff)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	for host, good := range map[string]bool{
		"b.s3.amazonaws.com":    true,
		"x.storage.example.net": true,
		"example.com":           false,
		"example.net":           false,
		"amazonaws.com.evil.io": false,
		"notamazonaws.com":      false,
		"sts.amazonaws.com":     false,
	} {
		der, err := e.proxy.SignAnyHost(host)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host})
		if (err == nil) != good {
			t.Errorf("Go verifies a leaf for %s: %v, want success %v", host, err, good)
		}
		if out, err := opensslVerify(t, e.caFile, der); (err == nil) != good {
			t.Errorf("openssl verifies a leaf for %s: %v, want success %v\n%s", host, err, good, out)
		} else if !good && !strings.Contains(out, "permitted subtree violation") {
			t.Errorf("openssl refuses %s for another reason:\n%s", host, out)
		}
	}
}

func opensslVerify(t *testing.T, caFile string, der []byte) (string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "leaf.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "openssl", "verify", "-x509_strict", "-purpose", "sslserver",
		"-no-CApath", "-CAfile", caFile, path).CombinedOutput()
	return string(out), err
}

func TestGoproxyCAIsNeverUsed(t *testing.T) {
	builtin, err := x509.ParseCertificate(goproxy.GoproxyCa.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	upstream := httptest.NewTLSServer(http.NotFoundHandler())
	defer upstream.Close()
	target := upstream.Listener.Addr().String()
	e := start(t, forward.Config{Allow: []string{target}})
	certs := bundle(t, e.caFile)
	for _, c := range certs {
		if c.Equal(builtin) {
			t.Error("ca_file holds goproxy's CA")
		}
	}
	for addr, want := range map[string]*x509.Certificate{"b.s3.amazonaws.com:443": certs[0], target: upstream.Certificate()} {
		state := handshake(t, e, addr)
		if err := state.PeerCertificates[0].CheckSignatureFrom(builtin); err == nil {
			t.Errorf("%s: goproxy's CA signed the certificate", addr)
		}
		if err := state.PeerCertificates[0].CheckSignatureFrom(want); err != nil && !state.PeerCertificates[0].Equal(want) {
			t.Errorf("%s: certificate of %s, want it from %s", addr, state.PeerCertificates[0].Issuer, want.Subject)
		}
	}
}

// handshake connects by CONNECT and returns what TLS finds there, without SNI
// for an address.
func handshake(t *testing.T, e *env, addr string) tls.ConnectionState {
	t.Helper()
	c, err := net.Dial("tcp", e.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", addr, addr)
	head := make([]byte, 0, 256)
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		head = head[:len(head)+1]
		if _, err := io.ReadFull(c, head[len(head)-1:]); err != nil {
			t.Fatalf("CONNECT %s: %q %v", addr, head, err)
		}
	}
	// Only the presented certificate is of interest.
	tc := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	if err := tc.HandshakeContext(t.Context()); err != nil {
		t.Fatalf("handshake with %s: %v", addr, err)
	}
	return tc.ConnectionState()
}

func TestBundleHoldsSystemRoots(t *testing.T) {
	other := httptest.NewTLSServer(http.NotFoundHandler())
	defer other.Close()
	roots := filepath.Join(t.TempDir(), "roots.pem")
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: other.Certificate().Raw})
	if err := os.WriteFile(roots, b, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", roots)
	e := start(t, forward.Config{Allow: []string{other.Listener.Addr().String()}})
	certs := bundle(t, e.caFile)
	if len(certs) != 2 || !certs[1].Equal(other.Certificate()) {
		t.Fatalf("ca_file has %d certificates, want ours and the system's one", len(certs))
	}
	resp, err := e.client(t).Get(other.URL)
	if err != nil {
		t.Fatalf("through the tunnel, with ca_file alone: %v", err)
	}
	resp.Body.Close()
	info, err := os.Stat(e.caFile)
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("mode of ca_file = %v, %v, want 0644", info.Mode(), err)
	}
	raw, err := os.ReadFile(e.caFile)
	if err != nil || bytes.Contains(raw, []byte("PRIVATE")) {
		t.Errorf("ca_file holds a private key, or %v", err)
	}
}

func TestTunnelIsRefused(t *testing.T) {
	up := httptest.NewServer(http.NotFoundHandler())
	defer up.Close()
	_, port, _ := net.SplitHostPort(up.Listener.Addr().String())
	e := start(t, forward.Config{Allow: []string{"*:" + port, "*.example.com:443"}})
	for host, want := range map[string]int{
		"kms.eu-west-1.amazonaws.com:443":        http.StatusForbidden,
		"s3.amazonaws.com.evil.example:443":      http.StatusForbidden,
		"example.com:443":                        http.StatusForbidden,
		"x.example.com:444":                      http.StatusForbidden,
		"169.254.169.254:80":                     http.StatusForbidden,
		"nonsense":                               http.StatusBadRequest,
		"127.0.0.1:" + port:                      http.StatusBadGateway, // a wide entry opens no local address
		"localhost:" + port:                      http.StatusBadGateway,
		"[::ffff:127.0.0.1]:" + port:             http.StatusBadGateway,
		"b.s3-control.eu-west-1.amazonaws.com:1": http.StatusForbidden,
	} {
		status, body := e.connect(t, host)
		if status != want {
			t.Errorf("CONNECT %s = %d, want %d", host, status, want)
		}
		if want == http.StatusForbidden && !strings.Contains(body, "forward.allow") {
			t.Errorf("answer to CONNECT %s does not name the setting: %q", host, body)
		}
	}
	var codes []string
	list, err := audit.List([]string{e.dir}, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		if s.Name != audit.SpanForwardConnect {
			t.Errorf("span %s", s.Name)
		}
		codes = append(codes, s.Codes...)
	}
	if got := strings.Count(strings.Join(codes, " "), "Refused"); got != 6 {
		t.Errorf("%d refusals on record, want 6: %v", got, codes)
	}
}

// A star opens no way past the gateway to the object store.
func TestStarLetsNoS3HostThrough(t *testing.T) {
	e := start(t, forward.Config{Allow: []string{"*:443", "*.amazonaws.com:443", "*.api.aws:443", "*.amazonaws.com.cn:443"}})
	for _, host := range []string{
		"s3-us-west-2.amazonaws.com",
		"b.s3-us-west-2.amazonaws.com",
		"S3-Accelerate.amazonaws.com.",
		"b.s3-accelerate.dualstack.amazonaws.com",
		"s3-fips.us-east-1.amazonaws.com",
		"b.s3-fips.dualstack.us-east-1.amazonaws.com",
		"ap-123456789012.s3-accesspoint.us-east-1.amazonaws.com",
		"b--use1-az4--x-s3.s3express-use1-az4.us-east-1.amazonaws.com",
		"s3tables.us-east-1.amazonaws.com",
		"b.s3.cn-north-1.amazonaws.com.cn",
		"s3.us-east-1.api.aws",
	} {
		status, body := e.connect(t, host+":443")
		if status != http.StatusForbidden || !strings.Contains(body, "forward.allow") {
			t.Errorf("CONNECT %s = %d %q, want 403", host, status, body)
		}
	}
}

func TestTunnelIsAllowed(t *testing.T) {
	up := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }))
	defer up.Close()
	e := start(t, forward.Config{Allow: []string{up.Listener.Addr().String()}})
	tr := up.Client().Transport.(*http.Transport).Clone()
	tr.Proxy = func(*http.Request) (*url.URL, error) { return e.url, nil }
	payload := strings.Repeat("tunnel ", 100_000)
	resp, err := (&http.Client{Transport: tr}).Post(up.URL, "text/plain", strings.NewReader(payload))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || string(got) != payload {
		t.Errorf("%d bytes came back, %v, want %d", len(got), err, len(payload))
	}
	tr.CloseIdleConnections()
	spans := waitEnded(t, e, 1)
	if spans[0].Name != audit.SpanForwardConnect || spans[0].Code != "" ||
		spans[0].Attrs["server.address"] != up.Listener.Addr().String() {
		t.Errorf("span = %+v, want a forward.connect to the host", spans[0])
	}
}

// waitEnded returns the spans of the log once n of them have an outcome.
func waitEnded(t *testing.T, e *env, n int) []audit.Span {
	t.Helper()
	for {
		list, err := audit.List([]string{e.dir}, 100)
		if err != nil {
			t.Fatal(err)
		}
		var ended []audit.Span
		for _, s := range list {
			spans, err := audit.ReadTrace([]string{e.dir}, s.TraceID)
			if err != nil {
				t.Fatal(err)
			}
			if s.Unknown == 0 {
				ended = append(ended, spans...)
			}
		}
		if len(ended) >= n {
			return ended
		}
		if t.Context().Err() != nil {
			t.Fatal("spans do not end")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestCloseEndsTunnelsOnRecord(t *testing.T) {
	up := httptest.NewServer(http.NotFoundHandler())
	defer up.Close()
	target := up.Listener.Addr().String()
	e := start(t, forward.Config{Allow: []string{target}})
	for _, host := range []string{target, "b.s3.amazonaws.com:443"} {
		if status, _ := e.connect(t, host); status != http.StatusOK {
			t.Fatalf("CONNECT %s = %d, want 200", host, status)
		}
	}
	if err := e.proxy.Close(); err != nil {
		t.Fatal(err)
	}
	waitEnded(t, e, 2)
}

// The proxy must not follow the variables that point its clients to it.
func TestProxyEnvironmentIsIgnored(t *testing.T) {
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"} {
		t.Setenv(name, "http://192.0.2.1:9")
	}
	up := httptest.NewServer(http.NotFoundHandler())
	defer up.Close()
	target := up.Listener.Addr().String()
	e := start(t, forward.Config{Allow: []string{target}})
	if status, _ := e.connect(t, target); status != http.StatusOK {
		t.Errorf("CONNECT = %d, want 200", status)
	}
	resp, err := e.client(t).Get(up.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("plain request = %d, want the host's 404", resp.StatusCode)
	}
}

func TestTakenConnectionIsOnRecord(t *testing.T) {
	e := start(t, forward.Config{})
	c := e.client(t)
	resp, err := c.Get("https://b.s3.amazonaws.com/k")
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	list, err := audit.List([]string{e.dir}, 10)
	if err != nil || len(list) != 1 || list[0].Unknown != 1 {
		t.Fatalf("while the connection is open: %+v, %v, want one intent", list, err)
	}
	c.CloseIdleConnections()
	waitEnded(t, e, 1)
}

func TestFailsClosedWithoutAudit(t *testing.T) {
	up := httptest.NewServer(http.NotFoundHandler())
	defer up.Close()
	target := up.Listener.Addr().String()
	e := start(t, forward.Config{Allow: []string{target}})
	if err := e.log.Close(); err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"b.s3.amazonaws.com:443", target} {
		if status, _ := e.connect(t, host); status != http.StatusServiceUnavailable {
			t.Errorf("CONNECT %s without a log = %d, want 503", host, status)
		}
	}
	resp, err := e.client(t).Get(up.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("plain request without a log = %d, want 503", resp.StatusCode)
	}
}

func TestPlainRequests(t *testing.T) {
	var got seen
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = seen{Method: r.Method, Host: r.Host, URI: r.RequestURI}
		if r.Header.Get("Proxy-Authorization") != "" {
			t.Error("Proxy-Authorization reaches the host")
		}
		w.WriteHeader(http.StatusTeapot)
	}))
	defer up.Close()
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	e := start(t, forward.Config{Allow: []string{up.Listener.Addr().String(), dead.Addr().String()}})
	e.url.User = url.UserPassword("u", "p")
	for target, want := range map[string]int{
		up.URL + "/x%2Fy":                     http.StatusTeapot,
		"http://b.s3.amazonaws.com/k%2Fl?a=b": http.StatusOK,
		"http://169.254.169.254/latest":       http.StatusForbidden,
		"http://" + dead.Addr().String():      http.StatusBadGateway,
	} {
		resp, err := e.client(t).Get(target)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("GET %s = %d, want %d", target, resp.StatusCode, want)
		}
	}
	want := seen{Method: "GET", Host: up.Listener.Addr().String(), URI: "/x%2Fy"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("forwarded request (-want +got):\n%s", diff)
	}
	want = seen{Method: "GET", Host: "b.s3.amazonaws.com", URI: "/k%2Fl?a=b"}
	if diff := cmp.Diff(want, e.stub.last(t)); diff != "" {
		t.Errorf("S3 request (-want +got):\n%s", diff)
	}
	resp, err := http.Get("http://" + e.addr + "/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a request that is not for a proxy = %d, want 400", resp.StatusCode)
	}
}

func TestAWSSDK(t *testing.T) {
	e := start(t, forward.Config{})
	c := s3.New(s3.Options{
		Region:     "eu-west-1",
		HTTPClient: e.client(t),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "secret"}, nil
		}),
	})
	body := bytes.Repeat([]byte("x"), 3<<20) // large enough for Expect
	if _, err := c.PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: aws.String("my-bucket"), Key: aws.String("a/b c"), Body: bytes.NewReader(body),
	}); err != nil {
		t.Fatal(err)
	}
	got := e.stub.last(t)
	if got.Host != "my-bucket.s3.eu-west-1.amazonaws.com" || !strings.HasPrefix(got.URI, "/a/b%20c?") {
		t.Errorf("PutObject went to %s %s", got.Host, got.URI)
	}
	out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("dotted.bucket"), Key: aws.String("k")})
	if err != nil {
		t.Fatal(err)
	}
	out.Body.Close()
	if got := e.stub.last(t); got.Host != "s3.eu-west-1.amazonaws.com" || !strings.HasPrefix(got.URI, "/dotted.bucket/k?") {
		t.Errorf("GetObject went to %s %s", got.Host, got.URI)
	}
}

func TestAWSCLI(t *testing.T) {
	e := start(t, forward.Config{})
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("cli body"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/usr/bin/aws", "s3api", "put-object", "--bucket", "cli-bucket", "--key", "dir/file", "--body", file)
	cmd.Env = []string{
		"PATH=/usr/bin:/bin", "HOME=" + t.TempDir(),
		"HTTPS_PROXY=" + e.url.String(), "AWS_CA_BUNDLE=" + e.caFile,
		"AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret", "AWS_DEFAULT_REGION=eu-west-1",
		"AWS_EC2_METADATA_DISABLED=true",
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("aws: %v\n%s", err, out)
	}
	got := e.stub.last(t)
	if got.Method != "PUT" || got.Host != "cli-bucket.s3.eu-west-1.amazonaws.com" || got.URI != "/dir/file" || !strings.Contains(got.Body, "cli body") {
		t.Errorf("put-object arrived as %+v", got)
	}
}

func TestLocalAddresses(t *testing.T) {
	for addr, want := range map[string]bool{
		"127.0.0.1": true, "::1": true, "169.254.169.254": true, "fe80::1%eth0": true, "::ffff:10.0.0.1": false,
		"::ffff:169.254.169.254": true, "64:ff9b::a9fe:a9fe": true, "fd00:ec2::254": true, "0.0.0.0": true,
		"0.1.2.3": true, "224.0.0.1": true, "10.0.0.1": false, "2001:db8::1": false, "100.100.100.200": true,
	} {
		if got := forward.Local(netip.MustParseAddr(addr)); got != want {
			t.Errorf("local(%s) = %v, want %v", addr, got, want)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		cfg  forward.Config
		want string
	}{
		{forward.Config{Listen: "x"}, "listen: address x: missing port in address"},
		{forward.Config{Listen: ":1"}, "ca_file: missing"},
		{forward.Config{Listen: ":1", CAFile: "f", S3Hosts: []string{"*.com"}}, `s3_hosts: "*.com" is too wide; at least the last two labels must be without a star`},
		{forward.Config{Listen: ":1", CAFile: "f", S3Hosts: []string{"10.0.0.1"}}, `s3_hosts: "10.0.0.1" is an address; the CA certifies names only`},
		{forward.Config{Listen: ":1", CAFile: "f", S3Hosts: []string{"a b"}}, `s3_hosts: "a b" is not a host pattern`},
		{forward.Config{Listen: ":1", CAFile: "f", Allow: []string{"host"}}, `allow: "host": is not host:port`},
		{forward.Config{Listen: ":1", CAFile: "f", Allow: []string{"host:x"}}, `allow: "host:x": the port is neither a number nor *`},
	} {
		if err := tt.cfg.Validate(); err == nil || err.Error() != tt.want {
			t.Errorf("Validate(%+v) = %v, want %s", tt.cfg, err, tt.want)
		}
	}
	var none forward.Config
	ok := forward.Config{Listen: "127.0.0.1:3128", CAFile: "f", Allow: []string{"*.example.com:443", "[::1]:80", "*:*"}}
	if err := errors.Join(none.Validate(), ok.Validate()); err != nil {
		t.Errorf("Validate: %v", err)
	}
}

func TestLeavesAreCachedAndRenewed(t *testing.T) {
	e := start(t, forward.Config{})
	now := time.Now()
	got, err := e.proxy.LeafSerials("s3.amazonaws.com", now, now.Add(17*time.Hour), now.Add(19*time.Hour), now.Add(20*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if got[0] != got[1] || got[1] == got[2] || got[2] != got[3] {
		t.Errorf("serial numbers = %v, want a new one six hours before the end of the first", got)
	}
}
