// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// oaep are the most bytes that each RSA algorithm encrypts.
var oaep = map[types.EncryptionAlgorithmSpec]struct {
	hash crypto.Hash
	most map[types.KeySpec]int
}{
	"RSAES_OAEP_SHA_1":   {crypto.SHA1, map[types.KeySpec]int{"RSA_2048": 214, "RSA_3072": 342, "RSA_4096": 470}},
	"RSAES_OAEP_SHA_256": {crypto.SHA256, map[types.KeySpec]int{"RSA_2048": 190, "RSA_3072": 318, "RSA_4096": 446}},
}

func TestAsymmetricEncryption(t *testing.T) {
	s := newServer(t)
	c := s.admin()
	for _, spec := range []types.KeySpec{"RSA_2048", "RSA_3072", "RSA_4096"} {
		for _, protection := range []string{"hsm", "memory"} {
			if testing.Short() && spec != "RSA_2048" {
				continue
			}
			arn := s.keyOf(spec, "ENCRYPT_DECRYPT", protection)
			parsed, err := x509.ParsePKIXPublicKey(s.publicKey(arn))
			must(t, err)
			public := parsed.(*rsa.PublicKey)
			for algorithm, a := range oaep {
				decrypt := func(ciphertext []byte) ([]byte, error) {
					out, err := c.Decrypt(ctx, &kms.DecryptInput{KeyId: &arn, CiphertextBlob: ciphertext, EncryptionAlgorithm: algorithm})
					if err == nil && (*out.KeyId != arn || out.EncryptionAlgorithm != algorithm || out.KeyMaterialId != nil) {
						t.Errorf("%s %s: %+v", spec, algorithm, out)
					}
					if err != nil {
						return nil, err
					}
					return out.Plaintext, nil
				}
				most := a.most[spec]
				longest := bytes.Repeat([]byte{7}, most)
				out, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: &arn, Plaintext: longest, EncryptionAlgorithm: algorithm})
				must(t, err)
				if *out.KeyId != arn || out.EncryptionAlgorithm != algorithm || len(out.CiphertextBlob) != public.Size() {
					t.Errorf("%s %s: %+v", spec, algorithm, out)
				}
				got, err := decrypt(out.CiphertextBlob)
				must(t, err)
				if !bytes.Equal(got, longest) {
					t.Errorf("%s %s: %x", spec, algorithm, got)
				}
				outside, err := rsa.EncryptOAEP(a.hash.New(), rand.Reader, public, []byte("secret"), nil)
				must(t, err)
				if got, err = decrypt(outside); err != nil || string(got) != "secret" {
					t.Errorf("%s %s, made outside: %q, %v", spec, algorithm, got, err)
				}
				_, err = c.Encrypt(ctx, &kms.EncryptInput{KeyId: &arn, Plaintext: append(longest, 7), EncryptionAlgorithm: algorithm})
				wantError(t, err, "ValidationException", fmt.Sprintf("Algorithm %s and key spec %s cannot encrypt data larger than %d bytes.", algorithm, spec, most))
				for _, bad := range [][]byte{outside[1:], append(outside[:len(outside):len(outside)], 0), make([]byte, len(outside)), bytes.Repeat([]byte{0xff}, len(outside)), {1}} {
					_, err := decrypt(bad)
					wantError(t, err, "InvalidCiphertextException", "-")
				}
			}
		}
	}
}

// TestWhichKeyDecrypts: what a ciphertext, a key ID and an algorithm mean
// together.
func TestWhichKeyDecrypts(t *testing.T) {
	s := newServer(t)
	c := s.admin()
	symmetricKey, other := s.keyOf("SYMMETRIC_DEFAULT", "", ""), s.keyOf("SYMMETRIC_DEFAULT", "", "")
	rsaKey, signing := s.keyOf("RSA_2048", "ENCRYPT_DECRYPT", ""), s.keyOf("RSA_2048", "SIGN_VERIFY", "")
	sealed, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: &symmetricKey, Plaintext: []byte("x")})
	must(t, err)
	padded, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: &rsaKey, Plaintext: []byte("x"), EncryptionAlgorithm: "RSAES_OAEP_SHA_256"})
	must(t, err)
	incorrect := "The key ID in the request does not identify a CMK that can perform this operation."
	dry := "The request would have succeeded, but the DryRun option is set."
	context := map[string]string{"a": "b"}
	ignore := []types.DryRunModifierType{"IGNORE_CIPHERTEXT"}
	for name, tc := range map[string]struct {
		in            kms.DecryptInput
		code, message string
	}{
		"another key":                  {kms.DecryptInput{KeyId: &other, CiphertextBlob: sealed.CiphertextBlob}, "IncorrectKeyException", incorrect},
		"an RSA key":                   {kms.DecryptInput{KeyId: &rsaKey, CiphertextBlob: sealed.CiphertextBlob}, "IncorrectKeyException", incorrect},
		"a signing key":                {kms.DecryptInput{KeyId: &signing, CiphertextBlob: sealed.CiphertextBlob}, "IncorrectKeyException", incorrect},
		"RSA's without an algorithm":   {kms.DecryptInput{KeyId: &rsaKey, CiphertextBlob: padded.CiphertextBlob}, "InvalidCiphertextException", "-"},
		"RSA's without a key":          {kms.DecryptInput{CiphertextBlob: padded.CiphertextBlob, EncryptionAlgorithm: "RSAES_OAEP_SHA_256"}, "ValidationException", "1 validation error detected: Value null at 'keyId' failed to satisfy constraint: Member must not be null"},
		"RSA's, another algorithm":     {kms.DecryptInput{KeyId: &rsaKey, CiphertextBlob: padded.CiphertextBlob, EncryptionAlgorithm: "RSAES_OAEP_SHA_1"}, "InvalidCiphertextException", "-"},
		"RSA's, a symmetric key":       {kms.DecryptInput{KeyId: &symmetricKey, CiphertextBlob: padded.CiphertextBlob, EncryptionAlgorithm: "RSAES_OAEP_SHA_256"}, "InvalidKeyUsageException", "Algorithm RSAES_OAEP_SHA_256 is incompatible with key spec SYMMETRIC_DEFAULT."},
		"RSA's, a signing key":         {kms.DecryptInput{KeyId: &signing, CiphertextBlob: padded.CiphertextBlob, EncryptionAlgorithm: "RSAES_OAEP_SHA_256"}, "InvalidKeyUsageException", signing + " key usage is SIGN_VERIFY which is not valid for Decrypt."},
		"RSA's with a context":         {kms.DecryptInput{KeyId: &rsaKey, CiphertextBlob: padded.CiphertextBlob, EncryptionAlgorithm: "RSAES_OAEP_SHA_256", EncryptionContext: context}, "ValidationException", "An encryption context cannot be used with algorithm RSAES_OAEP_SHA_256."},
		"RSA's, dry run":               {kms.DecryptInput{KeyId: &rsaKey, CiphertextBlob: padded.CiphertextBlob, EncryptionAlgorithm: "RSAES_OAEP_SHA_256", DryRun: ptr(true)}, "DryRunOperationException", dry},
		"RSA's, dry run, no look":      {kms.DecryptInput{KeyId: &rsaKey, EncryptionAlgorithm: "RSAES_OAEP_SHA_256", DryRun: ptr(true), DryRunModifiers: ignore}, "DryRunOperationException", dry},
		"dry run, no look, no key":     {kms.DecryptInput{DryRun: ptr(true), DryRunModifiers: ignore}, "ValidationException", "1 validation error detected: Value null at 'keyId' failed to satisfy constraint: Member must not be null"},
		"not to be looked at, for all": {kms.DecryptInput{KeyId: &symmetricKey, DryRunModifiers: ignore}, "ValidationException", "DryRunModifiers can only be used when DryRun is true"},
		"recipient":                    {kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob, Recipient: &types.RecipientInfo{}}, "UnsupportedOperationException", "Recipient is not supported by this key service."},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.Decrypt(ctx, &tc.in)
			wantError(t, err, tc.code, tc.message)
		})
	}
	_, err = c.Encrypt(ctx, &kms.EncryptInput{KeyId: &rsaKey, Plaintext: []byte("x"), EncryptionAlgorithm: "RSAES_OAEP_SHA_1", EncryptionContext: context})
	wantError(t, err, "ValidationException", "An encryption context cannot be used with algorithm RSAES_OAEP_SHA_1.")
	_, err = c.Encrypt(ctx, &kms.EncryptInput{KeyId: &rsaKey, Plaintext: []byte("x"), EncryptionAlgorithm: "RSAES_OAEP_SHA_1", DryRun: ptr(true)})
	wantError(t, err, "DryRunOperationException", dry)
}

// TestReEncryptBetweenKinds goes from a symmetric key to RSA and back.
func TestReEncryptBetweenKinds(t *testing.T) {
	s := newServer(t)
	c := s.admin()
	symmetricKey, rsaKey := s.keyOf("SYMMETRIC_DEFAULT", "", ""), s.keyOf("RSA_2048", "ENCRYPT_DECRYPT", "")
	context := map[string]string{"a": "b"}
	sealed, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: &symmetricKey, Plaintext: []byte("secret"), EncryptionContext: context})
	must(t, err)
	there, err := c.ReEncrypt(ctx, &kms.ReEncryptInput{
		CiphertextBlob: sealed.CiphertextBlob, SourceEncryptionContext: context, DestinationKeyId: &rsaKey, DestinationEncryptionAlgorithm: "RSAES_OAEP_SHA_256",
	})
	must(t, err)
	if *there.SourceKeyId != symmetricKey || *there.KeyId != rsaKey || there.SourceEncryptionAlgorithm != "SYMMETRIC_DEFAULT" ||
		there.DestinationEncryptionAlgorithm != "RSAES_OAEP_SHA_256" || there.SourceKeyMaterialId == nil || there.DestinationKeyMaterialId != nil || len(there.CiphertextBlob) != 256 {
		t.Errorf("to RSA: %+v", there)
	}
	back, err := c.ReEncrypt(ctx, &kms.ReEncryptInput{
		CiphertextBlob: there.CiphertextBlob, SourceKeyId: &rsaKey, SourceEncryptionAlgorithm: "RSAES_OAEP_SHA_256", DestinationKeyId: &symmetricKey,
	})
	must(t, err)
	if *back.SourceKeyId != rsaKey || *back.KeyId != symmetricKey || back.SourceKeyMaterialId != nil || back.DestinationKeyMaterialId == nil {
		t.Errorf("from RSA: %+v", back)
	}
	out, err := c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: back.CiphertextBlob})
	if err != nil || string(out.Plaintext) != "secret" {
		t.Errorf("%+v, %v", out, err)
	}
	long, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: &symmetricKey, Plaintext: make([]byte, 191)})
	must(t, err)
	_, err = c.ReEncrypt(ctx, &kms.ReEncryptInput{CiphertextBlob: long.CiphertextBlob, DestinationKeyId: &rsaKey, DestinationEncryptionAlgorithm: "RSAES_OAEP_SHA_256"})
	wantError(t, err, "ValidationException", "Algorithm RSAES_OAEP_SHA_256 and key spec RSA_2048 cannot encrypt data larger than 190 bytes.")
	_, err = c.ReEncrypt(ctx, &kms.ReEncryptInput{CiphertextBlob: sealed.CiphertextBlob, SourceEncryptionContext: context, DestinationKeyId: &rsaKey})
	wantError(t, err, "InvalidKeyUsageException", "Algorithm SYMMETRIC_DEFAULT is incompatible with key spec RSA_2048.")
}
