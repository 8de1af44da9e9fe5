// SPDX-License-Identifier: Apache-2.0

package sigv4_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/sidekey/sidekey/keysvc/sigv4"
)

// FuzzAgainstSDK signs arbitrary requests with the SDK, sends them over the
// wire format, and expects them to verify, and not to once one byte of a
// covered part is another.
func FuzzAgainstSDK(f *testing.F) {
	f.Add("PUT", "/bucket/key", "prefix", "a/b", "text/plain", "two  spaces", false)
	f.Add("GET", "/b/%2F+ ü//../x", "marker", "+ &=;%", "", "", true)
	f.Add("HEAD", "", "", "", "a,b", " \t lead", false)
	f.Fuzz(func(t *testing.T, method, path, name, value, contentType, meta string, presigned bool) {
		if !token(method) || !text(contentType) || !text(meta) || !word(name) || strings.HasPrefix(strings.ToLower(name), "x-amz-") {
			return
		}
		u := &url.URL{Scheme: "http", Host: "bucket.example:9000", Path: "/" + path, RawQuery: url.Values{name: {value}, "list-type": {"2"}}.Encode()}
		r := newRequest(t, method, u.String(), "")
		if contentType != "" {
			r.Header.Set("Content-Type", contentType)
		}
		r.Header.Set("X-Amz-Meta-Fuzz", meta)
		if presigned {
			header := r.Header
			r = presign(t, r, "s3", unsigned, "60")
			r.Header = header
		} else {
			sign(t, r, "s3", unsigned)
		}
		got := overWire(t, r)
		if _, err := verifier("s3").Verify(got); err != nil {
			t.Fatalf("verifying %s %s: %v", method, r.URL, err)
		}
		got.Header.Set("X-Amz-Meta-Fuzz", meta+"!")
		if _, err := verifier("s3").Verify(got); err == nil {
			t.Fatalf("a changed header verified")
		}
	})
}

func token(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < 'A' || r > 'Z' })
}

// word holds only what needs no encoding: the SDK sorts names before it encodes
// them, the specification after.
func word(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~", r)
	})
}

func text(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r >= 127 })
}

// streamRequest is a verified request with the stream as its body.
func streamRequest(t testing.TB, stream io.Reader, decoded int) (*sigv4.Verified, *http.Request) {
	t.Helper()
	r := newRequest(t, "PUT", "http://h/b/k", "")
	r.Header.Set("X-Amz-Decoded-Content-Length", fmt.Sprint(decoded))
	r.Header.Set("X-Amz-Trailer", "x-amz-checksum-crc32")
	sign(t, r, "s3", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
	r.Body, r.ContentLength = io.NopCloser(stream), -1
	v, err := verifier("s3").Verify(r)
	if err != nil {
		t.Fatalf("verifying: %v", err)
	}
	return v, r
}

// frame is the plain way to write what the reader decodes.
func frame(data []byte, size int) []byte {
	var b bytes.Buffer
	for len(data) > 0 {
		n := min(size, len(data))
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, data[:n])
		data = data[n:]
	}
	b.WriteString("0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n")
	return b.Bytes()
}

// FuzzStream decodes arbitrary streams: whatever is accepted has exactly the
// declared length, and framing what came out again decodes to the same.
func FuzzStream(f *testing.F) {
	f.Add([]byte("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"), 5)
	f.Add([]byte("0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"), 0)
	f.Add([]byte("1\r\na\r\n2\r\nbc\r\n0\r\nx-amz-checksum-crc32:x\n\n"), 3)
	f.Add([]byte("ffffffffffffffff\r\na"), 1)
	f.Fuzz(func(t *testing.T, stream []byte, decoded int) {
		if decoded < 0 {
			return
		}
		v, r := streamRequest(t, bytes.NewReader(stream), decoded)
		data, body, err := readAll(v, r)
		if err != nil {
			var e *sigv4.Error
			if !errors.As(err, &e) {
				t.Fatalf("got an error of another type: %v", err)
			}
			return
		}
		if len(data) != decoded || len(body.Trailer()["X-Amz-Checksum-Crc32"]) != 1 {
			t.Fatalf("got %d bytes of %d, trailer %v", len(data), decoded, body.Trailer())
		}
		v, r = streamRequest(t, bytes.NewReader(frame(data, 3)), decoded)
		if again, _, err := readAll(v, r); err != nil || !bytes.Equal(again, data) {
			t.Fatalf("framed again: got %q, %v", again, err)
		}
	})
}

func readAll(v *sigv4.Verified, r *http.Request) ([]byte, *sigv4.Body, error) {
	b, err := v.Body(r)
	if err != nil {
		return nil, nil, err
	}
	data, err := io.ReadAll(b)
	return data, b, err
}

func TestUnsignedTrailer(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 1000)
	for _, size := range []int{1, 7, 1024, 8192, len(data), 3 * len(data)} {
		for name, wrap := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "bytewise": iotest.OneByteReader, "err with data": iotest.DataErrReader,
		} {
			v, r := streamRequest(t, wrap(bytes.NewReader(frame(data, size))), len(data))
			got, body, err := readAll(v, r)
			if err != nil || !bytes.Equal(got, data) || body.DecodedLength() != int64(len(data)) {
				t.Errorf("chunks of %d, %s: got %d bytes, %v", size, name, len(got), err)
			}
		}
	}
}

// The ends that clients give to a trailer.
func TestUnsignedTrailerEnds(t *testing.T) {
	for name, end := range map[string]string{
		"CRLF twice": "\r\n\r\n", "no empty line": "\r\n", "LF, CRLF": "\n\r\n", "minio-go": "\n\r\n\r\n",
	} {
		v, r := streamRequest(t, strings.NewReader("3\r\nabc\r\n0\r\nx-amz-checksum-crc32:AAAAAA=="+end), 3)
		if got, _, err := readAll(v, r); err != nil || string(got) != "abc" {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
}

func TestUnsignedTrailerRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		stream  string
		decoded int
		want    sigv4.ErrorCode
	}{
		"less than declared": {string(frame([]byte("abc"), 3)), 4, sigv4.IncompleteBody},
		"more than declared": {string(frame([]byte("abc"), 3)), 2, sigv4.IncompleteBody},
		"chunk signature":    {"3;chunk-signature=00\r\nabc\r\n0\r\n\r\n", 3, sigv4.BadChunk},
		"trailer absent":     {"3\r\nabc\r\n0\r\n\r\n", 3, sigv4.BadTrailer},
		"trailer signed":     {"3\r\nabc\r\n0\r\nx-amz-trailer-signature:00\r\n\r\n", 3, sigv4.BadTrailer},
		"garbage":            {string(frame([]byte("abc"), 3)) + "0", 3, sigv4.BadChunk},
		"three ends":         {string(frame([]byte("abc"), 3)) + "\r\n\r\n", 3, sigv4.BadChunk},
		"garbage after ends": {string(frame([]byte("abc"), 3)) + "\r\n0", 3, sigv4.BadChunk},
		"nothing":            {"", 3, sigv4.IncompleteBody},
	} {
		t.Run(name, func(t *testing.T) {
			v, r := streamRequest(t, strings.NewReader(c.stream), c.decoded)
			_, _, err := readAll(v, r)
			wantCode(t, err, c.want)
		})
	}
}

func TestDecodedLength(t *testing.T) {
	for name, c := range map[string]struct {
		values []string
		want   sigv4.ErrorCode
	}{
		"absent":   {nil, sigv4.MissingDecodedLength},
		"text":     {[]string{"x"}, sigv4.InvalidDecodedLength},
		"negative": {[]string{"-1"}, sigv4.InvalidDecodedLength},
		"twice":    {[]string{"1", "1"}, sigv4.InvalidDecodedLength},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRequest(t, "PUT", "http://h/b/k", "")
			r.Header["X-Amz-Decoded-Content-Length"] = c.values
			if c.values == nil {
				r.Header.Del("X-Amz-Decoded-Content-Length")
			}
			sign(t, r, "s3", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
			v, err := verifier("s3").Verify(r)
			if err != nil {
				t.Fatalf("verifying: %v", err)
			}
			_, err = v.Body(r)
			wantCode(t, err, c.want)
		})
	}
}
