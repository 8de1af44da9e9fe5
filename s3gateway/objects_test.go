// SPDX-License-Identifier: Apache-2.0

package s3gateway_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/google/go-cmp/cmp"

	"github.com/sidekey/sidekey/proxy"
	"github.com/sidekey/sidekey/proxy/envelope"
)

// TestMemoryStore and TestMinIO run the same cases before two stores.
func TestMemoryStore(t *testing.T) { objectCases(t, newMemoryStack(t)) }
func TestMinIO(t *testing.T)       { objectCases(t, newMinIOStack(t)) }

func objectCases(t *testing.T, s *stack) {
	for name, run := range map[string]func(*testing.T, *stack){
		"round trip": roundTrip, "ranges": ranges, "names": names, "listings": listings, "metadata": metadata,
		"encryption headers": encryptionHeaders, "checksums": checksums, "deleting": deleting, "buckets": buckets,
		"presigned": presignedForm, "overrides": overrides, "conditions": conditions, "part number": partNumber,
		"foreign object": foreignObject,
	} {
		t.Run(name, func(t *testing.T) { run(t, s) })
	}
}

const chunk = envelope.ChunkSize

var sizes = []int{0, 1, 100, chunk - 1, chunk, chunk + 1, 4 * chunk, 64<<10 + 1, 7*chunk + 5, 8 * chunk, 8*chunk + 1, 1 << 20, 3<<20 + 77}

func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return fmt.Sprint(err)
}

func status(err error) int {
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) {
		return response.HTTPStatusCode()
	}
	return 0
}

func roundTrip(t *testing.T, s *stack) {
	for _, size := range sizes {
		key := fmt.Sprintf("size/%d", size)
		want := content(size)
		put := s.put(t, key, want)
		got, out, err := s.get(t, key)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes: got %d bytes, %v", size, len(got), err)
		}
		if *out.ContentLength != int64(size) || out.ServerSideEncryption != types.ServerSideEncryptionAwsKms || aws.ToString(out.SSEKMSKeyId) != s.ruleKey {
			t.Errorf("%d bytes: got length %d, encryption %s %s", size, *out.ContentLength, out.ServerSideEncryption, aws.ToString(out.SSEKMSKeyId))
		}
		if tag := aws.ToString(put.ETag); tag != aws.ToString(out.ETag) || !strings.HasPrefix(tag, `"`) {
			t.Errorf("%d bytes: got ETag %s of PUT, %s of GET", size, tag, aws.ToString(out.ETag))
		}
		head, err := s.app.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(bucket), Key: &key})
		if err != nil || *head.ContentLength != int64(size) || aws.ToString(head.SSEKMSKeyId) != s.ruleKey {
			t.Errorf("%d bytes: HEAD: %+v, %v", size, head, err)
		}
		raw := s.stored(t, key)
		if int64(len(raw.body)) != proxy.SealedSize(int64(size)) {
			t.Errorf("%d bytes: stored are %d, want %d", size, len(raw.body), proxy.SealedSize(int64(size)))
		}
		if size > 64 && bytes.Contains(raw.body, want[:64]) {
			t.Errorf("%d bytes: the store holds plaintext", size)
		}
	}
}

func ranges(t *testing.T, s *stack) {
	for _, size := range []int{0, 1, 100, chunk, chunk + 1, 3 * chunk, 200_000} {
		key := fmt.Sprintf("ranged/%d", size)
		want := content(size)
		s.put(t, key, want)
		var headers []string
		for _, at := range []int{0, 1, 99, chunk - 1, chunk, chunk + 1, 2 * chunk, size - 1, size, size + 1, 10 * size, 1 << 40} {
			if at < 0 {
				continue
			}
			headers = append(headers, fmt.Sprintf("bytes=%d-", at), fmt.Sprintf("bytes=-%d", at))
			for _, n := range []int{1, 2, chunk, chunk + 1, size, 1 << 30} {
				headers = append(headers, fmt.Sprintf("bytes=%d-%d", at, at+n-1))
			}
		}
		headers = append(headers, "bytes=5-3", "bytes=a-b", "bytes=-", "bytes=", "octets=0-1", "bytes=0-1,3-4", "bytes=0-99999999999999999999999")
		for _, header := range headers {
			off, n, st := expectedRange(header, int64(size))
			got, out, err := s.get(t, key, func(in *s3.GetObjectInput) { in.Range = &header })
			head, headErr := s.app.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(bucket), Key: &key, Range: &header})
			if st == http.StatusRequestedRangeNotSatisfiable {
				if code(err) != "InvalidRange" || status(err) != st || status(headErr) != st {
					t.Errorf("%d bytes, %s: got %v and %v", size, header, err, headErr)
				}
				continue
			}
			if err != nil || !bytes.Equal(got, want[off:off+n]) {
				t.Errorf("%d bytes, %s: got %d bytes, %v, want %d from %d", size, header, len(got), err, n, off)
				continue
			}
			wantRange := ""
			if st == http.StatusPartialContent {
				wantRange = fmt.Sprintf("bytes %d-%d/%d", off, off+n-1, size)
			}
			if aws.ToString(out.ContentRange) != wantRange || *out.ContentLength != n {
				t.Errorf("%d bytes, %s: got Content-Range %q, length %d", size, header, aws.ToString(out.ContentRange), *out.ContentLength)
			}
			if headErr != nil || *head.ContentLength != n || aws.ToString(head.ContentRange) != wantRange {
				t.Errorf("%d bytes, %s: HEAD: %v", size, header, headErr)
			}
		}
	}
}

// expectedRange is the rule of RFC 9110 with S3's tolerance, written as plainly
// as it can be.
func expectedRange(header string, size int64) (off, n int64, status int) {
	var a, b int64
	if c, _ := fmt.Sscanf(header, "bytes=-%d", &b); c == 1 && !strings.Contains(header, ",") {
		n = min(b, size)
		if n == 0 {
			return 0, 0, http.StatusRequestedRangeNotSatisfiable
		}
		return size - n, n, http.StatusPartialContent
	}
	var rest string
	if c, _ := fmt.Sscanf(header, "bytes=%d-%s", &a, &rest); c == 0 || strings.Contains(header, ",") {
		return 0, size, http.StatusOK
	}
	b = size - 1
	if rest != "" {
		b = 1 << 60
	}
	if rest != "" && len(rest) < 19 {
		fmt.Sscan(rest, &b)
	}
	if rest != "" && b < a {
		return 0, size, http.StatusOK
	}
	if a >= size {
		return 0, 0, http.StatusRequestedRangeNotSatisfiable
	}
	return a, min(b, size-1) - a + 1, http.StatusPartialContent
}

func names(t *testing.T, s *stack) {
	keys := []string{"plain", "sp ace", "plus+plus", "per%cent", "per%2Fcent", "ünï/cödé/€", "a=b&c?d#e", "quote'\"<>", "tilde~-._", "deep/er/and/deeper", "(paren)*!", "semi;colon,comma@:"}
	for _, key := range keys {
		want := []byte("content of " + key)
		s.put(t, "names/"+key, want)
		got, _, err := s.get(t, "names/"+key)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%q: got %q, %v", key, got, err)
		}
	}
	out, err := s.app.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(bucket), Prefix: aws.String("names/")})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int64{}
	for _, o := range out.Contents {
		found[strings.TrimPrefix(*o.Key, "names/")] = *o.Size
	}
	for _, key := range keys {
		if found[key] != int64(len("content of "+key)) {
			t.Errorf("%q: listed with %d bytes", key, found[key])
		}
	}
}

func listings(t *testing.T, s *stack) {
	want := map[string]int64{}
	for i, size := range sizes {
		key := fmt.Sprintf("list/%02d", i)
		s.put(t, key, content(size))
		want[key] = int64(size)
	}
	got := map[string]int64{}
	pages := s3.NewListObjectsV2Paginator(s.app, &s3.ListObjectsV2Input{Bucket: aws.String(bucket), Prefix: aws.String("list/"), MaxKeys: aws.Int32(4)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Contents {
			got[*o.Key] = *o.Size
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("version 2: %s", diff)
	}
	v1, err := s.app.ListObjects(t.Context(), &s3.ListObjectsInput{Bucket: aws.String(bucket), Prefix: aws.String("list/"), EncodingType: types.EncodingTypeUrl})
	if err != nil || len(v1.Contents) != len(sizes) {
		t.Fatalf("version 1: %d, %v", len(v1.Contents), err)
	}
	for i, o := range v1.Contents {
		if *o.Size != int64(sizes[i]) || aws.ToString(o.ETag) == "" {
			t.Errorf("version 1: %s has %d bytes", *o.Key, *o.Size)
		}
	}
	grouped, err := s.app.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(bucket), Delimiter: aws.String("/"), Prefix: aws.String("li")})
	if err != nil || len(grouped.CommonPrefixes) != 1 || *grouped.CommonPrefixes[0].Prefix != "list/" {
		t.Errorf("delimiter: %+v, %v", grouped, err)
	}
}

func metadata(t *testing.T, s *stack) {
	want := map[string]string{"color": "blue", "shape": "round  and  wide"}
	s.put(t, "described", []byte("x"), func(in *s3.PutObjectInput) {
		in.Metadata, in.ContentType, in.ContentEncoding = want, aws.String("text/x-test"), aws.String("gzip")
		in.ContentDisposition = aws.String(`attachment; filename="a b"`)
	})
	_, out, err := s.get(t, "described")
	if err != nil {
		t.Fatal(err)
	}
	if s.full {
		if diff := cmp.Diff(want, out.Metadata); diff != "" {
			t.Errorf("metadata: %s", diff)
		}
	}
	if out.Metadata["color"] != "blue" || out.Metadata["sidekey"] != "" {
		t.Errorf("got metadata %v", out.Metadata)
	}
	if aws.ToString(out.ContentType) != "text/x-test" || aws.ToString(out.ContentEncoding) != "gzip" || aws.ToString(out.ContentDisposition) != `attachment; filename="a b"` {
		t.Errorf("got %v %v %v", aws.ToString(out.ContentType), aws.ToString(out.ContentEncoding), aws.ToString(out.ContentDisposition))
	}
	for name, c := range map[string]struct {
		metadata map[string]string
		want     string
	}{
		"ours":  {map[string]string{"sidekey": "forged"}, "InvalidArgument"},
		"large": {map[string]string{"big": strings.Repeat("m", 2048)}, "MetadataTooLarge"},
	} {
		_, err := s.app.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("refused"), Body: strings.NewReader("x"), Metadata: c.metadata})
		if code(err) != c.want {
			t.Errorf("%s: got %v", name, err)
		}
	}
	s.mustBeAbsent(t, "refused")
}

func encryptionHeaders(t *testing.T, s *stack) {
	out := s.put(t, "own-key", []byte("secret"), func(in *s3.PutObjectInput) {
		in.ServerSideEncryption, in.SSEKMSKeyId = types.ServerSideEncryptionAwsKms, aws.String(s.anotherKey)
		in.SSEKMSEncryptionContext = aws.String(base64.StdEncoding.EncodeToString([]byte(`{"tenant":"a"}`)))
	})
	if aws.ToString(out.SSEKMSKeyId) != s.anotherKey {
		t.Errorf("PUT names the key %s", aws.ToString(out.SSEKMSKeyId))
	}
	got, get, err := s.get(t, "own-key")
	if err != nil || string(got) != "secret" || aws.ToString(get.SSEKMSKeyId) != s.anotherKey {
		t.Errorf("got %q, %v", got, err)
	}
	if out := s.put(t, "sse-s3", []byte("x"), func(in *s3.PutObjectInput) { in.ServerSideEncryption = types.ServerSideEncryptionAes256 }); aws.ToString(out.SSEKMSKeyId) != s.ruleKey {
		t.Errorf("AES256 got the key %s", aws.ToString(out.SSEKMSKeyId))
	}
	for name, c := range map[string]struct {
		edit func(*s3.PutObjectInput)
		want string
	}{
		"dsse":       {func(in *s3.PutObjectInput) { in.ServerSideEncryption = types.ServerSideEncryptionAwsKmsDsse }, "NotImplemented"},
		"nonsense":   {func(in *s3.PutObjectInput) { in.ServerSideEncryption = "rot13" }, "InvalidEncryptionAlgorithmError"},
		"key of AES": {func(in *s3.PutObjectInput) { in.ServerSideEncryption, in.SSEKMSKeyId = "AES256", aws.String("k") }, "InvalidArgument"},
		"bad context": {func(in *s3.PutObjectInput) {
			in.ServerSideEncryption, in.SSEKMSEncryptionContext = "aws:kms", aws.String("!")
		}, "InvalidArgument"},
		"reserved": {func(in *s3.PutObjectInput) {
			in.ServerSideEncryption, in.SSEKMSEncryptionContext = "aws:kms", aws.String(base64.StdEncoding.EncodeToString([]byte(`{"aws:s3:arn":"x"}`)))
		}, "InvalidArgument"},
	} {
		in := &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("sse-refused"), Body: strings.NewReader("x")}
		c.edit(in)
		if _, err := s.app.PutObject(t.Context(), in); code(err) != c.want {
			t.Errorf("%s: got %v", name, err)
		}
	}
	s.mustBeAbsent(t, "sse-refused")
}

func checksums(t *testing.T, s *stack) {
	body := content(100_000)
	for _, size := range []int{10, len(body)} {
		for _, algorithm := range []types.ChecksumAlgorithm{"CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"} {
			key := fmt.Sprintf("sum/%s/%d", algorithm, size)
			out := s.put(t, key, body[:size], func(in *s3.PutObjectInput) { in.ChecksumAlgorithm = algorithm })
			put := [...]*string{out.ChecksumCRC32, out.ChecksumCRC32C, out.ChecksumCRC64NVME, out.ChecksumSHA1, out.ChecksumSHA256}
			got, get, err := s.get(t, key, func(in *s3.GetObjectInput) { in.ChecksumMode = types.ChecksumModeEnabled })
			if err != nil || !bytes.Equal(got, body[:size]) {
				t.Fatalf("%s: %v", key, err)
			}
			answered := [...]*string{get.ChecksumCRC32, get.ChecksumCRC32C, get.ChecksumCRC64NVME, get.ChecksumSHA1, get.ChecksumSHA256}
			count := 0
			for i := range put {
				if put[i] == nil {
					continue
				}
				count++
				if answered[i] == nil || *answered[i] != *put[i] {
					t.Errorf("%s: PUT answered %s, GET %s", key, *put[i], aws.ToString(answered[i]))
				}
			}
			if count != 1 {
				t.Errorf("%s: PUT answered %d checksums", key, count)
			}
			_, part, err := s.get(t, key, func(in *s3.GetObjectInput) {
				in.ChecksumMode, in.Range = types.ChecksumModeEnabled, aws.String("bytes=0-4")
			})
			if err != nil || part.ChecksumCRC32 != nil || part.ChecksumSHA256 != nil {
				t.Errorf("%s: a range has a checksum, %v", key, err)
			}
		}
	}
	sum := md5.Sum(body)
	s.put(t, "md5", body, func(in *s3.PutObjectInput) { in.ContentMD5 = aws.String(base64.StdEncoding.EncodeToString(sum[:])) })
	for name, edit := range map[string]func(*s3.PutObjectInput){
		"md5":   func(in *s3.PutObjectInput) { in.ContentMD5 = aws.String("AAAAAAAAAAAAAAAAAAAAAA==") },
		"crc32": func(in *s3.PutObjectInput) { in.ChecksumCRC32 = aws.String("AAAAAA==") },
		"sha256": func(in *s3.PutObjectInput) {
			in.ChecksumSHA256 = aws.String("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
		},
	} {
		for _, size := range []int{10, len(body)} {
			in := &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("wrong-sum"), Body: bytes.NewReader(body[:size])}
			edit(in)
			if _, err := s.app.PutObject(t.Context(), in); code(err) != "BadDigest" {
				t.Errorf("%s of %d bytes: got %v", name, size, err)
			}
		}
	}
	s.mustBeAbsent(t, "wrong-sum")
}

func deleting(t *testing.T, s *stack) {
	for _, key := range []string{"del/1", "del/2", "del/3 &<>"} {
		s.put(t, key, []byte("x"))
	}
	if _, err := s.app.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String(bucket), Key: aws.String("del/1")}); err != nil {
		t.Fatal(err)
	}
	out, err := s.app.DeleteObjects(t.Context(), &s3.DeleteObjectsInput{Bucket: aws.String(bucket), Delete: &types.Delete{
		Objects: []types.ObjectIdentifier{{Key: aws.String("del/2")}, {Key: aws.String("del/3 &<>")}},
	}})
	if err != nil || len(out.Deleted) != 2 {
		t.Fatalf("got %+v, %v", out, err)
	}
	for _, key := range []string{"del/1", "del/2", "del/3 &<>"} {
		s.mustBeAbsent(t, key)
		if _, _, err := s.get(t, key); code(err) != "NoSuchKey" {
			t.Errorf("%s: got %v", key, err)
		}
	}
}

func buckets(t *testing.T, s *stack) {
	ctx, name := t.Context(), aws.String("second")
	if _, err := s.app.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: name, CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: region}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.app.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: name}); err != nil {
		t.Error(err)
	}
	location, err := s.app.GetBucketLocation(ctx, &s3.GetBucketLocationInput{Bucket: name})
	if err != nil || string(location.LocationConstraint) != region {
		t.Errorf("location: %+v, %v", location, err)
	}
	all, err := s.app.ListBuckets(ctx, &s3.ListBucketsInput{})
	if err != nil || len(all.Buckets) != 2 {
		t.Errorf("buckets: %+v, %v", all, err)
	}
	_, err = s.app.PutObject(ctx, &s3.PutObjectInput{Bucket: name, Key: aws.String("k"), Body: strings.NewReader("x")})
	if code(err) != "AccessDenied" {
		t.Errorf("PUT without a rule: got %v", err)
	}
	if _, err := s.app.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: name}); err != nil {
		t.Error(err)
	}
	if _, err := s.app.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: name}); status(err) != http.StatusNotFound {
		t.Errorf("HEAD of no bucket: got %v", err)
	}
	if _, err := s.app.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: name, CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: "us-west-2"}}); code(err) != "IllegalLocationConstraintException" {
		t.Errorf("another region: got %v", err)
	}
}

func presignedForm(t *testing.T, s *stack) {
	ctx, want := t.Context(), content(50_000)
	signer := s3.NewPresignClient(s.app)
	put, err := signer.PresignPutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("pre/signed +%")})
	if err != nil {
		t.Fatal(err)
	}
	request, _ := http.NewRequestWithContext(ctx, put.Method, put.URL, bytes.NewReader(want))
	for name, values := range put.SignedHeader {
		request.Header[name] = values
	}
	if answer, err := http.DefaultClient.Do(request); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("PUT: %v %v", answer, err)
	}
	get, err := signer.PresignGetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String("pre/signed +%"), ResponseContentType: aws.String("text/x; charset=a b")})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.Get(get.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	got, err := io.ReadAll(answer.Body)
	if err != nil || !bytes.Equal(got, want) || answer.Header.Get("Content-Type") != "text/x; charset=a b" {
		t.Errorf("GET: %d bytes, %v, %v", len(got), answer.Header, err)
	}
}

func overrides(t *testing.T, s *stack) {
	s.put(t, "over", []byte("x"))
	_, out, err := s.get(t, "over", func(in *s3.GetObjectInput) {
		in.ResponseContentType, in.ResponseCacheControl = aws.String("a/b"), aws.String("no-store")
		in.ResponseContentDisposition = aws.String(`attachment; filename="ü"`)
	})
	if err != nil || aws.ToString(out.ContentType) != "a/b" || aws.ToString(out.CacheControl) != "no-store" {
		t.Errorf("got %+v, %v", out, err)
	}
}

func conditions(t *testing.T, s *stack) {
	key := "conditional"
	tag := aws.ToString(s.put(t, key, content(40_000)).ETag)
	if _, _, err := s.get(t, key, func(in *s3.GetObjectInput) { in.IfNoneMatch = &tag }); status(err) != http.StatusNotModified {
		t.Errorf("If-None-Match: got %v", err)
	}
	if _, err := s.app.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(bucket), Key: &key, IfNoneMatch: &tag}); status(err) != http.StatusNotModified {
		t.Errorf("HEAD If-None-Match: got %v", err)
	}
	_, err := s.app.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: &key, Body: strings.NewReader("x"), IfNoneMatch: aws.String("*")})
	if status(err) != http.StatusPreconditionFailed {
		t.Errorf("PUT If-None-Match: *: got %v", err)
	}
	if got := s.ifRange(t, key, tag); got != http.StatusPartialContent {
		t.Errorf("If-Range of the ETag: got %d", got)
	}
	if got := s.ifRange(t, key, `"other"`); got != http.StatusOK {
		t.Errorf("If-Range of another ETag: got %d", got)
	}
	if !s.full {
		return
	}
	if _, _, err := s.get(t, key, func(in *s3.GetObjectInput) { in.IfMatch = aws.String(`"other"`) }); code(err) != "PreconditionFailed" {
		t.Errorf("If-Match: got %v", err)
	}
	if _, _, err := s.get(t, key, func(in *s3.GetObjectInput) { in.IfMatch, in.Range = &tag, aws.String("bytes=-5") }); err != nil {
		t.Errorf("If-Match of the ETag: got %v", err)
	}
	if _, _, err := s.get(t, key, func(in *s3.GetObjectInput) { in.IfModifiedSince = aws.Time(time.Now().Add(time.Hour)) }); err != nil && status(err) != http.StatusNotModified {
		t.Errorf("If-Modified-Since: got %v", err)
	}
	if _, _, err := s.get(t, key, func(in *s3.GetObjectInput) { in.IfUnmodifiedSince = aws.Time(time.Unix(1e9, 0)) }); status(err) != http.StatusPreconditionFailed {
		t.Errorf("If-Unmodified-Since: got %v", err)
	}
}

func (s *stack) ifRange(t *testing.T, key, condition string) int {
	t.Helper()
	signed, err := s3.NewPresignClient(s.app).PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(bucket), Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	request, _ := http.NewRequestWithContext(context.Background(), "GET", signed.URL, nil)
	request.Header.Set("Range", "bytes=3-5")
	request.Header.Set("If-Range", condition)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, err := io.ReadAll(answer.Body); err != nil || int64(len(body)) != answer.ContentLength {
		t.Errorf("got %d bytes, %v", len(body), err)
	}
	return answer.StatusCode
}

func partNumber(t *testing.T, s *stack) {
	s.put(t, "part", content(5000))
	got, out, err := s.get(t, "part", func(in *s3.GetObjectInput) { in.PartNumber = aws.Int32(1) })
	if err != nil || len(got) != 5000 || aws.ToString(out.ContentRange) != "bytes 0-4999/5000" {
		t.Errorf("part 1: %d bytes, %v", len(got), err)
	}
	if _, _, err := s.get(t, "part", func(in *s3.GetObjectInput) { in.PartNumber = aws.Int32(2) }); code(err) != "InvalidPartNumber" {
		t.Errorf("part 2: got %v", err)
	}
}

func foreignObject(t *testing.T, s *stack) {
	s.overwrite(t, "foreign", stored{body: []byte("not sealed")})
	if _, _, err := s.get(t, "foreign"); code(err) != "InvalidObjectState" {
		t.Errorf("GET: got %v", err)
	}
	if _, err := s.app.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(bucket), Key: aws.String("foreign")}); status(err) != http.StatusForbidden {
		t.Errorf("HEAD: got %v", err)
	}
}
