// SPDX-License-Identifier: Apache-2.0

package s3gateway_test

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sidekey/sidekey/proxy"
)

// copied copies within the bucket.
func (s *stack) copied(t testing.TB, from, to string, edit ...func(*s3.CopyObjectInput)) *s3.CopyObjectOutput {
	t.Helper()
	out, err := s.app.CopyObject(t.Context(), copying(from, to, edit...))
	if err != nil {
		t.Fatalf("copying %s to %s: %v", from, to, err)
	}
	return out
}

func copying(from, to string, edit ...func(*s3.CopyObjectInput)) *s3.CopyObjectInput {
	in := &s3.CopyObjectInput{Bucket: aws.String(bucket), Key: &to, CopySource: aws.String(bucket + "/" + from)}
	for _, f := range edit {
		f(in)
	}
	return in
}

// wantError wants an error with that code of S3.
func wantError(t testing.TB, what string, err error, code string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), code) {
		t.Errorf("%s: %v, want %s", what, err, code)
	}
}

func replacing(metadata map[string]string) func(*s3.CopyObjectInput) {
	return func(in *s3.CopyObjectInput) {
		in.MetadataDirective, in.Metadata = types.MetadataDirectiveReplace, metadata
	}
}

// TestCopy copies objects of one and of many parts, with and without their metadata.
func TestCopy(t *testing.T) {
	s := newMinIOStack(t)
	if _, err := s.app.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("other-bucket")}); err != nil {
		t.Fatal(err)
	}
	whole := content(300_000)
	s.put(t, "whole +ä", whole, func(in *s3.PutObjectInput) {
		in.Metadata, in.ContentType, in.CacheControl = map[string]string{"a": "b"}, aws.String("text/x"), aws.String("no-cache")
		in.ChecksumAlgorithm, in.Tagging = types.ChecksumAlgorithmSha256, aws.String("t=1")
	})
	parts := s.multipart(t, "parts", 5*mib, 5*mib+1, 10)
	for name, want := range map[string][]byte{"whole +ä": whole, "parts": parts} {
		source := strings.ReplaceAll(strings.ReplaceAll(name, "+", "%2B"), "ä", "%C3%A4")
		s.copied(t, source, name+"/copy")
		s.copied(t, source+"/copy", name+"/copy of the copy", replacing(map[string]string{"new": "x"}), func(in *s3.CopyObjectInput) { in.ContentType = aws.String("text/y") })
		if _, err := s.app.CopyObject(t.Context(), copying(source, "there", func(in *s3.CopyObjectInput) { in.Bucket = aws.String("other-bucket") })); err != nil {
			t.Fatal(err)
		}
		s.copied(t, source, name, replacing(map[string]string{"self": "1"}))
		for key, metadata := range map[string]map[string]string{name: {"self": "1"}, name + "/copy of the copy": {"new": "x"}} {
			got, out, err := s.get(t, key)
			if err != nil || !bytes.Equal(got, want) || !maps.Equal(out.Metadata, metadata) {
				t.Errorf("%s: %v, %d bytes, metadata %v", key, err, len(got), out.Metadata)
			}
			s.checkSizes2(t, key, int64(len(want)))
		}
		got, out, err := s.get(t, name+"/copy")
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("the copy of %s: %v, %d bytes", name, err, len(got))
		}
		if name != "parts" {
			tags, err := s.app.GetObjectTagging(t.Context(), &s3.GetObjectTaggingInput{Bucket: aws.String(bucket), Key: aws.String(name + "/copy")})
			if err != nil || len(tags.TagSet) != 1 || out.Metadata["a"] != "b" || *out.ContentType != "text/x" || *out.CacheControl != "no-cache" {
				t.Errorf("the copy of %s lost something: %v, %+v, %+v", name, err, tags, out)
			}
			head, err := s.app.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(bucket), Key: aws.String(name + "/copy"), ChecksumMode: types.ChecksumModeEnabled})
			if err != nil || head.ChecksumSHA256 == nil {
				t.Errorf("the copy of %s has no checksum: %v", name, err)
			}
		}
		there, err := s.app.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("other-bucket"), Key: aws.String("there")})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(there.Body); err != nil || !bytes.Equal(got, want) {
			t.Errorf("in the other bucket: %v, %d bytes", err, len(got))
		}
		s.checkRanges2(t, name+"/copy", want)
	}
}

// checkSizes2 is checkSizes for keys that are prefixes of others.
func (s *stack) checkSizes2(t *testing.T, key string, want int64) {
	t.Helper()
	out, err := s.app.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(bucket), Prefix: &key})
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range out.Contents {
		if *object.Size != want {
			t.Errorf("%s is listed with %d bytes, want %d", *object.Key, *object.Size, want)
		}
	}
}

func (s *stack) checkRanges2(t *testing.T, key string, want []byte) {
	t.Helper()
	for _, r := range [][2]int{{0, 1}, {16380, 16390}, {len(want) - 11, len(want) - 1}, {len(want) / 2, len(want)/2 + 70_000}} {
		ranged := fmt.Sprintf("bytes=%d-%d", r[0], r[1])
		got, _, err := s.get(t, key, func(in *s3.GetObjectInput) { in.Range = &ranged })
		if err != nil || !bytes.Equal(got, want[r[0]:min(r[1]+1, len(want))]) {
			t.Errorf("%s of %s: %v, %d bytes", ranged, key, err, len(got))
		}
	}
}

// TestCopyUnderAnotherKey has the copy follow its own key, not that of its source.
func TestCopyUnderAnotherKey(t *testing.T) {
	s := newMinIOStack(t)
	s.put(t, "a", content(100))
	s.copied(t, "a", "b", func(in *s3.CopyObjectInput) {
		in.ServerSideEncryption, in.SSEKMSKeyId = types.ServerSideEncryptionAwsKms, &s.anotherKey
	})
	_, out, err := s.get(t, "b")
	if err != nil || *out.SSEKMSKeyId != s.anotherKey {
		t.Fatalf("%v, %+v", err, out)
	}
	s.kms.Disable(t, s.ruleKey)
	time.Sleep(2 * lease)
	if got, _, err := s.get(t, "b"); err != nil || !bytes.Equal(got, content(100)) {
		t.Errorf("the copy, with the key of the source disabled: %v", err)
	}
	if _, _, err := s.get(t, "a"); err == nil {
		t.Error("the source was read, with its key disabled")
	}
}

// TestCopyConditions has every condition hold and fail.
func TestCopyConditions(t *testing.T) {
	s := newMinIOStack(t)
	etag := s.put(t, "a", content(10)).ETag
	past, future := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	for name, c := range map[string]struct {
		edit func(*s3.CopyObjectInput)
		fine bool
	}{
		"match":          {func(in *s3.CopyObjectInput) { in.CopySourceIfMatch = etag }, true},
		"no match":       {func(in *s3.CopyObjectInput) { in.CopySourceIfMatch = aws.String(`"x"`) }, false},
		"none match":     {func(in *s3.CopyObjectInput) { in.CopySourceIfNoneMatch = aws.String(`"x"`) }, true},
		"not none match": {func(in *s3.CopyObjectInput) { in.CopySourceIfNoneMatch = etag }, false},
		"modified since": {func(in *s3.CopyObjectInput) { in.CopySourceIfModifiedSince = &past }, true},
		"not modified since": {func(in *s3.CopyObjectInput) {
			in.CopySourceIfModifiedSince = aws.Time(time.Now().Add(-time.Second).Add(2 * time.Second))
		}, false},
		"unmodified since": {func(in *s3.CopyObjectInput) { in.CopySourceIfUnmodifiedSince = &future }, true},
		"changed since":    {func(in *s3.CopyObjectInput) { in.CopySourceIfUnmodifiedSince = &past }, false},
		"both":             {func(in *s3.CopyObjectInput) { in.CopySourceIfMatch, in.CopySourceIfUnmodifiedSince = etag, &past }, true},
	} {
		_, err := s.app.CopyObject(t.Context(), copying("a", "b", c.edit))
		if c.fine && err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !c.fine {
			wantError(t, name, err, "PreconditionFailed")
		}
	}
	_, err := s.app.CopyObject(t.Context(), copying("a", "a"))
	wantError(t, "onto itself", err, "InvalidRequest")
	_, err = s.app.CopyObject(t.Context(), copying("gone", "b"))
	wantError(t, "of nothing", err, "NoSuchKey")
	_, err = s.app.CopyObject(t.Context(), copying("~sidekey/encryption", "b"))
	wantError(t, "of the gateway's own", err, "AccessDenied")
}

// TestUploadPartCopy makes an object of ranges of others.
func TestUploadPartCopy(t *testing.T) {
	s := newMinIOStack(t)
	whole := content(12 * mib)
	s.put(t, "whole", whole)
	parts := s.multipart(t, "parts", 5*mib, 6*mib)
	id := s.begin(t, "k")
	var completed []types.CompletedPart
	var want []byte
	for i, c := range []struct {
		key    string
		source []byte
		ranged string
		a, b   int
	}{
		{"whole", whole, "bytes=1-5242881", 1, 5242882},
		{"parts", parts, "bytes=5242000-10485999", 5242000, 10486000},
		{"parts", parts, "", 0, 11 * mib},
		{"whole", whole, "bytes=12582911-12582911", 12582911, 12582912},
	} {
		in := &s3.UploadPartCopyInput{Bucket: aws.String(bucket), Key: aws.String("k"), UploadId: id, PartNumber: aws.Int32(int32(i + 1)), CopySource: aws.String(bucket + "/" + c.key)}
		if c.ranged != "" {
			in.CopySourceRange = &c.ranged
		}
		out, err := s.app.UploadPartCopy(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		completed = append(completed, types.CompletedPart{PartNumber: aws.Int32(int32(i + 1)), ETag: out.CopyPartResult.ETag})
		want = append(want, c.source[c.a:c.b]...)
	}
	s.complete(t, "k", id, completed...)
	if got, _, err := s.get(t, "k"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v, %d bytes, want %d", err, len(got), len(want))
	}
	_, err := s.app.UploadPartCopy(t.Context(), &s3.UploadPartCopyInput{
		Bucket: aws.String(bucket), Key: aws.String("k2"), UploadId: s.begin(t, "k2"), PartNumber: aws.Int32(1), CopySource: aws.String(bucket + "/whole"), CopySourceRange: aws.String("bytes=0-12582912"),
	})
	wantError(t, "a range past the end", err, "InvalidRange")
}

// TestForeignObjects has each mode of buckets with objects from before.
func TestForeignObjects(t *testing.T) {
	for _, mode := range []string{proxy.ForeignRefuse, proxy.ForeignPass, proxy.ForeignEncrypt} {
		t.Run(mode, func(t *testing.T) {
			s := newForeignStack(t, mode)
			plain := content(100_000)
			_, err := s.store.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("old"), Body: bytes.NewReader(plain), Metadata: map[string]string{"m": "1"}})
			if err != nil {
				t.Fatal(err)
			}
			s.put(t, "new", content(5000))
			got, out, err := s.get(t, "old")
			if mode == proxy.ForeignRefuse {
				wantError(t, "reading", err, "InvalidObjectState")
				_, err = s.app.CopyObject(t.Context(), copying("old", "copy"))
				wantError(t, "copying", err, "InvalidObjectState")
				return
			}
			if err != nil || !bytes.Equal(got, plain) || out.ServerSideEncryption != "" {
				t.Fatalf("%v, %d bytes, %+v", err, len(got), out)
			}
			s.checkRanges2(t, "old", plain)
			s.checkSizes2(t, "old", int64(len(plain)))
			s.checkSizes2(t, "new", 5000)
			_, err = s.app.CopyObject(t.Context(), copying("old", "old"))
			if mode == proxy.ForeignPass {
				wantError(t, "copying", err, "InvalidObjectState")
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, out, err = s.get(t, "old")
			if err != nil || !bytes.Equal(got, plain) || out.ServerSideEncryption != "aws:kms" || out.Metadata["m"] != "1" {
				t.Errorf("encrypted: %v, %d bytes, %+v", err, len(got), out)
			}
			if stored := s.stored(t, "old"); bytes.Contains(stored.body, plain[:100]) {
				t.Error("plaintext is stored")
			}
		})
	}
}

// TestBucketEncryption has a bucket's default choose the key.
func TestBucketEncryption(t *testing.T) {
	s := newMinIOStack(t)
	ctx := t.Context()
	get := func() types.ServerSideEncryptionByDefault {
		t.Helper()
		out, err := s.app.GetBucketEncryption(ctx, &s3.GetBucketEncryptionInput{Bucket: aws.String(bucket)})
		if err != nil {
			t.Fatal(err)
		}
		return *out.ServerSideEncryptionConfiguration.Rules[0].ApplyServerSideEncryptionByDefault
	}
	if d := get(); d.SSEAlgorithm != "aws:kms" || *d.KMSMasterKeyID != s.ruleKey {
		t.Errorf("before: %+v", d)
	}
	put := func(d types.ServerSideEncryptionByDefault) error {
		_, err := s.app.PutBucketEncryption(ctx, &s3.PutBucketEncryptionInput{Bucket: aws.String(bucket), ServerSideEncryptionConfiguration: &types.ServerSideEncryptionConfiguration{
			Rules: []types.ServerSideEncryptionRule{{ApplyServerSideEncryptionByDefault: &d}},
		}})
		return err
	}
	if err := put(types.ServerSideEncryptionByDefault{SSEAlgorithm: "aws:kms", KMSMasterKeyID: &s.anotherKey}); err != nil {
		t.Fatal(err)
	}
	if d := get(); *d.KMSMasterKeyID != s.anotherKey {
		t.Errorf("after: %+v", d)
	}
	if out := s.put(t, "k", content(10)); *out.SSEKMSKeyId != s.anotherKey {
		t.Errorf("an object got the key %s", *out.SSEKMSKeyId)
	}
	id := s.begin(t, "m")
	s.complete(t, "m", id, s.part(t, "m", id, 1, content(10)))
	if _, out, err := s.get(t, "m"); err != nil || *out.SSEKMSKeyId != s.anotherKey {
		t.Errorf("an object of parts got the key %+v, %v", out, err)
	}
	wantError(t, "a key that does not exist", put(types.ServerSideEncryptionByDefault{SSEAlgorithm: "aws:kms", KMSMasterKeyID: aws.String("alias/none")}), "InvalidArgument")
	if _, err := s.app.DeleteBucketEncryption(ctx, &s3.DeleteBucketEncryptionInput{Bucket: aws.String(bucket)}); err != nil {
		t.Fatal(err)
	}
	if out := s.put(t, "k", content(10)); *out.SSEKMSKeyId != s.ruleKey {
		t.Errorf("after the default went, an object got the key %s", *out.SSEKMSKeyId)
	}
	if err := put(types.ServerSideEncryptionByDefault{SSEAlgorithm: "AES256"}); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"k", "m"} {
		if _, err := s.app.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String(bucket), Key: &key}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.app.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: aws.String(bucket)}); err != nil {
		t.Errorf("deleting a bucket that holds nothing but its default: %v", err)
	}
	_, err := s.app.GetBucketEncryption(ctx, &s3.GetBucketEncryptionInput{Bucket: aws.String(bucket)})
	wantError(t, "after the bucket went", err, "NoSuchBucket")
}
