// SPDX-License-Identifier: Apache-2.0

package s3gateway_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/minio/crc64nvme"
	"github.com/sidekey/sidekey/proxy/envelope"
)

// TestCompleteErrors has the lists of parts that S3 refuses.
func TestCompleteErrors(t *testing.T) {
	s := newMinIOStack(t)
	ctx := t.Context()
	id := s.begin(t, "k")
	small, large := s.part(t, "k", id, 1, content(1000)), s.part(t, "k", id, 2, content(5*mib))
	third, fourth := s.part(t, "k", id, 3, content(5*mib-1)), s.part(t, "k", id, 4, content(5*mib))
	wrong := types.CompletedPart{PartNumber: aws.Int32(2), ETag: aws.String(`"d41d8cd98f00b204e9800998ecf8427e"`)}
	absent := types.CompletedPart{PartNumber: aws.Int32(5), ETag: large.ETag}
	for name, c := range map[string]struct {
		parts []types.CompletedPart
		code  string
	}{
		"a small part first":     {[]types.CompletedPart{small, large}, "EntityTooSmall"},
		"a byte less than 5 MiB": {[]types.CompletedPart{third, fourth}, "EntityTooSmall"},
		"out of order":           {[]types.CompletedPart{large, small}, "InvalidPartOrder"},
		"twice":                  {[]types.CompletedPart{large, large}, "InvalidPartOrder"},
		"another ETag":           {[]types.CompletedPart{wrong}, "InvalidPart"},
		"one that is not there":  {[]types.CompletedPart{large, absent}, "InvalidPart"},
		"no parts":               {nil, "MalformedXML"},
	} {
		_, err := s.app.CompleteMultipartUpload(ctx, completion("k", id, c.parts...))
		wantError(t, name, err, c.code)
		s.mustBeAbsent(t, "k")
	}
	_, err := s.app.CompleteMultipartUpload(ctx, completion("other", id, large))
	wantError(t, "another key", err, "NoSuchUpload")
	_, err = s.app.UploadPart(ctx, &s3.UploadPartInput{Bucket: aws.String(bucket), Key: aws.String("other"), UploadId: id, PartNumber: aws.Int32(1), Body: strings.NewReader("x")})
	wantError(t, "a part of another key", err, "NoSuchUpload")
	_, err = s.app.UploadPart(ctx, &s3.UploadPartInput{Bucket: aws.String(bucket), Key: aws.String("k"), UploadId: aws.String("none"), PartNumber: aws.Int32(1), Body: strings.NewReader("x")})
	wantError(t, "no upload", err, "NoSuchUpload")
	if _, err := s.app.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: aws.String(bucket), Key: aws.String("k"), UploadId: id}); err != nil {
		t.Fatal(err)
	}
	_, err = s.app.CompleteMultipartUpload(ctx, completion("k", id, large))
	wantError(t, "after it was aborted", err, "NoSuchUpload")
	_, err = s.app.ListParts(ctx, &s3.ListPartsInput{Bucket: aws.String(bucket), Key: aws.String("k"), UploadId: id})
	wantError(t, "listing it", err, "NoSuchUpload")
	left, err := s.store.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String(bucket)})
	if err != nil || len(left.Contents) != 0 {
		t.Errorf("left in the store: %v, %d objects", err, len(left.Contents))
	}
}

// TestCompleteDocuments has bodies that are no list of parts; one of many more parts than
// there can be does not become as many in memory.
func TestCompleteDocuments(t *testing.T) {
	s := newMemoryStack(t)
	id := s.begin(t, "k")
	many := strings.Repeat("<Part/>", 590_000)
	for name, body := range map[string]string{
		"nothing": "", "no XML": "parts", "no end": "<CompleteMultipartUpload><Part>", "no parts": "<CompleteMultipartUpload/>",
		"another document": "<Delete><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></Delete>",
		"no number":        "<CompleteMultipartUpload><Part><PartNumber>x</PartNumber></Part></CompleteMultipartUpload>",
		"too many parts":   "<CompleteMultipartUpload>" + many + "</CompleteMultipartUpload>",
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		status, e := s.do(t, s.rawRequest(t, "POST", "/docs/k?uploadId="+url.QueryEscape(*id), body, nil))
		runtime.ReadMemStats(&after)
		if status != http.StatusBadRequest || e.Code != "MalformedXML" {
			t.Errorf("%s: %d, %s", name, status, e.Code)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > 64*mib {
			t.Errorf("%s: %d MiB were allocated", name, took>>20)
		}
	}
}

// TestCompleteAgain repeats a request of which the answer was lost.
func TestCompleteAgain(t *testing.T) {
	s := newMinIOStack(t)
	id := s.begin(t, "k")
	parts := []types.CompletedPart{s.part(t, "k", id, 1, content(5*mib)), s.part(t, "k", id, 2, content(7))}
	first := s.complete(t, "k", id, parts...)
	again := s.complete(t, "k", id, parts...)
	if *first.ETag != *again.ETag {
		t.Errorf("ETag %s, then %s", *first.ETag, *again.ETag)
	}
	_, err := s.app.CompleteMultipartUpload(t.Context(), completion("k", id, parts[:1]...))
	wantError(t, "with other parts", err, "NoSuchUpload")
	s.put(t, "k", content(1))
	_, err = s.app.CompleteMultipartUpload(t.Context(), completion("k", id, parts...))
	wantError(t, "after another object took its place", err, "NoSuchUpload")
}

// TestCompleteAtReplica repeats at a replica that has taken a part of the upload, and
// still remembers it, what another has completed.
func TestCompleteAtReplica(t *testing.T) {
	s := newMinIOStack(t)
	ctx := t.Context()
	other := s.replica(t)
	id := s.begin(t, "k")
	parts := []types.CompletedPart{s.part(t, "k", id, 1, content(5*mib)), other.part(t, "k", id, 2, content(7))}
	first, again := s.complete(t, "k", id, parts...), other.complete(t, "k", id, parts...)
	if *first.ETag != *again.ETag {
		t.Errorf("ETag %s, then %s", *first.ETag, *again.ETag)
	}
	_, err := other.app.UploadPart(ctx, &s3.UploadPartInput{Bucket: aws.String(bucket), Key: aws.String("k"), UploadId: id, PartNumber: aws.Int32(1), Body: strings.NewReader("x")})
	wantError(t, "a part afterwards", err, "NoSuchUpload")
	s.put(t, "source", content(7))
	_, err = other.app.UploadPartCopy(ctx, &s3.UploadPartCopyInput{Bucket: aws.String(bucket), Key: aws.String("k"), UploadId: id, PartNumber: aws.Int32(1), CopySource: aws.String(bucket + "/source")})
	wantError(t, "a copied part afterwards", err, "NoSuchUpload")
	if left := s.hiddenKeys(t); len(left) > 0 {
		t.Errorf("left in the store: %q", left)
	}
}

// TestCompleteAfterFailure lists more parts once a completion with fewer has failed,
// which must not have taken the place of one.
func TestCompleteAfterFailure(t *testing.T) {
	s := newMinIOStack(t)
	want := content(20*mib + 9)
	id := s.begin(t, "k")
	var parts []types.CompletedPart
	for i := range 4 {
		parts = append(parts, s.part(t, "k", id, int32(i+1), want[i*5*mib:(i+1)*5*mib]))
	}
	parts = append(parts, s.part(t, "k", id, 5, want[20*mib:]))
	for n := 1; n < len(parts); n++ {
		in := completion("k", id, parts[:n]...)
		in.IfMatch = aws.String(`"d41d8cd98f00b204e9800998ecf8427e"`)
		_, err := s.app.CompleteMultipartUpload(t.Context(), in)
		wantError(t, "If-Match of an object that is not there", err, "NoSuchKey")
	}
	listed, err := s.app.ListParts(t.Context(), &s3.ListPartsInput{Bucket: aws.String(bucket), Key: aws.String("k"), UploadId: id})
	if err != nil || len(listed.Parts) != len(parts) {
		t.Errorf("%v, %d parts are listed", err, len(listed.Parts))
	}
	s.complete(t, "k", id, parts...)
	if got, _, err := s.get(t, "k"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v, %d bytes", err, len(got))
	}
}

// TestCompleteConditions has the store check that nobody else was first.
func TestCompleteConditions(t *testing.T) {
	s := newMinIOStack(t)
	s.put(t, "k", content(1))
	id := s.begin(t, "k")
	in := completion("k", id, s.part(t, "k", id, 1, content(5*mib)))
	in.IfNoneMatch = aws.String("*")
	_, err := s.app.CompleteMultipartUpload(t.Context(), in)
	wantError(t, "If-None-Match", err, "PreconditionFailed")
	if got, _, err := s.get(t, "k"); err != nil || len(got) != 1 {
		t.Errorf("%v, %d bytes", err, len(got))
	}
	in.IfNoneMatch = nil
	if _, err := s.app.CompleteMultipartUpload(t.Context(), in); err != nil {
		t.Error(err)
	}
}

// TestListPartsPages pages through more parts than a page has, some of them held back.
func TestListPartsPages(t *testing.T) {
	s := newMinIOStack(t)
	id := s.begin(t, "k")
	const n = 7
	for i := range n {
		size := 10 + i
		if i == 3 {
			size = 5 * mib
		}
		s.part(t, "k", id, int32(i*3+1), content(size))
	}
	var numbers []int32
	pages := s3.NewListPartsPaginator(s.app, &s3.ListPartsInput{Bucket: aws.String(bucket), Key: aws.String("k"), UploadId: id, MaxParts: aws.Int32(3)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range page.Parts {
			numbers = append(numbers, *p.PartNumber)
		}
	}
	if fmt.Sprint(numbers) != "[1 4 7 10 13 16 19]" {
		t.Errorf("parts %v", numbers)
	}
	uploads, err := s.app.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: aws.String(bucket), Prefix: aws.String("k")})
	if err != nil || len(uploads.Uploads) != 1 || *uploads.Uploads[0].UploadId != *id {
		t.Errorf("uploads: %v, %+v", err, uploads)
	}
}

// TestUploadListing has a listing show the IDs that clients have, through any gateway
// and page by page, and the store's of uploads that are not the gateway's.
func TestUploadListing(t *testing.T) {
	s := newMinIOStack(t)
	want := map[string]bool{}
	for range 5 {
		want[*s.begin(t, "k")] = true
	}
	around, err := s.store.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: aws.String(bucket), Key: aws.String("k")})
	if err != nil {
		t.Fatal(err)
	}
	want[*around.UploadId] = true
	for name, app := range map[string]*s3.Client{"the same gateway": s.app, "another": s.replica(t).app} {
		got := map[string]bool{}
		in := &s3.ListMultipartUploadsInput{Bucket: aws.String(bucket), Prefix: aws.String("k"), MaxUploads: aws.Int32(2)}
		for range 3 {
			page, err := app.ListMultipartUploads(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			for _, u := range page.Uploads {
				got[*u.UploadId] = true
				in.KeyMarker, in.UploadIdMarker = u.Key, u.UploadId
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s: uploads %v, want %v", name, got, want)
		}
	}
	for id := range want {
		if _, err := s.app.AbortMultipartUpload(t.Context(), &s3.AbortMultipartUploadInput{Bucket: aws.String(bucket), Key: aws.String("k"), UploadId: &id}); err != nil {
			t.Errorf("aborting %s: %v", id, err)
		}
	}
}

// TestReplicas has every call of an upload go to another gateway.
func TestReplicas(t *testing.T) {
	s := newMinIOStack(t)
	replica := s.replica(t)
	id := s.begin(t, "k")
	a := replica.part(t, "k", id, 1, content(5*mib))
	b := s.part(t, "k", id, 2, content(9))
	replica.complete(t, "k", id, a, b)
	if got, _, err := s.get(t, "k"); err != nil || len(got) != 5*mib+9 {
		t.Errorf("%v, %d bytes", err, len(got))
	}
}

// TestHeaderOfACopy has the store give a running upload the header of a copy, of which
// somebody else may have the input key: no part is sealed under it.
func TestHeaderOfACopy(t *testing.T) {
	s := newMinIOStack(t)
	s.multipart(t, "source", 10)
	s.copied(t, "source", "k")
	header := s.stored(t, "k").metadata
	id := s.begin(t, "k")
	var record string
	for _, key := range s.hiddenKeys(t) {
		if strings.HasSuffix(key, "/upload") {
			record = key
		}
	}
	s.overwrite(t, record, stored{metadata: header})
	before := len(s.hiddenKeys(t))
	forged := *atStore(id) + "~" + envelope.UploadMark(header["sidekey"])
	for id, want := range map[string]string{*id: "NoSuchUpload", forged: "InternalError"} {
		_, err := s.replica(t).app.UploadPart(t.Context(), &s3.UploadPartInput{
			Bucket: aws.String(bucket), Key: aws.String("k"), UploadId: &id, PartNumber: aws.Int32(1), Body: strings.NewReader("secret"),
		})
		wantError(t, "a part", err, want)
	}
	if after := len(s.hiddenKeys(t)); after != before {
		t.Errorf("%d hidden objects, then %d", before, after)
	}
}

func crcOf(algorithm types.ChecksumAlgorithm, b []byte) string {
	switch algorithm {
	case types.ChecksumAlgorithmCrc32:
		return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(b)))
	case types.ChecksumAlgorithmCrc32c:
		return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))))
	}
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, crc64nvme.Checksum(b)))
}

// TestFullObjectChecksums joins the CRCs of parts to that of the whole.
func TestFullObjectChecksums(t *testing.T) {
	s := newMinIOStack(t)
	bodies := [][]byte{content(5*mib + 7), content(5 * mib), content(3)}
	whole := bytes.Join(bodies, nil)
	for _, algorithm := range []types.ChecksumAlgorithm{types.ChecksumAlgorithmCrc32, types.ChecksumAlgorithmCrc32c, types.ChecksumAlgorithmCrc64nvme} {
		key := string(algorithm)
		id := s.begin(t, key, func(in *s3.CreateMultipartUploadInput) {
			in.ChecksumAlgorithm, in.ChecksumType = algorithm, types.ChecksumTypeFullObject
		})
		var parts []types.CompletedPart
		for i, body := range bodies {
			parts = append(parts, s.part(t, key, id, int32(i+1), body, func(in *s3.UploadPartInput) { in.ChecksumAlgorithm = algorithm }))
		}
		want := crcOf(algorithm, whole)
		in := completion(key, id, parts...)
		field := map[types.ChecksumAlgorithm]**string{types.ChecksumAlgorithmCrc32: &in.ChecksumCRC32, types.ChecksumAlgorithmCrc32c: &in.ChecksumCRC32C, types.ChecksumAlgorithmCrc64nvme: &in.ChecksumCRC64NVME}[algorithm]
		*field = aws.String(crcOf(algorithm, whole[1:]))
		_, err := s.app.CompleteMultipartUpload(t.Context(), in)
		wantError(t, key+": a wrong checksum of the whole", err, "BadDigest")
		s.mustBeAbsent(t, key)
		*field = &want
		if _, err := s.app.CompleteMultipartUpload(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		head, err := s.app.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(bucket), Key: &key, ChecksumMode: types.ChecksumModeEnabled})
		if err != nil {
			t.Fatal(err)
		}
		got := map[types.ChecksumAlgorithm]*string{types.ChecksumAlgorithmCrc32: head.ChecksumCRC32, types.ChecksumAlgorithmCrc32c: head.ChecksumCRC32C, types.ChecksumAlgorithmCrc64nvme: head.ChecksumCRC64NVME}[algorithm]
		if got == nil || *got != want || head.ChecksumType != types.ChecksumTypeFullObject {
			t.Errorf("%s: got %v of type %s, want %s", key, aws.ToString(got), head.ChecksumType, want)
		}
		if stored := s.stored(t, key); strings.Contains(fmt.Sprint(stored.metadata), want) {
			t.Errorf("%s: the checksum of the plaintext is stored in the clear", key)
		}
	}
}

// TestChecksumOfAnother refuses to say that a checksum of the whole holds which nothing was
// computed for.
func TestChecksumOfAnother(t *testing.T) {
	s := newMinIOStack(t)
	for _, algorithm := range []types.ChecksumAlgorithm{"", types.ChecksumAlgorithmCrc32} {
		id := s.begin(t, "k", func(in *s3.CreateMultipartUploadInput) { in.ChecksumAlgorithm = algorithm })
		in := completion("k", id, s.part(t, "k", id, 1, content(10), func(in *s3.UploadPartInput) { in.ChecksumAlgorithm = algorithm }))
		in.ChecksumCRC32C = aws.String(crcOf(types.ChecksumAlgorithmCrc32c, content(10)))
		_, err := s.app.CompleteMultipartUpload(t.Context(), in)
		wantError(t, "a CRC32C of an upload of "+string(algorithm), err, "InvalidRequest")
		s.mustBeAbsent(t, "k")
	}
}

// TestCompositeChecksums has the checksum of the parts' checksums.
func TestCompositeChecksums(t *testing.T) {
	s := newMinIOStack(t)
	bodies := [][]byte{content(5 * mib), content(3)}
	id := s.begin(t, "k", func(in *s3.CreateMultipartUploadInput) { in.ChecksumAlgorithm = types.ChecksumAlgorithmSha256 })
	all := sha256.New()
	var parts []types.CompletedPart
	for i, body := range bodies {
		one := sha256.Sum256(body)
		all.Write(one[:])
		parts = append(parts, s.part(t, "k", id, int32(i+1), body, func(in *s3.UploadPartInput) { in.ChecksumAlgorithm = types.ChecksumAlgorithmSha256 }))
	}
	_, err := s.app.UploadPart(t.Context(), &s3.UploadPartInput{
		Bucket: aws.String(bucket), Key: aws.String("k"), UploadId: id, PartNumber: aws.Int32(3), Body: strings.NewReader("x"), ChecksumAlgorithm: types.ChecksumAlgorithmCrc32,
	})
	wantError(t, "a part with another algorithm", err, "InvalidRequest")
	listed, err := s.app.ListParts(t.Context(), &s3.ListPartsInput{Bucket: aws.String(bucket), Key: aws.String("k"), UploadId: id})
	if err != nil || len(listed.Parts) != 2 || aws.ToString(listed.Parts[0].ChecksumSHA256) != *parts[0].ChecksumSHA256 || listed.ChecksumType != types.ChecksumTypeComposite {
		t.Errorf("%v, %+v", err, listed)
	}
	wrong := parts[0]
	wrong.ChecksumSHA256 = parts[1].ChecksumSHA256
	_, err = s.app.CompleteMultipartUpload(t.Context(), completion("k", id, wrong, parts[1]))
	wantError(t, "a wrong checksum of a part", err, "InvalidPart")
	want := base64.StdEncoding.EncodeToString(all.Sum(nil)) + "-2"
	if out := s.complete(t, "k", id, parts...); aws.ToString(out.ChecksumSHA256) != want {
		t.Errorf("completed with %v, want %s", aws.ToString(out.ChecksumSHA256), want)
	}
	_, out, err := s.get(t, "k", func(in *s3.GetObjectInput) { in.ChecksumMode = types.ChecksumModeEnabled })
	if err != nil || aws.ToString(out.ChecksumSHA256) != want || out.ChecksumType != types.ChecksumTypeComposite {
		t.Errorf("%v, %+v", err, out)
	}
	attributes, err := s.app.GetObjectAttributes(t.Context(), &s3.GetObjectAttributesInput{Bucket: aws.String(bucket), Key: aws.String("k"), ObjectAttributes: []types.ObjectAttributes{"ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"}})
	if err != nil {
		t.Fatal(err)
	}
	p := attributes.ObjectParts
	if *attributes.ObjectSize != 5*mib+3 || attributes.StorageClass != "STANDARD" || p == nil || *p.TotalPartsCount != 2 || len(p.Parts) != 2 ||
		*p.Parts[1].Size != 3 || *p.Parts[1].ChecksumSHA256 != *parts[1].ChecksumSHA256 || *attributes.Checksum.ChecksumSHA256+"-2" != want {
		t.Errorf("%+v, parts %+v", attributes, p)
	}
}

// TestLateChecksums has checksums that come after the content: they are kept with it.
func TestLateChecksums(t *testing.T) {
	s := newMinIOStack(t)
	for _, size := range []int{0, 10, 64 << 10, 64<<10 + 1, 3 * mib} {
		body := content(size)
		key := fmt.Sprint(size)
		for _, algorithm := range []types.ChecksumAlgorithm{types.ChecksumAlgorithmCrc32, types.ChecksumAlgorithmSha256, types.ChecksumAlgorithmCrc64nvme} {
			put := s.trailing(t, key, body, algorithm)
			if put != 200 {
				t.Fatalf("%s, %s: got %d", key, algorithm, put)
			}
			got, out, err := s.get(t, key, func(in *s3.GetObjectInput) { in.ChecksumMode = types.ChecksumModeEnabled })
			if err != nil || !bytes.Equal(got, body) {
				t.Errorf("%s, %s: %v, %d bytes", key, algorithm, err, len(got))
				continue
			}
			if out.ChecksumCRC32 == nil && out.ChecksumSHA256 == nil && out.ChecksumCRC64NVME == nil {
				t.Errorf("%s, %s: no checksum", key, algorithm)
			}
			head, err := s.app.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(bucket), Key: &key, ChecksumMode: types.ChecksumModeEnabled})
			if err != nil || aws.ToString(head.ChecksumCRC32) != aws.ToString(out.ChecksumCRC32) || aws.ToString(head.ChecksumSHA256) != aws.ToString(out.ChecksumSHA256) {
				t.Errorf("%s, %s: %v, %+v", key, algorithm, err, head)
			}
		}
	}
}

// trailing puts an object whose checksum comes in the trailer, and returns the status.
func (s *stack) trailing(t testing.TB, key string, body []byte, algorithm types.ChecksumAlgorithm) int {
	t.Helper()
	value := ""
	if algorithm == types.ChecksumAlgorithmSha256 {
		sum := sha256.Sum256(body)
		value = base64.StdEncoding.EncodeToString(sum[:])
	} else {
		value = crcOf(algorithm, body)
	}
	name := "x-amz-checksum-" + strings.ToLower(string(algorithm))
	framed := ""
	if len(body) > 0 {
		framed = fmt.Sprintf("%x\r\n%s\r\n", len(body), body)
	}
	status, e := s.do(t, s.rawRequest(t, "PUT", "/"+bucket+"/"+key, framed+"0\r\n"+name+":"+value+"\r\n\r\n", map[string]string{
		"x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "x-amz-decoded-content-length": fmt.Sprint(len(body)), "x-amz-trailer": name,
	}))
	if status != 200 {
		t.Errorf("%+v", e)
	}
	return status
}
