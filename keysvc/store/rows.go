// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// loadedKey is a key and its document as it was read.
type loadedKey struct {
	key *Key
	doc []byte
}

// keyColumns are what scanKey reads.
const keyColumns = "keys.region, keys.id, keys.key_store, keys.doc, keys.mac"

// scanKey reads a key, verifies its MAC and that it is found by what it says.
// The time that it is due is not compared: it follows from the document by the
// rules of the program that wrote it.
func (s *Store) scanKey(scan func(...any) error, more ...any) (l loadedKey, err error) {
	var ref Ref
	var id, mac []byte
	var keyStore string
	if err := scan(append([]any{&ref.Region, &id, &keyStore, &l.doc, &mac}, more...)...); err != nil {
		return l, notFound(err)
	}
	if err := s.checkRow(mac, "keys", []byte(ref.Region), id, l.doc); err != nil {
		return l, err
	}
	l.key = &Key{}
	if err := json.Unmarshal(l.doc, l.key); err != nil {
		return l, err
	}
	if l.key.KeyStore != keyStore {
		return l, ErrTampered
	}
	return l, nil
}

// loadKey reads a key. The second result is its document.
func (s *Store) loadKey(ctx context.Context, q querier, ref Ref) (*Key, []byte, error) {
	l, err := s.scanKey(s.row(ctx, q, "SELECT "+keyColumns+" FROM keys WHERE region = ? AND id = ?", ref.Region, ref.ID[:]).Scan)
	if err != nil {
		return nil, nil, fmt.Errorf("reading key %s: %w", ref.ID, err)
	}
	return l.key, l.doc, nil
}

// loadGroup reads the keys of an ID, sorted by region.
func (s *Store) loadGroup(ctx context.Context, q querier, id uuid.UUID) ([]loadedKey, error) {
	rows, err := s.rows(ctx, q, "SELECT "+keyColumns+" FROM keys WHERE id = ? ORDER BY region", id[:])
	all, err := collect(rows, err, func(rows *sql.Rows) (loadedKey, error) { return s.scanKey(rows.Scan) })
	if err != nil {
		return nil, fmt.Errorf("reading key %s: %w", id, err)
	}
	return all, nil
}

// loadAlias reads the key that a name points to. The row of the alias counts
// only because the key's document names it.
func (s *Store) loadAlias(ctx context.Context, q querier, region, name string) (loadedKey, error) {
	if !isText(name) {
		return loadedKey{}, ErrNotFound
	}
	l, err := s.scanKey(s.row(ctx, q, "SELECT "+keyColumns+" FROM aliases JOIN keys ON keys.region = aliases.region AND keys.id = aliases.id"+
		" WHERE aliases.region = ? AND aliases.name = ?", region, name).Scan)
	if err == nil && !slices.Contains(l.key.Aliases, name) {
		err = ErrTampered
	}
	return l, err
}

// isText reports whether a column of text can hold s: PostgreSQL refuses to be
// asked for anything else.
func isText(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

// materialDoc is the part of a Material that is not the wrapped key.
type materialDoc struct {
	Created  time.Time
	Rotation string `json:",omitempty"`
}

func (s *Store) loadMaterial(ctx context.Context, q querier, ref Ref, version uint32) (*Material, error) {
	m := &Material{Version: version}
	var doc, mac []byte
	err := s.row(ctx, q, "SELECT wrapped, doc, mac FROM material WHERE region = ? AND id = ? AND version = ?",
		ref.Region, ref.ID[:], int64(version)).Scan(&m.Wrapped, &doc, &mac)
	if err == nil {
		err = s.checkMaterial(ref, m, doc, mac)
	}
	if err != nil {
		return nil, fmt.Errorf("reading version %d of key %s: %w", version, ref.ID, notFound(err))
	}
	return m, nil
}

// checkMaterial verifies a row and takes over its document.
func (s *Store) checkMaterial(ref Ref, m *Material, doc, mac []byte) error {
	if err := s.checkRow(mac, "material", materialParts(ref, m.Version, m.Wrapped, doc)...); err != nil {
		return err
	}
	var d materialDoc
	if err := json.Unmarshal(doc, &d); err != nil {
		return err
	}
	m.Created, m.Rotation = d.Created, d.Rotation
	return nil
}

func (s *Store) insertMaterial(ctx context.Context, q querier, ref Ref, m Material) error {
	doc := document(materialDoc{moment(m.Created), m.Rotation})
	mac, err := s.rowMAC("material", materialParts(ref, m.Version, m.Wrapped, doc)...)
	if err != nil {
		return err
	}
	return newRow(s.exec(ctx, q, "INSERT INTO material (region, id, version, wrapped, doc, mac) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
		ref.Region, ref.ID[:], int64(m.Version), m.Wrapped, doc, mac))
}

// moment is a time as it is stored: to the millisecond.
func moment(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Millisecond)
}

// normalize gives all times of a key the form in which they are stored.
func (k *Key) normalize() {
	k.Created, k.DeletionDate, k.Rotation.Next = moment(k.Created), moment(k.DeletionDate), moment(k.Rotation.Next)
	for i := range k.Imports {
		v := &k.Imports[i]
		v.ValidTo, v.Imported, v.Rotated = moment(v.ValidTo), moment(v.Imported), moment(v.Rotated)
	}
}

// dueColumn is Due as it stands in the table.
func (k *Key) dueColumn() any {
	if due := k.Due(); !due.IsZero() {
		return due.UnixMilli()
	}
	return nil
}
