// SPDX-License-Identifier: Apache-2.0

package s3ec_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"testing"

	"github.com/sidekey/sidekey/proxy/s3ec"
)

// sealGCM is the standard library's GCM: ciphertext and tag.
func sealGCM(t testing.TB, key, nonce []byte, additional string, plain []byte) (ciphertext, tag []byte) {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	sealed := aead.Seal(nil, nonce, plain, []byte(additional))
	return sealed[:len(plain)], sealed[len(plain):]
}

func validTag(t testing.TB, key, nonce []byte, additional string, ciphertext, tag []byte, chunkSize int) bool {
	t.Helper()
	valid, err := s3ec.ValidTag(key, nonce, additional, ciphertext, tag, chunkSize)
	if err != nil {
		t.Fatal(err)
	}
	return valid
}

// checkTag compares the piecewise check with the standard library: the tag it
// makes is valid, and no longer when one bit of anything is another.
func checkTag(t testing.TB, key, nonce []byte, additional string, plain []byte, chunkSize, flip int) {
	t.Helper()
	ciphertext, tag := sealGCM(t, key, nonce, additional, plain)
	before := bytes.Clone(ciphertext)
	if !validTag(t, key, nonce, additional, ciphertext, tag, chunkSize) {
		t.Fatalf("tag of %d bytes in chunks of %d with %d additional is refused", len(plain), chunkSize, len(additional))
	}
	if !bytes.Equal(ciphertext, before) {
		t.Fatal("the ciphertext is not as it was")
	}
	message := append(bytes.Clone(ciphertext), tag...)
	flip %= 8 * len(message)
	message[flip/8] ^= 1 << (flip % 8)
	if validTag(t, key, nonce, additional, message[:len(plain)], message[len(plain):], chunkSize) {
		t.Errorf("bit %d of %d bytes in chunks of %d may be changed", flip, len(plain), chunkSize)
	}
	if validTag(t, key, nonce, additional+"\x00", ciphertext, tag, chunkSize) {
		t.Error("the additional data may be longer")
	}
	if len(plain) > 0 && validTag(t, key, nonce, additional, ciphertext[:len(plain)-1], tag, chunkSize) {
		t.Error("the ciphertext may be shorter")
	}
	if validTag(t, key, nonce, additional, append(ciphertext, 0), tag, chunkSize) {
		t.Error("the ciphertext may be longer")
	}
}

// Every length around the edges of blocks and chunks.
func TestTagIsThatOfGCM(t *testing.T) {
	key, nonce := bytes.Repeat([]byte{7}, 32), bytes.Repeat([]byte{9}, 12)
	plain := make([]byte, 300)
	for i := range plain {
		plain[i] = byte(i * i)
	}
	for size := range len(plain) {
		for _, chunkSize := range []int{32, 64, 128} {
			for _, additional := range []string{"", "\x00\x73"} {
				checkTag(t, key, nonce, additional, plain[:size], chunkSize, 31*size)
			}
		}
	}
}

func FuzzTag(f *testing.F) {
	f.Add([]byte("key"), []byte("nonce"), []byte("additional"), []byte("plaintext"), uint8(1), uint16(5))
	f.Add([]byte{}, []byte{}, []byte{0, 0x73}, bytes.Repeat([]byte("0123456789abcdef"), 9), uint8(0), uint16(0))
	f.Fuzz(func(t *testing.T, seed, nonceSeed, additional, plain []byte, chunk uint8, flip uint16) {
		var key [32]byte
		var nonce [12]byte
		copy(key[:], seed)
		copy(nonce[:], nonceSeed)
		checkTag(t, key[:], nonce[:], string(additional[:min(len(additional), 15)]), plain, 32+16*int(chunk), int(flip))
	})
}
