// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/sidekey/sidekey/keysvc"
)

// BenchmarkOperations measures one handler call, signature and durable record
// included, against SoftHSM and against the same cipher in this process. The
// difference is the HSM's; cpu-us/op counts all threads.
func BenchmarkOperations(b *testing.B) {
	for name, tok := range map[string]keysvc.Token{"SoftHSM": token, "host": hostToken{}} {
		dir := b.TempDir()
		s := &server{t: b, dir: dir, token: tok, cfg: config(b, dir)}
		s.start()
		id, _ := s.newKey()
		enc, err := s.admin().Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: make([]byte, 32), EncryptionContext: map[string]string{"tenant": "42"}})
		must(b, err)
		blob := base64.StdEncoding.EncodeToString(enc.CiphertextBlob)
		for op, body := range map[string]string{
			"Encrypt":         `{"KeyId":"` + id + `","Plaintext":"` + base64.StdEncoding.EncodeToString(make([]byte, 32)) + `","EncryptionContext":{"tenant":"42"}}`,
			"Decrypt":         `{"CiphertextBlob":"` + blob + `","EncryptionContext":{"tenant":"42"}}`,
			"GenerateDataKey": `{"KeyId":"` + id + `","KeySpec":"AES_256","EncryptionContext":{"tenant":"42"}}`,
		} {
			b.Run(name+"/"+op, func(b *testing.B) { benchmark(b, s, op, body) })
		}
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
