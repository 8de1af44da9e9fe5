// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"hash"
	"strings"
	"testing"

	"filippo.io/mldsa"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	k1ecdsa "github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
)

// signing is every key spec that signs, with AWS's list of its algorithms.
var signing = map[types.KeySpec][]types.SigningAlgorithmSpec{
	types.KeySpecRsa2048:             rsaSigningAlgorithms,
	types.KeySpecRsa3072:             rsaSigningAlgorithms,
	types.KeySpecRsa4096:             rsaSigningAlgorithms,
	types.KeySpecEccNistP256:         {types.SigningAlgorithmSpecEcdsaSha256},
	types.KeySpecEccNistP384:         {types.SigningAlgorithmSpecEcdsaSha384},
	types.KeySpecEccNistP521:         {types.SigningAlgorithmSpecEcdsaSha512},
	types.KeySpecEccSecgP256k1:       {types.SigningAlgorithmSpecEcdsaSha256},
	types.KeySpecEccNistEdwards25519: {types.SigningAlgorithmSpecEd25519Sha512, types.SigningAlgorithmSpecEd25519PhSha512},
	types.KeySpecMlDsa44:             {types.SigningAlgorithmSpecMlDsaShake256},
	types.KeySpecMlDsa65:             {types.SigningAlgorithmSpecMlDsaShake256},
	types.KeySpecMlDsa87:             {types.SigningAlgorithmSpecMlDsaShake256},
}

var rsaSigningAlgorithms = []types.SigningAlgorithmSpec{
	types.SigningAlgorithmSpecRsassaPkcs1V15Sha256, types.SigningAlgorithmSpecRsassaPkcs1V15Sha384, types.SigningAlgorithmSpecRsassaPkcs1V15Sha512,
	types.SigningAlgorithmSpecRsassaPssSha256, types.SigningAlgorithmSpecRsassaPssSha384, types.SigningAlgorithmSpecRsassaPssSha512,
}

// What keys sign, others verify, and the other way round is not possible: a
// signature of every spec and algorithm, of whole messages and of digests.
func TestSignaturesOutsideTheKeyService(t *testing.T) {
	s := startKMS(t, raceBinary, false)
	for spec, algorithms := range signing {
		t.Run(string(spec), func(t *testing.T) {
			client, ctx := s.client(t, "admin", kmsRegion), t.Context()
			id, arn := createKey(ctx, t, client, &kms.CreateKeyInput{KeySpec: spec, KeyUsage: types.KeyUsageTypeSignVerify})
			public := must1[*kms.GetPublicKeyOutput](t)(client.GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: &id}))
			for _, algorithm := range algorithms {
				for _, kind := range messageTypes(algorithm) {
					text := []byte("what " + string(algorithm) + " signs as " + string(kind))
					in := &kms.SignInput{KeyId: &id, SigningAlgorithm: algorithm, MessageType: kind, Message: signedAs(kind, algorithm, public.PublicKey, text)}
					signed := must1[*kms.SignOutput](t)(client.Sign(ctx, in))
					if *signed.KeyId != arn || signed.SigningAlgorithm != algorithm {
						t.Errorf("signed by %s with %s", *signed.KeyId, signed.SigningAlgorithm)
					}
					if !verifiesOutside(t, algorithm, public.PublicKey, text, signed.Signature) {
						t.Errorf("%s %s: the signature is not valid outside", algorithm, kind)
					}
					testVerify(t, client, in, signed.Signature)
				}
			}
		})
	}
}

// testVerify has the service verify a signature, and refuse it for another message.
func testVerify(t *testing.T, client *kms.Client, in *kms.SignInput, signature []byte) {
	t.Helper()
	verify := &kms.VerifyInput{KeyId: in.KeyId, SigningAlgorithm: in.SigningAlgorithm, MessageType: in.MessageType, Message: in.Message, Signature: signature}
	out := must1[*kms.VerifyOutput](t)(client.Verify(t.Context(), verify))
	if !out.SignatureValid {
		t.Errorf("%s %s: not valid", in.SigningAlgorithm, in.MessageType)
	}
	verify.Message = bytes.Clone(in.Message)
	verify.Message[0]++
	_, err := client.Verify(t.Context(), verify)
	wantKMSError[*types.KMSInvalidSignatureException](t, string(in.SigningAlgorithm)+" of another message", err)
	verify.Message, verify.Signature = in.Message, signature[1:]
	_, err = client.Verify(t.Context(), verify)
	wantKMSError[*types.KMSInvalidSignatureException](t, string(in.SigningAlgorithm)+", cut", err)
}

func messageTypes(algorithm types.SigningAlgorithmSpec) []types.MessageType {
	switch algorithm {
	case types.SigningAlgorithmSpecEd25519Sha512:
		return []types.MessageType{types.MessageTypeRaw}
	case types.SigningAlgorithmSpecEd25519PhSha512:
		return []types.MessageType{types.MessageTypeDigest}
	case types.SigningAlgorithmSpecMlDsaShake256:
		return []types.MessageType{types.MessageTypeRaw, types.MessageTypeExternalMu}
	}
	return []types.MessageType{types.MessageTypeRaw, types.MessageTypeDigest}
}

// signedAs is what Sign is given for a text.
func signedAs(kind types.MessageType, algorithm types.SigningAlgorithmSpec, public, text []byte) []byte {
	switch kind {
	case types.MessageTypeDigest:
		h := hashOf(algorithm).New()
		h.Write(text)
		return h.Sum(nil)
	case types.MessageTypeExternalMu: // FIPS 204, algorithm 7, line 6, without a context
		tr := sha3.SumSHAKE256(pointOf(public), 64)
		return sha3.SumSHAKE256(append(append(tr, 0, 0), text...), 64)
	}
	return text
}

func hashOf(algorithm types.SigningAlgorithmSpec) crypto.Hash {
	switch name := string(algorithm); {
	case strings.HasSuffix(name, "384"):
		return crypto.SHA384
	case strings.HasSuffix(name, "512"):
		return crypto.SHA512
	}
	return crypto.SHA256
}

// pointOf is the key inside a SubjectPublicKeyInfo that x509 does not know.
func pointOf(public []byte) []byte {
	var info struct {
		Algorithm asn1.RawValue
		Key       asn1.BitString
	}
	if rest, err := asn1.Unmarshal(public, &info); err != nil || len(rest) > 0 {
		return nil
	}
	return info.Key.RightAlign()
}

// verifiesOutside verifies with Go's packages.
func verifiesOutside(t *testing.T, algorithm types.SigningAlgorithmSpec, public, text, signature []byte) bool {
	t.Helper()
	h := hashOf(algorithm).New()
	h.Write(text)
	digest := h.Sum(nil)
	key, err := x509.ParsePKIXPublicKey(public)
	switch key := key.(type) {
	case *rsa.PublicKey:
		if strings.Contains(string(algorithm), "PSS") {
			return rsa.VerifyPSS(key, hashOf(algorithm), digest, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
		return rsa.VerifyPKCS1v15(key, hashOf(algorithm), digest, signature) == nil
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(key, digest, signature)
	case ed25519.PublicKey:
		if algorithm == types.SigningAlgorithmSpecEd25519PhSha512 {
			return ed25519.VerifyWithOptions(key, digest, signature, &ed25519.Options{Hash: crypto.SHA512}) == nil
		}
		return ed25519.Verify(key, text, signature)
	}
	for _, set := range []mldsa.Parameters{mldsa.MLDSA44(), mldsa.MLDSA65(), mldsa.MLDSA87()} {
		if key, err := mldsa.NewPublicKey(set, pointOf(public)); err == nil {
			return mldsa.Verify(key, text, signature, nil) == nil
		}
	}
	point, err2 := secp256k1.ParsePubKey(pointOf(public))
	parsed, err3 := k1ecdsa.ParseDERSignature(signature)
	if err2 != nil || err3 != nil {
		t.Fatal(err, err2, err3)
	}
	return parsed.Verify(digest, point)
}

// RSA encryption opens what others sealed, and others' keys do not.
func TestRSAEncryptionWithTheKeyService(t *testing.T) {
	s := startKMS(t, raceBinary, false)
	for _, spec := range []types.KeySpec{types.KeySpecRsa2048, types.KeySpecRsa3072, types.KeySpecRsa4096} {
		t.Run(string(spec), func(t *testing.T) {
			client, ctx := s.client(t, "admin", kmsRegion), t.Context()
			id, _ := createKey(ctx, t, client, &kms.CreateKeyInput{KeySpec: spec, KeyUsage: types.KeyUsageTypeEncryptDecrypt})
			public := must1[*kms.GetPublicKeyOutput](t)(client.GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: &id}))
			key, err := x509.ParsePKIXPublicKey(public.PublicKey)
			if err != nil {
				t.Fatal(err)
			}
			for algorithm, newHash := range map[types.EncryptionAlgorithmSpec]func() hash.Hash{types.EncryptionAlgorithmSpecRsaesOaepSha1: sha1.New, types.EncryptionAlgorithmSpecRsaesOaepSha256: sha256.New} {
				text := make([]byte, key.(*rsa.PublicKey).Size()-2*newHash().Size()-2)
				rand.Read(text)
				sealed, err := rsa.EncryptOAEP(newHash(), rand.Reader, key.(*rsa.PublicKey), text, nil)
				if err != nil {
					t.Fatal(err)
				}
				opened := must1[*kms.DecryptOutput](t)(client.Decrypt(ctx, &kms.DecryptInput{KeyId: &id, CiphertextBlob: sealed, EncryptionAlgorithm: algorithm}))
				if !bytes.Equal(opened.Plaintext, text) {
					t.Errorf("%s: opened something else", algorithm)
				}
				inside := must1[*kms.EncryptOutput](t)(client.Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: text, EncryptionAlgorithm: algorithm}))
				opened = must1[*kms.DecryptOutput](t)(client.Decrypt(ctx, &kms.DecryptInput{KeyId: &id, CiphertextBlob: inside.CiphertextBlob, EncryptionAlgorithm: algorithm}))
				if !bytes.Equal(opened.Plaintext, text) {
					t.Errorf("%s: opened something else than was sealed inside", algorithm)
				}
			}
		})
	}
}

// Two keys, and a key and somebody outside, agree on the same secret.
func TestAgreementWithTheKeyService(t *testing.T) {
	s := startKMS(t, raceBinary, false)
	for spec, curve := range map[types.KeySpec]ecdh.Curve{types.KeySpecEccNistP256: ecdh.P256(), types.KeySpecEccNistP384: ecdh.P384(), types.KeySpecEccNistP521: ecdh.P521()} {
		t.Run(string(spec), func(t *testing.T) {
			client, ctx := s.client(t, "admin", kmsRegion), t.Context()
			one, onePublic := agreementKey(t, client, spec)
			two, twoPublic := agreementKey(t, client, spec)
			agree := func(id string, peer []byte) []byte {
				out := must1[*kms.DeriveSharedSecretOutput](t)(client.DeriveSharedSecret(ctx, &kms.DeriveSharedSecretInput{KeyId: &id, KeyAgreementAlgorithm: types.KeyAgreementAlgorithmSpecEcdh, PublicKey: peer}))
				return out.SharedSecret
			}
			if !bytes.Equal(agree(one, twoPublic), agree(two, onePublic)) {
				t.Error("the two sides derive different secrets")
			}
			outside, err := curve.GenerateKey(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			der, err := x509.MarshalPKIXPublicKey(outside.PublicKey())
			if err != nil {
				t.Fatal(err)
			}
			public, err := x509.ParsePKIXPublicKey(onePublic)
			if err != nil {
				t.Fatal(err)
			}
			peer, err := public.(*ecdsa.PublicKey).ECDH()
			if err != nil {
				t.Fatal(err)
			}
			if secret, err := outside.ECDH(peer); err != nil || !bytes.Equal(secret, agree(one, der)) {
				t.Error("outside the secret is another one", err)
			}
		})
	}
}

func agreementKey(t *testing.T, client *kms.Client, spec types.KeySpec) (id string, public []byte) {
	t.Helper()
	id, _ = createKey(t.Context(), t, client, &kms.CreateKeyInput{KeySpec: spec, KeyUsage: types.KeyUsageTypeKeyAgreement})
	return id, must1[*kms.GetPublicKeyOutput](t)(client.GetPublicKey(t.Context(), &kms.GetPublicKeyInput{KeyId: &id})).PublicKey
}

// Data key pairs of every spec are those that their public key says, and their
// private keys come back from the ciphertext under the same context only.
func TestDataKeyPairsOfTheKeyService(t *testing.T) {
	s := startKMS(t, raceBinary, false)
	client, ctx := s.client(t, "admin", kmsRegion), t.Context()
	id, arn := createKey(ctx, t, client, &kms.CreateKeyInput{})
	context := map[string]string{"for": "pairs"}
	for _, spec := range types.DataKeyPairSpec("").Values() {
		if spec == types.DataKeyPairSpecSm2 || spec == types.DataKeyPairSpecRsa4096 {
			continue // SM2 is refused, RSA 4096 takes long to make
		}
		pair := must1[*kms.GenerateDataKeyPairOutput](t)(client.GenerateDataKeyPair(ctx, &kms.GenerateDataKeyPairInput{KeyId: &id, KeyPairSpec: spec, EncryptionContext: context}))
		if *pair.KeyId != arn || pair.KeyPairSpec != spec {
			t.Errorf("%s: %s of %s", spec, pair.KeyPairSpec, *pair.KeyId)
		}
		if spec != types.DataKeyPairSpecEccSecgP256k1 {
			testPair(t, spec, pair)
		}
		opened := must1[*kms.DecryptOutput](t)(client.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: pair.PrivateKeyCiphertextBlob, EncryptionContext: context}))
		if !bytes.Equal(opened.Plaintext, pair.PrivateKeyPlaintext) {
			t.Errorf("%s: the ciphertext holds another private key", spec)
		}
		_, err := client.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: pair.PrivateKeyCiphertextBlob})
		wantKMSError[*types.InvalidCiphertextException](t, "without its context", err)
	}
	blind := must1[*kms.GenerateDataKeyPairWithoutPlaintextOutput](t)(client.GenerateDataKeyPairWithoutPlaintext(ctx, &kms.GenerateDataKeyPairWithoutPlaintextInput{KeyId: &id, KeyPairSpec: types.DataKeyPairSpecEccNistP256}))
	opened := must1[*kms.DecryptOutput](t)(client.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blind.PrivateKeyCiphertextBlob}))
	testPair(t, types.DataKeyPairSpecEccNistP256, &kms.GenerateDataKeyPairOutput{PrivateKeyPlaintext: opened.Plaintext, PublicKey: blind.PublicKey})
}

// testPair compares the public key with that of the private key.
func testPair(t *testing.T, spec types.DataKeyPairSpec, pair *kms.GenerateDataKeyPairOutput) {
	t.Helper()
	private, err := x509.ParsePKCS8PrivateKey(pair.PrivateKeyPlaintext)
	if err != nil {
		t.Fatalf("%s: %v", spec, err)
	}
	public, err := x509.MarshalPKIXPublicKey(private.(crypto.Signer).Public())
	if err != nil || !bytes.Equal(public, pair.PublicKey) {
		t.Errorf("%s: the public key is another one (%v)", spec, err)
	}
}

// MACs of every spec are different ones by key and message, of the hash's
// length, and verified under the right algorithm only.
func TestMACsOfTheKeyService(t *testing.T) {
	s := startKMS(t, raceBinary, false)
	client, ctx := s.client(t, "admin", kmsRegion), t.Context()
	for spec, newHash := range map[types.KeySpec]func() hash.Hash{types.KeySpecHmac224: sha256.New224, types.KeySpecHmac256: sha256.New, types.KeySpecHmac384: sha512.New384, types.KeySpecHmac512: sha512.New} {
		algorithm := types.MacAlgorithmSpec(strings.Replace(string(spec), "HMAC_", "HMAC_SHA_", 1))
		id, _ := createKey(ctx, t, client, &kms.CreateKeyInput{KeySpec: spec, KeyUsage: types.KeyUsageTypeGenerateVerifyMac, Origin: types.OriginTypeExternal})
		material := make([]byte, newHash().Size())
		rand.Read(material)
		importMaterial(t, client, id, material, &kms.ImportKeyMaterialInput{})
		for _, size := range []int{1, 64, 200, 4096} {
			text := make([]byte, size)
			rand.Read(text)
			made := must1[*kms.GenerateMacOutput](t)(client.GenerateMac(ctx, &kms.GenerateMacInput{KeyId: &id, MacAlgorithm: algorithm, Message: text}))
			h := hmac.New(newHash, material)
			h.Write(text)
			if !bytes.Equal(made.Mac, h.Sum(nil)) {
				t.Errorf("%s of %d bytes differs from that of crypto/hmac", spec, size)
			}
			verify := &kms.VerifyMacInput{KeyId: &id, MacAlgorithm: algorithm, Message: text, Mac: made.Mac}
			if out := must1[*kms.VerifyMacOutput](t)(client.VerifyMac(ctx, verify)); !out.MacValid {
				t.Errorf("%s: not valid", spec)
			}
			verify.Mac = made.Mac[:len(made.Mac)-1]
			_, err := client.VerifyMac(ctx, verify)
			wantKMSError[*types.KMSInvalidMacException](t, "a MAC cut by a byte", err)
		}
	}
}
