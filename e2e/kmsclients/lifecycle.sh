#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Keys' whole lives as the aws command sees them. Runs the sections named as
# arguments; what keys make is checked outside with openssl. KMS_ENDPOINT is
# the key service. It works in the directory it is started in.
set -eu

kms() { aws --profile "${profile:-admin}" --region "${region:-us-east-1}" --endpoint-url "$KMS_ENDPOINT" --output text kms "$@"; }
same() { [ "$1" = "$2" ] || { echo "got '$1', want '$2'" >&2; exit 1; }; }
# blob FILE runs a command whose answer is base64 and decodes it into FILE.
blob() { file=$1; shift; kms "$@" >"$file.b64"; openssl base64 -d -A -in "$file.b64" -out "$file"; }
new_key() { kms create-key --query KeyMetadata.KeyId "$@"; }
# fails TEXT COMMAND...: the command fails and says so.
fails() {
	text=$1
	shift
	if kms "$@" >out 2>&1; then echo "aws kms $*: succeeded" >&2; exit 1; fi
	grep -qF -- "$text" out || { echo "aws kms $*: no '$text' in: $(cat out)" >&2; exit 1; }
}

symmetric() {
	key=$(new_key --description first)
	other=$(new_key)
	printf secret >plain
	blob sealed encrypt --key-id "$key" --plaintext fileb://plain --encryption-context tenant=7,purpose=test --query CiphertextBlob
	blob opened decrypt --ciphertext-blob fileb://sealed --encryption-context purpose=test,tenant=7 --query Plaintext
	cmp plain opened
	fails "An error occurred (InvalidCiphertextException) when calling the Decrypt operation" decrypt --ciphertext-blob fileb://sealed
	fails "An error occurred (IncorrectKeyException) when calling the Decrypt operation: The key ID in the request does not identify a CMK that can perform this operation." \
		decrypt --ciphertext-blob fileb://sealed --key-id "$other" --encryption-context tenant=7,purpose=test
	blob moved re-encrypt --ciphertext-blob fileb://sealed --source-encryption-context tenant=7,purpose=test --destination-key-id "$other" --query CiphertextBlob
	blob opened decrypt --ciphertext-blob fileb://moved --query Plaintext
	cmp plain opened
	same "$(kms generate-data-key --key-id "$key" --key-spec AES_256 --query 'length(Plaintext)')" 44
	blob random generate-random --number-of-bytes 100 --query Plaintext
	same "$(wc -c <random)" 100
}

aliases() {
	key=$(new_key)
	other=$(new_key)
	kms create-alias --alias-name "alias/cli/$key" --target-key-id "$key"
	fails "An error occurred (AlreadyExistsException) when calling the CreateAlias operation" create-alias --alias-name "alias/cli/$key" --target-key-id "$other"
	kms update-alias --alias-name "alias/cli/$key" --target-key-id "$other"
	same "$(kms describe-key --key-id "alias/cli/$key" --query KeyMetadata.KeyId)" "$other"
	same "$(kms list-aliases --query "Aliases[?AliasName=='alias/cli/$key'].TargetKeyId")" "$other"
	kms delete-alias --alias-name "alias/cli/$key"
	fails "alias/cli/$key is not found." describe-key --key-id "alias/cli/$key"
}

states() {
	key=$(new_key)
	kms disable-key --key-id "$key"
	fails "key/$key is disabled." encrypt --key-id "$key" --plaintext eA==
	kms enable-key --key-id "$key"
	kms encrypt --key-id "$key" --plaintext eA== >out
	same "$(kms schedule-key-deletion --key-id "$key" --pending-window-in-days 7 --query '[KeyState,PendingWindowInDays]')" "PendingDeletion	7"
	fails "(KMSInvalidStateException)" encrypt --key-id "$key" --plaintext eA==
	kms cancel-key-deletion --key-id "$key" >out
	same "$(kms describe-key --key-id "$key" --query KeyMetadata.KeyState)" Disabled
}

lists() {
	for _ in 1 2 3; do new_key >out; done
	kms list-keys --page-size 2 --query 'Keys[].KeyId' | tr '\t' '\n' >paged
	kms list-keys --query 'Keys[].KeyId' | tr '\t' '\n' >whole
	cmp paged whole
}

errors() {
	fails "An error occurred (NotFoundException) when calling the DescribeKey operation: Invalid keyId 'nonsense'" describe-key --key-id nonsense
	fails "An error occurred (ValidationException) when calling the GenerateRandom operation: 1 validation error detected: Value '1025' at 'numberOfBytes' failed to satisfy constraint: Member must have value less than or equal to 1024" \
		generate-random --number-of-bytes 1025
}

sign() {
	printf 'a message' >message
	for spec in RSA_2048:RSASSA_PKCS1_V1_5_SHA_256 ECC_NIST_P256:ECDSA_SHA_256; do
		key=$(new_key --key-spec "${spec%:*}" --key-usage SIGN_VERIFY)
		blob public get-public-key --key-id "$key" --query PublicKey
		blob signature sign --key-id "$key" --message fileb://message --signing-algorithm "${spec#*:}" --query Signature
		openssl dgst -sha256 -verify public -keyform DER -signature signature message >out
		same "$(kms verify --key-id "$key" --message fileb://message --signing-algorithm "${spec#*:}" --signature fileb://signature --query SignatureValid)" True
		fails "(KMSInvalidSignatureException)" verify --key-id "$key" --message fileb://public --signing-algorithm "${spec#*:}" --signature fileb://signature
	done
}

mac() {
	printf 'a message' >message
	key=$(new_key --key-spec HMAC_256 --key-usage GENERATE_VERIFY_MAC)
	blob code generate-mac --key-id "$key" --message fileb://message --mac-algorithm HMAC_SHA_256 --query Mac
	same "$(kms verify-mac --key-id "$key" --message fileb://message --mac-algorithm HMAC_SHA_256 --mac fileb://code --query MacValid)" True
}

data_key_pairs() {
	key=$(new_key)
	blob sealed generate-data-key-pair-without-plaintext --key-id "$key" --key-pair-spec RSA_2048 --query PrivateKeyCiphertextBlob
	blob private decrypt --ciphertext-blob fileb://sealed --query Plaintext
	openssl pkey -inform DER -in private -check -noout >out
}

grants() {
	key=$(new_key)
	account=$(kms describe-key --key-id "$key" --query KeyMetadata.AWSAccountId)
	profile=app fails "(AccessDeniedException)" encrypt --key-id "$key" --plaintext eA==
	grant=$(kms create-grant --key-id "$key" --grantee-principal "arn:aws:iam::$account:user/app" --operations Encrypt --query GrantId)
	profile=app kms encrypt --key-id "$key" --plaintext eA== >out
	same "$(kms list-grants --key-id "$key" --query 'Grants[].GrantId')" "$grant"
	kms revoke-grant --key-id "$key" --grant-id "$grant"
	profile=app fails "(AccessDeniedException)" encrypt --key-id "$key" --plaintext eA==
}

tags() {
	key=$(new_key --tags TagKey=made,TagValue=cli)
	kms tag-resource --key-id "$key" --tags TagKey=a,TagValue=1
	kms untag-resource --key-id "$key" --tag-keys made
	same "$(kms list-resource-tags --key-id "$key" --query 'Tags[]')" "a	1"
	kms update-key-description --key-id "$key" --description described
	same "$(kms describe-key --key-id "$key" --query KeyMetadata.Description)" described
}

policies() {
	key=$(new_key)
	account=$(kms describe-key --key-id "$key" --query KeyMetadata.AWSAccountId)
	kms get-key-policy --key-id "$key" --policy-name default --query Policy >policy
	kms put-key-policy --key-id "$key" --policy-name default --policy file://policy
	fails "The new key policy will not allow you to update the key policy in the future." \
		put-key-policy --key-id "$key" --policy-name default --policy "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"arn:aws:iam::$account:user/app\"},\"Action\":\"kms:*\",\"Resource\":\"*\"}]}"
}

rotation() {
	key=$(new_key)
	kms enable-key-rotation --key-id "$key"
	same "$(kms get-key-rotation-status --key-id "$key" --query KeyRotationEnabled)" True
	kms disable-key-rotation --key-id "$key"
	same "$(kms get-key-rotation-status --key-id "$key" --query KeyRotationEnabled)" False
}

# AWS's own instructions: openssl alone wraps the material.
imports() {
	openssl rand -out material 32
	key=$(new_key --origin EXTERNAL)
	kms get-parameters-for-import --key-id "$key" --wrapping-algorithm RSAES_OAEP_SHA_256 --wrapping-key-spec RSA_2048 --query '[PublicKey,ImportToken]' >parameters
	cut -f 1 parameters | openssl base64 -d -A -out public
	cut -f 2 parameters | openssl base64 -d -A -out token
	openssl pkeyutl -encrypt -in material -out wrapped -inkey public -keyform DER -pubin \
		-pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 -pkeyopt rsa_mgf1_md:sha256
	kms import-key-material --key-id "$key" --encrypted-key-material fileb://wrapped --import-token fileb://token \
		--expiration-model KEY_MATERIAL_DOES_NOT_EXPIRE >out
	same "$(kms describe-key --key-id "$key" --query 'KeyMetadata.[KeyState,ExpirationModel]')" "Enabled	KEY_MATERIAL_DOES_NOT_EXPIRE"
	kms encrypt --key-id "$key" --plaintext eA== >out

	openssl ecparam -name prime256v1 -genkey -noout -out private.pem
	openssl pkcs8 -topk8 -nocrypt -outform DER -in private.pem -out private.der
	openssl rand -out kek 32
	key=$(new_key --origin EXTERNAL --key-spec ECC_NIST_P256 --key-usage SIGN_VERIFY)
	kms get-parameters-for-import --key-id "$key" --wrapping-algorithm RSA_AES_KEY_WRAP_SHA_256 --wrapping-key-spec RSA_2048 --query '[PublicKey,ImportToken]' >parameters
	cut -f 1 parameters | openssl base64 -d -A -out public
	cut -f 2 parameters | openssl base64 -d -A -out token
	openssl enc -id-aes256-wrap-pad -K "$(od -An -v -tx1 kek | tr -d ' \n')" -iv A65959A6 -in private.der -out wrapped-material
	openssl pkeyutl -encrypt -in kek -out wrapped-kek -inkey public -keyform DER -pubin \
		-pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 -pkeyopt rsa_mgf1_md:sha256
	cat wrapped-kek wrapped-material >wrapped
	kms import-key-material --key-id "$key" --encrypted-key-material fileb://wrapped --import-token fileb://token \
		--expiration-model KEY_MATERIAL_DOES_NOT_EXPIRE >out
	printf 'a message' >message
	blob signature sign --key-id "$key" --message fileb://message --signing-algorithm ECDSA_SHA_256 --query Signature
	openssl pkey -in private.pem -pubout -out public.pem
	openssl dgst -sha256 -verify public.pem -signature signature message >out
}

multi_region() {
	key=$(new_key --multi-region)
	kms replicate-key --key-id "$key" --replica-region eu-west-1 >out
	printf here >plain
	blob sealed encrypt --key-id "$key" --plaintext fileb://plain --query CiphertextBlob
	region=eu-west-1 blob opened decrypt --ciphertext-blob fileb://sealed --query Plaintext
	cmp plain opened
}

for section in "$@"; do
	"$section"
	echo "ok $section"
done
