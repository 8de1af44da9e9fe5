// SPDX-License-Identifier: Apache-2.0

package s3ec_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/amazon-s3-encryption-client-go/v3/client"
	"github.com/aws/amazon-s3-encryption-client-go/v3/materials"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sidekey/sidekey/hsm"
	"github.com/sidekey/sidekey/keysvc/keysvctest"
	"github.com/sidekey/sidekey/proxy/s3ec"
)

var token *hsm.Token

func TestMain(m *testing.M) { os.Exit(keysvctest.Main(m, &token)) }

const (
	storeID     = "AKIDSTORE"
	storeSecret = "store-secret-0123456789"
	bucket      = "docs"
)

func minioBinary(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("SIDEKEY_MINIO"); path != "" {
		return path
	}
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		cache = filepath.Join(os.Getenv("HOME"), ".cache")
	}
	found, _ := filepath.Glob(filepath.Join(cache, "sidekey", "minio*"))
	for _, path := range found {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o100 != 0 {
			return path
		}
	}
	t.Fatal("no MinIO: name its binary in SIDEKEY_MINIO, or let `make test` build it")
	return ""
}

// startMinIO starts a store with a bucket, and has clients that are configured
// from the environment use it: the encryption client reads instruction files
// with one of its own.
func startMinIO(t testing.TB) *s3.Client {
	t.Helper()
	address, err := keysvctest.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(minioBinary(t), "server", "--address", address, t.TempDir())
	command.Env = append(os.Environ(), "MINIO_ROOT_USER="+storeID, "MINIO_ROOT_PASSWORD="+storeSecret,
		"MINIO_UPDATE=off", "MINIO_BROWSER=off", "MINIO_CI_CD=1", "MINIO_REGION_NAME="+keysvctest.Region)
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		command.Process.Kill()
		command.Wait()
	})
	endpoint := "http://" + address
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_S3": endpoint, "AWS_REGION": keysvctest.Region, "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_ACCESS_KEY_ID": storeID, "AWS_SECRET_ACCESS_KEY": storeSecret, "AWS_SESSION_TOKEN": "",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	} {
		t.(*testing.T).Setenv(name, value)
	}
	store := s3.New(s3.Options{
		BaseEndpoint: &endpoint, Region: keysvctest.Region, UsePathStyle: true, RetryMaxAttempts: 1,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: storeID, SecretAccessKey: storeSecret}, nil
		}),
	})
	for range 300 {
		if _, err := store.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(bucket)}); err == nil {
			return store
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("MinIO does not become ready: %s", output.String())
	return nil
}

// stack is a store, a key service, and Amazon's client on both.
type stack struct {
	store  *s3.Client
	kms    *kms.Client
	key    string // ARN
	amazon *client.S3EncryptionClientV3
}

func newStack(t testing.TB) stack {
	t.Helper()
	server := keysvctest.Start(t, token)
	_, arn := server.CreateKey(t)
	s := stack{store: startMinIO(t), kms: server.Client(), key: arn}
	manager, err := materials.NewCryptographicMaterialsManager(materials.NewKmsKeyring(s.kms, arn,
		func(o *materials.KeyringOptions) { o.EnableLegacyWrappingAlgorithms = true }))
	if err != nil {
		t.Fatal(err)
	}
	if s.amazon, err = client.New(s.store, manager); err != nil {
		t.Fatal(err)
	}
	return s
}

// generate makes a data key as the client does.
func (s stack) generate(t testing.TB, context map[string]string) (dataKey, wrapped []byte) {
	t.Helper()
	out, err := s.kms.GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{
		KeyId: &s.key, KeySpec: types.DataKeySpecAes256, EncryptionContext: context,
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.Plaintext, out.CiphertextBlob
}

func (s stack) put(t testing.TB, key string, body []byte, metadata map[string]string) {
	t.Helper()
	_, err := s.store.PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: aws.String(bucket), Key: &key, Body: bytes.NewReader(body), Metadata: metadata,
	})
	if err != nil {
		t.Fatal(err)
	}
}

// source opens sealed bytes as a gateway does: by range, of one version.
func (s stack) source(key string, etag *string) s3ec.Source {
	return func(ctx context.Context, offset, length int64) (io.ReadCloser, error) {
		out, err := s.store.GetObject(ctx, &s3.GetObjectInput{
			Bucket: aws.String(bucket), Key: &key, IfMatch: etag, Range: aws.String(httpRange(offset, length)),
		})
		if err != nil {
			return nil, err
		}
		return out.Body, nil
	}
}

func httpRange(offset, length int64) string {
	b, _ := json.Marshal(offset)
	e, _ := json.Marshal(offset + length - 1)
	return "bytes=" + string(b) + "-" + string(e)
}

// verified does all that a gateway does until it can answer.
func (s stack) verified(t testing.TB, key string) (*s3ec.Envelope, *s3ec.Verified, s3ec.Source) {
	t.Helper()
	head, err := s.store.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(bucket), Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	envelope, needed, err := s3ec.Parse(head.Metadata)
	if err == nil && needed {
		envelope, err = envelope.WithInstruction(s.instruction(t, key))
	}
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	out, err := s.kms.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: envelope.WrappedKey, EncryptionContext: envelope.EncryptionContext, KeyId: &s.key})
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	opener, err := s3ec.NewOpener(out.Plaintext, envelope, *head.ContentLength)
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	source := s.source(key, head.ETag)
	v, err := opener.Verify(t.Context(), source)
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	return envelope, v, source
}

func (s stack) instruction(t testing.TB, key string) []byte {
	t.Helper()
	out, err := s.store.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String(key + s3ec.InstructionSuffix)})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Body.Close()
	b, err := io.ReadAll(out.Body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What Amazon's client writes is read, whole and in ranges.
func TestReadsWhatAmazonsClientWrites(t *testing.T) {
	s := newStack(t)
	for name, c := range map[string]struct {
		size    int
		context map[string]string
	}{
		"empty": {0, nil}, "small": {12345, nil}, "long": {s3ec.MaxWhole + 3*chunk + 17, nil},
		"context": {100, map[string]string{"team": "a"}}, "not-ascii": {100, map[string]string{"straße": "€ 1"}},
	} {
		plain, ctx := content(c.size), t.Context()
		if c.context != nil {
			ctx = context.WithValue(ctx, client.EncryptionContext, c.context)
		}
		_, err := s.amazon.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(bucket), Key: &name, Body: bytes.NewReader(plain), Metadata: map[string]string{"color": "red"}})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		envelope, v, source := s.verified(t, name)
		got, err := read(t, v, source, 0, v.Size())
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s: got %d bytes, %v, want %d", name, len(got), err, len(plain))
		}
		from, to := int64(c.size/3), int64(c.size/2)
		if got, err := read(t, v, source, from, to-from); err != nil || !bytes.Equal(got, plain[from:to]) {
			t.Errorf("%s: [%d, %d): got %d bytes, %v", name, from, to, len(got), err)
		}
		want := map[string]string{"aws:x-amz-cek-alg": "AES/GCM/NoPadding"}
		maps.Copy(want, c.context)
		if !maps.Equal(envelope.EncryptionContext, want) {
			t.Errorf("%s: context %v, want %v", name, envelope.EncryptionContext, want)
		}
	}
}

// The objects that the tests of this package make are those of the format:
// Amazon's client reads them, in every format and place of the metadata.
func TestAmazonsClientReadsTheTestObjects(t *testing.T) {
	s := newStack(t)
	gcm, committing := map[string]string{"aws:x-amz-cek-alg": "AES/GCM/NoPadding"}, map[string]string{"aws:x-amz-cek-alg": "115"}
	older := map[string]string{"kms_cmk_id": s.key}
	for _, size := range []int{0, 1000, s3ec.MaxWhole + chunk + 1} {
		plain := content(size)
		dataKey, wrapped := s.generate(t, gcm)
		v2 := sealV2(t, dataKey, wrapped, plain)
		s.check(t, "v2", v2, nil)
		s.check(t, "v2-instruction", v2, []string{"x-amz-key-v2", "x-amz-iv", "x-amz-cek-alg", "x-amz-wrap-alg", "x-amz-tag-len", "x-amz-matdesc", "x-amz-unencrypted-content-length"})

		dataKey, wrapped = s.generate(t, committing)
		v3 := sealV3(t, dataKey, wrapped, plain, nil)
		s.check(t, "v3", v3, nil)
		s.check(t, "v3-instruction", v3, []string{"x-amz-3", "x-amz-w", "x-amz-t"})

		dataKey, wrapped = s.generate(t, older)
		kms := sealV2(t, dataKey, wrapped, plain)
		kms.metadata["x-amz-wrap-alg"] = "kms"
		kms.metadata["x-amz-matdesc"] = `{"kms_cmk_id":"` + s.key + `"}`
		s.check(t, "kms", kms, nil)
	}
}

// check stores an object, some of its metadata in an instruction file, and reads
// it with Amazon's client and with this package.
func (s stack) check(t *testing.T, key string, o object, moved []string) {
	t.Helper()
	metadata, file := maps.Clone(o.metadata), map[string]string{}
	for _, name := range moved {
		file[name] = metadata[name]
		delete(metadata, name)
	}
	if moved != nil {
		b, err := json.Marshal(file)
		if err != nil {
			t.Fatal(err)
		}
		s.put(t, key+s3ec.InstructionSuffix, b, map[string]string{"x-amz-crypto-instr-file": ""})
	}
	s.put(t, key, o.sealed, metadata)

	out, err := s.amazon.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(bucket), Key: &key})
	if err != nil {
		t.Fatalf("%s: Amazon's client: %v", key, err)
	}
	defer out.Body.Close()
	if got, err := io.ReadAll(out.Body); err != nil || !bytes.Equal(got, o.plain) {
		t.Errorf("%s: Amazon's client: %d bytes, %v", key, len(got), err)
	}
	_, v, source := s.verified(t, key)
	if got, err := read(t, v, source, 0, v.Size()); err != nil || !bytes.Equal(got, o.plain) {
		t.Errorf("%s: %d bytes, %v", key, len(got), err)
	}
}

// If-Match keeps two passes on one version: after an overwrite the second fails
// in the store.
func TestOverwrittenBetweenPasses(t *testing.T) {
	s := newStack(t)
	dataKey, wrapped := s.generate(t, map[string]string{"aws:x-amz-cek-alg": "115"})
	o := sealV3(t, dataKey, wrapped, content(s3ec.MaxWhole+chunk), nil)
	s.put(t, "k", o.sealed, o.metadata)
	_, v, source := s.verified(t, "k")
	s.put(t, "k", content(len(o.sealed)), o.metadata)
	if _, err := v.Open(t.Context(), source, 0, v.Size()); err == nil {
		t.Error("another version is opened")
	}
	if got, err := read(t, v, s.source("k", nil), 0, v.Size()); err != s3ec.ErrOpen || len(got) != 0 {
		t.Errorf("another version, unpinned: got %d bytes, %v, want ErrOpen", len(got), err)
	}
}
