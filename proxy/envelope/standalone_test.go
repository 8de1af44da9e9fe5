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
)

// What follows opens stored objects from FORMAT.md and nothing else: it shares no code
// with the package, so that a reader of the document can be sure to be able to do the
// same. It is written to be read beside it, and holds all of an object in memory.

// errAlone is every refusal of the stand-alone decryptor.
var errAlone = errors.New("refused")

// alone is a stored object and what is needed to open it.
type alone struct {
	dataKey, customerKey []byte
	bucket, key, header  string
	body                 []byte
}

func aloneExpand(key []byte, info string, n int) []byte {
	out, err := hkdf.Expand(sha512.New, key, info, n)
	if err != nil {
		panic(err)
	}
	return out
}

// aloneMessage opens a message: [O2] to [O8]. With a salt from elsewhere the prefix is
// not looked at.
func aloneMessage(inputKey, context, sealed, known []byte) ([]byte, error) {
	if len(sealed) < 56+16 {
		return nil, errAlone
	}
	salt := sealed[:24]
	if known != nil {
		salt = known
	}
	okm := aloneExpand(inputKey, "c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00"+string(salt)+string(context), 76)
	if known == nil && !hmac.Equal(okm[44:], sealed[24:56]) {
		return nil, errAlone
	}
	block, _ := aes.NewCipher(okm[:32])
	aead, _ := cipher.NewGCM(block)
	var plain []byte
	rest := sealed[56:]
	for k := uint64(0); ; k++ {
		n := min(len(rest), 16384+16)
		nonce := bytes.Clone(okm[32:44])
		for i := range 8 {
			nonce[11-i] ^= byte(k >> (8 * i))
		}
		chunk, err := aead.Open(nil, nonce, rest[:n], nil)
		if err != nil {
			return nil, errAlone
		}
		plain, rest = append(plain, chunk...), rest[n:]
		if n < 16384+16 {
			if len(rest) > 0 {
				return nil, errAlone
			}
			return plain, nil
		}
	}
}

// aloneReader cuts a document into fields.
type aloneReader struct {
	rest []byte
	bad  bool
}

func (r *aloneReader) take(n int) []byte {
	if n > len(r.rest) {
		r.bad, r.rest = true, nil
		return make([]byte, n)
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *aloneReader) lp1() []byte { return r.take(int(r.take(1)[0])) }
func (r *aloneReader) lp2() []byte { return r.take(int(binary.BigEndian.Uint16(r.take(2)))) }

func lp4(s string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(s)))) + s
}

// aloneEntries reads the entries of [H9], raw; of a footer up to its zeros.
func aloneEntries(b []byte, footer bool) (map[int][]byte, error) {
	entries := map[int][]byte{}
	r := aloneReader{rest: b}
	for len(r.rest) > 0 && !(footer && len(bytes.Trim(r.rest, "\x00")) == 0) {
		code := int(r.take(1)[0]) & 0x7f
		if code == 0 {
			r.lp1()
			code = -1
		}
		entries[code] = r.lp1()
		if code > 17 {
			r.bad = true
		}
	}
	if r.bad {
		return nil, errAlone
	}
	return entries, nil
}

// open opens the object and returns its content and its entries, those of a footer
// included.
func (a alone) open() ([]byte, map[int][]byte, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(a.header) // [H1]
	if err != nil || len(raw) < 40+32 || string(raw[:3]) != "SK\x01" {
		return nil, nil, errAlone
	}
	suite, customer := raw[3]&0x7f, raw[3]&0x80 != 0 // [H2]
	if suite < 1 || suite > 3 || suite == 1 && customer || customer != (a.customerKey != nil) {
		return nil, nil, errAlone
	}
	id, untagged, tag := string(raw[4:28]), raw[:len(raw)-32], raw[len(raw)-32:]
	keys := aloneExpand(a.dataKey, "sidekey/v1/header\x00"+id+string(raw[28:40]), 64) // [H6]
	commitment := ""
	if suite == 1 {
		input := aloneExpand(a.dataKey, "sidekey/v1/object\x00"+id, 32)
		okm := aloneExpand(input, "c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00"+id+aloneContext(suite, id, 0), 76)
		commitment = string(okm[44:])
	}
	mac := hmac.New(sha256.New, keys[32:]) // [H7]
	mac.Write([]byte(string(untagged) + commitment + lp4(a.bucket) + lp4(a.key)))
	if !hmac.Equal(mac.Sum(nil), tag) {
		return nil, nil, errAlone
	}
	r := aloneReader{rest: untagged[40:]}
	r.lp1()
	r.lp2()
	r.lp2()
	sealed := r.lp2()
	block, _ := aes.NewCipher(keys[:32]) // [H9]
	cipher.NewCTR(block, make([]byte, 16)).XORKeyStream(sealed, bytes.Clone(sealed))
	entries, err := aloneEntries(sealed, false)
	if err != nil || r.bad || len(r.rest) > 0 {
		return nil, nil, errAlone
	}
	input := entries[14] // [H10]
	if input == nil {
		input = aloneExpand(a.dataKey, "sidekey/v1/object\x00"+id, 32) // [O1]
	}
	content := input
	if customer { // [H11], [O9]
		check := hmac.New(sha256.New, keys[32:])
		check.Write([]byte("sidekey/v1/customer\x00"))
		check.Write(a.customerKey)
		if !hmac.Equal(check.Sum(nil), entries[15]) {
			return nil, nil, errAlone
		}
		content, _ = hkdf.Key(sha512.New, append(bytes.Clone(input), a.customerKey...), []byte(id), "sidekey/v1/customer\x00", 32)
	}
	if suite == 3 {
		plain, err := a.parts(id, input, content)
		return plain, entries, err
	}
	plain, err := aloneMessage(content, []byte(aloneContext(suite, id, 0)), a.body, nil)
	if err != nil || string(a.body[:24]) != id {
		return nil, nil, errAlone
	}
	if suite == 2 { // [O10]
		if len(plain) < 64 {
			return nil, nil, errAlone
		}
		footer, err := aloneEntries(plain[len(plain)-64:], true)
		if err != nil {
			return nil, nil, err
		}
		for code, value := range footer {
			entries[code] = value
		}
		plain = plain[:len(plain)-64]
	}
	if size, ok := entries[13]; ok && string(size) != fmt.Sprint(len(plain)) {
		return nil, nil, errAlone
	}
	return plain, entries, nil
}

func aloneContext(suite byte, id string, part uint32) string { // [O4]
	return "sidekey/v1/message\x00" + string([]byte{suite}) + id + string(binary.BigEndian.AppendUint32(nil, part))
}

// parts opens a multipart object: [M1] to [M4].
func (a alone) parts(id string, input, content []byte) ([]byte, error) {
	b := a.body
	if len(b) < 8 || string(b[len(b)-8:len(b)-4]) != "SKT1" {
		return nil, errAlone
	}
	n := int(binary.BigEndian.Uint32(b[len(b)-4:]))
	if n > len(b)-8 {
		return nil, errAlone
	}
	table, err := aloneMessage(input, []byte(aloneContext(3, id, 1<<32-1)), b[len(b)-8-n:len(b)-8], nil)
	if err != nil {
		return nil, err
	}
	r := aloneReader{rest: table}
	version := r.take(1)[0]
	r.take(32)
	algorithm, composite := r.take(1)[0], r.take(1)[0]
	r.lp1()
	r.lp1()
	count := int(binary.BigEndian.Uint16(r.take(2)))
	if version != 1 || algorithm > 5 || composite > 1 || count < 1 || count > 10000 {
		return nil, errAlone
	}
	var plain []byte
	at, last := 0, 0
	for range count {
		number, size := int(binary.BigEndian.Uint16(r.take(2))), int(binary.BigEndian.Uint64(r.take(8)))
		salt := r.take(24)
		r.lp1()
		r.lp1()
		sealed := 56 + size + 16*(size/16384+1)
		if r.bad || number <= last || number > 10000 || size < 0 || size > 5<<30 || at+sealed > len(b) {
			return nil, errAlone
		}
		part, err := aloneMessage(content, []byte(aloneContext(3, id, uint32(number))), b[at:at+sealed], salt)
		if err != nil || len(part) != size {
			return nil, errAlone
		}
		plain, at, last = append(plain, part...), at+sealed, number
	}
	p := len(plain)
	if r.bad || len(r.rest) > 0 || len(b) != 56+p+16*(p/16384+1)+256+160*min(10000, p/5242880+1) { // [M3]
		return nil, errAlone
	}
	return plain, nil
}
