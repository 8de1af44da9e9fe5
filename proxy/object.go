// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"fmt"
	"io"
	"maps"
	"strconv"
	"time"

	"github.com/sidekey/sidekey/proxy/datakey"
	"github.com/sidekey/sidekey/proxy/envelope"
)

// MetadataKey is the one user-metadata entry of a sealed object; it holds the
// header.
const MetadataKey = "x-amz-meta-sidekey"

// s3Context is the encryption context that AWS S3 itself uses with a bucket key:
// one data key serves the objects of a bucket.
const s3Context = "aws:s3:arn"

// Object is an object to seal.
type Object struct {
	Bucket string
	Key    string // object name
	// KeyID overrides the rule's KMS key when not empty.
	KeyID string
	// EncryptionContext is added to the rule's, and wins over it.
	EncryptionContext map[string]string
	// Checksums are those of the plaintext known up front, by any name; they are
	// stored encrypted and returned by ObjectOpener.
	Checksums map[string]string
	// Size is the plaintext's length, or 0 if it is not known; it counts towards
	// the bytes a data key may seal, and the header proves it to readers.
	Size int64
}

// ObjectSealer seals one object, once.
type ObjectSealer struct {
	message *envelope.Message
	header  string
	keyARN  string
}

// SealObject prepares an object with the current data key of its rule. Errors
// are ErrNoRule, *datakey.Error, or a header that does not fit.
func (c *Cipher) SealObject(ctx context.Context, o Object) (*ObjectSealer, error) {
	rule, err := c.ObjectRule(o.Bucket, o.Key)
	if err != nil {
		return nil, err
	}
	keyID := rule.KeyID
	if o.KeyID != "" {
		keyID = o.KeyID
	}
	own, err := ownContext(rule.EncryptionContext, o.EncryptionContext)
	if err != nil {
		return nil, err
	}
	s, start := &ObjectSealer{}, time.Now()
	scope := datakey.Scope{KeyID: keyID, Context: objectContext(o.Bucket, own), Purpose: "object"}
	use, err := c.keys.Seal(ctx, scope, o.Size, func(use datakey.Use, secret []byte) error {
		h := envelope.NewHeader(use.KeyARN, use.Wrapped, own)
		if s.message, err = h.Seal(secret, o.Bucket, o.Key, withSize(o.Checksums, o.Size)); err != nil {
			return fmt.Errorf("sealing an object header: %w", err)
		}
		s.header, s.keyARN = h.String(), use.KeyARN
		return nil
	})
	if err := c.recordUse(ctx, start, use, keyID, err); err != nil {
		return nil, err
	}
	return s, nil
}

func withSize(checksums map[string]string, size int64) map[string]string {
	if size <= 0 {
		return checksums
	}
	all := maps.Clone(checksums)
	if all == nil {
		all = map[string]string{}
	}
	all[envelope.SizeName] = strconv.FormatInt(size, 10)
	return all
}

// takeSize removes the size from the checksums; -1 if it is not there.
func takeSize(checksums map[string]string) int64 {
	size, err := strconv.ParseInt(checksums[envelope.SizeName], 10, 64)
	delete(checksums, envelope.SizeName)
	if err != nil || size < 0 {
		return -1
	}
	return size
}

// ownContext is what a header stores of the encryption context: everything that
// does not follow from the bucket.
func ownContext(rule, object map[string]string) (map[string]string, error) {
	own := maps.Clone(rule)
	if own == nil {
		own = map[string]string{}
	}
	maps.Copy(own, object)
	if _, ok := own[s3Context]; ok {
		return nil, fmt.Errorf("encryption context: the name %q is reserved", s3Context)
	}
	return own, nil
}

func objectContext(bucket string, own map[string]string) map[string]string {
	full := map[string]string{s3Context: "arn:aws:s3:::" + bucket}
	for k, v := range own {
		if k != s3Context {
			full[k] = v
		}
	}
	return full
}

// Header is the value of MetadataKey.
func (s *ObjectSealer) Header() string { return s.header }

// KeyARN is the KMS key.
func (s *ObjectSealer) KeyARN() string { return s.keyARN }

// SealedSize is the length of the sealed body of plain bytes.
func (s *ObjectSealer) SealedSize(plain int64) int64 { return SealedSize(plain) }

// Reader is the sealed body of src. It is called once: a second body would be
// sealed with the nonces of the first, so a second call returns a reader that
// fails. io.EOF from src ends the body; after any other error the last chunk is
// never produced and the body does not open.
func (s *ObjectSealer) Reader(src io.Reader) io.Reader {
	if s.message == nil {
		return failedReader{}
	}
	r := s.message.Seal(src)
	s.message = nil
	return r
}

type failedReader struct{}

func (failedReader) Read([]byte) (int, error) {
	return 0, fmt.Errorf("an object sealer seals one body")
}

// SealedSize is the length of the stored body of a plaintext of that length.
func SealedSize(plain int64) int64 { return envelope.SealedSize(plain) }

// PlainSize is the length of the plaintext of a stored body, for listings. It
// fails with ErrFormat for a length that no sealed body has.
func PlainSize(sealed int64) (int64, error) { return envelope.PlainSize(sealed) }

// ObjectOpener opens one object, any number of times. It holds keys derived from
// the data key: what it is asked to read is read to the end, also when the KMS key
// is disabled meanwhile. It is meant for one request.
type ObjectOpener struct {
	message   *envelope.Message
	checksums map[string]string
	keyARN    string
	size      int64 // of the plaintext as the header proves it; -1 if it does not
}

// OpenObject authenticates an object's header for its bucket and name. Errors
// are ErrFormat, ErrOpen or *datakey.Error.
func (c *Cipher) OpenObject(ctx context.Context, bucket, key, header string) (*ObjectOpener, error) {
	start := time.Now()
	h, err := envelope.ParseHeader(header)
	if err != nil {
		return nil, c.recordUse(ctx, start, datakey.Use{}, "", err)
	}
	o := &ObjectOpener{}
	ref := datakey.Ref{KeyARN: h.KeyARN, Wrapped: h.WrappedKey, Context: objectContext(bucket, h.Context)}
	use, err := c.keys.Open(ctx, ref, func(use datakey.Use, secret []byte) error {
		o.keyARN = use.KeyARN
		if o.message, o.checksums, err = h.Open(secret, bucket, key); err == nil {
			o.size = takeSize(o.checksums)
		}
		return err
	})
	if err := c.recordUse(ctx, start, use, h.KeyARN, err); err != nil {
		return nil, err
	}
	return o, nil
}

// KeyARN is the KMS key.
func (o *ObjectOpener) KeyARN() string { return o.keyARN }

// Checksums are those given to SealObject.
func (o *ObjectOpener) Checksums() map[string]string { return o.checksums }

// PlainSize is the length of the plaintext of a stored body of that length. It
// fails with ErrOpen if the header proves another: a store that claims a wrong
// size is found out also by those who read parts.
func (o *ObjectOpener) PlainSize(sealed int64) (int64, error) {
	size, err := PlainSize(sealed)
	if err == nil && o.size >= 0 && size != o.size {
		return 0, ErrOpen
	}
	return size, err
}

// Range is the part of the stored body to fetch for n plaintext bytes from off:
// whole chunks, and the end of the body when the range reaches the end. The
// prefix is not needed; the header stands for it. sealedLen is 0 when the range
// lies outside the plaintext.
func (o *ObjectOpener) Range(off, n, plainSize int64) (sealedOff, sealedLen int64) {
	return envelope.SealedRange(off, n, plainSize)
}

// Reader is the plaintext of a whole stored body. It fails with ErrOpen at the
// first chunk that does not authenticate, and at truncation.
func (o *ObjectOpener) Reader(body io.Reader) io.Reader { return o.message.Open(body) }

// RangeReader is the plaintext of a range, from the body part that Range names.
// plainSize is what the stored length says; a range that reaches the end proves
// it.
func (o *ObjectOpener) RangeReader(body io.Reader, off, n, plainSize int64) io.Reader {
	return o.message.OpenRange(body, off, n, plainSize)
}
