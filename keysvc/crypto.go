// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sidekey/sidekey/keysvc/store"
)

const symmetric = types.EncryptionAlgorithmSpecSymmetricDefault

// maxContext is AWS's limit of an encryption context, keys and values together.
const maxContext = 8192

// ready checks, in AWS's order, that an allowed key can do what is asked. It
// is also where a dry run ends.
func (s *Service) ready(k *store.Key, algorithm types.EncryptionAlgorithmSpec, context map[string]string) error {
	if err := s.usable(k); err != nil {
		return err
	}
	if algorithm != "" && algorithm != symmetric {
		return &types.InvalidKeyUsageException{Message: text("Algorithm %s is incompatible with key spec %s.", algorithm, k.Spec)}
	}
	if contextSize(context) > maxContext {
		return validationError("The encryption context is larger than %d bytes", maxContext)
	}
	return nil
}

func contextSize(context map[string]string) (size int) {
	for key, value := range context {
		size += len(key) + len(value)
	}
	return size
}

func dryRun(asked *bool) error {
	if asked != nil && *asked {
		return &types.DryRunOperationException{Message: text("The request would have succeeded, but the DryRun option is set.")}
	}
	return nil
}

func (s *Service) encrypt(ctx context.Context, r *request, in *kms.EncryptInput) (*kms.EncryptOutput, error) {
	r.wipe(in.Plaintext)
	k, err := s.cryptoKey(ctx, r, "kms:Encrypt", *in.KeyId, in.EncryptionContext)
	if err != nil {
		return nil, err
	}
	if err := s.ready(k, in.EncryptionAlgorithm, in.EncryptionContext); err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	sealed, _, err := s.seal(ctx, r, k, in.Plaintext, in.EncryptionContext)
	if err != nil {
		return nil, err
	}
	return &kms.EncryptOutput{CiphertextBlob: sealed, KeyId: text("%s", s.keyARN(k.Ref)), EncryptionAlgorithm: symmetric}, nil
}

func (s *Service) decrypt(ctx context.Context, r *request, in *kms.DecryptInput) (*kms.DecryptOutput, error) {
	if in.Recipient != nil {
		return nil, unsupported("Recipient is not supported by this key service.")
	}
	k, b, err := s.source(ctx, r, "kms:Decrypt", source{
		blob: in.CiphertextBlob, keyID: in.KeyId, algorithm: in.EncryptionAlgorithm, context: in.EncryptionContext,
		dryRun: in.DryRun, modifiers: in.DryRunModifiers,
	})
	if err != nil {
		return nil, err
	}
	if b == nil {
		return nil, dryRun(in.DryRun)
	}
	plaintext, err := s.open(ctx, r, k, b, in.EncryptionContext)
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	return &kms.DecryptOutput{
		Plaintext: plaintext, KeyId: text("%s", s.keyARN(k.Ref)), EncryptionAlgorithm: symmetric,
		KeyMaterialId: materialIDOf(k, b.version),
	}, nil
}

// source is what Decrypt and ReEncrypt read from.
type source struct {
	blob      []byte
	keyID     *string
	algorithm types.EncryptionAlgorithmSpec
	context   map[string]string
	dryRun    *bool
	modifiers []types.DryRunModifierType
}

// source decides about the key of a ciphertext blob and parses the blob. The
// blob is nil if the caller asked not to look at it.
func (s *Service) source(ctx context.Context, r *request, action string, src source) (*store.Key, *blob, error) {
	ignored := len(src.modifiers) > 0
	if ignored && dryRun(src.dryRun) == nil {
		return nil, nil, validationError("DryRunModifiers can only be used when DryRun is true")
	}
	if !ignored && src.blob == nil {
		return nil, nil, validationError("1 validation error detected: Value null at 'ciphertextBlob' failed to satisfy constraint: Member must not be null")
	}
	if ignored && src.keyID == nil {
		return nil, nil, validationError("1 validation error detected: Value null at 'keyId' failed to satisfy constraint: Member must not be null")
	}
	var b *blob
	var malformed error
	if !ignored {
		b, malformed = parseBlob(src.blob)
	}
	k, err := s.sourceKey(ctx, r, action, src, b)
	if err != nil {
		return nil, nil, err
	}
	if err := s.ready(k, src.algorithm, src.context); err != nil {
		return nil, nil, err
	}
	if malformed != nil {
		return nil, nil, invalidCiphertext()
	}
	if b != nil && b.keyID != k.ID {
		return nil, nil, &types.IncorrectKeyException{Message: text("The key ID in the request does not identify a CMK that can perform this operation.")}
	}
	return k, b, nil
}

// sourceKey decides about the key that the caller names or, if none is named,
// the one that the blob names.
func (s *Service) sourceKey(ctx context.Context, r *request, action string, src source, b *blob) (*store.Key, error) {
	if src.keyID != nil {
		return s.cryptoKey(ctx, r, action, *src.keyID, src.context)
	}
	if b == nil {
		return nil, invalidCiphertext()
	}
	k, err := s.key(ctx, r, action, keyName{Ref: store.Ref{Region: r.region, ID: b.keyID}}, src.context)
	var missing *types.NotFoundException
	if errors.As(err, &missing) {
		return nil, apiError(codeAccessDenied, "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access.")
	}
	return k, err
}

func (s *Service) reEncrypt(ctx context.Context, r *request, in *kms.ReEncryptInput) (*kms.ReEncryptOutput, error) {
	from, b, err := s.source(ctx, r, "kms:ReEncryptFrom", source{
		blob: in.CiphertextBlob, keyID: in.SourceKeyId, algorithm: in.SourceEncryptionAlgorithm, context: in.SourceEncryptionContext,
		dryRun: in.DryRun, modifiers: in.DryRunModifiers,
	})
	if err != nil {
		return nil, err
	}
	to, err := s.cryptoKey(ctx, r, "kms:ReEncryptTo", *in.DestinationKeyId, in.DestinationEncryptionContext)
	if err != nil {
		return nil, err
	}
	if err := s.ready(to, in.DestinationEncryptionAlgorithm, in.DestinationEncryptionContext); err != nil {
		return nil, err
	}
	if b == nil {
		return nil, dryRun(in.DryRun)
	}
	plaintext, err := s.open(ctx, r, from, b, in.SourceEncryptionContext)
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	sealed, version, err := s.seal(ctx, r, to, plaintext, in.DestinationEncryptionContext)
	if err != nil {
		return nil, err
	}
	return &kms.ReEncryptOutput{
		CiphertextBlob: sealed,
		KeyId:          text("%s", s.keyARN(to.Ref)), DestinationEncryptionAlgorithm: symmetric,
		DestinationKeyMaterialId: materialIDOf(to, version),
		SourceKeyId:              text("%s", s.keyARN(from.Ref)), SourceEncryptionAlgorithm: symmetric,
		SourceKeyMaterialId: materialIDOf(from, b.version),
	}, nil
}
