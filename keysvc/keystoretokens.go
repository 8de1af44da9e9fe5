// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sidekey/sidekey/keysvc/store"
)

const (
	// keyStoreInterval is how often logins are compared with the states of
	// the key stores, which another replica of the service may have changed,
	// and how soon a login that failed for another reason than its PIN is
	// tried again.
	keyStoreInterval = 5 * time.Second
	// keyStoreWait is for how long a use of a key waits for a login that is
	// under way.
	keyStoreWait = 10 * time.Second
	loginTimeout = 2 * time.Minute
)

// keyStores are the logins of this process to the tokens of custom key stores.
type keyStores struct {
	wake chan struct{} // has room for one

	mu      sync.Mutex
	tokens  map[string]CustomToken // by ID of the key store; guarded by mu
	busy    map[string]bool        // login under way; guarded by mu
	asked   map[string]bool        // this process was asked to connect; guarded by mu
	refused map[string][]byte      // sealed passwords that tokens did not accept; guarded by mu
	changed chan struct{}          // closed when a login has ended; guarded by mu
}

func newKeyStores() *keyStores {
	return &keyStores{
		wake: make(chan struct{}, 1), changed: make(chan struct{}),
		tokens: map[string]CustomToken{}, busy: map[string]bool{}, asked: map[string]bool{}, refused: map[string][]byte{},
	}
}

func (c *keyStores) ask(id string) {
	c.mu.Lock()
	c.asked[id] = true
	c.mu.Unlock()
	c.rouse()
}

func (c *keyStores) rouse() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// get returns the token of a key store, or nil and what will be closed when
// there may be one.
func (c *keyStores) get(id string) (CustomToken, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tokens[id], c.changed
}

// begin reports whether to log in to a key store now. Only the process that was
// asked to connect it does so while it is connecting: every other attempt might
// be one more with a wrong PIN.
func (c *keyStores) begin(ks *store.KeyStore) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tokens[ks.ID] != nil || c.busy[ks.ID] || ks.State != connected && !(ks.State == connecting && c.asked[ks.ID]) {
		return false
	}
	c.busy[ks.ID] = true
	return true
}

// end notes the outcome of a login.
func (c *keyStores) end(ks *store.KeyStore, token CustomToken, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.busy, ks.ID)
	switch {
	case err == nil:
		c.tokens[ks.ID] = token
	case errors.Is(err, ErrPIN):
		c.refused[ks.ID] = ks.Password
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

// wrongPIN reports whether the token has refused this very password.
func (c *keyStores) wrongPIN(ks *store.KeyStore) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Equal(c.refused[ks.ID], ks.Password)
}

func (c *keyStores) take(id string) CustomToken {
	c.mu.Lock()
	defer c.mu.Unlock()
	token := c.tokens[id]
	delete(c.tokens, id)
	return token
}

func (c *keyStores) ids() (ids []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.tokens {
		ids = append(ids, id)
	}
	return ids
}

// keepKeyStores has this process logged in to the key stores that are
// connected, and to no others.
func (s *Service) keepKeyStores(ctx context.Context) {
	if s.openToken == nil {
		return
	}
	tick := time.NewTicker(keyStoreInterval)
	defer tick.Stop()
	for first := true; ; first = false {
		if err := s.matchKeyStores(ctx, first); err != nil && ctx.Err() == nil {
			s.log.Error("custom key stores", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.keyStores.wake:
		}
	}
}

// matchKeyStores begins and ends logins. At the start a connection that was
// under way when the process ended is taken up again.
func (s *Service) matchKeyStores(ctx context.Context, first bool) error {
	all, err := s.store.KeyStores(ctx)
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, ks := range all {
		wanted[ks.ID] = ks.State == connected || ks.State == connecting
		if first && ks.State == connecting {
			s.keyStores.ask(ks.ID)
		}
		if s.keyStores.begin(ks) {
			s.done.Go(func() { s.logIn(ctx, ks) })
		}
	}
	for _, id := range s.keyStores.ids() {
		if !wanted[id] {
			s.logOut(id)
		}
	}
	return nil
}

// logIn opens the token of a key store and records how that went. A PIN that
// the token has refused is never tried again: real tokens lock.
func (s *Service) logIn(ctx context.Context, ks *store.KeyStore) {
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	var token CustomToken
	err := fmt.Errorf("%w before", ErrPIN)
	if !s.keyStores.wrongPIN(ks) {
		token, err = s.openKeyStore(ctx, ks)
	}
	wanted, recorded := s.recordLogin(ctx, ks.ID, err)
	switch {
	case err != nil:
	case recorded != nil || !wanted:
		recorded = errors.Join(recorded, token.Close())
		err = errors.New("the key store was disconnected meanwhile")
	}
	s.keyStores.end(ks, token, err)
	if err = errors.Join(err, recorded); err != nil && ctx.Err() == nil {
		s.log.Warn("connecting custom key store", slog.String("key_store", ks.ID), slog.String("cluster", ks.ClusterID), slog.Any("error", err))
	}
}

func (s *Service) openKeyStore(ctx context.Context, ks *store.KeyStore) (CustomToken, error) {
	pin, err := openOnce(ctx, s.token, passwordAAD(ks.ID), ks.Password)
	if err != nil {
		return nil, err
	}
	defer clear(pin)
	return s.openToken(ctx, ks.ClusterID, pin)
}

// recordLogin notes the outcome of a login in the store. wanted is false if the
// key store is no longer to be connected. A key store that was connected stays
// so when its token is away, and is tried again.
func (s *Service) recordLogin(ctx context.Context, id string, outcome error) (wanted bool, err error) {
	_, err = s.store.UpdateKeyStore(ctx, id, func(_ *store.Tx, ks *store.KeyStore) error {
		if ks.State != connected && ks.State != connecting {
			return nil
		}
		wanted = true
		switch {
		case outcome == nil:
			ks.State, ks.Failure = connected, ""
		case errors.Is(outcome, ErrPIN):
			ks.State, ks.Failure = failed, string(types.ConnectionErrorCodeTypeInvalidCredentials)
		case ks.State == connected:
		case errors.Is(outcome, ErrNoCluster):
			ks.State, ks.Failure = failed, string(types.ConnectionErrorCodeTypeClusterNotFound)
		default:
			ks.State, ks.Failure = failed, string(types.ConnectionErrorCodeTypeInternalError)
		}
		return nil
	})
	return wanted, err
}

func (s *Service) logOut(id string) {
	if token := s.keyStores.take(id); token != nil {
		if err := token.Close(); err != nil {
			s.log.Error("disconnecting custom key store", slog.String("key_store", id), slog.Any("error", err))
		}
	}
}

// closeKeyStores ends the logins to custom key stores.
func (s *Service) closeKeyStores() (err error) {
	for _, id := range s.keyStores.ids() {
		err = errors.Join(err, s.keyStores.take(id).Close())
	}
	return err
}

// storeToken is the token of a connected custom key store. It waits for a
// login that is under way.
func (s *Service) storeToken(ctx context.Context, id string) (Token, error) {
	late := time.NewTimer(keyStoreWait)
	defer late.Stop()
	for {
		ks, err := s.store.KeyStore(ctx, id)
		if errors.Is(err, store.ErrNotFound) {
			return nil, noSuchKeyStore(id)
		}
		if err != nil {
			return nil, err
		}
		if ks.State != connected {
			return nil, keyStoreState(ks)
		}
		token, changed := s.keyStores.get(id)
		if token != nil {
			return token, nil
		}
		s.keyStores.rouse()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-late.C:
			return nil, &types.KeyUnavailableException{Message: text("Custom key store %s is being connected.", id)}
		}
	}
}

// customToken is the token that holds a key of a custom key store.
func (s *Service) customToken(ctx context.Context, k *store.Key) (Token, error) {
	token, err := s.storeToken(ctx, k.KeyStore)
	var state *types.CustomKeyStoreInvalidStateException
	if errors.As(err, &state) {
		return nil, s.invalidState(k, "is unavailable.")
	}
	return token, err
}
