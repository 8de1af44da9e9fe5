// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sidekey/sidekey/keysvc/memkey"
	"github.com/sidekey/sidekey/keysvc/store"
)

func (s *Service) deriveSharedSecret(ctx context.Context, r *request, in *kms.DeriveSharedSecretInput) (*kms.DeriveSharedSecretOutput, error) {
	if err := refuseRecipient(in.Recipient); err != nil {
		return nil, err
	}
	k, err := s.cryptoKey(ctx, r, "kms:DeriveSharedSecret", *in.KeyId, nil)
	if err != nil {
		return nil, err
	}
	if err := s.ready(r, k, types.KeyUsageTypeKeyAgreement); err != nil {
		return nil, err
	}
	if err := does(k, algorithmsOf(k.Spec, k.Usage).agreement, in.KeyAgreementAlgorithm); err != nil {
		return nil, err
	}
	peer, err := peerOf(k, in.PublicKey)
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	secret, err := s.agree(ctx, r, k, peer)
	if errors.Is(err, memkey.ErrPeer) {
		return nil, badPeer(k)
	}
	if err != nil {
		return nil, err
	}
	return &kms.DeriveSharedSecretOutput{
		KeyId: text("%s", s.keyARN(k.Ref)), SharedSecret: secret,
		KeyAgreementAlgorithm: in.KeyAgreementAlgorithm, KeyOrigin: types.OriginType(k.Origin),
	}, nil
}

// peerOf checks that der is a point on the curve of the key, which is what the
// security of the private key rests on, and returns its one canonical form.
func peerOf(k *store.Key, der []byte) ([]byte, error) {
	mine, err := x509.ParsePKIXPublicKey(k.Public)
	if err != nil {
		return nil, err
	}
	ours, ok := mine.(*ecdsa.PublicKey)
	if !ok {
		return nil, errors.New("the public key of a key agreement key is none of a curve")
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, badPeer(k)
	}
	peer, ok := parsed.(*ecdsa.PublicKey)
	if !ok || peer.Curve != ours.Curve {
		return nil, badPeer(k)
	}
	if _, err := peer.ECDH(); err != nil { // not on the curve
		return nil, badPeer(k)
	}
	return x509.MarshalPKIXPublicKey(peer)
}

func badPeer(k *store.Key) error {
	return validationError("PublicKey is not a DER-encoded X.509 public key of key spec %s.", k.Spec)
}

// refuseRecipient: answers to an AWS Nitro enclave are encrypted to a key in
// its attestation document, which this service cannot vouch for.
func refuseRecipient(recipient *types.RecipientInfo) error {
	if recipient != nil {
		return unsupported("Recipient is not supported by this key service.")
	}
	return nil
}
