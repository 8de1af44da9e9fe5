// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"crypto/sha256"
	"io"
	"time"
)

// RewriteSizes copies a page of a listing with the sizes of the plaintext.
func RewriteSizes(w io.Writer, r io.Reader) error {
	page, err := readListing(r)
	if err != nil {
		return err
	}
	for i := range page.items {
		if page.items[i].size != (span{}) {
			page.items[i].plainSize()
		}
	}
	_, err = w.Write(page.render())
	return err
}

// ResolveRange parses a Range header and resolves it for a size.
func ResolveRange(header string, size int64) (off, n int64, ok, ignored bool, upstream string) {
	spec := parseRange(header)
	if spec == nil {
		return 0, 0, false, true, ""
	}
	off, n, ok = spec.within(size)
	return off, n, ok, false, spec.upstreamRange()
}

// Hurry has a migrator wait for less.
func (m *Migrator) Hurry(backoff, patience time.Duration) { m.backoff, m.patience = backoff, patience }

// EvenParts are the numbers and sizes of parts that an object gets which has none.
func EvenParts(size int64) (numbers []int, sizes []int64) {
	for _, p := range evenParts(size) {
		numbers, sizes = append(numbers, p.number), append(sizes, p.size)
	}
	return numbers, sizes
}

// Proof passes a sealed body on if open makes plain of it.
func Proof(sealed io.Reader, open func(io.Reader) io.Reader, plain []byte) io.Reader {
	return newProof(sealed, open, func() piece { return piece{int64(len(plain)), sha256.Sum256(plain)} })
}
