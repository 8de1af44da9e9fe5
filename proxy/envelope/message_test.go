// SPDX-License-Identifier: Apache-2.0

package envelope_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"testing"
	"testing/iotest"

	"github.com/sidekey/sidekey/proxy/envelope"
)

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func newMessage(t testing.TB) *envelope.Message {
	t.Helper()
	m, err := envelope.NewMessage(random(32), [24]byte(random(24)), []byte("context"))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func seal(t testing.TB, m *envelope.Message, plain []byte) []byte {
	t.Helper()
	sealed, err := io.ReadAll(m.Seal(bytes.NewReader(plain)))
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func sizes() []int {
	return []int{0, 1, 57, 16383, 16384, 16385, 20480, 32767, 32768, 32769, 54152, 8*16384 - 1, 8 * 16384, 8*16384 + 1, 300_000}
}

// patterns reads r in ways that take every path of Read and WriteTo.
func patterns(r func() io.Reader) map[string]func() ([]byte, error) {
	buffered := func(n int) func() ([]byte, error) {
		return func() ([]byte, error) {
			var out []byte
			src, buf := r(), make([]byte, n)
			for {
				m, err := src.Read(buf)
				out = append(out, buf[:m]...)
				if err == io.EOF {
					return out, nil
				}
				if err != nil {
					return out, err
				}
			}
		}
	}
	return map[string]func() ([]byte, error){
		"7":      buffered(7),
		"1000":   buffered(1000),
		"16384":  buffered(16384),
		"16400":  buffered(16400),
		"32768":  buffered(32768),
		"random": func() ([]byte, error) { return readRandomly(r()) },
		"writeto": func() ([]byte, error) {
			var b bytes.Buffer
			_, err := r().(io.WriterTo).WriteTo(&b)
			return b.Bytes(), err
		},
		"read then writeto": func() ([]byte, error) {
			src, start := r(), make([]byte, 10)
			n, err := src.Read(start)
			if err == io.EOF {
				return nil, nil
			}
			b := bytes.NewBuffer(start[:n])
			_, err = src.(io.WriterTo).WriteTo(b)
			return b.Bytes(), err
		},
	}
}

func readRandomly(r io.Reader) ([]byte, error) {
	var out []byte
	for {
		buf := make([]byte, 1+mathrand.IntN(40_000))
		n, err := r.Read(buf)
		out = append(out, buf[:n]...)
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return out, err
		}
	}
}

func TestStreams(t *testing.T) {
	for _, size := range sizes() {
		m, plain := newMessage(t), random(size)
		sealed := seal(t, m, plain)
		if got, want := int64(len(sealed)), envelope.SealedSize(int64(size)); got != want {
			t.Fatalf("%d bytes seal to %d, want %d", size, got, want)
		}
		for name, read := range patterns(func() io.Reader { return m.Seal(iotest.HalfReader(bytes.NewReader(plain))) }) {
			if got, err := read(); err != nil || !bytes.Equal(got, sealed) {
				t.Errorf("sealing %d bytes by %s: %d bytes, %v", size, name, len(got), err)
			}
		}
		for name, read := range patterns(func() io.Reader { return m.Open(iotest.DataErrReader(bytes.NewReader(sealed))) }) {
			if got, err := read(); err != nil || !bytes.Equal(got, plain) {
				t.Errorf("opening %d bytes by %s: %d bytes, %v", size, name, len(got), err)
			}
		}
	}
}

// [O6]: the size is a function of the length, and every other length is refused.
func TestPlainSize(t *testing.T) {
	valid := map[int64]int64{}
	for plain := int64(0); plain < 50_000; plain++ {
		valid[envelope.SealedSize(plain)] = plain
	}
	for sealed := int64(-1); sealed < 49_000; sealed++ {
		want, ok := valid[sealed]
		got, err := envelope.PlainSize(sealed)
		if ok != (err == nil) || got != want {
			t.Fatalf("PlainSize(%d) = %d, %v", sealed, got, err)
		}
		if err != nil && !errors.Is(err, envelope.ErrFormat) {
			t.Fatalf("PlainSize(%d): %v is not ErrFormat", sealed, err)
		}
	}
	most := envelope.SealedSize(1<<52 - 1)
	if got, err := envelope.PlainSize(most); err != nil || got != 1<<52-1 {
		t.Errorf("the longest message: %d, %v", got, err)
	}
	if _, err := envelope.PlainSize(envelope.SealedSize(1 << 52)); err == nil {
		t.Error("2^38 + 1 chunks are too many")
	}
}

// [O7]: every kind of range, and the end is authenticated.
func TestRanges(t *testing.T) {
	for _, size := range []int{1, 16383, 16384, 16385, 32768, 54152} {
		m, plain := newMessage(t), random(size)
		sealed := seal(t, m, plain)
		for _, off := range []int{0, 1, 16383, 16384, 16385, 32767, size - 1, size, size + 1} {
			for _, n := range []int{1, 2, 100, 16383, 16384, 16385, 33000, size, 1 << 20} {
				want := plain[min(off, size):min(off+n, size)]
				sealedOff, sealedLen := envelope.SealedRange(int64(off), int64(n), int64(size))
				part := sealed[min(int(sealedOff), len(sealed)):][:sealedLen]
				for name, read := range patterns(func() io.Reader {
					return m.OpenRange(bytes.NewReader(part), int64(off), int64(n), int64(size))
				}) {
					if got, err := read(); err != nil || !bytes.Equal(got, want) {
						t.Fatalf("%d+%d of %d by %s: %d bytes, %v", off, n, size, name, len(got), err)
					}
				}
				if sealedLen == 0 {
					continue
				}
				cut := part[:len(part)-1]
				got, err := io.ReadAll(m.OpenRange(bytes.NewReader(cut), int64(off), int64(n), int64(size)))
				if !errors.Is(err, envelope.ErrOpen) || !bytes.HasPrefix(want, got) {
					t.Fatalf("%d+%d of %d, cut: %d bytes, %v", off, n, size, len(got), err)
				}
			}
		}
	}
}

// [O7]: a size that is not the message's is found out by ranges to its end.
func TestRangeOfAWrongSize(t *testing.T) {
	m := newMessage(t)
	sealed := seal(t, m, random(3*16384))
	for _, claimed := range []int64{3*16384 - 1, 3*16384 + 1, 2 * 16384, 2*16384 + 100, 100, 5 * 16384} {
		off, n := envelope.SealedRange(claimed-10, 10, claimed)
		off, n = min(off, int64(len(sealed))), min(n, max(0, int64(len(sealed))-off))
		got, err := io.ReadAll(m.OpenRange(bytes.NewReader(sealed[off:off+n]), claimed-10, 10, claimed))
		if !errors.Is(err, envelope.ErrOpen) {
			t.Errorf("size %d: %d bytes, %v, want ErrOpen", claimed, len(got), err)
		}
	}
}

// Every truncation, and every byte changed in turn, is refused, with nothing but
// whole authentic chunks before it ([O8]).
func TestAlteredMessages(t *testing.T) {
	m, plain := newMessage(t), random(16384+40)
	sealed := seal(t, m, plain)
	check := func(what string, altered []byte) {
		t.Helper()
		got, err := io.ReadAll(m.Open(bytes.NewReader(altered)))
		if !errors.Is(err, envelope.ErrOpen) || (len(got) != 0 && !bytes.Equal(got, plain[:16384])) {
			t.Fatalf("%s: %d bytes, %v", what, len(got), err)
		}
		var b bytes.Buffer
		if _, err := m.Open(bytes.NewReader(altered)).WriteTo(&b); !errors.Is(err, envelope.ErrOpen) || !bytes.Equal(b.Bytes(), got) {
			t.Fatalf("%s by WriteTo: %d bytes, %v", what, b.Len(), err)
		}
	}
	for n := 0; n < len(sealed); n += 1 + n/50 {
		check(fmt.Sprintf("cut to %d", n), sealed[:n])
	}
	check("cut after the first chunk", sealed[:56+16400])
	for i := 0; i < len(sealed); i += 1 + i/50 {
		altered := bytes.Clone(sealed)
		altered[i] ^= 0x10
		check(fmt.Sprintf("byte %d changed", i), altered)
	}
	check("a byte more", append(bytes.Clone(sealed), 0))
	check("the last chunk twice", append(bytes.Clone(sealed), sealed[56+16400:]...))
}

type failing struct {
	io.Reader
	err error
}

func (f failing) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if err == io.EOF {
		err = f.err
	}
	return n, err
}

// [O8]: no last chunk after an error of the source, whatever the error is.
func TestSourceErrors(t *testing.T) {
	for _, fail := range []error{errors.New("bad digest"), io.ErrUnexpectedEOF, io.ErrClosedPipe} {
		for _, size := range sizes() {
			plain := random(size)
			m := newMessage(t)
			src := func() io.Reader { return m.Seal(failing{bytes.NewReader(plain), fail}) }
			for name, read := range patterns(src) {
				got, err := read()
				if !errors.Is(err, fail) || len(got) > 56+size/16384*16400 {
					t.Errorf("%d bytes by %s: %d bytes, %v", size, name, len(got), err)
				}
				if _, err := io.ReadAll(m.Open(bytes.NewReader(got))); !errors.Is(err, envelope.ErrOpen) {
					t.Errorf("%d bytes by %s: an aborted message opens: %v", size, name, err)
				}
			}
		}
	}
}

func TestBodyErrorsPass(t *testing.T) {
	m := newMessage(t)
	sealed := seal(t, m, random(40_000))
	for _, n := range []int{0, 30, 56, 20_000, len(sealed)} {
		fail := errors.New("connection reset")
		if _, err := io.ReadAll(m.Open(failing{bytes.NewReader(sealed[:n]), fail})); !errors.Is(err, fail) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

func TestScratchHoldsNoPlaintextAfterAnError(t *testing.T) {
	m, plain := newMessage(t), bytes.Repeat([]byte("canary"), 100)
	r := m.Seal(failing{bytes.NewReader(plain), io.ErrClosedPipe})
	buf := make([]byte, 32<<10)
	r.Read(buf)
	if n, err := r.Read(buf); n != 0 || err != io.ErrClosedPipe {
		t.Fatalf("%d, %v", n, err)
	}
	if bytes.Contains(buf, []byte("canary")) {
		t.Error("plaintext in the caller's buffer")
	}
}

// [K1]: other key lengths are refused.
func TestKeyLengths(t *testing.T) {
	for _, n := range []int{0, 16, 31, 33, 64} {
		if _, err := envelope.NewMessage(make([]byte, n), [24]byte{}, nil); err == nil {
			t.Errorf("an input key of %d bytes", n)
		}
		if _, err := envelope.NewHeader(envelope.PlainSuite, "", []byte("w"), nil).Seal(make([]byte, n), "b", "k", nil); err == nil {
			t.Errorf("a data key of %d bytes for an object", n)
		}
		for _, mode := range []envelope.Mode{envelope.Random, envelope.Equality} {
			if _, err := envelope.NewCodec(mode, make([]byte, n), 1, envelope.Binding{}); err == nil {
				t.Errorf("a data key of %d bytes for values", n)
			}
		}
	}
}
