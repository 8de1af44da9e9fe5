// SPDX-License-Identifier: Apache-2.0

package s3gateway_test

import (
	"bytes"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/sidekey/sidekey/s3gateway"
)

// TestMinIOClient covers the forms that minio-go uses: signed chunks without
// and with trailer, a region that it asks for, ranges by seeking.
func TestMinIOClient(t *testing.T) {
	s := newMinIOStack(t)
	c, err := minio.New(strings.TrimPrefix(s.endpoint, "http://"), &minio.Options{
		Creds: credentials.NewStaticV4(appID, appSecret, ""), TrailingHeaders: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 1, 100_000, 3 << 20} {
		for name, options := range map[string]minio.PutObjectOptions{
			"plain":    {},
			"trailer":  {Checksum: minio.ChecksumCRC32C},
			"md5":      {SendContentMd5: true},
			"unsigned": {DisableContentSha256: true},
		} {
			options.DisableMultipart = true
			want := content(size)
			info, err := c.PutObject(t.Context(), bucket, "mc/"+name, bytes.NewReader(want), int64(size), options)
			if err != nil {
				t.Errorf("%s, %d bytes: PUT: %v", name, size, err)
				continue
			}
			object, err := c.GetObject(t.Context(), bucket, "mc/"+name, minio.GetObjectOptions{})
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(object)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s, %d bytes: got %d, %v", name, size, len(got), err)
			}
			if size > 100 {
				part := make([]byte, 50)
				if _, err := object.ReadAt(part, int64(size)-60); err != nil || !bytes.Equal(part, want[size-60:size-10]) {
					t.Errorf("%s, %d bytes: ReadAt: %v", name, size, err)
				}
			}
			stat, err := c.StatObject(t.Context(), bucket, "mc/"+name, minio.StatObjectOptions{})
			if err != nil || stat.Size != int64(size) || stat.ETag != info.ETag {
				t.Errorf("%s, %d bytes: stat %d %q, PUT %q, %v", name, size, stat.Size, stat.ETag, info.ETag, err)
			}
		}
	}
	count := 0
	for object := range c.ListObjects(t.Context(), bucket, minio.ListObjectsOptions{Prefix: "mc/", Recursive: true}) {
		if object.Err != nil || object.Size != 3<<20 {
			t.Errorf("listed %+v", object)
		}
		count++
	}
	if count != 4 {
		t.Errorf("listed %d objects", count)
	}
	objects := c.ListObjects(t.Context(), bucket, minio.ListObjectsOptions{Prefix: "mc/", Recursive: true})
	for failed := range c.RemoveObjects(t.Context(), bucket, objects, minio.RemoveObjectsOptions{}) {
		t.Errorf("removing: %v", failed)
	}
}

// TestUpstreamChecksum has the store verify the ciphertext, also when the body
// is streamed, and refuse it when it was changed on the way.
func TestUpstreamChecksum(t *testing.T) {
	store, err := url.Parse(startMinIO(t))
	if err != nil {
		t.Fatal(err)
	}
	var damage, trailers atomic.Int64
	relay := &httputil.ReverseProxy{Transport: &http.Transport{DisableCompression: true}, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(store)
		r.Out.Host = r.In.Host
		if r.In.Method == http.MethodPut && r.In.Header.Get("X-Amz-Trailer") != "" {
			trailers.Add(1)
		}
		if r.In.Method == http.MethodPut && damage.Load() > 0 {
			r.Out.Body = &damager{ReadCloser: r.Out.Body, at: damage.Load()}
		}
	}}
	server := httptest.NewServer(relay)
	t.Cleanup(server.Close)
	s := newStack(t, server.URL, func(cfg *s3gateway.Config) { cfg.Upstream.Checksum = "crc64nvme" })
	for _, size := range sizes {
		want := content(size)
		s.put(t, "k", want, func(in *s3.PutObjectInput) { in.ContentEncoding = aws.String("gzip") })
		got, out, err := s.get(t, "k")
		if err != nil || !bytes.Equal(got, want) || aws.ToString(out.ContentEncoding) != "gzip" {
			t.Errorf("%d bytes: got %d, %v", size, len(got), err)
		}
	}
	if trailers.Load() == 0 {
		t.Error("no body was sent with a trailer")
	}
	damage.Store(200)
	for _, size := range []int{1000, 1 << 20} {
		_, err := s.app.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("damaged"), Body: bytes.NewReader(content(size))})
		if code(err) != "InternalError" {
			t.Errorf("%d bytes, damaged on the way: got %v", size, err)
		}
		s.mustBeAbsent(t, "damaged")
	}
}

// damager flips a bit of the byte at an offset.
type damager struct {
	io.ReadCloser
	at int64
}

func (d *damager) Read(p []byte) (int, error) {
	n, err := d.ReadCloser.Read(p)
	if d.at >= 0 && d.at < int64(n) {
		p[d.at] ^= 1
	}
	d.at -= int64(n)
	return n, err
}

// TestTLS covers what the SDK does over TLS only, which is to send its checksum
// in a trailer of an unsigned stream, in HTTP/1.1 and HTTP/2.
func TestTLS(t *testing.T) {
	s := newMemoryStack(t)
	for _, http2 := range []bool{false, true} {
		server := httptest.NewUnstartedServer(s.gateway)
		server.EnableHTTP2 = http2
		server.StartTLS()
		t.Cleanup(server.Close)
		s.app = client(server.URL, appID, appSecret, withChecksums, func(o *s3.Options) { o.HTTPClient = server.Client() })
		for _, size := range sizes {
			want := content(size)
			put := s.put(t, "tls", want)
			got, out, err := s.get(t, "tls")
			if err != nil || !bytes.Equal(got, want) || out.ContentEncoding != nil {
				t.Errorf("%d bytes: got %d, %v", size, len(got), err)
			}
			if put.ChecksumCRC32 == nil {
				t.Errorf("%d bytes: PUT answered no checksum", size)
			}
		}
		whole := s.stored(t, "tls")
		whole.body[len(whole.body)-1] ^= 1
		s.overwrite(t, "tls", whole)
		if got, _, err := s.get(t, "tls"); err == nil {
			t.Errorf("a damaged object ended well after %d bytes", len(got))
		}
	}
}

func commandEnv(t *testing.T, s *stack) []string {
	t.Helper()
	config := filepath.Join(t.TempDir(), "config")
	text := "[default]\nregion = " + region + "\ns3 =\n    addressing_style = path\n    multipart_threshold = 5GB\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return append(os.Environ(), "AWS_CONFIG_FILE="+config, "AWS_SHARED_CREDENTIALS_FILE="+config+".none", "AWS_EC2_METADATA_DISABLED=true",
		"AWS_ACCESS_KEY_ID="+appID, "AWS_SECRET_ACCESS_KEY="+appSecret, "ENDPOINT="+s.endpoint, "BUCKET="+bucket)
}

func runCommand(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	command := exec.Command(name, args...)
	command.Env = env
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, output)
	}
	return string(output)
}

func TestAWSCommandLine(t *testing.T) {
	s := newMemoryStack(t)
	env, dir := commandEnv(t, s), t.TempDir()
	in, out := filepath.Join(dir, "in file+ü"), filepath.Join(dir, "out")
	want := content(12<<20 + 5)
	if err := os.WriteFile(in, want, 0o600); err != nil {
		t.Fatal(err)
	}
	cli := func(args ...string) string {
		return runCommand(t, env, "aws", append([]string{"--endpoint-url", s.endpoint, "s3"}, args...)...)
	}
	cli("cp", in, "s3://docs/cli/in file+ü")
	cli("cp", "s3://docs/cli/in file+ü", out)
	if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	if listing := cli("ls", "s3://docs/cli/"); !strings.Contains(listing, "12582917") {
		t.Errorf("listing: %s", listing)
	}
	cli("sync", dir, "s3://docs/sync/")
	if again := cli("sync", dir, "s3://docs/sync/"); strings.Contains(again, "upload:") {
		t.Errorf("a second sync uploads again: %s", again)
	}
	cli("rm", "--recursive", "s3://docs/sync/")
	url := strings.TrimSpace(cli("presign", "s3://docs/cli/in file+ü"))
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK || answer.ContentLength != int64(len(want)) {
		t.Errorf("presigned: %s, %d bytes", answer.Status, answer.ContentLength)
	}
}

const boto3Script = `
import boto3, os, io, botocore
from botocore.config import Config
s3 = boto3.client("s3", endpoint_url=os.environ["ENDPOINT"], region_name="eu-central-1",
    config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, retries={"max_attempts": 1}))
b = os.environ["BUCKET"]
data = bytes(range(256)) * 4000
r = s3.put_object(Bucket=b, Key="boto/a b+c", Body=data, Metadata={"k": "v"}, ContentType="text/plain")
assert r["ServerSideEncryption"] == "aws:kms", r
assert r["ETag"].startswith('"'), r
g = s3.get_object(Bucket=b, Key="boto/a b+c")
assert g["Body"].read() == data and g["Metadata"] == {"k": "v"} and g["ContentType"] == "text/plain", g
g = s3.get_object(Bucket=b, Key="boto/a b+c", Range="bytes=-1000")
assert g["Body"].read() == data[-1000:] and g["ContentRange"] == "bytes 1023000-1023999/1024000", g
h = s3.head_object(Bucket=b, Key="boto/a b+c")
assert h["ContentLength"] == len(data) and h["ETag"] == r["ETag"], h
l = s3.list_objects_v2(Bucket=b, Prefix="boto/")
assert [(o["Key"], o["Size"], o["ETag"]) for o in l["Contents"]] == [("boto/a b+c", len(data), r["ETag"])], l
f = io.BytesIO()
s3.upload_fileobj(io.BytesIO(data), b, "boto/file")
s3.download_fileobj(b, "boto/file", f)
assert f.getvalue() == data
from boto3.s3.transfer import TransferConfig
small = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
big = data * 12
s3.upload_fileobj(io.BytesIO(big), b, "boto/parts", Config=small)
f = io.BytesIO()
s3.download_fileobj(b, "boto/parts", f, Config=small)
assert f.getvalue() == big
assert s3.head_object(Bucket=b, Key="boto/parts")["ContentLength"] == len(big)
s3.delete_object(Bucket=b, Key="boto/parts")
d = s3.delete_objects(Bucket=b, Delete={"Objects": [{"Key": "boto/a b+c"}, {"Key": "boto/file"}]})
assert len(d["Deleted"]) == 2, d
`

func TestBoto3(t *testing.T) {
	for name, s := range map[string]*stack{"memory": newMemoryStack(t), "MinIO": newMinIOStack(t)} {
		t.Run(name, func(t *testing.T) {
			runCommand(t, commandEnv(t, s), "/usr/bin/python3", "-c", boto3Script)
		})
	}
}

func TestBase64OfNothing(t *testing.T) {
	// A trailer of a checksum that is empty is none.
	s := newMemoryStack(t)
	header := map[string]string{
		"x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "x-amz-decoded-content-length": "0", "x-amz-trailer": "x-amz-checksum-crc32",
	}
	_, e := s.do(t, s.rawRequest(t, "PUT", "/docs/empty", "0\r\nx-amz-checksum-crc32:"+base64.StdEncoding.EncodeToString(nil)+"\r\n\r\n", header))
	if e.Code != "BadDigest" {
		t.Errorf("got %+v", e)
	}
}
