// SPDX-License-Identifier: Apache-2.0

package hsm_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/pkcs11"

	"github.com/sidekey/sidekey/hsm"
)

// The traps are things that real tokens do, each provoked from outside.

// ready is a token with a key and a ciphertext made before the trouble.
func ready(f *fixture) (tok *hsm.Token, wrapped, ciphertext []byte) {
	f.t.Helper()
	tok = f.open(f.config())
	wrapped = generate(f.t, tok)
	return tok, wrapped, encrypt(f.t, tok, wrapped)
}

// A session with an abandoned operation answers CKR_OPERATION_ACTIVE for ever.
func TestTrapAbandonedOperation(t *testing.T) {
	f := newFixture(t)
	tok, wrapped, ciphertext := ready(f)
	s := f.session()
	key := f.find(s, pkcs11.NewAttribute(pkcs11.CKA_ENCRYPT, true))[0]
	poisoned := 0
	for h := range pkcs11.SessionHandle(200) {
		params := pkcs11.NewGCMParams(nonce1[:], nil, 128)
		defer params.Free()
		err := raw.EncryptInit(h, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_GCM, params)}, key)
		if err == nil && h != s {
			poisoned++
		}
	}
	if poisoned < 3 { // home, keeper and at least one of the pool
		t.Fatalf("only %d sessions poisoned", poisoned)
	}
	for range 10 {
		decrypts(t, tok, wrapped, ciphertext)
		encrypt(t, tok, wrapped)
	}
}

// A wrong tag is CKR_GENERAL_ERROR, as is a broken token. It is not a fault,
// and neither are wrong nonces, epochs and contexts.
func TestTrapWrongTag(t *testing.T) {
	f := newFixture(t)
	tok, wrapped, ciphertext := ready(f)
	flipped := bytes.Clone(ciphertext)
	flipped[0] ^= 1
	other := generate(t, tok)
	ctx := context.Background()
	for name, try := range map[string]func() ([]byte, bool, error){
		"changed": func() ([]byte, bool, error) { return tok.Decrypt(ctx, wrapped, epoch1, nonce1, flipped, aad1) },
		"cut":     func() ([]byte, bool, error) { return tok.Decrypt(ctx, wrapped, epoch1, nonce1, ciphertext[:40], aad1) },
		"tiny":    func() ([]byte, bool, error) { return tok.Decrypt(ctx, wrapped, epoch1, nonce1, ciphertext[:15], aad1) },
		"empty":   func() ([]byte, bool, error) { return tok.Decrypt(ctx, wrapped, epoch1, nonce1, nil, aad1) },
		"nonce":   func() ([]byte, bool, error) { return tok.Decrypt(ctx, wrapped, epoch1, [12]byte{}, ciphertext, aad1) },
		"epoch":   func() ([]byte, bool, error) { return tok.Decrypt(ctx, wrapped, [16]byte{}, nonce1, ciphertext, aad1) },
		"context": func() ([]byte, bool, error) { return tok.Decrypt(ctx, wrapped, epoch1, nonce1, ciphertext, nil) },
		"key":     func() ([]byte, bool, error) { return tok.Decrypt(ctx, other, epoch1, nonce1, ciphertext, aad1) },
	} {
		for range 5 {
			if got, ok, err := try(); ok || err != nil || got != nil {
				t.Errorf("%s: Decrypt = %x, %v, %v; want nothing, false and no error", name, got, ok, err)
			}
		}
		decrypts(t, tok, wrapped, ciphertext)
	}
	if strings.Contains(f.log.String(), "token lost") {
		t.Error("a wrong tag was taken for a broken token")
	}
}

// C_Logout anywhere logs out the process, and private objects get new handles.
func TestTrapLogout(t *testing.T) {
	f := newFixture(t)
	tok, wrapped, ciphertext := ready(f)
	s := f.session()
	for range 3 {
		f.must(raw.Logout(s))
		decrypts(t, tok, wrapped, ciphertext)
		f.must(raw.Logout(s))
		encrypt(t, tok, wrapped)
		f.must(raw.Logout(s))
		generate(t, tok)
		f.must(raw.Logout(s))
		f.must(tok.Check(context.Background()))
	}
}

// Logged out and in again by somebody else, the old handles stay dead.
func TestTrapLogoutLogin(t *testing.T) {
	f := newFixture(t)
	tok, wrapped, ciphertext := ready(f)
	s := f.session()
	f.must(raw.Logout(s))
	f.login(s)
	decrypts(t, tok, wrapped, ciphertext)
}

// Closing the last session logs out: one is open for life, even when every
// session of the pool has been closed after an error.
func TestTrapLastSession(t *testing.T) {
	f := newFixture(t)
	tok, wrapped, ciphertext := ready(f)
	for range 20 {
		if _, ok, err := tok.Decrypt(context.Background(), wrapped, epoch1, nonce1, make([]byte, 48), aad1); ok || err != nil {
			t.Fatalf("Decrypt = %v, %v", ok, err)
		}
	}
	s := f.session()
	info, err := raw.GetSessionInfo(s)
	f.must(err)
	if info.State != pkcs11.CKS_RW_USER_FUNCTIONS {
		t.Errorf("session state %d: logged out", info.State)
	}
	decrypts(t, tok, wrapped, ciphertext)
	if strings.Contains(f.log.String(), "token lost") {
		t.Error("the login was lost")
	}
}

func TestTrapAllSessionsClosed(t *testing.T) {
	f := newFixture(t)
	tok, wrapped, ciphertext := ready(f)
	for range 3 {
		f.must(raw.CloseAllSessions(f.slot()))
		decrypts(t, tok, wrapped, ciphertext)
		f.must(raw.CloseAllSessions(f.slot()))
		if _, err := tok.Random(context.Background(), 16); err != nil {
			t.Errorf("Random: %v", err)
		}
	}
}

// A second login is CKR_USER_ALREADY_LOGGED_IN, which hides even a wrong PIN.
func TestTrapAlreadyLoggedIn(t *testing.T) {
	f := newFixture(t)
	f.login(f.session())
	tok, wrapped, ciphertext := ready(f)
	second := f.open(f.config())
	decrypts(t, second, wrapped, ciphertext)
	f.must(second.Close())
	decrypts(t, tok, wrapped, ciphertext)
	f.setPIN("not-the-pin")
	third := f.open(f.config())
	decrypts(t, third, wrapped, ciphertext)
}

// A wrong PIN is tried once. Tokens lock after a few.
func TestTrapWrongPINAtOpen(t *testing.T) {
	f := shimmed(t)
	f.setPIN("not-the-pin")
	calls := f.calls(func() {
		if err := f.openError(f.config()); !errors.Is(err, hsm.ErrPIN) {
			t.Errorf("error %v, want ErrPIN", err)
		}
	})
	if n := count(calls, "C_Login"); n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
	info, err := raw.GetTokenInfo(f.slot())
	f.must(err)
	if info.Flags&pkcs11.CKF_USER_PIN_COUNT_LOW == 0 {
		t.Error("the token has not seen a wrong PIN")
	}
}

func TestTrapWrongPINLater(t *testing.T) {
	f := shimmed(t)
	tok, wrapped, ciphertext := ready(f)
	f.setPIN("not-the-pin")
	f.must(raw.Logout(f.session()))
	calls := f.calls(func() {
		for range 5 {
			if _, _, err := tok.Decrypt(context.Background(), wrapped, epoch1, nonce1, ciphertext, aad1); !errors.Is(err, hsm.ErrPIN) {
				t.Errorf("error %v, want ErrPIN", err)
			}
		}
	})
	if n := count(calls, "C_Login"); n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
	f.setPIN(userPIN)
	calls = f.calls(func() {
		if err := tok.Check(context.Background()); !errors.Is(err, hsm.ErrPIN) {
			t.Errorf("error %v, want ErrPIN to stick", err)
		}
	})
	if len(calls) != 0 {
		t.Errorf("calls after ErrPIN: %v", calls)
	}
}

func count(calls []string, name string) int {
	return len(slices.DeleteFunc(slices.Clone(calls), func(s string) bool { return s != name }))
}

// The token is pulled and put back: handles from before stay dead.
func TestTrapTokenPulledBriefly(t *testing.T) {
	f := newFixture(t)
	tok, wrapped, ciphertext := ready(f)
	for range 3 {
		f.must(os.Rename(f.dir, f.dir+".away"))
		if _, err := tok.Random(context.Background(), 16); err != nil {
			t.Errorf("Random: %v", err)
		}
		f.must(os.Rename(f.dir+".away", f.dir))
		decrypts(t, tok, wrapped, ciphertext)
		generate(t, tok)
	}
}

// Seen missing, a SoftHSM token is only found again by a new C_Initialize.
func TestTrapTokenPulled(t *testing.T) {
	f := newFixture(t)
	f.must(raw.Finalize()) // the token's user is to be the one who initializes
	tok, wrapped, ciphertext := ready(f)
	away := f.dir + ".away"
	for range 2 {
		f.must(os.Rename(f.dir, away))
		for range 5 {
			if _, err := tok.GenerateKey(context.Background()); err == nil {
				t.Error("GenerateKey without a token: no error")
			}
		}
		f.must(os.Rename(away, f.dir))
		eventually(t, "Check after the token is back", func() error { return tok.Check(context.Background()) })
		decrypts(t, tok, wrapped, ciphertext)
		encrypt(t, tok, wrapped)
	}
	if keys := f.find(f.session(), pkcs11.NewAttribute(pkcs11.CKA_LABEL, "root")); len(keys) != 1 {
		t.Errorf("%d root keys after the token was away, want 1", len(keys))
	}
}

// C_Finalize by another user of the module ends everything.
func TestTrapFinalized(t *testing.T) {
	f := newFixture(t)
	tok, wrapped, ciphertext := ready(f)
	for range 3 {
		f.must(raw.Finalize())
		decrypts(t, tok, wrapped, ciphertext)
		if err := raw.Initialize(); err != pkcs11.Error(pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED) {
			t.Errorf("C_Initialize after healing: %v", err)
		}
	}
}

// After C_Initialize handles are counted from the start: those of one Token
// must not be taken for those of another that healed first.
func TestTrapFinalizedUnderTwo(t *testing.T) {
	f := newFixture(t)
	first := f.open(f.config())
	second := f.open(f.config())
	a, b := generate(t, first), generate(t, second)
	boxA, boxB := encrypt(t, first, a), encrypt(t, second, b)
	for range 5 {
		f.must(raw.Finalize())
		decrypts(t, first, a, boxA)
		if got := encrypt(t, second, b); !bytes.Equal(got, boxB) {
			t.Fatal("encrypted under another key")
		}
		decrypts(t, second, b, boxB)
		decrypts(t, first, a, boxA)
	}
}

// Initialized again by somebody else, all old handles are invalid.
func TestTrapReinitialized(t *testing.T) {
	f := newFixture(t)
	tok, wrapped, ciphertext := ready(f)
	f.must(raw.Finalize())
	f.must(raw.Initialize())
	decrypts(t, tok, wrapped, ciphertext)
}

// Some tokens choose the nonce themselves.
func TestTrapNonceRewritten(t *testing.T) {
	f := shimmed(t)
	f.misbehave("C_EncryptInit iv")
	tok := f.open(f.config())
	wrapped := generate(t, tok)
	used, ciphertext, err := tok.Encrypt(context.Background(), wrapped, epoch1, nonce1, text1, aad1)
	f.must(err)
	if used == nonce1 {
		t.Fatal("the nonce was not read back")
	}
	got, ok, err := tok.Decrypt(context.Background(), wrapped, epoch1, used, ciphertext, aad1)
	if err != nil || !ok || !bytes.Equal(got, text1) {
		t.Errorf("Decrypt = %q, %v, %v", got, ok, err)
	}
}
