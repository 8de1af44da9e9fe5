// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// With the disk of its audit log full the sidecar answers nothing that needs a
// record; with room again it works, and the log's chain is whole.
func TestNoRecordNoAnswer(t *testing.T) {
	people(t)
	text := canary(t, shared)
	bucket := shared.bucket(t, "unrecorded")
	put(t, shared.app(t), bucket, "object", []byte(text))
	mustPsql(t, shared.env["DATABASE_URL"], "insert into people (id, c_secret) values (801, '"+text+"')")

	dir := t.TempDir()
	disk := filepath.Join(dir, "disk")
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatalf("mounting a small disk, which needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	s3Address, pgAddress := freeAddress(t), freeAddress(t)
	config := readFile(t, shared.path("proxy.yaml"))
	config = config[:strings.Index(config, "forward:")]
	config = replaceIn(t, config,
		"listen: "+hostOf(shared.env["S3_ENDPOINT"]), "listen: "+s3Address,
		"listen: "+hostOf(shared.env["DATABASE_URL"]), "listen: "+pgAddress,
		shared.path("audit-proxy"), filepath.Join(disk, "audit"))
	proxy, err := startProcess(filepath.Join(dir, "log"), nil, shared.binary, "proxy", "--config", writeFile(t, config))
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.stop(syscall.SIGTERM)
	if err := proxy.waitForAddress(s3Address); err != nil {
		t.Fatal(err)
	}
	client := shared.s3Client(t, "app", "http://"+s3Address)
	url := "postgres://app@" + pgAddress + "/app"
	const query = "select c_secret from people where id = 801"
	works := func(when string) {
		t.Helper()
		if got, err := get(t.Context(), client, bucket, "object"); err != nil || string(got) != text {
			t.Errorf("%s: GET: %q, %v", when, got, err)
		}
		if got, err := psql(t, url, query); err != nil || got != text {
			t.Errorf("%s: SELECT: %q, %v", when, got, err)
		}
	}
	works("with room")

	ballast := filepath.Join(disk, "ballast")
	fill(t, ballast)
	// Some hundred more records fit into the room that the log has ahead.
	got, err := get(t.Context(), client, bucket, "object")
	for range 2000 {
		if err != nil {
			break
		}
		got, err = get(t.Context(), client, bucket, "object")
	}
	wantAPIError(t, "GET without a record", err, "ServiceUnavailable")
	if len(got) > 0 {
		t.Errorf("GET without a record: %d bytes", len(got))
	}
	_, err = client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: ptr("second"), Body: strings.NewReader(text)})
	wantAPIError(t, "PUT without a record", err, "ServiceUnavailable")
	if out, err := shared.run("psql", "-X", "-v", "VERBOSITY=verbose", url, "-c", query); err == nil || strings.Contains(out, text) {
		t.Errorf("SELECT without a record: %q, %v", out, err)
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	works("with room again")
	proxy.stop(syscall.SIGTERM)
	if out, err := shared.run(shared.binary, "audit", "verify", "--dir", filepath.Join(disk, "audit")); err != nil {
		t.Error(out, err)
	}
}

// fill writes to a new file until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for size := 1 << 16; size > 0; {
		if _, err := file.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
