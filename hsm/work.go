// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"context"
	"sync"
)

// work counts the goroutines that may be inside the module, so that Close can
// wait for them: a module that is finalized under a call crashes.
type work struct {
	mu    sync.Mutex
	n     int           // guarded by mu
	none  chan struct{} // guarded by mu; closed when n comes to 0
	idle  []*worker     // guarded by mu; used last, last
	ended bool          // guarded by mu: keep no worker any more
}

// worker is a goroutine that makes one call at a time. It is kept for the next
// because a new one would have to grow its stack again for every call.
type worker struct {
	jobs chan func()
	done chan struct{} // one token for each job that somebody waits for
}

const maxIdle = 32

// hire gives a worker to one who gives it one job and then dismisses it, or
// has the job do so if nobody waits for it.
func (w *work) hire() *worker {
	w.mu.Lock()
	w.n++
	if n := len(w.idle); n > 0 {
		k := w.idle[n-1]
		w.idle = w.idle[:n-1]
		w.mu.Unlock()
		return k
	}
	w.mu.Unlock()
	k := &worker{jobs: make(chan func(), 1), done: make(chan struct{}, 1)}
	go func() {
		for f := range k.jobs {
			f()
		}
	}()
	return k
}

func (w *work) dismiss(k *worker) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended || len(w.idle) >= maxIdle {
		close(k.jobs)
	} else {
		w.idle = append(w.idle, k)
	}
	w.less()
}

// end lets all workers go.
func (w *work) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	for _, k := range w.idle {
		close(k.jobs)
	}
	w.idle = nil
}

func (w *work) start(f func()) {
	w.mu.Lock()
	w.n++
	w.mu.Unlock()
	go func() {
		defer w.finished()
		f()
	}()
}

func (w *work) finished() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.less()
}

// less is called with w.mu held.
func (w *work) less() {
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
