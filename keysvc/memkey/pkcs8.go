// SPDX-License-Identifier: Apache-2.0

package memkey

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/asn1"
)

var (
	oidRSA         = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidECPublicKey = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	oidEd25519     = asn1.ObjectIdentifier{1, 3, 101, 112}
)

// privateKeyInfo is OneAsymmetricKey of RFC 5958, which is PKCS #8's
// PrivateKeyInfo if the version is 0. Attributes mean nothing here.
type privateKeyInfo struct {
	Version    int
	Algorithm  pkix.AlgorithmIdentifier
	PrivateKey []byte
	Attributes []asn1.RawValue `asn1:"optional,set,tag:0"`
	PublicKey  asn1.BitString  `asn1:"optional,tag:1"`
}

// algorithm is the AlgorithmIdentifier of a spec, in private and public keys.
func (ks *keySpec) algorithm() pkix.AlgorithmIdentifier {
	switch ks.family {
	case familyRSA:
		return pkix.AlgorithmIdentifier{Algorithm: oidRSA, Parameters: asn1.NullRawValue}
	case familyEC, familyK1:
		curve, err := asn1.Marshal(ks.oid)
		if err != nil {
			panic(err) // of constants
		}
		return pkix.AlgorithmIdentifier{Algorithm: oidECPublicKey, Parameters: asn1.RawValue{FullBytes: curve}}
	}
	return pkix.AlgorithmIdentifier{Algorithm: ks.oid}
}

// isOurs compares the DER, in which parameters that are NULL and none differ.
func (ks *keySpec) isOurs(given pkix.AlgorithmIdentifier) bool {
	got, err := asn1.Marshal(given)
	want, err2 := asn1.Marshal(ks.algorithm())
	return err == nil && err2 == nil && bytes.Equal(got, want)
}

// unmarshal is asn1.Unmarshal that takes nothing but what asn1.Marshal makes:
// no bytes after a structure or at the end of one, one encoding of a value.
func unmarshal[T any](der []byte, into *T) bool {
	if rest, err := asn1.Unmarshal(der, into); err != nil || len(rest) > 0 {
		return false
	}
	again, err := asn1.Marshal(*into)
	defer clear(again)
	return err == nil && bytes.Equal(again, der)
}

// parse takes a private key in PKCS #8 apart.
func (ks *keySpec) parse(material []byte) (private, error) {
	if len(material) > maxMaterial {
		return nil, ErrMaterial
	}
	var info privateKeyInfo
	ok := unmarshal(material, &info)
	defer clear(info.PrivateKey)
	if !ok || !ks.isOurs(info.Algorithm) || !info.versionFits() {
		return nil, ErrMaterial
	}
	key := ks.parseInner(info.PrivateKey)
	if key == nil {
		return nil, ErrMaterial
	}
	if info.PublicKey.Bytes != nil && !holds(key, info.PublicKey) {
		key.wipe()
		return nil, ErrMaterial
	}
	return key, nil
}

// versionFits is RFC 5958 section 2: a public key is there in version 1 only.
func (info *privateKeyInfo) versionFits() bool {
	return info.Version == 0 && info.PublicKey.Bytes == nil || info.Version == 1
}

// holds compares the public key that comes with a private key with its own.
func holds(key private, given asn1.BitString) bool {
	var own publicKeyInfo
	der, err := key.public()
	return err == nil && unmarshal(der, &own) && given.BitLength%8 == 0 && bytes.Equal(given.Bytes, own.PublicKey.Bytes)
}

// parseInner is nil if inner is no key of the spec.
func (ks *keySpec) parseInner(inner []byte) private {
	// Each parser has a type of its own, and a nil of it is no nil private.
	switch ks.family {
	case familyRSA:
		if key := parseRSA(ks, inner); key != nil {
			return key
		}
	case familyEC, familyK1:
		return parseEC(ks, inner)
	case familyEdwards:
		if key := parseEdwards(inner); key != nil {
			return key
		}
	case familyMLDSA:
		if key := parseMLDSA(ks, inner); key != nil {
			return key
		}
	}
	return nil
}

// marshalPKCS8 clears inner.
func (ks *keySpec) marshalPKCS8(inner []byte) ([]byte, error) {
	defer clear(inner)
	return asn1.Marshal(privateKeyInfo{Algorithm: ks.algorithm(), PrivateKey: inner})
}

// publicKeyInfo is SubjectPublicKeyInfo of RFC 5280.
type publicKeyInfo struct {
	Algorithm pkix.AlgorithmIdentifier
	PublicKey asn1.BitString
}

func (ks *keySpec) marshalPublic(key []byte) ([]byte, error) {
	return asn1.Marshal(publicKeyInfo{ks.algorithm(), asn1.BitString{Bytes: key, BitLength: 8 * len(key)}})
}

// public is a public key, taken apart.
type public interface {
	verify(m message, signature []byte) bool
}

// parsePublic is ErrPublic for what is not exactly a public key of the spec.
func (ks *keySpec) parsePublic(der []byte) (public, error) {
	var info publicKeyInfo
	if len(der) > maxMaterial || !unmarshal(der, &info) || !ks.isOurs(info.Algorithm) || info.PublicKey.BitLength%8 != 0 {
		return nil, ErrPublic
	}
	key := ks.parsePublicInner(info.PublicKey.Bytes)
	if key == nil {
		return nil, ErrPublic
	}
	return key, nil
}

func (ks *keySpec) parsePublicInner(inner []byte) public {
	switch ks.family {
	case familyRSA:
		if key := parsePublicRSA(ks, inner); key != nil {
			return key
		}
	case familyEC:
		if key := parsePublicNIST(ks, inner); key != nil {
			return key
		}
	case familyK1:
		if key := parsePublicK1(inner); key != nil {
			return key
		}
	case familyEdwards:
		if key := parsePublicEdwards(inner); key != nil {
			return key
		}
	case familyMLDSA:
		if key := parsePublicMLDSA(ks, inner); key != nil {
			return key
		}
	}
	return nil
}
