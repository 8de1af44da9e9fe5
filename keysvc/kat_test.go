// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sidekey/sidekey/keysvc/memkey"
)

// knownAnswer is one case of testdata/kat or of package memkey's known answers,
// which have the same form. Binary values are hexadecimal, or name one of the
// file's values.
type knownAnswer struct {
	Comment, Source, Operation, Spec, Options  string
	Public, Material, Input, Signature, Output string
	Result                                     string // valid, invalid, or acceptable: either is sound
	Answer                                     string // what sidekey says to an acceptable one
}

type knownAnswers struct {
	Values map[string]string
	Keys   []struct{ Source, Spec, Material string } // whose public halves are in the cases
	Cases  []knownAnswer
}

// tried is a known answer on its way through the service.
type tried struct {
	*server
	t    *testing.T
	file *knownAnswers
	knownAnswer
	keys map[string]string // materials, by public key
	arns map[string]string // imported keys, by usage and material
}

func (c *tried) bytes(value string) []byte {
	c.t.Helper()
	if strings.HasPrefix(value, "$") {
		value = c.file.Values[value]
	}
	b, err := hex.DecodeString(value)
	must(c.t, err)
	return b
}

// TestKnownAnswers imports the keys of published and of generated known answers
// as a caller does, and compares what the service then says.
func TestKnownAnswers(t *testing.T) {
	var files []*knownAnswers
	for _, pattern := range []string{"testdata/kat/*.json", "memkey/testdata/vectors/*.json"} {
		names, err := filepath.Glob(pattern)
		must(t, err)
		for _, name := range names {
			raw, err := os.ReadFile(name)
			must(t, err)
			file := &knownAnswers{}
			must(t, json.Unmarshal(raw, file))
			files = append(files, file)
		}
	}
	keys, arns, done := knownKeys(t, files), map[string]string{}, map[string]int{}
	s := newServer(t)
	for _, file := range files {
		for _, c := range file.Cases {
			if testing.Short() && strings.HasPrefix(c.Spec, "RSA_3") {
				continue
			}
			try := &tried{server: s, t: t, file: file, knownAnswer: c, keys: keys, arns: arns}
			if got := try.run(); got != "" {
				done[c.Operation+" "+c.Spec+" "+got]++
			}
		}
	}
	enough(t, done)
}

// knownKeys finds the private keys.
func knownKeys(t *testing.T, files []*knownAnswers) map[string]string {
	keys := map[string]string{}
	for _, file := range files {
		add := func(spec, material string) {
			m := (&tried{t: t, file: file}).bytes(material)
			if public, err := memkey.Public(spec, m); err == nil && public != nil {
				keys[string(public)] = string(m)
			}
		}
		for _, k := range file.Keys {
			add(k.Spec, k.Material)
		}
		for _, c := range file.Cases {
			add(c.Spec, c.Material)
		}
	}
	return keys
}

// enough fails if an algorithm was left out.
func enough(t *testing.T, done map[string]int) {
	t.Helper()
	for what, least := range map[string]int{
		"verify RSA_2048 valid": 12, "verify RSA_2048 invalid": 140, "decrypt RSA_2048 valid": 20, "decrypt RSA_2048 invalid": 30,
		"verify ECC_NIST_P256 valid": 4, "verify ECC_NIST_P256 invalid": 30, "verify ECC_NIST_P384 valid": 4, "verify ECC_NIST_P384 invalid": 30,
		"verify ECC_NIST_P521 valid": 4, "verify ECC_NIST_P521 invalid": 30, "verify ECC_SECG_P256K1 valid": 3, "verify ECC_SECG_P256K1 invalid": 30,
		"verify ECC_NIST_EDWARDS25519 valid": 3, "sign ECC_NIST_EDWARDS25519 valid": 3,
		"verify ML_DSA_44 valid": 6, "verify ML_DSA_65 valid": 6, "verify ML_DSA_87 valid": 6, "verify ML_DSA_87 invalid": 35,
		"agree ECC_NIST_P256 valid": 4, "agree ECC_NIST_P384 valid": 4, "agree ECC_NIST_P521 valid": 4, "agree ECC_NIST_P256 invalid": 20,
		"mac HMAC_224 valid": 2, "mac HMAC_256 valid": 2, "mac HMAC_384 valid": 2, "mac HMAC_512 valid": 2,
	} {
		if done[what] < least {
			t.Errorf("%d cases of %s, want at least %d", done[what], what, least)
		}
	}
}

// run says what the service answers: valid, invalid, or "" if the case cannot
// be put to it.
func (c *tried) run() string {
	var output []byte
	var err error
	switch c.Operation {
	case "verify":
		output, err = c.verify()
	case "sign":
		output, err = c.sign()
	case "mac":
		output, err = c.mac()
	case "decrypt":
		output, err = c.decrypt()
	case "agree":
		output, err = c.agree()
	default: // of the package, not of the service
		return ""
	}
	if err == errUntold {
		return ""
	}
	got, want := "valid", c.Result
	if want == "acceptable" {
		want = c.Answer
	}
	if err != nil {
		got = "invalid"
		if code := codeOf(err); !strings.HasPrefix(code, "KMSInvalid") && code != "InvalidCiphertextException" && code != "ValidationException" {
			c.t.Errorf("%s %s: %s (%s): %v", c.Operation, c.Spec, c.Comment, c.Source, err)
		}
	}
	if got != want || got == "valid" && !bytes.Equal(output, c.bytes(c.expected())) {
		c.t.Errorf("%s %s %s: %s (%s): got %s %x, %v, want %s", c.Operation, c.Spec, c.Options, c.Comment, c.Source, got, output, err, want)
	}
	return got
}

var errUntold = fmt.Errorf("not a case for the service")

func (c *tried) expected() string {
	if c.Operation == "sign" {
		return c.Signature
	}
	return c.Output
}

// imported is the ARN of a key of the material.
func (c *tried) imported(usage types.KeyUsageType, material []byte) (string, error) {
	name := string(usage) + c.Spec + string(material)
	if arn, ok := c.arns[name]; ok {
		return arn, nil
	}
	id, arn := c.externalKey(types.KeySpec(c.Spec), usage)
	_, err := c.admin().ImportKeyMaterial(ctx, c.wrapFor(id, "RSA_AES_KEY_WRAP_SHA_256", "RSA_2048", material))
	if err == nil {
		c.arns[name] = arn
	}
	return arn, err
}

// told reports whether the API takes an input of that length.
func told(b []byte) bool { return len(b) >= 1 && len(b) <= 4096 }

func (c *tried) signing() (types.SigningAlgorithmSpec, types.MessageType) {
	hash := strings.TrimPrefix(strings.TrimPrefix(c.Options, "PSS-"), "SHA")
	switch {
	case c.Options == "PURE":
		return "ML_DSA_SHAKE_256", "RAW"
	case c.Options == "MU":
		return "ML_DSA_SHAKE_256", "EXTERNAL_MU"
	case c.Options == "ED25519":
		return "ED25519_SHA_512", "RAW"
	case c.Spec == "ECC_NIST_EDWARDS25519":
		return "ED25519_PH_SHA_512", "DIGEST"
	case strings.HasPrefix(c.Options, "PSS-"):
		return types.SigningAlgorithmSpec("RSASSA_PSS_SHA_" + hash), "DIGEST"
	case strings.HasPrefix(c.Spec, "RSA"):
		return types.SigningAlgorithmSpec("RSASSA_PKCS1_V1_5_SHA_" + hash), "DIGEST"
	}
	return types.SigningAlgorithmSpec("ECDSA_SHA_" + hash), "DIGEST"
}

func (c *tried) verify() ([]byte, error) {
	material, ok := c.keys[string(c.bytes(c.Public))]
	message, signature := c.bytes(c.Input), c.bytes(c.Signature)
	if !ok || !told(message) || len(signature) == 0 || len(signature) > 6144 {
		return nil, errUntold
	}
	arn, err := c.imported("SIGN_VERIFY", []byte(material))
	must(c.t, err)
	algorithm, kind := c.signing()
	_, err = c.admin().Verify(ctx, &kms.VerifyInput{KeyId: &arn, Message: message, MessageType: kind, Signature: signature, SigningAlgorithm: algorithm})
	return nil, err
}

func (c *tried) sign() ([]byte, error) {
	if !told(c.bytes(c.Input)) {
		return nil, errUntold
	}
	arn, err := c.imported("SIGN_VERIFY", c.bytes(c.Material))
	must(c.t, err)
	algorithm, kind := c.signing()
	out, err := c.admin().Sign(ctx, &kms.SignInput{KeyId: &arn, Message: c.bytes(c.Input), MessageType: kind, SigningAlgorithm: algorithm})
	if err != nil {
		return nil, err
	}
	return out.Signature, nil
}

func (c *tried) mac() ([]byte, error) {
	message, material := c.bytes(c.Input), c.bytes(c.Material)
	if !told(message) || c.Result != "valid" { // an invalid one is a wrong key
		return nil, errUntold
	}
	if _, err := memkey.Canonical(c.Spec, material); err != nil { // published with a key of another length than AWS imports
		return nil, errUntold
	}
	arn, err := c.imported("GENERATE_VERIFY_MAC", material)
	must(c.t, err)
	out, err := c.admin().GenerateMac(ctx, &kms.GenerateMacInput{KeyId: &arn, Message: message, MacAlgorithm: types.MacAlgorithmSpec("HMAC_SHA_" + c.Spec[5:])})
	if err != nil {
		return nil, err
	}
	return out.Mac, nil
}

func (c *tried) decrypt() ([]byte, error) {
	arn, err := c.imported("ENCRYPT_DECRYPT", c.bytes(c.Material))
	must(c.t, err)
	algorithm := types.EncryptionAlgorithmSpec("RSAES_OAEP_SHA_" + strings.TrimPrefix(c.Options, "SHA"))
	out, err := c.admin().Decrypt(ctx, &kms.DecryptInput{KeyId: &arn, CiphertextBlob: c.bytes(c.Input), EncryptionAlgorithm: algorithm})
	if err != nil {
		return nil, err
	}
	return out.Plaintext, nil
}

func (c *tried) agree() ([]byte, error) {
	if len(c.bytes(c.Public)) == 0 {
		return nil, errUntold
	}
	arn, err := c.imported("KEY_AGREEMENT", c.bytes(c.Material))
	must(c.t, err)
	out, err := c.admin().DeriveSharedSecret(ctx, &kms.DeriveSharedSecretInput{KeyId: &arn, PublicKey: c.bytes(c.Public), KeyAgreementAlgorithm: "ECDH"})
	if err != nil {
		return nil, err
	}
	return out.SharedSecret, nil
}
