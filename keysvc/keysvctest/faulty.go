// SPDX-License-Identifier: Apache-2.0

package keysvctest

import (
	"context"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
)

// KMS is the part of the AWS KMS client that sidecars use. It is declared here
// so that this package does not depend on theirs.
type KMS interface {
	GenerateDataKey(context.Context, *kms.GenerateDataKeyInput, ...func(*kms.Options)) (*kms.GenerateDataKeyOutput, error)
	Decrypt(context.Context, *kms.DecryptInput, ...func(*kms.Options)) (*kms.DecryptOutput, error)
}

// Operations of KMS that Faulty can fail.
const (
	GenerateDataKey = "GenerateDataKey"
	Decrypt         = "Decrypt"
)

// Faulty counts the calls of a client and fails or delays them on demand. What
// it does not fail goes to the service.
type Faulty struct {
	KMS

	mu    sync.Mutex
	fails map[string]error // by operation; guarded by mu
	calls map[string]int   // by operation; guarded by mu
	delay time.Duration    // guarded by mu
}

// Fail has an operation return err instead of being called; nil ends that.
func (f *Faulty) Fail(operation string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fails == nil {
		f.fails = map[string]error{}
	}
	f.fails[operation] = err
}

// FailAll is Fail for every operation.
func (f *Faulty) FailAll(err error) {
	f.Fail(GenerateDataKey, err)
	f.Fail(Decrypt, err)
}

// Slow has every call wait for d, or until its context ends, before it is made.
func (f *Faulty) Slow(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.delay = d
}

// Calls returns how often an operation was called, failed or not, since it was
// last asked for.
func (f *Faulty) Calls(operation string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.calls[operation]
	delete(f.calls, operation)
	return n
}

// enter counts a call, waits, and returns the error it has to fail with.
func (f *Faulty) enter(ctx context.Context, operation string) error {
	f.mu.Lock()
	if f.calls == nil {
		f.calls = map[string]int{}
	}
	f.calls[operation]++
	delay := f.delay
	f.mu.Unlock()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fails[operation]
}

// GenerateDataKey is the client's unless it is to fail.
func (f *Faulty) GenerateDataKey(ctx context.Context, in *kms.GenerateDataKeyInput, options ...func(*kms.Options)) (*kms.GenerateDataKeyOutput, error) {
	if err := f.enter(ctx, GenerateDataKey); err != nil {
		return nil, err
	}
	return f.KMS.GenerateDataKey(ctx, in, options...)
}

// Decrypt is the client's unless it is to fail.
func (f *Faulty) Decrypt(ctx context.Context, in *kms.DecryptInput, options ...func(*kms.Options)) (*kms.DecryptOutput, error) {
	if err := f.enter(ctx, Decrypt); err != nil {
		return nil, err
	}
	return f.KMS.Decrypt(ctx, in, options...)
}
