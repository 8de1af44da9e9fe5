// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// holds reports whether bytes stand in the files of the database.
func (d *database) holds(t *testing.T, want []byte) bool {
	t.Helper()
	pattern := d.path + "*"
	if d.postgres() {
		d.exec(t, "CHECKPOINT")
		var dir, base string
		d.get(t, &dir, "SHOW data_directory")
		d.get(t, &base, "SELECT oid::text FROM pg_database WHERE datname = current_database()")
		pattern = filepath.Join(dir, "base", base, "*")
	}
	files, err := filepath.Glob(pattern)
	must(t, err)
	if len(files) == 0 {
		t.Fatalf("no files at %s", pattern)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if bytes.Contains(content, want) {
			return true
		}
	}
	return false
}
