// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/sidekey/sidekey/keysvc/store"
)

func add(t testing.TB, s *store.Store) store.Key {
	t.Helper()
	k := store.Key{Ref: store.Ref{Region: region, ID: uuid.New()}, State: store.Enabled, Spec: "SYMMETRIC_DEFAULT", Usage: "ENCRYPT_DECRYPT", Origin: "AWS_KMS",
		Protection: "hsm", Description: "d", Created: time.UnixMilli(1_700_000_000_123).UTC(), Tags: map[string]string{"a": "b"}, Version: 1, Versions: 1}
	must(t, s.CreateKey(ctx, k, material(k)))
	return k
}

// material is the first version of the material of a key of add.
func material(k store.Key) store.Material {
	return store.Material{Version: 1, Wrapped: []byte("wrapped of " + k.ID.String()), Created: k.Created}
}

func TestOpen(t *testing.T) {
	for url, want := range map[string]string{
		"mysql://u:secret@h/x":    `unknown scheme "mysql" (known: sqlite, postgres)`,
		"keys.db":                 `unknown scheme "" (known: sqlite, postgres)`,
		"sqlite://keys.db":        "want sqlite:///absolute/path",
		"sqlite:///x?mode=memory": "want sqlite:///absolute/path",
		"sqlite:///no/such/dir/k": "creating key store: open /no/such/dir/k: no such file or directory",
		"sqlite:///tmp":           "key store /tmp is not a regular file",
	} {
		_, err := store.Open(ctx, url, "")
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("Open(%s): %v, want %q", url, err, want)
		}
	}
}

func TestFileMode(t *testing.T) {
	d := newSQLite(t)
	s, path := d.open(t), d.path
	add(t, s)
	files, err := filepath.Glob(path + "*")
	must(t, err)
	if len(files) < 2 {
		t.Errorf("files %v", files)
	}
	for _, file := range files {
		info, err := os.Stat(file)
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", file, info.Mode().Perm())
		}
	}
	must(t, s.Close())
	must(t, os.Chmod(path, 0o640))
	if _, err := store.Open(ctx, "sqlite://"+path, ""); err == nil || !strings.Contains(err.Error(), "mode 0640") {
		t.Errorf("Open of a readable file: %v", err)
	}
}

func TestOddPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a b%20#?&é")
	must(t, os.Mkdir(dir, 0o700))
	path := filepath.Join(dir, "k.db")
	escaped := strings.NewReplacer("%", "%25", "#", "%23", "?", "%3F", " ", "%20").Replace(path)
	s, err := store.Open(ctx, "sqlite://"+escaped, "")
	must(t, err)
	defer s.Close()
	must(t, s.Unlock(ctx, make([]byte, store.MACKeySize), region))
	add(t, s)
	if info, err := os.Stat(path); err != nil || info.Size() == 0 {
		t.Errorf("the file is elsewhere: %v", err)
	}
}

func TestKeysSurvive(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		s := d.open(t)
		want := add(t, s)
		must(t, s.CreateAlias(ctx, want.Ref, "alias/a", time.Now()))
		want.Aliases = []string{"alias/a"}
		must(t, s.Close())
		s = d.open(t)
		got, err := s.Key(ctx, want.Ref)
		must(t, err)
		if diff := cmp.Diff(&want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		for _, read := range []func(context.Context, store.Ref, uint32) (*store.Material, error){s.Material, s.StoredMaterial} {
			m, err := read(ctx, want.Ref, 1)
			must(t, err)
			if diff := cmp.Diff(material(want), *m); diff != "" {
				t.Errorf("material (-want +got):\n%s", diff)
			}
			if _, err := read(ctx, want.Ref, 2); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("version 2: %v", err)
			}
		}
		if _, err := s.Key(ctx, store.Ref{Region: region, ID: uuid.New()}); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("no key: %v", err)
		}
	})
}

// TestReadersSeeChanges: a change is seen by every read after it, and a change
// by another process within the lease.
func TestReadersSeeChanges(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		s := d.open(t)
		k := add(t, s)
		state := func() store.State {
			got, err := s.Key(ctx, k.Ref)
			must(t, err)
			return got.State
		}
		for range 10 {
			for _, want := range []store.State{store.Disabled, store.Enabled} {
				_, err := s.Update(ctx, k.Ref, func(_ *store.Tx, k *store.Key) error { k.State = want; return nil })
				must(t, err)
				if got := state(); got != want {
					t.Fatalf("read %s, want %s", got, want)
				}
			}
		}
		before, err := s.Revision(ctx)
		must(t, err)
		other := d.open(t)
		_, err = other.Update(ctx, k.Ref, func(_ *store.Tx, k *store.Key) error { k.State = store.Disabled; return nil })
		must(t, err)
		for deadline := time.Now().Add(30 * time.Second); state() != store.Disabled; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("a change from outside is not seen")
			}
		}
		if after, err := s.Revision(ctx); err != nil || after <= before {
			t.Errorf("revision %d after %d, %v", after, before, err)
		}
	})
}

func TestRefusedTransitionChangesNothing(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		s := d.open(t)
		k := add(t, s)
		refused := errors.New("no")
		if _, err := s.Update(ctx, k.Ref, func(_ *store.Tx, k *store.Key) error { k.State = store.Disabled; return refused }); err != refused {
			t.Errorf("got %v", err)
		}
		if got, err := s.Key(ctx, k.Ref); err != nil || got.State != store.Enabled {
			t.Errorf("%v, %v", got, err)
		}
		if _, err := s.Update(ctx, store.Ref{Region: region, ID: uuid.New()}, func(*store.Tx, *store.Key) error { return nil }); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("no key: %v", err)
		}
	})
}

func TestErase(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		s := d.open(t)
		k, other := add(t, s), add(t, s)
		must(t, s.CreateAlias(ctx, k.Ref, "alias/a", time.Now()))
		now := time.Now()
		for _, id := range []store.Ref{k.Ref, other.Ref} {
			_, err := s.Update(ctx, id, func(_ *store.Tx, k *store.Key) error {
				k.State, k.DeletionDate = store.PendingDeletion, now
				return nil
			})
			must(t, err)
		}
		if due, err := s.Due(ctx, now.Add(-time.Second), 9); err != nil || len(due) != 0 {
			t.Errorf("due early: %v, %v", due, err)
		}
		if due, err := s.Due(ctx, now, 9); err != nil || len(due) != 2 {
			t.Errorf("due: %v, %v", due, err)
		}
		if erased, err := s.Erase(ctx, k.Ref, now.Add(-time.Second)); erased || err != nil {
			t.Errorf("erased early: %v", err)
		}
		if erased, err := s.Erase(ctx, k.Ref, now); !erased || err != nil {
			t.Errorf("erased %v, %v", erased, err)
		}
		if _, err := s.Key(ctx, k.Ref); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("key: %v", err)
		}
		if _, err := s.Alias(ctx, region, "alias/a"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("alias: %v", err)
		}
		_, err := s.Update(ctx, other.Ref, func(_ *store.Tx, k *store.Key) error {
			k.State, k.DeletionDate = store.Disabled, time.Time{}
			return nil
		})
		must(t, err)
		if erased, err := s.Erase(ctx, other.Ref, now.Add(time.Hour)); erased || err != nil {
			t.Errorf("a cancelled deletion was done: %v", err)
		}
	})
}

func TestAliases(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		s := d.open(t)
		a, b := add(t, s), add(t, s)
		must(t, s.CreateAlias(ctx, a.Ref, "alias/x", time.Now()))
		if err := s.CreateAlias(ctx, b.Ref, "alias/x", time.Now()); !errors.Is(err, store.ErrAliasExists) {
			t.Errorf("twice: %v", err)
		}
		if err := s.CreateAlias(ctx, store.Ref{Region: region, ID: uuid.New()}, "alias/y", time.Now()); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("no key: %v", err)
		}
		if id, err := s.Alias(ctx, region, "alias/x"); err != nil || id != a.Ref {
			t.Errorf("alias/x: %s, %v", id, err)
		}
		must(t, s.UpdateAlias(ctx, "alias/x", a.Ref, b.Ref, time.Now()))
		if id, err := s.Alias(ctx, region, "alias/x"); err != nil || id != b.Ref {
			t.Errorf("alias/x after update: %s, %v", id, err)
		}
		if err := s.UpdateAlias(ctx, "alias/x", a.Ref, a.Ref, time.Now()); err == nil {
			t.Error("an alias that points elsewhere by now was moved")
		}
		if err := s.DeleteAlias(ctx, a.Ref, "alias/x"); err == nil {
			t.Error("an alias that points elsewhere by now was deleted")
		}
		must(t, s.UpdateAlias(ctx, "alias/x", b.Ref, b.Ref, time.Now()))
		must(t, s.DeleteAlias(ctx, b.Ref, "alias/x"))
		if err := s.DeleteAlias(ctx, b.Ref, "alias/x"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("deleted twice: %v", err)
		}
		for i := range 50 {
			must(t, s.CreateAlias(ctx, a.Ref, fmt.Sprintf("alias/%02d", i), time.Now()))
		}
		if err := s.CreateAlias(ctx, a.Ref, "alias/50", time.Now()); !errors.Is(err, store.ErrAliasLimit) {
			t.Errorf("51st: %v", err)
		}
		list, more, err := s.ListAliases(ctx, region, uuid.Nil, "alias/47", 1)
		must(t, err)
		if len(list) != 1 || list[0].Name != "alias/48" || !more {
			t.Errorf("page %v, %v", list, more)
		}
	})
}

func TestNewerSchema(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		s := d.open(t)
		must(t, s.Close())
		d.exec(t, "INSERT INTO schema_version VALUES (99)")
		if _, err := store.Open(ctx, d.url, ""); err == nil || !strings.Contains(err.Error(), "schema version 99 is newer") {
			t.Errorf("Open: %v", err)
		}
	})
}

// TestSettings looks at what a connection of the store really runs with, from
// what it does: foreign keys are held, and the file is in WAL mode.
func TestSettings(t *testing.T) {
	d := newSQLite(t)
	s, path := d.open(t), d.path
	k := add(t, s)
	must(t, s.Discard(ctx, k.Ref))
	db, err := sql.Open("sqlite", path)
	must(t, err)
	defer db.Close()
	var mode string
	var orphans int
	must(t, db.QueryRow("PRAGMA journal_mode").Scan(&mode))
	must(t, db.QueryRow("SELECT (SELECT count(*) FROM material) + (SELECT count(*) FROM aliases)").Scan(&orphans))
	if mode != "wal" || orphans != 0 {
		t.Errorf("journal mode %s, %d rows of a removed key", mode, orphans)
	}
}

func TestConcurrentUse(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		s := d.open(t)
		k := add(t, s)
		var wg sync.WaitGroup
		for n := range 4 {
			wg.Go(func() {
				for i := range 10 {
					name := fmt.Sprintf("alias/%d-%d", n, i)
					if err := s.CreateAlias(ctx, k.Ref, name, time.Now()); err != nil {
						t.Error(err)
					}
					got, err := s.Key(ctx, k.Ref)
					if err != nil || !strings.Contains(strings.Join(got.Aliases, " "), name) {
						t.Errorf("%s is missing: %v", name, err)
					}
				}
			})
		}
		wg.Wait()
	})
}
