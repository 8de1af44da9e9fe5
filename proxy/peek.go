// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"fmt"
	"io"

	"github.com/sidekey/sidekey/proxy/envelope"
)

// CanPeek says whether the content can be sealed from where it lies. See
// envelope.Peeker.
func (f *footed) CanPeek() bool {
	p, ok := f.content.(envelope.Peeker)
	return ok && p.CanPeek()
}

// Peek is that of the content as long as there is enough of it. The end, and the footer
// after it, are put together in a buffer.
func (f *footed) Peek(n int) ([]byte, error) {
	if f.tail == nil {
		p, err := f.content.(envelope.Peeker).Peek(n)
		if err != io.EOF {
			return p, err
		}
		if err := f.makeTail(p); err != nil {
			return nil, err
		}
	}
	if n < len(f.tail) {
		return f.tail[:n], nil
	}
	return f.tail, io.EOF
}

// makeTail puts the rest of the content and the footer together.
func (f *footed) makeTail(rest []byte) error {
	var checksums map[string]string
	if f.late != nil {
		checksums = f.late()
	}
	footer, err := envelope.Footer(checksums)
	if err != nil {
		return err
	}
	n := len(rest)
	f.tail = append(append(make([]byte, 0, n+len(footer)), rest...), footer...)
	if _, err := f.content.(envelope.Peeker).Discard(n); err != nil {
		return fmt.Errorf("reading the end of the content: %w", err)
	}
	return nil
}

// Discard skips what Peek has returned.
func (f *footed) Discard(n int) (int, error) {
	if f.tail == nil {
		return f.content.(envelope.Peeker).Discard(n)
	}
	n = min(n, len(f.tail))
	clear(f.tail[:n])
	f.tail = f.tail[n:]
	return n, nil
}
