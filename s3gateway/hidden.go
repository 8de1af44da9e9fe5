// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
)

// hiddenPrefix begins the names of the gateway's own objects, which no client sees:
// what it knows of running uploads, and the default encryption of the bucket. It
// sorts after all names in ASCII, so that listings meet it last.
const hiddenPrefix = "~sidekey/"

func hidden(key string) bool { return strings.HasPrefix(key, hiddenPrefix) }

// namesHidden says that a name is that of a hidden object, or is one to a store that
// cleans names as paths: to MinIO, "/~sidekey/x" is "~sidekey/x".
func namesHidden(key string) bool {
	clean := path.Clean("/" + key)
	if strings.HasSuffix(key, "/") {
		clean += "/"
	}
	return hidden(key) || strings.HasPrefix(clean, "/"+hiddenPrefix)
}

var errHidden = &s3Error{code: "AccessDenied", status: http.StatusForbidden, message: "Names that begin with " + hiddenPrefix + " belong to the gateway."}

// putHidden stores a small object of the gateway's own.
func (g *Gateway) putHidden(ctx context.Context, bucket, key string, header http.Header, body []byte) error {
	if header == nil {
		header = http.Header{}
	}
	c := call{
		method: http.MethodPut, bucket: bucket, key: key, header: header,
		body: bytes.NewReader(body), length: int64(len(body)),
		replay: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil },
	}
	if g.upstream.checksum {
		header.Set("X-Amz-Checksum-Crc64nvme", crc64Of(body))
	}
	resp, err := g.upstream.do(ctx, c)
	if err != nil {
		return fmt.Errorf("storing %s: %w", key, err)
	}
	drain(resp.Body)
	return nil
}

// entry is an object in a listing of hidden objects.
type entry struct {
	Key, ETag, LastModified string
	Size                    int64
}

// versionsPage is a page of ListObjectVersions.
type versionsPage struct {
	IsTruncated         bool
	NextKeyMarker       string
	NextVersionIDMarker string `xml:"NextVersionIdMarker"`
	Version             []objectVersion
	DeleteMarker        []objectVersion
}

type objectVersion struct {
	Key       string
	VersionID string `xml:"VersionId"`
}

// listHidden returns the objects under a hidden prefix, in order.
func (g *Gateway) listHidden(ctx context.Context, bucket, prefix string) ([]entry, error) {
	var all []entry
	query := url.Values{"list-type": {"2"}, "prefix": {prefix}, "max-keys": {"1000"}}
	for {
		var page struct {
			IsTruncated           bool
			NextContinuationToken string
			Contents              []entry
		}
		if err := g.ask(ctx, call{method: http.MethodGet, bucket: bucket, query: query}, &page); err != nil {
			return nil, fmt.Errorf("listing %s: %w", prefix, err)
		}
		for _, e := range page.Contents {
			if strings.HasPrefix(e.Key, prefix) {
				all = append(all, e)
			}
		}
		if !page.IsTruncated || page.NextContinuationToken == "" {
			return all, nil
		}
		query.Set("continuation-token", page.NextContinuationToken)
	}
}

// behindHidden is a marker of listings that all hidden objects are before, and the next
// name is after.
const behindHidden = hiddenPrefix + "\U0010FFFF"

// onlyHidden says that nothing but hidden objects, and versions of them if these are
// asked for, has a name with that prefix.
func (x *exchange) onlyHidden(ctx context.Context, prefix string, versions bool) (bool, error) {
	query, after := url.Values{"list-type": {"2"}}, "start-after"
	if versions {
		query, after = url.Values{"versions": {""}}, "key-marker"
	}
	query.Set("prefix", prefix)
	query.Set("max-keys", "1")
	for range 2 {
		var page struct{ Contents, Version, DeleteMarker []objectVersion }
		if err := x.g.ask(ctx, call{method: http.MethodGet, bucket: x.bucket, query: query}, &page); err != nil {
			return false, err
		}
		for _, v := range slices.Concat(page.Contents, page.Version, page.DeleteMarker) {
			if !hidden(v.Key) {
				return false, nil
			}
		}
		query.Set(after, behindHidden)
	}
	return true, nil
}

// maxListing bounds what is read of an upstream's XML: a page has 1000 entries of
// names of up to 1024 characters, each of which can be an entity of some bytes.
const maxListing = 8 << 20

// maxAnswer bounds what is read of XML that lists nothing.
const maxAnswer = 1 << 20

// ask sends a call whose answer is a listing or another document of XML.
func (g *Gateway) ask(ctx context.Context, c call, answer any) error {
	_, err := g.askFor(ctx, c, maxListing, answer)
	return err
}

// askFor sends a call whose answer is XML of at most limit bytes, and returns its
// headers.
func (g *Gateway) askFor(ctx context.Context, c call, limit int64, answer any) (http.Header, error) {
	resp, err := g.upstream.do(ctx, c)
	if err != nil {
		return nil, err
	}
	defer drain(resp.Body)
	if err := xml.NewDecoder(io.LimitReader(resp.Body, limit)).Decode(answer); err != nil {
		return nil, fmt.Errorf("reading the upstream's answer: %w", err)
	}
	return resp.Header, nil
}

// deleteHidden removes everything under a hidden prefix, all versions of it.
func (g *Gateway) deleteHidden(ctx context.Context, bucket, prefix string) error {
	query := url.Values{"versions": {""}, "prefix": {prefix}, "max-keys": {"1000"}}
	for {
		var page versionsPage
		err := g.ask(ctx, call{method: http.MethodGet, bucket: bucket, query: query}, &page)
		if isNotImplemented(err) {
			return g.deleteUnversioned(ctx, bucket, prefix)
		}
		if err != nil {
			return err
		}
		all := slices.DeleteFunc(append(page.Version, page.DeleteMarker...), func(v objectVersion) bool { return !strings.HasPrefix(v.Key, prefix) })
		if err := g.deleteAll(ctx, bucket, all); err != nil {
			return err
		}
		if !page.IsTruncated || page.NextKeyMarker == "" {
			return nil
		}
		query.Set("key-marker", page.NextKeyMarker)
		query.Set("version-id-marker", page.NextVersionIDMarker)
	}
}

func isNotImplemented(err error) bool {
	return hasStatus(err, http.StatusNotImplemented, http.StatusMethodNotAllowed)
}

// deleteUnversioned is for stores that have no ListObjectVersions.
func (g *Gateway) deleteUnversioned(ctx context.Context, bucket, prefix string) error {
	entries, err := g.listHidden(ctx, bucket, prefix)
	if err != nil {
		return err
	}
	for chunk := range slices.Chunk(entries, 1000) {
		all := make([]objectVersion, len(chunk))
		for i, e := range chunk {
			all[i].Key = e.Key
		}
		if err := g.deleteAll(ctx, bucket, all); err != nil {
			return err
		}
	}
	return nil
}

// deleteAll deletes up to 1000 hidden objects.
func (g *Gateway) deleteAll(ctx context.Context, bucket string, all []objectVersion) error {
	if len(all) == 0 {
		return nil
	}
	list := deleteList{Quiet: true}
	for _, v := range all {
		if !hidden(v.Key) {
			return fmt.Errorf("refusing to delete %q, which is not the gateway's", v.Key)
		}
		list.Object = append(list.Object, deleteObject{Key: v.Key, VersionID: v.VersionID})
	}
	text, err := s3XML("Delete", list)
	if err != nil {
		return err
	}
	c := call{method: http.MethodPost, bucket: bucket, query: url.Values{"delete": {""}}, header: http.Header{
		"Content-Type": {"application/xml"},
	}}
	c.withDocument(text)
	var answer struct {
		Error []struct{ Key, Code, Message string }
	}
	if err := g.ask(ctx, c, &answer); err != nil {
		return fmt.Errorf("deleting the gateway's objects: %w", err)
	}
	if len(answer.Error) > 0 {
		return fmt.Errorf("deleting %s: %s: %s", answer.Error[0].Key, answer.Error[0].Code, answer.Error[0].Message)
	}
	return nil
}
