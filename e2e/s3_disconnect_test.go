// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// Clients that go away in the middle of an upload, at many places, leave what
// was there before.
func TestS3ClientsThatDisconnect(t *testing.T) {
	s := startS3(t, sharedStore(t), s3Setup{})
	bucket := s.bucket(t, "disconnect")
	body := s.text("body", 300_001)
	positions := []int{-1, 0, 1, 16_383, 16_384, 16_385, 65_536, 131_072, 200_000, len(body) - 1}
	former := s.text("former", 5000)
	client := s.client(t)
	for _, n := range positions {
		put(t, client, bucket, fmt.Sprint("former", n), former)
	}
	upload := newPartUpload(t, client, bucket, s.text("first part", 5<<20))
	presign := s3.NewPresignClient(client)
	for i, n := range positions {
		for _, key := range []string{fmt.Sprint("former", n), fmt.Sprint("new", n)} {
			r, err := presign.PresignPutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key})
			if err != nil {
				t.Fatal(err)
			}
			sendSome(t, r.URL, body, n, i%2 == 0)
		}
		r, err := presign.PresignUploadPart(t.Context(), &s3.UploadPartInput{Bucket: &bucket, Key: &upload.key, UploadId: &upload.id, PartNumber: ptr(int32(i%2 + 1))})
		if err != nil {
			t.Fatal(err)
		}
		sendSome(t, r.URL, body, n, i%2 == 1)
	}
	if !s.unsealed { // by its end every request has had its own
		s.stop(syscall.SIGTERM)
		if err := s.start(); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range positions {
		s.mustHold(t, bucket, fmt.Sprint("former", n), former)
		if got, err := get(t.Context(), client, bucket, fmt.Sprint("new", n)); err == nil {
			t.Errorf("a PUT that broke off after %d bytes made an object of %d", n, len(got))
		}
	}
	upload.finish(t, s, client)
	s.mustBeSealed(t, bucket)
}

// sendSome sends a PUT's head, unless n is negative, and n bytes of its body,
// and goes away with a reset or without.
func sendSome(t *testing.T, address string, body []byte, n int, reset bool) {
	t.Helper()
	to, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", to.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if reset {
		conn.(*net.TCPConn).SetLinger(0)
	}
	if n < 0 {
		io.WriteString(conn, "PUT "+to.RequestURI()+" HTTP/1.1\r\nHost: "+to.Host+"\r\nContent-Le")
		return
	}
	fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n", to.RequestURI(), to.Host, len(body))
	if _, err := conn.Write(body[:n]); err != nil {
		t.Errorf("after %d bytes: %v", n, err)
	}
}

// A partUpload has one whole part, which clients that go away must not replace.
type partUpload struct {
	bucket, key, id string
	first           []byte
}

func newPartUpload(t *testing.T, client *s3.Client, bucket string, first []byte) *partUpload {
	t.Helper()
	u := &partUpload{bucket: bucket, key: "in-parts", first: first}
	created, err := client.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &bucket, Key: &u.key})
	if err != nil {
		t.Fatal(err)
	}
	u.id = *created.UploadId
	_, err = client.UploadPart(t.Context(), &s3.UploadPartInput{Bucket: &bucket, Key: &u.key, UploadId: &u.id, PartNumber: ptr(int32(1)), Body: bytes.NewReader(first)})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func (u *partUpload) finish(t *testing.T, s *s3Service, client *s3.Client) {
	t.Helper()
	parts, err := client.ListParts(t.Context(), &s3.ListPartsInput{Bucket: &u.bucket, Key: &u.key, UploadId: &u.id})
	if err != nil {
		t.Fatal(err)
	}
	if len(parts.Parts) != 1 || *parts.Parts[0].Size != int64(len(u.first)) {
		t.Fatalf("parts after uploads that broke off: %+v", parts.Parts)
	}
	_, err = client.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{Bucket: &u.bucket, Key: &u.key, UploadId: &u.id,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{{PartNumber: ptr(int32(1)), ETag: parts.Parts[0].ETag}}}})
	if err != nil {
		t.Fatal(err)
	}
	s.mustHold(t, u.bucket, u.key, u.first)
}

// What a client sent in full and did not wait for is there as a whole or not at all.
func TestS3ClientThatDoesNotWait(t *testing.T) {
	s := startS3(t, sharedStore(t), s3Setup{})
	bucket := s.bucket(t, "impatient")
	client, body := s.client(t), s.text("body", 300_001)
	for n := range 10 {
		key := fmt.Sprint("key", n)
		r, err := s3.NewPresignClient(client).PresignPutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key})
		if err != nil {
			t.Fatal(err)
		}
		sendSome(t, r.URL, body, len(body), n%2 == 0)
	}
	put(t, client, bucket, "afterwards", body)
	s.mustBeSealed(t, bucket)
	for n := range 10 {
		got, err := get(t.Context(), client, bucket, fmt.Sprint("key", n))
		var absent *types.NoSuchKey
		if !errors.As(err, &absent) && (err != nil || !bytes.Equal(got, body)) {
			t.Errorf("key%d: %d bytes (%v)", n, len(got), err)
		}
	}
}
