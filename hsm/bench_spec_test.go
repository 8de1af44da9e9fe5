// SPDX-License-Identifier: Apache-2.0

package hsm_test

import (
	"crypto"
	"testing"

	"github.com/miekg/pkcs11"
)

func benchmarkSign(b *testing.B, spec string) {
	f := newFixture(b)
	tok := f.open(f.config())
	wrapped, _ := generateFor(b, tok, spec)
	digest := make([]byte, 32)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tok.Sign(ctx, spec, wrapped, digest, crypto.SHA256); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSignP256(b *testing.B)    { benchmarkSign(b, "ECC_NIST_P256") }
func BenchmarkSignRSA2048(b *testing.B) { benchmarkSign(b, "RSA_2048") }

func BenchmarkMAC(b *testing.B) {
	f := newFixture(b)
	tok := f.open(f.config())
	wrapped, _ := generateFor(b, tok, "HMAC_256")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tok.MAC(ctx, "HMAC_256", wrapped, text1); err != nil {
			b.Fatal(err)
		}
	}
}

// The raw benchmarks make the same calls without this package, in one session:
// the difference is what it costs.
func benchmarkRaw(b *testing.B, f *fixture, find []*pkcs11.Attribute, call func(pkcs11.SessionHandle, pkcs11.ObjectHandle) error) {
	s := f.session()
	found := f.find(s, find...)
	if len(found) == 0 {
		b.Fatal("no key")
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := call(s, found[len(found)-1]); err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarkRawSign(b *testing.B, spec string, class, mech uint, data []byte) {
	f := newFixture(b)
	tok := f.open(f.config())
	wrapped, public := generateFor(b, tok, spec)
	use(b, tok, spec, wrapped, public, nil)
	benchmarkRaw(b, f, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_CLASS, class), pkcs11.NewAttribute(pkcs11.CKA_SIGN, true)},
		func(s pkcs11.SessionHandle, key pkcs11.ObjectHandle) error {
			if err := raw.SignInit(s, []*pkcs11.Mechanism{pkcs11.NewMechanism(mech, nil)}, key); err != nil {
				return err
			}
			_, err := raw.Sign(s, data)
			return err
		})
}

func BenchmarkRawSignP256(b *testing.B) {
	benchmarkRawSign(b, "ECC_NIST_P256", pkcs11.CKO_PRIVATE_KEY, pkcs11.CKM_ECDSA, make([]byte, 32))
}

func BenchmarkRawSignRSA2048(b *testing.B) {
	benchmarkRawSign(b, "RSA_2048", pkcs11.CKO_PRIVATE_KEY, pkcs11.CKM_RSA_PKCS, make([]byte, 51))
}

func BenchmarkRawMAC(b *testing.B) {
	benchmarkRawSign(b, "HMAC_256", pkcs11.CKO_SECRET_KEY, pkcs11.CKM_SHA256_HMAC, text1)
}

func BenchmarkRawEncrypt(b *testing.B) {
	f := newFixture(b)
	ready(f)
	benchmarkRaw(b, f, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_ENCRYPT, true)},
		func(s pkcs11.SessionHandle, key pkcs11.ObjectHandle) error {
			params := pkcs11.NewGCMParams(nonce1[:], aad1, 128)
			defer params.Free()
			if err := raw.EncryptInit(s, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_GCM, params)}, key); err != nil {
				return err
			}
			_, err := raw.Encrypt(s, text1)
			return err
		})
}
