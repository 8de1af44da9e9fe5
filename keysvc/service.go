// SPDX-License-Identifier: Apache-2.0

// Package keysvc is a key service that speaks the AWS KMS API (JSON 1.1 over
// HTTP, Signature Version 4). Key material is made, used and unwrapped inside
// an HSM; the store holds it wrapped. Nothing is done for a caller without a
// decision and an audit record, and no answer leaves before its record is on
// disk.
package keysvc

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/keysvc/sigv4"
	"github.com/sidekey/sidekey/keysvc/store"
)

// Token is the HSM that the service uses. It is declared here so that the
// service does not depend on PKCS#11.
type Token interface {
	// Random returns n random bytes of the HSM.
	Random(ctx context.Context, n int) ([]byte, error)
	// GenerateKey makes an AES-256 key inside the HSM and returns it wrapped
	// under the root KEK.
	GenerateKey(ctx context.Context) (wrapped []byte, err error)
	// Encrypt seals plaintext with AES-256-GCM inside the HSM, under the
	// subkey of the wrapped key and the epoch. BLOB.md has the derivation. The
	// nonce that counts is the returned one.
	Encrypt(ctx context.Context, wrapped []byte, epoch [16]byte, nonce [12]byte, plaintext, aad []byte) (usedNonce [12]byte, ciphertext []byte, err error)
	// Decrypt reverses Encrypt. ok is false if the ciphertext, the nonce or
	// the AAD is not what Encrypt made.
	Decrypt(ctx context.Context, wrapped []byte, epoch [16]byte, nonce [12]byte, ciphertext, aad []byte) (plaintext []byte, ok bool, err error)
	// Forget drops what the HSM session holds of the key.
	Forget(wrapped []byte)
	// Check reports whether the HSM answers.
	Check(ctx context.Context) error
}

// Service answers the AWS KMS API.
type Service struct {
	cfg        Config
	arnPrefix  string // of keys and aliases
	store      *store.Store
	token      Token
	audit      *audit.Log
	log        *slog.Logger
	verifier   *sigv4.Verifier
	principals map[string]*principal // by access key ID
	operations map[string]*operation
	epochs     *epochs
	health     health
	bodies     chan struct{} // one place for each large body in memory
	buffers    sync.Pool     // of *[]byte: answers

	stop context.CancelFunc
	done sync.WaitGroup
}

// New returns a running service: from now on keys whose deletion date comes
// are erased. It takes over neither st, tok nor al: the caller closes them
// after Close.
func New(ctx context.Context, cfg Config, st *store.Store, tok Token, al *audit.Log, log *slog.Logger) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	principals, err := loadPrincipals(&cfg)
	if err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	s := &Service{
		cfg:        cfg,
		arnPrefix:  "arn:aws:kms:" + cfg.Region + ":" + cfg.Account + ":",
		store:      st,
		token:      tok,
		audit:      al,
		log:        log,
		principals: principals,
		operations: operations(),
		epochs:     newEpochs(time.Now),
		health:     health{parts: [3]bool{true, true, true}},
		bodies:     make(chan struct{}, largeBodies),
		buffers:    sync.Pool{New: func() any { b := make([]byte, 0, answerBuffer); return &b }},
	}
	s.verifier = &sigv4.Verifier{Service: "kms", Region: cfg.Region, Secret: s.secret, MaxSkew: maxSkew}
	if err := st.Ping(ctx); err != nil {
		return nil, fmt.Errorf("starting the key service: %w", err)
	}
	if err := tok.Check(ctx); err != nil {
		return nil, fmt.Errorf("starting the key service: checking the HSM: %w", err)
	}
	if err := unlockStore(ctx, st, tok); err != nil {
		return nil, fmt.Errorf("starting the key service: %w", err)
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.done.Go(func() { s.sweep(background) })
	return s, nil
}

// Handler answers the API at POST / and the health check at GET /healthz.
func (s *Service) Handler() http.Handler {
	// Not a ServeMux: it would answer paths such as "//" with a redirect.
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			s.serveHealth(w, r)
			return
		}
		s.serveAPI(w, r)
	})
}

// Close ends the background work. Requests must have ended before.
func (s *Service) Close() error {
	s.stop()
	s.done.Wait()
	return nil
}
