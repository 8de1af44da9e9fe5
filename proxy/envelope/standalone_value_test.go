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
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The stand-alone opener of column values, from FORMAT.md [V1]-[V15] and RFC
// 5297. See standalone_test.go.

// aloneBinding is [V4]: a column, or with a domain that.
type aloneBinding struct {
	tenant, table, column, domain, kind string
	search                              []byte // [V13]
}

func (b aloneBinding) bytes() []byte {
	if b.domain != "" {
		return slices.Concat([]byte{2}, lp4(b.tenant), lp4(b.domain), lp4(b.kind))
	}
	return slices.Concat([]byte{1}, lp4(b.tenant), lp4(b.table), lp4(b.column), lp4(b.kind))
}

// openAloneValue opens a value of a column of that suite, which the data key with
// this ID sealed.
func openAloneValue(dataKey []byte, keyID, column uint64, b aloneBinding, value []byte) ([]byte, error) {
	if len(dataKey) != 32 { // [K1]
		return nil, refuse("a data key of %d bytes", len(dataKey))
	}
	r := reader(value)
	if !bytes.Equal(r.take(2), []byte{0xF8, 0x4B}) { // [V1]
		return nil, refuse("magic")
	}
	suite := r.number(1)
	if suite == 4 && !bytes.Equal(r.take(4), b.search) {
		return nil, refuse("other tokens than the column's")
	}
	id := r.number(4)
	if r == nil || id != keyID || suite != column {
		return nil, refuse("suite %d, data key ID %d", suite, id)
	}
	aad := slices.Concat(value[:7], b.bytes()) // [V5]
	switch {
	case suite == 1 && len(value) >= 47 && b.domain == "":
		return openAloneRandom(dataKey, b.bytes(), aad, r)
	case suite == 2 && len(value) >= 23:
		key := expand(dataKey, 64, "sidekey/v1/equality\x00", b.bytes())
		return openAloneSIV(key, aad, r)
	case suite == 3 && len(value) >= 25 && (len(value)-25)%19 == 0:
		return openAloneRange(expand(dataKey, 96, "sidekey/v1/range\x00", b.bytes()), aad, r)
	case suite == 4 && len(value) >= 61 && b.domain == "":
		keys := expand(dataKey, 64, "sidekey/v1/search\x00", b.bytes())
		return openAloneSearchable(keys, b.search, slices.Concat(value[:11], b.bytes()), r)
	}
	return nil, refuse("suite %d with %d bytes", suite, len(value)) // [V2] [V3]
}

// openAloneRandom is [V6].
func openAloneRandom(dataKey, binding, aad []byte, body reader) ([]byte, error) {
	return openAlonePRK(expand(dataKey, 32, "sidekey/v1/random\x00", binding), aad, body)
}

func openAlonePRK(prk, aad []byte, body reader) ([]byte, error) {
	key, err := hkdf.Key(sha512.New, prk, body.take(12), "", 32)
	if err != nil {
		return nil, err
	}
	nonce := body.take(12)
	plain, err := aloneGCM(key).Open(nil, nonce, body, aad)
	if err != nil {
		return nil, refuse("a random value")
	}
	return plain, nil
}

// openAloneSIV is [V7]: AES-SIV-512 with one component of associated data.
func openAloneSIV(key, aad, body []byte) ([]byte, error) {
	iv, plain := body[:16], slices.Clone(body[16:])
	counter := slices.Clone(iv)
	counter[8] &= 0x7f
	counter[12] &= 0x7f
	cipher.NewCTR(aesBlock(key[32:]), counter).XORKeyStream(plain, plain)
	if !hmac.Equal(iv, s2v(key[:32], aad, plain)) {
		return nil, refuse("an equality value")
	}
	return plain, nil
}

// openAloneRange is [V8].
func openAloneRange(keys, aad, body []byte) ([]byte, error) {
	n := (len(body) - 18) / 19
	digits := body[:18*n+2]
	if n > 141 { // [V9]
		return nil, refuse("a range value of %d bytes", n)
	}
	plain, err := openAloneSIV(keys[:64], slices.Concat(aad, digits), body[len(digits):])
	if err == nil && !bytes.Equal(digits, aloneDigits(keys[64:], plain)) {
		return nil, errors.New("the digits are not those of the plaintext")
	}
	return plain, err
}

// openAloneSearchable is [V13].
func openAloneSearchable(keys, lengths, aad []byte, body reader) ([]byte, error) {
	count := int(binary.BigEndian.Uint16(body))
	if count < 1 || len(body) < 2+8*count+40 { // [V14]
		return nil, refuse("%d tokens in %d bytes", count, len(body))
	}
	tokens := body[:2+8*count]
	body = body[len(tokens):]
	plain, err := openAlonePRK(keys[:32], slices.Concat(aad, tokens), body)
	if err == nil && !bytes.Equal(tokens[2:], aloneTokens(keys[32:], lengths, plain)) {
		return nil, errors.New("the tokens are not those of the plaintext")
	}
	return plain, err
}

// aloneTokens is [V14] and [V15], for valid UTF-8.
func aloneTokens(key, lengths, plain []byte) []byte {
	var tokens []string
	add := func(kind byte, part string) {
		mac := hmac.New(sha256.New, key)
		mac.Write(append([]byte{kind}, part...))
		tokens = append(tokens, string(mac.Sum(nil)[:8]))
	}
	text := []rune(string(plain))
	add(0, string(text))
	for from := range len(text) + 1 {
		for to := from; to <= len(text); to++ {
			n, part := to-from, string(text[from:to])
			if from == 0 && n <= int(lengths[0]) {
				add(1, part)
			}
			if to == len(text) && n > 0 && n <= int(lengths[1]) {
				add(2, part)
			}
			if n > 0 && n >= int(lengths[2]) && n <= int(lengths[3]) {
				add(3, part)
			}
		}
	}
	slices.Sort(tokens)
	return []byte(strings.Join(slices.Compact(tokens), ""))
}

// aloneDigits is [V10] to [V12], bit by bit.
func aloneDigits(key, plain []byte) []byte {
	var out []byte
	for i := 0; i <= len(plain); i++ {
		bits := "0"
		if i < len(plain) {
			bits = fmt.Sprintf("1%08b", plain[i])
		}
		for at := range bits {
			group := at / 3
			input := append([]byte{byte(group)}, plain[:i]...)
			if group > 0 {
				before := (bits[1:3*group] + "00000000")[:8]
				n, _ := strconv.ParseUint(before, 2, 8)
				input = append(input, byte(n))
			}
			node := 0
			for _, bit := range bits[3*group : at] {
				node = 2*node + 1 + int(bit-'0')
			}
			word := binary.BigEndian.Uint16(cmac(key, input)[2*node:])
			out = binary.BigEndian.AppendUint16(out, word%32768+uint16(bits[at]-'0'))
		}
	}
	return out
}

// s2v is S2V of RFC 5297, section 2.4, for one component and the plaintext.
func s2v(key, aad, plain []byte) []byte {
	d := cmac(key, make([]byte, 16))
	d = xor(double(d), cmac(key, aad))
	if len(plain) >= 16 {
		n := len(plain) - 16
		return cmac(key, slices.Concat(plain[:n], xor(plain[n:], d)))
	}
	return cmac(key, xor(double(d), pad(plain)))
}

// cmac is AES-CMAC of RFC 4493.
func cmac(key, message []byte) []byte {
	block := aesBlock(key)
	sub := make([]byte, 16)
	block.Encrypt(sub, sub)
	sub = double(sub)
	n := max(0, (len(message)-1)/16*16)
	last := message[n:]
	if len(last) < 16 {
		sub, last = double(sub), pad(last)
	}
	sum := make([]byte, 16)
	for i := 0; i < n; i += 16 {
		block.Encrypt(sum, xor(sum, message[i:i+16]))
	}
	block.Encrypt(sum, xor(sum, xor(last, sub)))
	return sum
}

// double multiplies by x in GF(2^128), most significant bit first.
func double(b []byte) []byte {
	out := make([]byte, 16)
	for i := range out {
		out[i] = b[i] << 1
		if i < 15 {
			out[i] |= b[i+1] >> 7
		}
	}
	out[15] ^= 0x87 * (b[0] >> 7)
	return out
}

func pad(b []byte) []byte {
	out := make([]byte, 16)
	out[copy(out, b)] = 0x80
	return out
}

func xor(a, b []byte) []byte {
	out := make([]byte, len(a))
	for i := range out {
		out[i] = a[i] ^ b[i]
	}
	return out
}

func aesBlock(key []byte) cipher.Block {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	return block
}
