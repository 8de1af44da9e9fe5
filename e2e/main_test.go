// SPDX-License-Identifier: Apache-2.0

// Package e2e tests whole sidekey processes between unmodified clients and
// real servers: SoftHSM, PostgreSQL and MinIO. deploy/setup.sh installs what it
// needs; a missing part fails the tests.
package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The processes that all tests share.
var shared *stack

// Paths of what TestMain built: with the race detector, without, and MinIO.
var raceBinary, plainBinary, minioBinary string

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "sidekey-e2e-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o711); err != nil {
		return 1, err
	}
	if err := buildAll(dir); err != nil {
		return 1, err
	}
	shared, err = startStack(raceBinary, filepath.Join(dir, "stack"))
	if err != nil {
		return 1, err
	}
	code := m.Run()
	shared.stop()
	crash := shared.crashed()
	if code != 0 || crash != nil {
		shared.printLogs()
	}
	return code, crash
}

// buildAll builds the binaries. SIDEKEY_MINIO names a MinIO that is built already.
func buildAll(dir string) error {
	raceBinary, plainBinary = filepath.Join(dir, "sidekey-race"), filepath.Join(dir, "sidekey")
	for _, args := range [][]string{
		{"build", "-race", "-o", raceBinary, ".."},
		{"build", "-o", plainBinary, ".."},
	} {
		if output, err := exec.Command("go", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("go %v: %w\n%s", args, err, output)
		}
	}
	minioBinary = os.Getenv("SIDEKEY_MINIO")
	if minioBinary != "" {
		return nil
	}
	build := exec.Command("minio/build.sh")
	build.Stderr = os.Stderr
	output, err := build.Output()
	if err != nil {
		return fmt.Errorf("building MinIO: %w", err)
	}
	minioBinary = strings.TrimSpace(string(output))
	return nil
}
