// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sidekey/sidekey/keysvc/memkey"
)

// body is the JSON of an input.
func body(t testing.TB, members map[string]any) string {
	t.Helper()
	raw, err := json.Marshal(members)
	must(t, err)
	return string(raw)
}

// FuzzImport: what is no import token of this key, or does not open under it,
// is refused without an internal error, and the key stays without material.
func FuzzImport(f *testing.F) {
	s := newServer(f)
	c := s.admin()
	id, _ := s.externalKey("ECC_NIST_P256", "SIGN_VERIFY")
	other, _ := s.externalKey("ECC_NIST_P256", "SIGN_VERIFY")
	private, _, err := memkey.Generate("ECC_NIST_P256")
	must(f, err)
	good := s.wrapFor(id, "RSA_AES_KEY_WRAP_SHA_256", "RSA_2048", private)
	theirs := s.wrapFor(other, "RSA_AES_KEY_WRAP_SHA_256", "RSA_2048", private)
	f.Add(good.ImportToken, []byte{0})
	f.Add(good.ImportToken, good.EncryptedKeyMaterial[:256])
	f.Add(good.ImportToken, theirs.EncryptedKeyMaterial)
	f.Add(theirs.ImportToken, theirs.EncryptedKeyMaterial)
	f.Add(append(slices.Clone(good.ImportToken), ' '), good.EncryptedKeyMaterial)
	f.Add(good.ImportToken[:32], good.EncryptedKeyMaterial)
	f.Add([]byte("{}"), []byte("x"))
	allowed := []string{"InvalidImportTokenException", "InvalidCiphertextException", "IncorrectKeyMaterialException", "ValidationException"}
	f.Fuzz(func(t *testing.T, token, wrapped []byte) {
		s.t = t
		if slices.Equal(token, good.ImportToken) && slices.Equal(wrapped, good.EncryptedKeyMaterial) {
			return
		}
		got := s.post("ImportKeyMaterial", body(t, map[string]any{
			"KeyId": id, "ImportToken": token, "EncryptedKeyMaterial": wrapped, "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}))
		if !slices.Contains(allowed, got.code()) {
			t.Errorf("%d %s", got.status, got.body)
		}
		if state := describe(t, c, id).KeyState; state != "PendingImport" {
			t.Errorf("the key is %s", state)
		}
	})
}

// FuzzGrantToken: only tokens that the service has given out are taken.
func FuzzGrantToken(f *testing.F) {
	s := newServer(f)
	id, _ := s.newKey()
	_, token := s.grant(id, kms.CreateGrantInput{Operations: operations{"Decrypt"}})
	raw, err := base64.StdEncoding.DecodeString(token)
	must(f, err)
	f.Add(token + "=")
	f.Add(token[1:])
	f.Add(base64.StdEncoding.EncodeToString(append(raw, 0)))
	f.Add(base64.StdEncoding.EncodeToString(raw[:97]))
	f.Add(base64.RawURLEncoding.EncodeToString(raw))
	f.Fuzz(func(t *testing.T, given string) {
		s.t = t
		if given == token {
			return
		}
		for op, members := range map[string]map[string]any{
			"RetireGrant": {"GrantToken": given}, "DescribeKey": {"KeyId": id, "GrantTokens": []string{given}},
		} {
			if got := s.post(op, body(t, members)); !slices.Contains([]string{"InvalidGrantTokenException", "ValidationException"}, got.code()) {
				t.Errorf("%s: %d %s", op, got.status, got.body)
			}
		}
	})
}

// FuzzAlgorithms: messages, digests, signatures, MACs, ciphertexts and public
// keys of any bytes get an answer of AWS, and nothing made up is authentic.
func FuzzAlgorithms(f *testing.F) {
	s := newServer(f)
	sign := map[types.SigningAlgorithmSpec]string{
		"ECDSA_SHA_256":                 s.keyOf("ECC_NIST_P256", "SIGN_VERIFY", ""),
		"RSASSA_PSS_SHA_256":            s.keyOf("RSA_2048", "SIGN_VERIFY", ""),
		"RSASSA_PKCS1_V1_5_SHA_512":     s.keyOf("RSA_2048", "SIGN_VERIFY", "memory"),
		"ED25519_SHA_512":               s.keyOf("ECC_NIST_EDWARDS25519", "SIGN_VERIFY", ""),
		"ED25519_PH_SHA_512":            s.keyOf("ECC_NIST_EDWARDS25519", "SIGN_VERIFY", "memory"),
		"ML_DSA_SHAKE_256":              s.keyOf("ML_DSA_44", "SIGN_VERIFY", ""),
		types.SigningAlgorithmSpec("x"): s.keyOf("ECC_SECG_P256K1", "SIGN_VERIFY", ""),
	}
	mac, agree := s.keyOf("HMAC_256", "GENERATE_VERIFY_MAC", ""), s.keyOf("ECC_NIST_P384", "KEY_AGREEMENT", "")
	rsa := s.keyOf("RSA_2048", "ENCRYPT_DECRYPT", "")
	_, peer, err := memkey.Generate("ECC_NIST_P384")
	must(f, err)
	f.Add([]byte("message"), []byte("signature"), "RAW")
	f.Add(make([]byte, 32), []byte{0x30, 6, 2, 1, 0, 2, 1, 0}, "DIGEST")
	f.Add(make([]byte, 64), make([]byte, 64), "DIGEST")
	f.Add(make([]byte, 64), make([]byte, 2420), "EXTERNAL_MU")
	f.Add([]byte("x"), peer, "")
	f.Add([]byte("x"), peer[:len(peer)-1], "RAW")
	f.Add(make([]byte, 256), make([]byte, 256), "RAW")
	codes := []string{"", "ValidationException", "InvalidKeyUsageException"}
	f.Fuzz(func(t *testing.T, message, given []byte, kind string) {
		s.t = t
		want := func(op string, members map[string]any, more ...string) {
			t.Helper()
			got := s.post(op, body(t, members))
			if got.status >= 500 || !slices.Contains(append(more, codes...), got.code()) || got.status == 200 && len(more) > 0 {
				t.Errorf("%s: %d %s", op, got.status, got.body)
			}
		}
		for algorithm, key := range sign {
			if algorithm == "x" {
				algorithm = "ECDSA_SHA_256"
			}
			members := map[string]any{"KeyId": key, "Message": message, "SigningAlgorithm": algorithm}
			if kind != "" {
				members["MessageType"] = kind
			}
			want("Sign", members)
			members["Signature"] = given
			want("Verify", members, "KMSInvalidSignatureException")
		}
		want("VerifyMac", map[string]any{"KeyId": mac, "Message": message, "Mac": given, "MacAlgorithm": "HMAC_SHA_256"}, "KMSInvalidMacException")
		want("DeriveSharedSecret", map[string]any{"KeyId": agree, "KeyAgreementAlgorithm": "ECDH", "PublicKey": given})
		want("Decrypt", map[string]any{"KeyId": rsa, "CiphertextBlob": given, "EncryptionAlgorithm": "RSAES_OAEP_SHA_256"}, "InvalidCiphertextException")
		want("Decrypt", map[string]any{"CiphertextBlob": given}, "InvalidCiphertextException", "AccessDeniedException")
	})
}

// quoted is a string in JSON.
func quoted(t testing.TB, s string) string {
	t.Helper()
	raw, err := json.Marshal(s)
	must(t, err)
	return string(raw)
}
