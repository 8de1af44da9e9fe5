// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// TestDataKeyPairs: the private key is PKCS #8, belongs to the public key, and
// Decrypt gives it back.
func TestDataKeyPairs(t *testing.T) {
	s := newServer(t)
	c := s.admin()
	_, arn := s.newKey()
	context := map[string]string{"a": "b"}
	for _, spec := range types.DataKeyPairSpec("").Values() {
		if testing.Short() && spec == "RSA_4096" {
			continue
		}
		t.Run(string(spec), func(t *testing.T) {
			made, err := c.GenerateDataKeyPair(ctx, &kms.GenerateDataKeyPairInput{KeyId: &arn, KeyPairSpec: spec, EncryptionContext: context})
			if spec == "SM2" {
				wantError(t, err, "UnsupportedOperationException", "KeyPairSpec SM2 is not supported in this Region")
				return
			}
			must(t, err)
			if *made.KeyId != arn || made.KeyPairSpec != spec || made.KeyMaterialId == nil {
				t.Errorf("%+v", made)
			}
			opened, err := c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: made.PrivateKeyCiphertextBlob, EncryptionContext: context})
			must(t, err)
			if !bytes.Equal(opened.Plaintext, made.PrivateKeyPlaintext) || *opened.KeyMaterialId != *made.KeyMaterialId {
				t.Error("Decrypt gives back another private key")
			}
			_, err = c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: made.PrivateKeyCiphertextBlob})
			wantError(t, err, "InvalidCiphertextException", "-")
			if spec == "ECC_SECG_P256K1" { // which crypto/x509 does not know
				return
			}
			private, err := x509.ParsePKCS8PrivateKey(made.PrivateKeyPlaintext)
			must(t, err)
			public, err := x509.MarshalPKIXPublicKey(private.(crypto.Signer).Public())
			must(t, err)
			if !bytes.Equal(public, made.PublicKey) {
				t.Error("the private key is not that of the public key")
			}
		})
	}
	without, err := c.GenerateDataKeyPairWithoutPlaintext(ctx, &kms.GenerateDataKeyPairWithoutPlaintextInput{KeyId: &arn, KeyPairSpec: "ECC_NIST_P384"})
	must(t, err)
	opened, err := c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: without.PrivateKeyCiphertextBlob})
	must(t, err)
	if _, err := x509.ParsePKCS8PrivateKey(opened.Plaintext); err != nil || *without.KeyId != arn || without.KeyPairSpec != "ECC_NIST_P384" || len(without.PublicKey) == 0 {
		t.Errorf("%+v, %v", without, err)
	}
	dry := "The request would have succeeded, but the DryRun option is set."
	_, err = c.GenerateDataKeyPair(ctx, &kms.GenerateDataKeyPairInput{KeyId: &arn, KeyPairSpec: "RSA_2048", DryRun: ptr(true)})
	wantError(t, err, "DryRunOperationException", dry)
	_, err = c.GenerateDataKeyPairWithoutPlaintext(ctx, &kms.GenerateDataKeyPairWithoutPlaintextInput{KeyId: &arn, KeyPairSpec: "RSA_2048", DryRun: ptr(true)})
	wantError(t, err, "DryRunOperationException", dry)
	_, err = c.GenerateDataKeyPair(ctx, &kms.GenerateDataKeyPairInput{KeyId: &arn, KeyPairSpec: "RSA_2048", Recipient: &types.RecipientInfo{}})
	wantError(t, err, "UnsupportedOperationException", "Recipient is not supported by this key service.")
}

// TestNoPairsUnderCustomKeys: AWS makes no data key pairs under keys of a custom
// key store, but data keys.
func TestNoPairsUnderCustomKeys(t *testing.T) {
	s, clusters := newServerWithClusters(t)
	c := s.admin()
	id := newKeyStore(t, c, "one", clusters.add(), storePassword)
	must(t, connectStore(c, id))
	waitStore(t, c, id, "CONNECTED")
	made, err := c.CreateKey(ctx, &kms.CreateKeyInput{Origin: "AWS_CLOUDHSM", CustomKeyStoreId: &id})
	must(t, err)
	arn := made.KeyMetadata.Arn
	want := *arn + " origin is AWS_CLOUDHSM which is not valid for this operation."
	_, err = c.GenerateDataKeyPair(ctx, &kms.GenerateDataKeyPairInput{KeyId: arn, KeyPairSpec: "ECC_NIST_P256"})
	wantError(t, err, "UnsupportedOperationException", want)
	_, err = c.GenerateDataKeyPairWithoutPlaintext(ctx, &kms.GenerateDataKeyPairWithoutPlaintextInput{KeyId: arn, KeyPairSpec: "ECC_NIST_P256"})
	wantError(t, err, "UnsupportedOperationException", want)
	key, err := c.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: arn, KeySpec: "AES_128"})
	must(t, err)
	opened, err := c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: key.CiphertextBlob})
	must(t, err)
	if !bytes.Equal(opened.Plaintext, key.Plaintext) || len(key.Plaintext) != 16 {
		t.Errorf("%+v", opened)
	}
}
