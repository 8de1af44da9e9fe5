// SPDX-License-Identifier: Apache-2.0

package envelope_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"testing"

	"github.com/sidekey/sidekey/proxy/envelope"
)

// stored seals an object as gateways do, and returns it with its content.
func stored(t testing.TB, suite envelope.Suite, customer []byte, carried bool, sizes ...int64) (alone, []byte) {
	t.Helper()
	a := alone{dataKey: random(32), customerKey: customer, bucket: "bucket", key: "key"}
	h := newHeader(suite)
	h.CustomerKey = customer
	o := sealHeader(t, h, a.dataKey)
	var plain []byte
	if suite == envelope.MultipartSuite {
		_, a.body, plain = multipart(t, o, sizes...)
	} else {
		plain = content(int(sizes[0]))
		inside := bytes.Clone(plain)
		if suite == envelope.WholeSuite {
			footer, err := envelope.Footer(map[string]string{"SHA256": base64.StdEncoding.EncodeToString(random(32))})
			if err != nil {
				t.Fatal(err)
			}
			inside = append(inside, footer...)
		}
		a.body = seal(t, o.Message, inside)
	}
	if carried {
		a.dataKey = random(32)
		h = newHeader(suite)
		if err := h.Carry(o); err != nil {
			t.Fatal(err)
		}
		sealHeader(t, h, a.dataKey)
	}
	a.header = h.String()
	return a, plain
}

// opened opens the object with the package.
func opened(a alone) ([]byte, error) {
	h, err := envelope.ParseHeader(a.header)
	if err != nil {
		return nil, err
	}
	h.CustomerKey = a.customerKey
	o, _, err := h.Open(a.dataKey, a.bucket, a.key)
	if err != nil {
		return nil, err
	}
	if h.Suite != envelope.MultipartSuite {
		plain, err := io.ReadAll(o.Open(bytes.NewReader(a.body)))
		if err != nil || int64(len(plain)) < h.Suite.FooterSize() {
			return nil, envelope.ErrOpen
		}
		cut := int64(len(plain)) - h.Suite.FooterSize()
		if cut < int64(len(plain)) {
			if _, err := envelope.ParseFooter(plain[cut:]); err != nil {
				return nil, err
			}
		}
		return plain[:cut], nil
	}
	size := int64(len(a.body))
	table, err := o.OpenTable(a.body[size-envelope.TableTail(size):], size)
	if err != nil {
		return nil, err
	}
	var plain []byte
	for _, s := range table.Segments(0, table.Size()) {
		part := table.Parts[s.Part]
		m, err := o.Part(part.Number, part.Salt)
		if err != nil {
			return nil, err
		}
		piece, err := io.ReadAll(m.OpenRange(bytes.NewReader(a.body[s.StoredOff:s.StoredOff+s.StoredLen]), s.Off, s.N, part.Size))
		if err != nil {
			return nil, err
		}
		plain = append(plain, piece...)
	}
	return plain, nil
}

// TestStandAlone opens what the package seals, of every kind and at every edge, with the
// decryptor that was written from FORMAT.md alone.
func TestStandAlone(t *testing.T) {
	for _, size := range []int64{0, 1, 16319, 16320, 16321, 16383, 16384, 16385, 50_000} {
		for _, suite := range []envelope.Suite{envelope.PlainSuite, envelope.WholeSuite, envelope.MultipartSuite} {
			for name, c := range map[string]struct {
				customer []byte
				carried  bool
			}{"plain": {}, "copy": {nil, true}, "customer key": {random(32), false}} {
				if suite == envelope.PlainSuite && c.customer != nil {
					continue
				}
				a, want := stored(t, suite, c.customer, c.carried, size)
				got, _, err := a.open()
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("suite %d, %s, %d bytes: %v, %d bytes", suite, name, size, err, len(got))
				}
			}
		}
	}
	a, want := stored(t, envelope.MultipartSuite, nil, false, 5<<20, 5<<20+16385, 7)
	if got, _, err := a.open(); err != nil || !bytes.Equal(got, want) {
		t.Errorf("three parts: %v, %d bytes", err, len(got))
	}
}

// TestAlteredObjects has both decryptors refuse the same: every kind of object altered
// in a byte, cut, extended, or put under another name, header or key. Padding is the one
// place that nobody looks at.
func TestAlteredObjects(t *testing.T) {
	source := mathrand.New(mathrand.NewPCG(1, 2))
	for _, suite := range []envelope.Suite{envelope.PlainSuite, envelope.WholeSuite, envelope.MultipartSuite} {
		a, want := stored(t, suite, nil, false, 20_000)
		other, _ := stored(t, suite, nil, false, 20_000)
		changed := map[string]alone{}
		change := func(name string, f func(*alone)) {
			b := a
			b.body = bytes.Clone(a.body)
			f(&b)
			changed[name] = b
		}
		for i := range 200 {
			at := source.IntN(len(a.body))
			change(fmt.Sprint("byte ", i, " at ", at), func(b *alone) { b.body[at] ^= 1 << (i % 8) })
		}
		for _, n := range []int{1, 8, 16, 64, 100, 16400} {
			change(fmt.Sprint("cut by ", n), func(b *alone) { b.body = b.body[:len(b.body)-n] })
			change(fmt.Sprint("extended by ", n), func(b *alone) { b.body = append(b.body, make([]byte, n)...) })
		}
		change("another body", func(b *alone) { b.body = other.body })
		change("another header", func(b *alone) { b.header = other.header })
		change("another name", func(b *alone) { b.key = "kez" })
		change("another bucket", func(b *alone) { b.bucket = "bucke" })
		change("name and bucket moved", func(b *alone) { b.bucket, b.key = "bucketk", "ey" })
		change("another data key", func(b *alone) { b.dataKey = random(32) })
		change("a customer key", func(b *alone) { b.customerKey = random(32) })
		for _, to := range []byte{1, 2, 3, 0x81, 0x82, 0x83, 4, 0} {
			raw, _ := base64.RawURLEncoding.DecodeString(a.header)
			if raw[3] == to {
				continue
			}
			raw[3] = to
			change(fmt.Sprint("suite ", to), func(b *alone) { b.header = base64.RawURLEncoding.EncodeToString(raw) })
		}
		for name, b := range changed {
			got, err := opened(b)
			aloneGot, _, aloneErr := b.open()
			if (err == nil) != (aloneErr == nil) {
				t.Errorf("suite %d, %s: the package says %v, the other %v", suite, name, err, aloneErr)
			}
			if err == nil && !bytes.Equal(got, want) || aloneErr == nil && !bytes.Equal(aloneGot, want) {
				t.Errorf("suite %d, %s: other bytes were opened", suite, name)
			}
		}
	}
}
