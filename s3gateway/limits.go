// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"net/http"
	"strconv"
)

// defaultMaxRequests keeps the gateway near 150 MiB: a GET that streams holds about
// 550 KiB (measured with 256 of them whose clients do not read) in plaintext buffers
// and those of its two connections, a PUT 470 KiB, and Go's collector lets the heap
// grow to twice what is held.
const defaultMaxRequests = 128

// slots bound the requests that are served at a time, and so the memory. There is
// no queue: who waits in one holds a connection and a body, and comes late.
type slots chan struct{}

func newSlots(n int) slots {
	if n == 0 {
		n = defaultMaxRequests
	}
	return make(slots, n)
}

// take says whether there is a slot; if so, it must be freed.
func (s slots) take() bool {
	select {
	case s <- struct{}{}:
		return true
	default:
		return false
	}
}

func (s slots) free() { <-s }

var errSlowDown = &s3Error{
	code: "SlowDown", status: http.StatusServiceUnavailable, message: "Please reduce your request rate.",
	header: http.Header{"Retry-After": {"1"}},
}

// maxHeader is S3's limit on the header section of a request.
const maxHeader = 8 << 10

// checkHTTP looks at what can be wrong with a request as HTTP, beyond what the
// server refuses by itself.
func (x *exchange) checkHTTP() error {
	if len(x.r.TransferEncoding) > 0 {
		// Chunks and a length may have come together, of which the server tells
		// only the chunks. Someone in between may have gone by the length: what
		// follows on this connection is not to be taken for a request.
		x.w.Header().Set("Connection", "close")
	}
	size := 0
	for name, values := range x.r.Header {
		for _, value := range values {
			size += len(name) + len(": \r\n") + len(value)
		}
	}
	if size <= maxHeader {
		return nil
	}
	return &s3Error{
		code: "RequestHeaderSectionTooLarge", status: http.StatusBadRequest, message: "Your request header section exceeds the maximum allowed size.",
		fields: [][2]string{{"MaxSizeAllowed", strconv.Itoa(maxHeader)}},
	}
}
