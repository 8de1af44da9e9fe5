// SPDX-License-Identifier: Apache-2.0

package s3ec_test

import (
	"bytes"
	"crypto/aes"
	"crypto/hkdf"
	"crypto/sha512"
	"encoding/binary"
	"encoding/json"
	"testing"

	"github.com/sidekey/sidekey/proxy/s3ec"
)

// element is one of GCM's field: bit 0 is the highest of high.
type element struct{ high, low uint64 }

func elementOf(b []byte) element {
	return element{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
}

func (e element) bytes() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, e.high), e.low)
}

func (e element) plus(o element) element { return element{e.high ^ o.high, e.low ^ o.low} }

func (e element) times(o element) (product element) {
	for range 128 {
		if e.high>>63 == 1 {
			product = product.plus(o)
		}
		e.high, e.low = e.high<<1|e.low>>63, e.low<<1
		reduce := o.low & 1
		o.low, o.high = o.low>>1|o.high<<63, o.high>>1
		o.high ^= reduce * 0xe1 << 56
	}
	return product
}

// inverse is e to the power of 2^128-2.
func (e element) inverse() element {
	result, square := element{high: 1 << 63}, e
	for range 127 {
		square = square.times(square)
		result = result.times(square)
	}
	return result
}

// side is one of the two keys of a salamander.
type side struct{ hash, mask element }

func newSide(t testing.TB, key, nonce []byte) side {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	var hash, mask [16]byte
	block.Encrypt(hash[:], hash[:])
	block.Encrypt(mask[:], append(append([]byte{}, nonce...), 0, 0, 0, 1))
	return side{elementOf(hash[:]), elementOf(mask[:])}
}

// tag is GCM's of whole blocks.
func (s side) tag(additional string, blocks ...element) element {
	var y element
	if additional != "" {
		padded := make([]byte, 16)
		copy(padded, additional)
		y = elementOf(padded).times(s.hash)
	}
	for _, block := range blocks {
		y = y.plus(block).times(s.hash)
	}
	lengths := element{8 * uint64(len(additional)), 128 * uint64(len(blocks))}
	return y.plus(lengths).times(s.hash).plus(s.mask)
}

// salamander is one sealed object that has a valid tag under two keys. Its last
// block is what makes the two tags equal.
func salamander(t testing.TB, one, other, nonce []byte, additional string) []byte {
	t.Helper()
	a, b := newSide(t, one, nonce), newSide(t, other, nonce)
	first := elementOf(content(16))
	apart := a.tag(additional, first, element{}).plus(b.tag(additional, first, element{}))
	weights := a.hash.times(a.hash).plus(b.hash.times(b.hash))
	last := apart.times(weights.inverse())
	sealed := append(first.bytes(), last.bytes()...)
	return append(sealed, a.tag(additional, first, last).bytes()...)
}

// In V2 an instruction file with another key gives the same bytes another
// meaning, and nothing in the format could tell: a caller that does not want
// that asks for Committed. In V3 the other key is refused.
func TestSalamanders(t *testing.T) {
	one, other := random(32), random(32)
	v2 := sealV2(t, one, random(60), nil)
	delete(v2.metadata, "x-amz-unencrypted-content-length")
	file, err := json.Marshal(v2.metadata)
	if err != nil {
		t.Fatal(err)
	}
	text := string(file)
	envelope, err := parse(nil, &text)
	if err != nil {
		t.Fatal(err)
	}
	iv := decoded(t, v2.metadata["x-amz-iv"])
	sealed := salamander(t, one, other, iv, "")
	first, err := open(t, envelope, one, sealed)
	second, errSecond := open(t, envelope, other, sealed)
	if err != nil || errSecond != nil || bytes.Equal(first, second) {
		t.Fatalf("not a salamander: %x, %v and %x, %v", first, err, second, errSecond)
	}
	if envelope.Committed() || !envelope.Instructed {
		t.Error("a caller cannot tell this envelope from a committed one")
	}

	v3 := sealV3(t, one, random(60), nil, nil)
	if envelope, err = parse(v3.metadata, nil); err != nil {
		t.Fatal(err)
	}
	derive := func(key []byte) []byte {
		derived, err := hkdf.Key(sha512.New, key, decoded(t, v3.metadata["x-amz-i"]), "\x00\x73DERIVEKEY", 32)
		if err != nil {
			t.Fatal(err)
		}
		return derived
	}
	sealed = salamander(t, derive(one), derive(other), bytes.Repeat([]byte{1}, 12), "\x00\x73")
	if _, err := open(t, envelope, one, sealed); err != nil {
		t.Fatalf("not a salamander: %v", err)
	}
	if got, err := open(t, envelope, other, sealed); err != s3ec.ErrOpen {
		t.Errorf("the other key: got %x, %v, want ErrOpen", got, err)
	}
}
