// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
)

// Sub-resources are configuration of a bucket or properties of an object. They
// hold no content and pass as they are, with what the gateway has to know of
// them: that a document is one, and that the store will take it for one. A store
// that does not know a sub-resource takes PUT /bucket/key?tagging for the object
// itself, and DELETE /bucket?publicAccessBlock for the bucket.

var (
	taggingSchema   = schema{root: "Tagging", paths: []string{"TagSet", "TagSet/Tag", "TagSet/Tag/Key", "TagSet/Tag/Value"}}
	legalHoldSchema = schema{root: "LegalHold", paths: []string{"Status"}}
	retentionSchema = schema{root: "Retention", paths: []string{"Mode", "RetainUntilDate"}}
	aclSchema       = schema{root: "AccessControlPolicy", optional: true, paths: []string{
		"Owner", "Owner/ID", "Owner/DisplayName", "AccessControlList", "AccessControlList/Grant",
		"AccessControlList/Grant/Permission", "AccessControlList/Grant/Grantee",
		"AccessControlList/Grant/Grantee/ID", "AccessControlList/Grant/Grantee/DisplayName", "AccessControlList/Grant/Grantee/Type",
		"AccessControlList/Grant/Grantee/URI", "AccessControlList/Grant/Grantee/EmailAddress",
	}}
	restoreSchema = schema{
		root: "RestoreRequest", paths: []string{"Days", "Tier", "Description", "GlacierJobParameters", "GlacierJobParameters/Tier"},
		refused: map[string]string{"Type": whySelect, "SelectParameters": whySelect, "OutputLocation": whySelect},
	}

	loggingSchema = schema{root: "BucketLoggingStatus", refused: map[string]string{
		"LoggingEnabled": "The store would write log files of its own, in the clear, into a bucket that is read through the gateway.",
	}}
	analyticsSchema = schema{root: "AnalyticsConfiguration", refused: map[string]string{
		"StorageClassAnalysis/DataExport": "The store would write files of its own, in the clear, into a bucket that is read through the gateway.",
	}}
)

// Why operations are refused for good.
const (
	whySelect      = "The store would run the query on ciphertext."
	whyTorrent     = "The torrent would be of the ciphertext."
	whyAppend      = "A sealed object cannot be extended in place."
	whyRename      = "An object is sealed under its name: copy it and delete the old one."
	whyReplication = "The store would send objects, their keys and its own credentials elsewhere. Configure it at the store."
	whyInventory   = "The store would write files of its own, with the sizes of ciphertext, into a bucket that is read through the gateway. Configure it at the store."
	whyMetadata    = "The store would keep tables of the sizes of ciphertext. Configure it at the store."
	whyResponse    = "A function's response would pass by the cipher."
	whySession     = "The session would be the gateway's own at the store."
)

// put takes a document of one form and passes it on.
func (s schema) put(ctx context.Context, x *exchange) error {
	text, err := x.document(ctx, cmp.Or(s.limit, maxConfiguration))
	if err != nil {
		return err
	}
	if err := s.check(x.name, text); err != nil {
		return err
	}
	return x.putSubresource(ctx, text, "application/xml")
}

// xmlOf puts a configuration of which only the root matters here.
func xmlOf(root string) func(context.Context, *exchange) error { return schema{root: root}.put }

func putPolicy(ctx context.Context, x *exchange) error {
	text, err := x.document(ctx, maxPolicy)
	if err != nil {
		return err
	}
	if err := checkPolicy(text); err != nil {
		return err
	}
	return x.putSubresource(ctx, text, "application/json")
}

// restoreObject has no counterpart to read; POST /bucket/key stores nothing
// anywhere.
func restoreObject(ctx context.Context, x *exchange) error {
	text, err := x.document(ctx, maxConfiguration)
	if err != nil {
		return err
	}
	if err := restoreSchema.check(x.name, text); err != nil {
		return err
	}
	c := x.forwardCall()
	c.withDocument(text)
	return x.passOn(ctx, c)
}

func (x *exchange) putSubresource(ctx context.Context, text []byte, kind string) error {
	if _, err := x.confirm(ctx); err != nil {
		return err
	}
	c := x.forwardCall()
	if len(text) > 0 {
		c.withDocument(text)
		c.header.Set("Content-Type", kind)
	}
	resp, err := x.g.upstream.do(ctx, c)
	if err != nil {
		return x.unlessBucket(err)
	}
	defer drain(resp.Body)
	if resp.Header.Get("Location") != "" || x.key != "" && resp.Header.Get("Etag") != "" {
		return x.unknownToStore(errors.New("the upstream answered as if an object or bucket had been put"))
	}
	return x.passAnswer(resp)
}

// unlessBucket sees the store take the request for one of the bucket itself.
func (x *exchange) unlessBucket(err error) error {
	var e *s3Error
	if errors.As(err, &e) && slices.Contains([]string{"BucketAlreadyOwnedByYou", "BucketAlreadyExists", "BucketNotEmpty"}, e.code) {
		return x.unknownToStore(err)
	}
	return err
}

// deleteSubresource asks the store only if there is something to delete: one that
// answers a GET by rote might take the DELETE for that of the bucket.
func deleteSubresource(ctx context.Context, x *exchange) error {
	absent, err := x.confirm(ctx)
	if err != nil {
		return err
	}
	if absent != nil {
		if x.query.Has("id") {
			return absent
		}
		if err := x.done(http.StatusNoContent); err != nil {
			return err
		}
		x.writeHeader(http.StatusNoContent)
		return nil
	}
	resp, err := x.g.upstream.do(ctx, x.forwardCall())
	if err != nil {
		return x.unlessBucket(err)
	}
	defer drain(resp.Body)
	return x.passAnswer(resp)
}

// getSubresource passes on what the store says, unless that is an object or a
// listing.
func getSubresource(ctx context.Context, x *exchange) error {
	resp, err := x.g.upstream.do(ctx, x.forwardCall())
	if err != nil {
		return err
	}
	defer drain(resp.Body)
	if x.isData(resp) {
		return x.unknownToStore(errors.New("the upstream answered with data"))
	}
	return x.passAnswer(resp)
}

// confirm has the store read the sub-resource that is about to be changed, and
// returns its error if that is only that there is none yet. A store that answers
// with an object or a listing instead does not know the sub-resource.
func (x *exchange) confirm(ctx context.Context) (absent *s3Error, err error) {
	known := route{level: x.level(), sub: x.sub}
	if x.r.Method != http.MethodDelete || x.key != "" {
		if _, ok := x.g.known.Load(known); ok {
			return nil, nil
		}
	}
	c := call{method: http.MethodGet, bucket: x.bucket, key: x.key, header: http.Header{}, query: url.Values{}}
	copyHeaders(c.header, x.header, ownerHeaders)
	for name, values := range x.query {
		c.query[name] = values
	}
	resp, err := x.g.upstream.do(ctx, c)
	switch {
	case errors.As(err, &absent) && isAbsence(absent):
	case err != nil:
		return nil, err
	default:
		defer resp.Body.Close()
		if x.isData(resp) {
			return nil, x.unknownToStore(errors.New("the upstream answered a trial GET with data"))
		}
	}
	x.g.known.Store(known, true)
	return absent, nil
}

// isAbsence is every error that says that there is no such configuration yet,
// rather than no such bucket or object.
func isAbsence(e *s3Error) bool {
	if e.code == "NoSuchObjectLockConfiguration" { // MinIO says so with 400
		return true
	}
	return e.status == http.StatusNotFound && !slices.Contains([]string{"NoSuchBucket", "NoSuchKey", "NoSuchVersion"}, e.code)
}

// isData says whether an answer is an object or a listing, and leaves its body
// as it was.
func (x *exchange) isData(resp *http.Response) bool {
	if x.key != "" {
		return resp.Header.Get("Etag") != "" || resp.Header.Get(sealedHeader) != ""
	}
	body := bufio.NewReaderSize(resp.Body, 1<<10)
	begin, _ := body.Peek(512)
	resp.Body = struct {
		io.Reader
		io.Closer
	}{body, resp.Body}
	return bytes.Contains(begin, []byte("<ListBucketResult")) || bytes.Contains(begin, []byte("<ListVersionsResult"))
}

func (x *exchange) unknownToStore(cause error) error {
	e := because(notImplemented(x.name, ""), "The store behind the gateway does not know it.")
	e.cause = cause
	return e
}

func because(e *s3Error, why string) *s3Error {
	if why != "" {
		e.message += " " + why
	}
	return e
}
