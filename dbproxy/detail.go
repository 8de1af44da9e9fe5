// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"bytes"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/sidekey/sidekey/dbproxy/plan"
)

// The server quotes values in the DETAIL of a violated constraint as it has
// them, sealed. A client is told what it would be told of the values themselves:
//
//	Key (email, id)=(\x.., 5) already exists.
//	Failing row contains (5, \x.., null).
//
// A row is quoted with its values cut, so that none of them can be opened.

// unopened stands for a value that is not opened.
const unopened = "(encrypted)"

var (
	keyDetail  = regexp.MustCompile(`(?s)^(Key \()(.*?)(\)(?: conflicts with existing key \(.*?\))?=\()(.*)(\) (?:already exists|is not present in table "|is (?:still )?referenced from table ").*)$`)
	hexInText  = regexp.MustCompile(`\\x[0-9a-f]+(?:\.\.\.)?`)
	violations = []string{"23001", "23502", "23503", "23505", "23514", "23P01"}
	// routines are the server's own that quote a key. RAISE can give an error any code,
	// table and detail, but not that it comes from one of these: it would have any
	// ciphertext opened for whoever has it.
	routines = []string{"_bt_check_unique", "check_exclusion_or_unique_constraint", "ri_ReportViolation"}
)

// openDetail has no ciphertext in the DETAIL of a violated constraint. What
// cannot be opened, or not for this client, is not told; that is no error.
func (s *session) openDetail(e *entry, m *pgproto3.ErrorResponse) bool {
	if e.own != nil || s.swallow != nil || !slices.Contains(violations, m.Code) || !strings.Contains(m.Detail, `\x`) {
		return false
	}
	before := m.Detail
	if parts := keyDetail.FindStringSubmatch(m.Detail); parts != nil && slices.Contains(routines, m.Routine) {
		parts[4] = s.openKey(e, m, parts[2], parts[4])
		m.Detail = strings.Join(parts[1:], "")
	} else {
		m.Detail = s.hideSealed(m.Detail)
	}
	return m.Detail != before
}

// openKey opens the values of a key. Those of texts are not quoted: if one has
// a comma, it is not known which is which, and none is opened.
func (s *session) openKey(e *entry, m *pgproto3.ErrorResponse, columns, values string) string {
	names, quoted := strings.Split(columns, ", "), strings.Split(values, ", ")
	if len(names) != len(quoted) {
		return s.hideSealed(values)
	}
	for i, v := range quoted {
		if s.hideSealed(v) == v {
			continue
		}
		quoted[i] = unopened
		if opened, ok := s.openQuoted(e, m, names[i], v); ok {
			quoted[i] = opened
		}
	}
	return strings.Join(quoted, ", ")
}

// openQuoted opens one value, if the statement that failed is on record as one
// that uses its column.
func (s *session) openQuoted(e *entry, m *pgproto3.ErrorResponse, column, text string) (string, bool) {
	op, one := e.running()
	stored, err := storedBytea([]byte(text))
	if op == nil || op.ended || one == nil || err != nil {
		return "", false
	}
	if inner, quoted := strings.CutPrefix(column, `"`); quoted {
		column = strings.ReplaceAll(strings.TrimSuffix(inner, `"`), `""`, `"`)
	}
	r := s.quotedRule(one.Touched, m, column)
	if r == nil {
		return "", false
	}
	value, null, err := s.reveal(r, op, stored)
	if err != nil || null {
		return "", false
	}
	s.value = value
	shown, err := encodeValue(nil, r.Type, formatText, value, s.current().zone)
	clear(s.value)
	return string(shown), err == nil
}

// quotedRule finds the rule of a column of the table whose key is quoted, nil if it is
// not known for sure. The error names the table that has the constraint. If that is a
// foreign key, and the key that of the table which it refers to, only the message says
// which that is, without its schema. A table of the name that somebody else has made
// has no constraint of a table with protected columns of the same domain.
func (s *session) quotedRule(touched []*plan.Rule, m *pgproto3.ErrorResponse, column string) *plan.Rule {
	var found *plan.Rule
	for _, r := range touched {
		if r.Column != column || !(r.Schema == m.SchemaName && r.Table == m.TableName && !referenced(m)) && !(referenced(m) && s.refersTo(r, m)) {
			continue
		}
		if found != nil {
			return nil
		}
		found = r
	}
	return found
}

// referenced says whether the key is one that another table refers to.
func referenced(m *pgproto3.ErrorResponse) bool {
	return strings.HasPrefix(m.Message, "update or delete on table ")
}

// refersTo says whether a foreign key that the error is about refers to the table of a
// rule.
func (s *session) refersTo(r *plan.Rule, m *pgproto3.ErrorResponse) bool {
	return strings.HasPrefix(m.Message, `update or delete on table "`+r.Table+`" violates `) && slices.ContainsFunc(s.proxy.rules, func(o *plan.Rule) bool {
		return o.Schema == m.SchemaName && o.Table == m.TableName && o.Binding == r.Binding
	})
}

// running is the statement that an entry's answer is of, and its record.
func (e *entry) running() (*operation, *plan.Statement) {
	switch {
	case e.query != nil:
		return e.query.operation(), e.query.current()
	case e.portal != nil:
		return e.portal.op, e.portal.statement.only()
	}
	return nil, nil
}

// hideSealed replaces what begins as sealed values do.
func (s *session) hideSealed(text string) string {
	return hexInText.ReplaceAllStringFunc(text, func(quoted string) string {
		digits := strings.TrimSuffix(quoted, "...")
		stored, err := storedBytea([]byte(digits[:len(digits)&^1]))
		sealed := func(r *plan.Rule) bool { return bytes.HasPrefix(stored, r.Prefix) }
		if err != nil || !slices.ContainsFunc(s.proxy.rules, sealed) {
			return quoted
		}
		return unopened
	})
}
