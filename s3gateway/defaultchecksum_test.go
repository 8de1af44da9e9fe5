// SPDX-License-Identifier: Apache-2.0

package s3gateway_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// withoutChecksums sends none that an operation does not need.
func withoutChecksums(o *s3.Options) {
	o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
}

// TestDefaultChecksum has objects of clients that name no checksum get the one that S3
// computes, and no others.
func TestDefaultChecksum(t *testing.T) {
	s := newMinIOStack(t)
	app := client(s.endpoint, appID, appSecret, withoutChecksums)
	for _, size := range []int{0, 5, 64 << 10, 64<<10 + 1, mib} {
		body := content(size)
		key, want := fmt.Sprint(size), crcOf(types.ChecksumAlgorithmCrc64nvme, body)
		put, err := app.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: &key, Body: bytes.NewReader(body)})
		if err != nil {
			t.Fatal(err)
		}
		if put.ETag == nil || put.ChecksumCRC32 != nil {
			t.Errorf("%s: %+v", key, put)
		}
		if got := aws.ToString(put.ChecksumCRC64NVME); got != want || put.ChecksumType != types.ChecksumTypeFullObject {
			t.Errorf("%s: PUT answers %q of type %s, want %q", key, got, put.ChecksumType, want)
		}
		s.mustHaveCRC64(t, key, want)
		if stored := s.stored(t, key); strings.Contains(fmt.Sprint(stored.metadata), want) {
			t.Errorf("%s: the checksum of the plaintext is stored in the clear", key)
		}
		copied, err := app.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: aws.String(bucket), Key: aws.String("copy"), CopySource: aws.String(bucket + "/" + key)})
		if err != nil || size <= 64<<10 && aws.ToString(copied.CopyObjectResult.ChecksumCRC64NVME) != want {
			t.Errorf("%s: copied: %v, %+v", key, err, copied)
		}
		s.mustHaveCRC64(t, "copy", want)
	}
	s.put(t, "named", content(100), func(in *s3.PutObjectInput) { in.ChecksumAlgorithm = types.ChecksumAlgorithmSha256 })
	s.mustHaveCRC64(t, "named", "")
}

// TestDefaultChecksumOfParts has an upload that names no checksum get the CRC64NVME of
// the whole, whatever its parts come with.
func TestDefaultChecksumOfParts(t *testing.T) {
	s := newMinIOStack(t)
	app := client(s.endpoint, appID, appSecret, withoutChecksums)
	begun, err := app.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: aws.String(bucket), Key: aws.String("k")})
	if err != nil {
		t.Fatal(err)
	}
	bodies := [][]byte{content(5*mib + 7), content(5 * mib), content(3)}
	var parts []types.CompletedPart
	for i, algorithm := range []types.ChecksumAlgorithm{"", types.ChecksumAlgorithmSha256, types.ChecksumAlgorithmCrc64nvme} {
		out, err := app.UploadPart(t.Context(), &s3.UploadPartInput{
			Bucket: aws.String(bucket), Key: aws.String("k"), UploadId: begun.UploadId, PartNumber: aws.Int32(int32(i + 1)), Body: bytes.NewReader(bodies[i]), ChecksumAlgorithm: algorithm,
		})
		if err != nil {
			t.Fatal(err)
		}
		if named := algorithm == types.ChecksumAlgorithmSha256; named == (out.ChecksumSHA256 == nil) || named != (out.ChecksumCRC64NVME == nil) {
			t.Errorf("part %d: %+v", i+1, out)
		}
		parts = append(parts, types.CompletedPart{PartNumber: aws.Int32(int32(i + 1)), ETag: out.ETag, ChecksumSHA256: out.ChecksumSHA256, ChecksumCRC64NVME: out.ChecksumCRC64NVME})
	}
	listed, err := app.ListParts(t.Context(), &s3.ListPartsInput{Bucket: aws.String(bucket), Key: aws.String("k"), UploadId: begun.UploadId})
	if err != nil || listed.ChecksumAlgorithm != types.ChecksumAlgorithmCrc64nvme || listed.ChecksumType != types.ChecksumTypeFullObject || len(listed.Parts) != 3 {
		t.Fatalf("%v: %+v", err, listed)
	}
	for i, part := range listed.Parts {
		if got, want := aws.ToString(part.ChecksumCRC64NVME), crcOf(types.ChecksumAlgorithmCrc64nvme, bodies[i]); got != want {
			t.Errorf("part %d is listed with %q, want %q", i+1, got, want)
		}
	}
	wrong := parts[0]
	wrong.ChecksumCRC64NVME = parts[2].ChecksumCRC64NVME
	if _, err := app.CompleteMultipartUpload(t.Context(), completion("k", begun.UploadId, wrong, parts[1], parts[2])); code(err) != "InvalidPart" {
		t.Errorf("completing with a wrong checksum of a part: %v", err)
	}
	done, err := app.CompleteMultipartUpload(t.Context(), completion("k", begun.UploadId, parts...))
	want := crcOf(types.ChecksumAlgorithmCrc64nvme, bytes.Join(bodies, nil))
	if err != nil || aws.ToString(done.ChecksumCRC64NVME) != want || done.ChecksumType != types.ChecksumTypeFullObject {
		t.Fatalf("%v: %+v, want CRC64NVME %s", err, done, want)
	}
	s.mustHaveCRC64(t, "k", want)
}

// mustHaveCRC64 looks at what HEAD and GetObjectAttributes say of an object.
func (s *stack) mustHaveCRC64(t *testing.T, key, want string) {
	t.Helper()
	head, err := s.app.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(bucket), Key: &key, ChecksumMode: types.ChecksumModeEnabled})
	if err != nil || aws.ToString(head.ChecksumCRC64NVME) != want {
		t.Errorf("HEAD %s: %v, CRC64NVME %q of type %s, want %q", key, err, aws.ToString(head.ChecksumCRC64NVME), head.ChecksumType, want)
	}
	got, err := s.app.GetObjectAttributes(t.Context(), &s3.GetObjectAttributesInput{
		Bucket: aws.String(bucket), Key: &key, ObjectAttributes: []types.ObjectAttributes{types.ObjectAttributesChecksum},
	})
	if err != nil || got.Checksum == nil || aws.ToString(got.Checksum.ChecksumCRC64NVME) != want {
		t.Errorf("attributes of %s: %v, %+v, want CRC64NVME %q", key, err, got, want)
	}
	// The SDK compares it with what it reads.
	if _, out, err := s.get(t, key, func(in *s3.GetObjectInput) { in.ChecksumMode = types.ChecksumModeEnabled }); err != nil || aws.ToString(out.ChecksumCRC64NVME) != want {
		t.Errorf("GET %s: %v, want CRC64NVME %q", key, err, want)
	}
}
