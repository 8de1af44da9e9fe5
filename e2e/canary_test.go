// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// canary returns a text that is nowhere else. When the test ends, everything
// that the stores and every process wrote is searched for it, also in hex and
// base64: it must not be there.
func canary(t *testing.T, s *stack) string {
	t.Helper()
	random := make([]byte, 15)
	rand.Read(random)
	text := "canary" + hex.EncodeToString(random)
	t.Cleanup(func() { mustNotBeStored(t, s, text) })
	return text
}

// mustNotBeStored searches MinIO's data, PostgreSQL's data with its WAL, the
// audit logs, the key store and all logs below the stack's directory.
func mustNotBeStored(t *testing.T, s *stack, text string) {
	t.Helper()
	checkpoint(t, s)
	forms := plainForms(text)
	files := 0
	err := filepath.WalkDir(s.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			if os.IsNotExist(err) {
				return nil // servers remove files of their own
			}
			return err
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		files++
		found, err := fileContains(path, forms)
		if found != "" {
			t.Errorf("%s holds the plaintext, as %s", strings.TrimPrefix(path, s.dir), found)
		}
		return err
	})
	if err != nil {
		t.Errorf("searching for plaintext: %v", err)
	}
	if files < 100 {
		t.Errorf("searched only %d files: the stores are elsewhere", files)
	}
}

// plainForms are the encodings under which a text could hide in a file. Of
// base64 the middle is taken, which is the same for all neighbours at one
// alignment; three alignments cover all.
func plainForms(text string) map[string][]byte {
	forms := map[string][]byte{
		"text":      []byte(text),
		"hex":       []byte(hex.EncodeToString([]byte(text))),
		"UPPER hex": []byte(strings.ToUpper(hex.EncodeToString([]byte(text)))),
	}
	for shift, name := range []string{"base64", "base64 at 1", "base64 at 2"} {
		encoded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + text))
		forms[name] = []byte(encoded[4 : len(encoded)-4])
	}
	return forms
}

func fileContains(path string, forms map[string][]byte) (string, error) {
	file, err := os.Open(path)
	if os.IsNotExist(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer file.Close()
	const overlap = 256 // longer than any form
	buffer := make([]byte, 1<<20+overlap)
	kept := 0
	for {
		n, err := io.ReadFull(file, buffer[kept:])
		window := buffer[:kept+n]
		for name, form := range forms {
			if bytes.Contains(window, form) {
				return name, nil
			}
		}
		if err != nil {
			return "", nil // the end; ErrUnexpectedEOF and EOF alike
		}
		kept = copy(buffer, window[len(window)-overlap:])
	}
}

// checkpoint makes PostgreSQL write what it holds in memory.
func checkpoint(t *testing.T, s *stack) {
	t.Helper()
	ctx := context.Background()
	url, err := os.ReadFile(s.path("postgres-admin.url"))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(ctx, string(url))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "checkpoint"); err != nil {
		t.Fatal(err)
	}
}

// The search itself must find what is there.
func TestCanaryIsFoundWhereItIsStored(t *testing.T) {
	for _, prefix := range []string{"", "y", "yy"} {
		for name, encoded := range map[string]string{
			"text":   prefix + "canary-in-plain-sight",
			"base64": base64.StdEncoding.EncodeToString([]byte(prefix + "canary-in-plain-sight" + prefix)),
			"hex":    hex.EncodeToString([]byte(prefix + "canary-in-plain-sight")),
		} {
			path := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(path, append(bytes.Repeat([]byte{'z'}, 1<<20-7), encoded...), 0o600); err != nil {
				t.Fatal(err)
			}
			found, err := fileContains(path, plainForms("canary-in-plain-sight"))
			if err != nil || found == "" {
				t.Errorf("%s after %q is not found (%v)", name, prefix, err)
			}
		}
	}
}
