// SPDX-License-Identifier: Apache-2.0

package envelope

// Mode says how a column's values are sealed; its number is the suite byte.
type Mode byte

// The modes of column values ([V2]).
const (
	// Random values never repeat: AES-256-GCM under a key per epoch.
	Random Mode = 0x01
	// Equality values are equal exactly when their plaintexts are, within one
	// binding and data key: AES-SIV.
	Equality Mode = 0x02
)

// Binding is where a column value belongs. A value opens only under the binding
// it was sealed for ([V4]). With a Domain, which Random does not have, Table and
// Column are left out, so that the columns of a domain compare with each other.
type Binding struct {
	Tenant string
	Table  string // schema.table
	Column string
	Type   string
	Domain string
}

// append writes the binding; every part is length-prefixed and the first byte
// says which parts follow, so that no two bindings have the same bytes.
//
//	0x01 | tenant 4+n | table 4+n | column 4+n | type 4+n
//	0x02 | tenant 4+n | domain 4+n | type 4+n
func (bind Binding) append(b []byte) []byte {
	if bind.Domain != "" {
		b = append(b, 0x02)
		b = appendLong(b, bind.Tenant)
		b = appendLong(b, bind.Domain)
		return appendLong(b, bind.Type)
	}
	b = append(b, 0x01)
	b = appendLong(b, bind.Tenant)
	b = appendLong(b, bind.Table)
	b = appendLong(b, bind.Column)
	return appendLong(b, bind.Type)
}
