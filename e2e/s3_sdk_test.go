// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	tmtypes "github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/minio/minio-go/v7"
	miniocredentials "github.com/minio/minio-go/v7/pkg/credentials"
)

// Sizes of whole transfers: around chunks, around parts, and out of order.
var transferSizes = []int{5<<20 + 1, 0, 16385, 17<<20 + 13, 1, 5 << 20, 10 << 20, 5<<20 - 1}

// Checksums that clients may ask for; the first is what the SDK does by itself.
var checksumAlgorithms = []types.ChecksumAlgorithm{"", types.ChecksumAlgorithmCrc32c, types.ChecksumAlgorithmSha1,
	types.ChecksumAlgorithmSha256, types.ChecksumAlgorithmCrc64nvme, types.ChecksumAlgorithmCrc32}

// runTransfers runs a program of s3clients on a bucket of its own.
func runTransfers(t *testing.T, s *s3Service, name string, command ...string) {
	t.Helper()
	bucket := s.bucket(t, name)
	p := s.program(t, command[0], command[1:]...)
	p.env = append(p.env, "BUCKET="+bucket, "AWS_CA_BUNDLE="+s.caFile, "NODE_EXTRA_CA_CERTS="+s.caFile)
	wantIn(t, name, p.run(), "all done\n")
	s.mustBeSealed(t, bucket)
}

// boto3Transfers runs s3clients/transfers.py.
func boto3Transfers(t *testing.T, s *s3Service) {
	runTransfers(t, s, "boto3", "/usr/bin/python3", absolute(t, "s3clients/transfers.py"))
}

// javaScriptTransfers runs s3clients/transfers.mjs.
func javaScriptTransfers(t *testing.T, s *s3Service) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal(err)
	}
	runTransfers(t, s, "javascript", node, absolute(t, "s3clients/transfers.mjs"), javaScriptSDK(t, "s3clients"))
}

// managerTransfers uses feature/s3/manager: parts of several sizes, readers
// that cannot seek, and downloads by ranges.
func managerTransfers(t *testing.T, s *s3Service) {
	bucket, client := s.bucket(t, "manager"), s.client(t)
	for i, size := range transferSizes {
		key, content := fmt.Sprintf("size-%d", size), s.text("manager", size)
		uploader := manager.NewUploader(client, func(u *manager.Uploader) {
			u.PartSize, u.Concurrency = 5<<20+int64(i)*1000, 3
		})
		input := &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: struct{ io.Reader }{bytes.NewReader(content)}}
		if i%2 == 0 {
			input.Body = bytes.NewReader(content)
		}
		input.ChecksumAlgorithm = checksumAlgorithms[i%len(checksumAlgorithms)]
		if _, err := uploader.Upload(t.Context(), input); err != nil {
			t.Errorf("uploading %s with %s: %v", key, input.ChecksumAlgorithm, err)
			continue
		}
		s.mustHold(t, bucket, key, content)
		downloader := manager.NewDownloader(client, func(d *manager.Downloader) { d.PartSize = 3_000_001 })
		buffer := manager.NewWriteAtBuffer(nil)
		n, err := downloader.Download(t.Context(), buffer, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
		if err != nil || n != int64(size) || !bytes.Equal(buffer.Bytes(), content) {
			t.Errorf("downloading %s: %d bytes (%v)", key, n, err)
		}
	}
	managerFailure(t, s, client, bucket)
	s.mustBeSealed(t, bucket)
}

// managerFailure breaks an upload off in its third part: no object is made,
// and the upload is aborted.
func managerFailure(t *testing.T, s *s3Service, client *s3.Client, bucket string) {
	failure, key := errors.New("the source failed"), "broken-off"
	body := io.MultiReader(bytes.NewReader(s.text("broken", 12<<20)), errorReader{failure})
	_, err := manager.NewUploader(client).Upload(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: body})
	if !errors.Is(err, failure) {
		t.Errorf("an upload whose source failed: %v", err)
	}
	if got, err := get(t.Context(), client, bucket, key); err == nil {
		t.Errorf("the upload that broke off left an object of %d bytes", len(got))
	}
	uploads, err := client.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: &bucket})
	if err != nil || len(uploads.Uploads) != 0 {
		t.Errorf("uploads left: %+v (%v)", uploads, err)
	}
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }

// transferManagerTransfers uses feature/s3/transfermanager, which checks the
// checksums of whole objects and downloads by parts or by ranges.
func transferManagerTransfers(t *testing.T, s *s3Service) {
	bucket, client := s.bucket(t, "transfermanager"), s.client(t)
	transfers := transfermanager.New(client, func(o *transfermanager.Options) {
		o.PartSizeBytes, o.MultipartUploadThreshold, o.Concurrency = 5<<20, 6<<20, 3
	})
	for i, size := range transferSizes {
		key, content := fmt.Sprintf("size-%d", size), s.text("transfermanager", size)
		algorithms := []tmtypes.ChecksumAlgorithm{"", tmtypes.ChecksumAlgorithmCrc32c, tmtypes.ChecksumAlgorithmSha256, tmtypes.ChecksumAlgorithmSha1}
		_, err := transfers.UploadObject(t.Context(), &transfermanager.UploadObjectInput{
			Bucket: &bucket, Key: &key, Body: bytes.NewReader(content), ChecksumAlgorithm: algorithms[i%len(algorithms)]})
		if err != nil {
			t.Errorf("uploading %s: %v", key, err)
			continue
		}
		s.mustHold(t, bucket, key, content)
		for _, kind := range []tmtypes.GetObjectType{tmtypes.GetObjectParts, tmtypes.GetObjectRanges} {
			got, err := transferManagerDownload(t.Context(), transfers, bucket, key, kind)
			if err != nil || !bytes.Equal(got, content) {
				t.Errorf("downloading %s by %s: %d bytes (%v)", key, kind, len(got), err)
			}
		}
	}
	s.mustBeSealed(t, bucket)
}

func transferManagerDownload(ctx context.Context, transfers *transfermanager.Client, bucket, key string, kind tmtypes.GetObjectType) ([]byte, error) {
	byKind := func(o *transfermanager.Options) { o.GetObjectType = kind }
	whole, err := transfers.GetObject(ctx, &transfermanager.GetObjectInput{Bucket: &bucket, Key: &key}, byKind)
	if err != nil {
		return nil, err
	}
	streamed, err := io.ReadAll(whole.Body)
	if err != nil {
		return streamed, err
	}
	buffer := manager.NewWriteAtBuffer(nil)
	_, err = transfers.DownloadObject(ctx, &transfermanager.DownloadObjectInput{Bucket: &bucket, Key: &key, WriterAt: buffer}, byKind)
	if err == nil && !bytes.Equal(buffer.Bytes(), streamed) {
		err = errors.New("GetObject and DownloadObject differ")
	}
	return buffer.Bytes(), err
}

// minioGoTransfers uses minio-go: sizes unknown, files, compositions, copies
// and reads at any place.
func minioGoTransfers(t *testing.T, s *s3Service) {
	bucket := s.bucket(t, "minio-go")
	client, err := minio.New(s.address, &minio.Options{Secure: s.caFile != "", TrailingHeaders: true, Transport: s.transport(t),
		Creds: miniocredentials.NewStaticV4(s.access.id, s.access.secret, ""), Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	content := s.text("minio-go", 17<<20+13)
	minioGoPuts(t, s, client, bucket, content)
	minioGoReads(t, client, bucket, content)
	minioGoCopies(t, s, client, bucket, content)
	s.mustBeSealed(t, bucket)
	for found := range client.ListObjects(t.Context(), bucket, minio.ListObjectsOptions{Recursive: true}) {
		stat, err := client.StatObject(t.Context(), bucket, found.Key, minio.StatObjectOptions{})
		if found.Err != nil || err != nil || stat.Size != found.Size || stat.ETag != found.ETag {
			t.Errorf("listed %+v, StatObject says %+v (%v)", found, stat, err)
		}
	}
	for failure := range client.RemoveObjects(t.Context(), bucket, client.ListObjects(t.Context(), bucket, minio.ListObjectsOptions{Prefix: "put-"}), minio.RemoveObjectsOptions{}) {
		t.Error(failure.ObjectName, failure.Err)
	}
	for found := range client.ListObjects(t.Context(), bucket, minio.ListObjectsOptions{Prefix: "put-"}) {
		t.Errorf("%s is still there (%v)", found.Key, found.Err)
	}
}

func minioGoPuts(t *testing.T, s *s3Service, client *minio.Client, bucket string, content []byte) {
	for i, size := range transferSizes {
		key := fmt.Sprintf("put-%d", size)
		options, known := minio.PutObjectOptions{PartSize: 5 << 20, NumThreads: 2, UserMetadata: map[string]string{"Owner": "me"}}, int64(size)
		switch i % 4 {
		case 1:
			known = -1
		case 2:
			options.SendContentMd5 = true
		case 3:
			options.Checksum = minio.ChecksumCRC32C
		}
		info, err := client.PutObject(t.Context(), bucket, key, struct{ io.Reader }{bytes.NewReader(content[:size])}, known, options)
		if err != nil {
			t.Errorf("PutObject of %d bytes: %v", size, err)
			continue
		}
		stat, err := client.StatObject(t.Context(), bucket, key, minio.StatObjectOptions{})
		if err != nil || stat.Size != int64(size) || stat.ETag != info.ETag || stat.UserMetadata["Owner"] != "me" {
			t.Errorf("StatObject of %s: %+v (%v), want size %d and ETag %s", key, stat, err, size, info.ETag)
		}
		s.mustHold(t, bucket, key, content[:size])
	}
	p := s.program(t, "")
	if _, err := client.FPutObject(t.Context(), bucket, "file", p.file("file", content), minio.PutObjectOptions{PartSize: 6 << 20}); err != nil {
		t.Fatal(err)
	}
	if err := client.FGetObject(t.Context(), bucket, "file", p.dir+"/back", minio.GetObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	p.mustBe("back", content)
}

func minioGoReads(t *testing.T, client *minio.Client, bucket string, content []byte) {
	object, err := client.GetObject(t.Context(), bucket, "file", minio.GetObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer object.Close()
	buffer := make([]byte, 50_000)
	for _, at := range []int{6<<20 - 25_000, 0, 12<<20 - 1, 16_384, len(content) - 50_000} {
		if n, err := object.ReadAt(buffer, int64(at)); err != nil && err != io.EOF || !bytes.Equal(buffer[:n], content[at:at+50_000]) {
			t.Errorf("ReadAt %d: %d bytes (%v)", at, n, err)
		}
		if _, err := object.Seek(int64(at), io.SeekStart); err != nil {
			t.Errorf("Seek to %d: %v", at, err)
		}
		if n, err := io.ReadFull(object, buffer); err != nil || !bytes.Equal(buffer[:n], content[at:at+50_000]) {
			t.Errorf("Read after Seek to %d: %d bytes (%v)", at, n, err)
		}
	}
	if _, err := object.ReadAt(buffer, int64(len(content))); err != io.EOF {
		t.Errorf("ReadAt the end: %v, want EOF", err)
	}
}

func minioGoCopies(t *testing.T, s *s3Service, client *minio.Client, bucket string, content []byte) {
	source := minio.CopySrcOptions{Bucket: bucket, Object: "file"}
	if _, err := client.CopyObject(t.Context(), minio.CopyDestOptions{Bucket: bucket, Object: "copy"}, source); err != nil {
		t.Fatal(err)
	}
	s.mustHold(t, bucket, "copy", content)
	middle := source
	middle.MatchRange, middle.Start, middle.End = true, 4_000_001, 10_000_000
	info, err := client.ComposeObject(t.Context(), minio.CopyDestOptions{Bucket: bucket, Object: "composed"}, source, middle, minio.CopySrcOptions{Bucket: bucket, Object: "copy"})
	want := bytes.Join([][]byte{content, content[4_000_001:10_000_001], content}, nil)
	if err != nil || aws.ToInt64(&info.Size) != int64(len(want)) {
		t.Fatalf("ComposeObject: %+v (%v), want %d bytes", info, err, len(want))
	}
	s.mustHold(t, bucket, "composed", want)
}
