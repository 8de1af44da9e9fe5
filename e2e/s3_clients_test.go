// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What unmodified clients do. Each compares every byte it gets back, and the
// sizes that it is told; afterwards each bucket is compared with what the store
// holds of it.
var s3Clients = map[string]func(*testing.T, *s3Service){
	"aws":             awsCommand,
	"s3cmd":           s3cmdCommand,
	"rclone":          rcloneCommand,
	"restic":          resticCommand,
	"boto3":           boto3Transfers,
	"javascript":      javaScriptTransfers,
	"minio-go":        minioGoTransfers,
	"manager":         managerTransfers,
	"transfermanager": transferManagerTransfers,
}

func TestS3Clients(t *testing.T) {
	t.Run("http", func(t *testing.T) { runS3Clients(t, startS3(t, sharedStore(t), s3Setup{})) })
	t.Run("tls", func(t *testing.T) { runS3Clients(t, startS3(t, sharedStore(t), s3Setup{overTLS: true, brief: true})) })
}

// Some of the same over versitygw, which implements S3 from another hand.
func TestS3ClientsOverVersityGateway(t *testing.T) {
	runS3Clients(t, startS3(t, startVersityGateway(t), s3Setup{brief: true}), "rclone", "restic", "boto3", "javascript", "minio-go", "manager")
}

// runS3Clients runs the clients that are named, or all.
func runS3Clients(t *testing.T, s *s3Service, names ...string) {
	if len(names) == 0 {
		names = slices.Collect(maps.Keys(s3Clients))
	}
	t.Run("clients", func(t *testing.T) {
		for _, name := range names {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s3Clients[name](t, s)
			})
		}
	})
}

// tree writes files of many sizes and names below a directory of the client's,
// and returns them.
func (s *s3Service) tree(p *s3Program, dir string) map[string][]byte {
	p.t.Helper()
	files := map[string][]byte{}
	odd := "ünï/cödé+%2F&.txt"
	if s.store.literal {
		odd = "ünï/cödé&.txt"
	}
	for i, name := range []string{"empty", "one", "a/under", "a/chunk", "a/over", "a/b/two chunks", odd, "a/b/c/parts"} {
		size := []int{0, 1, 16383, 16384, 16385, 32768, 100_003, 11<<20 + 7}[i]
		files[name] = s.text(name, size)
		p.file(filepath.Join(dir, name), files[name])
	}
	return files
}

// mustBeTree compares all files below a directory of the client's.
func (p *s3Program) mustBeTree(dir string, want map[string][]byte) {
	p.t.Helper()
	for name, content := range want {
		p.mustBe(filepath.Join(dir, name), content)
	}
	if got := treeDigests(p.t, filepath.Join(p.dir, dir)); len(got) != len(want) {
		p.t.Errorf("%s: %d files, want %d", dir, len(got), len(want))
	}
}

// treeDigests are the digests of all files below dir, by their names there.
func treeDigests(t *testing.T, dir string) map[string][sha256.Size]byte {
	t.Helper()
	digests := map[string][sha256.Size]byte{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		digests[strings.TrimPrefix(path, dir)] = sha256.Sum256(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return digests
}

// wantIn fails where a client's output lacks one of texts.
func wantIn(t *testing.T, what, output string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(output, text) {
			t.Errorf("%s: no %q in\n%.2000s", what, text, output)
		}
	}
}

// wantEmpty fails where a client did something that it had no reason for.
func wantEmpty(t *testing.T, what, output string) {
	t.Helper()
	if strings.TrimSpace(output) != "" {
		t.Errorf("%s: want nothing to do, got\n%.2000s", what, output)
	}
}

func s3URL(bucket string, elements ...string) string {
	return fmt.Sprintf("s3://%s/%s", bucket, strings.Join(elements, "/"))
}
