// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"slices"
	"strings"
)

// answerCases are AWS's answers, operation by operation. One line a case.
func answerCases() []answerCase {
	return slices.Concat(validationAnswers, nameAnswers, stateAnswers, createKeyAnswers, aliasAnswers, cryptoAnswers, dataKeyAnswers, deletionAnswers, listAnswers, dryRunAnswers, recipientAnswers)
}

const (
	oneError  = "ValidationException: 1 validation error detected: "
	absentKey = "12345678-1234-1234-1234-123456789012"
	notCMK    = "IncorrectKeyException: The key ID in the request does not identify a CMK that can perform this operation."
	dryRun    = "DryRunOperationException: The request would have succeeded, but the DryRun option is set."
	tooLong   = " failed to satisfy constraint: Member must have length less than or equal to "
	tooShort  = " failed to satisfy constraint: Member must have length greater than or equal to "
	tooMuch   = " failed to satisfy constraint: Member must have value less than or equal to "
	tooLittle = " failed to satisfy constraint: Member must have value greater than or equal to "
	notNull   = " failed to satisfy constraint: Member must not be null"
	notLike   = " failed to satisfy constraint: Member must satisfy regular expression pattern: "
)

// What the model forbids is refused before the key is looked up.
var validationAnswers = []answerCase{
	{known: recorded, op: "GenerateRandom", in: `{}`, want: "ValidationException: NumberOfBytes is required."},
	{known: recorded, op: "GenerateRandom", in: `{"NumberOfBytes":0}`, want: oneError + "Value '0' at 'numberOfBytes'" + tooLittle + "1"},
	{known: recorded, op: "GenerateRandom", in: `{"NumberOfBytes":1025}`, want: oneError + "Value '1025' at 'numberOfBytes'" + tooMuch + "1024"},
	{known: recorded, op: "GenerateRandom", in: `{"NumberOfBytes":1024}`, want: `{"Plaintext":"*"}`},
	{known: measured, op: "DescribeKey", in: `{}`, want: oneError + "Value null at 'keyId'" + notNull},
	{known: measured, op: "ScheduleKeyDeletion", in: `{}`, want: oneError + "Value null at 'keyId'" + notNull},
	{known: measured, op: "ReEncrypt", in: `{"CiphertextBlob":"AAAA"}`, want: oneError + "Value null at 'destinationKeyId'" + notNull},
	{known: measured, op: "CreateAlias", in: `{"AliasName":"alias/x"}`, want: oneError + "Value null at 'targetKeyId'" + notNull},
	{known: measured, op: "Encrypt", in: `{"KeyId":"` + absentKey + `","Plaintext":""}`, want: oneError + "Value at 'plaintext'" + tooShort + "1"},
	{known: recorded, op: "Encrypt", in: `{"KeyId":"` + absentKey + `","Plaintext":"{bytes 4097}"}`, want: oneError + "Value at 'plaintext'" + tooLong + "4096"},
	{known: measured, op: "Decrypt", in: `{}`, want: oneError + "Value null at 'ciphertextBlob'" + notNull},
	{known: measured, op: "Decrypt", in: `{"CiphertextBlob":""}`, want: oneError + "Value at 'ciphertextBlob'" + tooShort + "1"},
	{known: measured, op: "Decrypt", in: `{"CiphertextBlob":"{bytes 6145}"}`, want: oneError + "Value at 'ciphertextBlob'" + tooLong + "6144"},
	{known: measured, op: "ReEncrypt", in: `{"DestinationKeyId":"alias/missing"}`, want: oneError + "Value null at 'ciphertextBlob'" + notNull},
	{known: measured, op: "GenerateDataKey", in: `{"KeyId":"` + absentKey + `","NumberOfBytes":0}`, want: oneError + "Value '0' at 'numberOfBytes'" + tooLittle + "1"},
	{known: documented, op: "ScheduleKeyDeletion", in: `{"KeyId":"` + absentKey + `","PendingWindowInDays":6}`, want: oneError + "Value '6' at 'pendingWindowInDays'" + tooLittle + "7"},
	{known: documented, op: "ScheduleKeyDeletion", in: `{"KeyId":"` + absentKey + `","PendingWindowInDays":31}`, want: oneError + "Value '31' at 'pendingWindowInDays'" + tooMuch + "30"},
	{known: documented, op: "ListKeys", in: `{"Limit":0}`, want: oneError + "Value '0' at 'limit'" + tooLittle + "1"},
	{known: documented, op: "ListKeys", in: `{"Limit":1001}`, want: oneError + "Value '1001' at 'limit'" + tooMuch + "1000"},
}

var nameAnswers = []answerCase{
	{known: recorded, op: "DescribeKey", in: `{"KeyId":"` + absentKey + `"}`, want: "NotFoundException: Key '{p}key/" + absentKey + "' does not exist"},
	{known: recorded, op: "DescribeKey", in: `{"KeyId":"{p}key/` + absentKey + `"}`, want: "NotFoundException: Key '{p}key/" + absentKey + "' does not exist"},
	{known: recorded, op: "DescribeKey", in: `{"KeyId":"fake-key-id"}`, want: "NotFoundException: Invalid keyId 'fake-key-id'"},
	{known: recorded, op: "DescribeKey", in: `{"KeyId":"134f2428cec14b25a1ae9048164dba47"}`, want: "NotFoundException: Invalid keyId '134f2428cec14b25a1ae9048164dba47'"},
	{known: recorded, op: "DescribeKey", in: `{"KeyId":"mrk-fake-key-id"}`, want: "NotFoundException: Invalid keyId 'mrk-fake-key-id'"},
	{known: measured, op: "DescribeKey", in: `{"KeyId":"alias/missing"}`, want: "NotFoundException: Alias {p}alias/missing is not found."},
	{known: measured, op: "DescribeKey", in: `{"KeyId":"{p}alias/missing"}`, want: "NotFoundException: Alias {p}alias/missing is not found."},
	{known: measured, op: "DescribeKey", in: `{"KeyId":"alias/aws/missing"}`, want: "NotFoundException: Alias {p}alias/aws/missing is not found."},
	{known: measured, op: "Encrypt", in: `{"KeyId":"alias/missing","Plaintext":"AAAA"}`, want: "NotFoundException: Alias {p}alias/missing is not found."},
}

var stateAnswers = []answerCase{
	{known: recorded, op: "Encrypt", in: `{"KeyId":"{disabled}","Plaintext":"eA=="}`, want: "DisabledException: {disabled.arn} is disabled."},
	{known: measured, op: "GenerateDataKey", in: `{"KeyId":"{disabled}","KeySpec":"AES_256"}`, want: "DisabledException: {disabled.arn} is disabled."},
	{known: recorded, op: "Encrypt", in: `{"KeyId":"{deleting}","Plaintext":"eA=="}`, want: "KMSInvalidStateException: {deleting.arn} is pending deletion."},
	{known: measured, op: "EnableKey", in: `{"KeyId":"{deleting}"}`, want: "KMSInvalidStateException: {deleting.arn} is pending deletion."},
	{known: measured, op: "DisableKey", in: `{"KeyId":"{deleting}"}`, want: "KMSInvalidStateException: {deleting.arn} is pending deletion."},
	{known: measured, op: "CreateAlias", in: `{"AliasName":"alias/to-deleting","TargetKeyId":"{deleting}"}`, want: "KMSInvalidStateException: {deleting.arn} is pending deletion."},
	{known: documented, op: "DescribeKey", in: `{"KeyId":"{deleting}"}`, want: `{"KeyMetadata":"*"}`},
	{known: documented, op: "ListResourceTags", in: `{"KeyId":"{deleting}"}`, want: `{"Tags":[],"Truncated":false}`},
}

// created is the whole answer of CreateKey for an enabled key of AWS_KMS.
func created(spec, usage, rest string) string {
	return `{"KeyMetadata":{"AWSAccountId":"{account}","Arn":"*","CreationDate":"*","CustomerMasterKeySpec":"` + spec + `","Description":"","Enabled":true,` +
		`"KeyId":"*","KeyManager":"CUSTOMER","KeySpec":"` + spec + `","KeyState":"Enabled","KeyUsage":"` + usage + `","MultiRegion":false,"Origin":"AWS_KMS",` + rest + `}}`
}

var createKeyAnswers = []answerCase{
	{known: recorded, op: "CreateKey", in: `{}`, want: created("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", `"EncryptionAlgorithms":["SYMMETRIC_DEFAULT"],"CurrentKeyMaterialId":"*"`)},
	{known: recorded, op: "CreateKey", in: `{"CustomerMasterKeySpec":"SYMMETRIC_DEFAULT"}`, want: created("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", `"EncryptionAlgorithms":["SYMMETRIC_DEFAULT"],"CurrentKeyMaterialId":"*"`)},
	{known: recorded, op: "CreateKey", in: `{"KeySpec":"SYMMETRIC_DEFAULT","KeyUsage":"SIGN_VERIFY"}`, want: "ValidationException: KeyUsage SIGN_VERIFY is not compatible with KeySpec SYMMETRIC_DEFAULT"},
	{known: recorded, op: "CreateKey", in: `{"KeySpec":"RSA_2048","CustomerMasterKeySpec":"RSA_2048","KeyUsage":"ENCRYPT_DECRYPT"}`, want: "ValidationException: You cannot specify KeySpec and CustomerMasterKeySpec in the same request. CustomerMasterKeySpec is deprecated."},
	{known: documented, op: "CreateKey", in: `{"KeySpec":"SM2","KeyUsage":"SIGN_VERIFY"}`, want: "UnsupportedOperationException: *"},
	{known: recorded, op: "CreateKey", in: `{"Tags":[{"TagKey":"a","TagValue":"1"},{"TagKey":"a","TagValue":"2"}]}`, want: "TagException: Duplicate tag keys"},
	{known: recorded, op: "CreateKey", in: `{"Tags":[{"TagKey":"AWS:x","TagValue":"1"}]}`, want: "TagException: Tags beginning with aws: are reserved"},
	{known: recorded, op: "CreateKey", in: `{"Tags":[{"TagKey":"{text 129}","TagValue":"1"}]}`, want: oneError + "Value '{text 129}' at 'tags.1.member.tagKey'" + tooLong + "128"},
	{known: recorded, op: "CreateKey", in: `{"Tags":[{"TagKey":"a","TagValue":"1"},{"TagKey":"b","TagValue":"{text 257}"}]}`, want: oneError + "Value '{text 257}' at 'tags.2.member.tagValue'" + tooLong + "256"},
	{known: recorded, op: "CreateKey", in: `{"Tags":` + manyTags(51) + `}`, want: "TagException: Too many tags"},
	{known: documented, op: "CreateKey", in: `{"Tags":` + manyTags(50) + `}`, want: `{"KeyMetadata":"*"}`},
}

// manyTags is a JSON list of n tags.
func manyTags(n int) string {
	tags := make([]string, n)
	for i := range tags {
		tags[i] = fmt.Sprintf(`{"TagKey":"k%d","TagValue":""}`, i)
	}
	return "[" + strings.Join(tags, ",") + "]"
}

var aliasAnswers = []answerCase{
	{known: recorded, op: "CreateAlias", in: `{"AliasName":"bad","TargetKeyId":"{sym}"}`, want: `ValidationException: Alias must start with the prefix "alias/". Please see https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html`},
	{known: documented, op: "CreateAlias", in: `{"AliasName":"alias/a b","TargetKeyId":"{sym}"}`, want: oneError + "Value 'alias/a b' at 'aliasName'" + notLike + "^[a-zA-Z0-9:/_-]+$"},
	{known: documented, op: "CreateAlias", in: `{"AliasName":"alias/aws/mine","TargetKeyId":"{sym}"}`, want: "NotAuthorizedException: *"},
	{known: recorded, op: "CreateAlias", in: `{"AliasName":"alias/one","TargetKeyId":"{sym}"}`, want: ""},
	{known: recorded, op: "CreateAlias", in: `{"AliasName":"alias/one","TargetKeyId":"{other}"}`, want: "AlreadyExistsException: An alias with the name {p}alias/one already exists"},
	{known: recorded, op: "ListAliases", in: `{"KeyId":"{sym}"}`, want: `{"Aliases":[{"AliasArn":"{p}alias/one","AliasName":"alias/one","CreationDate":"*","LastUpdatedDate":"*","TargetKeyId":"{sym}"}],"Truncated":false}`},
	{known: recorded, op: "UpdateAlias", in: `{"AliasName":"alias/one","TargetKeyId":"{other.arn}"}`, want: ""},
	{known: measured, op: "UpdateAlias", in: `{"AliasName":"alias/one","TargetKeyId":"{deleting}"}`, want: "KMSInvalidStateException: {deleting.arn} is pending deletion."},
	{known: recorded, op: "DeleteAlias", in: `{"AliasName":"alias/one"}`, want: ""},
	{known: recorded, op: "DeleteAlias", in: `{"AliasName":"alias/one"}`, want: "NotFoundException: Alias {p}alias/one is not found."},
	{known: measured, op: "UpdateAlias", in: `{"AliasName":"alias/missing","TargetKeyId":"{sym}"}`, want: "NotFoundException: Alias {p}alias/missing is not found."},
}

var cryptoAnswers = []answerCase{
	{known: recorded, op: "Encrypt", in: `{"KeyId":"{sym}","Plaintext":"eA=="}`, want: `{"CiphertextBlob":"*","EncryptionAlgorithm":"SYMMETRIC_DEFAULT","KeyId":"{sym.arn}"}`},
	{known: documented, op: "Decrypt", in: `{"CiphertextBlob":"{blob sym}"}`, want: `{"EncryptionAlgorithm":"SYMMETRIC_DEFAULT","KeyId":"{sym.arn}","KeyMaterialId":"*","Plaintext":"eA=="}`},
	{known: documented, op: "ReEncrypt", in: `{"CiphertextBlob":"{blob sym}","DestinationKeyId":"{other}"}`, want: `{"CiphertextBlob":"*","DestinationEncryptionAlgorithm":"SYMMETRIC_DEFAULT","DestinationKeyMaterialId":"*","KeyId":"{other.arn}","SourceEncryptionAlgorithm":"SYMMETRIC_DEFAULT","SourceKeyId":"{sym.arn}","SourceKeyMaterialId":"*"}`},
	{known: recorded, op: "Decrypt", in: `{"CiphertextBlob":"{blob sym}","EncryptionContext":{"a":"b"}}`, want: "InvalidCiphertextException"},
	{known: measured, op: "Decrypt", in: `{"CiphertextBlob":"AAAA"}`, want: "InvalidCiphertextException"},
	{known: measured, op: "Decrypt", in: `{"CiphertextBlob":"{blob sym}","KeyId":"{other}"}`, want: notCMK},
	{known: recorded, op: "Encrypt", in: `{"KeyId":"{sym}","Plaintext":"eA==","EncryptionAlgorithm":"RSAES_OAEP_SHA_256"}`, want: "InvalidKeyUsageException: Algorithm RSAES_OAEP_SHA_256 is incompatible with key spec SYMMETRIC_DEFAULT."},
}

var dataKeyAnswers = []answerCase{
	{known: documented, op: "GenerateDataKey", in: `{"KeyId":"{sym}","KeySpec":"AES_256"}`, want: `{"CiphertextBlob":"*","KeyId":"{sym.arn}","KeyMaterialId":"*","Plaintext":"*"}`},
	{known: documented, op: "GenerateDataKeyWithoutPlaintext", in: `{"KeyId":"{sym}","NumberOfBytes":7}`, want: `{"CiphertextBlob":"*","KeyId":"{sym.arn}","KeyMaterialId":"*"}`},
	{known: recorded, op: "GenerateDataKey", in: `{"KeyId":"{sym}"}`, want: "ValidationException: Please specify either number of bytes or key spec."},
	{known: recorded, op: "GenerateDataKey", in: `{"KeyId":"{sym}","KeySpec":"AES_256","NumberOfBytes":32}`, want: "ValidationException: Please specify either number of bytes or key spec."},
	{known: measured, op: "GenerateDataKey", in: `{"KeyId":"{disabled}"}`, want: "ValidationException: Please specify either number of bytes or key spec."},
}

var deletionAnswers = []answerCase{
	{known: documented, op: "CancelKeyDeletion", in: `{"KeyId":"{sym}"}`, want: "KMSInvalidStateException: {sym.arn} is not pending deletion."},
	{known: documented, op: "CancelKeyDeletion", in: `{"KeyId":"{disabled}"}`, want: "KMSInvalidStateException: {disabled.arn} is not pending deletion."},
	{known: recorded, op: "ScheduleKeyDeletion", in: `{"KeyId":"{deleting}"}`, want: "KMSInvalidStateException: {deleting.arn} is pending deletion."},
}

var listAnswers = []answerCase{
	{known: recorded, op: "ListKeys", in: `{"Limit":1}`, want: `{"Keys":[{"KeyArn":"*","KeyId":"*"}],"NextMarker":"*","Truncated":true}`},
	{known: documented, op: "ListKeys", in: `{"Marker":"nonsense"}`, want: "InvalidMarkerException: *"},
	{known: documented, op: "ListAliases", in: `{"Marker":"nonsense"}`, want: "InvalidMarkerException: *"},
	{known: documented, op: "ListResourceTags", in: `{"KeyId":"{sym}","Marker":"nonsense"}`, want: "InvalidMarkerException: *"},
	{known: documented, op: "ListAliases", in: `{"KeyId":"{sym}"}`, want: `{"Aliases":[],"Truncated":false}`},
}

// Nothing is done, and nothing is given away, on a dry run.
var dryRunAnswers = []answerCase{
	{known: recorded, op: "Encrypt", in: `{"KeyId":"{sym}","Plaintext":"eA==","DryRun":true}`, want: dryRun},
	{known: recorded, op: "Decrypt", in: `{"CiphertextBlob":"{blob sym}","DryRun":true}`, want: dryRun},
	{known: recorded, op: "ReEncrypt", in: `{"CiphertextBlob":"{blob sym}","DestinationKeyId":"{other}","DryRun":true}`, want: dryRun},
	{known: recorded, op: "GenerateDataKey", in: `{"KeyId":"{sym}","KeySpec":"AES_256","DryRun":true}`, want: dryRun},
	{known: recorded, op: "GenerateDataKeyWithoutPlaintext", in: `{"KeyId":"{sym}","KeySpec":"AES_256","DryRun":true}`, want: dryRun},
	{known: recorded, op: "Encrypt", in: `{"KeyId":"{disabled}","Plaintext":"eA==","DryRun":true}`, want: "DisabledException: {disabled.arn} is disabled."},
	{known: recorded, op: "Decrypt", in: `{"CiphertextBlob":"AAAA","DryRun":true}`, want: "InvalidCiphertextException"},
}

// A plaintext that was asked for under an attested key never leaves in the clear.
var recipientAnswers = []answerCase{
	{known: guessed, op: "Decrypt", in: `{"CiphertextBlob":"{blob sym}","Recipient":{"KeyEncryptionAlgorithm":"RSAES_OAEP_SHA_256","AttestationDocument":"AAAA"}}`, want: "UnsupportedOperationException: *"},
	{known: guessed, op: "GenerateDataKey", in: `{"KeyId":"{sym}","KeySpec":"AES_256","Recipient":{"KeyEncryptionAlgorithm":"RSAES_OAEP_SHA_256","AttestationDocument":"AAAA"}}`, want: "UnsupportedOperationException: *"},
	{known: guessed, op: "GenerateRandom", in: `{"NumberOfBytes":1,"Recipient":{"KeyEncryptionAlgorithm":"RSAES_OAEP_SHA_256","AttestationDocument":"AAAA"}}`, want: "UnsupportedOperationException: *"},
}
