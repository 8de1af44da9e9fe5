// SPDX-License-Identifier: Apache-2.0

package s3ec_test

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"testing"
	"testing/iotest"

	"github.com/sidekey/sidekey/proxy/s3ec"
)

const chunk = 64 << 10

func content(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8*13 + i>>16)
	}
	return b
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// object is what the client would store.
type object struct {
	metadata map[string]string
	dataKey  []byte
	sealed   []byte
	plain    []byte
}

func (o object) source() s3ec.Source { return bytesOf(o.sealed) }

func encode(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func decoded(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func contextJSON(t testing.TB, alg string, more map[string]string) string {
	t.Helper()
	context := map[string]string{"aws:x-amz-cek-alg": alg}
	for name, value := range more {
		context[name] = value
	}
	b, err := json.Marshal(context)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func sealV2(t testing.TB, dataKey, wrapped, plain []byte) object {
	t.Helper()
	iv := random(12)
	ciphertext, tag := sealGCM(t, dataKey, iv, "", plain)
	return object{dataKey: dataKey, plain: plain, sealed: append(ciphertext, tag...), metadata: map[string]string{
		"x-amz-key-v2": encode(wrapped), "x-amz-iv": encode(iv), "x-amz-cek-alg": "AES/GCM/NoPadding",
		"x-amz-wrap-alg": "kms+context", "x-amz-tag-len": "128",
		"x-amz-matdesc":                    contextJSON(t, "AES/GCM/NoPadding", nil),
		"x-amz-unencrypted-content-length": strconv.Itoa(len(plain)),
	}}
}

func sealV3(t testing.TB, dataKey, wrapped, plain []byte, context map[string]string) object {
	t.Helper()
	id := random(28)
	derive := func(label string, size int) []byte {
		key, err := hkdf.Key(sha512.New, dataKey, id, "\x00\x73"+label, size)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	ciphertext, tag := sealGCM(t, derive("DERIVEKEY", 32), bytes.Repeat([]byte{1}, 12), "\x00\x73", plain)
	return object{dataKey: dataKey, plain: plain, sealed: append(ciphertext, tag...), metadata: map[string]string{
		"x-amz-c": "115", "x-amz-3": encode(wrapped), "x-amz-w": "12", "x-amz-t": contextJSON(t, "115", context),
		"x-amz-d": encode(derive("COMMITKEY", 28)), "x-amz-i": encode(id),
	}}
}

// both are an object of each format.
func both(t testing.TB, size int) map[string]object {
	t.Helper()
	plain := content(size)
	return map[string]object{
		"V2": sealV2(t, random(32), random(60), plain),
		"V3": sealV3(t, random(32), random(60), plain, nil),
	}
}

func opener(t testing.TB, o object) *s3ec.Opener {
	t.Helper()
	envelope, err := parse(o.metadata, nil)
	if err != nil {
		t.Fatal(err)
	}
	opener, err := s3ec.NewOpener(o.dataKey, envelope, int64(len(o.sealed)))
	if err != nil {
		t.Fatal(err)
	}
	return opener
}

func verify(t testing.TB, o object) *s3ec.Verified {
	t.Helper()
	verified, err := opener(t, o).Verify(t.Context(), o.source())
	if err != nil {
		t.Fatal(err)
	}
	return verified
}

func read(t testing.TB, v *s3ec.Verified, source s3ec.Source, offset, length int64) ([]byte, error) {
	t.Helper()
	body, err := v.Open(t.Context(), source, offset, length)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body)
}

// Sizes on both sides of MaxWhole and of a chunk's and a block's edges.
var sizes = []int{
	0, 1, 15, 16, 17, chunk - 1, chunk, chunk + 1, s3ec.MaxWhole - 1, s3ec.MaxWhole,
	s3ec.MaxWhole + 1, s3ec.MaxWhole + 15, s3ec.MaxWhole + 16, s3ec.MaxWhole + 17,
	s3ec.MaxWhole + chunk - 1, s3ec.MaxWhole + chunk, s3ec.MaxWhole + chunk + 1, 5<<20 + 12345,
}

func TestWholeObjects(t *testing.T) {
	for _, size := range sizes {
		for format, o := range both(t, size) {
			v := verify(t, o)
			if v.Size() != int64(size) {
				t.Fatalf("%s of %d: size %d", format, size, v.Size())
			}
			got, err := read(t, v, o.source(), 0, v.Size())
			if err != nil || !bytes.Equal(got, o.plain) {
				t.Errorf("%s of %d: got %d bytes, %v", format, size, len(got), err)
			}
		}
	}
}

func TestRanges(t *testing.T) {
	for _, size := range []int{0, 100_000, s3ec.MaxWhole + 2*chunk + 777} {
		for format, o := range both(t, size) {
			v := verify(t, o)
			edges := []int{0, 1, 15, 16, 17, chunk - 1, chunk, chunk + 1, 3*chunk - 5, size - chunk, size - 1, size}
			for _, from := range edges {
				for _, to := range edges {
					if from < 0 || from > to || to > size {
						continue
					}
					got, err := read(t, v, o.source(), int64(from), int64(to-from))
					if err != nil || !bytes.Equal(got, o.plain[from:to]) {
						t.Fatalf("%s of %d, [%d, %d): got %d bytes, %v", format, size, from, to, len(got), err)
					}
				}
			}
			for _, bad := range [][2]int64{{-1, 1}, {0, -1}, {0, int64(size) + 1}, {int64(size) + 1, 0}, {1, int64(size)}, {1 << 62, 1 << 62}} {
				if _, err := v.Open(t.Context(), o.source(), bad[0], bad[1]); err == nil {
					t.Errorf("%s of %d: range %v is opened", format, size, bad)
				}
			}
		}
	}
}

// A range asks the store for its own chunks, and one in memory for nothing.
func TestRangesAskForTheirChunks(t *testing.T) {
	type request struct{ offset, length int64 }
	var asked []request
	counting := func(o object) s3ec.Source {
		return func(ctx context.Context, offset, length int64) (io.ReadCloser, error) {
			asked = append(asked, request{offset, length})
			return o.source()(ctx, offset, length)
		}
	}
	o := sealV3(t, random(32), random(60), content(s3ec.MaxWhole+chunk+100), nil)
	v := verify(t, o)
	if _, err := read(t, v, counting(o), chunk+5, chunk); err != nil {
		t.Fatal(err)
	}
	if _, err := read(t, v, counting(o), v.Size()-1, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := read(t, v, counting(o), 7, 0); err != nil {
		t.Fatal(err)
	}
	want := []request{{chunk, 2 * chunk}, {s3ec.MaxWhole + chunk, 100}}
	if fmt.Sprint(asked) != fmt.Sprint(want) {
		t.Errorf("asked for %v, want %v", asked, want)
	}
	asked = nil
	small := sealV3(t, random(32), random(60), content(1000), nil)
	if _, err := read(t, verify(t, small), counting(small), 10, 20); err != nil || asked != nil {
		t.Errorf("asked for %v, %v", asked, err)
	}
}

// One bit anywhere, one byte more or less: nothing is verified.
func TestChangedObjects(t *testing.T) {
	for _, size := range []int{1000, s3ec.MaxWhole + chunk + 33} {
		for format, o := range both(t, size) {
			delete(o.metadata, "x-amz-unencrypted-content-length")
			for _, at := range []int{0, 16, size / 2, size - 1, size, size + 15} {
				changed := o
				changed.sealed = bytes.Clone(o.sealed)
				changed.sealed[at] ^= 0x10
				checkUnauthentic(t, fmt.Sprintf("%s of %d changed at %d", format, size, at), changed)
			}
			swapped := o
			swapped.sealed = bytes.Clone(o.sealed)
			copy(swapped.sealed[:16], o.sealed[16:32])
			copy(swapped.sealed[16:32], o.sealed[:16])
			checkUnauthentic(t, format+" with two blocks swapped", swapped)
			for name, sealed := range map[string][]byte{
				"shorter": o.sealed[:len(o.sealed)-1], "longer": append(bytes.Clone(o.sealed), 0),
				"without its first block": o.sealed[16:], "with a block before": append(make([]byte, 16), o.sealed...),
			} {
				other := o
				other.sealed = sealed
				checkUnauthentic(t, format+" "+name, other)
			}
		}
	}
}

func checkUnauthentic(t *testing.T, name string, o object) {
	t.Helper()
	if _, err := opener(t, o).Verify(t.Context(), o.source()); err != s3ec.ErrOpen {
		t.Errorf("%s: got %v, want ErrOpen", name, err)
	}
}

// The tag sees the order of a long object's chunks.
func TestSwappedChunks(t *testing.T) {
	for format, o := range both(t, s3ec.MaxWhole+chunk) {
		sealed := bytes.Clone(o.sealed)
		copy(sealed[:chunk], o.sealed[chunk:2*chunk])
		copy(sealed[chunk:2*chunk], o.sealed[:chunk])
		o.sealed = sealed
		checkUnauthentic(t, format, o)
	}
}

// A store that answers the second reading with other bytes gets no plaintext of
// them released: the reader gets all that came before, then ErrOpen.
func TestChangedBetweenPasses(t *testing.T) {
	size := s3ec.MaxWhole + 3*chunk + 10
	for format, o := range both(t, size) {
		v := verify(t, o)
		for _, at := range []int{0, chunk - 1, chunk, 5*chunk + 3, size - 1} {
			changed := bytes.Clone(o.sealed)
			changed[at] ^= 1
			got, err := read(t, v, bytesOf(changed), 0, int64(size))
			if released := at / chunk * chunk; err != s3ec.ErrOpen || !bytes.Equal(got, o.plain[:released]) {
				t.Errorf("%s changed at %d: got %d bytes, %v, want %d and ErrOpen", format, at, len(got), err, released)
			}
		}
		rolled := bytes.Clone(o.sealed)
		copy(rolled[chunk:2*chunk], o.sealed[:chunk])
		if got, err := read(t, v, bytesOf(rolled), chunk+9, 100); err != s3ec.ErrOpen || len(got) != 0 {
			t.Errorf("%s with a chunk of another place: got %d bytes, %v", format, len(got), err)
		}
	}
}

// A changed chunk outside of a range does not stop the range.
func TestRangeOfUnchangedChunks(t *testing.T) {
	o := sealV3(t, random(32), random(60), content(s3ec.MaxWhole+3*chunk), nil)
	v := verify(t, o)
	changed := bytes.Clone(o.sealed)
	changed[4*chunk] ^= 1
	got, err := read(t, v, bytesOf(changed), chunk+1, 2*chunk)
	if err != nil || !bytes.Equal(got, o.plain[chunk+1:3*chunk+1]) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

// failing is a store whose body fails or ends after so many bytes.
func failing(sealed []byte, after int, err error) s3ec.Source {
	return func(context.Context, int64, int64) (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(bytes.NewReader(sealed[:after]), iotest.ErrReader(err))), nil
	}
}

func TestBrokenSources(t *testing.T) {
	broken := errors.New("connection reset")
	for _, size := range []int{1000, s3ec.MaxWhole + chunk} {
		o := sealV2(t, random(32), random(60), content(size))
		for _, after := range []int{0, size / 2, size, len(o.sealed)} {
			_, err := opener(t, o).Verify(t.Context(), failing(o.sealed, after, broken))
			if !errors.Is(err, broken) {
				t.Errorf("%d of %d bytes, then an error: got %v", after, size, err)
			}
		}
		for _, after := range []int{0, size / 2, size, len(o.sealed) - 1} {
			_, err := opener(t, o).Verify(t.Context(), failing(o.sealed, after, io.EOF))
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%d of %d bytes: got %v, want an unexpected end", after, size, err)
			}
		}
		more := func(context.Context, int64, int64) (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(bytes.NewReader(o.sealed), bytes.NewReader([]byte{0}))), nil
		}
		if _, err := opener(t, o).Verify(t.Context(), more); err != s3ec.ErrOpen {
			t.Errorf("a byte after the tag: got %v, want ErrOpen", err)
		}
		refusing := func(context.Context, int64, int64) (io.ReadCloser, error) { return nil, broken }
		if _, err := opener(t, o).Verify(t.Context(), refusing); !errors.Is(err, broken) {
			t.Errorf("got %v, want the store's error", err)
		}
	}
	o := sealV2(t, random(32), random(60), content(s3ec.MaxWhole+chunk))
	v := verify(t, o)
	got, err := read(t, v, failing(o.sealed, chunk+5, io.EOF), 0, v.Size())
	if !errors.Is(err, io.ErrUnexpectedEOF) || !bytes.Equal(got, o.plain[:chunk]) {
		t.Errorf("a short second pass: got %d bytes, %v", len(got), err)
	}
}

// Readers may be slow, and closed at any time: what is closed is the store's.
func TestClosedReader(t *testing.T) {
	o := sealV3(t, random(32), random(60), content(s3ec.MaxWhole+chunk), nil)
	v := verify(t, o)
	closed := false
	body, err := v.Open(t.Context(), func(context.Context, int64, int64) (io.ReadCloser, error) {
		return closer{iotest.OneByteReader(bytes.NewReader(o.sealed)), &closed}, nil
	}, 0, v.Size())
	if err != nil {
		t.Fatal(err)
	}
	some := make([]byte, 100)
	if _, err := io.ReadFull(body, some); err != nil || !bytes.Equal(some, o.plain[:100]) {
		t.Fatalf("got %x, %v", some, err)
	}
	if err := body.Close(); err != nil || !closed {
		t.Errorf("closed: %v, %v", closed, err)
	}
	if n, err := body.Read(some); n != 0 || err == nil {
		t.Errorf("after Close: %d bytes, %v", n, err)
	}
}

type closer struct {
	io.Reader
	closed *bool
}

func (c closer) Close() error { *c.closed = true; return nil }

func TestSizes(t *testing.T) {
	o := sealV2(t, random(32), random(60), nil)
	delete(o.metadata, "x-amz-unencrypted-content-length")
	envelope, err := parse(o.metadata, nil)
	if err != nil {
		t.Fatal(err)
	}
	for sealed, want := range map[int64]int64{16: 0, 17: 1, 1<<36 - 16: 1<<36 - 32, 5 << 30: 5<<30 - 16} {
		if got, err := envelope.Size(sealed); err != nil || got != want {
			t.Errorf("%d sealed bytes: got %d, %v, want %d", sealed, got, err, want)
		}
	}
	for _, sealed := range []int64{-1, 0, 15, 1<<36 - 15, 1 << 40, 1<<63 - 1} {
		if got, err := envelope.Size(sealed); !errors.Is(err, s3ec.ErrRefused) {
			t.Errorf("%d sealed bytes: got %d, %v, want ErrRefused", sealed, got, err)
		}
		if _, err := s3ec.NewOpener(o.dataKey, envelope, sealed); !errors.Is(err, s3ec.ErrRefused) {
			t.Errorf("%d sealed bytes: got %v, want ErrRefused", sealed, err)
		}
	}
}

// Both formats are of AES-256. A store that made its own data key of 128 bits
// does not get it used.
func TestShortDataKeys(t *testing.T) {
	o := sealV2(t, random(16), random(60), content(100))
	envelope, err := parse(o.metadata, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range [][]byte{o.dataKey, nil, append(o.dataKey, o.dataKey[:8]...)} {
		if _, err := s3ec.NewOpener(key, envelope, int64(len(o.sealed))); err != s3ec.ErrOpen {
			t.Errorf("a data key of %d bytes: got %v, want ErrOpen", len(key), err)
		}
	}
}

// An envelope that waits for its instruction file opens nothing.
func TestInstructionIsNeeded(t *testing.T) {
	o := sealV3(t, random(32), random(60), content(10), nil)
	for _, name := range []string{"x-amz-3", "x-amz-w", "x-amz-t"} {
		delete(o.metadata, name)
	}
	for name, metadata := range map[string]map[string]string{"V3": o.metadata, "bare": {"color": "red"}} {
		envelope, needed, err := s3ec.Parse(metadata)
		if err != nil || !needed || envelope.Bare() != (name == "bare") {
			t.Fatalf("%s: needed %v, bare %v, %v", name, needed, envelope.Bare(), err)
		}
		if _, err := s3ec.NewOpener(o.dataKey, envelope, int64(len(o.sealed))); !errors.Is(err, s3ec.ErrRefused) {
			t.Errorf("%s: got %v, want ErrRefused", name, err)
		}
	}
}
