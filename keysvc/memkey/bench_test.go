// SPDX-License-Identifier: Apache-2.0

package memkey_test

import (
	"crypto"
	"testing"

	"github.com/sidekey/sidekey/keysvc/memkey"
)

func BenchmarkSign(b *testing.B) {
	for _, bench := range []struct {
		spec string
		opts crypto.SignerOpts
	}{
		{"ECC_NIST_P256", crypto.SHA256},
		{"ECC_SECG_P256K1", crypto.SHA256},
		{edwards, crypto.Hash(0)},
		{"RSA_2048", pss(crypto.SHA256)},
		{"RSA_4096", pss(crypto.SHA256)},
		{"ML_DSA_65", memkey.Pure},
	} {
		key, digest := keyOf(b, bench.spec), digestFor(bench.opts)
		b.Run(bench.spec, func(b *testing.B) {
			for b.Loop() {
				if _, err := memkey.Sign(bench.spec, key.material, digest, bench.opts); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, bench := range []struct {
		name, spec string
		opts       crypto.SignerOpts
	}{
		{"P256", "ECC_NIST_P256", crypto.SHA256},
		{"RSA2048", "RSA_2048", pss(crypto.SHA256)},
		{"ML-DSA-65", "ML_DSA_65", memkey.Pure},
		{"ML-DSA-65-mu", "ML_DSA_65", memkey.ExternalMu},
	} {
		key, digest := keyOf(b, bench.spec), digestFor(bench.opts)
		signature, err := memkey.Sign(bench.spec, key.material, digest, bench.opts)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(bench.name, func(b *testing.B) {
			for b.Loop() {
				if !memkey.Verify(bench.spec, key.public, digest, bench.opts, signature) {
					b.Fatal("refused")
				}
			}
		})
	}
}

func BenchmarkSealOpen(b *testing.B) {
	material, plaintext, aad := make([]byte, 32), make([]byte, 32), make([]byte, 100)
	sealed, err := memkey.Seal(material, [16]byte{1}, [12]byte{}, plaintext, aad)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("Seal", func(b *testing.B) {
		for b.Loop() {
			if _, err := memkey.Seal(material, [16]byte{1}, [12]byte{}, plaintext, aad); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Open", func(b *testing.B) {
		for b.Loop() {
			if _, ok := memkey.Open(material, [16]byte{1}, [12]byte{}, sealed, aad); !ok {
				b.Fatal("refused")
			}
		}
	})
}
