// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"
)

// loadKey reads a key and verifies its MAC. The second result is its document.
func (s *Store) loadKey(ctx context.Context, q querier, ref Ref) (*Key, []byte, error) {
	k, doc, err := s.readKey(ctx, q, ref)
	if err != nil {
		return nil, nil, fmt.Errorf("reading key %s: %w", ref.ID, err)
	}
	return k, doc, nil
}

func (s *Store) readKey(ctx context.Context, q querier, ref Ref) (*Key, []byte, error) {
	var doc, mac []byte
	err := s.row(ctx, q, "SELECT doc, mac FROM keys WHERE region = ? AND id = ?", ref.Region, ref.ID[:]).Scan(&doc, &mac)
	if err != nil {
		return nil, nil, notFound(err)
	}
	if err := s.checkRow(mac, "keys", []byte(ref.Region), ref.ID[:], doc); err != nil {
		return nil, nil, err
	}
	k := &Key{}
	if err := json.Unmarshal(doc, k); err != nil {
		return nil, nil, err
	}
	return k, doc, nil
}

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
	want, err := s.materialMAC(ref, m.Version, m.Wrapped, doc)
	if err != nil {
		return err
	}
	if string(want) != string(mac) {
		return ErrTampered
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
	mac, err := s.materialMAC(ref, m.Version, m.Wrapped, doc)
	if err != nil {
		return err
	}
	_, err = s.exec(ctx, q, "INSERT INTO material (region, id, version, wrapped, doc, mac) VALUES (?, ?, ?, ?, ?, ?)",
		ref.Region, ref.ID[:], int64(m.Version), m.Wrapped, doc, mac)
	return err
}

func (s *Store) loadGrants(ctx context.Context, q querier, ref Ref) ([]*Grant, error) {
	k, _, err := s.loadKey(ctx, q, ref)
	if err != nil {
		return nil, err
	}
	var sum GrantSum
	rows, err := s.rows(ctx, q, "SELECT grant_id, doc, mac FROM grants WHERE region = ? AND id = ? ORDER BY grant_id", ref.Region, ref.ID[:])
	list, err := collect(rows, err, func(rows *sql.Rows) (*Grant, error) {
		g, mac, err := s.scanGrant(rows, ref)
		sum.add(mac, 1)
		return g, err
	})
	if err == nil && (sum.Count != k.Grants.Count || string(sum.Sum) != string(k.Grants.Sum)) {
		err = ErrTampered
	}
	if err != nil {
		return nil, fmt.Errorf("reading the grants of key %s: %w", ref.ID, err)
	}
	return list, nil
}

// scanGrant reads grant_id, doc and mac of a row.
func (s *Store) scanGrant(rows *sql.Rows, ref Ref) (*Grant, []byte, error) {
	var id string
	var doc, mac []byte
	if err := rows.Scan(&id, &doc, &mac); err != nil {
		return nil, nil, err
	}
	if err := s.checkRow(mac, "grants", []byte(ref.Region), ref.ID[:], []byte(id), doc); err != nil {
		return nil, nil, err
	}
	g := &Grant{}
	return g, mac, json.Unmarshal(doc, g)
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
