// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

const maxPIN = 1024

// givenPIN is a PIN that has no file.
type givenPIN struct {
	mu  sync.Mutex
	pin []byte // guarded by mu; nil if there is a file, and once closed
}

func (g *givenPIN) set(pin []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pin = bytes.Clone(pin)
}

// get gives a copy. After wipe there is none: an attempt to log in that has
// outlived Close must not try another.
func (g *givenPIN) get() ([]byte, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pin == nil {
		return nil, errClosed
	}
	return bytes.Clone(g.pin), nil
}

func (g *givenPIN) wipe() {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.pin)
	g.pin = nil
}

// readPIN gives a copy, which the caller clears.
func (t *Token) readPIN() ([]byte, error) {
	if t.addr.pin == "" {
		return t.given.get()
	}
	return readPIN(t.addr.pin)
}

func (t *Token) pinSource() string {
	if t.addr.pin == "" {
		return "the caller"
	}
	return t.addr.pin
}

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
