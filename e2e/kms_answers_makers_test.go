// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/ecdh"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
)

// An answerMaker makes what a placeholder {name rest} stands for.
type answerMaker func(t *testing.T, a *answers, rest string) string

// answerMakers are the placeholders for what must be made by calls:
//
//	{signature ecc}  a signature of "message" by the key
//	{mac hmac}       a MAC of "message"
//	{peer p384}      somebody else's public key on the curve
//	{grant granted}  the ID of a grant on the key, {token granted} its token
//	{import ext-in}  members ImportToken and EncryptedKeyMaterial with new
//	                 material of 32 bytes, {reimport ext-in} with the last one
//	{import16 ext}   the same with 16 bytes
func answerMakers() map[string]answerMaker {
	return map[string]answerMaker{
		"signature": func(t *testing.T, a *answers, key string) string {
			return a.member(t, "Sign", `{"KeyId":"`+a.key(t, key)+`","Message":"`+message+`","SigningAlgorithm":"`+signingAlgorithm(key)+`"}`, "Signature")
		},
		"mac": func(t *testing.T, a *answers, key string) string {
			return a.member(t, "GenerateMac", `{"KeyId":"`+a.key(t, key)+`","Message":"`+message+`","MacAlgorithm":"HMAC_SHA_256"}`, "Mac")
		},
		"peer":     makePeer,
		"grant":    func(t *testing.T, a *answers, key string) string { return a.makeGrant(t, key, "GrantId") },
		"token":    func(t *testing.T, a *answers, key string) string { return a.makeGrant(t, key, "GrantToken") },
		"import":   func(t *testing.T, a *answers, key string) string { return a.newImport(t, key, 32) },
		"import16": func(t *testing.T, a *answers, key string) string { return a.newImport(t, key, 16) },
		"reimport": func(t *testing.T, a *answers, key string) string { return a.wrapped(t, key, a.made["material "+key]) },
	}
}

// message is "message" in base64, digest its SHA-256.
var (
	message = base64.StdEncoding.EncodeToString([]byte("message"))
	digest  = func() string {
		sum := sha256.Sum256([]byte("message"))
		return base64.StdEncoding.EncodeToString(sum[:])
	}()
)

func signingAlgorithm(key string) string {
	switch {
	case strings.HasPrefix(key, "sign"):
		return "RSASSA_PSS_SHA_256"
	case key == "ed":
		return "ED25519_SHA_512"
	case key == "mldsa":
		return "ML_DSA_SHAKE_256"
	default:
		return "ECDSA_SHA_256"
	}
}

// member is one member of the answer to a call that must succeed.
func (a *answers) member(t *testing.T, op, in, name string) string {
	t.Helper()
	answer := a.call(t, op, in)
	var members map[string]any
	if err := json.Unmarshal(answer.body, &members); err != nil {
		t.Fatalf("%s: %s", op, answer)
	}
	text, ok := members[name].(string)
	if !ok {
		t.Fatalf("%s: %s", op, answer)
	}
	return text
}

func makePeer(t *testing.T, _ *answers, curve string) string {
	t.Helper()
	curves := map[string]ecdh.Curve{"p256": ecdh.P256(), "p384": ecdh.P384(), "p521": ecdh.P521()}
	private, err := curves[curve].GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(private.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

// makeGrant remembers one grant for each key.
func (a *answers) makeGrant(t *testing.T, key, member string) string {
	t.Helper()
	if a.made[member+" "+key] == "" {
		answer := a.call(t, "CreateGrant", `{"KeyId":"`+a.key(t, key)+`","GranteePrincipal":"`+appARN+`","Operations":["Decrypt"]}`)
		var made struct{ GrantId, GrantToken string }
		if err := json.Unmarshal(answer.body, &made); err != nil || made.GrantId == "" {
			t.Fatalf("CreateGrant: %s", answer)
		}
		a.made["GrantId "+key], a.made["GrantToken "+key] = made.GrantId, made.GrantToken
	}
	return a.made[member+" "+key]
}

func (a *answers) newImport(t *testing.T, key string, size int) string {
	t.Helper()
	material := make([]byte, size)
	rand.Read(material)
	a.made["material "+key] = string(material)
	return a.wrapped(t, key, string(material))
}

// wrapped asks for import parameters and wraps material with them.
func (a *answers) wrapped(t *testing.T, key, material string) string {
	t.Helper()
	answer := a.call(t, "GetParametersForImport", `{"KeyId":"`+a.key(t, key)+`","WrappingAlgorithm":"RSAES_OAEP_SHA_256","WrappingKeySpec":"RSA_2048"}`)
	var parameters struct{ ImportToken, PublicKey []byte }
	if err := json.Unmarshal(answer.body, &parameters); err != nil || parameters.PublicKey == nil {
		t.Fatalf("GetParametersForImport: %s", answer)
	}
	public, err := x509.ParsePKIXPublicKey(parameters.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, public.(*rsa.PublicKey), []byte(material), nil)
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.StdEncoding.EncodeToString
	return `"ImportToken":"` + encode(parameters.ImportToken) + `","EncryptedKeyMaterial":"` + encode(sealed) + `"`
}
