// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

const maxPIN = 1024

// readPIN reads the PIN; the caller clears it. The permissions are those of the
// opened file, so a symbolic link (a mounted secret) is judged by its target.
func readPIN(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the PIN: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading the PIN: %w", err)
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("reading the PIN: %s is not a regular file", path)
	}
	if st.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("reading the PIN: %s is accessible to others (mode %04o): chmod o= it", path, st.Mode().Perm())
	}
	buf := make([]byte, maxPIN+1)
	n, err := io.ReadFull(f, buf)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("reading the PIN: %w", err)
	}
	if n > maxPIN {
		clear(buf)
		return nil, fmt.Errorf("reading the PIN: %s is longer than %d bytes", path, maxPIN)
	}
	pin := bytes.TrimSuffix(buf[:n], []byte("\n"))
	if len(pin) == 0 {
		return nil, fmt.Errorf("reading the PIN: %s is empty", path)
	}
	return pin, nil
}
