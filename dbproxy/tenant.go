// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/sidekey/sidekey/dbproxy/plan"
)

// DefaultTenantSetting is the setting that names a session's tenant unless the
// configuration names another.
const DefaultTenantSetting = "sidekey.tenant"

// tenant is what is known of the setting that names the session's tenant. The
// server does not report it, so that it is asked for whenever a statement may
// have changed it.
type tenant struct {
	name    string
	known   bool
	changed bool // within the open transaction, whose end may take it back
}

// after notes what statements that are being sent may do to the tenant.
func (t *tenant) after(one *plan.Statement) {
	if one.Tenant || one.Ends && t.changed {
		t.known = false
		t.changed = t.changed || one.Tenant
	}
}

// knowTenant asks who the tenant is, if the plan has columns of tenants.
func (s *session) knowTenant(p *plan.Plan) error {
	r := p.OfTenant()
	if r == nil {
		return nil
	}
	if !s.tenant.known {
		if err := s.settle(); err != nil {
			return err
		}
		rows, err := s.ask("SELECT COALESCE(pg_catalog.current_setting(" + quoteLiteral(r.TenantSetting) + ", true), ''), pg_catalog.pg_backend_pid()")
		if err != nil {
			return err
		}
		if len(rows) != 1 || len(rows[0]) != 2 {
			return failf(codeInternal, "the tenant cannot be read")
		}
		if rows[0][1] != strconv.FormatUint(uint64(s.process.pid), 10) {
			s.fatal(errShared) // nothing that is known of the session holds
			return errSessionOver
		}
		s.tenant = tenant{name: rows[0][0], known: true, changed: s.tenant.changed && (s.batchOpen || s.transaction() != 'I')}
	}
	if s.tenant.name == "" {
		return &pgError{Code: codeBadParameter, Message: "protected column " + r.Name() + " needs a tenant",
			Detail: "Its values are sealed under data keys of a tenant, and the session has none.",
			Hint:   fmt.Sprintf("SET %s TO 'the tenant'.", r.TenantSetting)}
	}
	return nil
}

// sameTenant refuses to execute a statement whose constants were sealed for
// another tenant than the session's.
func (s *session) sameTenant(st *statement) error {
	sealed := func(l plan.Literal) bool { return l.Rule.TenantSetting != "" }
	if st.tenant == s.tenant.name || !slices.ContainsFunc(st.plan.Literals, sealed) {
		return nil
	}
	return &pgError{Code: codeNotSupported, Message: "cached plan must not change result type",
		Detail: "The prepared statement holds constants of another tenant's columns.", Hint: "Prepare it again, or use parameters."}
}
