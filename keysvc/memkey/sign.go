// SPDX-License-Identifier: Apache-2.0

package memkey

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"fmt"
)

// Mode is how ML-DSA takes what it signs. It is a [crypto.SignerOpts].
type Mode int

const (
	Pure       Mode = iota + 1 // the message, with the empty context
	ExternalMu                 // 64 bytes: mu of FIPS 204, made elsewhere
)

// HashFunc is 0: the message is not hashed by the caller.
func (Mode) HashFunc() crypto.Hash { return 0 }

// muSize is the length of mu (FIPS 204, algorithm 7, step 6).
const muSize = 64

// message is what is signed, and how.
type message struct {
	bytes []byte
	hash  crypto.Hash // 0 if bytes are the message itself
	pss   bool
	salt  int  // as of [rsa.PSSOptions]
	mode  Mode // of ML-DSA
}

// Sign signs a digest, or a message of Ed25519 with opts.HashFunc() 0 and of
// ML-DSA with Pure. opts is *[rsa.PSSOptions] with a salt of the hash's length,
// a [crypto.Hash] (PKCS #1 v1.5, ECDSA, Ed25519), *[ed25519.Options], or a Mode.
// An ECDSA signature is ASN.1 DER. Errors are ErrSpec, ErrMaterial, ErrOptions
// and *LengthError.
func Sign(spec string, material, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	ks, m, err := prepare(spec, digest, opts)
	if err != nil {
		return nil, err
	}
	key, err := ks.parse(material)
	if err != nil {
		return nil, err
	}
	defer key.wipe()
	signature, err := key.sign(m)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return signature, nil
}

// Verify reports whether signature is one of digest, as Sign takes it. The salt
// of a PSS signature has the hash's length, and that of ECDSA is strict DER.
func Verify(spec string, public, digest []byte, opts crypto.SignerOpts, signature []byte) bool {
	ks, m, err := prepare(spec, digest, opts)
	if err != nil {
		return false
	}
	key, err := ks.parsePublic(public)
	return err == nil && key.verify(m, signature)
}

func prepare(spec string, digest []byte, opts crypto.SignerOpts) (*keySpec, message, error) {
	ks, err := specOf(spec, familyRSA, familyEC, familyK1, familyEdwards, familyMLDSA)
	if err != nil {
		return nil, message{}, err
	}
	m, err := ks.message(digest, opts)
	return ks, m, err
}

// message finds out how to sign, or answers ErrOptions or *LengthError.
func (ks *keySpec) message(digest []byte, opts crypto.SignerOpts) (message, error) {
	m := message{bytes: digest}
	switch o := opts.(type) {
	case crypto.Hash:
		m.hash = o
	case *rsa.PSSOptions:
		if o == nil {
			return m, ErrOptions
		}
		m.hash, m.pss, m.salt = o.Hash, true, o.SaltLength
	case *ed25519.Options:
		if o == nil || ks.family != familyEdwards || o.Context != "" {
			return m, ErrOptions
		}
		m.hash = o.Hash
	case Mode:
		m.mode = o
	}
	if opts == nil || !ks.takes(m) || m.pss && !m.saltFits() {
		return m, ErrOptions
	}
	return m, m.checkLength()
}

// takes says which hashes and modes AWS KMS has for the spec.
func (ks *keySpec) takes(m message) bool {
	if m.pss && ks.family != familyRSA {
		return false
	}
	switch ks.family {
	case familyRSA:
		return m.mode == 0 && (m.hash == crypto.SHA256 || m.hash == crypto.SHA384 || m.hash == crypto.SHA512)
	case familyEC, familyK1:
		return m.mode == 0 && m.hash == ks.hash
	case familyEdwards:
		return m.mode == 0 && (m.hash == 0 || m.hash == crypto.SHA512)
	}
	return m.hash == 0 && (m.mode == Pure || m.mode == ExternalMu)
}

// saltFits: AWS KMS has salts of the hash's length only.
func (m message) saltFits() bool {
	return m.salt == rsa.PSSSaltLengthEqualsHash || m.salt == m.hash.Size()
}

func (m message) checkLength() error {
	want := len(m.bytes)
	switch {
	case m.hash != 0:
		want = m.hash.Size()
	case m.mode == ExternalMu:
		want = muSize
	}
	if len(m.bytes) != want {
		return &LengthError{Got: len(m.bytes), Want: want}
	}
	return nil
}
