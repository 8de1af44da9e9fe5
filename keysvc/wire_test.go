// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/google/go-cmp/cmp"

	"github.com/sidekey/sidekey/keysvc"
)

// reply is an answer as it came over the wire.
type reply struct {
	status int
	header http.Header
	body   string
}

func (r reply) code() string {
	var e struct {
		Type string `json:"__type"`
	}
	json.Unmarshal([]byte(r.body), &e)
	return e.Type
}

// signed makes a request to an operation as the SDK's signer signs it.
func (s *server) signed(op, body string, when time.Time, accessKeyID, secretKey string) *http.Request {
	s.t.Helper()
	r, err := http.NewRequest(http.MethodPost, s.url+"/", strings.NewReader(body))
	must(s.t, err)
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "TrentService."+op)
	sum := sha256.Sum256([]byte(body))
	creds := aws.Credentials{AccessKeyID: accessKeyID, SecretAccessKey: secretKey}
	must(s.t, v4.NewSigner().SignHTTP(ctx, creds, r, hex.EncodeToString(sum[:]), "kms", region, when))
	return r
}

func (s *server) send(r *http.Request) reply {
	s.t.Helper()
	resp, err := http.DefaultClient.Do(r)
	must(s.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(s.t, err)
	return reply{resp.StatusCode, resp.Header, string(body)}
}

func (s *server) post(op, body string) reply {
	s.t.Helper()
	return s.send(s.signed(op, body, time.Now(), adminID, secret))
}

func TestWireForm(t *testing.T) {
	s := newServer(t)
	got := s.post("CreateKey", `{"Description":"<é>","Unknown":{"x":[1,null]}}`)
	if got.status != 200 || got.header.Get("Content-Type") != "application/x-amz-json-1.1" {
		t.Fatalf("%+v", got)
	}
	if id := got.header.Get("X-Amzn-Requestid"); !regexp.MustCompile(`^[0-9a-f-]{36}$`).MatchString(id) {
		t.Errorf("request ID %q", id)
	}
	if strings.Contains(got.body, "null") || strings.Contains(got.body, "ResultMetadata") {
		t.Errorf("absent members are there: %s", got.body)
	}
	if !regexp.MustCompile(`"CreationDate":[0-9]{10}(\.[0-9]{1,3})?[,}]`).MatchString(got.body) {
		t.Errorf("CreationDate is not epoch seconds: %s", got.body)
	}
	for _, want := range []string{`"Enabled":true`, `"MultiRegion":false`, `"Description":"<é>"`} {
		if !strings.Contains(got.body, want) {
			t.Errorf("no %s in %s", want, got.body)
		}
	}
	var meta struct{ KeyMetadata struct{ KeyId string } }
	must(t, json.Unmarshal([]byte(got.body), &meta))
	if got := s.post("DisableKey", `{"KeyId":"`+meta.KeyMetadata.KeyId+`"}`); got.status != 200 || got.body != "" || got.header.Get("Content-Length") != "0" {
		t.Errorf("DisableKey: %+v", got)
	}
	if got := s.post("DescribeKey", `{"KeyId":"`+meta.KeyMetadata.KeyId+`"}`); !strings.Contains(got.body, `"Enabled":false`) {
		t.Errorf("a false member is missing: %s", got.body)
	}
	if got := s.post("ListAliases", `{}`); got.body != `{"Aliases":[],"Truncated":false}` {
		t.Errorf("ListAliases: %s", got.body)
	}
	if got := s.post("Decrypt", `{"CiphertextBlob":"eA=="}`); got.body != `{"__type":"InvalidCiphertextException"}` || got.status != 400 {
		t.Errorf("an empty message must be absent: %+v", got)
	}
}

func TestMalformedRequests(t *testing.T) {
	s := newServer(t)
	for _, body := range []string{"", " ", "null", "[]", "{", `{"KeyId":"a","KeyId":"b"}`, `{"KeyId":1}`, `{"Plaintext":"a"}`, "{\"KeyId\":\"\xff\"}", "{} {}", strings.Repeat(`{"a":`, 100_000)} {
		if got := s.post("Encrypt", body); got.status != 400 || got.code() != "SerializationException" {
			t.Errorf("%.80q: %+v", body, got)
		}
	}
	if got := s.post("Encrypt", "{}"); got.body != `{"__type":"ValidationException","message":"2 validation errors detected: `+
		`Value null at 'keyId' failed to satisfy constraint: Member must not be null; Value at 'plaintext' failed to satisfy constraint: Member must not be null"}` {
		t.Errorf("required members: %s", got.body)
	}
	change := func(edit func(*http.Request)) reply {
		r := s.signed("ListKeys", "{}", time.Now(), adminID, secret)
		edit(r)
		return s.send(r)
	}
	for name, tc := range map[string]struct {
		edit   func(*http.Request)
		status int
		code   string
	}{
		"GET":              {func(r *http.Request) { r.Method = "GET" }, 400, "UnknownOperationException"},
		"other path":       {func(r *http.Request) { r.URL.Path = "/x" }, 400, "UnknownOperationException"},
		"no target":        {func(r *http.Request) { r.Header.Del("X-Amz-Target") }, 400, "UnknownOperationException"},
		"other service":    {func(r *http.Request) { r.Header.Set("X-Amz-Target", "DynamoDB_20120810.ListKeys") }, 400, "UnknownOperationException"},
		"unknown":          {func(r *http.Request) { r.Header.Set("X-Amz-Target", "TrentService.MakeKey") }, 400, "UnknownOperationException"},
		"content type":     {func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, 400, "SerializationException"},
		"content encoding": {func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, 400, "SerializationException"},
		"no signature":     {func(r *http.Request) { r.Header.Del("Authorization") }, 400, "MissingAuthenticationTokenException"},
	} {
		if got := change(tc.edit); got.status != tc.status || got.code() != tc.code || got.header.Get("X-Amzn-Requestid") == "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestBodyLimit(t *testing.T) {
	s := newServer(t)
	pad := func(n int) string { return `{"Limit":1` + strings.Repeat(" ", n-11) + `}` }
	if got := s.post("ListKeys", pad(1<<20)); got.status != 200 {
		t.Errorf("1 MiB: %+v", got)
	}
	if got := s.post("ListKeys", pad(1<<20+1)); got.status != 413 || got.code() != "ValidationException" {
		t.Errorf("1 MiB and a byte: %+v", got)
	}
	r := s.signed("ListKeys", pad(1<<20+1), time.Now(), adminID, secret)
	r.ContentLength = -1 // chunked: the length is found out while reading
	r.Header.Del("Content-Length")
	if got := s.send(r); got.status != 413 {
		t.Errorf("chunked: %+v", got)
	}
}

func TestSignatures(t *testing.T) {
	s := newServer(t)
	now := time.Now()
	for name, tc := range map[string]struct {
		request *http.Request
		edit    func(*http.Request)
		code    string
	}{
		"right":           {s.signed("ListKeys", "{}", now, adminID, secret), nil, ""},
		"4 minutes early": {s.signed("ListKeys", "{}", now.Add(4*time.Minute), adminID, secret), nil, ""},
		"4 minutes late":  {s.signed("ListKeys", "{}", now.Add(-4*time.Minute), adminID, secret), nil, ""},
		"6 minutes early": {s.signed("ListKeys", "{}", now.Add(6*time.Minute), adminID, secret), nil, "InvalidSignatureException"},
		"6 minutes late":  {s.signed("ListKeys", "{}", now.Add(-6*time.Minute), adminID, secret), nil, "InvalidSignatureException"},
		"wrong secret":    {s.signed("ListKeys", "{}", now, adminID, secret+"x"), nil, "InvalidSignatureException"},
		"unknown key":     {s.signed("ListKeys", "{}", now, "AKIANOBODY0000000001", secret), nil, "UnrecognizedClientException"},
		"changed body": {s.signed("ListKeys", "{}", now, adminID, secret), func(r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader("[]"))
		}, "InvalidSignatureException"},
		"changed operation": {s.signed("ListKeys", "{}", now, adminID, secret), func(r *http.Request) {
			r.Header.Set("X-Amz-Target", "TrentService.ListAliases")
		}, "InvalidSignatureException"},
		"changed signature": {s.signed("ListKeys", "{}", now, adminID, secret), func(r *http.Request) {
			a := []byte(r.Header.Get("Authorization"))
			a[len(a)-1] ^= 1
			r.Header.Set("Authorization", string(a))
		}, "InvalidSignatureException"},
		"half a signature": {s.signed("ListKeys", "{}", now, adminID, secret), func(r *http.Request) {
			r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=x")
		}, "IncompleteSignatureException"},
	} {
		if tc.edit != nil {
			tc.edit(tc.request)
		}
		got := s.send(tc.request)
		if got.code() != tc.code || (got.status == 200) != (tc.code == "") {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if log := s.log.String(); strings.Contains(log, secret) || !strings.Contains(log, "InvalidSignatureException") {
		t.Errorf("log:\n%s", log)
	}
}

// TestAllOperationsAreKnown compares the table with the SDK's client.
func TestAllOperationsAreKnown(t *testing.T) {
	var want []string
	client := reflect.TypeFor[*kms.Client]()
	for i := range client.NumMethod() {
		if m := client.Method(i); m.Type.NumIn() == 4 && m.Type.IsVariadic() {
			want = append(want, m.Name)
		}
	}
	got := keysvc.OperationNames()
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" || len(got) != 54 {
		t.Errorf("%d operations (-SDK +table):\n%s", len(got), diff)
	}
}

func TestEncoderKeepsInvalidTextOut(t *testing.T) {
	got := keysvc.Encode(&struct{ A, B *string }{ptr("a\xffb"), nil})
	if !bytes.Equal(got, []byte(`{"A":"a�b"}`)) {
		t.Errorf("%s", got)
	}
}

// signedAs signs a request with another payload hash than that of its body.
func (s *server) signedAs(payloadHash string) *http.Request {
	s.t.Helper()
	r, err := http.NewRequest(http.MethodPost, s.url+"/", strings.NewReader("{}"))
	must(s.t, err)
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "TrentService.ListKeys")
	r.Header.Set("X-Amz-Content-Sha256", payloadHash)
	creds := aws.Credentials{AccessKeyID: adminID, SecretAccessKey: secret}
	must(s.t, v4.NewSigner().SignHTTP(ctx, creds, r, payloadHash, "kms", region, time.Now()))
	return r
}
