// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// resticCommand has restic back up a tree twice, check every byte it stored,
// restore both snapshots, and forget the first.
func resticCommand(t *testing.T, s *s3Service) {
	bucket := s.bucket(t, "restic")
	p := s.program(t, "/usr/bin/restic", "--no-cache", "--quiet")
	if s.caFile != "" {
		p.args = append(p.args, "--cacert", s.caFile)
	}
	p.env = append(p.env, "RESTIC_PASSWORD=of the test", "RESTIC_REPOSITORY=s3:"+s.endpoint()+"/"+bucket)
	tree := filepath.Join(p.dir, "tree")
	size := 100 << 20
	if s.brief {
		size = 25 << 20
	}
	randomTree(p, size)
	p.run("init")
	p.run("backup", tree)
	first := treeDigests(t, tree)
	p.file("tree/added", s.text("added", 3<<20))
	if err := os.Remove(filepath.Join(tree, "0", "large")); err != nil {
		t.Fatal(err)
	}
	p.run("backup", tree)
	second := treeDigests(t, tree)
	p.run("check", "--read-data")
	snapshots := resticSnapshots(t, p)
	if len(snapshots) != 2 {
		t.Fatalf("%d snapshots, want 2", len(snapshots))
	}
	resticRestore(t, p, snapshots[0], tree, first)
	resticRestore(t, p, snapshots[1], tree, second)
	p.run("forget", "--keep-last", "1", "--prune")
	if left := resticSnapshots(t, p); len(left) != 1 || left[0] != snapshots[1] {
		t.Errorf("after forget: snapshots %v, want %s", left, snapshots[1])
	}
	p.run("check", "--read-data")
	resticRestore(t, p, "latest", tree, second)
	s.mustBeSealed(t, bucket)
}

// randomTree writes size bytes that neither compress nor repeat, in files of
// many sizes below tree.
func randomTree(p *s3Program, size int) {
	source := rand.NewChaCha8([32]byte{1, 2, 3})
	for n := 0; size > 0; n++ {
		large := make([]byte, min(size, 12<<20))
		source.Read(large)
		size -= len(large)
		p.file(fmt.Sprintf("tree/%d/large", n), large)
		for i := range 20 {
			small := make([]byte, i*i*150)
			source.Read(small)
			p.file(fmt.Sprintf("tree/%d/%d", n, i), small)
		}
	}
}

func resticSnapshots(t *testing.T, p *s3Program) (ids []string) {
	t.Helper()
	var snapshots []struct{ ID string }
	if err := json.Unmarshal([]byte(p.run("snapshots", "--json")), &snapshots); err != nil {
		t.Fatal(err)
	}
	for _, snapshot := range snapshots {
		ids = append(ids, snapshot.ID)
	}
	return ids
}

func resticRestore(t *testing.T, p *s3Program, snapshot, tree string, want map[string][32]byte) {
	t.Helper()
	target := t.TempDir()
	p.run("restore", snapshot, "--target", target)
	if got := treeDigests(t, filepath.Join(target, tree)); !maps.Equal(got, want) {
		t.Errorf("snapshot %s: %d files restored, want %d with the same contents", snapshot, len(got), len(want))
	}
}
