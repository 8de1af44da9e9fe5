// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
)

// MigrateSummary counts what came of the objects.
type MigrateSummary struct {
	Sealed, SealedBytes     int64 // by this run; sizes are of the plaintext
	Verified, VerifiedBytes int64 // opened in full
	Skipped                 int64 // sealed before, or the gateway's own
	Unsealed, UnsealedBytes int64 // left as they are, by a dry run or a verification
	Gone                    int64 // deleted while the run lasted
	Failed                  int64
	DeletedVersions         int64
}

// Complete says that nothing of what was seen is in plaintext or cannot be read.
func (s *MigrateSummary) Complete() bool { return s.Unsealed == 0 && s.Failed == 0 }

// tally counts, and tells the operator.
type tally struct {
	out   io.Writer
	start time.Time

	mu          sync.Mutex
	sum         MigrateSummary // guarded by mu
	bytes       int64          // guarded by mu: of all objects done, as they are listed
	expected    int64          // guarded by mu: objects; 0 if it is not known yet
	expectBytes int64          // guarded by mu
}

func (t *tally) printf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.out, format+"\n", args...)
}

func (t *tally) expect(objects, bytes int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expected, t.expectBytes = objects, bytes
}

func (t *tally) count(v verdict, size int64, e entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bytes += e.Size
	switch v {
	case sealing:
		t.sum.Sealed, t.sum.SealedBytes = t.sum.Sealed+1, t.sum.SealedBytes+size
	case before:
		t.sum.Skipped++
	case unsealed:
		t.sum.Unsealed, t.sum.UnsealedBytes = t.sum.Unsealed+1, t.sum.UnsealedBytes+size
		fmt.Fprintf(t.out, "not sealed: %q, %s\n", e.Key, humanize.IBytes(uint64(size)))
	case gone:
		t.sum.Gone++
	}
}

func (t *tally) failed(key, reason string, listed int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bytes += listed
	t.sum.Failed++
	fmt.Fprintf(t.out, "failed: %q: %s\n", key, reason)
}

func (t *tally) verified(size int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sum.Verified, t.sum.VerifiedBytes = t.sum.Verified+1, t.sum.VerifiedBytes+size
}

func (t *tally) deletedVersion() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sum.DeletedVersions++
}

func (t *tally) summary() MigrateSummary {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sum
}

// report prints the progress until ctx ends.
func (t *tally) report(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			t.printf("%s%s", t.line(), t.left())
		}
	}
}

func (t *tally) final() { t.printf("end: %s", t.line()) }

// line says what is done, and how fast it went.
func (t *tally) line() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, took := &t.sum, max(time.Since(t.start), time.Millisecond)
	size := func(n int64) string { return humanize.IBytes(uint64(n)) }
	text := fmt.Sprintf("sealed %d (%s), verified %d (%s), skipped %d, failed %d", s.Sealed, size(s.SealedBytes), s.Verified, size(s.VerifiedBytes), s.Skipped, s.Failed)
	if s.Unsealed > 0 {
		text += fmt.Sprintf(", not sealed %d (%s)", s.Unsealed, size(s.UnsealedBytes))
	}
	if s.Gone > 0 {
		text += fmt.Sprintf(", deleted meanwhile %d", s.Gone)
	}
	if s.DeletedVersions > 0 {
		text += fmt.Sprintf(", plaintext versions deleted %d", s.DeletedVersions)
	}
	moved := max(s.SealedBytes, s.VerifiedBytes)
	return text + fmt.Sprintf("; %s, %s/s", took.Round(time.Second), size(int64(float64(moved)/took.Seconds())))
}

// left estimates the time that is left from what there was at the start.
func (t *tally) left() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	done := t.sum.Sealed + t.sum.Skipped + t.sum.Unsealed + t.sum.Gone + t.sum.Failed
	if t.expected == 0 || done == 0 {
		return ""
	}
	share := float64(done) / float64(t.expected)
	if t.expectBytes > 0 {
		share = (share + float64(t.bytes)/float64(t.expectBytes)) / 2 // small objects cost by number, large ones by size
	}
	text := fmt.Sprintf("; %d of %d objects", done, t.expected)
	if share > 0 && share < 1 {
		rest := time.Duration(float64(time.Since(t.start)) * (1 - share) / share)
		text += fmt.Sprintf(", about %s left", rest.Round(time.Second))
	}
	return text
}
