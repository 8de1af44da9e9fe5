// SPDX-License-Identifier: Apache-2.0

package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
)

// Header is the one metadata value of an object. FORMAT.md [H1]–[H9].
//
//	off  len  field, big endian
//	  0    2  magic "SK"
//	  2    1  version 1
//	  3    1  suite; bit 7: the content needs a customer key, too
//	  4   24  object ID
//	 28   12  header salt
//	 40  1+n  key reference
//	      2+n  wrapped data key
//	      2+n  encryption context
//	      2+n  encrypted checksums
//	end   32  tag
//
// As text it is unpadded base64url ([H1]). Under a sidekey key (blobs up to 140
// bytes) with up to 45 bytes of checksums it has at most 400 characters.
type Header struct {
	Suite    Suite
	ObjectID [24]byte
	// Salt is fresh each time a header is sealed, also for the same object.
	Salt [12]byte
	// KeyARN is the KMS key of the data key; informative until Open succeeded.
	KeyARN string
	// WrappedKey is the KMS ciphertext blob of the data key.
	WrappedKey []byte
	// Context is the encryption context the data key was wrapped under, less
	// what follows from the bucket.
	Context map[string]string
	// HasCustomerKey says that the content needs the client's own key, too.
	HasCustomerKey bool
	// CustomerKey is that key, 32 bytes: given to Seal and Open, never written.
	CustomerKey []byte
	// TablesOnly has Open do without the customer key: part table and part records,
	// which are not under it, can be opened then, and no content.
	TablesOnly bool

	carried   []byte // input key of a body that was sealed under another header
	checksums []byte // encrypted
	tag       [tagLen]byte
}

const (
	headerMagic   = "SK"
	headerVersion = 1
	headerFixed   = 4 + 24 + 12
	tagLen        = sha256.Size
	customerBit   = 0x80

	// maxHeader bounds what a parser looks at. S3 allows 2 KiB of user metadata.
	maxHeader = 2048
)

// NewHeader returns a header with a fresh object ID and salt.
func NewHeader(suite Suite, keyARN string, wrappedKey []byte, context map[string]string) *Header {
	h := &Header{Suite: suite, KeyARN: keyARN, WrappedKey: wrappedKey, Context: context}
	rand.Read(h.ObjectID[:])
	rand.Read(h.Salt[:])
	return h
}

// Carry makes the header one of the body of o, which was sealed under another
// header: a copy. The header holds o's input key, encrypted, so that the data key
// of o opens nothing but o ([H10]). It is for objects without a customer key.
func (h *Header) Carry(o *Object) error {
	if o.customer != nil || h.CustomerKey != nil {
		return fmt.Errorf("envelope: a body under a customer key needs that key anew")
	}
	h.Suite, h.ObjectID, h.carried = o.suite, o.id, o.inputKey
	return nil
}

// Seal encrypts the checksums into the header, binds the header to bucket and
// key name, and returns the object to seal the body with.
func (h *Header) Seal(dataKey []byte, bucket, key string, checksums map[string]string) (*Object, error) {
	if len(h.KeyARN) > maxKeyRef || len(h.WrappedKey) == 0 {
		return nil, fmt.Errorf("envelope: an object header needs a wrapped key and a key ARN of at most %d bytes", maxKeyRef)
	}
	if h.Suite == PlainSuite && h.CustomerKey != nil {
		return nil, errors.New("envelope: suite 1 has no customer keys")
	}
	k, err := h.keys(dataKey)
	if err != nil {
		return nil, err
	}
	defer clear(k)
	h.HasCustomerKey = h.CustomerKey != nil
	plain, err := appendChecksums(nil, h.withOwn(k, checksums))
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	if h.checksums, err = xorChecksums(k, plain); err != nil {
		return nil, err
	}
	if h.tag, err = h.computeTag(k, dataKey, bucket, key); err != nil {
		return nil, err
	}
	if n := base64.RawURLEncoding.EncodedLen(len(h.append(nil))); n > maxHeader {
		return nil, fmt.Errorf("envelope: an object header of %d bytes, at most %d fit", n, maxHeader)
	}
	return h.object(dataKey)
}

// Open authenticates the header for bucket and key name and returns the object
// and the checksums ([H8]). It fails with ErrOpen, or with ErrCustomerKey if the
// header is good but needs another customer key, or none.
func (h *Header) Open(dataKey []byte, bucket, key string) (*Object, map[string]string, error) {
	k, err := h.keys(dataKey)
	if err != nil {
		return nil, nil, err
	}
	defer clear(k)
	tag, err := h.computeTag(k, dataKey, bucket, key)
	if err != nil {
		return nil, nil, err
	}
	if !hmac.Equal(tag[:], h.tag[:]) {
		return nil, nil, ErrOpen
	}
	plain, err := xorChecksums(k, h.checksums)
	if err != nil {
		return nil, nil, err
	}
	defer clear(plain)
	checksums, err := parseChecksums(plain, false)
	if err != nil {
		return nil, nil, ErrOpen
	}
	if _, ok := checksums[customerName]; ok != h.HasCustomerKey {
		return nil, nil, ErrOpen
	}
	if h.TablesOnly && h.CustomerKey == nil {
		// Nothing to compare.
	} else if h.HasCustomerKey != (h.CustomerKey != nil) || h.HasCustomerKey && !hmac.Equal([]byte(checksums[customerName]), []byte(h.customerCheck(k))) {
		return nil, nil, ErrCustomerKey
	}
	delete(checksums, customerName)
	if h.carried, err = takeInputKey(checksums); err != nil {
		return nil, nil, err
	}
	o, err := h.object(dataKey)
	if err != nil {
		return nil, nil, err
	}
	return o, checksums, nil
}

// ErrCustomerKey says that an object needs another customer key than was given,
// or one where none was given.
var ErrCustomerKey = errors.New("envelope: another customer key")

// withOwn adds the header's own entries to the checksums.
func (h *Header) withOwn(keys []byte, checksums map[string]string) map[string]string {
	if h.carried == nil && h.CustomerKey == nil {
		return checksums
	}
	all := maps.Clone(checksums)
	if all == nil {
		all = map[string]string{}
	}
	if h.carried != nil {
		all[inputKeyName] = base64.StdEncoding.EncodeToString(h.carried)
	}
	if h.CustomerKey != nil {
		all[customerName] = h.customerCheck(keys)
	}
	return all
}

// takeInputKey removes the carried input key from the entries; nil if there is
// none.
func takeInputKey(checksums map[string]string) ([]byte, error) {
	text, ok := checksums[inputKeyName]
	if !ok {
		return nil, nil
	}
	delete(checksums, inputKeyName)
	carried, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(carried) != DataKeySize {
		return nil, ErrOpen
	}
	return carried, nil
}

// customerCheck commits to the customer key ([H11]).
func (h *Header) customerCheck(keys []byte) string {
	mac := hmac.New(sha256.New, keys[32:])
	mac.Write([]byte(labelCustomer))
	mac.Write(h.CustomerKey)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// keys are the header's encryption key and MAC key ([H6]). They are used for
// one header: the salt is fresh, and 2^32 headers of one object share a salt
// with a chance below 2^-32.
func (h *Header) keys(dataKey []byte) ([]byte, error) {
	return expand(dataKey, labelHeader+string(h.ObjectID[:])+string(h.Salt[:]), 64)
}

// xorChecksums is AES-256-CTR from a zero counter under a key that is used for
// one header; the tag covers the result ([H9]).
func xorChecksums(keys, in []byte) ([]byte, error) {
	block, err := aes.NewCipher(keys[:32])
	if err != nil {
		return nil, fmt.Errorf("preparing AES: %w", err)
	}
	out := make([]byte, len(in))
	cipher.NewCTR(block, make([]byte, aes.BlockSize)).XORKeyStream(out, in)
	return out, nil
}

// computeTag is HMAC-SHA-256 over the header up to the tag and the object's place
// ([H7]). It commits to the data key, and so to every key derived from it: a reader
// of a range, who has no message prefix to compare with, still has the message's key
// committed to. Suite 1 has in it besides the commitment of the message that the data
// key itself gives, also in a copy: a carried input key is read once the tag is right.
func (h *Header) computeTag(keys, dataKey []byte, bucket, key string) (tag [tagLen]byte, err error) {
	b := h.appendUntagged(nil)
	if h.Suite == PlainSuite {
		own := &Header{Suite: h.Suite, ObjectID: h.ObjectID}
		o, err := own.object(dataKey)
		if err != nil {
			return tag, err
		}
		b = append(b, o.commitment()...)
	}
	b = appendLong(b, bucket)
	b = appendLong(b, key)
	mac := hmac.New(sha256.New, keys[32:])
	mac.Write(b)
	mac.Sum(tag[:0])
	return tag, nil
}

// String is the metadata value.
func (h *Header) String() string {
	return base64.RawURLEncoding.EncodeToString(h.append(nil))
}

func (h *Header) append(b []byte) []byte {
	return append(h.appendUntagged(b), h.tag[:]...)
}

func (h *Header) appendUntagged(b []byte) []byte {
	b = append(b, headerMagic...)
	suite := byte(h.Suite)
	if h.HasCustomerKey {
		suite |= customerBit
	}
	b = append(b, headerVersion, suite)
	b = append(b, h.ObjectID[:]...)
	b = append(b, h.Salt[:]...)
	ref := appendKeyRef(nil, h.KeyARN)
	b = append(append(b, byte(len(ref))), ref...)
	b = appendShort(b, h.WrappedKey)
	b = appendShort(b, appendContext(nil, h.Context))
	return appendShort(b, h.checksums)
}

// ParseHeader parses a metadata value. Nothing in the result is authenticated
// before Open. It fails with ErrFormat, and accepts exactly what String returns.
func ParseHeader(s string) (*Header, error) {
	if len(s) > maxHeader {
		return nil, malformed("an object header of %d bytes", len(s))
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || base64.RawURLEncoding.EncodedLen(len(b)) != len(s) {
		return nil, malformed("an object header that is not unpadded base64url")
	}
	if len(b) < headerFixed+tagLen || string(b[:2]) != headerMagic {
		return nil, malformed("not an object header")
	}
	suite := Suite(b[3] &^ customerBit)
	if b[2] != headerVersion || !suite.known() || b[3] == customerBit|byte(PlainSuite) {
		return nil, malformed("object header version %d suite %d", b[2], b[3])
	}
	h := &Header{Suite: suite, HasCustomerKey: b[3]&customerBit != 0}
	copy(h.ObjectID[:], b[4:])
	copy(h.Salt[:], b[28:])
	copy(h.tag[:], b[len(b)-tagLen:])
	return h, h.parseFields(fields{rest: b[headerFixed : len(b)-tagLen]})
}

func (h *Header) parseFields(f fields) (err error) {
	ref := f.bytes(1)
	h.WrappedKey = f.bytes(2)
	context := f.bytes(2)
	h.checksums = f.bytes(2)
	if f.bad || len(f.rest) != 0 {
		return malformed("object header fields")
	}
	if len(h.WrappedKey) == 0 {
		return malformed("object header without a wrapped key")
	}
	if h.KeyARN, err = parseKeyRef(ref); err != nil {
		return err
	}
	h.Context, err = parseContext(context)
	return err
}

// fields reads length-prefixed fields; bad stays set after the first that does
// not fit.
type fields struct {
	rest []byte
	bad  bool
}

// bytes reads a field with a length of size bytes (1 or 2).
func (f *fields) bytes(size int) []byte {
	if f.bad || len(f.rest) < size {
		f.bad = true
		return nil
	}
	n := int(f.rest[0])
	if size == 2 {
		n = int(binary.BigEndian.Uint16(f.rest))
	}
	if len(f.rest) < size+n {
		f.bad = true
		return nil
	}
	b := f.rest[size : size+n]
	f.rest = f.rest[size+n:]
	return b
}

// take reads size bytes.
func (f *fields) take(size int) []byte {
	if f.bad || len(f.rest) < size {
		f.bad = true
		return nil
	}
	b := f.rest[:size]
	f.rest = f.rest[size:]
	return b
}

func appendShort(b, field []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(field)))
	return append(b, field...)
}

func appendLong(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
	return append(b, s...)
}
