// SPDX-License-Identifier: Apache-2.0

package s3gateway_test

import (
	"fmt"
	"net/http"
	"testing"
)

// A store whose answer breaks off before the first chunk is whole is no fault
// of the client's: it is told to try again.
func TestStoreThatBreaksOff(t *testing.T) {
	h := newHostile(t)
	h.put(t, "k", content(3*chunk))
	header, sealed := h.head("k"), h.stack.stored(t, "k").body
	for _, n := range []int{0, 1, 56, 1000, chunk} {
		h.answers(func(w http.ResponseWriter, r *http.Request) {
			for name, values := range header {
				w.Header()[name] = values
			}
			w.Header().Set("Content-Length", fmt.Sprint(len(sealed)))
			w.Write(sealed[:n])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		})
		_, _, err := h.stack.get(t, "k")
		wantError(t, fmt.Sprintf("GET cut after %d sealed bytes", n), err, "ServiceUnavailable")
	}
}
