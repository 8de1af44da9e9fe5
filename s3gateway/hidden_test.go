// SPDX-License-Identifier: Apache-2.0

package s3gateway_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sidekey/sidekey/s3gateway"
)

// hiddenKeys are the gateway's own objects that the store has.
func (s *stack) hiddenKeys(t testing.TB) []string {
	t.Helper()
	out, err := s.store.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(bucket), Prefix: aws.String("~sidekey/")})
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, object := range out.Contents {
		keys = append(keys, *object.Key)
	}
	return keys
}

// TestHiddenObjects are in no listing, and cannot be named.
func TestHiddenObjects(t *testing.T) {
	s := newMinIOStack(t)
	ctx := t.Context()
	for _, key := range []string{"a", "z", "é"} { // before and after the hidden ones
		s.put(t, key, content(1))
	}
	id := s.begin(t, "upload")
	for i := range int32(5) {
		s.part(t, "upload", id, i+1, content(10))
	}
	if n := len(s.hiddenKeys(t)); n != 11 {
		t.Fatalf("%d hidden objects, want 11", n)
	}
	for _, size := range []int32{1, 2, 3, 1000} {
		var keys []string
		pages := s3.NewListObjectsV2Paginator(s.app, &s3.ListObjectsV2Input{Bucket: aws.String(bucket), MaxKeys: &size})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Contents) != int(*page.KeyCount) {
				t.Errorf("KeyCount %d of %d keys", *page.KeyCount, len(page.Contents))
			}
			for _, object := range page.Contents {
				keys = append(keys, *object.Key)
			}
		}
		if fmt.Sprint(keys) != "[a z é]" {
			t.Errorf("pages of %d: %v", size, keys)
		}
		v1, marker := []string{}, ""
		for range 20 {
			page, err := s.app.ListObjects(ctx, &s3.ListObjectsInput{Bucket: aws.String(bucket), MaxKeys: &size, Marker: &marker, EncodingType: types.EncodingTypeUrl})
			if err != nil {
				t.Fatal(err)
			}
			for _, object := range page.Contents {
				key, _ := url.QueryUnescape(*object.Key)
				v1, marker = append(v1, key), key
			}
			if !*page.IsTruncated {
				break
			}
		}
		if fmt.Sprint(v1) != "[a z é]" {
			t.Errorf("pages of %d, version 1: %v", size, v1)
		}
	}
	prefixes, err := s.app.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String(bucket), Delimiter: aws.String("/")})
	if err != nil || len(prefixes.CommonPrefixes) != 0 {
		t.Errorf("%v, %+v", err, prefixes.CommonPrefixes)
	}
	name := s.hiddenKeys(t)[0]
	_, _, err = s.get(t, name)
	wantError(t, "GET", err, "AccessDenied")
	_, err = s.app.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(bucket), Key: &name, Body: strings.NewReader("x")})
	wantError(t, "PUT", err, "AccessDenied")
	_, err = s.app.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String(bucket), Key: &name})
	wantError(t, "DELETE", err, "AccessDenied")
	_, err = s.app.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: aws.String(bucket), Delete: &types.Delete{Objects: []types.ObjectIdentifier{{Key: aws.String("a")}, {Key: &name}}}})
	wantError(t, "DeleteObjects", err, "AccessDenied")
	if n := len(s.hiddenKeys(t)); n != 11 {
		t.Errorf("%d hidden objects are left", n)
	}
}

// TestHiddenPrefixes lists with delimiters that end a common prefix inside the name that
// all hidden objects begin with.
func TestHiddenPrefixes(t *testing.T) {
	s := newMinIOStack(t)
	ctx := t.Context()
	s.part(t, "upload", s.begin(t, "upload"), 1, content(10))
	prefixes := func(delimiter string, size int32) (all []string) {
		t.Helper()
		pages := s3.NewListObjectsV2Paginator(s.app, &s3.ListObjectsV2Input{Bucket: aws.String(bucket), Delimiter: &delimiter, MaxKeys: &size})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if int(*page.KeyCount) != len(page.CommonPrefixes)+len(page.Contents) {
				t.Errorf("by %q: KeyCount %d of %d", delimiter, *page.KeyCount, len(page.CommonPrefixes)+len(page.Contents))
			}
			for _, p := range page.CommonPrefixes {
				all = append(all, *p.Prefix)
			}
		}
		v1, err := s.app.ListObjects(ctx, &s3.ListObjectsInput{Bucket: aws.String(bucket), Delimiter: &delimiter})
		if err != nil || len(v1.CommonPrefixes) != len(all) {
			t.Errorf("by %q: %v, %+v in version 1, %q in version 2", delimiter, err, v1, all)
		}
		versions, err := s.app.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: aws.String(bucket), Delimiter: &delimiter})
		if err != nil || len(versions.CommonPrefixes) != len(all) {
			t.Errorf("by %q: %v, %+v of versions, %q of objects", delimiter, err, versions, all)
		}
		return all
	}
	delimiters := map[string]string{"~": "~", "s": "~s", "ide": "~side", "y": "~sidekey", "/": "", "y/u": ""}
	for delimiter := range delimiters {
		if got := prefixes(delimiter, 1000); len(got) != 0 {
			t.Errorf("by %q: %q", delimiter, got)
		}
	}
	s.put(t, "~sidekey!", content(1)) // before all hidden names
	s.put(t, "~zz", content(1))
	for delimiter, want := range delimiters {
		sizes := []int32{1000}
		if delimiter == "/" { // by others MinIO repeats a page of common prefixes for ever
			sizes = []int32{1, 2, 1000}
		}
		for _, size := range sizes {
			if got := prefixes(delimiter, size); strings.Join(got, " ") != want {
				t.Errorf("by %q, pages of %d: %q, want %q", delimiter, size, got, want)
			}
		}
	}
}

// TestHiddenPages counts what a page costs at the store that begins with hidden objects.
func TestHiddenPages(t *testing.T) {
	s, n := counting(t)
	ctx := t.Context()
	id := s.begin(t, "upload")
	for i := range int32(8) {
		s.part(t, "upload", id, i+1, content(10))
	}
	s.put(t, "~z", content(1))
	n.Store(0)
	v2, err := s.app.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String(bucket), MaxKeys: aws.Int32(1)})
	if err != nil || len(v2.Contents) != 1 || *v2.Contents[0].Key != "~z" {
		t.Errorf("%v, %+v", err, v2)
	}
	v1, err := s.app.ListObjects(ctx, &s3.ListObjectsInput{Bucket: aws.String(bucket), MaxKeys: aws.Int32(1)})
	if err != nil || len(v1.Contents) != 1 || *v1.Contents[0].Key != "~z" {
		t.Errorf("%v, %+v", err, v1)
	}
	versions, err := s.app.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: aws.String(bucket), MaxKeys: aws.Int32(1)})
	if err != nil || len(versions.Versions) != 1 || *versions.Versions[0].Key != "~z" {
		t.Errorf("%v, %+v", err, versions)
	}
	// MinIO says that more follows, and begins with the same prefix again.
	v2, err = s.app.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String(bucket), MaxKeys: aws.Int32(1), Delimiter: aws.String("y/u")})
	if err != nil || len(v2.Contents) != 1 || *v2.Contents[0].Key != "~z" {
		t.Errorf("%v, %+v", err, v2)
	}
	if got := n.Load(); got != 8 {
		t.Errorf("four pages cost %d requests, want 8", got)
	}
}

// TestHiddenNames has the names that a store which cleans paths takes for those of
// hidden objects.
func TestHiddenNames(t *testing.T) {
	s := newMinIOStack(t)
	ctx := t.Context()
	s.put(t, "a", content(1))
	id := s.begin(t, "upload")
	s.part(t, "upload", id, 1, content(10))
	have := s.hiddenKeys(t)
	for _, before := range []string{"", "/", "//", "./", "/./", "a/../", "/a/../", "~sidekey//../"} {
		name := before + have[0]
		for _, method := range []string{"GET", "HEAD", "PUT", "DELETE"} {
			r := s.rawRequest(t, method, "/docs/"+name, "", nil)
			if status, _ := s.do(t, r); status != http.StatusForbidden {
				t.Errorf("%s %s: status %d", method, name, status)
			}
		}
		_, err := s.app.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: aws.String(bucket), Delete: &types.Delete{Objects: []types.ObjectIdentifier{{Key: &name}}}})
		wantError(t, "DeleteObjects of "+name, err, "AccessDenied")
		_, err = s.app.CopyObject(ctx, copying(name, "copy"))
		wantError(t, "a copy of "+name, err, "AccessDenied")
		_, err = s.app.CopyObject(ctx, copying("a", name))
		wantError(t, "a copy to "+name, err, "AccessDenied")
	}
	if now := s.hiddenKeys(t); !slices.Equal(now, have) {
		t.Errorf("hidden objects are %q, were %q", now, have)
	}
	for _, key := range []string{"~sidekey", "x/~sidekey/y", "~sidekeys/y"} { // are the client's
		s.put(t, key, content(1))
	}
}

// TestVersionedUploads leaves nothing behind in a bucket that keeps all versions.
func TestVersionedUploads(t *testing.T) {
	s := newMinIOStack(t)
	ctx := t.Context()
	_, err := s.app.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: aws.String(bucket), VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}})
	if err != nil {
		t.Fatal(err)
	}
	first := s.multipart(t, "k", 5*mib, 20)
	s.multipart(t, "k", 5*mib, 30)
	versions, err := s.app.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: aws.String(bucket)})
	if err != nil || len(versions.Versions) != 2 || *versions.Versions[0].Size != 5*mib+30 || *versions.Versions[1].Size != 5*mib+20 {
		t.Fatalf("%v, %+v", err, versions.Versions)
	}
	old := versions.Versions[1].VersionId
	if got, _, err := s.get(t, "k", func(in *s3.GetObjectInput) { in.VersionId = old }); err != nil || len(got) != len(first) {
		t.Errorf("the former version: %v, %d bytes", err, len(got))
	}
	copied := s.copied(t, "k?versionId="+*old, "copy")
	if got, _, err := s.get(t, "copy"); err != nil || len(got) != len(first) || aws.ToString(copied.CopySourceVersionId) != *old {
		t.Errorf("a copy of the former version: %v, %d bytes, %+v", err, len(got), copied)
	}
	raw, err := s.store.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: aws.String(bucket), Prefix: aws.String("~sidekey/")})
	if err != nil || len(raw.Versions)+len(raw.DeleteMarkers) != 0 {
		t.Errorf("left in the store: %v, %d versions, %d markers", err, len(raw.Versions), len(raw.DeleteMarkers))
	}
}

// TestSweep removes what is kept of uploads that the store has aborted by itself, and
// not what is kept of others.
func TestSweep(t *testing.T) {
	s := newMinIOStack(t)
	ctx := t.Context()
	dead, alive := s.begin(t, "dead"), s.begin(t, "alive")
	s.part(t, "dead", dead, 1, content(10))
	part := s.part(t, "alive", alive, 1, content(10))
	if _, err := s.store.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: aws.String(bucket), Key: aws.String("dead"), UploadId: atStore(dead)}); err != nil {
		t.Fatal(err)
	}
	if err := s3gateway.Sweep(ctx, s.gateway, bucket, time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if n := len(s.hiddenKeys(t)); n != 6 {
		t.Errorf("%d hidden objects after a sweep of older ones, want 6", n)
	}
	if err := s3gateway.Sweep(ctx, s.gateway, bucket, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if n := len(s.hiddenKeys(t)); n != 3 {
		t.Errorf("%d hidden objects are left, want 3", n)
	}
	s.complete(t, "alive", alive, part)
}

// TestDeleteDocument has lists to delete that another reader might read in another way:
// what the store is sent names no hidden object.
func TestDeleteDocument(t *testing.T) {
	var sent atomic.Value
	s := newStack(t, between(t, startMinIO(t), func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost && r.URL.Query().Has("delete") {
			text, _ := io.ReadAll(r.Body)
			sent.Store(string(text))
			r.Body = io.NopCloser(bytes.NewReader(text))
		}
		return false
	}))
	const secret = "~sidekey/encryption"
	for _, document := range []string{
		"<Delete><Object><Key>" + secret + "</Key><Key>a</Key></Object></Delete>",
		"<Delete><Object><Key>a</Key><x:Key xmlns:x='urn:x'>b</x:Key></Object></Delete><Delete><Object><Key>" + secret + "</Key></Object></Delete>",
		"<Delete><Object><Key>a</Key></Object><Other><Object><Key>" + secret + "</Key></Object></Other></Delete>",
		"<Delete><Object><Key>a</Key></Object><!--<Object><Key>" + secret + "</Key></Object>--></Delete>",
	} {
		s.put(t, "a", content(1))
		sent.Store("")
		if status, e := s.do(t, s.rawRequest(t, "POST", "/docs?delete", document, nil)); status != http.StatusOK && e.Code != "AccessDenied" {
			t.Errorf("%s: %d, %s", document, status, e.Code)
		}
		if text := sent.Load().(string); strings.Contains(text, secret) {
			t.Errorf("the store was sent %s", text)
		}
	}
	// What the document can say arrives.
	s.put(t, "a\r&<b>", content(1))
	document := "<Delete xmlns='http://s3.amazonaws.com/doc/2006-03-01/'><Quiet>true</Quiet><Object><Key>a&#13;&amp;&lt;b&gt;</Key><VersionId>null</VersionId></Object></Delete>"
	if status, e := s.do(t, s.rawRequest(t, "POST", "/docs?delete", document, nil)); status != http.StatusOK {
		t.Errorf("%d, %s", status, e.Code)
	}
	s.mustBeAbsent(t, "a\r&<b>")
	if text := sent.Load().(string); !strings.Contains(text, "<Quiet>true</Quiet>") || !strings.Contains(text, "<VersionId>null</VersionId>") {
		t.Errorf("the store was sent %s", text)
	}
}

// TestAbort has stores that know no versions of objects, that cannot remove what is kept
// of an upload, and that take an upload without an ID for an object.
func TestAbort(t *testing.T) {
	to := startMinIO(t)
	var refused atomic.Value // the sub-resource that the store does not have
	refused.Store("versions")
	s := newStack(t, between(t, to, func(w http.ResponseWriter, r *http.Request) bool {
		if !r.URL.Query().Has(refused.Load().(string)) {
			return false
		}
		w.WriteHeader(http.StatusNotImplemented)
		return true
	}))
	abort := func() {
		t.Helper()
		id := s.begin(t, "k")
		s.part(t, "k", id, 1, content(10))
		if _, err := s.app.AbortMultipartUpload(t.Context(), &s3.AbortMultipartUploadInput{Bucket: aws.String(bucket), Key: aws.String("k"), UploadId: id}); err != nil {
			t.Errorf("a store without %s: %v", refused.Load(), err)
		}
	}
	abort()
	if left := s.hiddenKeys(t); len(left) > 0 {
		t.Errorf("left in the store: %q", left)
	}
	refused.Store("delete")
	abort()
	if n := len(s.hiddenKeys(t)); n != 3 {
		t.Errorf("%d hidden objects, want 3 that cannot be removed", n)
	}
	for name, s := range map[string]*stack{"memory": newMemoryStack(t), "MinIO": s} {
		s.put(t, "object", content(5))
		for _, method := range []string{"DELETE", "GET"} {
			if status, e := s.do(t, s.rawRequest(t, method, "/docs/object?uploadId=", "", nil)); status != http.StatusNotFound || e.Code != "NoSuchUpload" {
				t.Errorf("%s: %s of an upload without an ID: %d, %s", name, method, status, e.Code)
			}
		}
		if got, _, err := s.get(t, "object"); err != nil || len(got) != 5 {
			t.Errorf("%s: %v, %d bytes", name, err, len(got))
		}
	}
}

// between is the endpoint of a relay to a store. It answers itself what answers says.
func between(t *testing.T, store string, answers func(http.ResponseWriter, *http.Request) bool) string {
	t.Helper()
	to, err := url.Parse(store)
	if err != nil {
		t.Fatal(err)
	}
	relay := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.Host = r.In.Host }}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !answers(w, r) {
			relay.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// counting is a stack whose requests to MinIO are counted.
func counting(t *testing.T) (*stack, *atomic.Int64) {
	t.Helper()
	var n atomic.Int64
	s := newStack(t, between(t, startMinIO(t), func(http.ResponseWriter, *http.Request) bool {
		n.Add(1)
		return false
	}))
	s.full = true
	return s, &n
}

// TestUpstreamRequests counts what a read costs at the store.
func TestUpstreamRequests(t *testing.T) {
	s, n := counting(t)
	s.put(t, "whole", content(3*mib))
	want := s.multipart(t, "parts", 5*mib+1, 6*mib+5, 7*mib, 30)
	get := func(key, ranged string) int64 {
		t.Helper()
		fresh := s.replica(t)
		for range 2 {
			n.Store(0)
			got, _, err := fresh.get(t, key, func(in *s3.GetObjectInput) {
				if ranged != "" {
					in.Range = &ranged
				}
			})
			if err != nil || len(got) == 0 {
				t.Fatalf("%s of %s: %v, %d bytes", ranged, key, err, len(got))
			}
			if n.Load() == 1 {
				break // the first was enough; or the second, which knows the parts
			}
			if n.Load() > 2 {
				t.Errorf("%s of %s cost %d requests", ranged, key, n.Load())
			}
		}
		return n.Load()
	}
	for _, key := range []string{"whole", "parts"} {
		for _, ranged := range []string{"", "bytes=0-9", "bytes=1048570-1048580", "bytes=-10", "bytes=-100000"} {
			if last := get(key, ranged); last != 1 {
				t.Errorf("%s of %s cost %d requests the second time", ranged, key, last)
			}
		}
	}
	for _, from := range []int{5*mib - 10, 5 * mib, 5*mib + 1, 5*mib + 2, 11*mib + 3, 18*mib - 40, len(want) - 31, len(want) - 2} {
		for _, length := range []int{1, 20, 70_000, 6 * mib} {
			if last := get("parts", fmt.Sprintf("bytes=%d-%d", from, from+length-1)); last != 1 {
				t.Errorf("%d bytes from %d cost %d requests the second time", length, from, last)
			}
		}
	}
}
