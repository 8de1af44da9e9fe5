// SPDX-License-Identifier: Apache-2.0

package s3gateway_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/s3gateway"
)

func allowed(rules ...s3gateway.Anonymous) func(*s3gateway.Config) {
	return func(cfg *s3gateway.Config) { cfg.Anonymous = rules }
}

var siteRules = allowed(
	s3gateway.Anonymous{Bucket: bucket, Prefix: "site/", Actions: []string{"read", "list"}},
	s3gateway.Anonymous{Bucket: bucket, Prefix: "drop/", Actions: []string{"write"}},
	s3gateway.Anonymous{Bucket: "other-bucket", Actions: []string{"read"}},
)

// bare is a request without a signature.
func (s *stack) bare(t testing.TB, method, target, body string, header map[string]string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, s.endpoint+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range header {
		r.Header.Set(name, value)
	}
	return r
}

// operations counts what is on record.
func (s *stack) operations(t testing.TB) int {
	t.Helper()
	summaries, err := audit.List([]string{s.auditDir}, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return len(summaries)
}

func TestAnonymous(t *testing.T) {
	s := newMinIOStack(t, siteRules)
	s.put(t, "site/page", []byte("page"))
	s.put(t, "secret", []byte("secret"))
	trailer := map[string]string{"x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "x-amz-decoded-content-length": "5", "x-amz-trailer": "x-amz-checksum-crc32", "Content-Encoding": "aws-chunked"}
	const chunked = "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"
	for _, c := range []struct {
		method, target, body string
		header               map[string]string
		status               int
		code                 string
	}{
		{"GET", "/docs/site/page", "", nil, 200, ""},
		{"GET", "/docs/site/page", "", map[string]string{"Range": "bytes=1-2"}, 206, ""},
		{"HEAD", "/docs/site/page", "", nil, 200, ""},
		{"GET", "/docs?list-type=2&prefix=site/", "", nil, 200, ""},
		{"GET", "/docs?prefix=site/a&delimiter=/", "", nil, 200, ""},
		{"PUT", "/docs/drop/plain", "hello", nil, 200, ""},
		{"PUT", "/docs/drop/unsigned", "hello", map[string]string{"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}, 200, ""},
		{"PUT", "/docs/drop/trailer", chunked, trailer, 200, ""},
		{"PUT", "/docs/drop/meta", "hello", map[string]string{"x-amz-meta-a": "b", "x-amz-acl": "private", "Content-Type": "text/plain"}, 200, ""},
		{"GET", "/other-bucket/k", "", nil, 404, "NoSuchBucket"},

		{"PUT", "/docs/drop/bad", "hello", map[string]string{"x-amz-content-sha256": strings.Repeat("0", 64)}, 400, "XAmzContentSHA256Mismatch"},
		{"PUT", "/docs/drop/bad", "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", trailer, 400, "BadDigest"},
		{"PUT", "/docs/drop/bad", "5\r\nhello", map[string]string{"x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "x-amz-decoded-content-length": "5"}, 400, "InvalidRequest"},
		{"PUT", "/docs/drop/bad", "hello", map[string]string{"Content-Encoding": "aws-chunked"}, 400, "InvalidRequest"},
		{"GET", "/docs/site/page?response-content-type=text/html", "", nil, 400, "InvalidRequest"},
		{"GET", "/docs/secret", "", nil, 403, "AccessDenied"},
		{"HEAD", "/docs/secret", "", nil, 403, ""},
		{"GET", "/docs/drop/plain", "", nil, 403, "AccessDenied"},
		{"GET", "/docs/site/page?versionId=null", "", nil, 403, "AccessDenied"},
		{"GET", "/docs/site/page?acl", "", nil, 403, "AccessDenied"},
		{"GET", "/docs/site/page?tagging", "", nil, 403, "AccessDenied"},
		{"GET", "/docs?list-type=2", "", nil, 403, "AccessDenied"},
		{"GET", "/docs?prefix=sit", "", nil, 403, "AccessDenied"},
		{"GET", "/docs?prefix=site/&versions", "", nil, 403, "AccessDenied"},
		{"GET", "/docs?prefix=site/&uploads", "", nil, 403, "AccessDenied"},
		{"GET", "/docs?prefix=&prefix=site/", "", nil, 403, "AccessDenied"},
		{"GET", "/docs?prefix=site/&prefix=", "", nil, 400, "InvalidArgument"},
		{"GET", "/docs?policy", "", nil, 403, "AccessDenied"},
		{"HEAD", "/docs", "", nil, 403, ""},
		{"GET", "/other-bucket?prefix=k", "", nil, 403, "AccessDenied"},
		{"PUT", "/other-bucket", "", nil, 403, "AccessDenied"},
		{"GET", "/", "", nil, 403, "AccessDenied"},
		{"GET", "/a/k", "", nil, 403, "AccessDenied"},
		{"PUT", "/docs/site/bad", "hello", nil, 403, "AccessDenied"},
		{"PUT", "/docs/bad", "hello", nil, 403, "AccessDenied"},
		{"PUT", "/docs/drop/bad", "", map[string]string{"x-amz-copy-source": "/docs/secret"}, 403, "AccessDenied"},
		{"PUT", "/docs/drop/bad?x-amz-copy-source=/docs/secret", "", nil, 403, "AccessDenied"},
		{"PUT", "/docs/drop/bad", "hello", map[string]string{"x-amz-tagging": "a=b"}, 403, "AccessDenied"},
		{"PUT", "/docs/drop/bad", "hello", map[string]string{"x-amz-grant-full-control": "id=1"}, 403, "AccessDenied"},
		{"PUT", "/docs/drop/bad", "hello", map[string]string{"x-amz-object-lock-mode": "COMPLIANCE"}, 403, "AccessDenied"},
		{"PUT", "/docs/drop/bad", "hello", map[string]string{"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": s.anotherKey}, 403, "AccessDenied"},
		{"PUT", "/docs/drop/bad?X-Amz-Tagging=a%3Db", "hello", nil, 403, "AccessDenied"},
		{"DELETE", "/docs/drop/plain", "", nil, 403, "AccessDenied"},
		{"POST", "/docs?delete", "<Delete><Object><Key>secret</Key></Object></Delete>", nil, 403, "AccessDenied"},
		{"POST", "/docs/drop/bad?uploads", "", nil, 403, "AccessDenied"},
		{"PUT", "/docs/drop/bad?partNumber=1&uploadId=u", "hello", nil, 403, "AccessDenied"},

		// Half a signature is none that is absent.
		{"GET", "/docs/site/page?X-Amz-Signature=x", "", nil, 400, "AuthorizationQueryParametersError"},
		{"GET", "/docs/site/page?X-Amz-Algorithm=AWS4-HMAC-SHA256", "", nil, 400, "AuthorizationQueryParametersError"},
		{"GET", "/docs/site/page", "", map[string]string{"Authorization": ""}, 400, "AuthorizationHeaderMalformed"},
		{"GET", "/docs/site/page?AWSAccessKeyId=" + appID + "&Expires=9999999999&Signature=x", "", nil, 400, "InvalidRequest"},
		{"GET", "/docs/site/page", "", map[string]string{"Authorization": "AWS " + appID + ":x"}, 400, "InvalidRequest"},
	} {
		before := s.operations(t)
		status, e := s.do(t, s.bare(t, c.method, c.target, c.body, c.header))
		if status != c.status || e.Code != c.code {
			t.Errorf("%s %s %v: got %d %+v", c.method, c.target, c.header, status, e)
		}
		if recorded := s.operations(t) > before; recorded == refusedAtTheDoor(status, e) {
			t.Errorf("%s %s: %d %s on record: %v", c.method, c.target, status, e.Code, recorded)
		}
	}
	s.mustBeAbsent(t, "drop/bad")
	s.mustBeAbsent(t, "site/bad")
	for _, key := range []string{"plain", "unsigned", "trailer", "meta"} {
		if got, _, err := s.get(t, "drop/"+key); err != nil || string(got) != "hello" {
			t.Errorf("%s: got %q, %v", key, got, err)
		}
		if raw := s.stored(t, "drop/"+key); bytes.Contains(raw.body, []byte("hello")) {
			t.Errorf("%s: the store holds plaintext", key)
		}
	}
	if got, _, err := s.get(t, "secret"); err != nil || string(got) != "secret" {
		t.Errorf("got %q, %v", got, err)
	}
}

// refusedAtTheDoor says that a request never became an operation.
func refusedAtTheDoor(status int, e xmlError) bool {
	return status == 403 || e.Message == noVersion2 || strings.HasPrefix(e.Code, "Authorization") ||
		strings.Contains(e.Message, "response headers") || strings.Contains(e.Message, "signed stream")
}

const noVersion2 = "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."

func TestAnonymousForms(t *testing.T) {
	s := newMinIOStack(t, siteRules)
	for _, c := range []struct {
		key    string
		fields []field
		status int
		code   string
	}{
		{"drop/a", nil, 204, ""},
		{"drop/${filename}", []field{{"Content-Type", "text/plain"}, {"submit", "ok"}, {"success_action_status", "201"}}, 201, ""},
		{"site/a", nil, 403, "AccessDenied"},
		{"a", nil, 403, "AccessDenied"},
		{"drop/t", []field{{"tagging", "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"}}, 403, "AccessDenied"},
		{"drop/t", []field{{"x-amz-grant-read", "id=1"}}, 403, "AccessDenied"},
		{"drop/t", []field{{"x-amz-signature", "x"}}, 400, "InvalidArgument"},
		{"drop/t", []field{{"policy", "e30="}}, 400, "InvalidArgument"},
		{"drop/t", []field{{"x-amz-credential", "x"}}, 400, "InvalidArgument"},
		{"drop/t", []field{{"AWSAccessKeyId", "x"}}, 400, "InvalidRequest"},
	} {
		u := upload{fields: append(c.fields, field{"key", c.key}), name: "f.txt", content: "canary-plaintext"}
		if status, e := s.do(t, s.request(t, u, u.body())); status != c.status || e.Code != c.code {
			t.Errorf("%s %v: got %d %+v", c.key, c.fields, status, e)
		}
	}
	for _, key := range []string{"site/a", "a", "drop/t"} {
		s.mustBeAbsent(t, key)
	}
	for _, key := range []string{"drop/a", "drop/f.txt"} {
		if got, _, err := s.get(t, key); err != nil || string(got) != "canary-plaintext" {
			t.Errorf("%s: got %q, %v", key, got, err)
		}
		if raw := s.stored(t, key); bytes.Contains(raw.body, []byte("canary")) {
			t.Errorf("%s: the store holds plaintext", key)
		}
	}
}

// TestAnonymousIsOnRecord wants the record to say that nobody signed.
func TestAnonymousIsOnRecord(t *testing.T) {
	s := newMemoryStack(t, siteRules)
	s.put(t, "site/page", []byte("page"))
	const trace = "0af7651916cd43dd8448eb211c80319e"
	s.do(t, s.bare(t, "GET", "/docs/site/page", "", map[string]string{"Traceparent": "00-" + trace + "-b7ad6b7169203331-00"}))
	spans, err := audit.ReadTrace([]string{s.auditDir}, trace)
	if err != nil {
		t.Fatal(err)
	}
	var tree bytes.Buffer
	if err := audit.WriteTree(&tree, spans); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"s3.GetObject", "anonymous", "datakey.use", "site/page"} {
		if !strings.Contains(tree.String(), want) {
			t.Errorf("the record does not hold %q: %s", want, tree.String())
		}
	}
}

// TestNothingAnonymousByDefault sends what could be allowed to a gateway that
// allows nothing.
func TestNothingAnonymousByDefault(t *testing.T) {
	s := newMemoryStack(t)
	s.put(t, "k", []byte("secret"))
	before := s.operations(t)
	for _, c := range [][2]string{{"GET", "/docs/k"}, {"GET", "/docs"}, {"GET", "/docs?list-type=2"}, {"PUT", "/docs/new"}, {"GET", "/"}} {
		if status, e := s.do(t, s.bare(t, c[0], c[1], "", nil)); status != 403 || e.Code != "AccessDenied" {
			t.Errorf("%s %s: got %d %+v", c[0], c[1], status, e)
		}
	}
	if after := s.operations(t); after != before {
		t.Errorf("%d operations are on record", after-before)
	}
	s.mustBeAbsent(t, "new")
}

// TestAnonymousClients runs clients that are told not to sign, over HTTP and TLS.
func TestAnonymousClients(t *testing.T) {
	s := newMinIOStack(t, allowed(s3gateway.Anonymous{Bucket: "*", Actions: []string{"read", "list", "write"}}))
	server := httptest.NewTLSServer(s.gateway)
	t.Cleanup(server.Close)
	want := content(100_000)
	for _, endpoint := range []string{s.endpoint, server.URL} {
		c := client(endpoint, "", "", withChecksums, func(o *s3.Options) {
			o.Credentials, o.HTTPClient = aws.AnonymousCredentials{}, server.Client()
		})
		_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("go"), Body: bytes.NewReader(want), ChecksumAlgorithm: types.ChecksumAlgorithmCrc32c})
		if err != nil {
			t.Errorf("%s: PUT: %v", endpoint, err)
			continue
		}
		out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String("go")})
		if err != nil {
			t.Errorf("%s: GET: %v", endpoint, err)
			continue
		}
		if got, err := io.ReadAll(out.Body); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: got %d bytes, %v", endpoint, len(got), err)
		}
		out.Body.Close()
		const script = `
import boto3, os
from botocore import UNSIGNED
from botocore.config import Config
s3 = boto3.client("s3", endpoint_url=os.environ["ENDPOINT"], region_name="eu-central-1", verify=False,
    config=Config(signature_version=UNSIGNED, s3={"addressing_style": "path"}, retries={"max_attempts": 1}))
b, data = os.environ["BUCKET"], os.urandom(200000)
s3.put_object(Bucket=b, Key="boto", Body=data)
assert s3.get_object(Bucket=b, Key="boto")["Body"].read() == data
assert [o["Size"] for o in s3.list_objects_v2(Bucket=b, Prefix="boto")["Contents"]] == [200000]
`
		env := append(commandEnv(t, s), "ENDPOINT="+endpoint, "PYTHONWARNINGS=ignore")
		runCommand(t, env, "/usr/bin/python3", "-c", script)
	}
	if listing := runCommand(t, commandEnv(t, s), "aws", "--no-sign-request", "--endpoint-url", s.endpoint, "s3", "ls", "s3://docs/go"); !strings.Contains(listing, fmt.Sprint(len(want))) {
		t.Errorf("listing: %s", listing)
	}
}
