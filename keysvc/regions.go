// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/google/uuid"

	"github.com/sidekey/sidekey/keysvc/policy"
	"github.com/sidekey/sidekey/keysvc/store"
)

// replicaGone begins the deletion of a primary key that has waited for its
// last replica to be gone.
func (s *Service) replicaGone(ctx context.Context, id uuid.UUID) error {
	related, err := s.store.Group(ctx, id)
	if err != nil || len(related) != 1 || related[0].State != store.PendingReplicaDeletion {
		return err
	}
	ctx, r, err := s.scheduled(ctx, "BeginKeyDeletion", related[0])
	if err != nil {
		return err
	}
	_, err = s.update(ctx, related[0], func(tx *store.Tx, k *store.Key) error {
		related, err := tx.Group(k.ID)
		if err == nil && len(related) == 1 && k.State == store.PendingReplicaDeletion { // still
			beginDeletion(k, k.PendingWindow)
		}
		return err
	})
	return s.endScheduled(r, err)
}

// describeRegions adds which related keys a multi-Region key has.
func (s *Service) describeRegions(ctx context.Context, m *types.KeyMetadata, k *store.Key) error {
	if !k.MultiRegion() {
		return nil
	}
	related, err := s.store.Group(ctx, k.ID)
	if err != nil {
		return err
	}
	c := &types.MultiRegionConfiguration{MultiRegionKeyType: types.MultiRegionKeyTypeReplica, ReplicaKeys: []types.MultiRegionKey{}}
	if k.Primary() {
		c.MultiRegionKeyType = types.MultiRegionKeyTypePrimary
	}
	for _, k := range related {
		key := types.MultiRegionKey{Arn: text("%s", s.keyARN(k.Ref)), Region: &k.Region}
		if k.Primary() {
			c.PrimaryKey = &key
		} else {
			c.ReplicaKeys = append(c.ReplicaKeys, key)
		}
	}
	m.MultiRegionConfiguration = c
	return nil
}

// primaryKey refuses a key that is not a multi-Region primary key ready for a
// change.
func (s *Service) primaryKey(k *store.Key) error {
	if !k.MultiRegion() || !k.Primary() {
		return unsupported("%s is not a multi-region primary key.", s.keyARN(k.Ref))
	}
	return s.usable(k)
}

func (s *Service) replicateKey(ctx context.Context, r *request, in *kms.ReplicateKeyInput) (*kms.ReplicateKeyOutput, error) {
	tags, err := checkTags(in.Tags)
	if err != nil {
		return nil, err
	}
	k, err := s.controlKey(ctx, r, "kms:ReplicateKey", *in.KeyId)
	if err != nil {
		return nil, err
	}
	ref := store.Ref{Region: *in.ReplicaRegion, ID: k.ID}
	if err := s.mayReplicate(ctx, r, ref, tags); err != nil {
		return nil, err
	}
	if err := s.primaryKey(k); err != nil {
		return nil, err
	}
	if _, ok := s.prefixes[ref.Region]; !ok {
		return nil, unsupported("This key service does not serve the Region %s.", ref.Region)
	}
	if err := s.allowedProtection(k); err != nil {
		return nil, err
	}
	like := store.Key{Ref: ref, Description: value(in.Description), Created: time.Now()}
	if like.Policy, err = s.newPolicy(r, ref, in.Policy, in.BypassPolicyLockoutSafetyCheck); err != nil {
		return nil, err
	}
	replica, err := s.makeReplica(ctx, k, like, tags)
	if err != nil {
		return nil, err
	}
	m, err := s.metadata(ctx, replica)
	return &kms.ReplicateKeyOutput{ReplicaKeyMetadata: m, ReplicaPolicy: text("%s", s.policyOf(replica)), ReplicaTags: tagList(tags)}, err
}

// mayReplicate decides about the key that is to be made.
func (s *Service) mayReplicate(ctx context.Context, r *request, ref store.Ref, tags map[string]string) error {
	arn := s.keyARN(ref)
	r.about(arn)
	if err := s.allowed(ctx, r, "kms:CreateKey"); err != nil || len(tags) == 0 {
		return err
	}
	return s.decide(ctx, r, "kms:TagResource", policy.Resource{Names: []string{formatID(ref.ID), arn}}, arn)
}

// makeReplica makes a key like the given one, with what related keys share of
// the primary key, in one transaction with a last look at that.
func (s *Service) makeReplica(ctx context.Context, k *store.Key, like store.Key, tags map[string]string) (*store.Key, error) {
	_, err := s.update(ctx, k, func(tx *store.Tx, k *store.Key) error {
		if err := s.primaryKey(k); err != nil {
			return err
		}
		replica := replicaOf(k, like)
		if err := tagKey(&replica, tags); err != nil {
			return err
		}
		if err := tx.CreateKey(replica); err != nil {
			return err
		}
		if replica.State == store.PendingImport {
			return nil
		}
		return tx.CopyMaterial(k.Ref, replica.Ref)
	})
	if errors.Is(err, store.ErrExists) {
		return nil, &types.AlreadyExistsException{Message: text("Key %s already exists.", s.keyARN(like.Ref))}
	}
	if err != nil {
		return nil, err
	}
	return s.store.Key(ctx, like.Ref)
}

// replicaOf takes over what related keys share. Imported material is not
// copied: the same is to be imported again.
func replicaOf(k *store.Key, like store.Key) store.Key {
	replica := *k
	replica.Ref, replica.Created, replica.Description, replica.Policy = like.Ref, like.Created, like.Description, like.Policy
	replica.State, replica.Tags = store.Enabled, nil
	replica.Imports = slices.Clone(k.Imports)
	if k.Origin == string(types.OriginTypeExternal) {
		replica.State = store.PendingImport
		for i := range replica.Imports {
			v := &replica.Imports[i]
			v.Present, v.ValidTo, v.Imported = false, time.Time{}, time.Time{}
		}
	}
	return replica
}

// updatePrimaryRegion exchanges the primary key and a replica, in all related
// keys at once: there is always one primary key.
func (s *Service) updatePrimaryRegion(ctx context.Context, r *request, in *kms.UpdatePrimaryRegionInput) error {
	k, err := s.controlKey(ctx, r, "kms:UpdatePrimaryRegion", *in.KeyId)
	if err != nil {
		return err
	}
	if err := s.primaryKey(k); err != nil {
		return err
	}
	to := store.Ref{Region: *in.PrimaryRegion, ID: k.ID}
	if to == k.Ref {
		return validationError("The Region %s is that of the primary key already.", to.Region)
	}
	if _, err := s.key(ctx, r, "kms:UpdatePrimaryRegion", keyName{Ref: to}, nil); err != nil {
		return err
	}
	_, err = s.update(ctx, k, func(tx *store.Tx, k *store.Key) error {
		if err := s.primaryKey(k); err != nil {
			return err
		}
		replica, err := tx.Key(to)
		if errors.Is(err, store.ErrNotFound) {
			return s.noSuchKey(keyName{Ref: to})
		}
		if err != nil {
			return err
		}
		if err := s.usable(replica); err != nil {
			return err
		}
		related, err := tx.Group(k.ID)
		for _, k := range related {
			k.PrimaryRegion = to.Region
		}
		return err
	})
	return err
}
