// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sidekey/sidekey/keysvc/locked"
	"github.com/sidekey/sidekey/keysvc/policy"
	"github.com/sidekey/sidekey/keysvc/store"
)

// protectionTag, given to CreateKey, chooses the protection of a key's
// material: hsm or memory. It stays a tag of the key like any other; which
// protection the key has is what systemProtectionTag says.
const (
	protectionTag       = "sidekey:protection"
	systemProtectionTag = "aws:sidekey:protection"
)

func (s *Service) createKey(ctx context.Context, r *request, in *kms.CreateKeyInput) (*kms.CreateKeyOutput, error) {
	tags, err := checkTags(in.Tags)
	if err != nil {
		return nil, err
	}
	id, err := newID(in.MultiRegion != nil && *in.MultiRegion)
	if err != nil {
		return nil, err
	}
	ref := store.Ref{Region: r.region, ID: id}
	if err := s.allowed(ctx, r, "kms:CreateKey"); err != nil {
		return nil, err
	}
	if len(tags) > 0 {
		if err := s.decide(ctx, r, "kms:TagResource", policy.Resource{Names: []string{s.keyARN(ref)}}, s.keyARN(ref)); err != nil {
			return nil, err
		}
	}
	k := store.Key{Ref: ref, State: store.Enabled, Description: value(in.Description), Created: time.Now(), Tags: tags}
	if err := s.shapeKey(ctx, r, &k, in); err != nil {
		return nil, err
	}
	r.about(s.keyARN(ref))
	if err := s.makeKey(ctx, r, &k); err != nil {
		return nil, err
	}
	created, err := s.store.Key(ctx, ref)
	if err != nil {
		return nil, err
	}
	m, err := s.metadata(ctx, created)
	return &kms.CreateKeyOutput{KeyMetadata: m}, err
}

// shapeKey decides what kind of key a request asks for.
func (s *Service) shapeKey(ctx context.Context, r *request, k *store.Key, in *kms.CreateKeyInput) (err error) {
	if k.Spec, k.Usage, err = keyKindOf(in); err != nil {
		return err
	}
	k.Origin = string(types.OriginTypeAwsKms)
	if in.Origin != "" {
		k.Origin = string(in.Origin)
	}
	multi := in.MultiRegion != nil && *in.MultiRegion
	switch types.OriginType(k.Origin) {
	case types.OriginTypeExternalKeyStore:
		return unsupported("Origin %s is not supported by this key service.", in.Origin)
	case types.OriginTypeAwsCloudhsm:
		if err := s.shapeCustomKey(ctx, k, in); err != nil {
			return err
		}
	case types.OriginTypeExternal:
		k.State = store.PendingImport
	}
	switch {
	case in.XksKeyId != nil:
		return validationError("You cannot specify XksKeyId for a KMS key whose Origin is %s.", k.Origin)
	case in.CustomKeyStoreId != nil && k.KeyStore == "":
		return validationError("You cannot specify CustomKeyStoreId for a KMS key whose Origin is %s.", k.Origin)
	case multi && k.KeyStore != "":
		return unsupported("You cannot create a multi-Region key in a custom key store.")
	case multi:
		k.PrimaryRegion = k.Region
	}
	if k.Policy, err = s.newPolicy(r, k.Ref, in.Policy, in.BypassPolicyLockoutSafetyCheck); err != nil {
		return err
	}
	return s.protect(k)
}

// protect chooses the protection of a key's material: inside the HSM where it
// can be, in locked memory where it cannot or was asked to.
func (s *Service) protect(k *store.Key) error {
	asked := k.Tags[protectionTag]
	k.Protection = protectionHSM
	supported := k.Spec == specSymmetric || k.KeyStore == "" && s.token.Supports(k.Spec)
	switch {
	case asked != "" && asked != protectionHSM && asked != protectionMemory:
		return validationError("The value of the tag %s must be %s or %s", protectionTag, protectionHSM, protectionMemory)
	case asked == protectionMemory && k.KeyStore != "":
		return unsupported("Keys of a custom key store are used in its token: the tag %s cannot be %s.", protectionTag, protectionMemory)
	case asked == protectionHSM && !supported:
		return unsupported("The HSM of this key service cannot use keys of KeySpec %s.", k.Spec)
	case asked == protectionMemory || !supported:
		k.Protection = protectionMemory
	}
	if err := s.allowedProtection(k); err != nil {
		return err
	}
	if k.Protection == protectionMemory && !s.held.arena.Locked() {
		return fmt.Errorf("making a key with protection %s: %w", protectionMemory, locked.ErrNotLocked)
	}
	return nil
}

// allowedProtection refuses keys that the configuration keeps out of memory.
func (s *Service) allowedProtection(k *store.Key) error {
	if k.Protection == protectionMemory && s.cfg.RefuseMemoryKeys {
		return unsupported("A key of KeySpec %s would be used in the memory of this key service, whose configuration refuses that.", k.Spec)
	}
	return nil
}

// makeKey makes the material and stores the key, which counts as made only
// when the material has been read back and used.
func (s *Service) makeKey(ctx context.Context, r *request, k *store.Key) error {
	if k.State == store.PendingImport {
		return s.store.CreateKey(ctx, *k)
	}
	wrapped, public, err := s.newMaterial(ctx, r, k)
	if err != nil {
		return err
	}
	k.Public, k.Version, k.Versions = public, 1, 1
	if err := s.store.CreateKey(ctx, *k, store.Material{Version: 1, Wrapped: wrapped, Created: k.Created}); err != nil {
		return err
	}
	if err := s.verifyStored(ctx, k, 1, wrapped); err != nil {
		discarded := s.store.Discard(context.WithoutCancel(ctx), k.Ref)
		return errors.Join(fmt.Errorf("verifying new key %s: %w", k.ID, err), discarded)
	}
	s.log.Info("key created", slog.String("key", s.keyARN(k.Ref)), slog.String("spec", k.Spec), slog.String("protection", k.Protection))
	return nil
}
