// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/minio/minio-go/v7"
	miniocredentials "github.com/minio/minio-go/v7/pkg/credentials"
)

// s3Client is an SDK client of the sidecar, or of MinIO behind it.
func (s *stack) s3Client(t testing.TB, profile, endpoint string) *s3.Client {
	ids := map[string]string{"app": "AKIADEVAPP0000000000", "upstream": "AKIADEVUPSTREAM00000"}
	return s3.New(s3.Options{
		Region: "us-east-1", UsePathStyle: true, RetryMaxAttempts: 1, BaseEndpoint: aws.String(endpoint),
		Credentials: credentials.NewStaticCredentialsProvider(ids[profile], s.secret(t, profile), ""),
	})
}

func (s *stack) app(t testing.TB) *s3.Client { return s.s3Client(t, "app", s.env["S3_ENDPOINT"]) }

func (s *stack) upstream(t testing.TB) *s3.Client {
	return s.s3Client(t, "upstream", s.env["UPSTREAM_S3_ENDPOINT"])
}

func (s *stack) bucket(t testing.TB, name string) string {
	t.Helper()
	_, err := s.app(t).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &name})
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func put(t testing.TB, client *s3.Client, bucket, key string, body []byte) {
	t.Helper()
	_, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(body)})
	if err != nil {
		t.Fatal(err)
	}
}

func get(ctx context.Context, client *s3.Client, bucket, key string) ([]byte, error) {
	answer, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	return io.ReadAll(answer.Body)
}

func TestAWSCLI(t *testing.T) {
	text := canary(t, shared)
	dir := t.TempDir()
	source := filepath.Join(dir, "source")
	content := []byte(strings.Repeat(text+"\n", 100_000))
	if err := os.WriteFile(source, content, 0o600); err != nil {
		t.Fatal(err)
	}
	cli := func(args ...string) string {
		t.Helper()
		out, err := shared.run("/usr/bin/aws", append([]string{"--profile", "app", "--endpoint-url", shared.env["S3_ENDPOINT"]}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	cli("s3", "mb", "s3://cli")
	cli("s3", "cp", source, "s3://cli/some/file.txt")
	cli("s3", "cp", "s3://cli/some/file.txt", filepath.Join(dir, "copy"))
	copied, err := os.ReadFile(filepath.Join(dir, "copy"))
	if err != nil || sha256.Sum256(copied) != sha256.Sum256(content) {
		t.Errorf("the copy differs (%v)", err)
	}
	if list := cli("s3", "ls", "s3://cli/some/"); !strings.Contains(list, fmt.Sprintf(" %d file.txt", len(content))) {
		t.Errorf("s3 ls: got %q, want the size %d", list, len(content))
	}
	// A second sync finds nothing to do: sizes and times are what a client expects.
	tree := filepath.Join(dir, "tree")
	if err := os.MkdirAll(tree, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tree, "a"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := cli("s3", "sync", tree, "s3://cli/tree"); !strings.Contains(out, "upload:") {
		t.Errorf("first sync: got %q, want an upload", out)
	}
	if out := cli("s3", "sync", tree, "s3://cli/tree"); strings.Contains(out, "upload:") {
		t.Errorf("second sync: got %q, want nothing to do", out)
	}
	raw, err := get(t.Context(), shared.upstream(t), "cli", "some/file.txt")
	if err != nil || bytes.Contains(raw, []byte(text)) || len(raw) <= len(content) {
		t.Errorf("around the sidecar: %d bytes (%v), want ciphertext", len(raw), err)
	}
	cli("s3", "rm", "s3://cli", "--recursive")
	cli("s3", "rb", "s3://cli")
}

func TestBoto3(t *testing.T) {
	text := canary(t, shared)
	if out, err := shared.runEnv([]string{"CANARY=" + text}, "/usr/bin/python3", "testdata/s3_boto3.py"); err != nil {
		t.Error(out, err)
	}
}

func TestSDKForGo(t *testing.T) {
	text := canary(t, shared)
	client := shared.app(t)
	bucket := shared.bucket(t, "sdk-go")
	for _, size := range []int{0, 1, 16383, 16384, 16385, 1 << 20, 5<<20 + 3} {
		body := bytes.Repeat([]byte(text), size/len(text)+1)[:size]
		key := fmt.Sprintf("size-%d", size)
		put(t, client, bucket, key, body)
		got, err := get(t.Context(), client, bucket, key)
		if err != nil || !bytes.Equal(got, body) {
			t.Errorf("%s: got %d bytes (%v)", key, len(got), err)
		}
		head, err := client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &bucket, Key: &key})
		if err != nil || aws.ToInt64(head.ContentLength) != int64(size) {
			t.Errorf("%s: HEAD: %+v (%v)", key, head, err)
		}
	}
}

func TestMinioGo(t *testing.T) {
	text := canary(t, shared)
	client, err := minio.New(hostOf(shared.env["S3_ENDPOINT"]), &minio.Options{
		Creds: miniocredentials.NewStaticV4("AKIADEVAPP0000000000", shared.secret(t, "app"), ""), Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	bucket := shared.bucket(t, "minio-go")
	body := bytes.Repeat([]byte(text), 20_000)
	info, err := client.PutObject(t.Context(), bucket, "object", bytes.NewReader(body), int64(len(body)), minio.PutObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	object, err := client.GetObject(t.Context(), bucket, "object", minio.GetObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(object)
	if err != nil || !bytes.Equal(got, body) {
		t.Errorf("got %d bytes (%v)", len(got), err)
	}
	if _, err := object.ReadAt(got[:100], 16_350); err != nil || !bytes.Equal(got[:100], body[16_350:16_450]) {
		t.Errorf("ReadAt: %v", err)
	}
	for found := range client.ListObjects(t.Context(), bucket, minio.ListObjectsOptions{Recursive: true}) {
		if found.Err != nil || found.Size != int64(len(body)) || found.ETag != info.ETag {
			t.Errorf("listed %+v, want size %d and ETag %s", found, len(body), info.ETag)
		}
	}
	if err := client.RemoveObject(t.Context(), bucket, "object", minio.RemoveObjectOptions{}); err != nil {
		t.Error(err)
	}
}
