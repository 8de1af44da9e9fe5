// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/rs/zerolog"
)

// A toxic is what becomes of the connections between gateway and store.
type toxic struct {
	name       string
	stream     string // upstream: to the store; downstream: from it
	kind       string
	attributes string
	harmless   bool // everything works all the same
}

var toxics = []toxic{
	{"latency", "downstream", "latency", `{"latency": 60, "jitter": 40}`, true},
	{"slow close", "downstream", "slow_close", `{"delay": 300}`, true},
	{"narrow", "upstream", "bandwidth", `{"rate": 8000}`, true},
	{"slices", "downstream", "slicer", `{"average_size": 900, "size_variation": 800, "delay": 10}`, true},
	{"refused", "upstream", "reset_peer", `{"timeout": 0}`, false},
	{"reset soon", "upstream", "reset_peer", `{"timeout": 15}`, false},
	{"reset answer", "downstream", "reset_peer", `{"timeout": 10}`, false},
	{"silence", "upstream", "timeout", `{"timeout": 400}`, false},
	{"no answer", "downstream", "timeout", `{"timeout": 400}`, false},
}

// cuts end a connection after so many bytes: within the head, within the body,
// at its last byte, within an answer.
func cuts() (list []toxic) {
	for _, bytes := range []int{1, 300, 900, 20_000, 65_536, 300_000, 1_000_000, 1_300_000} {
		for _, stream := range []string{"upstream", "downstream"} {
			list = append(list, toxic{fmt.Sprintf("%s cut at %d", stream, bytes), stream, "limit_data", fmt.Sprintf(`{"bytes": %d}`, bytes), false})
		}
	}
	return list
}

// Whatever becomes of the connections to the store, what is read is a whole
// object that was put, errors say that trying again is worth it, and all works
// again when the connections do.
func TestS3StoreFaults(t *testing.T) {
	store := sharedStore(t)
	link := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), "store", "127.0.0.1:0", hostOf(store.endpoint))
	if err := link.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(link.Stop)
	behind := store
	behind.endpoint = "http://" + link.Listen
	s := startS3(t, behind, s3Setup{})
	s.store = store // for looking around, and cleaning up
	f := &faults{s: s, bucket: s.bucket(t, "faults"), client: s.client(t, func(o *s3.Options) { o.RetryMaxAttempts = 1 })}
	for _, key := range []string{"put", "parts"} {
		f.versions = append(f.versions, &versions{key: key, text: func(n int) []byte { return s.text(fmt.Sprint(key, n), 1_250_000) }})
	}
	f.round(t, "no fault", true)
	for _, x := range append(slices.Clone(toxics), cuts()...) {
		body := fmt.Sprintf(`{"name": "fault", "type": %q, "stream": %q, "toxicity": 1, "attributes": %s}`, x.kind, x.stream, x.attributes)
		if _, err := link.Toxics.AddToxicJson(strings.NewReader(body)); err != nil {
			t.Fatalf("%s: %v", x.name, err)
		}
		f.round(t, x.name, x.harmless)
		link.Toxics.ResetToxics(t.Context())
		f.recover(t, "after "+x.name)
	}
	link.Stop()
	f.round(t, "store away", false)
	if err := link.Start(); err != nil {
		t.Fatal(err)
	}
	f.recover(t, "after the store was away")
	if f.failed < 20 {
		t.Errorf("only %d operations failed: the faults were in nobody's way", f.failed)
	}
	s.mustBeSealed(t, f.bucket)
}

// faults puts and gets objects through a gateway whose store has faults.
type faults struct {
	s        *s3Service
	bucket   string
	client   *s3.Client
	versions []*versions
	failed   int // operations
}

// versions are the contents that one object may have: the last that was
// acknowledged, and any that was sent after it.
type versions struct {
	key                string
	text               func(version int) []byte
	acknowledged, sent int // 0: none
	failed             int // puts
}

// round puts each object and gets it; both must work where harmless.
func (f *faults) round(t *testing.T, name string, harmless bool) {
	t.Helper()
	for _, v := range f.versions {
		v.sent++
		err := f.put(t.Context(), v.key, v.text(v.sent))
		if err == nil {
			v.acknowledged = v.sent
		}
		f.judge(t, name+": put of "+v.key, err, harmless)
		got, err := get(t.Context(), f.client, f.bucket, v.key)
		f.judge(t, name+": get of "+v.key, err, harmless)
		if err == nil && !v.may(got) {
			t.Errorf("%s: %d bytes of %s that are no version between %d and %d", name, len(got), v.key, v.acknowledged, v.sent)
		}
	}
}

func (f *faults) put(ctx context.Context, key string, body []byte) error {
	if key == "put" {
		_, err := f.client.PutObject(ctx, &s3.PutObjectInput{Bucket: &f.bucket, Key: &key, Body: bytes.NewReader(body)})
		return err
	}
	return putInParts(ctx, f.client, f.bucket, key, body)
}

// putInParts uploads body as one object of one part.
func putInParts(ctx context.Context, client *s3.Client, bucket, key string, body []byte) error {
	upload, err := client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return err
	}
	part, err := client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: &bucket, Key: &key, UploadId: upload.UploadId, PartNumber: ptr(int32(1)), Body: bytes.NewReader(body)})
	if err != nil {
		return err
	}
	_, err = client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: &bucket, Key: &key, UploadId: upload.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{{PartNumber: ptr(int32(1)), ETag: part.ETag}}}})
	return err
}

// may says whether an object may have this content now.
func (v *versions) may(got []byte) bool {
	for n := v.acknowledged; n <= v.sent; n++ {
		if n > 0 && bytes.Equal(got, v.text(n)) {
			return true
		}
	}
	return false
}

// judge fails for errors where there is no reason for any, and for those that
// would keep a client from trying again.
func (f *faults) judge(t *testing.T, what string, err error, harmless bool) {
	t.Helper()
	if err == nil {
		return
	}
	f.failed++
	var answer interface{ HTTPStatusCode() int }
	answered := errors.As(err, &answer) && answer.HTTPStatusCode() != 0
	if harmless || answered && answer.HTTPStatusCode() < http.StatusInternalServerError && answer.HTTPStatusCode() != http.StatusOK {
		t.Errorf("%s: %v", what, err)
	}
}

// recover has the gateway work again by itself, and with whole objects.
func (f *faults) recover(t *testing.T, name string) {
	t.Helper()
	for _, v := range f.versions {
		var got []byte
		var err error
		for range 50 {
			if got, err = get(t.Context(), f.client, f.bucket, v.key); err == nil {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if err != nil || !v.may(got) {
			t.Fatalf("%s: %d bytes of %s that are no version between %d and %d (%v)", name, len(got), v.key, v.acknowledged, v.sent, err)
		}
	}
	f.round(t, name, true)
}

// Killed at any moment while clients upload, gateway and store come back with
// whole objects only, and with all that were acknowledged.
func TestS3KilledWhileUploading(t *testing.T) {
	store := startMortalStore(t)
	s := startS3(t, store.s3Store, s3Setup{})
	bucket := s.bucket(t, "killed-uploads")
	run, stop := context.WithCancel(t.Context())
	uploads := []*versions{}
	done := make(chan *versions)
	for n := range 6 {
		v := &versions{key: fmt.Sprintf("object-%d", n)}
		v.text = func(version int) []byte {
			return s.text(fmt.Sprint(v.key, " ", version), []int{70_000, 6_000_000}[n%2])
		}
		uploads = append(uploads, v)
		client := s.client(t, func(o *s3.Options) { o.RetryMaxAttempts = 1 })
		go func() {
			v.upload(run, client, bucket)
			done <- v
		}()
	}
	for n := range 8 {
		time.Sleep(time.Duration(211*(n*n%5+1)) * time.Millisecond)
		victim, start := s.process, s.start
		if n%2 == 1 {
			victim, start = store.process, store.start
		}
		victim.command.Process.Kill()
		<-victim.exited
		if err := start(); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(2 * time.Second)
	stop()
	acknowledged, failed := 0, 0
	for range uploads {
		<-done
	}
	client := s.client(t)
	for _, v := range uploads {
		acknowledged, failed = acknowledged+v.acknowledged, failed+v.failed
		got, err := get(t.Context(), client, bucket, v.key)
		var absent *types.NoSuchKey
		if errors.As(err, &absent) && v.acknowledged == 0 {
			continue
		}
		if err != nil || !v.may(got) {
			t.Errorf("%s: %d bytes that are no version between %d and %d (%v)", v.key, len(got), v.acknowledged, v.sent, err)
		}
	}
	if acknowledged == 0 || failed == 0 {
		t.Errorf("%d versions were acknowledged, %d failed: the processes were not in the clients' way, or the clients did nothing", acknowledged, failed)
	}
	s.mustBeSealed(t, bucket)
}

// upload puts version after version, the large ones in parts.
func (v *versions) upload(ctx context.Context, client *s3.Client, bucket string) {
	uploader := manager.NewUploader(client, func(u *manager.Uploader) { u.PartSize = manager.MinUploadPartSize })
	for ctx.Err() == nil {
		v.sent++
		_, err := uploader.Upload(context.WithoutCancel(ctx), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: &v.key, Body: bytes.NewReader(v.text(v.sent))})
		if err != nil {
			v.failed++
			time.Sleep(20 * time.Millisecond)
			continue
		}
		v.acknowledged = v.sent
	}
}
