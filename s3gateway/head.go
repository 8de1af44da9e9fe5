// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/proxy/envelope"
)

// headObject answers from stored lengths and the header, without a key unless
// checksums, a part or a customer key are asked for, which are encrypted.
func headObject(ctx context.Context, x *exchange) error {
	want, err := x.wanted()
	if err != nil {
		return err
	}
	c := x.readCall(http.MethodHead)
	resp, err := x.g.upstream.do(ctx, c)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotModified {
		return x.notModified(resp)
	}
	f := &found{bucket: x.bucket, key: x.key, call: c, resp: resp}
	if err := x.look(ctx, f, want); err != nil {
		return err
	}
	if want.part > 0 {
		return x.headPart(ctx, f, want)
	}
	status, off, n := http.StatusOK, int64(0), f.size
	if want.spec != nil && x.ifRange(resp.Header) {
		var ok bool
		if off, n, ok = want.spec.within(f.size); !ok {
			return invalidRange(f.size)
		}
		status = http.StatusPartialContent
		x.w.Header().Set("Content-Range", contentRange(off, n, f.size))
	}
	if want.checksums && want.spec == nil && f.opener != nil {
		sums, err := x.checksumsOf(ctx, f)
		if err != nil {
			return err
		}
		sums.set(x.w.Header())
	}
	return x.sendHead(ctx, f, want, status, n)
}

// sendHead ends the answer to a HEAD.
func (x *exchange) sendHead(ctx context.Context, f *found, want wanted, status int, n int64) error {
	x.copyAnswer(f.resp.Header)
	if f.foreign == nil {
		x.setObject(f.keyARN, want.customer)
		x.op.Set(audit.KeyARN.String(f.keyARN))
	}
	if err := x.showETag(ctx, f); err != nil {
		return err
	}
	x.w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	if err := x.done(status); err != nil {
		return err
	}
	x.writeHeader(status)
	return nil
}

// look reads what the answer to a HEAD says, and opens the header only if that is
// not enough.
func (x *exchange) look(ctx context.Context, f *found, want wanted) (err error) {
	if want.checksums || want.part > 0 || want.customer != nil {
		if err := x.open(ctx, f, want.customer); err != nil {
			return err
		}
		if f.opener != nil {
			f.keyARN = f.opener.KeyARN()
		}
		return nil
	}
	if f.at, err = extentOf(f.resp); err != nil {
		return err
	}
	if f.header, err = sealed(f.resp.Header); err != nil {
		return err
	}
	if f.header == "" {
		return x.openForeign(ctx, f)
	}
	header, err := envelope.ParseHeader(f.header)
	if err != nil {
		return err
	}
	if header.HasCustomerKey {
		return errCustomerKeyMissing
	}
	f.keyARN = header.KeyARN
	f.size, err = header.Suite.PlainSize(f.at.total)
	return err
}

// headPart answers for one part of an opened object.
func (x *exchange) headPart(ctx context.Context, f *found, want wanted) error {
	if f.foreign != nil {
		return notImplemented("HeadObject", "the query parameter partNumber of an object that is not sealed")
	}
	if err := x.openTable(ctx, f); err != nil {
		return err
	}
	off, n, err := x.partOf(f, want)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if n > 0 {
		status = http.StatusPartialContent
		x.w.Header().Set("Content-Range", contentRange(off, n, f.size))
	}
	return x.sendHead(ctx, f, want, status, n)
}

// getPart answers with one part, of which the position is in the part table.
func (x *exchange) getPart(ctx context.Context, want wanted) error {
	head, err := x.fetch(ctx, x.readCall(http.MethodHead), want.customer)
	if err != nil {
		return err
	}
	head.close()
	if head.resp.StatusCode == http.StatusNotModified {
		return x.notModified(head.resp)
	}
	if head.foreign != nil {
		return notImplemented("GetObject", "the query parameter partNumber of an object that is not sealed")
	}
	if err := x.openTable(ctx, head); err != nil {
		return err
	}
	off, n, err := x.partOf(head, want)
	if err != nil {
		return err
	}
	f := head
	if n > 0 {
		storedOff, storedLen := head.opener.Range(off, n, head.size)
		if f, err = x.refetch(ctx, head, fmt.Sprintf("bytes=%d-%d", storedOff, storedOff+storedLen-1), want.customer); err != nil {
			return err
		}
		defer func() { f.close() }()
		f.opener = head.opener
		want.spec = &rangeSpec{} // checksums of the whole do not go with it
		return x.sendRange(ctx, f, want, off, n)
	}
	if err := x.describe(ctx, f, want); err != nil {
		return err
	}
	return x.stream(ctx, http.StatusOK, http.NoBody, 0)
}

// partOf finds the part that the client names and sets the headers of it. An object
// that was put in one piece has one part.
func (x *exchange) partOf(f *found, want wanted) (off, n int64, err error) {
	notThere := &s3Error{code: "InvalidPartNumber", status: http.StatusRequestedRangeNotSatisfiable, message: "The requested partnumber is not satisfiable"}
	table := f.opener.Table()
	if table == nil {
		if want.part > 1 {
			return 0, 0, notThere
		}
		return 0, f.size, nil
	}
	for i := range table.Parts {
		part := &table.Parts[i]
		if part.Number == want.part {
			x.w.Header().Set("X-Amz-Mp-Parts-Count", strconv.Itoa(len(table.Parts)))
			if want.checksums {
				setPartChecksum(x.w.Header(), table, part)
			}
			return off, part.Size, nil
		}
		off += part.Size
	}
	return 0, 0, notThere
}
