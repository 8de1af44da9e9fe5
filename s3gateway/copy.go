// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/proxy"
)

// copySource is the object that a copy is made of.
type copySource struct {
	bucket, key, version string
}

func (x *exchange) copySource() (copySource, error) {
	invalid := invalidArgument("Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
	text := x.header.Get("X-Amz-Copy-Source")
	path, query, _ := strings.Cut(text, "?")
	path, err := url.PathUnescape(path)
	if err != nil {
		return copySource{}, invalid
	}
	var s copySource
	var ok bool
	s.bucket, s.key, ok = strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if !ok || s.key == "" || !bucketName.MatchString(s.bucket) || s.bucket == reservedBucket || !utf8.ValidString(s.key) {
		return copySource{}, invalid
	}
	if namesHidden(s.key) {
		return copySource{}, errHidden
	}
	if query != "" {
		values, err := url.ParseQuery(query)
		if err != nil || len(values) != 1 || len(values["versionId"]) != 1 {
			return copySource{}, invalid
		}
		s.version = values.Get("versionId")
	}
	x.op.Set(audit.S3CopySource.String(s.bucket + "/" + s.key))
	return s, nil
}

// header is x-amz-copy-source for the upstream.
func (s copySource) header() string {
	text := s.bucket + "/" + encodePath(s.key)
	if s.version != "" {
		text += "?versionId=" + url.QueryEscape(s.version)
	}
	return text
}

// openSource looks at the source, checks the client's conditions, and opens its header.
func (x *exchange) openSource(ctx context.Context) (copySource, *found, error) {
	s, err := x.copySource()
	if err != nil {
		return s, nil, err
	}
	customer, err := x.customerKey(copyCustomerPrefix)
	if err != nil {
		return s, nil, err
	}
	c := call{method: http.MethodHead, bucket: s.bucket, key: s.key, header: http.Header{}, query: url.Values{}}
	if s.version != "" {
		c.query.Set("versionId", s.version)
	}
	copyHeaders(c.header, x.header, []string{"X-Amz-Request-Payer"})
	if owner := x.header.Get("X-Amz-Source-Expected-Bucket-Owner"); owner != "" {
		c.header.Set("X-Amz-Expected-Bucket-Owner", owner)
	}
	f, err := x.fetch(ctx, c, customer)
	if isNotFound(err) {
		return s, nil, x.sourceMissing(ctx, c)
	}
	if err != nil {
		return s, nil, err
	}
	etag, err := x.plainETag(ctx, f)
	if err == nil {
		err = x.sourceConditions(f.resp.Header, etag)
	}
	if err != nil {
		f.close()
		return s, nil, err
	}
	if f.resp.Header.Get("X-Amz-Version-Id") != "" && s.version == "" {
		x.w.Header().Set("X-Amz-Copy-Source-Version-Id", f.resp.Header.Get("X-Amz-Version-Id"))
	} else if s.version != "" {
		x.w.Header().Set("X-Amz-Copy-Source-Version-Id", s.version)
	}
	return s, f, nil
}

// sourceMissing finds out what is missing: an answer to HEAD has no code.
func (x *exchange) sourceMissing(ctx context.Context, c call) error {
	c.method = http.MethodGet
	c.header.Set("Range", "bytes=0-0")
	resp, err := x.g.upstream.do(ctx, c)
	if err != nil {
		return err
	}
	resp.Body.Close()
	return &s3Error{code: "NoSuchKey", status: http.StatusNotFound, message: "The specified key does not exist."}
}

// sourceConditions evaluates x-amz-copy-source-if-*: an ETag that matches makes up for
// a time that does not, and the other way round, as S3 documents for CopyObject.
func (x *exchange) sourceConditions(source http.Header, etag string) error {
	condition := func(name string) string { return x.header.Get("X-Amz-Copy-Source-If-" + name) }
	etag = strings.Trim(etag, `"`)
	modified, err := http.ParseTime(source.Get("Last-Modified"))
	after := func(name string) (asked, newer bool) {
		at, parseErr := http.ParseTime(condition(name))
		return parseErr == nil && err == nil, modified.Truncate(time.Second).After(at)
	}
	failed := &s3Error{code: "PreconditionFailed", status: http.StatusPreconditionFailed, message: "At least one of the pre-conditions you specified did not hold"}
	matches := func(value string) bool { return value == "*" || strings.Trim(value, `"`) == etag }
	if match := condition("Match"); match != "" {
		if !matches(match) {
			return failed
		}
	} else if asked, newer := after("Unmodified-Since"); asked && newer {
		return failed
	}
	if none := condition("None-Match"); none != "" {
		if matches(none) {
			return failed
		}
	} else if asked, newer := after("Modified-Since"); asked && !newer {
		return failed
	}
	return nil
}

// maxCopy is S3's limit on the source of CopyObject.
const maxCopy = 5 << 30

// copyObject has the store copy the body, under a header that is sealed anew for its
// new place: no byte of the body passes here. What cannot be had so is read, and
// sealed anew.
func copyObject(ctx context.Context, x *exchange) error {
	sse, err := x.encryption(ctx)
	if err != nil {
		return err
	}
	replace, err := x.directive("X-Amz-Metadata-Directive")
	if err != nil {
		return err
	}
	source, f, err := x.openSource(ctx)
	if err != nil {
		return err
	}
	f.close()
	if f.size > maxCopy {
		return invalidRequest("The specified copy source is larger than the maximum allowable size for a copy source: 5368709120")
	}
	if err := x.mayCopy(source, f, replace); err != nil {
		return err
	}
	header, err := x.copiedHeader(f, replace)
	if err != nil {
		return err
	}
	algorithm, err := namedAlgorithm(x.header)
	if err != nil {
		return err
	}
	whole, err := x.copiesAsItIs(ctx, f, sse, algorithm)
	if err != nil {
		return err
	}
	x.op.Set(audit.Bytes.Int64(f.size))
	switch {
	case !whole:
		return x.copyAnew(ctx, source, f, sse, header, algorithm)
	case f.opener.Multipart():
		return x.copyParts(ctx, source, f, sse, header)
	}
	return x.copyWhole(ctx, source, f, sse, header)
}

// directive reads a header that says COPY or REPLACE.
func (x *exchange) directive(name string) (replace bool, err error) {
	switch x.header.Get(name) {
	case "", "COPY":
		return false, nil
	case "REPLACE":
		return true, nil
	}
	return false, invalidArgument("Unknown " + strings.ToLower(strings.TrimPrefix(name, "X-Amz-")) + ".")
}

// mayCopy refuses a copy of an object onto itself that would change nothing, and of
// one that has to stay as it is.
func (x *exchange) mayCopy(source copySource, f *found, replace bool) error {
	changes := replace || source.version != "" || f.foreign != nil
	for _, name := range []string{"X-Amz-Storage-Class", "X-Amz-Website-Redirect-Location", "X-Amz-Server-Side-Encryption", customerPrefix + "Algorithm", "X-Amz-Checksum-Algorithm"} {
		changes = changes || x.header.Get(name) != ""
	}
	if source.bucket == x.bucket && source.key == x.key && !changes {
		return invalidRequest("This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.")
	}
	if f.foreign == nil {
		return nil
	}
	mode, err := x.foreignMode(source.bucket, source.key)
	if err == nil && mode != proxy.ForeignEncrypt {
		return &s3Error{code: "InvalidObjectState", status: http.StatusForbidden, message: "The source is not encrypted, and the rule of its bucket does not let it be copied."}
	}
	return err
}

// copiedHeader is what is stored with the copy besides the sidekey header.
func (x *exchange) copiedHeader(f *found, replace bool) (http.Header, error) {
	if replace {
		return x.storedHeader()
	}
	header := http.Header{}
	copyHeaders(header, x.header, destinationHeaders, ownerHeaders, writeConditions)
	copyHeaders(header, f.resp.Header, []string{"Content-Type", "Content-Disposition", "Content-Language", "Cache-Control", "Expires"})
	if encoding := contentEncoding(f.resp.Header["Content-Encoding"]); encoding != "" {
		header.Set("Content-Encoding", encoding)
	}
	for name, values := range f.resp.Header {
		if isUserMetadata(name) {
			header[name] = values
		}
	}
	return header, nil
}

// destinationHeaders are those of a copy that COPY does not take from its source.
var destinationHeaders = []string{
	"X-Amz-Acl", "X-Amz-Storage-Class", "X-Amz-Tagging", "X-Amz-Website-Redirect-Location",
	"X-Amz-Grant-Full-Control", "X-Amz-Grant-Read", "X-Amz-Grant-Read-Acp", "X-Amz-Grant-Write-Acp", "X-Amz-Grant-Write",
	"X-Amz-Object-Lock-Mode", "X-Amz-Object-Lock-Retain-Until-Date", "X-Amz-Object-Lock-Legal-Hold",
}

// copiesAsItIs says that the body can serve the copy: it is sealed, by no customer's
// key, and has the checksum that is asked for.
func (x *exchange) copiesAsItIs(ctx context.Context, f *found, sse encryption, algorithm string) (bool, error) {
	if f.opener == nil || sse.customer != nil || x.header.Get(copyCustomerPrefix+"Algorithm") != "" {
		return false, nil
	}
	if algorithm == "" {
		return true, nil
	}
	sums, err := x.checksumsOf(ctx, f)
	return sums.kind == fullObject && sums.values[algorithm] != "", err
}

func (x *exchange) destination(sse encryption) proxy.Object {
	return proxy.Object{Bucket: x.bucket, Key: x.key, KeyID: sse.keyID, EncryptionContext: sse.context}
}

// pin adds what has the store copy the very object that was looked at.
func pin(header http.Header, source copySource, f *found) {
	header.Set("X-Amz-Copy-Source", source.header())
	if etag := f.resp.Header.Get("Etag"); etag != "" {
		header.Set("X-Amz-Copy-Source-If-Match", quoted(etag))
	}
}

// modifiedNow is the time of a copy, as S3's documents have it.
func modifiedNow() string { return time.Now().UTC().Format("2006-01-02T15:04:05.000Z") }

// copyResult is the store's answer to a copy, and the gateway's.
type copyResult struct {
	XMLName      xml.Name
	LastModified string
	ETag         string
	ChecksumType string `xml:",omitempty"`
	partChecksums
	Code    string `xml:",omitempty"` // of an error in an answer that had begun
	Message string `xml:",omitempty"`
}

// copyWhole has the store copy an object that is one message.
func (x *exchange) copyWhole(ctx context.Context, source copySource, f *found, sse encryption, header http.Header) error {
	sealer, err := x.g.cipher.SealCopy(ctx, x.destination(sse), f.opener)
	if err != nil {
		return err
	}
	header[sealedHeader] = []string{sealer.Header()}
	header.Set("X-Amz-Metadata-Directive", "REPLACE")
	copyHeaders(header, x.header, []string{"X-Amz-Tagging-Directive"})
	pin(header, source, f)
	var result copyResult
	answer, err := x.askCopy(ctx, call{method: http.MethodPut, bucket: x.bucket, key: x.key, header: header}, &result)
	if err != nil {
		return err
	}
	x.copyAnswer(answer)
	return x.answerCopy(ctx, f, sealer.KeyARN(), &result)
}

// askCopy sends a call that copies. The store may find an error after its answer has
// begun as a success.
func (x *exchange) askCopy(ctx context.Context, c call, result *copyResult) (http.Header, error) {
	header, err := x.g.askFor(ctx, c, maxAnswer, result)
	if isPreconditionFailed(err) && x.header.Get("If-Match") == "" && x.header.Get("If-None-Match") == "" {
		return nil, errOverwritten
	}
	if err != nil {
		return nil, err
	}
	if result.XMLName.Local == "Error" {
		return nil, asUpstreamError(result.Code, result.Message)
	}
	return header, nil
}

func (x *exchange) answerCopy(ctx context.Context, f *found, keyARN string, result *copyResult) error {
	answer := copyResult{LastModified: result.LastModified, ETag: quoted(strings.Trim(result.ETag, `"`))}
	if x.g.md5 {
		var err error
		if answer.ETag, err = x.copiedETag(ctx, f, answer.ETag); err != nil {
			return err
		}
	}
	x.w.Header().Del("Etag")
	if f.opener != nil && !f.opener.LateChecksums() {
		sums, err := x.checksumsOf(ctx, f)
		if err != nil {
			return err
		}
		for algorithm, value := range sums.values {
			*answer.of(algorithm), answer.ChecksumType = value, sums.kind
		}
	}
	return x.sendCopy(keyARN, nil, answer)
}

// copiedETag is that of a copy whose body is the source's: the source's if it is one of
// the plaintext.
func (x *exchange) copiedETag(ctx context.Context, f *found, stored string) (string, error) {
	etag, err := x.plainETag(ctx, f)
	if err != nil || etag == quoted(f.resp.Header.Get("Etag")) {
		return stored, err
	}
	return etag, nil
}

func (x *exchange) sendCopy(keyARN string, customer *customerKey, answer copyResult) error {
	answer.XMLName = xml.Name{}
	text, err := s3XML("CopyObjectResult", answer)
	if err != nil {
		return err
	}
	x.setEncryption(keyARN, customer)
	x.op.Set(audit.KeyARN.String(keyARN))
	return x.sendDocument(text)
}

// copyParts has the store copy a multipart object, as one part of an upload: a store
// marks such objects in its listings, and the part table inside goes along.
func (x *exchange) copyParts(ctx context.Context, source copySource, f *found, sse encryption, header http.Header) error {
	if err := x.copyTags(ctx, source, header); err != nil {
		return err
	}
	object := x.destination(sse)
	object.Multipart = true
	sealer, err := x.g.cipher.SealCopy(ctx, object, f.opener)
	if err != nil {
		return err
	}
	header.Del("If-Match") // the completion has them
	header.Del("If-None-Match")
	id, _, err := x.createUpstream(ctx, sealer.Header(), header)
	if err != nil {
		return err
	}
	done, err := x.copyInParts(ctx, source, f, &upload{id: id})
	if err != nil {
		x.abortUpstream(context.WithoutCancel(ctx), id)
		return err
	}
	x.copyAnswer(done.header)
	return x.answerCopy(ctx, f, sealer.KeyARN(), &copyResult{ETag: done.ETag, LastModified: modifiedNow()})
}

// copyPiece is how much of an object one UploadPartCopy takes; all but the last of
// them have the least size of a part.
const copyPiece = 1 << 30

func (x *exchange) copyInParts(ctx context.Context, source copySource, f *found, u *upload) (*completed, error) {
	list := completeList{}
	for from := int64(0); from < f.at.total; from += copyPiece {
		to := min(from+copyPiece, f.at.total)
		header := http.Header{}
		pin(header, source, f)
		header.Set("X-Amz-Copy-Source-Range", fmt.Sprintf("bytes=%d-%d", from, to-1))
		number := len(list.Part) + 1
		var result copyResult
		if _, err := x.askCopy(ctx, call{method: http.MethodPut, bucket: x.bucket, key: x.key, query: u.query(number), header: header}, &result); err != nil {
			return nil, err
		}
		list.Part = append(list.Part, completePart{PartNumber: number, ETag: result.ETag})
	}
	return x.completeUpstream(ctx, u.query(0), &list)
}

func (x *exchange) abortUpstream(ctx context.Context, id string) {
	u := upload{id: id}
	if resp, err := x.g.upstream.do(ctx, call{method: http.MethodDelete, bucket: x.bucket, key: x.key, query: u.query(0)}); err == nil {
		drain(resp.Body)
	}
}

// copyTags gives an upload the tags of the source, unless the client replaces them.
func (x *exchange) copyTags(ctx context.Context, source copySource, header http.Header) error {
	if replace, err := x.directive("X-Amz-Tagging-Directive"); replace || err != nil {
		return err
	}
	header.Del("X-Amz-Tagging")
	var tagging struct {
		Tag []struct{ Key, Value string } `xml:"TagSet>Tag"`
	}
	query := url.Values{"tagging": {""}}
	if source.version != "" {
		query.Set("versionId", source.version)
	}
	err := x.g.ask(ctx, call{method: http.MethodGet, bucket: source.bucket, key: source.key, query: query}, &tagging)
	if hasStatus(err, http.StatusNotFound, http.StatusNotImplemented) {
		return nil // a store without tags, or an object without any
	}
	if err != nil {
		return err
	}
	pairs := make([]string, 0, len(tagging.Tag))
	for _, tag := range tagging.Tag {
		pairs = append(pairs, url.QueryEscape(tag.Key)+"="+url.QueryEscape(tag.Value))
	}
	if len(pairs) > 0 {
		header.Set("X-Amz-Tagging", strings.Join(pairs, "&"))
	}
	return nil
}

// copyAnew reads the source and seals what it holds as a new object.
func (x *exchange) copyAnew(ctx context.Context, source copySource, f *found, sse encryption, header http.Header, algorithm string) error {
	if err := x.copyTags(ctx, source, header); err != nil {
		return err
	}
	src, err := x.readSource(ctx, f, 0, f.size)
	if err != nil {
		return err
	}
	defer f.close()
	if algorithm != "" {
		src.digests.compute(algorithm)
	}
	resp, keyARN, err := x.store(ctx, src, sse, header)
	if err != nil {
		return err
	}
	drain(resp.Body)
	x.copyAnswer(resp.Header)
	x.w.Header().Del("Etag")
	answer := copyResult{LastModified: modifiedNow(), ETag: x.putETag(src, resp.Header.Get("Etag"))}
	for algorithm, value := range src.digests.known() {
		*answer.of(algorithm), answer.ChecksumType = value, fullObject
	}
	return x.sendCopy(keyARN, sse.customer, answer)
}

// readSource is a range of the plaintext of the source of a copy.
func (x *exchange) readSource(ctx context.Context, f *found, off, n int64) (*source, error) {
	customer, err := x.customerKey(copyCustomerPrefix)
	if err != nil {
		return nil, err
	}
	src := &source{ctx: ctx, length: n, digests: &digests{}, record: x.op}
	switch {
	case n == 0:
		src.body = http.NoBody
		return src, nil
	case f.foreign != nil && f.foreign.client != nil:
		verified, piece, err := x.verifyClient(ctx, f)
		if err != nil {
			return nil, err
		}
		src.body, err = verified.Open(ctx, piece, off, n)
		return src, err
	case f.foreign != nil:
		again, err := x.refetch(ctx, f, fmt.Sprintf("bytes=%d-%d", off, off+n-1), nil)
		if err != nil {
			return nil, err
		}
		*f = *again
		src.body = exactly(f.resp.Body, n)
		return src, nil
	}
	if err := x.openTable(ctx, f); err != nil {
		return nil, err
	}
	f.at.start, f.at.end = 0, 0 // it was a HEAD: nothing is being sent
	src.body, err = x.rangeOf(ctx, f, customer, off, n)
	return src, err
}

// exactly is a body that fails if it ends before n bytes.
func exactly(body io.Reader, n int64) io.Reader { return &exactReader{body: body, left: n} }

type exactReader struct {
	body io.Reader
	left int64
}

func (e *exactReader) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n, err := e.body.Read(p[:min(int64(len(p)), e.left)])
	e.left -= int64(n)
	if err == io.EOF && e.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err == io.EOF {
		err = nil
	}
	return n, err
}

// uploadPartCopy seals a range of another object as a part.
func uploadPartCopy(ctx context.Context, x *exchange) error {
	number, err := x.partNumber()
	if err != nil {
		return err
	}
	customer, err := x.customerKey(customerPrefix)
	if err != nil {
		return err
	}
	u, err := x.upload(ctx, customer)
	if err != nil {
		return err
	}
	source, f, err := x.openSource(ctx)
	if err != nil {
		return err
	}
	f.close()
	if err := x.mayCopy(source, f, true); err != nil {
		return err
	}
	off, n, err := x.copyRange(f)
	if err != nil {
		return err
	}
	if n > maxCopy {
		return invalidRequest("The specified copy source is larger than the maximum allowable size for a copy source: 5368709120")
	}
	src, err := x.readSource(ctx, f, off, n)
	if err != nil {
		return err
	}
	defer f.close()
	etag, err := x.storePart(ctx, u, number, src)
	if err != nil {
		return err
	}
	answer := copyResult{LastModified: modifiedNow(), ETag: etag}
	for algorithm, value := range src.digests.known() {
		*answer.of(algorithm) = value
	}
	text, err := s3XML("CopyPartResult", answer)
	if err != nil {
		return err
	}
	x.setEncryption(u.opener.KeyARN(), customer)
	return x.sendDocument(text)
}

// copyRange reads x-amz-copy-source-range, which must lie inside the source.
func (x *exchange) copyRange(f *found) (off, n int64, err error) {
	text := x.header.Get("X-Amz-Copy-Source-Range")
	if text == "" {
		return 0, f.size, nil
	}
	spec := parseRange(text)
	if spec == nil || spec.suffix || spec.to == farAway || strings.ContainsFunc(text, func(r rune) bool { return r == ' ' }) {
		return 0, 0, invalidArgument("The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy")
	}
	if spec.to >= f.size {
		return 0, 0, &s3Error{
			code: "InvalidRange", status: http.StatusRequestedRangeNotSatisfiable,
			message: fmt.Sprintf("Range specified is not valid for source object of size: %d", f.size),
		}
	}
	return spec.from, spec.to - spec.from + 1, nil
}

// copyRequestHeaders are those of the copy operations.
var copyRequestHeaders = slices.Concat([]string{
	"x-amz-copy-source", "x-amz-copy-source-", "x-amz-source-expected-bucket-owner", "x-amz-metadata-directive", "x-amz-tagging-directive",
}, putHeaders)
