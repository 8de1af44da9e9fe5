// SPDX-License-Identifier: Apache-2.0

package hsm_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"strings"
	"testing"

	"github.com/miekg/pkcs11"
)

func TestRoundTrip(t *testing.T) {
	f := newFixture(t)
	tok := f.open(f.config())
	wrapped := generate(t, tok)
	for _, size := range []int{0, 1, 32, 4096, 100_000} {
		text := bytes.Repeat([]byte{0xa5}, size)
		nonce, ciphertext, err := tok.Encrypt(context.Background(), wrapped, epoch1, nonce1, text, nil)
		if err != nil {
			t.Fatalf("Encrypt of %d bytes: %v", size, err)
		}
		if len(ciphertext) != size+16 {
			t.Errorf("ciphertext of %d bytes has %d bytes, want the tag more", size, len(ciphertext))
		}
		got, ok, err := tok.Decrypt(context.Background(), wrapped, epoch1, nonce, ciphertext, nil)
		if err != nil || !ok || !bytes.Equal(got, text) {
			t.Errorf("Decrypt of %d bytes: %d bytes, %v, %v", size, len(got), ok, err)
		}
	}
	if err := tok.Check(context.Background()); err != nil {
		t.Errorf("Check: %v", err)
	}
}

func TestDescribe(t *testing.T) {
	f := newFixture(t)
	got := f.open(f.config()).Describe()
	for _, want := range []string{"SoftHSM", `token "sidekey"`, `root key "root"`, "CKM_AES_KEY_WRAP_PAD", "CKM_AES_ECB_ENCRYPT_DATA", "CKM_AES_GCM"} {
		if !strings.Contains(got, want) {
			t.Errorf("Describe = %q, want %q in it", got, want)
		}
	}
}

func TestRandom(t *testing.T) {
	f := newFixture(t)
	tok := f.open(f.config())
	a, err := tok.Random(context.Background(), 1024)
	f.must(err)
	b, err := tok.Random(context.Background(), 1024)
	f.must(err)
	if len(a) != 1024 || len(b) != 1024 || bytes.Equal(a, b) {
		t.Errorf("Random gave %d and %d bytes, equal: %v", len(a), len(b), bytes.Equal(a, b))
	}
	if none, err := tok.Random(context.Background(), 0); err != nil || len(none) != 0 {
		t.Errorf("Random of 0 = %x, %v", none, err)
	}
	if _, err := tok.Random(context.Background(), -1); err == nil {
		t.Error("Random of -1: no error")
	}
}

// The subkey is what epochBlocks says, computed here with a backing key whose
// value is known.
func TestKnownSubkey(t *testing.T) {
	f := newFixture(t)
	tok := f.open(f.config())
	s := f.session()
	root := f.find(s, pkcs11.NewAttribute(pkcs11.CKA_LABEL, "root"))
	value := bytes.Repeat([]byte{0x11, 0x22, 0x33, 0x44}, 8)
	key, err := raw.CreateObject(s, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES),
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, true),
		pkcs11.NewAttribute(pkcs11.CKA_VALUE, value),
	})
	f.must(err)
	for form, mech := range map[byte]uint{1: pkcs11.CKM_AES_KEY_WRAP_PAD, 2: pkcs11.CKM_AES_KEY_WRAP} {
		blob, err := raw.WrapKey(s, []*pkcs11.Mechanism{pkcs11.NewMechanism(mech, nil)}, root[0], key)
		f.must(err)
		ciphertext := encrypt(t, tok, append([]byte{form}, blob...))
		if want := sealSoftware(t, value, epoch1); !bytes.Equal(ciphertext, want) {
			t.Errorf("form %d: ciphertext %x, want %x", form, ciphertext, want)
		}
	}
}

func sealSoftware(t *testing.T, key []byte, epoch [16]byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	low, high := epoch, epoch
	low[0] &= 0x7f
	high[0] |= 0x80
	subkey := make([]byte, 32)
	block.Encrypt(subkey[:16], low[:])
	block.Encrypt(subkey[16:], high[:])
	if block, err = aes.NewCipher(subkey); err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return gcm.Seal(nil, nonce1[:], text1, aad1)
}

func TestEpochsSeparate(t *testing.T) {
	f := newFixture(t)
	tok := f.open(f.config())
	wrapped := generate(t, tok)
	ciphertext := encrypt(t, tok, wrapped)
	for bit := range 128 {
		epoch := epoch1
		epoch[bit/8] ^= 0x80 >> (bit % 8)
		_, ok, err := tok.Decrypt(context.Background(), wrapped, epoch, nonce1, ciphertext, aad1)
		if err != nil || ok != (bit == 0) {
			t.Errorf("bit %d of the epoch changed: ok = %v, err = %v", bit, ok, err)
		}
	}
}

func TestWrappedRefused(t *testing.T) {
	f := newFixture(t)
	tok := f.open(f.config())
	wrapped := generate(t, tok)
	changed := bytes.Clone(wrapped)
	changed[20] ^= 1
	for name, bad := range map[string][]byte{
		"nil":          nil,
		"short":        wrapped[:40],
		"long":         append(bytes.Clone(wrapped), 0),
		"unknown form": append([]byte{9}, wrapped[1:]...),
		"other form":   append([]byte{2}, wrapped[1:]...),
		"changed":      changed,
	} {
		if _, _, err := tok.Encrypt(context.Background(), bad, epoch1, nonce1, text1, aad1); err == nil {
			t.Errorf("Encrypt with a wrapped key that is %s: no error", name)
		}
		if _, ok, err := tok.Decrypt(context.Background(), bad, epoch1, nonce1, make([]byte, 48), aad1); err == nil || ok {
			t.Errorf("Decrypt with a wrapped key that is %s: ok = %v, no error", name, ok)
		}
	}
	if strings.Contains(f.log.String(), "token lost") {
		t.Error("a bad wrapped key was taken for a bad token")
	}
}

func TestSurvivesReopen(t *testing.T) {
	f := newFixture(t)
	tok := f.open(f.config())
	wrapped := generate(t, tok)
	ciphertext := encrypt(t, tok, wrapped)
	f.must(tok.Close())
	again := f.open(f.config())
	decrypts(t, again, wrapped, ciphertext)
	if _, err := tok.Random(context.Background(), 8); err == nil {
		t.Error("Random after Close: no error")
	}
}

func TestForgetDestroysObjects(t *testing.T) {
	f := newFixture(t)
	tok := f.open(f.config())
	s := f.session()
	before := f.sessionKeys(s)
	first, second := generate(t, tok), generate(t, tok)
	if n := f.sessionKeys(s); n != before {
		t.Errorf("GenerateKey left %d session objects", n-before)
	}
	ciphertext := encrypt(t, tok, first)
	encrypt(t, tok, second)
	if n := f.sessionKeys(s); n != before+4 {
		t.Errorf("two keys in use: %d session objects, want 4", n-before)
	}
	tok.Forget(first)
	if n := f.sessionKeys(s); n != before+2 {
		t.Errorf("one key forgotten: %d session objects, want 2", n-before)
	}
	decrypts(t, tok, first, ciphertext)
	tok.Forget(first)
	tok.Forget(second)
	tok.Forget(second)
	if n := f.sessionKeys(s); n != before {
		t.Errorf("both forgotten: %d session objects, want 0", n-before)
	}
}

func TestObjectsBounded(t *testing.T) {
	f := newFixture(t)
	tok := f.open(f.config())
	wrapped := generate(t, tok)
	ciphertext := encrypt(t, tok, wrapped)
	s := f.session()
	for i := range 1500 {
		epoch := [16]byte{0, byte(i >> 8), byte(i), 0xff}
		if _, _, err := tok.Encrypt(context.Background(), wrapped, epoch, nonce1, text1, nil); err != nil {
			t.Fatal(err)
		}
	}
	if n := f.sessionKeys(s); n > 1026 {
		t.Errorf("%d session objects after 1500 epochs", n)
	}
	decrypts(t, tok, wrapped, ciphertext)
}

func TestKeysNeverReadable(t *testing.T) {
	f := newFixture(t)
	tok := f.open(f.config())
	encrypt(t, tok, generate(t, tok))
	s := f.session()
	keys := f.find(s, pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY))
	if len(keys) < 5 { // root; canary and key with a subkey each
		t.Fatalf("%d keys found, want 5", len(keys))
	}
	for _, k := range keys {
		if got, err := raw.GetAttributeValue(s, k, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_VALUE, nil)}); err == nil {
			t.Errorf("object %d tells its value: %d bytes", k, len(got[0].Value))
		}
	}
}
