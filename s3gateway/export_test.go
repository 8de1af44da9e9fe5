// SPDX-License-Identifier: Apache-2.0

package s3gateway

import "io"

// RewriteSizes is rewriteSizes for fuzzing.
func RewriteSizes(w io.Writer, r io.Reader) error { return rewriteSizes(w, r) }

// ResolveRange parses a Range header and resolves it for a size.
func ResolveRange(header string, size int64) (off, n int64, ok, ignored bool, upstream string) {
	spec := parseRange(header)
	if spec == nil {
		return 0, 0, false, true, ""
	}
	off, n, ok = spec.within(size)
	return off, n, ok, false, spec.upstreamRange()
}
