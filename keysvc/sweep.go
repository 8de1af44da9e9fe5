// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/keysvc/store"
)

// sweeper is the principal of scheduled work in the audit log.
const sweeper = "sidekey-keysvc"

// sweepBatch bounds how many keys one look at the store brings.
const sweepBatch = 1000

// sweep does what is due: keys are erased or rotated, imported material
// expires. It begins at the start, because the process may have been away, and
// goes on at intervals. What fails is tried again at the next interval. Of
// several replicas each may try; the store's transactions let one do it.
func (s *Service) sweep(ctx context.Context) {
	tick := time.NewTicker(s.cfg.SweepInterval)
	defer tick.Stop()
	for {
		erased, err := s.doDue(ctx)
		if erased {
			s.unclean.Store(true)
		}
		if s.unclean.Swap(false) {
			if cleaned := s.store.Checkpoint(ctx); cleaned != nil {
				s.unclean.Store(true)
				err = errors.Join(err, cleaned)
			}
		}
		s.held.expire()
		err = errors.Join(err, s.forgetStopped(ctx))
		if err != nil && ctx.Err() == nil {
			s.log.Error("scheduled work", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// doDue reports whether rows were erased.
func (s *Service) doDue(ctx context.Context) (erased bool, err error) {
	now := time.Now()
	due, err := s.store.Due(ctx, now, sweepBatch)
	for _, ref := range due {
		gone, failed := s.doDueKey(ctx, ref, now)
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("key %s: %w", ref.ID, failed))
		}
		erased = erased || gone
	}
	return erased, err
}

func (s *Service) doDueKey(ctx context.Context, ref store.Ref, now time.Time) (erased bool, err error) {
	k, err := s.store.Key(ctx, ref)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if !k.DeletionDate.IsZero() && !k.DeletionDate.After(now) {
		return true, s.erase(ctx, k, now)
	}
	if k.State == store.PendingReplicaDeletion {
		return false, s.replicaGone(ctx, k.ID)
	}
	for i := range k.Imports {
		if v := k.Imports[i]; v.Present && !v.ValidTo.IsZero() && !v.ValidTo.After(now) {
			return true, s.expireMaterial(ctx, k, now)
		}
	}
	if k.State == store.Enabled && k.Rotation.Enabled && k.Primary() && !k.Rotation.Next.After(now) {
		return false, s.rotateDue(ctx, k, now)
	}
	return false, nil
}

// scheduled begins the record of scheduled work: it is on disk before the work
// begins. The request stands in for that of a caller.
func (s *Service) scheduled(ctx context.Context, name string, k *store.Key) (context.Context, *request, error) {
	r := &request{
		id: uuid.NewString(), op: &operation{name: name, mutating: true},
		principal: &principal{arn: sweeper}, region: k.Region,
	}
	ctx, r.audit = s.audit.Begin(ctx, audit.SpanKMS(name), audit.Principal.String(sweeper),
		audit.RequestID.String(r.id), audit.KeyARN.String(s.keyARN(k.Ref)))
	return ctx, r, r.audit.Durable(ctx)
}

// endScheduled ends the record of scheduled work.
func (s *Service) endScheduled(r *request, err error) error {
	for _, b := range r.secrets {
		clear(b)
	}
	return errors.Join(err, s.end(r, err))
}

// erase is on the record before it happens.
func (s *Service) erase(ctx context.Context, k *store.Key, now time.Time) error {
	ctx, r, err := s.scheduled(ctx, "DeleteKey", k)
	if err != nil {
		return err
	}
	erased, err := s.store.Erase(ctx, k.Ref, now)
	s.forget(k.ID)
	if err == nil && !erased {
		// Somebody was faster: another replica, or a CancelKeyDeletion.
		return r.audit.End("KMSInvalidStateException")
	}
	return s.endScheduled(r, err)
}
