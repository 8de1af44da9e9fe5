// SPDX-License-Identifier: Apache-2.0

package policy

import "slices"

// Grant allows one principal some operations on a key. A grant never denies.
type Grant struct {
	Grantee    string   // ARN
	Operations []string // such as Decrypt: the actions without kms:
	Constraint
}

// Constraint is what the encryption context of an operation must be for a
// grant to allow it.
type Constraint struct {
	Context map[string]string // nil for no constraint
	Subset  bool              // the context may have more pairs
}

// contextual are the operations with an encryption context, to which alone a
// constraint applies.
var contextual = []string{
	"Encrypt", "Decrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext",
	"GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext", "ReEncryptFrom", "ReEncryptTo",
}

// Allows reports whether the grant allows a principal an operation with an
// encryption context. CreateGrant needs more: see [Grant.Covers].
func (g *Grant) Allows(principal, operation string, context map[string]string) bool {
	if g.Grantee != principal || !slices.Contains(g.Operations, operation) {
		return false
	}
	return !slices.Contains(contextual, operation) || g.Constraint.met(context)
}

// Covers reports whether the grantee may create the other grant: it has no
// operation that this one has not, and a constraint at least as strict.
func (g *Grant) Covers(other *Grant) bool {
	for _, operation := range other.Operations {
		if !slices.Contains(g.Operations, operation) {
			return false
		}
	}
	return g.Constraint.weaker(other.Constraint)
}

func (c Constraint) met(context map[string]string) bool {
	if c.Context == nil {
		return true
	}
	return (c.Subset || len(context) == len(c.Context)) && contains(context, c.Context)
}

// weaker reports whether every context that meets the other constraint meets
// this one.
func (c Constraint) weaker(other Constraint) bool {
	switch {
	case c.Context == nil:
		return true
	case other.Context == nil || !c.Subset && other.Subset:
		return false
	}
	return (c.Subset || len(other.Context) == len(c.Context)) && contains(other.Context, c.Context)
}

// contains reports whether all has every pair of some.
func contains(all, some map[string]string) bool {
	for name, value := range some {
		if have, ok := all[name]; !ok || have != value {
			return false
		}
	}
	return true
}
