// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sidekey/sidekey/keysvc/store"
)

// dataKey is what both data key operations are asked for.
type dataKey struct {
	keyID   string
	spec    types.DataKeySpec
	bytes   *int32
	context map[string]string
	dryRun  *bool
}

func (s *Service) generateDataKey(ctx context.Context, r *request, in *kms.GenerateDataKeyInput) (*kms.GenerateDataKeyOutput, error) {
	if in.Recipient != nil {
		return nil, unsupported("Recipient is not supported by this key service.")
	}
	k, plaintext, sealed, err := s.newDataKey(ctx, r, "kms:GenerateDataKey",
		dataKey{*in.KeyId, in.KeySpec, in.NumberOfBytes, in.EncryptionContext, in.DryRun})
	if err != nil {
		return nil, err
	}
	return &kms.GenerateDataKeyOutput{
		CiphertextBlob: sealed, Plaintext: plaintext, KeyId: text("%s", s.keyARN(k.Ref)),
		KeyMaterialId: materialIDOf(k, k.Version),
	}, nil
}

func (s *Service) generateDataKeyWithoutPlaintext(ctx context.Context, r *request, in *kms.GenerateDataKeyWithoutPlaintextInput) (*kms.GenerateDataKeyWithoutPlaintextOutput, error) {
	k, _, sealed, err := s.newDataKey(ctx, r, "kms:GenerateDataKeyWithoutPlaintext",
		dataKey{*in.KeyId, in.KeySpec, in.NumberOfBytes, in.EncryptionContext, in.DryRun})
	if err != nil {
		return nil, err
	}
	return &kms.GenerateDataKeyWithoutPlaintextOutput{
		CiphertextBlob: sealed, KeyId: text("%s", s.keyARN(k.Ref)), KeyMaterialId: materialIDOf(k, k.Version),
	}, nil
}

// newDataKey draws a data key from the HSM and encrypts it there.
func (s *Service) newDataKey(ctx context.Context, r *request, action string, want dataKey) (k *store.Key, plaintext, sealed []byte, err error) {
	if (want.spec == "") == (want.bytes == nil) {
		return nil, nil, nil, validationError("Please specify either number of bytes or key spec.")
	}
	if k, err = s.cryptoKey(ctx, r, action, want.keyID, want.context); err != nil {
		return nil, nil, nil, err
	}
	if err := s.ready(k, "", want.context); err != nil {
		return nil, nil, nil, err
	}
	if err := dryRun(want.dryRun); err != nil {
		return nil, nil, nil, err
	}
	if plaintext, err = s.random(ctx, r, s.token, want.size()); err != nil {
		return nil, nil, nil, err
	}
	if sealed, _, err = s.seal(ctx, r, k, plaintext, want.context); err != nil {
		return nil, nil, nil, err
	}
	return k, plaintext, sealed, nil
}

func (d *dataKey) size() int {
	switch {
	case d.bytes != nil:
		return int(*d.bytes)
	case d.spec == types.DataKeySpecAes128:
		return 16
	}
	return 32
}

func (s *Service) generateRandom(ctx context.Context, r *request, in *kms.GenerateRandomInput) (*kms.GenerateRandomOutput, error) {
	if in.NumberOfBytes == nil {
		return nil, validationError("NumberOfBytes is required.")
	}
	if in.Recipient != nil {
		return nil, unsupported("Recipient is not supported by this key service.")
	}
	if in.CustomKeyStoreId != nil {
		return nil, unsupported("CustomKeyStoreId is not supported by this key service.")
	}
	if err := s.allowed(ctx, r, "kms:GenerateRandom"); err != nil {
		return nil, err
	}
	b, err := s.random(ctx, r, s.token, int(*in.NumberOfBytes))
	if err != nil {
		return nil, err
	}
	return &kms.GenerateRandomOutput{Plaintext: b}, nil
}
