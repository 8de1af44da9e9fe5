// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sidekey/sidekey/keysvc/store"
)

func (s *Service) getKeyLastUsage(ctx context.Context, r *request, in *kms.GetKeyLastUsageInput) (*kms.GetKeyLastUsageOutput, error) {
	k, err := s.controlKey(ctx, r, "kms:GetKeyLastUsage", *in.KeyId)
	if err != nil {
		return nil, err
	}
	out := &kms.GetKeyLastUsageOutput{KeyId: text("%s", s.keyARN(k.Ref)), KeyCreationDate: &k.Created, TrackingStartDate: &k.Created}
	use, ok := s.uses.get(k.Ref)
	if !ok {
		stored, err := s.store.LastUse(ctx, k.Ref)
		if errors.Is(err, store.ErrNotFound) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		use = *stored
	}
	// The audit log has the use under the ID of its request, as CloudTrail has
	// it under that of the event.
	out.KeyLastUsage = &types.KeyLastUsageData{
		Operation: types.KeyLastUsageTrackingOperation(use.Operation), Timestamp: &use.Time,
		KmsRequestId: &use.RequestID, CloudTrailEventId: &use.RequestID,
	}
	return out, nil
}
