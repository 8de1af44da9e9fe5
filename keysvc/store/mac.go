// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// MACKeySize is the length of the key that Unlock takes, in bytes.
const MACKeySize = 32

// macLabel separates these MACs from any other use of the same key.
const macLabel = "sidekey key store, row, 2"

// Every row that decides something has a MAC over its table, the columns that
// it is found by and its document. Whoever can write to the database but not
// use the HSM can destroy rows, and bring back an earlier state of one, and
// nothing else: not enable a key, not exchange its material, not point an
// alias, which may carry a permission, at it, not change, add or bring back a
// grant without bringing back the whole key as it was then. That a key's
// aliases and grants are all there and no others is in the key's own document:
// the names of the aliases, and the number and the sum of the grants
// (grants.go). The list of keys, the time at which a key is due, the dates of
// aliases and the last uses decide nothing and are not covered.

// SealedMACKey returns the stored form of the MACs' key: a backing key, wrapped,
// and the MACs' key encrypted under it. It returns ErrNotFound for a new store.
func (s *Store) SealedMACKey(ctx context.Context) (wrapped, sealed []byte, err error) {
	err = s.view(ctx, func(ctx context.Context, q querier) error {
		return s.row(ctx, q, "SELECT wrapped, sealed FROM mac_key").Scan(&wrapped, &sealed)
	})
	if err != nil {
		return nil, nil, fmt.Errorf("reading the MAC key: %w", notFound(err))
	}
	return wrapped, sealed, nil
}

// CreateMACKey stores the key of the MACs of a new store. If another process
// was faster, that one's key stays. A store that has keys already, or had any
// before its schema was changed, must have had a MAC key, so it gets no other.
func (s *Store) CreateMACKey(ctx context.Context, wrapped, sealed []byte) error {
	return s.change(ctx, "storing the MAC key", func(t *Tx) error {
		var made, used bool
		if err := s.row(t.ctx, t.tx, "SELECT EXISTS (SELECT 1 FROM mac_key), EXISTS (SELECT 1 FROM keys) OR EXISTS (SELECT 1 FROM key_stores)").Scan(&made, &used); err != nil {
			return err
		}
		if made {
			return errNothing
		}
		if old, err := t.hasOldKeys(); err != nil || old || used {
			return errors.Join(err, errors.New("the store has keys and its MAC key is missing: restore the store from a backup"))
		}
		_, err := s.exec(t.ctx, t.tx, "INSERT INTO mac_key (one, wrapped, sealed) VALUES (1, ?, ?)", wrapped, sealed)
		return err
	})
}

// Unlock gives the store the key of its MACs. It is called once, before
// anything that reads or changes a key. Keys that an earlier version has
// written into an SQLite file, which knew no regions, become those of region.
func (s *Store) Unlock(ctx context.Context, key []byte, region string) error {
	if len(key) != MACKeySize {
		return fmt.Errorf("the MAC key of the key store has %d bytes", len(key))
	}
	s.macKey = slices.Clone(key)
	return s.carryOver(ctx, region)
}

// rowMAC is the MAC of a row: its table, what it is found by, and what it says.
func (s *Store) rowMAC(table string, parts ...[]byte) ([]byte, error) {
	if len(s.macKey) != MACKeySize {
		return nil, errors.New("the key store is locked")
	}
	b := appendSized(appendSized(make([]byte, 0, 1024), []byte(macLabel)), []byte(table))
	for _, part := range parts {
		b = appendSized(b, part)
	}
	h := hmac.New(sha256.New, s.macKey)
	h.Write(b)
	return h.Sum(nil), nil
}

func (s *Store) checkRow(mac []byte, table string, parts ...[]byte) error {
	want, err := s.rowMAC(table, parts...)
	if err != nil {
		return err
	}
	if !hmac.Equal(mac, want) {
		return ErrTampered
	}
	return nil
}

// appendSized gives every part a length, so that two different rows never
// have the same encoding.
func appendSized(b, part []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
	return append(b, part...)
}

func (s *Store) keyMAC(ref Ref, doc []byte) ([]byte, error) {
	return s.rowMAC("keys", []byte(ref.Region), ref.ID[:], doc)
}

func materialParts(ref Ref, version uint32, wrapped, doc []byte) [][]byte {
	return [][]byte{[]byte(ref.Region), ref.ID[:], binary.BigEndian.AppendUint32(nil, version), wrapped, doc}
}

func (s *Store) keyStoreMAC(id string, doc []byte) ([]byte, error) {
	return s.rowMAC("key_stores", []byte(id), doc)
}

// document is the JSON of a row. Its bytes are what the MAC covers.
func document(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("store: " + err.Error()) // the types of this package always encode
	}
	return b
}
