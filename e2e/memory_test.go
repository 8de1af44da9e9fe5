// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"regexp"
	"strconv"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// The sidecar's memory does not grow with the objects: 8 clients with 64 MiB
// each, and one object of 5 GiB, stay under 150 MiB.
func TestMemoryIsBounded(t *testing.T) {
	const limit = 150 << 20
	s, err := startStack(plainBinary, stackDir(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.stop()
	bucket := s.bucket(t, "large")
	client := s.app(t)
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			if err := roundTrip(t, client, bucket, fmt.Sprintf("object-%d", i), 64<<20, uint64(i)); err != nil {
				t.Error(err)
			}
		})
	}
	clients.Wait()
	t.Logf("8 clients with 64 MiB: peak %d MiB", s.proxy.peakMemory(t)>>20)
	if peak := s.proxy.peakMemory(t); peak > limit {
		t.Errorf("8 clients with 64 MiB: peak %d MiB, want at most %d", peak>>20, limit>>20)
	}
	if err := roundTrip(t, client, bucket, "huge", 5<<30, 99); err != nil {
		t.Error(err)
	}
	t.Logf("5 GiB: peak %d MiB", s.proxy.peakMemory(t)>>20)
	if peak := s.proxy.peakMemory(t); peak > limit {
		t.Errorf("5 GiB: peak %d MiB, want at most %d", peak>>20, limit>>20)
	}
}

// roundTrip puts size random bytes, gets them again and compares digests.
func roundTrip(t *testing.T, client *s3.Client, bucket, key string, size int64, seed uint64) error {
	sent := sha256.New()
	_, err := client.PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: &bucket, Key: &key, ContentLength: &size, Body: randomBody(seed, size, sent),
	}, s3.WithAPIOptions(v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware), func(o *s3.Options) {
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	})
	if err != nil {
		return fmt.Errorf("PUT %s: %w", key, err)
	}
	answer, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return fmt.Errorf("GET %s: %w", key, err)
	}
	defer answer.Body.Close()
	received := sha256.New()
	n, err := io.Copy(received, answer.Body)
	if err != nil || n != size {
		return fmt.Errorf("GET %s: %d of %d bytes: %w", key, n, size, err)
	}
	if string(sent.Sum(nil)) != string(received.Sum(nil)) {
		return errors.New(key + ": the bytes differ")
	}
	_, err = client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &bucket, Key: &key})
	return err
}

func randomBody(seed uint64, size int64, digest hash.Hash) io.Reader {
	random := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	return io.TeeReader(io.LimitReader(random, size), digest)
}

var highWater = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// peakMemory is the largest resident size of the process so far, in bytes.
func (p *process) peakMemory(t *testing.T) int64 {
	t.Helper()
	status := readFile(t, fmt.Sprintf("/proc/%d/status", p.command.Process.Pid))
	match := highWater.FindStringSubmatch(status)
	if match == nil {
		t.Fatal("no VmHWM in the process's status")
	}
	kib, err := strconv.ParseInt(match[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}
