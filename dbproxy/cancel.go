// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	// maxCancelKeys bounds the sessions whose host is known to cancel requests.
	maxCancelKeys = 1 << 16
	// knownCancels and unknownCancels bound the requests to cancel that are passed on
	// at a time. Anybody can send one with a key that is not known here, and it goes to
	// every host: those must not take what the others need.
	knownCancels, unknownCancels = 64, 16
	// waitingCancels bounds, of the latter, those that wait as well.
	waitingCancels = 128
)

// cancels passes requests to cancel on.
type cancels struct {
	known, unknown *semaphore.Weighted
	strangers      atomic.Int32 // requests with unknown keys
}

func newCancels() cancels {
	return cancels{known: semaphore.NewWeighted(knownCancels), unknown: semaphore.NewWeighted(unknownCancels)}
}

// cancel passes a request to cancel on, to the host of the session that it names.
// Keys are the server's own, so one that is not known here, such as that of
// another replica's session, is for every host to look at. None is answered, as by
// PostgreSQL, and so one too many is dropped.
func (p *Proxy) cancel(ctx context.Context, request []byte) {
	if n := len(request) - 8; n < minCancelKey || n > maxCancelKey {
		return // the server would not answer either
	}
	hosts, slots := p.hostsOf(string(request[4:])), p.cancelling.known
	if hosts == nil {
		defer p.cancelling.strangers.Add(-1)
		if p.cancelling.strangers.Add(1) > waitingCancels {
			return
		}
		hosts, slots = p.reachable(), p.cancelling.unknown
	}
	wait, done := context.WithTimeout(ctx, dialTimeout)
	defer done()
	if slots.Acquire(wait, 1) != nil {
		return
	}
	defer slots.Release(1)
	var all sync.WaitGroup
	for _, h := range hosts {
		all.Go(func() {
			defer p.survive(nil)
			if err := h.cancel(ctx, request); err != nil {
				p.log.Warn("passing a cancel request on", "server", h.address, "error", err)
			}
		})
	}
	all.Wait()
}

// hostsOf is the host of the session with a key; nil if it is not known.
func (p *Proxy) hostsOf(key string) []*host {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.cancels[key]; s != nil {
		return []*host{s.host}
	}
	return nil
}

// reachable are the hosts but for those that could not be reached a moment ago: for
// these each request would wait.
func (p *Proxy) reachable() (out []*host) {
	for _, h := range p.hosts {
		if _, known, err := h.known(failedAge); !known || err == nil {
			out = append(out, h)
		}
	}
	return out
}

func (h *host) cancel(ctx context.Context, request []byte) error {
	conn, err := h.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(dialTimeout))
	if _, err := conn.Write(packet(request)); err != nil {
		return err
	}
	io.Copy(io.Discard, conn) // the server closes when it has read it
	return nil
}

// cancelable takes the session's BackendKeyData.
func (s *session) cancelable(body []byte) {
	p := s.proxy
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.cancelKey == "" && len(p.cancels) < maxCancelKeys {
		s.cancelKey = string(body)
		p.cancels[s.cancelKey] = s
	}
}

func (s *session) uncancelable() {
	p := s.proxy
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cancels[s.cancelKey] == s {
		delete(p.cancels, s.cancelKey)
	}
}
