// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/smithy-go"
	"github.com/google/uuid"

	"github.com/sidekey/sidekey/hsm"
	"github.com/sidekey/sidekey/keysvc"
	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/keysvc/keysvctest"
	"github.com/sidekey/sidekey/keysvc/store"
)

const (
	region  = "eu-central-1"
	account = "111122223333"

	adminID = "AKIAADMIN00000000001"
	appID   = "AKIAAPP0000000000001"
	secret  = "a-secret-access-key-of-the-tests-0001"
)

// token is the SoftHSM token of all tests of the package: a PKCS#11 module can
// be initialized once in a process.
var token *hsm.Token

func TestMain(m *testing.M) { os.Exit(keysvctest.Main(m, &token)) }

// server is a running key service with a store and an audit log of its own.
type server struct {
	t     testing.TB
	dir   string
	url   string
	token keysvc.Token
	open  keysvc.OpenToken
	log   logBuffer
	cfg   keysvc.Config
	svc   *keysvc.Service
	store *store.Store
	audit *audit.Log
	stop  func()
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// config lets admin do everything, and app nothing but what allow says.
func config(t testing.TB, dir string, allow ...keysvc.Allow) keysvc.Config {
	t.Helper()
	secretFile := filepath.Join(dir, "secret")
	must(t, os.WriteFile(secretFile, []byte(secret+"\n"), 0o600))
	return keysvc.Config{
		Listen: "127.0.0.1:0", Region: region, Account: account, Store: "sqlite://" + filepath.Join(dir, "keys.db"),
		Principals: []keysvc.Principal{
			{Name: "admin", AccessKeyID: adminID, SecretAccessKeyFile: secretFile, Allow: []keysvc.Allow{{Actions: []string{"kms:*"}, Keys: []string{"*"}}}},
			{Name: "app", AccessKeyID: appID, SecretAccessKeyFile: secretFile, Allow: allow},
		},
	}
}

func newServer(t testing.TB, allow ...keysvc.Allow) *server {
	t.Helper()
	dir := t.TempDir()
	s := &server{t: t, dir: dir, token: token, cfg: config(t, dir, allow...)}
	s.start()
	return s
}

func (s *server) auditDir() string { return filepath.Join(s.dir, "audit") }

func (s *server) start() {
	s.t.Helper()
	var err error
	ctx := context.Background()
	log := slog.New(slog.NewTextHandler(&s.log, nil))
	s.store, err = store.Open(ctx, s.cfg.Store, s.cfg.StorePasswordFile)
	must(s.t, err)
	s.audit, err = audit.Open(audit.Config{Dir: s.auditDir()}, audit.ServiceKeysvc, log)
	must(s.t, err)
	s.svc, err = keysvc.New(ctx, s.cfg, s.store, s.token, s.open, s.audit, log)
	must(s.t, err)
	ln, err := net.Listen("tcp", s.cfg.Listen)
	must(s.t, err)
	s.url = "http://" + ln.Addr().String()
	serving, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.svc.Serve(serving, ln) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-ended, s.svc.Close(), s.store.Close()); err != nil {
			s.t.Errorf("stopping: %v", err)
		}
		s.audit.Close() // reports a log that could not be written, which is a test's doing
	})
	s.t.Cleanup(s.stop)
}

func (s *server) restart() {
	s.t.Helper()
	s.stop()
	s.start()
}

// client is the SDK's own, without retries so that errors come through.
func (s *server) client(accessKeyID string) *kms.Client { return s.clientWith(accessKeyID, secret) }

func (s *server) clientWith(accessKeyID, secret string) *kms.Client {
	return kms.New(kms.Options{
		Region: region, BaseEndpoint: &s.url, Retryer: aws.NopRetryer{},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: accessKeyID, SecretAccessKey: secret}, nil
		}),
	})
}

func (s *server) admin() *kms.Client { return s.client(adminID) }

// newKey makes a key and returns its ID and ARN.
func (s *server) newKey() (id, arn string) {
	s.t.Helper()
	out, err := s.admin().CreateKey(context.Background(), &kms.CreateKeyInput{})
	must(s.t, err)
	return *out.KeyMetadata.KeyId, *out.KeyMetadata.Arn
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantError checks the code and the message of an API error; the message "-"
// stands for an absent one.
func wantError(t testing.TB, err error, code, message string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) {
		t.Errorf("got %v, want %s", err, code)
		return
	}
	if message == "-" {
		message = ""
	}
	if api.ErrorCode() != code || api.ErrorMessage() != message {
		t.Errorf("got  %s: %q\nwant %s: %q", api.ErrorCode(), api.ErrorMessage(), code, message)
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: did not happen", what)
		}
	}
}

func ptr[T any](v T) *T { return &v }

func codeOf(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// refOf is the store's name of a single-Region key in the tests' region.
func refOf(id string) store.Ref { return store.Ref{Region: region, ID: uuid.MustParse(id)} }
