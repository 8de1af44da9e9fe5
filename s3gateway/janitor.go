// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// sweepEvery is how often a gateway looks for what was left of uploads in a bucket.
	sweepEvery = time.Hour
	// sweepAge is how old something must be to be looked at.
	sweepAge = 24 * time.Hour
	// sweepTime bounds one look.
	sweepTime = 5 * time.Minute
)

// sweepLater removes, in the background, what is kept of uploads that are over and did
// not end through a gateway: those that a lifecycle rule of the store aborted.
func (g *Gateway) sweepLater(ctx context.Context, bucket string) {
	if known, ok := g.swept.Get(bucket); ok && time.Since(known) < sweepEvery {
		return
	}
	g.swept.Add(bucket, time.Now())
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sweepTime)
		defer cancel()
		if err := g.sweep(ctx, bucket, time.Now().Add(-sweepAge)); err != nil {
			g.log.LogAttrs(ctx, slog.LevelWarn, "looking for what was left of uploads", slog.String("bucket", bucket), slog.Any("error", err))
		}
	}()
}

// sweep removes what is kept of uploads that are over and whose last trace is from
// before that time.
func (g *Gateway) sweep(ctx context.Context, bucket string, before time.Time) error {
	entries, err := g.listHidden(ctx, bucket, uploadsPrefix)
	if err != nil {
		return err
	}
	latest := map[string]time.Time{}
	for _, e := range entries {
		id, _, _ := strings.Cut(strings.TrimPrefix(e.Key, uploadsPrefix), "/")
		at, err := time.Parse(time.RFC3339, e.LastModified)
		if err == nil && at.After(latest[id]) {
			latest[id] = at
		}
	}
	for id, at := range latest {
		prefix := uploadsPrefix + id + "/"
		if !at.Before(before) || g.uploadRuns(ctx, bucket, prefix) {
			continue
		}
		if err := g.deleteHidden(ctx, bucket, prefix); err != nil {
			return err
		}
	}
	return nil
}

// uploadRuns says that the store still has the upload, or may have it.
func (g *Gateway) uploadRuns(ctx context.Context, bucket, prefix string) bool {
	resp, err := g.upstream.do(ctx, call{method: http.MethodGet, bucket: bucket, key: prefix + "upload"})
	if err != nil {
		return !isNotFound(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 8<<10))
	id, key, ok := strings.Cut(string(text), "\n")
	if err != nil || !ok || uploadPrefix(sumOf(id)) != prefix {
		return true
	}
	var parts listedParts
	query := url.Values{"uploadId": {id}, "max-parts": {"1"}}
	return !isNotFound(g.ask(ctx, call{method: http.MethodGet, bucket: bucket, key: key, query: query}, &parts))
}
