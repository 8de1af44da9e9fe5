// SPDX-License-Identifier: Apache-2.0

package s3gateway_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/sidekey/sidekey/hsm"
	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/keysvc/keysvctest"
	"github.com/sidekey/sidekey/proxy"
	"github.com/sidekey/sidekey/proxy/datakey"
	"github.com/sidekey/sidekey/s3gateway"
)

const (
	appID     = "AKIDAPP"
	appSecret = "app-secret-0123456789"
	storeID   = "AKIDSTORE"
	storeKey  = "store-secret-0123456789"
	region    = "eu-central-1"
	bucket    = "docs"
)

// lease is how long a gateway of the tests uses a data key without asking.
const lease = 500 * time.Millisecond

// token is that of all key services of the package.
var token *hsm.Token

func TestMain(m *testing.M) { os.Exit(keysvctest.Main(m, &token)) }

// stack is a gateway before a store.
type stack struct {
	kms                 *keysvctest.Server
	faults              *keysvctest.Faulty // between the gateway and kms
	ruleKey, anotherKey string             // ARNs
	app                 *s3.Client         // through the gateway
	store               *s3.Client         // around it
	endpoint            string             // of the gateway
	gateway             http.Handler
	keys                *datakey.Cache
	audit               *audit.Log
	auditDir            string
	config              s3gateway.Config
	rules               proxy.Rules
	full                bool // the store implements conditional requests and the like
}

func client(endpoint, id, secret string, options ...func(*s3.Options)) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: &endpoint, Region: region, UsePathStyle: true,
		RetryMaxAttempts: 1,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: id, SecretAccessKey: secret}, nil
		}),
	}, options...)
}

// withChecksums are the SDK's defaults for a client made from its configuration.
func withChecksums(o *s3.Options) {
	o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenSupported
	o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenSupported
}

func secretFile(t testing.TB, secret string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// newStack starts a gateway before the store at endpoint, with a bucket.
func newStack(t testing.TB, storeEndpoint string, edit ...func(*s3gateway.Config)) *stack {
	t.Helper()
	return newStackWith(t, storeEndpoint, func(*proxy.ObjectRule) {}, edit...)
}

// newForeignStack is a gateway before MinIO, of a bucket with that mode of foreign
// objects.
func newForeignStack(t testing.TB, mode string) *stack {
	t.Helper()
	s := newStackWith(t, startMinIO(t), func(r *proxy.ObjectRule) { r.Foreign = mode })
	s.full = true
	return s
}

// newStackWith is newStack with a rule of the bucket that rule has changed.
func newStackWith(t testing.TB, storeEndpoint string, rule func(*proxy.ObjectRule), edit ...func(*s3gateway.Config)) *stack {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	s := &stack{kms: keysvctest.Start(t, token), auditDir: filepath.Join(t.TempDir(), "audit")}
	s.faults = &keysvctest.Faulty{KMS: s.kms.Client()}
	_, s.ruleKey = s.kms.CreateKey(t)
	_, s.anotherKey = s.kms.CreateKey(t)
	var err error
	if s.audit, err = audit.Open(audit.Config{Dir: s.auditDir}, "sidekey-proxy", log); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.audit.Close() })
	keys, err := datakey.NewCache(datakey.Config{Lease: lease, MaxAge: time.Minute}, s.faults, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { keys.Close() })
	rules := proxy.Rules{Objects: []proxy.ObjectRule{{Bucket: bucket, KeyID: s.ruleKey}, {Bucket: "other-bucket", KeyID: s.ruleKey}}}
	rule(&rules.Objects[0])
	cfg := s3gateway.Config{
		Listen: "127.0.0.1:0", Region: region, Domains: []string{"s3.test"},
		Upstream: s3gateway.Upstream{Endpoint: storeEndpoint, Region: region, AccessKeyID: storeID, SecretAccessKeyFile: secretFile(t, storeKey)},
		Clients:  []s3gateway.Client{{Name: "app", AccessKeyID: appID, SecretAccessKeyFile: secretFile(t, appSecret)}},
	}
	for _, f := range edit {
		f(&cfg)
	}
	gateway, err := s3gateway.New(cfg, proxy.NewCipher(rules, keys, s.audit), s.audit, log)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gateway)
	t.Cleanup(server.Close)
	s.endpoint, s.gateway, s.config, s.rules, s.keys = server.URL, gateway, cfg, rules, keys
	s.app = client(server.URL, appID, appSecret, withChecksums)
	s.store = client(storeEndpoint, storeID, storeKey)
	if _, err := s.app.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(bucket)}); err != nil {
		t.Fatalf("creating the bucket: %v", err)
	}
	return s
}

// newMemoryStack is a gateway before a store in memory.
func newMemoryStack(t testing.TB, edit ...func(*s3gateway.Config)) *stack {
	t.Helper()
	store := httptest.NewServer(gofakes3.New(s3mem.New()).Server())
	t.Cleanup(store.Close)
	return newStack(t, store.URL, edit...)
}

// newMinIOStack is a gateway before MinIO.
func newMinIOStack(t testing.TB, edit ...func(*s3gateway.Config)) *stack {
	t.Helper()
	s := newStack(t, startMinIO(t), edit...)
	s.full = true
	return s
}

func minioBinary(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("SIDEKEY_MINIO"); path != "" {
		return path
	}
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		cache = filepath.Join(os.Getenv("HOME"), ".cache")
	}
	found, _ := filepath.Glob(filepath.Join(cache, "sidekey", "minio*"))
	for _, path := range found {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o100 != 0 {
			return path
		}
	}
	t.Fatal("no MinIO: name its binary in SIDEKEY_MINIO, or let `make test` build it")
	return ""
}

func startMinIO(t testing.TB) string {
	t.Helper()
	address, err := keysvctest.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(minioBinary(t), "server", "--address", address, t.TempDir())
	command.Env = append(os.Environ(), "MINIO_ROOT_USER="+storeID, "MINIO_ROOT_PASSWORD="+storeKey,
		"MINIO_UPDATE=off", "MINIO_BROWSER=off", "MINIO_CI_CD=1", "MINIO_REGION_NAME="+region)
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		command.Process.Kill()
		command.Wait()
	})
	// Its health endpoint is ready before its API is.
	store := client("http://"+address, storeID, storeKey)
	for range 300 {
		if _, err := store.ListBuckets(t.Context(), &s3.ListBucketsInput{}); err == nil {
			return "http://" + address
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("MinIO does not become ready: %s", output.String())
	return ""
}

func content(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8*13 + i>>16)
	}
	return b
}

func (s *stack) put(t testing.TB, key string, body []byte, edit ...func(*s3.PutObjectInput)) *s3.PutObjectOutput {
	t.Helper()
	in := &s3.PutObjectInput{Bucket: aws.String(bucket), Key: &key, Body: bytes.NewReader(body)}
	for _, f := range edit {
		f(in)
	}
	out, err := s.app.PutObject(t.Context(), in)
	if err != nil {
		t.Fatalf("putting %s: %v", key, err)
	}
	return out
}

// get returns what arrived, also if the body broke off.
func (s *stack) get(t testing.TB, key string, edit ...func(*s3.GetObjectInput)) ([]byte, *s3.GetObjectOutput, error) {
	t.Helper()
	in := &s3.GetObjectInput{Bucket: aws.String(bucket), Key: &key}
	for _, f := range edit {
		f(in)
	}
	out, err := s.app.GetObject(t.Context(), in)
	if err != nil {
		return nil, nil, err
	}
	defer out.Body.Close()
	body, err := io.ReadAll(out.Body)
	return body, out, err
}

// stored is an object as the store has it.
type stored struct {
	body     []byte
	metadata map[string]string
}

func (s *stack) stored(t testing.TB, key string) stored {
	t.Helper()
	out, err := s.store.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(bucket), Key: &key})
	if err != nil {
		t.Fatalf("reading %s from the store: %v", key, err)
	}
	defer out.Body.Close()
	body, err := io.ReadAll(out.Body)
	if err != nil {
		t.Fatal(err)
	}
	return stored{body: body, metadata: out.Metadata}
}

func (s *stack) overwrite(t testing.TB, key string, o stored) {
	t.Helper()
	// The store in memory merges the metadata of what it overwrites.
	_, err := s.store.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String(bucket), Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.store.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: &key, Body: bytes.NewReader(o.body), Metadata: o.metadata})
	if err != nil {
		t.Fatalf("overwriting %s in the store: %v", key, err)
	}
}

// mustBeAbsent fails if the store has the object.
func (s *stack) mustBeAbsent(t testing.TB, key string) {
	t.Helper()
	out, err := s.store.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(bucket), Key: &key})
	if err == nil {
		t.Errorf("%s exists with %d bytes", key, *out.ContentLength)
	}
}

// lastCodes returns the error codes of the latest operation on record.
func (s *stack) lastCodes(t testing.TB) []string {
	t.Helper()
	summaries, err := audit.List([]string{s.auditDir}, 1)
	if err != nil || len(summaries) != 1 {
		t.Fatalf("reading the record: %d, %v", len(summaries), err)
	}
	return summaries[0].Codes
}

// replica is another gateway before the same store, with the same key service.
func (s *stack) replica(t testing.TB) *stack {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	dir := filepath.Join(t.TempDir(), "audit")
	records, err := audit.Open(audit.Config{Dir: dir}, "sidekey-proxy", log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { records.Close() })
	keys, err := datakey.NewCache(datakey.Config{Lease: lease, MaxAge: time.Minute}, s.kms.Client(), log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { keys.Close() })
	gateway, err := s3gateway.New(s.config, proxy.NewCipher(s.rules, keys, records), records, log)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gateway)
	t.Cleanup(server.Close)
	other := *s
	other.endpoint, other.gateway, other.audit, other.auditDir = server.URL, gateway, records, dir
	other.app = client(server.URL, appID, appSecret, withChecksums)
	return &other
}
