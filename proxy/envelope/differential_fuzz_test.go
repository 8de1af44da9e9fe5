// SPDX-License-Identifier: Apache-2.0

package envelope_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/sidekey/sidekey/proxy/envelope"
)

// reparse is what one of the decoders makes of bytes.
type reparse func([]byte) ([]byte, error)

// writesTheSame fails if what is accepted is written as other bytes.
func writesTheSame(t *testing.T, b []byte, f reparse) error {
	t.Helper()
	again, err := f(b)
	if err == nil && !bytes.Equal(again, b) {
		t.Fatalf("%x is written as %x", b, again)
	}
	if err != nil && result(err) == "error" {
		t.Fatalf("%v", err)
	}
	return err
}

// Part tables that are accepted are written as the same bytes, and both
// decoders accept the same.
func FuzzPartTable(f *testing.F) {
	part := slices.Concat([]byte{0, 1}, make([]byte, 7), []byte{20}, make([]byte, 24), []byte{4, 1, 2, 3, 4, 0})
	for _, count := range []byte{0, 1, 2} {
		f.Add(slices.Concat([]byte{1}, make([]byte, 32), []byte{1, 1, 4, 1, 2, 3, 4, 0, 0, count}, part))
	}
	for _, v := range loadVectors(f) {
		if table, err := tableOf(v.object()); v.Kind == "object" && err == nil {
			f.Add(table)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		err := writesTheSame(t, b, envelope.ReparseTable)
		if _, alone := parseAloneTable(b); (err == nil) != (alone == nil) {
			t.Fatalf("%v, and the stand-alone decoder says %v", err, alone)
		}
	})
}

// tableOf is the plaintext of an object's part table.
func tableOf(o aloneObject) ([]byte, error) {
	h, err := parseAloneHeader(o.header)
	if err != nil || h.suite != 3 || len(o.body) < 8 {
		return nil, refuse("no parts, %v", err)
	}
	k, err := h.open(o)
	if err != nil {
		return nil, err
	}
	rest := o.body[:len(o.body)-8]
	r := reader(o.body[len(o.body)-4:])
	return openAlone(k.input, k.context(1<<32-1), nil, rest[max(0, len(rest)-int(r.number(4))):])
}

// Entries that are accepted are written as the same bytes, and both decoders
// accept the same ([H9]).
func FuzzEntries(f *testing.F) {
	for _, s := range []string{"", "\x81\x04\x01\x02\x03\x04", "\x00\x01a\x01b", "\x05\x084OlqRA==", "\x8d\x03\x01\x02\x03\x0d\x011"} {
		f.Add([]byte(s))
	}
	for _, v := range loadVectors(f) {
		if h, err := parseAloneHeader(v.Header); err == nil {
			f.Add(h.entriesOf(v.DataKey))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		err := writesTheSame(t, b, envelope.ReparseEntries)
		if _, alone := parseEntries(b); (err == nil) != (alone == nil) {
			t.Fatalf("%v, and the stand-alone decoder says %v", err, alone)
		}
	})
}

// Footers that are accepted are written as the same bytes ([O10]).
func FuzzFooter(f *testing.F) {
	for _, sums := range []map[string]string{{}, {"CRC32": "AAAAAA=="}, {"SHA256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", "own": "text"}} {
		footer, err := envelope.Footer(sums)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(footer)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		writesTheSame(t, b, func(b []byte) ([]byte, error) {
			sums, err := envelope.ParseFooter(b)
			if err != nil {
				return nil, err
			}
			return envelope.Footer(sums)
		})
	})
}

// Part records that are accepted are written as the same bytes.
func FuzzPartRecord(f *testing.F) {
	for _, v := range loadVectors(f) {
		if v.Kind == "record" {
			f.Add([]byte(v.Plain))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) { writesTheSame(t, b, envelope.ReparseRecord) })
}

// Both parsers accept the same headers.
func FuzzHeaderForms(f *testing.F) {
	for _, v := range loadVectors(f) {
		raw, err := base64.RawURLEncoding.DecodeString(v.Header)
		if err == nil {
			f.Add(raw)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		value := base64.RawURLEncoding.EncodeToString(raw)
		_, err := envelope.ParseHeader(value)
		if _, alone := parseAloneHeader(value); (err == nil) != (alone == nil) {
			t.Fatalf("%v, and the stand-alone parser says %v", err, alone)
		}
	})
}

// mutations are what is done to an object; the first is to do nothing. Those of
// entries, footer and table leave everything authentic.
var mutations = []func(o *aloneObject, at int, b []byte){
	func(*aloneObject, int, []byte) {},
	func(o *aloneObject, at int, b []byte) { o.body = spliced(o.body, at, 0, b) },
	func(o *aloneObject, at int, b []byte) { o.body = spliced(o.body, at, len(b), b) },
	func(o *aloneObject, at int, b []byte) { o.body = spliced(o.body, at, len(b), nil) },
	func(o *aloneObject, at int, _ []byte) { o.body = o.body[:at%(len(o.body)+1)] },
	func(o *aloneObject, at int, b []byte) { // pieces change places
		from := at % (len(o.body) + 1)
		n := min(len(b), len(o.body)-from)
		o.body = slices.Concat(o.body[from:from+n], o.body[:from], o.body[from+n:])
	},
	func(o *aloneObject, at int, b []byte) {
		if raw, err := base64.RawURLEncoding.DecodeString(o.header); err == nil {
			o.header = base64.RawURLEncoding.EncodeToString(spliced(raw, at, len(b), b))
		}
	},
	func(o *aloneObject, at int, b []byte) {
		if h, err := parseAloneHeader(o.header); err == nil {
			o.header = h.seal(*o, spliced(h.entriesOf(o.dataKey), at, len(b), b))
		}
	},
	func(o *aloneObject, _ int, b []byte) {
		if h, err := parseAloneHeader(o.header); err == nil {
			o.header = h.seal(*o, b)
		}
	},
	resealFooter,
	resealTable,
	func(o *aloneObject, _ int, b []byte) { o.customerKey = b },
	func(o *aloneObject, _ int, b []byte) { o.name = string(b) },
}

func spliced(s []byte, at, n int, b []byte) []byte {
	at %= len(s) + 1
	return slices.Concat(s[:at], b, s[min(len(s), at+n):])
}

func resealFooter(o *aloneObject, at int, b []byte) {
	k, err := keysOf(*o)
	if err != nil || k.suite == 3 {
		return
	}
	plain, err := openAlone(k.content, k.context(0), k.objectID, o.body)
	if err != nil {
		return
	}
	footer := plain[max(0, len(plain)-64):]
	o.body = sealAlone(k.content, k.context(0), k.objectID, slices.Concat(plain[:len(plain)-len(footer)], spliced(footer, at, len(b), b)))
}

func resealTable(o *aloneObject, at int, b []byte) {
	k, err := keysOf(*o)
	if err != nil || k.suite != 3 {
		return
	}
	table, err := tableOf(*o)
	if err != nil {
		return
	}
	table = spliced(table, at, len(b), b)
	size := uint64(0)
	if parsed, err := parseAloneTable(table); err == nil && parsed.size() < 1<<20 {
		size = parsed.size()
	}
	o.body = k.endWith(o.body[:len(o.body)/2], table, make([]byte, 24), size)
}

func keysOf(o aloneObject) (aloneKeys, error) {
	h, err := parseAloneHeader(o.header)
	if err != nil {
		return aloneKeys{}, err
	}
	return h.open(o)
}

// Both openers open the same objects to the same content, whatever is changed.
func FuzzObjects(f *testing.F) {
	bases := []aloneObject{}
	for _, v := range loadVectors(f) {
		if v.Kind == "object" && v.Result == "valid" && len(v.Body) < 2000 {
			bases = append(bases, v.object())
		}
	}
	slices.SortFunc(bases, func(a, b aloneObject) int { return bytes.Compare([]byte(a.header), []byte(b.header)) })
	for i := range bases {
		for m := range mutations {
			f.Add(byte(i), byte(m), uint16(i*m), []byte{byte(m), 1, byte(i)})
		}
	}
	f.Fuzz(func(t *testing.T, base, mutation byte, at uint16, b []byte) {
		o := bases[int(base)%len(bases)]
		was, err := o.open()
		if err != nil {
			t.Fatal(err)
		}
		m := int(mutation) % len(mutations)
		changed := o
		mutations[m](&changed, int(at), b)
		got, err := compareOpeners(t, changed)
		switch {
		case m == 0 && err != nil:
			t.Fatal(err)
		case err == nil && m < 7 && !bytes.Equal(got.content, was.content):
			t.Fatalf("mutation %d at %d with %x gives other content", m, at, b)
		case err == nil && m < 7 && !maps.Equal(got.footer, was.footer):
			t.Fatalf("mutation %d at %d with %x gives other checksums", m, at, b)
		}
	})
}

// Both openers open the same values.
func FuzzValues(f *testing.F) {
	binding := envelope.Binding{Tenant: "t", Table: "s.t", Column: "c", Type: "text"}
	alone := aloneBinding{tenant: "t", table: "s.t", column: "c", kind: "text"}
	key := make([]byte, 32)
	codecs := map[uint64]*envelope.Codec{}
	for mode := range uint64(3) {
		codec, err := envelope.NewCodec(envelope.Mode(mode+1), key, 7, binding)
		if err != nil {
			f.Fatal(err)
		}
		for _, n := range []int{0, 1, 16, 40} {
			value, err := codec.Seal(nil, content(n))
			if err != nil {
				f.Fatal(err)
			}
			f.Add(value)
		}
		codecs[mode+1] = codec
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		for mode, codec := range codecs {
			got, err := codec.Open(nil, value)
			plain, aloneErr := openAloneValue(key, 7, mode, alone, value)
			if (err == nil) != (aloneErr == nil) || !bytes.Equal(got, plain) {
				t.Fatalf("mode %d: %x, %v; stand-alone: %x, %v", mode, got, err, plain, aloneErr)
			}
			if aloneErr != nil && !errors.Is(aloneErr, errAlone) {
				t.Fatal(aloneErr)
			}
		}
	})
}
