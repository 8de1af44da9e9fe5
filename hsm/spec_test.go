// SPDX-License-Identifier: Apache-2.0

package hsm_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/pkcs11"

	"github.com/sidekey/sidekey/hsm"
)

// specs are those that SoftHSM does, the dear ones last.
var specs = []string{
	"HMAC_224", "HMAC_256", "HMAC_384", "HMAC_512",
	"ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521", "ECC_SECG_P256K1",
	"RSA_2048", "RSA_3072", "RSA_4096",
}

var (
	ctx     = context.Background()
	macs    = map[string]crypto.Hash{"HMAC_224": crypto.SHA224, "HMAC_256": crypto.SHA256, "HMAC_384": crypto.SHA384, "HMAC_512": crypto.SHA512}
	curves  = map[string]elliptic.Curve{"ECC_NIST_P256": elliptic.P256(), "ECC_NIST_P384": elliptic.P384(), "ECC_NIST_P521": elliptic.P521()}
	moduli  = map[string]int{"RSA_2048": 2048, "RSA_3072": 3072, "RSA_4096": 4096}
	hashes  = []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512}
	oidK1   = asn1.ObjectIdentifier{1, 3, 132, 0, 10}
	oidECPK = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
)

type spki struct {
	Algorithm struct{ Algorithm, Curve asn1.ObjectIdentifier }
	Key       asn1.BitString
}

func digestOf(h crypto.Hash, text []byte) []byte {
	d := h.New()
	d.Write(text)
	return d.Sum(nil)
}

func generateFor(t testing.TB, tok *hsm.Token, spec string) (wrapped, public []byte) {
	t.Helper()
	wrapped, public, err := tok.GenerateKeyFor(ctx, spec)
	if err != nil {
		t.Fatalf("GenerateKeyFor %s: %v", spec, err)
	}
	return wrapped, public
}

// use does all that a key of the spec is for and compares with Go. mac is the
// key of an HMAC spec if it is known.
func use(t testing.TB, tok *hsm.Token, spec string, wrapped, public, mac []byte) {
	t.Helper()
	switch {
	case macs[spec] != 0:
		useMAC(t, tok, spec, wrapped, mac)
	case moduli[spec] != 0:
		key, err := x509.ParsePKIXPublicKey(public)
		if err != nil || key.(*rsa.PublicKey).N.BitLen() != moduli[spec] || key.(*rsa.PublicKey).E != 65537 {
			t.Fatalf("public key of %s: %v, %v", spec, key, err)
		}
		useRSA(t, tok, spec, wrapped, key.(*rsa.PublicKey))
	case curves[spec] != nil:
		key, err := x509.ParsePKIXPublicKey(public)
		if err != nil || key.(*ecdsa.PublicKey).Curve != curves[spec] {
			t.Fatalf("public key of %s: %v, %v", spec, key, err)
		}
		useEC(t, tok, spec, wrapped, key.(*ecdsa.PublicKey))
	default:
		useK1(t, tok, spec, wrapped, public)
	}
}

func sign(t testing.TB, tok *hsm.Token, spec string, wrapped []byte, opts crypto.SignerOpts) (digest, signature []byte) {
	t.Helper()
	digest = digestOf(opts.HashFunc(), text1)
	signature, err := tok.Sign(ctx, spec, wrapped, digest, opts)
	if err != nil {
		t.Fatalf("Sign with %s and %v: %v", spec, opts.HashFunc(), err)
	}
	return digest, signature
}

func useMAC(t testing.TB, tok *hsm.Token, spec string, wrapped, key []byte) {
	t.Helper()
	got, err := tok.MAC(ctx, spec, wrapped, text1)
	if err != nil || len(got) != macs[spec].Size() {
		t.Fatalf("MAC with %s = %x, %v", spec, got, err)
	}
	other, err := tok.MAC(ctx, spec, wrapped, text1[1:])
	if err != nil || bytes.Equal(got, other) {
		t.Errorf("MAC of another text with %s = %x, %v", spec, other, err)
	}
	if key == nil {
		return
	}
	h := hmac.New(macs[spec].New, key)
	h.Write(text1)
	if want := h.Sum(nil); !bytes.Equal(got, want) {
		t.Errorf("MAC with %s = %x, want %x", spec, got, want)
	}
}

func useRSA(t testing.TB, tok *hsm.Token, spec string, wrapped []byte, public *rsa.PublicKey) {
	t.Helper()
	for _, h := range hashes {
		digest, signature := sign(t, tok, spec, wrapped, h)
		if err := rsa.VerifyPKCS1v15(public, h, digest, signature); err != nil {
			t.Errorf("%s, PKCS #1 v1.5 with %v: %v", spec, h, err)
		}
		pss := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: h}
		digest, signature = sign(t, tok, spec, wrapped, pss)
		if err := rsa.VerifyPSS(public, h, digest, signature, pss); err != nil {
			t.Errorf("%s, PSS with %v: %v", spec, h, err)
		}
	}
	for _, h := range []crypto.Hash{crypto.SHA1, crypto.SHA256} {
		for _, text := range [][]byte{{}, text1, bytes.Repeat([]byte{1}, public.Size()-2*h.Size()-2)} {
			ciphertext, err := rsa.EncryptOAEP(h.New(), rand.Reader, public, text, nil)
			if err != nil {
				t.Fatal(err)
			}
			got, ok, err := tok.DecryptOAEP(ctx, spec, wrapped, h, ciphertext)
			if err != nil || !ok || !bytes.Equal(got, text) {
				t.Errorf("%s, DecryptOAEP with %v of %d bytes = %x, %v, %v", spec, h, len(text), got, ok, err)
			}
		}
	}
}

func useEC(t testing.TB, tok *hsm.Token, spec string, wrapped []byte, public *ecdsa.PublicKey) {
	t.Helper()
	for _, h := range hashes { // longer and shorter than the order
		if digest, signature := sign(t, tok, spec, wrapped, h); !ecdsa.VerifyASN1(public, digest, signature) {
			t.Errorf("%s: the signature with %v does not verify", spec, h)
		}
	}
	own, err := public.ECDH()
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		other, der := peer(t, own.Curve())
		got, err := tok.Agree(ctx, spec, wrapped, der)
		want, wantErr := other.ECDH(own)
		if err != nil || wantErr != nil || !bytes.Equal(got, want) {
			t.Errorf("Agree with %s = %x, %v, want %x, %v", spec, got, err, want, wantErr)
		}
	}
}

func peer(t testing.TB, c ecdh.Curve) (*ecdh.PrivateKey, []byte) {
	t.Helper()
	key, err := c.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	return key, der
}

func useK1(t testing.TB, tok *hsm.Token, spec string, wrapped, public []byte) {
	t.Helper()
	var info spki
	if rest, err := asn1.Unmarshal(public, &info); err != nil || len(rest) > 0 || !info.Algorithm.Curve.Equal(oidK1) || !info.Algorithm.Algorithm.Equal(oidECPK) {
		t.Fatalf("public key of %s: %x, %v", spec, public, err)
	}
	for range 3 {
		digest, der := sign(t, tok, spec, wrapped, crypto.SHA256)
		dir := t.TempDir()
		files := map[string][]byte{"public": public, "digest": digest, "signature": der}
		for name, content := range files {
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		openssl(t, dir, "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", "public", "-in", "digest", "-sigfile", "signature")
	}
}

func openssl(t testing.TB, dir string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("openssl", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("openssl %v: %v: %s", args, err, out)
	}
	return out
}

// material is a key in clear, made in Go.
func material(t testing.TB, spec string) []byte {
	t.Helper()
	var key any
	var err error
	switch {
	case macs[spec] != 0:
		b := make([]byte, macs[spec].Size())
		rand.Read(b)
		return b
	case moduli[spec] != 0:
		key, err = rsa.GenerateKey(rand.Reader, moduli[spec])
	case curves[spec] != nil:
		key, err = ecdsa.GenerateKey(curves[spec], rand.Reader)
	default:
		return materialK1(t)
	}
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func materialK1(t testing.TB) []byte {
	t.Helper()
	dir := t.TempDir()
	openssl(t, dir, "ecparam", "-name", "secp256k1", "-genkey", "-noout", "-out", "key")
	return openssl(t, dir, "pkcs8", "-topk8", "-nocrypt", "-in", "key", "-outform", "DER")
}

type pkcs8 struct {
	Version   int
	Algorithm struct{ Algorithm, Curve asn1.ObjectIdentifier }
	Key       []byte
}

// The public half of a secp256k1 key is found without being told, and one that
// is told must be right.
func TestImportK1(t *testing.T) {
	f := newFixture(t)
	tok := f.open(f.config())
	const spec = "ECC_SECG_P256K1"
	told := materialK1(t)
	_, want, err := tok.ImportKey(ctx, spec, told)
	f.must(err)
	var outer pkcs8
	_, err = asn1.Unmarshal(told, &outer)
	f.must(err)
	var inner struct {
		Version int
		Key     []byte
		Public  asn1.BitString `asn1:"explicit,tag:1"`
	}
	_, err = asn1.Unmarshal(outer.Key, &inner)
	f.must(err)
	with := func(key []byte, more ...byte) []byte {
		own := outer
		own.Key, err = asn1.Marshal(struct {
			Version int
			Key     []byte
		}{1, key})
		f.must(err)
		own.Key[1] += byte(len(more))
		own.Key = append(own.Key, more...)
		der, err := asn1.Marshal(own)
		f.must(err)
		return der
	}
	for range 4 {
		wrapped, public, err := tok.ImportKey(ctx, spec, with(inner.Key))
		if err != nil || !bytes.Equal(public, want) {
			t.Fatalf("ImportKey = public %x, %v, want %x", public, err, want)
		}
		useK1(t, tok, spec, wrapped, public)
	}
	point := inner.Public.Bytes
	short := append([]byte{0xa1, 36, 3, 34, 0, 2 + point[64]&1}, point[1:33]...)
	if _, public, err := tok.ImportKey(ctx, spec, with(inner.Key, short...)); err != nil || !bytes.Equal(public, want) {
		t.Errorf("ImportKey with a compressed point = public %x, %v", public, err)
	}
	short[5] ^= 1
	for name, bad := range map[string][]byte{
		"wrong point": with(inner.Key, short...), "zero": with(make([]byte, 32)),
		"above the order": with(bytes.Repeat([]byte{0xff}, 32)), "short": with(inner.Key[1:]),
	} {
		if _, _, err := tok.ImportKey(ctx, spec, bad); err == nil {
			t.Errorf("ImportKey, %s: no error", name)
		}
	}
}

func TestSpecs(t *testing.T) {
	f := newFixture(t)
	tok := f.open(f.config())
	s := f.session()
	before := f.sessionKeys(s)
	for _, spec := range specs {
		if !tok.Supports(spec) {
			t.Errorf("Supports(%s) = false", spec)
		}
		if n := f.sessionKeys(s); n != before {
			t.Errorf("Supports(%s) left %d session objects", spec, n-before)
		}
		wrapped, public := generateFor(t, tok, spec)
		if n := f.sessionKeys(s); n != before {
			t.Errorf("GenerateKeyFor %s left %d session objects", spec, n-before)
		}
		use(t, tok, spec, wrapped, public, nil)
		if n := f.sessionKeys(s); n != before+1 {
			t.Errorf("%s in use: %d session objects, want 1", spec, n-before)
		}
		tok.Forget(wrapped)
		if n := f.sessionKeys(s); n != before {
			t.Errorf("%s forgotten: %d session objects, want 0", spec, n-before)
		}
	}
}

func TestSpecsUnsupported(t *testing.T) {
	f := newFixture(t)
	tok := f.open(f.config())
	for _, spec := range []string{"ECC_NIST_EDWARDS25519", "ML_DSA_44", "ML_DSA_87", "SM2", ""} {
		if tok.Supports(spec) {
			t.Errorf("Supports(%q) = true", spec)
		}
		if _, _, err := tok.GenerateKeyFor(ctx, spec); err == nil {
			t.Errorf("GenerateKeyFor %q: no error", spec)
		}
	}
	if !tok.Supports("SYMMETRIC_DEFAULT") {
		t.Error("Supports(SYMMETRIC_DEFAULT) = false")
	}
}

func TestImport(t *testing.T) {
	f := newFixture(t)
	tok := f.open(f.config())
	s := f.session()
	before := f.sessionKeys(s)
	for _, spec := range specs[:len(specs)-2] {
		clear := material(t, spec)
		kept := bytes.Clone(clear)
		wrapped, public, err := tok.ImportKey(ctx, spec, clear)
		if err != nil {
			t.Errorf("ImportKey %s: %v", spec, err)
			continue
		}
		if !bytes.Equal(clear, kept) {
			t.Errorf("ImportKey %s changed the material", spec)
		}
		if n := f.sessionKeys(s); n != before {
			t.Errorf("ImportKey %s left %d session objects", spec, n-before)
		}
		use(t, tok, spec, wrapped, public, kept)
		tok.Forget(wrapped)
		for name, bad := range map[string][]byte{
			"nil": nil, "short": kept[:len(kept)-1], "long": append(bytes.Clone(kept), 0),
		} {
			if _, _, err := tok.ImportKey(ctx, spec, bad); err == nil {
				t.Errorf("ImportKey %s of material that is %s: no error", spec, name)
			}
		}
		for _, other := range specs {
			if other == spec || macs[other] != 0 && macs[other].Size() == len(kept) {
				continue // any bytes are a secret key
			}
			if _, _, err := tok.ImportKey(ctx, other, kept); err == nil {
				t.Errorf("ImportKey %s of a key of %s: no error", other, spec)
			}
		}
	}
}

// An imported backing key is used as sealSoftware does.
func TestImportSymmetric(t *testing.T) {
	f := newFixture(t)
	tok := f.open(f.config())
	value := bytes.Repeat([]byte{7, 8, 9, 10}, 8)
	wrapped, public, err := tok.ImportKey(ctx, "SYMMETRIC_DEFAULT", value)
	f.must(err)
	if len(wrapped) != 41 || public != nil {
		t.Errorf("ImportKey gave %d bytes and %d of a public key", len(wrapped), len(public))
	}
	if got, want := encrypt(t, tok, wrapped), sealSoftware(t, value, epoch1); !bytes.Equal(got, want) {
		t.Errorf("ciphertext %x, want %x", got, want)
	}
	if _, _, err := tok.ImportKey(ctx, "SYMMETRIC_DEFAULT", value[1:]); err == nil {
		t.Error("ImportKey of 31 bytes: no error")
	}
}

// A wrapped key is of one spec only: neither claimed nor with its kind changed
// is it another's, and no changed bit passes.
func TestKindsSeparate(t *testing.T) {
	f := newFixture(t)
	tok := f.open(f.config())
	all := specs[:len(specs)-2]
	wrapped := map[string][]byte{"SYMMETRIC_DEFAULT": generate(t, tok)}
	for _, spec := range all {
		w, public := generateFor(t, tok, spec)
		use(t, tok, spec, w, public, nil) // its object is there
		wrapped[spec] = w
	}
	for from, w := range wrapped {
		for _, to := range all {
			if from == to {
				continue
			}
			refused(t, tok, to, w, from)
			forged := slices.Concat([]byte{3, wrapped[to][1]}, w[2:])
			refused(t, tok, to, forged, from+" with the kind changed")
			if from == "SYMMETRIC_DEFAULT" && macs[to] != 0 {
				refused(t, tok, to, slices.Concat(wrapped[to][:18], w[1:]), from+" behind a check")
			}
		}
		if from != "SYMMETRIC_DEFAULT" {
			if _, _, err := tok.Encrypt(ctx, w, epoch1, nonce1, text1, aad1); err == nil {
				t.Errorf("Encrypt with a key of %s: no error", from)
			}
		}
	}
	for _, spec := range all {
		w := wrapped[spec]
		for i := 0; i < len(w); i += max(1, len(w)/16) {
			bad := bytes.Clone(w)
			bad[i] ^= 0x10
			refused(t, tok, spec, bad, "changed bits")
		}
		for name, bad := range map[string][]byte{"nil": nil, "short": w[:len(w)-8], "long": append(bytes.Clone(w), w[:8]...), "huge": make([]byte, 10_000)} {
			refused(t, tok, spec, bad, name)
		}
	}
	if strings.Contains(f.log.String(), "token lost") {
		t.Error("a bad wrapped key was taken for a bad token")
	}
}

func refused(t *testing.T, tok *hsm.Token, spec string, wrapped []byte, what string) {
	t.Helper()
	var err error
	if macs[spec] != 0 {
		_, err = tok.MAC(ctx, spec, wrapped, text1)
	} else {
		_, err = tok.Sign(ctx, spec, wrapped, digestOf(crypto.SHA256, text1), crypto.SHA256)
	}
	if err == nil {
		t.Errorf("used as a key of %s: %s", spec, what)
	}
}

func TestOperationsRefused(t *testing.T) {
	f := newFixture(t)
	tok := f.open(f.config())
	rsaKey, _ := generateFor(t, tok, "RSA_2048")
	ecKey, _ := generateFor(t, tok, "ECC_NIST_P256")
	macKey, _ := generateFor(t, tok, "HMAC_256")
	_, right := peer(t, ecdh.P256())
	_, other := peer(t, ecdh.P384())
	digest := digestOf(crypto.SHA256, text1)
	off := bytes.Clone(right)
	off[len(off)-1] ^= 1
	sum := func(spec string, w, d []byte, o crypto.SignerOpts) error {
		_, err := tok.Sign(ctx, spec, w, d, o)
		return err
	}
	agree := func(spec string, w, p []byte) error { _, err := tok.Agree(ctx, spec, w, p); return err }
	for name, err := range map[string]error{
		"digest too short":      sum("ECC_NIST_P256", ecKey, digest[1:], crypto.SHA256),
		"no hash":               sum("ECC_NIST_P256", ecKey, digest, crypto.Hash(0)),
		"MD5":                   sum("RSA_2048", rsaKey, digest[:16], crypto.MD5),
		"SHA-1":                 sum("RSA_2048", rsaKey, digest[:20], crypto.SHA1),
		"salt of another size":  sum("RSA_2048", rsaKey, digest, &rsa.PSSOptions{SaltLength: 20, Hash: crypto.SHA256}),
		"signing with HMAC":     sum("HMAC_256", macKey, digest, crypto.SHA256),
		"unknown spec":          sum("SM2", ecKey, digest, crypto.SHA256),
		"agreeing with RSA":     agree("RSA_2048", rsaKey, right),
		"agreeing on secp256k1": agree("ECC_SECG_P256K1", ecKey, right),
		"peer of another curve": agree("ECC_NIST_P256", ecKey, other),
		"peer off the curve":    agree("ECC_NIST_P256", ecKey, off),
		"no peer":               agree("ECC_NIST_P256", ecKey, nil),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := tok.MAC(ctx, "ECC_NIST_P256", ecKey, text1); err == nil {
		t.Error("MAC with an EC key: no error")
	}
	if _, _, err := tok.DecryptOAEP(ctx, "RSA_2048", rsaKey, crypto.SHA512, make([]byte, 256)); err == nil {
		t.Error("DecryptOAEP with SHA-512: no error")
	}
}

// What does not open says no more than that, however it is wrong.
func TestOAEPWrong(t *testing.T) {
	f := newFixture(t)
	tok := f.open(f.config())
	wrapped, der := generateFor(t, tok, "RSA_2048")
	parsed, err := x509.ParsePKIXPublicKey(der)
	f.must(err)
	public := parsed.(*rsa.PublicKey)
	encrypted := func(label string) []byte {
		c, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, public, text1, []byte(label))
		f.must(err)
		return c
	}
	flipped := encrypted("")
	flipped[100] ^= 1
	v15, err := rsa.EncryptPKCS1v15(rand.Reader, public, text1)
	f.must(err)
	otherHash, err := rsa.EncryptOAEP(sha1.New(), rand.Reader, public, text1, nil)
	f.must(err)
	for name, bad := range map[string][]byte{
		"empty": nil, "short": flipped[1:], "long": append(bytes.Clone(flipped), 0), "label": encrypted("x"),
		"flipped": flipped, "zero": make([]byte, 256), "one": append(make([]byte, 255), 1),
		"above the modulus": bytes.Repeat([]byte{0xff}, 256), "PKCS #1 v1.5": v15, "other hash": otherHash,
	} {
		got, ok, err := tok.DecryptOAEP(ctx, "RSA_2048", wrapped, crypto.SHA256, bad)
		if got != nil || ok || err != nil {
			t.Errorf("%s: DecryptOAEP = %x, %v, %v", name, got, ok, err)
		}
	}
	if strings.Contains(f.log.String(), "token lost") {
		t.Error("a wrong ciphertext was taken for a broken token")
	}
}

func TestSpecKeysNeverReadable(t *testing.T) {
	f := newFixture(t)
	tok := f.open(f.config())
	s := f.session()
	for _, spec := range specs[:len(specs)-2] {
		w, public := generateFor(t, tok, spec)
		use(t, tok, spec, w, public, nil)
		f.sealedKeys(s)
	}
}

// sealedKeys proves that no key tells its secret or may do what it is not for.
func (f *fixture) sealedKeys(s pkcs11.SessionHandle) {
	f.t.Helper()
	keys := slices.Concat(f.find(s, pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY)),
		f.find(s, pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY), pkcs11.NewAttribute(pkcs11.CKA_SIGN, true)))
	if len(keys) == 0 {
		f.t.Error("no key found")
	}
	for _, k := range keys {
		for _, secret := range []uint{pkcs11.CKA_VALUE, pkcs11.CKA_PRIVATE_EXPONENT, pkcs11.CKA_PRIME_1} {
			if got, err := raw.GetAttributeValue(s, k, []*pkcs11.Attribute{pkcs11.NewAttribute(secret, nil)}); err == nil {
				f.t.Errorf("object %d tells attribute %#x: %d bytes", k, secret, len(got[0].Value))
			}
		}
		for _, flag := range []uint{pkcs11.CKA_EXTRACTABLE, pkcs11.CKA_UNWRAP, pkcs11.CKA_TOKEN} {
			got, err := raw.GetAttributeValue(s, k, []*pkcs11.Attribute{pkcs11.NewAttribute(flag, nil)})
			f.must(err)
			if got[0].Value[0] != 0 {
				f.t.Errorf("object %d has attribute %#x", k, flag)
			}
		}
	}
}
