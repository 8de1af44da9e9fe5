// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
)

// What hostile clients may make the key service hold: 10,000 slow connections
// at less than the 70 KiB each that its configuration promises, and itself.
const hostileLimit = 512 << 20

// Ten thousand connections that say nothing, dribble their headers or dribble
// their bodies: the service goes on answering, within its memory.
func TestTenThousandSlowConnections(t *testing.T) {
	raiseFileLimit(t, 11_000)
	s := startKMS(t, plainBinary, false, "  region: ", "  max_connections: 11000\n  region: ")
	id, _ := createKey(t.Context(), t, s.client(t, "admin", kmsRegion), &kms.CreateKeyInput{})
	head := "POST / HTTP/1.1\r\nHost: " + s.address + "\r\nX-Amz-Target: TrentService.Encrypt\r\nContent-Type: application/x-amz-json-1.1\r\n"
	crowd := newCrowd(t, s.address, 10_000, []string{
		"",                                      // says nothing
		"POST / HTT",                            // stops in the request line
		head + "X-Slow: ",                       // dribbles a header
		head + "Content-Length: 30000\r\n\r\n{", // dribbles a small body
		head + "Content-Length: 1000000\r\n\r\n{",             // dribbles a large one
		head + "Transfer-Encoding: chunked\r\n\r\nfffff\r\n{", // dribbles a chunk
	})
	for range 20 {
		s.mustAnswer(t, id) // over a new connection
		crowd.dribble()
	}
	if open := crowd.open(); open < 8_000 { // senders of large bodies are turned away past the 16th
		t.Errorf("only %d connections were open at the end: the service was not under the load that was meant", open)
	}
	crowd.close()
	s.mustAnswer(t, id)
	s.mustStayBelow(t, hostileLimit)
}

// More slow connections than the service takes: it cuts them off in time, and
// those that wait are served.
func TestMoreConnectionsThanAllowed(t *testing.T) {
	s := startKMS(t, plainBinary, false, "  region: ", "  max_connections: 64\n  region: ")
	id, _ := createKey(t.Context(), t, s.client(t, "admin", kmsRegion), &kms.CreateKeyInput{})
	crowd := newCrowd(t, s.address, 100, []string{"", "POST / HTTP/1.1\r\nX-Slow: "})
	defer crowd.close()
	s.mustAnswer(t, id)
}

// Clients that stop within the TLS handshake hold up nobody.
func TestStuckHandshakes(t *testing.T) {
	raiseFileLimit(t, 4_000)
	s := startKMS(t, plainBinary, true)
	id, _ := createKey(t.Context(), t, s.client(t, "admin", kmsRegion), &kms.CreateKeyInput{})
	hello := clientHello(t)
	crowd := newCrowd(t, s.address, 3_000, []string{"", hello[:3], hello[:len(hello)/2], hello, "POST / HTTP/1.1\r\n\r\n"})
	for range 10 {
		s.mustAnswer(t, id)
		crowd.dribble()
	}
	crowd.close()
	s.mustStayBelow(t, hostileLimit)
}

// Bodies of 100 MiB are refused unread, however they are announced.
func TestHugeBodies(t *testing.T) {
	const size, senders = 100 << 20, 40
	s := startKMS(t, plainBinary, false)
	id, _ := createKey(t.Context(), t, s.client(t, "admin", kmsRegion), &kms.CreateKeyInput{})
	before := s.peakMemory(t)
	var all sync.WaitGroup
	for i := range senders {
		all.Go(func() {
			status, sent := s.sendHuge(t, size, i%2 == 0)
			if status != http.StatusRequestEntityTooLarge && status != http.StatusBadRequest && status != 0 {
				t.Errorf("a body of %d bytes: status %d", size, status)
			}
			if sent > 16<<20 { // the sockets' own buffers hold a few MiB
				t.Errorf("a body of %d bytes: %d were read", size, sent)
			}
		})
		s.mustAnswer(t, id)
	}
	all.Wait()
	s.mustAnswer(t, id)
	t.Logf("peak before %d MiB, after %d MiB", before>>20, s.peakMemory(t)>>20)
	s.mustStayBelow(t, 128<<20)
}

// sendHuge sends a body until the service answers or closes; status is 0 if it
// closed without an answer.
func (s *kmsService) sendHuge(t *testing.T, size int64, announced bool) (status int, sent int64) {
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Error(err)
		return 0, 0
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	head := "POST / HTTP/1.1\r\nHost: " + s.address + "\r\nX-Amz-Target: TrentService.Encrypt\r\nContent-Type: application/x-amz-json-1.1\r\n"
	chunk := bytes.Repeat([]byte("x"), 64<<10)
	if announced {
		head += fmt.Sprintf("Content-Length: %d\r\n\r\n", size)
	} else {
		head += "Transfer-Encoding: chunked\r\n\r\n"
		chunk = append(append([]byte("10000\r\n"), chunk...), "\r\n"...)
	}
	answered := make(chan int, 1)
	go func() {
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			answered <- 0
			return
		}
		answer.Body.Close()
		answered <- answer.StatusCode
	}()
	_, err = io.WriteString(conn, head)
	for err == nil && sent < size {
		var n int
		n, err = conn.Write(chunk)
		sent += int64(n)
	}
	return <-answered, sent
}

// mustAnswer has a good client use the service over a new connection.
func (s *kmsService) mustAnswer(t *testing.T, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client := s.client(t, "admin", kmsRegion)
	sealed, err := client.Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("good")})
	if err != nil {
		t.Fatalf("a good client: %v", err)
	}
	opened, err := client.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob})
	if err != nil || string(opened.Plaintext) != "good" {
		t.Fatalf("a good client: %v, %v", opened, err)
	}
}

func (s *kmsService) mustStayBelow(t *testing.T, limit int64) {
	t.Helper()
	peak := s.peakMemory(t)
	t.Logf("peak %d MiB of %d", peak>>20, limit>>20)
	if peak > limit {
		t.Errorf("the key service held %d MiB, want at most %d", peak>>20, limit>>20)
	}
}

// A crowd is many connections that do not get on with their requests.
type crowd struct{ conns []net.Conn }

// newCrowd connects count times; each connection sends one of the beginnings.
func newCrowd(t *testing.T, address string, count int, beginnings []string) *crowd {
	t.Helper()
	c := &crowd{conns: make([]net.Conn, count)}
	t.Cleanup(c.close)
	for i := range c.conns {
		conn, err := net.DialTimeout("tcp", address, time.Minute)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		c.conns[i] = conn
		io.WriteString(conn, beginnings[i%len(beginnings)]) // an error means that the service has had enough
	}
	return c
}

// dribble sends one more byte on every connection.
func (c *crowd) dribble() {
	for _, conn := range c.conns {
		conn.SetWriteDeadline(time.Now().Add(time.Second))
		conn.Write([]byte("x"))
	}
}

// open counts the connections that the service has not closed.
func (c *crowd) open() (n int) {
	for _, conn := range c.conns {
		raw, err := conn.(*net.TCPConn).SyscallConn()
		if err != nil {
			continue
		}
		closed := true
		raw.Control(func(fd uintptr) {
			_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			closed = !errors.Is(err, syscall.EAGAIN)
		})
		if !closed {
			n++
		}
	}
	return n
}

func (c *crowd) close() {
	for _, conn := range c.conns {
		if conn != nil {
			conn.Close()
		}
	}
}

// clientHello is the first flight of a TLS client.
func clientHello(t *testing.T) string {
	t.Helper()
	ours, theirs := net.Pipe()
	defer ours.Close()
	go func() {
		defer theirs.Close()
		tls.Client(theirs, &tls.Config{ServerName: "127.0.0.1"}).Handshake()
	}()
	hello := make([]byte, 4096)
	n, err := ours.Read(hello)
	if err != nil || n < 100 || !strings.HasPrefix(string(hello), "\x16\x03") {
		t.Fatalf("no client hello: %d bytes, %v", n, err)
	}
	return string(hello[:n])
}

// raiseFileLimit lets this process, and those that it starts, have n files open.
func raiseFileLimit(t *testing.T, n uint64) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Max < n {
		limit.Max = n
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatalf("%d files may not be open at a time (ulimit -Hn): %v", n, err)
	}
}
