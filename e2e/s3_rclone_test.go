// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// rcloneCommand has rclone copy, synchronize and check. It is told that the
// store encrypts under SSE-KMS, as before AWS itself: it then keeps MD5s in
// metadata rather than take ETags for them.
func rcloneCommand(t *testing.T, s *s3Service) {
	bucket := s.bucket(t, "rclone")
	p := s.program(t, "/usr/bin/rclone")
	p.args = []string{"--config", p.file("rclone.conf", nil), "--retries", "1", "--low-level-retries", "1", "-v"}
	if s.caFile != "" {
		p.args = append(p.args, "--ca-cert", s.caFile)
	}
	p.env = append(p.env, "RCLONE_CONFIG_S_TYPE=s3", "RCLONE_CONFIG_S_PROVIDER=Minio", "RCLONE_CONFIG_S_ENV_AUTH=true", "RCLONE_CONFIG_S_REGION=us-east-1",
		"RCLONE_CONFIG_S_ENDPOINT="+s.endpoint(), "RCLONE_CONFIG_S_FORCE_PATH_STYLE=true", "RCLONE_CONFIG_S_NO_CHECK_BUCKET=true")
	if !s.unsealed { // MinIO itself would need a key service for it
		p.env = append(p.env, "RCLONE_CONFIG_S_SERVER_SIDE_ENCRYPTION=aws:kms")
	}
	files := s.tree(p, "tree")
	rcloneSync(t, p, bucket, files)
	rcloneParts(t, s, p, bucket)
	rcloneMoves(t, s, p, bucket, files)
	s.mustBeSealed(t, bucket)
	p.run("purge", "s:"+bucket+"/tree")
	wantEmpty(t, "rclone lsf after purge", p.run("lsf", "-R", "--files-only", "s:"+bucket+"/tree"))
}

func rcloneSync(t *testing.T, p *s3Program, bucket string, files map[string][]byte) {
	local, remote := filepath.Join(p.dir, "tree"), "s:"+bucket+"/tree"
	p.run("copy", local, remote)
	for _, args := range [][]string{{"sync", local, remote}, {"sync", "--checksum", local, remote}, {"sync", remote, local}} {
		_, said := p.pipe(nil, args...)
		wantIn(t, "second rclone sync", said, "There was nothing to transfer")
	}
	matching := fmt.Sprintf("%d matching files", len(files))
	_, said := p.pipe(nil, "check", local, remote)
	wantIn(t, "rclone check", said, "0 differences found", matching)
	if strings.Contains(said, "hashes could not be checked") {
		t.Errorf("rclone check had no hashes:\n%s", said)
	}
	_, said = p.pipe(nil, "check", "--download", local, remote)
	wantIn(t, "rclone check --download", said, "0 differences found", matching)
	p.run("copy", remote, filepath.Join(p.dir, "down"))
	p.mustBeTree("down", files)
	total := 0
	for _, content := range files {
		total += len(content)
	}
	wantIn(t, "rclone size", p.run("size", "--json", remote), fmt.Sprintf(`"count":%d,"bytes":%d`, len(files), total))
	large := files["a/b/c/parts"]
	for _, at := range [][2]int{{0, 1}, {16_383, 2}, {5<<20 - 1, 3}, {len(large) - 5, 5}, {100_000, 6_000_000}} {
		got := p.run("cat", "--offset", fmt.Sprint(at[0]), "--count", fmt.Sprint(at[1]), remote+"/a/b/c/parts")
		if got != string(large[at[0]:at[0]+at[1]]) {
			t.Errorf("rclone cat of %d bytes from %d: got %d others", at[1], at[0], len(got))
		}
	}
	if got := p.run("cat", "--tail", "20000", remote+"/a/b/c/parts"); got != string(large[len(large)-20_000:]) {
		t.Errorf("rclone cat --tail: got %d other bytes", len(got))
	}
}

// rcloneParts uploads in parts of several sizes, and what has no size known.
func rcloneParts(t *testing.T, s *s3Service, p *s3Program, bucket string) {
	content := s.text("chunked", 17<<20+1)
	file := p.file("chunked", content)
	chunks := []string{"5M", "6000000B", "8M"}
	if s.brief {
		chunks = chunks[1:2]
	}
	for _, chunk := range chunks {
		key := "chunked-" + chunk
		p.run("copyto", "--s3-upload-cutoff", "5M", "--s3-chunk-size", chunk, file, "s:"+bucket+"/"+key)
		s.mustHold(t, bucket, key, content)
		sum := fmt.Sprintf("%x", md5.Sum(content)) // what rclone kept in metadata
		wantIn(t, "rclone md5sum", p.run("md5sum", "s:"+bucket+"/"+key), sum)
	}
	p.pipe(bytes.NewReader(content), "rcat", "--streaming-upload-cutoff", "1M", "s:"+bucket+"/streamed")
	s.mustHold(t, bucket, "streamed", content)
	p.pipe(bytes.NewReader(content[:1000]), "rcat", "s:"+bucket+"/streamed-small")
	s.mustHold(t, bucket, "streamed-small", content[:1000])
}

// rcloneMoves copies and moves at the store, in one request and in parts.
func rcloneMoves(t *testing.T, s *s3Service, p *s3Program, bucket string, files map[string][]byte) {
	large, small := files["a/b/c/parts"], files["a/over"]
	remote := "s:" + bucket
	p.run("copyto", remote+"/tree/a/b/c/parts", remote+"/copied")
	s.mustHold(t, bucket, "copied", large)
	p.run("copyto", "--s3-copy-cutoff", "6M", "--s3-chunk-size", "5M", remote+"/copied", remote+"/copied-in-parts")
	s.mustHold(t, bucket, "copied-in-parts", large)
	p.run("moveto", remote+"/copied-in-parts", remote+"/moved/large")
	s.mustHold(t, bucket, "moved/large", large)
	p.run("copyto", remote+"/tree/a/over", remote+"/over")
	p.run("moveto", remote+"/over", remote+"/moved/small")
	s.mustHold(t, bucket, "moved/small", small)
	p.run("touch", "--timestamp", "2001-02-03T04:05:06", remote+"/moved/small") // copies the object onto itself
	s.mustHold(t, bucket, "moved/small", small)
	wantIn(t, "rclone lsl", p.run("lsl", remote+"/moved"), "2001-02-03 04:05:06", fmt.Sprintf("%d ", len(small)), fmt.Sprintf("%d ", len(large)))
	wantEmpty(t, "rclone lsf of what was moved", p.run("lsf", remote+"/", "--include", "/over", "--include", "/copied-in-parts"))
}
