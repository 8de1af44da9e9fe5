// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/sidekey/sidekey/proxy"
	"github.com/sidekey/sidekey/proxy/datakey"
)

// defaultsKey names the object that holds a bucket's default encryption. It is
// sealed like any other: who writes to the store can remove it or put back an
// earlier one, and not make up one that names a key of his own.
const defaultsKey = hiddenPrefix + "encryption"

// defaultsAge is how long a replica goes by what it read of a bucket's default.
const defaultsAge = 5 * time.Second

// bucketDefault is the default encryption of a bucket. The zero value is that of the
// rules.
type bucketDefault struct {
	keyID string // as the client gave it, "" for the rule's key
	set   bool   // by PutBucketEncryption
	kms   bool   // as aws:kms, rather than AES256
}

// defaults remembers the defaults of buckets for a moment.
type defaults struct {
	mu    sync.Mutex
	cache *lru.Cache[string, knownDefault]
}

type knownDefault struct {
	bucketDefault
	until time.Time
}

func newDefaults() (*defaults, error) {
	cache, err := lru.New[string, knownDefault](4096)
	return &defaults{cache: cache}, err
}

// of returns the default of a bucket.
func (d *defaults) of(ctx context.Context, g *Gateway, bucket string) (bucketDefault, error) {
	d.mu.Lock()
	known, ok := d.cache.Get(bucket)
	d.mu.Unlock()
	if ok && time.Now().Before(known.until) {
		return known.bucketDefault, nil
	}
	b, err := g.readDefault(ctx, bucket)
	if err != nil {
		return b, err
	}
	d.learn(bucket, b)
	return b, nil
}

func (d *defaults) learn(bucket string, b bucketDefault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cache.Add(bucket, knownDefault{bucketDefault: b, until: time.Now().Add(defaultsAge)})
}

// serverSideEncryption is the document of the bucket encryption operations.
type serverSideEncryption struct {
	XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ServerSideEncryptionConfiguration"`
	Rule    []sseRule
}

type sseRule struct {
	Default struct {
		Algorithm string `xml:"SSEAlgorithm"`
		KeyID     string `xml:"KMSMasterKeyID,omitempty"`
	} `xml:"ApplyServerSideEncryptionByDefault"`
	BucketKeyEnabled bool
}

// maxDefault bounds what is read of a stored default.
const maxDefault = 8 << 10

func (g *Gateway) readDefault(ctx context.Context, bucket string) (bucketDefault, error) {
	resp, err := g.upstream.do(ctx, call{method: http.MethodGet, bucket: bucket, key: defaultsKey})
	if hasStatus(err, http.StatusNotFound, http.StatusForbidden) {
		// S3 says Forbidden of what is not there to who may not list the bucket.
		return bucketDefault{}, nil
	}
	if err != nil {
		return bucketDefault{}, fmt.Errorf("reading the default encryption of the bucket: %w", err)
	}
	defer resp.Body.Close()
	header, err := sealed(resp.Header)
	if err != nil || header == "" {
		return bucketDefault{}, errors.Join(err, errDefaultDamaged)
	}
	opener, err := g.cipher.OpenObject(ctx, bucket, defaultsKey, header, nil)
	if err != nil {
		return bucketDefault{}, err
	}
	size, err := opener.PlainSize(resp.ContentLength)
	if err != nil || size > maxDefault {
		return bucketDefault{}, errDefaultDamaged
	}
	text, err := io.ReadAll(opener.Reader(resp.Body, size))
	if err != nil {
		return bucketDefault{}, err
	}
	return parseDefault(text)
}

var errDefaultDamaged = &s3Error{
	code: "InternalError", status: http.StatusInternalServerError,
	message: "The default encryption of the bucket, as it is stored, is damaged. PutBucketEncryption sets it anew.",
}

// parseDefault reads the client's document.
func parseDefault(text []byte) (bucketDefault, error) {
	var doc struct {
		XMLName xml.Name `xml:"ServerSideEncryptionConfiguration"`
		Rule    []sseRule
	}
	if xml.Unmarshal(text, &doc) != nil || len(doc.Rule) != 1 {
		return bucketDefault{}, malformedXML
	}
	b := bucketDefault{set: true, keyID: doc.Rule[0].Default.KeyID}
	switch doc.Rule[0].Default.Algorithm {
	case "aws:kms":
		b.kms = true
	case "AES256":
		if b.keyID != "" {
			return b, invalidArgument("a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms")
		}
	case "aws:kms:dsse":
		return b, notImplemented("PutBucketEncryption", "the encryption aws:kms:dsse")
	default:
		return b, malformedXML
	}
	return b, nil
}

// document is the default as S3 shows it.
func (b bucketDefault) document() ([]byte, error) {
	var rule sseRule
	rule.Default.Algorithm, rule.Default.KeyID, rule.BucketKeyEnabled = "AES256", b.keyID, true
	if b.kms {
		rule.Default.Algorithm = "aws:kms"
	}
	text, err := xml.Marshal(serverSideEncryption{Rule: []sseRule{rule}})
	return append([]byte(xml.Header), text...), err
}

// putBucketEncryption sets the key of objects that name none. The key is tried
// before it becomes the default.
func putBucketEncryption(ctx context.Context, x *exchange) error {
	text, err := x.document(ctx, maxConfiguration)
	if err != nil {
		return err
	}
	b, err := parseDefault(text)
	if err != nil {
		return err
	}
	if err := x.bucketExists(ctx); err != nil {
		return err
	}
	if err := x.tryKey(ctx, b.keyID); err != nil {
		return err
	}
	if err := x.storeDefault(ctx, b); err != nil {
		return err
	}
	x.g.defaults.learn(x.bucket, b)
	return x.emptyAnswer(http.StatusOK)
}

func (x *exchange) storeDefault(ctx context.Context, b bucketDefault) error {
	text, err := b.document()
	if err != nil {
		return fmt.Errorf("writing a default encryption: %w", err)
	}
	sealer, err := x.g.cipher.SealObject(ctx, proxy.Object{Bucket: x.bucket, Key: defaultsKey, Size: int64(len(text))})
	if err != nil {
		return err
	}
	body, err := io.ReadAll(sealer.Reader(bytes.NewReader(text), nil))
	if err != nil {
		return fmt.Errorf("sealing a default encryption: %w", err)
	}
	return x.g.putHidden(ctx, x.bucket, defaultsKey, http.Header{sealedHeader: {sealer.Header()}}, body)
}

// tryKey seals nothing with the key, to see that it can be used.
func (x *exchange) tryKey(ctx context.Context, keyID string) error {
	_, err := x.g.cipher.SealObject(ctx, proxy.Object{Bucket: x.bucket, Key: defaultsKey, KeyID: keyID})
	var e *datakey.Error
	if errors.As(err, &e) && e.Kind == datakey.NotFound {
		return invalidArgument("The KMS key of the document does not exist.")
	}
	return err
}

func (x *exchange) bucketExists(ctx context.Context) error {
	resp, err := x.g.upstream.do(ctx, call{method: http.MethodHead, bucket: x.bucket})
	if err != nil {
		if isNotFound(err) {
			return &s3Error{code: "NoSuchBucket", status: http.StatusNotFound, message: "The specified bucket does not exist"}
		}
		return err
	}
	resp.Body.Close()
	return nil
}

// getBucketEncryption answers with the default, which is never none: all objects
// are encrypted.
func getBucketEncryption(ctx context.Context, x *exchange) error {
	if err := x.bucketExists(ctx); err != nil {
		return err
	}
	b, err := x.g.readDefault(ctx, x.bucket)
	if err != nil {
		return err
	}
	if !b.set {
		rule, err := x.g.cipher.ObjectRule(x.bucket, "")
		if err != nil {
			return &s3Error{code: "ServerSideEncryptionConfigurationNotFoundError", status: http.StatusNotFound, message: "The server side encryption configuration was not found"}
		}
		b = bucketDefault{kms: true, keyID: rule.KeyID}
	}
	text, err := b.document()
	if err != nil {
		return fmt.Errorf("writing a default encryption: %w", err)
	}
	return x.sendDocument(text)
}

// deleteBucketEncryption goes back to the rule's key.
func deleteBucketEncryption(ctx context.Context, x *exchange) error {
	if err := x.bucketExists(ctx); err != nil {
		return err
	}
	resp, err := x.g.upstream.do(ctx, call{method: http.MethodDelete, bucket: x.bucket, key: defaultsKey})
	if err != nil {
		return err
	}
	drain(resp.Body)
	x.g.defaults.learn(x.bucket, bucketDefault{})
	return x.emptyAnswer(http.StatusNoContent)
}

// emptyAnswer ends the record and answers without a body.
func (x *exchange) emptyAnswer(status int) error {
	if status != http.StatusNoContent {
		x.w.Header().Set("Content-Length", "0")
	}
	if err := x.done(status); err != nil {
		return err
	}
	x.writeHeader(status)
	return nil
}

// sendDocument ends the record and answers with XML.
func (x *exchange) sendDocument(text []byte) error {
	x.w.Header().Set("Content-Type", "application/xml")
	x.w.Header().Set("Content-Length", fmt.Sprint(len(text)))
	if err := x.done(http.StatusOK); err != nil {
		return err
	}
	x.writeHeader(http.StatusOK)
	_, err := x.Write(text)
	return err
}
