// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// TestDeriveSharedSecret agrees with a key of Go's on the same secret.
func TestDeriveSharedSecret(t *testing.T) {
	s := newServer(t)
	c := s.admin()
	for spec, curve := range map[types.KeySpec]ecdh.Curve{"ECC_NIST_P256": ecdh.P256(), "ECC_NIST_P384": ecdh.P384(), "ECC_NIST_P521": ecdh.P521()} {
		for _, protection := range []string{"hsm", "memory"} {
			arn := s.keyOf(spec, "KEY_AGREEMENT", protection)
			peer, err := curve.GenerateKey(rand.Reader)
			must(t, err)
			der, err := x509.MarshalPKIXPublicKey(peer.PublicKey())
			must(t, err)
			out, err := c.DeriveSharedSecret(ctx, &kms.DeriveSharedSecretInput{KeyId: &arn, KeyAgreementAlgorithm: "ECDH", PublicKey: der})
			must(t, err)
			theirs, err := x509.ParsePKIXPublicKey(s.publicKey(arn))
			must(t, err)
			public, err := theirs.(*ecdsa.PublicKey).ECDH()
			must(t, err)
			want, err := peer.ECDH(public)
			must(t, err)
			if !bytes.Equal(out.SharedSecret, want) || *out.KeyId != arn || out.KeyAgreementAlgorithm != "ECDH" || out.KeyOrigin != "AWS_KMS" {
				t.Errorf("%s %s: %+v, want %x", spec, protection, out, want)
			}
		}
	}
}

// TestPeersOffTheCurve: a point that is none of the key's curve would give the
// private key away.
func TestPeersOffTheCurve(t *testing.T) {
	s := newServer(t)
	c := s.admin()
	arn := s.keyOf("ECC_NIST_P256", "KEY_AGREEMENT", "")
	derive := func(der []byte, in kms.DeriveSharedSecretInput) error {
		in.KeyId, in.KeyAgreementAlgorithm, in.PublicKey = &arn, "ECDH", der
		_, err := c.DeriveSharedSecret(ctx, &in)
		return err
	}
	good := s.publicKey(arn)
	must(t, derive(good, kms.DeriveSharedSecretInput{}))
	off := bytes.Clone(good)
	off[len(off)-1] ^= 1
	infinity := append(bytes.Clone(good[:len(good)-66]), 0, 0)
	for name, der := range map[string][]byte{
		"off the curve": off, "at infinity": infinity, "of another curve": s.publicKey(s.keyOf("ECC_NIST_P384", "KEY_AGREEMENT", "")),
		"of secp256k1": s.publicKey(s.keyOf("ECC_SECG_P256K1", "SIGN_VERIFY", "")), "of Ed25519": s.publicKey(s.keyOf("ECC_NIST_EDWARDS25519", "SIGN_VERIFY", "")),
		"cut": good[:len(good)-1], "longer": append(bytes.Clone(good), 0), "no DER": []byte("x"),
	} {
		t.Run(name, func(t *testing.T) {
			wantError(t, derive(der, kms.DeriveSharedSecretInput{}), "ValidationException", "PublicKey is not a DER-encoded X.509 public key of key spec ECC_NIST_P256.")
		})
	}
	wantError(t, derive(good, kms.DeriveSharedSecretInput{DryRun: ptr(true)}), "DryRunOperationException", "The request would have succeeded, but the DryRun option is set.")
	wantError(t, derive(good, kms.DeriveSharedSecretInput{Recipient: &types.RecipientInfo{}}), "UnsupportedOperationException", "Recipient is not supported by this key service.")
}
