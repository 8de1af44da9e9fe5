// SPDX-License-Identifier: Apache-2.0

package s3gateway_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/sidekey/sidekey/proxy"
	"github.com/sidekey/sidekey/s3gateway"
)

// hostile is a store whose operator answers as lie says; without a lie it is
// the store in memory.
type hostile struct {
	*stack
	honest http.Handler
	lie    atomic.Pointer[http.HandlerFunc]
}

func newHostile(t testing.TB) *hostile { return newHostileWith(t) }

func newHostileWith(t testing.TB, edit ...func(*s3gateway.Config)) *hostile {
	t.Helper()
	h := &hostile{honest: gofakes3.New(s3mem.New()).Server()}
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if lie := h.lie.Load(); lie != nil {
			(*lie)(w, r)
			return
		}
		h.honest.ServeHTTP(w, r)
	}))
	t.Cleanup(store.Close)
	h.stack = newStack(t, store.URL, edit...)
	return h
}

func (h *hostile) answers(lie http.HandlerFunc) { h.lie.Store(&lie) }

// head returns the headers that the store has for an object.
func (h *hostile) head(key string) http.Header {
	w := httptest.NewRecorder()
	h.honest.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/docs/"+key, nil))
	return w.Result().Header
}

// raw is what a client sees on the wire.
func (s *stack) raw(t testing.TB, r *http.Request) string {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.endpoint, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r.Close = true
	if err := r.Write(conn); err != nil {
		t.Fatal(err)
	}
	got, _ := io.ReadAll(conn)
	return string(got)
}

// TestLyingStore has the store answer reads wrongly in every way: nothing but
// bytes of the object ever comes back, and never the wrong ones for a range.
func TestLyingStore(t *testing.T) {
	h := newHostile(t)
	want := content(5*chunk + 100)
	h.put(t, "k", want)
	h.put(t, "other", bytes.Repeat([]byte("other"), 5*chunk/5+20)[:5*chunk+100])
	k, other := h.stack.stored(t, "k"), h.stack.stored(t, "other")
	header, otherHeader := h.head("k"), h.head("other")
	serve := func(w http.ResponseWriter, from http.Header, status int, edit map[string]string, body []byte) {
		for name, values := range from {
			w.Header()[name] = values
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		for name, value := range edit {
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		w.Write(body)
	}
	total := len(k.body)
	lies := map[string]http.HandlerFunc{
		"all for a range": func(w http.ResponseWriter, r *http.Request) { serve(w, header, 200, nil, k.body) },
		"a range for all": func(w http.ResponseWriter, r *http.Request) {
			serve(w, header, 206, map[string]string{"Content-Range": fmt.Sprintf("bytes 100-%d/%d", total-1, total)}, k.body[100:])
		},
		"total too large": func(w http.ResponseWriter, r *http.Request) {
			serve(w, header, 206, map[string]string{"Content-Range": fmt.Sprintf("bytes 0-%d/%d", total-1, total+16400)}, k.body)
		},
		"total too small": func(w http.ResponseWriter, r *http.Request) {
			serve(w, header, 206, map[string]string{"Content-Range": fmt.Sprintf("bytes 0-%d/%d", total-16401, total-16400)}, k.body[:total-16400])
		},
		"offset moved": func(w http.ResponseWriter, r *http.Request) {
			serve(w, header, 206, map[string]string{"Content-Range": fmt.Sprintf("bytes 16400-%d/%d", total-1, total)}, k.body[:total-16400])
		},
		"end past the total": func(w http.ResponseWriter, r *http.Request) {
			serve(w, header, 206, map[string]string{"Content-Range": fmt.Sprintf("bytes 0-%d/%d", total, total)}, k.body)
		},
		"largest numbers": func(w http.ResponseWriter, r *http.Request) {
			serve(w, header, 206, map[string]string{"Content-Range": "bytes 0-9223372036854775807/9223372036854775807"}, k.body)
		},
		"no Content-Range": func(w http.ResponseWriter, r *http.Request) { serve(w, header, 206, nil, k.body) },
		"other's body":     func(w http.ResponseWriter, r *http.Request) { serve(w, header, 200, nil, other.body) },
		"other's header":   func(w http.ResponseWriter, r *http.Request) { serve(w, otherHeader, 200, nil, k.body) },
		"all of other":     func(w http.ResponseWriter, r *http.Request) { serve(w, otherHeader, 200, nil, other.body) },
		"both headers": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Add("X-Amz-Meta-Sidekey", otherHeader.Get("X-Amz-Meta-Sidekey"))
			w.Header().Add("X-Amz-Meta-Sidekey", header.Get("X-Amz-Meta-Sidekey"))
			w.Write(k.body)
		},
		"no length": func(w http.ResponseWriter, r *http.Request) {
			for name, values := range header {
				w.Header()[name] = values
			}
			w.Header().Del("Content-Length")
			w.(http.Flusher).Flush()
			w.Write(k.body)
		},
		"short body": func(w http.ResponseWriter, r *http.Request) {
			serve(w, header, 200, map[string]string{"Content-Length": fmt.Sprint(total)}, k.body[:total/2])
		},
		"no content": func(w http.ResponseWriter, r *http.Request) { serve(w, header, 204, nil, nil) },
		"gzip": func(w http.ResponseWriter, r *http.Request) {
			serve(w, header, 200, map[string]string{"Content-Encoding": "gzip"}, k.body)
		},
		"other on the second request": func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("If-Match") == "" {
				serve(w, header, 206, map[string]string{"Content-Range": fmt.Sprintf("bytes 0-99/%d", total)}, k.body[:100])
				return
			}
			serve(w, otherHeader, 200, map[string]string{"Etag": header.Get("Etag")}, other.body)
		},
		"other's body on the second request": func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("If-Match") == "" {
				serve(w, header, 206, map[string]string{"Content-Range": fmt.Sprintf("bytes 0-99/%d", total)}, k.body[:100])
				return
			}
			var from, to int
			if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to); err != nil {
				from, to = 0, total-1
			}
			serve(w, header, 206, map[string]string{"Content-Range": fmt.Sprintf("bytes %d-%d/%d", from, to, total)}, other.body[from:to+1])
		},
		"redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/docs/other", 307) },
		"switching protocols": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Upgrade", "x")
			w.WriteHeader(101)
		},
		"not modified": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(304) },
		"endless header": func(w http.ResponseWriter, r *http.Request) {
			conn, buf, _ := w.(http.Hijacker).Hijack()
			defer conn.Close()
			buf.WriteString("HTTP/1.1 200 OK\r\n")
			for i := 0; i < 1<<20; i++ {
				if _, err := fmt.Fprintf(buf, "X-Amz-Meta-A%d: %s\r\n", i, strings.Repeat("x", 1000)); err != nil {
					return
				}
			}
		},
	}
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			h.answers(lie)
			got, out, err := h.get(t, "k")
			if !bytes.HasPrefix(want, got) || err == nil && len(got) != len(want) {
				t.Errorf("GET: got %d bytes, %v", len(got), err)
			}
			if err == nil && *out.ContentLength != int64(len(want)) {
				t.Errorf("GET: got the length %d", *out.ContentLength)
			}
			for _, r := range [][2]int{{0, 0}, {1, chunk}, {chunk, chunk}, {chunk - 1, chunk + 1}, {3 * chunk, len(want) - 1}, {len(want) - 1, len(want) - 1}} {
				got, out, err := h.get(t, "k", func(in *s3.GetObjectInput) { in.Range = aws.String(fmt.Sprintf("bytes=%d-%d", r[0], r[1])) })
				if !bytes.HasPrefix(want[r[0]:r[1]+1], got) || err == nil && len(got) != r[1]+1-r[0] {
					t.Errorf("GET %v: got %d bytes, %v", r, len(got), err)
				}
				if err == nil && *out.ContentRange != fmt.Sprintf("bytes %d-%d/%d", r[0], r[1], len(want)) {
					t.Errorf("GET %v: got %s", r, *out.ContentRange)
				}
			}
			if _, err := h.app.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(bucket), Key: aws.String("k")}); err != nil {
				t.Logf("HEAD: %v", err)
			}
		})
	}
}

// TestAbortIsSeen has a chunk in the middle damaged and looks at the wire: the
// announced length is not reached and nothing after the damage is there.
func TestAbortIsSeen(t *testing.T) {
	s := newMemoryStack(t)
	want := content(40 * chunk)
	s.put(t, "k", want)
	o := s.stored(t, "k")
	o.body = flip(o.body, 56+20*(chunk+16)+5)
	s.overwrite(t, "k", o)
	wire := s.raw(t, s.rawRequest(t, "GET", "/docs/k", "", nil))
	head, body, _ := strings.Cut(wire, "\r\n\r\n")
	if !strings.Contains(head, fmt.Sprintf("Content-Length: %d", len(want))) || strings.Contains(strings.ToLower(head), "transfer-encoding") {
		t.Errorf("got the header %s", head)
	}
	if len(body) > 20*chunk || !strings.HasPrefix(string(want), body) {
		t.Errorf("got %d bytes", len(body))
	}
}

// TestReservedBucket asks for what lies beside the buckets of a MinIO server:
// its administration, which takes the same signatures.
func TestReservedBucket(t *testing.T) {
	s := newMinIOStack(t)
	for _, target := range []string{"/minio/admin/v3/info?acl", "/minio/admin/v3/info?tagging", "/minio/admin/v3/info?retention", "/minio/v2/metrics/cluster?acl", "/minio?acl", "/minio/admin/v3/info"} {
		if status, e := s.do(t, s.rawRequest(t, "GET", target, "", nil)); e.Code != "InvalidBucketName" || status != 400 {
			t.Errorf("%s: got %d %+v", target, status, e)
		}
	}
	if status, e := s.do(t, s.rawRequest(t, "DELETE", "/minio/admin/v3/tier/x", "", nil)); e.Code != "InvalidBucketName" {
		t.Errorf("DELETE: got %d %+v", status, e)
	}
}

// TestRefusalsAreOnRecord makes requests that are refused for their address.
func TestRefusalsAreOnRecord(t *testing.T) {
	s := newMemoryStack(t)
	for _, c := range []struct {
		target string
		header map[string]string
		code   string
	}{
		{"/a/k", nil, "InvalidBucketName"},
		{"//docs/k", nil, "InvalidBucketName"},
		{"/docs/" + strings.Repeat("k", 1025), nil, "KeyTooLongError"},
		{"/docs/%ff", nil, "InvalidURI"},
		{"/docs/k?X-Amz-Acl=private", map[string]string{"X-Amz-Acl": "public-read"}, "InvalidArgument"},
		{"/docs/k", map[string]string{"Host": "x.s3-object-lambda.eu-central-1.amazonaws.com"}, "NotImplemented"},
		{"/docs/k?X-Amz-Meta-a%20b=1", nil, "InvalidArgument"},
		{"/docs/k?X-Amz-Meta-a=1%0d%0ax:2", nil, "InvalidArgument"},
		{"/docs/k?X-Amz-Tagging=%0a", nil, "InvalidArgument"},
	} {
		s.put(t, "between", nil)
		status, e := s.do(t, s.rawRequest(t, "PUT", c.target, "content", c.header))
		if e.Code != c.code || status/100 != 4 && status != 501 {
			t.Errorf("%s: got %d %+v", c.target, status, e)
		}
		if codes := s.lastCodes(t); !slices.Contains(codes, c.code) {
			t.Errorf("%s: on record: %v", c.target, codes)
		}
	}
}

// TestHiddenHeaders tries names that mean the same to some store, and the query
// string in place of headers.
func TestHiddenHeaders(t *testing.T) {
	s := newMemoryStack(t)
	for _, c := range []struct {
		target string
		header map[string]string
	}{
		{"/docs/k?X-Amz-Copy-Source=/docs/a", nil},
		{"/docs/k?x-amz-copy-source=/docs/a", nil},
		{"/docs/k?X-AMZ-COPY-SOURCE=/docs/a", nil},
		{"/docs/k?x-amz-write-offset-bytes=1", nil},
		{"/docs/k?x-minio-extract=true", nil},
		{"/docs/k?UploadId=u&partNumber=1", nil},
		{"/docs/k?uploadid=u", nil},
		{"/docs/k?%75ploadId=u&partNumber=1", nil},
		{"/docs/k?Append", nil},
		{"/docs/k?append=&position=1", nil},
		{"/docs/k?tagging=", nil},
		{"/docs/k?tagging", nil},
		{"/docs/k?legal-hold", nil},
		{"/docs/k?retention", nil},
		{"/docs/k?torrent", nil},
		{"/docs/k?restore", nil},
		{"/docs/k?renameObject", map[string]string{"X-Amz-Rename-Source": "a"}},
		{"/docs/k?versionId=1", nil},
		{"/docs/k?X-Amz-Meta-Snowball-Auto-Extract=true", nil},
		{"/docs/k?X-Amz-Meta-Sidekey=x", nil},
		{"/docs/k", map[string]string{"X-Amz-Meta-Sidekey": "x"}},
		{"/docs/k", map[string]string{"X-Amz-Meta-Minio-Snowball-Auto-Extract": "true"}},
		{"/docs/k", map[string]string{"X-Amz-Meta_Sidekey": "x"}},
		{"/docs/k", map[string]string{"X-Amz-Copy-Source-Range": "bytes=0-1"}},
		{"/docs/k", map[string]string{"X-Amz-Metadata-Directive": "REPLACE"}},
		{"/docs/k", map[string]string{"X-Amz-Copy-Source": ""}},
		{"/docs/k", map[string]string{"X-Minio-Source-Replication-Request": "true"}},
		{"/docs/k", map[string]string{"X-Amz-Server-Side-Encryption-Customer-Key": "x"}},
		{"/docs/k", map[string]string{"X-Amz-Fwd-Status": "200"}},
		{"/docs/k", map[string]string{"X-Amz-Object-Size": "200"}},
	} {
		if status, e := s.do(t, s.rawRequest(t, "PUT", c.target, "content", c.header)); status < 400 {
			t.Errorf("%s %v: got %d %+v", c.target, c.header, status, e)
		}
		s.mustBeAbsent(t, "k")
	}
	// These change nothing for the gateway, and must not reach the store.
	h := newHostile(t)
	h.answers(func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"X-Http-Method-Override", "X-Forwarded-Host", "X-Original-Url", "X-Rewrite-Url", "X_amz_copy_source", "X-Amz-Meta-Late"} {
			if r.Header.Get(name) != "" || r.Trailer.Get(name) != "" {
				t.Errorf("the store received %s", name)
			}
		}
		h.honest.ServeHTTP(w, r)
	})
	h.do(t, h.rawRequest(t, "PUT", "/docs/k", "content", map[string]string{
		"X-Http-Method-Override": "DELETE", "X-Forwarded-Host": "x", "X-Original-Url": "/docs/other", "X-Rewrite-Url": "/docs/other", "X_amz_copy_source": "/docs/a"}))
}

// TestSmuggling sends framings on which two servers might disagree.
func TestSmuggling(t *testing.T) {
	s := newMemoryStack(t)
	r := s.rawRequest(t, "PUT", "/docs/k", "5\r\nhello\r\n0\r\n\r\n", nil)
	var wire bytes.Buffer
	if err := r.Write(&wire); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string][2]string{
		"CL and TE":       {"Content-Length:", "Transfer-Encoding: chunked\r\nContent-Length:"},
		"TE identity":     {"Content-Length:", "Transfer-Encoding: identity\r\nContent-Length:"},
		"two CL":          {"Content-Length:", "Content-Length: 3\r\nContent-Length:"},
		"TE twice":        {"Content-Length:", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\nContent-Length:"},
		"TE with a space": {"Content-Length:", "Transfer-Encoding : chunked\r\nContent-Length:"},
		"folded":          {"X-Amz-Date:", "X-Amz-Meta-A: b\r\n c\r\nX-Amz-Date:"},
		"unsigned":        {"X-Amz-Date:", "X-Amz-Meta-A: b\r\nX-Amz-Date:"},
		"two hosts":       {"Host:", "Host: other.s3.test\r\nHost:"},
		"Expect":          {"X-Amz-Date:", "Expect: 200-maybe\r\nX-Amz-Date:"},
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.endpoint, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, strings.Replace(wire.String(), edit[0], edit[1], 1))
		conn.(*net.TCPConn).CloseWrite()
		answer, err := http.ReadResponse(bufio.NewReader(conn), r)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if answer.StatusCode < 400 {
			t.Errorf("%s: got %s", name, answer.Status)
		}
		conn.Close()
		s.mustBeAbsent(t, "k")
	}
	absolute := strings.Replace(wire.String(), "PUT /docs/k ", "PUT http://docs.s3.test/other ", 1)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.endpoint, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, absolute)
	if answer, err := http.ReadResponse(bufio.NewReader(conn), r); err != nil || answer.StatusCode != 403 {
		t.Errorf("absolute URI: got %v, %v", answer, err)
	}
}

// TestHostileListing has the store send what would fill the memory.
func TestHostileListing(t *testing.T) {
	for name, piece := range map[string]string{
		"text": strings.Repeat("x", 1<<16), "a tag": "<" + strings.Repeat("x", 1<<16), "depth": strings.Repeat("<a>", 1<<14),
		"an attribute": `<a b="` + strings.Repeat("x", 1<<16), "a comment": "<!--" + strings.Repeat("x", 1<<16),
	} {
		t.Run(name, func(t *testing.T) {
			r, w := io.Pipe()
			sent := 0
			go func() {
				io.WriteString(w, "<ListBucketResult><Contents><Key>")
				for sent < 64<<20 {
					if _, err := io.WriteString(w, piece); err != nil {
						return
					}
					sent += len(piece)
					if name != "depth" {
						piece = strings.Repeat("x", 1<<16)
					}
				}
				w.Close()
			}()
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			err := s3gateway.RewriteSizes(io.Discard, r)
			runtime.ReadMemStats(&after)
			r.Close()
			if grown := int64(after.TotalAlloc) - int64(before.TotalAlloc); err == nil || grown > 48<<20 {
				t.Errorf("%d MiB were allocated, %v", grown>>20, err)
			}
		})
	}
}

// TestControlCharactersInListing passes on what AWS sends for such keys.
func TestControlCharactersInListing(t *testing.T) {
	var out bytes.Buffer
	const listing = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult><Contents><Key>a&#x1;\x02&unknown;\xff</Key><Size>136</Size></Contents></ListBucketResult>"
	if err := s3gateway.RewriteSizes(&out, strings.NewReader(listing)); err != nil || out.String() != strings.Replace(listing, "136", "0", 1) {
		t.Errorf("got %q, %v", out.String(), err)
	}
}

// TestStoreErrorsAreBounded has the store put much into an error.
func TestStoreErrorsAreBounded(t *testing.T) {
	h := newHostile(t)
	h.answers(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(403)
		fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", strings.Repeat("Code", 4000), strings.Repeat("message ", 4000))
	})
	wire := h.raw(t, h.rawRequest(t, "GET", "/docs/k", "", nil))
	if len(wire) > 4096 {
		t.Errorf("%d bytes of the store's error were passed on", len(wire))
	}
	if codes := h.lastCodes(t); len(codes) != 1 || len(codes[0]) > 100 {
		t.Errorf("the record holds an endless code")
	}
}

// TestOverwrittenWhileRead replaces an object between the two requests of one read.
func TestOverwrittenWhileRead(t *testing.T) {
	h := newHostile(t)
	h.put(t, "k", content(5*chunk))
	h.answers(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-Match") != "" {
			w.WriteHeader(412)
			io.WriteString(w, "<Error><Code>PreconditionFailed</Code></Error>")
			return
		}
		r.Header.Set("Range", "bytes=0-99")
		h.honest.ServeHTTP(w, r)
	})
	_, _, err := h.get(t, "k", func(in *s3.GetObjectInput) { in.Range = aws.String("bytes=40000-40001") })
	if code(err) != "ServiceUnavailable" {
		t.Errorf("got %v", err)
	}
}

// TestNoLeaks aborts many requests and wants all goroutines back.
func TestNoLeaks(t *testing.T) {
	s := newMemoryStack(t)
	s.put(t, "k", content(4<<20))
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	before := runtime.NumGoroutine()
	get := s.rawRequest(t, "GET", "/docs/k", "", nil)
	put := s.rawRequest(t, "PUT", "/docs/aborted", string(content(300_000)), nil)
	var wires [2]bytes.Buffer
	get.Write(&wires[0])
	put.Write(&wires[1])
	for i := range 2000 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.endpoint, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		wire := wires[i%2].Bytes()
		if i%2 == 1 {
			wire = wire[:len(wire)-1-i%100_000]
		}
		conn.Write(wire)
		if i%4 == 0 {
			io.CopyN(io.Discard, conn, 1000)
		}
		conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}
	s.mustBeAbsent(t, "aborted")
	for range 200 {
		if runtime.NumGoroutine() < before+50 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("%d goroutines, before %d", runtime.NumGoroutine(), before)
}

// TestRefusedEarly has the store refuse before it has read the body.
func TestRefusedEarly(t *testing.T) {
	h := newHostile(t)
	for _, status := range []int{200, 403, 500} {
		h.answers(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut {
				w.WriteHeader(status)
				return
			}
			h.honest.ServeHTTP(w, r)
		})
		for _, size := range []int{100, 100_000, 3 << 20} {
			_, err := h.app.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("k"), Body: bytes.NewReader(content(size))})
			if err == nil && (status != 200 || size > 1<<20) {
				t.Errorf("%d, %d bytes: accepted", status, size)
			}
		}
	}
}

// TestEditedPresignedURL changes what was signed.
func TestEditedPresignedURL(t *testing.T) {
	s := newMemoryStack(t)
	s.put(t, "k", []byte("secret"))
	presigner := s3.NewPresignClient(s.app)
	signed, err := presigner.PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String("k")})
	if err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(string) string{
		"added":     func(u string) string { return u + "&versionId=1" },
		"key":       func(u string) string { return strings.Replace(u, "/docs/k?", "/docs/k2?", 1) },
		"expires":   func(u string) string { return strings.Replace(u, "X-Amz-Expires=", "X-Amz-Expires=1", 1) },
		"twice":     func(u string) string { return u + "&X-Amz-Signature=" + strings.Repeat("0", 64) },
		"lowercase": func(u string) string { return u + "&x-amz-signature=" + strings.Repeat("0", 64) },
		"override":  func(u string) string { return u + "&response-content-type=text/html" },
	} {
		answer, err := http.Get(edit(signed.URL))
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode < 400 {
			t.Errorf("%s: got %s", name, answer.Status)
		}
	}
}

// TestNotModifiedAtOnce has a store that ignores a range, and then says of the object that
// it had begun to send that it is not modified.
func TestNotModifiedAtOnce(t *testing.T) {
	s := newStackWith(t, between(t, startMinIO(t), func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/docs/empty" {
			return false
		}
		w.Header().Set("Etag", `"d41d8cd98f00b204e9800998ecf8427e"`)
		if r.Header.Get("If-Match") != "" {
			w.WriteHeader(http.StatusNotModified)
		}
		return true
	}), func(r *proxy.ObjectRule) { r.Foreign = proxy.ForeignPass })
	r := s.rawRequest(t, "GET", "/docs/empty", "", map[string]string{"Range": "bytes=0-9", "If-Range": `"another"`})
	if status, e := s.do(t, r); status != http.StatusServiceUnavailable {
		t.Errorf("got %d, %s", status, e.Code)
	}
}
