// SPDX-License-Identifier: Apache-2.0

package envelope_test

import (
	"bytes"
	"errors"
	"sync"
	"testing"

	"github.com/sidekey/sidekey/proxy/envelope"
)

func column() envelope.Binding {
	return envelope.Binding{Table: "public.users", Column: "email", Type: "text"}
}

func newCodec(t testing.TB, mode envelope.Mode, key []byte) *envelope.Codec {
	t.Helper()
	c, err := envelope.NewCodec(mode, key, 7, column())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestValues(t *testing.T) {
	key := random(32)
	for _, mode := range []envelope.Mode{envelope.Random, envelope.Equality, envelope.Range} {
		a, b := newCodec(t, mode, key), newCodec(t, mode, key)
		for _, n := range []int{0, 1, 15, 16, 17, 32, 1000, 100_000} {
			if mode == envelope.Range && n > envelope.MaxRange {
				continue
			}
			plain := random(n)
			sealed, err := a.Seal([]byte("before"), plain)
			if err != nil {
				t.Fatal(err)
			}
			value := sealed[len("before"):]
			if !bytes.HasPrefix(sealed, []byte("before")) || plainLength(mode, value) != n ||
				!bytes.HasPrefix(value, envelope.ValuePrefix(mode)) {
				t.Fatalf("%x", sealed)
			}
			if m, id, err := envelope.ParseValue(value); m != mode || id != 7 || err != nil {
				t.Errorf("parsed as %v, %d, %v", m, id, err)
			}
			got, err := b.Open([]byte("before"), value)
			if err != nil || !bytes.Equal(got, append([]byte("before"), plain...)) {
				t.Errorf("mode %d, %d bytes: %v", mode, n, err)
			}
		}
	}
}

func plainLength(mode envelope.Mode, value []byte) int {
	n, ok := envelope.PlainLength(mode, len(value))
	if !ok {
		return -1
	}
	return n
}

// [V6]: each sealer has its own epoch, and each value its own nonce.
func TestRandomValuesNeverRepeat(t *testing.T) {
	key, seen := random(32), map[string]bool{}
	epochs := map[string]bool{}
	for range 4 {
		c := newCodec(t, envelope.Random, key)
		for range 100 {
			v, err := c.Seal(nil, []byte("same"))
			if err != nil || seen[string(v[7:31])] {
				t.Fatalf("%x, %v", v, err)
			}
			seen[string(v[7:31])] = true
			epochs[string(v[7:19])] = true
		}
	}
	if len(epochs) != 4 {
		t.Errorf("%d epochs by 4 sealers", len(epochs))
	}
}

// [V6]: an epoch ends after 2^20 values.
func TestEpochsEnd(t *testing.T) {
	c := newCodec(t, envelope.Random, random(32))
	counts, buf := map[string]int{}, make([]byte, 0, 64)
	for range 1<<20 + 1<<10 {
		v, err := c.Seal(buf, nil)
		if err != nil {
			t.Fatal(err)
		}
		counts[string(v[7:19])]++
	}
	if len(counts) != 2 {
		t.Fatalf("%d epochs, want 2", len(counts))
	}
	for salt, n := range counts {
		if n != 1<<20 && n != 1<<10 {
			t.Errorf("epoch %x has %d values", salt, n)
		}
	}
}

func TestManyEpochsOpen(t *testing.T) {
	key := random(32)
	opener := newCodec(t, envelope.Random, key)
	var values [][]byte
	for range 600 { // more than an opener keeps
		v, err := newCodec(t, envelope.Random, key).Seal(nil, []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, v)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for _, v := range values {
				if got, err := opener.Open(nil, v); err != nil || string(got) != "x" {
					t.Errorf("%q, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestConcurrentSealing(t *testing.T) {
	c := newCodec(t, envelope.Random, random(32))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				v, err := c.Seal(nil, []byte("x"))
				if err != nil {
					t.Error(err)
				} else if _, err = c.Open(nil, v); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestEveryChangedByteIsRefused(t *testing.T) {
	for _, mode := range []envelope.Mode{envelope.Random, envelope.Equality, envelope.Range} {
		c := newCodec(t, mode, random(32))
		v, _ := c.Seal(nil, []byte("a value"))
		for i := range v {
			altered := bytes.Clone(v)
			altered[i] ^= 1
			if got, err := c.Open(nil, altered); err == nil || got != nil {
				t.Errorf("mode %d, byte %d: %q", mode, i, got)
			} else if i >= 3 && !errors.Is(err, envelope.ErrOpen) {
				t.Errorf("mode %d, byte %d: %v", mode, i, err)
			}
		}
	}
}

// [V4]: random values have no domain.
func TestRandomHasNoDomain(t *testing.T) {
	if _, err := envelope.NewCodec(envelope.Random, random(32), 1, envelope.Binding{Domain: "d"}); err == nil {
		t.Error("a random codec of a domain")
	}
	if _, err := envelope.NewCodec(4, random(32), 1, column()); err == nil {
		t.Error("a codec of mode 4")
	}
}

func TestOpenDoesNotAllocate(t *testing.T) {
	c := newCodec(t, envelope.Random, random(32))
	v, _ := c.Seal(nil, random(32))
	dst := make([]byte, 0, 64)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := c.Open(dst, v); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations per open", n)
	}
}
