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
	"sync/atomic"
	"time"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/keysvc/sigv4"
	"github.com/sidekey/sidekey/keysvc/store"
)

// Service answers the AWS KMS API.
type Service struct {
	cfg        Config
	prefixes   map[string]string // of ARNs of keys and aliases, by region served
	store      *store.Store
	storeKeys  *storeKeys
	token      Token
	openToken  OpenToken
	audit      *audit.Log
	log        *slog.Logger
	verifier   *sigv4.Verifier
	principals map[string]*principal // by access key ID
	operations map[string]*operation
	epochs     *epochs
	held       *held
	inToken    inToken
	forgotten  atomic.Uint64 // calls of forget
	keyStores  *keyStores
	uses       uses
	unclean    atomic.Bool // the store's files still hold erased rows
	health     health
	bodies     chan struct{} // one place for each large body in memory
	buffers    sync.Pool     // of *[]byte: answers

	stop context.CancelFunc
	done sync.WaitGroup
}

// New returns a running service: from now on keys whose deletion date comes
// are erased. It takes over neither st, tok nor al: the caller closes them
// after Close. open, which may be nil, opens the tokens of custom key stores.
func New(ctx context.Context, cfg Config, st *store.Store, tok Token, open OpenToken, al *audit.Log, log *slog.Logger) (*Service, error) {
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
		prefixes:   map[string]string{},
		store:      st,
		token:      tok,
		openToken:  open,
		audit:      al,
		log:        log,
		principals: principals,
		operations: operations(),
		epochs:     newEpochs(time.Now),
		held:       newHeld(),
		keyStores:  newKeyStores(),
		health:     health{parts: [3]bool{true, true, true}},
		bodies:     make(chan struct{}, largeBodies),
		buffers:    sync.Pool{New: func() any { b := make([]byte, 0, answerBuffer); return &b }},
	}
	for _, region := range cfg.Regions {
		s.prefixes[region] = "arn:aws:kms:" + region + ":" + cfg.Account + ":"
	}
	s.verifier = &sigv4.Verifier{Service: "kms", Secret: s.secret, MaxSkew: maxSkew}
	if err := st.Ping(ctx); err != nil {
		return nil, fmt.Errorf("starting the key service: %w", err)
	}
	if err := tok.Check(ctx); err != nil {
		return nil, fmt.Errorf("starting the key service: checking the HSM: %w", err)
	}
	if s.storeKeys, err = unlockStore(ctx, st, tok, cfg.Region); err != nil {
		return nil, fmt.Errorf("starting the key service: %w", err)
	}
	s.unclean.Store(true) // a process that died has erased rows perhaps
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.done.Go(func() { s.sweep(background) })
	s.done.Go(func() { s.keepUses(background) })
	s.done.Go(func() { s.keepKeyStores(background) })
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
	s.held.close()
	return s.closeKeyStores()
}
