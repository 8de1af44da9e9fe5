// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// getPublicKey answers for disabled keys, too: AWS's table of key states says
// otherwise, but AWS does so.
func (s *Service) getPublicKey(ctx context.Context, r *request, in *kms.GetPublicKeyInput) (*kms.GetPublicKeyOutput, error) {
	k, err := s.cryptoKey(ctx, r, "kms:GetPublicKey", *in.KeyId, nil)
	if err != nil {
		return nil, err
	}
	if err := s.notImporting(k); err != nil {
		return nil, err
	}
	if ks, ok := specOf(k.Spec); !ok || !ks.pair {
		return nil, &types.UnsupportedOperationException{} // AWS says no more
	}
	a := algorithmsOf(k.Spec, k.Usage)
	return &kms.GetPublicKeyOutput{
		KeyId: text("%s", s.keyARN(k.Ref)), PublicKey: k.Public,
		CustomerMasterKeySpec: types.CustomerMasterKeySpec(k.Spec), KeySpec: types.KeySpec(k.Spec), KeyUsage: types.KeyUsageType(k.Usage),
		EncryptionAlgorithms: a.encryption, SigningAlgorithms: a.signing, KeyAgreementAlgorithms: a.agreement,
	}, nil
}
