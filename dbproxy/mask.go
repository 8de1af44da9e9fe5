// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"fmt"
	"slices"
	"time"

	"github.com/sidekey/sidekey/dbproxy/plan"
	"github.com/sidekey/sidekey/proxy"
)

// mask is what a role gets in place of a column's values.
type mask struct {
	show  string
	fixed []byte // canonical
}

// masks gives the masks of a role, by rule; nil if it gets all values. The role
// is the one that logged in: SET ROLE does not change it.
func (p *Proxy) masksFor(role string) ([]*mask, error) {
	var masks []*mask
	for i := range p.columns {
		m := p.columns[i].MaskFor(role)
		if m == nil {
			continue
		}
		if masks == nil {
			masks = make([]*mask, len(p.columns))
		}
		masks[i] = &mask{show: m.Show}
		if m.Show != proxy.ShowFixed {
			continue
		}
		var err error
		if masks[i].fixed, err = parseText(p.rules[i].Type, m.Text, locale{zone: time.UTC, version: plan.Grammar}); err != nil {
			return nil, fmt.Errorf("columns[%d].masks: text %q is not of type %s", i, m.Text, p.rules[i].Type)
		}
	}
	return masks, nil
}

// checkMasks finds a mask that cannot be shown.
func (p *Proxy) checkMasks() error {
	for i := range p.columns {
		for _, m := range p.columns[i].Masks {
			for _, role := range m.Roles {
				if _, err := p.masksFor(role); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (s *session) maskOf(r *plan.Rule) *mask {
	if s.masks == nil {
		return nil
	}
	return s.masks[r.Index]
}

// permitValues refuses what a role may not do that does not get a column's
// values: to store or compare any, also with those of a column that it does get,
// and to read them where its mask says so.
func (s *session) permitValues(st *statement) error {
	if s.masks == nil {
		return nil
	}
	for _, l := range st.plan.Literals {
		if s.maskOf(l.Rule) != nil {
			return s.denied(l.Rule)
		}
	}
	for _, p := range st.plan.Params {
		if s.maskOf(p.Rule) != nil {
			return s.denied(p.Rule)
		}
	}
	for i := range st.plan.Statements {
		for _, r := range st.plan.Statements[i].Moved {
			if s.maskOf(r) != nil {
				return s.denied(r)
			}
		}
		for _, pair := range st.plan.Statements[i].Compared {
			if l, r := s.maskOf(pair[0]), s.maskOf(pair[1]); l != nil && r == nil {
				return s.denied(pair[0])
			} else if l == nil && r != nil {
				return s.denied(pair[1])
			}
		}
		rules := rulesOf(st.plan.Statements[i].Outputs)
		if c := st.plan.Statements[i].Copy; c != nil {
			rules = c.Rules()
			if c.From {
				if k := slices.IndexFunc(rules, func(r *plan.Rule) bool { return s.maskOf(r) != nil }); k >= 0 {
					return s.denied(rules[k])
				}
			}
		}
		for _, r := range rules {
			if m := s.maskOf(r); m != nil && m.show == proxy.ShowRefuse {
				return s.denied(r)
			}
		}
		for _, o := range st.plan.Statements[i].Outputs {
			if m := s.maskOf(o.Rule); m != nil && m.show == proxy.ShowRefuse {
				return s.denied(o.Rule)
			}
		}
	}
	return nil
}

// permitPlain refuses a masked role all use of a table whose column is in plaintext
// for the time of its move: there the server computes, and nothing can be masked.
// So are texts that are not seen, functions that may read any table, and statistics.
func (s *session) permitPlain(st *statement) error {
	if s.masks == nil || st == nil || st.plan == nil {
		return nil
	}
	masked := func(r *plan.Rule) bool { return s.maskOf(r) != nil }
	for i := range st.plan.Statements {
		one := &st.plan.Statements[i]
		if k := slices.IndexFunc(one.Plain, masked); k >= 0 {
			return s.deniedPlain("table "+one.Plain[k].Table, one.Plain[k].Name()+" is")
		}
		if !one.Hidden && !one.Reads && one.Command != "CALL" {
			continue
		}
		// What it reads is not named, and may be a column that is being moved now.
		if _, err := s.enter(); err != nil {
			return err
		}
		snap, err := s.snapshot()
		if err != nil {
			return err
		}
		if snap.cat.Plain(masked) {
			what := one.Command
			if one.Reads {
				what = "functions and statistics that may show values"
			}
			return s.deniedPlain(what, "Protected columns are")
		}
	}
	return nil
}

func (s *session) deniedPlain(what, which string) *pgError {
	return &pgError{Code: codePrivilege, Message: "permission denied for " + what,
		Detail: which + " in plaintext until moved, and a mask of the encrypting proxy keeps the values from role " + s.user + ".", Hint: "Try again when the move is at its end."}
}

func (s *session) denied(r *plan.Rule) *pgError {
	return &pgError{Code: codePrivilege, Message: "permission denied for column " + r.Column + " of table " + r.Table,
		Detail: fmt.Sprintf("A mask of the encrypting proxy keeps the values of %s from role %s.", r.Name(), s.user),
		Hint:   "The role can use the table's other columns, and IS NULL."}
}

// reveal gives the canonical form of what the client gets for a stored value;
// null says that it gets NULL.
func (s *session) reveal(r *plan.Rule, op *operation, stored []byte) (plain []byte, null bool, err error) {
	return s.masked(r, func() ([]byte, error) { return s.open(r, op, stored) })
}

// masked is what the client gets for a value that open gives. Nothing is opened
// for a role that sees nothing of it.
func (s *session) masked(r *plan.Rule, open func() ([]byte, error)) (plain []byte, null bool, err error) {
	m := s.maskOf(r)
	if m == nil {
		plain, err = open()
		return plain, false, err
	}
	switch m.show {
	case proxy.ShowNull:
		return nil, true, nil
	case proxy.ShowFixed:
		return append(s.value[:0], m.fixed...), false, nil
	case proxy.ShowLast4:
		if plain, err = open(); err != nil {
			return nil, false, err
		}
		masked := proxy.Masked(plain)
		clear(plain)
		return masked, false, nil
	}
	return nil, false, s.denied(r)
}
