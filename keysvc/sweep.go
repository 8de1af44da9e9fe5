// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/keysvc/store"
)

// sweeper is the principal of an erasure in the audit log.
const sweeper = "sidekey-keysvc"

// sweep erases keys whose deletion date has come: at the start, because the
// process may have been away, and then at intervals. What fails is tried again
// at the next interval.
func (s *Service) sweep(ctx context.Context) {
	tick := time.NewTicker(s.cfg.SweepInterval)
	defer tick.Stop()
	unclean := false // the write-ahead log still holds erased rows
	for {
		erased, err := s.eraseDue(ctx)
		if unclean = unclean || erased; unclean {
			if cleaned := s.store.Checkpoint(ctx); cleaned != nil {
				err = cleaned
			} else {
				unclean = false
			}
		}
		if err != nil && ctx.Err() == nil {
			s.log.Error("erasing keys", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *Service) eraseDue(ctx context.Context) (erased bool, err error) {
	now := time.Now()
	due, err := s.store.Due(ctx, now)
	for _, k := range due {
		if failed := s.erase(ctx, k, now); failed != nil {
			err = errors.Join(err, fmt.Errorf("erasing key %s: %w", k.ID, failed))
			continue
		}
		erased = true
	}
	return erased, err
}

// erase is on the record before it happens.
func (s *Service) erase(ctx context.Context, k *store.Key, now time.Time) error {
	ctx, op := s.audit.Begin(ctx, audit.SpanKMS("DeleteKey"), audit.Principal.String(sweeper), audit.KeyARN.String(s.keyARN(k.ID)))
	if err := op.Durable(ctx); err != nil {
		return err
	}
	erased, err := s.store.Erase(ctx, k.ID, now)
	if err != nil {
		op.End(codeInternal)
		return err
	}
	s.forget(k)
	if !erased {
		return op.End("KMSInvalidStateException")
	}
	return op.End("")
}
