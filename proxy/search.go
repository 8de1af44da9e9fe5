// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"errors"
	"fmt"

	"github.com/sidekey/sidekey/proxy/envelope"
)

// Search says by which parts the values of a column can be found, in characters.
// Every value carries a keyed hash of 8 bytes of itself and of each part.
type Search struct {
	// Prefix is the most characters of a prefix, at most 64: LIKE 'abc%'. 0 is none.
	Prefix int `yaml:"prefix"`

	// Suffix is the most characters of a suffix, at most 64: LIKE '%abc'. 0 is none.
	Suffix int `yaml:"suffix"`

	// Substring is what is found anywhere in a value: LIKE '%abc%'. It shows more
	// than the others, and has the most hashes.
	Substring Substring `yaml:"substring"`
}

// Substring is how many characters a part has that LIKE '%abc%' finds; two zeros
// are none. Max is at most 16, and a value has a hash for each length between them
// and nearly each character.
// A value of more than 65535 characters is refused then.
type Substring struct {
	Min int `yaml:"min"`
	Max int `yaml:"max"`
}

// Most characters of parts.
const (
	maxAffix     = 64
	maxSubstring = 16
)

// ErrTokens says that a value has more parts than can be searched.
var ErrTokens = envelope.ErrTokens

// TokenKind is the kind of a part.
type TokenKind = envelope.Token

// Kinds of parts.
const (
	WholeToken     = envelope.WholeToken
	PrefixToken    = envelope.PrefixToken
	SuffixToken    = envelope.SuffixToken
	SubstringToken = envelope.SubstringToken
)

func (s *Search) lengths() envelope.Search {
	return envelope.Search{Prefix: byte(s.Prefix), Suffix: byte(s.Suffix), Min: byte(s.Substring.Min), Max: byte(s.Substring.Max)}
}

func (r *ColumnRule) validateSearch(t Type) error {
	s := r.Search
	switch {
	case s == nil:
		return nil
	case r.mode() != ModeRandom:
		return fmt.Errorf("only values of mode %s can be searched; this one is %s", ModeRandom, r.mode())
	case t.Array || t.Name != "text" && t.Name != "varchar":
		return fmt.Errorf("only text and varchar can be searched, and not %s", t)
	case s.Prefix < 0 || s.Prefix > maxAffix:
		return fmt.Errorf("prefix: %d is not between 0 and %d", s.Prefix, maxAffix)
	case s.Suffix < 0 || s.Suffix > maxAffix:
		return fmt.Errorf("suffix: %d is not between 0 and %d", s.Suffix, maxAffix)
	}
	if b := s.Substring; b != (Substring{}) && (b.Min < 1 || b.Max < b.Min || b.Max > maxSubstring) {
		return fmt.Errorf("substring: %d to %d is not a range between 1 and %d", b.Min, b.Max, maxSubstring)
	}
	return nil
}

var errNoTokens = errors.New("proxy: the column's values have no search tokens")

// Tokens are those of a part under each data key of the column: a value that has
// the part has one of them.
func (l *ColumnLease) Tokens(kind TokenKind, part []byte) ([][]byte, error) {
	tokens := make([][]byte, 0, len(l.keys))
	for i := range l.keys {
		k := &l.keys[i]
		if !k.codec.Valid() {
			return nil, errEnded()
		}
		if !k.codec.Value.Searchable() {
			return nil, errNoTokens
		}
		tokens = append(tokens, k.codec.Value.Token(kind, part))
	}
	return tokens, nil
}
