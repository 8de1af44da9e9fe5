// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/sidekey/sidekey/keysvc/store"
)

// world is a store with rows of every kind.
type world struct {
	a, b  store.Key // a has a replica in us-east-1, versions 1 and 2, alias/a, grants a1 and a2
	asked map[string]func(*store.Store) (any, error)
}

func newWorld(t *testing.T, s *store.Store) *world {
	t.Helper()
	w := &world{a: add(t, s), b: add(t, s)}
	_, err := s.Update(ctx, w.a.Ref, func(tx *store.Tx, k *store.Key) error {
		k.Version, k.Versions, k.PrimaryRegion = 2, 2, region
		replica := *k
		replica.Region = "us-east-1"
		return errors.Join(tx.AddMaterial(k.Ref, version(*k, 2)), tx.CreateKey(replica), tx.CopyMaterial(k.Ref, replica.Ref))
	})
	must(t, err)
	for name, k := range map[string]store.Key{"a": w.a, "b": w.b} {
		must(t, s.CreateAlias(ctx, k.Ref, "alias/"+name, time.UnixMilli(1)))
		for i := range 2 {
			g := grant(k, fmt.Sprint(name, i+1))
			g.Retiring = "retires " + name
			must(t, s.CreateGrant(ctx, g))
		}
	}
	for _, id := range []string{"cks-a", "cks-b"} {
		must(t, s.CreateKeyStore(ctx, store.KeyStore{ID: id, Name: "of " + id}, func([]*store.KeyStore) error { return nil }))
	}
	w.asked = map[string]func(*store.Store) (any, error){
		"list of key stores": func(s *store.Store) (any, error) { return s.KeyStores(ctx) },
	}
	replica := store.Ref{Region: "us-east-1", ID: w.a.ID}
	for name, ref := range map[string]store.Ref{"a": w.a.Ref, "b": w.b.Ref, "replica": replica} {
		w.asked["key "+name] = func(s *store.Store) (any, error) { return s.Key(ctx, ref) }
		w.asked["group "+name] = func(s *store.Store) (any, error) { return s.Group(ctx, ref.ID) }
		w.asked["grants "+name] = func(s *store.Store) (any, error) { return s.Grants(ctx, ref) }
		w.asked["retirable "+name] = func(s *store.Store) (any, error) {
			list, _, err := s.RetirableGrants(ctx, ref.Region, "retires "+name, "", 9)
			return list, err
		}
		w.asked["versions "+name] = func(s *store.Store) (any, error) { list, _, err := s.Materials(ctx, ref, 0, 9); return list, err }
		for n := range uint32(3) {
			w.asked[fmt.Sprint("material ", name, n+1)] = func(s *store.Store) (any, error) { return s.Material(ctx, ref, n+1) }
		}
		w.asked["alias "+name] = func(s *store.Store) (any, error) { return s.Alias(ctx, region, "alias/"+name) }
		w.asked["aliases "+name] = func(s *store.Store) (any, error) {
			list, _, err := s.ListAliases(ctx, ref.Region, ref.ID, "", 9)
			return list, err
		}
		w.asked["key store "+name] = func(s *store.Store) (any, error) { return s.KeyStore(ctx, "cks-"+name) }
		w.asked["change "+name] = func(s *store.Store) (any, error) {
			return s.Update(ctx, ref, func(*store.Tx, *store.Key) error { return nil })
		}
	}
	return w
}

// answers asks a store everything. An answer is a value or an error.
func (w *world) answers(s *store.Store) map[string]any {
	all := map[string]any{}
	for question, ask := range w.asked {
		answer, err := ask(s)
		if err != nil {
			answer = err
		}
		all[question] = answer
	}
	return all
}

// missing are the questions whose answer lacks what was removed: rows can be
// destroyed by who can write to the database.
func compare(t *testing.T, before, after map[string]any, missing ...string) (refused int) {
	t.Helper()
	for question, got := range after {
		err, failed := got.(error)
		if failed && errors.Is(err, store.ErrTampered) {
			refused++
			continue
		}
		was, wasErr := before[question].(error)
		switch {
		case failed && wasErr && errors.Is(err, store.ErrNotFound) && errors.Is(was, store.ErrNotFound):
		case failed && errors.Is(err, store.ErrNotFound):
			refused++
		case failed:
			t.Errorf("%s: %v", question, err)
		case !cmp.Equal(before[question], got):
			if !contains(missing, question) {
				t.Errorf("%s: a wrong answer (-was +is):\n%s", question, cmp.Diff(before[question], got))
			}
		}
	}
	return refused
}

func contains(list []string, want string) bool {
	for _, item := range list {
		if item == want {
			return true
		}
	}
	return false
}

// TestTampered: whoever can write to the database gets no wrong answer from it,
// but no answer. Changes are made by SQL, without what the store does.
func TestTampered(t *testing.T) {
	type edit struct {
		name, statement string
		refused         int      // questions at least that are not answered
		missing         []string // questions whose answer may lack a row
	}
	edits := func(d *database, w *world) []edit {
		id := func(id uuid.UUID) string {
			if d.postgres() {
				return fmt.Sprintf(`'\x%x'::bytea`, id[:])
			}
			return fmt.Sprintf("x'%x'", id[:])
		}
		a, b := id(w.a.ID), id(w.b.ID)
		flip := func(column string) string { // the last byte
			if d.postgres() {
				return fmt.Sprintf("set_byte(%[1]s, length(%[1]s) - 1, (get_byte(%[1]s, length(%[1]s) - 1) + 1) %% 256)", column)
			}
			return fmt.Sprintf("CAST(substr(%[1]s, 1, length(%[1]s) - 1) || CASE substr(%[1]s, -1) WHEN x'00' THEN x'01' ELSE x'00' END AS BLOB)", column)
		}
		replaced := func(old, new string) string {
			if d.postgres() {
				return "convert_to(replace(convert_from(doc, 'UTF8'), '" + old + "', '" + new + "'), 'UTF8')"
			}
			return "CAST(replace(CAST(doc AS TEXT), '" + old + "', '" + new + "') AS BLOB)"
		}
		keyA := " WHERE region = '" + region + "' AND id = " + a
		from := func(columns, table, where string) string {
			return "(" + columns + ") = (SELECT " + columns + " FROM " + table + " AS o WHERE " + where + ")"
		}
		none := "SELECT 1"
		cascade := func(statement string) string { // foreign keys do not follow
			if d.postgres() {
				return "SET session_replication_role = replica; " + statement + "; RESET session_replication_role"
			}
			return "PRAGMA foreign_keys = 0; " + statement
		}
		return []edit{
			{"nothing", none, 0, nil},
			{"key: state", "UPDATE keys SET doc = " + replaced(`"Enabled"`, `"Disabled"`) + keyA, 8, nil},
			{"key: MAC", "UPDATE keys SET mac = " + flip("mac") + keyA, 8, nil},
			{"key: document", "UPDATE keys SET doc = " + flip("doc") + keyA, 8, nil},
			{"key: key store", "UPDATE keys SET key_store = 'cks-a'" + keyA, 8, nil},
			{"key: due", "UPDATE keys SET due = 1" + keyA, 0, nil},
			{"key: of another", "UPDATE keys SET " + from("doc, mac", "keys", "o.id = "+b) + keyA, 8, nil},
			{"key: of another region", "UPDATE keys SET " + from("doc, mac", "keys", "o.id = "+a+" AND region = 'us-east-1'") + keyA, 8, nil},
			{"key: region", cascade("UPDATE keys SET region = 'eu-west-1'" + keyA), 5, []string{"versions a", "grants a", "group a", "retirable a", "aliases a"}},
			{"key: ID", cascade("UPDATE keys SET id = " + id(uuid.New()) + keyA), 5, []string{"versions a", "group a", "group replica", "aliases a"}},
			{"key: copied to another region", "INSERT INTO keys SELECT 'eu-west-1', id, due, key_store, doc, mac FROM keys" + keyA, 2, nil},
			{"key: deleted", "DELETE FROM keys" + keyA, 5, []string{"group a", "group replica", "versions a", "retirable a", "aliases a"}},
			{"material: wrapped", "UPDATE material SET wrapped = " + flip("wrapped") + keyA + " AND version = 2", 2, nil},
			{"material: document", "UPDATE material SET doc = " + replaced("ON_DEMAND", "AUTOMATIC") + keyA + " AND version = 2", 2, nil},
			{"material: MAC", "UPDATE material SET mac = " + flip("mac") + keyA + " AND version = 2", 2, nil},
			{"material: version", "UPDATE material SET version = 3" + keyA + " AND version = 2", 3, nil},
			{"material: region", "UPDATE material SET region = '" + region + "', version = 3 WHERE region = 'us-east-1' AND version = 2", 3, []string{"versions replica"}},
			{"material: of another version", "UPDATE material SET " + from("wrapped, doc, mac", "material", "o.id = "+a+" AND region = '"+region+"' AND version = 1") + keyA + " AND version = 2", 2, nil},
			{"material: of another key", "UPDATE material SET " + from("wrapped, doc, mac", "material", "o.id = "+b) + keyA + " AND version = 1", 2, nil},
			{"material: of another region", "UPDATE material SET " + from("wrapped, doc, mac", "material", "o.id = "+a+" AND region = 'us-east-1' AND version = 1") + keyA + " AND version = 1", 2, nil},
			{"material: wrapped of another key", "UPDATE material SET " + from("wrapped", "material", "o.id = "+b) + keyA + " AND version = 1", 2, nil},
			{"material: given to another key", "UPDATE material SET id = " + b + keyA + " AND version = 2", 3, []string{"versions a"}},
			{"material: deleted", "DELETE FROM material" + keyA + " AND version = 2", 1, []string{"versions a"}},
			{"alias: moved", "UPDATE aliases SET id = " + b + " WHERE name = 'alias/a'", 2, []string{"aliases a"}},
			{"alias: renamed", "UPDATE aliases SET name = 'alias/c' WHERE name = 'alias/a'", 2, nil},
			{"alias: renamed to a replica's", "UPDATE aliases SET name = 'alias/replica' WHERE name = 'alias/a'", 3, nil},
			{"alias: region", "UPDATE aliases SET region = 'us-east-1' WHERE name = 'alias/a'", 2, []string{"aliases a"}},
			{"alias: deleted", "DELETE FROM aliases WHERE name = 'alias/a'", 1, []string{"aliases a"}},
			{"grant: document", "UPDATE grants SET doc = " + replaced("Decrypt", "Encrypt") + " WHERE grant_id = 'a1'", 2, nil},
			{"grant: MAC", "UPDATE grants SET mac = " + flip("mac") + " WHERE grant_id = 'a1'", 2, nil},
			{"grant: retiring principal", "UPDATE grants SET retiring = 'retires replica' WHERE grant_id = 'a1'", 2, []string{"retirable a"}},
			{"grant: ID", "UPDATE grants SET grant_id = 'a3' WHERE grant_id = 'a1'", 2, nil},
			{"grant: of another", "UPDATE grants SET " + from("doc, mac", "grants", "grant_id = 'a2'") + " WHERE grant_id = 'a1'", 2, nil},
			{"grant: given to another key", "UPDATE grants SET id = " + b + " WHERE grant_id = 'a1'", 4, nil},
			{"grant: given to a replica", "UPDATE grants SET region = 'us-east-1' WHERE grant_id = 'a1'", 2, []string{"retirable a"}},
			{"grant: deleted", "DELETE FROM grants WHERE grant_id = 'a1'", 2, []string{"retirable a"}},
			{"grants: all deleted", "DELETE FROM grants WHERE id = " + a, 1, []string{"retirable a"}},
			{"key store: document", "UPDATE key_stores SET doc = " + replaced("of cks-a", "of cks-b") + " WHERE id = 'cks-a'", 2, nil},
			{"key store: MAC", "UPDATE key_stores SET mac = " + flip("mac") + " WHERE id = 'cks-a'", 2, nil},
			{"key store: ID", "UPDATE key_stores SET id = 'cks-replica' WHERE id = 'cks-a'", 3, nil},
			{"key store: of another", "UPDATE key_stores SET " + from("doc, mac", "key_stores", "o.id = 'cks-b'") + " WHERE id = 'cks-a'", 2, nil},
			{"key store: deleted", "DELETE FROM key_stores WHERE id = 'cks-a'", 1, []string{"list of key stores"}},
		}
	}
	each(t, func(t *testing.T, d *database) {
		s := d.open(t)
		w := newWorld(t, s)
		before := w.answers(s)
		saved := snapshot(t, d)
		for _, e := range edits(d, w) {
			t.Run(e.name, func(t *testing.T) {
				d.exec(t, e.statement)
				fresh := d.open(t)
				defer fresh.Close()
				if refused := compare(t, before, w.answers(fresh), e.missing...); refused < e.refused || e.refused == 0 && refused != 0 {
					t.Errorf("%d questions are not answered, want %d or more", refused, e.refused)
				}
				// Copies in memory must not hide it, nor be replaced by it.
				must(t, s.Ping(ctx))
				compare(t, before, w.answers(s), e.missing...)
				saved.restore(t, d)
			})
		}
		compare(t, before, w.answers(d.open(t)))
	})
}

// rows is what tables hold.
type rows struct {
	tables []string
	values map[string][][]any
}

func snapshot(t *testing.T, d *database) *rows {
	t.Helper()
	r := &rows{tables: []string{"keys", "material", "aliases", "grants", "key_stores"}, values: map[string][][]any{}}
	for _, table := range r.tables {
		r.values[table] = read(t, d, "SELECT * FROM "+table)
	}
	return r
}

func read(t *testing.T, d *database, query string) (all [][]any) {
	t.Helper()
	found, err := d.db.QueryContext(ctx, query)
	must(t, err)
	defer found.Close()
	columns, err := found.Columns()
	must(t, err)
	for found.Next() {
		row, at := make([]any, len(columns)), make([]any, len(columns))
		for i := range row {
			at[i] = &row[i]
		}
		must(t, found.Scan(at...))
		all = append(all, row)
	}
	must(t, found.Err())
	return all
}

func (d *database) insert(t *testing.T, table string, row []any) {
	t.Helper()
	marks := "?"
	for range len(row) - 1 {
		marks += ", ?"
	}
	d.exec(t, "INSERT INTO "+table+" VALUES ("+marks+")", row...)
}

func (r *rows) restore(t *testing.T, d *database) {
	t.Helper()
	for i := range r.tables {
		d.exec(t, "DELETE FROM "+r.tables[len(r.tables)-1-i])
	}
	for _, table := range r.tables {
		for _, row := range r.values[table] {
			d.insert(t, table, row)
		}
	}
}

// TestGrantBroughtBack: a grant that was deleted does not come back with its
// row, alone, with others, or in place of another.
func TestGrantBroughtBack(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		s := d.open(t)
		k := add(t, s)
		for i := range 4 {
			must(t, s.CreateGrant(ctx, grant(k, fmt.Sprint(i))))
		}
		old := read(t, d, "SELECT * FROM grants ORDER BY grant_id")
		must(t, s.DeleteGrant(ctx, k.Ref, "0"))
		must(t, s.DeleteGrant(ctx, k.Ref, "1"))
		check := func(what string) {
			t.Helper()
			fresh := d.open(t)
			if got, err := fresh.Grants(ctx, k.Ref); !errors.Is(err, store.ErrTampered) {
				t.Errorf("%s: %v, %v", what, grantIDs(got), err)
			}
			if got, _, err := fresh.RetirableGrants(ctx, region, "arn:retiring", "", 9); !errors.Is(err, store.ErrTampered) {
				t.Errorf("%s, retirable: %v, %v", what, grantIDs(got), err)
			}
			for name, change := range map[string]func() error{
				"create": func() error { return fresh.CreateGrant(ctx, grant(k, "x")) },
				"delete": func() error { return fresh.DeleteGrant(ctx, k.Ref, "0") },
			} {
				if err := change(); !errors.Is(err, store.ErrTampered) {
					t.Errorf("%s, %s: %v", what, name, err)
				}
			}
			// The grants in memory are those that are right.
			must(t, s.Ping(ctx))
			if got, err := s.Grants(ctx, k.Ref); err != nil || len(got) != 2 {
				t.Errorf("%s: in memory: %v, %v", what, grantIDs(got), err)
			}
		}
		d.insert(t, "grants", old[0])
		check("one more")
		d.exec(t, "DELETE FROM grants WHERE grant_id = '2'")
		check("in place of another")
		d.insert(t, "grants", old[1])
		d.exec(t, "DELETE FROM grants WHERE grant_id = '3'")
		check("all exchanged")
		d.exec(t, "DELETE FROM grants")
		d.insert(t, "grants", old[2])
		d.insert(t, "grants", old[3])
		if got, err := d.open(t).Grants(ctx, k.Ref); err != nil || len(got) != 2 {
			t.Errorf("as they were: %v, %v", grantIDs(got), err)
		}
	})
}

// TestTriggersRemoved: without the triggers changes are seen all the same.
func TestTriggersRemoved(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		s, other := d.open(t), d.open(t)
		k := add(t, s)
		if d.postgres() {
			for _, table := range []string{"keys", "material", "aliases", "grants", "key_stores"} {
				d.exec(t, "DROP TRIGGER changed ON "+table)
			}
		} else {
			for _, row := range read(t, d, "SELECT name FROM sqlite_schema WHERE type = 'trigger'") {
				d.exec(t, fmt.Sprintf("DROP TRIGGER %s", row[0]))
			}
		}
		for _, want := range []store.State{store.Disabled, store.Enabled, store.Disabled} {
			must(t, other.Ping(ctx))
			if _, err := other.Key(ctx, k.Ref); err != nil {
				t.Fatal(err)
			}
			_, err := s.Update(ctx, k.Ref, func(_ *store.Tx, k *store.Key) error { k.State = want; return nil })
			must(t, err)
			if got, err := s.Key(ctx, k.Ref); err != nil || got.State != want {
				t.Errorf("%v, %v", got, err)
			}
			must(t, other.Ping(ctx))
			if got, err := other.Key(ctx, k.Ref); err != nil || got.State != want {
				t.Errorf("the other: %v, %v", got, err)
			}
		}
	})
}

// TestDueEdited: a date that was brought near erases nothing.
func TestDueEdited(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		s := d.open(t)
		k := add(t, s)
		d.exec(t, "UPDATE keys SET due = 1")
		now := time.Now()
		if due, err := s.Due(ctx, now, 9); err != nil || len(due) != 1 {
			t.Errorf("due %v, %v", due, err)
		}
		if erased, err := s.Erase(ctx, k.Ref, now); erased || err != nil {
			t.Errorf("erased: %v, %v", erased, err)
		}
	})
}

// TestAliasClaimedTwice: a name whose row was removed is not given to the key
// that still has it a second time.
func TestAliasClaimedTwice(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		s := d.open(t)
		k := add(t, s)
		must(t, s.CreateAlias(ctx, k.Ref, "alias/a", time.Now()))
		d.exec(t, "DELETE FROM aliases")
		if err := s.CreateAlias(ctx, k.Ref, "alias/a", time.Now()); !errors.Is(err, store.ErrTampered) {
			t.Errorf("got %v", err)
		}
	})
}

// TestMACKeyOnce: a store that was used gets no second MAC key.
func TestMACKeyOnce(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		s := d.open(t)
		if _, _, err := s.SealedMACKey(ctx); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a new store: %v", err)
		}
		must(t, s.CreateMACKey(ctx, []byte("w"), []byte("s")))
		must(t, s.CreateMACKey(ctx, []byte("w2"), []byte("s2")))
		if wrapped, sealed, err := s.SealedMACKey(ctx); err != nil || string(wrapped) != "w" || string(sealed) != "s" {
			t.Errorf("%s, %s, %v", wrapped, sealed, err)
		}
		d.exec(t, "DELETE FROM mac_key")
		must(t, s.CreateKeyStore(ctx, store.KeyStore{ID: "cks-a"}, func([]*store.KeyStore) error { return nil }))
		if err := s.CreateMACKey(ctx, []byte("w"), []byte("s")); err == nil {
			t.Error("with a key store, a new one was made")
		}
		d.exec(t, "DELETE FROM key_stores")
		add(t, s)
		if err := s.CreateMACKey(ctx, []byte("w"), []byte("s")); err == nil {
			t.Error("with a key, a new one was made")
		}
	})
}

// TestWrongMACKey: nothing is read, and nothing can be changed, with another.
func TestWrongMACKey(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		w := newWorld(t, d.open(t))
		s, err := store.Open(ctx, d.url, "")
		must(t, err)
		defer s.Close()
		for question, ask := range w.asked {
			answer, err := ask(s)
			if err == nil && !emptyList(answer) {
				t.Errorf("%s: a locked store answers", question)
			}
		}
		if err := s.Unlock(ctx, macKey[1:], region); err == nil {
			t.Error("a short key was taken")
		}
		must(t, s.Unlock(ctx, make([]byte, store.MACKeySize), region))
		for question, ask := range w.asked {
			answer, err := ask(s)
			if err == nil && !emptyList(answer) || err != nil && !errors.Is(err, store.ErrTampered) && !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s: %v", question, err)
			}
		}
	})
}

func emptyList(answer any) bool {
	switch list := answer.(type) {
	case []*store.Grant:
		return len(list) == 0
	case []store.Alias:
		return len(list) == 0
	case []store.Material:
		return len(list) == 0
	}
	return false
}
