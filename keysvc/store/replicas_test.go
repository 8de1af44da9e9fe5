// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/sidekey/sidekey/keysvc/store"
	"github.com/sidekey/sidekey/keysvc/store/storetest"
)

// TestLease: what one replica changes, the other sees within a second, of every
// kind, though it has it in memory.
func TestLease(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		a, b := d.open(t), d.open(t)
		k := add(t, a)
		must(t, a.CreateAlias(ctx, k.Ref, "alias/a", time.Now()))
		must(t, a.CreateGrant(ctx, grant(k, "1")))
		must(t, a.CreateKeyStore(ctx, store.KeyStore{ID: "cks-a"}, func([]*store.KeyStore) error { return nil }))
		seen := func() [6]bool {
			key, err := b.Key(ctx, k.Ref)
			must(t, err)
			group, err := b.Group(ctx, k.ID)
			must(t, err)
			_, material := b.Material(ctx, k.Ref, 1)
			_, alias := b.Alias(ctx, region, "alias/a")
			grants, err := b.Grants(ctx, k.Ref)
			must(t, err)
			ks, err := b.KeyStore(ctx, "cks-a")
			must(t, err)
			return [6]bool{key.State == store.Disabled, group[0].State == store.Disabled, errors.Is(material, store.ErrNotFound),
				errors.Is(alias, store.ErrNotFound), len(grants) == 0, ks.State == "FAILED"}
		}
		if got := seen(); got != [6]bool{} {
			t.Fatalf("before: %v", got)
		}
		_, err := a.Update(ctx, k.Ref, func(tx *store.Tx, k *store.Key) error {
			k.State = store.Disabled
			return tx.DropMaterial(k.Ref, 1)
		})
		must(t, err)
		must(t, a.DeleteAlias(ctx, k.Ref, "alias/a"))
		must(t, a.DeleteGrant(ctx, k.Ref, "1"))
		_, err = a.UpdateKeyStore(ctx, "cks-a", func(_ *store.Tx, ks *store.KeyStore) error { ks.State = "FAILED"; return nil })
		must(t, err)
		changed := time.Now()
		for {
			began := time.Now()
			if seen() == [6]bool{true, true, true, true, true, true} {
				break
			}
			if began.Sub(changed) > time.Second {
				t.Fatalf("%s after the change: %v", began.Sub(changed), seen())
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
}

// TestNothingIsLost: two replicas change one key at the same time.
func TestNothingIsLost(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		stores := []*store.Store{d.open(t), d.open(t)}
		k := add(t, stores[0])
		const writers, times = 3, 15
		var wg sync.WaitGroup
		for _, s := range stores {
			for range writers {
				wg.Go(func() {
					for range times {
						_, err := s.Update(ctx, k.Ref, func(_ *store.Tx, k *store.Key) error {
							n, _ := strconv.Atoi(k.Description)
							k.Description = strconv.Itoa(n + 1)
							return nil
						})
						if err != nil {
							t.Error(err)
						}
					}
				})
			}
		}
		wg.Wait()
		for _, s := range stores {
			must(t, s.Ping(ctx))
			if got, err := s.Key(ctx, k.Ref); err != nil || got.Description != strconv.Itoa(2*writers*times) {
				t.Errorf("%v, %v", got, err)
			}
		}
	})
}

// race has four goroutines do something with two replicas.
func race(d *database, t *testing.T, do func(s *store.Store, n int)) {
	t.Helper()
	stores := []*store.Store{d.open(t), d.open(t)}
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() { do(stores[n%2], n) })
	}
	wg.Wait()
}

func TestOneWins(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		s := d.open(t)
		k := add(t, s)
		var aliases, keys, grants, stores atomic.Int32
		id := uuid.New()
		race(d, t, func(s *store.Store, n int) {
			won := func(count *atomic.Int32, err, lost error) {
				if err == nil {
					count.Add(1)
				} else if !errors.Is(err, lost) {
					t.Error(err)
				}
			}
			won(&aliases, s.CreateAlias(ctx, k.Ref, "alias/a", time.Now()), store.ErrAliasExists)
			won(&keys, s.CreateKey(ctx, store.Key{Ref: store.Ref{Region: region, ID: id}}), store.ErrExists)
			made, err := s.EnsureGrant(ctx, grant(k, fmt.Sprint(n)), func(*store.Grant) bool { return true })
			if err == nil && made.ID != fmt.Sprint(n) {
				err = store.ErrExists
			}
			won(&grants, err, store.ErrExists)
			won(&stores, s.CreateKeyStore(ctx, store.KeyStore{ID: fmt.Sprint("cks-", n)}, func(have []*store.KeyStore) error {
				if len(have) > 0 {
					return store.ErrExists
				}
				return nil
			}), store.ErrExists)
		})
		if aliases.Load() != 1 || keys.Load() != 1 || grants.Load() != 1 || stores.Load() != 1 {
			t.Errorf("%d aliases, %d keys, %d grants, %d key stores", aliases.Load(), keys.Load(), grants.Load(), stores.Load())
		}
	})
}

func TestOneMACKey(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		var mu sync.Mutex
		made := map[string]bool{}
		race(d, t, func(s *store.Store, n int) {
			if err := s.CreateMACKey(ctx, fmt.Append(nil, "w", n), fmt.Append(nil, "s", n)); err != nil {
				t.Error(err)
			}
			wrapped, sealed, err := s.SealedMACKey(ctx)
			if err != nil || string(wrapped[1:]) != string(sealed[1:]) {
				t.Errorf("%s, %s, %v", wrapped, sealed, err)
			}
			mu.Lock()
			defer mu.Unlock()
			made[string(wrapped)] = true
		})
		if len(made) != 1 {
			t.Errorf("MAC keys %v", made)
		}
	})
}

// TestOpenAtOnce: several replicas start on an empty database.
func TestOpenAtOnce(t *testing.T) {
	for i := range 5 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			each(t, func(t *testing.T, d *database) {
				var wg sync.WaitGroup
				for range 4 {
					wg.Go(func() {
						s, err := store.Open(ctx, d.url, "")
						if err != nil {
							t.Error(err)
							return
						}
						defer s.Close()
						if err := s.Unlock(ctx, macKey, region); err != nil {
							t.Error(err)
							return
						}
						add(t, s)
					})
				}
				wg.Wait()
				var versions, keys int
				d.get(t, &versions, "SELECT count(*) - max(version) FROM schema_version")
				d.get(t, &keys, "SELECT count(*) FROM keys")
				if versions != 0 || keys != 4 {
					t.Errorf("%d too many versions, %d keys", versions, keys)
				}
			})
		})
	}
}

// TestUsesAtOnce: replicas that record the same keys' uses in another order do
// not stop each other.
func TestUsesAtOnce(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		s := d.open(t)
		var uses, reversed []store.Use
		for range 40 {
			use := store.Use{Key: add(t, s).Ref, Time: time.Now()}
			uses, reversed = append(uses, use), append([]store.Use{use}, reversed...)
		}
		race(d, t, func(s *store.Store, n int) {
			for range 5 {
				if err := s.PutUses(ctx, [][]store.Use{uses, reversed}[n%2]); err != nil {
					t.Error(err)
				}
			}
		})
	})
}

// TestRevisionWentBack: a standby that had missed changes took over. What this
// replica has in memory never was, whatever has happened since.
func TestRevisionWentBack(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		s := d.open(t)
		k := add(t, s)
		old := snapshot(t, d)
		var revision int64
		d.get(t, &revision, "SELECT value FROM revision")
		_, err := s.Update(ctx, k.Ref, func(_ *store.Tx, k *store.Key) error { k.Description = "lost"; return nil })
		must(t, err)
		check := func(want string) {
			t.Helper()
			if got, err := s.Key(ctx, k.Ref); err != nil || got.Description != want {
				t.Errorf("%v, %v; want %q", got, err, want)
			}
		}
		check("lost")
		old.restore(t, d)
		d.exec(t, "UPDATE revision SET value = ?", revision)
		must(t, s.Ping(ctx))
		check(k.Description)
		// The other replica's change after the take-over has not the number of
		// the one that was lost.
		_, err = s.Update(ctx, k.Ref, func(_ *store.Tx, k *store.Key) error { k.Description = "lost too"; return nil })
		must(t, err)
		check("lost too")
		old.restore(t, d)
		d.exec(t, "UPDATE revision SET value = ?", revision)
		other := d.open(t)
		_, err = other.Update(ctx, k.Ref, func(_ *store.Tx, k *store.Key) error { k.Description = "kept"; return nil })
		must(t, err)
		must(t, s.Ping(ctx))
		check("kept")
	})
}

// TestKilledConnections: an administrator ends all connections; nobody notices.
func TestKilledConnections(t *testing.T) {
	d := newPostgres(t, storetest.Shared(t))
	s := d.open(t)
	k := add(t, s)
	var wg sync.WaitGroup
	busy, stop := context.WithCancel(ctx)
	defer stop()
	for range 6 { // many connections
		wg.Go(func() {
			for busy.Err() == nil {
				s.StoredMaterial(ctx, k.Ref, 1)
			}
		})
	}
	time.Sleep(100 * time.Millisecond)
	kill := func() {
		d.exec(t, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	}
	stop()
	wg.Wait()
	for i := range 5 {
		kill()
		if _, err := s.StoredMaterial(ctx, k.Ref, 1); err != nil {
			t.Errorf("reading: %v", err)
		}
		if _, _, err := s.RetirableGrants(ctx, region, "x", "", 1); err != nil {
			t.Errorf("listing: %v", err)
		}
		kill()
		want := fmt.Sprint(i)
		if _, err := s.Update(ctx, k.Ref, func(_ *store.Tx, k *store.Key) error { k.Description = want; return nil }); err != nil {
			t.Errorf("changing: %v", err)
		}
		if got, err := s.Key(ctx, k.Ref); err != nil || got.Description != want {
			t.Errorf("%v, %v", got, err)
		}
		kill()
		if err := s.PutUses(ctx, []store.Use{{Key: k.Ref, Time: time.Now()}}); err != nil {
			t.Errorf("recording uses: %v", err)
		}
	}
	// In the middle of a change it is undone.
	_, err := s.Update(ctx, k.Ref, func(tx *store.Tx, k *store.Key) error {
		kill()
		k.Description = "half"
		return nil
	})
	if err == nil {
		t.Error("a change whose connection was ended was made")
	}
	if got, err := s.Key(ctx, k.Ref); err != nil || got.Description != "4" {
		t.Errorf("%v, %v", got, err)
	}
}

// TestServerRestart: the server is away, and back.
func TestServerRestart(t *testing.T) {
	c := storetest.New(t)
	d := newPostgres(t, c)
	s := d.open(t)
	k := add(t, s)
	_, err := s.Key(ctx, k.Ref)
	must(t, err)
	c.Stop()
	away := time.Now()
	for { // what is in memory serves for its second
		if _, err := s.Key(ctx, k.Ref); err != nil {
			break
		}
		if time.Since(away) > 5*time.Second {
			t.Fatal("keys are given out without the database")
		}
		time.Sleep(10 * time.Millisecond)
	}
	if _, err := s.Update(ctx, k.Ref, func(*store.Tx, *store.Key) error { return nil }); err == nil {
		t.Error("a change was made")
	}
	must(t, c.Start())
	if _, err := s.Key(ctx, k.Ref); err != nil {
		t.Errorf("after the restart: %v", err)
	}
	if _, err := s.Update(ctx, k.Ref, func(*store.Tx, *store.Key) error { return nil }); err != nil {
		t.Errorf("after the restart: %v", err)
	}
}

// link is a way to the server that can be cut without a word, as by a firewall.
type link struct {
	address string
	cut     atomic.Bool
}

func newLink(t *testing.T, socket string) *link {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { listener.Close() })
	l := &link{address: listener.Addr().String()}
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("unix", socket)
			if err != nil {
				from.Close()
				continue
			}
			t.Cleanup(func() { from.Close(); to.Close() })
			go l.pass(to, from)
			go l.pass(from, to)
		}
	}()
	return l
}

func (l *link) pass(to io.WriteCloser, from io.Reader) {
	buffer := make([]byte, 1<<16)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			to.Close()
			return
		}
		if !l.cut.Load() {
			to.Write(buffer[:n])
		}
	}
}

// TestPartition: a server that does not answer is an error in time, for all who
// wait, and is used again.
func TestPartition(t *testing.T) {
	d := newPostgres(t, storetest.Shared(t))
	l := newLink(t, filepath.Join(storetest.Shared(t).Data(), ".s.PGSQL.5432"))
	u, err := url.Parse(d.url)
	must(t, err)
	u.Host, u.RawQuery = l.address, "sslmode=disable"
	d.url = u.String()
	s := d.openTimeout(t, time.Second)
	k := add(t, s)
	l.cut.Store(true)
	began := time.Now()
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			var err error
			if i%2 == 0 {
				_, err = s.StoredMaterial(ctx, k.Ref, 1)
			} else {
				_, err = s.Update(ctx, k.Ref, func(_ *store.Tx, k *store.Key) error { k.Description = "cut"; return nil })
			}
			if err == nil {
				t.Error("done without the database")
			}
		})
	}
	wg.Wait()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the errors took %s", took)
	}
	if _, err := s.Key(ctx, k.Ref); err == nil {
		t.Error("a key was given out long after the partition")
	}
	l.cut.Store(false)
	if got, err := s.Key(ctx, k.Ref); err != nil || got.Description != k.Description {
		t.Errorf("after the partition: %v, %v", got, err)
	}
	if _, err := s.Update(ctx, k.Ref, func(*store.Tx, *store.Key) error { return nil }); err != nil {
		t.Errorf("after the partition: %v", err)
	}
}

// TestStoppedReplica: one that stops in a change, holding the lock of changes,
// does not stop the others for longer than a change may take.
func TestStoppedReplica(t *testing.T) {
	d := newPostgres(t, storetest.Shared(t))
	a, b := d.openTimeout(t, 2*time.Second), d.openTimeout(t, 2*time.Second)
	k := add(t, a)
	holds, end := make(chan bool), make(chan bool)
	ended := make(chan error)
	go func() {
		_, err := a.Update(ctx, k.Ref, func(*store.Tx, *store.Key) error {
			close(holds)
			<-end
			return nil
		})
		ended <- err
	}()
	<-holds
	var err error
	for range 3 {
		if _, err = b.Update(ctx, k.Ref, func(*store.Tx, *store.Key) error { return nil }); err == nil {
			break
		}
	}
	if err != nil {
		t.Errorf("the other: %v", err)
	}
	if _, err := b.Key(ctx, k.Ref); err != nil {
		t.Errorf("reading: %v", err)
	}
	close(end)
	if err := <-ended; err == nil {
		t.Error("a change whose lock was lost was made")
	}
}
