// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"context"
	"time"

	"github.com/sidekey/sidekey/keysvc/store"
)

// rotateDue rotates a key whose time has come.
func (s *Service) rotateDue(ctx context.Context, k *store.Key, now time.Time) error { return nil }
