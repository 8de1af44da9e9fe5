// SPDX-License-Identifier: Apache-2.0

package envelope_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"testing"

	"github.com/sidekey/sidekey/proxy/envelope"
)

// openWithPackage opens an object with the package, as aloneObject.open does
// without it, in the order in which a gateway does it.
func openWithPackage(o aloneObject) (aloneOpened, error) {
	h, err := envelope.ParseHeader(o.header)
	if err != nil {
		return aloneOpened{}, err
	}
	if h.String() != o.header {
		return aloneOpened{}, errors.New("the header is written differently")
	}
	h.CustomerKey = o.customerKey
	object, entries, err := h.Open(o.dataKey, o.bucket, o.name)
	if err != nil {
		return aloneOpened{}, err
	}
	opened := aloneOpened{entries: entries}
	if h.Suite == envelope.MultipartSuite {
		opened.content, err = openTableWithPackage(object, o.body)
	} else {
		opened.content, opened.footer, err = openMessageWithPackage(h.Suite, object, entries, o.body)
	}
	if err != nil {
		return aloneOpened{}, err
	}
	if size, ok := entries[envelope.SizeName]; ok && size != fmt.Sprint(len(opened.content)) {
		return aloneOpened{}, envelope.ErrOpen
	}
	return opened, nil
}

func openMessageWithPackage(suite envelope.Suite, object *envelope.Object, entries map[string]string, body []byte) ([]byte, map[string]string, error) {
	plain, err := io.ReadAll(object.Open(bytes.NewReader(body)))
	if err != nil {
		return nil, nil, err
	}
	size := int64(len(plain)) - suite.FooterSize()
	if size < 0 {
		return nil, nil, envelope.ErrOpen
	}
	if want, err := suite.PlainSize(int64(len(body))); err != nil || want != size {
		return nil, nil, fmt.Errorf("%d bytes of content in a body of %d, which say %d, %v", size, len(body), want, err)
	}
	var footer map[string]string
	if _, ok := entries[envelope.FooterName]; ok && suite == envelope.WholeSuite {
		footer, err = envelope.ParseFooter(plain[size:])
	}
	return plain[:size], footer, err
}

func openTableWithPackage(object *envelope.Object, body []byte) ([]byte, error) {
	stored := int64(len(body))
	table, err := object.OpenTable(body[stored-envelope.TableTail(stored):], stored)
	if err != nil {
		return nil, err
	}
	content := []byte{}
	for _, s := range table.Segments(0, table.Size()) {
		part := table.Parts[s.Part]
		m, err := object.Part(part.Number, part.Salt)
		if err != nil {
			return nil, err
		}
		piece, err := io.ReadAll(m.OpenRange(bytes.NewReader(body[s.StoredOff:s.StoredOff+s.StoredLen]), s.Off, s.N, part.Size))
		if err != nil {
			return nil, err
		}
		content = append(content, piece...)
	}
	return content, nil
}

// compareOpeners opens an object with both, which have to agree.
func compareOpeners(t testing.TB, o aloneObject) (aloneOpened, error) {
	t.Helper()
	got, err := openWithPackage(o)
	alone, aloneErr := o.open()
	if (err == nil) != (aloneErr == nil) {
		t.Fatalf("the package says %v, and the stand-alone opener %v", err, aloneErr)
	}
	if aloneErr != nil && !errors.Is(aloneErr, errAlone) {
		t.Fatalf("the stand-alone opener fails: %v", aloneErr)
	}
	if err != nil {
		if r := result(err); r != "refused" && r != "malformed" && !errors.Is(err, envelope.ErrCustomerKey) {
			t.Fatalf("the package fails: %v", err)
		}
		return got, err
	}
	maps.DeleteFunc(alone.entries, func(name, _ string) bool { return name == "input-key" || name == "customer-key" })
	if !bytes.Equal(got.content, alone.content) || !maps.Equal(got.entries, alone.entries) || !maps.Equal(got.footer, alone.footer) {
		t.Fatalf("the package opens %d bytes, %v, %v; the stand-alone opener %d bytes, %v, %v",
			len(got.content), got.entries, got.footer, len(alone.content), alone.entries, alone.footer)
	}
	return got, nil
}

// sealedCase is an object that the package sealed, and what of.
type sealedCase struct {
	aloneObject
	content []byte
	entries map[string]string
	footer  map[string]string
}

// sealWhole seals an object in one piece.
func sealWhole(t testing.TB, suite envelope.Suite, size int, entries, footer map[string]string, customerKey []byte) sealedCase {
	t.Helper()
	c := sealedCase{
		aloneObject: aloneObject{dataKey: random(32), customerKey: customerKey, bucket: "bucket", name: "dir/näme"},
		content:     content(size), entries: entries, footer: footer,
	}
	h := envelope.NewHeader(suite, arn, random(120), map[string]string{"team": "a"})
	h.CustomerKey = customerKey
	o, err := h.Seal(c.dataKey, c.bucket, c.name, entries)
	if err != nil {
		t.Fatal(err)
	}
	plain := c.content
	if suite == envelope.WholeSuite {
		f, err := envelope.Footer(footer)
		if err != nil {
			t.Fatal(err)
		}
		plain = append(bytes.Clone(plain), f...)
	}
	c.header, c.body = h.String(), seal(t, o.Message, plain)
	return c
}

// sealParts seals a multipart object of parts of these sizes, with gaps between
// their numbers.
func sealParts(t testing.TB, customerKey []byte, sizes ...int64) sealedCase {
	t.Helper()
	c := sealedCase{
		aloneObject: aloneObject{dataKey: random(32), customerKey: customerKey, bucket: "bucket", name: "parts"},
		entries:     map[string]string{"type": "CRC32 COMPOSITE"},
	}
	h := envelope.NewHeader(envelope.MultipartSuite, arn, random(120), nil)
	h.CustomerKey = customerKey
	o, err := h.Seal(c.dataKey, c.bucket, c.name, c.entries)
	if err != nil {
		t.Fatal(err)
	}
	c.header = h.String()
	_, c.body, c.content = multipart(t, o, sizes...)
	return c
}

// copied is the same body under another header, data key and name.
func copied(t testing.TB, c sealedCase) sealedCase {
	t.Helper()
	from, err := envelope.ParseHeader(c.header)
	if err != nil {
		t.Fatal(err)
	}
	o, _, err := from.Open(c.dataKey, c.bucket, c.name)
	if err != nil {
		t.Fatal(err)
	}
	h := envelope.NewHeader(envelope.WholeSuite, "alias/another", random(99), nil)
	if err := h.Carry(o); err != nil {
		t.Fatal(err)
	}
	c.dataKey, c.bucket, c.name = random(32), "elsewhere", "copy"
	if _, err := h.Seal(c.dataKey, c.bucket, c.name, c.entries); err != nil {
		t.Fatal(err)
	}
	c.header = h.String()
	return c
}

// sealedCases has every kind of object around the edges of chunks.
func sealedCases(t testing.TB) map[string]sealedCase {
	cases := map[string]sealedCase{}
	customer := bytes.Repeat([]byte{0xc5}, 32)
	for _, n := range []int{0, 1, 63, 64, 16319, 16320, 16321, 16383, 16384, 16385, 32768 - 64, 32768, 40_000} {
		entries := map[string]string{"size": fmt.Sprint(n), "SHA256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", "x-own": "text!"}
		late := map[string]string{"size": fmt.Sprint(n), "footer": "1"}
		sums := map[string]string{"CRC32": "AAAAAA==", "CRC64NVME": "AAAAAAAAAAA=", "MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}
		cases[fmt.Sprintf("suite 1 %d", n)] = sealWhole(t, envelope.PlainSuite, n, entries, nil, nil)
		cases[fmt.Sprintf("suite 2 %d", n)] = sealWhole(t, envelope.WholeSuite, n, entries, nil, nil)
		cases[fmt.Sprintf("footer %d", n)] = sealWhole(t, envelope.WholeSuite, n, late, sums, nil)
		cases[fmt.Sprintf("customer key %d", n)] = sealWhole(t, envelope.WholeSuite, n, late, sums, customer)
		cases[fmt.Sprintf("one part %d", n)] = sealParts(t, nil, int64(n))
	}
	const mib = 1 << 20
	cases["two small parts"] = sealParts(t, nil, 16384, 5)
	cases["three small parts"] = sealParts(t, nil, 1, 0, 2)
	cases["empty last part"] = sealParts(t, nil, 5*mib, 0)
	cases["parts"] = sealParts(t, nil, 5*mib, 5*mib+16384, 5*mib+16383, 7)
	cases["customer key and parts"] = sealParts(t, customer, 5*mib+1, 16384)
	for name, c := range maps.Clone(cases) {
		if c.customerKey == nil {
			cases["copy of "+name] = copied(t, c)
		}
	}
	return cases
}

// The stand-alone opener opens what the package seals.
func TestStandAloneOpensObjects(t *testing.T) {
	for name, c := range sealedCases(t) {
		t.Run(name, func(t *testing.T) {
			got, err := compareOpeners(t, c.aloneObject)
			if err != nil || !bytes.Equal(got.content, c.content) || !maps.Equal(got.entries, c.entries) || !maps.Equal(got.footer, c.footer) {
				t.Errorf("%v: %d bytes, %v, %v", err, len(got.content), got.entries, got.footer)
			}
		})
	}
}

// Both openers refuse the same changes.
func TestStandAloneRefuses(t *testing.T) {
	customer := bytes.Repeat([]byte{0xc5}, 32)
	other := sealWhole(t, envelope.WholeSuite, 20_000, nil, nil, nil)
	for name, c := range map[string]sealedCase{
		"suite 1":      sealWhole(t, envelope.PlainSuite, 20_000, nil, nil, nil),
		"suite 2":      sealWhole(t, envelope.WholeSuite, 20_000, map[string]string{"size": "20000", "footer": "1"}, map[string]string{"CRC32": "AAAAAA=="}, nil),
		"parts":        sealParts(t, nil, 20_000, 30),
		"customer key": sealWhole(t, envelope.WholeSuite, 20_000, nil, nil, customer),
		"copy":         copied(t, sealWhole(t, envelope.WholeSuite, 20_000, nil, nil, nil)),
	} {
		for change, edit := range map[string]func(*aloneObject){
			"data key":          func(o *aloneObject) { o.dataKey = random(32) },
			"customer key":      func(o *aloneObject) { o.customerKey = bytes.Repeat([]byte{1}, 32) },
			"bucket":            func(o *aloneObject) { o.bucket += "x" },
			"name":              func(o *aloneObject) { o.name = strings.ToUpper(o.name) },
			"between them":      func(o *aloneObject) { o.bucket, o.name = o.bucket+o.name[:1], o.name[1:] },
			"body of another":   func(o *aloneObject) { o.body = other.body },
			"header of another": func(o *aloneObject) { o.header = other.header },
			"cut":               func(o *aloneObject) { o.body = o.body[:len(o.body)-1] },
			"cut at a chunk":    func(o *aloneObject) { o.body = o.body[:56+16400] },
			"nothing":           func(o *aloneObject) { o.body = nil },
			"extended":          func(o *aloneObject) { o.body = append(bytes.Clone(o.body), 0) },
			"last bit":          func(o *aloneObject) { o.body = flipped(o.body, len(o.body)-1) },
			"bit of a chunk":    func(o *aloneObject) { o.body = flipped(o.body, 100) },
		} {
			o := c.aloneObject
			edit(&o)
			if _, err := compareOpeners(t, o); err == nil {
				t.Errorf("%s: %s is not noticed", name, change)
			}
		}
	}
}

func flipped(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}

// The stand-alone opener opens part records ([U2]).
func TestStandAloneOpensRecords(t *testing.T) {
	c := sealParts(t, nil, 5)
	h, err := envelope.ParseHeader(c.header)
	if err != nil {
		t.Fatal(err)
	}
	o, _, err := h.Open(c.dataKey, c.bucket, c.name)
	if err != nil {
		t.Fatal(err)
	}
	alone, err := parseAloneHeader(c.header)
	if err != nil {
		t.Fatal(err)
	}
	k, err := alone.open(c.aloneObject)
	if err != nil {
		t.Fatal(err)
	}
	id := [32]byte(random(32))
	for _, want := range []envelope.PartRecord{
		{Size: 5 << 30, Salt: [24]byte(random(24)), ETag: [16]byte(random(16)), Held: random(16), Checksum: random(32), MD5: random(16)},
		{},
	} {
		text, err := o.SealPartRecord(id, 10_000, &want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := openAloneRecord(k.input, id[:], 10_000, text)
		if err != nil {
			t.Fatal(err)
		}
		if int64(got.size) != want.Size || !bytes.Equal(got.salt, want.Salt[:]) || !bytes.Equal(got.etag, want.ETag[:]) ||
			got.name != string(want.Held) || !bytes.Equal(got.checksum, want.Checksum) || !bytes.Equal(got.md5, want.MD5) {
			t.Errorf("%+v became %+v", want, got)
		}
		if _, err := openAloneRecord(k.input, id[:], 1, text); err == nil {
			t.Error("the record of another part opens")
		}
	}
}

// The stand-alone opener opens column values.
func TestStandAloneOpensValues(t *testing.T) {
	key := random(32)
	column := envelope.Binding{Tenant: "t", Table: "public.customers", Column: "ssn", Type: "text"}
	domain := envelope.Binding{Tenant: "t", Domain: "d", Type: "text"}
	for _, c := range []struct {
		mode envelope.Mode
		envelope.Binding
	}{{envelope.Random, column}, {envelope.Equality, column}, {envelope.Equality, domain}, {envelope.Range, column}, {envelope.Range, domain}} {
		codec, err := envelope.NewCodec(c.mode, key, 0xfffefdfc, c.Binding)
		if err != nil {
			t.Fatal(err)
		}
		alone := aloneBinding{tenant: c.Tenant, table: c.Table, column: c.Column, domain: c.Domain, kind: c.Type}
		for _, n := range []int{0, 1, 15, 16, 17, 31, 32, 33, 1000} {
			if c.mode == envelope.Range {
				n = min(n, envelope.MaxRange+1)
			}
			value, err := codec.Seal(nil, content(n))
			if err != nil {
				t.Fatal(err)
			}
			got, err := openAloneValue(key, 0xfffefdfc, uint64(c.mode), alone, value)
			if err != nil || !bytes.Equal(got, content(n)) {
				t.Errorf("mode %d, %d bytes: %x, %v", c.mode, n, got, err)
			}
			for at := range len(value) {
				if _, err := openAloneValue(key, 0xfffefdfc, uint64(c.mode), alone, flipped(value, at)); err == nil {
					t.Errorf("mode %d, %d bytes: byte %d is not noticed", c.mode, n, at)
				}
			}
		}
	}
}
