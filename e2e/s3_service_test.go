// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// An s3Store is a real S3 server that holds the ciphertext.
type s3Store struct {
	endpoint string
	access   s3Access
	literal  bool // gives names in listings as they are, also where they are to be encoded
}

// An s3Access is an access key and its secret.
type s3Access struct{ id, secret string }

// sharedStore is the MinIO of the shared stack.
func sharedStore(t testing.TB) s3Store {
	return s3Store{endpoint: shared.env["UPSTREAM_S3_ENDPOINT"], access: s3Access{"AKIADEVUPSTREAM00000", shared.secret(t, "upstream")}}
}

// An s3Service is a sidecar in a process of its own, before a store, as clients
// see it. What it writes is below the shared stack's directory, where a test
// searches for plaintext.
type s3Service struct {
	*process
	testCA
	dir      string
	config   string
	address  string
	access   s3Access
	store    s3Store
	canary   string // is in every object, and nowhere else
	brief    bool   // the round is a short one, of the binary as it is deployed
	unsealed bool   // clients talk to the store itself, which shows what is the store's doing

	mu      sync.Mutex
	buckets []string // to be removed; guarded by mu
}

// An s3Setup is how a sidecar is started.
type s3Setup struct {
	overTLS, brief bool
}

// startS3 starts a sidecar before store. With SIDEKEY_E2E_UNSEALED set there is
// none: a test that fails then too expects what the store does not do.
func startS3(t *testing.T, store s3Store, setup s3Setup) *s3Service {
	t.Helper()
	s := &s3Service{store: store, address: freeAddress(t), brief: setup.brief}
	s.access = s3Access{"AKIADEVAPP0000000000", shared.secret(t, "app")}
	s.dir = dirBelow(t, shared.dir, "s3-")
	if os.Getenv("SIDEKEY_E2E_UNSEALED") != "" && !setup.overTLS {
		s.unsealed, s.access, s.address = true, store.access, hostOf(store.endpoint)
		s.canary = "canary-that-is-stored"
		t.Cleanup(func() { s.removeBuckets(t) })
		return s
	}
	t.Cleanup(func() { s.removeBuckets(t) })
	s.canary = canary(t, shared) // searched for before they are removed
	s.config = s.writeConfig(t, setup.overTLS)
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.end(t) })
	return s
}

// dirBelow makes a directory that is removed when the test ends.
func dirBelow(t testing.TB, parent, prefix string) string {
	t.Helper()
	dir, err := os.MkdirTemp(parent, prefix)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// writeConfig writes the shared sidecar's configuration with the S3 listener
// and upstream of this one, and without its other protocols.
func (s *s3Service) writeConfig(t *testing.T, overTLS bool) string {
	t.Helper()
	listen := "listen: " + s.address
	if overTLS {
		cert, key := s.testCA.write(t, s.dir)
		listen += "\n  tls: {cert_file: " + cert + ", key_file: " + key + "}"
	}
	secret := filepath.Join(s.dir, "upstream.secret")
	writeFileAt(t, secret, s.store.access.secret)
	text := readFile(t, shared.path("proxy.yaml"))
	text = text[:strings.Index(text, "\npostgres:")+1]
	path := filepath.Join(s.dir, "proxy.yaml")
	writeFileAt(t, path, replaceIn(t, text,
		"listen: "+hostOf(shared.env["S3_ENDPOINT"]), listen,
		"endpoint: "+shared.env["UPSTREAM_S3_ENDPOINT"], "endpoint: "+s.store.endpoint,
		"AKIADEVUPSTREAM00000", s.store.access.id,
		shared.path("upstream.secret"), secret,
		shared.path("audit-proxy"), filepath.Join(s.dir, "audit")))
	return path
}

func (s *s3Service) start() (err error) {
	binary := raceBinary
	if s.brief {
		binary = plainBinary
	}
	s.process, err = startProcess(filepath.Join(s.dir, "proxy.log"), nil, binary, "proxy", "--config", s.config)
	if err != nil {
		return err
	}
	return s.waitForAddress(s.address)
}

// end stops the sidecar and looks for signs of a crash in its log.
func (s *s3Service) end(t *testing.T) {
	s.stop(syscall.SIGTERM)
	log := readFile(t, s.logPath)
	for _, sign := range []string{"WARNING: DATA RACE", "panic", "fatal error:", "SIGSEGV"} {
		if at := strings.Index(log, sign); at >= 0 {
			t.Errorf("the sidecar's log holds %q:\n%.4000s", sign, log[max(0, at-1000):])
		}
	}
	if t.Failed() {
		t.Logf("the end of the sidecar's log:\n%s", log[max(0, len(log)-3000):])
	}
}

func (s *s3Service) endpoint() string {
	if s.caFile != "" {
		return "https://" + s.address
	}
	return "http://" + s.address
}

// client is the SDK's client of the sidecar, as an application has it.
func (s *s3Service) client(t testing.TB, options ...func(*s3.Options)) *s3.Client {
	t.Helper()
	return newS3Client(t, s.endpoint(), s.access, s.transport(t), options...)
}

// transport trusts the CA of this service alone.
func (s *s3Service) transport(t testing.TB) *http.Transport {
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.roots}, DialContext: (&net.Dialer{}).DialContext, MaxIdleConnsPerHost: 16}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// client is the SDK's client of the store itself.
func (s s3Store) client(t testing.TB) *s3.Client {
	t.Helper()
	return newS3Client(t, s.endpoint, s.access, http.DefaultTransport)
}

func newS3Client(t testing.TB, endpoint string, access s3Access, transport http.RoundTripper, options ...func(*s3.Options)) *s3.Client {
	t.Helper()
	return s3.New(s3.Options{
		Region: "us-east-1", UsePathStyle: true, BaseEndpoint: &endpoint,
		HTTPClient:  &http.Client{Transport: transport, Timeout: 2 * time.Minute},
		Credentials: credentials.NewStaticCredentialsProvider(access.id, access.secret, ""),
	}, options...)
}

// bucket makes a bucket, which is there until the service ends.
func (s *s3Service) bucket(t *testing.T, name string) string {
	t.Helper()
	name = fmt.Sprintf("%s-%s", name, strings.ReplaceAll(s.address[len("127.0.0.1:"):], ":", "-"))
	if _, err := s.client(t).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &name}); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buckets = append(s.buckets, name)
	return name
}

// removeBuckets empties and removes all buckets at the store.
func (s *s3Service) removeBuckets(t *testing.T) {
	for _, bucket := range s.buckets {
		removeBucket(t, s.store.client(t), bucket)
	}
}

func removeBucket(t *testing.T, store *s3.Client, bucket string) {
	t.Helper()
	ctx := context.Background() // the test's own has ended
	for _, object := range listAll(ctx, t, store, bucket) {
		if _, err := store.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: object.Key}); err != nil {
			t.Error(err)
		}
	}
	uploads, err := store.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: &bucket})
	if err == nil {
		for _, upload := range uploads.Uploads {
			store.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &bucket, Key: upload.Key, UploadId: upload.UploadId})
		}
	}
	if _, err := store.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &bucket}); err != nil {
		t.Error(err)
	}
}

func listAll(ctx context.Context, t testing.TB, client *s3.Client, bucket string) (objects []types.Object) {
	t.Helper()
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: &bucket})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, page.Contents...)
	}
	return objects
}

// text is size bytes that hold the canary again and again and are nowhere the
// same: each line names the object and its own number.
func (s *s3Service) text(name string, size int) []byte {
	line := len(fmt.Sprintf("%s %s %012d\n", s.canary, name, 0))
	text := make([]byte, 0, size+line)
	for n := 0; len(text) < size; n++ {
		text = fmt.Appendf(text, "%s %s %012d\n", s.canary, name, n)
	}
	return text[:size]
}

// hiddenPrefix is under what names the gateway keeps objects of its own, which
// no client sees.
const hiddenPrefix = "~sidekey/"

// mustBeSealed compares what the sidecar and what the store say of a bucket:
// the sizes in listings are those of the contents, and of the contents the
// store holds nothing.
func (s *s3Service) mustBeSealed(t *testing.T, bucket string) {
	t.Helper()
	if s.unsealed {
		return
	}
	app, store := s.client(t), s.store.client(t)
	raw := 0
	for _, object := range listAll(t.Context(), t, store, bucket) {
		if !strings.HasPrefix(*object.Key, hiddenPrefix) {
			raw++
		}
	}
	listed := listAll(t.Context(), t, app, bucket)
	if len(listed) != raw || raw == 0 {
		t.Errorf("%s: the sidecar lists %d objects, the store %d", bucket, len(listed), raw)
	}
	for _, object := range listed {
		plain, err := get(t.Context(), app, bucket, *object.Key)
		if err != nil || int64(len(plain)) != aws.ToInt64(object.Size) {
			t.Errorf("%s: %d bytes, listed are %d (%v)", *object.Key, len(plain), aws.ToInt64(object.Size), err)
			continue
		}
		sealed, err := get(t.Context(), store, bucket, *object.Key)
		if err != nil || len(sealed) <= len(plain) {
			t.Errorf("%s at the store: %d bytes of %d (%v)", *object.Key, len(sealed), len(plain), err)
		}
		if at := sharedWindow(plain, sealed); at >= 0 || bytes.Contains(sealed, []byte(s.canary)) {
			t.Errorf("%s: the store holds the plaintext from byte %d", *object.Key, at)
		}
	}
}

// sharedWindow returns where one of 16 windows of plain is that sealed also
// has, or -1.
func sharedWindow(plain, sealed []byte) int {
	const window = 24
	for n := range 16 {
		at := (len(plain) - window) / 15 * n
		if len(plain) >= window && bytes.Contains(sealed, plain[at:at+window]) {
			return at
		}
	}
	return -1
}

// mustHold compares an object, as a client of another kind reads it, and its
// sizes in HEAD and in the listing.
func (s *s3Service) mustHold(t *testing.T, bucket, key string, want []byte) {
	t.Helper()
	client := s.client(t)
	got, err := get(t.Context(), client, bucket, key)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s/%s: %d bytes, want %d: %v", bucket, key, len(got), len(want), err)
	}
	head, err := client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &bucket, Key: &key})
	if err != nil || aws.ToInt64(head.ContentLength) != int64(len(want)) {
		t.Errorf("HEAD of %s/%s: %+v, want %d bytes (%v)", bucket, key, head, len(want), err)
	}
	list, err := client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &key, MaxKeys: ptr(int32(1))})
	if err != nil || len(list.Contents) != 1 || aws.ToInt64(list.Contents[0].Size) != int64(len(want)) {
		t.Errorf("listing of %s/%s: %+v, want %d bytes (%v)", bucket, key, list, len(want), err)
	}
}

// An s3Program is a client in a process of its own.
type s3Program struct {
	t    *testing.T
	name string
	args []string // before all others
	env  []string
	dir  string // of its files
}

// program is a client with an environment of its own. Each has another way to
// be told of the CA.
func (s *s3Service) program(t *testing.T, name string, args ...string) *s3Program {
	p := &s3Program{t: t, name: name, args: args, dir: t.TempDir()}
	p.env = []string{"HOME=" + p.dir, "PATH=/usr/bin:/bin", "LANG=C.UTF-8", "AWS_PAGER=", "AWS_EC2_METADATA_DISABLED=true",
		"S3_ENDPOINT=" + s.endpoint(), "AWS_ACCESS_KEY_ID=" + s.access.id, "AWS_SECRET_ACCESS_KEY=" + s.access.secret,
		"AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1", "AWS_CONFIG_FILE=" + filepath.Join(p.dir, "aws-config"), "CANARY=" + s.canary}
	return p
}

// run runs the client to its end and returns its output, without that on stderr.
func (p *s3Program) run(args ...string) string {
	p.t.Helper()
	out, _ := p.pipe(nil, args...)
	return out
}

// pipe runs the client with stdin and returns its output and what it said on stderr.
func (p *s3Program) pipe(stdin io.Reader, args ...string) (stdout, stderr string) {
	p.t.Helper()
	stdout, stderr, err := p.try(stdin, args...)
	if err != nil {
		p.t.Fatalf("%s %s: %v\n%.4000s\n%.4000s", filepath.Base(p.name), strings.Join(args, " "), err, stdout, stderr)
	}
	return stdout, stderr
}

// try is pipe for what may fail.
func (p *s3Program) try(stdin io.Reader, args ...string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(p.t.Context(), 4*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, p.name, append(p.args[:len(p.args):len(p.args)], args...)...)
	command.Env, command.Dir, command.Stdin = p.env, p.dir, stdin
	var out, failure strings.Builder
	command.Stdout, command.Stderr = &out, &failure
	err = command.Run()
	return out.String(), failure.String(), err
}

// file writes a file of the client's and returns its path.
func (p *s3Program) file(name string, content []byte) string {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		p.t.Fatal(err)
	}
	writeFileAt(p.t, path, string(content))
	return path
}

// mustBe compares a file that the client wrote.
func (p *s3Program) mustBe(name string, want []byte) {
	p.t.Helper()
	if got, err := os.ReadFile(filepath.Join(p.dir, name)); err != nil || !bytes.Equal(got, want) {
		p.t.Errorf("%s: %d bytes, want %d (%v)", name, len(got), len(want), err)
	}
}
