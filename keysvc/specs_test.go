// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/google/go-cmp/cmp"
)

// keyOf makes a key and returns its ARN. protection "" leaves the choice to
// the service.
func (s *server) keyOf(spec types.KeySpec, usage types.KeyUsageType, protection string) string {
	s.t.Helper()
	in := &kms.CreateKeyInput{KeySpec: spec, KeyUsage: usage}
	if protection != "" {
		in.Tags = []types.Tag{{TagKey: ptr("sidekey:protection"), TagValue: &protection}}
	}
	out, err := s.admin().CreateKey(ctx, in)
	must(s.t, err)
	return *out.KeyMetadata.Arn
}

// TestKeyKinds: which usages CreateKey takes of every spec, and what DescribeKey
// then says. Making long RSA keys takes seconds: one stands for them.
func TestKeyKinds(t *testing.T) {
	s := newServer(t)
	type can struct {
		Encryption []types.EncryptionAlgorithmSpec
		Signing    []types.SigningAlgorithmSpec
		MAC        []types.MacAlgorithmSpec
		Agreement  []types.KeyAgreementAlgorithmSpec
	}
	ecdh := can{Agreement: []types.KeyAgreementAlgorithmSpec{"ECDH"}}
	signs := func(all ...types.SigningAlgorithmSpec) can { return can{Signing: all} }
	mac := func(a types.MacAlgorithmSpec) can { return can{MAC: []types.MacAlgorithmSpec{a}} }
	want := map[types.KeySpec]map[types.KeyUsageType]can{
		"SYMMETRIC_DEFAULT": {"ENCRYPT_DECRYPT": {Encryption: []types.EncryptionAlgorithmSpec{"SYMMETRIC_DEFAULT"}}},
		"RSA_2048": {
			"ENCRYPT_DECRYPT": {Encryption: []types.EncryptionAlgorithmSpec{"RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"}},
			"SIGN_VERIFY": signs("RSASSA_PKCS1_V1_5_SHA_256", "RSASSA_PKCS1_V1_5_SHA_384", "RSASSA_PKCS1_V1_5_SHA_512",
				"RSASSA_PSS_SHA_256", "RSASSA_PSS_SHA_384", "RSASSA_PSS_SHA_512"),
		},
		"ECC_NIST_P256":         {"SIGN_VERIFY": signs("ECDSA_SHA_256"), "KEY_AGREEMENT": ecdh},
		"ECC_NIST_P384":         {"SIGN_VERIFY": signs("ECDSA_SHA_384"), "KEY_AGREEMENT": ecdh},
		"ECC_NIST_P521":         {"SIGN_VERIFY": signs("ECDSA_SHA_512"), "KEY_AGREEMENT": ecdh},
		"ECC_SECG_P256K1":       {"SIGN_VERIFY": signs("ECDSA_SHA_256")},
		"ECC_NIST_EDWARDS25519": {"SIGN_VERIFY": signs("ED25519_SHA_512", "ED25519_PH_SHA_512")},
		"HMAC_224":              {"GENERATE_VERIFY_MAC": mac("HMAC_SHA_224")},
		"HMAC_256":              {"GENERATE_VERIFY_MAC": mac("HMAC_SHA_256")},
		"HMAC_384":              {"GENERATE_VERIFY_MAC": mac("HMAC_SHA_384")},
		"HMAC_512":              {"GENERATE_VERIFY_MAC": mac("HMAC_SHA_512")},
		"ML_DSA_44":             {"SIGN_VERIFY": signs("ML_DSA_SHAKE_256")},
		"ML_DSA_65":             {"SIGN_VERIFY": signs("ML_DSA_SHAKE_256")},
		"ML_DSA_87":             {"SIGN_VERIFY": signs("ML_DSA_SHAKE_256")},
		"RSA_3072":              {},
		"RSA_4096":              {},
		"SM2":                   {},
	}
	for _, spec := range types.KeySpec("").Values() {
		kinds, ok := want[spec]
		if !ok {
			t.Errorf("%s is in no table", spec)
		}
		for _, usage := range types.KeyUsageType("").Values() {
			expected, allowed := kinds[usage]
			if len(kinds) == 0 && slices.Contains([]types.KeyUsageType{"ENCRYPT_DECRYPT", "SIGN_VERIFY"}, usage) && spec != "SM2" {
				continue // of long RSA keys
			}
			out, err := s.admin().CreateKey(ctx, &kms.CreateKeyInput{KeySpec: spec, KeyUsage: usage})
			switch {
			case spec == "SM2":
				wantError(t, err, "UnsupportedOperationException", "KeySpec SM2 is not supported in this Region")
			case !allowed:
				wantError(t, err, "ValidationException", "KeyUsage "+string(usage)+" is not compatible with KeySpec "+string(spec))
			case err != nil:
				t.Errorf("%s %s: %v", spec, usage, err)
			default:
				m := out.KeyMetadata
				got := can{m.EncryptionAlgorithms, m.SigningAlgorithms, m.MacAlgorithms, m.KeyAgreementAlgorithms}
				if diff := cmp.Diff(expected, got); diff != "" || m.KeySpec != spec || m.CustomerMasterKeySpec != types.CustomerMasterKeySpec(spec) || m.KeyUsage != usage {
					t.Errorf("%s %s: %+v (-want +got):\n%s", spec, usage, m, diff)
				}
			}
		}
		_, err := s.admin().CreateKey(ctx, &kms.CreateKeyInput{KeySpec: spec})
		switch spec {
		case "SYMMETRIC_DEFAULT":
			must(t, err)
		case "SM2":
			wantError(t, err, "UnsupportedOperationException", "KeySpec SM2 is not supported in this Region")
		default:
			wantError(t, err, "ValidationException", "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.")
		}
	}
	old, err := s.admin().CreateKey(ctx, &kms.CreateKeyInput{CustomerMasterKeySpec: "ECC_NIST_P256", KeyUsage: "SIGN_VERIFY"})
	if err != nil || old.KeyMetadata.KeySpec != "ECC_NIST_P256" {
		t.Errorf("CustomerMasterKeySpec: %+v, %v", old, err)
	}
}

// cryptoCalls are all cryptographic operations on a key, with inputs that suit
// some key each.
func (s *server) cryptoCalls(key string) map[string]func() error {
	c, message := s.admin(), []byte("message")
	return map[string]func() error{
		"Encrypt": func() error { _, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: &key, Plaintext: message}); return err },
		"GenerateDataKey": func() error {
			_, err := c.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: &key, KeySpec: "AES_256"})
			return err
		},
		"GenerateDataKeyWithoutPlaintext": func() error {
			_, err := c.GenerateDataKeyWithoutPlaintext(ctx, &kms.GenerateDataKeyWithoutPlaintextInput{KeyId: &key, KeySpec: "AES_256"})
			return err
		},
		"GenerateDataKeyPair": func() error {
			_, err := c.GenerateDataKeyPair(ctx, &kms.GenerateDataKeyPairInput{KeyId: &key, KeyPairSpec: "ECC_NIST_P256"})
			return err
		},
		"GenerateDataKeyPairWithoutPlaintext": func() error {
			_, err := c.GenerateDataKeyPairWithoutPlaintext(ctx, &kms.GenerateDataKeyPairWithoutPlaintextInput{KeyId: &key, KeyPairSpec: "ECC_NIST_P256"})
			return err
		},
		"Decrypt": func() error {
			_, err := c.Decrypt(ctx, &kms.DecryptInput{KeyId: &key, CiphertextBlob: make([]byte, 256), EncryptionAlgorithm: "RSAES_OAEP_SHA_256"})
			return err
		},
		"Sign": func() error {
			_, err := c.Sign(ctx, &kms.SignInput{KeyId: &key, Message: message, SigningAlgorithm: "ECDSA_SHA_384"})
			return err
		},
		"Verify": func() error {
			_, err := c.Verify(ctx, &kms.VerifyInput{KeyId: &key, Message: message, Signature: message, SigningAlgorithm: "ECDSA_SHA_384"})
			return err
		},
		"GenerateMac": func() error {
			_, err := c.GenerateMac(ctx, &kms.GenerateMacInput{KeyId: &key, Message: message, MacAlgorithm: "HMAC_SHA_512"})
			return err
		},
		"VerifyMac": func() error {
			_, err := c.VerifyMac(ctx, &kms.VerifyMacInput{KeyId: &key, Message: message, Mac: message, MacAlgorithm: "HMAC_SHA_512"})
			return err
		},
		"DeriveSharedSecret": func() error {
			_, err := c.DeriveSharedSecret(ctx, &kms.DeriveSharedSecretInput{KeyId: &key, PublicKey: message, KeyAgreementAlgorithm: "ECDH"})
			return err
		},
	}
}

// TestOrderOfChecks: first what a key is for, then its state, then whether the
// algorithm suits its spec, then the rest.
func TestOrderOfChecks(t *testing.T) {
	s := newServer(t)
	for _, tc := range []struct {
		spec  types.KeySpec
		usage types.KeyUsageType
		does  map[string]string // operations that the usage is for, and what else is wrong with the call
	}{
		{"SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", map[string]string{"Encrypt": "", "GenerateDataKey": "", "GenerateDataKeyWithoutPlaintext": "",
			"GenerateDataKeyPair": "", "GenerateDataKeyPairWithoutPlaintext": "", "Decrypt": "Algorithm RSAES_OAEP_SHA_256 is incompatible with key spec SYMMETRIC_DEFAULT."}},
		{"RSA_2048", "ENCRYPT_DECRYPT", map[string]string{"Encrypt": "Algorithm SYMMETRIC_DEFAULT is incompatible with key spec RSA_2048.",
			"GenerateDataKey": "You cannot generate a data key with an asymmetric CMK", "GenerateDataKeyWithoutPlaintext": "You cannot generate a data key with an asymmetric CMK",
			"GenerateDataKeyPair": "You cannot generate a data key with an asymmetric CMK", "GenerateDataKeyPairWithoutPlaintext": "You cannot generate a data key with an asymmetric CMK",
			"Decrypt": "InvalidCiphertextException"}},
		{"ECC_NIST_P256", "SIGN_VERIFY", map[string]string{"Sign": "Algorithm ECDSA_SHA_384 is incompatible with key spec ECC_NIST_P256.",
			"Verify": "Algorithm ECDSA_SHA_384 is incompatible with key spec ECC_NIST_P256."}},
		{"ECC_NIST_P256", "KEY_AGREEMENT", map[string]string{"DeriveSharedSecret": "PublicKey is not a DER-encoded X.509 public key of key spec ECC_NIST_P256."}},
		{"HMAC_256", "GENERATE_VERIFY_MAC", map[string]string{"GenerateMac": "Algorithm HMAC_SHA_512 is incompatible with key spec HMAC_256.",
			"VerifyMac": "Algorithm HMAC_SHA_512 is incompatible with key spec HMAC_256."}},
	} {
		arn := s.keyOf(tc.spec, tc.usage, "")
		check := func(state, code, message string) {
			for op, call := range s.cryptoCalls(arn) {
				wrong, does := tc.does[op]
				switch err := call(); {
				case !does:
					wantError(t, err, "InvalidKeyUsageException", arn+" key usage is "+string(tc.usage)+" which is not valid for "+op+".")
				case code != "":
					wantError(t, err, code, message)
				case wrong == "":
					must(t, err)
				case wrong == "InvalidCiphertextException":
					wantError(t, err, wrong, "-")
				case op == "DeriveSharedSecret":
					wantError(t, err, "ValidationException", wrong)
				default:
					wantError(t, err, "InvalidKeyUsageException", wrong)
				}
				if t.Failed() {
					t.Fatalf("%s with a key of %s, %s", op, tc.spec, state)
				}
			}
		}
		check("enabled", "", "")
		_, err := s.admin().DisableKey(ctx, &kms.DisableKeyInput{KeyId: &arn})
		must(t, err)
		check("disabled", "DisabledException", arn+" is disabled.")
		_, err = s.admin().ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &arn})
		must(t, err)
		check("pending deletion", "KMSInvalidStateException", arn+" is pending deletion.")
		_, arn = s.externalKey(tc.spec, tc.usage)
		check("pending import", "KMSInvalidStateException", arn+" is pending import.")
	}
}
