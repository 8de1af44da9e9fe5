// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/sidekey/sidekey/keysvc"
	"github.com/sidekey/sidekey/keysvc/store"
)

// BenchmarkOperations measures one handler call, signature and durable record
// included, against SoftHSM and against the same cipher in this process. The
// difference is the HSM's; cpu-us/op counts all threads.
func BenchmarkOperations(b *testing.B) {
	for name, tok := range map[string]keysvc.Token{"SoftHSM": token, "host": hostToken{}} {
		dir := b.TempDir()
		s := &server{t: b, dir: dir, token: tok, cfg: config(b, dir)}
		s.start()
		for op, body := range bodies(b, s) {
			b.Run(name+"/"+op, func(b *testing.B) { benchmark(b, s, op, body) })
		}
	}
}

// bodies makes a key and returns requests that use it.
func bodies(b *testing.B, s *server) map[string]string {
	b.Helper()
	id, _ := s.newKey()
	enc, err := s.admin().Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: make([]byte, 32), EncryptionContext: map[string]string{"tenant": "42"}})
	must(b, err)
	blob := base64.StdEncoding.EncodeToString(enc.CiphertextBlob)
	return map[string]string{
		"Encrypt":         `{"KeyId":"` + id + `","Plaintext":"` + base64.StdEncoding.EncodeToString(make([]byte, 32)) + `","EncryptionContext":{"tenant":"42"}}`,
		"Decrypt":         `{"CiphertextBlob":"` + blob + `","EncryptionContext":{"tenant":"42"}}`,
		"GenerateDataKey": `{"KeyId":"` + id + `","KeySpec":"AES_256","EncryptionContext":{"tenant":"42"}}`,
	}
}

func benchmark(b *testing.B, s *server, op, body string) {
	handler := s.svc.Handler()
	signed := s.signed(op, body, time.Now(), adminID, secret)
	signed.Host = signed.URL.Host
	b.ReportAllocs()
	b.SetParallelism(8) // group commit wants company
	before := cpuTime(b)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r := signed.Clone(ctx)
			r.RequestURI = "/"
			r.Body = io.NopCloser(strings.NewReader(body))
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if w.Code != http.StatusOK {
				b.Errorf("%d: %s", w.Code, w.Body)
				return
			}
		}
	})
	b.StopTimer()
	b.ReportMetric(float64(cpuTime(b)-before)/1e3/float64(b.N), "cpu-us/op")
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkServed measures the whole service as a process of its own, over 16
// connections that send requests signed beforehand: cpu-us/op is the CPU time of
// that process alone. With SIDEKEY_BENCH_PROFILES naming a directory, the
// process leaves its profiles there.
func BenchmarkServed(b *testing.B) {
	if name := os.Getenv(servedEnv); name != "" {
		serveBenchmark(b, name)
		return
	}
	for _, name := range []string{"SoftHSM", "host"} {
		b.Run(name, func(b *testing.B) {
			target := startServed(b, name)
			for op, body := range target.Bodies {
				b.Run(op, func(b *testing.B) { target.measure(b, op, body) })
			}
		})
	}
}

const (
	servedEnv   = "SIDEKEY_BENCH_TOKEN" // in the process that serves: which token
	connections = 16
)

// served is the service under measurement. What is exported comes from it.
type served struct {
	URL    string
	Bodies map[string]string // of requests, by operation
	pid    int
}

// serveBenchmark is what the process that serves does until its input ends.
func serveBenchmark(b *testing.B, name string) {
	tok := map[string]keysvc.Token{"SoftHSM": token, "host": hostToken{}}[name]
	ballast := make([]byte, 32<<20) // as the command has
	defer runtime.KeepAlive(ballast)
	dir := b.TempDir()
	s := &server{t: b, dir: dir, token: tok, cfg: config(b, dir)}
	s.start()
	must(b, json.NewEncoder(os.NewFile(3, "target")).Encode(served{URL: s.url, Bodies: bodies(b, s)}))
	_, err := io.Copy(io.Discard, os.Stdin)
	must(b, err)
}

func startServed(b *testing.B, name string) *served {
	b.Helper()
	args := []string{"-test.run=^$", "-test.bench=^BenchmarkServed$", "-test.benchtime=1x"}
	if dir := os.Getenv("SIDEKEY_BENCH_PROFILES"); dir != "" {
		args = append(args, "-test.cpuprofile="+filepath.Join(dir, name+".cpu"),
			"-test.memprofile="+filepath.Join(dir, name+".mem"))
	}
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), servedEnv+"="+name)
	answer, to, err := os.Pipe()
	must(b, err)
	cmd.ExtraFiles, cmd.Stderr = []*os.File{to}, os.Stderr
	stdin, err := cmd.StdinPipe()
	must(b, err)
	must(b, cmd.Start())
	b.Cleanup(func() { must(b, errors.Join(stdin.Close(), cmd.Wait())) })
	to.Close()
	target := &served{}
	must(b, json.NewDecoder(answer).Decode(target))
	target.pid = cmd.Process.Pid
	return target
}

// cpu is the CPU time that the process has used, by clock_getcpuclockid(3).
func (t *served) cpu(b *testing.B) time.Duration {
	var ts unix.Timespec
	must(b, unix.ClockGettime(int32(^t.pid<<3|2), &ts))
	return time.Duration(ts.Nano())
}

func (t *served) measure(b *testing.B, op, body string) {
	signer := &server{t: b, url: t.URL}
	r := signer.signed(op, body, time.Now(), adminID, secret)
	var request bytes.Buffer
	must(b, r.Write(&request))
	var left atomic.Int64
	left.Store(int64(b.N))
	before := t.cpu(b)
	b.ResetTimer()
	var group sync.WaitGroup
	for range connections {
		group.Go(func() {
			if err := exchange(r.URL.Host, request.Bytes(), &left); err != nil {
				b.Error(err)
			}
		})
	}
	group.Wait()
	b.StopTimer()
	b.ReportMetric(float64(t.cpu(b)-before)/1e3/float64(b.N), "cpu-us/op")
}

// exchange sends the request again and again on one connection.
func exchange(address string, request []byte, left *atomic.Int64) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	answers := textproto.NewReader(bufio.NewReader(conn))
	for left.Add(-1) >= 0 {
		if _, err := conn.Write(request); err != nil {
			return err
		}
		if err := skipAnswer(answers); err != nil {
			return err
		}
	}
	return nil
}

func skipAnswer(r *textproto.Reader) error {
	status, err := r.ReadLineBytes()
	if err != nil || string(status) != "HTTP/1.1 200 OK" {
		return fmt.Errorf("answer %q: %w", status, err)
	}
	length := 0
	for {
		line, err := r.ReadLineBytes()
		if err != nil {
			return err
		}
		if len(line) == 0 {
			_, err := r.R.Discard(length)
			return err
		}
		if n, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(n)); err != nil {
				return err
			}
		}
	}
}

// BenchmarkDescribeKey describes keys, each time another one, of stores that
// hold 1,000 and 1,000,000: the larger does not fit the copies in memory.
func BenchmarkDescribeKey(b *testing.B) {
	for _, keys := range []int{1_000, 1_000_000} {
		dir := b.TempDir()
		s := &server{t: b, dir: dir, token: hostToken{}, cfg: config(b, dir)}
		s.start()
		ids := fillStore(b, s, keys)
		signed := make([]*http.Request, 50_000)
		for i := range signed {
			signed[i] = s.signed("DescribeKey", `{"KeyId":"`+ids[i*7919%len(ids)]+`"}`, time.Now(), adminID, secret)
			signed[i].Host, signed[i].RequestURI = signed[i].URL.Host, "/"
		}
		b.Run(fmt.Sprintf("%d keys", keys), func(b *testing.B) {
			handler := s.svc.Handler()
			var next atomic.Int64
			b.SetParallelism(8)
			before := cpuTime(b)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					i := next.Add(1) * 7919 % int64(len(signed))
					r := signed[i].Clone(ctx)
					r.Body, _ = signed[i].GetBody()
					w := httptest.NewRecorder()
					handler.ServeHTTP(w, r)
					if w.Code != http.StatusOK {
						b.Errorf("%d: %s", w.Code, w.Body)
						return
					}
				}
			})
			b.ReportMetric(float64(cpuTime(b)-before)/1e3/float64(b.N), "cpu-us/op")
		})
		s.stop()
	}
}

// fillStore adds keys without material, many in a transaction, and returns
// their IDs.
func fillStore(b *testing.B, s *server, keys int) []string {
	b.Helper()
	first, _ := s.newKey()
	like, err := s.store.Key(ctx, refOf(first))
	must(b, err)
	ids := []string{first}
	for len(ids) < keys {
		_, err := s.store.Update(ctx, like.Ref, func(tx *store.Tx, _ *store.Key) error {
			for range min(10_000, keys-len(ids)) {
				k := *like
				k.ID = uuid.New()
				ids = append(ids, k.ID.String())
				if err := tx.CreateKey(k); err != nil {
					return err
				}
			}
			return nil
		})
		must(b, err)
	}
	return ids
}
