// SPDX-License-Identifier: Apache-2.0

package s3gateway_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/google/go-cmp/cmp"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/proxy"
	"github.com/sidekey/sidekey/s3gateway"
)

// TestMigrate runs its cases before one MinIO, each in a prefix or bucket of its own.
func TestMigrate(t *testing.T) {
	m := newMigration(t, newMinIOStack(t))
	for _, c := range []struct {
		name string
		run  func(*testing.T, *migration)
	}{
		{"objects", migrateObjects}, {"parts", migrateParts}, {"layouts", migrateLayouts}, {"corrupt", migrateCorrupt}, {"progress", migrateProgress}, {"writers", migrateWriters}, {"deleted", migrateDeleted},
		{"versions", migrateVersions}, {"locks", migrateLocks}, {"ACL", migrateACL}, {"refused", migrateRefused},
		{"dry run", migrateDryRun}, {"verify only", migrateVerifyOnly}, {"rate", migrateRate}, {"resume", migrateResume},
		{"no keys", migrateNoKeys}, {"store fails", migrateStoreFails}, {"no record", migrateNoRecord},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, m) })
	}
}

func in(prefix string) s3gateway.MigrateOptions {
	return s3gateway.MigrateOptions{Bucket: bucket, Prefix: prefix}
}

func object(key string) s3.PutObjectInput {
	return s3.PutObjectInput{Bucket: aws.String(bucket), Key: &key}
}

// migrateObjects compares what a client saw of objects before and sees afterwards.
func migrateObjects(t *testing.T, m *migration) {
	bodies := map[string][]byte{}
	total := int64(0)
	for i, size := range []int{0, 1, 65536, 65537, 1 << 20, 3<<20 + 77} {
		key := fmt.Sprintf("objects/%d", size)
		bodies[key] = random(size)
		total += int64(size)
		o := object(key)
		o.ContentType, o.CacheControl = aws.String("text/x-test"), aws.String("max-age=7")
		o.ContentDisposition, o.ContentLanguage = aws.String(`attachment; filename="a b"`), aws.String("de")
		o.ContentEncoding = aws.String("gzip")
		o.Expires = aws.Time(time.Unix(2e9, 0))
		o.Metadata = map[string]string{"one": "1", "two": "with space"}
		o.Tagging = aws.String("a=b%20c&c%2Bd=%2F")
		o.WebsiteRedirectLocation = aws.String("/elsewhere")
		o.StorageClass = types.StorageClassReducedRedundancy
		o.ChecksumAlgorithm = []types.ChecksumAlgorithm{"", types.ChecksumAlgorithmCrc32, types.ChecksumAlgorithmSha256, types.ChecksumAlgorithmCrc64nvme, types.ChecksumAlgorithmCrc32c, types.ChecksumAlgorithmSha1}[i]
		m.plain(t, o, bodies[key])
	}
	for _, name := range []string{"with space", "plus+and%25", "ü/ä", "ends/"} {
		bodies["objects/"+name] = random(100)
		total += 100
		m.plain(t, object("objects/"+name), bodies["objects/"+name])
	}
	looks := map[string]s3.GetObjectOutput{}
	for key := range bodies {
		_, out := m.read(t, m.store, bucket, key)
		looks[key] = *out
	}
	n := int64(len(bodies))
	m.want(t, m.migrate(t, in("objects/")), s3gateway.MigrateSummary{Sealed: n, SealedBytes: total, Verified: n, VerifiedBytes: total})
	for key, body := range bodies {
		m.mustBeSealed(t, bucket, key, body)
		_, now := m.read(t, m.app, bucket, key)
		was := looks[key]
		for name, pair := range map[string][2]any{
			"Content-Type": {was.ContentType, now.ContentType}, "Cache-Control": {was.CacheControl, now.CacheControl},
			"Content-Disposition": {was.ContentDisposition, now.ContentDisposition}, "Content-Language": {was.ContentLanguage, now.ContentLanguage},
			"Content-Encoding": {was.ContentEncoding, now.ContentEncoding}, "Expires": {was.ExpiresString, now.ExpiresString},
			"metadata": {was.Metadata, now.Metadata}, "storage class": {was.StorageClass, now.StorageClass},
			"redirect": {was.WebsiteRedirectLocation, now.WebsiteRedirectLocation}, "length": {was.ContentLength, now.ContentLength},
			"tag count": {was.TagCount, now.TagCount}, "CRC32": {was.ChecksumCRC32, now.ChecksumCRC32}, "CRC32C": {was.ChecksumCRC32C, now.ChecksumCRC32C},
			"CRC64NVME": {was.ChecksumCRC64NVME, now.ChecksumCRC64NVME}, "SHA1": {was.ChecksumSHA1, now.ChecksumSHA1}, "SHA256": {was.ChecksumSHA256, now.ChecksumSHA256},
		} {
			if diff := cmp.Diff(pair[0], pair[1]); diff != "" {
				t.Errorf("%s: %s: %s", key, name, diff)
			}
		}
	}
	tags, err := m.store.GetObjectTagging(t.Context(), &s3.GetObjectTaggingInput{Bucket: aws.String(bucket), Key: aws.String("objects/1")})
	if err != nil || len(tags.TagSet) != 2 {
		t.Fatalf("%v, %+v", err, tags)
	}
	for _, tag := range tags.TagSet {
		if want := map[string]string{"a": "b c", "c+d": "/"}[*tag.Key]; *tag.Value != want {
			t.Errorf("tag %q: got %q, want %q", *tag.Key, *tag.Value, want)
		}
	}
	m.writes()
	m.want(t, m.migrate(t, in("objects/")), s3gateway.MigrateSummary{Skipped: n})
	if writes := m.writes(); len(writes) > 0 {
		t.Errorf("the second run wrote: %v", writes)
	}
	m.mustBeOnRecord(t, "s3.MigrateObject", "objects/65537", m.ruleKey, "migrate", "sidekey.bytes")
}

// mustBeOnRecord looks for a trace that holds all the texts.
func (m *migration) mustBeOnRecord(t *testing.T, texts ...string) {
	t.Helper()
	traces, err := audit.List([]string{m.auditDir}, 100_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, trace := range traces {
		spans, err := audit.ReadTrace([]string{m.auditDir}, trace.TraceID)
		if err != nil {
			t.Fatal(err)
		}
		record, missing := fmt.Sprintf("%+v", spans), false
		for _, text := range texts {
			missing = missing || !strings.Contains(record, text)
		}
		if !missing {
			return
		}
	}
	t.Errorf("no trace of %d holds %q", len(traces), texts)
}

// migrateParts has multipart objects keep their parts and checksums.
func migrateParts(t *testing.T, m *migration) {
	last := map[string]int{"none": 100, "CRC32": 5*mib + 1, "CRC64NVME": 77}
	contents, looks := map[string][][]byte{}, map[string]s3.GetObjectOutput{}
	for algorithm, size := range last {
		key := "parts/" + algorithm
		create := s3.CreateMultipartUploadInput{Bucket: aws.String(bucket), Key: &key, ContentType: aws.String("a/b"), Tagging: aws.String("k=v"), Metadata: map[string]string{"m": "v"}}
		if algorithm != "none" {
			create.ChecksumAlgorithm = types.ChecksumAlgorithm(algorithm)
		}
		contents[key] = [][]byte{random(5*mib + 3), random(6 * mib), random(size)}
		m.plainParts(t, create, []int32{1, 2, 3}, contents[key]...)
		_, out := m.read(t, m.store, bucket, key)
		looks[key] = *out
	}
	summary := m.migrate(t, in("parts/"))
	if summary.Sealed != 3 || summary.Verified != 3 || !summary.Complete() {
		t.Errorf("%+v\n%s", summary, m.output.String())
	}
	for key, bodies := range contents {
		m.mustBeSealed(t, bucket, key, bytes.Join(bodies, nil))
		_, now := m.read(t, m.app, bucket, key)
		was := looks[key]
		if diff := cmp.Diff([]any{was.ChecksumCRC32, was.ChecksumCRC64NVME, was.ChecksumType, was.ContentType, was.Metadata, was.TagCount},
			[]any{now.ChecksumCRC32, now.ChecksumCRC64NVME, now.ChecksumType, now.ContentType, now.Metadata, now.TagCount}); diff != "" {
			t.Errorf("%s: %s", key, diff)
		}
		for i := range bodies {
			out, err := m.app.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(bucket), Key: &key, PartNumber: aws.Int32(int32(i + 1))})
			if err != nil {
				t.Fatal(err)
			}
			if *out.ContentLength != int64(len(bodies[i])) || aws.ToInt32(out.PartsCount) != 3 {
				t.Errorf("%s: part %d has %d bytes of %d parts, want %d", key, i+1, *out.ContentLength, aws.ToInt32(out.PartsCount), len(bodies[i]))
			}
			out.Body.Close()
		}
	}
	m.mustHaveNoUploads(t)
}

func (m *migration) mustHaveNoUploads(t *testing.T) {
	t.Helper()
	for key := range m.uploads(t) {
		t.Errorf("an upload of %s is left behind", key)
	}
	left, err := m.store.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(bucket), Prefix: aws.String("~sidekey/")})
	if err != nil || len(left.Contents) > 0 {
		t.Errorf("left behind: %v, %+v", err, left.Contents)
	}
}

// uploads are the running uploads. MinIO lists them for whole names only.
func (m *migration) uploads(t *testing.T) map[string]int {
	t.Helper()
	found := map[string]int{}
	for _, key := range []string{"parts/none", "parts/CRC32", "parts/CRC64NVME", "writers/parts", "fails/parts"} {
		out, err := m.store.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: aws.String(bucket), Prefix: &key})
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Uploads) > 0 {
			found[key] = len(out.Uploads)
		}
	}
	return found
}

// migrateLayouts has stores that tell of parts in one way only, or not at all.
func migrateLayouts(t *testing.T, m *migration) {
	const key = "parts/CRC32"
	bodies := [][]byte{random(5*mib + 1), random(5 * mib), random(3)}
	noAttributes := func(r *http.Request) []byte {
		if r.URL.Query().Has("attributes") {
			return []byte("<GetObjectAttributesResponse></GetObjectAttributesResponse>")
		}
		return nil
	}
	noCount := func(response *http.Response) { response.Header.Del("X-Amz-Mp-Parts-Count") }
	for name, c := range map[string]struct {
		hooks hooks
		parts int32
	}{
		"HEAD":    {hooks{answer: noAttributes}, 3},
		"neither": {hooks{answer: noAttributes, after: noCount}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			m.plainParts(t, s3.CreateMultipartUploadInput{Bucket: aws.String(bucket), Key: aws.String(key), ChecksumAlgorithm: types.ChecksumAlgorithmCrc32}, []int32{1, 2, 3}, bodies...)
			m.hook(t, c.hooks)
			if s := m.migrate(t, in(key)); s.Sealed != 1 || !s.Complete() {
				t.Fatalf("%+v\n%s", s, m.output.String())
			}
			m.mustBeSealed(t, bucket, key, bytes.Join(bodies, nil))
			out, err := m.app.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(bucket), Key: aws.String(key), PartNumber: aws.Int32(1), ChecksumMode: types.ChecksumModeEnabled})
			if err != nil || aws.ToInt32(out.PartsCount) != c.parts || aws.ToString(out.ChecksumCRC32) == "" {
				t.Errorf("%v, %+v", err, out)
			}
		})
	}
}

// TestEvenParts has the parts fit into an upload together with the part table.
func TestEvenParts(t *testing.T) {
	const gib, tib = int64(1) << 30, int64(1) << 40
	for _, size := range []int64{0, 1, 64 * mib, 64*mib + 1, 5 * gib, 5*gib + 7, 600 * gib, 5*tib - 1, 5 * tib} {
		numbers, sizes := s3gateway.EvenParts(size)
		total := int64(0)
		for i, n := range sizes {
			total += n
			if numbers[i] != i+1 || n > 5*gib-5*mib || i < len(sizes)-1 && n < 64*mib {
				t.Errorf("%d bytes: part %d of %d bytes at %d", size, numbers[i], n, i)
			}
		}
		if total != size || len(sizes) == 0 || len(sizes) > 9999 {
			t.Errorf("%d bytes: %d parts of %d bytes in all", size, len(sizes), total)
		}
	}
}

// TestProof has a sealed body that does not open never reach its end.
func TestProof(t *testing.T) {
	s := newMemoryStack(t)
	cipher := proxy.NewCipher(proxy.Rules{Objects: []proxy.ObjectRule{{Bucket: bucket, KeyID: s.ruleKey}}}, s.keys, s.audit)
	for _, size := range []int{0, 1, 16384, 100_000, 1 << 20} {
		plain := random(size)
		sealer, err := cipher.SealObject(t.Context(), proxy.Object{Bucket: bucket, Key: "k", Size: int64(size)})
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := io.ReadAll(sealer.Reader(bytes.NewReader(plain), nil))
		if err != nil {
			t.Fatal(err)
		}
		opener, err := cipher.OpenObject(t.Context(), bucket, "k", sealer.Header(), nil)
		if err != nil {
			t.Fatal(err)
		}
		open := func(body io.Reader) io.Reader { return opener.Reader(body, int64(size)) }
		for _, read := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.HalfReader, iotest.DataErrReader} {
			got, err := io.ReadAll(s3gateway.Proof(read(bytes.NewReader(sealed)), open, plain))
			if err != nil || !bytes.Equal(got, sealed) {
				t.Errorf("%d bytes: %v, %d of %d bytes passed", size, err, len(got), len(sealed))
			}
		}
		for _, at := range []int{60, len(sealed) / 2, len(sealed) - 1} {
			bad := bytes.Clone(sealed)
			bad[at] ^= 1
			if got, err := io.ReadAll(s3gateway.Proof(bytes.NewReader(bad), open, plain)); err == nil || len(got) >= len(bad) {
				t.Errorf("%d bytes altered at %d: %v, %d of %d bytes passed", size, at, err, len(got), len(bad))
			}
		}
		if got, err := io.ReadAll(s3gateway.Proof(bytes.NewReader(sealed[:len(sealed)-1]), open, plain)); err == nil || len(got) >= len(sealed)-1 {
			t.Errorf("%d bytes cut short: %v, %d bytes passed", size, err, len(got))
		}
		if got, err := io.ReadAll(s3gateway.Proof(bytes.NewReader(sealed), open, append(plain, 'x'))); err == nil || len(got) >= len(sealed) {
			t.Errorf("%d bytes for other plaintext: %v, %d bytes passed", size, err, len(got))
		}
	}
}

// migrateCorrupt has plaintext arrive that is not what its checksum is of.
func migrateCorrupt(t *testing.T, m *migration) {
	small, large, parts := random(1000), random(200_000), [][]byte{random(5 * mib), random(100)}
	o := object("corrupt/small")
	o.ChecksumAlgorithm = types.ChecksumAlgorithmSha256
	m.plain(t, o, small)
	o = object("corrupt/large")
	o.ChecksumAlgorithm = types.ChecksumAlgorithmCrc32c
	m.plain(t, o, large)
	m.plainParts(t, s3.CreateMultipartUploadInput{Bucket: aws.String(bucket), Key: aws.String("corrupt/parts"), ChecksumAlgorithm: types.ChecksumAlgorithmCrc64nvme}, []int32{1, 2}, parts...)
	m.hook(t, hooks{after: func(response *http.Response) {
		r := response.Request
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/corrupt/") && len(r.URL.Query()) == 0 {
			response.Body = &flipped{ReadCloser: response.Body, at: 50}
		}
	}})
	if s := m.migrate(t, in("corrupt/")); s.Failed != 3 || strings.Count(m.output.String(), "BadDigest") != 3 {
		t.Errorf("%+v\n%s", s, m.output.String())
	}
	m.hook(t, hooks{})
	m.mustBePlain(t, bucket, "corrupt/small", small)
	m.mustBePlain(t, bucket, "corrupt/large", large)
	m.mustBePlain(t, bucket, "corrupt/parts", bytes.Join(parts, nil))
}

// lines tells of the first line that holds a text.
type lines struct {
	text  string
	found chan struct{}
}

func (l *lines) Write(p []byte) (int, error) {
	if strings.Contains(string(p), l.text) {
		select {
		case <-l.found:
		default:
			close(l.found)
		}
	}
	return len(p), nil
}

// migrateProgress holds the last object back until the progress tells of the others.
func migrateProgress(t *testing.T, m *migration) {
	for i := range 4 {
		m.plain(t, object(fmt.Sprint("progress/", i)), random(100))
	}
	seen := &lines{text: "sealed 3 (300 B), verified 3 (300 B), skipped 0, failed 0", found: make(chan struct{})}
	estimated := &lines{text: "3 of 4 objects, about", found: make(chan struct{})}
	m.hook(t, hooks{before: once(putOf("progress/3"), func() {
		for _, line := range []*lines{seen, estimated} {
			select {
			case <-line.found:
			case <-time.After(time.Minute):
				t.Errorf("no line of progress with %q", line.text)
			}
		}
	})})
	o := in("progress/")
	o.Concurrency, o.Every, o.Output = 1, 10*time.Millisecond, io.MultiWriter(seen, estimated)
	if s := m.migrate(t, o); s.Sealed != 4 {
		t.Errorf("%+v", s)
	}
}

// once runs f at the first request that is meant.
func once(meant func(*http.Request) bool, f func()) func(*http.Request) {
	var ran atomic.Bool
	return func(r *http.Request) {
		if meant(r) && ran.CompareAndSwap(false, true) {
			f()
		}
	}
}

func putOf(key string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		return strings.HasSuffix(r.URL.Path, "/"+key) && (r.Method == http.MethodPut || r.Method == http.MethodPost && r.URL.Query().Has("uploadId"))
	}
}

func readOf(key string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		return strings.HasSuffix(r.URL.Path, "/"+key) && r.Method == http.MethodGet && len(r.URL.Query()) == 0
	}
}

// migrateWriters has clients write at the worst moments: when the plaintext is being
// read, and when its sealed form is about to be stored.
func migrateWriters(t *testing.T, m *migration) {
	moments := map[string]func(string) func(*http.Request) bool{"read": readOf, "write": putOf}
	for name, body := range map[string][]byte{"small": random(1000), "large": random(3 * mib), "parts": nil} {
		key := "writers/" + name
		for moment, meant := range moments {
			store := func() []byte {
				if name != "parts" {
					m.plain(t, object(key), body)
					return body
				}
				parts := [][]byte{random(5 * mib), random(1000)}
				m.plainParts(t, s3.CreateMultipartUploadInput{Bucket: aws.String(bucket), Key: &key}, []int32{1, 2}, parts...)
				return bytes.Join(parts, nil)
			}
			meant := meant(key)
			if name == "parts" && moment == "read" {
				meant = func(r *http.Request) bool {
					return strings.HasSuffix(r.URL.Path, "/"+key) && r.Method == http.MethodGet && r.Header.Get("Range") != ""
				}
			}
			t.Run(name+" plaintext over it at "+moment, func(t *testing.T) {
				store()
				newer := random(2000)
				m.hook(t, hooks{before: once(meant, func() { m.plain(t, object(key), newer) })})
				if s := m.migrate(t, in(key)); s.Sealed != 1 || !s.Complete() {
					t.Errorf("%+v\n%s", s, m.output.String())
				}
				m.mustBeSealed(t, bucket, key, newer)
			})
			t.Run(name+" sealed over it at "+moment, func(t *testing.T) {
				store()
				newer := random(2000)
				m.hook(t, hooks{before: once(meant, func() { m.put(t, key, newer) })})
				if s := m.migrate(t, in(key)); s.Sealed != 0 || s.Skipped != 1 || !s.Complete() {
					t.Errorf("%+v\n%s", s, m.output.String())
				}
				m.mustBeSealed(t, bucket, key, newer)
			})
			t.Run(name+" deleted at "+moment, func(t *testing.T) {
				store()
				m.hook(t, hooks{before: once(meant, func() {
					if _, err := m.app.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String(bucket), Key: &key}); err != nil {
						t.Error(err)
					}
				})})
				m.want(t, m.migrate(t, in(key)), s3gateway.MigrateSummary{Gone: 1})
				m.mustBeAbsent(t, key)
			})
		}
		t.Run(name+" tagged", func(t *testing.T) {
			m.plain(t, object(key), random(3*mib))
			if name == "small" {
				m.plain(t, object(key), random(1000))
			}
			m.hook(t, hooks{before: once(readOf(key), func() {
				_, err := m.store.PutObjectTagging(t.Context(), &s3.PutObjectTaggingInput{Bucket: aws.String(bucket), Key: &key, Tagging: &types.Tagging{TagSet: []types.Tag{{Key: aws.String("k"), Value: aws.String("new")}}}})
				if err != nil {
					t.Error(err)
				}
			})})
			if s := m.migrate(t, in(key)); s.Sealed != 1 || !s.Complete() {
				t.Errorf("%+v\n%s", s, m.output.String())
			}
			tags, err := m.store.GetObjectTagging(t.Context(), &s3.GetObjectTaggingInput{Bucket: aws.String(bucket), Key: &key})
			if err != nil || len(tags.TagSet) != 1 || *tags.TagSet[0].Value != "new" {
				t.Errorf("%v, %+v", err, tags)
			}
		})
	}
	m.mustHaveNoUploads(t)
}

// migrateDeleted has the sealed form overwritten or deleted before it is read back.
func migrateDeleted(t *testing.T, m *migration) {
	const key = "readback/k"
	readBack := func(r *http.Request) bool {
		return r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/"+key) && len(r.URL.Query()) == 0
	}
	second := func(f func()) func(*http.Request) { // the first is the plaintext's
		var n atomic.Int32
		return func(r *http.Request) {
			if readBack(r) && n.Add(1) == 2 {
				f()
			}
		}
	}
	m.plain(t, object(key), random(500))
	newer := random(600)
	m.hook(t, hooks{before: second(func() { m.plain(t, object(key), newer) })})
	if s := m.migrate(t, in(key)); !s.Complete() || s.Sealed != 1 {
		t.Errorf("%+v\n%s", s, m.output.String())
	}
	m.mustBeSealed(t, bucket, key, newer)
	m.plain(t, object(key), random(500))
	m.hook(t, hooks{before: second(func() {
		if _, err := m.store.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String(bucket), Key: aws.String(key)}); err != nil {
			t.Error(err)
		}
	})})
	m.want(t, m.migrate(t, in(key)), s3gateway.MigrateSummary{Gone: 1})
	m.mustBeAbsent(t, key)
}

func (m *migration) versions(t *testing.T, bucketName, key string) (sealed, plain []string) {
	t.Helper()
	out, err := m.store.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: &bucketName, Prefix: &key})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range out.Versions {
		head, err := m.store.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &bucketName, Key: v.Key, VersionId: v.VersionId})
		if err != nil {
			t.Fatal(err)
		}
		if head.Metadata["sidekey"] != "" {
			sealed = append(sealed, *v.VersionId)
		} else {
			plain = append(plain, *v.VersionId)
		}
	}
	return sealed, plain
}

func migrateVersions(t *testing.T, m *migration) {
	name := m.makeBucket(t, s3.CreateBucketInput{Bucket: aws.String("versioned")}, false)
	put := func(key string, body []byte) {
		m.plain(t, s3.PutObjectInput{Bucket: &name, Key: &key}, body)
	}
	put("k", random(10)) // becomes version null
	m.makeVersioned(t, name)
	body := random(100_000)
	put("k", random(20))
	put("k", body)
	put("k2", body) // a name that k begins
	o := s3gateway.MigrateOptions{Bucket: name}
	if s := m.migrate(t, o); s.Sealed != 2 || !s.Complete() {
		t.Errorf("%+v\n%s", s, m.output.String())
	}
	if !strings.Contains(m.output.String(), "old versions of its objects keep their plaintext") {
		t.Errorf("not said: %s", m.output.String())
	}
	m.mustBeSealed(t, name, "k", body)
	if sealed, plain := m.versions(t, name, "k"); len(sealed) != 2 || len(plain) != 4 { // k and k2
		t.Errorf("%d sealed versions and %d in plaintext", len(sealed), len(plain))
	}
	// What is sealed already is verified before its plaintext goes.
	o.DeletePlaintextVersions = true
	s := m.migrate(t, o)
	if s.Skipped != 2 || s.Verified != 2 || s.DeletedVersions != 4 || !s.Complete() {
		t.Errorf("%+v\n%s", s, m.output.String())
	}
	if sealed, plain := m.versions(t, name, "k"); len(sealed) != 2 || len(plain) != 0 {
		t.Errorf("%d sealed versions and %d in plaintext", len(sealed), len(plain))
	}
	m.mustBeOnRecord(t, "s3.DeletePlaintextVersion", "aws.s3.version_id")
	// In one run, and past a client that deletes meanwhile: its marker stays on top.
	put("k", body)
	put("deleted", body)
	m.hook(t, hooks{before: once(putOf("deleted"), func() {
		if _, err := m.store.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &name, Key: aws.String("deleted")}); err != nil {
			t.Error(err)
		}
	})})
	s = m.migrate(t, o)
	if s.Sealed != 1 || s.Gone != 1 || s.DeletedVersions != 1 || !s.Complete() {
		t.Errorf("%+v\n%s", s, m.output.String())
	}
	if _, err := m.store.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &name, Key: aws.String("deleted")}); status(err) != http.StatusNotFound {
		t.Errorf("what a client deleted is there again: %v", err)
	}
	// A sealed version that does not read back keeps its plaintext.
	put("damaged", body)
	m.hook(t, hooks{after: damage("damaged")})
	s = m.migrate(t, o)
	if s.Failed != 1 || s.DeletedVersions != 0 {
		t.Errorf("%+v\n%s", s, m.output.String())
	}
	if _, plain := m.versions(t, name, "damaged"); len(plain) != 1 {
		t.Errorf("%d versions in plaintext", len(plain))
	}
}

// damage alters the sealed content of an object on its way from the store.
func damage(key string) func(*http.Response) {
	return func(response *http.Response) {
		if response.Request.Method == http.MethodGet && strings.HasSuffix(response.Request.URL.Path, "/"+key) && response.Header.Get("X-Amz-Meta-Sidekey") != "" {
			response.Body = &flipped{ReadCloser: response.Body, at: 500}
		}
	}
}

func (m *migration) makeVersioned(t *testing.T, name string) {
	t.Helper()
	_, err := m.store.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{Bucket: &name, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}})
	if err != nil {
		t.Fatal(err)
	}
}

func migrateLocks(t *testing.T, m *migration) {
	name := m.makeBucket(t, s3.CreateBucketInput{Bucket: aws.String("locked"), ObjectLockEnabledForBucket: aws.Bool(true)}, false)
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	small, large := random(100), random(200_000)
	m.plain(t, s3.PutObjectInput{Bucket: &name, Key: aws.String("retained"), ObjectLockMode: types.ObjectLockModeCompliance, ObjectLockRetainUntilDate: &until, ChecksumAlgorithm: types.ChecksumAlgorithmCrc32}, small)
	m.plain(t, s3.PutObjectInput{Bucket: &name, Key: aws.String("held"), ObjectLockLegalHoldStatus: types.ObjectLockLegalHoldStatusOn, ChecksumAlgorithm: types.ChecksumAlgorithmCrc32}, large)
	m.plain(t, s3.PutObjectInput{Bucket: &name, Key: aws.String("free")}, small)
	s := m.migrate(t, s3gateway.MigrateOptions{Bucket: name, DeletePlaintextVersions: true})
	// The locks of the old versions hold, and the run says so.
	if s.Failed != 2 || s.DeletedVersions != 1 || s.Complete() || strings.Count(m.output.String(), "keeps the plaintext") != 2 {
		t.Errorf("%+v\n%s", s, m.output.String())
	}
	m.mustBeSealed(t, name, "retained", small)
	m.mustBeSealed(t, name, "held", large)
	m.mustBeSealed(t, name, "free", small)
	for key, want := range map[string][3]string{"retained": {"COMPLIANCE", until.Format(time.RFC3339), "OFF"}, "held": {"", "", "ON"}, "free": {"", "", "OFF"}} {
		head, err := m.store.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &name, Key: &key})
		if err != nil {
			t.Fatal(err)
		}
		have := [3]string{string(head.ObjectLockMode), "", "OFF"}
		if head.ObjectLockRetainUntilDate != nil {
			have[1] = head.ObjectLockRetainUntilDate.UTC().Format(time.RFC3339)
		}
		if head.ObjectLockLegalHoldStatus == types.ObjectLockLegalHoldStatusOn {
			have[2] = "ON"
		}
		if have != want {
			t.Errorf("%s: got %v, want %v", key, have, want)
		}
	}
}

// migrateACL answers in the place of MinIO, which has no ACLs.
func migrateACL(t *testing.T, m *migration) {
	m.plain(t, object("acl/public"), random(10))
	m.plain(t, object("acl/private"), random(10))
	document := func(grants string) []byte {
		return []byte(`<AccessControlPolicy xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Owner><ID>me</ID></Owner><AccessControlList>` +
			`<Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"><ID>me</ID></Grantee><Permission>FULL_CONTROL</Permission></Grant>` + grants +
			`</AccessControlList></AccessControlPolicy>`)
	}
	public := `<Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="Group"><URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee><Permission>READ</Permission></Grant>` +
		`<Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"><ID>other</ID></Grantee><Permission>READ</Permission></Grant>`
	headers := map[string][]string{}
	m.hook(t, hooks{
		answer: func(r *http.Request) []byte {
			if !r.URL.Query().Has("acl") {
				return nil
			}
			if strings.HasSuffix(r.URL.Path, "/acl/public") {
				return document(public)
			}
			return document("")
		},
		before: func(r *http.Request) {
			if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/acl/") {
				m.mu.Lock()
				defer m.mu.Unlock()
				headers[r.URL.Path] = append(r.Header.Values("X-Amz-Grant-Full-Control"), r.Header.Values("X-Amz-Grant-Read")...)
			}
		},
	})
	if s := m.migrate(t, in("acl/")); s.Sealed != 2 || !s.Complete() {
		t.Errorf("%+v\n%s", s, m.output.String())
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	want := map[string][]string{"/docs/acl/private": nil, "/docs/acl/public": {`id="me"`, `uri="http://acs.amazonaws.com/groups/global/AllUsers", id="other"`}}
	if diff := cmp.Diff(want, headers); diff != "" {
		t.Error(diff)
	}
}

// migrateRefused has objects that cannot be sealed: they are named, and the others are
// sealed all the same.
func migrateRefused(t *testing.T, m *migration) {
	name := m.makeBucket(t, s3.CreateBucketInput{Bucket: aws.String("ruled")}, false)
	reasons := map[string]string{
		"in/encrypted-v2": "Amazon S3 Encryption Client", "in/encrypted-v3": "Amazon S3 Encryption Client",
		"in/metadata": "MetadataTooLarge", "in/metadata-large": "MetadataTooLarge", "in/header": "unreadable sidekey header", "out": "no encryption rule", "~sidekey/mine": "belong to the gateway",
		"in/archived": "archived",
	}
	metadata := map[string]map[string]string{
		"in/encrypted-v2": {"x-amz-key-v2": "wrapped"}, "in/encrypted-v3": {"x-amz-c": "115"},
		"in/metadata": {"m": strings.Repeat("x", 1900)}, "in/metadata-large": {"m": strings.Repeat("x", 1900)}, "in/header": {"sidekey": "no header"},
	}
	for key := range reasons {
		body := random(50)
		if key == "in/metadata-large" {
			body = random(100_000)
		}
		m.plain(t, s3.PutObjectInput{Bucket: &name, Key: &key, Metadata: metadata[key]}, body)
	}
	m.hook(t, hooks{after: func(response *http.Response) {
		if strings.HasSuffix(response.Request.URL.Path, "/in/archived") {
			response.Header.Set("X-Amz-Storage-Class", "GLACIER")
		}
	}})
	m.plain(t, s3.PutObjectInput{Bucket: &name, Key: aws.String("in/zz")}, []byte("the last one"))
	s := m.migrate(t, s3gateway.MigrateOptions{Bucket: name, Concurrency: 2})
	m.want(t, s, s3gateway.MigrateSummary{Sealed: 1, SealedBytes: 12, Verified: 1, VerifiedBytes: 12, Failed: int64(len(reasons))})
	if s.Complete() {
		t.Error("the run says that everything is sealed")
	}
	for key, reason := range reasons {
		found := false
		for line := range strings.Lines(m.output.String()) {
			found = found || strings.HasPrefix(line, fmt.Sprintf("failed: %q: ", key)) && strings.Contains(line, reason)
		}
		if !found {
			t.Errorf("%s: no failure with %q in\n%s", key, reason, m.output.String())
		}
		_, head := m.read(t, m.store, name, key)
		if head.Metadata["sidekey"] != metadata[key]["sidekey"] {
			t.Errorf("%s was replaced", key)
		}
	}
}

func migrateDryRun(t *testing.T, m *migration) {
	body := random(1000)
	m.plain(t, object("dry/plain"), body)
	m.put(t, "dry/sealed", random(10))
	m.writes()
	o := in("dry/")
	o.DryRun = true
	s := m.migrate(t, o)
	m.want(t, s, s3gateway.MigrateSummary{Skipped: 1, Unsealed: 1, UnsealedBytes: 1000})
	if writes := m.writes(); len(writes) > 0 || s.Complete() {
		t.Errorf("it wrote %v, complete: %t", writes, s.Complete())
	}
	m.mustBePlain(t, bucket, "dry/plain", body)
}

func migrateVerifyOnly(t *testing.T, m *migration) {
	body := random(1000)
	m.plain(t, object("verify/plain"), body)
	m.put(t, "verify/sealed", random(300_000))
	parts := m.multipart(t, "verify/parts", 5*mib, 77)
	m.put(t, "verify/damaged", random(100_000))
	m.customerSealed(t, "verify/customer", random(1000))
	m.hook(t, hooks{after: damage("verify/damaged")})
	m.writes()
	o := in("verify/")
	o.VerifyOnly = true
	s := m.migrate(t, o)
	m.want(t, s, s3gateway.MigrateSummary{
		Verified: 2, VerifiedBytes: 300_000 + int64(len(parts)), Skipped: 3, Unsealed: 1, UnsealedBytes: 1000, Failed: 1,
	})
	if writes := m.writes(); len(writes) > 0 || !strings.Contains(m.output.String(), `failed: "verify/damaged"`) || !strings.Contains(m.output.String(), `not sealed: "verify/plain"`) {
		t.Errorf("it wrote %v\n%s", writes, m.output.String())
	}
	m.mustBePlain(t, bucket, "verify/plain", body)
	m.mustBeOnRecord(t, "s3.VerifyObject", "verify/sealed", m.ruleKey)
}

// customerSealed stores an object that only a client's own key opens. A verification
// authenticates its header.
func (m *migration) customerSealed(t *testing.T, key string, body []byte) {
	t.Helper()
	sealer, err := m.cipher.SealObject(t.Context(), proxy.Object{Bucket: bucket, Key: key, Size: int64(len(body)), CustomerKey: random(32)})
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := io.ReadAll(sealer.Reader(bytes.NewReader(body), nil))
	if err != nil {
		t.Fatal(err)
	}
	o := object(key)
	o.Metadata = map[string]string{"sidekey": sealer.Header()}
	m.plain(t, o, sealed)
}

// migrateRate has four workers share a rate: less than the time it takes cannot pass.
func migrateRate(t *testing.T, m *migration) {
	for i := range 4 {
		m.plain(t, object(fmt.Sprint("rate/", i)), random(256<<10))
	}
	o := in("rate/")
	o.Rate, o.NoVerify = 1<<20, true
	start := time.Now()
	s := m.migrate(t, o)
	m.want(t, s, s3gateway.MigrateSummary{Sealed: 4, SealedBytes: 1 << 20})
	if took, least := time.Since(start), 900*time.Millisecond; took < least { // but for the burst of 64 KiB
		t.Errorf("1 MiB at 1 MiB/s took %s, want %s at least", took, least)
	}
}

// migrateResume interrupts a run, which ends with what it has in hand, and goes on
// from its state.
func migrateResume(t *testing.T, m *migration) {
	bodies := map[string][]byte{}
	for i := range 30 {
		key := fmt.Sprintf("resume/%02d", i)
		bodies[key] = random(1000)
		m.plain(t, object(key), bodies[key])
	}
	m.plain(t, s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("resume/00"), Metadata: map[string]string{"x-amz-key-v2": "w"}}, random(10))
	delete(bodies, "resume/00")
	o := in("resume/")
	o.State = filepath.Join(t.TempDir(), "state")
	ctx, interrupt := context.WithCancel(t.Context())
	m.hook(t, hooks{before: once(putOf("resume/12"), interrupt)})
	first, err := m.start(t, ctx, o)
	if !errors.Is(err, context.Canceled) || first.Sealed < 8 || first.Sealed > 16 || first.Verified != first.Sealed {
		t.Fatalf("%v, %+v", err, first)
	}
	text, err := os.ReadFile(o.State)
	if err != nil || !strings.Contains(string(text), `"last":"resume/1`) || !strings.Contains(string(text), `"failed":["resume/00"]`) {
		t.Fatalf("%v, %s", err, text)
	}
	var looked atomic.Int32
	m.hook(t, hooks{before: func(r *http.Request) {
		if r.Method == http.MethodHead && strings.HasSuffix(r.URL.Path, "/resume/01") {
			looked.Add(1)
		}
	}})
	second := m.migrate(t, o)
	if second.Sealed != 29-first.Sealed || second.Failed != 1 || second.Skipped != 0 || looked.Load() > 0 {
		t.Errorf("%+v after %+v, the first object was looked at %d times", second, first, looked.Load())
	}
	if _, err := os.Stat(o.State); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the state of a run that reached its end is left: %v", err)
	}
	for key, body := range bodies {
		m.mustBeSealed(t, bucket, key, body)
	}
	other := o
	other.Prefix = "other/"
	os.WriteFile(o.State, text, 0o600)
	if _, err := s3gateway.NewMigrator(m.config, other, m.cipher, m.audit, nil); err == nil {
		t.Error("the state of another prefix was taken")
	}
}

// migrateNoKeys takes the key service away: the run ends, and nothing is touched.
func migrateNoKeys(t *testing.T, m *migration) {
	body := random(1000)
	m.plain(t, object("keys/k"), body)
	m.plain(t, object("keys/l"), body)
	m.faults.FailAll(errors.New("away"))
	defer m.faults.FailAll(nil)
	time.Sleep(2 * lease)
	m.writes()
	s, err := m.start(t, t.Context(), in("keys/"))
	if err == nil || s.Sealed != 0 {
		t.Errorf("%v, %+v", err, s)
	}
	if writes := m.writes(); len(writes) > 0 {
		t.Errorf("it wrote %v", writes)
	}
	m.mustBePlain(t, bucket, "keys/k", body)
}

// migrateStoreFails has the store fail for a while, and for good.
func migrateStoreFails(t *testing.T, m *migration) {
	small, parts := random(1000), [][]byte{random(5 * mib), random(10)}
	m.plain(t, object("fails/small"), small)
	m.plainParts(t, s3.CreateMultipartUploadInput{Bucket: aws.String(bucket), Key: aws.String("fails/parts")}, []int32{1, 2}, parts...)
	var n atomic.Int32
	m.hook(t, hooks{after: func(response *http.Response) {
		r := response.Request
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/fails/") && n.Add(1) <= 3 {
			response.StatusCode = http.StatusServiceUnavailable // also of what the store took
		}
	}})
	if s := m.migrate(t, in("fails/")); !s.Complete() {
		t.Errorf("%+v\n%s", s, m.output.String())
	}
	m.mustBeSealed(t, bucket, "fails/small", small)
	m.mustBeSealed(t, bucket, "fails/parts", bytes.Join(parts, nil))
	m.plainParts(t, s3.CreateMultipartUploadInput{Bucket: aws.String(bucket), Key: aws.String("fails/parts")}, []int32{1, 2}, parts...)
	m.hook(t, hooks{after: func(response *http.Response) {
		if response.Request.Method == http.MethodPost && response.Request.URL.Query().Has("uploadId") {
			response.StatusCode = http.StatusForbidden
		}
	}, before: func(r *http.Request) {
		if r.Method == http.MethodPost && r.URL.Query().Has("uploadId") {
			r.URL.RawQuery = "uploadId=none"
		}
	}})
	if s := m.migrate(t, in("fails/parts")); s.Failed != 1 {
		t.Errorf("%+v\n%s", s, m.output.String())
	}
	m.mustBePlain(t, bucket, "fails/parts", bytes.Join(parts, nil))
	m.mustHaveNoUploads(t)
}

// migrateNoRecord comes last: it closes the audit log.
func migrateNoRecord(t *testing.T, m *migration) {
	body := random(1000)
	m.plain(t, object("record/k"), body)
	m.plain(t, object("record/l"), random(100_000))
	m.audit.Close()
	m.writes()
	s, err := m.start(t, t.Context(), in("record/"))
	if !errors.Is(err, audit.ErrUnavailable) || s.Sealed != 0 {
		t.Errorf("%v, %+v", err, s)
	}
	if writes := m.writes(); len(writes) > 0 {
		t.Errorf("it wrote %v", writes)
	}
	m.mustBePlain(t, bucket, "record/k", body)
}

// TestMigrateWithoutIfMatch has a store that knows no conditions: an object is compared
// before its last byte goes.
func TestMigrateWithoutIfMatch(t *testing.T) {
	m := newMigration(t, newMemoryStack(t))
	for name, size := range map[string]int{"small": 1000, "large": 3 * mib} {
		t.Run(name, func(t *testing.T) {
			body, newer := random(size), random(size)
			m.plain(t, object(name), body)
			// A small object is compared before it is sent, a large one while it is: its
			// body waits for the hook (Expect: 100-continue).
			moment := readOf(name)
			if name == "large" {
				moment = putOf(name)
			}
			race := once(moment, func() { m.plain(t, object(name), newer) })
			m.hook(t, hooks{before: func(r *http.Request) {
				if r.Method == http.MethodPut {
					r.Header.Del("If-Match")
					race(r)
				}
			}, after: func(response *http.Response) {
				if response.Request.Method == http.MethodGet {
					race(response.Request)
				}
			}, answer: func(r *http.Request) []byte {
				if r.URL.Query().Has("tagging") || r.URL.Query().Has("acl") {
					return []byte("<Empty></Empty>") // the store in memory knows neither
				}
				return nil
			}})
			if s := m.migrate(t, in(name)); s.Sealed != 1 || !s.Complete() {
				t.Errorf("%+v\n%s", s, m.output.String())
			}
			if !strings.Contains(m.output.String(), "does not heed If-Match") {
				t.Errorf("not said: %s", m.output.String())
			}
			m.mustBeSealed(t, bucket, name, newer)
		})
	}
}

// TestMigrateOptions has what makes no sense refused.
func TestMigrateOptions(t *testing.T) {
	s := newMemoryStack(t)
	for name, o := range map[string]s3gateway.MigrateOptions{
		"no bucket":          {},
		"two modes":          {Bucket: bucket, DryRun: true, VerifyOnly: true},
		"unverified":         {Bucket: bucket, NoVerify: true, DeletePlaintextVersions: true},
		"state of a dry run": {Bucket: bucket, DryRun: true, State: "x"},
		"negative rate":      {Bucket: bucket, Rate: -1},
	} {
		if _, err := s3gateway.NewMigrator(s.config, o, proxy.NewCipher(proxy.Rules{}, s.keys, s.audit), s.audit, nil); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// flipped alters one byte of a body.
type flipped struct {
	io.ReadCloser
	at int
}

func (f *flipped) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	if f.at >= 0 && f.at < n {
		p[f.at] ^= 1
	}
	f.at -= n
	return n, err
}
