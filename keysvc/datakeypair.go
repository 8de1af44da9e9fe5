// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/keysvc/memkey"
)

func (s *Service) generateDataKeyPair(ctx context.Context, r *request, in *kms.GenerateDataKeyPairInput) (*kms.GenerateDataKeyPairOutput, error) {
	if err := refuseRecipient(in.Recipient); err != nil {
		return nil, err
	}
	made, err := s.newDataKeyPair(ctx, r, "kms:GenerateDataKeyPair", *in.KeyId, in.KeyPairSpec, in.EncryptionContext, in.DryRun)
	if err != nil {
		return nil, err
	}
	return &kms.GenerateDataKeyPairOutput{
		KeyId: text("%s", s.keyARN(made.key.Ref)), KeyMaterialId: materialIDOf(made.key, made.version), KeyPairSpec: in.KeyPairSpec,
		PrivateKeyCiphertextBlob: made.blob, PrivateKeyPlaintext: made.plaintext, PublicKey: made.public,
	}, nil
}

func (s *Service) generateDataKeyPairWithoutPlaintext(ctx context.Context, r *request, in *kms.GenerateDataKeyPairWithoutPlaintextInput) (*kms.GenerateDataKeyPairWithoutPlaintextOutput, error) {
	made, err := s.newDataKeyPair(ctx, r, "kms:GenerateDataKeyPairWithoutPlaintext", *in.KeyId, in.KeyPairSpec, in.EncryptionContext, in.DryRun)
	if err != nil {
		return nil, err
	}
	return &kms.GenerateDataKeyPairWithoutPlaintextOutput{
		KeyId: text("%s", s.keyARN(made.key.Ref)), KeyMaterialId: materialIDOf(made.key, made.version), KeyPairSpec: in.KeyPairSpec,
		PrivateKeyCiphertextBlob: made.blob, PublicKey: made.public,
	}, nil
}

// newDataKeyPair makes a key pair, which is for use outside of the HSM, in
// memory, and encrypts its private key, PKCS #8, in the HSM.
func (s *Service) newDataKeyPair(ctx context.Context, r *request, action, keyID string, spec types.DataKeyPairSpec, context map[string]string, dry *bool) (*madeDataKey, error) {
	k, err := s.wrappingKey(ctx, r, action, keyID, context)
	if err != nil {
		return nil, err
	}
	if k.KeyStore != "" {
		return nil, unsupported("%s origin is %s which is not valid for this operation.", s.keyARN(k.Ref), k.Origin)
	}
	if _, known := specOf(string(spec)); !known {
		return nil, unsupported("KeyPairSpec %s is not supported in this Region", spec)
	}
	if err := dryRun(dry); err != nil {
		return nil, err
	}
	made, start := &madeDataKey{key: k}, time.Now()
	made.plaintext, made.public, err = memkey.Generate(string(spec))
	r.wipe(made.plaintext)
	r.audit.Child(ctx, audit.SpanMemory("generate_key"), start, hsmCode(err, true))
	if err != nil {
		return nil, fmt.Errorf("generating a data key pair: %w", err)
	}
	made.blob, made.version, err = s.seal(ctx, r, k, made.plaintext, context)
	return made, err
}
