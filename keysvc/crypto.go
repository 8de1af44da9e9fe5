// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"context"
	"crypto"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sidekey/sidekey/keysvc/memkey"
	"github.com/sidekey/sidekey/keysvc/store"
)

const symmetric = types.EncryptionAlgorithmSpecSymmetricDefault

// maxContext is AWS's limit of an encryption context, keys and values together.
const maxContext = 8192

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

// encryption is how a key encrypts or decrypts.
type encryption struct {
	algorithm types.EncryptionAlgorithmSpec
	context   map[string]string
}

// encryptionOf fills in the algorithm of a request that names none.
func encryptionOf(algorithm types.EncryptionAlgorithmSpec, context map[string]string) encryption {
	if algorithm == "" {
		algorithm = symmetric
	}
	return encryption{algorithm, context}
}

// hash is that of OAEP.
func (e encryption) hash() crypto.Hash { return hashOf(string(e.algorithm)) }

// encrypts checks, in AWS's order, that an allowed key can be used so.
func (s *Service) encrypts(r *request, k *store.Key, e encryption) error {
	if err := s.ready(r, k, types.KeyUsageTypeEncryptDecrypt); err != nil {
		return err
	}
	if err := does(k, algorithmsOf(k.Spec, k.Usage).encryption, e.algorithm); err != nil {
		return err
	}
	switch {
	case e.algorithm != symmetric && len(e.context) > 0:
		return validationError("An encryption context cannot be used with algorithm %s.", e.algorithm)
	case contextSize(e.context) > maxContext:
		return validationError("The encryption context is larger than %d bytes", maxContext)
	}
	return nil
}

// fits checks the size of a plaintext, which RSA bounds below what the API does.
func fits(k *store.Key, e encryption, size int) error {
	ks, ok := specOf(k.Spec)
	if !ok || ks.modulus == 0 {
		return nil
	}
	if most := ks.modulus - 2*e.hash().Size() - 2; size > most { // RFC 8017, section 7.1.1
		return validationError("Algorithm %s and key spec %s cannot encrypt data larger than %d bytes.", e.algorithm, k.Spec, most)
	}
	return nil
}

// encryptWith encrypts with the key itself, or its public half. The version of
// the material is 0 where it has none to be told.
func (s *Service) encryptWith(ctx context.Context, r *request, k *store.Key, e encryption, plaintext []byte) (ciphertext []byte, version uint32, err error) {
	if e.algorithm == symmetric {
		return s.seal(ctx, r, k, plaintext, e.context)
	}
	if ciphertext, err = memkey.EncryptOAEP(k.Spec, k.Public, e.hash(), plaintext); err == nil {
		s.usePublic(r, k)
	}
	return ciphertext, 0, err
}

// materialShown is the ID of the material that a symmetric operation has used.
func materialShown(k *store.Key, version uint32) *string {
	if version == 0 {
		return nil
	}
	return materialIDOf(k, version)
}

func (s *Service) encrypt(ctx context.Context, r *request, in *kms.EncryptInput) (*kms.EncryptOutput, error) {
	r.wipe(in.Plaintext)
	k, err := s.cryptoKey(ctx, r, "kms:Encrypt", *in.KeyId, in.EncryptionContext)
	if err != nil {
		return nil, err
	}
	e := encryptionOf(in.EncryptionAlgorithm, in.EncryptionContext)
	if err := s.encrypts(r, k, e); err != nil {
		return nil, err
	}
	if err := fits(k, e, len(in.Plaintext)); err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	ciphertext, _, err := s.encryptWith(ctx, r, k, e, in.Plaintext)
	if err != nil {
		return nil, err
	}
	return &kms.EncryptOutput{CiphertextBlob: ciphertext, KeyId: new(s.keyARN(k.Ref)), EncryptionAlgorithm: e.algorithm}, nil
}

func (s *Service) decrypt(ctx context.Context, r *request, in *kms.DecryptInput) (*kms.DecryptOutput, error) {
	if err := refuseRecipient(in.Recipient); err != nil {
		return nil, err
	}
	src, err := s.source(ctx, r, "kms:Decrypt", sourceInput{
		ciphertext: in.CiphertextBlob, keyID: in.KeyId, encryption: encryptionOf(in.EncryptionAlgorithm, in.EncryptionContext),
		dryRun: in.DryRun, modifiers: in.DryRunModifiers,
	})
	if err != nil {
		return nil, err
	}
	if src.ignored {
		return nil, dryRun(in.DryRun)
	}
	plaintext, version, err := s.openSource(ctx, r, src)
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	return &kms.DecryptOutput{
		Plaintext: plaintext, KeyId: new(s.keyARN(src.key.Ref)), EncryptionAlgorithm: src.algorithm,
		KeyMaterialId: materialShown(src.key, version),
	}, nil
}

func (s *Service) reEncrypt(ctx context.Context, r *request, in *kms.ReEncryptInput) (*kms.ReEncryptOutput, error) {
	from, err := s.source(ctx, r, "kms:ReEncryptFrom", sourceInput{
		ciphertext: in.CiphertextBlob, keyID: in.SourceKeyId, encryption: encryptionOf(in.SourceEncryptionAlgorithm, in.SourceEncryptionContext),
		dryRun: in.DryRun, modifiers: in.DryRunModifiers,
	})
	if err != nil {
		return nil, err
	}
	to, err := s.cryptoKey(ctx, r, "kms:ReEncryptTo", *in.DestinationKeyId, in.DestinationEncryptionContext)
	if err != nil {
		return nil, err
	}
	e := encryptionOf(in.DestinationEncryptionAlgorithm, in.DestinationEncryptionContext)
	if err := s.encrypts(r, to, e); err != nil {
		return nil, err
	}
	if from.ignored {
		return nil, dryRun(in.DryRun)
	}
	plaintext, fromVersion, err := s.openSource(ctx, r, from)
	if err != nil {
		return nil, err
	}
	if err := fits(to, e, len(plaintext)); err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	ciphertext, toVersion, err := s.encryptWith(ctx, r, to, e, plaintext)
	if err != nil {
		return nil, err
	}
	return &kms.ReEncryptOutput{
		CiphertextBlob: ciphertext,
		KeyId:          new(s.keyARN(to.Ref)), DestinationEncryptionAlgorithm: e.algorithm,
		DestinationKeyMaterialId: materialShown(to, toVersion),
		SourceKeyId:              new(s.keyARN(from.key.Ref)), SourceEncryptionAlgorithm: from.algorithm,
		SourceKeyMaterialId: materialShown(from.key, fromVersion),
	}, nil
}
