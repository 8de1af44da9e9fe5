// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"crypto"
	"crypto/ecdh"
	"crypto/elliptic"
	"encoding/asn1"
	"fmt"

	"github.com/miekg/pkcs11"
)

type family int

const (
	familyAES family = iota // backing keys: they derive, and nothing else
	familyRSA
	familyEC
	familyEdwards
	familyMAC
)

// PKCS#11 3.0 has these for Ed25519; the binding is of 2.40.
const (
	ckkECEdwards           = 0x40
	ckmECEdwardsKeyPairGen = 0x1055
	ckmEdDSA               = 0x1057
)

// keySpec is what a spec means to a token.
type keySpec struct {
	name   string
	id     byte // kind byte of the wrapped form; 0 has none
	family family
	size   int // bytes of the modulus, of a coordinate, or of the secret
	curve  *curve
	mac    uint // mechanism
	hash   crypto.Hash
}

type curve struct {
	oid   asn1.ObjectIdentifier
	nist  elliptic.Curve // nil for secp256k1, which Go does not have
	agree ecdh.Curve     // nil where keys only sign
}

const symmetricDefault = "SYMMETRIC_DEFAULT"

// specs lists every spec that a token could do with PKCS#11 2.40, or as its
// 3.0 has it for Ed25519. ML-DSA came with 3.2: kinds 12 to 14 are left for it.
var specs = []keySpec{
	{name: symmetricDefault, family: familyAES, size: keyLen},
	{name: "RSA_2048", id: 1, family: familyRSA, size: 256, hash: crypto.SHA256},
	{name: "RSA_3072", id: 2, family: familyRSA, size: 384, hash: crypto.SHA256},
	{name: "RSA_4096", id: 3, family: familyRSA, size: 512, hash: crypto.SHA256},
	{name: "ECC_NIST_P256", id: 4, family: familyEC, size: 32, hash: crypto.SHA256,
		curve: &curve{asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}, elliptic.P256(), ecdh.P256()}},
	{name: "ECC_NIST_P384", id: 5, family: familyEC, size: 48, hash: crypto.SHA384,
		curve: &curve{asn1.ObjectIdentifier{1, 3, 132, 0, 34}, elliptic.P384(), ecdh.P384()}},
	{name: "ECC_NIST_P521", id: 6, family: familyEC, size: 66, hash: crypto.SHA512,
		curve: &curve{asn1.ObjectIdentifier{1, 3, 132, 0, 35}, elliptic.P521(), ecdh.P521()}},
	{name: "ECC_SECG_P256K1", id: 7, family: familyEC, size: 32, hash: crypto.SHA256,
		curve: &curve{oid: asn1.ObjectIdentifier{1, 3, 132, 0, 10}}},
	{name: "ECC_NIST_EDWARDS25519", id: 15, family: familyEdwards, size: 32,
		curve: &curve{oid: asn1.ObjectIdentifier{1, 3, 101, 112}}},
	{name: "HMAC_224", id: 8, family: familyMAC, size: 28, mac: pkcs11.CKM_SHA224_HMAC, hash: crypto.SHA224},
	{name: "HMAC_256", id: 9, family: familyMAC, size: 32, mac: pkcs11.CKM_SHA256_HMAC, hash: crypto.SHA256},
	{name: "HMAC_384", id: 10, family: familyMAC, size: 48, mac: pkcs11.CKM_SHA384_HMAC, hash: crypto.SHA384},
	{name: "HMAC_512", id: 11, family: familyMAC, size: 64, mac: pkcs11.CKM_SHA512_HMAC, hash: crypto.SHA512},
}

func specOf(name string) (*keySpec, error) {
	for i := range specs {
		if specs[i].name == name {
			return &specs[i], nil
		}
	}
	return nil, fmt.Errorf("no token makes keys of spec %q", name)
}

// specFor is specOf for an operation of some families only.
func specFor(name string, can ...family) (*keySpec, error) {
	ks, err := specOf(name)
	if err != nil {
		return nil, err
	}
	for _, f := range can {
		if ks.family == f {
			return ks, nil
		}
	}
	return nil, fmt.Errorf("a key of spec %s is not for this", name)
}

func (ks *keySpec) pair() bool { return ks.family != familyMAC && ks.family != familyAES }

// keyType is CKA_KEY_TYPE and the mechanism that makes such keys.
func (ks *keySpec) keyType() (keyType, generate uint) {
	switch ks.family {
	case familyRSA:
		return pkcs11.CKK_RSA, pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN
	case familyEC:
		return pkcs11.CKK_EC, pkcs11.CKM_EC_KEY_PAIR_GEN
	case familyEdwards:
		return ckkECEdwards, ckmECEdwardsKeyPairGen
	case familyMAC:
		return pkcs11.CKK_GENERIC_SECRET, pkcs11.CKM_GENERIC_SECRET_KEY_GEN
	}
	return pkcs11.CKK_AES, pkcs11.CKM_AES_KEY_GEN
}

// params is CKA_EC_PARAMS: the curve by name.
func (ks *keySpec) params() []byte {
	der, err := asn1.Marshal(ks.curve.oid)
	if err != nil {
		panic(err) // of constants
	}
	return der
}
