// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"

	"github.com/miekg/pkcs11"
)

// errProof means that the token gave what it should not have.
var errProof = errors.New("the token gave a wrong result")

// publicKey is the SubjectPublicKeyInfo of a key object with public attributes:
// a public key, or an RSA private key.
func (s *session) publicKey(ks *keySpec, key pkcs11.ObjectHandle) ([]byte, error) {
	if ks.family == familyRSA {
		public, err := s.rsaPublicKey(key)
		if err != nil {
			return nil, err
		}
		return x509.MarshalPKIXPublicKey(public)
	}
	value, err := s.attribute(key, pkcs11.CKA_EC_POINT)
	if err != nil {
		return nil, err
	}
	point, err := ks.point(value)
	if err != nil {
		return nil, err
	}
	return ks.marshalPoint(point)
}

func (s *session) rsaPublicKey(key pkcs11.ObjectHandle) (*rsa.PublicKey, error) {
	n, err := s.modulus(key)
	if err != nil {
		return nil, err
	}
	value, err := s.attribute(key, pkcs11.CKA_PUBLIC_EXPONENT)
	if err != nil {
		return nil, err
	}
	e := new(big.Int).SetBytes(value)
	if e.BitLen() > 31 {
		return nil, fmt.Errorf("%w: CKA_PUBLIC_EXPONENT of %d bits", errAttribute, e.BitLen())
	}
	return &rsa.PublicKey{N: n, E: int(e.Int64())}, nil
}

func (s *session) modulus(key pkcs11.ObjectHandle) (*big.Int, error) {
	n, err := s.attribute(key, pkcs11.CKA_MODULUS)
	return new(big.Int).SetBytes(n), err
}

// point takes the point out of CKA_EC_POINT, which is a DER OCTET STRING, but
// of some tokens the point itself.
func (ks *keySpec) point(value []byte) ([]byte, error) {
	size := 1 + 2*ks.size
	if ks.family == familyEdwards {
		size = ks.size
	}
	if len(value) == size {
		return value, nil
	}
	var point []byte
	if rest, err := asn1.Unmarshal(value, &point); err != nil || len(rest) > 0 || len(point) != size {
		return nil, fmt.Errorf("%w: CKA_EC_POINT is no point of %s", errAttribute, ks.name)
	}
	return point, nil
}

// marshalPoint is the SubjectPublicKeyInfo of a public key, which must be valid.
func (ks *keySpec) marshalPoint(point []byte) ([]byte, error) {
	switch {
	case ks.family == familyEdwards:
		return x509.MarshalPKIXPublicKey(ed25519.PublicKey(bytes.Clone(point)))
	case ks.curve.nist == nil:
		return marshalK1(ks, point)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(ks.curve.nist, point)
	if err != nil {
		return nil, fmt.Errorf("%w: CKA_EC_POINT is no point of %s", errAttribute, ks.name)
	}
	return x509.MarshalPKIXPublicKey(key)
}

type publicKeyInfo struct {
	Algorithm pkix.AlgorithmIdentifier
	PublicKey asn1.BitString
}

var oidECPublicKey = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}

func marshalK1(ks *keySpec, point []byte) ([]byte, error) {
	if !onK1(point) {
		return nil, fmt.Errorf("%w: CKA_EC_POINT is no point of %s", errAttribute, ks.name)
	}
	return asn1.Marshal(publicKeyInfo{
		pkix.AlgorithmIdentifier{Algorithm: oidECPublicKey, Parameters: asn1.RawValue{FullBytes: ks.params()}},
		asn1.BitString{Bytes: point, BitLength: len(point) * 8},
	})
}

// verify is for proofs; public comes from this package.
func (ks *keySpec) verify(public, digest []byte, opts crypto.SignerOpts, signature []byte) bool {
	if ks.family == familyEC && ks.curve.nist == nil {
		var info publicKeyInfo
		_, err := asn1.Unmarshal(public, &info)
		return err == nil && verifyK1(info.PublicKey.Bytes, digest, signature)
	}
	parsed, err := x509.ParsePKIXPublicKey(public)
	if err != nil {
		return false
	}
	switch key := parsed.(type) {
	case *rsa.PublicKey:
		if pss, ok := opts.(*rsa.PSSOptions); ok {
			return rsa.VerifyPSS(key, pss.Hash, digest, signature, pss) == nil
		}
		return rsa.VerifyPKCS1v15(key, opts.HashFunc(), digest, signature) == nil
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(key, digest, signature)
	case ed25519.PublicKey:
		return ed25519.VerifyWithOptions(key, digest, signature, &ed25519.Options{Hash: opts.HashFunc()}) == nil
	}
	return false
}
