// SPDX-License-Identifier: Apache-2.0

package datakey_test

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/sidekey/sidekey/keysvc/keysvctest"
	"github.com/sidekey/sidekey/proxy/datakey"
)

func isZero(b []byte) bool { return bytes.Equal(b, make([]byte, len(b))) }

// inBubble runs a test on a fake clock with a cache and a key service.
func inBubble(t *testing.T, cfg datakey.Config, test func(t *testing.T, c *datakey.Cache, k *service)) {
	t.Helper()
	k := newService(t)
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, cfg, k)
		defer c.Close()
		test(t, c, k)
	})
}

func mustOpen(t testing.TB, c *datakey.Cache, ref datakey.Ref) datakey.Use {
	t.Helper()
	use, err := c.Open(t.Context(), ref, nothing)
	if err != nil {
		t.Fatal(err)
	}
	return use
}

func TestSealThenOpen(t *testing.T) {
	inBubble(t, datakey.Config{}, func(t *testing.T, c *datakey.Cache, k *service) {
		var sealed, opened []byte
		use, err := c.Seal(t.Context(), scope(), 10, func(_ datakey.Use, s []byte) error {
			sealed = bytes.Clone(s)
			return nil
		})
		if err != nil || use.State != datakey.Miss || use.KeyARN != k.arn {
			t.Fatalf("%+v, %v", use, err)
		}
		synctest.Wait()
		ref := datakey.Ref{KeyARN: use.KeyARN, Wrapped: use.Wrapped, Context: scope().Context}
		again, err := c.Open(t.Context(), ref, func(_ datakey.Use, s []byte) error {
			opened = bytes.Clone(s)
			return nil
		})
		if err != nil || !bytes.Equal(sealed, opened) || again.ID != use.ID {
			t.Fatalf("%+v, %v", again, err)
		}
		if g, d := k.calls(); g != 1 || d != 0 {
			t.Errorf("%d, %d calls; a generated key is already open", g, d)
		}
		if u, err := c.Seal(t.Context(), scope(), 10, nothing); err != nil || u.State != datakey.Hit || u.ID != use.ID {
			t.Errorf("%+v, %v", u, err)
		}
	})
}

func TestScopesDoNotShare(t *testing.T) {
	inBubble(t, datakey.Config{}, func(t *testing.T, c *datakey.Cache, _ *service) {
		seen := map[string]bool{}
		for _, s := range []datakey.Scope{
			{KeyID: "alias/k"}, {KeyID: "alias/l"}, {KeyID: "alias/k", Purpose: "p"},
			{KeyID: "alias/k", Context: map[string]string{"a": "b"}}, {KeyID: "alias/k", Context: map[string]string{"a": "c"}},
			{KeyID: "alias/k", Context: map[string]string{"ab": ""}},
		} {
			use, err := c.Seal(t.Context(), s, 0, nothing)
			if err != nil || seen[use.ID] {
				t.Fatalf("%+v, %v", use, err)
			}
			seen[use.ID] = true
		}
	})
}

// Past half the lease one use renews in the background; past the lease a use
// waits; both keep the data key.
func TestLease(t *testing.T) {
	inBubble(t, datakey.Config{}, func(t *testing.T, c *datakey.Cache, k *service) {
		ref := k.wrapped(1)[0]
		mustOpen(t, c, ref)
		synctest.Wait()
		k.calls()
		time.Sleep(2 * time.Second)
		if use := mustOpen(t, c, ref); use.State != datakey.Hit {
			t.Errorf("state %q", use.State)
		}
		synctest.Wait()
		if _, d := k.calls(); d != 0 {
			t.Errorf("%d calls in the first half of the lease", d)
		}
		time.Sleep(time.Second)
		for range 5 {
			if use := mustOpen(t, c, ref); use.State != datakey.Hit {
				t.Errorf("state %q", use.State)
			}
		}
		synctest.Wait()
		if _, d := k.calls(); d != 1 {
			t.Errorf("%d background renewals, want 1", d)
		}
		time.Sleep(6 * time.Second)
		if use := mustOpen(t, c, ref); use.State != datakey.Renew {
			t.Errorf("state %q", use.State)
		}
		if _, d := k.calls(); d != 1 {
			t.Errorf("%d renewals, want 1", d)
		}
	})
}

// An unreachable key service lets cached keys live until the lease ends, and not
// longer; when it is back, so are they.
func TestUnreachable(t *testing.T) {
	inBubble(t, datakey.Config{}, func(t *testing.T, c *datakey.Cache, k *service) {
		ref := k.wrapped(1)[0]
		mustOpen(t, c, ref)
		injected := func(err error) func() func() {
			return func() func() { k.FailAll(err); return func() { k.FailAll(nil) } }
		}
		for name, begins := range map[string]func() (ends func()){
			"stopped": k.stop, "internal": injected(apiError("KMSInternalException")),
			"throttled": injected(apiError("ThrottlingException")), "deadline": injected(context.DeadlineExceeded),
		} {
			synctest.Wait()
			begin := time.Now()
			ends := begins()
			for time.Since(begin) < 4900*time.Millisecond {
				mustOpen(t, c, ref)
				time.Sleep(100 * time.Millisecond)
				synctest.Wait()
			}
			time.Sleep(100 * time.Millisecond)
			if _, got := c.Open(t.Context(), ref, nothing); kindOf(t, got) != datakey.Unavailable {
				t.Errorf("%s: after the lease: %v", name, got)
			}
			ends()
			if use := mustOpen(t, c, ref); use.State != datakey.Renew {
				t.Errorf("%s: state %q", name, use.State)
			}
		}
	})
}

// When the key service refuses, no later use succeeds and the secret is zeroed.
func TestRefusal(t *testing.T) {
	for code, kind := range map[string]datakey.Kind{
		"DisabledException": datakey.Disabled, "KMSInvalidStateException": datakey.Disabled,
		"AccessDeniedException": datakey.Denied, "UnrecognizedClientException": datakey.Denied,
		"NotFoundException": datakey.NotFound, "InvalidCiphertextException": datakey.Corrupt,
	} {
		t.Run(code, func(t *testing.T) {
			inBubble(t, datakey.Config{}, func(t *testing.T, c *datakey.Cache, k *service) {
				var secret []byte
				ref := k.wrapped(1)[0]
				if _, err := c.Open(t.Context(), ref, peek(&secret)); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				relent := k.refuse(code)
				time.Sleep(3 * time.Second) // past half of the lease
				mustOpen(t, c, ref)         // still leased; finds out
				synctest.Wait()
				if !isZero(secret) {
					t.Error("the secret is still there")
				}
				for range 3 {
					_, err := c.Open(t.Context(), ref, nothing)
					if kindOf(t, err) != kind {
						t.Errorf("got %v", err)
					}
				}
				relent()
				if use := mustOpen(t, c, ref); use.State != datakey.Miss {
					t.Errorf("state %q", use.State)
				}
			})
		})
	}
}

func TestSealRefusal(t *testing.T) {
	inBubble(t, datakey.Config{}, func(t *testing.T, c *datakey.Cache, k *service) {
		var secret []byte
		if _, err := c.Seal(t.Context(), scope(), 0, peek(&secret)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		k.refuse("DisabledException")
		time.Sleep(5 * time.Second)
		if _, err := c.Seal(t.Context(), scope(), 0, nothing); kindOf(t, err) != datakey.Disabled {
			t.Errorf("got %v", err)
		}
		if !isZero(secret) {
			t.Error("the secret is still there")
		}
	})
}

// A sidecar that may only seal gets new data keys instead of renewed ones.
func TestSealWithoutDecrypt(t *testing.T) {
	inBubble(t, datakey.Config{}, func(t *testing.T, c *datakey.Cache, k *service) {
		k.Fail(keysvctest.Decrypt, apiError("AccessDeniedException"))
		first, err := c.Seal(t.Context(), scope(), 0, nothing)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		second, err := c.Seal(t.Context(), scope(), 0, nothing)
		if err != nil || first.ID == second.ID {
			t.Errorf("%+v, %v", second, err)
		}
	})
}

func TestBoundsOfSealing(t *testing.T) {
	for name, tt := range map[string]struct {
		cfg  datakey.Config
		size int64
		wait time.Duration
		uses int // of one data key
	}{
		"uses":  {cfg: datakey.Config{MaxUses: 3}, uses: 3},
		"bytes": {cfg: datakey.Config{MaxBytes: 100}, size: 25, uses: 4},
		"age":   {cfg: datakey.Config{MaxAge: 12 * time.Second}, wait: 2 * time.Second, uses: 5},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, tt.cfg, func(t *testing.T, c *datakey.Cache, _ *service) {
				counts := map[string]int{}
				for range 3 * tt.uses {
					use, err := c.Seal(t.Context(), scope(), tt.size, nothing)
					if err != nil {
						t.Fatal(err)
					}
					counts[use.ID]++
					time.Sleep(tt.wait)
					synctest.Wait()
				}
				if len(counts) != 3 {
					t.Errorf("%v, want 3 data keys", counts)
				}
			})
		})
	}
}

func TestFailedUseIsNotCounted(t *testing.T) {
	inBubble(t, datakey.Config{MaxUses: 1}, func(t *testing.T, c *datakey.Cache, _ *service) {
		fail := errors.New("no")
		var id string
		for range 5 {
			_, err := c.Seal(t.Context(), scope(), 0, func(u datakey.Use, _ []byte) error { id = u.ID; return fail })
			if !errors.Is(err, fail) {
				t.Fatal(err)
			}
		}
		if use, err := c.Seal(t.Context(), scope(), 0, nothing); err != nil || use.ID != id {
			t.Errorf("%+v, %v", use, err)
		}
	})
}

// An opened key is asked for anew after MaxAge and after MaxUses, and zeroed by
// age also when nobody asks.
func TestBoundsOfOpening(t *testing.T) {
	inBubble(t, datakey.Config{MaxAge: 10 * time.Second, MaxUses: 3}, func(t *testing.T, c *datakey.Cache, k *service) {
		ref := k.wrapped(1)[0]
		for range 9 {
			mustOpen(t, c, ref)
			synctest.Wait()
		}
		if _, d := k.calls(); d != 3 {
			t.Errorf("%d calls for 9 uses, want 3", d)
		}
		var secret []byte
		c.Open(t.Context(), ref, peek(&secret))
		synctest.Wait()
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if !isZero(secret) {
			t.Error("the secret is older than MaxAge")
		}
	})
}

// A crowd that wants the same key makes one call.
func TestThunderingHerd(t *testing.T) {
	inBubble(t, datakey.Config{}, func(t *testing.T, c *datakey.Cache, k *service) {
		k.Slow(100 * time.Millisecond)
		ref := k.wrapped(1)[0]
		var wg sync.WaitGroup
		for range 500 {
			wg.Go(func() { mustOpen(t, c, ref) })
			wg.Go(func() {
				if _, err := c.Seal(t.Context(), scope(), 0, nothing); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if g, d := k.calls(); g != 1 || d != 1 {
			t.Errorf("%d GenerateDataKey and %d Decrypt calls, want 1 and 1", g, d)
		}
		time.Sleep(6 * time.Second)
		for range 500 {
			wg.Go(func() { mustOpen(t, c, ref) })
		}
		wg.Wait()
		if _, d := k.calls(); d != 1 {
			t.Errorf("%d renewals, want 1", d)
		}
	})
}

// One caller that goes away does not fail the others.
func TestCallerGoesAway(t *testing.T) {
	inBubble(t, datakey.Config{}, func(t *testing.T, c *datakey.Cache, k *service) {
		k.Slow(time.Second)
		ref := k.wrapped(1)[0]
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := c.Open(ctx, ref, nothing); !errors.Is(err, context.Canceled) || kindOf(t, err) != datakey.Unavailable {
				t.Errorf("got %v", err)
			}
		})
		synctest.Wait()
		wg.Go(func() { mustOpen(t, c, ref) })
		synctest.Wait()
		cancel()
		wg.Wait()
		if _, d := k.calls(); d != 1 {
			t.Errorf("%d calls", d)
		}
	})
}

// A key service that hangs is given up.
func TestHangingKeyService(t *testing.T) {
	inBubble(t, datakey.Config{}, func(t *testing.T, c *datakey.Cache, k *service) {
		k.Slow(time.Hour)
		begin := time.Now()
		_, err := c.Open(t.Context(), k.wrapped(1)[0], nothing)
		if kindOf(t, err) != datakey.Unavailable || time.Since(begin) > 3*time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
	})
}

// More keys than the cache holds: all open, and what is evicted is zeroed.
func TestEvictionZeroes(t *testing.T) {
	inBubble(t, datakey.Config{MaxKeys: 16}, func(t *testing.T, c *datakey.Cache, k *service) {
		secrets := make([][]byte, 0, 200)
		for _, ref := range k.wrapped(200) {
			var secret []byte
			if _, err := c.Open(t.Context(), ref, peek(&secret)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			secrets = append(secrets, secret)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		live := map[*byte]bool{}
		for _, s := range secrets {
			if !isZero(s) {
				live[&s[0]] = true // slots are used again
			}
		}
		if len(live) > 16 {
			t.Errorf("%d secrets are left, want at most 16", len(live))
		}
	})
}

// More secrets than one mapping holds.
func TestArenaGrows(t *testing.T) {
	inBubble(t, datakey.Config{MaxKeys: 2000}, func(t *testing.T, c *datakey.Cache, k *service) {
		refs, secrets := k.wrapped(1300), make([][]byte, 1300)
		inParallel(len(refs), func(i int) {
			if _, err := c.Open(t.Context(), refs[i], peek(&secrets[i])); err != nil {
				t.Error(err)
			}
		})
		seen := map[*byte]bool{}
		for _, secret := range secrets {
			seen[unsafe.SliceData(secret)] = true
		}
		if len(seen) != 1300 {
			t.Errorf("%d slots for 1300 secrets", len(seen))
		}
	})
}

// Closing zeroes everything at once, also what is pinned or current.
func TestCloseZeroes(t *testing.T) {
	k := newService(t)
	c := newCache(t, datakey.Config{}, k)
	var opened, sealed, pinned []byte
	refs := k.wrapped(2)
	if _, err := c.Open(t.Context(), refs[0], peek(&opened)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Seal(t.Context(), scope(), 0, peek(&sealed)); err != nil {
		t.Fatal(err)
	}
	pin := datakey.NewPin(c, refs[1], func(s []byte) (*int, error) { pinned = s; return new(int), nil })
	got, err := pin.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// A use that is going on keeps its secret to its end.
	begun, finish := make(chan struct{}), make(chan struct{})
	var during []byte
	var wg sync.WaitGroup
	wg.Go(func() {
		c.Open(t.Context(), refs[0], func(_ datakey.Use, s []byte) error {
			close(begun)
			<-finish
			during = bytes.Clone(s)
			return nil
		})
	})
	<-begun
	c.Close()
	if !isZero(sealed) || !isZero(pinned) {
		t.Error("secrets outlive Close")
	}
	if got.Valid() {
		t.Error("a pinned value outlives Close")
	}
	close(finish)
	wg.Wait()
	if isZero(during) {
		t.Error("the secret was zeroed under a use")
	}
	if readable(opened) {
		t.Error("memory is still mapped after the last use")
	}
	if _, err := c.Open(t.Context(), refs[0], nothing); err == nil {
		t.Error("a closed cache opens")
	}
	if _, err := c.Seal(t.Context(), scope(), 0, nothing); err == nil {
		t.Error("a closed cache seals")
	}
	if _, err := pin.Acquire(t.Context()); err == nil {
		t.Error("a closed cache pins")
	}
	c.Close()
}

// readable says whether memory can be read and is not all zero.
func readable(b []byte) (ok bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	return !isZero(b)
}

func TestPin(t *testing.T) {
	inBubble(t, datakey.Config{MaxAge: time.Minute}, func(t *testing.T, c *datakey.Cache, k *service) {
		derived := 0
		pin := datakey.NewPin(c, k.wrapped(1)[0], func([]byte) (*int, error) { derived++; n := derived; return &n, nil })
		acquire := func(state string, value int) datakey.Pinned[int] {
			t.Helper()
			got, err := pin.Acquire(t.Context())
			if err != nil || got.Use.State != state || *got.Value != value || !got.Valid() {
				t.Fatalf("%+v, %v; want %s %d", got, err, state, value)
			}
			return got
		}
		acquire(datakey.Miss, 1)
		acquire(datakey.Hit, 1)
		time.Sleep(6 * time.Second)
		held := acquire(datakey.Renew, 1)
		time.Sleep(6 * time.Second)
		if held.Valid() {
			t.Error("valid past its lease")
		}
		time.Sleep(time.Minute)
		held = acquire(datakey.Miss, 2)
		synctest.Wait()
		relent := k.refuse("DisabledException")
		time.Sleep(3 * time.Second)
		acquire(datakey.Hit, 2)
		synctest.Wait()
		if held.Valid() {
			t.Error("valid after a refusal")
		}
		if _, err := pin.Acquire(t.Context()); kindOf(t, err) != datakey.Disabled {
			t.Errorf("got %v", err)
		}
		relent()
		acquire(datakey.Miss, 3)
	})
}

// The last use that MaxUses allows is a use.
func TestPinUsesAll(t *testing.T) {
	inBubble(t, datakey.Config{MaxUses: 3}, func(t *testing.T, c *datakey.Cache, k *service) {
		pin := datakey.NewPin(c, k.wrapped(1)[0], func([]byte) (*int, error) { return new(int), nil })
		for i := range 9 {
			if got, err := pin.Acquire(t.Context()); err != nil || !got.Valid() {
				t.Errorf("use %d: %v", i, err)
			}
			synctest.Wait()
		}
		if _, d := k.calls(); d != 3 {
			t.Errorf("%d calls for 9 uses, want 3", d)
		}
	})
}

// Rotation does not stop what is going on; its lease does.
func TestPinOutlivesRotation(t *testing.T) {
	inBubble(t, datakey.Config{MaxUses: 2, MaxAge: time.Minute}, func(t *testing.T, c *datakey.Cache, k *service) {
		pin := datakey.NewPin(c, k.wrapped(1)[0], func([]byte) (*int, error) { return new(int), nil })
		first, err := pin.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if _, err := pin.Acquire(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(4900 * time.Millisecond)
		if !first.Valid() {
			t.Error("rotation stopped a use")
		}
		time.Sleep(100 * time.Millisecond)
		if first.Valid() {
			t.Error("a use goes on past its lease")
		}
	})
}

// Uses, expiry, refusal, eviction and closing at once. Run with -race; a secret
// that changes under a use, or a use after a refusal, is what it looks for.
func TestHammer(t *testing.T) {
	const lease = 200 * time.Millisecond
	k := newService(t)
	c := newCache(t, datakey.Config{MaxAge: 3 * lease, Lease: lease, MaxUses: 50, MaxKeys: 8}, k)
	refs := k.wrapped(24)
	var uses, failures atomic.Int64
	use := func(_ datakey.Use, secret []byte) error {
		before := bytes.Clone(secret)
		runtime.Gosched()
		if isZero(before) || !bytes.Equal(before, secret) {
			t.Error("a secret changed under a use")
		}
		return nil
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	worker := func(i int, work func(n int) error) {
		wg.Go(func() {
			for n := i; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := work(n); err != nil {
					failures.Add(1)
				} else {
					uses.Add(1)
				}
			}
		})
	}
	pin := datakey.NewPin(c, refs[0], func(s []byte) (*[32]byte, error) { v := [32]byte(s); return &v, nil })
	for i := range 4 {
		worker(i, func(n int) error { _, err := c.Open(t.Context(), refs[n%len(refs)], use); return err })
		worker(i, func(n int) error {
			s := scope()
			s.Purpose = string(rune('a' + n%12))
			_, err := c.Seal(t.Context(), s, 1, use)
			return err
		})
		worker(i, func(int) error {
			got, err := pin.Acquire(t.Context())
			if err == nil && isZero(got.Value[:]) {
				t.Error("a pinned value of zeroes")
			}
			return err
		})
	}
	for range 5 {
		time.Sleep(4 * lease)
		relent := k.refuse("DisabledException")
		time.Sleep(3 * lease / 2) // longer than any lease
		for _, ref := range refs {
			if _, err := c.Open(t.Context(), ref, nothing); err == nil {
				t.Error("a use after the refusal and the lease")
			}
		}
		if _, err := pin.Acquire(t.Context()); err == nil {
			t.Error("a pinned use after the refusal and the lease")
		}
		relent()
	}
	c.Close()
	close(stop)
	wg.Wait()
	if uses.Load() == 0 || failures.Load() == 0 {
		t.Errorf("%d uses, %d failures", uses.Load(), failures.Load())
	}
}

func TestChangedDataKeyIsRefused(t *testing.T) {
	inBubble(t, datakey.Config{}, func(t *testing.T, c *datakey.Cache, k *service) {
		ref := k.wrapped(1)[0]
		ref.Context = map[string]string{"a": "b"}
		if _, err := c.Open(t.Context(), ref, nothing); kindOf(t, err) != datakey.Corrupt {
			t.Errorf("another context: %v", err)
		}
		short := datakey.Ref{Wrapped: k.encrypted(make([]byte, 16))}
		if _, err := c.Open(t.Context(), short, nothing); kindOf(t, err) != datakey.Corrupt {
			t.Errorf("a data key of 16 bytes: %v", err)
		}
	})
}

func TestConfig(t *testing.T) {
	for want, cfg := range map[string]datakey.Config{
		"": {},
		"lease: 10m0s is longer than max_age 5m0s": {Lease: 10 * time.Minute},
		"max_age: -1s is negative":                 {MaxAge: -time.Second},
		"max_keys: 20000 is not in 0..16384":       {MaxKeys: 20000},
	} {
		got := ""
		if err := cfg.Validate(); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%+v: %q, want %q", cfg, got, want)
		}
	}
}

func BenchmarkPinAcquire(b *testing.B) {
	k := newService(b)
	c := newCache(b, datakey.Config{MaxUses: 1 << 62}, k)
	defer c.Close()
	pin := datakey.NewPin(c, k.wrapped(1)[0], func([]byte) (*int, error) { return new(int), nil })
	b.ReportAllocs()
	for b.Loop() {
		if _, err := pin.Acquire(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpenHit(b *testing.B) {
	k := newService(b)
	c := newCache(b, datakey.Config{MaxUses: 1 << 62}, k)
	defer c.Close()
	ref := k.wrapped(1)[0]
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Open(b.Context(), ref, nothing); err != nil {
			b.Fatal(err)
		}
	}
}
