// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sidekey/sidekey/keysvc/memkey"
	"github.com/sidekey/sidekey/keysvc/store"
)

// maxValidity is how far in the future imported material may expire.
const maxValidity = 365 * 24 * time.Hour

// rotatedByImport is the Rotation of a store.Material that was imported.
const rotatedByImport = "IMPORT"

// imports refuses a key that does not take imported material, or not now.
func (s *Service) imports(k *store.Key) error {
	if k.Origin != string(types.OriginTypeExternal) {
		return s.notValid(k, "origin is "+k.Origin)
	}
	return s.notPending(k)
}

// importedID is the ID of imported material: the same for the same material
// and key, in all regions. Without the store's key nothing can be learnt from it.
func (s *Service) importedID(k *store.Key, material []byte) string {
	h := hmac.New(sha256.New, s.storeKeys.check)
	h.Write(k.ID[:])
	h.Write(material)
	return hex.EncodeToString(h.Sum(nil))
}

func importOf(k *store.Key, version uint32) *store.Import {
	i := slices.IndexFunc(k.Imports, func(v store.Import) bool { return v.Version == version })
	if i < 0 {
		return nil
	}
	return &k.Imports[i]
}

func importNamed(k *store.Key, id string) *store.Import {
	i := slices.IndexFunc(k.Imports, func(v store.Import) bool { return v.MaterialID == id })
	if i < 0 {
		return nil
	}
	return &k.Imports[i]
}

// expired reports whether imported material that the key needs is past its
// time: it counts as gone before the sweeper has erased it.
func expired(k *store.Key, now time.Time) bool {
	return slices.ContainsFunc(k.Imports, func(v store.Import) bool {
		return v.Present && !v.Pending && !v.ValidTo.IsZero() && !v.ValidTo.After(now)
	})
}

func (s *Service) importKeyMaterial(ctx context.Context, r *request, in *kms.ImportKeyMaterialInput) (*kms.ImportKeyMaterialOutput, error) {
	r.wipe(in.EncryptedKeyMaterial)
	k, err := s.controlKey(ctx, r, "kms:ImportKeyMaterial", *in.KeyId)
	if err != nil {
		return nil, err
	}
	if err := s.imports(k); err != nil {
		return nil, err
	}
	if err := checkImport(k, in); err != nil {
		return nil, err
	}
	token, err := s.redeemImportToken(k, in.ImportToken)
	if err != nil {
		return nil, err
	}
	material, ok, err := s.unwrap(ctx, r, token, in.EncryptedKeyMaterial)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, invalidCiphertext()
	}
	if material, err = memkey.Canonical(k.Spec, material); err != nil {
		return nil, incorrectMaterial("The key material in the request is not valid for key spec %s.", k.Spec)
	}
	r.wipe(material)
	id := s.importedID(k, material)
	if err := s.putImport(ctx, r, k, in, id, material); err != nil {
		return nil, err
	}
	out := &kms.ImportKeyMaterialOutput{KeyId: text("%s", s.keyARN(k.Ref))}
	if k.Spec == specSymmetric {
		out.KeyMaterialId = &id
	}
	return out, nil
}

func incorrectMaterial(format string, args ...any) error {
	return &types.IncorrectKeyMaterialException{Message: text(format, args...)}
}

// checkImport checks what does not need the material.
func checkImport(k *store.Key, in *kms.ImportKeyMaterialInput) error {
	symmetric := k.Spec == specSymmetric
	switch {
	case in.ExpirationModel == types.ExpirationModelTypeKeyMaterialDoesNotExpire && in.ValidTo != nil:
		return validationError("A validTo date cannot be set if the ExpirationModel is KEY_MATERIAL_DOES_NOT_EXPIRE")
	case in.ExpirationModel != types.ExpirationModelTypeKeyMaterialDoesNotExpire && in.ValidTo == nil:
		return validationError("A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES")
	case in.ValidTo != nil && !in.ValidTo.After(time.Now()):
		return validationError("The validTo date must be in the future")
	case in.ValidTo != nil && in.ValidTo.After(time.Now().Add(maxValidity)):
		return validationError("The validTo date must be at most 365 days in the future")
	case !symmetric && (in.ImportType != "" || in.KeyMaterialId != nil || in.KeyMaterialDescription != nil):
		return validationError("ImportType, KeyMaterialId and KeyMaterialDescription can only be used with symmetric encryption keys")
	case in.KeyMaterialId != nil && in.ImportType == types.ImportTypeNewKeyMaterial:
		return validationError("KeyMaterialId cannot be specified when ImportType is NEW_KEY_MATERIAL")
	}
	return nil
}

// putImport wraps the material and has the key know of it.
func (s *Service) putImport(ctx context.Context, r *request, k *store.Key, in *kms.ImportKeyMaterialInput, id string, material []byte) error {
	for range 5 {
		version, err := s.importVersion(k, in, id)
		if err != nil {
			return err
		}
		wrapped, public, err := s.importMaterial(ctx, r, k, version, slices.Clone(material))
		if err != nil {
			return err
		}
		if err := s.probe(ctx, k, wrapped); err != nil {
			return fmt.Errorf("proving imported material of key %s: %w", k.ID, err)
		}
		m := store.Material{Version: version, Wrapped: wrapped, Created: time.Now(), Rotation: rotatedByImport}
		_, err = s.update(ctx, k, func(tx *store.Tx, k *store.Key) error {
			if now, err := s.importVersion(k, in, id); err != nil {
				return err
			} else if now != version {
				return errRaced
			}
			if err := tx.DropMaterial(k.Ref, version); err != nil {
				return err
			}
			if err := tx.AddMaterial(k.Ref, m); err != nil {
				return err
			}
			if public != nil {
				k.Public = public
			}
			return noteImport(tx, k, in, id, m)
		})
		if !errors.Is(err, errRaced) {
			if err == nil {
				s.forget(k.ID)
				err = s.verifyStored(ctx, k, version, wrapped)
			}
			return err
		}
		if k, err = s.store.Key(ctx, k.Ref); err != nil {
			return err
		}
	}
	return errRaced
}

// importVersion decides which version of the key's material an import is, or
// why it cannot be one.
func (s *Service) importVersion(k *store.Key, in *kms.ImportKeyMaterialInput, id string) (uint32, error) {
	if err := s.imports(k); err != nil {
		return 0, err
	}
	known := importNamed(k, id)
	fresh := in.ImportType == types.ImportTypeNewKeyMaterial || in.ImportType == "" && len(k.Imports) == 0
	if !fresh {
		if known == nil || in.KeyMaterialId != nil && *in.KeyMaterialId != id {
			return 0, incorrectMaterial("The key material in the request is not the same key material that was previously imported into this KMS key.")
		}
		return known.Version, nil
	}
	pending := slices.IndexFunc(k.Imports, func(v store.Import) bool { return v.Pending })
	switch {
	case !k.Primary():
		return 0, s.primary(k)
	case known != nil && known.Pending && !known.Present:
		return known.Version, nil
	case known != nil:
		return 0, incorrectMaterial("The key material in the request is already associated with this KMS key.")
	case pending >= 0:
		return 0, &types.KMSInvalidStateException{Message: text("New key material (id: %s) cannot be imported into KMS key %s, because another key material (id: %s) is pending rotation.",
			id, s.keyARN(k.Ref), k.Imports[pending].MaterialID)}
	case len(k.Imports) > 0 && !hasMaterial(k):
		return 0, s.invalidState(k, "is pending import.")
	}
	return k.Versions + 1, nil
}

// noteImport records material that was stored. New material of a multi-Region
// primary key is then awaited in its replicas.
func noteImport(tx *store.Tx, k *store.Key, in *kms.ImportKeyMaterialInput, id string, m store.Material) error {
	v := importNamed(k, id)
	if v == nil {
		related, err := tx.Group(k.ID)
		if err != nil {
			return err
		}
		for _, k := range related {
			k.Versions = m.Version
			k.Imports = append(slices.Clone(k.Imports), store.Import{Version: m.Version, MaterialID: id, Pending: m.Version > 1})
		}
		v = importNamed(k, id)
	} else {
		k.Imports = slices.Clone(k.Imports)
		v = importNamed(k, id)
	}
	v.Present, v.Imported, v.ValidTo = true, m.Created, time.Time{}
	if in.ValidTo != nil {
		v.ValidTo = *in.ValidTo
	}
	if in.KeyMaterialDescription != nil {
		v.Description = *in.KeyMaterialDescription
	}
	if k.Version == 0 {
		k.Version = v.Version
	}
	if k.State == store.PendingImport && hasMaterial(k) {
		k.State = store.Enabled
	}
	return nil
}

func (s *Service) deleteImportedKeyMaterial(ctx context.Context, r *request, in *kms.DeleteImportedKeyMaterialInput) (*kms.DeleteImportedKeyMaterialOutput, error) {
	k, err := s.controlKey(ctx, r, "kms:DeleteImportedKeyMaterial", *in.KeyId)
	if err != nil {
		return nil, err
	}
	out := &kms.DeleteImportedKeyMaterialOutput{KeyId: text("%s", s.keyARN(k.Ref))}
	_, err = s.update(ctx, k, func(tx *store.Tx, k *store.Key) error {
		if err := s.imports(k); err != nil {
			return err
		}
		if in.KeyMaterialId != nil && k.Spec != specSymmetric {
			return validationError("KeyMaterialId can only be used with symmetric encryption keys")
		}
		v := importOf(k, k.Version)
		if in.KeyMaterialId != nil {
			if v = importNamed(k, *in.KeyMaterialId); v == nil {
				return incorrectMaterial("The key material ID in the request is not associated with this KMS key.")
			}
		}
		if v == nil { // nothing was imported yet
			return nil
		}
		if k.Spec == specSymmetric {
			out.KeyMaterialId = text("%s", v.MaterialID)
		}
		return dropImport(tx, k, v.Version)
	})
	if err != nil {
		return nil, err
	}
	s.forget(k.ID)
	s.unclean.Store(true)
	return out, nil
}

// dropImport erases imported material. What only waited for a rotation is
// forgotten altogether, in all regions.
func dropImport(tx *store.Tx, k *store.Key, version uint32) error {
	if importOf(k, version).Pending {
		related, err := tx.Group(k.ID)
		if err != nil {
			return err
		}
		for _, k := range related {
			k.Imports = slices.DeleteFunc(slices.Clone(k.Imports), func(v store.Import) bool { return v.Version == version })
			if err := tx.DropMaterial(k.Ref, version); err != nil {
				return err
			}
		}
		return nil
	}
	k.Imports = slices.Clone(k.Imports)
	v := importOf(k, version)
	v.Present, v.ValidTo = false, time.Time{}
	k.State = store.PendingImport
	return tx.DropMaterial(k.Ref, version)
}

// expireMaterial erases imported material whose time has come. Of several
// replicas of the service one finds it.
func (s *Service) expireMaterial(ctx context.Context, k *store.Key, now time.Time) error {
	ctx, r, err := s.scheduled(ctx, "DeleteExpiredKeyMaterial", k)
	if err != nil {
		return err
	}
	_, err = s.update(ctx, k, func(tx *store.Tx, k *store.Key) error {
		state := k.State
		for _, v := range slices.Clone(k.Imports) {
			if !v.Present || v.ValidTo.IsZero() || v.ValidTo.After(now) {
				continue
			}
			if err := dropImport(tx, k, v.Version); err != nil {
				return err
			}
		}
		if state == store.PendingDeletion || state == store.PendingReplicaDeletion {
			k.State = state
		}
		return nil
	})
	s.forget(k.ID)
	return s.endScheduled(r, err)
}

// describeImport adds what is to be said of imported material.
func (s *Service) describeImport(m *types.KeyMetadata, k *store.Key) {
	v, now := importOf(k, k.Version), time.Now()
	if v == nil || !v.Present || !v.ValidTo.IsZero() && !v.ValidTo.After(now) {
		return
	}
	m.ExpirationModel, m.ValidTo = expiration(v)
}

func expiration(v *store.Import) (types.ExpirationModelType, *time.Time) {
	if v.ValidTo.IsZero() {
		return types.ExpirationModelTypeKeyMaterialDoesNotExpire, nil
	}
	return types.ExpirationModelTypeKeyMaterialExpires, &v.ValidTo
}

// describeVersion adds to a list of key material what was imported.
func describeVersion(e *types.RotationsListEntry, k *store.Key, v *store.Import) {
	e.ImportState = types.ImportStatePendingImport
	if v.Present {
		e.ImportState = types.ImportStateImported
		e.ExpirationModel, e.ValidTo = expiration(v)
	}
	if v.Pending {
		e.KeyMaterialState = types.KeyMaterialStatePendingRotation
		if k.MultiRegion() && !v.Present {
			e.KeyMaterialState = types.KeyMaterialStatePendingMultiRegionImportAndRotation
		}
	}
	if v.Description != "" {
		e.KeyMaterialDescription = &v.Description
	}
}
