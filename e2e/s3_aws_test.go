// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// awsCommand has the aws command copy, synchronize, move and remove.
func awsCommand(t *testing.T, s *s3Service) {
	bucket := s.bucket(t, "aws")
	p := s.program(t, "/usr/bin/aws", "--endpoint-url", s.endpoint())
	p.env = append(p.env, "AWS_CA_BUNDLE="+s.caFile)
	p.file("aws-config", []byte("[default]\ns3 =\n    addressing_style = path\n    multipart_threshold = 8MB\n    multipart_chunksize = 5MB\n"))
	awsCopies(t, s, p, bucket)
	awsSync(t, s, p, bucket)
	awsPresign(t, s, p, bucket)
	if !s.brief {
		awsCalls(t, s, p, bucket)
		awsMultipartCalls(t, s, p, bucket)
		awsTags(t, p, bucket)
		awsRemoval(t, s, p)
	}
	s.mustBeSealed(t, bucket)
}

func awsCopies(t *testing.T, s *s3Service, p *s3Program, bucket string) {
	sizes := map[string]int{"none": 0, "small": 1000, "large": 20<<20 + 5}
	if s.brief {
		delete(sizes, "none")
	}
	for name, size := range sizes {
		content := s.text(name, size)
		file := p.file(name, content)
		p.run("s3", "cp", file, s3URL(bucket, "cp", name))
		p.run("s3", "cp", s3URL(bucket, "cp", name), file+".back")
		p.mustBe(name+".back", content)
		wantIn(t, "s3 ls", p.run("s3", "ls", s3URL(bucket, "cp", name)), fmt.Sprintf(" %d %s\n", size, name))
		s.mustHold(t, bucket, "cp/"+name, content)

		p.pipe(bytes.NewReader(content), "s3", "cp", "-", s3URL(bucket, "piped", name))
		if got := p.run("s3", "cp", s3URL(bucket, "piped", name), "-"); got != string(content) {
			t.Errorf("s3 cp of %s to stdout: %d bytes, want %d", name, len(got), size)
		}
		p.run("s3", "cp", s3URL(bucket, "cp", name), s3URL(bucket, "copied", name)) // at the store; large ones in parts
		s.mustHold(t, bucket, "copied/"+name, content)
		p.run("s3", "mv", s3URL(bucket, "copied", name), s3URL(bucket, "moved", name))
		s.mustHold(t, bucket, "moved/"+name, content)
	}
	wantEmpty(t, "s3 ls of what was moved", p.run("s3api", "list-objects-v2", "--bucket", bucket, "--prefix", "copied/", "--query", "Contents[].Key || ``", "--output", "text"))
}

func awsSync(t *testing.T, s *s3Service, p *s3Program, bucket string) {
	files := s.tree(p, "tree")
	up := []string{"s3", "sync", filepath.Join(p.dir, "tree"), s3URL(bucket, "tree"), "--no-progress"}
	if out := p.run(up...); strings.Count(out, "upload:") != len(files) {
		t.Errorf("s3 sync up: want %d uploads, got\n%s", len(files), out)
	}
	wantEmpty(t, "second s3 sync up", p.run(up...))
	down := []string{"s3", "sync", s3URL(bucket, "tree"), filepath.Join(p.dir, "down"), "--no-progress"}
	p.run(down...)
	p.mustBeTree("down", files)
	wantEmpty(t, "second s3 sync down", p.run(down...))

	files["a/chunk"] = s.text("changed", 20_000)
	p.file("tree/a/chunk", files["a/chunk"])
	if out := p.run(up...); strings.Count(out, "upload:") != 1 {
		t.Errorf("s3 sync of one changed file: got\n%s", out)
	}
	p.run(down...)
	p.mustBeTree("down", files)
	total := 0
	for _, content := range files {
		total += len(content)
	}
	wantIn(t, "s3 ls --summarize", p.run("s3", "ls", s3URL(bucket, "tree/"), "--recursive", "--summarize"),
		fmt.Sprintf("Total Objects: %d", len(files)), fmt.Sprintf("Total Size: %d\n", total))
}

func awsPresign(t *testing.T, s *s3Service, p *s3Program, bucket string) {
	curl := s.program(t, "/usr/bin/curl", "--silent", "--show-error", "--fail", "--noproxy", "*")
	if s.caFile != "" {
		curl.args = append(curl.args, "--cacert", s.caFile)
	}
	want := s.text("large", 20<<20+5)
	url := strings.TrimSpace(p.run("s3", "presign", s3URL(bucket, "cp", "large")))
	if got := curl.run(url); got != string(want) {
		t.Errorf("presigned GET: %d bytes, want %d", len(got), len(want))
	}
	if got := curl.run("--range", "6000000-6000999", url); got != string(want[6_000_000:6_001_000]) {
		t.Errorf("presigned GET of a range: got %.100q", got)
	}
	if out, _, err := curl.try(nil, strings.Replace(url, "large", "small", 1)); err == nil {
		t.Errorf("the signature of one object opened another: %d bytes", len(out))
	}
}

func awsCalls(t *testing.T, s *s3Service, p *s3Program, bucket string) {
	content := s.text("call", 50_000)
	file := p.file("call", content)
	call := func(operation string, args ...string) string {
		t.Helper()
		return p.run(append([]string{"s3api", operation, "--bucket", bucket}, args...)...)
	}
	for _, algorithm := range []string{"CRC32", "SHA1"} {
		wantIn(t, "put-object", call("put-object", "--key", "api/"+algorithm, "--body", file, "--checksum-algorithm", algorithm,
			"--metadata", "owner=me", "--content-type", "text/x-canary"), `"ETag"`)
		s.mustHold(t, bucket, "api/"+algorithm, content)
	}
	wantIn(t, "head-object", call("head-object", "--key", "api/SHA1"), `"ContentLength": 50000`, `"owner": "me"`, "text/x-canary")
	call("get-object", "--key", "api/SHA1", "--range", "bytes=16000-17000", "--checksum-mode", "ENABLED", file+".range")
	p.mustBe("call.range", content[16_000:17_001])
	call("copy-object", "--key", "api/copy", "--copy-source", bucket+"/api/SHA1", "--metadata-directive", "REPLACE", "--metadata", "owner=you")
	wantIn(t, "head-object of the copy", call("head-object", "--key", "api/copy"), `"owner": "you"`, `"ContentLength": 50000`)
	s.mustHold(t, bucket, "api/copy", content)
	wantIn(t, "get-object-attributes", call("get-object-attributes", "--key", "api/copy", "--object-attributes", "ETag", "ObjectSize"), `"ObjectSize": 50000`)
	wantIn(t, "list-objects-v2", call("list-objects-v2", "--prefix", "api/", "--page-size", "2", "--query", "sum(Contents[].Size)"), "150000")
	wantIn(t, "list-objects", call("list-objects", "--prefix", "api/", "--page-size", "2", "--query", "length(Contents)"), "3")
	wantIn(t, "delete-objects", call("delete-objects", "--delete", "Objects=[{Key=api/SHA1},{Key=api/CRC32}]"), "api/SHA1", "api/CRC32")
	wantIn(t, "list-objects-v2", call("list-objects-v2", "--prefix", "api/", "--query", "length(Contents)"), "1")
}

// awsMultipartCalls makes an object of three parts: uploaded, copied from a
// range of another object, and uploaded twice.
func awsMultipartCalls(t *testing.T, s *s3Service, p *s3Program, bucket string) {
	key := []string{"--bucket", bucket, "--key", "api/parts"}
	upload := strings.TrimSpace(p.run(append([]string{"s3api", "create-multipart-upload", "--query", "UploadId", "--output", "text"}, key...)...))
	part := func(operation, number string, args ...string) string {
		t.Helper()
		query := map[string]string{"upload-part": "ETag", "upload-part-copy": "CopyPartResult.ETag"}[operation]
		return strings.TrimSpace(p.run(append(append([]string{"s3api", operation, "--upload-id", upload, "--part-number", number,
			"--query", query, "--output", "json"}, key...), args...)...))
	}
	first, last := s.text("first part", 6<<20+1), s.text("last part", 1000)
	large := s.text("large", 20<<20+5)
	part("upload-part", "3", "--body", p.file("wrong", s.text("wrong", 3000)))
	etags := map[string]string{
		"1": part("upload-part", "1", "--body", p.file("first", first)),
		"2": part("upload-part-copy", "2", "--copy-source", bucket+"/cp/large", "--copy-source-range", "bytes=5000000-11000000"),
		"3": part("upload-part", "3", "--body", p.file("last", last)),
	}
	sizes := p.run(append([]string{"s3api", "list-parts", "--upload-id", upload, "--query", "Parts[].Size", "--output", "json"}, key...)...)
	var got []int
	if err := json.Unmarshal([]byte(sizes), &got); err != nil || fmt.Sprint(got) != fmt.Sprint([]int{len(first), 6_000_001, len(last)}) {
		t.Errorf("list-parts: sizes %v (%v)", got, err)
	}
	wantIn(t, "list-multipart-uploads", p.run("s3api", "list-multipart-uploads", "--bucket", bucket, "--prefix", "api/parts"), "api/parts")
	var parts []string
	for _, number := range []string{"1", "2", "3"} {
		parts = append(parts, fmt.Sprintf(`{"PartNumber": %s, "ETag": %s}`, number, etags[number]))
	}
	p.run(append([]string{"s3api", "complete-multipart-upload", "--upload-id", upload, "--multipart-upload", `{"Parts": [` + strings.Join(parts, ", ") + "]}"}, key...)...)
	want := bytes.Join([][]byte{first, large[5_000_000:11_000_001], last}, nil)
	s.mustHold(t, bucket, "api/parts", want)
	p.run(append([]string{"s3api", "get-object", "--part-number", "2", filepath.Join(p.dir, "second")}, key...)...)
	p.mustBe("second", large[5_000_000:11_000_001])

	upload = strings.TrimSpace(p.run("s3api", "create-multipart-upload", "--bucket", bucket, "--key", "api/aborted", "--query", "UploadId", "--output", "text"))
	p.run("s3api", "abort-multipart-upload", "--bucket", bucket, "--key", "api/aborted", "--upload-id", upload)
	if _, stderr, err := p.try(nil, "s3api", "list-parts", "--bucket", bucket, "--key", "api/aborted", "--upload-id", upload); err == nil {
		t.Error("list-parts of an aborted upload was answered")
	} else {
		wantIn(t, "list-parts of an aborted upload", stderr, "NoSuchUpload")
	}
}

func awsTags(t *testing.T, p *s3Program, bucket string) {
	call := func(operation string, args ...string) string {
		t.Helper()
		return p.run(append([]string{"s3api", operation, "--bucket", bucket, "--key", "api/copy"}, args...)...)
	}
	call("put-object-tagging", "--tagging", "TagSet=[{Key=a,Value=b}]")
	wantIn(t, "get-object-tagging", call("get-object-tagging"), `"Key": "a"`, `"Value": "b"`)
	call("delete-object-tagging")
	if out := call("get-object-tagging"); strings.Contains(out, `"Key"`) {
		t.Errorf("tags after their removal: %s", out)
	}
}

// awsRemoval empties and removes a bucket of its own.
func awsRemoval(t *testing.T, s *s3Service, p *s3Program) {
	bucket := "aws-removed-" + s.address[len("127.0.0.1:"):]
	p.run("s3", "mb", s3URL(bucket))
	p.run("s3", "sync", filepath.Join(p.dir, "tree"), s3URL(bucket))
	p.run("s3", "rm", s3URL(bucket), "--recursive")
	wantEmpty(t, "s3 ls after s3 rm --recursive", p.run("s3", "ls", s3URL(bucket), "--recursive"))
	p.run("s3", "rb", s3URL(bucket))
	if _, stderr, err := p.try(nil, "s3", "ls", s3URL(bucket)); err == nil || !strings.Contains(stderr, "NoSuchBucket") {
		t.Errorf("the removed bucket is still there: %v, %s", err, stderr)
	}
}
