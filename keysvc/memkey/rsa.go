// SPDX-License-Identifier: Apache-2.0

package memkey

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" // OAEP with SHA-1 is one of the two that AWS KMS has
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
)

// minExponent is the least that FIPS 186-5 section 5.1 allows.
const minExponent = 65537

type rsaKey struct {
	ks  *keySpec
	key *rsa.PrivateKey
}

type rsaPublic struct{ key *rsa.PublicKey }

func generateRSA(ks *keySpec) (private, error) {
	key, err := rsa.GenerateKey(rand.Reader, ks.size*8)
	return &rsaKey{ks, key}, err
}

// parseRSA takes PKCS #1. That p·q = n and that d, dP, dQ and qInv fit them, is
// checked by crypto/x509; that p and q are prime, by prime.
func parseRSA(ks *keySpec, inner []byte) *rsaKey {
	parsed, err := x509.ParsePKCS1PrivateKey(inner)
	if err != nil {
		return nil
	}
	key := &rsaKey{ks, parsed}
	again := x509.MarshalPKCS1PrivateKey(parsed)
	defer clear(again)
	if !bytes.Equal(again, inner) || !fits(ks, &parsed.PublicKey) || !key.balanced() {
		key.wipe()
		return nil
	}
	return key
}

func fits(ks *keySpec, key *rsa.PublicKey) bool {
	return key.N.BitLen() == ks.size*8 && key.N.Bit(0) == 1 && key.E >= minExponent && key.E%2 == 1
}

// balanced is FIPS 186-5 section 5.1: two primes of one length.
func (k *rsaKey) balanced() bool {
	p := k.key.Primes
	return len(p) == 2 && p[0].BitLen() == k.ks.size*4 && p[1].BitLen() == k.ks.size*4
}

// prime takes many milliseconds, so it is for imports alone. No composite is
// known that deceives the test of Baillie and PSW, which is one part of it; one
// that did would still pass the five random rounds once in 2^10 times only.
func (k *rsaKey) prime() bool {
	return k.key.Primes[0].ProbablyPrime(5) && k.key.Primes[1].ProbablyPrime(5)
}

func (k *rsaKey) sign(m message) ([]byte, error) {
	if m.pss {
		return rsa.SignPSS(rand.Reader, k.key, m.hash, m.bytes, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	}
	return rsa.SignPKCS1v15(nil, k.key, m.hash, m.bytes)
}

func (k *rsaKey) public() ([]byte, error) { return x509.MarshalPKIXPublicKey(&k.key.PublicKey) }

func (k *rsaKey) material() ([]byte, error) {
	return k.ks.marshalPKCS8(x509.MarshalPKCS1PrivateKey(k.key))
}

func (k *rsaKey) wipe() {
	p := &k.key.Precomputed
	for _, n := range append([]*big.Int{k.key.D, p.Dp, p.Dq, p.Qinv}, k.key.Primes...) {
		if n != nil {
			clear(n.Bits())
		}
	}
}

func parsePublicRSA(ks *keySpec, inner []byte) *rsaPublic {
	key, err := x509.ParsePKCS1PublicKey(inner)
	if err != nil || !fits(ks, key) || !bytes.Equal(x509.MarshalPKCS1PublicKey(key), inner) {
		return nil
	}
	return &rsaPublic{key}
}

func (p *rsaPublic) verify(m message, signature []byte) bool {
	if m.pss {
		return rsa.VerifyPSS(p.key, m.hash, m.bytes, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
	}
	return rsa.VerifyPKCS1v15(p.key, m.hash, m.bytes, signature) == nil
}

// DecryptOAEP decrypts RSAES-OAEP with SHA-1 or SHA-256, MGF1 with the same hash
// and an empty label. ok is false, and err nil, for a ciphertext that does not
// open; it is not told why.
func DecryptOAEP(spec string, material []byte, hash crypto.Hash, ciphertext []byte) (plaintext []byte, ok bool, err error) {
	ks, err := specOf(spec, familyRSA)
	if err == nil {
		err = checkOAEP(hash)
	}
	if err != nil {
		return nil, false, err
	}
	key, err := ks.parse(material)
	if err != nil {
		return nil, false, err
	}
	defer key.wipe()
	if len(ciphertext) != ks.size {
		return nil, false, nil
	}
	plaintext, err = rsa.DecryptOAEP(hash.New(), nil, key.(*rsaKey).key, ciphertext, nil)
	switch {
	case errors.Is(err, rsa.ErrDecryption):
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("decrypting: %w", err)
	}
	return plaintext, true, nil
}

// EncryptOAEP is the inverse of DecryptOAEP. Errors are ErrSpec, ErrPublic,
// ErrOptions and ErrTooLong.
func EncryptOAEP(spec string, public []byte, hash crypto.Hash, plaintext []byte) ([]byte, error) {
	ks, err := specOf(spec, familyRSA)
	if err == nil {
		err = checkOAEP(hash)
	}
	if err != nil {
		return nil, err
	}
	key, err := ks.parsePublic(public)
	if err != nil {
		return nil, err
	}
	if len(plaintext) > ks.size-2*hash.Size()-2 {
		return nil, ErrTooLong
	}
	ciphertext, err := rsa.EncryptOAEP(hash.New(), rand.Reader, key.(*rsaPublic).key, plaintext, nil)
	if err != nil {
		return nil, fmt.Errorf("encrypting: %w", err)
	}
	return ciphertext, nil
}

func checkOAEP(hash crypto.Hash) error {
	if hash != crypto.SHA1 && hash != crypto.SHA256 {
		return ErrOptions
	}
	return nil
}
