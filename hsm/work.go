// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"context"
	"sync"
)

// work counts the operations under way and the goroutines that may be inside the
// module, so that Close can wait for them: a module that is finalized under a call
// crashes, and a session that is closed later keeps the login.
type work struct {
	mu    sync.Mutex
	n     int           // guarded by mu
	none  chan struct{} // guarded by mu; closed when n comes to 0
	idle  []*worker     // guarded by mu; used last, last
	ended bool          // guarded by mu: no operation and worker any more
}

// worker is a goroutine that makes one call at a time. It is kept for the next
// because a new one would have to grow its stack again for every call.
type worker struct {
	jobs chan func()
	done chan struct{} // one token for each job that somebody waits for
}

const maxIdle = 32

// begin is the begin of an operation, which ends with finished.
func (w *work) begin() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return errClosed
	}
	w.n++
	return nil
}

// hire gives a worker to one who gives it one job and then dismisses it, or
// has the job do so if nobody waits for it.
func (w *work) hire() (*worker, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return nil, errClosed
	}
	w.n++
	if n := len(w.idle); n > 0 {
		k := w.idle[n-1]
		w.idle = w.idle[:n-1]
		return k, nil
	}
	k := &worker{jobs: make(chan func(), 1), done: make(chan struct{}, 1)}
	go func() {
		for f := range k.jobs {
			f()
		}
	}()
	return k, nil
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

// end lets all workers go. Nothing begins any more, but what is under way may
// start something for its own end.
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

// wait returns how many are left when all have ended or ctx has. One that ends
// may have started another.
func (w *work) wait(ctx context.Context) (left int) {
	for {
		w.mu.Lock()
		if w.n > 0 && w.none == nil {
			w.none = make(chan struct{})
		}
		none, left := w.none, w.n
		w.mu.Unlock()
		if left == 0 || ctx.Err() != nil {
			return left
		}
		select {
		case <-none:
		case <-ctx.Done():
		}
	}
}
