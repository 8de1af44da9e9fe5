// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

// MigrateSummary counts what came of the rows.
type MigrateSummary struct {
	Moved    int64 // values made by this run
	Compared int64 // values of both columns that were compared before the swap
	Verified int64 // values that were opened by a verification
}

// migrateTally counts, and tells the operator.
type migrateTally struct {
	out   io.Writer
	start time.Time

	mu         sync.Mutex
	sum        MigrateSummary // guarded by mu
	page, last int64          // guarded by mu; of the pass over the table
}

func (t *migrateTally) printf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.out, format+"\n", args...)
}

func (t *migrateTally) add(f func(*MigrateSummary)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f(&t.sum)
}

func (t *migrateTally) moved(n int) { t.add(func(s *MigrateSummary) { s.Moved += int64(n) }) }

// pages says how far the pass over the table has come.
func (t *migrateTally) pages(page, last int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.page, t.last = min(page, last), last
}

func (t *migrateTally) summary() MigrateSummary {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sum
}

// report prints the progress until ctx ends.
func (t *migrateTally) report(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			t.printf("%s", t.line())
		}
	}
}

func (t *migrateTally) final() { t.printf("end: %s", t.line()) }

func (t *migrateTally) line() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	took := max(time.Since(t.start), time.Millisecond)
	text := fmt.Sprintf("values moved %d, compared %d, verified %d; %s", t.sum.Moved, t.sum.Compared, t.sum.Verified, took.Round(time.Second))
	if n := max(t.sum.Moved, t.sum.Verified); n > 0 {
		text += fmt.Sprintf(", %.0f/s", float64(n)/took.Seconds())
	}
	if t.last > 0 && t.page < t.last {
		text += fmt.Sprintf("; page %d of %d", t.page, t.last)
	}
	return text
}
