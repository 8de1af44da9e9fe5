// SPDX-License-Identifier: Apache-2.0

package s3gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// elements sends a request and returns the elements of the error, by name.
func (s *stack) elements(t testing.TB, r *http.Request) (int, map[string]string) {
	t.Helper()
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var e struct {
		XMLName  xml.Name `xml:"Error"`
		Elements []struct {
			XMLName xml.Name
			Text    string `xml:",chardata"`
		} `xml:",any"`
	}
	if err := xml.NewDecoder(answer.Body).Decode(&e); err != nil {
		t.Fatalf("%s %s: %s: %v", r.Method, r.URL, answer.Status, err)
	}
	got := map[string]string{}
	for _, element := range e.Elements {
		if _, twice := got[element.XMLName.Local]; twice {
			t.Errorf("%s %s: %s is there twice", r.Method, r.URL, element.XMLName.Local)
		}
		got[element.XMLName.Local] = element.Text
	}
	return answer.StatusCode, got
}

// TestErrorElements looks at what S3 gives beside code and message.
func TestErrorElements(t *testing.T) {
	s := newMinIOStack(t)
	s.put(t, "k", content(100))
	long := strings.Repeat("k", 1025)
	for name, c := range map[string]struct {
		method, target string
		header         map[string]string
		edit           func(*http.Request)
		status         int
		want           map[string]string
	}{
		"no such bucket":   {"GET", "/absent/k", nil, nil, 404, map[string]string{"Code": "NoSuchBucket", "Message": "The specified bucket does not exist", "BucketName": "absent"}},
		"no such key":      {"GET", "/docs/absent", nil, nil, 404, map[string]string{"Code": "NoSuchKey", "Message": "The specified key does not exist.", "Key": "absent", "Resource": "/docs/absent"}},
		"no such version":  {"GET", "/docs/k?versionId=5d0ee3e7-4a3c-4a5e-9a3c-1a2b3c4d5e6f", nil, nil, 404, map[string]string{"Code": "NoSuchVersion"}},
		"bucket name":      {"GET", "/a/k", nil, nil, 400, map[string]string{"Code": "InvalidBucketName", "BucketName": "a"}},
		"key too long":     {"GET", "/docs/" + long, nil, nil, 400, map[string]string{"Code": "KeyTooLongError", "Size": "1025", "MaxSizeAllowed": "1024"}},
		"part number":      {"GET", "/docs/k?partNumber=x", nil, nil, 400, map[string]string{"Code": "InvalidArgument", "ArgumentName": "partNumber", "ArgumentValue": "x"}},
		"parameter twice":  {"GET", "/docs?prefix=a&prefix=b", nil, nil, 400, map[string]string{"Code": "InvalidArgument", "ArgumentName": "prefix", "ArgumentValue": "a"}},
		"range":            {"GET", "/docs/k", map[string]string{"Range": "bytes=100-"}, nil, 416, map[string]string{"Code": "InvalidRange", "ActualObjectSize": "100"}},
		"condition":        {"GET", "/docs/k", map[string]string{"If-Match": `"x"`}, nil, 412, map[string]string{"Code": "PreconditionFailed"}},
		"bucket not empty": {"DELETE", "/docs", nil, nil, 409, map[string]string{"Code": "BucketNotEmpty"}},
		"bucket is yours":  {"PUT", "/docs", nil, nil, 409, map[string]string{"Code": "BucketAlreadyOwnedByYou"}},
		"too large": {"PUT", "/docs/k", map[string]string{"x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "x-amz-decoded-content-length": "5368709121"}, nil, 400,
			map[string]string{"Code": "EntityTooLarge", "ProposedSize": "5368709121"}},
		"access key": {"GET", "/docs/k", nil, func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), appID, "AKIDX", 1))
		}, 403, map[string]string{"Code": "InvalidAccessKeyId", "AWSAccessKeyId": "AKIDX", "Message": "The AWS Access Key Id you provided does not exist in our records."}},
		"signature": {"GET", "/docs/k", nil, func(r *http.Request) { r.URL.RawQuery = "acl" }, 403, map[string]string{"Code": "SignatureDoesNotMatch", "AWSAccessKeyId": appID}},
		"region": {"GET", "/docs/k", nil, func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), region, "us-east-1", 1))
		}, 400, map[string]string{"Code": "AuthorizationHeaderMalformed", "Region": region}},
		"skew": {"GET", "/docs/k", nil, func(r *http.Request) {
			r.Header.Set("X-Amz-Date", "20200101T000000Z")
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), time.Now().UTC().Format("20060102"), "20200101", 1))
		}, 403, map[string]string{"Code": "RequestTimeTooSkewed", "RequestTime": "20200101T000000Z", "MaxAllowedSkewMilliseconds": "900000"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.rawRequest(t, c.method, c.target, "", c.header)
			if c.edit != nil {
				c.edit(r)
			}
			status, got := s.elements(t, r)
			if status != c.status {
				t.Errorf("got %d %v", status, got)
			}
			for name, want := range c.want {
				if got[name] != want {
					t.Errorf("%s: got %q, want %q; all: %v", name, got[name], want, got)
				}
			}
			for _, name := range []string{"RequestId", "HostId", "Resource", "Message"} {
				if got[name] == "" {
					t.Errorf("there is no %s: %v", name, got)
				}
			}
			if name == "signature" && (!strings.HasPrefix(got["CanonicalRequest"], "GET\n/docs/k\nacl=\n") || !strings.HasPrefix(got["StringToSign"], "AWS4-HMAC-SHA256\n") || len(got["SignatureProvided"]) != 64) {
				t.Errorf("got %v", got)
			}
			if all := fmt.Sprint(got); strings.Contains(all, appSecret) || strings.Contains(all, storeID) {
				t.Errorf("a secret is shown: %s", all)
			}
		})
	}
}

// TestExpiredURL is presigned for a time that is over.
func TestExpiredURL(t *testing.T) {
	s := newMemoryStack(t)
	r, err := http.NewRequest("GET", s.endpoint+"/docs/k?X-Amz-Expires=60", nil)
	if err != nil {
		t.Fatal(err)
	}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	signed, _, err := signer.PresignHTTP(context.Background(), aws.Credentials{AccessKeyID: appID, SecretAccessKey: appSecret}, r, "UNSIGNED-PAYLOAD", "s3", region, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	if r, err = http.NewRequest("GET", signed, nil); err != nil {
		t.Fatal(err)
	}
	status, got := s.elements(t, r)
	if status != 403 || got["Code"] != "AccessDenied" || got["Message"] != "Request has expired" || got["X-Amz-Expires"] != "60" || got["Expires"] != "2026-01-02T03:05:05Z" {
		t.Errorf("got %d %v", status, got)
	}
}

// TestErrorsOfTheStore has the store's errors pass, without what they say of it.
func TestErrorsOfTheStore(t *testing.T) {
	h := newHostile(t)
	var sent string
	var status int
	h.answers(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "http://"+r.Host+"/elsewhere")
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(status)
		io.WriteString(w, strings.ReplaceAll(sent, "HOST", r.Host))
	})
	for name, c := range map[string]struct {
		status     int
		sent       string
		wantStatus int
		want       map[string]string
	}{
		"condition":     {412, "<Code>PreconditionFailed</Code><Message>m</Message><Condition>If-Match</Condition>", 412, map[string]string{"Code": "PreconditionFailed", "Message": "m", "Condition": "If-Match"}},
		"argument":      {400, "<Code>InvalidArgument</Code><Message>m</Message><ArgumentName>n</ArgumentName><ArgumentValue>v</ArgumentValue>", 400, map[string]string{"Code": "InvalidArgument", "ArgumentName": "n", "ArgumentValue": "v"}},
		"upload":        {404, "<Code>NoSuchUpload</Code><Message>m</Message><UploadId>u</UploadId>", 404, map[string]string{"Code": "NoSuchUpload", "UploadId": "u"}},
		"slow down":     {503, "<Code>SlowDown</Code><Message>Reduce your request rate.</Message>", 503, map[string]string{"Code": "SlowDown", "Message": "Reduce your request rate."}},
		"unavailable":   {503, "<Code>ServiceUnavailable</Code><Message>m</Message>", 503, map[string]string{"Code": "ServiceUnavailable"}},
		"internal":      {500, "<Code>InternalError</Code><Message>m</Message>", 500, map[string]string{"Code": "InternalError", "Message": "m"}},
		"no XML":        {503, "oops", 503, map[string]string{"Code": "SlowDown"}},
		"gateway":       {502, "<html>", 502, map[string]string{"Code": "InternalError"}},
		"sizes":         {400, "<Code>EntityTooLarge</Code><Message>m</Message><ProposedSize>172</ProposedSize>", 400, map[string]string{"Code": "EntityTooLarge", "ProposedSize": ""}},
		"names":         {403, "<Code>AccessDenied</Code><Message>User: arn:aws:iam::123456789012:user/gateway is not authorized</Message><AWSAccessKeyId>" + storeID + "</AWSAccessKeyId>", 403, map[string]string{"Code": "AccessDenied", "Message": "Access Denied", "AWSAccessKeyId": ""}},
		"host":          {400, "<Code>InvalidArgument</Code><Message>not on HOST</Message><ArgumentValue>HOST</ArgumentValue><Endpoint>HOST</Endpoint><HostId>HOST</HostId><Bucket>b</Bucket>", 400, map[string]string{"Code": "InvalidArgument", "Message": "Bad Request", "ArgumentValue": "", "Endpoint": "", "Bucket": ""}},
		"key ID":        {400, "<Code>InvalidTag</Code><Message>m</Message><TagKey>" + storeID + "</TagKey>", 400, map[string]string{"Code": "InvalidTag", "TagKey": ""}},
		"its signature": {403, "<Code>SignatureDoesNotMatch</Code><Message>m</Message><StringToSign>s</StringToSign>", 500, map[string]string{"Code": "InternalError", "StringToSign": ""}},
		"its key":       {403, "<Code>InvalidAccessKeyId</Code><Message>m</Message>", 500, map[string]string{"Code": "InternalError"}},
		"redirect":      {307, "<Code>TemporaryRedirect</Code><Message>m</Message><Endpoint>HOST</Endpoint>", 500, map[string]string{"Code": "InternalError", "Endpoint": ""}},
		"moved":         {301, "<Code>PermanentRedirect</Code><Message>m</Message><Endpoint>HOST</Endpoint>", 500, map[string]string{"Code": "InternalError", "Endpoint": ""}},
		"many elements": {400, "<Code>InvalidArgument</Code><Message>m</Message>" + strings.Repeat("<Other>x</Other>", 1000), 400, map[string]string{"Code": "InvalidArgument", "Other": ""}},
	} {
		t.Run(name, func(t *testing.T) {
			status, sent = c.status, "<Error>"+c.sent+"</Error>"
			if !strings.HasPrefix(c.sent, "<Code>") {
				sent = c.sent
			}
			r := h.rawRequest(t, "GET", "/docs/k", "", nil)
			gotStatus, got := h.elements(t, r)
			if gotStatus != c.wantStatus {
				t.Errorf("got %d %v", gotStatus, got)
			}
			for name, want := range c.want {
				if got[name] != want {
					t.Errorf("%s: got %q, want %q", name, got[name], want)
				}
			}
			wire := h.raw(t, h.rawRequest(t, "GET", "/docs/k", "", nil))
			if strings.Contains(wire, "elsewhere") || strings.Contains(wire, "Location") || strings.Contains(wire, storeID) || strings.Contains(wire, "123456789012") {
				t.Errorf("the answer says too much: %s", wire)
			}
		})
	}
}

// TestRetryableErrors has an SDK try again.
func TestRetryableErrors(t *testing.T) {
	h := newHostile(t)
	h.put(t, "k", content(100))
	for _, c := range []string{"SlowDown", "ServiceUnavailable", "InternalError"} {
		var left atomic.Int32
		left.Store(2)
		h.answers(func(w http.ResponseWriter, r *http.Request) {
			if left.Add(-1) >= 0 {
				w.WriteHeader(map[bool]int{true: 500, false: 503}[c == "InternalError"])
				io.WriteString(w, "<Error><Code>"+c+"</Code></Error>")
				return
			}
			h.honest.ServeHTTP(w, r)
		})
		app := client(h.endpoint, appID, appSecret, func(o *s3.Options) { o.RetryMaxAttempts = 4 })
		out, err := app.GetObject(t.Context(), &s3.GetObjectInput{Bucket: docs, Key: aws.String("k")})
		if err != nil || left.Load() >= 0 {
			t.Errorf("%s: %v", c, err)
			continue
		}
		got, err := io.ReadAll(out.Body)
		out.Body.Close()
		if err != nil || !bytes.Equal(got, content(100)) {
			t.Errorf("%s: got %d bytes, %v", c, len(got), err)
		}
	}
}

// TestAnswersWithoutBody are those to HEAD, and 304.
func TestAnswersWithoutBody(t *testing.T) {
	s := newMinIOStack(t)
	etag := *s.put(t, "k", content(100)).ETag
	for _, c := range []struct {
		method, target string
		header         map[string]string
		want           int
	}{
		{"HEAD", "/docs/absent", nil, 404}, {"HEAD", "/absent/k", nil, 404}, {"HEAD", "/absent", nil, 404}, {"HEAD", "/a", nil, 400},
		{"HEAD", "/docs/k", map[string]string{"Range": "bytes=100-"}, 416}, {"HEAD", "/docs/k", map[string]string{"If-Match": `"x"`}, 412},
		{"HEAD", "/docs/k", map[string]string{"If-None-Match": etag}, 304}, {"GET", "/docs/k", map[string]string{"If-None-Match": etag}, 304},
		{"HEAD", "/docs/k?torrent", nil, 405},
	} {
		r := s.rawRequest(t, c.method, c.target, "", c.header)
		wire := s.raw(t, r)
		answer, err := http.ReadResponse(bufio.NewReader(strings.NewReader(wire)), r)
		if err != nil {
			t.Fatal(err)
		}
		_, body, _ := strings.Cut(wire, "\r\n\r\n")
		if answer.StatusCode != c.want || body != "" || answer.Header.Get("X-Amz-Request-Id") == "" {
			t.Errorf("%s %s: got %s, %q", c.method, c.target, answer.Status, body)
		}
		if c.want == 304 && answer.Header.Get("Etag") != etag {
			t.Errorf("304 with the ETag %q", answer.Header.Get("Etag"))
		}
	}
}
