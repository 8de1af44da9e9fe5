// SPDX-License-Identifier: Apache-2.0

package e2e

import "slices"

const rotateIt = `RotateKeyOnDemand {"KeyId":"{rotated}"}`

var rotationAnswers = []answerCase{
	{known: recorded, op: "GetKeyRotationStatus", in: `{"KeyId":"{rotating}"}`, want: `{"KeyId":"{rotating.arn}","KeyRotationEnabled":false}`},
	{known: documented, op: "EnableKeyRotation", in: `{"KeyId":"{rotating}"}`, want: ""},
	{known: documented, op: "GetKeyRotationStatus", in: `{"KeyId":"{rotating}"}`, want: `{"KeyId":"{rotating.arn}","KeyRotationEnabled":true,"NextRotationDate":"*","RotationPeriodInDays":365}`},
	{known: recorded, op: "EnableKeyRotation", in: `{"KeyId":"{rotating.arn}","RotationPeriodInDays":90}`, want: ""},
	{known: recorded, op: "GetKeyRotationStatus", in: `{"KeyId":"{rotating.arn}"}`, want: `{"KeyId":"{rotating.arn}","KeyRotationEnabled":true,"NextRotationDate":"*","RotationPeriodInDays":90}`},
	{known: recorded, op: "EnableKeyRotation", in: `{"KeyId":"{rotating}","RotationPeriodInDays":180}`, want: ""},
	{known: recorded, op: "GetKeyRotationStatus", in: `{"KeyId":"{rotating}"}`, want: `{"KeyId":"{rotating.arn}","KeyRotationEnabled":true,"NextRotationDate":"*","RotationPeriodInDays":180}`},
	{known: documented, op: "DisableKeyRotation", in: `{"KeyId":"{rotating}"}`, want: ""},
	{known: documented, op: "DisableKeyRotation", in: `{"KeyId":"{rotating}"}`, want: ""},
	{known: recorded, op: "GetKeyRotationStatus", in: `{"KeyId":"{rotating}"}`, want: `{"KeyId":"{rotating.arn}","KeyRotationEnabled":false}`},
	{known: documented, op: "ListKeyRotations", in: `{"KeyId":"{rotated}"}`, want: `{"Rotations":[],"Truncated":false}`},
	{known: recorded, op: "RotateKeyOnDemand", in: `{"KeyId":"{rotated}"}`, want: `{"KeyId":"{rotated.arn}"}`},
	{known: documented, op: "ListKeyRotations", in: `{"KeyId":"{rotated}"}`, want: `{"Rotations":[{"KeyId":"{rotated.arn}","KeyMaterialId":"*","KeyMaterialState":"*","RotationDate":"*","RotationType":"ON_DEMAND"}],"Truncated":false}`},
	{known: documented, op: "ListKeyRotations", in: `{"KeyId":"{rotated}","IncludeKeyMaterial":"ALL_KEY_MATERIAL"}`,
		want: `{"Rotations":[{"KeyId":"{rotated.arn}","KeyMaterialId":"*","KeyMaterialState":"NON_CURRENT"},{"KeyId":"{rotated.arn}","KeyMaterialId":"*","KeyMaterialState":"CURRENT","RotationDate":"*","RotationType":"ON_DEMAND"}],"Truncated":false}`},
	{known: recorded, op: "RotateKeyOnDemand", in: `{"KeyId":"{rotated}"}`, first: slices.Repeat([]string{rotateIt}, 9),
		want: "LimitExceededException: The on-demand rotations limit has been reached for the given keyId. No more on-demand rotations can be performed for this key: {rotated.arn}"},
	{known: documented, op: "ListKeyRotations", in: `{"KeyId":"{rotated}","Limit":1}`, want: `{"NextMarker":"*","Rotations":[{"KeyId":"{rotated.arn}","KeyMaterialId":"*","KeyMaterialState":"*","RotationDate":"*","RotationType":"ON_DEMAND"}],"Truncated":true}`},
	{known: documented, op: "ListKeyRotations", in: `{"KeyId":"{rotated}","Marker":"nonsense"}`, want: "InvalidMarkerException: *"},
	{known: recorded, op: "RotateKeyOnDemand", in: `{"KeyId":"` + absentKey + `"}`, want: "NotFoundException: Key '" + absentARN + "' does not exist"},
	{known: measured, op: "EnableKeyRotation", in: `{"KeyId":"` + absentKey + `"}`, want: "NotFoundException: Key '" + absentARN + "' does not exist"},
	{known: measured, op: "GetKeyRotationStatus", in: `{"KeyId":"not-a-uuid"}`, want: "NotFoundException: Invalid keyId 'not-a-uuid'"},
	{known: documented, op: "EnableKeyRotation", in: `{"KeyId":"{ext}"}`, want: "UnsupportedOperationException: {ext.arn} origin is EXTERNAL which is not valid for this operation."},
	{known: documented, op: "DisableKeyRotation", in: `{"KeyId":"{ext}"}`, want: "UnsupportedOperationException: {ext.arn} origin is EXTERNAL which is not valid for this operation."},
}

const (
	lasting   = `"ExpirationModel":"KEY_MATERIAL_DOES_NOT_EXPIRE"`
	wrapping  = `"WrappingAlgorithm":"RSAES_OAEP_SHA_256","WrappingKeySpec":"RSA_4096"`
	notOurs   = "UnsupportedOperationException: {sym.arn} origin is AWS_KMS which is not valid for this operation."
	newImport = `ImportKeyMaterial {"KeyId":"{ext-full}",{import ext-full},"ImportType":"NEW_KEY_MATERIAL",` + lasting + `}`
)

var importAnswers = []answerCase{
	{known: recorded, op: "GetParametersForImport", in: `{"KeyId":"{sym}",` + wrapping + `}`, want: notOurs},
	{known: recorded, op: "GetParametersForImport", in: `{"KeyId":"{ext-ecc}",` + wrapping + `}`, want: `{"ImportToken":"*","KeyId":"{ext-ecc.arn}","ParametersValidTo":"*","PublicKey":"*"}`},
	{known: documented, op: "GetParametersForImport", in: `{"KeyId":"{ext}","WrappingAlgorithm":"RSAES_OAEP_SHA_1","WrappingKeySpec":"RSA_2048"}`, want: `{"ImportToken":"*","KeyId":"{ext.arn}","ParametersValidTo":"*","PublicKey":"*"}`},
	{known: documented, op: "GetParametersForImport", in: `{"KeyId":"{ext}","WrappingAlgorithm":"SM2PKE","WrappingKeySpec":"SM2"}`, want: notSupported},
	{known: measured, op: "ImportKeyMaterial", in: `{"KeyId":"{sym}","ImportToken":"AAAA","EncryptedKeyMaterial":"AAAA",` + lasting + `}`, want: notOurs},
	{known: measured, op: "DeleteImportedKeyMaterial", in: `{"KeyId":"{sym}"}`, want: notOurs},
	{known: measured, op: "DeleteImportedKeyMaterial", in: `{"KeyId":"{ext}"}`, want: `{"KeyId":"{ext.arn}"}`},
	{known: documented, op: "ImportKeyMaterial", in: `{"KeyId":"{ext-in}","ImportToken":"AAAA","EncryptedKeyMaterial":"AAAA",` + lasting + `}`, want: "InvalidImportTokenException*"},
	{known: recorded, op: "ImportKeyMaterial", in: `{"KeyId":"{ext-in}",{import ext-in},"ExpirationModel":"KEY_MATERIAL_EXPIRES"}`, want: "ValidationException: A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES"},
	{known: recorded, op: "ImportKeyMaterial", in: `{"KeyId":"{ext-in}",{import ext-in}}`, want: "ValidationException: A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES"},
	{known: documented, op: "ImportKeyMaterial", in: `{"KeyId":"{ext-in}",{import ext-in},"ValidTo":1000000000}`, want: "ValidationException: *"},
	{known: documented, op: "ImportKeyMaterial", in: `{"KeyId":"{ext-in}",{import16 ext-in},` + lasting + `}`, want: "IncorrectKeyMaterialException*"},
	{known: documented, op: "ImportKeyMaterial", in: `{"KeyId":"{ext}",{import ext-in},` + lasting + `}`, want: "InvalidImportTokenException*"},
	{known: recorded, op: "ImportKeyMaterial", in: `{"KeyId":"{ext-in}",{import ext-in},` + lasting + `}`, want: `{"KeyId":"{ext-in.arn}","KeyMaterialId":"*"}`},
	{known: recorded, op: "DescribeKey", in: `{"KeyId":"{ext-in}"}`, want: createdLike("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "EXTERNAL", "Enabled",
		`"EncryptionAlgorithms":["SYMMETRIC_DEFAULT"],"MultiRegion":false,"CurrentKeyMaterialId":"*","ExpirationModel":"KEY_MATERIAL_DOES_NOT_EXPIRE"`)},
	{known: documented, op: "ImportKeyMaterial", in: `{"KeyId":"{ext-in}",{reimport ext-in},` + lasting + `}`, want: `{"KeyId":"{ext-in.arn}","KeyMaterialId":"*"}`},
	{known: documented, op: "DeleteImportedKeyMaterial", in: `{"KeyId":"{ext-in}"}`, want: `{"KeyId":"{ext-in.arn}","KeyMaterialId":"*"}`},
	{known: recorded, op: "Encrypt", in: `{"KeyId":"{ext-in}","Plaintext":"eA=="}`, want: "KMSInvalidStateException: {ext-in.arn} is pending import."},
	{known: documented, op: "ImportKeyMaterial", in: `{"KeyId":"{ext-in}",{reimport ext-in},` + lasting + `}`, want: `{"KeyId":"{ext-in.arn}","KeyMaterialId":"*"}`},
	{known: documented, op: "ImportKeyMaterial", in: `{"KeyId":"{ext-in}",{import ext-in},` + lasting + `}`, want: "IncorrectKeyMaterialException*"},
	{known: documented, op: "ImportKeyMaterial", in: `{"KeyId":"{ext-expiring}",{import ext-expiring},"ValidTo":4000000000}`, want: "ValidationException: *"},
	{known: measured, op: "RotateKeyOnDemand", in: `{"KeyId":"{ext-in}"}`, want: "KMSInvalidStateException: No available key material pending rotation for the key: {ext-in.arn}."},
	{known: recorded, op: "ImportKeyMaterial", in: `{"KeyId":"{ext-full}",{import ext-full},"ImportType":"NEW_KEY_MATERIAL",` + lasting + `}`, first: []string{newImport, newImport},
		want: "KMSInvalidStateException: New key material (id: *"},
	{known: recorded, op: "RotateKeyOnDemand", in: `{"KeyId":"{ext-full}"}`, want: `{"KeyId":"{ext-full.arn}"}`},
	{known: recorded, op: "ImportKeyMaterial", in: `{"KeyId":"{ext-hmac}",{import ext-hmac},` + lasting + `}`, want: `{"KeyId":"{ext-hmac.arn}"}`},
	{known: guessed, op: "ImportKeyMaterial", in: `{"KeyId":"{ext-hmac}",{import ext-hmac},"ImportType":"NEW_KEY_MATERIAL",` + lasting + `}`, want: "ValidationException: *"},
	{known: documented, op: "ImportKeyMaterial", in: `{"KeyId":"{ext-ecc}",{import ext-ecc},` + lasting + `}`, want: "IncorrectKeyMaterialException*"},
	{known: measured, op: "GetParametersForImport", in: `{"KeyId":"` + absentKey + `",` + wrapping + `}`, want: "NotFoundException: Key '" + absentARN + "' does not exist"},
}

// replicated is the configuration of mrk once it has a replica.
const replicated = `"MultiRegion":true,"MultiRegionConfiguration":{"MultiRegionKeyType":"REPLICA","PrimaryKey":{"Arn":"{mrk.arn}","Region":"us-east-1"},"ReplicaKeys":[{"Arn":"*","Region":"eu-west-1"}]}`

var regionAnswers = []answerCase{
	{known: recorded, op: "DescribeKey", in: `{"KeyId":"mrk-d3b95762d3b95762d3b95762d3b95762"}`, want: "NotFoundException: Key '{p}key/mrk-d3b95762d3b95762d3b95762d3b95762' does not exist"},
	{known: recorded, there: true, op: "DescribeKey", in: `{"KeyId":"{sym}"}`, want: "NotFoundException: Key 'arn:aws:kms:{there}:{account}:key/{sym}' does not exist"},
	{known: recorded, there: true, op: "DescribeKey", in: `{"KeyId":"{sym.arn}"}`, want: "NotFoundException: Invalid arn us-east-1"},
	{known: recorded, there: true, op: "DescribeKey", in: `{"KeyId":"{mrk}"}`, want: "NotFoundException: Key 'arn:aws:kms:{there}:{account}:key/{mrk}' does not exist"},
	{known: measured, op: "ReplicateKey", in: `{"KeyId":"{sym}","ReplicaRegion":"eu-west-1"}`, want: "UnsupportedOperationException: {sym.arn} is not a multi-region primary key."},
	{known: documented, op: "ReplicateKey", in: `{"KeyId":"{mrk-disabled}","ReplicaRegion":"eu-west-1"}`, want: "DisabledException: {mrk-disabled.arn} is disabled."},
	{known: recorded, op: "ReplicateKey", in: `{"KeyId":"{mrk}","ReplicaRegion":"eu-west-1"}`, want: `{"ReplicaKeyMetadata":"*","ReplicaPolicy":"*","ReplicaTags":[]}`},
	{known: recorded, there: true, op: "DescribeKey", in: `{"KeyId":"{mrk}"}`, want: createdLike("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "AWS_KMS", "Enabled", `"EncryptionAlgorithms":["SYMMETRIC_DEFAULT"],"CurrentKeyMaterialId":"*",`+replicated)},
	{known: documented, op: "ReplicateKey", in: `{"KeyId":"{mrk}","ReplicaRegion":"eu-west-1"}`, want: "AlreadyExistsException: *"},
	{known: recorded, there: true, op: "ReplicateKey", in: `{"KeyId":"{mrk}","ReplicaRegion":"eu-west-1"}`, want: "UnsupportedOperationException: arn:aws:kms:{there}:{account}:key/{mrk} is not a multi-region primary key."},
	{known: documented, there: true, op: "EnableKeyRotation", in: `{"KeyId":"{mrk}"}`, want: notSupported},
	{known: documented, there: true, op: "DisableKeyRotation", in: `{"KeyId":"{mrk}"}`, want: notSupported},
	{known: documented, there: true, op: "RotateKeyOnDemand", in: `{"KeyId":"{mrk}"}`, want: notSupported},
	{known: documented, there: true, op: "UpdatePrimaryRegion", in: `{"KeyId":"{mrk}","PrimaryRegion":"us-east-1"}`, want: notSupported},
	{known: documented, op: "UpdatePrimaryRegion", in: `{"KeyId":"{sym}","PrimaryRegion":"eu-west-1"}`, want: notSupported},
	{known: documented, op: "UpdatePrimaryRegion", in: `{"KeyId":"{mrk-hmac}","PrimaryRegion":"eu-west-1"}`, want: "NotFoundException: *"},
	{known: documented, op: "UpdatePrimaryRegion", in: `{"KeyId":"{mrk}","PrimaryRegion":"eu-west-1"}`, want: ""},
	{known: documented, op: "ScheduleKeyDeletion", in: `{"KeyId":"{mrk}"}`, want: `{"DeletionDate":"*","KeyId":"{mrk.arn}","KeyState":"PendingDeletion","PendingWindowInDays":30}`},
	{known: documented, there: true, op: "ScheduleKeyDeletion", in: `{"KeyId":"{mrk}","PendingWindowInDays":7}`, want: `{"KeyId":"arn:aws:kms:{there}:{account}:key/{mrk}","KeyState":"PendingReplicaDeletion","PendingWindowInDays":7}`},
	{known: documented, there: true, op: "Encrypt", in: `{"KeyId":"{mrk}","Plaintext":"eA=="}`, want: "KMSInvalidStateException: arn:aws:kms:{there}:{account}:key/{mrk} is pending replica deletion."},
	{known: documented, there: true, op: "CancelKeyDeletion", in: `{"KeyId":"{mrk}"}`, want: `{"KeyId":"arn:aws:kms:{there}:{account}:key/{mrk}"}`},
}

// grantIt is CreateGrant on the key granted with further members.
func grantIt(rest string) string {
	return `{"KeyId":"{granted}","GranteePrincipal":"` + appARN + `","Operations":["Decrypt"]` + rest + `}`
}

// listed is an entry of ListGrants.
const listed = `{"CreationDate":"*","GrantId":"{grant granted}","GranteePrincipal":"` + appARN + `","IssuingAccount":"*","KeyId":"{granted.arn}","Name":"","Operations":["Decrypt"]}`

var grantAnswers = []answerCase{
	{known: documented, op: "ListGrants", in: `{"KeyId":"{granted}","GrantId":"{grant granted}"}`, want: `{"Grants":[` + listed + `],"Truncated":false}`},
	{known: documented, op: "ListGrants", in: `{"KeyId":"{granted.arn}","GranteePrincipal":"` + appARN + `"}`, want: `{"Grants":[` + listed + `],"Truncated":false}`},
	{known: documented, op: "ListGrants", in: `{"KeyId":"{granted}","GranteePrincipal":"arn:aws:iam::{account}:user/nobody"}`, want: `{"Grants":[],"Truncated":false}`},
	{known: documented, op: "CreateGrant", in: grantIt(`,"Name":"twice"`), want: `{"GrantId":"*","GrantToken":"*"}`},
	{known: documented, op: "CreateGrant", in: grantIt(`,"Name":"twice"`), want: `{"GrantId":"*","GrantToken":"*"}`},
	{known: documented, op: "ListGrants", in: `{"KeyId":"{granted}"}`, want: `{"Grants":["*","*"],"Truncated":false}`},
	{known: documented, op: "ListGrants", in: `{"KeyId":"{granted}","Limit":1}`, want: `{"Grants":["*"],"NextMarker":"*","Truncated":true}`},
	{known: documented, op: "ListGrants", in: `{"KeyId":"{granted}","Marker":"nonsense"}`, want: "InvalidMarkerException: *"},
	{known: documented, op: "ListRetirableGrants", in: `{"RetiringPrincipal":"arn:aws:iam::{account}:user/nobody"}`, want: `{"Grants":[],"Truncated":false}`},
	{known: documented, op: "CreateGrant", in: grantIt(`,"RetiringPrincipal":"` + appARN + `"`), want: `{"GrantId":"*","GrantToken":"*"}`},
	{known: documented, op: "ListRetirableGrants", in: `{"RetiringPrincipal":"` + appARN + `"}`,
		want: `{"Grants":[{"CreationDate":"*","GrantId":"*","GranteePrincipal":"` + appARN + `","IssuingAccount":"*","KeyId":"{granted.arn}","Name":"","Operations":["Decrypt"],"RetiringPrincipal":"` + appARN + `"}],"Truncated":false}`},
	{known: documented, op: "ListRetirableGrants", in: `{"RetiringPrincipal":"` + appARN + `","Marker":"nonsense"}`, want: "InvalidMarkerException: *"},
	{known: documented, op: "CreateGrant", in: grantIt(`,"Constraints":{"EncryptionContextSubset":{"a":"b"}}`), want: `{"GrantId":"*","GrantToken":"*"}`},
	{known: documented, op: "CreateGrant", in: `{"KeyId":"{sign}","GranteePrincipal":"` + appARN + `","Operations":["Sign"],"Constraints":{"EncryptionContextEquals":{"a":"b"}}}`, want: "ValidationException: *"},
	{known: documented, op: "CreateGrant", in: `{"KeyId":"{sign}","GranteePrincipal":"` + appARN + `","Operations":["Decrypt"]}`, want: "ValidationException: *"},
	{known: documented, op: "CreateGrant", in: `{"KeyId":"{sym}","GranteePrincipal":"` + appARN + `","Operations":["Sign"]}`, want: "ValidationException: *"},
	{known: documented, op: "CreateGrant", in: `{"KeyId":"{sym}","GranteePrincipal":"not a principal","Operations":["Decrypt"]}`, want: oneError + "Value 'not a principal' at 'granteePrincipal'" + notLike + "*"},
	{known: guessed, op: "CreateGrant", in: `{"KeyId":"{sym}","Operations":["Decrypt"]}`, want: "ValidationException: *"},
	{known: guessed, op: "ListRetirableGrants", in: `{}`, want: "ValidationException: *"},
	{known: measured, op: "CreateGrant", in: `{"KeyId":"` + absentKey + `","GranteePrincipal":"` + appARN + `","Operations":["Decrypt"]}`, want: "NotFoundException: Key '" + absentARN + "' does not exist"},
	{known: guessed, op: "RevokeGrant", in: `{"KeyId":"{granted}","GrantId":"{text 64}"}`, want: "NotFoundException: *"},
	{known: guessed, op: "RetireGrant", in: `{"KeyId":"{granted.arn}","GrantId":"{text 64}"}`, want: "NotFoundException: *"},
	{known: documented, op: "RetireGrant", in: `{}`, want: "ValidationException: *"},
	{known: documented, op: "RetireGrant", in: `{"KeyId":"{granted.arn}"}`, want: "ValidationException: *"},
	{known: documented, op: "RetireGrant", in: `{"GrantToken":"bm9uc2Vuc2U="}`, want: "InvalidGrantTokenException*"},
	{known: documented, op: "Encrypt", in: `{"KeyId":"{sym}","Plaintext":"eA==","GrantTokens":["bm9uc2Vuc2U="]}`, want: "InvalidGrantTokenException*"},
	{known: documented, op: "RevokeGrant", in: `{"KeyId":"{granted}","GrantId":"{grant granted}","DryRun":true}`, want: dryRun},
	{known: documented, op: "RetireGrant", in: `{"GrantToken":"{token granted}","DryRun":true}`, want: dryRun},
	{known: documented, op: "CreateGrant", in: grantIt(`,"DryRun":true`), want: dryRun},
	{known: documented, op: "RevokeGrant", in: `{"KeyId":"{granted}","GrantId":"{grant granted}"}`, want: ""},
	{known: guessed, op: "RevokeGrant", in: `{"KeyId":"{granted}","GrantId":"{grant granted}"}`, want: "NotFoundException: *"},
	{known: documented, op: "RetireGrant", in: `{"GrantToken":"{token unused}"}`, want: ""},
	{known: measured, op: "ListGrants", in: `{"KeyId":"` + absentKey + `"}`, want: "NotFoundException: Key '" + absentARN + "' does not exist"},
}

var tagAnswers = []answerCase{
	{known: recorded, op: "TagResource", in: `{"KeyId":"{tagged}","Tags":[{"TagKey":"tag1","TagValue":"value1"},{"TagKey":"tag2","TagValue":"value2"}]}`, want: ""},
	{known: recorded, op: "ListResourceTags", in: `{"KeyId":"{tagged}"}`, want: `{"Tags":[{"TagKey":"tag1","TagValue":"value1"},{"TagKey":"tag2","TagValue":"value2"}],"Truncated":false}`},
	{known: recorded, op: "TagResource", in: `{"KeyId":"{tagged.arn}","Tags":[{"TagKey":"tag2","TagValue":"updated"},{"TagKey":"tag3","TagValue":""}]}`, want: ""},
	{known: recorded, op: "ListResourceTags", in: `{"KeyId":"{tagged}"}`, want: `{"Tags":[{"TagKey":"tag1","TagValue":"value1"},{"TagKey":"tag2","TagValue":"updated"},{"TagKey":"tag3","TagValue":""}],"Truncated":false}`},
	{known: documented, op: "ListResourceTags", in: `{"KeyId":"{tagged}","Limit":2}`, want: `{"NextMarker":"*","Tags":[{"TagKey":"tag1","TagValue":"value1"},{"TagKey":"tag2","TagValue":"updated"}],"Truncated":true}`},
	{known: recorded, op: "UntagResource", in: `{"KeyId":"{tagged}","TagKeys":["tag2"]}`, want: ""},
	{known: measured, op: "UntagResource", in: `{"KeyId":"{tagged}","TagKeys":["never there"]}`, want: ""},
	{known: recorded, op: "ListResourceTags", in: `{"KeyId":"{tagged}"}`, want: `{"Tags":[{"TagKey":"tag1","TagValue":"value1"},{"TagKey":"tag3","TagValue":""}],"Truncated":false}`},
	{known: recorded, op: "TagResource", in: `{"KeyId":"{tagged}","Tags":[{"TagKey":"a","TagValue":"1"},{"TagKey":"a","TagValue":"2"}]}`, want: "TagException: Duplicate tag keys"},
	{known: recorded, op: "TagResource", in: `{"KeyId":"{tagged}","Tags":[{"TagKey":"aws:key1","TagValue":"1"}]}`, want: "TagException: Tags beginning with aws: are reserved"},
	{known: documented, op: "TagResource", in: `{"KeyId":"{tagged}","Tags":` + manyTags(50) + `}`, want: "TagException: Too many tags"},
	{known: documented, op: "TagResource", in: `{"KeyId":"{tagged}","Tags":` + manyTags(48) + `}`, want: ""},
	{known: recorded, op: "TagResource", in: `{"KeyId":"{tagged}","Tags":[{"TagKey":"{text 129}","TagValue":"1"}]}`, want: oneError + "Value '{text 129}' at 'tags.1.member.tagKey'" + tooLong + "128"},
	{known: recorded, op: "TagResource", in: `{"KeyId":"{tagged}","Tags":[{"TagKey":"a","TagValue":"{text 257}"}]}`, want: oneError + "Value '{text 257}' at 'tags.1.member.tagValue'" + tooLong + "256"},
	{known: measured, op: "TagResource", in: `{"KeyId":"` + absentKey + `","Tags":[{"TagKey":"a","TagValue":"1"}]}`, want: "NotFoundException: Key '" + absentARN + "' does not exist"},
	{known: measured, op: "UntagResource", in: `{"KeyId":"` + absentKey + `","TagKeys":["a"]}`, want: "NotFoundException: Key '" + absentARN + "' does not exist"},
	{known: recorded, op: "UpdateKeyDescription", in: `{"KeyId":"{described}","Description":"new_description"}`, want: ""},
	{known: documented, op: "UpdateKeyDescription", in: `{"KeyId":"{described}","Description":""}`, want: ""},
	{known: documented, op: "UpdateKeyDescription", in: `{"KeyId":"{described}","Description":"{text 8193}"}`, want: oneError + "Value '*"},
	{known: measured, op: "UpdateKeyDescription", in: `{"KeyId":"` + absentKey + `","Description":"d"}`, want: "NotFoundException: Key '" + absentARN + "' does not exist"},
}

const (
	rootPolicy = `{\"Version\":\"2012-10-17\",\"Id\":\"key-default-1\",\"Statement\":[{\"Sid\":\"s\",\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"arn:aws:iam::` + kmsAccount + `:root\"},\"Action\":\"kms:*\",\"Resource\":\"*\"}]}`
	noPolicy   = "NotFoundException: No such policy exists"
	malformed  = "MalformedPolicyDocumentException: *"
	lockedOut  = `{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"` + appARN + `\"},\"Action\":\"kms:*\",\"Resource\":\"*\"}]}`
)

var policyAnswers = []answerCase{
	{known: documented, op: "GetKeyPolicy", in: `{"KeyId":"{ruled}"}`, want: `{"Policy":"*","PolicyName":"default"}`},
	{known: documented, op: "GetKeyPolicy", in: `{"KeyId":"{ruled.arn}","PolicyName":"default"}`, want: `{"Policy":"*","PolicyName":"default"}`},
	{known: recorded, op: "GetKeyPolicy", in: `{"KeyId":"{ruled}","PolicyName":"other"}`, want: noPolicy},
	{known: recorded, op: "ListKeyPolicies", in: `{"KeyId":"{ruled}"}`, want: `{"PolicyNames":["default"],"Truncated":false}`},
	{known: recorded, op: "PutKeyPolicy", in: `{"KeyId":"{ruled}","PolicyName":"default","Policy":"` + rootPolicy + `"}`, want: ""},
	{known: recorded, op: "GetKeyPolicy", in: `{"KeyId":"{ruled}","PolicyName":"default"}`, want: `{"Policy":"` + rootPolicy + `","PolicyName":"default"}`},
	{known: guessed, op: "PutKeyPolicy", in: `{"KeyId":"{ruled}","PolicyName":"other","Policy":"` + rootPolicy + `"}`, want: noPolicy},
	{known: documented, op: "PutKeyPolicy", in: `{"KeyId":"{ruled}","PolicyName":"default","Policy":"not JSON"}`, want: malformed},
	{known: documented, op: "PutKeyPolicy", in: `{"KeyId":"{ruled}","PolicyName":"default","Policy":"{}"}`, want: malformed},
	{known: measured, op: "PutKeyPolicy", in: `{"KeyId":"{ruled}","PolicyName":"default","Policy":"` + lockedOut + `"}`, want: "MalformedPolicyDocumentException: The new key policy will not allow you to update the key policy in the future."},
	{known: documented, op: "PutKeyPolicy", in: `{"KeyId":"{ruled}","PolicyName":"default","BypassPolicyLockoutSafetyCheck":true,"Policy":"` + lockedOut + `"}`, want: ""},
	{known: measured, op: "CreateKey", in: `{"Policy":"` + lockedOut + `"}`, want: "MalformedPolicyDocumentException: The new key policy will not allow you to update the key policy in the future."},
	{known: documented, op: "CreateKey", in: `{"Policy":"[]"}`, want: malformed},
	{known: recorded, op: "CreateKey", in: `{"Policy":"` + rootPolicy + `"}`, want: `{"KeyMetadata":"*"}`},
	{known: measured, op: "GetKeyPolicy", in: `{"KeyId":"` + absentKey + `"}`, want: "NotFoundException: Key '" + absentARN + "' does not exist"},
	{known: measured, op: "ListKeyPolicies", in: `{"KeyId":"` + absentKey + `"}`, want: "NotFoundException: Key '" + absentARN + "' does not exist"},
	{known: measured, op: "PutKeyPolicy", in: `{"KeyId":"` + absentKey + `","Policy":"` + rootPolicy + `"}`, want: "NotFoundException: Key '" + absentARN + "' does not exist"},
}

const (
	absentStore = `"CustomKeyStoreId":"cks-1234567890abcdef0"`
	noStore     = "CustomKeyStoreNotFoundException*"
)

var keyStoreAnswers = []answerCase{
	{known: documented, op: "DescribeCustomKeyStores", in: `{}`, want: `{"CustomKeyStores":[],"Truncated":false}`},
	{known: documented, op: "DescribeCustomKeyStores", in: `{` + absentStore + `}`, want: noStore},
	{known: documented, op: "DescribeCustomKeyStores", in: `{"CustomKeyStoreName":"missing"}`, want: noStore},
	{known: documented, op: "ConnectCustomKeyStore", in: `{` + absentStore + `}`, want: noStore},
	{known: documented, op: "DisconnectCustomKeyStore", in: `{` + absentStore + `}`, want: noStore},
	{known: documented, op: "DeleteCustomKeyStore", in: `{` + absentStore + `}`, want: noStore},
	{known: documented, op: "UpdateCustomKeyStore", in: `{` + absentStore + `,"NewCustomKeyStoreName":"n"}`, want: noStore},
	{known: documented, op: "CreateCustomKeyStore", in: `{"CustomKeyStoreName":"n","CloudHsmClusterId":"cluster-aaaaaaaaaaa","TrustAnchorCertificate":"x","KeyStorePassword":"password"}`, want: "CloudHsmClusterNotFoundException*"},
	{known: documented, op: "CreateCustomKeyStore", in: `{"CustomKeyStoreName":"n","CustomKeyStoreType":"EXTERNAL_KEY_STORE","XksProxyConnectivity":"PUBLIC_ENDPOINT","XksProxyUriEndpoint":"https://example.com","XksProxyUriPath":"/kms/xks/v1","XksProxyAuthenticationCredential":{"AccessKeyId":"ABCDEFGHIJ2345672345","RawSecretAccessKey":"DXjSUawnel2fr6SKC7G25CNxTyWKE5PF9XX6H/u9pSo="}}`, want: notSupported},
	{known: documented, op: "CreateKey", in: `{"Origin":"AWS_CLOUDHSM",` + absentStore + `}`, want: noStore},
}

var lastUseAnswers = []answerCase{
	{known: documented, op: "GetKeyLastUsage", in: `{"KeyId":"` + absentKey + `"}`, want: "NotFoundException: Key '" + absentARN + "' does not exist"},
	{known: documented, op: "GetKeyLastUsage", in: `{"KeyId":"{unused}"}`, want: `{"KeyCreationDate":"*","KeyId":"{unused.arn}","TrackingStartDate":"*"}`},
	{known: guessed, op: "GetKeyLastUsage", in: `{"KeyId":"alias/missing"}`, want: "InvalidArnException: *"},
}

var moreDryRuns = []answerCase{
	{known: recorded, op: "GenerateDataKeyPair", in: `{"KeyId":"{sym}","KeyPairSpec":"RSA_4096","DryRun":true}`, want: dryRun},
	{known: recorded, op: "GenerateDataKeyPairWithoutPlaintext", in: `{"KeyId":"{sym}","KeyPairSpec":"RSA_4096","DryRun":true}`, want: dryRun},
	{known: documented, op: "Sign", in: `{"KeyId":"{ecc}","Message":"eA==","SigningAlgorithm":"ECDSA_SHA_256","DryRun":true}`, want: dryRun},
	{known: documented, op: "Verify", in: `{"KeyId":"{ecc}","Message":"` + message + `","Signature":"{signature ecc}","SigningAlgorithm":"ECDSA_SHA_256","DryRun":true}`, want: dryRun},
	{known: documented, op: "GenerateMac", in: `{"KeyId":"{hmac}","Message":"eA==","MacAlgorithm":"HMAC_SHA_256","DryRun":true}`, want: dryRun},
	{known: documented, op: "VerifyMac", in: `{"KeyId":"{hmac}","Message":"` + message + `","Mac":"{mac hmac}","MacAlgorithm":"HMAC_SHA_256","DryRun":true}`, want: dryRun},
	{known: documented, op: "DeriveSharedSecret", in: `{"KeyId":"{agree}","KeyAgreementAlgorithm":"ECDH","PublicKey":"{peer p256}","DryRun":true}`, want: dryRun},
	{known: documented, op: "Sign", in: `{"KeyId":"{sign-disabled}","Message":"eA==","SigningAlgorithm":"RSASSA_PSS_SHA_256","DryRun":true}`, want: "DisabledException: {sign-disabled.arn} is disabled."},
	{known: documented, op: "Sign", in: `{"KeyId":"{hmac}","Message":"eA==","SigningAlgorithm":"ECDSA_SHA_256","DryRun":true}`, want: "InvalidKeyUsageException: {hmac.arn} key usage is GENERATE_VERIFY_MAC which is not valid for Sign."},
	{known: documented, op: "Encrypt", in: `{"KeyId":"{rsa}","Plaintext":"eA==",` + oaep256 + `,"DryRun":true}`, want: dryRun},
}

var moreRecipients = []answerCase{
	{known: guessed, op: "GenerateDataKeyPair", in: `{"KeyId":"{sym}","KeyPairSpec":"RSA_2048",` + recipient + `}`, want: notSupported},
	{known: guessed, op: "DeriveSharedSecret", in: `{"KeyId":"{agree}","KeyAgreementAlgorithm":"ECDH","PublicKey":"{peer p256}",` + recipient + `}`, want: notSupported},
}
