// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/keysvc/keysvctest"
	"github.com/sidekey/sidekey/proxy"
	"github.com/sidekey/sidekey/proxy/datakey"
)

// wire stands before a key service on the way to it. It sees the requests, and
// can answer them with an error in the service's place.
type wire struct {
	next http.Handler

	mu       sync.Mutex
	requests []*http.Request // guarded by mu
	status   int             // guarded by mu; of an error
	code     string          // guarded by mu; "" lets requests pass
}

func newWire(t *testing.T, server *keysvctest.Server) *wire {
	t.Helper()
	endpoint, err := url.Parse(server.Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	return &wire{next: &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(endpoint)
		r.Out.Host = r.In.Host // which is signed
	}}}
}

func (s *wire) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r)
	status, code := s.status, s.code
	s.mu.Unlock()
	if code == "" {
		s.next.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"__type":%q,"message":"no"}`, code)
}

func (s *wire) answer(status int, code string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.code, s.requests = status, code, nil
}

func (s *wire) seen() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// wrappedKey is a data key of a new key of the service.
func wrappedKey(t *testing.T, server *keysvctest.Server) datakey.Ref {
	t.Helper()
	_, arn := server.CreateKey(t)
	out, err := server.Client().GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: &arn, KeySpec: types.DataKeySpecAes256})
	if err != nil {
		t.Fatal(err)
	}
	return datakey.Ref{KeyARN: arn, Wrapped: out.CiphertextBlob}
}

func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func wireCache(t *testing.T, cfg proxy.KMSConfig) *datakey.Cache {
	t.Helper()
	client, err := proxy.NewKMS(cfg)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := datakey.NewCache(datakey.Config{}, client, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { keys.Close() })
	return keys
}

func TestKMSClient(t *testing.T) {
	server := keysvctest.Start(t, token)
	s := newWire(t, server)
	srv := httptest.NewTLSServer(s)
	defer srv.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	keys := wireCache(t, proxy.KMSConfig{
		Endpoint: srv.URL, AccessKeyID: keysvctest.AccessKeyID,
		SecretAccessKeyFile: writeFile(t, "secret", " "+keysvctest.SecretAccessKey+"\n"), CAFile: writeFile(t, "ca.pem", string(ca)),
	})
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	ctx := audit.WithTraceparent(t.Context(), parent)
	ref := wrappedKey(t, server)
	open := func(ref datakey.Ref) error {
		_, err := keys.Open(ctx, ref, func(datakey.Use, []byte) error { return nil })
		return err
	}
	if err := open(ref); err != nil {
		t.Fatal(err)
	}
	r := s.seen()[0]
	if got := r.Header.Get("Traceparent"); got != parent {
		t.Errorf("traceparent %q", got)
	}
	if auth := r.Header.Get("Authorization"); !strings.Contains(auth, keysvctest.AccessKeyID+"/") || !strings.Contains(auth, "/us-east-1/kms/") || strings.Contains(auth, "traceparent") {
		t.Errorf("authorization %q", auth)
	}
	if got := r.Header.Get("X-Amz-Target"); got != "TrentService.Decrypt" {
		t.Errorf("target %q", got)
	}

	for i, tt := range []struct {
		status int
		code   string
		kind   datakey.Kind
		tries  int
	}{
		{400, "AccessDeniedException", datakey.Denied, 1},
		{400, "DisabledException", datakey.Disabled, 1},
		{400, "KMSInvalidStateException", datakey.Disabled, 1},
		{400, "NotFoundException", datakey.NotFound, 1},
		{400, "InvalidCiphertextException", datakey.Corrupt, 1},
		{400, "IncorrectKeyException", datakey.Corrupt, 1},
		{400, "ValidationException", datakey.Internal, 1},
		{400, "ThrottlingException", datakey.Unavailable, 3},
		{500, "KMSInternalException", datakey.Unavailable, 3},
	} {
		s.answer(tt.status, tt.code)
		err := open(datakey.Ref{Wrapped: []byte{byte(i)}})
		var e *datakey.Error
		if !errors.As(err, &e) || e.Kind != tt.kind || e.KMSCode != tt.code {
			t.Errorf("%s: %v", tt.code, err)
		}
		if got := len(s.seen()); got != tt.tries {
			t.Errorf("%s: %d tries, want %d", tt.code, got, tt.tries)
		}
	}
	srv.Close()
	var e *datakey.Error
	if err := open(datakey.Ref{Wrapped: []byte("z")}); !errors.As(err, &e) || e.Kind != datakey.Unavailable {
		t.Errorf("no server: %v", err)
	}
}

// A data key comes from the key service or from nobody, also when somebody else
// has one ready.
func TestKMSClientFollowsNoRedirect(t *testing.T) {
	server := keysvctest.Start(t, token)
	ref := wrappedKey(t, server)
	var requests atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		json.NewEncoder(w).Encode(map[string]any{"KeyId": ref.KeyARN, "Plaintext": make([]byte, 32)})
	}))
	defer other.Close()
	srv := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusFound))
	defer srv.Close()
	keys := wireCache(t, proxy.KMSConfig{Endpoint: srv.URL, AccessKeyID: keysvctest.AccessKeyID, SecretAccessKeyFile: server.SecretFile()})
	if _, err := keys.Open(t.Context(), ref, func(datakey.Use, []byte) error { return nil }); err == nil {
		t.Error("opened with a data key from elsewhere")
	}
	if n := requests.Load(); n > 0 {
		t.Errorf("%d requests went elsewhere", n)
	}
}

func TestKMSConfig(t *testing.T) {
	secret := writeFile(t, "secret", "s")
	for want, cfg := range map[string]proxy.KMSConfig{
		`endpoint: "localhost:80" is not`:        {Endpoint: "localhost:80", AccessKeyID: "a", SecretAccessKeyFile: secret},
		`endpoint: "http://10.0.0.1" would send`: {Endpoint: "http://10.0.0.1", AccessKeyID: "a", SecretAccessKeyFile: secret},
		`endpoint: "http://127.0.0.1.x" would`:   {Endpoint: "http://127.0.0.1.x", AccessKeyID: "a", SecretAccessKeyFile: secret},
		"access_key_id: missing":                 {SecretAccessKeyFile: secret},
		"secret_access_key_file: missing":        {AccessKeyID: "a"},
		"secret_access_key_file: open /nowhere":  {AccessKeyID: "a", SecretAccessKeyFile: "/nowhere"},
		"secret_access_key_file: " + os.DevNull:  {AccessKeyID: "a", SecretAccessKeyFile: os.DevNull},
		"ca_file: open /nowhere":                 {AccessKeyID: "a", SecretAccessKeyFile: secret, CAFile: "/nowhere"},
		"ca_file: " + secret + " holds no PEM":   {AccessKeyID: "a", SecretAccessKeyFile: secret, CAFile: secret},
	} {
		if _, err := proxy.NewKMS(cfg); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
