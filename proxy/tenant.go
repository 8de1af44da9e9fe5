// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"fmt"
	"strings"
)

// tenantMark stands for the tenant in the key ID of a rule.
const tenantMark = "{tenant}"

// maxTenant is the longest tenant, in bytes.
const maxTenant = 128

// ForTenant is the rule as it holds for one tenant: values are bound to it and
// sealed under data keys of its own, and {tenant} in the key ID stands for it.
// Of a rule without PerTenant it is the rule itself.
func (r ColumnRule) ForTenant(tenant string) (ColumnRule, error) {
	if !r.PerTenant {
		return r, nil
	}
	if err := checkTenant(tenant); err != nil {
		return r, err
	}
	r.tenant = tenant
	r.KeyID = strings.ReplaceAll(r.KeyID, tenantMark, tenant)
	return r, nil
}

// checkTenant refuses what could make one key ID or alias of another.
func checkTenant(tenant string) error {
	if tenant == "" || len(tenant) > maxTenant {
		return fmt.Errorf("a tenant has 1 to %d characters", maxTenant)
	}
	for _, c := range []byte(tenant) {
		if !('a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("-_.@", c) >= 0) {
			return fmt.Errorf("a tenant is made of letters, digits and - _ . @")
		}
	}
	return nil
}

func (r *ColumnRule) validateTenant() error {
	if strings.Contains(r.KeyID, tenantMark) && !r.PerTenant {
		return fmt.Errorf("key_id: %s needs per_tenant", tenantMark)
	}
	if r.PerTenant && r.mode() == ModeRange {
		return fmt.Errorf("per_tenant: mode %s would sort and compare values of several tenants, whose order means nothing", ModeRange)
	}
	return nil
}
