// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"testing"

	"github.com/sidekey/sidekey/keysvc/policy"
)

type pairs = map[string]string

func TestGrantAllows(t *testing.T) {
	none := policy.Constraint{}
	equals := policy.Constraint{Context: pairs{"a": "1", "b": "2"}}
	subset := policy.Constraint{Context: pairs{"a": "1"}, Subset: true}
	for _, tc := range []struct {
		name       string
		constraint policy.Constraint
		principal  string
		operation  string
		context    pairs
		want       bool
	}{
		{"plain", none, alice, "Decrypt", pairs{"x": "y"}, true},
		{"other principal", none, root, "Decrypt", nil, false},
		{"other operation", none, alice, "Encrypt", nil, false},
		{"equal", equals, alice, "Decrypt", pairs{"b": "2", "a": "1"}, true},
		{"more than equal", equals, alice, "Decrypt", pairs{"b": "2", "a": "1", "c": "3"}, false},
		{"less than equal", equals, alice, "Decrypt", pairs{"a": "1"}, false},
		{"other value", equals, alice, "Decrypt", pairs{"a": "1", "b": "3"}, false},
		{"no context", equals, alice, "Decrypt", nil, false},
		{"subset", subset, alice, "Decrypt", pairs{"a": "1", "c": "3"}, true},
		{"case", subset, alice, "Decrypt", pairs{"A": "1"}, false},
		{"empty is not absent", policy.Constraint{Context: pairs{}}, alice, "Decrypt", pairs{"a": "1"}, false},
		{"pair", subset, alice, "GenerateDataKeyPair", nil, false},
		{"no context in the operation", subset, alice, "DescribeKey", nil, true},
	} {
		g := policy.Grant{Grantee: alice, Operations: []string{"Decrypt", "DescribeKey", "GenerateDataKeyPair"}, Constraint: tc.constraint}
		if got := g.Allows(tc.principal, tc.operation, tc.context); got != tc.want {
			t.Errorf("%s: got %v", tc.name, got)
		}
	}
}

func TestGrantCovers(t *testing.T) {
	grant := func(c policy.Constraint, operations ...string) policy.Grant {
		return policy.Grant{Grantee: alice, Operations: operations, Constraint: c}
	}
	equals := func(c pairs) policy.Constraint { return policy.Constraint{Context: c} }
	subset := func(c pairs) policy.Constraint { return policy.Constraint{Context: c, Subset: true} }
	for _, tc := range []struct {
		name          string
		parent, child policy.Grant
		want          bool
	}{
		{"same", grant(equals(nil), "Decrypt", "CreateGrant"), grant(equals(nil), "Decrypt"), true},
		{"one more operation", grant(equals(nil), "Decrypt", "CreateGrant"), grant(equals(nil), "Decrypt", "Encrypt"), false},
		{"stricter than nothing", grant(equals(nil), "Decrypt"), grant(equals(pairs{"a": "1"}), "Decrypt"), true},
		{"none instead of one", grant(subset(pairs{"a": "1"}), "Decrypt"), grant(equals(nil), "Decrypt"), false},
		{"same equals", grant(equals(pairs{"a": "1"}), "Decrypt"), grant(equals(pairs{"a": "1"}), "Decrypt"), true},
		{"subset instead of equals", grant(equals(pairs{"a": "1"}), "Decrypt"), grant(subset(pairs{"a": "1"}), "Decrypt"), false},
		{"longer equals", grant(equals(pairs{"a": "1"}), "Decrypt"), grant(equals(pairs{"a": "1", "b": "2"}), "Decrypt"), false},
		{"equals instead of subset", grant(subset(pairs{"a": "1"}), "Decrypt"), grant(equals(pairs{"a": "1", "b": "2"}), "Decrypt"), true},
		{"longer subset", grant(subset(pairs{"a": "1"}), "Decrypt"), grant(subset(pairs{"a": "1", "b": "2"}), "Decrypt"), true},
		{"other subset", grant(subset(pairs{"a": "1"}), "Decrypt"), grant(subset(pairs{"b": "2"}), "Decrypt"), false},
	} {
		if got := tc.parent.Covers(&tc.child); got != tc.want {
			t.Errorf("%s: got %v", tc.name, got)
		}
	}
}
