// SPDX-License-Identifier: Apache-2.0

package envelope_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// This file opens objects with nothing but the standard library, and was
// written from FORMAT.md alone: that what the package seals opens here shows
// that the document says enough, and that both refuse the same bytes shows
// that it says so clearly. It therefore must not call the package, and is
// plain rather than fast: it holds whole objects in memory.

// errAlone is every reason for which the stand-alone opener refuses.
var errAlone = errors.New("refused")

func refuse(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, errAlone)...)
}

// aloneObject is what is stored of an object, and the keys that open it.
type aloneObject struct {
	dataKey, customerKey []byte
	bucket, name         string
	header               string
	body                 []byte
}

// aloneOpened is what an object opens to.
type aloneOpened struct {
	content []byte
	entries map[string]string // of the header [H9]
	footer  map[string]string // of the body [O10]
	table   *aloneTable       // of a multipart object
}

func (o aloneObject) open() (aloneOpened, error) {
	h, err := parseAloneHeader(o.header)
	if err != nil {
		return aloneOpened{}, err
	}
	k, err := h.open(o)
	if err != nil {
		return aloneOpened{}, err
	}
	opened := aloneOpened{entries: k.entries}
	switch h.suite {
	case 1:
		opened.content, err = openAlone(k.content, h.context(0), h.objectID, o.body)
	case 2:
		opened.content, opened.footer, err = k.openFooter(o.body)
	case 3:
		opened.content, opened.table, err = k.openParts(o.body)
	}
	if err != nil {
		return aloneOpened{}, err
	}
	if size, ok := k.entries["size"]; ok && size != fmt.Sprint(len(opened.content)) { // [H9]
		return aloneOpened{}, refuse("%d bytes, and the header says %s", len(opened.content), size)
	}
	return opened, nil
}

// aloneHeader is the value of the object header [H1]-[H5].
type aloneHeader struct {
	suite      byte // without bit 7
	customer   bool // bit 7
	objectID   []byte
	salt       []byte
	keyRef     []byte
	wrapped    []byte
	encContext []byte
	checksums  []byte // encrypted
	tag        []byte
	tagged     []byte // the header up to the tag
}

func parseAloneHeader(value string) (aloneHeader, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(value)
	if err != nil || len(value) > 2048 || strings.ContainsAny(value, "\r\n") {
		return aloneHeader{}, refuse("the header is not base64url of at most 2048 characters")
	}
	r := reader(raw)
	if !bytes.Equal(r.take(3), []byte("SK\x01")) {
		return aloneHeader{}, refuse("magic or version")
	}
	var h aloneHeader
	suite := r.number(1)
	h.suite, h.customer = byte(suite&0x7f), suite&0x80 != 0
	h.objectID, h.salt = r.take(24), r.take(12)
	h.keyRef, h.wrapped = r.lp(1), r.lp(2)
	h.encContext, h.checksums = r.lp(2), r.lp(2)
	h.tag = r.take(32)
	if r == nil || len(r) > 0 {
		return aloneHeader{}, refuse("a header cut short, or bytes behind it")
	}
	h.tagged = raw[:len(raw)-32]
	return h, h.check()
}

func (h aloneHeader) check() error {
	switch {
	case h.suite < 1 || h.suite > 3 || h.suite == 1 && h.customer:
		return refuse("suite %d", h.suite)
	case len(h.wrapped) == 0:
		return refuse("no wrapped data key")
	case !validKeyRef(h.keyRef):
		return refuse("key reference %x", h.keyRef)
	case !validContext(h.encContext):
		return refuse("encryption context %x", h.encContext)
	}
	return nil
}

// validKeyRef is [H4].
func validKeyRef(ref reader) bool {
	switch kind := ref.number(1); {
	case ref == nil:
		return false
	case kind == 0:
		return !isKeyARN(string(ref))
	case kind == 1 && len(ref) >= 22 && len(ref) <= 22+64:
		account := binary.BigEndian.Uint64(append([]byte{0, 0}, ref[:6]...))
		return account < 1e12 && !bytes.ContainsRune(ref[22:], ':')
	}
	return false
}

// isKeyARN tells if s is arn:aws:kms:REGION:ACCOUNT:key/UUID.
func isKeyARN(s string) bool {
	f := strings.Split(s, ":")
	if len(f) != 6 || strings.Join(f[:3], ":") != "arn:aws:kms" || len(f[3]) > 64 || len(f[4]) != 12 {
		return false
	}
	uuid, ok := strings.CutPrefix(f[5], "key/")
	if !ok || len(uuid) != 36 || strings.Trim(f[4], "0123456789") != "" {
		return false
	}
	for i, c := range uuid {
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash != (c == '-') {
			return false
		}
	}
	return strings.Trim(uuid, "0123456789abcdef-") == ""
}

// validContext is [H5].
func validContext(pairs reader) bool {
	for last := []byte(nil); len(pairs) > 0; {
		key := pairs.lp(2)
		pairs.lp(2)
		if pairs == nil || last != nil && bytes.Compare(last, key) >= 0 {
			return false
		}
		last = key
	}
	return true
}

// aloneKeys is what an authentic header gives.
type aloneKeys struct {
	aloneHeader
	input   []byte // of the part table
	content []byte // of messages of content: input, or with the customer key in it
	entries map[string]string
}

func (h aloneHeader) open(o aloneObject) (aloneKeys, error) {
	if len(o.dataKey) != 32 { // [K1]
		return aloneKeys{}, refuse("a data key of %d bytes", len(o.dataKey))
	}
	k := aloneKeys{aloneHeader: h}
	keys := expand(o.dataKey, 64, "sidekey/v1/header\x00", h.objectID, h.salt) // [H6]
	k.input = expand(o.dataKey, 32, "sidekey/v1/object\x00", h.objectID)       // [O1]
	mac := hmac.New(sha256.New, keys[32:])                                     // [H7]
	mac.Write(h.tagged)
	if h.suite == 1 {
		mac.Write(aloneMessageKeys(k.input, h.objectID, h.context(0))[44:])
	}
	mac.Write(lp4(o.bucket))
	mac.Write(lp4(o.name))
	if !hmac.Equal(mac.Sum(nil), h.tag) { // [H8]
		return aloneKeys{}, refuse("the header's tag")
	}
	block, err := aes.NewCipher(keys[:32])
	if err != nil {
		return aloneKeys{}, err
	}
	entries := make([]byte, len(h.checksums))
	cipher.NewCTR(block, make([]byte, 16)).XORKeyStream(entries, h.checksums) // [H9]
	if k.entries, err = parseEntries(entries); err != nil {
		return aloneKeys{}, err
	}
	if carried, ok := k.entries["input-key"]; ok { // [H10]
		if k.input, err = base64.StdEncoding.DecodeString(carried); err != nil || len(k.input) != 32 {
			return aloneKeys{}, refuse("an input key of %d bytes", len(k.input))
		}
	}
	k.content, err = k.customerKey(o.customerKey, keys[32:])
	return k, err
}

// customerKey is [O9] and [H11].
func (k aloneKeys) customerKey(customerKey, macKey []byte) ([]byte, error) {
	proof, ok := k.entries["customer-key"]
	switch {
	case k.customer != ok:
		return nil, refuse("bit 7 of the suite and the entry customer-key disagree")
	case !k.customer && customerKey != nil:
		return nil, refuse("a customer key for an object without one")
	case !k.customer:
		return k.input, nil
	case len(customerKey) != 32:
		return nil, refuse("a customer key of %d bytes", len(customerKey))
	}
	mac := hmac.New(sha256.New, macKey)
	mac.Write([]byte("sidekey/v1/customer\x00"))
	mac.Write(customerKey)
	if base64.StdEncoding.EncodeToString(mac.Sum(nil)) != proof {
		return nil, refuse("another customer key")
	}
	return hkdf.Key(sha512.New, slices.Concat(k.input, customerKey), k.objectID, "sidekey/v1/customer\x00", 32)
}

// context is [O4].
func (h aloneHeader) context(part uint32) []byte {
	c := append([]byte("sidekey/v1/message\x00"), h.suite)
	return binary.BigEndian.AppendUint32(append(c, h.objectID...), part)
}

// entryNames are the codes of [H9].
var entryNames = []string{"", "CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256", "MD5",
	"x-amz-checksum-crc32", "x-amz-checksum-crc32c", "x-amz-checksum-crc64nvme",
	"x-amz-checksum-sha1", "x-amz-checksum-sha256", "content-md5", "size", "input-key",
	"customer-key", "footer", "type"}

// parseEntries is [H9].
func parseEntries(r reader) (map[string]string, error) {
	entries, last := map[string]string{}, ""
	for len(r) > 0 {
		name, value, ok := r.entry()
		if !ok || name <= last { // no name is empty
			return nil, refuse("entry %q after %q", name, last)
		}
		entries[name], last = value, name
	}
	return entries, nil
}

// entry takes an entry, and is not ok if it is not as a writer must write it.
func (r *reader) entry() (name, value string, ok bool) {
	code := r.number(1)
	packed, code := code&0x80 != 0, code&0x7f
	if code >= uint64(len(entryNames)) {
		return "", "", false
	}
	if name = entryNames[code]; code == 0 {
		if name = string(r.lp(1)); slices.Contains(entryNames, name) {
			return "", "", false
		}
	}
	raw := r.lp(1)
	if packed {
		return name, base64.StdEncoding.EncodeToString(raw), *r != nil && len(raw) > 0
	}
	decoded, err := base64.StdEncoding.Strict().DecodeString(string(raw))
	is64 := err == nil && base64.StdEncoding.EncodeToString(decoded) == string(raw) && len(raw) > 0
	return name, string(raw), *r != nil && !is64
}

// openFooter is [O10].
func (k aloneKeys) openFooter(body []byte) ([]byte, map[string]string, error) {
	plain, err := openAlone(k.content, k.context(0), k.objectID, body)
	if err != nil {
		return nil, nil, err
	}
	if len(plain) < 64 {
		return nil, nil, refuse("no room for a footer")
	}
	content, footer := plain[:len(plain)-64], reader(plain[len(plain)-64:])
	if _, ok := k.entries["footer"]; !ok {
		return content, nil, nil
	}
	entries := footer
	for len(bytes.Trim(footer, "\x00")) > 0 {
		if _, _, ok := footer.entry(); !ok {
			return nil, nil, refuse("the footer")
		}
	}
	sums, err := parseEntries(entries[:len(entries)-len(footer)])
	return content, sums, err
}

// aloneMessageKeys is [O2]: key, base nonce and commitment.
func aloneMessageKeys(input, salt, context []byte) []byte {
	return expand(input, 76, "c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00", salt, context)
}

// openAlone opens a whole message [O3]-[O6]. The salt is nil where it is not
// known from elsewhere.
func openAlone(input, context, salt, message []byte) ([]byte, error) {
	if len(message) < 56 || salt != nil && !bytes.Equal(salt, message[:24]) {
		return nil, refuse("the salt of a message")
	}
	keys := aloneMessageKeys(input, message[:24], context)
	if !hmac.Equal(keys[44:], message[24:56]) {
		return nil, refuse("the commitment of a message")
	}
	return openChunks(keys, message[56:])
}

func openChunks(keys, sealed []byte) ([]byte, error) {
	plain := []byte{}
	for k := uint64(0); ; k++ {
		n := min(len(sealed), 16384+16)
		chunk, err := aloneGCM(keys[:32]).Open(nil, chunkNonce(keys[32:44], k), sealed[:n], nil)
		if err != nil {
			return nil, refuse("chunk %d", k)
		}
		plain, sealed = append(plain, chunk...), sealed[n:]
		if len(chunk) < 16384 {
			return plain, nil // n was all there was
		}
	}
}

// chunkNonce is [O5].
func chunkNonce(base []byte, k uint64) []byte {
	nonce := slices.Clone(base)
	last := binary.BigEndian.Uint64(nonce[4:])
	binary.BigEndian.PutUint64(nonce[4:], last^k)
	return nonce
}

// sealedLength is [O6].
func sealedLength(p uint64) uint64 { return 56 + p + 16*(p/16384+1) }

// aloneTable is the part table [M2].
type aloneTable struct {
	uploadID      []byte
	algorithm     uint64
	composite     uint64
	checksum, md5 []byte
	parts         []alonePart
}

type alonePart struct {
	number, size        uint64
	salt, checksum, md5 []byte
}

// openParts is [M1] and [M3]-[M4].
func (k aloneKeys) openParts(body []byte) ([]byte, *aloneTable, error) {
	if len(body) < 8 || string(body[len(body)-8:len(body)-4]) != "SKT1" {
		return nil, nil, refuse("no locator")
	}
	length := int64(binary.BigEndian.Uint32(body[len(body)-4:]))
	rest := body[:len(body)-8]
	if length > int64(len(rest)) {
		return nil, nil, refuse("a part table of %d bytes", length)
	}
	plain, err := openAlone(k.input, k.context(1<<32-1), nil, rest[int64(len(rest))-length:])
	if err != nil {
		return nil, nil, err
	}
	table, err := parseAloneTable(plain)
	if err != nil {
		return nil, nil, err
	}
	p := table.size()
	most := min(10000, p/5242880+1)
	if uint64(len(body)) != sealedLength(p)+256+160*most { // [M3]
		return nil, nil, refuse("%d bytes stored for %d", len(body), p)
	}
	if uint64(length) > sealedLength(87+84*most) { // [M4]
		return nil, nil, refuse("a part table of %d bytes", length)
	}
	content, err := k.openTableParts(table, rest[:int64(len(rest))-length])
	return content, table, err
}

// openTableParts opens the parts, and leaves the padding behind them alone.
func (k aloneKeys) openTableParts(table *aloneTable, stored []byte) ([]byte, error) {
	content := []byte{}
	for _, part := range table.parts {
		n := sealedLength(part.size)
		if n > uint64(len(stored)) {
			return nil, refuse("part %d is cut short", part.number)
		}
		keys := aloneMessageKeys(k.content, part.salt, k.context(uint32(part.number)))
		if part.size > 0 {
			plain, err := openChunks(keys, stored[56:n])
			if err != nil || uint64(len(plain)) != part.size {
				return nil, refuse("part %d, %v", part.number, err)
			}
			content = append(content, plain...)
		}
		stored = stored[n:]
	}
	return content, nil
}

func parseAloneTable(r reader) (*aloneTable, error) {
	version := r.number(1)
	t := &aloneTable{uploadID: r.take(32), algorithm: r.number(1), composite: r.number(1)}
	t.checksum, t.md5 = r.lp(1), r.lp(1)
	count := r.number(2)
	if r == nil || version != 1 || t.algorithm > 5 || t.composite > 1 || count < 1 || count > 10000 {
		return nil, refuse("the beginning of the part table")
	}
	for last := uint64(0); count > 0; count-- {
		part := alonePart{number: r.number(2), size: r.number(8), salt: r.take(24)}
		part.checksum, part.md5 = r.lp(1), r.lp(1)
		if r == nil || part.number <= last || part.number > 10000 || part.size > 5<<30 {
			return nil, refuse("part %d of the table", part.number)
		}
		t.parts, last = append(t.parts, part), part.number
	}
	if len(r) > 0 {
		return nil, refuse("bytes behind the part table")
	}
	return t, nil
}

func (t *aloneTable) size() uint64 {
	size := uint64(0)
	for _, part := range t.parts {
		size += part.size
	}
	return size
}

// aloneRecord is the record of a part [U2].
type aloneRecord struct {
	size                      uint64
	salt, etag, checksum, md5 []byte
	name                      string
	plain                     []byte
}

func openAloneRecord(input, uploadID []byte, number uint32, record string) (aloneRecord, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(record)
	if err != nil || len(raw) < 12 || len(record) > 200 || strings.ContainsAny(record, "\r\n") {
		return aloneRecord{}, refuse("the record is not base64url of nonce and ciphertext")
	}
	key := expand(input, 32, "sidekey/v1/record\x00", uploadID)
	plain, err := aloneGCM(key).Open(nil, raw[:12], raw[12:], binary.BigEndian.AppendUint32(nil, number))
	if err != nil {
		return aloneRecord{}, refuse("the record of part %d", number)
	}
	r := reader(plain)
	p := aloneRecord{plain: plain, size: r.number(8), salt: r.take(24), etag: r.take(16)}
	p.name = string(r.lp(1))
	p.checksum, p.md5 = r.lp(1), r.lp(1)
	if r == nil || len(r) > 0 {
		return aloneRecord{}, refuse("the plaintext of a record")
	}
	return p, nil
}

// reader takes fields from the front. It is nil once it was asked for more
// than there was, and then gives nothing.
type reader []byte

func (r *reader) take(n int) []byte {
	if *r == nil || n > len(*r) {
		*r = nil
		return nil
	}
	field := (*r)[:n:n]
	*r = (*r)[n:]
	return field
}

func (r *reader) number(size int) uint64 {
	var b [8]byte
	copy(b[8-size:], r.take(size))
	return binary.BigEndian.Uint64(b[:])
}

// lp takes a field behind its length in size bytes.
func (r *reader) lp(size int) []byte { return r.take(int(r.number(size))) }

func lp4(s string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...)
}

// expand is HKDF-Expand [K1] with the concatenated label and rest as info.
func expand(prk []byte, length int, label string, rest ...[]byte) []byte {
	out, err := hkdf.Expand(sha512.New, prk, label+string(slices.Concat(rest...)), length)
	if err != nil {
		panic(err)
	}
	return out
}

func aloneGCM(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return aead
}
