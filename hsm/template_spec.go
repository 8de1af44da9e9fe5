// SPDX-License-Identifier: Apache-2.0

package hsm

import "github.com/miekg/pkcs11"

// fresh is a key of the spec while it is being made: extractable, because it
// must be wrapped once, and destroyed right after.
func (ks *keySpec) fresh(more ...*pkcs11.Attribute) []*pkcs11.Attribute {
	return append(ks.template(true), more...)
}

// unwrapped is a key of the spec in use.
func (ks *keySpec) unwrapped() []*pkcs11.Attribute { return ks.template(false) }

// template grants no purpose beyond the spec's: RSA keys sign and decrypt,
// those of NIST's curves sign and derive, all others only sign.
func (ks *keySpec) template(extractable bool) []*pkcs11.Attribute {
	class := uint(pkcs11.CKO_PRIVATE_KEY)
	if !ks.pair() {
		class = pkcs11.CKO_SECRET_KEY
	}
	keyType, _ := ks.keyType()
	return []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, class),
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, keyType),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, false),
		pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true),
		pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true),
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, extractable),
		pkcs11.NewAttribute(pkcs11.CKA_SIGN, true),
		pkcs11.NewAttribute(pkcs11.CKA_DECRYPT, ks.family == familyRSA),
		pkcs11.NewAttribute(pkcs11.CKA_DERIVE, ks.curve != nil && ks.curve.agree != nil),
		pkcs11.NewAttribute(pkcs11.CKA_UNWRAP, false),
	}
}

// public is the public half, which is destroyed once it has been read.
func (ks *keySpec) public() []*pkcs11.Attribute {
	keyType, _ := ks.keyType()
	t := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PUBLIC_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, keyType),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, false),
		pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, false),
		pkcs11.NewAttribute(pkcs11.CKA_WRAP, false),
	}
	if ks.family == familyRSA {
		return append(t, pkcs11.NewAttribute(pkcs11.CKA_MODULUS_BITS, ks.size*8),
			pkcs11.NewAttribute(pkcs11.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1}))
	}
	return append(t, pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, ks.params()))
}

// sharedTemplate is an ECDH secret, which is read and destroyed at once.
func sharedTemplate(size int) []*pkcs11.Attribute {
	return []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_GENERIC_SECRET),
		pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, size),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, false),
		pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, false),
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, true),
	}
}
