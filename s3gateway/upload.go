// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/proxy"
	"github.com/sidekey/sidekey/proxy/envelope"
)

// upload is a multipart upload that runs. What the gateway has to know of it lies in
// hidden objects of the same bucket, so that any replica serves any call of it:
//
//	~sidekey/uploads/ID/upload          metadata: the object's header; the store's
//	                                    upload ID, a line end, and the object's name
//	~sidekey/uploads/ID/NNNNN-RECORD    empty; a part, sealed in its name
//	~sidekey/uploads/ID/held-NAME       the content of a part that is held back
//
// ID is of the store's upload ID, which is the client's with a mark of the header at its
// end: a store cannot give the upload another header. A part is held back if only the last part may be
// like it: smaller than 5 MiB, or number 10000. Its content is sent to the store's
// upload when that is completed, together with the part table, which has to end the
// object and may not be a part behind a small one.
type upload struct {
	id     string   // the store's
	sum    [32]byte // of it
	header string
	opener *proxy.ObjectOpener
	// What the client said of checksums when it began the upload.
	algorithm string // upper case, "" for none
	kind      string // FULL_OBJECT or COMPOSITE
}

const uploadsPrefix = hiddenPrefix + "uploads/"

func sumOf(id string) [32]byte { return sha256.Sum256([]byte(id)) }

func uploadPrefix(sum [32]byte) string { return uploadsPrefix + hex.EncodeToString(sum[:16]) + "/" }

func (u *upload) prefix() string { return uploadPrefix(u.sum) }

// uploadOf is an upload of which the store's ID is known.
func uploadOf(id string) *upload { return &upload{id: id, sum: sumOf(id)} }

// clientID is the upload ID for clients. FORMAT.md [U5].
func (u *upload) clientID() string { return u.id + "~" + envelope.UploadMark(u.header) }

// storeID is the store's part of a client's upload ID.
func storeID(clientID string) string {
	if at := strings.LastIndexByte(clientID, '~'); at >= 0 {
		return clientID[:at]
	}
	return clientID
}

var errNoSuchUpload = &s3Error{
	code: "NoSuchUpload", status: http.StatusNotFound,
	message: "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.",
}

func isNotFound(err error) bool { return hasStatus(err, http.StatusNotFound) }

// upload finds a running upload of the object that the request names, to seal parts
// of it.
func (x *exchange) upload(ctx context.Context, customer *customerKey) (*upload, error) {
	return x.findUpload(ctx, func(header string) (*proxy.ObjectOpener, error) {
		opener, err := x.g.cipher.OpenObject(ctx, x.bucket, x.key, header, customer.bytes())
		return opener, customerError(err, customer, header)
	})
}

// uploadTables finds a running upload, to list and to complete it.
func (x *exchange) uploadTables(ctx context.Context) (*upload, error) {
	return x.findUpload(ctx, func(header string) (*proxy.ObjectOpener, error) {
		return x.g.cipher.OpenTables(ctx, x.bucket, x.key, header)
	})
}

func (x *exchange) findUpload(ctx context.Context, open func(header string) (*proxy.ObjectOpener, error)) (*upload, error) {
	id := x.query.Get("uploadId")
	u := uploadOf(storeID(id))
	if u.id == "" {
		return nil, errNoSuchUpload
	}
	x.op.Set(audit.S3UploadID.String(u.id))
	var known bool
	if u.header, known = x.g.uploads.Get(x.bucket + "/" + u.id); !known || u.clientID() != id {
		if err := x.fetchHeader(ctx, u); err != nil {
			return nil, err
		}
	}
	if u.clientID() != id {
		return nil, errNoSuchUpload
	}
	var err error
	u.opener, err = open(u.header)
	if errors.Is(err, proxy.ErrOpen) || errors.Is(err, proxy.ErrFormat) {
		return nil, errNoSuchUpload // it is one of another object
	}
	if err != nil {
		return nil, err
	}
	u.algorithm, u.kind, _ = strings.Cut(u.opener.Checksums()[envelope.TypeName], " ")
	x.op.Set(audit.KeyARN.String(u.opener.KeyARN()))
	return u, nil
}

// fetchHeader has the store give the header of an upload, and remembers it.
func (x *exchange) fetchHeader(ctx context.Context, u *upload) error {
	resp, err := x.g.upstream.do(ctx, call{method: http.MethodHead, bucket: x.bucket, key: u.prefix() + "upload"})
	if isNotFound(err) {
		return errNoSuchUpload
	}
	if err != nil {
		return err
	}
	resp.Body.Close()
	if u.header, err = sealed(resp.Header); err != nil {
		return err
	}
	x.g.uploads.Add(x.bucket+"/"+u.id, u.header)
	return nil
}

// partNumber reads the number of a part from the query.
func (x *exchange) partNumber() (int, error) {
	n, err := strconv.Atoi(x.query.Get("partNumber"))
	if err != nil || n < 1 || n > envelope.MaxParts {
		return 0, invalidArgument("Part number must be an integer between 1 and 10000, inclusive")
	}
	x.op.Set(audit.S3PartNumber.Int(n))
	return n, nil
}

// part is a part as its record describes it.
type part struct {
	envelope.PartRecord
	number       int
	recorded     string // when, as the store says
	storedETag   string // at the store, of a part that was chosen to be completed
	heldModified string // of a part that is held back
}

// heldKey names the object that holds the part.
func (u *upload) heldKey(name []byte) string { return u.prefix() + "held-" + hex.EncodeToString(name) }

// parts reads the records of an upload. A part that was sent more than once has
// several, in no order.
func (x *exchange) parts(ctx context.Context, u *upload) (map[int][]part, error) {
	entries, err := x.g.listHidden(ctx, x.bucket, u.prefix())
	if err != nil {
		return nil, err
	}
	held := map[string]entry{}
	for _, e := range entries {
		if strings.HasPrefix(e.Key, u.prefix()+"held-") {
			held[e.Key] = e
		}
	}
	all := map[int][]part{}
	for _, e := range entries {
		number, record, ok := strings.Cut(strings.TrimPrefix(e.Key, u.prefix()), "-")
		n, err := strconv.Atoi(number)
		if !ok || err != nil {
			continue
		}
		r, err := u.opener.OpenPartRecord(u.sum, n, record)
		if err != nil {
			return nil, fmt.Errorf("the record of part %d: %w", n, err)
		}
		p := part{PartRecord: *r, number: n, recorded: e.LastModified}
		if len(r.Held) > 0 {
			object, ok := held[u.heldKey(r.Held)]
			if !ok {
				continue // removed since
			}
			p.heldModified = object.LastModified
		}
		all[n] = append(all[n], p)
	}
	return all, nil
}

// etagSum is how a record names the store's ETag of its part.
func etagSum(etag string) [16]byte {
	sum := sha256.Sum256([]byte(strings.Trim(etag, `"`)))
	return [16]byte(sum[:16])
}

// record keeps a part that the store has taken.
func (x *exchange) record(ctx context.Context, u *upload, number int, r *envelope.PartRecord) error {
	text, err := u.opener.SealPartRecord(u.sum, number, r)
	if err != nil {
		return err
	}
	return x.g.putHidden(ctx, x.bucket, fmt.Sprintf("%s%05d-%s", u.prefix(), number, text), nil, nil)
}

// forget removes what the gateway kept of an upload that is over. What it cannot
// remove, such as versions under a lock, is no reason to say that the upload is not.
func (x *exchange) forget(ctx context.Context, u *upload) {
	x.g.uploads.Remove(x.bucket + "/" + u.id)
	if err := x.g.deleteHidden(ctx, x.bucket, u.prefix()); err != nil {
		x.g.log.LogAttrs(ctx, slog.LevelWarn, "leaving behind what was kept of an upload", slog.String("request_id", x.id), slog.Any("error", err))
	}
}

// openHeld begins to read the sealed content of a part that is held back.
func (x *exchange) openHeld(ctx context.Context, u *upload, p *part) (io.ReadCloser, error) {
	resp, err := x.g.upstream.do(ctx, call{method: http.MethodGet, bucket: x.bucket, key: u.heldKey(p.Held)})
	if isNotFound(err) {
		return nil, invalidPart(p.number) // removed since
	}
	if err != nil {
		return nil, err
	}
	if resp.ContentLength != proxy.PartSize(p.Size) {
		resp.Body.Close()
		return nil, fmt.Errorf("part %d is held with %d bytes: %w", p.number, resp.ContentLength, proxy.ErrOpen)
	}
	return resp.Body, nil
}

// query is the query of a call of the store's upload.
func (u *upload) query(number int) url.Values {
	q := url.Values{"uploadId": {u.id}}
	if number > 0 {
		q.Set("partNumber", strconv.Itoa(number))
	}
	return q
}
