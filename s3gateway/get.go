// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/proxy"
	"github.com/sidekey/sidekey/proxy/envelope"
)

// wanted is what a GET or HEAD asks for.
type wanted struct {
	spec      *rangeSpec // nil for the whole object
	whole     bool       // partNumber=1: all of it, as a part
	checksums bool       // x-amz-checksum-mode: ENABLED
}

func (x *exchange) wanted() (wanted, error) {
	w := wanted{
		spec:      parseRange(x.header.Get("Range")),
		checksums: strings.EqualFold(x.header.Get("X-Amz-Checksum-Mode"), "ENABLED"),
	}
	part := x.query.Get("partNumber")
	if part == "" {
		return w, nil
	}
	number, err := strconv.Atoi(part)
	switch {
	case err != nil || number < 1 || number > 10000:
		return w, invalidArgument("Part number must be an integer between 1 and 10000, inclusive").argument("partNumber", part)
	case x.header.Get("Range") != "":
		return w, invalidRequest("Cannot specify both Range header and partNumber query parameter")
	case number > 1:
		return w, &s3Error{code: "InvalidPartNumber", status: http.StatusRequestedRangeNotSatisfiable, message: "The requested partnumber is not satisfiable"}
	}
	w.whole = true
	return w, nil
}

// readCall is the upstream request for the object without range.
func (x *exchange) readCall(method string) call {
	c := call{method: method, bucket: x.bucket, key: x.key, header: http.Header{}, query: url.Values{}}
	copyHeaders(c.header, x.header, conditionHeaders, ownerHeaders)
	for _, name := range append([]string{"versionId"}, overrides...) {
		if value, ok := x.query[name]; ok {
			c.query[name] = value
		}
	}
	return c
}

// found is an object that the upstream has begun to send.
type found struct {
	resp   *http.Response
	at     extent
	opener *proxy.ObjectOpener
	size   int64 // of the plaintext
}

// fetch asks the upstream and opens the header.
func (x *exchange) fetch(ctx context.Context, c call) (*found, error) {
	resp, err := x.g.upstream.do(ctx, c)
	if err != nil || resp.StatusCode == http.StatusNotModified {
		return &found{resp: resp}, err
	}
	f := &found{resp: resp}
	if err := x.open(ctx, f); err != nil {
		resp.Body.Close()
		return nil, err
	}
	return f, nil
}

func (x *exchange) open(ctx context.Context, f *found) error {
	header, err := sealed(f.resp.Header)
	if err != nil {
		return err
	}
	if f.at, err = extentOf(f.resp); err != nil {
		return err
	}
	if f.opener, err = x.g.cipher.OpenObject(ctx, x.bucket, x.key, header); err != nil {
		return err
	}
	f.size, err = f.opener.PlainSize(f.at.total)
	return err
}

func getObject(ctx context.Context, x *exchange) error {
	want, err := x.wanted()
	if err != nil {
		return err
	}
	c := x.readCall(http.MethodGet)
	if want.spec != nil {
		c.header.Set("Range", want.spec.upstreamRange())
	}
	f, err := x.fetch(ctx, c)
	if want.spec != nil && isInvalidRange(err) {
		f, err = x.fetchBySize(ctx, want.spec)
	}
	if err != nil {
		return err
	}
	defer func() { f.resp.Body.Close() }()
	if f.resp.StatusCode == http.StatusNotModified {
		return x.notModified(f.resp)
	}
	if want.spec != nil && !x.ifRange(f.resp.Header) {
		want.spec = nil
		if f, err = x.refetch(ctx, f, ""); err != nil {
			return err
		}
	}
	if want.spec == nil {
		return x.sendWhole(ctx, f, want)
	}
	off, n, ok := want.spec.within(f.size)
	if !ok {
		return invalidRange(f.size)
	}
	sealedOff, sealedLen := f.opener.Range(off, n, f.size)
	if sealedOff < f.at.start || sealedOff+sealedLen > f.at.end {
		// Not what was asked for, but a part that does not hold it.
		if f, err = x.refetch(ctx, f, fmt.Sprintf("bytes=%d-%d", sealedOff, sealedOff+sealedLen-1)); err != nil {
			return err
		}
		if f.at.start != sealedOff || f.at.end != sealedOff+sealedLen {
			return errors.New("the upstream does not serve the range asked for")
		}
	}
	if _, err := io.CopyN(io.Discard, f.resp.Body, sealedOff-f.at.start); err != nil {
		return fmt.Errorf("skipping to the range: %w", err)
	}
	x.describe(f, want)
	x.w.Header().Set("Content-Range", contentRange(off, n, f.size))
	plain := f.opener.RangeReader(io.LimitReader(f.resp.Body, sealedLen), off, n, f.size)
	return x.stream(ctx, http.StatusPartialContent, plain, n)
}

func (x *exchange) sendWhole(ctx context.Context, f *found, want wanted) error {
	if f.at.start != 0 || f.at.end != f.at.total {
		return errors.New("the upstream sent a part of an object where all of it was asked for")
	}
	status := http.StatusOK
	if want.whole && f.size > 0 {
		status = http.StatusPartialContent
		x.w.Header().Set("Content-Range", contentRange(0, f.size, f.size))
	}
	x.describe(f, want)
	return x.stream(ctx, status, f.opener.Reader(f.resp.Body), f.size)
}

// describe sets the headers of an object. Checksums are of the whole plaintext
// and accompany nothing less.
func (x *exchange) describe(f *found, want wanted) {
	x.copyAnswer(f.resp.Header)
	x.setObject(f.opener.KeyARN())
	if want.checksums && want.spec == nil {
		setChecksums(x.w.Header(), f.opener.Checksums())
	}
	x.op.Set(audit.KeyARN.String(f.opener.KeyARN()))
}

func contentRange(off, n, size int64) string {
	return fmt.Sprintf("bytes %d-%d/%d", off, off+n-1, size)
}

func isInvalidRange(err error) bool {
	var e *s3Error
	return errors.As(err, &e) && e.status == http.StatusRequestedRangeNotSatisfiable
}

func isPreconditionFailed(err error) bool {
	var e *s3Error
	return errors.As(err, &e) && e.status == http.StatusPreconditionFailed
}

// errOverwritten is not the client's own condition: it may have given none.
var errOverwritten = &s3Error{code: "ServiceUnavailable", status: http.StatusServiceUnavailable, message: "The object changed while it was read. Please try again."}

// fetchBySize learns the size first, for ranges that the upstream says are past
// the end: what it counts are stored bytes, and servers differ on a suffix that
// is longer than the object.
func (x *exchange) fetchBySize(ctx context.Context, spec *rangeSpec) (*found, error) {
	head, err := x.fetch(ctx, x.readCall(http.MethodHead))
	if err != nil {
		return nil, err
	}
	head.resp.Body.Close()
	if head.opener == nil {
		return head, nil
	}
	if !x.ifRange(head.resp.Header) {
		return x.refetch(ctx, head, "")
	}
	off, n, ok := spec.within(head.size)
	if !ok {
		return nil, invalidRange(head.size)
	}
	sealedOff, sealedLen := head.opener.Range(off, n, head.size)
	return x.refetch(ctx, head, fmt.Sprintf("bytes=%d-%d", sealedOff, sealedOff+sealedLen-1))
}

// refetch asks once more, for another part of the very same object.
func (x *exchange) refetch(ctx context.Context, f *found, byteRange string) (*found, error) {
	f.resp.Body.Close()
	c := x.readCall(http.MethodGet)
	if etag := f.resp.Header.Get("Etag"); etag != "" {
		c.header.Set("If-Match", quoted(etag))
		c.header.Del("If-None-Match")
		c.header.Del("If-Unmodified-Since")
	}
	if byteRange != "" {
		c.header.Set("Range", byteRange)
	}
	again, err := x.fetch(ctx, c)
	if isPreconditionFailed(err) {
		return f, errOverwritten
	}
	if err != nil {
		return f, err
	}
	if again.opener == nil || again.size != f.size || again.resp.Header.Get("Etag") != f.resp.Header.Get("Etag") {
		again.resp.Body.Close()
		return f, errOverwritten
	}
	return again, nil
}

// ifRange evaluates If-Range (RFC 9110) on what the upstream sent, since not
// every store does.
func (x *exchange) ifRange(header http.Header) bool {
	condition := x.header.Get("If-Range")
	switch {
	case condition == "":
		return true
	case strings.HasPrefix(condition, `"`):
		return condition == quoted(header.Get("Etag"))
	}
	want, err := http.ParseTime(condition)
	if err != nil {
		return false
	}
	have, err := http.ParseTime(header.Get("Last-Modified"))
	return err == nil && have.Truncate(time.Second).Equal(want)
}

func (x *exchange) notModified(resp *http.Response) error {
	x.copyAnswer(resp.Header)
	x.w.Header().Del("Content-Type")
	if err := x.done(http.StatusNotModified); err != nil {
		return err
	}
	x.writeHeader(http.StatusNotModified)
	return nil
}

// headObject answers from stored lengths and the header, without a key unless
// checksums are asked for, which are encrypted.
func headObject(ctx context.Context, x *exchange) error {
	want, err := x.wanted()
	if err != nil {
		return err
	}
	resp, err := x.g.upstream.do(ctx, x.readCall(http.MethodHead))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotModified {
		return x.notModified(resp)
	}
	text, err := sealed(resp.Header)
	if err != nil {
		return err
	}
	header, err := envelope.ParseHeader(text)
	if err != nil {
		return err
	}
	size, err := proxy.PlainSize(resp.ContentLength)
	if err != nil {
		return err
	}
	status, off, n := http.StatusOK, int64(0), size
	if want.spec != nil && x.ifRange(resp.Header) {
		var ok bool
		if off, n, ok = want.spec.within(size); !ok {
			return invalidRange(size)
		}
		status = http.StatusPartialContent
	} else if want.whole && size > 0 {
		status = http.StatusPartialContent
	}
	x.copyAnswer(resp.Header)
	x.setObject(header.KeyARN)
	out := x.w.Header()
	out.Set("Content-Length", strconv.FormatInt(n, 10))
	if status == http.StatusPartialContent {
		out.Set("Content-Range", contentRange(off, n, size))
	}
	if want.checksums && want.spec == nil {
		opener, err := x.g.cipher.OpenObject(ctx, x.bucket, x.key, text)
		if err != nil {
			return err
		}
		setChecksums(out, opener.Checksums())
	}
	if err := x.done(status); err != nil {
		return err
	}
	x.writeHeader(status)
	return nil
}
