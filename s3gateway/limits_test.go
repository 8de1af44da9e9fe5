// SPDX-License-Identifier: Apache-2.0

package s3gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/proxy"
	"github.com/sidekey/sidekey/proxy/datakey"
	"github.com/sidekey/sidekey/s3gateway"
)

// TestMaxRequests has the store hold requests until the gateway is full.
func TestMaxRequests(t *testing.T) {
	h := newHostileWith(t, func(c *s3gateway.Config) { c.MaxRequests = 3 })
	h.put(t, "k", content(100))
	entered, release := make(chan struct{}, 100), make(chan struct{})
	h.answers(func(w http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-release
		h.honest.ServeHTTP(w, r)
	})
	var held sync.WaitGroup
	for range 3 {
		held.Go(func() {
			if got, _, err := h.get(t, "k"); err != nil || !bytes.Equal(got, content(100)) {
				t.Errorf("a request that was held: %d bytes, %v", len(got), err)
			}
		})
		<-entered
	}
	answer, err := http.DefaultClient.Do(h.rawRequest(t, "GET", "/docs/k", "", nil))
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(answer.Body)
	answer.Body.Close()
	if answer.StatusCode != http.StatusServiceUnavailable || !bytes.Contains(text, []byte("<Code>SlowDown</Code>")) || answer.Header.Get("Retry-After") == "" {
		t.Errorf("one too many: got %s: %s", answer.Status, text)
	}
	if codes := h.lastCodes(t); !slices.Contains(codes, "SlowDown") {
		t.Errorf("on record: %v", codes)
	}
	_, err = h.app.PutObject(t.Context(), &s3.PutObjectInput{Bucket: docs, Key: aws.String("new"), Body: bytes.NewReader(content(1 << 20))})
	if code(err) != "SlowDown" {
		t.Errorf("an upload too many: %v", err)
	}
	if answer := h.options(t, "/docs/k", map[string]string{"Origin": "https://app.test", "Access-Control-Request-Method": "GET"}); answer.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a preflight too many: got %s", answer.Status)
	}
	// Who has not signed learns nothing of it and takes nobody's place.
	r := h.rawRequest(t, "GET", "/docs/k", "", nil)
	r.Header.Del("Authorization")
	if status, e := h.do(t, r); status != http.StatusForbidden {
		t.Errorf("unsigned: got %d %+v", status, e)
	}
	if len(entered) != 0 {
		t.Errorf("the store was asked %d times more", len(entered))
	}
	close(release)
	held.Wait()
	for range 10 { // more than there are slots: each is given back, after errors too
		if _, _, err := h.get(t, "k"); err != nil {
			t.Errorf("afterwards: %v", err)
		}
		if _, _, err := h.get(t, "absent"); code(err) != "NoSuchKey" {
			t.Errorf("afterwards: %v", err)
		}
	}
}

// never is a key service that nobody may need.
type never struct{}

var errNever = errors.New("the key service was asked")

func (never) GenerateDataKey(context.Context, *kms.GenerateDataKeyInput, ...func(*kms.Options)) (*kms.GenerateDataKeyOutput, error) {
	return nil, errNever
}

func (never) Decrypt(context.Context, *kms.DecryptInput, ...func(*kms.Options)) (*kms.DecryptOutput, error) {
	return nil, errNever
}

// pipes is a listener in memory, whose deadlines are those of the test's clock.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (*pipes) Addr() net.Addr { return &net.TCPAddr{} }

// TestSlowClients stop in the middle, under a clock that only runs while all wait:
// the answer, and that the connection is closed, come at an exact time.
func TestSlowClients(t *testing.T) {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	directory := t.TempDir()
	cfg := s3gateway.Config{
		Listen: "127.0.0.1:0", Region: region,
		Upstream: s3gateway.Upstream{Endpoint: "http://127.0.0.1:1", AccessKeyID: storeID, SecretAccessKeyFile: secretFile(t, storeKey)},
		Clients:  []s3gateway.Client{{Name: "app", AccessKeyID: appID, SecretAccessKeyFile: secretFile(t, appSecret)}},
	}
	for i, c := range []struct {
		name string
		send func(*testing.T, net.Conn)
		want time.Duration // until the connection is closed
		code string
	}{
		{"nothing", func(*testing.T, net.Conn) {}, 15 * time.Second, ""},
		{"half a header", func(_ *testing.T, conn net.Conn) { io.WriteString(conn, "PUT /docs/k HTTP/1.1\r\nHost:") }, 15 * time.Second, ""},
		{"a header by and by", func(_ *testing.T, conn net.Conn) {
			for range 100 {
				if _, err := io.WriteString(conn, "P"); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}, 15 * time.Second, ""},
		{"half a body", func(t *testing.T, conn net.Conn) {
			s := &stack{endpoint: "http://h"}
			var b bytes.Buffer
			s.rawRequest(t, "POST", "/docs?delete", "content", nil).Write(&b)
			conn.Write(b.Bytes()[:b.Len()-3])
		}, 2*time.Minute + 5*time.Second, "RequestTimeout"},
		{"a body that nobody wants", func(t *testing.T, conn net.Conn) {
			io.WriteString(conn, "PUT /docs/k HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nc")
		}, 5 * time.Second, "AccessDenied"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				records, err := audit.Open(audit.Config{Dir: filepath.Join(directory, fmt.Sprint(i))}, "sidekey-proxy", log)
				if err != nil {
					t.Fatal(err)
				}
				defer records.Close()
				keys, err := datakey.NewCache(datakey.Config{}, never{}, log)
				if err != nil {
					t.Fatal(err)
				}
				defer keys.Close()
				rules := proxy.Rules{Objects: []proxy.ObjectRule{{Bucket: "*", KeyID: "k"}}}
				gateway, err := s3gateway.New(cfg, proxy.NewCipher(rules, keys, records), records, log)
				if err != nil {
					t.Fatal(err)
				}
				ctx, stop := context.WithCancel(t.Context())
				listener := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
				ended := make(chan error, 1)
				go func() { ended <- proxy.ServeHTTP(ctx, listener, gateway, log) }()
				ours, theirs := net.Pipe()
				listener.conns <- theirs
				begin := time.Now()
				var sender sync.WaitGroup
				sender.Go(func() { c.send(t, ours) })
				text, err := io.ReadAll(bufio.NewReader(ours))
				if took := time.Since(begin); err != nil || took != c.want {
					t.Errorf("closed after %v, want %v; %v", took, c.want, err)
				}
				if c.code == "" && len(text) > 0 && !bytes.HasPrefix(text, []byte("HTTP/1.1 4")) || !strings.Contains(string(text), c.code) {
					t.Errorf("the answer is %q, want %s", text, c.code)
				}
				ours.Close()
				sender.Wait()
				stop()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		})
	}
}
