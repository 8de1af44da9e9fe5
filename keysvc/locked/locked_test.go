// SPDX-License-Identifier: Apache-2.0

package locked_test

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sidekey/sidekey/keysvc/locked"
)

func put(t *testing.T, a *locked.Arena, n int, fill byte) *locked.Secret {
	t.Helper()
	s, err := a.Put(bytes.Repeat([]byte{fill}, n))
	if err != nil {
		t.Fatalf("Put of %d bytes: %v", n, err)
	}
	return s
}

func TestPutCopiesAndClears(t *testing.T) {
	a := locked.New(nil)
	defer a.Close()
	for _, n := range []int{1, 31, 32, 33, 54, 1218, 4096, 4097, locked.MaxSize} {
		original := bytes.Repeat([]byte{7}, n)
		s, err := a.Put(original)
		if err != nil {
			t.Fatalf("Put of %d bytes: %v", n, err)
		}
		if want := bytes.Repeat([]byte{7}, n); !bytes.Equal(s.Bytes(), want) || cap(s.Bytes()) != n {
			t.Errorf("a secret of %d bytes reads %d, cap %d", n, len(s.Bytes()), cap(s.Bytes()))
		}
		if !bytes.Equal(original, make([]byte, n)) {
			t.Errorf("the original of %d bytes is not cleared", n)
		}
		defer s.Wipe()
	}
}

func TestRefusals(t *testing.T) {
	closed := locked.New(nil)
	closed.Close()
	for _, test := range []struct {
		name  string
		arena *locked.Arena
		size  int
		want  error
	}{
		{"empty", locked.New(nil), 0, locked.ErrSize},
		{"long", locked.New(nil), locked.MaxSize + 1, locked.ErrSize},
		{"closed", closed, 32, locked.ErrClosed},
	} {
		secret := bytes.Repeat([]byte{1}, test.size)
		if _, err := test.arena.Put(secret); !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, err, test.want)
		}
		if !bytes.Equal(secret, make([]byte, test.size)) {
			t.Errorf("%s: the original is not cleared", test.name)
		}
	}
}

func TestWipeZeroesAndIsIdempotent(t *testing.T) {
	a := locked.New(nil)
	keeper := put(t, a, 100, 9)
	s := put(t, a, 100, 5)
	place := s.Bytes()
	s.Wipe()
	s.Wipe()
	if s.Bytes() != nil || !bytes.Equal(place, make([]byte, 100)) {
		t.Errorf("after Wipe: %v, place %v", s.Bytes(), place)
	}
	first, second := put(t, a, 100, 1), put(t, a, 100, 2)
	if &first.Bytes()[0] == &second.Bytes()[0] {
		t.Error("two secrets have one place after a second Wipe")
	}
	a.Close()
	if keeper.Bytes()[99] != 9 || first.Bytes()[0] != 1 {
		t.Error("Close took a secret that is in use")
	}
	for _, s := range []*locked.Secret{keeper, first, second} {
		s.Wipe()
	}
}

// mapping is what /proc/self/smaps says of an address.
func mapping(t *testing.T, address uintptr) string {
	t.Helper()
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	header := regexp.MustCompile(`(?m)^([0-9a-f]+)-([0-9a-f]+) `)
	starts := header.FindAllStringSubmatchIndex(string(smaps), -1)
	for i, at := range starts {
		low, _ := strconv.ParseUint(string(smaps[at[2]:at[3]]), 16, 64)
		high, _ := strconv.ParseUint(string(smaps[at[4]:at[5]]), 16, 64)
		if uint64(address) < low || uint64(address) >= high {
			continue
		}
		end := len(smaps)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		return string(smaps[at[0]:end])
	}
	return ""
}

// The kernel's word for it: lo is locked, dd is not dumped, dc is not copied on
// fork.
func TestMemoryIsProtected(t *testing.T) {
	a := locked.NewStrict()
	defer a.Close()
	if !a.Locked() {
		t.Fatal("Locked: false")
	}
	for _, size := range []int{32, 3000, locked.MaxSize} {
		s := put(t, a, size, 1)
		entry := mapping(t, address(s))
		_, flags, _ := strings.Cut(entry, "VmFlags:")
		for _, flag := range []string{" lo ", " dd ", " dc "} {
			if !strings.Contains(flags+" ", flag) {
				t.Errorf("size %d: no flag%s in %q", size, flag, entry)
			}
		}
		s.Wipe()
	}
}

func address(s *locked.Secret) uintptr { return uintptr(unsafe.Pointer(&s.Bytes()[0])) }

func TestGuardPages(t *testing.T) {
	a := locked.New(nil)
	defer a.Close()
	s := put(t, a, locked.MaxSize, 1) // a block of its own
	defer s.Wipe()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	for _, offset := range []int{-1, locked.MaxSize} {
		if !faults(unsafe.Add(unsafe.Pointer(&s.Bytes()[0]), offset)) {
			t.Errorf("the byte at %d can be read", offset)
		}
	}
	if faults(unsafe.Pointer(&s.Bytes()[locked.MaxSize-1])) {
		t.Error("the last byte of the secret cannot be read")
	}
}

var sink byte

func faults(p unsafe.Pointer) (faulted bool) {
	defer func() { faulted = recover() != nil }()
	sink = *(*byte)(p)
	return false
}

// limited runs f where this process may lock limit bytes, without the privilege
// to exceed that.
func limited(t *testing.T, limit uint64, f func()) {
	t.Helper()
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &was); err != nil {
		t.Fatal(err)
	}
	now := was
	now.Cur = limit
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &now); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_MEMLOCK, &was)
	var wg sync.WaitGroup
	wg.Go(func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its lost privilege
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			t.Error(err)
			return
		}
		f()
	})
	wg.Wait()
}

// With the 64 KiB that containers have, secrets of every size are locked, and
// when one size has used all, what it leaves serves the others.
func TestSmallLimit(t *testing.T) {
	limited(t, 64<<10, func() {
		a := locked.NewStrict()
		defer a.Close()
		var secrets []*locked.Secret
		for size := 32; size <= 4096; size *= 2 {
			secrets = append(secrets, put(t, a, size, 1))
		}
		var err error
		for err == nil {
			var s *locked.Secret
			if s, err = a.Put(make([]byte, 256)); err == nil {
				secrets = append(secrets, s)
			}
		}
		if !errors.Is(err, locked.ErrNotLocked) {
			t.Errorf("past the limit: got %v, want %v", err, locked.ErrNotLocked)
		}
		for _, s := range secrets {
			s.Wipe()
		}
		put(t, a, locked.MaxSize, 1).Wipe()
		for range 12 {
			s := put(t, a, 4000, 1)
			defer s.Wipe()
		}
	})
}

func TestNothingCanBeLocked(t *testing.T) {
	limited(t, 0, func() {
		var out bytes.Buffer
		lenient := locked.New(slog.New(slog.NewTextHandler(&out, nil)))
		defer lenient.Close()
		if lenient.Locked() {
			t.Error("Locked: true")
		}
		for range 200 {
			s := put(t, lenient, 1000, 3)
			defer s.Wipe()
		}
		if n := strings.Count(out.String(), "may be swapped"); n != 1 {
			t.Errorf("%d warnings, want 1", n)
		}
		strict := locked.NewStrict()
		defer strict.Close()
		secret := []byte("secret")
		if _, err := strict.Put(secret); !errors.Is(err, locked.ErrNotLocked) || strict.Locked() {
			t.Errorf("strict: got %v, Locked %v", err, strict.Locked())
		}
		if !bytes.Equal(secret, make([]byte, 6)) {
			t.Error("strict: the original is not cleared")
		}
	})
}

func TestTotalIsBounded(t *testing.T) {
	a := locked.New(nil)
	defer a.Close()
	var secrets []*locked.Secret
	var err error
	for err == nil {
		var s *locked.Secret
		if s, err = a.Put(make([]byte, locked.MaxSize)); err == nil {
			secrets = append(secrets, s)
		}
	}
	if n := len(secrets); !errors.Is(err, locked.ErrFull) || n < 2000 || n > 2048 {
		t.Errorf("%d secrets, then %v", n, err)
	}
	for _, s := range secrets {
		s.Wipe()
	}
	put(t, a, 32, 1).Wipe() // another size, from what was freed
}

func TestConcurrentUse(t *testing.T) {
	a := locked.New(nil)
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			var held []*locked.Secret
			for i := range 400 {
				size := 1 + (i*37+worker*1001)%locked.MaxSize
				held = append(held, put(t, a, size, byte(worker+1)))
				if i%3 != 0 {
					s := held[0]
					held = held[1:]
					if !bytes.Equal(s.Bytes(), bytes.Repeat([]byte{byte(worker + 1)}, len(s.Bytes()))) {
						t.Error("a secret has another's bytes")
					}
					s.Wipe()
				}
			}
			for _, s := range held {
				s.Wipe()
			}
		})
	}
	wg.Wait()
	a.Close()
}

func BenchmarkPutWipe(b *testing.B) {
	a := locked.New(nil)
	defer a.Close()
	secret := make([]byte, 32)
	for b.Loop() {
		s, err := a.Put(secret)
		if err != nil {
			b.Fatal(err)
		}
		s.Wipe()
	}
}
