// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// s3cmdCommand has s3cmd put, get, synchronize, copy and go on with uploads
// that were left. Its sync compares MD5s of files with ETags, which under
// SSE-KMS they are not: as before AWS itself it is told to compare sizes.
func s3cmdCommand(t *testing.T, s *s3Service) {
	bucket := s.bucket(t, "s3cmd")
	p := s.program(t, "/usr/bin/s3cmd")
	https := map[bool]string{true: "True", false: "False"}[s.caFile != ""]
	p.args = []string{"--no-progress", "--config", p.file("s3cfg", fmt.Appendf(nil,
		"[default]\naccess_key = %s\nsecret_key = %s\nhost_base = %s\nhost_bucket = %s\nuse_https = %s\nca_certs_file = %s\nbucket_location = us-east-1\nmultipart_chunk_size_mb = 5\n",
		s.access.id, s.access.secret, s.address, s.address, https, s.caFile))}
	s3cmdObjects(t, s, p, bucket)
	s3cmdSync(t, s, p, bucket)
	if !s.brief {
		s3cmdContinue(t, s, p, bucket)
	}
	s.mustBeSealed(t, bucket)
}

func s3cmdObjects(t *testing.T, s *s3Service, p *s3Program, bucket string) {
	for name, size := range map[string]int{"none": 0, "small": 70_000, "large": 13<<20 + 9} {
		content := s.text(name, size)
		file := p.file(name, content)
		_, warnings := p.pipe(nil, "put", file, s3URL(bucket, name))
		wantEmpty(t, "warnings of s3cmd put", warnings)
		_, warnings = p.pipe(nil, "get", s3URL(bucket, name), file+".back")
		wantEmpty(t, "warnings of s3cmd get", warnings)
		p.mustBe(name+".back", content)
		s.mustHold(t, bucket, name, content)
		wantIn(t, "s3cmd ls", p.run("ls", s3URL(bucket, name)), fmt.Sprintf(" %d  s3://%s/%s\n", size, bucket, name))
		wantIn(t, "s3cmd info", p.run("info", s3URL(bucket, name)), fmt.Sprintf("File size: %d\n", size))
		p.run("cp", s3URL(bucket, name), s3URL(bucket, "copied", name))
		p.run("mv", s3URL(bucket, "copied", name), s3URL(bucket, "moved", name))
		s.mustHold(t, bucket, "moved/"+name, content)
	}
	p.run("modify", "--add-header=Cache-Control:max-age=7", s3URL(bucket, "small")) // copies the object onto itself
	s.mustHold(t, bucket, "small", s.text("small", 70_000))
	p.pipe(bytes.NewReader(s.text("piped", 7<<20)), "put", "-", s3URL(bucket, "piped"))
	s.mustHold(t, bucket, "piped", s.text("piped", 7<<20))

	large := s.text("large", 13<<20+9)
	p.file("begun", large[:9_000_001])
	p.run("get", "--continue", s3URL(bucket, "large"), filepath.Join(p.dir, "begun"))
	p.mustBe("begun", large)
}

func s3cmdSync(t *testing.T, s *s3Service, p *s3Program, bucket string) {
	files := s.tree(p, "tree")
	up := []string{"sync", "--no-check-md5", filepath.Join(p.dir, "tree") + "/", s3URL(bucket, "tree/")}
	if out := p.run(up...); strings.Count(out, "upload: ") != len(files) {
		t.Errorf("s3cmd sync up: want %d uploads, got\n%s", len(files), out)
	}
	wantEmpty(t, "second s3cmd sync up", p.run(up...))
	down := []string{"sync", "--no-check-md5", s3URL(bucket, "tree/"), filepath.Join(p.dir, "down") + "/"}
	p.file("down/.keep", nil)
	p.run(down...)
	files[".keep"] = nil
	p.mustBeTree("down", files)
	if out := p.run(down...); strings.Contains(out, "download: ") {
		t.Errorf("second s3cmd sync down: got\n%s", out)
	}
	total := 0
	for _, content := range files {
		total += len(content)
	}
	wantIn(t, "s3cmd du", p.run("du", s3URL(bucket, "tree/")), fmt.Sprintf("%d ", total))
	p.run("del", "--recursive", s3URL(bucket, "tree/"))
	wantEmpty(t, "s3cmd ls after del", p.run("ls", "--recursive", s3URL(bucket, "tree/")))
}

// s3cmdContinue goes on with an upload of which another client sent a part, and
// with that it was left in a state in which one part is wrong.
func s3cmdContinue(t *testing.T, s *s3Service, p *s3Program, bucket string) {
	content := s.text("continued", 14<<20)
	file, key := p.file("continued", content), "continued"
	client := s.client(t)
	upload, err := client.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &bucket, Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	for number, part := range map[int32][]byte{1: content[:5<<20], 2: s.text("wrong", 5<<20)} {
		if _, err := client.UploadPart(t.Context(), &s3.UploadPartInput{
			Bucket: &bucket, Key: &key, UploadId: upload.UploadId, PartNumber: &number, Body: bytes.NewReader(part)}); err != nil {
			t.Fatal(err)
		}
	}
	wantIn(t, "s3cmd multipart", p.run("multipart", s3URL(bucket)), *upload.UploadId)
	wantIn(t, "s3cmd listmp", p.run("listmp", s3URL(bucket, key), *upload.UploadId), "5242880")
	p.run("put", "--continue-put", "--upload-id", *upload.UploadId, file, s3URL(bucket, key))
	s.mustHold(t, bucket, key, content)

	aborted, err := client.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &bucket, Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	p.run("abortmp", s3URL(bucket, key), *aborted.UploadId)
	if out := p.run("multipart", s3URL(bucket)); strings.Contains(out, *aborted.UploadId) {
		t.Errorf("the aborted upload is still listed:\n%s", out)
	}
}
