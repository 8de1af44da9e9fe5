// SPDX-License-Identifier: Apache-2.0

package s3gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	encryption "github.com/aws/amazon-s3-encryption-client-go/v3/client"
	"github.com/aws/amazon-s3-encryption-client-go/v3/materials"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sidekey/sidekey/proxy"
)

// TestEncryptionClientObjects reads, lists, and moves over what Amazon's own client
// wrote under a key of the key service.
func TestEncryptionClientObjects(t *testing.T) {
	s := newForeignStack(t, proxy.ForeignEncrypt)
	manager, err := materials.NewCryptographicMaterialsManager(materials.NewKmsKeyring(s.kms.Client(), s.anotherKey))
	if err != nil {
		t.Fatal(err)
	}
	amazon, err := encryption.New(s.store, manager)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 20_000, 3*mib + 5} {
		key, plain := fmt.Sprint("e", size), content(size)
		ctx := context.WithValue(t.Context(), encryption.EncryptionContext, map[string]string{"team": "a"})
		_, err := amazon.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(bucket), Key: &key, Body: bytes.NewReader(plain), Metadata: map[string]string{"color": "red"}, ContentType: aws.String("text/x")})
		if err != nil {
			t.Fatal(err)
		}
		s.readsPlain(t, key, plain)
		s.copied(t, key, key) // onto itself: it is sealed then
		got, out, err := s.get(t, key)
		if err != nil || !bytes.Equal(got, plain) || out.ServerSideEncryption != "aws:kms" || !maps.Equal(out.Metadata, map[string]string{"color": "red"}) {
			t.Errorf("%s, sealed: %v, %d bytes, %+v", key, err, len(got), out)
		}
		if stored := s.stored(t, key); slices.Contains(slices.Collect(maps.Keys(stored.metadata)), "x-amz-key-v2") {
			t.Errorf("%s: sealed with the client's metadata %v", key, stored.metadata)
		}
	}
	s.clientRefusals(t, amazon)
}

// readsPlain reads an object of the client whole and in ranges, and looks at it.
func (s *stack) readsPlain(t *testing.T, key string, plain []byte) {
	t.Helper()
	got, out, err := s.get(t, key)
	if err != nil || !bytes.Equal(got, plain) || !maps.Equal(out.Metadata, map[string]string{"color": "red"}) || *out.ContentType != "text/x" {
		t.Fatalf("%s: %v, %d bytes, %+v", key, err, len(got), out)
	}
	if len(plain) > 20 {
		s.checkRanges2(t, key, plain)
	}
	head, err := s.app.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(bucket), Key: &key})
	if err != nil || *head.ContentLength != int64(len(plain)) {
		t.Errorf("HEAD %s: %v, %+v", key, err, head)
	}
	listed, err := s.app.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(bucket), Prefix: &key})
	if err != nil || *listed.Contents[0].Size != int64(len(plain)) {
		t.Errorf("%s is listed with %+v, %v", key, listed.Contents, err)
	}
}

// clientRefusals alters an object, moves its key into an instruction file, and
// disables the key.
func (s *stack) clientRefusals(t *testing.T, amazon *encryption.S3EncryptionClientV3) {
	t.Helper()
	ctx := t.Context()
	if _, err := amazon.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("k"), Body: bytes.NewReader(content(2 * mib))}); err != nil {
		t.Fatal(err)
	}
	good := s.stored(t, "k")
	bad := stored{body: bytes.Clone(good.body), metadata: good.metadata}
	bad.body[mib+5] ^= 1
	s.overwrite(t, "k", bad)
	got, _, err := s.get(t, "k")
	wantError(t, "an altered object", err, "InternalError")
	if len(got) != 0 {
		t.Errorf("%d bytes of an altered object were sent", len(got))
	}
	file, err := json.Marshal(good.metadata)
	if err != nil {
		t.Fatal(err)
	}
	s.overwrite(t, "k", stored{body: good.body})
	s.overwrite(t, "k.instruction", stored{body: file})
	if got, _, err := s.get(t, "k"); err != nil || !bytes.Equal(got, good.body) {
		t.Errorf("without instruction files it is an object like any other: %v, %d bytes", err, len(got))
	}
	s.config.InstructionFiles = true
	if got, _, err := s.replica(t).get(t, "k"); err != nil || !bytes.Equal(got, content(2*mib)) {
		t.Errorf("with an instruction file: %v, %d bytes", err, len(got))
	}
	s.overwrite(t, "k", good)
	s.kms.Disable(t, s.anotherKey)
	time.Sleep(2 * lease)
	_, _, err = s.get(t, "k")
	wantError(t, "under a disabled key", err, "KMS.DisabledException")
}
