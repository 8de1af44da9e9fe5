// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
)

// KeyStores returns all custom key stores, sorted by ID.
func (s *Store) KeyStores(ctx context.Context) (list []*KeyStore, err error) {
	err = s.view(ctx, func(ctx context.Context, q querier) error {
		list, err = s.loadKeyStores(ctx, q)
		return err
	})
	return list, err
}

// KeyStores returns all custom key stores, sorted by ID.
func (t *Tx) KeyStores() ([]*KeyStore, error) { return t.s.loadKeyStores(t.ctx, t.tx) }

func (s *Store) loadKeyStores(ctx context.Context, q querier) ([]*KeyStore, error) {
	rows, err := s.rows(ctx, q, "SELECT id, doc, mac FROM key_stores ORDER BY id")
	list, err := collect(rows, err, func(rows *sql.Rows) (*KeyStore, error) {
		var id string
		var doc, mac []byte
		if err := rows.Scan(&id, &doc, &mac); err != nil {
			return nil, err
		}
		return s.parseKeyStore(id, doc, mac)
	})
	if err != nil {
		return nil, fmt.Errorf("listing key stores: %w", err)
	}
	return list, nil
}

// KeyStore returns a custom key store. The result is shared and must not be
// changed.
func (s *Store) KeyStore(ctx context.Context, id string) (*KeyStore, error) {
	return s.keyStores.get(ctx, s, id, func(ctx context.Context, q querier) (*KeyStore, error) { return s.loadKeyStore(ctx, q, id) })
}

func (s *Store) loadKeyStore(ctx context.Context, q querier, id string) (*KeyStore, error) {
	if !isText(id) {
		return nil, fmt.Errorf("reading key store: %w", ErrNotFound)
	}
	var doc, mac []byte
	if err := s.row(ctx, q, "SELECT doc, mac FROM key_stores WHERE id = ?", id).Scan(&doc, &mac); err != nil {
		return nil, fmt.Errorf("reading key store: %w", notFound(err))
	}
	return s.parseKeyStore(id, doc, mac)
}

func (s *Store) parseKeyStore(id string, doc, mac []byte) (*KeyStore, error) {
	if err := s.checkRow(mac, "key_stores", []byte(id), doc); err != nil {
		return nil, fmt.Errorf("reading key store: %w", err)
	}
	ks := &KeyStore{}
	return ks, json.Unmarshal(doc, ks)
}

// CreateKeyStore adds a custom key store. check, which is given those there
// are, may refuse; its error is returned as it is. It returns ErrExists for an
// ID that is taken.
func (s *Store) CreateKeyStore(ctx context.Context, ks KeyStore, check func([]*KeyStore) error) error {
	return s.change(ctx, "creating key store", func(t *Tx) error {
		list, err := t.KeyStores()
		if err != nil {
			return err
		}
		if err := check(list); err != nil {
			return err
		}
		ks.Created = moment(ks.Created)
		doc := document(ks)
		mac, err := s.keyStoreMAC(ks.ID, doc)
		if err != nil {
			return err
		}
		return newRow(s.exec(t.ctx, t.tx, "INSERT INTO key_stores (id, doc, mac) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", ks.ID, doc, mac))
	})
}

// UpdateKeyStore changes a custom key store as do says, in one transaction
// with the reading of it. An error of do is returned as it is.
func (s *Store) UpdateKeyStore(ctx context.Context, id string, do func(*Tx, *KeyStore) error) (*KeyStore, error) {
	var ks *KeyStore
	err := s.change(ctx, "changing key store", func(t *Tx) (err error) {
		if ks, err = s.loadKeyStore(t.ctx, t.tx, id); err != nil {
			return err
		}
		if err := do(t, ks); err != nil {
			return err
		}
		doc := document(ks)
		mac, err := s.keyStoreMAC(id, doc)
		if err != nil {
			return err
		}
		return oneRow(s.exec(t.ctx, t.tx, "UPDATE key_stores SET doc = ?, mac = ? WHERE id = ?", doc, mac, id))
	})
	if err != nil {
		return nil, err
	}
	return ks, nil
}

// ErrInUse is returned for a custom key store that keys are in.
var ErrInUse = errors.New("the key store has keys")

// KeyStoreUsed reports whether a custom key store has keys.
func (t *Tx) KeyStoreUsed(id string) (bool, error) {
	var used bool
	err := t.s.row(t.ctx, t.tx, "SELECT EXISTS (SELECT 1 FROM keys WHERE key_store = ? AND key_store <> '')", id).Scan(&used)
	return used, err
}

// DeleteKeyStore removes a custom key store that no key is in. check may
// refuse; its error is returned as it is.
func (s *Store) DeleteKeyStore(ctx context.Context, id string, check func(*KeyStore) error) error {
	return s.change(ctx, "deleting key store", func(t *Tx) error {
		ks, err := s.loadKeyStore(t.ctx, t.tx, id)
		if err != nil {
			return err
		}
		if err := check(ks); err != nil {
			return err
		}
		used, err := t.KeyStoreUsed(id)
		if err != nil {
			return err
		}
		if used {
			return ErrInUse
		}
		return oneRow(s.exec(t.ctx, t.tx, "DELETE FROM key_stores WHERE id = ?", id))
	})
}
