// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sidekey/sidekey/keysvc/store"
)

// flushUses is how often the last uses of keys are written to the store.
const flushUses = 5 * time.Second

// uses are the last uses of keys that are not in the store yet. A process that
// is killed loses those of the last seconds; the audit log has them all.
type uses struct {
	mu  sync.Mutex
	all map[store.Ref]store.Use // guarded by mu
}

func (u *uses) note(use store.Use) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.all == nil {
		u.all = map[store.Ref]store.Use{}
	}
	u.all[use.Key] = use
}

// flush hands all uses to put, and forgets those that it has written: until
// then they are found here. What put fails to write waits for the next time.
func (u *uses) flush(put func([]store.Use) error) error {
	u.mu.Lock()
	list := slices.Collect(maps.Values(u.all))
	u.mu.Unlock()
	if len(list) == 0 {
		return nil
	}
	if err := put(list); err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, use := range list {
		if u.all[use.Key] == use {
			delete(u.all, use.Key)
		}
	}
	return nil
}

// get is the use of a key that waits to be written.
func (u *uses) get(ref store.Ref) (store.Use, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	use, ok := u.all[ref]
	return use, ok
}

// noteUses remembers the keys that a request which succeeded has used.
func (s *Service) noteUses(r *request) {
	for _, ref := range r.used {
		s.uses.note(store.Use{Key: ref, Operation: r.op.name, RequestID: r.id, Time: time.Now()})
	}
}

// keepUses writes last uses until ctx ends, and then once more.
func (s *Service) keepUses(ctx context.Context) {
	tick := time.NewTicker(flushUses)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			s.flushUses(context.WithoutCancel(ctx))
			return
		case <-tick.C:
			s.flushUses(ctx)
		}
	}
}

func (s *Service) flushUses(ctx context.Context) {
	err := s.uses.flush(func(list []store.Use) error { return s.store.PutUses(ctx, list) })
	if err != nil && ctx.Err() == nil {
		s.log.Warn("last uses of keys are not recorded", slog.Any("error", err))
	}
}
