// SPDX-License-Identifier: Apache-2.0

package s3gateway_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sidekey/sidekey/proxy"
	"github.com/sidekey/sidekey/s3gateway"
)

// migration is a store with something between it and the migrator.
type migration struct {
	*stack
	cipher *proxy.Cipher
	output bytes.Buffer

	mu     sync.Mutex
	before func(r *http.Request)         // guarded by mu: sees requests of the migrator
	answer func(r *http.Request) []byte  // guarded by mu: answers in the store's place if not nil
	after  func(response *http.Response) // guarded by mu: sees the store's answers
	seen   []string                      // guarded by mu: method and key, of PUT, POST and DELETE
}

func newMigration(t testing.TB, s *stack) *migration {
	t.Helper()
	m := &migration{stack: s}
	rules := proxy.Rules{Objects: []proxy.ObjectRule{
		{Bucket: "ruled", Prefix: "in/", KeyID: s.ruleKey},
		{Bucket: "docs", KeyID: s.ruleKey}, {Bucket: "versioned", KeyID: s.ruleKey}, {Bucket: "locked", KeyID: s.ruleKey},
	}}
	m.cipher = proxy.NewCipher(rules, s.keys, s.audit)
	gateway, err := s3gateway.New(s.config, m.cipher, s.audit, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gateway)
	t.Cleanup(server.Close)
	s.app = client(server.URL, appID, appSecret, withChecksums)
	store, _ := url.Parse(s.config.Upstream.Endpoint)
	between := httptest.NewServer(m.between(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(store)
			r.Out.Host = r.In.Host // it is signed
		},
		ModifyResponse: func(response *http.Response) error {
			if f := m.hooks().after; f != nil {
				f(response)
			}
			return nil
		},
		ErrorLog:      slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		FlushInterval: -1,
		Transport:     &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 16},
	}))
	t.Cleanup(between.Close)
	m.config.Upstream.Endpoint = between.URL
	return m
}

type hooks struct {
	before func(*http.Request)
	answer func(*http.Request) []byte
	after  func(*http.Response)
}

func (m *migration) hooks() hooks {
	m.mu.Lock()
	defer m.mu.Unlock()
	return hooks{m.before, m.answer, m.after}
}

func (m *migration) hook(t testing.TB, h hooks) {
	t.Helper()
	set := func(h hooks) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.before, m.answer, m.after = h.before, h.answer, h.after
	}
	set(h)
	t.Cleanup(func() { set(hooks{}) })
}

func (m *migration) between(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead && !strings.Contains(r.URL.Path, "~sidekey") && !r.URL.Query().Has("delete") {
			m.mu.Lock()
			m.seen = append(m.seen, r.Method+" "+r.URL.Path)
			m.mu.Unlock()
		}
		h := m.hooks()
		if h.before != nil {
			h.before(r)
		}
		if h.answer != nil {
			if text := h.answer(r); text != nil {
				w.Write(text)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// writes returns what changed at the store through the migrator since it was last asked.
func (m *migration) writes() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	seen := m.seen
	m.seen = nil
	return seen
}

func (m *migration) start(t testing.TB, ctx context.Context, o s3gateway.MigrateOptions) (s3gateway.MigrateSummary, error) {
	t.Helper()
	m.output.Reset()
	if o.Output == nil {
		o.Output = &m.output
	}
	migrator, err := s3gateway.NewMigrator(m.config, o, m.cipher, m.audit, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	migrator.Hurry(20*time.Millisecond, 300*time.Millisecond)
	return migrator.Run(ctx)
}

// migrate runs to the end.
func (m *migration) migrate(t testing.TB, o s3gateway.MigrateOptions) s3gateway.MigrateSummary {
	t.Helper()
	summary, err := m.start(t, t.Context(), o)
	if err != nil {
		t.Fatalf("migrating: %v\n%s", err, m.output.String())
	}
	return summary
}

func (m *migration) want(t testing.TB, got, want s3gateway.MigrateSummary) {
	t.Helper()
	if got != want {
		t.Errorf("got  %+v\nwant %+v\n%s", got, want, m.output.String())
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// plain puts an object past the gateway.
func (m *migration) plain(t testing.TB, in s3.PutObjectInput, body []byte) *s3.PutObjectOutput {
	t.Helper()
	in.Body = bytes.NewReader(body)
	out, err := m.store.PutObject(t.Context(), &in)
	if err != nil {
		t.Fatalf("putting %s: %v", *in.Key, err)
	}
	return out
}

// plainParts puts a multipart object past the gateway.
func (m *migration) plainParts(t testing.TB, in s3.CreateMultipartUploadInput, numbers []int32, bodies ...[]byte) {
	t.Helper()
	begun, err := m.store.CreateMultipartUpload(t.Context(), &in)
	if err != nil {
		t.Fatal(err)
	}
	var parts []types.CompletedPart
	for i, body := range bodies {
		out, err := m.store.UploadPart(t.Context(), &s3.UploadPartInput{
			Bucket: in.Bucket, Key: in.Key, UploadId: begun.UploadId, PartNumber: &numbers[i], Body: bytes.NewReader(body), ChecksumAlgorithm: in.ChecksumAlgorithm,
		})
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, types.CompletedPart{PartNumber: &numbers[i], ETag: out.ETag, ChecksumCRC32: out.ChecksumCRC32, ChecksumCRC64NVME: out.ChecksumCRC64NVME})
	}
	if _, err := m.store.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{
		Bucket: in.Bucket, Key: in.Key, UploadId: begun.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	}); err != nil {
		t.Fatal(err)
	}
}

// read is an object as a client sees it.
func (m *migration) read(t testing.TB, c *s3.Client, bucketName, key string) ([]byte, *s3.GetObjectOutput) {
	t.Helper()
	out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucketName, Key: &key, ChecksumMode: types.ChecksumModeEnabled})
	if err != nil {
		t.Fatalf("reading %s: %v", key, err)
	}
	defer out.Body.Close()
	body, err := io.ReadAll(out.Body)
	if err != nil {
		t.Fatalf("reading %s: %v", key, err)
	}
	return body, out
}

// mustBeSealed fails if the store has the object in plaintext, or if it does not open
// as that.
func (m *migration) mustBeSealed(t testing.TB, bucketName, key string, plain []byte) {
	t.Helper()
	raw, head := m.read(t, m.store, bucketName, key)
	if head.Metadata["sidekey"] == "" || len(plain) >= 16 && bytes.Contains(raw, plain[:16]) {
		t.Errorf("%s is not sealed", key)
		return
	}
	if got, _ := m.read(t, m.app, bucketName, key); !bytes.Equal(got, plain) {
		t.Errorf("%s: %d bytes with SHA-256 %s, want %d with %s", key, len(got), sum(got), len(plain), sum(plain))
	}
}

// mustBePlain fails if the store has anything but that.
func (m *migration) mustBePlain(t testing.TB, bucketName, key string, plain []byte) {
	t.Helper()
	raw, head := m.read(t, m.store, bucketName, key)
	if head.Metadata["sidekey"] != "" || !bytes.Equal(raw, plain) {
		t.Errorf("%s: %d bytes, metadata %v, want the plaintext", key, len(raw), head.Metadata)
	}
}

func (m *migration) makeBucket(t testing.TB, in s3.CreateBucketInput, versioned bool) string {
	t.Helper()
	if _, err := m.store.CreateBucket(t.Context(), &in); err != nil {
		t.Fatal(err)
	}
	if versioned {
		_, err := m.store.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{Bucket: in.Bucket, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}})
		if err != nil {
			t.Fatal(err)
		}
	}
	return aws.ToString(in.Bucket)
}
