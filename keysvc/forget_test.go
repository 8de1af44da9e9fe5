// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/google/uuid"

	"github.com/sidekey/sidekey/keysvc"
	"github.com/sidekey/sidekey/keysvc/store"
)

// slowToken holds up a use of a key once it was told to.
type slowToken struct {
	keysvc.Token
	mu      sync.Mutex
	begun   chan struct{} // closed when the use has begun; nil to hold up nothing
	goOn    chan struct{}
	forgets map[string]int
}

func (s *slowToken) holdUp() (begun <-chan struct{}, goOn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun, s.goOn = make(chan struct{}), make(chan struct{})
	return s.begun, sync.OnceFunc(func() { close(s.goOn) })
}

func (s *slowToken) wait() {
	s.mu.Lock()
	begun := s.begun
	s.begun = nil
	s.mu.Unlock()
	if begun != nil {
		close(begun)
		<-s.goOn
	}
}

func (s *slowToken) Encrypt(ctx context.Context, wrapped []byte, epoch [16]byte, nonce [12]byte, plaintext, aad []byte) ([12]byte, []byte, error) {
	s.wait()
	return s.Token.Encrypt(ctx, wrapped, epoch, nonce, plaintext, aad)
}

func (s *slowToken) Decrypt(ctx context.Context, wrapped []byte, epoch [16]byte, nonce [12]byte, ciphertext, aad []byte) ([]byte, bool, error) {
	s.wait()
	return s.Token.Decrypt(ctx, wrapped, epoch, nonce, ciphertext, aad)
}

func (s *slowToken) Forget(wrapped []byte) {
	s.mu.Lock()
	if s.forgets == nil {
		s.forgets = map[string]int{}
	}
	s.forgets[string(wrapped)]++
	s.mu.Unlock()
	s.Token.Forget(wrapped)
}

// forgotten is how many times the token was told to forget a wrapped key.
func (s *slowToken) forgotten() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, times := range s.forgets {
		n += times
	}
	return n
}

// TestNothingIsHeldOfAStoppedKey: a use that was under way when its key was
// disabled leaves nothing behind, neither in memory nor in the token.
func TestNothingIsHeldOfAStoppedKey(t *testing.T) {
	s := newServer(t)
	slow := &slowToken{Token: token}
	s.stop()
	s.token = slow
	s.start()
	c := s.admin()
	for _, protection := range []string{"hsm", "memory"} {
		arn := s.keyOf("SYMMETRIC_DEFAULT", "", protection)
		id := uuid.MustParse(arn[len(prefix+"key/"):])
		encrypt := func() error {
			_, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: &arn, Plaintext: []byte("x")})
			return err
		}
		begun, goOn := slow.holdUp()
		defer goOn()
		ended := make(chan error, 1)
		go func() { ended <- encrypt() }()
		<-begun
		must2(t)(c.DisableKey(ctx, &kms.DisableKeyInput{KeyId: &arn}))
		before := slow.forgotten()
		goOn()
		must(t, <-ended) // it had been allowed
		if n := s.svc.Held(id); n != 0 || slow.forgotten() == before {
			t.Errorf("%s: %d versions are held, %d wrapped keys were forgotten", protection, n, slow.forgotten()-before)
		}
		wantError(t, encrypt(), "DisabledException", arn+" is disabled.")
	}
}

// TestReplicasForget: what another replica of the service has disabled or
// erased is dropped here, too, without anybody asking for it.
func TestReplicasForget(t *testing.T) {
	s := newServer(t)
	other := s.replica(20 * time.Millisecond)
	for _, protection := range []string{"hsm", "memory"} {
		arn := s.keyOf("SYMMETRIC_DEFAULT", "", protection)
		id := uuid.MustParse(arn[len(prefix+"key/"):])
		use := func() {
			t.Helper()
			eventually(t, "the key in the other replica", func() bool {
				_, err := other.admin().Encrypt(ctx, &kms.EncryptInput{KeyId: &arn, Plaintext: []byte("x")})
				return err == nil
			})
			if other.svc.Held(id) == 0 {
				t.Fatal("nothing is held of a key in use")
			}
		}
		gone := func() bool { return other.svc.Held(id) == 0 }
		use()
		must2(t)(s.admin().DisableKey(ctx, &kms.DisableKeyInput{KeyId: &arn}))
		eventually(t, "forgetting a disabled key", gone)
		must2(t)(s.admin().EnableKey(ctx, &kms.EnableKeyInput{KeyId: &arn}))
		use()
		must(t, s.store.Discard(ctx, store.Ref{Region: region, ID: id}))
		eventually(t, "forgetting an erased key", gone)
	}
}

// replica is another process of the service on the same store.
func (s *server) replica(sweep time.Duration) *server {
	s.t.Helper()
	other := &server{t: s.t, dir: s.t.TempDir(), token: s.token, cfg: s.cfg}
	other.cfg.SweepInterval = sweep
	other.start()
	return other
}

// TestWrappedKeysInTokens: their number is bounded, and one that is dropped for
// it is dropped from the token.
func TestWrappedKeysInTokens(t *testing.T) {
	slow := &slowToken{Token: token}
	note, size := keysvc.NewInToken(slow)
	id := uuid.New()
	for i := range 2 * keysvc.MaxInToken {
		if i%2 == 0 {
			id = uuid.New()
		}
		note(id, []byte{byte(i), byte(i >> 8), byte(i >> 16)})
	}
	if size() > keysvc.MaxInToken || size()+len(slow.forgets) != 2*keysvc.MaxInToken {
		t.Errorf("%d noted, %d forgotten", size(), len(slow.forgets))
	}
}
