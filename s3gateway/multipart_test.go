// SPDX-License-Identifier: Apache-2.0

package s3gateway_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

const mib = 1 << 20

// begin starts a multipart upload.
func (s *stack) begin(t testing.TB, key string, edit ...func(*s3.CreateMultipartUploadInput)) *string {
	t.Helper()
	in := &s3.CreateMultipartUploadInput{Bucket: aws.String(bucket), Key: &key}
	for _, f := range edit {
		f(in)
	}
	out, err := s.app.CreateMultipartUpload(t.Context(), in)
	if err != nil {
		t.Fatalf("beginning an upload of %s: %v", key, err)
	}
	return out.UploadId
}

// part uploads one part.
func (s *stack) part(t testing.TB, key string, id *string, number int32, body []byte, edit ...func(*s3.UploadPartInput)) types.CompletedPart {
	t.Helper()
	in := &s3.UploadPartInput{Bucket: aws.String(bucket), Key: &key, UploadId: id, PartNumber: &number, Body: bytes.NewReader(body)}
	for _, f := range edit {
		f(in)
	}
	out, err := s.app.UploadPart(t.Context(), in)
	if err != nil {
		t.Fatalf("uploading part %d of %s: %v", number, key, err)
	}
	return types.CompletedPart{
		PartNumber: &number, ETag: out.ETag, ChecksumCRC32: out.ChecksumCRC32, ChecksumCRC32C: out.ChecksumCRC32C,
		ChecksumCRC64NVME: out.ChecksumCRC64NVME, ChecksumSHA1: out.ChecksumSHA1, ChecksumSHA256: out.ChecksumSHA256,
	}
}

func (s *stack) complete(t testing.TB, key string, id *string, parts ...types.CompletedPart) *s3.CompleteMultipartUploadOutput {
	t.Helper()
	out, err := s.app.CompleteMultipartUpload(t.Context(), completion(key, id, parts...))
	if err != nil {
		t.Fatalf("completing the upload of %s: %v", key, err)
	}
	return out
}

// Each sending of a part has an ETag of its own, also of the same content, and
// ListParts has the one that was answered.
func TestPartETags(t *testing.T) {
	s := newMinIOStack(t)
	for name, body := range map[string][]byte{"part": content(5 * mib), "held": content(9)} {
		id := s.begin(t, name)
		older := s.part(t, name, id, 1, body)
		newer := s.part(t, name, id, 1, body)
		listed, err := s.app.ListParts(t.Context(), &s3.ListPartsInput{Bucket: aws.String(bucket), Key: &name, UploadId: id})
		if err != nil || len(listed.Parts) != 1 || *listed.Parts[0].ETag != *newer.ETag || *older.ETag == *newer.ETag {
			t.Errorf("%s: %v: sent as %s and %s, listed as %v", name, err, *older.ETag, *newer.ETag, listed.Parts)
		}
		if _, err := s.app.CompleteMultipartUpload(t.Context(), completion(name, id, newer)); err != nil {
			t.Errorf("%s: completing the newer: %v", name, err)
		}
		if _, err := s.app.CompleteMultipartUpload(t.Context(), completion(name, id, newer)); err != nil {
			t.Errorf("%s: completing the newer once more: %v", name, err)
		}
		if _, err := s.app.CompleteMultipartUpload(t.Context(), completion(name, id, older)); code(err) != "NoSuchUpload" {
			t.Errorf("%s: completing the older, after the newer: %v", name, err)
		}
	}
}

// atStore is the store's ID of an upload.
func atStore(id *string) *string {
	at, _, _ := strings.Cut(*id, "~")
	return &at
}

func completion(key string, id *string, parts ...types.CompletedPart) *s3.CompleteMultipartUploadInput {
	return &s3.CompleteMultipartUploadInput{
		Bucket: aws.String(bucket), Key: &key, UploadId: id, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	}
}

// multipart puts an object in parts and returns its content.
func (s *stack) multipart(t testing.TB, key string, sizes ...int) []byte {
	t.Helper()
	id := s.begin(t, key)
	var parts []types.CompletedPart
	var all []byte
	for i, size := range sizes {
		body := content(size + i)[i:]
		parts = append(parts, s.part(t, key, id, int32(i+1), body))
		all = append(all, body...)
	}
	s.complete(t, key, id, parts...)
	return all
}

func sum(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }

// TestMultipart uploads out of order and twice, and reads the object in every way.
func TestMultipart(t *testing.T) {
	for name, s := range map[string]*stack{"memory": newMemoryStack(t), "MinIO": newMinIOStack(t)} {
		t.Run(name, func(t *testing.T) {
			const key = "dir/of parts+%/ä"
			bodies := [][]byte{content(5*mib + 3), content(6 * mib), content(5 * mib), content(100)}
			id := s.begin(t, key)
			parts := make([]types.CompletedPart, len(bodies))
			for _, i := range []int{2, 0, 3, 1} {
				if i == 1 {
					s.part(t, key, id, 5, content(5*mib+1)) // of the same number, other content
				}
				parts[i] = s.part(t, key, id, int32(2*i+3), bodies[i])
			}
			listed, err := s.app.ListParts(t.Context(), &s3.ListPartsInput{Bucket: aws.String(bucket), Key: aws.String(key), UploadId: id})
			if err != nil {
				t.Fatal(err)
			}
			if len(listed.Parts) != len(bodies) {
				t.Fatalf("%d parts are listed, want %d", len(listed.Parts), len(bodies))
			}
			for i, p := range listed.Parts {
				if *p.PartNumber != *parts[i].PartNumber || *p.Size != int64(len(bodies[i])) || *p.ETag != *parts[i].ETag {
					t.Errorf("part %d is listed as %d, %d bytes, %s; want %d, %s", *parts[i].PartNumber, *p.PartNumber, *p.Size, *p.ETag, len(bodies[i]), *parts[i].ETag)
				}
			}
			out := s.complete(t, key, id, parts...)
			want := bytes.Join(bodies, nil)
			if got, read, err := s.get(t, key); err != nil || !bytes.Equal(got, want) || s.full && *read.ETag != *out.ETag {
				t.Fatalf("%v, %d bytes with SHA-256 %s, want %d with %s", err, len(got), sum(got), len(want), sum(want))
			}
			s.checkRanges(t, key, want)
			if s.full { // the store in memory does not mark the ETags of such objects
				s.checkSizes(t, key, int64(len(want)))
			}
			if stored := s.stored(t, key); bytes.Contains(stored.body, want[100:200]) {
				t.Error("plaintext is stored")
			}
		})
	}
}

// checkRanges reads around every edge of parts and chunks.
func (s *stack) checkRanges(t *testing.T, key string, want []byte) {
	t.Helper()
	size := int64(len(want))
	edges := []int64{0, 1, 16383, 16384, 16385, 5 * mib, 5*mib + 2, 5*mib + 3, 5*mib + 4, 11*mib + 3, 16*mib + 2, 16*mib + 3, size - 1}
	for _, from := range edges {
		for _, n := range []int64{1, 70, 16384, 3 * mib} {
			if from >= size {
				continue
			}
			ranged := fmt.Sprintf("bytes=%d-%d", from, from+n-1)
			got, out, err := s.get(t, key, func(in *s3.GetObjectInput) { in.Range = &ranged })
			end := min(from+n, size)
			if err != nil || !bytes.Equal(got, want[from:end]) {
				t.Errorf("%s: %v, %d bytes, want %d", ranged, err, len(got), end-from)
				continue
			}
			if want := fmt.Sprintf("bytes %d-%d/%d", from, end-1, size); *out.ContentRange != want {
				t.Errorf("%s: Content-Range %s, want %s", ranged, *out.ContentRange, want)
			}
		}
	}
	for _, ranged := range []string{"bytes=-1", "bytes=-50", "bytes=-200", "bytes=-6000000", "bytes=-999999999", fmt.Sprintf("bytes=%d-", size-150), "bytes=5242880-"} {
		got, _, err := s.get(t, key, func(in *s3.GetObjectInput) { in.Range = &ranged })
		if err != nil || len(got) == 0 || !bytes.HasSuffix(want, got) {
			t.Errorf("%s: %v, %d bytes", ranged, err, len(got))
		}
	}
	past := fmt.Sprintf("bytes=%d-", size)
	if _, _, err := s.get(t, key, func(in *s3.GetObjectInput) { in.Range = &past }); err == nil || !strings.Contains(err.Error(), "InvalidRange") {
		t.Errorf("%s: %v", past, err)
	}
}

// checkSizes compares what HEAD and the listings say of an object's size.
func (s *stack) checkSizes(t *testing.T, key string, want int64) {
	t.Helper()
	ctx := t.Context()
	head, err := s.app.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String(bucket), Key: &key})
	if err != nil || *head.ContentLength != want {
		t.Errorf("HEAD: %v, %v, want %d", err, head, want)
	}
	v2, err := s.app.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String(bucket), Prefix: &key})
	if err != nil || len(v2.Contents) != 1 || *v2.Contents[0].Size != want || *v2.KeyCount != 1 {
		t.Errorf("ListObjectsV2: %v, %+v, want %d", err, v2, want)
	}
	v1, err := s.app.ListObjects(ctx, &s3.ListObjectsInput{Bucket: aws.String(bucket), Prefix: &key})
	if err != nil || len(v1.Contents) != 1 || *v1.Contents[0].Size != want {
		t.Errorf("ListObjects: %v, %+v, want %d", err, v1, want)
	}
	versions, err := s.app.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: aws.String(bucket), Prefix: &key})
	if err != nil || len(versions.Versions) == 0 || *versions.Versions[0].Size != want {
		t.Errorf("ListObjectVersions: %v, %+v, want %d", err, versions, want)
	}
	all, err := s.app.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String(bucket)})
	if err != nil {
		t.Error(err)
	}
	for _, object := range all.Contents {
		if strings.HasPrefix(*object.Key, "~sidekey/") {
			t.Errorf("%s is listed", *object.Key)
		}
	}
	left, err := s.store.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String(bucket), Prefix: aws.String("~sidekey/uploads/")})
	if err != nil || len(left.Contents) > 0 {
		t.Errorf("left behind in the store: %v, %d objects", err, len(left.Contents))
	}
}

// TestMultipartOfOnePart has the smallest uploads: one part, also an empty one.
func TestMultipartOfOnePart(t *testing.T) {
	s := newMinIOStack(t)
	for _, size := range []int{0, 1, 16384, 5*mib - 1, 5 * mib} {
		key := fmt.Sprint("one/", size)
		want := s.multipart(t, key, size)
		if got, _, err := s.get(t, key); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v, %d bytes", key, err, len(got))
		}
		s.checkSizes(t, key, int64(size))
	}
	// Number 10000 is the last there can be.
	id := s.begin(t, "last")
	a, b := content(5*mib), content(6*mib)
	s.complete(t, "last", id, s.part(t, "last", id, 9999, a), s.part(t, "last", id, 10000, b))
	if got, _, err := s.get(t, "last"); err != nil || !bytes.Equal(got, append(a, b...)) {
		t.Errorf("%v, %d bytes", err, len(got))
	}
	s.checkSizes(t, "last", 11*mib)
}

// TestGetPart reads parts by their numbers.
func TestGetPart(t *testing.T) {
	s := newMinIOStack(t)
	want := s.multipart(t, "k", 5*mib, 6*mib, 77)
	for number, span := range map[int32][2]int{1: {0, 5 * mib}, 2: {5 * mib, 11 * mib}, 3: {11 * mib, 11*mib + 77}} {
		out, err := s.app.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String("k"), PartNumber: &number})
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(out.Body)
		out.Body.Close()
		if err != nil || !bytes.Equal(got, want[span[0]:span[1]]) || *out.PartsCount != 3 {
			t.Errorf("part %d: %v, %d bytes of %v parts", number, err, len(got), out.PartsCount)
		}
		head, err := s.app.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(bucket), Key: aws.String("k"), PartNumber: &number})
		if err != nil || *head.ContentLength != int64(span[1]-span[0]) || *head.PartsCount != 3 {
			t.Errorf("HEAD of part %d: %v, %+v", number, err, head)
		}
	}
	if _, err := s.app.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String("k"), PartNumber: aws.Int32(4)}); err == nil {
		t.Error("part 4 of 3 was read")
	}
}

// TestAbortDate passes on when a lifecycle rule of the store will abort an upload.
func TestAbortDate(t *testing.T) {
	s := newStack(t, between(t, startMinIO(t), func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost && r.URL.Query().Has("uploads") {
			w.Header().Set("X-Amz-Abort-Date", "Fri, 02 Jan 2026 00:00:00 GMT")
			w.Header().Set("X-Amz-Abort-Rule-Id", "a rule")
		}
		return false
	}))
	s.multipart(t, "source", 5*mib, 1)
	out, err := s.app.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: aws.String(bucket), Key: aws.String("k")})
	if err != nil || out.AbortDate == nil || out.AbortDate.Year() != 2026 || aws.ToString(out.AbortRuleId) != "a rule" {
		t.Errorf("%v, %+v", err, out)
	}
	s.copied(t, "source", "copy")
}
