// SPDX-License-Identifier: Apache-2.0

package hsm_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/sidekey/sidekey/hsm"
)

const storePIN = "5-pin-of-the-store"

// twoTokens is a fixture with another token, "store", which has another PIN. The
// module is finalized, so that it is for the Tokens to initialize.
func twoTokens(t *testing.T, f *fixture) *fixture {
	out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", "store", "--so-pin", soPIN, "--pin", storePIN).CombinedOutput()
	if err != nil {
		t.Fatalf("softhsm2-util: %v: %s", err, out)
	}
	f.must(raw.Finalize())
	return f
}

func (f *fixture) openStore(pin string) (*hsm.Token, error) {
	cfg := f.withoutPIN()
	cfg.URI = strings.Replace(cfg.URI, "token=sidekey", "token=store", 1)
	return hsm.OpenWithPIN(context.Background(), cfg, []byte(pin), slog.New(slog.NewTextHandler(&f.log, nil)))
}

func (f *fixture) mustOpenStore() *hsm.Token {
	f.t.Helper()
	tok, err := f.openStore(storePIN)
	f.must(err)
	f.t.Cleanup(func() { tok.Close() })
	return tok
}

// busy uses a token until the function it returns is called, which tells how
// many calls there were. Every one must succeed.
func busy(t *testing.T, tok *hsm.Token, goroutines int) (stop func() int64) {
	t.Helper()
	var keys, boxes [4][]byte
	for i := range keys {
		keys[i] = generate(t, tok)
		boxes[i] = encrypt(t, tok, keys[i])
	}
	var calls atomic.Int64
	var wg sync.WaitGroup
	end := make(chan struct{})
	for g := range goroutines {
		wg.Go(func() {
			for i := g; ; i++ {
				select {
				case <-end:
					return
				default:
				}
				if err := workOnce(t, tok, keys[i%4], boxes[i%4], i); err != nil {
					t.Errorf("call %d: %v", i, err)
					return
				}
				calls.Add(1)
			}
		})
	}
	return func() int64 {
		close(end)
		wg.Wait()
		for i := range keys {
			decrypts(t, tok, keys[i], boxes[i])
		}
		return calls.Load()
	}
}

// A second token comes and goes many times, with the right PIN or a wrong one,
// and the first, in the same module and at work all the time, does not notice.
func TestTwoTokens(t *testing.T) {
	for name, newModule := range map[string]func(testing.TB) *fixture{"SoftHSM": newFixture, "shim": shimmed} {
		t.Run(name, func(t *testing.T) {
			f := twoTokens(t, newModule(t))
			first := f.open(f.config())
			wrapped := generate(t, first)
			stop := busy(t, first, 4)
			var kept []byte
			var box []byte
			for i := range 10 {
				second := f.mustOpenStore()
				if i == 0 {
					kept = generate(t, second)
					box = encrypt(t, second, kept)
				}
				decrypts(t, second, kept, box)
				if _, _, err := second.Encrypt(context.Background(), wrapped, epoch1, nonce1, text1, aad1); err == nil {
					t.Error("a key of the first token unwraps in the second")
				}
				stopSecond := busy(t, second, 4)
				time.Sleep(50 * time.Millisecond)
				if n := stopSecond(); n == 0 {
					t.Error("the second token made no call")
				}
				f.must(second.Close())
				// Logged out: the PIN is looked at again.
				if _, err := f.openStore("not-the-pin"); !errors.Is(err, hsm.ErrPIN) {
					t.Errorf("wrong PIN: %v, want ErrPIN", err)
				}
			}
			if n := stop(); n == 0 {
				t.Error("the first token made no call")
			}
			if log := f.log.String(); strings.Contains(log, "lost") || strings.Contains(log, "back") {
				t.Error("a token was lost")
			}
		})
	}
}

// The one that initialized the module may go first.
func TestTwoTokensFirstCloses(t *testing.T) {
	f := twoTokens(t, shimmed(t))
	calls := f.calls(func() {
		first := f.open(f.config())
		second := f.mustOpenStore()
		stop := busy(t, second, 4)
		f.must(first.Close())
		first = f.open(f.config())
		f.must(first.Close())
		stop()
		decryptsOwn(t, second)
		f.must(second.Close())
	})
	if n := count(calls, "C_Finalize"); n != 1 || calls[len(calls)-1] != "C_Finalize" {
		t.Errorf("%d times C_Finalize, want once, at the end", n)
	}
	if strings.Contains(f.log.String(), "lost") {
		t.Error("a token was lost")
	}
	decryptsOwn(t, f.mustOpenStore())
}

func decryptsOwn(t *testing.T, tok *hsm.Token) {
	t.Helper()
	wrapped := generate(t, tok)
	decrypts(t, tok, wrapped, encrypt(t, tok, wrapped))
}

// A Token that is closed at work leaves no session, and so no login, behind.
func TestCloseAtWork(t *testing.T) {
	f := twoTokens(t, newFixture(t))
	first := f.open(f.config())
	stop := busy(t, first, 2)
	for range 20 {
		second := f.mustOpenStore()
		wrapped := generate(t, second)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for {
					if _, _, err := second.Encrypt(context.Background(), wrapped, epoch1, nonce1, text1, aad1); err != nil {
						return
					}
				}
			})
		}
		time.Sleep(5 * time.Millisecond)
		f.must(second.Close())
		if _, err := f.openStore("not-the-pin"); !errors.Is(err, hsm.ErrPIN) {
			t.Errorf("wrong PIN after Close: %v, want ErrPIN", err)
		}
		wg.Wait()
	}
	stop()
}

// C_Logout and C_CloseAllSessions are of one token: the other does not notice.
func TestTwoTokensLogout(t *testing.T) {
	f := twoTokens(t, shimmed(t))
	first, second := f.open(f.config()), f.mustOpenStore()
	stop := busy(t, first, 4)
	wrapped := generate(t, second)
	box := encrypt(t, second, wrapped)
	raw := pkcs11.New(shimPath) // see there for why
	slot := slotOf(t, raw, "store")
	for i := range 20 {
		s, err := raw.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION)
		f.must(err)
		if i%2 == 0 {
			f.must(raw.Logout(s))
		} else {
			f.must(raw.CloseAllSessions(slot))
		}
		_ = raw.CloseSession(s)
		decrypts(t, second, wrapped, box)
	}
	stop()
	if strings.Contains(f.log.String(), "token lost\" token=sidekey") {
		t.Error("the first token was lost")
	}
}

func slotOf(t *testing.T, raw *pkcs11.Ctx, label string) uint {
	t.Helper()
	slots, err := raw.GetSlotList(true)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range slots {
		if info, err := raw.GetTokenInfo(s); err == nil && info.Label == label {
			return s
		}
	}
	t.Fatalf("no slot with token %s", label)
	return 0
}

// Both tokens go, as when the network of an HSM fails; both come back.
func TestTwoTokensPulled(t *testing.T) {
	f := twoTokens(t, newFixture(t))
	first, second := f.open(f.config()), f.mustOpenStore()
	a, b := generate(t, first), generate(t, second)
	boxA, boxB := encrypt(t, first, a), encrypt(t, second, b)
	away := f.dir + ".away"
	for range 2 {
		f.must(os.Rename(f.dir, away))
		for range 5 {
			for _, tok := range []*hsm.Token{first, second} {
				if _, err := tok.GenerateKey(context.Background()); err == nil {
					t.Error("GenerateKey without a token: no error")
				}
			}
		}
		f.must(os.Rename(away, f.dir))
		for i, tok := range []*hsm.Token{first, second} {
			eventually(t, fmt.Sprintf("Check of token %d", i), func() error { return tok.Check(context.Background()) })
		}
		decrypts(t, first, a, boxA)
		decrypts(t, second, b, boxB)
	}
}
