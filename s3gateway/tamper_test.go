// SPDX-License-Identifier: Apache-2.0

package s3gateway_test

import (
	"bytes"
	"maps"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sidekey/sidekey/proxy/envelope"
)

func flip(b []byte, at int) []byte {
	c := bytes.Clone(b)
	c[at] ^= 1
	return c
}

// TestTamperedStore changes what is stored and expects that nothing of the
// object comes back from the bad chunk on, and that the failure is on record.
func TestTamperedStore(t *testing.T) {
	s := newMemoryStack(t)
	const size = 30*chunk + 17
	want := content(size)
	s.put(t, "a", want)
	other := content(size)
	slices.Reverse(other)
	s.put(t, "b", other)
	a, b := s.stored(t, "a"), s.stored(t, "b")
	header := a.metadata["sidekey"]
	if header == "" {
		t.Fatalf("the store holds no header: %v", a.metadata)
	}
	with := func(value string) map[string]string {
		m := maps.Clone(a.metadata)
		m["sidekey"] = value
		return m
	}
	letter := func(at int) string {
		c := []byte(header)
		if c[at] == 'A' {
			c[at] = 'B'
		} else {
			c[at] = 'A'
		}
		return string(c)
	}
	cases := map[string]struct {
		stored
		intact int // bytes of plaintext before the bad chunk
	}{
		"salt":             {stored{flip(a.body, 3), a.metadata}, 0},
		"commitment":       {stored{flip(a.body, 40), a.metadata}, 0},
		"first chunk":      {stored{flip(a.body, envelope.PrefixSize+5), a.metadata}, 0},
		"tag of chunk 1":   {stored{flip(a.body, envelope.PrefixSize+2*envelope.SealedChunkSize-1), a.metadata}, chunk},
		"chunk 20":         {stored{flip(a.body, envelope.PrefixSize+20*envelope.SealedChunkSize+9), a.metadata}, 20 * chunk},
		"final chunk":      {stored{flip(a.body, len(a.body)-1), a.metadata}, 30 * chunk},
		"cut mid-chunk":    {stored{a.body[:len(a.body)-100], a.metadata}, 29 * chunk},
		"cut at a chunk":   {stored{a.body[:envelope.PrefixSize+20*envelope.SealedChunkSize], a.metadata}, 20 * chunk},
		"nothing left":     {stored{nil, a.metadata}, 0},
		"bytes added":      {stored{append(bytes.Clone(a.body), make([]byte, 50)...), a.metadata}, 30 * chunk},
		"chunks swapped":   {stored{slices.Concat(a.body[:envelope.PrefixSize], a.body[envelope.PrefixSize+envelope.SealedChunkSize:envelope.PrefixSize+2*envelope.SealedChunkSize], a.body[envelope.PrefixSize:envelope.PrefixSize+envelope.SealedChunkSize], a.body[envelope.PrefixSize+2*envelope.SealedChunkSize:]), a.metadata}, 0},
		"body of b":        {stored{b.body, a.metadata}, 0},
		"header of b":      {stored{a.body, b.metadata}, 0},
		"all of b":         {b, 0},
		"header dropped":   {stored{a.body, nil}, 0},
		"header empty":     {stored{a.body, with("x")}, 0},
		"header cut":       {stored{a.body, with(header[:len(header)-4])}, 0},
		"header suite":     {stored{a.body, with(letter(4))}, 0},
		"header object ID": {stored{a.body, with(letter(20))}, 0},
		"header key":       {stored{a.body, with(letter(60))}, 0},
		"header wrapped":   {stored{a.body, with(letter(len(header) / 2))}, 0},
		"header tag":       {stored{a.body, with(letter(len(header) - 5))}, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s.overwrite(t, "a", c.stored)
			got, _, err := s.get(t, "a")
			if err == nil {
				t.Fatalf("got %d bytes without an error", len(got))
			}
			if len(got) > c.intact || !bytes.Equal(got, want[:len(got)]) {
				t.Errorf("got %d bytes, of which %d may leave", len(got), c.intact)
			}
			if codes := s.lastCodes(t); !slices.Contains(codes, "InternalError") && !slices.Contains(codes, "InvalidObjectState") {
				t.Errorf("on record: %v", codes)
			}
			part, _, err := s.get(t, "a", func(in *s3.GetObjectInput) { in.Range = aws.String("bytes=-40") })
			if err == nil && !bytes.Equal(part, want[size-40:]) {
				t.Errorf("a range returned other bytes")
			}
			if name != "salt" && name != "commitment" && name != "first chunk" && name != "tag of chunk 1" && name != "chunk 20" && name != "chunks swapped" && err == nil {
				t.Errorf("a range of the end succeeded")
			}
		})
	}
	s.overwrite(t, "a", a)
	if got, _, err := s.get(t, "a"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("put back: %d bytes, %v", len(got), err)
	}
	if _, err := s.app.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(bucket), Key: aws.String("a"), ChecksumMode: types.ChecksumModeEnabled}); err != nil {
		t.Errorf("HEAD: %v", err)
	}
}

// TestMovedToAnotherBucket copies an object inside the store.
func TestMovedToAnotherBucket(t *testing.T) {
	s := newMemoryStack(t)
	s.put(t, "k", []byte("secret"))
	if _, err := s.app.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("other-bucket")}); err != nil {
		t.Fatal(err)
	}
	o := s.stored(t, "k")
	if _, err := s.store.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("other-bucket"), Key: aws.String("k"), Body: bytes.NewReader(o.body), Metadata: o.metadata}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.app.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("other-bucket"), Key: aws.String("k")}); code(err) != "InternalError" {
		t.Errorf("got %v", err)
	}
}
