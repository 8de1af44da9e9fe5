// SPDX-License-Identifier: Apache-2.0

package hsm

import "github.com/miekg/pkcs11"

var attributeNames = map[uint]string{
	pkcs11.CKA_CLASS:       "CKA_CLASS",
	pkcs11.CKA_KEY_TYPE:    "CKA_KEY_TYPE",
	pkcs11.CKA_VALUE_LEN:   "CKA_VALUE_LEN",
	pkcs11.CKA_TOKEN:       "CKA_TOKEN",
	pkcs11.CKA_SENSITIVE:   "CKA_SENSITIVE",
	pkcs11.CKA_EXTRACTABLE: "CKA_EXTRACTABLE",
	pkcs11.CKA_WRAP:        "CKA_WRAP",
	pkcs11.CKA_UNWRAP:      "CKA_UNWRAP",

	pkcs11.CKA_VALUE:           "CKA_VALUE",
	pkcs11.CKA_MODULUS:         "CKA_MODULUS",
	pkcs11.CKA_PUBLIC_EXPONENT: "CKA_PUBLIC_EXPONENT",
	pkcs11.CKA_EC_PARAMS:       "CKA_EC_PARAMS",
	pkcs11.CKA_EC_POINT:        "CKA_EC_POINT",
}

// rootSearch matches every secret key of the label, of whatever type: a key
// that cannot be the root key must be noticed, not passed over.
func rootSearch(label string) []*pkcs11.Attribute {
	return []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, label),
	}
}

// rootTemplate: the root key wraps and unwraps and does nothing else.
func rootTemplate(label string) []*pkcs11.Attribute {
	return append(rootRequired(),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, label),
		pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true),
		pkcs11.NewAttribute(pkcs11.CKA_ENCRYPT, false),
		pkcs11.NewAttribute(pkcs11.CKA_DECRYPT, false),
		pkcs11.NewAttribute(pkcs11.CKA_DERIVE, false),
		pkcs11.NewAttribute(pkcs11.CKA_SIGN, false),
		pkcs11.NewAttribute(pkcs11.CKA_VERIFY, false),
	)
}

func rootRequired() []*pkcs11.Attribute {
	return []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES),
		pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, keyLen),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
		pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true),
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false),
		pkcs11.NewAttribute(pkcs11.CKA_WRAP, true),
		pkcs11.NewAttribute(pkcs11.CKA_UNWRAP, true),
	}
}

// newTemplate is a backing key while it is being made: extractable, because it
// must be wrapped once, and destroyed right after.
func newTemplate() []*pkcs11.Attribute {
	return append(freshTemplate(), pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, keyLen))
}

// importTemplate is newTemplate for a value that is given.
func importTemplate(value []byte) []*pkcs11.Attribute {
	return append(freshTemplate(), pkcs11.NewAttribute(pkcs11.CKA_VALUE, value))
}

func freshTemplate() []*pkcs11.Attribute {
	return append(sessionKey(),
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, true),
		pkcs11.NewAttribute(pkcs11.CKA_DERIVE, true),
		pkcs11.NewAttribute(pkcs11.CKA_ENCRYPT, false),
		pkcs11.NewAttribute(pkcs11.CKA_DECRYPT, false),
	)
}

// unwrapTemplate is a backing key in use. It only derives: deriveMechanism's
// argument needs AES under this key to be evaluated on nothing else.
func unwrapTemplate() []*pkcs11.Attribute {
	return append(sessionKey(),
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false),
		pkcs11.NewAttribute(pkcs11.CKA_DERIVE, true),
		pkcs11.NewAttribute(pkcs11.CKA_ENCRYPT, false),
		pkcs11.NewAttribute(pkcs11.CKA_DECRYPT, false),
	)
}

func subkeyTemplate() []*pkcs11.Attribute {
	return append(sessionKey(),
		pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, keyLen),
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false),
		pkcs11.NewAttribute(pkcs11.CKA_DERIVE, false),
		pkcs11.NewAttribute(pkcs11.CKA_ENCRYPT, true),
		pkcs11.NewAttribute(pkcs11.CKA_DECRYPT, true),
	)
}

func sessionKey() []*pkcs11.Attribute {
	return []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, false),
		pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true),
		pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true),
		pkcs11.NewAttribute(pkcs11.CKA_WRAP, false),
		pkcs11.NewAttribute(pkcs11.CKA_UNWRAP, false),
	}
}

func secretRequired() []*pkcs11.Attribute {
	return []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, false),
		pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true),
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false),
	}
}
