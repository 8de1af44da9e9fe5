// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sidekey/sidekey/keysvc/store"
)

// defaultWindow is the deletion window, in days, of a request that names none.
const defaultWindow = 30

// usable refuses a key that is not in a state for cryptographic operations.
func (s *Service) usable(k *store.Key) error {
	switch k.State {
	case store.Enabled:
		return nil
	case store.Disabled:
		return &types.DisabledException{Message: text("%s is disabled.", s.keyARN(k.ID))}
	}
	return s.notPending(k)
}

// notPending refuses a key that waits for its deletion.
func (s *Service) notPending(k *store.Key) error {
	if k.State == store.PendingDeletion {
		return s.invalidState(k, "is pending deletion.")
	}
	return nil
}

func (s *Service) invalidState(k *store.Key, is string) error {
	return &types.KMSInvalidStateException{Message: text("%s %s", s.keyARN(k.ID), is)}
}

func (s *Service) enableKey(ctx context.Context, r *request, in *kms.EnableKeyInput) error {
	_, err := s.transition(ctx, r, "kms:EnableKey", *in.KeyId, func(k *store.Key) error {
		if err := s.notPending(k); err != nil {
			return err
		}
		k.State = store.Enabled
		return nil
	})
	return err
}

func (s *Service) disableKey(ctx context.Context, r *request, in *kms.DisableKeyInput) error {
	_, err := s.transition(ctx, r, "kms:DisableKey", *in.KeyId, func(k *store.Key) error {
		if err := s.notPending(k); err != nil {
			return err
		}
		k.State = store.Disabled
		return nil
	})
	return err
}

func (s *Service) scheduleKeyDeletion(ctx context.Context, r *request, in *kms.ScheduleKeyDeletionInput) (*kms.ScheduleKeyDeletionOutput, error) {
	days := int32(defaultWindow)
	if in.PendingWindowInDays != nil {
		days = *in.PendingWindowInDays
	}
	k, err := s.transition(ctx, r, "kms:ScheduleKeyDeletion", *in.KeyId, func(k *store.Key) error {
		if err := s.notPending(k); err != nil {
			return err
		}
		k.State = store.PendingDeletion
		k.DeletionDate = time.Now().AddDate(0, 0, int(days)).Truncate(time.Millisecond)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &kms.ScheduleKeyDeletionOutput{
		KeyId:               text("%s", s.keyARN(k.ID)),
		DeletionDate:        &k.DeletionDate,
		KeyState:            types.KeyState(k.State),
		PendingWindowInDays: &days,
	}, nil
}

// cancelKeyDeletion leaves the key disabled, as AWS does.
func (s *Service) cancelKeyDeletion(ctx context.Context, r *request, in *kms.CancelKeyDeletionInput) (*kms.CancelKeyDeletionOutput, error) {
	k, err := s.transition(ctx, r, "kms:CancelKeyDeletion", *in.KeyId, func(k *store.Key) error {
		if k.State != store.PendingDeletion {
			return s.invalidState(k, "is not pending deletion.")
		}
		k.State, k.DeletionDate = store.Disabled, time.Time{}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &kms.CancelKeyDeletionOutput{KeyId: text("%s", s.keyARN(k.ID))}, nil
}

// transition changes the state of a key, on disk before it returns. What the
// HSM holds of a key that can no longer be used is dropped.
func (s *Service) transition(ctx context.Context, r *request, action, keyID string, decide func(*store.Key) error) (*store.Key, error) {
	name, err := s.parseKeyID(keyID)
	if err != nil {
		return nil, err
	}
	if _, err := s.key(ctx, r, action, name); err != nil {
		return nil, err
	}
	k, err := s.store.Transition(ctx, name.id, decide)
	if errors.Is(err, store.ErrNotFound) {
		return nil, s.noSuchKey(name)
	}
	if err != nil {
		return nil, err
	}
	if k.State != store.Enabled {
		s.forget(k)
	}
	return k, nil
}

func (s *Service) forget(k *store.Key) {
	for _, b := range k.Backing {
		s.token.Forget(b.Wrapped)
		s.epochs.forget(k.ID, b.Version)
	}
}
