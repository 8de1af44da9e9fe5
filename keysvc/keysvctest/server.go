// SPDX-License-Identifier: Apache-2.0

// Package keysvctest runs the key service in the process of a test, as
// net/http/httptest does servers: SoftHSM, SQLite, audit log, policy and HTTP
// are the real ones. Only tests may import it.
//
//	var token *hsm.Token
//
//	func TestMain(m *testing.M) { os.Exit(keysvctest.Main(m, &token)) }
//
//	func TestIt(t *testing.T) {
//		server := keysvctest.Start(t, token)
//		id, arn := server.CreateKey(t, "alias/k")
//		faulty := &keysvctest.Faulty{KMS: server.Client()}
//		…
//	}
package keysvctest

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/sidekey/sidekey/keysvc"
	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/keysvc/store"
)

// What a Server answers to. The region is the one that clients of the sidecar
// sign for unless they are told otherwise.
const (
	Region          = "us-east-1"
	Account         = "000000000000"
	AccessKeyID     = "AKIAKEYSVCTEST000001"
	SecretAccessKey = "a-secret-access-key-of-keysvctest"
)

// Server is a key service with a store and an audit log of its own. Its one
// principal, AccessKeyID, may do everything.
type Server struct {
	token keysvc.Token
	dir   string
	cfg   keysvc.Config
	log   *slog.Logger // to the test that started the service
	stop  func() error // nil while it is stopped
}

// Start starts a key service on a loopback port. It ends with the test, whose
// other cleanups registered later may still use it.
func Start(t testing.TB, token keysvc.Token) *Server {
	t.Helper()
	s := &Server{token: token, dir: t.TempDir()}
	s.log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	must(t, os.WriteFile(s.SecretFile(), []byte(SecretAccessKey+"\n"), 0o600))
	s.cfg = keysvc.Config{
		Listen: "127.0.0.1:0", Region: Region, Account: Account,
		Store: "sqlite://" + filepath.Join(s.dir, "keys.db"),
		Principals: []keysvc.Principal{{
			Name: "test", AccessKeyID: AccessKeyID, SecretAccessKeyFile: s.SecretFile(),
			Allow: []keysvc.Allow{{Actions: []string{"kms:*"}, Keys: []string{"*"}}},
		}},
	}
	s.start(t)
	t.Cleanup(func() { s.Stop(t) })
	return s
}

func (s *Server) start(t testing.TB) {
	t.Helper()
	ctx := context.Background()
	keys, err := store.Open(ctx, s.cfg.Store, s.cfg.StorePasswordFile)
	must(t, err)
	records, err := audit.Open(audit.Config{Dir: s.AuditDir()}, audit.ServiceKeysvc, s.log)
	must(t, err)
	service, err := keysvc.New(ctx, s.cfg, keys, s.token, nil, records, s.log)
	must(t, err)
	listener, err := net.Listen("tcp", s.cfg.Listen)
	must(t, err)
	s.cfg.Listen = listener.Addr().String() // for Restart
	serving, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- service.Serve(serving, listener) }()
	s.stop = func() error {
		cancel()
		return errors.Join(<-ended, service.Close(), keys.Close(), records.Close())
	}
}

// Stop lets running requests finish and ends the service: connections are
// refused from then on. It does nothing if the service is stopped.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if s.stop == nil {
		return
	}
	if err := s.stop(); err != nil {
		t.Errorf("stopping the key service: %v", err)
	}
	s.stop = nil
}

// Restart stops the service if it runs, and starts it at the same address with
// the same store, audit log and token.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.Stop(t)
	s.start(t)
}

// Endpoint is the URL of the service.
func (s *Server) Endpoint() string { return "http://" + s.cfg.Listen }

// SecretFile is a file that holds SecretAccessKey.
func (s *Server) SecretFile() string { return filepath.Join(s.dir, "secret") }

// AuditDir is the directory of the service's audit log.
func (s *Server) AuditDir() string { return filepath.Join(s.dir, "audit") }

// Client returns the SDK's client, without retries so that every error comes
// through at once.
func (s *Server) Client() *kms.Client {
	return kms.New(kms.Options{
		Region: Region, BaseEndpoint: aws.String(s.Endpoint()), Retryer: aws.NopRetryer{},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: AccessKeyID, SecretAccessKey: SecretAccessKey}, nil
		}),
	})
}

// CreateKey makes a symmetric key with the given aliases ("alias/…").
func (s *Server) CreateKey(t testing.TB, aliases ...string) (id, arn string) {
	t.Helper()
	client := s.Client()
	out, err := client.CreateKey(t.Context(), &kms.CreateKeyInput{})
	must(t, err)
	for _, alias := range aliases {
		_, err := client.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: &alias, TargetKeyId: out.KeyMetadata.KeyId})
		must(t, err)
	}
	return *out.KeyMetadata.KeyId, *out.KeyMetadata.Arn
}

// Disable disables a key, named by ID or ARN.
func (s *Server) Disable(t testing.TB, key string) {
	t.Helper()
	_, err := s.Client().DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &key})
	must(t, err)
}

// Enable enables a key, named by ID or ARN.
func (s *Server) Enable(t testing.TB, key string) {
	t.Helper()
	_, err := s.Client().EnableKey(t.Context(), &kms.EnableKeyInput{KeyId: &key})
	must(t, err)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("key service: %v", err)
	}
}
