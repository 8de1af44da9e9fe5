// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sidekey/sidekey/keysvc/store"
)

const (
	defaultRotationPeriod = 365 // days
	// maxOnDemand is AWS's quota of rotations on demand of a key.
	maxOnDemand  = 10
	rotationPage = 100
	markRotation = 'r'

	// Rotation of store.Material.
	rotatedByItself = string(types.RotationTypeAutomatic)
	rotatedOnDemand = string(types.RotationTypeOnDemand)
)

// notValid refuses a key that is of a kind that an operation is not for.
func (s *Service) notValid(k *store.Key, is string) error {
	return unsupported("%s %s which is not valid for this operation.", s.keyARN(k.Ref), is)
}

// rotates refuses a key whose material cannot be rotated. AWS looks at the
// state before the kind, except at that of a key without material, and has no
// message for keys that are not symmetric.
func (s *Service) rotates(k *store.Key) error {
	if stateOf(k) != store.PendingImport {
		if err := s.usable(k); err != nil {
			return err
		}
	}
	return s.rotatable(k)
}

func (s *Service) rotatable(k *store.Key) error {
	switch {
	case k.Spec != specSymmetric:
		return &types.UnsupportedOperationException{}
	case k.Origin != string(types.OriginTypeAwsKms) && k.Origin != string(types.OriginTypeExternal):
		return s.notValid(k, "origin is "+k.Origin)
	}
	return nil
}

// rotatesByItself refuses a key whose material cannot be rotated by itself, or
// from here.
func (s *Service) rotatesByItself(k *store.Key) error {
	if err := s.rotates(k); err != nil {
		return err
	}
	if k.Origin == string(types.OriginTypeExternal) {
		return s.notValid(k, "origin is "+k.Origin)
	}
	return s.primary(k)
}

func (s *Service) primary(k *store.Key) error {
	if !k.Primary() {
		return unsupported("%s is not a multi-region primary key.", s.keyARN(k.Ref))
	}
	return nil
}

func (s *Service) enableKeyRotation(ctx context.Context, r *request, in *kms.EnableKeyRotationInput) error {
	period := int32(defaultRotationPeriod)
	if in.RotationPeriodInDays != nil {
		period = *in.RotationPeriodInDays
	}
	return s.setRotation(ctx, r, "kms:EnableKeyRotation", *in.KeyId, func(k *store.Key) {
		k.Rotation.Enabled, k.Rotation.Period = true, period
		k.Rotation.Next = nextRotation(time.Now(), period)
	})
}

func (s *Service) disableKeyRotation(ctx context.Context, r *request, in *kms.DisableKeyRotationInput) error {
	return s.setRotation(ctx, r, "kms:DisableKeyRotation", *in.KeyId, func(k *store.Key) {
		k.Rotation.Enabled, k.Rotation.Period, k.Rotation.Next = false, 0, time.Time{}
	})
}

func nextRotation(from time.Time, period int32) time.Time { return from.AddDate(0, 0, int(period)) }

// setRotation changes the schedule of a key, and so that of its replicas.
func (s *Service) setRotation(ctx context.Context, r *request, action, keyID string, set func(*store.Key)) error {
	k, err := s.controlKey(ctx, r, action, keyID)
	if err != nil {
		return err
	}
	_, err = s.update(ctx, k, func(tx *store.Tx, k *store.Key) error {
		if err := s.rotatesByItself(k); err != nil {
			return err
		}
		if err := s.usable(k); err != nil {
			return err
		}
		related, err := tx.Group(k.ID)
		if err != nil {
			return err
		}
		for _, k := range related {
			set(k)
		}
		return nil
	})
	return err
}

func (s *Service) getKeyRotationStatus(ctx context.Context, r *request, in *kms.GetKeyRotationStatusInput) (*kms.GetKeyRotationStatusOutput, error) {
	k, err := s.controlKey(ctx, r, "kms:GetKeyRotationStatus", *in.KeyId)
	if err != nil {
		return nil, err
	}
	if k.Origin != string(types.OriginTypeAwsKms) {
		return nil, s.notValid(k, "origin is "+k.Origin)
	}
	// While a key waits for its deletion it is not rotated, and AWS says so.
	enabled := k.Rotation.Enabled && s.notPending(k) == nil
	out := &kms.GetKeyRotationStatusOutput{KeyId: text("%s", s.keyARN(k.Ref)), KeyRotationEnabled: enabled}
	if enabled {
		out.RotationPeriodInDays, out.NextRotationDate = &k.Rotation.Period, &k.Rotation.Next
	}
	return out, nil
}

func (s *Service) rotateKeyOnDemand(ctx context.Context, r *request, in *kms.RotateKeyOnDemandInput) (*kms.RotateKeyOnDemandOutput, error) {
	k, err := s.controlKey(ctx, r, "kms:RotateKeyOnDemand", *in.KeyId)
	if err != nil {
		return nil, err
	}
	check := func(k *store.Key) error {
		for _, err := range []error{s.rotates(k), s.primary(k), s.usable(k)} {
			if err != nil {
				return err
			}
		}
		if k.Rotation.OnDemand >= maxOnDemand {
			return &types.LimitExceededException{Message: text("The on-demand rotations limit has been reached for the given keyId. No more on-demand rotations can be performed for this key: %s", s.keyARN(k.Ref))}
		}
		return nil
	}
	if err := check(k); err != nil {
		return nil, err
	}
	if k.Origin == string(types.OriginTypeExternal) {
		err = s.rotateImported(ctx, k, check)
	} else {
		err = s.rotate(ctx, r, k, store.Material{Rotation: rotatedOnDemand, Created: time.Now()}, func(related []*store.Key, k *store.Key) error {
			if err := check(k); err != nil {
				return err
			}
			for _, k := range related {
				k.Rotation.OnDemand++
			}
			return nil
		})
	}
	if err != nil {
		return nil, err
	}
	return &kms.RotateKeyOnDemandOutput{KeyId: text("%s", s.keyARN(k.Ref))}, nil
}

// rotateDue rotates a key whose time has come. Of several replicas one does
// it: the others find, in their transaction, that it is not due any more.
func (s *Service) rotateDue(ctx context.Context, k *store.Key, now time.Time) error {
	ctx, r, err := s.scheduled(ctx, "RotateKey", k)
	if err != nil {
		return err
	}
	err = s.rotate(ctx, r, k, store.Material{Rotation: rotatedByItself, Created: now}, func(related []*store.Key, k *store.Key) error {
		if k.State != store.Enabled || !k.Rotation.Enabled || k.Rotation.Next.After(now) {
			return s.invalidState(k, "is not due for rotation.")
		}
		next := nextRotation(k.Rotation.Next, k.Rotation.Period)
		if !next.After(now) { // the service was away for more than a period
			next = nextRotation(now, k.Rotation.Period)
		}
		for _, k := range related {
			k.Rotation.Next = next
		}
		return nil
	})
	var done *types.KMSInvalidStateException
	if errors.As(err, &done) { // on the record, and nothing to say otherwise
		return r.audit.End(done.ErrorCode())
	}
	return s.endScheduled(r, err)
}

// errRaced is of a rotation that another one was faster than.
var errRaced = errors.New("the key was rotated meanwhile")

// rotate makes new material and has the key, and its replicas, encrypt with it.
// record, in the transaction that does so, notes the rotation or refuses it.
func (s *Service) rotate(ctx context.Context, r *request, k *store.Key, m store.Material, record func(related []*store.Key, k *store.Key) error) (err error) {
	for range 5 {
		if m.Wrapped, _, err = s.newMaterial(ctx, r, k); err != nil {
			return err
		}
		if err := s.probe(ctx, k, m.Wrapped); err != nil {
			return fmt.Errorf("proving new material of key %s: %w", k.ID, err)
		}
		m.Version = k.Versions + 1
		_, err = s.update(ctx, k, func(tx *store.Tx, k *store.Key) error {
			related, err := tx.Group(k.ID)
			if err != nil {
				return err
			}
			if err := record(related, k); err != nil {
				return err
			}
			if k.Versions+1 != m.Version {
				return errRaced
			}
			for _, k := range related {
				k.Version, k.Versions = m.Version, m.Version
				if err := tx.AddMaterial(k.Ref, m); err != nil {
					return err
				}
			}
			return nil
		})
		if !errors.Is(err, errRaced) {
			break
		}
		if k, err = s.store.Key(ctx, k.Ref); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	return s.verifyStored(ctx, k, m.Version, m.Wrapped)
}

// rotateImported has a key encrypt with the material that was imported for it.
func (s *Service) rotateImported(ctx context.Context, k *store.Key, check func(*store.Key) error) error {
	none := &types.KMSInvalidStateException{Message: text("No available key material pending rotation for the key: %s.", s.keyARN(k.Ref))}
	_, err := s.update(ctx, k, func(tx *store.Tx, k *store.Key) error {
		if err := check(k); err != nil {
			return err
		}
		related, err := tx.Group(k.ID)
		if err != nil {
			return err
		}
		now := time.Now()
		for _, k := range related {
			i := slices.IndexFunc(k.Imports, func(v store.Import) bool { return v.Pending && v.Present })
			if i < 0 {
				return none
			}
			k.Imports[i].Pending, k.Imports[i].Rotated = false, now
			k.Version = k.Imports[i].Version
			k.Rotation.OnDemand++
		}
		return nil
	})
	return err
}

func (s *Service) listKeyRotations(ctx context.Context, r *request, in *kms.ListKeyRotationsInput) (*kms.ListKeyRotationsOutput, error) {
	k, err := s.controlKey(ctx, r, "kms:ListKeyRotations", *in.KeyId)
	if err != nil {
		return nil, err
	}
	if err := s.rotatable(k); err != nil {
		return nil, err
	}
	all := in.IncludeKeyMaterial == types.IncludeKeyMaterialAllKeyMaterial
	after := uint32(0)
	if in.Marker != nil {
		raw, err := parseMarker(markRotation, *in.Marker)
		if err != nil || len(raw) != 4 {
			return nil, invalidMarker()
		}
		after = binary.BigEndian.Uint32(raw)
	}
	out := &kms.ListKeyRotationsOutput{Rotations: []types.RotationsListEntry{}}
	versions, more, err := s.rotationsAfter(ctx, k, after, all, limit(in.Limit, rotationPage))
	if err != nil {
		return nil, err
	}
	for _, v := range versions {
		out.Rotations = append(out.Rotations, s.rotationEntry(k, v))
	}
	if more {
		last := versions[len(versions)-1].Version
		out.Truncated, out.NextMarker = true, marker(markRotation, binary.BigEndian.AppendUint32(nil, last))
	}
	return out, nil
}

// rotationsAfter lists versions of a key's material: those that a rotation
// brought, or all.
func (s *Service) rotationsAfter(ctx context.Context, k *store.Key, after uint32, all bool, limit int) ([]store.Material, bool, error) {
	if k.Origin == string(types.OriginTypeExternal) {
		var list []store.Material
		for _, v := range k.Imports {
			if v.Version > after && (all || !v.Rotated.IsZero()) {
				list = append(list, store.Material{Version: v.Version, Created: v.Rotated})
			}
		}
		if len(list) > limit {
			return list[:limit], true, nil
		}
		return list, false, nil
	}
	if !all {
		after = max(after, 1) // the first came with the key
	}
	return s.store.Materials(ctx, k.Ref, after, limit)
}

func (s *Service) rotationEntry(k *store.Key, m store.Material) types.RotationsListEntry {
	e := types.RotationsListEntry{
		KeyId: text("%s", s.keyARN(k.Ref)), KeyMaterialId: materialIDOf(k, m.Version),
		KeyMaterialState: types.KeyMaterialStateNonCurrent,
	}
	if m.Version == k.Version {
		e.KeyMaterialState = types.KeyMaterialStateCurrent
	}
	rotation := m.Rotation
	if i := importOf(k, m.Version); i != nil {
		describeVersion(&e, k, i)
		if !i.Rotated.IsZero() {
			rotation = rotatedOnDemand
		}
	}
	if rotation != "" {
		e.RotationType, e.RotationDate = types.RotationType(rotation), &m.Created
	}
	return e
}
