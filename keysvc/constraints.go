// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"reflect"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// A constraint is what the AWS API model says of a member wherever it occurs.
type constraint struct {
	min, max int // of a number's value, or of a length
	pattern  *pattern
	hidden   bool        // the model calls the member sensitive: not even null is shown
	each     *constraint // of a list's elements; nil leaves the list as it is
}

// A pattern is matched by whole values, as AWS does it with and without
// anchors, and shown as the model has it.
type pattern struct {
	shown string
	match func(string) bool
}

var codePoint = regexp.MustCompile(`\\u([0-9A-Fa-f]{4})`)

func matching(expr string) *pattern {
	re := regexp.MustCompile(`^(?:` + codePoint.ReplaceAllString(expr, `\x{$1}`) + `)$`)
	return &pattern{expr, re.MatchString}
}

// asciiOnly is the pattern of key IDs. Most requests have one, so that it is
// matched without a regular expression.
var asciiOnly = &pattern{`^\p{ASCII}+$`, func(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return s != ""
}}

// constraints are those of the AWS KMS API Reference, by member name.
func constraints() map[string]constraint {
	keyID := constraint{min: 1, max: 2048, pattern: asciiOnly}
	principal := constraint{min: 1, max: 256, pattern: matching(`^[\w+=,.@:/-]+$`)}
	name := constraint{min: 1, max: 256, pattern: matching(`^[a-zA-Z0-9:/_-]+$`)}
	blob := constraint{min: 1, max: 6144}
	secret := constraint{min: 1, max: 4096, hidden: true}
	region := constraint{min: 1, max: 32, pattern: matching(`^([a-z]+-){2,3}\d+$`)}
	grantToken := constraint{min: 1, max: 8192}
	storeName := constraint{min: 1, max: 256}
	tagKey := constraint{min: 1, max: 128}
	return map[string]constraint{
		"AccessKeyId":                     {min: 20, max: 30, pattern: matching(`^[A-Z2-7]+$`), hidden: true},
		"AliasName":                       name,
		"AttestationDocument":             {min: 1, max: 262144},
		"CiphertextBlob":                  blob,
		"CloudHsmClusterId":               {min: 19, max: 24, pattern: matching(`cluster-[2-7a-zA-Z]{11,16}`)},
		"CustomKeyStoreId":                {min: 1, max: 64},
		"CustomKeyStoreName":              storeName,
		"Description":                     {min: 0, max: 8192},
		"DestinationKeyId":                keyID,
		"EncryptedKeyMaterial":            blob,
		"GrantId":                         {min: 1, max: 128},
		"GrantToken":                      grantToken,
		"GrantTokens":                     {min: 0, max: 10, each: &grantToken},
		"GranteePrincipal":                principal,
		"GranteeServicePrincipal":         principal,
		"ImportToken":                     blob,
		"KeyId":                           keyID,
		"KeyMaterialDescription":          {min: 0, max: 256, pattern: matching(`^[a-zA-Z0-9:/_\s.-]+$`)},
		"KeyMaterialId":                   {min: 64, max: 64, pattern: matching(`^[a-f0-9]+$`)},
		"KeyStorePassword":                {min: 7, max: 32, hidden: true},
		"Limit":                           {min: 1, max: 1000},
		"Mac":                             blob,
		"Marker":                          {min: 1, max: 1024, pattern: matching(`[\u0020-\u00FF]*`)},
		"Message":                         secret,
		"Name":                            name,
		"NewCustomKeyStoreName":           storeName,
		"NumberOfBytes":                   {min: 1, max: 1024},
		"PendingWindowInDays":             {min: 7, max: 30},
		"Plaintext":                       secret,
		"Policy":                          {min: 1, max: 131072, pattern: matching(`[\u0009\u000A\u000D\u0020-\u00FF]+`)},
		"PolicyName":                      {min: 1, max: 128, pattern: matching(`[\w]+`)},
		"PrimaryRegion":                   region,
		"PublicKey":                       {min: 1, max: 8192},
		"RawSecretAccessKey":              {min: 43, max: 64, pattern: matching(`^[a-zA-Z0-9\/+=]+$`), hidden: true},
		"ReplicaRegion":                   region,
		"RetiringPrincipal":               principal,
		"RetiringServicePrincipal":        principal,
		"RotationPeriodInDays":            {min: 90, max: 2560},
		"Signature":                       blob,
		"SourceArn":                       {min: 20, max: 2048},
		"SourceKeyId":                     keyID,
		"TagKey":                          tagKey,
		"TagKeys":                         {min: 0, max: noLimit, each: &tagKey},
		"TagValue":                        {min: 0, max: 256},
		"TargetKeyId":                     keyID,
		"TrustAnchorCertificate":          {min: 1, max: 5000},
		"XksKeyId":                        {min: 1, max: 128, pattern: matching(`^[a-zA-Z0-9-_.]+$`)},
		"XksProxyUriEndpoint":             {min: 10, max: 128, pattern: matching(`^https://[a-zA-Z0-9.-]+$`)},
		"XksProxyUriPath":                 {min: 10, max: 128, pattern: matching(`^(/[a-zA-Z0-9\/_-]+/kms/xks/v\d{1,2})$|^(/kms/xks/v\d{1,2})$`)},
		"XksProxyVpcEndpointServiceName":  {min: 20, max: 64, pattern: matching(`^(com|eu)\.amazonaws\.vpce\.([a-z]+-){2,3}\d+\.vpce-svc-[0-9a-z]+$`)},
		"XksProxyVpcEndpointServiceOwner": {min: 12, max: 12, pattern: matching(`[0-9]{12}`)},
	}
}

// noLimit is the maximum of a list that the model does not bound: maxBody does.
const noLimit = maxBody

// requiredMembers are the members that must be there, by operation or
// structure, of all that have any. Where one of two members will do, the
// operation itself checks.
func requiredMembers(name string) []string {
	switch name {
	case "CreateAlias", "UpdateAlias":
		return []string{"AliasName", "TargetKeyId"}
	case "DeleteAlias":
		return []string{"AliasName"}
	case "ConnectCustomKeyStore", "DeleteCustomKeyStore", "DisconnectCustomKeyStore", "UpdateCustomKeyStore":
		return []string{"CustomKeyStoreId"}
	case "CreateCustomKeyStore":
		return []string{"CustomKeyStoreName"}
	case "CreateGrant":
		return []string{"KeyId", "Operations"}
	case "DeriveSharedSecret":
		return []string{"KeyId", "KeyAgreementAlgorithm", "PublicKey"}
	case "Encrypt":
		return []string{"KeyId", "Plaintext"}
	case "GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext":
		return []string{"KeyId", "KeyPairSpec"}
	case "GenerateMac":
		return []string{"KeyId", "MacAlgorithm", "Message"}
	case "VerifyMac":
		return []string{"KeyId", "Mac", "MacAlgorithm", "Message"}
	case "GetParametersForImport":
		return []string{"KeyId", "WrappingAlgorithm", "WrappingKeySpec"}
	case "ImportKeyMaterial":
		return []string{"EncryptedKeyMaterial", "ImportToken", "KeyId"}
	case "PutKeyPolicy":
		return []string{"KeyId", "Policy"}
	case "ReEncrypt":
		return []string{"DestinationKeyId"}
	case "ReplicateKey":
		return []string{"KeyId", "ReplicaRegion"}
	case "RevokeGrant":
		return []string{"GrantId", "KeyId"}
	case "Sign":
		return []string{"KeyId", "Message", "SigningAlgorithm"}
	case "Verify":
		return []string{"KeyId", "Message", "Signature", "SigningAlgorithm"}
	case "TagResource":
		return []string{"KeyId", "Tags"}
	case "UntagResource":
		return []string{"KeyId", "TagKeys"}
	case "UpdateKeyDescription":
		return []string{"Description", "KeyId"}
	case "UpdatePrimaryRegion":
		return []string{"KeyId", "PrimaryRegion"}
	case "Tag":
		return []string{"TagKey", "TagValue"}
	case "XksProxyAuthenticationCredentialType":
		return []string{"AccessKeyId", "RawSecretAccessKey"}
	case "CancelKeyDeletion", "DeleteImportedKeyMaterial", "DescribeKey", "DisableKey", "DisableKeyRotation",
		"EnableKey", "EnableKeyRotation", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "GetKeyLastUsage",
		"GetKeyPolicy", "GetKeyRotationStatus", "GetPublicKey", "ListGrants", "ListKeyPolicies", "ListKeyRotations",
		"ListResourceTags", "RotateKeyOnDemand", "ScheduleKeyDeletion":
		return []string{"KeyId"}
	}
	return nil
}

// An enum is the set of values of a member, and the list of them that errors
// have, which AWS gives in an order of its own.
type enum struct {
	values []string
	shown  string
}

// shownEnums are the lists of recorded answers that are not in the SDK's order.
func shownEnums(t reflect.Type) string {
	switch reflect.Zero(t).Interface().(type) {
	case types.KeySpec, types.DataKeySpec: // of a data key, too, all key specs are shown
		return "RSA_2048, RSA_3072, RSA_4096, ECC_NIST_P256, ECC_NIST_P384, ECC_NIST_P521, ECC_SECG_P256K1, ECC_NIST_EDWARDS25519, " +
			"SYMMETRIC_DEFAULT, HMAC_224, HMAC_256, HMAC_384, HMAC_512, SM2, ML_DSA_44, ML_DSA_65, ML_DSA_87"
	case types.KeyUsageType:
		return "ENCRYPT_DECRYPT, SIGN_VERIFY, GENERATE_VERIFY_MAC, KEY_AGREEMENT"
	case types.EncryptionAlgorithmSpec:
		return "RSAES_OAEP_SHA_1, RSAES_OAEP_SHA_256, SM2PKE, SYMMETRIC_DEFAULT"
	case types.SigningAlgorithmSpec:
		return "RSASSA_PSS_SHA_256, RSASSA_PSS_SHA_384, RSASSA_PSS_SHA_512, RSASSA_PKCS1_V1_5_SHA_256, RSASSA_PKCS1_V1_5_SHA_384, " +
			"RSASSA_PKCS1_V1_5_SHA_512, ECDSA_SHA_256, ECDSA_SHA_384, ECDSA_SHA_512, ED25519_SHA_512, ED25519_PH_SHA_512, SM2DSA, ML_DSA_SHAKE_256"
	case types.MacAlgorithmSpec:
		return "HMAC_SHA_384, HMAC_SHA_256, HMAC_SHA_224, HMAC_SHA_512"
	}
	return ""
}

// enumOf asks the SDK's type, or that of a list's elements, for its values.
func enumOf(t reflect.Type) *enum {
	if t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	values, ok := t.MethodByName("Values")
	if t.Kind() != reflect.String || !ok {
		return nil
	}
	list := values.Func.Call([]reflect.Value{reflect.Zero(t)})[0]
	e := &enum{values: make([]string, list.Len()), shown: shownEnums(t)}
	for i := range e.values {
		e.values[i] = list.Index(i).String()
	}
	if e.shown == "" {
		e.shown = strings.Join(e.values, ", ")
	}
	return e
}
