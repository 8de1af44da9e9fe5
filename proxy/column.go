// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/proxy/datakey"
	"github.com/sidekey/sidekey/proxy/envelope"
)

// ErrColumnKey says that a value was sealed with a data key that the Column was
// not given. The caller may know of newer keys.
var ErrColumnKey = errors.New("no such column key")

// ColumnKey is a wrapped data key of a column or domain, as the database keeps it.
type ColumnKey struct {
	ID      uint32 // written into every value
	KeyARN  string
	Wrapped []byte // KMS ciphertext blob
}

// columnContext is the encryption context of a column's data keys.
func columnContext(rule ColumnRule) map[string]string {
	table, column := rule.BoundColumn()
	context := map[string]string{"sidekey:table": table, "sidekey:column": column}
	if rule.Domain != "" {
		context = map[string]string{"sidekey:domain": rule.Domain}
	}
	if rule.tenant != "" {
		context["sidekey:tenant"] = rule.tenant
	}
	return context
}

func binding(rule ColumnRule) (envelope.Binding, error) {
	t, err := ParseType(rule.Type)
	if err != nil {
		return envelope.Binding{}, fmt.Errorf("type: %w", err)
	}
	if rule.Domain != "" {
		return envelope.Binding{Tenant: rule.tenant, Domain: rule.Domain, Type: t.bound()}, nil
	}
	table, column := rule.BoundColumn()
	return envelope.Binding{Tenant: rule.tenant, Table: table, Column: column, Type: t.bound()}, nil
}

func envelopeMode(rule ColumnRule) envelope.Mode {
	switch rule.mode() {
	case ModeEquality:
		return envelope.Equality
	case ModeRange:
		return envelope.Range
	}
	if rule.Search != nil {
		return envelope.Searchable
	}
	return envelope.Random
}

// CheckPrefix is what every sealed value of the column begins with, for the
// CHECK constraint.
// Those with search tokens also say of which parts there are any: values under
// another Search would not be found.
func CheckPrefix(rule ColumnRule) []byte {
	if rule.Search != nil {
		return envelope.SearchPrefix(rule.Search.lengths())
	}
	return envelope.ValuePrefix(envelopeMode(rule))
}

// MinSealed is the length of the column's shortest sealed value, for the CHECK
// constraint.
func MinSealed(rule ColumnRule) int { return envelope.MinValue(envelopeMode(rule)) }

// MaxRange is the most bytes of a stored value in mode range. One that is only
// compared with may have one more, to which a longer one is cut.
const MaxRange = envelope.MaxRange

// Sealed says that bytes have the form of a sealed value. It proves nothing.
func Sealed(value []byte) bool {
	_, _, err := envelope.ParseValue(value)
	return err == nil
}

// ValueKeyID is the ID of the data key that sealed a value.
func ValueKeyID(value []byte) (uint32, error) {
	_, id, err := envelope.ParseValue(value)
	return id, err
}

// NewColumnKey asks the key service for a data key bound to the rule's column or
// domain. The caller stores it under an ID.
func (c *Cipher) NewColumnKey(ctx context.Context, rule ColumnRule) (keyARN string, wrapped []byte, err error) {
	ref, err := c.keys.Generate(ctx, datakey.Scope{KeyID: rule.KeyID, Context: columnContext(rule), Purpose: "column"})
	if err != nil {
		return "", nil, err
	}
	return ref.KeyARN, ref.Wrapped, nil
}

// Column seals and opens the values of one column. It is safe for concurrent use.
type Column struct {
	cipher *Cipher
	keys   []*columnKey // the last one seals
	leases sync.Pool    // of *ColumnLease
}

type columnKey struct {
	id  uint32
	arn string
	pin *datakey.Pin[envelope.Codec]
	// seen remembers operations that have this key's use on their record. With
	// more of them at once it forgets one, which is then recorded twice; it never
	// takes one for another, since it keeps them from being freed.
	seen [32]atomic.Pointer[audit.Op]
	next atomic.Uint32
}

// Column returns the cipher of a column with its data keys, oldest first. Nothing
// is opened before Acquire.
func (c *Cipher) Column(rule ColumnRule, keys []ColumnKey) (*Column, error) {
	if err := rule.validate(); err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s.%s: no data key", rule.QualifiedTable(), rule.Column)
	}
	bind, err := binding(rule)
	if err != nil {
		return nil, err
	}
	col, mode, context := &Column{cipher: c}, envelopeMode(rule), columnContext(rule)
	for _, k := range keys {
		ref := datakey.Ref{KeyARN: k.KeyARN, Wrapped: k.Wrapped, Context: context}
		col.keys = append(col.keys, &columnKey{id: k.ID, arn: k.KeyARN,
			pin: datakey.NewPin(c.keys, ref, func(secret []byte) (*envelope.Codec, error) {
				if rule.Search != nil {
					return envelope.NewSearchCodec(rule.Search.lengths(), secret, k.ID, bind)
				}
				return envelope.NewCodec(mode, secret, k.ID, bind)
			})})
	}
	return col, nil
}

// SealingKey is the ID of the data key that seals.
func (col *Column) SealingKey() uint32 { return col.keys[len(col.keys)-1].id }

// ColumnLease is the right to use a column's data keys for one batch of values.
// It is for one goroutine, and not for use after Release.
type ColumnLease struct {
	col  *Column
	keys []leasedKey
}

type leasedKey struct {
	id    uint32
	codec datakey.Pinned[envelope.Codec]
}

// Acquire checks that the column's data keys may be used now, renews or opens
// them when that is due, and records their use once per operation. Errors are
// *datakey.Error.
func (col *Column) Acquire(ctx context.Context) (*ColumnLease, error) {
	l, ok := col.leases.Get().(*ColumnLease)
	if !ok {
		l = &ColumnLease{col: col}
	}
	op := audit.FromContext(ctx)
	for _, k := range col.keys {
		start := time.Now()
		got, err := k.pin.Acquire(ctx)
		known := k.recorded(op)
		if err != nil || !known {
			err = col.cipher.recordUse(ctx, start, got.Use, k.arn, err)
		}
		if err != nil {
			l.Release()
			return nil, err
		}
		if !known {
			k.remember(op)
		}
		l.keys = append(l.keys, leasedKey{k.id, got})
	}
	return l, nil
}

// recorded says that the operation has this key's use on its record.
func (k *columnKey) recorded(op *audit.Op) bool {
	if op == nil {
		return false
	}
	for i := range k.seen {
		if k.seen[i].Load() == op {
			return true
		}
	}
	return false
}

// remember comes after the record: another goroutine of the operation that finds
// it may make the record durable and answer.
func (k *columnKey) remember(op *audit.Op) {
	if op != nil {
		k.seen[k.next.Add(1)%uint32(len(k.seen))].Store(op)
	}
}

// errEnded is what a lease says that outlived its data key.
func errEnded() error {
	return &datakey.Error{Kind: datakey.Unavailable, Message: "the lease of the data key ended during use; acquire it again"}
}

// Seal appends the sealed form of a value's canonical bytes to dst.
func (l *ColumnLease) Seal(dst, plaintext []byte) ([]byte, error) {
	k := &l.keys[len(l.keys)-1]
	if !k.codec.Valid() {
		return nil, errEnded()
	}
	return k.codec.Value.Seal(dst, plaintext)
}

// Open appends the canonical bytes of a sealed value to dst. Errors are
// ErrFormat, ErrColumnKey, ErrOpen, or *datakey.Error when the lease is over.
func (l *ColumnLease) Open(dst, value []byte) ([]byte, error) {
	_, id, err := envelope.ParseValue(value)
	if err != nil {
		return nil, err
	}
	for i := len(l.keys) - 1; i >= 0; i-- {
		k := &l.keys[i]
		if k.id != id {
			continue
		}
		if !k.codec.Valid() {
			return nil, errEnded()
		}
		return k.codec.Value.Open(dst, value)
	}
	return nil, fmt.Errorf("column key %d: %w", id, ErrColumnKey)
}

// Release gives the lease back.
func (l *ColumnLease) Release() {
	clear(l.keys)
	l.keys = l.keys[:0]
	l.col.leases.Put(l)
}
