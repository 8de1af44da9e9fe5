// SPDX-License-Identifier: Apache-2.0

package memkey_test

import (
	"bytes"
	"crypto/aes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/sidekey/sidekey/keysvc/memkey"
)

// wrapKWP is the wrapping of RFC 5649 section 4.1, written from the RFC to
// compare with.
func wrapKWP(t testing.TB, kek, key []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(kek)
	if err != nil {
		t.Fatal(err)
	}
	out := binary.BigEndian.AppendUint32([]byte{0xa6, 0x59, 0x59, 0xa6}, uint32(len(key)))
	out = append(out, key...)
	out = append(out, make([]byte, (8-len(key)%8)%8)...)
	if len(out) == 16 {
		block.Encrypt(out, out)
		return out
	}
	return wrapKW(t, kek, out)
}

// wrapKW is RFC 3394 section 2.2.1; the first 8 bytes of in are the initial value.
func wrapKW(t testing.TB, kek, in []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(kek)
	if err != nil {
		t.Fatal(err)
	}
	out, n := bytes.Clone(in), len(in)/8-1
	var b [16]byte
	copy(b[:8], out)
	for step := 1; step <= 6*n; step++ {
		r := out[8*((step-1)%n+1):][:8]
		copy(b[8:], r)
		block.Encrypt(b[:], b[:])
		copy(r, b[8:])
		binary.BigEndian.PutUint64(b[:8], binary.BigEndian.Uint64(b[:8])^uint64(step))
	}
	copy(out, b[:8])
	return out
}

// The two examples of RFC 5649 section 6, for the reference itself: their KEK
// has 24 bytes, which AWS KMS has no use for.
func TestReferenceWrap(t *testing.T) {
	kek := unhex(t, "5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8")
	for key, want := range map[string]string{
		"c37b7e6492584340bed12207808941155068f738": "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a",
		"466f7250617369": "afbeb0f07dfbf5419200f2ccb50bb24f",
	} {
		if got := wrapKWP(t, kek, unhex(t, key)); !bytes.Equal(got, unhex(t, want)) {
			t.Errorf("%s wraps to %x, want %s", key, got, want)
		}
	}
}

func TestUnwrapAESKWP(t *testing.T) {
	for _, size := range []int{16, 32} {
		kek := make([]byte, size)
		rand.Read(kek)
		for _, length := range []int{16, 17, 23, 24, 28, 32, 48, 64, 121, 1218, 2375, 8192} {
			key := make([]byte, length)
			rand.Read(key)
			wrapped := wrapKWP(t, kek, key)
			if got, err := memkey.UnwrapAESKWP(kek, wrapped); err != nil || !bytes.Equal(got, key) {
				t.Fatalf("KEK of %d, key of %d bytes: %x, %v", size, length, got, err)
			}
			for name, bad := range map[string][]byte{
				"a bit":      append([]byte{wrapped[0] ^ 1}, wrapped[1:]...),
				"truncated":  wrapped[:len(wrapped)-8],
				"one less":   wrapped[:len(wrapped)-1],
				"extended":   append(bytes.Clone(wrapped), make([]byte, 8)...),
				"no padding": wrapKW(t, kek, append(bytes.Repeat([]byte{0xa6}, 8), make([]byte, (length+7)/8*8)...)),
			} {
				if got, err := memkey.UnwrapAESKWP(kek, bad); !errors.Is(err, memkey.ErrUnwrap) {
					t.Errorf("%s, key of %d: got %x, %v", name, length, got, err)
				}
			}
		}
	}
}

// The integrity check is of all of the initial value and padding. RFC 5649
// section 3.
func TestUnwrapChecksTheInitialValue(t *testing.T) {
	kek := bytes.Repeat([]byte{1}, 32)
	good := append([]byte{0xa6, 0x59, 0x59, 0xa6, 0, 0, 0, 20}, make([]byte, 24)...)
	for i := range 20 {
		good[8+i] = 7
	}
	if _, err := memkey.UnwrapAESKWP(kek, wrapKW(t, kek, good)); err != nil {
		t.Fatalf("the unchanged one: %v", err)
	}
	for name, change := range map[string]func(b []byte){
		"constant":        func(b []byte) { b[3] = 0xa7 },
		"length 16":       func(b []byte) { b[7] = 16 },
		"length 19":       func(b []byte) { b[27], b[7] = 7, 19 },
		"length 25":       func(b []byte) { b[7] = 25 },
		"length 2^31+20":  func(b []byte) { b[4] = 0x80 },
		"length 2^32-4":   func(b []byte) { copy(b[4:], []byte{255, 255, 255, 252}) },
		"padding, first":  func(b []byte) { b[28] = 1 },
		"padding, last":   func(b []byte) { b[31] = 1 },
		"length 0":        func(b []byte) { b[7] = 0 },
		"of RFC 3394":     func(b []byte) { copy(b, bytes.Repeat([]byte{0xa6}, 8)) },
		"constant is old": func(b []byte) { copy(b, []byte{0xa6, 0xa6, 0xa6, 0xa6}) },
	} {
		bad := bytes.Clone(good)
		change(bad)
		if got, err := memkey.UnwrapAESKWP(kek, wrapKW(t, kek, bad)); !errors.Is(err, memkey.ErrUnwrap) {
			t.Errorf("%s: got %x, %v", name, got, err)
		}
	}
	for _, size := range []int{0, 8, 15, 24, 33} {
		if _, err := memkey.UnwrapAESKWP(make([]byte, size), make([]byte, 32)); !errors.Is(err, memkey.ErrUnwrap) {
			t.Errorf("KEK of %d bytes: %v", size, err)
		}
	}
}
