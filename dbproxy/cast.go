// SPDX-License-Identifier: Apache-2.0

package dbproxy

import "github.com/sidekey/sidekey/dbproxy/plan"

// castFromText says whether the statement casts a parameter that is declared as
// text to another type, as in $1::jsonb: then its text is that type's.
func castFromText(p plan.Param, declared uint32) bool {
	textual := func(oid uint32) bool { return oid == plan.Text || oid == plan.Varchar }
	return !p.Array && textual(declared) && p.OID != plan.Unspecified && !textual(p.OID)
}
