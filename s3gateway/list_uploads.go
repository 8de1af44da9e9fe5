// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"
)

// listUploads passes a page of ListMultipartUploads on, with the upload IDs of the
// clients.
func listUploads(ctx context.Context, x *exchange) error {
	c := x.forwardCall()
	if marker := x.query.Get("upload-id-marker"); marker != "" {
		c.query["upload-id-marker"] = []string{storeID(marker)}
	}
	resp, err := x.g.upstream.do(ctx, c)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	page, err := readListing(resp.Body)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(lookers)
	for i := range page.items {
		if item := &page.items[i]; item.uploadID != "" {
			group.Go(func() error { return x.markUpload(ctx, item) })
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return x.sendPage(resp, page)
}

// markUpload gives an upload the ID that its client has. One of which the gateway
// kept nothing is not of the gateway's clients, and keeps the ID that it has.
func (x *exchange) markUpload(ctx context.Context, item *listingItem) error {
	u := uploadOf(item.uploadID)
	var known bool
	if u.header, known = x.g.uploads.Get(x.bucket + "/" + u.id); !known {
		err := x.fetchHeader(ctx, u)
		if errors.Is(err, errNoSuchUpload) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	item.newID = u.clientID()
	return nil
}
