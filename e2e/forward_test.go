// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// With a proxy and a CA bundle in the environment, and no endpoint set, the
// aws CLI speaks to S3's own host name and stores ciphertext.
func TestForwardProxyTakesOverS3(t *testing.T) {
	text := canary(t, shared)
	dir := t.TempDir()
	source := filepath.Join(dir, "source")
	content := strings.Repeat(text, 10_000)
	writeFileAt(t, source, content)
	env := []string{
		"HTTPS_PROXY=" + shared.env["SIDEKEY_FORWARD_PROXY"],
		"AWS_CA_BUNDLE=" + shared.env["SIDEKEY_FORWARD_CA"],
	}
	cli := func(args ...string) (string, error) {
		return shared.runEnv(env, "/usr/bin/aws", append([]string{"--profile", "app"}, args...)...)
	}
	for _, args := range [][]string{
		{"s3", "mb", "s3://forwarded"},
		{"s3", "cp", source, "s3://forwarded/file"},
		{"s3", "cp", "s3://forwarded/file", filepath.Join(dir, "copy")},
	} {
		if out, err := cli(args...); err != nil {
			t.Fatal(out, err)
		}
	}
	copied, err := os.ReadFile(filepath.Join(dir, "copy"))
	if err != nil || string(copied) != content {
		t.Errorf("the copy has %d bytes (%v)", len(copied), err)
	}
	raw, err := get(t.Context(), shared.upstream(t), "forwarded", "file")
	if err != nil || bytes.Contains(raw, []byte(text)) || len(raw) <= len(content) {
		t.Errorf("around the sidecar: %d bytes (%v), want ciphertext", len(raw), err)
	}
	// Hosts that nobody allowed are refused.
	if out, err := shared.runEnv(env, "/usr/bin/curl", "-sS", "--cacert", shared.env["SIDEKEY_FORWARD_CA"], "https://example.com/"); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("example.com: got %q, %v; want 403", out, err)
	}
}
