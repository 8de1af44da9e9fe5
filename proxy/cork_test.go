// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/sidekey/sidekey/proxy"
)

// An answer that was held back arrives whole, whatever follows it: nothing, another
// request that takes long, the end of the connection, or its breakdown.
func TestCork(t *testing.T) {
	ln, err := proxy.Listen("127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	wait := make(chan struct{})
	defer close(wait)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			<-wait
			return
		}
		n, err := strconv.Atoi(r.URL.Path[1:])
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Length", strconv.Itoa(n))
		proxy.Cork(r.Context())
		w.Write(bytes.Repeat([]byte("x"), n))
	})
	go proxy.ServeHTTP(t.Context(), ln, handler, slog.New(slog.DiscardHandler))
	for _, c := range []struct {
		name, next string
		close      bool
	}{{"nothing", "", false}, {"wait", "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n", false}, {"abort", "GET /abort HTTP/1.1\r\nHost: a\r\n\r\n", false}, {"close", "", true}} {
		for _, size := range []int{0, 1, 1000, 4096, 20_000, 300_000} {
			t.Run(fmt.Sprint(c.name, size), func(t *testing.T) {
				conn, err := net.Dial("tcp", ln.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(20 * time.Second))
				connection := ""
				if c.close {
					connection = "Connection: close\r\n"
				}
				fmt.Fprintf(conn, "GET /%d HTTP/1.1\r\nHost: a\r\n%s\r\n%s", size, connection, c.next)
				in := bufio.NewReader(conn)
				resp, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Fatal(err)
				}
				if body, err := io.ReadAll(resp.Body); err != nil || len(body) != size {
					t.Fatalf("%d bytes and %v, want %d", len(body), err, size)
				}
				if c.close || c.name == "abort" {
					if rest, err := io.ReadAll(in); len(rest) > 0 || err != nil {
						t.Errorf("after the answer came %q and %v", rest, err)
					}
				}
			})
		}
	}
}
