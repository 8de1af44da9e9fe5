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
	// LateChecksums says that checksums will be known only once the content has
	// passed: they go into the footer.
	LateChecksums bool
	// Multipart makes an object of parts, which Part seals one by one.
	Multipart bool
	// CustomerKey is a key of the client's own, 32 bytes, without which the content
	// cannot be opened; nil for none.
	CustomerKey []byte
}

// ObjectSealer seals one object, once.
type ObjectSealer struct {
	object *envelope.Object
	header string
	keyARN string
}

// SealObject prepares an object with the current data key of its rule. Errors
// are ErrNoRule, *datakey.Error, or a header that does not fit.
func (c *Cipher) SealObject(ctx context.Context, o Object) (*ObjectSealer, error) {
	return c.sealHeader(ctx, o, nil)
}

// SealCopy prepares a header for the body of an object that was opened, which then
// needs no change. Of o, the sizes and Multipart are the source's.
func (c *Cipher) SealCopy(ctx context.Context, o Object, from *ObjectOpener) (*ObjectSealer, error) {
	o.Checksums = maps.Clone(from.checksums)
	o.LateChecksums, o.Size = from.late, from.size
	return c.sealHeader(ctx, o, from.object)
}

// sealHeader seals a new header, of the body from if that is not nil.
func (c *Cipher) sealHeader(ctx context.Context, o Object, from *envelope.Object) (*ObjectSealer, error) {
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
	suite := envelope.WholeSuite
	if o.Multipart {
		suite = envelope.MultipartSuite
	}
	s, start := &ObjectSealer{}, time.Now()
	scope := datakey.Scope{KeyID: keyID, Context: objectContext(o.Bucket, own), Purpose: "object"}
	use, err := c.keys.Seal(ctx, scope, o.Size, func(use datakey.Use, secret []byte) error {
		h := envelope.NewHeader(suite, use.KeyARN, use.Wrapped, own)
		h.CustomerKey = o.CustomerKey
		if from != nil {
			if err := h.Carry(from); err != nil {
				return err
			}
		}
		if s.object, err = h.Seal(secret, o.Bucket, o.Key, o.entries()); err != nil {
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

// entries are what the header holds encrypted.
func (o *Object) entries() map[string]string {
	all := withSize(o.Checksums, o.Size)
	if o.LateChecksums {
		all = withEntry(all, envelope.FooterName, "1")
	}
	return all
}

func withEntry(entries map[string]string, name, value string) map[string]string {
	all := maps.Clone(entries)
	if all == nil {
		all = map[string]string{}
	}
	all[name] = value
	return all
}

func withSize(checksums map[string]string, size int64) map[string]string {
	if size <= 0 {
		return checksums
	}
	return withEntry(checksums, envelope.SizeName, strconv.FormatInt(size, 10))
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

// Reader is the sealed body of content, which is of the length in Object.Size.
// It is called once: a second body would be sealed with the nonces of the first,
// so a second call returns a reader that fails. io.EOF from content ends it, and late
// is asked for the checksums of the footer; nil has none. After any other error the
// last chunk is never produced and the body does not open.
func (s *ObjectSealer) Reader(content io.Reader, late func() map[string]string) io.Reader {
	if s.object == nil || s.object.Message == nil {
		return failedReader{}
	}
	r := s.object.Seal(&footed{content: content, late: late})
	s.object = nil
	return r
}

// footed is content and, once that has ended well, the footer.
type footed struct {
	content io.Reader
	late    func() map[string]string
	footer  []byte
	ended   bool
	tail    []byte // of Peek: the rest of the content, and the footer; nil before it
}

func (f *footed) Read(p []byte) (int, error) {
	if !f.ended {
		n, err := f.content.Read(p)
		if err != io.EOF {
			return n, err
		}
		var checksums map[string]string
		if f.late != nil {
			checksums = f.late()
		}
		if f.footer, err = envelope.Footer(checksums); err != nil {
			return n, err
		}
		f.ended = true
		if n > 0 {
			return n, nil
		}
	}
	n := copy(p, f.footer)
	f.footer = f.footer[n:]
	if len(f.footer) == 0 && n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

type failedReader struct{}

func (failedReader) Read([]byte) (int, error) {
	return 0, fmt.Errorf("an object sealer seals one body")
}

// SealedSize is the length of the stored body of plain bytes of content.
func SealedSize(plain int64) int64 { return envelope.WholeSize(plain) }

// PlainSize is the length of the content of a stored body, for listings. It fails
// with ErrFormat for a length that no sealed body has.
func PlainSize(stored int64, multipart bool) (int64, error) {
	if multipart {
		return envelope.MultipartPlainSize(stored)
	}
	return envelope.WholePlainSize(stored)
}

// ObjectOpener opens one object, any number of times. It holds keys derived from
// the data key: what it is asked to read is read to the end, also when the KMS key
// is disabled meanwhile. It is meant for one request.
type ObjectOpener struct {
	object    *envelope.Object
	suite     envelope.Suite
	checksums map[string]string
	late      bool // the footer has checksums
	keyARN    string
	size      int64 // of the content as the header proves it; -1 if it does not
	table     *envelope.Table
}

// OpenObject authenticates an object's header for its bucket and name. The customer
// key is nil if the client gave none. Errors are ErrFormat, ErrOpen, ErrCustomerKey or
// *datakey.Error.
func (c *Cipher) OpenObject(ctx context.Context, bucket, key, header string, customerKey []byte) (*ObjectOpener, error) {
	return c.openHeader(ctx, bucket, key, header, func(h *envelope.Header) { h.CustomerKey = customerKey })
}

// OpenTables is OpenObject for who has no customer key, also where there is one: it
// opens part records and part tables, and no content.
func (c *Cipher) OpenTables(ctx context.Context, bucket, key, header string) (*ObjectOpener, error) {
	return c.openHeader(ctx, bucket, key, header, func(h *envelope.Header) { h.TablesOnly = true })
}

func (c *Cipher) openHeader(ctx context.Context, bucket, key, header string, with func(*envelope.Header)) (*ObjectOpener, error) {
	start := time.Now()
	h, err := envelope.ParseHeader(header)
	if err != nil {
		return nil, c.recordUse(ctx, start, datakey.Use{}, "", err)
	}
	with(h)
	o := &ObjectOpener{suite: h.Suite}
	ref := datakey.Ref{KeyARN: h.KeyARN, Wrapped: h.WrappedKey, Context: objectContext(bucket, h.Context)}
	use, err := c.keys.Open(ctx, ref, func(use datakey.Use, secret []byte) error {
		o.keyARN = use.KeyARN
		o.object, o.checksums, err = h.Open(secret, bucket, key)
		return err
	})
	if err := c.recordUse(ctx, start, use, h.KeyARN, err); err != nil {
		return nil, err
	}
	o.size = takeSize(o.checksums)
	_, o.late = o.checksums[envelope.FooterName]
	delete(o.checksums, envelope.FooterName)
	return o, nil
}

// OpenWrapped has derive called with a data key that another client wrapped, and returns
// the KMS key. Errors are those of derive or *datakey.Error.
func (c *Cipher) OpenWrapped(ctx context.Context, wrapped []byte, encryptionContext map[string]string, derive func(secret []byte) error) (keyARN string, err error) {
	start := time.Now()
	use, err := c.keys.Open(ctx, datakey.Ref{Wrapped: wrapped, Context: encryptionContext}, func(use datakey.Use, secret []byte) error {
		keyARN = use.KeyARN
		return derive(secret)
	})
	return keyARN, c.recordUse(ctx, start, use, keyARN, err)
}

// KeyARN is the KMS key.
func (o *ObjectOpener) KeyARN() string { return o.keyARN }

// Multipart says that the object has parts, and a table that must be opened before
// anything is read.
func (o *ObjectOpener) Multipart() bool { return o.suite == envelope.MultipartSuite }

// Checksums are those given to SealObject, by name.
func (o *ObjectOpener) Checksums() map[string]string { return o.checksums }

// LateChecksums says that there are checksums in the footer.
func (o *ObjectOpener) LateChecksums() bool { return o.late }

// PlainSize is the length of the content of a stored body of that length. It
// fails with ErrOpen if the header proves another: a store that claims a wrong
// size is found out also by those who read parts.
func (o *ObjectOpener) PlainSize(stored int64) (int64, error) {
	size, err := o.suite.PlainSize(stored)
	if err == nil && o.size >= 0 && size != o.size {
		return 0, ErrOpen
	}
	return size, err
}

// Footer is the part of the stored body that holds the footer of an object of size
// bytes of content.
func (o *ObjectOpener) Footer(size int64) (storedOff, storedLen int64) {
	return envelope.SealedRange(size, envelope.FooterSize, size+envelope.FooterSize)
}

// ReadFooter returns the late checksums, from the part that Footer names.
func (o *ObjectOpener) ReadFooter(body io.Reader, size int64) (map[string]string, error) {
	footer, err := io.ReadAll(o.object.OpenRange(body, size, envelope.FooterSize, size+envelope.FooterSize))
	if err != nil {
		return nil, err
	}
	return envelope.ParseFooter(footer)
}

// Range is the part of the stored body to fetch for n bytes of content from off:
// whole chunks, and the end of the body when the range reaches the end. The
// prefix is not needed; the header stands for it. storedLen is 0 when the range
// lies outside the content.
func (o *ObjectOpener) Range(off, n, size int64) (storedOff, storedLen int64) {
	if o.table != nil {
		segments := o.table.Segments(off, n)
		if len(segments) == 0 {
			return 0, 0
		}
		last := segments[len(segments)-1]
		return segments[0].StoredOff, last.StoredOff + last.StoredLen - segments[0].StoredOff
	}
	footer := o.suite.FooterSize()
	if n = min(n, size-off); n <= 0 {
		return envelope.SealedRange(0, 0, size)
	}
	if off+n == size {
		n += footer // so that the end is authenticated
	}
	return envelope.SealedRange(off, n, size+footer)
}

// Reader is the content of a whole stored body. It fails with ErrOpen at the
// first chunk that does not authenticate, and at truncation.
func (o *ObjectOpener) Reader(body io.Reader, size int64) io.Reader {
	if o.Multipart() {
		return o.RangeReader(body, 0, size, size)
	}
	return &unfooted{opener: o.object.Open(body), left: size, footer: o.suite.FooterSize()}
}

// RangeReader is the content of a range, from the body part that Range names. size
// is what the stored length says; a range that reaches the end proves it.
func (o *ObjectOpener) RangeReader(body io.Reader, off, n, size int64) io.Reader {
	if o.Multipart() {
		return o.parts(body, off, n)
	}
	footer := o.suite.FooterSize()
	n = min(n, size-off)
	if off+n < size || footer == 0 {
		return o.object.OpenRange(body, off, n, size+footer)
	}
	return &unfooted{opener: o.object.OpenRange(body, off, n+footer, size+footer), left: n, footer: footer}
}

// unfooted is content whose message goes on with a footer: it ends once the footer
// has been there, too.
type unfooted struct {
	opener io.Reader
	left   int64 // content still to come
	footer int64
}

func (u *unfooted) Read(p []byte) (int, error) {
	n, err := u.opener.Read(p)
	content := int(min(int64(n), u.left))
	u.left -= int64(content)
	u.footer -= int64(n - content)
	switch {
	case u.footer < 0, err == io.EOF && (u.left > 0 || u.footer > 0):
		return 0, ErrOpen
	case content == 0 && n > 0 && err == nil:
		return u.Read(p)
	}
	return content, err
}
