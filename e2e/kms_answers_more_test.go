// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"slices"
	"strings"
)

// moreAnswers are AWS's answers of the operations beyond symmetric keys and aliases.
func moreAnswers() []answerCase {
	return slices.Concat(
		missingMembers(), wrongMembers, stateMatrix(), usageMatrix(), newKeyAnswers,
		signAnswers, macAnswers, agreementAnswers, publicKeyAnswers, asymmetricAnswers, pairAnswers,
		rotationAnswers, importAnswers, regionAnswers, grantAnswers, tagAnswers, policyAnswers,
		keyStoreAnswers, lastUseAnswers, moreDryRuns, moreRecipients)
}

const (
	appARN       = "arn:aws:iam::" + kmsAccount + ":user/app"
	emptyEnum    = " failed to satisfy constraint: Member must satisfy enum value set: [*"
	absentARN    = "{p}key/" + absentKey
	notSupported = "UnsupportedOperationException: *"
	recipient    = `"Recipient":{"KeyEncryptionAlgorithm":"RSAES_OAEP_SHA_256","AttestationDocument":"AAAA"}`
)

// asked makes the same request of several operations; KEY in a request stands
// for the key.
func asked(known, key, want string, requests ...string) (cases []answerCase) {
	for _, request := range requests {
		op, in, _ := strings.Cut(strings.ReplaceAll(request, "KEY", key), " ")
		cases = append(cases, answerCase{known: known, op: op, in: in, want: strings.ReplaceAll(want, "OP", op)})
	}
	return cases
}

// Requests that name a key and are otherwise right.
var (
	symmetricUses = []string{
		`Encrypt {"KeyId":"KEY","Plaintext":"eA=="}`,
		`GenerateDataKey {"KeyId":"KEY","KeySpec":"AES_256"}`,
		`GenerateDataKeyWithoutPlaintext {"KeyId":"KEY","KeySpec":"AES_256"}`,
		`GenerateDataKeyPair {"KeyId":"KEY","KeyPairSpec":"ECC_NIST_P256"}`,
		`GenerateDataKeyPairWithoutPlaintext {"KeyId":"KEY","KeyPairSpec":"ECC_NIST_P256"}`,
	}
	signatureUses = []string{
		`Sign {"KeyId":"KEY","Message":"eA==","SigningAlgorithm":"ECDSA_SHA_256"}`,
		`Verify {"KeyId":"KEY","Message":"eA==","Signature":"AAAA","SigningAlgorithm":"ECDSA_SHA_256"}`,
	}
	macUses = []string{
		`GenerateMac {"KeyId":"KEY","Message":"eA==","MacAlgorithm":"HMAC_SHA_256"}`,
		`VerifyMac {"KeyId":"KEY","Message":"eA==","Mac":"AAAA","MacAlgorithm":"HMAC_SHA_256"}`,
	}
	agreementUse = `DeriveSharedSecret {"KeyId":"KEY","KeyAgreementAlgorithm":"ECDH","PublicKey":"{peer p256}"}`
	grantUse     = `CreateGrant {"KeyId":"KEY","GranteePrincipal":"` + appARN + `","Operations":["Decrypt"]}`
	rotationUses = []string{
		`EnableKeyRotation {"KeyId":"KEY"}`, `DisableKeyRotation {"KeyId":"KEY"}`, `RotateKeyOnDemand {"KeyId":"KEY"}`,
	}
	labelUses = []string{
		`TagResource {"KeyId":"KEY","Tags":[{"TagKey":"a","TagValue":"b"}]}`,
		`UntagResource {"KeyId":"KEY","TagKeys":["a"]}`,
		`UpdateKeyDescription {"KeyId":"KEY","Description":"d"}`,
	}
)

// missingMembers are requests without a member that the model requires.
func missingMembers() (cases []answerCase) {
	for _, missing := range []string{
		`keyId CreateGrant {"GranteePrincipal":"` + appARN + `","Operations":["Decrypt"]}`,
		`operations CreateGrant {"KeyId":"x","GranteePrincipal":"` + appARN + `"}`,
		`keyId ListGrants {}`,
		`grantId RevokeGrant {"KeyId":"x"}`,
		`keyId RevokeGrant {"GrantId":"x"}`,
		`keyId GetKeyPolicy {}`,
		`policy PutKeyPolicy {"KeyId":"x"}`,
		`keyId ListKeyPolicies {}`,
		`tags TagResource {"KeyId":"x"}`,
		`tagKeys UntagResource {"KeyId":"x"}`,
		`keyId ListResourceTags {}`,
		`description UpdateKeyDescription {"KeyId":"x"}`,
		`keyId EnableKeyRotation {}`,
		`keyId DisableKeyRotation {}`,
		`keyId GetKeyRotationStatus {}`,
		`keyId RotateKeyOnDemand {}`,
		`keyId ListKeyRotations {}`,
		`wrappingAlgorithm GetParametersForImport {"KeyId":"x","WrappingKeySpec":"RSA_2048"}`,
		`wrappingKeySpec GetParametersForImport {"KeyId":"x","WrappingAlgorithm":"RSAES_OAEP_SHA_256"}`,
		`importToken ImportKeyMaterial {"KeyId":"x","EncryptedKeyMaterial":"AAAA"}`,
		`encryptedKeyMaterial ImportKeyMaterial {"KeyId":"x","ImportToken":"AAAA"}`,
		`keyId DeleteImportedKeyMaterial {}`,
		`replicaRegion ReplicateKey {"KeyId":"x"}`,
		`primaryRegion UpdatePrimaryRegion {"KeyId":"x"}`,
		`signingAlgorithm Sign {"KeyId":"x","Message":"eA=="}`,
		`signature Verify {"KeyId":"x","Message":"eA==","SigningAlgorithm":"ECDSA_SHA_256"}`,
		`macAlgorithm GenerateMac {"KeyId":"x","Message":"eA=="}`,
		`mac VerifyMac {"KeyId":"x","Message":"eA==","MacAlgorithm":"HMAC_SHA_256"}`,
		`keyId GetPublicKey {}`,
		`publicKey DeriveSharedSecret {"KeyId":"x","KeyAgreementAlgorithm":"ECDH"}`,
		`keyAgreementAlgorithm DeriveSharedSecret {"KeyId":"x","PublicKey":"AAAA"}`,
		`keyPairSpec GenerateDataKeyPair {"KeyId":"x"}`,
		`keyPairSpec GenerateDataKeyPairWithoutPlaintext {"KeyId":"x"}`,
		`customKeyStoreName CreateCustomKeyStore {}`,
		`customKeyStoreId ConnectCustomKeyStore {}`,
		`customKeyStoreId DisconnectCustomKeyStore {}`,
		`customKeyStoreId DeleteCustomKeyStore {}`,
		`customKeyStoreId UpdateCustomKeyStore {}`,
		`keyId GetKeyLastUsage {}`,
	} {
		member, request, _ := strings.Cut(missing, " ")
		cases = append(cases, asked(measured, "", oneError+"Value null at '"+member+"'"+notNull, request)...)
	}
	return cases
}

// Members that the model forbids.
var wrongMembers = []answerCase{
	{known: recorded, op: "GenerateMac", in: `{"KeyId":"{hmac}","Message":"eA==","MacAlgorithm":"INVALID"}`, want: oneError + "Value 'INVALID' at 'macAlgorithm'" + emptyEnum},
	{known: recorded, op: "VerifyMac", in: `{"KeyId":"{hmac}","Message":"eA==","Mac":"AAAA","MacAlgorithm":"INVALID"}`, want: oneError + "Value 'INVALID' at 'macAlgorithm'" + emptyEnum},
	{known: recorded, op: "CreateKey", in: `{"KeySpec":"HMAC_random"}`, want: oneError + "Value 'HMAC_random' at 'keySpec'" + emptyEnum},
	{known: recorded, op: "CreateKey", in: `{"KeySpec":"HMAC_256","KeyUsage":"RANDOM"}`, want: oneError + "Value 'RANDOM' at 'keyUsage'" + emptyEnum},
	{known: documented, op: "CreateKey", in: `{"Origin":"ELSEWHERE"}`, want: oneError + "Value 'ELSEWHERE' at 'origin'" + emptyEnum},
	{known: documented, op: "CreateKey", in: `{"Description":"{text 8193}"}`, want: oneError + "Value '*"},
	{known: recorded, op: "DeriveSharedSecret", in: `{"KeyId":"{agree}","KeyAgreementAlgorithm":"INVALID","PublicKey":"AAAA"}`, want: oneError + "Value 'INVALID' at 'keyAgreementAlgorithm' failed to satisfy constraint: Member must satisfy enum value set: [ECDH]"},
	{known: guessed, op: "Sign", in: `{"KeyId":"x","SigningAlgorithm":"ECDSA_SHA_256"}`, want: oneError + "Value at 'message'" + notNull},
	{known: documented, op: "Sign", in: `{"KeyId":"{ecc}","Message":"","SigningAlgorithm":"ECDSA_SHA_256"}`, want: oneError + "Value at 'message'" + tooShort + "1"},
	{known: documented, op: "Sign", in: `{"KeyId":"{ecc}","Message":"{bytes 4097}","SigningAlgorithm":"ECDSA_SHA_256"}`, want: oneError + "Value at 'message'" + tooLong + "4096"},
	{known: documented, op: "Sign", in: `{"KeyId":"{ecc}","Message":"eA==","SigningAlgorithm":"ECDSA_SHA_1"}`, want: oneError + "Value 'ECDSA_SHA_1' at 'signingAlgorithm'" + emptyEnum},
	{known: documented, op: "Sign", in: `{"KeyId":"{ecc}","Message":"eA==","MessageType":"HASH","SigningAlgorithm":"ECDSA_SHA_256"}`, want: oneError + "Value 'HASH' at 'messageType'" + emptyEnum},
	{known: documented, op: "Verify", in: `{"KeyId":"{ecc}","Message":"eA==","Signature":"","SigningAlgorithm":"ECDSA_SHA_256"}`, want: oneError + "Value at 'signature'" + tooShort + "1"},
	{known: documented, op: "Verify", in: `{"KeyId":"{ecc}","Message":"eA==","Signature":"{bytes 6145}","SigningAlgorithm":"ECDSA_SHA_256"}`, want: oneError + "Value at 'signature'" + tooLong + "6144"},
	{known: documented, op: "GenerateMac", in: `{"KeyId":"{hmac}","Message":"{bytes 4097}","MacAlgorithm":"HMAC_SHA_256"}`, want: oneError + "Value at 'message'" + tooLong + "4096"},
	{known: documented, op: "VerifyMac", in: `{"KeyId":"{hmac}","Message":"eA==","Mac":"","MacAlgorithm":"HMAC_SHA_256"}`, want: oneError + "Value at 'mac'" + tooShort + "1"},
	{known: documented, op: "GenerateDataKeyPair", in: `{"KeyId":"{sym}","KeyPairSpec":"DSA_1024"}`, want: oneError + "Value 'DSA_1024' at 'keyPairSpec'" + emptyEnum},
	{known: documented, op: "GenerateDataKey", in: `{"KeyId":"{sym}","KeySpec":"AES_192"}`, want: oneError + "Value 'AES_192' at 'keySpec'" + emptyEnum},
	{known: documented, op: "EnableKeyRotation", in: `{"KeyId":"{sym}","RotationPeriodInDays":89}`, want: oneError + "Value '89' at 'rotationPeriodInDays'" + tooLittle + "90"},
	{known: documented, op: "EnableKeyRotation", in: `{"KeyId":"{sym}","RotationPeriodInDays":2561}`, want: oneError + "Value '2561' at 'rotationPeriodInDays'" + tooMuch + "2560"},
	{known: documented, op: "CreateGrant", in: `{"KeyId":"{sym}","GranteePrincipal":"` + appARN + `","Operations":["Decrypt"],"Name":"a b"}`, want: oneError + "Value 'a b' at 'name'" + notLike + "^[a-zA-Z0-9:/_-]+$"},
	{known: documented, op: "CreateGrant", in: `{"KeyId":"{sym}","GranteePrincipal":"` + appARN + `","Operations":["Guess"]}`, want: oneError + "Value '[Guess]' at 'operations' failed to satisfy constraint: Member must satisfy constraint: [Member must satisfy enum value set: [*"},
	{known: documented, op: "GetParametersForImport", in: `{"KeyId":"{ext}","WrappingAlgorithm":"ROT13","WrappingKeySpec":"RSA_2048"}`, want: oneError + "Value 'ROT13' at 'wrappingAlgorithm'" + emptyEnum},
	{known: documented, op: "GetParametersForImport", in: `{"KeyId":"{ext}","WrappingAlgorithm":"RSAES_OAEP_SHA_256","WrappingKeySpec":"RSA_1024"}`, want: oneError + "Value 'RSA_1024' at 'wrappingKeySpec'" + emptyEnum},
	{known: documented, op: "ListGrants", in: `{"KeyId":"{sym}","Limit":0}`, want: oneError + "Value '0' at 'limit'" + tooLittle + "1"},
	{known: documented, op: "ListKeyRotations", in: `{"KeyId":"{sym}","Limit":1001}`, want: oneError + "Value '1001' at 'limit'" + tooMuch + "1000"},
	{known: documented, op: "ListKeyRotations", in: `{"KeyId":"{sym}","IncludeKeyMaterial":"SOME"}`, want: oneError + "Value 'SOME' at 'includeKeyMaterial'" + emptyEnum},
	{known: documented, op: "ReplicateKey", in: `{"KeyId":"{mrk}","ReplicaRegion":"Mars"}`, want: oneError + "Value 'Mars' at 'replicaRegion'" + notLike + "*"},
	{known: documented, op: "PutKeyPolicy", in: `{"KeyId":"{sym}","Policy":""}`, want: "ValidationException: 2 validation errors detected: Value '' at 'policy'" + tooShort + "1; *"},
}

// stateMatrix is what AWS's page "Key states of AWS KMS keys" says of each
// operation on a key that is disabled, waits for its deletion, or for material.
func stateMatrix() []answerCase {
	disabled := "DisabledException: {KEY.arn} is disabled."
	deleting := "KMSInvalidStateException: {KEY.arn} is pending deletion."
	importing := "KMSInvalidStateException: {KEY.arn} is pending import."
	on := func(known, key, want string, requests ...string) []answerCase {
		return asked(known, "{"+key+"}", strings.ReplaceAll(want, "KEY", key), requests...)
	}
	lists := []string{`ListGrants {"KeyId":"KEY"}`}
	emptyLists := `{"Grants":[],"Truncated":false}`
	policies := []string{`ListKeyPolicies {"KeyId":"KEY"}`}
	return slices.Concat(
		on(measured, "disabled", disabled, symmetricUses...),
		on(documented, "disabled", disabled, grantUse),
		on(documented, "disabled", disabled, rotationUses...),
		on(documented, "disabled", disabled, `ReEncrypt {"CiphertextBlob":"{blob sym}","DestinationKeyId":"KEY"}`),
		on(documented, "disabled", "", labelUses...),
		on(documented, "disabled", emptyLists, lists...),
		on(documented, "disabled", `{"PolicyNames":["default"],"Truncated":false}`, policies...),
		on(documented, "disabled", `{"KeyId":"{disabled.arn}","KeyRotationEnabled":false}`, `GetKeyRotationStatus {"KeyId":"KEY"}`),
		on(measured, "sign-disabled", disabled, `Sign {"KeyId":"KEY","Message":"eA==","SigningAlgorithm":"RSASSA_PSS_SHA_256"}`, `Verify {"KeyId":"KEY","Message":"eA==","Signature":"AAAA","SigningAlgorithm":"RSASSA_PSS_SHA_256"}`),
		on(measured, "hmac-disabled", disabled, macUses...),
		on(measured, "rsa-disabled", disabled, `Encrypt {"KeyId":"KEY","Plaintext":"eA==","EncryptionAlgorithm":"RSAES_OAEP_SHA_256"}`, `Decrypt {"KeyId":"KEY","CiphertextBlob":"{bytes 256}","EncryptionAlgorithm":"RSAES_OAEP_SHA_256"}`),
		on(recorded, "rsa-disabled", disabled, `RotateKeyOnDemand {"KeyId":"KEY"}`),

		on(measured, "sign-disabled", public("sign-disabled", "RSA_2048", "SIGN_VERIFY", rsaSigning), `GetPublicKey {"KeyId":"KEY"}`),
		on(documented, "disabled", "", `EnableKey {"KeyId":"KEY"}`, `DisableKey {"KeyId":"KEY"}`, `DisableKey {"KeyId":"KEY"}`),

		on(measured, "deleting", deleting, symmetricUses...),
		on(documented, "deleting", deleting, grantUse),
		on(documented, "deleting", deleting, rotationUses...),
		on(documented, "deleting", deleting, labelUses...),
		on(documented, "deleting", deleting, `ReEncrypt {"CiphertextBlob":"{blob sym}","DestinationKeyId":"KEY"}`),
		on(documented, "deleting", emptyLists, lists...),
		on(documented, "deleting", `{"PolicyNames":["default"],"Truncated":false}`, policies...),
		on(documented, "deleting", `{"Policy":"*","PolicyName":"default"}`, `GetKeyPolicy {"KeyId":"KEY"}`),
		on(documented, "deleting", `{"KeyId":"{deleting.arn}","KeyRotationEnabled":false}`, `GetKeyRotationStatus {"KeyId":"KEY"}`),
		on(documented, "ecc-deleting", deleting, signatureUses...),
		on(documented, "ecc-deleting", deleting, `GetPublicKey {"KeyId":"KEY"}`),
		on(documented, "hmac-deleting", deleting, macUses...),
		on(documented, "ext-deleting", deleting, `GetParametersForImport {"KeyId":"KEY","WrappingAlgorithm":"RSAES_OAEP_SHA_256","WrappingKeySpec":"RSA_2048"}`),

		on(recorded, "ext", "UnsupportedOperationException: {KEY.arn} origin is EXTERNAL which is not valid for this operation.", `GetKeyRotationStatus {"KeyId":"KEY"}`),
		on(recorded, "ext", importing, symmetricUses[:1]...),
		on(documented, "ext", importing, symmetricUses[1:]...),
		on(documented, "ext", importing, grantUse),
		on(documented, "ext", importing, `EnableKey {"KeyId":"KEY"}`, `DisableKey {"KeyId":"KEY"}`),
		on(recorded, "ext", importing, `RotateKeyOnDemand {"KeyId":"KEY"}`),
		on(documented, "ext", importing, `ReEncrypt {"CiphertextBlob":"{blob sym}","DestinationKeyId":"KEY"}`),
		on(documented, "ext", "", labelUses...),
		on(documented, "ext", emptyLists, lists...),
		on(documented, "ext-hmac", importing, macUses...),
		on(documented, "ext-ecc", importing, signatureUses...),
	)
}

// usageMatrix asks keys for what they are not for.
func usageMatrix() []answerCase {
	usage := func(known, key, is string, requests ...string) []answerCase {
		return asked(known, "{"+key+"}", "InvalidKeyUsageException: {"+key+".arn} key usage is "+is+" which is not valid for OP.", requests...)
	}
	algorithm := func(known, key, name, spec string, requests ...string) []answerCase {
		return asked(known, "{"+key+"}", "InvalidKeyUsageException: Algorithm "+name+" is incompatible with key spec "+spec+".", requests...)
	}
	rotationless := []string{`EnableKeyRotation {"KeyId":"KEY"}`, `RotateKeyOnDemand {"KeyId":"KEY"}`}
	return slices.Concat(
		usage(recorded, "sign", "SIGN_VERIFY", `Encrypt {"KeyId":"KEY","Plaintext":"eA=="}`),
		usage(recorded, "hmac", "GENERATE_VERIFY_MAC", `Sign {"KeyId":"KEY","Message":"eA==","SigningAlgorithm":"RSASSA_PSS_SHA_256"}`),
		usage(recorded, "sym", "ENCRYPT_DECRYPT", `GenerateMac {"KeyId":"KEY","Message":"eA==","MacAlgorithm":"HMAC_SHA_224"}`),
		usage(recorded, "sym", "ENCRYPT_DECRYPT", `Verify {"KeyId":"KEY","Message":"eA==","Signature":"AAAA","SigningAlgorithm":"ECDSA_SHA_256"}`),
		usage(recorded, "ecc", "SIGN_VERIFY", agreementUse),
		usage(recorded, "sym", "ENCRYPT_DECRYPT", agreementUse),
		usage(measured, "sym", "ENCRYPT_DECRYPT", `Sign {"KeyId":"KEY","Message":"eA==","SigningAlgorithm":"ECDSA_SHA_256"}`, `VerifyMac {"KeyId":"KEY","Message":"eA==","Mac":"AAAA","MacAlgorithm":"HMAC_SHA_256"}`),
		usage(measured, "ecc", "SIGN_VERIFY", macUses...),
		usage(measured, "hmac", "GENERATE_VERIFY_MAC", symmetricUses...),
		usage(measured, "ecc", "SIGN_VERIFY", symmetricUses...),
		usage(measured, "agree", "KEY_AGREEMENT", signatureUses...),
		usage(measured, "agree", "KEY_AGREEMENT", symmetricUses[0]),
		usage(measured, "rsa", "ENCRYPT_DECRYPT", signatureUses...),
		asked(recorded, "{hmac224}", notCMK, `Decrypt {"CiphertextBlob":"{blob sym}","KeyId":"KEY"}`),
		algorithm(recorded, "hmac224", "HMAC_SHA_256", "HMAC_224", `GenerateMac {"KeyId":"KEY","Message":"eA==","MacAlgorithm":"HMAC_SHA_256"}`),
		algorithm(recorded, "hmac", "HMAC_SHA_512", "HMAC_256", `VerifyMac {"KeyId":"KEY","Message":"eA==","Mac":"AAAA","MacAlgorithm":"HMAC_SHA_512"}`),
		algorithm(measured, "ecc", "ECDSA_SHA_384", "ECC_NIST_P256", `Sign {"KeyId":"KEY","Message":"eA==","SigningAlgorithm":"ECDSA_SHA_384"}`),
		algorithm(measured, "p384", "ECDSA_SHA_256", "ECC_NIST_P384", `Sign {"KeyId":"KEY","Message":"eA==","SigningAlgorithm":"ECDSA_SHA_256"}`),
		algorithm(measured, "k1", "ECDSA_SHA_512", "ECC_SECG_P256K1", `Sign {"KeyId":"KEY","Message":"eA==","SigningAlgorithm":"ECDSA_SHA_512"}`),
		algorithm(measured, "ecc", "RSASSA_PSS_SHA_256", "ECC_NIST_P256", `Verify {"KeyId":"KEY","Message":"eA==","Signature":"AAAA","SigningAlgorithm":"RSASSA_PSS_SHA_256"}`),
		algorithm(measured, "sign", "ECDSA_SHA_256", "RSA_2048", signatureUses...),
		algorithm(measured, "ed", "ECDSA_SHA_256", "ECC_NIST_EDWARDS25519", signatureUses[0]),
		algorithm(measured, "mldsa", "ECDSA_SHA_256", "ML_DSA_44", signatureUses[0]),
		algorithm(measured, "rsa", "SYMMETRIC_DEFAULT", "RSA_2048", `Encrypt {"KeyId":"KEY","Plaintext":"eA=="}`),
		algorithm(measured, "sym", "RSAES_OAEP_SHA_1", "SYMMETRIC_DEFAULT", `Decrypt {"KeyId":"KEY","CiphertextBlob":"{blob sym}","EncryptionAlgorithm":"RSAES_OAEP_SHA_1"}`),
		asked(measured, "{rsa}", "UnsupportedOperationException", rotationless...),
		asked(measured, "{hmac}", "UnsupportedOperationException", rotationless...),
		asked(measured, "{sym}", "UnsupportedOperationException", `GetPublicKey {"KeyId":"KEY"}`),
		asked(measured, "{hmac}", "UnsupportedOperationException", `GetPublicKey {"KeyId":"KEY"}`),
		asked(measured, "{rsa}", `{"KeyId":"{rsa.arn}","KeyRotationEnabled":false}`, `GetKeyRotationStatus {"KeyId":"KEY"}`),
	)
}
