// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/errgroup"

	"github.com/sidekey/sidekey/proxy/envelope"
)

// sizes remembers the sizes of objects in buckets where some are sealed and some are
// not. What stands in a listing does not tell them apart.
type sizes struct{ cache *lru.Cache[sizeKey, int64] }

type sizeKey struct{ bucket, key, version, etag, stored string }

func newSizes() (*sizes, error) {
	cache, err := lru.New[sizeKey, int64](16384)
	return &sizes{cache: cache}, err
}

// lookers is how many objects of a page are looked at at once.
const lookers = 16

// fill sets the sizes of items, by a HEAD for each that is not known.
func (s *sizes) fill(ctx context.Context, x *exchange, items []*listingItem) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(lookers)
	for _, item := range items {
		key := sizeKey{x.bucket, item.key, item.versionID, item.etag, item.sizeText}
		if size, ok := s.cache.Get(key); ok {
			item.newSize = strconv.FormatInt(size, 10)
			continue
		}
		group.Go(func() error {
			size, ok, err := x.lookAt(ctx, item)
			if ok {
				s.cache.Add(key, size)
				item.newSize = strconv.FormatInt(size, 10)
			}
			return err
		})
	}
	return group.Wait()
}

// lookAt finds out the size of one object. One that is gone, or cannot be looked at,
// keeps the size it is listed with.
func (x *exchange) lookAt(ctx context.Context, item *listingItem) (size int64, ok bool, err error) {
	c := call{method: http.MethodHead, bucket: x.bucket, key: item.key}
	if item.versionID != "" {
		c.query = url.Values{"versionId": {item.versionID}}
	}
	resp, err := x.g.upstream.do(ctx, c)
	if err != nil {
		return 0, false, ctx.Err()
	}
	defer resp.Body.Close()
	text, err := sealed(resp.Header)
	if err != nil || text == "" {
		return resp.ContentLength, err == nil, nil
	}
	header, err := envelope.ParseHeader(text)
	if err != nil {
		return 0, false, nil
	}
	size, err = header.Suite.PlainSize(resp.ContentLength)
	return size, err == nil, nil
}
