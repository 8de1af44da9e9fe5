// SPDX-License-Identifier: Apache-2.0

package hsm_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/sidekey/sidekey/hsm"
)

// cheap are specs of every family, whose keys are made at once.
var cheap = []string{"HMAC_256", "ECC_NIST_P256", "ECC_SECG_P256K1"}

type specKey struct {
	spec            string
	wrapped, public []byte
}

func specKeys(t testing.TB, tok *hsm.Token, specs ...string) (keys []specKey) {
	t.Helper()
	for _, spec := range specs {
		wrapped, public := generateFor(t, tok, spec)
		keys = append(keys, specKey{spec, wrapped, public})
	}
	return keys
}

func useAll(t testing.TB, tok *hsm.Token, keys []specKey) {
	t.Helper()
	for _, k := range keys {
		use(t, tok, k.spec, k.wrapped, k.public, nil)
	}
}

func TestSpecsHeal(t *testing.T) {
	f := newFixture(t)
	tok := f.open(f.config())
	keys := specKeys(t, tok, append(cheap, "RSA_2048")...)
	useAll(t, tok, keys)
	for name, wreck := range map[string]func(){
		"logout":          func() { f.must(raw.Logout(f.session())) },
		"sessions closed": func() { f.must(raw.CloseAllSessions(f.slot())) },
		"pulled briefly":  func() { f.must(os.Rename(f.dir, f.dir+".away")); f.must(os.Rename(f.dir+".away", f.dir)) },
		"finalized":       func() { f.must(raw.Finalize()) },
	} {
		for _, k := range keys {
			wreck()
			use(t, tok, k.spec, k.wrapped, k.public, nil)
		}
		wreck()
		if _, _, err := tok.GenerateKeyFor(ctx, "ECC_NIST_P256"); err != nil {
			t.Errorf("%s: GenerateKeyFor: %v", name, err)
		}
	}
}

func TestSpecsSurviveReopen(t *testing.T) {
	f := newFixture(t)
	tok := f.open(f.config())
	keys := specKeys(t, tok, append(cheap, "RSA_2048")...)
	f.must(tok.Close())
	useAll(t, f.open(f.config()), keys)
}

func TestSpecsDeadline(t *testing.T) {
	f := shimmed(t)
	tok := f.open(f.hasty())
	keys := specKeys(t, tok, cheap...)
	for _, function := range []string{"C_Sign", "C_SignInit", "C_UnwrapKey", "C_GenerateKeyPair", "C_CreateObject"} {
		for _, k := range keys {
			tok.Forget(k.wrapped)
		}
		f.misbehave(function + " hangone")
		ctx, cancel := within(50 * time.Millisecond)
		var err error
		switch function {
		case "C_GenerateKeyPair":
			_, _, err = tok.GenerateKeyFor(ctx, "ECC_NIST_P256")
		case "C_CreateObject":
			_, _, err = tok.ImportKey(ctx, "HMAC_256", text1)
		default:
			_, err = tok.Sign(ctx, "ECC_NIST_P256", keys[1].wrapped, make([]byte, 32), crypto.SHA256)
		}
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s hangs: %v, want the deadline", function, err)
		}
		useAll(t, tok, keys) // others go on
		f.misbehave("")
		useAll(t, tok, keys)
	}
	f.login(f.session())
	sessionsClosed(f)
}

// A broken token answers like a wrong ciphertext and must not be taken for one.
func TestOAEPBroken(t *testing.T) {
	f := shimmed(t)
	tok := f.open(f.config())
	wrapped, public := generateFor(t, tok, "RSA_2048")
	use(t, tok, "RSA_2048", wrapped, public, nil)
	for _, h := range []crypto.Hash{crypto.SHA1, crypto.SHA256} {
		f.misbehave("C_Decrypt fail 5")
		if _, ok, err := tok.DecryptOAEP(ctx, "RSA_2048", wrapped, h, bytes.Repeat([]byte{1}, 256)); ok || err == nil {
			t.Errorf("DecryptOAEP with a broken token = %v, %v; want an error", ok, err)
		}
		f.misbehave("")
		eventually(t, "Check", func() error { return tok.Check(ctx) })
	}
	use(t, tok, "RSA_2048", wrapped, public, nil)
}

// A check that fails may leave its operation active in the session that holds
// the objects; it is not used again.
func TestFailedCheck(t *testing.T) {
	f := shimmed(t)
	tok, wrapped, ciphertext := ready(f)
	keys := specKeys(t, tok, cheap...)
	useAll(t, tok, keys[1:])
	f.misbehave("C_Sign fail 5")
	if _, err := tok.MAC(ctx, "HMAC_256", keys[0].wrapped, text1); err == nil {
		t.Error("MAC: no error")
	}
	f.misbehave("")
	useAll(t, tok, keys)
	decrypts(t, tok, wrapped, ciphertext)
	if strings.Contains(f.log.String(), "token lost") {
		t.Error("a healthy token was dropped")
	}
}

// Where a token refuses OAEP altogether, its padding is undone outside.
func TestOAEPRaw(t *testing.T) {
	f := shimmed(t)
	for _, code := range []string{"7", "70", "71"} {
		f.misbehave("C_DecryptInit mech 9 " + code)
		tok := f.open(f.config())
		if !tok.Supports("RSA_2048") {
			t.Errorf("%s: Supports(RSA_2048) = false", code)
		}
		wrapped, der := generateFor(t, tok, "RSA_2048")
		use(t, tok, "RSA_2048", wrapped, der, nil)
		public, err := x509.ParsePKIXPublicKey(der)
		f.must(err)
		ciphertext, err := rsa.EncryptOAEP(crypto.SHA1.New(), rand.Reader, public.(*rsa.PublicKey), text1, []byte("label"))
		f.must(err)
		if _, ok, err := tok.DecryptOAEP(ctx, "RSA_2048", wrapped, crypto.SHA1, ciphertext); ok || err != nil {
			t.Errorf("%s: DecryptOAEP of another label = %v, %v", code, ok, err)
		}
		f.must(tok.Close())
	}
}

// What the token is, is remembered; that it is ill, is not.
func TestSupportsRemembers(t *testing.T) {
	f := shimmed(t)
	tok := f.open(f.config())
	f.misbehave("C_Sign fail 5")
	if tok.Supports("ECC_NIST_P256") || tok.Supports("HMAC_256") {
		t.Error("Supports of a token that does not sign = true")
	}
	f.misbehave("C_GenerateKeyPair fail 30")
	if tok.Supports("ECC_NIST_P384") {
		t.Error("Supports of a token away = true")
	}
	f.misbehave("C_SignInit mech 271 70", "C_GenerateKeyPair mech 0 70") // of HMAC_512 and RSA
	eventually(t, "Check", func() error { return tok.Check(ctx) })
	for spec, want := range map[string]bool{
		"ECC_NIST_P256": true, "ECC_NIST_P384": true, "HMAC_256": true,
		"HMAC_512": false, "RSA_2048": false, "RSA_4096": false,
	} {
		if got := tok.Supports(spec); got != want {
			t.Errorf("Supports(%s) = %v, want %v", spec, got, want)
		}
	}
	f.misbehave("")
	calls := f.calls(func() {
		if !tok.Supports("ECC_NIST_P256") || tok.Supports("RSA_2048") || tok.Supports("HMAC_512") {
			t.Error("Supports has not remembered")
		}
	})
	if len(calls) > 0 {
		t.Errorf("calls for what is known: %v", calls)
	}
}

// One RSA key is made for all the lengths, and none of the longer ones.
func TestSupportsRSA(t *testing.T) {
	f := shimmed(t)
	for _, specs := range [][]string{{"RSA_4096", "RSA_3072", "RSA_2048"}, {"RSA_2048", "RSA_4096", "RSA_3072"}} {
		tok := f.open(f.config())
		calls := f.calls(func() {
			for _, spec := range specs {
				if !tok.Supports(spec) {
					t.Errorf("Supports(%s) = false", spec)
				}
			}
		})
		if n := count(calls, "C_GenerateKeyPair"); n != 1 {
			t.Errorf("%v: %d keys made, want 1", specs, n)
		}
		f.must(tok.Close())
	}
}

// A token that gives wrong results is noticed before a key is handed out.
func TestProofs(t *testing.T) {
	f := shimmed(t)
	tok := f.open(f.config())
	f.misbehave("C_Sign flip")
	for _, spec := range append(cheap, "RSA_2048") {
		if _, _, err := tok.GenerateKeyFor(ctx, spec); err == nil {
			t.Errorf("GenerateKeyFor %s by a token that signs wrongly: no error", spec)
		}
	}
}

func TestSpecsConcurrently(t *testing.T) {
	f := newFixture(t)
	tok := f.open(f.config())
	keys := specKeys(t, tok, append(cheap, "RSA_2048")...)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 12 {
				k := keys[(g+i)%len(keys)]
				if i%5 == 0 {
					tok.Forget(k.wrapped)
				}
				use(t, tok, k.spec, k.wrapped, k.public, nil)
				if !tok.Supports(cheap[i%len(cheap)]) {
					t.Error("Supports = false")
				}
			}
		})
	}
	wg.Wait()
}

// While login and sessions are wrecked, each call gives the right bytes or an
// error: no ciphertext is called wrong, and no key is handed out that is not one.
func TestSpecsWreck(t *testing.T) {
	f := shimmed(t)
	raw := pkcs11.New(shimPath) // see there for why
	cfg := f.config()
	cfg.Sessions = 4
	tok := f.open(cfg)
	checks := []func() error{
		checkMAC(t, tok), checkSignature(t, tok), checkOAEP(t, tok, crypto.SHA1), checkOAEP(t, tok, crypto.SHA256),
		checkAgreement(t, tok), checkNewKey(t, tok), checkImport(t, tok),
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var good, bad [7]atomic.Int64
	for g := range 14 {
		wg.Go(func() {
			for n := g % len(checks); ; {
				select {
				case <-stop:
					return
				default:
				}
				if err := checks[n](); err != nil {
					bad[n].Add(1)
				} else {
					good[n].Add(1)
				}
			}
		})
	}
	f.wreck(raw, 60)
	close(stop)
	wg.Wait()
	for n, check := range checks {
		t.Logf("check %d: %d calls succeeded, %d failed", n, good[n].Load(), bad[n].Load())
		if good[n].Load() == 0 {
			t.Errorf("check %d: no call succeeded", n)
		}
		eventually(t, "check", check)
	}
}

func checkMAC(t *testing.T, tok *hsm.Token) func() error {
	wrapped, _ := generateFor(t, tok, "HMAC_256")
	want, err := tok.MAC(ctx, "HMAC_256", wrapped, text1)
	if err != nil {
		t.Fatal(err)
	}
	return func() error {
		got, err := tok.MAC(ctx, "HMAC_256", wrapped, text1)
		if err == nil && !bytes.Equal(got, want) {
			t.Error("another MAC")
		}
		tok.Forget(wrapped)
		return err
	}
}

func checkSignature(t *testing.T, tok *hsm.Token) func() error {
	wrapped, der := generateFor(t, tok, "ECC_NIST_P256")
	public := parsePublic[*ecdsa.PublicKey](t, der)
	digest := digestOf(crypto.SHA256, text1)
	return func() error {
		signature, err := tok.Sign(ctx, "ECC_NIST_P256", wrapped, digest, crypto.SHA256)
		if err == nil && !ecdsa.VerifyASN1(public, digest, signature) {
			t.Error("the signature does not verify")
		}
		return err
	}
}

func checkOAEP(t *testing.T, tok *hsm.Token, h crypto.Hash) func() error {
	wrapped, der := generateFor(t, tok, "RSA_2048")
	right, err := rsa.EncryptOAEP(h.New(), rand.Reader, parsePublic[*rsa.PublicKey](t, der), text1, nil)
	if err != nil {
		t.Fatal(err)
	}
	wrong := bytes.Clone(right)
	wrong[200] ^= 1
	return func() error {
		got, ok, err := tok.DecryptOAEP(ctx, "RSA_2048", wrapped, h, right)
		if err == nil && (!ok || !bytes.Equal(got, text1)) {
			t.Errorf("DecryptOAEP = %x, %v", got, ok)
		}
		got, ok, wrongErr := tok.DecryptOAEP(ctx, "RSA_2048", wrapped, h, wrong)
		if ok {
			t.Errorf("DecryptOAEP of other bytes = %x, %v", got, ok)
		}
		tok.Forget(wrapped)
		return errors.Join(err, wrongErr)
	}
}

func checkAgreement(t *testing.T, tok *hsm.Token) func() error {
	wrapped, der := generateFor(t, tok, "ECC_NIST_P384")
	own, err := parsePublic[*ecdsa.PublicKey](t, der).ECDH()
	if err != nil {
		t.Fatal(err)
	}
	other, otherDER := peer(t, ecdh.P384())
	want, err := other.ECDH(own)
	if err != nil {
		t.Fatal(err)
	}
	return func() error {
		got, err := tok.Agree(ctx, "ECC_NIST_P384", wrapped, otherDER)
		if err == nil && !bytes.Equal(got, want) {
			t.Error("another secret")
		}
		return err
	}
}

func checkNewKey(t *testing.T, tok *hsm.Token) func() error {
	return func() error {
		wrapped, der, err := tok.GenerateKeyFor(ctx, "ECC_NIST_P256")
		if err != nil {
			return err
		}
		digest := digestOf(crypto.SHA256, text1)
		signature, err := tok.Sign(ctx, "ECC_NIST_P256", wrapped, digest, crypto.SHA256)
		if err == nil && !ecdsa.VerifyASN1(parsePublic[*ecdsa.PublicKey](t, der), digest, signature) {
			t.Error("the signature of a new key does not verify")
		}
		tok.Forget(wrapped)
		return err
	}
}

func checkImport(t *testing.T, tok *hsm.Token) func() error {
	key := bytes.Repeat([]byte{7}, 32)
	h := hmac.New(sha256.New, key)
	h.Write(text1)
	want := h.Sum(nil)
	return func() error {
		wrapped, _, err := tok.ImportKey(ctx, "HMAC_256", key)
		if err != nil {
			return err
		}
		got, err := tok.MAC(ctx, "HMAC_256", wrapped, text1)
		if err == nil && !bytes.Equal(got, want) {
			t.Error("another MAC")
		}
		return err
	}
}

func parsePublic[K any](t *testing.T, der []byte) K {
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		t.Error(err)
	}
	return key.(K)
}

func (f *fixture) withoutPIN() hsm.Config {
	cfg := f.config()
	cfg.URI, _, _ = strings.Cut(cfg.URI, "&pin-source")
	return cfg
}

func TestOpenWithPIN(t *testing.T) {
	f := shimmed(t)
	log := slog.New(slog.NewTextHandler(&f.log, nil))
	pin := []byte(userPIN)
	tok, err := hsm.OpenWithPIN(ctx, f.withoutPIN(), pin, log)
	f.must(err)
	clear(pin) // the caller's
	wrapped := generate(t, tok)
	ciphertext := encrypt(t, tok, wrapped)
	f.must(raw.Logout(f.session()))
	decrypts(t, tok, wrapped, ciphertext) // it has a copy
	f.must(tok.Close())
	f.must(raw.Finalize()) // log out
	f.must(raw.Initialize())
	calls := f.calls(func() {
		_, err = hsm.OpenWithPIN(ctx, f.withoutPIN(), []byte("not-the-pin"), log)
	})
	if !errors.Is(err, hsm.ErrPIN) || count(calls, "C_Login") != 1 || strings.Contains(err.Error(), "not-the-pin") {
		t.Errorf("wrong PIN: %v after %v, want ErrPIN after one login", err, calls)
	}
	for name, c := range map[string]struct {
		cfg hsm.Config
		pin string
	}{
		"empty":           {f.withoutPIN(), ""},
		"long":            {f.withoutPIN(), strings.Repeat("1", 1025)},
		"pin-source, too": {f.config(), userPIN},
	} {
		if tok, err := hsm.OpenWithPIN(ctx, c.cfg, []byte(c.pin), log); err == nil {
			tok.Close()
			t.Errorf("%s: no error", name)
		}
	}
	if err := f.openError(f.withoutPIN()); !strings.Contains(err.Error(), "pin-source") {
		t.Errorf("Open without a PIN: %v", err)
	}
	info, err := raw.GetTokenInfo(f.slot())
	f.must(err)
	if info.Flags&pkcs11.CKF_USER_PIN_LOCKED != 0 {
		t.Error("the PIN is locked")
	}
}
