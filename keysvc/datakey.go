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
	if err := refuseRecipient(in.Recipient); err != nil {
		return nil, err
	}
	made, err := s.newDataKey(ctx, r, "kms:GenerateDataKey",
		dataKey{*in.KeyId, in.KeySpec, in.NumberOfBytes, in.EncryptionContext, in.DryRun})
	if err != nil {
		return nil, err
	}
	return &kms.GenerateDataKeyOutput{
		CiphertextBlob: made.blob, Plaintext: made.plaintext, KeyId: new(s.keyARN(made.key.Ref)),
		KeyMaterialId: materialIDOf(made.key, made.version),
	}, nil
}

func (s *Service) generateDataKeyWithoutPlaintext(ctx context.Context, r *request, in *kms.GenerateDataKeyWithoutPlaintextInput) (*kms.GenerateDataKeyWithoutPlaintextOutput, error) {
	made, err := s.newDataKey(ctx, r, "kms:GenerateDataKeyWithoutPlaintext",
		dataKey{*in.KeyId, in.KeySpec, in.NumberOfBytes, in.EncryptionContext, in.DryRun})
	if err != nil {
		return nil, err
	}
	return &kms.GenerateDataKeyWithoutPlaintextOutput{
		CiphertextBlob: made.blob, KeyId: new(s.keyARN(made.key.Ref)), KeyMaterialId: materialIDOf(made.key, made.version),
	}, nil
}

// madeDataKey is a new data key, or the private half of a new data key pair.
type madeDataKey struct {
	key       *store.Key
	version   uint32
	plaintext []byte
	blob      []byte
	public    []byte // of a pair
}

// newDataKey draws a data key from the HSM and encrypts it there.
func (s *Service) newDataKey(ctx context.Context, r *request, action string, want dataKey) (*madeDataKey, error) {
	if (want.spec == "") == (want.bytes == nil) {
		return nil, validationError("Please specify either number of bytes or key spec.")
	}
	k, err := s.wrappingKey(ctx, r, action, want.keyID, want.context)
	if err != nil {
		return nil, err
	}
	if err := dryRun(want.dryRun); err != nil {
		return nil, err
	}
	token, err := s.tokenOf(ctx, k)
	if err != nil {
		return nil, err
	}
	made := &madeDataKey{key: k}
	if made.plaintext, err = s.random(ctx, r, token, want.size()); err != nil {
		return nil, err
	}
	made.blob, made.version, err = s.seal(ctx, r, k, made.plaintext, want.context)
	return made, err
}

// wrappingKey decides about the symmetric key that is to encrypt a data key.
func (s *Service) wrappingKey(ctx context.Context, r *request, action, keyID string, context map[string]string) (*store.Key, error) {
	k, err := s.cryptoKey(ctx, r, action, keyID, context)
	if err != nil {
		return nil, err
	}
	if err := s.ready(r, k, types.KeyUsageTypeEncryptDecrypt); err != nil {
		return nil, err
	}
	if k.Spec != specSymmetric {
		return nil, &types.InvalidKeyUsageException{Message: text("You cannot generate a data key with an asymmetric CMK")}
	}
	return k, s.encrypts(r, k, encryptionOf("", context))
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
	if err := refuseRecipient(in.Recipient); err != nil {
		return nil, err
	}
	if err := s.allowed(ctx, r, "kms:GenerateRandom"); err != nil {
		return nil, err
	}
	token := s.token
	if in.CustomKeyStoreId != nil {
		var err error
		if token, err = s.storeToken(ctx, *in.CustomKeyStoreId); err != nil {
			return nil, err
		}
	}
	b, err := s.random(ctx, r, token, int(*in.NumberOfBytes))
	if err != nil {
		return nil, err
	}
	return &kms.GenerateRandomOutput{Plaintext: b}, nil
}
