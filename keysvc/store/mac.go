// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// ErrTampered is returned for a key that is not as this service has written
// it.
var ErrTampered = errors.New("the rows of the key do not match their MAC")

// MACKeySize is the length of the key that Unlock takes, in bytes.
const MACKeySize = 32

// macLabel separates these MACs from any other use of the same key.
const macLabel = "sidekey key store, key, 1"

// Each key has one MAC over everything that decides what the key is and who may
// use it: its row, every version of its material, its tags and the names of its
// aliases. Whoever can write the file but not use the HSM can destroy keys and
// bring back an earlier state of all rows of one key, and nothing else: not
// enable a key, not exchange its material or leave a version out, not point an
// alias, which may carry a permission, at it. The lists of keys and aliases,
// and the dates of aliases, decide nothing and are not covered.

// SealedMACKey returns the stored form of the MACs' key: a backing key, wrapped,
// and the MACs' key encrypted under it. It returns ErrNotFound for a new store.
func (s *Store) SealedMACKey(ctx context.Context) (wrapped, sealed []byte, err error) {
	err = s.read.QueryRowContext(ctx, "SELECT wrapped, sealed FROM mac_key").Scan(&wrapped, &sealed)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the MAC key: %w", notFound(err))
	}
	return wrapped, sealed, nil
}

// CreateMACKey stores the key of the MACs of a new store. If another process
// was faster, that one's key stays. A store that has keys already must have had
// a MAC key, so it gets no other.
func (s *Store) CreateMACKey(ctx context.Context, wrapped, sealed []byte) error {
	return s.change(ctx, "storing the MAC key", func(tx *sql.Tx) error {
		var made, keys int
		if err := tx.QueryRowContext(ctx, "SELECT (SELECT count(*) FROM mac_key), EXISTS (SELECT 1 FROM keys)").Scan(&made, &keys); err != nil {
			return err
		}
		if made != 0 {
			return nil
		}
		if keys != 0 {
			return errors.New("the store has keys and its MAC key is missing: restore the store from a backup")
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO mac_key (one, wrapped, sealed) VALUES (1, ?, ?)", wrapped, sealed)
		return err
	})
}

// Unlock gives the store the key of its MACs. It is called once, before
// anything that reads or changes a key.
func (s *Store) Unlock(key []byte) { s.macKey = slices.Clone(key) }

// mac returns the MAC of all that Key holds.
func (s *Store) mac(k *Key) ([]byte, error) {
	if len(s.macKey) != MACKeySize {
		return nil, errors.New("the key store is locked")
	}
	h := hmac.New(sha256.New, s.macKey)
	h.Write(appendKey(nil, k))
	return h.Sum(nil), nil
}

func (s *Store) verify(k *Key, mac []byte) error {
	want, err := s.mac(k)
	if err != nil {
		return err
	}
	if !hmac.Equal(mac, want) {
		return ErrTampered
	}
	return nil
}

// remac writes the MAC of a key that was verified and then changed. It is that
// of what is in memory: what the file has made of it is seen at the next read.
func (s *Store) remac(ctx context.Context, tx *sql.Tx, k *Key) error {
	mac, err := s.mac(k)
	if err != nil {
		return err
	}
	return oneRow(tx.ExecContext(ctx, "UPDATE keys SET mac = ? WHERE id = ?", mac, k.ID[:]))
}

// appendKey encodes a key for its MAC. Every part has a length or a fixed size,
// so two different keys never have the same encoding.
func appendKey(b []byte, k *Key) []byte {
	b = appendSized(b, macLabel)
	b = append(b, k.ID[:]...)
	for _, field := range []string{string(k.State), k.Spec, k.Usage, k.Description} {
		b = appendSized(b, field)
	}
	b = appendTime(b, k.Created)
	b = appendTime(b, k.DeletionDate)
	b = binary.BigEndian.AppendUint32(b, uint32(len(k.Backing)))
	for _, v := range k.Backing {
		b = binary.BigEndian.AppendUint32(b, v.Version)
		b = appendSized(b, string(v.Wrapped))
		b = appendTime(b, v.Created)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(k.Tags)))
	for _, name := range slices.Sorted(maps.Keys(k.Tags)) {
		b = appendSized(b, name)
		b = appendSized(b, k.Tags[name])
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(k.Aliases)))
	for _, name := range k.Aliases {
		b = appendSized(b, name)
	}
	return b
}

func appendSized(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
	return append(b, s...)
}

// appendTime encodes a time as it is stored, in milliseconds; the zero time is
// that of no date.
func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, 0)
	}
	return binary.BigEndian.AppendUint64(append(b, 1), uint64(t.UnixMilli()))
}
