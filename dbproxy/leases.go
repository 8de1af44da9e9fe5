// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"errors"

	"github.com/sidekey/sidekey/dbproxy/plan"
	"github.com/sidekey/sidekey/proxy"
	"github.com/sidekey/sidekey/proxy/datakey"
)

// leaseUses bounds how many values are sealed or opened under one lease.
const leaseUses = 1024

// columnLeases are leases of columns that are kept over many values of one
// operation, while there is no waiting between them.
type columnLeases struct {
	db     *database
	ctx    context.Context
	tenant string
	held   map[*plan.Rule]*proxy.ColumnLease
	uses   int
}

func (s *session) newLeases(op *operation) *columnLeases {
	l := &columnLeases{db: s.db, ctx: s.contextOf(op), held: make(map[*plan.Rule]*proxy.ColumnLease)}
	if op != nil {
		l.tenant = op.tenant
	}
	return l
}

// acquire gives the column's lease. kept says that it may be an old one.
func (l *columnLeases) acquire(r *plan.Rule) (lease *proxy.ColumnLease, kept bool, err error) {
	if l.uses++; l.uses > leaseUses {
		l.release()
	}
	if lease = l.held[r]; lease != nil {
		return lease, true, nil
	}
	col, err := l.db.column(l.ctx, r, l.tenant)
	if err != nil {
		return nil, false, err
	}
	if lease, err = col.Acquire(l.ctx); err != nil {
		return nil, false, err
	}
	l.held[r] = lease
	return lease, false, nil
}

// drop gives one lease back.
func (l *columnLeases) drop(r *plan.Rule) {
	l.held[r].Release()
	delete(l.held, r)
}

// release gives all leases back.
func (l *columnLeases) release() {
	for r := range l.held {
		l.drop(r)
	}
	l.uses = 0
}

// seal appends the sealed form of a canonical value.
func (l *columnLeases) seal(dst []byte, r *plan.Rule, canonical []byte) ([]byte, error) {
	plain, err := sealedForm(r, canonical)
	if err != nil {
		return dst, err
	}
	for {
		lease, kept, err := l.acquire(r)
		if err != nil {
			return dst, err
		}
		out, err := lease.Seal(dst, plain)
		if err == nil || !kept || !leaseOver(err) {
			return out, err
		}
		l.drop(r)
	}
}

// open appends the canonical form of a stored value. One that names a data key
// which is not known has the keys read anew, once.
func (l *columnLeases) open(dst []byte, r *plan.Rule, stored []byte) ([]byte, error) {
	for again := false; ; again = true {
		lease, kept, err := l.acquire(r)
		if err != nil {
			return dst, err
		}
		out, err := lease.Open(dst, stored)
		switch {
		case err == nil:
			return plainForm(r, out)
		case kept && leaseOver(err):
			again = false
		case again || !errors.Is(err, proxy.ErrColumnKey):
			return dst, err
		default:
			l.db.forget(r, l.tenant)
		}
		l.drop(r)
	}
}

// leaseOver says that a lease ended during its use.
func leaseOver(err error) bool {
	var ended *datakey.Error
	return errors.As(err, &ended)
}
