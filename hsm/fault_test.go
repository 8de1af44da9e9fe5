// SPDX-License-Identifier: Apache-2.0

package hsm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/sidekey/sidekey/hsm"
)

// hasty is a configuration with a short deadline, for calls that never end.
func (f *fixture) hasty() hsm.Config {
	cfg := f.config()
	cfg.Sessions = 2
	cfg.Timeout = 2 * time.Second
	return cfg
}

func within(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}

func TestHungCallIsAbandoned(t *testing.T) {
	f := shimmed(t)
	tok := f.open(f.hasty())
	wrapped := generate(t, tok)
	ciphertext := encrypt(t, tok, wrapped)
	f.misbehave("C_Encrypt hang")
	text := bytes.Clone(text1)
	hangs := 0
	for range 20 {
		ctx, cancel := within(50 * time.Millisecond)
		_, _, err := tok.Encrypt(ctx, wrapped, epoch1, nonce1, text, aad1)
		cancel()
		clear(text) // the caller's to reuse, although the call goes on
		if err == nil {
			t.Fatal("Encrypt: no error from a call that hangs")
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			if !strings.Contains(err.Error(), "too many calls hang") {
				t.Errorf("error %v", err)
			}
			break
		}
		hangs++
		if hangs < 8 {
			decrypts(t, tok, wrapped, ciphertext) // others go on
		}
	}
	if hangs != 8 {
		t.Errorf("%d calls hang, want 4 times the sessions", hangs)
	}
	f.misbehave("")
	eventually(t, "Encrypt after the hang", func() error {
		_, _, err := tok.Encrypt(context.Background(), wrapped, epoch1, nonce1, text1, aad1)
		return err
	})
	decrypts(t, tok, wrapped, ciphertext)
	f.login(f.session())
	sessionsClosed(f)
}

// sessionsClosed waits until no more sessions are open than the token's: home,
// keeper, two of the pool, and one of the test.
func sessionsClosed(f *fixture) {
	f.t.Helper()
	eventually(f.t, "closing abandoned sessions", func() error {
		if open := openSessions(); open > 5 {
			return fmt.Errorf("%d sessions are open, want 5", open)
		}
		return nil
	})
}

func openSessions() (open int) {
	for h := range pkcs11.SessionHandle(500) {
		if _, err := raw.GetSessionInfo(h); err == nil {
			open++
		}
	}
	return open
}

func TestHungByOwnDeadline(t *testing.T) {
	f := shimmed(t)
	f.must(f.open(f.config()).Close()) // creating the root key takes longer
	cfg := f.hasty()
	cfg.Timeout = 5 * time.Second
	tok := f.open(cfg)
	f.misbehave("C_GenerateRandom hang")
	if _, err := tok.Random(context.Background(), 16); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want the deadline", err)
	}
	f.misbehave("")
	eventually(t, "Random", func() error { _, err := tok.Random(context.Background(), 16); return err })
}

// The session that holds the objects hangs; another takes over, and what the
// first held stays usable for those who use it.
func TestHungUnwrap(t *testing.T) {
	f := shimmed(t)
	tok := f.open(f.hasty())
	first, second := generate(t, tok), generate(t, tok)
	ciphertext := encrypt(t, tok, first)
	f.misbehave("C_UnwrapKey hangone")
	ctx, cancel := within(50 * time.Millisecond)
	defer cancel()
	if _, _, err := tok.Encrypt(ctx, second, epoch1, nonce1, text1, aad1); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Encrypt: %v, want the deadline", err)
	}
	decrypts(t, tok, first, ciphertext)
	encrypt(t, tok, second)
	f.misbehave("")
	decrypts(t, tok, first, ciphertext)
	f.login(f.session())
	sessionsClosed(f)
	decrypts(t, tok, first, ciphertext)
}

func TestHungOpen(t *testing.T) {
	f := shimmed(t)
	cfg := f.hasty()
	cfg.Timeout = 300 * time.Millisecond
	f.misbehave("C_Login hang")
	done := make(chan error)
	go func() { done <- f.openError(cfg) }()
	if err := <-done; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Open: %v, want the deadline", err)
	}
	f.misbehave("")
	eventually(t, "end of the attempt", func() error {
		if open := openSessions(); open > 0 {
			return fmt.Errorf("%d sessions are open", open)
		}
		return nil
	})
	tok := f.open(f.config())
	encrypt(t, tok, generate(t, tok))
}

// A call that overruns while the module is about to be initialized anew is still
// in the module, which is not finalized under it.
func TestNoRestartUnderAHungCall(t *testing.T) {
	f := shimmed(t)
	_ = raw.Finalize() // the token's user is to be the one who initializes
	tok := f.open(f.hasty())
	wrapped := generate(t, tok)
	ciphertext := encrypt(t, tok, wrapped)
	f.must(os.WriteFile(f.control+".trace", nil, 0o600))
	f.misbehave("C_Encrypt hang\nC_GenerateRandom fail 30\nC_Login fail 30")
	done := make(chan error)
	go func() {
		_, _, err := tok.Encrypt(context.Background(), wrapped, epoch1, nonce1, text1, aad1)
		done <- err
	}()
	for running := true; running; {
		select {
		case err := <-done:
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Encrypt: %v, want the deadline", err)
			}
			running = false
		case <-time.After(20 * time.Millisecond):
			ctx, cancel := within(20 * time.Millisecond)
			if _, err := tok.Random(ctx, 16); err == nil {
				t.Error("Random without a token: no error")
			}
			cancel()
		}
	}
	for range 20 { // the attempt that waited goes on
		ctx, cancel := within(20 * time.Millisecond)
		_, _ = tok.Random(ctx, 16)
		cancel()
		time.Sleep(20 * time.Millisecond)
	}
	f.misbehave("")
	eventually(t, "Check after the hang", func() error { return tok.Check(context.Background()) })
	decrypts(t, tok, wrapped, ciphertext)
	calls, err := os.ReadFile(f.control + ".trace")
	f.must(err)
	if strings.Contains(string(calls), "C_Finalize under a call") {
		t.Error("the module was finalized under a call")
	}
}

func TestSessionLimit(t *testing.T) {
	f := shimmed(t)
	cfg := f.config()
	cfg.Sessions = 16
	f.misbehave("C_OpenSession limit 4")
	tok := f.open(cfg)
	wrapped := generate(t, tok)
	ciphertext := encrypt(t, tok, wrapped)
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for range 20 {
				got, ok, err := tok.Decrypt(context.Background(), wrapped, epoch1, nonce1, ciphertext, aad1)
				if err != nil || !ok || !bytes.Equal(got, text1) {
					t.Errorf("Decrypt = %v, %v", ok, err)
				}
			}
		})
	}
	wg.Wait()
}

// Sessions that are closed after errors, or hang, come back to the token; a
// call that finds none meanwhile waits for them.
func TestSessionLimitWhileClosing(t *testing.T) {
	f := shimmed(t)
	cfg := f.config()
	cfg.Sessions = 16
	f.misbehave("C_OpenSession limit 3") // one for the calls
	tok := f.open(cfg)
	wrapped := generate(t, tok)
	ciphertext := encrypt(t, tok, wrapped)
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for i := range 20 {
				if (g+i)%3 == 0 {
					if _, ok, err := tok.Decrypt(context.Background(), wrapped, epoch1, nonce1, ciphertext[1:], aad1); ok || err != nil {
						t.Errorf("Decrypt of other bytes = %v, %v", ok, err)
					}
					continue
				}
				got, ok, err := tok.Decrypt(context.Background(), wrapped, epoch1, nonce1, ciphertext, aad1)
				if err != nil || !ok || !bytes.Equal(got, text1) {
					t.Errorf("Decrypt = %v, %v", ok, err)
				}
			}
		})
	}
	wg.Wait()
	f.misbehave("C_OpenSession limit 3", "C_GenerateRandom hangone")
	ctx, cancel := within(50 * time.Millisecond)
	defer cancel()
	if _, err := tok.Random(ctx, 8); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Random: %v, want the deadline", err)
	}
	time.AfterFunc(100*time.Millisecond, func() { f.misbehave("C_OpenSession limit 3") })
	decrypts(t, tok, wrapped, ciphertext)
}

// With a session that never comes back, the error says what is missing, and that
// it was waited for.
func TestSessionLimitDeadline(t *testing.T) {
	f := shimmed(t)
	f.misbehave("C_OpenSession limit 3")
	tok := f.open(f.hasty())
	f.misbehave("C_OpenSession limit 3", "C_GenerateRandom hang")
	for range 2 {
		ctx, cancel := within(50 * time.Millisecond)
		_, err := tok.Random(ctx, 8)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Random: %v, want the deadline", err)
		}
	}
	f.misbehave("C_OpenSession limit 3")
	eventually(t, "Random", func() error { _, err := tok.Random(context.Background(), 8); return err })
}

// The calls of a busy pool give up a session for the one that holds the keys,
// when that has to be opened anew.
func TestSessionLimitOfKeeper(t *testing.T) {
	f := shimmed(t)
	cfg := f.config()
	cfg.Sessions = 8
	f.misbehave("C_OpenSession limit 5")
	tok := f.open(cfg)
	first, second := generate(t, tok), generate(t, tok)
	ciphertext := encrypt(t, tok, first)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := tok.Random(context.Background(), 8); err != nil {
					t.Errorf("Random: %v", err)
				}
			}
		})
	}
	for range 5 {
		eventually(t, "a call that hangs", func() error {
			f.misbehave("C_OpenSession limit 5")
			time.Sleep(20 * time.Millisecond) // the call that hung before goes on
			tok.Forget(second)
			f.misbehave("C_OpenSession limit 5", "C_UnwrapKey hangone")
			ctx, cancel := within(200 * time.Millisecond)
			defer cancel()
			if _, _, err := tok.Encrypt(ctx, second, epoch1, nonce1, text1, aad1); !errors.Is(err, context.DeadlineExceeded) {
				return fmt.Errorf("Encrypt: %v, want the deadline", err)
			}
			return nil
		})
		start := time.Now()
		decrypts(t, tok, first, ciphertext)
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("Decrypt took %v", took)
		}
	}
	f.misbehave("C_OpenSession limit 5")
	close(stop)
	wg.Wait()
}

// A session for the objects is worth more than an idle one of the pool.
func TestSessionLimitWhileHung(t *testing.T) {
	f := shimmed(t)
	cfg := f.config()
	cfg.Sessions = 2
	f.misbehave("C_OpenSession limit 4", "C_GenerateRandom hangone")
	tok := f.open(cfg)
	first, second := generate(t, tok), generate(t, tok)
	held := make(chan error)
	go func() {
		_, err := tok.Random(context.Background(), 8)
		held <- err
	}()
	ciphertext := encrypt(t, tok, first) // both sessions of the pool are open
	f.misbehave("C_OpenSession limit 4", "C_UnwrapKey hangone")
	f.must(<-held)
	ctx, cancel := within(50 * time.Millisecond)
	defer cancel()
	if _, _, err := tok.Encrypt(ctx, second, epoch1, nonce1, text1, aad1); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Encrypt: %v, want the deadline", err)
	}
	decrypts(t, tok, first, ciphertext)
	f.misbehave("C_OpenSession limit 4")
	decrypts(t, tok, first, ciphertext)
}

func TestNoSessionLeft(t *testing.T) {
	f := shimmed(t)
	f.misbehave("C_OpenSession limit 2")
	if err := f.openError(f.config()); !strings.Contains(err.Error(), "CKR_SESSION_COUNT") {
		t.Errorf("error %v, want CKR_SESSION_COUNT in it", err)
	}
}

// A broken token answers C_Decrypt like a wrong tag. It must not be taken for
// one: data would be called corrupt that is not.
func TestBrokenIsNotWrongTag(t *testing.T) {
	f := shimmed(t)
	tok, wrapped, ciphertext := ready(f)
	f.misbehave("C_Decrypt fail 5")
	for range 3 {
		_, ok, err := tok.Decrypt(context.Background(), wrapped, epoch1, nonce1, ciphertext, aad1)
		if ok || err == nil {
			t.Errorf("Decrypt with a broken token = %v, %v; want an error", ok, err)
		}
	}
	f.misbehave("")
	eventually(t, "Check", func() error { return tok.Check(context.Background()) })
	decrypts(t, tok, wrapped, ciphertext)
}

func TestErrorCodesHeal(t *testing.T) {
	f := shimmed(t)
	tok, wrapped, ciphertext := ready(f)
	for name, code := range map[string]int{
		"SESSION_HANDLE_INVALID": 0xb3, "SESSION_CLOSED": 0xb0, "OBJECT_HANDLE_INVALID": 0x82,
		"KEY_HANDLE_INVALID": 0x60, "USER_NOT_LOGGED_IN": 0x101, "CRYPTOKI_NOT_INITIALIZED": 0x190,
		"DEVICE_REMOVED": 0x32, "TOKEN_NOT_PRESENT": 0xe0, "DEVICE_ERROR": 0x30, "GENERAL_ERROR": 0x5,
	} {
		f.misbehave(fmt.Sprintf("C_DecryptInit fail %x", code))
		if _, ok, err := tok.Decrypt(context.Background(), wrapped, epoch1, nonce1, ciphertext, aad1); ok || err == nil {
			t.Errorf("%s: Decrypt = %v, %v; want an error", name, ok, err)
		}
		f.misbehave("")
		eventually(t, name, func() error { return tok.Check(context.Background()) })
		decrypts(t, tok, wrapped, ciphertext)
	}
}

// An error that is ours alone leaves the others in peace.
func TestErrorOfOneOperation(t *testing.T) {
	f := shimmed(t)
	tok, wrapped, ciphertext := ready(f)
	f.misbehave("C_Encrypt fail 5")
	if _, _, err := tok.Encrypt(context.Background(), wrapped, epoch1, nonce1, text1, aad1); err == nil {
		t.Error("Encrypt: no error")
	}
	decrypts(t, tok, wrapped, ciphertext)
	if strings.Contains(f.log.String(), "token lost") {
		t.Error("a healthy token was dropped")
	}
}

func TestDeviceMemory(t *testing.T) {
	f := shimmed(t)
	tok, wrapped, ciphertext := ready(f)
	f.misbehave("C_DeriveKey fail 31")
	if _, _, err := tok.Encrypt(context.Background(), wrapped, [16]byte{7}, nonce1, text1, aad1); err == nil {
		t.Error("Encrypt: no error from a full token")
	}
	f.misbehave("")
	decrypts(t, tok, wrapped, ciphertext)
}

// Calls that make objects for themselves only have those that are kept make room.
func TestDeviceMemoryMakesRoom(t *testing.T) {
	f := shimmed(t)
	tok, wrapped, ciphertext := ready(f)
	agreement := checkAgreement(t, tok)
	f.must(agreement())
	for name, c := range map[string]struct {
		function string
		call     func() error
	}{
		"GenerateKey":    {"C_GenerateKey", func() error { _, err := tok.GenerateKey(ctx); return err }},
		"GenerateKeyFor": {"C_GenerateKeyPair", func() error { _, _, err := tok.GenerateKeyFor(ctx, "ECC_NIST_P256"); return err }},
		"ImportKey":      {"C_CreateObject", func() error { _, _, err := tok.ImportKey(ctx, "HMAC_256", text1); return err }},
		"Agree":          {"C_DeriveKey", agreement},
	} {
		for range 4 {
			encrypt(t, tok, generate(t, tok))
		}
		f.must(os.WriteFile(f.control+".trace", nil, 0o600))
		f.misbehave(c.function+" fail 31", "C_DestroyObject hangone")
		go func() {
			for {
				if calls, err := os.ReadFile(f.control + ".trace"); err != nil || strings.Contains(string(calls), "C_DestroyObject") {
					break
				}
				time.Sleep(time.Millisecond)
			}
			f.misbehave("")
		}()
		if err := c.call(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		f.misbehave("")
		f.must(os.Remove(f.control + ".trace"))
		decrypts(t, tok, wrapped, ciphertext)
	}
	if strings.Contains(f.log.String(), "token lost") {
		t.Error("a healthy token was dropped")
	}
}

func TestProbeNamesWhatIsMissing(t *testing.T) {
	for name, lines := range map[string][]string{
		"CKM_AES_KEY_GEN":          {"C_GenerateKey mech 1080 70"},
		"CKM_AES_KEY_WRAP":         {"C_WrapKey fail 70"},
		"CKM_AES_ECB_ENCRYPT_DATA": {"C_DeriveKey fail 70"},
		"CKM_AES_GCM":              {"C_EncryptInit mech 1087 70"},
	} {
		t.Run(name, func(t *testing.T) {
			f := shimmed(t)
			f.misbehave(lines...)
			err := f.openError(f.config())
			if !strings.Contains(err.Error(), "with "+name+": pkcs11: 0x70: CKR_MECHANISM_INVALID") {
				t.Errorf("error %v, want %s to be named", err, name)
			}
		})
	}
}

// A token without CKM_AES_KEY_WRAP_PAD uses the other; keys of before unwrap.
func TestStrategyChanges(t *testing.T) {
	f := shimmed(t)
	tok, wrapped, ciphertext := ready(f)
	f.must(tok.Close())
	f.misbehave("C_WrapKey mech 210a 70")
	tok = f.open(f.config())
	if got := tok.Describe(); !strings.Contains(got, "CKM_AES_KEY_WRAP,") {
		t.Errorf("Describe = %q, want CKM_AES_KEY_WRAP", got)
	}
	decrypts(t, tok, wrapped, ciphertext)
	second := generate(t, tok)
	box := encrypt(t, tok, second)
	f.must(tok.Close())
	f.misbehave("")
	tok = f.open(f.config())
	decrypts(t, tok, second, box)
}

// 32 goroutines work while another wrecks login and sessions: each call gives
// the right bytes or an error, and all is well afterwards.
func TestConcurrentWreck(t *testing.T) {
	f := shimmed(t)
	raw := pkcs11.New(shimPath) // see there for why
	cfg := f.config()
	cfg.Sessions = 4
	tok := f.open(cfg)
	var keys, boxes [4][]byte
	for i := range keys {
		keys[i] = generate(t, tok)
		boxes[i] = encrypt(t, tok, keys[i])
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	good, bad := 0, 0
	for g := range 32 {
		wg.Go(func() {
			for i := g; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				err := workOnce(t, tok, keys[i%4], boxes[i%4], i)
				mu.Lock()
				if err == nil {
					good++
				} else {
					bad++
				}
				mu.Unlock()
			}
		})
	}
	f.wreck(raw, 100)
	close(stop)
	wg.Wait()
	lost := strings.Count(f.log.String(), "token lost")
	t.Logf("%d calls succeeded, %d failed, the token was lost %d times", good, bad, lost)
	if good == 0 || lost < 10 {
		t.Error("no call succeeded, or nothing was wrecked")
	}
	eventually(t, "Check", func() error { return tok.Check(context.Background()) })
	for i := range keys {
		decrypts(t, tok, keys[i], boxes[i])
	}
}

// wreck logs out and closes sessions again and again.
func (f *fixture) wreck(raw *pkcs11.Ctx, times int) {
	f.t.Helper()
	slot := f.slot()
	for i := range times {
		s, err := raw.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION)
		f.must(err)
		if i%2 == 0 {
			_ = raw.Logout(s)
		} else {
			_ = raw.CloseAllSessions(slot)
		}
		_ = raw.CloseSession(s)
		time.Sleep(20 * time.Millisecond)
	}
}

func workOnce(t *testing.T, tok *hsm.Token, wrapped, box []byte, i int) error {
	ctx := context.Background()
	if i%7 == 0 {
		tok.Forget(wrapped)
	}
	if i%2 == 0 {
		_, got, err := tok.Encrypt(ctx, wrapped, epoch1, nonce1, text1, aad1)
		if err == nil && !bytes.Equal(got, box) {
			t.Errorf("Encrypt gave other bytes")
		}
		return err
	}
	got, ok, err := tok.Decrypt(ctx, wrapped, epoch1, nonce1, box, aad1)
	if err == nil && (!ok || !bytes.Equal(got, text1)) {
		t.Errorf("Decrypt = %q, %v", got, ok)
	}
	return err
}

// Callers that give up early must not harm the others.
func TestConcurrentCancel(t *testing.T) {
	f := newFixture(t)
	tok, wrapped, ciphertext := ready(f)
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for i := range 100 {
				ctx, cancel := within(time.Duration(i*g%300) * time.Microsecond)
				got, ok, err := tok.Decrypt(ctx, wrapped, epoch1, nonce1, ciphertext, aad1)
				cancel()
				if err == nil && (!ok || !bytes.Equal(got, text1)) {
					t.Errorf("Decrypt = %q, %v", got, ok)
				}
			}
		})
	}
	wg.Wait()
	eventually(t, "Check", func() error { return tok.Check(context.Background()) })
	decrypts(t, tok, wrapped, ciphertext)
}
