// SPDX-License-Identifier: Apache-2.0

package s3gateway_test

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"io"
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// overTLS is a client of the gateway over TLS.
func (s *stack) overTLS(t testing.TB) *s3.Client {
	t.Helper()
	server := httptest.NewTLSServer(s.gateway)
	t.Cleanup(server.Close)
	return client(server.URL, appID, appSecret, withChecksums, func(o *s3.Options) { o.HTTPClient = server.Client() })
}

type sseC struct{ algorithm, key, md5 *string }

func newSSEC(fill byte) sseC {
	key := bytes.Repeat([]byte{fill}, 32)
	sum := md5.Sum(key)
	return sseC{aws.String("AES256"), aws.String(base64.StdEncoding.EncodeToString(key)), aws.String(base64.StdEncoding.EncodeToString(sum[:]))}
}

// TestCustomerKeys puts, reads, copies and uploads in parts under a key of the client.
func TestCustomerKeys(t *testing.T) {
	s := newMinIOStack(t)
	app, ctx := s.overTLS(t), t.Context()
	one, two := newSSEC(1), newSSEC(2)
	body := content(200_000)
	put := func(key string, c sseC) (*s3.PutObjectOutput, error) {
		return app.PutObject(ctx, &s3.PutObjectInput{
			Bucket: aws.String(bucket), Key: &key, Body: bytes.NewReader(body),
			SSECustomerAlgorithm: c.algorithm, SSECustomerKey: c.key, SSECustomerKeyMD5: c.md5,
		})
	}
	get := func(key string, c sseC) ([]byte, error) {
		out, err := app.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(bucket), Key: &key, SSECustomerAlgorithm: c.algorithm, SSECustomerKey: c.key, SSECustomerKeyMD5: c.md5})
		if err != nil {
			return nil, err
		}
		defer out.Body.Close()
		if aws.ToString(out.SSECustomerKeyMD5) != aws.ToString(c.md5) {
			t.Errorf("%s: the answer names the key %v", key, out.SSECustomerKeyMD5)
		}
		return io.ReadAll(out.Body)
	}
	head := func(key string, c sseC) error {
		_, err := app.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String(bucket), Key: &key, SSECustomerAlgorithm: c.algorithm, SSECustomerKey: c.key, SSECustomerKeyMD5: c.md5})
		return err
	}
	out, err := put("k", one)
	if err != nil || aws.ToString(out.SSECustomerAlgorithm) != "AES256" || out.ServerSideEncryption != "" {
		t.Fatalf("%v, %+v", err, out)
	}
	if got, err := get("k", one); err != nil || !bytes.Equal(got, body) {
		t.Errorf("%v, %d bytes", err, len(got))
	}
	_, err = get("k", two)
	wantError(t, "another key", err, "AccessDenied")
	_, err = get("k", sseC{})
	wantError(t, "no key", err, "InvalidRequest")
	wantError(t, "HEAD without the key", head("k", sseC{}), "400")
	wantError(t, "HEAD with another key", head("k", two), "403")
	if err := head("k", one); err != nil {
		t.Error(err)
	}
	s.put(t, "plain", body)
	_, err = get("plain", one)
	wantError(t, "a key where none is needed", err, "InvalidRequest")
	_, err = put("k", sseC{one.algorithm, one.key, two.md5})
	wantError(t, "the MD5 of another key", err, "InvalidArgument")
	_, err = s.app.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("k2"), Body: bytes.NewReader(body), SSECustomerAlgorithm: one.algorithm, SSECustomerKey: one.key, SSECustomerKeyMD5: one.md5})
	if err == nil {
		t.Error("a customer key was taken over plain HTTP")
	}
	// From one key to another, to none, and from none.
	for _, c := range []struct {
		from     string
		old, new sseC
		to       string
	}{{"k", one, two, "k/two"}, {"k", one, sseC{}, "k/none"}, {"plain", sseC{}, two, "plain/two"}} {
		_, err := app.CopyObject(ctx, &s3.CopyObjectInput{
			Bucket: aws.String(bucket), Key: &c.to, CopySource: aws.String(bucket + "/" + c.from),
			CopySourceSSECustomerAlgorithm: c.old.algorithm, CopySourceSSECustomerKey: c.old.key, CopySourceSSECustomerKeyMD5: c.old.md5,
			SSECustomerAlgorithm: c.new.algorithm, SSECustomerKey: c.new.key, SSECustomerKeyMD5: c.new.md5,
		})
		if err != nil {
			t.Errorf("copying to %s: %v", c.to, err)
			continue
		}
		if got, err := get(c.to, c.new); err != nil || !bytes.Equal(got, body) {
			t.Errorf("%s: %v, %d bytes", c.to, err, len(got))
		}
	}
	_, err = app.CopyObject(ctx, &s3.CopyObjectInput{Bucket: aws.String(bucket), Key: aws.String("x"), CopySource: aws.String(bucket + "/k")})
	wantError(t, "copying without the source's key", err, "InvalidRequest")
	customerParts(t, app, one, two)
}

// customerParts uploads in parts; lists and the completion go without the key.
func customerParts(t *testing.T, app *s3.Client, right, wrong sseC) {
	t.Helper()
	ctx, key := t.Context(), aws.String("parts")
	begun, err := app.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: aws.String(bucket), Key: key, SSECustomerAlgorithm: right.algorithm, SSECustomerKey: right.key, SSECustomerKeyMD5: right.md5})
	if err != nil {
		t.Fatal(err)
	}
	part := func(number int32, body []byte, c sseC) (*s3.UploadPartOutput, error) {
		return app.UploadPart(ctx, &s3.UploadPartInput{
			Bucket: aws.String(bucket), Key: key, UploadId: begun.UploadId, PartNumber: &number, Body: bytes.NewReader(body),
			SSECustomerAlgorithm: c.algorithm, SSECustomerKey: c.key, SSECustomerKeyMD5: c.md5,
		})
	}
	_, err = part(1, content(10), wrong)
	wantError(t, "a part under another key", err, "AccessDenied")
	_, err = part(1, content(10), sseC{})
	wantError(t, "a part without the key", err, "InvalidRequest")
	var parts []types.CompletedPart
	for i, size := range []int{5 * mib, 12} {
		out, err := part(int32(i+1), content(size), right)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, types.CompletedPart{PartNumber: aws.Int32(int32(i + 1)), ETag: out.ETag, ChecksumCRC32: out.ChecksumCRC32})
	}
	if listed, err := app.ListParts(ctx, &s3.ListPartsInput{Bucket: aws.String(bucket), Key: key, UploadId: begun.UploadId}); err != nil || len(listed.Parts) != 2 {
		t.Errorf("listing: %v, %+v", err, listed)
	}
	for range 2 { // the second time as if the first answer had been lost
		out, err := app.CompleteMultipartUpload(ctx, completion("parts", begun.UploadId, parts...))
		if err != nil {
			t.Fatal(err)
		}
		if out.ServerSideEncryption != "" || out.SSEKMSKeyId != nil {
			t.Errorf("the completed object is said to be under %s, %s", out.ServerSideEncryption, *out.SSEKMSKeyId)
		}
	}
	out, err := app.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(bucket), Key: key, SSECustomerAlgorithm: right.algorithm, SSECustomerKey: right.key, SSECustomerKeyMD5: right.md5})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Body.Close()
	if got, err := io.ReadAll(out.Body); err != nil || !bytes.Equal(got, append(content(5*mib), content(12)...)) {
		t.Errorf("%v, %d bytes", err, len(got))
	}
	_, err = app.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(bucket), Key: key})
	wantError(t, "reading the parts without the key", err, "InvalidRequest")
}
