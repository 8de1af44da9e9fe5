// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sidekey/sidekey/keysvc/store"
)

// keySpec is what keys of a spec are for. Lists are in AWS's order.
type keySpec struct {
	name       types.KeySpec
	usages     []types.KeyUsageType
	encryption []types.EncryptionAlgorithmSpec
	signing    []types.SigningAlgorithmSpec
	mac        []types.MacAlgorithmSpec
	agreement  []types.KeyAgreementAlgorithmSpec
	modulus    int // bytes, of RSA
	pair       bool
}

// specs is every spec that this service makes keys of.
var specs = []keySpec{
	{name: types.KeySpecSymmetricDefault, usages: usages(types.KeyUsageTypeEncryptDecrypt),
		encryption: []types.EncryptionAlgorithmSpec{types.EncryptionAlgorithmSpecSymmetricDefault}},
	rsaSpec(types.KeySpecRsa2048, 256),
	rsaSpec(types.KeySpecRsa3072, 384),
	rsaSpec(types.KeySpecRsa4096, 512),
	nistSpec(types.KeySpecEccNistP256, types.SigningAlgorithmSpecEcdsaSha256),
	nistSpec(types.KeySpecEccNistP384, types.SigningAlgorithmSpecEcdsaSha384),
	nistSpec(types.KeySpecEccNistP521, types.SigningAlgorithmSpecEcdsaSha512),
	signingSpec(types.KeySpecEccSecgP256k1, types.SigningAlgorithmSpecEcdsaSha256),
	signingSpec(types.KeySpecEccNistEdwards25519, types.SigningAlgorithmSpecEd25519Sha512, types.SigningAlgorithmSpecEd25519PhSha512),
	macSpec(types.KeySpecHmac224, types.MacAlgorithmSpecHmacSha224),
	macSpec(types.KeySpecHmac256, types.MacAlgorithmSpecHmacSha256),
	macSpec(types.KeySpecHmac384, types.MacAlgorithmSpecHmacSha384),
	macSpec(types.KeySpecHmac512, types.MacAlgorithmSpecHmacSha512),
	signingSpec(types.KeySpecMlDsa44, types.SigningAlgorithmSpecMlDsaShake256),
	signingSpec(types.KeySpecMlDsa65, types.SigningAlgorithmSpecMlDsaShake256),
	signingSpec(types.KeySpecMlDsa87, types.SigningAlgorithmSpecMlDsaShake256),
}

func usages(all ...types.KeyUsageType) []types.KeyUsageType { return all }

func rsaSpec(name types.KeySpec, modulus int) keySpec {
	return keySpec{
		name: name, modulus: modulus, pair: true,
		usages:     usages(types.KeyUsageTypeEncryptDecrypt, types.KeyUsageTypeSignVerify),
		encryption: []types.EncryptionAlgorithmSpec{types.EncryptionAlgorithmSpecRsaesOaepSha1, types.EncryptionAlgorithmSpecRsaesOaepSha256},
		signing: []types.SigningAlgorithmSpec{
			types.SigningAlgorithmSpecRsassaPkcs1V15Sha256, types.SigningAlgorithmSpecRsassaPkcs1V15Sha384, types.SigningAlgorithmSpecRsassaPkcs1V15Sha512,
			types.SigningAlgorithmSpecRsassaPssSha256, types.SigningAlgorithmSpecRsassaPssSha384, types.SigningAlgorithmSpecRsassaPssSha512,
		},
	}
}

func nistSpec(name types.KeySpec, signing types.SigningAlgorithmSpec) keySpec {
	ks := signingSpec(name, signing)
	ks.usages = append(ks.usages, types.KeyUsageTypeKeyAgreement)
	ks.agreement = []types.KeyAgreementAlgorithmSpec{types.KeyAgreementAlgorithmSpecEcdh}
	return ks
}

func signingSpec(name types.KeySpec, signing ...types.SigningAlgorithmSpec) keySpec {
	return keySpec{name: name, pair: true, usages: usages(types.KeyUsageTypeSignVerify), signing: signing}
}

func macSpec(name types.KeySpec, mac types.MacAlgorithmSpec) keySpec {
	return keySpec{name: name, usages: usages(types.KeyUsageTypeGenerateVerifyMac), mac: []types.MacAlgorithmSpec{mac}}
}

func specOf(name string) (*keySpec, bool) {
	for i := range specs {
		if ks := &specs[i]; string(ks.name) == name {
			return ks, true
		}
	}
	return nil, false
}

// keyKindOf is the spec and the usage that a new key is asked to have. Only
// symmetric encryption keys have a default usage.
func keyKindOf(in *kms.CreateKeyInput) (spec, usage string, err error) {
	if in.KeySpec != "" && in.CustomerMasterKeySpec != "" {
		return "", "", validationError("You cannot specify KeySpec and CustomerMasterKeySpec in the same request. CustomerMasterKeySpec is deprecated.")
	}
	spec, asked := string(in.KeySpec)+string(in.CustomerMasterKeySpec), in.KeyUsage
	if spec == "" {
		spec = specSymmetric
	}
	ks, known := specOf(spec)
	if !known {
		return "", "", unsupported("KeySpec %s is not supported in this Region", spec)
	}
	if asked == "" && spec == specSymmetric {
		asked = types.KeyUsageTypeEncryptDecrypt
	}
	switch {
	case asked == "":
		return "", "", validationError("You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.")
	case !slices.Contains(ks.usages, asked):
		return "", "", validationError("KeyUsage %s is not compatible with KeySpec %s", asked, spec)
	}
	return spec, string(asked), nil
}

// algorithms is what a key can do, of which one list is not empty.
type algorithms struct {
	encryption []types.EncryptionAlgorithmSpec
	signing    []types.SigningAlgorithmSpec
	mac        []types.MacAlgorithmSpec
	agreement  []types.KeyAgreementAlgorithmSpec
}

func algorithmsOf(spec, usage string) (a algorithms) {
	ks, ok := specOf(spec)
	if !ok {
		return a
	}
	switch types.KeyUsageType(usage) {
	case types.KeyUsageTypeEncryptDecrypt:
		a.encryption = ks.encryption
	case types.KeyUsageTypeSignVerify:
		a.signing = ks.signing
	case types.KeyUsageTypeGenerateVerifyMac:
		a.mac = ks.mac
	case types.KeyUsageTypeKeyAgreement:
		a.agreement = ks.agreement
	}
	return a
}

// describeAlgorithms fills in what a key of a spec and usage can do.
func describeAlgorithms(m *types.KeyMetadata, spec, usage string) {
	a := algorithmsOf(spec, usage)
	m.EncryptionAlgorithms, m.SigningAlgorithms = a.encryption, a.signing
	m.MacAlgorithms, m.KeyAgreementAlgorithms = a.mac, a.agreement
}

// ready checks, in AWS's order, that an allowed key has the usage that the
// operation needs and is in a state to be used.
func (s *Service) ready(r *request, k *store.Key, usage types.KeyUsageType) error {
	if k.Usage != string(usage) {
		return &types.InvalidKeyUsageException{Message: text("%s key usage is %s which is not valid for %s.", s.keyARN(k.Ref), k.Usage, r.op.name)}
	}
	return s.usable(k)
}

// does checks that one of the algorithms of the key's spec is asked for.
func does[T ~string](k *store.Key, can []T, asked T) error {
	if slices.Contains(can, asked) {
		return nil
	}
	return &types.InvalidKeyUsageException{Message: text("Algorithm %s is incompatible with key spec %s.", asked, k.Spec)}
}
