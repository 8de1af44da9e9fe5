// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"

	"github.com/sidekey/sidekey/dbproxy/plan"
)

// noteKeys remembers with which data keys the constants of a statement were sealed.
// A column that moves gets another: what was prepared before would find nothing.
func (s *session) noteKeys(ctx context.Context, st *statement) error {
	if !s.proxy.moving || len(st.plan.Literals) == 0 {
		return nil
	}
	st.sealedWith = make(map[*plan.Rule]uint32)
	for _, l := range st.plan.Literals {
		col, err := s.db.column(ctx, l.Rule, s.tenant.name)
		if err != nil {
			return err
		}
		st.sealedWith[l.Rule] = col.SealingKey()
	}
	for _, in := range st.inner {
		if in != nil {
			in.sealedWith = st.sealedWith
		}
	}
	return nil
}

// sameKeys refuses a statement whose constants were sealed with data keys that are
// no longer in use. The session has entered the gate.
func (s *session) sameKeys(st *statement) error {
	for r, key := range st.sealedWith {
		if !r.Equality && r.Search == nil {
			continue // nothing is compared with it
		}
		col, err := s.db.column(s.ctx, r, s.tenant.name)
		if err != nil {
			return err
		}
		if col.SealingKey() != key {
			return &pgError{Code: codeNotSupported, Message: "cached plan must not change result type",
				Detail: "The constants in the prepared statement were sealed for " + r.Name() + " with a data key that is no longer in use.", Hint: "Prepare it again."}
		}
	}
	return nil
}
