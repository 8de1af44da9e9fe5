// SPDX-License-Identifier: Apache-2.0

package envelope_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sidekey/sidekey/proxy/envelope"
)

func newHeader(suite envelope.Suite) *envelope.Header {
	return envelope.NewHeader(suite, arn, random(120), nil)
}

func sealHeader(t testing.TB, h *envelope.Header, dataKey []byte) *envelope.Object {
	t.Helper()
	o, err := h.Seal(dataKey, "bucket", "key", map[string]string{"CRC32": "4OlqRA=="})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func reopen(t testing.TB, h *envelope.Header, dataKey []byte, with func(*envelope.Header)) (*envelope.Object, map[string]string, error) {
	t.Helper()
	parsed, err := envelope.ParseHeader(h.String())
	if err != nil {
		t.Fatal(err)
	}
	if with != nil {
		with(parsed)
	}
	return parsed.Open(dataKey, "bucket", "key")
}

// [O10]: content and footer are one message.
func TestFooter(t *testing.T) {
	for _, sums := range []map[string]string{
		{}, {"CRC32": "4OlqRA=="}, {"CRC64NVME": "AAAAAAAAAAA="},
		{"SHA256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", "MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="},
		{"SHA256": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},
	} {
		footer, err := envelope.Footer(sums)
		if err != nil || len(footer) != envelope.FooterSize {
			t.Fatalf("%d bytes, %v", len(footer), err)
		}
		back, err := envelope.ParseFooter(footer)
		if err != nil || !cmp.Equal(back, sums) {
			t.Errorf("%v became %v, %v", sums, back, err)
		}
	}
	if _, err := envelope.Footer(map[string]string{"x": strings.Repeat("y", 70)}); err == nil {
		t.Error("70 bytes went into a footer")
	}
	if _, err := envelope.ParseFooter(bytes.Repeat([]byte{0xff}, envelope.FooterSize)); !errors.Is(err, envelope.ErrOpen) {
		t.Errorf("no footer: %v", err)
	}
	for _, n := range []int64{0, 1, 16383, 16384 - 64, 16384 - 65, 1 << 30} {
		if got := envelope.WholeSize(n); got != envelope.SealedSize(n+64) {
			t.Errorf("WholeSize(%d) = %d", n, got)
		}
		if got, err := envelope.WholePlainSize(envelope.WholeSize(n)); err != nil || got != n {
			t.Errorf("WholePlainSize(WholeSize(%d)) = %d, %v", n, got, err)
		}
	}
}

// [H10]: a copy carries the input key of its body, and opens under its own data key.
func TestCarriedInputKey(t *testing.T) {
	for _, suite := range []envelope.Suite{envelope.PlainSuite, envelope.WholeSuite} {
		checkCarried(t, suite)
	}
}

func checkCarried(t *testing.T, suite envelope.Suite) {
	t.Helper()
	sourceKey, copyKey := random(32), random(32)
	source := newHeader(suite)
	o := sealHeader(t, source, sourceKey)
	body := seal(t, o.Message, content(50_000))
	copied := newHeader(envelope.MultipartSuite)
	if err := copied.Carry(o); err != nil {
		t.Fatal(err)
	}
	sealHeader(t, copied, copyKey)
	if copied.ObjectID != source.ObjectID || copied.Salt == source.Salt || copied.Suite != source.Suite {
		t.Error("the copy has another object ID or suite, or the same salt")
	}
	opened, sums, err := reopen(t, copied, copyKey, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(sums) != 1 {
		t.Errorf("entries of the header are shown as checksums: %v", sums)
	}
	got, err := io.ReadAll(opened.Open(bytes.NewReader(body)))
	if err != nil || !bytes.Equal(got, content(50_000)) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, _, err := reopen(t, copied, sourceKey, nil); !errors.Is(err, envelope.ErrOpen) {
		t.Errorf("the source's data key opens the copy: %v", err)
	}
}

// [O9]: content under a customer key needs it, and nothing else does.
// [H11]: the header commits to that key.
func TestCustomerKey(t *testing.T) {
	dataKey, customer := random(32), random(32)
	with := func(key []byte) func(*envelope.Header) { return func(h *envelope.Header) { h.CustomerKey = key } }
	for _, suite := range []envelope.Suite{envelope.WholeSuite, envelope.MultipartSuite} {
		h := newHeader(suite)
		h.CustomerKey = customer
		o := sealHeader(t, h, dataKey)
		part, err := o.Part(1, [24]byte{1})
		if err != nil {
			t.Fatal(err)
		}
		body := seal(t, part, content(100))
		opened, _, err := reopen(t, h, dataKey, with(customer))
		if err != nil {
			t.Fatal(err)
		}
		if part, err = opened.Part(1, [24]byte{1}); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(part.Open(bytes.NewReader(body))); err != nil || !bytes.Equal(got, content(100)) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		for name, key := range map[string][]byte{"none": nil, "another": random(32)} {
			if _, _, err := reopen(t, h, dataKey, with(key)); !errors.Is(err, envelope.ErrCustomerKey) {
				t.Errorf("customer key %s: %v", name, err)
			}
		}
		tables, _, err := reopen(t, h, dataKey, func(h *envelope.Header) { h.TablesOnly = true })
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tables.Part(1, [24]byte{1}); !errors.Is(err, envelope.ErrCustomerKey) {
			t.Errorf("content without the customer key: %v", err)
		}
		if err := newHeader(suite).Carry(o); err == nil {
			t.Error("a body under a customer key was carried")
		}
	}
	plain := newHeader(envelope.WholeSuite)
	sealHeader(t, plain, dataKey)
	if _, _, err := reopen(t, plain, dataKey, with(customer)); !errors.Is(err, envelope.ErrCustomerKey) {
		t.Errorf("a customer key where there is none: %v", err)
	}
}

func content(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8*13)
	}
	return b
}

// multipart seals parts of these sizes.
func multipart(t testing.TB, o *envelope.Object, sizes ...int64) (*envelope.Table, []byte, []byte) {
	t.Helper()
	table := &envelope.Table{Algorithm: "CRC32", Checksum: random(4)}
	var body, plain []byte
	for i, size := range sizes {
		part := envelope.TablePart{Number: 2*i + 1, Size: size, Salt: [24]byte(random(24)), Checksum: random(4)}
		m, err := o.Part(part.Number, part.Salt)
		if err != nil {
			t.Fatal(err)
		}
		text := content(int(size) + i)[i:]
		body, plain = append(body, seal(t, m, text)...), append(plain, text...)
		table.Parts = append(table.Parts, part)
	}
	tail, err := o.SealTable(table, [24]byte(random(24)))
	if err != nil {
		t.Fatal(err)
	}
	return table, append(body, tail...), plain
}

// [M1]: what was sealed in parts opens by its table, in any range.
// [M2]: the table is read back as it was.
// [M4]: it ends the object.
// [M5]: a range takes the chunks it touches.
func TestPartTable(t *testing.T) {
	dataKey := random(32)
	h := newHeader(envelope.MultipartSuite)
	o := sealHeader(t, h, dataKey)
	const mib = 1 << 20
	table, body, plain := multipart(t, o, 5*mib, 5*mib+16384, 7*mib+1, 3)
	size := int64(len(body))
	if size != envelope.MultipartSize(int64(len(plain))) {
		t.Fatalf("%d bytes are stored, want %d", size, envelope.MultipartSize(int64(len(plain))))
	}
	tail := body[size-envelope.TableTail(size):]
	back, err := o.OpenTable(tail, size)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(table, back, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	for _, r := range [][2]int64{{0, 1}, {5*mib - 1, 2}, {5 * mib, 16384}, {0, int64(len(plain))}, {int64(len(plain)) - 4, 4}, {10 * mib, 7 * mib}} {
		var got []byte
		for _, s := range back.Segments(r[0], r[1]) {
			part := back.Parts[s.Part]
			m, err := o.Part(part.Number, part.Salt)
			if err != nil {
				t.Fatal(err)
			}
			piece, err := io.ReadAll(m.OpenRange(bytes.NewReader(body[s.StoredOff:s.StoredOff+s.StoredLen]), s.Off, s.N, part.Size))
			if err != nil {
				t.Fatalf("range %v: %v", r, err)
			}
			got = append(got, piece...)
		}
		if !bytes.Equal(got, plain[r[0]:r[0]+r[1]]) {
			t.Errorf("range %v: %d bytes", r, len(got))
		}
	}
	for name, change := range map[string]func([]byte) []byte{
		"a bit of the table": func(b []byte) []byte { b[len(b)-50] ^= 1; return b },
		"the locator":        func(b []byte) []byte { b[len(b)-8] ^= 1; return b },
		"the length":         func(b []byte) []byte { b[len(b)-1]++; return b },
		"nothing left":       func([]byte) []byte { return nil },
		"cut":                func(b []byte) []byte { return b[:len(b)-1] },
	} {
		if _, err := o.OpenTable(change(bytes.Clone(tail)), size); !errors.Is(err, envelope.ErrOpen) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := o.OpenTable(tail, size+1); !errors.Is(err, envelope.ErrOpen) {
		t.Errorf("another length: %v", err)
	}
	other := sealHeader(t, newHeader(envelope.MultipartSuite), dataKey)
	if _, err := other.OpenTable(tail, size); !errors.Is(err, envelope.ErrOpen) {
		t.Errorf("another object: %v", err)
	}
}

// [M3]: the stored length gives the plaintext's, for all layouts that S3 allows, and
// the table has room.
func TestMultipartSizes(t *testing.T) {
	for _, plain := range []int64{0, 1, 16383, 16384, envelope.MinPart - 1, envelope.MinPart, envelope.MinPart + 1, 1 << 30, 9999 * envelope.MinPart, 10_000 * envelope.MinPart, 1 << 45} {
		for _, p := range []int64{plain, plain + 1, plain + 16383} {
			if got, err := envelope.MultipartPlainSize(envelope.MultipartSize(p)); err != nil || got != p {
				t.Errorf("%d became %d, %v", p, got, err)
			}
		}
		if _, err := envelope.MultipartPlainSize(envelope.MultipartSize(plain) - 1); plain%16384 == 0 && !errors.Is(err, envelope.ErrFormat) {
			t.Errorf("a length that no plaintext has, below that of %d: %v", plain, err)
		}
	}
	o := sealHeader(t, newHeader(envelope.MultipartSuite), random(32))
	for _, n := range []int{1, 2, 100, 10_000} {
		for _, size := range []int64{envelope.MinPart, envelope.MinPart + 16383, 5 << 30} {
			for _, last := range []int64{0, 1, 16384, size} {
				table := &envelope.Table{Algorithm: "SHA256", Composite: true, Checksum: random(32), MD5: random(16)}
				for i := range n {
					table.Parts = append(table.Parts, envelope.TablePart{Number: i + 1, Size: size, Checksum: random(32), MD5: random(16)})
				}
				table.Parts[n-1].Size = last
				tail, err := o.SealTable(table, [24]byte(random(24)))
				if err != nil {
					t.Fatalf("%d parts of %d, the last of %d: %v", n, size, last, err)
				}
				stored := envelope.MultipartSize(table.Size())
				if table.StoredParts()+int64(len(tail)) != stored {
					t.Fatalf("%d parts: %d bytes, want %d", n, table.StoredParts()+int64(len(tail)), stored)
				}
				if room := envelope.TableTail(stored); room < int64(len(tail)) {
					tail = tail[int64(len(tail))-room:]
				}
				if _, err := o.OpenTable(tail, stored); err != nil {
					t.Errorf("%d parts of %d, the last of %d: %v", n, size, last, err)
				}
			}
		}
	}
}

// Tables that no upload gives are not sealed.
func TestImpossibleTables(t *testing.T) {
	o := sealHeader(t, newHeader(envelope.MultipartSuite), random(32))
	for name, parts := range map[string][]envelope.TablePart{
		"none": nil, "number 0": {{Number: 0}}, "number 10001": {{Number: 10_001}},
		"order": {{Number: 2, Size: envelope.MinPart}, {Number: 1}}, "twice": {{Number: 1, Size: envelope.MinPart}, {Number: 1}},
		"too large": {{Number: 1, Size: 5<<30 + 1}}, "negative": {{Number: 1, Size: -1}},
		"small parts": slices.Repeat([]envelope.TablePart{{Number: 1, Size: 1}}, 1),
	} {
		_, err := o.SealTable(&envelope.Table{Parts: parts}, [24]byte{})
		if (err == nil) != (name == "small parts") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// [U1]: a record may name an object that holds its part.
// [U2]: records open for their upload and part only.
func TestPartRecords(t *testing.T) {
	dataKey := random(32)
	o := sealHeader(t, newHeader(envelope.MultipartSuite), dataKey)
	id := [32]byte(random(32))
	want := &envelope.PartRecord{Size: 1 << 40, Salt: [24]byte(random(24)), ETag: [16]byte(random(16)), Held: random(16), Checksum: random(32), MD5: random(16)}
	text, err := o.SealPartRecord(id, 7, want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := o.OpenPartRecord(id, 7, text)
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v: %s", err, cmp.Diff(want, got))
	}
	other := sealHeader(t, newHeader(envelope.MultipartSuite), dataKey)
	for name, open := range map[string]func() (*envelope.PartRecord, error){
		"another part":   func() (*envelope.PartRecord, error) { return o.OpenPartRecord(id, 8, text) },
		"another upload": func() (*envelope.PartRecord, error) { return o.OpenPartRecord([32]byte{}, 7, text) },
		"another object": func() (*envelope.PartRecord, error) { return other.OpenPartRecord(id, 7, text) },
		"cut":            func() (*envelope.PartRecord, error) { return o.OpenPartRecord(id, 7, text[:len(text)-1]) },
		"empty":          func() (*envelope.PartRecord, error) { return o.OpenPartRecord(id, 7, "") },
	} {
		if _, err := open(); !errors.Is(err, envelope.ErrOpen) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(fmt.Sprintf("%05d-%s", 7, text)) > 255 {
		t.Errorf("a record of %d characters is no file name", len(text))
	}
}

// [U4]: a part has the ETag of its salt.
func TestPartETag(t *testing.T) {
	salt := [24]byte{0x01, 0xfe, 15: 0x20, 16: 0xff}
	if got, want := envelope.PartETag(salt), "01fe0000000000000000000000000020"; got != want {
		t.Errorf("ETag %s, want %s", got, want)
	}
}

// [U5]: a header has the mark of its text.
func TestUploadMark(t *testing.T) {
	if got, want := envelope.UploadMark("abc"), "ungWv48Bz-pBQUDeXa4iIw"; got != want {
		t.Errorf("mark %s, want %s", got, want)
	}
}

// [U3]: a header that carries an input key says so, after it was opened, too.
func TestCopiesAreKnown(t *testing.T) {
	dataKey := random(32)
	source := newHeader(envelope.MultipartSuite)
	o := sealHeader(t, source, random(32))
	if o.Carried() {
		t.Error("a new header carries an input key")
	}
	copied := newHeader(envelope.MultipartSuite)
	if err := copied.Carry(o); err != nil {
		t.Fatal(err)
	}
	if !sealHeader(t, copied, dataKey).Carried() {
		t.Error("a sealed copy is not known")
	}
	if opened, _, err := reopen(t, copied, dataKey, nil); err != nil || !opened.Carried() {
		t.Errorf("an opened copy is not known, %v", err)
	}
}

// [H12]: the type of an upload's checksums is an entry of the header.
func TestUploadType(t *testing.T) {
	dataKey, h := random(32), newHeader(envelope.MultipartSuite)
	if _, err := h.Seal(dataKey, "bucket", "key", map[string]string{envelope.TypeName: "CRC32 FULL_OBJECT"}); err != nil {
		t.Fatal(err)
	}
	if _, sums, err := reopen(t, h, dataKey, nil); err != nil || sums[envelope.TypeName] != "CRC32 FULL_OBJECT" {
		t.Errorf("%v, %v", sums, err)
	}
}
