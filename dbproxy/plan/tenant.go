// SPDX-License-Identifier: Apache-2.0

package plan

import pg "github.com/pganalyze/pg_query_go/v6"

// tenant notes whether the statement may change who the tenant is: it sets the
// setting, or runs what is not seen. The end of a transaction that did is the
// caller's to know.
func (a *analyzer) tenant(n *pg.Node) {
	if a.cat.tenantSetting == "" {
		return
	}
	switch x := n.Node.(type) {
	case *pg.Node_VariableSetStmt:
		s := x.VariableSetStmt
		a.stmt.Tenant = lowerASCII(s.Name) == a.cat.tenantSetting || s.Kind == pg.VariableSetKind_VAR_RESET_ALL
	case *pg.Node_DiscardStmt, *pg.Node_DoStmt, *pg.Node_CallStmt, *pg.Node_ExecuteStmt, *pg.Node_FetchStmt:
		a.stmt.Tenant = true
	default:
		a.stmt.Tenant, _ = a.calls()
	}
}

// ofTenant is the first rule whose values are of a tenant, nil if there is none.
func ofTenant(rules []*Rule) *Rule {
	for _, r := range rules {
		if r.TenantSetting != "" {
			return r
		}
	}
	return nil
}

// OfTenant is the first column of a tenant that the plan touches, nil if there
// is none.
func (p *Plan) OfTenant() *Rule {
	for i := range p.Statements {
		if r := ofTenant(p.Statements[i].Touched); r != nil {
			return r
		}
	}
	return nil
}

// keeps refuses DDL that would keep constants of one tenant for all: a default,
// a constraint, a view.
func (a *analyzer) keeps(literals []Literal) {
	if !a.stmt.DDL {
		return
	}
	for _, l := range literals {
		if l.Rule.TenantSetting != "" {
			a.refuse(l.Start, "a constant for protected column "+l.Rule.Name()+" cannot be kept in the schema: its values are of one tenant each", "Leave the constant to the application's statements.")
		}
	}
}
