// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sidekey/sidekey/keysvc/store"
)

// sourceInput is what Decrypt and ReEncrypt are told of a ciphertext.
type sourceInput struct {
	ciphertext []byte
	keyID      *string
	encryption
	dryRun    *bool
	modifiers []types.DryRunModifierType
}

// source is a ciphertext and the key that opens it.
type source struct {
	sourceInput
	key     *store.Key
	blob    *blob // of a symmetric ciphertext
	ignored bool  // the caller asked not to look at the ciphertext
}

// check finds out what must be there: an asymmetric ciphertext does not name
// its key, and neither does one that is not looked at.
func (in *sourceInput) check() (ignored bool, err error) {
	ignored = len(in.modifiers) > 0
	missing := func(name string) error {
		return validationError("1 validation error detected: Value null at '%s' failed to satisfy constraint: %s", name, mustBeThere)
	}
	switch {
	case ignored && dryRun(in.dryRun) == nil:
		return false, validationError("DryRunModifiers can only be used when DryRun is true")
	case !ignored && in.ciphertext == nil:
		return false, missing("ciphertextBlob")
	case (ignored || in.algorithm != symmetric) && in.keyID == nil:
		return false, missing("keyId")
	}
	return ignored, nil
}

// source decides about the key of a ciphertext. AWS looks at a symmetric
// ciphertext before it looks at what the key is for and what state it is in.
func (s *Service) source(ctx context.Context, r *request, action string, in sourceInput) (*source, error) {
	ignored, err := in.check()
	if err != nil {
		return nil, err
	}
	src := &source{sourceInput: in, ignored: ignored}
	var malformed error
	if !ignored && in.algorithm == symmetric {
		src.blob, malformed = parseBlob(in.ciphertext)
	}
	if src.key, err = s.sourceKey(ctx, r, action, src); err != nil {
		return nil, err
	}
	if malformed != nil {
		return nil, invalidCiphertext()
	}
	if src.blob != nil && src.blob.keyID != src.key.ID {
		return nil, &types.IncorrectKeyException{Message: text("The key ID in the request does not identify a CMK that can perform this operation.")}
	}
	return src, s.encrypts(r, src.key, in.encryption)
}

// sourceKey decides about the key that the caller names or, if none is named,
// the one that the ciphertext names.
func (s *Service) sourceKey(ctx context.Context, r *request, action string, src *source) (*store.Key, error) {
	if src.keyID != nil {
		return s.cryptoKey(ctx, r, action, *src.keyID, src.context)
	}
	if src.blob == nil {
		return nil, invalidCiphertext()
	}
	k, err := s.key(ctx, r, action, keyName{Ref: store.Ref{Region: r.region, ID: src.blob.keyID}}, src.context)
	var missing *types.NotFoundException
	if errors.As(err, &missing) {
		return nil, apiError(codeAccessDenied, "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access.")
	}
	return k, err
}

// openSource decrypts. The version of the material is 0 where it has none to
// be told.
func (s *Service) openSource(ctx context.Context, r *request, src *source) (plaintext []byte, version uint32, err error) {
	if src.blob != nil {
		plaintext, err = s.open(ctx, r, src.key, src.blob, src.context)
		return plaintext, src.blob.version, err
	}
	if ks, _ := specOf(src.key.Spec); len(src.ciphertext) != ks.modulus {
		return nil, 0, invalidCiphertext()
	}
	plaintext, ok, err := s.decryptOAEP(ctx, r, src.key, src.hash(), src.ciphertext)
	if err == nil && !ok {
		err = invalidCiphertext()
	}
	return plaintext, 0, err
}
