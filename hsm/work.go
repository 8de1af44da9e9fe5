// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"context"
	"sync"
)

// work counts the goroutines that may be inside the module, so that Close can
// wait for them: a module that is finalized under a call crashes.
type work struct {
	mu   sync.Mutex
	n    int           // guarded by mu
	none chan struct{} // guarded by mu; closed when n comes to 0
}

func (w *work) start(f func()) {
	w.mu.Lock()
	w.n++
	w.mu.Unlock()
	go func() {
		defer w.end()
		f()
	}()
}

func (w *work) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.n--
	if w.n == 0 && w.none != nil {
		close(w.none)
		w.none = nil
	}
}

// wait returns how many are left when all have ended or ctx has.
func (w *work) wait(ctx context.Context) (left int) {
	w.mu.Lock()
	if w.n > 0 && w.none == nil {
		w.none = make(chan struct{})
	}
	none, left := w.none, w.n
	w.mu.Unlock()
	if left == 0 {
		return 0
	}
	select {
	case <-none:
	case <-ctx.Done():
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.n
}
