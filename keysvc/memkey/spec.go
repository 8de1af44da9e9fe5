// SPDX-License-Identifier: Apache-2.0

package memkey

import (
	"crypto"
	"crypto/elliptic"
	_ "crypto/sha256" // hashes of the specs
	_ "crypto/sha512"
	"encoding/asn1"
	"fmt"
	"slices"
)

type family int

const (
	familyAES family = iota
	familyMAC
	familyRSA
	familyEC // NIST curves
	familyK1 // secp256k1, which Go does not have
	familyEdwards
	familyMLDSA
)

// keySpec is one row of the table.
type keySpec struct {
	name   string
	family family
	size   int                   // bytes of the secret, of the modulus, or of a coordinate
	hash   crypto.Hash           // of ECDSA and HMAC
	curve  elliptic.Curve        // of familyEC
	oid    asn1.ObjectIdentifier // of the curve, or of the algorithm
	mldsa  *mldsaParameters
}

var specs = []keySpec{
	{name: "SYMMETRIC_DEFAULT", family: familyAES, size: 32},
	{name: "HMAC_224", family: familyMAC, size: 28, hash: crypto.SHA224},
	{name: "HMAC_256", family: familyMAC, size: 32, hash: crypto.SHA256},
	{name: "HMAC_384", family: familyMAC, size: 48, hash: crypto.SHA384},
	{name: "HMAC_512", family: familyMAC, size: 64, hash: crypto.SHA512},
	{name: "RSA_2048", family: familyRSA, size: 256, oid: oidRSA},
	{name: "RSA_3072", family: familyRSA, size: 384, oid: oidRSA},
	{name: "RSA_4096", family: familyRSA, size: 512, oid: oidRSA},
	{name: "ECC_NIST_P256", family: familyEC, size: 32, hash: crypto.SHA256, curve: elliptic.P256(), oid: asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}},
	{name: "ECC_NIST_P384", family: familyEC, size: 48, hash: crypto.SHA384, curve: elliptic.P384(), oid: asn1.ObjectIdentifier{1, 3, 132, 0, 34}},
	{name: "ECC_NIST_P521", family: familyEC, size: 66, hash: crypto.SHA512, curve: elliptic.P521(), oid: asn1.ObjectIdentifier{1, 3, 132, 0, 35}},
	{name: "ECC_SECG_P256K1", family: familyK1, size: 32, hash: crypto.SHA256, oid: asn1.ObjectIdentifier{1, 3, 132, 0, 10}},
	{name: "ECC_NIST_EDWARDS25519", family: familyEdwards, size: 32, oid: oidEd25519},
	{name: "ML_DSA_44", family: familyMLDSA, oid: asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 17}, mldsa: &mldsa44},
	{name: "ML_DSA_65", family: familyMLDSA, oid: asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 18}, mldsa: &mldsa65},
	{name: "ML_DSA_87", family: familyMLDSA, oid: asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 19}, mldsa: &mldsa87},
}

// specOf is the row of a spec, if it is of one of the families; of no family
// named, all will do.
func specOf(name string, can ...family) (*keySpec, error) {
	for i := range specs {
		if ks := &specs[i]; ks.name == name && (len(can) == 0 || slices.Contains(can, ks.family)) {
			return ks, nil
		}
	}
	return nil, fmt.Errorf("%w: %.40q", ErrSpec, name)
}

func (ks *keySpec) pair() bool { return ks.family > familyMAC }
