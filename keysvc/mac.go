// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"context"
	"crypto/hmac"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sidekey/sidekey/keysvc/store"
)

func (s *Service) generateMac(ctx context.Context, r *request, in *kms.GenerateMacInput) (*kms.GenerateMacOutput, error) {
	k, mac, err := s.macOf(ctx, r, "kms:GenerateMac", *in.KeyId, in.Message, in.MacAlgorithm, in.DryRun)
	if err != nil {
		return nil, err
	}
	return &kms.GenerateMacOutput{KeyId: text("%s", s.keyARN(k.Ref)), Mac: mac, MacAlgorithm: in.MacAlgorithm}, nil
}

func (s *Service) verifyMac(ctx context.Context, r *request, in *kms.VerifyMacInput) (*kms.VerifyMacOutput, error) {
	k, mac, err := s.macOf(ctx, r, "kms:VerifyMac", *in.KeyId, in.Message, in.MacAlgorithm, in.DryRun)
	if err != nil {
		return nil, err
	}
	r.wipe(mac) // of a message that the caller may not have a MAC of
	if !hmac.Equal(mac, in.Mac) {
		return nil, &types.KMSInvalidMacException{}
	}
	return &kms.VerifyMacOutput{KeyId: text("%s", s.keyARN(k.Ref)), MacAlgorithm: in.MacAlgorithm, MacValid: true}, nil
}

func (s *Service) macOf(ctx context.Context, r *request, action, keyID string, message []byte, algorithm types.MacAlgorithmSpec, dry *bool) (*store.Key, []byte, error) {
	r.wipe(message)
	k, err := s.cryptoKey(ctx, r, action, keyID, nil)
	if err != nil {
		return nil, nil, err
	}
	if err := s.ready(r, k, types.KeyUsageTypeGenerateVerifyMac); err != nil {
		return nil, nil, err
	}
	if err := does(k, algorithmsOf(k.Spec, k.Usage).mac, algorithm); err != nil {
		return nil, nil, err
	}
	if err := dryRun(dry); err != nil {
		return nil, nil, err
	}
	mac, err := s.authenticateMessage(ctx, r, k, message)
	return k, mac, err
}
