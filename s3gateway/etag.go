// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/sidekey/sidekey/proxy/envelope"
)

// What ETags are: those of the store, which are opaque to clients and cost nothing, or
// the MD5 of the plaintext, for clients that insist, which is kept encrypted with the
// object.
const (
	etagStore = "store"
	etagMD5   = "md5"
)

// md5Name is the entry of a header or footer with the MD5 of the content.
const md5Name = "MD5"

// plainETag is the ETag of the object that a client sees, with quotation marks.
// An object without an MD5 of its own has the store's.
func (x *exchange) plainETag(ctx context.Context, f *found) (string, error) {
	stored := quoted(f.resp.Header.Get("Etag"))
	if !x.g.md5 || f.header == "" {
		return stored, nil
	}
	if f.opener == nil {
		h, err := envelope.ParseHeader(f.header)
		if err != nil {
			return "", err
		}
		if h.HasCustomerKey && h.Suite != envelope.MultipartSuite {
			return stored, nil // its MD5 is under the customer's key, too
		}
		if f.opener, err = x.g.cipher.OpenTables(ctx, f.bucket, f.key, f.header); err != nil {
			return "", err
		}
		if f.size, err = f.opener.PlainSize(f.at.total); err != nil {
			return "", err
		}
	}
	if f.opener.Multipart() {
		if err := x.openTable(ctx, f); err != nil {
			return "", err
		}
		return tableETag(f.opener.Table(), stored), nil
	}
	entries, err := x.entriesOf(ctx, f)
	if err != nil {
		return "", err
	}
	sum, err := base64.StdEncoding.DecodeString(entries[md5Name])
	if err != nil || len(sum) != md5.Size {
		return stored, nil
	}
	return quoted(hex.EncodeToString(sum)), nil
}

// tableETag is what S3 makes of the MD5s of parts.
func tableETag(t *envelope.Table, stored string) string {
	if len(t.MD5) == 0 {
		return stored
	}
	return quoted(hex.EncodeToString(t.MD5) + "-" + strconv.Itoa(len(t.Parts)))
}

// wholeMD5 is the MD5 of the parts' MD5s; nil if a part has none.
func wholeMD5(t *envelope.Table) []byte {
	all := md5.New()
	for i := range t.Parts {
		if len(t.Parts[i].MD5) == 0 {
			return nil
		}
		all.Write(t.Parts[i].MD5)
	}
	return all.Sum(nil)
}

// partETag is the ETag of a part that a client sees. It is never the store's: a store
// that gave two parts of one number the same could have the older completed in place of
// the newer. FORMAT.md [U4].
func (x *exchange) partETag(r *envelope.PartRecord) string {
	if x.g.md5 && len(r.MD5) > 0 {
		return quoted(hex.EncodeToString(r.MD5))
	}
	return quoted(envelope.PartETag(r.Salt))
}

// namesPart says that a client means that part by an ETag. What has the MD5 is the
// content that the client sent, in whichever sending; nothing else has the salt.
func namesPart(etag string, salt [24]byte, sum []byte) bool {
	etag = strings.Trim(etag, `"`)
	return etag == envelope.PartETag(salt) || len(sum) > 0 && etag == hex.EncodeToString(sum)
}

// putETag is the ETag of an object that was just stored.
func (x *exchange) putETag(src *source, stored string) string {
	if sum := src.digests.md5Sum(); x.g.md5 && len(sum) > 0 {
		return quoted(hex.EncodeToString(sum))
	}
	return quoted(stored)
}

// showETag puts the client's ETag into the place of the store's.
func (x *exchange) showETag(ctx context.Context, f *found) error {
	if !x.g.md5 || x.w.Header().Get("Etag") == "" {
		return nil
	}
	etag, err := x.plainETag(ctx, f)
	if err == nil {
		x.w.Header().Set("Etag", etag)
	}
	return err
}

// translateConditions turns the ETags of the client's conditions into those of the
// store, if they are the object's: what the store then compares holds for the very
// object that was looked at.
func (x *exchange) translateConditions(ctx context.Context) error {
	if !x.g.md5 {
		return nil
	}
	var named []string
	for _, name := range []string{"If-Match", "If-None-Match", "If-Range"} {
		if value := x.header.Get(name); value != "" && value != "*" && !(name == "If-Range" && !strings.HasPrefix(value, `"`)) {
			named = append(named, name)
		}
	}
	if len(named) == 0 {
		return nil
	}
	f, err := x.peek(ctx)
	if err != nil || f == nil {
		return err
	}
	etag, err := x.plainETag(ctx, f)
	if err != nil {
		return err
	}
	for _, name := range named {
		if quoted(strings.Trim(x.header.Get(name), `"`)) == etag {
			x.header.Set(name, quoted(f.resp.Header.Get("Etag")))
			x.shownETag = etag
		}
	}
	return nil
}

// peek looks at the object of the request; nil if there is none.
func (x *exchange) peek(ctx context.Context) (*found, error) {
	c := call{method: http.MethodHead, bucket: x.bucket, key: x.key, query: url.Values{}}
	if version := x.query.Get("versionId"); version != "" {
		c.query.Set("versionId", version)
	}
	resp, err := x.g.upstream.do(ctx, c)
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	resp.Body.Close()
	f := &found{bucket: x.bucket, key: x.key, call: c, resp: resp}
	if f.at, err = extentOf(resp); err != nil {
		return nil, err
	}
	f.header, err = sealed(resp.Header)
	return f, err
}
