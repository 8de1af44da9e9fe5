// SPDX-License-Identifier: Apache-2.0

package sigv4_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sidekey/sidekey/keysvc/sigv4"
)

// postExample is the example of "Browser-Based Upload using HTTP POST (Using AWS
// Signature Version 4)".
var postExample = sigv4.Post{
	Policy:     "eyAiZXhwaXJhdGlvbiI6ICIyMDE1LTEyLTMwVDEyOjAwOjAwLjAwMFoiLA0KICAiY29uZGl0aW9ucyI6IFsNCiAgICB7ImJ1Y2tldCI6ICJzaWd2NGV4YW1wbGVidWNrZXQifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRrZXkiLCAidXNlci91c2VyMS8iXSwNCiAgICB7ImFjbCI6ICJwdWJsaWMtcmVhZCJ9LA0KICAgIHsic3VjY2Vzc19hY3Rpb25fcmVkaXJlY3QiOiAiaHR0cDovL3NpZ3Y0ZXhhbXBsZWJ1Y2tldC5zMy5hbWF6b25hd3MuY29tL3N1Y2Nlc3NmdWxfdXBsb2FkLmh0bWwifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRDb250ZW50LVR5cGUiLCAiaW1hZ2UvIl0sDQogICAgeyJ4LWFtei1tZXRhLXV1aWQiOiAiMTQzNjUxMjM2NTEyNzQifSwNCiAgICB7IngtYW16LXNlcnZlci1zaWRlLWVuY3J5cHRpb24iOiAiQUVTMjU2In0sDQogICAgWyJzdGFydHMtd2l0aCIsICIkeC1hbXotbWV0YS10YWciLCAiIl0sDQoNCiAgICB7IngtYW16LWNyZWRlbnRpYWwiOiAiQUtJQUlPU0ZPRE5ON0VYQU1QTEUvMjAxNTEyMjkvdXMtZWFzdC0xL3MzL2F3czRfcmVxdWVzdCJ9LA0KICAgIHsieC1hbXotYWxnb3JpdGhtIjogIkFXUzQtSE1BQy1TSEEyNTYifSwNCiAgICB7IngtYW16LWRhdGUiOiAiMjAxNTEyMjlUMDAwMDAwWiIgfQ0KICBdDQp9",
	Algorithm:  "AWS4-HMAC-SHA256",
	Credential: "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request",
	Date:       "20151229T000000Z",
	Signature:  "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e",
}

func exampleVerifier() *sigv4.Verifier {
	return &sigv4.Verifier{Service: "s3", Region: "us-east-1", Secret: func(id string) (string, bool) {
		return "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", id == "AKIAIOSFODNN7EXAMPLE"
	}}
}

func TestPostExample(t *testing.T) {
	v := exampleVerifier()
	for range 2 { // the second time with the key from the cache
		got, err := v.VerifyPost(postExample)
		if err != nil {
			t.Fatal(err)
		}
		if got.AccessKeyID != "AKIAIOSFODNN7EXAMPLE" || got.Region != "us-east-1" || !got.SignedAt.Equal(time.Date(2015, 12, 29, 0, 0, 0, 0, time.UTC)) {
			t.Errorf("got %+v", got)
		}
	}
}

func TestPostRefused(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*sigv4.Post)
		code sigv4.ErrorCode
	}{
		"policy":          {func(p *sigv4.Post) { p.Policy += "A" }, sigv4.SignatureDoesNotMatch},
		"no policy":       {func(p *sigv4.Post) { p.Policy = "" }, sigv4.SignatureDoesNotMatch},
		"signature":       {func(p *sigv4.Post) { p.Signature = strings.Replace(p.Signature, "8", "9", 1) }, sigv4.SignatureDoesNotMatch},
		"no signature":    {func(p *sigv4.Post) { p.Signature = "" }, sigv4.SignatureDoesNotMatch},
		"short signature": {func(p *sigv4.Post) { p.Signature = p.Signature[:62] }, sigv4.SignatureDoesNotMatch},
		"not hex":         {func(p *sigv4.Post) { p.Signature = strings.Repeat("x", 64) }, sigv4.SignatureDoesNotMatch},
		"algorithm":       {func(p *sigv4.Post) { p.Algorithm = "AWS4-ECDSA-P256-SHA256" }, sigv4.UnsupportedAlgorithm},
		"no algorithm":    {func(p *sigv4.Post) { p.Algorithm = "" }, sigv4.UnsupportedAlgorithm},
		"key":             {func(p *sigv4.Post) { p.Credential = strings.Replace(p.Credential, "AKIA", "AKIB", 1) }, sigv4.InvalidAccessKeyID},
		"no key":          {func(p *sigv4.Post) { p.Credential = p.Credential[len("AKIAIOSFODNN7EXAMPLE"):] }, sigv4.FormMalformed},
		"credential":      {func(p *sigv4.Post) { p.Credential = "AKIAIOSFODNN7EXAMPLE" }, sigv4.FormMalformed},
		"region":          {func(p *sigv4.Post) { p.Credential = strings.Replace(p.Credential, "us-east-1", "eu-west-1", 1) }, sigv4.WrongRegion},
		"service":         {func(p *sigv4.Post) { p.Credential = strings.Replace(p.Credential, "/s3/", "/kms/", 1) }, sigv4.FormMalformed},
		"terminator":      {func(p *sigv4.Post) { p.Credential += "2" }, sigv4.FormMalformed},
		"day":             {func(p *sigv4.Post) { p.Date = "20151230T000000Z" }, sigv4.FormMalformed},
		"date":            {func(p *sigv4.Post) { p.Date = "20151229" }, sigv4.FormMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			p := postExample
			c.edit(&p)
			_, err := exampleVerifier().VerifyPost(p)
			wantCode(t, err, c.code)
		})
	}
}

// TestPostIsNoRequest wants a policy's signature to be none of a request, even
// where the policy is the text that a request's signature is made of.
func TestPostIsNoRequest(t *testing.T) {
	r := newRequest(t, "PUT", "http://h/b/k", "")
	sign(t, r, "s3", unsigned)
	authorization := r.Header.Get("Authorization")
	_, signature, _ := strings.Cut(authorization, "Signature=")
	_, credential, _ := strings.Cut(authorization, "Credential=")
	credential, _, _ = strings.Cut(credential, ",")
	_, err := verifier("s3").VerifyPost(sigv4.Post{
		Policy: "e30=", Algorithm: "AWS4-HMAC-SHA256", Credential: credential,
		Date: r.Header.Get("X-Amz-Date"), Signature: signature,
	})
	wantCode(t, err, sigv4.SignatureDoesNotMatch)
}

func TestUnsigned(t *testing.T) {
	sum := sha256.Sum256([]byte("content"))
	for name, c := range map[string]struct {
		header map[string]string
		body   string
		want   sigv4.PayloadMode
		code   sigv4.ErrorCode
	}{
		"nothing":  {nil, "content", sigv4.PayloadUnsigned, ""},
		"unsigned": {map[string]string{"X-Amz-Content-Sha256": unsigned}, "content", sigv4.PayloadUnsigned, ""},
		"sum":      {map[string]string{"X-Amz-Content-Sha256": hex.EncodeToString(sum[:])}, "content", sigv4.PayloadSHA256, ""},
		"trailer": {map[string]string{
			"X-Amz-Content-Sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "X-Amz-Decoded-Content-Length": "7",
		}, "7\r\ncontent\r\n0\r\n\r\n", sigv4.PayloadUnsignedTrailer, ""},
		"trailer, not said": {map[string]string{
			"Content-Encoding": "aws-chunked", "X-Amz-Trailer": "x-amz-checksum-crc32", "X-Amz-Decoded-Content-Length": "7",
		}, "7\r\ncontent\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", sigv4.PayloadUnsignedTrailer, ""},
		"signed chunks":  {map[string]string{"X-Amz-Content-Sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"}, "", 0, sigv4.InvalidPayloadHash},
		"signed trailer": {map[string]string{"X-Amz-Content-Sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"}, "", 0, sigv4.InvalidPayloadHash},
		"SigV4A":         {map[string]string{"X-Amz-Content-Sha256": "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"}, "", 0, sigv4.UnsupportedAlgorithm},
		"no sum":         {map[string]string{"X-Amz-Content-Sha256": "abc"}, "", 0, sigv4.InvalidPayloadHash},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRequest(t, "PUT", "http://h/b/k", c.body)
			for name, value := range c.header {
				r.Header.Set(name, value)
			}
			v, err := sigv4.Unsigned(r)
			if c.code != "" {
				wantCode(t, err, c.code)
				return
			}
			if err != nil || v.Payload != c.want || v.AccessKeyID != "" {
				t.Fatalf("got %+v, %v", v, err)
			}
			body, err := v.Body(r)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(body); err != nil || string(got) != "content" {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	r := newRequest(t, "PUT", "http://h/b/k", "changed")
	r.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(sum[:]))
	v, err := sigv4.Unsigned(r)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = readBody(t, v, r)
	wantCode(t, err, sigv4.ContentSHA256Mismatch)
}

func TestSignatureVersion2(t *testing.T) {
	const text = "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."
	header := newRequest(t, "GET", "http://h/b/k", "")
	header.Header.Set("Authorization", "AWS "+accessKey+":frJIUN8DYpKDtOLCwo//yllqDzg=")
	query := newRequest(t, "GET", "http://h/b/k?AWSAccessKeyId="+accessKey+"&Expires=1141889120&Signature=vjbyPxybdZaNmGa%2ByT272YEAiv4%3D", "")
	bare := newRequest(t, "GET", "http://h/b/k?AWSAccessKeyId="+accessKey, "")
	ecdsa := newRequest(t, "GET", "http://h/b/k", "")
	ecdsa.Header.Set("Authorization", "AWS4-ECDSA-P256-SHA256 Credential=x")
	for name, r := range map[string]*http.Request{"header": header, "query": query, "no signature": bare, "SigV4A": ecdsa} {
		t.Run(name, func(t *testing.T) {
			_, err := verifier("s3").Verify(r)
			wantCode(t, err, sigv4.UnsupportedAlgorithm)
			if !strings.HasSuffix(err.Error(), text) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// FuzzVerifyPost has nothing verify that was not signed.
func FuzzVerifyPost(f *testing.F) {
	p := postExample
	f.Add(p.Policy, p.Algorithm, p.Credential, p.Date, p.Signature)
	f.Add("", "", "", "", "")
	f.Add("e30=", p.Algorithm, "///s3/aws4_request", "20151229T000000Z", strings.Repeat("0", 64))
	key := []byte("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
	f.Fuzz(func(t *testing.T, policy, algorithm, credential, date, signature string) {
		_, err := exampleVerifier().VerifyPost(sigv4.Post{Policy: policy, Algorithm: algorithm, Credential: credential, Date: date, Signature: signature})
		if err != nil {
			return
		}
		day, ok := strings.CutPrefix(credential, "AKIAIOSFODNN7EXAMPLE/")
		day, ok2 := strings.CutSuffix(day, "/us-east-1/s3/aws4_request")
		if !ok || !ok2 || algorithm != "AWS4-HMAC-SHA256" || !strings.HasPrefix(date, day) {
			t.Fatalf("verified %q %q %q", algorithm, credential, date)
		}
		derived := append([]byte("AWS4"), key...)
		for _, part := range []string{day, "us-east-1", "s3", "aws4_request", policy} {
			h := hmac.New(sha256.New, derived)
			h.Write([]byte(part))
			derived = h.Sum(nil)
		}
		if !strings.EqualFold(signature, hex.EncodeToString(derived)) {
			t.Fatalf("verified a signature that is another: %s", signature)
		}
	})
}
