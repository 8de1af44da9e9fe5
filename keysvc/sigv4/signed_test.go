// SPDX-License-Identifier: Apache-2.0

package sigv4_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/sidekey/sidekey/keysvc/sigv4"
)

const (
	accessKey = "AKIDEXAMPLE"
	secretKey = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	region    = "eu-central-1"
	unsigned  = "UNSIGNED-PAYLOAD"
)

var signTime = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func verifier(service string) *sigv4.Verifier {
	return &sigv4.Verifier{
		Service: service, Region: region,
		Secret: func(id string) (string, bool) {
			return secretKey, id == accessKey
		},
		Now: func() time.Time { return signTime },
	}
}

func hashOf(body string) string {
	sum := sha256.Sum256([]byte(body))
	return hex.EncodeToString(sum[:])
}

// signer returns the SDK's signer as the service's client configures it.
func signer(service string) *v4.Signer {
	return v4.NewSigner(func(o *v4.SignerOptions) {
		o.DisableURIPathEscaping = service == "s3"
	})
}

func credentials() aws.Credentials {
	return aws.Credentials{AccessKeyID: accessKey, SecretAccessKey: secretKey}
}

// sign signs r in the header form with the SDK.
func sign(t testing.TB, r *http.Request, service, payloadHash string) {
	t.Helper()
	if service == "s3" {
		r.Header.Set("X-Amz-Content-Sha256", payloadHash)
	}
	if err := signer(service).SignHTTP(context.Background(), credentials(), r, payloadHash, service, region, signTime); err != nil {
		t.Fatalf("signing: %v", err)
	}
}

// presign returns the presigned form of r.
func presign(t testing.TB, r *http.Request, service, payloadHash, expires string) *http.Request {
	t.Helper()
	query := r.URL.Query()
	query.Set("X-Amz-Expires", expires)
	r.URL.RawQuery = query.Encode()
	signed, _, err := signer(service).PresignHTTP(context.Background(), credentials(), r, payloadHash, service, region, signTime)
	if err != nil {
		t.Fatalf("presigning: %v", err)
	}
	return newRequest(t, r.Method, signed, "")
}

func newRequest(t testing.TB, method, target, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, target, strings.NewReader(body))
	if err != nil {
		t.Fatalf("building the request: %v", err)
	}
	return r
}

// overWire serialises r and parses it as a server does.
func overWire(t testing.TB, r *http.Request) *http.Request {
	t.Helper()
	var wire bytes.Buffer
	if err := r.Write(&wire); err != nil {
		t.Fatalf("writing the request: %v", err)
	}
	got, err := http.ReadRequest(bufio.NewReader(&wire))
	if err != nil {
		t.Fatalf("reading the request: %v", err)
	}
	return got
}

func wantCode(t *testing.T, err error, want sigv4.ErrorCode) {
	t.Helper()
	var e *sigv4.Error
	if !errors.As(err, &e) || e.Code != want {
		t.Fatalf("got error %v, want code %s", err, want)
	}
}

func readBody(t *testing.T, v *sigv4.Verified, r *http.Request) (string, *sigv4.Body, error) {
	t.Helper()
	b, err := v.Body(r)
	if err != nil {
		return "", nil, err
	}
	data, err := io.ReadAll(b)
	return string(data), b, err
}

func TestHeaderFormAgainstSDK(t *testing.T) {
	targets := []string{
		"/", "/bucket/key", "/bucket/a%20b", "/bucket/a+b", "/bucket/a%2Bb", "/bucket/a%2Fb", "/bucket//x///y",
		"/bucket/../up/./here", "/bucket/%E2%82%AC/%00", "/bucket/~-._", "/bucket/(a)*!'", "/bucket/k?list-type=2&prefix=a%2Fb",
		"/bucket?delete", "/bucket/k?versionId=1&partNumber=2&response-content-type=text%2Fplain%3B%20charset", "/b?x=%2B+%20&x=a&x=",
	}
	for _, service := range []string{"s3", "kms"} {
		for _, target := range targets {
			t.Run(service+target, func(t *testing.T) {
				r := newRequest(t, "PUT", "http://host.example:9000"+target, "content")
				r.Header.Set("X-Amz-Meta-Spaced", "a   b    c")
				r.Header["X-Amz-Meta-Many"] = []string{"one", " two ", "three"}
				r.Header.Set("Content-Type", "text/plain")
				r.Header.Set("Accept-Encoding", "identity")
				sign(t, r, service, hashOf("content"))
				got := overWire(t, r)
				v, err := verifier(service).Verify(got)
				if service == "kms" {
					v, err = verifier(service).VerifyBody(got, []byte("content"))
				}
				if err != nil {
					t.Fatalf("verifying: %v", err)
				}
				if v.AccessKeyID != accessKey || v.Region != region || v.Presigned || v.Payload != sigv4.PayloadSHA256 {
					t.Errorf("got %+v", v)
				}
			})
		}
	}
}

func TestPresignedFormAgainstSDK(t *testing.T) {
	for _, target := range []string{"/b/k", "/b/a%20b%2Bc?response-content-disposition=attachment%3B%20filename%3D%22x%22", "/b/%E2%82%AC?partNumber=1&uploadId=abc"} {
		r := newRequest(t, "GET", "https://bucket.s3.amazonaws.com"+target, "")
		r = overWire(t, presign(t, r, "s3", unsigned, "900"))
		v, err := verifier("s3").Verify(r)
		if err != nil {
			t.Fatalf("%s: %v", target, err)
		}
		if !v.Presigned || v.Payload != sigv4.PayloadUnsigned {
			t.Errorf("%s: got %+v", target, v)
		}
	}
}

func TestNormalisedPathSpelling(t *testing.T) {
	// Signed as %2B and %7E, sent bare by a library below the signer.
	r := newRequest(t, "GET", "http://h/b/a%2Bb%21", "")
	sign(t, r, "s3", hashOf(""))
	sent := newRequest(t, "GET", "http://h/b/a+b!", "")
	sent.Header = r.Header
	if _, err := verifier("s3").Verify(overWire(t, sent)); err != nil {
		t.Errorf("verifying: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	header := func(edit func(*http.Request)) func(*testing.T) *http.Request {
		return func(t *testing.T) *http.Request {
			r := newRequest(t, "PUT", "http://h/b/k?x=1", "content")
			r.Header.Set("X-Amz-Meta-A", "1")
			sign(t, r, "s3", hashOf("content"))
			edit(r)
			return r
		}
	}
	query := func(expires string, edit func(url.Values, *http.Request)) func(*testing.T) *http.Request {
		return func(t *testing.T) *http.Request {
			r := presign(t, newRequest(t, "GET", "http://h/b/k", ""), "s3", unsigned, expires)
			values := r.URL.Query()
			edit(values, r)
			r.URL.RawQuery = values.Encode()
			return r
		}
	}
	replace := func(old, replacement string) func(*testing.T) *http.Request {
		return header(func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), old, replacement, 1))
		})
	}
	cases := map[string]struct {
		request func(*testing.T) *http.Request
		want    sigv4.ErrorCode
	}{
		"anonymous":       {header(func(r *http.Request) { r.Header.Del("Authorization") }), sigv4.MissingAuthentication},
		"two headers":     {header(func(r *http.Request) { r.Header.Add("Authorization", r.Header.Get("Authorization")) }), sigv4.AuthorizationHeaderMalformed},
		"both forms":      {header(func(r *http.Request) { r.URL.RawQuery += "&X-Amz-Signature=00" }), sigv4.AuthorizationHeaderMalformed},
		"version 2":       {header(func(r *http.Request) { r.Header.Set("Authorization", "AWS AKID:sig") }), sigv4.UnsupportedAlgorithm},
		"version 2 query": {query("60", func(v url.Values, r *http.Request) { clear(v); v.Set("AWSAccessKeyId", "a"); v.Set("Signature", "b") }), sigv4.UnsupportedAlgorithm},
		"SigV4A":          {replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), sigv4.UnsupportedAlgorithm},
		"basic":           {header(func(r *http.Request) { r.Header.Set("Authorization", "Basic xyz") }), sigv4.AuthorizationHeaderMalformed},
		"long":            {header(func(r *http.Request) { r.Header.Set("Authorization", strings.Repeat("a", 10000)) }), sigv4.AuthorizationHeaderMalformed},
		"no signature": {header(func(r *http.Request) {
			a, _, _ := strings.Cut(r.Header.Get("Authorization"), ", Signature")
			r.Header.Set("Authorization", a)
		}), sigv4.IncompleteSignature},
		"short credential": {replace("/s3/aws4_request", ""), sigv4.AuthorizationHeaderMalformed},
		"no access key":    {replace(accessKey, ""), sigv4.AuthorizationHeaderMalformed},
		"service":          {replace("/s3/", "/ec2/"), sigv4.AuthorizationHeaderMalformed},
		"terminator":       {replace("aws4_request", "aws5_request"), sigv4.AuthorizationHeaderMalformed},
		"scope date":       {replace("20260304", "20260303"), sigv4.AuthorizationHeaderMalformed},
		"region":           {replace(region, "us-east-1"), sigv4.WrongRegion},
		"unknown key":      {replace(accessKey, "AKIDOTHER"), sigv4.InvalidAccessKeyID},
		"signature bit": {header(func(r *http.Request) {
			a := r.Header.Get("Authorization")
			r.Header.Set("Authorization", a[:len(a)-1]+string("01"[a[len(a)-1]&1^1]))
		}), sigv4.SignatureDoesNotMatch},
		"signature form":    {replace("Signature=", "Signature=zz"), sigv4.SignatureDoesNotMatch},
		"method":            {header(func(r *http.Request) { r.Method = "DELETE" }), sigv4.SignatureDoesNotMatch},
		"path":              {header(func(r *http.Request) { r.URL.Path = "/b/other" }), sigv4.SignatureDoesNotMatch},
		"query":             {header(func(r *http.Request) { r.URL.RawQuery = "x=2" }), sigv4.SignatureDoesNotMatch},
		"query added":       {header(func(r *http.Request) { r.URL.RawQuery += "&acl" }), sigv4.SignatureDoesNotMatch},
		"query bad escape":  {header(func(r *http.Request) { r.URL.RawQuery = "x=%zz" }), sigv4.MalformedURI},
		"host":              {header(func(r *http.Request) { r.Host = "other" }), sigv4.SignatureDoesNotMatch},
		"meta changed":      {header(func(r *http.Request) { r.Header.Set("X-Amz-Meta-A", "2") }), sigv4.SignatureDoesNotMatch},
		"meta second value": {header(func(r *http.Request) { r.Header.Add("X-Amz-Meta-A", "2") }), sigv4.SignatureDoesNotMatch},
		"meta removed":      {header(func(r *http.Request) { r.Header.Del("X-Amz-Meta-A") }), sigv4.UnsignedHeaders},
		"x-amz added":       {header(func(r *http.Request) { r.Header.Set("X-Amz-Copy-Source", "/b/secret") }), sigv4.UnsignedHeaders},
		"host unsigned":     {replace("host;", ""), sigv4.UnsignedHeaders},
		"headers unsorted":  {replace("host;x-amz-content-sha256", "x-amz-content-sha256;host"), sigv4.IncompleteSignature},
		"headers twice":     {replace("host;", "host;host;"), sigv4.IncompleteSignature},
		"no date":           {header(func(r *http.Request) { r.Header.Del("X-Amz-Date") }), sigv4.IncompleteSignature},
		"two dates":         {header(func(r *http.Request) { r.Header.Add("X-Amz-Date", "20260304T050607Z") }), sigv4.IncompleteSignature},
		"no payload hash": {header(func(r *http.Request) {
			r.Header.Del("X-Amz-Content-Sha256")
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "x-amz-content-sha256;", "", 1))
		}), sigv4.InvalidPayloadHash},
		"payload hash form": {header(func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", "abc") }), sigv4.InvalidPayloadHash},
		"ECDSA stream": {header(func(r *http.Request) {
			r.Header.Set("X-Amz-Content-Sha256", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD")
		}), sigv4.UnsupportedAlgorithm},
		"expires zero":         {query("0", func(url.Values, *http.Request) {}), sigv4.AuthorizationQueryMalformed},
		"expires far too long": {query("9223372036854775808", func(url.Values, *http.Request) {}), sigv4.AuthorizationQueryMalformed},
		"expires negative":     {query("-1", func(url.Values, *http.Request) {}), sigv4.AuthorizationQueryMalformed},
		"expires no number":    {query("1h", func(url.Values, *http.Request) {}), sigv4.AuthorizationQueryMalformed},
		"expires too long":     {query("604801", func(url.Values, *http.Request) {}), sigv4.AuthorizationQueryMalformed},
		"expires changed":      {query("60", func(v url.Values, _ *http.Request) { v.Set("X-Amz-Expires", "600") }), sigv4.SignatureDoesNotMatch},
		"presigned twice":      {query("60", func(v url.Values, _ *http.Request) { v.Add("X-Amz-Signature", "00") }), sigv4.AuthorizationQueryMalformed},
		"presigned x-amz":      {query("60", func(_ url.Values, r *http.Request) { r.Header.Set("X-Amz-Acl", "public-read") }), sigv4.UnsignedHeaders},
		"presigned no expires": {query("60", func(v url.Values, _ *http.Request) { v.Del("X-Amz-Expires") }), sigv4.AuthorizationQueryMalformed},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := verifier("s3").Verify(c.request(t))
			wantCode(t, err, c.want)
		})
	}
}

func TestClock(t *testing.T) {
	header := newRequest(t, "GET", "http://h/b/k", "")
	sign(t, header, "s3", hashOf(""))
	query := presign(t, newRequest(t, "GET", "http://h/b/k", ""), "s3", unsigned, "3600")
	second := presign(t, newRequest(t, "GET", "http://h/b/k", ""), "s3", unsigned, "1")
	week := presign(t, newRequest(t, "GET", "http://h/b/k", ""), "s3", unsigned, "604800")
	cases := []struct {
		name  string
		r     *http.Request
		after time.Duration
		want  sigv4.ErrorCode
	}{
		{"now", header, 0, ""},
		{"in skew", header, 15 * time.Minute, ""},
		{"late", header, 15*time.Minute + time.Second, sigv4.RequestTimeTooSkewed},
		{"early", header, -15*time.Minute - time.Second, sigv4.RequestTimeTooSkewed},
		{"presigned in life", query, time.Hour, ""},
		{"presigned past life", query, time.Hour + time.Second, sigv4.Expired},
		{"presigned early", query, -time.Hour, sigv4.NotYetValid},
		{"presigned in skew", query, -15 * time.Minute, ""},
		{"second", second, time.Second, ""},
		{"past second", second, time.Second + time.Nanosecond, sigv4.Expired},
		{"week", week, 7 * 24 * time.Hour, ""},
		{"past week", week, 7*24*time.Hour + time.Nanosecond, sigv4.Expired},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			v := verifier("s3")
			v.Now = func() time.Time { return signTime.Add(c.after) }
			_, err := v.Verify(c.r)
			if c.want == "" && err == nil {
				return
			}
			wantCode(t, err, c.want)
		})
	}
}

func TestBodyHash(t *testing.T) {
	for _, c := range []struct {
		name, signed, sent string
		want               sigv4.ErrorCode
	}{
		{"same", "content", "content", ""},
		{"empty", "", "", ""},
		{"changed", "content", "c0ntent", sigv4.ContentSHA256Mismatch},
		{"short", "content", "conten", sigv4.IncompleteBody},
		{"long", "content", "content+", sigv4.IncompleteBody},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRequest(t, "PUT", "http://h/b/k", c.signed)
			sign(t, r, "s3", hashOf(c.signed))
			r.Body = io.NopCloser(strings.NewReader(c.sent))
			v, err := verifier("s3").Verify(r)
			if err != nil {
				t.Fatalf("verifying: %v", err)
			}
			got, _, err := readBody(t, v, r)
			if c.want != "" {
				wantCode(t, err, c.want)
				return
			}
			if err != nil || got != c.sent {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestVerifyBody(t *testing.T) {
	r := newRequest(t, "POST", "http://h/", `{"KeyId":"a"}`)
	r.Header.Set("X-Amz-Target", "TrentService.DescribeKey")
	sign(t, r, "kms", hashOf(`{"KeyId":"a"}`))
	if _, err := verifier("kms").VerifyBody(r, []byte(`{"KeyId":"a"}`)); err != nil {
		t.Errorf("verifying: %v", err)
	}
	_, err := verifier("kms").VerifyBody(r, []byte(`{"KeyId":"b"}`))
	wantCode(t, err, sigv4.SignatureDoesNotMatch)
	r.Header.Set("X-Amz-Content-Sha256", unsigned)
	_, err = verifier("kms").VerifyBody(r, []byte(`{"KeyId":"a"}`))
	wantCode(t, err, sigv4.UnsignedHeaders)
}

func TestHeadersHiddenByNetHTTP(t *testing.T) {
	// Content-Length, Expect, Transfer-Encoding and Trailer leave the header
	// map of a received request in one protocol version or another.
	r := newRequest(t, "PUT", "http://h/b/k", "content")
	r.Header.Set("Content-Length", "7")
	sign(t, r, "s3", hashOf("content"))
	got := overWire(t, r)
	if !strings.Contains(got.Header.Get("Authorization"), "content-length;host") {
		t.Fatalf("content-length is not signed: %s", got.Header.Get("Authorization"))
	}
	got.Header.Del("Content-Length")
	if _, err := verifier("s3").Verify(got); err != nil {
		t.Errorf("verifying: %v", err)
	}
}

// TestSpacesAtTheEnds: those of HTTP are not signed, those of Unicode are part
// of the value.
func TestSpacesAtTheEnds(t *testing.T) {
	for end, want := range map[string]sigv4.ErrorCode{
		" ": "", "\t": "", "\u0085": sigv4.SignatureDoesNotMatch, "\u00a0": sigv4.SignatureDoesNotMatch, "\u2003": sigv4.SignatureDoesNotMatch,
	} {
		r := newRequest(t, http.MethodPut, "https://s3.example.com/bucket/key", "")
		r.Header.Set("X-Amz-Copy-Source", "/bucket/other")
		sign(t, r, "s3", hashOf(""))
		r.Header.Set("X-Amz-Copy-Source", "/bucket/other"+end)
		_, err := verifier("s3").Verify(overWire(t, r))
		if want == "" {
			if err != nil {
				t.Errorf("%q: %v", end, err)
			}
			continue
		}
		wantCode(t, err, want)
	}
}

// BenchmarkVerifyBody is what a JSON service does for each request.
func BenchmarkVerifyBody(b *testing.B) {
	body := strings.Repeat("x", 250)
	r := newRequest(b, "POST", "http://h/", body)
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "TrentService.Decrypt")
	sign(b, r, "kms", hashOf(body))
	r = overWire(b, r)
	v := verifier("kms")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.VerifyBody(r, []byte(body)); err != nil {
			b.Fatal(err)
		}
	}
}

// TestFacts has the verifier say what it made of a request that it refuses.
func TestFacts(t *testing.T) {
	r := newRequest(t, "GET", "http://h/b/k?acl", "")
	sign(t, r, "s3", hashOf(""))
	r.URL.RawQuery = "tagging"
	r = overWire(t, r)
	_, err := verifier("s3").Verify(r)
	var refused *sigv4.Error
	if !errors.As(err, &refused) || refused.Code != sigv4.SignatureDoesNotMatch {
		t.Fatalf("got %v", err)
	}
	facts := refused.Facts
	sum := sha256.Sum256([]byte(facts.CanonicalRequest))
	if !strings.HasPrefix(facts.CanonicalRequest, "GET\n/b/k\ntagging=\nhost:h\n") || !strings.HasSuffix(facts.CanonicalRequest, "\n"+hashOf("")) {
		t.Errorf("the canonical request is %q", facts.CanonicalRequest)
	}
	if !strings.HasPrefix(facts.StringToSign, "AWS4-HMAC-SHA256\n") || !strings.HasSuffix(facts.StringToSign, "\n"+hex.EncodeToString(sum[:])) {
		t.Errorf("the string to sign is %q", facts.StringToSign)
	}
	if facts.AccessKeyID == "" || len(facts.Signature) != 64 || strings.Contains(fmt.Sprint(facts), secretKey) {
		t.Errorf("got %+v", facts)
	}
	if strings.Contains(err.Error(), facts.Signature) {
		t.Errorf("the error's text, which is logged, holds the signature: %v", err)
	}
}
