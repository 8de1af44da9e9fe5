// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

// Limits of request bodies that are no object's content.
const (
	maxConfiguration = 64 << 10
	maxDelete        = 2 << 20
)

// forwardCall is the client's request without a body.
func (x *exchange) forwardCall() call {
	c := call{method: x.r.Method, bucket: x.bucket, key: x.key, header: http.Header{}, query: url.Values{}}
	copyHeaders(c.header, x.header, conditionHeaders, ownerHeaders, bucketHeaders)
	for name, values := range x.query {
		c.query[name] = values
	}
	return c
}

// forward passes an operation on that carries no object data either way.
func forward(ctx context.Context, x *exchange) error {
	return x.passOn(ctx, x.forwardCall())
}

// passOn passes the upstream's answer on as it is.
func (x *exchange) passOn(ctx context.Context, c call) error {
	resp, err := x.g.upstream.do(ctx, c)
	if err != nil {
		return err
	}
	defer drain(resp.Body)
	return x.passAnswer(resp)
}

func (x *exchange) passAnswer(resp *http.Response) error {
	x.copyAnswer(resp.Header)
	if resp.ContentLength >= 0 {
		x.w.Header().Set("Content-Length", strconv.FormatInt(resp.ContentLength, 10))
	}
	if err := x.done(resp.StatusCode); err != nil {
		return err
	}
	x.writeHeader(resp.StatusCode)
	if _, err := io.Copy(x, resp.Body); err != nil {
		return fmt.Errorf("passing on the upstream's answer: %w", err)
	}
	return nil
}

// document reads a verified body that is no object's content.
func (x *exchange) document(ctx context.Context, limit int64) ([]byte, error) {
	return x.documentOf(ctx, x.header, limit)
}

// documentOf reads a body of which header declares the digests.
func (x *exchange) documentOf(ctx context.Context, header http.Header, limit int64) ([]byte, error) {
	src, err := x.newSourceOf(ctx, header)
	if err != nil {
		return nil, err
	}
	if declared := src.length; declared < 0 {
		return nil, checkSize(declared)
	} else if declared > limit {
		return nil, tooLong(limit)
	}
	text, err := io.ReadAll(io.LimitReader(src, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > limit {
		return nil, tooLong(limit)
	}
	return text, nil
}

func tooLong(limit int64) *s3Error {
	return &s3Error{
		code: "MaxMessageLengthExceeded", status: http.StatusBadRequest, message: "Your request was too big.",
		fields: [][2]string{{"MaxMessageLengthBytes", strconv.FormatInt(limit, 10)}},
	}
}

var malformedXML = &s3Error{
	code: "MalformedXML", status: http.StatusBadRequest,
	message: "The XML you provided was not well-formed or did not validate against our published schema",
}

// withDocument makes text the body of c. S3 wants an MD5 of it, which the
// signature covers, and whose place a signed hash of the body takes against who
// can alter both.
func (c *call) withDocument(text []byte) {
	sum := md5.Sum(text)
	c.header.Set("Content-Md5", base64.StdEncoding.EncodeToString(sum[:]))
	hash := sha256.Sum256(text)
	c.payload = hex.EncodeToString(hash[:])
	c.body, c.length = bytes.NewReader(text), int64(len(text))
	c.replay = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }
}

// deleteObjects passes a list of names on, which may have none of the gateway's own.
func deleteObjects(ctx context.Context, x *exchange) error {
	text, err := x.document(ctx, maxDelete)
	if err != nil {
		return err
	}
	var list deleteList
	if hasDocumentType(text) || xml.Unmarshal(text, &list) != nil || len(list.Object) == 0 || len(list.Object) > 1000 {
		return malformedXML
	}
	for _, object := range list.Object {
		if namesHidden(object.Key) {
			return errHidden
		}
	}
	// Written anew: what the store reads is what was looked at here, also where a
	// document can be read in two ways.
	if text, err = s3XML("Delete", list); err != nil {
		return err
	}
	c := x.forwardCall()
	c.withDocument(text)
	return x.passOn(ctx, c)
}

// deleteList is the document of DeleteObjects.
type deleteList struct {
	XMLName xml.Name `xml:"Delete"`
	Quiet   bool     `xml:",omitempty"`
	Object  []deleteObject
}

type deleteObject struct {
	Key              string
	VersionID        string `xml:"VersionId,omitempty"`
	ETag             string `xml:",omitempty"`
	LastModifiedTime string `xml:",omitempty"`
	Size             string `xml:",omitempty"`
}

// deleteBucket removes the gateway's own objects if nothing else is left.
func deleteBucket(ctx context.Context, x *exchange) error {
	resp, err := x.g.upstream.do(ctx, x.forwardCall())
	var e *s3Error
	if errors.As(err, &e) && e.code == "BucketNotEmpty" {
		empty, emptyErr := x.onlyHidden(ctx, "", true)
		if isNotImplemented(emptyErr) {
			empty, emptyErr = x.onlyHidden(ctx, "", false)
		}
		if emptyErr != nil || !empty {
			return err
		}
		if err := x.g.deleteHidden(ctx, x.bucket, hiddenPrefix); err != nil {
			return err
		}
		resp, err = x.g.upstream.do(ctx, x.forwardCall())
	}
	if err != nil {
		return err
	}
	defer drain(resp.Body)
	x.g.defaults.learn(x.bucket, bucketDefault{})
	return x.empty(resp)
}

// hasDocumentType says whether a document may define entities of its own.
func hasDocumentType(text []byte) bool {
	return bytes.Contains(text, []byte("<!DOCTYPE")) || bytes.Contains(text, []byte("<!ENTITY"))
}

// createBucket puts the upstream's region where the client names the gateway's.
func createBucket(ctx context.Context, x *exchange) error {
	text, err := x.document(ctx, maxConfiguration)
	if err != nil {
		return err
	}
	c := x.forwardCall()
	text, err = x.locationFor(text)
	if err != nil {
		return err
	}
	if len(text) > 0 {
		c.withDocument(text)
	}
	resp, err := x.g.upstream.do(ctx, c)
	if err != nil {
		return err
	}
	defer drain(resp.Body)
	x.w.Header().Set("Location", "/"+x.bucket)
	x.w.Header().Set("Content-Length", "0")
	return x.empty(resp)
}

func (x *exchange) locationFor(text []byte) ([]byte, error) {
	var asked struct {
		XMLName            xml.Name `xml:"CreateBucketConfiguration"`
		LocationConstraint string
		Location           *struct{}
		Bucket             *struct{}
	}
	if len(bytes.TrimSpace(text)) > 0 {
		if xml.Unmarshal(text, &asked) != nil {
			return nil, malformedXML
		}
		if asked.Location != nil || asked.Bucket != nil {
			return nil, notImplemented("CreateBucket", "directory buckets")
		}
	}
	region := asked.LocationConstraint
	if x.g.region != "" {
		if region != "" && region != x.g.region {
			return nil, &s3Error{
				code: "IllegalLocationConstraintException", status: http.StatusBadRequest,
				message: "The " + region + " location constraint is incompatible for the region specific endpoint this request was sent to.",
			}
		}
		region = x.g.upstream.region
	}
	if region == "" || region == "us-east-1" {
		return nil, nil
	}
	return location("CreateBucketConfiguration", "<LocationConstraint>", region, "</LocationConstraint>"), nil
}

func location(root, before, region, after string) []byte {
	var b bytes.Buffer
	b.WriteString("<" + root + ` xmlns="http://s3.amazonaws.com/doc/2006-03-01/">` + before)
	xml.EscapeText(&b, []byte(region))
	b.WriteString(after + "</" + root + ">")
	return b.Bytes()
}

// bucketLocation answers with the region that the gateway's clients sign for.
func bucketLocation(ctx context.Context, x *exchange) error {
	if x.g.region == "" {
		return forward(ctx, x)
	}
	resp, err := x.g.upstream.do(ctx, x.forwardCall())
	if err != nil {
		return err
	}
	defer drain(resp.Body)
	region := x.g.region
	if region == "us-east-1" {
		region = "" // S3's own spelling
	}
	text := append([]byte(xml.Header), location("LocationConstraint", "", region, "")...)
	return x.sendDocument(text)
}

func headBucket(ctx context.Context, x *exchange) error {
	resp, err := x.g.upstream.do(ctx, x.forwardCall())
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if x.g.region != "" {
		resp.Header.Set("X-Amz-Bucket-Region", x.g.region)
	}
	return x.empty(resp)
}
