// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha3"
	_ "crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"testing"

	"filippo.io/mldsa"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	k1 "github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
)

func (s *server) publicKey(arn string) []byte {
	s.t.Helper()
	out, err := s.admin().GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: &arn})
	must(s.t, err)
	if *out.KeyId != arn {
		s.t.Errorf("GetPublicKey names %s, not %s", *out.KeyId, arn)
	}
	return out.PublicKey
}

func hashNamed(algorithm types.SigningAlgorithmSpec) crypto.Hash {
	name := string(algorithm)
	return map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[name[len(name)-3:]]
}

func sum(h crypto.Hash, message []byte) []byte {
	d := h.New()
	d.Write(message)
	return d.Sum(nil)
}

// verifyOutside verifies with other code than the service's.
func verifyOutside(public, message []byte, algorithm types.SigningAlgorithmSpec, signature []byte) error {
	if algorithm == "ML_DSA_SHAKE_256" {
		return verifyMLDSA(public, message, signature)
	}
	hash := hashNamed(algorithm)
	digest := sum(hash, message)
	key, err := x509.ParsePKIXPublicKey(public)
	if err != nil { // crypto/x509 does not know secp256k1
		return verifyK1(public, digest, signature)
	}
	ok := false
	switch key := key.(type) {
	case *rsa.PublicKey:
		if strings.Contains(string(algorithm), "PSS") {
			return rsa.VerifyPSS(key, hash, digest, signature, &rsa.PSSOptions{SaltLength: hash.Size()})
		}
		return rsa.VerifyPKCS1v15(key, hash, digest, signature)
	case *ecdsa.PublicKey:
		ok = ecdsa.VerifyASN1(key, digest, signature)
	case ed25519.PublicKey:
		if algorithm == "ED25519_PH_SHA_512" {
			return ed25519.VerifyWithOptions(key, digest, signature, &ed25519.Options{Hash: crypto.SHA512})
		}
		ok = ed25519.Verify(key, message, signature)
	}
	if !ok {
		return errors.New("does not verify")
	}
	return nil
}

func verifyK1(public, digest, signature []byte) error {
	key, err := secp256k1.ParsePubKey(public[len(public)-65:])
	if err != nil {
		return err
	}
	parsed, err := k1.ParseDERSignature(signature)
	if err != nil {
		return err
	}
	if !parsed.Verify(digest, key) {
		return errors.New("does not verify")
	}
	return nil
}

// rawMLDSA is the encoded key at the end of a SubjectPublicKeyInfo.
func rawMLDSA(public []byte) (mldsa.Parameters, []byte) {
	const head = 22
	params := map[int]mldsa.Parameters{1312: mldsa.MLDSA44(), 1952: mldsa.MLDSA65(), 2592: mldsa.MLDSA87()}
	return params[len(public)-head], public[head:]
}

func verifyMLDSA(public, message, signature []byte) error {
	params, raw := rawMLDSA(public)
	key, err := mldsa.NewPublicKey(params, raw)
	if err != nil {
		return err
	}
	return mldsa.Verify(key, message, signature, nil)
}

// mu is that of FIPS 204, algorithm 7, with an empty context.
func mu(public, message []byte) []byte {
	_, raw := rawMLDSA(public)
	prefix := append(sha3.SumSHAKE256(raw, 64), 0, 0)
	return sha3.SumSHAKE256(append(prefix, message...), 64)
}

// signatures are the algorithms of each spec, and the message types of each.
func signatures() map[types.KeySpec]map[types.SigningAlgorithmSpec][]types.MessageType {
	both := []types.MessageType{"RAW", "DIGEST"}
	rsa := map[types.SigningAlgorithmSpec][]types.MessageType{}
	for _, a := range types.SigningAlgorithmSpec("").Values() {
		if strings.HasPrefix(string(a), "RSASSA") {
			rsa[a] = both
		}
	}
	pq := map[types.SigningAlgorithmSpec][]types.MessageType{"ML_DSA_SHAKE_256": {"RAW", "EXTERNAL_MU"}}
	return map[types.KeySpec]map[types.SigningAlgorithmSpec][]types.MessageType{
		"RSA_2048": rsa, "RSA_3072": rsa, "RSA_4096": rsa,
		"ECC_NIST_P256": {"ECDSA_SHA_256": both}, "ECC_NIST_P384": {"ECDSA_SHA_384": both}, "ECC_NIST_P521": {"ECDSA_SHA_512": both},
		"ECC_SECG_P256K1":       {"ECDSA_SHA_256": both},
		"ECC_NIST_EDWARDS25519": {"ED25519_SHA_512": {"RAW"}, "ED25519_PH_SHA_512": {"DIGEST"}},
		"ML_DSA_44":             pq, "ML_DSA_65": pq, "ML_DSA_87": pq,
	}
}

// TestSignVerify signs with every spec, algorithm and type of message, in the
// HSM and in memory, and verifies with the service and with Go.
func TestSignVerify(t *testing.T) {
	s := newServer(t)
	for spec, algorithms := range signatures() {
		for _, protection := range []string{"", "memory"} {
			if testing.Short() && (spec == "RSA_3072" || spec == "RSA_4096") {
				continue
			}
			t.Run(fmt.Sprint(spec, protection), func(t *testing.T) {
				arn := s.keyOf(spec, "SIGN_VERIFY", protection)
				public := s.publicKey(arn)
				for algorithm, kinds := range algorithms {
					for _, kind := range kinds {
						s.signAndVerify(t, arn, public, algorithm, kind)
					}
				}
			})
		}
	}
}

func (s *server) signAndVerify(t *testing.T, arn string, public []byte, algorithm types.SigningAlgorithmSpec, kind types.MessageType) {
	t.Helper()
	message := []byte("message of " + string(algorithm))
	input := message
	switch kind {
	case "DIGEST":
		input = sum(hashNamed(algorithm), message)
	case "EXTERNAL_MU":
		input = mu(public, message)
	}
	c := s.admin()
	signed, err := c.Sign(ctx, &kms.SignInput{KeyId: &arn, Message: input, MessageType: kind, SigningAlgorithm: algorithm})
	must(t, err)
	if *signed.KeyId != arn || signed.SigningAlgorithm != algorithm {
		t.Errorf("%s %s: %+v", algorithm, kind, signed)
	}
	if err := verifyOutside(public, message, algorithm, signed.Signature); err != nil {
		t.Errorf("%s %s outside: %v", algorithm, kind, err)
	}
	verify := func(message, signature []byte) error {
		out, err := c.Verify(ctx, &kms.VerifyInput{KeyId: &arn, Message: message, MessageType: kind, Signature: signature, SigningAlgorithm: algorithm})
		if err == nil && (!out.SignatureValid || *out.KeyId != arn || out.SigningAlgorithm != algorithm) {
			t.Errorf("%s %s: %+v", algorithm, kind, out)
		}
		return err
	}
	must(t, verify(input, signed.Signature))
	other := append([]byte(nil), input...)
	other[0] ^= 1
	wantError(t, verify(other, signed.Signature), "KMSInvalidSignatureException", "-")
	for _, signature := range [][]byte{{1}, make([]byte, 6144), signed.Signature[1:], append(signed.Signature[:len(signed.Signature):len(signed.Signature)], 0)} {
		wantError(t, verify(input, signature), "KMSInvalidSignatureException", "-")
	}
}

// TestSigningRefusals: what does not go together, in AWS's words, of Sign and
// Verify alike.
func TestSigningRefusals(t *testing.T) {
	s := newServer(t)
	c := s.admin()
	keys := map[types.KeySpec]string{}
	for _, spec := range []types.KeySpec{"RSA_2048", "ECC_NIST_P256", "ECC_NIST_EDWARDS25519", "ML_DSA_44"} {
		keys[spec] = s.keyOf(spec, "SIGN_VERIFY", "")
	}
	dry := "The request would have succeeded, but the DryRun option is set."
	for _, tc := range []struct {
		spec      types.KeySpec
		algorithm types.SigningAlgorithmSpec
		kind      types.MessageType
		size      int
		dryRun    bool
		code      string
		message   string
	}{
		{"ECC_NIST_P256", "ECDSA_SHA_384", "DIGEST", 20, false, "InvalidKeyUsageException", "Algorithm ECDSA_SHA_384 is incompatible with key spec ECC_NIST_P256."},
		{"ECC_NIST_P256", "RSASSA_PSS_SHA_256", "RAW", 20, false, "InvalidKeyUsageException", "Algorithm RSASSA_PSS_SHA_256 is incompatible with key spec ECC_NIST_P256."},
		{"ECC_NIST_P256", "SM2DSA", "RAW", 20, false, "InvalidKeyUsageException", "Algorithm SM2DSA is incompatible with key spec ECC_NIST_P256."},
		{"RSA_2048", "ECDSA_SHA_256", "RAW", 20, false, "InvalidKeyUsageException", "Algorithm ECDSA_SHA_256 is incompatible with key spec RSA_2048."},
		{"ECC_NIST_EDWARDS25519", "ECDSA_SHA_512", "RAW", 20, false, "InvalidKeyUsageException", "Algorithm ECDSA_SHA_512 is incompatible with key spec ECC_NIST_EDWARDS25519."},
		{"ECC_NIST_P256", "ECDSA_SHA_256", "DIGEST", 20, false, "ValidationException", "Digest is invalid length for algorithm ECDSA_SHA_256."},
		{"ECC_NIST_P256", "ECDSA_SHA_256", "DIGEST", 48, false, "ValidationException", "Digest is invalid length for algorithm ECDSA_SHA_256."},
		{"RSA_2048", "RSASSA_PSS_SHA_384", "DIGEST", 32, false, "ValidationException", "Digest is invalid length for algorithm RSASSA_PSS_SHA_384."},
		{"RSA_2048", "RSASSA_PKCS1_V1_5_SHA_512", "DIGEST", 63, false, "ValidationException", "Digest is invalid length for algorithm RSASSA_PKCS1_V1_5_SHA_512."},
		{"ECC_NIST_EDWARDS25519", "ED25519_PH_SHA_512", "DIGEST", 20, false, "ValidationException", "Digest is invalid length for algorithm ED25519_PH_SHA_512."},
		{"ECC_NIST_EDWARDS25519", "ED25519_PH_SHA_512", "RAW", 64, false, "ValidationException", "Message type RAW is incompatible with algorithm ED25519_PH_SHA_512."},
		{"ECC_NIST_EDWARDS25519", "ED25519_PH_SHA_512", "", 64, false, "ValidationException", "Message type RAW is incompatible with algorithm ED25519_PH_SHA_512."},
		{"ECC_NIST_EDWARDS25519", "ED25519_SHA_512", "DIGEST", 64, false, "ValidationException", "Message type DIGEST is incompatible with algorithm ED25519_SHA_512."},
		{"ML_DSA_44", "ML_DSA_SHAKE_256", "DIGEST", 64, false, "ValidationException", "Message type DIGEST is incompatible with key spec ML_DSA_44."},
		{"ML_DSA_44", "ML_DSA_SHAKE_256", "EXTERNAL_MU", 63, false, "ValidationException", "Digest is invalid length for algorithm ML_DSA_SHAKE_256."},
		{"RSA_2048", "RSASSA_PSS_SHA_256", "EXTERNAL_MU", 64, false, "ValidationException", "Message type EXTERNAL_MU is incompatible with key spec RSA_2048."},
		{"ECC_NIST_P256", "ECDSA_SHA_256", "DIGEST", 20, true, "ValidationException", "Digest is invalid length for algorithm ECDSA_SHA_256."},
		{"ECC_NIST_P256", "ECDSA_SHA_256", "DIGEST", 32, true, "DryRunOperationException", dry},
		{"ML_DSA_44", "ML_DSA_SHAKE_256", "EXTERNAL_MU", 64, true, "DryRunOperationException", dry},
	} {
		key, message := keys[tc.spec], make([]byte, tc.size)
		_, err := c.Sign(ctx, &kms.SignInput{KeyId: &key, Message: message, MessageType: tc.kind, SigningAlgorithm: tc.algorithm, DryRun: &tc.dryRun})
		wantError(t, err, tc.code, tc.message)
		_, err = c.Verify(ctx, &kms.VerifyInput{KeyId: &key, Message: message, MessageType: tc.kind, SigningAlgorithm: tc.algorithm, DryRun: &tc.dryRun, Signature: []byte("x")})
		wantError(t, err, tc.code, tc.message)
	}
}

func TestGetPublicKey(t *testing.T) {
	s := newServer(t)
	c := s.admin()
	arn := s.keyOf("ECC_NIST_P256", "KEY_AGREEMENT", "")
	_, err := c.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: ptr("alias/pair"), TargetKeyId: &arn})
	must(t, err)
	out, err := c.GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: ptr("alias/pair")})
	must(t, err)
	if *out.KeyId != arn || out.KeySpec != "ECC_NIST_P256" || out.CustomerMasterKeySpec != "ECC_NIST_P256" || out.KeyUsage != "KEY_AGREEMENT" ||
		len(out.KeyAgreementAlgorithms) != 1 || out.SigningAlgorithms != nil || out.EncryptionAlgorithms != nil {
		t.Errorf("%+v", out)
	}
	for spec, size := range map[types.KeySpec]int{"ECC_NIST_EDWARDS25519": 44, "ML_DSA_44": 1334, "ML_DSA_65": 1974, "ML_DSA_87": 2614} {
		if got := len(s.publicKey(s.keyOf(spec, "SIGN_VERIFY", ""))); got != size {
			t.Errorf("%s: %d bytes, want %d", spec, got, size)
		}
	}
	get := func(arn string) error { _, err := c.GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: &arn}); return err }
	_, err = c.DisableKey(ctx, &kms.DisableKeyInput{KeyId: &arn})
	must(t, err)
	must(t, get(arn))
	_, err = c.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &arn})
	must(t, err)
	wantError(t, get(arn), "KMSInvalidStateException", arn+" is pending deletion.")
	_, external := s.externalKey("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
	wantError(t, get(external), "KMSInvalidStateException", external+" is pending import.")
	for spec, usage := range map[types.KeySpec]types.KeyUsageType{"SYMMETRIC_DEFAULT": "ENCRYPT_DECRYPT", "HMAC_256": "GENERATE_VERIFY_MAC"} {
		wantError(t, get(s.keyOf(spec, usage, "")), "UnsupportedOperationException", "-")
	}
}
