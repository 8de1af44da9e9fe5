// SPDX-License-Identifier: Apache-2.0

package s3gateway_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// TestHostForms looks at which bucket and key the store is asked for.
func TestHostForms(t *testing.T) {
	w := newWired(t)
	for _, c := range []struct{ host, target, want string }{
		// A configured domain.
		{"docs.s3.test", "/k", "/docs/k"},
		{"docs.s3.test:9000", "/k", "/docs/k"},
		{"docs.s3.test.", "/k", "/docs/k"},
		{"docs.s3.test.:9000", "/k", "/docs/k"},
		{"DOCS.S3.Test", "/k", "/docs/k"},
		{"docs.s3.test", "/", "/docs"},
		{"docs.s3.test", "/docs/k", "/docs/docs/k"},
		{"docs.s3.test", "//k", "/docs//k"},
		{"docs.s3.test", "/a/../b", "/docs/a/../b"},
		{"a.b.c.s3.test", "/k", "/a.b.c/k"},
		{"1-2.s3.test", "/k", "/1-2/k"},
		{"s3.test", "/docs/k", "/docs/k"},
		{"S3.TEST.:1", "/docs/k", "/docs/k"},
		{"s3.test", "/docs", "/docs"},
		{"s3.test", "/docs/", "/docs"},
		// Hosts that are none of its domains name no bucket.
		{"docss3.test", "/docs/k", "/docs/k"},
		{"s3.test.evil", "/docs/k", "/docs/k"},
		{"docs.s3.test.evil", "/docs/k", "/docs/k"},
		{"gateway", "/docs/k", "/docs/k"},
		{"localhost:8401", "/docs/k", "/docs/k"},
		{"127.0.0.1", "/docs/k", "/docs/k"},
		{"127.0.0.1:9000", "/docs/k", "/docs/k"},
		{"[::1]", "/docs/k", "/docs/k"},
		{"[::1]:9000", "/docs/k", "/docs/k"},
		// AWS's own.
		{"docs.s3.amazonaws.com", "/k", "/docs/k"},
		{"docs.s3.eu-central-1.amazonaws.com", "/k", "/docs/k"},
		{"docs.s3.eu-central-1.amazonaws.com.:443", "/k", "/docs/k"},
		{"docs.s3-eu-west-1.amazonaws.com", "/k", "/docs/k"},
		{"docs.s3.dualstack.us-gov-west-1.amazonaws.com", "/k", "/docs/k"},
		{"docs.s3-fips.us-east-1.amazonaws.com", "/k", "/docs/k"},
		{"docs.s3-fips.dualstack.us-east-1.amazonaws.com", "/k", "/docs/k"},
		{"docs.s3.cn-north-1.amazonaws.com.cn", "/k", "/docs/k"},
		{"a.b.s3.amazonaws.com", "/k", "/a.b/k"},
		{"s3.amazonaws.com", "/docs/k", "/docs/k"},
		{"s3.dualstack.eu-central-1.amazonaws.com", "/docs/k", "/docs/k"},
		{"docs.s3.amazonaws.com.evil", "/docs/k", "/docs/k"},
		// Neither.
		{"-x.s3.test", "/k", "InvalidBucketName"},
		{"minio.s3.test", "/admin/v3/info", "InvalidBucketName"},
		{"MinIO.S3.Test.", "/admin/v3/info", "InvalidBucketName"},
		{"minio.s3.amazonaws.com", "/admin/v3/info", "InvalidBucketName"},
		{"s3.test", "/minio/admin/v3/info", "InvalidBucketName"},
		{"s3.test", "//docs/k", "InvalidBucketName"},
		{"ap-123456789012.s3-accesspoint.eu-central-1.amazonaws.com", "/k", "NotImplemented"},
		{"x.s3-object-lambda.eu-central-1.amazonaws.com", "/k", "NotImplemented"},
		{"docs.s3-website.eu-central-1.amazonaws.com", "/k", "NotImplemented"},
		{"docs--euc1-az1--x-s3.s3express-euc1-az1.eu-central-1.amazonaws.com", "/k", "NotImplemented"},
		{"123456789012.s3-control.eu-central-1.amazonaws.com", "/v20180820/jobs", "NotImplemented"},
		{"sts.amazonaws.com", "/", "NotImplemented"},
	} {
		w.seen.Store(nil)
		_, e := w.do(t, w.rawRequest(t, "GET", c.target, "", map[string]string{"Host": c.host}))
		got := e.Code
		if seen := w.seen.Load(); seen != nil {
			got = seen.URL.Path
		}
		if got != c.want {
			t.Errorf("%s %s: got %s, want %s", c.host, c.target, got, c.want)
		}
	}
}

// TestVirtualHostClient has an unmodified client put the bucket into the host's
// name, which resolves to the gateway.
func TestVirtualHostClient(t *testing.T) {
	s := newMinIOStack(t)
	address := serve(t, s.gateway)
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	var dialled []string
	transport := &http.Transport{DialContext: func(ctx context.Context, network, name string) (net.Conn, error) {
		dialled = append(dialled, name)
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}
	defer transport.CloseIdleConnections()
	app := client("http://s3.test:"+port, appID, appSecret, withChecksums, func(o *s3.Options) {
		o.UsePathStyle = false
		o.HTTPClient = &http.Client{Transport: transport}
	})
	ctx := t.Context()
	key, want := aws.String("a/b/ü +%2F"), content(300_000)
	if _, err := app.PutObject(ctx, &s3.PutObjectInput{Bucket: docs, Key: key, Body: bytes.NewReader(want)}); err != nil {
		t.Fatal(err)
	}
	out, err := app.GetObject(ctx, &s3.GetObjectInput{Bucket: docs, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(out.Body)
	out.Body.Close()
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	list, err := app.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: docs})
	if err != nil || len(list.Contents) != 1 || *list.Contents[0].Key != *key || *list.Contents[0].Size != int64(len(want)) {
		t.Errorf("listing: %v, %v", list, err)
	}
	if _, err := app.PutObjectTagging(ctx, &s3.PutObjectTaggingInput{Bucket: docs, Key: key, Tagging: tags}); err != nil {
		t.Errorf("tagging: %v", err)
	}
	if _, err := app.ListBuckets(ctx, &s3.ListBucketsInput{}); err != nil {
		t.Errorf("buckets: %v", err)
	}
	if _, err := app.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: docs, Key: key}); err != nil {
		t.Errorf("deleting: %v", err)
	}
	if _, err := app.HeadObject(ctx, &s3.HeadObjectInput{Bucket: docs, Key: key}); status(err) != http.StatusNotFound {
		t.Errorf("HEAD afterwards: %v", err)
	}
	for _, name := range []string{"docs.s3.test:" + port, "s3.test:" + port} {
		if !slices.Contains(dialled, name) {
			t.Errorf("%s was not dialled: %v", name, dialled)
		}
	}
}
