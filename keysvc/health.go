// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

const (
	healthTimeout = 3 * time.Second
	// healthAge is for how long one check answers everybody who asks, so that
	// unauthenticated callers cannot keep the HSM busy.
	healthAge = time.Second
)

// health is the outcome of the last check. A part's word is "ok" or "failed";
// why it failed is for the log.
type health struct {
	mu      sync.Mutex // guards checked and parts
	checked time.Time
	parts   [3]bool // in the order of healthParts
}

var healthParts = [3]string{"hsm", "store", "audit"}

func (s *Service) serveHealth(w http.ResponseWriter, _ *http.Request) {
	parts := s.checkHealth()
	status, word := http.StatusOK, "ok"
	body := []byte(`{"checks":{`)
	for i, ok := range parts {
		if i > 0 {
			body = append(body, ',')
		}
		result := "ok"
		if !ok {
			result, word, status = "failed", "failed", http.StatusServiceUnavailable
		}
		body = append(body, `"`+healthParts[i]+`":"`+result+`"`...)
	}
	body = append(body, `},"status":"`+word+"\"}\n"...)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(body)
}

// checkHealth checks at most once in healthAge, whoever asks. The check is not
// the request's: a caller that goes away must not make it fail for others.
func (s *Service) checkHealth() [3]bool {
	s.health.mu.Lock()
	defer s.health.mu.Unlock()
	if time.Since(s.health.checked) < healthAge {
		return s.health.parts
	}
	ctx, cancel := context.WithTimeout(context.Background(), healthTimeout)
	defer cancel()
	for i, err := range [3]error{s.token.Check(ctx), s.store.Ping(ctx), s.audit.Healthy()} {
		if err != nil && s.health.parts[i] {
			s.log.Warn("health check failed", slog.String("part", healthParts[i]), slog.Any("error", err))
		}
		s.health.parts[i] = err == nil
	}
	s.health.checked = time.Now()
	return s.health.parts
}
