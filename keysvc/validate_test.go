// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/sidekey/sidekey/keysvc"
)

// inputs are pointers to empty inputs of all operations, by operation.
func inputs() map[string]reflect.Value {
	all := map[string]reflect.Value{}
	client := reflect.TypeFor[*kms.Client]()
	for i := range client.NumMethod() {
		if m := client.Method(i); m.Type.NumIn() == 4 && m.Type.IsVariadic() {
			all[m.Name] = reflect.New(m.Type.In(2).Elem())
		}
	}
	return all
}

// sensitive members are not even shown to be null.
var sensitive = []string{"Plaintext", "Message"}

// TestRequiredMembers compares with what the SDK's client itself requires: an
// empty input breaks that, and nothing else.
func TestRequiredMembers(t *testing.T) {
	client := kms.New(kms.Options{Region: region})
	all := inputs()
	if len(all) != 54 {
		t.Fatalf("%d operations", len(all))
	}
	for op, in := range all {
		var want []string
		answers := reflect.ValueOf(client).MethodByName(op).Call([]reflect.Value{reflect.ValueOf(context.Background()), in})
		var invalid smithy.InvalidParamsError
		if errors.As(answers[1].Interface().(error), &invalid) {
			for _, err := range invalid.Errs() {
				field := strings.Split(err.(smithy.InvalidParamError).Field(), ".")
				name, value := field[len(field)-1], "Value null"
				if slices.Contains(sensitive, name) {
					value = "Value"
				}
				want = append(want, fmt.Sprintf("%s at '%s' failed to satisfy constraint: Member must not be null", value, strings.ToLower(name[:1])+name[1:]))
			}
		}
		var got []string
		if err := keysvc.Validate(in.Interface()); err != nil {
			head, list, _ := strings.Cut(messageOf(err), ": ")
			got = strings.Split(list, "; ")
			if head != "1 validation error detected" && head != fmt.Sprintf("%d validation errors detected", len(got)) {
				t.Errorf("%s: %s", op, head)
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-SDK +got):\n%s", op, diff)
		}
	}
}

func messageOf(err error) string {
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != "ValidationException" {
		return fmt.Sprint(err)
	}
	return api.ErrorMessage()
}

func TestConstraints(t *testing.T) {
	id := ptr("1234abcd-12ab-34cd-56ef-1234567890ab")
	long := func(n int) *string { return ptr(strings.Repeat("a", n)) }
	longer := func(member string, n int) string {
		return "at '" + member + "' failed to satisfy constraint: Member must have length less than or equal to " + fmt.Sprint(n)
	}
	pattern := func(value, member, expr string) string {
		return "Value '" + value + "' at '" + member + "' failed to satisfy constraint: Member must satisfy regular expression pattern: " + expr
	}
	keySpecs := "[RSA_2048, RSA_3072, RSA_4096, ECC_NIST_P256, ECC_NIST_P384, ECC_NIST_P521, ECC_SECG_P256K1, ECC_NIST_EDWARDS25519, " +
		"SYMMETRIC_DEFAULT, HMAC_224, HMAC_256, HMAC_384, HMAC_512, SM2, ML_DSA_44, ML_DSA_65, ML_DSA_87]"
	for name, tc := range map[string]struct {
		in   any
		want string // after "1 validation error detected: "; "" for a valid input
	}{
		"no key ID":        {&kms.DescribeKeyInput{}, "Value null at 'keyId' failed to satisfy constraint: Member must not be null"},
		"key ID not ASCII": {&kms.DescribeKeyInput{KeyId: ptr("キー")}, pattern("キー", "keyId", `^\p{ASCII}+$`)},
		"key ID of 2048":   {&kms.DescribeKeyInput{KeyId: long(2048)}, ""},
		"key spec": {&kms.CreateKeyInput{KeySpec: "HMAC_random"},
			"Value 'HMAC_random' at 'keySpec' failed to satisfy constraint: Member must satisfy enum value set: " + keySpecs},
		"key spec of a data key": {&kms.GenerateDataKeyInput{KeyId: id, KeySpec: "RSA_2048"},
			"Value 'RSA_2048' at 'keySpec' failed to satisfy constraint: Member must satisfy enum value set: " + keySpecs},
		"data key": {&kms.GenerateDataKeyInput{KeyId: id, KeySpec: "AES_128"}, ""},
		"key usage": {&kms.CreateKeyInput{KeyUsage: "RANDOM"},
			"Value 'RANDOM' at 'keyUsage' failed to satisfy constraint: Member must satisfy enum value set: [ENCRYPT_DECRYPT, SIGN_VERIFY, GENERATE_VERIFY_MAC, KEY_AGREEMENT]"},
		"MAC algorithm": {&kms.GenerateMacInput{KeyId: id, Message: []byte("m"), MacAlgorithm: "INVALID"},
			"Value 'INVALID' at 'macAlgorithm' failed to satisfy constraint: Member must satisfy enum value set: [HMAC_SHA_384, HMAC_SHA_256, HMAC_SHA_224, HMAC_SHA_512]"},
		"message type": {&kms.SignInput{KeyId: id, Message: []byte("m"), SigningAlgorithm: "ECDSA_SHA_256", MessageType: "FOO"},
			"Value 'FOO' at 'messageType' failed to satisfy constraint: Member must satisfy enum value set: [RAW, DIGEST, EXTERNAL_MU]"},
		"signing algorithm": {&kms.SignInput{KeyId: id, Message: []byte("m"), SigningAlgorithm: "FOO"},
			"Value 'FOO' at 'signingAlgorithm' failed to satisfy constraint: Member must satisfy enum value set: [RSASSA_PSS_SHA_256, RSASSA_PSS_SHA_384, RSASSA_PSS_SHA_512, " +
				"RSASSA_PKCS1_V1_5_SHA_256, RSASSA_PKCS1_V1_5_SHA_384, RSASSA_PKCS1_V1_5_SHA_512, ECDSA_SHA_256, ECDSA_SHA_384, ECDSA_SHA_512, " +
				"ED25519_SHA_512, ED25519_PH_SHA_512, SM2DSA, ML_DSA_SHAKE_256]"},
		"message": {&kms.SignInput{KeyId: id, Message: make([]byte, 4097), SigningAlgorithm: "ECDSA_SHA_256"}, "Value " + longer("message", 4096)},
		"signature": {&kms.VerifyInput{KeyId: id, Message: []byte("m"), Signature: make([]byte, 6145), SigningAlgorithm: "ECDSA_SHA_256"},
			"Value " + longer("signature", 6144)},
		"no signature": {&kms.VerifyInput{KeyId: id, Message: []byte("m"), SigningAlgorithm: "ECDSA_SHA_256"},
			"Value null at 'signature' failed to satisfy constraint: Member must not be null"},
		"no message": {&kms.SignInput{KeyId: id, SigningAlgorithm: "ECDSA_SHA_256"}, "Value at 'message' failed to satisfy constraint: Member must not be null"},
		"MAC":        {&kms.VerifyMacInput{KeyId: id, Message: []byte("m"), Mac: []byte{}, MacAlgorithm: "HMAC_SHA_256"}, "Value at 'mac' failed to satisfy constraint: Member must have length greater than or equal to 1"},
		"public key": {&kms.DeriveSharedSecretInput{KeyId: id, KeyAgreementAlgorithm: "ECDH", PublicKey: make([]byte, 8193)}, "Value " + longer("publicKey", 8192)},
		"attestation document": {&kms.DecryptInput{CiphertextBlob: []byte("x"), Recipient: &types.RecipientInfo{AttestationDocument: []byte{}}},
			"Value at 'recipient.attestationDocument' failed to satisfy constraint: Member must have length greater than or equal to 1"},
		"recipient's algorithm": {&kms.DecryptInput{CiphertextBlob: []byte("x"), Recipient: &types.RecipientInfo{KeyEncryptionAlgorithm: "RSA"}},
			"Value 'RSA' at 'recipient.keyEncryptionAlgorithm' failed to satisfy constraint: Member must satisfy enum value set: [RSAES_OAEP_SHA_256]"},
		"rotation period": {&kms.EnableKeyRotationInput{KeyId: id, RotationPeriodInDays: ptr(int32(89))},
			"Value '89' at 'rotationPeriodInDays' failed to satisfy constraint: Member must have value greater than or equal to 90"},
		"region": {&kms.ReplicateKeyInput{KeyId: id, ReplicaRegion: ptr("Mars")}, pattern("Mars", "replicaRegion", `^([a-z]+-){2,3}\d+$`)},
		"gov":    {&kms.UpdatePrimaryRegionInput{KeyId: id, PrimaryRegion: ptr("us-gov-west-1")}, ""},
		"grant token": {&kms.DescribeKeyInput{KeyId: id, GrantTokens: []string{"a", ""}},
			"Value '[a, ]' at 'grantTokens' failed to satisfy constraint: Member must satisfy constraint: " +
				"[Member must have length less than or equal to 8192, Member must have length greater than or equal to 1]"},
		"grant operations": {&kms.CreateGrantInput{KeyId: id, Operations: []types.GrantOperation{"Decrypt", "decrypt"}},
			"Value '[Decrypt, decrypt]' at 'operations' failed to satisfy constraint: Member must satisfy constraint: [Member must satisfy enum value set: " +
				"[Decrypt, Encrypt, GenerateDataKey, GenerateDataKeyWithoutPlaintext, ReEncryptFrom, ReEncryptTo, Sign, Verify, GetPublicKey, CreateGrant, " +
				"RetireGrant, DescribeKey, GenerateDataKeyPair, GenerateDataKeyPairWithoutPlaintext, GenerateMac, VerifyMac, DeriveSharedSecret]]"},
		"grantee":        {&kms.CreateGrantInput{KeyId: id, Operations: []types.GrantOperation{"Decrypt"}, GranteePrincipal: ptr("a b")}, pattern("a b", "granteePrincipal", `^[\w+=,.@:/-]+$`)},
		"grant name":     {&kms.CreateGrantInput{KeyId: id, Operations: []types.GrantOperation{"Decrypt"}, Name: ptr("a.b")}, pattern("a.b", "name", `^[a-zA-Z0-9:/_-]+$`)},
		"grant ID":       {&kms.RevokeGrantInput{KeyId: id, GrantId: long(129)}, "Value '" + *long(129) + "' " + longer("grantId", 128)},
		"tag":            {&kms.TagResourceInput{KeyId: id, Tags: []types.Tag{{TagKey: ptr("k"), TagValue: ptr("")}, {TagKey: ptr("k")}}}, "Value null at 'tags.2.member.tagValue' failed to satisfy constraint: Member must not be null"},
		"tag keys":       {&kms.UntagResourceInput{KeyId: id, TagKeys: []string{""}}, "Value '[]' at 'tagKeys' failed to satisfy constraint: Member must satisfy constraint: [Member must have length less than or equal to 128, Member must have length greater than or equal to 1]"},
		"policy name":    {&kms.GetKeyPolicyInput{KeyId: id, PolicyName: ptr("a b")}, pattern("a b", "policyName", `[\w]+`)},
		"policy":         {&kms.PutKeyPolicyInput{KeyId: id, Policy: ptr("\u0100")}, pattern("\u0100", "policy", `[\u0009\u000A\u000D\u0020-\u00FF]+`)},
		"policy of 2":    {&kms.PutKeyPolicyInput{KeyId: id, Policy: ptr("{}\n")}, ""},
		"marker":         {&kms.ListKeysInput{Marker: ptr("a\x00")}, pattern("a\x00", "marker", `[\u0020-\u00FF]*`)},
		"limit":          {&kms.ListKeysInput{Limit: ptr(int32(1001))}, "Value '1001' at 'limit' failed to satisfy constraint: Member must have value less than or equal to 1000"},
		"material ID":    {&kms.DeleteImportedKeyMaterialInput{KeyId: id, KeyMaterialId: ptr(strings.Repeat("A", 64))}, pattern(strings.Repeat("A", 64), "keyMaterialId", `^[a-f0-9]+$`)},
		"import token":   {&kms.ImportKeyMaterialInput{KeyId: id, ImportToken: make([]byte, 6145), EncryptedKeyMaterial: []byte("x")}, "Value " + longer("importToken", 6144)},
		"expiry":         {&kms.ImportKeyMaterialInput{KeyId: id, ImportToken: []byte("x"), EncryptedKeyMaterial: []byte("x"), ExpirationModel: "NEVER"}, "Value 'NEVER' at 'expirationModel' failed to satisfy constraint: Member must satisfy enum value set: [KEY_MATERIAL_EXPIRES, KEY_MATERIAL_DOES_NOT_EXPIRE]"},
		"password":       {&kms.CreateCustomKeyStoreInput{CustomKeyStoreName: ptr("s"), KeyStorePassword: ptr("secret")}, "Value at 'keyStorePassword' failed to satisfy constraint: Member must have length greater than or equal to 7"},
		"proxy's secret": {&kms.CreateCustomKeyStoreInput{CustomKeyStoreName: ptr("s"), XksProxyAuthenticationCredential: &types.XksProxyAuthenticationCredentialType{AccessKeyId: long(20), RawSecretAccessKey: long(43)}}, "Value at 'xksProxyAuthenticationCredential.accessKeyId' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[A-Z2-7]+$"},
		"description":    {&kms.UpdateKeyDescriptionInput{KeyId: id, Description: ptr("")}, ""},
		"key pair spec":  {&kms.GenerateDataKeyPairInput{KeyId: id, KeyPairSpec: "RSA_1024"}, "Value 'RSA_1024' at 'keyPairSpec' failed to satisfy constraint: Member must satisfy enum value set: [RSA_2048, RSA_3072, RSA_4096, ECC_NIST_P256, ECC_NIST_P384, ECC_NIST_P521, ECC_SECG_P256K1, SM2, ECC_NIST_EDWARDS25519]"},
	} {
		want := "<nil>"
		if tc.want != "" {
			want = "1 validation error detected: " + tc.want
		}
		if got := messageOf(keysvc.Validate(tc.in)); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, want)
		}
	}
}

// TestViolationsAreBounded: a short request cannot make an answer without bound.
func TestViolationsAreBounded(t *testing.T) {
	tags := make([]types.Tag, 100_000)
	got := messageOf(keysvc.Validate(&kms.CreateKeyInput{Tags: tags}))
	if len(got) > 20_000 || !strings.Contains(got, "tags.1.member.tagKey") {
		t.Errorf("%d bytes: %.200s", len(got), got)
	}
}
