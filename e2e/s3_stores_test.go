// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// startVersityGateway starts versitygw on its POSIX backend, with metadata in
// files, since not every file system keeps it in attributes.
func startVersityGateway(t *testing.T) s3Store {
	t.Helper()
	build := exec.Command("versitygw/build.sh")
	var failure bytes.Buffer
	build.Stderr = &failure
	binary, err := build.Output()
	if err != nil {
		t.Fatalf("building versitygw: %v\n%s", err, failure.String())
	}
	dir := dirBelow(t, shared.dir, "versitygw-")
	data, meta := filepath.Join(dir, "data"), filepath.Join(dir, "meta")
	for _, path := range []string{data, meta} {
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	address, access := freeAddress(t), s3Access{"AKIAVERSITY000000000", shared.secret(t, "upstream")}
	p, err := startProcess(filepath.Join(dir, "versitygw.log"), []string{"ROOT_ACCESS_KEY=" + access.id, "ROOT_SECRET_KEY=" + access.secret},
		strings.TrimSpace(string(binary)), "--port", address, "--region", "us-east-1", "--quiet", "posix", "--sidecar", meta, data)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.stop(syscall.SIGTERM) })
	if err := p.waitForAddress(address); err != nil {
		t.Fatal(err)
	}
	return s3Store{endpoint: "http://" + address, access: access, literal: true}
}

// A mortalStore is a MinIO of a test's own, which it may kill.
type mortalStore struct {
	s3Store
	*process
	dir string
}

func startMortalStore(t *testing.T) *mortalStore {
	t.Helper()
	m := &mortalStore{dir: dirBelow(t, shared.dir, "minio-")}
	m.s3Store = s3Store{endpoint: "http://" + freeAddress(t), access: s3Access{"AKIAMORTAL0000000000", shared.secret(t, "upstream")}}
	if err := m.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.stop(syscall.SIGTERM) })
	return m
}

func (m *mortalStore) start() (err error) {
	m.process, err = startProcess(filepath.Join(m.dir, "minio.log"),
		[]string{"MINIO_ROOT_USER=" + m.access.id, "MINIO_ROOT_PASSWORD=" + m.access.secret, "MINIO_UPDATE=off", "MINIO_BROWSER=off", "MINIO_CI_CD=1"},
		minioBinary, "server", "--address", hostOf(m.endpoint), filepath.Join(m.dir, "data"))
	if err != nil {
		return err
	}
	return m.waitForAddress(hostOf(m.endpoint))
}
