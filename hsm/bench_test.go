// SPDX-License-Identifier: Apache-2.0

package hsm_test

import (
	"context"
	"testing"

	"github.com/sidekey/sidekey/hsm"
)

func benchToken(b *testing.B) (tok *hsm.Token, wrapped, ciphertext []byte) {
	f := newFixture(b)
	tok, wrapped, ciphertext = ready(f)
	b.ReportAllocs()
	return tok, wrapped, ciphertext
}

func BenchmarkEncrypt(b *testing.B) {
	tok, wrapped, _ := benchToken(b)
	for b.Loop() {
		if _, _, err := tok.Encrypt(context.Background(), wrapped, epoch1, nonce1, text1, aad1); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecrypt(b *testing.B) {
	tok, wrapped, ciphertext := benchToken(b)
	for b.Loop() {
		if _, ok, err := tok.Decrypt(context.Background(), wrapped, epoch1, nonce1, ciphertext, aad1); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

func BenchmarkDecryptParallel(b *testing.B) {
	tok, wrapped, ciphertext := benchToken(b)
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, ok, err := tok.Decrypt(context.Background(), wrapped, epoch1, nonce1, ciphertext, aad1); !ok || err != nil {
				b.Error(ok, err)
				return
			}
		}
	})
}

// Cold: unwrap, derive, decrypt, destroy.
func BenchmarkDecryptCold(b *testing.B) {
	tok, wrapped, ciphertext := benchToken(b)
	for b.Loop() {
		if _, ok, err := tok.Decrypt(context.Background(), wrapped, epoch1, nonce1, ciphertext, aad1); !ok || err != nil {
			b.Fatal(ok, err)
		}
		tok.Forget(wrapped)
	}
}

func BenchmarkDecryptWrongTag(b *testing.B) {
	tok, wrapped, _ := benchToken(b)
	for b.Loop() {
		if _, ok, err := tok.Decrypt(context.Background(), wrapped, epoch1, nonce1, make([]byte, 48), aad1); ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

func BenchmarkGenerateKey(b *testing.B) {
	tok, _, _ := benchToken(b)
	for b.Loop() {
		if _, err := tok.GenerateKey(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}
