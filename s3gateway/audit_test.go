// SPDX-License-Identifier: Apache-2.0

package s3gateway_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sidekey/sidekey/keysvc/audit"
)

// TestTrace follows the trace of an application through a PUT and a GET.
func TestTrace(t *testing.T) {
	s := newMemoryStack(t)
	const trace = "0af7651916cd43dd8448eb211c80319c"
	for _, method := range []string{"PUT", "GET"} {
		r := s.rawRequest(t, method, "/docs/traced", map[string]string{"PUT": "canary-plaintext"}[method], map[string]string{"x-amz-meta-m": "canary-metadata"})
		if method == "GET" {
			r = s.rawRequest(t, method, "/docs/traced", "", nil)
		}
		r.Header.Set("Traceparent", "00-"+trace+"-b7ad6b7169203331-00")
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", method, answer.Status)
		}
	}
	spans, err := audit.ReadTrace([]string{s.auditDir}, trace)
	if err != nil {
		t.Fatal(err)
	}
	var tree bytes.Buffer
	if err := audit.WriteTree(&tree, spans); err != nil {
		t.Fatal(err)
	}
	text := tree.String()
	for _, want := range []string{"s3.PutObject", "s3.GetObject", "datakey.use", s.ruleKey, "traced", "docs", "app"} {
		if !strings.Contains(text, want) {
			t.Errorf("the trace does not hold %q", want)
		}
	}
	if got := strings.Count(text, "datakey.use"); got != 2 {
		t.Errorf("the trace holds %d uses of a data key", got)
	}
	if strings.Contains(fmt.Sprintf("%+v", spans), "canary") {
		t.Error("the record holds content")
	}
}

// TestVersions reads an older version, and a deleted object's.
func TestVersions(t *testing.T) {
	s := newMinIOStack(t)
	if _, err := s.app.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{Bucket: aws.String(bucket), VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}}); err != nil {
		t.Fatal(err)
	}
	first := s.put(t, "v", []byte("one"))
	s.put(t, "v", []byte("two and more"))
	got, out, err := s.get(t, "v", func(in *s3.GetObjectInput) { in.VersionId = first.VersionId })
	if err != nil || string(got) != "one" || aws.ToString(out.VersionId) != aws.ToString(first.VersionId) {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := s.app.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String(bucket), Key: aws.String("v")}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.get(t, "v"); code(err) != "NoSuchKey" {
		t.Errorf("got %v", err)
	}
	versions, err := s.app.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: aws.String(bucket)})
	if err != nil || len(versions.Versions) != 2 || len(versions.DeleteMarkers) != 1 {
		t.Fatalf("got %+v, %v", versions, err)
	}
	if *versions.Versions[0].Size != 12 || *versions.Versions[1].Size != 3 {
		t.Errorf("got sizes %d and %d", *versions.Versions[0].Size, *versions.Versions[1].Size)
	}
}
