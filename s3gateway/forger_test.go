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
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sidekey/sidekey/proxy/envelope"
	"github.com/sidekey/sidekey/s3gateway"
)

// forger is MinIO behind somebody who changes its answers.
type forger struct {
	*stack
	change atomic.Pointer[func(*http.Response) error]
}

func newForger(t testing.TB, edit ...func(*s3gateway.Config)) *forger {
	t.Helper()
	f := &forger{}
	endpoint := startMinIO(t)
	to, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	between := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host // it is signed
			if f.change.Load() != nil {
				withoutIfMatch(r.Out)
			}
		},
		ModifyResponse: func(resp *http.Response) error {
			if change := f.change.Load(); change != nil {
				return (*change)(resp)
			}
			return nil
		},
	})
	t.Cleanup(between.Close)
	f.stack = newStack(t, between.URL, edit...)
	f.store = client(endpoint, storeID, storeKey)
	f.full = true
	return f
}

// withoutIfMatch takes out the condition that would keep a store honest.
func withoutIfMatch(r *http.Request) {
	if r.Header.Get("If-Match") == "" {
		return
	}
	for _, name := range []string{"If-Match", "Authorization", "X-Amz-Date"} {
		r.Header.Del(name)
	}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	credentials := aws.Credentials{AccessKeyID: storeID, SecretAccessKey: storeKey}
	if err := signer.SignHTTP(r.Context(), credentials, r, r.Header.Get("X-Amz-Content-Sha256"), "s3", region, time.Now()); err != nil {
		panic(err)
	}
}

// forges has every answer about an object changed.
func (f *forger) forges(change func(*http.Response)) {
	forged := func(resp *http.Response) error {
		completes := resp.Request.Method == http.MethodPost && resp.Request.URL.Query().Has("uploadId")
		if strings.Contains(resp.Request.URL.Path, "/"+bucket+"/") && (resp.StatusCode < 300 || completes) {
			change(resp)
		}
		return nil
	}
	f.change.Store(&forged)
}

func (f *forger) isHonest() { f.change.Store(nil) }

// read is one way to read an object: off and n of its content are due.
type read struct {
	name   string
	off, n int
	edit   func(*s3.GetObjectInput)
}

// readsOf are reads of an object of parts of these sizes.
func readsOf(sizes ...int) []read {
	reads, total := []read{}, 0
	for i, n := range sizes {
		reads = append(reads, read{fmt.Sprint("part ", i+1), total, n, func(in *s3.GetObjectInput) { in.PartNumber = aws.Int32(int32(i + 1)) }})
		total += n
	}
	edge := min(sizes[0]-3, total-20)
	whole := read{"whole", 0, total, func(*s3.GetObjectInput) {}}
	ranged := func(off, n int) read {
		return read{fmt.Sprint("range ", off, "+", n), off, n, func(in *s3.GetObjectInput) { in.Range = aws.String(fmt.Sprintf("bytes=%d-%d", off, off+n-1)) }}
	}
	suffix := read{"suffix", total - 40, 40, func(in *s3.GetObjectInput) { in.Range = aws.String("bytes=-40") }}
	return append([]read{whole, ranged(0, 10), ranged(edge, 20), ranged(total-5, 5), suffix}, reads...)
}

// onlyTrue reads in every way: what comes back is a prefix of what is due, and an
// error and a record of it where it is less. It returns the reads that failed.
func (s *stack) onlyTrue(t *testing.T, key string, want []byte, reads []read) map[string]bool {
	t.Helper()
	failed := map[string]bool{}
	for _, r := range reads {
		got, _, err := s.get(t, key, r.edit)
		due := want[r.off : r.off+r.n]
		if !bytes.HasPrefix(due, got) || err == nil && len(got) != len(due) {
			t.Errorf("%s: %d bytes, which are not those of the object (%v)", r.name, len(got), err)
		}
		if err == nil {
			continue
		}
		failed[r.name] = true
		t.Logf("%s: %v", r.name, err)
		if codes := s.lastCodes(t); len(slices.DeleteFunc(codes, func(c string) bool { return c == "" })) == 0 {
			t.Errorf("%s: %v is not on record", r.name, err)
		}
	}
	return failed
}

// TestForgedParts changes what is stored of a multipart object.
func TestForgedParts(t *testing.T) {
	f := newForger(t)
	sizes := []int{5 * mib, 5 * mib, 1000}
	reads := readsOf(sizes...)
	want := f.multipart(t, "a", sizes...)
	f.multipart(t, "b", sizes...)
	a, b := f.stored(t, "a"), f.stored(t, "b")
	f.multipart(t, "a", sizes...)
	was := f.stored(t, "a") // another upload of the same name and content
	l := int(envelope.SealedSize(5 * mib))
	rest := func(o stored) []byte { return o.body[2*l:] }
	part := func(o stored, i int) []byte { return o.body[i*l : (i+1)*l] }
	tail := len(a.body) - int(envelope.TableTail(int64(len(a.body))))
	all := []string{"whole", "range 0+10", fmt.Sprint("range ", 5*mib-3, "+20"), fmt.Sprint("range ", 10*mib+1000-5, "+5"), "suffix", "part 1", "part 2", "part 3"}
	first := []string{"whole", "range 0+10", all[2], "part 1"}
	cases := map[string]struct {
		body  []byte
		fails []string // at least
	}{
		"parts swapped":        {slices.Concat(part(a, 1), part(a, 0), rest(a)), append(first, "part 2")},
		"part repeated":        {slices.Concat(part(a, 0), part(a, 0), rest(a)), []string{"whole", all[2], "part 2"}},
		"part dropped":         {slices.Concat(part(a, 1), rest(a)), all},
		"part zeroed":          {slices.Concat(make([]byte, l), part(a, 1), rest(a)), first},
		"part of b":            {slices.Concat(part(b, 0), part(a, 1), rest(a)), first},
		"part of last upload":  {slices.Concat(part(was, 0), part(a, 1), rest(a)), first},
		"table of b":           {slices.Concat(a.body[:tail], b.body[tail:]), all},
		"table of last upload": {slices.Concat(a.body[:tail], was.body[tail:]), all},
		"all of b":             {b.body, all},
		"all of last upload":   {was.body, all},
		"truncated":            {a.body[:len(a.body)-1], all},
		"cut at the table":     {a.body[:len(a.body)-1000], all},
		"cut at a part":        {a.body[:l], all},
		"extended":             {append(bytes.Clone(a.body), 0), all},
		"extended at front":    {append([]byte{0}, a.body...), all},
		"nothing left":         {nil, all},
		"bit of part 2":        {flip(a.body, l+100_000), []string{"whole", "part 2"}},
		"bit of part 3":        {flip(a.body, 2*l+60), []string{"whole", "part 3", "suffix"}},
		"bit of the table":     {flip(a.body, len(a.body)-20), all},
		"locator":              {flip(a.body, len(a.body)-7), all},
		"length of the table":  {flip(a.body, len(a.body)-1), all},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			f.overwrite(t, "a", stored{c.body, a.metadata})
			failed := f.onlyTrue(t, "a", want, reads)
			for _, r := range c.fails {
				if !failed[r] {
					t.Errorf("%s succeeds", r)
				}
			}
		})
	}
	// The same with the ETag that the object had: its table may be known by it.
	f.overwrite(t, "a", a)
	var etag string
	f.forges(func(resp *http.Response) { etag = resp.Header.Get("Etag") })
	if failed := f.onlyTrue(t, "a", want, reads); len(failed) > 0 {
		t.Fatalf("put back: %v", failed)
	}
	f.forges(func(resp *http.Response) { resp.Header.Set("Etag", etag) })
	for name, c := range cases {
		t.Run("with its ETag, "+name, func(t *testing.T) {
			f.overwrite(t, "a", stored{c.body, a.metadata})
			if failed := f.onlyTrue(t, "a", want, reads); !failed["whole"] && !strings.Contains(name, "table") && name != "locator" {
				t.Error("the whole is read")
			}
		})
	}
}

// TestForgedAnswers has the store lie about objects that are stored well.
func TestForgedAnswers(t *testing.T) {
	f := newForger(t)
	sizes := []int{5 * mib, 1000}
	want := f.multipart(t, "a", sizes...)
	small := content(2*chunk + 5)
	f.put(t, "s", small)
	f.multipart(t, "b", sizes...)
	metadata := func(key string) string { return f.stored(t, key).metadata["sidekey"] }
	header := map[string]string{"a": metadata("a"), "b": metadata("b"), "s": metadata("s")}
	setHeader := func(value string) func(*http.Response) {
		return func(resp *http.Response) { resp.Header.Set("X-Amz-Meta-Sidekey", value) }
	}
	lies := map[string]struct {
		lie   func(*http.Response)
		fails bool // of every read
	}{
		"the truth":          {func(*http.Response) {}, false},
		"header of b":        {setHeader(header["b"]), true},
		"header of another":  {setHeader(header["s"]), true},
		"no header":          {func(resp *http.Response) { resp.Header.Del("X-Amz-Meta-Sidekey") }, true},
		"ETag without parts": {func(resp *http.Response) { resp.Header.Set("Etag", `"0123456789abcdef0123456789abcdef"`) }, false},
		"ETag of 9 parts":    {func(resp *http.Response) { resp.Header.Set("Etag", `"0123456789abcdef0123456789abcdef-9"`) }, false},
		"no ETag":            {func(resp *http.Response) { resp.Header.Del("Etag") }, false},
		"ETags change":       {func(resp *http.Response) { resp.Header.Set("Etag", fmt.Sprintf(`"%p"`, resp)) }, false},
		"a larger object":    {claim(func(total int) int { return total + 1 }), true},
		"a smaller object":   {claim(func(total int) int { return total - 16 }), true},
		"a huge object":      {claim(func(int) int { return 1<<63 - 1 }), true},
		"body cut":           {func(resp *http.Response) { resp.Body = cut(resp.Body, 60) }, true},
		"body of zeros":      {func(resp *http.Response) { resp.Body = zeros(resp.Body) }, true},
		"another range":      {shifted, false},
	}
	for key, object := range map[string][]byte{"a": want, "s": small} {
		reads := readsOf(sizes...)
		if key == "s" {
			reads = readsOf(len(small))
		}
		for name, c := range lies {
			if name == "header of another" && key == "s" {
				continue
			}
			t.Run(key+", "+name, func(t *testing.T) {
				f.isHonest()
				f.forges(c.lie)
				failed := f.onlyTrue(t, key, object, reads)
				if name == "the truth" && len(failed) > 0 {
					t.Fatal(failed)
				}
				for _, r := range reads {
					if c.fails && !failed[r.name] {
						t.Errorf("%s succeeds", r.name)
					}
				}
			})
		}
	}
}

// claim has answers say another length of the object, of which the body has what
// there is.
func claim(length func(int) int) func(*http.Response) {
	return func(resp *http.Response) {
		var from, last, total int
		if n, _ := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-%d/%d", &from, &last, &total); n == 3 {
			resp.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, last, length(total)))
			return
		}
		if resp.ContentLength >= 0 {
			resp.ContentLength = int64(length(int(resp.ContentLength)))
			resp.Header.Set("Content-Length", fmt.Sprint(resp.ContentLength))
		}
	}
}

func cut(body io.ReadCloser, n int64) io.ReadCloser {
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(body, n), body}
}

type zeroed struct{ io.ReadCloser }

func zeros(body io.ReadCloser) io.ReadCloser { return zeroed{body} }

func (z zeroed) Read(p []byte) (int, error) {
	n, err := z.ReadCloser.Read(p)
	clear(p[:n])
	return n, err
}

// shifted drops the first byte of a range, and says nothing of it.
func shifted(resp *http.Response) {
	if resp.StatusCode != http.StatusPartialContent || resp.ContentLength < 2 {
		return
	}
	io.CopyN(io.Discard, resp.Body, 1)
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(resp.Body, bytes.NewReader([]byte{0})), resp.Body}
}

// TestForgedCopies swaps what a copy and its source hold.
func TestForgedCopies(t *testing.T) {
	f := newForger(t)
	want := f.multipart(t, "source", 5*mib, 9)
	if _, err := f.app.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: aws.String(bucket), Key: aws.String("copy"), CopySource: aws.String(bucket + "/source")}); err != nil {
		t.Fatal(err)
	}
	reads := readsOf(5*mib, 9)
	if failed := f.onlyTrue(t, "copy", want, reads); len(failed) > 0 {
		t.Fatal(failed)
	}
	source, copied := f.stored(t, "source"), f.stored(t, "copy")
	for name, o := range map[string]struct {
		key string
		stored
	}{
		"the source's header in the copy": {"copy", stored{copied.body, source.metadata}},
		"the copy's header in the source": {"source", stored{source.body, copied.metadata}},
	} {
		f.overwrite(t, o.key, o.stored)
		if failed := f.onlyTrue(t, o.key, want, reads); len(failed) != len(reads) {
			t.Errorf("%s: only %v fail", name, failed)
		}
	}
}

// TestForgedUploads changes what the store keeps of uploads that run.
func TestForgedUploads(t *testing.T) {
	f := newForger(t)
	honest := f.run(t, "honest")
	if _, err := f.replica(t).app.CompleteMultipartUpload(t.Context(), completion("honest", honest.id, honest.parts...)); err != nil {
		t.Fatal(err)
	}
	for name, forge := range map[string]func(t *testing.T, a, b *running){
		"record dropped": func(t *testing.T, a, _ *running) { f.remove(t, a.records[0]) },
		"record of the other upload": func(t *testing.T, a, b *running) {
			f.remove(t, a.records[0])
			f.place(t, a.prefix+strings.TrimPrefix(b.records[0], b.prefix), nil)
		},
		"record of another part": func(t *testing.T, a, _ *running) {
			f.remove(t, a.records[0])
			f.place(t, strings.Replace(a.records[1], "/00002-", "/00001-", 1), nil)
		},
		"record changed": func(t *testing.T, a, _ *running) {
			f.remove(t, a.records[0])
			f.place(t, a.records[0][:len(a.records[0])-9]+"AAAAAAAAA", nil)
		},
		"header of the other upload": func(t *testing.T, a, b *running) {
			f.place(t, a.prefix+"upload", f.stored(t, b.prefix+"upload").metadata)
		},
		"headers swapped": func(t *testing.T, a, b *running) {
			ah, bh := f.stored(t, a.prefix+"upload").metadata, f.stored(t, b.prefix+"upload").metadata
			f.place(t, a.prefix+"upload", bh)
			f.place(t, b.prefix+"upload", ah)
		},
		"no header": func(t *testing.T, a, _ *running) { f.remove(t, a.prefix+"upload") },
		"part of the other upload": func(t *testing.T, a, b *running) {
			id := b.id
			if _, err := f.app.CompleteMultipartUpload(t.Context(), completion(b.key, id, b.parts...)); err != nil {
				t.Fatal(err)
			}
			body := f.stored(t, b.key).body[:envelope.SealedSize(5*mib)]
			in := &s3.UploadPartInput{Bucket: aws.String(bucket), Key: &a.key, UploadId: atStore(a.id), PartNumber: aws.Int32(1), Body: bytes.NewReader(body)}
			if _, err := f.store.UploadPart(t.Context(), in); err != nil {
				t.Fatal(err)
			}
		},
		"held part cut": func(t *testing.T, a, _ *running) {
			held := f.stored(t, a.held)
			f.overwrite(t, a.held, stored{held.body[:len(held.body)-1], nil})
		},
	} {
		t.Run(name, func(t *testing.T) {
			key := strings.ReplaceAll(name, " ", "-")
			a, b := f.run(t, key), f.run(t, key)
			forge(t, a, b)
			fresh := f.replica(t) // it has seen nothing of the uploads yet
			_, err := fresh.app.CompleteMultipartUpload(t.Context(), completion(key, a.id, a.parts...))
			if err == nil {
				t.Fatal("the upload was completed")
			}
			if codes := fresh.lastCodes(t); !slices.ContainsFunc(codes, func(c string) bool {
				return slices.Contains([]string{"InternalError", "InvalidPart", "NoSuchUpload"}, c)
			}) {
				t.Errorf("%v: on record: %v", err, codes)
			}
		})
	}
}

// A part that was sent again is not completed as it was before, whatever the store says
// of ETags and hides.
func TestForgedOldPart(t *testing.T) {
	for name, edit := range map[string]func(*s3gateway.Config){
		"store": func(*s3gateway.Config) {},
		"md5":   func(c *s3gateway.Config) { c.ETag = "md5" },
	} {
		f := newForger(t, edit)
		f.forges(oneETag)
		for _, size := range []int{5 * mib, 100} {
			t.Run(fmt.Sprint(name, ", ", size), func(t *testing.T) { f.hidesNewer(t, fmt.Sprint(size), size) })
		}
	}
}

// hidesNewer has one part sent twice and takes away the record of the second.
func (f *forger) hidesNewer(t *testing.T, key string, size int) {
	id := f.begin(t, key)
	older := f.part(t, key, id, 1, content(size))
	records := keptOf(*id) + "00001-"
	before := f.names(t, records)
	newer := f.part(t, key, id, 1, content(2 * size)[size:])
	for _, record := range f.names(t, records) {
		if !slices.Contains(before, record) {
			f.remove(t, record)
		}
	}
	if _, err := f.app.CompleteMultipartUpload(t.Context(), completion(key, id, newer)); code(err) != "InvalidPart" {
		t.Errorf("completing with the part that was sent again, of which the record is gone: %v", err)
	}
	if got, want := f.names(t, records), before; len(want) != 1 || !slices.Equal(got, want) {
		t.Errorf("records %v, want %v", got, want)
	}
	// What stopped it is that this part is another one: the store takes the older.
	if _, err := f.app.CompleteMultipartUpload(t.Context(), completion(key, id, older)); err != nil {
		t.Errorf("completing with the part that is on record: %v", err)
	}
}

// oneETag is a store to which all parts have the same ETag, and that completes any list.
func oneETag(resp *http.Response) {
	const etag = "0123456789abcdef0123456789abcdef"
	query := resp.Request.URL.Query()
	switch {
	case query.Get("partNumber") != "", strings.Contains(resp.Request.URL.Path, "/held-") && resp.Request.Method == http.MethodPut:
		resp.Header.Set("Etag", `"`+etag+`"`)
	case query.Get("uploadId") != "" && resp.Request.Method == http.MethodGet:
		b, _ := io.ReadAll(resp.Body)
		setBody(resp, anyETag.ReplaceAll(b, []byte("<ETag>"+etag+"</ETag>")))
	case query.Get("uploadId") != "" && resp.Request.Method == http.MethodPost:
		resp.StatusCode = http.StatusOK
		setBody(resp, []byte("<CompleteMultipartUploadResult><ETag>"+etag+"-2</ETag></CompleteMultipartUploadResult>"))
	}
}

var anyETag = regexp.MustCompile(`<ETag>[^<]*</ETag>`)

func setBody(resp *http.Response, b []byte) {
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
	resp.Header.Set("Content-Length", fmt.Sprint(len(b)))
}

// An upload does not go on under the header of an earlier one of the same name.
func TestForgedUploadHeader(t *testing.T) {
	f := newForger(t)
	key := "k"
	earlier := f.begin(t, key)
	f.part(t, key, earlier, 1, content(100))
	id := f.begin(t, key)
	part := f.part(t, key, id, 1, content(100))
	header := keptOf(*id) + "upload"
	honest := f.stored(t, header).metadata
	f.place(t, header, f.stored(t, keptOf(*earlier)+"upload").metadata)
	calls := map[string]func(app *s3.Client, id *string) error{
		"UploadPart": func(app *s3.Client, id *string) error {
			_, err := app.UploadPart(t.Context(), &s3.UploadPartInput{Bucket: aws.String(bucket), Key: &key, UploadId: id, PartNumber: aws.Int32(1), Body: strings.NewReader("secret")})
			return err
		},
		"ListParts": func(app *s3.Client, id *string) error {
			_, err := app.ListParts(t.Context(), &s3.ListPartsInput{Bucket: aws.String(bucket), Key: &key, UploadId: id})
			return err
		},
		"CompleteMultipartUpload": func(app *s3.Client, id *string) error {
			_, err := app.CompleteMultipartUpload(t.Context(), completion(key, id, part))
			return err
		},
	}
	wrong := aws.String((*id)[:len(*id)-1] + "!")
	for name, call := range calls {
		for what, id := range map[string]*string{"the client's ID": id, "the store's ID": atStore(id), "another mark": wrong} {
			fresh := f.replica(t)
			if err := call(fresh.app, id); code(err) != "NoSuchUpload" || !slices.Equal(fresh.lastCodes(t), []string{"NoSuchUpload"}) {
				t.Errorf("%s by %s: %v, on record %v", name, what, err, fresh.lastCodes(t))
			}
		}
	}
	// Nothing but the header stood in the way.
	f.place(t, header, honest)
	fresh := f.replica(t)
	if err := calls["CompleteMultipartUpload"](fresh.app, id); err != nil {
		t.Errorf("completing under the header of its own: %v", err)
	}
}

// running is an upload of three parts, the last of which is held back.
type running struct {
	key, prefix string
	id          *string
	parts       []types.CompletedPart
	records     []string // names, in order of the parts
	held        string
}

func (f *forger) run(t *testing.T, key string) *running {
	t.Helper()
	u := &running{key: key, id: f.begin(t, key)}
	for i, n := range []int{5 * mib, 5 * mib, 100} {
		u.parts = append(u.parts, f.part(t, key, u.id, int32(i+1), content(n)))
	}
	u.prefix = keptOf(*u.id)
	kept := f.names(t, u.prefix)
	for _, name := range kept {
		switch rest := strings.TrimPrefix(name, u.prefix); {
		case strings.HasPrefix(rest, "held-"):
			u.held = name
		case rest != "upload":
			u.records = append(u.records, name)
		}
	}
	if len(u.records) != 3 || u.held == "" {
		t.Fatalf("kept of the upload: %v", kept)
	}
	return u
}

// keptOf is the prefix of what is kept of an upload.
func keptOf(id string) string {
	return fmt.Sprintf("~sidekey/uploads/%.32s/", sum([]byte(*atStore(&id))))
}

// names lists what the store has under a prefix.
func (f *forger) names(t *testing.T, prefix string) []string {
	t.Helper()
	listed, err := f.store.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(bucket), Prefix: &prefix})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, o := range listed.Contents {
		names = append(names, *o.Key)
	}
	return names
}

func (f *forger) remove(t *testing.T, key string) {
	t.Helper()
	if _, err := f.store.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String(bucket), Key: &key}); err != nil {
		t.Fatal(err)
	}
}

func (f *forger) place(t *testing.T, key string, metadata map[string]string) {
	t.Helper()
	f.overwrite(t, key, stored{nil, metadata})
}
