// SPDX-License-Identifier: Apache-2.0

package envelope

import "io"

// A Peeker is a body that shows what comes next where it lies, as a *bufio.Reader
// does: chunks are sealed from there, so that many can be read at once without a copy.
// Peek returns less than was asked for only with an error, which is io.EOF at the end;
// what it returns is valid until the next call.
type Peeker interface {
	CanPeek() bool
	Peek(n int) ([]byte, error)
	Discard(n int) (int, error)
}

// peekerOf is body as a Peeker; nil if it is none.
func peekerOf(body io.Reader) Peeker {
	if p, ok := body.(Peeker); ok && p.CanPeek() {
		return p
	}
	return nil
}
