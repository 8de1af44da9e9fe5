// SPDX-License-Identifier: Apache-2.0

//go:build bench

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// TestRelay is the plain reverse proxy of the comparison, when it is run as a
// process of its own by startRelay.
func TestRelay(t *testing.T) {
	target := os.Getenv("BENCH_RELAY_TO")
	if target == "" {
		return
	}
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	relay := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host // it is signed
		},
		Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
	}
	t.Fatal(http.ListenAndServe(os.Getenv("BENCH_RELAY_LISTEN"), relay))
}

func startRelay(t *testing.T, target string) (*process, string) {
	t.Helper()
	address := freeAddress(t)
	relay, err := startProcess(filepath.Join(t.TempDir(), "relay.log"),
		[]string{"BENCH_RELAY_TO=" + target, "BENCH_RELAY_LISTEN=" + address}, os.Args[0], "-test.run=^TestRelay$", "-test.timeout=2h")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { relay.stop(9) })
	if err := relay.waitForAddress(address); err != nil {
		t.Fatal(err)
	}
	return relay, address
}

func s3Rows(t *testing.T, s *stack) []row {
	relay, relayAddress := startRelay(t, s.env["UPSTREAM_S3_ENDPOINT"])
	upstream := s.upstream(t)
	for _, bucket := range []string{"bench-direct", "bench-sidekey"} {
		if _, err := upstream.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
			t.Fatal(err)
		}
	}
	ways := []struct {
		name, bucket string
		client       *s3.Client
		between      []*process
	}{
		{"direct", "bench-direct", upstream, nil},
		{"relay", "bench-direct", s.s3Client(t, "upstream", "http://"+relayAddress), []*process{relay}},
		{"sidekey", "bench-sidekey", s.app(t), []*process{s.proxy, s.keysvc}},
	}
	sizes := []struct {
		name string
		size int64
	}{{"4 KiB", 4 << 10}, {"1 MiB", 1 << 20}, {"64 MiB", 64 << 20}}
	rows := make([]row, 0, 2*len(sizes)+1)
	for _, size := range sizes {
		body := bytes.Repeat([]byte("benchmark"), int(size.size)/9+1)[:size.size]
		puts := row{name: "PUT " + size.name, clients: 8, bytes: size.size}
		gets := row{name: "GET " + size.name, clients: 8, bytes: size.size}
		for _, way := range ways {
			putOne := func(client int) error {
				key := fmt.Sprintf("%d-%d", size.size, client)
				_, err := way.client.PutObject(context.Background(),
					&s3.PutObjectInput{Bucket: &way.bucket, Key: &key, Body: bytes.NewReader(body)},
					s3.WithAPIOptions(v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware), withoutChecksums)
				return err
			}
			puts.variants = append(puts.variants, variant{way.name, way.between, putOne})
			gets.variants = append(gets.variants, variant{way.name, way.between, func(client int) error {
				return getOne(way.client, way.bucket, fmt.Sprintf("%d-%d", size.size, client), "", size.size)
			}})
		}
		rows = append(rows, puts, gets)
	}
	ranged := row{name: "GET 64 KiB of 64 MiB", clients: 8, bytes: 64 << 10}
	for _, way := range ways {
		ranged.variants = append(ranged.variants, variant{way.name, way.between, func(client int) error {
			return getOne(way.client, way.bucket, fmt.Sprintf("%d-%d", 64<<20, client), "bytes=33333333-33398868", 64<<10)
		}})
	}
	return append(rows, ranged, listRow(t, s, relayAddress, relay))
}

// listRow lists 1,000 keys, in a bucket of its own for each side.
func listRow(t *testing.T, s *stack, relayAddress string, relay *process) row {
	t.Helper()
	upstream, app := s.upstream(t), s.app(t)
	for bucket, client := range map[string]*s3.Client{"bench-list-direct": upstream, "bench-list-sidekey": app} {
		if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
			t.Fatal(err)
		}
		for i := range 1000 {
			put(t, client, bucket, fmt.Sprintf("some/name/of/an-object-%04d", i), []byte("x"))
		}
	}
	r := row{name: "list 1,000 keys", clients: 8}
	for _, way := range []struct {
		name, bucket string
		client       *s3.Client
		between      []*process
	}{
		{"direct", "bench-list-direct", upstream, nil},
		{"relay", "bench-list-direct", s.s3Client(t, "upstream", "http://"+relayAddress), []*process{relay}},
		{"sidekey", "bench-list-sidekey", app, []*process{s.proxy, s.keysvc}},
	} {
		r.variants = append(r.variants, variant{way.name, way.between, func(int) error {
			page, err := way.client.ListObjectsV2(context.Background(), &s3.ListObjectsV2Input{Bucket: &way.bucket})
			if err == nil && len(page.Contents) != 1000 {
				err = fmt.Errorf("%d keys are listed", len(page.Contents))
			}
			return err
		}})
	}
	return r
}

// withoutChecksums leaves the client's own work out, as far as it goes.
func withoutChecksums(o *s3.Options) {
	o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
}

func getOne(client *s3.Client, bucket, key, ranged string, want int64) error {
	input := &s3.GetObjectInput{Bucket: &bucket, Key: &key}
	if ranged != "" {
		input.Range = &ranged
	}
	answer, err := client.GetObject(context.Background(), input, withoutChecksums)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	n, err := io.Copy(io.Discard, answer.Body)
	if err == nil && n != want {
		err = fmt.Errorf("got %d bytes, want %d", n, want)
	}
	return err
}

func kmsRows(t *testing.T, s *stack) []row {
	client := kms.New(kms.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(s.env["KMS_ENDPOINT"]),
		Credentials: credentials.NewStaticCredentialsProvider("AKIADEVADMIN00000000", s.secret(t, "admin"), ""),
		HTTPClient:  &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}},
	})
	// A row has a variant for each protection that a key's material can have.
	ways := func(name string, operation func(protection string) func() error) row {
		r := row{name: name, clients: 16}
		for _, protection := range []string{"hsm", "memory"} {
			call := operation(protection)
			r.variants = append(r.variants, variant{"protection " + protection, []*process{s.keysvc}, func(int) error { return call() }})
		}
		return r
	}
	key := func(protection string, spec types.KeySpec, usage types.KeyUsageType) *string {
		created, err := client.CreateKey(t.Context(), &kms.CreateKeyInput{
			KeySpec: spec, KeyUsage: usage, Tags: []types.Tag{{TagKey: aws.String("sidekey:protection"), TagValue: &protection}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return created.KeyMetadata.KeyId
	}
	ctx := context.Background()
	symmetric := map[string]*string{"hsm": key("hsm", "SYMMETRIC_DEFAULT", ""), "memory": key("memory", "SYMMETRIC_DEFAULT", "")}
	sign := func(spec types.KeySpec, algorithm types.SigningAlgorithmSpec) func(string) func() error {
		return func(protection string) func() error {
			id := key(protection, spec, types.KeyUsageTypeSignVerify)
			return func() error {
				_, err := client.Sign(ctx, &kms.SignInput{KeyId: id, Message: make([]byte, 32), MessageType: types.MessageTypeDigest, SigningAlgorithm: algorithm})
				return err
			}
		}
	}
	return []row{
		ways("Encrypt 32 B", func(protection string) func() error {
			return func() error {
				_, err := client.Encrypt(ctx, &kms.EncryptInput{KeyId: symmetric[protection], Plaintext: make([]byte, 32)})
				return err
			}
		}),
		ways("Decrypt 32 B", func(protection string) func() error {
			sealed, err := client.Encrypt(ctx, &kms.EncryptInput{KeyId: symmetric[protection], Plaintext: make([]byte, 32)})
			if err != nil {
				t.Fatal(err)
			}
			return func() error {
				_, err := client.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob})
				return err
			}
		}),
		ways("GenerateDataKey", func(protection string) func() error {
			return func() error {
				_, err := client.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: symmetric[protection], KeySpec: types.DataKeySpecAes256})
				return err
			}
		}),
		ways("Sign P-256", sign(types.KeySpecEccNistP256, types.SigningAlgorithmSpecEcdsaSha256)),
		ways("Sign RSA-2048", sign(types.KeySpecRsa2048, types.SigningAlgorithmSpecRsassaPssSha256)),
	}
}
