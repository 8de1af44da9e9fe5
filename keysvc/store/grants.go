// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// GrantSum is what a key knows of its grants: their number, and the XOR of a
// secret digest of each with one of the nonce, which every change renews
// (MSet-XOR-Hash: Clarke et al., Incremental Multiset Hash Functions, 2003). The
// MACs beside the grants would not do for digests: who knows some hundred of
// them, of grants that were deleted, can solve for a set of the same sum.
type GrantSum struct {
	Count int
	Nonce []byte `json:",omitempty"`
	Sum   []byte
}

// equal reports whether the grants are the same: a nonce is used once.
func (g GrantSum) equal(other GrantSum) bool {
	return g.Count == other.Count && bytes.Equal(g.Nonce, other.Nonce) && bytes.Equal(g.Sum, other.Sum)
}

const grantNonceSize = 16

// grantMask is the digest of the nonce.
func (s *Store) grantMask(ref Ref, g GrantSum) ([]byte, error) {
	return s.rowMAC("grants, nonce", []byte(ref.Region), ref.ID[:], binary.BigEndian.AppendUint64(nil, uint64(g.Count)), g.Nonce)
}

// grantDigest is the digest of a grant. It is in no row.
func (s *Store) grantDigest(ref Ref, id string, doc []byte) ([]byte, error) {
	return s.rowMAC("grants, digest", []byte(ref.Region), ref.ID[:], []byte(id), doc)
}

// changeGrants adds a grant to the sum of a key, or takes one away.
func (s *Store) changeGrants(k *Key, id string, doc []byte, count int) error {
	sum, err := s.grantDigest(k.Ref, id, doc)
	if err != nil {
		return err
	}
	if k.Grants.Count > 0 {
		mask, err := s.grantMask(k.Ref, k.Grants)
		if err != nil {
			return err
		}
		if len(k.Grants.Sum) != len(sum) {
			return ErrTampered
		}
		subtle.XORBytes(sum, sum, mask)
		subtle.XORBytes(sum, sum, k.Grants.Sum)
	}
	next := GrantSum{Count: k.Grants.Count + count}
	if next.Count > 0 {
		next.Nonce = make([]byte, grantNonceSize)
		rand.Read(next.Nonce)
		mask, err := s.grantMask(k.Ref, next)
		if err != nil {
			return err
		}
		subtle.XORBytes(sum, sum, mask)
		next.Sum = sum
	}
	k.Grants = next
	return nil
}

// storedGrant is a grant and its document.
type storedGrant struct {
	*Grant
	doc []byte
}

// grantsOf reads the grants of a key, sorted by ID, or returns the copy in
// memory if they are the same.
func (s *Store) grantsOf(ctx context.Context, q querier, k *Key) ([]storedGrant, error) {
	if k.Grants.Count == 0 {
		return nil, nil
	}
	if list, ok := s.grants.get(k.Ref, k.Grants); ok {
		return list, nil
	}
	list, err := s.loadGrants(ctx, q, k)
	if err != nil {
		return nil, fmt.Errorf("reading the grants of key %s: %w", k.ID, err)
	}
	s.grants.put(k.Ref, k.Grants, list)
	return list, nil
}

func (s *Store) loadGrants(ctx context.Context, q querier, k *Key) ([]storedGrant, error) {
	sum, err := s.grantMask(k.Ref, k.Grants)
	if err != nil {
		return nil, err
	}
	rows, err := s.rows(ctx, q, "SELECT grant_id, retiring, doc, mac FROM grants WHERE region = ? AND id = ? ORDER BY grant_id", k.Region, k.ID[:])
	list, err := collect(rows, err, func(rows *sql.Rows) (storedGrant, error) {
		g, err := s.scanGrant(rows, k.Ref)
		if err != nil {
			return g, err
		}
		digest, err := s.grantDigest(k.Ref, g.ID, g.doc)
		subtle.XORBytes(sum, sum, digest)
		return g, err
	})
	if err == nil && (len(list) != k.Grants.Count || !bytes.Equal(sum, k.Grants.Sum)) {
		err = ErrTampered
	}
	return list, err
}

func (s *Store) scanGrant(rows *sql.Rows, ref Ref) (storedGrant, error) {
	g := storedGrant{Grant: &Grant{}}
	var id, retiring string
	var mac []byte
	if err := rows.Scan(&id, &retiring, &g.doc, &mac); err != nil {
		return g, err
	}
	if err := s.checkRow(mac, "grants", []byte(ref.Region), ref.ID[:], []byte(id), g.doc); err != nil {
		return g, err
	}
	if err := json.Unmarshal(g.doc, g.Grant); err != nil {
		return g, err
	}
	if g.Retiring != retiring {
		return g, ErrTampered
	}
	return g, nil
}

// Grants returns the grants of a key, sorted by ID. They are shared and must
// not be changed.
func (s *Store) Grants(ctx context.Context, ref Ref) (grants []*Grant, err error) {
	k, err := s.Key(ctx, ref)
	if err != nil || k.Grants.Count == 0 {
		return nil, err
	}
	list, ok := s.grants.get(ref, k.Grants)
	if !ok {
		list, err = s.readGrants(ctx, ref)
	}
	for _, g := range list {
		grants = append(grants, g.Grant)
	}
	return grants, err
}

func (s *Store) readGrants(ctx context.Context, ref Ref) (list []storedGrant, err error) {
	err = s.viewOnce(ctx, func(ctx context.Context, q querier) error {
		k, _, err := s.loadKey(ctx, q, ref)
		if err != nil {
			return err
		}
		list, err = s.grantsOf(ctx, q, k)
		return err
	})
	return list, err
}

// RetirableGrants returns up to limit grants of a region that a principal may
// retire, after the given ID, sorted by ID, and whether there are more.
func (s *Store) RetirableGrants(ctx context.Context, region, principal, after string, limit int) (grants []*Grant, more bool, err error) {
	err = s.viewOnce(ctx, func(ctx context.Context, q querier) error {
		rows, err := s.rows(ctx, q, "SELECT id, grant_id FROM grants WHERE region = ? AND retiring = ? AND grant_id > ? ORDER BY grant_id LIMIT ?",
			region, principal, after, limit+1)
		found, err := collect(rows, err, func(rows *sql.Rows) (g Grant, err error) {
			g.Key.Region = region
			err = scanID(rows, &g.Key.ID, &g.ID)
			return g, err
		})
		if err != nil {
			return err
		}
		found, more = page(found, limit)
		grants, err = s.theirGrants(ctx, q, found, principal)
		return err
	})
	if err != nil {
		return nil, false, fmt.Errorf("listing grants: %w", err)
	}
	return grants, more, nil
}

// theirGrants finds the named grants among those of their keys: that a row of
// a grant is there does not say that it was not deleted.
func (s *Store) theirGrants(ctx context.Context, q querier, named []Grant, retiring string) ([]*Grant, error) {
	keys := map[Ref][]storedGrant{}
	var grants []*Grant
	for _, n := range named {
		list, ok := keys[n.Key]
		if !ok {
			k, _, err := s.loadKey(ctx, q, n.Key)
			if err != nil {
				return nil, err
			}
			if list, err = s.grantsOf(ctx, q, k); err != nil {
				return nil, err
			}
			keys[n.Key] = list
		}
		i, ok := findGrant(list, n.ID)
		if !ok || list[i].Retiring != retiring {
			return nil, ErrTampered
		}
		grants = append(grants, list[i].Grant)
	}
	return grants, nil
}

func findGrant(list []storedGrant, id string) (int, bool) {
	return slices.BinarySearchFunc(list, id, func(g storedGrant, id string) int { return strings.Compare(g.ID, id) })
}

// CreateGrant adds a grant.
func (s *Store) CreateGrant(ctx context.Context, g Grant) error {
	_, err := s.EnsureGrant(ctx, g, nil)
	return err
}

// EnsureGrant returns a grant of the same key that is the same, as same (which
// may be nil) reports, or adds the given one and returns it.
func (s *Store) EnsureGrant(ctx context.Context, g Grant, same func(*Grant) bool) (*Grant, error) {
	var found *Grant
	var k *Key
	var list []storedGrant
	err := s.change(ctx, "creating grant", func(t *Tx) (err error) {
		if k, err = t.Key(g.Key); err != nil {
			return err
		}
		if list, err = s.grantsOf(t.ctx, t.tx, k); err != nil {
			return err
		}
		if same != nil {
			if i := slices.IndexFunc(list, func(have storedGrant) bool { return same(have.Grant) }); i >= 0 {
				found = list[i].Grant
				return errNothing
			}
		}
		stored, err := t.insertGrant(k, g)
		i, _ := findGrant(list, g.ID)
		found, list = stored.Grant, slices.Insert(slices.Clone(list), i, stored)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.grants.put(k.Ref, k.Grants, list)
	return found, nil
}

func (t *Tx) insertGrant(k *Key, g Grant) (storedGrant, error) {
	g.Created = moment(g.Created)
	stored := storedGrant{&Grant{}, document(g)}
	if k.Grants.Count >= grantsPerKey {
		return stored, ErrGrantLimit
	}
	// The caller keeps what its own refers to.
	if err := json.Unmarshal(stored.doc, stored.Grant); err != nil {
		return stored, err
	}
	mac, err := t.s.rowMAC("grants", []byte(g.Key.Region), g.Key.ID[:], []byte(g.ID), stored.doc)
	if err != nil {
		return stored, err
	}
	if err := t.s.changeGrants(k, g.ID, stored.doc, 1); err != nil {
		return stored, err
	}
	return stored, newRow(t.s.exec(t.ctx, t.tx, "INSERT INTO grants (region, id, grant_id, retiring, doc, mac) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
		g.Key.Region, g.Key.ID[:], g.ID, g.Retiring, stored.doc, mac))
}

// DeleteGrant removes a grant of a key.
func (s *Store) DeleteGrant(ctx context.Context, ref Ref, id string) error {
	var k *Key
	var list []storedGrant
	err := s.change(ctx, "deleting grant", func(t *Tx) (err error) {
		if k, err = t.Key(ref); err != nil {
			return err
		}
		if list, err = s.grantsOf(t.ctx, t.tx, k); err != nil {
			return err
		}
		i, ok := findGrant(list, id)
		if !ok {
			return ErrNotFound
		}
		if err := s.changeGrants(k, id, list[i].doc, -1); err != nil {
			return err
		}
		list = slices.Delete(slices.Clone(list), i, i+1)
		return oneRow(s.exec(t.ctx, t.tx, "DELETE FROM grants WHERE region = ? AND id = ? AND grant_id = ?", ref.Region, ref.ID[:], id))
	})
	if err != nil {
		return err
	}
	s.grants.put(ref, k.Grants, list)
	return nil
}

// cacheGrants bounds the number of grants in memory, of all keys; a full cache
// starts empty again.
const cacheGrants = 1 << 18

// A grantCache holds the grants of keys. A copy is right for as long as the
// sum in the key is the one it was made with.
type grantCache struct {
	mu   sync.RWMutex
	rows map[Ref]cachedGrants // guarded by mu
	size int                  // of all lists; guarded by mu
}

type cachedGrants struct {
	sum  GrantSum
	list []storedGrant
}

func (c *grantCache) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rows, c.size = map[Ref]cachedGrants{}, 0
}

func (c *grantCache) get(ref Ref, sum GrantSum) ([]storedGrant, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	have, ok := c.rows[ref]
	return have.list, ok && have.sum.equal(sum)
}

func (c *grantCache) put(ref Ref, sum GrantSum, list []storedGrant) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.size += len(list) - len(c.rows[ref].list)
	if c.size > cacheGrants {
		clear(c.rows)
		c.size = len(list)
	}
	c.rows[ref] = cachedGrants{sum, list}
}
