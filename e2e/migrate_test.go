// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"golang.org/x/sync/errgroup"
)

// TestMigrateS3 seals a bucket beside the running sidecar and its clients. The command
// is killed again and again: nothing is lost, and the next run goes on.
func TestMigrateS3(t *testing.T) {
	m := &bucketMigration{bucket: shared.bucket(t, "migrated"), contents: map[string][]byte{}, app: shared.app(t), store: shared.upstream(t), state: filepath.Join(t.TempDir(), "state"), log: filepath.Join(t.TempDir(), "log")}
	m.fill(t)
	ctx, stopClient := context.WithCancel(t.Context())
	var client sync.WaitGroup
	client.Go(func() { m.overwrite(ctx, t) })
	m.killInUpload(t)
	for n := range 4 {
		p := m.start(t, "--rate", "20MiB")
		select {
		case <-p.exited:
		case <-time.After(time.Duration(200+200*n) * time.Millisecond):
		}
		p.stop(syscall.SIGKILL)
		m.mustHaveAll(t)
	}
	m.terminate(t)
	stopClient()
	client.Wait()
	// The first of these goes on where the last one stopped; what a client wrote past
	// the sidecar behind that is seen by the next.
	for range 2 {
		p, err := startProcess(m.log, nil, raceBinary, m.args("--state", m.state)...)
		if err != nil {
			t.Fatal(err)
		}
		<-p.exited
		if p.err != nil {
			t.Errorf("the last run: %v\n%s", p.err, readFile(t, m.log))
		}
	}
	for key := range m.contents {
		head, err := m.store.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &m.bucket, Key: &key})
		if err != nil || head.Metadata["sidekey"] == "" {
			t.Errorf("%s is not sealed: %v", key, err)
		}
	}
	m.mustHaveAll(t)
	if n := m.uploads(t); n > 0 {
		t.Errorf("%d uploads are left behind", n)
	}
	if err := m.command("--verify-only"); err != nil {
		t.Error(err)
	}
	dir := shared.path("audit-proxy") + "-migrate"
	if _, err := shared.run(plainBinary, "audit", "verify", "--dir", dir); err != nil {
		t.Error(err)
	}
	// Plaintext that comes later is told by the exit status.
	put(t, m.store, m.bucket, "later", []byte("plaintext"))
	if err := m.command("--dry-run"); err == nil || !strings.Contains(err.Error(), "1 objects are not sealed") {
		t.Errorf("a dry run over plaintext: %v", err)
	}
	if err := m.command("--verify-only"); err == nil || !strings.Contains(err.Error(), `not sealed: "later"`) {
		t.Errorf("a verification of plaintext: %v", err)
	}
}

type bucketMigration struct {
	bucket, state, log string
	app, store         *s3.Client

	mu       sync.Mutex
	contents map[string][]byte // guarded by mu
}

const migratedParts = "a/parts" // the first in the listing

func (m *bucketMigration) fill(t *testing.T) {
	t.Helper()
	for i := range 80 {
		m.plain(t, fmt.Sprintf("small/%03d", i), 1000+i)
	}
	for i := range 5 {
		m.plain(t, fmt.Sprintf("large/%d", i), 2<<20)
	}
	begun, err := m.store.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &m.bucket, Key: aws.String(migratedParts)})
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	var parts []types.CompletedPart
	for i, size := range []int{5 << 20, 5 << 20, 1000} {
		body := make([]byte, size)
		rand.Read(body)
		out, err := m.store.UploadPart(t.Context(), &s3.UploadPartInput{Bucket: &m.bucket, Key: aws.String(migratedParts), UploadId: begun.UploadId, PartNumber: aws.Int32(int32(i + 1)), Body: bytes.NewReader(body)})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, body...)
		parts = append(parts, types.CompletedPart{PartNumber: aws.Int32(int32(i + 1)), ETag: out.ETag})
	}
	if _, err := m.store.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{Bucket: &m.bucket, Key: aws.String(migratedParts), UploadId: begun.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}}); err != nil {
		t.Fatal(err)
	}
	m.contents[migratedParts] = all
}

// plain puts an object past the sidecar.
func (m *bucketMigration) plain(t *testing.T, key string, size int) {
	t.Helper()
	body := make([]byte, size)
	rand.Read(body)
	put(t, m.store, m.bucket, key, body)
	m.contents[key] = body
}

// overwrite is a client that goes on writing, through the sidecar and past it.
func (m *bucketMigration) overwrite(ctx context.Context, t *testing.T) {
	for n := 0; ctx.Err() == nil; n++ {
		key := fmt.Sprintf("small/%03d", n*7%80)
		body := fmt.Appendf(nil, "%d %s", n, strings.Repeat("written by a client ", 50))
		c := m.app
		if n%2 == 0 {
			c = m.store
		}
		m.mu.Lock()
		_, err := c.PutObject(context.WithoutCancel(ctx), &s3.PutObjectInput{Bucket: &m.bucket, Key: &key, Body: bytes.NewReader(body)})
		if err != nil {
			t.Errorf("overwriting %s: %v", key, err)
		}
		m.contents[key] = body
		m.mu.Unlock()
		time.Sleep(5 * time.Millisecond)
	}
}

func (m *bucketMigration) args(more ...string) []string {
	return append([]string{"migrate", "s3", "--config", shared.path("proxy.yaml"), "--bucket", m.bucket}, more...)
}

func (m *bucketMigration) command(more ...string) error {
	_, err := shared.run(plainBinary, m.args(more...)...)
	return err
}

// start starts a run that keeps its state.
func (m *bucketMigration) start(t *testing.T, more ...string) *process {
	t.Helper()
	p, err := startProcess(m.log, nil, plainBinary, m.args(append(more, "--state", m.state)...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.stop(syscall.SIGKILL) })
	return p
}

func (m *bucketMigration) uploads(t *testing.T) int {
	t.Helper()
	out, err := m.store.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: &m.bucket, Prefix: aws.String(migratedParts)})
	if err != nil {
		t.Fatal(err)
	}
	return len(out.Uploads)
}

// killInUpload kills the run while it sends parts. What that leaves, a later run ends.
func (m *bucketMigration) killInUpload(t *testing.T) {
	t.Helper()
	p := m.start(t, "--rate", "2MiB")
	err := p.waitUntil(time.Minute, "no upload", func() bool {
		text, _ := os.ReadFile(m.state)
		return m.uploads(t) > 0 && bytes.Contains(text, []byte(migratedParts))
	})
	if err != nil {
		t.Fatal(err)
	}
	p.stop(syscall.SIGKILL)
	if m.uploads(t) == 0 {
		t.Error("the run was past its upload when it was killed")
	}
	m.mustHaveAll(t)
}

// terminate asks a run to end: it finishes what it has in hand.
func (m *bucketMigration) terminate(t *testing.T) {
	t.Helper()
	for i := range 100 {
		m.mu.Lock()
		m.plain(t, fmt.Sprintf("z/%03d", i), 50_000)
		m.mu.Unlock()
	}
	p := m.start(t, "--rate", "4MiB", "--concurrency", "3")
	err := p.waitUntil(time.Minute, "nothing is sealed", func() bool {
		head, err := m.store.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &m.bucket, Key: aws.String("z/003")})
		return err == nil && head.Metadata["sidekey"] != ""
	})
	if err != nil {
		t.Fatal(err)
	}
	p.stop(syscall.SIGTERM)
	text := readFile(t, m.log)
	if p.command.ProcessState.ExitCode() != 1 || !strings.Contains(text, "interrupted; start it again to go on") {
		t.Errorf("status %d\n%s", p.command.ProcessState.ExitCode(), text)
	}
	if !strings.Contains(readFile(t, m.state), `"last":"z/0`) {
		t.Errorf("the state is %s", readFile(t, m.state))
	}
	m.mustHaveAll(t)
}

// mustHaveAll reads everything: what is sealed through the sidecar, and the rest past
// it.
func (m *bucketMigration) mustHaveAll(t *testing.T) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	var readers errgroup.Group
	readers.SetLimit(8)
	for key, want := range m.contents {
		readers.Go(func() error { m.mustHave(t, key, want); return nil })
	}
	readers.Wait()
}

func (m *bucketMigration) mustHave(t *testing.T, key string, want []byte) {
	t.Helper()
	var got []byte
	var err error
	for range 3 { // what a killed run had sent to its end may be stored a moment later
		got, err = get(t.Context(), m.app, m.bucket, key)
		var refused *smithyhttp.ResponseError
		if errors.As(err, &refused) && refused.HTTPStatusCode() == http.StatusForbidden {
			got, err = get(t.Context(), m.store, m.bucket, key)
		}
		if err == nil && bytes.Equal(got, want) {
			return
		}
	}
	t.Errorf("%s: %v, %d bytes that are not what was stored", key, err, len(got))
}
