// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/sidekey/sidekey/proxy"
)

// list passes a page of a listing on, with the sizes of the plaintext and without
// the gateway's own objects.
func list(ctx context.Context, x *exchange) error {
	c := x.forwardCall()
	resp, page, err := x.listPage(ctx, c)
	if err != nil {
		return err
	}
	if page.allHidden() {
		skipHidden(c.query)
		if resp, page, err = x.listPage(ctx, c); err != nil {
			return err
		}
	}
	if err := x.sizePage(ctx, page); err != nil {
		return err
	}
	return x.sendPage(resp, page)
}

// sendPage sends a page with what has changed.
func (x *exchange) sendPage(resp *http.Response, page *listingPage) error {
	text := page.render()
	x.copyAnswer(resp.Header)
	x.w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	if err := x.done(resp.StatusCode); err != nil {
		return err
	}
	x.writeHeader(resp.StatusCode)
	_, err := x.Write(text)
	return err
}

func (x *exchange) listPage(ctx context.Context, c call) (*http.Response, *listingPage, error) {
	resp, err := x.g.upstream.do(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	page, err := readListing(resp.Body)
	if err != nil {
		return nil, nil, err
	}
	return resp, page, x.hidePrefixes(ctx, page)
}

// empty passes on an answer without a body.
func (x *exchange) empty(resp *http.Response) error {
	x.copyAnswer(resp.Header)
	if err := x.done(resp.StatusCode); err != nil {
		return err
	}
	x.writeHeader(resp.StatusCode)
	return nil
}

// sizePage puts the sizes of the plaintext in the place of those of what is stored.
func (x *exchange) sizePage(ctx context.Context, page *listingPage) error {
	var unknown []*listingItem
	for i := range page.items {
		item := &page.items[i]
		if item.hidden || item.size == (span{}) {
			continue
		}
		if !x.g.md5 && !x.mixed(item) {
			item.plainSize()
			continue
		}
		unknown = append(unknown, item)
	}
	return x.g.sizes.fill(ctx, x, unknown)
}

// mixed says that the rule of an object allows for objects that are not sealed.
func (x *exchange) mixed(item *listingItem) bool {
	mode, err := x.foreignMode(x.bucket, item.key)
	return err == nil && mode != proxy.ForeignRefuse
}

// hidePrefixes hides common prefixes that are the beginning of the hidden one, if nothing
// else begins with them.
func (x *exchange) hidePrefixes(ctx context.Context, page *listingPage) error {
	for i := range page.items {
		item := &page.items[i]
		if item.kind != "CommonPrefixes" || item.hidden || !strings.HasPrefix(hiddenPrefix, item.key) {
			continue
		}
		only, err := x.onlyHidden(ctx, item.key, x.query.Has("versions"))
		if err != nil {
			return err
		}
		if only {
			page.hide(item)
		}
	}
	return nil
}

// allHidden says that a client would see an empty page, and more follows.
func (p *listingPage) allHidden() bool {
	return p.visible == 0 && p.dropped > 0 && p.value("IsTruncated") == "true"
}

// skipHidden has a listing go on behind all hidden objects: of pages of a few keys there
// may be thousands.
func skipHidden(query url.Values) {
	switch {
	case query.Has("versions"):
		query.Set("key-marker", behindHidden)
		query.Del("version-id-marker")
	case query.Has("list-type"):
		query.Set("start-after", behindHidden)
		query.Del("continuation-token")
	default:
		query.Set("marker", behindHidden)
	}
}
