// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/proxy"
)

// errReadBack is a sealed object that does not hold what was read before.
var errReadBack = errors.New("what was sealed does not read back as what was there")

// verify reads a sealed object back as a client would, and compares it with what was
// read before it was sealed.
func (m *Migrator) verify(ctx context.Context, x *exchange, now *sealedObject) error {
	return m.retrying(ctx, func() error { return m.readBack(ctx, x, now) })
}

func (m *Migrator) readBack(ctx context.Context, x *exchange, now *sealedObject) error {
	f, err := m.fetchSealed(ctx, x, now.etag, now.version)
	if err != nil {
		return err
	}
	defer f.close()
	plain, err := m.opened(ctx, f)
	if err != nil {
		return err
	}
	size := int64(0)
	for _, p := range now.pieces {
		sum := sha256.New()
		if _, err := io.CopyN(sum, plain, p.size); err != nil && p.size > 0 {
			return fmt.Errorf("reading back: %w", err)
		}
		if [sha256.Size]byte(sum.Sum(nil)) != p.sum {
			return errReadBack
		}
		size += p.size
	}
	// The end of the stream is authenticated, too.
	if n, err := io.Copy(io.Discard, plain); err != nil || n > 0 {
		return errors.Join(errReadBack, err)
	}
	m.tally.verified(size)
	return nil
}

// verifySealed opens an object that was sealed before, in full.
func (m *Migrator) verifySealed(ctx context.Context, x *exchange, l *looked) error {
	ctx = m.begin(ctx, x, "VerifyObject")
	return m.end(x, m.openInFull(ctx, x, l))
}

func (m *Migrator) openInFull(ctx context.Context, x *exchange, l *looked) error {
	f, err := m.fetchSealed(ctx, x, l.etag(), l.version)
	if errors.Is(err, proxy.ErrCustomerKey) || errors.Is(err, errCustomerKeyMissing) {
		// Only its client can open it. Its header can be authenticated.
		_, err := m.g.cipher.OpenTables(ctx, x.bucket, x.key, l.found.header)
		return err
	}
	if err != nil {
		return err
	}
	defer f.close()
	x.op.Set(audit.Bytes.Int64(f.size), audit.KeyARN.String(f.opener.KeyARN()))
	plain, err := m.opened(ctx, f)
	if err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, plain)
	if err == nil && n != f.size {
		err = proxy.ErrOpen
	}
	if err != nil {
		return fmt.Errorf("it cannot be opened: %w", err)
	}
	m.tally.verified(n)
	return nil
}

// fetchSealed begins to read one very version of an object, through the gateway's own
// way of opening.
func (m *Migrator) fetchSealed(ctx context.Context, x *exchange, etag, version string) (*found, error) {
	c := call{method: http.MethodGet, bucket: x.bucket, key: x.key, header: http.Header{}, query: url.Values{}}
	if etag != "" {
		c.header.Set("If-Match", quoted(etag))
	}
	if version != "" {
		c.query.Set("versionId", version)
	}
	f, err := x.fetch(ctx, c, nil)
	if errors.Is(err, errNotSealed) {
		return nil, errors.Join(errChanged, err) // a client wrote past the gateway
	}
	if err != nil {
		return nil, asChanged(notThere(err))
	}
	if f.opener == nil {
		f.close()
		return nil, fmt.Errorf("%w: %w", errChanged, errNotSealed)
	}
	if err := x.openTable(ctx, f); err != nil {
		f.close()
		return nil, asChanged(err)
	}
	return f, nil
}

// opened is the content of a sealed object, at the rate that is allowed.
func (m *Migrator) opened(ctx context.Context, f *found) (io.Reader, error) {
	f.resp.Body = limitedBody{&plainReader{ctx: ctx, body: f.resp.Body, limit: m.limit}, f.resp.Body}
	return wholeOf(f)
}

type limitedBody struct {
	io.Reader
	io.Closer
}

// plaintextVersions are the versions of an object that are older than the one named
// and not sealed.
func (m *Migrator) plaintextVersions(ctx context.Context, x *exchange, newest string) ([]objectVersion, error) {
	all, err := m.versionsOf(ctx, x)
	if err != nil {
		return nil, fmt.Errorf("listing its versions: %w", err)
	}
	// The newest come first. Without the one named nothing is older.
	at := slices.IndexFunc(all, func(v objectVersion) bool { return v.VersionID == newest })
	if at < 0 {
		return nil, nil
	}
	var old []objectVersion
	for _, v := range all[at+1:] {
		plain, err := m.isPlaintext(ctx, x, v.VersionID)
		if err != nil {
			return nil, fmt.Errorf("version %s: %w", v.VersionID, err)
		}
		if plain {
			old = append(old, v)
		}
	}
	return old, nil
}

// versionsOf lists the versions of an object, without delete markers.
func (m *Migrator) versionsOf(ctx context.Context, x *exchange) ([]objectVersion, error) {
	var all []objectVersion
	query := url.Values{"versions": {""}, "prefix": {x.key}, "max-keys": {"1000"}, "encoding-type": {"url"}}
	for {
		var page struct {
			versionsPage
			EncodingType string
		}
		if err := m.g.ask(ctx, call{method: http.MethodGet, bucket: x.bucket, query: query}, &page); err != nil {
			return nil, err
		}
		for _, v := range page.Version {
			var err error
			if page.EncodingType == "url" {
				if v.Key, err = url.QueryUnescape(v.Key); err != nil {
					return nil, err
				}
			}
			if v.Key > x.key {
				return all, nil // names that this one begins
			}
			all = append(all, v)
		}
		if !page.IsTruncated || page.NextKeyMarker == "" {
			return all, nil
		}
		marker := page.NextKeyMarker
		if page.EncodingType == "url" {
			var err error
			if marker, err = url.QueryUnescape(marker); err != nil {
				return nil, err
			}
		}
		query.Set("key-marker", marker)
		query.Set("version-id-marker", page.NextVersionIDMarker)
	}
}

func (m *Migrator) isPlaintext(ctx context.Context, x *exchange, version string) (bool, error) {
	resp, err := m.g.upstream.do(ctx, call{method: http.MethodHead, bucket: x.bucket, key: x.key, query: url.Values{"versionId": {version}}})
	if isNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	resp.Body.Close()
	header, err := sealed(resp.Header)
	return header == "", err
}

// deleteVersions deletes versions for good, each on record.
func (m *Migrator) deleteVersions(ctx context.Context, x *exchange, old []objectVersion) error {
	for _, v := range old {
		at := m.exchange(x.key)
		opCtx := m.begin(ctx, at, "DeletePlaintextVersion")
		at.op.Set(audit.S3VersionID.String(v.VersionID))
		if err := m.end(at, m.deleteVersion(opCtx, at, v.VersionID)); err != nil {
			return fmt.Errorf("it is sealed, and its version %s keeps the plaintext: %w", v.VersionID, err)
		}
		m.tally.deletedVersion()
	}
	return nil
}

func (m *Migrator) deleteVersion(ctx context.Context, x *exchange, version string) error {
	if err := x.op.Durable(ctx); err != nil {
		return err
	}
	resp, err := m.g.upstream.do(ctx, call{method: http.MethodDelete, bucket: x.bucket, key: x.key, query: url.Values{"versionId": {version}}})
	if err != nil {
		return err
	}
	drain(resp.Body)
	return nil
}
