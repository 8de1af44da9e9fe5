// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
)

// What follows reads the tables of schema version 2 of SQLite, in which a key's
// parts were columns and one MAC covered them all.

const oldMACLabel = "sidekey key store, key, 1"

// carryOver moves the keys of schema version 2 into the present tables. A key
// whose MAC is wrong ends it: nothing is moved then.
func (s *Store) carryOver(ctx context.Context, region string) error {
	if _, ok := s.dialect.(sqlite); !ok {
		return nil
	}
	return s.change(ctx, "carrying over keys", func(t *Tx) error {
		if old, err := t.hasOldTables(); err != nil || !old {
			return cmp.Or(err, errNothing)
		}
		rows, err := t.tx.QueryContext(t.ctx, "SELECT id FROM old_keys")
		ids, err := collect(rows, err, func(rows *sql.Rows) (id uuid.UUID, err error) {
			err = scanID(rows, &id)
			return id, err
		})
		if err != nil {
			return err
		}
		for _, id := range ids {
			if err := t.carryKey(Ref{region, id}); err != nil {
				return fmt.Errorf("carrying over key %s of an earlier version: %w", id, err)
			}
		}
		_, err = t.tx.ExecContext(t.ctx, "DROP TABLE old_tags; DROP TABLE old_aliases; DROP TABLE old_backing_keys; DROP TABLE old_keys")
		return err
	})
}

// hasOldTables reports whether the tables of schema version 2 are there:
// another process may just have carried them over.
func (t *Tx) hasOldTables() (there bool, err error) {
	if _, ok := t.s.dialect.(sqlite); !ok {
		return false, nil
	}
	err = t.tx.QueryRowContext(t.ctx, "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'old_keys')").Scan(&there)
	return there, err
}

// hasOldKeys reports whether they hold keys.
func (t *Tx) hasOldKeys() (there bool, err error) {
	if there, err = t.hasOldTables(); err == nil && there {
		err = t.tx.QueryRowContext(t.ctx, "SELECT EXISTS (SELECT 1 FROM old_keys)").Scan(&there)
	}
	return there, err
}

func (t *Tx) carryKey(ref Ref) error {
	k := Key{Ref: ref, Origin: "AWS_KMS", Protection: "hsm", Tags: map[string]string{}}
	var created int64
	var deletion sql.NullInt64
	var mac []byte
	if err := t.tx.QueryRowContext(t.ctx, "SELECT state, key_spec, key_usage, description, created, deletion_date, mac FROM old_keys WHERE id = ?", ref.ID[:]).
		Scan(&k.State, &k.Spec, &k.Usage, &k.Description, &created, &deletion, &mac); err != nil {
		return err
	}
	k.Created = time.UnixMilli(created)
	if deletion.Valid {
		k.DeletionDate = time.UnixMilli(deletion.Int64)
	}
	materials, err := t.oldMaterials(ref)
	if err != nil {
		return err
	}
	aliases, err := t.oldAliases(ref)
	if err != nil {
		return err
	}
	rows, err := t.tx.QueryContext(t.ctx, "SELECT tag_key, tag_value FROM old_tags WHERE key_id = ?", ref.ID[:])
	if _, err := collect(rows, err, func(rows *sql.Rows) (name string, err error) {
		var value string
		err = rows.Scan(&name, &value)
		k.Tags[name] = value
		return name, err
	}); err != nil {
		return err
	}
	h := hmac.New(sha256.New, t.s.macKey)
	h.Write(oldKey(&k, materials, aliases))
	if !hmac.Equal(mac, h.Sum(nil)) || len(materials) == 0 {
		return ErrTampered
	}
	k.Version = materials[len(materials)-1].Version
	k.Versions = k.Version
	if err := t.CreateKey(k, materials...); err != nil {
		return err
	}
	return t.carryAliases(ref, aliases)
}

func (t *Tx) oldMaterials(ref Ref) ([]Material, error) {
	rows, err := t.tx.QueryContext(t.ctx, "SELECT version, wrapped, created FROM old_backing_keys WHERE key_id = ? ORDER BY version", ref.ID[:])
	return collect(rows, err, func(rows *sql.Rows) (m Material, err error) {
		var created int64
		err = rows.Scan(&m.Version, &m.Wrapped, &created)
		m.Created = time.UnixMilli(created)
		return m, err
	})
}

func (t *Tx) oldAliases(ref Ref) ([]Alias, error) {
	rows, err := t.tx.QueryContext(t.ctx, "SELECT name, created, updated FROM old_aliases WHERE key_id = ? ORDER BY name", ref.ID[:])
	return collect(rows, err, func(rows *sql.Rows) (a Alias, err error) {
		var created, updated int64
		err = rows.Scan(&a.Name, &created, &updated)
		a.Created, a.Updated = time.UnixMilli(created), time.UnixMilli(updated)
		return a, err
	})
}

func (t *Tx) carryAliases(ref Ref, aliases []Alias) error {
	k, err := t.Key(ref)
	if err != nil {
		return err
	}
	for _, a := range aliases {
		k.Aliases = append(k.Aliases, a.Name)
		if _, err := t.tx.ExecContext(t.ctx, "INSERT INTO aliases (region, name, id, created, updated) VALUES (?, ?, ?, ?, ?)",
			ref.Region, a.Name, ref.ID[:], a.Created.UnixMilli(), a.Updated.UnixMilli()); err != nil {
			return err
		}
	}
	return nil
}

// oldKey encodes a key as the MAC of schema version 2 covered it.
func oldKey(k *Key, materials []Material, aliases []Alias) []byte {
	b := appendSized(nil, []byte(oldMACLabel))
	b = append(b, k.ID[:]...)
	for _, field := range []string{string(k.State), k.Spec, k.Usage, k.Description} {
		b = appendSized(b, []byte(field))
	}
	b = appendTime(b, k.Created)
	b = appendTime(b, k.DeletionDate)
	b = binary.BigEndian.AppendUint32(b, uint32(len(materials)))
	for _, m := range materials {
		b = binary.BigEndian.AppendUint32(b, m.Version)
		b = appendSized(b, m.Wrapped)
		b = appendTime(b, m.Created)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(k.Tags)))
	for _, name := range slices.Sorted(maps.Keys(k.Tags)) {
		b = appendSized(b, []byte(name))
		b = appendSized(b, []byte(k.Tags[name]))
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(aliases)))
	for _, a := range aliases {
		b = appendSized(b, []byte(a.Name))
	}
	return b
}

// appendTime encodes a time as it is stored, in milliseconds; the zero time is
// that of no date.
func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, 0)
	}
	return binary.BigEndian.AppendUint64(append(b, 1), uint64(t.UnixMilli()))
}
