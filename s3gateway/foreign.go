// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/proxy"
	"github.com/sidekey/sidekey/proxy/s3ec"
)

// foreignObject is an object that was not stored through a gateway, as the rule of its
// bucket allows it to be read: plaintext, or one of the Amazon S3 Encryption Client.
type foreignObject struct {
	client *s3ec.Envelope // nil for plaintext
}

// foreignMode is what the rule of an object says of objects that are not sealed.
func (x *exchange) foreignMode(bucket, key string) (string, error) {
	rule, err := x.g.cipher.ObjectRule(bucket, key)
	if errors.Is(err, proxy.ErrNoRule) {
		return proxy.ForeignRefuse, nil
	}
	return rule.ForeignMode(), err
}

// openForeign takes an object without a sidekey header, or refuses it.
func (x *exchange) openForeign(ctx context.Context, f *found) error {
	mode, err := x.foreignMode(f.bucket, f.key)
	if err != nil {
		return err
	}
	if mode == proxy.ForeignRefuse {
		return errNotSealed
	}
	f.foreign, f.size = &foreignObject{}, f.at.total
	x.op.Set(audit.Foreign.Bool(true))
	return x.openClient(ctx, f)
}

// sendForeign passes an object on that is stored as it is.
func (x *exchange) sendForeign(ctx context.Context, f *found, want wanted) error {
	off, n, status := int64(0), f.size, http.StatusOK
	if want.customer != nil {
		return errCustomerKeyUnasked
	}
	if want.spec != nil {
		var ok bool
		if off, n, ok = want.spec.within(f.size); !ok {
			return invalidRange(f.size)
		}
		status = http.StatusPartialContent
	}
	if f.foreign.client != nil {
		return x.sendClient(ctx, f, off, n, status)
	}
	if off < f.at.start || off+n > f.at.end {
		again, err := x.refetch(ctx, f, fmt.Sprintf("bytes=%d-%d", off, off+n-1), nil)
		if err != nil {
			return err
		}
		*f = *again
	}
	if _, err := io.CopyN(io.Discard, f.resp.Body, off-f.at.start); err != nil {
		return fmt.Errorf("skipping to the range: %w", err)
	}
	x.copyAnswer(f.resp.Header)
	x.setContent()
	if status == http.StatusPartialContent {
		x.w.Header().Set("Content-Range", contentRange(off, n, f.size))
	}
	x.op.Set(audit.Bytes.Int64(n))
	if err := x.done(status); err != nil {
		return err
	}
	x.w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	x.writeHeader(status)
	if copied, err := io.Copy(x, io.LimitReader(f.resp.Body, n)); err != nil || copied != n {
		return fmt.Errorf("passing on an object: %d of %d bytes: %w", copied, n, errors.Join(err, io.ErrUnexpectedEOF))
	}
	return nil
}
