// SPDX-License-Identifier: Apache-2.0

package plan

import "slices"

// IsNamed says whether a type that the database has under a name is t, which is
// citext or an enum. A name in a rule without a schema means one of any schema.
func (t Type) IsNamed(schema, name string) bool {
	switch t.OID {
	case Citext:
		return name == "citext" && schema != "pg_catalog"
	case Enum:
		n, err := parseTypeName(t.Enum)
		if err != nil {
			return false
		}
		path := names(n.Names)
		return len(path) <= 2 && slices.Equal(path, []string{schema, name}[2-len(path):])
	}
	return false
}
