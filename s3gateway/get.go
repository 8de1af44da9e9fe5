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
)

// wanted is what a GET or HEAD asks for.
type wanted struct {
	spec      *rangeSpec // nil for the whole object
	part      int        // partNumber; 0 for none
	checksums bool       // x-amz-checksum-mode: ENABLED
	customer  *customerKey
}

func (x *exchange) wanted() (wanted, error) {
	w := wanted{
		spec:      parseRange(x.header.Get("Range")),
		checksums: strings.EqualFold(x.header.Get("X-Amz-Checksum-Mode"), "ENABLED"),
	}
	var err error
	if w.customer, err = x.customerKey(customerPrefix); err != nil {
		return w, err
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
	}
	w.part = number
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

// again is a request for the very object that f found: whatever the client's
// conditions were, they held for that one.
func (f *found) again(byteRange string) call {
	c := call{method: http.MethodGet, bucket: f.bucket, key: f.key, header: http.Header{}, query: url.Values{}}
	copyHeaders(c.header, f.call.header, ownerHeaders)
	if version := f.call.query.Get("versionId"); version != "" {
		c.query.Set("versionId", version)
	}
	if etag := f.resp.Header.Get("Etag"); etag != "" {
		c.header.Set("If-Match", quoted(etag))
	}
	if byteRange != "" {
		c.header.Set("Range", byteRange)
	}
	return c
}

// found is an object that the upstream has begun to send.
type found struct {
	bucket, key string
	call        call
	resp        *http.Response
	at          extent
	header      string              // of sidekey; "" if the object is not sealed
	opener      *proxy.ObjectOpener // nil for a foreign object
	foreign     *foreignObject      // nil for a sealed one
	keyARN      string
	entries     map[string]string // of the footer, once it was read
	size        int64             // of the plaintext
}

// close ends what the upstream is sending. If little is left of it, that is read, so
// that the connection can be used again.
func (f *found) close() { drain(f.resp.Body) }

// fetch asks the upstream and opens the header.
func (x *exchange) fetch(ctx context.Context, c call, customer *customerKey) (*found, error) {
	resp, err := x.g.upstream.do(ctx, c)
	if err != nil {
		return nil, err
	}
	f := &found{bucket: c.bucket, key: c.key, call: c, resp: resp}
	if resp.StatusCode == http.StatusNotModified {
		return f, nil
	}
	if err := x.open(ctx, f, customer); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

func (x *exchange) open(ctx context.Context, f *found, customer *customerKey) (err error) {
	if f.at, err = extentOf(f.resp); err != nil {
		return err
	}
	if f.header, err = sealed(f.resp.Header); err != nil {
		return err
	}
	if f.header == "" {
		return x.openForeign(ctx, f)
	}
	if f.opener, err = x.g.cipher.OpenObject(ctx, f.bucket, f.key, f.header, customer.bytes()); err != nil {
		return customerError(err, customer, f.header)
	}
	f.size, err = f.opener.PlainSize(f.at.total)
	return err
}

func getObject(ctx context.Context, x *exchange) error {
	want, err := x.wanted()
	if err != nil {
		return err
	}
	if want.part > 0 {
		return x.getPart(ctx, want)
	}
	f, err := x.find(ctx, want)
	if err != nil {
		return err
	}
	defer func() { f.close() }()
	if f.resp.StatusCode == http.StatusNotModified {
		return x.notModified(f.resp)
	}
	if want.spec != nil && !x.ifRange(f.resp.Header) {
		want.spec = nil
		if f, err = x.refetch(ctx, f, "", want.customer); err != nil {
			return err
		}
	}
	if f.foreign != nil {
		return x.sendForeign(ctx, f, want)
	}
	if err := x.openTable(ctx, f); err != nil {
		return err
	}
	if want.spec == nil {
		return x.sendWhole(ctx, f, want)
	}
	off, n, ok := want.spec.within(f.size)
	if !ok {
		return invalidRange(f.size)
	}
	return x.sendRange(ctx, f, want, off, n)
}

// find begins to read the object, at the range that the client wants.
func (x *exchange) find(ctx context.Context, want wanted) (*found, error) {
	c := x.readCall(http.MethodGet)
	if want.spec != nil {
		c.header.Set("Range", want.spec.upstreamRange())
	}
	f, err := x.fetch(ctx, c, want.customer)
	if want.spec != nil && isInvalidRange(err) {
		return x.fetchBySize(ctx, want)
	}
	return f, err
}

// sendRange answers with a range of an opened object.
func (x *exchange) sendRange(ctx context.Context, f *found, want wanted, off, n int64) error {
	plain, err := x.rangeOf(ctx, f, want.customer, off, n)
	if err != nil {
		return err
	}
	if err := x.describe(ctx, f, want); err != nil {
		return err
	}
	x.w.Header().Set("Content-Range", contentRange(off, n, f.size))
	return x.stream(ctx, http.StatusPartialContent, plain, n)
}

// rangeOf reads a range that is not empty. What the upstream has begun to send is
// used if the range is in it; else it is asked once more.
func (x *exchange) rangeOf(ctx context.Context, f *found, customer *customerKey, off, n int64) (io.Reader, error) {
	storedOff, storedLen := f.opener.Range(off, n, f.size)
	if storedOff < f.at.start || storedOff+storedLen > f.at.end {
		again, err := x.refetch(ctx, f, fmt.Sprintf("bytes=%d-%d", storedOff, storedOff+storedLen-1), customer)
		if err != nil {
			return nil, err
		}
		again.opener = f.opener // it has the table
		*f = *again
		if f.at.start != storedOff || f.at.end != storedOff+storedLen {
			return nil, errors.New("the upstream does not serve the range asked for")
		}
	}
	if _, err := io.CopyN(io.Discard, f.resp.Body, storedOff-f.at.start); err != nil {
		return nil, fmt.Errorf("skipping to the range: %w", err)
	}
	return f.opener.RangeReader(io.LimitReader(f.resp.Body, storedLen), off, n, f.size), nil
}

func (x *exchange) sendWhole(ctx context.Context, f *found, want wanted) error {
	plain, err := wholeOf(f)
	if err != nil {
		return err
	}
	if err := x.describe(ctx, f, want); err != nil {
		return err
	}
	return x.stream(ctx, http.StatusOK, plain, f.size)
}

// wholeOf is all the content of an object that the upstream has begun to send from
// its start.
func wholeOf(f *found) (io.Reader, error) {
	if f.at.start != 0 || f.at.end != f.at.total {
		return nil, errors.New("the upstream sent a part of an object where all of it was asked for")
	}
	if !f.opener.Multipart() {
		return f.opener.Reader(f.resp.Body, f.size), nil
	}
	storedOff, _ := f.opener.Range(0, f.size, f.size)
	if _, err := io.CopyN(io.Discard, f.resp.Body, storedOff); err != nil {
		return nil, fmt.Errorf("skipping to the first part: %w", err)
	}
	return f.opener.Reader(f.resp.Body, f.size), nil
}

// describe sets the headers of an object. Checksums are of the whole plaintext
// and accompany nothing less.
func (x *exchange) describe(ctx context.Context, f *found, want wanted) error {
	if want.checksums && want.spec == nil {
		sums, err := x.checksumsOf(ctx, f)
		if err != nil {
			return err
		}
		sums.set(x.w.Header())
	}
	x.copyAnswer(f.resp.Header)
	x.setObject(f.opener.KeyARN(), want.customer)
	x.op.Set(audit.KeyARN.String(f.opener.KeyARN()))
	return x.showETag(ctx, f)
}

func contentRange(off, n, size int64) string {
	return fmt.Sprintf("bytes %d-%d/%d", off, off+n-1, size)
}

func isInvalidRange(err error) bool { return hasStatus(err, http.StatusRequestedRangeNotSatisfiable) }

func isPreconditionFailed(err error) bool { return hasStatus(err, http.StatusPreconditionFailed) }

// errOverwritten is not the client's own condition: it may have given none.
var errOverwritten = &s3Error{code: "ServiceUnavailable", status: http.StatusServiceUnavailable, message: "The object changed while it was read. Please try again."}

// fetchBySize learns the size first, for ranges that the upstream says are past
// the end: what it counts are stored bytes, and servers differ on a suffix that
// is longer than the object.
func (x *exchange) fetchBySize(ctx context.Context, want wanted) (*found, error) {
	head, err := x.fetch(ctx, x.readCall(http.MethodHead), want.customer)
	if err != nil {
		return nil, err
	}
	head.close()
	if head.resp.StatusCode == http.StatusNotModified {
		return head, nil
	}
	if !x.ifRange(head.resp.Header) {
		return x.refetch(ctx, head, "", want.customer)
	}
	off, n, ok := want.spec.within(head.size)
	if !ok {
		return nil, invalidRange(head.size)
	}
	if head.foreign != nil {
		return x.refetch(ctx, head, fmt.Sprintf("bytes=%d-%d", off, off+n-1), want.customer)
	}
	if err := x.openTable(ctx, head); err != nil {
		return nil, err
	}
	storedOff, storedLen := head.opener.Range(off, n, head.size)
	f, err := x.refetch(ctx, head, fmt.Sprintf("bytes=%d-%d", storedOff, storedOff+storedLen-1), want.customer)
	if err != nil {
		return nil, err
	}
	f.opener = head.opener
	return f, nil
}

// refetch asks once more, for another part of the very same object.
func (x *exchange) refetch(ctx context.Context, f *found, byteRange string, customer *customerKey) (*found, error) {
	f.close()
	c := f.again(byteRange)
	copyOverrides(c.query, x.query)
	again, err := x.fetch(ctx, c, customer)
	if isPreconditionFailed(err) {
		return f, errOverwritten
	}
	if err != nil {
		return f, err
	}
	if again.resp.StatusCode == http.StatusNotModified || again.header != f.header || again.size != f.size || again.resp.Header.Get("Etag") != f.resp.Header.Get("Etag") {
		again.close()
		return f, errOverwritten
	}
	return again, nil
}

func copyOverrides(dst, src url.Values) {
	for _, name := range overrides {
		if value, ok := src[name]; ok {
			dst[name] = value
		}
	}
}

// piece reads a piece of the stored object that f found, of at most a few MiB,
// without touching what the upstream is sending.
func (x *exchange) piece(ctx context.Context, f *found, off, n int64) ([]byte, error) {
	body, err := x.openPiece(ctx, f, off, n)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	b := make([]byte, n)
	if _, err := io.ReadFull(body, b); err != nil {
		return nil, fmt.Errorf("reading a piece of an object: %w", err)
	}
	return b, nil
}

// openPiece begins to read a piece of the stored object that f found.
func (x *exchange) openPiece(ctx context.Context, f *found, off, n int64) (io.ReadCloser, error) {
	resp, err := x.g.upstream.do(ctx, f.again(fmt.Sprintf("bytes=%d-%d", off, off+n-1)))
	if isPreconditionFailed(err) {
		return nil, errOverwritten
	}
	if err != nil {
		return nil, err
	}
	at, err := extentOf(resp)
	if err == nil && (at.start != off || at.end != off+n || at.total != f.at.total) {
		err = errors.New("the upstream does not serve the range asked for")
	}
	if err != nil {
		resp.Body.Close()
		return nil, err
	}
	return resp.Body, nil
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
	switch {
	case x.shownETag != "":
		x.w.Header().Set("Etag", x.shownETag)
	case x.g.md5:
		x.w.Header().Del("Etag") // it is the store's, and the answer does not tell the client's
	}
	if err := x.done(http.StatusNotModified); err != nil {
		return err
	}
	x.writeHeader(http.StatusNotModified)
	return nil
}
