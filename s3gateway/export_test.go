// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/sidekey/sidekey/proxy/envelope"
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

// Sweep is sweep, of a gateway that is an http.Handler.
func Sweep(ctx context.Context, gateway http.Handler, bucket string, before time.Time) error {
	return gateway.(*Gateway).sweep(ctx, bucket, before)
}

// WholeChecksum is wholeChecksum.
func WholeChecksum(t *envelope.Table) []byte { return wholeChecksum(t) }
