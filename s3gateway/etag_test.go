// SPDX-License-Identifier: Apache-2.0

package s3gateway_test

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sidekey/sidekey/s3gateway"
)

func md5Of(b []byte) string { return fmt.Sprintf(`"%x"`, md5.Sum(b)) }

// TestMD5ETags has clients see the MD5 of the plaintext as ETag, everywhere.
func TestMD5ETags(t *testing.T) {
	s := newMinIOStack(t, func(c *s3gateway.Config) { c.ETag = "md5" })
	ctx := t.Context()
	want := map[string]string{}
	for _, size := range []int{0, 100, 64 << 10, 64<<10 + 1, 2 * mib} {
		key := fmt.Sprint("k", size)
		want[key] = md5Of(content(size))
		if out := s.put(t, key, content(size)); *out.ETag != want[key] {
			t.Errorf("PUT %s: %s, want %s", key, *out.ETag, want[key])
		}
	}
	bodies := [][]byte{content(5*mib + 1), content(77)}
	id := s.begin(t, "parts")
	var parts []types.CompletedPart
	all := md5.New()
	for i, body := range bodies {
		part := s.part(t, "parts", id, int32(i+1), body)
		if *part.ETag != md5Of(body) {
			t.Errorf("part %d: %s, want %s", i+1, *part.ETag, md5Of(body))
		}
		sum := md5.Sum(body)
		all.Write(sum[:])
		parts = append(parts, part)
	}
	listed, err := s.app.ListParts(ctx, &s3.ListPartsInput{Bucket: aws.String(bucket), Key: aws.String("parts"), UploadId: id})
	if err != nil || len(listed.Parts) != 2 || *listed.Parts[0].ETag != *parts[0].ETag || *listed.Parts[1].ETag != *parts[1].ETag {
		t.Errorf("%v, %+v", err, listed)
	}
	want["parts"] = fmt.Sprintf(`"%x-2"`, all.Sum(nil))
	if out := s.complete(t, "parts", id, parts...); *out.ETag != want["parts"] {
		t.Errorf("completed: %s, want %s", *out.ETag, want["parts"])
	}
	for _, key := range []string{"k100", "k2097152", "parts"} {
		if out := s.copied(t, key, "copies/"+key); *out.CopyObjectResult.ETag != want[key] {
			t.Errorf("copying %s: %s, want %s", key, *out.CopyObjectResult.ETag, want[key])
		}
		want["copies/"+key] = want[key]
	}
	for range 2 { // the second time from what is remembered
		page, err := s.app.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String(bucket)})
		if err != nil || len(page.Contents) != len(want) {
			t.Fatalf("%v, %d objects, want %d", err, len(page.Contents), len(want))
		}
		for _, object := range page.Contents {
			if *object.ETag != want[*object.Key] {
				t.Errorf("%s is listed with %s, want %s", *object.Key, *object.ETag, want[*object.Key])
			}
		}
	}
	for key, etag := range want {
		s.checkETag(t, key, etag)
	}
	for key := range want {
		if stored := s.stored(t, key); strings.Contains(fmt.Sprint(stored.metadata), strings.Trim(want[key], `"`)) {
			t.Errorf("%s: the MD5 is stored in the clear", key)
		}
	}
}

// checkETag reads and looks at an object under conditions on its ETag.
func (s *stack) checkETag(t *testing.T, key, etag string) {
	t.Helper()
	ctx := t.Context()
	head, err := s.app.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String(bucket), Key: &key, IfMatch: &etag})
	if err != nil || *head.ETag != etag {
		t.Errorf("HEAD %s: %v, %+v", key, err, head)
	}
	_, out, err := s.get(t, key, func(in *s3.GetObjectInput) { in.IfMatch = &etag })
	if err != nil || *out.ETag != etag {
		t.Errorf("GET %s: %v, %+v", key, err, out)
	}
	_, out, err = s.get(t, key, func(in *s3.GetObjectInput) { in.PartNumber = aws.Int32(1) })
	if err != nil || *out.ETag != etag {
		t.Errorf("GET part 1 of %s: %v, %+v", key, err, out)
	}
	_, _, err = s.get(t, key, func(in *s3.GetObjectInput) { in.IfNoneMatch = &etag })
	wantError(t, "GET "+key+" unless it is the same", err, "304")
	r := s.rawRequest(t, "GET", "/docs/"+key, "", map[string]string{"If-Modified-Since": head.LastModified.Add(time.Hour).UTC().Format(http.TimeFormat)})
	if answer, err := http.DefaultClient.Do(r); err != nil || answer.StatusCode != http.StatusNotModified || answer.Header.Get("Etag") != "" {
		t.Errorf("GET %s if it is newer: %v, %+v", key, err, answer)
	}
	_, _, err = s.get(t, key, func(in *s3.GetObjectInput) { in.IfMatch = aws.String(md5Of([]byte("another"))) })
	wantError(t, "GET "+key+" if it is another", err, "PreconditionFailed")
	attributes, err := s.app.GetObjectAttributes(ctx, &s3.GetObjectAttributesInput{Bucket: aws.String(bucket), Key: &key, ObjectAttributes: []types.ObjectAttributes{"ETag"}})
	if err != nil || `"`+*attributes.ETag+`"` != etag {
		t.Errorf("attributes of %s: %v, %+v", key, err, attributes)
	}
	_, err = s.app.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(bucket), Key: &key, Body: bytes.NewReader(nil), IfMatch: aws.String(md5Of([]byte("another")))})
	wantError(t, "PUT "+key+" over another", err, "PreconditionFailed")
	_, err = s.app.CopyObject(ctx, copying(key, "copy", func(in *s3.CopyObjectInput) { in.CopySourceIfNoneMatch = &etag }))
	wantError(t, "copying "+key+" unless it is the same", err, "PreconditionFailed")
	if _, err = s.app.CopyObject(ctx, copying(key, "copy", func(in *s3.CopyObjectInput) { in.CopySourceIfMatch = &etag })); err != nil {
		t.Errorf("copying %s if it is the same: %v", key, err)
	}
}

// TestMD5PartsAgain sends the same content twice for a part: both have the same ETag, and
// the store has the later.
func TestMD5PartsAgain(t *testing.T) {
	s := newMinIOStack(t, func(c *s3gateway.Config) { c.ETag = "md5" })
	id, body := s.begin(t, "k"), content(5*mib)
	var parts []types.CompletedPart
	for number := range int32(6) {
		s.part(t, "k", id, number+1, body)
		parts = append(parts, s.part(t, "k", id, number+1, body))
	}
	s.complete(t, "k", id, parts...)
	if got, _, err := s.get(t, "k"); err != nil || !bytes.Equal(got, bytes.Repeat(body, 6)) {
		t.Errorf("%v, %d bytes", err, len(got))
	}
}
