// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"hash"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	kwp "github.com/tink-crypto/tink-go/v2/kwp/subtle"
)

// importMaterial asks for parameters, wraps material and imports it. Members of
// in that are missing get their values here.
func importMaterial(t *testing.T, client *kms.Client, id string, material []byte, in *kms.ImportKeyMaterialInput) *kms.ImportKeyMaterialOutput {
	t.Helper()
	return must1[*kms.ImportKeyMaterialOutput](t)(tryImport(t, client, id, material, types.AlgorithmSpecRsaesOaepSha256, types.WrappingKeySpecRsa2048, in))
}

func tryImport(t *testing.T, client *kms.Client, id string, material []byte, algorithm types.AlgorithmSpec, wrapping types.WrappingKeySpec, in *kms.ImportKeyMaterialInput) (*kms.ImportKeyMaterialOutput, error) {
	t.Helper()
	parameters := must1[*kms.GetParametersForImportOutput](t)(client.GetParametersForImport(t.Context(), &kms.GetParametersForImportInput{KeyId: &id, WrappingAlgorithm: algorithm, WrappingKeySpec: wrapping}))
	if left := time.Until(*parameters.ParametersValidTo); left < 23*time.Hour || left > 24*time.Hour {
		t.Errorf("the parameters are valid for %v", left)
	}
	in.KeyId, in.ImportToken = &id, parameters.ImportToken
	in.EncryptedKeyMaterial = wrapMaterial(t, parameters.PublicKey, material, algorithm)
	if in.ExpirationModel == "" {
		in.ExpirationModel = types.ExpirationModelTypeKeyMaterialDoesNotExpire
	}
	return client.ImportKeyMaterial(t.Context(), in)
}

// wrapMaterial is done by whoever owns the material, outside AWS.
func wrapMaterial(t *testing.T, public, material []byte, algorithm types.AlgorithmSpec) []byte {
	t.Helper()
	key, err := x509.ParsePKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	newHash := map[bool]func() hash.Hash{true: sha1.New, false: sha256.New}[strings.HasSuffix(string(algorithm), "SHA_1")]
	seal := func(plain []byte) []byte {
		sealed, err := rsa.EncryptOAEP(newHash(), rand.Reader, key.(*rsa.PublicKey), plain, nil)
		if err != nil {
			t.Fatal(err)
		}
		return sealed
	}
	if !strings.HasPrefix(string(algorithm), "RSA_AES_KEY_WRAP") {
		return seal(material)
	}
	kek := make([]byte, 32)
	rand.Read(kek)
	wrapper, err := kwp.NewKWP(kek)
	if err != nil {
		t.Fatal(err)
	}
	wrapped, err := wrapper.Wrap(material)
	if err != nil {
		t.Fatal(err)
	}
	return append(seal(kek), wrapped...)
}

// Every wrapping algorithm, and every wrapping key, brings material.
func TestImportsOfEveryWrapping(t *testing.T) {
	s := startKMS(t, raceBinary, false)
	client, ctx := s.client(t, "admin", kmsRegion), t.Context()
	for _, c := range []struct {
		algorithm types.AlgorithmSpec
		wrapping  types.WrappingKeySpec
	}{
		{types.AlgorithmSpecRsaesOaepSha1, types.WrappingKeySpecRsa2048},
		{types.AlgorithmSpecRsaesOaepSha256, types.WrappingKeySpecRsa2048},
		{types.AlgorithmSpecRsaesOaepSha256, types.WrappingKeySpecRsa3072},
		{types.AlgorithmSpecRsaAesKeyWrapSha1, types.WrappingKeySpecRsa3072},
		{types.AlgorithmSpecRsaAesKeyWrapSha256, types.WrappingKeySpecRsa2048},
		{types.AlgorithmSpecRsaAesKeyWrapSha256, types.WrappingKeySpecRsa4096},
	} {
		t.Run(string(c.algorithm)+"/"+string(c.wrapping), func(t *testing.T) {
			id, _ := createKey(ctx, t, client, &kms.CreateKeyInput{Origin: types.OriginTypeExternal})
			material := make([]byte, 32)
			rand.Read(material)
			first := must1[*kms.ImportKeyMaterialOutput](t)(tryImport(t, client, id, material, c.algorithm, c.wrapping, &kms.ImportKeyMaterialInput{}))
			sealed := must1[*kms.EncryptOutput](t)(client.Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("kept")}))
			must1[*kms.DeleteImportedKeyMaterialOutput](t)(client.DeleteImportedKeyMaterial(ctx, &kms.DeleteImportedKeyMaterialInput{KeyId: &id}))
			_, err := client.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob})
			wantKMSError[*types.KMSInvalidStateException](t, "without material", err)
			_, err = tryImport(t, client, id, bytes.Repeat([]byte{1}, 32), c.algorithm, c.wrapping, &kms.ImportKeyMaterialInput{})
			wantKMSError[*types.IncorrectKeyMaterialException](t, "other material", err)
			again := must1[*kms.ImportKeyMaterialOutput](t)(tryImport(t, client, id, material, c.algorithm, c.wrapping, &kms.ImportKeyMaterialInput{}))
			if *again.KeyMaterialId != *first.KeyMaterialId {
				t.Errorf("the same material is %s, then %s", *first.KeyMaterialId, *again.KeyMaterialId)
			}
			if opened := must1[*kms.DecryptOutput](t)(client.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob})); string(opened.Plaintext) != "kept" {
				t.Errorf("opened %q", opened.Plaintext)
			}
		})
	}
}

// Private keys of others sign and decrypt as they did outside.
func TestImportsOfPrivateKeys(t *testing.T) {
	s := startKMS(t, raceBinary, false)
	client, ctx := s.client(t, "admin", kmsRegion), t.Context()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edPublic, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		spec            types.KeySpec
		private, public any
		algorithm       types.SigningAlgorithmSpec
		wrapping        types.AlgorithmSpec
	}{
		{types.KeySpecRsa2048, rsaKey, &rsaKey.PublicKey, types.SigningAlgorithmSpecRsassaPssSha384, types.AlgorithmSpecRsaAesKeyWrapSha256},
		{types.KeySpecEccNistP384, ecKey, &ecKey.PublicKey, types.SigningAlgorithmSpecEcdsaSha384, types.AlgorithmSpecRsaesOaepSha1},
		{types.KeySpecEccNistEdwards25519, edKey, edPublic, types.SigningAlgorithmSpecEd25519Sha512, types.AlgorithmSpecRsaesOaepSha256},
	} {
		t.Run(string(c.spec), func(t *testing.T) {
			material, err := x509.MarshalPKCS8PrivateKey(c.private)
			if err != nil {
				t.Fatal(err)
			}
			public, err := x509.MarshalPKIXPublicKey(c.public)
			if err != nil {
				t.Fatal(err)
			}
			id, _ := createKey(ctx, t, client, &kms.CreateKeyInput{Origin: types.OriginTypeExternal, KeySpec: c.spec, KeyUsage: types.KeyUsageTypeSignVerify})
			if out := must1[*kms.ImportKeyMaterialOutput](t)(tryImport(t, client, id, material, c.wrapping, types.WrappingKeySpecRsa3072, &kms.ImportKeyMaterialInput{})); out.KeyMaterialId != nil {
				t.Errorf("an asymmetric key's material has the ID %s", *out.KeyMaterialId)
			}
			if out := must1[*kms.GetPublicKeyOutput](t)(client.GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: &id})); !bytes.Equal(out.PublicKey, public) {
				t.Error("the public key is another one")
			}
			text := []byte("signed inside")
			signed := must1[*kms.SignOutput](t)(client.Sign(ctx, &kms.SignInput{KeyId: &id, Message: text, SigningAlgorithm: c.algorithm}))
			if !verifiesOutside(t, c.algorithm, public, text, signed.Signature) {
				t.Error("the signature is not valid outside")
			}
		})
	}
}

// Material that expires does so by itself; the same material makes the key
// whole again.
func TestImportedMaterialExpires(t *testing.T) {
	s := startKMS(t, raceBinary, false, "  principals:\n", "  sweep_interval: 100ms\n  principals:\n")
	client, ctx := s.client(t, "admin", kmsRegion), t.Context()
	id, _ := createKey(ctx, t, client, &kms.CreateKeyInput{Origin: types.OriginTypeExternal})
	material := make([]byte, 32)
	rand.Read(material)
	validTo := time.Now().Add(4 * time.Second)
	importMaterial(t, client, id, material, &kms.ImportKeyMaterialInput{ExpirationModel: types.ExpirationModelTypeKeyMaterialExpires, ValidTo: &validTo})
	metadata := describe(t, client, id)
	if metadata.ExpirationModel != types.ExpirationModelTypeKeyMaterialExpires || metadata.ValidTo == nil || metadata.ValidTo.Sub(validTo).Abs() > time.Second {
		t.Errorf("%s until %v, want until %v", metadata.ExpirationModel, metadata.ValidTo, validTo)
	}
	sealed := must1[*kms.EncryptOutput](t)(client.Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x")}))
	eventually(t, 10*time.Second, "PendingImport", func() bool { return describe(t, client, id).KeyState == types.KeyStatePendingImport })
	if early := time.Until(validTo); early > 0 {
		t.Errorf("it expired %v early", early)
	}
	_, err := client.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob})
	wantKMSError[*types.KMSInvalidStateException](t, "after the expiry", err)
	importMaterial(t, client, id, material, &kms.ImportKeyMaterialInput{})
	must1[*kms.DecryptOutput](t)(client.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob}))
	past := time.Now().Add(-time.Minute)
	_, err = tryImport(t, client, id, material, types.AlgorithmSpecRsaesOaepSha256, types.WrappingKeySpecRsa2048, &kms.ImportKeyMaterialInput{ExpirationModel: types.ExpirationModelTypeKeyMaterialExpires, ValidTo: &past})
	if err == nil {
		t.Error("material was imported that had expired")
	}
}

// A token is for one key, and once a key has more than one material all must
// be there.
func TestImportTokensAndSeveralMaterials(t *testing.T) {
	s := startKMS(t, raceBinary, false)
	client, ctx := s.client(t, "admin", kmsRegion), t.Context()
	id, _ := createKey(ctx, t, client, &kms.CreateKeyInput{Origin: types.OriginTypeExternal})
	other, _ := createKey(ctx, t, client, &kms.CreateKeyInput{Origin: types.OriginTypeExternal})
	material := [][]byte{bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)}
	parameters := must1[*kms.GetParametersForImportOutput](t)(client.GetParametersForImport(ctx, &kms.GetParametersForImportInput{KeyId: &id, WrappingAlgorithm: types.AlgorithmSpecRsaesOaepSha256, WrappingKeySpec: types.WrappingKeySpecRsa2048}))
	wrapped := wrapMaterial(t, parameters.PublicKey, material[0], types.AlgorithmSpecRsaesOaepSha256)
	in := &kms.ImportKeyMaterialInput{KeyId: &other, ImportToken: parameters.ImportToken, EncryptedKeyMaterial: wrapped, ExpirationModel: types.ExpirationModelTypeKeyMaterialDoesNotExpire}
	_, err := client.ImportKeyMaterial(ctx, in)
	wantKMSError[*types.InvalidImportTokenException](t, "the token of another key", err)
	in.KeyId = &id
	first := must1[*kms.ImportKeyMaterialOutput](t)(client.ImportKeyMaterial(ctx, in))
	old := must1[*kms.EncryptOutput](t)(client.Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("old")}))
	second := importMaterial(t, client, id, material[1], &kms.ImportKeyMaterialInput{ImportType: types.ImportTypeNewKeyMaterial, KeyMaterialDescription: aws.String("the second")})
	must1[*kms.RotateKeyOnDemandOutput](t)(client.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: &id}))
	eventually(t, 10*time.Second, "the second material", func() bool { return *describe(t, client, id).CurrentKeyMaterialId == *second.KeyMaterialId })
	if opened := must1[*kms.DecryptOutput](t)(client.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: old.CiphertextBlob})); string(opened.Plaintext) != "old" || *opened.KeyMaterialId != *first.KeyMaterialId {
		t.Errorf("opened %q with %s", opened.Plaintext, *opened.KeyMaterialId)
	}
	must1[*kms.DeleteImportedKeyMaterialOutput](t)(client.DeleteImportedKeyMaterial(ctx, &kms.DeleteImportedKeyMaterialInput{KeyId: &id, KeyMaterialId: first.KeyMaterialId}))
	if state := describe(t, client, id).KeyState; state != types.KeyStatePendingImport {
		t.Errorf("with a material missing the key is %s", state)
	}
	rotations := must1[*kms.ListKeyRotationsOutput](t)(client.ListKeyRotations(ctx, &kms.ListKeyRotationsInput{KeyId: &id, IncludeKeyMaterial: types.IncludeKeyMaterialAllKeyMaterial})).Rotations
	if len(rotations) != 2 || rotations[0].ImportState != types.ImportStatePendingImport || rotations[1].ImportState != types.ImportStateImported || aws.ToString(rotations[1].KeyMaterialDescription) != "the second" {
		t.Errorf("rotations: %+v", rotations)
	}
	importMaterial(t, client, id, material[0], &kms.ImportKeyMaterialInput{KeyMaterialId: first.KeyMaterialId})
	must1[*kms.DecryptOutput](t)(client.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: old.CiphertextBlob}))
}

// describe is DescribeKey that must succeed.
func describe(t *testing.T, client *kms.Client, id string) *types.KeyMetadata {
	t.Helper()
	return must1[*kms.DescribeKeyOutput](t)(client.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: &id})).KeyMetadata
}

// eventually waits until done reports true.
func eventually(t *testing.T, limit time.Duration, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s after %v", what, limit)
		}
	}
}
