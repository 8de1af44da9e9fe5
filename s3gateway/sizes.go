// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/errgroup"

	"github.com/sidekey/sidekey/proxy/envelope"
)

// sizes remembers the sizes of objects in buckets where some are sealed and some are
// not, and the ETags of objects where they are MD5s. What stands in a listing does not
// tell either.
type sizes struct{ cache *lru.Cache[sizeKey, shown] }

// shown is what a listing shows of an object.
type shown struct {
	size int64
	etag string // with quotation marks
}

type sizeKey struct{ bucket, key, version, etag, stored string }

func newSizes() (*sizes, error) {
	cache, err := lru.New[sizeKey, shown](16384)
	return &sizes{cache: cache}, err
}

// lookers is how many objects of a page are shown at at once.
const lookers = 16

// fill sets the sizes of items, by a HEAD for each that is not known.
func (s *sizes) fill(ctx context.Context, x *exchange, items []*listingItem) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(lookers)
	for _, item := range items {
		key := sizeKey{x.bucket, item.key, item.versionID, item.etag, item.sizeText}
		if l, ok := s.cache.Get(key); ok {
			item.learn(l)
			continue
		}
		group.Go(func() error {
			l, ok, err := x.lookAt(ctx, item)
			if ok {
				s.cache.Add(key, l)
				item.learn(l)
			}
			return err
		})
	}
	return group.Wait()
}

// learn takes what was found out over into the listing.
func (i *listingItem) learn(l shown) {
	i.newSize = strconv.FormatInt(l.size, 10)
	if l.etag != quoted(strings.Trim(i.etag, `"`)) {
		i.newETag = l.etag
	}
}

// lookAt finds out the size and the ETag of one object. One that is gone, or cannot be
// shown at, keeps those it is listed with.
func (x *exchange) lookAt(ctx context.Context, item *listingItem) (l shown, ok bool, err error) {
	c := call{method: http.MethodHead, bucket: x.bucket, key: item.key, query: url.Values{}}
	if item.versionID != "" {
		c.query.Set("versionId", item.versionID)
	}
	resp, err := x.g.upstream.do(ctx, c)
	if err != nil {
		return l, false, ctx.Err()
	}
	defer resp.Body.Close()
	f := &found{bucket: x.bucket, key: item.key, call: c, resp: resp}
	l.etag = quoted(resp.Header.Get("Etag"))
	f.at = extent{end: resp.ContentLength, total: resp.ContentLength}
	if f.header, err = sealed(resp.Header); err != nil {
		return l, false, nil
	}
	if f.header == "" {
		f.foreign, f.size = &foreignObject{}, resp.ContentLength
		if x.openClient(ctx, f) != nil {
			f.size = resp.ContentLength // it cannot be read
		}
		l.size = f.size
		return l, true, nil
	}
	header, err := envelope.ParseHeader(f.header)
	if err != nil {
		return l, false, nil
	}
	if l.size, err = header.Suite.PlainSize(resp.ContentLength); err != nil {
		return l, false, nil
	}
	if x.g.md5 && !header.HasCustomerKey {
		l.etag, err = x.plainETag(ctx, f)
	}
	return l, err == nil, err
}
