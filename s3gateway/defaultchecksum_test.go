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
