// SPDX-License-Identifier: Apache-2.0

package envelope

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

// Searchable is the mode of values that carry search tokens in front of a random
// ciphertext: who has the tokens of a text finds the values with that prefix,
// suffix or substring. They show which values share which of them.
const Searchable Mode = 0x04

// Search says of which parts of a text there are tokens, in characters of UTF-8.
// A value carries it, so that values of another Search are told apart ([V13]).
type Search struct {
	Prefix, Suffix byte // longest prefix and suffix, 0 for none
	Min, Max       byte // shortest and longest substring, 0 for none
}

// Token tells the kinds of tokens apart ([V15]).
type Token byte

// Kinds of tokens.
const (
	WholeToken Token = iota
	PrefixToken
	SuffixToken
	SubstringToken
)

// TokenSize is the length of a token.
//
// Two texts have the same token with chance 2^-64, so that a search among values
// with n different parts finds one too many with chance n / 2^64.
const TokenSize = 8

const (
	searchSpec = 4
	// searchHeader is how long a value is before its count of tokens.
	searchHeader = valueHeader + searchSpec
	countSize    = 2

	// MinSearchable is the length of a sealed empty value: it has at least the
	// token of the whole.
	MinSearchable = searchHeader + countSize + TokenSize + epochSize + nonceSize + tagSize
	maxTokens     = 1<<16 - 1
)

// ErrTokens says that a text has more parts than a value can carry tokens of.
var ErrTokens = errors.New("envelope: too many search tokens")

// SearchPrefix is what every value of the mode with these tokens begins with.
func SearchPrefix(s Search) []byte {
	return append(ValuePrefix(Searchable), s.Prefix, s.Suffix, s.Min, s.Max)
}

// searchLength is the length of the tokens of a value with their count. It is not
// ok if the value is too short for them.
func searchLength(value []byte) (n int, ok bool) {
	if len(value) < MinSearchable {
		return 0, false
	}
	count := int(binary.BigEndian.Uint16(value[searchHeader:]))
	n = countSize + count*TokenSize
	return n, count > 0 && len(value)-n >= MinSearchable-countSize-TokenSize
}

// searchKey is the tokens' key beside the keys of random values.
type searchKey struct {
	spec   Search
	tokens []byte
	random *randomKeys
}

// NewSearchCodec derives the keys of a binding whose values carry tokens. dataKey
// is not kept.
func NewSearchCodec(spec Search, dataKey []byte, id uint32, bind Binding) (*Codec, error) {
	if bind.Domain != "" {
		return nil, fmt.Errorf("envelope: searchable values have no domain")
	}
	key, err := expand(dataKey, string(bind.append([]byte(labelSearch))), 2*DataKeySize)
	if err != nil {
		return nil, err
	}
	c := &Codec{mode: Searchable, header: SearchPrefix(spec)}
	c.header = binary.BigEndian.AppendUint32(c.header, id)
	c.aad = bind.append(bytes.Clone(c.header))
	c.search = &searchKey{spec: spec, random: &randomKeys{prk: key[:DataKeySize]}, tokens: key[DataKeySize:]}
	return c, nil
}

// Token is the token of a part of a text. Only a codec of NewSearchCodec has any.
func (c *Codec) Token(kind Token, text []byte) []byte {
	mac := hmac.New(sha256.New, c.search.tokens)
	mac.Write([]byte{byte(kind)})
	mac.Write(text)
	return mac.Sum(nil)[:TokenSize]
}

// parts calls f with every part of a text that has a token ([V15]). The empty
// prefix is one: all values have it.
func (s Search) parts(text []byte, f func(Token, []byte)) {
	f(WholeToken, text)
	f(PrefixToken, nil)
	at := 0
	for k := 0; k < int(s.Prefix) && at < len(text); k++ {
		_, size := utf8.DecodeRune(text[at:])
		at += size
		f(PrefixToken, text[:at])
	}
	at = len(text)
	for k := 0; k < int(s.Suffix) && at > 0; k++ {
		_, size := utf8.DecodeLastRune(text[:at])
		at -= size
		f(SuffixToken, text[at:])
	}
	if s.Min > 0 {
		s.substrings(text, func(part []byte) { f(SubstringToken, part) })
	}
}

func (s Search) substrings(text []byte, f func([]byte)) {
	starts := make([]int, 0, len(text)+1) // of characters, and the end
	for at := 0; at < len(text); {
		starts = append(starts, at)
		_, size := utf8.DecodeRune(text[at:])
		at += size
	}
	starts = append(starts, len(text))
	for k := int(s.Min); k <= int(s.Max); k++ {
		for i := 0; i+k < len(starts); i++ {
			f(text[starts[i]:starts[i+k]])
		}
	}
}

// appendTokens appends the count and the tokens of a text, in order ([V14]).
func (k *searchKey) appendTokens(dst, text []byte) ([]byte, error) {
	if k.spec.Min > 0 && utf8.RuneCount(text) > maxTokens {
		return nil, ErrTokens // however few differ: it bounds the work
	}
	mac := hmac.New(sha256.New, k.tokens)
	seen := make(map[[TokenSize]byte]struct{})
	var sum [sha256.Size]byte
	k.spec.parts(text, func(kind Token, part []byte) {
		if len(seen) > maxTokens {
			return
		}
		mac.Reset()
		mac.Write([]byte{byte(kind)})
		mac.Write(part)
		seen[[TokenSize]byte(mac.Sum(sum[:0]))] = struct{}{}
	})
	if len(seen) > maxTokens {
		return nil, ErrTokens
	}
	tokens := make([][TokenSize]byte, 0, len(seen))
	for t := range seen {
		tokens = append(tokens, t)
	}
	slices.SortFunc(tokens, func(a, b [TokenSize]byte) int { return bytes.Compare(a[:], b[:]) })
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(tokens)))
	for i := range tokens {
		dst = append(dst, tokens[i][:]...)
	}
	return dst, nil
}

func (k *searchKey) seal(dst, plaintext, aad []byte) ([]byte, error) {
	at := len(dst)
	dst, err := k.appendTokens(dst, plaintext)
	if err != nil {
		return nil, err
	}
	return k.random.seal(dst, plaintext, bound(aad, dst[at:]))
}

// open opens a value that ParseValue has found to be long enough.
func (k *searchKey) open(dst, value, aad []byte) ([]byte, error) {
	n, ok := searchLength(value)
	if !ok {
		return nil, ErrOpen
	}
	body := value[searchHeader:]
	return k.random.open(dst, body[n:], bound(aad, body[:n]))
}

// Searchable says that the codec has tokens.
func (c *Codec) Searchable() bool { return c.search != nil }
