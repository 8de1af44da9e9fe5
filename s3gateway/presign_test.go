// SPDX-License-Identifier: Apache-2.0

package s3gateway_test

import (
	"bytes"
	"context"
	"encoding/xml"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// presigned signs a URL at a time in the past, for an hour unless target says
// otherwise.
func (s *stack) presigned(t testing.TB, method, target, body string, ago time.Duration, header map[string]string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, s.endpoint+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range header {
		r.Header.Set(name, value)
	}
	if host := r.Header.Get("Host"); host != "" {
		r.Host = host
		r.Header.Del("Host")
	}
	if query := r.URL.Query(); query.Get("X-Amz-Expires") == "" {
		query.Set("X-Amz-Expires", "3600")
		r.URL.RawQuery = query.Encode()
	}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	signed, headers, err := signer.PresignHTTP(context.Background(), aws.Credentials{AccessKeyID: appID, SecretAccessKey: appSecret}, r, "UNSIGNED-PAYLOAD", "s3", region, time.Now().Add(-ago))
	if err != nil {
		t.Fatal(err)
	}
	if r.URL, err = url.Parse(signed); err != nil {
		t.Fatal(err)
	}
	r.URL.Host = strings.TrimPrefix(s.endpoint, "http://")
	host := r.Host
	r.Header = headers
	r.Header.Del("Host")
	r.Host = host
	return r
}

func TestPresigned(t *testing.T) {
	s := newMinIOStack(t)
	for _, c := range []struct {
		method, target, body string
		header               map[string]string
		status               int
		code                 string
	}{
		{"PUT", "/docs/p/a%20b%2B%C3%BC", "hello", nil, 200, ""},
		{"PUT", "/docs/p/typed", "hello", map[string]string{"Content-Type": "text/plain", "X-Amz-Meta-A": "b", "X-Amz-Storage-Class": "STANDARD"}, 200, ""},
		{"PUT", "/docs/p/summed", "hello", map[string]string{"X-Amz-Checksum-Crc32": "NhCmhg==", "X-Amz-Sdk-Checksum-Algorithm": "CRC32"}, 200, ""},
		{"PUT", "/docs/p/bad", "hello", map[string]string{"X-Amz-Checksum-Crc32": "AAAAAA=="}, 400, "BadDigest"},
		{"PUT", "/docs/p/md5", "hello", map[string]string{"Content-MD5": "XUFAKrxLKna5cZ2REBfFkg=="}, 200, ""},
		{"PUT", "/docs/p/bad", "hello", map[string]string{"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}, 400, "BadDigest"},
		{"PUT", "/docs/p/length", "hello", map[string]string{"Content-Length": "5"}, 200, ""},
		{"PUT", "/docs/p/query?X-Amz-Meta-Q=v&X-Amz-Acl=private", "hello", nil, 200, ""},
		{"PUT", "/docs/p/bad?x-amz-copy-source=/docs/p/typed&x-amz-something=1", "", nil, 501, "NotImplemented"},
		{"PUT", "/vhost", "hello", map[string]string{"Host": "docs.s3.test"}, 200, ""},
		{"GET", "/docs/p/typed", "", nil, 200, ""},
		{"GET", "/docs/p/typed", "", map[string]string{"Range": "bytes=1-2"}, 206, ""},
		{"GET", "/docs/p/typed?X-Amz-Expires=604800", "", nil, 200, ""},
		{"GET", "/docs/p/typed?X-Amz-Expires=604801", "", nil, 400, "AuthorizationQueryParametersError"},
		{"GET", "/docs/p/typed?X-Amz-Expires=0", "", nil, 400, "AuthorizationQueryParametersError"},
		{"GET", "/docs/p/typed?X-Amz-Expires=-1", "", nil, 400, "AuthorizationQueryParametersError"},
		{"GET", "/docs/p/typed?X-Amz-Expires=1h", "", nil, 400, "AuthorizationQueryParametersError"},
		{"GET", "/docs/p/absent", "", nil, 404, "NoSuchKey"},
		{"GET", "/docs/p/typed?versionId=null", "", nil, 200, ""},
		{"HEAD", "/docs/p/typed", "", nil, 200, ""},
		{"HEAD", "/docs", "", nil, 200, ""},
		{"GET", "/docs?list-type=2&prefix=p/&delimiter=/", "", nil, 200, ""},
		{"GET", "/docs?location", "", nil, 200, ""},
		{"GET", "/", "", nil, 200, ""},
		{"DELETE", "/docs/p/md5", "", nil, 204, ""},
	} {
		status, e := s.do(t, s.presigned(t, c.method, c.target, c.body, 0, c.header))
		if status != c.status || e.Code != c.code {
			t.Errorf("%s %s %v: got %d %+v", c.method, c.target, c.header, status, e)
		}
	}
	s.mustBeAbsent(t, "p/bad")
	s.mustBeAbsent(t, "p/md5")
	if got, out, err := s.get(t, "p/typed"); err != nil || string(got) != "hello" || out.Metadata["a"] != "b" || aws.ToString(out.ContentType) != "text/plain" {
		t.Errorf("got %q, %+v, %v", got, out, err)
	}
	if got, out, err := s.get(t, "p/query"); err != nil || string(got) != "hello" || out.Metadata["q"] != "v" {
		t.Errorf("got %q, %+v, %v", got, out, err)
	}
	if _, out, err := s.get(t, "p/summed", func(in *s3.GetObjectInput) { in.ChecksumMode = "ENABLED" }); err != nil || aws.ToString(out.ChecksumCRC32) != "NhCmhg==" {
		t.Errorf("got %+v, %v", out, err)
	}
	for _, key := range []string{"p/typed", "p/query", "p/length", "vhost"} {
		if raw := s.stored(t, key); bytes.Contains(raw.body, []byte("hello")) {
			t.Errorf("%s: the store holds plaintext", key)
		}
	}
}

// TestPresignedMultipart looks at the signatures of the operations of multipart
// uploads only.
func TestPresignedMultipart(t *testing.T) {
	s := newMinIOStack(t)
	for _, c := range [][3]string{
		{"POST", "/docs/mp?uploads", ""}, {"PUT", "/docs/mp?partNumber=1&uploadId=u", "hello"}, {"GET", "/docs/mp?uploadId=u", ""},
		{"POST", "/docs/mp?uploadId=u", "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>"}, {"DELETE", "/docs/mp?uploadId=u", ""},
	} {
		if status, e := s.do(t, s.presigned(t, c[0], c[1], c[2], 0, nil)); status == 403 || !slices.Contains([]string{"", "NotImplemented", "NoSuchUpload"}, e.Code) {
			t.Errorf("%s %s: got %d %+v", c[0], c[1], status, e)
		}
		r := s.presigned(t, c[0], c[1], c[2], 0, nil)
		r.URL.RawQuery += "&versionId=1"
		if status, e := s.do(t, r); status != 403 || e.Code != "SignatureDoesNotMatch" {
			t.Errorf("%s %s, changed: got %d %+v", c[0], c[1], status, e)
		}
	}
}

// TestPresignedChanged uses URLs for what they were not signed for.
func TestPresignedChanged(t *testing.T) {
	s := newMemoryStack(t)
	s.put(t, "k", []byte("secret"))
	for name, c := range map[string]struct {
		edit func(r *http.Request)
		code string
	}{
		"method":       {func(r *http.Request) { r.Method = "PUT" }, "SignatureDoesNotMatch"},
		"key":          {func(r *http.Request) { r.URL.Path = "/docs/other" }, "SignatureDoesNotMatch"},
		"host":         {func(r *http.Request) { r.Host = "other.test" }, "SignatureDoesNotMatch"},
		"expiry":       {func(r *http.Request) { edit(r, "X-Amz-Expires", "3601") }, "SignatureDoesNotMatch"},
		"date":         {func(r *http.Request) { edit(r, "X-Amz-Date", time.Now().UTC().Format("20060102")+"T000000Z") }, "SignatureDoesNotMatch,AccessDenied"},
		"parameter":    {func(r *http.Request) { edit(r, "response-content-type", "text/html") }, "SignatureDoesNotMatch"},
		"sub-resource": {func(r *http.Request) { r.URL.RawQuery += "&acl" }, "SignatureDoesNotMatch"},
		"header":       {func(r *http.Request) { r.Header.Set("X-Amz-Meta-A", "b") }, "AccessDenied"},
		"headers named": {func(r *http.Request) {
			edit(r, "X-Amz-SignedHeaders", "host;x-amz-meta-a")
			r.Header.Set("X-Amz-Meta-A", "b")
		}, "SignatureDoesNotMatch"},
		"two of one": {func(r *http.Request) { r.URL.RawQuery += "&X-Amz-Expires=3600" }, "AuthorizationQueryParametersError"},
		"two ways":   {func(r *http.Request) { r.Header.Set("Authorization", "AWS4-HMAC-SHA256 x") }, "AuthorizationHeaderMalformed"},
		"token":      {func(r *http.Request) { edit(r, "X-Amz-Security-Token", "x") }, "SignatureDoesNotMatch"},
		"version 2":  {func(r *http.Request) { r.URL.RawQuery = "AWSAccessKeyId=" + appID + "&Expires=9999999999&Signature=x" }, "InvalidRequest"},
	} {
		r := s.presigned(t, "GET", "/docs/k", "", 0, nil)
		c.edit(r)
		if status, e := s.do(t, r); status < 400 || e.Code == "" || !strings.Contains(c.code, e.Code) {
			t.Errorf("%s: got %d %+v", name, status, e)
		}
	}
	second := s.presigned(t, "GET", "/docs/k?X-Amz-Expires=1", "", -5*time.Minute, nil)
	if status, e := s.do(t, second); status != 200 {
		t.Errorf("a second, of a clock that is ahead: got %d %+v", status, e)
	}
	late := s.presigned(t, "GET", "/docs/k", "", time.Hour+2*time.Second, nil)
	if status, e := s.do(t, late); status != 403 || e.Code != "AccessDenied" || e.Message != "Request has expired" {
		t.Errorf("expired: got %d %+v", status, e)
	}
	week := s.presigned(t, "GET", "/docs/k?X-Amz-Expires=604800", "", 7*24*time.Hour-time.Minute, nil)
	if status, e := s.do(t, week); status != 200 {
		t.Errorf("in the last minute of a week: got %d %+v", status, e)
	}
	early := s.presigned(t, "GET", "/docs/k", "", -time.Hour, nil)
	if status, e := s.do(t, early); status != 403 || e.Code != "AccessDenied" || e.Message != "Request is not yet valid" {
		t.Errorf("early: got %d %+v", status, e)
	}
	typed := s.presigned(t, "PUT", "/docs/new", "hello", 0, map[string]string{"Content-Type": "text/plain"})
	typed.Header.Set("Content-Type", "text/html")
	if status, e := s.do(t, typed); status != 403 || e.Code != "SignatureDoesNotMatch" {
		t.Errorf("another type: got %d %+v", status, e)
	}
	long := s.presigned(t, "PUT", "/docs/new", "hello", 0, nil)
	long.Body, long.ContentLength = io.NopCloser(strings.NewReader("hello and more")), 14
	if status, e := s.do(t, long); status != 403 || e.Code != "SignatureDoesNotMatch" {
		t.Errorf("another length: got %d %+v", status, e)
	}
	s.mustBeAbsent(t, "new")
}

func edit(r *http.Request, name, value string) {
	query := r.URL.Query()
	query.Set(name, value)
	r.URL.RawQuery = query.Encode()
}

func TestResponseOverrides(t *testing.T) {
	s := newMinIOStack(t)
	s.put(t, "k", []byte("content"), func(in *s3.PutObjectInput) { in.ContentType = aws.String("text/plain") })
	overrides := map[string]string{
		"Content-Type": "application/x-over", "Content-Language": "de", "Expires": "Wed, 21 Oct 2026 07:28:00 GMT",
		"Cache-Control": "no-store", "Content-Disposition": `attachment; filename="ü.txt"`, "Content-Encoding": "x-none",
	}
	query := url.Values{}
	for name, value := range overrides {
		query.Set("response-"+strings.ToLower(name), value)
	}
	for _, method := range []string{"GET", "HEAD"} {
		answer := s.send(t, s.presigned(t, method, "/docs/k?"+query.Encode(), "", 0, nil))
		for name, value := range overrides {
			if got := answer.Header.Get(name); got != value {
				t.Errorf("%s: %s is %q, want %q", method, name, got, value)
			}
		}
		if text, _ := io.ReadAll(answer.Body); method == "GET" && string(text) != "content" {
			t.Errorf("got %q", text)
		}
	}
}

// fetch sends a request that a client presigned.
func fetch(t testing.TB, method, target string, header http.Header, body []byte) (int, []byte) {
	t.Helper()
	r, err := http.NewRequest(method, target, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		if name == "Host" {
			r.Host = values[0]
			continue
		}
		r.Header[name] = values
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, text
}

func TestPresignedBySDK(t *testing.T) {
	s := newMinIOStack(t)
	for name, c := range map[string]*s3.Client{"plain": client(s.endpoint, appID, appSecret), "checksums": s.app} {
		p, want := s3.NewPresignClient(c, s3.WithPresignExpires(7*24*time.Hour)), content(100_000)
		key := aws.String("sdk/" + name + " ü+")
		send := func(r *v4.PresignedHTTPRequest, err error) (int, []byte) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			body := []byte(nil)
			if r.Method == "PUT" {
				body = want
			}
			return fetch(t, r.Method, r.URL, r.SignedHeader, body)
		}
		if status, text := send(p.PresignPutObject(t.Context(), &s3.PutObjectInput{
			Bucket: aws.String(bucket), Key: key, ContentType: aws.String("image/png"), Metadata: map[string]string{"a": "b"}, ContentLength: aws.Int64(100_000),
		})); status != 200 {
			t.Errorf("%s: PUT: %d %s", name, status, text)
		}
		if status, text := send(p.PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(bucket), Key: key})); status != 200 || !bytes.Equal(text, want) {
			t.Errorf("%s: GET: %d, %d bytes", name, status, len(text))
		}
		if status, _ := send(p.PresignHeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(bucket), Key: key})); status != 200 {
			t.Errorf("%s: HEAD: %d", name, status)
		}
		if status, _ := send(p.PresignHeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: aws.String(bucket)})); status != 200 {
			t.Errorf("%s: HEAD of the bucket: %d", name, status)
		}
		status, text := send(p.PresignUploadPart(t.Context(), &s3.UploadPartInput{Bucket: aws.String(bucket), Key: key, UploadId: aws.String("u"), PartNumber: aws.Int32(1)}))
		var e xmlError
		if err := xml.Unmarshal(text, &e); err != nil || status == 403 || !slices.Contains([]string{"NotImplemented", "NoSuchUpload"}, e.Code) {
			t.Errorf("%s: UploadPart: %d %s", name, status, text)
		}
		if _, out, err := s.get(t, *key); err != nil || out.Metadata["a"] != "b" || aws.ToString(out.ContentType) != "image/png" {
			t.Errorf("%s: %+v, %v", name, out, err)
		}
		if status, text := send(p.PresignDeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String(bucket), Key: key})); status != 204 {
			t.Errorf("%s: DELETE: %d %s", name, status, text)
		}
		s.mustBeAbsent(t, *key)
	}
}

func TestPresignedByMinIOClient(t *testing.T) {
	s := newMinIOStack(t)
	c, err := minio.New(strings.TrimPrefix(s.endpoint, "http://"), &minio.Options{Creds: credentials.NewStaticV4(appID, appSecret, ""), Region: region})
	if err != nil {
		t.Fatal(err)
	}
	want := content(100_000)
	send := func(method string, u *url.URL, err error, header http.Header) (int, []byte) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		body := []byte(nil)
		if method == "PUT" {
			body = want
		}
		return fetch(t, method, u.String(), header, body)
	}
	u, err := c.PresignedPutObject(t.Context(), bucket, "mc/a b", time.Second*604800)
	if status, text := send("PUT", u, err, nil); status != 200 {
		t.Errorf("PUT: %d %s", status, text)
	}
	header := http.Header{"Content-Type": {"image/png"}, "X-Amz-Meta-A": {"b"}}
	u, err = c.PresignHeader(t.Context(), "PUT", bucket, "mc/h", time.Hour, nil, header)
	if status, text := send("PUT", u, err, header); status != 200 {
		t.Errorf("PUT with headers: %d %s", status, text)
	}
	if _, out, err := s.get(t, "mc/h"); err != nil || out.Metadata["a"] != "b" {
		t.Errorf("got %+v, %v", out, err)
	}
	if status, text := send("PUT", u, err, nil); status != 403 {
		t.Errorf("PUT without the headers: %d %s", status, text)
	}
	u, err = c.PresignedGetObject(t.Context(), bucket, "mc/a b", time.Hour, url.Values{"response-content-disposition": {`attachment; filename="x y"`}})
	if status, text := send("GET", u, err, nil); status != 200 || !bytes.Equal(text, want) {
		t.Errorf("GET: %d, %d bytes", status, len(text))
	}
	u, err = c.PresignedHeadObject(t.Context(), bucket, "mc/a b", time.Hour, nil)
	if status, _ := send("HEAD", u, err, nil); status != 200 {
		t.Errorf("HEAD: %d", status)
	}
	u, err = c.Presign(t.Context(), "DELETE", bucket, "mc/a b", time.Hour, nil)
	if status, text := send("DELETE", u, err, nil); status != 204 {
		t.Errorf("DELETE: %d %s", status, text)
	}
	s.mustBeAbsent(t, "mc/a b")
}

// TestPresignedByBoto3 presigns every kind of request in both styles, with the
// configurations that applications have.
func TestPresignedByBoto3(t *testing.T) {
	s := newMinIOStack(t)
	const script = `
import boto3, os, subprocess, json
from botocore.config import Config
endpoint, b = os.environ["ENDPOINT"], os.environ["BUCKET"]
data = os.urandom(100000)
path = os.path.join(os.environ["DIR"], "data")
with open(path, "wb") as f: f.write(data)
def send(method, url, headers={}, body=None, host=None):
    args = ["curl", "-sS", "--noproxy", "*", "-o", path + ".out", "-w", "%{http_code}"]
    args += ["-I"] if method == "HEAD" else ["-X", method]
    if body is not None: args += ["--data-binary", "@" + body]
    if "Content-Type" not in headers and body is not None: args += ["-H", "Content-Type:"]
    for name, value in headers.items(): args += ["-H", name + ": " + value]
    if host: args += ["--connect-to", host + ":" + endpoint.split("//")[1]]
    code = subprocess.run(args + [url], capture_output=True, text=True, check=True).stdout
    return code, open(path + ".out", "rb").read()
for style in ("path", "virtual"):
    target, host = endpoint, None
    if style == "virtual":
        port = endpoint.rsplit(":", 1)[1]
        target, host = "http://s3.test:" + port, b + ".s3.test:" + port
    s3 = boto3.client("s3", endpoint_url=target, region_name="eu-central-1",
        config=Config(signature_version="s3v4", s3={"addressing_style": style}))
    def url(op, expires=3600, method=None, **params):
        return s3.generate_presigned_url(op, Params=dict(Bucket=b, **params), ExpiresIn=expires, HttpMethod=method)
    def want(code, op, headers={}, body=None, **params):
        method = {"put": "PUT", "upl": "PUT", "get": "GET", "hea": "HEAD", "del": "DELETE", "lis": "GET", "cre": "POST", "com": "POST", "abo": "DELETE"}[op[:3]]
        got, out = send(method, url(op, **params), headers, body, host)
        assert got in code.split(), (style, op, got, out)
        return out
    k = style + "/a b+ü"
    want("200", "put_object", body=path, Key=k)
    want("200", "put_object", {"Content-Type": "image/png", "x-amz-meta-m": "v"}, path, Key=k, ContentType="image/png", Metadata={"m": "v"})
    want("403", "put_object", {"Content-Type": "text/html", "x-amz-meta-m": "v"}, path, Key=k, ContentType="image/png", Metadata={"m": "v"})
    want("403", "put_object", {"Content-Type": "image/png"}, path, Key=k, ContentType="image/png", Metadata={"m": "v"})
    assert want("200", "get_object", Key=k) == data
    assert want("200", "get_object", Key=k, expires=604800, ResponseContentType="a/b", ResponseContentDisposition="inline") == data
    want("400", "get_object", Key=k, expires=604801)
    want("206", "get_object", {"Range": "bytes=0-9"}, Key=k)
    want("200", "head_object", Key=k)
    assert b"<Size>100000</Size>" in want("200", "list_objects_v2", Prefix=style + "/")
    want("200", "list_objects", Prefix=style + "/")
    want("200 501", "create_multipart_upload", Key=k)
    want("404 501", "upload_part", body=path, Key=k, UploadId="u", PartNumber=1)
    want("404 501", "abort_multipart_upload", Key=k, UploadId="u")
    want("204", "delete_object", Key=k)
    want("404", "head_object", Key=k)
old = boto3.client("s3", endpoint_url=endpoint, region_name="eu-central-1", config=Config(signature_version="s3", s3={"addressing_style": "path"}))
code, out = send("GET", old.generate_presigned_url("get_object", Params={"Bucket": b, "Key": "k"}))
assert code == "400" and b"Please use AWS4-HMAC-SHA256." in out, (code, out)
form = old.generate_presigned_post(b, "k")
args = ["curl", "-sS", "--noproxy", "*"]
for name, value in form["fields"].items(): args += ["--form-string", name + "=" + value]
out = subprocess.run(args + ["-F", "file=@" + path, form["url"]], capture_output=True, text=True, check=True).stdout
assert "<Code>InvalidRequest</Code>" in out and "Please use AWS4-HMAC-SHA256." in out, out
try:
    old.get_object(Bucket=b, Key="k")
    raise SystemExit("version 2 was not refused")
except old.exceptions.ClientError as e:
    assert e.response["Error"] ["Code"] == "InvalidRequest" and "Please use AWS4-HMAC-SHA256." in e.response["Error"]["Message"], e.response
`
	runCommand(t, append(commandEnv(t, s), "DIR="+t.TempDir()), "/usr/bin/python3", "-c", script)
	s.mustBeAbsent(t, "k")
	s.put(t, "cli k", []byte("content"))
	u := strings.TrimSpace(runCommand(t, commandEnv(t, s), "aws", "--endpoint-url", s.endpoint, "s3", "presign", "s3://docs/cli k", "--expires-in", "604800"))
	if status, text := fetch(t, "GET", u, nil, nil); status != 200 || string(text) != "content" {
		t.Errorf("for a week: got %d %s", status, text)
	}
	u = strings.TrimSpace(runCommand(t, commandEnv(t, s), "aws", "--endpoint-url", s.endpoint, "s3", "presign", "s3://docs/cli k", "--expires-in", "604801"))
	if status, text := fetch(t, "GET", u, nil, nil); status != 400 || !strings.Contains(string(text), "X-Amz-Expires must be less than a week") {
		t.Errorf("for longer than a week: got %d %s", status, text)
	}
}
