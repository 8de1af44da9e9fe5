// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"

	"github.com/miekg/pkcs11"
)

// components are the attributes of C_CreateObject that hold a key in clear.
type components struct {
	attributes []*pkcs11.Attribute
	public     []byte // SubjectPublicKeyInfo
}

func (p *components) add(attribute uint, value []byte) {
	p.attributes = append(p.attributes, pkcs11.NewAttribute(attribute, value))
}

func (p *components) addNumber(attribute uint, n *big.Int) {
	p.add(attribute, n.Bytes())
	clear(n.Bits())
}

func (p *components) value(attribute uint) []byte {
	for _, a := range p.attributes {
		if a.Type == attribute {
			return a.Value
		}
	}
	return nil
}

func (p *components) clone() *components {
	own := &components{public: p.public}
	for _, a := range p.attributes {
		own.add(a.Type, bytes.Clone(a.Value))
	}
	return own
}

func (p *components) wipe() {
	for _, a := range p.attributes {
		clear(a.Value)
	}
}

// source creates the key in the token.
func (p *components) source(ks *keySpec) source {
	return func(s *session, m *made) (fresh, error) {
		key, err := m.keep(s.create(ks.fresh(p.attributes...)))
		return fresh{key, p.public}, err
	}
}

// parse takes material apart, strictly: what is not exactly a key of the spec
// is refused.
func (ks *keySpec) parse(material []byte) (*components, error) {
	p := &components{}
	if !ks.pair() {
		if len(material) != ks.size {
			return nil, ks.badMaterial()
		}
		p.add(pkcs11.CKA_VALUE, bytes.Clone(material))
		return p, nil
	}
	inner, err := ks.parsePKCS8(material)
	defer clear(inner)
	if err != nil {
		return nil, err
	}
	if ks.family == familyEC && ks.curve.nist == nil {
		return p, ks.parseK1(inner, p)
	}
	key, err := x509.ParsePKCS8PrivateKey(material)
	if err != nil {
		return nil, ks.badMaterial()
	}
	return p, ks.takeApart(key, p)
}

// privateKeyInfo is RFC 5208; encoding/asn1 passes over the attributes.
type privateKeyInfo struct {
	Version    int
	Algorithm  pkix.AlgorithmIdentifier
	PrivateKey []byte
}

// parsePKCS8 sees to it that there is nothing but one key of the algorithm.
func (ks *keySpec) parsePKCS8(material []byte) (inner []byte, err error) {
	var info privateKeyInfo
	if rest, err := asn1.Unmarshal(material, &info); err != nil || len(rest) > 0 || info.Version != 0 {
		return nil, ks.badMaterial()
	}
	inner = info.PrivateKey // a copy, which the caller clears
	var one asn1.RawValue
	if rest, err := asn1.Unmarshal(inner, &one); err != nil || len(rest) > 0 {
		return inner, ks.badMaterial()
	}
	if ks.family == familyEC && (!info.Algorithm.Algorithm.Equal(oidECPublicKey) || !bytes.Equal(info.Algorithm.Parameters.FullBytes, ks.params())) {
		return inner, ks.badMaterial()
	}
	return inner, nil
}

func (ks *keySpec) takeApart(key any, p *components) (err error) {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if ks.family != familyRSA || k.N.BitLen() != ks.size*8 || len(k.Primes) != 2 || k.Precomputed.Dp == nil {
			return ks.badMaterial()
		}
		p.public, err = x509.MarshalPKIXPublicKey(&k.PublicKey)
		p.addRSA(k)
	case *ecdsa.PrivateKey:
		if ks.family != familyEC || k.Curve != ks.curve.nist {
			return ks.badMaterial()
		}
		var d []byte
		if d, err = k.Bytes(); err != nil {
			return ks.badMaterial()
		}
		p.addScalar(ks, d)
		p.public, err = x509.MarshalPKIXPublicKey(&k.PublicKey)
	case ed25519.PrivateKey:
		if ks.family != familyEdwards {
			return ks.badMaterial()
		}
		p.addScalar(ks, k.Seed())
		p.public, err = x509.MarshalPKIXPublicKey(k.Public())
		clear(k)
	default:
		return ks.badMaterial()
	}
	return err
}

func (p *components) addScalar(ks *keySpec, d []byte) {
	p.add(pkcs11.CKA_EC_PARAMS, ks.params())
	p.add(pkcs11.CKA_VALUE, d)
}

func (p *components) addRSA(k *rsa.PrivateKey) {
	p.add(pkcs11.CKA_MODULUS, k.N.Bytes())
	p.add(pkcs11.CKA_PUBLIC_EXPONENT, big.NewInt(int64(k.E)).Bytes())
	p.addNumber(pkcs11.CKA_EXPONENT_1, k.Precomputed.Dp)
	p.addNumber(pkcs11.CKA_EXPONENT_2, k.Precomputed.Dq)
	p.addNumber(pkcs11.CKA_COEFFICIENT, k.Precomputed.Qinv)
	p.addNumber(pkcs11.CKA_PRIVATE_EXPONENT, k.D)
	p.addNumber(pkcs11.CKA_PRIME_1, k.Primes[0])
	p.addNumber(pkcs11.CKA_PRIME_2, k.Primes[1])
}

// ecPrivateKey is RFC 5915.
type ecPrivateKey struct {
	Version    int
	PrivateKey []byte
	Curve      asn1.ObjectIdentifier `asn1:"optional,explicit,tag:0"`
	PublicKey  asn1.BitString        `asn1:"optional,explicit,tag:1"`
}

func (ks *keySpec) parseK1(inner []byte, p *components) error {
	var key ecPrivateKey
	if _, err := asn1.Unmarshal(inner, &key); err != nil || key.Version != 1 || len(key.PrivateKey) != ks.size {
		return ks.badMaterial()
	}
	if key.Curve != nil && !key.Curve.Equal(ks.curve.oid) {
		return ks.badMaterial()
	}
	point, ok := publicK1(key.PrivateKey, key.PublicKey.Bytes)
	if !ok {
		clear(key.PrivateKey)
		return ks.badMaterial()
	}
	p.addScalar(ks, key.PrivateKey)
	var err error
	p.public, err = marshalK1(ks, point)
	return err
}
