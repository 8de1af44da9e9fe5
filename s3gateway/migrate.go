// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/proxy"
	"github.com/sidekey/sidekey/proxy/datakey"
)

// MigrateOptions say what a migration covers, and how it goes about it.
type MigrateOptions struct {
	// Bucket and Prefix name the objects.
	Bucket, Prefix string

	// Rate bounds what is read from the store, in bytes per second over all
	// objects in hand; 0 for no bound.
	Rate int64

	// Concurrency is how many objects are in hand at once; 0 means 4.
	Concurrency int

	// DryRun looks at every object and changes nothing.
	DryRun bool

	// VerifyOnly opens every object in full and changes nothing.
	VerifyOnly bool

	// NoVerify leaves out reading back what was sealed.
	NoVerify bool

	// DeletePlaintextVersions deletes the older versions of an object that are not
	// sealed, once its sealed version has been read back.
	DeletePlaintextVersions bool

	// State names a file that keeps how far an interrupted migration came; "" for
	// none.
	State string

	// Output gets a line for each failure, and the progress.
	Output io.Writer

	// Every is the time between lines of progress; 0 means 5 seconds.
	Every time.Duration
}

func (o *MigrateOptions) validate() error {
	switch {
	case !bucketName.MatchString(o.Bucket) || o.Bucket == reservedBucket:
		return fmt.Errorf("%q is not the name of a bucket", o.Bucket)
	case o.Rate < 0 || o.Concurrency < 0:
		return errors.New("rate and concurrency cannot be negative")
	case o.DryRun && o.VerifyOnly:
		return errors.New("a dry run verifies nothing")
	case o.State != "" && (o.DryRun || o.VerifyOnly):
		return errors.New("only what seals has a state to keep")
	case o.DeletePlaintextVersions && (o.NoVerify || o.DryRun || o.VerifyOnly):
		return errors.New("plaintext versions are deleted only after the sealed version was written and verified")
	}
	return nil
}

// Migrator seals the objects of a bucket that are there in plaintext, where they
// are. Clients may go on meanwhile, through gateways and past them: an object is
// replaced only if it is still the one that was read.
type Migrator struct {
	g     *Gateway
	o     MigrateOptions
	limit *rate.Limiter
	tally tally
	state *migrateState
	store storeTraits
	stop  context.CancelCauseFunc // ends the run; objects in hand are finished
	// backoff is the first wait before something is tried again.
	backoff time.Duration
	// patience is how long a store may take to answer while it receives the object.
	patience time.Duration
}

// storeTraits are what the store and the bucket can do.
type storeTraits struct {
	versioned bool // or was: there are old versions
	locks     bool // object lock is on
	acls      bool // objects may have ACLs of their own
	ifMatch   bool // the store heeds If-Match of PutObject
	// serial says that the store lets nobody at an object while a conditional PUT
	// of it runs.
	serial atomic.Bool
}

// NewMigrator makes a migrator for the store of a gateway.
func NewMigrator(cfg Config, o MigrateOptions, cipher *proxy.Cipher, al *audit.Log, log *slog.Logger) (*Migrator, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := o.validate(); err != nil {
		return nil, err
	}
	up, err := newUpstream(cfg.Upstream)
	if err != nil {
		return nil, err
	}
	g := &Gateway{cipher: cipher, audit: al, log: log, upstream: up}
	if err := g.makeCaches(); err != nil {
		return nil, err
	}
	if o.Concurrency == 0 {
		o.Concurrency = 4
	}
	if o.Every == 0 {
		o.Every = 5 * time.Second
	}
	if o.Output == nil {
		o.Output = io.Discard
	}
	m := &Migrator{g: g, o: o, limit: rate.NewLimiter(rate.Inf, readBurst), backoff: 200 * time.Millisecond, patience: 3 * time.Second}
	if o.Rate > 0 {
		m.limit = rate.NewLimiter(rate.Limit(o.Rate), readBurst)
	}
	m.tally.out = o.Output
	if m.state, err = openState(o.State, o.Bucket, o.Prefix); err != nil {
		return nil, err
	}
	return m, nil
}

// Run goes through the bucket. When ctx ends it finishes the objects in hand and
// returns the error of ctx. An error means that the run did not reach its end;
// failures of single objects are counted only.
func (m *Migrator) Run(ctx context.Context) (MigrateSummary, error) {
	m.tally.start = time.Now()
	run, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	m.stop = stop
	if err := m.prepare(ctx); err != nil {
		return m.tally.summary(), err
	}
	if err := m.cleanUp(ctx); err != nil {
		return m.tally.summary(), err
	}
	after, again := m.state.last(), m.state.retry()
	if after != "" {
		m.tally.printf("Objects up to %q were done by an earlier run and are not looked at again.", after)
	}
	watched, unwatch := context.WithCancel(run)
	var watchers errgroup.Group
	watchers.Go(func() error { m.estimate(watched, after, len(again)); return nil })
	watchers.Go(func() error { m.tally.report(watched, m.o.Every); return nil })
	err := m.all(run, after, again)
	unwatch()
	watchers.Wait()
	m.tally.final()
	return m.tally.summary(), err
}

// all takes up the objects that failed before, and those that were not reached.
func (m *Migrator) all(run context.Context, after string, again []string) error {
	var workers errgroup.Group
	workers.SetLimit(m.o.Concurrency)
	hand := func(e entry) {
		done := m.state.take(e.Key)
		workers.Go(func() error {
			// What is in hand is finished, also when the run is to end.
			ok := m.object(context.WithoutCancel(run), run, e)
			done(ok)
			return nil
		})
	}
	for _, key := range again {
		if run.Err() == nil {
			hand(entry{Key: key})
		}
	}
	err := m.each(run, after, hand)
	workers.Wait()
	if run.Err() != nil {
		err = context.Cause(run)
	}
	return errors.Join(err, m.state.close(err == nil))
}

// each lists the objects after a name, as far as run lasts.
func (m *Migrator) each(run context.Context, after string, f func(entry)) error {
	query := url.Values{"list-type": {"2"}, "prefix": {m.o.Prefix}, "max-keys": {"1000"}, "encoding-type": {"url"}}
	if after != "" {
		query.Set("start-after", after)
	}
	for {
		var page struct {
			IsTruncated           bool
			NextContinuationToken string
			EncodingType          string
			Contents              []entry
		}
		err := m.retrying(run, func() error {
			page.Contents = nil
			return m.g.ask(run, call{method: http.MethodGet, bucket: m.o.Bucket, query: query}, &page)
		})
		if err != nil {
			return fmt.Errorf("listing the bucket: %w", err)
		}
		for _, e := range page.Contents {
			if page.EncodingType == "url" {
				if e.Key, err = url.QueryUnescape(e.Key); err != nil {
					return fmt.Errorf("listing the bucket: %w", err)
				}
			}
			if run.Err() != nil {
				return nil
			}
			f(e)
		}
		if !page.IsTruncated || page.NextContinuationToken == "" {
			return nil
		}
		query.Set("continuation-token", page.NextContinuationToken)
		query.Del("start-after")
	}
}

// estimate counts what there is, for the time that is left.
func (m *Migrator) estimate(ctx context.Context, after string, again int) {
	objects, bytes := int64(again), int64(0)
	err := m.each(ctx, after, func(e entry) { objects, bytes = objects+1, bytes+e.Size })
	if err == nil && ctx.Err() == nil {
		m.tally.expect(objects, bytes)
	}
}

// prepare finds out what the store can do, and says what follows from it.
func (m *Migrator) prepare(ctx context.Context) error {
	var versioning struct{ Status string }
	if err := m.ask(ctx, "versioning", &versioning); err != nil && !isUnknownHere(err) {
		return fmt.Errorf("reading the versioning of bucket %s: %w", m.o.Bucket, err)
	}
	var lock struct{ ObjectLockEnabled string }
	if err := m.ask(ctx, "object-lock", &lock); err != nil && !isUnknownHere(err) {
		return fmt.Errorf("reading the object lock configuration: %w", err)
	}
	var ownership struct {
		Rule []struct{ ObjectOwnership string }
	}
	m.store.acls = true
	if err := m.ask(ctx, "ownershipControls", &ownership); err == nil {
		for _, rule := range ownership.Rule {
			m.store.acls = rule.ObjectOwnership != "BucketOwnerEnforced"
		}
	}
	m.store.versioned, m.store.locks = versioning.Status != "", lock.ObjectLockEnabled == "Enabled"
	if m.store.versioned && !m.o.DeletePlaintextVersions {
		m.tally.printf("The bucket has versions: the old versions of its objects keep their plaintext, also once the current ones are sealed.")
	}
	if m.o.DryRun || m.o.VerifyOnly {
		return nil
	}
	if err := m.probe(ctx); err != nil {
		return fmt.Errorf("trying a conditional PutObject: %w", err)
	}
	if !m.store.ifMatch {
		m.tally.printf("The store does not heed If-Match of PutObject: objects are compared right before they are replaced, and what is written in the moment between is lost.")
	}
	return nil
}

func (m *Migrator) ask(ctx context.Context, sub string, answer any) error {
	return m.retrying(ctx, func() error {
		return m.g.ask(ctx, call{method: http.MethodGet, bucket: m.o.Bucket, query: url.Values{sub: {""}}}, answer)
	})
}

// isUnknownHere says that the store has no such thing: not for this bucket or
// object, or not at all.
func isUnknownHere(err error) bool {
	var e *s3Error
	return errors.As(err, &e) && e.code != "NoSuchBucket" &&
		(e.code == "NoSuchObjectLockConfiguration" || e.status == http.StatusNotFound || e.status == http.StatusNotImplemented || e.status == http.StatusMethodNotAllowed)
}

const probePrefix = hiddenPrefix + "migrate/"

// probe asks the store for a conditional PutObject whose condition does not hold.
// One that takes it all the same does not know the condition.
func (m *Migrator) probe(ctx context.Context) error {
	key := probePrefix + "probe-" + strings.ToLower(newRequestID())
	if err := m.g.putHidden(ctx, m.o.Bucket, key, nil, nil); err != nil {
		return err
	}
	err := m.retrying(ctx, func() error {
		return m.g.putHidden(ctx, m.o.Bucket, key, http.Header{"If-Match": {`"` + hex.EncodeToString(make([]byte, 16)) + `"`}}, nil)
	})
	m.store.ifMatch = isPreconditionFailed(err)
	if isPassing(err) {
		return err
	}
	return m.g.deleteHidden(ctx, m.o.Bucket, key)
}

// cleanUp ends the uploads that a killed run left.
func (m *Migrator) cleanUp(ctx context.Context) error {
	if m.o.DryRun || m.o.VerifyOnly {
		return nil
	}
	for id, key := range m.state.left() {
		if err := m.abort(ctx, id, key); err != nil {
			return err
		}
	}
	return nil
}

// verdict is what came of an object.
type verdict int

const (
	failed   verdict = iota
	sealing          // it was sealed by this run
	before           // it was sealed before, or is the gateway's own
	unsealed         // it is not, and was to be left alone
	gone             // it was deleted meanwhile
)

// errChanged says that the object is not the one that was looked at any more.
var errChanged = errors.New("the object changed meanwhile")

// attempts bounds how often an object that clients keep writing is taken up.
const attempts = 6

// object deals with one object and counts it. It reports false if the object has to
// be taken up again.
func (m *Migrator) object(ctx, run context.Context, e entry) bool {
	var v verdict
	var size int64
	var err error
	for n := 0; ; n++ {
		v, size, err = m.attempt(ctx, e.Key, n > 0)
		if n+1 >= attempts || !errors.Is(err, errChanged) && !isPassing(err) || run.Err() != nil {
			break
		}
		if isPassing(err) {
			sleep(run, m.backoff<<n)
		}
	}
	if isFatal(err) {
		m.stop(err)
	}
	if err != nil {
		m.tally.failed(e.Key, reason(err), e.Size)
		return false
	}
	m.tally.count(v, size, e)
	return v != unsealed
}

// isFatal says that the next object would fare no better: without records or keys
// nothing is done.
func isFatal(err error) bool {
	var key *datakey.Error
	return errors.Is(err, audit.ErrUnavailable) || errors.As(err, &key) && key.Kind == datakey.Unavailable
}

// isPassing says that it may work the next time.
func isPassing(err error) bool {
	var e *s3Error
	if errors.As(err, &e) {
		return e.status >= 500 && e.status != http.StatusNotImplemented
	}
	var key *datakey.Error
	return errors.As(err, &key) && key.Kind == datakey.Unavailable || errors.Is(err, io.ErrUnexpectedEOF)
}

// reason is an error as the operator sees it. It holds no content.
func reason(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// retrying does again what fails for a while.
func (m *Migrator) retrying(ctx context.Context, f func() error) error {
	for n := 0; ; n++ {
		err := f()
		if err == nil || !isPassing(err) || n+1 >= attempts || ctx.Err() != nil {
			return err
		}
		sleep(ctx, m.backoff<<n)
	}
}
