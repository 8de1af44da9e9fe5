// SPDX-License-Identifier: Apache-2.0

package s3gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

// rawRequest signs a request as its header says and returns it unsent.
func (s *stack) rawRequest(t testing.TB, method, target, body string, header map[string]string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, s.endpoint+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	payload := "UNSIGNED-PAYLOAD"
	for name, value := range header {
		r.Header.Set(name, value)
		if strings.EqualFold(name, "x-amz-content-sha256") {
			payload = value
		}
		if name == "Host" {
			r.Host = value
		}
	}
	r.Header.Del("Host")
	r.Header.Set("X-Amz-Content-Sha256", payload)
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	err = signer.SignHTTP(context.Background(), aws.Credentials{AccessKeyID: appID, SecretAccessKey: appSecret}, r, payload, "s3", region, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

type xmlError struct{ Code, Message, RequestId, Resource, Operation, Region string }

func (s *stack) do(t testing.TB, r *http.Request) (int, xmlError) {
	t.Helper()
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	var e xmlError
	if answer.StatusCode >= 400 && r.Method != http.MethodHead {
		if err := xml.Unmarshal(text, &e); err != nil {
			t.Errorf("%s %s: the error is not XML: %v: %s", r.Method, r.URL, err, text)
		}
		if e.RequestId == "" || e.RequestId != answer.Header.Get("X-Amz-Request-Id") {
			t.Errorf("%s %s: request ID %q, header %q", r.Method, r.URL, e.RequestId, answer.Header.Get("X-Amz-Request-Id"))
		}
	}
	return answer.StatusCode, e
}

func TestNotImplemented(t *testing.T) {
	s := newMemoryStack(t)
	for _, c := range []struct {
		method, target string
		header         map[string]string
		operation      string
	}{
		{"PUT", "/docs/k", map[string]string{"x-amz-write-offset-bytes": "10"}, "PutObject"},
		{"PUT", "/docs/k", map[string]string{"x-amz-meta-snowball-auto-extract": "true"}, "PutObject"},
		{"PUT", "/docs/k", map[string]string{"x-minio-extract": "true"}, "PutObject"},
		{"PUT", "/docs/k", map[string]string{"x-amz-something-new": "1"}, "PutObject"},
		{"PUT", "/docs/k?append", nil, "AppendObject"},
		{"PUT", "/docs/k?unheard-of", nil, "PutObject"},
		{"POST", "/docs/k?select&select-type=2", nil, "SelectObjectContent"},
		{"POST", "/docs", map[string]string{"Content-Type": "multipart/form-data; boundary=x"}, "PostObject"},
		{"GET", "/docs/k?torrent", nil, "GetObjectTorrent"},
		{"GET", "/docs/k?lambdaArn=x", nil, "GetObject"},
		{"GET", "/docs?metadata=true&list-type=2", nil, "ListObjectsV2"},
		{"PUT", "/docs?replication", nil, "PutBucketReplication"},
		{"PUT", "/docs?inventory&id=i", nil, "PutBucketInventoryConfiguration"},
		{"POST", "/docs?metadataTable", nil, "CreateBucketMetadataTableConfiguration"},
		{"GET", "/docs?session", nil, "CreateSession"},
		{"POST", "/WriteGetObjectResponse", map[string]string{"x-amz-request-route": "io-1", "x-amz-request-token": "t"}, "WriteGetObjectResponse"},
		{"PUT", "/docs/k?renameObject", map[string]string{"x-amz-rename-source": "a"}, "RenameObject"},
		{"GET", "/docs?events=s3:ObjectCreated:*", nil, "ListObjects"},
		{"PUT", "/docs?replication-reset", nil, "CreateBucket"},
		{"GET", "/docs/k.zip", map[string]string{"x-minio-extract": "true"}, "GetObject"},
		{"PUT", "/docs/k", map[string]string{"x-minio-source-etag": "0"}, "PutObject"},
		{"PUT", "/docs/k", map[string]string{"x-minio-source-replication-request": "true"}, "PutObject"},
		{"PUT", "/k", map[string]string{"Host": "ap-1.s3-accesspoint.eu-central-1.amazonaws.com"}, "this kind of endpoint"},
	} {
		t.Run(c.method+c.target, func(t *testing.T) {
			status, e := s.do(t, s.rawRequest(t, c.method, c.target, "content", c.header))
			if status != http.StatusNotImplemented || e.Code != "NotImplemented" || c.operation != "" && e.Operation != c.operation {
				t.Errorf("got %d %+v", status, e)
			}
			if !strings.Contains(c.operation, " ") && !slices.Contains(s.lastCodes(t), "NotImplemented") {
				t.Errorf("on record: %v", s.lastCodes(t))
			}
		})
	}
	s.mustBeAbsent(t, "k")
}

func TestAuthentication(t *testing.T) {
	s := newMemoryStack(t)
	s.put(t, "k", []byte("secret"))
	for name, c := range map[string]struct {
		edit   func(*http.Request)
		status int
		code   string
	}{
		"anonymous": {func(r *http.Request) { r.Header.Del("Authorization") }, 403, "AccessDenied"},
		"unknown key": {func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), appID, "AKIDX", 1))
		}, 403, "InvalidAccessKeyId"},
		"store's key": {func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), appID, storeID, 1))
		}, 403, "InvalidAccessKeyId"},
		"signature": {func(r *http.Request) { r.URL.Path += "2" }, 403, "SignatureDoesNotMatch"},
		"region": {func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), region, "us-east-1", 1))
		}, 400, "AuthorizationHeaderMalformed"},
		"injected": {func(r *http.Request) { r.Header.Set("X-Amz-Copy-Source", "/docs/k") }, 403, "AccessDenied"},
		"old": {func(r *http.Request) {
			r.Header.Set("X-Amz-Date", "20200101T000000Z")
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), time.Now().UTC().Format("20060102"), "20200101", 1))
		}, 403, "RequestTimeTooSkewed"},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.rawRequest(t, "GET", "/docs/k", "", nil)
			c.edit(r)
			status, e := s.do(t, r)
			if status != c.status || e.Code != c.code {
				t.Errorf("got %d %+v", status, e)
			}
			if name == "region" && e.Region != region {
				t.Errorf("the region is not named: %+v", e)
			}
		})
	}
}

func TestVirtualHosts(t *testing.T) {
	s := newMemoryStack(t)
	for _, host := range []string{"docs.s3.test", "docs.s3.test:9000", "docs.s3.eu-central-1.amazonaws.com", "docs.s3.amazonaws.com", "docs.s3.dualstack.eu-central-1.amazonaws.com", "DOCS.s3-eu-central-1.amazonaws.com"} {
		if status, e := s.do(t, s.rawRequest(t, "PUT", "/vhost", host, map[string]string{"Host": host})); status != http.StatusOK {
			t.Errorf("%s: PUT: %d %+v", host, status, e)
		}
		if got, _, err := s.get(t, "vhost"); err != nil || string(got) != host {
			t.Errorf("%s: got %q, %v", host, got, err)
		}
	}
	for _, host := range []string{"s3.test", "s3.eu-central-1.amazonaws.com", "gateway.internal", "localhost:1"} {
		if status, e := s.do(t, s.rawRequest(t, "PUT", "/docs/path", host, map[string]string{"Host": host})); status != http.StatusOK {
			t.Errorf("%s: PUT: %d %+v", host, status, e)
		}
	}
}

// TestKeysAreNotCleaned puts objects whose names a router would change.
func TestKeysAreNotCleaned(t *testing.T) {
	s := newMemoryStack(t)
	for i, target := range []string{"/docs/a//b", "/docs//lead", "/docs/x/../y", "/docs/./z", "/docs/trail/", "/docs/%2e%2e/up"} {
		want := fmt.Sprint("content ", i)
		if status, e := s.do(t, s.rawRequest(t, "PUT", target, want, nil)); status != http.StatusOK {
			t.Errorf("%s: PUT: %d %+v", target, status, e)
		}
		answer, err := http.DefaultClient.Do(s.rawRequest(t, "GET", target, "", nil))
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		if string(got) != want {
			t.Errorf("%s: got %d %q", target, answer.StatusCode, got)
		}
		// Put without a type, it must not be guessed from the content.
		if kind := answer.Header.Get("Content-Type"); !strings.HasSuffix(kind, "/octet-stream") {
			t.Errorf("%s: got type %q", target, kind)
		}
	}
}

func TestBadUploads(t *testing.T) {
	s := newMemoryStack(t)
	big := string(content(300_000))
	unsignedTrailer := map[string]string{
		"x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "x-amz-decoded-content-length": "5",
		"x-amz-trailer": "x-amz-checksum-crc32", "Content-Encoding": "aws-chunked",
	}
	for name, c := range map[string]struct {
		body   string
		header map[string]string
		want   string
	}{
		"payload hash":         {"hello", map[string]string{"x-amz-content-sha256": strings.Repeat("0", 64)}, "XAmzContentSHA256Mismatch"},
		"payload hash, large":  {big, map[string]string{"x-amz-content-sha256": strings.Repeat("0", 64)}, "XAmzContentSHA256Mismatch"},
		"MD5":                  {"hello", map[string]string{"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}, "BadDigest"},
		"MD5, large":           {big, map[string]string{"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}, "BadDigest"},
		"MD5 form":             {"hello", map[string]string{"Content-MD5": "AAAA"}, "InvalidDigest"},
		"checksum form":        {"hello", map[string]string{"x-amz-checksum-crc32": "AA"}, "InvalidRequest"},
		"two checksums":        {"hello", map[string]string{"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-crc32c": "AAAAAA=="}, "InvalidRequest"},
		"checksum names":       {"hello", map[string]string{"x-amz-checksum-crc32": "AAAAAA==", "x-amz-sdk-checksum-algorithm": "SHA256"}, "InvalidRequest"},
		"unknown checksum":     {"hello", map[string]string{"x-amz-checksum-rot13": "AAAAAA=="}, "NotImplemented"},
		"trailer sum":          {"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", unsignedTrailer, "BadDigest"},
		"trailer absent":       {"5\r\nhello\r\n0\r\n\r\n", unsignedTrailer, "MalformedTrailerError"},
		"trailer, cut":         {"5\r\nhel", unsignedTrailer, "IncompleteBody"},
		"trailer, long":        {"6\r\nhello!\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", unsignedTrailer, "IncompleteBody"},
		"trailer, garbage":     {"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\nmore", unsignedTrailer, "InvalidRequest"},
		"chunk form":           {"zz\r\nhello", unsignedTrailer, "InvalidRequest"},
		"signed chunk":         {"5;chunk-signature=" + strings.Repeat("0", 64) + "\r\nhello\r\n0;chunk-signature=" + strings.Repeat("0", 64) + "\r\n\r\n", map[string]string{"x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "x-amz-decoded-content-length": "5"}, "SignatureDoesNotMatch"},
		"no decoded length":    {"5\r\nhello", map[string]string{"x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER"}, "MissingContentLength"},
		"SigV4A":               {"hello", map[string]string{"x-amz-content-sha256": "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"}, "InvalidRequest"},
		"chunked and unsigned": {"hello", map[string]string{"Content-Encoding": "aws-chunked"}, "InvalidRequest"},
		"too large":            {"", map[string]string{"x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "x-amz-decoded-content-length": "5368709121"}, "EntityTooLarge"},
		"too large, huge":      {"", map[string]string{"x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "x-amz-decoded-content-length": "9223372036854775807"}, "EntityTooLarge"},
	} {
		t.Run(name, func(t *testing.T) {
			_, e := s.do(t, s.rawRequest(t, "PUT", "/docs/bad", c.body, c.header))
			if e.Code != c.want {
				t.Errorf("got %+v", e)
			}
			// What is not authenticated is in the log of the process only.
			if name != "SigV4A" && !slices.Contains(s.lastCodes(t), c.want) {
				t.Errorf("on record: %v", s.lastCodes(t))
			}
			s.mustBeAbsent(t, "bad")
		})
	}
	t.Run("no length", func(t *testing.T) {
		r := s.rawRequest(t, "PUT", "/docs/bad", "", nil)
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader("hello")), -1
		if status, e := s.do(t, r); status != http.StatusLengthRequired || e.Code != "MissingContentLength" {
			t.Errorf("got %d %+v", status, e)
		}
	})
	t.Run("good trailer", func(t *testing.T) {
		if status, e := s.do(t, s.rawRequest(t, "PUT", "/docs/good", "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n", unsignedTrailer)); status != http.StatusOK {
			t.Fatalf("got %d %+v", status, e)
		}
		if got, out, err := s.get(t, "good"); err != nil || string(got) != "hello" || out.ContentEncoding != nil {
			t.Errorf("got %q, %v, %v", got, out, err)
		}
	})
}

// abortedUpload sends the head and some of a body, and closes the connection.
func (s *stack) abortedUpload(t *testing.T, key string, declared, sent int) {
	t.Helper()
	r := s.rawRequest(t, "PUT", "/docs/"+key, strings.Repeat("x", declared), nil)
	var wire bytes.Buffer
	if err := r.Write(&wire); err != nil {
		t.Fatal(err)
	}
	head := bytes.Index(wire.Bytes(), []byte("\r\n\r\n")) + 4
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.endpoint, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(wire.Bytes()[:head+sent]); err != nil {
		t.Fatal(err)
	}
	conn.(*net.TCPConn).CloseWrite()
	if answer, err := http.ReadResponse(bufio.NewReader(conn), r); err == nil {
		defer answer.Body.Close()
		if answer.StatusCode == http.StatusOK {
			t.Errorf("%s: an upload cut after %d bytes of %d was accepted", key, sent, declared)
		}
	}
}

func TestAbortedUploads(t *testing.T) {
	for name, s := range map[string]*stack{"memory": newMemoryStack(t), "MinIO": newMinIOStack(t)} {
		for _, c := range [][2]int{{100, 0}, {100, 99}, {300_000, 0}, {300_000, 1}, {300_000, 299_999}, {16384 * 20, 16384 * 10}, {16384 * 20, 16384*20 - 1}, {5 << 20, 4 << 20}} {
			key := fmt.Sprintf("aborted/%d-%d", c[0], c[1])
			s.abortedUpload(t, key, c[0], c[1])
			s.mustBeAbsent(t, key)
		}
		s.put(t, "after/"+name, content(1000))
	}
}

func (s *stack) disable(t testing.TB) { s.kms.Disable(t, s.ruleKey) }
func (s *stack) enable(t testing.TB)  { s.kms.Enable(t, s.ruleKey) }

func (s *stack) scheduleDeletion(t testing.TB) {
	t.Helper()
	if _, err := s.kms.Client().ScheduleKeyDeletion(t.Context(), &kms.ScheduleKeyDeletionInput{KeyId: &s.ruleKey}); err != nil {
		t.Fatal(err)
	}
}

func (s *stack) cancelDeletion(t testing.TB) {
	t.Helper()
	if _, err := s.kms.Client().CancelKeyDeletion(t.Context(), &kms.CancelKeyDeletionInput{KeyId: &s.ruleKey}); err != nil {
		t.Fatal(err)
	}
	s.enable(t)
}

func TestKeyServiceErrors(t *testing.T) {
	s := newMemoryStack(t)
	s.put(t, "k", content(1000))
	// What the service cannot be brought to by itself.
	inject := func(err error) func(testing.TB) {
		return func(testing.TB) { s.faults.FailAll(err) }
	}
	for _, c := range []struct {
		begin, end func(t testing.TB)
		code       string
		status     int
	}{
		{s.disable, s.enable, "KMS.DisabledException", 400},
		{s.scheduleDeletion, s.cancelDeletion, "KMS.KMSInvalidStateException", 400},
		{s.kms.Stop, s.kms.Restart, "ServiceUnavailable", 503},
		{inject(&types.NotFoundException{}), inject(nil), "KMS.NotFoundException", 400},
		{inject(&smithy.GenericAPIError{Code: "AccessDeniedException"}), inject(nil), "AccessDenied", 403},
		{inject(&types.KMSInternalException{}), inject(nil), "ServiceUnavailable", 503},
	} {
		t.Run(c.code, func(t *testing.T) {
			c.begin(t)
			time.Sleep(lease)
			if _, _, err := s.get(t, "k"); code(err) != c.code || status(err) != c.status {
				t.Errorf("GET: got %v", err)
			}
			if codes := s.lastCodes(t); !slices.Contains(codes, c.code) {
				t.Errorf("on record: %v", codes)
			}
			_, err := s.app.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("new"), Body: strings.NewReader("x")})
			if code(err) != c.code {
				t.Errorf("PUT: got %v", err)
			}
			c.end(t)
			if got, _, err := s.get(t, "k"); err != nil || len(got) != 1000 {
				t.Errorf("GET afterwards: %v", err)
			}
		})
	}
	s.mustBeAbsent(t, "new")
}

func TestNothingWithoutARecord(t *testing.T) {
	s := newMemoryStack(t)
	s.put(t, "small", content(100))
	s.put(t, "large", content(1<<20))
	s.audit.Close()
	for _, key := range []string{"small", "large"} {
		if got, _, err := s.get(t, key); code(err) != "ServiceUnavailable" || len(got) > 0 {
			t.Errorf("GET %s: got %d bytes, %v", key, len(got), err)
		}
		_, err := s.app.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("new-" + key), Body: bytes.NewReader(content(len(key) * 30_000))})
		if code(err) != "ServiceUnavailable" {
			t.Errorf("PUT: got %v", err)
		}
		s.mustBeAbsent(t, "new-"+key)
	}
	if _, err := s.app.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String(bucket), Key: aws.String("small")}); code(err) != "ServiceUnavailable" {
		t.Errorf("DELETE: got %v", err)
	}
	s.stored(t, "small")
}

// TestNoChangeWithoutARecord has every operation on objects, uploads and defaults change
// nothing, and say nothing, once there is no record of it.
func TestNoChangeWithoutARecord(t *testing.T) {
	s := newMinIOStack(t)
	ctx := t.Context()
	b, k := aws.String(bucket), aws.String("k")
	s.put(t, "k", content(1000))
	s.multipart(t, "parts", 5<<20, 10)
	id := s.begin(t, "upload")
	part := s.part(t, "upload", id, 1, content(5<<20))
	small := s.part(t, "upload", id, 2, content(9))
	before := s.everything(t)
	if !strings.Contains(before, "upload runs") || !strings.Contains(before, "k ") {
		t.Fatalf("the store has %s", before)
	}
	s.audit.Close()
	for name, f := range map[string]func() error{
		"PutObject": func() error {
			_, err := s.app.PutObject(ctx, &s3.PutObjectInput{Bucket: b, Key: aws.String("new"), Body: strings.NewReader("x")})
			return err
		},
		"CopyObject":          func() error { _, err := s.app.CopyObject(ctx, copying("k", "new")); return err },
		"CopyObject of parts": func() error { _, err := s.app.CopyObject(ctx, copying("parts", "new")); return err },
		"CopyObject, sealed anew": func() error {
			_, err := s.app.CopyObject(ctx, copying("k", "new", func(in *s3.CopyObjectInput) { in.ChecksumAlgorithm = s3types.ChecksumAlgorithmSha1 }))
			return err
		},
		"CreateMultipartUpload": func() error {
			_, err := s.app.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: b, Key: aws.String("new")})
			return err
		},
		"UploadPart": func() error {
			_, err := s.app.UploadPart(ctx, &s3.UploadPartInput{Bucket: b, Key: aws.String("upload"), UploadId: id, PartNumber: aws.Int32(3), Body: bytes.NewReader(content(5 << 20))})
			return err
		},
		"UploadPart, small": func() error {
			_, err := s.app.UploadPart(ctx, &s3.UploadPartInput{Bucket: b, Key: aws.String("upload"), UploadId: id, PartNumber: aws.Int32(3), Body: strings.NewReader("x")})
			return err
		},
		"UploadPart, empty": func() error {
			_, err := s.app.UploadPart(ctx, &s3.UploadPartInput{Bucket: b, Key: aws.String("upload"), UploadId: id, PartNumber: aws.Int32(3)})
			return err
		},
		"UploadPartCopy": func() error {
			_, err := s.app.UploadPartCopy(ctx, &s3.UploadPartCopyInput{Bucket: b, Key: aws.String("upload"), UploadId: id, PartNumber: aws.Int32(3), CopySource: aws.String(bucket + "/k")})
			return err
		},
		"ListParts": func() error {
			_, err := s.app.ListParts(ctx, &s3.ListPartsInput{Bucket: b, Key: aws.String("upload"), UploadId: id})
			return err
		},
		"CompleteMultipartUpload": func() error {
			_, err := s.app.CompleteMultipartUpload(ctx, completion("upload", id, part, small))
			return err
		},
		"AbortMultipartUpload": func() error {
			_, err := s.app.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: b, Key: aws.String("upload"), UploadId: id})
			return err
		},
		"DeleteObjects": func() error {
			_, err := s.app.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: b, Delete: &s3types.Delete{Objects: []s3types.ObjectIdentifier{{Key: k}}}})
			return err
		},
		"PutBucketEncryption": func() error {
			rule := s3types.ServerSideEncryptionRule{ApplyServerSideEncryptionByDefault: &s3types.ServerSideEncryptionByDefault{SSEAlgorithm: s3types.ServerSideEncryptionAwsKms, KMSMasterKeyID: &s.anotherKey}}
			_, err := s.app.PutBucketEncryption(ctx, &s3.PutBucketEncryptionInput{Bucket: b, ServerSideEncryptionConfiguration: &s3types.ServerSideEncryptionConfiguration{Rules: []s3types.ServerSideEncryptionRule{rule}}})
			return err
		},
		"GetBucketEncryption": func() error {
			_, err := s.app.GetBucketEncryption(ctx, &s3.GetBucketEncryptionInput{Bucket: b})
			return err
		},
		"DeleteBucketEncryption": func() error {
			_, err := s.app.DeleteBucketEncryption(ctx, &s3.DeleteBucketEncryptionInput{Bucket: b})
			return err
		},
		"DeleteBucket":  func() error { _, err := s.app.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: b}); return err },
		"ListObjectsV2": func() error { _, err := s.app.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: b}); return err },
		"GetObjectAttributes": func() error {
			_, err := s.app.GetObjectAttributes(ctx, &s3.GetObjectAttributesInput{Bucket: b, Key: k, ObjectAttributes: []s3types.ObjectAttributes{s3types.ObjectAttributesObjectSize}})
			return err
		},
		"GetObject, a part": func() error {
			_, err := s.app.GetObject(ctx, &s3.GetObjectInput{Bucket: b, Key: aws.String("parts"), PartNumber: aws.Int32(2)})
			return err
		},
		"GetObject, not modified": func() error {
			_, err := s.app.GetObject(ctx, &s3.GetObjectInput{Bucket: b, Key: k, IfModifiedSince: aws.Time(time.Now())})
			return err
		},
	} {
		if err := f(); code(err) != "ServiceUnavailable" || status(err) != http.StatusServiceUnavailable {
			t.Errorf("%s: got %v", name, err)
		}
		if now := s.everything(t); now != before {
			t.Errorf("%s has changed the store:\n%s\nwas\n%s", name, now, before)
		}
	}
	for _, target := range []string{"/docs/k", "/docs/parts?partNumber=1"} {
		if status, _ := s.do(t, s.rawRequest(t, "HEAD", target, "", nil)); status != http.StatusServiceUnavailable {
			t.Errorf("HEAD %s: status %d", target, status)
		}
	}
}

// everything is what the store has: objects, uploads, and the parts of these.
func (s *stack) everything(t testing.TB) string {
	t.Helper()
	var all strings.Builder
	objects, err := s.store.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: aws.String(bucket)})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects.Versions {
		fmt.Fprintln(&all, *o.Key, *o.ETag, *o.Size, *o.LastModified)
	}
	for _, key := range []string{"upload", "new"} { // MinIO lists uploads only of whole names
		uploads, err := s.store.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: aws.String(bucket), Prefix: &key})
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range uploads.Uploads {
			parts, err := s.store.ListParts(t.Context(), &s3.ListPartsInput{Bucket: aws.String(bucket), Key: u.Key, UploadId: u.UploadId})
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range parts.Parts {
				fmt.Fprintln(&all, *u.Key, *p.PartNumber, *p.ETag, *p.LastModified)
			}
			fmt.Fprintln(&all, *u.Key, "runs")
		}
	}
	return all.String()
}
