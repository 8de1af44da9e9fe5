// SPDX-License-Identifier: Apache-2.0

package e2e

// createdLike is created for a key with other values of some members.
func createdLike(spec, usage, origin, state, rest string) string {
	enabled := "false"
	if state == "Enabled" {
		enabled = "true"
	}
	return `{"KeyMetadata":{"AWSAccountId":"{account}","Arn":"*","CreationDate":"*","CustomerMasterKeySpec":"` + spec + `","Description":"","Enabled":` + enabled +
		`,"KeyId":"*","KeyManager":"CUSTOMER","KeySpec":"` + spec + `","KeyState":"` + state + `","KeyUsage":"` + usage + `","Origin":"` + origin + `",` + rest + `}}`
}

const (
	notCompatible = " is not compatible with KeySpec "
	rsaSigning    = `"SigningAlgorithms":["RSASSA_PKCS1_V1_5_SHA_256","RSASSA_PKCS1_V1_5_SHA_384","RSASSA_PKCS1_V1_5_SHA_512","RSASSA_PSS_SHA_256","RSASSA_PSS_SHA_384","RSASSA_PSS_SHA_512"]`
	rsaOAEP       = `"EncryptionAlgorithms":["RSAES_OAEP_SHA_1","RSAES_OAEP_SHA_256"]`
	needsUsage    = "ValidationException: You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys."
)

var newKeyAnswers = []answerCase{
	{known: recorded, op: "CreateKey", in: `{"KeySpec":"HMAC_256"}`, want: needsUsage},
	{known: recorded, op: "CreateKey", in: `{"KeySpec":"RSA_2048"}`, want: needsUsage},
	{known: measured, op: "CreateKey", in: `{"CustomerMasterKeySpec":"ECC_NIST_P256"}`, want: needsUsage},
	{known: recorded, op: "CreateKey", in: `{"KeySpec":"RSA_2048","KeyUsage":"KEY_AGREEMENT"}`, want: "ValidationException: KeyUsage KEY_AGREEMENT" + notCompatible + "RSA_2048"},
	{known: recorded, op: "CreateKey", in: `{"KeySpec":"ECC_NIST_P256","KeyUsage":"ENCRYPT_DECRYPT"}`, want: "ValidationException: KeyUsage ENCRYPT_DECRYPT" + notCompatible + "ECC_NIST_P256"},
	{known: recorded, op: "CreateKey", in: `{"KeySpec":"HMAC_224","KeyUsage":"SIGN_VERIFY"}`, want: "ValidationException: KeyUsage SIGN_VERIFY" + notCompatible + "HMAC_224"},
	{known: measured, op: "CreateKey", in: `{"KeySpec":"RSA_2048","KeyUsage":"GENERATE_VERIFY_MAC"}`, want: "ValidationException: KeyUsage GENERATE_VERIFY_MAC" + notCompatible + "RSA_2048"},
	{known: documented, op: "CreateKey", in: `{"KeySpec":"ECC_SECG_P256K1","KeyUsage":"KEY_AGREEMENT"}`, want: "ValidationException: KeyUsage KEY_AGREEMENT" + notCompatible + "ECC_SECG_P256K1"},
	{known: documented, op: "CreateKey", in: `{"KeySpec":"ECC_NIST_EDWARDS25519","KeyUsage":"KEY_AGREEMENT"}`, want: "ValidationException: KeyUsage KEY_AGREEMENT" + notCompatible + "ECC_NIST_EDWARDS25519"},
	{known: documented, op: "CreateKey", in: `{"KeySpec":"ML_DSA_65","KeyUsage":"ENCRYPT_DECRYPT"}`, want: "ValidationException: KeyUsage ENCRYPT_DECRYPT" + notCompatible + "ML_DSA_65"},
	{known: recorded, op: "CreateKey", in: `{"KeySpec":"HMAC_256","KeyUsage":"GENERATE_VERIFY_MAC"}`, want: created("HMAC_256", "GENERATE_VERIFY_MAC", `"MacAlgorithms":["HMAC_SHA_256"]`)},
	{known: documented, op: "CreateKey", in: `{"KeySpec":"HMAC_512","KeyUsage":"GENERATE_VERIFY_MAC"}`, want: created("HMAC_512", "GENERATE_VERIFY_MAC", `"MacAlgorithms":["HMAC_SHA_512"]`)},
	{known: documented, op: "CreateKey", in: `{"KeySpec":"RSA_2048","KeyUsage":"SIGN_VERIFY"}`, want: created("RSA_2048", "SIGN_VERIFY", rsaSigning)},
	{known: documented, op: "CreateKey", in: `{"KeySpec":"RSA_2048","KeyUsage":"ENCRYPT_DECRYPT"}`, want: created("RSA_2048", "ENCRYPT_DECRYPT", rsaOAEP)},
	{known: documented, op: "CreateKey", in: `{"KeySpec":"ECC_NIST_P521","KeyUsage":"SIGN_VERIFY"}`, want: created("ECC_NIST_P521", "SIGN_VERIFY", `"SigningAlgorithms":["ECDSA_SHA_512"]`)},
	{known: documented, op: "CreateKey", in: `{"KeySpec":"ECC_SECG_P256K1","KeyUsage":"SIGN_VERIFY"}`, want: created("ECC_SECG_P256K1", "SIGN_VERIFY", `"SigningAlgorithms":["ECDSA_SHA_256"]`)},
	{known: documented, op: "CreateKey", in: `{"KeySpec":"ECC_NIST_P384","KeyUsage":"KEY_AGREEMENT"}`, want: created("ECC_NIST_P384", "KEY_AGREEMENT", `"KeyAgreementAlgorithms":["ECDH"]`)},
	{known: documented, op: "CreateKey", in: `{"KeySpec":"ECC_NIST_EDWARDS25519","KeyUsage":"SIGN_VERIFY"}`, want: created("ECC_NIST_EDWARDS25519", "SIGN_VERIFY", `"SigningAlgorithms":["ED25519_SHA_512","ED25519_PH_SHA_512"]`)},
	{known: documented, op: "CreateKey", in: `{"KeySpec":"ML_DSA_87","KeyUsage":"SIGN_VERIFY"}`, want: created("ML_DSA_87", "SIGN_VERIFY", `"SigningAlgorithms":["ML_DSA_SHAKE_256"]`)},
	{known: recorded, op: "CreateKey", in: `{"MultiRegion":true}`, want: createdLike("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "AWS_KMS", "Enabled",
		`"EncryptionAlgorithms":["SYMMETRIC_DEFAULT"],"CurrentKeyMaterialId":"*","MultiRegion":true,"MultiRegionConfiguration":{"MultiRegionKeyType":"PRIMARY","PrimaryKey":{"Arn":"*","Region":"us-east-1"},"ReplicaKeys":[]}`)},
	{known: recorded, op: "CreateKey", in: `{"Origin":"EXTERNAL"}`, want: createdLike("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "EXTERNAL", "PendingImport", `"EncryptionAlgorithms":["SYMMETRIC_DEFAULT"],"MultiRegion":false`)},
	{known: recorded, op: "CreateKey", in: `{"Origin":"EXTERNAL","KeySpec":"ECC_NIST_P256","KeyUsage":"SIGN_VERIFY"}`, want: createdLike("ECC_NIST_P256", "SIGN_VERIFY", "EXTERNAL", "PendingImport", `"SigningAlgorithms":["ECDSA_SHA_256"],"MultiRegion":false`)},
	{known: guessed, op: "CreateKey", in: `{"Origin":"EXTERNAL_KEY_STORE","CustomKeyStoreId":"cks-1234567890abcdef0","XksKeyId":"x"}`, want: notSupported},
}

const (
	badDigest    = "ValidationException: Digest is invalid length for algorithm "
	badSignature = "KMSInvalidSignatureException"
	badMAC       = "KMSInvalidMacException"
)

var signAnswers = []answerCase{
	{known: recorded, op: "Sign", in: `{"KeyId":"{sign}","Message":"eA==","SigningAlgorithm":"RSASSA_PSS_SHA_256"}`, want: `{"KeyId":"{sign.arn}","Signature":"*","SigningAlgorithm":"RSASSA_PSS_SHA_256"}`},
	{known: recorded, op: "Sign", in: `{"KeyId":"{ecc}","Message":"{bytes 32}","MessageType":"DIGEST","SigningAlgorithm":"ECDSA_SHA_256"}`, want: `{"KeyId":"{ecc.arn}","Signature":"*","SigningAlgorithm":"ECDSA_SHA_256"}`},
	{known: recorded, op: "Sign", in: `{"KeyId":"{k1}","Message":"eA==","SigningAlgorithm":"ECDSA_SHA_256"}`, want: `{"KeyId":"{k1.arn}","Signature":"*","SigningAlgorithm":"ECDSA_SHA_256"}`},
	{known: recorded, op: "Sign", in: `{"KeyId":"{p384}","Message":"eA==","SigningAlgorithm":"ECDSA_SHA_384"}`, want: `{"KeyId":"{p384.arn}","Signature":"*","SigningAlgorithm":"ECDSA_SHA_384"}`},
	{known: documented, op: "Sign", in: `{"KeyId":"{ed}","Message":"eA==","SigningAlgorithm":"ED25519_SHA_512"}`, want: `{"KeyId":"{ed.arn}","Signature":"*","SigningAlgorithm":"ED25519_SHA_512"}`},
	{known: documented, op: "Sign", in: `{"KeyId":"{ed}","Message":"{bytes 64}","MessageType":"DIGEST","SigningAlgorithm":"ED25519_PH_SHA_512"}`, want: `{"KeyId":"{ed.arn}","Signature":"*","SigningAlgorithm":"ED25519_PH_SHA_512"}`},
	{known: documented, op: "Sign", in: `{"KeyId":"{mldsa}","Message":"{bytes 64}","MessageType":"EXTERNAL_MU","SigningAlgorithm":"ML_DSA_SHAKE_256"}`, want: `{"KeyId":"{mldsa.arn}","Signature":"*","SigningAlgorithm":"ML_DSA_SHAKE_256"}`},
	{known: recorded, op: "Verify", in: `{"KeyId":"{sign}","Message":"` + message + `","Signature":"{signature sign}","SigningAlgorithm":"RSASSA_PSS_SHA_256"}`, want: `{"KeyId":"{sign.arn}","SignatureValid":true,"SigningAlgorithm":"RSASSA_PSS_SHA_256"}`},
	{known: recorded, op: "Verify", in: `{"KeyId":"{ecc}","Message":"` + digest + `","MessageType":"DIGEST","Signature":"{signature ecc}","SigningAlgorithm":"ECDSA_SHA_256"}`, want: `{"KeyId":"{ecc.arn}","SignatureValid":true,"SigningAlgorithm":"ECDSA_SHA_256"}`},
	{known: documented, op: "Verify", in: `{"KeyId":"{ed}","Message":"` + message + `","Signature":"{signature ed}","SigningAlgorithm":"ED25519_SHA_512"}`, want: `{"KeyId":"{ed.arn}","SignatureValid":true,"SigningAlgorithm":"ED25519_SHA_512"}`},
	{known: documented, op: "Verify", in: `{"KeyId":"{mldsa}","Message":"` + message + `","Signature":"{signature mldsa}","SigningAlgorithm":"ML_DSA_SHAKE_256"}`, want: `{"KeyId":"{mldsa.arn}","SignatureValid":true,"SigningAlgorithm":"ML_DSA_SHAKE_256"}`},
	{known: recorded, op: "Verify", in: `{"KeyId":"{sign}","Message":"eA==","Signature":"{signature sign}","SigningAlgorithm":"RSASSA_PSS_SHA_256"}`, want: badSignature},
	{known: recorded, op: "Verify", in: `{"KeyId":"{ecc}","Message":"eA==","Signature":"{signature ecc}","SigningAlgorithm":"ECDSA_SHA_256"}`, want: badSignature},
	{known: measured, op: "Verify", in: `{"KeyId":"{ecc}","Message":"` + message + `","Signature":"AAAA","SigningAlgorithm":"ECDSA_SHA_256"}`, want: badSignature},
	{known: measured, op: "Verify", in: `{"KeyId":"{sign}","Message":"` + message + `","Signature":"{signature sign}","SigningAlgorithm":"RSASSA_PKCS1_V1_5_SHA_256"}`, want: badSignature},
	{known: documented, op: "Verify", in: `{"KeyId":"{ed}","Message":"eA==","Signature":"{signature ed}","SigningAlgorithm":"ED25519_SHA_512"}`, want: badSignature},
	{known: documented, op: "Verify", in: `{"KeyId":"{mldsa}","Message":"eA==","Signature":"{signature mldsa}","SigningAlgorithm":"ML_DSA_SHAKE_256"}`, want: badSignature},
	{known: recorded, op: "Sign", in: `{"KeyId":"{sign}","Message":"{bytes 31}","MessageType":"DIGEST","SigningAlgorithm":"RSASSA_PSS_SHA_256"}`, want: badDigest + "RSASSA_PSS_SHA_256."},
	{known: recorded, op: "Sign", in: `{"KeyId":"{sign}","Message":"{bytes 32}","MessageType":"DIGEST","SigningAlgorithm":"RSASSA_PSS_SHA_384"}`, want: badDigest + "RSASSA_PSS_SHA_384."},
	{known: recorded, op: "Sign", in: `{"KeyId":"{sign}","Message":"{bytes 65}","MessageType":"DIGEST","SigningAlgorithm":"RSASSA_PSS_SHA_512"}`, want: badDigest + "RSASSA_PSS_SHA_512."},
	{known: recorded, op: "Sign", in: `{"KeyId":"{sign}","Message":"{bytes 31}","MessageType":"DIGEST","SigningAlgorithm":"RSASSA_PKCS1_V1_5_SHA_256"}`, want: badDigest + "RSASSA_PKCS1_V1_5_SHA_256."},
	{known: recorded, op: "Sign", in: `{"KeyId":"{sign}","Message":"{bytes 63}","MessageType":"DIGEST","SigningAlgorithm":"RSASSA_PKCS1_V1_5_SHA_512"}`, want: badDigest + "RSASSA_PKCS1_V1_5_SHA_512."},
	{known: recorded, op: "Sign", in: `{"KeyId":"{ecc}","Message":"{bytes 31}","MessageType":"DIGEST","SigningAlgorithm":"ECDSA_SHA_256"}`, want: badDigest + "ECDSA_SHA_256."},
	{known: recorded, op: "Sign", in: `{"KeyId":"{p384}","Message":"{bytes 47}","MessageType":"DIGEST","SigningAlgorithm":"ECDSA_SHA_384"}`, want: badDigest + "ECDSA_SHA_384."},
	{known: measured, op: "Sign", in: `{"KeyId":"{p521}","Message":"{bytes 66}","MessageType":"DIGEST","SigningAlgorithm":"ECDSA_SHA_512"}`, want: badDigest + "ECDSA_SHA_512."},
	{known: measured, op: "Verify", in: `{"KeyId":"{ecc}","Message":"{bytes 31}","MessageType":"DIGEST","Signature":"AAAA","SigningAlgorithm":"ECDSA_SHA_256"}`, want: badDigest + "ECDSA_SHA_256."},
	{known: guessed, op: "Sign", in: `{"KeyId":"{ed}","Message":"{bytes 64}","MessageType":"DIGEST","SigningAlgorithm":"ED25519_SHA_512"}`, want: "ValidationException: *"},
	{known: guessed, op: "Sign", in: `{"KeyId":"{ed}","Message":"eA==","SigningAlgorithm":"ED25519_PH_SHA_512"}`, want: "ValidationException: *"},
	{known: guessed, op: "Sign", in: `{"KeyId":"{mldsa}","Message":"{bytes 63}","MessageType":"EXTERNAL_MU","SigningAlgorithm":"ML_DSA_SHAKE_256"}`, want: "ValidationException: *"},
	{known: guessed, op: "Sign", in: `{"KeyId":"{mldsa}","Message":"{bytes 32}","MessageType":"DIGEST","SigningAlgorithm":"ML_DSA_SHAKE_256"}`, want: "ValidationException: *"},
	{known: guessed, op: "Sign", in: `{"KeyId":"{ecc}","Message":"{bytes 64}","MessageType":"EXTERNAL_MU","SigningAlgorithm":"ECDSA_SHA_256"}`, want: "ValidationException: *"},
	{known: measured, op: "Sign", in: `{"KeyId":"` + absentKey + `","Message":"eA==","SigningAlgorithm":"ECDSA_SHA_256"}`, want: "NotFoundException: Key '" + absentARN + "' does not exist"},
	{known: measured, op: "Sign", in: `{"KeyId":"alias/missing","Message":"eA==","SigningAlgorithm":"ECDSA_SHA_256"}`, want: "NotFoundException: Alias {p}alias/missing is not found."},
}

var macAnswers = []answerCase{
	{known: recorded, op: "GenerateMac", in: `{"KeyId":"{hmac}","Message":"eA==","MacAlgorithm":"HMAC_SHA_256"}`, want: `{"KeyId":"{hmac.arn}","Mac":"*","MacAlgorithm":"HMAC_SHA_256"}`},
	{known: recorded, op: "GenerateMac", in: `{"KeyId":"{hmac224}","Message":"eA==","MacAlgorithm":"HMAC_SHA_224"}`, want: `{"KeyId":"{hmac224.arn}","Mac":"*","MacAlgorithm":"HMAC_SHA_224"}`},
	{known: recorded, op: "GenerateMac", in: `{"KeyId":"{hmac384}","Message":"eA==","MacAlgorithm":"HMAC_SHA_384"}`, want: `{"KeyId":"{hmac384.arn}","Mac":"*","MacAlgorithm":"HMAC_SHA_384"}`},
	{known: recorded, op: "GenerateMac", in: `{"KeyId":"{hmac512}","Message":"eA==","MacAlgorithm":"HMAC_SHA_512"}`, want: `{"KeyId":"{hmac512.arn}","Mac":"*","MacAlgorithm":"HMAC_SHA_512"}`},
	{known: recorded, op: "VerifyMac", in: `{"KeyId":"{hmac}","Message":"` + message + `","Mac":"{mac hmac}","MacAlgorithm":"HMAC_SHA_256"}`, want: `{"KeyId":"{hmac.arn}","MacAlgorithm":"HMAC_SHA_256","MacValid":true}`},
	{known: recorded, op: "VerifyMac", in: `{"KeyId":"{hmac}","Message":"eA==","Mac":"{mac hmac}","MacAlgorithm":"HMAC_SHA_256"}`, want: badMAC},
	{known: measured, op: "VerifyMac", in: `{"KeyId":"{hmac}","Message":"` + message + `","Mac":"AAAA","MacAlgorithm":"HMAC_SHA_256"}`, want: badMAC},
	{known: recorded, op: "GenerateMac", in: `{"KeyId":"key_id","Message":"eA==","MacAlgorithm":"HMAC_SHA_256"}`, want: "NotFoundException: Invalid keyId 'key_id'"},
	{known: recorded, op: "VerifyMac", in: `{"KeyId":"key_id","Message":"eA==","Mac":"AAAA","MacAlgorithm":"HMAC_SHA_256"}`, want: "NotFoundException: Invalid keyId 'key_id'"},
}

var agreementAnswers = []answerCase{
	{known: recorded, op: "DeriveSharedSecret", in: `{"KeyId":"{agree}","KeyAgreementAlgorithm":"ECDH","PublicKey":"{peer p256}"}`, want: `{"KeyAgreementAlgorithm":"ECDH","KeyId":"{agree.arn}","KeyOrigin":"AWS_KMS","SharedSecret":"*"}`},
	{known: documented, op: "DeriveSharedSecret", in: `{"KeyId":"{agree384}","KeyAgreementAlgorithm":"ECDH","PublicKey":"{peer p384}"}`, want: `{"KeyAgreementAlgorithm":"ECDH","KeyId":"{agree384.arn}","KeyOrigin":"AWS_KMS","SharedSecret":"*"}`},
	{known: recorded, op: "DeriveSharedSecret", in: `{"KeyId":"{agree}","KeyAgreementAlgorithm":"ECDH","PublicKey":"SW52YWxpZFB1YmxpY0tleQ=="}`, want: "ValidationException*"},
	{known: measured, op: "DeriveSharedSecret", in: `{"KeyId":"{agree}","KeyAgreementAlgorithm":"ECDH","PublicKey":"{peer p384}"}`, want: "ValidationException*"},
	{known: documented, op: "DeriveSharedSecret", in: `{"KeyId":"{agree}","KeyAgreementAlgorithm":"ECDH","PublicKey":"{bytes 8193}"}`, want: oneError + "Value at 'publicKey'" + tooLong + "8192"},
}

// public is the answer of GetPublicKey.
func public(key, spec, usage, algorithms string) string {
	return `{"CustomerMasterKeySpec":"` + spec + `","KeyId":"{` + key + `.arn}","KeySpec":"` + spec + `","KeyUsage":"` + usage + `","PublicKey":"*",` + algorithms + `}`
}

var publicKeyAnswers = []answerCase{
	{known: documented, op: "GetPublicKey", in: `{"KeyId":"{sign}"}`, want: public("sign", "RSA_2048", "SIGN_VERIFY", rsaSigning)},
	{known: documented, op: "GetPublicKey", in: `{"KeyId":"{rsa}"}`, want: public("rsa", "RSA_2048", "ENCRYPT_DECRYPT", rsaOAEP)},
	{known: documented, op: "GetPublicKey", in: `{"KeyId":"{ecc.arn}"}`, want: public("ecc", "ECC_NIST_P256", "SIGN_VERIFY", `"SigningAlgorithms":["ECDSA_SHA_256"]`)},
	{known: documented, op: "GetPublicKey", in: `{"KeyId":"{agree}"}`, want: public("agree", "ECC_NIST_P256", "KEY_AGREEMENT", `"KeyAgreementAlgorithms":["ECDH"]`)},
	{known: documented, op: "GetPublicKey", in: `{"KeyId":"{mldsa}"}`, want: public("mldsa", "ML_DSA_44", "SIGN_VERIFY", `"SigningAlgorithms":["ML_DSA_SHAKE_256"]`)},
	{known: measured, op: "GetPublicKey", in: `{"KeyId":"alias/missing"}`, want: "NotFoundException: Alias {p}alias/missing is not found."},
	{known: measured, op: "GetPublicKey", in: `{"KeyId":"` + absentKey + `"}`, want: "NotFoundException: Key '" + absentARN + "' does not exist"},
}

// larger is the refusal of a plaintext that RSA cannot encrypt.
func larger(algorithm, spec, size string) string {
	return "ValidationException: Algorithm " + algorithm + " and key spec " + spec + " cannot encrypt data larger than " + size + " bytes."
}

const (
	oaep1   = `"EncryptionAlgorithm":"RSAES_OAEP_SHA_1"`
	oaep256 = `"EncryptionAlgorithm":"RSAES_OAEP_SHA_256"`
)

var asymmetricAnswers = []answerCase{
	{known: recorded, op: "Encrypt", in: `{"KeyId":"{rsa}","Plaintext":"{bytes 215}",` + oaep1 + `}`, want: larger("RSAES_OAEP_SHA_1", "RSA_2048", "214")},
	{known: recorded, op: "Encrypt", in: `{"KeyId":"{rsa}","Plaintext":"{bytes 191}",` + oaep256 + `}`, want: larger("RSAES_OAEP_SHA_256", "RSA_2048", "190")},
	{known: recorded, op: "Encrypt", in: `{"KeyId":"{rsa3072}","Plaintext":"{bytes 343}",` + oaep1 + `}`, want: larger("RSAES_OAEP_SHA_1", "RSA_3072", "342")},
	{known: recorded, op: "Encrypt", in: `{"KeyId":"{rsa3072}","Plaintext":"{bytes 319}",` + oaep256 + `}`, want: larger("RSAES_OAEP_SHA_256", "RSA_3072", "318")},
	{known: recorded, op: "Encrypt", in: `{"KeyId":"{rsa4096}","Plaintext":"{bytes 471}",` + oaep1 + `}`, want: larger("RSAES_OAEP_SHA_1", "RSA_4096", "470")},
	{known: recorded, op: "Encrypt", in: `{"KeyId":"{rsa4096}","Plaintext":"{bytes 447}",` + oaep256 + `}`, want: larger("RSAES_OAEP_SHA_256", "RSA_4096", "446")},
	{known: recorded, op: "Encrypt", in: `{"KeyId":"{rsa}","Plaintext":"{bytes 190}",` + oaep256 + `}`, want: `{"CiphertextBlob":"*","EncryptionAlgorithm":"RSAES_OAEP_SHA_256","KeyId":"{rsa.arn}"}`},
	{known: recorded, op: "Encrypt", in: `{"KeyId":"{rsa}","Plaintext":"{bytes 214}",` + oaep1 + `}`, want: `{"CiphertextBlob":"*","EncryptionAlgorithm":"RSAES_OAEP_SHA_1","KeyId":"{rsa.arn}"}`},
	{known: documented, op: "Decrypt", in: `{"KeyId":"{rsa}","CiphertextBlob":"{blob rsa}",` + oaep256 + `}`, want: `{"EncryptionAlgorithm":"RSAES_OAEP_SHA_256","KeyId":"{rsa.arn}","Plaintext":"eA=="}`},
	{known: documented, op: "ReEncrypt", in: `{"SourceKeyId":"{rsa}","CiphertextBlob":"{blob rsa}","SourceEncryptionAlgorithm":"RSAES_OAEP_SHA_256","DestinationKeyId":"{sym}"}`,
		want: `{"CiphertextBlob":"*","DestinationEncryptionAlgorithm":"SYMMETRIC_DEFAULT","DestinationKeyMaterialId":"*","KeyId":"{sym.arn}","SourceEncryptionAlgorithm":"RSAES_OAEP_SHA_256","SourceKeyId":"{rsa.arn}"}`},
	{known: documented, op: "ReEncrypt", in: `{"CiphertextBlob":"{blob sym}","DestinationKeyId":"{rsa}","DestinationEncryptionAlgorithm":"RSAES_OAEP_SHA_1"}`,
		want: `{"CiphertextBlob":"*","DestinationEncryptionAlgorithm":"RSAES_OAEP_SHA_1","KeyId":"{rsa.arn}","SourceEncryptionAlgorithm":"SYMMETRIC_DEFAULT","SourceKeyId":"{sym.arn}","SourceKeyMaterialId":"*"}`},
	{known: measured, op: "Decrypt", in: `{"KeyId":"{rsa}","CiphertextBlob":"{bytes 256}",` + oaep256 + `}`, want: "InvalidCiphertextException"},
	{known: measured, op: "Decrypt", in: `{"KeyId":"{rsa}","CiphertextBlob":"{blob rsa}",` + oaep1 + `}`, want: "InvalidCiphertextException"},
	{known: guessed, op: "Encrypt", in: `{"KeyId":"{rsa}","Plaintext":"eA==",` + oaep256 + `,"EncryptionContext":{"a":"b"}}`, want: "ValidationException: *"},
}

var pairAnswers = []answerCase{
	{known: recorded, op: "GenerateDataKeyPair", in: `{"KeyId":"{sym}","KeyPairSpec":"RSA_2048"}`, want: `{"KeyId":"{sym.arn}","KeyMaterialId":"*","KeyPairSpec":"RSA_2048","PrivateKeyCiphertextBlob":"*","PrivateKeyPlaintext":"*","PublicKey":"*"}`},
	{known: recorded, op: "GenerateDataKeyPairWithoutPlaintext", in: `{"KeyId":"{sym}","KeyPairSpec":"ECC_NIST_P384"}`, want: `{"KeyId":"{sym.arn}","KeyMaterialId":"*","KeyPairSpec":"ECC_NIST_P384","PrivateKeyCiphertextBlob":"*","PublicKey":"*"}`},
	{known: documented, op: "GenerateDataKeyPair", in: `{"KeyId":"{sym}","KeyPairSpec":"ECC_SECG_P256K1"}`, want: `{"KeyId":"{sym.arn}","KeyMaterialId":"*","KeyPairSpec":"ECC_SECG_P256K1","PrivateKeyCiphertextBlob":"*","PrivateKeyPlaintext":"*","PublicKey":"*"}`},
	{known: documented, op: "GenerateDataKeyPair", in: `{"KeyId":"{sym}","KeyPairSpec":"SM2"}`, want: notSupported},
	{known: measured, op: "GenerateDataKeyPair", in: `{"KeyId":"` + absentKey + `","KeyPairSpec":"RSA_2048"}`, want: "NotFoundException: Key '" + absentARN + "' does not exist"},
}
