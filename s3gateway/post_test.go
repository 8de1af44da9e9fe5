// SPDX-License-Identifier: Apache-2.0

package s3gateway_test

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/s3gateway"
)

const boundary = "----WebKitFormBoundary7MA4YWxkTrZu0gW"

type field struct{ name, value string }

// upload is a browser's form before it is sent.
type upload struct {
	fields  []field
	name    string // of the file
	content string
	after   string // the file; "" for the closing boundary with a line break
	target  string
	header  map[string]string
}

// part is one part of a form, with its line break.
func part(disposition, content string) string {
	return "--" + boundary + "\r\nContent-Disposition: form-data; " + disposition + "\r\n\r\n" + content + "\r\n"
}

func (u upload) body() string {
	var b strings.Builder
	for _, f := range u.fields {
		b.WriteString(part(`name="`+f.name+`"`, f.value))
	}
	b.WriteString("--" + boundary + "\r\nContent-Disposition: form-data; name=\"file\"; filename=\"" + u.name + "\"\r\nContent-Type: text/x-of-the-part\r\n\r\n" + u.content)
	if u.after == "" {
		u.after = "\r\n--" + boundary + "--\r\n"
	}
	return b.String() + u.after
}

func (s *stack) request(t testing.TB, u upload, body string) *http.Request {
	t.Helper()
	if u.target == "" {
		u.target = "/docs"
	}
	r, err := http.NewRequest("POST", s.endpoint+u.target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "multipart/form-data; boundary="+boundary)
	for name, value := range u.header {
		r.Header.Set(name, value)
	}
	return r
}

// policyOf is a policy with the conditions, and those that all forms here need.
func policyOf(expires time.Time, conditions ...string) string {
	day := time.Now().UTC().Format("20060102")
	conditions = append(conditions, `{"x-amz-algorithm": "AWS4-HMAC-SHA256"}`, `["eq", "$x-amz-date", "`+day+`T000000Z"]`,
		`["starts-with", "$x-amz-credential", ""]`)
	return `{"expiration": "` + expires.UTC().Format("2006-01-02T15:04:05.000Z") + `", "conditions": [` + strings.Join(conditions, ", ") + `]}`
}

// sign returns the fields of the signature of a policy.
func sign(policy string) []field {
	day := time.Now().UTC().Format("20060102")
	encoded := base64.StdEncoding.EncodeToString([]byte(policy))
	key := []byte("AWS4" + appSecret)
	for _, part := range []string{day, region, "s3", "aws4_request", encoded} {
		h := hmac.New(sha256.New, key)
		io.WriteString(h, part)
		key = h.Sum(nil)
	}
	return []field{
		{"policy", encoded}, {"x-amz-algorithm", "AWS4-HMAC-SHA256"}, {"x-amz-date", day + "T000000Z"},
		{"x-amz-credential", appID + "/" + day + "/" + region + "/s3/aws4_request"}, {"x-amz-signature", hex.EncodeToString(key)},
	}
}

const (
	toBucket = `{"bucket": "docs"}`
	anyKey   = `["starts-with", "$key", ""]`
)

// signed is a form with a policy that allows the fields given and no others.
func signed(key, content string, more ...field) upload {
	conditions := []string{toBucket, anyKey}
	for _, f := range more {
		conditions = append(conditions, fmt.Sprintf(`["starts-with", "$%s", ""]`, f.name))
	}
	fields := append(sign(policyOf(time.Now().Add(time.Hour), conditions...)), more...)
	return upload{fields: append(fields, field{"key", key}), name: "f.txt", content: content}
}

func TestPostObject(t *testing.T) {
	s := newMinIOStack(t)
	for _, n := range append([]int{2, 65534, 65535, 65536, 65537, 65538, 5<<20 + 1}, sizes...) {
		want := content(n)
		for name, after := range map[string]string{"": "", "bare": "\r\n--" + boundary + "--"} {
			u := signed(fmt.Sprintf("post/%d%s ü+", n, name), string(want))
			u.after = after
			status, e := s.do(t, s.request(t, u, u.body()))
			if after != "" && n-2 > 65536 {
				// Its length is that of a file two bytes shorter.
				if e.Code != "MalformedPOSTRequest" {
					t.Errorf("%d bytes, no line break at the end: got %d %+v", n, status, e)
				}
				s.mustBeAbsent(t, fmt.Sprintf("post/%d%s ü+", n, name))
				continue
			}
			if status != http.StatusNoContent {
				t.Errorf("%d bytes, %q: got %d %+v", n, name, status, e)
				continue
			}
			got, out, err := s.get(t, fmt.Sprintf("post/%d%s ü+", n, name))
			if err != nil || !bytes.Equal(got, want) || aws.ToString(out.SSEKMSKeyId) != s.ruleKey {
				t.Errorf("%d bytes: got %d, %+v, %v", n, len(got), out, err)
			}
			raw := s.stored(t, fmt.Sprintf("post/%d%s ü+", n, name))
			if n >= 32 && (bytes.Contains(raw.body, want[:32]) || bytes.Contains(raw.body, want[n-32:])) {
				t.Errorf("%d bytes: the store holds plaintext", n)
			}
		}
	}
}

// TestPostFields sends every field that says something of the object.
func TestPostFields(t *testing.T) {
	s := newMinIOStack(t)
	u := signed(`up/${filename}`, "canary-plaintext",
		field{"Content-Type", "image/png"}, field{"Cache-Control", "max-age=1"}, field{"content-disposition", `inline; filename="${filename}"`},
		field{"Content-Encoding", "gzip"}, field{"Expires", "Wed, 21 Oct 2026 07:28:00 GMT"}, field{"x-amz-meta-Uuid", "14365123651274"},
		field{"x-amz-server-side-encryption", "aws:kms"}, field{"x-amz-server-side-encryption-aws-kms-key-id", s.anotherKey},
		field{"x-amz-checksum-sha256", base64Sum("canary-plaintext")}, field{"tagging", "<Tagging><TagSet><Tag><Key>a b</Key><Value>c+d:e@</Value></Tag></TagSet></Tagging>"},
		field{"x-amz-storage-class", "STANDARD"}, field{"acl", "private"}, field{"comment", "is not stored"})
	u.fields = append(u.fields, field{"x-ignore-me", "x"})
	u.name = `C:\dir\pic.png`
	answer := s.send(t, s.request(t, u, u.body()))
	if answer.StatusCode != http.StatusNoContent || answer.Header.Get("Location") != s.endpoint+"/docs/up/pic.png" {
		text, _ := io.ReadAll(answer.Body)
		t.Fatalf("got %d %v %s", answer.StatusCode, answer.Header, text)
	}
	got, out, err := s.get(t, "up/pic.png", func(in *s3.GetObjectInput) { in.ChecksumMode = "ENABLED" })
	if err != nil || string(got) != "canary-plaintext" {
		t.Fatalf("got %q, %v", got, err)
	}
	for name, pair := range map[string][2]string{
		"Content-Type": {aws.ToString(out.ContentType), "image/png"}, "Cache-Control": {aws.ToString(out.CacheControl), "max-age=1"},
		"Content-Disposition": {aws.ToString(out.ContentDisposition), `inline; filename="pic.png"`},
		"Content-Encoding":    {aws.ToString(out.ContentEncoding), "gzip"}, "Expires": {aws.ToString(out.ExpiresString), "Wed, 21 Oct 2026 07:28:00 GMT"},
		"metadata": {fmt.Sprint(out.Metadata), "map[uuid:14365123651274]"}, "key": {aws.ToString(out.SSEKMSKeyId), s.anotherKey},
		"checksum": {aws.ToString(out.ChecksumSHA256), base64Sum("canary-plaintext")}, "ETag": {aws.ToString(out.ETag), answer.Header.Get("Etag")},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: got %q, want %q", name, pair[0], pair[1])
		}
	}
	tags, err := s.app.GetObjectTagging(t.Context(), &s3.GetObjectTaggingInput{Bucket: aws.String(bucket), Key: aws.String("up/pic.png")})
	if err != nil || len(tags.TagSet) != 1 || *tags.TagSet[0].Key != "a b" || *tags.TagSet[0].Value != "c+d:e@" {
		t.Errorf("tags: %+v, %v", tags, err)
	}
	if raw := s.stored(t, "up/pic.png"); strings.Contains(fmt.Sprintf("%s %v", raw.body, raw.metadata), "canary") || strings.Contains(fmt.Sprint(raw.metadata), "not stored") {
		t.Errorf("the store holds %q", raw)
	}
	plain := signed("plain", "x")
	s.send(t, s.request(t, plain, plain.body()))
	if _, out, err := s.get(t, "plain"); err != nil || aws.ToString(out.ContentType) != "binary/octet-stream" {
		t.Errorf("without a type: got %v, %v", out, err)
	}
}

func base64Sum(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// send does not follow redirections.
func (s *stack) send(t testing.TB, r *http.Request) *http.Response {
	t.Helper()
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	answer.Body = io.NopCloser(bytes.NewReader(body))
	return answer
}

func TestPostAnswers(t *testing.T) {
	s := newMemoryStack(t)
	for _, c := range []struct {
		fields   []field
		host     string
		status   int
		location string
	}{
		{nil, "", 204, s.endpoint + "/docs/a%20b/%C3%BC"},
		{nil, "docs.s3.test", 204, "http://docs.s3.test/a%20b/%C3%BC"},
		{[]field{{"success_action_status", "200"}}, "", 200, s.endpoint + "/docs/a%20b/%C3%BC"},
		{[]field{{"success_action_status", "204"}}, "", 204, s.endpoint + "/docs/a%20b/%C3%BC"},
		{[]field{{"Success_Action_Status", "201"}}, "", 201, s.endpoint + "/docs/a%20b/%C3%BC"},
		{[]field{{"success_action_status", "404"}}, "", 204, s.endpoint + "/docs/a%20b/%C3%BC"},
		{[]field{{"success_action_redirect", "https://app.test/done?x=1"}}, "", 303, "https://app.test/done?x=1&bucket=docs&key=a+b%2F%C3%BC&etag=%22ETAG%22"},
		{[]field{{"redirect", "http://app.test/done"}, {"success_action_status", "201"}}, "", 303, "http://app.test/done?bucket=docs&key=a+b%2F%C3%BC&etag=%22ETAG%22"},
		{[]field{{"success_action_redirect", "javascript:alert(1)"}}, "", 204, s.endpoint + "/docs/a%20b/%C3%BC"},
		{[]field{{"success_action_redirect", "done"}, {"success_action_status", "200"}}, "", 200, s.endpoint + "/docs/a%20b/%C3%BC"},
	} {
		u := signed("a b/ü", "content", c.fields...)
		if c.host != "" {
			u.target = "/"
		}
		r := s.request(t, u, u.body())
		r.Host = c.host
		answer := s.send(t, r)
		etag := strings.Trim(answer.Header.Get("Etag"), `"`)
		if want := strings.Replace(c.location, "ETAG", etag, 1); answer.StatusCode != c.status || answer.Header.Get("Location") != want || etag == "" {
			t.Errorf("%v: got %d %v, want %s", c.fields, answer.StatusCode, answer.Header, want)
		}
		body, _ := io.ReadAll(answer.Body)
		if c.status != 201 {
			if len(body) > 0 {
				t.Errorf("%v: got the body %s", c.fields, body)
			}
			continue
		}
		var response struct {
			XMLName                     xml.Name `xml:"PostResponse"`
			Location, Bucket, Key, ETag string
		}
		if err := xml.Unmarshal(body, &response); err != nil || response.Location != c.location || response.Bucket != "docs" || response.Key != "a b/ü" || response.ETag != `"`+etag+`"` {
			t.Errorf("got %s, %v", body, err)
		}
	}
}

func TestPostIsOnRecord(t *testing.T) {
	s := newMemoryStack(t)
	u := signed("recorded", "canary-plaintext")
	r := s.request(t, u, u.body())
	const trace = "0af7651916cd43dd8448eb211c80319d"
	r.Header.Set("Traceparent", "00-"+trace+"-b7ad6b7169203331-00")
	s.send(t, r)
	spans, err := audit.ReadTrace([]string{s.auditDir}, trace)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("%+v", spans)
	for _, want := range []string{"s3.PostObject", "datakey.use", s.ruleKey, "recorded", "app"} {
		if !strings.Contains(text, want) {
			t.Errorf("the record does not hold %q", want)
		}
	}
	if strings.Contains(text, "canary") {
		t.Error("the record holds content")
	}
	s.audit.Close()
	for _, n := range []int{10, 300_000} {
		u := signed("unrecorded", string(content(n)))
		if status, e := s.do(t, s.request(t, u, u.body())); status != 503 || e.Code != "ServiceUnavailable" {
			t.Errorf("without a log: got %d %+v", status, e)
		}
		s.mustBeAbsent(t, "unrecorded")
	}
}

// TestPostPolicies sends forms that their policies do not allow.
func TestPostPolicies(t *testing.T) {
	s := newMemoryStack(t)
	hour := time.Now().Add(time.Hour)
	expiration := `"expiration": "` + hour.UTC().Format(time.RFC3339) + `"`
	for name, c := range map[string]struct {
		policy  string
		fields  []field
		code    string
		message string
	}{
		"expired":         {policyOf(time.Now().Add(-time.Second), toBucket, anyKey), nil, "AccessDenied", "Invalid according to Policy: Policy expired."},
		"key":             {policyOf(hour, toBucket, `["starts-with", "$key", "user/"]`), nil, "AccessDenied", `Invalid according to Policy: Policy Condition failed: ["starts-with", "$key", "user/"]`},
		"other bucket":    {policyOf(hour, `{"bucket": "other-bucket"}`, anyKey), nil, "AccessDenied", `Invalid according to Policy: Policy Condition failed: ["eq", "$bucket", "other-bucket"]`},
		"bucket field":    {policyOf(hour, `{"bucket": "other-bucket"}`, anyKey), []field{{"bucket", "other-bucket"}}, "AccessDenied", `Invalid according to Policy: Policy Condition failed: ["eq", "$bucket", "other-bucket"]`},
		"no bucket":       {policyOf(hour, anyKey), nil, "AccessDenied", "Invalid according to Policy: Extra input fields: bucket"},
		"extra field":     {policyOf(hour, toBucket, anyKey), []field{{"x-amz-meta-a", "b"}}, "AccessDenied", "Invalid according to Policy: Extra input fields: x-amz-meta-a"},
		"extra plain":     {policyOf(hour, toBucket, anyKey), []field{{"submit", "b"}}, "AccessDenied", "Invalid according to Policy: Extra input fields: submit"},
		"field absent":    {policyOf(hour, toBucket, anyKey, `["starts-with", "$Content-Type", ""]`), nil, "AccessDenied", `Invalid according to Policy: Policy Condition failed: ["starts-with", "$Content-Type", ""]`},
		"value":           {policyOf(hour, toBucket, anyKey, `{"acl": "private"}`), []field{{"acl", "public-read"}}, "AccessDenied", `Invalid according to Policy: Policy Condition failed: ["eq", "$acl", "private"]`},
		"list of types":   {policyOf(hour, toBucket, anyKey, `["starts-with", "$Content-Type", "image/"]`), []field{{"Content-Type", "image/png, text/html"}}, "AccessDenied", `Invalid according to Policy: Policy Condition failed: ["starts-with", "$Content-Type", "image/"]`},
		"both conditions": {policyOf(hour, toBucket, anyKey, `["eq", "$key", "refused"]`, `["eq", "$key", "other"]`), nil, "AccessDenied", `Invalid according to Policy: Policy Condition failed: ["eq", "$key", "other"]`},
		"too large":       {policyOf(hour, toBucket, anyKey, `["content-length-range", 0, 6]`), nil, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size"},
		"too small":       {policyOf(hour, toBucket, anyKey, `["content-length-range", "8", "1000"]`), nil, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size"},
		"two ranges":      {policyOf(hour, toBucket, anyKey, `["content-length-range", 0, 6]`, `["content-length-range", 0, 60]`), nil, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size"},
		"no expiration":   {`{"conditions": []}`, nil, "InvalidPolicyDocument", "Invalid Policy: Policy missing expiration."},
		"no conditions":   {`{` + expiration + `}`, nil, "InvalidPolicyDocument", "Invalid Policy: Policy missing conditions."},
		"upper case":      {`{"EXPIRATION": "2030-01-01T00:00:00Z", "conditions": []}`, nil, "InvalidPolicyDocument", "Invalid Policy: Invalid JSON."},
		"twice":           {`{` + expiration + `, "conditions": [], "conditions": []}`, nil, "InvalidPolicyDocument", "Invalid Policy: Invalid JSON."},
		"date":            {`{"expiration": "tomorrow", "conditions": []}`, nil, "InvalidPolicyDocument", "Invalid Policy: Invalid 'expiration' value: 'tomorrow'"},
		"not JSON":        {`{`, nil, "InvalidPolicyDocument", "Invalid Policy: Invalid JSON."},
		"no condition":    {policyOf(hour, `{}`), nil, "InvalidPolicyDocument", "Invalid Policy: Invalid Simple-Condition: Simple-Conditions must have exactly one property specified."},
		"two conditions":  {policyOf(hour, `{"bucket": "docs", "key": "refused"}`), nil, "InvalidPolicyDocument", "Invalid Policy: Invalid Simple-Condition: Simple-Conditions must have exactly one property specified."},
		"number":          {policyOf(hour, `{"success_action_status": 201}`), nil, "InvalidPolicyDocument", "Invalid Policy: Invalid Simple-Condition: value must be a string."},
		"operator":        {policyOf(hour, `["ends-with", "$key", ""]`), nil, "InvalidPolicyDocument", "Invalid Policy: Invalid Condition: unknown operation 'ends-with'."},
		"no dollar":       {policyOf(hour, `["eq", "key", ""]`), nil, "InvalidPolicyDocument", "Invalid Policy: Invalid Condition: the name of a field must begin with '$'."},
		"short range":     {policyOf(hour, `["content-length-range", 0]`), nil, "InvalidPolicyDocument", "Invalid Policy: Invalid Condition: a condition is an object or a list of three elements."},
		"negative range":  {policyOf(hour, `["content-length-range", -1, 0]`), nil, "InvalidPolicyDocument", "Invalid Policy: Invalid content-length-range: want two numbers of bytes."},
		"inverted range":  {policyOf(hour, `["content-length-range", 2, 1]`), nil, "InvalidPolicyDocument", "Invalid Policy: Invalid content-length-range: want two numbers of bytes."},
	} {
		t.Run(name, func(t *testing.T) {
			u := upload{fields: append(append(sign(c.policy), c.fields...), field{"key", "refused"}), name: "f", content: "content"}
			status, e := s.do(t, s.request(t, u, u.body()))
			want := map[string]int{"AccessDenied": 403}[c.code]
			if want == 0 {
				want = 400
			}
			if e.Code != c.code || e.Message != c.message || status != want {
				t.Errorf("got %d %+v", status, e)
			}
			if codes := s.lastCodes(t); !slices.Contains(codes, c.code) {
				t.Errorf("on record: %v", codes)
			}
			s.mustBeAbsent(t, "refused")
		})
	}
	for name, c := range map[string]struct {
		conditions []string
		fields     []field
	}{
		"any case":      {[]string{`{"bUcKeT": "docs"}`, `["StArTs-WiTh", "$KeY", "all"]`, `{"AcL": "private"}`}, []field{{"aCl", "private"}}},
		"list of types": {[]string{toBucket, anyKey, `["starts-with", "$Content-Type", "image/"]`}, []field{{"Content-Type", "image/png, image/gif"}}},
		"dollar":        {[]string{toBucket, anyKey, `["eq", "$x-amz-meta-a", "\$b\\"]`}, []field{{"x-amz-meta-a", `$b\`}}},
		"range":         {[]string{toBucket, anyKey, `["content-length-range", 7, 7]`}, nil},
		"file name":     {[]string{toBucket, `["eq", "$key", "allowed"]`, `["eq", "$x-amz-meta-n", "n f.txt"]`}, []field{{"x-amz-meta-n", "n ${filename}"}}},
	} {
		t.Run(name, func(t *testing.T) {
			u := upload{fields: append(append(sign(policyOf(hour, c.conditions...)), c.fields...), field{"kEy", "allowed"}), name: "f.txt", content: "content"}
			if status, e := s.do(t, s.request(t, u, u.body())); status != 204 {
				t.Errorf("got %d %+v", status, e)
			}
			if got, _, err := s.get(t, "allowed"); err != nil || string(got) != "content" {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// TestHostileForms sends forms that are not what they should be, small and large:
// none of them leaves an object.
func TestHostileForms(t *testing.T) {
	s := newMinIOStack(t)
	closing := "\r\n--" + boundary + "--\r\n"
	edit := func(f func(u *upload)) func(upload) (upload, string) {
		return func(u upload) (upload, string) { f(&u); return u, u.body() }
	}
	set := func(name, value string) func(upload) (upload, string) {
		return edit(func(u *upload) {
			u.fields = slices.DeleteFunc(slices.Clone(u.fields), func(f field) bool { return f.name == name })
			if value != "" {
				u.fields = append(u.fields, field{name, value})
			}
		})
	}
	allow := func(more ...field) func(upload) (upload, string) {
		return edit(func(u *upload) { u.fields = signed("k", "", more...).fields })
	}
	replace := func(from, to string) func(upload) (upload, string) {
		return func(u upload) (upload, string) { return u, strings.Replace(u.body(), from, to, 1) }
	}
	for name, c := range map[string]struct {
		make func(upload) (upload, string)
		code string
	}{
		"a field after the file":    {edit(func(u *upload) { u.after = "\r\n" + part(`name="submit"`, "x") + closing[2:] }), "MalformedPOSTRequest"},
		"an ignored one after it":   {edit(func(u *upload) { u.after = "\r\n" + part(`name="x-ignore-a"`, "x") + closing[2:] }), "MalformedPOSTRequest"},
		"two files":                 {edit(func(u *upload) { u.after = "\r\n" + part(`name="file"; filename="g"`, "x") + closing[2:] }), "MalformedPOSTRequest"},
		"two files, other first":    {func(u upload) (upload, string) { return u, part(`name="other"; filename="g"`, "x") + u.body() }, "InvalidArgument"},
		"no file":                   {func(u upload) (upload, string) { return u, part(`name="key"`, "k") + closing[2:] }, "InvalidArgument"},
		"nothing":                   {func(u upload) (upload, string) { return u, closing[2:] }, "InvalidArgument"},
		"empty":                     {func(u upload) (upload, string) { return u, "" }, "MalformedPOSTRequest"},
		"no key":                    {set("key", ""), "InvalidArgument"},
		"empty key":                 {edit(func(u *upload) { u.fields = append(u.fields[:5:5], field{"key", ""}) }), "InvalidArgument"},
		"key of no name":            {edit(func(u *upload) { u.fields = append(u.fields[:5:5], field{"key", "${filename}"}); u.name = "" }), "InvalidArgument"},
		"key of a directory":        {edit(func(u *upload) { u.fields = append(u.fields[:5:5], field{"key", "${filename}"}); u.name = "a/" }), "InvalidArgument"},
		"key too long":              {set("key", strings.Repeat("k", 1025)), "KeyTooLongError"},
		"key not UTF-8":             {set("key", "k\xff"), "InvalidArgument"},
		"key twice":                 {edit(func(u *upload) { u.fields = append(u.fields, field{"KEY", "other"}) }), "InvalidArgument"},
		"no policy":                 {set("policy", ""), "InvalidArgument"},
		"other policy":              {set("policy", "e30="), "SignatureDoesNotMatch"},
		"no signature":              {set("x-amz-signature", ""), "InvalidArgument"},
		"wrong signature":           {set("x-amz-signature", strings.Repeat("0", 64)), "SignatureDoesNotMatch"},
		"no algorithm":              {set("x-amz-algorithm", ""), "InvalidArgument"},
		"SigV4A":                    {set("x-amz-algorithm", "AWS4-ECDSA-P256-SHA256"), "InvalidRequest"},
		"no credential":             {set("x-amz-credential", ""), "InvalidArgument"},
		"unknown key ID":            {set("x-amz-credential", "AKIDX/"+time.Now().UTC().Format("20060102")+"/"+region+"/s3/aws4_request"), "InvalidAccessKeyId"},
		"other region":              {set("x-amz-credential", appID+"/"+time.Now().UTC().Format("20060102")+"/us-east-1/s3/aws4_request"), "AuthorizationHeaderMalformed"},
		"credential":                {set("x-amz-credential", appID), "InvalidArgument"},
		"no date":                   {set("x-amz-date", ""), "InvalidArgument"},
		"other day":                 {set("x-amz-date", "20200101T000000Z"), "InvalidArgument"},
		"date not as in the policy": {set("x-amz-date", time.Now().UTC().Format("20060102")+"T000001Z"), "AccessDenied"},
		"SigV2":                     {edit(func(u *upload) { u.fields = append(u.fields, field{"AWSAccessKeyId", appID}, field{"signature", "x"}) }), "InvalidRequest"},
		"SigV2 only": {edit(func(u *upload) {
			u.fields = []field{{"key", "k"}, {"policy", "e30="}, {"AWSAccessKeyId", appID}, {"signature", "x"}}
		}), "InvalidRequest"},
		"anonymous":                    {edit(func(u *upload) { u.fields = []field{{"key", "k"}} }), "AccessDenied"},
		"session token":                {allow(field{"x-amz-security-token", "x"}), "InvalidToken"},
		"copy":                         {allow(field{"x-amz-copy-source", "/docs/secret"}), "NotImplemented"},
		"copy by a header":             {edit(func(u *upload) { u.header = map[string]string{"x-amz-copy-source": "/docs/secret"} }), "AccessDenied"},
		"ACL by a header":              {edit(func(u *upload) { u.header = map[string]string{"x-amz-acl": "public-read"} }), "AccessDenied"},
		"a name of the gateway's own":  {edit(func(u *upload) { u.fields = signed("~sidekey/encryption", "").fields }), "AccessDenied"},
		"SSE-C":                        {allow(field{"x-amz-server-side-encryption-customer-key", "x"}), "InvalidRequest"},
		"unknown field of Amazon":      {allow(field{"x-amz-something-new", "x"}), "NotImplemented"},
		"of MinIO":                     {allow(field{"x-minio-extract", "true"}), "NotImplemented"},
		"extraction":                   {allow(field{"x-amz-meta-snowball-auto-extract", "true"}), "NotImplemented"},
		"write offset":                 {allow(field{"x-amz-write-offset-bytes", "0"}), "NotImplemented"},
		"trailer":                      {allow(field{"x-amz-trailer", "x-amz-checksum-crc32"}), "NotImplemented"},
		"decoded length":               {allow(field{"x-amz-decoded-content-length", "1"}), "NotImplemented"},
		"payload hash":                 {allow(field{"x-amz-content-sha256", "UNSIGNED-PAYLOAD"}), "NotImplemented"},
		"the gateway's metadata":       {allow(field{"x-amz-meta-sidekey", "x"}), "InvalidArgument"},
		"line break in a value":        {allow(field{"x-amz-meta-a", "a\r\nx-amz-acl: public-read"}), "InvalidArgument"},
		"space in a name":              {allow(field{"x-amz-meta-a b", "c"}), "InvalidArgument"},
		"checksum":                     {allow(field{"x-amz-checksum-crc32", "AAAAAA=="}), "BadDigest"},
		"MD5":                          {allow(field{"Content-MD5", "AAAAAAAAAAAAAAAAAAAAAA=="}), "BadDigest"},
		"two checksums":                {allow(field{"x-amz-checksum-crc32", "AAAAAA=="}, field{"x-amz-checksum-crc32c", "AAAAAA=="}), "InvalidRequest"},
		"two ACLs":                     {allow(field{"acl", "private"}, field{"x-amz-acl", "public-read"}), "InvalidArgument"},
		"tagging":                      {allow(field{"tagging", "a=b"}), "MalformedXML"},
		"metadata too large":           {allow(field{"x-amz-meta-a", strings.Repeat("x", 2048)}), "MetadataTooLarge"},
		"fields too large":             {allow(field{"x-ignore-a", strings.Repeat("x", 20<<10)}), "MaxPostPreDataLengthExceeded"},
		"part header too large":        {replace("Content-Type: text/x-of-the-part", "X: "+strings.Repeat("x", 20<<10)), "MaxPostPreDataLengthExceeded"},
		"endless preamble":             {func(u upload) (upload, string) { return u, strings.Repeat("x\r\n", 10<<10) + u.body() }, "MaxPostPreDataLengthExceeded"},
		"endless line":                 {func(u upload) (upload, string) { return u, strings.Repeat("x", 30<<10) + u.body() }, "MalformedPOSTRequest"},
		"bytes after the end":          {edit(func(u *upload) { u.after = closing + "x" }), "MalformedPOSTRequest"},
		"line break after the end":     {edit(func(u *upload) { u.after = closing + "\r\n" }), "MalformedPOSTRequest"},
		"a second form after the end":  {edit(func(u *upload) { u.after = closing + u.body() }), "MalformedPOSTRequest"},
		"no closing boundary":          {edit(func(u *upload) { u.after = "\r\n" }), "MalformedPOSTRequest"},
		"half of the closing boundary": {edit(func(u *upload) { u.after = "\r\n--" + boundary + "-" }), "MalformedPOSTRequest"},
		"not the closing boundary":     {edit(func(u *upload) { u.after = "\r\n--" + boundary + "\r\n" }), "MalformedPOSTRequest"},
		"space after the boundary":     {edit(func(u *upload) { u.after = "\r\n--" + boundary + "-- \r\n" }), "MalformedPOSTRequest"},
		"line feeds":                   {func(u upload) (upload, string) { return u, strings.ReplaceAll(u.body(), "\r\n", "\n") }, "MalformedPOSTRequest"},
		"line feed at the end":         {edit(func(u *upload) { u.after = "\n--" + boundary + "--\r\n" }), "MalformedPOSTRequest"},
		"boundary in the file":         {edit(func(u *upload) { u.content = "a" + closing + u.content }), "MalformedPOSTRequest"},
		"boundary at its beginning":    {edit(func(u *upload) { u.content = closing[2:] + u.content }), "MalformedPOSTRequest"},
		"no file name":                 {replace(`name="file"; filename="f.txt"`, `name=""; filename="f.txt"`), "MalformedPOSTRequest"},
		"no disposition":               {replace(`form-data; name="key"`, `attachment; name="key"`), "MalformedPOSTRequest"},
		"name twice":                   {replace(`form-data; name="key"`, `form-data; name="key"; name="acl"`), "MalformedPOSTRequest"},
		"encoded part":                 {replace("Content-Type: text/x-of-the-part", "Content-Transfer-Encoding: base64"), "MalformedPOSTRequest"},
		"header of no form":            {replace("Content-Type: text/x-of-the-part", "Content-Type text"), "MalformedPOSTRequest"},
		"no boundary":                  {edit(func(u *upload) { u.header = map[string]string{"Content-Type": "multipart/form-data"} }), "MalformedPOSTRequest"},
		"empty boundary":               {edit(func(u *upload) { u.header = map[string]string{"Content-Type": `multipart/form-data; boundary=""`} }), "MalformedPOSTRequest"},
		"long boundary": {edit(func(u *upload) {
			u.header = map[string]string{"Content-Type": "multipart/form-data; boundary=" + strings.Repeat("b", 71)}
		}), "MalformedPOSTRequest"},
		"other boundary":            {edit(func(u *upload) { u.header = map[string]string{"Content-Type": "multipart/form-data; boundary=b"} }), "MalformedPOSTRequest"},
		"no form":                   {edit(func(u *upload) { u.header = map[string]string{"Content-Type": "text/plain"} }), "AccessDenied"},
		"to an object":              {edit(func(u *upload) { u.target = "/docs/k" }), "AccessDenied"},
		"to a parameter":            {edit(func(u *upload) { u.target = "/docs?delete" }), "AccessDenied"},
		"to no bucket":              {edit(func(u *upload) { u.target = "/" }), "AccessDenied"},
		"to another bucket":         {edit(func(u *upload) { u.target = "/other-bucket" }), "AccessDenied"},
		"to MinIO's administration": {edit(func(u *upload) { u.target = "/minio" }), "AccessDenied"},
	} {
		for _, n := range []int{1000, 300_000} {
			if n > 1000 && (strings.HasPrefix(name, "endless") || name == "other boundary") {
				continue
			}
			u, body := c.make(signed("k", string(content(n))))
			status, e := s.do(t, s.request(t, u, body))
			if e.Code != c.code || status < 400 {
				t.Errorf("%s, %d bytes: got %d %+v, want %s", name, n, status, e, c.code)
			}
			s.mustBeAbsent(t, "k")
		}
	}
	r := s.request(t, upload{}, "")
	u := signed("k", "content")
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(u.body())), -1
	if status, e := s.do(t, r); status != 411 || e.Code != "MissingContentLength" {
		t.Errorf("no length: got %d %+v", status, e)
	}
	s.mustBeAbsent(t, "k")
	if buckets, err := s.store.ListBuckets(t.Context(), &s3.ListBucketsInput{}); err != nil || len(buckets.Buckets) != 1 {
		t.Errorf("got %+v, %v", buckets, err)
	}
}

// TestTruncatedForms cuts forms at many places, with the length of the whole and
// with that of what is there.
func TestTruncatedForms(t *testing.T) {
	for name, s := range map[string]*stack{"memory": newMemoryStack(t), "MinIO": newMinIOStack(t)} {
		for _, n := range []int{40, 100_000} {
			u := signed("k", string(content(n)))
			whole := u.body()
			file := len(whole) - n - len(boundary) - 8
			cuts := []int{0, 1, len(whole) / 2, file + n/3, file + 16384, file + 65536}
			for i := range 60 {
				cuts = append(cuts, i*file/60, file+i*n/60)
			}
			for i := range len(boundary) + 12 {
				cuts = append(cuts, len(whole)-1-i)
			}
			for _, cut := range cuts {
				if cut >= len(whole) {
					continue
				}
				s.cutForm(t, u, whole, cut, len(whole))
				if len(whole)-cut != 2 || n > 65536 { // the line break at the end is optional
					s.cutForm(t, u, whole, cut, cut)
				}
			}
			s.mustBeAbsent(t, "k")
		}
		u := signed("after", "content")
		if status, e := s.do(t, s.request(t, u, u.body())); status != 204 {
			t.Errorf("%s: afterwards: got %d %+v", name, status, e)
		}
	}
}

// cutForm sends some of a body under a length, and wants no success.
func (s *stack) cutForm(t *testing.T, u upload, whole string, cut, declared int) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.endpoint, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /docs HTTP/1.1\r\nHost: %s\r\nContent-Type: multipart/form-data; boundary=%s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		strings.TrimPrefix(s.endpoint, "http://"), boundary, declared, whole[:cut])
	conn.(*net.TCPConn).CloseWrite()
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return
	}
	answer.Body.Close()
	if answer.StatusCode < 400 {
		t.Errorf("a form cut after %d bytes of %d, as %d, was answered with %s", cut, len(whole), declared, answer.Status)
	}
}

// TestPostWithBoto3 has boto3 make the form and curl send it.
func TestPostWithBoto3(t *testing.T) {
	s := newMinIOStack(t)
	const script = `
import boto3, os, subprocess
from botocore.config import Config
s3 = boto3.client("s3", endpoint_url=os.environ["ENDPOINT"], region_name="eu-central-1",
    config=Config(signature_version="s3v4", s3={"addressing_style": "path"}))
b = os.environ["BUCKET"]
def post(form, path, *more):
    args = ["curl", "-sS", "-w", "%{http_code}", "--noproxy", "*"]
    for name, value in list(form["fields"].items()) + list(more):
        args += ["--form-string", name + "=" + value]
    out = subprocess.run(args + ["-F", "file=@" + path, form["url"]], capture_output=True, text=True, check=True)
    return out.stdout
for size in (0, 10, 65536, 3000000):
    path = os.path.join(os.environ["DIR"], "pic %d.bin" % size)
    data = os.urandom(size)
    with open(path, "wb") as f: f.write(data)
    form = s3.generate_presigned_post(b, "boto/${filename}", Fields={"acl": "private", "x-amz-meta-a": "b"},
        Conditions=[{"acl": "private"}, {"x-amz-meta-a": "b"}, ["content-length-range", 0, size], ["starts-with", "$Content-Type", "image/"]])
    out = post(form, path, ("Content-Type", "image/png"))
    assert out == "204", out
    g = s3.get_object(Bucket=b, Key="boto/pic %d.bin" % size)
    assert g["Body"].read() == data and g["Metadata"] == {"a": "b"} and g["ContentType"] == "image/png", g
    out = post(form, path, ("Content-Type", "text/html"))
    assert out.endswith("403") and "Policy Condition failed" in out, out
form = s3.generate_presigned_post(b, "boto/small", Conditions=[["content-length-range", 0, 2999999]])
out = post(form, path)
assert out.endswith("400") and "EntityTooLarge" in out, out
form = s3.generate_presigned_post(b, "boto/late", ExpiresIn=-1)
out = post(form, path)
assert out.endswith("403") and "Policy expired" in out, out
`
	runCommand(t, append(commandEnv(t, s), "DIR="+t.TempDir()), "/usr/bin/python3", "-c", script)
	s.mustBeAbsent(t, "boto/small")
	s.mustBeAbsent(t, "boto/late")
}

// TestPostWithSDKs has minio-go and the Go SDK make forms.
func TestPostWithSDKs(t *testing.T) {
	s := newMinIOStack(t)
	path := filepath.Join(t.TempDir(), "f.bin")
	want := content(200_000)
	if err := os.WriteFile(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
	curl := func(to string, fields map[string]string, more ...string) string {
		args := []string{"-sS", "-w", "%{http_code}", "--noproxy", "*"}
		for name, value := range fields {
			args = append(args, "--form-string", name+"="+value)
		}
		return runCommand(t, os.Environ(), "curl", append(append(args, more...), "-F", "file=@"+path, to)...)
	}
	c, err := minio.New(strings.TrimPrefix(s.endpoint, "http://"), &minio.Options{Creds: credentials.NewStaticV4(appID, appSecret, ""), Region: region})
	if err != nil {
		t.Fatal(err)
	}
	policy := minio.NewPostPolicy()
	for _, err := range []error{
		policy.SetBucket(bucket), policy.SetKeyStartsWith("mc/"), policy.SetExpires(time.Now().UTC().AddDate(0, 0, 10)),
		policy.SetContentType("image/png"), policy.SetContentLengthRange(200_000, 200_000), policy.SetUserMetadata("a", "b"), policy.SetSuccessStatusAction("201"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	to, fields, err := c.PresignedPostPolicy(t.Context(), policy)
	if err != nil {
		t.Fatal(err)
	}
	fields["key"] = "mc/${filename}"
	if out := curl(to.String(), fields); !strings.HasSuffix(out, "</PostResponse>201") {
		t.Errorf("minio-go: got %s", out)
	}
	form, err := s3.NewPresignClient(s.app).PresignPostObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("sdk/f.bin")},
		func(o *s3.PresignPostOptions) { o.Conditions = []any{[]any{"content-length-range", 0, 200_000}} })
	if err != nil {
		t.Fatal(err)
	}
	if out := curl(form.URL, form.Values); out != "204" {
		t.Errorf("the SDK: got %s", out)
	}
	for _, key := range []string{"mc/f.bin", "sdk/f.bin"} {
		if got, _, err := s.get(t, key); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: got %d bytes, %v", key, len(got), err)
		}
		if raw := s.stored(t, key); bytes.Contains(raw.body, want[:64]) {
			t.Errorf("%s: the store holds plaintext", key)
		}
	}
}

// TestSignedPost wants a form to be signed by its policy and by nothing else.
func TestSignedPost(t *testing.T) {
	s := newMemoryStack(t)
	u := signed("k", "content")
	if status, e := s.do(t, s.rawRequest(t, "POST", "/docs", u.body(), map[string]string{"Content-Type": "multipart/form-data; boundary=" + boundary})); status != 501 || e.Operation != "PostObject" {
		t.Errorf("signed in the header: got %d %+v", status, e)
	}
	if status, e := s.do(t, s.rawRequest(t, "POST", "/docs", "content", map[string]string{"Content-Type": "text/plain"})); status != 412 || e.Code != "PreconditionFailed" {
		t.Errorf("no form: got %d %+v", status, e)
	}
	r := s.request(t, u, u.body())
	presigned, _, err := v4.NewSigner().PresignHTTP(t.Context(), aws.Credentials{AccessKeyID: appID, SecretAccessKey: appSecret}, r, "UNSIGNED-PAYLOAD", "s3", region, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if r.URL, err = url.Parse(presigned); err != nil {
		t.Fatal(err)
	}
	if status, _ := s.do(t, r); status < 400 {
		t.Errorf("presigned: got %d", status)
	}
	s.mustBeAbsent(t, "k")
	u.header = map[string]string{"If-None-Match": "*"}
	minio := newMinIOStack(t)
	minio.put(t, "k", []byte("first"))
	if status, e := minio.do(t, minio.request(t, u, u.body())); status != 412 {
		t.Errorf("with a condition: got %d %+v", status, e)
	}
}

// FuzzPostPolicy wants a policy to allow nothing that one made of the same text by
// another parser does not.
func FuzzPostPolicy(f *testing.F) {
	f.Add(policyOf(time.Now().Add(time.Hour), toBucket, anyKey, `["content-length-range", 1, "5"]`), "acl", "private", int64(3))
	f.Add(`{"expiration": "2999-01-01T00:00:00Z", "conditions": [["eq", "$acl", "\$a"], {"bucket": "docs"}, {"key": "k"}]}`, "ACL", "$a", int64(0))
	f.Add(`{"expiration": "2999-01-01T00:00:00.5+01:00", "conditions": [["starts-with", "$Content-Type", "a/"], ["starts-with", "$bucket", ""], {"key": "k"}]}`, "content-type", "a/b,a/c", int64(0))
	f.Fuzz(func(t *testing.T, policy, name, value string, size int64) {
		name = strings.ToLower(name)
		fields := map[string]string{"bucket": "docs", "key": "k", "policy": "x", name: value}
		now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
		if s3gateway.CheckPolicy(base64.StdEncoding.EncodeToString([]byte(policy)), fields, size, now) != nil {
			return
		}
		if size < 0 {
			t.Fatalf("a size of %d is allowed", size)
		}
		// Whatever is allowed stops being so once it is late, or one field more.
		if s3gateway.CheckPolicy(base64.StdEncoding.EncodeToString([]byte(policy)), fields, size, now.AddDate(8000, 0, 0)) == nil {
			t.Fatal("it never expires")
		}
		allowed := namesIn(t, policy)
		for field := range fields {
			if field != "policy" && field != "x-amz-signature" && !strings.HasPrefix(field, "x-ignore-") && !allowed[field] {
				t.Fatalf("%q is in no condition of %s", field, policy)
			}
		}
		fields["x-uncovered-"+strings.Repeat("x", len(policy))] = ""
		if s3gateway.CheckPolicy(base64.StdEncoding.EncodeToString([]byte(policy)), fields, size, now) == nil {
			t.Fatal("a field without a condition is allowed")
		}
	})
}

// TestFormMemory reads a large form, of which little may be held at a time.
func TestFormMemory(t *testing.T) {
	const size = 256 << 20
	u := signed("k", "")
	before, after, _ := strings.Cut(u.body(), "\r\n\r\n\r\n--"+boundary+"--")
	before, after = before+"\r\n\r\n", "\r\n--"+boundary+"--"+after
	// All of it could be the beginning of a boundary.
	file := io.LimitReader(&repeated{text: "\r\n--" + boundary[:len(boundary)-1]}, size)
	r := httptest.NewRequest("POST", "http://h/docs", io.MultiReader(strings.NewReader(before), file, strings.NewReader(after)))
	r.ContentLength = int64(len(before) + size + len(after))
	r.Header.Set("Content-Type", "multipart/form-data; boundary="+boundary)
	var counted counter
	var start, end runtime.MemStats
	runtime.ReadMemStats(&start)
	_, err := s3gateway.ReadForm(&counted, r)
	runtime.ReadMemStats(&end)
	if err != nil || counted != size {
		t.Errorf("got %d bytes, %v", counted, err)
	}
	if grown := end.TotalAlloc - start.TotalAlloc; grown > 4<<20 {
		t.Errorf("%d MiB were allocated", grown>>20)
	}
}

// repeated reads its text again and again.
type repeated struct {
	text string
	at   int
}

func (r *repeated) Read(p []byte) (int, error) {
	n := copy(p, r.text[r.at:])
	r.at = (r.at + n) % len(r.text)
	return n, nil
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// FuzzForm reads arbitrary forms: what is accepted as the file stands in the body,
// ends where the closing boundary begins, and holds no boundary.
func FuzzForm(f *testing.F) {
	u := signed("k", "content")
	f.Add([]byte(u.body()))
	u.after = "\r\n--" + boundary + "--"
	f.Add([]byte(u.body()))
	f.Add([]byte("preamble\r\n" + part(`name=key`, "k") + part(`name="file"`, "") + "--" + boundary + "--\r\n"))
	f.Add([]byte(strings.ReplaceAll(u.body(), "\r\n", "\n")))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := http.NewRequest("POST", "http://h/docs", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "multipart/form-data; boundary="+boundary)
		var content bytes.Buffer
		fields, err := s3gateway.ReadForm(&content, r)
		if err != nil {
			return
		}
		file := content.Bytes()
		before, ok := bytes.CutSuffix(bytes.TrimRight(body, " \t\r\n"), []byte("\r\n--"+boundary+"--"))
		if !ok || !bytes.HasSuffix(before, file) || bytes.Contains(file, []byte("\r\n--"+boundary+"--")) {
			t.Fatalf("%q is the file of %q", file, body)
		}
		if len(before)-len(file) > 20<<10 || fields["key"] == "" {
			t.Fatalf("%d bytes before the file, the key %q", len(before)-len(file), fields["key"])
		}
	})
}

// namesIn finds the names of a policy's conditions with another parser.
func namesIn(t *testing.T, policy string) map[string]bool {
	t.Helper()
	var document struct {
		Conditions []any `json:"conditions"`
	}
	if err := json.Unmarshal([]byte(strings.ReplaceAll(policy, `\$`, `$`)), &document); err != nil {
		t.Skipf("of another dialect: %v", err)
	}
	names := map[string]bool{}
	for _, condition := range document.Conditions {
		switch c := condition.(type) {
		case map[string]any:
			for name := range c {
				names[strings.ToLower(name)] = true
			}
		case []any:
			name, _ := c[1].(string)
			names[strings.ToLower(strings.TrimPrefix(name, "$"))] = true
		}
	}
	return names
}
