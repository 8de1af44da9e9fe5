// SPDX-License-Identifier: Apache-2.0

package sigv4_test

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sidekey/sidekey/keysvc/sigv4"
)

const docSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

// parse reads a request as it stands in the documentation, lines ended by LF.
func parse(t *testing.T, text string) *http.Request {
	t.Helper()
	head, body, _ := strings.Cut(text, "\n\n")
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.ReplaceAll(head, "\n", "\r\n") + "\r\n\r\n" + body)))
	if err != nil {
		t.Fatalf("reading the request: %v", err)
	}
	return r
}

func docVerifier(service, secret, now string) *sigv4.Verifier {
	return &sigv4.Verifier{
		Service: service, Region: "us-east-1",
		Secret: func(string) (string, bool) { return secret, true },
		Now: func() time.Time {
			at, _ := time.Parse("20060102T150405Z", now)
			return at
		},
	}
}

// The examples of "Signature Calculations for the Authorization Header" and
// "Authenticating Requests: Using Query Parameters", Amazon S3 API reference.
func TestS3DocumentationExamples(t *testing.T) {
	const auth = "Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
	const empty = "x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\nx-amz-date: 20130524T000000Z\n"
	for name, text := range map[string]string{
		"GET object": "GET /test.txt HTTP/1.1\nHost: examplebucket.s3.amazonaws.com\nRange: bytes=0-9\n" + empty + auth +
			"SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41\n\n",
		"PUT object": "PUT /test$file.text HTTP/1.1\nHost: examplebucket.s3.amazonaws.com\nDate: Fri, 24 May 2013 00:00:00 GMT\nContent-Length: 21\n" +
			"x-amz-date: 20130524T000000Z\nx-amz-storage-class: REDUCED_REDUNDANCY\nx-amz-content-sha256: 44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072\n" + auth +
			"SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class,Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd\n\nWelcome to Amazon S3.",
		"GET lifecycle": "GET /?lifecycle HTTP/1.1\nHost: examplebucket.s3.amazonaws.com\n" + empty + auth +
			"SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543\n\n",
		"list": "GET /?max-keys=2&prefix=J HTTP/1.1\nHost: examplebucket.s3.amazonaws.com\n" + empty + auth +
			"SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7\n\n",
		"presigned": "GET /test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404 HTTP/1.1\nHost: examplebucket.s3.amazonaws.com\n\n",
	} {
		t.Run(name, func(t *testing.T) {
			r := parse(t, text)
			v, err := docVerifier("s3", docSecret, "20130524T000000Z").Verify(r)
			if err != nil {
				t.Fatalf("verifying: %v", err)
			}
			if _, _, err := readBody(t, v, r); err != nil {
				t.Errorf("reading the body: %v", err)
			}
		})
	}
}

// Cases of the Signature Version 4 test suite, service "service".
func TestSuiteExamples(t *testing.T) {
	const tail = "Host: example.amazonaws.com\nX-Amz-Date: 20150830T123600Z\nAuthorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, Signature="
	for name, c := range map[string]struct{ line, signature string }{
		"get-vanilla":                      {"GET / HTTP/1.1", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		"get-vanilla-query-order-key-case": {"GET /?Param2=value2&Param1=value1 HTTP/1.1", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
		"get-relative":                     {"GET /example/.. HTTP/1.1", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		"get-slashes":                      {"GET // HTTP/1.1", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		"post-vanilla":                     {"POST / HTTP/1.1", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
	} {
		t.Run(name, func(t *testing.T) {
			r := parse(t, c.line+"\n"+tail+c.signature+"\n\n")
			if _, err := docVerifier("service", secretKey, "20150830T123600Z").Verify(r); err != nil {
				t.Errorf("verifying: %v", err)
			}
		})
	}
}

// chunkedExample is the upload of "Transferring Payload in Multiple Chunks":
// 65 KiB of "a" in chunks of 64 KiB.
func chunkedExample(framing, length, extra, signedHeaders, seed string, signatures [3]string, trailer string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "PUT /examplebucket/chunkObject.txt HTTP/1.1\nHost: s3.amazonaws.com\nx-amz-date: 20130524T000000Z\nx-amz-storage-class: REDUCED_REDUNDANCY\n"+
		"Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=%s,Signature=%s\n"+
		"x-amz-content-sha256: %s\nContent-Encoding: aws-chunked\nx-amz-decoded-content-length: 66560\n%s%s\n", signedHeaders, seed, framing, length, extra)
	fmt.Fprintf(&b, "10000;chunk-signature=%s\r\n%s\r\n", signatures[0], strings.Repeat("a", 65536))
	fmt.Fprintf(&b, "400;chunk-signature=%s\r\n%s\r\n", signatures[1], strings.Repeat("a", 1024))
	fmt.Fprintf(&b, "0;chunk-signature=%s\r\n%s\r\n", signatures[2], trailer)
	return b.String()
}

func signedExample() string {
	return chunkedExample("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "Content-Length: 66824\n", "",
		"content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class",
		"4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
		[3]string{"ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648", "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497", "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"}, "")
}

// trailerExample is sent without a length: the documentation's own does not
// count the bytes it shows, and it is not signed.
func trailerExample(trailer string) string {
	return chunkedExample("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", "Connection: close\n", "x-amz-trailer: x-amz-checksum-crc32c\n",
		"content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer",
		"106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
		[3]string{"b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2", "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7", "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992"}, trailer)
}

const docTrailer = "x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n"

// bodyOf parses text, takes everything after the head as the body whatever the
// head says of its length, and reads it through the verifier.
func bodyOf(t *testing.T, text string) (string, *sigv4.Body, error) {
	t.Helper()
	head, body, _ := strings.Cut(text, "\n\n")
	r := parse(t, head+"\n\n")
	r.Body = http.NoBody
	if body != "" {
		r.Body = readCloser{strings.NewReader(body)}
	}
	v, err := docVerifier("s3", docSecret, "20130524T000000Z").Verify(r)
	if err != nil {
		t.Fatalf("verifying: %v", err)
	}
	return readBody(t, v, r)
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

func TestChunkedUploadExample(t *testing.T) {
	got, _, err := bodyOf(t, signedExample())
	if err != nil || got != strings.Repeat("a", 66560) {
		t.Fatalf("got %d bytes, %v", len(got), err)
	}
}

func TestChunkedUploadExampleRefusals(t *testing.T) {
	good := signedExample()
	for name, c := range map[string]struct {
		text string
		want sigv4.ErrorCode
	}{
		"data":                 {strings.Replace(good, "aaaaaa", "aabaaa", 1), sigv4.BadChunkSignature},
		"data of chunk 2":      {good[:len(good)-200] + "b" + good[len(good)-199:], sigv4.BadChunkSignature},
		"signature 1":          {strings.Replace(good, "=ad80c7", "=ad80c8", 1), sigv4.BadChunkSignature},
		"signature 2":          {strings.Replace(good, "=005562", "=005563", 1), sigv4.BadChunkSignature},
		"signature of the end": {strings.Replace(good, "=b6c6ea", "=b6c6eb", 1), sigv4.BadChunkSignature},
		"no end":               {good[:strings.LastIndex(good, "0;chunk")], sigv4.IncompleteBody},
		"cut in data":          {good[:5000], sigv4.IncompleteBody},
		"cut in chunk header":  {good[:strings.LastIndex(good, "signature")], sigv4.IncompleteBody},
		"chunk left out":       {good[:strings.Index(good, "400;chunk")] + good[strings.LastIndex(good, "0;chunk"):], sigv4.BadChunkSignature},
		"garbage at the end":   {good + "x", sigv4.BadChunk},
		"second stream":        {good + "0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n", sigv4.BadChunk},
		"trailer not wanted":   {strings.TrimSuffix(good, "\r\n") + "x-amz-checksum-crc32:AAAAAA==\r\n\r\n", sigv4.BadTrailer},
		"no signature":         {strings.Replace(good, "10000;chunk-signature", "10000\r\nchunk-signature", 1), sigv4.BadChunk},
		"no CRLF after data":   {strings.Replace(good, "a\r\n400", "ab\n400", 1), sigv4.BadChunk},
		"LF only":              {strings.Replace(good, "648\r\n", "648\n", 1), sigv4.BadChunk},
		"long chunk header":    {strings.Replace(good, "10000;", strings.Repeat("0", 2000)+"10000;", 1), sigv4.BadChunk},
		"huge chunk":           {strings.Replace(good, "10000;", "3fffffffffffffff;", 1), sigv4.IncompleteBody},
		"overflowing chunk":    {strings.Replace(good, "10000;", "ffffffffffffffffff;", 1), sigv4.BadChunk},
		"negative chunk":       {strings.Replace(good, "10000;", "-1;", 1), sigv4.BadChunk},
		"empty chunk header":   {strings.Replace(good, "10000;", "\r\n10000;", 1), sigv4.BadChunk},
	} {
		t.Run(name, func(t *testing.T) {
			_, b, err := bodyOf(t, c.text)
			wantCode(t, err, c.want)
			if b.Trailer() != nil {
				t.Errorf("got a trailer of a bad body")
			}
		})
	}
}

func TestChunkedTrailerExample(t *testing.T) {
	got, b, err := bodyOf(t, trailerExample(docTrailer))
	if err != nil || len(got) != 66560 {
		t.Fatalf("got %d bytes, %v", len(got), err)
	}
	if sum := b.Trailer().Get("x-amz-checksum-crc32c"); sum != "sOO8/Q==" {
		t.Errorf("got trailer %q", sum)
	}
}

func TestChunkedTrailerSpellings(t *testing.T) {
	for name, trailer := range map[string]string{
		"minio-go":   strings.Replace(docTrailer, "==\r\n", "==\n\r\n", 1),
		"LF":         strings.Replace(docTrailer, "==\r\n", "==\n", 1),
		"spaced":     strings.Replace(docTrailer, "c:sOO8", "c: sOO8", 1),
		"upper case": strings.Replace(docTrailer, "x-amz-checksum", "X-Amz-Checksum", 1),
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := bodyOf(t, trailerExample(trailer)); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("no last line", func(t *testing.T) {
		if _, _, err := bodyOf(t, strings.TrimSuffix(trailerExample(docTrailer), "\r\n")); err != nil {
			t.Error(err)
		}
	})
}

func TestChunkedTrailerRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		trailer string
		want    sigv4.ErrorCode
	}{
		"value":            {strings.Replace(docTrailer, "sOO8", "sOO9", 1), sigv4.BadChunkSignature},
		"signature":        {strings.Replace(docTrailer, "d81f", "d81e", 1), sigv4.BadChunkSignature},
		"no signature":     {docTrailer[:strings.Index(docTrailer, "x-amz-trailer-sig")], sigv4.BadTrailer},
		"nothing":          {"", sigv4.BadTrailer},
		"not announced":    {"x-amz-checksum-sha1:AA==\r\n" + docTrailer, sigv4.BadTrailer},
		"twice":            {"x-amz-checksum-crc32c:sOO8/Q==\r\n" + docTrailer, sigv4.BadTrailer},
		"line after":       {docTrailer + "x-amz-checksum-crc32c:sOO8/Q==\r\n", sigv4.BadTrailer},
		"no colon":         {"what\r\n" + docTrailer, sigv4.BadTrailer},
		"many empty lines": {"x-amz-checksum-crc32c:sOO8/Q==" + strings.Repeat("\r\n", 40), sigv4.BadTrailer},
		"long line":        {"x-amz-checksum-crc32c:" + strings.Repeat("A", 3000) + "\r\n", sigv4.BadChunk},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := bodyOf(t, trailerExample(c.trailer))
			wantCode(t, err, c.want)
		})
	}
}
