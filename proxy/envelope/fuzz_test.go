// SPDX-License-Identifier: Apache-2.0

package envelope_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/sidekey/sidekey/proxy/envelope"
)

// Whatever parses is written back as the same bytes ([H1]).
func FuzzParseHeader(f *testing.F) {
	for _, v := range loadVectors(f) {
		f.Add(v.Header)
	}
	key := make([]byte, 32)
	f.Fuzz(func(t *testing.T, s string) {
		h, err := envelope.ParseHeader(s)
		if err != nil {
			if result(err) != "malformed" {
				t.Fatalf("%v", err)
			}
			return
		}
		if h.String() != s {
			t.Fatalf("%q is written as %q", s, h.String())
		}
		if _, _, err := h.Open(key, "b", "k"); result(err) != "refused" {
			t.Fatalf("opened: %v", err)
		}
	})
}

// Nothing but what was sealed opens.
func FuzzOpenValue(f *testing.F) {
	for _, v := range loadVectors(f) {
		f.Add([]byte(v.Value))
	}
	key := make([]byte, 32)
	random := newCodec(f, envelope.Random, key)
	deterministic := []*envelope.Codec{newCodec(f, envelope.Equality, key), newCodec(f, envelope.Range, key)}
	f.Fuzz(func(t *testing.T, value []byte) {
		mode, _, err := envelope.ParseValue(value)
		if err == nil && len(value) < envelope.MinValue(mode) {
			t.Fatalf("a value of %d bytes", len(value))
		}
		if _, err := random.Open(nil, value); err == nil {
			t.Fatal("opened")
		}
		for _, c := range deterministic {
			if plain, err := c.Open(nil, value); err == nil {
				if again, _ := c.Seal(nil, plain); !bytes.Equal(again, value) {
					t.Fatal("two values of one plaintext")
				}
			}
		}
	})
}

// A body that is not the sealed one opens to a prefix of whole chunks at most,
// and its length is a function of the plaintext's.
func FuzzOpenMessage(f *testing.F) {
	m, err := envelope.NewMessage(make([]byte, 32), [24]byte{}, nil)
	if err != nil {
		f.Fatal(err)
	}
	plain := bytes.Repeat([]byte{7}, 16384+5)
	sealed, err := io.ReadAll(m.Seal(bytes.NewReader(plain)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed, int64(0), int64(3), int64(len(plain)))
	f.Add(sealed[56:], int64(16380), int64(30), int64(len(plain)))
	f.Add(sealed[:56+16400], int64(-1), int64(0), int64(0))
	f.Fuzz(func(t *testing.T, body []byte, off, n, size int64) {
		got, err := io.ReadAll(m.Open(bytes.NewReader(body)))
		if (err == nil) != bytes.Equal(body, sealed) || !bytes.HasPrefix(plain, got) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		got, _ = io.ReadAll(m.OpenRange(bytes.NewReader(body), off, n, size))
		if off >= 0 && off < int64(len(plain)) && !bytes.HasPrefix(plain[off:], got) {
			t.Fatalf("range %d+%d of %d: %d bytes", off, n, size, len(got))
		}
		if p, err := envelope.PlainSize(size); err == nil && envelope.SealedSize(p) != size {
			t.Fatalf("size %d", size)
		}
	})
}
