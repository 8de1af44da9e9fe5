// SPDX-License-Identifier: Apache-2.0

package envelope_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/sidekey/sidekey/proxy/envelope"
)

// [V8]: sealed values compare as their plaintexts do, whatever the lengths.
func TestRangeValuesKeepTheOrder(t *testing.T) {
	c := newCodec(t, envelope.Range, random(32))
	var plains [][]byte
	for i := range 400 {
		p := random(i % 12)
		for j := range p { // few values, so that many share prefixes
			p[j] %= 3
		}
		plains = append(plains, p, append(bytes.Clone(p), 0), append(bytes.Clone(p), 0xff), binary.BigEndian.AppendUint64(nil, rand.Uint64N(300)))
	}
	var values [][]byte
	for _, p := range plains {
		v, err := c.Seal(nil, p)
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, v)
	}
	for i := range plains {
		for j := range i {
			if got, want := bytes.Compare(values[i], values[j]), bytes.Compare(plains[i], plains[j]); got != want {
				t.Fatalf("%x and %x compare as %d, want %d", plains[i], plains[j], got, want)
			}
		}
	}
}

// [V9]: the longest value that is compared with opens, and none is longer.
func TestRangeValuesAreBounded(t *testing.T) {
	c := newCodec(t, envelope.Range, random(32))
	v, err := c.Seal(nil, make([]byte, envelope.MaxRange+1))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.Open(nil, v); err != nil || len(got) != envelope.MaxRange+1 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := c.Seal(nil, make([]byte, envelope.MaxRange+2)); err == nil {
		t.Error("a value of more bytes")
	}
	stored, err := c.Seal(nil, make([]byte, envelope.MaxRange))
	if err != nil || len(stored) != 2685 {
		t.Errorf("the longest value has %d bytes, want 2685; %v", len(stored), err)
	}
}

// [V10] [V11] [V12]: a digit depends on the bits before it and on nothing else, and
// digits of different prefixes are unlike.
func TestRangeDigits(t *testing.T) {
	c := newCodec(t, envelope.Range, random(32))
	digits := func(p ...byte) []byte {
		v, err := c.Seal(nil, p)
		if err != nil {
			t.Fatal(err)
		}
		return v[7 : 7+18*len(p)+2]
	}
	a, b := digits(0x12, 0x34, 0x56), digits(0x12, 0x30, 0x56)
	// 0x34 and 0x30 differ in bit 5 of the byte, behind 9 + 1 + 5 other bits.
	const first = 2 * (9 + 1 + 5)
	if !bytes.Equal(a[:first], b[:first]) {
		t.Error("digits of the same bits differ")
	}
	if d := int(binary.BigEndian.Uint16(a[first:])) - int(binary.BigEndian.Uint16(b[first:])); d != 1 {
		t.Errorf("the digits of a 1 and a 0 differ by %d, want 1", d)
	}
	same := 0
	for i := first + 2; i < len(a); i += 2 {
		if bytes.Equal(a[i:i+2], b[i:i+2]) {
			same++
		}
	}
	if same > 2 {
		t.Errorf("%d digits of different prefixes are the same", same)
	}
}

// Digits are spread over their range: the bit is shown by the extremes alone.
func TestRangeDigitsAreSpread(t *testing.T) {
	var low, high, n int
	for range 40 {
		c := newCodec(t, envelope.Range, random(32))
		v, err := c.Seal(nil, random(envelope.MaxRange))
		if err != nil {
			t.Fatal(err)
		}
		for d := v[7 : 7+18*envelope.MaxRange+2]; len(d) > 0; d = d[2:] {
			n++
			switch u := binary.BigEndian.Uint16(d); {
			case u > 1<<15:
				t.Fatalf("a digit %d", u)
			case u < 1<<13:
				low++
			case u >= 3<<13:
				high++
			}
		}
	}
	// A quarter each, of 50440; the deviation is 97.
	for _, got := range []int{low, high} {
		if want := n / 4; got < want-800 || got > want+800 {
			t.Errorf("%d digits of %d in a quarter of their range", got, n)
		}
	}
}

// FuzzRangeOrder compares pairs of sealed values with their plaintexts.
func FuzzRangeOrder(f *testing.F) {
	f.Add([]byte("a"), []byte("ab"))
	f.Add([]byte{0x7f, 0xff}, []byte{0x80, 0})
	f.Add([]byte{}, []byte{0})
	c := newCodec(f, envelope.Range, make([]byte, 32))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		va, err := c.Seal(nil, a[:min(len(a), envelope.MaxRange+1)])
		if err != nil {
			t.Fatal(err)
		}
		vb, err := c.Seal(nil, b[:min(len(b), envelope.MaxRange)])
		if err != nil {
			t.Fatal(err)
		}
		want := bytes.Compare(a[:min(len(a), envelope.MaxRange+1)], b[:min(len(b), envelope.MaxRange)])
		if got := bytes.Compare(va, vb); got != want {
			t.Fatalf("%x and %x compare as %d, want %d", a, b, got, want)
		}
	})
}
