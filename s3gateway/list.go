// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// list passes a page of a listing on, with the sizes of the plaintext and without
// the gateway's own objects.
func list(ctx context.Context, x *exchange) error {
	c := x.forwardCall()
	for {
		resp, page, err := x.listPage(ctx, c)
		if err != nil {
			return err
		}
		if next := page.next(); next != nil {
			// All of the page is hidden: a client would see an empty one.
			for name, values := range next {
				c.query[name] = values
			}
			continue
		}
		if err := x.sizePage(ctx, page); err != nil {
			return err
		}
		text := page.render()
		x.copyAnswer(resp.Header)
		x.w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		if err := x.done(resp.StatusCode); err != nil {
			return err
		}
		x.writeHeader(resp.StatusCode)
		_, err = x.Write(text)
		return err
	}
}

func (x *exchange) listPage(ctx context.Context, c call) (*http.Response, *listingPage, error) {
	resp, err := x.g.upstream.do(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	page, err := readListing(resp.Body)
	return resp, page, err
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
	rule, err := x.g.cipher.ObjectRule(x.bucket, item.key)
	return err == nil && rule.ForeignMode() != "" && rule.ForeignMode() != "refuse"
}

// next is where the listing goes on if all of the page is hidden and more follows;
// else nil.
func (p *listingPage) next() url.Values {
	if p.visible > 0 || p.dropped == 0 || p.value("IsTruncated") != "true" {
		return nil
	}
	next := url.Values{}
	for element, parameter := range map[string]string{
		"NextContinuationToken": "continuation-token", "NextMarker": "marker",
		"NextKeyMarker": "key-marker", "NextVersionIdMarker": "version-id-marker",
	} {
		value := p.value(element)
		if decoded, err := url.QueryUnescape(value); err == nil && p.url && strings.HasSuffix(element, "Marker") && element != "NextVersionIdMarker" {
			value = decoded
		}
		if value != "" {
			next.Set(parameter, value)
		}
	}
	if len(next) == 0 {
		next.Set("marker", p.items[len(p.items)-1].key)
	}
	return next
}
