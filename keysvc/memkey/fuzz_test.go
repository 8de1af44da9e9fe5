// SPDX-License-Identifier: Apache-2.0

package memkey_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"slices"
	"testing"

	"github.com/sidekey/sidekey/keysvc/memkey"
)

// allSpecs is in a fixed order, for a fuzzer's byte to choose from.
func allSpecs() []string {
	specs := []string{"", "SM2"}
	for spec := range signingOptions() {
		specs = append(specs, spec)
	}
	for spec := range secretSpecs {
		specs = append(specs, spec)
	}
	slices.Sort(specs)
	return specs
}

func pick(specs []string, i byte) string { return specs[int(i)%len(specs)] }

// Whatever is taken as material has one canonical form with the same public
// key, and signs.
func FuzzPublic(f *testing.F) {
	specs := allSpecs()
	for i, spec := range specs {
		if _, _, err := memkey.Generate(spec); err == nil {
			f.Add(byte(i), keyOf(f, spec).material)
		}
	}
	options := signingOptions()
	f.Fuzz(func(t *testing.T, i byte, material []byte) {
		spec := pick(specs, i)
		public, err := memkey.Public(spec, material)
		if err != nil {
			return
		}
		canonical, err := memkey.Canonical(spec, material)
		if err != nil {
			t.Fatal(err)
		}
		again, err := memkey.Public(spec, canonical)
		if err != nil || !bytes.Equal(again, public) {
			t.Fatalf("canonical form: %x, %v; want %x", again, err, public)
		}
		for _, opts := range options[spec] {
			digest := digestFor(opts)
			signature, err := memkey.Sign(spec, material, digest, opts)
			if err != nil || !memkey.Verify(spec, public, digest, opts, signature) {
				t.Fatalf("%s %v: %v", spec, opts, err)
			}
		}
	})
}

// Nothing verifies for another message too.
func FuzzVerify(f *testing.F) {
	specs := allSpecs()
	for i, spec := range specs {
		for _, opts := range signingOptions()[spec] {
			key, digest := keyOf(f, spec), digestFor(opts)
			signature, err := memkey.Sign(spec, key.material, digest, opts)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(byte(i), key.public, digest, signature)
		}
	}
	f.Fuzz(func(t *testing.T, i byte, public, digest, signature []byte) {
		spec := pick(specs, i)
		for _, opts := range []crypto.SignerOpts{
			crypto.SHA256, crypto.SHA384, crypto.SHA512, crypto.Hash(0), pss(crypto.SHA256), pss(crypto.SHA512),
			&ed25519.Options{Hash: crypto.SHA512}, memkey.Pure, memkey.ExternalMu,
		} {
			if !memkey.Verify(spec, public, digest, opts, signature) || len(digest) == 0 {
				continue
			}
			other := bytes.Clone(digest)
			other[len(other)-1] ^= 1
			if memkey.Verify(spec, public, other, opts, signature) {
				t.Errorf("%s %v: one signature of two messages", spec, opts)
			}
		}
	})
}

func FuzzAgree(f *testing.F) {
	specs := []string{"ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521"}
	for i, spec := range specs {
		f.Add(byte(i), keyOf(f, spec).public)
	}
	f.Fuzz(func(t *testing.T, i byte, peer []byte) {
		spec := pick(specs, i)
		secret, err := memkey.Agree(spec, keyOf(t, spec).material, peer)
		if want := []int{32, 48, 66}[int(i)%3]; err == nil && len(secret) != want {
			t.Errorf("%s: %d bytes", spec, len(secret))
		}
	})
}

func FuzzUnwrapAESKWP(f *testing.F) {
	kek := bytes.Repeat([]byte{3}, 32)
	f.Add(kek, wrapKWP(f, kek, make([]byte, 40)))
	f.Add(kek[:16], []byte{})
	f.Fuzz(func(t *testing.T, kek, wrapped []byte) {
		key, err := memkey.UnwrapAESKWP(kek, wrapped)
		if err == nil && !bytes.Equal(wrapKWP(t, kek, key), wrapped) {
			t.Errorf("%x is not what %x wraps to", wrapped, key)
		}
	})
}

func FuzzDecryptOAEP(f *testing.F) {
	key := keyOf(f, "RSA_2048")
	ciphertext, err := memkey.EncryptOAEP("RSA_2048", key.public, crypto.SHA256, []byte("plaintext"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(true, key.material, ciphertext)
	f.Add(false, key.material, bytes.Repeat([]byte{0xff}, 256))
	f.Fuzz(func(t *testing.T, long bool, material, ciphertext []byte) {
		hash := crypto.SHA1
		if long {
			hash = crypto.SHA256
		}
		plaintext, ok, err := memkey.DecryptOAEP("RSA_2048", material, hash, ciphertext)
		if ok && (err != nil || len(plaintext) > 214) || !ok && plaintext != nil {
			t.Errorf("%x, %v, %v", plaintext, ok, err)
		}
	})
}
