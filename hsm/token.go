// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

// Token is a root key in a PKCS#11 token. Its methods may be called at any
// time by any number of goroutines.
type Token struct {
	addr     *address
	log      *slog.Logger
	sessions int
	timeout  time.Duration
	mod      *module

	hung atomic.Int64 // abandoned calls that are still in the module
	work work

	// Set by the first attempt, fixed once Open has returned.
	opened bool
	form   byte
	known  known

	features features
	rawOAEP  [2]atomic.Bool // by oaep.index: the token leaves the padding to us

	given givenPIN

	supervisor
}

// known is a ciphertext whose plaintext is known: decrypting it proves that
// token, root key, unwrapping, derivation and AES-GCM are the same as ever.
type known struct {
	wrapped    []byte
	nonce      [nonceLen]byte
	ciphertext []byte
}

// Open logs in to the token, finds the root key or creates it if the token has
// none of that label, and probes what the token can do. Errors wrap [ErrPIN],
// [ErrNoToken] or [ErrModule] where these are the cause.
func Open(ctx context.Context, cfg Config, log *slog.Logger) (*Token, error) {
	return open(ctx, cfg, nil, log)
}

// OpenWithPIN is Open with a PIN that is given rather than read from a file:
// the URI has no pin-source. The PIN is copied, and cleared by Close.
//
// A module that the process is logged in to already does not look at the PIN:
// see the limits of this package.
func OpenWithPIN(ctx context.Context, cfg Config, pin []byte, log *slog.Logger) (*Token, error) {
	if len(pin) == 0 || len(pin) > maxPIN {
		return nil, fmt.Errorf("%w: it has %d bytes, not 1 to %d", ErrPIN, len(pin), maxPIN)
	}
	return open(ctx, cfg, pin, log)
}

func open(ctx context.Context, cfg Config, pin []byte, log *slog.Logger) (*Token, error) {
	addr, err := cfg.parse(pin != nil)
	if err != nil {
		return nil, err
	}
	t := &Token{addr: addr, log: log, sessions: cfg.sessions(), timeout: cfg.timeout()}
	if t.mod, err = loadModule(addr.module, t); err != nil {
		return nil, err
	}
	t.given.set(pin)
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	if _, err := t.current(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the token: %w", err), t.Close())
	}
	return t, nil
}

// Close ends the sessions and the login, and waits for calls under way, which
// fail or finish. Its error says that some still hang in the module.
func (t *Token) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), t.timeout)
	defer cancel()
	if !t.stop() {
		return nil
	}
	t.work.end()
	left := t.work.wait(ctx)
	t.given.wipe()
	if err := t.mod.release(ctx, t, left > 0); err != nil {
		return err
	}
	if left > 0 {
		return fmt.Errorf("hsm: closed while %d calls hang in %s", left, t.mod.path)
	}
	return nil
}

// Describe says which token and mechanisms are in use, in one line.
func (t *Token) Describe() string {
	mech, _ := mechanismOf(t.form)
	return fmt.Sprintf("%s, root key %q: %s, CKM_AES_ECB_ENCRYPT_DATA, CKM_AES_GCM; %d sessions",
		t.describeToken(), t.addr.object, mechanismNames[mech], t.sessions)
}

// Random returns n bytes of the token's random number generator.
func (t *Token) Random(ctx context.Context, n int) ([]byte, error) {
	if n < 0 {
		return nil, fmt.Errorf("random: %d bytes asked for", n)
	}
	if n == 0 {
		return []byte{}, nil
	}
	b, err := do(ctx, t, func(ctx context.Context, c *conn) ([]byte, error) {
		return pooled(ctx, c, func(s *session) ([]byte, error) { return s.random(n) }, wipe, func() {})
	})
	return b, wrapError("random", err)
}

// GenerateKey makes an AES-256 backing key in the token and returns it wrapped
// under the root key. It has been unwrapped and compared before this returns.
func (t *Token) GenerateKey(ctx context.Context) (wrapped []byte, err error) {
	wrapped, err = do(ctx, t, func(ctx context.Context, c *conn) ([]byte, error) {
		return pooled(ctx, c, func(s *session) ([]byte, error) { return makeKey(s, c.root, t.form) }, wipe, func() {})
	})
	return wrapped, wrapError("generating a key", err)
}

// Encrypt encrypts with AES-256-GCM under the subkey of epoch of a backing
// key. usedNonce is the nonce of the ciphertext, which some tokens choose
// themselves. The last 16 bytes of ciphertext are the tag.
func (t *Token) Encrypt(ctx context.Context, wrapped []byte, epoch [16]byte, nonce [12]byte, plaintext, aad []byte) (usedNonce [12]byte, ciphertext []byte, err error) {
	box, err := do(ctx, t, func(ctx context.Context, c *conn) (sealed, error) {
		return c.seal(ctx, wrapped, epoch, nonce, plaintext, aad)
	})
	return box.nonce, box.ciphertext, wrapError("encrypting", err)
}

// Decrypt reverses Encrypt. ok is false, with a nil error, if the ciphertext
// does not authenticate; the token has then been proven healthy.
func (t *Token) Decrypt(ctx context.Context, wrapped []byte, epoch [16]byte, nonce [12]byte, ciphertext, aad []byte) (plaintext []byte, ok bool, err error) {
	if len(ciphertext) < tagLen {
		return nil, false, nil
	}
	o, err := do(ctx, t, func(ctx context.Context, c *conn) (opened, error) {
		return c.decrypt(ctx, wrapped, epoch, nonce, ciphertext, aad)
	})
	return o.plaintext, o.ok, wrapError("decrypting", err)
}

// Forget destroys the session objects of a wrapped key in the token: at once,
// or as soon as calls under way with them have ended.
func (t *Token) Forget(wrapped []byte) {
	if c := t.live(); c != nil {
		c.objects.forget(sha256.Sum256(wrapped))
	}
}

// Check proves that the token can still unwrap, derive and decrypt, and heals
// it if it can be healed.
func (t *Token) Check(ctx context.Context) error {
	_, err := do(ctx, t, func(ctx context.Context, c *conn) (struct{}, error) {
		return struct{}{}, c.canary(ctx)
	})
	return wrapError("checking the token", err)
}

// hangs counts a call that begins to hang, or ends to.
func (t *Token) hangs(n int64) {
	t.hung.Add(n)
	t.mod.hung.Add(n)
}

// away reports whether there is nothing that a new C_Initialize of the module
// could harm.
func (t *Token) away(ctx context.Context) bool {
	c := t.live()
	if c == nil {
		return true
	}
	err := c.canary(ctx)
	if kindOf(err) != kindLost {
		return false
	}
	t.lost(c, err)
	return true
}

func wrapError(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("hsm: %s: %w", doing, err)
}

func wipe(b []byte) { clear(b) }

type sealed struct {
	nonce      [nonceLen]byte
	ciphertext []byte
}

type opened struct {
	plaintext []byte
	ok        bool
}

// pooled runs one call with a session of the pool, unless too many calls hang:
// each holds a thread and a session.
func pooled[T any](ctx context.Context, c *conn, f func(*session) (T, error), drop func(T), after func()) (T, error) {
	var zero T
	if c.t.hung.Load() >= int64(4*c.t.sessions) {
		after()
		return zero, errHung
	}
	l, err := c.pool.acquire(ctx)
	if err != nil {
		after()
		return zero, err
	}
	return run(ctx, c, l, f, drop, after)
}

// seal copies the plaintext, since the call may outlive its caller.
func (c *conn) seal(ctx context.Context, wrapped []byte, epoch [16]byte, nonce [nonceLen]byte, plaintext, aad []byte) (sealed, error) {
	key, err := c.subkey(ctx, wrapped, epoch)
	if err != nil {
		return sealed{}, err
	}
	own, aad := bytes.Clone(plaintext), bytes.Clone(aad)
	return pooled(ctx, c, func(s *session) (sealed, error) {
		used, ciphertext, err := s.seal(key.handle, nonce, own, aad)
		return sealed{used, ciphertext}, err
	}, func(sealed) {}, func() {
		clear(own)
		c.objects.release(key)
	})
}

func (c *conn) unseal(ctx context.Context, wrapped []byte, epoch [16]byte, nonce [nonceLen]byte, ciphertext, aad []byte) ([]byte, error) {
	key, err := c.subkey(ctx, wrapped, epoch)
	if err != nil {
		return nil, err
	}
	ciphertext, aad = bytes.Clone(ciphertext), bytes.Clone(aad)
	return pooled(ctx, c, func(s *session) ([]byte, error) {
		return s.unseal(key.handle, nonce, ciphertext, aad)
	}, wipe, func() { c.objects.release(key) })
}

// decrypt tells a ciphertext that does not authenticate from a token that is
// ill. Both may answer C_Decrypt with CKR_GENERAL_ERROR; so it is the former
// only if a known ciphertext then decrypts and this one still does not.
func (c *conn) decrypt(ctx context.Context, wrapped []byte, epoch [16]byte, nonce [nonceLen]byte, ciphertext, aad []byte) (opened, error) {
	plaintext, err := c.unseal(ctx, wrapped, epoch, nonce, ciphertext, aad)
	if err == nil {
		return opened{plaintext, true}, nil
	}
	if !refusedTag(err) {
		return opened{}, err
	}
	if err := c.canary(ctx); err != nil {
		return opened{}, err
	}
	plaintext, err = c.unseal(ctx, wrapped, epoch, nonce, ciphertext, aad)
	switch {
	case err == nil:
		return opened{plaintext, true}, nil
	case refusedTag(err):
		return opened{}, nil
	}
	return opened{}, err
}

func refusedTag(err error) bool {
	var at openError
	return errors.As(err, &at) && refusesData(at)
}

// canaryError says that the token does not do what it did before.
type canaryError struct{ error }

func (e canaryError) Unwrap() error { return e.error }

// canary decrypts the known ciphertext.
func (c *conn) canary(ctx context.Context) error {
	k := &c.t.known
	plaintext, err := c.unseal(ctx, k.wrapped, probeEpoch, k.nonce, k.ciphertext, probeAAD)
	switch {
	case kindOf(err) == kindAmbiguous || refusedTag(err):
		return canaryError{fmt.Errorf("decrypting a known ciphertext: %w", err)}
	case err != nil:
		return fmt.Errorf("decrypting a known ciphertext: %w", err)
	case !bytes.Equal(plaintext, probeText):
		return canaryError{errors.New("a known ciphertext decrypted to other bytes")}
	}
	return nil
}

// learn makes the known ciphertext, the first time.
func (c *conn) learn(ctx context.Context) error {
	t := c.t
	wrapped, err := pooled(ctx, c, func(s *session) ([]byte, error) { return makeKey(s, c.root, t.form) }, wipe, func() {})
	if err != nil {
		return err
	}
	// makeKey has used the probe nonce for the same text, so nothing new is
	// told by using it again.
	box, err := c.seal(ctx, wrapped, probeEpoch, probeNonce, probeText, probeAAD)
	if err != nil {
		return err
	}
	t.known = known{wrapped, box.nonce, box.ciphertext}
	return c.canary(ctx)
}
