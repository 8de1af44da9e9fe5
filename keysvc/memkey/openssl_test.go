// SPDX-License-Identifier: Apache-2.0

package memkey_test

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sidekey/sidekey/keysvc/memkey"
)

// openssl runs OpenSSL's command line in a directory.
type openssl struct {
	t   *testing.T
	dir string
}

func (o openssl) run(args ...string) (stdout []byte, err error) {
	cmd := exec.CommandContext(o.t.Context(), "openssl", args...)
	cmd.Dir = o.dir
	return cmd.Output()
}

func (o openssl) must(args ...string) []byte {
	o.t.Helper()
	out, err := o.run(args...)
	if err != nil {
		o.t.Fatalf("openssl %s: %v", strings.Join(args, " "), err)
	}
	return out
}

func (o openssl) write(name string, b []byte) {
	o.t.Helper()
	if err := os.WriteFile(filepath.Join(o.dir, name), b, 0o600); err != nil {
		o.t.Fatal(err)
	}
}

func (o openssl) read(name string) []byte {
	o.t.Helper()
	b, err := os.ReadFile(filepath.Join(o.dir, name))
	if err != nil {
		o.t.Fatal(err)
	}
	return b
}

// opensslKinds are the specs that OpenSSL 3.0 has, as its genpkey names them.
var opensslKinds = map[string][]string{
	"RSA_2048":        {"-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"},
	"RSA_3072":        {"-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"},
	"ECC_NIST_P256":   {"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"},
	"ECC_NIST_P384":   {"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"},
	"ECC_NIST_P521":   {"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"},
	"ECC_SECG_P256K1": {"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"},
	edwards:           {"-algorithm", "ED25519"},
}

// opensslOptions are arguments of pkeyutl; ok is false for what it has not.
func opensslOptions(spec string, opts crypto.SignerOpts) (args []string, ok bool) {
	if spec == edwards {
		return []string{"-rawin"}, opts == crypto.Hash(0)
	}
	name := strings.ToLower(strings.ReplaceAll(opts.HashFunc().String(), "-", ""))
	args = []string{"-pkeyopt", "digest:" + name}
	if _, isPSS := opts.(*rsa.PSSOptions); isPSS {
		args = append(args, "-pkeyopt", "rsa_padding_mode:pss", "-pkeyopt", "rsa_pss_saltlen:digest", "-pkeyopt", "rsa_mgf1_md:"+name)
	}
	return args, true
}

// Keys, signatures, ciphertexts and secrets go both ways between OpenSSL and
// this package.
func TestAgainstOpenSSL(t *testing.T) {
	for spec, kind := range opensslKinds {
		t.Run(spec, func(t *testing.T) {
			o := openssl{t, t.TempDir()}
			o.must(append([]string{"genpkey", "-out", "theirs.pem"}, kind...)...)
			o.must("pkcs8", "-topk8", "-nocrypt", "-in", "theirs.pem", "-outform", "DER", "-out", "theirs.der")
			theirs := o.read("theirs.der")
			public, err := memkey.Public(spec, theirs)
			if err != nil {
				t.Fatalf("a key of OpenSSL: %v", err)
			}
			if want := o.must("pkey", "-inform", "DER", "-in", "theirs.der", "-pubout", "-outform", "DER"); !bytes.Equal(public, want) {
				t.Errorf("public key: got %x, want %x", public, want)
			}
			ours, ourPublic, err := memkey.Generate(spec)
			if err != nil {
				t.Fatal(err)
			}
			o.write("ours.der", ours)
			o.must("pkey", "-inform", "DER", "-in", "ours.der", "-check", "-noout")
			if again := o.must("pkcs8", "-topk8", "-nocrypt", "-inform", "DER", "-in", "ours.der", "-outform", "DER"); !bytes.Equal(again, ours) {
				t.Errorf("OpenSSL writes our key as %x, we as %x", again, ours)
			}
			o.write("ours.pub", ourPublic)
			o.write("theirs.pub", public)
			for _, opts := range signingOptions()[spec] {
				if args, ok := opensslOptions(spec, opts); ok {
					exchangeSignatures(o, spec, opts, args)
				}
			}
			switch {
			case strings.HasPrefix(spec, "RSA"):
				exchangeOAEP(o, spec)
			case strings.HasPrefix(spec, "ECC_NIST_P"):
				want := o.must("pkeyutl", "-derive", "-inkey", "ours.der", "-keyform", "DER", "-peerkey", "theirs.pub", "-peerform", "DER")
				if got, err := memkey.Agree(spec, theirs, ourPublic); err != nil || !bytes.Equal(got, want) {
					t.Errorf("agreed on %x, %v, want %x", got, err, want)
				}
			}
		})
	}
}

func exchangeSignatures(o openssl, spec string, opts crypto.SignerOpts, args []string) {
	o.t.Helper()
	digest := digestFor(opts)
	o.write("digest", digest)
	sign := append([]string{"pkeyutl", "-sign", "-inkey", "theirs.der", "-keyform", "DER", "-in", "digest"}, args...)
	if !memkey.Verify(spec, o.read("theirs.pub"), digest, opts, o.must(sign...)) {
		o.t.Errorf("%v: OpenSSL's signature is refused", opts)
	}
	signature, err := memkey.Sign(spec, o.read("ours.der"), digest, opts)
	if err != nil {
		o.t.Fatal(err)
	}
	o.write("signature", signature)
	verify := append([]string{"pkeyutl", "-verify", "-pubin", "-inkey", "ours.pub", "-keyform", "DER", "-in", "digest", "-sigfile", "signature"}, args...)
	if out, err := o.run(verify...); err != nil {
		o.t.Errorf("%v: OpenSSL refuses our signature: %s", opts, out)
	}
}

func exchangeOAEP(o openssl, spec string) {
	o.t.Helper()
	for hash, name := range map[crypto.Hash]string{crypto.SHA1: "sha1", crypto.SHA256: "sha256"} {
		args := []string{"-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:" + name, "-pkeyopt", "rsa_mgf1_md:" + name}
		plaintext := make([]byte, 100)
		rand.Read(plaintext)
		o.write("plaintext", plaintext)
		theirs := o.must(append([]string{"pkeyutl", "-encrypt", "-pubin", "-inkey", "ours.pub", "-keyform", "DER", "-in", "plaintext"}, args...)...)
		if got, ok, err := memkey.DecryptOAEP(spec, o.read("ours.der"), hash, theirs); !ok || err != nil || !bytes.Equal(got, plaintext) {
			o.t.Errorf("%s: OpenSSL's ciphertext opens to %x, %v, %v", name, got, ok, err)
		}
		ours, err := memkey.EncryptOAEP(spec, o.read("theirs.pub"), hash, plaintext)
		if err != nil {
			o.t.Fatal(err)
		}
		o.write("ciphertext", ours)
		if got := o.must(append([]string{"pkeyutl", "-decrypt", "-inkey", "theirs.der", "-keyform", "DER", "-in", "ciphertext"}, args...)...); !bytes.Equal(got, plaintext) {
			o.t.Errorf("%s: our ciphertext opens to %x with OpenSSL, want %x", name, got, plaintext)
		}
	}
}

func TestMACAgainstOpenSSL(t *testing.T) {
	o := openssl{t, t.TempDir()}
	for spec, name := range map[string]string{"HMAC_224": "SHA224", "HMAC_256": "SHA256", "HMAC_384": "SHA384", "HMAC_512": "SHA512"} {
		key, message := keyOf(t, spec).material, digestFor(crypto.Hash(0))
		o.write("message", message)
		want := o.must("mac", "-binary", "-digest", name, "-macopt", "hexkey:"+hex.EncodeToString(key), "-in", "message", "HMAC")
		if got, err := memkey.MAC(spec, key, message); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: got %x, %v, want %x", spec, got, err, want)
		}
	}
}

// The same with Go's own packages, on many random inputs.
func TestAgainstGo(t *testing.T) {
	for range 50 {
		for spec, options := range signingOptions() {
			if strings.HasPrefix(spec, "RSA_3") || strings.HasPrefix(spec, "RSA_4") {
				continue // as RSA_2048, and slow
			}
			key := keyOf(t, spec)
			private, err := x509.ParsePKCS8PrivateKey(key.material)
			if err != nil {
				continue // Go has neither secp256k1 nor ML-DSA
			}
			opts := options[int(digestFor(options[0])[0])%len(options)]
			digest := digestFor(opts)
			theirs, err := private.(crypto.Signer).Sign(rand.Reader, digest, opts)
			if err != nil {
				t.Fatal(err)
			}
			if !memkey.Verify(spec, key.public, digest, opts, theirs) {
				t.Errorf("%s %v: Go's signature is refused", spec, opts)
			}
			ours, err := memkey.Sign(spec, key.material, digest, opts)
			if err != nil {
				t.Fatal(err)
			}
			if err := verifyWithGo(t, key.public, digest, opts, ours); err != nil {
				t.Errorf("%s %v: Go refuses our signature: %v", spec, opts, err)
			}
		}
	}
}

func verifyWithGo(t *testing.T, der, digest []byte, opts crypto.SignerOpts, signature []byte) error {
	t.Helper()
	public, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return err
	}
	switch key := public.(type) {
	case *rsa.PublicKey:
		if o, ok := opts.(*rsa.PSSOptions); ok {
			return rsa.VerifyPSS(key, o.Hash, digest, signature, o)
		}
		return rsa.VerifyPKCS1v15(key, opts.HashFunc(), digest, signature)
	case *ecdsa.PublicKey:
		if ecdsa.VerifyASN1(key, digest, signature) {
			return nil
		}
	case ed25519.PublicKey:
		return ed25519.VerifyWithOptions(key, digest, signature, &ed25519.Options{Hash: opts.HashFunc()})
	}
	return fmt.Errorf("%T refuses it", public)
}

func TestAgreeAndMACAgainstGo(t *testing.T) {
	for spec, curve := range map[string]ecdh.Curve{"ECC_NIST_P256": ecdh.P256(), "ECC_NIST_P384": ecdh.P384(), "ECC_NIST_P521": ecdh.P521()} {
		key := keyOf(t, spec)
		public, err := x509.ParsePKIXPublicKey(key.public)
		if err != nil {
			t.Fatal(err)
		}
		ours, err := public.(*ecdsa.PublicKey).ECDH()
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			peer, err := curve.GenerateKey(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			der, err := x509.MarshalPKIXPublicKey(peer.PublicKey())
			if err != nil {
				t.Fatal(err)
			}
			want, err := peer.ECDH(ours)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := memkey.Agree(spec, key.material, der); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: got %x, %v, want %x", spec, got, err, want)
			}
		}
	}
	key, message := keyOf(t, "HMAC_256").material, []byte("message")
	h := hmac.New(sha256.New, key)
	h.Write(message)
	if got, err := memkey.MAC("HMAC_256", key, message); err != nil || !bytes.Equal(got, h.Sum(nil)) {
		t.Errorf("MAC: got %x, %v, want %x", got, err, h.Sum(nil))
	}
}
