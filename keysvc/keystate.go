// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"context"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sidekey/sidekey/keysvc/store"
)

// defaultWindow is the deletion window, in days, of a request that names none.
const defaultWindow = 30

// stateOf is the state of a key to whoever asks now: imported material that has
// expired is gone before the sweeper has erased it.
func stateOf(k *store.Key) store.State {
	if (k.State == store.Enabled || k.State == store.Disabled) && expired(k, time.Now()) {
		return store.PendingImport
	}
	return k.State
}

// usable refuses a key that is not in a state for cryptographic operations.
func (s *Service) usable(k *store.Key) error {
	if stateOf(k) == store.Disabled {
		return &types.DisabledException{Message: text("%s is disabled.", s.keyARN(k.Ref))}
	}
	return s.notImporting(k)
}

// notPending refuses a key that waits for its deletion.
func (s *Service) notPending(k *store.Key) error {
	switch k.State {
	case store.PendingDeletion:
		return s.invalidState(k, "is pending deletion.")
	case store.PendingReplicaDeletion:
		return s.invalidState(k, "is pending replica deletion.")
	}
	return nil
}

func (s *Service) invalidState(k *store.Key, is string) error {
	return &types.KMSInvalidStateException{Message: text("%s %s", s.keyARN(k.Ref), is)}
}

// notImporting refuses a key that has no material yet.
func (s *Service) notImporting(k *store.Key) error {
	if stateOf(k) == store.PendingImport {
		return s.invalidState(k, "is pending import.")
	}
	return s.notPending(k)
}

func (s *Service) enableKey(ctx context.Context, r *request, in *kms.EnableKeyInput) error {
	return s.switchKey(ctx, r, "kms:EnableKey", *in.KeyId, store.Enabled)
}

func (s *Service) disableKey(ctx context.Context, r *request, in *kms.DisableKeyInput) error {
	return s.switchKey(ctx, r, "kms:DisableKey", *in.KeyId, store.Disabled)
}

func (s *Service) switchKey(ctx context.Context, r *request, action, keyID string, state store.State) error {
	k, err := s.controlKey(ctx, r, action, keyID)
	if err != nil {
		return err
	}
	_, err = s.update(ctx, k, func(_ *store.Tx, k *store.Key) error {
		if err := s.notImporting(k); err != nil {
			return err
		}
		k.State = state
		return nil
	})
	return err
}

func (s *Service) scheduleKeyDeletion(ctx context.Context, r *request, in *kms.ScheduleKeyDeletionInput) (*kms.ScheduleKeyDeletionOutput, error) {
	days := int32(defaultWindow)
	if in.PendingWindowInDays != nil {
		days = *in.PendingWindowInDays
	}
	k, err := s.controlKey(ctx, r, "kms:ScheduleKeyDeletion", *in.KeyId)
	if err != nil {
		return nil, err
	}
	k, err = s.update(ctx, k, func(tx *store.Tx, k *store.Key) error {
		if err := s.notPending(k); err != nil {
			return err
		}
		related, err := tx.Group(k.ID)
		if err != nil {
			return err
		}
		if k.MultiRegion() && k.Primary() && len(related) > 1 {
			k.State, k.PendingWindow = store.PendingReplicaDeletion, days
			return nil
		}
		beginDeletion(k, days)
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := &kms.ScheduleKeyDeletionOutput{KeyId: text("%s", s.keyARN(k.Ref)), KeyState: types.KeyState(k.State), PendingWindowInDays: &days}
	if !k.DeletionDate.IsZero() {
		out.DeletionDate = &k.DeletionDate
	}
	return out, nil
}

func beginDeletion(k *store.Key, days int32) {
	k.State, k.PendingWindow = store.PendingDeletion, 0
	k.DeletionDate = time.Now().AddDate(0, 0, int(days)).Truncate(time.Millisecond)
}

// cancelKeyDeletion leaves the key disabled, or without material if it has
// none, as AWS does.
func (s *Service) cancelKeyDeletion(ctx context.Context, r *request, in *kms.CancelKeyDeletionInput) (*kms.CancelKeyDeletionOutput, error) {
	k, err := s.controlKey(ctx, r, "kms:CancelKeyDeletion", *in.KeyId)
	if err != nil {
		return nil, err
	}
	k, err = s.update(ctx, k, func(_ *store.Tx, k *store.Key) error {
		if k.State != store.PendingDeletion && k.State != store.PendingReplicaDeletion {
			return s.invalidState(k, "is not pending deletion.")
		}
		k.State, k.DeletionDate, k.PendingWindow = store.Disabled, time.Time{}, 0
		if !hasMaterial(k) {
			k.State = store.PendingImport
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &kms.CancelKeyDeletionOutput{KeyId: text("%s", s.keyARN(k.Ref))}, nil
}

// hasMaterial reports whether all that was imported into a key is there; it is
// true of keys that import nothing.
func hasMaterial(k *store.Key) bool {
	if k.Origin != string(types.OriginTypeExternal) {
		return true
	}
	return k.Version != 0 && !slices.ContainsFunc(k.Imports, func(i store.Import) bool { return !i.Present && !i.Pending })
}
