// SPDX-License-Identifier: Apache-2.0

package envelope_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/sidekey/sidekey/proxy/envelope"
)

func newSearchCodec(t testing.TB, spec envelope.Search, key []byte) *envelope.Codec {
	t.Helper()
	c, err := envelope.NewSearchCodec(spec, key, 7, column())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// tokensOf cuts the tokens out of a value ([V13]).
func tokensOf(value []byte) map[string]bool {
	out := map[string]bool{}
	n := int(binary.BigEndian.Uint16(value[11:]))
	for i := range n {
		out[string(value[13+8*i:21+8*i])] = true
	}
	return out
}

// [V15]: there is a token of each part, and none of what is no part.
func TestTokens(t *testing.T) {
	spec := envelope.Search{Prefix: 3, Suffix: 2, Min: 2, Max: 3}
	key := random(32)
	c := newSearchCodec(t, spec, key)
	for _, text := range []string{"", "a", "ab", "über", "aaaa", "日本語の", "\xffa"} {
		value, err := c.Seal(nil, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		got := tokensOf(value)
		if mode, id, err := envelope.ParseValue(value); mode != envelope.Searchable || id != 7 || err != nil {
			t.Errorf("%q: parsed as %v, %d, %v", text, mode, id, err)
		}
		if n, ok := envelope.ValueLength(value); n != len(text) || !ok {
			t.Errorf("%q: %d bytes, %v", text, n, ok)
		}
		if back, err := newSearchCodec(t, spec, key).Open(nil, value); err != nil || string(back) != text {
			t.Errorf("%q: opened %q, %v", text, back, err)
		}
		for _, part := range []string{"", "a", "ab", "b", "aa", "aaa", "aaaa", "ü", "üb", "übe", "über", "er", "ber", "r", "日", "日本", "日本語", "語の", "の", "\xff", "\xffa", "\xc3"} {
			n := len([]rune(part))
			for kind, want := range map[envelope.Token]bool{
				envelope.WholeToken:     part == text,
				envelope.PrefixToken:    strings.HasPrefix(text, part) && n <= 3 && part != "\xc3",
				envelope.SuffixToken:    strings.HasSuffix(text, part) && n > 0 && n <= 2,
				envelope.SubstringToken: strings.Contains(text, part) && n >= 2 && n <= 3,
			} {
				if got[string(c.Token(kind, []byte(part)))] != want {
					t.Errorf("%q, token of kind %d of %q: %v, want %v", text, kind, part, !want, want)
				}
			}
		}
	}
}

// Tokens of other keys, columns and tenants have nothing in common.
func TestTokensAreOfTheirBinding(t *testing.T) {
	spec, key := envelope.Search{Prefix: 4}, random(32)
	other := column()
	other.Tenant = "t1"
	tenant, err := envelope.NewSearchCodec(spec, key, 7, other)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, c := range []*envelope.Codec{newSearchCodec(t, spec, key), tenant, newSearchCodec(t, spec, random(32))} {
		for kind := range envelope.Token(4) {
			token := string(c.Token(kind, []byte("abc")))
			if seen[token] || len(token) != envelope.TokenSize {
				t.Errorf("token %x", token)
			}
			seen[token] = true
		}
	}
}

// [V14]: more tokens than can be counted are an error, and not left out.
func TestTooManyTokens(t *testing.T) {
	c := newSearchCodec(t, envelope.Search{Min: 8, Max: 9}, random(32))
	if _, err := c.Seal(nil, random(70_000)); !errors.Is(err, envelope.ErrTokens) {
		t.Errorf("70000 bytes: %v, want ErrTokens", err)
	}
	if _, err := c.Seal(nil, bytes.Repeat([]byte("a"), 70_000)); !errors.Is(err, envelope.ErrTokens) {
		t.Errorf("70000 equal characters: %v, want ErrTokens", err)
	}
	if _, err := newSearchCodec(t, envelope.Search{Prefix: 8, Suffix: 8}, random(32)).Seal(nil, random(70_000)); err != nil {
		t.Error(err)
	}
	if _, err := c.Seal(nil, random(30_000)); err != nil {
		t.Error(err)
	}
}

func TestEveryChangedByteOfSearchableIsRefused(t *testing.T) {
	key := random(32)
	c := newSearchCodec(t, envelope.Search{Prefix: 2}, key)
	v, _ := c.Seal(nil, []byte("a value"))
	for i := range v {
		altered := bytes.Clone(v)
		altered[i] ^= 1
		if got, err := c.Open(nil, altered); err == nil || got != nil {
			t.Errorf("byte %d: %q", i, got)
		}
	}
	if _, err := newSearchCodec(t, envelope.Search{Prefix: 3}, key).Open(nil, v); !errors.Is(err, envelope.ErrOpen) {
		t.Errorf("opened by a column with other tokens: %v", err)
	}
	if _, err := envelope.NewSearchCodec(envelope.Search{}, key, 1, envelope.Binding{Domain: "d"}); err == nil {
		t.Error("a searchable codec of a domain")
	}
}

func FuzzOpenSearchable(f *testing.F) {
	for _, v := range loadVectors(f) {
		if v.Mode == int(envelope.Searchable) {
			f.Add([]byte(v.Value))
		}
	}
	c := newSearchCodec(f, envelope.Search{Prefix: 8, Min: 3, Max: 6}, make([]byte, 32))
	f.Fuzz(func(t *testing.T, value []byte) {
		if _, err := c.Open(nil, value); err == nil || result(err) != "refused" && result(err) != "malformed" {
			t.Fatalf("%v", err)
		}
	})
}
