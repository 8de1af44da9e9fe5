// SPDX-License-Identifier: Apache-2.0

package s3gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sidekey/sidekey/proxy"
)

// wired is a gateway behind the listener of the sidecar itself, before a store
// that counts.
type wired struct {
	*hostile
	address string
	asked   atomic.Int64 // requests of the store
	seen    atomic.Pointer[http.Request]
}

func newWired(t testing.TB) *wired {
	t.Helper()
	w := &wired{hostile: newHostile(t)}
	w.answers(func(out http.ResponseWriter, r *http.Request) {
		w.asked.Add(1)
		w.seen.Store(r)
		w.honest.ServeHTTP(out, r)
	})
	w.address = serve(t, w.gateway)
	w.endpoint = "http://" + w.address
	return w
}

// serve has the sidecar's own server serve a handler.
func serve(t testing.TB, handler http.Handler) (address string) {
	t.Helper()
	listener, err := proxy.Listen("127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- proxy.ServeHTTP(ctx, listener, handler, slog.New(slog.NewTextHandler(io.Discard, nil)))
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("ending the server: %v", err)
		}
	})
	return listener.Addr().String()
}

// wire is a signed request as it goes over the connection.
func (w *wired) wire(t testing.TB, method, target, body string, header map[string]string) string {
	t.Helper()
	var b bytes.Buffer
	if err := w.rawRequest(t, method, target, body, header).Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// last is answered with 417, and ends the connection if something before has not.
const last = "GET / HTTP/1.1\r\nHost: h\r\nExpect: the-end\r\n\r\n"

// exchange sends bytes and returns the status codes of all answers until the
// server closes.
func (w *wired) exchange(t testing.TB, text string) (codes []int) {
	t.Helper()
	conn, err := net.Dial("tcp", w.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	go io.WriteString(conn, text+last) // a server that has refused may not read on
	in := bufio.NewReader(conn)
	for {
		answer, err := http.ReadResponse(in, nil)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the server waits for more of %.300q", text)
		}
		if n := len(codes); err != nil && n > 1 && codes[n-1] == http.StatusExpectationFailed {
			return codes[:n-1]
		}
		if err != nil {
			return codes
		}
		if answer.StatusCode != http.StatusContinue {
			codes = append(codes, answer.StatusCode)
		}
		io.Copy(io.Discard, answer.Body)
	}
}

// TestSmuggledRequests puts a signed DELETE where only a confused server sees a
// request: in a body. The object that it names must stay.
func TestSmuggledRequests(t *testing.T) {
	w := newWired(t)
	w.put(t, "victim", content(100))
	smuggled := w.wire(t, "DELETE", "/docs/victim", "", nil)
	plain := w.wire(t, "PUT", "/docs/k", smuggled, nil)
	chunked := w.wire(t, "PUT", "/docs/k", "0\r\n\r\n"+smuggled, nil)
	unsigned := strings.Replace(plain, "Signature=", "Signature=0", 1)
	replace := func(in, what, by string) string {
		t.Helper()
		if !strings.Contains(in, what) {
			t.Fatalf("%q is not in the request", what)
		}
		return strings.Replace(in, what, by, 1)
	}
	for name, text := range map[string]string{
		"length and chunks":            replace(chunked, "Content-Length:", "Transfer-Encoding: chunked\r\nContent-Length:"),
		"chunks after the length":      replace(chunked, "\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n"),
		"chunks, in capitals":          replace(chunked, "Content-Length:", "TRANSFER-ENCODING: Chunked\r\nContent-Length:"),
		"chunks twice":                 replace(chunked, "Content-Length:", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\nContent-Length:"),
		"chunks in a list":             replace(chunked, "Content-Length:", "Transfer-Encoding: identity, chunked\r\nContent-Length:"),
		"an unknown encoding":          replace(chunked, "Content-Length:", "Transfer-Encoding: xchunked\r\nContent-Length:"),
		"an encoding with a tab":       replace(chunked, "Content-Length:", "Transfer-Encoding:\tchunked\r\nContent-Length:"),
		"an encoding, folded":          replace(chunked, "Content-Length:", "Transfer-Encoding:\r\n chunked\r\nContent-Length:"),
		"an encoding, vertical":        replace(chunked, "Content-Length:", "Transfer-Encoding: \x0bchunked\r\nContent-Length:"),
		"a space before the colon":     replace(chunked, "Content-Length:", "Transfer-Encoding : chunked\r\nContent-Length:"),
		"a space before the name":      replace(chunked, "\r\nHost:", "\r\n Transfer-Encoding: chunked\r\nHost:"),
		"two lengths":                  replace(plain, "Content-Length:", "Content-Length: 0\r\nContent-Length:"),
		"two lengths, in one":          replace(plain, "Content-Length: ", "Content-Length: 0, "),
		"a signed length":              replace(plain, "Content-Length: ", "Content-Length: +"),
		"a length in hex":              replace(plain, "Content-Length: ", "Content-Length: 0x"),
		"a negative length":            replace(plain, "Content-Length: ", "Content-Length: -"),
		"a huge length":                replace(plain, "Content-Length: ", "Content-Length: 99999999999999999999"),
		"a wrong signature":            unsigned,
		"a wrong signature and chunks": replace(unsigned, "Content-Length:", "Transfer-Encoding: chunked\r\nContent-Length:"),
		"a bare LF":                    replace(plain, "\r\nContent-Length:", "\r\nX-A: b\nContent-Length: 0\r\nContent-Length:"),
		"a bare CR":                    replace(plain, "\r\nContent-Length:", "\r\nX-A: b\rContent-Length: 0\r\nContent-Length:"),
		// By RFC 9112, HTTP/1.0 has no chunks: the length counts.
		"HTTP/1.0 and chunks":           replace(replace(chunked, "HTTP/1.1", "HTTP/1.0"), "Content-Length:", "Transfer-Encoding: chunked\r\nContent-Length:"),
		"HTTP/1.0, kept alive":          replace(replace(unsigned, "HTTP/1.1", "HTTP/1.0"), "\r\n\r\n", "\r\nConnection: keep-alive\r\n\r\n"),
		"an upgrade":                    replace(unsigned, "\r\n\r\n", "\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"),
		"a GET with a body":             w.wire(t, "GET", "/docs/absent", smuggled, nil),
		"a HEAD with a body":            w.wire(t, "HEAD", "/docs/absent", smuggled, nil),
		"a preflight with a body":       "OPTIONS /docs/k HTTP/1.1\r\nHost: h\r\nContent-Length: " + fmt.Sprint(len(smuggled)) + "\r\n\r\n" + smuggled,
		"a trailer that is a length":    replace(chunked, "Content-Length:", "Transfer-Encoding: chunked\r\nTrailer: Content-Length\r\nContent-Length:"),
		"a chunk with a bare LF":        replace(replace(chunked, "Content-Length:", "Transfer-Encoding: chunked\r\nContent-Length:"), "0\r\n\r\n", "2\nxx\n0\n\n"),
		"a chunk of a huge size":        replace(replace(chunked, "Content-Length:", "Transfer-Encoding: chunked\r\nContent-Length:"), "0\r\n\r\n", "fffffffffffffffff\r\n"),
		"a chunk with a long extension": replace(replace(chunked, "Content-Length:", "Transfer-Encoding: chunked\r\nContent-Length:"), "0\r\n\r\n", "1;"+strings.Repeat("x", 20_000)+"\r\nx\r\n0\r\n\r\n"),
	} {
		w.exchange(t, text)
		if _, err := w.store.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: docs, Key: aws.String("victim")}); err != nil {
			t.Errorf("%s: the request in the body was served: %v", name, err)
			w.put(t, "victim", content(100))
		}
		got, _, err := w.get(t, "k")
		if err == nil && (name != "HTTP/1.0 and chunks" || string(got) != "0\r\n\r\n"+smuggled) {
			t.Errorf("%s: k was stored: %q", name, got)
		}
		if err == nil {
			w.app.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: docs, Key: aws.String("k")})
		}
	}
	if codes := w.exchange(t, smuggled); !slices.Equal(codes, []int{204}) {
		t.Errorf("the request itself was answered with %v: the test shows nothing", codes)
	}
	w.mustBeAbsent(t, "victim")
}

// TestChunksEndTheConnection signs a request in chunks without its length, and
// adds one: who stands before the gateway may go by that.
func TestChunksEndTheConnection(t *testing.T) {
	w := newWired(t)
	w.put(t, "victim", content(100))
	framed := "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"
	r := w.rawRequest(t, "PUT", "/docs/k", "", map[string]string{
		"x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "x-amz-decoded-content-length": "5",
		"x-amz-trailer": "x-amz-checksum-crc32", "Content-Encoding": "aws-chunked",
	})
	r.Body, r.ContentLength, r.TransferEncoding = io.NopCloser(strings.NewReader(framed)), -1, []string{"chunked"}
	var b bytes.Buffer
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"chunks":            b.String(),
		"chunks and length": strings.Replace(b.String(), "Transfer-Encoding:", "Content-Length: 5\r\nTransfer-Encoding:", 1),
	} {
		codes := w.exchange(t, text+w.wire(t, "DELETE", "/docs/victim", "", nil))
		if !slices.Equal(codes, []int{200}) {
			t.Errorf("%s: got %v", name, codes)
		}
		if got, _, err := w.get(t, "k"); err != nil || string(got) != "hello" {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
		if _, _, err := w.get(t, "victim"); err != nil {
			t.Errorf("%s: what followed was served: %v", name, err)
		}
	}
}

// TestBadRequests are refused, by the server or the gateway, before the store
// hears of them.
func TestBadRequests(t *testing.T) {
	w := newWired(t)
	plain := w.wire(t, "PUT", "/docs/k", "content", nil)
	get := w.wire(t, "GET", "/docs/k", "", nil)
	header := func(lines string) string { return strings.Replace(plain, "\r\n\r\n", "\r\n"+lines+"\r\n\r\n", 1) }
	target := func(by string) string { return strings.Replace(get, "GET /docs/k ", "GET "+by+" ", 1) }
	host := "Host: " + w.address
	before := w.asked.Load()
	for name, c := range map[string]struct {
		text string
		want int
	}{
		"no host":                      {strings.Replace(plain, host+"\r\n", "", 1), 400},
		"two hosts":                    {strings.Replace(plain, host, host+"\r\n"+host, 1), 400},
		"two hosts in one":             {strings.Replace(plain, host, host+", other", 1), 400},
		"an empty host":                {strings.Replace(plain, host, "Host:", 1), 403},
		"another host":                 {strings.Replace(plain, host, "Host: docs.s3.test", 1), 403},
		"another host in the target":   {target("http://docs.s3.test/docs/k"), 403},
		"another scheme in the target": {target("ftp://" + w.address + "/docs/../k"), 403},
		"a target with a fragment":     {target("/docs/k#f"), 403},
		"an authority as target":       {target("docs.s3.test:80"), 403},
		"an asterisk":                  {strings.Replace(get, "GET /docs/k ", "OPTIONS * ", 1), 200}, // by the server
		"a tunnel":                     {strings.Replace(get, "GET /docs/k ", "CONNECT docs.s3.test:80 ", 1), 403},
		"a trace":                      {strings.Replace(get, "GET ", "TRACE ", 1), 403},
		"a target without slash":       {target("docs/k"), 400},
		"a control character":          {target("/docs/\x01k"), 400},
		"a space in the target":        {target("/docs/a b"), 400},
		"a bad escape":                 {target("/docs/%zz"), 400},
		"a half escape":                {target("/docs/%4"), 400},
		"a long target":                {target("/docs/" + strings.Repeat("k", 100_000)), 431},
		"a method in lower case":       {strings.Replace(get, "GET ", "get ", 1), 403},
		"no version":                   {strings.Replace(get, " HTTP/1.1", "", 1), 400},
		"version 9":                    {strings.Replace(get, "HTTP/1.1", "HTTP/9.9", 1), 505},
		"the preface of HTTP/2":        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0},
		"a name with a space":          {header("X Amz: a"), 400},
		"a name with a NUL":            {header("X-\x00: a"), 400},
		"a name with an umlaut":        {header("X-\u00e4: a"), 400},
		"no name":                      {header(": a"), 400},
		"no colon":                     {header("X-A"), 400},
		"a value with a NUL":           {header("X-A: a\x00b"), 400},
		"a value with a CR":            {header("X-A: a\rb"), 400},
		"a second header by LF":        {header("X-A: a\nX-Amz-Acl: public-read"), 403},
		"an unsigned header":           {header("X-Amz-Acl: public-read"), 403},
		"folded, unsigned":             {header("X-Amz-Acl:\r\n public-read"), 403},
		"two signatures":               {header("Authorization: AWS4-HMAC-SHA256 x"), 400},
		"two dates":                    {header("X-Amz-Date: 20260101T000000Z"), 400},
		"an unknown expectation":       {header("Expect: 200-maybe"), 417},
		"9 KiB of headers":             {header("X-A: " + strings.Repeat("a", 9<<10)), 400},
		"9 KiB in many headers":        {header(strings.TrimSuffix(strings.Repeat("X-A: a\r\n", 1500), "\r\n")), 400},
		"100 KiB of headers":           {header("X-A: " + strings.Repeat("a", 100<<10)), 431},
		"100 KiB in many headers":      {header(strings.TrimSuffix(strings.Repeat("A:\r\n", 25<<10), "\r\n")), 431},
		"TLS":                          {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400},
		"garbage":                      {strings.Repeat("\xff", 1000) + "\r\n\r\n", 400},
	} {
		codes := w.exchange(t, c.text)
		if c.want == 0 && len(codes) == 1 && codes[0] >= 400 || slices.Equal(codes, []int{c.want}) {
			continue
		}
		t.Errorf("%s: got %v, want %d", name, codes, c.want)
	}
	if asked := w.asked.Load() - before; asked != 0 {
		t.Errorf("the store was asked %d times", asked)
	}
	if codes := w.exchange(t, plain); !slices.Equal(codes, []int{200}) || w.asked.Load() == before {
		t.Errorf("the request itself was answered with %v: the test shows nothing", codes)
	}
}

// TestHeaderSectionTooLarge names the limit, to who has signed and who has not.
func TestHeaderSectionTooLarge(t *testing.T) {
	s := newMemoryStack(t)
	r := s.rawRequest(t, "PUT", "/docs/k", "x", map[string]string{"Cache-Control": strings.Repeat("a", 8<<10)})
	if status, got := s.elements(t, r); status != 400 || got["Code"] != "RequestHeaderSectionTooLarge" || got["MaxSizeAllowed"] != "8192" {
		t.Errorf("got %d %v", status, got)
	}
	s.mustBeAbsent(t, "k")
	r = s.rawRequest(t, "PUT", "/docs/k", "x", map[string]string{"Cache-Control": strings.Repeat("a", 7<<10)})
	if status, e := s.do(t, r); status != 200 {
		t.Errorf("7 KiB: got %d %+v", status, e)
	}
}

// TestOldAndBareForms are unusual and mean what they say: they are served.
func TestOldAndBareForms(t *testing.T) {
	w := newWired(t)
	plain := w.wire(t, "PUT", "/docs/k", "content", nil)
	for name, text := range map[string]string{
		"HTTP/1.0":               strings.Replace(plain, "HTTP/1.1", "HTTP/1.0", 1),
		"line feeds only":        strings.ReplaceAll(plain, "\r\n", "\n"),
		"the host in the target": strings.Replace(plain, "PUT /", "PUT http://"+w.address+"/", 1),
		"the same length twice":  strings.Replace(plain, "Content-Length: 7", "Content-Length: 7\r\nContent-Length: 7", 1),
		"an empty line before":   "\r\n" + plain,
	} {
		before := w.asked.Load()
		codes := w.exchange(t, text)
		if asked := w.asked.Load() - before; !slices.Equal(codes, []int{200}) && (asked != 0 || len(codes) != 1 || codes[0] < 400) {
			t.Errorf("%s: got %v, the store was asked %d times", name, codes, asked)
		}
		if got, _, err := w.get(t, "k"); slices.Equal(codes, []int{200}) && (err != nil || string(got) != "content") {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
}

// TestPipelined has two requests in one write, and one after a refusal.
func TestPipelined(t *testing.T) {
	w := newWired(t)
	a, b := w.wire(t, "PUT", "/docs/a", "content a", nil), w.wire(t, "PUT", "/docs/b", "content b", nil)
	if codes := w.exchange(t, a+b); !slices.Equal(codes, []int{200, 200}) {
		t.Errorf("got %v", codes)
	}
	for _, key := range []string{"a", "b"} {
		if got, _, err := w.get(t, key); err != nil || string(got) != "content "+key {
			t.Errorf("%s: got %q, %v", key, got, err)
		}
	}
	refused := strings.Replace(w.wire(t, "PUT", "/docs/c", "content c", nil), "Signature=", "Signature=0", 1)
	codes := w.exchange(t, refused+w.wire(t, "PUT", "/docs/d", "content d", nil))
	if len(codes) == 0 || codes[0] != 403 || len(codes) > 1 && codes[1] != 200 {
		t.Errorf("after a refusal: got %v", codes)
	}
	w.mustBeAbsent(t, "c")
}

// TestExpectContinue has the gateway ask for no body before it knows who sends it.
func TestExpectContinue(t *testing.T) {
	w := newWired(t)
	text := w.wire(t, "PUT", "/docs/k", "content", map[string]string{"Expect": "100-continue"})
	head, body, _ := strings.Cut(text, "\r\n\r\n")
	ask := func(head string) (*bufio.Reader, net.Conn) {
		conn, err := net.Dial("tcp", w.address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		io.WriteString(conn, head+"\r\n\r\n")
		return bufio.NewReader(conn), conn
	}
	for name, c := range map[string]struct {
		head string
		want int
	}{
		"a wrong signature":  {strings.Replace(head, "Signature=", "Signature=0", 1), 403},
		"an unsigned header": {head + "\r\nX-Amz-Acl: public-read", 403},
		"a refused form":     {strings.Split(w.wire(t, "PUT", "/docs/k?append", "content", map[string]string{"Expect": "100-continue"}), "\r\n\r\n")[0], 501},
		"a bad declaration":  {strings.Split(w.wire(t, "PUT", "/docs/k", "content", map[string]string{"Expect": "100-continue", "Content-MD5": "x"}), "\r\n\r\n")[0], 400},
	} {
		before := w.asked.Load()
		in, _ := ask(c.head)
		answer, err := http.ReadResponse(in, nil)
		if err != nil || answer.StatusCode != c.want {
			t.Errorf("%s: got %v, %v", name, answer, err)
		}
		if w.asked.Load() != before {
			t.Errorf("%s: the store was asked", name)
		}
	}
	in, conn := ask(head)
	answer, err := http.ReadResponse(in, nil)
	if err != nil || answer.StatusCode != http.StatusContinue {
		t.Fatalf("got %v, %v", answer, err)
	}
	io.WriteString(conn, body)
	if answer, err = http.ReadResponse(in, nil); err != nil || answer.StatusCode != http.StatusOK {
		t.Errorf("got %v, %v", answer, err)
	}
	if got, _, err := w.get(t, "k"); err != nil || string(got) != "content" {
		t.Errorf("got %q, %v", got, err)
	}
}

// oddKeys are names that something on the way might change.
var oddKeys = []string{
	"a\x00b", "a\rb", "a\nb", "a\r\nX-Amz-Acl: public-read", "a\tb", "\x7f", " lead", "trail ", "a//b", "//a", "/a", "a/", "a/../b", "../a", "..", ".", "./a", "a/.", "a/..",
	"a?b", "a#b", "a%2Fb", "a%b", "a+b", "a&b=c", "a;b", "a\\b", "a:b", "a@b", "~a", "\u00e4", "a\u0301", "\u202e", "\U0001f600", "\ufeff", "minio", ".minio.sys/x", "%2e%2e/a", "*", "a\"b'c<d>",
}

// TestOddKeys puts and gets each: it is that very object, or it is refused and
// there is none.
func TestOddKeys(t *testing.T) {
	w := newWired(t)
	for name, s := range map[string]*stack{"memory": w.stack, "MinIO": newMinIOStack(t)} {
		served := 0
		for i, key := range oddKeys {
			want := fmt.Sprint("content ", i)
			_, err := s.app.PutObject(t.Context(), &s3.PutObjectInput{Bucket: docs, Key: &key, Body: strings.NewReader(want)})
			if err != nil {
				if status(err)/100 != 4 {
					t.Errorf("%s: PUT %q: %v", name, key, err)
				}
				continue
			}
			got, _, err := s.get(t, key)
			if err != nil || string(got) != want {
				t.Errorf("%s: GET %q: got %q, %v", name, key, got, err)
			}
			served++
		}
		if served < len(oddKeys)/2 {
			t.Errorf("%s: %d of %d keys were served", name, served, len(oddKeys))
		}
		out, err := s.app.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: docs, EncodingType: "url"})
		if err != nil || int(*out.KeyCount) > len(oddKeys) {
			t.Errorf("%s: listing: %v, %v", name, out, err)
		}
	}
	// What the store sees on the request line is escaped.
	w.app.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: docs, Key: aws.String("a\r\nb\x00 c")})
	if uri := w.seen.Load().RequestURI; uri != "/docs/a%0D%0Ab%00%20c" {
		t.Errorf("the store saw %q", uri)
	}
}
